//! What the journal keeps of campaigns.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::engine::core::{Command, Ending};
use crate::expr::Value;

/// What a model said of an experiment before it was run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hypothesis {
    /// The planner's own number of the suggestion.
    pub suggestion: u64,
    /// Values with units, as the protocol takes them.
    pub parameters: BTreeMap<String, Value>,
    /// Per objective or constrained result, in the result's unit; empty in the initial design.
    pub predictions: BTreeMap<String, Predicted>,
    /// Probability of being better than the best so far; `None` in the initial design.
    pub probability_of_improvement: Option<f64>,
    /// Probability of meeting all outcome constraints and of not failing.
    pub probability_feasible: Option<f64>,
    /// Why it was chosen, for people.
    pub reason: String,
}

/// Predicted distribution of one result.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Predicted {
    /// Mean, in the unit of the result.
    pub mean: f64,
    /// Standard deviation of a new measurement, in the unit of the result.
    pub sd: f64,
}

/// What became of a hypothesis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Measured within the central 80 % of what was predicted.
    Supported,
    /// Measured outside the central 95 %.
    Refuted,
    /// Between the two, not predicted, or not measured.
    Inconclusive,
}

/// What an experiment brought.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Conclusion {
    /// Results in the units of the protocol.
    Measured {
        /// Value of each result.
        results: BTreeMap<String, f64>,
    },
    /// No result.
    Failed {
        /// Why.
        cause: String,
    },
}

/// Why a campaign ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// A stop condition holds.
    Goal(String),
    /// Experiments or time are spent and no stop condition was given.
    BudgetSpent(String),
    /// The planner has nothing left to try.
    SpaceExhausted(String),
    /// Too many failed experiments in a row.
    Failures(u32),
    /// More failed experiments than the campaign allows in all.
    FailureBudget {
        /// Failed experiments.
        failed: u32,
        /// Allowed.
        allowed: u32,
    },
    /// Ended by a person; `resume` goes on.
    Person(String),
    /// The protocol did not compile for a proposed point, or the planner failed.
    Internal(String),
}

/// One fact about a campaign.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CampaignRecord {
    /// It began.
    Started {
        /// Name in its file.
        name: String,
        /// Hash of the document that holds all texts it was started with.
        bundle: String,
        /// Seed of the planner.
        seed: u64,
        /// Experiments at most.
        experiments: u32,
        /// labloop that started it.
        version: String,
        /// Values given to the protocol of a single run.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        parameters: BTreeMap<String, Value>,
        /// Whoever asks again with this key is told of this campaign instead of starting another.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
    },
    /// An engine took it up again.
    Resumed {
        /// labloop that did.
        version: String,
    },
    /// An experiment was proposed.
    Proposed {
        /// From 1.
        experiment: u32,
        /// What is expected of it.
        hypothesis: Hypothesis,
    },
    /// A run of an experiment begins.
    Assigned {
        /// Experiment.
        experiment: u32,
        /// Run.
        run: String,
    },
    /// A run of an experiment is over.
    RunOver {
        /// Experiment.
        experiment: u32,
        /// Run.
        run: String,
        /// How it ended.
        ending: Ending,
        /// Why, if not complete.
        cause: String,
        /// Results in the units of the protocol; empty unless complete.
        results: BTreeMap<String, f64>,
    },
    /// An experiment is over.
    Concluded {
        /// Experiment.
        experiment: u32,
        /// What it brought.
        conclusion: Conclusion,
        /// What became of its hypothesis.
        verdict: Verdict,
    },
    /// A person told it to pause, hold, go on, stop or abort.
    Told {
        /// What.
        command: Command,
        /// Who.
        by: String,
        /// Why.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
        /// The run that was stopped, where that is what ends the campaign.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        run: Option<String>,
    },
    /// A person changed what it searches, or how; from the next proposal on.
    Edited {
        /// Who.
        by: String,
        /// Why.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
        /// What, in words, one change each: `budget.experiments: 20 -> 40`.
        diff: Vec<String>,
        /// Hash of the document with all texts that hold from now on.
        bundle: String,
        /// Experiments at most from now on.
        experiments: u32,
    },
    /// A person took an experiment out of what the planner learns from, or back in.
    Excluded {
        /// Experiment.
        experiment: u32,
        /// Who.
        by: String,
        /// Why.
        reason: String,
        /// Back in.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        undo: bool,
    },
    /// The campaign is over.
    Ended {
        /// Why.
        reason: EndReason,
    },
}
