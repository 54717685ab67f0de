//! Reading typed values out of the tree; each mistake becomes a diagnostic and reading goes on.

mod expressions;
mod scalars;

use super::codes;
use super::diagnostic::{Diagnostic, Report};
use super::nearest::nearest;
use super::source::{SourceFile, Span, Spanned};
use super::table::{Key, Table};
use super::tree::{Entry, Node, NodeKind};
use super::value::Named;

/// A merge key: reported by the tree, and what it would have brought is not missed here.
const MERGE: &str = "<<";

/// Most findings of one file: a file of megabytes may have a mistake on every line, and looking
/// for near names costs time for each.
const MAX_FINDINGS: usize = 1_000;

/// A value with the key it stands under, for messages.
#[derive(Clone, Copy)]
pub(super) struct Item<'n> {
    /// The key (of the list, for an element of a list).
    pub key: &'n str,
    /// The value.
    pub node: &'n Node,
}

impl Item<'_> {
    /// Where the value stands.
    pub(super) fn span(self) -> Span {
        self.node.span
    }
}

/// The keys of one mapping, already checked against its table.
pub(super) struct Fields<'n> {
    table: &'static Table,
    entries: &'n [Entry],
    /// The whole mapping.
    pub span: Span,
}

impl<'n> Fields<'n> {
    /// The value of a key; `None` if it is not there or was refused.
    pub(super) fn get(&self, key: &str) -> Option<Item<'n>> {
        debug_assert!(self.table.key(key).is_some(), "{key} is not a key of {}", self.table.what);
        let entry = self.entries.iter().find(|entry| entry.key.value == key)?;
        let usable = !matches!(entry.value.kind, NodeKind::Empty | NodeKind::Refused);
        usable.then_some(Item { key: &entry.key.value, node: &entry.value })
    }

    /// Whether some key is not in the table (and was reported).
    pub(super) fn has_unknown(&self) -> bool {
        self.entries.iter().any(|entry| self.table.key(&entry.key.value).is_none())
    }

    /// Whether the table has a key.
    pub(super) fn table_has(&self, key: &str) -> bool {
        self.table.key(key).is_some()
    }

    /// The place of a key that is there, whatever its value.
    pub(super) fn key_span(&self, key: &str) -> Option<Span> {
        self.entries.iter().find(|entry| entry.key.value == key).map(|entry| entry.key.span)
    }

    /// Whether a key is there, whatever its value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.key_span(key).is_some()
    }
}

/// Reads one text.
pub(super) struct Reader<'r> {
    /// The text.
    pub file: &'r SourceFile,
    /// What was found.
    pub report: &'r mut Report,
}

/// Which characters a name may have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum NameForm {
    /// Letters, digits and `_`: can stand in expressions.
    Identifier,
    /// Also `-` and `.`: definitions, options.
    Word,
    /// Any text of up to 64 characters: words of a device.
    Free,
}

impl<'r> Reader<'r> {
    /// Reads a file and gives findings to a report.
    pub(super) fn new(file: &'r SourceFile, report: &'r mut Report) -> Reader<'r> {
        Reader { file, report }
    }

    /// Adds a finding.
    pub(super) fn push(&mut self, diagnostic: Diagnostic) {
        if self.report.diagnostics.len() <= MAX_FINDINGS {
            self.report.push(diagnostic);
        }
    }

    /// Whether so much is wrong that reading on would help nobody; loops over the file then stop.
    pub(super) fn is_full(&self) -> bool {
        self.report.diagnostics.len() > MAX_FINDINGS
    }

    // --- mappings and lists -------------------------------------------------------------------

    /// A mapping with the keys of a table: unknown, missing and empty keys are reported.
    pub(super) fn object<'n>(
        &mut self,
        item: Item<'n>,
        table: &'static Table,
    ) -> Option<Fields<'n>> {
        let entries = self.entries(item, table.what)?;
        self.keys(entries, item.span(), table);
        Some(Fields { table, entries, span: item.span() })
    }

    fn keys(&mut self, entries: &[Entry], span: Span, table: &'static Table) {
        let merged = entries.iter().any(|entry| entry.key.value == MERGE);
        for entry in entries {
            if self.is_full() {
                return;
            }
            let Some(key) = table.key(&entry.key.value) else {
                if entry.key.value == MERGE {
                    continue;
                }
                let diagnostic = unknown_key(entry, entries, table);
                self.push(diagnostic);
                continue;
            };
            if entry.value.kind == NodeKind::Empty {
                let example =
                    if key.example.is_empty() { key.takes.example() } else { key.example };
                let name = key.name;
                self.push(
                    Diagnostic::error(
                        codes::EMPTY_VALUE,
                        entry.key.span,
                        format!("give `{name}` a value, or remove it"),
                    )
                    .label("nothing stands after the colon")
                    .fix(format!("{name}: {example}")),
                );
            }
        }
        // The first line is looked at before anything else.
        let wanted = |key: &&Key| key.required && !merged && key.name != "schema";
        for key in table.keys.iter().filter(wanted) {
            if !entries.iter().any(|entry| entry.key.value == key.name) {
                let at = entries.first().map_or(span.at_start(), |entry| entry.key.span);
                self.push(
                    Diagnostic::error(
                        codes::MISSING_KEY,
                        at,
                        format!("add `{}` to {}: {}", key.name, table.what, lower_first(key.doc)),
                    )
                    .label(format!("`{}` is missing here", key.name))
                    .fix(format!("{}: {}", key.name, key.example)),
                );
            }
        }
    }

    fn entries<'n>(&mut self, item: Item<'n>, what: &str) -> Option<&'n [Entry]> {
        match &item.node.kind {
            NodeKind::Map(entries) => Some(entries),
            NodeKind::Refused => None,
            _ => {
                self.wrong_kind(item, &format!("a mapping: {what}"), "{key: value}");
                None
            }
        }
    }

    /// The entries of a mapping with names of the author's choice, each name checked.
    pub(super) fn map<'n>(
        &mut self,
        item: Option<Item<'n>>,
        form: NameForm,
    ) -> Vec<(Spanned<String>, Item<'n>)> {
        let Some(item) = item else { return Vec::new() };
        let Some(entries) = self.entries(item, "one name a line") else { return Vec::new() };
        let mut out = Vec::new();
        for entry in entries {
            if self.is_full() {
                break;
            }
            if entry.key.value == MERGE || !self.check_name(&entry.key, form) {
                continue;
            }
            match entry.value.kind {
                NodeKind::Refused => {}
                NodeKind::Empty => self.push(
                    Diagnostic::error(
                        codes::EMPTY_VALUE,
                        entry.key.span,
                        format!("give `{}` a value, or remove it", entry.key.value),
                    )
                    .label("nothing stands after the colon"),
                ),
                _ => {
                    out.push((
                        entry.key.clone(),
                        Item { key: &entry.key.value, node: &entry.value },
                    ));
                }
            }
        }
        out
    }

    /// A mapping as named values, read by a function.
    pub(super) fn named<'n, T>(
        &mut self,
        item: Option<Item<'n>>,
        form: NameForm,
        mut read: impl FnMut(&mut Self, Item<'n>) -> Option<T>,
    ) -> Vec<Named<T>> {
        self.map(item, form)
            .into_iter()
            .filter_map(|(name, item)| read(self, item).map(|value| Named { name, value }))
            .collect()
    }

    /// A list, read by a function; an element that cannot be read is reported and left out.
    pub(super) fn list<'n, T>(
        &mut self,
        item: Option<Item<'n>>,
        mut read: impl FnMut(&mut Self, Item<'n>) -> Option<T>,
    ) -> Vec<T> {
        let Some(item) = item else { return Vec::new() };
        let NodeKind::List(items) = &item.node.kind else {
            if item.node.kind != NodeKind::Refused {
                let text = self.file.slice(item.span().range());
                let short = text.len() < 40 && !text.contains('\n');
                let example = if matches!(item.node.kind, NodeKind::Map(_)) || !short {
                    "\n  - ...".to_owned()
                } else {
                    format!("[{text}]")
                };
                self.wrong_kind(item, "a list", &example);
            }
            return Vec::new();
        };
        let mut out = Vec::new();
        for node in items {
            if self.is_full() {
                break;
            }
            match node.kind {
                NodeKind::Refused => {}
                NodeKind::Empty => self.push(
                    Diagnostic::error(
                        codes::EMPTY_VALUE,
                        node.span,
                        format!("write a value after this dash, or remove it (in `{}`)", item.key),
                    )
                    .label("nothing stands here"),
                ),
                _ => out.extend(read(self, Item { key: item.key, node })),
            }
        }
        out
    }

    /// A list, or one value alone.
    pub(super) fn one_or_list<'n, T>(
        &mut self,
        item: Option<Item<'n>>,
        mut read: impl FnMut(&mut Self, Item<'n>) -> Option<T>,
    ) -> Vec<T> {
        match item {
            Some(item) if !matches!(item.node.kind, NodeKind::List(_)) => {
                read(self, item).into_iter().collect()
            }
            item => self.list(item, read),
        }
    }

    /// A list of names, none of them twice.
    pub(super) fn names(&mut self, item: Option<Item<'_>>, form: NameForm) -> Vec<Spanned<String>> {
        let names = self.list(item, |r, item| r.name(item, form));
        self.no_repeats(&names);
        names
    }

    /// Reports names that stand twice.
    pub(super) fn no_repeats(&mut self, names: &[Spanned<String>]) {
        let mut seen = std::collections::BTreeMap::new();
        for name in names {
            if let Some(first) = seen.get(name.value.as_str()) {
                self.push(
                    Diagnostic::error(
                        codes::REPEATED_VALUE,
                        name.span,
                        format!("remove one of the two `{}`", name.value),
                    )
                    .label("again here")
                    .also(*first, "first here"),
                );
            } else {
                seen.insert(name.value.as_str(), name.span);
            }
        }
    }

    /// Something of the wrong form.
    pub(super) fn wrong_kind(&mut self, item: Item<'_>, wanted: &str, example: &str) {
        if item.node.kind == NodeKind::Refused {
            return;
        }
        self.push(
            Diagnostic::error(
                codes::WRONG_KIND,
                item.span(),
                format!("write `{}` as {wanted}", item.key),
            )
            .label(format!("this is {}", item.node.describe()))
            .fix(format!("{}: {example}", item.key)),
        );
    }
}

fn unknown_key(entry: &Entry, entries: &[Entry], table: &Table) -> Diagnostic {
    let word = &entry.key.value;
    let free = table.keys.iter().map(|key| key.name).filter(|name| {
        // A key that already stands here is not what was meant.
        !entries.iter().any(|other| other.key.value == *name)
    });
    let known = table.keys.iter().map(|key| key.name).collect::<Vec<_>>().join(", ");
    let near = nearest(word, free);
    let message = match near {
        Some(near) => format!("write `{near}` instead of `{word}`"),
        None => format!("remove `{word}`: {} has no such key", table.what),
    };
    let mut diagnostic = Diagnostic::error(codes::UNKNOWN_KEY, entry.key.span, message)
        .label("unknown key")
        .reason(format!("the keys of {} are: {known}", table.what));
    if let Some(near) = near {
        diagnostic = diagnostic.fix(format!("{near}: ...")).replace(near);
    }
    diagnostic
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) if chars.clone().next().is_some_and(char::is_lowercase) || text.len() == 1 => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => text.to_owned(),
    }
}
