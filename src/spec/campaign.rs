//! The campaign: what to find out.

pub(super) mod lower;
pub(super) mod tables;

use std::time::Duration;

use crate::units::Quantity;

use super::source::{SourceId, Span, Spanned};
use super::value::{Condition, Named, Written};

/// A campaign as written.
#[derive(Debug, Clone, PartialEq)]
pub struct Campaign {
    /// The text it was read from.
    pub source: SourceId,
    /// Name.
    pub name: Spanned<String>,
    /// For people.
    pub doc: Option<String>,
    /// Path of the protocol, relative to this file.
    pub protocol: Spanned<String>,
    /// Path of the lab, relative to this file.
    pub lab: Option<Spanned<String>>,
    /// Role -> instrument, where the campaign pins one.
    pub roles: Vec<Named<Spanned<String>>>,
    /// What is searched, in the order written.
    pub space: Vec<Dimension>,
    /// Parameters that stay the same: `fixed: {catalyst: Pd-1}`.
    pub fixed: Vec<Named<Written>>,
    /// What to reach; at least one.
    pub objectives: Vec<Objective>,
    /// Over `params.*`: which points are worth trying.
    pub input_constraints: Vec<Condition>,
    /// Over `results.*`: which outcomes are good enough.
    pub outcome_constraints: Vec<Condition>,
    /// How experiments are proposed.
    pub planner: PlannerDecl,
    /// Experiments in flight at once, at least 1.
    pub parallel: Option<Spanned<u32>>,
    /// Whose runs get an instrument first, 0 to 9; larger first.
    pub priority: Option<Spanned<u32>>,
    /// Runs of the same point, at least 1.
    pub replicates: Option<Spanned<u32>>,
    /// What a failed run means.
    pub on_failed_run: OnFailedRun,
    /// What to do with a sample when nothing can tell whether it was dosed.
    pub in_doubt: InDoubt,
    /// When it must end.
    pub budget: Budget,
    /// When it may end.
    pub stop: Stop,
    /// What a person must agree to.
    pub approve: Approve,
    /// `unattended: allowed`.
    pub unattended: Option<Spanned<bool>>,
}

/// One searched parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct Dimension {
    /// Parameter of the protocol.
    pub name: Spanned<String>,
    /// Its range.
    pub range: Range,
    /// The whole entry.
    pub span: Span,
}

/// What is tried of one parameter.
#[derive(Debug, Clone, PartialEq)]
pub enum Range {
    /// `{from, to, scale, step}`.
    Interval {
        /// Smallest.
        from: Spanned<Quantity>,
        /// Largest.
        to: Spanned<Quantity>,
        /// Search in the logarithm.
        log: bool,
        /// Only multiples of this above `from`.
        step: Option<Spanned<Quantity>>,
    },
    /// A list of words or of values.
    Options {
        /// The values, never empty, no two alike.
        values: Vec<Written>,
        /// Numbers that say how alike the words are, by word; all of one length.
        descriptors: Vec<Named<Vec<f64>>>,
    },
}

/// One objective.
#[derive(Debug, Clone, PartialEq)]
pub struct Objective {
    /// Result of the protocol.
    pub result: Spanned<String>,
    /// Whether more is better.
    pub maximize: bool,
    /// Result that gives its standard deviation.
    pub noise: Option<Spanned<String>>,
    /// The worst value of interest, in the unit of the result.
    pub reference: Option<Spanned<Quantity>>,
    /// The whole entry.
    pub span: Span,
}

/// How experiments are proposed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PlannerDecl {
    /// Experiments before the model is asked.
    pub initial: Option<Spanned<u32>>,
    /// Experiments proposed at once.
    pub batch: Option<Spanned<u32>>,
    /// Seed.
    pub seed: Option<Spanned<u64>>,
}

/// What a failed run means.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct OnFailedRun {
    /// Told to the planner as failed (`failed`, the default) or left out (`nothing`).
    pub leave_out: bool,
    /// Pause the campaign after this many failures in a row.
    pub pause_after: Option<Spanned<u32>>,
    /// Failures allowed in the whole campaign; one more ends it.
    pub budget: Option<Spanned<u32>>,
}

/// What to do with a sample when nothing can tell whether it was dosed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InDoubt {
    /// Ask a person.
    #[default]
    Ask,
    /// Mark it and run the experiment anew.
    Discard,
}

/// When a campaign must end.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Budget {
    /// Experiments.
    pub experiments: Option<Spanned<u32>>,
    /// Lab time.
    pub time: Option<Spanned<Duration>>,
    /// Stock of the lab.
    pub stock: Vec<Named<Spanned<Quantity>>>,
    /// The whole section; the campaign's name where it has none.
    pub span: Span,
}

/// When a campaign may end.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Stop {
    /// One of these is enough.
    pub any: Vec<Condition>,
    /// All of these are needed.
    pub all: Vec<Condition>,
}

/// What a person must agree to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Approve {
    /// Nothing.
    #[default]
    Never,
    /// The first batch.
    FirstBatch,
    /// Every experiment.
    Every,
}
