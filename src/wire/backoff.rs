//! How long to wait before the next attempt to connect.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// First pause.
const FIRST: Duration = Duration::from_millis(100);
/// Longest pause before a line is tried again: a cable that is plugged in again is found within
/// this, and what stands behind it is ready within 2 s.
const LONGEST_OF_LINE: Duration = Duration::from_secs(1);
/// Longest pause before a broker is tried again: a thousand instruments behind one that is down are
/// 1,400 attempts a second, and each is back within 2 s.
const LONGEST_OF_BROKER: Duration = Duration::from_secs(1);
/// Longest pause after a refusal: only a person changes a password or a certificate, and a broker
/// may lock out who asks too often.
const LONGEST_REFUSED: Duration = Duration::from_secs(30);

/// Doubling pauses with jitter, so that many clients of one broker that restarts do not all come
/// back at once. Deterministic for a seed.
#[derive(Debug, Clone)]
pub struct Backoff {
    next: Duration,
    longest: Duration,
    random: ChaCha8Rng,
}

impl Backoff {
    /// For a line and for what stands on it; starts at the shortest pause.
    pub fn of_line(seed: u64) -> Backoff {
        Backoff::new(seed, LONGEST_OF_LINE)
    }

    /// For a broker; starts at the shortest pause.
    pub fn of_broker(seed: u64) -> Backoff {
        Backoff::new(seed, LONGEST_OF_BROKER)
    }

    /// For a device on a line: pauses that grow up to `longest`, or to those of the line if they are
    /// longer.
    pub fn up_to(longest: Duration, seed: u64) -> Backoff {
        Backoff::new(seed, longest.max(LONGEST_OF_LINE))
    }

    fn new(seed: u64, longest: Duration) -> Backoff {
        Backoff { next: FIRST, longest, random: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// The next pause: between half and all of a span that doubles up to a bound.
    pub fn pause(&mut self) -> Duration {
        self.pause_below(self.longest)
    }

    /// The next pause after somebody said no: up to half a minute.
    pub fn pause_refused(&mut self) -> Duration {
        self.pause_below(self.longest.max(LONGEST_REFUSED))
    }

    fn pause_below(&mut self, longest: Duration) -> Duration {
        let fraction = f64::from(self.random.next_u32()) / f64::from(u32::MAX);
        let span = self.next.min(longest);
        self.next = (span * 2).min(longest);
        span.mul_f64(0.5 + 0.5 * fraction)
    }

    /// After a success the next pause is the shortest again.
    pub fn reset(&mut self) {
        self.next = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_repeat_for_a_seed() {
        let pauses = |mut backoff: Backoff| (0..20).map(|_| backoff.pause()).collect::<Vec<_>>();
        let some = pauses(Backoff::of_line(7));
        assert_eq!(some, pauses(Backoff::of_line(7)));
        assert_ne!(some, pauses(Backoff::of_line(8)));
        assert!(some[0] <= FIRST && some[19] >= LONGEST_OF_LINE / 2);
        assert!(some.iter().all(|pause| *pause <= LONGEST_OF_LINE));
        let some = pauses(Backoff::of_broker(7));
        assert!(some[19] >= LONGEST_OF_BROKER / 2 && some[19] <= LONGEST_OF_BROKER);
    }

    #[test]
    fn who_is_refused_asks_more_and_more_seldom() {
        let mut backoff = Backoff::of_broker(1);
        let pauses: Vec<_> = (0..20).map(|_| backoff.pause_refused()).collect();
        assert!(pauses[0] <= FIRST && pauses[19] >= LONGEST_REFUSED / 2);
        assert!(pauses.iter().all(|pause| *pause <= LONGEST_REFUSED));
        assert!(backoff.pause() <= LONGEST_OF_BROKER);
    }
}
