//! The most probable hyperparameters of a Gaussian process: L-BFGS on likelihood and priors.
#![expect(clippy::indexing_slicing, reason = "all vectors have the length of the hyperparameters")]

use std::cell::RefCell;

use argmin::core::{CostFunction, Error, Executor, Gradient};
use argmin::solver::linesearch::MoreThuenteLineSearch;
use argmin::solver::quasinewton::LBFGS;

use super::gp::{Data, Hyper};

/// Mean and standard deviation of ln length-scale before the share of the dimension.
const SCALE_PRIOR: (f64, f64) = (std::f64::consts::SQRT_2, 1.732_050_807_568_877_2);
/// Mean and standard deviation of ln signal variance.
const SIGNAL_PRIOR: (f64, f64) = (0.0, 2.0);
/// Mean and standard deviation of ln noise variance: about 5 % of the spread, give or take 2.7.
const NOISE_PRIOR: (f64, f64) = (-6.0, 2.0);
/// Standard deviation of the mean.
const MEAN_PRIOR: f64 = 1.0;
/// Ranges of ln length-scale, ln signal and ln noise variance, and the mean.
const RANGES: [(f64, f64); 4] = [(-4.6, 9.2), (-6.9, 6.9), (-16.1, 1.0), (-10.0, 10.0)];
/// Cost of leaving a range, by squared distance.
const FENCE: f64 = 10.0;
/// Iterations of one start.
const ITERATIONS: u64 = 80;
/// Above this many points one start has to do: each costs seconds.
const MANY_POINTS: usize = 300;
/// Cost where there is none.
const NOWHERE: f64 = 1e12;

/// Negative log posterior, with the last and the best evaluation kept.
struct Posterior<'a> {
    data: &'a Data,
    last: RefCell<Option<Evaluation>>,
    best: RefCell<Option<Evaluation>>,
}

#[derive(Clone)]
struct Evaluation {
    theta: Vec<f64>,
    cost: f64,
    gradient: Vec<f64>,
}

fn range(theta: &[f64], k: usize) -> (f64, f64) {
    RANGES[(k + 4).saturating_sub(theta.len()).min(3)]
}

/// Adds the negative log density of the priors; returns cost, adds to the gradient.
fn priors(theta: &[f64], dimensions: usize, gradient: &mut [f64]) -> f64 {
    let d = theta.len() - 3;
    let middle = SCALE_PRIOR.0 + 0.5 * (dimensions.max(1) as f64).ln();
    let mut cost = 0.0;
    let mut add = |k: usize, mean: f64, sd: f64, density_of_exponential: f64| {
        let z = (theta[k] - mean) / sd;
        // A log-normal density by the variable itself has one more factor, 1 / exp(theta).
        cost += 0.5 * z * z + density_of_exponential * theta[k];
        gradient[k] += z / sd + density_of_exponential;
    };
    for k in 0..d {
        add(k, middle, SCALE_PRIOR.1, 1.0);
    }
    add(d, SIGNAL_PRIOR.0, SIGNAL_PRIOR.1, 0.0);
    add(d + 1, NOISE_PRIOR.0, NOISE_PRIOR.1, 0.0);
    add(d + 2, 0.0, MEAN_PRIOR, 0.0);
    cost
}

impl Posterior<'_> {
    fn evaluate(&self, theta: &[f64]) -> Evaluation {
        if let Some(last) = self.last.borrow().as_ref().filter(|e| e.theta == theta) {
            return last.clone();
        }
        let evaluation = cost_and_gradient(self.data, theta);
        let mut best = self.best.borrow_mut();
        if best.as_ref().is_none_or(|b| evaluation.cost < b.cost) {
            *best = Some(evaluation.clone());
        }
        *self.last.borrow_mut() = Some(evaluation.clone());
        evaluation
    }
}

fn cost_and_gradient(data: &Data, theta: &[f64]) -> Evaluation {
    let nowhere =
        || Evaluation { theta: theta.to_vec(), cost: NOWHERE, gradient: vec![0.0; theta.len()] };
    if theta.iter().any(|t| !t.is_finite()) {
        return nowhere();
    }
    let inside: Vec<f64> =
        (0..theta.len()).map(|k| theta[k].clamp(range(theta, k).0, range(theta, k).1)).collect();
    let Ok((likelihood, mut gradient)) = data.loss(&Hyper::from_slice(&inside)) else {
        return nowhere();
    };
    let mut cost = likelihood + priors(&inside, data.dimensions, &mut gradient);
    for k in 0..theta.len() {
        let out = theta[k] - inside[k];
        if out != 0.0 {
            cost += FENCE * out * out;
            gradient[k] = 2.0 * FENCE * out;
        }
    }
    if cost.is_finite() { Evaluation { theta: theta.to_vec(), cost, gradient } } else { nowhere() }
}

impl CostFunction for &Posterior<'_> {
    type Param = Vec<f64>;
    type Output = f64;

    fn cost(&self, theta: &Vec<f64>) -> Result<f64, Error> {
        Ok(self.evaluate(theta).cost)
    }
}

impl Gradient for &Posterior<'_> {
    type Param = Vec<f64>;
    type Gradient = Vec<f64>;

    fn gradient(&self, theta: &Vec<f64>) -> Result<Vec<f64>, Error> {
        Ok(self.evaluate(theta).gradient)
    }
}

/// Maximises likelihood times priors from a few fixed starts.
///
/// The starts do not depend on earlier fits, so that a model follows from its data alone.
pub(super) fn most_probable(data: &Data) -> Hyper {
    let root = 0.5 * (data.dimensions.max(1) as f64).ln();
    // ln length-scale over the root of the dimension, and ln noise variance.
    let starts = [(-0.7, -6.0), (0.5, -9.0), (-1.6, -3.0)];
    let count = if data.y.len() > MANY_POINTS { 1 } else { starts.len() };
    let posterior = Posterior { data, last: RefCell::new(None), best: RefCell::new(None) };
    let width = data.comparisons.len();
    for (scale, noise) in starts.into_iter().take(count) {
        let mut theta = vec![scale + root; width];
        theta.extend([0.0, noise, 0.0]);
        let search = LBFGS::new(MoreThuenteLineSearch::new(), 7)
            .with_tolerance_grad(1e-5)
            .and_then(|s| s.with_tolerance_cost(1e-9));
        if let Ok(search) = search {
            // An error ends one start (a line search that finds no descent); the best stays.
            let ended = Executor::new(&posterior, search)
                .configure(|state| state.param(theta).max_iters(ITERATIONS))
                .timer(false)
                .run();
            drop(ended);
        }
    }
    let best = posterior.best.into_inner().map(|e| e.theta).unwrap_or_else(|| {
        let mut theta = vec![root; width];
        theta.extend([0.0, NOISE_PRIOR.0, 0.0]);
        theta
    });
    let inside: Vec<f64> =
        (0..best.len()).map(|k| best[k].clamp(range(&best, k).0, range(&best, k).1)).collect();
    Hyper::from_slice(&inside)
}

#[cfg(test)]
mod tests {
    use super::super::space::Comparison;
    use super::*;

    #[test]
    fn the_gradient_agrees_with_finite_differences() {
        let x: Vec<Vec<f64>> = (0..9)
            .map(|i| {
                vec![(f64::from(i) * 0.37).fract(), (f64::from(i) * 0.61).fract(), f64::from(i % 3)]
            })
            .collect();
        let data = Data {
            y: x.iter().map(|x| (4.0 * x[0]).sin() + x[1] - 0.3 * x[2]).collect(),
            known_noise: (0..9).map(|i| (i % 4 == 0).then_some(0.01)).collect(),
            comparisons: vec![Comparison::Difference, Comparison::Difference, Comparison::Equality],
            dimensions: 3,
            x,
        };
        for theta in [
            vec![-0.5, 0.3, 0.1, 0.2, -4.0, 0.3],
            vec![0.5, -1.3, 1.1, -0.4, -7.0, -0.2],
            // Outside of the ranges of scale and noise.
            vec![9.8, -1.0, 0.4, 0.1, 1.7, 0.1],
        ] {
            let gradient = cost_and_gradient(&data, &theta).gradient;
            for k in 0..theta.len() {
                let at = |step: f64| {
                    let mut moved = theta.clone();
                    moved[k] += step;
                    cost_and_gradient(&data, &moved).cost
                };
                let slope = (at(1e-5) - at(-1e-5)) / 2e-5;
                assert!((slope - gradient[k]).abs() < 1e-5 * slope.abs().max(1.0), "{theta:?} {k}");
            }
        }
    }
}
