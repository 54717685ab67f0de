//! What the core is told and what it answers: events in, records, actions and replies out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::basis::Basis;
use super::parked::Parked;
use super::record::{Record, StepRef, Terms};
use super::run::StepKey;
use super::states::{Cause, Command, RunState};
use super::{Signal, Tick};
use crate::compiler::graph::{FailureKind, Graph, HoldState};
use crate::expr::Value;

/// Why a step failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// Class of failure.
    pub kind: FailureKind,
    /// For people: what happened and where.
    pub message: String,
    /// The command may have had its effect all the same.
    #[serde(default)]
    pub effect_unknown: bool,
}

/// What can wake the core. Every fact from outside is one of these.
///
/// The journal keeps it as part of [`Basis`], without what a record that follows from it says
/// anyway.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// Begin a run.
    StartRun {
        /// Name, unique for ever.
        run: String,
        /// What to execute.
        #[serde(skip)]
        graph: Arc<Graph>,
        /// Hash of the document that keeps the graph beside the journal.
        document: String,
        /// What the run is given beside its graph.
        terms: Terms,
    },
    /// An outcome of a command.
    Outcome {
        /// Run.
        run: String,
        /// Step.
        key: StepKey,
        /// Attempt it belongs to.
        attempt: u32,
        /// Value or failure.
        #[serde(skip, default = "nothing")]
        result: Result<Option<Value>, Failure>,
        /// Bytes, for people.
        #[serde(skip)]
        trace: String,
    },
    /// A witness was read, before sending or to resolve a doubt.
    Witnessed {
        /// Run.
        run: String,
        /// Step.
        key: StepKey,
        /// The reading.
        reading: Result<Reading, Failure>,
    },
    /// An analysis ended.
    Analysed {
        /// Run.
        run: String,
        /// Step.
        key: StepKey,
        /// Value or failure.
        #[serde(skip, default = "no_value_yet")]
        result: Result<Value, Failure>,
        /// What a program wrote besides its result, for people.
        #[serde(skip)]
        trace: String,
    },
    /// A property was read.
    Sample {
        /// Instrument.
        instrument: String,
        /// Property.
        property: String,
        /// Reading; what was seen of it is beside the event in [`Basis`].
        #[serde(skip)]
        signal: Signal,
    },
    /// The link to an instrument was lost: its readings are worthless.
    LinkLost {
        /// Instrument.
        instrument: String,
    },
    /// An instrument is connected and ready again.
    LinkUp {
        /// Instrument.
        instrument: String,
    },
    /// The answer to a question.
    Answer {
        /// Run.
        run: String,
        /// Step the question is about.
        path: String,
        /// Number of the question; `None` means the one that is open.
        question: Option<u32>,
        /// One of the options.
        answer: String,
        /// Who.
        by: String,
    },
    /// A safe state was sent.
    MadeSafe {
        /// Run.
        run: String,
        /// Instrument.
        instrument: String,
        /// Confirmed by the instrument.
        confirmed: bool,
        /// What it said.
        detail: String,
        /// Bytes, for people.
        #[serde(skip)]
        trace: String,
    },
    /// A person's command to a run.
    Command {
        /// Run.
        run: String,
        /// What.
        command: Command,
        /// Who.
        by: String,
    },
    /// A hold state was sent.
    AtHold {
        /// Run.
        run: String,
        /// Instrument.
        instrument: String,
        /// Confirmed by the instrument.
        confirmed: bool,
        /// What it said.
        detail: String,
        /// Bytes, for people.
        trace: String,
    },
    /// A person has taken an instrument out of the hands of runs: steps that need it wait.
    Taken {
        /// Instrument.
        instrument: String,
        /// Who.
        by: String,
    },
    /// An instrument that was taken out is given back.
    Given {
        /// Instrument.
        instrument: String,
    },
    /// An instrument that was not confirmed safe when a run ended has confirmed it since, or a
    /// person says that it may be used: steps that wait for it go on.
    Freed {
        /// Instrument.
        instrument: String,
    },
    /// A fact about the lab or the engine holds every run until it passes. Runs that start
    /// meanwhile are held from the start.
    HoldAll {
        /// What.
        cause: Cause,
        /// For people.
        detail: String,
    },
    /// What held every run has passed: runs that nothing else holds go on.
    Passed {
        /// What.
        cause: Cause,
    },
    /// The emergency stop: every run is aborted, and those that start are held until
    /// [`Event::Passed`] with [`Cause::Emergency`].
    Emergency {
        /// Who or what.
        by: String,
        /// For people.
        detail: String,
    },
    /// The journal was applied and the links are up: resolve what was under way.
    Recovered {
        /// How long no engine was there.
        downtime: Duration,
    },
    /// The engine was not at work for a while: its process was stopped, its machine slept, its disk was
    /// stuck. What was sent just before, or after it had been decided long ago, may be answered
    /// yet: all that waits for an instrument has its whole time from now on. To be told before
    /// anything that was heard since.
    Gap,
    /// The instruments of before are gone with all that was set on them (virtual ones, with their
    /// process): a run that had touched any cannot go on.
    InstrumentsLost,
    /// Time has passed.
    Wake,
}

fn nothing() -> Result<Option<Value>, Failure> {
    Ok(None)
}

fn no_value_yet() -> Result<Value, Failure> {
    Ok(Value::Missing("not filled in".into()))
}

/// A witness reading.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// Value of the property.
    pub value: Value,
    /// The instrument restarted since the engine last knew it.
    pub rebooted: bool,
    /// The instrument says that it is busy, or idle, if it can say.
    pub busy: Option<bool>,
}

/// What the shell must do once the records that came with it are durable.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Action {
    /// Send a command.
    Send {
        /// Run.
        run: String,
        /// Step.
        step: StepRef,
        /// Attempt.
        attempt: u32,
        /// Instrument.
        instrument: String,
        /// Action of its definition.
        action: String,
        /// Arguments.
        args: BTreeMap<String, Value>,
        /// At the latest after this (lab time) the outcome is a timeout.
        deadline: Duration,
    },
    /// Read a witness and answer with [`Event::Witnessed`].
    ReadWitness {
        /// Run.
        run: String,
        /// Step.
        key: StepKey,
        /// Instrument.
        instrument: String,
        /// Property.
        property: String,
        /// A restart of the instrument since then makes the reading worthless.
        since: Tick,
    },
    /// Call an analysis function and answer with [`Event::Analysed`].
    Analyse {
        /// Run.
        run: String,
        /// Step.
        key: StepKey,
        /// Function.
        function: String,
        /// Inputs.
        inputs: BTreeMap<String, Value>,
    },
    /// Cancel a command under way; its outcome follows as ever.
    Cancel {
        /// Run.
        run: String,
        /// Step.
        step: StepRef,
        /// Attempt.
        attempt: u32,
        /// Instrument.
        instrument: String,
    },
    /// Bring an instrument to its hold state and answer with [`Event::AtHold`].
    Hold {
        /// Run.
        run: String,
        /// Instrument.
        instrument: String,
        /// Which state that is; never [`HoldState::Stays`].
        how: HoldState,
    },
    /// Send the safe state of an instrument and answer with [`Event::MadeSafe`].
    MakeSafe {
        /// Run.
        run: String,
        /// Instrument.
        instrument: String,
    },
}

/// What to do where nothing can tell whether a command had its effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InDoubt {
    /// Stop the run at that step and ask a person.
    #[default]
    Ask,
    /// Discard the sample: the run ends as invalid.
    Discard,
}

/// Records to make durable, then actions to perform, in this order.
#[derive(Debug, Default)]
pub struct Output {
    /// To the journal.
    pub records: Vec<Record>,
    /// To the shell.
    pub actions: Vec<Action>,
    /// What commands and answers came to, in their order.
    pub replies: Vec<Reply>,
    /// Every run that waits for others, if that is not as it was.
    pub parked: Option<Vec<Parked>>,
    /// What this rests on; `None` where nothing was decided (a reading nobody waited for). To the
    /// journal, before the records.
    pub basis: Option<Basis>,
}

/// What became of a command or an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// Run it was for.
    pub run: String,
    /// Whether it was obeyed.
    pub heard: Heard,
    /// State of the run after it; `None` where there is no such run.
    pub state: Option<RunState>,
    /// For people: what follows, or why not and what to do.
    pub message: String,
}

/// Whether a command or an answer was obeyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Heard {
    /// It is done, or under way.
    Accepted,
    /// It was so already; nothing changed, and nothing is wrong.
    Already,
    /// It cannot be.
    Refused,
}

/// Longest failure message that is kept; instruments can send anything.
const MESSAGE_MAX: usize = 2_000;

pub(super) fn bounded(mut failure: Failure) -> Failure {
    if failure.message.len() > MESSAGE_MAX {
        let mut end = MESSAGE_MAX;
        while !failure.message.is_char_boundary(end) {
            end -= 1;
        }
        failure.message.truncate(end);
        failure.message.push('…');
    }
    failure
}

impl Failure {
    /// A failure that certainly had no effect on the world.
    pub fn without_effect(kind: FailureKind, message: impl Into<String>) -> Failure {
        Failure { kind, message: message.into(), effect_unknown: false }
    }
}
