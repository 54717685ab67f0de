//! Instrument drivers: definition -> codec -> session; one task owns one line.
//!
//! ```text
//! definition + config -> plan          (checked once, at start)
//! command -> fleet -> line task -> session -> codec -> wire
//! notice  <- outbox <-  outcome  <- completion <- reply
//! ```
//!
//! Architecture invariant: the bytes of one attempt reach the wire at most once, and nothing but a
//! read is ever repeated here. An attempt ends with exactly one outcome that says truthfully
//! whether anything left this machine.
mod bulk;
mod bus;
mod checksum;
pub mod decode;
mod exchange;
mod fleet;
mod forms;
mod framing;
mod gate;
pub mod golden;
mod golden_broker;
mod isolated;
mod json;
mod line;
pub mod mirror;
mod null;
mod pattern;
mod plan;
pub mod preview;
pub mod probe;
mod registers;
mod scope;
mod session;
mod sparkplug;
mod stop;
mod talk;
mod tap;
mod template;
mod text;
mod topics;
mod types;
mod unit;
mod values;

pub use fleet::Fleet;
pub use gate::{EmergencyStop, Health, Lease, Pressed, Stopped};
pub use isolated::panic_text;
pub use plan::HOLD_STATE;
pub use stop::{Because, InstrumentStop, LineStop, stop_latencies};
pub use types::{
    About, Command, Exchange, FailureKind, Flaw, InstrumentSetup, Notice, Outcome, Secret,
    SendError, Sent, SetupError, Tap, Way,
};
pub use values::written_values;

/// Settings of the serial line of a definition, if it has one.
pub fn serial_of(definition: &Definition) -> Option<crate::wire::SerialSettings> {
    use crate::spec::instrument::Wire;
    match &definition.connection.wire {
        Wire::Bytes(bytes) => bytes.serial.as_ref().map(|serial| plan::settings(Some(serial))),
        Wire::Modbus(modbus) => modbus.serial.as_ref().map(|serial| plan::settings(Some(serial))),
        Wire::Mqtt(_) => None,
    }
}

/// Topics on which commands to an instrument are published, as filters.
pub fn command_topics(setup: &InstrumentSetup) -> Result<Vec<String>, Vec<String>> {
    Ok(plan::Plan::new(setup)?.command_topics())
}

/// What a model of instrument understands.
pub use crate::spec::instrument::Instrument as Definition;
