//! What applying a record does to a run as a whole.
//!
//! This is the only way its state changes, so that a run rebuilt from the journal is the run that
//! was.

use super::Tick;
use super::record::{Ending, Record, StepRef};
use super::run::{Answered, AtHold, HeldBy, OpenQuestion, Phase, Run, Status, StepKey, commanded};
use super::states::{Cause, RunState};
use crate::compiler::graph::{Effect, HoldState, NodeId, NodeKind};

/// Answers that are kept to tell whoever comes second; questions before were answered long ago.
const ANSWERS_KEPT: usize = 64;

impl Run {
    /// Takes a fact into the state. Facts that do not fit the state are ignored: they come from a
    /// journal whose chain was verified, so they can only be late duplicates.
    pub fn apply(&mut self, record: &Record, now: Tick) {
        match record {
            Record::RunStarted { terms, .. } => {
                self.started = now;
                self.moved_at = now;
                self.terms = terms.clone();
                self.enter(StepKey { node: NodeId(0), rounds: Vec::new() }, now, None);
            }
            Record::Held { step, .. } | Record::Begun { step, .. } => self.open(&step.key, now),
            Record::Intent { .. } => self.intent(record, now),
            Record::Outcome { step, result, .. } if self.restarting.as_ref() == Some(&step.key) => {
                self.restarting = None;
                if result.is_ok() {
                    self.to_restart.retain(|key| *key != step.key);
                    self.ended_restart_of(&step.key);
                }
                self.drained(now);
            }
            Record::Outcome { step, result, .. } | Record::Ended { step, result, .. } => {
                self.outcome(&step.key, result, now);
            }
            Record::Resolved { step, resolution, by, .. } => {
                self.resolved(&step.key, *resolution, by, now);
            }
            Record::Decided { step, holds, .. } => self.decided(&step.key, *holds, now),
            Record::Retrying { step, .. } => {
                let earliest = now.after(self.pause_before_retry(&step.key));
                self.restart(&step.key, now, earliest);
            }
            Record::Handling { step, handler, .. } => self.handling(step, handler, now),
            Record::PassedOver { step, .. } => self.finish(&step.key, Status::PassedOver, now),
            Record::Question { .. } => self.question(record, now),
            Record::Answer { step, answer, by, question, .. } => {
                self.note_answer(*question, step, answer, by);
                self.answered(&step.key, answer, now);
            }
            Record::Paused { paused, by, .. } => {
                let to = if *paused { RunState::Paused } else { RunState::Running };
                if self.phase == Phase::Body {
                    self.moved(to, Cause::Person, by, "", now);
                }
            }
            Record::Moved { to, cause, by, detail, .. } => self.moved(*to, *cause, by, detail, now),
            Record::Released { cause, .. } => {
                self.holds.retain(|held| held.cause != *cause);
                self.released = Some(*cause);
            }
            Record::Cancelling { step, .. } => {
                if let Some(state) = self.steps.get_mut(&step.key) {
                    state.cancelled = true;
                }
            }
            Record::ToHold { instrument, how, .. } => {
                let mark = AtHold { how: *how, since: now, confirmed: None };
                self.at_hold.insert(instrument.clone(), mark);
            }
            // Of a run that ends only what is on its way counts, and that has come now.
            Record::AtHold { instrument, .. } if self.phase != Phase::Body => {
                self.at_hold.remove(instrument);
            }
            Record::AtHold { instrument, confirmed, .. } => {
                let stays = AtHold { how: HoldState::Stays, since: now, confirmed: None };
                let mark = self.at_hold.entry(instrument.clone()).or_insert(stays);
                mark.confirmed = Some(*confirmed);
            }
            Record::BodyEnded { .. } | Record::FinallyEnded { .. } => self.ends(record, now),
            Record::MadeSafe { instrument, confirmed, .. } => {
                if self.making_safe.remove(instrument) && !confirmed {
                    self.not_confirmed.push(instrument.clone());
                }
            }
            Record::RunEnded { ending, .. } => {
                self.moved_to = RunState::ended(*ending);
                self.moved_at = now;
                self.phase = Phase::Over;
                self.ready.clear();
            }
        }
    }

    fn intent(&mut self, record: &Record, now: Tick) {
        let Record::Intent {
            step, attempt, instrument, args, baseline, baseline_at, effect, ..
        } = record
        else {
            return;
        };
        self.ready.remove(&step.key);
        if let Some(state) = self.steps.get_mut(&step.key) {
            state.attempts = *attempt;
            // What is sent again after a hold is done already: nothing follows from it.
            if state.status == Status::Done {
                self.restarting = Some(step.key.clone());
                self.half_going.insert(instrument.clone());
                state.sent = Some(now);
                // In the order in which it was first set going: what was sent again is no news.
                return;
            }
            state.status = Status::Sent;
            state.since = now;
            state.sent = Some(now);
            state.started.get_or_insert(now);
            state.baseline.clone_from(baseline);
            state.baseline_at = *baseline_at;
            state.args.clone_from(args);
            state.cancelled = false;
        }
        if *effect == Effect::Read {
            return;
        }
        if !self.touched.contains(instrument) {
            self.touched.push(instrument.clone());
        }
        self.note_going(instrument, &step.key);
    }

    /// Something that was set going was sent again: whether that was all for its instrument. A hold
    /// that comes in between forgets what was left to send, and the instrument stays half way.
    fn ended_restart_of(&mut self, key: &StepKey) {
        let of = |key: &StepKey| {
            self.node(key).and_then(|n| commanded(&n.kind)).map(|(instrument, _)| instrument)
        };
        let Some(instrument) = of(key) else { return };
        let left = self.to_restart.iter().any(|other| of(other) == Some(instrument));
        if self.moved_to == RunState::Restarting && !left {
            let instrument = instrument.to_owned();
            self.half_going.remove(&instrument);
        }
    }

    /// Keeps what was sent to an instrument since it was last stopped, each action once.
    fn note_going(&mut self, instrument: &str, key: &StepKey) {
        let Some(NodeKind::Action { action, .. }) = self.node(key).map(|n| &n.kind) else { return };
        let same = |other: &StepKey| {
            self.node(other).is_some_and(
                |n| matches!(&n.kind, NodeKind::Action { action: a, .. } if a == action),
            )
        };
        let mut going = self.going.get(instrument).cloned().unwrap_or_default();
        going.retain(|other| !same(other));
        going.push(key.clone());
        self.going.insert(instrument.to_owned(), going);
    }

    fn handling(&mut self, step: &StepRef, handler: &StepRef, now: Tick) {
        self.ready.remove(&step.key);
        if let Some(state) = self.steps.get_mut(&step.key) {
            state.status = Status::Open;
            state.since = now;
            state.open_children = 1;
        }
        self.enter(handler.key.clone(), now, None);
    }

    fn question(&mut self, record: &Record, now: Tick) {
        let Record::Question { step, options, id, about, .. } = record else { return };
        self.questions = self.questions.max(*id);
        self.ready.remove(&step.key);
        let stood = self.stood_until(now);
        if let Some(state) = self.steps.get_mut(&step.key) {
            state.asked = true;
            state.since = now;
            state.stood = stood;
            state.question =
                Some(OpenQuestion { id: *id, about: *about, options: options.clone() });
        }
        // What a person is asked about is not waited for by a run that ends.
        self.drained(now);
    }

    fn note_answer(&mut self, id: u32, step: &StepRef, answer: &str, by: &str) {
        if self.answers.len() >= ANSWERS_KEPT {
            self.answers.remove(0);
        }
        let (path, answer, by) = (step.path.clone(), answer.to_owned(), by.to_owned());
        self.answers.push(Answered { id, path, answer, by });
    }

    fn ends(&mut self, record: &Record, now: Tick) {
        match record {
            Record::BodyEnded { ending, cause, results, .. } => {
                self.stand(false, now);
                self.ending = Some((*ending, cause.clone()));
                self.results.clone_from(results);
                // Commands under way are awaited; one whose time is up just now is on the list, and
                // its timer is gone.
                let steps = &self.steps;
                let sent = |key: &StepKey| steps.get(key).is_some_and(|s| s.status == Status::Sent);
                self.ready.retain(|key| sent(key));
                self.moved_to = RunState::ending(*ending);
                self.moved_at = now;
                self.paused = false;
                self.holds.clear();
                self.at_hold.retain(|_, mark| mark.confirmed.is_none());
                self.to_restart.clear();
                self.half_going.clear();
                self.told_unclear.clear();
                // Ended again from within its safe states: they are sent anew, and to all.
                self.safe_listed = false;
                self.making_safe.clear();
                self.not_confirmed.clear();
                self.phase = if *ending == Ending::Aborted { Phase::Safe } else { Phase::Draining };
                self.drained(now);
            }
            Record::FinallyEnded { failed, make_safe, .. } => {
                self.phase = Phase::Safe;
                self.safe_listed = true;
                self.finally_failed.clone_from(failed);
                self.making_safe = make_safe.iter().cloned().collect();
                self.ready.clear();
            }
            _ => {}
        }
    }

    /// The run comes to another state. Causes gather while it is held, and are gone once it goes on.
    fn moved(&mut self, to: RunState, cause: Cause, by: &str, detail: &str, now: Tick) {
        let from = self.moved_to;
        self.stand(to.stands_still(), now);
        match to {
            RunState::Pausing => self.paused = true,
            RunState::Paused => {
                self.paused = true;
                self.gone_on();
            }
            RunState::Holding | RunState::Held => {
                // All that was unclear was named by what held it now.
                if from == RunState::Restarting && cause == Cause::Restart {
                    self.told_unclear.extend(self.unclear.keys().cloned());
                }
                // Coming to rest is no cause of its own.
                let rest = from == RunState::Holding && to == RunState::Held;
                if !rest && !self.is_held_by(cause) {
                    let (by, detail) = (by.to_owned(), detail.to_owned());
                    self.holds.push(HeldBy { cause, by, detail, since: now });
                }
                if from != to && !rest {
                    self.at_hold.clear();
                    self.to_restart.clear();
                }
            }
            RunState::Restarting => {
                self.plan_restart();
                self.holds.clear();
                self.paused &= cause != Cause::Person;
            }
            RunState::Running => {
                self.paused = false;
                self.gone_on();
            }
            RunState::Idle
            | RunState::Recovering
            | RunState::Completing
            | RunState::Stopping
            | RunState::Aborting
            | RunState::Complete
            | RunState::Stopped
            | RunState::Failed
            | RunState::Invalid
            | RunState::Aborted => {}
        }
        self.moved_to = to;
        self.moved_at = now;
    }

    fn gone_on(&mut self) {
        self.half_going.clear();
        self.holds.clear();
        self.at_hold.clear();
        self.to_restart.clear();
        self.unclear.clear();
        self.told_unclear.clear();
        self.released = None;
    }

    /// The clock of waits and deadlines stops, or goes on: steps that were to start at a certain
    /// time start so much later, and all that was asleep is looked at again.
    fn stand(&mut self, still: bool, now: Tick) {
        match (self.stands_since, still) {
            (None, true) => self.stands_since = Some(now),
            (Some(since), false) => {
                let stood = now.since(since);
                self.stood = self.stood.saturating_add(stood);
                self.stands_since = None;
                for (key, state) in &mut self.steps {
                    match state.status {
                        Status::Waiting if state.earliest > since => {
                            state.earliest = state.earliest.after(stood);
                        }
                        // `at least` was counted from before: what is over stays over.
                        Status::Open | Status::Waiting => {}
                        Status::Sent
                        | Status::Deciding
                        | Status::Uncertain
                        | Status::Failed
                        | Status::Done
                        | Status::PassedOver => continue,
                    }
                    let leaf = self.graph.node(key.node).is_some_and(|n| !n.kind.is_block());
                    if state.status == Status::Waiting || (leaf && state.open_children == 0) {
                        self.ready.insert(key.clone());
                    }
                }
            }
            (None, false) | (Some(_), true) => {}
        }
    }

    /// What the hold stopped and may be set going again, in the order it was first set going; or
    /// why a machine cannot tell.
    fn plan_restart(&mut self) {
        self.to_restart.clear();
        self.unclear.clear();
        for instrument in self.touched.clone() {
            let stopped = self.at_hold.get(&instrument).is_some_and(|m| m.how != HoldState::Stays);
            if !stopped {
                continue;
            }
            match self.was_going(&instrument) {
                Ok(keys) => self.to_restart.extend(keys),
                Err(why) => {
                    self.unclear.insert(instrument, why);
                }
            }
        }
    }

    fn was_going(&self, instrument: &str) -> Result<Vec<StepKey>, String> {
        let mut keys = Vec::new();
        let mut begun = false;
        for key in self.going.get(instrument).into_iter().flatten() {
            let Some(NodeKind::Action { action, effect, starts, .. }) =
                self.node(key).map(|n| &n.kind)
            else {
                continue;
            };
            // Journals of versions that forgot it with its round.
            let Some(step) = self.steps.get(key) else {
                return Err(format!("what `{action}` was told is no longer known"));
            };
            // What did not happen, or is still to be sent by its own step, is not set going here.
            if step.status != Status::Done {
                continue;
            }
            let starts = !starts.is_empty();
            match (effect, starts) {
                (Effect::Read, _) | (Effect::Verifiable | Effect::Once, false) => {}
                // A dose that is done is over; what it has ended is not known.
                (Effect::Verifiable | Effect::Once, true) if begun => {
                    return Err(format!("`{action}` came last, and is never sent again"));
                }
                (Effect::Verifiable | Effect::Once, true) => continue,
                (Effect::Repeatable, false) if begun => {
                    return Err(format!(
                        "`{action}` came last, and says neither `starts:` nor `stops:`"
                    ));
                }
                (Effect::Repeatable, _) => keys.push(key.clone()),
            }
            begun |= starts;
        }
        Ok(if begun { keys } else { Vec::new() })
    }
}
