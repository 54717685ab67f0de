//! What crosses the border between the engine's shell and the drivers.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Definition;
use crate::expr::Value;
use crate::wire::{Address, Tick, Trust};

/// One instrument of a lab, ready to be driven.
#[derive(Debug, Clone)]
pub struct InstrumentSetup {
    /// Name in the lab file.
    pub name: String,
    /// What its model understands.
    pub definition: Arc<Definition>,
    /// Where it is.
    pub at: Address,
    /// Values of the definition's `config:`; defaults are filled in by the driver.
    pub config: BTreeMap<String, Value>,
    /// Password for the wire, if it needs one.
    pub secret: Option<Secret>,
    /// Certificates for the wire; of no meaning where it is not encrypted.
    pub trust: Trust,
}

/// A text that never shows in logs or errors.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// One attempt at one action.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// Identity of the attempt; comes back in its outcome.
    pub attempt: String,
    /// Instrument of the lab.
    pub instrument: String,
    /// Action of its definition.
    pub action: String,
    /// Arguments, all literal.
    pub args: BTreeMap<String, Value>,
    /// At the latest after this much lab time the attempt has ended. The wire's own reply
    /// timeout, in wall time, comes on top, so that a fast lab clock does not fail a slow socket.
    pub deadline: Duration,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The action is complete, by the completion its definition names.
    Done {
        /// What it returned, or the value of a property that was read.
        value: Option<Value>,
        /// All that crossed the wire for it.
        trace: Vec<Exchange>,
    },
    /// It is not.
    Failed {
        /// Class of the failure.
        kind: FailureKind,
        /// For people: what happened, fit to follow "failed to ...: ".
        message: String,
        /// What is known about its effect on the world.
        effect: Sent,
        /// All that crossed the wire for it.
        trace: Vec<Exchange>,
    },
}

/// What is known about the effect of a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sent {
    /// No byte left this machine.
    NotSent,
    /// Bytes left, but the instrument said that it did nothing.
    NoEffect,
    /// Bytes left and nothing proves whether they had an effect.
    Unknown,
}

/// Why an attempt failed. The same list as the graph's, which this module may not import.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// No answer, or not done, in time.
    Timeout,
    /// The answer could not be read.
    BadReply,
    /// The instrument said no.
    Refused,
    /// The instrument is busy.
    Busy,
    /// The instrument reports an alarm.
    Alarm,
    /// No connection.
    Link,
    /// The gate is closed.
    Gate,
    /// Cancelled by whoever asked for it.
    Person,
    /// labloop itself: a value the definition cannot render, a queue that is full.
    Internal,
}

impl FailureKind {
    /// As written in YAML and the journal.
    pub fn as_str(self) -> &'static str {
        match self {
            FailureKind::Timeout => "timeout",
            FailureKind::BadReply => "bad_reply",
            FailureKind::Refused => "refused",
            FailureKind::Busy => "busy",
            FailureKind::Alarm => "alarm",
            FailureKind::Link => "link",
            FailureKind::Gate => "gate",
            FailureKind::Person => "person",
            FailureKind::Internal => "internal",
        }
    }
}

/// One message that crossed a wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// When, in lab time.
    pub at: Tick,
    /// Which way.
    pub way: Way,
    /// The bytes, printable ASCII as it is and everything else as `\r`, `\n` or `\x02`; for MQTT
    /// the topic, a space and the payload. Cut at 2,000 characters.
    pub text: String,
}

/// Where messages are shown as they cross a wire. When it is full, messages are left out of the
/// show; traces keep theirs.
pub type Tap = tokio::sync::mpsc::Sender<Exchange>;

/// Direction of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// To the instrument.
    Out,
    /// From the instrument.
    In,
}

/// What is known of a reading beside its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct About {
    /// What is wrong with a value that is `Missing`, where it can be told; the words are in the
    /// value.
    pub flaw: Option<Flaw>,
    /// When it was measured by the device's own clock, where the device says: milliseconds since
    /// 1970.
    pub device_ms: Option<i64>,
}

impl About {
    /// A value that is wrong in this way.
    pub const fn flaw(flaw: Flaw) -> About {
        About { flaw: Some(flaw), device_ms: None }
    }
}

/// What is wrong with a reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flaw {
    /// No answer in time.
    NoAnswer,
    /// There is no connection.
    LinkLost,
    /// The answer could not be read.
    Unreadable,
    /// The instrument says that it has no good value.
    SensorError,
    /// Outside of what the sensor can measure.
    OutOfRange,
    /// Older than it may be.
    Stale,
}

impl Flaw {
    /// What a failed question says about the value that was asked for; `None` where it says nothing
    /// about the instrument.
    pub const fn of(kind: FailureKind) -> Option<Flaw> {
        match kind {
            FailureKind::Timeout => Some(Flaw::NoAnswer),
            FailureKind::Link => Some(Flaw::LinkLost),
            FailureKind::BadReply => Some(Flaw::Unreadable),
            FailureKind::Refused | FailureKind::Alarm => Some(Flaw::SensorError),
            FailureKind::Busy | FailureKind::Gate | FailureKind::Person | FailureKind::Internal => {
                None
            }
        }
    }
}

/// What drivers tell.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    /// An attempt ended. Exactly one for each accepted command or read.
    Outcome {
        /// The attempt.
        attempt: String,
        /// How it ended.
        outcome: Outcome,
    },
    /// A property was read or streamed. May be dropped when nobody keeps up.
    Sample {
        /// Instrument of the lab.
        instrument: String,
        /// Property of its definition.
        property: String,
        /// The value; `Missing` with the reason when the instrument gave no good one.
        value: Value,
        /// When it was received.
        at: Tick,
        /// What else is known of it.
        about: About,
    },
    /// The connection to an instrument came up (identified and ready) or went down.
    Link {
        /// Instrument of the lab.
        instrument: String,
        /// Now up?
        up: bool,
        /// Why, for people.
        detail: String,
    },
    /// An instrument restarted by itself: witnesses counted before are void.
    Rebooted {
        /// Instrument of the lab.
        instrument: String,
        /// How it showed.
        detail: String,
    },
    /// The first unit that was ever there said who it is; after a reconnect the same must answer.
    Identified {
        /// Instrument of the lab.
        instrument: String,
        /// What it answered.
        identity: String,
    },
    /// Another unit answers than before, or another client has taken the instrument's session over:
    /// nothing but its safe state is sent to it until a person accepts it.
    NotOurs {
        /// Instrument of the lab.
        instrument: String,
        /// What was seen, and what to do.
        detail: String,
    },
    /// The instrument reports an alarm of its own.
    Alarm {
        /// Instrument of the lab.
        instrument: String,
        /// What it said.
        detail: String,
    },
    /// The safe state of an instrument was sent.
    SafeState {
        /// Instrument of the lab.
        instrument: String,
        /// The instrument confirmed every step of it.
        confirmed: bool,
        /// For people.
        detail: String,
        /// All that crossed the wire for it.
        trace: Vec<Exchange>,
    },
}

/// Why a command was not accepted; no outcome follows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The queue of the line is full.
    #[error("the queue of `{0}` is full")]
    Full(String),
    /// The lab has no such instrument.
    #[error("there is no instrument `{0}`")]
    Unknown(String),
    /// The fleet is shutting down.
    #[error("the drivers are shutting down")]
    Closed,
}

/// Why an instrument of the lab cannot be driven.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{instrument}` cannot be driven: {reason}")]
pub struct SetupError {
    /// Name in the lab file.
    pub instrument: String,
    /// What is wrong and what to do about it.
    pub reason: String,
}
