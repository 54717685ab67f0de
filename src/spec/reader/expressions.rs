//! Reading expressions and values of unknown type, with the place of every byte.

use crate::expr::{Expr, Value};
use crate::spec::codes;
use crate::spec::diagnostic::Diagnostic;
use crate::spec::physics;
use crate::spec::source::Span;
use crate::spec::tree::NodeKind;
use crate::spec::value::{Condition, Expression, Named, Written};
use crate::units::{Dimension, Quantity};

use super::{Item, Reader};

impl Reader<'_> {
    /// A condition: an expression without `${ }` around it.
    pub(in crate::spec) fn condition(&mut self, item: Item<'_>) -> Option<Condition> {
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
    pub(in crate::spec) fn time_expression(&mut self, item: Item<'_>) -> Option<Expression> {
        let (text, quoted) = self.scalar(item, "a time", "5 s")?;
        if text.contains("${") {
            return self.template(text, quoted, item.span());
        }
        let time = self.time(item)?;
        let seconds = Quantity::new(time.value.as_secs_f64(), Dimension::TIME);
        Some(self.literal(Value::Quantity(seconds), text, quoted, item.span()))
    }

    /// `${ }` or a plain whole number.
    pub(in crate::spec) fn count_expression(
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
    pub(in crate::spec) fn text_expression(&mut self, item: Item<'_>) -> Option<Expression> {
        let (text, quoted) = self.scalar(item, "a text", "\"...\"")?;
        self.template(text, quoted, item.span())
    }

    /// `${ }`, or a literal of the most telling type: true/false, number, quantity, else text.
    pub(in crate::spec) fn value_expression(&mut self, item: Item<'_>) -> Option<Expression> {
        let (text, quoted) = self.scalar(item, "a value", "5 mL")?;
        if text.contains("${") {
            return self.template(text, quoted, item.span());
        }
        let value = if quoted { Value::text(text) } else { physics::guess(text) };
        Some(self.literal(value, text, quoted, item.span()))
    }

    /// A value as written, of any form.
    pub(in crate::spec) fn written(&mut self, item: Item<'_>) -> Option<Written> {
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
    pub(in crate::spec) fn literal(
        &self,
        value: Value,
        text: &str,
        quoted: bool,
        span: Span,
    ) -> Expression {
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
