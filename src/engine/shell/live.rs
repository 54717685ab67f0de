//! The values of a laboratory as they are, for whoever watches it.
//!
//! Architecture invariant: a lock is held for a bounded, short time on both sides: the engine appends
//! one sample, a reader copies out of one ring of [`KEPT`] samples. Who wants every sample subscribes,
//! and loses its own oldest ones when it is slow.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::gauge::Gauge;
use crate::diagnostics::signals::{
    Board, Bucket, Clock, Declared, Level, Sample, SignalId, Subscription, Tick, Wanted, Window,
};

/// Samples of each signal that are kept in memory: more than an hour of one a second, 160 kB.
pub const KEPT: usize = 4_096;

/// A signal as it is now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SignalView {
    /// `instrument.property`, with the field where the property is a record.
    pub signal: String,
    /// SI unit of the value; empty for a number without one.
    pub unit: String,
    /// Value in that unit; `None` where there is no usable one.
    pub value: Option<f64>,
    /// `good`, `uncertain` or `bad`.
    pub level: String,
    /// Why, in a few words; empty if it is good.
    pub reason: String,
    /// What the instrument or the driver said; empty if nothing.
    pub note: String,
    /// Lab seconds since it was measured; `None` if it was never read.
    pub age_s: Option<f64>,
    /// When it was measured, milliseconds since 1970.
    pub wall_ms: Option<i64>,
    /// The time is that of the device's own clock.
    pub by_device: bool,
}

/// Live values; cheap to clone, all clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Live(Arc<Mutex<Board>>);

impl Live {
    pub(super) fn board(&self) -> MutexGuard<'_, Board> {
        // Each call leaves it whole: a panic elsewhere spoils nothing.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a signal known that may not have been read yet.
    pub(super) fn declare(
        &self,
        name: &str,
        gauge: &Gauge,
        max_age: std::time::Duration,
    ) -> Option<SignalId> {
        let unit = gauge.unit.dim.si();
        let declared = Declared { name: name.into(), unit: unit.into(), max_age, kept: KEPT };
        self.board().declare(declared)
    }

    /// All samples of these signals from now on, of all if none is named; those that are not known
    /// are left out. The mailbox holds `limit` samples.
    pub fn subscribe(&self, signals: &[&str], limit: usize) -> Subscription {
        let mut board = self.board();
        let wanted = match signals {
            [] => Wanted::All,
            some => Wanted::These(some.iter().filter_map(|name| board.id(name)).collect()),
        };
        board.subscribe(wanted, limit)
    }

    /// The name of a signal that a subscription gave.
    pub fn name(&self, signal: SignalId) -> Option<Arc<str>> {
        self.board().declared(signal).map(|declared| Arc::clone(&declared.name))
    }

    /// All signals as they are, in the order of their names.
    pub fn all(&self, now: Tick) -> Vec<SignalView> {
        let board = self.board();
        board.names().filter_map(|(name, id)| view(&board, name, id, now)).collect()
    }

    /// A window of a signal as columns with minimum and maximum, from what is in memory; `None` for
    /// a signal that is not known.
    pub fn columns(&self, signal: &str, window: Window, columns: usize) -> Option<Vec<Bucket>> {
        let board = self.board();
        board.columns(board.id(signal)?, window, columns)
    }

    /// Takes a sample and gives it to who watches; gives it back as it was taken.
    pub(super) fn push(&self, signal: SignalId, sample: Sample, note: Option<&str>) -> Sample {
        let mut board = self.board();
        let quality = match note {
            Some(note) => sample.quality.with_note(board.notes.note(note)),
            None => sample.quality,
        };
        let sample = Sample { quality, ..sample };
        board.push(signal, sample).unwrap_or(sample)
    }

    /// The latest sample.
    pub(super) fn latest(&self, signal: SignalId) -> Option<Sample> {
        self.board().ring(signal)?.latest().copied()
    }
}

fn view(board: &Board, name: &Arc<str>, id: SignalId, now: Tick) -> Option<SignalView> {
    let (declared, seen) = (board.declared(id)?, board.now(id, now)?);
    let reason = match seen.quality.level() {
        Level::Good => String::new(),
        Level::Uncertain | Level::Bad => seen.quality.reason.text().to_owned(),
    };
    Some(SignalView {
        signal: name.to_string(),
        unit: declared.unit.to_string(),
        value: seen.value(),
        level: seen.quality.level().to_string(),
        reason,
        note: board.notes.text(seen.quality.note).map(ToString::to_string).unwrap_or_default(),
        age_s: seen.sample.map(|sample| now.since(sample.tick).as_secs_f64()),
        wall_ms: seen.sample.map(|sample| sample.wall_ms),
        by_device: seen.sample.is_some_and(|sample| sample.clock == Clock::Device),
    })
}
