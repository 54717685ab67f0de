//! Built-in functions: their types and values.

use super::check::Type;
use super::{ErrorKind, Value};
use crate::units::{Dimension, Quantity};

/// Names of all built-in functions.
pub(super) const NAMES: &[&str] = &[
    "abs", "min", "max", "round", "clamp", "sqrt", "exp", "ln", "log10", "mean", "sd", "slope",
    "last", "len",
];
/// Functions whose meaning depends on where they stand; the environment resolves them.
pub(super) const CONTEXT: &[&str] = &["stale", "settled", "improvement"];

pub(super) type Problem = (ErrorKind, String);

fn wrong(kind: ErrorKind, message: impl Into<String>) -> Problem {
    (kind, message.into())
}

/// Type of a call, if its arguments fit.
pub(super) fn type_of(name: &str, args: &[Type]) -> Result<Type, Problem> {
    let count = |n: usize| {
        if args.len() == n {
            Ok(())
        } else {
            let values = if n == 1 { "value" } else { "values" };
            Err(wrong(ErrorKind::Type, format!("`{name}` takes {n} {values}, not {}", args.len())))
        }
    };
    match name {
        "abs" => {
            count(1)?;
            match args.first() {
                Some(Type::Quantity { point: true, .. }) => Err(wrong(
                    ErrorKind::Type,
                    "`abs` of a temperature on a scale has no meaning; take a difference",
                )),
                Some(Type::Quantity { .. } | Type::Unknown) => Ok(first(args)),
                _ => Err(needs_number(name)),
            }
        }
        "round" | "exp" | "ln" | "log10" => {
            if name == "round" && args.len() == 2 {
                // round(x, step) keeps the unit of x.
                return same(name, args);
            }
            count(1)?;
            match args.first() {
                Some(Type::Quantity { dim, .. }) if !dim.is_none() => Err(wrong(
                    ErrorKind::Dimension,
                    format!("`{name}` takes a number without a unit, not a {dim}"),
                )),
                Some(Type::Quantity { .. } | Type::Unknown) => Ok(number()),
                _ => Err(needs_number(name)),
            }
        }
        "sqrt" => {
            count(1)?;
            match args.first() {
                Some(Type::Quantity { dim, point: false }) => {
                    dim.sqrt().map(|dim| Type::Quantity { dim, point: false }).ok_or_else(|| {
                        wrong(ErrorKind::Dimension, format!("a {dim} has no square root"))
                    })
                }
                Some(Type::Unknown) => Ok(Type::Unknown),
                _ => Err(needs_number(name)),
            }
        }
        "clamp" => {
            count(3)?;
            same(name, args)
        }
        "min" | "max" => match args {
            [Type::List(item)] => Ok((**item).clone()),
            [Type::Array { dim }] => Ok(Type::Quantity { dim: *dim, point: false }),
            [] => Err(wrong(ErrorKind::Type, format!("`{name}` takes at least one value"))),
            _ => same(name, args),
        },
        "mean" | "sd" | "last" | "slope" => {
            count(1)?;
            match args.first() {
                Some(Type::List(item)) => Ok(spread(name, item)),
                Some(Type::Series { x, y }) => Ok(match name {
                    "slope" => {
                        y.div(*x).map_or(Type::Unknown, |dim| Type::Quantity { dim, point: false })
                    }
                    _ => Type::Quantity { dim: *y, point: false },
                }),
                Some(Type::Array { dim }) if matches!(name, "mean" | "sd") => {
                    Ok(Type::Quantity { dim: *dim, point: false })
                }
                Some(Type::Unknown) => Ok(Type::Unknown),
                _ => Err(wrong(ErrorKind::Type, format!("`{name}` takes a list or a curve"))),
            }
        }
        "len" => {
            count(1)?;
            match args.first() {
                Some(
                    Type::List(_)
                    | Type::Series { .. }
                    | Type::Array { .. }
                    | Type::Text
                    | Type::Unknown,
                ) => Ok(number()),
                _ => Err(wrong(ErrorKind::Type, "`len` takes a list or a curve")),
            }
        }
        _ => Err(wrong(ErrorKind::Name, format!("there is no function `{name}`"))),
    }
}

fn spread(name: &str, item: &Type) -> Type {
    match (name, item) {
        // A spread of temperatures on a scale is a difference.
        ("sd" | "slope", Type::Quantity { dim, .. }) => Type::Quantity { dim: *dim, point: false },
        _ => item.clone(),
    }
}

fn first(args: &[Type]) -> Type {
    args.first().cloned().unwrap_or(Type::Unknown)
}

fn number() -> Type {
    Type::Quantity { dim: Dimension::NONE, point: false }
}

fn needs_number(name: &str) -> Problem {
    wrong(ErrorKind::Type, format!("`{name}` takes a number"))
}

fn same(name: &str, args: &[Type]) -> Result<Type, Problem> {
    let mut known: Option<&Type> = None;
    for arg in args {
        match arg {
            Type::Unknown => {}
            Type::Quantity { .. } => match known {
                None => known = Some(arg),
                Some(before) if before == arg => {}
                Some(before) => {
                    let message = format!("`{name}` mixes {before} and {arg}");
                    return Err(wrong(ErrorKind::Dimension, message));
                }
            },
            _ => return Err(needs_number(name)),
        }
    }
    Ok(known.cloned().unwrap_or(Type::Unknown))
}

/// Value of a call. Missing arguments were handled by the caller.
pub(super) fn call(name: &str, args: &[Value]) -> Result<Value, Problem> {
    // Types were checked before a run; what was unknown then is checked now.
    let types: Vec<Type> = args.iter().map(Value::type_of).collect();
    type_of(name, &types)?;
    let quantity = |value: f64, like: &Quantity| {
        Value::Quantity(Quantity { value, dim: like.dim, point: like.point })
    };
    let (a, b, c) = (nth(args, 0), nth(args, 1), nth(args, 2));
    match (name, a, b, c) {
        ("abs", Some(a), ..) => Ok(quantity(a.value.abs(), a)),
        ("round", Some(a), Some(step), _) if step.value != 0.0 => {
            Ok(quantity((a.value / step.value).round() * step.value, a))
        }
        ("round", Some(_), Some(_), _) => Err(wrong(ErrorKind::Value, "`round` to steps of zero")),
        ("round", Some(a), None, _) => Ok(quantity(a.value.round(), a)),
        ("exp", Some(a), ..) => Ok(quantity(a.value.exp(), a)),
        ("ln" | "log10" | "sqrt", Some(a), ..)
            if a.value < 0.0 || (name != "sqrt" && a.value == 0.0) =>
        {
            Err(wrong(ErrorKind::Value, format!("`{name}` of {a}")))
        }
        ("ln", Some(a), ..) => Ok(quantity(a.value.ln(), a)),
        ("log10", Some(a), ..) => Ok(quantity(a.value.log10(), a)),
        ("sqrt", Some(a), ..) => {
            let dim = a.dim.sqrt().unwrap_or(Dimension::NONE);
            Ok(Value::Quantity(Quantity::new(a.value.sqrt(), dim)))
        }
        ("clamp", Some(x), Some(low), Some(high)) => {
            if low.value > high.value {
                return Err(wrong(ErrorKind::Value, format!("`clamp` between {low} and {high}")));
            }
            Ok(quantity(x.value.clamp(low.value, high.value), x))
        }
        ("min" | "max", ..) => extreme(name, args),
        ("len", ..) => Ok(Value::number(match args.first() {
            Some(Value::List(items)) => items.len() as f64,
            Some(Value::Series(series)) => series.y.len() as f64,
            Some(Value::Array(array)) => array.len() as f64,
            Some(Value::Text(text)) => text.chars().count() as f64,
            _ => 0.0,
        })),
        ("last", ..) => match args.first() {
            Some(Value::List(items)) => items.last().cloned().ok_or_else(|| empty(name)),
            Some(Value::Series(series)) => series
                .y
                .last()
                .map(|y| Value::Quantity(Quantity::new(*y, series.y_dim)))
                .ok_or_else(|| empty(name)),
            _ => Err(empty(name)),
        },
        ("mean" | "sd" | "slope", ..) => statistic(name, args.first()),
        _ => Err(wrong(ErrorKind::Name, format!("there is no function `{name}`"))),
    }
}

fn nth(args: &[Value], index: usize) -> Option<&Quantity> {
    args.get(index).and_then(Value::as_quantity)
}

fn empty(name: &str) -> Problem {
    wrong(ErrorKind::Value, format!("`{name}` of an empty list"))
}

fn extreme(name: &str, args: &[Value]) -> Result<Value, Problem> {
    if let [Value::Array(array)] = args {
        let wanted = if name == "min" { f64::min } else { f64::max };
        let best = array.values().reduce(wanted).ok_or_else(|| empty(name))?;
        return Ok(Value::Quantity(Quantity::new(best, array.dim())));
    }
    let items = match args {
        [Value::List(items)] => items.as_slice(),
        _ => args,
    };
    let mut best: Option<Quantity> = None;
    for item in items {
        let Some(q) = item.as_quantity() else { return Err(needs_number(name)) };
        best = Some(match best {
            Some(b) if (b.dim, b.point) != (q.dim, q.point) => {
                return Err(wrong(ErrorKind::Dimension, format!("`{name}` mixes {b} and {q}")));
            }
            Some(b) if (name == "min") == (b.value <= q.value) => b,
            _ => *q,
        });
    }
    best.map(Value::Quantity).ok_or_else(|| empty(name))
}

fn statistic(name: &str, of: Option<&Value>) -> Result<Value, Problem> {
    let (x, y, x_dim, y_dim, point) = match of {
        Some(Value::Series(s)) => (s.x.clone(), s.y.clone(), s.x_dim, s.y_dim, false),
        Some(Value::Array(array)) if name != "slope" => {
            (Vec::new(), array.values().collect(), Dimension::NONE, array.dim(), false)
        }
        Some(Value::List(items)) => {
            let mut y = Vec::with_capacity(items.len());
            let (mut dim, mut point) = (Dimension::NONE, false);
            for (index, item) in items.iter().enumerate() {
                if let Value::Missing(why) = item {
                    return Ok(Value::Missing(why.clone()));
                }
                let Some(q) = item.as_quantity() else { return Err(needs_number(name)) };
                if index == 0 {
                    (dim, point) = (q.dim, q.point);
                } else if (dim, point) != (q.dim, q.point) {
                    return Err(wrong(ErrorKind::Dimension, format!("`{name}` of mixed units")));
                }
                y.push(q.value);
            }
            let x = (0..y.len()).map(|n| n as f64).collect();
            (x, y, Dimension::NONE, dim, point)
        }
        _ => return Err(wrong(ErrorKind::Type, format!("`{name}` takes a list or a curve"))),
    };
    let n = y.len() as f64;
    let least = if name == "mean" { 1 } else { 2 };
    if y.len() < least {
        let message = format!("`{name}` needs at least {least} values, there are {}", y.len());
        return Err(wrong(ErrorKind::Value, message));
    }
    let mean = y.iter().sum::<f64>() / n;
    match name {
        "mean" => Ok(Value::Quantity(Quantity { value: mean, dim: y_dim, point })),
        "sd" => {
            let sum: f64 = y.iter().map(|v| (v - mean).powi(2)).sum();
            Ok(Value::Quantity(Quantity::new((sum / (n - 1.0)).sqrt(), y_dim)))
        }
        _ => {
            let x_mean = x.iter().sum::<f64>() / n;
            let sxx: f64 = x.iter().map(|v| (v - x_mean).powi(2)).sum();
            let sxy: f64 = x.iter().zip(&y).map(|(a, b)| (a - x_mean) * (b - mean)).sum();
            if sxx == 0.0 {
                return Err(wrong(ErrorKind::Value, "`slope` over a single place"));
            }
            let dim = y_dim.div(x_dim).unwrap_or(Dimension::NONE);
            Ok(Value::Quantity(Quantity::new(sxy / sxx, dim)))
        }
    }
}
