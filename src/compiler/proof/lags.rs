//! Time limits that cannot all hold.
//!
//! Each list of steps is a simple temporal network: a step starts after those before it have
//! ended (and their least lag has passed), and at most its greatest lag after. Longest paths from
//! the start give the earliest times; a greatest lag that is broken pushes the earlier step back,
//! and a step that pushes itself back stands on a circle that no timetable satisfies.
//!
//! Durations are those the definitions expect, at the worst parameters of the box. The engine
//! starts what it can at once, so a step that had better wait is given a least lag here.
//!
//! Source: Dechter, Meiri and Pearl, Temporal constraint networks, Artificial Intelligence 49
//! (1991) 61-95; the circle is that of a Bellman-Ford search.

use std::collections::BTreeMap;
use std::time::Duration;

use super::exits::span_of;
use crate::compiler::graph::{Edge, Graph, NodeId, NodeKind};
use crate::compiler::walk::Walk;
use crate::spec::{Diagnostic, codes};
use crate::units::{Dimension, Quantity};

/// Durations closer than this are equal: they went through floating point.
const SLACK: f64 = 1e-6;
/// Rounds of pushing back before a circle must have shown itself, beyond one for each limit.
const ROUNDS_MORE: usize = 2;

/// A step that was pushed back, and by what.
#[derive(Clone, Copy)]
enum Cause {
    Start,
    /// It follows another: index of the edge.
    Follows(usize),
    /// Another must start soon after it: index of the edge.
    Pulled(usize),
}

/// One list of steps as a network.
struct Network<'g> {
    graph: &'g Graph,
    /// Steps in an order in which each stands after those it follows.
    order: Vec<NodeId>,
    /// Edges of the list, by index into the graph's.
    edges: Vec<usize>,
    length: &'g [f64],
    start: BTreeMap<NodeId, f64>,
    cause: BTreeMap<NodeId, Cause>,
}

/// When steps start at the earliest and how long they take, s; of a loop, its first round.
#[derive(Debug, Clone)]
pub(in crate::compiler) struct Times {
    start: Vec<f64>,
    length: Vec<f64>,
}

impl Times {
    /// Start of a node from the start of its root list.
    pub fn start(&self, id: NodeId) -> f64 {
        self.start.get(id.0 as usize).copied().unwrap_or(0.0)
    }

    /// End of `steps`.
    pub fn body_end(&self) -> f64 {
        self.length.first().copied().unwrap_or(0.0)
    }
}

/// A limit that cannot hold.
enum Broken {
    Circle(Vec<Cause>),
    Together(NodeId, f64, NodeId, Duration),
}

/// Times of a graph, whatever its limits say.
pub(in crate::compiler) fn times(graph: &Graph) -> Times {
    solved(graph).0
}

/// Reports limits that cannot hold; steps that had better wait get a least lag.
pub(super) fn check(walk: &mut Walk<'_>, graph: &mut Graph) -> Times {
    let (times, waits, broken) = solved(graph);
    for broken in broken {
        match broken {
            Broken::Circle(circle) => report(walk, graph, &circle, &times.length),
            Broken::Together(block, seconds, id, window) => {
                together(walk, block, seconds, id, window);
            }
        }
    }
    expired(walk, graph, &times.start, &times.length);
    for (index, lag) in waits {
        if let Some(edge) = graph.edges.get_mut(index) {
            edge.min = edge.min.max(lag);
        }
    }
    times
}

fn solved(graph: &Graph) -> (Times, Vec<(usize, Duration)>, Vec<Broken>) {
    let mut broken = Vec::new();
    let mut length = vec![0.0; graph.nodes.len()];
    let mut start = vec![0.0; graph.nodes.len()];
    let mut waits = Vec::new();
    let mut children: Vec<Vec<NodeId>> = vec![Vec::new(); graph.nodes.len()];
    for node in &graph.nodes {
        if let Some(list) = node.parent.and_then(|p| children.get_mut(p.0 as usize)) {
            list.push(node.id);
        }
    }
    let mut edges: Vec<Vec<usize>> = vec![Vec::new(); graph.nodes.len()];
    for (index, edge) in graph.edges.iter().enumerate() {
        if let Some(list) = edges.get_mut(edge.to.0 as usize) {
            list.push(index);
        }
    }
    // Children stand behind their parents, so that one pass from the end knows every length.
    for node in graph.nodes.iter().rev() {
        let mut slots: BTreeMap<u32, Vec<NodeId>> = BTreeMap::new();
        for child in children.get(node.id.0 as usize).into_iter().flatten() {
            if let Some(found) = graph.node(*child) {
                slots.entry(found.slot).or_default().push(*child);
            }
        }
        let mut body: f64 = 0.0;
        for list in slots.values() {
            let mut network = Network::new(graph, list, &edges, &length);
            network.follow();
            let asap = network.start.clone();
            match network.solve() {
                Ok(()) => network.waits(&asap, &mut waits),
                Err(circle) => broken.push(Broken::Circle(circle)),
            }
            body = body.max(network.end());
            for (id, at) in &network.start {
                if let Some(entry) = start.get_mut(id.0 as usize) {
                    *entry = *at;
                }
            }
        }
        if let NodeKind::Parallel { start_together: Some(window), .. } = &node.kind {
            broken.extend(apart(graph, node.id, &slots, *window, &length));
        }
        let rounds = match &node.kind {
            NodeKind::Repeat { until: None, max_times } => f64::from(*max_times),
            NodeKind::ForEach { values, .. } => values.len() as f64,
            _ => 1.0,
        };
        if let Some(entry) = length.get_mut(node.id.0 as usize) {
            *entry = if node.kind.is_block() {
                body * rounds
            } else {
                body.max(node.expected.as_secs_f64())
            };
        }
    }
    absolute(graph, &mut start);
    (Times { start, length }, waits, broken)
}

/// Starts of children count from the start of their block until here.
fn absolute(graph: &Graph, start: &mut [f64]) {
    for node in &graph.nodes {
        let above = node.parent.and_then(|p| start.get(p.0 as usize)).copied().unwrap_or(0.0);
        if let Some(entry) = start.get_mut(node.id.0 as usize) {
            *entry += above;
        }
    }
}

impl<'g> Network<'g> {
    fn new(
        graph: &'g Graph,
        list: &[NodeId],
        edges: &[Vec<usize>],
        length: &'g [f64],
    ) -> Network<'g> {
        let mine: Vec<usize> =
            list.iter().filter_map(|id| edges.get(id.0 as usize)).flatten().copied().collect();
        let mut left: BTreeMap<NodeId, usize> =
            list.iter().map(|id| (*id, edges.get(id.0 as usize).map_or(0, Vec::len))).collect();
        let mut followers: BTreeMap<NodeId, Vec<NodeId>> = BTreeMap::new();
        for edge in mine.iter().filter_map(|i| graph.edges.get(*i)) {
            followers.entry(edge.from).or_default().push(edge.to);
        }
        let mut order = Vec::with_capacity(list.len());
        let mut free: Vec<NodeId> =
            left.iter().filter(|(_, n)| **n == 0).map(|(id, _)| *id).rev().collect();
        while let Some(id) = free.pop() {
            order.push(id);
            for next in followers.get(&id).into_iter().flatten() {
                if let Some(n) = left.get_mut(next) {
                    *n = n.saturating_sub(1);
                    if *n == 0 {
                        free.push(*next);
                    }
                }
            }
        }
        let start = list.iter().map(|id| (*id, 0.0)).collect();
        let cause = list.iter().map(|id| (*id, Cause::Start)).collect();
        Network { graph, order, edges: mine, length, start, cause }
    }

    fn at(&self, id: NodeId) -> f64 {
        self.start.get(&id).copied().unwrap_or(0.0)
    }

    fn ended(&self, id: NodeId) -> f64 {
        self.at(id) + self.length.get(id.0 as usize).copied().unwrap_or(0.0)
    }

    fn end(&self) -> f64 {
        self.order.iter().map(|id| self.ended(*id)).fold(0.0, f64::max)
    }

    /// Each step after those before it, at the earliest.
    fn follow(&mut self) {
        let mut before: BTreeMap<NodeId, Vec<usize>> = BTreeMap::new();
        for index in &self.edges {
            if let Some(edge) = self.graph.edges.get(*index) {
                before.entry(edge.to).or_default().push(*index);
            }
        }
        for id in self.order.clone() {
            for index in before.get(&id).into_iter().flatten() {
                let Some(edge) = self.graph.edges.get(*index) else { continue };
                let earliest = self.ended(edge.from) + edge.min.as_secs_f64();
                if earliest > self.at(id) + SLACK {
                    self.start.insert(id, earliest);
                    self.cause.insert(id, Cause::Follows(*index));
                }
            }
        }
    }

    /// Pushes back what a greatest lag pulls, until all hold or a step has pushed itself.
    fn solve(&mut self) -> Result<(), Vec<Cause>> {
        let limits: Vec<usize> = self
            .edges
            .iter()
            .copied()
            .filter(|i| self.graph.edges.get(*i).is_some_and(|e| e.max.is_some()))
            .collect();
        for _ in 0..limits.len() + ROUNDS_MORE {
            let mut changed = false;
            for index in &limits {
                let Some(edge) = self.graph.edges.get(*index) else { continue };
                let Some(max) = edge.max else { continue };
                let latest = self.ended(edge.from) + max.as_secs_f64();
                let late = self.at(edge.to) - latest;
                if late > SLACK {
                    self.start.insert(edge.from, self.at(edge.from) + late);
                    self.cause.insert(edge.from, Cause::Pulled(*index));
                    changed = true;
                    if let Some(circle) = self.circle(edge.from) {
                        return Err(circle);
                    }
                }
            }
            if !changed {
                return Ok(());
            }
            self.follow();
        }
        Ok(())
    }

    /// The causes from a step back to itself, if there is such a way.
    fn circle(&self, from: NodeId) -> Option<Vec<Cause>> {
        let mut causes = Vec::new();
        let mut at = from;
        for _ in 0..=self.start.len() {
            let cause = *self.cause.get(&at)?;
            causes.push(cause);
            at = match cause {
                Cause::Start => return None,
                Cause::Follows(index) => self.graph.edges.get(index)?.from,
                Cause::Pulled(index) => self.graph.edges.get(index)?.to,
            };
            if at == from {
                return Some(causes);
            }
        }
        None
    }

    /// Least lags for steps that must not start as early as they could.
    fn waits(&self, asap: &BTreeMap<NodeId, f64>, waits: &mut Vec<(usize, Duration)>) {
        for index in &self.edges {
            let Some(edge) = self.graph.edges.get(*index) else { continue };
            let Some(Cause::Pulled(by)) = self.cause.get(&edge.to) else { continue };
            let early = asap.get(&edge.to).copied().unwrap_or(0.0);
            if self.at(edge.to) > early + SLACK {
                // Half the limit is kept in hand: what takes less time than expected must not
                // break it.
                let limit = self.graph.edges.get(*by).and_then(|e| e.max).unwrap_or_default();
                let lag =
                    (self.at(edge.to) - self.ended(edge.from)).max(0.0) + 0.5 * limit.as_secs_f64();
                if let Ok(lag) = Duration::try_from_secs_f64(lag) {
                    waits.push((*index, lag));
                }
            }
        }
    }
}

fn show(seconds: f64) -> String {
    Quantity::new(seconds, Dimension::TIME).to_string()
}

fn name(graph: &Graph, id: NodeId) -> String {
    graph.node(id).map(|n| n.path.clone()).unwrap_or_default()
}

/// Reports a circle: the limits on it, and the steps between them with how long they take.
fn report(walk: &mut Walk<'_>, graph: &Graph, circle: &[Cause], length: &[f64]) {
    let edge = |index: usize| -> Option<&Edge> { graph.edges.get(index) };
    let limits: Vec<&Edge> = circle
        .iter()
        .filter_map(|c| if let Cause::Pulled(i) = c { edge(*i) } else { None })
        .collect();
    let Some(first) = limits.first() else { return };
    let within = |walk: &Walk<'_>, e: &Edge| {
        let step = walk.origins.get(e.to.0 as usize).copied().flatten()?;
        Some(step.within.as_ref().map_or(step.word, |w| w.span))
    };
    let Some(span) = within(walk, first) else { return };
    let mut work = 0.0;
    let mut steps = Vec::new();
    for cause in circle {
        if let Cause::Follows(index) = cause
            && let Some(edge) = edge(*index)
            && edge.from != first.from
        {
            let takes =
                length.get(edge.from.0 as usize).copied().unwrap_or(0.0) + edge.min.as_secs_f64();
            work += takes;
            steps.push((edge.from, takes));
        }
    }
    let max = first.max.unwrap_or_default().as_secs_f64();
    let (code, message) = if limits.len() == 1 {
        let message = format!(
            "raise this limit above {}: so long are the steps between `{}` and `{}`",
            show(work),
            name(graph, first.from),
            name(graph, first.to)
        );
        (codes::LAG_TOO_SHORT, message)
    } else {
        let all: Vec<String> = limits.iter().map(|e| format!("`{}`", name(graph, e.to))).collect();
        (
            codes::NO_SCHEDULE,
            format!("raise one limit of {}: they cannot all hold", all.join(" and ")),
        )
    };
    let mut wrong = Diagnostic::error(code, span, message).label(format!("at most {}", show(max)));
    for limit in limits.iter().skip(1) {
        if let Some(span) = within(walk, limit) {
            wrong = wrong.also(span, "and this limit");
        }
    }
    for (id, takes) in steps.iter().rev() {
        if let Some(span) = span_of(walk, *id) {
            wrong = wrong.also(span, format!("takes {}", show(*takes)));
        }
    }
    let circle: Vec<String> = limits
        .iter()
        .map(|e| format!("`{}` -> `{}`", name(graph, e.from), name(graph, e.to)))
        .collect();
    walk.report.push(wrong.reason(format!(
        "whatever the timetable, the circle {} comes out too long",
        circle.join(", ")
    )));
}

/// Branches that cannot begin together because one waits first.
fn apart(
    graph: &Graph,
    block: NodeId,
    slots: &BTreeMap<u32, Vec<NodeId>>,
    window: Duration,
    length: &[f64],
) -> Option<Broken> {
    let mut late: Option<(f64, NodeId)> = None;
    for list in slots.values() {
        let mut before = 0.0;
        for id in list {
            let Some(node) = graph.node(*id) else { continue };
            if !matches!(node.kind, NodeKind::Wait { .. } | NodeKind::WaitUntil { .. }) {
                break;
            }
            before += length.get(id.0 as usize).copied().unwrap_or(0.0);
            if late.is_none_or(|(most, _)| before > most) {
                late = Some((before, *id));
            }
        }
    }
    let (seconds, id) = late.filter(|(s, _)| *s > window.as_secs_f64() + SLACK)?;
    Some(Broken::Together(block, seconds, id, window))
}

fn together(walk: &mut Walk<'_>, block: NodeId, seconds: f64, id: NodeId, window: Duration) {
    let Some(step) = walk.origins.get(block.0 as usize).copied().flatten() else { return };
    let span = match &step.kind {
        crate::spec::protocol::StepKind::Parallel { start_together: Some(w), .. } => w.span,
        _ => step.word,
    };
    let mut wrong = Diagnostic::error(
        codes::LAG_TOO_SHORT,
        span,
        format!("one branch waits {} before its first command", show(seconds)),
    )
    .label(format!("all within {}", show(window.as_secs_f64())))
    .fix(format!("start_together: {}", show(seconds)));
    if let Some(span) = span_of(walk, id) {
        wrong = wrong.also(span, "waits here");
    }
    walk.report.push(wrong);
}

/// `expires:` of a step against the steps that use what it made.
fn expired(walk: &mut Walk<'_>, graph: &Graph, start: &[f64], length: &[f64]) {
    for node in &graph.nodes {
        for fresh in &node.fresh {
            let of = fresh.of.0 as usize;
            let ended =
                start.get(of).copied().unwrap_or(0.0) + length.get(of).copied().unwrap_or(0.0);
            let age = start.get(node.id.0 as usize).copied().unwrap_or(0.0) - ended;
            if age <= fresh.within.as_secs_f64() + SLACK {
                continue;
            }
            let Some(span) = span_of(walk, node.id) else { continue };
            let mut wrong = Diagnostic::error(
                codes::LAG_TOO_SHORT,
                span,
                format!("use what `{}` made sooner: it has expired here", name(graph, fresh.of)),
            )
            .label(format!("starts {} after it", show(age)))
            .reason(format!("it expires after {}", show(fresh.within.as_secs_f64())));
            let made = walk.origins.get(of).copied().flatten();
            if let Some(step) = made {
                let at = match &step.kind {
                    crate::spec::protocol::StepKind::Do { expires: Some(e), .. } => e.span,
                    _ => step.word,
                };
                wrong = wrong.also(at, "the limit");
            }
            walk.report.push(wrong);
        }
    }
}
