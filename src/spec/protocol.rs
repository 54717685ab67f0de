//! The protocol: what to do, in roles, not machines.

pub(super) mod lower;
mod process;
pub(super) mod tables;

pub use process::{MEMORY_DEFAULT, ProcessDecl};

pub use tables::FAILURE_KINDS;

use std::time::Duration;

use crate::units::Unit;

use super::source::{SourceId, Span, Spanned};
use super::value::{Condition, Expression, Named, ValueSpec, Written};

/// A protocol as written, every name and expression with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Protocol {
    /// The text it was read from.
    pub source: SourceId,
    /// Name.
    pub name: Spanned<String>,
    /// For people.
    pub doc: Option<String>,
    /// `unattended: allowed`: nothing in it may heat, pump, move or power without a watchdog in
    /// the device.
    pub unattended: Option<Spanned<bool>>,
    /// Set by a campaign, the command line or the web form.
    pub parameters: Vec<ValueSpec>,
    /// Values computed from parameters, in the order written.
    pub derived: Vec<Named<Written>>,
    /// The instruments it needs.
    pub roles: Vec<Role>,
    /// What it works on, and where each stands when a run begins.
    pub samples: Vec<Sample>,
    /// Conditions that must hold before the first step moves anything.
    pub require: Vec<Condition>,
    /// `resume: {within}`: longest time without an engine after which a run goes on by itself.
    pub resume_within: Option<Spanned<Duration>>,
    /// The recipe.
    pub steps: Vec<Step>,
    /// Steps for every exit but the emergency stop.
    pub finally: Vec<Step>,
    /// The only values a campaign may optimise or constrain.
    pub results: Vec<ResultDecl>,
}

/// A part that an instrument plays.
#[derive(Debug, Clone, PartialEq)]
pub struct Role {
    /// Name.
    pub name: Spanned<String>,
    /// Type of instrument that can play it.
    pub kind: Spanned<String>,
    /// Ports it must have, for valves.
    pub ports: Vec<Spanned<String>>,
    /// For people.
    pub doc: Option<String>,
    /// The whole entry.
    pub span: Span,
}

/// Something the protocol works on.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Name.
    pub name: Spanned<String>,
    /// What it is in or on: `vial_20mL`; a place may hold only one kind.
    pub labware: Option<Spanned<String>>,
    /// Place of the lab where it stands when a run begins.
    pub at: Spanned<String>,
    /// For people.
    pub doc: Option<String>,
    /// The whole entry.
    pub span: Span,
}

/// One line of the recipe.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Name by which others refer to it.
    pub id: Option<Spanned<String>>,
    /// For people.
    pub doc: Option<String>,
    /// What it does.
    pub kind: StepKind,
    /// Steps of the same list that must have ended; empty = the one written before.
    pub after: Vec<Spanned<String>>,
    /// Starts at most this long after the step before ended.
    pub within: Option<Expression>,
    /// Has failed after this long.
    pub timeout: Option<Expression>,
    /// Attempts after the first.
    pub retry: Option<RetryDecl>,
    /// What a failure does.
    pub on_error: Option<OnErrorDecl>,
    /// The word that makes it what it is: `do`, `wait`, `parallel`...
    pub word: Span,
    /// The whole step.
    pub span: Span,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq)]
pub enum StepKind {
    /// `do: role.action`.
    Do {
        /// Role.
        role: Spanned<String>,
        /// Action.
        action: Spanned<String>,
        /// Arguments.
        with: Vec<Named<Written>>,
        /// Stock it uses up: `{feed_a: 2 mL}`.
        consumes: Vec<Named<Expression>>,
        /// What it makes must be used within this time.
        expires: Option<Expression>,
        /// Samples it works on.
        uses: Vec<Spanned<String>>,
    },
    /// `move: sample`.
    Move {
        /// Sample.
        sample: Spanned<String>,
        /// Place of the lab it goes to.
        to: Spanned<String>,
        /// Role that moves it; `None`: a person is asked to.
        by: Option<Spanned<String>>,
    },
    /// `wait: 5 min`.
    Wait {
        /// A time.
        duration: Expression,
    },
    /// `wait_until: condition`.
    WaitUntil {
        /// The condition.
        condition: Condition,
        /// How long it must hold without a break.
        stable_for: Option<Expression>,
    },
    /// `parallel: {branch: [steps]}`.
    Parallel {
        /// Branches in the order written.
        branches: Vec<Branch>,
        /// First commands of all branches leave within this window.
        start_together: Option<Expression>,
    },
    /// `steps: [...]`, a block, perhaps with `hold:`.
    Group {
        /// Roles kept from start to end.
        hold: Vec<Spanned<String>>,
        /// The steps.
        steps: Vec<Step>,
    },
    /// `repeat: {max_times, until, steps}`.
    Repeat {
        /// Bound; a whole number, at least 1.
        max_times: Expression,
        /// Checked after each round.
        until: Option<Condition>,
        /// The body.
        steps: Vec<Step>,
    },
    /// `for_each: {name: list}`.
    ForEach {
        /// Name of the variable.
        variable: Spanned<String>,
        /// The values.
        values: Written,
        /// The body.
        steps: Vec<Step>,
    },
    /// `if: condition`.
    If {
        /// The condition.
        condition: Condition,
        /// When it holds.
        then: Vec<Step>,
        /// When not.
        otherwise: Vec<Step>,
    },
    /// `ask: question`.
    Ask {
        /// Text, may hold `${ }`.
        question: Expression,
        /// Answers.
        options: Vec<Spanned<String>>,
        /// The answer taken at the deadline; `None` fails the step.
        on_timeout: Option<Spanned<String>>,
    },
    /// `log: message`.
    Log {
        /// Text, may hold `${ }`.
        message: Expression,
    },
    /// `analyse: function`, or `analyse: {process: [...]}`.
    Analyse {
        /// Function of `analysis`; `process` where it is a program.
        function: Spanned<String>,
        /// The program, if it is one.
        process: Option<Box<ProcessDecl>>,
        /// Inputs.
        with: Vec<Named<Written>>,
    },
    /// `call: protocol.yaml`.
    Call {
        /// Path of the other protocol, relative to this one.
        protocol: Spanned<String>,
        /// Its parameters.
        with: Vec<Named<Written>>,
        /// Its roles, by ours: `{theirs: ours}`; a role not named is played by our role of the
        /// same name.
        roles: Vec<Named<Spanned<String>>>,
    },
}

/// One branch of a `parallel`.
#[derive(Debug, Clone, PartialEq)]
pub struct Branch {
    /// Name.
    pub name: Spanned<String>,
    /// The steps.
    pub steps: Vec<Step>,
}

/// `retry: {times, wait, factor, max_wait, if}`.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryDecl {
    /// How many more attempts, 1 to 100.
    pub times: Spanned<u32>,
    /// Pause before the first of them.
    pub wait: Option<Expression>,
    /// Each further pause is so many times as long as the one before, 1 to 10.
    pub factor: Option<Spanned<f64>>,
    /// No pause is longer.
    pub max_wait: Option<Expression>,
    /// Kinds of failure, as `FailureKind` writes them (`timeout`, `bad_reply`...); empty = all.
    pub only: Vec<Spanned<String>>,
    /// The key and its value.
    pub span: Span,
}

/// `on_error: ...`.
#[derive(Debug, Clone, PartialEq)]
pub enum OnErrorDecl {
    /// The run fails and `finally` runs.
    Fail(Span),
    /// Go on; results of the step stay missing.
    Continue(Span),
    /// Ask a person.
    Ask(Span),
    /// The sample is lost.
    Invalid(Span),
    /// The same action on another instrument that can play the role.
    Fallback(Span),
    /// `{do: ...}`: run these steps first.
    Do(Vec<Step>, Span),
}

/// One result.
#[derive(Debug, Clone, PartialEq)]
pub struct ResultDecl {
    /// Name.
    pub name: Spanned<String>,
    /// Value, evaluated when the last step is done.
    pub value: Expression,
    /// Unit it is reported in; `None` for plain numbers and texts.
    pub unit: Option<Spanned<Unit>>,
    /// For people.
    pub doc: Option<String>,
    /// The whole entry.
    pub span: Span,
}

impl Step {
    /// Steps that stand directly in this one, whatever its kind, those of `on_error` last.
    pub fn children(&self) -> impl Iterator<Item = &Step> {
        let (first, second): (&[Step], &[Step]) = match &self.kind {
            StepKind::Group { steps, .. }
            | StepKind::Repeat { steps, .. }
            | StepKind::ForEach { steps, .. } => (steps, &[]),
            StepKind::If { then, otherwise, .. } => (then, otherwise),
            _ => (&[], &[]),
        };
        let branches: &[Branch] = match &self.kind {
            StepKind::Parallel { branches, .. } => branches,
            _ => &[],
        };
        let on_error: &[Step] = match &self.on_error {
            Some(OnErrorDecl::Do(steps, _)) => steps,
            _ => &[],
        };
        let branches = branches.iter().flat_map(|branch| &branch.steps);
        first.iter().chain(second).chain(branches).chain(on_error)
    }
}

impl Protocol {
    /// A parameter by name.
    pub fn parameter(&self, name: &str) -> Option<&ValueSpec> {
        self.parameters.iter().find(|p| p.name.value == name)
    }

    /// A role by name.
    pub fn role(&self, name: &str) -> Option<&Role> {
        self.roles.iter().find(|r| r.name.value == name)
    }

    /// A sample by name.
    pub fn sample(&self, name: &str) -> Option<&Sample> {
        self.samples.iter().find(|s| s.name.value == name)
    }

    /// A result by name.
    pub fn result(&self, name: &str) -> Option<&ResultDecl> {
        self.results.iter().find(|r| r.name.value == name)
    }
}
