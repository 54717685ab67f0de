//! Shapes of readings: what a property or the answer of an action is.

use crate::units::Unit;

use super::codes;
use super::diagnostic::Diagnostic;
use super::reader::{Fields, Item, NameForm, Reader};
use super::source::{Span, Spanned};
use super::table::{NUMBER, TEXT, Table, Takes, UNIT, key};
use super::tree::NodeKind;
use super::value::{AxisSource, Field, SeriesPoints, Shape};

static READING_TYPES: &[&str] = &["number", "int", "bool", "text"];
static JSON_PATHS: Takes = Takes::OneOrList(&TEXT);

static AXIS: Table = Table {
    what: "an axis",
    doc: "One axis of a curve: its unit, and where its numbers stand in a JSON message",
    keys: &[
        key("unit", Takes::Unit, "Unit of the numbers").required("nm"),
        key("at", Takes::List(&NUMBER), "The numbers, where they are always the same"),
        key("json", JSON_PATHS, "Path of an array, or paths of single numbers"),
    ],
};
static AXIS_OR_UNIT: Takes = Takes::Either(&[Takes::Unit, Takes::Object(&AXIS)]);

static SERIES: Table = Table {
    what: "a curve",
    doc: "A curve: y over x",
    keys: &[
        key("x", AXIS_OR_UNIT, "Unit of the abscissa").required("nm"),
        key("y", AXIS_OR_UNIT, "Unit of the ordinate").required("\"1\""),
    ],
};

static ARRAY: Table = Table {
    what: "an array",
    doc: "Numbers on a regular grid, such as an image",
    keys: &[
        key("unit", Takes::Unit, "Unit of the numbers").required("\"1\""),
        key("axes", Takes::Map(&UNIT), "Units of its axes, the slowest first")
            .required("{y: um, x: um}"),
    ],
};

static FIELD: Table = Table {
    what: "a field",
    doc: "One value of a record",
    keys: &[
        key("unit", Takes::Unit, "Unit; makes it a physical value"),
        key("type", Takes::Word(READING_TYPES), "Kind of value, where it has no unit"),
        key("json", Takes::Text, "Path in the JSON; the name of the field where not given"),
    ],
};
static FIELD_ENTRY: Takes = Takes::Object(&FIELD);

/// What an action answers.
pub(super) static RETURNS: Table = Table {
    what: "what an action returns",
    doc: "What is read: a value with `unit` or `type`, a record (`fields`), a curve (`series`) or an array (`array`)",
    keys: &[
        key("unit", Takes::Unit, "Unit; makes it a physical value"),
        key("type", Takes::Word(READING_TYPES), "Kind of value, where it has no unit"),
        key("fields", FIELDS, "Named values read together"),
        key("series", SERIES_ENTRY, "A curve"),
        key("array", ARRAY_ENTRY, "An image, or other numbers on a grid"),
    ],
};
/// `array:`.
pub(super) const ARRAY_ENTRY: Takes = Takes::Object(&ARRAY);
/// `fields:`.
pub(super) const FIELDS: Takes = Takes::Map(&FIELD_ENTRY);
/// `series:`.
pub(super) const SERIES_ENTRY: Takes = Takes::Object(&SERIES);
/// `type:` of a reading.
pub(super) const READING_TYPE: Takes = Takes::Word(READING_TYPES);

/// The shape that the keys `unit`, `type`, `fields`, `series` and `array` of a mapping describe.
pub(super) fn shape(r: &mut Reader<'_>, f: &Fields<'_>, span: Span) -> Option<Shape> {
    let given: Vec<&str> = ["unit", "type", "fields", "series", "array"]
        .into_iter()
        .filter(|k| f.table_has(k) && f.has(k))
        .collect();
    match given.as_slice() {
        ["unit"] => Some(Shape::Quantity(r.unit(f.get("unit")?)?)),
        ["type"] => simple(r, f),
        ["fields"] => {
            let mut fields = Vec::new();
            for (name, item) in r.map(f.get("fields"), NameForm::Identifier) {
                let Some(inner) = r.object(item, &FIELD) else { continue };
                let json = inner.get("json").and_then(|item| r.text(item));
                if let Some(shape) = shape(r, &inner, name.span) {
                    fields.push(Field { name, shape, json });
                }
            }
            Some(Shape::Record(fields))
        }
        ["array"] => {
            let inner = r.object(f.get("array")?, &ARRAY)?;
            let unit = inner.get("unit").and_then(|item| r.unit(item));
            let axes = r.named(inner.get("axes"), NameForm::Identifier, |r, item| r.unit(item));
            let (unit, false) = (unit?, axes.is_empty()) else { return None };
            Some(Shape::Array { unit, axes })
        }
        [_] => {
            let inner = r.object(f.get("series")?, &SERIES)?;
            let x = axis(r, inner.get("x"));
            let y = axis(r, inner.get("y"));
            let ((x, x_from), (y, y_from)) = (x?, y?);
            let points = match (x_from, y_from) {
                (Some(x), Some(y)) => Some(SeriesPoints { x, y }),
                _ => None,
            };
            Some(Shape::Series { x, y, points })
        }
        [] => {
            r.push(
                Diagnostic::error(codes::MISSING_KEY, span, "add `unit` or `type`: what is read?")
                    .label("neither a unit, a type, fields nor a series")
                    .fix("unit: mL"),
            );
            None
        }
        [first, second, ..] => {
            let place = f.key_span(second).unwrap_or(span);
            r.push(
                Diagnostic::error(
                    codes::NOT_WITH,
                    place,
                    format!("keep one of `{first}` and `{second}`"),
                )
                .label("says what is read a second time"),
            );
            None
        }
    }
}

fn simple(r: &mut Reader<'_>, f: &Fields<'_>) -> Option<Shape> {
    let words = [("number", 0_u8), ("int", 1), ("bool", 2), ("text", 3)];
    Some(match r.word(f.get("type")?, &words)?.value {
        0 => Shape::Number,
        1 => Shape::Integer,
        2 => Shape::Bool,
        _ => Shape::Text,
    })
}

fn axis(r: &mut Reader<'_>, item: Option<Item<'_>>) -> Option<(Spanned<Unit>, Option<AxisSource>)> {
    let item = item?;
    if matches!(item.node.kind, NodeKind::Scalar { .. }) {
        return Some((r.unit(item)?, None));
    }
    let f = r.object(item, &AXIS)?;
    let unit = f.get("unit").and_then(|item| r.unit(item))?;
    let from = if f.has("at") {
        Some(AxisSource::At(r.list(f.get("at"), Reader::number)))
    } else {
        match f.get("json") {
            Some(item) if matches!(item.node.kind, NodeKind::List(_)) => {
                Some(AxisSource::Each(r.list(Some(item), Reader::text)))
            }
            Some(item) => Some(AxisSource::Array(r.text(item)?)),
            None => None,
        }
    };
    Some((unit, from))
}
