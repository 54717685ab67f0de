//! Holding a run and letting it go on.
//!
//! ```text
//! holding     what can be cancelled is cancelled, the rest is awaited; each instrument goes to its
//!             hold state as soon as nothing of this run is under way on it
//! held        every instrument has confirmed, or is known not to have
//! restarting  instruments are connected; what the hold stopped is sent again, one after the other
//! ```
//!
//! While a run stands still, waits and deadlines of the protocol do; `within:` and `expires:` do
//! not, for what stands in a flask goes on reacting.

use std::time::Duration;

use super::Tick;
use super::advance::{BACKSTOP, COMMAND_WAIT, run_timer};
use super::claims::Want;
use super::command::ENGINE;
use super::events::{Action, Failure};
use super::machine::Core;
use super::record::Record;
use super::run::{Phase, Run, Status, StepKey, commanded};
use super::states::{Cause, RunState, Trigger};
use super::transitions::next;
use crate::compiler::graph::{Effect, FailureKind, HoldState, NodeKind};

/// How long a hold state may take to be confirmed before it is reported as not confirmed.
pub(super) const HOLD_WAIT: Duration = Duration::from_secs(60);
/// How long a restart waits for instruments that are not connected before it is given up.
const RESTART_WAIT: Duration = Duration::from_secs(60);
/// What an action starts that a hold stops, where no `hold_state` says otherwise. What heats or
/// has power stays: cooling down and going dark are no safer, and ruin the sample.
// SAFETY(lab): a pump left running during a hold overfills; an axis crashes; pressure builds up.
const STOPPED: [&str; 3] = ["pumps", "moves", "pressurises"];

impl Core {
    /// Brings a run that waits for something as a whole to the state that follows, once it has
    /// happened. True if a record came of it.
    pub(super) fn settle_state(&mut self, id: &str, now: Tick) -> bool {
        let Some(run) = self.runs.get(id) else { return false };
        if run.phase != Phase::Body {
            return false;
        }
        match run.state() {
            RunState::Pausing if !run.is_under_way() => {
                self.settled(id, Cause::Person, now);
                true
            }
            RunState::Holding => self.go_to_hold(id, now),
            RunState::Held => self.rest(id, now),
            RunState::Restarting => self.set_going(id, now),
            RunState::Recovering => self.settle_recovery(id, now),
            RunState::Idle
            | RunState::Running
            | RunState::Pausing
            | RunState::Paused
            | RunState::Completing
            | RunState::Stopping
            | RunState::Aborting
            | RunState::Complete
            | RunState::Stopped
            | RunState::Failed
            | RunState::Invalid
            | RunState::Aborted => false,
        }
    }

    /// What the state of a run waited for has happened.
    pub(super) fn settled(&mut self, id: &str, cause: Cause, now: Tick) {
        let Some(run) = self.runs.get(id) else { return };
        let Ok(to) = next(run.state(), Trigger::Settled, cause) else { return };
        let to = if to == RunState::Running && run.paused { RunState::Paused } else { to };
        self.moved(id, to, cause, ENGINE.to_owned(), String::new(), now);
    }

    fn go_to_hold(&mut self, id: &str, now: Tick) -> bool {
        if self.cancel_one(id, now) {
            return true;
        }
        let Some(run) = self.runs.get(id) else { return false };
        let left = run.touched.iter().filter(|name| !run.at_hold.contains_key(*name));
        // What another run has used since, or has in hand, is for that run to keep.
        let mine = left.filter(|name| {
            self.last_user.get(*name).is_none_or(|user| user == id)
                && self.claims.is_free_for(id, name)
        });
        let quiet = mine.filter(|name| !run.is_commanding(name));
        let Some(instrument) = quiet.map(String::clone).next() else {
            let answered = run.at_hold.values().all(|mark| mark.confirmed.is_some());
            if answered && run.in_flight() == 0 {
                let cause = run.first_cause();
                self.settled(id, cause, now);
                return true;
            }
            return false;
        };
        let how = run.hold_state(&instrument);
        let run = id.to_owned();
        if how == HoldState::Stays {
            let detail = "stays as it is, watched".to_owned();
            let (confirmed, trace) = (!self.down.contains(&instrument), String::new());
            self.emit(Record::AtHold { run, instrument, confirmed, detail, trace }, now);
            return true;
        }
        self.emit(Record::ToHold { run: run.clone(), instrument: instrument.clone(), how }, now);
        self.out.actions.push(Action::Hold { run, instrument, how });
        self.timers.insert((now.after(HOLD_WAIT).after(self.slack), id.to_owned(), run_timer()));
        true
    }

    /// Cancels a command under way whose action says how. True if there was one.
    fn cancel_one(&mut self, id: &str, now: Tick) -> bool {
        let Some(run) = self.runs.get(id) else { return false };
        let found = run.steps.iter().find_map(|(key, state)| {
            let NodeKind::Action { instrument, cancels: true, .. } = &run.node(key)?.kind else {
                return None;
            };
            let under_way = state.status == Status::Sent && !state.asked && !state.cancelled;
            under_way.then(|| (run.step_ref(key), state.attempts, instrument.clone()))
        });
        let Some((step, attempt, instrument)) = found else { return false };
        let run = id.to_owned();
        self.emit(Record::Cancelling { run: run.clone(), step: step.clone(), attempt }, now);
        self.out.actions.push(Action::Cancel { run, step, attempt, instrument });
        true
    }

    /// A held run: lets it go on once nothing holds it any more.
    fn rest(&mut self, id: &str, now: Tick) -> bool {
        let Some(run) = self.runs.get(id) else { return false };
        if run.is_held_by(Cause::Doubt) && !run.is_in_doubt() {
            self.release(id, Cause::Doubt, now);
            return true;
        }
        if !run.holds.is_empty() {
            return false;
        }
        let cause = run.released.unwrap_or(Cause::Person);
        let cause = if cause.passes() { cause } else { Cause::Shutdown };
        self.moved(id, RunState::Restarting, cause, ENGINE.to_owned(), String::new(), now);
        true
    }

    /// Sets going again what the hold stopped, one after the other; then the run runs.
    fn set_going(&mut self, id: &str, now: Tick) -> bool {
        let Some(run) = self.runs.get(id) else { return false };
        if run.restarting.is_some() {
            return false;
        }
        let mine = |name: &str| self.last_user.get(name).is_none_or(|user| user == id);
        let untold = |name: &String| mine(name) && !run.told_unclear.contains(name);
        let unclear: Vec<String> = run
            .unclear
            .iter()
            .filter(|(name, _)| untold(name))
            .map(|(name, why)| format!("{name}: {why}"))
            .collect();
        // First of all: whoever resumes the run after this was told of every one of them.
        if !unclear.is_empty() {
            let detail = format!(
                "the hold stopped instruments, and nothing can tell whether they were going ({}). \
                 Set them as they should be by hand, then resume again",
                unclear.join("; ")
            );
            self.hold_for(id, Cause::Restart, detail, now);
            return true;
        }
        let down = self.not_connected(id);
        if !down.is_empty() {
            let limit = run.moved_at.after(RESTART_WAIT).after(self.slack);
            let why = format!("{} not connected", down.join(", "));
            if now < limit {
                self.timers.insert((limit, id.to_owned(), run_timer()));
                return false;
            }
            self.hold_for(id, Cause::Restart, why, now);
            return true;
        }
        let instrument_of = |key: &StepKey| {
            run.node(key).and_then(|n| commanded(&n.kind)).map(|(i, _)| i.to_owned())
        };
        let next = run.to_restart.iter().find(|key| instrument_of(key).is_some_and(|i| mine(&i)));
        let Some(key) = next.cloned() else {
            let cause = run.released.unwrap_or(Cause::Person);
            self.settled(id, cause, now);
            return true;
        };
        self.send_again(id, &key, now)
    }

    fn send_again(&mut self, id: &str, key: &StepKey, now: Tick) -> bool {
        let Some(run) = self.runs.get(id) else { return false };
        let (Some(state), Some(node)) = (run.steps.get(key), run.node(key)) else { return false };
        let Some((instrument, action)) = commanded(&node.kind) else { return false };
        let wanted = [instrument.to_owned()];
        if !self.claims.available(id, &wanted, &Default::default()) {
            let want = Want { step: Some(key.clone()), wanted: wanted.to_vec(), room: false };
            self.blocked.entry(id.to_owned()).or_default().push(want);
            return false;
        }
        let (instrument, action) = (instrument.to_owned(), action.to_owned());
        let (step, attempt, args) = (run.step_ref(key), state.attempts + 1, state.args.clone());
        let deadline = node.deadline.unwrap_or(COMMAND_WAIT);
        let record = Record::Intent {
            run: id.to_owned(),
            step: step.clone(),
            attempt,
            instrument: instrument.clone(),
            action: action.clone(),
            args: args.clone(),
            effect: Effect::Repeatable,
            baseline: None,
            baseline_at: None,
        };
        self.emit(record, now);
        let limit = now.after(deadline).after(self.slack).after(BACKSTOP);
        self.timers.insert((limit, id.to_owned(), run_timer()));
        let run = id.to_owned();
        let send = Action::Send { run, step, attempt, instrument, action, args, deadline };
        self.out.actions.push(send);
        true
    }

    /// The outcome of a command that set something going again.
    pub(super) fn restarted(&mut self, id: &str, failure: Option<Failure>, now: Tick) {
        let Some(failure) = failure else { return };
        let Some(run) = self.runs.get(id) else { return };
        if run.state() == RunState::Restarting {
            self.hold_for(id, Cause::Restart, failure.message, now);
        }
    }

    /// Hold states, and commands of a restart, that nobody answered in time.
    pub(super) fn hold_overdue(&mut self, id: &str, now: Tick) {
        let Some(run) = self.runs.get(id) else { return };
        let late: Vec<String> = run
            .at_hold
            .iter()
            .filter(|(_, mark)| mark.confirmed.is_none())
            .filter(|(_, mark)| now >= self.patience(mark.since).after(HOLD_WAIT).after(self.slack))
            .map(|(name, _)| name.clone())
            .collect();
        for instrument in late {
            let (run, detail) = (id.to_owned(), "no answer in time".to_owned());
            let trace = String::new();
            let confirmed = false;
            self.emit(Record::AtHold { run, instrument, confirmed, detail, trace }, now);
        }
        let Some(run) = self.runs.get(id) else { return };
        let Some(key) = run.restarting.clone() else { return };
        let (Some(state), Some(node)) = (run.steps.get(&key), run.node(&key)) else { return };
        let deadline = node.deadline.unwrap_or(COMMAND_WAIT);
        let sent = self.patience(state.sent.unwrap_or(now));
        let limit = sent.after(deadline).after(self.slack).after(BACKSTOP);
        if now >= limit {
            self.lose_restart(id, &key, "no word from its instrument in time", now);
        }
    }

    /// A command that set something going again has no outcome, and will have none.
    pub(super) fn lose_restart(&mut self, id: &str, key: &StepKey, why: &str, now: Tick) {
        let Some(run) = self.runs.get(id) else { return };
        let step = run.step_ref(key);
        let attempt = run.steps.get(key).map_or(0, |s| s.attempts);
        let message = format!("{} could not be sent again: {why}", step.path);
        let failure = Failure { kind: FailureKind::Timeout, message, effect_unknown: true };
        let (run, trace) = (id.to_owned(), String::new());
        let result = Err(failure.clone());
        self.emit(Record::Outcome { run, step, attempt, result, trace }, now);
        self.restarted(id, Some(failure), now);
    }

    /// Forgets since when conditions hold: they hold without a break only while the run goes on.
    pub(super) fn break_conditions(&mut self, id: &str) {
        for ((run, _), since) in &mut self.watching {
            if run == id {
                *since = None;
            }
        }
    }
}

impl Run {
    /// Where a hold leads an instrument.
    fn hold_state(&self, instrument: &str) -> HoldState {
        if let Some(how) = self.graph.hold_states.get(instrument) {
            return *how;
        }
        let stopped = |key: &StepKey| match self.node(key).map(|n| &n.kind) {
            Some(NodeKind::Action { starts, .. }) => {
                starts.iter().any(|what| STOPPED.contains(&what.as_str()))
            }
            _ => false,
        };
        let going = self.going.get(instrument).is_some_and(|keys| keys.iter().any(stopped));
        // What was cut short may not have stopped at once.
        let cut = self.steps.iter().any(|(key, state)| {
            let of = self.node(key).and_then(|n| commanded(&n.kind)).map(|(i, _)| i);
            state.cancelled && of == Some(instrument)
        });
        if going || cut { HoldState::Safe } else { HoldState::Stays }
    }

    /// The cause that held it first.
    pub(super) fn first_cause(&self) -> Cause {
        self.holds.first().map_or(Cause::Person, |held| held.cause)
    }

    /// Whether this cause holds it.
    pub fn is_held_by(&self, cause: Cause) -> bool {
        self.holds.iter().any(|held| held.cause == cause)
    }

    /// Whether a person is asked what became of a command.
    pub fn is_in_doubt(&self) -> bool {
        self.steps.values().any(|s| s.asked && matches!(s.status, Status::Sent | Status::Uncertain))
    }

    /// Whether a step does something at this moment: a command without outcome, a wait. An open
    /// question is nothing that moves.
    pub fn is_under_way(&self) -> bool {
        self.phase == Phase::Body
            && self.steps.iter().any(|(key, state)| {
                let leaf = || self.node(key).is_some_and(|node| !node.kind.is_block());
                match state.status {
                    Status::Sent | Status::Uncertain => !state.asked,
                    Status::Open => !state.asked && state.open_children == 0 && leaf(),
                    Status::Waiting
                    | Status::Deciding
                    | Status::Failed
                    | Status::Done
                    | Status::PassedOver => false,
                }
            })
    }
}
