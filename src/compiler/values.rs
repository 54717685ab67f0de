//! Written values and expressions against what they must be.

use std::collections::BTreeMap;

use super::names::Names;
use crate::expr::{self, Expr, Interval, RangeEnv, Type, Value};
use crate::spec::{
    Diagnostic, Expression, Named, Report, Span, ValueSpec, ValueType, Written, codes,
};
use crate::units::{Quantity, Unit};

/// Relative slack at limits: a value at its limit may have gone through another unit.
const SLACK: f64 = 1e-9;

/// An expression with its type checked; errors point into the YAML.
pub fn checked(
    expression: &Expression,
    names: &Names<'_>,
    report: &mut Report,
) -> Option<(Expr, Type)> {
    match expr::check(&expression.expr, names) {
        Ok(found) => {
            report_uncertain(expression, names, report);
            Some((expr::fold(&expression.expr, names), found))
        }
        Err(errors) => {
            for error in errors {
                let place = expression.place(error.span.clone());
                report.push(name_error(&error, place, expression, names));
            }
            None
        }
    }
}

fn name_error(
    error: &expr::ExprError,
    place: Span,
    expression: &Expression,
    names: &Names<'_>,
) -> Diagnostic {
    use crate::expr::ErrorKind as E;
    let path: Option<Vec<String>> = (error.kind == E::Name)
        .then(|| {
            let text = expression.expr.text().get(error.span.clone())?;
            Some(text.split('.').map(str::to_owned).collect())
        })
        .flatten();
    let first = path.as_ref().and_then(|p| p.first()).map(String::as_str);
    let second = path.as_ref().and_then(|p| p.get(1));
    let code = match (error.kind, first) {
        (E::Name, Some("steps")) => match second {
            Some(step) if names.all_steps.contains(step) && names.steps.get(step).is_none() => {
                return Diagnostic::error(
                    codes::USED_BEFORE_SET,
                    place,
                    format!("move this behind step `{step}`: it has no value here yet"),
                )
                .label("read before it is there")
                .reason("a step can read only steps that have ended on every path before it")
                .fix("move this after it, or add `after:`");
            }
            _ => codes::UNKNOWN_STEP,
        },
        (E::Name, Some("params")) => codes::UNKNOWN_PARAMETER,
        (E::Name, Some("roles")) => match second.is_some_and(|r| names.roles.contains_key(r)) {
            true => codes::UNKNOWN_PROPERTY,
            false => codes::UNKNOWN_ROLE,
        },
        (E::Name, Some("lab")) => codes::UNKNOWN_STOCK,
        (E::Name, Some("results")) => codes::UNKNOWN_RESULT,
        (E::Name, _) if error.message.contains("function") => codes::UNKNOWN_FUNCTION,
        (E::Name, _) => codes::UNKNOWN_NAME,
        _ => codes::EXPRESSION_TYPE,
    };
    let written = expression.expr.text().get(error.span.clone()).unwrap_or_default();
    // A help that is one name stands for the last part of what is written.
    let better =
        error.help.as_ref().filter(|h| !h.contains(char::is_whitespace)).map(|help| match written
            .rsplit_once('.')
        {
            Some((before, _)) if !help.contains('.') && error.kind == E::Name => {
                format!("{before}.{help}")
            }
            _ => help.clone(),
        });
    match (better, error.kind) {
        (Some(better), E::Name) => {
            Diagnostic::error(code, place, format!("write `{better}` instead of `{written}`"))
                .label("nothing has this name")
                .fix(better)
        }
        (better, kind) => {
            let mut wrong = Diagnostic::error(code, place, error.message.clone());
            if kind == E::Name {
                wrong = wrong.label("nothing has this name");
            }
            wrong.fix = better;
            if wrong.fix.is_none() {
                wrong.reason.clone_from(&error.help);
            }
            wrong
        }
    }
}

/// A step that exists only on some paths may not be read as if it always did.
fn report_uncertain(expression: &Expression, names: &Names<'_>, report: &mut Report) {
    for (path, span) in expression.expr.places_of_names() {
        let [root, name, ..] = path.as_slice() else { continue };
        if root != "steps" {
            continue;
        }
        // In `steps.loop.history.step` it is the third that is read.
        let at = if path.get(2).is_some_and(|word| word == "history") { 3 } else { 2 };
        let inner = path.get(at).filter(|_| names.blocks.contains(name));
        let step = inner.unwrap_or(name);
        if names.steps.get(step).is_some_and(|s| !s.certain) {
            report.push(
                Diagnostic::error(
                    codes::SET_ON_ONE_PATH,
                    expression.place(span),
                    format!("read `steps.{step}` where it always has a value: here it may have none"),
                )
                .label("has a value on some paths only")
                .reason("it stands in one branch of an `if`, or its failure is passed over")
                .fix("give the other branch a step of the same meaning, or read it inside the branch"),
            );
        }
    }
}

/// An expression that must be true or false.
pub fn condition(expression: &Expression, names: &Names<'_>, report: &mut Report) -> Option<Expr> {
    let (expr, found) = checked(expression, names, report)?;
    if matches!(found, Type::Bool | Type::Unknown) {
        return Some(expr);
    }
    report.push(
        Diagnostic::error(
            codes::NOT_BOOLEAN,
            expression.span,
            "compare this with something: a condition is true or false",
        )
        .label(format!("this is a {found}"))
        .fix(format!("{} > ...", expression.text.trim())),
    );
    None
}

/// A value as an expression of the type its declaration asks for, inside its limits for every
/// value its names can take.
pub fn argument(
    written: &Written,
    spec: &ValueSpec,
    names: &Names<'_>,
    report: &mut Report,
) -> Option<Expr> {
    let span = written.span();
    let (expr, found) = match written {
        Written::Expression(expression) => checked(expression, names, report)?,
        Written::Scalar { text, .. } => {
            let value = literal(text, spec, span, report)?;
            let found = value.type_of();
            (Expr::literal(value), found)
        }
        Written::List { .. } | Written::Map { .. } => {
            report.push(
                Diagnostic::error(
                    codes::EXPRESSION_TYPE,
                    span,
                    format!("write one value for `{}`, not several", spec.name.value),
                )
                .also(spec.span, "declared here"),
            );
            return None;
        }
    };
    let wanted = spec.expr_type();
    if found != wanted && found != Type::Unknown {
        report.push(
            Diagnostic::error(
                codes::EXPRESSION_TYPE,
                span,
                format!("give `{}` a {wanted}", spec.name.value),
            )
            .label(format!("this is a {found}"))
            .also(spec.span, "declared here"),
        );
        return None;
    }
    in_limits(&expr, written, spec, names, report);
    if let (ValueType::Choice { options }, Some(Value::Text(text))) =
        (&spec.kind, expr.as_literal())
        && !options.iter().any(|o| *o.value == **text)
    {
        let words: Vec<&str> = options.iter().map(|o| o.value.as_str()).collect();
        let mut wrong = Diagnostic::error(
            codes::OPTION_UNKNOWN,
            span,
            match crate::spec::nearest(text, words.iter().copied()) {
                Some(near) => format!("write `{near}` instead of `{text}`"),
                None => format!("choose `{}` among {}", spec.name.value, words.join(", ")),
            },
        )
        .label("no such option")
        .also(spec.span, "declared here")
        .reason(format!("it is one of {}", words.join(", ")));
        if let Some(near) = crate::spec::nearest(text, words) {
            wrong = wrong.fix(near);
        }
        report.push(wrong);
        return None;
    }
    Some(expr)
}

/// A plain scalar read as its declaration asks.
fn literal(text: &str, spec: &ValueSpec, span: Span, report: &mut Report) -> Option<Value> {
    let wrong = |message: String, fix: Option<String>| {
        let mut wrong = Diagnostic::error(codes::EXPRESSION_TYPE, span, message);
        if let Some(fix) = fix {
            wrong = wrong.fix(fix);
        }
        wrong.also(spec.span, "declared here")
    };
    let problem = match &spec.kind {
        ValueType::Quantity { unit } => match Quantity::parse(text) {
            Ok(q) if q.dim.is_none() && !unit.value.dim.is_none() => {
                let mut missing = Diagnostic::error(
                    codes::MISSING_UNIT,
                    span,
                    format!(
                        "give `{}` its unit, such as `{text} {}`",
                        spec.name.value, unit.value.symbol
                    ),
                )
                .label("a number without a unit")
                .also(spec.span, "declared here");
                missing = missing.fix(format!("{text} {}", unit.value.symbol));
                report.push(missing);
                return None;
            }
            Ok(q) => return Some(Value::Quantity(q)),
            Err(error) => wrong(error.message, error.suggestion),
        },
        ValueType::Number | ValueType::Integer => match text.trim().parse::<f64>() {
            Ok(n) if n.is_finite() && (spec.kind == ValueType::Number || n.fract() == 0.0) => {
                return Some(Value::number(n));
            }
            _ => match Quantity::parse(text) {
                Ok(q) if spec.kind == ValueType::Number && q.dim.is_none() => {
                    return Some(Value::Quantity(q));
                }
                _ => wrong(format!("`{}` must be a plain number", spec.name.value), None),
            },
        },
        ValueType::Bool => match text {
            "true" => return Some(Value::Bool(true)),
            "false" => return Some(Value::Bool(false)),
            _ => wrong(format!("`{}` must be true or false", spec.name.value), None),
        },
        ValueType::Choice { .. } | ValueType::Text => return Some(Value::text(text)),
    };
    report.push(problem);
    None
}

fn in_limits(
    expr: &Expr,
    written: &Written,
    spec: &ValueSpec,
    names: &Names<'_>,
    report: &mut Report,
) {
    let Some(range) = expr::interval(expr, names) else { return };
    let unit = match &spec.kind {
        ValueType::Quantity { unit } => unit.value.clone(),
        _ => Unit::one(),
    };
    let show = |value: f64| Quantity { value, dim: unit.dim, point: unit.point }.display_in(&unit);
    let what = &spec.name.value;
    let constant = range.lo == range.hi;
    let slack = |limit: f64| SLACK * limit.abs().max(f64::MIN_POSITIVE);
    let mut broken = Vec::new();
    if let Some(max) = &spec.max
        && range.hi > max.value.value + slack(max.value.value)
    {
        broken.push((range.hi, max, "at most"));
    }
    if let Some(min) = &spec.min
        && range.lo < min.value.value - slack(min.value.value)
    {
        broken.push((range.lo, min, "at least"));
    }
    for (value, limit, word) in broken {
        let message = if constant {
            format!("make `{what}` {word} {}: it is {}", show(limit.value.value), show(value))
        } else {
            format!(
                "keep `{what}` {word} {}: it may reach {}",
                show(limit.value.value),
                show(value)
            )
        };
        let side = if word == "at most" { "too high" } else { "too low" };
        let code = if constant { codes::OUT_OF_RANGE } else { codes::RANGE_OVER_BOX };
        let mut wrong = Diagnostic::error(code, written.span(), message)
            .label(if constant { side.to_owned() } else { format!("may be {side}") })
            .also(limit.span, "the limit");
        if matches!(written, Written::Scalar { .. }) {
            wrong = wrong.replace(show(limit.value.value));
        }
        if !constant && let Written::Expression(expression) = written {
            let worst = corner(&expression.expr, names, value);
            if !worst.is_empty() {
                wrong = wrong.reason(format!("it does so with {worst}"));
            }
        }
        report.push(wrong);
    }
}

/// Parameters a text depends on, through derived values too.
fn parameters_of(expr: &Expr, names: &Names<'_>) -> Vec<(String, Interval)> {
    let mut found: Vec<(String, Interval)> = Vec::new();
    for path in expr.names() {
        match path.as_slice() {
            [root, name] if root == "params" => {
                if let Some(range) = names.ranges.get(name) {
                    found.push((name.clone(), *range));
                }
            }
            // A derived value may stand on any parameter.
            [root, _] if root == "derived" => {
                return names.ranges.iter().map(|(n, r)| (n.clone(), *r)).collect();
            }
            _ => {}
        }
    }
    found
}

/// Ranges with the parameters at one corner of their box.
struct Corner<'a> {
    names: &'a Names<'a>,
    parameters: BTreeMap<&'a str, Interval>,
    derived: BTreeMap<&'a str, Interval>,
}

impl RangeEnv for Corner<'_> {
    fn range(&self, path: &[String]) -> Option<Interval> {
        let there = match path {
            [root, name] if root == "params" => self.parameters.get(name.as_str()),
            [root, name] if root == "derived" => self.derived.get(name.as_str()),
            _ => None,
        };
        there.copied().or_else(|| self.names.range(path))
    }
}

/// The corner of the parameter box at which an expression takes a value, if one does.
fn corner(expr: &Expr, names: &Names<'_>, value: f64) -> String {
    /// More parameters than this make too many corners.
    const PARAMETERS_MAX: usize = 10;
    let parameters = parameters_of(expr, names);
    if parameters.is_empty() || parameters.len() > PARAMETERS_MAX {
        return String::new();
    }
    let mut best: Option<(f64, u32)> = None;
    for corner in 0..1u32 << parameters.len() {
        let mut at = Corner { names, parameters: BTreeMap::new(), derived: BTreeMap::new() };
        for (index, (name, range)) in parameters.iter().enumerate() {
            let side = if corner >> index & 1 == 1 { range.hi } else { range.lo };
            at.parameters.insert(name, Interval::point(side));
        }
        for (name, derived) in &names.derived_exprs {
            if let Some(range) = expr::interval(derived, &at) {
                at.derived.insert(name, range);
            }
        }
        if let Some(found) = expr::interval(expr, &at) {
            let distance = (found.lo - value).abs();
            if best.is_none_or(|(d, _)| distance < d) {
                best = Some((distance, corner));
            }
        }
    }
    let Some((_, corner)) = best else { return String::new() };
    let show = |name: &str, value: f64| match names.parameters.get(name) {
        Some(Type::Quantity { dim, point }) => {
            Quantity { value, dim: *dim, point: *point }.to_string()
        }
        _ => value.to_string(),
    };
    parameters
        .iter()
        .enumerate()
        .map(|(index, (name, range))| {
            let side = if corner >> index & 1 == 1 { range.hi } else { range.lo };
            format!("{name} = {}", show(name, side))
        })
        .collect::<Vec<_>>()
        .join(", ")
}

/// A list of values, for `for_each` and analysis inputs.
pub fn list(written: &Written, names: &Names<'_>, report: &mut Report) -> Option<(Expr, Type)> {
    match written {
        Written::Expression(expression) => checked(expression, names, report),
        Written::Scalar { text, quoted, .. } => {
            let value = if *quoted { Value::text(text) } else { free_literal(text) };
            let found = value.type_of();
            Some((Expr::literal(value), found))
        }
        Written::List { items, span } => {
            let mut values = Vec::with_capacity(items.len());
            for item in items {
                let (expr, _) = list(item, names, report)?;
                match expr.as_literal() {
                    Some(value) => values.push(value.clone()),
                    None => {
                        report.push(
                            Diagnostic::error(
                                codes::EXPRESSION_NOT_ALLOWED,
                                item.span(),
                                "items of a list must be known before the run",
                            )
                            .fix("write the whole list as one expression, `${ [a, b] }`"),
                        );
                        return None;
                    }
                }
            }
            let first = values.first().map_or(Type::Unknown, Value::type_of);
            if let Some(other) = values.iter().map(Value::type_of).find(|t| *t != first) {
                let message = format!("the list mixes {first} and {other}");
                report.push(Diagnostic::error(codes::EXPRESSION_TYPE, *span, message));
                return None;
            }
            let found = Type::List(Box::new(first));
            Some((Expr::literal(Value::List(values)), found))
        }
        Written::Map { entries, span } => {
            let _: &Vec<Named<Written>> = entries;
            report.push(Diagnostic::error(
                codes::EXPRESSION_TYPE,
                *span,
                "a value or a list is expected here, not a mapping",
            ));
            None
        }
    }
}

/// A scalar without a declaration: a quantity if it reads as one, a truth value, else a text.
pub fn free_literal(text: &str) -> Value {
    match text {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ => Quantity::parse(text).map_or_else(|_| Value::text(text), Value::Quantity),
    }
}

/// A value of the right kind, for the fix of a missing argument.
pub fn sample(spec: &ValueSpec) -> String {
    use ValueType as T;
    match (&spec.kind, &spec.min) {
        (T::Quantity { unit }, Some(min)) => min.value.display_in(&unit.value),
        (T::Quantity { unit }, None) => format!("1 {}", unit.value.symbol),
        (T::Number | T::Integer, _) => "1".to_owned(),
        (T::Bool, _) => "true".to_owned(),
        (T::Choice { options }, _) => options.first().map(|o| o.value.clone()).unwrap_or_default(),
        (T::Text, _) => "\"...\"".to_owned(),
    }
}
