//! One run: its graph, the state of every step reached so far, and what applying a record does.
//!
//! Everything here is a function of the records applied and their ticks; nothing looks at live
//! signals. `ready` holds the steps that wait for a decision of `advance`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::events::Failure;
use super::record::{About, Ending, StepRef, Terms};
use super::states::{Cause, RunState};
use super::{Plan, Tick};
use crate::compiler::graph::{Graph, HoldState, Node, NodeId, NodeKind};
use crate::expr::Value;

/// One instance of a node: the node and the counters of the loops around it, from outside in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StepKey {
    /// Node of the graph.
    pub node: NodeId,
    /// Loop counters from 0.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rounds: Vec<u32>,
}

/// Where a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Its predecessors are done; it may start at `earliest`.
    Waiting,
    /// Its intent is durable and no outcome is known.
    Sent,
    /// A wait, question, analysis or block under way.
    Open,
    /// The body of a loop or the opening of a branch waits for its condition.
    Deciding,
    /// A failed attempt may or may not have had its effect.
    Uncertain,
    /// Failed; retry, `on_error` or the end of the run follows.
    Failed,
    /// Done.
    Done,
    /// Failed and passed over.
    PassedOver,
}

impl Status {
    /// Nothing follows from the step any more.
    pub(super) fn is_over(self) -> bool {
        matches!(self, Status::Done | Status::PassedOver)
    }
}

/// What is known of one step.
#[derive(Debug, Clone)]
pub struct StepState {
    /// Where it stands.
    pub status: Status,
    /// When it came to that status.
    pub since: Tick,
    /// May not start before.
    pub earliest: Tick,
    /// Must start by, if a `within` says so.
    pub latest: Option<Tick>,
    /// First intent or begin.
    pub started: Option<Tick>,
    /// Last intent.
    pub sent: Option<Tick>,
    /// Intents so far.
    pub attempts: u32,
    /// Failures so far.
    pub failures: u32,
    /// Why it failed last.
    pub failure: Option<Failure>,
    /// Witness before the last intent.
    pub baseline: Option<Value>,
    /// Since when a restart of the instrument makes that worthless; `None` in old journals.
    pub baseline_at: Option<Tick>,
    /// Arguments of the last intent.
    pub args: BTreeMap<String, Value>,
    /// What it returned.
    pub value: Option<Value>,
    /// A question about it stands open.
    pub asked: bool,
    /// A person answered "fail", or an `ask` was answered "invalid".
    pub verdict: Option<Ending>,
    /// Round of a loop under way.
    pub round: u32,
    /// Children of a block that are not done.
    pub open_children: u32,
    /// The question that stands open, while `asked`.
    pub question: Option<OpenQuestion>,
    /// A hold is cancelling, or has cancelled, its last attempt: that is no failure.
    pub cancelled: bool,
    /// How long the run had stood still in all when this step began, or its question.
    pub stood: Duration,
}

/// A question that stands open.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenQuestion {
    /// Number in its run; 0 in old journals.
    pub id: u32,
    /// What kind.
    pub about: About,
    /// Answers to choose from.
    pub options: Vec<String>,
}

/// An instrument of a run that is being held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AtHold {
    /// Where it is brought.
    pub how: HoldState,
    /// Since when.
    pub since: Tick,
    /// Whether it confirmed; `None` while that is awaited.
    pub confirmed: Option<bool>,
}

/// An answer that was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// Number of the question.
    pub id: u32,
    /// Path of the step it was about.
    pub path: String,
    /// The answer.
    pub answer: String,
    /// Who.
    pub by: String,
}

/// Part of its life a run is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Steps.
    Body,
    /// Ending; commands under way are awaited.
    Draining,
    /// `finally`.
    Finally,
    /// Safe states are being sent.
    Safe,
    /// Over.
    Over,
}

/// What holds a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldBy {
    /// What.
    pub cause: Cause,
    /// Who.
    pub by: String,
    /// For people.
    pub detail: String,
    /// Since when.
    pub since: Tick,
}

/// One execution of a graph.
#[derive(Debug, Clone)]
pub struct Run {
    /// Name.
    pub id: String,
    /// What is executed.
    pub graph: Arc<Graph>,
    /// Tables over it.
    pub plan: Arc<Plan>,
    /// Part of its life.
    pub phase: Phase,
    /// When it began.
    pub started: Tick,
    /// State by the records; see [`Run::state`].
    pub(super) moved_to: RunState,
    /// A person paused it; it stays so after a hold of another cause.
    pub paused: bool,
    /// What holds it, oldest first.
    pub holds: Vec<HeldBy>,
    /// The cause that passed last.
    pub released: Option<Cause>,
    /// Since when it is in its state.
    pub moved_at: Tick,
    /// How long it stood still in all, before the time it does now.
    pub stood: Duration,
    /// Since when it stands still.
    pub stands_since: Option<Tick>,
    /// Instruments of a run that is held.
    pub at_hold: BTreeMap<String, AtHold>,
    /// What was sent to each instrument since it was last stopped, each action once, by last use.
    pub going: BTreeMap<String, Vec<StepKey>>,
    /// What the last hold stopped and is to be set going again, in this order.
    pub to_restart: Vec<StepKey>,
    /// The one of these that is under way.
    pub restarting: Option<StepKey>,
    /// Instruments that a restart has begun to set going and not ended with.
    pub half_going: BTreeSet<String>,
    /// Steps of rounds that are over, kept because they set an instrument going.
    pub kept_for_going: Vec<StepKey>,
    /// Why a machine cannot set going again what a hold stopped, by instrument.
    pub unclear: BTreeMap<String, String>,
    /// Instruments of `unclear` that a person was told of, to be set by hand before the run is resumed.
    pub told_unclear: BTreeSet<String>,
    /// Questions so far.
    pub questions: u32,
    /// The last answers.
    pub answers: Vec<Answered>,
    /// Steps reached so far.
    pub steps: BTreeMap<StepKey, StepState>,
    /// Steps that wait for a decision.
    pub ready: BTreeSet<StepKey>,
    /// How the body ended, and why.
    pub ending: Option<(Ending, String)>,
    /// Results, once complete.
    pub results: BTreeMap<String, Value>,
    /// Instruments that were sent something with an effect, in order of first use.
    pub touched: Vec<String>,
    /// Instruments whose last `finally` action succeeded.
    pub settled: BTreeSet<String>,
    /// Steps of `finally` that failed.
    pub finally_failed: Vec<String>,
    /// Instruments whose safe state is awaited.
    pub making_safe: BTreeSet<String>,
    /// `finally` is over and the instruments to make safe are known.
    pub safe_listed: bool,
    /// Instruments that did not confirm.
    pub not_confirmed: Vec<String>,
    /// What it was given beside its graph.
    pub terms: Terms,
}

impl Run {
    /// A run that has not begun; apply [`super::Record::RunStarted`] to it.
    pub fn new(id: String, graph: Arc<Graph>, plan: Arc<Plan>) -> Run {
        Run {
            id,
            graph,
            plan,
            phase: Phase::Body,
            started: Tick(0),
            moved_to: RunState::Running,
            paused: false,
            holds: Vec::new(),
            released: None,
            moved_at: Tick(0),
            stood: Duration::ZERO,
            stands_since: None,
            at_hold: BTreeMap::new(),
            going: BTreeMap::new(),
            to_restart: Vec::new(),
            restarting: None,
            half_going: BTreeSet::new(),
            kept_for_going: Vec::new(),
            unclear: BTreeMap::new(),
            told_unclear: BTreeSet::new(),
            questions: 0,
            answers: Vec::new(),
            steps: BTreeMap::new(),
            ready: BTreeSet::new(),
            ending: None,
            results: BTreeMap::new(),
            touched: Vec::new(),
            settled: BTreeSet::new(),
            finally_failed: Vec::new(),
            making_safe: BTreeSet::new(),
            safe_listed: false,
            not_confirmed: Vec::new(),
            terms: Terms::default(),
        }
    }

    /// What the run is doing as a whole.
    pub fn state(&self) -> RunState {
        match self.moved_to {
            RunState::Running if !self.has_begun() => RunState::Idle,
            state => state,
        }
    }

    /// Whether its first step may have started.
    pub fn has_begun(&self) -> bool {
        let root = StepKey { node: NodeId(0), rounds: Vec::new() };
        self.steps.get(&root).is_none_or(|s| s.status != Status::Waiting)
    }

    /// Node of a step.
    pub fn node(&self, key: &StepKey) -> Option<&Node> {
        self.graph.node(key.node)
    }

    /// Path and key of a step, for a record.
    pub fn step_ref(&self, key: &StepKey) -> StepRef {
        StepRef { path: self.path(key), key: key.clone() }
    }

    /// `run/steady[2]/spectrum`, rounds counted from 1 as people do.
    pub fn path(&self, key: &StepKey) -> String {
        let Some(node) = self.node(key) else { return format!("#{}", key.node.0) };
        if key.rounds.is_empty() {
            return node.path.clone();
        }
        let loops = self.plan.loops(key.node);
        let mut path = String::with_capacity(node.path.len() + 4 * key.rounds.len());
        let mut done = 0;
        for (round, id) in key.rounds.iter().zip(loops) {
            let Some(prefix) = self.graph.node(*id).map(|n| n.path.len()) else { continue };
            path.push_str(node.path.get(done..prefix).unwrap_or_default());
            path.push_str(&format!("[{}]", round + 1));
            done = prefix;
        }
        path.push_str(node.path.get(done..).unwrap_or_default());
        path
    }

    /// Commands sent whose outcome is not known. One in doubt that a person is asked about is not
    /// under way any more.
    pub fn in_flight(&self) -> usize {
        let steps = self.steps.values().filter(|s| s.status == Status::Sent && !s.asked).count();
        steps + usize::from(self.restarting.is_some())
    }

    /// Instruments whose hold state is on its way.
    pub fn going_to_hold(&self) -> impl Iterator<Item = &String> {
        self.at_hold.iter().filter(|(_, mark)| mark.confirmed.is_none()).map(|(name, _)| name)
    }

    /// Whether a command of this run to an instrument has no outcome yet.
    pub fn is_commanding(&self, instrument: &str) -> bool {
        let to = |key: &StepKey| {
            self.node(key).and_then(|n| commanded(&n.kind)).is_some_and(|(i, _)| i == instrument)
        };
        let sent =
            |(key, s): (&StepKey, &StepState)| s.status == Status::Sent && !s.asked && to(key);
        self.steps.iter().any(sent) || self.restarting.as_ref().is_some_and(to)
    }

    /// How long it has stood still in all.
    pub fn stood_until(&self, now: Tick) -> Duration {
        self.stands_since.map_or(self.stood, |since| self.stood + now.since(since))
    }

    /// When a time of the protocol that began with this step's status runs out: the run may have
    /// stood still since.
    pub fn due(&self, state: &StepState, after: Duration, now: Tick) -> Tick {
        state.since.after(after).after(self.stood_until(now).saturating_sub(state.stood))
    }
}

/// Instrument and action of an action node.
pub(super) fn commanded(kind: &NodeKind) -> Option<(&str, &str)> {
    match kind {
        NodeKind::Action { instrument, action, .. } => Some((instrument, action)),
        _ => None,
    }
}
