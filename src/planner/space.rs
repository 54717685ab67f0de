//! The space of points: checks, and the two codings the methods work on.
//!
//! ```text
//! Point  <->  setting: one number a parameter (itself, or the index of a choice)
//! setting <-> unit cube: one number from 0 to 1 a parameter, for sampling and refinement
//! setting  -> features: what the kernel compares, one or more numbers a parameter
//! ```

use super::problem::{Parameter, ParameterKind, ParameterValue, PlannerError, Point};

/// Choices of one parameter: Hamming distance and enumeration stay cheap.
const CHOICES_MAX: usize = 10_000;
/// Whole numbers beyond this are not exact as `f64`.
const INTEGER_MAX: i64 = 1 << 52;

/// How two values of a feature are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    /// By their difference.
    Difference,
    /// Equal or not.
    Equality,
}

/// A checked list of parameters.
#[derive(Debug, Clone)]
pub(super) struct Space {
    parameters: Vec<Parameter>,
    comparisons: Vec<Comparison>,
}

fn bad(parameter: &Parameter, reason: impl Into<String>) -> PlannerError {
    PlannerError::Problem {
        place: format!("parameter `{}`", parameter.name),
        reason: reason.into(),
    }
}

impl Space {
    /// Checks the parameters; sorts the values of discrete ones.
    pub(super) fn new(mut parameters: Vec<Parameter>) -> Result<Space, PlannerError> {
        if parameters.is_empty() {
            return Err(PlannerError::Problem {
                place: "parameters".into(),
                reason: "there are none".into(),
            });
        }
        let mut names = std::collections::BTreeSet::new();
        let mut comparisons = Vec::new();
        for parameter in &mut parameters {
            if parameter.name.is_empty() || !names.insert(parameter.name.clone()) {
                return Err(bad(parameter, "the name is empty or was given before"));
            }
            check(parameter)?;
            let described = match &mut parameter.kind {
                ParameterKind::Discrete { values } => {
                    values.sort_by(f64::total_cmp);
                    values.dedup();
                    1
                }
                ParameterKind::Categorical { choices, descriptors } => {
                    comparisons.push(Comparison::Equality);
                    choices.first().and_then(|c| descriptors.get(c)).map_or(0, Vec::len)
                }
                _ => 1,
            };
            comparisons.extend(std::iter::repeat_n(Comparison::Difference, described));
        }
        Ok(Space { parameters, comparisons })
    }

    /// Number of parameters.
    pub(super) fn len(&self) -> usize {
        self.parameters.len()
    }

    /// The parameters.
    pub(super) fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// How each feature is compared.
    pub(super) fn comparisons(&self) -> &[Comparison] {
        &self.comparisons
    }

    /// How many points there are, if that is finite and fits.
    pub(super) fn cardinality(&self) -> Option<usize> {
        self.parameters.iter().try_fold(1_usize, |product, p| {
            let count = match &p.kind {
                ParameterKind::Continuous { .. } => return None,
                ParameterKind::Integer { min, max } => usize::try_from(max - min + 1).ok()?,
                ParameterKind::Discrete { values } => values.len(),
                ParameterKind::Categorical { choices, .. } => choices.len(),
            };
            product.checked_mul(count)
        })
    }

    /// The setting with a number below [`Space::cardinality`]; the first parameter runs fastest.
    pub(super) fn nth(&self, index: usize) -> Vec<f64> {
        let mut rest = index;
        let mut digit = |count: usize| {
            let digit = rest % count.max(1);
            rest /= count.max(1);
            digit
        };
        let setting = self.parameters.iter().map(|p| match &p.kind {
            ParameterKind::Continuous { min, .. } => *min,
            ParameterKind::Integer { min, max } => {
                *min as f64 + digit((max - min + 1) as usize) as f64
            }
            ParameterKind::Discrete { values } => {
                values.get(digit(values.len())).copied().unwrap_or(0.0)
            }
            ParameterKind::Categorical { choices, .. } => digit(choices.len()) as f64,
        });
        setting.collect()
    }

    /// Squared distance of two feature vectors, all features alike.
    pub(super) fn distance(&self, a: &[f64], b: &[f64]) -> f64 {
        let pairs = self.comparisons.iter().zip(a.iter().zip(b));
        pairs
            .map(|(comparison, (a, b))| match comparison {
                Comparison::Difference => (a - b) * (a - b),
                Comparison::Equality => f64::from(u8::from(a != b)),
            })
            .sum()
    }

    /// Checks a point and writes it as numbers.
    pub(super) fn setting(&self, point: &Point) -> Result<Vec<f64>, PlannerError> {
        if let Some(unknown) = point.keys().find(|k| !self.parameters.iter().any(|p| p.name == **k))
        {
            let names: Vec<_> = self.parameters.iter().map(|p| p.name.as_str()).collect();
            return Err(PlannerError::Point {
                parameter: unknown.clone(),
                reason: format!("there is no such parameter, only {}", names.join(", ")),
            });
        }
        self.parameters
            .iter()
            .map(|p| {
                point
                    .get(&p.name)
                    .ok_or_else(|| "it is missing".to_owned())
                    .and_then(|value| number(&p.kind, value))
                    .map_err(|reason| PlannerError::Point { parameter: p.name.clone(), reason })
            })
            .collect()
    }

    /// The same for a point that was measured when the space was another one: numbers may lie
    /// outside of it.
    pub(super) fn setting_of_data(&self, point: &Point) -> Result<Vec<f64>, PlannerError> {
        let measured = |p: &Parameter| {
            let value = point.get(&p.name).ok_or_else(|| "it is missing".to_owned())?;
            match (&p.kind, value) {
                (ParameterKind::Continuous { log: true, .. }, ParameterValue::Number(x))
                    if *x <= 0.0 =>
                {
                    Err(format!("{x} has no logarithm"))
                }
                (ParameterKind::Categorical { .. }, _) | (_, ParameterValue::Text(_)) => {
                    number(&p.kind, value)
                }
                (_, ParameterValue::Number(x)) if x.is_finite() => {
                    // Inside, the value is that of the axis, to the last bit.
                    Ok(number(&p.kind, value).unwrap_or(*x))
                }
                (_, ParameterValue::Number(x)) => Err(format!("{x} is not finite")),
            }
        };
        self.parameters
            .iter()
            .map(|p| {
                measured(p)
                    .map_err(|reason| PlannerError::Point { parameter: p.name.clone(), reason })
            })
            .collect()
    }

    /// Whether a setting lies in the space.
    pub(super) fn contains(&self, setting: &[f64]) -> bool {
        self.setting(&self.point(setting)).is_ok()
    }

    /// The point a setting stands for.
    pub(super) fn point(&self, setting: &[f64]) -> Point {
        let values = self.parameters.iter().zip(setting);
        values.map(|(p, &x)| (p.name.clone(), value(&p.kind, x))).collect()
    }

    /// The setting nearest to a place in the unit cube; equal shares for integers and choices.
    pub(super) fn at_unit(&self, unit: &[f64]) -> Vec<f64> {
        let pairs = self.parameters.iter().zip(unit);
        pairs.map(|(p, &u)| from_unit(&p.kind, u.clamp(0.0, 1.0))).collect()
    }

    /// The place of a setting in the unit cube.
    pub(super) fn to_unit(&self, setting: &[f64]) -> Vec<f64> {
        self.parameters.iter().zip(setting).map(|(p, &x)| to_unit(&p.kind, x)).collect()
    }

    /// What the kernel compares.
    pub(super) fn features(&self, setting: &[f64]) -> Vec<f64> {
        let mut features = Vec::with_capacity(self.comparisons.len());
        for (p, &x) in self.parameters.iter().zip(setting) {
            match &p.kind {
                ParameterKind::Continuous { min, max, log: true } => {
                    features.push((x.ln() - min.ln()) / (max.ln() - min.ln()));
                }
                ParameterKind::Continuous { min, max, .. } => {
                    features.push((x - min) / (max - min))
                }
                ParameterKind::Integer { min, max } => {
                    features.push((x - *min as f64) / ((max - min) as f64).max(1.0));
                }
                ParameterKind::Discrete { values } => {
                    let low = values.first().copied().unwrap_or(0.0);
                    let high = values.last().copied().unwrap_or(0.0);
                    features.push(if high > low { (x - low) / (high - low) } else { 0.0 });
                }
                ParameterKind::Categorical { choices, descriptors } => {
                    features.push(x);
                    let own = choices.get(x as usize).and_then(|c| descriptors.get(c));
                    for (k, d) in own.into_iter().flatten().enumerate() {
                        let column = || descriptors.values().filter_map(|row| row.get(k)).copied();
                        let low = column().fold(f64::INFINITY, f64::min);
                        let high = column().fold(f64::NEG_INFINITY, f64::max);
                        features.push(if high > low { (d - low) / (high - low) } else { 0.0 });
                    }
                }
            }
        }
        features
    }
}

fn check(parameter: &Parameter) -> Result<(), PlannerError> {
    match &parameter.kind {
        ParameterKind::Continuous { min, max, log } => {
            if !min.is_finite() || !max.is_finite() || min >= max || !(max - min).is_finite() {
                return Err(bad(parameter, "needs finite limits with min below max"));
            }
            if *log && *min <= 0.0 {
                return Err(bad(parameter, "a log scale needs min above 0"));
            }
        }
        ParameterKind::Integer { min, max } => {
            if min > max || *min < -INTEGER_MAX || *max > INTEGER_MAX {
                return Err(bad(parameter, "needs min not above max, both below 2^52"));
            }
        }
        ParameterKind::Discrete { values } => {
            if values.is_empty() || values.len() > CHOICES_MAX {
                return Err(bad(parameter, format!("needs 1 to {CHOICES_MAX} values")));
            }
            if values.iter().any(|v| !v.is_finite()) {
                return Err(bad(parameter, "a value is not a finite number"));
            }
        }
        ParameterKind::Categorical { choices, descriptors } => {
            if choices.is_empty() || choices.len() > CHOICES_MAX {
                return Err(bad(parameter, format!("needs 1 to {CHOICES_MAX} choices")));
            }
            let distinct: std::collections::BTreeSet<_> = choices.iter().collect();
            if distinct.len() != choices.len() {
                return Err(bad(parameter, "a choice is given twice"));
            }
            if !descriptors.is_empty() {
                if let Some(odd) = descriptors.keys().find(|k| !distinct.contains(k)) {
                    return Err(bad(parameter, format!("descriptors for `{odd}`, not a choice")));
                }
                if let Some(bare) = choices.iter().find(|c| !descriptors.contains_key(*c)) {
                    return Err(bad(parameter, format!("no descriptors for `{bare}`")));
                }
                let width = descriptors.values().next().map_or(0, Vec::len);
                let even = descriptors.values().all(|d| d.len() == width);
                if !even || descriptors.values().flatten().any(|d| !d.is_finite()) {
                    return Err(bad(parameter, "needs equally many finite descriptors a choice"));
                }
            }
        }
    }
    Ok(())
}

fn number(kind: &ParameterKind, value: &ParameterValue) -> Result<f64, String> {
    match (kind, value) {
        (ParameterKind::Categorical { choices, .. }, ParameterValue::Text(text)) => choices
            .iter()
            .position(|c| c == text)
            .map(|i| i as f64)
            .ok_or_else(|| format!("`{text}` is not one of {}", choices.join(", "))),
        (ParameterKind::Categorical { .. }, ParameterValue::Number(x)) => {
            Err(format!("{x} is a number, a choice is text"))
        }
        (_, ParameterValue::Text(text)) => Err(format!("`{text}` is text, not a number")),
        (_, ParameterValue::Number(x)) if !x.is_finite() => Err(format!("{x} is not finite")),
        (ParameterKind::Continuous { min, max, .. }, ParameterValue::Number(x)) => {
            // Unit conversions may move a limit by a few units in the last place.
            let slack = 1e-9 * (max - min);
            if *x < min - slack || *x > max + slack {
                return Err(format!("{x} is outside of {min} to {max}"));
            }
            Ok(x.clamp(*min, *max))
        }
        (ParameterKind::Integer { min, max }, ParameterValue::Number(x)) => {
            let whole = x.round();
            if (x - whole).abs() > 1e-9 * whole.abs().max(1.0) {
                return Err(format!("{x} is not a whole number"));
            }
            if whole < *min as f64 || whole > *max as f64 {
                return Err(format!("{x} is outside of {min} to {max}"));
            }
            Ok(whole)
        }
        (ParameterKind::Discrete { values }, ParameterValue::Number(x)) => values
            .iter()
            .copied()
            .find(|v| (v - x).abs() <= 1e-9 * v.abs().max(x.abs()))
            .ok_or_else(|| format!("{x} is not one of {values:?}")),
    }
}

fn value(kind: &ParameterKind, x: f64) -> ParameterValue {
    match kind {
        ParameterKind::Categorical { choices, .. } => {
            ParameterValue::Text(choices.get(x as usize).cloned().unwrap_or_default())
        }
        _ => ParameterValue::Number(x),
    }
}

/// Index of the share of the unit interval that `u` falls into.
fn share(u: f64, count: usize) -> usize {
    ((u * count as f64) as usize).min(count.saturating_sub(1))
}

fn from_unit(kind: &ParameterKind, u: f64) -> f64 {
    match kind {
        ParameterKind::Continuous { min, max, log: true } => {
            (min.ln() + u * (max.ln() - min.ln())).exp().clamp(*min, *max)
        }
        ParameterKind::Continuous { min, max, .. } => (min + u * (max - min)).clamp(*min, *max),
        ParameterKind::Integer { min, max } => {
            let count = (max - min + 1) as f64;
            (*min as f64 + (u * count).floor()).min(*max as f64)
        }
        ParameterKind::Discrete { values } => {
            values.get(share(u, values.len())).copied().unwrap_or(0.0)
        }
        ParameterKind::Categorical { choices, .. } => share(u, choices.len()) as f64,
    }
}

fn to_unit(kind: &ParameterKind, x: f64) -> f64 {
    match kind {
        ParameterKind::Continuous { min, max, log: true } => {
            ((x.ln() - min.ln()) / (max.ln() - min.ln())).clamp(0.0, 1.0)
        }
        ParameterKind::Continuous { min, max, .. } => ((x - min) / (max - min)).clamp(0.0, 1.0),
        ParameterKind::Integer { min, max } => (x - *min as f64 + 0.5) / ((max - min + 1) as f64),
        ParameterKind::Discrete { values } => {
            let index = values.iter().position(|v| *v == x).unwrap_or(0);
            (index as f64 + 0.5) / values.len() as f64
        }
        ParameterKind::Categorical { choices, .. } => (x + 0.5) / choices.len() as f64,
    }
}
