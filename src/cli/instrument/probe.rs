//! `labloop instrument probe`: what answers at an address.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::super::args::ProbeArgs;
use super::super::{Exit, output};
use super::{read, runtime, secret};
use crate::compiler::built_in;
use crate::driver::Definition;
use crate::driver::probe::{Findings, ProbeError, Search, probe};
use crate::wire::claim::claim;
use crate::wire::{Address, Clock, Dialer, Endpoint, LineLock};

/// Seconds of a search, and of listening at a broker, if not given.
const SEARCH_S: f64 = 120.0;
const LISTEN_S: f64 = 5.0;

pub(super) fn run(args: &ProbeArgs, json: bool) -> Exit {
    match look(args, json) {
        Ok(exit) => exit,
        Err((exit, message)) => {
            output::error(message);
            exit
        }
    }
}

fn look(args: &ProbeArgs, json: bool) -> Result<Exit, (Exit, String)> {
    let usage = |why: String| (Exit::Usage, why);
    let at = Address::parse(&args.address).map_err(|error| usage(error.to_string()))?;
    let named = !args.definition.is_empty();
    let names: Vec<String> = match named {
        true => args.definition.clone(),
        false => built_in::names().map(str::to_owned).collect(),
    };
    let mut definitions: Vec<Arc<Definition>> = Vec::new();
    for name in &names {
        definitions.push(Arc::new(read(name).map_err(usage)?));
    }
    let usual = if matches!(at.endpoint, Endpoint::Mqtt { .. }) { LISTEN_S } else { SEARCH_S };
    let search = Search {
        at,
        definitions,
        named,
        units: args.units,
        all: args.all,
        within: Duration::from_secs_f64(args.within.unwrap_or(usual)),
        secret: secret(args.secret.as_deref()).map_err(usage)?,
    };
    // SAFETY(lab): what is asked of a line in the middle of somebody else's dose garbles both.
    let _line = alone(&search.at, "labloop instrument probe")?;
    let progress = output::terminal() && !json;
    let mut tell = |what: &str| {
        if progress {
            let mut out = std::io::stderr().lock();
            let _ = write!(out, "\r\x1b[Ktrying {what}");
            let _ = out.flush();
        }
    };
    let runtime = runtime().map_err(usage)?;
    let found = runtime
        .block_on(async { probe(&search, &Dialer::real(), &Clock::real(), &mut tell).await });
    if progress {
        let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
    }
    let findings = found.map_err(|error| match &error {
        ProbeError::Unreachable { .. } => (Exit::Unreachable, error.to_string()),
        _ => (Exit::Usage, error.to_string()),
    })?;
    if json {
        output::data(&format!("{:#}\n", as_json(&findings)));
    } else {
        show(&findings, &args.address);
    }
    let nothing = findings.found.is_empty() && findings.units.is_empty();
    Ok(if nothing { Exit::Unreachable } else { Exit::Done })
}

/// The line for this program alone, unless it is a broker, where many may listen.
pub(super) fn alone(at: &Address, who: &str) -> Result<Option<LineLock>, (Exit, String)> {
    if matches!(at.endpoint, Endpoint::Mqtt { .. }) {
        return Ok(None);
    }
    claim(at, who).map_err(|error| (Exit::Unreachable, error.to_string()))
}

fn pairs(pairs: &[(String, String)]) -> String {
    pairs.iter().map(|(name, value)| format!("{name} = {value}")).collect::<Vec<_>>().join(", ")
}

fn show(findings: &Findings, address: &str) {
    for (unit, said) in &findings.units {
        output::data(&format!("unit {unit} answers: {said}\n"));
    }
    for found in &findings.found {
        let word = if found.certain { "is" } else { "may be" };
        let config = match found.config.as_slice() {
            [] => String::new(),
            config => format!(" ({})", pairs(config)),
        };
        output::data(&format!("{} {word} {}{config}\n", found.at, found.definition));
        if !found.values.is_empty() {
            output::data(&format!("    it says {}\n", pairs(&found.values)));
        }
        if !found.missing.is_empty() {
            output::data(&format!("    but not {}\n", found.missing.join(", ")));
        }
        for alarm in &found.alarms {
            output::data(&format!("    {alarm}; this is told once, and was told to you now\n"));
        }
        for exchange in found.trace.iter().take(8) {
            let way = if exchange.way == crate::driver::Way::Out { '>' } else { '<' };
            output::data(&format!("    {way} {}\n", exchange.text));
        }
    }
    for topic in findings.topics.iter().take(40) {
        output::say(format!("heard on {topic}"));
    }
    for (definition, why) in &findings.others {
        output::say(format!("something answers, but not as {definition}: {why}"));
    }
    for (definition, why) in &findings.skipped {
        output::say(format!("{definition} was not tried: {why}"));
    }
    if findings.found.is_empty() && findings.units.is_empty() {
        output::say(format!(
            "Nothing at {address} answers as a known device. Is it switched on, is the cable the \
             right one, and does its baud rate agree with the definition?"
        ));
    }
    if findings.cut_short {
        output::say("The time ran out before everything was tried; give more with --within.");
    }
}

fn as_json(findings: &Findings) -> serde_json::Value {
    let of = |pairs: &[(String, String)]| {
        pairs
            .iter()
            .map(|(name, value)| (name.clone(), serde_json::Value::from(value.as_str())))
            .collect::<serde_json::Map<_, _>>()
    };
    let found: Vec<_> = findings
        .found
        .iter()
        .map(|found| {
            json!({
                "definition": found.definition, "at": found.at, "config": of(&found.config),
                "certain": found.certain, "values": of(&found.values), "missing": found.missing,
                "alarms": found.alarms,
                "messages": found.trace,
            })
        })
        .collect();
    let units: Vec<_> =
        findings.units.iter().map(|(unit, said)| json!({"unit": unit, "answer": said})).collect();
    let why = |all: &[(String, String)]| {
        all.iter()
            .map(|(definition, why)| json!({"definition": definition, "why": why}))
            .collect::<Vec<_>>()
    };
    json!({
        "found": found, "units": units, "topics": findings.topics,
        "others": why(&findings.others), "skipped": why(&findings.skipped),
        "cut_short": findings.cut_short,
    })
}
