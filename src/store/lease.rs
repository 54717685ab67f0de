//! The lease on a state folder: one row of the journal that says whose it is, with a number that
//! grows with each owner (a fencing number).
//!
//! The lock file comes first and refuses a second engine by name. It can fail: deleted by hand,
//! lost on a network file system, held by a process that sleeps. So every commit of an engine looks
//! at this row inside its own transaction. An engine that was overtaken cannot make an intent
//! durable, and what has no durable intent is not sent.

use std::fmt;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::chain::as_i64;

/// Whose the state folder is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Fencing number: one more with each owner.
    pub epoch: u64,
    /// Its process.
    pub pid: u32,
    /// Its machine.
    pub host: String,
    /// The start of that machine it belongs to; a process number means nothing after the next one.
    pub boot: String,
    /// When it took the lease, milliseconds since 1970.
    pub wall_ms: i64,
}

impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} on {} (epoch {})", self.pid, self.host, self.epoch)
    }
}

/// Who takes a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Process.
    pub pid: u32,
    /// Machine.
    pub host: String,
    /// Start of the machine.
    pub boot: String,
    /// Now, milliseconds since 1970.
    pub wall_ms: i64,
}

impl Holder {
    /// This process. Names that the system does not tell stay empty: they are for people.
    pub fn this_process(wall_ms: i64) -> Holder {
        let told = |path: &str| {
            std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
        };
        Holder {
            pid: std::process::id(),
            host: told("/proc/sys/kernel/hostname"),
            boot: told("/proc/sys/kernel/random/boot_id"),
            wall_ms,
        }
    }
}

/// The lease as it stands; `None` before the first owner.
pub(super) fn read(connection: &Connection) -> Result<Option<Lease>, rusqlite::Error> {
    connection
        .prepare_cached("SELECT epoch, pid, host, boot, wall FROM lease WHERE one = 1")?
        .query_row([], from_row)
        .optional()
}

fn from_row(row: &Row<'_>) -> Result<Lease, rusqlite::Error> {
    Ok(Lease {
        epoch: u64::try_from(row.get::<_, i64>(0)?).unwrap_or(0),
        pid: u32::try_from(row.get::<_, i64>(1)?).unwrap_or(0),
        host: row.get(2)?,
        boot: row.get(3)?,
        wall_ms: row.get(4)?,
    })
}

/// Writes the lease; inside a transaction of the caller.
pub(super) fn write(
    connection: &Connection,
    epoch: u64,
    holder: &Holder,
) -> Result<(), rusqlite::Error> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO lease VALUES (1, ?1, ?2, ?3, ?4, ?5)")?
        .execute(params![as_i64(epoch), holder.pid, holder.host, holder.boot, holder.wall_ms])?;
    Ok(())
}
