//! Time and conditions: what a timer or a new reading brings back to the list of decisions.

use std::time::Duration;

use super::Tick;
use super::advance::{BACKSTOP, COMMAND_WAIT, run_timer};
use super::conclude::SAFE_WAIT;
use super::events::Failure;
use super::hold::HOLD_WAIT;
use super::machine::Core;
use super::run::{Phase, Status, StepKey};
use super::scope::Scope;
use super::states::RunState;
use crate::compiler::graph::{FailureKind, NodeId, NodeKind};
use crate::expr::{self, Value};

/// Timers by which they may outgrow those that were left, before steps that are over are looked for.
const TIMERS_SPARE: usize = 256;
/// How long decisions wait for the first readings after an engine began, or was at work again (lab
/// time).
pub(super) const READINGS_WAIT: Duration = Duration::from_secs(60);
/// How often they look whether the reading has come.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Whether a timer brings a step back. The whole protocol may be done and its results be awaited.
fn comes_back(key: &StepKey, status: Status) -> bool {
    !status.is_over() || (key.node == NodeId(0) && status == Status::Done)
}

impl Core {
    /// From when on the answer to something decided at `since` is waited for. The driver's own time
    /// begins when it is given the command, which a stuck disk or a stopped process can put off.
    pub(super) fn patience(&self, since: Tick) -> Tick {
        since.max(self.back)
    }

    /// The engine is at work from now on: what it last read is from before, or nothing.
    pub(super) fn work_again(&mut self, now: Tick) {
        self.back = now;
        self.readings_due = now.after(READINGS_WAIT);
    }

    /// A decision that missed a live reading is put off, as long as the first readings may still
    /// come. True if it is.
    // SAFETY(lab): a branch that is due at the moment an engine takes over must not fail its run
    // because nothing was read yet.
    pub(super) fn put_off(&mut self, id: &str, key: &StepKey, unread: bool, now: Tick) -> bool {
        let off = unread && now < self.readings_due;
        if off {
            self.sleep_until(id, key, now.after(LOOK_AGAIN));
        }
        off
    }

    /// The engine is at work again: what is waited for has its whole time once more.
    pub(super) fn wait_anew(&mut self, now: Tick) {
        self.work_again(now);
        for run in self.runs.values() {
            let again = run.restarting.as_ref().and_then(|key| run.node(key)?.deadline);
            let command = again.unwrap_or(COMMAND_WAIT).saturating_add(BACKSTOP);
            let longest = HOLD_WAIT.max(SAFE_WAIT).max(command);
            let limit = now.after(longest).after(self.slack);
            self.timers.insert((limit, run.id.clone(), run_timer()));
        }
    }

    /// Puts away the timers of steps that are over, once they may be the most. A step leaves the
    /// timer of its deadline behind when it ends in time; a loop of quick steps with long deadlines
    /// would gather them by the hundred thousand. They would bring back nothing (see [`Core::due`]).
    pub(super) fn put_away_timers(&mut self) {
        if self.timers.len() <= self.timers_left.saturating_mul(2).saturating_add(TIMERS_SPARE) {
            return;
        }
        let runs = &self.runs;
        self.timers.retain(|(_, id, key)| {
            let step = || runs.get(id)?.steps.get(key);
            *key == run_timer() || step().is_some_and(|s| comes_back(key, s.status))
        });
        self.timers_left = self.timers.len();
    }

    /// Brings back every step whose timer has run out. True if there was any.
    pub(super) fn due(&mut self, now: Tick) -> bool {
        let mut any = false;
        while let Some((at, ..)) = self.timers.first()
            && *at <= now
        {
            let Some((_, id, key)) = self.timers.pop_first() else { break };
            any = true;
            if key == run_timer() {
                self.safe_states_overdue(&id, now);
                self.hold_overdue(&id, now);
                self.stirred.insert(id);
                continue;
            }
            let Some(run) = self.runs.get_mut(&id) else { continue };
            let Some(state) = run.steps.get(&key) else { continue };
            let alive = match run.phase {
                Phase::Body | Phase::Finally => true,
                Phase::Draining => state.status == Status::Sent,
                Phase::Safe | Phase::Over => false,
            };
            if alive && comes_back(&key, state.status) {
                run.ready.insert(key);
                self.stirred.insert(id);
            }
        }
        any
    }

    /// Looks at the conditions that are waited for, after a reading of `instrument`.
    pub(super) fn look_at_conditions(&mut self, instrument: Option<&str>, now: Tick) {
        if self.watching.is_empty() {
            return;
        }
        let concerned: Vec<(String, StepKey)> = self
            .watching
            .keys()
            .filter(|(id, _)| {
                instrument.is_none_or(|name| {
                    self.runs.get(id).is_some_and(|r| r.graph.roles.values().any(|i| i == name))
                })
            })
            .cloned()
            .collect();
        for (id, key) in concerned {
            self.look_at(&id, &key, now);
        }
    }

    /// Looks at one condition. True if its step ended.
    pub(super) fn look_at(&mut self, id: &str, key: &StepKey, now: Tick) -> bool {
        let place = (id.to_owned(), key.clone());
        let Some(run) = self.runs.get(id) else { return false };
        let (Some(state), Some(node)) = (run.steps.get(key), run.node(key)) else { return false };
        let NodeKind::WaitUntil { condition, stable_for } = &node.kind else { return false };
        if state.status != Status::Open {
            self.watching.remove(&place);
            return false;
        }
        if !(run.state().goes_on() || run.state() == RunState::Pausing) {
            return false;
        }
        let scope = Scope::new(self, run, key, now);
        let evaluated = expr::eval(&condition.expr, &scope);
        let unread = scope.unread() && now < self.readings_due;
        // It was waited for before the engine was at work again, and nobody looked meanwhile.
        let unseen = state.since < self.back;
        let (holds, why) = match evaluated {
            Ok(Value::Bool(holds)) => (holds, String::new()),
            Ok(Value::Missing(why)) => (false, format!(" ({why})")),
            Ok(_) => (false, " (it is not true or false)".to_owned()),
            Err(error) => (false, format!(" ({})", error.message)),
        };
        let deadline = node.deadline.map(|d| run.due(state, d, now));
        let before = self.watching.get(&place).copied().flatten();
        let since = if holds { before.or(Some(now)) } else { None };
        self.turned |= before.is_some() != since.is_some();
        if let Some(since) = since
            && now.since(since) >= *stable_for
        {
            self.watching.remove(&place);
            self.end_open(id, key, Ok(None), now);
            return true;
        }
        let stable_at = since.map(|s| s.after(*stable_for));
        let more = unread || (unseen && since.is_some_and(|since| since <= self.readings_due));
        if let Some(limit) = deadline
            && now >= limit
            && more
        {
            let look_again = now.after(LOOK_AGAIN);
            self.watching.insert(place, since);
            self.sleep_until(id, key, stable_at.unwrap_or(look_again));
            return false;
        }
        if let Some(limit) = deadline
            && now >= limit
        {
            let failure = Failure::without_effect(
                FailureKind::Condition,
                format!(
                    "`{}` was not met for {:.0} s within {:.0} s{why}",
                    condition.text,
                    stable_for.as_secs_f64(),
                    node.deadline.unwrap_or(Duration::ZERO).as_secs_f64()
                ),
            );
            self.watching.remove(&place);
            self.end_open(id, key, Err(failure), now);
            return true;
        }
        let next = match (stable_at, deadline) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        self.watching.insert(place, since);
        match next {
            Some(at) => self.sleep_until(id, key, at),
            None => self.sleep(id, key),
        }
        false
    }
}
