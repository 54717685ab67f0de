//! Values at run time, and folding of what is known at compile time.

use super::ast::{Expr, Kind, Node, Operator};
use super::check::result_type;
use super::{ErrorKind, ExprError, Value, functions};
use crate::units::{Dimension, Quantity};

/// One argument of a call the environment resolves.
#[derive(Debug, Clone, PartialEq)]
pub struct Argument {
    /// Its name, `last` in `improvement(last: 15)`.
    pub name: Option<String>,
    /// The names it was written with, if it is just names.
    pub path: Option<Vec<String>>,
    /// Its value, if it has one.
    pub value: Option<Value>,
}

/// Values of names.
pub trait Env {
    /// Value of a chain of names. The evaluator asks for the longest chain first and looks up the
    /// rest as fields of what a shorter one gives.
    fn value(&self, path: &[String]) -> Option<Value>;

    /// Value of a call of `stale`, `settled` or `improvement`.
    fn call(&self, _name: &str, _args: &[Argument]) -> Option<Value> {
        None
    }
}

struct Nothing;

impl Env for Nothing {
    fn value(&self, _path: &[String]) -> Option<Value> {
        None
    }
}

/// Value of an expression.
///
/// Errors: division by zero, overflow, an empty list, names that are not known, types that do not
/// fit; each with its place. Never panics.
pub fn eval(expr: &Expr, env: &dyn Env) -> Result<Value, ExprError> {
    if let Kind::Literal(value) = &expr.root.kind {
        return Ok(value.clone());
    }
    visit(&expr.root, env)
}

/// The expression with everything that is known replaced by its value. Parts that have no value
/// (a division by zero, say) stay as they are, for [`eval`] to report in their place.
pub fn fold(expr: &Expr, env: &dyn Env) -> Expr {
    Expr { text: expr.text.clone(), root: fold_node(&expr.root, env) }
}

fn fold_node(node: &Node, env: &dyn Env) -> Node {
    if let Ok(value) = visit(node, env)
        && !matches!(value, Value::Missing(_))
        && !has_context_call(node)
    {
        return Node { at: node.at, kind: Kind::Literal(value) };
    }
    let inner = |n: &Node| Box::new(fold_node(n, env));
    let kind = match &node.kind {
        Kind::Literal(_) | Kind::Path(_) => node.kind.clone(),
        Kind::Negative(a) => Kind::Negative(inner(a)),
        Kind::Not(a) => Kind::Not(inner(a)),
        Kind::Power(a, power) => Kind::Power(inner(a), *power),
        Kind::Field(a, name) => Kind::Field(inner(a), name.clone()),
        Kind::Binary(operator, a, b) => Kind::Binary(*operator, inner(a), inner(b)),
        Kind::Index(a, b) => Kind::Index(inner(a), inner(b)),
        Kind::Choice(a, b, c) => Kind::Choice(inner(a), inner(b), inner(c)),
        Kind::Call(name, args) if functions::CONTEXT.contains(&name.as_str()) => {
            Kind::Call(name.clone(), args.clone())
        }
        Kind::Call(name, args) => Kind::Call(
            name.clone(),
            args.iter().map(|(n, arg)| (n.clone(), fold_node(arg, env))).collect(),
        ),
        Kind::List(items) => Kind::List(items.iter().map(|n| fold_node(n, env)).collect()),
        Kind::Join(items) => Kind::Join(items.iter().map(|n| fold_node(n, env)).collect()),
    };
    Node { at: node.at, kind }
}

fn has_context_call(node: &Node) -> bool {
    matches!(&node.kind, Kind::Call(name, _) if functions::CONTEXT.contains(&name.as_str()))
        || node.children().into_iter().any(has_context_call)
}

fn visit(node: &Node, env: &dyn Env) -> Result<Value, ExprError> {
    let fail = |kind, message: String| Err(ExprError::new(kind, node.span(), message));
    match &node.kind {
        Kind::Literal(value) => Ok(value.clone()),
        Kind::Path(path) => lookup(node, path, env),
        Kind::Negative(inner) => match visit(inner, env)? {
            // -5 degC is five below zero, not the negative of 278.15 K.
            Value::Quantity(q) if q.point => {
                let zero = 273.15;
                finite(node, Quantity { value: 2.0 * zero - q.value, ..q })
            }
            Value::Quantity(q) => finite(node, Quantity { value: -q.value, ..q }),
            missing @ Value::Missing(_) => Ok(missing),
            other => fail(ErrorKind::Type, format!("`-` of a {}", other.type_of())),
        },
        Kind::Not(inner) => match visit(inner, env)? {
            Value::Bool(value) => Ok(Value::Bool(!value)),
            missing @ Value::Missing(_) => Ok(missing),
            other => fail(ErrorKind::Type, format!("`not` of a {}", other.type_of())),
        },
        Kind::Binary(operator @ (Operator::And | Operator::Or), a, b) => {
            kleene(node, *operator, visit(a, env), visit(b, env))
        }
        Kind::Binary(operator, a, b) => binary(node, *operator, visit(a, env)?, visit(b, env)?),
        Kind::Power(base, power) => match visit(base, env)? {
            Value::Quantity(q) => match q.dim.powi(*power) {
                Some(dim) if !q.point => {
                    finite(node, Quantity::new(q.value.powi(i32::from(*power)), dim))
                }
                _ => fail(ErrorKind::Dimension, "the power has no meaning".to_owned()),
            },
            missing @ Value::Missing(_) => Ok(missing),
            other => fail(ErrorKind::Type, format!("`^` of a {}", other.type_of())),
        },
        Kind::Choice(condition, yes, no) => match visit(condition, env)? {
            Value::Bool(true) => visit(yes, env),
            Value::Bool(false) => visit(no, env),
            missing @ Value::Missing(_) => Ok(missing),
            other => fail(ErrorKind::Type, format!("`?` after a {}", other.type_of())),
        },
        Kind::Call(name, args) if functions::CONTEXT.contains(&name.as_str()) => {
            let args: Vec<Argument> = args
                .iter()
                .map(|(name, arg)| Argument {
                    name: name.clone(),
                    path: match &arg.kind {
                        Kind::Path(path) => Some(path.clone()),
                        _ => None,
                    },
                    value: visit(arg, env).ok(),
                })
                .collect();
            match env.call(name, &args) {
                Some(value) => Ok(value),
                None => fail(ErrorKind::Name, format!("`{name}` has no meaning here")),
            }
        }
        Kind::Call(name, args) => {
            let mut values = Vec::with_capacity(args.len());
            for (_, arg) in args {
                match visit(arg, env)? {
                    missing @ Value::Missing(_) => return Ok(missing),
                    value => values.push(value),
                }
            }
            match functions::call(name, &values) {
                Ok(Value::Quantity(quantity)) => finite(node, quantity),
                Ok(value) => Ok(value),
                Err((kind, message)) => fail(kind, message),
            }
        }
        Kind::Index(list, index) => match (visit(list, env)?, visit(index, env)?) {
            (missing @ Value::Missing(_), _) | (_, missing @ Value::Missing(_)) => Ok(missing),
            (Value::List(items), Value::Quantity(q)) if q.dim.is_none() => {
                // From 1 as people count; negative from the end.
                let len = items.len() as f64;
                let at = if q.value < 0.0 { len + q.value } else { q.value - 1.0 };
                if at.fract() != 0.0 || at < 0.0 || at >= len {
                    return fail(
                        ErrorKind::Value,
                        format!("there is no item {} in a list of {}", q.value, items.len()),
                    );
                }
                items
                    .get(at as usize)
                    .cloned()
                    .map_or_else(|| fail(ErrorKind::Value, "there is no such item".to_owned()), Ok)
            }
            (list, index) => fail(
                ErrorKind::Type,
                format!("a {} has no item {}", list.type_of(), index.type_of()),
            ),
        },
        Kind::Field(inner, name) => {
            let value = visit(inner, env)?;
            field(node, value, std::slice::from_ref(name))
        }
        Kind::List(items) => {
            items.iter().map(|item| visit(item, env)).collect::<Result<_, _>>().map(Value::List)
        }
        Kind::Join(parts) => {
            let mut text = String::new();
            for part in parts {
                text.push_str(&visit(part, env)?.show());
            }
            Ok(Value::Text(text.into()))
        }
    }
}

fn lookup(node: &Node, path: &[String], env: &dyn Env) -> Result<Value, ExprError> {
    for len in (1..=path.len()).rev() {
        let (head, rest) = path.split_at(len);
        if let Some(value) = env.value(head) {
            return field(node, value, rest);
        }
    }
    let message = format!("`{}` has no value", path.join("."));
    Err(ExprError::new(ErrorKind::Name, node.span(), message))
}

fn field(node: &Node, mut value: Value, rest: &[String]) -> Result<Value, ExprError> {
    for name in rest {
        value = match value {
            Value::Record(mut fields) => match fields.remove(name) {
                Some(value) => value,
                None => {
                    let message = format!("there is no field `{name}`");
                    return Err(ExprError::new(ErrorKind::Name, node.span(), message));
                }
            },
            missing @ Value::Missing(_) => return Ok(missing),
            other => {
                let message = format!("a {} has no field `{name}`", other.type_of());
                return Err(ExprError::new(ErrorKind::Type, node.span(), message));
            }
        };
    }
    Ok(value)
}

/// Kleene logic: false and anything is false, true or anything is true, whatever is missing.
fn kleene(
    node: &Node,
    operator: Operator,
    a: Result<Value, ExprError>,
    b: Result<Value, ExprError>,
) -> Result<Value, ExprError> {
    let decides = operator == Operator::Or;
    let (a, b) = match (a, b) {
        (Ok(Value::Bool(x)), _) if x == decides => return Ok(Value::Bool(decides)),
        (_, Ok(Value::Bool(x))) if x == decides => return Ok(Value::Bool(decides)),
        (Err(error), _) | (_, Err(error)) => return Err(error),
        (Ok(a), Ok(b)) => (a, b),
    };
    match (a, b) {
        (Value::Bool(_), Value::Bool(_)) => Ok(Value::Bool(!decides)),
        (missing @ Value::Missing(_), Value::Bool(_) | Value::Missing(_))
        | (Value::Bool(_), missing @ Value::Missing(_)) => Ok(missing),
        (a, b) => {
            let message =
                format!("`{}` of a {} and a {}", operator.symbol(), a.type_of(), b.type_of());
            Err(ExprError::new(ErrorKind::Type, node.span(), message))
        }
    }
}

fn binary(node: &Node, operator: Operator, a: Value, b: Value) -> Result<Value, ExprError> {
    let (a, b) = match (a, b) {
        (missing @ Value::Missing(_), _) | (_, missing @ Value::Missing(_)) => return Ok(missing),
        pair => pair,
    };
    let found = result_type(operator, &a.type_of(), &b.type_of());
    if let Err((kind, message, help)) = found {
        let mut error = ExprError::new(kind, node.span(), message);
        error.help = help;
        return Err(error);
    }
    if let (Operator::In, Value::List(items)) = (operator, &b) {
        return Ok(Value::Bool(items.contains(&a)));
    }
    let (Value::Quantity(x), Value::Quantity(y)) = (&a, &b) else {
        return Ok(Value::Bool((operator == Operator::Equal) == (a == b)));
    };
    let zero = Dimension::NONE;
    match operator {
        Operator::Add => {
            let point = x.point || y.point;
            finite(node, Quantity { value: x.value + y.value, dim: x.dim, point })
        }
        Operator::Sub => {
            let point = x.point && !y.point;
            finite(node, Quantity { value: x.value - y.value, dim: x.dim, point })
        }
        Operator::Mul => {
            finite(node, Quantity::new(x.value * y.value, x.dim.mul(y.dim).unwrap_or(zero)))
        }
        Operator::Div if y.value == 0.0 => {
            Err(ExprError::new(ErrorKind::Value, node.span(), "division by zero"))
        }
        Operator::Div => {
            finite(node, Quantity::new(x.value / y.value, x.dim.div(y.dim).unwrap_or(zero)))
        }
        Operator::Equal => Ok(Value::Bool(x.value == y.value)),
        Operator::Unequal => Ok(Value::Bool(x.value != y.value)),
        Operator::Less => Ok(Value::Bool(x.value < y.value)),
        Operator::AtMost => Ok(Value::Bool(x.value <= y.value)),
        Operator::More => Ok(Value::Bool(x.value > y.value)),
        Operator::AtLeast => Ok(Value::Bool(x.value >= y.value)),
        Operator::In | Operator::And | Operator::Or => {
            Err(ExprError::new(ErrorKind::Type, node.span(), "a list is missing after `in`"))
        }
    }
}

fn finite(node: &Node, quantity: Quantity) -> Result<Value, ExprError> {
    if quantity.value.is_finite() {
        Ok(Value::Quantity(quantity))
    } else {
        Err(ExprError::new(ErrorKind::Value, node.span(), "the value is too large or undefined"))
    }
}

/// An environment without names, for expressions of literals.
#[cfg(test)]
pub(super) fn nothing() -> impl Env {
    Nothing
}

impl Expr {
    /// Its value, if it reads no names.
    pub fn constant(&self) -> Option<Value> {
        eval(self, &Nothing).ok()
    }
}
