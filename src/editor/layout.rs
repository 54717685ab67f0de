//! A tree and its comments as text in one layout.
//!
//! What was in brackets stays in brackets while it fits on its line and holds no comment;
//! otherwise it becomes lines. Lines never become brackets.

use super::comments::{BlockScalar, Scan};
use super::scalar::{self, Context};
use crate::spec::schema::Slot;
use crate::spec::tree::{Entry, Node, NodeKind};

/// Columns that brackets may take.
pub(super) const WIDTH: usize = 110;
const STEP: usize = 2;

/// The text of a document, or the first byte that is not understood.
pub(super) fn print(text: &str, root: &Node, slot: Slot) -> Result<String, usize> {
    let scan = Scan::of(text, root)?;
    let mut printer = Printer { text, scan, next: 0, at: 0, out: Vec::new() };
    printer.document(root, slot);
    let mut out = printer.out.join("\n");
    out.push('\n');
    Ok(out)
}

struct Printer<'t> {
    text: &'t str,
    scan: Scan,
    /// The first comment that is not printed yet.
    next: usize,
    /// End of the last key or value that is printed.
    at: usize,
    out: Vec<String>,
}

/// Where the lines of a mapping or a list go and come from.
#[derive(Clone, Copy)]
struct Place {
    /// Column from now on.
    indent: usize,
    /// Column in the file; `None` for what stood in brackets.
    was: Option<usize>,
    /// Column in the file of what it stands in.
    outer: Option<usize>,
}

impl Printer<'_> {
    fn document(&mut self, root: &Node, slot: Slot) {
        let place = Place { indent: 0, was: Some(0), outer: None };
        match &root.kind {
            NodeKind::Map(_) | NodeKind::List(_) => match self.on_one_line(root, slot, 0) {
                Some(line) => {
                    self.leading(root.span.range().start, 0);
                    self.line(line, root.span.range().end);
                }
                None => self.block(root, slot, place, None),
            },
            _ => self.value(root, slot, place, String::new()),
        }
        self.leading(usize::MAX, 0);
    }

    /// The lines of a mapping or a list; `first` stands before its first line instead of spaces.
    fn block(&mut self, node: &Node, slot: Slot, place: Place, first: Option<String>) {
        let inner = Place { was: self.was(node), ..place };
        match &node.kind {
            NodeKind::Map(entries) => self.mapping(entries, slot, inner, first),
            NodeKind::List(items) => self.list(items, slot, inner, first),
            _ => {}
        }
        self.closing(inner);
    }

    fn mapping(&mut self, entries: &[Entry], slot: Slot, place: Place, mut first: Option<String>) {
        for entry in entries {
            let start = entry.key.span.range().start;
            if first.is_none() {
                self.leading(start, place.indent);
            }
            let lead = first.take().unwrap_or_else(|| " ".repeat(place.indent));
            let key = self.key(entry, Context::Key);
            self.at = entry.key.span.range().end;
            self.value(&entry.value, slot.key(&entry.key.value), place, format!("{lead}{key}:"));
        }
    }

    fn list(&mut self, items: &[Node], slot: Slot, place: Place, mut first: Option<String>) {
        for item in items {
            let start = first_byte(item, self.text);
            if first.is_none() {
                self.leading(start, place.indent);
            }
            let lead = first.take().unwrap_or_else(|| " ".repeat(place.indent));
            self.value(item, slot.item(), place, format!("{lead}-"));
        }
    }

    /// A value behind `head`, which ends with a colon or a dash (or is empty: the whole document).
    fn value(&mut self, node: &Node, slot: Slot, place: Place, head: String) {
        let range = node.span.range();
        match &node.kind {
            NodeKind::Map(_) | NodeKind::List(_) => {
                if let Some(line) = self.on_one_line(node, slot, head.chars().count() + 1) {
                    self.leading(range.start, place.indent);
                    self.line(format!("{head} {line}"), range.end);
                    return;
                }
                let below = Place { indent: place.indent + STEP, was: None, outer: place.was };
                if head.ends_with('-') {
                    self.leading(first_byte(node, self.text), place.indent);
                    self.block(node, slot, below, Some(format!("{head} ")));
                } else {
                    self.line(head, self.at);
                    self.block(node, slot, below, None);
                }
            }
            NodeKind::Scalar { .. } if let Some(block) = self.scan.block(node).cloned() => {
                self.leading(block.head.start, place.indent);
                self.block_scalar(&block, head, place.indent);
            }
            NodeKind::Scalar { text, quoted } => {
                self.leading(range.start, place.indent);
                let raw = self.text.get(range.clone()).unwrap_or_default();
                let space = if head.is_empty() { "" } else { " " };
                let in_lines = raw.lines().count() > 1;
                let line = if in_lines {
                    format!("{head}{space}{}", again_in_lines(raw, place.indent + STEP))
                } else {
                    let spelled = scalar::spell(raw, text, *quoted, slot.form(), Context::Block);
                    format!("{head}{space}{spelled}")
                };
                let mut lines: Vec<String> = line.lines().map(str::to_owned).collect();
                let last = lines.pop().unwrap_or_default();
                self.out.append(&mut lines);
                self.line(last, range.end);
            }
            NodeKind::Empty | NodeKind::Refused => {
                let written = self.text.get(range.clone()).unwrap_or_default().trim();
                let null = !written.is_empty() && !head.is_empty();
                let end = if null { range.end } else { self.at };
                let null = if null { " null" } else { "" };
                self.line(format!("{head}{null}"), end);
            }
        }
    }

    fn block_scalar(&mut self, block: &BlockScalar, head: String, indent: usize) {
        let written = self.text.get(block.head.clone()).unwrap_or_default();
        let body = self.text.get(block.body.clone()).unwrap_or_default();
        let lines: Vec<&str> = body
            .split('\n')
            .map(|line| line.trim_end_matches('\r'))
            .map(|line| line.get(block.indent..).unwrap_or(""))
            .collect();
        // Text that begins with spaces needs to say how far it is indented.
        let leads = lines.iter().find(|line| !line.is_empty()).is_some_and(|l| l.starts_with(' '));
        let mut marks: String = written.chars().filter(|c| !c.is_ascii_digit()).collect();
        if leads {
            marks.insert_str(1.min(marks.len()), &STEP.to_string());
        }
        self.line(format!("{head} {marks}"), block.head.end);
        if !block.body.is_empty() {
            for line in lines {
                let line = if line.is_empty() {
                    String::new()
                } else {
                    format!("{}{line}", " ".repeat(indent + STEP))
                };
                self.out.push(line);
            }
            self.at = block.body.end;
        }
    }

    /// A mapping or a list in brackets, if it was in brackets, fits and holds no comment.
    fn on_one_line(&self, node: &Node, slot: Slot, column: usize) -> Option<String> {
        let range = node.span.range();
        let empty = match &node.kind {
            NodeKind::Map(entries) => entries.is_empty(),
            NodeKind::List(items) => items.is_empty(),
            _ => false,
        };
        let opened = self.text.get(range.clone()).is_some_and(|t| t.starts_with(['[', '{']));
        let commented = self.scan.comments.iter().any(|c| range.contains(&c.start));
        if !opened || (commented && !empty) {
            return None;
        }
        let line = self.in_brackets(node, slot);
        (empty || column + line.chars().count() <= WIDTH).then_some(line)
    }

    fn in_brackets(&self, node: &Node, slot: Slot) -> String {
        match &node.kind {
            NodeKind::List(items) => {
                let inner: Vec<String> =
                    items.iter().map(|item| self.in_brackets(item, slot.item())).collect();
                format!("[{}]", inner.join(", "))
            }
            NodeKind::Map(entries) => {
                let inner: Vec<String> = entries
                    .iter()
                    .map(|entry| {
                        let key = self.key(entry, Context::FlowKey);
                        let value = self.in_brackets(&entry.value, slot.key(&entry.key.value));
                        format!("{key}: {value}")
                    })
                    .collect();
                format!("{{{}}}", inner.join(", "))
            }
            NodeKind::Scalar { text, quoted } => {
                let raw = self.text.get(node.span.range()).unwrap_or_default();
                scalar::spell(raw, text, *quoted, slot.form(), Context::Flow)
            }
            NodeKind::Empty | NodeKind::Refused => "null".to_owned(),
        }
    }

    fn key(&self, entry: &Entry, context: Context) -> String {
        let raw = self.text.get(entry.key.span.range()).unwrap_or_default();
        let quoted = raw.starts_with(['"', '\'']);
        scalar::spell(raw, &entry.key.value, quoted, crate::spec::schema::Form::Other, context)
    }

    // --- lines and comments -----------------------------------------------------------------------

    /// A line that prints the text up to `end`, with the comment that stands behind it.
    fn line(&mut self, line: String, end: usize) {
        self.at = self.at.max(end);
        self.out.push(line);
        let after = self.scan.starts.partition_point(|start| *start < self.at);
        let limit = self.scan.starts.get(after).copied().unwrap_or(usize::MAX);
        let Some(comment) = self.scan.comments.get(self.next) else { return };
        if comment.own_line || comment.start >= limit {
            return;
        }
        self.next += 1;
        let Some(line) = self.out.last_mut() else { return };
        let width = line.chars().count();
        // Comments that were put below each other stay so.
        let aligned = comment.gap > 2 && comment.column >= width + 2;
        let spaces = if aligned { comment.column - width } else { 2 };
        line.push_str(&" ".repeat(spaces));
        line.push_str(&comment.text);
    }

    /// Comments before a byte, each on its own line, and the blank line before it.
    fn leading(&mut self, byte: usize, indent: usize) {
        while let Some(comment) = self.scan.comments.get(self.next).filter(|c| c.start < byte) {
            let (start, line) = (comment.start, format!("{}{}", " ".repeat(indent), comment.text));
            self.next += 1;
            self.blank(start);
            self.out.push(line);
        }
        if byte != usize::MAX {
            self.blank(byte);
        }
    }

    /// Comments behind the last line of a block that are indented like the block belong to it.
    fn closing(&mut self, place: Place) {
        let Some(was) = place.was else { return };
        let after = self.scan.starts.partition_point(|start| *start < self.at);
        let limit = self.scan.starts.get(after).copied().unwrap_or(usize::MAX);
        while let Some(comment) = self.scan.comments.get(self.next) {
            let inside = comment.column >= was && place.outer.is_none_or(|o| comment.column > o);
            if !comment.own_line || comment.start >= limit || !inside {
                return;
            }
            let (start, line) =
                (comment.start, format!("{}{}", " ".repeat(place.indent), comment.text));
            self.next += 1;
            self.blank(start);
            self.out.push(line);
        }
    }

    /// An empty line where there was at least one before the line that a byte begins.
    fn blank(&mut self, byte: usize) {
        let before = self.text.get(..byte.min(self.text.len())).unwrap_or_default();
        let (above, indent) = before.rsplit_once('\n').unwrap_or(("", before));
        let begins = indent.chars().all(|c| c == ' ' || c == '-' || c == '?');
        let above = above.rsplit_once('\n').map_or(above, |(_, last)| last);
        let first = self.out.last().is_none_or(|line| line.is_empty());
        if begins && before.contains('\n') && above.trim().is_empty() && !first {
            self.out.push(String::new());
        }
    }

    /// Column in the file of a mapping or a list; `None` if it stood in brackets.
    fn was(&self, node: &Node) -> Option<usize> {
        let start = node.span.range().start;
        if self.text.get(start..).is_some_and(|t| t.starts_with(['[', '{'])) {
            return None;
        }
        let before = self.text.get(..start)?;
        let line = before.rsplit_once('\n').map_or(before, |(_, line)| line);
        Some(line.chars().count())
    }
}

/// A value over several lines, each but the first at a column.
fn again_in_lines(raw: &str, column: usize) -> String {
    let mut lines = raw.lines();
    let mut out = lines.next().unwrap_or_default().trim_end().to_owned();
    for line in lines {
        out.push('\n');
        if !line.trim().is_empty() {
            out.push_str(&" ".repeat(column));
            out.push_str(line.trim());
        }
    }
    out
}

/// Where the first key or value of a node begins.
fn first_byte(node: &Node, text: &str) -> usize {
    let start = node.span.range().start;
    if text.get(start..).is_some_and(|t| t.starts_with(['[', '{'])) {
        return start;
    }
    match &node.kind {
        NodeKind::Map(entries) => entries.first().map_or(start, |e| e.key.span.range().start),
        NodeKind::List(items) => items.first().map_or(start, |item| first_byte(item, text)),
        _ => start,
    }
}
