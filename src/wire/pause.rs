//! Waiting to some microseconds.
//!
//! The runtime's timers count whole milliseconds and round up. The silence that must stand between
//! two frames of a fast line is 1.75 ms, about as long as the frames, so that a rounded one would
//! cost a third of what the line can carry. Real wires only: this timer knows nothing of a clock
//! that stands still.

use tokio::time::Instant;

/// A timer of one line.
#[derive(Debug, Default)]
pub struct Pause {
    #[cfg(target_os = "linux")]
    timer: Option<linux::Timer>,
}

impl Pause {
    /// Waits until a moment; at once when it is past. Cancel safe.
    pub async fn until(&mut self, moment: Instant) {
        if moment <= Instant::now() {
            return;
        }
        #[cfg(target_os = "linux")]
        if linux::until(&mut self.timer, moment).await.is_ok() {
            return;
        }
        tokio::time::sleep_until(moment).await;
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::os::fd::OwnedFd;

    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;
    use tokio::time::Instant;

    pub(super) type Timer = AsyncFd<OwnedFd>;

    #[expect(
        deprecated,
        reason = "its successor is unsafe, which is forbidden here, and asks for what an OwnedFd is"
    )]
    fn registered(timer: OwnedFd) -> io::Result<Timer> {
        AsyncFd::with_interest(timer, Interest::READABLE)
    }

    pub(super) async fn until(timer: &mut Option<Timer>, moment: Instant) -> io::Result<()> {
        let timer = match timer {
            Some(timer) => timer,
            None => {
                let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
                timer.insert(registered(timerfd_create(TimerfdClockId::Monotonic, flags)?)?)
            }
        };
        loop {
            let left = moment.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            // Setting it also takes back what an earlier wait, given up, may have left in it.
            let it_value = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(left.subsec_nanos()),
            };
            let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value };
            timerfd_settime(timer.get_ref(), TimerfdTimerFlags::empty(), &once)?;
            let mut ready = timer.readable().await?;
            ready.clear_ready();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_short_pause_is_never_cut_short_and_not_rounded_up() {
        let mut pause = Pause::default();
        let mut over: Vec<Duration> = Vec::new();
        for _ in 0..50 {
            let moment = Instant::now() + Duration::from_micros(1_100);
            pause.until(moment).await;
            let now = Instant::now();
            assert!(now >= moment);
            over.push(now - moment);
        }
        over.sort();
        // The runtime's own timers would be late by 0.9 ms.
        #[cfg(target_os = "linux")]
        assert!(over[over.len() / 2] < Duration::from_micros(600), "{over:?}");
    }

    #[tokio::test]
    async fn a_pause_that_was_given_up_does_not_end_the_next_one_early() {
        let mut pause = Pause::default();
        let long = Instant::now() + Duration::from_millis(20);
        let cut = tokio::time::timeout(Duration::from_millis(2), pause.until(long)).await;
        assert!(cut.is_err());
        tokio::time::sleep(Duration::from_millis(30)).await;
        let moment = Instant::now() + Duration::from_millis(5);
        pause.until(moment).await;
        assert!(Instant::now() >= moment);
    }
}
