//! Text protocols: where an answer begins and ends, whose it is, and what it says about the
//! instrument before it says anything about the question.
//!
//! ```text
//! noise  start  prefix  status  value or error  end
//!        \x02   00      I       1.500           \x03
//! ```

use std::collections::BTreeMap;

use super::pattern::{Found, Pattern};
use super::types::{FailureKind, Sent};
use crate::spec::instrument::{ErrorClass, StatusClass};
use crate::wire::printable::{printable, text_of};

/// Longest answer unless the definition says otherwise.
pub(super) const LONGEST_REPLY: usize = 4096;

/// Framing and status of one instrument, with its configuration filled in.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TextCodec {
    pub prefix: String,
    pub end: Vec<u8>,
    pub reply_start: Vec<u8>,
    pub reply_end: ReplyEnd,
    pub longest: usize,
    /// Address every answer begins with.
    pub reply_prefix: String,
    pub status: Option<StatusTable>,
    pub errors: BTreeMap<String, (String, ErrorClass)>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum ReplyEnd {
    Bytes(Vec<u8>),
    Length(usize),
    Idle(std::time::Duration),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct StatusTable {
    /// The first word instead of the first letter.
    pub word: bool,
    pub map: BTreeMap<String, StatusClass>,
    pub alarms: BTreeMap<String, (String, ErrorClass)>,
}

/// What an answer said.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reply {
    pub status: Option<StatusClass>,
    /// What follows the status.
    pub data: String,
}

/// Why something with an instrument failed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fault {
    pub kind: FailureKind,
    pub message: String,
    pub effect: Sent,
    /// The instrument restarted: what it was told before is gone.
    pub rebooted: bool,
    /// The connection is of no more use.
    pub broken: bool,
}

impl Fault {
    pub fn new(kind: FailureKind, effect: Sent, message: impl Into<String>) -> Fault {
        Fault { kind, message: message.into(), effect, rebooted: false, broken: false }
    }

    /// A value that cannot be sent; nothing left.
    pub fn not_sent(message: impl Into<String>) -> Fault {
        Fault::new(FailureKind::Internal, Sent::NotSent, message)
    }

    pub fn broken(mut self) -> Fault {
        self.broken = true;
        self
    }
}

/// A message of an instrument that says that something is wrong.
fn complaint(text: &str, class: ErrorClass, raw: &str, alarm: bool) -> Fault {
    let (kind, rebooted) = match class {
        ErrorClass::Retry => (FailureKind::BadReply, false),
        ErrorClass::Busy => (FailureKind::Busy, false),
        ErrorClass::Refused | ErrorClass::Operator => (FailureKind::Refused, false),
        ErrorClass::Rebooted => (FailureKind::Alarm, true),
        ErrorClass::Reinit => (FailureKind::Alarm, alarm),
        ErrorClass::Fatal => (FailureKind::Alarm, false),
    };
    // An error says that the command was not carried out; an alarm stands in place of the answer
    // and says nothing about the command.
    let effect = match class {
        _ if alarm => Sent::Unknown,
        ErrorClass::Fatal | ErrorClass::Rebooted => Sent::Unknown,
        ErrorClass::Retry
        | ErrorClass::Busy
        | ErrorClass::Refused
        | ErrorClass::Operator
        | ErrorClass::Reinit => Sent::NoEffect,
    };
    Fault {
        kind,
        message: format!("it says that {text} ({})", printable(raw.as_bytes())),
        effect,
        rebooted,
        broken: false,
    }
}

impl TextCodec {
    /// The bytes of a message.
    pub fn frame(&self, body: &str) -> Result<Vec<u8>, Fault> {
        let text = format!("{}{body}", self.prefix);
        let mut bytes = crate::wire::printable::bytes_of(&text).ok_or_else(|| {
            Fault::not_sent(format!("{text:?} holds characters that are no bytes"))
        })?;
        if !self.end.is_empty() && contains(&bytes, &self.end) {
            return Err(Fault::not_sent(format!("{text:?} holds the end of a message")));
        }
        bytes.extend(&self.end);
        Ok(bytes)
    }

    /// Takes one answer, without its frame, from what has arrived; `None` while it is incomplete.
    /// What stands before its start is noise and is dropped.
    pub fn take(&self, arrived: &mut Vec<u8>) -> Result<Option<Vec<u8>>, String> {
        if !self.reply_start.is_empty() {
            match position(arrived, &self.reply_start) {
                Some(0) => {}
                Some(at) => {
                    arrived.drain(..at);
                }
                None => {
                    // The start itself may be cut.
                    let keep = arrived.len().min(self.reply_start.len().saturating_sub(1));
                    if arrived.len() > self.longest {
                        return Err(format!(
                            "{} bytes without the start of an answer",
                            arrived.len()
                        ));
                    }
                    let noise = arrived.len() - keep;
                    arrived.drain(..noise);
                    return Ok(None);
                }
            }
        }
        let body = self.reply_start.len();
        let (length, whole) = match &self.reply_end {
            ReplyEnd::Idle(_) if arrived.len() > self.longest => {
                return Err(format!("an answer longer than {} bytes", self.longest));
            }
            ReplyEnd::Idle(_) => return Ok(None),
            ReplyEnd::Length(length) if arrived.len() >= body + length => (*length, body + length),
            ReplyEnd::Length(_) => return Ok(None),
            ReplyEnd::Bytes(end) => match position(arrived.get(body..).unwrap_or_default(), end) {
                Some(length) => (length, body + length + end.len()),
                None if arrived.len() > self.longest => {
                    return Err(format!("an answer longer than {} bytes", self.longest));
                }
                None => return Ok(None),
            },
        };
        let frame = arrived.get(body..body + length).unwrap_or_default().to_vec();
        arrived.drain(..whole.min(arrived.len()));
        // A second start inside: the first answer was cut off and another began.
        if !self.reply_start.is_empty()
            && let Some(at) = last_position(&frame, &self.reply_start)
        {
            let later = frame.get(at + self.reply_start.len()..).unwrap_or_default();
            return Ok(Some(later.to_vec()));
        }
        Ok(Some(frame))
    }

    /// A received answer with its frame again, for the trace.
    pub fn framed(&self, frame: &[u8]) -> Vec<u8> {
        let end: &[u8] = match &self.reply_end {
            ReplyEnd::Bytes(end) => end,
            ReplyEnd::Length(_) | ReplyEnd::Idle(_) => &[],
        };
        [self.reply_start.as_slice(), frame, end].concat()
    }

    /// What silence after some bytes means: the whole answer, when answers end that way.
    pub fn take_idle(&self, arrived: &mut Vec<u8>) -> Option<Vec<u8>> {
        match &self.reply_end {
            ReplyEnd::Idle(_) if arrived.len() >= self.reply_start.len() => {
                let frame = arrived.get(self.reply_start.len()..).unwrap_or_default().to_vec();
                arrived.clear();
                Some(frame)
            }
            _ => None,
        }
    }

    /// Reads an answer. `Ok(None)` when it is another instrument's and must be passed over.
    pub fn read(&self, frame: &[u8]) -> Result<Option<Reply>, Fault> {
        let text = text_of(frame);
        let Some(rest) = text.strip_prefix(self.reply_prefix.as_str()) else { return Ok(None) };
        let (status, data) = match &self.status {
            None => (None, rest),
            Some(table) => {
                let length = if table.word {
                    rest.find(' ').unwrap_or(rest.len())
                } else {
                    rest.chars().next().map_or(0, char::len_utf8)
                };
                let (word, data) = rest.split_at(length);
                let Some(class) = table.map.get(word) else {
                    return Err(Fault::new(
                        FailureKind::BadReply,
                        Sent::Unknown,
                        format!(
                            "`{}` is no status it is known to have",
                            printable(word.as_bytes())
                        ),
                    ));
                };
                if *class == StatusClass::Alarm {
                    let (text, kind) = match table.alarms.get(data.trim()) {
                        Some((text, kind)) => (text.as_str(), *kind),
                        None => ("there is an alarm", ErrorClass::Fatal),
                    };
                    return Err(complaint(text, kind, rest, true));
                }
                (Some(*class), data)
            }
        };
        if let Some((text, class)) = self.errors.get(data.trim()) {
            return Err(complaint(text, *class, data, false));
        }
        if status == Some(StatusClass::Error) {
            return Err(Fault::new(
                FailureKind::Refused,
                Sent::NoEffect,
                format!("it answers with an error ({})", printable(data.as_bytes())),
            ));
        }
        Ok(Some(Reply { status, data: data.to_owned() }))
    }
}

impl Reply {
    /// Reads the value a pattern looks for.
    pub fn find(&self, pattern: &Pattern) -> Result<Found, Fault> {
        pattern
            .find(&self.data)
            .map_err(|why| Fault::new(FailureKind::BadReply, Sent::Unknown, why))
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pump() -> TextCodec {
        let error = |text: &str, class| (text.to_owned(), class);
        TextCodec {
            prefix: "1".to_owned(),
            end: b"\r".to_vec(),
            reply_start: b"\x02".to_vec(),
            reply_end: ReplyEnd::Bytes(b"\x03".to_vec()),
            longest: 32,
            reply_prefix: "01".to_owned(),
            status: Some(StatusTable {
                word: false,
                map: [
                    ("I", StatusClass::Busy),
                    ("S", StatusClass::Ready),
                    ("A", StatusClass::Alarm),
                ]
                .map(|(word, class)| (word.to_owned(), class))
                .into(),
                alarms: [("?R".to_owned(), error("power was interrupted", ErrorClass::Rebooted))]
                    .into(),
            }),
            errors: [
                ("?NA".to_owned(), error("not now", ErrorClass::Busy)),
                ("?".to_owned(), error("unknown", ErrorClass::Operator)),
            ]
            .into(),
        }
    }

    fn reply(bytes: &[u8]) -> Result<Option<Reply>, Fault> {
        let codec = pump();
        let frame = codec.take(&mut bytes.to_vec()).unwrap().unwrap();
        codec.read(&frame)
    }

    #[test]
    fn status_comes_before_the_value() {
        let reply = reply(b"\x0201I1.5\x03").unwrap().unwrap();
        assert_eq!((reply.status, reply.data.as_str()), (Some(StatusClass::Busy), "1.5"));
    }

    #[test]
    fn the_answer_of_another_address_is_passed_over() {
        assert_eq!(reply(b"\x0200S\x03"), Ok(None));
    }

    #[test]
    fn an_alarm_replaces_the_answer_and_leaves_the_effect_unknown() {
        let fault = reply(b"\x0201A?R\x03").unwrap_err();
        assert_eq!(
            (fault.kind, fault.effect, fault.rebooted),
            (FailureKind::Alarm, Sent::Unknown, true)
        );
        let fault = reply(b"\x0201A?X\x03").unwrap_err();
        assert_eq!((fault.kind, fault.rebooted), (FailureKind::Alarm, false));
    }

    #[test]
    fn an_error_says_that_nothing_happened() {
        let fault = reply(b"\x0201S?NA\x03").unwrap_err();
        assert_eq!((fault.kind, fault.effect), (FailureKind::Busy, Sent::NoEffect));
        let fault = reply(b"\x0201S?\x03").unwrap_err();
        assert_eq!((fault.kind, fault.effect), (FailureKind::Refused, Sent::NoEffect));
    }

    #[test]
    fn an_unknown_status_is_a_bad_reply() {
        assert_eq!(reply(b"\x0201Q\x03").unwrap_err().kind, FailureKind::BadReply);
        assert_eq!(reply(b"\x0201\x03").unwrap_err().kind, FailureKind::BadReply);
    }

    #[test]
    fn noise_and_cut_answers_before_an_answer_are_dropped() {
        let codec = pump();
        for bytes in [&b"garbage\x0201S\x03"[..], b"\x0201I1.\x0201S\x03"] {
            assert_eq!(codec.take(&mut bytes.to_vec()), Ok(Some(b"01S".to_vec())), "{bytes:?}");
        }
        assert!(codec.take(&mut vec![b'x'; 40]).is_err());
        assert!(codec.take(&mut [b"\x02", vec![b'x'; 40].as_slice()].concat()).is_err());
    }

    #[test]
    fn an_answer_may_arrive_byte_by_byte() {
        let codec = pump();
        let mut arrived = Vec::new();
        for byte in b"\x0201S" {
            arrived.push(*byte);
            assert_eq!(codec.take(&mut arrived), Ok(None));
        }
        arrived.push(3);
        assert_eq!(codec.take(&mut arrived), Ok(Some(b"01S".to_vec())));
        assert!(arrived.is_empty());
    }

    #[test]
    fn a_message_cannot_hold_its_own_end() {
        assert_eq!(pump().frame("RUN").unwrap(), b"1RUN\r");
        assert!(pump().frame("RUN\rRUN").is_err());
        assert!(pump().frame("\u{20ac}").is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_memory_is_bounded(chunks: Vec<Vec<u8>>) {
            let codec = pump();
            let mut arrived = Vec::new();
            for chunk in chunks {
                arrived.extend(chunk);
                match codec.take(&mut arrived) {
                    Ok(Some(frame)) => { let _ = codec.read(&frame); }
                    Ok(None) => {}
                    Err(_) => arrived.clear(),
                }
                prop_assert!(arrived.len() <= 32 + 300);
            }
        }
    }
}
