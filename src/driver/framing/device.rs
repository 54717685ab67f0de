//! The other end of the line: requests cut out of what arrives, answers framed. For simulators.

use super::{ReplyEnd, TextCodec, position};
use crate::driver::checksum::Written;
use crate::driver::text::StatusForm;
use crate::spec::instrument::StatusClass;
use crate::wire::printable::{bytes_of, text_of};

/// Most bytes without a whole request; more of them are noise.
const NOISE: usize = 8192;

/// One request as a device hears it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::driver) struct Heard {
    /// As it came.
    pub whole: Vec<u8>,
    /// Without start, address, check sum and end; `None` when it is for another device or damaged.
    pub body: Option<String>,
}

impl TextCodec {
    /// Takes one request from what has arrived. `fits` says whether a body is one of the device's
    /// messages: without an end and a length that is all that tells where a request stops.
    pub fn take_request(
        &self,
        arrived: &mut Vec<u8>,
        fits: &dyn Fn(&str) -> bool,
    ) -> Option<Heard> {
        if let Some(bare) = self.bare.iter().find(|bare| arrived.starts_with(bare)) {
            arrived.drain(..bare.len());
            return Some(Heard { whole: bare.clone(), body: Some(text_of(bare)) });
        }
        if !self.start.is_empty() {
            match position(arrived, &self.start) {
                Some(at) => drop(arrived.drain(..at)),
                None => {
                    let keep = arrived.len().min(self.start.len() - 1);
                    arrived.drain(..arrived.len() - keep);
                    return None;
                }
            }
        }
        let length = match (self.size, self.end.is_empty()) {
            (Some(_), _) => self.sized(arrived),
            (None, false) => self.ended(arrived),
            (None, true) => (1..=arrived.len()).find(|length| {
                let body = arrived.get(..*length).and_then(|whole| self.body(whole));
                body.is_some_and(|body| fits(&body))
            }),
        };
        let Some(length) = length.filter(|length| *length <= arrived.len()) else {
            if arrived.len() > NOISE {
                arrived.clear();
            }
            return None;
        };
        let whole: Vec<u8> = arrived.drain(..length.max(1)).collect();
        let body = self.body(&whole);
        Some(Heard { whole, body })
    }

    /// Length of a request that says it.
    fn sized(&self, arrived: &[u8]) -> Option<usize> {
        let (form, add) = self.size?;
        let at = self.start.len();
        let field = arrived.get(at..at + form.length())?;
        let size = form.read(&text_of(field)).filter(|size| (0.0..4096.0).contains(size));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 4096")]
        let inner = (size.unwrap_or(0.0) as usize).saturating_sub(add);
        let sum = self.checksum.as_ref().and_then(super::Checksum::length).unwrap_or(0);
        Some(at + form.length() + inner + sum + self.end.len())
    }

    /// Length of a request up to its end.
    fn ended(&self, arrived: &[u8]) -> Option<usize> {
        let behind = match &self.checksum {
            Some(sum) if sum.over_end => sum.length().unwrap_or(0),
            _ => 0,
        };
        let from = self.start.len();
        let (length, end) = self.find_end(arrived.get(from..)?, std::slice::from_ref(&self.end))?;
        Some(from + length + end + behind)
    }

    /// The body of a whole request: what makes exactly these bytes when it is framed.
    fn body(&self, whole: &[u8]) -> Option<String> {
        let size = self.size.map_or(0, |(form, _)| form.length());
        let inner = whole.get(self.start.len() + size..)?;
        let (sum, over_end) = match &self.checksum {
            None => (Some(0), false),
            Some(sum) => (sum.length(), sum.over_end),
        };
        let inner = match sum {
            Some(sum) if over_end => inner.get(..inner.len().checked_sub(sum)?)?,
            _ => inner,
        };
        let inner = inner.strip_suffix(self.end.as_slice())?;
        let inner = self.unescape(inner);
        let inner = match (sum, self.checksum.as_ref().map(|sum| sum.written)) {
            (Some(sum), _) if !over_end => inner.get(..inner.len().checked_sub(sum)?)?,
            (None, Some(Written::Decimal(mark))) if !over_end => {
                inner.get(..inner.iter().rposition(|byte| char::from(*byte) == mark)?)?
            }
            _ => inner.as_slice(),
        };
        let text = text_of(inner);
        let body = text.strip_prefix(self.prefix.as_str())?.to_owned();
        (self.frame(&body).ok()? == whole).then_some(body)
    }

    /// The bytes of an answer. `data` begins with the status where answers have one.
    pub fn answer(&self, request: &[u8], data: &str) -> Option<Vec<u8>> {
        let (prefix, mut data) = (bytes_of(&self.reply_prefix)?, bytes_of(data)?);
        if let ReplyEnd::Lines { end, last } = &self.reply_end {
            // Whatever is said, its last line is one that ends an answer.
            let line = data.rsplit(|byte| end.last() == Some(byte)).next().unwrap_or_default();
            if !last.iter().any(|start| line.starts_with(start)) {
                if !data.is_empty() {
                    data.extend(end);
                }
                data.extend(last.first().map(Vec::as_slice).unwrap_or_default());
            }
        }
        let sum = self.checksum.as_ref().filter(|sum| sum.replies);
        // Of several ends one may be the whole answer, such as ACK; lines have the last of them.
        let tail = match &self.reply_end {
            ReplyEnd::Bytes(ends) if ends.len() > 1 => {
                let alone = ends.iter().any(|end| data.starts_with(end));
                ends.last().filter(|_| !alone).map(Vec::as_slice).unwrap_or_default()
            }
            _ => self.reply_tail(),
        };
        let text = sum.map(|sum| (sum.text(&self.reply_start, &prefix, &data, tail), sum.over_end));
        let mut inner = [prefix, data].concat();
        if let Some((sum, over_end)) = &text
            && !(*over_end && self.has_end())
        {
            inner.extend(sum);
        }
        let mut bytes = if self.echo { request.to_vec() } else { Vec::new() };
        bytes.extend(&self.reply_start);
        match &self.reply_end {
            ReplyEnd::Size { at, form, add, tail } if *at == self.reply_start.len() => {
                let whole = self.reply_start.len() + form.length() + inner.len() + tail.len();
                let size = form.render(whole.checked_sub(*add)? as f64).ok()?;
                bytes.extend(bytes_of(&size)?);
                bytes.extend(inner);
                bytes.extend(tail);
                return Some(bytes);
            }
            ReplyEnd::Size { tail, .. } => inner.extend(tail),
            ReplyEnd::Bytes(_)
            | ReplyEnd::Lines { .. }
            | ReplyEnd::Length(_)
            | ReplyEnd::Idle(_) => {}
        }
        for byte in inner {
            bytes.push(byte);
            if self.escape == Some(byte) {
                bytes.push(byte);
            }
        }
        bytes.extend(tail);
        if let Some((sum, true)) = text
            && self.has_end()
        {
            bytes.extend(sum);
        }
        Some(bytes)
    }

    /// Text of a status with which an answer begins: one that means `class`.
    pub fn status_text(&self, class: StatusClass) -> Option<String> {
        match &self.status.as_ref()?.form {
            StatusForm::Letter(map) | StatusForm::Word(map) => {
                map.iter().find(|(_, its)| **its == class).map(|(text, _)| text.clone())
            }
            StatusForm::Byte { busy, error_mask } => {
                // All bits that mean nothing are set as in ASCII letters, which most devices do.
                let free = 0x40 & !busy.mask & !error_mask;
                let code = match class {
                    StatusClass::Busy => busy.is,
                    StatusClass::Error | StatusClass::Alarm => {
                        !busy.is & busy.mask | 1 << error_mask.trailing_zeros().min(7)
                    }
                    StatusClass::Ready => !busy.is & busy.mask,
                };
                Some(char::from(code | free).to_string())
            }
        }
    }

    /// The status of an answer and what follows it, whatever it says.
    pub fn opened(&self, frame: &[u8]) -> Option<(Option<StatusClass>, String)> {
        let frame = match &self.checksum {
            Some(sum) if sum.replies => {
                let address = self.reply_prefix.chars().count();
                sum.strip(&self.reply_start, address, frame, self.reply_tail()).ok()?
            }
            _ => frame,
        };
        let text = text_of(frame);
        let rest = text.strip_prefix(self.reply_prefix.as_str())?;
        match &self.status {
            None => Some((None, rest.to_owned())),
            Some(table) => {
                let (class, data) = table.read(rest, true).ok()?;
                Some((Some(class), data.to_owned()))
            }
        }
    }
}
