//! What the engine answers to a request, and what a command has led to.

use serde::{Deserialize, Serialize};

use super::super::hand::Called;
use super::super::live::SignalView;
use super::super::view::View;
use crate::engine::core::Ending;

/// What the engine answers, once what follows from it is durable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reply {
    /// What a command meant for each run and campaign it was for.
    Commanded {
        /// In order of age.
        subjects: Vec<Subject>,
    },
    /// The emergency stop is pressed. The one reply that does not wait for the journal.
    Pressed,
    /// The emergency stop is cleared.
    Cleared,
    /// An answer was taken.
    Answered {
        /// Id of the question.
        question: String,
        /// Run.
        run: String,
        /// Step.
        step: String,
        /// The answer.
        answer: String,
    },
    /// An instrument is in a person's hands.
    Taken {
        /// Runs that have used it; they wait where they need it next.
        runs: Vec<String>,
    },
    /// An instrument was given back.
    Given {
        /// What was done to it that may have had an effect.
        changed: Vec<String>,
        /// Runs that had used it and are held because of that.
        held: Vec<String>,
    },
    /// A command by hand is under way; how it ends comes as the outcome.
    Calling {
        /// Its name in the journal; empty for a reading.
        id: String,
        /// It has ended after so long, in seconds of wall time, and what its wire takes.
        at_most_s: f64,
    },
    /// An instrument is used as it is now.
    Accepted {
        /// What it says who it is; empty if it cannot tell.
        identity: String,
    },
    /// An instrument that was not confirmed safe may be used again.
    Freed {
        /// Run at whose end it was not.
        run: String,
    },
    /// A note is kept.
    Noted,
    /// A campaign was changed.
    Edited {
        /// Campaign.
        campaign: String,
        /// The changes, in words.
        diff: Vec<String>,
    },
    /// An experiment was taken out, or back in.
    Excluded {
        /// Campaign.
        campaign: String,
        /// Experiment.
        experiment: u32,
        /// Back in.
        undo: bool,
    },
    /// A campaign was taken, now or when it was asked for with this key before.
    Submitted {
        /// Its name.
        campaign: String,
    },
    /// What is going on.
    Status(Box<View>),
    /// The signals as they are.
    Signals(Vec<SignalView>),
    /// Nothing was done.
    Refused(Refusal),
}

/// Why nothing was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Class.
    pub kind: RefusalKind,
    /// For people: what is wrong and what to do.
    pub message: String,
}

/// Classes of refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RefusalKind {
    /// There is no run, campaign, question or instrument of that name.
    UnknownId,
    /// The answer is none of the question's options.
    WrongAnswer,
    /// Somebody else was first.
    AlreadyAnswered,
    /// It cannot be done now.
    NotNow,
    /// The request is not one, or too long.
    Malformed,
    /// The texts have mistakes; the message is the report.
    NotCompiled,
    /// It is for another lab than the one that is served.
    OtherLab,
    /// Too many requests wait.
    Busy,
    /// The engine has ended.
    Gone,
}

impl Refusal {
    /// A refusal.
    pub fn new(kind: RefusalKind, message: impl Into<String>) -> Refusal {
        Refusal { kind, message: message.into() }
    }

    pub(super) fn gone() -> Refusal {
        Refusal::new(RefusalKind::Gone, "the engine has ended its work")
    }
}

/// What a command meant for one run or campaign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// Its name.
    pub id: String,
    /// Run or campaign.
    pub kind: SubjectKind,
    /// What the engine made of it.
    pub result: Obeyed,
    /// State it is in now.
    pub state: String,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// What a command can be for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubjectKind {
    /// A run.
    Run,
    /// A campaign.
    Campaign,
}

/// What the engine made of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Obeyed {
    /// It is being carried out.
    Accepted,
    /// There was nothing to do.
    AlreadySo,
    /// It cannot be done.
    Refused,
}

/// Where a command has led.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Runs it was for.
    #[serde(default)]
    pub runs: Vec<RunOutcome>,
    /// All instruments, after an emergency stop.
    #[serde(default)]
    pub instruments: Vec<InstrumentOutcome>,
    /// How a command by hand went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub called: Option<Called>,
}

impl Outcome {
    /// Of a command by hand.
    pub(in super::super) fn of_call(called: Called) -> Outcome {
        Outcome { called: Some(called), ..Outcome::default() }
    }
}

/// Where a command has led one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunOutcome {
    /// Run.
    pub run: String,
    /// State it is in now.
    pub state: String,
    /// How it ended, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
    /// Why, if not complete.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cause: String,
    /// Instruments it had used, if the command touches them.
    #[serde(default)]
    pub instruments: Vec<InstrumentOutcome>,
}

/// What is known of one instrument after a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstrumentOutcome {
    /// Instrument.
    pub instrument: String,
    /// What is known.
    pub state: Safety,
    /// What it said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// Whether an instrument is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Safety {
    /// In its safe state, read back from it.
    Safe,
    /// As the last action of `finally` on it left it.
    LeftByFinally,
    /// In its hold state, read back from it.
    Held,
    /// Holding the run leaves it as it is, watched.
    AsItWas,
    /// Told, but it did not confirm: look at it.
    NotConfirmed,
}
