//! How far a value can be trusted, and why.
//!
//! The levels are those of OPC UA (Part 8, 6.3: good, uncertain, bad). The reasons are a closed
//! list, so that rules, colours and statistics can rest on them; what the instrument itself said
//! stands beside the reason as a code or a note.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Notes kept apart; an instrument that says more different things than this says noise.
pub const NOTES_MAX: usize = 4_096;
/// Bytes of a note that are kept.
pub const NOTE_BYTES_MAX: usize = 120;

/// How far a value can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Level {
    /// Fresh, and within what the instrument promises.
    Good = 0,
    /// Usable with care.
    Uncertain = 1,
    /// Not to be used.
    Bad = 2,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::Good => "good",
            Level::Uncertain => "uncertain",
            Level::Bad => "bad",
        })
    }
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal, $level:ident, $text:literal;)+) => {
        /// Why a value is as good as it is. Codes are never used again for something else.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Reason {
            $($(#[doc = $doc])+ $name = $code,)+
        }

        impl Reason {
            /// All of them.
            pub const ALL: &[Reason] = &[$(Reason::$name),+];

            /// The level that goes with it.
            pub const fn level(self) -> Level {
                match self { $(Reason::$name => Level::$level,)+ }
            }

            /// A few words, for people.
            pub const fn text(self) -> &'static str {
                match self { $(Reason::$name => $text,)+ }
            }

            /// The reason of a code; `None` for one that a newer labloop wrote.
            pub const fn from_code(code: u8) -> Option<Reason> {
                match code { $($code => Some(Reason::$name),)+ _ => None }
            }
        }
    };
}

reasons! {
    /// Nothing is wrong.
    Fine = 0, Good, "good";
    /// Worked out, not measured.
    Estimated = 1, Uncertain, "estimated";
    /// A person or a rule put another value in its place.
    Replaced = 2, Uncertain, "replaced";
    /// The device's clock is off: the time is that of arrival.
    ClockSkewed = 3, Uncertain, "the device's clock is off";
    /// Its time lies before that of the value before: it is taken to be of the same time.
    OutOfOrder = 4, Uncertain, "came out of order";
    /// At the end of the measuring range, where more would look the same.
    Limited = 5, Uncertain, "at the end of the range";
    /// The sensor has not settled yet.
    Settling = 6, Uncertain, "settling";
    /// The calibration has run out or is missing.
    Uncalibrated = 7, Uncertain, "not calibrated";
    /// Never read since the start.
    NeverRead = 32, Bad, "never read";
    /// Older than its maximum age.
    Stale = 33, Bad, "stale";
    /// Beyond what can be.
    OutOfRange = 34, Bad, "out of range";
    /// Not a number, or an infinite one.
    NotANumber = 35, Bad, "not a number";
    /// The instrument says that its sensor is at fault; the code is the instrument's.
    SensorError = 36, Bad, "sensor error";
    /// The connection is lost.
    LinkLost = 37, Bad, "connection lost";
    /// The answer could not be read.
    Unreadable = 38, Bad, "answer not readable";
    /// No answer in time.
    NoAnswer = 39, Bad, "no answer";
    /// Taken out of service by a person.
    OutOfService = 40, Bad, "out of service";
    /// Some other reason; the note says which.
    Other = 63, Bad, "not usable";
}

/// What the instrument said, as an entry of [`Notes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Note(u16);

/// How far a value can be trusted, why, and what the instrument said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Quality {
    /// Why.
    pub reason: Reason,
    /// The instrument's own error code; 0 if it gave none.
    pub code: u16,
    /// What it said; the default is nothing.
    pub note: Note,
}

impl Quality {
    /// Nothing is wrong.
    pub const GOOD: Quality = Quality::because(Reason::Fine);

    /// The quality that goes with a reason.
    pub const fn because(reason: Reason) -> Quality {
        Quality { reason, code: 0, note: Note(0) }
    }

    /// A sensor error with the instrument's own code.
    pub const fn sensor_error(code: u16) -> Quality {
        Quality { reason: Reason::SensorError, code, note: Note(0) }
    }

    /// The same with a note.
    pub const fn with_note(self, note: Note) -> Quality {
        Quality { note, ..self }
    }

    /// How far the value can be trusted.
    pub const fn level(self) -> Level {
        self.reason.level()
    }

    /// The one of two that says worse; the first of equals.
    pub fn worse(self, other: Quality) -> Quality {
        if other.level() > self.level() { other } else { self }
    }

    /// As one number: level, reason and code; its two low bits are the level, 0 to 2.
    pub const fn to_bits(self) -> u32 {
        self.level() as u32 | (self.reason as u32) << 2 | (self.code as u32) << 16
    }

    /// The inverse of [`Quality::to_bits`]; what a newer labloop wrote keeps its level.
    pub fn from_bits(bits: u32) -> Quality {
        let code = (bits >> 16) as u16;
        let reason = match Reason::from_code((bits >> 2 & 0x3f) as u8) {
            Some(reason) if reason.level() as u32 == bits & 3 => reason,
            _ => match bits & 3 {
                0 => Reason::Fine,
                1 => Reason::Estimated,
                _ => Reason::Other,
            },
        };
        Quality { reason, code, note: Note(0) }
    }
}

impl fmt::Display for Quality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.level(), self.code) {
            (Level::Good, _) => f.write_str("good"),
            (level, 0) => write!(f, "{level}: {}", self.reason.text()),
            (level, code) => write!(f, "{level}: {} {code}", self.reason.text()),
        }
    }
}

/// What instruments said, each text once.
#[derive(Debug, Clone, Default)]
pub struct Notes {
    texts: Vec<Arc<str>>,
    numbers: BTreeMap<Arc<str>, u16>,
}

impl Notes {
    /// The note of a text, cut to [`NOTE_BYTES_MAX`]. When [`NOTES_MAX`] are known, a new text
    /// becomes a last one that says so.
    pub fn note(&mut self, text: &str) -> Note {
        let text = text.get(..text.floor_char_boundary(NOTE_BYTES_MAX)).unwrap_or_default();
        if text.is_empty() {
            return Note(0);
        }
        if let Some(number) = self.numbers.get(text) {
            return Note(*number);
        }
        let text: Arc<str> = match self.texts.len() {
            0..NOTES_MAX => text.into(),
            NOTES_MAX => "(too many different notes to keep)".into(),
            _ => return Note(NOTES_MAX as u16 + 1),
        };
        self.texts.push(text.clone());
        let number = self.texts.len() as u16;
        self.numbers.insert(text, number);
        Note(number)
    }

    /// The text of a note; `None` for the empty one.
    pub fn text(&self, note: Note) -> Option<&Arc<str>> {
        self.texts.get(usize::from(note.0).checked_sub(1)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_keeps_its_code_and_level() {
        for reason in Reason::ALL {
            assert_eq!(Reason::from_code(*reason as u8), Some(*reason));
            let quality = Quality { reason: *reason, code: 4711, note: Note(0) };
            assert_eq!(Quality::from_bits(quality.to_bits()), quality);
            assert_eq!(quality.to_bits() & 3, reason.level() as u32);
        }
        assert_eq!(
            Quality::from_bits(2 | 50 << 2 | 7 << 16),
            Quality { code: 7, ..Quality::because(Reason::Other) }
        );
        assert_eq!(Quality::sensor_error(12).to_string(), "bad: sensor error 12");
        let (stale, good) = (Quality::because(Reason::Stale), Quality::GOOD);
        assert_eq!((good.worse(stale), stale.worse(good)), (stale, stale));
    }

    #[test]
    fn notes_are_kept_once_and_are_bounded() {
        let mut notes = Notes::default();
        let heater = notes.note("E03 heater open");
        assert_eq!(notes.note("E03 heater open"), heater);
        assert_eq!(notes.text(heater).unwrap().as_ref(), "E03 heater open");
        assert_eq!(notes.note(""), Note::default());
        assert!(notes.text(Note::default()).is_none());
        let long = notes.note(&"é".repeat(500));
        assert!(notes.text(long).unwrap().len() <= NOTE_BYTES_MAX);
        for n in 0..2 * NOTES_MAX {
            notes.note(&format!("noise {n}"));
        }
        assert_eq!(notes.texts.len(), NOTES_MAX + 1);
        let more = notes.note("one more");
        assert!(notes.text(more).unwrap().contains("too many"));
    }
}
