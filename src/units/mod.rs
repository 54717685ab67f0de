//! Quantities, dimensions and units.
//!
//! A physical value is a number and a unit everywhere in labloop. Inside, it is a [`Quantity`]:
//! the number in coherent SI units and its [`Dimension`]. Temperatures on a scale (25 degC) are
//! kept apart from differences (5 K): points do not add.
//!
//! Source of codes and factors: UCUM 2.2, SI brochure 9th edition, NIST SP 811.
mod atoms;
mod dimension;
mod quantity;
#[cfg(test)]
mod tests;
mod unit;

pub use dimension::Dimension;
pub use quantity::{Quantity, tidy};
pub use unit::{Unit, UnitError};
