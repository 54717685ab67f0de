//! Quantities and units in documents: what `units` says, in the words of the person who wrote it.

use crate::expr::Value;
use crate::units::{Dimension, Quantity, Unit, UnitError};

use super::codes;
use super::diagnostic::Diagnostic;
use super::source::Span;

/// A diagnostic is large and rare; boxed so that the good path stays small.
type Fault = Box<Diagnostic>;

/// A finite number without a unit.
pub(super) fn number(text: &str) -> Option<f64> {
    let first = text.trim_start_matches(['+', '-']).chars().next()?;
    // `inf` and `nan` are numbers to Rust and to nobody else.
    (first.is_ascii_digit() || first == '.').then_some(())?;
    text.parse::<f64>().ok().filter(|n| n.is_finite())
}

/// Whether something is a number with anything behind it, such as a unit.
fn leading_number(text: &str) -> Option<(&str, &str)> {
    let digits = |c: char| c.is_ascii_digit() || matches!(c, '.' | '+' | '-' | 'e' | 'E');
    let end = text.find(|c: char| !digits(c)).unwrap_or(text.len());
    // `5 eV`: an exponent without digits belongs to what follows.
    let (number_text, rest) = text.split_at(end);
    let trimmed = number_text.trim_end_matches(['e', 'E', '+', '-']);
    let rest_start = trimmed.len();
    number(trimmed)?;
    let _ = rest;
    Some((trimmed, text.get(rest_start..)?.trim()))
}

fn unit_fault(error: &UnitError, span: Span, key: &str) -> Fault {
    let ambiguous = error.message.contains("two ways");
    let code = if ambiguous { codes::AMBIGUOUS_UNIT } else { codes::UNKNOWN_UNIT };
    let mut diagnostic = Diagnostic::error(
        code,
        span,
        match &error.suggestion {
            Some(better) => format!("write `{better}` for `{key}`: {}", error.message),
            None => format!("`{key}` needs a unit labloop knows: {}", error.message),
        },
    )
    .label(if ambiguous { "above or below the line?" } else { "not a unit labloop knows" })
    .reason(
        "units are UCUM and what labs use (degC, rpm, M, mM, uL, µL, psi, bar, %); case matters",
    );
    diagnostic.fix = error.suggestion.clone().map(|better| format!("{key}: {better}"));
    Box::new(diagnostic)
}

/// A unit.
pub(super) fn unit(text: &str, span: Span, key: &str) -> Result<Unit, Fault> {
    Unit::parse(text).map_err(|error| unit_fault(&error, span, key))
}

/// A number and a unit of any dimension; a bare number is dimensionless.
pub(super) fn any_quantity(text: &str, span: Span, key: &str) -> Result<Quantity, Fault> {
    if let Some(value) = number(text) {
        return Ok(Quantity::number(value));
    }
    if leading_number(text).is_none() {
        return Err(not_a_quantity(text, "a number and a unit", "5 mL", span, key));
    }
    Quantity::parse(text).map_err(|error| unit_fault(&error, span, key))
}

/// A value that could stand where a unit is expected.
pub(super) fn example(unit: &Unit) -> String {
    if unit.symbol.is_empty() || unit.symbol == "1" {
        "1.5".to_owned()
    } else {
        format!("5 {}", unit.symbol)
    }
}

/// A number and a unit in the dimension of `unit`.
pub(super) fn quantity(text: &str, unit: &Unit, span: Span, key: &str) -> Result<Quantity, Fault> {
    let needs_unit = !(unit.symbol.is_empty() || unit.symbol == "1");
    if let Some(value) = number(text) {
        if !needs_unit {
            return Ok(Quantity::number(value));
        }
        return Err(missing_unit(text, &unit.symbol, &unit.dim.name(), span, key));
    }
    if leading_number(text).is_none() {
        return Err(not_a_quantity(text, &kind_of(unit), &example(unit), span, key));
    }
    let value = Quantity::parse(text).map_err(|error| unit_fault(&error, span, key))?;
    if value.dim != unit.dim {
        if !needs_unit {
            return Err(unit_on_a_number(text, span, key));
        }
        let found = value.dim.name();
        return Err(Box::new(
            Diagnostic::error(
                codes::WRONG_DIMENSION,
                span,
                format!("give `{key}` in {} or another unit of {}", unit.symbol, unit.dim.name()),
            )
            .label(format!("this is a {found}"))
            .fix(format!("{key}: {}", example(unit))),
        ));
    }
    match (unit.point, value.point) {
        // Kelvin say an absolute temperature as well as a difference; here it is the former.
        (true, false) if value.dim == Dimension::TEMPERATURE => {
            Ok(Quantity { point: true, ..value })
        }
        (false, true) => Err(Box::new(
            Diagnostic::error(
                codes::TEMPERATURE_DIFFERENCE,
                span,
                format!("give `{key}` in K: it is a difference of temperatures"),
            )
            .label("a point on a temperature scale")
            .fix(format!("{key}: {} K", text.split_whitespace().next().unwrap_or("1"))),
        )),
        _ => Ok(value),
    }
}

fn kind_of(unit: &Unit) -> String {
    if unit.symbol.is_empty() || unit.symbol == "1" {
        "a number".to_owned()
    } else {
        format!("a {}, such as {}", unit.dim.name(), example(unit))
    }
}

/// A time.
pub(super) fn time(text: &str, span: Span, key: &str) -> Result<Quantity, Fault> {
    if number(text).is_some() {
        return Err(missing_unit(text, "s", "time", span, key));
    }
    if leading_number(text).is_none() {
        return Err(not_a_quantity(text, "a time, such as 5 min", "5 min", span, key));
    }
    let value = Quantity::parse(text).map_err(|error| unit_fault(&error, span, key))?;
    if value.dim != Dimension::TIME {
        return Err(Box::new(
            Diagnostic::error(codes::WRONG_DIMENSION, span, format!("give `{key}` as a time"))
                .label(format!("this is a {}", value.dim.name()))
                .fix(format!("{key}: 5 min")),
        ));
    }
    Ok(value)
}

fn missing_unit(text: &str, symbol: &str, kind: &str, span: Span, key: &str) -> Fault {
    let fix = if kind == "time" {
        format!("{key}: {text} s, or {key}: {text} min")
    } else {
        format!("{key}: {text} {symbol}")
    };
    Box::new(
        Diagnostic::error(
            codes::MISSING_UNIT,
            span,
            format!("add the unit to `{key}`: {text} of what?"),
        )
        .label("a number without a unit")
        .reason(format!(
            "`{key}` is a {kind}; a bare number is refused even where it seems obvious"
        ))
        .fix(fix),
    )
}

fn not_a_quantity(text: &str, wanted: &str, example: &str, span: Span, key: &str) -> Fault {
    let shown: String = text.chars().take(40).collect();
    Box::new(
        Diagnostic::error(codes::NOT_A_QUANTITY, span, format!("`{key}` must be {wanted}"))
            .label(format!("`{shown}` is not"))
            .fix(format!("{key}: {example}")),
    )
}

fn unit_on_a_number(text: &str, span: Span, key: &str) -> Fault {
    let bare = leading_number(text).map_or("1", |(number, _)| number);
    Box::new(
        Diagnostic::error(
            codes::UNIT_ON_A_COUNT,
            span,
            format!("remove the unit from `{key}`: it is a plain number"),
        )
        .label("a unit stands here")
        .fix(format!("{key}: {bare}")),
    )
}

/// Why a text is not a whole number.
pub(super) fn not_a_count(text: &str, span: Span, key: &str, min: u64, max: u64) -> Diagnostic {
    if let Some(value) = number(text) {
        #[expect(clippy::cast_precision_loss, reason = "only the message uses it")]
        let rounded = value.round().clamp(min as f64, max as f64);
        return Diagnostic::error(
            codes::NOT_A_COUNT,
            span,
            format!("`{key}` must be a whole number from {min} to {max}"),
        )
        .label(if value < 0.0 { "below zero" } else { "not a whole number" })
        .fix(format!("{key}: {rounded}"));
    }
    if leading_number(text).is_some() {
        return *unit_on_a_number(text, span, key);
    }
    *not_a_quantity(text, "a whole number", &min.max(1).to_string(), span, key)
}

/// Why a text is not a number.
pub(super) fn not_a_number(text: &str, span: Span, key: &str) -> Diagnostic {
    if leading_number(text).is_some() {
        return *unit_on_a_number(text, span, key);
    }
    *not_a_quantity(text, "a number without a unit", "1.5", span, key)
}

/// The most telling reading of a plain scalar: truth value, number, quantity, text.
pub(super) fn guess(text: &str) -> Value {
    match text {
        "true" => return Value::Bool(true),
        "false" => return Value::Bool(false),
        _ => {}
    }
    if let Some(value) = number(text) {
        return Value::Quantity(Quantity::number(value));
    }
    match leading_number(text).and_then(|_| Quantity::parse(text).ok()) {
        Some(quantity) => Value::Quantity(quantity),
        None => Value::text(text),
    }
}

/// Shows a quantity in a unit, as a person would write it.
pub(super) fn show(quantity: &Quantity, unit: &Unit) -> String {
    quantity.display_in(unit)
}
