//! Distances between spectra.

use super::{Inputs, curves, of, result};
use crate::expr::Value;
use crate::units::Dimension as D;

/// Longest curves compared; the Fréchet distance takes the square of it.
const FRECHET_MAX: usize = 4_096;

/// Mean absolute difference, and the discrete Fréchet distance of the two curves as sequences of
/// values (Eiter and Mannila, Computing Discrete Fréchet Distance, TU Vienna report CD-TR 94/64,
/// 1994), as the light-mixing kit's own scripts compare spectra.
pub(super) fn spectral_distance(inputs: &Inputs) -> Result<Value, String> {
    let spectra = curves(inputs, "of")?;
    let Some(Value::List(target)) = inputs.get("target") else {
        return Err("`target` must be a list of numbers".to_owned());
    };
    let target: Vec<f64> = target
        .iter()
        .map(|v| {
            v.as_quantity()
                .map(|q| q.value)
                .ok_or_else(|| format!("`target` holds a {}", v.type_of()))
        })
        .collect::<Result<_, _>>()?;
    let first = spectra.first().ok_or("`of` is an empty list")?;
    let n = first.y.len();
    if spectra.iter().any(|s| s.y.len() != n) || target.len() != n {
        return Err(format!("the spectrum has {n} points, the target {}", target.len()));
    }
    if n > FRECHET_MAX {
        return Err(format!("spectra of more than {FRECHET_MAX} points are not compared"));
    }
    let count = spectra.len() as f64;
    let mean: Vec<f64> =
        (0..n).map(|i| spectra.iter().filter_map(|s| s.y.get(i)).sum::<f64>() / count).collect();
    let (a, b) = match inputs.get("normalise").and_then(Value::as_text) {
        None | Some("none") => (mean, target),
        Some(how @ ("area" | "peak")) => (scaled(&mean, how)?, scaled(&target, how)?),
        Some(other) => return Err(format!("`normalise` is `{other}`; write none, area or peak")),
    };
    let mae = a.iter().zip(&b).map(|(x, y)| (x - y).abs()).sum::<f64>() / n as f64;
    let fields =
        vec![("mean_absolute", of(mae, D::NONE)), ("frechet", of(frechet(&a, &b), D::NONE))];
    Ok(result(fields, &[]))
}

fn scaled(values: &[f64], how: &str) -> Result<Vec<f64>, String> {
    let size = match how {
        "area" => values.iter().map(|v| v.abs()).sum::<f64>(),
        _ => values.iter().fold(0.0f64, |m, v| m.max(v.abs())),
    };
    if size <= 0.0 {
        return Err("a spectrum of zeros cannot be normalised".to_owned());
    }
    Ok(values.iter().map(|v| v / size).collect())
}

pub(super) fn frechet(a: &[f64], b: &[f64]) -> f64 {
    let mut row: Vec<f64> = Vec::with_capacity(b.len());
    for (i, x) in a.iter().enumerate() {
        let mut next: Vec<f64> = Vec::with_capacity(b.len());
        for (j, y) in b.iter().enumerate() {
            let d = (x - y).abs();
            let before = match (i, j) {
                (0, 0) => d,
                (0, _) => next.last().copied().unwrap_or(d),
                (_, 0) => row.first().copied().unwrap_or(d),
                _ => {
                    let up = row.get(j).copied().unwrap_or(d);
                    let corner = row.get(j - 1).copied().unwrap_or(d);
                    let left = next.last().copied().unwrap_or(d);
                    up.min(corner).min(left)
                }
            };
            next.push(before.max(d));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0.0)
}
