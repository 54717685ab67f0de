//! The expression language: parse, type and dimension check, interval analysis, evaluate.
mod value;
pub use value::{Series, Value};

/// A checked expression (the syntax tree follows).
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Expr {}
