//! Events in, records and actions out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::advance::{restart_holder, run_timer};
use super::basis::{Basis, Told};
use super::claims::{Claims, Want};
use super::doubt::Doubt;
use super::events::{Event, Failure, InDoubt, Output, bounded};
use super::parked::Parked;
use super::question::Answering;
use super::record::{Ending, Record};
use super::run::{Phase, Run, Status, StepKey};
use super::states::{Cause, RunState};
use super::{Plan, Signals, Tick};
use crate::compiler::graph::{Effect, Graph, NodeId};
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
    /// How many of them were left when those of steps that are over were last put away.
    pub(super) timers_left: usize,
    /// Waits for conditions: since when each holds without a break.
    pub(super) watching: BTreeMap<(String, StepKey), Option<Tick>>,
    /// Requests to the shell that were not answered yet; lost in a crash and then asked anew.
    pub(super) asked: BTreeMap<(String, StepKey), Tick>,
    /// Witness readings taken just before an intent, and since when a restart of the instrument
    /// makes them worthless.
    pub(super) baselines: BTreeMap<(String, StepKey), (Value, Tick)>,
    pub(super) doubts: BTreeMap<(String, StepKey), Doubt>,
    pub(super) out: Output,
    /// Runs that wait for claims, with what they want.
    pub(super) blocked: BTreeMap<String, Vec<Want>>,
    /// How often each of them has been overtaken.
    pub(super) overtaken: BTreeMap<String, u32>,
    /// What was told of them last.
    pub(super) parked_told: Vec<Parked>,
    /// Instruments that are not connected, as far as was told.
    pub(super) down: BTreeSet<String>,
    /// Which run has sent something with an effect to an instrument last.
    pub(super) last_user: BTreeMap<String, String>,
    /// Safe states that were sent and are not answered, and since when; derived anew after a crash.
    pub(super) safe_sent: BTreeMap<(String, String), Tick>,
    /// Runs that may have something to decide.
    pub(super) stirred: BTreeSet<String>,
    /// A condition that is waited for came to hold, or ceased to.
    pub(super) turned: bool,
    /// The journal was applied, and what was under way is not resolved yet: facts are taken note of,
    /// and nothing is decided on them.
    pub(super) unresolved: bool,
    /// When the engine was last at work again after a while; volatile.
    pub(super) back: Tick,
    /// Until when first readings are awaited after that; volatile.
    pub(super) readings_due: Tick,
    /// What holds every run, and those that start; the shell says it anew after a crash.
    pub(super) lab_holds: BTreeMap<Cause, String>,
    /// What was not confirmed safe is kept from other runs; off only where the journal of a version
    /// that did not do so is decided again.
    pub(super) bars: bool,
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
            timers_left: 0,
            watching: BTreeMap::new(),
            asked: BTreeMap::new(),
            baselines: BTreeMap::new(),
            doubts: BTreeMap::new(),
            out: Output::default(),
            blocked: BTreeMap::new(),
            overtaken: BTreeMap::new(),
            parked_told: Vec::new(),
            down: BTreeSet::new(),
            last_user: BTreeMap::new(),
            safe_sent: BTreeMap::new(),
            stirred: BTreeSet::new(),
            turned: false,
            unresolved: false,
            back: Tick(0),
            readings_due: Tick(0),
            lab_holds: BTreeMap::new(),
            bars: true,
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

    /// What persons have taken out, all of it (recovery and replay). Volatile: the journal has it
    /// beside the runs' records, and each engine is told it anew.
    pub fn set_taken(&mut self, taken: BTreeMap<String, String>) {
        self.claims.set_taken(taken);
    }

    /// What was not confirmed safe when runs ended, and is not yet, each with its run: all of it.
    /// An engine is told it at its start, because runs that are over are not read again.
    pub fn set_barred(&mut self, barred: BTreeMap<String, String>) {
        self.claims.set_barred(barred);
    }

    /// Instruments that no run may use, because they were not confirmed safe when a run ended; each
    /// with that run.
    pub fn barred(&self) -> &BTreeMap<String, String> {
        self.claims.barred()
    }

    /// Whether no run has an instrument in hand.
    pub fn is_free(&self, instrument: &str) -> bool {
        self.claims.holders(instrument).is_empty()
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
            self.last_user.retain(|_, user| user != run);
        }
    }

    /// Latest readings.
    pub fn signals(&self) -> &Signals {
        &self.signals
    }

    /// Takes a record of the journal into the state (recovery and replay). Runs that are open then are
    /// decided about once [`Event::Recovered`] has come.
    // SAFETY(lab): until then a wait that is over, or a step that is ready, may be one of which the
    // engine before had begun what follows.
    pub fn apply(
        &mut self,
        record: &Record,
        now: Tick,
        graph: impl FnOnce() -> Option<Arc<Graph>>,
    ) {
        self.take_record(record, now, graph);
        self.unresolved = true;
    }

    fn take_record(
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
        if let Record::Intent { run: id, instrument, effect, .. } = record
            && *effect != Effect::Read
        {
            self.used(instrument, id);
        }
        // SAFETY(lab): from this moment, and not only from the end of its run: the claim ends here.
        if let Record::MadeSafe { run, instrument, confirmed, .. } = record
            && self.bars
        {
            match confirmed {
                true => self.claims.free(instrument),
                false => self.claims.bar(instrument.clone(), run.clone()),
            }
        }
        let Some(run) = self.runs.get_mut(record.run()) else { return };
        // What sets going again ends no step.
        let again = match record {
            Record::Outcome { step, .. } => run.restarting.as_ref() == Some(&step.key),
            _ => false,
        };
        run.apply(record, now);
        // Claims follow the records, so that recovery gives them back as they were.
        match record {
            Record::Held { run: id, step } | Record::Intent { run: id, step, .. } => {
                let wanted = run.plan.claims(step.key.node);
                self.claims.take(id, &step.key, wanted);
                if step.key.node == NodeId(0) {
                    self.claims.take_room(id, &run.graph.places);
                }
                if run.restarting.as_ref() == Some(&step.key)
                    && let Record::Intent { instrument, .. } = record
                {
                    let wanted = std::slice::from_ref(instrument);
                    self.claims.take(id, &restart_holder(), wanted);
                }
            }
            // SAFETY(lab): an instrument in the middle of being set going again is in no state that
            // another run could begin with: what comes second may undo what came first.
            Record::Outcome { run: id, step, result, .. } if again => {
                let wanted = run.plan.claims(step.key.node);
                self.claims.release(id, &step.key, wanted);
                if result.is_ok() && !wanted.iter().any(|name| run.half_going.contains(name)) {
                    self.claims.release(id, &restart_holder(), wanted);
                }
            }
            Record::Outcome { run: id, step, .. }
            | Record::Resolved { run: id, step, .. }
            | Record::Ended { run: id, step, .. }
            | Record::PassedOver { run: id, step, .. } => {
                // What is in doubt keeps its instrument until it is resolved. At the end of a run
                // it is not any more, and `finally` must not wait for others with it in hand.
                let kept = run.phase == Phase::Body
                    && run.steps.get(&step.key).is_some_and(|s| s.status == Status::Uncertain);
                if !kept {
                    let wanted = run.plan.claims(step.key.node);
                    self.claims.release(id, &step.key, wanted);
                }
            }
            Record::Moved { run: id, to: RunState::Running | RunState::Paused, .. } => {
                self.claims.release_holder(id, &restart_holder());
            }
            // A hold state on its way keeps its instrument until it is answered.
            Record::ToHold { run: id, instrument, .. } => {
                self.claims.take(id, &run_timer(), std::slice::from_ref(instrument));
            }
            Record::AtHold { run: id, instrument, .. } => {
                self.claims.release(id, &run_timer(), std::slice::from_ref(instrument));
            }
            // SAFETY(lab): a command under way keeps its instrument until its outcome is known or
            // the instrument is made safe; another run would have both at once.
            Record::BodyEnded { run: id, .. } => {
                let mut under_way: BTreeSet<StepKey> = run
                    .steps
                    .iter()
                    .filter(|(_, s)| s.status == Status::Sent && !s.asked)
                    .map(|(key, _)| key.clone())
                    .collect();
                under_way.insert(run_timer());
                self.claims.release_all_but(id, &under_way);
                self.safe_sent.retain(|(run, _), _| run != id);
            }
            Record::Question { run: id, step, .. } if run.phase != Phase::Body => {
                let wanted = run.plan.claims(step.key.node);
                self.claims.release(id, &step.key, wanted);
            }
            // SAFETY(lab): a hold state on its way keeps its instrument also then, or it would halt
            // what the next run does with it.
            Record::FinallyEnded { run: id, make_safe, .. } => {
                let kept: Vec<String> =
                    make_safe.iter().chain(run.going_to_hold()).cloned().collect();
                self.claims.release_others(id, &kept);
                // SAFETY(lab): from here on, so that after a crash nobody takes an instrument whose
                // safe state may still be on its way.
                for instrument in make_safe {
                    if self.claims.is_free_for(id, instrument) {
                        self.claims.take(id, &run_timer(), std::slice::from_ref(instrument));
                    }
                }
            }
            Record::MadeSafe { run: id, instrument, .. } => {
                self.claims.release_instrument(id, instrument);
                if run.going_to_hold().any(|name| name == instrument) {
                    self.claims.take(id, &run_timer(), std::slice::from_ref(instrument));
                }
            }
            Record::RunEnded { run: id, .. } => self.claims.release_run(id),
            _ => {}
        }
        self.release_finished_blocks(record.run());
        self.stirred.insert(record.run().to_owned());
    }

    /// A run sends something with an effect: from now on the instrument is its to hold and to set
    /// going again, and no other run's.
    fn used(&mut self, instrument: &str, id: &str) {
        // A run that is over and forgotten has used it before those that are there.
        let before = match self.runs.contains_key(id) {
            true => self.last_user.insert(instrument.to_owned(), id.to_owned()),
            false => self.last_user.remove(instrument),
        };
        if before.is_some_and(|before| before == id) {
            return;
        }
        for (other, run) in &mut self.runs {
            if other != id {
                run.going.remove(instrument);
            }
        }
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
        self.take_record(&record, now, || None);
        if let Record::Held { run, step } | Record::Intent { run, step, .. } = &record
            && !self.blocked.is_empty()
        {
            let taken = self.runs.get(run).map(|r| r.plan.claims(step.key.node).to_vec());
            self.count_overtaken(run, &taken.unwrap_or_default());
        }
        self.out.records.push(record);
    }

    /// Takes an event and decides what follows from it.
    pub fn step(&mut self, event: Event, now: Tick) -> Output {
        self.signals.look_anew();
        self.turned = false;
        let noted = event.noted();
        // Where nothing is open there is nothing to resolve.
        let open = self.open_runs().next().is_some();
        self.unresolved &= open;
        self.take(event, now);
        let woken = !self.unresolved && self.due(now);
        if !self.unresolved {
            self.advance(now);
        }
        self.tell_parked();
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
            // Somebody asks twice: the run is there.
            Event::StartRun { run, .. } if self.runs.contains_key(&run) => {}
            Event::StartRun { run, graph, document, terms } => {
                let hash = graph.hash.clone();
                let record = Record::RunStarted { run: run.clone(), graph: hash, document, terms };
                self.take_record(&record, now, || Some(graph));
                self.out.records.push(record);
                self.hold_as_the_lab(&run, now);
            }
            Event::Outcome { run, key, attempt, result, trace } => {
                self.take_outcome(&run, &key, attempt, result, trace, now);
            }
            Event::Witnessed { run, key, reading } => self.take_witness(run, key, reading, now),
            Event::Analysed { run, key, result, trace } => {
                if self.asked.remove(&(run.clone(), key.clone())).is_none() {
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
                self.down.insert(instrument.clone());
                self.look_at_conditions(Some(&instrument), now);
            }
            Event::LinkUp { instrument } => {
                if self.down.remove(&instrument) {
                    self.stir_all();
                }
            }
            Event::Answer { run, path, question, answer, by } => {
                let given = Answering { run: &run, path: &path, question, answer, by };
                self.take_answer(given, now);
            }
            Event::MadeSafe { run, instrument, confirmed, detail, trace } => {
                self.safe_sent.remove(&(run.clone(), instrument.clone()));
                if self.runs.get(&run).is_some_and(|r| r.making_safe.contains(&instrument)) {
                    let made = Record::MadeSafe { run, instrument, confirmed, detail, trace };
                    self.emit(made, now);
                }
            }
            Event::AtHold { run, instrument, confirmed, detail, trace } => {
                let awaited = |r: &Run| r.at_hold.get(&instrument).map(|m| m.confirmed);
                if self.runs.get(&run).and_then(awaited) == Some(None) {
                    let at = Record::AtHold { run, instrument, confirmed, detail, trace };
                    self.emit(at, now);
                }
            }
            Event::Taken { instrument, by } => {
                self.claims.take_out(instrument, by);
                self.stir_all();
            }
            Event::Given { instrument } => {
                self.claims.give_back(&instrument);
                self.stir_all();
            }
            Event::Freed { instrument } => {
                self.claims.free(&instrument);
                self.stir_all();
            }
            Event::Command { run, command, by } => self.take_command(&run, command, by, now),
            Event::HoldAll { cause, detail } => self.hold_all(cause, detail, now),
            Event::Passed { cause } => self.passed(cause, now),
            Event::Emergency { by, detail } => self.emergency(by, detail, now),
            Event::Recovered { downtime } => self.recover(downtime, now),
            Event::Gap => self.wait_anew(now),
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
        let Some((step, again)) = self.runs.get(run).and_then(|r| {
            let state = r.steps.get(key)?;
            let again = r.restarting.as_ref() == Some(key);
            let awaited = state.status == Status::Sent || again;
            (awaited && state.attempts == attempt).then(|| (r.step_ref(key), again))
        }) else {
            return;
        };
        let result = result.map_err(bounded);
        let failure = result.as_ref().err().filter(|_| again).cloned();
        self.emit(Record::Outcome { run: run.to_owned(), step, attempt, result, trace }, now);
        self.restarted(run, failure, now);
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
        // What was read just before an intent that does not come is out of date for the next.
        self.baselines.remove(&(run.to_owned(), key.clone()));
        let result = result.map_err(bounded);
        self.emit(Record::Ended { run: run.to_owned(), step, result, trace }, now);
    }

    /// Something has changed that concerns every run.
    fn stir_all(&mut self) {
        self.stirred.extend(self.order.iter().cloned());
    }
}
