//! Journal, documents, telemetry, export.
//!
//! `journal.db` holds the append-only, hash-chained record of everything decided, sent, received
//! and concluded, and the documents (compiled graphs, YAML texts) it refers to by hash.
//! `files/` holds large values, each named by its hash, that entries refer to.
//! `telemetry.db` holds what was measured; it may lose its last second in a crash or a power loss, the
//! journal may not.
//!
//! Architecture invariant: this module never looks inside a run; it keeps texts and their order.
mod anchor;
mod chain;
mod error;
pub mod files;
pub mod journal;
pub mod lease;
pub mod lock;
mod pages;
mod reading;
mod salvage;
mod schema;
mod subjects;
pub mod telemetry;
mod upkeep;
mod verify;

pub use anchor::{Anchor, Head};
pub use chain::{Document, Entry, StoredEntry};
pub use error::JournalError;
pub use files::{Files, FilesError};
pub use journal::{Durability, Journal, Lost};
pub use lease::{Holder, Lease};
pub use lock::{LockError, StateLock};
pub use reading::Partly;
pub use subjects::{Standing, Subject};
pub use telemetry::{Recorder, Soundness, Telemetry, TelemetryWriter, examine};
pub use upkeep::Upkeep;
pub use verify::{Finding, Survey, Verified};
