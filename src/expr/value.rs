//! Values of the expression language, as they stand in the graph, the journal and results.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::units::{Dimension, Quantity};

/// A value at run time.
///
/// JSON form (journal, graph): externally tagged by type except that quantities, texts and
/// booleans stay short: see the `Serialize` implementation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// Not known, with the reason; every operation on it gives it back.
    Missing(Arc<str>),
    /// True or false.
    Bool(bool),
    /// A number with its dimension, in coherent SI units.
    Quantity(Quantity),
    /// Text.
    Text(Arc<str>),
    /// Values in order.
    List(Vec<Value>),
    /// Named values.
    Record(BTreeMap<String, Value>),
    /// A sampled curve, such as a spectrum.
    Series(Arc<Series>),
}

/// A sampled curve: `y` over `x`, both in coherent SI units; equal lengths.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Abscissa, e.g. wavelengths in m.
    pub x: Vec<f64>,
    /// Dimension of `x`.
    pub x_dim: Dimension,
    /// Ordinate.
    pub y: Vec<f64>,
    /// Dimension of `y`.
    pub y_dim: Dimension,
}
