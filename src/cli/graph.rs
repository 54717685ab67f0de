//! `labloop graph`: the compiled graph of a protocol.

use std::collections::BTreeMap;

use super::args::{GraphArgs, GraphFormat};
use super::{Exit, check, output};
use crate::compiler::{Bundle, Request, compile, show};
use crate::engine::shell::parameters;

pub(super) fn run(args: &GraphArgs, json: bool) -> Exit {
    let mut bundle = match Bundle::load(&args.protocol, Some(&args.lab)) {
        Ok(bundle) => bundle,
        Err(error) => {
            output::error(error.to_string());
            return Exit::Usage;
        }
    };
    if !check::show(&bundle) {
        return Exit::NotCompiled;
    }
    let values = match parameters(&bundle, &args.set) {
        Ok(values) => values,
        Err(message) => {
            output::error(message);
            return Exit::Usage;
        }
    };
    let (Some(protocol), Some(lab)) = (&bundle.protocol, &bundle.lab) else {
        return Exit::NotCompiled;
    };
    let compiled = compile(Request {
        sources: &bundle.sources,
        protocol,
        lab,
        definitions: &bundle.definitions,
        protocols: &bundle.protocols,
        pins: &[],
        parameters: &values,
        ranges: &BTreeMap::new(),
    });
    let Some(graph) = compiled.value else {
        bundle.report = compiled.report;
        check::show(&bundle);
        return Exit::NotCompiled;
    };
    let format = if json { GraphFormat::Json } else { args.format };
    output::data(&match format {
        GraphFormat::Text => show::text(&graph),
        GraphFormat::Mermaid => show::mermaid(&graph),
        GraphFormat::Dot => show::dot(&graph),
        GraphFormat::Json => show::json(&graph) + "\n",
    });
    Exit::Done
}
