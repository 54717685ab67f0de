//! Values as a device would say them.

use crate::driver::pattern::Raw;
use crate::driver::plan::{AskPlan, Plan, PropertyPlan};
use crate::driver::registers::Reading;
use crate::expr::Value;
use crate::spec::Shape;
use crate::units::{Dimension, Quantity, Unit};

use super::state::State;

/// Gives properties without a first value one: zero, false or the first word.
pub(super) fn defaults(plan: &Plan, state: &mut State) {
    for (name, property) in &plan.properties {
        if property.computed.is_some() || !property.status.is_empty() {
            continue;
        }
        if state.values.contains_key(name) {
            continue;
        }
        let first = match &property.shape {
            Shape::Quantity(unit) => Value::Quantity(Quantity::of(0.0, &unit.value)),
            Shape::Number | Shape::Integer => {
                Value::Quantity(Quantity { value: 0.0, dim: Dimension::default(), point: false })
            }
            Shape::Bool => Value::Bool(false),
            Shape::Text => {
                let word = property.words.values().next().map_or("", String::as_str);
                Value::Text(word.into())
            }
            Shape::Record(fields) if matches!(property.ask, Some(AskPlan::Register(_))) => {
                let bit =
                    |field: &crate::spec::Field| (field.name.value.clone(), Value::Bool(false));
                Value::Record(fields.iter().map(bit).collect())
            }
            Shape::Series { .. } | Shape::Array { .. } | Shape::Record(_) => continue,
        };
        state.values.insert(name.clone(), first);
    }
}

/// Whether one value may stand where the other did.
pub(super) fn alike(before: &Value, value: &Value) -> bool {
    match (before, value) {
        (Value::Quantity(before), Value::Quantity(value)) => {
            before.dim == value.dim && before.point == value.point
        }
        (Value::Bool(_), Value::Bool(_)) | (Value::Text(_), Value::Text(_)) => true,
        _ => false,
    }
}

/// What stands for a value in an answer, and the word of its unit.
pub(super) fn said(
    property: &PropertyPlan,
    value: &Value,
) -> Result<(Raw, Option<String>), String> {
    match (value, &property.shape) {
        (Value::Quantity(quantity), Shape::Quantity(own)) => {
            let own = &own.value;
            let in_own = |unit: &Unit| {
                quantity
                    .in_unit(unit)
                    .ok_or_else(|| format!("{} cannot be said in {}", value.show(), unit.symbol))
            };
            // Of the units it may answer in, its own, else the first.
            let units = &property.units;
            let same = units.iter().find(|(_, unit)| unit.symbol == own.symbol);
            match same.or_else(|| units.iter().next()) {
                Some((word, unit)) => Ok((Raw::Number(in_own(unit)?), Some(word.clone()))),
                None => Ok((Raw::Number(in_own(own)?), None)),
            }
        }
        (Value::Quantity(quantity), _) => {
            // A word may stand for a number.
            let text = quantity.value.to_string();
            let word = property.words.iter().find(|(_, means)| **means == text);
            Ok(match word {
                Some((word, _)) => (Raw::Text(word.clone()), None),
                None => (Raw::Number(quantity.value), None),
            })
        }
        (Value::Bool(on), _) => {
            let means: &[&str] = if *on { &["true", "1"] } else { &["false", "0"] };
            let word = property.words.iter().find(|(_, its)| means.contains(&its.as_str()));
            Ok(match word {
                Some((word, _)) => (raw(word), None),
                None => (Raw::Number(f64::from(u8::from(*on))), None),
            })
        }
        (Value::Text(text), _) => {
            let word = property.words.iter().find(|(_, means)| means.as_str() == &**text);
            Ok((raw(word.map_or(text, |(word, _)| word)), None))
        }
        (other, _) => Err(format!("{} is nothing an answer can hold", other.show())),
    }
}

/// What a register holds for a value; `unit` is that of the register.
pub(super) fn held(property: &PropertyPlan, value: &Value, unit: Option<&Unit>) -> Option<Reading> {
    Some(match (value, &property.shape) {
        (Value::Quantity(quantity), Shape::Quantity(own)) => {
            Reading::Number(quantity.in_unit(unit.unwrap_or(&own.value))?)
        }
        (Value::Quantity(quantity), _) => Reading::Number(quantity.value),
        (Value::Bool(on), _) => Reading::Bool(*on),
        (Value::Record(fields), _) => {
            let bit = |(name, value): (&String, &Value)| Some((name.clone(), value.as_bool()?));
            Reading::Bits(fields.iter().filter_map(bit).collect())
        }
        (Value::Text(text), _) => {
            let word = property.words.iter().find(|(_, means)| means.as_str() == &**text);
            match word.and_then(|(word, _)| word.parse().ok()) {
                Some(number) => Reading::Number(number),
                None => Reading::Text(text.as_ref().to_owned()),
            }
        }
        _ => return None,
    })
}

/// A word of the definition: a number where it is one.
fn raw(word: &str) -> Raw {
    Raw::Text(word.to_owned())
}
