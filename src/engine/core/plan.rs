//! Look-up tables over a graph, made once per run so that a step costs the same in a protocol of
//! ten nodes and of ten thousand.

use std::collections::{BTreeMap, BTreeSet};

use crate::compiler::graph::{Edge, Graph, NodeId, NodeKind};

/// Neighbours, children and names of a graph.
#[derive(Debug)]
pub struct Plan {
    /// Indexes into `graph.edges` that end in a node.
    pub before: Vec<Vec<usize>>,
    /// Indexes into `graph.edges` that start in a node.
    pub after: Vec<Vec<usize>>,
    /// Children by block and slot, in the order written.
    pub children: Vec<Vec<Vec<NodeId>>>,
    /// Loops around a node, from outside in.
    pub loops: Vec<Vec<NodeId>>,
    /// Instruments a node needs to start: its own claims, or for a block that holds, all claims
    /// of everything inside it. Reserving all at once is what makes deadlock impossible.
    pub claims: Vec<Vec<String>>,
    /// Node of a step name; names are unique in a protocol.
    pub names: BTreeMap<String, NodeId>,
    /// Whether an expression looks at the rounds of a loop that are over.
    pub looks_back: bool,
}

impl Plan {
    /// Builds the tables. Nodes or edges that point outside the graph are left out; the compiler
    /// never makes them and [`Graph::node`] answers `None` for them.
    pub fn new(graph: &Graph) -> Plan {
        let count = graph.nodes.len();
        let mut plan = Plan {
            before: vec![Vec::new(); count],
            after: vec![Vec::new(); count],
            children: vec![Vec::new(); count],
            loops: vec![Vec::new(); count],
            claims: vec![Vec::new(); count],
            names: BTreeMap::new(),
            looks_back: looks_back(graph),
        };
        for (index, Edge { from, to, .. }) in graph.edges.iter().enumerate() {
            if let Some(list) = plan.after.get_mut(from.0 as usize) {
                list.push(index);
            }
            if let Some(list) = plan.before.get_mut(to.0 as usize) {
                list.push(index);
            }
        }
        for (index, node) in graph.nodes.iter().enumerate() {
            plan.names.entry(node.name.clone()).or_insert(node.id);
            let Some(parent) = node.parent else { continue };
            if let Some(slots) = plan.children.get_mut(parent.0 as usize) {
                let slot = node.slot as usize;
                if slots.len() <= slot {
                    slots.resize(slot + 1, Vec::new());
                }
                if let Some(list) = slots.get_mut(slot) {
                    list.push(node.id);
                }
            }
            let mut loops = plan.loops.get(parent.0 as usize).cloned().unwrap_or_default();
            if graph.node(parent).is_some_and(|block| is_loop(&block.kind)) {
                loops.push(parent);
            }
            if let Some(entry) = plan.loops.get_mut(index) {
                *entry = loops;
            }
        }
        plan.collect_claims(graph);
        plan
    }

    fn collect_claims(&mut self, graph: &Graph) {
        let mut inside: Vec<BTreeSet<String>> = vec![BTreeSet::new(); graph.nodes.len()];
        // Children stand after their parents, so one pass from the end sums up every subtree.
        for node in graph.nodes.iter().rev() {
            let index = node.id.0 as usize;
            let mut all: BTreeSet<String> = inside.get(index).cloned().unwrap_or_default();
            all.extend(node.claims.iter().cloned());
            if let NodeKind::Group { hold } = &node.kind {
                all.extend(hold.iter().cloned());
            }
            let own = match &node.kind {
                NodeKind::Group { hold } if !hold.is_empty() => all.iter().cloned().collect(),
                NodeKind::Parallel { start_together: Some(_), .. } => all.iter().cloned().collect(),
                NodeKind::Group { .. }
                | NodeKind::Parallel { .. }
                | NodeKind::Repeat { .. }
                | NodeKind::ForEach { .. }
                | NodeKind::Branch { .. } => Vec::new(),
                _ => node.claims.clone(),
            };
            if let Some(entry) = self.claims.get_mut(index) {
                *entry = own;
            }
            if let Some(parent) = node.parent
                && let Some(set) = inside.get_mut(parent.0 as usize)
            {
                set.extend(all);
            }
        }
    }

    /// Children of a block in one slot.
    pub fn body(&self, block: NodeId, slot: u32) -> &[NodeId] {
        self.children
            .get(block.0 as usize)
            .and_then(|slots| slots.get(slot as usize))
            .map_or(&[], Vec::as_slice)
    }

    /// Number of slots of a block that have children.
    pub fn slots(&self, block: NodeId) -> u32 {
        self.children.get(block.0 as usize).map_or(0, |slots| slots.len() as u32)
    }

    /// Instruments to reserve before the node starts.
    pub fn claims(&self, node: NodeId) -> &[String] {
        self.claims.get(node.0 as usize).map_or(&[], Vec::as_slice)
    }

    /// Loops around a node, from outside in.
    pub fn loops(&self, node: NodeId) -> &[NodeId] {
        self.loops.get(node.0 as usize).map_or(&[], Vec::as_slice)
    }
}

/// Whether the children of a block run more than once.
pub fn is_loop(kind: &NodeKind) -> bool {
    matches!(kind, NodeKind::Repeat { .. } | NodeKind::ForEach { .. })
}

/// Whether `history` stands anywhere in a graph. A graph that cannot be written down looks back.
fn looks_back(graph: &Graph) -> bool {
    serde_json::to_string(graph).map_or(true, |text| text.contains("history"))
}
