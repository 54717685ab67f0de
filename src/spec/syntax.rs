//! Syntax errors in the words of the person who made them.

use std::ops::Range;

use super::codes;
use super::diagnostic::Diagnostic;
use super::source::{SourceFile, Span};
use super::tree::MAX_DEPTH;
use super::yaml::{Problem, SyntaxError};

/// A syntax error in the words of the person who made it.
pub(super) fn syntax_diagnostic(
    file: &SourceFile,
    error: &SyntaxError,
    open: Option<Span>,
) -> Diagnostic {
    let mut at = error.at.min(file.text.len());
    if at >= file.text.trim_end().len() {
        at = file.text.trim_end().len().saturating_sub(1);
    }
    let range = file.boundaries(at..at + 1);
    let range = range.start..range.end.min(file.text.len());
    let span = Span::new(file.id, range);
    if let Some(expression) = bare_expression(file, at) {
        let text = file.slice(expression.clone()).to_owned();
        return Diagnostic::error(
            codes::YAML_SYNTAX,
            Span::new(file.id, expression),
            "put the expression in quotes: inside { } or [ ] its braces belong to YAML",
        )
        .label("not in quotes")
        .reason("nothing after this place was checked")
        .fix(format!("\"{text}\""));
    }
    // An error on a later line than the bracket that is still open: the bracket was forgotten.
    if let Some(open) = open
        && file.position(open.start).line < file.position(span.start).line
    {
        return Diagnostic::error(codes::YAML_SYNTAX, open, "close this bracket")
            .label("opened here")
            .also(span, "still open here, where the structure breaks")
            .reason("nothing after this place was checked");
    }
    let message = match error.problem {
        Problem::Tab => "indent with spaces instead of the tab".to_owned(),
        Problem::Bracket => "close every [ and { with its own ] and }".to_owned(),
        Problem::Separator => {
            "separate the values with commas and close the bracket; quote texts with , : { } [ ]"
                .to_owned()
        }
        Problem::Quote => "close the quote, and write nothing after it".to_owned(),
        Problem::Escape => {
            "write \\\\ for a backslash in double quotes, or use single quotes".to_owned()
        }
        Problem::Indentation => {
            "indent this line like its neighbours: it does not line up with any line above"
                .to_owned()
        }
        Problem::Colon => {
            "put the text in quotes, or begin a new line: a second `key:` cannot stand here"
                .to_owned()
        }
        Problem::Deep => format!("nest less deeply: {MAX_DEPTH} levels are the most"),
        Problem::Other => format!("this is not YAML: {}", error.detail),
    };
    let code = match error.problem {
        Problem::Tab => codes::TAB,
        Problem::Deep => codes::TOO_LARGE,
        _ => codes::YAML_SYNTAX,
    };
    Diagnostic::error(code, span, message)
        .label("the structure breaks here")
        .reason(format!("the parser says: {}; nothing after this place was checked", error.detail))
}

/// The `${ }` that stands in a flow collection without quotes, on the line of an error or on the
/// one before: the mistake everybody makes once.
fn bare_expression(file: &SourceFile, at: usize) -> Option<Range<usize>> {
    let line_start =
        |end: usize| file.text.get(..end).and_then(|s| s.rfind('\n')).map_or(0, |n| n + 1);
    let at = file.boundaries(at..at).start;
    let this = line_start(at);
    let before = line_start(this.saturating_sub(1));
    [this, before].into_iter().find_map(|start| {
        let line = file.text.get(start..)?.lines().next()?;
        let (mut quote, mut depth) = (None, 0_u32);
        for (offset, c) in line.char_indices() {
            match (quote, c) {
                (Some(open), c) if c == open => quote = None,
                (Some(_), _) => {}
                (None, '"' | '\'') => quote = Some(c),
                (None, '$') if depth > 0 && line.get(offset..)?.starts_with("${") => {
                    let rest = line.get(offset..)?;
                    let end = rest.find('}').map_or(rest.len(), |end| end + 1);
                    return Some(start + offset..start + offset + end);
                }
                (None, '{' | '[') => depth += 1,
                (None, '}' | ']') => depth = depth.saturating_sub(1),
                (None, '#') => return None,
                (None, _) => {}
            }
        }
        None
    })
}
