//! Base lines and peaks of curves.

use std::sync::Arc;

use super::{Inputs, at, curves, of, record, required};
use crate::expr::{Series, Value};
use crate::units::Dimension as D;

/// Takes away the straight line through the curve's values at two places.
pub(super) fn baseline(inputs: &Inputs) -> Result<Value, String> {
    let (from, to) = (required(inputs, "from", D::LENGTH)?, required(inputs, "to", D::LENGTH)?);
    if from >= to {
        return Err("`from` must be less than `to`".to_owned());
    }
    let all = curves(inputs, "spectra")?;
    let [series] = all.as_slice() else {
        return Err("`spectra` must be one curve".to_owned());
    };
    let (a, b) = (at(series, from)?, at(series, to)?);
    let y = series
        .x
        .iter()
        .zip(&series.y)
        .map(|(x, y)| y - (a + (b - a) * (x - from) / (to - from)))
        .collect();
    let (x, x_dim, y_dim) = (series.x.clone(), series.x_dim, series.y_dim);
    Ok(record(&[("spectrum", Value::Series(Arc::new(Series { x, x_dim, y, y_dim })))]))
}

/// The highest point, refined by the parabola through it and its neighbours where they are
/// evenly spaced, and the area under the whole curve by the trapezoidal rule.
pub(super) fn peak(inputs: &Inputs) -> Result<Value, String> {
    let all = curves(inputs, "of")?;
    let [series] = all.as_slice() else { return Err("`of` must be one curve".to_owned()) };
    let top = series
        .y
        .iter()
        .enumerate()
        .max_by(|a, b| a.1.total_cmp(b.1))
        .map(|(index, _)| index)
        .ok_or("the curve has no points")?;
    let point = |i: usize| Some((*series.x.get(i)?, *series.y.get(i)?));
    let (mut place, mut height) = point(top).ok_or("the curve has no points")?;
    let neighbours = (top.checked_sub(1).and_then(point), point(top + 1));
    if let (Some((x0, y0)), Some((x2, y2))) = neighbours {
        let step = x2 - place;
        let curvature = y0 - 2.0 * height + y2;
        let even = ((place - x0) - step).abs() <= 1e-6 * step.abs();
        if even && curvature < 0.0 {
            let shift = 0.5 * (y0 - y2) / curvature;
            place += shift * step;
            height -= 0.25 * (y0 - y2) * shift;
        }
    }
    let area: f64 = series
        .x
        .windows(2)
        .zip(series.y.windows(2))
        .filter_map(|(x, y)| {
            let ([x0, x1], [y0, y1]) = (x, y) else { return None };
            Some(0.5 * (x1 - x0) * (y0 + y1))
        })
        .sum();
    let area_dim = series.y_dim.mul(series.x_dim).ok_or("the area has no dimension")?;
    Ok(record(&[
        ("place", of(place, series.x_dim)),
        ("height", of(height, series.y_dim)),
        ("area", of(area, area_dim)),
    ]))
}
