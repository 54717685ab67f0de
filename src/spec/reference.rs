//! The page of all keys, from the tables that reading uses: it cannot say less or more than what
//! is understood.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::document::Kind;
use super::table::{Table, Takes};

/// Every key of a kind of document, as Markdown: one table for each mapping, those inside after
/// those around.
pub fn keys(kind: Kind) -> String {
    let mut out = String::new();
    let mut open = vec![super::schema::table_of(kind)];
    let mut seen: BTreeSet<&'static str> = BTreeSet::new();
    let mut at = 0;
    // Tables are static and few; each is shown once.
    while let Some(table) = open.get(at).copied() {
        at += 1;
        if !seen.insert(table.what) {
            continue;
        }
        let _ = write!(out, "\n### {}\n\n{}.\n\n", capital(table.what), table.doc);
        out.push_str("| key | takes | meaning |\n|---|---|---|\n");
        for key in table.keys {
            let must = if key.required { ", must be there" } else { "" };
            let takes = takes(&key.takes, &mut open);
            let _ = writeln!(
                out,
                "| `{}` | {takes} | {}{must} |",
                key.name,
                key.doc.replace('|', "\\|")
            );
        }
    }
    out
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|c| c.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

fn takes(kind: &Takes, open: &mut Vec<&'static Table>) -> String {
    match kind {
        Takes::Text => "text".to_owned(),
        Takes::Name => "a name".to_owned(),
        Takes::Bool => "`true` or `false`".to_owned(),
        Takes::Count(min, max) if *max > 1_000_000_000 => format!("a whole number from {min}"),
        Takes::Count(min, max) => format!("a whole number, {min} to {max}"),
        Takes::Number => "a number".to_owned(),
        Takes::Quantity => "a number with its unit".to_owned(),
        Takes::Time => "a time, `5 min`".to_owned(),
        Takes::TimeExpression => "a time, or `${ }` that gives one".to_owned(),
        Takes::Unit => "a unit".to_owned(),
        Takes::Condition => "a condition".to_owned(),
        Takes::Value => "a value or `${ }`".to_owned(),
        Takes::Word(words) => words.iter().map(|w| format!("`{w}`")).collect::<Vec<_>>().join(", "),
        Takes::List(item) => format!("list of: {}", takes(item, open)),
        Takes::OneOrList(item) => format!("one, or list of: {}", takes(item, open)),
        Takes::Map(item) => format!("name: {}", takes(item, open)),
        Takes::Object(table) => {
            open.push(table);
            format!("[{}](#{})", table.what, anchor(table.what))
        }
        Takes::Either(kinds) => {
            kinds.iter().map(|k| takes(k, open)).collect::<Vec<_>>().join(", or ")
        }
        Takes::Any => "anything".to_owned(),
    }
}

/// The anchor Markdown gives a heading.
fn anchor(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
            _ => None,
        })
        .collect()
}
