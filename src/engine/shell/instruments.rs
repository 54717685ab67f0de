//! What the engine needs of instruments. The drivers' fleet is one; benches use one that answers
//! at once.

use std::collections::BTreeMap;
use std::time::Duration;

use super::gauge::Gauge;
use super::view::InstrumentView;
use super::wanted::Wanted;
use crate::driver::{self, EmergencyStop, Health};
use crate::expr::Value;
use crate::wire::Clock;

/// A command, read or safe state was not accepted; nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// A lab's instruments, as the engine sees them. Every accepted command or read is answered by
/// exactly one notice; every safe state by one.
pub trait Instruments: Send {
    /// Sends a command of an attempt.
    fn send(
        &self,
        attempt: &str,
        instrument: &str,
        action: &str,
        args: BTreeMap<String, Value>,
        deadline: Duration,
    ) -> Result<(), Refused>;

    /// Reads a property.
    fn read(&self, attempt: &str, instrument: &str, property: &str) -> Result<(), Refused>;

    /// Cancels a command under way; its outcome follows as ever.
    fn cancel(&self, instrument: &str, _attempt: &str) -> Result<(), Refused> {
        Err(Refused(format!("{instrument} cannot cancel anything")))
    }

    /// Sends the safe state, ahead of everything that waits.
    fn safe_state(&self, instrument: &str) -> Result<(), Refused>;

    /// How long a reading of a property may be used.
    fn max_age(&self, instrument: &str, property: &str) -> Duration;

    /// Instruments with their properties, as far as they are known before they are read.
    fn properties(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// The numbers that readings of a property hold; `None` where that is not known before one
    /// comes.
    fn gauges(&self, _instrument: &str, _property: &str) -> Option<&[Gauge]> {
        None
    }

    /// Readings that nobody took in time and that are lost.
    fn dropped_readings(&self) -> u64 {
        0
    }

    /// Their emergency stop.
    fn emergency(&self) -> EmergencyStop {
        EmergencyStop::detached(Clock::real())
    }

    /// The pulse that they want to feel before they keep a device's own watchdog from acting.
    fn health(&self) -> Health {
        Health::detached(Clock::real())
    }

    /// A person says that an instrument may be used although it is another unit than before; its
    /// identity now, if it tells one.
    fn accept(&self, instrument: &str) -> Result<Option<String>, Refused> {
        Err(Refused(format!("nothing is known of `{instrument}`")))
    }

    /// What a person wants of an instrument, read against its definition and the limits of the lab.
    fn wanted(&self, instrument: &str, _what: &str, _set: &[String]) -> Result<Wanted, Refused> {
        Err(Refused(format!("`{instrument}` takes no commands by hand")))
    }

    /// From now on they take commands of the engine with this fencing epoch, and of no other.
    fn obey(&self, _epoch: u64) {}

    /// They belong to another engine now: nothing more is sent to any of them.
    fn lapse(&self, _why: &str) {}

    /// Every instrument.
    fn names(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whether each can be used now, for people.
    fn conditions(&self) -> Vec<InstrumentView> {
        Vec::new()
    }
}

impl From<driver::SendError> for Refused {
    fn from(error: driver::SendError) -> Refused {
        Refused(error.to_string())
    }
}
