//! The changes of a text that repair a finding.

use super::cursor::Cursor;
use crate::spec::schema::Slot;
use crate::spec::tree;
use crate::spec::{Diagnostic, Edit, Report, SourceFile, Span, codes};

/// Changes of which each alone repairs a finding, with a title; empty where people must think.
pub fn fixes(diagnostic: &Diagnostic, file: &SourceFile) -> Vec<(String, Edit)> {
    let place = diagnostic.place.span;
    if place.source != file.id {
        return Vec::new();
    }
    let mut found = Vec::new();
    if let Some(edit) = &diagnostic.edit {
        found.push(edit.clone());
    } else if let Some(fix) = &diagnostic.fix {
        found.extend(fix.split(", or ").filter_map(|one| of_words(diagnostic, one, file)));
    }
    found
        .into_iter()
        .map(|edit| {
            let title = format!("Write `{}`", edit.text.trim().trim_end_matches(','));
            (title, edit)
        })
        .collect()
}

/// What a proposal in words means as a change, where it is one.
fn of_words(diagnostic: &Diagnostic, fix: &str, file: &SourceFile) -> Option<Edit> {
    let span = diagnostic.place.span;
    // `...` and `…` stand for what only the author knows.
    if fix.contains('\n') || fix.contains("...") || fix.contains('…') {
        return None;
    }
    let there = file.slice(span.range());
    let before = file.slice(0..span.range().start).trim_end();
    if let Some((key, value)) = fix.split_once(": ") {
        let under = before.strip_suffix(':').is_some_and(|b| {
            b.strip_suffix(key)
                .is_some_and(|b| !b.ends_with(|c: char| c.is_alphanumeric() || c == '_'))
        });
        if under && !there.contains('\n') {
            return Some(Edit { span, text: quoted_like(there, value) });
        }
        let missing = [codes::MISSING_KEY, codes::SCHEMA].contains(&diagnostic.code);
        let is_key = file.slice(span.range().end..file.text.len()).trim_start().starts_with(':');
        if missing && is_key {
            return Some(Edit { span: span.at_start(), text: new_key(fix, span, file)? });
        }
        return None;
    }
    let word = |text: &str| {
        let text = text.trim_matches(['"', '\'']);
        !text.is_empty() && !text.contains(char::is_whitespace)
    };
    // `role.action` may be proposed for either part of it.
    let after = file.slice(span.range().end..file.text.len());
    let mut part = fix;
    if let Some((role, action)) = fix.split_once('.') {
        let is_action = before.strip_suffix('.').is_some_and(|b| b.ends_with(role));
        let is_role = after.strip_prefix('.').is_some_and(|a| a.starts_with(action));
        part = if is_action {
            action
        } else if is_role {
            role
        } else {
            fix
        };
    }
    let said = diagnostic.message.contains(&format!("`{fix}`"));
    let longer = fix.starts_with(there);
    let both = word(there) && word(part);
    (!there.is_empty() && !there.contains('\n') && (both || said || longer))
        .then(|| Edit { span, text: quoted_like(there, part) })
}

/// What stood in quotes stays in quotes.
fn quoted_like(there: &str, text: &str) -> String {
    let has_quotes = text.starts_with(['"', '\'']) || text.contains('"');
    if there.starts_with('"') && there.len() > 1 && !has_quotes {
        format!("\"{text}\"")
    } else {
        text.to_owned()
    }
}

/// A key before another one of the same mapping.
fn new_key(fix: &str, at: Span, file: &SourceFile) -> Option<String> {
    let root = tree::parse(file, &mut Report::new())?;
    let start = at.range().start;
    let cursor = Cursor::at(&root, Slot::unknown(), start)?;
    let mapping = cursor.around.last()?.span.range();
    if file.slice(mapping).starts_with('{') {
        return Some(format!("{fix}, "));
    }
    let line = file.slice(0..start).rsplit('\n').next().unwrap_or_default().chars().count();
    Some(format!("{fix}\n{}", " ".repeat(line)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{SourceId, Sources};

    fn repaired(
        text: &str,
        place: &str,
        code: &'static str,
        message: &str,
        fix: &str,
    ) -> Vec<String> {
        let mut sources = Sources::new();
        let id: SourceId = sources.add("t", text);
        let at = text.find(place).unwrap();
        let span = Span::new(id, at..at + place.len());
        let diagnostic = Diagnostic::error(code, span, message).fix(fix);
        fixes(&diagnostic, sources.get(id).unwrap())
            .into_iter()
            .map(|(_, edit)| {
                let mut out = text.to_owned();
                out.replace_range(edit.span.range(), &edit.text);
                out
            })
            .collect()
    }

    #[test]
    fn proposals_become_changes_where_they_say_exactly_what_to_write() {
        let code = codes::BAD_VALUE;
        assert_eq!(
            repaired("a: {rate: 5}\n", "5", code, "x", "rate: 5 s, or rate: 5 min"),
            ["a: {rate: 5 s}\n", "a: {rate: 5 min}\n"]
        );
        assert_eq!(
            repaired("do: pmp.start\n", "pmp", code, "x", "pump.start"),
            ["do: pump.start\n"]
        );
        assert_eq!(
            repaired("do: pump.strt\n", "strt", code, "x", "pump.start"),
            ["do: pump.start\n"]
        );
        assert_eq!(
            repaired("u: \"mL/mn\"\n", "\"mL/mn\"", code, "x", "u: mL/min"),
            ["u: \"mL/min\"\n"]
        );
        let missing = codes::MISSING_KEY;
        assert_eq!(repaired("a:\n  b: 1\n", "b", missing, "x", "c: 2"), ["a:\n  c: 2\n  b: 1\n"]);
        assert_eq!(repaired("a: {b: 1}\n", "b", missing, "x", "c: 2"), ["a: {c: 2, b: 1}\n"]);
    }

    #[test]
    fn advice_is_no_change() {
        let code = codes::BAD_VALUE;
        for advice in
            ["move this after it, or add `after:`", "steps: [...]", "a\nb", "with: {x: 1}"]
        {
            assert_eq!(
                repaired("do: pump.start\n", "pump", code, "x", advice),
                Vec::<String>::new()
            );
        }
    }
}
