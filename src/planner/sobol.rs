//! Space-filling sequences: Sobol points with Owen scrambling.
//!
//! Sources: direction numbers of Joe and Kuo (SIAM J. Sci. Comput. 30, 2635, 2008, table
//! new-joe-kuo-6); scrambling by hash after Burley (J. Comput. Graph. Tech. 9(4), 2020).

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Bits of each coordinate.
const BITS: usize = 32;

/// Degree and coefficients of the primitive polynomial, initial direction numbers; from the
/// second dimension on.
const JOE_KUO: [(usize, u32, &[u32]); 20] = [
    (1, 0, &[1]),
    (2, 1, &[1, 3]),
    (3, 1, &[1, 3, 1]),
    (3, 2, &[1, 1, 1]),
    (4, 1, &[1, 1, 3, 3]),
    (4, 4, &[1, 3, 5, 13]),
    (5, 2, &[1, 1, 5, 5, 17]),
    (5, 4, &[1, 1, 5, 5, 5]),
    (5, 7, &[1, 1, 7, 11, 19]),
    (5, 11, &[1, 1, 5, 1, 1]),
    (5, 13, &[1, 1, 1, 3, 11]),
    (5, 14, &[1, 3, 5, 5, 31]),
    (6, 1, &[1, 3, 3, 9, 7, 49]),
    (6, 13, &[1, 1, 1, 15, 21, 21]),
    (6, 16, &[1, 3, 1, 13, 27, 49]),
    (6, 19, &[1, 1, 1, 15, 7, 5]),
    (6, 22, &[1, 3, 1, 15, 13, 25]),
    (6, 25, &[1, 1, 5, 5, 19, 61]),
    (7, 1, &[1, 3, 7, 11, 23, 15, 103]),
    (7, 4, &[1, 3, 7, 13, 13, 15, 69]),
];

/// A scrambled Sobol sequence; dimensions after the 21st are plain random numbers.
#[derive(Debug, Clone)]
pub(super) struct Sobol {
    directions: Vec<[u32; BITS]>,
    scrambles: Vec<u32>,
    extra: usize,
    random: ChaCha8Rng,
    next: u32,
}

/// A generator for one purpose: streams of one seed do not overlap.
pub(super) fn random(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    rng
}

/// A number from 0 up to, but not including, 1.
pub(super) fn uniform(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// A standard normal number (Box and Muller).
pub(super) fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let radius = (-2.0 * (1.0 - uniform(rng)).ln()).sqrt();
    radius * (std::f64::consts::TAU * uniform(rng)).cos()
}

fn directions(degree: usize, coefficients: u32, initial: &[u32]) -> [u32; BITS] {
    let mut v: Vec<u32> = Vec::with_capacity(BITS);
    for i in 0..BITS {
        let word = match initial.get(i) {
            Some(m) => m << (BITS - 1 - i),
            None => {
                let back = |k: usize| i.checked_sub(k).and_then(|at| v.get(at)).copied();
                let oldest = back(degree).unwrap_or(0);
                (1..degree).fold(oldest ^ (oldest >> degree), |word, k| {
                    let taken = (coefficients >> (degree - 1 - k)) & 1;
                    word ^ (taken * back(k).unwrap_or(0))
                })
            }
        };
        v.push(word);
    }
    std::array::from_fn(|i| v.get(i).copied().unwrap_or(0))
}

/// Owen scrambling of a reversed word, as a hash (Laine and Karras; constants of Burley).
fn scramble(word: u32, seed: u32) -> u32 {
    let mut x = word.reverse_bits();
    x ^= x.wrapping_mul(0x3d20_adea);
    x = x.wrapping_add(seed);
    x = x.wrapping_mul((seed >> 16) | 1);
    x ^= x.wrapping_mul(0x0552_6c56);
    x ^= x.wrapping_mul(0x53a2_2864);
    x.reverse_bits()
}

impl Sobol {
    /// A sequence in `dimensions` dimensions.
    pub(super) fn new(dimensions: usize, seed: u64, stream: u64) -> Sobol {
        let mut random = random(seed, stream);
        let known = dimensions.min(JOE_KUO.len() + 1);
        let mut table = vec![std::array::from_fn(|i| 1_u32 << (BITS - 1 - i))];
        table.extend(JOE_KUO.iter().map(|(degree, a, m)| directions(*degree, *a, m)));
        table.truncate(known);
        let scrambles = (0..known).map(|_| random.next_u32()).collect();
        Sobol { directions: table, scrambles, extra: dimensions - known, random, next: 0 }
    }

    /// The next point, every coordinate in [0, 1).
    pub(super) fn next(&mut self) -> Vec<f64> {
        let index = self.next;
        self.next = self.next.wrapping_add(1);
        let pairs = self.directions.iter().zip(&self.scrambles);
        let mut point: Vec<f64> = pairs
            .map(|(directions, seed)| {
                let set = directions.iter().enumerate().filter(|(bit, _)| (index >> bit) & 1 == 1);
                let word = set.fold(0, |word, (_, direction)| word ^ direction);
                f64::from(scramble(word, *seed)) / (u64::from(u32::MAX) + 1) as f64
            })
            .collect();
        point.extend((0..self.extra).map(|_| uniform(&mut self.random)));
        point
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_coordinate_falls_once_into_each_dyadic_interval() {
        let mut sobol = Sobol::new(21, 7, 0);
        let points: Vec<_> = (0..256).map(|_| sobol.next()).collect();
        for k in 0..21 {
            let mut cells: Vec<_> = points.iter().map(|p| (p[k] * 256.0) as usize).collect();
            cells.sort_unstable();
            assert_eq!(cells, (0..256).collect::<Vec<_>>(), "dimension {k}");
        }
    }

    #[test]
    fn the_first_two_coordinates_form_a_net() {
        let mut sobol = Sobol::new(2, 3, 0);
        let points: Vec<_> = (0..64).map(|_| sobol.next()).collect();
        for (across, down) in [(2, 32), (4, 16), (8, 8), (16, 4), (32, 2)] {
            let mut cells: Vec<_> = points
                .iter()
                .map(|p| (p[0] * f64::from(across)) as u32 * down + (p[1] * f64::from(down)) as u32)
                .collect();
            cells.sort_unstable();
            assert_eq!(cells, (0..64).collect::<Vec<_>>(), "{across} by {down}");
        }
    }

    #[test]
    fn a_seed_gives_one_sequence_and_another_seed_another() {
        let take = |seed| {
            (0..5).map({
                let mut s = Sobol::new(30, seed, 1);
                move |_| s.next()
            })
        };
        assert!(take(1).eq(take(1)));
        assert!(!take(1).eq(take(2)));
    }

    #[test]
    fn an_integral_of_a_smooth_function_is_met_closely() {
        let mut sobol = Sobol::new(6, 11, 0);
        let count = 4096;
        let f = |x: Vec<f64>| x.iter().map(|x| 1.0 + (x - 0.5)).product::<f64>();
        // Plain random points would miss it by about 0.012.
        let mean = (0..count).map(|_| f(sobol.next())).sum::<f64>() / f64::from(count);
        assert!((mean - 1.0).abs() < 1e-3, "{mean}");
    }
}
