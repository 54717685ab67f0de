//! What stands at a byte of a document: the way from its root to there.

use crate::spec::Span;
use crate::spec::schema::Slot;
use crate::spec::tree::{Entry, Node, NodeKind};

/// A key or a single value with the way to it.
#[derive(Clone)]
pub(super) struct Cursor<'t> {
    /// Keys from the root; `#` stands for an item of a list. The last is the key itself, or the
    /// key (or `#`) that the value stands under.
    pub path: Vec<&'t str>,
    /// Mappings and lists around, the innermost last.
    pub around: Vec<&'t Node>,
    /// Whether it is a key.
    pub is_key: bool,
    /// The key or value.
    pub span: Span,
    /// Its text, as YAML decodes it.
    pub text: &'t str,
    /// What may stand there; for a key, what may stand under it.
    pub slot: Slot,
}

impl<'t> Cursor<'t> {
    /// What stands at a byte; `None` between values.
    pub(super) fn at(root: &'t Node, slot: Slot, byte: usize) -> Option<Cursor<'t>> {
        let mut cursor = Cursor {
            path: Vec::new(),
            around: Vec::new(),
            is_key: false,
            span: root.span,
            text: "",
            slot,
        };
        let mut node = root;
        // Each round goes one level down a tree of bounded depth.
        loop {
            let inside = |span: Span| (span.start as usize..=span.end as usize).contains(&byte);
            match &node.kind {
                NodeKind::Map(entries) => {
                    cursor.around.push(node);
                    let entry = last_before(entries, |e: &Entry| e.key.span, byte)?;
                    cursor.path.push(&entry.key.value);
                    cursor.slot = cursor.slot.key(&entry.key.value);
                    if inside(entry.key.span) {
                        cursor.is_key = true;
                        cursor.span = entry.key.span;
                        cursor.text = &entry.key.value;
                        return Some(cursor);
                    }
                    node = &entry.value;
                }
                NodeKind::List(items) => {
                    cursor.around.push(node);
                    cursor.path.push("#");
                    cursor.slot = cursor.slot.item();
                    node = last_before(items, |item: &Node| item.span, byte)?;
                }
                NodeKind::Scalar { text, .. } => {
                    cursor.span = node.span;
                    cursor.text = text;
                    return inside(node.span).then_some(cursor);
                }
                NodeKind::Empty | NodeKind::Refused => return None,
            }
        }
    }

    /// The key `n` steps up: 0 is the last of the path.
    pub(super) fn up(&self, n: usize) -> &'t str {
        self.path.len().checked_sub(n + 1).and_then(|at| self.path.get(at)).copied().unwrap_or("")
    }

    /// The value of a key in the mapping `n` levels around: 0 is the innermost.
    pub(super) fn beside(&self, n: usize, key: &str) -> Option<&'t str> {
        let at = self.around.len().checked_sub(n + 1)?;
        let NodeKind::Map(entries) = &self.around.get(at)?.kind else { return None };
        let entry = entries.iter().find(|entry| entry.key.value == key)?;
        match &entry.value.kind {
            NodeKind::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }
}

fn last_before<T>(items: &[T], span: impl Fn(&T) -> Span, byte: usize) -> Option<&T> {
    let after = items.partition_point(|item| span(item).start as usize <= byte);
    items.get(after.checked_sub(1)?)
}
