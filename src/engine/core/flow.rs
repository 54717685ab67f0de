//! How one step leads to the next inside of a run: blocks open and close, rounds follow rounds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::Tick;
use super::doubt::{BY_EFFECT, BY_WITNESS};
use super::events::Failure;
use super::record::{About, Ending, Resolution};
use super::run::{Phase, Run, Status, StepKey, StepState};
use crate::compiler::graph::{Effect, FailureKind, NodeId, NodeKind, OnError};
use crate::expr::Value;

impl Run {
    /// A step's predecessors are done. Blocks that need neither claims nor time open at once.
    pub(super) fn enter(&mut self, key: StepKey, earliest: Tick, latest: Option<Tick>) {
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
                baseline_at: None,
                args: BTreeMap::new(),
                value: None,
                asked: false,
                verdict: None,
                round: 0,
                open_children: 0,
                question: None,
                cancelled: false,
                stood: Duration::ZERO,
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

    pub(super) fn edges_are_plain(&self, node: NodeId) -> bool {
        self.plan.before.get(node.0 as usize).is_none_or(|list| {
            list.iter().all(|index| {
                self.graph.edges.get(*index).is_none_or(|e| e.min.is_zero() && e.max.is_none())
            })
        })
    }

    /// Starts a block's body, or what a leaf does by itself.
    pub(super) fn open(&mut self, key: &StepKey, now: Tick) {
        self.ready.remove(key);
        let stood = self.stood_until(now);
        let Some(state) = self.steps.get_mut(key) else { return };
        state.status = Status::Open;
        state.since = now;
        state.stood = stood;
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
    pub(super) fn enter_body(&mut self, key: &StepKey, round: Option<u32>, now: Tick) {
        let plan = Arc::clone(&self.plan);
        let slots = if round.is_some() { 1 } else { plan.slots(key.node) };
        self.enter_slots(key, 0..slots, round, now);
    }

    pub(super) fn enter_slots(
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

    pub(super) fn outcome(
        &mut self,
        key: &StepKey,
        result: &Result<Option<Value>, Failure>,
        now: Tick,
    ) {
        match result {
            Ok(value) => {
                if let Some(state) = self.steps.get_mut(key) {
                    state.value.clone_from(value);
                }
                self.note_settled(key, true);
                self.note_stopped(key);
                self.finish(key, Status::Done, now);
            }
            Err(failure) => self.attempt_failed(key, failure, now),
        }
        self.drained(now);
    }

    fn attempt_failed(&mut self, key: &StepKey, failure: &Failure, now: Tick) {
        let doubtful = self.node(key).is_some_and(|n| {
            matches!(n.kind, NodeKind::Action { effect: Effect::Verifiable | Effect::Once, .. })
        });
        self.note_settled(key, false);
        let Some(state) = self.steps.get_mut(key) else { return };
        let uncertain = failure.effect_unknown && doubtful;
        let cancelled = state.cancelled && failure.kind == FailureKind::Person;
        state.since = now;
        state.failure = Some(failure.clone());
        state.status = if uncertain { Status::Uncertain } else { Status::Failed };
        // Cut short by a hold, it has not failed: its step begins anew when the run goes on.
        if cancelled && !uncertain {
            self.begin_anew(key, now);
            return;
        }
        if !cancelled {
            state.failures = state.failures.saturating_add(1);
        }
        if matches!(self.phase, Phase::Body | Phase::Finally) {
            self.ready.insert(key.clone());
        }
    }

    /// Back to waiting, with the time limit it had: a hold does not lift `within`.
    fn begin_anew(&mut self, key: &StepKey, now: Tick) {
        let latest = self.steps.get(key).and_then(|s| s.latest);
        self.restart(key, now, now);
        if let Some(state) = self.steps.get_mut(key) {
            state.latest = latest;
            // SAFETY(lab): until it is sent anew, its instrument may still be moving.
            state.cancelled = true;
        }
    }

    /// An action that stops its instrument leaves nothing to set going again.
    fn note_stopped(&mut self, key: &StepKey) {
        if let Some(NodeKind::Action { instrument, stops: true, .. }) =
            self.node(key).map(|n| &n.kind)
        {
            let instrument = instrument.clone();
            self.going.remove(&instrument);
        }
    }

    /// How long to wait before a failed step is tried again.
    pub(super) fn pause_before_retry(&self, key: &StepKey) -> Duration {
        let failures = self.steps.get(key).map_or(1, |s| s.failures);
        self.node(key)
            .and_then(|n| n.retry.as_ref())
            .map_or(Duration::ZERO, |retry| retry.pause(failures))
    }

    pub(super) fn note_settled(&mut self, key: &StepKey, ok: bool) {
        if self.phase != Phase::Finally {
            return;
        }
        let Some(NodeKind::Action { instrument, starts, stops, .. }) =
            self.node(key).map(|n| &n.kind)
        else {
            return;
        };
        // SAFETY(lab): what starts something (a set point, a last rinse) does not stop it, and
        // neither does what only reads or turns a valve; the safe state must follow, or a heater
        // stays on after the run.
        let (instrument, starts, stops) = (instrument.clone(), !starts.is_empty(), *stops);
        if ok && stops && !starts {
            self.settled.insert(instrument);
        } else if starts || !ok {
            self.settled.remove(&instrument);
        }
    }

    pub(super) fn resolved(&mut self, key: &StepKey, resolution: Resolution, by: &str, now: Tick) {
        match resolution {
            Resolution::Done => {
                self.note_stopped(key);
                self.finish(key, Status::Done, now);
            }
            Resolution::NotDone => {
                let Some(state) = self.steps.get_mut(key) else { return };
                if state.cancelled {
                    self.begin_anew(key, now);
                } else if state.status == Status::Sent || !matches!(by, BY_WITNESS | BY_EFFECT) {
                    // A person was told that it would be sent again. What is proved not to have begun
                    // must still begin in time; what is only said again had begun.
                    let latest = state.latest.filter(|_| by != BY_EFFECT);
                    self.restart(key, now, now);
                    if let Some(state) = self.steps.get_mut(key) {
                        state.latest = latest;
                    }
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
    pub(super) fn restart(&mut self, key: &StepKey, now: Tick, earliest: Tick) {
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
            state.question = None;
            state.cancelled = false;
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

    pub(super) fn decided(&mut self, key: &StepKey, holds: bool, now: Tick) {
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
                        kind: FailureKind::Condition,
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

    pub(super) fn answered(&mut self, key: &StepKey, answer: &str, now: Tick) {
        let is_ask = self.node(key).is_some_and(|n| matches!(n.kind, NodeKind::Ask { .. }));
        let Some(state) = self.steps.get_mut(key) else { return };
        if !std::mem::take(&mut state.asked) {
            return;
        }
        let about = state.question.take().map(|q| q.about);
        if about == Some(About::Downtime) {
            // About the run as a whole: what follows is a record of its own.
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
    pub(super) fn finish(&mut self, key: &StepKey, status: Status, now: Tick) {
        self.ready.remove(key);
        let Some(state) = self.steps.get_mut(key) else { return };
        if matches!(state.status, Status::Done | Status::PassedOver) {
            return;
        }
        state.status = status;
        state.since = now;
        state.asked = false;
        state.question = None;
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
    pub(super) fn follow(&mut self, key: StepKey) {
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

    pub(super) fn body_done(&mut self, key: &StepKey, now: Tick) {
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
    pub(super) fn drained(&mut self, now: Tick) {
        if self.phase != Phase::Draining || self.in_flight() > 0 {
            return;
        }
        self.phase = Phase::Finally;
        if let Some(root) = self.graph.finally {
            self.enter(StepKey { node: root, rounds: Vec::new() }, now, None);
        }
    }
}
