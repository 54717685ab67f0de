//! What history keeps: readings, and what many of them come to.

/// How good a reading is, as a number whose meaning its writer knows.
///
/// The two low bits are the severity, 0 good, 1 uncertain, 2 bad: that much history must know, to
/// leave bad values out of minima and means and to keep the worst of many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Status {
    /// Severity in the two low bits, the writer's codes above.
    pub code: u32,
    /// What the instrument said, as a number from the file's own list; 0 is nothing.
    pub text: u32,
}

impl Status {
    /// Nothing is wrong.
    pub const GOOD: Status = Status { code: 0, text: 0 };
    /// Bad, and nothing more is known: what formats before had as a value that is not a number.
    pub const BAD: Status = Status { code: 2, text: 0 };

    /// 0 good, 1 uncertain, 2 bad.
    pub const fn severity(self) -> u32 {
        self.code & 3
    }

    pub(super) const fn word(self) -> u64 {
        self.code as u64 | (self.text as u64) << 32
    }

    pub(super) const fn from_word(word: u64) -> Status {
        Status { code: word as u32, text: (word >> 32) as u32 }
    }
}

/// One reading.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Lab time in nanoseconds.
    pub tick: u64,
    /// Value in coherent SI units; NaN where there was none.
    pub value: f64,
    /// Its quality.
    pub status: Status,
}

impl Point {
    /// A good reading.
    pub const fn good(tick: u64, value: f64) -> Point {
        Point { tick, value, status: Status::GOOD }
    }

    /// Whether its value may stand in minima and means.
    pub fn is_usable(&self) -> bool {
        self.status.severity() < 2 && self.value.is_finite()
    }
}

/// What readings that follow each other come to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    /// Earliest tick.
    pub first_tick: u64,
    /// Latest tick.
    pub last_tick: u64,
    /// Readings, bad ones too.
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
    /// The worst status, the first of its kind.
    pub worst: Status,
}

impl Bucket {
    /// Nothing yet.
    pub const EMPTY: Bucket = Bucket {
        first_tick: u64::MAX,
        last_tick: 0,
        count: 0,
        used: 0,
        first: f64::NAN,
        last: f64::NAN,
        min: f64::NAN,
        max: f64::NAN,
        sum: 0.0,
        worst: Status::GOOD,
    };

    /// Mean of the usable values; NaN if there is none.
    pub fn mean(&self) -> f64 {
        match self.used {
            0 => f64::NAN,
            // Rounding, or a sum beyond the largest double, must not put the mean outside.
            used => (self.sum / used as f64).max(self.min).min(self.max),
        }
    }

    /// Takes a reading that follows.
    pub fn push(&mut self, point: &Point) {
        self.first_tick = self.first_tick.min(point.tick);
        self.last_tick = self.last_tick.max(point.tick);
        self.count += 1;
        if point.status.severity() > self.worst.severity() {
            self.worst = point.status;
        }
        if point.is_usable() {
            if self.used == 0 {
                self.first = point.value;
            }
            self.used += 1;
            self.last = point.value;
            // The other of the two, where one is NaN.
            self.min = self.min.min(point.value);
            self.max = self.max.max(point.value);
            self.sum += point.value;
        }
    }

    /// Takes readings that follow.
    pub fn merge(&mut self, next: &Bucket) {
        self.first_tick = self.first_tick.min(next.first_tick);
        self.last_tick = self.last_tick.max(next.last_tick);
        self.count = self.count.saturating_add(next.count);
        if next.worst.severity() > self.worst.severity() {
            self.worst = next.worst;
        }
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

    /// What readings come to.
    pub fn of<'a>(points: impl IntoIterator<Item = &'a Point>) -> Bucket {
        let mut bucket = Bucket::EMPTY;
        points.into_iter().for_each(|point| bucket.push(point));
        bucket
    }

    /// Tick in its middle.
    pub const fn middle(&self) -> u64 {
        self.first_tick + self.last_tick.saturating_sub(self.first_tick) / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_leaves_bad_values_out_and_says_so() {
        let bad = Point { tick: 2, value: 9e9, status: Status { code: 2 | 5 << 2, text: 7 } };
        let worse = Point { status: Status { code: 2, text: 1 }, ..bad };
        let points =
            [Point::good(1, 3.0), bad, worse, Point::good(4, f64::NAN), Point::good(5, 1.0)];
        let bucket = Bucket::of(&points);
        assert_eq!((bucket.count, bucket.used), (5, 2));
        assert_eq!((bucket.first, bucket.last, bucket.min, bucket.max), (3.0, 1.0, 1.0, 3.0));
        assert_eq!((bucket.mean(), bucket.worst), (2.0, bad.status));
        let mut halves = Bucket::of(&points[..2]);
        halves.merge(&Bucket::of(&points[2..]));
        halves.merge(&Bucket::EMPTY);
        assert_eq!(halves, bucket);
        assert!(Bucket::EMPTY.mean().is_nan());
        let high = Bucket::of(&[Point::good(0, f64::MAX), Point::good(1, f64::MAX)]);
        assert_eq!(high.mean(), f64::MAX);
    }
}
