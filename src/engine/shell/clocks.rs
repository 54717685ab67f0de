//! What the clocks of a machine say to each other.
//!
//! | clock | can be set | runs while the machine sleeps |
//! |---|---|---|
//! | wall | yes: by people, by NTP, by a dead battery | it is ahead afterwards |
//! | running (monotonic) | no | no |
//! | boot | no | yes |
//!
//! Lab time follows the boot clock and never the wall clock. The wall clock is for people, and for
//! the one thing the boot clock cannot tell: how long a machine was off.
//!
//! Architecture invariant: what follows from readings is decided by pure functions; only
//! [`Reading::now`] and [`boot_mark`] look at a clock.

use std::time::Duration;

use super::entries::BootMark;
use super::history::History;
use crate::engine::core::Tick;

/// A wall clock that moved by more than this against the boot clock, between two looks, was set.
/// Clocks are slewed by 0.5 ms/s at most.
const STEP_MIN: Duration = Duration::from_secs(1);
/// An engine that was not at work for longer than this was stopped, starved or asleep. It looks
/// at its clocks every second; a disk that syncs slowly takes up to a few.
pub(super) const GAP_MIN: Duration = Duration::from_secs(5);
/// A machine that slept for less than this did not sleep: two clocks are read one after the other.
const SLEEP_MIN: Duration = Duration::from_millis(100);
/// A wall clock is not believed when it says that an engine was gone for longer.
const GONE_MAX: Duration = Duration::from_secs(365 * 86_400);
/// Lab time always goes on by this much, so that what comes after is later than what was before.
const GONE_MIN: Duration = Duration::from_millis(1);

/// What the clocks show at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Reading {
    /// Milliseconds since 1970.
    pub(super) wall_ms: i64,
    /// The running clock.
    pub(super) running: Duration,
    /// The boot clock; the same as `running` where a machine has none.
    pub(super) boot: Duration,
}

/// Something about time that a journal should keep.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Seen {
    /// The wall clock was set.
    Stepped { by_ms: i64 },
    /// Nobody was at work.
    Gap { lasted: Duration, asleep: Duration },
}

impl Reading {
    /// What they show now.
    pub(super) fn now() -> Reading {
        let running = running();
        Reading {
            wall_ms: jiff::Timestamp::now().as_millisecond(),
            running,
            boot: since_boot().unwrap_or(running),
        }
    }

    /// What happened since an earlier reading.
    pub(super) fn since(&self, earlier: &Reading) -> Vec<Seen> {
        let passed = self.boot.saturating_sub(earlier.boot);
        let ran = self.running.saturating_sub(earlier.running);
        let mut seen = Vec::new();
        let wall = self.wall_ms.saturating_sub(earlier.wall_ms);
        let by_ms = wall.saturating_sub(milliseconds(passed));
        if by_ms.unsigned_abs() > STEP_MIN.as_millis() as u64 {
            seen.push(Seen::Stepped { by_ms });
        }
        let asleep = passed.saturating_sub(ran);
        let asleep = if asleep < SLEEP_MIN { Duration::ZERO } else { asleep };
        if passed > GAP_MIN || !asleep.is_zero() {
            seen.push(Seen::Gap { lasted: passed, asleep });
        }
        seen
    }
}

/// How long nobody was at work between two engines, and how that is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Passed {
    /// Wall time since the last fact in the journal.
    pub wall: Duration,
    /// What it rests on.
    pub by: Gone,
}

/// What the time between two engines is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    /// The machine has not been off: its boot clock counted.
    BootClock,
    /// The machine was off: the wall clock, as far as it can be believed.
    WallClock,
    /// The machine was off and its wall clock went backwards: at least since its start.
    SinceBoot,
    /// The wall clock went backwards or leapt, and nothing else is known.
    Unknown,
}

impl Gone {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Gone::BootClock => "by the machine's own clock",
            Gone::WallClock => "by the wall clock, the machine was started anew",
            Gone::SinceBoot => {
                "at least, since the machine was started: its wall clock went backwards"
            }
            Gone::Unknown => "or any longer: the wall clock was set meanwhile",
        }
    }
}

/// How long it has been since the last fact of a history, on the wall. `speed`: lab seconds per wall
/// second of the engine that wrote it.
pub fn passed(past: &History, speed: f64) -> Passed {
    let now = jiff::Timestamp::now().as_millisecond();
    passed_at(past, speed, now, boot_mark().as_ref())
}

fn passed_at(past: &History, speed: f64, wall_ms: i64, now: Option<&BootMark>) -> Passed {
    if let (Some((began, mark)), Some(now)) = (&past.boot, now)
        && mark.id == now.id
        && speed.is_finite()
        && speed > 0.0
    {
        // From its start to now, less what it lived through itself.
        let since_start = Duration::from_millis(now.since_ms.saturating_sub(mark.since_ms));
        let lived = past.last_tick.since(*began).as_secs_f64() / speed;
        let lived = Duration::try_from_secs_f64(lived).unwrap_or(Duration::MAX);
        let wall = since_start.saturating_sub(lived).max(GONE_MIN);
        return Passed { wall, by: Gone::BootClock };
    }
    let since_boot = now.map_or(Duration::ZERO, |mark| Duration::from_millis(mark.since_ms));
    // Another start of the machine: it has been off at some time after the last fact.
    let restarted = matches!((&past.boot, now), (Some((_, mark)), Some(now)) if mark.id != now.id);
    let least = if restarted { since_boot } else { Duration::ZERO }.max(GONE_MIN);
    let by_wall = u64::try_from(wall_ms.saturating_sub(past.last_wall_ms))
        .ok()
        .map(Duration::from_millis)
        .filter(|gone| *gone <= GONE_MAX);
    match by_wall {
        Some(wall) if wall >= least => Passed { wall, by: Gone::WallClock },
        _ if restarted => Passed { wall: least, by: Gone::SinceBoot },
        _ => Passed { wall: least, by: Gone::Unknown },
    }
}

/// Lab time of a moment `passed` after the last fact of a history.
pub(super) fn lab_time(past: &History, passed: &Passed, speed: f64) -> Tick {
    let lab = passed.wall.as_secs_f64() * speed;
    past.last_tick.after(Duration::try_from_secs_f64(lab).unwrap_or(GONE_MIN))
}

impl Passed {
    /// Lab time now, at `speed` lab seconds per wall second.
    pub fn lab_time(&self, past: &History, speed: f64) -> Tick {
        lab_time(past, self, speed)
    }
}

/// The machine's own clock now; `None` where it has none that tells one start from another.
pub fn boot_mark() -> Option<BootMark> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let since_ms = u64::try_from(since_boot()?.as_millis()).ok()?;
    Some(BootMark { id: id.trim().to_owned(), since_ms })
}

#[cfg(target_os = "linux")]
fn since_boot() -> Option<Duration> {
    clock(rustix::time::ClockId::Boottime)
}

#[cfg(not(target_os = "linux"))]
fn since_boot() -> Option<Duration> {
    None
}

#[cfg(target_os = "linux")]
fn running() -> Duration {
    clock(rustix::time::ClockId::Monotonic).unwrap_or_default()
}

#[cfg(not(target_os = "linux"))]
fn running() -> Duration {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed()
}

#[cfg(target_os = "linux")]
fn clock(id: rustix::time::ClockId) -> Option<Duration> {
    let time = rustix::time::clock_gettime(id);
    Some(Duration::new(u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?))
}

fn milliseconds(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn reading(wall_ms: i64, running_s: u64, boot_s: u64) -> Reading {
        let (running, boot) = (Duration::from_secs(running_s), Duration::from_secs(boot_s));
        Reading { wall_ms, running, boot }
    }

    #[test]
    fn row_14_a_wall_clock_that_was_set_is_told_from_time_that_passed() {
        let before = reading(1_000, 10, 10);
        assert_eq!(reading(2_000, 11, 11).since(&before), []);
        assert_eq!(reading(2_900, 11, 11).since(&before), [], "slewed");
        for by_ms in [HOUR, -HOUR, 1_001, -1_001] {
            let after = reading(2_000 + by_ms, 11, 11);
            assert_eq!(after.since(&before), [Seen::Stepped { by_ms }]);
        }
    }

    #[test]
    fn row_15_a_machine_that_slept_and_an_engine_that_was_stopped_are_gaps() {
        let before = reading(1_000, 10, 10);
        let minutes = Duration::from_secs(600);
        // Stopped: all clocks ran on. Asleep: one stood still.
        let stopped = reading(601_000, 610, 610);
        assert_eq!(stopped.since(&before), [Seen::Gap { lasted: minutes, asleep: Duration::ZERO }]);
        let slept = reading(601_000, 10, 610);
        assert_eq!(slept.since(&before), [Seen::Gap { lasted: minutes, asleep: minutes }]);
    }

    fn past(boot: &str, speed: f64) -> History {
        // Began at lab second 100, 50 s after the machine's start, and lived for 20 wall seconds.
        let second = |s: f64| Tick(((100.0 + s * speed) * 1e9) as u64);
        let mark = BootMark { id: boot.to_owned(), since_ms: 50_000 };
        History {
            last_tick: second(20.0),
            last_wall_ms: 1_000 * HOUR,
            boot: Some((second(0.0), mark)),
            ..History::default()
        }
    }

    #[test]
    fn row_14_between_two_engines_the_boot_clock_counts_and_not_the_wall_clock() {
        for speed in [1.0, 60.0] {
            let past = past("a", speed);
            let now = BootMark { id: "a".to_owned(), since_ms: 50_000 + 20_000 + 30_000 };
            for wall in [-5 * HOUR, 0, 5 * HOUR] {
                let passed = passed_at(&past, speed, past.last_wall_ms + wall, Some(&now));
                assert_eq!(passed.by, Gone::BootClock);
                assert!(passed.wall.abs_diff(Duration::from_secs(30)) < GONE_MIN, "{passed:?}");
                let lab = lab_time(&past, &passed, speed).since(past.last_tick);
                let expect = Duration::from_secs(30).mul_f64(speed);
                assert!(lab.abs_diff(expect) < Duration::from_millis(100), "{lab:?}");
            }
        }
    }

    #[test]
    fn row_14_a_machine_that_was_off_is_believed_as_far_as_it_can_be() {
        let past = past("a", 1.0);
        let now = BootMark { id: "b".to_owned(), since_ms: 40_000 };
        let at = |wall: i64| passed_at(&past, 1.0, past.last_wall_ms + wall, Some(&now));
        assert_eq!(at(HOUR), Passed { wall: Duration::from_secs(3600), by: Gone::WallClock });
        // Not less than what the machine has been up, whatever its wall clock says.
        let least = Duration::from_secs(40);
        for wall in [-HOUR, 0, 39_000, 400 * 24 * HOUR] {
            assert_eq!(at(wall), Passed { wall: least, by: Gone::SinceBoot });
        }
        // A journal from before the boot clock was kept.
        let old = History { boot: None, ..past };
        let back = passed_at(&old, 1.0, old.last_wall_ms - HOUR, Some(&now));
        assert_eq!(back, Passed { wall: GONE_MIN, by: Gone::Unknown });
    }

    #[test]
    fn a_start_that_is_later_than_now_still_lets_time_go_on() {
        let past = past("a", 1.0);
        let now = BootMark { id: "a".to_owned(), since_ms: 3 };
        let passed = passed_at(&past, 1.0, 0, Some(&now));
        assert_eq!(passed, Passed { wall: GONE_MIN, by: Gone::BootClock });
    }
}
