//! What the journal keeps of runs: facts, in the order they were decided or learnt.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Tick;
use super::events::{Failure, InDoubt};
use super::run::StepKey;
use super::states::{Cause, RunState};
use crate::compiler::graph::{Effect, FailureKind, HoldState};
use crate::expr::Value;

/// A step of a run, by its durable path and by its index in the run's stored graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRef {
    /// `run/steady[2]/spectrum`.
    pub path: String,
    /// Node and loop counters; valid only with the graph the run was started with.
    pub key: StepKey,
}

/// What became of an attempt whose effect was in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolution {
    /// It had its effect.
    Done,
    /// It had no effect; it may be sent again.
    NotDone,
    /// Nobody can tell, or only part of it happened: the sample is discarded.
    Discard,
}

/// What a run is given beside its graph, by the campaign it belongs to. Kept with its start, so that
/// it goes on by the same terms whoever takes it up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// What to do where nothing can tell whether a command had its effect; the engine's own rule if
    /// not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_doubt: Option<InDoubt>,
    /// Who goes first where runs want the same instrument: 0 is usual, more goes before.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub priority: i32,
}

impl Terms {
    /// Whether there is nothing to keep.
    pub fn are_default(&self) -> bool {
        *self == Terms::default()
    }
}

/// How a run, or its body, ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// All steps done, all results there.
    Complete,
    /// A step failed.
    Failed,
    /// The sample is lost or in doubt: results must not be used, the experiment may run anew.
    Invalid,
    /// Ended by a person after the step under way; `finally` ran.
    Stopped,
    /// Ended by a person or a trip at once; safe state only.
    Aborted,
}

/// What a question is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum About {
    /// The protocol asks.
    #[default]
    Protocol,
    /// A step failed.
    Failure,
    /// Nothing can tell whether a command had its effect.
    Doubt,
    /// The engine was away for longer than the protocol allows.
    Downtime,
}

/// What is known of a command in doubt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Instrument it was sent to.
    pub instrument: String,
    /// Action of its definition.
    pub action: String,
    /// Arguments as sent.
    pub args: BTreeMap<String, Value>,
    /// When its intent was noted.
    pub sent: Tick,
    /// Attempt, from 1.
    pub attempt: u32,
    /// Property that would prove it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witness: Option<String>,
    /// The witness before it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// The witness now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
    /// Why that proves nothing.
    pub reason: String,
}

fn is_zero(number: &i32) -> bool {
    *number == 0
}

/// One fact about a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// A run began.
    RunStarted {
        /// Run.
        run: String,
        /// Content hash of its compiled graph.
        graph: String,
        /// Hash of the document beside the journal that keeps the graph.
        document: String,
        /// What it was given beside its graph.
        #[serde(default, skip_serializing_if = "Terms::are_default")]
        terms: Terms,
    },
    /// The run came to another state, or another cause holds it too.
    Moved {
        /// Run.
        run: String,
        /// State it is in now.
        to: RunState,
        /// Why.
        cause: Cause,
        /// Who.
        by: String,
        /// For people.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        detail: String,
    },
    /// One of several causes that hold the run has passed.
    Released {
        /// Run.
        run: String,
        /// Cause.
        cause: Cause,
        /// Who.
        by: String,
    },
    /// A command under way is about to be cancelled, because its run is held.
    Cancelling {
        /// Run.
        run: String,
        /// Step.
        step: StepRef,
        /// Attempt of the intent.
        attempt: u32,
    },
    /// An instrument is about to be brought to its hold state.
    ToHold {
        /// Run.
        run: String,
        /// Instrument.
        instrument: String,
        /// Which state that is.
        how: HoldState,
    },
    /// An instrument is in its hold state, or was not confirmed to be.
    AtHold {
        /// Run.
        run: String,
        /// Instrument.
        instrument: String,
        /// Read back from the instrument.
        confirmed: bool,
        /// What it said.
        detail: String,
        /// Bytes sent and received, for people; bounded by the shell.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        trace: String,
    },
    /// Claims were given to a block.
    Held {
        /// Run.
        run: String,
        /// Block.
        step: StepRef,
    },
    /// A step that sends nothing (wait, wait_until, ask, analyse) began.
    Begun {
        /// Run.
        run: String,
        /// Step.
        step: StepRef,
    },
    /// A command is about to be sent. Durable before the first byte.
    Intent {
        /// Run.
        run: String,
        /// Step.
        step: StepRef,
        /// From 1.
        attempt: u32,
        /// Instrument.
        instrument: String,
        /// Action of its definition.
        action: String,
        /// Arguments as sent.
        args: BTreeMap<String, Value>,
        /// What sending twice would do.
        effect: Effect,
        /// Reading of the witness just before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        baseline: Option<Value>,
        /// A restart of the instrument since then makes that worthless; missing in old journals.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        baseline_at: Option<Tick>,
    },
    /// What became of a command, as the instrument or the wire told.
    Outcome {
        /// Run.
        run: String,
        /// Step.
        step: StepRef,
        /// Attempt of the intent.
        attempt: u32,
        /// Value the action returned, or why it failed.
        result: Result<Option<Value>, Failure>,
        /// Bytes sent and received, for people; bounded by the driver.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        trace: String,
    },
    /// A command in doubt was resolved.
    Resolved {
        /// Run.
        run: String,
        /// Step.
        step: StepRef,
        /// Attempt of the intent.
        attempt: u32,
        /// What it came to.
        resolution: Resolution,
        /// Reading or word it rests on.
        evidence: String,
        /// `witness`, `policy` or a person's name.
        by: String,
        /// Bytes that the witness was read with, for people; filled in and bounded by the shell.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        trace: String,
    },
    /// A step that sends nothing ended.
    Ended {
        /// Run.
        run: String,
        /// Step.
        step: StepRef,
        /// Its value, or why it failed.
        result: Result<Option<Value>, Failure>,
        /// What a program wrote besides its result, for people; bounded by the shell.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        trace: String,
    },
    /// A branch or the end of a loop round was decided.
    Decided {
        /// Run.
        run: String,
        /// Block.
        step: StepRef,
        /// The condition.
        holds: bool,
    },
    /// A failed step will be tried again.
    Retrying {
        /// Run.
        run: String,
        /// Step.
        step: StepRef,
    },
    /// The steps of `on_error: {do: ...}` of a failed step began.
    Handling {
        /// Run.
        run: String,
        /// Step that failed.
        step: StepRef,
        /// Group that runs now; if it ends well, the failed step counts as passed over.
        handler: StepRef,
    },
    /// A failed step was passed over (`on_error: continue`).
    PassedOver {
        /// Run.
        run: String,
        /// Step.
        step: StepRef,
    },
    /// A question for a person stands open.
    Question {
        /// Run.
        run: String,
        /// Step it is about.
        step: StepRef,
        /// Text.
        question: String,
        /// Answers to choose from.
        options: Vec<String>,
        /// Number of the question in its run, from 1; 0 in journals that did not number them.
        #[serde(default)]
        id: u32,
        /// What kind of question.
        #[serde(default)]
        about: About,
        /// What follows from each of the options, in their order; may be empty.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        meanings: Vec<String>,
        /// What is known of the command in doubt.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        evidence: Option<Box<Evidence>>,
    },
    /// A question was answered.
    Answer {
        /// Run.
        run: String,
        /// Number of the question.
        #[serde(default)]
        question: u32,
        /// Step it is about.
        step: StepRef,
        /// One of the options.
        answer: String,
        /// Who, or `deadline`.
        by: String,
    },
    /// A person paused or resumed the run. Older journals only: now it is [`Record::Moved`].
    Paused {
        /// Run.
        run: String,
        /// Whether it is paused now.
        paused: bool,
        /// Who.
        by: String,
    },
    /// The body ended; `finally` follows unless the run was aborted.
    BodyEnded {
        /// Run.
        run: String,
        /// How.
        ending: Ending,
        /// Step, condition or person that ended it; empty when complete.
        cause: String,
        /// Results in the units of the protocol; empty unless complete.
        results: BTreeMap<String, Value>,
    },
    /// `finally` ended.
    FinallyEnded {
        /// Run.
        run: String,
        /// Steps of it that failed.
        failed: Vec<String>,
        /// Instruments whose safe state is sent now, in order.
        make_safe: Vec<String>,
    },
    /// The safe state of an instrument was sent and confirmed, or not.
    MadeSafe {
        /// Run.
        run: String,
        /// Instrument.
        instrument: String,
        /// Read back from the instrument.
        confirmed: bool,
        /// What it said.
        detail: String,
        /// Bytes sent and received, for people; bounded by the shell.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        trace: String,
    },
    /// The run is over.
    RunEnded {
        /// Run.
        run: String,
        /// How.
        ending: Ending,
        /// Why, if not complete.
        cause: String,
        /// Instruments that were not confirmed safe.
        not_confirmed: Vec<String>,
    },
}

impl Record {
    /// Run the record is about.
    pub fn run(&self) -> &str {
        match self {
            Record::RunStarted { run, .. }
            | Record::Moved { run, .. }
            | Record::Released { run, .. }
            | Record::Cancelling { run, .. }
            | Record::ToHold { run, .. }
            | Record::AtHold { run, .. }
            | Record::Held { run, .. }
            | Record::Begun { run, .. }
            | Record::Intent { run, .. }
            | Record::Outcome { run, .. }
            | Record::Resolved { run, .. }
            | Record::Ended { run, .. }
            | Record::Decided { run, .. }
            | Record::Retrying { run, .. }
            | Record::Handling { run, .. }
            | Record::PassedOver { run, .. }
            | Record::Question { run, .. }
            | Record::Answer { run, .. }
            | Record::Paused { run, .. }
            | Record::BodyEnded { run, .. }
            | Record::FinallyEnded { run, .. }
            | Record::MadeSafe { run, .. }
            | Record::RunEnded { run, .. } => run,
        }
    }
}

impl Ending {
    /// As shown to people.
    pub fn as_str(self) -> &'static str {
        match self {
            Ending::Complete => "complete",
            Ending::Failed => "failed",
            Ending::Invalid => "invalid",
            Ending::Stopped => "stopped",
            Ending::Aborted => "aborted",
        }
    }
}

impl Resolution {
    /// As shown to people.
    pub fn as_str(self) -> &'static str {
        match self {
            Resolution::Done => "done",
            Resolution::NotDone => "not done",
            Resolution::Discard => "discard",
        }
    }
}

/// Kinds of failure that say nothing about whether the command had its effect are left to
/// [`Failure::effect_unknown`]; this is the text for people.
pub(super) fn failure_name(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Timeout => "timeout",
        FailureKind::BadReply => "bad reply",
        FailureKind::Refused => "refused",
        FailureKind::Busy => "busy",
        FailureKind::Alarm => "alarm",
        FailureKind::Link => "no connection",
        FailureKind::Gate => "stopped at the gate",
        FailureKind::Lag => "time limit between steps broken",
        FailureKind::Condition => "condition not met",
        FailureKind::NoValue => "no value",
        FailureKind::Person => "ended by a person",
        FailureKind::Internal => "internal",
    }
}
