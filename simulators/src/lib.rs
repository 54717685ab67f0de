//! Virtual laboratory instruments on real wires: MQTT, serial and Modbus TCP, with physics.
//!
//! Each instrument is a state machine that takes bytes and lab time and gives bytes; it knows no
//! wire. The transports around it put it on a pseudo-terminal, a socket, an MQTT broker, or on
//! in-memory pipes for a virtual clock. What the instruments do to each other goes through a
//! *plant*: pumps feed a reactor, a heater heats it, a spectrometer looks at what comes out.
//!
//! Architecture invariant: written from the instruments' manuals and independent of labloop, so
//! that a misreading in a driver does not hide behind the same misreading here.
mod ascii;
mod broker;
pub mod bus;
pub mod chemistry;
mod config;
mod control;
mod controller;
mod delivery;
pub mod faults;
mod heater;
mod lab;
pub mod light;
mod member;
mod memory;
mod modbus;
mod model;
mod mqtt;
mod plant;
mod plants;
mod post;
mod pump;
mod rtu;
mod serve;
mod text;
mod wires;
pub mod world;

pub use config::{DeviceConfig, Error, LabConfig, PlantConfig, ServeOptions};
pub use memory::{MemoryLab, in_memory};
pub use model::{Answer, Inward, Model, Outward, Presence, Upset};
pub use serve::serve;
pub use world::{Models, Publication, has_simulator};
