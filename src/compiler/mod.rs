//! Protocol + lab + parameters -> graph. Every check of the language happens here, before anything
//! moves.
//!
//! ```text
//! files -> Bundle (all texts, typed) -> bind roles -> walk the steps -> Graph
//!                                            \ names, types, dimensions, ranges -> Report
//! ```
//!
//! The same walk serves `check` (over the whole parameter box) and `run` (for one set of
//! parameters), so nothing is checked that is not also run, and nothing is run unchecked.
//!
//! Architecture invariant: knows no live state; a graph is a function of its documents.
mod analyse;
mod bind;
pub mod built_in;
pub mod bundle;
mod call;
pub mod campaign;
mod fallback;
mod flow;
pub mod graph;
mod hash;
mod interlocks;
mod lab;
mod names;
mod operation;
mod proof;
mod samples;
mod scripts;
pub mod show;
mod values;
mod walk;

pub use bind::{Binding, Definitions};
pub use bundle::{Bundle, BundleError, Kind};
pub use interlocks::first_guard;
pub use lab::check_lab;
pub use operation::PORT_ARGUMENTS;
pub use walk::{Protocols, Request, compile};

use std::collections::BTreeMap;

use crate::spec::Report;

/// Everything that can be checked of a campaign or a protocol, into the bundle's report.
pub fn check_bundle(bundle: &mut Bundle) {
    if bundle.report.has_errors() {
        return;
    }
    if let Some(lab) = bundle.lab.clone() {
        bundle.report.extend(check_lab(&lab, &bundle.definitions));
    }
    let more = if bundle.campaign.is_some() {
        campaign::check(bundle).report
    } else {
        protocol_over_its_box(bundle)
    };
    bundle.report.extend(more);
}

/// Checks the protocol of a bundle over all values its parameters can take.
pub fn protocol_over_its_box(bundle: &Bundle) -> Report {
    let (Some(protocol), Some(lab)) = (&bundle.protocol, &bundle.lab) else {
        return Report::new();
    };
    let compiled = compile(Request {
        sources: &bundle.sources,
        protocol,
        lab,
        definitions: &bundle.definitions,
        protocols: &bundle.protocols,
        pins: &[],
        parameters: &BTreeMap::new(),
        ranges: &BTreeMap::new(),
    });
    compiled.report
}
