//! `labloop check`: all mistakes of all files at once.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::args::CheckArgs;
use super::{Exit, output, stops};
use crate::compiler::bundle::Loader;
use crate::compiler::{Bundle, BundleError, check_bundle};
use crate::driver::{LineStop, golden};
use crate::spec::instrument::Instrument;
use crate::spec::{Diagnostic, Document, Report, Severity, Sources, Span, codes, render};

/// Files looked at in one call.
const FILES_MAX: usize = 10_000;

/// What one file has, with the texts its places point into.
pub struct Finding {
    /// Texts.
    pub sources: Sources,
    /// Mistakes and notes.
    pub report: Report,
    /// Of a lab: how long its safe states take at most.
    pub stops: Option<Stops>,
}

/// How long the safe states of a lab take at most.
pub struct Stops {
    /// The name of the lab.
    pub place: Span,
    /// Its lines, or why nothing can be said.
    pub lines: Result<Vec<LineStop>, String>,
}

pub(super) fn run(args: &CheckArgs, json: bool) -> Exit {
    let findings = match check(&args.paths) {
        Ok(findings) => findings,
        Err(message) => {
            output::error(message);
            return Exit::Usage;
        }
    };
    let errors: usize = findings.iter().map(|f| f.report.count(Severity::Error)).sum();
    if json {
        let mut all: Vec<_> = findings
            .iter()
            .flat_map(|f| match render::json(&f.report, &f.sources) {
                serde_json::Value::Array(items) => items,
                other => vec![other],
            })
            .collect();
        all.extend(findings.iter().filter_map(stops::json));
        output::data(&format!("{:#}\n", serde_json::Value::Array(all)));
    } else {
        let colour = if output::colour() { render::Colour::Always } else { render::Colour::Never };
        for finding in findings.iter().filter(|f| !f.report.is_empty()) {
            output::say(render::text(&finding.report, &finding.sources, colour));
        }
        // Where something else is wrong, figures would only stand in the way.
        let others = findings.iter().flat_map(|f| &f.report.diagnostics);
        let others = others.filter(|d| d.severity == Severity::Error);
        let quiet = others.into_iter().any(|d| d.code != codes::STOP_LATENCY);
        for stops in findings.iter().filter_map(|f| f.stops.as_ref()).filter(|_| !quiet) {
            match &stops.lines {
                Ok(lines) => output::say(stops::text(lines)),
                Err(why) => {
                    output::say(format!("When its instruments are safe cannot be said: {why}"));
                }
            }
        }
        if findings.iter().all(|f| f.report.is_empty()) {
            output::say("Nothing is wrong.");
        } else if errors == 0 {
            output::say("Nothing here stops a run.");
        }
    }
    if errors == 0 { Exit::Done } else { Exit::NotCompiled }
}

/// Checks files and folders; what is wrong with a file that several others use is said once.
pub fn check(paths: &[PathBuf]) -> Result<Vec<Finding>, String> {
    let files = yaml_files(paths)?;
    let mut seen = BTreeSet::new();
    let mut findings = Vec::new();
    for file in files {
        let mut finding = one(&file).map_err(|e| e.to_string())?;
        finding.report.sort();
        finding.report.diagnostics.retain(|d| {
            let place = finding
                .sources
                .locate(d.place.span)
                .map(|(name, at)| (name.to_owned(), at.line, at.column, d.code, d.message.clone()));
            seen.insert(place)
        });
        findings.push(finding);
    }
    Ok(findings)
}

/// The files named, and all YAML files in the folders named, in order.
pub(super) fn yaml_files(paths: &[PathBuf]) -> Result<BTreeSet<PathBuf>, String> {
    let mut files = BTreeSet::new();
    for path in paths {
        collect(path, &mut files)?;
    }
    if files.is_empty() {
        return Err("there are no YAML files".to_owned());
    }
    Ok(files)
}

fn collect(path: &Path, files: &mut BTreeSet<PathBuf>) -> Result<(), String> {
    let meta = std::fs::metadata(path).map_err(|e| format!("{}: {e}", path.display()))?;
    if !meta.is_dir() {
        files.insert(path.to_owned());
        return Ok(());
    }
    let entries = std::fs::read_dir(path).map_err(|e| format!("{}: {e}", path.display()))?;
    for entry in entries.flatten() {
        let inner = entry.path();
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        let yaml = inner.extension().is_some_and(|e| e == "yaml" || e == "yml");
        if !hidden && (inner.is_dir() || yaml) {
            collect(&inner, files)?;
        }
        if files.len() > FILES_MAX {
            return Err(format!("there are more than {FILES_MAX} files in {}", path.display()));
        }
    }
    Ok(())
}

fn one(file: &Path) -> Result<Finding, BundleError> {
    let mut loader = Loader::default();
    match loader.document(file)?.as_deref() {
        Some(Document::Campaign(_)) => with_lab(file),
        // A protocol is checked for the lab beside it; alone, only by itself.
        Some(Document::Protocol(_))
            if file.parent().is_some_and(|f| f.join("lab.yaml").is_file()) =>
        {
            with_lab(file)
        }
        Some(Document::Lab(_)) => {
            let mut loader = Loader::default();
            let found = loader.lab(file)?;
            let mut stops = None;
            if let Some((lab, definitions)) = found {
                let more = crate::compiler::check_lab(&lab, &definitions);
                loader.report.extend(more);
                if !loader.report.has_errors() {
                    let place = lab.name.span;
                    let lines = stops::of(&lab, &definitions, &mut loader.report);
                    stops = Some(Stops { place, lines });
                }
            }
            Ok(Finding { sources: loader.sources, report: loader.report, stops })
        }
        Some(Document::Instrument(definition)) => {
            if !loader.report.has_errors() {
                golden_bytes(definition, &mut loader.report);
            }
            without_golden_bytes(definition, &mut loader.report);
            watchdog(definition, &mut loader.report);
            Ok(Finding { sources: loader.sources, report: loader.report, stops: None })
        }
        _ => Ok(Finding { sources: loader.sources, report: loader.report, stops: None }),
    }
}

/// What a definition says of its golden bytes.
fn golden_bytes(definition: &Arc<Instrument>, report: &mut Report) {
    let examples = golden::check(definition);
    let whys: BTreeSet<&String> = examples.iter().filter_map(|e| e.result.as_ref().err()).collect();
    let all_fail = !examples.is_empty() && examples.iter().all(|e| e.result.is_err());
    // One reason for all of them is a message that cannot be made or read at all.
    if let (true, 1, Some(why)) = (all_fail && examples.len() > 1, whys.len(), whys.first()) {
        report.push(
            Diagnostic::error(
                codes::TEMPLATE,
                definition.name.span,
                format!("correct the messages of `{}`: {why}", definition.name.value),
            )
            .label("no golden bytes could be tried"),
        );
        return;
    }
    for example in examples {
        if let Err(why) = example.result {
            report.push(
                Diagnostic::error(
                    codes::EXAMPLE_FAILED,
                    example.span,
                    format!("make {} give its golden bytes: {why}", example.of),
                )
                .label("does not come out"),
            );
        }
    }
}

/// Names actions and properties that no example shows; that there is none at all is said by reading
/// the definition.
fn without_golden_bytes(definition: &Instrument, report: &mut Report) {
    let missing = definition.without_golden_bytes();
    let (Some((first, span)), false) = (missing.first(), definition.examples.is_empty()) else {
        return;
    };
    let names: Vec<&str> = missing.iter().map(|(name, _)| *name).collect();
    let message = match names.as_slice() {
        [_] => format!("add golden bytes for `{first}`"),
        _ => format!("add golden bytes for {}", names.join(", ")),
    };
    report.push(
        Diagnostic::warning(codes::NO_GOLDEN, *span, message)
            .label("no example shows it")
            .reason("nothing shows that the device understands what the definition says of it"),
    );
}

/// Marks what goes on when the computer dies.
fn watchdog(definition: &Instrument, report: &mut Report) {
    let hazards = definition.hazards();
    if hazards.is_empty() || definition.heartbeat.is_some() || report.has_errors() {
        return;
    }
    let does: Vec<&str> = hazards.iter().map(|h| h.as_str()).collect();
    report.push(
        Diagnostic::note(
            codes::NO_WATCHDOG,
            definition.name.span,
            format!("it {} and no watchdog stops it when the computer dies", does.join(", ")),
        )
        .label("protocols with `unattended: allowed` cannot use it")
        .reason("declare `heartbeat:` if the device has a watchdog"),
    );
}

fn with_lab(file: &Path) -> Result<Finding, BundleError> {
    let mut bundle = Bundle::load(file, None)?;
    check_bundle(&mut bundle);
    if let (Some(lab), false) = (&bundle.lab, bundle.report.has_errors()) {
        // Said of the lab file itself; here only what it demands counts. That nothing can be said
        // is told by that file too.
        let _ = stops::of(lab, &bundle.definitions, &mut bundle.report);
    }
    Ok(Finding { sources: bundle.sources, report: bundle.report, stops: None })
}

/// Shows what is wrong with a bundle; false if it must not run.
pub(super) fn show(bundle: &Bundle) -> bool {
    let colour = if output::colour() { render::Colour::Always } else { render::Colour::Never };
    if bundle.report.has_errors() {
        output::say(render::text(&bundle.report, &bundle.sources, colour));
        return false;
    }
    true
}
