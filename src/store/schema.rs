//! Layout of the journal file, and how older layouts become the present one.
//!
//! Format 1 had entries and documents. Format 2 adds the lease with its fencing number. Entries
//! and their hashes are the same in both, so a chain goes on through a migration.

use rusqlite::{Connection, TransactionBehavior};

use super::lease::{self, Holder};

/// Layout of the journal file; raised with every change of it.
pub(super) const FORMAT: i64 = 2;

/// Entries and documents, as in every format.
const ENTRIES: &str = "
CREATE TABLE journal (
    seq INTEGER PRIMARY KEY,
    tick INTEGER NOT NULL,
    wall INTEGER NOT NULL,
    subject TEXT NOT NULL,
    kind TEXT NOT NULL,
    body TEXT NOT NULL,
    hash BLOB NOT NULL
) STRICT;
CREATE INDEX journal_subject ON journal (subject, seq);
CREATE TABLE document (
    hash TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    text TEXT NOT NULL
) STRICT;
";

/// What format 2 adds.
const LEASE: &str = "
CREATE TABLE lease (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    epoch INTEGER NOT NULL,
    pid INTEGER NOT NULL,
    host TEXT NOT NULL,
    boot TEXT NOT NULL,
    wall INTEGER NOT NULL
) STRICT;
";

/// Why a file cannot be brought to the present layout.
pub(super) enum SchemaError {
    /// SQLite said no.
    Database(rusqlite::Error),
    /// Its layout is newer than this.
    Newer(i64),
    /// Its tables are not those of the layout it names.
    Damaged(String),
}

impl From<rusqlite::Error> for SchemaError {
    fn from(error: rusqlite::Error) -> SchemaError {
        SchemaError::Database(error)
    }
}

/// The format a file says it has.
pub(super) fn format(connection: &Connection) -> Result<i64, rusqlite::Error> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Names of the tables and indexes in a file.
fn names(connection: &Connection) -> Result<Vec<String>, rusqlite::Error> {
    connection
        .prepare("SELECT name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' ORDER BY name")?
        .query_map([], |row| row.get(0))?
        .collect()
}

/// The format of a file, after looking whether its tables are those of that format.
///
/// A file that lost a table must not get an empty one in its place.
pub(super) fn checked(connection: &Connection) -> Result<i64, SchemaError> {
    let format = format(connection)?;
    let found = names(connection)?;
    let wanted: &[&str] = match format {
        0 if found.is_empty() => return Ok(0),
        0 => return Err(SchemaError::Damaged("it has tables, but no format".to_owned())),
        1 => &["document", "journal", "journal_subject"],
        2 => &["document", "journal", "journal_subject", "lease"],
        newer => return Err(SchemaError::Newer(newer)),
    };
    match wanted.iter().find(|name| !found.iter().any(|found| found == *name)) {
        Some(missing) => Err(SchemaError::Damaged(format!("its table `{missing}` is missing"))),
        None => Ok(format),
    }
}

/// Brings a file that passed [`checked`] to the present format, in one transaction. Returns the
/// format it had.
pub(super) fn bring_up(connection: &mut Connection) -> Result<i64, SchemaError> {
    let before = checked(connection)?;
    if before == FORMAT {
        return Ok(before);
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have been faster.
    let before = checked(&transaction)?;
    if before == 0 {
        transaction.execute_batch(ENTRIES)?;
    }
    if before < FORMAT {
        transaction.execute_batch(LEASE)?;
        let epoch = epoch_in_entries(&transaction)?;
        if epoch > 0 {
            let nobody = Holder { pid: 0, host: String::new(), boot: String::new(), wall_ms: 0 };
            lease::write(&transaction, epoch, &nobody)?;
        }
        transaction.execute_batch(&format!("PRAGMA user_version = {FORMAT}"))?;
    }
    transaction.commit()?;
    Ok(before)
}

/// The last fencing number that entries of format 1 name: of engines, and of commands by hand.
fn epoch_in_entries(connection: &Connection) -> Result<u64, rusqlite::Error> {
    let mut highest = 0;
    let mut statement = connection
        .prepare("SELECT body FROM journal WHERE kind IN ('engine_started', 'manual_intent')")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let body: String = row.get(0)?;
        // `{"started": {"epoch": 3, ...}}`; what does not read so names no epoch.
        let Ok(serde_json::Value::Object(map)) = serde_json::from_str(&body) else { continue };
        for record in map.values() {
            let epoch = record.get("epoch").and_then(serde_json::Value::as_u64).unwrap_or(0);
            highest = highest.max(epoch);
        }
    }
    Ok(highest)
}
