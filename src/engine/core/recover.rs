//! What a new engine does with the runs of the one before.
//!
//! Each command under way is resolved: done, not done, or a question. A run goes on by itself only
//! if nothing is unknown and no more time has passed than its protocol allows; otherwise it is held.
//! All of it rests on records, so that dying on the way and beginning again asks nothing twice.

use std::time::Duration;

use super::Tick;
use super::advance::run_timer;
use super::command::ENGINE;
use super::events::Action;
use super::hold::HOLD_WAIT;
use super::machine::Core;
use super::record::{About, Record};
use super::run::{Phase, Run, Status, StepKey};
use super::states::{Cause, Trigger};
use super::transitions::next;
use crate::compiler::graph::{HoldState, NodeId};

impl Core {
    /// Volatile state is gone: every step that is not over is looked at again.
    pub(super) fn recover(&mut self, downtime: Duration, now: Tick) {
        self.work_again(now);
        self.unresolved = false;
        let open: Vec<String> = self.open_runs().map(|run| run.id.clone()).collect();
        for id in &open {
            self.begin_recovery(id, downtime, now);
        }
        let mut orphans = Vec::new();
        for id in &open {
            orphans.extend(self.wake_all(id, now).into_iter().map(|key| (id.clone(), key)));
        }
        for (run, key) in orphans {
            self.orphaned(&run, &key, now);
        }
        self.forget_old_holds(now);
    }

    /// The state a run is taken over in.
    fn begin_recovery(&mut self, id: &str, downtime: Duration, now: Tick) {
        let Some(run) = self.runs.get(id) else { return };
        let (state, phase) = (run.state(), run.phase);
        // A run that ends waits for it too.
        if let Some(key) = run.restarting.clone() {
            self.lose_restart(id, &key, "the engine ended before its outcome was known", now);
        }
        if phase != Phase::Body {
            self.give_up_holds(id, now);
            return;
        }
        let away = format!("no engine was there for {}", in_words(downtime));
        if let Ok(to) = next(state, Trigger::Recovered, Cause::Shutdown) {
            let still = self.runs.get(id).is_some_and(|r| r.state() == state);
            if still {
                let engine = ENGINE.to_owned();
                self.moved(id, to, Cause::Shutdown, engine, away.clone(), now);
            }
        }
        let Some(run) = self.runs.get(id) else { return };
        let limit = run.graph.resume_within;
        // What has not begun has nothing that could have spoilt.
        if !run.has_begun() || limit.is_none_or(|limit| downtime <= limit) {
            return;
        }
        let limit = in_words(limit.unwrap_or_default());
        self.hold_for(id, Cause::Downtime, format!("{away}, and at most {limit} are allowed"), now);
        self.ask_about_downtime(id, &away, &limit, now);
    }

    /// Hold states that were on their way when their run ended, and whose engine is gone: its safe
    /// states follow, or have followed.
    fn give_up_holds(&mut self, id: &str, now: Tick) {
        let Some(run) = self.runs.get(id) else { return };
        for instrument in run.going_to_hold().cloned().collect::<Vec<_>>() {
            let (run, trace) = (id.to_owned(), String::new());
            let (confirmed, detail) = (false, "the engine ended before it answered".to_owned());
            self.emit(Record::AtHold { run, instrument, confirmed, detail, trace }, now);
        }
    }

    fn ask_about_downtime(&mut self, id: &str, away: &str, limit: &str, now: Tick) {
        let Some(run) = self.runs.get(id) else { return };
        let root = StepKey { node: NodeId(0), rounds: Vec::new() };
        if run.steps.get(&root).is_some_and(|s| s.asked) {
            return;
        }
        let question = format!(
            "{away}, longer than the {limit} after which the protocol lets this run go on by \
             itself. Its instruments are in their hold states. Look at the sample."
        );
        let options = [
            ("resume", "go on where it was; what the hold stopped is set going again"),
            ("stop", "run `finally`, then the safe states"),
            ("abort", "safe states at once"),
        ];
        self.ask(id, &root, About::Downtime, question, &options, None, now);
    }

    /// Puts every step that is not over on the list of decisions; those whose command was under way
    /// and is not asked about yet are returned.
    fn wake_all(&mut self, id: &str, now: Tick) -> Vec<StepKey> {
        let mut orphans = Vec::new();
        self.stirred.insert(id.to_owned());
        let Some(run) = self.runs.get_mut(id) else { return orphans };
        let awake: Vec<StepKey> = run
            .steps
            .iter()
            .filter(|(_, s)| !matches!(s.status, Status::Done | Status::PassedOver))
            .map(|(k, _)| k.clone())
            .collect();
        for key in awake {
            let state = run.steps.get(&key);
            if state.is_some_and(|s| s.status == Status::Sent && !s.asked) {
                orphans.push(key.clone());
            }
            let active = matches!(run.phase, Phase::Body | Phase::Finally);
            let asked = state.is_some_and(|s| s.asked);
            let block = run.graph.node(key.node).is_some_and(|n| n.kind.is_block());
            let open_block = block && state.is_some_and(|s| s.status == Status::Open) && !asked;
            // A leaf whose `on_error` steps run is brought on by them.
            let handled = !block && state.is_some_and(|s| s.open_children > 0);
            if active && !open_block && !handled && run.is_in_phase(&key) {
                run.ready.insert(key);
            }
        }
        if !run.at_hold.is_empty() {
            let limit = now.after(HOLD_WAIT).after(self.slack);
            self.timers.insert((limit, id.to_owned(), run_timer()));
        }
        for (instrument, mark) in &run.at_hold {
            if mark.confirmed.is_none() && mark.how != HoldState::Stays {
                let (run, instrument, how) = (id.to_owned(), instrument.clone(), mark.how);
                self.out.actions.push(Action::Hold { run, instrument, how });
            }
        }
        orphans
    }

    /// A run that is being recovered: it goes on once nothing is unknown, and is held while a
    /// person is asked.
    pub(super) fn settle_recovery(&mut self, id: &str, now: Tick) -> bool {
        let Some(run) = self.runs.get(id) else { return false };
        let unresolved =
            |s: &super::StepState| matches!(s.status, Status::Sent | Status::Uncertain) && !s.asked;
        if run.steps.values().any(unresolved) {
            return false;
        }
        if run.is_in_doubt() {
            let detail = "nothing can tell what became of a command".to_owned();
            self.hold_for(id, Cause::Doubt, detail, now);
        } else {
            self.settled(id, Cause::Shutdown, now);
        }
        true
    }
}

impl Run {
    /// Whether a step belongs to the part of its life that the run is in: steps of the body do not
    /// wake up again while `finally` runs.
    pub(super) fn is_in_phase(&self, key: &StepKey) -> bool {
        let mut top = key.node;
        while let Some(parent) = self.graph.node(top).and_then(|n| n.parent) {
            top = parent;
        }
        match self.phase {
            Phase::Finally => Some(top) == self.graph.finally,
            Phase::Body => top == NodeId(0),
            Phase::Draining | Phase::Safe | Phase::Over => false,
        }
    }
}

/// A span of time for people: `3 h 12 min`, `12 min 5 s`, `4 s`.
pub fn in_words(time: Duration) -> String {
    if time == Duration::MAX {
        return "nobody knows how long".to_owned();
    }
    let seconds = time.as_secs();
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds} s"),
        (0, _) => format!("{minutes} min {} s", seconds % 60),
        _ => format!("{hours} h {minutes} min"),
    }
}
