//! What a program that analyses is told and what it answers: JSON, with the large arrays in files.
//!
//! Pure: it writes no file and starts nothing; the engine's shell does.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};

use super::Inputs;
use crate::expr::{Array, Series, Type, Value};
use crate::units::{Dimension, Quantity, Unit};

/// Arrays with more values than this go by file.
pub const INLINE_MAX: usize = 100;
/// Most points of all curves together that a program may give.
const POINTS_MAX: usize = 1 << 17;
/// Longest text a program may give.
const TEXT_MAX: usize = 4_000;

/// What one result of a program is, with units as their symbols.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Returned {
    /// A number in this unit.
    Unit(String),
    /// A number without a unit.
    Number,
    /// A whole number.
    Integer,
    /// True or false.
    Bool,
    /// A text.
    Text,
    /// A curve.
    Series {
        /// Unit of the abscissa.
        x: String,
        /// Unit of the ordinate.
        y: String,
    },
}

/// What a program is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// For its standard input.
    pub json: String,
    /// Files for its folder: name and text.
    pub files: Vec<(String, String)>,
}

impl Returned {
    /// Its type in expressions; `None` if its unit is not known.
    pub fn expr_type(&self) -> Option<Type> {
        Some(match self {
            Returned::Unit(unit) => {
                let unit = Unit::parse(unit).ok()?;
                Type::Quantity { dim: unit.dim, point: unit.point }
            }
            Returned::Number | Returned::Integer => {
                Type::Quantity { dim: Dimension::NONE, point: false }
            }
            Returned::Bool => Type::Bool,
            Returned::Text => Type::Text,
            Returned::Series { x, y } => {
                Type::Series { x: Unit::parse(x).ok()?.dim, y: Unit::parse(y).ok()?.dim }
            }
        })
    }
}

/// The inputs as a program reads them: numbers in coherent SI units, each unit named.
pub fn question(inputs: &Inputs) -> Question {
    let mut files = Vec::new();
    let fields: Map<String, Json> =
        inputs.iter().map(|(name, value)| (name.clone(), told(value, name, &mut files))).collect();
    Question { json: json!({ "inputs": fields }).to_string(), files }
}

fn unit_of(dim: Dimension) -> String {
    if dim.is_none() { "1".to_owned() } else { dim.si() }
}

fn told(value: &Value, name: &str, files: &mut Vec<(String, String)>) -> Json {
    match value {
        Value::Missing(why) => json!({ "missing": &**why }),
        Value::Bool(value) => json!({ "value": value }),
        Value::Text(text) => json!({ "value": &**text }),
        Value::Quantity(q) => json!({ "value": q.value, "unit": unit_of(q.dim) }),
        Value::Series(series) => told_curve(series, name, files),
        Value::Array(array) => told_array(array, name, files),
        Value::Filed(filed) => {
            json!({ "missing": format!("{} was left in its file", filed.show()) })
        }
        Value::Record(fields) => {
            let fields: Map<String, Json> = fields
                .iter()
                .map(|(field, v)| (field.clone(), told(v, &format!("{name}.{field}"), files)))
                .collect();
            json!({ "fields": fields })
        }
        Value::List(items) => told_list(items, name, files),
    }
}

fn told_curve(series: &Series, name: &str, files: &mut Vec<(String, String)>) -> Json {
    let (x_unit, y_unit) = (unit_of(series.x_dim), unit_of(series.y_dim));
    if series.x.len() <= INLINE_MAX {
        return json!({ "x": series.x, "y": series.y, "x_unit": x_unit, "y_unit": y_unit });
    }
    let mut text = "x,y\n".to_owned();
    for (x, y) in series.x.iter().zip(&series.y) {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{x:e},{y:e}");
    }
    let file = file_of(name, text, files);
    json!({ "file": file, "points": series.x.len(), "x_unit": x_unit, "y_unit": y_unit })
}

/// An array: its axes, and its values row by row.
fn told_array(array: &Array, name: &str, files: &mut Vec<(String, String)>) -> Json {
    let axes: Vec<Json> = array
        .parts()
        .axes
        .iter()
        .map(|axis| {
            json!({
                "name": axis.name, "length": axis.length, "start": axis.start,
                "step": axis.step, "unit": unit_of(axis.dim),
            })
        })
        .collect();
    let unit = unit_of(array.dim());
    if array.len() <= INLINE_MAX {
        return json!({ "axes": axes, "values": array.values().collect::<Vec<f64>>(), "unit": unit });
    }
    let columns = array.parts().axes.last().map_or(1, |axis| axis.length).max(1);
    let mut text = String::new();
    for (at, value) in array.values().enumerate() {
        let end = if (at + 1) % columns == 0 { '\n' } else { ',' };
        let _ = write!(text, "{value:e}{end}");
    }
    json!({ "axes": axes, "file": file_of(name, text, files), "unit": unit })
}

fn told_list(items: &[Value], name: &str, files: &mut Vec<(String, String)>) -> Json {
    let numbers: Option<Vec<&Quantity>> = items.iter().map(Value::as_quantity).collect();
    if let (Some(numbers), Some(Value::Quantity(first))) = (numbers, items.first())
        && numbers.iter().all(|q| q.dim == first.dim)
    {
        let values: Vec<f64> = numbers.iter().map(|q| q.value).collect();
        let unit = unit_of(first.dim);
        if values.len() <= INLINE_MAX {
            return json!({ "values": values, "unit": unit });
        }
        let mut text = "value\n".to_owned();
        for value in &values {
            let _ = writeln!(text, "{value:e}");
        }
        let file = file_of(name, text, files);
        return json!({ "file": file, "points": values.len(), "unit": unit });
    }
    let items: Vec<Json> = items
        .iter()
        .enumerate()
        .map(|(index, item)| told(item, &format!("{name}.{index}"), files))
        .collect();
    json!({ "items": items })
}

/// Notes a file and gives its name. Names of inputs are identifiers, so this one is safe.
fn file_of(name: &str, text: String, files: &mut Vec<(String, String)>) -> String {
    let file = format!("inputs/{name}.csv");
    files.push((file.clone(), text));
    file
}

/// The answer of a program as a record of what it should give, with `quality` and `reason`.
///
/// Errors: what is not JSON, an `error` it reports, results that are missing, too many, of another
/// kind or unit, or not finite.
pub fn answer(text: &str, returns: &BTreeMap<String, Returned>) -> Result<Value, String> {
    let Some(json) = parse(text)? else {
        return Err("it printed nothing; it must print {\"results\": {...}}".to_owned());
    };
    let Json::Object(mut fields) = json else {
        return Err("it printed no JSON object; it must print {\"results\": {...}}".to_owned());
    };
    if let Some(error) = fields.remove("error") {
        return Err(match error {
            Json::String(text) => bounded(&text),
            other => bounded(&other.to_string()),
        });
    }
    let Some(Json::Object(mut results)) = fields.remove("results") else {
        return Err("what it printed has no object `results`".to_owned());
    };
    let mut found = BTreeMap::new();
    for (name, is) in returns {
        let value = results.remove(name).ok_or_else(|| format!("it gave no `{name}`"))?;
        let value = returned(value, is).map_err(|why| format!("its `{name}` {why}"))?;
        found.insert(name.clone(), value);
    }
    let points: usize = found.values().filter_map(Value::as_series).map(|s| s.x.len()).sum();
    if points > POINTS_MAX {
        return Err(format!("its curves have more than {POINTS_MAX} points"));
    }
    if let Some((name, _)) = results.iter().next() {
        return Err(format!("it gave `{}`, which `returns` does not name", bounded(name)));
    }
    let reason = match fields.remove("reason") {
        None => String::new(),
        Some(Json::String(text)) => bounded(&text),
        Some(_) => return Err("its `reason` is not a text".to_owned()),
    };
    let quality = match fields.remove("quality") {
        None => "good".to_owned(),
        Some(Json::String(word)) if word == "good" || word == "uncertain" => word,
        Some(other) => {
            return Err(format!(
                "its `quality` is {}; write good or uncertain",
                bounded(&other.to_string())
            ));
        }
    };
    if let Some((name, _)) = fields.iter().next() {
        return Err(format!(
            "it printed `{}`, which is none of results, error, quality and reason",
            bounded(name)
        ));
    }
    found.insert("quality".to_owned(), Value::text(&quality));
    found.insert("reason".to_owned(), Value::text(&reason));
    Ok(Value::Record(found))
}

fn parse(text: &str) -> Result<Option<Json>, String> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    serde_json::from_str(text).map(Some).map_err(|error| {
        let begin: String = text.trim().chars().take(60).collect();
        let not_finite = ["NaN", "Infinity", "nan", "inf"].iter().any(|w| text.contains(w));
        match not_finite && begin.starts_with('{') {
            true => "it printed NaN or Infinity, which is no result".to_owned(),
            false => format!("it printed what is not JSON ({error}): {begin:?}"),
        }
    })
}

fn bounded(text: &str) -> String {
    text.chars().take(TEXT_MAX).collect()
}

fn returned(value: Json, is: &Returned) -> Result<Value, String> {
    match (is, value) {
        (Returned::Unit(unit), value) => {
            let declared = unit_named(unit)?;
            let (number, unit) = number_and_unit(value)?;
            let given = match &unit {
                Some(name) => unit_named(name)?,
                None => declared.clone(),
            };
            if given.dim != declared.dim {
                let name = unit.unwrap_or_default();
                return Err(format!("is in `{name}`, not in a unit like `{}`", declared.symbol));
            }
            if given.point != declared.point {
                return Err(
                    "is a temperature where a difference is declared, or the reverse".into()
                );
            }
            Ok(Value::Quantity(finite(Quantity::of(number, &given))?))
        }
        (Returned::Number | Returned::Integer, value) => {
            let (number, unit) = number_and_unit(value)?;
            let unit = unit.as_deref().map_or_else(|| Ok(Unit::one()), unit_named)?;
            if !unit.dim.is_none() {
                return Err(format!("is in `{}`, and should have no unit", unit.symbol));
            }
            let q = finite(Quantity::of(number, &unit))?;
            if *is == Returned::Integer && q.value.fract() != 0.0 {
                return Err(format!("is {}, not a whole number", q.value));
            }
            Ok(Value::Quantity(q))
        }
        (Returned::Bool, Json::Bool(value)) => Ok(Value::Bool(value)),
        (Returned::Text, Json::String(text)) => Ok(Value::text(&bounded(&text))),
        (Returned::Bool | Returned::Text, Json::Object(mut fields)) if fields.len() == 1 => {
            match fields.remove("value") {
                Some(inner) if !inner.is_object() => returned(inner, is),
                _ => Err("has no `value`".to_owned()),
            }
        }
        (Returned::Bool, other) => Err(format!("is {}, not true or false", kind(&other))),
        (Returned::Text, other) => Err(format!("is {}, not a text", kind(&other))),
        (Returned::Series { x, y }, Json::Object(fields)) => curve(fields, x, y),
        (Returned::Series { .. }, other) => {
            Err(format!("is {}, not a curve {{\"x\": [..], \"y\": [..]}}", kind(&other)))
        }
    }
}

fn curve(mut fields: Map<String, Json>, x: &str, y: &str) -> Result<Value, String> {
    let mut axis = |name: &str, declared: &str| -> Result<(Vec<f64>, Dimension), String> {
        let declared = unit_named(declared)?;
        let unit = match fields.remove(&format!("{name}_unit")) {
            None => declared.clone(),
            Some(Json::String(unit)) => unit_named(&unit)?,
            Some(_) => return Err(format!("has a `{name}_unit` that is no text")),
        };
        if unit.dim != declared.dim {
            return Err(format!("has `{name}` in `{}`, not in `{}`", unit.symbol, declared.symbol));
        }
        let Some(Json::Array(items)) = fields.remove(name) else {
            return Err(format!("has no array `{name}`"));
        };
        if items.len() > POINTS_MAX {
            return Err(format!("has more than {POINTS_MAX} points"));
        }
        let values = items
            .into_iter()
            .map(|item| {
                let number = item
                    .as_f64()
                    .ok_or_else(|| format!("holds {} in `{name}`, not a number", kind(&item)))?;
                Ok(finite(Quantity::of(number, &unit))?.value)
            })
            .collect::<Result<Vec<f64>, String>>()?;
        Ok((values, unit.dim))
    };
    let ((x, x_dim), (y, y_dim)) = (axis("x", x)?, axis("y", y)?);
    if let Some((name, _)) = fields.iter().next() {
        return Err(format!("has a field `{}` that a curve does not have", bounded(name)));
    }
    if x.len() != y.len() || x.is_empty() {
        return Err(format!("has {} places and {} values", x.len(), y.len()));
    }
    if x.windows(2).any(|w| w.first() >= w.last()) {
        return Err("has places that do not rise".to_owned());
    }
    Ok(Value::Series(Arc::new(Series { x, x_dim, y, y_dim })))
}

/// A plain number, or `{"value": number, "unit": text}`.
fn number_and_unit(value: Json) -> Result<(f64, Option<String>), String> {
    match value {
        Json::Number(number) => {
            number.as_f64().map(|n| (n, None)).ok_or_else(|| "is no number".to_owned())
        }
        Json::Object(mut fields) => {
            let number = match fields.remove("value") {
                Some(Json::Number(number)) => number.as_f64(),
                Some(other) => return Err(format!("is {}, not a number", kind(&other))),
                None => return Err("has no `value`".to_owned()),
            };
            let unit = match fields.remove("unit") {
                None => None,
                Some(Json::String(unit)) => Some(unit),
                Some(other) => return Err(format!("has {} as its `unit`", kind(&other))),
            };
            match (number, fields.iter().next()) {
                (Some(number), None) => Ok((number, unit)),
                (_, Some((name, _))) => {
                    Err(format!("has a field `{}` besides value and unit", bounded(name)))
                }
                (None, None) => Err("is no number".to_owned()),
            }
        }
        other => Err(format!("is {}, not a number", kind(&other))),
    }
}

fn unit_named(name: &str) -> Result<Unit, String> {
    if matches!(name, "" | "1") {
        return Ok(Unit::one());
    }
    Unit::parse(name).map_err(|error| format!("has the unit `{}`: {error}", bounded(name)))
}

fn finite(q: Quantity) -> Result<Quantity, String> {
    if q.value.is_finite() { Ok(q) } else { Err("is too large for a number".to_owned()) }
}

fn kind(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "true or false",
        Json::Number(_) => "a number",
        Json::String(_) => "a text",
        Json::Array(_) => "a list",
        Json::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn returns() -> BTreeMap<String, Returned> {
        let list = [
            ("yield", Returned::Unit("%".to_owned())),
            ("n", Returned::Integer),
            ("note", Returned::Text),
        ];
        list.into_iter().map(|(name, is)| (name.to_owned(), is)).collect()
    }

    #[test]
    fn numbers_come_plain_or_with_a_unit_of_the_same_dimension() {
        for (text, known) in [
            (r#"{"results": {"yield": 71.3, "n": 3, "note": "ok"}}"#, 0.713),
            (r#"{"results": {"yield": {"value": 0.5, "unit": "1"}, "n": 3, "note": "ok"}}"#, 0.5),
        ] {
            let Value::Record(fields) = answer(text, &returns()).unwrap() else { panic!() };
            assert!((fields["yield"].as_quantity().unwrap().value - known).abs() < 1e-12);
            assert_eq!(fields["quality"], Value::text("good"));
        }
        let text = r#"{"results": {"yield": 1, "n": 3, "note": ""}, "quality": "uncertain",
            "reason": "two peaks overlap"}"#;
        let Value::Record(fields) = answer(text, &returns()).unwrap() else { panic!() };
        assert_eq!(fields["reason"], Value::text("two peaks overlap"));
    }

    #[test]
    fn what_is_no_answer_is_refused_and_says_why() {
        for (text, why) in [
            ("", "printed nothing"),
            ("hello", "not JSON"),
            ("[1]", "no JSON object"),
            ("{}", "no object `results`"),
            (r#"{"error": "no peak"}"#, "no peak"),
            (r#"{"results": {"n": 1, "note": ""}}"#, "gave no `yield`"),
            (r#"{"results": {"yield": NaN, "n": 1, "note": ""}}"#, "NaN or Infinity"),
            (r#"{"results": {"yield": null, "n": 1, "note": ""}}"#, "is null, not a number"),
            (r#"{"results": {"yield": 1e999, "n": 1, "note": ""}}"#, "not JSON"),
            (r#"{"results": {"yield": {"value": 1, "unit": "mL"}, "n": 1, "note": ""}}"#, "`mL`"),
            (r#"{"results": {"yield": {"value": 1, "unit": "xx"}, "n": 1, "note": ""}}"#, "`xx`"),
            (r#"{"results": {"yield": 1, "n": 1.5, "note": ""}}"#, "not a whole number"),
            (r#"{"results": {"yield": 1, "n": 1, "note": 5}}"#, "not a text"),
            (r#"{"results": {"yield": 1, "n": 1, "note": "", "more": 1}}"#, "does not name"),
            (r#"{"results": {"yield": 1, "n": 1, "note": ""}, "quality": "fine"}"#, "good or"),
            (r#"{"results": {"yield": 1, "n": 1, "note": ""}, "result": 1}"#, "none of results"),
        ] {
            let error = answer(text, &returns()).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn long_arrays_go_by_file_and_every_number_has_its_unit() {
        let long = Series {
            x: (0..200).map(f64::from).collect(),
            x_dim: Dimension::LENGTH,
            y: vec![0.25; 200],
            y_dim: Dimension::NONE,
        };
        let inputs: Inputs = [
            ("path".to_owned(), Value::Quantity(Quantity::new(0.01, Dimension::LENGTH))),
            ("spectra".to_owned(), Value::List(vec![Value::Series(Arc::new(long))])),
        ]
        .into();
        let told = question(&inputs);
        let json: Json = serde_json::from_str(&told.json).unwrap();
        assert_eq!(json["inputs"]["path"], json!({ "value": 0.01, "unit": "m" }));
        let spectrum = &json["inputs"]["spectra"]["items"][0];
        assert_eq!(spectrum["file"], "inputs/spectra.0.csv");
        assert_eq!((&spectrum["x_unit"], &spectrum["y_unit"]), (&json!("m"), &json!("1")));
        let (name, text) = &told.files[0];
        assert_eq!(name, "inputs/spectra.0.csv");
        assert!(text.starts_with("x,y\n0e0,2.5e-1\n1e0,2.5e-1\n"), "{text}");
    }
}
