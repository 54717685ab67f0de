//! Who holds which instrument.
//!
//! All claims of a step or a holding block are reserved at once or not at all, in the order of
//! age; a step that waits keeps younger ones from taking what it waits for. So nobody holds one
//! instrument while waiting for another, which excludes deadlock, and nobody starves.

use std::collections::{BTreeMap, BTreeSet};

use super::StepKey;
use crate::compiler::graph::PlaceClaim;

/// Holder of a claim.
pub type Holder = (String, StepKey);

/// What a step waits for before it can start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// Step; `None` where the run as a whole waits.
    pub step: Option<StepKey>,
    /// Instruments, all at once.
    pub wanted: Vec<String>,
    /// It waits for room in places.
    pub room: bool,
}

/// Reservations of instruments.
#[derive(Debug, Clone, Default)]
pub struct Claims {
    held: BTreeMap<String, Vec<Holder>>,
    /// Samples that each run may have in a place.
    seats: BTreeMap<String, BTreeMap<String, u32>>,
    /// Instruments that persons have taken out, and who. The shell says it anew after a crash.
    taken: BTreeMap<String, String>,
    /// Instruments that were not confirmed safe when a run ended, and which run: nobody's until
    /// they are, or a person says so.
    barred: BTreeMap<String, String>,
}

impl Claims {
    /// Whether `run` may take all of `wanted`: each is free or already held by the same run in a
    /// block around the step, none is taken out by a person, not confirmed safe, or `reserved` by
    /// one that goes before.
    pub fn available(&self, run: &str, wanted: &[String], reserved: &BTreeSet<String>) -> bool {
        if self.kept_back(wanted) {
            return false;
        }
        wanted.iter().all(|instrument| match self.held.get(instrument).map(Vec::as_slice) {
            None | Some([]) => !reserved.contains(instrument),
            Some(holders) => holders.iter().all(|(holder, _)| holder == run),
        })
    }

    /// Whether one of them waits for a person. Nothing is reserved for who waits for that: it may
    /// take days, and the others would stand idle.
    // SAFETY(lab): what a run left behind may still act, and its dose may still come.
    pub fn kept_back(&self, wanted: &[String]) -> bool {
        wanted.iter().any(|name| self.taken.contains_key(name) || self.barred.contains_key(name))
    }

    /// Whether nobody but `run` has an instrument in use.
    pub fn is_free_for(&self, run: &str, instrument: &str) -> bool {
        self.held.get(instrument).is_none_or(|all| all.iter().all(|(holder, _)| holder == run))
    }

    /// Whether all places have room for the samples of `run`. A run takes the room it will ever
    /// need at its start and keeps it to its end, so that no two runs wait for each other's places.
    pub fn has_room(&self, run: &str, places: &[PlaceClaim]) -> bool {
        places.iter().all(|claim| {
            let others: u32 = self
                .seats
                .get(&claim.place)
                .into_iter()
                .flatten()
                .filter(|(holder, _)| *holder != run)
                .fold(0, |sum, (_, samples)| sum.saturating_add(*samples));
            others.saturating_add(claim.samples) <= claim.capacity
        })
    }

    /// A person takes an instrument out: no step gets it until it is given back.
    pub fn take_out(&mut self, instrument: String, by: String) {
        self.taken.insert(instrument, by);
    }

    /// A person gives an instrument back.
    pub fn give_back(&mut self, instrument: &str) {
        self.taken.remove(instrument);
    }

    /// What persons have taken out, all of it.
    pub fn set_taken(&mut self, taken: BTreeMap<String, String>) {
        self.taken = taken;
    }

    /// A run ended without the instrument confirming its safe state.
    pub fn bar(&mut self, instrument: String, run: String) {
        self.barred.insert(instrument, run);
    }

    /// An instrument is safe, or a person says that it may be used.
    pub fn free(&mut self, instrument: &str) {
        self.barred.remove(instrument);
    }

    /// What is not confirmed safe, all of it.
    pub fn set_barred(&mut self, barred: BTreeMap<String, String>) {
        self.barred = barred;
    }

    /// Instruments that are not confirmed safe, each with the run that left it so.
    pub fn barred(&self) -> &BTreeMap<String, String> {
        &self.barred
    }

    /// Who has taken an instrument out.
    pub fn taken_by(&self, instrument: &str) -> Option<&str> {
        self.taken.get(instrument).map(String::as_str)
    }

    /// Steps that hold an instrument.
    pub fn holders(&self, instrument: &str) -> &[Holder] {
        self.held.get(instrument).map_or(&[], Vec::as_slice)
    }

    /// Places that have no room for the samples of a run.
    pub fn full(&self, run: &str, places: &[PlaceClaim]) -> Vec<String> {
        let full = |place: &&PlaceClaim| !self.has_room(run, std::slice::from_ref(*place));
        places.iter().filter(full).map(|place| place.place.clone()).collect()
    }

    /// Runs whose samples may stand in a place.
    pub fn guests(&self, place: &str) -> Vec<String> {
        self.seats.get(place).map_or_else(Vec::new, |runs| runs.keys().cloned().collect())
    }

    /// Takes the room a run needs.
    pub fn take_room(&mut self, run: &str, places: &[PlaceClaim]) {
        for claim in places {
            self.seats
                .entry(claim.place.clone())
                .or_default()
                .insert(run.to_owned(), claim.samples);
        }
    }

    /// Takes all of `wanted` for a step.
    pub fn take(&mut self, run: &str, key: &StepKey, wanted: &[String]) {
        for instrument in wanted {
            let holders = self.held.entry(instrument.clone()).or_default();
            if !holders.iter().any(|(r, k)| r == run && k == key) {
                holders.push((run.to_owned(), key.clone()));
            }
        }
    }

    /// Gives back what a step held.
    pub fn release(&mut self, run: &str, key: &StepKey, wanted: &[String]) {
        for instrument in wanted {
            if let Some(holders) = self.held.get_mut(instrument) {
                holders.retain(|(r, k)| r != run || k != key);
                if holders.is_empty() {
                    self.held.remove(instrument);
                }
            }
        }
    }

    /// Gives back all that one holder of a run held.
    pub fn release_holder(&mut self, run: &str, key: &StepKey) {
        self.held.retain(|_, holders| {
            holders.retain(|(r, k)| r != run || k != key);
            !holders.is_empty()
        });
    }

    /// Steps of a run that hold something, each once.
    pub fn blocks_of(&self, run: &str) -> BTreeSet<StepKey> {
        self.held.values().flatten().filter(|(r, _)| r == run).map(|(_, key)| key.clone()).collect()
    }

    /// Gives back what a run held of one instrument.
    pub fn release_instrument(&mut self, run: &str, instrument: &str) {
        if let Some(holders) = self.held.get_mut(instrument) {
            holders.retain(|(r, _)| r != run);
            if holders.is_empty() {
                self.held.remove(instrument);
            }
        }
    }

    /// Gives back what a run held of all instruments but these.
    pub fn release_others(&mut self, run: &str, but: &[String]) {
        self.held.retain(|instrument, holders| {
            holders.retain(|(r, _)| r != run || but.contains(instrument));
            !holders.is_empty()
        });
    }

    /// Gives back what a run whose steps have ended held, but for the steps that are under way.
    pub fn release_all_but(&mut self, run: &str, under_way: &BTreeSet<StepKey>) {
        self.seats.retain(|_, runs| {
            runs.remove(run);
            !runs.is_empty()
        });
        self.held.retain(|_, holders| {
            holders.retain(|(r, key)| r != run || under_way.contains(key));
            !holders.is_empty()
        });
    }

    /// Gives back all that a run held.
    pub fn release_run(&mut self, run: &str) {
        self.seats.retain(|_, runs| {
            runs.remove(run);
            !runs.is_empty()
        });
        self.held.retain(|_, holders| {
            holders.retain(|(r, _)| r != run);
            !holders.is_empty()
        });
    }
}
