//! Area and highest peak of curves.

use super::{Inputs, at, curve, dim_of, number, of, result, show, word};
use crate::expr::{Series, Value};

/// Area under the points by the trapezoidal rule.
pub(super) fn area(x: &[f64], y: &[f64]) -> f64 {
    x.windows(2)
        .zip(y.windows(2))
        .filter_map(|(x, y)| {
            let ([x0, x1], [y0, y1]) = (x, y) else { return None };
            Some(0.5 * (x1 - x0) * (y0 + y1))
        })
        .sum()
}

/// The part of a curve between two places, its ends found between points.
fn part(series: &Series, from: f64, to: f64) -> Result<(Vec<f64>, Vec<f64>), String> {
    let (mut x, mut y) = (vec![from], vec![at(series, from)?]);
    for (place, value) in series.x.iter().zip(&series.y) {
        if *place > from && *place < to {
            x.push(*place);
            y.push(*value);
        }
    }
    x.push(to);
    y.push(at(series, to)?);
    Ok((x, y))
}

/// Area between two places by the trapezoidal rule, exact where the curve is straight between its
/// points; with `baseline: line`, the straight line between the ends is taken away.
pub(super) fn integrate(inputs: &Inputs) -> Result<Value, String> {
    let series = curve(inputs, "of")?;
    let end = |found: Option<&f64>| found.copied().ok_or("the curve has no points");
    let from = number(inputs, "from").map_or_else(|| end(series.x.first()), Ok)?;
    let to = number(inputs, "to").map_or_else(|| end(series.x.last()), Ok)?;
    if from >= to {
        let (from, to) = (show(from, series.x_dim), show(to, series.x_dim));
        return Err(format!("`from` ({from}) must be less than `to` ({to})"));
    }
    let (x, y) = part(series, from, to)?;
    let mut total = area(&x, &y);
    if word(inputs, "baseline", "none") == "line" {
        let ends = y.first().copied().unwrap_or(0.0) + y.last().copied().unwrap_or(0.0);
        total -= 0.5 * ends * (to - from);
    }
    let fields = vec![
        ("area", of(total, dim_of(series.y_dim.mul(series.x_dim))?)),
        ("mean", of(total / (to - from), series.y_dim)),
    ];
    let doubts = match x.len() < 5 {
        true => vec![format!("only {} points lie between `from` and `to`", x.len() - 2)],
        false => Vec::new(),
    };
    Ok(result(fields, &doubts))
}

/// Place and height of the top near a point: of the parabola through it and its neighbours where
/// they are evenly spaced, else the point itself.
pub(super) fn top_near(series: &Series, top: usize) -> Option<(f64, f64)> {
    let point = |i: usize| Some((*series.x.get(i)?, *series.y.get(i)?));
    let (place, height) = point(top)?;
    let (Some((x0, y0)), Some((x2, y2))) = (top.checked_sub(1).and_then(point), point(top + 1))
    else {
        return Some((place, height));
    };
    let step = x2 - place;
    let curvature = y0 - 2.0 * height + y2;
    let even = ((place - x0) - step).abs() <= 1e-6 * step.abs();
    if !even || curvature >= 0.0 {
        return Some((place, height));
    }
    let shift = 0.5 * (y0 - y2) / curvature;
    Some((place + shift * step, height - 0.25 * (y0 - y2) * shift))
}

/// The highest point, refined by a parabola, and the area under the whole curve.
pub(super) fn peak(inputs: &Inputs) -> Result<Value, String> {
    let series = curve(inputs, "of")?;
    let (top, _) = series
        .y
        .iter()
        .enumerate()
        .max_by(|a, b| a.1.total_cmp(b.1))
        .ok_or("the curve has no points")?;
    let (place, height) = top_near(series, top).ok_or("the curve has no points")?;
    let fields = vec![
        ("place", of(place, series.x_dim)),
        ("height", of(height, series.y_dim)),
        ("area", of(area(&series.x, &series.y), dim_of(series.y_dim.mul(series.x_dim))?)),
    ];
    let doubts = match top == 0 || top + 1 == series.y.len() {
        true => vec!["the highest point is an end of the curve".to_owned()],
        false => Vec::new(),
    };
    Ok(result(fields, &doubts))
}
