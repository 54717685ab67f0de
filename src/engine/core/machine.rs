//! Events in, records and actions out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::claims::Claims;
use super::doubt::Doubt;
use super::record::{Ending, Record, StepRef, Terms};
use super::run::{Phase, Run, Status, StepKey};
use super::{Heard, Plan, Signal, Signals, Tick, Told};
use crate::compiler::graph::{FailureKind, Graph, NodeId, NodeKind};
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
/// The journal keeps it as part of [`super::Heard`], without what a record that follows from it
/// says anyway.
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
        /// Reading; what was seen of it is beside the event in [`super::Heard`].
        #[serde(skip)]
        signal: Signal,
    },
    /// The link to an instrument was lost: its readings are worthless.
    LinkLost {
        /// Instrument.
        instrument: String,
    },
    /// The answer to a question.
    Answer {
        /// Run.
        run: String,
        /// Step the question is about.
        path: String,
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
    /// The journal was applied and the links are up: resolve what was under way.
    Recovered,
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

/// Commands to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// No new step.
    Pause,
    /// Go on.
    Resume,
    /// End the steps under way, run `finally`.
    Stop,
    /// Safe states now.
    Abort,
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
    /// What this rests on; `None` where nothing was decided (a reading nobody waited for). To the
    /// journal, before the records.
    pub heard: Option<Heard>,
}

/// The state of all runs.
#[derive(Debug)]
pub struct Core {
    pub(super) runs: BTreeMap<String, Run>,
    /// Age of runs: older ones reserve first.
    pub(super) order: Vec<String>,
    pub(super) claims: Claims,
    pub(super) signals: Signals,
    pub(super) in_doubt: InDoubt,
    /// Lab time that the wires may take beyond the deadlines of steps (scaled time only).
    pub(super) slack: Duration,
    pub(super) timers: BTreeSet<(Tick, String, StepKey)>,
    /// Waits for conditions: since when each holds without a break.
    pub(super) watching: BTreeMap<(String, StepKey), Option<Tick>>,
    /// Requests to the shell that were not answered yet; lost in a crash and then asked anew.
    pub(super) asked: BTreeSet<(String, StepKey)>,
    /// Witness readings taken just before an intent.
    pub(super) baselines: BTreeMap<(String, StepKey), Value>,
    pub(super) doubts: BTreeMap<(String, StepKey), Doubt>,
    pub(super) out: Output,
    /// Runs that wait for claims, with what they want.
    pub(super) blocked: BTreeMap<String, BTreeSet<String>>,
    /// Runs that may have something to decide.
    pub(super) stirred: BTreeSet<String>,
    /// A condition that is waited for came to hold, or ceased to.
    pub(super) turned: bool,
}

impl Core {
    /// An engine without runs.
    pub fn new(in_doubt: InDoubt, slack: Duration) -> Core {
        Core {
            runs: BTreeMap::new(),
            order: Vec::new(),
            claims: Claims::default(),
            signals: Signals::default(),
            in_doubt,
            slack,
            timers: BTreeSet::new(),
            watching: BTreeMap::new(),
            asked: BTreeSet::new(),
            baselines: BTreeMap::new(),
            doubts: BTreeMap::new(),
            out: Output::default(),
            blocked: BTreeMap::new(),
            stirred: BTreeSet::new(),
            turned: false,
        }
    }

    /// What to do where nothing can tell whether a command had its effect, for runs whose
    /// [`Terms`] do not say.
    pub fn set_in_doubt(&mut self, in_doubt: InDoubt) {
        self.in_doubt = in_doubt;
    }

    /// The rules it decides by, for the journal: a replay needs the same.
    pub fn rules(&self) -> (InDoubt, Duration) {
        (self.in_doubt, self.slack)
    }

    /// From now on only these readings can be seen (replay).
    pub(super) fn see(&mut self, saw: Told) {
        self.signals.tell(saw);
    }

    /// A run by name.
    pub fn run(&self, id: &str) -> Option<&Run> {
        self.runs.get(id)
    }

    /// Runs that are not over, oldest first.
    pub fn open_runs(&self) -> impl Iterator<Item = &Run> {
        self.order.iter().filter_map(|id| self.runs.get(id)).filter(|r| r.phase != Phase::Over)
    }

    /// Forgets a run that is over, so that memory does not grow with their number.
    pub fn forget(&mut self, run: &str) {
        if self.runs.get(run).is_some_and(|r| r.phase == Phase::Over) {
            self.runs.remove(run);
            self.order.retain(|id| id != run);
        }
    }

    /// Latest readings.
    pub fn signals(&self) -> &Signals {
        &self.signals
    }

    /// Takes a record of the journal into the state (recovery and replay).
    pub fn apply(
        &mut self,
        record: &Record,
        now: Tick,
        graph: impl FnOnce() -> Option<Arc<Graph>>,
    ) {
        if let Record::RunStarted { run, .. } = record
            && !self.runs.contains_key(run)
            && let Some(graph) = graph()
        {
            let plan = Arc::new(Plan::new(&graph));
            self.runs.insert(run.clone(), Run::new(run.clone(), graph, plan));
            self.order.push(run.clone());
        }
        let Some(run) = self.runs.get_mut(record.run()) else { return };
        run.apply(record, now);
        // Claims follow the records, so that recovery gives them back as they were.
        match record {
            Record::Held { run: id, step } | Record::Intent { run: id, step, .. } => {
                let wanted = run.plan.claims(step.key.node);
                self.claims.take(id, &step.key, wanted);
                if step.key.node == NodeId(0) {
                    self.claims.take_room(id, &run.graph.places);
                }
            }
            Record::Outcome { run: id, step, .. }
            | Record::Resolved { run: id, step, .. }
            | Record::Ended { run: id, step, .. }
            | Record::PassedOver { run: id, step, .. } => {
                let kept = run.steps.get(&step.key).is_some_and(|s| s.status == Status::Uncertain);
                if !kept {
                    let wanted = run.plan.claims(step.key.node);
                    self.claims.release(id, &step.key, wanted);
                }
            }
            Record::BodyEnded { run: id, .. } | Record::RunEnded { run: id, .. } => {
                self.claims.release_run(id);
            }
            _ => {}
        }
        self.release_finished_blocks(record.run());
        self.stirred.insert(record.run().to_owned());
    }

    fn release_finished_blocks(&mut self, id: &str) {
        let Some(run) = self.runs.get(id) else { return };
        for key in self.claims.blocks_of(id) {
            let over = run
                .steps
                .get(&key)
                .is_none_or(|s| matches!(s.status, Status::Done | Status::PassedOver));
            let block = run.node(&key).is_some_and(|n| n.kind.is_block());
            if block && over {
                let wanted = run.plan.claims(key.node);
                self.claims.release(id, &key, wanted);
            }
        }
    }

    /// Emits a record: applied now, durable before any action that follows.
    pub(super) fn emit(&mut self, record: Record, now: Tick) {
        self.apply(&record, now, || None);
        self.out.records.push(record);
    }

    /// Takes an event and decides what follows from it.
    pub fn step(&mut self, event: Event, now: Tick) -> Output {
        self.signals.look_anew();
        self.turned = false;
        let noted = event.noted();
        self.take(event, now);
        let woken = self.due(now);
        self.advance(now);
        let mut output = std::mem::take(&mut self.out);
        let decided = woken
            || self.turned
            || !output.records.is_empty()
            || !output.actions.is_empty()
            || !matches!(noted, Event::Sample { .. } | Event::Wake);
        output.heard = decided.then(|| Heard { event: noted, saw: self.signals.seen() });
        output
    }

    /// Earliest time at which something is due.
    pub fn next_wake(&self) -> Option<Tick> {
        self.timers.first().map(|(tick, ..)| *tick)
    }

    fn take(&mut self, event: Event, now: Tick) {
        match event {
            Event::StartRun { run, graph, document, terms } => {
                let hash = graph.hash.clone();
                let record = Record::RunStarted { run, graph: hash, document, terms };
                self.apply(&record, now, || Some(graph));
                self.out.records.push(record);
            }
            Event::Outcome { run, key, attempt, result, trace } => {
                self.take_outcome(&run, &key, attempt, result, trace, now);
            }
            Event::Witnessed { run, key, reading } => self.take_witness(run, key, reading, now),
            Event::Analysed { run, key, result, trace } => {
                if !self.asked.remove(&(run.clone(), key.clone())) {
                    return;
                }
                self.end_traced(&run, &key, result.map(Some), trace, now);
            }
            Event::Sample { instrument, property, signal } => {
                self.signals.set(&instrument, &property, signal);
                self.look_at_conditions(Some(&instrument), now);
            }
            Event::LinkLost { instrument } => {
                self.signals.forget(&instrument);
                self.look_at_conditions(Some(&instrument), now);
            }
            Event::Answer { run, path, answer, by } => {
                self.take_answer(&run, &path, answer, by, now);
            }
            Event::MadeSafe { run, instrument, confirmed, detail, trace } => {
                if self.runs.get(&run).is_some_and(|r| r.making_safe.contains(&instrument)) {
                    let made = Record::MadeSafe { run, instrument, confirmed, detail, trace };
                    self.emit(made, now);
                }
            }
            Event::Command { run, command, by } => self.take_command(&run, command, by, now),
            Event::Recovered => self.recover(now),
            Event::InstrumentsLost => {
                let body = |r: &Run| r.phase == Phase::Body && !r.touched.is_empty();
                let lost: Vec<String> =
                    self.runs.values().filter(|r| body(r)).map(|r| r.id.clone()).collect();
                for run in lost {
                    let cause = "the virtual instruments ended with their process".to_owned();
                    self.end_body(&run, Ending::Invalid, cause, now);
                }
            }
            Event::Wake => {}
        }
    }

    fn take_outcome(
        &mut self,
        run: &str,
        key: &StepKey,
        attempt: u32,
        result: Result<Option<Value>, Failure>,
        trace: String,
        now: Tick,
    ) {
        let Some(step) = self.runs.get(run).and_then(|r| {
            let state = r.steps.get(key)?;
            (state.status == Status::Sent && state.attempts == attempt).then(|| r.step_ref(key))
        }) else {
            return;
        };
        let result = result.map_err(bounded);
        self.emit(Record::Outcome { run: run.to_owned(), step, attempt, result, trace }, now);
    }

    /// Ends a step that sends nothing, if it is still under way.
    pub(super) fn end_open(
        &mut self,
        run: &str,
        key: &StepKey,
        result: Result<Option<Value>, Failure>,
        now: Tick,
    ) {
        self.end_traced(run, key, result, String::new(), now);
    }

    fn end_traced(
        &mut self,
        run: &str,
        key: &StepKey,
        result: Result<Option<Value>, Failure>,
        trace: String,
        now: Tick,
    ) {
        let Some(step) = self.runs.get(run).and_then(|r| {
            let state = r.steps.get(key)?;
            let under_way =
                matches!(state.status, Status::Open | Status::Waiting | Status::Deciding);
            let alive = matches!(r.phase, Phase::Body | Phase::Finally);
            (under_way && alive).then(|| r.step_ref(key))
        }) else {
            return;
        };
        let result = result.map_err(bounded);
        self.emit(Record::Ended { run: run.to_owned(), step, result, trace }, now);
    }

    fn take_answer(&mut self, run: &str, path: &str, answer: String, by: String, now: Tick) {
        let Some(key) = self.runs.get(run).and_then(|r| {
            r.steps.iter().find(|(k, s)| s.asked && r.path(k) == path).map(|(k, _)| k.clone())
        }) else {
            return;
        };
        self.answer(run, &key, answer, by, now);
    }

    pub(super) fn answer(
        &mut self,
        run: &str,
        key: &StepKey,
        answer: String,
        by: String,
        now: Tick,
    ) {
        let Some(r) = self.runs.get(run) else { return };
        let (Some(state), step) = (r.steps.get(key), r.step_ref(key)) else { return };
        let attempt = state.attempts;
        let doubt = matches!(state.status, Status::Sent | Status::Uncertain);
        self.emit(
            Record::Answer {
                run: run.to_owned(),
                step: step.clone(),
                answer: answer.clone(),
                by: by.clone(),
            },
            now,
        );
        if doubt {
            self.resolve_by_word(run, step, attempt, &answer, by, now);
        }
    }

    fn take_command(&mut self, id: &str, command: Command, by: String, now: Tick) {
        let Some(run) = self.runs.get(id) else { return };
        let (phase, paused) = (run.phase, run.paused);
        match command {
            Command::Pause | Command::Resume => {
                let pause = command == Command::Pause;
                if phase == Phase::Body && paused != pause {
                    let run = id.to_owned();
                    self.emit(Record::Paused { run, paused: pause, by }, now);
                }
            }
            Command::Stop if phase == Phase::Body => {
                self.end_body(id, Ending::Stopped, format!("stopped by {by}"), now);
            }
            Command::Abort if !matches!(phase, Phase::Safe | Phase::Over) => {
                self.end_body(id, Ending::Aborted, format!("aborted by {by}"), now);
            }
            Command::Stop | Command::Abort => {}
        }
    }

    pub(super) fn end_body(&mut self, id: &str, ending: Ending, cause: String, now: Tick) {
        let record =
            Record::BodyEnded { run: id.to_owned(), ending, cause, results: BTreeMap::new() };
        self.emit(record, now);
    }

    /// Volatile state is gone: every step that is not over is looked at again.
    fn recover(&mut self, now: Tick) {
        let mut orphans = Vec::new();
        for (id, run) in &mut self.runs {
            self.stirred.insert(id.clone());
            if run.phase == Phase::Over {
                continue;
            }
            let awake: Vec<StepKey> = run
                .steps
                .iter()
                .filter(|(_, s)| !matches!(s.status, Status::Done | Status::PassedOver))
                .map(|(k, _)| k.clone())
                .collect();
            for key in awake {
                let state = run.steps.get(&key);
                if state.is_some_and(|s| s.status == Status::Sent && !s.asked) {
                    orphans.push((id.clone(), key.clone()));
                }
                let active = matches!(run.phase, Phase::Body | Phase::Finally);
                let block = run.graph.node(key.node).is_some_and(|n| n.kind.is_block());
                let open_block = block && state.is_some_and(|s| s.status == Status::Open);
                // A leaf whose `on_error` steps run is brought on by them.
                let handled = !block && state.is_some_and(|s| s.open_children > 0);
                if active && !open_block && !handled && in_phase(run, &key) {
                    run.ready.insert(key);
                }
            }
            if run.phase == Phase::Safe {
                for instrument in run.making_safe.clone() {
                    self.out.actions.push(Action::MakeSafe { run: id.clone(), instrument });
                }
            }
        }
        for (run, key) in orphans {
            self.orphaned(&run, &key, now);
        }
    }
}

/// Whether a step belongs to the part of its life that its run is in: steps of the body do not
/// wake up again while `finally` runs.
fn in_phase(run: &Run, key: &StepKey) -> bool {
    let mut top = key.node;
    while let Some(parent) = run.graph.node(top).and_then(|n| n.parent) {
        top = parent;
    }
    match run.phase {
        Phase::Finally => Some(top) == run.graph.finally,
        Phase::Body => top == NodeId(0),
        Phase::Draining | Phase::Safe | Phase::Over => false,
    }
}

/// Longest failure message that is kept; instruments can send anything.
const MESSAGE_MAX: usize = 2_000;

fn bounded(mut failure: Failure) -> Failure {
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

/// Instrument and action of an action node.
pub(super) fn commanded(kind: &NodeKind) -> Option<(&str, &str)> {
    match kind {
        NodeKind::Action { instrument, action, .. } => Some((instrument, action)),
        _ => None,
    }
}
