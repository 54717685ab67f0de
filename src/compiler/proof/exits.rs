//! Every way out of a run leaves what it started harmless.
//!
//! Three ways lead out. *Success* and *failure* pass `finally`, then the engine sends the safe
//! state of each instrument that `finally` did not stop; *abort* goes to the safe state at once.
//! So a definition without a safe state leaves a hole on the abort path whatever the protocol
//! says, and that is an error with the path written out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::compiler::graph::{Graph, HoldState, Node, NodeId, NodeKind};
use crate::compiler::walk::Walk;
use crate::spec::instrument::Instrument;
use crate::spec::{Diagnostic, Span, codes};

/// The type whose instruments go on stirring while a run is held.
const STIRRER: &str = "stirrer";

/// The definition of an instrument of the lab.
pub(super) fn definition(walk: &Walk<'_>, instrument: &str) -> Option<Arc<Instrument>> {
    let found = walk.request.lab.instrument(instrument)?;
    walk.request.definitions.get(&found.definition.value).cloned()
}

/// The step a node was made from, to point at.
pub(super) fn span_of(walk: &Walk<'_>, id: NodeId) -> Option<Span> {
    walk.origins.get(id.0 as usize).copied().flatten().map(|step| step.word)
}

/// Instruments the run starts, in the order of the lab.
pub(super) fn started(walk: &Walk<'_>, graph: &Graph) -> Vec<String> {
    let started: BTreeSet<&String> = graph.nodes.iter().filter_map(starts).collect();
    walk.request
        .lab
        .instruments
        .iter()
        .map(|i| &i.name.value)
        .filter(|name| started.contains(name))
        .cloned()
        .collect()
}

/// Where holding a run leads its instruments, where the definition or the type says so.
pub(super) fn hold_states(walk: &Walk<'_>, graph: &Graph) -> BTreeMap<String, HoldState> {
    let used: BTreeSet<&String> = graph.nodes.iter().flat_map(|node| &node.claims).collect();
    let mut states = BTreeMap::new();
    for instrument in used {
        let Some(definition) = definition(walk, instrument) else { continue };
        let state = match &definition.hold_state {
            Some(hold) if hold.operations.is_empty() => HoldState::Stays,
            Some(_) => HoldState::Declared,
            // What is stirred settles or burns when it is not.
            None if definition.kind.value == STIRRER => HoldState::Stays,
            None => continue,
        };
        states.insert(instrument.clone(), state);
    }
    states
}

fn starts(node: &Node) -> Option<&String> {
    match &node.kind {
        NodeKind::Action { instrument, starts, .. } if !starts.is_empty() => Some(instrument),
        _ => None,
    }
}

/// Reports each instrument that some way out leaves running, and what needs a person nearby.
pub(super) fn check(walk: &mut Walk<'_>, graph: &Graph) {
    let mut first: BTreeMap<&String, &Node> = BTreeMap::new();
    let mut last: BTreeMap<&String, &Node> = BTreeMap::new();
    for node in &graph.nodes {
        let NodeKind::Action { instrument, .. } = &node.kind else { continue };
        if graph.finally.is_some_and(|root| node.id >= root) {
            last.insert(instrument, node);
        } else if starts(node).is_some() {
            first.entry(instrument).or_insert(node);
        }
    }
    for (instrument, node) in first {
        let Some(definition) = definition(walk, instrument) else { continue };
        let Some(span) = span_of(walk, node.id) else { continue };
        let NodeKind::Action { starts, .. } = &node.kind else { continue };
        let does = starts.join(" and ");
        if definition.safe_state.is_none() {
            let after = match last.get(instrument) {
                Some(end) => format!("success and failure end in `{}`", end.path),
                None => "success and failure end the same way".to_owned(),
            };
            walk.report.push(
                Diagnostic::error(
                    codes::NO_SAFE_EXIT,
                    span,
                    format!(
                        "when this run is aborted, nothing brings `{instrument}` to a safe state"
                    ),
                )
                .label(format!("{does} from here on"))
                .also(definition.name.span, "has no `safe_state`")
                .reason(format!(
                    "the path: `{}` {does} -> abort -> end of the run; {after}",
                    node.path
                ))
                .fix("add `safe_state:` to the definition"),
            );
        }
        let unattended = walk.request.protocol.unattended.as_ref().filter(|u| u.value);
        if let Some(unattended) = unattended
            && definition.heartbeat.is_none()
        {
            walk.report.push(
                Diagnostic::error(
                    codes::UNATTENDED,
                    span,
                    format!("`{instrument}` {does} and has no watchdog: somebody must be nearby"),
                )
                .label("goes on when the computer dies")
                .also(unattended.span, "allowed here")
                .also(definition.name.span, "has no `heartbeat`")
                .fix("unattended: forbidden"),
            );
        }
    }
}
