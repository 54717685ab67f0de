//! Where a message begins and ends on the wire: start, end, length, silence, escapes, check sums.
//!
//! ```text
//! noise  start  address body  check sum  end           (the sum may also follow the end)
//! ```

mod device;

use super::checksum::Checksum;
use super::text::{Fault, ReplyEnd, TextCodec};
use crate::wire::printable::bytes_of;

/// One answer cut out of what arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Taken {
    /// As it came, for the trace.
    pub whole: Vec<u8>,
    /// Without start and end, its check sum last.
    pub frame: Vec<u8>,
}

impl TextCodec {
    /// The bytes of a message.
    pub fn frame(&self, body: &str) -> Result<Vec<u8>, Fault> {
        let raw = |text: &str| {
            bytes_of(text).ok_or_else(|| {
                Fault::not_sent(format!("{text:?} holds characters that are no bytes"))
            })
        };
        let (address, body) = (raw(&self.prefix)?, raw(body)?);
        if self.bare.contains(&body) {
            return Ok(body);
        }
        // In a frame whose length is known or whose end is escaped the end may stand inside.
        let framed_by_end = self.escape.is_none() && self.checksum.is_none() && self.size.is_none();
        if framed_by_end
            && !self.end.is_empty()
            && contains(&[address.as_slice(), body.as_slice()].concat(), &self.end)
        {
            return Err(Fault::not_sent(format!("{body:?} holds the end of a message")));
        }
        let mut start = self.start.clone();
        if let Some((form, add)) = self.size {
            let length = (address.len() + body.len() + add) as f64;
            start.extend(raw(&form.render(length).map_err(Fault::not_sent)?)?);
        }
        let sum = self
            .checksum
            .as_ref()
            .map(|sum| (sum.text(&start, &address, &body, &self.end), sum.over_end));
        let mut inner = [address, body].concat();
        if let Some((sum, false)) = &sum {
            inner.extend(sum);
        }
        let mut bytes = start;
        match self.escape {
            None => bytes.extend(inner),
            Some(escape) => {
                for byte in inner {
                    bytes.push(byte);
                    if byte == escape {
                        bytes.push(byte);
                    }
                }
            }
        }
        bytes.extend(&self.end);
        if let Some((sum, true)) = sum {
            bytes.extend(sum);
        }
        Ok(bytes)
    }

    /// Takes one answer from what has arrived; `None` while it is incomplete. What stands before
    /// its start is noise and is dropped.
    pub fn take(&self, arrived: &mut Vec<u8>) -> Result<Option<Taken>, String> {
        if !self.drop.is_empty() {
            arrived.retain(|byte| !self.drop.contains(byte));
        }
        if !self.reply_start.is_empty() && !self.find_start(arrived)? {
            return Ok(None);
        }
        let start = self.reply_start.len();
        let body = arrived.get(start..).unwrap_or_default();
        let too_long = || format!("an answer longer than {} bytes", self.longest);
        let (length, end) = match &self.reply_end {
            ReplyEnd::Idle(_) => (None, 0),
            ReplyEnd::Length(length) => (Some(*length), 0),
            ReplyEnd::Size { at, form, add, .. } => {
                let field = arrived.get(*at..at + form.length());
                let size = match field.map(crate::wire::printable::text_of) {
                    None => None,
                    Some(text) => {
                        let size = form.read(&text).ok_or("its length field holds no number")?;
                        if size < 0.0 || size > self.longest as f64 {
                            return Err(too_long());
                        }
                        #[expect(clippy::cast_possible_truncation, reason = "at most `longest`")]
                        #[expect(clippy::cast_sign_loss, reason = "checked above")]
                        Some((size as usize + add).saturating_sub(start))
                    }
                };
                (size, 0)
            }
            ReplyEnd::Bytes(ends) => match self.find_end(body, ends) {
                Some((length, end)) => (Some(length), end),
                None => (None, 0),
            },
            ReplyEnd::Lines { end, last } => match last_line(body, end, last) {
                Some(length) => (Some(length), end.len()),
                None => (None, 0),
            },
        };
        let behind = self.behind_end();
        let Some(length) = length.filter(|length| start + length + end + behind <= arrived.len())
        else {
            return if arrived.len() > self.longest { Err(too_long()) } else { Ok(None) };
        };
        if length > self.longest {
            return Err(too_long());
        }
        let alone =
            length == 0 && matches!(&self.reply_end, ReplyEnd::Bytes(ends) if ends.len() > 1);
        let whole: Vec<u8> = arrived.drain(..start + length + end + behind).collect();
        let inner = whole.get(start..start + length).unwrap_or_default();
        let mut frame = self.unescape(inner);
        let behind = if alone { start } else { start + length + end };
        frame.extend(whole.get(behind..).unwrap_or_default());
        if let ReplyEnd::Size { at, form, tail, .. } = &self.reply_end {
            if !frame.ends_with(tail) {
                return Err("an answer without its last bytes".to_owned());
            }
            frame.truncate(frame.len() - tail.len());
            // Right behind the start the length is part of the frame, not of what it holds.
            if *at == start {
                frame.drain(..form.length().min(frame.len()));
            }
        }
        // A second start inside: the first answer was cut off and another began. In binary frames
        // the same byte may be data.
        let plain = matches!(&self.reply_end, ReplyEnd::Bytes(_))
            && self.escape.is_none()
            && self.checksum.is_none();
        if plain
            && !self.reply_start.is_empty()
            && let Some(at) = last_position(&frame, &self.reply_start)
        {
            frame.drain(..at + self.reply_start.len());
        }
        Ok(Some(Taken { whole, frame }))
    }

    /// Drops noise before the start of an answer; `false` while there is none.
    fn find_start(&self, arrived: &mut Vec<u8>) -> Result<bool, String> {
        match position(arrived, &self.reply_start) {
            Some(at) => {
                arrived.drain(..at);
                Ok(true)
            }
            None => {
                if arrived.len() > self.longest {
                    return Err(format!("{} bytes without the start of an answer", arrived.len()));
                }
                // The start itself may be cut.
                let keep = arrived.len().min(self.reply_start.len().saturating_sub(1));
                let noise = arrived.len() - keep;
                arrived.drain(..noise);
                Ok(false)
            }
        }
    }

    /// Length of an answer up to the first of several ends, and of that end.
    fn find_end(&self, body: &[u8], ends: &[Vec<u8>]) -> Option<(usize, usize)> {
        let mut at = 0;
        while let Some(rest) = body.get(at..).filter(|rest| !rest.is_empty()) {
            // An escape byte and its double are data, also where the end begins with it.
            if let (Some(escape), Some([first, second, ..])) = (self.escape, rest.get(..))
                && *first == escape
                && *second == escape
            {
                at += 2;
                continue;
            }
            if let Some(end) = ends.iter().find(|end| rest.starts_with(end)) {
                return Some((at, end.len()));
            }
            at += 1;
        }
        None
    }

    /// Bytes of a check sum that follows the end of an answer.
    fn behind_end(&self) -> usize {
        match &self.checksum {
            Some(sum) if sum.over_end && sum.replies && self.has_end() => sum.length().unwrap_or(0),
            _ => 0,
        }
    }

    fn has_end(&self) -> bool {
        matches!(self.reply_end, ReplyEnd::Bytes(_) | ReplyEnd::Lines { .. })
    }

    /// The end that a check sum of an answer counts.
    pub(super) fn reply_tail(&self) -> &[u8] {
        match &self.reply_end {
            ReplyEnd::Bytes(ends) => ends.first().map(Vec::as_slice).unwrap_or_default(),
            ReplyEnd::Lines { end, .. } => end,
            ReplyEnd::Size { .. } | ReplyEnd::Length(_) | ReplyEnd::Idle(_) => &[],
        }
    }

    fn unescape(&self, bytes: &[u8]) -> Vec<u8> {
        let Some(escape) = self.escape else { return bytes.to_vec() };
        let mut out = Vec::with_capacity(bytes.len());
        let mut doubled = false;
        for byte in bytes {
            if *byte == escape && doubled {
                doubled = false;
                continue;
            }
            doubled = *byte == escape;
            out.push(*byte);
        }
        out
    }

    /// What silence after some bytes means: the whole answer, when answers end that way.
    pub fn take_idle(&self, arrived: &mut Vec<u8>) -> Option<Taken> {
        match &self.reply_end {
            ReplyEnd::Idle(_) if arrived.len() >= self.reply_start.len() => {
                let whole = std::mem::take(arrived);
                let frame = whole.get(self.reply_start.len()..).unwrap_or_default().to_vec();
                Some(Taken { whole, frame })
            }
            _ => None,
        }
    }
}

/// Length of several lines up to the end of the one that begins with one of some texts.
fn last_line(body: &[u8], end: &[u8], last: &[Vec<u8>]) -> Option<usize> {
    let mut from = 0;
    loop {
        let line = body.get(from..)?;
        let length = position(line, end)?;
        if last.iter().any(|start| line.starts_with(start)) {
            return Some(from + length);
        }
        from += length + end.len();
    }
}

pub(super) fn position(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    if needle.is_empty() {
        return Some(0);
    }
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn last_position(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len().max(1)).rposition(|window| window == needle)
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    position(haystack, needle).is_some()
}

#[cfg(test)]
impl TextCodec {
    /// Lines that end with CR LF, and nothing else.
    pub(super) fn plain() -> TextCodec {
        TextCodec {
            start: Vec::new(),
            prefix: String::new(),
            end: b"\r\n".to_vec(),
            bare: Vec::new(),
            size: None,
            escape: None,
            checksum: None,
            reply_start: Vec::new(),
            reply_end: ReplyEnd::Bytes(vec![b"\r\n".to_vec()]),
            longest: 64,
            echo: false,
            drop: Vec::new(),
            reply_prefix: String::new(),
            status: None,
            errors: std::collections::BTreeMap::new(),
            error_patterns: Vec::new(),
            unsolicited: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
