//! `labloop instrument`: what definitions say, whether their golden bytes come out, and the tools
//! for one device on a real line.

mod alone;
mod call;
mod chosen;
mod hands;
mod probe;
mod record;
mod replay;
mod shown;
pub(super) mod trace;

use std::path::Path;

use super::args::{InstrumentArgs, InstrumentCommand};
use super::{Exit, check, output};
use crate::compiler::built_in;
use crate::driver::{self, golden};
use crate::engine::shell::read_secret;
use crate::spec::instrument::Instrument;
use crate::spec::lab::Secret;
use crate::spec::{Document, Sources, ValueSpec, ValueType, lower, render};

pub(super) fn run(args: &InstrumentArgs, json: bool) -> Exit {
    match &args.command {
        InstrumentCommand::List => list(json),
        InstrumentCommand::Show { name, source: true } => source(name),
        InstrumentCommand::Show { name, source: false } => show(name, json),
        InstrumentCommand::Check { paths } if paths.is_empty() => check_built_in(),
        InstrumentCommand::Check { paths } => {
            check::run(&super::args::CheckArgs { paths: paths.clone() }, json)
        }
        InstrumentCommand::Call(args) => call::run(args, json),
        InstrumentCommand::Take(args) => hands::run(hands::Hand::Take, args, json),
        InstrumentCommand::Give(args) => hands::run(hands::Hand::Give, args, json),
        InstrumentCommand::Accept(args) => hands::run(hands::Hand::Accept, args, json),
        InstrumentCommand::Probe(args) => probe::run(args, json),
        InstrumentCommand::Record(args) => record::run(args, json),
        InstrumentCommand::Replay(args) => replay::run(args, json),
        InstrumentCommand::Trace(args) => trace::run(args, json),
    }
}

fn usage(message: impl ToString) -> (Exit, String) {
    (Exit::Usage, message.to_string())
}

/// Path and text of a built-in definition or a file.
fn text(name: &str) -> Result<(String, String), String> {
    match built_in::text(name) {
        Some((path, text)) => Ok((path.to_owned(), text.to_owned())),
        None if Path::new(name).is_file() => {
            let text = std::fs::read_to_string(name).map_err(|e| format!("{name}: {e}"))?;
            Ok((name.to_owned(), text))
        }
        None => {
            let known: Vec<&str> = built_in::names().collect();
            let near = crate::spec::nearest(name, known.iter().copied());
            Err(match near {
                Some(near) => format!("there is no definition `{name}`; did you mean `{near}`?"),
                None => format!("there is no definition `{name}`; there are {}", known.join(", ")),
            })
        }
    }
}

fn source(name: &str) -> Exit {
    match text(name) {
        Ok((_, text)) => {
            output::data(&text);
            Exit::Done
        }
        Err(message) => {
            output::error(message);
            Exit::Usage
        }
    }
}

fn read(name: &str) -> Result<Instrument, String> {
    let (path, text) = text(name)?;
    let mut sources = Sources::new();
    let id = sources.add(path, text.as_str());
    let checked = sources.get(id).map(lower);
    match checked.map(|c| (c.value, c.report)) {
        Some((Some(Document::Instrument(instrument)), _)) => Ok((*instrument).clone()),
        Some((_, report)) => Err(render::text(&report, &sources, render::Colour::Never)),
        None => Err(format!("{name} cannot be read")),
    }
}

/// A password named on the command line, as in a lab file.
fn secret(text: Option<&str>) -> Result<Option<driver::Secret>, String> {
    let Some(text) = text else { return Ok(None) };
    let secret = match text.split_once(':') {
        Some(("env", name)) => Secret::Environment(name.to_owned()),
        Some(("file", path)) => Secret::File(path.to_owned()),
        _ => return Err("--secret: write env:NAME or file:PATH, never the password".to_owned()),
    };
    read_secret(&secret).map(|secret| Some(driver::Secret(secret)))
}

/// A runtime for one command.
fn runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("no runtime: {error}"))
}

/// Waits for the end of a command that otherwise goes on: Ctrl-C, SIGTERM or its time.
async fn until_stopped(seconds: Option<f64>) {
    let ended = async {
        match seconds {
            Some(seconds) => tokio::time::sleep(std::time::Duration::from_secs_f64(seconds)).await,
            None => std::future::pending().await,
        }
    };
    let terminated = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = ended => {}
        () = terminated => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

fn list(json: bool) -> Exit {
    let mut all = Vec::new();
    for name in built_in::names() {
        match read(name) {
            Ok(found) => all.push(found),
            Err(message) => {
                output::error(message);
                return Exit::NotCompiled;
            }
        }
    }
    if json {
        let rows: Vec<_> = all
            .iter()
            .map(|i| {
                serde_json::json!({
                    "name": i.name.value, "type": i.kind.value, "vendor": i.vendor, "doc": i.doc,
                })
            })
            .collect();
        output::data(&format!("{:#}\n", serde_json::Value::Array(rows)));
        return Exit::Done;
    }
    for i in &all {
        let doc = i.doc.as_deref().unwrap_or_default();
        output::data(&format!("{:<22} {:<14} {doc}\n", i.name.value, i.kind.value));
    }
    Exit::Done
}

fn limits(spec: &ValueSpec) -> String {
    let side = |q: &Option<crate::spec::Spanned<crate::units::Quantity>>, word: &str| {
        let q = q.as_ref()?;
        let shown = match &spec.kind {
            ValueType::Quantity { unit } => q.value.display_in(&unit.value),
            _ => q.value.to_string(),
        };
        Some(format!("{word} {shown}"))
    };
    let mut parts = vec![match &spec.kind {
        ValueType::Quantity { unit } => unit.value.symbol.clone(),
        ValueType::Number => "number".to_owned(),
        ValueType::Integer => "whole number".to_owned(),
        ValueType::Choice { options } => {
            options.iter().map(|o| o.value.as_str()).collect::<Vec<_>>().join(" | ")
        }
        ValueType::Bool => "true or false".to_owned(),
        ValueType::Text => "text".to_owned(),
    }];
    parts.extend(side(&spec.min, "from"));
    parts.extend(side(&spec.max, "to"));
    if let Some(default) = &spec.default {
        parts.push(format!("default {}", default.text));
    }
    parts.join(", ")
}

fn show(name: &str, json: bool) -> Exit {
    let found = match read(name) {
        Ok(found) => found,
        Err(message) => {
            output::error(message);
            return Exit::Usage;
        }
    };
    if json {
        let actions: Vec<_> = found
            .actions
            .iter()
            .map(|a| {
                serde_json::json!({
                    "name": a.name.value, "doc": a.doc,
                    "effect": format!("{:?}", a.effect.value).to_lowercase(),
                    "args": a.args.iter().map(|s| serde_json::json!({
                        "name": s.name.value, "is": limits(s), "doc": s.doc,
                    })).collect::<Vec<_>>(),
                })
            })
            .collect();
        let properties: Vec<_> = found
            .properties
            .iter()
            .map(|p| {
                serde_json::json!({
                    "name": p.name.value, "doc": p.doc,
                    "every_s": p.every.as_ref().map(|every| every.value.as_secs_f64()),
                })
            })
            .collect();
        let config: Vec<_> = found
            .config
            .iter()
            .map(|s| serde_json::json!({"name": s.name.value, "is": limits(s), "doc": s.doc}))
            .collect();
        let value = serde_json::json!({
            "name": found.name.value, "type": found.kind.value, "vendor": found.vendor,
            "doc": found.doc, "config": config, "actions": actions, "properties": properties,
        });
        output::data(&format!("{value:#}\n"));
        return Exit::Done;
    }
    let mut text = format!("{}  ({})\n", found.name.value, found.kind.value);
    if let Some(doc) = &found.doc {
        text.push_str(&format!("{}\n", doc.trim()));
    }
    if !found.config.is_empty() {
        text.push_str("\nconfiguration in the lab file\n");
        for spec in &found.config {
            text.push_str(&format!("  {:<18} {}\n", spec.name.value, limits(spec)));
        }
    }
    text.push_str("\nproperties\n");
    for p in &found.properties {
        let every = p.every.as_ref().map_or(String::new(), |e| {
            format!("every {}", output::duration(e.value.as_secs_f64()))
        });
        let doc = p.doc.as_deref().unwrap_or_default();
        text.push_str(&format!("  {:<18} {every:<12} {doc}\n", p.name.value));
    }
    text.push_str("\nactions\n");
    for a in &found.actions {
        let effect = format!("{:?}", a.effect.value).to_lowercase();
        let doc = a.doc.as_deref().unwrap_or_default();
        text.push_str(&format!("  {:<18} {effect:<12} {doc}\n", a.name.value));
        for spec in &a.args {
            text.push_str(&format!("    {:<16} {}\n", spec.name.value, limits(spec)));
        }
    }
    output::data(&text);
    Exit::Done
}

fn check_built_in() -> Exit {
    let mut failed = 0;
    let mut passed = 0;
    for name in built_in::names() {
        match read(name) {
            Ok(definition) => {
                for (what, _) in definition.without_golden_bytes() {
                    failed += 1;
                    output::error(format!("{name}, {what}: it has no golden bytes"));
                }
                for example in golden::check(&definition) {
                    match example.result {
                        Ok(()) => passed += 1,
                        Err(why) => {
                            failed += 1;
                            output::error(format!("{name}, {}: {why}", example.of));
                        }
                    }
                }
            }
            Err(message) => {
                failed += 1;
                output::error(message);
            }
        }
    }
    output::say(format!("{passed} golden examples pass, {failed} fail."));
    if failed == 0 { Exit::Done } else { Exit::NotCompiled }
}
