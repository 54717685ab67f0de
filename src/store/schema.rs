//! Layout of the journal file, and how older layouts become the present one.
//!
//! Format 1 had entries and documents. Format 2 adds the lease with its fencing number, and tables
//! derived from the entries. Entries and their hashes are the same in both, so a chain goes on
//! through a migration.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use rusqlite::{Connection, TransactionBehavior};

use super::lease::{self, Holder};
use super::subjects;

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
    one INTEGER PRIMARY KEY,
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

/// Tables and indexes, with the statements that made them.
pub(super) type Made = BTreeMap<String, String>;

/// What the tables of format 1, and those of the present one, look like to SQLite.
static FIRST: OnceLock<Made> = OnceLock::new();
static PRESENT: OnceLock<Made> = OnceLock::new();

/// How SQLite tells of the tables that these statements make; asked of it once in a process,
/// because that takes longer than to open a journal.
pub(super) fn model(
    known: &'static OnceLock<Made>,
    statements: &[&str],
) -> Result<&'static Made, rusqlite::Error> {
    if let Some(model) = known.get() {
        return Ok(model);
    }
    let connection = Connection::open_in_memory()?;
    for statement in statements {
        connection.execute_batch(statement)?;
    }
    let model = made(&connection)?;
    Ok(known.get_or_init(|| model))
}

/// Tables and indexes of a file.
pub(super) fn made(connection: &Connection) -> Result<Made, rusqlite::Error> {
    connection
        .prepare("SELECT name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

/// The format of a file, after looking whether its tables are those of that format.
///
/// A file that lost a table must not get an empty one in its place.
pub(super) fn checked(connection: &Connection) -> Result<i64, SchemaError> {
    let format = format(connection)?;
    let found = made(connection)?;
    let model = match format {
        0 if found.is_empty() => return Ok(0),
        0 => return Err(SchemaError::Damaged("it has tables, but no format".to_owned())),
        1 => model(&FIRST, &[ENTRIES])?,
        FORMAT => model(&PRESENT, &[ENTRIES, LEASE])?,
        newer => return Err(SchemaError::Newer(newer)),
    };
    // What is derived is made anew where it does not fit; these cannot be.
    for (name, statement) in model {
        let what = match found.get(name) {
            Some(found) if found == statement => continue,
            Some(_) => format!("its table `{name}` is not as it was made"),
            None => format!("its table `{name}` is missing"),
        };
        return Err(SchemaError::Damaged(what));
    }
    Ok(format)
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
        transaction.execute_batch(subjects::TABLES)?;
        last_epoch(&transaction, 0)?;
        transaction.execute_batch(&format!("PRAGMA user_version = {FORMAT}"))?;
    }
    transaction.commit()?;
    Ok(before)
}

/// Makes all tables of the present format in an empty file.
pub(super) fn create(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.execute_batch(ENTRIES)?;
    connection.execute_batch(LEASE)?;
    connection.execute_batch(subjects::TABLES)?;
    connection.execute_batch(&format!("PRAGMA user_version = {FORMAT}"))
}

/// Sets the lease to the last fencing number that the entries name, or a higher one that is known,
/// and to nobody.
pub(super) fn last_epoch(connection: &Connection, known: u64) -> Result<(), rusqlite::Error> {
    let epoch = epoch_in_entries(connection)?.max(known);
    if epoch == 0 {
        return Ok(());
    }
    let nobody = Holder { pid: 0, host: String::new(), boot: String::new(), wall_ms: 0 };
    lease::write(connection, epoch, &nobody)
}

/// The last fencing number that entries name: of engines, and of commands by hand.
pub(super) fn epoch_in_entries(connection: &Connection) -> Result<u64, rusqlite::Error> {
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
