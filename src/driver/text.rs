//! Text protocols: where an answer begins and ends, whose it is, and what it says about the
//! instrument before it says anything about the question.
//!
//! ```text
//! noise  start  prefix  status  value or error  end
//!        \x02   00      I       1.500           \x03
//! ```

use std::collections::BTreeMap;

use super::checksum::Checksum;
use super::forms::Packed;
use super::pattern::{Found, Pattern};
use super::types::{FailureKind, Sent};
use crate::spec::instrument::{ErrorClass, StatusBits, StatusClass, UnsolicitedAction};
use crate::wire::printable::{printable, text_of};

/// Longest answer unless the definition says otherwise.
pub(super) const LONGEST_REPLY: usize = 4096;

/// Framing and status of one instrument, with its configuration filled in.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TextCodec {
    pub start: Vec<u8>,
    pub prefix: String,
    pub end: Vec<u8>,
    /// Messages sent as they stand.
    pub bare: Vec<Vec<u8>>,
    /// Form of the length that follows the start of a message, and what is added to the length of
    /// address and body.
    pub size: Option<(Packed, usize)>,
    /// Byte that is doubled inside of messages and answers.
    pub escape: Option<u8>,
    pub checksum: Option<Checksum>,
    pub reply_start: Vec<u8>,
    pub reply_end: ReplyEnd,
    pub longest: usize,
    /// The instrument repeats what was sent before it answers.
    pub echo: bool,
    /// Bytes that mean nothing in what arrives.
    pub drop: Vec<u8>,
    /// Address every answer begins with.
    pub reply_prefix: String,
    pub status: Option<StatusTable>,
    pub errors: BTreeMap<String, (String, ErrorClass)>,
    /// Errors whose text varies.
    pub error_patterns: Vec<(Pattern, (String, ErrorClass))>,
    pub unsolicited: Vec<UnsolicitedPlan>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum ReplyEnd {
    /// The first of these; where there are several, one that stands alone is the answer itself.
    Bytes(Vec<Vec<u8>>),
    /// A line that begins with one of these.
    Lines {
        end: Vec<u8>,
        last: Vec<Vec<u8>>,
    },
    /// A field at a place of the frame, what is added to it, and the last bytes of the frame.
    Size {
        at: usize,
        form: Packed,
        add: usize,
        tail: Vec<u8>,
    },
    Length(usize),
    Idle(std::time::Duration),
}

/// Something the instrument says unasked.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct UnsolicitedPlan {
    pub pattern: Pattern,
    pub action: UnsolicitedAction,
    pub text: String,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct StatusTable {
    pub form: StatusForm,
    /// What a status means that is an error or an alarm, by its text or its number.
    pub codes: BTreeMap<String, (String, ErrorClass)>,
    pub alarms: BTreeMap<String, (String, ErrorClass)>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum StatusForm {
    /// The first letter.
    Letter(BTreeMap<String, StatusClass>),
    /// Everything up to a space.
    Word(BTreeMap<String, StatusClass>),
    /// The bits of the first byte.
    Byte { busy: StatusBits, error_mask: u8 },
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
    /// Nothing is wrong: a safe state goes first, and this may be tried again after it.
    pub yields: bool,
}

impl Fault {
    pub fn new(kind: FailureKind, effect: Sent, message: impl Into<String>) -> Fault {
        Fault {
            kind,
            message: message.into(),
            effect,
            rebooted: false,
            broken: false,
            yields: false,
        }
    }

    /// A value that cannot be sent; nothing left.
    pub fn not_sent(message: impl Into<String>) -> Fault {
        Fault::new(FailureKind::Internal, Sent::NotSent, message)
    }

    /// Nothing was sent, for a safe state is wanted.
    pub fn yielding() -> Fault {
        let why = "a safe state goes first";
        Fault { yields: true, ..Fault::new(FailureKind::Gate, Sent::NotSent, why) }
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
        yields: false,
    }
}

impl TextCodec {
    /// Reads an answer. `Ok(None)` when it is another instrument's and must be passed over. With
    /// `lenient`, a status that is an error is no failure: whoever asked wants to see it.
    pub fn read(&self, frame: &[u8], lenient: bool) -> Result<Option<Reply>, Fault> {
        let bad = |why: String| Fault::new(FailureKind::BadReply, Sent::Unknown, why);
        let frame = match &self.checksum {
            Some(sum) if sum.replies => {
                let address = self.reply_prefix.chars().count();
                sum.strip(&self.reply_start, address, frame, self.reply_tail()).map_err(bad)?
            }
            _ => frame,
        };
        let text = text_of(frame);
        let Some(rest) = text.strip_prefix(self.reply_prefix.as_str()) else { return Ok(None) };
        let (status, data) = match &self.status {
            None => (None, rest),
            Some(table) => {
                let (status, data) = table.read(rest, lenient)?;
                (Some(status), data)
            }
        };
        // Of several lines the last says how it went.
        let last = data.trim_end().rsplit(['\n', '\r']).next().unwrap_or_default();
        let known = self.error(data.trim()).or_else(|| self.error(last.trim()));
        if let Some((text, class)) = known.filter(|_| !lenient) {
            return Err(complaint(text, *class, data, false));
        }
        if status == Some(StatusClass::Error) && !lenient {
            return Err(Fault::new(
                FailureKind::Refused,
                Sent::NoEffect,
                format!("it answers with an error ({})", printable(data.as_bytes())),
            ));
        }
        Ok(Some(Reply { status, data: data.to_owned() }))
    }

    /// What an error text means: the entry with exactly this text, else the first pattern it
    /// matches, else the longest entry that ends with `*` and has the same beginning.
    fn error(&self, data: &str) -> Option<&(String, ErrorClass)> {
        let begins = |key: &str| {
            key.strip_suffix('*').is_some_and(|start| !start.is_empty() && data.starts_with(start))
        };
        let matched = || self.error_patterns.iter().find(|(pattern, _)| pattern.find(data).is_ok());
        self.errors.get(data).or_else(|| matched().map(|entry| &entry.1)).or_else(|| {
            self.errors
                .iter()
                .filter(|(key, _)| begins(key))
                .max_by_key(|(key, _)| key.len())
                .map(|e| e.1)
        })
    }

    /// What a message means that nobody asked for; `None` when it is an answer.
    pub fn unasked(&self, frame: &[u8]) -> Option<&UnsolicitedPlan> {
        if self.unsolicited.is_empty() {
            return None;
        }
        let text = text_of(frame);
        self.unsolicited.iter().find(|unasked| unasked.pattern.find(&text).is_ok())
    }
}

impl StatusTable {
    /// Takes the status off an answer.
    pub fn read<'t>(&self, rest: &'t str, lenient: bool) -> Result<(StatusClass, &'t str), Fault> {
        let length = match &self.form {
            StatusForm::Word(_) => rest.find(' ').unwrap_or(rest.len()),
            StatusForm::Letter(_) | StatusForm::Byte { .. } => {
                rest.chars().next().map_or(0, char::len_utf8)
            }
        };
        let (word, data) = rest.split_at(length);
        let (class, code) = match &self.form {
            StatusForm::Letter(map) | StatusForm::Word(map) => {
                let Some(class) = map.get(word) else {
                    return Err(Fault::new(
                        FailureKind::BadReply,
                        Sent::Unknown,
                        format!("`{}` is no status it is known to have", printable(&latin(word))),
                    ));
                };
                let class = *class;
                let bad = matches!(class, StatusClass::Error | StatusClass::Alarm);
                (class, (bad && self.codes.contains_key(word)).then(|| word.to_owned()))
            }
            StatusForm::Byte { busy, error_mask } => {
                let Some(byte) = latin(word).first().copied() else {
                    let why = "the answer has no status byte";
                    return Err(Fault::new(FailureKind::BadReply, Sent::Unknown, why));
                };
                let error = byte & error_mask;
                let is_busy = byte & busy.mask == busy.is;
                let class = match (error, is_busy) {
                    (0, true) => StatusClass::Busy,
                    (0, false) => StatusClass::Ready,
                    _ if lenient && is_busy => StatusClass::Busy,
                    _ if lenient => StatusClass::Ready,
                    _ => StatusClass::Error,
                };
                let error = error >> error_mask.trailing_zeros().min(7);
                (class, (error != 0).then(|| error.to_string()))
            }
        };
        if lenient && class != StatusClass::Alarm {
            return Ok((class, data));
        }
        if let Some(code) = code {
            let alarm = class == StatusClass::Alarm;
            return Err(match self.codes.get(&code) {
                Some((text, kind)) => complaint(text, *kind, rest, alarm),
                None => {
                    complaint(&format!("there is error {code}"), ErrorClass::Operator, rest, alarm)
                }
            });
        }
        if class == StatusClass::Alarm {
            let (text, kind) = match self.alarms.get(data.trim()) {
                Some((text, kind)) => (text.as_str(), *kind),
                None => ("there is an alarm", ErrorClass::Fatal),
            };
            return Err(complaint(text, kind, rest, true));
        }
        Ok((class, data))
    }
}

fn latin(text: &str) -> Vec<u8> {
    crate::wire::printable::bytes_of(text).unwrap_or_default()
}

impl Reply {
    /// Reads the value a pattern looks for.
    pub fn find(&self, pattern: &Pattern) -> Result<Found, Fault> {
        pattern
            .find(&self.data)
            .map_err(|why| Fault::new(FailureKind::BadReply, Sent::Unknown, why))
    }
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
            reply_end: ReplyEnd::Bytes(vec![b"\x03".to_vec()]),
            longest: 32,
            reply_prefix: "01".to_owned(),
            status: Some(StatusTable {
                form: StatusForm::Letter(
                    [
                        ("I", StatusClass::Busy),
                        ("S", StatusClass::Ready),
                        ("A", StatusClass::Alarm),
                    ]
                    .map(|(word, class)| (word.to_owned(), class))
                    .into(),
                ),
                codes: BTreeMap::new(),
                alarms: [("?R".to_owned(), error("power was interrupted", ErrorClass::Rebooted))]
                    .into(),
            }),
            errors: [
                ("?NA".to_owned(), error("not now", ErrorClass::Busy)),
                ("?".to_owned(), error("unknown", ErrorClass::Operator)),
            ]
            .into(),
            ..TextCodec::plain()
        }
    }

    fn reply(bytes: &[u8]) -> Result<Option<Reply>, Fault> {
        let codec = pump();
        let frame = codec.take(&mut bytes.to_vec()).unwrap().unwrap().frame;
        codec.read(&frame, false)
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
    fn the_bits_of_a_status_byte_are_read() {
        let error = |text: &str, class| (text.to_owned(), class);
        let codec = TextCodec {
            reply_end: ReplyEnd::Bytes(vec![b"\x03\r\n".to_vec()]),
            reply_start: b"/0".to_vec(),
            status: Some(StatusTable {
                form: StatusForm::Byte { busy: StatusBits { mask: 0x20, is: 0 }, error_mask: 0x0F },
                codes: [
                    ("7".to_owned(), error("it is not initialised", ErrorClass::Reinit)),
                    ("15".to_owned(), error("it is busy", ErrorClass::Busy)),
                ]
                .into(),
                alarms: BTreeMap::new(),
            }),
            ..TextCodec::plain()
        };
        let read = |bytes: &[u8], lenient| {
            let frame = codec.take(&mut bytes.to_vec()).unwrap().unwrap().frame;
            codec.read(&frame, lenient).map(Option::unwrap)
        };
        let ready = read(b"/0`3000\x03\r\n", false).unwrap();
        assert_eq!((ready.status, ready.data.as_str()), (Some(StatusClass::Ready), "3000"));
        assert_eq!(read(b"/0@\x03\r\n", false).unwrap().status, Some(StatusClass::Busy));
        let fault = read(b"/0g\x03\r\n", false).unwrap_err();
        assert_eq!((fault.kind, fault.effect), (FailureKind::Alarm, Sent::NoEffect));
        assert_eq!(read(b"/0O\x03\r\n", false).unwrap_err().kind, FailureKind::Busy);
        assert_eq!(read(b"/0i\x03\r\n", false).unwrap_err().kind, FailureKind::Refused);
        // The first answer to an initialise may still carry the error that it clears.
        assert_eq!(read(b"/0G\x03\r\n", true).unwrap().status, Some(StatusClass::Busy));
        assert!(read(b"/0\x03\r\n", false).is_err());
    }

    #[test]
    fn one_of_several_ends_may_be_the_whole_answer() {
        let codec = TextCodec {
            start: vec![2],
            prefix: "P02".to_owned(),
            end: b"\r".to_vec(),
            bare: vec![vec![5]],
            reply_end: ReplyEnd::Bytes(vec![vec![6], vec![0x15], b"\r".to_vec()]),
            ..TextCodec::plain()
        };
        let mut arrived = b"\x06\x15\x02S+5.0\r".to_vec();
        for expected in [&b"\x06"[..], b"\x15", b"\x02S+5.0"] {
            assert_eq!(codec.take(&mut arrived).unwrap().unwrap().frame, expected);
        }
        assert_eq!(codec.frame("H").unwrap(), b"\x02P02H\r");
        assert_eq!(codec.frame("\u{5}").unwrap(), b"\x05");
    }

    #[test]
    fn an_error_may_be_known_by_its_beginning_and_by_its_last_line() {
        let error = |text: &str, class| (text.to_owned(), class);
        let codec = TextCodec {
            errors: [
                ("error:*".to_owned(), error("refused", ErrorClass::Refused)),
                ("error:9".to_owned(), error("locked", ErrorClass::Reinit)),
            ]
            .into(),
            error_patterns: vec![(
                Pattern::parse("04{_:h2}0003{_:h2}").unwrap(),
                error("no such process", ErrorClass::Operator),
            )],
            ..TextCodec::plain()
        };
        let kind = |text: &str| codec.read(text.as_bytes(), false).unwrap_err().kind;
        assert_eq!(kind("error:20"), FailureKind::Refused);
        assert_eq!(kind("error:9"), FailureKind::Alarm);
        assert_eq!(kind("$0=10\r\nerror:20"), FailureKind::Refused);
        assert_eq!(kind("0480000305"), FailureKind::Refused);
        assert!(codec.read(b"0480000005", false).is_ok());
        assert!(codec.read(b"ok", false).is_ok());
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_memory_is_bounded(chunks: Vec<Vec<u8>>) {
            let codec = pump();
            let mut arrived = Vec::new();
            for chunk in chunks {
                arrived.extend(chunk);
                match codec.take(&mut arrived) {
                    Ok(Some(taken)) => { let _ = codec.read(&taken.frame, false); }
                    Ok(None) => {}
                    Err(_) => arrived.clear(),
                }
                prop_assert!(arrived.len() <= 32 + 300);
            }
        }
    }
}
