//! A graph for people and other programs, with the names of the YAML.

use std::fmt::Write;

use super::graph::{Graph, Node, NodeId, NodeKind};

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
    children(graph, NodeId(0), 1, &mut out);
    if let Some(finally) = graph.finally {
        let _ = writeln!(out, "finally");
        children(graph, finally, 1, &mut out);
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
    out
}

fn children(graph: &Graph, parent: NodeId, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    let block = graph.node(parent).map(|n| &n.kind);
    let mut slot = None;
    for node in graph.nodes.iter().filter(|n| n.parent == Some(parent)) {
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
        let within = graph
            .edges
            .iter()
            .find(|e| e.to == node.id && e.max.is_some())
            .and_then(|e| e.max)
            .map(|max| format!("  within {} s", max.as_secs_f64()))
            .unwrap_or_default();
        let _ = writeln!(out, "{indent}{}{}{within}", label(node), times(node));
        children(graph, node.id, depth + 1, out);
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
    for root in std::iter::once(NodeId(0)).chain(graph.finally) {
        let Some(node) = graph.node(root) else { continue };
        let _ = writeln!(out, "  subgraph n{} [\"{}\"]", root.0, quoted(&node.name));
        mermaid_children(graph, root, 2, &mut out);
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

fn mermaid_children(graph: &Graph, parent: NodeId, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    for node in graph.nodes.iter().filter(|n| n.parent == Some(parent)) {
        let label = quoted(&label(node));
        if node.kind.is_block() {
            let _ = writeln!(out, "{indent}subgraph n{} [\"{label}\"]", node.id.0);
            mermaid_children(graph, node.id, depth + 1, out);
            let _ = writeln!(out, "{indent}end");
        } else {
            let _ = writeln!(out, "{indent}n{}[\"{label}\"]", node.id.0);
        }
    }
}

/// Graphviz, blocks as clusters.
pub fn dot(graph: &Graph) -> String {
    let mut out = "digraph protocol {\n  compound=true; node [shape=box];\n".to_owned();
    for root in std::iter::once(NodeId(0)).chain(graph.finally) {
        dot_block(graph, root, 1, &mut out);
    }
    for edge in &graph.edges {
        let lag = edge
            .max
            .map(|max| format!(" [label=\"within {} s\"]", max.as_secs_f64()))
            .unwrap_or_default();
        let _ =
            writeln!(out, "  n{} -> n{}{lag};", anchor(graph, edge.from), anchor(graph, edge.to));
    }
    out.push_str("}\n");
    out
}

fn dot_block(graph: &Graph, id: NodeId, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    let Some(node) = graph.node(id) else { return };
    let text = label(node).replace('\\', "\\\\").replace('"', "\\\"");
    if !node.kind.is_block() {
        let _ = writeln!(out, "{indent}n{} [label=\"{text}\"];", id.0);
        return;
    }
    let _ = writeln!(out, "{indent}subgraph cluster_n{} {{ label=\"{text}\";", id.0);
    for child in graph.nodes.iter().filter(|n| n.parent == Some(id)) {
        dot_block(graph, child.id, depth + 1, out);
    }
    let _ = writeln!(out, "{indent}}}");
}

/// Graphviz joins nodes, not clusters: a block is joined by its first leaf.
fn anchor(graph: &Graph, id: NodeId) -> u32 {
    let mut at = id;
    while let Some(child) = graph.nodes.iter().find(|n| n.parent == Some(at)) {
        at = child.id;
    }
    at.0
}

fn quoted(text: &str) -> String {
    text.replace('"', "#quot;").replace('\n', " ")
}
