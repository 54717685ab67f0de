//! Virtual laboratory instruments that speak the bytes of the real ones, with physics and faults.
//!
//! The crate knows nothing of labloop: it was written from what the makers' manuals say, so that a driver
//! tested against it is not tested against its own misreading.

mod config;
pub mod memory;
pub mod serve;

pub use config::{DeviceConfig, Error, LabConfig, PlantConfig, ServeOptions};
pub use memory::{MemoryLab, in_memory};
pub use serve::serve;
