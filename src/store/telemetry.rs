//! Telemetry: numeric signals in blocks, in a database of their own that never delays the journal.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, params};

/// Samples of one signal per block.
const BLOCK: usize = 512;
/// Bytes of one sample in a block: lab time in nanoseconds and value, little endian.
const SAMPLE_BYTES: usize = 16;

/// Things that are told one by one of a damaged file; one with more is not mended by reading them.
const FOUND_MAX: usize = 20;

/// Damaged files that are kept; a disk that damages more of them needs a person.
const ASIDE_MAX: u32 = 100;

/// One numeric reading.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Lab time in nanoseconds.
    pub tick: u64,
    /// Value in coherent SI units; NaN where the quality was bad.
    pub value: f64,
}

/// Writes telemetry.
#[derive(Debug)]
pub struct TelemetryWriter {
    connection: Connection,
    open: BTreeMap<String, Vec<Point>>,
}

impl TelemetryWriter {
    /// Opens or makes `telemetry.db` in a state folder.
    pub fn open(folder: &Path) -> Result<TelemetryWriter, rusqlite::Error> {
        let connection = Connection::open(folder.join("telemetry.db"))?;
        connection.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA busy_timeout = 1000;
             CREATE TABLE IF NOT EXISTS block (
                 signal TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
                 count INTEGER NOT NULL, samples BLOB NOT NULL
             ) STRICT;
             CREATE INDEX IF NOT EXISTS block_signal ON block (signal, first);",
        )?;
        Ok(TelemetryWriter { connection, open: BTreeMap::new() })
    }

    /// The same, but one that is no database any more is put aside and a new one begun: what is
    /// measured must not keep an engine from the runs it has to take up. The name of what was put
    /// aside.
    pub fn open_or_anew(
        folder: &Path,
    ) -> Result<(TelemetryWriter, Option<PathBuf>), rusqlite::Error> {
        match TelemetryWriter::open(folder) {
            Ok(writer) => Ok((writer, None)),
            Err(error) if is_damage(&error) => match put_aside(folder) {
                Ok(kept) => Ok((TelemetryWriter::open(folder)?, Some(kept))),
                Err(_) => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    /// Takes a reading; writes a block when one is full.
    pub fn push(&mut self, signal: &str, point: Point) -> Result<(), rusqlite::Error> {
        let full = match self.open.get_mut(signal) {
            Some(points) => {
                points.push(point);
                points.len() >= BLOCK
            }
            None => {
                self.open.insert(signal.to_owned(), vec![point]);
                false
            }
        };
        if full { self.flush_signal(signal) } else { Ok(()) }
    }

    /// Writes every block that has anything in it.
    pub fn flush(&mut self) -> Result<(), rusqlite::Error> {
        let names: Vec<String> = self.open.keys().cloned().collect();
        self.connection.execute_batch("BEGIN")?;
        for name in names {
            self.flush_signal(&name)?;
        }
        self.connection.execute_batch("COMMIT")
    }

    fn flush_signal(&mut self, signal: &str) -> Result<(), rusqlite::Error> {
        let Some(points) = self.open.get_mut(signal) else { return Ok(()) };
        let (Some(first), Some(last)) = (points.first(), points.last()) else { return Ok(()) };
        let mut samples = Vec::with_capacity(points.len() * SAMPLE_BYTES);
        for point in points.iter() {
            samples.extend_from_slice(&point.tick.to_le_bytes());
            samples.extend_from_slice(&point.value.to_le_bytes());
        }
        self.connection.prepare_cached("INSERT INTO block VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(
            params![
                signal,
                i64::try_from(first.tick).unwrap_or(i64::MAX),
                i64::try_from(last.tick).unwrap_or(i64::MAX),
                i64::try_from(points.len()).unwrap_or(i64::MAX),
                samples
            ],
        )?;
        points.clear();
        Ok(())
    }
}

/// Renames the files to `telemetry.db.damaged-1` and so on, after those that are there.
fn put_aside(folder: &Path) -> std::io::Result<PathBuf> {
    let names = (1..=ASIDE_MAX).map(|n| folder.join(format!("telemetry.db.damaged-{n}")));
    let Some(kept) = names.into_iter().find(|path| !path.exists()) else {
        return Err(std::io::Error::other("too many were put aside already"));
    };
    std::fs::rename(folder.join("telemetry.db"), &kept)?;
    for end in ["-wal", "-shm"] {
        let mut to = kept.clone().into_os_string();
        to.push(end);
        match std::fs::rename(folder.join(format!("telemetry.db{end}")), to) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(kept)
}

/// Reads telemetry.
#[derive(Debug)]
pub struct Telemetry {
    connection: Connection,
}

impl Telemetry {
    /// Opens `telemetry.db` of a state folder for reading; `None` if there is none.
    pub fn open(folder: &Path) -> Result<Option<Telemetry>, rusqlite::Error> {
        let path = folder.join("telemetry.db");
        if !path.exists() {
            return Ok(None);
        }
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        Ok(Some(Telemetry { connection: Connection::open_with_flags(path, flags)? }))
    }

    /// Names of all signals.
    pub fn signals(&self) -> Result<Vec<String>, rusqlite::Error> {
        self.connection
            .prepare("SELECT DISTINCT signal FROM block ORDER BY signal")?
            .query_map([], |row| row.get(0))?
            .collect()
    }

    /// Readings of a signal between two ticks, both included, in order of time.
    pub fn read(&self, signal: &str, from: u64, to: u64) -> Result<Vec<Point>, rusqlite::Error> {
        let clamp = |tick: u64| i64::try_from(tick).unwrap_or(i64::MAX);
        let blocks: Vec<Vec<u8>> = self
            .connection
            .prepare_cached(
                "SELECT samples FROM block WHERE signal = ?1 AND last >= ?2 AND first <= ?3 \
                 ORDER BY first",
            )?
            .query_map(params![signal, clamp(from), clamp(to)], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let mut points = Vec::new();
        for block in blocks {
            let (samples, _) = block.as_chunks::<SAMPLE_BYTES>();
            points.extend(samples.iter().filter_map(|sample| {
                let (tick, value) = sample.split_first_chunk::<8>()?;
                let tick = u64::from_le_bytes(*tick);
                let value = f64::from_le_bytes(*value.first_chunk::<8>()?);
                (from..=to).contains(&tick).then_some(Point { tick, value })
            }));
        }
        Ok(points)
    }
}

/// What a look at the whole of `telemetry.db` came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Soundness {
    /// There is none.
    Missing,
    /// All of it reads as it was written.
    Whole {
        /// Blocks.
        blocks: u64,
        /// Readings in them.
        samples: u64,
    },
    /// Not all of it does; what, at most 20 things.
    Damaged(Vec<String>),
    /// It could not be looked at, which says nothing about it; why.
    Unread(String),
}

/// Looks at the whole of `telemetry.db` of a state folder: the pages of the file, and each block
/// against what stands beside it. Changes nothing in it.
pub fn examine(folder: &Path) -> Soundness {
    if !folder.join("telemetry.db").exists() {
        return Soundness::Missing;
    }
    let mut found = Vec::new();
    match look(folder, &mut found) {
        Ok((blocks, samples)) if found.is_empty() => Soundness::Whole { blocks, samples },
        Ok(_) => Soundness::Damaged(found),
        Err(error) if is_damage(&error) => {
            found.push(error.to_string());
            Soundness::Damaged(found)
        }
        Err(error) => Soundness::Unread(error.to_string()),
    }
}

fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    match error {
        rusqlite::Error::SqliteFailure(failure, message) => {
            // An empty file is a database without a table.
            let no_table = message.as_ref().is_some_and(|text| text.contains("no such table"));
            matches!(failure.code, DatabaseCorrupt | NotADatabase) || no_table
        }
        // What a statement found that is of another kind than was ever written.
        rusqlite::Error::SqlInputError { msg, .. } => msg.contains("no such table"),
        rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::Utf8Error(..) => true,
        _ => false,
    }
}

fn look(folder: &Path, found: &mut Vec<String>) -> Result<(u64, u64), rusqlite::Error> {
    let Some(Telemetry { connection }) = Telemetry::open(folder)? else { return Ok((0, 0)) };
    connection.busy_timeout(std::time::Duration::from_secs(1))?;
    let mut pages = connection.prepare(&format!("PRAGMA quick_check({FOUND_MAX})"))?;
    let said = pages.query_map([], |row| row.get::<_, String>(0))?;
    for line in said {
        match line?.as_str() {
            "ok" => {}
            wrong => found.push(wrong.to_owned()),
        }
    }
    let mut statement =
        connection.prepare("SELECT rowid, signal, first, last, count, samples FROM block")?;
    let mut rows = statement.query([])?;
    let (mut blocks, mut samples) = (0, 0);
    while let Some(row) = rows.next()? {
        let (number, signal): (i64, String) = (row.get(0)?, row.get(1)?);
        let (first, last, count): (i64, i64, i64) = (row.get(2)?, row.get(3)?, row.get(4)?);
        let bytes = row.get_ref(5)?.as_blob()?;
        match block_fits(first, last, count, bytes) {
            Ok(()) => (blocks, samples) = (blocks + 1, samples + count.unsigned_abs()),
            Err(why) if found.len() < FOUND_MAX => {
                found.push(format!("block {number} of {signal}: {why}"));
            }
            Err(_) => {}
        }
    }
    Ok((blocks, samples))
}

/// Whether the readings of a block are those that stand beside them.
fn block_fits(first: i64, last: i64, count: i64, bytes: &[u8]) -> Result<(), String> {
    let (samples, rest) = bytes.as_chunks::<SAMPLE_BYTES>();
    if !rest.is_empty() || i64::try_from(samples.len()) != Ok(count) {
        return Err(format!("it has {} bytes, not those of {count} readings", bytes.len()));
    }
    let tick = |sample: Option<&[u8; SAMPLE_BYTES]>| {
        let tick = u64::from_le_bytes(*sample?.first_chunk::<8>()?);
        Some(i64::try_from(tick).unwrap_or(i64::MAX))
    };
    let (from, to) = (tick(samples.first()), tick(samples.last()));
    if from != Some(first) || to != Some(last) {
        return Err("its readings are of another time than it says".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(name: &str) -> std::path::PathBuf {
        let folder =
            std::env::temp_dir().join(format!("labloop-telemetry-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        assert_eq!(examine(&folder), Soundness::Missing);
        let mut writer = TelemetryWriter::open(&folder).unwrap();
        for tick in 0..60_000u64 {
            writer.push("bath.temperature", Point { tick, value: tick as f64 / 7.0 }).unwrap();
        }
        writer.flush().unwrap();
        drop(writer);
        assert_eq!(examine(&folder), Soundness::Whole { blocks: 118, samples: 60_000 });
        folder
    }

    #[test]
    fn what_was_done_to_the_file_or_to_a_block_is_found() {
        let folder = written("damaged");
        let file = folder.join("telemetry.db");
        let whole = std::fs::read(&file).unwrap();
        let damaged = |what: &str| {
            let found = examine(&folder);
            assert!(
                matches!(&found, Soundness::Damaged(all) if !all.is_empty()),
                "{what}: {found:?}"
            );
        };
        let mut torn = whole.clone();
        torn[8_192..12_288].fill(0x5a);
        for (what, bytes) in [
            ("half of it is gone", &whole[..whole.len() / 2]),
            ("it is empty", &[]),
            ("it is something else", b"these are no readings, whatever the name says".as_slice()),
            ("a page is overwritten", torn.as_slice()),
        ] {
            std::fs::write(&file, bytes).unwrap();
            damaged(what);
        }
        for (what, sql) in [
            (
                "a block is cut",
                "UPDATE block SET samples = substr(samples, 1, 100) WHERE rowid = 3",
            ),
            ("a block says another time", "UPDATE block SET last = last + 1 WHERE rowid = 3"),
            ("a block says another number", "UPDATE block SET count = 511 WHERE rowid = 3"),
            ("the table is gone", "DROP TABLE block"),
        ] {
            std::fs::write(&file, &whole).unwrap();
            Connection::open(&file).unwrap().execute_batch(sql).unwrap();
            damaged(what);
        }
        std::fs::write(&file, &whole).unwrap();
        assert!(matches!(examine(&folder), Soundness::Whole { .. }));
        // An engine that finds no database there begins a new one, and keeps what it found.
        for n in [1, 2] {
            std::fs::write(&file, b"these are no readings, whatever the name says").unwrap();
            let (writer, kept) = TelemetryWriter::open_or_anew(&folder).unwrap();
            drop(writer);
            let kept = kept.unwrap();
            assert!(kept.ends_with(format!("telemetry.db.damaged-{n}")), "{kept:?}");
            assert!(std::fs::read(kept).unwrap().starts_with(b"these are no readings"));
            assert_eq!(examine(&folder), Soundness::Whole { blocks: 0, samples: 0 });
        }
        assert!(TelemetryWriter::open_or_anew(&folder).unwrap().1.is_none());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn samples_come_back_across_blocks_and_windows() {
        let folder = std::env::temp_dir().join(format!("labloop-telemetry-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut writer = TelemetryWriter::open(&folder).unwrap();
        for tick in 0..1_300u64 {
            writer.push("bath.temperature", Point { tick, value: tick as f64 / 7.0 }).unwrap();
        }
        writer.flush().unwrap();
        let reader = Telemetry::open(&folder).unwrap().unwrap();
        assert_eq!(reader.signals().unwrap(), ["bath.temperature"]);
        let points = reader.read("bath.temperature", 500, 600).unwrap();
        assert_eq!(points.len(), 101);
        assert!(points.iter().all(|p| p.value == p.tick as f64 / 7.0));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
