//! Names an expression can read while a run is under way.

use std::cell::Cell;

use super::Tick;
use super::machine::Core;
use super::run::{Run, Status, StepKey};
use crate::compiler::graph::{NodeId, NodeKind};
use crate::expr::{Env, Value};
use crate::units::{Dimension, Quantity};

/// What one step of a run sees: parameters, results of steps, live properties.
pub struct Scope<'a> {
    core: &'a Core,
    run: &'a Run,
    key: &'a StepKey,
    now: Tick,
    /// Loops around the step, itself included, from outside in, with their rounds.
    loops: Vec<(NodeId, u32)>,
    /// A live property was looked at that has no value.
    unread: Cell<bool>,
}

impl<'a> Scope<'a> {
    /// The scope of a step.
    pub fn new(core: &'a Core, run: &'a Run, key: &'a StepKey, now: Tick) -> Scope<'a> {
        let mut loops: Vec<(NodeId, u32)> =
            run.plan.loops(key.node).iter().copied().zip(key.rounds.iter().copied()).collect();
        // The `until` of a loop sees the round that just ended.
        if run.node(key).is_some_and(|n| matches!(n.kind, NodeKind::Repeat { .. })) {
            loops.push((key.node, run.steps.get(key).map_or(0, |s| s.round)));
        }
        Scope { core, run, key, now, loops, unread: Cell::new(false) }
    }

    /// Whether what was evaluated looked at a live property that has no value.
    pub(super) fn unread(&self) -> bool {
        self.unread.get()
    }

    fn step_value(&self, path: &[String]) -> Option<Value> {
        let name = path.first()?;
        let mut node = *self.run.plan.names.get(name)?;
        let mut rest = path.get(1..).unwrap_or_default();
        if rest.first().is_some_and(|word| word == "history") {
            return self.history(node, rest.get(1..)?);
        }
        // `steps.replicate.final`: the block only says where its step is.
        while let Some(next) = rest.first()
            && self.run.graph.node(node).is_some_and(|n| n.kind.is_block())
            && let Some(inner) = self.run.plan.names.get(next)
        {
            node = *inner;
            rest = rest.get(1..).unwrap_or_default();
        }
        let value = self.instances(node)?;
        field(value, rest)
    }

    /// Values of a step in all rounds of a loop around it, seen from behind the loop.
    fn history(&self, block: NodeId, path: &[String]) -> Option<Value> {
        let node = *self.run.plan.names.get(path.first()?)?;
        let theirs = self.run.plan.loops(node);
        let depth = theirs.iter().position(|l| *l == block)?;
        let outer: Vec<u32> = theirs
            .iter()
            .take(depth)
            .zip(&self.loops)
            .take_while(|(a, (b, _))| *a == b)
            .map(|(_, (_, round))| *round)
            .collect();
        if outer.len() < depth {
            return None;
        }
        let last = self.run.steps.get(&StepKey { node: block, rounds: outer.clone() })?.round;
        let mut values = Vec::new();
        for round in 0..=last {
            let mut rounds = outer.clone();
            rounds.push(round);
            let value = self.collect(node, theirs, rounds)?;
            values.push(field(value, path.get(1..).unwrap_or_default())?);
        }
        Some(Value::List(values))
    }

    /// Value of a step as seen from here: the same round of the loops both are in, the last round
    /// of other `repeat`s, the list of all rounds of other `for_each`es.
    fn instances(&self, node: NodeId) -> Option<Value> {
        let theirs = self.run.plan.loops(node);
        let shared: Vec<u32> = theirs
            .iter()
            .zip(&self.loops)
            .take_while(|(a, (b, _))| *a == b)
            .map(|(_, (_, round))| *round)
            .collect();
        self.collect(node, theirs, shared)
    }

    fn collect(&self, node: NodeId, theirs: &[NodeId], rounds: Vec<u32>) -> Option<Value> {
        let Some(next) = theirs.get(rounds.len()) else {
            return self.one(node, rounds);
        };
        let block = StepKey {
            node: *next,
            rounds: rounds.get(..self.run.plan.loops(*next).len())?.to_vec(),
        };
        let last = self.run.steps.get(&block)?.round;
        let all =
            self.run.graph.node(*next).is_some_and(|n| matches!(n.kind, NodeKind::ForEach { .. }));
        let with = |round: u32| {
            let mut inner = rounds.clone();
            inner.push(round);
            self.collect(node, theirs, inner)
        };
        if all {
            (0..=last).map(with).collect::<Option<Vec<Value>>>().map(Value::List)
        } else {
            with(last)
        }
    }

    fn one(&self, node: NodeId, rounds: Vec<u32>) -> Option<Value> {
        let state = self.run.steps.get(&StepKey { node, rounds })?;
        match (&state.value, &state.failure) {
            (Some(value), _) => Some(value.clone()),
            (None, Some(failure)) => Some(Value::Missing(failure.message.as_str().into())),
            (None, None) => None,
        }
    }

    fn loop_value(&self, path: &[String]) -> Option<Value> {
        let (block, round) = *self.loops.last()?;
        match path.first().map(String::as_str) {
            Some("index") => Some(number(f64::from(round) + 1.0)),
            Some("history") => {
                let node = *self.run.plan.names.get(path.get(1)?)?;
                let depth = self.run.plan.loops(node).iter().position(|l| *l == block)?;
                let outer = self.key.rounds.get(..depth).unwrap_or_default().to_vec();
                let mut values = Vec::new();
                for round in 0..=round {
                    let mut rounds = outer.clone();
                    rounds.push(round);
                    if let Some(value) = self.one(node, rounds) {
                        values.push(field(value, path.get(2..).unwrap_or_default())?);
                    }
                }
                Some(Value::List(values))
            }
            _ => None,
        }
    }
}

impl Env for Scope<'_> {
    fn value(&self, path: &[String]) -> Option<Value> {
        let rest = path.get(1..).unwrap_or_default();
        match path.first()?.as_str() {
            "params" => {
                field(self.run.graph.parameters.get(rest.first()?)?.clone(), rest.get(1..)?)
            }
            "derived" => field(self.run.graph.derived.get(rest.first()?)?.clone(), rest.get(1..)?),
            "roles" => {
                let instrument = self.run.graph.roles.get(rest.first()?)?;
                let value = self.core.signals.value(instrument, rest.get(1)?, self.now);
                if matches!(value, Value::Missing(_)) {
                    self.unread.set(true);
                }
                field(value, rest.get(2..)?)
            }
            "steps" => self.step_value(rest),
            "loop" => self.loop_value(rest),
            "run" if rest.first().is_some_and(|f| f == "elapsed") => {
                let seconds = self.now.since(self.run.started).as_secs_f64();
                Some(Value::Quantity(Quantity {
                    value: seconds,
                    dim: Dimension::TIME,
                    point: false,
                }))
            }
            // Whether a block has begun and not ended, in any round: what the `finally` of a called
            // protocol depends on.
            "run" if rest.first().is_some_and(|f| f == "inside") => {
                let node = *self.run.plan.names.get(rest.get(1)?)?;
                let over = |status| matches!(status, Status::Done | Status::PassedOver);
                let inside = self
                    .run
                    .steps
                    .iter()
                    .any(|(key, s)| key.node == node && s.started.is_some() && !over(s.status));
                Some(Value::Bool(inside))
            }
            name => {
                let (block, round) = self.loops.iter().rev().find(|(block, _)| {
                    self.run.graph.node(*block).is_some_and(
                        |n| matches!(&n.kind, NodeKind::ForEach { variable, .. } if variable == name),
                    )
                })?;
                let NodeKind::ForEach { values, .. } = &self.run.graph.node(*block)?.kind else {
                    return None;
                };
                field(values.get(*round as usize)?.clone(), rest)
            }
        }
    }
}

fn number(value: f64) -> Value {
    Value::Quantity(Quantity { value, dim: Dimension::NONE, point: false })
}

/// Field of a record; of a list, the list of the field of each. Missing stays missing.
fn field(value: Value, path: &[String]) -> Option<Value> {
    let Some(name) = path.first() else { return Some(value) };
    let rest = path.get(1..).unwrap_or_default();
    match value {
        Value::Missing(_) => Some(value),
        Value::Record(mut fields) => field(fields.remove(name)?, rest),
        Value::List(items) => items
            .into_iter()
            .map(|item| field(item, path))
            .collect::<Option<Vec<Value>>>()
            .map(Value::List),
        // `steps.drift.value` of an analysis that returns one value.
        other if name == "value" => field(other, rest),
        _ => None,
    }
}
