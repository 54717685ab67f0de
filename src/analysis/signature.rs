//! What a function takes and gives, for the compiler to check before a run.
//!
//! A dimension may follow from the inputs (a slope is what `y` is over what `x` is), so that what
//! is worked out from a result is checked as well, and not only when the run gets there.

use std::collections::BTreeMap;

use crate::expr::Type;
use crate::units::Dimension;

/// Types of the inputs of one call.
pub type Given = BTreeMap<String, Type>;

/// One input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Input {
    /// Name in `with:`.
    pub name: &'static str,
    /// What it must be.
    pub is: Kind,
    /// When it may be left out.
    pub needed: Needed,
    /// For people.
    pub doc: &'static str,
}

/// When an input must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needed {
    /// In every call.
    Always,
    /// It may be left out.
    Optional,
    /// Unless another input is this word.
    Unless(&'static str, &'static str),
    /// It or the other one must be there, not both.
    Or(&'static str),
}

/// A dimension, perhaps one that follows from the inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dim {
    /// This one.
    Is(Dimension),
    /// Of the abscissa of an input that is a curve or holds curves.
    X(&'static str),
    /// Of the values of an input: of a number, of the items of a list, of the ordinate of curves.
    Of(&'static str),
    /// Of the places of values: the abscissa of one curve; none for a list, which is counted.
    Over(&'static str),
    /// Of the places of the values of the first input: the second input where it is given, else
    /// as [`Dim::Over`] the first.
    Places(&'static str, &'static str),
    /// Of a field of an input that is a record.
    Field(&'static str, &'static str),
    /// The product of two.
    Product(&'static Dim, &'static Dim),
    /// One over the other.
    Ratio(&'static Dim, &'static Dim),
}

/// What an input must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A number of this dimension.
    Quantity(Dim),
    /// One curve.
    Curve,
    /// A curve or a list of curves.
    Curves,
    /// A list of numbers or of curves.
    List,
    /// A list of numbers or of curves, or one curve.
    Values,
    /// A list of numbers of one unit.
    Measured,
    /// A list of numbers of this dimension.
    Numbers(Dim),
    /// A number of this dimension, or a list of such numbers.
    OneOrMore(Dim),
    /// One of these words.
    Word(&'static [&'static str]),
    /// What another function gave.
    ResultOf(&'static str),
}

/// What one field of a result is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Output {
    /// A number of this dimension.
    Quantity(Dim),
    /// As the items of this input; a temperature on a scale stays one.
    Same(&'static str),
    /// True or false.
    Bool,
    /// A text.
    Text,
    /// A curve with these axes.
    Curve(Dim, Dim),
    /// A list of records.
    Records(&'static [(&'static str, Output)]),
}

/// A function.
#[derive(Debug, Clone, Copy)]
pub struct Signature {
    /// Name.
    pub name: &'static str,
    /// For people.
    pub doc: &'static str,
    /// Inputs.
    pub inputs: &'static [Input],
    /// Fields of the record it gives, besides `quality` and `reason`.
    pub outputs: &'static [(&'static str, Output)],
}

impl Signature {
    /// Type of its result.
    pub fn output(&self, given: &Given) -> Type {
        let mut fields = record(self.outputs, given);
        fields.insert("quality".to_owned(), Type::Text);
        fields.insert("reason".to_owned(), Type::Text);
        Type::Record(fields)
    }

    /// An input by name.
    pub fn input(&self, name: &str) -> Option<&'static Input> {
        self.inputs.iter().find(|i| i.name == name)
    }
}

impl Input {
    /// Whether it may not be left out, beside the inputs given; `word` is the text of one.
    pub fn is_needed(&self, given: &Given, word: impl Fn(&str) -> Option<String>) -> bool {
        match self.needed {
            Needed::Always => true,
            Needed::Optional => false,
            Needed::Unless(input, other) => word(input).as_deref() != Some(other),
            Needed::Or(other) => !given.contains_key(other),
        }
    }
}

fn record(outputs: &[(&'static str, Output)], given: &Given) -> BTreeMap<String, Type> {
    outputs.iter().map(|(name, output)| ((*name).to_owned(), output.resolve(given))).collect()
}

impl Output {
    fn resolve(self, given: &Given) -> Type {
        match self {
            Output::Quantity(dim) => quantity(dim.resolve(given)),
            Output::Same(input) => given.get(input).map_or(Type::Unknown, item),
            Output::Bool => Type::Bool,
            Output::Text => Type::Text,
            Output::Curve(x, y) => match (x.resolve(given), y.resolve(given)) {
                (Some(x), Some(y)) => Type::Series { x, y },
                _ => Type::Unknown,
            },
            Output::Records(fields) => Type::List(Box::new(Type::Record(record(fields, given)))),
        }
    }
}

fn quantity(dim: Option<Dimension>) -> Type {
    dim.map_or(Type::Unknown, |dim| Type::Quantity { dim, point: false })
}

/// Type of one value of a list or a curve.
fn item(found: &Type) -> Type {
    match found {
        Type::List(inner) => item(inner),
        Type::Series { y, .. } => Type::Quantity { dim: *y, point: false },
        Type::Quantity { .. } => found.clone(),
        _ => Type::Unknown,
    }
}

impl Dim {
    /// The dimension, if the types of the inputs tell.
    pub fn resolve(self, given: &Given) -> Option<Dimension> {
        let of_item = |found: &Type| match item(found) {
            Type::Quantity { dim, .. } => Some(dim),
            _ => None,
        };
        match self {
            Dim::Is(dim) => Some(dim),
            Dim::Of(input) => of_item(given.get(input)?),
            Dim::X(input) => match given.get(input)? {
                Type::Series { x, .. } => Some(*x),
                Type::List(inner) => match &**inner {
                    Type::Series { x, .. } => Some(*x),
                    _ => None,
                },
                _ => None,
            },
            Dim::Over(input) => match given.get(input)? {
                Type::Series { x, .. } => Some(*x),
                Type::List(_) => Some(Dimension::NONE),
                _ => None,
            },
            Dim::Places(_, over) if given.contains_key(over) => Dim::Of(over).resolve(given),
            Dim::Places(of, _) => Dim::Over(of).resolve(given),
            Dim::Field(input, field) => match given.get(input)? {
                Type::Record(fields) => of_item(fields.get(field)?),
                _ => None,
            },
            Dim::Product(a, b) => a.resolve(given)?.mul(b.resolve(given)?),
            Dim::Ratio(a, b) => a.resolve(given)?.div(b.resolve(given)?),
        }
    }

    /// In words, with the dimension where it is known.
    fn words(self, given: &Given) -> String {
        match (self.resolve(given), self) {
            (Some(dim), _) => format!("a {dim}"),
            (None, Dim::X(input) | Dim::Over(input)) => {
                format!("a value in the unit of the abscissa of `{input}`")
            }
            (None, Dim::Of(input)) => format!("a value in the unit of `{input}`"),
            (None, Dim::Field(input, _)) => format!("a value that `{input}` is about"),
            (None, _) => "a number with its unit".to_owned(),
        }
    }
}

impl Kind {
    /// Whether a type may be given, beside the other inputs.
    pub fn accepts(self, found: &Type, given: &Given) -> bool {
        let is_number = |found: &Type, dim: Dim| match (found, dim.resolve(given)) {
            (Type::Unknown, _) => true,
            (Type::Quantity { dim, .. }, Some(wanted)) => *dim == wanted,
            (Type::Quantity { .. }, None) => true,
            _ => false,
        };
        let is_curve = |found: &Type| matches!(found, Type::Series { .. } | Type::Unknown);
        match (self, found) {
            (_, Type::Unknown) => true,
            (Kind::Quantity(dim), _) => is_number(found, dim),
            (Kind::Curve, Type::Series { .. }) => true,
            (Kind::Curves | Kind::Values, Type::Series { .. }) => true,
            (Kind::Curves, Type::List(inner)) => is_curve(inner),
            (Kind::List | Kind::Values, Type::List(inner)) => {
                is_curve(inner) || matches!(&**inner, Type::Quantity { .. })
            }
            (Kind::Measured, Type::List(inner)) => {
                matches!(&**inner, Type::Quantity { .. } | Type::Unknown)
            }
            (Kind::Numbers(dim), Type::List(inner)) => is_number(inner, dim),
            (Kind::OneOrMore(dim), Type::List(inner)) => is_number(inner, dim),
            (Kind::OneOrMore(dim), _) => is_number(found, dim),
            (Kind::Word(_), Type::Text) => true,
            (Kind::ResultOf(function), Type::Record(fields)) => super::signature(function)
                .is_some_and(|s| s.outputs.iter().all(|(name, _)| fields.contains_key(*name))),
            _ => false,
        }
    }

    /// What it must be, in words; with the dimension where the other inputs tell.
    pub fn words(self, given: &Given) -> String {
        match self {
            Kind::Quantity(dim) => dim.words(given),
            Kind::Curve => "one curve".to_owned(),
            Kind::Curves => "a curve or a list of curves".to_owned(),
            Kind::List => "a list of numbers or curves".to_owned(),
            Kind::Values => "a list of numbers or curves, or one curve".to_owned(),
            Kind::Measured => "a list of numbers with one unit".to_owned(),
            Kind::Numbers(Dim::Is(Dimension::NONE)) => {
                "a list of numbers without a unit".to_owned()
            }
            Kind::Numbers(dim) => format!("a list, each item {}", dim.words(given)),
            Kind::OneOrMore(dim) => format!("{}, or a list of them", dim.words(given)),
            Kind::Word(words) => format!("one of {}", words.join(", ")),
            Kind::ResultOf(function) => format!("the result of a step that says `{function}`"),
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.words(&Given::new()))
    }
}

impl std::fmt::Display for Dim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Dim::Is(Dimension::NONE) => f.write_str("number"),
            Dim::Is(dim) => write!(f, "{dim}"),
            Dim::X(input) => write!(f, "abscissa of `{input}`"),
            Dim::Of(input) => write!(f, "`{input}`"),
            Dim::Over(input) => write!(f, "place in `{input}`"),
            Dim::Places(of, over) => write!(f, "`{over}` or place in `{of}`"),
            Dim::Field(input, field) => write!(f, "`{field}` of `{input}`"),
            Dim::Product(a, b) => write!(f, "{a} × {b}"),
            Dim::Ratio(Dim::Is(Dimension::NONE), b) => write!(f, "1 / ({b})"),
            Dim::Ratio(a, b @ Dim::Places(..)) => write!(f, "{a} / ({b})"),
            Dim::Ratio(a, b) => write!(f, "{a} / {b}"),
        }
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Output::Quantity(dim) => write!(f, "{dim}"),
            Output::Same(input) => write!(f, "`{input}`"),
            Output::Bool => f.write_str("true or false"),
            Output::Text => f.write_str("text"),
            Output::Curve(x, y) => write!(f, "curve of {y} over {x}"),
            Output::Records(fields) => {
                let fields: Vec<String> =
                    fields.iter().map(|(name, is)| format!("`{name}` ({is})")).collect();
                write!(f, "list of {}", fields.join(", "))
            }
        }
    }
}
