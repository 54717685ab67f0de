//! Whether something has become steady.

use super::rate::course;
use super::{Inputs, count, dim_of, line, mean_sd, number, of, result};
use crate::expr::Value;
use crate::units::{Dimension as D, Quantity};

/// Most values a window holds.
const WINDOW_MAX: usize = 1_000_000;
/// Fewest values that a slope and a scatter can be told apart from.
const VALUES_MIN: usize = 3;

/// Whether the last values neither drift nor scatter: the straight line through them changes by
/// at most the tolerance over the window, and the standard deviation around it is at most the
/// tolerance. With too few values the answer is no, and uncertain.
///
/// Source: the slope test of Kelly and Hedengren, A steady-state detection algorithm to detect
/// non-stationary drifts in processes, J. Process Control 23, 326 (2013), with limits a person
/// can name instead of a t-test, which calls any noise-free drift significant.
pub(super) fn steady_state(inputs: &Inputs) -> Result<Value, String> {
    let found = course(inputs)?;
    let n = found.y.len();
    let span = number(inputs, "window");
    if span.is_some_and(|span| span <= 0.0) {
        return Err("`window` must be greater than zero".to_owned());
    }
    if span.is_some() && matches!(inputs.get("of"), Some(Value::List(_))) {
        return Err("`window` is for one curve; say how many of a list with `last`".to_owned());
    }
    let (start, enough) = match span {
        Some(span) => {
            let from = found.x.last().copied().unwrap_or(0.0) - span;
            let start = found.x.partition_point(|x| *x < from);
            // A curve shorter than the window says nothing about its whole length.
            (start, found.x.first().is_some_and(|x| *x <= from) && n - start >= VALUES_MIN)
        }
        None => {
            let wanted = count(inputs, "last", 5, VALUES_MIN..=WINDOW_MAX)?;
            (n.saturating_sub(wanted), n >= wanted)
        }
    };
    let x = found.x.get(start..).unwrap_or_default();
    let y = found.y.get(start..).unwrap_or_default();
    let slope_dim = dim_of(found.y_dim.div(found.x_dim))?;
    if !enough {
        let why = format!("only {} values yet", y.len());
        let missing = || Value::missing(&why);
        let fields = vec![
            ("steady", Value::Bool(false)),
            ("slope", missing()),
            ("drift", missing()),
            ("mean", missing()),
            ("sd", missing()),
            ("count", of(y.len() as f64, D::NONE)),
        ];
        return Ok(result(fields, std::slice::from_ref(&why)));
    }
    let line = line::fit(x, y, None)?;
    let width = x.last().copied().unwrap_or(0.0) - x.first().copied().unwrap_or(0.0);
    let (mean, _) = mean_sd(y);
    let tolerance = match (number(inputs, "tolerance"), number(inputs, "relative")) {
        (Some(absolute), _) => absolute,
        (None, Some(relative)) => relative * mean.abs(),
        (None, None) => return Err("`tolerance` or `relative` is missing".to_owned()),
    };
    if tolerance < 0.0 {
        return Err("the tolerance must not be below zero".to_owned());
    }
    let drift = line.slope * width;
    let steady = drift.abs() <= tolerance && line.residual_sd <= tolerance;
    let mean = Quantity { value: mean, dim: found.y_dim, point: found.point };
    let fields = vec![
        ("steady", Value::Bool(steady)),
        ("slope", of(line.slope, slope_dim)),
        ("drift", of(drift, found.y_dim)),
        ("mean", Value::Quantity(mean)),
        ("sd", of(line.residual_sd, found.y_dim)),
        ("count", of(y.len() as f64, D::NONE)),
    ];
    Ok(result(fields, &[]))
}
