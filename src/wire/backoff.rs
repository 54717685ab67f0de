//! How long to wait before the next attempt to connect.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// First pause.
const FIRST: Duration = Duration::from_millis(100);
/// Longest pause: with one attempt that fails late, a cable that is plugged in again or a broker
/// that restarted is found within two seconds.
const LONGEST: Duration = Duration::from_secs(1);
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
    /// Starts at the shortest pause.
    pub fn new(seed: u64) -> Backoff {
        Backoff::up_to(LONGEST, seed)
    }

    /// Pauses that grow up to `longest`, or to the usual bound if that is more.
    pub fn up_to(longest: Duration, seed: u64) -> Backoff {
        let longest = longest.max(LONGEST);
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
        let pauses = |seed| {
            let mut backoff = Backoff::new(seed);
            (0..20).map(|_| backoff.pause()).collect::<Vec<_>>()
        };
        let some = pauses(7);
        assert_eq!(some, pauses(7));
        assert_ne!(some, pauses(8));
        assert!(some[0] <= FIRST && some[19] >= LONGEST / 2);
        assert!(some.iter().all(|pause| *pause <= LONGEST));
    }

    #[test]
    fn who_is_refused_asks_more_and_more_seldom() {
        let mut backoff = Backoff::new(1);
        let pauses: Vec<_> = (0..20).map(|_| backoff.pause_refused()).collect();
        assert!(pauses[0] <= FIRST && pauses[19] >= LONGEST_REFUSED / 2);
        assert!(pauses.iter().all(|pause| *pause <= LONGEST_REFUSED));
        assert!(backoff.pause() <= LONGEST);
    }
}
