//! A number with its dimension.

use std::fmt;

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Dimension, Unit, UnitError};

/// A number in coherent SI units with its dimension.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantity {
    /// Value in coherent SI units (m, kg, s, A, K, mol, cd).
    pub value: f64,
    /// Dimension.
    pub dim: Dimension,
    /// A temperature on a scale (25 degC), as opposed to a difference (5 K).
    pub point: bool,
}

impl Quantity {
    /// A number without a unit.
    pub const fn number(value: f64) -> Quantity {
        Quantity { value, dim: Dimension::NONE, point: false }
    }

    /// A value in coherent SI units.
    pub const fn new(value: f64, dim: Dimension) -> Quantity {
        Quantity { value, dim, point: false }
    }

    /// A value in a unit.
    pub fn of(value: f64, unit: &Unit) -> Quantity {
        Quantity { value: value * unit.factor + unit.offset, dim: unit.dim, point: unit.point }
    }

    /// Reads `2.5 mL/min`, `25 degC`, `20 %`, `1 h 30 min` or a plain number.
    ///
    /// Errors: no number, an unknown unit, parts of a sum that differ in dimension, a value that
    /// is not finite.
    pub fn parse(text: &str) -> Result<Quantity, UnitError> {
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(UnitError::new("a number and a unit are missing").with("2.5 mL/min"));
        }
        let mut sum: Option<Quantity> = None;
        while !rest.is_empty() {
            let end = number_end(rest);
            let (number, tail) = rest.split_at(end);
            let number: f64 = number.parse().map_err(|_| {
                UnitError::new(format!("`{text}` does not begin with a number")).with("2.5 mL/min")
            })?;
            let tail = tail.trim_start();
            // Only times are written in parts, `1 h 30 min`.
            let end = tail
                .char_indices()
                .find(|(i, c)| {
                    c.is_ascii_digit()
                        && tail.get(..*i).is_some_and(|b| b.ends_with(char::is_whitespace))
                })
                .map_or(tail.len(), |(i, _)| i);
            let (unit, next) = tail.split_at(end);
            let part = if unit.trim().is_empty() {
                Quantity::number(number)
            } else {
                Quantity::of(number, &Unit::parse(unit)?)
            };
            if !part.value.is_finite() {
                return Err(UnitError::new(format!("`{text}` is too large to compute with")));
            }
            sum = Some(match sum {
                None => part,
                Some(before) if before.dim == Dimension::TIME && part.dim == Dimension::TIME => {
                    Quantity { value: before.value + part.value, ..before }
                }
                Some(_) => {
                    return Err(UnitError::new(format!(
                        "`{text}` holds several numbers; only times are written in parts"
                    ))
                    .with("1 h 30 min"));
                }
            });
            rest = next.trim_start();
        }
        sum.ok_or_else(|| UnitError::new("a number is missing"))
    }

    /// The number in a unit; `None` if the dimension differs, or one is a point on a scale and
    /// the other a difference. A point may be read in kelvin.
    pub fn in_unit(&self, unit: &Unit) -> Option<f64> {
        if self.dim != unit.dim || (unit.point && !self.point) {
            return None;
        }
        Some((self.value - unit.offset) / unit.factor)
    }

    /// Number and unit for people, without the noise of the conversion.
    pub fn display_in(&self, unit: &Unit) -> String {
        match self.in_unit(unit) {
            Some(number) if unit.symbol.is_empty() => tidy(number),
            Some(number) => format!("{} {}", tidy(number), unit.symbol),
            None => self.to_string(),
        }
    }
}

/// Rounded to 10 significant digits, which conversions of what people write keep, and printed in
/// the shortest form.
pub fn tidy(number: f64) -> String {
    if number == 0.0 || !number.is_finite() {
        return if number == 0.0 { "0".to_owned() } else { number.to_string() };
    }
    let rounded: f64 = format!("{number:.9e}").parse().unwrap_or(number);
    if (1e-4..1e7).contains(&rounded.abs()) { rounded.to_string() } else { format!("{rounded:e}") }
}

fn number_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut end = 0;
    let mut exponent = false;
    while let Some(byte) = bytes.get(end) {
        let sign_ok = end == 0 || matches!(bytes.get(end - 1), Some(b'e' | b'E')) && exponent;
        match byte {
            b'0'..=b'9' | b'.' => end += 1,
            b'+' | b'-' if sign_ok => end += 1,
            b'e' | b'E'
                if !exponent
                    && end > 0
                    && matches!(bytes.get(end + 1), Some(b'0'..=b'9' | b'-' | b'+')) =>
            {
                exponent = true;
                end += 1;
            }
            _ => break,
        }
    }
    end
}

impl fmt::Display for Quantity {
    /// In the unit people expect for the dimension: degC for temperatures on a scale, min or s
    /// for times, mL, mL/min, mol/L; coherent SI units otherwise.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let v = self.value.abs();
        let unit = match self.dim {
            Dimension::NONE => return f.write_str(&tidy(self.value)),
            Dimension::TEMPERATURE if self.point => "degC",
            Dimension::TIME if v >= 7_200.0 => "h",
            Dimension::TIME if v >= 120.0 => "min",
            Dimension::TIME if v > 0.0 && v < 0.1 => "ms",
            Dimension::VOLUME if v < 1e-7 => "uL",
            Dimension::VOLUME if v < 1e-2 => "mL",
            Dimension::VOLUME => "L",
            Dimension::VOLUME_FLOW => "mL/min",
            Dimension::CONCENTRATION => "mol/L",
            Dimension::LENGTH if v > 0.0 && v < 1e-5 => "nm",
            Dimension::LENGTH if v < 1.0 => "mm",
            Dimension::MASS if v < 1e-3 => "mg",
            Dimension::MASS if v < 1.0 => "g",
            Dimension::PRESSURE if v >= 1e4 => "bar",
            Dimension::HEATING_RATE => "K/min",
            _ => "",
        };
        if let Ok(unit) = Unit::parse(unit) {
            return f.write_str(&self.display_in(&unit));
        }
        write!(f, "{} {}", tidy(self.value), self.dim.si())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written<'a> {
    value: f64,
    #[serde(borrow)]
    unit: std::borrow::Cow<'a, str>,
}

/// Marks a temperature on a scale, kept in kelvin so that the number survives exactly.
const POINT: &str = "K on the scale";

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if !self.value.is_finite() {
            return Err(S::Error::custom(format!("a value of {} cannot be recorded", self.value)));
        }
        if self.dim.is_none() {
            return to.serialize_f64(self.value);
        }
        let unit = if self.point { POINT.into() } else { self.dim.si().into() };
        Written { value: self.value, unit }.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Quantity, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Quantity;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, or {value, unit}")
            }
            fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Quantity, E> {
                Ok(Quantity::number(value))
            }
            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Quantity, E> {
                Ok(Quantity::number(value as f64))
            }
            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Quantity, E> {
                Ok(Quantity::number(value as f64))
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Quantity, A::Error> {
                let written =
                    Written::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                if written.unit == POINT {
                    let dim = Dimension::TEMPERATURE;
                    return Ok(Quantity { value: written.value, dim, point: true });
                }
                let unit = Unit::parse(&written.unit).map_err(A::Error::custom)?;
                Ok(Quantity::of(written.value, &unit))
            }
        }
        from.deserialize_any(Visitor)
    }
}
