//! Base lines: a straight one through two places, and one that follows the lower side of a curve.

use std::sync::Arc;

use super::{Inputs, at, curve, number, required, result, word};
use crate::expr::{Series, Value};

/// Most points of a curve whose base line is found by asymmetric least squares.
const POINTS_MAX: usize = 1 << 16;
/// Rounds of re-weighting; the weights settle in 5 to 10.
const ROUNDS_MAX: usize = 50;

pub(super) fn baseline(inputs: &Inputs) -> Result<Value, String> {
    let series = curve(inputs, "spectra")?;
    let (line, settled) = match word(inputs, "method", "line") {
        "als" => {
            let smoothness = number(inputs, "smoothness").unwrap_or(1e5);
            let asymmetry = number(inputs, "asymmetry").unwrap_or(0.01);
            if !(1e-3..=1e12).contains(&smoothness) {
                return Err("`smoothness` must be between 0.001 and 1e12".to_owned());
            }
            if !(1e-6..=0.5).contains(&asymmetry) {
                return Err("`asymmetry` must be between 1e-6 and 0.5".to_owned());
            }
            asymmetric(&series.y, smoothness, asymmetry)?
        }
        _ => (straight(series, required(inputs, "from")?, required(inputs, "to")?)?, true),
    };
    let y = series.y.iter().zip(&line).map(|(y, base)| y - base).collect();
    let curve = |y: Vec<f64>| {
        let (x, x_dim, y_dim) = (series.x.clone(), series.x_dim, series.y_dim);
        Value::Series(Arc::new(Series { x, x_dim, y, y_dim }))
    };
    let doubts = match settled {
        true => Vec::new(),
        false => vec![format!("the base line did not settle in {ROUNDS_MAX} rounds")],
    };
    Ok(result(vec![("spectrum", curve(y)), ("baseline", curve(line))], &doubts))
}

/// The straight line through the curve's values at two places.
fn straight(series: &Series, from: f64, to: f64) -> Result<Vec<f64>, String> {
    if from >= to {
        return Err("`from` must be less than `to`".to_owned());
    }
    let (a, b) = (at(series, from)?, at(series, to)?);
    Ok(series.x.iter().map(|x| a + (b - a) * (x - from) / (to - from)).collect())
}

/// The line z that minimises `sum w (y - z)² + smoothness * sum (second difference of z)²`, where
/// a point above the line has the weight `asymmetry` and one below it the rest of 1; the weights
/// are found by repeating. Points count as evenly spaced. Also says whether the weights settled.
///
/// Cost: per round, one factor of a matrix with five diagonals, about 20 operations a point.
/// Source: Eilers, A Perfect Smoother, Anal. Chem. 75, 3631 (2003), with the asymmetric weights of
/// Eilers and Boelens, Baseline Correction with Asymmetric Least Squares Smoothing, Leiden
/// University Medical Centre report (2005).
pub(super) fn asymmetric(
    y: &[f64],
    smoothness: f64,
    asymmetry: f64,
) -> Result<(Vec<f64>, bool), String> {
    if y.len() < 5 || y.len() > POINTS_MAX {
        return Err(format!("`method: als` takes curves of 5 to {POINTS_MAX} points"));
    }
    let mut weights = vec![1.0; y.len()];
    let mut line = Vec::new();
    for _ in 0..ROUNDS_MAX {
        line = smoothed(y, &weights, smoothness).ok_or("the base line has no solution")?;
        let next: Vec<f64> = y
            .iter()
            .zip(&line)
            .map(|(y, z)| if y > z { asymmetry } else { 1.0 - asymmetry })
            .collect();
        if next == weights {
            return Ok((line, true));
        }
        weights = next;
    }
    Ok((line, false))
}

/// Solves `(W + s D'D) z = W y` with D the second differences, by the LDL' factors of the matrix,
/// whose bands are diagonal, first and second above it.
fn smoothed(y: &[f64], weights: &[f64], s: f64) -> Option<Vec<f64>> {
    let n = y.len();
    // D'D has the rows (1 -2 1), (-2 5 -4 1), (1 -4 6 -4 1), ..., mirrored at the end.
    let near_end = |i: usize| i.min(n - 1 - i);
    let diagonal = |i: usize| match near_end(i) {
        0 => 1.0,
        1 => 5.0,
        _ => 6.0,
    };
    let first = |i: usize| if i == 0 || i + 2 == n { -2.0 } else { -4.0 };
    // Rows of L (first and second below the diagonal), the diagonal and the half-solved right side.
    let (mut d, mut l1, mut l2) = (vec![0.0; n], vec![0.0; n], vec![0.0; n]);
    let mut z = vec![0.0; n];
    let back = |list: &[f64], i: usize, by: usize| {
        i.checked_sub(by).and_then(|j| list.get(j)).copied().unwrap_or(0.0)
    };
    for i in 0..n {
        let (d1, d2) = (back(&d, i, 1), back(&d, i, 2));
        let second = if i >= 2 { s / d2 } else { 0.0 };
        // The element beside the diagonal, less what the column before has taken.
        let beside = match i {
            0 => 0.0,
            _ => (s * first(i - 1) - second * d2 * back(&l1, i, 1)) / d1,
        };
        let pivot = weights.get(i)? + s * diagonal(i) - beside * beside * d1 - second * second * d2;
        if pivot <= 0.0 || !pivot.is_finite() {
            return None;
        }
        let right = weights.get(i)? * y.get(i)? - beside * back(&z, i, 1) - second * back(&z, i, 2);
        *d.get_mut(i)? = pivot;
        *l1.get_mut(i)? = beside;
        *l2.get_mut(i)? = second;
        *z.get_mut(i)? = right;
    }
    for i in (0..n).rev() {
        let ahead = |list: &[f64], by: usize| list.get(i + by).copied().unwrap_or(0.0);
        let value = back(&z, i, 0) / back(&d, i, 0)
            - ahead(&l1, 1) * ahead(&z, 1)
            - ahead(&l2, 2) * ahead(&z, 2);
        *z.get_mut(i)? = value;
    }
    Some(z)
}
