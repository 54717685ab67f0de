//! Why a journal cannot be used, in words that say what to do.

use std::path::PathBuf;

use super::files::FilesError;
use super::lease::Lease;
use super::schema::FORMAT;

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// SQLite or the disk said no. After a failed commit nothing may be sent any more.
    #[error("the journal {path} failed: {source}", path = path.display())]
    Database {
        /// File.
        path: PathBuf,
        /// Cause.
        source: rusqlite::Error,
    },
    /// Written by a newer labloop.
    #[error(
        "the journal {path} has format {found}, this labloop reads up to {FORMAT}; use the \
         labloop that wrote it, or a newer one",
        path = path.display()
    )]
    Newer {
        /// File.
        path: PathBuf,
        /// Its version.
        found: i64,
    },
    /// The chain is broken.
    #[error(
        "the journal {path} was changed after it was written: entry {seq}: {what}. Restore it from \
         a backup; `labloop verify` names the place",
        path = path.display()
    )]
    Broken {
        /// File.
        path: PathBuf,
        /// First bad entry.
        seq: u64,
        /// What is wrong with it.
        what: String,
    },
    /// Something in the file other than an entry is not what labloop wrote.
    #[error(
        "the journal {path} is damaged: {what}. Nothing is run on it; `labloop verify` names the \
         places, `status` and `export` still show what can be read",
        path = path.display()
    )]
    Damaged {
        /// File.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A file beside the journal cannot be used.
    #[error("the file {path} cannot be used: {why}", path = path.display())]
    Unusable {
        /// File.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// Another engine has taken the state folder over: this one may send nothing any more.
    #[error(
        "this engine (epoch {mine}) was overtaken: {theirs} has taken over {path}. Nothing more \
         was noted or sent by this one, and safe states are the other's to send",
        path = path.display()
    )]
    Lapsed {
        /// File.
        path: PathBuf,
        /// Epoch of the caller.
        mine: u64,
        /// Who has it now.
        theirs: Box<Lease>,
    },
    /// Another process wrote between reading the past and taking the lease.
    #[error(
        "another labloop wrote to {path} while this one was starting: it grew from entry {read} \
         to {found}; start again",
        path = path.display()
    )]
    Grew {
        /// File.
        path: PathBuf,
        /// Entries when it was read.
        read: u64,
        /// Entries now.
        found: u64,
    },
    /// Something was to be noted without the lease.
    #[error("nothing is noted in {path} without its lease", path = .0.display())]
    NoLease(PathBuf),
    /// A file that an entry refers to cannot be used.
    #[error("entry {seq} of the journal refers to a file that cannot be used: {source}")]
    File {
        /// Entry.
        seq: u64,
        /// Cause.
        source: FilesError,
    },
    /// An earlier write has failed.
    #[error(
        "nothing is written to the journal {path} any more: an earlier write failed. Look at the disk, \
         then start again",
        path = .0.display()
    )]
    Latched(PathBuf),
    /// A body is too large for an entry.
    #[error(
        "a journal entry of {0} bytes is larger than the limit of {max}",
        max = super::chain::BODY_MAX
    )]
    TooLarge(usize),
    /// There is no journal here.
    #[error(
        "there is no journal at {path}; has anything been run with this state folder?",
        path = .0.display()
    )]
    Absent(PathBuf),
    /// Another program keeps the database locked.
    #[error(
        "another program has kept {path} locked for {seconds} s (a backup, or a tool that looks \
         into the database?); end it and start again",
        path = path.display()
    )]
    Locked {
        /// File.
        path: PathBuf,
        /// How long was waited.
        seconds: u64,
    },
    /// The file or its folder cannot be written.
    #[error(
        "the journal {path} cannot be written: {why}. Nothing is run without a journal; make the \
         state folder writable, or choose another with --state",
        path = path.display()
    )]
    ReadOnly {
        /// File.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
}
