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

/// Reservations of instruments.
#[derive(Debug, Clone, Default)]
pub struct Claims {
    held: BTreeMap<String, Vec<Holder>>,
    /// Samples that each run may have in a place.
    seats: BTreeMap<String, BTreeMap<String, u32>>,
}

impl Claims {
    /// Whether `run` may take all of `wanted`: each is free or already held by the same run in a
    /// block around the step, and not `reserved` by an older waiter.
    pub fn available(&self, run: &str, wanted: &[String], reserved: &BTreeSet<String>) -> bool {
        wanted.iter().all(|instrument| match self.held.get(instrument).map(Vec::as_slice) {
            None | Some([]) => !reserved.contains(instrument),
            Some(holders) => holders.iter().all(|(holder, _)| holder == run),
        })
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

    /// Steps of a run that hold something, each once.
    pub fn blocks_of(&self, run: &str) -> BTreeSet<StepKey> {
        self.held.values().flatten().filter(|(r, _)| r == run).map(|(_, key)| key.clone()).collect()
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
