//! One value of a signal: when, what, and how far it can be trusted.

use std::time::Duration;

use super::quality::{Level, Quality, Reason};

/// Lab time in nanoseconds: monotonic, goes on through restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Tick(pub u64);

impl Tick {
    /// Time from `earlier` to this; zero if it is not earlier.
    pub const fn since(self, earlier: Tick) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// In the status of a sample: its time is by the device's clock.
const BY_DEVICE: u32 = 1 << 8;

/// Whose clock a time is by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Clock {
    /// Ours, when the value arrived.
    Arrival,
    /// The device's, when it was measured.
    Device,
}

/// A time by both clocks of the lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instant {
    /// Lab time.
    pub tick: Tick,
    /// Wall time, milliseconds since 1970, for people.
    pub wall_ms: i64,
}

/// One value of a signal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// When it was measured, in lab time.
    pub tick: Tick,
    /// When it was measured, in wall time: milliseconds since 1970.
    pub wall_ms: i64,
    /// Value in coherent SI units; NaN where there is none.
    pub value: f64,
    /// How far it can be trusted.
    pub quality: Quality,
    /// By whose clock.
    pub clock: Clock,
}

impl Sample {
    /// A value at the time of its arrival; what is no number is bad whatever was said of it.
    pub fn new(arrived: Instant, value: f64, quality: Quality) -> Sample {
        let quality = match value.is_finite() {
            true => quality,
            false => quality.worse(Quality::because(Reason::NotANumber)),
        };
        let Instant { tick, wall_ms } = arrived;
        Sample { tick, wall_ms, value, quality, clock: Clock::Arrival }
    }

    /// The same at the time that the device gives.
    ///
    /// A device whose clock differs by more than `skew_max` from the time of arrival is not
    /// believed, nor is one that has measured in the future by more than that: the sample keeps
    /// the time of arrival and becomes uncertain.
    #[must_use]
    pub fn by_device(self, device_ms: i64, skew_max: Duration) -> Sample {
        let age_ms = self.wall_ms.saturating_sub(device_ms);
        if u128::from(age_ms.unsigned_abs()) > skew_max.as_millis() {
            let skewed = Quality::because(Reason::ClockSkewed);
            return Sample { quality: self.quality.worse(skewed), ..self };
        }
        // A little in the future is the reading of the clocks; nothing is measured after it came.
        let age_ms = age_ms.max(0).unsigned_abs();
        Sample {
            tick: Tick(self.tick.0.saturating_sub(age_ms.saturating_mul(1_000_000))),
            wall_ms: self.wall_ms.saturating_sub_unsigned(age_ms),
            clock: Clock::Device,
            ..self
        }
    }

    /// Its quality when it is looked at: what is older than `max_age` is stale. A value that was
    /// bad already keeps its reason.
    pub fn quality_at(&self, now: Tick, max_age: Duration) -> Quality {
        match now.since(self.tick) > max_age {
            true => self.quality.worse(Quality::because(Reason::Stale)),
            false => self.quality,
        }
    }

    /// Quality and clock as one number, for the history: [`Quality::to_bits`] with a bit of its own
    /// for the clock. The note is not in it.
    pub const fn status(&self) -> u32 {
        match self.clock {
            Clock::Arrival => self.quality.to_bits(),
            Clock::Device => self.quality.to_bits() | BY_DEVICE,
        }
    }

    /// Whether its value may stand in minima, means and decisions, its age aside.
    pub fn is_usable(&self) -> bool {
        self.quality.level() < Level::Bad && self.value.is_finite()
    }
}

/// The inverse of [`Sample::status`].
pub fn of_status(status: u32) -> (Quality, Clock) {
    let clock = if status & BY_DEVICE == 0 { Clock::Arrival } else { Clock::Device };
    (Quality::from_bits(status), clock)
}

/// The quality of a signal now; one without a sample was never read.
pub fn quality_now(latest: Option<&Sample>, now: Tick, max_age: Duration) -> Quality {
    latest.map_or(Quality::because(Reason::NeverRead), |sample| sample.quality_at(now, max_age))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Instant = Instant { tick: Tick(60_000_000_000), wall_ms: 1_800_000_000_000 };

    #[test]
    fn staleness_is_seen_when_looking() {
        let second = Duration::from_secs(1);
        let sample = Sample::new(NOON, 21.5, Quality::GOOD);
        assert_eq!(sample.quality_at(Tick(61_000_000_000), second), Quality::GOOD);
        assert_eq!(sample.quality_at(Tick(61_000_000_001), second).reason, Reason::Stale);
        // Looked at before it was measured: another thread was faster.
        assert_eq!(sample.quality_at(Tick(0), second), Quality::GOOD);
        let broken = Sample::new(NOON, 21.5, Quality::sensor_error(3));
        assert_eq!(broken.quality_at(Tick(u64::MAX), second), Quality::sensor_error(3));
        assert_eq!(quality_now(None, Tick(5), second).reason, Reason::NeverRead);
    }

    #[test]
    fn no_number_is_bad_whatever_was_said() {
        assert_eq!(Sample::new(NOON, f64::NAN, Quality::GOOD).quality.reason, Reason::NotANumber);
        assert_eq!(
            Sample::new(NOON, f64::INFINITY, Quality::GOOD).quality.reason,
            Reason::NotANumber
        );
        let said = Sample::new(NOON, f64::NAN, Quality::sensor_error(9));
        assert_eq!(said.quality, Quality::sensor_error(9));
        assert!(!said.is_usable());
    }

    #[test]
    fn a_status_is_read_as_it_was_written() {
        let sample = Sample::new(NOON, 1.0, Quality::sensor_error(700));
        assert_eq!(of_status(sample.status()), (sample.quality, Clock::Arrival));
        let earlier = sample.by_device(NOON.wall_ms, Duration::from_secs(1));
        assert_eq!(of_status(earlier.status()), (sample.quality, Clock::Device));
        assert_eq!(earlier.status() & 3, 2, "history sees that it is bad");
    }

    #[test]
    fn a_device_is_believed_within_its_bound() {
        let sample = Sample::new(NOON, 1.0, Quality::GOOD);
        let bound = Duration::from_secs(2);
        let earlier = sample.by_device(NOON.wall_ms - 250, bound);
        assert_eq!((earlier.tick, earlier.clock), (Tick(59_750_000_000), Clock::Device));
        assert_eq!((earlier.wall_ms, earlier.quality), (NOON.wall_ms - 250, Quality::GOOD));
        let ahead = sample.by_device(NOON.wall_ms + 100, bound);
        assert_eq!((ahead.tick, ahead.clock), (NOON.tick, Clock::Device));
        for wrong in [0, i64::MIN, i64::MAX, NOON.wall_ms - 2_001] {
            let skewed = sample.by_device(wrong, bound);
            assert_eq!((skewed.tick, skewed.clock), (NOON.tick, Clock::Arrival));
            assert_eq!(skewed.quality.reason, Reason::ClockSkewed);
        }
    }
}
