//! Journal, documents, telemetry, export.
//!
//! `journal.db` holds the append-only, hash-chained record of everything decided, sent, received
//! and concluded, and the documents (compiled graphs, YAML texts) it refers to by hash.
//! `files/` holds large values, each named by its hash, that entries refer to.
//! `telemetry.db` holds what was measured between decisions; it may lose its last second in a
//! power loss, the journal may not.
//!
//! Architecture invariant: this module never looks inside a run; it keeps texts and their order.
mod chain;
mod error;
pub mod files;
pub mod journal;
pub mod lease;
pub mod lock;
mod schema;
pub mod telemetry;

pub use chain::{Document, Entry, StoredEntry};
pub use error::JournalError;
pub use files::{Files, FilesError};
pub use journal::{Durability, Journal, Verified};
pub use lease::{Holder, Lease};
pub use lock::{LockError, StateLock};
pub use telemetry::{Telemetry, TelemetryWriter};
