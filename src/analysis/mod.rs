//! Measured data -> results. Pure functions on values, with units; an analysis that cannot give a
//! sound number gives an error, never a made-up one.
//!
//! Every result is a record with the fields its signature names and two more: `quality`, `good` or
//! `uncertain`, and `reason`, empty where it is good. Standard deviations end in `_sd`.
mod absorbance;
mod baseline;
mod calibration;
mod curve;
mod distance;
mod end_point;
mod exchange;
#[cfg(test)]
mod known_tests;
#[cfg(test)]
mod law_tests;
mod line;
mod peaks;
mod rate;
mod signature;
mod smooth;
mod statistics;
mod steady;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::expr::{Series, Value};
use crate::units::{Dimension, Quantity};

pub use exchange::{Question, Returned, answer, question};
pub use signature::{Dim, Given, Input, Kind, Needed, Output, Signature};

/// Inputs of a call by name.
pub type Inputs = BTreeMap<String, Value>;

/// Why an analysis gave no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{function}: {message}")]
pub struct AnalysisError {
    /// Function.
    pub function: String,
    /// What is wrong with its inputs.
    pub message: String,
}

/// Curves with more points than this are refused: an analysis runs at once, and the engine waits.
/// For more there are programs.
const POINTS_MAX: usize = 1 << 17;

/// Calls a function.
///
/// Errors: unknown function, a missing input, data that do not allow a result (an empty list, a
/// wavelength outside the spectrum, curves of different lengths, a number that is not finite).
pub fn call(function: &str, inputs: &Inputs) -> Result<Value, AnalysisError> {
    let fail = |message: String| AnalysisError { function: function.to_owned(), message };
    let Some(signature) = signature(function) else {
        return Err(fail(format!("there is no such analysis; there are {}", names().join(", "))));
    };
    check(signature, inputs).map_err(fail)?;
    let result = match function {
        "absorbance" => absorbance::spectrum(inputs),
        "absorbance_at" => absorbance::at_wavelength(inputs),
        "baseline" => baseline::baseline(inputs),
        "beer_lambert" => absorbance::beer_lambert(inputs),
        "calibration" => calibration::calibration(inputs),
        "combine" => statistics::combine(inputs),
        "end_point" => end_point::end_point(inputs),
        "first_order_rate" => rate::first_order(inputs),
        "integrate" => curve::integrate(inputs),
        "inverse_calibration" => calibration::inverse(inputs),
        "peak" => curve::peak(inputs),
        "peaks" => peaks::peaks(inputs),
        "rate" => rate::rate(inputs),
        "relative_change" => statistics::relative_change(inputs),
        "smooth" => smooth::smooth(inputs),
        "spectral_distance" => distance::spectral_distance(inputs),
        "steady_state" => steady::steady_state(inputs),
        "summary" => statistics::summary(inputs),
        _ => Err("it is listed but not there".to_owned()),
    };
    let value = result.map_err(fail)?;
    match is_finite(&value) {
        true => Ok(value),
        false => Err(AnalysisError {
            function: function.to_owned(),
            message: "the result is not a finite number".to_owned(),
        }),
    }
}

/// What a function takes and gives.
pub fn signature(function: &str) -> Option<&'static Signature> {
    table::SIGNATURES.iter().find(|s| s.name == function)
}

/// Names of all functions, in order.
pub fn names() -> Vec<&'static str> {
    table::SIGNATURES.iter().map(|s| s.name).collect()
}

/// What the compiler checked is checked again on what was measured, whose type may have been
/// known only now.
fn check(signature: &Signature, inputs: &Inputs) -> Result<(), String> {
    let given: Given = inputs.iter().map(|(name, v)| (name.clone(), v.type_of())).collect();
    let word = |name: &str| inputs.get(name).and_then(Value::as_text).map(str::to_owned);
    for input in signature.inputs {
        let name = input.name;
        match inputs.get(name) {
            None if input.is_needed(&given, word) => {
                return Err(format!("its input `{name}` is missing"));
            }
            None => {}
            Some(value) => {
                if !input.is.accepts(&value.type_of(), &given) {
                    let wanted = input.is.words(&given);
                    return Err(format!("`{name}` must be {wanted}, not a {}", value.type_of()));
                }
                if !is_finite(value) {
                    return Err(format!("`{name}` holds what is not a finite number"));
                }
                if let (Kind::Word(words), Some(word)) = (input.is, value.as_text())
                    && !words.contains(&word)
                {
                    let words = words.join(", ");
                    return Err(format!("`{name}` is `{word}`; write one of {words}"));
                }
            }
        }
    }
    Ok(())
}

fn is_finite(value: &Value) -> bool {
    match value {
        Value::Quantity(q) => q.value.is_finite(),
        Value::List(items) => items.iter().all(is_finite),
        Value::Record(fields) => fields.values().all(is_finite),
        Value::Series(s) => s.x.iter().chain(&s.y).all(|v| v.is_finite()),
        // An array is made of finite numbers only.
        Value::Missing(_) | Value::Bool(_) | Value::Text(_) | Value::Array(_) | Value::Filed(_) => {
            true
        }
    }
}

/// A number that was given, in SI units.
fn number(inputs: &Inputs, name: &str) -> Option<f64> {
    inputs.get(name)?.as_quantity().map(|q| q.value)
}

/// A number that must be given.
fn required(inputs: &Inputs, name: &str) -> Result<f64, String> {
    number(inputs, name).ok_or_else(|| format!("`{name}` is missing"))
}

/// A whole number that was given, or its default.
fn count(
    inputs: &Inputs,
    name: &str,
    default: usize,
    range: std::ops::RangeInclusive<usize>,
) -> Result<usize, String> {
    let Some(given) = number(inputs, name) else { return Ok(default) };
    let found = given as usize;
    if given.fract() != 0.0 || given < 0.0 || !range.contains(&found) {
        let (low, high) = (range.start(), range.end());
        return Err(format!("`{name}` must be a whole number from {low} to {high}"));
    }
    Ok(found)
}

/// The word that was given, or its default.
fn word<'a>(inputs: &'a Inputs, name: &str, default: &'a str) -> &'a str {
    inputs.get(name).and_then(Value::as_text).unwrap_or(default)
}

/// One curve.
fn curve<'a>(inputs: &'a Inputs, name: &str) -> Result<&'a Series, String> {
    match curves(inputs, name)?.as_slice() {
        [one] => Ok(*one),
        _ => Err(format!("`{name}` must be one curve")),
    }
}

/// Numbers of a list, all of one unit.
struct List {
    values: Vec<f64>,
    dim: Dimension,
    /// Temperatures on a scale.
    point: bool,
}

impl List {
    /// A value like those of the list.
    fn same(&self, value: f64) -> Value {
        Value::Quantity(Quantity { value, dim: self.dim, point: self.point })
    }
}

/// The list that was given; curves in it are read at the place `at`.
fn list(inputs: &Inputs, name: &str) -> Result<List, String> {
    let items = match inputs.get(name) {
        Some(Value::List(items)) => items,
        Some(other) => return Err(format!("`{name}` must be a list, not a {}", other.type_of())),
        None => return Err(format!("`{name}` is missing")),
    };
    if items.len() > POINTS_MAX {
        return Err(format!("`{name}` holds more than {POINTS_MAX} values"));
    }
    let place = number(inputs, "at");
    let mut values = Vec::with_capacity(items.len());
    let mut known: Option<(Dimension, bool)> = None;
    for item in items {
        let (value, dim, point) = match (item, place) {
            (Value::Quantity(q), _) => (q.value, q.dim, q.point),
            (Value::Series(s), Some(place)) => (at(s, place)?, s.y_dim, false),
            (Value::Series(_), None) => {
                return Err(format!("`{name}` holds curves; say where to read them with `at`"));
            }
            (other, _) => return Err(format!("`{name}` holds a {}", other.type_of())),
        };
        if *known.get_or_insert((dim, point)) != (dim, point) {
            return Err(format!("`{name}` mixes units"));
        }
        values.push(value);
    }
    let (dim, point) = known.unwrap_or((Dimension::NONE, false));
    Ok(List { values, dim, point })
}

/// One curve, or a list of them.
fn curves<'a>(inputs: &'a Inputs, name: &str) -> Result<Vec<&'a Series>, String> {
    let found: Vec<&Series> = match inputs.get(name) {
        Some(Value::Series(series)) => vec![series],
        Some(Value::List(items)) => items
            .iter()
            .map(|item| {
                item.as_series()
                    .ok_or_else(|| format!("`{name}` holds a {}, not a curve", item.type_of()))
            })
            .collect::<Result<_, _>>()?,
        Some(other) => return Err(format!("`{name}` must be a curve, not a {}", other.type_of())),
        None => return Err(format!("`{name}` is missing")),
    };
    if found.is_empty() {
        return Err(format!("`{name}` is an empty list"));
    }
    for series in &found {
        if series.x.len() != series.y.len() || series.x.is_empty() || series.x.len() > POINTS_MAX {
            return Err(format!("`{name}` holds a curve without points, or with too many"));
        }
        let rising = series.x.windows(2).all(|w| w.first() < w.last());
        if !rising {
            return Err(format!("`{name}` holds a curve whose abscissa does not rise"));
        }
    }
    Ok(found)
}

/// Value of a curve at a place, linear between points.
fn at(series: &Series, x: f64) -> Result<f64, String> {
    let (Some(first), Some(last)) = (series.x.first(), series.x.last()) else {
        return Err("the curve has no points".to_owned());
    };
    if x < *first || x > *last {
        let show = |v: f64| Quantity::new(v, series.x_dim).to_string();
        return Err(format!(
            "{} lies outside the curve, which goes from {} to {}",
            show(x),
            show(*first),
            show(*last)
        ));
    }
    let above = series.x.partition_point(|v| *v < x);
    let get = |list: &[f64], i: usize| list.get(i).copied().unwrap_or(f64::NAN);
    let (x1, y1) = (get(&series.x, above), get(&series.y, above));
    if above == 0 || x1 == x {
        return Ok(y1);
    }
    let (x0, y0) = (get(&series.x, above - 1), get(&series.y, above - 1));
    Ok(y0 + (y1 - y0) * (x - x0) / (x1 - x0))
}

fn mean(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let rough = values.iter().sum::<f64>() / n;
    // The second pass takes away what rounding left in the first.
    rough + values.iter().map(|v| v - rough).sum::<f64>() / n
}

/// Mean and standard deviation of a sample; one value has no spread.
fn mean_sd(values: &[f64]) -> (f64, Option<f64>) {
    let mean = mean(values);
    let sum: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    (mean, (values.len() > 1).then(|| (sum / (values.len() as f64 - 1.0)).sqrt()))
}

/// A result, and why it is to be used with care; good where there is no reason.
fn result(mut fields: Vec<(&str, Value)>, doubts: &[String]) -> Value {
    let quality = if doubts.is_empty() { "good" } else { "uncertain" };
    fields.push(("quality", Value::text(quality)));
    fields.push(("reason", Value::text(&doubts.join("; "))));
    record(fields)
}

fn record(fields: Vec<(&str, Value)>) -> Value {
    Value::Record(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn of(value: f64, dim: Dimension) -> Value {
    Value::Quantity(Quantity::new(value, dim))
}

/// A value in words, for reasons and errors.
fn show(value: f64, dim: Dimension) -> String {
    Quantity::new(value, dim).to_string()
}

fn dim_of(found: Option<Dimension>) -> Result<Dimension, String> {
    found.ok_or_else(|| "the units of its inputs have no product or ratio".to_owned())
}
