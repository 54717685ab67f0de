//! `labloop schema`: JSON Schema of a kind of document, also for one lab.

use super::args::SchemaArgs;
use super::{Exit, output};
use crate::compiler::bundle::Loader;
use crate::editor;
use crate::spec::{Document, Kind, render, schema};

pub(super) fn run(args: &SchemaArgs) -> Exit {
    let Some(kind) = Kind::from_word(&args.kind) else { return Exit::Usage };
    match of(kind, args) {
        Ok(schema) => {
            output::data(&format!("{schema:#}\n"));
            Exit::Done
        }
        Err((exit, message)) => {
            output::error(message);
            exit
        }
    }
}

type Failed = (Exit, String);

fn of(kind: Kind, args: &SchemaArgs) -> Result<serde_json::Value, Failed> {
    let usage = |text: &str| Err((Exit::Usage, text.to_owned()));
    match kind {
        Kind::Protocol | Kind::Campaign if args.lab.is_none() && args.protocol.is_none() => {}
        Kind::Protocol if args.protocol.is_some() => {
            return usage("--protocol is for `labloop schema campaign`");
        }
        Kind::Protocol | Kind::Campaign => return for_lab(kind, args),
        Kind::Instrument | Kind::Lab if args.lab.is_some() || args.protocol.is_some() => {
            return usage("--lab and --protocol are for protocols and campaigns");
        }
        Kind::Instrument | Kind::Lab => {}
    }
    Ok(schema::schema(kind))
}

fn for_lab(kind: Kind, args: &SchemaArgs) -> Result<serde_json::Value, Failed> {
    let usage = |e: crate::compiler::BundleError| (Exit::Usage, e.to_string());
    let mut loader = Loader::default();
    let lab = match &args.lab {
        Some(path) => loader.lab(path).map_err(usage)?,
        None => None,
    };
    let protocol = match &args.protocol {
        Some(path) => match loader.document(path).map_err(usage)?.as_deref() {
            Some(Document::Protocol(protocol)) => Some(protocol.clone()),
            Some(_) => return Err((Exit::Usage, format!("{} is no protocol", path.display()))),
            None => None,
        },
        None => None,
    };
    // What could be read is used all the same: an editor is where it gets repaired.
    if loader.report.has_errors() {
        let text = render::text(&loader.report, &loader.sources, render::Colour::Never);
        output::say(text);
    }
    match (kind, lab) {
        (Kind::Protocol, Some((lab, definitions))) => {
            Ok(editor::protocol_schema(&lab, &definitions, &loader.sources))
        }
        (Kind::Campaign, lab) => {
            Ok(editor::campaign_schema(protocol.as_deref(), lab.as_ref().map(|(lab, _)| &**lab)))
        }
        _ => Err((Exit::NotCompiled, "the lab cannot be read".to_owned())),
    }
}
