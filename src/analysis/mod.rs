//! Measured data -> results. Pure functions on values, with units; an analysis that cannot give a
//! sound number gives an error, never a made-up one.
mod absorbance;
mod curve;
mod distance;
mod signature;
mod statistics;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::expr::{Series, Value};
use crate::units::{Dimension, Quantity};

pub use signature::{Input, Kind, Signature, names, signature};

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

/// Curves with more points than this are refused.
const POINTS_MAX: usize = 1 << 20;

/// Calls a function.
///
/// Errors: unknown function, a missing input, data that do not allow a result (an empty list, a
/// wavelength outside the spectrum, curves of different lengths, a number that is not finite).
pub fn call(function: &str, inputs: &Inputs) -> Result<Value, AnalysisError> {
    let fail = |message: String| AnalysisError { function: function.to_owned(), message };
    let Some(signature) = signature(function) else {
        return Err(fail(format!("there is no such analysis; there are {}", names().join(", "))));
    };
    for input in signature.inputs {
        if !input.optional && !inputs.contains_key(input.name) {
            return Err(fail(format!("its input `{}` is missing", input.name)));
        }
    }
    let result = match function {
        "absorbance_at" => absorbance::at_wavelength(inputs),
        "beer_lambert" => absorbance::beer_lambert(inputs),
        "spectral_distance" => distance::spectral_distance(inputs),
        "relative_change" => statistics::relative_change(inputs),
        "summary" => statistics::summary(inputs),
        "baseline" => curve::baseline(inputs),
        "peak" => curve::peak(inputs),
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

fn is_finite(value: &Value) -> bool {
    match value {
        Value::Quantity(q) => q.value.is_finite(),
        Value::List(items) => items.iter().all(is_finite),
        Value::Record(fields) => fields.values().all(is_finite),
        Value::Series(s) => s.x.iter().chain(&s.y).all(|v| v.is_finite()),
        Value::Missing(_) | Value::Bool(_) | Value::Text(_) => true,
    }
}

/// Quantity input of a dimension.
fn quantity(inputs: &Inputs, name: &str, dim: Dimension) -> Result<Option<f64>, String> {
    match inputs.get(name) {
        None => Ok(None),
        Some(Value::Quantity(q)) if q.dim == dim => Ok(Some(q.value)),
        Some(other) => Err(format!("`{name}` must be a {dim}, not a {}", other.type_of())),
    }
}

fn required(inputs: &Inputs, name: &str, dim: Dimension) -> Result<f64, String> {
    quantity(inputs, name, dim)?.ok_or_else(|| format!("`{name}` is missing"))
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

fn mean_sd(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let sum: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    (mean, if values.len() > 1 { (sum / (n - 1.0)).sqrt() } else { 0.0 })
}

fn record(fields: &[(&str, Value)]) -> Value {
    Value::Record(fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
}

fn of(value: f64, dim: Dimension) -> Value {
    Value::Quantity(Quantity::new(value, dim))
}
