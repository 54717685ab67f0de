//! An exact Gaussian process: Matern 5/2 kernel with one length-scale a feature.
//!
//! Inputs are features of about unit range, outputs are standardised here. Hyperparameters are
//! the most probable ones; the length-scale prior grows with the dimension, so that the model
//! stays smooth where data are few.
//! Sources: Rasmussen and Williams 2006, eq. 5.8 and 5.9; Hvarfner, Hellsten and Nardi, Vanilla
//! Bayesian Optimization Performs Great in High Dimensions, ICML 2024 (length-scale prior).
#![expect(
    clippy::indexing_slicing,
    reason = "feature vectors all have the width of `comparisons`, others the number of data"
)]

use super::fit;
use super::linalg::{Factor, NotPositiveDefinite};
use super::space::Comparison;

/// Smallest variance of a measurement, in units of the variance of all outputs.
const NOISE_FLOOR: f64 = 1e-8;

/// Inputs, and what is compared.
#[derive(Debug, Clone)]
pub(super) struct Data {
    /// Features of each point.
    pub(super) x: Vec<Vec<f64>>,
    /// Standardised outputs.
    pub(super) y: Vec<f64>,
    /// Variance of each output where it is known, standardised.
    pub(super) known_noise: Vec<Option<f64>>,
    /// How features are compared.
    pub(super) comparisons: Vec<Comparison>,
    /// Number of parameters, for the prior.
    pub(super) dimensions: usize,
}

/// Hyperparameters, all but the mean as logarithms.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Hyper {
    /// ln length-scale of each feature.
    pub(super) scales: Vec<f64>,
    /// ln signal variance.
    pub(super) signal: f64,
    /// ln noise variance.
    pub(super) noise: f64,
    /// Mean.
    pub(super) mean: f64,
}

impl Hyper {
    pub(super) fn from_slice(theta: &[f64]) -> Hyper {
        let d = theta.len() - 3;
        let (signal, noise, mean) = (theta[d], theta[d + 1], theta[d + 2]);
        Hyper { scales: theta[..d].to_vec(), signal, noise, mean }
    }
}

/// Squared difference of one feature.
fn square(comparison: Comparison, a: f64, b: f64) -> f64 {
    match comparison {
        Comparison::Difference => (a - b) * (a - b),
        Comparison::Equality => f64::from(u8::from(a != b)),
    }
}

/// Squared scaled distance; `weights` are inverse squared length-scales.
fn distance(comparisons: &[Comparison], weights: &[f64], a: &[f64], b: &[f64]) -> f64 {
    (0..weights.len()).map(|k| weights[k] * square(comparisons[k], a[k], b[k])).sum()
}

/// Matern 5/2 correlation at a squared distance.
fn matern(r2: f64) -> f64 {
    let r = (5.0 * r2).sqrt();
    (1.0 + r + 5.0 * r2 / 3.0) * (-r).exp()
}

/// Minus the derivative of the correlation, by half the squared distance.
fn matern_slope(r2: f64) -> f64 {
    let r = (5.0 * r2).sqrt();
    5.0 / 3.0 * (1.0 + r) * (-r).exp()
}

impl Data {
    fn weights(&self, hyper: &Hyper) -> Vec<f64> {
        hyper.scales.iter().map(|s| (-2.0 * s).exp()).collect()
    }

    fn noise(&self, i: usize, hyper: &Hyper) -> f64 {
        NOISE_FLOOR + self.known_noise[i].unwrap_or_else(|| hyper.noise.exp())
    }

    fn factor(&self, hyper: &Hyper) -> Result<Factor, NotPositiveDefinite> {
        let weights = self.weights(hyper);
        let signal = hyper.signal.exp();
        Factor::new(self.x.len(), |i, j| {
            let r2 = distance(&self.comparisons, &weights, &self.x[i], &self.x[j]);
            let own = if i == j { self.noise(i, hyper) } else { 0.0 };
            signal * matern(r2) + own
        })
    }

    /// Negative log marginal likelihood, and its gradient by scales, signal, noise and mean.
    ///
    /// Cost: one factor and one inverse, n^3 multiply-adds.
    pub(super) fn loss(&self, hyper: &Hyper) -> Result<(f64, Vec<f64>), NotPositiveDefinite> {
        let n = self.x.len();
        let d = hyper.scales.len();
        let factor = self.factor(hyper)?;
        let rest: Vec<f64> = self.y.iter().map(|y| y - hyper.mean).collect();
        let alpha = factor.solve(&rest);
        let fitted: f64 = rest.iter().zip(&alpha).map(|(r, a)| r * a).sum();
        let loss =
            0.5 * (fitted + factor.log_determinant() + n as f64 * std::f64::consts::TAU.ln());
        let inverse = factor.inverse();
        let weights = self.weights(hyper);
        let signal = hyper.signal.exp();
        let mut gradient = vec![0.0; d + 3];
        for i in 0..n {
            for j in 0..i {
                // Both (i, j) and (j, i), hence no factor 1/2.
                let w = signal * (inverse[(i, j)] - alpha[i] * alpha[j]);
                let r2 = distance(&self.comparisons, &weights, &self.x[i], &self.x[j]);
                let slope = w * matern_slope(r2);
                for k in 0..d {
                    let part = square(self.comparisons[k], self.x[i][k], self.x[j][k]);
                    gradient[k] += slope * weights[k] * part;
                }
                gradient[d] += w * matern(r2);
            }
            let own = 0.5 * (inverse[(i, i)] - alpha[i] * alpha[i]);
            gradient[d] += own * signal;
            if self.known_noise[i].is_none() {
                gradient[d + 1] += own * hyper.noise.exp();
            }
            gradient[d + 2] -= alpha[i];
        }
        Ok((loss, gradient))
    }
}

/// A fitted process for one result.
#[derive(Debug, Clone)]
pub(super) struct Gp {
    data: Data,
    hyper: Hyper,
    weights: Vec<f64>,
    factor: Factor,
    alpha: Vec<f64>,
    shift: f64,
    scale: f64,
}

/// What a process says of the noiseless value at one place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Belief {
    /// Mean.
    pub(super) mean: f64,
    /// Standard deviation.
    pub(super) sd: f64,
}

impl Gp {
    /// Fits a process to outputs `y`, whose variances may be known.
    pub(super) fn fit(
        x: Vec<Vec<f64>>,
        y: &[f64],
        noise_sd: &[Option<f64>],
        comparisons: &[Comparison],
        dimensions: usize,
    ) -> Result<Gp, NotPositiveDefinite> {
        let n = y.len().max(1) as f64;
        // Divided first, so that sums of huge values do not overflow.
        let shift: f64 = y.iter().map(|y| y / n).sum();
        let largest = y.iter().map(|y| (y - shift).abs()).fold(0.0, f64::max);
        let spread = if largest > 0.0 {
            let squares: f64 = y.iter().map(|y| ((y - shift) / largest).powi(2)).sum();
            largest * (squares / n).sqrt()
        } else {
            0.0
        };
        // Constant outputs: their own size says what is a small difference.
        let usable = spread > 1e-12 * shift.abs() && spread.is_normal();
        let scale = if usable { spread } else { (1e-3 * shift.abs()).max(1e-9) };
        let y: Vec<f64> = y.iter().map(|y| (y - shift) / scale).collect();
        let known_noise = noise_sd.iter().map(|s| s.map(|s| (s / scale).powi(2))).collect();
        let comparisons = comparisons.to_vec();
        let data = Data { x, y, known_noise, comparisons, dimensions };
        let hyper = fit::most_probable(&data);
        Gp::with(data, hyper, shift, scale)
    }

    fn with(data: Data, hyper: Hyper, shift: f64, scale: f64) -> Result<Gp, NotPositiveDefinite> {
        let factor = data.factor(&hyper)?;
        let rest: Vec<f64> = data.y.iter().map(|y| y - hyper.mean).collect();
        let alpha = factor.solve(&rest);
        let weights = data.weights(&hyper);
        Ok(Gp { data, hyper, weights, factor, alpha, shift, scale })
    }

    /// The process after a measurement at `x` that came out as expected (kriging believer).
    pub(super) fn believe(&self, x: Vec<f64>) -> Result<Gp, NotPositiveDefinite> {
        let mut data = self.data.clone();
        data.y.push((self.belief(&x).mean - self.shift) / self.scale);
        data.x.push(x);
        data.known_noise.push(None);
        Gp::with(data, self.hyper.clone(), self.shift, self.scale)
    }

    /// Mean and standard deviation of the noiseless value.
    pub(super) fn belief(&self, x: &[f64]) -> Belief {
        let signal = self.hyper.signal.exp();
        let covariance: Vec<f64> = (self.data.x.iter())
            .map(|own| {
                let r2 = distance(&self.data.comparisons, &self.weights, own, x);
                signal * matern(r2)
            })
            .collect();
        let mean: f64 = covariance.iter().zip(&self.alpha).map(|(c, a)| c * a).sum();
        let half = self.factor.half_solve(&covariance);
        let variance = signal - half.iter().map(|v| v * v).sum::<f64>();
        Belief {
            mean: self.shift + self.scale * (self.hyper.mean + mean),
            sd: self.scale * variance.max(1e-14 * signal).sqrt(),
        }
    }

    /// Mean of the noiseless value: cheaper than [`Gp::belief`].
    pub(super) fn mean(&self, x: &[f64]) -> f64 {
        let signal = self.hyper.signal.exp();
        let sum: f64 = (self.data.x.iter().zip(&self.alpha))
            .map(|(own, a)| a * matern(distance(&self.data.comparisons, &self.weights, own, x)))
            .sum();
        self.shift + self.scale * (self.hyper.mean + signal * sum)
    }

    /// Standard deviation of the noise of a new measurement.
    pub(super) fn noise_sd(&self) -> f64 {
        let known: Vec<f64> = self.data.known_noise.iter().flatten().copied().collect();
        let all_known = known.len() == self.data.y.len() && !known.is_empty();
        let variance = if all_known {
            known.iter().sum::<f64>() / known.len() as f64
        } else {
            self.hyper.noise.exp()
        };
        self.scale * (NOISE_FLOOR + variance).sqrt()
    }

    /// What the process expects at each of its own points without their own output: mean and
    /// standard deviation of the measurement, and the output (leave-one-out; Rasmussen and
    /// Williams 2006, eq. 5.12).
    pub(super) fn left_out(&self) -> Vec<(Belief, f64)> {
        let inverse = self.factor.inverse();
        (0..self.data.y.len())
            .map(|i| {
                let variance = 1.0 / inverse[(i, i)];
                let y = self.data.y[i];
                let mean = y - self.alpha[i] * variance;
                let sd = self.scale * variance.max(0.0).sqrt();
                let raw = |v: f64| self.shift + self.scale * v;
                (Belief { mean: raw(mean), sd }, raw(y))
            })
            .collect()
    }
}

#[cfg(test)]
#[path = "gp_tests.rs"]
mod tests;
