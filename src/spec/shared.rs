//! What several documents have in common: the head, descriptions of values, shapes of readings.

use std::collections::BTreeMap;

use crate::expr::Value;
use crate::units::{Quantity, Unit};

use super::Kind;
use super::codes;
use super::diagnostic::{Checked, Diagnostic, Report};
use super::nearest::nearest;
use super::physics;
use super::reader::{Fields, Item, NameForm, Reader};
use super::source::{SourceFile, Span, Spanned};
use super::table::NAME;
use super::table::{Table, Takes, key};
use super::tree::{self, Node, NodeKind};
use super::value::{Expression, ValueSpec, ValueType};

// --- the head -------------------------------------------------------------------------------------

/// Reads a text as a document of one kind.
pub(super) fn document<T>(
    file: &SourceFile,
    kind: Kind,
    table: &'static Table,
    lower: impl FnOnce(&mut Reader<'_>, &Fields<'_>) -> Option<T>,
) -> Checked<T> {
    let mut report = Report::new();
    let value = tree::parse(file, &mut report).and_then(|root| {
        let mut reader = Reader::new(file, &mut report);
        if !head(&mut reader, &root, kind) {
            return None;
        }
        let item = Item { key: kind.word(), node: &root };
        let fields = reader.object(item, table)?;
        lower(&mut reader, &fields)
    });
    report.sort();
    Checked { value, report }
}

/// The kind a document says it is; `None` if it does not say, or says something unknown.
pub(super) fn kind_of(root: &Node) -> Option<(Result<Kind, String>, Span)> {
    let NodeKind::Map(entries) = &root.kind else { return None };
    let entry = entries.iter().find(|entry| entry.key.value == "schema")?;
    let NodeKind::Scalar { text, .. } = &entry.value.kind else { return None };
    let kind = Kind::ALL.iter().find(|kind| kind.schema() == text);
    Some((kind.copied().ok_or_else(|| text.clone()), entry.value.span))
}

/// Whether the document is of the kind needed; reports it if not.
fn head(reader: &mut Reader<'_>, root: &Node, kind: Kind) -> bool {
    let wanted = kind.schema();
    match kind_of(root) {
        Some((Ok(found), _)) if found == kind => true,
        Some((Ok(found), span)) => {
            reader.push(
                Diagnostic::error(
                    codes::SCHEMA,
                    span,
                    format!("give the path of a {}: this file is a {}", kind.word(), found.word()),
                )
                .label(format!("not a {}", kind.word())),
            );
            false
        }
        Some((Err(text), span)) => {
            reader.push(unknown_schema(&text, span, Some(kind)));
            // The rest is checked all the same: a wrong first line is one mistake of many.
            true
        }
        None => {
            let NodeKind::Map(entries) = &root.kind else {
                reader.push(
                    Diagnostic::error(
                        codes::WRONG_KIND,
                        root.span,
                        format!("write a mapping that begins with `schema: {wanted}`"),
                    )
                    .label(format!("this is {}", root.describe())),
                );
                return false;
            };
            let span = entries.first().map_or(root.span, |entry| entry.key.span);
            if !entries.iter().any(|entry| entry.key.value == "schema") {
                reader.push(missing_schema(span, wanted));
            }
            true
        }
    }
}

/// The first line is missing.
pub(super) fn missing_schema(span: Span, wanted: &str) -> Diagnostic {
    Diagnostic::error(codes::SCHEMA, span, format!("begin the file with `schema: {wanted}`"))
        .label("no `schema:` before this")
        .reason("the first line names the kind and version, so that old files keep their meaning")
        .fix(format!("schema: {wanted}"))
}

/// The first line names no document that labloop reads.
pub(super) fn unknown_schema(text: &str, span: Span, kind: Option<Kind>) -> Diagnostic {
    let known: Vec<&str> = Kind::ALL.iter().map(|kind| kind.schema()).collect();
    let better = kind.map(Kind::schema).or_else(|| nearest(text, known.iter().copied()));
    let mut diagnostic = Diagnostic::error(
        codes::SCHEMA,
        span,
        match better {
            Some(better) => format!("write `schema: {better}`"),
            None => format!("write one of: {}", known.join(", ")),
        },
    )
    .label("not a kind and version labloop reads");
    diagnostic.fix = better.map(|better| format!("schema: {better}"));
    diagnostic
}

// --- descriptions of values -----------------------------------------------------------------------

static TYPES: &[&str] = &["number", "int", "choice", "bool", "text"];

/// A parameter of a protocol.
pub(super) static PARAMETER: Table = Table {
    what: "a parameter",
    doc: "What a parameter must be: `unit` for physical values, `type` for others",
    keys: &[
        key("doc", Takes::Text, "What it means, for people"),
        key("unit", Takes::Unit, "Unit it is shown in; makes it a physical value"),
        key("type", Takes::Word(TYPES), "Kind of value, where it has no unit"),
        key("min", Takes::Value, "Smallest allowed"),
        key("max", Takes::Value, "Largest allowed"),
        key("options", Takes::List(&NAME), "The words to choose from"),
        key("default", Takes::Value, "Taken when nothing is given"),
    ],
};

/// An argument of an action or a setting of an instrument.
pub(super) static SETTING: Table = Table {
    what: "a setting",
    doc: "What a setting or an argument must be: `unit` for physical values, `type` for others",
    keys: &[
        key("doc", Takes::Text, "What it means, for people"),
        key("unit", Takes::Unit, "Unit it is sent in; makes it a physical value"),
        key("type", Takes::Word(TYPES), "Kind of value, where it has no unit"),
        key("min", Takes::Value, "Smallest allowed"),
        key("max", Takes::Value, "Largest allowed"),
        key("options", Takes::List(&NAME), "The words to choose from"),
        key("default", Takes::Value, "Taken when nothing is given"),
        key("required", Takes::Bool, "Must be given; true unless there is a default"),
    ],
};

/// Values described under names of the author's choice.
pub(super) fn value_specs(
    r: &mut Reader<'_>,
    item: Option<Item<'_>>,
    table: &'static Table,
) -> Vec<ValueSpec> {
    let mut out = Vec::new();
    for (name, item) in r.map(item, NameForm::Identifier) {
        if let Some(fields) = r.object(item, table)
            && let Some(spec) = value_spec(r, name, &fields)
        {
            out.push(spec);
        }
    }
    out
}

fn value_spec(r: &mut Reader<'_>, name: Spanned<String>, f: &Fields<'_>) -> Option<ValueSpec> {
    let doc = r.doc(f.get("doc"));
    let kind = value_type(r, &name, f)?;
    let limit_unit = match &kind {
        ValueType::Quantity { unit } => Some(unit.value.clone()),
        ValueType::Number | ValueType::Integer => Some(Unit::one()),
        ValueType::Choice { .. } | ValueType::Bool | ValueType::Text => None,
    };
    let limit = |r: &mut Reader<'_>, key: &str| {
        let item = f.get(key)?;
        match &limit_unit {
            Some(unit) => {
                let value = r.quantity(item, unit)?;
                whole_if_integer(r, &kind, value, item)
            }
            None => {
                r.push(
                    Diagnostic::error(
                        codes::NOT_WITH,
                        f.key_span(key).unwrap_or(item.span()),
                        format!("remove `{key}`: `{}` is not a number", name.value),
                    )
                    .label("limits are for numbers"),
                );
                None
            }
        }
    };
    let min = limit(r, "min");
    let max = limit(r, "max");
    reversed(r, &min, &max, limit_unit.as_ref());
    let default = f.get("default").and_then(|item| {
        let value = typed_literal(r, item, &kind)?;
        inside(r, &value, item, &min, &max, limit_unit.as_ref())?;
        Some(value)
    });
    let required = match f.table_has("required").then(|| f.get("required")).flatten() {
        Some(item) => r.boolean(item).is_none_or(|b| b.value),
        None => !f.has("default"),
    };
    Some(ValueSpec { name, doc, kind, min, max, default, required, span: f.span })
}

fn value_type(r: &mut Reader<'_>, name: &Spanned<String>, f: &Fields<'_>) -> Option<ValueType> {
    if f.has("unit") {
        if let Some(span) = f.key_span("type") {
            r.push(
                Diagnostic::error(
                    codes::NOT_WITH,
                    span,
                    "remove `type`: a value with a unit is a quantity".to_owned(),
                )
                .label("says the same twice, or contradicts the unit"),
            );
        }
        let unit = r.unit(f.get("unit")?)?;
        return Some(ValueType::Quantity { unit });
    }
    let word = match f.get("type") {
        Some(item) => {
            let words: Vec<(&str, &str)> = TYPES.iter().map(|t| (*t, *t)).collect();
            r.word(item, &words)?.value
        }
        None if f.has("type") => return None,
        None if f.has("options") => "choice",
        None => {
            r.push(
                Diagnostic::error(
                    codes::MISSING_KEY,
                    name.span,
                    format!("add `unit` or `type` to `{}`: what kind of value is it?", name.value),
                )
                .label("neither a unit nor a type")
                .fix(format!("{}: {{unit: mL/min}} or {{type: number}}", name.value)),
            );
            return None;
        }
    };
    if word != "choice"
        && let Some(span) = f.key_span("options")
    {
        r.push(
            Diagnostic::error(codes::NOT_WITH, span, "remove `options`, or write `type: choice`")
                .label(format!("a {word} has no options")),
        );
    }
    Some(match word {
        "number" => ValueType::Number,
        "int" => ValueType::Integer,
        "bool" => ValueType::Bool,
        "text" => ValueType::Text,
        _ => ValueType::Choice { options: options(r, name, f)? },
    })
}

fn options(
    r: &mut Reader<'_>,
    name: &Spanned<String>,
    f: &Fields<'_>,
) -> Option<Vec<Spanned<String>>> {
    let options = r.names(f.get("options"), NameForm::Word);
    if options.is_empty() {
        let span = f.key_span("options").unwrap_or(name.span);
        let read = f.get("options").map(|item| &item.node.kind);
        if !f.has("options") || matches!(read, Some(NodeKind::List(items)) if items.is_empty()) {
            r.push(
                Diagnostic::error(
                    codes::MISSING_KEY,
                    span,
                    format!("list at least one word under `options` of `{}`", name.value),
                )
                .label("nothing to choose from")
                .fix("options: [first, second]"),
            );
        }
        return None;
    }
    Some(options)
}

fn whole_if_integer(
    r: &mut Reader<'_>,
    kind: &ValueType,
    value: Spanned<Quantity>,
    item: Item<'_>,
) -> Option<Spanned<Quantity>> {
    if *kind == ValueType::Integer && value.value.value.fract() != 0.0 {
        r.push(
            Diagnostic::error(
                codes::NOT_A_COUNT,
                item.span(),
                format!("`{}` must be a whole number", item.key),
            )
            .fix(format!("{}: {}", item.key, value.value.value.round())),
        );
        return None;
    }
    Some(value)
}

/// Reports limits in the wrong order.
pub(super) fn reversed(
    r: &mut Reader<'_>,
    min: &Option<Spanned<Quantity>>,
    max: &Option<Spanned<Quantity>>,
    unit: Option<&Unit>,
) {
    if let (Some(min), Some(max), Some(unit)) = (min, max, unit)
        && min.value.dim == max.value.dim
        && min.value.value > max.value.value
    {
        let (low, high) = (physics::show(&min.value, unit), physics::show(&max.value, unit));
        r.push(
            Diagnostic::error(codes::LIMITS_REVERSED, min.span, "exchange `min` and `max`")
                .label(format!("{low} is above the largest, {high}"))
                .also(max.span, "the largest")
                .fix(format!("min: {high}, max: {low}")),
        );
    }
}

/// Whether a literal is inside its limits; reports it if not.
pub(super) fn inside(
    r: &mut Reader<'_>,
    value: &Expression,
    item: Item<'_>,
    min: &Option<Spanned<Quantity>>,
    max: &Option<Spanned<Quantity>>,
    unit: Option<&Unit>,
) -> Option<()> {
    let (Some(Value::Quantity(q)), Some(unit)) = (value.expr.as_literal(), unit) else {
        return Some(());
    };
    let below = min.as_ref().filter(|min| q.value < min.value.value);
    let above = max.as_ref().filter(|max| q.value > max.value.value);
    let Some(limit) = below.or(above) else { return Some(()) };
    let word = if below.is_some() { "smallest" } else { "largest" };
    let shown = physics::show(&limit.value, unit);
    r.push(
        Diagnostic::error(
            codes::OUT_OF_RANGE,
            item.span(),
            format!("choose `{}` inside its own limits", item.key),
        )
        .label(format!("the {word} allowed is {shown}"))
        .also(limit.span, format!("the {word}"))
        .fix(format!("{}: {shown}", item.key)),
    );
    None
}

/// A literal that must be of a type.
pub(super) fn typed_literal(
    r: &mut Reader<'_>,
    item: Item<'_>,
    kind: &ValueType,
) -> Option<Expression> {
    let span = item.span();
    let NodeKind::Scalar { text, quoted } = &item.node.kind else {
        r.wrong_kind(item, "a single value", "1");
        return None;
    };
    let value = match kind {
        ValueType::Quantity { unit } => Value::Quantity(r.quantity(item, &unit.value)?.value),
        ValueType::Number => Value::Quantity(Quantity::number(r.number(item)?.value)),
        ValueType::Integer => {
            let value = Spanned::new(Quantity::number(r.number(item)?.value), span);
            Value::Quantity(whole_if_integer(r, kind, value, item)?.value)
        }
        ValueType::Bool => Value::Bool(r.boolean(item)?.value),
        ValueType::Text => Value::text(&r.text(item)?.value),
        ValueType::Choice { options } => {
            let words: Vec<(&str, &str)> =
                options.iter().map(|o| (o.value.as_str(), o.value.as_str())).collect();
            Value::text(r.word(item, &words)?.value)
        }
    };
    Some(r.literal(value, text, *quoted, span))
}

/// Reports names that stand twice, such as ids of interlocks.
pub(super) fn unique<'a>(
    r: &mut Reader<'_>,
    what: &str,
    names: impl IntoIterator<Item = &'a Spanned<String>>,
) {
    let mut seen: BTreeMap<&str, Span> = BTreeMap::new();
    for name in names {
        match seen.get(name.value.as_str()) {
            Some(first) => r.push(
                Diagnostic::error(
                    codes::DUPLICATE_NAME,
                    name.span,
                    format!("give this {what} another name: `{}` is taken", name.value),
                )
                .label("the same name again")
                .also(*first, "first here"),
            ),
            None => {
                seen.insert(&name.value, name.span);
            }
        }
    }
}
