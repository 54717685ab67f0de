//! What stands somewhere, in words for people.

use crate::spec::lab::LabInstrument;
use crate::spec::{Shape, Sources, Span, ValueSpec, ValueType};
use crate::units::{Quantity, Unit};

/// `volume flow in mL/min, from 0.001 mL/min to 20 mL/min`.
pub(super) fn value(spec: &ValueSpec) -> String {
    let (mut text, unit) = match &spec.kind {
        ValueType::Quantity { unit } if unit.value.symbol == "1" => {
            ("a number".to_owned(), unit.value.clone())
        }
        ValueType::Quantity { unit } => {
            (format!("{} in {}", unit.value.dim.name(), unit.value.symbol), unit.value.clone())
        }
        ValueType::Number => ("a number".to_owned(), Unit::one()),
        ValueType::Integer => ("a whole number".to_owned(), Unit::one()),
        ValueType::Bool => ("true or false".to_owned(), Unit::one()),
        ValueType::Text => ("a text".to_owned(), Unit::one()),
        ValueType::Choice { options } => {
            let words: Vec<&str> = options.iter().map(|o| o.value.as_str()).collect();
            (format!("one of {}", words.join(", ")), Unit::one())
        }
    };
    let min = spec.min.as_ref().map(|min| min.value);
    let max = spec.max.as_ref().map(|max| max.value);
    if let Some(range) = range(min, max, &unit) {
        text.push_str(", ");
        text.push_str(&range);
    }
    if let Some(default) = &spec.default {
        text.push_str(&format!("; {} unless given", default.text.trim()));
    } else if !spec.required {
        text.push_str("; may be left out");
    }
    text
}

/// `from 1 mL to 5 mL`, `at least 1 mL`.
pub(super) fn range(min: Option<Quantity>, max: Option<Quantity>, unit: &Unit) -> Option<String> {
    let show = |q: Quantity| q.display_in(unit);
    match (min, max) {
        (Some(min), Some(max)) => Some(format!("from {} to {}", show(min), show(max))),
        (Some(min), None) => Some(format!("at least {}", show(min))),
        (None, Some(max)) => Some(format!("at most {}", show(max))),
        (None, None) => None,
    }
}

/// Limits of a lab on an argument: `in this lab at most 5 mL`.
pub(super) fn lab_limit(
    instrument: &LabInstrument,
    action: &str,
    argument: &ValueSpec,
) -> Option<String> {
    let limit = instrument
        .limits
        .iter()
        .find(|l| l.action.value == action && l.argument.value == argument.name.value)?;
    let unit = match &argument.kind {
        ValueType::Quantity { unit } => unit.value.clone(),
        _ => Unit::one(),
    };
    let min = limit.min.as_ref().map(|min| min.value);
    let max = limit.max.as_ref().map(|max| max.value);
    Some(format!("for {} {}", instrument.name.value, range(min, max, &unit)?))
}

/// What a reading is: `temperature in degC`, `a curve of 1 over nm`.
pub(super) fn shape(shape: &Shape) -> String {
    match shape {
        Shape::Quantity(unit) => format!("{} in {}", unit.value.dim.name(), unit.value.symbol),
        Shape::Number => "a number".to_owned(),
        Shape::Integer => "a whole number".to_owned(),
        Shape::Bool => "true or false".to_owned(),
        Shape::Text => "a text".to_owned(),
        Shape::Record(fields) => {
            let names: Vec<&str> = fields.iter().map(|f| f.name.value.as_str()).collect();
            format!("a record of {}", names.join(", "))
        }
        Shape::Array { unit, axes } => {
            let axes: Vec<&str> = axes.iter().map(|axis| axis.name.value.as_str()).collect();
            format!("an array in {} over {}", unit.value.symbol, axes.join(", "))
        }
        Shape::Series { x, y, .. } => {
            format!("a curve: {} over {}", y.value.symbol, x.value.symbol)
        }
    }
}

/// `instruments/syringe_pump/newera-ne1000.yaml:82`.
pub(super) fn place(span: Span, sources: &Sources) -> Option<String> {
    let (name, at) = sources.locate(span)?;
    Some(format!("{name}:{}", at.line))
}
