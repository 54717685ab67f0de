//! What was learned: predictions, the best point so far and expected, what matters, and how well
//! the model's uncertainty holds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::model::{self, Row};
use super::problem::{PlannerError, Point, Prediction};
use super::sobol::Sobol;
use super::state::Planner;

/// Base points of the sensitivity estimate.
const BASE_POINTS: usize = 256;
/// Random stream of the sensitivity estimate; searches count from 1.
const SENSITIVITY_STREAM: u64 = 1 << 41;
/// Random stream of the search for the recommended point.
const RECOMMEND_STREAM: u64 = 1 << 39;
/// Half width of the central 80 % of a normal distribution.
const CENTRAL_80: f64 = 1.281_551_565_544_600_4;

/// The best experiment so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// What was set.
    pub parameters: Point,
    /// What came out.
    pub values: BTreeMap<String, f64>,
}

/// Where the model expects the best result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recommendation {
    /// What to set.
    pub parameters: Point,
    /// By objective or limited result, of a new measurement.
    pub predictions: BTreeMap<String, Prediction>,
    /// Probability that the experiment does not fail and keeps all limits; `None` where nothing
    /// is limited and nothing failed.
    pub probability_feasible: Option<f64>,
}

/// How well predictions hold, each experiment predicted from all others.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Experiments predicted.
    pub points: usize,
    /// Share within the central 80 % of their prediction; 0.8 is right, less is overconfident.
    pub within_80: f64,
    /// Root mean square error in units of the predicted standard deviation; 1 is right.
    pub standardised_error: f64,
    /// Root mean square error, in the unit of the result.
    pub error: f64,
}

impl Planner {
    /// What a new measurement at a point is expected to give, by result.
    ///
    /// Errors: the point is not of the space; fewer than two experiments have results.
    pub fn predict(&self, point: &Point) -> Result<BTreeMap<String, Prediction>, PlannerError> {
        let setting = self.space.setting(point)?;
        Ok(self.fitted()?.predict(&self.space.features(&setting)))
    }

    /// Whether measured values keep all limits.
    fn keeps_limits(&self, row: &Row) -> bool {
        row.values.as_ref().is_some_and(|values| {
            self.problem.limits.iter().all(|limit| {
                values.get(&limit.result).is_some_and(|value| {
                    limit.min.is_none_or(|min| *value >= min)
                        && limit.max.is_none_or(|max| *value <= max)
                })
            })
        })
    }

    /// The best experiment within all limits; with several objectives, weighed alike.
    pub fn best(&self) -> Option<Best> {
        let count = self.problem.objectives.len();
        let rows: Vec<Row> = self.rows.iter().filter(|r| self.keeps_limits(r)).cloned().collect();
        let weights = vec![1.0 / count.max(1) as f64; count];
        let scores = match self.problem.objectives.as_slice() {
            [only] => {
                let sign = if only.maximize { 1.0 } else { -1.0 };
                let values = rows.iter().filter_map(|r| r.values.as_ref()?.get(&only.name));
                values.map(|v| sign * v).collect()
            }
            several => model::scalarise(several, &rows, &weights),
        };
        let mut best: Option<(f64, &Row)> = None;
        for (score, row) in scores.into_iter().zip(&rows) {
            if best.is_none_or(|(top, _)| score > top) {
                best = Some((score, row));
            }
        }
        let (_, row) = best?;
        let parameters = self.space.point(&row.setting);
        Some(Best { parameters, values: row.values.clone()? })
    }

    /// The experiments within all limits that no other one beats in every objective.
    pub fn front(&self) -> Vec<Best> {
        let rows: Vec<&Row> = self.rows.iter().filter(|r| self.keeps_limits(r)).collect();
        let goals = |row: &Row| -> Vec<f64> {
            let objectives = self.problem.objectives.iter();
            let values = objectives.filter_map(|o| {
                let value = row.values.as_ref()?.get(&o.name)?;
                Some(if o.maximize { *value } else { -value })
            });
            values.collect()
        };
        let beats = |a: &[f64], b: &[f64]| {
            a.iter().zip(b).all(|(a, b)| a >= b) && a.iter().zip(b).any(|(a, b)| a > b)
        };
        let unbeaten = rows.iter().filter(|row| {
            let own = goals(row);
            !rows.iter().any(|other| beats(&goals(other), &own))
        });
        let bests = unbeaten.filter_map(|row| {
            let parameters = self.space.point(&row.setting);
            Some(Best { parameters, values: row.values.clone()? })
        });
        bests.collect()
    }

    /// The point with the best expected value, in the whole space or among the candidates, where
    /// it is probably feasible.
    ///
    /// Errors: fewer than two experiments have results.
    pub fn recommend(&self) -> Result<Recommendation, PlannerError> {
        let models = self.fitted()?;
        let singular = |_| PlannerError::Singular;
        let target = models
            .equal_target(&self.space, &self.rows)
            .map_err(singular)?
            .ok_or(PlannerError::NoModel)?;
        let limited = models.can_be_infeasible();
        let score = |features: &[f64]| {
            let feasible = if limited { models.log_feasible(features) } else { 0.0 };
            // Anything probably feasible before anything else.
            if feasible < 0.5_f64.ln() {
                -1e200 + 1e190 * feasible.max(-1e5)
            } else {
                target.mean(features)
            }
        };
        let setting = match &self.candidates {
            Some(candidates) => {
                let mut best: Option<(f64, &Vec<f64>)> = None;
                for setting in candidates {
                    let value = score(&self.space.features(setting));
                    if best.is_none_or(|(top, _)| value > top) {
                        best = Some((value, setting));
                    }
                }
                best.map(|(_, s)| s.clone()).ok_or(PlannerError::Exhausted)?
            }
            None => {
                let known = self.known(&target);
                let mut search = self.search(&known);
                search.stream = RECOMMEND_STREAM;
                search.best(score)?
            }
        };
        let features = self.space.features(&setting);
        Ok(Recommendation {
            parameters: self.space.point(&setting),
            predictions: models.predict(&features),
            probability_feasible: limited.then(|| models.log_feasible(&features).exp()),
        })
    }

    /// Share of each parameter in the variation of each result over the whole space, as the model
    /// expects it: total sensitivity indices, scaled to sum to one.
    ///
    /// Source: Jansen, Comput. Phys. Commun. 117, 35, 1999.
    /// Errors: fewer than two experiments have results.
    pub fn importance(&self) -> Result<BTreeMap<String, BTreeMap<String, f64>>, PlannerError> {
        let models = self.fitted()?;
        let count = self.space.len();
        let mut sobol = Sobol::new(2 * count, self.problem.seed, SENSITIVITY_STREAM);
        let mut pairs = Vec::with_capacity(BASE_POINTS);
        for _ in 0..BASE_POINTS {
            let mut first = sobol.next();
            let second = first.split_off(count.min(first.len()));
            pairs.push((first, second));
        }
        let mut importance = BTreeMap::new();
        for name in model::result_names(&self.problem) {
            let Some(gp) = models.result(&name) else { continue };
            let at = |unit: &[f64]| gp.mean(&self.space.features(&self.space.at_unit(unit)));
            let mut effects = vec![0.0; count];
            for (first, second) in &pairs {
                let base = at(first);
                for (k, effect) in effects.iter_mut().enumerate() {
                    let mut moved = first.clone();
                    if let (Some(old), Some(new)) = (moved.get_mut(k), second.get(k)) {
                        *old = *new;
                    }
                    *effect += (at(&moved) - base).powi(2);
                }
            }
            let sum: f64 = effects.iter().sum();
            let shares = self.space.parameters().iter().zip(&effects).map(|(p, effect)| {
                (p.name.clone(), if sum > 0.0 { effect / sum } else { 1.0 / count as f64 })
            });
            importance.insert(name, shares.collect());
        }
        Ok(importance)
    }

    /// How well the models predict experiments they have not seen, by result.
    ///
    /// Errors: fewer than two experiments have results.
    pub fn calibration(&self) -> Result<BTreeMap<String, Calibration>, PlannerError> {
        let models = self.fitted()?;
        let mut calibrations = BTreeMap::new();
        for name in model::result_names(&self.problem) {
            let Some(gp) = models.result(&name) else { continue };
            let left_out = gp.left_out();
            let n = left_out.len().max(1) as f64;
            let standard =
                |(b, y): &(super::gp::Belief, f64)| (y - b.mean) / b.sd.max(f64::MIN_POSITIVE);
            let inside = left_out.iter().filter(|p| standard(p).abs() <= CENTRAL_80).count();
            let squares: f64 = left_out.iter().map(|p| standard(p).powi(2)).sum();
            let errors: f64 = left_out.iter().map(|(b, y)| ((y - b.mean) / n.sqrt()).powi(2)).sum();
            calibrations.insert(
                name,
                Calibration {
                    points: left_out.len(),
                    within_80: inside as f64 / n,
                    standardised_error: (squares / n).sqrt(),
                    error: errors.sqrt(),
                },
            );
        }
        Ok(calibrations)
    }
}
