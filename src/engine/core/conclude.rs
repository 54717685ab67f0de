//! What a failure does, and how a run ends: results, `finally`, safe states.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Tick;
use super::advance::run_timer;
use super::claims::Want;
use super::events::{Action, Failure};
use super::machine::Core;
use super::question::{DEADLINE, FAILURE_ANSWERS};
use super::record::{self, About, Ending, Record};
use super::run::{Phase, Run, Status, StepKey};
use super::scope::Scope;
use crate::compiler::graph::{FailureKind, NodeId, OnError};
use crate::expr::{self, Value};

/// How long safe states may take to be confirmed before they are reported as not confirmed.
pub(super) const SAFE_WAIT: Duration = Duration::from_secs(60);

impl Core {
    pub(super) fn failed(&mut self, id: &str, key: &StepKey, now: Tick) -> bool {
        let Some(run) = self.runs.get(id) else { return false };
        let (Some(state), Some(node)) = (run.steps.get(key), run.node(key)) else { return false };
        let step = run.step_ref(key);
        let failure = state.failure.clone();
        let cause = match &failure {
            Some(f) => format!("{}: {}: {}", step.path, record::failure_name(f.kind), f.message),
            None => format!("{}: {}", step.path, run.ended_by_word(&step.path)),
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
                let question = format!("A step failed. {cause}");
                self.ask(id, key, About::Failure, question, &FAILURE_ANSWERS, None, now);
            }
        }
        true
    }

    /// All steps are done: the results, or why there are none.
    pub(super) fn complete(&mut self, id: &str, now: Tick) -> bool {
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
        let unread = scope.unread();
        if !cause.is_empty() && self.put_off(id, &root, unread, now) {
            return false;
        }
        let ending = if cause.is_empty() { Ending::Complete } else { Ending::Failed };
        self.emit(Record::BodyEnded { run: id.to_owned(), ending, cause, results }, now);
        true
    }

    /// The end of `finally`, the safe states, the end of the run.
    pub(super) fn conclude(&mut self, id: &str, now: Tick) -> bool {
        if self.settle_state(id, now) {
            return true;
        }
        let Some(run) = self.runs.get(id) else { return false };
        match run.phase {
            Phase::Finally if run.finally_is_over() => {
                let failed = run.finally_failures();
                let make_safe = self.to_make_safe(run);
                self.make_safe(id, failed, make_safe, now);
                true
            }
            Phase::Safe if !run.safe_listed => {
                let make_safe = self.to_make_safe(run);
                self.make_safe(id, Vec::new(), make_safe, now);
                true
            }
            Phase::Safe if !run.making_safe.is_empty() => self.send_safe_states(id, now),
            Phase::Safe if run.going_to_hold().next().is_some() => false,
            Phase::Safe => {
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

    /// Instruments whose safe state is due at the end of a run. One that another run has used since,
    /// and brings to its safe state at its own end, is that run's: its dose is not cut short.
    fn to_make_safe(&self, run: &Run) -> Vec<String> {
        let mut due = run.to_make_safe();
        due.retain(|instrument| {
            let user = self.last_user.get(instrument).filter(|user| **user != run.id);
            let other = user.and_then(|user| self.runs.get(user));
            other.is_none_or(|other| {
                other.phase == Phase::Over || !other.graph.started_instruments.contains(instrument)
            })
        });
        due
    }

    pub(super) fn make_safe(
        &mut self,
        id: &str,
        failed: Vec<String>,
        make_safe: Vec<String>,
        now: Tick,
    ) {
        let run = id.to_owned();
        self.emit(Record::FinallyEnded { run, failed, make_safe }, now);
    }

    /// Sends the safe states that are due. True if a record came of it.
    // SAFETY(lab): the safe state of a run that ends must not cut short what another run does with
    // the instrument. It waits until that one gives it back; where the other has set it going
    // itself, the instrument is the other's to leave safe.
    fn send_safe_states(&mut self, id: &str, now: Tick) -> bool {
        let Some(run) = self.runs.get(id) else { return false };
        for instrument in run.making_safe.clone() {
            let place = (id.to_owned(), instrument.clone());
            if self.safe_sent.contains_key(&place) {
                continue;
            }
            if let Some(other) = self.taken_over(id, &instrument) {
                let detail = format!("`{other}` uses it now, and leaves it safe at its own end");
                let (run, trace) = (id.to_owned(), String::new());
                let made = Record::MadeSafe { run, instrument, confirmed: true, detail, trace };
                self.emit(made, now);
                return true;
            }
            let wanted = [instrument.clone()];
            if !self.claims.is_free_for(id, &instrument) {
                let want = Want { step: None, wanted: wanted.to_vec(), room: false };
                self.blocked.entry(id.to_owned()).or_default().push(want);
                continue;
            }
            self.claims.take(id, &run_timer(), &wanted);
            self.safe_sent.insert(place, now);
            let limit = now.after(SAFE_WAIT).after(self.slack);
            self.timers.insert((limit, id.to_owned(), run_timer()));
            self.out.actions.push(Action::MakeSafe { run: id.to_owned(), instrument });
        }
        false
    }

    /// The run that has used an instrument since, and will leave it safe at its end.
    fn taken_over(&self, id: &str, instrument: &str) -> Option<String> {
        let user = self.last_user.get(instrument).filter(|user| *user != id)?;
        let other = self.runs.get(user)?;
        let starts = other.graph.started_instruments.iter().any(|i| i == instrument);
        (other.phase != Phase::Over && starts).then(|| user.clone())
    }

    /// Safe states that nobody answered in time.
    pub(super) fn safe_states_overdue(&mut self, id: &str, now: Tick) {
        let late: Vec<String> = self
            .safe_sent
            .iter()
            .filter(|((run, _), _)| run == id)
            .filter(|(_, sent)| now >= self.patience(**sent).after(SAFE_WAIT).after(self.slack))
            .map(|((_, instrument), _)| instrument.clone())
            .collect();
        for instrument in late {
            let (run, detail) = (id.to_owned(), "no answer in time".to_owned());
            let (confirmed, trace) = (false, String::new());
            self.safe_sent.remove(&(run.clone(), instrument.clone()));
            self.emit(Record::MadeSafe { run, instrument, confirmed, detail, trace }, now);
        }
    }

    pub(super) fn forget_volatile(&mut self, id: &str) {
        self.timers.retain(|(_, run, _)| run != id);
        self.watching.retain(|(run, _), _| run != id);
        self.asked.retain(|(run, _), _| run != id);
        self.baselines.retain(|(run, _), _| run != id);
        self.doubts.retain(|(run, _), _| run != id);
        self.blocked.remove(id);
        self.safe_sent.retain(|(run, _), _| run != id);
        self.overtaken.remove(id);
    }
}

impl Run {
    /// Why a step may not start any more: something it uses has expired.
    pub(super) fn stale(&self, key: &StepKey, now: Tick) -> Option<Failure> {
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

    pub(super) fn finally_is_over(&self) -> bool {
        let Some(root) = self.graph.finally else { return true };
        self.steps
            .get(&StepKey { node: root, rounds: Vec::new() })
            .is_some_and(|s| matches!(s.status, Status::Done | Status::PassedOver))
    }

    pub(super) fn finally_failures(&self) -> Vec<String> {
        let Some(root) = self.graph.finally else { return Vec::new() };
        self.steps
            .iter()
            .filter(|(key, s)| key.node >= root && s.status == Status::PassedOver)
            .map(|(key, _)| self.path(key))
            .collect()
    }

    /// Instruments the run started and did not leave by a successful `finally` of a complete run,
    /// in the order of the graph.
    pub(super) fn to_make_safe(&self) -> Vec<String> {
        let complete = matches!(&self.ending, Some((Ending::Complete, _)));
        self.graph
            .started_instruments
            .iter()
            .filter(|i| self.touched.contains(i) && !(complete && self.settled.contains(*i)))
            .cloned()
            .collect()
    }
}

impl Run {
    /// Why a step ended that did not fail itself: by whose word.
    fn ended_by_word(&self, path: &str) -> String {
        match self.answers.iter().rev().find(|given| given.path == path) {
            Some(given) if given.by == DEADLINE => {
                format!("nobody answered in time, which counts as `{}`", given.answer)
            }
            Some(given) => format!("{} answered `{}`", given.by, given.answer),
            None => "what became of its command is not known".to_owned(),
        }
    }
}
