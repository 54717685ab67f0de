//! What is told of alarms and kept in the journal.

use serde::{Deserialize, Serialize};

use crate::diagnostics::Moment;

/// How soon a person must act.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// In this shift.
    #[default]
    Low,
    /// Within the hour.
    Medium,
    /// Within minutes.
    High,
    /// Now: something may be harmed. It can neither be shelved nor taken out of service.
    Critical,
}

impl Priority {
    /// As written in YAML and the journal.
    pub const fn as_str(self) -> &'static str {
        match self {
            Priority::Low => "low",
            Priority::Medium => "medium",
            Priority::High => "high",
            Priority::Critical => "critical",
        }
    }
}

/// Which alarm: its source and its kind, such as `pump_1` and `stalled`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AlarmKey {
    /// Instrument, line, interlock or `engine`.
    pub source: String,
    /// What is wrong with it, in one word of ours.
    pub kind: String,
}

impl AlarmKey {
    /// The alarm of this kind of this source.
    pub fn new(source: impl Into<String>, kind: impl Into<String>) -> AlarmKey {
        AlarmKey { source: source.into(), kind: kind.into() }
    }
}

impl std::fmt::Display for AlarmKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.source, self.kind)
    }
}

/// How an alarm behaves and what it tells; given each time its condition begins to hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Declared {
    /// How soon a person must act.
    pub priority: Priority,
    /// What is wrong, with figures.
    pub what: String,
    /// What a person should do.
    pub todo: String,
    /// Its condition must hold for so long first, in nanoseconds of lab time.
    pub on_delay: u64,
    /// It must be over for so long, in nanoseconds of lab time.
    pub off_delay: u64,
    /// A person must reset it.
    pub latch: bool,
    /// The alarm of which it is a consequence: while that one holds, this one is shown under it.
    pub cause: Option<AlarmKey>,
}

/// What became of an alarm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlarmRecord {
    /// Its condition holds.
    Raised {
        /// Which.
        key: AlarmKey,
        /// When.
        at: Moment,
        /// What it tells.
        declared: Declared,
        /// Nothing else stood when it was raised: the first of a cascade.
        first_out: bool,
    },
    /// It is a consequence of an alarm that stands, or no longer.
    Suppressed {
        /// Which.
        key: AlarmKey,
        /// When.
        at: Moment,
        /// By which; `None`: it is shown by itself from now on.
        by: Option<AlarmKey>,
    },
    /// Its condition is over.
    Returned {
        /// Which.
        key: AlarmKey,
        /// When.
        at: Moment,
    },
    /// A person knows of it.
    Acknowledged {
        /// Which.
        key: AlarmKey,
        /// When.
        at: Moment,
        /// Who.
        by: String,
    },
    /// A person has looked and lets a latched one go.
    Reset {
        /// Which.
        key: AlarmKey,
        /// When.
        at: Moment,
        /// Who.
        by: String,
    },
    /// A person does not want to see it for a while.
    Shelved {
        /// Which.
        key: AlarmKey,
        /// When.
        at: Moment,
        /// Until when.
        until: Moment,
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// It is in sight again.
    Unshelved {
        /// Which.
        key: AlarmKey,
        /// When.
        at: Moment,
        /// Who; `None`: its time was up.
        by: Option<String>,
    },
    /// It is of no use for now: its sensor is being repaired, say.
    OutOfService {
        /// Which.
        key: AlarmKey,
        /// When.
        at: Moment,
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// It counts again.
    InService {
        /// Which.
        key: AlarmKey,
        /// When.
        at: Moment,
        /// Who.
        by: String,
    },
}

impl AlarmRecord {
    /// Which alarm it is about.
    pub fn key(&self) -> &AlarmKey {
        match self {
            AlarmRecord::Raised { key, .. }
            | AlarmRecord::Suppressed { key, .. }
            | AlarmRecord::Returned { key, .. }
            | AlarmRecord::Acknowledged { key, .. }
            | AlarmRecord::Reset { key, .. }
            | AlarmRecord::Shelved { key, .. }
            | AlarmRecord::Unshelved { key, .. }
            | AlarmRecord::OutOfService { key, .. }
            | AlarmRecord::InService { key, .. } => key,
        }
    }
}
