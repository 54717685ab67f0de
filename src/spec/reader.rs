//! Reading typed values out of the tree; each mistake becomes a diagnostic and reading goes on.

use std::time::Duration;

use crate::expr::{Expr, Value};
use crate::units::{Dimension, Quantity, Unit};

use super::codes;
use super::diagnostic::{Diagnostic, Report};
use super::nearest::nearest;
use super::physics;
use super::source::{SourceFile, Span, Spanned};
use super::table::{Key, Table};
use super::tree::{Entry, Node, NodeKind};
use super::value::{Condition, Expression, Named, Written};

/// Longest time a document may name: a hundred years, far from every overflow.
const MAX_SECONDS: f64 = 100.0 * 365.25 * 86_400.0;

/// A merge key: reported by the tree, and what it would have brought is not missed here.
const MERGE: &str = "<<";

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
        self.report.push(diagnostic);
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

    // --- scalars ------------------------------------------------------------------------------

    /// A scalar with its text and whether it is quoted.
    fn scalar<'n>(
        &mut self,
        item: Item<'n>,
        wanted: &str,
        example: &str,
    ) -> Option<(&'n str, bool)> {
        match &item.node.kind {
            NodeKind::Scalar { text, quoted } => Some((text, *quoted)),
            _ => {
                self.wrong_kind(item, wanted, example);
                None
            }
        }
    }

    /// Any text, free of `${ }`.
    pub(super) fn text(&mut self, item: Item<'_>) -> Option<Spanned<String>> {
        let (text, _) = self.scalar(item, "a text", "\"...\"")?;
        if text.contains("${") {
            self.push(
                Diagnostic::error(
                    codes::EXPRESSION_NOT_ALLOWED,
                    item.span(),
                    format!("write a plain text for `{}`, without ${{ }}", item.key),
                )
                .label("an expression")
                .reason("this is settled when the file is read, before any value is known"),
            );
            return None;
        }
        Some(Spanned::new(text.to_owned(), item.span()))
    }

    /// Text for people.
    pub(super) fn doc(&mut self, item: Option<Item<'_>>) -> Option<String> {
        let (text, _) = self.scalar(item?, "a text", "\"...\"")?;
        Some(text.to_owned())
    }

    /// A name.
    pub(super) fn name(&mut self, item: Item<'_>, form: NameForm) -> Option<Spanned<String>> {
        let text = self.text(item)?;
        self.check_name(&text, form).then_some(text)
    }

    /// Checks the form of a name.
    pub(super) fn check_name(&mut self, name: &Spanned<String>, form: NameForm) -> bool {
        let first = |c: char| match form {
            NameForm::Identifier => c.is_ascii_alphabetic(),
            NameForm::Word => c.is_alphanumeric() || "+@_".contains(c),
            NameForm::Free => true,
        };
        let rest = |c: char| match form {
            NameForm::Identifier => c.is_ascii_alphanumeric() || c == '_',
            NameForm::Word => c.is_alphanumeric() || "_-.+@/".contains(c),
            NameForm::Free => true,
        };
        let text = &name.value;
        let ok =
            text.chars().next().is_some_and(first) && text.chars().all(rest) && text.len() <= 64;
        if ok {
            return true;
        }
        let mut better: String = text
            .chars()
            .map(|c| if rest(c) { c } else { '_' })
            .skip_while(|c| !first(*c))
            .take(64)
            .collect();
        if better.is_empty() {
            better = "name_1".to_owned();
        }
        let allowed = match form {
            NameForm::Identifier => "a letter first, then letters, digits and _",
            NameForm::Word => "letters, digits, and - _ . + inside",
            NameForm::Free => "at least one character, at most 64",
        };
        self.push(
            Diagnostic::error(
                codes::BAD_NAME,
                name.span,
                format!("write the name as `{better}`: {allowed}"),
            )
            .label(if text.len() > 64 { "longer than 64 characters" } else { "not a name" })
            .fix(better),
        );
        false
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self, item: Item<'_>) -> Option<Spanned<bool>> {
        let (text, quoted) = self.scalar(item, "true or false", "true")?;
        let value = match (text, quoted) {
            ("true", false) => Some(true),
            ("false", false) => Some(false),
            _ => None,
        };
        if value.is_none() {
            let why = if quoted { "in quotes it is a text" } else { "neither true nor false" };
            self.push(
                Diagnostic::error(
                    codes::UNKNOWN_WORD,
                    item.span(),
                    format!("write true or false for `{}`", item.key),
                )
                .label(why)
                .fix(format!("{}: true", item.key)),
            );
        }
        value.map(|value| Spanned::new(value, item.span()))
    }

    /// One of some words, each with what it means.
    pub(super) fn word<T: Copy>(
        &mut self,
        item: Item<'_>,
        words: &[(&str, T)],
    ) -> Option<Spanned<T>> {
        let all = words.iter().map(|(word, _)| *word).collect::<Vec<_>>();
        let (text, _) =
            self.scalar(item, &format!("one of {}", all.join(", ")), all.first().unwrap_or(&""))?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(Spanned::new(*value, item.span()));
        }
        let near = nearest(text, all.iter().copied());
        let message = match near {
            Some(near) => format!("write `{near}` instead of `{text}`"),
            None => format!("`{}` must be one of: {}", item.key, all.join(", ")),
        };
        let mut diagnostic = Diagnostic::error(codes::UNKNOWN_WORD, item.span(), message)
            .label("not a word that is known here")
            .reason(format!("`{}` is one of: {}", item.key, all.join(", ")));
        if let Some(near) = near {
            diagnostic = diagnostic.fix(near.to_owned());
        }
        self.push(diagnostic);
        None
    }

    /// A whole number without a unit, within limits.
    pub(super) fn count(&mut self, item: Item<'_>, min: u64, max: u64) -> Option<Spanned<u64>> {
        let (text, _) = self.scalar(item, "a whole number", &min.to_string())?;
        let value = match text.parse::<u64>() {
            Ok(value) => value,
            Err(_) => {
                let diagnostic = physics::not_a_count(text, item.span(), item.key, min, max);
                self.push(diagnostic);
                return None;
            }
        };
        if !(min..=max).contains(&value) {
            let nearest = value.clamp(min, max);
            self.push(
                Diagnostic::error(
                    codes::OUT_OF_RANGE,
                    item.span(),
                    format!("`{}` must be from {min} to {max}", item.key),
                )
                .label("outside")
                .fix(format!("{}: {nearest}", item.key)),
            );
            return None;
        }
        Some(Spanned::new(value, item.span()))
    }

    /// The same, as the 32-bit number most fields hold.
    pub(super) fn count32(&mut self, item: Item<'_>, min: u32, max: u32) -> Option<Spanned<u32>> {
        let value = self.count(item, u64::from(min), u64::from(max))?;
        u32::try_from(value.value).ok().map(|n| Spanned::new(n, value.span))
    }

    /// A finite number without a unit.
    pub(super) fn number(&mut self, item: Item<'_>) -> Option<Spanned<f64>> {
        let (text, _) = self.scalar(item, "a number", "1.5")?;
        match physics::number(text) {
            Some(value) => Some(Spanned::new(value, item.span())),
            None => {
                let diagnostic = physics::not_a_number(text, item.span(), item.key);
                self.push(diagnostic);
                None
            }
        }
    }

    /// A unit.
    pub(super) fn unit(&mut self, item: Item<'_>) -> Option<Spanned<Unit>> {
        let (text, _) = self.scalar(item, "a unit", "mL/min")?;
        match physics::unit(text, item.span(), item.key) {
            Ok(unit) => Some(Spanned::new(unit, item.span())),
            Err(diagnostic) => {
                self.push(*diagnostic);
                None
            }
        }
    }

    /// A quantity of any dimension.
    pub(super) fn any_quantity(&mut self, item: Item<'_>) -> Option<Spanned<Quantity>> {
        let (text, _) = self.scalar(item, "a number and a unit", "5 mL")?;
        match physics::any_quantity(text, item.span(), item.key) {
            Ok(value) => Some(Spanned::new(value, item.span())),
            Err(diagnostic) => {
                self.push(*diagnostic);
                None
            }
        }
    }

    /// A quantity in the dimension of a unit.
    pub(super) fn quantity(&mut self, item: Item<'_>, unit: &Unit) -> Option<Spanned<Quantity>> {
        let example = physics::example(unit);
        let (text, _) = self.scalar(item, "a number and a unit", &example)?;
        match physics::quantity(text, unit, item.span(), item.key) {
            Ok(value) => Some(Spanned::new(value, item.span())),
            Err(diagnostic) => {
                self.push(*diagnostic);
                None
            }
        }
    }

    /// A time, zero or more.
    pub(super) fn time(&mut self, item: Item<'_>) -> Option<Spanned<Duration>> {
        let (text, _) = self.scalar(item, "a time", "5 s")?;
        let quantity = match physics::time(text, item.span(), item.key) {
            Ok(quantity) => quantity,
            Err(diagnostic) => {
                self.push(*diagnostic);
                return None;
            }
        };
        self.duration(quantity, item).map(|value| Spanned::new(value, item.span()))
    }

    fn duration(&mut self, quantity: Quantity, item: Item<'_>) -> Option<Duration> {
        let seconds = quantity.value;
        if (0.0..=MAX_SECONDS).contains(&seconds) {
            return Duration::try_from_secs_f64(seconds).ok();
        }
        let why = if seconds < 0.0 { "below zero" } else { "more than a hundred years" };
        self.push(
            Diagnostic::error(
                codes::BAD_TIME,
                item.span(),
                format!("`{}` must be a time of zero or more", item.key),
            )
            .label(why)
            .fix(format!("{}: 5 s", item.key)),
        );
        None
    }

    // --- expressions --------------------------------------------------------------------------

    /// A condition: an expression without `${ }` around it.
    pub(super) fn condition(&mut self, item: Item<'_>) -> Option<Condition> {
        let (text, quoted) = self.scalar(item, "a condition", "a > b")?;
        let trimmed = text.trim();
        if let Some(inner) = trimmed.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) {
            self.push(
                Diagnostic::error(
                    codes::EXPRESSION,
                    item.span(),
                    format!("write `{}` without ${{ }}: it is an expression always", item.key),
                )
                .fix(format!("{}: {}", item.key, inner.trim())),
            );
            return None;
        }
        let at = self.expression_at(text, quoted, item.span());
        self.parsed(crate::expr::parse(text), at)
    }

    /// `${ }` or a plain time.
    pub(super) fn time_expression(&mut self, item: Item<'_>) -> Option<Expression> {
        let (text, quoted) = self.scalar(item, "a time", "5 s")?;
        if text.contains("${") {
            return self.template(text, quoted, item.span());
        }
        let time = self.time(item)?;
        let seconds = Quantity::new(time.value.as_secs_f64(), Dimension::TIME);
        Some(self.literal(Value::Quantity(seconds), text, quoted, item.span()))
    }

    /// `${ }` or a plain whole number.
    pub(super) fn count_expression(
        &mut self,
        item: Item<'_>,
        min: u64,
        max: u64,
    ) -> Option<Expression> {
        let (text, quoted) = self.scalar(item, "a whole number", "3")?;
        if text.contains("${") {
            return self.template(text, quoted, item.span());
        }
        let count = self.count(item, min, max)?;
        // Counts are far below 2^53, where every whole number is exact.
        #[expect(clippy::cast_precision_loss, reason = "max is at most 1e6 for all callers")]
        let value = Value::Quantity(Quantity::number(count.value as f64));
        Some(self.literal(value, text, quoted, item.span()))
    }

    /// Text that may hold `${ }`, or `${ }` alone.
    pub(super) fn text_expression(&mut self, item: Item<'_>) -> Option<Expression> {
        let (text, quoted) = self.scalar(item, "a text", "\"...\"")?;
        self.template(text, quoted, item.span())
    }

    /// `${ }`, or a literal of the most telling type: true/false, number, quantity, else text.
    pub(super) fn value_expression(&mut self, item: Item<'_>) -> Option<Expression> {
        let (text, quoted) = self.scalar(item, "a value", "5 mL")?;
        if text.contains("${") {
            return self.template(text, quoted, item.span());
        }
        let value = if quoted { Value::text(text) } else { physics::guess(text) };
        Some(self.literal(value, text, quoted, item.span()))
    }

    /// A value as written, of any form.
    pub(super) fn written(&mut self, item: Item<'_>) -> Option<Written> {
        let span = item.span();
        match &item.node.kind {
            NodeKind::Scalar { text, quoted } if text.contains("${") => {
                self.template(text, *quoted, span).map(Written::Expression)
            }
            NodeKind::Scalar { text, quoted } => {
                Some(Written::Scalar { text: text.clone(), quoted: *quoted, span })
            }
            NodeKind::List(_) => {
                let items = self.list(Some(item), Self::written);
                Some(Written::List { items, span })
            }
            NodeKind::Map(entries) => {
                // Keys of JSON payloads and simulators are free texts.
                let mut out = Vec::new();
                for entry in entries {
                    let inner = Item { key: &entry.key.value, node: &entry.value };
                    if let Some(value) = self.written(inner) {
                        out.push(Named { name: entry.key.clone(), value });
                    }
                }
                Some(Written::Map { entries: out, span })
            }
            NodeKind::Empty | NodeKind::Refused => None,
        }
    }

    fn template(&mut self, text: &str, quoted: bool, span: Span) -> Option<Expression> {
        let at = self.expression_at(text, quoted, span);
        self.parsed(crate::expr::parse_template(text), at)
    }

    fn parsed(
        &mut self,
        parsed: Result<Expr, crate::expr::ExprError>,
        mut at: Expression,
    ) -> Option<Expression> {
        match parsed {
            Ok(expr) => {
                at.expr = expr;
                Some(at)
            }
            Err(error) => {
                let diagnostic = at.diagnostic(error);
                self.push(diagnostic);
                None
            }
        }
    }

    /// A literal that stands in the file.
    pub(super) fn literal(&self, value: Value, text: &str, quoted: bool, span: Span) -> Expression {
        let mut at = self.expression_at(text, quoted, span);
        at.expr = Expr::literal(value);
        at
    }

    /// The mapping from bytes of a decoded scalar to bytes of the file.
    fn expression_at(&self, text: &str, quoted: bool, span: Span) -> Expression {
        let raw = self.file.slice(span.range());
        let skip = usize::from(quoted && raw.starts_with(['"', '\'']));
        let start = span.start.saturating_add(u32::try_from(skip).unwrap_or(0));
        let simple = raw.get(skip..).is_some_and(|rest| rest.starts_with(text));
        let offsets = if simple { Vec::new() } else { align(text, raw, skip, span.start) };
        Expression {
            expr: Expr::literal(Value::Bool(false)),
            text: text.to_owned(),
            span,
            offsets,
            start,
        }
    }
}

/// Place in the file of each byte of a decoded scalar and of its end: a walk along both that
/// steps over escapes, doubled quotes and folded line ends.
fn align(text: &str, raw: &str, skip: usize, base: u32) -> Vec<u32> {
    let place = |at: usize| base.saturating_add(u32::try_from(at).unwrap_or(u32::MAX));
    let mut offsets = Vec::with_capacity(text.len() + 1);
    let mut at = skip;
    for c in text.chars() {
        let rest = raw.get(at..).unwrap_or("");
        let step = match rest.chars().next() {
            Some(r) if r == c && r != '\\' => {
                // A doubled quote in single quotes stands for one.
                if r == '\'' && rest.starts_with("''") { 2 } else { r.len_utf8() }
            }
            Some('\\') => escape_len(rest),
            _ => {
                // Folding: look for the character a little further on.
                let skipped = rest.char_indices().take(4096).find(|(_, r)| *r == c);
                match (c.is_whitespace(), skipped) {
                    (true, _) => rest.len() - rest.trim_start().len(),
                    (false, Some((ahead, r))) => ahead + r.len_utf8(),
                    (false, None) => 0,
                }
            }
        };
        let shown = (at + step).saturating_sub(if step > 2 { 1 } else { step });
        let here = if raw.get(at..).and_then(|s| s.chars().next()) == Some(c) { at } else { shown };
        offsets.extend(std::iter::repeat_n(place(here), c.len_utf8()));
        at += step;
    }
    offsets.push(place(at));
    offsets
}

/// Length of an escape in double quotes.
fn escape_len(rest: &str) -> usize {
    let digits = match rest.as_bytes().get(1) {
        Some(b'x') => 2,
        Some(b'u') => 4,
        Some(b'U') => 8,
        _ => 0,
    };
    let mut len = (2 + digits).min(rest.len());
    while !rest.is_char_boundary(len) {
        len += 1;
    }
    len
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
        diagnostic = diagnostic.fix(format!("{near}: ..."));
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
