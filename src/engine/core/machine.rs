//! Events in, records and actions out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::basis::{Basis, Told};
use super::claims::Claims;
use super::doubt::Doubt;
use super::events::{Action, Event, Failure, InDoubt, Output, bounded};
use super::record::{Ending, Record};
use super::run::{Phase, Run, Status, StepKey};
use super::states::Cause;
use super::{Plan, Signals, Tick};
use crate::compiler::graph::{Graph, NodeId, NodeKind};
use crate::expr::Value;

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
    /// What holds every run, and those that start; the shell says it anew after a crash.
    pub(super) lab_holds: BTreeMap<Cause, String>,
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
            lab_holds: BTreeMap::new(),
        }
    }

    /// What to do where nothing can tell whether a command had its effect, for runs whose
    /// [`super::Terms`] do not say.
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
        output.basis = decided.then(|| Basis { event: noted, saw: self.signals.seen() });
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
                let record = Record::RunStarted { run: run.clone(), graph: hash, document, terms };
                self.apply(&record, now, || Some(graph));
                self.out.records.push(record);
                self.hold_as_the_lab(&run, now);
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
            Event::Answer { run, path, question, answer, by } => {
                self.take_answer(&run, &path, question, answer, by, now);
            }
            Event::MadeSafe { run, instrument, confirmed, detail, trace } => {
                if self.runs.get(&run).is_some_and(|r| r.making_safe.contains(&instrument)) {
                    let made = Record::MadeSafe { run, instrument, confirmed, detail, trace };
                    self.emit(made, now);
                }
            }
            Event::Command { run, command, by } => self.take_command(&run, command, by, now),
            Event::HoldAll { cause, detail } => self.hold_all(cause, detail, now),
            Event::Passed { cause } => self.passed(cause, now),
            Event::Emergency { by, detail } => self.emergency(by, detail, now),
            Event::Recovered { downtime: _ } => self.recover(now),
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
        self.forget_old_holds(now);
    }
}

/// Whether a step belongs to the part of its life that its run is in: steps of the body do not
/// wake up again while `finally` runs.
pub(super) fn in_phase(run: &Run, key: &StepKey) -> bool {
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

/// Instrument and action of an action node.
pub(super) fn commanded(kind: &NodeKind) -> Option<(&str, &str)> {
    match kind {
        NodeKind::Action { instrument, action, .. } => Some((instrument, action)),
        _ => None,
    }
}
