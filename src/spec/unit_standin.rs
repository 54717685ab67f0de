//! The unit of a quantity, until `units` has its own.
use crate::units::Dimension;

/// A unit of measure.
#[derive(Debug, Clone, PartialEq)]
pub struct Unit {
    /// As written.
    pub symbol: String,
    /// Dimension.
    pub dim: Dimension,
    /// SI value of one.
    pub factor: f64,
    /// SI value of zero.
    pub offset: f64,
    /// A temperature on a scale.
    pub point: bool,
}
