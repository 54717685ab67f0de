//! How long to wait before the next attempt to connect.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// First pause.
const FIRST: Duration = Duration::from_millis(100);
/// Longest pause: a cable that is plugged in again is found within this.
const LONGEST: Duration = Duration::from_secs(10);

/// Doubling pauses with jitter, so that many clients of one broker that restarts do not all come
/// back at once. Deterministic for a seed.
#[derive(Debug, Clone)]
pub struct Backoff {
    next: Duration,
    random: ChaCha8Rng,
}

impl Backoff {
    /// Starts at the shortest pause.
    pub fn new(seed: u64) -> Backoff {
        Backoff { next: FIRST, random: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// The next pause: between half and all of a span that doubles up to ten seconds.
    pub fn pause(&mut self) -> Duration {
        let fraction = f64::from(self.random.next_u32()) / f64::from(u32::MAX);
        let pause = self.next.mul_f64(0.5 + 0.5 * fraction);
        self.next = (self.next * 2).min(LONGEST);
        pause
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
}
