//! Findings, places and proposals in the words of the protocol.

use serde_json::{Value, json};

use super::uri;
use crate::editor::{At, Lines, Project, Proposal, ProposalKind};
use crate::spec::{Diagnostic, Severity, Span, codes};

/// The place a request asks about.
pub(super) fn at(params: &Value) -> Option<At> {
    let number = |pointer: &str| params.pointer(pointer).and_then(Value::as_u64);
    let small = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    Some(At {
        line: small(number("/position/line")?),
        character: small(number("/position/character")?),
    })
}

/// A place.
pub(super) fn place(at: At) -> Value {
    json!({ "line": at.line, "character": at.character })
}

/// A range.
pub(super) fn range(lines: &Lines<'_>, span: Span) -> Value {
    let (start, end) = lines.range(span.range());
    json!({ "start": place(start), "end": place(end) })
}

/// A finding: its message first, then what stands beside the caret, the reason and the proposal.
pub(super) fn diagnostic(found: &Diagnostic, project: &Project, page: Option<&str>) -> Value {
    let text = |source| project.sources.get(source).map_or("", |file| &*file.text);
    let mut message = found.message.clone();
    if !found.place.text.is_empty() {
        message.push_str(&format!(" ({})", found.place.text));
    }
    if let Some(reason) = &found.reason {
        message.push_str(&format!("\nreason: {reason}"));
    }
    if let Some(fix) = &found.fix {
        message.push_str(&format!("\ntry: {fix}"));
    }
    // What is built in has no address; then words must do.
    for other in &found.others {
        if let Some((name, at)) = project.sources.locate(other.span)
            && !std::path::Path::new(&**name).is_absolute()
        {
            message.push_str(&format!("\nsee: {name}:{} (built in) {}", at.line, other.text));
        }
    }
    let others: Vec<Value> = found
        .others
        .iter()
        .filter_map(|other| {
            let file = project.sources.get(other.span.source)?;
            let path = crate::compiler::bundle::clean(std::path::Path::new(&*file.name));
            let range = range(&Lines::of(&file.text), other.span);
            let message = if other.text.is_empty() { "see here" } else { &other.text };
            Some(json!({ "location": { "uri": uri::of(&path)?, "range": range }, "message": message }))
        })
        .collect();
    let mut said = json!({
        "range": range(&Lines::of(text(found.place.span.source)), found.place.span),
        "severity": match found.severity {
            Severity::Error => 1,
            Severity::Warning => 2,
            Severity::Note => 3,
        },
        "code": found.code,
        "source": "labloop",
        "message": message,
    });
    if let Value::Object(said) = &mut said {
        if !others.is_empty() {
            said.insert("relatedInformation".to_owned(), others.into());
        }
        if let (Some(page), Some(code)) = (page, codes::explain(found.code)) {
            let href = format!("{page}#{}", anchor(&format!("{}: {}", code.code, code.title)));
            said.insert("codeDescription".to_owned(), json!({ "href": href }));
        }
    }
    said
}

/// The anchor of a heading as Markdown viewers make it.
fn anchor(heading: &str) -> String {
    let keeps = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    heading.to_lowercase().chars().filter(keeps).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// A file that cannot be had, where no place says so.
pub(super) fn missing(why: &str) -> Value {
    let start = json!({ "line": 0, "character": 0 });
    json!({
        "range": { "start": start, "end": start },
        "severity": 1,
        "source": "labloop",
        "message": why,
    })
}

/// A proposal.
pub(super) fn proposal(item: &Proposal) -> Value {
    // Kinds of the protocol: property, value, function, variable.
    let kind = match item.kind {
        ProposalKind::Key => 10,
        ProposalKind::Word => 12,
        ProposalKind::Action => 3,
        ProposalKind::Name => 6,
    };
    json!({ "label": item.label, "kind": kind, "detail": item.detail, "insertText": item.insert })
}
