//! Smoothing by moving polynomials.

use std::sync::Arc;

use super::{Inputs, count, curve, of, result};
use crate::expr::{Series, Value};

/// Widest window.
const WINDOW_MAX: usize = 501;
/// Highest order: above it a polynomial follows the noise.
const ORDER_MAX: usize = 6;
/// Steps of the abscissa may differ by this much of their mean and count as even.
const UNEVEN: f64 = 0.01;

/// Each point becomes the value, at its place, of the polynomial through the window around it by
/// least squares; the ends take the polynomial of the first and last whole window.
///
/// `noise` is the standard deviation of what was taken away, over the degrees of freedom the
/// smoothing leaves (the window's weight at its own middle).
///
/// Source: Savitzky and Golay, Anal. Chem. 36, 1627 (1964); weights by Gram polynomials, also at
/// the ends: Gorry, Anal. Chem. 62, 570 (1990), eq. 8 to 11.
pub(super) fn smooth(inputs: &Inputs) -> Result<Value, String> {
    let series = curve(inputs, "of")?;
    let window = count(inputs, "window", 7, 3..=WINDOW_MAX)?;
    let order = count(inputs, "order", 2, 0..=ORDER_MAX)?;
    if window.is_multiple_of(2) {
        return Err("`window` must be odd, so that it has a middle".to_owned());
    }
    if order >= window {
        return Err("`order` must be less than `window`".to_owned());
    }
    let n = series.y.len();
    if n < window {
        return Err(format!("the curve has {n} points, fewer than the window of {window}"));
    }
    evenly_spaced(&series.x)?;
    let half = window / 2;
    let middle = weights(half, order, 0);
    let mut y = Vec::with_capacity(n);
    for i in 0..n {
        // At the ends the window stays whole and the place moves off its middle.
        let start = i.saturating_sub(half).min(n - window);
        let values = series.y.get(start..start + window).unwrap_or_default();
        let place = i as i64 - (start + half) as i64;
        let own;
        let weights = match place {
            0 => &middle,
            _ => {
                own = weights(half, order, place);
                &own
            }
        };
        y.push(values.iter().zip(weights).map(|(v, w)| v * w).sum());
    }
    let taken: f64 = series.y.iter().zip(&y).map(|(a, b): (&f64, &f64)| (a - b).powi(2)).sum();
    let free = n as f64 * (1.0 - middle.get(half).copied().unwrap_or(0.0));
    let noise = if free > 0.0 { (taken / free).sqrt() } else { 0.0 };
    let smoothed = Series { x: series.x.clone(), x_dim: series.x_dim, y, y_dim: series.y_dim };
    let fields =
        vec![("curve", Value::Series(Arc::new(smoothed))), ("noise", of(noise, series.y_dim))];
    Ok(result(fields, &[]))
}

fn evenly_spaced(x: &[f64]) -> Result<(), String> {
    let (Some(first), Some(last)) = (x.first(), x.last()) else { return Ok(()) };
    let step = (last - first) / (x.len() as f64 - 1.0);
    let uneven = x.windows(2).any(|w| match w {
        [a, b] => ((b - a) - step).abs() > UNEVEN * step,
        _ => false,
    });
    match uneven {
        true => Err("the points of the curve are not evenly spaced".to_owned()),
        false => Ok(()),
    }
}

/// Weights of the `2 half + 1` points for the value of the polynomial at a place, counted from the
/// middle.
pub(super) fn weights(half: usize, order: usize, place: i64) -> Vec<f64> {
    let half = half as i64;
    let here = gram(place, half, order);
    (-half..=half)
        .map(|i| {
            let there = gram(i, half, order);
            here.iter()
                .zip(&there)
                .enumerate()
                .map(|(k, (a, b))| {
                    let k = k as i64;
                    let size = (2 * k + 1) as f64 * falling(2 * half, k)
                        / falling(2 * half + k + 1, k + 1);
                    size * a * b
                })
                .sum()
        })
        .collect()
}

/// Gram polynomials of order 0 to `order` at a place.
fn gram(place: i64, half: i64, order: usize) -> Vec<f64> {
    let (x, m) = (place as f64, half as f64);
    let mut found: Vec<f64> = vec![1.0];
    for k in 1..=order {
        let n = k as f64;
        let last = found.last().copied().unwrap_or(0.0);
        let before = k.checked_sub(2).and_then(|i| found.get(i)).copied().unwrap_or(0.0);
        let down = n * (2.0 * m - n + 1.0);
        found.push((4.0 * n - 2.0) / down * x * last - (n - 1.0) * (2.0 * m + n) / down * before);
    }
    found
}

/// `a (a - 1) ... (a - b + 1)`.
fn falling(a: i64, b: i64) -> f64 {
    (0..b).map(|i| (a - i) as f64).product()
}
