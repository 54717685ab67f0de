//! Commands whose effect nobody knows: after a crash, a lost reply or a lost link.
//!
//! What may be sent again is sent again. What has a witness is proved by it, after the settle time
//! (a command may still sit in the instrument) and only once the witness stands still. All else
//! is a question for a person, or ends the run as invalid, as the campaign says.

use std::time::Duration;

use super::Tick;
use super::advance::WITNESS_WAIT;
use super::events::{Action, Failure, Reading};
use super::machine::Core;
use super::record::{Record, Resolution};
use super::run::{Phase, Status, StepKey};
use crate::compiler::graph::{Effect, FailureKind, NodeKind, Witness};
use crate::expr::Value;

/// What resolved a doubt, where it was no person: its witness.
pub(super) const BY_WITNESS: &str = "witness";
/// The same: that it may be sent again.
pub(super) const BY_EFFECT: &str = "effect class";
/// Least time between two readings of a witness (lab time).
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// Readings before the doubt is given to a person.
const PROBES_MAX: u32 = 600;
/// A witness within this part of the expected change counts as there: instruments round.
const WITNESS_TOLERANCE: f64 = 0.02;

/// A command being resolved by its witness.
#[derive(Debug, Clone, PartialEq)]
pub struct Doubt {
    due: Tick,
    probes: u32,
    last: Option<f64>,
    still_since: Tick,
    /// The last reading, for whoever is asked.
    pub(super) seen: Option<Value>,
}

/// What one reading says.
#[derive(Debug, PartialEq)]
enum Judgement {
    Done,
    NotDone,
    Again,
    Unknown(&'static str),
}

impl Core {
    /// A command was under way when the engine died.
    pub(super) fn orphaned(&mut self, id: &str, key: &StepKey, now: Tick) {
        let Some(run) = self.runs.get(id) else { return };
        let (Some(state), Some(node)) = (run.steps.get(key), run.node(key)) else { return };
        let NodeKind::Action { effect, .. } = &node.kind else { return };
        // SAFETY(lab): a run that ends goes on to its safe states, as it does where an answer is lost.
        if run.phase != Phase::Body {
            let message = "the engine ended before its outcome was known".to_owned();
            let kind = FailureKind::Timeout;
            let record = Record::Outcome {
                run: id.to_owned(),
                step: run.step_ref(key),
                attempt: state.attempts,
                result: Err(Failure { kind, message, effect_unknown: true }),
                trace: String::new(),
            };
            self.emit(record, now);
            return;
        }
        if matches!(effect, Effect::Read | Effect::Repeatable) {
            let record = Record::Resolved {
                run: id.to_owned(),
                step: run.step_ref(key),
                attempt: state.attempts,
                resolution: Resolution::NotDone,
                evidence: "sending it again gives the same state".to_owned(),
                by: BY_EFFECT.to_owned(),
                trace: String::new(),
            };
            self.emit(record, now);
            return;
        }
        self.begin_doubt(id, key, now);
    }

    /// A failed attempt may have had its effect.
    pub(super) fn uncertain(&mut self, id: &str, key: &StepKey, now: Tick) -> bool {
        let Some(run) = self.runs.get(id) else { return false };
        if run.phase == Phase::Finally {
            let step = run.step_ref(key);
            self.emit(Record::PassedOver { run: id.to_owned(), step }, now);
            return true;
        }
        if self.doubts.contains_key(&(id.to_owned(), key.clone())) {
            return self.probe(id, key, now);
        }
        self.begin_doubt(id, key, now)
    }

    fn begin_doubt(&mut self, id: &str, key: &StepKey, now: Tick) -> bool {
        let Some(run) = self.runs.get(id) else { return false };
        let (Some(state), Some(node)) = (run.steps.get(key), run.node(key)) else { return false };
        let witness = match &node.kind {
            NodeKind::Action { witness: Some(witness), .. } => witness,
            _ => {
                self.unresolvable(id, key, "the action has no witness", now);
                return true;
            }
        };
        if number(state.baseline.as_ref()).is_none() && witness.equals.is_none() {
            self.unresolvable(id, key, "the witness had no value before it was sent", now);
            return true;
        }
        let due = now.after(witness.settle);
        self.doubts.insert(
            (id.to_owned(), key.clone()),
            Doubt { due, probes: 0, last: None, still_since: now, seen: None },
        );
        self.sleep_until(id, key, due);
        false
    }

    pub(super) fn probe(&mut self, id: &str, key: &StepKey, now: Tick) -> bool {
        let place = (id.to_owned(), key.clone());
        let Some(doubt) = self.doubts.get(&place) else { return false };
        let due = doubt.due;
        if now < due {
            self.sleep_until(id, key, due);
            return false;
        }
        let Some(run) = self.runs.get(id) else { return false };
        // Restarts count from the reading before the intent on, not from the failure that may have
        // hidden one: a count that began anew in between is compared with nothing.
        let since = run.steps.get(key).and_then(|s| s.baseline_at.or(s.sent)).unwrap_or(now);
        if let Some(NodeKind::Action { instrument, witness: Some(witness), .. }) =
            run.node(key).map(|n| &n.kind)
        {
            if let Some(asked) = self.asked.get(&place) {
                let limit = self.patience(*asked).after(WITNESS_WAIT).after(self.slack);
                if now < limit {
                    self.sleep_until(id, key, limit);
                    return false;
                }
                // Nobody answers: as good as a reading that failed.
                let failure = Failure::without_effect(FailureKind::Timeout, "no word in time");
                self.take_witness(id.to_owned(), key.clone(), Err(failure), now);
                return false;
            }
            self.out.actions.push(Action::ReadWitness {
                run: id.to_owned(),
                key: key.clone(),
                instrument: instrument.clone(),
                property: witness.property.clone(),
                since,
            });
            self.asked.insert(place, now);
        }
        self.sleep_until(id, key, now.after(WITNESS_WAIT).after(self.slack));
        false
    }

    pub(super) fn take_witness(
        &mut self,
        id: String,
        key: StepKey,
        reading: Result<Reading, Failure>,
        now: Tick,
    ) {
        let place = (id.clone(), key.clone());
        let Some(asked) = self.asked.remove(&place) else { return };
        let Some(run) = self.runs.get_mut(&id) else { return };
        let Some(state) = run.steps.get(&key) else { return };
        match state.status {
            Status::Waiting => {
                let wanted = run.plan.claims(key.node).to_vec();
                // SAFETY(lab): the steps may have ended while it was read; nothing of them is sent
                // while `finally` runs.
                if !run.is_in_phase(&key) {
                    self.claims.release(&id, &key, &wanted);
                    return;
                }
                match reading {
                    // By the time the run goes on it is out of date.
                    Ok(_) if !run.state().goes_on() => {
                        run.ready.insert(key.clone());
                        self.claims.release(&id, &key, &wanted);
                    }
                    Ok(Reading { value, .. }) => {
                        run.ready.insert(key);
                        self.stirred.insert(id);
                        self.baselines.insert(place, (value, asked));
                    }
                    Err(mut failure) => {
                        failure.effect_unknown = false;
                        failure.message = format!("its witness: {}", failure.message);
                        self.claims.release(&id, &key, &wanted);
                        self.end_open(&id, &key, Err(failure), now);
                    }
                }
            }
            Status::Sent | Status::Uncertain => self.judge_reading(&id, &key, reading, now),
            _ => {}
        }
    }

    fn judge_reading(
        &mut self,
        id: &str,
        key: &StepKey,
        reading: Result<Reading, Failure>,
        now: Tick,
    ) {
        let place = (id.to_owned(), key.clone());
        let (Some(run), Some(doubt)) = (self.runs.get(id), self.doubts.get_mut(&place)) else {
            return;
        };
        let (Some(state), Some(node)) = (run.steps.get(key), run.node(key)) else { return };
        let NodeKind::Action { witness: Some(witness), .. } = &node.kind else { return };
        doubt.probes += 1;
        doubt.seen = reading.as_ref().ok().map(|r| r.value.clone());
        let value = reading.as_ref().ok().and_then(|r| number(Some(&r.value)));
        if value != doubt.last {
            doubt.still_since = now;
            doubt.last = value;
        }
        let still = now.since(doubt.still_since);
        let expected = number(witness.counts.as_ref().and_then(|name| state.args.get(name)));
        let target = number(witness.equals.as_ref().and_then(|name| state.args.get(name)));
        let before = number(state.baseline.as_ref());
        let patience = witness.settle.max(PROBE_EVERY);
        let judgement = match &reading {
            Err(_) => Judgement::Again,
            Ok(reading) => judge(
                witness,
                reading,
                before,
                expected,
                target,
                Still { for_: still, patience, action: node.expected },
            ),
        };
        let judgement = match judgement {
            Judgement::Again if doubt.probes >= PROBES_MAX => {
                Judgement::Unknown("its witness could not be read, or kept changing")
            }
            other => other,
        };
        let evidence = format!(
            "{} was {} before and is {} now",
            witness.property,
            before.map_or("unknown".to_owned(), |v| format!("{v:e}")),
            value.map_or("unknown".to_owned(), |v| format!("{v:e}")),
        );
        let (step, attempt) = (run.step_ref(key), state.attempts);
        let resolution = match judgement {
            Judgement::Again => {
                let due = now.after(patience);
                doubt.due = due;
                self.timers.insert((due, id.to_owned(), key.clone()));
                return;
            }
            Judgement::Unknown(reason) => {
                let reason = format!("{reason}; {evidence}");
                self.unresolvable(id, key, &reason, now);
                return;
            }
            Judgement::Done => Resolution::Done,
            Judgement::NotDone => Resolution::NotDone,
        };
        self.doubts.remove(&place);
        let by = BY_WITNESS.to_owned();
        let run = id.to_owned();
        let trace = String::new();
        let record = Record::Resolved { run, step, attempt, resolution, evidence, by, trace };
        self.emit(record, now);
    }
}

/// How long the witness has not changed, and how long that must be to mean something.
struct Still {
    for_: Duration,
    patience: Duration,
    action: Duration,
}

fn judge(
    witness: &Witness,
    reading: &Reading,
    before: Option<f64>,
    expected: Option<f64>,
    target: Option<f64>,
    still: Still,
) -> Judgement {
    if reading.rebooted && witness.void_if_rebooted {
        return Judgement::Unknown("the instrument restarted and lost its count");
    }
    let Some(value) = number(Some(&reading.value)) else { return Judgement::Again };
    // An instrument that says it is idle will not move any more; one that cannot say is only
    // believed after the whole action would have ended.
    let at_rest = match reading.busy {
        Some(true) => false,
        Some(false) => still.for_ >= still.patience,
        None => still.for_ >= still.action.saturating_mul(2).max(still.patience),
    };
    if let Some(target) = target {
        let near =
            (value - target).abs() <= WITNESS_TOLERANCE * target.abs().max(f64::MIN_POSITIVE);
        return match (near, at_rest) {
            (true, true) => Judgement::Done,
            (false, true) if before.is_some_and(|b| b == value) => Judgement::NotDone,
            (false, true) => Judgement::Unknown("it stopped somewhere on the way"),
            _ => Judgement::Again,
        };
    }
    let (Some(before), Some(expected)) = (before, expected) else {
        return Judgement::Unknown("its witness cannot be compared");
    };
    let tolerance = WITNESS_TOLERANCE * expected.abs();
    if !at_rest {
        return Judgement::Again;
    }
    if (value - before - expected).abs() <= tolerance {
        Judgement::Done
    } else if (value - before).abs() <= tolerance * 0.5 {
        Judgement::NotDone
    } else {
        Judgement::Unknown("only part of it happened")
    }
}

fn number(value: Option<&Value>) -> Option<f64> {
    match value {
        Some(Value::Quantity(quantity)) if quantity.value.is_finite() => Some(quantity.value),
        _ => None,
    }
}
