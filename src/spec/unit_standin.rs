//! The unit of a quantity.
pub use crate::units::Unit;
