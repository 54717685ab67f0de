//! Values as an instrument at a broker says them.

use serde_json::Value as Json;

use super::payload::put;
use super::value;
use crate::driver::json::{self, plain};
use crate::driver::pattern::Raw;
use crate::driver::plan::PropertyPlan;
use crate::expr::Value;
use crate::spec::Shape;

/// A property in a message; `null` where its sensor is broken.
pub(super) fn property(property: &PropertyPlan, value: &Value, broken: bool) -> Option<Json> {
    if broken {
        return Some(Json::Null);
    }
    if let (Value::Bool(on), true) = (value, property.words.is_empty()) {
        return Some(Json::Bool(*on));
    }
    match value::said(property, value).ok()?.0 {
        Raw::Text(text) => Some(Json::from(text)),
        Raw::Number(number) => json::json_of(&plain(rounded(number))).ok(),
    }
}

/// A property as a message of its own.
pub(super) fn alone(json: &Json) -> Vec<u8> {
    match json {
        // Firmware that prints a number prints this for none.
        Json::Null => b"nan".to_vec(),
        Json::String(text) => text.clone().into_bytes(),
        other => other.to_string().into_bytes(),
    }
}

/// Puts what an action returns into its answer.
pub(super) fn returned(
    shape: &Shape,
    value: &Value,
    path: Option<&str>,
    json: &mut Json,
) -> Result<(), String> {
    let wrong = || format!("{} is not what it returns", value.show());
    match (shape, value) {
        (Shape::Record(fields), Value::Record(values)) => {
            for field in fields {
                let Some(value) = values.get(&field.name.value) else { continue };
                let own = field.json.as_ref().map_or(&field.name.value, |json| &json.value);
                let whole = path.map_or_else(|| own.clone(), |path| format!("{path}.{own}"));
                returned(&field.shape, value, Some(&whole), json)?;
            }
            Ok(())
        }
        (Shape::Quantity(unit), Value::Quantity(quantity)) => {
            let number = quantity.in_unit(&unit.value).ok_or_else(wrong)?;
            place(path, json, json::json_of(&plain(rounded(number)))?);
            Ok(())
        }
        (Shape::Number | Shape::Integer | Shape::Bool | Shape::Text, value) => {
            place(path, json, json::json_of(value)?);
            Ok(())
        }
        _ => Err(wrong()),
    }
}

fn place(path: Option<&str>, json: &mut Json, value: Json) {
    match path {
        Some(path) => put(json, path, value),
        None => *json = value,
    }
}

/// No instrument says more than nine digits.
fn rounded(number: f64) -> f64 {
    format!("{number:.8e}").parse().unwrap_or(number)
}
