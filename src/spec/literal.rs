//! Values whose type is known only from another document: arguments, configuration, `--set`.

use crate::expr::{Expr, Value};
use crate::units::Quantity;

use super::codes;
use super::diagnostic::Diagnostic;
use super::nearest::nearest;
use super::physics;
use super::source::Span;
use super::value::{Expression, ValueSpec, ValueType, Written};

/// A diagnostic is large and rare; boxed so that the good path stays small.
type Fault = Box<Diagnostic>;

/// A written value as what `spec` wants: an expression is kept (its type is checked by
/// [`crate::expr::check`]), a plain value becomes a literal of the right type inside the limits.
pub fn typed(written: &Written, spec: &ValueSpec) -> Result<Expression, Fault> {
    match written {
        Written::Expression(expression) => Ok(expression.clone()),
        Written::Scalar { text, quoted, span } => {
            let value = value(text, *quoted, spec, *span)?;
            Ok(literal(value, text, *quoted, *span))
        }
        Written::List { span, .. } | Written::Map { span, .. } => Err(Box::new(
            Diagnostic::error(
                codes::WRONG_KIND,
                *span,
                format!("write `{}` as a single value", spec.name.value),
            )
            .label("not a single value"),
        )),
    }
}

/// A text, as of `--set name=value`, as what `spec` wants; the error is a message for people.
pub fn parse(text: &str, spec: &ValueSpec) -> Result<Value, String> {
    value(text, false, spec, Span::default()).map_err(|fault| {
        let hint = if fault.place.text.is_empty() {
            String::new()
        } else {
            format!(" ({})", fault.place.text)
        };
        format!("{}{hint}", fault.message)
    })
}

/// A written value as the most telling literal: truth value, number, quantity, list, record, else
/// text. Expressions inside lists and records have no literal: `None`.
pub fn guess(written: &Written) -> Option<Value> {
    Some(match written {
        Written::Expression(expression) => expression.expr.as_literal()?.clone(),
        Written::Scalar { text, quoted: true, .. } => Value::text(text),
        Written::Scalar { text, .. } => physics::guess(text),
        Written::List { items, .. } => Value::List(items.iter().map(guess).collect::<Option<_>>()?),
        Written::Map { entries, .. } => Value::Record(
            entries
                .iter()
                .map(|entry| Some((entry.name.value.clone(), guess(&entry.value)?)))
                .collect::<Option<_>>()?,
        ),
    })
}

/// The same as an expression, for single values and expressions.
pub fn guessed(written: &Written) -> Option<Expression> {
    match written {
        Written::Expression(expression) => Some(expression.clone()),
        Written::Scalar { text, quoted, span } => {
            Some(literal(guess(written)?, text, *quoted, *span))
        }
        Written::List { span, .. } | Written::Map { span, .. } => {
            Some(literal(guess(written)?, "", false, *span))
        }
    }
}

fn literal(value: Value, text: &str, quoted: bool, span: Span) -> Expression {
    Expression {
        expr: Expr::literal(value),
        text: text.to_owned(),
        span,
        offsets: Vec::new(),
        start: span.start.saturating_add(u32::from(quoted)),
    }
}

fn value(text: &str, quoted: bool, spec: &ValueSpec, span: Span) -> Result<Value, Fault> {
    let key = spec.name.value.as_str();
    let found = match &spec.kind {
        ValueType::Quantity { unit } => {
            Value::Quantity(physics::quantity(text, &unit.value, span, key)?)
        }
        ValueType::Number | ValueType::Integer => {
            let Some(number) = physics::number(text) else {
                return Err(Box::new(physics::not_a_number(text, span, key)));
            };
            if spec.kind == ValueType::Integer && number.fract() != 0.0 {
                return Err(Box::new(
                    Diagnostic::error(
                        codes::NOT_A_COUNT,
                        span,
                        format!("`{key}` must be a whole number"),
                    )
                    .label("not a whole number")
                    .fix(format!("{key}: {}", number.round())),
                ));
            }
            Value::Quantity(Quantity::number(number))
        }
        ValueType::Bool => match (text, quoted) {
            ("true", false) => Value::Bool(true),
            ("false", false) => Value::Bool(false),
            _ => {
                return Err(Box::new(
                    Diagnostic::error(
                        codes::UNKNOWN_WORD,
                        span,
                        format!("write true or false for `{key}`"),
                    )
                    .label("neither true nor false")
                    .fix(format!("{key}: true")),
                ));
            }
        },
        ValueType::Text => Value::text(text),
        ValueType::Choice { options } => {
            let words: Vec<&str> = options.iter().map(|option| option.value.as_str()).collect();
            if !words.contains(&text) {
                return Err(Box::new(unknown_option(text, &words, span, key)));
            }
            Value::text(text)
        }
    };
    within(&found, spec, span)?;
    Ok(found)
}

fn unknown_option(text: &str, words: &[&str], span: Span, key: &str) -> Diagnostic {
    let near = nearest(text, words.iter().copied());
    let message = match near {
        Some(near) => format!("write `{near}` instead of `{text}`"),
        None => format!("`{key}` must be one of: {}", words.join(", ")),
    };
    let mut diagnostic = Diagnostic::error(codes::UNKNOWN_WORD, span, message)
        .label("not one of the options")
        .reason(format!("the options of `{key}` are: {}", words.join(", ")));
    diagnostic.fix = near.map(|near| format!("{key}: {near}"));
    diagnostic
}

/// Whether a value is inside the limits of `spec`.
pub fn within(value: &Value, spec: &ValueSpec, span: Span) -> Result<(), Fault> {
    let Value::Quantity(quantity) = value else { return Ok(()) };
    let unit = match &spec.kind {
        ValueType::Quantity { unit } => unit.value.clone(),
        _ => crate::units::Unit::one(),
    };
    let below = spec.min.as_ref().filter(|min| quantity.value < min.value.value);
    let above = spec.max.as_ref().filter(|max| quantity.value > max.value.value);
    let Some(limit) = below.or(above) else { return Ok(()) };
    let key = &spec.name.value;
    let shown = physics::show(&limit.value, &unit);
    let word = if below.is_some() { "at least" } else { "at most" };
    Err(Box::new(
        Diagnostic::error(codes::OUT_OF_RANGE, span, format!("choose `{key}` {word} {shown}"))
            .label(format!("this is {}", physics::show(quantity, &unit)))
            .also(limit.span, "the limit")
            .fix(format!("{key}: {shown}")),
    ))
}
