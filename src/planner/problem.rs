//! What is searched: parameters, objectives, limits; and what was found.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Value of one parameter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ParameterValue {
    /// Of a continuous, integer or discrete parameter.
    Number(f64),
    /// Of a categorical parameter.
    Text(String),
}

/// One setting of all parameters, by name.
pub type Point = BTreeMap<String, ParameterValue>;

/// What a parameter may be.
#[derive(Debug, Clone, PartialEq)]
pub enum ParameterKind {
    /// Any number of an interval.
    Continuous {
        /// Smallest value.
        min: f64,
        /// Largest value.
        max: f64,
        /// Whether equal ratios count as equal steps; needs `min > 0`.
        log: bool,
    },
    /// Any whole number of an interval.
    Integer {
        /// Smallest value.
        min: i64,
        /// Largest value.
        max: i64,
    },
    /// One of these numbers; neighbours are alike.
    Discrete {
        /// The numbers, in any order.
        values: Vec<f64>,
    },
    /// One of these names.
    Categorical {
        /// The names.
        choices: Vec<String>,
        /// Numbers that say how alike the choices are, equally many for each choice; or empty.
        descriptors: BTreeMap<String, Vec<f64>>,
    },
}

/// One thing that can be set.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// What it may be.
    pub kind: ParameterKind,
}

/// A result that is to become large or small.
#[derive(Debug, Clone, PartialEq)]
pub struct Objective {
    /// Name of the result.
    pub name: String,
    /// Whether larger is better.
    pub maximize: bool,
    /// Worst value of interest; with several objectives, scales them.
    pub reference: Option<f64>,
}

/// A result that has to stay within limits.
#[derive(Debug, Clone, PartialEq)]
pub struct Limit {
    /// Name of the result.
    pub result: String,
    /// Smallest value allowed.
    pub min: Option<f64>,
    /// Largest value allowed.
    pub max: Option<f64>,
}

/// Says whether a point may be tried.
pub type Constraint = Arc<dyn Fn(&Point) -> bool + Send + Sync>;

/// What the planner has to solve.
#[derive(Clone, Default)]
pub struct Problem {
    /// What can be set.
    pub parameters: Vec<Parameter>,
    /// What is to become large or small, at least one.
    pub objectives: Vec<Objective>,
    /// Results that have to stay within limits.
    pub limits: Vec<Limit>,
    /// Points for which one of these is false are never suggested.
    pub constraints: Vec<Constraint>,
    /// Suggest only from these, each at most once.
    pub candidates: Option<Vec<Point>>,
    /// Experiments of the space-filling start; `None`: two more than twice the parameters.
    pub initial: Option<usize>,
    /// Seed of all random choices.
    pub seed: u64,
}

impl fmt::Debug for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Problem")
            .field("parameters", &self.parameters)
            .field("objectives", &self.objectives)
            .field("limits", &self.limits)
            .field("constraints", &self.constraints.len())
            .field("candidates", &self.candidates.as_ref().map(Vec::len))
            .field("initial", &self.initial)
            .field("seed", &self.seed)
            .finish()
    }
}

/// What a model expects of a new measurement.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// Mean.
    pub mean: f64,
    /// Standard deviation of a new measurement, noise included.
    pub sd: f64,
}

/// An experiment to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Suggestion {
    /// Counts from 1; an [`Observation`] refers to it.
    pub id: u64,
    /// What to set.
    pub parameters: Point,
    /// By objective or limited result; empty in the space-filling start.
    pub predictions: BTreeMap<String, Prediction>,
    /// Probability that the measurement is better than the best expected so far.
    pub probability_of_improvement: Option<f64>,
    /// Probability that the experiment does not fail and keeps all limits.
    pub probability_feasible: Option<f64>,
    /// Why, for people.
    pub reason: String,
}

/// How an experiment ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// With results.
    Measured {
        /// By objective or limited result.
        values: BTreeMap<String, f64>,
        /// Standard deviation of a value, where it is known; the rest is fitted.
        noise_sd: BTreeMap<String, f64>,
    },
    /// Without: nothing that can be measured came out.
    Failed,
}

/// An experiment that was done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// Suggestion it follows; `None` for data from elsewhere.
    pub id: Option<u64>,
    /// What was set.
    pub parameters: Point,
    /// What came out.
    pub outcome: Outcome,
}

/// Why the planner refuses.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PlannerError {
    /// The problem cannot be searched as stated.
    #[error("{place}: {reason}")]
    Problem {
        /// Parameter, objective or part of the problem.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A point does not belong to the space.
    #[error("parameter `{parameter}`: {reason}")]
    Point {
        /// Name of the parameter.
        parameter: String,
        /// What is wrong with its value.
        reason: String,
    },
    /// A result cannot be used.
    #[error("result `{result}`: {reason}")]
    Result {
        /// Name of the result.
        result: String,
        /// What is wrong with its value.
        reason: String,
    },
    /// A suggestion that is not pending was told or restored.
    #[error("suggestion {id} {reason}")]
    Suggestion {
        /// Its number.
        id: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// Too much was asked at once.
    #[error("{asked} suggestions at once is more than {limit}")]
    TooMany {
        /// How many were asked.
        asked: usize,
        /// How many may be.
        limit: usize,
    },
    /// No point of the space meets the constraints.
    #[error("no point that meets the constraints was found among {tried} tried")]
    NothingFeasible {
        /// How many points were tried.
        tried: usize,
    },
    /// Every candidate was suggested or measured.
    #[error("all candidates are used up")]
    Exhausted,
    /// No model yet, because fewer than two experiments have results.
    #[error("no model yet: fewer than two experiments have results")]
    NoModel,
    /// The model's equations have no solution within rounding.
    #[error("the model of the results cannot be computed: its equations are singular")]
    Singular,
}
