//! One run: its graph, the state of every step reached so far, and what applying a record does.
//!
//! Everything here is a function of the records applied and their ticks; nothing looks at live
//! signals. `ready` holds the steps that wait for a decision of `advance`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::events::Failure;
use super::record::{Ending, Record, Resolution, StepRef, Terms};
use super::states::{Cause, RunState};
use super::{Plan, Tick};
use crate::compiler::graph::{Graph, Node, NodeId, NodeKind, OnError};
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
    moved_to: RunState,
    /// A person paused it; it stays so after a hold of another cause.
    pub paused: bool,
    /// What holds it, oldest first.
    pub holds: Vec<HeldBy>,
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
    /// A run that has not begun; apply [`Record::RunStarted`] to it.
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
        let root = StepKey { node: NodeId(0), rounds: Vec::new() };
        let begun = self.steps.get(&root).is_none_or(|s| s.status != Status::Waiting);
        match self.moved_to {
            RunState::Running if !begun => RunState::Idle,
            state => state,
        }
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

    /// Commands sent whose outcome is not known.
    pub fn in_flight(&self) -> usize {
        self.steps.values().filter(|s| s.status == Status::Sent).count()
    }

    /// Takes a fact into the state. Facts that do not fit the state are ignored: they come from a
    /// journal whose chain was verified, so they can only be late duplicates.
    pub fn apply(&mut self, record: &Record, now: Tick) {
        match record {
            Record::RunStarted { terms, .. } => {
                self.started = now;
                self.terms = terms.clone();
                self.enter(StepKey { node: NodeId(0), rounds: Vec::new() }, now, None);
            }
            Record::Held { step, .. } | Record::Begun { step, .. } => self.open(&step.key, now),
            Record::Intent { step, attempt, instrument, args, baseline, effect, .. } => {
                self.ready.remove(&step.key);
                if let Some(state) = self.steps.get_mut(&step.key) {
                    state.status = Status::Sent;
                    state.since = now;
                    state.started.get_or_insert(now);
                    state.sent = Some(now);
                    state.attempts = *attempt;
                    state.baseline.clone_from(baseline);
                    state.args.clone_from(args);
                }
                if *effect != crate::compiler::graph::Effect::Read
                    && !self.touched.contains(instrument)
                {
                    self.touched.push(instrument.clone());
                }
            }
            Record::Outcome { step, result, .. } | Record::Ended { step, result, .. } => {
                self.outcome(&step.key, result, now);
            }
            Record::Resolved { step, resolution, .. } => {
                self.resolved(&step.key, *resolution, now);
            }
            Record::Decided { step, holds, .. } => self.decided(&step.key, *holds, now),
            Record::Retrying { step, .. } => {
                let failures = self.steps.get(&step.key).map_or(1, |s| s.failures);
                let wait =
                    self.node(&step.key).and_then(|n| n.retry.as_ref()).map(|r| r.pause(failures));
                self.restart(&step.key, now, now.after(wait.unwrap_or_default()));
            }
            Record::Handling { step, handler, .. } => {
                self.ready.remove(&step.key);
                if let Some(state) = self.steps.get_mut(&step.key) {
                    state.status = Status::Open;
                    state.since = now;
                    state.open_children = 1;
                }
                self.enter(handler.key.clone(), now, None);
            }
            Record::PassedOver { step, .. } => self.finish(&step.key, Status::PassedOver, now),
            Record::Question { step, .. } => {
                self.ready.remove(&step.key);
                if let Some(state) = self.steps.get_mut(&step.key) {
                    state.asked = true;
                    state.since = now;
                }
            }
            Record::Answer { step, answer, .. } => self.answered(&step.key, answer, now),
            Record::Paused { paused, by, .. } => {
                let to = if *paused { RunState::Paused } else { RunState::Running };
                if self.phase == Phase::Body {
                    self.moved(to, Cause::Person, by, "", now);
                }
            }
            Record::Moved { to, cause, by, detail, .. } => self.moved(*to, *cause, by, detail, now),
            Record::Released { cause, .. } => self.holds.retain(|held| held.cause != *cause),
            Record::BodyEnded { ending, cause, results, .. } => {
                self.ending = Some((*ending, cause.clone()));
                self.results.clone_from(results);
                self.ready.clear();
                self.moved_to = RunState::ending(*ending);
                self.paused = false;
                self.holds.clear();
                // Ended again from within its safe states: they are sent anew, and to all.
                self.safe_listed = false;
                self.making_safe.clear();
                self.not_confirmed.clear();
                self.phase = if *ending == Ending::Aborted { Phase::Safe } else { Phase::Draining };
                self.drained(now);
            }
            Record::FinallyEnded { failed, make_safe, .. } => {
                self.phase = Phase::Safe;
                self.safe_listed = true;
                self.finally_failed.clone_from(failed);
                self.making_safe = make_safe.iter().cloned().collect();
                self.ready.clear();
            }
            Record::MadeSafe { instrument, confirmed, .. } => {
                if self.making_safe.remove(instrument) && !confirmed {
                    self.not_confirmed.push(instrument.clone());
                }
            }
            Record::RunEnded { ending, .. } => {
                self.moved_to = RunState::ended(*ending);
                self.phase = Phase::Over;
                self.ready.clear();
            }
        }
    }

    /// The run comes to another state. Causes gather while it is held, and are gone once it runs.
    fn moved(&mut self, to: RunState, cause: Cause, by: &str, detail: &str, now: Tick) {
        match to {
            RunState::Pausing | RunState::Paused => self.paused = true,
            RunState::Holding | RunState::Held => {
                if !self.holds.iter().any(|held| held.cause == cause) {
                    let (by, detail) = (by.to_owned(), detail.to_owned());
                    self.holds.push(HeldBy { cause, by, detail, since: now });
                }
            }
            RunState::Restarting => {
                self.holds.clear();
                self.paused &= cause != Cause::Person;
            }
            RunState::Running => {
                self.holds.clear();
                self.paused = false;
            }
            _ => {}
        }
        self.moved_to = to;
    }

    /// A step's predecessors are done. Blocks that need neither claims nor time open at once.
    fn enter(&mut self, key: StepKey, earliest: Tick, latest: Option<Tick>) {
        let Some(node) = self.graph.node(key.node) else { return };
        let block = node.kind.is_block();
        let needs = !self.plan.claims(key.node).is_empty();
        let root = key.node.0 == 0;
        let now = earliest;
        self.steps.insert(
            key.clone(),
            StepState {
                status: Status::Waiting,
                since: now,
                earliest,
                latest,
                started: None,
                sent: None,
                attempts: 0,
                failures: 0,
                failure: None,
                baseline: None,
                args: BTreeMap::new(),
                value: None,
                asked: false,
                verdict: None,
                round: 0,
                open_children: 0,
            },
        );
        // The root waits for `require`; a block that holds waits for its claims; a block that must
        // start at a certain time waits for it.
        let timed = latest.is_some() || !self.edges_are_plain(key.node);
        if block && !needs && !root && !timed {
            self.open(&key, now);
        } else {
            self.ready.insert(key);
        }
    }

    fn edges_are_plain(&self, node: NodeId) -> bool {
        self.plan.before.get(node.0 as usize).is_none_or(|list| {
            list.iter().all(|index| {
                self.graph.edges.get(*index).is_none_or(|e| e.min.is_zero() && e.max.is_none())
            })
        })
    }

    /// Starts a block's body, or what a leaf does by itself.
    fn open(&mut self, key: &StepKey, now: Tick) {
        self.ready.remove(key);
        let Some(state) = self.steps.get_mut(key) else { return };
        state.status = Status::Open;
        state.since = now;
        state.started.get_or_insert(now);
        let graph = Arc::clone(&self.graph);
        let Some(node) = graph.node(key.node) else { return };
        match &node.kind {
            NodeKind::Group { .. } | NodeKind::Parallel { .. } => self.enter_body(key, None, now),
            NodeKind::Repeat { max_times, .. } if *max_times > 0 => {
                self.enter_body(key, Some(0), now);
            }
            NodeKind::ForEach { values, .. } if !values.is_empty() => {
                self.enter_body(key, Some(0), now);
            }
            NodeKind::Repeat { .. } | NodeKind::ForEach { .. } => {
                self.finish(key, Status::Done, now);
            }
            NodeKind::Branch { .. } => {
                if let Some(state) = self.steps.get_mut(key) {
                    state.status = Status::Deciding;
                }
                self.ready.insert(key.clone());
            }
            NodeKind::Action { .. }
            | NodeKind::Wait { .. }
            | NodeKind::WaitUntil { .. }
            | NodeKind::Analyse { .. }
            | NodeKind::Values { .. }
            | NodeKind::Ask { .. }
            | NodeKind::Log { .. } => {
                self.ready.insert(key.clone());
            }
        }
    }

    /// Enters the children without predecessors of all slots (or of slot 0 in a loop round).
    fn enter_body(&mut self, key: &StepKey, round: Option<u32>, now: Tick) {
        let plan = Arc::clone(&self.plan);
        let slots = if round.is_some() { 1 } else { plan.slots(key.node) };
        self.enter_slots(key, 0..slots, round, now);
    }

    fn enter_slots(
        &mut self,
        key: &StepKey,
        slots: std::ops::Range<u32>,
        round: Option<u32>,
        now: Tick,
    ) {
        let plan = Arc::clone(&self.plan);
        let mut rounds = key.rounds.clone();
        rounds.extend(round);
        let total: usize = slots.clone().map(|slot| plan.body(key.node, slot).len()).sum();
        if let Some(state) = self.steps.get_mut(key) {
            state.round = round.unwrap_or(0);
            state.open_children = u32::try_from(total).unwrap_or(u32::MAX);
            state.status = Status::Open;
        }
        if total == 0 {
            self.body_done(key, now);
            return;
        }
        for slot in slots {
            for child in plan.body(key.node, slot) {
                if plan.before.get(child.0 as usize).is_none_or(Vec::is_empty) {
                    self.enter(StepKey { node: *child, rounds: rounds.clone() }, now, None);
                }
            }
        }
    }

    fn outcome(&mut self, key: &StepKey, result: &Result<Option<Value>, Failure>, now: Tick) {
        match result {
            Ok(value) => {
                if let Some(state) = self.steps.get_mut(key) {
                    state.value.clone_from(value);
                }
                self.note_settled(key, true);
                self.finish(key, Status::Done, now);
            }
            Err(failure) => {
                let verifiable = self.node(key).is_some_and(|n| {
                    matches!(
                        n.kind,
                        NodeKind::Action {
                            effect: crate::compiler::graph::Effect::Verifiable
                                | crate::compiler::graph::Effect::Once,
                            ..
                        }
                    )
                });
                self.note_settled(key, false);
                let Some(state) = self.steps.get_mut(key) else { return };
                state.failures = state.failures.saturating_add(1);
                state.since = now;
                state.status = if failure.effect_unknown && verifiable {
                    Status::Uncertain
                } else {
                    Status::Failed
                };
                state.failure = Some(failure.clone());
                if matches!(self.phase, Phase::Body | Phase::Finally) {
                    self.ready.insert(key.clone());
                }
            }
        }
        self.drained(now);
    }

    fn note_settled(&mut self, key: &StepKey, ok: bool) {
        if self.phase != Phase::Finally {
            return;
        }
        let Some(NodeKind::Action { instrument, starts, .. }) = self.node(key).map(|n| &n.kind)
        else {
            return;
        };
        // SAFETY(lab): what starts something (a set point, a last rinse) does not stop it; the
        // safe state must follow, or a heater stays on after the run.
        let (instrument, stops) = (instrument.clone(), starts.is_empty());
        if ok && stops {
            self.settled.insert(instrument);
        } else {
            self.settled.remove(&instrument);
        }
    }

    fn resolved(&mut self, key: &StepKey, resolution: Resolution, now: Tick) {
        match resolution {
            Resolution::Done => self.finish(key, Status::Done, now),
            Resolution::NotDone => {
                let Some(state) = self.steps.get_mut(key) else { return };
                if state.status == Status::Sent {
                    self.restart(key, now, now);
                } else {
                    state.status = Status::Failed;
                    state.since = now;
                    self.ready.insert(key.clone());
                }
            }
            Resolution::Discard => {
                let Some(state) = self.steps.get_mut(key) else { return };
                state.status = Status::Failed;
                state.verdict = Some(Ending::Invalid);
                state.since = now;
                self.ready.insert(key.clone());
            }
        }
        self.drained(now);
    }

    /// Back to waiting. What ran inside a block is forgotten, so that it runs anew.
    fn restart(&mut self, key: &StepKey, now: Tick, earliest: Tick) {
        let block = self.node(key).is_some_and(|n| n.kind.is_block());
        let inside: Vec<StepKey> = self
            .steps
            .keys()
            .filter(|_| block)
            .filter(|k| k.rounds.starts_with(&key.rounds) && self.is_inside(k.node, key.node))
            .cloned()
            .collect();
        for step in inside {
            self.ready.remove(&step);
            self.steps.remove(&step);
        }
        if let Some(state) = self.steps.get_mut(key) {
            state.status = Status::Waiting;
            state.since = now;
            state.earliest = earliest;
            state.latest = None;
            state.asked = false;
            self.ready.insert(key.clone());
        }
    }

    pub(super) fn is_inside(&self, node: NodeId, block: NodeId) -> bool {
        let mut at = self.graph.node(node).and_then(|n| n.parent);
        while let Some(parent) = at {
            if parent == block {
                return true;
            }
            at = self.graph.node(parent).and_then(|n| n.parent);
        }
        false
    }

    fn decided(&mut self, key: &StepKey, holds: bool, now: Tick) {
        self.ready.remove(key);
        let graph = Arc::clone(&self.graph);
        let Some(node) = graph.node(key.node) else { return };
        let round = self.steps.get(key).map_or(0, |s| s.round);
        match &node.kind {
            NodeKind::Branch { .. } => {
                let slot = u32::from(!holds);
                self.enter_slots(key, slot..slot + 1, None, now);
            }
            NodeKind::Repeat { .. } if holds => self.finish(key, Status::Done, now),
            NodeKind::Repeat { max_times, until } => {
                if round + 1 < *max_times {
                    self.forget_round(key, round);
                    self.enter_body(key, Some(round + 1), now);
                } else if let Some(until) = until {
                    let failure = Failure {
                        kind: crate::compiler::graph::FailureKind::Condition,
                        message: format!("`{}` was not met in {max_times} rounds", until.text),
                        effect_unknown: false,
                    };
                    self.outcome(key, &Err(failure), now);
                } else {
                    self.finish(key, Status::Done, now);
                }
            }
            _ => {}
        }
    }

    fn answered(&mut self, key: &StepKey, answer: &str, now: Tick) {
        let is_ask = self.node(key).is_some_and(|n| matches!(n.kind, NodeKind::Ask { .. }));
        let Some(state) = self.steps.get_mut(key) else { return };
        if !std::mem::take(&mut state.asked) {
            return;
        }
        if is_ask {
            state.value = Some(Value::Text(answer.into()));
            if answer == "invalid" {
                state.status = Status::Failed;
                state.verdict = Some(Ending::Invalid);
                self.ready.insert(key.clone());
            } else {
                self.finish(key, Status::Done, now);
            }
            return;
        }
        // About a failed step; about a doubt, a `Resolved` record follows.
        match answer {
            "retry" => self.restart(key, now, now),
            "skip" => self.finish(key, Status::PassedOver, now),
            "fail" => {
                state.verdict = Some(Ending::Failed);
                self.ready.insert(key.clone());
            }
            _ => {}
        }
    }

    /// A step is over: its successors may follow, and its block may be done.
    fn finish(&mut self, key: &StepKey, status: Status, now: Tick) {
        self.ready.remove(key);
        let Some(state) = self.steps.get_mut(key) else { return };
        if matches!(state.status, Status::Done | Status::PassedOver) {
            return;
        }
        state.status = status;
        state.since = now;
        state.asked = false;
        let (graph, plan) = (Arc::clone(&self.graph), Arc::clone(&self.plan));
        for edge in plan.after.get(key.node.0 as usize).into_iter().flatten() {
            if let Some(edge) = graph.edges.get(*edge) {
                self.follow(StepKey { node: edge.to, rounds: key.rounds.clone() });
            }
        }
        let Some(parent) = graph.node(key.node).and_then(|n| n.parent) else { return };
        let depth = plan.loops(parent).len();
        let parent =
            StepKey { node: parent, rounds: key.rounds.get(..depth).unwrap_or_default().to_vec() };
        let Some(state) = self.steps.get_mut(&parent) else { return };
        state.open_children = state.open_children.saturating_sub(1);
        if state.open_children == 0 {
            self.body_done(&parent, now);
        }
    }

    /// Enters a successor once all of its predecessors are over.
    fn follow(&mut self, key: StepKey) {
        if self.steps.contains_key(&key) {
            return;
        }
        let (graph, plan) = (Arc::clone(&self.graph), Arc::clone(&self.plan));
        let mut earliest = Tick(0);
        let mut latest: Option<Tick> = None;
        for edge in plan.before.get(key.node.0 as usize).into_iter().flatten() {
            let Some(edge) = graph.edges.get(*edge) else { continue };
            let before = StepKey { node: edge.from, rounds: key.rounds.clone() };
            let Some(state) = self.steps.get(&before) else { return };
            if !matches!(state.status, Status::Done | Status::PassedOver) {
                return;
            }
            earliest = earliest.max(state.since.after(edge.min));
            if let Some(max) = edge.max {
                let limit = state.since.after(max);
                latest = Some(latest.map_or(limit, |l| l.min(limit)));
            }
        }
        self.enter(key, earliest, latest);
    }

    fn body_done(&mut self, key: &StepKey, now: Tick) {
        let graph = Arc::clone(&self.graph);
        let Some(node) = graph.node(key.node) else { return };
        let round = self.steps.get(key).map_or(0, |s| s.round);
        match &node.kind {
            NodeKind::Repeat { .. } => {
                if let Some(state) = self.steps.get_mut(key) {
                    state.status = Status::Deciding;
                    state.since = now;
                }
                self.ready.insert(key.clone());
            }
            NodeKind::ForEach { values, .. } if (round as usize) + 1 < values.len() => {
                self.enter_body(key, Some(round + 1), now);
            }
            _ => {
                // A leaf has a body only while the steps of its `on_error` run.
                let status = match &node.on_error {
                    _ if node.kind.is_block() => Status::Done,
                    OnError::Fallback(other) => self.stood_in(key, *other),
                    _ => Status::PassedOver,
                };
                self.finish(key, status, now);
                if key.node.0 == 0 || Some(key.node) == graph.finally {
                    self.ready.insert(key.clone());
                }
            }
        }
    }

    /// Another instrument did what a step was to do: the step has its value.
    fn stood_in(&mut self, key: &StepKey, other: NodeId) -> Status {
        let other = StepKey { node: other, rounds: key.rounds.clone() };
        let Some(state) = self.steps.get(&other) else { return Status::PassedOver };
        let (status, value) = (state.status, state.value.clone());
        if status == Status::Done
            && let Some(own) = self.steps.get_mut(key)
        {
            own.value = value;
        }
        status
    }

    /// Opens `finally` when the body has ended and nothing is under way any more.
    fn drained(&mut self, now: Tick) {
        if self.phase != Phase::Draining || self.in_flight() > 0 {
            return;
        }
        self.phase = Phase::Finally;
        if let Some(root) = self.graph.finally {
            self.enter(StepKey { node: root, rounds: Vec::new() }, now, None);
        }
    }
}
