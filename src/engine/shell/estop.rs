//! The emergency stop, as the engine keeps it.
//!
//! Whoever presses it speaks to the drivers and not to the engine: gate and wires do not wait for
//! a journal. The engine learns of it beside its inbox, notes it, and aborts every run: safe
//! states and nothing else, no `finally`. The gate stays closed, also over restarts, until a person
//! clears it; an instrument that is not confirmed safe stands in the way of that, unless the
//! person says why not.
//!
//! What is lost when the engine's process ends between the press and its next commit: the record
//! and the closed gate, not the safe states, which were on the wires before.

use std::collections::BTreeMap;

use super::engine::{Engine, EngineError};
use super::entries::{EngineRecord, Fact};
use super::history::History;
use super::instruments::Instruments;
use super::notes::{note_alone, note_together};
use super::progress::Progress;
use crate::driver::{Pressed, Stopped};
use crate::engine::core::{Cause, Event};
use crate::store::{Journal, JournalError};

/// An emergency stop that was not cleared, as a journal tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StopHistory {
    /// Who pressed it.
    pub by: String,
    /// When, milliseconds since 1970.
    pub wall_ms: i64,
    /// How the safe state of each instrument went that has been heard of: `None` is confirmed.
    pub safe: BTreeMap<String, Option<String>>,
}

/// What the engine knows of an emergency stop.
#[derive(Debug)]
pub(super) struct Stop {
    pressed: Pressed,
    /// What was noted last of each instrument: `None` is confirmed.
    safe: BTreeMap<String, Option<String>>,
    /// A person cleared it; the gate opens once that is durable.
    cleared: bool,
}

impl<I: Instruments> Engine<I> {
    /// A stop that an earlier engine left behind: the gate is closed before anything can be sent,
    /// and the safe states go out again. Call before [`Engine::work`].
    pub(super) fn restore_stop(&mut self, past: &StopHistory) {
        let at = jiff::Timestamp::from_millisecond(past.wall_ms).unwrap_or_default();
        self.emergency.press_at(&past.by, at);
        if let Some(pressed) = self.stop_seen.borrow_and_update().clone() {
            self.stop = Some(Stop { pressed, safe: past.safe.clone(), cleared: false });
        }
    }

    /// Whether nothing new may begin.
    pub(super) fn is_stopped(&self) -> bool {
        self.emergency.pressed().is_some()
    }

    /// Instruments that have not confirmed the safe state of an emergency stop.
    pub fn not_confirmed(&self) -> Vec<String> {
        self.emergency.not_confirmed().into_keys().collect()
    }

    /// Whether a stop is still being carried out: the engine does not go while an instrument is
    /// not confirmed safe.
    pub(super) fn is_insisting(&self) -> bool {
        self.is_stopped() && (self.stop.is_none() || !self.emergency.not_confirmed().is_empty())
    }

    /// Takes note of a stop that was pressed since the last look.
    pub(super) fn look_at_stop(&mut self) -> Result<(), EngineError> {
        if !self.stop_seen.has_changed().unwrap_or(false) {
            return Ok(());
        }
        let Some(pressed) = self.stop_seen.borrow_and_update().clone() else {
            self.stop = None;
            return Ok(());
        };
        if let Some(stop) = self.stop.as_mut().filter(|stop| !stop.cleared) {
            // Pressed again: what was confirmed is being sent anew.
            stop.pressed = pressed;
            return Ok(());
        }
        let Pressed { by, at, .. } = &pressed;
        let record = EngineRecord::EmergencyStop { by: by.clone(), at_ms: at.as_millisecond() };
        self.note(Fact::Engine(record))?;
        self.finished.stopped = Some(by.clone());
        self.told(Progress::EmergencyStop { by: by.clone() });
        let by = by.clone();
        self.stop = Some(Stop { pressed, safe: BTreeMap::new(), cleared: false });
        self.note_answered()?;
        let detail = "every instrument is told its safe state".to_owned();
        self.step(Event::Emergency { by, detail })
    }

    /// Takes note of what was answered before the engine knew of the stop: no word of it comes again,
    /// and it would be waited for.
    fn note_answered(&mut self) -> Result<(), EngineError> {
        for (instrument, state) in self.emergency.outcomes() {
            match state {
                Stopped::Pending => {}
                Stopped::Confirmed => self.note_of_stop(&instrument, true, "confirmed")?,
                Stopped::NotConfirmed { detail, .. } => {
                    self.note_of_stop(&instrument, false, &detail)?;
                }
            }
        }
        Ok(())
    }

    /// Takes note of how a safe state went while the stop is pressed: of every change, and people
    /// are told of every try that failed.
    pub(super) fn note_safe(
        &mut self,
        instrument: &str,
        confirmed: bool,
        detail: &str,
    ) -> Result<(), EngineError> {
        self.look_at_stop()?;
        self.note_of_stop(instrument, confirmed, detail)
    }

    fn note_of_stop(
        &mut self,
        instrument: &str,
        confirmed: bool,
        detail: &str,
    ) -> Result<(), EngineError> {
        let Some(stop) = &mut self.stop else { return Ok(()) };
        let why = (!confirmed).then(|| detail.to_owned());
        let instrument = instrument.to_owned();
        let before = stop.safe.insert(instrument.clone(), why.clone());
        let as_before = before.as_ref().is_some_and(|b| b.is_none() == why.is_none());
        if let Some(why) = why {
            self.told(Progress::NotConfirmedSafe { instrument: instrument.clone(), why });
        }
        if as_before {
            return Ok(());
        }
        let detail = detail.to_owned();
        self.note(Fact::Engine(EngineRecord::MadeSafe { instrument, confirmed, detail }))
    }

    /// How the safe state of an instrument went that the stop has sent: `None` while it is on its
    /// way. The outer `None`: the stop did not send it.
    pub(super) fn safe_by_stop(&self, instrument: &str) -> Option<Option<(bool, String)>> {
        let stop = self.stop.as_ref()?;
        if !self.emergency.outcomes().contains_key(instrument) {
            return None;
        }
        Some(stop.safe.get(instrument).map(|why| match why {
            None => (true, "confirmed".to_owned()),
            Some(why) => (false, why.clone()),
        }))
    }

    /// Clears the stop: noted now, and the gate opens once that is durable. The inner error says
    /// why not, and what to do.
    pub(super) fn clear_stop(
        &mut self,
        by: &str,
        reason: Option<&str>,
    ) -> Result<Result<(), String>, EngineError> {
        self.look_at_stop()?;
        let not_confirmed = self.emergency.not_confirmed();
        let Some(stop) = self.stop.as_mut().filter(|stop| !stop.cleared) else {
            return Ok(Err("the emergency stop is not pressed".to_owned()));
        };
        if let Err(why) = clearable(&not_confirmed, reason) {
            return Ok(Err(why));
        }
        stop.cleared = true;
        let record = cleared(by, reason, &not_confirmed);
        self.note(Fact::Engine(record))?;
        let left: Vec<String> = not_confirmed.keys().cloned().collect();
        self.free_cleared(&left, by, reason.unwrap_or_default())?;
        self.step(Event::Passed { cause: Cause::Emergency })?;
        self.told(Progress::Cleared { by: by.to_owned() });
        Ok(Ok(()))
    }

    /// Opens the gate after a clearing that is durable now. If somebody has pressed meanwhile, it
    /// stays closed, and that press is the next thing noted.
    pub(super) fn open_cleared(&mut self) {
        if let Some(stop) = self.stop.take_if(|stop| stop.cleared)
            && !self.emergency.clear(stop.pressed.number)
        {
            self.stop_seen.mark_changed();
        }
    }
}

/// Whether a stop may be cleared: not while an instrument may still be doing harm, unless a person
/// says why.
fn clearable(not_confirmed: &BTreeMap<String, String>, reason: Option<&str>) -> Result<(), String> {
    if not_confirmed.is_empty() {
        return Ok(());
    }
    match reason {
        Some(reason) if !reason.trim().is_empty() => Ok(()),
        Some(_) => Err("a forced clearing needs a reason that is not empty".to_owned()),
        None => {
            let list: Vec<String> =
                not_confirmed.iter().map(|(name, why)| format!("{name} ({why})")).collect();
            Err(format!(
                "NOT CONFIRMED SAFE: {}; go and look at them, or clear by force with a reason",
                list.join(", ")
            ))
        }
    }
}

fn cleared(
    by: &str,
    reason: Option<&str>,
    not_confirmed: &BTreeMap<String, String>,
) -> EngineRecord {
    EngineRecord::Cleared {
        by: by.to_owned(),
        reason: reason.unwrap_or_default().to_owned(),
        not_confirmed: not_confirmed.keys().cloned().collect(),
    }
}

/// Clears a stop while no engine is at work, with the state folder locked. Without an engine
/// nothing can be asked: what the last one heard is what counts.
///
/// Errors: why not, and what to do.
pub fn clear_without_engine(
    journal: &mut Journal,
    history: &History,
    by: &str,
    reason: Option<&str>,
) -> Result<Result<(), String>, JournalError> {
    let Some(stop) = &history.stopped else {
        return Ok(Err("the emergency stop is not pressed".to_owned()));
    };
    let open = |(name, why): (&String, &Option<String>)| Some((name.clone(), why.clone()?));
    let not_confirmed: BTreeMap<String, String> = stop.safe.iter().filter_map(open).collect();
    if let Err(why) = clearable(&not_confirmed, reason) {
        return Ok(Err(why));
    }
    let fact = Fact::Engine(cleared(by, reason, &not_confirmed));
    record_without_engine(journal, history, &fact)?;
    Ok(Ok(()))
}

/// Notes an emergency stop that reached a command by hand while no engine was at work, with the state
/// folder locked. It stays pressed until a person clears it.
pub fn stop_without_engine(
    journal: &mut Journal,
    pressed: &Pressed,
    outcomes: &BTreeMap<String, Stopped>,
) -> Result<(), JournalError> {
    let history = History::current(journal, None)?;
    let (by, at_ms) = (pressed.by.clone(), pressed.at.as_millisecond());
    let press = EngineRecord::EmergencyStop { by, at_ms };
    let first = history.stopped.is_none().then_some(press);
    let safe = outcomes.iter().map(|(instrument, stopped)| {
        let (confirmed, detail) = match stopped {
            Stopped::Confirmed => (true, "confirmed".to_owned()),
            Stopped::Pending => (false, "no answer".to_owned()),
            Stopped::NotConfirmed { detail, .. } => (false, detail.clone()),
        };
        EngineRecord::MadeSafe { instrument: instrument.clone(), confirmed, detail }
    });
    let facts: Vec<Fact> = first.into_iter().chain(safe).map(Fact::Engine).collect();
    note_together(journal, &history, &facts)
}

/// Notes what a person says while no engine is at work, with the state folder locked: under a fencing
/// number of its own, like a command by hand.
pub fn record_without_engine(
    journal: &mut Journal,
    history: &History,
    fact: &Fact,
) -> Result<(), JournalError> {
    note_alone(journal, history, fact)
}

impl History {
    /// Takes note of a fact about an emergency stop.
    pub(super) fn stop(&mut self, record: &EngineRecord) {
        match record {
            EngineRecord::EmergencyStop { by, at_ms } => {
                let (by, wall_ms) = (by.clone(), *at_ms);
                self.stopped = Some(StopHistory { by, wall_ms, safe: BTreeMap::new() });
            }
            EngineRecord::MadeSafe { instrument, confirmed, detail } => {
                if let Some(stop) = &mut self.stopped {
                    let why = (!confirmed).then(|| detail.clone());
                    stop.safe.insert(instrument.clone(), why);
                }
            }
            EngineRecord::Cleared { .. } => self.stopped = None,
            _ => {}
        }
    }
}
