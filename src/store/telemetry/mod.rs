//! Telemetry: numeric signals over time, packed, in a database of their own that never delays the
//! journal.
//!
//! ```text
//! Recorder (queue, thread) -> TelemetryWriter -> telemetry.db -> Telemetry (windows, pictures)
//!                            commit, pack, thin
//! ```
//! Architecture invariant: this module knows ticks, values and severities; it does not know what
//! an instrument or a run is, and takes no time of its own but to keep its budgets.
mod aside;
mod bytes;
mod canvas;
mod codec;
mod column;
mod commit;
mod decimal;
mod error;
mod examine;
mod legacy;
mod parts;
mod point;
mod reader;
mod recorder;
mod schema;
mod tail;
mod thin;
mod upkeep;
mod writer;

#[cfg(test)]
mod tests;

pub use aside::{Opened, open_or_set_aside};
pub use canvas::COLUMNS_MAX;
pub use codec::TimeStep;
pub use decimal::Scale;
pub use error::{CodecError, TelemetryError};
pub use examine::{Soundness, examine};
pub use point::{Bucket, Point, Status};
pub use reader::{Damaged, Picture, READ_MAX, Reading, Telemetry};
pub use recorder::{Pace, QUEUE_MAX, Recorder, RecorderKey, Standing};
pub use schema::{Durability, FILE};
pub use upkeep::{Kept, Pin, Retention, Rule};
pub use writer::{Declaration, NAME_BYTES_MAX, SIGNALS_MAX, SignalKey, Stamp, TelemetryWriter};
#[doc(hidden)]
pub use writer::{packed, unpacked};
