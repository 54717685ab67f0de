//! Absorbance and the Beer-Lambert law, A = ε c l (decadic).

use super::{Inputs, at, curves, mean_sd, of, quantity, record, required};
use crate::expr::Value;
use crate::units::Dimension as D;

/// Readings above this are not trusted unless the protocol says otherwise: at 2.5, 0.3 % of the
/// light is left and stray light dominates in most instruments.
const SATURATION: f64 = 2.5;

fn readings(inputs: &Inputs) -> Result<Vec<f64>, String> {
    let wavelength = required(inputs, "wavelength", D::LENGTH)?;
    curves(inputs, "spectra")?.into_iter().map(|spectrum| at(spectrum, wavelength)).collect()
}

pub(super) fn at_wavelength(inputs: &Inputs) -> Result<Value, String> {
    let (mean, sd) = mean_sd(&readings(inputs)?);
    Ok(record(&[("value", of(mean, D::NONE)), ("sd", of(sd, D::NONE))]))
}

/// The standard deviations returned are those of the mean over the spectra (sd / sqrt n).
pub(super) fn beer_lambert(inputs: &Inputs) -> Result<Value, String> {
    let readings = readings(inputs)?;
    let path = required(inputs, "path_length", D::LENGTH)?;
    let absorptivity = required(inputs, "absorptivity", D::ABSORPTIVITY)?;
    if path <= 0.0 || absorptivity <= 0.0 {
        return Err("path length and absorptivity must be greater than zero".to_owned());
    }
    let limit = quantity(inputs, "saturation", D::NONE)?.unwrap_or(SATURATION);
    let (mean, sd) = mean_sd(&readings);
    let error = sd / (readings.len() as f64).sqrt();
    let to_concentration = 1.0 / (absorptivity * path);
    let concentration = mean * to_concentration;
    let mut fields = vec![
        ("absorbance", of(mean, D::NONE)),
        ("concentration", of(concentration, D::CONCENTRATION)),
        ("concentration_sd", of(error * to_concentration, D::CONCENTRATION)),
        ("saturated", Value::Bool(readings.iter().any(|a| *a > limit))),
    ];
    match quantity(inputs, "full", D::CONCENTRATION)? {
        Some(full) if full > 0.0 => {
            fields.push(("yield", of(concentration / full, D::NONE)));
            fields.push(("yield_sd", of(error * to_concentration / full, D::NONE)));
        }
        Some(_) => return Err("`full` must be greater than zero".to_owned()),
        None => {
            let why = "beer_lambert was not given `full`, the concentration at 100 % yield";
            fields.push(("yield", Value::missing(why)));
            fields.push(("yield_sd", Value::missing(why)));
        }
    }
    Ok(record(&fields))
}
