//! Manual mode: an instrument in a person's hands while the engine runs.
//!
//! ```text
//! take -> runs that need it wait -> commands by hand -> give -> runs that have used it are held,
//!                                                              with the list of what was done
//! ```
//!
//! A command by hand goes the way of a run's: limits of definition and lab, its witness read before
//! it, intent durable before the first byte, the same gate and lease, outcome, and its witness again
//! where the effect is not known. An instrument that nobody has taken is read, stopped and made safe
//! by hand, nothing else: what runs go on with rests on what it was told.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::control::{Outcome, Refusal, RefusalKind, Reply};
use super::engine::{Engine, EngineError};
use super::entries::{EngineRecord, Fact, ManualFailure, ManualRecord};
use super::estop::StopHistory;
use super::history::History;
use super::instruments::Instruments;
use super::perform::kind_of;
use super::progress::Progress;
use super::wanted::Wanted;
use super::wire_trace;
use crate::compiler::graph::{Effect, FailureKind, NodeKind};
use crate::driver::{self, Exchange, Sent};
use crate::engine::core::{Command, Event, Status, Tick};
use crate::expr::Value;
use crate::store::Document;

/// Commands by hand under way at once; people give one at a time.
const CALLS_MAX: usize = 16;

/// An instrument in a person's hands, as a journal tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenHistory {
    /// Who has it.
    pub by: String,
    /// What for.
    pub reason: String,
    /// What was done to it since that may have had an effect.
    pub done: Vec<String>,
    /// Since when, milliseconds since 1970; 0 if that is not known.
    #[serde(default)]
    pub wall_ms: i64,
}

/// What an earlier engine left to the next, besides its runs.
#[derive(Debug, Clone, Default)]
pub struct Left {
    /// An emergency stop that was not cleared.
    pub stopped: Option<StopHistory>,
    /// Which unit each instrument was, as far as it can tell.
    pub identities: BTreeMap<String, String>,
    /// Instruments in people's hands.
    pub taken: BTreeMap<String, TakenHistory>,
    /// Instruments that were not confirmed safe when a run ended, each with that run.
    pub barred: BTreeMap<String, String>,
}

impl History {
    /// What it leaves to the next engine.
    pub fn left(&self) -> Left {
        Left {
            stopped: self.stopped.clone(),
            identities: self.identities.clone(),
            taken: self.taken.clone(),
            barred: self.barred.clone(),
        }
    }

    /// Takes note of an instrument that was taken or given.
    pub(super) fn hands(&mut self, record: &EngineRecord, wall_ms: i64) {
        match record {
            EngineRecord::Taken { instrument, by, reason } => {
                let (by, reason) = (by.clone(), reason.clone());
                let taken = TakenHistory { by, reason, done: Vec::new(), wall_ms };
                self.taken.insert(instrument.clone(), taken);
            }
            EngineRecord::Given { instrument, .. } => {
                self.taken.remove(instrument);
            }
            _ => {}
        }
    }

    /// Takes note of a command that a person gave to an instrument in their hands.
    pub(super) fn handled(&mut self, record: &ManualRecord) {
        if let ManualRecord::Intent { instrument, action, args, effect, .. } = record
            && *effect != Effect::Read
            && let Some(taken) = self.taken.get_mut(instrument)
        {
            taken.done.push(in_words(action, args));
        }
    }
}

/// How a command by hand went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Called {
    /// Its name in the journal; empty for a reading, which is not kept.
    pub id: String,
    /// Value, or why it failed.
    pub result: Result<Option<Value>, ManualFailure>,
    /// The witness before it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Value>,
    /// The witness afterwards, where the effect was not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witness: Option<Value>,
    /// What crossed the wire.
    #[serde(default)]
    pub trace: Vec<Exchange>,
}

/// Where a command by hand stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Its witness is being read.
    Baseline,
    /// Its intent is to become durable, then it is sent.
    Intended,
    /// It was sent.
    Sent,
    /// Its effect is not known, and is given time to show.
    Settling(Tick),
    /// Its witness is being read again.
    Witness,
}

/// A command by hand under way.
#[derive(Debug)]
struct Call {
    instrument: String,
    wanted: Wanted,
    by: String,
    stage: Stage,
    called: Called,
    outcome: oneshot::Sender<Outcome>,
}

/// What is in people's hands.
#[derive(Debug, Default)]
pub(super) struct Hands {
    taken: BTreeMap<String, TakenHistory>,
    /// By the attempt that is under way for them.
    calls: BTreeMap<String, Call>,
    epoch: u64,
    number: u64,
    /// Hash of the document with the texts of lab and definitions.
    bundle: String,
}

impl Hands {
    /// When a call wants its turn.
    pub(super) fn due(&self) -> Option<Tick> {
        let due = |call: &Call| match call.stage {
            Stage::Settling(until) => Some(until),
            _ => None,
        };
        self.calls.values().filter_map(due).min()
    }

    pub(super) fn obey(&mut self, epoch: u64) {
        self.epoch = epoch;
    }

    /// Whether an instrument is in somebody's hands.
    pub(super) fn hold(&self, instrument: &str) -> bool {
        self.taken.contains_key(instrument)
    }

    /// Instruments in people's hands.
    pub(super) fn taken(&self) -> &BTreeMap<String, TakenHistory> {
        &self.taken
    }

    fn has(&self, attempt: &str) -> bool {
        self.calls.contains_key(attempt)
    }

    /// Commands under way.
    pub(super) fn is_busy(&self) -> bool {
        !self.calls.is_empty()
    }
}

fn refused(why: impl Into<String>) -> Reply {
    Reply::Refused(Refusal::new(RefusalKind::NotNow, why))
}

impl<I: Instruments> Engine<I> {
    /// What an earlier engine left: a stop that was not cleared, instruments in people's hands. Call
    /// before [`Engine::work`]. `bundle`: the texts of lab and definitions.
    pub fn take_over(&mut self, left: &Left, bundle: Document) -> Result<(), EngineError> {
        if let Some(stop) = &left.stopped {
            self.restore_stop(stop);
        }
        self.hands.bundle.clone_from(&bundle.hash);
        self.keep(bundle);
        self.hands.taken.clone_from(&left.taken);
        let by = left.taken.iter().map(|(name, taken)| (name.clone(), taken.by.clone()));
        self.core.set_taken(by.collect());
        self.core.set_barred(left.barred.clone());
        self.bars.restore(left.barred.keys());
        Ok(())
    }

    /// Takes an instrument out.
    pub(super) fn take_out(
        &mut self,
        instrument: String,
        by: String,
        reason: String,
    ) -> Result<Reply, EngineError> {
        if !self.instruments.names().contains(&instrument) {
            let known = self.instruments.names().join(", ");
            let why = format!("the lab has no instrument `{instrument}`; there are {known}");
            return Ok(Reply::Refused(Refusal::new(RefusalKind::UnknownId, why)));
        }
        if let Some(taken) = self.hands.taken.get(&instrument) {
            return Ok(refused(format!("{instrument} is in {}'s hands already", taken.by)));
        }
        let busy = self.under_way_on(&instrument);
        if !busy.is_empty() {
            return Ok(refused(format!(
                "{instrument} has a command of a run under way: {}; hold the run first, or wait",
                busy.join(", ")
            )));
        }
        let (name, who, why) = (instrument.clone(), by.clone(), reason.clone());
        self.note(Fact::Engine(EngineRecord::Taken { instrument: name, by: who, reason: why }))?;
        let wall_ms = self.clock.wall().as_millisecond();
        let taken = TakenHistory { by: by.clone(), reason, done: Vec::new(), wall_ms };
        self.hands.taken.insert(instrument.clone(), taken);
        self.step(Event::Taken { instrument: instrument.clone(), by })?;
        Ok(Reply::Taken { runs: self.users_of(&instrument) })
    }

    /// Commands of runs under way, or in doubt, on an instrument: what is done to it now would make
    /// their witnesses lie.
    fn under_way_on(&self, instrument: &str) -> Vec<String> {
        let mut found = Vec::new();
        for run in self.core.open_runs() {
            for (key, state) in &run.steps {
                let under_way = matches!(state.status, Status::Sent | Status::Uncertain);
                let on = matches!(run.node(key).map(|node| &node.kind),
                    Some(NodeKind::Action { instrument: of, .. }) if of == instrument);
                if under_way && on {
                    found.push(format!("{} of run {}", run.path(key), run.id));
                }
            }
        }
        found
    }

    fn users_of(&self, instrument: &str) -> Vec<String> {
        let uses = |touched: &[String]| touched.iter().any(|name| name == instrument);
        self.core.open_runs().filter(|run| uses(&run.touched)).map(|run| run.id.clone()).collect()
    }

    /// Gives an instrument back. Runs that have used it are held if anything was done to it, before
    /// they can go on with what may not hold any more.
    pub(super) fn give_back(&mut self, instrument: &str, by: String) -> Result<Reply, EngineError> {
        let calls = self.hands.calls.values();
        if calls.into_iter().any(|call| call.instrument == instrument) {
            return Ok(refused(format!("a command by hand is under way on {instrument}")));
        }
        let Some(taken) = self.hands.taken.remove(instrument) else {
            return Ok(refused(format!("{instrument} was not taken")));
        };
        let changed = taken.done;
        let held = if changed.is_empty() { Vec::new() } else { self.users_of(instrument) };
        for run in &held {
            let why = format!("{by} (by hand on {instrument}: {})", changed.join(", "));
            let (run, command) = (run.clone(), Command::Hold);
            self.step(Event::Command { run, command, by: why })?;
        }
        let given = EngineRecord::Given {
            instrument: instrument.to_owned(),
            by: by.clone(),
            changed: changed.clone(),
            held: held.clone(),
        };
        self.note(Fact::Engine(given))?;
        self.step(Event::Given { instrument: instrument.to_owned() })?;
        Ok(Reply::Given { changed, held })
    }

    /// Begins a command by hand. How it ends is told on `outcome`.
    pub(super) fn call(
        &mut self,
        instrument: String,
        what: &str,
        set: &[String],
        by: String,
        outcome: oneshot::Sender<Outcome>,
    ) -> Result<Reply, EngineError> {
        if self.hands.calls.len() >= CALLS_MAX {
            return Ok(refused("too many commands by hand are under way"));
        }
        let wanted = match self.instruments.wanted(&instrument, what, set) {
            Ok(wanted) => wanted,
            Err(why) => {
                return Ok(Reply::Refused(Refusal::new(RefusalKind::Malformed, why.0)));
            }
        };
        if !wanted.is_harmless() && !self.hands.taken.contains_key(&instrument) {
            return Ok(refused(format!(
                "{instrument} is not taken: an engine is at work with it, and what its runs go on \
                 with rests on what it was told; `labloop instrument take {instrument}` first \
                 (actions that only read or stop are carried out at any time)"
            )));
        }
        self.hands.number += 1;
        let name = format!("manual-{}.{}", self.hands.epoch, self.hands.number);
        // A device that remembers ids must never take this one for that of another journal.
        let attempt = format!("{name}-{}", self.clock.wall().as_millisecond());
        let witness = match &wanted {
            Wanted::Action(action) => action.witness.clone(),
            Wanted::Property(_) | Wanted::Safe => None,
        };
        let reads = matches!(wanted, Wanted::Property(_));
        let id = if reads { String::new() } else { name.clone() };
        let result = Ok(None);
        let (baseline, seen, trace) = (None, None, Vec::new());
        let called = Called { id: id.clone(), result, baseline, witness: seen, trace };
        let stage = if witness.is_some() { Stage::Baseline } else { Stage::Intended };
        let seconds = wanted.deadline().as_secs_f64();
        let call = Call { instrument, wanted, by, stage, called, outcome };
        match witness {
            Some((property, _)) => {
                let read = self.read(&attempt, &call.instrument, &property);
                self.hands.calls.insert(attempt.clone(), call);
                if read.is_err() {
                    self.intend(&attempt)?;
                }
            }
            None => {
                self.hands.calls.insert(attempt.clone(), call);
                self.intend(&attempt)?;
            }
        }
        Ok(Reply::Calling { id, at_most_s: seconds / self.clock.speed().max(f64::MIN_POSITIVE) })
    }

    /// Notes the intent; it is sent once that is durable.
    fn intend(&mut self, attempt: &str) -> Result<(), EngineError> {
        let Some(call) = self.hands.calls.get_mut(attempt) else { return Ok(()) };
        call.stage = Stage::Intended;
        let (action, args, effect) = match &call.wanted {
            Wanted::Property(_) => return Ok(()),
            Wanted::Safe => (call.wanted.name().to_owned(), BTreeMap::new(), Effect::Repeatable),
            Wanted::Action(action) => (action.action.clone(), action.args.clone(), action.effect),
        };
        let record = ManualRecord::Intent {
            id: call.called.id.clone(),
            by: call.by.clone(),
            epoch: self.hands.epoch,
            bundle: self.hands.bundle.clone(),
            instrument: call.instrument.clone(),
            at: None,
            action: action.clone(),
            args: args.clone(),
            effect,
            baseline: call.called.baseline.clone(),
        };
        if effect != Effect::Read
            && let Some(taken) = self.hands.taken.get_mut(&call.instrument)
        {
            taken.done.push(in_words(&action, &args));
        }
        let (instrument, by) = (call.instrument.clone(), call.by.clone());
        let what = format!("{instrument}.{action} by {by}");
        // SAFETY(lab): what a run goes on with rests on what the instrument was told.
        if effect != Effect::Read && !self.hands.taken.contains_key(&instrument) {
            let by = format!("{by}, who sent {action} to {instrument} by hand");
            self.hold_users(&instrument, &by)?;
        }
        self.told(Progress::Engine { detail: format!("by hand: {what}") });
        self.note(Fact::Manual(record))
    }

    /// Sends what is durable now.
    pub(super) fn perform_calls(&mut self) -> Result<(), EngineError> {
        let intended = |(attempt, call): (&String, &Call)| {
            (call.stage == Stage::Intended).then(|| attempt.clone())
        };
        let ready: Vec<String> = self.hands.calls.iter().filter_map(intended).collect();
        for attempt in ready {
            let Some(call) = self.hands.calls.get_mut(&attempt) else { continue };
            call.stage = Stage::Sent;
            let name = call.instrument.clone();
            let sent = match call.wanted.clone() {
                Wanted::Property(property) => self.read(&attempt, &name, &property),
                Wanted::Safe => self.instruments.safe_state(&name),
                Wanted::Action(action) => self.instruments.send(
                    &attempt,
                    &name,
                    &action.action,
                    action.args,
                    action.deadline,
                ),
            };
            if let Err(why) = sent {
                let failure = failure(FailureKind::Link, why.0, Sent::NotSent);
                self.end_call(&attempt, Err(failure), Vec::new())?;
            }
        }
        Ok(())
    }

    /// The outcome of an attempt, if it is one of a command by hand.
    pub(super) fn take_called(
        &mut self,
        attempt: &str,
        outcome: &driver::Outcome,
    ) -> Result<(), EngineError> {
        if !self.hands.has(attempt) {
            return Ok(());
        }
        let (result, trace) = match outcome.clone() {
            driver::Outcome::Done { value, trace } => (Ok(value), trace),
            driver::Outcome::Failed { kind, message, effect, trace } => {
                (Err(failure(kind_of(kind), message, effect)), trace)
            }
        };
        let now = self.now();
        let Some(call) = self.hands.calls.get_mut(attempt) else { return Ok(()) };
        match call.stage {
            Stage::Baseline => {
                call.called.baseline = result.ok().flatten();
                self.intend(attempt)
            }
            Stage::Witness => {
                call.called.witness = result.ok().flatten();
                let result = call.called.result.clone();
                self.end_call(attempt, result, trace)
            }
            Stage::Intended | Stage::Sent | Stage::Settling(_) => {
                let unknown = matches!(&result, Err(failed) if failed.effect == Sent::Unknown);
                let settle = match &call.wanted {
                    Wanted::Action(action) => action.witness.as_ref().map(|(_, settle)| *settle),
                    Wanted::Property(_) | Wanted::Safe => None,
                };
                match settle.filter(|_| unknown) {
                    Some(settle) => {
                        call.called.result = result;
                        call.called.trace.extend(trace);
                        call.stage = Stage::Settling(now.after(settle));
                        Ok(())
                    }
                    None => self.end_call(attempt, result, trace),
                }
            }
        }
    }

    /// How a safe state went, for whoever asked for it by hand.
    pub(super) fn take_called_safe(
        &mut self,
        instrument: &str,
        confirmed: bool,
        detail: &str,
        trace: &[Exchange],
    ) -> Result<(), EngineError> {
        let waits = |(attempt, call): (&String, &Call)| {
            let safe = call.wanted == Wanted::Safe && call.stage == Stage::Sent;
            (safe && call.instrument == instrument).then(|| attempt.clone())
        };
        let waiting: Vec<String> = self.hands.calls.iter().filter_map(waits).collect();
        for attempt in waiting {
            let result = match confirmed {
                true => Ok(None),
                false => {
                    let why = format!("it is NOT CONFIRMED SAFE: {detail}");
                    Err(failure(FailureKind::Refused, why, Sent::Unknown))
                }
            };
            self.end_call(&attempt, result, trace.to_vec())?;
        }
        Ok(())
    }

    /// Reads the witnesses whose time has come.
    pub(super) fn settle_calls(&mut self) -> Result<(), EngineError> {
        let now = self.now();
        let due = |(attempt, call): (&String, &Call)| {
            matches!(call.stage, Stage::Settling(until) if until <= now).then(|| attempt.clone())
        };
        let due: Vec<String> = self.hands.calls.iter().filter_map(due).collect();
        for attempt in due {
            let Some(call) = self.hands.calls.get_mut(&attempt) else { continue };
            let Wanted::Action(action) = &call.wanted else { continue };
            let Some((property, _)) = action.witness.clone() else { continue };
            call.stage = Stage::Witness;
            let (instrument, result) = (call.instrument.clone(), call.called.result.clone());
            if self.read(&attempt, &instrument, &property).is_err() {
                self.end_call(&attempt, result, Vec::new())?;
            }
        }
        Ok(())
    }

    fn end_call(
        &mut self,
        attempt: &str,
        result: Result<Option<Value>, ManualFailure>,
        trace: Vec<Exchange>,
    ) -> Result<(), EngineError> {
        let Some(mut call) = self.hands.calls.remove(attempt) else { return Ok(()) };
        call.called.result = result;
        call.called.trace.extend(trace);
        let called = call.called;
        if !called.id.is_empty() {
            self.note(Fact::Manual(ManualRecord::Outcome {
                id: called.id.clone(),
                result: called.result.clone(),
                witness: called.witness.clone(),
                trace: wire_trace::kept(&called.trace),
            }))?;
        }
        self.desk.tell_later(call.outcome, Outcome::of_call(called));
        Ok(())
    }
}

fn failure(kind: FailureKind, message: String, effect: Sent) -> ManualFailure {
    ManualFailure { kind, message, effect }
}

/// `dispense(volume: 2 mL)`
fn in_words(action: &str, args: &BTreeMap<String, Value>) -> String {
    let args: Vec<String> =
        args.iter().map(|(name, value)| format!("{name}: {}", value.show())).collect();
    if args.is_empty() { action.to_owned() } else { format!("{action}({})", args.join(", ")) }
}
