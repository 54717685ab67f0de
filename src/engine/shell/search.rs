//! A campaign's planner: units on the lab's side, numbers on the planner's.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::brain::{Brain, BrainError, Goal, Proposal};
use crate::compiler::campaign::{Axis, AxisKind, Search};
use crate::engine::campaign::{Conclusion, Experiment, Hypothesis, Predicted};
use crate::expr::{self, Argument, Env, Expr, Value};
use crate::planner::{
    Limit, Objective, Observation, Outcome, Parameter, ParameterKind, ParameterValue, Planner,
    PlannerError, Point, Problem, Suggestion,
};
use crate::units::{Quantity, Unit};

/// Brain of a campaign, over the planner.
pub struct CampaignBrain {
    planner: Planner,
    search: Search,
    /// `count_as: nothing`: failed experiments are not told to the planner.
    leave_out: bool,
}

/// The campaign's parameters as the planner knows them.
pub fn problem_parameters(search: &Search) -> Vec<Parameter> {
    search
        .axes
        .iter()
        .map(|axis| Parameter {
            name: axis.name.clone(),
            kind: match axis.kind.clone() {
                AxisKind::Continuous { min, max, log } => {
                    ParameterKind::Continuous { min, max, log }
                }
                AxisKind::Integer { min, max } => {
                    ParameterKind::Integer { min: min as i64, max: max as i64 }
                }
                AxisKind::Discrete { values } => ParameterKind::Discrete { values },
                AxisKind::Categorical { choices, descriptors } => {
                    // Words without a full set of descriptors are compared by name alone.
                    let descriptors = match descriptors.len() == choices.len() {
                        true => choices.iter().cloned().zip(descriptors).collect(),
                        false => BTreeMap::new(),
                    };
                    ParameterKind::Categorical { choices, descriptors }
                }
            },
        })
        .collect()
}

impl CampaignBrain {
    /// A planner for a campaign.
    pub fn new(
        search: Search,
        seed: u64,
        initial: Option<u32>,
    ) -> Result<CampaignBrain, BrainError> {
        let axes = Arc::new(search.axes.clone());
        let fixed = Arc::new(search.fixed.clone());
        let mut problem = Problem {
            parameters: problem_parameters(&search),
            objectives: search
                .objectives
                .iter()
                .map(|o| Objective {
                    name: o.result.clone(),
                    maximize: o.maximize,
                    reference: o.reference,
                })
                .collect(),
            limits: Vec::new(),
            constraints: Vec::new(),
            candidates: None,
            initial: initial.map(|n| n as usize),
            seed,
        };
        for limit in &search.outcome_limits {
            let value = Some(limit.value);
            let (min, max) = if limit.at_most { (None, value) } else { (value, None) };
            problem.limits.push(Limit { result: limit.result.clone(), min, max });
        }
        for constraint in &search.input_constraints {
            let (constraint, axes, fixed) =
                (constraint.clone(), Arc::clone(&axes), Arc::clone(&fixed));
            problem.constraints.push(Arc::new(move |point: &Point| {
                let parameters = to_values(&axes, &fixed, point);
                let names = Parameters { parameters: &parameters };
                matches!(expr::eval(&constraint, &names), Ok(Value::Bool(true)))
            }));
        }
        let mut planner = Planner::new(problem).map_err(brain_error)?;
        planner.take_data_from_elsewhere();
        Ok(CampaignBrain { planner, search, leave_out: false })
    }

    /// Failed experiments are not told to the planner.
    pub fn leaving_out_failures(self, leave_out: bool) -> CampaignBrain {
        CampaignBrain { leave_out, ..self }
    }

    /// Where the planner expects the best, with what it expects there, for people.
    pub fn surest(&self) -> Option<(BTreeMap<String, Value>, BTreeMap<String, Predicted>)> {
        let recommended = self.planner.recommend().ok()?;
        let point = recommended.parameters;
        let predictions = recommended
            .predictions
            .into_iter()
            .map(|(name, p)| (name, Predicted { mean: p.mean, sd: p.sd }))
            .collect();
        Some((to_values(&self.search.axes, &self.search.fixed, &point), predictions))
    }

    fn hypothesis(&self, suggestion: Suggestion) -> Hypothesis {
        Hypothesis {
            suggestion: suggestion.id,
            parameters: to_values(&self.search.axes, &self.search.fixed, &suggestion.parameters),
            predictions: suggestion
                .predictions
                .into_iter()
                // JSON has no word for what is not a number.
                .filter(|(_, p)| p.mean.is_finite() && p.sd.is_finite())
                .map(|(name, p)| (name, Predicted { mean: p.mean, sd: p.sd }))
                .collect(),
            probability_of_improvement: finite(suggestion.probability_of_improvement),
            probability_feasible: finite(suggestion.probability_feasible),
            reason: suggestion.reason,
        }
    }

    fn point(&self, parameters: &BTreeMap<String, Value>) -> Result<Point, BrainError> {
        let mut point = Point::new();
        for axis in &self.search.axes {
            let value = match (parameters.get(&axis.name), &axis.kind) {
                (Some(value), AxisKind::Categorical { .. }) => ParameterValue::Text(value.show()),
                (Some(Value::Quantity(q)), _) => {
                    let number = q.in_unit(&axis.unit).ok_or_else(|| {
                        BrainError(format!("`{}` is not in {}", axis.name, axis.unit))
                    })?;
                    ParameterValue::Number(snap(axis, number))
                }
                _ => return Err(BrainError(format!("`{}` has no value", axis.name))),
            };
            point.insert(axis.name.clone(), value);
        }
        Ok(point)
    }

    fn observation(
        &self,
        hypothesis: &Hypothesis,
        conclusion: &Conclusion,
    ) -> Result<Observation, BrainError> {
        let outcome = match conclusion {
            Conclusion::Failed { .. } => Outcome::Failed,
            Conclusion::Measured { results } => {
                let mut noise_sd = BTreeMap::new();
                for target in &self.search.objectives {
                    let noise = target.noise.as_ref().and_then(|n| results.get(n));
                    if let Some(noise) = noise.filter(|n| n.is_finite() && **n > 0.0) {
                        noise_sd.insert(target.result.clone(), *noise);
                    }
                }
                Outcome::Measured { values: results.clone(), noise_sd }
            }
        };
        Ok(Observation {
            id: Some(hypothesis.suggestion),
            parameters: self.point(&hypothesis.parameters)?,
            outcome,
        })
    }
}

/// Brain of a single run: one experiment with the parameters it was given.
pub struct SinglePoint {
    parameters: BTreeMap<String, Value>,
    proposed: bool,
}

impl SinglePoint {
    /// Proposes these parameters once.
    pub fn new(parameters: BTreeMap<String, Value>) -> SinglePoint {
        SinglePoint { parameters, proposed: false }
    }
}

impl Brain for SinglePoint {
    fn propose(&mut self, _count: u32) -> Result<Proposal, BrainError> {
        if std::mem::replace(&mut self.proposed, true) {
            return Ok(Proposal::Exhausted("the run is over".to_owned()));
        }
        Ok(Proposal::Experiments(vec![Hypothesis {
            suggestion: 1,
            parameters: self.parameters.clone(),
            predictions: BTreeMap::new(),
            probability_of_improvement: None,
            probability_feasible: None,
            reason: "asked for on the command line".to_owned(),
        }]))
    }

    fn learn(&mut self, _: &Hypothesis, _: &Conclusion) -> Result<(), BrainError> {
        Ok(())
    }

    fn restore(&mut self, experiments: &[Experiment]) -> Result<(), BrainError> {
        self.proposed = !experiments.is_empty();
        Ok(())
    }
}

fn finite(value: Option<f64>) -> Option<f64> {
    value.filter(|v| v.is_finite())
}

/// Undoes what units did to the last bits, so that a value is again one of the axis.
fn snap(axis: &Axis, number: f64) -> f64 {
    let near = |value: f64| (value - number).abs() <= 1e-9 * value.abs().max(1.0);
    match &axis.kind {
        AxisKind::Discrete { values } => {
            values.iter().copied().find(|v| near(*v)).unwrap_or(number)
        }
        AxisKind::Integer { .. } if near(number.round()) => number.round(),
        // A point of before the space was narrowed stays where it was measured.
        AxisKind::Continuous { min, max, .. } => {
            [*min, *max].into_iter().find(|limit| near(*limit)).unwrap_or(number)
        }
        _ => number,
    }
}

fn to_values(
    axes: &[Axis],
    fixed: &BTreeMap<String, Value>,
    point: &Point,
) -> BTreeMap<String, Value> {
    let mut values = fixed.clone();
    for axis in axes {
        let value = match point.get(&axis.name) {
            Some(ParameterValue::Number(number)) => axis.value(*number),
            Some(ParameterValue::Text(text)) => match text.as_str() {
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                _ => Value::text(text),
            },
            None => continue,
        };
        values.insert(axis.name.clone(), value);
    }
    values
}

struct Parameters<'a> {
    parameters: &'a BTreeMap<String, Value>,
}

impl Env for Parameters<'_> {
    fn value(&self, path: &[String]) -> Option<Value> {
        match path {
            [root, name] if root == "params" => self.parameters.get(name).cloned(),
            _ => None,
        }
    }
}

fn brain_error(error: PlannerError) -> BrainError {
    BrainError(error.to_string())
}

impl Brain for CampaignBrain {
    fn propose(&mut self, count: u32) -> Result<Proposal, BrainError> {
        let mut list = Vec::new();
        for _ in 0..count {
            let suggestion = match self.planner.ask(1).map(|list| list.into_iter().next()) {
                Ok(Some(suggestion)) => suggestion,
                Ok(None) => break,
                Err(PlannerError::Exhausted) if !list.is_empty() => break,
                Err(error) => return Err(brain_error(error)),
            };
            // What waits for its outcome is kept as the journal has it: units move the last bits,
            // and a planner rebuilt from the journal must propose what this one does.
            let hypothesis = self.hypothesis(suggestion.clone());
            self.planner.withdraw(suggestion.id);
            let parameters = self.point(&hypothesis.parameters)?;
            let kept = Suggestion { parameters, ..suggestion };
            self.planner.restore_pending(kept).map_err(brain_error)?;
            list.push(hypothesis);
        }
        match list.is_empty() {
            true => Ok(Proposal::Exhausted("every candidate was tried".to_owned())),
            false => Ok(Proposal::Experiments(list)),
        }
    }

    fn learn(
        &mut self,
        hypothesis: &Hypothesis,
        conclusion: &Conclusion,
    ) -> Result<(), BrainError> {
        if self.leave_out && matches!(conclusion, Conclusion::Failed { .. }) {
            self.pass_over(hypothesis);
            return Ok(());
        }
        let observation = self.observation(hypothesis, conclusion)?;
        self.planner.tell(vec![observation]).map_err(brain_error)
    }

    fn pass_over(&mut self, hypothesis: &Hypothesis) {
        self.planner.withdraw(hypothesis.suggestion);
    }

    fn restore(&mut self, experiments: &[Experiment]) -> Result<(), BrainError> {
        for experiment in experiments {
            let hypothesis = &experiment.hypothesis;
            let suggestion = Suggestion {
                id: hypothesis.suggestion,
                parameters: self.point(&hypothesis.parameters)?,
                predictions: hypothesis
                    .predictions
                    .iter()
                    .map(|(name, p)| {
                        (name.clone(), crate::planner::Prediction { mean: p.mean, sd: p.sd })
                    })
                    .collect(),
                probability_of_improvement: hypothesis.probability_of_improvement,
                probability_feasible: hypothesis.probability_feasible,
                reason: hypothesis.reason.clone(),
            };
            self.planner.restore_pending(suggestion).map_err(brain_error)?;
            match (&experiment.conclusion, experiment.counts()) {
                (_, Some(conclusion)) => self.learn(hypothesis, conclusion)?,
                (Some(_), None) => self.pass_over(hypothesis),
                (None, None) => {}
            }
        }
        Ok(())
    }
}

/// Results so far, for stop conditions.
struct Results<'a> {
    search: &'a Search,
    experiments: &'a [Experiment],
}

impl Results<'_> {
    /// Best value of a result among the first `count` experiments, in its unit.
    fn best(&self, result: &str, count: usize) -> Option<f64> {
        let maximize =
            self.search.objectives.iter().find(|o| o.result == result).is_none_or(|o| o.maximize);
        self.experiments
            .iter()
            .take(count)
            .filter_map(|e| match e.counts() {
                Some(Conclusion::Measured { results }) => results.get(result).copied(),
                _ => None,
            })
            .reduce(if maximize { f64::max } else { f64::min })
    }
}

impl Env for Results<'_> {
    fn value(&self, path: &[String]) -> Option<Value> {
        let [root, name] = path else { return None };
        if root != "best" {
            return None;
        }
        let Some(best) = self.best(name, self.experiments.len()) else {
            return Some(Value::missing("nothing was measured yet"));
        };
        let unit = self.search.objectives.iter().find(|o| o.result == *name).map(|o| &o.unit);
        let unit = match unit {
            Some(unit) if !unit.is_empty() => Unit::parse(unit).ok()?,
            _ => Unit::one(),
        };
        Some(Value::Quantity(Quantity::of(best, &unit)))
    }

    /// `improvement(last: n)`: gain of the best over the last n experiments, relative to it.
    fn call(&self, name: &str, args: &[Argument]) -> Option<Value> {
        if name != "improvement" {
            return None;
        }
        let last = args.first()?.value.as_ref()?.as_quantity()?.value;
        let objective = self.search.objectives.first()?;
        let concluded = self.experiments.iter().filter(|e| e.conclusion.is_some()).count();
        let before = concluded.checked_sub(last.max(1.0) as usize).filter(|n| *n > 0);
        let (Some(now), Some(then)) = (
            self.best(&objective.result, self.experiments.len()),
            before.and_then(|n| self.best(&objective.result, n)),
        ) else {
            return Some(Value::missing("there are too few experiments to tell"));
        };
        Some(Value::number((now - then).abs() / now.abs().max(f64::MIN_POSITIVE)))
    }
}

/// The stop conditions of a campaign.
pub fn goal(search: &Search) -> Goal {
    let search = search.clone();
    Box::new(move |experiments| {
        let results = Results { search: &search, experiments };
        let holds = |e: &&Expr| matches!(expr::eval(e, &results), Ok(Value::Bool(true)));
        if let Some(found) = search.stop_any.iter().find(holds) {
            return Some(found.text().to_owned());
        }
        let all = !search.stop_all.is_empty() && search.stop_all.iter().all(|e| holds(&e));
        all.then(|| search.stop_all.iter().map(Expr::text).collect::<Vec<_>>().join(" and "))
    })
}

#[cfg(test)]
#[path = "search_tests.rs"]
mod tests;
