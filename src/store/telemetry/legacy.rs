//! The table `block` of format 1: sixteen bytes a reading, read and never written.

use rusqlite::{Connection, params};

use super::point::{Point, Status};
use super::schema::{has_table, whole};

/// Bytes of one reading: lab time in nanoseconds and value, little endian.
const BYTES: usize = 16;

/// Whether a file has such a table.
pub(super) fn is_there(connection: &Connection) -> Result<bool, rusqlite::Error> {
    has_table(connection, "block")
}

/// Names of its signals.
pub(super) fn signals(connection: &Connection) -> Result<Vec<String>, rusqlite::Error> {
    connection
        .prepare("SELECT DISTINCT signal FROM block ORDER BY signal")?
        .query_map([], |row| row.get(0))?
        .collect()
}

/// Ticks of the first and the last reading of a signal.
pub(super) fn span(
    connection: &Connection,
    signal: &str,
) -> Result<Option<(u64, u64)>, rusqlite::Error> {
    let mut statement =
        connection.prepare_cached("SELECT min(first), max(last) FROM block WHERE signal = ?1")?;
    let (first, last): (Option<i64>, Option<i64>) =
        statement.query_row([signal], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(first.zip(last).map(|(first, last)| (first.cast_unsigned(), last.cast_unsigned())))
}

/// Every block: how many readings it has, or what is wrong with it.
pub(super) fn each_block(
    connection: &Connection,
    mut take: impl FnMut(Result<u64, String>),
) -> Result<(), rusqlite::Error> {
    let mut statement =
        connection.prepare("SELECT rowid, signal, first, last, count, samples FROM block")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (number, signal): (i64, String) = (row.get(0)?, row.get(1)?);
        let (first, last, count): (i64, i64, i64) = (row.get(2)?, row.get(3)?, row.get(4)?);
        let fits = block_fits(first, last, count, row.get_ref(5)?.as_blob()?);
        take(
            fits.map(|()| count.unsigned_abs())
                .map_err(|why| format!("block {number} of {signal}: {why}")),
        );
    }
    Ok(())
}

/// Whether the readings of a block are those that stand beside them.
fn block_fits(first: i64, last: i64, count: i64, bytes: &[u8]) -> Result<(), String> {
    let (readings, rest) = bytes.as_chunks::<BYTES>();
    if !rest.is_empty() || i64::try_from(readings.len()) != Ok(count) {
        return Err(format!("it has {} bytes, not those of {count} readings", bytes.len()));
    }
    let tick = |reading: Option<&[u8; BYTES]>| {
        Some(whole(u64::from_le_bytes(*reading?.first_chunk::<8>()?)))
    };
    if tick(readings.first()) != Some(first) || tick(readings.last()) != Some(last) {
        return Err("its readings are of another time than it says".to_owned());
    }
    Ok(())
}

/// Readings of a signal between two ticks, both included. A value that is no number was bad.
pub(super) fn read(
    connection: &Connection,
    signal: &str,
    from: u64,
    to: u64,
    mut take: impl FnMut(Point),
) -> Result<(), rusqlite::Error> {
    let mut statement = connection.prepare_cached(
        "SELECT samples FROM block WHERE signal = ?1 AND last >= ?2 AND first <= ?3 ORDER BY first",
    )?;
    let mut rows = statement.query(params![signal, whole(from), whole(to)])?;
    while let Some(row) = rows.next()? {
        // What is left over of a block that was cut is no reading.
        let (readings, _) = row.get_ref(0)?.as_blob()?.as_chunks::<BYTES>();
        for reading in readings {
            let (tick, value) = reading.split_at(BYTES / 2);
            let (Ok(tick), Ok(value)) = (tick.try_into(), value.try_into()) else { continue };
            let (tick, value) = (u64::from_le_bytes(tick), f64::from_le_bytes(value));
            if (from..=to).contains(&tick) {
                let status = if value.is_finite() { Status::GOOD } else { Status::BAD };
                take(Point { tick, value, status });
            }
        }
    }
    Ok(())
}
