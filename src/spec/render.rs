//! Diagnostics as people and programs read them.
//!
//! Architecture invariant: nothing is decided here; the same [`Report`] gives the terminal its
//! text and `--json` its objects.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde_json::{Value, json};

use super::codes;
use super::diagnostic::{Diagnostic, Label, Report, Severity};
use super::source::{SourceFile, SourceId, Sources, Span};

/// Most findings shown as text; more do not help anybody repair a file. JSON has them all.
pub const MAX_SHOWN: usize = 50;
/// Widest text, so that one very long line does not fill the screen.
const WIDTH: usize = 140;
/// Longest stretch of a file between two labels that is shown as one piece.
const MAX_WINDOW_BYTES: usize = 16 * 1024;

/// How text is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Colour {
    /// No escape sequences.
    #[default]
    Never,
    /// With colours of the terminal.
    Always,
}

/// All findings, the worst of a long list left out at its end, with a line that sums them up.
/// Empty if there are none.
pub fn text(report: &Report, sources: &Sources, colour: Colour) -> String {
    let mut out = String::new();
    let secrets = secrets(&report.diagnostics);
    for diagnostic in report.diagnostics.iter().take(MAX_SHOWN) {
        out.push_str(&shown(diagnostic, sources, colour, &secrets));
        out.push_str("\n\n");
    }
    if let Some(hidden) = report.diagnostics.len().checked_sub(MAX_SHOWN).filter(|n| *n > 0) {
        let _ =
            writeln!(out, "... and {hidden} more; repair these first, or see all with --json\n");
    }
    if !report.is_empty() {
        let _ = writeln!(out, "{}", summary(report));
    }
    out
}

/// `2 errors, 1 warning`.
pub fn summary(report: &Report) -> String {
    let parts: Vec<String> = [Severity::Error, Severity::Warning, Severity::Note]
        .into_iter()
        .filter_map(|severity| {
            let n = report.count(severity);
            let plural = if n == 1 { "" } else { "s" };
            (n > 0).then(|| format!("{n} {}{plural}", severity.as_str()))
        })
        .collect();
    if parts.is_empty() { "no errors".to_owned() } else { parts.join(", ") }
}

/// One finding, without a final line end.
pub fn one(diagnostic: &Diagnostic, sources: &Sources, colour: Colour) -> String {
    shown(diagnostic, sources, colour, &secrets([diagnostic]))
}

/// Where a secret stands in a file itself. Findings go into logs, and to whoever looks on: what
/// stands there is never shown.
fn secrets<'d>(diagnostics: impl IntoIterator<Item = &'d Diagnostic>) -> Vec<Span> {
    let secret = |found: &&Diagnostic| found.code == codes::SECRET;
    diagnostics.into_iter().filter(secret).map(|found| found.place.span).collect()
}

fn shown(diagnostic: &Diagnostic, sources: &Sources, colour: Colour, secrets: &[Span]) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let mut group =
        Group::with_title(level.primary_title(clean(&diagnostic.message)).id(diagnostic.code));
    for (source, labels) in by_source(diagnostic) {
        let Some(file) = sources.get(source) else { continue };
        for window in windows(file, labels) {
            let secrets = secrets.iter().filter(|span| span.source == source);
            group = group.element(snippet(file, &window, secrets));
        }
    }
    // The name is padded so that reason and fix stand below each other.
    if let Some(reason) = &diagnostic.reason {
        group = group.element(Level::NOTE.with_name("reason").message(clean(reason)));
    }
    if let Some(fix) = &diagnostic.fix {
        let lines: Vec<String> = fix.lines().map(clean).collect();
        group = group
            .element(Level::HELP.with_name("try").message(format!("   {}", lines.join("\n   "))));
    }
    let renderer = match colour {
        Colour::Never => Renderer::plain(),
        Colour::Always => Renderer::styled(),
    };
    let text = renderer.decor_style(DecorStyle::Ascii).term_width(WIDTH).render(&[group]);
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n")
}

/// All findings as JSON: an array of objects with `code`, `severity`, `message`, `file`, `line`,
/// `column`, `end_line`, `end_column`, `label`, `reason`, `fix` and `others`.
pub fn json(report: &Report, sources: &Sources) -> Value {
    Value::Array(report.diagnostics.iter().map(|d| json_one(d, sources)).collect())
}

fn json_one(diagnostic: &Diagnostic, sources: &Sources) -> Value {
    let place = |label: &Label| {
        let file = sources.get(label.span.source);
        let start = file.map(|f| f.position(label.span.start));
        let end = file.map(|f| f.position(label.span.end));
        json!({
            "file": file.map(|f| &*f.name),
            "line": start.map(|p| p.line),
            "column": start.map(|p| p.column),
            "end_line": end.map(|p| p.line),
            "end_column": end.map(|p| p.column),
            "label": label.text,
        })
    };
    let mut value = place(&diagnostic.place);
    if let Value::Object(object) = &mut value {
        object.insert("code".to_owned(), diagnostic.code.into());
        object.insert("severity".to_owned(), diagnostic.severity.as_str().into());
        object.insert("message".to_owned(), diagnostic.message.clone().into());
        object.insert("reason".to_owned(), diagnostic.reason.clone().into());
        object.insert("fix".to_owned(), diagnostic.fix.clone().into());
        object.insert("others".to_owned(), diagnostic.others.iter().map(place).collect());
    }
    value
}

/// A label and whether it is the primary one.
type Marked<'d> = (&'d Label, bool);

/// Labels by text, that of the primary label first.
fn by_source(diagnostic: &Diagnostic) -> Vec<(SourceId, Vec<Marked<'_>>)> {
    let primary = diagnostic.place.span.source;
    let mut map: BTreeMap<SourceId, Vec<Marked<'_>>> = BTreeMap::new();
    map.entry(primary).or_default().push((&diagnostic.place, true));
    for label in &diagnostic.others {
        map.entry(label.span.source).or_default().push((label, false));
    }
    let first = map.remove(&primary).map(|labels| (primary, labels));
    first.into_iter().chain(map).collect()
}

/// Lines of a text to show, with the labels that fall into them. The window of the primary label
/// comes first.
struct Window<'d> {
    bytes: Range<usize>,
    labels: Vec<Marked<'d>>,
}

fn windows<'d>(file: &SourceFile, labels: Vec<Marked<'d>>) -> Vec<Window<'d>> {
    let mut windows: Vec<Window<'d>> = Vec::new();
    for (label, primary) in labels {
        let bytes = lines_of(file, label.span);
        let near = windows.iter_mut().find(|w| {
            let joined = w.bytes.start.min(bytes.start)..w.bytes.end.max(bytes.end);
            joined.len() <= MAX_WINDOW_BYTES
        });
        match near {
            Some(window) => {
                window.bytes = window.bytes.start.min(bytes.start)..window.bytes.end.max(bytes.end);
                window.labels.push((label, primary));
            }
            None => windows.push(Window { bytes, labels: vec![(label, primary)] }),
        }
    }
    windows
}

/// The whole lines a span stands on; of a span over many lines only the first.
fn lines_of(file: &SourceFile, span: Span) -> Range<usize> {
    let range = first_line(file, span);
    let start = file.slice(0..range.start).rfind('\n').map_or(0, |n| n + 1);
    let rest = file.slice(range.end..file.text.len());
    let end = range.end + rest.find('\n').unwrap_or(rest.len());
    start..end
}

/// The part of a span on its first line, at least one character where there is one.
fn first_line(file: &SourceFile, span: Span) -> Range<usize> {
    let range = file.boundaries(span.range());
    let text = file.slice(range.clone());
    let end = range.start + text.find(['\n', '\r']).unwrap_or(text.len());
    file.boundaries(range.start..end)
}

/// A stretch of a file with a star for each byte of a secret.
fn masked<'a, 's>(
    file: &'a SourceFile,
    bytes: &Range<usize>,
    secrets: impl Iterator<Item = &'s Span>,
) -> Cow<'a, str> {
    let mut text = Cow::Borrowed(file.slice(bytes.clone()));
    for secret in secrets {
        let secret = file.boundaries(secret.range());
        let from = secret.start.clamp(bytes.start, bytes.end) - bytes.start;
        let to = secret.end.clamp(bytes.start, bytes.end) - bytes.start;
        let stars = |c: char| if c == '\n' { "\n".to_owned() } else { "*".repeat(c.len_utf8()) };
        if let Some(shown) = text.get(from..to).filter(|shown| !shown.is_empty()) {
            let stars: String = shown.chars().map(stars).collect();
            text.to_mut().replace_range(from..to, &stars);
        }
    }
    text
}

fn snippet<'a, 's>(
    file: &'a SourceFile,
    window: &Window<'a>,
    secrets: impl Iterator<Item = &'s Span>,
) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
    let position = file.position(u32::try_from(window.bytes.start).unwrap_or(u32::MAX));
    let mut snippet = Snippet::source(masked(file, &window.bytes, secrets))
        .line_start(position.line as usize)
        .path(clean(&file.name));
    for (label, primary) in &window.labels {
        let range = first_line(file, label.span);
        let range = range.start.saturating_sub(window.bytes.start)
            ..range.end.saturating_sub(window.bytes.start);
        let kind = if *primary { AnnotationKind::Primary } else { AnnotationKind::Context };
        let mut annotation = kind.span(range);
        if !label.text.is_empty() {
            annotation = annotation.label(clean(&label.text));
        }
        snippet = snippet.annotation(annotation);
    }
    snippet
}

/// Text from a document without characters that could move a terminal's cursor.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{FFFD}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_shown_with_its_line_its_reason_and_its_fix() {
        let mut sources = Sources::new();
        let id = sources.add("mix.yaml", "a: 1\nsteps:\n  rate: 2 degC\n");
        let other = sources.add("pump.yaml", "rate: {unit: uL/min}\n");
        let diagnostic = Diagnostic::error(
            codes::WRONG_DIMENSION,
            Span::new(id, 20..26),
            "rate must be a volume flow",
        )
        .label("this is a temperature")
        .also(Span::new(other, 13..19), "the pump takes this")
        .reason("pump_a takes 1 uL/min to 20 mL/min")
        .fix("rate: 2 mL/min");
        let shown = one(&diagnostic, &sources, Colour::Never);
        let expected = "\
error[LL0203]: rate must be a volume flow
 --> mix.yaml:3:9
  |
3 |   rate: 2 degC
  |         ^^^^^^ this is a temperature
  |
 ::: pump.yaml:1:14
  |
1 | rate: {unit: uL/min}
  |              ------ the pump takes this
  |
  = reason: pump_a takes 1 uL/min to 20 mL/min
  = try:    rate: 2 mL/min";
        assert_eq!(shown, expected);
        let mut report = Report::new();
        report.push(diagnostic);
        let json = json(&report, &sources);
        assert_eq!(json[0]["line"], 3);
        assert_eq!(json[0]["column"], 9);
        assert_eq!(json[0]["others"][0]["file"], "pump.yaml");
    }

    #[test]
    fn a_secret_in_a_file_is_not_shown_by_any_finding_about_it() {
        let mut sources = Sources::new();
        let id = sources.add("lab.yaml", "a: 1\nsecret: \"hüter 2\"  # mine\nb: 2\n");
        let secret = Diagnostic::error(codes::SECRET, Span::new(id, 13..23), "take it out");
        let other = Diagnostic::error(codes::WRONG_DIMENSION, Span::new(id, 5..11), "no")
            .also(Span::new(id, 32..33), "here");
        let alone = one(&secret, &sources, Colour::Never);
        assert!(alone.contains("2 | secret: **********  # mine"), "{alone}");
        assert!(alone.contains("  |         ^^^^^^^^^^"), "{alone}");
        let mut report = Report::new();
        report.push(other);
        report.push(secret);
        let all = text(&report, &sources, Colour::Never);
        assert_eq!(all.matches("**********").count(), 2, "{all}");
        assert!(!all.contains("ter 2"), "{all}");
    }

    #[test]
    fn spans_of_any_size_are_shown_without_panic() {
        let text = "µ: ü\n\n\r\nx: 'µµ'\n";
        let mut sources = Sources::new();
        let id = sources.add("a.yaml", text);
        for start in 0..=text.len() + 2 {
            for end in start..=text.len() + 3 {
                let d =
                    Diagnostic::error(codes::BAD_VALUE, Span::new(id, start..end), "x").label("y");
                assert!(one(&d, &sources, Colour::Never).contains("a.yaml"));
            }
        }
    }

    #[test]
    fn a_long_list_is_cut_and_says_so() {
        let mut sources = Sources::new();
        let id = sources.add("a.yaml", "x: 1\n");
        let mut report = Report::new();
        for n in 0..60 {
            report.push(Diagnostic::error(codes::BAD_VALUE, Span::new(id, 0..1), format!("m{n}")));
        }
        let shown = text(&report, &sources, Colour::Never);
        assert!(shown.contains("... and 10 more") && shown.ends_with("60 errors\n"), "{shown}");
    }
}
