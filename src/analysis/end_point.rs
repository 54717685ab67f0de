//! The end point of a titration.

use super::{Inputs, dim_of, list, of, result};
use crate::expr::Value;

/// A step is clear where the steepest slope is at least so many times the median one.
const CLEAR: f64 = 3.0;
/// Fewest readings: two slopes on each side of the steepest.
const READINGS_MIN: usize = 5;

/// The volume at which the reading changes fastest: where the second derivative goes through
/// zero, on the straight line between its values on both sides of the steepest slope.
///
/// `volume_sd` is that of a value which is equally likely anywhere between those two volumes
/// (their distance over the square root of 12): what the spacing of the additions leaves open.
///
/// Errors: fewer than 5 readings, volumes that do not rise, a steepest slope at either end.
/// Source: Skoog, West, Holler and Crouch, Fundamentals of Analytical Chemistry, 9th ed., section
/// 21G-1 (second derivative method); Harris, Quantitative Chemical Analysis, 8th ed., section 10-5.
pub(super) fn end_point(inputs: &Inputs) -> Result<Value, String> {
    let (volume, reading) = (list(inputs, "volume")?, list(inputs, "reading")?);
    let (v, r) = (&volume.values, &reading.values);
    if v.len() != r.len() {
        return Err(format!("there are {} volumes and {} readings", v.len(), r.len()));
    }
    if v.len() < READINGS_MIN {
        return Err(format!("an end point needs {READINGS_MIN} readings, there are {}", v.len()));
    }
    if v.windows(2).any(|w| w.first() >= w.last()) {
        return Err("`volume` must rise with every addition".to_owned());
    }
    // First derivative, at the middles of the additions.
    let slopes: Vec<(f64, f64)> = v
        .windows(2)
        .zip(r.windows(2))
        .filter_map(|(v, r)| {
            let ([v0, v1], [r0, r1]) = (v, r) else { return None };
            Some((0.5 * (v0 + v1), (r1 - r0) / (v1 - v0)))
        })
        .collect();
    let (steepest, (middle, slope)) = slopes
        .iter()
        .copied()
        .enumerate()
        .max_by(|a, b| a.1.1.abs().total_cmp(&b.1.1.abs()))
        .ok_or("there are no readings")?;
    if slope == 0.0 {
        return Err("the reading does not change".to_owned());
    }
    let neighbours =
        steepest.checked_sub(1).and_then(|i| slopes.get(i)).zip(slopes.get(steepest + 1));
    let Some((before, after)) = neighbours else {
        return Err(
            "the reading changes fastest at an end: the end point is not between".to_owned()
        );
    };
    // Second derivative on both sides, with the sign that makes it fall through zero.
    let sign = slope.signum();
    let left = (0.5 * (before.0 + middle), sign * (slope - before.1) / (middle - before.0));
    let right = (0.5 * (middle + after.0), sign * (after.1 - slope) / (after.0 - middle));
    let fall = left.1 - right.1;
    if fall <= 0.0 {
        return Err("the reading changes evenly: there is no step".to_owned());
    }
    let place = left.0 + (right.0 - left.0) * left.1 / fall;
    let after = v.partition_point(|x| *x < place).clamp(1, v.len() - 1);
    let point = |i: usize| (v.get(i).copied().unwrap_or(0.0), r.get(i).copied().unwrap_or(0.0));
    let ((v0, r0), (v1, r1)) = (point(after - 1), point(after));
    let there = r0 + (r1 - r0) * (place - v0) / (v1 - v0);
    let mut sizes: Vec<f64> = slopes.iter().map(|(_, s)| s.abs()).collect();
    sizes.sort_by(f64::total_cmp);
    let median = sizes.get(sizes.len() / 2).copied().unwrap_or(0.0);
    let doubts = match slope.abs() < CLEAR * median {
        true => vec!["the step is hardly steeper than the rest of the curve".to_owned()],
        false => Vec::new(),
    };
    let fields = vec![
        ("volume", of(place, volume.dim)),
        ("volume_sd", of((right.0 - left.0) / 12.0_f64.sqrt(), volume.dim)),
        ("reading", reading.same(there)),
        ("slope", of(slope, dim_of(reading.dim.div(volume.dim))?)),
    ];
    Ok(result(fields, &doubts))
}
