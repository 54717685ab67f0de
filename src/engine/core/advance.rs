//! Decides what follows: which step starts, what a failure does, when a run is over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::Tick;
use super::claims::Want;
use super::events::{Action, Failure};
use super::machine::Core;
use super::record::{Ending, Record};
use super::run::{Phase, Status, StepKey, commanded};
use super::scope::Scope;
use super::states::RunState;
use super::wake::READINGS_WAIT;
use crate::compiler::graph::{Effect, FailureKind, NodeId, NodeKind};
use crate::expr::{self, Expr, Value};

/// Time the driver gets beyond a step's own deadline to say that it timed out.
pub(super) const BACKSTOP: Duration = Duration::from_secs(10);

pub(super) fn no_value(name: &str, why: &str) -> Failure {
    Failure::without_effect(FailureKind::NoValue, format!("{name} has no value: {why}"))
}

/// How long the reading of a witness may take (lab time; drivers are bound by shorter ones).
pub(super) const WITNESS_WAIT: Duration = Duration::from_secs(60);
/// Deadline of a command whose step has none.
pub(super) const COMMAND_WAIT: Duration = Duration::from_secs(60);

/// Timer of a run as a whole, not of one step.
pub(super) fn run_timer() -> StepKey {
    StepKey { node: NodeId(u32::MAX), rounds: Vec::new() }
}

/// Holder of the instruments that a restart has begun to set going and not ended with.
pub(super) fn restart_holder() -> StepKey {
    StepKey { node: NodeId(u32::MAX - 1), rounds: Vec::new() }
}

/// Values of all arguments or inputs, or why one has none.
pub(super) fn evaluated(
    expressions: &BTreeMap<String, Expr>,
    scope: &Scope,
) -> Result<BTreeMap<String, Value>, Failure> {
    let mut values = BTreeMap::new();
    for (name, value) in expressions {
        match expr::eval(value, scope) {
            Ok(Value::Missing(why)) => return Err(no_value(name, &why)),
            Err(error) => return Err(no_value(name, &error.message)),
            Ok(value) => values.insert(name.clone(), value),
        };
    }
    Ok(values)
}

impl Core {
    /// Goes on with every run that something happened to, oldest first, until nothing more
    /// follows. Each round either emits a record or ends, and a graph has finitely many steps and
    /// bounded loops, so it ends.
    pub(super) fn advance(&mut self, now: Tick) {
        while !self.stirred.is_empty() {
            let stirred = std::mem::take(&mut self.stirred);
            let mut reserved = BTreeSet::new();
            for id in self.ranked() {
                if stirred.contains(&id) || self.blocked.contains_key(&id) {
                    self.advance_run(&id, &reserved, now);
                }
                let wants = self.blocked.get(&id).into_iter().flatten();
                let wants = wants.filter(|want| !self.claims.kept_back(&want.wanted));
                reserved.extend(wants.flat_map(|want| want.wanted.iter().cloned()));
            }
        }
    }

    fn advance_run(&mut self, id: &str, reserved: &BTreeSet<String>, now: Tick) {
        loop {
            let Some(run) = self.runs.get(id) else { return };
            let ready: Vec<StepKey> = run.ready.iter().cloned().collect();
            self.blocked.remove(id);
            let mut reserved = reserved.clone();
            let mut progress = false;
            for key in ready {
                progress |= self.decide(id, &key, &mut reserved, now);
            }
            progress |= self.conclude(id, now);
            if !progress {
                return;
            }
        }
    }

    /// A step waits for instruments, or for room.
    fn park(&mut self, id: &str, key: &StepKey, wanted: &[String], room: bool) {
        let want = Want { step: Some(key.clone()), wanted: wanted.to_vec(), room };
        self.blocked.entry(id.to_owned()).or_default().push(want);
    }

    /// One step that waits for a decision. True if a record came of it.
    fn decide(
        &mut self,
        id: &str,
        key: &StepKey,
        reserved: &mut BTreeSet<String>,
        now: Tick,
    ) -> bool {
        let Some(run) = self.runs.get(id) else { return false };
        let Some(state) = run.steps.get(key) else { return false };
        if !run.ready.contains(key) {
            return false;
        }
        let moving = run.state();
        let mine = run.is_in_phase(key);
        if state.asked && mine {
            return self.attend_question(id, key, now);
        }
        match state.status {
            _ if state.asked => {
                self.sleep(id, key);
                false
            }
            Status::Sent if self.doubts.contains_key(&(id.to_owned(), key.clone())) => {
                self.probe(id, key, now)
            }
            Status::Sent => self.backstop(id, key, now),
            // A step of the body while `finally` runs, or of a run that ends.
            _ if !mine => {
                self.sleep(id, key);
                false
            }
            Status::Uncertain => self.uncertain(id, key, now),
            Status::Open if moving == RunState::Pausing => self.attend(id, key, now),
            // SAFETY(lab): a run that stands still starts nothing, and does not end by itself.
            _ if !moving.goes_on() => false,
            Status::Waiting => self.start(id, key, reserved, now),
            Status::Open => self.attend(id, key, now),
            Status::Deciding => self.decide_block(id, key, now),
            Status::Failed => self.failed(id, key, now),
            Status::Done | Status::PassedOver => {
                let done_body = run.phase == Phase::Body && key.node == NodeId(0);
                self.sleep(id, key);
                done_body && self.complete(id, now)
            }
        }
    }

    /// Takes a step off the list of decisions until a timer or an answer brings it back.
    pub(super) fn sleep(&mut self, id: &str, key: &StepKey) {
        if let Some(run) = self.runs.get_mut(id) {
            run.ready.remove(key);
        }
    }

    pub(super) fn sleep_until(&mut self, id: &str, key: &StepKey, at: Tick) {
        self.sleep(id, key);
        self.timers.insert((at, id.to_owned(), key.clone()));
        self.put_away_timers();
    }

    fn start(
        &mut self,
        id: &str,
        key: &StepKey,
        reserved: &mut BTreeSet<String>,
        now: Tick,
    ) -> bool {
        let Some(run) = self.runs.get(id) else { return false };
        let (Some(state), id_of) = (run.steps.get(key), key.node) else { return false };
        if now < state.earliest {
            let at = state.earliest;
            self.sleep_until(id, key, at);
            return false;
        }
        if let Some(latest) = state.latest
            && now > latest
        {
            let late = now.since(latest).as_secs_f64();
            let failure = Failure::without_effect(
                FailureKind::Lag,
                format!("its `within` was over {late:.1} s before it could start"),
            );
            self.end_open(id, key, Err(failure), now);
            return true;
        }
        if key.node == NodeId(0)
            && let Some(verdict) = self.required(id, key, now)
        {
            return verdict;
        }
        let Some(run) = self.runs.get(id) else { return false };
        let Some(node) = run.graph.node(id_of) else { return false };
        let rooms = if key.node == NodeId(0) { run.graph.places.as_slice() } else { &[] };
        if !self.claims.has_room(id, rooms) {
            self.park(id, key, &[], true);
            return false;
        }
        if let Some(stale) = run.stale(key, now) {
            self.end_open(id, key, Err(stale), now);
            return true;
        }
        let plan = Arc::clone(&run.plan);
        let wanted = plan.claims(key.node);
        if !self.claims.available(id, wanted, reserved) {
            if !self.claims.kept_back(wanted) {
                reserved.extend(wanted.iter().cloned());
            }
            self.park(id, key, wanted, false);
            return false;
        }
        match &node.kind {
            NodeKind::Action { .. } => self.start_action(id, key, now),
            NodeKind::Log { message } => {
                let scope = Scope::new(self, run, key, now);
                let result = match expr::eval(message, &scope) {
                    Ok(value) => Ok(Some(value)),
                    Err(error) => Err(no_value("message", &error.message)),
                };
                let unread = scope.unread();
                if self.put_off(id, key, unread, now) {
                    return false;
                }
                self.end_open(id, key, result, now);
                true
            }
            _ => {
                let step = run.step_ref(key);
                let run = id.to_owned();
                let record = if wanted.is_empty() && rooms.is_empty() {
                    Record::Begun { run, step }
                } else {
                    Record::Held { run, step }
                };
                self.emit(record, now);
                true
            }
        }
    }

    /// Checks `require`. `None`: it holds. Otherwise the value to return from `start`.
    fn required(&mut self, id: &str, key: &StepKey, now: Tick) -> Option<bool> {
        let run = self.runs.get(id)?;
        let scope = Scope::new(self, run, key, now);
        let mut missing = None;
        let mut broken = None;
        for condition in &run.graph.require {
            match expr::eval(&condition.expr, &scope) {
                Ok(Value::Bool(true)) => {}
                Ok(Value::Missing(why)) => missing = Some(format!("`{}`: {why}", condition.text)),
                Ok(_) => broken = Some(format!("`{}` does not hold", condition.text)),
                Err(error) => broken = Some(format!("`{}`: {}", condition.text, error.message)),
            }
        }
        let started = run.started;
        if broken.is_none() {
            let why = missing?;
            if now < started.after(READINGS_WAIT).max(self.readings_due) {
                self.sleep_until(id, key, now.after(Duration::from_secs(1)));
                return Some(false);
            }
            broken = Some(why);
        }
        let cause = format!("require {}", broken.unwrap_or_default());
        self.end_body(id, Ending::Failed, cause, now);
        Some(true)
    }

    fn start_action(&mut self, id: &str, key: &StepKey, now: Tick) -> bool {
        let Some(run) = self.runs.get(id) else { return false };
        let Some(node) = run.node(key) else { return false };
        let NodeKind::Action { instrument, action, args, effect, witness, .. } = &node.kind else {
            return false;
        };
        let scope = Scope::new(self, run, key, now);
        let values = evaluated(args, &scope);
        let unread = scope.unread();
        let values = match values {
            Ok(values) => values,
            Err(_) if self.put_off(id, key, unread, now) => return false,
            Err(failure) => {
                self.end_open(id, key, Err(failure), now);
                return true;
            }
        };
        let place = (id.to_owned(), key.clone());
        let (baseline, baseline_at) = self.baselines.remove(&place).unzip();
        if let (Effect::Verifiable, Some(witness), None) = (effect, witness, &baseline) {
            let (instrument, property) = (instrument.clone(), witness.property.clone());
            return self.read_baseline(id, key, instrument, property, now);
        }
        let step = run.step_ref(key);
        let attempt = run.steps.get(key).map_or(0, |s| s.attempts) + 1;
        let deadline = node.deadline.unwrap_or(COMMAND_WAIT);
        let (instrument, action, effect) = (instrument.clone(), action.clone(), *effect);
        self.emit(
            Record::Intent {
                run: id.to_owned(),
                step: step.clone(),
                attempt,
                instrument: instrument.clone(),
                action: action.clone(),
                args: values.clone(),
                effect,
                baseline,
                baseline_at,
            },
            now,
        );
        let limit = now.after(deadline).after(self.slack).after(BACKSTOP);
        self.sleep_until(id, key, limit);
        self.out.actions.push(Action::Send {
            run: id.to_owned(),
            step,
            attempt,
            instrument,
            action,
            args: values,
            deadline,
        });
        true
    }

    /// Asks for the witness just before its command. True if no answer came in time.
    fn read_baseline(
        &mut self,
        id: &str,
        key: &StepKey,
        instrument: String,
        property: String,
        now: Tick,
    ) -> bool {
        let Some(run) = self.runs.get(id) else { return false };
        let wanted = run.plan.claims(key.node).to_vec();
        let place = (id.to_owned(), key.clone());
        let asked = self.asked.get(&place).copied();
        let limit = self.patience(asked.unwrap_or(now)).after(WITNESS_WAIT).after(self.slack);
        if now >= limit {
            self.asked.remove(&place);
            self.claims.release(id, key, &wanted);
            let message = format!("its witness: no word from {instrument} in time");
            let failure = Failure::without_effect(FailureKind::Timeout, message);
            self.end_open(id, key, Err(failure), now);
            return true;
        }
        if asked.is_none() {
            self.asked.insert(place, now);
            let (run, key, since) = (id.to_owned(), key.clone(), now);
            // Nobody else may move the instrument between this reading and the command.
            self.claims.take(id, &key, &wanted);
            self.out.actions.push(Action::ReadWitness { run, key, instrument, property, since });
        }
        self.sleep_until(id, key, limit);
        false
    }

    /// The driver owns the deadline of a command; this one only guards against its silence.
    fn backstop(&mut self, id: &str, key: &StepKey, now: Tick) -> bool {
        let Some(run) = self.runs.get(id) else { return false };
        let (Some(state), Some(node)) = (run.steps.get(key), run.node(key)) else { return false };
        let deadline = node.deadline.unwrap_or(COMMAND_WAIT);
        let since = self.patience(state.since);
        let limit = since.after(deadline).after(self.slack).after(BACKSTOP);
        if now < limit {
            self.sleep_until(id, key, limit);
            return false;
        }
        let record = Record::Outcome {
            run: id.to_owned(),
            step: run.step_ref(key),
            attempt: state.attempts,
            result: Err(Failure {
                kind: FailureKind::Timeout,
                message: format!(
                    "no word from {} within {:.1} s",
                    commanded(&node.kind).map_or("the instrument", |(i, _)| i),
                    deadline.as_secs_f64()
                ),
                effect_unknown: true,
            }),
            trace: String::new(),
        };
        self.emit(record, now);
        true
    }
}
