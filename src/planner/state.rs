//! The planner's state: what was measured, what is pending, and the next suggestion.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use super::model::{self, Models, Row, Target, Worth};
use super::problem::{Observation, Outcome, PlannerError, Point, Problem, Suggestion};
use super::search::{self, Search};
use super::space::Space;

/// Suggestions at once: each costs a search.
const ASK_MAX: usize = 1000;
/// Experiments the planner takes; beyond, the exact model takes minutes.
const ROWS_MAX: usize = 5000;
/// Best measured points near which searches look.
const KNOWN: usize = 5;
/// Candidates taken.
const CANDIDATES_MAX: usize = 100_000;

/// Proposes experiments and learns from their results.
///
/// Its answers follow from the problem, the order of the tells and the pending suggestions.
#[derive(Debug, Clone)]
pub struct Planner {
    pub(super) problem: Problem,
    pub(super) space: Space,
    pub(super) rows: Vec<Row>,
    models: OnceLock<Models>,
    pending: BTreeMap<u64, Vec<f64>>,
    told: BTreeSet<u64>,
    next_id: u64,
    /// Data may lie outside of the space: it was another one when they were measured.
    from_elsewhere: bool,
    pub(super) candidates: Option<Vec<Vec<f64>>>,
}

fn problem_error(place: impl Into<String>, reason: impl Into<String>) -> PlannerError {
    PlannerError::Problem { place: place.into(), reason: reason.into() }
}

fn check_objectives(problem: &Problem) -> Result<(), PlannerError> {
    if problem.objectives.is_empty() {
        return Err(problem_error("objectives", "there are none"));
    }
    let mut names = BTreeSet::new();
    for objective in &problem.objectives {
        let place = || format!("objective `{}`", objective.name);
        if objective.name.is_empty() || !names.insert(&objective.name) {
            return Err(problem_error(place(), "the name is empty or was given before"));
        }
        if objective.reference.is_some_and(|r| !r.is_finite()) {
            return Err(problem_error(place(), "the reference is not a finite number"));
        }
    }
    for limit in &problem.limits {
        if limit.min.is_none() && limit.max.is_none()
            || [limit.min, limit.max].iter().flatten().any(|l| !l.is_finite())
        {
            let place = format!("limit on `{}`", limit.result);
            return Err(problem_error(place, "needs a finite smallest or largest value"));
        }
    }
    Ok(())
}

impl Planner {
    /// Checks a problem and starts without data.
    ///
    /// Errors: anything in the problem that is not usable; no point meets the constraints.
    pub fn new(problem: Problem) -> Result<Planner, PlannerError> {
        let space = Space::new(problem.parameters.clone())?;
        check_objectives(&problem)?;
        let candidates = match &problem.candidates {
            None => {
                search::check_feasible(&problem, &space)?;
                None
            }
            Some(points) if points.is_empty() || points.len() > CANDIDATES_MAX => {
                let reason = format!("needs 1 to {CANDIDATES_MAX} points");
                return Err(problem_error("candidates", reason));
            }
            Some(points) => {
                let mut settings = Vec::new();
                for point in points {
                    let setting = space.setting(point)?;
                    if search::is_allowed(&problem, &space, &setting) {
                        settings.push(setting);
                    }
                }
                if settings.is_empty() {
                    return Err(PlannerError::NothingFeasible { tried: points.len() });
                }
                Some(settings)
            }
        };
        Ok(Planner {
            problem,
            space,
            rows: Vec::new(),
            models: OnceLock::new(),
            pending: BTreeMap::new(),
            told: BTreeSet::new(),
            next_id: 1,
            from_elsewhere: false,
            candidates,
        })
    }

    /// The problem it solves.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// Experiments of the space-filling start.
    pub fn initial(&self) -> usize {
        self.problem.initial.unwrap_or(2 * self.space.len() + 2).max(1)
    }

    /// Suggestions without an outcome, by number.
    pub fn pending(&self) -> BTreeMap<u64, Point> {
        self.pending.iter().map(|(id, setting)| (*id, self.space.point(setting))).collect()
    }

    /// Number of experiments told, failed ones included.
    pub fn told(&self) -> usize {
        self.rows.len()
    }

    /// From now on takes data that lie outside of the space, for a space that was changed while
    /// it was searched. Nothing is proposed there.
    pub fn take_data_from_elsewhere(&mut self) {
        self.from_elsewhere = true;
    }

    fn data(&self, point: &Point) -> Result<Vec<f64>, PlannerError> {
        match self.from_elsewhere {
            true => self.space.setting_of_data(point),
            false => self.space.setting(point),
        }
    }

    /// Suggests `n` experiments to do at the same time, next to those pending.
    pub fn ask(&mut self, n: usize) -> Result<Vec<Suggestion>, PlannerError> {
        if n > ASK_MAX {
            return Err(PlannerError::TooMany { asked: n, limit: ASK_MAX });
        }
        let before = (self.pending.clone(), self.next_id);
        let suggestions: Result<Vec<_>, _> = (0..n).map(|_| self.suggest()).collect();
        if suggestions.is_err() {
            (self.pending, self.next_id) = before;
        }
        suggestions
    }

    /// Takes a suggestion that was made before a restart: it counts as pending again.
    pub fn restore_pending(&mut self, suggestion: Suggestion) -> Result<(), PlannerError> {
        let id = suggestion.id;
        if id == 0 || self.told.contains(&id) || self.pending.contains_key(&id) {
            let reason = "was told or restored before".to_owned();
            return Err(PlannerError::Suggestion { id, reason });
        }
        let setting = self.data(&suggestion.parameters)?;
        self.pending.insert(id, setting);
        self.next_id = self.next_id.max(id.saturating_add(1));
        Ok(())
    }

    /// Gives up a pending suggestion without an outcome; says whether it was pending.
    pub fn withdraw(&mut self, id: u64) -> bool {
        self.pending.remove(&id).is_some()
    }

    /// Takes outcomes; all of them, or none when one cannot be used.
    pub fn tell(&mut self, observations: Vec<Observation>) -> Result<(), PlannerError> {
        if self.rows.len() + observations.len() > ROWS_MAX {
            let asked = self.rows.len() + observations.len();
            let reason = format!("takes at most {ROWS_MAX} experiments, not {asked}");
            return Err(problem_error("planner", reason));
        }
        let mut ids = BTreeSet::new();
        let mut rows = Vec::new();
        for observation in observations {
            if let Some(id) = observation.id
                && (id == 0 || self.told.contains(&id) || !ids.insert(id))
            {
                let reason = "was told before".to_owned();
                return Err(PlannerError::Suggestion { id, reason });
            }
            rows.push(self.row(observation)?);
        }
        for id in ids {
            self.pending.remove(&id);
            self.told.insert(id);
            self.next_id = self.next_id.max(id.saturating_add(1));
        }
        self.models = OnceLock::new();
        self.rows.extend(rows);
        Ok(())
    }

    fn row(&self, observation: Observation) -> Result<Row, PlannerError> {
        let setting = self.data(&observation.parameters)?;
        let Outcome::Measured { values, noise_sd } = observation.outcome else {
            return Ok(Row { setting, values: None, noise_sd: BTreeMap::new() });
        };
        let mut kept = BTreeMap::new();
        for name in model::result_names(&self.problem) {
            let error = |reason: String| PlannerError::Result { result: name.clone(), reason };
            let value = values.get(&name).ok_or_else(|| error("it is missing".into()))?;
            // Squares of values have to stay finite.
            if !value.is_finite() || value.abs() > 1e150 {
                return Err(error(format!("{value} is not a usable number")));
            }
            if let Some(sd) = noise_sd.get(&name)
                && !(0.0..1e150).contains(sd)
            {
                return Err(error(format!("noise {sd} is not a standard deviation")));
            }
            kept.insert(name, *value);
        }
        if let Some(unknown) = noise_sd.keys().find(|name| !kept.contains_key(*name)) {
            let reason = "noise is given, but it is neither objective nor limited".to_owned();
            return Err(PlannerError::Result { result: unknown.clone(), reason });
        }
        Ok(Row { setting, values: Some(kept), noise_sd })
    }

    /// Fits the models if new data came.
    pub(super) fn fitted(&self) -> Result<&Models, PlannerError> {
        if self.measured() < 2 {
            return Err(PlannerError::NoModel);
        }
        if let Some(models) = self.models.get() {
            return Ok(models);
        }
        let models = Models::fit(&self.problem, &self.space, &self.rows)
            .map_err(|_| PlannerError::Singular)?;
        Ok(self.models.get_or_init(|| models))
    }

    pub(super) fn measured(&self) -> usize {
        self.rows.iter().filter(|r| r.values.is_some()).count()
    }

    /// Candidates nobody suggested or measured; `None` without a list.
    pub(super) fn unused(&self) -> Option<Vec<Vec<f64>>> {
        let bits = |setting: &[f64]| setting.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        let used: BTreeSet<Vec<u64>> = self
            .rows
            .iter()
            .map(|r| &r.setting)
            .chain(self.pending.values())
            .map(|s| bits(s))
            .collect();
        let candidates = self.candidates.as_ref()?;
        Some(candidates.iter().filter(|c| !used.contains(&bits(c))).cloned().collect())
    }

    fn suggest(&mut self) -> Result<Suggestion, PlannerError> {
        let begun = self.rows.len() + self.pending.len();
        let in_start = begun < self.initial() || self.measured() < 2;
        let suggestion =
            if in_start { self.start_suggestion(begun)? } else { self.model_suggestion()? };
        let setting = self.space.setting(&suggestion.parameters)?;
        self.pending.insert(suggestion.id, setting);
        self.next_id += 1;
        Ok(suggestion)
    }

    fn start_suggestion(&self, begun: usize) -> Result<Suggestion, PlannerError> {
        let made = usize::try_from(self.next_id - 1).unwrap_or(usize::MAX);
        let setting = match self.unused() {
            Some(unused) => {
                let aim = self.start_setting(made)?;
                let aim = self.space.features(&aim);
                let distance =
                    |setting: &Vec<f64>| self.space.distance(&self.space.features(setting), &aim);
                let nearest = unused.into_iter().min_by(|a, b| distance(a).total_cmp(&distance(b)));
                nearest.ok_or(PlannerError::Exhausted)?
            }
            None => self.start_setting(made)?,
        };
        let reason = if begun < self.initial() {
            format!("space-filling start, {} of {}", begun + 1, self.initial())
        } else {
            "too few results for a model yet: the space-filling start goes on".to_owned()
        };
        Ok(Suggestion {
            id: self.next_id,
            parameters: self.space.point(&setting),
            predictions: BTreeMap::new(),
            probability_of_improvement: None,
            probability_feasible: None,
            reason,
        })
    }

    /// The start's allowed point number `made`, or a later one nobody has tried.
    fn start_setting(&self, made: usize) -> Result<Vec<f64>, PlannerError> {
        // With a list of candidates the sequence only aims.
        let free = Problem { constraints: Vec::new(), ..self.problem.clone() };
        let problem = if self.candidates.is_some() { &free } else { &self.problem };
        let tried = |s: &Vec<f64>| {
            self.rows.iter().any(|r| r.setting == *s) || self.pending.values().any(|p| p == s)
        };
        let first = search::start(problem, &self.space).nth(made);
        if let Some(setting) = first.as_ref().filter(|s| !tried(s)) {
            return Ok(setting.clone());
        }
        let fresh = search::start(problem, &self.space).find(|s| !tried(s));
        fresh.or(first).map_or_else(|| self.any_allowed(), Ok)
    }

    /// Any allowed point, for a space of few points the sequence has left.
    fn any_allowed(&self) -> Result<Vec<f64>, PlannerError> {
        self.search(&[]).best(|_| 0.0)
    }

    pub(super) fn search<'a>(&'a self, known: &'a [Vec<f64>]) -> Search<'a> {
        Search { problem: &self.problem, space: &self.space, known, stream: self.next_id }
    }

    fn model_suggestion(&self) -> Result<Suggestion, PlannerError> {
        let singular = |_| PlannerError::Singular;
        let mut models = self.fitted()?.clone();
        let believed: Vec<Vec<f64>> =
            self.pending.values().map(|s| self.space.features(s)).collect();
        for features in &believed {
            models = models.believe(features).map_err(singular)?;
        }
        let count = self.problem.objectives.len();
        let weights = model::weights(count, self.problem.seed, self.next_id);
        let target = models
            .target(&self.space, &self.rows, &believed, &weights)
            .map_err(singular)?
            .ok_or(PlannerError::NoModel)?;
        let known = self.known(&target);
        let score = |features: &[f64]| target.worth(&models, features).score;
        let setting = match self.unused() {
            Some(unused) => {
                let mut best: Option<(f64, Vec<f64>)> = None;
                for setting in unused {
                    let value = score(&self.space.features(&setting));
                    if best.as_ref().is_none_or(|(top, _)| value > *top) {
                        best = Some((value, setting));
                    }
                }
                best.map(|(_, setting)| setting).ok_or(PlannerError::Exhausted)?
            }
            None => self.search(&known).best(score)?,
        };
        let features = self.space.features(&setting);
        let worth = target.worth(&models, &features);
        Ok(Suggestion {
            id: self.next_id,
            parameters: self.space.point(&setting),
            predictions: models.predict(&features),
            probability_of_improvement: worth.improvement,
            probability_feasible: models
                .can_be_infeasible()
                .then(|| models.log_feasible(&features).exp()),
            reason: self.reason(&worth, target.incumbent),
        })
    }

    /// The measured settings with the best expected values.
    pub(super) fn known(&self, target: &Target) -> Vec<Vec<f64>> {
        let inside = |r: &&Row| r.values.is_some() && self.space.contains(&r.setting);
        let measured = self.rows.iter().filter(inside);
        let mut known: Vec<(f64, Vec<f64>)> = measured
            .map(|r| (target.mean(&self.space.features(&r.setting)), r.setting.clone()))
            .collect();
        known.sort_by(|a, b| b.0.total_cmp(&a.0));
        known.dedup_by(|a, b| a.1 == b.1);
        known.into_iter().take(KNOWN).map(|(_, setting)| setting).collect()
    }

    fn reason(&self, worth: &Worth, incumbent: Option<f64>) -> String {
        let Some(incumbent) = incumbent else {
            return "looks for a point within all limits: none is known yet".to_owned();
        };
        let (name, sign) = match self.problem.objectives.as_slice() {
            [only] => (only.name.as_str(), if only.maximize { 1.0 } else { -1.0 }),
            _ => ("the weighed objectives", 1.0),
        };
        let (mean, best) = (sign * worth.belief.mean, sign * incumbent);
        let sd = worth.belief.sd;
        if worth.belief.mean > incumbent {
            format!("best expected {name}: {mean:.4} +- {sd:.2}, against {best:.4} so far")
        } else {
            format!("{name} is uncertain here: {mean:.4} +- {sd:.2}, may beat {best:.4}")
        }
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
