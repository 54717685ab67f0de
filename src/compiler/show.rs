//! A graph for people and other programs, with the names of the YAML.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use super::graph::{Graph, Node, NodeId, NodeKind, PlaceClaim};
use crate::units::tidy;

/// Indented lines: what, with which arguments, on which instrument, how long.
pub fn text(graph: &Graph) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "protocol {}  {}", graph.protocol, graph.hash);
    for (name, value) in &graph.parameters {
        let _ = writeln!(out, "  params.{name} = {}", value.show());
    }
    for (name, value) in &graph.derived {
        let _ = writeln!(out, "  derived.{name} = {}", value.show());
    }
    for (role, instrument) in &graph.roles {
        let _ = writeln!(out, "  {role} is played by {instrument}");
    }
    let _ = writeln!(out, "steps");
    let inside = inside(graph);
    let limits: Limits = graph.edges.iter().filter_map(|e| Some((e.to, e.max?))).collect();
    children(graph, (&inside, &limits), NodeId(0), 1, &mut out);
    if let Some(finally) = graph.finally {
        let _ = writeln!(out, "finally");
        children(graph, (&inside, &limits), finally, 1, &mut out);
    }
    if !graph.results.is_empty() {
        let _ = writeln!(out, "results");
        for result in &graph.results {
            let _ = writeln!(out, "  {} [{}] = {}", result.name, result.unit, result.value.show());
        }
    }
    if !graph.started_instruments.is_empty() {
        let _ = writeln!(out, "safe state at every exit: {}", graph.started_instruments.join(", "));
    }
    for (stock, used) in &graph.stock {
        let _ = write!(out, "stock {stock}:");
        let show = |value: f64| tidy(value);
        if used.drawn > 0.0 {
            let _ = write!(out, " takes {}", show(used.drawn));
        }
        if used.delivered > 0.0 {
            let _ = write!(out, " gives {}", show(used.delivered));
        }
        let _ = writeln!(out, " (SI units, at most)");
    }
    for claim in &graph.places {
        let PlaceClaim { place, samples, capacity } = claim;
        let _ = writeln!(out, "place {place}: room for {samples} of {capacity}");
    }
    out
}

/// Children of each node, in order.
fn inside(graph: &Graph) -> Vec<Vec<NodeId>> {
    let mut all = vec![Vec::new(); graph.nodes.len()];
    for node in &graph.nodes {
        if let Some(list) = node.parent.and_then(|p| all.get_mut(p.0 as usize)) {
            list.push(node.id);
        }
    }
    all
}

fn of<'g>(
    graph: &'g Graph,
    inside: &'g [Vec<NodeId>],
    parent: NodeId,
) -> impl Iterator<Item = &'g Node> {
    inside.get(parent.0 as usize).into_iter().flatten().filter_map(|id| graph.node(*id))
}

/// Greatest lag before each node that has one.
type Limits = BTreeMap<NodeId, Duration>;

fn children(
    graph: &Graph,
    (inside, limits): (&[Vec<NodeId>], &Limits),
    parent: NodeId,
    depth: usize,
    out: &mut String,
) {
    let indent = "  ".repeat(depth);
    let block = graph.node(parent).map(|n| &n.kind);
    let mut slot = None;
    for node in of(graph, inside, parent) {
        if slot != Some(node.slot) {
            slot = Some(node.slot);
            match block {
                Some(NodeKind::Parallel { branches, .. }) => {
                    let name = branches.get(node.slot as usize).map_or("?", String::as_str);
                    let _ = writeln!(out, "{indent}| {name}");
                }
                Some(NodeKind::Branch { .. }) if node.slot == 1 => {
                    let _ = writeln!(out, "{indent}else");
                }
                _ => {}
            }
        }
        let within = limits
            .get(&node.id)
            .map(|max| format!("  within {} s", max.as_secs_f64()))
            .unwrap_or_default();
        let _ = writeln!(out, "{indent}{}{}{within}", label(node), times(node));
        children(graph, (inside, limits), node.id, depth + 1, out);
    }
}

fn times(node: &Node) -> String {
    let mut text = String::new();
    if node.kind.is_block() {
        return text;
    }
    if !node.expected.is_zero() {
        let _ = write!(text, "  ~{:.1} s", node.expected.as_secs_f64());
    }
    if let Some(deadline) = node.deadline {
        let _ = write!(text, "  at most {:.1} s", deadline.as_secs_f64());
    }
    text
}

/// One line about a node.
pub fn label(node: &Node) -> String {
    let name = &node.name;
    match &node.kind {
        NodeKind::Action { instrument, action, args, effect, .. } => {
            let args: Vec<String> =
                args.iter().map(|(n, value)| format!("{n}: {}", value.show())).collect();
            let effect = format!("{effect:?}").to_lowercase();
            format!("{name}: {instrument}.{action}({}) {effect}", args.join(", "))
        }
        NodeKind::Wait { duration } => format!("{name}: wait {}", duration.show()),
        NodeKind::WaitUntil { condition, stable_for } => {
            format!("{name}: until {} for {} s", condition.text, stable_for.as_secs_f64())
        }
        NodeKind::Analyse { process: Some(process), .. } => {
            format!("{name}: {}", process.argv.join(" "))
        }
        NodeKind::Analyse { function, .. } => format!("{name}: {function}"),
        NodeKind::Values { values } => {
            let values: Vec<String> =
                values.iter().map(|(n, value)| format!("{n} = {}", value.show())).collect();
            format!("{name}: {}", values.join(", "))
        }
        NodeKind::Ask { question, options, .. } => {
            format!("{name}: ask {} [{}]", question.show(), options.join(" / "))
        }
        NodeKind::Log { message } => format!("{name}: log {}", message.show()),
        NodeKind::Group { hold } if hold.is_empty() => format!("{name}:"),
        NodeKind::Group { hold } => format!("{name}: hold {}", hold.join(", ")),
        NodeKind::Parallel { start_together: Some(window), .. } => {
            format!("{name}: parallel, started within {} s", window.as_secs_f64())
        }
        NodeKind::Parallel { .. } => format!("{name}: parallel"),
        NodeKind::Repeat { max_times, until } => match until {
            Some(until) => format!("{name}: repeat at most {max_times} times until {}", until.text),
            None => format!("{name}: repeat {max_times} times"),
        },
        NodeKind::ForEach { variable, values } => {
            let values: Vec<String> = values.iter().map(crate::expr::Value::show).collect();
            format!("{name}: for each {variable} of {}", values.join(", "))
        }
        NodeKind::Branch { condition } => format!("{name}: if {}", condition.text),
    }
}

/// The graph itself.
pub fn json(graph: &Graph) -> String {
    serde_json::to_string_pretty(graph).unwrap_or_default()
}

/// A Mermaid flowchart; blocks are subgraphs.
pub fn mermaid(graph: &Graph) -> String {
    let mut out = "flowchart TD\n".to_owned();
    let all = inside(graph);
    for root in std::iter::once(NodeId(0)).chain(graph.finally) {
        let Some(node) = graph.node(root) else { continue };
        let _ = writeln!(out, "  subgraph n{} [\"{}\"]", root.0, quoted(&node.name));
        mermaid_children(graph, &all, root, 2, &mut out);
        let _ = writeln!(out, "  end");
    }
    for edge in &graph.edges {
        match edge.max {
            Some(max) => {
                let lag = max.as_secs_f64();
                let _ = writeln!(out, "  n{} -->|within {lag} s| n{}", edge.from.0, edge.to.0);
            }
            None => {
                let _ = writeln!(out, "  n{} --> n{}", edge.from.0, edge.to.0);
            }
        }
    }
    if let Some(finally) = graph.finally {
        let _ = writeln!(out, "  n0 --> n{}", finally.0);
    }
    out
}

fn mermaid_children(
    graph: &Graph,
    inside: &[Vec<NodeId>],
    parent: NodeId,
    depth: usize,
    out: &mut String,
) {
    let indent = "  ".repeat(depth);
    for node in of(graph, inside, parent) {
        let label = quoted(&label(node));
        if node.kind.is_block() {
            let _ = writeln!(out, "{indent}subgraph n{} [\"{label}\"]", node.id.0);
            mermaid_children(graph, inside, node.id, depth + 1, out);
            let _ = writeln!(out, "{indent}end");
        } else {
            let _ = writeln!(out, "{indent}n{}[\"{label}\"]", node.id.0);
        }
    }
}

/// Graphviz, blocks as clusters.
pub fn dot(graph: &Graph) -> String {
    let mut out = "digraph protocol {\n  compound=true; node [shape=box];\n".to_owned();
    let all = inside(graph);
    for root in std::iter::once(NodeId(0)).chain(graph.finally) {
        dot_block(graph, &all, root, 1, &mut out);
    }
    for edge in &graph.edges {
        let lag = edge
            .max
            .map(|max| format!(" [label=\"within {} s\"]", max.as_secs_f64()))
            .unwrap_or_default();
        let _ = writeln!(out, "  n{} -> n{}{lag};", anchor(&all, edge.from), anchor(&all, edge.to));
    }
    out.push_str("}\n");
    out
}

fn dot_block(graph: &Graph, inside: &[Vec<NodeId>], id: NodeId, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    let Some(node) = graph.node(id) else { return };
    let text = label(node).replace('\\', "\\\\").replace('"', "\\\"");
    if !node.kind.is_block() {
        let _ = writeln!(out, "{indent}n{} [label=\"{text}\"];", id.0);
        return;
    }
    let _ = writeln!(out, "{indent}subgraph cluster_n{} {{ label=\"{text}\";", id.0);
    for child in of(graph, inside, id) {
        dot_block(graph, inside, child.id, depth + 1, out);
    }
    let _ = writeln!(out, "{indent}}}");
}

/// Graphviz joins nodes, not clusters: a block is joined by its first leaf.
fn anchor(inside: &[Vec<NodeId>], id: NodeId) -> u32 {
    let mut at = id;
    while let Some(child) = inside.get(at.0 as usize).and_then(|list| list.first()) {
        at = *child;
    }
    at.0
}

fn quoted(text: &str) -> String {
    text.replace('"', "#quot;").replace('\n', " ")
}
