//! Nothing of a run may depend on which instrument did a step that can go to another one.
//!
//! A step with `on_error: fallback` is fit for it only where the instrument holds nothing of the
//! run: no block keeps it, nothing set, filled or started on it is meant for another step, no
//! later step reads its properties, and a failed attempt leaves nothing running on it.

use super::exits::{definition, span_of};
use crate::compiler::graph::{Effect, Graph, Node, NodeId, NodeKind, OnError};
use crate::compiler::walk::Walk;
use crate::spec::{Diagnostic, Span, codes};

/// Reports each step that may go to another instrument and depends on its own.
pub(super) fn check(walk: &mut Walk<'_>, graph: &Graph) {
    for node in &graph.nodes {
        let Some(span) = span_of(walk, node.id) else { continue };
        let wrong = if stands_in(graph, node) {
            taken(graph, node, span)
        } else if matches!(node.on_error, OnError::Fallback(_)) {
            tied(walk, graph, node, span)
        } else {
            None
        };
        if let Some(wrong) = wrong {
            walk.report.push(
                wrong.reason("another instrument knows nothing of what was done with the first"),
            );
        }
    }
}

/// Whether a node is itself the fallback of another.
fn stands_in(graph: &Graph, node: &Node) -> bool {
    node.parent
        .and_then(|p| graph.node(p))
        .is_some_and(|above| above.on_error == OnError::Fallback(node.id))
}

/// A called protocol does not know which roles its callers have given out.
fn taken(graph: &Graph, node: &Node, span: Span) -> Option<Diagnostic> {
    let NodeKind::Action { instrument, .. } = &node.kind else { return None };
    let (role, _) = graph.roles.iter().find(|(_, plays)| *plays == instrument)?;
    let message = format!(
        "choose another `on_error`: `{instrument}` would stand in, and plays `{role}` in this run"
    );
    let wrong = Diagnostic::error(codes::FALLBACK_STATE, span, message);
    Some(wrong.label("one instrument with two parts").fix("on_error: ask"))
}

/// Why the step must stay with its instrument.
fn tied(walk: &Walk<'_>, graph: &Graph, node: &Node, span: Span) -> Option<Diagnostic> {
    let NodeKind::Action { instrument, action, effect, starts, .. } = &node.kind else {
        return None;
    };
    let wrong = |message: String, label: &str| {
        Diagnostic::error(codes::FALLBACK_STATE, span, message)
            .label(label.to_owned())
            .fix("on_error: ask")
    };
    let choose = "choose another `on_error`";
    if graph.finally.is_some_and(|root| node.id >= root) {
        let message = format!("{choose}: `finally` brings the instruments of the run to rest");
        return Some(wrong(message, "another instrument was not started"));
    }
    let mut above = node.parent;
    while let Some(block) = above.and_then(|id| graph.node(id)) {
        if let NodeKind::Group { hold } = &block.kind
            && hold.contains(instrument)
        {
            let message = format!("{choose}: a block keeps `{instrument}` for its steps");
            let found = wrong(message, "inside a `hold`");
            return Some(match span_of(walk, block.id) {
                Some(at) => found.also(at, "the block"),
                None => found,
            });
        }
        above = block.parent;
    }
    if *effect == Effect::Repeatable && !starts.is_empty() {
        let message = format!(
            "{choose}: `{instrument}` may go on with what a failed `{action}` started ({})",
            starts.join(", ")
        );
        return Some(wrong(message, "two instruments would be running"));
    }
    if let Some(other) =
        graph.nodes.iter().find(|n| sets(walk, graph, n, node.id, instrument, action))
    {
        let message = format!("{choose}: what `{}` did is in `{instrument}`", other.path);
        let found = wrong(message, "another instrument is not in that state");
        return Some(match span_of(walk, other.id) {
            Some(at) => found.also(at, "commands the same instrument"),
            None => found,
        });
    }
    if let Some((path, at)) = reader(walk, graph, instrument) {
        let message = format!("{choose}: `{path}` is read of `{instrument}`, whoever did this");
        let found = wrong(message, "may be done by another instrument");
        return Some(match at {
            Some(at) => found.also(at, "reads it"),
            None => found,
        });
    }
    None
}

/// Whether another step leaves something in the instrument, or builds on what this one leaves.
/// The same dose or measurement again is one of its own; the same set point again is not.
fn sets(
    walk: &Walk<'_>,
    graph: &Graph,
    other: &Node,
    node: NodeId,
    instrument: &str,
    action: &str,
) -> bool {
    let NodeKind::Action { instrument: of, action: does, effect, .. } = &other.kind else {
        return false;
    };
    let in_finally = graph.finally.is_some_and(|root| other.id >= root);
    if other.id == node || of != instrument || *effect == Effect::Read || in_finally {
        return false;
    }
    let measures = || {
        definition(walk, instrument)
            .is_some_and(|d| d.action(action).is_some_and(|a| a.returns.is_some()))
    };
    !(does == action && (*effect != Effect::Repeatable || measures()))
}

/// An expression after the first step that reads a property of the instrument.
fn reader(walk: &Walk<'_>, graph: &Graph, instrument: &str) -> Option<(String, Option<Span>)> {
    let reads = |path: &Vec<String>| match path.as_slice() {
        [root, role, ..] => {
            root == "roles" && graph.roles.get(role).is_some_and(|i| i == instrument)
        }
        _ => false,
    };
    for node in &graph.nodes {
        for expr in node.kind.expressions() {
            if let Some(path) = expr.names().iter().find(|path| reads(path)) {
                return Some((path.join("."), span_of(walk, node.id)));
            }
        }
    }
    let result = graph.results.iter().find_map(|r| {
        let names = r.value.names();
        Some((names.iter().find(|path| reads(path))?.join("."), r.name.clone()))
    })?;
    let at = walk.request.protocol.result(&result.1).map(|r| r.span);
    Some((result.0, at))
}
