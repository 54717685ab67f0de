//! Which numbers the readings of a property hold.

use crate::expr::Value;
use crate::spec::Shape;
use crate::units::Unit;

/// A number that readings of a property hold; a switch is 0 or 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Gauge {
    /// Field of a record; `None` for the property's own value.
    pub field: Option<String>,
    /// Unit in which the instrument speaks; [`Unit::one`] for plain numbers and switches.
    pub unit: Unit,
}

impl Gauge {
    /// Those of a property of this shape. Texts, curves and images have none.
    pub fn of(shape: &Shape) -> Vec<Gauge> {
        let own = |shape: &Shape, field: Option<String>| match shape {
            Shape::Quantity(unit) => Some(Gauge { field, unit: unit.value.clone() }),
            Shape::Number | Shape::Integer | Shape::Bool => {
                Some(Gauge { field, unit: Unit::one() })
            }
            Shape::Text | Shape::Record(_) | Shape::Series { .. } | Shape::Array { .. } => None,
        };
        match shape {
            Shape::Record(fields) => fields
                .iter()
                .filter_map(|field| own(&field.shape, Some(field.name.value.clone())))
                .collect(),
            shape => own(shape, None).into_iter().collect(),
        }
    }

    /// That of a value of which nothing was declared; `None` where it is no number or not there.
    pub(super) fn of_value(value: &Value) -> Option<Gauge> {
        let unit = match value {
            Value::Bool(_) => Unit::one(),
            Value::Quantity(quantity) => Unit { dim: quantity.dim, ..Unit::one() },
            Value::Missing(_)
            | Value::Text(_)
            | Value::List(_)
            | Value::Record(_)
            | Value::Series(_)
            | Value::Array(_)
            | Value::Filed(_) => return None,
        };
        Some(Gauge { field: None, unit })
    }

    /// The number that a reading holds, in SI, or why it holds none.
    pub(super) fn number<'v>(&self, reading: &'v Value) -> Result<f64, &'v str> {
        let value = match (&self.field, reading) {
            (Some(field), Value::Record(fields)) => {
                fields.get(field).ok_or("the answer does not hold it")?
            }
            (_, reading) => reading,
        };
        match value {
            Value::Quantity(quantity) if quantity.dim == self.unit.dim => Ok(quantity.value),
            Value::Bool(on) => Ok(f64::from(u8::from(*on))),
            Value::Missing(why) => Err(why),
            Value::Quantity(_)
            | Value::Text(_)
            | Value::List(_)
            | Value::Record(_)
            | Value::Series(_)
            | Value::Array(_)
            | Value::Filed(_) => Err("it is not the number that its definition says"),
        }
    }
}
