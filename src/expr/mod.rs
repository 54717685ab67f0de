//! The expression language: parse, type and dimension check, interval analysis, evaluate.
//!
//! Small, closed and total: no I/O, no loops, no recursion over data. Every expression is read
//! and checked before anything runs; evaluation never panics and takes time in proportion to its
//! size. What is not known is [`Value::Missing`] and stays missing through arithmetic; `and` and
//! `or` follow Kleene, so that lost data never reads as safe.
//!
//! ```text
//! expression := or ["?" expression ":" expression]
//! or         := and { "or" and }          and  := not { "and" not }
//! not        := "not" not | comparison
//! comparison := sum [("==" | "!=" | "<" | "<=" | ">" | ">=" | "in") sum]
//! sum        := product { ("+" | "-") product }
//! product    := unary { ("*" | "/") unary }
//! unary      := "-" unary | power         power := postfix ["^" integer]
//! postfix    := primary { "." name | "[" expression "]" }
//! primary    := number [unit] | text | "true" | "false" | name ["(" arguments ")"]
//!             | "(" expression ")" | "[" list "]"
//! ```
mod array;
mod ast;
mod check;
mod eval;
pub mod filed;
mod functions;
mod interval;
mod lex;
mod parse;
#[cfg(test)]
mod tests;
mod value;

pub use array::{Array, Axis, Parts, Sample};
pub use ast::Expr;
pub use check::{Type, TypeEnv, check};
pub use eval::{Argument, Env, eval, fold};
pub use filed::Filed;
pub use interval::{Interval, RangeEnv, interval, truth};
pub use parse::{parse, parse_template};
pub use value::{Series, Value};

/// What kind of mistake an expression has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// It cannot be read.
    Syntax,
    /// A name or function is not known.
    Name,
    /// Types do not fit.
    Type,
    /// Dimensions do not fit.
    Dimension,
    /// A unit is not known.
    Unit,
    /// It has no value: division by zero, overflow, an empty list.
    Value,
    /// It is too large.
    Limit,
}

/// A mistake in an expression, with its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExprError {
    /// Bytes of the source text.
    pub span: std::ops::Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
    /// Class.
    pub kind: ErrorKind,
}

impl ExprError {
    fn new(kind: ErrorKind, span: std::ops::Range<usize>, message: impl Into<String>) -> ExprError {
        ExprError { span, message: message.into(), help: None, kind }
    }

    fn help(mut self, help: impl Into<String>) -> ExprError {
        self.help = Some(help.into());
        self
    }
}
