//! Instrument drivers: definition -> codec -> session; one task owns one line.
//!
//! Architecture invariant: the bytes of one attempt reach the wire at most once, and nothing but a
//! read is ever repeated here. An attempt ends with exactly one outcome that says truthfully
//! whether anything left this machine.
mod fleet;
mod types;

pub use fleet::Fleet;
pub use types::{
    Command, Exchange, FailureKind, InstrumentSetup, Notice, Outcome, Secret, SendError, Sent,
    SetupError, Way,
};

/// What a model of instrument understands.
pub use crate::spec::instrument::Instrument as Definition;
