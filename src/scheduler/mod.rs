//! Graphs + claims + time limits -> timetable.
//!
//! One run at a time so far: as the protocol is written, with the expected durations of the
//! definitions. Enough to say when a run will be over and what stands where on a time axis.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::compiler::graph::{Graph, NodeId, NodeKind};
use crate::expr::Value;

/// When a node is expected to start and to end, from the start of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// Start.
    pub start: Duration,
    /// End.
    pub end: Duration,
}

/// Predicted times of the nodes of one run; of a loop, those of its first round.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Timetable {
    /// Slots by node.
    pub slots: BTreeMap<NodeId, Slot>,
    /// End of the body.
    pub body: Duration,
    /// End of `finally`.
    pub total: Duration,
}

/// Rounds a `repeat` with a condition is expected to take, at most.
const ROUNDS_EXPECTED: u32 = 3;

/// Predicts a run as it is written.
pub fn predict(graph: &Graph) -> Timetable {
    let mut table = Timetable::default();
    let order = Order::new(graph);
    table.body = place(graph, &order, NodeId(0), Duration::ZERO, &mut table.slots);
    table.total = match graph.finally {
        Some(root) => place(graph, &order, root, table.body, &mut table.slots),
        None => table.body,
    };
    table
}

/// Predicted duration of a run, `finally` included.
pub fn expected_duration(graph: &Graph) -> Duration {
    predict(graph).total
}

/// Predecessors and children, made once.
struct Order {
    before: Vec<Vec<(NodeId, Duration)>>,
    children: Vec<Vec<NodeId>>,
}

impl Order {
    fn new(graph: &Graph) -> Order {
        let mut before = vec![Vec::new(); graph.nodes.len()];
        for edge in &graph.edges {
            if let Some(list) = before.get_mut(edge.to.0 as usize) {
                list.push((edge.from, edge.min));
            }
        }
        let mut children = vec![Vec::new(); graph.nodes.len()];
        for node in &graph.nodes {
            if let Some(list) = node.parent.and_then(|p| children.get_mut(p.0 as usize)) {
                list.push(node.id);
            }
        }
        Order { before, children }
    }
}

/// Places a node and all inside it; returns its end. Blocks are nested as deep as the YAML, which
/// is bounded, so the recursion is too.
fn place(
    graph: &Graph,
    order: &Order,
    id: NodeId,
    start: Duration,
    slots: &mut BTreeMap<NodeId, Slot>,
) -> Duration {
    let Some(node) = graph.node(id) else { return start };
    let end = if node.kind.is_block() {
        let rounds = match &node.kind {
            NodeKind::Repeat { max_times, until: Some(_) } => (*max_times).min(ROUNDS_EXPECTED),
            NodeKind::Repeat { max_times, until: None } => *max_times,
            NodeKind::ForEach { values, .. } => u32::try_from(values.len()).unwrap_or(u32::MAX),
            _ => 1,
        };
        let one = body(graph, order, id, start, slots).saturating_sub(start);
        start.saturating_add(one.saturating_mul(rounds))
    } else {
        start.saturating_add(duration(node))
    };
    slots.insert(id, Slot { start, end });
    end
}

fn body(
    graph: &Graph,
    order: &Order,
    id: NodeId,
    start: Duration,
    slots: &mut BTreeMap<NodeId, Slot>,
) -> Duration {
    let mut end = start;
    // A branch is expected to take its `then`.
    let branch = graph.node(id).is_some_and(|n| matches!(n.kind, NodeKind::Branch { .. }));
    let mut left: Vec<NodeId> = order
        .children
        .get(id.0 as usize)
        .into_iter()
        .flatten()
        .copied()
        .filter(|c| !branch || graph.node(*c).is_some_and(|n| n.slot == 0))
        .collect();
    // Siblings in an order that respects the edges; each round places at least one, or stops.
    while !left.is_empty() {
        let (ready, rest): (Vec<NodeId>, Vec<NodeId>) = left.iter().partition(|child| {
            order
                .before
                .get(child.0 as usize)
                .into_iter()
                .flatten()
                .all(|(from, _)| slots.contains_key(from))
        });
        if ready.is_empty() {
            break;
        }
        for child in ready {
            let begin = order
                .before
                .get(child.0 as usize)
                .into_iter()
                .flatten()
                .filter_map(|(from, lag)| slots.get(from).map(|s| s.end.saturating_add(*lag)))
                .max()
                .unwrap_or(start);
            end = end.max(place(graph, order, child, begin, slots));
        }
        left = rest;
    }
    end
}

fn duration(node: &crate::compiler::graph::Node) -> Duration {
    match &node.kind {
        NodeKind::Wait { duration } => match duration.as_literal() {
            Some(Value::Quantity(q)) => {
                Duration::try_from_secs_f64(q.value).unwrap_or(node.expected)
            }
            _ => node.expected,
        },
        _ => node.expected,
    }
}
