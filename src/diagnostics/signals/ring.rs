//! The latest samples of a signal in memory, and sums over them in levels.
//!
//! ```text
//! level 2   |      256 samples      |      256 samples      |
//! level 1   | 16 | 16 | ...    | 16 | 16 | ...         open |
//! samples   ||||||||||||||||||||||||||||||||||||||||||||||||
//! ```
//! Bucket `j` of level `k` holds the samples `j 16^k` to `(j+1) 16^k - 1`, counted from the first
//! that ever came. Any span of samples is then at most 2 x 15 buckets of each level.
//!
//! Cost of a push: one sample and one bucket written, one more in sixteen, and so on; with every
//! level at its end eight writes. Memory: 32 bytes a sample and 1/15 bucket (about 6 bytes).

use super::decimation::{Bucket, COLUMNS_MAX, Window};
use super::quality::{Quality, Reason};
use super::sample::Sample;

/// Buckets (or samples) of one bucket of the next level.
const FAN: u64 = 16;
/// Levels: 16^7 is more than [`CAPACITY_MAX`].
const LEVELS_MAX: u32 = 7;
/// Samples that a ring can hold at most: 4 GB.
pub const CAPACITY_MAX: usize = 1 << 27;

#[derive(Debug, Clone)]
struct Level {
    /// Samples of a bucket.
    size: u64,
    /// Whole buckets, in a circle.
    whole: Vec<Bucket>,
    capacity: usize,
    /// The one that is being filled.
    open: Bucket,
}

/// The latest samples of one signal.
#[derive(Debug, Clone)]
pub struct Ring {
    samples: Vec<Sample>,
    capacity: usize,
    /// Samples that ever came.
    came: u64,
    levels: Vec<Level>,
}

fn put<T>(circle: &mut Vec<T>, capacity: usize, at: u64, value: T) {
    let place = (at % capacity as u64) as usize;
    match circle.get_mut(place) {
        Some(old) => *old = value,
        None => circle.push(value),
    }
}

impl Ring {
    /// A ring for so many samples, one at least and [`CAPACITY_MAX`] at most. Memory is taken as
    /// samples come.
    pub fn new(capacity: usize) -> Ring {
        let capacity = capacity.clamp(1, CAPACITY_MAX);
        let levels = (1..=LEVELS_MAX)
            .map(|level| FAN.pow(level))
            .take_while(|size| *size <= capacity as u64)
            // No more lie wholly in the ring.
            .map(|size| Level {
                size,
                whole: Vec::new(),
                capacity: capacity / size as usize,
                open: Bucket::EMPTY,
            })
            .collect();
        Ring { samples: Vec::new(), capacity, came: 0, levels }
    }

    /// Samples in it.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether nothing has come yet.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// Samples that ever came, those too that are gone.
    pub const fn came(&self) -> u64 {
        self.came
    }

    /// The latest sample.
    pub fn latest(&self) -> Option<&Sample> {
        self.sample(self.came.checked_sub(1)?)
    }

    /// The earliest sample that is still there.
    pub fn oldest(&self) -> Option<&Sample> {
        self.sample(self.start())
    }

    /// Takes a sample and gives it back as it was taken: one whose time lies before that of the
    /// one before becomes uncertain and of that time, so that time never runs back.
    pub fn push(&mut self, mut sample: Sample) -> Sample {
        if let Some(latest) = self.latest()
            && sample.tick < latest.tick
        {
            sample.tick = latest.tick;
            sample.quality = sample.quality.worse(Quality::because(Reason::OutOfOrder));
        }
        put(&mut self.samples, self.capacity, self.came, sample);
        self.came += 1;
        let mut full: Option<Bucket> = None;
        for (level, sums) in self.levels.iter_mut().enumerate() {
            match (level, full) {
                (0, _) => sums.open.push(&sample),
                (_, Some(bucket)) => sums.open.merge(&bucket),
                (_, None) => break,
            }
            if !self.came.is_multiple_of(sums.size) {
                break;
            }
            let bucket = std::mem::replace(&mut sums.open, Bucket::EMPTY);
            put(&mut sums.whole, sums.capacity, self.came / sums.size - 1, bucket);
            full = Some(bucket);
        }
        sample
    }

    /// Samples of a window, in order of time.
    pub fn window(&self, window: Window) -> impl Iterator<Item = &Sample> {
        let from = self.seek(self.start(), u128::from(window.from.0));
        let to = self.seek(from, u128::from(window.to.0) + 1);
        (from..to).filter_map(|at| self.sample(at))
    }

    /// A window as so many columns of equal width, 1 to [`COLUMNS_MAX`].
    ///
    /// Exact: each sample is in the column of its time. Columns without samples are
    /// [`Bucket::EMPTY`]. Cost: a search and at most 30 buckets a level for each column.
    pub fn columns(&self, window: Window, columns: usize) -> Vec<Bucket> {
        let columns = columns.clamp(1, COLUMNS_MAX);
        let mut from = self.seek(self.start(), window.edge(0, columns));
        (1..=columns)
            .map(|column| {
                let to = self.seek(from, window.edge(column, columns));
                let bucket = self.sum(from, to);
                from = to;
                bucket
            })
            .collect()
    }

    /// Number of the earliest sample that is still there.
    const fn start(&self) -> u64 {
        self.came.saturating_sub(self.capacity as u64)
    }

    fn sample(&self, at: u64) -> Option<&Sample> {
        self.samples.get((at % self.capacity as u64) as usize)
    }

    /// Number of the first sample from `from` on that is not before `tick`.
    fn seek(&self, from: u64, tick: u128) -> u64 {
        let before = |at: u64| self.sample(at).is_some_and(|s| u128::from(s.tick.0) < tick);
        // Doubling steps first: the next edge is near.
        let (mut low, mut step) = (from, 1);
        while low + step <= self.came && before(low + step - 1) {
            low += step;
            step *= 2;
        }
        let mut high = (low + step).min(self.came);
        while low < high {
            let middle = low + (high - low) / 2;
            if before(middle) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// What the samples `from` to `to - 1` come to.
    fn sum(&self, from: u64, to: u64) -> Bucket {
        let mut sum = Bucket::EMPTY;
        let mut at = from;
        while at < to {
            let largest =
                self.levels.iter().rev().find(|l| at.is_multiple_of(l.size) && at + l.size <= to);
            match largest {
                Some(level) => {
                    let place = (at / level.size % level.capacity as u64) as usize;
                    if let Some(bucket) = level.whole.get(place) {
                        sum.merge(bucket);
                    }
                    at += level.size;
                }
                None => {
                    if let Some(sample) = self.sample(at) {
                        sum.push(sample);
                    }
                    at += 1;
                }
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::sample::{Instant, Tick};
    use super::*;

    fn sample(tick: u64, value: f64) -> Sample {
        Sample::new(Instant { tick: Tick(tick), wall_ms: tick as i64 }, value, Quality::GOOD)
    }

    #[test]
    fn a_ring_keeps_the_latest_and_time_does_not_run_back() {
        let mut ring = Ring::new(100);
        assert!(ring.is_empty() && ring.latest().is_none());
        for tick in 0..250 {
            ring.push(sample(tick, tick as f64));
        }
        assert_eq!((ring.len(), ring.came()), (100, 250));
        assert_eq!(ring.oldest().unwrap().tick, Tick(150));
        let late = ring.push(sample(3, 1.0));
        assert_eq!((late.tick, late.quality.reason), (Tick(249), Reason::OutOfOrder));
        let all = Window { from: Tick(0), to: Tick(u64::MAX) };
        assert_eq!(ring.window(all).count(), 100);
        let some = Window { from: Tick(160), to: Tick(169) };
        let ticks: Vec<u64> = ring.window(some).map(|s| s.tick.0).collect();
        assert_eq!(ticks, (160..170).collect::<Vec<_>>());
    }

    #[test]
    fn a_single_spike_is_in_every_picture() {
        let mut ring = Ring::new(50_000);
        for tick in 0..60_000u64 {
            ring.push(sample(tick * 10, if tick == 31_415 { 99.0 } else { 1.0 }));
        }
        let all = Window { from: Tick(0), to: Tick(600_000) };
        for columns in [1, 7, 800, COLUMNS_MAX + 5] {
            let picture = ring.columns(all, columns);
            assert_eq!(picture.len(), columns.min(COLUMNS_MAX));
            assert_eq!(picture.iter().filter(|bucket| bucket.max == 99.0).count(), 1);
            assert_eq!(picture.iter().map(|bucket| bucket.count).sum::<u64>(), 50_000);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn columns_are_what_a_plain_sum_gives(
            capacity in 1usize..700,
            gaps in prop::collection::vec((0u64..5, -50i32..50), 0..1500),
            from in 0u64..3000, length in 0u64..4000, columns in 1usize..60,
        ) {
            let mut ring = Ring::new(capacity);
            let mut tick = 0;
            let mut kept = Vec::new();
            for (gap, value) in gaps {
                tick += gap;
                kept.push(ring.push(sample(tick, f64::from(value))));
            }
            let kept = &kept[kept.len().saturating_sub(capacity)..];
            let window = Window { from: Tick(from), to: Tick(from + length) };
            for (at, bucket) in ring.columns(window, columns).iter().enumerate() {
                let inside = window.edge(at, columns)..window.edge(at + 1, columns);
                let mut plain = Bucket::EMPTY;
                kept.iter()
                    .filter(|s| inside.contains(&u128::from(s.tick.0)))
                    .for_each(|s| plain.push(s));
                prop_assert_eq!(format!("{bucket:?}"), format!("{plain:?}"));
            }
        }
    }
}
