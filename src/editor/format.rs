//! One spelling for a document, with every comment and the same meaning.
//!
//! The new text is read again and compared with the old one, value by value and comment by
//! comment; where they differ it is refused. So a mistake in the layout costs nobody a file.

use super::{comments, layout, scalar};
use crate::spec::schema::{Form, Slot};
use crate::spec::tree::{self, Node, NodeKind};
use crate::spec::{Kind, Report, SourceFile, SourceId, lower};

/// Why a text is left as it is.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Refused {
    /// It is YAML, and none of the four kinds of document.
    Foreign,
    /// It is not a document that can be read; places are in source 0.
    Unreadable(Report),
    /// Something stands in it that the formatter does not know how to keep.
    NotUnderstood {
        /// Byte.
        at: usize,
        /// What was about to be lost or changed.
        why: String,
    },
}

/// A document in its one spelling. The same text again gives the same text.
///
/// Errors: the text cannot be read as YAML, or could not be kept in its meaning.
pub fn format(name: &str, text: &str) -> Result<String, Refused> {
    let text = prepared(text);
    let (file, root, slot) = read(name, &text).map_err(Refused::Unreadable)?;
    if Kind::of(&file).is_none() {
        return Err(Refused::Foreign);
    }
    let refused = |at: usize, why: &str| Refused::NotUnderstood { at, why: why.to_owned() };
    let once = layout::print(&text, &root, slot)
        .map_err(|at| refused(at, "neither a value nor a comment stands here"))?;
    let (again, new_root, _) =
        read(name, &once).map_err(|_| refused(0, "it could not be read any more"))?;
    if let Err(at) = same(&root, &new_root, slot) {
        return Err(refused(at, "the value that begins here would change"));
    }
    let before = comments_of(&text, &root);
    if before != comments_of(&once, &new_root) {
        return Err(refused(0, "a comment would be lost or change its place"));
    }
    // What was right stays right, whatever the comparison thinks.
    if lower(&again).report.diagnostics.len() > lower(&file).report.diagnostics.len() {
        return Err(refused(0, "it would be understood differently"));
    }
    match layout::print(&once, &new_root, slot) {
        Ok(twice) if twice == once => Ok(once),
        _ => Err(refused(0, "a second formatting would change it again")),
    }
}

/// Line ends as everywhere else, and one at the end.
fn prepared(text: &str) -> String {
    let mut text = text.trim_start_matches('\u{FEFF}').replace("\r\n", "\n");
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

fn read(name: &str, text: &str) -> Result<(SourceFile, Node, Slot), Report> {
    let file = SourceFile::new(SourceId(0), name, text);
    let mut report = Report::new();
    match tree::parse(&file, &mut report) {
        Some(root) if !report.has_errors() => {
            let slot = Kind::of(&file).map_or(Slot::unknown(), Slot::root);
            Ok((file, root, slot))
        }
        _ => Err(report),
    }
}

fn comments_of(text: &str, root: &Node) -> Option<Vec<String>> {
    let found = comments::Scan::of(text, root).ok()?;
    Some(found.comments.into_iter().map(|comment| comment.text).collect())
}

/// Whether two trees say the same; the first byte in the first where they do not.
fn same(a: &Node, b: &Node, slot: Slot) -> Result<(), usize> {
    let here = a.span.range().start;
    match (&a.kind, &b.kind) {
        (
            NodeKind::Scalar { text: old, quoted: was_quoted },
            NodeKind::Scalar { text: new, quoted },
        ) => {
            let text = scalar::braces(old) == scalar::braces(new)
                || (!was_quoted || slot.form() == Form::Quantity) && alike(old, new, slot.form());
            // Quotes may go where they say nothing, and come where brackets need them.
            let quotes = was_quoted == quoted || !scalar::needs_quotes(old, slot.form());
            (text && quotes).then_some(()).ok_or(here)
        }
        (NodeKind::List(old), NodeKind::List(new)) if old.len() == new.len() => {
            old.iter().zip(new).try_for_each(|(a, b)| same(a, b, slot.item()))
        }
        (NodeKind::Map(old), NodeKind::Map(new)) if old.len() == new.len() => {
            old.iter().zip(new).try_for_each(|(a, b)| {
                if a.key.value != b.key.value {
                    return Err(a.key.span.range().start);
                }
                same(&a.value, &b.value, slot.key(&a.key.value))
            })
        }
        (NodeKind::Empty, NodeKind::Empty) => Ok(()),
        _ => Err(here),
    }
}

/// Whether two spellings are the same quantity or the same unit.
fn alike(old: &str, new: &str, form: Form) -> bool {
    use crate::units::{Quantity, Unit};
    match form {
        Form::Quantity | Form::Value => match (Quantity::parse(old), Quantity::parse(new)) {
            (Ok(old), Ok(new)) => old == new,
            _ => false,
        },
        Form::Unit => match (Unit::parse(old), Unit::parse(new)) {
            (Ok(a), Ok(b)) => (a.dim, a.point) == (b.dim, b.point) && a.factor == b.factor,
            _ => false,
        },
        Form::Condition | Form::Other => false,
    }
}

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;
