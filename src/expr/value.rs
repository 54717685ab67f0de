//! Values of the expression language, as they stand in the graph, the journal and results.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Type;
use super::array::Array;
use super::filed::Filed;
use crate::units::{Dimension, Quantity};

/// A value at run time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// Not known, with the reason; every operation on it gives it back.
    Missing(Arc<str>),
    /// True or false.
    Bool(bool),
    /// A number with its dimension, in coherent SI units.
    Quantity(Quantity),
    /// Text.
    Text(Arc<str>),
    /// Values in order.
    List(Vec<Value>),
    /// Named values.
    Record(BTreeMap<String, Value>),
    /// A sampled curve, such as a spectrum.
    Series(Arc<Series>),
    /// Numbers on a regular grid, such as an image.
    Array(Arc<Array>),
    /// A large value that was left in its file; only where the record is read for people.
    Filed(Arc<Filed>),
}

/// A sampled curve: `y` over `x`, both in coherent SI units; equal lengths.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Series {
    /// Abscissa, e.g. wavelengths in m.
    pub x: Vec<f64>,
    /// Dimension of `x`.
    pub x_dim: Dimension,
    /// Ordinate.
    pub y: Vec<f64>,
    /// Dimension of `y`.
    pub y_dim: Dimension,
}

impl Value {
    /// A number without a unit.
    pub const fn number(value: f64) -> Value {
        Value::Quantity(Quantity::number(value))
    }

    /// A text.
    pub fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    /// Not known, with the reason.
    pub fn missing(why: impl AsRef<str>) -> Value {
        Value::Missing(why.as_ref().into())
    }

    /// The quantity, if it is one.
    pub fn as_quantity(&self) -> Option<&Quantity> {
        match self {
            Value::Quantity(quantity) => Some(quantity),
            _ => None,
        }
    }

    /// The truth value, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The items, if it is a list.
    pub fn as_list(&self) -> Option<&[Value]> {
        match self {
            Value::List(items) => Some(items),
            _ => None,
        }
    }

    /// The curve, if it is one.
    pub fn as_series(&self) -> Option<&Series> {
        match self {
            Value::Series(series) => Some(series),
            _ => None,
        }
    }

    /// The array, if it is one.
    pub fn as_array(&self) -> Option<&Array> {
        match self {
            Value::Array(array) => Some(array),
            _ => None,
        }
    }

    /// Its type; a list has the type of its first item.
    pub fn type_of(&self) -> Type {
        match self {
            Value::Missing(_) => Type::Unknown,
            Value::Bool(_) => Type::Bool,
            Value::Quantity(q) => Type::Quantity { dim: q.dim, point: q.point },
            Value::Text(_) => Type::Text,
            Value::List(items) => {
                Type::List(Box::new(items.first().map_or(Type::Unknown, Value::type_of)))
            }
            Value::Record(fields) => Type::Record(
                fields.iter().map(|(name, value)| (name.clone(), value.type_of())).collect(),
            ),
            Value::Series(series) => Type::Series { x: series.x_dim, y: series.y_dim },
            Value::Array(array) => Type::Array { dim: array.dim() },
            Value::Filed(_) => Type::Unknown,
        }
    }

    /// As it stands in a text.
    pub fn show(&self) -> String {
        match self {
            Value::Missing(why) => format!("(unknown: {why})"),
            Value::Bool(value) => value.to_string(),
            Value::Quantity(quantity) => quantity.to_string(),
            Value::Text(text) => text.to_string(),
            Value::List(items) => {
                let items: Vec<String> = items.iter().map(Value::show).collect();
                format!("[{}]", items.join(", "))
            }
            Value::Record(fields) => {
                let fields: Vec<String> = fields
                    .iter()
                    .map(|(name, value)| format!("{name}: {}", value.show()))
                    .collect();
                format!("{{{}}}", fields.join(", "))
            }
            Value::Series(series) => format!("a curve of {} points", series.y.len()),
            Value::Array(array) => format!("an array of {} numbers", array.shape()),
            Value::Filed(filed) => filed.show(),
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Value {
        Value::Bool(value)
    }
}

impl From<Quantity> for Value {
    fn from(value: Quantity) -> Value {
        Value::Quantity(value)
    }
}
