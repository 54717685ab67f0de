//! What must hold for any bytes whatever: used by the fuzz targets here and, with seeded mutations
//! of real documents, by `tests/any_bytes.rs`.
#![allow(dead_code, reason = "each target uses one of them")]

use std::collections::BTreeMap;

use labloop::compiler::{Protocols, Request, compile};
use labloop::editor;
use labloop::expr::{self, Env, Interval, RangeEnv, Type, TypeEnv, Value};
use labloop::spec::{Document, SourceId, Sources, lower, render};
use labloop::units::{Dimension, Quantity, Unit};

/// A document of any kind: read, reported in text and JSON, formatted, and compiled if it is a
/// protocol. A text that is formatted reads as the same, and formatting it again changes nothing.
pub fn document(data: &[u8]) {
    let mut sources = Sources::new();
    let id: SourceId = sources.add_bytes("any.yaml", data);
    let Some(file) = sources.get(id) else { return };
    let checked = lower(file);
    for finding in &checked.report.diagnostics {
        assert!(finding.place.span.start <= finding.place.span.end);
    }
    let _ = render::text(&checked.report, &sources, render::Colour::Never);
    let _ = render::json(&checked.report, &sources);
    let text = file.text.to_string();
    if let Ok(once) = editor::format("any.yaml", &text) {
        match editor::format("any.yaml", &once) {
            Ok(twice) => assert_eq!(once, twice, "formatting twice differs"),
            Err(refused) => panic!("formatted text is refused: {refused:?}\n{once}"),
        }
    }
    if let Some(Document::Protocol(protocol)) = &checked.value {
        compiled(&sources, protocol);
    }
}

fn compiled(sources: &Sources, protocol: &labloop::spec::protocol::Protocol) {
    let mut all = sources.clone();
    let text = "schema: labloop/lab/v1\nname: lab\ninstruments: {}\nplaces:\n  rack: {capacity: 2}\nstock:\n  feed: {volume: 1 L}\n";
    let id = all.add("lab.yaml", text);
    let Some(Document::Lab(lab)) = all.get(id).and_then(|file| lower(file).value) else { return };
    let checked = compile(Request {
        sources: &all,
        protocol,
        lab: &lab,
        definitions: &BTreeMap::new(),
        protocols: &Protocols::new(),
        pins: &[],
        parameters: &BTreeMap::new(),
        ranges: &BTreeMap::new(),
    });
    let _ = render::text(&checked.report, &all, render::Colour::Never);
}

/// Some names of each type, with a range for the numbers and a value inside it.
struct Names;

const RANGE: Interval = Interval { lo: -2.0, hi: 3.0 };
const INSIDE: f64 = 1.25;

impl TypeEnv for Names {
    fn type_of(&self, path: &[String]) -> Result<Type, Option<String>> {
        let quantity = |dim, point| Ok(Type::Quantity { dim, point });
        match path.join(".").as_str() {
            "params.x" => quantity(Dimension::NONE, false),
            "params.t" => quantity(Dimension::TIME, false),
            "params.temp" => quantity(Dimension::TEMPERATURE, true),
            "params.ok" => Ok(Type::Bool),
            "params.name" => Ok(Type::Text),
            "steps.all" => {
                Ok(Type::List(Box::new(Type::Quantity { dim: Dimension::NONE, point: false })))
            }
            _ => Err(Some("params.x".to_owned())),
        }
    }
}

impl Env for Names {
    fn value(&self, path: &[String]) -> Option<Value> {
        let quantity = |dim, point| Some(Value::Quantity(Quantity { value: INSIDE, dim, point }));
        match path.join(".").as_str() {
            "params.x" => quantity(Dimension::NONE, false),
            "params.t" => quantity(Dimension::TIME, false),
            "params.temp" => quantity(Dimension::TEMPERATURE, true),
            "params.ok" => Some(Value::Bool(true)),
            "params.name" => Some(Value::text("a")),
            "steps.all" => Some(Value::List(vec![Value::number(1.0), Value::number(2.5)])),
            _ => None,
        }
    }
}

impl RangeEnv for Names {
    fn range(&self, path: &[String]) -> Option<Interval> {
        matches!(path.join(".").as_str(), "params.x" | "params.t" | "params.temp").then_some(RANGE)
    }
}

/// An expression: what checks has a value or an error, of the type it was checked to have and
/// inside the interval that was worked out for it; what is decided for a box holds at a point.
pub fn expression(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = expr::parse_template(text);
    let Ok(parsed) = expr::parse(text) else { return };
    let folded = expr::fold(&parsed, &Names);
    let found = expr::check(&parsed, &Names);
    let value = expr::eval(&parsed, &Names);
    let Ok(found) = found else { return };
    if let Ok(value) = &value {
        let fits = value.type_of() == found
            || found == Type::Unknown
            || matches!(value, Value::Missing(_) | Value::List(_));
        assert!(fits, "`{text}` is a {found} and gave {value:?}");
        if let (Value::Quantity(q), Some(range)) = (value, expr::interval(&parsed, &Names)) {
            let slack = 1e-9 * (range.lo.abs() + range.hi.abs() + 1.0);
            assert!(
                range.lo - slack <= q.value && q.value <= range.hi + slack,
                "`{text}` is {} outside {range:?}",
                q.value
            );
        }
        if let (Value::Bool(b), Some(decided)) = (value, expr::truth(&parsed, &Names)) {
            assert_eq!(*b, decided, "`{text}` was decided for the whole box");
        }
    }
    if let (Ok(a), Ok(b)) = (&value, expr::eval(&folded, &Names)) {
        assert_eq!(*a, b, "`{text}` changes when it is folded");
    }
}

/// A unit and a quantity: what is read is finite, and what is printed is read again.
pub fn unit(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(unit) = Unit::parse(text) {
        assert!(unit.factor.is_finite() && unit.factor > 0.0, "{unit:?}");
    }
    let Ok(quantity) = Quantity::parse(text) else { return };
    assert!(quantity.value.is_finite());
    let shown = quantity.to_string();
    let back =
        Quantity::parse(&shown).unwrap_or_else(|e| panic!("`{text}` is shown as `{shown}`: {e}"));
    assert_eq!(back.dim, quantity.dim, "`{text}` is shown as `{shown}`");
    let (a, b) = (back.value, quantity.value);
    assert!(
        (a - b).abs() <= 1e-8 * b.abs().max(1e-300) || (a - b).abs() < 1e-7 && quantity.point,
        "`{text}`: {b} is shown as `{shown}`, {a}"
    );
}
