//! The four YAML documents as typed values with source spans, and diagnostics that point at them.
//!
//! ```text
//! text -> tree (every key and value with its place) -> lowering by key tables -> typed document
//!                                                             |
//!                                                   Report: all mistakes, in file order
//! ```
//!
//! Architecture invariant: a document is checked here as far as it can be checked on its own.
//! Nothing in this module opens another file, knows a clock, or refuses a document because of
//! what a second document says; that is the compiler's work. Lowering never panics, whatever
//! the bytes, and never stops at the first mistake.

pub mod campaign;
pub mod codes;
pub mod diagnostic;
mod document;
pub mod instrument;
pub mod lab;
pub mod literal;
mod nearest;
mod physics;
mod plain;
pub mod protocol;
mod reader;
pub mod reference;
pub mod render;
pub mod schema;
mod shape;
mod shared;
pub mod source;
mod syntax;
mod table;
pub mod tree;
pub mod types;
pub mod value;
mod yaml;

pub use diagnostic::{Checked, Diagnostic, Edit, Label, Report, Severity};
pub use document::{Document, Kind, lower};
pub use nearest::{listed, nearest};
pub use source::{Position, SourceFile, SourceId, Sources, Span, Spanned};
pub use value::{
    AxisSource, Condition, Expression, Field, Named, SeriesPoints, Shape, ValueSpec, ValueType,
    Written,
};

#[cfg(test)]
mod tests;
