//! labloop: a self-driving laboratory runtime.
pub mod analysis;
pub mod cli;
pub mod compiler;
pub mod diagnostics;
pub mod driver;
pub mod editor;
pub mod engine;
pub mod expr;
pub mod planner;
pub mod scheduler;
pub mod server;
pub mod spec;
pub mod store;
pub mod units;
pub mod wire;
