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
        let whole: Vec<u8> = arrived.drain(..start + length + end + behind).collect();
        let inner = whole.get(start..start + length).unwrap_or_default();
        let mut frame = self.unescape(inner);
        frame.extend(whole.get(start + length + end..).unwrap_or_default());
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

fn position(haystack: &[u8], needle: &[u8]) -> Option<usize> {
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
            unsolicited: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::checksum::{Checksum, From, Sum, Written};
    use super::super::forms::Packed;
    use super::*;

    fn lines(start: &[u8], end: &[u8]) -> TextCodec {
        TextCodec {
            prefix: "1".to_owned(),
            end: b"\r".to_vec(),
            reply_start: start.to_vec(),
            reply_end: ReplyEnd::Bytes(vec![end.to_vec()]),
            longest: 32,
            ..TextCodec::plain()
        }
    }

    fn frame(codec: &TextCodec, bytes: &[u8]) -> Result<Option<Vec<u8>>, String> {
        Ok(codec.take(&mut bytes.to_vec())?.map(|taken| taken.frame))
    }

    #[test]
    fn noise_and_cut_answers_before_an_answer_are_dropped() {
        let codec = lines(b"\x02", b"\x03");
        for bytes in [&b"garbage\x0201S\x03"[..], b"\x0201I1.\x0201S\x03"] {
            assert_eq!(frame(&codec, bytes), Ok(Some(b"01S".to_vec())), "{bytes:?}");
        }
        assert!(codec.take(&mut vec![b'x'; 40]).is_err());
        assert!(codec.take(&mut [b"\x02", vec![b'x'; 40].as_slice()].concat()).is_err());
    }

    #[test]
    fn an_answer_may_arrive_byte_by_byte() {
        let codec = lines(b"\x02", b"\x03");
        let mut arrived = Vec::new();
        for byte in b"\x0201S" {
            arrived.push(*byte);
            assert_eq!(codec.take(&mut arrived), Ok(None));
        }
        arrived.push(3);
        assert_eq!(codec.take(&mut arrived).unwrap().unwrap().frame, b"01S");
        assert!(arrived.is_empty());
    }

    #[test]
    fn a_message_cannot_hold_its_own_end() {
        assert_eq!(lines(b"\x02", b"\x03").frame("RUN").unwrap(), b"1RUN\r");
        assert!(lines(b"\x02", b"\x03").frame("RUN\rRUN").is_err());
        assert!(lines(b"\x02", b"\x03").frame("\u{20ac}").is_err());
    }

    #[test]
    fn binary_frames_carry_length_and_sum() {
        let sum = Checksum {
            sum: Sum::Add { bits: 16 },
            written: Written::Little(2),
            from: From::Start,
            over_end: false,
            replies: true,
        };
        let codec = TextCodec {
            start: vec![0xCC],
            prefix: "\u{1}".to_owned(),
            end: Vec::new(),
            checksum: Some(sum),
            reply_start: vec![0xCC],
            reply_end: ReplyEnd::Length(7),
            reply_prefix: "\u{1}".to_owned(),
            ..TextCodec::plain()
        };
        let sent = codec.frame("\u{44}\u{2}\u{0}\u{dd}").unwrap();
        assert_eq!(sent, [0xCC, 1, 0x44, 2, 0, 0xDD, 0xF0, 0x01]);
        // A byte like the start may be data, and noise before the frame is dropped.
        let answer = [0x55, 0xCC, 1, 0, 0xCC, 0, 0xDD, 0x76, 0x02];
        let taken = frame(&codec, &answer).unwrap().unwrap();
        assert_eq!(codec.read(&taken, false).unwrap().unwrap().data, "\u{0}\u{cc}\u{0}\u{dd}");
        let mut wrong = answer;
        wrong[4] = 0xCD;
        let taken = frame(&codec, &wrong).unwrap().unwrap();
        assert!(codec.read(&taken, false).unwrap_err().message.contains("check sum"));
    }

    #[test]
    fn a_length_field_says_where_a_frame_ends() {
        // New Era safe mode: the length counts itself, address and data, check sum and the last byte.
        let sum = Checksum {
            sum: Sum::named("crc16_xmodem").unwrap(),
            written: Written::Big(2),
            from: From::Address,
            over_end: false,
            replies: true,
        };
        let byte = Packed::parse("u8").unwrap();
        let codec = TextCodec {
            start: vec![2],
            size: Some((byte, 4)),
            prefix: "00".to_owned(),
            end: vec![3],
            checksum: Some(sum),
            reply_start: vec![2],
            reply_end: ReplyEnd::Size { at: 1, form: byte, add: 1, tail: vec![3] },
            reply_prefix: "00".to_owned(),
            ..TextCodec::plain()
        };
        let bytes = codec.frame("S").unwrap();
        assert_eq!(bytes[..2], [2, 7]);
        assert_eq!((bytes.len(), bytes[7]), (8, 3));
        let taken = frame(&codec, &bytes).unwrap().unwrap();
        assert_eq!(codec.read(&taken, false).unwrap().unwrap().data, "S");
        assert_eq!(frame(&codec, &bytes[..6]), Ok(None));
        assert!(frame(&codec, b"\x02\x0700SABx").is_err());
        assert!(frame(&codec, b"\x02\xff00").is_err());
    }

    #[test]
    fn doubled_escapes_are_data() {
        let codec = TextCodec {
            start: vec![0x10, 0x02],
            end: vec![0x10, 0x03],
            escape: Some(0x10),
            reply_start: vec![0x10, 0x02],
            reply_end: ReplyEnd::Bytes(vec![vec![0x10, 0x03]]),
            ..TextCodec::plain()
        };
        let sent = codec.frame("a\u{10}\u{3}b").unwrap();
        assert_eq!(sent, b"\x10\x02a\x10\x10\x03b\x10\x03");
        assert_eq!(frame(&codec, &sent), Ok(Some(b"a\x10\x03b".to_vec())));
    }

    #[test]
    fn a_sum_may_follow_the_end() {
        let sum = Checksum {
            sum: Sum::Xor,
            written: Written::Big(1),
            from: From::Start,
            over_end: true,
            replies: true,
        };
        let codec = TextCodec {
            start: vec![2],
            end: vec![3],
            checksum: Some(sum),
            reply_start: vec![2],
            reply_end: ReplyEnd::Bytes(vec![vec![3]]),
            ..TextCodec::plain()
        };
        let sent = codec.frame("AB").unwrap();
        assert_eq!(sent, [2, b'A', b'B', 3, 2 ^ b'A' ^ b'B' ^ 3]);
        assert_eq!(frame(&codec, &sent[..4]), Ok(None));
        let taken = frame(&codec, &sent).unwrap().unwrap();
        assert_eq!(codec.read(&taken, false).unwrap().unwrap().data, "AB");
    }

    #[test]
    fn several_lines_end_with_the_one_that_says_so() {
        let codec = TextCodec {
            reply_end: ReplyEnd::Lines {
                end: b"\r\n".to_vec(),
                last: vec![b"ok".to_vec(), b"error:".to_vec()],
            },
            ..TextCodec::plain()
        };
        assert_eq!(frame(&codec, b"$0=10\r\n$1=25\r\n"), Ok(None));
        let whole = b"$0=10\r\n$1=25\r\nok\r\n";
        assert_eq!(frame(&codec, whole), Ok(Some(whole[..whole.len() - 2].to_vec())));
        assert_eq!(frame(&codec, b"error:9\r\n"), Ok(Some(b"error:9".to_vec())));
        assert!(frame(&codec, &[b'x'; 80]).is_err());
    }

    #[test]
    fn flow_control_characters_are_dropped() {
        let codec = TextCodec { drop: vec![0x11, 0x13], ..TextCodec::plain() };
        assert_eq!(frame(&codec, b"\x1125\x13.0\r\n"), Ok(Some(b"25.0".to_vec())));
    }

    proptest! {
        #[test]
        fn what_is_framed_is_taken_back_whole(body: Vec<u8>, noise in "[a-z]{0,8}") {
            let codec = TextCodec {
                start: vec![0x10, 0x02],
                end: vec![0x10, 0x03],
                escape: Some(0x10),
                reply_start: vec![0x10, 0x02],
                reply_end: ReplyEnd::Bytes(vec![vec![0x10, 0x03]]),
                longest: 4096,
                ..TextCodec::plain()
            };
            let text = crate::wire::printable::text_of(&body);
            let mut arrived = noise.into_bytes();
            arrived.extend(codec.frame(&text).unwrap());
            prop_assert_eq!(codec.take(&mut arrived).unwrap().unwrap().frame, body);
            prop_assert!(arrived.is_empty());
        }

        #[test]
        fn no_bytes_of_any_framing_panic(bytes: Vec<u8>, kind in 0..5_u8) {
            let end = match kind {
                0 => ReplyEnd::Length(7),
                1 => ReplyEnd::Size {
                    at: 1,
                    form: Packed::parse("h2").unwrap(),
                    add: 3,
                    tail: vec![3],
                },
                2 => ReplyEnd::Lines { end: b"\n".to_vec(), last: vec![b"ok".to_vec()] },
                3 => ReplyEnd::Idle(std::time::Duration::from_millis(10)),
                _ => ReplyEnd::Bytes(vec![vec![3], vec![4, 5]]),
            };
            let codec = TextCodec { reply_end: end, reply_start: vec![2], ..TextCodec::plain() };
            let mut arrived = bytes;
            for _ in 0..4 {
                let _ = codec.take(&mut arrived);
            }
            let _ = codec.take_idle(&mut arrived);
        }
    }
}
