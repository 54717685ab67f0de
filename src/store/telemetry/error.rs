//! Why history cannot be written or read, in words that say what is lost.

use std::path::PathBuf;

use super::codec::{COUNT_MAX, FORMAT};

/// Why bytes are not what the codec writes. Only the block they belong to is lost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The bytes end too early.
    #[error("it ends within its {0}")]
    Truncated(&'static str),
    /// The bytes are not those that were written.
    #[error("its checksum is {found:08x}, it was written with {stored:08x}")]
    Checksum {
        /// Checksum that stands in it.
        stored: u32,
        /// Checksum of what is there.
        found: u32,
    },
    /// Written by a newer labloop, or not a block at all.
    #[error("it says it has format {0}, this labloop reads {FORMAT}")]
    Format(u8),
    /// A count that no writer makes.
    #[error("it says it holds {0} values, {COUNT_MAX} at most are written")]
    TooMany(u64),
    /// A part of it says something that cannot be.
    #[error("its {what} cannot be read: {why}")]
    Malformed {
        /// Part of the block.
        what: &'static str,
        /// What is wrong.
        why: String,
    },
    /// There is something after its end.
    #[error("{0} bytes follow its end")]
    Trailing(usize),
}

/// Why the history file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TelemetryError {
    /// SQLite or the disk said no.
    #[error("the history {path} failed: {source}", path = path.display())]
    Database {
        /// File.
        path: PathBuf,
        /// Cause.
        source: rusqlite::Error,
    },
    /// Written by a newer labloop.
    #[error(
        "the history {path} has format {found}, this labloop reads up to {known}; use the labloop \
         that wrote it, or a newer one",
        path = path.display()
    )]
    Newer {
        /// File.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The highest that is known.
        known: i64,
    },
    /// More signals than anything real has.
    #[error("the history takes {0} signals at most")]
    TooManySignals(u32),
    /// A name that cannot be one.
    #[error("the name of a signal has 1 to {0} bytes")]
    Name(usize),
    /// Nobody has declared it.
    #[error("the history knows no signal `{0}`")]
    Unknown(String),
    /// The thread that writes cannot be started, or has ended.
    #[error("the thread that writes history is gone: {0}")]
    Thread(String),
}
