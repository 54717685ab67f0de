//! Many samples as few: what they come to, and one such sum for each column of a picture.
//!
//! Minimum and maximum of a column are kept, so that no spike is lost by drawing (the min-max part
//! of M4; Jugel, Jerzak, Hackenbroich, Markl: M4: A Visualization-Oriented Time Series Data
//! Aggregation, VLDB 2014), with first, last, mean, count, and the worst quality beside them.

use super::quality::Quality;
use super::sample::{Sample, Tick};

/// Columns of one answer; more than any screen has.
pub const COLUMNS_MAX: usize = 16_384;

/// What samples that follow each other come to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    /// Time of the earliest.
    pub first_tick: Tick,
    /// Time of the latest.
    pub last_tick: Tick,
    /// Samples, bad ones too.
    pub count: u64,
    /// Those whose values are in what follows.
    pub used: u64,
    /// First usable value; NaN if there is none, like the three that follow.
    pub first: f64,
    /// Last usable value.
    pub last: f64,
    /// Least usable value.
    pub min: f64,
    /// Greatest usable value.
    pub max: f64,
    /// Sum of the usable values.
    pub sum: f64,
    /// The worst quality, the first of its level.
    pub worst: Quality,
}

impl Bucket {
    /// Nothing yet.
    pub const EMPTY: Bucket = Bucket {
        first_tick: Tick(u64::MAX),
        last_tick: Tick(0),
        count: 0,
        used: 0,
        first: f64::NAN,
        last: f64::NAN,
        min: f64::NAN,
        max: f64::NAN,
        sum: 0.0,
        worst: Quality::GOOD,
    };

    /// Takes a sample that follows.
    pub fn push(&mut self, sample: &Sample) {
        self.first_tick = self.first_tick.min(sample.tick);
        self.last_tick = self.last_tick.max(sample.tick);
        self.count += 1;
        self.worst = self.worst.worse(sample.quality);
        if sample.is_usable() {
            if self.used == 0 {
                self.first = sample.value;
            }
            self.used += 1;
            self.last = sample.value;
            // `min` gives the other of the two where one is NaN.
            self.min = self.min.min(sample.value);
            self.max = self.max.max(sample.value);
            self.sum += sample.value;
        }
    }

    /// Takes samples that follow.
    pub fn merge(&mut self, next: &Bucket) {
        self.first_tick = self.first_tick.min(next.first_tick);
        self.last_tick = self.last_tick.max(next.last_tick);
        self.count = self.count.saturating_add(next.count);
        self.worst = self.worst.worse(next.worst);
        if next.used > 0 {
            if self.used == 0 {
                self.first = next.first;
            }
            self.used = self.used.saturating_add(next.used);
            self.last = next.last;
            self.min = self.min.min(next.min);
            self.max = self.max.max(next.max);
            self.sum += next.sum;
        }
    }

    /// Mean of the usable values; NaN if there is none.
    pub fn mean(&self) -> f64 {
        match self.used {
            0 => f64::NAN,
            // Rounding, or a sum beyond the largest double, must not put the mean outside.
            used => (self.sum / used as f64).max(self.min).min(self.max),
        }
    }
}

/// A span of time, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// First tick.
    pub from: Tick,
    /// Last tick.
    pub to: Tick,
}

impl Window {
    /// First tick of the column `at` of `columns`; that of the column after the last is one past
    /// the end.
    pub fn edge(&self, at: usize, columns: usize) -> u128 {
        let length = u128::from(self.to.0.saturating_sub(self.from.0)) + 1;
        u128::from(self.from.0) + length * at as u128 / columns.max(1) as u128
    }
}

#[cfg(test)]
mod tests {
    use super::super::quality::Reason;
    use super::super::sample::Instant;
    use super::*;

    #[test]
    fn halves_come_to_the_whole_and_bad_values_are_left_out() {
        let values = [4.0, f64::NAN, 1.0, 7.0, 9e9, 2.0];
        let samples: Vec<Sample> = values
            .iter()
            .enumerate()
            .map(|(n, value)| {
                let quality = match n {
                    4 => Quality::because(Reason::OutOfRange),
                    _ => Quality::GOOD,
                };
                let at = Instant { tick: Tick(n as u64), wall_ms: 0 };
                Sample::new(at, *value, quality)
            })
            .collect();
        let of = |samples: &[Sample]| {
            let mut bucket = Bucket::EMPTY;
            samples.iter().for_each(|sample| bucket.push(sample));
            bucket
        };
        let whole = of(&samples);
        assert_eq!((whole.count, whole.used, whole.mean()), (6, 4, 3.5));
        assert_eq!((whole.first, whole.last, whole.min, whole.max), (4.0, 2.0, 1.0, 7.0));
        assert_eq!(whole.worst.reason, Reason::NotANumber);
        for at in 0..=samples.len() {
            let mut left = of(&samples[..at]);
            left.merge(&of(&samples[at..]));
            assert_eq!(left, whole);
        }
    }

    #[test]
    fn edges_cover_a_window_without_gap_or_overlap() {
        let window = Window { from: Tick(10), to: Tick(u64::MAX) };
        assert_eq!(window.edge(0, 7), 10);
        assert_eq!(window.edge(7, 7), u128::from(u64::MAX) + 1);
        assert!((0..7).all(|n| window.edge(n, 7) < window.edge(n + 1, 7)));
        let backwards = Window { from: Tick(10), to: Tick(3) };
        assert_eq!((backwards.edge(0, 2), backwards.edge(2, 2)), (10, 11));
    }
}
