//! What the engine needs of a planner and of a compiler to run a campaign.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::compiler::graph::Graph;
use crate::engine::campaign::{Conclusion, Experiment, Hypothesis};
use crate::expr::Value;

/// The planner cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BrainError(pub String);

/// What a planner answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Proposal {
    /// Experiments to run.
    Experiments(Vec<Hypothesis>),
    /// There is nothing left to try, with the reason.
    Exhausted(String),
}

/// Proposes experiments and learns from them. Deterministic: the same seed and the same history
/// give the same proposals.
pub trait Brain: Send {
    /// Proposes this many experiments; those proposed and not concluded count as under way.
    fn propose(&mut self, count: u32) -> Result<Proposal, BrainError>;

    /// Learns the conclusion of an experiment.
    fn learn(&mut self, hypothesis: &Hypothesis, conclusion: &Conclusion)
    -> Result<(), BrainError>;

    /// An experiment is over and nothing is to be learnt of it.
    fn pass_over(&mut self, _hypothesis: &Hypothesis) {}

    /// Takes up a campaign again: experiments in order, concluded or not.
    fn restore(&mut self, experiments: &[Experiment]) -> Result<(), BrainError>;
}

/// Compiles the protocol for one set of parameters.
pub type Compile =
    Box<dyn Fn(&BTreeMap<String, Value>) -> Result<Arc<Graph>, String> + Send + Sync>;

/// Checks the stop conditions of a campaign: the text of the first that holds.
pub type Goal = Box<dyn Fn(&[Experiment]) -> Option<String> + Send + Sync>;
