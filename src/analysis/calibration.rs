//! Calibration lines, and what a reading means on one.

use super::{Inputs, dim_of, line, list, mean_sd, number, of, result, show};
use crate::expr::Value;
use crate::units::{Dimension as D, Quantity};

/// The line through standards, ordinary or weighted.
pub(super) fn calibration(inputs: &Inputs) -> Result<Value, String> {
    let (x, y) = (list(inputs, "x")?, list(inputs, "y")?);
    let sds = match inputs.contains_key("sd") {
        true => Some(list(inputs, "sd")?.values),
        false => None,
    };
    let found = line::fit(&x.values, &y.values, sds.as_deref())?;
    let slope = dim_of(y.dim.div(x.dim))?;
    let low = x.values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = x.values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let fields = vec![
        ("slope", of(found.slope, slope)),
        ("slope_sd", of(found.slope_sd, slope)),
        ("intercept", of(found.intercept, y.dim)),
        ("intercept_sd", of(found.intercept_sd, y.dim)),
        ("covariance", of(found.covariance, dim_of(slope.mul(y.dim))?)),
        ("residual_sd", of(found.residual_sd, y.dim)),
        ("r2", of(found.r2, D::NONE)),
        ("count", of(x.values.len() as f64, D::NONE)),
        ("x_min", of(low, x.dim)),
        ("x_max", of(high, x.dim)),
    ];
    Ok(result(fields, &found.doubts(x.values.len())))
}

/// The x at which the line has the reading, with the standard deviation that follows from that of
/// the reading and those of the line:
/// `s² = (s_r² / m + s_a² + x² s_b² + 2 x s_ab) / b²`, for m repeated readings, which for an
/// ordinary line is the familiar `s_r / b * sqrt(1/m + 1/n + (x - mean)² / Sxx)`.
///
/// Errors: a slope of zero. A reading outside the standards gives a value that is uncertain.
/// Source: Miller and Miller, Statistics and Chemometrics for Analytical Chemistry, 6th ed.,
/// section 5.6; Danzer and Currie, IUPAC guidelines for calibration, Pure Appl. Chem. 70, 993
/// (1998).
pub(super) fn inverse(inputs: &Inputs) -> Result<Value, String> {
    let Some(Value::Record(line)) = inputs.get("calibration") else {
        return Err("`calibration` must be what a step that says `calibration` gave".to_owned());
    };
    let field = |name: &str| -> Result<Quantity, String> {
        let found = line.get(name).and_then(Value::as_quantity);
        found.copied().ok_or_else(|| format!("`calibration` has no number `{name}`"))
    };
    let (slope, intercept) = (field("slope")?.value, field("intercept")?.value);
    let (x_min, x_max) = (field("x_min")?, field("x_max")?);
    if slope == 0.0 {
        return Err("the calibration line is flat: a reading says nothing".to_owned());
    }
    let readings = match inputs.get("reading") {
        Some(Value::Quantity(q)) => vec![q.value],
        _ => list(inputs, "reading")?.values,
    };
    if readings.is_empty() {
        return Err("`reading` is an empty list".to_owned());
    }
    let (reading, own) = mean_sd(&readings);
    let one = match number(inputs, "reading_sd") {
        Some(given) if given < 0.0 => return Err("`reading_sd` is below zero".to_owned()),
        Some(given) => given,
        None => own.unwrap_or(0.0).max(field("residual_sd")?.value),
    };
    if one == 0.0 && field("count")?.value < 3.0 {
        return Err("two standards do not tell how readings scatter; give `reading_sd`".to_owned());
    }
    let value = (reading - intercept) / slope;
    let variance = one.powi(2) / readings.len() as f64
        + field("intercept_sd")?.value.powi(2)
        + (value * field("slope_sd")?.value).powi(2)
        + 2.0 * value * field("covariance")?.value;
    // Rounding may leave a little below zero where the line is exact.
    let sd = variance.max(0.0).sqrt() / slope.abs();
    let slack = 1e-9 * (x_max.value - x_min.value);
    let extrapolated = value < x_min.value - slack || value > x_max.value + slack;
    let mut doubts = Vec::new();
    if extrapolated {
        doubts.push(format!(
            "{} lies outside the standards, which go from {} to {}",
            show(value, x_min.dim),
            show(x_min.value, x_min.dim),
            show(x_max.value, x_min.dim)
        ));
    }
    let uncertain = line.get("quality").and_then(Value::as_text) == Some("uncertain");
    if let (true, Some(reason)) = (uncertain, line.get("reason").and_then(Value::as_text)) {
        doubts.push(format!("the calibration is uncertain: {reason}"));
    }
    let fields = vec![
        ("value", of(value, x_min.dim)),
        ("sd", of(sd, x_min.dim)),
        ("extrapolated", Value::Bool(extrapolated)),
    ];
    Ok(result(fields, &doubts))
}
