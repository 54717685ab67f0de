//! All signals of a lab: the latest of each, its ring, and the feed to who watches.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::decimation::{Bucket, Window};
use super::quality::{Notes, Quality};
use super::ring::Ring;
use super::sample::{Sample, Tick, quality_now};
use super::subscription::{Feed, SignalId, Subscription, Wanted};

/// Signals that a board takes; more than any lab has.
pub const SIGNALS_MAX: usize = 100_000;

/// What is known of a signal before it is read.
#[derive(Debug, Clone, PartialEq)]
pub struct Declared {
    /// `instrument.property`.
    pub name: Arc<str>,
    /// Its SI unit.
    pub unit: Arc<str>,
    /// Older than this it is stale.
    pub max_age: Duration,
    /// Samples that are kept in memory.
    pub kept: usize,
}

/// A signal as it is now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Now {
    /// The latest sample; `None` if it was never read.
    pub sample: Option<Sample>,
    /// Its quality now, staleness included.
    pub quality: Quality,
}

impl Now {
    /// The value, if it may be used.
    pub fn value(&self) -> Option<f64> {
        let usable = self.quality.level() < super::quality::Level::Bad;
        self.sample.filter(|sample| usable && sample.is_usable()).map(|sample| sample.value)
    }
}

#[derive(Debug)]
struct Signal {
    declared: Declared,
    ring: Ring,
}

/// All signals of a lab.
///
/// One thread owns it, or a lock around it: every call is short, see [`Ring`] for its cost.
#[derive(Debug, Default)]
pub struct Board {
    signals: Vec<Signal>,
    ids: BTreeMap<Arc<str>, SignalId>,
    /// What instruments said beside their values.
    pub notes: Notes,
    feed: Feed,
}

impl Board {
    /// Adds a signal, or changes what is known of it. `None` if there are [`SIGNALS_MAX`].
    pub fn declare(&mut self, declared: Declared) -> Option<SignalId> {
        if let Some(id) = self.id(&declared.name) {
            if let Some(signal) = self.signals.get_mut(id.0 as usize) {
                signal.declared = declared;
            }
            return Some(id);
        }
        if self.signals.len() >= SIGNALS_MAX {
            return None;
        }
        let id = SignalId(self.signals.len() as u32);
        self.ids.insert(declared.name.clone(), id);
        self.signals.push(Signal { ring: Ring::new(declared.kept), declared });
        Some(id)
    }

    /// The number of a signal.
    pub fn id(&self, name: &str) -> Option<SignalId> {
        self.ids.get(name).copied()
    }

    /// All signals, in the order of their names.
    pub fn names(&self) -> impl Iterator<Item = (&Arc<str>, SignalId)> {
        self.ids.iter().map(|(name, id)| (name, *id))
    }

    /// What is known of a signal.
    pub fn declared(&self, signal: SignalId) -> Option<&Declared> {
        Some(&self.signals.get(signal.0 as usize)?.declared)
    }

    /// Takes a sample and gives it to all who watch; gives it back as it was taken (see
    /// [`Ring::push`]), for the detectors and the history. `None` for an unknown signal.
    pub fn push(&mut self, signal: SignalId, sample: Sample) -> Option<Sample> {
        let taken = self.signals.get_mut(signal.0 as usize)?.ring.push(sample);
        self.feed.publish(&[(signal, taken)]);
        Some(taken)
    }

    /// A signal as it is now.
    pub fn now(&self, signal: SignalId, now: Tick) -> Option<Now> {
        let signal = self.signals.get(signal.0 as usize)?;
        let sample = signal.ring.latest();
        let quality = quality_now(sample, now, signal.declared.max_age);
        Some(Now { sample: sample.copied(), quality })
    }

    /// The ring of a signal.
    pub fn ring(&self, signal: SignalId) -> Option<&Ring> {
        Some(&self.signals.get(signal.0 as usize)?.ring)
    }

    /// A window of a signal as columns; see [`Ring::columns`].
    pub fn columns(&self, signal: SignalId, window: Window, columns: usize) -> Option<Vec<Bucket>> {
        Some(self.ring(signal)?.columns(window, columns))
    }

    /// A subscription to what comes from now on.
    pub fn subscribe(&mut self, wanted: Wanted, limit: usize) -> Subscription {
        self.feed.subscribe(wanted, limit)
    }
}

#[cfg(test)]
mod tests {
    use super::super::quality::Reason;
    use super::super::sample::Instant;
    use super::super::subscription::Item;
    use super::*;

    #[test]
    fn a_signal_is_never_read_then_good_then_stale() {
        let mut board = Board::default();
        let declared = Declared {
            name: "bath.temperature".into(),
            unit: "K".into(),
            max_age: Duration::from_secs(2),
            kept: 100,
        };
        let bath = board.declare(declared.clone()).unwrap();
        assert_eq!(board.declare(declared), Some(bath));
        assert_eq!(board.now(bath, Tick(0)).unwrap().quality.reason, Reason::NeverRead);
        let mut watch = board.subscribe(Wanted::All, 10);
        let at = Instant { tick: Tick(1_000_000_000), wall_ms: 5 };
        board.push(bath, Sample::new(at, 298.15, Quality::GOOD)).unwrap();
        assert_eq!(board.now(bath, Tick(2_000_000_000)).unwrap().value(), Some(298.15));
        let stale = board.now(bath, Tick(3_500_000_000)).unwrap();
        assert_eq!((stale.quality.reason, stale.value()), (Reason::Stale, None));
        assert_eq!(stale.sample.unwrap().value, 298.15);
        assert!(matches!(watch.take().next(), Some(Item::Sample(id, _)) if id == bath));
        assert!(board.push(SignalId(9), Sample::new(at, 1.0, Quality::GOOD)).is_none());
    }
}
