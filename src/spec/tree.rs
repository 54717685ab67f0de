//! YAML text to a tree of our own, with the place of every key and value.
//!
//! Strict (language rule 1): one document, no anchors, aliases, merge keys, tags or tabs, no key
//! twice, nothing that YAML 1.1 tools read otherwise. Scalars stay text until the key they stand
//! under says what they must be. All findings but a syntax error leave the tree usable, so that
//! one check shows them all.
//!
//! Architecture invariant: never panics and never recurses, whatever the bytes.

use std::collections::BTreeMap;
use std::ops::Range;

use super::codes;
use super::diagnostic::{Diagnostic, Report};
use super::plain;
use super::source::{SourceFile, SourceId, Span, Spanned};
use super::syntax::syntax_diagnostic;
use super::yaml::{self, Event, Style};

/// Largest file, so that no file can exhaust the computer that runs the lab.
pub const MAX_BYTES: usize = 16 * 1024 * 1024;
/// Deepest nesting; lowering recurses along it.
pub const MAX_DEPTH: usize = 32;
/// Most keys and values together.
pub const MAX_NODES: usize = 3_000_000;
/// Strictness findings of one file; later ones are counted by nobody and repaired with the rest.
const MAX_FINDINGS: usize = 1_000;

/// A value with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where it stands, quotes and brackets included.
    pub span: Span,
    /// What it is.
    pub kind: NodeKind,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq)]
pub enum NodeKind {
    /// One value; text until a type reads it.
    Scalar {
        /// As YAML decodes it.
        text: String,
        /// Whether it stands in quotes or in a block, and so is text and nothing else.
        quoted: bool,
    },
    /// `[a, b]` or `- a`.
    List(Vec<Node>),
    /// `{a: b}` or `a: b`; no two keys alike.
    Map(Vec<Entry>),
    /// Nothing after the colon or the dash, or `null`.
    Empty,
    /// Already reported; whoever reads it stays silent.
    Refused,
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: Spanned<String>,
    /// The value.
    pub value: Node,
}

impl Node {
    /// What it is, for messages.
    pub fn describe(&self) -> &'static str {
        match self.kind {
            NodeKind::Scalar { .. } => "a single value",
            NodeKind::List(_) => "a list",
            NodeKind::Map(_) => "a mapping",
            NodeKind::Empty => "nothing",
            NodeKind::Refused => "something refused",
        }
    }
}

/// Reads a text; `None` if it is not YAML at all. Findings go to the report.
pub fn parse(file: &SourceFile, report: &mut Report) -> Option<Node> {
    let whole = Span::new(file.id, 0..file.text.len());
    if file.text.len() > MAX_BYTES {
        report.push(
            Diagnostic::error(
                codes::TOO_LARGE,
                whole.at_start(),
                format!(
                    "split this file: it has {} bytes and may have {MAX_BYTES}",
                    file.text.len()
                ),
            )
            .reason("a larger file is more likely a mistake than a protocol"),
        );
        return None;
    }
    if refuse_characters(file, report) {
        return None;
    }
    let tabs = refuse_tabs(file, report);
    let mut builder = Builder::new(file.id, report);
    for event in yaml::events(&file.text) {
        match event {
            Ok(placed) => {
                if builder.take(placed).is_break() {
                    return None;
                }
            }
            Err(error) => {
                // A tab explains the error that the parser then finds somewhere near it.
                if !tabs {
                    let open = builder.open_bracket(file);
                    let diagnostic = syntax_diagnostic(file, &error, open);
                    builder.report.push(diagnostic);
                }
                return None;
            }
        }
    }
    let root = builder.root.take();
    if root.as_ref().is_none_or(|node| node.kind == NodeKind::Empty) {
        report.push(
            Diagnostic::error(
                codes::SCHEMA,
                whole.at_start(),
                "write a document into this file: it is empty",
            )
            .fix("schema: labloop/protocol/v1"),
        );
        return None;
    }
    root
}

/// Refuses bytes that were not UTF-8 (they arrive as U+FFFD) and control characters.
fn refuse_characters(file: &SourceFile, report: &mut Report) -> bool {
    let bad = file.text.char_indices().find(|(_, c)| {
        *c == '\u{FFFD}' || (c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}'))
    });
    let Some((at, c)) = bad else { return false };
    let span = Span::new(file.id, at..at + c.len_utf8());
    report.push(if c == '\u{FFFD}' {
        Diagnostic::error(
            codes::NOT_UTF8,
            span,
            "save this file as UTF-8: it holds bytes of another encoding",
        )
        .reason("such a byte would be read as a different character on another computer")
    } else {
        Diagnostic::error(
            codes::NOT_UTF8,
            span,
            format!("remove the control character U+{:04X}", u32::from(c)),
        )
        .reason("control characters cannot be seen; in double quotes they are written as escapes")
        .fix(format!("\"\\x{:02X}\"", u32::from(c)))
    });
    true
}

/// Refuses tabs in the indentation. Returns whether there were any.
fn refuse_tabs(file: &SourceFile, report: &mut Report) -> bool {
    let mut found = 0;
    let mut at = 0;
    for line in file.text.split_inclusive('\n') {
        let indent = line.len() - line.trim_start_matches([' ', '\t']).len();
        let tab = line.get(..indent).and_then(|indent| indent.find('\t'));
        if let Some(tab) = tab
            && !line.trim().is_empty()
        {
            found += 1;
            if found == 1 {
                let span = Span::new(file.id, at + tab..at + indent);
                report.push(
                    Diagnostic::error(codes::TAB, span, "indent with spaces instead of the tab")
                        .label("a tab")
                        .reason("the width of a tab differs from editor to editor, so YAML does not allow it"),
                );
            }
        }
        at += line.len();
    }
    found > 0
}

struct Frame {
    start: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, keys: BTreeMap<String, Span>, key: Option<Option<Spanned<String>>> },
}

struct Builder<'r> {
    source: SourceId,
    report: &'r mut Report,
    stack: Vec<Frame>,
    root: Option<Node>,
    nodes: usize,
    findings: usize,
}

type Flow = std::ops::ControlFlow<()>;

impl<'r> Builder<'r> {
    fn new(source: SourceId, report: &'r mut Report) -> Builder<'r> {
        Builder { source, report, stack: Vec::new(), root: None, nodes: 0, findings: 0 }
    }

    fn push(&mut self, diagnostic: Diagnostic) {
        if self.findings < MAX_FINDINGS {
            self.report.push(diagnostic);
        }
        self.findings += 1;
    }

    fn take(&mut self, placed: yaml::Placed) -> Flow {
        let span = Span::new(self.source, placed.range.clone());
        if let Some(tag) = placed.tag {
            self.push(
                Diagnostic::error(
                    codes::TAG,
                    Span::new(self.source, tag),
                    "remove the tag: what a value is follows from where it stands",
                )
                .label("a YAML tag"),
            );
        }
        match placed.event {
            Event::Document => {
                self.push(
                    Diagnostic::error(codes::MANY_DOCUMENTS, span, "put the second document into a file of its own")
                        .label("a second document begins here"),
                );
                return Flow::Break(());
            }
            Event::Anchor => self.push(
                Diagnostic::error(codes::ANCHOR, span, "remove the anchor")
                    .label("an anchor")
                    .reason("an alias would hide what a step does; a value used twice belongs under `derived:`"),
            ),
            Event::Alias => {
                self.push(
                    Diagnostic::error(codes::ANCHOR, span, "write the value out instead of the alias")
                        .label("an alias")
                        .reason("an alias hides what a step does; a value used twice belongs under `derived:`"),
                );
                return self.place(Node { span, kind: NodeKind::Refused });
            }
            Event::Scalar { text, style } => {
                let kind = self.scalar(text, style, span);
                return self.place(Node { span, kind });
            }
            Event::List => return self.open(placed.range, Content::List(Vec::new())),
            Event::Map => {
                let content =
                    Content::Map { entries: Vec::new(), keys: BTreeMap::new(), key: None };
                return self.open(placed.range, content);
            }
            Event::End => return self.close(placed.range.end),
        }
        Flow::Continue(())
    }

    fn scalar(&mut self, text: String, style: Style, span: Span) -> NodeKind {
        if style != Style::Plain {
            return NodeKind::Scalar { text, quoted: true };
        }
        if text.is_empty() || matches!(text.as_str(), "~" | "null" | "Null" | "NULL") {
            return NodeKind::Empty;
        }
        if text == "<<" {
            // As a key it is reported when it is placed; as a value it is only text.
            return NodeKind::Scalar { text, quoted: false };
        }
        if let Some(ambiguous) = plain::ambiguous(&text) {
            self.push(
                Diagnostic::error(
                    codes::AMBIGUOUS_SCALAR,
                    span,
                    format!("write {} instead of a bare `{text}`", ambiguous.instead),
                )
                .label(ambiguous.label)
                .reason(ambiguous.reason)
                .replace(ambiguous.fix.clone())
                .fix(ambiguous.fix),
            );
            if self.expects_key() {
                return NodeKind::Scalar { text, quoted: false };
            }
            return NodeKind::Refused;
        }
        NodeKind::Scalar { text, quoted: false }
    }

    /// The innermost `[` or `{` that is not closed yet.
    fn open_bracket(&self, file: &SourceFile) -> Option<Span> {
        let start = self.stack.last()?.start;
        let open = file.slice(start..start + 1);
        matches!(open, "[" | "{").then(|| Span::new(self.source, start..start + 1))
    }

    fn expects_key(&self) -> bool {
        matches!(self.stack.last(), Some(Frame { content: Content::Map { key: None, .. }, .. }))
    }

    fn open(&mut self, range: Range<usize>, content: Content) -> Flow {
        if self.stack.len() >= MAX_DEPTH {
            self.push(
                Diagnostic::error(
                    codes::TOO_LARGE,
                    Span::new(self.source, range),
                    format!("nest less deeply: {MAX_DEPTH} levels are the most"),
                )
                .label(format!("level {}", MAX_DEPTH + 1)),
            );
            return Flow::Break(());
        }
        self.stack.push(Frame { start: range.start, content });
        Flow::Continue(())
    }

    fn close(&mut self, end: usize) -> Flow {
        let Some(frame) = self.stack.pop() else { return Flow::Continue(()) };
        // Block collections have no closing mark of their own: they end with their last value.
        let mut span = Span::new(self.source, frame.start..end);
        let kind = match frame.content {
            Content::List(items) => {
                if let Some(last) = items.last() {
                    span.end = self.block_end(span, last.span);
                }
                NodeKind::List(items)
            }
            Content::Map { entries, .. } => {
                if let Some(last) = entries.last() {
                    span.end = self.block_end(span, last.key.span.to(last.value.span));
                }
                NodeKind::Map(entries)
            }
        };
        self.place(Node { span, kind })
    }

    fn block_end(&self, whole: Span, last: Span) -> u32 {
        // A flow collection's end lies one bracket behind its last value; a block's may lie lines
        // behind it. Either way the last value is inside.
        if whole.end > last.end.saturating_add(64) { last.end } else { whole.end.max(last.end) }
    }

    fn place(&mut self, node: Node) -> Flow {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            self.push(Diagnostic::error(
                codes::TOO_LARGE,
                node.span,
                format!("split this file: {MAX_NODES} values are the most"),
            ));
            return Flow::Break(());
        }
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(node);
            return Flow::Continue(());
        };
        match &mut frame.content {
            Content::List(items) => items.push(node),
            Content::Map { key: pending @ None, .. } => match node.kind {
                NodeKind::Scalar { text, quoted } => {
                    let merge = text == "<<" && !quoted;
                    // The key stays, so that what it would have brought is not reported missing.
                    *pending = Some(Some(Spanned::new(text, node.span)));
                    if merge {
                        self.push(
                            Diagnostic::error(
                                codes::MERGE_KEY,
                                node.span,
                                "write the keys out instead of merging them",
                            )
                            .label("a merge key")
                            .reason("`<<` is not YAML 1.2, and it hides which keys stand here"),
                        );
                    }
                }
                NodeKind::Refused => *pending = Some(None),
                NodeKind::Empty | NodeKind::List(_) | NodeKind::Map(_) => {
                    let what = node.describe();
                    *pending = Some(None);
                    self.push(
                        Diagnostic::error(
                            codes::WRONG_KIND,
                            node.span,
                            "a key must be a single word",
                        )
                        .label(format!("{what} stands here")),
                    );
                }
            },
            Content::Map { entries, keys, key: pending @ Some(_) } => {
                if let Some(key) = pending.take().flatten() {
                    if let Some(first) = keys.get(&key.value) {
                        let diagnostic = Diagnostic::error(
                            codes::DUPLICATE_KEY,
                            key.span,
                            format!("remove one of the two `{}`", key.value),
                        )
                        .label("again here")
                        .also(*first, "first here")
                        .reason("YAML tools keep one of the two, and differ in which");
                        self.push(diagnostic);
                    } else {
                        keys.insert(key.value.clone(), key.span);
                        entries.push(Entry { key, value: node });
                    }
                }
            }
        }
        Flow::Continue(())
    }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
