//! Quantities, dimensions and units.

use serde::{Deserialize, Serialize};

/// Exponents of the seven SI base units, in the order m, kg, s, A, K, mol, cd.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Dimension(pub [i8; 7]);

/// A number in coherent SI units with its dimension.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Quantity {
    /// Value in coherent SI units (m, kg, s, A, K, mol, cd).
    pub value: f64,
    /// Dimension.
    pub dim: Dimension,
    /// A temperature on a scale (25 degC), as opposed to a difference (5 K).
    pub point: bool,
}
