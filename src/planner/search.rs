//! The best point of a space under a score: quasi-random candidates, then local refinement.

use super::problem::{ParameterKind, PlannerError, Problem};
use super::sobol::{self, Sobol};
use super::space::Space;

/// Points tried before a space counts as infeasible.
const TRIES_MAX: usize = 1 << 16;
/// Feasible candidates of one search.
const CANDIDATES: usize = 768;
/// Candidates around each of the best known points, at two distances.
const NEIGHBOURS: usize = 12;
/// Best candidates that are refined.
const REFINED: usize = 4;
/// Rounds of refinement of one candidate.
const ROUNDS: usize = 60;
/// First and last step of the refinement, as shares of the unit cube's edge.
const STEPS: (f64, f64) = (0.1, 1e-4);
/// Whole spaces up to this size are searched point by point.
const ENUMERATED: usize = 4096;
/// Categorical choices tried in one round.
const CHOICES_TRIED: usize = 32;

/// Where a search looks.
pub(super) struct Search<'a> {
    /// The problem, for its constraints.
    pub(super) problem: &'a Problem,
    /// Its space.
    pub(super) space: &'a Space,
    /// Settings near which it is worth looking.
    pub(super) known: &'a [Vec<f64>],
    /// Random stream.
    pub(super) stream: u64,
}

/// Whether a setting meets the input constraints.
pub(super) fn is_allowed(problem: &Problem, space: &Space, setting: &[f64]) -> bool {
    if problem.constraints.is_empty() {
        return true;
    }
    let point = space.point(setting);
    problem.constraints.iter().all(|allowed| allowed(&point))
}

/// All settings, if they are few.
fn all(space: &Space) -> Option<Vec<Vec<f64>>> {
    let count = space.cardinality().filter(|c| *c <= ENUMERATED)?;
    Some((0..count).map(|index| space.nth(index)).collect())
}

/// Allowed points of the space-filling sequence, from the beginning.
pub(super) fn start<'a>(
    problem: &'a Problem,
    space: &'a Space,
) -> impl Iterator<Item = Vec<f64>> + 'a {
    let mut sobol = Sobol::new(space.len(), problem.seed, 0);
    (0..TRIES_MAX)
        .map(move |_| space.at_unit(&sobol.next()))
        .filter(|setting| is_allowed(problem, space, setting))
}

/// An error if no point meets the constraints, as far as can be found out.
pub(super) fn check_feasible(problem: &Problem, space: &Space) -> Result<(), PlannerError> {
    let nothing = |tried| Err(PlannerError::NothingFeasible { tried });
    match all(space) {
        Some(points) if !points.iter().any(|p| is_allowed(problem, space, p)) => {
            nothing(points.len())
        }
        None if start(problem, space).next().is_none() => nothing(TRIES_MAX),
        _ => Ok(()),
    }
}

impl Search<'_> {
    fn allowed(&self, setting: &[f64]) -> bool {
        is_allowed(self.problem, self.space, setting)
    }

    fn candidates(&self) -> Vec<Vec<f64>> {
        if let Some(points) = all(self.space) {
            return points.into_iter().filter(|p| self.allowed(p)).collect();
        }
        let mut sobol = Sobol::new(self.space.len(), self.problem.seed, 1 + 2 * self.stream);
        let mut random = sobol::random(self.problem.seed, 2 + 2 * self.stream);
        let mut points: Vec<Vec<f64>> = (0..TRIES_MAX)
            .map(|_| self.space.at_unit(&sobol.next()))
            .filter(|p| self.allowed(p))
            .take(CANDIDATES)
            .collect();
        for setting in self.known {
            let centre = self.space.to_unit(setting);
            for k in 0..NEIGHBOURS {
                let width = if k % 2 == 0 { 0.1 } else { 0.02 };
                let moved: Vec<f64> =
                    centre.iter().map(|c| c + width * sobol::normal(&mut random)).collect();
                points.push(self.space.at_unit(&moved));
            }
            points.push(setting.clone());
        }
        points.retain(|p| self.allowed(p));
        points
    }

    /// Settings one step away, in every parameter.
    fn around(&self, setting: &[f64], step: f64) -> Vec<Vec<f64>> {
        let unit = self.space.to_unit(setting);
        let mut around = Vec::new();
        for (k, parameter) in self.space.parameters().iter().enumerate() {
            let mut to = |unit_k: f64| {
                let mut moved = unit.clone();
                if let Some(coordinate) = moved.get_mut(k) {
                    *coordinate = unit_k.clamp(0.0, 1.0);
                }
                let mut candidate = setting.to_vec();
                // Only this parameter: a round trip would disturb the last digits of others.
                let new = self.space.at_unit(&moved);
                if let (Some(old), Some(new)) = (candidate.get_mut(k), new.get(k))
                    && old != new
                {
                    *old = *new;
                    around.push(candidate);
                }
            };
            let at = unit.get(k).copied().unwrap_or(0.5);
            let coarse = match &parameter.kind {
                ParameterKind::Categorical { choices, .. } => {
                    let count = choices.len().min(CHOICES_TRIED);
                    (0..count).for_each(|i| to((i as f64 + 0.5) / choices.len() as f64));
                    continue;
                }
                ParameterKind::Continuous { .. } => 0.0,
                ParameterKind::Integer { min, max } => 1.0 / (max - min + 1) as f64,
                ParameterKind::Discrete { values } => 1.0 / values.len() as f64,
            };
            to(at + step.max(coarse));
            to(at - step.max(coarse));
        }
        around
    }

    /// The setting with the largest score.
    pub(super) fn best(&self, score: impl Fn(&[f64]) -> f64) -> Result<Vec<f64>, PlannerError> {
        let scored = |setting: Vec<f64>| {
            let value = score(&self.space.features(&setting));
            (if value.is_nan() { f64::NEG_INFINITY } else { value }, setting)
        };
        let mut ranked: Vec<_> = self.candidates().into_iter().map(scored).collect();
        // Stable, so that ties go to the earlier candidate.
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
        if all(self.space).is_none() {
            ranked.truncate(REFINED);
            for entry in &mut ranked {
                let mut step = STEPS.0;
                for _ in 0..ROUNDS {
                    let moves = self.around(&entry.1, step).into_iter();
                    let next = moves.filter(|p| self.allowed(p)).map(scored).fold(
                        None,
                        |best: Option<(f64, Vec<f64>)>, next| match best {
                            Some(best) if best.0 >= next.0 => Some(best),
                            _ => Some(next),
                        },
                    );
                    match next {
                        Some(next) if next.0 > entry.0 => *entry = next,
                        _ if step > STEPS.1 => step *= 0.4,
                        _ => break,
                    }
                }
            }
            ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
        }
        let first = ranked.into_iter().next();
        first.map(|(_, p)| p).ok_or(PlannerError::NothingFeasible { tried: TRIES_MAX })
    }
}
