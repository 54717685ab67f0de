//! Runs that wait for instruments or places: who goes first, what each waits for, who has it.
//!
//! Runs are served by priority, then by age. A run that waits keeps what it wants from all that
//! come after it, and takes all of it at once, so nobody holds one thing while waiting for another.
//! A run that goes before may overtake one that waits, but not for ever: after [`OVERTAKEN_MAX`]
//! times it goes before everybody. So no run starves, however many with a higher priority come.
//! The count is of this engine only; after a crash it begins anew.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::claims::Want;
use super::machine::Core;
use super::run::StepKey;
use super::states::RunState;

/// How often a run that waits may be overtaken by runs of a higher priority.
pub const OVERTAKEN_MAX: u32 = 16;

/// A run that waits for others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parked {
    /// Run.
    pub run: String,
    /// Step that cannot start; empty where the whole run waits.
    pub step: String,
    /// Instruments the step needs, all at once.
    pub wants: Vec<String>,
    /// What keeps it, each with who has it.
    pub waits_for: Vec<Obstacle>,
}

/// What keeps a run from going on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Obstacle {
    /// A run has the instrument.
    HeldBy {
        /// Instrument.
        instrument: String,
        /// Run that has it.
        run: String,
        /// Step of that run.
        step: String,
        /// What that run is doing.
        state: RunState,
    },
    /// The instrument is free, but a run before this one waits for it and more.
    Before {
        /// Instrument.
        instrument: String,
        /// Run that goes first.
        run: String,
    },
    /// A person has taken the instrument out.
    TakenBy {
        /// Instrument.
        instrument: String,
        /// Who.
        by: String,
    },
    /// It was not confirmed safe when a run ended, and is nobody's until it is.
    NotSafe {
        /// Instrument.
        instrument: String,
        /// Run that ended.
        run: String,
    },
    /// A place has no room.
    Full {
        /// Place.
        place: String,
        /// Runs whose samples stand there.
        runs: Vec<String>,
    },
}

impl Parked {
    /// Whether it waits for an instrument that is not confirmed safe.
    pub fn waits_for_safety(&self) -> bool {
        self.waits_for.iter().any(|what| matches!(what, Obstacle::NotSafe { .. }))
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Obstacle::HeldBy { instrument, run, step, state } => {
                write!(f, "{instrument}, which {run} has for {step}")?;
                match state {
                    RunState::Running => Ok(()),
                    state => write!(f, " ({})", state.as_str()),
                }
            }
            Obstacle::Before { instrument, run } => {
                write!(f, "{instrument}, which {run} waits for and goes first")
            }
            Obstacle::TakenBy { instrument, by } => {
                write!(f, "{instrument}, which {by} has taken out")
            }
            Obstacle::NotSafe { instrument, run } => write!(
                f,
                "{instrument}: not confirmed safe since run {run} ended; it goes on once its safe \
                 state is confirmed, or after `labloop instrument accept {instrument} --reason WHY`"
            ),
            Obstacle::Full { place, runs } => {
                write!(f, "room in {place}, where samples of {} stand", runs.join(", "))
            }
        }
    }
}

impl fmt::Display for Parked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what: Vec<String> = self.waits_for.iter().map(ToString::to_string).collect();
        write!(f, "{} waits for {}", self.run, what.join("; "))
    }
}

impl Core {
    /// Every run that waits for instruments or places, in the order they are served.
    pub fn parked(&self) -> Vec<Parked> {
        let mut before: Vec<(&str, &Want)> = Vec::new();
        let mut parked = Vec::new();
        for id in self.ranked() {
            let Some((id, wants)) = self.blocked.get_key_value(&id) else { continue };
            for want in wants {
                let waits_for = self.obstacles(id, want, &before);
                let step = |key: &StepKey| self.runs.get(id).map(|run| run.path(key));
                parked.push(Parked {
                    run: id.clone(),
                    step: want.step.as_ref().and_then(step).unwrap_or_default(),
                    wants: want.wanted.clone(),
                    waits_for,
                });
                before.push((id, want));
            }
        }
        parked
    }

    fn obstacles(&self, id: &str, want: &Want, before: &[(&str, &Want)]) -> Vec<Obstacle> {
        let mut found = Vec::new();
        for instrument in &want.wanted {
            let instrument = instrument.clone();
            if let Some(by) = self.claims.taken_by(&instrument) {
                found.push(Obstacle::TakenBy { instrument, by: by.to_owned() });
                continue;
            }
            if let Some(run) = self.claims.barred().get(&instrument) {
                found.push(Obstacle::NotSafe { instrument, run: run.clone() });
                continue;
            }
            let other = self.claims.holders(&instrument).iter().find(|(run, _)| run != id);
            if let Some((run, key)) = other {
                let holder = self.runs.get(run);
                let step = holder.map(|r| r.path(key)).unwrap_or_default();
                let state = holder.map_or(RunState::Running, |r| r.state());
                found.push(Obstacle::HeldBy { instrument, run: run.clone(), step, state });
                continue;
            }
            let mine = !self.claims.holders(&instrument).is_empty();
            let first = before.iter().find(|(_, w)| w.wanted.contains(&instrument));
            if let (false, Some((run, _))) = (mine, first) {
                found.push(Obstacle::Before { instrument, run: (*run).to_owned() });
            }
        }
        if want.room
            && let Some(run) = self.runs.get(id)
        {
            for place in self.claims.full(id, &run.graph.places) {
                let runs = self.claims.guests(&place);
                found.push(Obstacle::Full { place, runs });
            }
        }
        found
    }

    /// Open runs in the order they are served: those overtaken too often, then by priority, then
    /// by age.
    pub(super) fn ranked(&self) -> Vec<String> {
        let mut ids = self.order.clone();
        let rank = |id: &String| {
            let patient = self.overtaken.get(id).is_none_or(|times| *times < OVERTAKEN_MAX);
            let priority = self.runs.get(id).map_or(0, |run| run.terms.priority);
            (patient, std::cmp::Reverse(if patient { priority } else { 0 }))
        };
        // Stable: age decides among equals.
        ids.sort_by_key(rank);
        ids
    }

    /// A run has taken instruments: others that wait for one of them have been overtaken.
    pub(super) fn count_overtaken(&mut self, id: &str, taken: &[String]) {
        let taken: BTreeSet<&String> = taken.iter().collect();
        for (other, wants) in &self.blocked {
            let wanted = wants.iter().flat_map(|want| &want.wanted).any(|i| taken.contains(i));
            if other != id && wanted {
                let times = self.overtaken.entry(other.clone()).or_default();
                *times = times.saturating_add(1);
            }
        }
    }

    /// Tells who is parked, if that has changed.
    pub(super) fn tell_parked(&mut self) {
        if self.blocked.is_empty() && self.parked_told.is_empty() {
            return;
        }
        let parked = self.parked();
        if parked != self.parked_told {
            self.parked_told.clone_from(&parked);
            self.out.parked = Some(parked);
        }
        let blocked = &self.blocked;
        self.overtaken.retain(|id, _| blocked.contains_key(id));
    }
}
