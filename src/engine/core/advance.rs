//! Decides what follows: which step starts, what a failure does, when a run is over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::events::{Action, Failure, InDoubt};
use super::machine::Core;
use super::record::{About, Ending, Record};
use super::run::{Phase, Run, Status, StepKey};
use super::scope::Scope;
use super::states::RunState;
use super::{Tick, machine, record};
use crate::compiler::graph::{Effect, FailureKind, NodeId, NodeKind, OnError};
use crate::expr::{self, Value};

/// How long a run waits for the first readings that its `require` needs (lab time).
const REQUIRE_WAIT: Duration = Duration::from_secs(60);
/// How long a question about a failure or a doubt stays open before the cautious answer is taken.
const QUESTION_WAIT: Duration = Duration::from_secs(24 * 3600);
/// How long safe states may take to be confirmed before they are reported as not confirmed.
const SAFE_WAIT: Duration = Duration::from_secs(60);
/// Time the driver gets beyond a step's own deadline to say that it timed out.
const BACKSTOP: Duration = Duration::from_secs(10);

/// Timer of a run as a whole, not of one step.
pub(super) fn run_timer() -> StepKey {
    StepKey { node: NodeId(u32::MAX), rounds: Vec::new() }
}

impl Core {
    /// Goes on with every run that something happened to, oldest first, until nothing more
    /// follows. Each round either emits a record or ends, and a graph has finitely many steps and
    /// bounded loops, so it ends.
    pub(super) fn advance(&mut self, now: Tick) {
        while !self.stirred.is_empty() {
            let stirred = std::mem::take(&mut self.stirred);
            let mut reserved = BTreeSet::new();
            for id in self.order.clone() {
                if stirred.contains(&id) || self.blocked.contains_key(&id) {
                    self.advance_run(&id, &reserved, now);
                }
                if let Some(wanted) = self.blocked.get(&id) {
                    reserved.extend(wanted.iter().cloned());
                }
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

    /// One step that waits for a decision. True if a record came of it.
    fn decide(
        &mut self,
        id: &str,
        key: &StepKey,
        reserved: &mut BTreeSet<String>,
        now: Tick,
    ) -> bool {
        let Some(run) = self.runs.get(id) else { return false };
        let (Some(state), Some(node)) = (run.steps.get(key), run.node(key)) else { return false };
        if !run.ready.contains(key) {
            return false;
        }
        let active = matches!(run.phase, Phase::Body | Phase::Finally);
        if state.asked {
            let wait = match node.kind {
                NodeKind::Ask { .. } => node.deadline.unwrap_or(QUESTION_WAIT),
                _ => QUESTION_WAIT,
            };
            return self.question_due(id, key, now, wait);
        }
        let goes_on = run.state().goes_on();
        match state.status {
            Status::Sent => {
                if self.doubts.contains_key(&(id.to_owned(), key.clone())) {
                    return self.probe(id, key, now);
                }
                self.backstop(id, key, now)
            }
            _ if !active => false,
            Status::Uncertain if !run.state().goes_on() => self.uncertain(id, key, now),
            Status::Open if run.state() == RunState::Pausing => self.attend(id, key, now),
            // SAFETY(lab): a run that stands still starts nothing, and does not end by itself.
            _ if !goes_on => false,
            Status::Waiting => self.start(id, key, reserved, now),
            Status::Open => self.attend(id, key, now),
            Status::Deciding => self.decide_block(id, key, now),
            Status::Uncertain => self.uncertain(id, key, now),
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
            self.blocked.entry(id.to_owned()).or_default();
            return false;
        }
        if let Some(stale) = run.stale(key, now) {
            self.end_open(id, key, Err(stale), now);
            return true;
        }
        let wanted = run.plan.claims(key.node);
        if !self.claims.available(id, wanted, reserved) {
            reserved.extend(wanted.iter().cloned());
            self.blocked.entry(id.to_owned()).or_default().extend(wanted.iter().cloned());
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
            if now < started.after(REQUIRE_WAIT) {
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
        let mut values = BTreeMap::new();
        for (name, value) in args {
            match expr::eval(value, &scope) {
                Ok(Value::Missing(why)) => {
                    self.end_open(id, key, Err(no_value(name, &why)), now);
                    return true;
                }
                Ok(value) => {
                    values.insert(name.clone(), value);
                }
                Err(error) => {
                    self.end_open(id, key, Err(no_value(name, &error.message)), now);
                    return true;
                }
            }
        }
        let place = (id.to_owned(), key.clone());
        let baseline = self.baselines.remove(&place);
        if let (Effect::Verifiable, Some(witness), None) = (effect, witness, &baseline) {
            if self.asked.insert(place) {
                self.out.actions.push(Action::ReadWitness {
                    run: id.to_owned(),
                    key: key.clone(),
                    instrument: instrument.clone(),
                    property: witness.property.clone(),
                    since: now,
                });
                // Nobody else may move the instrument between this reading and the command.
                let wanted = run.plan.claims(key.node).to_vec();
                self.claims.take(id, key, &wanted);
            }
            self.sleep(id, key);
            return false;
        }
        let step = run.step_ref(key);
        let attempt = run.steps.get(key).map_or(0, |s| s.attempts) + 1;
        let deadline = node.deadline.unwrap_or(Duration::from_secs(60));
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

    /// The driver owns the deadline of a command; this one only guards against its silence.
    fn backstop(&mut self, id: &str, key: &StepKey, now: Tick) -> bool {
        let Some(run) = self.runs.get(id) else { return false };
        let (Some(state), Some(node)) = (run.steps.get(key), run.node(key)) else { return false };
        let deadline = node.deadline.unwrap_or(Duration::from_secs(60));
        let limit = state.since.after(deadline).after(self.slack).after(BACKSTOP);
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
                    machine::commanded(&node.kind).map_or("the instrument", |(i, _)| i),
                    deadline.as_secs_f64()
                ),
                effect_unknown: true,
            }),
            trace: String::new(),
        };
        self.emit(record, now);
        true
    }

    /// A leaf under way that sends nothing.
    fn attend(&mut self, id: &str, key: &StepKey, now: Tick) -> bool {
        let Some(run) = self.runs.get(id) else { return false };
        let (Some(state), Some(node)) = (run.steps.get(key), run.node(key)) else { return false };
        let place = (id.to_owned(), key.clone());
        match &node.kind {
            NodeKind::Wait { duration } => {
                let scope = Scope::new(self, run, key, now);
                let seconds = match expr::eval(duration, &scope) {
                    Ok(Value::Quantity(q)) => Duration::try_from_secs_f64(q.value).ok(),
                    _ => None,
                };
                let Some(wait) = seconds else {
                    self.end_open(id, key, Err(no_value("wait", "it is not a time")), now);
                    return true;
                };
                let due = state.since.after(wait);
                if now < due {
                    self.sleep_until(id, key, due);
                    return false;
                }
                self.end_open(id, key, Ok(None), now);
                true
            }
            NodeKind::WaitUntil { .. } => {
                self.watching.entry(place).or_insert(None);
                self.look_at(id, key, now)
            }
            NodeKind::Analyse { function, inputs, .. } => {
                let scope = Scope::new(self, run, key, now);
                let mut values = BTreeMap::new();
                for (name, input) in inputs {
                    let why = match expr::eval(input, &scope) {
                        Ok(Value::Missing(why)) => why.to_string(),
                        Err(error) => error.message,
                        Ok(value) => {
                            values.insert(name.clone(), value);
                            continue;
                        }
                    };
                    self.end_open(id, key, Err(no_value(name, &why)), now);
                    return true;
                }
                if self.asked.insert(place) {
                    self.out.actions.push(Action::Analyse {
                        run: id.to_owned(),
                        key: key.clone(),
                        function: function.clone(),
                        inputs: values,
                    });
                }
                self.sleep(id, key);
                false
            }
            NodeKind::Values { values } => {
                let scope = Scope::new(self, run, key, now);
                let mut found = BTreeMap::new();
                let mut failure = None;
                for (name, value) in values {
                    match expr::eval(value, &scope) {
                        // What a called protocol did not measure stays missing until it is read.
                        Ok(value) => {
                            found.insert(name.clone(), value);
                        }
                        Err(error) => failure = Some(no_value(name, &error.message)),
                    }
                }
                let result = failure.map_or(Ok(Some(Value::Record(found))), Err);
                self.end_open(id, key, result, now);
                true
            }
            NodeKind::Ask { question, options, .. } => {
                let scope = Scope::new(self, run, key, now);
                let question = match expr::eval(question, &scope) {
                    Ok(Value::Text(text)) => text.to_string(),
                    _ => "The protocol asks, but its question has no value.".to_owned(),
                };
                let record = Record::Question {
                    run: id.to_owned(),
                    step: run.step_ref(key),
                    question,
                    options: options.clone(),
                    id: 0,
                    about: About::Protocol,
                    meanings: Vec::new(),
                    evidence: None,
                };
                self.emit(record, now);
                self.wake_question(id, key);
                true
            }
            _ => {
                self.sleep(id, key);
                false
            }
        }
    }

    fn decide_block(&mut self, id: &str, key: &StepKey, now: Tick) -> bool {
        let Some(run) = self.runs.get(id) else { return false };
        let Some(node) = run.node(key) else { return false };
        let condition = match &node.kind {
            NodeKind::Branch { condition } => Some(condition),
            NodeKind::Repeat { until, .. } => until.as_ref(),
            _ => return false,
        };
        let verdict = match condition {
            None => Ok(false),
            Some(condition) => {
                let scope = Scope::new(self, run, key, now);
                match expr::eval(&condition.expr, &scope) {
                    Ok(Value::Bool(holds)) => Ok(holds),
                    Ok(Value::Missing(why)) => Err(no_value(&condition.text, &why)),
                    Ok(_) => Err(no_value(&condition.text, "it is not true or false")),
                    Err(error) => Err(no_value(&condition.text, &error.message)),
                }
            }
        };
        match verdict {
            Ok(holds) => {
                let step = run.step_ref(key);
                self.emit(Record::Decided { run: id.to_owned(), step, holds }, now);
            }
            Err(failure) => self.end_open(id, key, Err(failure), now),
        }
        true
    }

    fn failed(&mut self, id: &str, key: &StepKey, now: Tick) -> bool {
        let Some(run) = self.runs.get(id) else { return false };
        let (Some(state), Some(node)) = (run.steps.get(key), run.node(key)) else { return false };
        let step = run.step_ref(key);
        let failure = state.failure.clone();
        let cause = match &failure {
            Some(f) => format!("{}: {}: {}", step.path, record::failure_name(f.kind), f.message),
            None => format!("{}: ended by a person", step.path),
        };
        let run_id = id.to_owned();
        if run.phase == Phase::Finally {
            // Everything in `finally` is tried; the safe state follows for what failed.
            self.emit(Record::PassedOver { run: run_id, step }, now);
            return true;
        }
        if let Some(ending) = state.verdict {
            self.end_body(id, ending, cause, now);
            return true;
        }
        if let (Some(retry), Some(failure)) = (&node.retry, &failure)
            && state.failures <= retry.times
            && !matches!(failure.kind, FailureKind::Person | FailureKind::Lag)
            && (retry.only.is_empty() || retry.only.contains(&failure.kind))
        {
            self.emit(Record::Retrying { run: run_id, step }, now);
            return true;
        }
        match &node.on_error {
            OnError::Fail => self.end_body(id, Ending::Failed, cause, now),
            OnError::Invalid => self.end_body(id, Ending::Invalid, cause, now),
            OnError::Continue => self.emit(Record::PassedOver { run: run_id, step }, now),
            // What was too late for one instrument is too late for every other.
            OnError::Fallback(_)
                if failure.as_ref().is_some_and(|f| f.kind == FailureKind::Lag) =>
            {
                self.end_body(id, Ending::Failed, cause, now);
            }
            // Whether a failed attempt had its effect after all was settled before it came here,
            // so that no dose is given by two instruments.
            OnError::Do(handler) | OnError::Fallback(handler) => {
                let handler = StepKey { node: *handler, rounds: key.rounds.clone() };
                let handler = run.step_ref(&handler);
                self.emit(Record::Handling { run: run_id, step, handler }, now);
            }
            OnError::Ask => {
                let record = Record::Question {
                    run: run_id,
                    step,
                    question: format!("A step failed. {cause}"),
                    options: ["retry", "skip", "fail"].map(str::to_owned).to_vec(),
                    id: 0,
                    about: About::Failure,
                    meanings: Vec::new(),
                    evidence: None,
                };
                self.emit(record, now);
                self.wake_question(id, key);
            }
        }
        true
    }

    /// Brings a question back to the list so that its deadline is armed.
    pub(super) fn wake_question(&mut self, id: &str, key: &StepKey) {
        if let Some(run) = self.runs.get_mut(id) {
            run.ready.insert(key.clone());
        }
    }

    fn question_due(&mut self, id: &str, key: &StepKey, now: Tick, wait: Duration) -> bool {
        let Some(run) = self.runs.get(id) else { return false };
        let (Some(state), Some(node)) = (run.steps.get(key), run.node(key)) else { return false };
        let due = state.since.after(wait);
        if now < due {
            self.sleep_until(id, key, due);
            return false;
        }
        let answer = match (&node.kind, state.status) {
            (NodeKind::Ask { on_timeout, .. }, _) => match on_timeout {
                Some(answer) => answer.clone(),
                None => "invalid".to_owned(),
            },
            (_, Status::Sent | Status::Uncertain) => "discard".to_owned(),
            _ => "fail".to_owned(),
        };
        self.answer(id, key, answer, "deadline".to_owned(), now);
        true
    }

    /// All steps are done: the results, or why there are none.
    fn complete(&mut self, id: &str, now: Tick) -> bool {
        let Some(run) = self.runs.get(id) else { return false };
        let root = StepKey { node: NodeId(0), rounds: Vec::new() };
        let scope = Scope::new(self, run, &root, now);
        let mut results = BTreeMap::new();
        let mut cause = String::new();
        for spec in &run.graph.results {
            let why = match expr::eval(&spec.value, &scope) {
                Ok(Value::Missing(why)) => why.to_string(),
                Err(error) => error.message,
                Ok(value) => {
                    results.insert(spec.name.clone(), value);
                    continue;
                }
            };
            cause = format!("result `{}` has no value: {why}", spec.name);
        }
        let ending = if cause.is_empty() { Ending::Complete } else { Ending::Failed };
        self.emit(Record::BodyEnded { run: id.to_owned(), ending, cause, results }, now);
        true
    }

    /// The end of `finally`, the safe states, the end of the run.
    fn conclude(&mut self, id: &str, now: Tick) -> bool {
        if self.settle_state(id, now) {
            return true;
        }
        let Some(run) = self.runs.get(id) else { return false };
        match run.phase {
            Phase::Finally if run.finally_is_over() => {
                let failed = run.finally_failures();
                let make_safe = run.to_make_safe();
                self.make_safe(id, failed, make_safe, now);
                true
            }
            Phase::Safe if !run.safe_listed => {
                let make_safe = run.to_make_safe();
                self.make_safe(id, Vec::new(), make_safe, now);
                true
            }
            Phase::Safe if run.making_safe.is_empty() => {
                let (ending, cause) =
                    run.ending.clone().unwrap_or((Ending::Failed, "no ending".to_owned()));
                let not_confirmed = run.not_confirmed.clone();
                let run = id.to_owned();
                self.emit(Record::RunEnded { run, ending, cause, not_confirmed }, now);
                self.forget_volatile(id);
                true
            }
            _ => false,
        }
    }

    fn make_safe(&mut self, id: &str, failed: Vec<String>, make_safe: Vec<String>, now: Tick) {
        let run = id.to_owned();
        self.emit(Record::FinallyEnded { run, failed, make_safe: make_safe.clone() }, now);
        for instrument in make_safe {
            self.out.actions.push(Action::MakeSafe { run: id.to_owned(), instrument });
        }
        self.timers.insert((now.after(SAFE_WAIT).after(self.slack), id.to_owned(), run_timer()));
    }

    fn forget_volatile(&mut self, id: &str) {
        self.timers.retain(|(_, run, _)| run != id);
        self.watching.retain(|(run, _), _| run != id);
        self.asked.retain(|(run, _)| run != id);
        self.baselines.retain(|(run, _), _| run != id);
        self.doubts.retain(|(run, _), _| run != id);
        self.blocked.remove(id);
    }

    /// Nothing can tell whether a command had its effect: a person or the policy decides.
    pub(super) fn unresolvable(&mut self, id: &str, key: &StepKey, reason: &str, now: Tick) {
        self.doubts.remove(&(id.to_owned(), key.clone()));
        let Some(run) = self.runs.get(id) else { return };
        let Some(state) = run.steps.get(key) else { return };
        let step = run.step_ref(key);
        let attempt = state.attempts;
        let what = run
            .node(key)
            .and_then(|n| machine::commanded(&n.kind))
            .map_or(String::new(), |(instrument, action)| format!("{instrument}.{action}"));
        let rule = run.terms.in_doubt.unwrap_or(self.in_doubt);
        let run = id.to_owned();
        match rule {
            InDoubt::Discard => self.emit(
                Record::Resolved {
                    run,
                    step,
                    attempt,
                    resolution: record::Resolution::Discard,
                    evidence: reason.to_owned(),
                    by: "policy in_doubt: discard".to_owned(),
                    trace: String::new(),
                },
                now,
            ),
            InDoubt::Ask => {
                let question = format!(
                    "{what} was sent (attempt {attempt}) and nothing can tell whether it \
                     happened: {reason}. Look at the instrument. done = it happened, go on; \
                     not done = it did not, send it again; discard = the sample is lost."
                );
                let options = ["done", "not done", "discard"].map(str::to_owned).to_vec();
                let (id_, about, meanings, evidence) = (0, About::Doubt, Vec::new(), None);
                let record = Record::Question {
                    run,
                    step,
                    question,
                    options,
                    id: id_,
                    about,
                    meanings,
                    evidence,
                };
                self.emit(record, now);
                self.wake_question(id, key);
            }
        }
    }
}

pub(super) fn no_value(name: &str, why: &str) -> Failure {
    Failure::without_effect(FailureKind::NoValue, format!("{name} has no value: {why}"))
}

impl Run {
    /// Why a step may not start any more: something it uses has expired.
    fn stale(&self, key: &StepKey, now: Tick) -> Option<Failure> {
        for fresh in &self.node(key)?.fresh {
            let depth = self.plan.loops(fresh.of).len().min(key.rounds.len());
            let made = StepKey { node: fresh.of, rounds: key.rounds.get(..depth)?.to_vec() };
            let Some(state) = self.steps.get(&made) else { continue };
            let age = now.since(state.since);
            if state.status == Status::Done && age > fresh.within {
                let message = format!(
                    "what `{}` made is {:.1} s old and expired after {:.1} s",
                    self.path(&made),
                    age.as_secs_f64(),
                    fresh.within.as_secs_f64()
                );
                return Some(Failure::without_effect(FailureKind::Lag, message));
            }
        }
        None
    }

    fn finally_is_over(&self) -> bool {
        let Some(root) = self.graph.finally else { return true };
        self.steps
            .get(&StepKey { node: root, rounds: Vec::new() })
            .is_some_and(|s| matches!(s.status, Status::Done | Status::PassedOver))
    }

    fn finally_failures(&self) -> Vec<String> {
        let Some(root) = self.graph.finally else { return Vec::new() };
        self.steps
            .iter()
            .filter(|(key, s)| key.node >= root && s.status == Status::PassedOver)
            .map(|(key, _)| self.path(key))
            .collect()
    }

    /// Instruments the run started and did not leave by a successful `finally` of a complete run,
    /// in the order of the graph.
    fn to_make_safe(&self) -> Vec<String> {
        let complete = matches!(&self.ending, Some((Ending::Complete, _)));
        self.graph
            .started_instruments
            .iter()
            .filter(|i| self.touched.contains(i) && !(complete && self.settled.contains(*i)))
            .cloned()
            .collect()
    }
}
