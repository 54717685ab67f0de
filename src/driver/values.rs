//! Arguments and configuration against their declarations, and raw answers against shapes.

use std::collections::BTreeMap;

use super::json::plain;
use super::pattern::{Found, Raw};
use super::plan::PropertyPlan;
use super::registers::Reading;
use super::scope::Scope;
use super::text::Reply;
use super::types::{About, Flaw};
use crate::expr::{self, Value};
use crate::spec::instrument::StatusClass;
use crate::spec::{Named, Shape, ValueSpec, ValueType, Written};
use crate::units::{Dimension, Quantity, Unit};

/// Relative slack of limits: a value at its limit may have gone through another unit.
const SLACK: f64 = 1e-9;

/// Checks given values against their declarations and fills in defaults. The error lists all that
/// is wrong.
pub(super) fn complete(
    specs: &[ValueSpec],
    given: &BTreeMap<String, Value>,
    what: &str,
) -> Result<BTreeMap<String, Value>, Vec<String>> {
    let mut wrong = Vec::new();
    let mut all = BTreeMap::new();
    for name in given.keys() {
        if !specs.iter().any(|spec| spec.name.value == *name) {
            let known: Vec<&str> = specs.iter().map(|spec| spec.name.value.as_str()).collect();
            wrong.push(format!("{what}: there is no `{name}`; there is {}", list(&known)));
        }
    }
    for spec in specs {
        let name = &spec.name.value;
        match (given.get(name), &spec.default) {
            (Some(value), _) => match check(spec, value) {
                Ok(value) => {
                    all.insert(name.clone(), value);
                }
                Err(why) => wrong.push(format!("{what}: `{name}` {why}")),
            },
            (None, Some(default)) => match expr::eval(&default.expr, &Scope::default()) {
                Ok(value) => {
                    all.insert(name.clone(), value);
                }
                Err(error) => wrong.push(format!("{what}: default of `{name}`: {}", error.message)),
            },
            (None, None) if spec.required => wrong.push(format!("{what}: `{name}` is missing")),
            (None, None) => {}
        }
    }
    if wrong.is_empty() { Ok(all) } else { Err(wrong) }
}

/// Adds what a definition computes from arguments and configuration, beside the arguments.
pub(super) fn compute(scope: &mut Scope, computed: &[(String, expr::Expr)]) -> Result<(), String> {
    for (name, expr) in computed {
        let value = expr::eval(expr, scope).map_err(|e| format!("`{name}`: {}", e.message))?;
        if let Value::Quantity(quantity) = &value
            && !quantity.value.is_finite()
        {
            return Err(format!("`{name}` is not a finite number"));
        }
        scope.args.insert(name.clone(), value);
    }
    Ok(())
}

fn list(names: &[&str]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// A value that fits its declaration, or why it does not.
fn check(spec: &ValueSpec, value: &Value) -> Result<Value, String> {
    match (&spec.kind, value) {
        (_, Value::Missing(reason)) => Err(format!("has no value: {reason}")),
        (ValueType::Quantity { unit }, Value::Quantity(quantity)) => {
            if quantity.dim != unit.value.dim || quantity.point != unit.value.point {
                return Err(format!("must be given in a unit like {}", unit.value.symbol));
            }
            in_limits(spec, *quantity, Some(&unit.value))
        }
        (ValueType::Number | ValueType::Integer, Value::Quantity(quantity)) => {
            if quantity.dim != Dimension::default() {
                return Err("must be a plain number".to_owned());
            }
            let mut quantity = *quantity;
            if spec.kind == ValueType::Integer {
                // A count that was computed may be off by rounding noise, and by no more.
                if (quantity.value - quantity.value.round()).abs() > 1e-9 {
                    return Err(format!("must be a whole number, it is {}", quantity.value));
                }
                quantity.value = quantity.value.round();
            }
            in_limits(spec, quantity, None)
        }
        (ValueType::Choice { options }, Value::Text(text)) => {
            if options.iter().any(|option| option.value == **text) {
                Ok(value.clone())
            } else {
                let options: Vec<&str> = options.iter().map(|o| o.value.as_str()).collect();
                Err(format!("is `{text}`; it may be {}", list(&options)))
            }
        }
        (ValueType::Bool, Value::Bool(_)) | (ValueType::Text, Value::Text(_)) => Ok(value.clone()),
        (ValueType::Quantity { unit }, _) => {
            Err(format!("must be a number in a unit like {}", unit.value.symbol))
        }
        (ValueType::Number, _) => Err("must be a number".to_owned()),
        (ValueType::Integer, _) => Err("must be a whole number".to_owned()),
        (ValueType::Choice { .. } | ValueType::Text, _) => Err("must be a text".to_owned()),
        (ValueType::Bool, _) => Err("must be true or false".to_owned()),
    }
}

fn in_limits(spec: &ValueSpec, quantity: Quantity, unit: Option<&Unit>) -> Result<Value, String> {
    if !quantity.value.is_finite() {
        return Err("is not a finite number".to_owned());
    }
    let shown = |quantity: Quantity| match unit {
        Some(unit) => {
            format!("{} {}", quantity.in_unit(unit).unwrap_or(f64::NAN), unit.symbol)
        }
        None => quantity.value.to_string(),
    };
    let slack = |limit: f64| SLACK * limit.abs();
    if let Some(min) = &spec.min
        && quantity.value < min.value.value - slack(min.value.value)
    {
        return Err(format!("is {}, below its least {}", shown(quantity), shown(min.value)));
    }
    if let Some(max) = &spec.max
        && quantity.value > max.value.value + slack(max.value.value)
    {
        return Err(format!("is {}, above its most {}", shown(quantity), shown(max.value)));
    }
    Ok(Value::Quantity(quantity))
}

/// Values of `config:` or `args:` as written in a file, by their declarations.
pub fn written_values(
    specs: &[ValueSpec],
    written: &[Named<Written>],
) -> Result<BTreeMap<String, Value>, String> {
    let mut values = BTreeMap::new();
    for entry in written {
        let name = &entry.name.value;
        let spec = specs
            .iter()
            .find(|spec| spec.name.value == *name)
            .ok_or_else(|| format!("there is no `{name}`"))?;
        let value =
            written_value(&spec.kind, &entry.value).map_err(|why| format!("`{name}` {why}"))?;
        values.insert(name.clone(), value);
    }
    Ok(values)
}

fn written_value(kind: &ValueType, written: &Written) -> Result<Value, String> {
    let text = match written {
        Written::Expression(e) => {
            return expr::eval(&e.expr, &Scope::default()).map_err(|e| e.message);
        }
        Written::Scalar { text, .. } => text.as_str(),
        Written::List { .. } | Written::Map { .. } => return Err("must be one value".to_owned()),
    };
    match kind {
        ValueType::Quantity { .. } => {
            Quantity::parse(text).map(Value::Quantity).map_err(|e| format!("{text:?}: {e}"))
        }
        ValueType::Number | ValueType::Integer => {
            text.parse().map(plain).map_err(|_| format!("is {text:?}, not a number"))
        }
        ValueType::Bool => match text {
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            other => Err(format!("is {other:?}, neither true nor false")),
        },
        ValueType::Choice { .. } | ValueType::Text => Ok(Value::Text(text.into())),
    }
}

/// The word of a status in properties and conditions.
pub(super) fn status_word(class: StatusClass) -> &'static str {
    match class {
        StatusClass::Busy => "busy",
        StatusClass::Ready => "ready",
        StatusClass::Error => "error",
        StatusClass::Alarm => "alarm",
    }
}

/// The value of a property in a text answer.
pub(super) fn of_reply(
    property: &PropertyPlan,
    reply: &Reply,
    found: Option<Found>,
) -> Result<Value, String> {
    let status = reply.status.map(status_word);
    if !property.status.is_empty() {
        let class = reply.status.ok_or("the answer has no status")?;
        return Ok(Value::Bool(property.status.contains(&class)));
    }
    let found = match found {
        Some(found) => found,
        // Without a pattern the whole answer is the value.
        None => Found { value: Some(Raw::Text(reply.data.clone())), ..Found::default() },
    };
    let raw = match found.value {
        Some(raw) => raw,
        None if found.status => Raw::Text(status.ok_or("the answer has no status")?.to_owned()),
        None => return Err("the pattern has no `{value}`".to_owned()),
    };
    of_raw(property, raw, found.unit.as_deref())
}

fn of_raw(property: &PropertyPlan, raw: Raw, unit: Option<&str>) -> Result<Value, String> {
    let raw = match raw {
        Raw::Text(text) => match property.words.get(&text) {
            Some(word) => Raw::Text(word.clone()),
            None => Raw::Text(text),
        },
        number => number,
    };
    match (&property.shape, raw) {
        (Shape::Quantity(own), Raw::Number(number)) => {
            let given = match unit {
                None => &own.value,
                Some(word) => property
                    .units
                    .get(word)
                    .ok_or_else(|| format!("`{word}` is no unit it is known to use"))?,
            };
            if given.dim != own.value.dim {
                return Err(format!("{} is not a unit of this property", given.symbol));
            }
            limited(property, Quantity::of(number, given))
        }
        (Shape::Number, Raw::Number(number)) => limited(property, plain_quantity(number)),
        (Shape::Integer, Raw::Number(number)) if number.fract() == 0.0 => {
            limited(property, plain_quantity(number))
        }
        (Shape::Bool, Raw::Text(text)) => match text.as_str() {
            "true" | "1" => Ok(Value::Bool(true)),
            "false" | "0" => Ok(Value::Bool(false)),
            other => Err(format!("{other:?} is neither true nor false")),
        },
        (Shape::Bool, Raw::Number(number)) if number == 0.0 || number == 1.0 => {
            Ok(Value::Bool(number == 1.0))
        }
        (Shape::Text, Raw::Text(text)) => Ok(Value::Text(text.as_str().into())),
        (Shape::Text, Raw::Number(number)) => Ok(Value::Text(number.to_string().into())),
        (_, Raw::Text(text)) => Err(format!("{text:?} is not what this property is")),
        (_, Raw::Number(number)) => Err(format!("{number} is not what this property is")),
    }
}

fn plain_quantity(value: f64) -> Quantity {
    Quantity { value, dim: Dimension::default(), point: false }
}

/// What a value without a number lacks one for: written here, and read by [`about`].
const OUTSIDE: &str = "outside of what the sensor can measure";

/// What an answer that could be read says about its value.
pub(super) fn about(value: &Value) -> About {
    match value {
        Value::Missing(why) if **why == *OUTSIDE => About::flaw(Flaw::OutOfRange),
        // It has answered, and that it has nothing.
        Value::Missing(_) => About::flaw(Flaw::SensorError),
        _ => About::default(),
    }
}

/// Outside of its limits a sensor is broken, not the world.
pub(super) fn limited(property: &PropertyPlan, quantity: Quantity) -> Result<Value, String> {
    let low = property.min.is_some_and(|min| quantity.value < min.value);
    let high = property.max.is_some_and(|max| quantity.value > max.value);
    if !quantity.value.is_finite() || low || high {
        return Ok(Value::Missing(OUTSIDE.into()));
    }
    Ok(Value::Quantity(quantity))
}

/// The value of a property in a register, whose number may have a unit of its own.
pub(super) fn of_reading(
    property: &PropertyPlan,
    reading: Reading,
    unit: Option<&Unit>,
) -> Result<Value, String> {
    match (reading, &property.shape) {
        (Reading::Invalid(raw), _) => {
            Ok(Value::Missing(format!("the register holds {raw}, which is no measurement").into()))
        }
        (Reading::Bool(on), Shape::Bool) => Ok(Value::Bool(on)),
        (Reading::Bool(_), _) => Err("a coil is true or false".to_owned()),
        (Reading::Bits(bits), Shape::Bool) => match bits.values().next() {
            Some(bit) if bits.len() == 1 => Ok(Value::Bool(*bit)),
            _ => Err("one bit is true or false, not several".to_owned()),
        },
        (Reading::Bits(bits), Shape::Record(fields)) => {
            let bit = |name: &str| bits.get(name).copied().map(Value::Bool);
            let fields = fields.iter().map(|field| {
                let name = field.name.value.as_str();
                let value = bit(name).ok_or_else(|| format!("there is no bit `{name}`"))?;
                Ok((name.to_owned(), value))
            });
            Ok(Value::Record(fields.collect::<Result<_, String>>()?))
        }
        (Reading::Bits(_), _) => Err("bits are true or false".to_owned()),
        (Reading::Text(text), _) => of_raw(property, Raw::Text(text), None),
        (Reading::Number(number), Shape::Text) => {
            let text = number.to_string();
            Ok(Value::Text(property.words.get(&text).unwrap_or(&text).as_str().into()))
        }
        (Reading::Number(number), Shape::Quantity(own)) => {
            limited(property, Quantity::of(number, unit.unwrap_or(&own.value)))
        }
        (Reading::Number(number), _) => of_raw(property, Raw::Number(number), None),
    }
}

/// What a register held, as the answer of an action in the unit `wanted`.
pub(super) fn raw_of(
    reading: Reading,
    unit: Option<&Unit>,
    wanted: Option<&Unit>,
) -> Result<Raw, String> {
    match reading {
        Reading::Number(number) => match (unit, wanted) {
            (Some(unit), Some(wanted)) => Quantity::of(number, unit)
                .in_unit(wanted)
                .map(Raw::Number)
                .ok_or_else(|| format!("{} is not a unit like {}", unit.symbol, wanted.symbol)),
            _ => Ok(Raw::Number(number)),
        },
        Reading::Bool(on) => Ok(Raw::Number(f64::from(u8::from(on)))),
        Reading::Text(text) => Ok(Raw::Text(text)),
        Reading::Bits(bits) => match bits.values().next() {
            Some(bit) if bits.len() == 1 => Ok(Raw::Number(f64::from(u8::from(*bit)))),
            _ => Err("one bit is an answer, several are not".to_owned()),
        },
        Reading::Invalid(raw) => Err(format!("{raw} is no measurement")),
    }
}

/// The value an action returns from a text or Modbus answer.
pub(super) fn returned(shape: Option<&Shape>, raw: Raw) -> Result<Option<Value>, String> {
    match (shape, raw) {
        (None, _) => Ok(None),
        (Some(Shape::Quantity(unit)), Raw::Number(number)) => {
            Ok(Some(Value::Quantity(Quantity::of(number, &unit.value))))
        }
        (Some(Shape::Number | Shape::Integer), Raw::Number(number)) => Ok(Some(plain(number))),
        (Some(Shape::Bool), Raw::Number(number)) => Ok(Some(Value::Bool(number != 0.0))),
        (Some(Shape::Text), Raw::Text(text)) => Ok(Some(Value::Text(text.as_str().into()))),
        (Some(Shape::Text), Raw::Number(number)) => {
            Ok(Some(Value::Text(number.to_string().into())))
        }
        (Some(_), Raw::Text(text)) => Err(format!("{text:?} is not what the action returns")),
        (Some(_), Raw::Number(number)) => Err(format!("{number} is not what the action returns")),
    }
}
