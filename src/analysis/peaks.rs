//! Peaks of a curve.

use super::curve::{area, top_near};
use super::{Inputs, curve, dim_of, number, of, record, result};
use crate::expr::{Series, Value};
use crate::units::Dimension as D;

/// Most points of a curve that is searched: a peak may have to look at all of them.
const POINTS_MAX: usize = 1 << 16;
/// Most peaks; noise has more.
const PEAKS_MAX: usize = 1_000;

/// A peak by the points of the curve.
struct Found {
    top: usize,
    prominence: f64,
    /// Lowest points on both sides, before the curve rises above the peak or ends.
    feet: (usize, usize),
}

/// All peaks of at least a prominence, in order of their place.
///
/// The prominence of a peak is its height over the higher of its two feet; a foot is the lowest
/// point on the way to where the curve first rises above the peak, or to its end. The width is
/// that at half the prominence below the top. The area is what lies above the straight line
/// between the feet, or the lowest points between the peak and the next ones found, where these
/// are nearer; what is too small to be found counts to its neighbour.
///
/// Cost: per peak, a walk to both sides.
/// Source: the topographic definition as Virtanen et al., SciPy 1.0, Nature Methods 17, 261
/// (2020), document it for `peak_prominences` and `peak_widths`.
pub(super) fn peaks(inputs: &Inputs) -> Result<Value, String> {
    let series = curve(inputs, "of")?;
    if series.y.len() > POINTS_MAX {
        return Err(format!(
            "curves of more than {POINTS_MAX} points are not searched; smooth first"
        ));
    }
    let high = series.y.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let low = series.y.iter().copied().fold(f64::INFINITY, f64::min);
    let least = number(inputs, "prominence").unwrap_or(0.05 * (high - low));
    if least < 0.0 {
        return Err("`prominence` must not be below zero".to_owned());
    }
    let mut found = search(&series.y, least);
    part_neighbours(&series.y, &mut found);
    if found.len() > PEAKS_MAX {
        return Err(format!(
            "there are {} peaks; ask for more prominence, or smooth the curve first",
            found.len()
        ));
    }
    let area_dim = dim_of(series.y_dim.mul(series.x_dim))?;
    let list: Option<Vec<Value>> =
        found.iter().map(|peak| described(series, peak, area_dim)).collect();
    let list = list.ok_or("a peak lies outside the curve")?;
    let count = of(list.len() as f64, D::NONE);
    Ok(result(vec![("peaks", Value::List(list)), ("count", count)], &[]))
}

fn search(y: &[f64], least: f64) -> Vec<Found> {
    let mut found = Vec::new();
    let get = |i: usize| y.get(i).copied();
    let mut i: usize = 1;
    while let (Some(before), Some(here)) = (i.checked_sub(1).and_then(get), get(i)) {
        // A flat top counts once, at its middle.
        let mut end = i;
        while get(end + 1) == Some(here) {
            end += 1;
        }
        if before < here && get(end + 1).is_some_and(|after| after < here) {
            let top = i.midpoint(end);
            let (left, right) = (foot(y, (0..i).rev(), here), foot(y, end + 1..y.len(), here));
            if let (Some((left, left_y)), Some((right, right_y))) = (left, right) {
                let prominence = here - left_y.max(right_y);
                if prominence >= least && prominence > 0.0 {
                    found.push(Found { top, prominence, feet: (left, right) });
                }
            }
        }
        i = end + 1;
    }
    found
}

/// Moves feet that lie behind a neighbour to the lowest point before it.
fn part_neighbours(y: &[f64], found: &mut [Found]) {
    for i in 1..found.len() {
        let Some([left, right]) = found.get_mut(i - 1..=i) else { continue };
        let valley = (left.top..right.top)
            .filter_map(|i| Some((i, *y.get(i)?)))
            .min_by(|a, b| a.1.total_cmp(&b.1));
        let Some((valley, _)) = valley else { continue };
        left.feet.1 = left.feet.1.min(valley);
        right.feet.0 = right.feet.0.max(valley);
    }
}

/// Lowest point on the way to where the curve rises above a height.
fn foot(y: &[f64], way: impl Iterator<Item = usize>, height: f64) -> Option<(usize, f64)> {
    let mut lowest: Option<(usize, f64)> = None;
    for i in way {
        let value = *y.get(i)?;
        if value > height {
            break;
        }
        if lowest.is_none_or(|(_, low)| value < low) {
            lowest = Some((i, value));
        }
    }
    lowest
}

fn described(series: &Series, peak: &Found, area_dim: D) -> Option<Value> {
    let (x, y) = (&series.x, &series.y);
    let (place, height) = top_near(series, peak.top)?;
    let level = y.get(peak.top)? - 0.5 * peak.prominence;
    let left = crossing(series, peak.top, (0..peak.top).rev(), level)?;
    let right = crossing(series, peak.top, peak.top + 1..y.len(), level)?;
    let (a, b) = peak.feet;
    let under = 0.5 * (x.get(b)? - x.get(a)?) * (y.get(a)? + y.get(b)?);
    let over = area(x.get(a..=b)?, y.get(a..=b)?) - under;
    Some(record(vec![
        ("place", of(place, series.x_dim)),
        ("height", of(height, series.y_dim)),
        ("prominence", of(peak.prominence, series.y_dim)),
        ("width", of(right - left, series.x_dim)),
        ("area", of(over, area_dim)),
    ]))
}

/// Where the curve first falls to a level on the way from its top, between points.
fn crossing(
    series: &Series,
    top: usize,
    way: impl Iterator<Item = usize>,
    level: f64,
) -> Option<f64> {
    let (mut x0, mut y0) = (*series.x.get(top)?, *series.y.get(top)?);
    for i in way {
        let (x, y) = (*series.x.get(i)?, *series.y.get(i)?);
        if y <= level {
            return Some(if y0 > y { x0 + (x - x0) * (y0 - level) / (y0 - y) } else { x });
        }
        (x0, y0) = (x, y);
    }
    Some(x0)
}
