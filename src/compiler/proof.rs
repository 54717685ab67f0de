//! What is proven of a whole graph before anything moves: exits, time limits, stock.
//!
//! The walk looks at one step after the other; what is proven here needs all of them.

mod exits;
mod lags;
mod stand_in;
mod stock;
mod unused;

use super::graph::Graph;
use super::walk::Walk;
use crate::spec::Report;

pub(super) use stock::Moved;

/// Proves a graph, completes it and hashes it. `None` where anything is an error.
pub(super) fn prove(mut walk: Walk<'_>, mut graph: Graph) -> (Option<Graph>, Report) {
    graph.started_instruments = exits::started(&walk, &graph);
    graph.hold_states = exits::hold_states(&walk, &graph);
    exits::check(&mut walk, &graph);
    stand_in::check(&mut walk, &graph);
    // Steps that could not be compiled are missing in the graph: its times and volumes would be
    // wrong.
    if !walk.report.has_errors() {
        let times = lags::check(&mut walk, &mut graph);
        stock::balance(&mut walk, &mut graph, &times);
        unused::check(&mut walk, &graph);
        unused::overlaps(&mut walk, &graph);
    }
    walk.note_once();
    let mut report = walk.report;
    report.sort();
    if report.has_errors() {
        return (None, report);
    }
    graph.hash = super::hash::of(&graph);
    (Some(graph), report)
}
