//! Spread and summaries of lists.

use super::{Inputs, at, mean_sd, of, quantity, record};
use crate::expr::Value;
use crate::units::Dimension as D;

fn numbers(inputs: &Inputs, name: &str) -> Result<(Vec<f64>, D, bool), String> {
    let place = quantity(inputs, "at", D::LENGTH)?;
    let Some(Value::List(items)) = inputs.get(name) else {
        return Err(format!("`{name}` must be a list"));
    };
    let mut values = Vec::with_capacity(items.len());
    let mut known: Option<(D, bool)> = None;
    for item in items {
        let (value, dim, point) = match (item, place) {
            (Value::Quantity(q), _) => (q.value, q.dim, q.point),
            (Value::Series(s), Some(place)) => (at(s, place)?, s.y_dim, false),
            (Value::Series(_), None) => {
                return Err("it holds curves; say where to read them with `at`".to_owned());
            }
            (other, _) => return Err(format!("`{name}` holds a {}", other.type_of())),
        };
        if *known.get_or_insert((dim, point)) != (dim, point) {
            return Err(format!("`{name}` mixes units"));
        }
        values.push(value);
    }
    let (dim, point) = known.unwrap_or((D::NONE, false));
    Ok((values, dim, point))
}

pub(super) fn relative_change(inputs: &Inputs) -> Result<Value, String> {
    let (values, dim, _) = numbers(inputs, "of")?;
    let last = quantity(inputs, "last", D::NONE)?.unwrap_or(3.0);
    if !(2.0..=1e6).contains(&last) || last.fract() != 0.0 {
        return Err("`last` must be a whole number of at least 2".to_owned());
    }
    let wanted = last as usize;
    let Some(window) = values.len().checked_sub(wanted).and_then(|start| values.get(start..))
    else {
        // Not enough values yet to say that nothing changes: as far from steady as can be.
        return Ok(record(&[
            ("value", of(1.0, D::NONE)),
            ("mean", Value::missing(format!("only {} of {wanted} values", values.len()))),
        ]));
    };
    let (mean, _) = mean_sd(window);
    if mean == 0.0 {
        return Err("the values are zero on average, so no change is relative to them".to_owned());
    }
    let high = window.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let low = window.iter().copied().fold(f64::INFINITY, f64::min);
    Ok(record(&[("value", of((high - low) / mean.abs(), D::NONE)), ("mean", of(mean, dim))]))
}

pub(super) fn summary(inputs: &Inputs) -> Result<Value, String> {
    let (values, dim, point) = numbers(inputs, "of")?;
    if values.is_empty() {
        return Err("the list is empty".to_owned());
    }
    let (mean, sd) = mean_sd(&values);
    let n = values.len() as f64;
    let scale = |value: f64| match of(value, dim) {
        Value::Quantity(q) => Value::Quantity(crate::units::Quantity { point, ..q }),
        other => other,
    };
    Ok(record(&[
        ("count", of(n, D::NONE)),
        ("mean", scale(mean)),
        ("sd", of(sd, dim)),
        ("standard_error", of(sd / n.sqrt(), dim)),
        ("min", scale(values.iter().copied().fold(f64::INFINITY, f64::min))),
        ("max", scale(values.iter().copied().fold(f64::NEG_INFINITY, f64::max))),
    ]))
}
