//! Spread, summaries and weighted means of lists.

use super::{Inputs, count, list, mean_sd, of, result};
use crate::expr::Value;
use crate::units::Dimension as D;

/// Most values a window holds.
const WINDOW_MAX: usize = 1_000_000;

pub(super) fn relative_change(inputs: &Inputs) -> Result<Value, String> {
    let values = list(inputs, "of")?;
    let wanted = count(inputs, "last", 3, 2..=WINDOW_MAX)?;
    let n = values.values.len();
    let Some(window) = n.checked_sub(wanted).and_then(|start| values.values.get(start..)) else {
        // Not enough values yet to say that nothing changes: as far from steady as can be.
        let why = format!("only {n} of {wanted} values");
        let fields = vec![("value", of(1.0, D::NONE)), ("mean", Value::missing(&why))];
        return Ok(result(fields, &[why]));
    };
    let (mean, _) = mean_sd(window);
    if mean == 0.0 {
        return Err("the values are zero on average, so no change is relative to them".to_owned());
    }
    let high = window.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let low = window.iter().copied().fold(f64::INFINITY, f64::min);
    let change = of((high - low) / mean.abs(), D::NONE);
    Ok(result(vec![("value", change), ("mean", of(mean, values.dim))], &[]))
}

/// Mean in two passes and the standard deviation of a sample (n - 1).
pub(super) fn summary(inputs: &Inputs) -> Result<Value, String> {
    let list = list(inputs, "of")?;
    if list.values.is_empty() {
        return Err("the list is empty".to_owned());
    }
    let (mean, sd) = mean_sd(&list.values);
    let n = list.values.len() as f64;
    let spread = |sd: Option<f64>| match sd {
        Some(sd) => of(sd, list.dim),
        None => Value::missing("one value has no spread"),
    };
    let fields = vec![
        ("count", of(n, D::NONE)),
        ("mean", list.same(mean)),
        ("sd", spread(sd)),
        ("standard_error", spread(sd.map(|sd| sd / n.sqrt()))),
        ("min", list.same(list.values.iter().copied().fold(f64::INFINITY, f64::min))),
        ("max", list.same(list.values.iter().copied().fold(f64::NEG_INFINITY, f64::max))),
    ];
    Ok(result(fields, &[]))
}

/// Mean weighted by 1 / sd², the standard deviation that follows from the given ones, and the
/// Birge ratio sqrt(chi² / (n - 1)): near 1 where the values agree as well as their standard
/// deviations say. Above `1 + 2 / sqrt(2 (n - 1))`, two standard deviations of the ratio, they do
/// not: then `sd` is enlarged by the ratio and the result is uncertain.
///
/// Source: Birge, Phys. Rev. 40, 207 (1932); Bevington and Robinson, Data Reduction and Error
/// Analysis, 3rd ed., eq. 4.17 and 4.19.
pub(super) fn combine(inputs: &Inputs) -> Result<Value, String> {
    let (values, sds) = (list(inputs, "values")?, list(inputs, "sds")?);
    let n = values.values.len();
    if n == 0 || sds.values.len() != n {
        return Err(format!("there are {n} values and {} standard deviations", sds.values.len()));
    }
    if sds.values.iter().any(|sd| *sd <= 0.0) {
        return Err("a standard deviation must be greater than zero".to_owned());
    }
    // Weights relative to the best value, so that small numbers do not overflow.
    let best = sds.values.iter().copied().fold(f64::INFINITY, f64::min);
    let weights: Vec<f64> = sds.values.iter().map(|sd| (best / sd).powi(2)).collect();
    let total: f64 = weights.iter().sum();
    let mean = values.values.iter().zip(&weights).map(|(v, w)| v * w).sum::<f64>() / total;
    let sd = best / total.sqrt();
    let chi2: f64 =
        values.values.iter().zip(&sds.values).map(|(v, sd)| ((v - mean) / sd).powi(2)).sum();
    let free = n as f64 - 1.0;
    let ratio = if n > 1 { (chi2 / free).sqrt() } else { 1.0 };
    let consistent = n == 1 || ratio <= 1.0 + 2.0 / (2.0 * free).sqrt();
    let doubts = match consistent {
        true => Vec::new(),
        false => vec![format!(
            "the values differ {ratio:.1} times as much as their standard deviations say"
        )],
    };
    let fields = vec![
        ("value", values.same(mean)),
        ("sd", of(if consistent { sd } else { sd * ratio }, values.dim)),
        ("birge_ratio", of(ratio, D::NONE)),
        ("consistent", Value::Bool(consistent)),
    ];
    Ok(result(fields, &doubts))
}
