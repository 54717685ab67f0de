//! Types and dimensions, before anything runs.

use std::collections::BTreeMap;
use std::fmt;

use super::ast::{Expr, Kind, Node, Operator};
use super::{ErrorKind, ExprError, functions};
use crate::units::Dimension;

/// Type of an expression.
#[derive(Debug, Clone, PartialEq)]
pub enum Type {
    /// True or false.
    Bool,
    /// A number with a dimension.
    Quantity {
        /// Dimension.
        dim: Dimension,
        /// A temperature on a scale.
        point: bool,
    },
    /// Text.
    Text,
    /// Values of one type, in order.
    List(Box<Type>),
    /// Named values.
    Record(BTreeMap<String, Type>),
    /// A curve.
    Series {
        /// Dimension of the abscissa.
        x: Dimension,
        /// Dimension of the ordinate.
        y: Dimension,
    },
    /// Numbers on a regular grid, such as an image.
    Array {
        /// Dimension of its values.
        dim: Dimension,
    },
    /// Known only at run time, and checked then.
    Unknown,
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Bool => f.write_str("true or false"),
            Type::Quantity { point: true, .. } => f.write_str("temperature on a scale (degC)"),
            Type::Quantity { dim, .. } if *dim == Dimension::TEMPERATURE => {
                f.write_str("temperature difference (K)")
            }
            Type::Quantity { dim, .. } => write!(f, "{dim}"),
            Type::Text => f.write_str("text"),
            Type::List(item) => write!(f, "list of {item}"),
            Type::Record(_) => f.write_str("record"),
            Type::Series { .. } => f.write_str("curve"),
            Type::Array { .. } => f.write_str("array"),
            Type::Unknown => f.write_str("value known only at run time"),
        }
    }
}

/// Types of names.
pub trait TypeEnv {
    /// Type of a chain of names; the error is the name that was probably meant.
    fn type_of(&self, path: &[String]) -> Result<Type, Option<String>>;

    /// Type of a call of `stale`, `settled` or `improvement`, if it may stand here.
    fn type_of_call(&self, _name: &str) -> Option<Type> {
        None
    }
}

/// Type of an expression.
///
/// Errors: all of them, in the order of the text.
pub fn check(expr: &Expr, env: &dyn TypeEnv) -> Result<Type, Vec<ExprError>> {
    let mut errors = Vec::new();
    let found = visit(&expr.root, env, &mut errors);
    if errors.is_empty() {
        return Ok(found);
    }
    errors.sort_by_key(|e| e.span.start);
    Err(errors)
}

fn visit(node: &Node, env: &dyn TypeEnv, errors: &mut Vec<ExprError>) -> Type {
    match &node.kind {
        Kind::Literal(value) => value.type_of(),
        Kind::Path(path) => match env.type_of(path) {
            Ok(found) => found,
            Err(meant) => {
                let name = path.join(".");
                let mut error =
                    ExprError::new(ErrorKind::Name, node.span(), format!("there is no `{name}`"));
                error.help = meant;
                errors.push(error);
                Type::Unknown
            }
        },
        Kind::Negative(inner) => match visit(inner, env, errors) {
            Type::Quantity { point: true, .. } => {
                let message = "a temperature on a scale has no negative; write -5 degC as a value";
                // `-5 degC` is read as the negative of 5 degC; a literal is meant as it stands.
                if matches!(inner.kind, Kind::Literal(_)) {
                    return Type::Quantity { dim: Dimension::TEMPERATURE, point: true };
                }
                errors.push(ExprError::new(ErrorKind::Type, node.span(), message));
                Type::Unknown
            }
            found @ (Type::Quantity { .. } | Type::Unknown) => found,
            other => wrong(node, errors, format!("`-` takes a number, not a {other}")),
        },
        Kind::Not(inner) => {
            boolean(inner, "not", env, errors);
            Type::Bool
        }
        Kind::Binary(operator, a, b) => binary(node, *operator, a, b, env, errors),
        Kind::Power(base, power) => match visit(base, env, errors) {
            Type::Quantity { dim, point: false } => match dim.powi(*power) {
                Some(dim) => Type::Quantity { dim, point: false },
                None => wrong(node, errors, "the power is too high".to_owned()),
            },
            Type::Unknown => Type::Unknown,
            other => wrong(node, errors, format!("`^` takes a number, not a {other}")),
        },
        Kind::Choice(condition, yes, no) => {
            boolean(condition, "? :", env, errors);
            let (yes, no) = (visit(yes, env, errors), visit(no, env, errors));
            match (&yes, &no) {
                (Type::Unknown, _) => no,
                (_, Type::Unknown) => yes,
                (a, b) if a == b => yes,
                (a, b) => wrong(node, errors, format!("the two choices differ: {a} and {b}")),
            }
        }
        Kind::Call(name, args) => {
            let types: Vec<Type> = if functions::CONTEXT.contains(&name.as_str()) {
                Vec::new()
            } else {
                args.iter().map(|(_, arg)| visit(arg, env, errors)).collect()
            };
            if functions::CONTEXT.contains(&name.as_str()) {
                return env.type_of_call(name).unwrap_or_else(|| {
                    wrong(node, errors, format!("`{name}` has no meaning here"))
                });
            }
            functions::type_of(name, &types).unwrap_or_else(|(kind, message)| {
                let mut error = ExprError::new(kind, node.span(), message);
                if kind == ErrorKind::Name {
                    let known = [functions::NAMES, functions::CONTEXT].concat();
                    error.help = Some(format!("functions are {}", known.join(", ")));
                }
                errors.push(error);
                Type::Unknown
            })
        }
        Kind::Index(list, index) => {
            let index = visit(index, env, errors);
            if !matches!(&index, Type::Quantity { dim, .. } if dim.is_none())
                && index != Type::Unknown
            {
                wrong(node, errors, format!("an index is a whole number, not a {index}"));
            }
            match visit(list, env, errors) {
                Type::List(item) => *item,
                Type::Unknown => Type::Unknown,
                other => wrong(node, errors, format!("a {other} has no items")),
            }
        }
        Kind::Field(inner, name) => match visit(inner, env, errors) {
            Type::Record(mut fields) => match fields.remove(name) {
                Some(found) => found,
                None => wrong(node, errors, format!("there is no field `{name}`")),
            },
            Type::Unknown => Type::Unknown,
            other => wrong(node, errors, format!("a {other} has no field `{name}`")),
        },
        Kind::List(items) => {
            let mut item = Type::Unknown;
            for node in items {
                let found = visit(node, env, errors);
                if item == Type::Unknown {
                    item = found;
                } else if found != item && found != Type::Unknown {
                    wrong(node, errors, format!("the list mixes {item} and {found}"));
                }
            }
            Type::List(Box::new(item))
        }
        Kind::Join(parts) => {
            for part in parts {
                visit(part, env, errors);
            }
            Type::Text
        }
    }
}

fn wrong(node: &Node, errors: &mut Vec<ExprError>, message: String) -> Type {
    errors.push(ExprError::new(ErrorKind::Type, node.span(), message));
    Type::Unknown
}

fn boolean(node: &Node, what: &str, env: &dyn TypeEnv, errors: &mut Vec<ExprError>) {
    let found = visit(node, env, errors);
    if !matches!(found, Type::Bool | Type::Unknown) {
        let message = format!("`{what}` takes true or false, not a {found}");
        errors.push(
            ExprError::new(ErrorKind::Type, node.span(), message)
                .help("compare it with something, such as `> 0`"),
        );
    }
}

fn binary(
    node: &Node,
    operator: Operator,
    a: &Node,
    b: &Node,
    env: &dyn TypeEnv,
    errors: &mut Vec<ExprError>,
) -> Type {
    if matches!(operator, Operator::And | Operator::Or) {
        boolean(a, operator.symbol(), env, errors);
        boolean(b, operator.symbol(), env, errors);
        return Type::Bool;
    }
    let (left, right) = (visit(a, env, errors), visit(b, env, errors));
    match result_type(operator, &left, &right) {
        Ok(found) => found,
        Err((kind, message, help)) => {
            let mut error = ExprError::new(kind, node.span(), message);
            error.help = help;
            errors.push(error);
            match operator {
                Operator::Add | Operator::Sub | Operator::Mul | Operator::Div => Type::Unknown,
                _ => Type::Bool,
            }
        }
    }
}

pub(super) type Mismatch = (ErrorKind, String, Option<String>);

/// Type of `left operator right`.
pub(super) fn result_type(operator: Operator, left: &Type, right: &Type) -> Result<Type, Mismatch> {
    use Operator as O;
    use Type::{Bool, List, Quantity, Text, Unknown};
    let symbol = operator.symbol();
    let bad = |help: Option<&str>| {
        Err((
            ErrorKind::Dimension,
            format!("`{symbol}` cannot join a {left} and a {right}"),
            help.map(str::to_owned),
        ))
    };
    match (operator, left, right) {
        (O::Equal | O::Unequal | O::Less | O::AtMost | O::More | O::AtLeast, Unknown, _)
        | (O::Equal | O::Unequal | O::Less | O::AtMost | O::More | O::AtLeast, _, Unknown) => {
            Ok(Bool)
        }
        (O::In, Unknown, _) | (O::In, _, Unknown) => Ok(Bool),
        (_, Unknown, _) | (_, _, Unknown) => Ok(Unknown),
        (O::In, item, List(of)) => {
            if **of == *item || **of == Unknown {
                Ok(Bool)
            } else {
                bad(None)
            }
        }
        (O::Equal | O::Unequal, Text, Text) | (O::Equal | O::Unequal, Bool, Bool) => Ok(Bool),
        (O::Add, Quantity { dim: a, point: true }, Quantity { dim: b, point: true }) if a == b => {
            Err((
                ErrorKind::Dimension,
                "temperatures on a scale do not add".to_owned(),
                Some("write a difference in K, such as `+ 5 K`".to_owned()),
            ))
        }
        (O::Add | O::Sub, Quantity { dim: a, point: p }, Quantity { dim: b, point: q }) => {
            if a != b {
                return bad(None);
            }
            match (operator, p, q) {
                (O::Sub, true, true) => Ok(Quantity { dim: *a, point: false }),
                (O::Sub, false, true) => bad(Some("take the difference the other way round")),
                _ => Ok(Quantity { dim: *a, point: *p || *q }),
            }
        }
        (O::Mul | O::Div, Quantity { point: true, .. }, Quantity { .. })
        | (O::Mul | O::Div, Quantity { .. }, Quantity { point: true, .. }) => {
            bad(Some("take a difference first, such as `(T - 0 degC)`, or write kelvin"))
        }
        (O::Mul, Quantity { dim: a, .. }, Quantity { dim: b, .. }) => match a.mul(*b) {
            Some(dim) => Ok(Quantity { dim, point: false }),
            None => bad(None),
        },
        (O::Div, Quantity { dim: a, .. }, Quantity { dim: b, .. }) => match a.div(*b) {
            Some(dim) => Ok(Quantity { dim, point: false }),
            None => bad(None),
        },
        (
            O::Equal | O::Unequal | O::Less | O::AtMost | O::More | O::AtLeast,
            Quantity { dim: a, point: p },
            Quantity { dim: b, point: q },
        ) => {
            if a != b {
                bad(None)
            } else if p != q {
                bad(Some(
                    "compare a temperature in degC with one in degC, a difference with one in K",
                ))
            } else {
                Ok(Bool)
            }
        }
        _ => Err((ErrorKind::Type, format!("`{symbol}` cannot join a {left} and a {right}"), None)),
    }
}
