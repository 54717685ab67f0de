//! How fast values change.

use super::{Inputs, POINTS_MAX, curves, dim_of, line, list, number, of, result};
use crate::expr::Value;
use crate::units::{Dimension as D, Quantity};

/// Values and their places.
pub(super) struct Course {
    pub x: Vec<f64>,
    pub x_dim: D,
    pub y: Vec<f64>,
    pub y_dim: D,
    /// The values are temperatures on a scale.
    pub point: bool,
}

/// A curve as it is; a list at the places `over`, or counted from 0.
pub(super) fn course(inputs: &Inputs) -> Result<Course, String> {
    if matches!(inputs.get("of"), Some(Value::Series(_))) {
        if inputs.contains_key("over") {
            return Err("a curve has its own places; leave `over` out".to_owned());
        }
        let all = curves(inputs, "of")?;
        let series = all.first().ok_or("`of` is missing")?;
        let (x, y) = (series.x.clone(), series.y.clone());
        return Ok(Course { x, x_dim: series.x_dim, y, y_dim: series.y_dim, point: false });
    }
    let values = list(inputs, "of")?;
    let (x, x_dim) = match inputs.contains_key("over") {
        true => {
            let over = list(inputs, "over")?;
            if over.values.len() != values.values.len() {
                return Err(format!(
                    "`of` has {} values and `over` {}",
                    values.values.len(),
                    over.values.len()
                ));
            }
            (over.values, over.dim)
        }
        false => ((0..values.values.len().min(POINTS_MAX)).map(|i| i as f64).collect(), D::NONE),
    };
    Ok(Course { x, x_dim, y: values.values, y_dim: values.dim, point: values.point })
}

/// The slope of the straight line through values, by ordinary least squares.
pub(super) fn rate(inputs: &Inputs) -> Result<Value, String> {
    let found = course(inputs)?;
    let line = line::fit(&found.x, &found.y, None)?;
    let slope = dim_of(found.y_dim.div(found.x_dim))?;
    let intercept = Quantity { value: line.intercept, dim: found.y_dim, point: found.point };
    let fields = vec![
        ("slope", of(line.slope, slope)),
        ("slope_sd", of(line.slope_sd, slope)),
        ("intercept", Value::Quantity(intercept)),
        ("intercept_sd", of(line.intercept_sd, found.y_dim)),
        ("r2", of(line.r2, D::NONE)),
        ("count", of(found.x.len() as f64, D::NONE)),
    ];
    Ok(result(fields, &line.doubts(found.x.len())))
}

/// The rate constant k of `y = end + start exp(-k t)`: the negative slope of ln |y - end| over
/// time. The logarithm gives small values the weight of large ones, so the values should stay
/// well away from `end`.
///
/// Errors: values on both sides of `end`, or at it.
/// Source: Atkins and de Paula, Physical Chemistry, 9th ed., section 21.3 (integrated rate laws).
pub(super) fn first_order(inputs: &Inputs) -> Result<Value, String> {
    let found = course(inputs)?;
    let end = number(inputs, "end").unwrap_or(0.0);
    let above = found.y.iter().all(|y| *y > end);
    let below = found.y.iter().all(|y| *y < end);
    if !above && !below {
        return Err(
            "the values reach `end` or lie on both sides of it; use those before".to_owned()
        );
    }
    let logs: Vec<f64> = found.y.iter().map(|y| (y - end).abs().ln()).collect();
    let line = line::fit(&found.x, &logs, None)?;
    let k = -line.slope;
    if k == 0.0 {
        return Err("the values do not change".to_owned());
    }
    let mut doubts = line.doubts(found.x.len());
    if k < 0.0 {
        doubts.push("the values move away from `end`: the rate is negative".to_owned());
    }
    let per = dim_of(D::NONE.div(found.x_dim))?;
    let half = std::f64::consts::LN_2 / k;
    let start = line.intercept.exp() * if above { 1.0 } else { -1.0 };
    let fields = vec![
        ("rate", of(k, per)),
        ("rate_sd", of(line.slope_sd, per)),
        ("half_life", of(half, found.x_dim)),
        ("half_life_sd", of((half * line.slope_sd / k).abs(), found.x_dim)),
        ("start", of(start, found.y_dim)),
        ("r2", of(line.r2, D::NONE)),
        ("count", of(found.x.len() as f64, D::NONE)),
    ];
    Ok(result(fields, &doubts))
}
