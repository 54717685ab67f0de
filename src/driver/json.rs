//! JSON payloads: commands out of a definition's `json:`, values out of messages.

use std::sync::Arc;

use base64::Engine;
use serde_json::{Map, Number, Value as Json};

use crate::expr::{self, Array, Axis, Env, Expr, Parts, Sample, Series, Value};
use crate::spec::{AxisSource, Field, Named, SeriesPoints, Shape, Spanned, Written};
use crate::units::{Dimension, Quantity, Unit};

/// Most numbers of one axis of a curve, or of an array; about as many as the largest message holds.
const MOST_POINTS: usize = 1 << 20;

/// A payload to fill in.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Payload {
    Literal(Json),
    Expr(Box<Expr>, String),
    List(Vec<Payload>),
    Map(Vec<(String, Payload)>),
}

impl Payload {
    /// Compiles a payload as written: bare numbers and true/false stay what they are, quoted ones
    /// are texts.
    pub fn new(written: &Written) -> Payload {
        match written {
            Written::Expression(e) => Payload::Expr(Box::new(e.expr.clone()), e.text.clone()),
            Written::Scalar { text, quoted: true, .. } => {
                Payload::Literal(Json::from(text.as_str()))
            }
            Written::Scalar { text, .. } => Payload::Literal(match text.as_str() {
                "true" => Json::Bool(true),
                "false" => Json::Bool(false),
                "null" | "~" | "" => Json::Null,
                // JSON and YAML agree on plain numbers; anything else is text.
                other => match serde_json::from_str::<Number>(other) {
                    Ok(number) => Json::Number(number),
                    Err(_) => Json::from(other),
                },
            }),
            Written::List { items, .. } => Payload::List(items.iter().map(Payload::new).collect()),
            Written::Map { entries, .. } => Payload::Map(
                entries.iter().map(|e| (e.name.value.clone(), Payload::new(&e.value))).collect(),
            ),
        }
    }

    /// Fills it in.
    pub fn render(&self, scope: &dyn Env) -> Result<Json, String> {
        match self {
            Payload::Literal(json) => Ok(json.clone()),
            Payload::List(items) => {
                Ok(Json::Array(items.iter().map(|i| i.render(scope)).collect::<Result<_, _>>()?))
            }
            Payload::Map(entries) => {
                let mut map = Map::new();
                for (name, payload) in entries {
                    map.insert(name.clone(), payload.render(scope)?);
                }
                Ok(Json::Object(map))
            }
            Payload::Expr(expr, text) => {
                let value =
                    expr::eval(expr, scope).map_err(|e| format!("`{text}`: {}", e.message))?;
                json_of(&value).map_err(|why| format!("`{text}` {why}"))
            }
        }
    }
}

pub(super) fn json_of(value: &Value) -> Result<Json, String> {
    match value {
        Value::Missing(reason) => Err(format!("has no value: {reason}")),
        Value::Bool(on) => Ok(Json::Bool(*on)),
        Value::Text(text) => Ok(Json::from(text.as_ref())),
        Value::Quantity(quantity) if quantity.dim != Dimension::default() => {
            Err("has a dimension; divide it by its unit, as in `${ args.time / 1 ms }`".to_owned())
        }
        Value::Quantity(Quantity { value, .. }) => number(*value).map(Json::Number),
        Value::List(items) => Ok(Json::Array(items.iter().map(json_of).collect::<Result<_, _>>()?)),
        Value::Record(fields) => {
            let mut map = Map::new();
            for (name, value) in fields {
                map.insert(name.clone(), json_of(value)?);
            }
            Ok(Json::Object(map))
        }
        Value::Series(_) => Err("is a curve".to_owned()),
        Value::Array(_) | Value::Filed(_) => Err("is an array".to_owned()),
    }
}

/// Whole numbers without a decimal point: firmware on small boards often reads only those.
fn number(value: f64) -> Result<Number, String> {
    let tidy = tidy(value);
    if tidy.fract() == 0.0 && tidy.abs() < 9e15 {
        return Ok(Number::from(tidy as i64));
    }
    Number::from_f64(tidy).ok_or_else(|| format!("is {value}, which JSON cannot say"))
}

/// A number without the noise that dividing by a unit leaves in its last bits.
pub(super) fn tidy(value: f64) -> f64 {
    format!("{value:.14e}").parse().unwrap_or(value)
}

/// A value as one word: texts without their quotes, everything else as JSON.
pub(super) fn word(json: &Json) -> String {
    json.as_str().map_or_else(|| short(json), str::to_owned)
}

/// The part of a message at a path such as `a.b.0`.
pub(super) fn at<'a>(json: &'a Json, path: &str) -> Option<&'a Json> {
    path.split('.').try_fold(json, |json, step| match json {
        Json::Object(map) => map.get(step),
        Json::Array(items) => items.get(step.parse::<usize>().ok()?),
        _ => None,
    })
}

/// The value of a shape in a message, below `path`.
pub(super) fn value_of(shape: &Shape, json: &Json, path: Option<&str>) -> Result<Value, String> {
    let found = match path {
        Some(path) => at(json, path).ok_or_else(|| format!("the message has no `{path}`"))?,
        None => json,
    };
    match shape {
        Shape::Quantity(unit) => Ok(Value::Quantity(Quantity::of(finite(found)?, &unit.value))),
        Shape::Number => Ok(plain(finite(found)?)),
        Shape::Integer => match finite(found)? {
            whole if whole.fract() == 0.0 => Ok(plain(whole)),
            other => Err(format!("{other} is no whole number")),
        },
        Shape::Bool => match found {
            Json::Bool(on) => Ok(Value::Bool(*on)),
            other => Err(format!("{} is neither true nor false", short(other))),
        },
        Shape::Text => match found {
            Json::String(text) => Ok(Value::Text(text.as_str().into())),
            other => Ok(Value::Text(short(other).into())),
        },
        Shape::Record(fields) => {
            let part = |field: &Field| {
                let path = field.json.as_ref().map_or(&field.name.value, |json| &json.value);
                Ok((field.name.value.clone(), value_of(&field.shape, found, Some(path))?))
            };
            fields.iter().map(part).collect::<Result<_, String>>().map(Value::Record)
        }
        Shape::Series { x, y, points } => series(found, &x.value, &y.value, points.as_ref()),
        Shape::Array { unit, axes } => grid(found, &unit.value, axes),
    }
}

fn series(
    json: &Json,
    x_unit: &Unit,
    y_unit: &Unit,
    points: Option<&SeriesPoints>,
) -> Result<Value, String> {
    let (x, y) = match points {
        Some(points) => (axis(json, &points.x)?, axis(json, &points.y)?),
        None => (array(json, "x")?, array(json, "y")?),
    };
    if x.len() != y.len() {
        return Err(format!("the curve has {} abscissas and {} ordinates", x.len(), y.len()));
    }
    let convert = |numbers: Vec<f64>, unit: &Unit| {
        numbers.into_iter().map(|number| Quantity::of(number, unit).value).collect()
    };
    Ok(Value::Series(Arc::new(Series {
        x: convert(x, x_unit),
        x_dim: x_unit.dim,
        y: convert(y, y_unit),
        y_dim: y_unit.dim,
    })))
}

/// An array from lists of lists, the slowest axis outermost. Its places are 0, 1, 2... of the units
/// of its axes.
fn grid(json: &Json, unit: &Unit, axes: &[Named<Spanned<Unit>>]) -> Result<Value, String> {
    let mut lengths = Vec::new();
    let mut inner = json;
    for axis in axes {
        match inner {
            Json::Array(items) if !items.is_empty() => {
                lengths.push(items.len());
                inner = items.first().unwrap_or(&Json::Null);
            }
            other => {
                let name = &axis.name.value;
                return Err(format!("{} is no list along the axis `{name}`", short(other)));
            }
        }
    }
    let mut bytes = Vec::new();
    flatten(json, &lengths, &mut bytes)?;
    let axes = axes.iter().zip(&lengths).map(|(axis, length)| {
        let unit = &axis.value.value;
        let start = Quantity::of(0.0, unit).value;
        let step = Quantity::of(1.0, unit).value - start;
        Axis { name: axis.name.value.clone(), length: *length, start, step, dim: unit.dim }
    });
    let offset = Quantity::of(0.0, unit).value;
    let scale = Quantity::of(1.0, unit).value - offset;
    let (axes, sample, dim) = (axes.collect(), Sample::F64, unit.dim);
    Ok(Value::Array(Arc::new(Array::new(Parts { axes, sample, bytes, scale, offset, dim })?)))
}

/// Adds the numbers of nested lists, all of the same lengths. The depth is that of the axes.
fn flatten(json: &Json, lengths: &[usize], bytes: &mut Vec<u8>) -> Result<(), String> {
    let Some((length, inner)) = lengths.split_first() else {
        if bytes.len() >= 8 * MOST_POINTS {
            return Err(format!("more than {MOST_POINTS} numbers"));
        }
        bytes.extend(finite(json)?.to_le_bytes());
        return Ok(());
    };
    match json {
        Json::Array(items) if items.len() == *length => {
            items.iter().try_for_each(|item| flatten(item, inner, bytes))
        }
        Json::Array(items) => Err(format!("rows of {} and of {length} numbers", items.len())),
        other => Err(format!("{} stands among lists", short(other))),
    }
}

/// The bytes of a payload: all of it, or base64 at a path of its JSON.
pub(super) fn bytes_in(payload: &[u8], path: Option<&str>) -> Result<Vec<u8>, String> {
    let Some(path) = path else { return Ok(payload.to_vec()) };
    let json: Json = serde_json::from_slice(payload)
        .map_err(|error| format!("the message is no JSON: {error}"))?;
    match at(&json, path) {
        Some(Json::String(text)) => base64::engine::general_purpose::STANDARD
            .decode(text.trim())
            .map_err(|error| format!("`{path}` is no base64: {error}")),
        Some(other) => Err(format!("`{path}` is {}, not a text in base64", short(other))),
        None => Err(format!("the message has no `{path}`")),
    }
}

fn axis(json: &Json, source: &AxisSource) -> Result<Vec<f64>, String> {
    match source {
        AxisSource::At(numbers) => Ok(numbers.iter().map(|number| number.value).collect()),
        AxisSource::Array(path) => array(json, &path.value),
        AxisSource::Each(paths) => paths
            .iter()
            .map(|path| {
                let path = &path.value;
                let found = at(json, path).ok_or_else(|| format!("the message has no `{path}`"))?;
                finite(found).map_err(|why| format!("`{path}`: {why}"))
            })
            .collect(),
    }
}

fn array(json: &Json, path: &str) -> Result<Vec<f64>, String> {
    match at(json, path) {
        Some(Json::Array(items)) if items.len() > MOST_POINTS => {
            Err(format!("`{path}` has {} numbers, more than {MOST_POINTS}", items.len()))
        }
        Some(Json::Array(items)) => {
            items.iter().map(|i| finite(i).map_err(|why| format!("`{path}`: {why}"))).collect()
        }
        Some(other) => Err(format!("`{path}` is {}, not a list of numbers", short(other))),
        None => Err(format!("the message has no `{path}`")),
    }
}

/// A finite number; some firmware quotes its numbers.
fn finite(json: &Json) -> Result<f64, String> {
    let number = match json {
        Json::Number(number) => number.as_f64(),
        Json::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.filter(|n| n.is_finite()).ok_or_else(|| format!("{} is no number", short(json)))
}

/// A plain number.
pub(super) fn plain(value: f64) -> Value {
    Value::Quantity(Quantity { value, dim: Dimension::default(), point: false })
}

/// JSON for a message to a person.
pub(super) fn short(json: &Json) -> String {
    let text = json.to_string();
    match text.char_indices().nth(60) {
        Some((at, _)) => format!("{}...", text.get(..at).unwrap_or_default()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Span;

    fn spanned<T>(value: T) -> Spanned<T> {
        Spanned { value, span: Span::default() }
    }

    fn unit(text: &str) -> Spanned<Unit> {
        spanned(Unit::parse(text).unwrap())
    }

    #[test]
    fn channels_become_a_curve() {
        let shape = Shape::Series {
            x: unit("nm"),
            y: unit("1"),
            points: Some(SeriesPoints {
                x: AxisSource::At(vec![spanned(410.0), spanned(440.0)]),
                y: AxisSource::Each(vec![spanned("ch410".to_owned()), spanned("ch440".to_owned())]),
            }),
        };
        let json = serde_json::json!({"ch410": 3, "ch440": "4.5", "ch470": 9});
        let Ok(Value::Series(series)) = value_of(&shape, &json, None) else { panic!() };
        assert!((series.x[1] - 440e-9).abs() < 1e-18);
        assert_eq!(series.y, [3.0, 4.5]);
        let missing = value_of(&shape, &serde_json::json!({"ch410": 3}), None).unwrap_err();
        assert!(missing.contains("ch440"), "{missing}");
        assert!(value_of(&shape, &serde_json::json!({"ch410": 3, "ch440": null}), None).is_err());
    }

    #[test]
    fn axes_of_different_lengths_are_refused() {
        let shape = Shape::Series { x: unit("nm"), y: unit("1"), points: None };
        let json = serde_json::json!({"x": [1, 2], "y": [1]});
        assert!(value_of(&shape, &json, None).unwrap_err().contains("2 abscissas"));
    }

    #[test]
    fn whole_numbers_have_no_decimal_point() {
        assert_eq!(json_of(&plain(0.05 / 0.001)).unwrap().to_string(), "50");
        assert_eq!(json_of(&plain(0.5)).unwrap().to_string(), "0.5");
        assert!(json_of(&plain(f64::INFINITY)).is_err());
    }

    #[test]
    fn lists_of_lists_become_an_array() {
        let axis = |name: &str| Named { name: spanned(name.to_owned()), value: unit("um") };
        let shape = Shape::Array { unit: unit("mV"), axes: vec![axis("y"), axis("x")] };
        let json = serde_json::json!([[1, 2, 3], [4, 5, 6]]);
        let Ok(Value::Array(array)) = value_of(&shape, &json, None) else { panic!() };
        assert_eq!(array.shape(), "2 x 3");
        assert!((array.values().last().unwrap() - 6e-3).abs() < 1e-12);
        assert!((array.parts().axes[1].step - 1e-6).abs() < 1e-18);
        for wrong in ["[[1, 2], [3]]", "[1, 2]", "[]", "[[1], [null]]", "[[[1]], [2]]", "7"] {
            let json = serde_json::from_str(wrong).unwrap();
            assert!(value_of(&shape, &json, None).is_err(), "{wrong}");
        }
    }

    #[test]
    fn bytes_stand_alone_or_as_base64() {
        assert_eq!(bytes_in(&[0, 255], None), Ok(vec![0, 255]));
        assert_eq!(bytes_in(br#"{"a": {"b": "AP8="}}"#, Some("a.b")), Ok(vec![0, 255]));
        for wrong in [r#"{"a": {"b": "AP8"}}"#, r#"{"a": {"b": 3}}"#, "{}", "\u{0}"] {
            assert!(bytes_in(wrong.as_bytes(), Some("a.b")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn paths_go_through_maps_and_lists() {
        let json = serde_json::json!({"a": {"b": [1, 2]}});
        assert_eq!(at(&json, "a.b.1"), Some(&Json::from(2)));
        assert_eq!(at(&json, "a.x"), None);
        assert_eq!(at(&json, "a.b.9"), None);
    }
}
