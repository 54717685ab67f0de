//! Telemetry: numeric signals in blocks, in a database of their own that never delays the journal.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, params};

/// Samples of one signal per block.
const BLOCK: usize = 512;
/// Bytes of one sample in a block: lab time in nanoseconds and value, little endian.
const SAMPLE_BYTES: usize = 16;

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

#[cfg(test)]
mod tests {
    use super::*;

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
