//! Comments of a YAML text: what the parser steps over.
//!
//! A `#` begins a comment only between values; so the places of all values are needed to find it.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::spec::tree::{Node, NodeKind};

/// One comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Comment {
    /// First byte, that of the `#`.
    pub start: usize,
    /// With its `#`, without white space at the end.
    pub text: String,
    /// Nothing but white space stands before it on its line.
    pub own_line: bool,
    /// Characters before it on its line.
    pub column: usize,
    /// White space right before it.
    pub gap: usize,
}

/// `|` or `>` and its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BlockScalar {
    /// `|`, `>-`, `|2+`.
    pub head: Range<usize>,
    /// Its lines, without the line end of the last; blank ones behind the last only where they
    /// count (`+`).
    pub body: Range<usize>,
    /// Spaces before each line that are not part of it.
    pub indent: usize,
}

/// What stands between the values of a text, and where they are.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// All comments in order.
    pub comments: Vec<Comment>,
    /// First bytes of all keys and values in order; a block scalar has two, that of its mark and
    /// that of its lines.
    pub starts: Vec<usize>,
    /// Block scalars by the place of their node.
    blocks: BTreeMap<(usize, usize), BlockScalar>,
}

impl Scan {
    /// Looks at all there is between the values.
    ///
    /// Errors: the first byte there that is neither white space, punctuation nor a comment. Then
    /// the text holds something this module does not know, and must be left alone.
    pub(super) fn of(text: &str, root: &Node) -> Result<Scan, usize> {
        let mut scan = Scan::default();
        let mut at = 0;
        for leaf in leaves(root, text).into_iter().chain(std::iter::once(text.len()..text.len())) {
            if leaf.start < at {
                return Err(leaf.start);
            }
            let head = scan.gap(text, at..leaf.start)?;
            at = leaf.end;
            if let Some(head) = head {
                let block = block_scalar(text, head, leaf.clone());
                scan.starts.push(block.head.start);
                if !block.body.is_empty() {
                    scan.starts.push(block.body.start);
                }
                scan.blocks.insert((leaf.start, leaf.end), block);
            } else if !leaf.is_empty() {
                scan.starts.push(leaf.start);
            }
        }
        Ok(scan)
    }

    /// The block scalar that a node is, if it is one.
    pub(super) fn block(&self, node: &Node) -> Option<&BlockScalar> {
        let range = node.span.range();
        self.blocks.get(&(range.start, range.end))
    }

    /// Takes the comments of a stretch between two values; gives the mark of a block scalar.
    fn gap(&mut self, text: &str, range: Range<usize>) -> Result<Option<Range<usize>>, usize> {
        let mut head = None;
        let mut at = range.start;
        while at < range.end {
            let rest = text.get(at..range.end).ok_or(at)?;
            let Some(c) = rest.chars().next() else { break };
            let line_start = text.get(..at).and_then(|t| t.rfind('\n')).map_or(0, |n| n + 1);
            let before = text.get(line_start..at).unwrap_or_default();
            if c == '#' && (before.is_empty() || before.ends_with([' ', '\t'])) {
                let end = rest.find('\n').unwrap_or(rest.len());
                self.comments.push(Comment {
                    start: at,
                    text: rest.get(..end).unwrap_or_default().trim_end().to_owned(),
                    own_line: before.trim().is_empty(),
                    column: before.chars().count(),
                    gap: before.len() - before.trim_end().len(),
                });
                at += end;
            } else if rest.starts_with("...") && before.is_empty() {
                at += 3;
            } else if matches!(c, '|' | '>') && head.is_none() {
                let len = rest.find(|c: char| !"|>+-0123456789".contains(c)).unwrap_or(rest.len());
                head = Some(at..at + len);
                at += len;
            } else if c.is_whitespace() || "-:,[]{}?".contains(c) {
                at += c.len_utf8();
            } else {
                return Err(at);
            }
        }
        Ok(head)
    }
}

/// Places of all keys and single values, in the order of the text.
fn leaves(root: &Node, text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut open = vec![root];
    while let Some(node) = open.pop() {
        let range = node.span.range();
        match &node.kind {
            NodeKind::List(items) => open.extend(items),
            NodeKind::Map(entries) => {
                found.extend(entries.iter().map(|entry| entry.key.span.range()));
                open.extend(entries.iter().map(|entry| &entry.value));
            }
            NodeKind::Scalar { .. } => found.push(range),
            NodeKind::Empty | NodeKind::Refused => {
                if text.get(range.clone()).is_some_and(|t| !t.trim().is_empty()) {
                    found.push(range);
                }
            }
        }
    }
    found.sort_by_key(|range| (range.start, range.end));
    found
}

/// The lines of a block scalar, from its mark and the place the parser gives: from the first
/// character to behind the blank lines at the end.
fn block_scalar(text: &str, head: Range<usize>, place: Range<usize>) -> BlockScalar {
    let upto = |at: usize| text.get(..at).unwrap_or_default();
    let nothing = head.end..head.end;
    if place.is_empty() {
        return BlockScalar { head, body: nothing, indent: 0 };
    }
    let line = upto(place.start).rfind('\n').map_or(0, |n| n + 1);
    let rest = text.get(head.end..).unwrap_or_default();
    let start = rest.find('\n').map_or(place.start, |n| head.end + n + 1).min(line);
    let keeps = text.get(head.clone()).is_some_and(|head| head.contains('+'));
    let lines = text.get(place.clone()).unwrap_or_default();
    let trimmed = lines.trim_end_matches(['\n', ' ']).len();
    let last = lines.get(trimmed..).and_then(|t| t.find('\n')).unwrap_or(lines.len() - trimmed);
    // The place may reach into the indentation of what follows.
    let whole = lines.trim_end_matches(' ');
    let end = if keeps { whole.strip_suffix('\n').unwrap_or(whole).len() } else { trimmed + last };
    BlockScalar { head, body: start..place.start + end, indent: place.start - line }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Report, SourceFile, SourceId, tree};

    fn comments(text: &str) -> Vec<String> {
        let file = SourceFile::new(SourceId(0), "t", text);
        let root = tree::parse(&file, &mut Report::new()).unwrap();
        Scan::of(text, &root).unwrap().comments.into_iter().map(|c| c.text).collect()
    }

    #[test]
    fn a_hash_inside_a_value_is_no_comment() {
        let text = "# top\na: x#y # one\nb: \"# not\" # two\nc: '# not' #three\n# own\n\
                    d: [a#b, # four\n  \"#\"] # five\ne: >- # six\n  text # not\n  # not\n\n# seven\n\
                    f: {a: http://x/#y} # eight\ng: more\n  # nine\n";
        assert_eq!(
            comments(text),
            [
                "# top", "# one", "# two", "#three", "# own", "# four", "# five", "# six",
                "# seven", "# eight", "# nine"
            ]
        );
    }

    #[test]
    fn a_block_scalar_ends_where_its_indentation_ends() {
        let text = "a:\n  b: |\n    x\n      y # in\n\n    z\n   # out\n  c: 1\n";
        assert_eq!(comments(text), ["# out"]);
        assert_eq!(comments("a: |\n  x\n# out\n"), ["# out"]);
        assert_eq!(comments("a: |2\n    x\n  # in\n# out\nb: 1\n"), ["# out"]);
    }
}
