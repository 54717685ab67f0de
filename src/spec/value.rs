//! Values in documents: as written, expressions, and what a value must be.

use std::ops::Range;

use crate::expr::{ErrorKind, Expr, ExprError, Type};
use crate::units::{Dimension, Quantity, Unit};

use super::codes;
use super::diagnostic::Diagnostic;
use super::source::{Span, Spanned};

/// An expression (or a literal) with the place of its text.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    /// The parsed expression; a literal where the document gives a plain value.
    pub expr: Expr,
    /// The scalar's text, as YAML decodes it.
    pub text: String,
    /// The scalar in the file, with its quotes.
    pub span: Span,
    /// Place in the file of each byte of `text` (and of its end) where they do not simply follow
    /// one another: escapes, folded lines. Empty: they do, from `start`.
    pub(crate) offsets: Vec<u32>,
    pub(crate) start: u32,
}

impl Expression {
    /// A place in the file from a range of bytes of `text`, such as that of an
    /// [`crate::expr::ExprError`].
    pub fn place(&self, range: Range<usize>) -> Span {
        let at = |byte: usize| -> u32 {
            let byte = byte.min(self.text.len());
            if self.offsets.is_empty() {
                self.start.saturating_add(u32::try_from(byte).unwrap_or(u32::MAX))
            } else {
                self.offsets.get(byte).copied().unwrap_or(self.span.end)
            }
        };
        let start = at(range.start).clamp(self.span.start, self.span.end);
        let end = at(range.end.max(range.start)).clamp(start, self.span.end);
        Span { source: self.span.source, start, end }
    }
}

impl Expression {
    /// A mistake of the expression as a finding at its place in the file.
    pub fn diagnostic(&self, error: ExprError) -> Diagnostic {
        let code = match error.kind {
            ErrorKind::Syntax | ErrorKind::Limit => codes::EXPRESSION,
            ErrorKind::Name if error.message.contains("function") => codes::UNKNOWN_FUNCTION,
            ErrorKind::Name => codes::UNKNOWN_NAME,
            ErrorKind::Unit if error.message.contains("two ways") => codes::AMBIGUOUS_UNIT,
            ErrorKind::Unit => codes::UNKNOWN_UNIT,
            ErrorKind::Type | ErrorKind::Dimension | ErrorKind::Value => codes::EXPRESSION_TYPE,
        };
        let place = self.place(error.span.clone());
        let written = self.text.get(error.span).unwrap_or_default();
        let message = match (&error.help, error.kind) {
            (Some(better), ErrorKind::Name) if !better.contains(char::is_whitespace) => {
                format!("write `{better}` instead of `{written}`")
            }
            _ => error.message.clone(),
        };
        let label = match error.kind {
            ErrorKind::Syntax | ErrorKind::Limit => "here",
            ErrorKind::Name => "nothing has this name",
            ErrorKind::Unit => "not a unit",
            ErrorKind::Type | ErrorKind::Dimension | ErrorKind::Value => "",
        };
        let mut diagnostic = Diagnostic::error(code, place, message).label(label);
        if error.kind == ErrorKind::Syntax {
            diagnostic = diagnostic.reason(
                "an expression is made of numbers with units, names, + - * / ^, comparisons, and, or, not, \
                 in, ? :, functions, attributes and indexes",
            );
        }
        diagnostic.fix = error.help;
        diagnostic
    }
}

/// A condition: an expression that must be boolean.
pub type Condition = Expression;

/// A value as written, before it is known what it must be.
#[derive(Debug, Clone, PartialEq)]
pub enum Written {
    /// Text with `${ }` in it.
    Expression(Expression),
    /// A scalar without `${ }`.
    Scalar {
        /// As YAML decodes it.
        text: String,
        /// Whether it stands in quotes (then it is text and nothing else).
        quoted: bool,
        /// Where.
        span: Span,
    },
    /// Values in order.
    List {
        /// The values.
        items: Vec<Written>,
        /// Where.
        span: Span,
    },
    /// Named values, in the order written.
    Map {
        /// The values.
        entries: Vec<Named<Written>>,
        /// Where.
        span: Span,
    },
}

impl Written {
    /// Where it stands.
    pub fn span(&self) -> Span {
        match self {
            Written::Expression(e) => e.span,
            Written::Scalar { span, .. }
            | Written::List { span, .. }
            | Written::Map { span, .. } => *span,
        }
    }
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Named<T> {
    /// The key.
    pub name: Spanned<String>,
    /// The value.
    pub value: T,
}

/// What a parameter, an argument or a configuration value must be.
#[derive(Debug, Clone, PartialEq)]
pub struct ValueSpec {
    /// Name.
    pub name: Spanned<String>,
    /// For people.
    pub doc: Option<String>,
    /// Kind of value.
    pub kind: ValueType,
    /// Smallest allowed; in the dimension of `kind`. For lengths of text: not used.
    pub min: Option<Spanned<Quantity>>,
    /// Largest allowed.
    pub max: Option<Spanned<Quantity>>,
    /// Taken when nothing is given; a literal of the right type, inside the limits.
    pub default: Option<Expression>,
    /// Must be given (configuration and arguments without a default are required unless
    /// `required: false`).
    pub required: bool,
    /// The whole entry.
    pub span: Span,
}

impl ValueSpec {
    /// Its type in expressions.
    pub fn expr_type(&self) -> Type {
        match &self.kind {
            ValueType::Quantity { unit } => {
                Type::Quantity { dim: unit.value.dim, point: unit.value.point }
            }
            ValueType::Number | ValueType::Integer => {
                Type::Quantity { dim: Dimension::NONE, point: false }
            }
            ValueType::Bool => Type::Bool,
            ValueType::Choice { .. } | ValueType::Text => Type::Text,
        }
    }
}

/// Kind of value.
#[derive(Debug, Clone, PartialEq)]
pub enum ValueType {
    /// A number with a unit; `unit` is also what it is shown and sent in.
    Quantity {
        /// The unit.
        unit: Spanned<Unit>,
    },
    /// A number without a unit.
    Number,
    /// A whole number.
    Integer,
    /// One of some words.
    Choice {
        /// The words, never empty, no two alike.
        options: Vec<Spanned<String>>,
    },
    /// True or false.
    Bool,
    /// Any text.
    Text,
}

/// What a property or the answer of an action is.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// A number with a unit.
    Quantity(Spanned<Unit>),
    /// A number without a unit.
    Number,
    /// A whole number.
    Integer,
    /// True or false.
    Bool,
    /// Text.
    Text,
    /// Named values read together.
    Record(Vec<Field>),
    /// A curve: `y` over `x`.
    Series {
        /// Unit of the abscissa.
        x: Spanned<Unit>,
        /// Unit of the ordinate.
        y: Spanned<Unit>,
        /// Where the numbers stand in a JSON message; `None`: arrays named `x` and `y`.
        points: Option<SeriesPoints>,
    },
    /// Numbers on a regular grid, such as an image.
    Array {
        /// Unit of the numbers.
        unit: Spanned<Unit>,
        /// Axes with their units, the slowest first; never empty.
        axes: Vec<Named<Spanned<Unit>>>,
    },
}

impl Shape {
    /// Its type in expressions.
    pub fn expr_type(&self) -> Type {
        match self {
            Shape::Quantity(unit) => {
                Type::Quantity { dim: unit.value.dim, point: unit.value.point }
            }
            Shape::Number | Shape::Integer => Type::Quantity { dim: Dimension::NONE, point: false },
            Shape::Bool => Type::Bool,
            Shape::Text => Type::Text,
            Shape::Record(fields) => Type::Record(
                fields.iter().map(|f| (f.name.value.clone(), f.shape.expr_type())).collect(),
            ),
            Shape::Series { x, y, .. } => Type::Series { x: x.value.dim, y: y.value.dim },
            Shape::Array { unit, .. } => Type::Array { dim: unit.value.dim },
        }
    }
}

/// Where the numbers of a curve stand in a JSON message, in the axes' units.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesPoints {
    /// Abscissa.
    pub x: AxisSource,
    /// Ordinate.
    pub y: AxisSource,
}

/// Where the numbers of one axis come from.
#[derive(Debug, Clone, PartialEq)]
pub enum AxisSource {
    /// `x: {unit: nm, at: [410, 440]}`: always the same.
    At(Vec<Spanned<f64>>),
    /// `x: {unit: nm, json: wavelength_nm}`: an array at this path.
    Array(Spanned<String>),
    /// `y: {unit: "1", json: [ch410, ch440]}`: one number at each of these paths.
    Each(Vec<Spanned<String>>),
}

/// One value of a record.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Name.
    pub name: Spanned<String>,
    /// What it is.
    pub shape: Shape,
    /// Path in the JSON of the message, `a.b.0`; the field's name where not given.
    pub json: Option<Spanned<String>>,
}
