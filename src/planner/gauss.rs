//! The standard normal distribution and the logarithm of expected improvement.

use std::f64::consts::{PI, SQRT_2};

/// ln sqrt(2 pi)
const LN_SQRT_TAU: f64 = 0.918_938_533_204_672_8;
/// From here on the continued fraction converges fast, and `1 - erf` has lost three digits.
const FRACTION_FROM: f64 = 2.4;

/// erfc(x) exp(x^2) for `x >= FRACTION_FROM`, by its continued fraction.
fn scaled_erfc(x: f64) -> f64 {
    let tail = (1..=80).rev().fold(x, |tail, k| x + 0.5 * f64::from(k) / tail);
    1.0 / (PI.sqrt() * tail)
}

/// The complementary error function.
fn erfc(x: f64) -> f64 {
    if x < 0.0 {
        return 2.0 - erfc(-x);
    }
    if x >= FRACTION_FROM {
        return scaled_erfc(x) * (-x * x).exp();
    }
    let (mut term, mut sum) = (x, x);
    for k in 1..80 {
        term *= 2.0 * x * x / f64::from(2 * k + 1);
        sum += term;
    }
    1.0 - 2.0 / PI.sqrt() * (-x * x).exp() * sum
}

/// Density of the standard normal distribution.
pub(super) fn density(z: f64) -> f64 {
    (-0.5 * z * z - LN_SQRT_TAU).exp()
}

/// Probability of a standard normal number not above `z`.
pub(super) fn probability(z: f64) -> f64 {
    0.5 * erfc(-z / SQRT_2)
}

/// Logarithm of [`probability`], exact far into the tail.
pub(super) fn log_probability(z: f64) -> f64 {
    let x = -z / SQRT_2;
    if x >= FRACTION_FROM { (0.5 * scaled_erfc(x)).ln() - x * x } else { probability(z).ln() }
}

/// Logarithm of E[max(0, z + N)] for standard normal N, exact far into the tail.
///
/// Source: Ament et al., Unexpected Improvements to Expected Improvement, NeurIPS 2023, eq. 9.
pub(super) fn log_improvement(z: f64) -> f64 {
    if z > -3.4 {
        return (density(z) + z * probability(z)).ln();
    }
    let tail = if z < -50.0 {
        let inverse = 1.0 / (z * z);
        inverse * (1.0 - 3.0 * inverse * (1.0 - 5.0 * inverse))
    } else {
        1.0 + z * (PI / 2.0).sqrt() * scaled_erfc(-z / SQRT_2)
    };
    -0.5 * z * z - LN_SQRT_TAU + tail.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_quadrature(z: f64) -> f64 {
        // Simpson on t in [0, 12] of t * density(t - z), scaled by density(z) in the tail.
        let (count, width) = (40_000, 40.0 / 40_000.0);
        let f = |t: f64| t * (t * z - 0.5 * t * t).exp();
        let sum: f64 = (0..=count)
            .map(|i| {
                let weight = if i == 0 || i == count { 1.0 } else { 2.0 + 2.0 * f64::from(i % 2) };
                weight * f(f64::from(i) * width)
            })
            .sum();
        (sum * width / 3.0).ln() - 0.5 * z * z - LN_SQRT_TAU
    }

    #[test]
    fn log_improvement_agrees_with_quadrature_over_the_whole_line() {
        for z in [6.0, 2.0, 0.5, 0.0, -0.5, -1.0, -3.3, -3.5, -8.0, -20.0, -49.0, -51.0] {
            let (got, want) = (log_improvement(z), by_quadrature(z));
            assert!((got - want).abs() < 1e-7 * want.abs().max(1.0), "{z}: {got} {want}");
        }
        assert!((log_improvement(-1e8) + 5e15).abs() < 1e3);
        let steps = [-50.001, -49.999, -3.401, -3.399].map(log_improvement);
        assert!(steps.windows(2).all(|w| w[0] < w[1]));
    }

    #[test]
    fn probabilities_agree_with_tables() {
        let table = [
            (0.0, 0.5),
            (1.0, 0.841_344_746_068_542_9),
            (-1.959_963_984_540_054, 0.025),
            (-6.0, 9.865_876_450_376_946e-10),
        ];
        for (z, p) in table {
            assert!((probability(z) / p - 1.0).abs() < 1e-11, "{z}");
            assert!((log_probability(z) - f64::ln(p)).abs() < 1e-10, "{z}");
        }
        assert!((log_probability(-40.0) + 804.608_442_013_754).abs() < 1e-8);
    }
}
