//! Lab time: the clock that waits, ramps, polls and deadlines follow.
//!
//! Three kinds behind one face. *Real*: lab time is wall time. *Scaled*: lab time runs `speed` times
//! faster than wall time, so that a simulated day fits in minutes on real wires. *Virtual*: lab
//! time is the time of a paused tokio runtime, which jumps to the next timer when nothing else can
//! run; deterministic. Nothing above this module can tell which it is in.
//!
//! Reply timeouts of a wire stay in wall time (`tokio::time::timeout`): a simulator on a real
//! socket does not answer faster because lab time does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// A moment of lab time in nanoseconds; only differences and order mean something.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Tick(pub u64);

impl Tick {
    /// This moment and `later` after it; stays at the end of time rather than wrapping.
    pub fn plus(self, later: Duration) -> Tick {
        Tick(self.0.saturating_add(nanoseconds(later)))
    }

    /// Lab time from `earlier` to this moment; zero when `earlier` is not earlier.
    pub fn since(self, earlier: Tick) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Lab time; cheap to clone.
#[derive(Debug, Clone)]
pub struct Clock {
    kind: Kind,
    /// Lab time when the clock was made.
    base: Tick,
    /// The runtime's time when the clock was made.
    start: Instant,
    /// Lab time that passed while the runtime's time stood still, in nanoseconds.
    asleep: Arc<AtomicU64>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Real,
    Scaled(f64),
    Virtual,
}

/// What the wall shows when virtual lab time is zero: 2026-01-01T00:00:00Z, in seconds since 1970.
const VIRTUAL_EPOCH_SECONDS: i64 = 1_767_225_600;

impl Clock {
    /// Lab time is wall time: nanoseconds since 1970, but never stepping back within one process.
    pub fn real() -> Clock {
        let now = u64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(0);
        Clock { kind: Kind::Real, base: Tick(now), start: Instant::now(), asleep: Arc::default() }
    }

    /// Lab time runs `speed` times faster than wall time and starts at `base`. A speed that is not
    /// a positive finite number counts as 1.
    pub fn scaled(speed: f64, base: Tick) -> Clock {
        let speed = if speed.is_finite() && speed > 0.0 { speed } else { 1.0 };
        Clock { kind: Kind::Scaled(speed), base, start: Instant::now(), asleep: Arc::default() }
    }

    /// Lab time is the runtime's own time from `base` on. Meant for a paused current-thread
    /// runtime, where it jumps; must be made inside that runtime.
    pub fn virtual_time(base: Tick) -> Clock {
        Clock { kind: Kind::Virtual, base, start: Instant::now(), asleep: Arc::default() }
    }

    /// Lab time now.
    pub fn now(&self) -> Tick {
        let elapsed = self.start.elapsed();
        let running = match self.kind {
            Kind::Real | Kind::Virtual => self.base.plus(elapsed),
            Kind::Scaled(speed) => self.base.plus(scale(elapsed, speed)),
        };
        running.plus(Duration::from_nanos(self.asleep.load(Ordering::Relaxed)))
    }

    /// The machine was asleep for a span of wall time: for whatever is in the flasks it passed all
    /// the same. Counts for every copy of this clock.
    pub fn slept(&self, wall: Duration) {
        let lab = nanoseconds(self.lab_span(wall));
        self.asleep.fetch_add(lab, Ordering::Relaxed);
    }

    /// Sleeps for a span of lab time.
    pub async fn sleep(&self, lab: Duration) {
        tokio::time::sleep(self.wall_span(lab)).await;
    }

    /// Sleeps until a moment of lab time; at once when it is past.
    pub async fn sleep_until(&self, moment: Tick) {
        let now = self.now();
        if now < moment {
            self.sleep(moment.since(now)).await;
        }
    }

    /// How long a span of lab time takes on the wall.
    pub fn wall_span(&self, lab: Duration) -> Duration {
        match self.kind {
            Kind::Real | Kind::Virtual => lab.min(LONGEST),
            Kind::Scaled(speed) => scale(lab, 1.0 / speed),
        }
    }

    /// How much lab time passes in a span of wall time.
    pub fn lab_span(&self, wall: Duration) -> Duration {
        match self.kind {
            Kind::Real | Kind::Virtual => wall,
            Kind::Scaled(speed) => scale(wall, speed),
        }
    }

    /// Date and time for people. Virtual time starts on 2026-01-01 so that records repeat exactly.
    pub fn wall(&self) -> jiff::Timestamp {
        match self.kind {
            Kind::Real | Kind::Scaled(_) => jiff::Timestamp::now(),
            Kind::Virtual => {
                let since = i128::from(self.now().0);
                let epoch = i128::from(VIRTUAL_EPOCH_SECONDS) * 1_000_000_000;
                jiff::Timestamp::from_nanosecond(epoch + since).unwrap_or(jiff::Timestamp::MAX)
            }
        }
    }

    /// Seconds of lab time per second of wall time; infinite for virtual time.
    pub fn speed(&self) -> f64 {
        match self.kind {
            Kind::Real => 1.0,
            Kind::Scaled(speed) => speed,
            Kind::Virtual => f64::INFINITY,
        }
    }
}

/// Longest single sleep; longer ones would overflow the runtime's timers. Ten years.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);

fn scale(span: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(span.as_secs_f64() * factor).unwrap_or(LONGEST).min(LONGEST)
}

fn nanoseconds(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn virtual_time_jumps_and_starts_at_its_base() {
        let clock = Clock::virtual_time(Tick(5));
        clock.sleep(Duration::from_secs(3600)).await;
        assert_eq!(clock.now(), Tick(3_600_000_000_005));
        assert_eq!(clock.wall().to_string(), "2026-01-01T01:00:00.000000005Z");
    }

    #[tokio::test(start_paused = true)]
    async fn scaled_time_runs_faster_than_the_wall() {
        let clock = Clock::scaled(60.0, Tick(0));
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(clock.now().since(Tick(0)), Duration::from_secs(120));
        let before = tokio::time::Instant::now();
        clock.sleep_until(Tick(240_000_000_000)).await;
        assert_eq!(before.elapsed(), Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn time_passes_while_the_machine_sleeps() {
        let clock = Clock::scaled(60.0, Tick(0));
        let copy = clock.clone();
        clock.slept(Duration::from_secs(10));
        assert_eq!(copy.now().since(Tick(0)), Duration::from_secs(600));
    }

    #[test]
    fn a_senseless_speed_counts_as_one() {
        for speed in [0.0, -3.0, f64::NAN, f64::INFINITY] {
            assert_eq!(Clock::scaled(speed, Tick(0)).speed(), 1.0);
        }
    }

    #[test]
    fn the_end_of_time_does_not_wrap() {
        assert_eq!(Tick(u64::MAX - 1).plus(Duration::from_secs(9)), Tick(u64::MAX));
        assert_eq!(Tick(3).since(Tick(9)), Duration::ZERO);
    }
}
