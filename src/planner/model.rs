//! What the data say: a process for each result, one for failures, and the value of a new point.

use std::collections::BTreeMap;

use super::gauss;
use super::gp::{Belief, Gp};
use super::linalg::NotPositiveDefinite;
use super::problem::{Limit, Objective, Prediction, Problem};
use super::sobol;
use super::space::{Comparison, Space};

/// Share of the plain sum in the augmented Chebyshev scalarisation (Knowles, ParEGO, 2006).
const PLAIN_SHARE: f64 = 0.05;
/// Distance over which a failure speaks for its neighbours, a share of the unit cube's diagonal.
const FAILURE_REACH: f64 = 0.1;
/// Weight of the overall failure rate, in experiments.
const FAILURE_PRIOR: f64 = 0.1;
/// Power of the probability not to fail in the score: expected improvements differ by many orders
/// of magnitude, and a plain product would try a promising dead region again and again.
const FAILURE_POWER: f64 = 4.0;
/// Random streams of the weights start here; below are those of the searches.
const WEIGHT_STREAM: u64 = 1 << 40;

/// An experiment as numbers.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// Parameters.
    pub(super) setting: Vec<f64>,
    /// By result; `None`: failed.
    pub(super) values: Option<BTreeMap<String, f64>>,
    /// By result, where known.
    pub(super) noise_sd: BTreeMap<String, f64>,
}

/// Probability that an experiment does not fail, smoothed over the experiments done.
#[derive(Debug, Clone)]
struct Failures {
    done: Vec<(Vec<f64>, f64)>,
    comparisons: Vec<Comparison>,
    rate: f64,
}

impl Failures {
    fn new(space: &Space, rows: &[Row]) -> Option<Failures> {
        let ok = rows.iter().filter(|r| r.values.is_some()).count();
        if ok == rows.len() {
            return None;
        }
        let done = rows
            .iter()
            .map(|r| (space.features(&r.setting), f64::from(u8::from(r.values.is_some()))));
        Some(Failures {
            done: done.collect(),
            comparisons: space.comparisons().to_vec(),
            rate: (ok as f64 + 1.0) / (rows.len() as f64 + 1.0),
        })
    }

    fn probability_ok(&self, features: &[f64]) -> f64 {
        let reach = FAILURE_REACH * FAILURE_REACH * self.comparisons.len() as f64;
        let (mut sum, mut weight) = (FAILURE_PRIOR * self.rate, FAILURE_PRIOR);
        for (own, ok) in &self.done {
            let pairs = self.comparisons.iter().zip(own.iter().zip(features));
            let squares: f64 = pairs
                .map(|(comparison, (a, b))| match comparison {
                    Comparison::Difference => (a - b) * (a - b),
                    Comparison::Equality => 0.25 * f64::from(u8::from(a != b)),
                })
                .sum();
            let near = (-0.5 * squares / reach).exp();
            sum += near * ok;
            weight += near;
        }
        sum / weight
    }
}

/// Models of all results, fitted to all rows.
#[derive(Debug, Clone)]
pub(super) struct Models {
    objectives: Vec<Objective>,
    limits: Vec<Limit>,
    results: BTreeMap<String, Gp>,
    failures: Option<Failures>,
}

/// The one number a search makes large.
#[derive(Debug, Clone)]
pub(super) struct Target {
    gp: Gp,
    sign: f64,
    /// Best expected value among the experiments done, if one is probably within limits.
    pub(super) incumbent: Option<f64>,
}

/// The value of a point for a search.
#[derive(Debug, Clone, Copy)]
pub(super) struct Worth {
    /// Logarithm of expected improvement times probability of being feasible.
    pub(super) score: f64,
    /// Of the target, larger is better.
    pub(super) belief: Belief,
    /// Probability that a measurement improves on the incumbent.
    pub(super) improvement: Option<f64>,
}

fn measured(rows: &[Row]) -> impl Iterator<Item = (&Row, &BTreeMap<String, f64>)> {
    rows.iter().filter_map(|r| r.values.as_ref().map(|v| (r, v)))
}

/// Names of the results that have to be told.
pub(super) fn result_names(problem: &Problem) -> Vec<String> {
    let objectives = problem.objectives.iter().map(|o| &o.name);
    let mut names: Vec<String> =
        objectives.chain(problem.limits.iter().map(|l| &l.result)).cloned().collect();
    names.sort();
    names.dedup();
    names
}

impl Models {
    /// Fits a process to each result.
    pub(super) fn fit(
        problem: &Problem,
        space: &Space,
        rows: &[Row],
    ) -> Result<Models, NotPositiveDefinite> {
        let features: Vec<_> = measured(rows).map(|(r, _)| space.features(&r.setting)).collect();
        let mut results = BTreeMap::new();
        for name in result_names(problem) {
            let of = |values: &BTreeMap<String, f64>| values.get(&name).copied().unwrap_or(0.0);
            let y: Vec<f64> = measured(rows).map(|(_, v)| of(v)).collect();
            let noise: Vec<_> =
                measured(rows).map(|(r, _)| r.noise_sd.get(&name).copied()).collect();
            let comparisons = space.comparisons();
            let gp = Gp::fit(features.clone(), &y, &noise, comparisons, space.len())?;
            results.insert(name, gp);
        }
        Ok(Models {
            objectives: problem.objectives.clone(),
            limits: problem.limits.clone(),
            results,
            failures: Failures::new(space, rows),
        })
    }

    /// The models after experiments at `features` that came out as expected.
    pub(super) fn believe(&self, features: &[f64]) -> Result<Models, NotPositiveDefinite> {
        let mut models = self.clone();
        for gp in models.results.values_mut() {
            *gp = gp.believe(features.to_vec())?;
        }
        Ok(models)
    }

    /// The process of one result.
    pub(super) fn result(&self, name: &str) -> Option<&Gp> {
        self.results.get(name)
    }

    /// Every result of a new measurement.
    pub(super) fn predict(&self, features: &[f64]) -> BTreeMap<String, Prediction> {
        let predictions = self.results.iter().map(|(name, gp)| {
            let belief = gp.belief(features);
            let sd = belief.sd.hypot(gp.noise_sd());
            (name.clone(), Prediction { mean: belief.mean, sd })
        });
        predictions.collect()
    }

    /// Logarithm of the probability that no experiment fails and all limits are kept.
    pub(super) fn log_feasible(&self, features: &[f64]) -> f64 {
        self.log_ok(features) + self.log_within_limits(features)
    }

    fn log_ok(&self, features: &[f64]) -> f64 {
        self.failures.as_ref().map_or(0.0, |f| f.probability_ok(features).ln())
    }

    fn log_within_limits(&self, features: &[f64]) -> f64 {
        let mut log = 0.0;
        for limit in &self.limits {
            let Some(gp) = self.results.get(&limit.result) else { continue };
            let belief = gp.belief(features);
            if let Some(max) = limit.max {
                log += gauss::log_probability((max - belief.mean) / belief.sd);
            }
            if let Some(min) = limit.min {
                log += gauss::log_probability((belief.mean - min) / belief.sd);
            }
        }
        log
    }

    /// Whether something can make a point infeasible.
    pub(super) fn can_be_infeasible(&self) -> bool {
        self.failures.is_some() || !self.limits.is_empty()
    }

    /// The target with all objectives weighed alike, nothing pending.
    pub(super) fn equal_target(
        &self,
        space: &Space,
        rows: &[Row],
    ) -> Result<Option<Target>, NotPositiveDefinite> {
        let count = self.objectives.len();
        self.target(space, rows, &[], &vec![1.0 / count.max(1) as f64; count])
    }

    /// What to make large. Several objectives are weighed against each other by [`weights`] drawn
    /// for each suggestion, so that a series of suggestions covers the trade-off.
    pub(super) fn target(
        &self,
        space: &Space,
        rows: &[Row],
        pending: &[Vec<f64>],
        weights: &[f64],
    ) -> Result<Option<Target>, NotPositiveDefinite> {
        let (gp, sign) = match self.objectives.as_slice() {
            [] => return Ok(None),
            [only] => match self.results.get(&only.name) {
                Some(gp) => (gp.clone(), if only.maximize { 1.0 } else { -1.0 }),
                None => return Ok(None),
            },
            several => {
                let y = scalarise(several, rows, weights);
                let x = measured(rows).map(|(r, _)| space.features(&r.setting)).collect();
                let noise = vec![None; y.len()];
                let mut gp = Gp::fit(x, &y, &noise, space.comparisons(), space.len())?;
                for features in pending {
                    gp = gp.believe(features.clone())?;
                }
                (gp, 1.0)
            }
        };
        let mut incumbent: Option<f64> = None;
        let done = measured(rows).map(|(row, _)| space.features(&row.setting));
        // Pending ones too: a batch that did not count its own members would repeat the first.
        for features in done.chain(pending.iter().cloned()) {
            if self.log_feasible(&features) > 0.5_f64.ln() {
                let mean = sign * gp.mean(&features);
                incumbent = Some(incumbent.map_or(mean, |best: f64| best.max(mean)));
            }
        }
        Ok(Some(Target { gp, sign, incumbent }))
    }
}

impl Target {
    /// Expected value, larger is better.
    pub(super) fn mean(&self, features: &[f64]) -> f64 {
        self.sign * self.gp.mean(features)
    }

    /// Log expected improvement times probability of being feasible.
    pub(super) fn worth(&self, models: &Models, features: &[f64]) -> Worth {
        let raw = self.gp.belief(features);
        let belief = Belief { mean: self.sign * raw.mean, sd: raw.sd };
        let feasible = FAILURE_POWER * models.log_ok(features) + models.log_within_limits(features);
        let Some(incumbent) = self.incumbent else {
            // Nothing probably feasible is known: look for that first.
            return Worth { score: feasible, belief, improvement: None };
        };
        let z = (belief.mean - incumbent) / belief.sd;
        let measured_sd = belief.sd.hypot(self.gp.noise_sd());
        Worth {
            score: gauss::log_improvement(z) + belief.sd.ln() + feasible,
            belief,
            improvement: Some(gauss::probability((belief.mean - incumbent) / measured_sd)),
        }
    }
}

/// Weights that sum to one, uniform over the simplex.
pub(super) fn weights(count: usize, seed: u64, id: u64) -> Vec<f64> {
    let mut rng = sobol::random(seed, WEIGHT_STREAM + id);
    let raw: Vec<f64> = (0..count).map(|_| -(1.0 - sobol::uniform(&mut rng)).ln()).collect();
    let sum: f64 = raw.iter().sum();
    raw.iter().map(|w| if sum > 0.0 { w / sum } else { 1.0 / count as f64 }).collect()
}

/// Augmented Chebyshev scalarisation of the measured rows, larger is better.
pub(super) fn scalarise(objectives: &[Objective], rows: &[Row], weights: &[f64]) -> Vec<f64> {
    let columns: Vec<Vec<f64>> = objectives
        .iter()
        .map(|objective| {
            let sign = if objective.maximize { 1.0 } else { -1.0 };
            let of = |v: &BTreeMap<String, f64>| v.get(&objective.name).copied().unwrap_or(0.0);
            let column: Vec<f64> = measured(rows).map(|(_, v)| sign * of(v)).collect();
            let top = column.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let bottom = column.iter().copied().fold(f64::INFINITY, f64::min);
            let low = objective.reference.map_or(bottom, |r| (sign * r).min(top));
            let span = if top > low { top - low } else { 1.0 };
            column.iter().map(|y| ((y - low) / span).max(-1.0)).collect()
        })
        .collect();
    (0..measured(rows).count())
        .map(|i| {
            let parts = columns.iter().zip(weights);
            let weighed = parts.map(|(column, w)| {
                // A weight of zero would drop an objective.
                (w.max(1e-3)) * column.get(i).copied().unwrap_or(0.0)
            });
            let (least, sum) =
                weighed.fold((f64::INFINITY, 0.0), |(least, sum), v| (f64::min(least, v), sum + v));
            least + PLAIN_SHARE * sum
        })
        .collect()
}
