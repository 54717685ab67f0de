//! Interval analysis: the range of an expression over ranges of its names.
//!
//! Sound but not tight: the result holds every value the expression can take, and may hold more
//! where a name appears twice. Source: Moore, Kearfott and Cloud, Introduction to Interval
//! Analysis, SIAM 2009, chapters 2 and 5.

use super::Value;
use super::ast::{Expr, Kind, Node, Operator};

/// All values from `lo` to `hi`, in coherent SI units.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Least.
    pub lo: f64,
    /// Greatest.
    pub hi: f64,
}

/// Ranges of names.
pub trait RangeEnv {
    /// Range of a chain of names; `None` if it is not known before a run.
    fn range(&self, path: &[String]) -> Option<Interval>;
}

/// Range of an expression; `None` where it cannot be bounded before a run.
pub fn interval(expr: &Expr, env: &dyn RangeEnv) -> Option<Interval> {
    visit(&expr.root, env)
}

fn checked(lo: f64, hi: f64) -> Option<Interval> {
    (lo.is_finite() && hi.is_finite() && lo <= hi).then_some(Interval { lo, hi })
}

impl Interval {
    /// One value.
    pub fn point(value: f64) -> Interval {
        Interval { lo: value, hi: value }
    }

    fn hull(values: &[f64]) -> Option<Interval> {
        let lo = values.iter().copied().fold(f64::INFINITY, f64::min);
        let hi = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        checked(lo, hi)
    }
}

fn visit(node: &Node, env: &dyn RangeEnv) -> Option<Interval> {
    match &node.kind {
        Kind::Literal(Value::Quantity(q)) => checked(q.value, q.value),
        Kind::Path(path) => env.range(path),
        Kind::Negative(a) => match &a.kind {
            Kind::Literal(Value::Quantity(q)) if q.point => {
                Some(Interval::point(2.0 * 273.15 - q.value))
            }
            _ => visit(a, env).and_then(|a| checked(-a.hi, -a.lo)),
        },
        Kind::Binary(operator, a, b) => {
            let (a, b) = (visit(a, env)?, visit(b, env)?);
            match operator {
                Operator::Add => checked(a.lo + b.lo, a.hi + b.hi),
                Operator::Sub => checked(a.lo - b.hi, a.hi - b.lo),
                Operator::Mul => {
                    Interval::hull(&[a.lo * b.lo, a.lo * b.hi, a.hi * b.lo, a.hi * b.hi])
                }
                Operator::Div if b.lo > 0.0 || b.hi < 0.0 => {
                    Interval::hull(&[a.lo / b.lo, a.lo / b.hi, a.hi / b.lo, a.hi / b.hi])
                }
                _ => None,
            }
        }
        Kind::Power(a, power) => {
            let a = visit(a, env)?;
            let power = i32::from(*power);
            if power < 0 && a.lo <= 0.0 && a.hi >= 0.0 {
                return None;
            }
            let ends = Interval::hull(&[a.lo.powi(power), a.hi.powi(power)])?;
            let through_zero = power > 0 && power % 2 == 0 && a.lo < 0.0 && a.hi > 0.0;
            Some(if through_zero { Interval { lo: 0.0, hi: ends.hi } } else { ends })
        }
        Kind::Choice(_, yes, no) => {
            let (yes, no) = (visit(yes, env)?, visit(no, env)?);
            checked(yes.lo.min(no.lo), yes.hi.max(no.hi))
        }
        Kind::Call(name, args) if name == "clamp" => {
            let [(_, x), (_, low), (_, high)] = args.as_slice() else { return None };
            // Whatever goes in, what comes out lies between the ends.
            let anything = Interval { lo: f64::NEG_INFINITY, hi: f64::INFINITY };
            let x = visit(x, env).unwrap_or(anything);
            call(name, &[x, visit(low, env)?, visit(high, env)?])
        }
        Kind::Call(name, args) => {
            let args: Option<Vec<Interval>> = args.iter().map(|(_, arg)| visit(arg, env)).collect();
            call(name, &args?)
        }
        _ => None,
    }
}

fn call(name: &str, args: &[Interval]) -> Option<Interval> {
    let rising = |f: fn(f64) -> f64| {
        let a = args.first()?;
        checked(f(a.lo), f(a.hi))
    };
    match (name, args) {
        ("abs", [a]) => {
            let ends = Interval::hull(&[a.lo.abs(), a.hi.abs()])?;
            let through_zero = a.lo <= 0.0 && a.hi >= 0.0;
            Some(if through_zero { Interval { lo: 0.0, hi: ends.hi } } else { ends })
        }
        ("min" | "max", [first, rest @ ..]) => {
            let pick = if name == "min" { f64::min } else { f64::max };
            Some(
                rest.iter()
                    .fold(*first, |a, b| Interval { lo: pick(a.lo, b.lo), hi: pick(a.hi, b.hi) }),
            )
        }
        ("round", [_]) => rising(f64::round),
        ("exp", [_]) => rising(f64::exp),
        ("ln", [a]) if a.lo > 0.0 => rising(f64::ln),
        ("log10", [a]) if a.lo > 0.0 => rising(f64::log10),
        ("sqrt", [a]) if a.lo >= 0.0 => rising(f64::sqrt),
        ("clamp", [x, low, high]) => {
            checked(x.lo.max(low.lo).min(high.hi), x.hi.min(high.hi).max(low.lo))
        }
        _ => None,
    }
}

/// Whether a condition is true, or false, for every value its names can take; `None`: it may be
/// either, or cannot be bounded before a run. `and` and `or` follow Kleene.
pub fn truth(expr: &Expr, env: &dyn RangeEnv) -> Option<bool> {
    decide(&expr.root, env)
}

fn decide(node: &Node, env: &dyn RangeEnv) -> Option<bool> {
    match &node.kind {
        Kind::Literal(Value::Bool(value)) => Some(*value),
        Kind::Not(a) => decide(a, env).map(|a| !a),
        Kind::Binary(Operator::And, a, b) => match (decide(a, env), decide(b, env)) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            _ => None,
        },
        Kind::Binary(Operator::Or, a, b) => match (decide(a, env), decide(b, env)) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (Some(false), Some(false)) => Some(false),
            _ => None,
        },
        Kind::Binary(operator, a, b) => {
            let (a, b) = (visit(a, env)?, visit(b, env)?);
            match operator {
                Operator::Less if a.hi < b.lo => Some(true),
                Operator::Less if a.lo >= b.hi => Some(false),
                Operator::AtMost if a.hi <= b.lo => Some(true),
                Operator::AtMost if a.lo > b.hi => Some(false),
                Operator::More if a.lo > b.hi => Some(true),
                Operator::More if a.hi <= b.lo => Some(false),
                Operator::AtLeast if a.lo >= b.hi => Some(true),
                Operator::AtLeast if a.hi < b.lo => Some(false),
                _ => None,
            }
        }
        _ => None,
    }
}
