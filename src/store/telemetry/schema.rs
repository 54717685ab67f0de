//! Layout of `telemetry.db`, and opening it.
//!
//! Format 1 (`user_version` 0) had the table `block`: signal, first, last, count, and sixteen bytes
//! a reading. It is still read and never written. Format 2 adds what follows; readings go
//! `tail` -> `part`, and retention takes them through the stages of `summary`:
//!
//! ```text
//! tail      one row a commit: what is not in parts yet; skipped below `signal.sealed`
//! part      up to 8192 readings of a signal: `body` packed, `fine` a bucket for each 512
//! summary   what each part comes to; stage 0 full, 1 minutes, 2 hours, 3 lost to overload
//! clock     lab time against wall time, a row wherever they part by more than 10 ms
//! pin       windows that retention leaves alone
//! ```

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::error::TelemetryError;

/// Layout of the file.
pub(super) const LAYOUT: i64 = 2;
/// Name of the file in a state folder.
pub const FILE: &str = "telemetry.db";
/// The write-ahead log is cut to this when a checkpoint has emptied it.
const WAL_BYTES_MAX: u64 = 64 << 20;

/// Stage of a part: all its readings.
pub(super) const FULL: i64 = 0;
/// A bucket a minute.
pub(super) const MINUTES: i64 = 1;
/// A bucket an hour.
pub(super) const HOURS: i64 = 2;
/// Readings that came faster than they could be written, as one bucket.
pub(super) const OVERLOAD: i64 = 3;

const TABLES: &str = "
CREATE TABLE signal (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, unit TEXT NOT NULL, class TEXT NOT NULL,
    sealed INTEGER NOT NULL, span INTEGER NOT NULL
) STRICT;
CREATE TABLE text (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE clock (tick INTEGER PRIMARY KEY, wall_ms INTEGER NOT NULL) STRICT;
CREATE TABLE part (id INTEGER PRIMARY KEY, fine BLOB NOT NULL, body BLOB) STRICT;
CREATE TABLE summary (
    signal INTEGER NOT NULL, stage INTEGER NOT NULL, first INTEGER NOT NULL,
    part INTEGER NOT NULL, last INTEGER NOT NULL, count INTEGER NOT NULL, used INTEGER NOT NULL,
    first_value REAL, last_value REAL, least REAL, greatest REAL, total REAL,
    worst INTEGER NOT NULL,
    PRIMARY KEY (signal, stage, first, part)
) STRICT, WITHOUT ROWID;
CREATE TABLE tail (
    id INTEGER PRIMARY KEY, first INTEGER NOT NULL, last INTEGER NOT NULL, body BLOB NOT NULL
) STRICT;
CREATE TABLE pin (
    id INTEGER PRIMARY KEY, why TEXT NOT NULL, signal INTEGER NOT NULL,
    first INTEGER NOT NULL, last INTEGER NOT NULL
) STRICT;
CREATE INDEX pin_signal ON pin (signal, first, last);
";

/// When a commit is safe from what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// From a power loss: each commit waits for the disk.
    Commit,
    /// From a crash of the process; a power loss takes what came since the last checkpoint (at most
    /// 4 MB of log), and leaves the file whole.
    Checkpoint,
}

/// Gives errors the path of the file.
pub(super) fn failed(path: &Path) -> impl Fn(rusqlite::Error) -> TelemetryError + '_ {
    |source| TelemetryError::Database { path: path.to_owned(), source }
}

fn version(connection: &Connection) -> Result<i64, rusqlite::Error> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Opens or makes the file of a state folder for writing.
pub(super) fn open_to_write(
    folder: &Path,
    durability: Durability,
) -> Result<(Connection, PathBuf), TelemetryError> {
    let path = folder.join(FILE);
    let failed = failed(&path);
    let mut connection = Connection::open(&path).map_err(&failed)?;
    let synchronous = match durability {
        Durability::Commit => "FULL",
        Durability::Checkpoint => "NORMAL",
    };
    connection.execute_batch("PRAGMA busy_timeout = 1000").map_err(&failed)?;
    let pages: i64 =
        connection.query_row("PRAGMA page_count", [], |row| row.get(0)).map_err(&failed)?;
    if pages == 0 {
        // Later it would change nothing, and wait for whoever writes.
        connection.execute_batch("PRAGMA auto_vacuum = INCREMENTAL").map_err(&failed)?;
    }
    connection
        .execute_batch(&format!(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous};
             PRAGMA journal_size_limit = {WAL_BYTES_MAX};"
        ))
        .map_err(&failed)?;
    let found = version(&connection).map_err(&failed)?;
    if found > LAYOUT {
        return Err(TelemetryError::Newer { path: path.clone(), found, known: LAYOUT });
    }
    if found < LAYOUT {
        let transaction = connection.transaction().map_err(&failed)?;
        transaction
            .execute_batch(TABLES)
            .and_then(|()| transaction.pragma_update(None, "user_version", LAYOUT))
            .and_then(|()| transaction.commit())
            .map_err(&failed)?;
    }
    Ok((connection, path.clone()))
}

/// Opens the file of a state folder for reading; `None` if there is none.
pub(super) fn open_to_read(
    folder: &Path,
) -> Result<Option<(Connection, PathBuf, i64)>, TelemetryError> {
    let path = folder.join(FILE);
    if !path.exists() {
        return Ok(None);
    }
    let failed = failed(&path);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let connection = Connection::open_with_flags(&path, flags).map_err(&failed)?;
    connection.execute_batch("PRAGMA busy_timeout = 1000").map_err(&failed)?;
    let found = version(&connection).map_err(&failed)?;
    if found > LAYOUT {
        return Err(TelemetryError::Newer { path: path.clone(), found, known: LAYOUT });
    }
    Ok(Some((connection, path.clone(), found)))
}

/// A tick as SQLite keeps it; 292 years are enough.
pub(super) fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Whether the file has a table.
pub(super) fn has_table(connection: &Connection, name: &str) -> Result<bool, rusqlite::Error> {
    connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1)",
        [name],
        |row| row.get(0),
    )
}
