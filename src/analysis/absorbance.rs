//! Absorbance and the Beer-Lambert law, A = ε c l (decadic).

use std::sync::Arc;

use super::{Inputs, at, curves, mean_sd, number, of, required, result, show};
use crate::expr::{Series, Value};
use crate::units::Dimension as D;

/// Readings above this are not trusted unless the protocol says otherwise: at 2.5, 0.3 % of the
/// light is left and stray light dominates in most instruments.
const SATURATION: f64 = 2.5;

/// Mean of curves that have their points at the same places.
fn averaged(inputs: &Inputs, name: &str) -> Result<Option<Series>, String> {
    if !inputs.contains_key(name) {
        return Ok(None);
    }
    let all = curves(inputs, name)?;
    let [first, others @ ..] = all.as_slice() else { return Ok(None) };
    let mut sum = (*first).clone();
    for other in others {
        if other.x != first.x || other.y_dim != first.y_dim {
            return Err(format!("`{name}` holds curves with points at different places"));
        }
        sum.y.iter_mut().zip(&other.y).for_each(|(sum, y)| *sum += y);
    }
    let n = all.len() as f64;
    sum.y.iter_mut().for_each(|y| *y /= n);
    Ok(Some(sum))
}

/// `-log10((S - D) / (R - D))`, point by point.
///
/// Errors: a point at which the sample or the reference is not brighter than the dark.
/// Source: IUPAC Gold Book, "absorbance" (A = -lg T), with the dark signal taken from both.
pub(super) fn spectrum(inputs: &Inputs) -> Result<Value, String> {
    let missing = |name: &str| format!("`{name}` is missing");
    let sample = averaged(inputs, "sample")?.ok_or_else(|| missing("sample"))?;
    let reference = averaged(inputs, "reference")?.ok_or_else(|| missing("reference"))?;
    let dark = averaged(inputs, "dark")?;
    for (name, other) in [("reference", Some(&reference)), ("dark", dark.as_ref())] {
        let Some(other) = other else { continue };
        if other.x != sample.x || other.x_dim != sample.x_dim {
            return Err(format!("`{name}` and `sample` have their points at different places"));
        }
        if other.y_dim != sample.y_dim {
            return Err(format!("`{name}` and `sample` are in different units"));
        }
    }
    let from = number(inputs, "from").unwrap_or(f64::NEG_INFINITY);
    let to = number(inputs, "to").unwrap_or(f64::INFINITY);
    let (mut x, mut y) = (Vec::new(), Vec::new());
    let none = vec![0.0; sample.x.len()];
    let zero = dark.as_ref().map_or(&none, |d| &d.y);
    for (((place, s), r), d) in sample.x.iter().zip(&sample.y).zip(&reference.y).zip(zero) {
        if *place < from || *place > to {
            continue;
        }
        for (name, light) in [("reference", r - d), ("sample", s - d)] {
            if light <= 0.0 {
                return Err(format!(
                    "`{name}` is not brighter than the dark at {}; leave such places out with \
                     `from` and `to`",
                    show(*place, sample.x_dim)
                ));
            }
        }
        x.push(*place);
        y.push(-((s - d) / (r - d)).log10());
    }
    let max = y.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if y.is_empty() {
        return Err("no point lies between `from` and `to`".to_owned());
    }
    let doubts = match max > SATURATION {
        true => vec![format!("absorbance reaches {max:.2}, where hardly any light is left")],
        false => Vec::new(),
    };
    let curve = Series { x, x_dim: sample.x_dim, y, y_dim: D::NONE };
    let fields = vec![("spectrum", Value::Series(Arc::new(curve))), ("max", of(max, D::NONE))];
    Ok(result(fields, &doubts))
}

fn readings(inputs: &Inputs) -> Result<Vec<f64>, String> {
    let wavelength = required(inputs, "wavelength")?;
    curves(inputs, "spectra")?.into_iter().map(|spectrum| at(spectrum, wavelength)).collect()
}

/// A standard deviation, or why there is none.
fn sd_or_why(sd: Option<f64>, dim: D) -> Value {
    match sd {
        Some(sd) => of(sd, dim),
        None => Value::missing("one spectrum has no spread; measure at least two"),
    }
}

pub(super) fn at_wavelength(inputs: &Inputs) -> Result<Value, String> {
    let dim = curves(inputs, "spectra")?.first().map_or(D::NONE, |s| s.y_dim);
    let (mean, sd) = mean_sd(&readings(inputs)?);
    Ok(result(vec![("value", of(mean, dim)), ("sd", sd_or_why(sd, dim))], &[]))
}

/// The standard deviations returned are those of the mean over the spectra (sd / sqrt n).
///
/// Source: IUPAC Gold Book, "Beer-Lambert law".
pub(super) fn beer_lambert(inputs: &Inputs) -> Result<Value, String> {
    let readings = readings(inputs)?;
    let path = required(inputs, "path_length")?;
    let absorptivity = required(inputs, "absorptivity")?;
    if path <= 0.0 || absorptivity <= 0.0 {
        return Err("path length and absorptivity must be greater than zero".to_owned());
    }
    let limit = number(inputs, "saturation").unwrap_or(SATURATION);
    let (mean, sd) = mean_sd(&readings);
    let error = sd.map(|sd| sd / (readings.len() as f64).sqrt());
    let to_concentration = 1.0 / (absorptivity * path);
    let concentration = mean * to_concentration;
    let saturated = readings.iter().any(|a| *a > limit);
    let mut doubts = Vec::new();
    if saturated {
        doubts.push(format!("absorbance {mean:.2} is above {limit}: the detector is saturated"));
    }
    if mean < 0.0 {
        doubts.push("absorbance is below zero: the reference does not fit".to_owned());
    }
    let scaled = |factor: f64| error.map(|e| e * factor);
    let mut fields = vec![
        ("absorbance", of(mean, D::NONE)),
        ("concentration", of(concentration, D::CONCENTRATION)),
        ("concentration_sd", sd_or_why(scaled(to_concentration), D::CONCENTRATION)),
        ("saturated", Value::Bool(saturated)),
    ];
    match number(inputs, "full") {
        Some(full) if full > 0.0 => {
            fields.push(("yield", of(concentration / full, D::NONE)));
            fields.push(("yield_sd", sd_or_why(scaled(to_concentration / full), D::NONE)));
        }
        Some(_) => return Err("`full` must be greater than zero".to_owned()),
        None => {
            let why = "beer_lambert was not given `full`, the concentration at 100 % yield";
            fields.push(("yield", Value::missing(why)));
            fields.push(("yield_sd", Value::missing(why)));
        }
    }
    Ok(result(fields, &doubts))
}
