//! Looks at the whole of a history: the pages of the file, and all that is in it against what stands
//! beside it. Changes nothing.

use std::path::Path;

use rusqlite::Connection;

use super::aside::is_damage;
use super::error::TelemetryError;
use super::parts::{self, Summary};
use super::point::Bucket;
use super::reader::{Telemetry, buckets_of, points_of};
use super::schema::LAYOUT;
use super::{legacy, tail};

/// Things that are told one by one of a damaged file; one with more is not mended by reading them.
const FOUND_MAX: usize = 20;

/// What a look at the whole of `telemetry.db` came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Soundness {
    /// There is none.
    Missing,
    /// All of it reads as it was written.
    Whole {
        /// Parts, blocks of format 1, and commits that are in no part yet.
        parts: u64,
        /// Readings in them, those too of which only sums are left.
        readings: u64,
    },
    /// Not all of it does; what, at most 20 things.
    Damaged(Vec<String>),
    /// It could not be looked at, which says nothing about it; why.
    Unread(String),
}

/// Looks at the whole of `telemetry.db` of a state folder.
pub fn examine(folder: &Path) -> Soundness {
    let telemetry = match Telemetry::open(folder) {
        Ok(Some(telemetry)) => telemetry,
        Ok(None) => return Soundness::Missing,
        Err(error) if is_damage(&error) => return Soundness::Damaged(vec![error.to_string()]),
        Err(error) => return Soundness::Unread(error.to_string()),
    };
    let mut look = Look { found: Vec::new(), parts: 0, readings: 0 };
    match look.at(&telemetry) {
        Ok(()) if look.found.is_empty() => {
            Soundness::Whole { parts: look.parts, readings: look.readings }
        }
        Ok(()) => Soundness::Damaged(look.found),
        Err(source) => {
            let error = TelemetryError::Database { path: telemetry.path.clone(), source };
            if !is_damage(&error) {
                return Soundness::Unread(error.to_string());
            }
            look.found(error.to_string());
            Soundness::Damaged(look.found)
        }
    }
}

struct Look {
    found: Vec<String>,
    parts: u64,
    readings: u64,
}

impl Look {
    fn found(&mut self, what: String) {
        if self.found.len() < FOUND_MAX {
            self.found.push(what);
        }
    }

    fn at(&mut self, telemetry: &Telemetry) -> Result<(), rusqlite::Error> {
        // One state of the file for all of it.
        let snapshot = telemetry.connection.unchecked_transaction()?;
        self.pages(&snapshot)?;
        if telemetry.layout < LAYOUT && !telemetry.has_blocks {
            self.found("it has no tables".to_owned());
            return Ok(());
        }
        if telemetry.has_blocks {
            let (mut blocks, mut readings, mut wrong) = (0, 0, Vec::new());
            legacy::each_block(&snapshot, |block| match block {
                Ok(count) => (blocks, readings) = (blocks + 1, readings + count),
                Err(why) => wrong.push(why),
            })?;
            (self.parts, self.readings) = (self.parts + blocks, self.readings + readings);
            wrong.into_iter().for_each(|why| self.found(why));
        }
        if telemetry.layout >= LAYOUT {
            self.summaries(&snapshot)?;
            self.tail(&snapshot)?;
        }
        Ok(())
    }

    fn pages(&mut self, connection: &Connection) -> Result<(), rusqlite::Error> {
        let mut pages = connection.prepare(&format!("PRAGMA quick_check({FOUND_MAX})"))?;
        let mut rows = pages.query([])?;
        while let Some(row) = rows.next()? {
            let said: String = row.get(0)?;
            if said != "ok" {
                self.found(said);
            }
        }
        Ok(())
    }

    /// Each part against its summary.
    fn summaries(&mut self, connection: &Connection) -> Result<(), rusqlite::Error> {
        let mut statement = connection.prepare(&format!(
            "SELECT {}, (SELECT name FROM signal WHERE id = signal) FROM summary",
            parts::COLUMNS
        ))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let summary = Summary::from_row(row)?;
            let signal: Option<String> = row.get(12)?;
            match part_fits(connection, &summary)? {
                Ok(()) => {
                    self.parts += 1;
                    self.readings = self.readings.saturating_add(summary.bucket.count);
                }
                Err(why) => self.found(format!(
                    "part {} of {}: {why}",
                    summary.part,
                    signal.as_deref().unwrap_or("no signal that is known")
                )),
            }
        }
        Ok(())
    }

    /// What is in no part yet.
    fn tail(&mut self, connection: &Connection) -> Result<(), rusqlite::Error> {
        let mut signals = connection.prepare("SELECT id, sealed FROM signal")?;
        let sealed: std::collections::BTreeMap<u32, u64> = signals
            .query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.cast_unsigned())))?
            .collect::<Result<_, _>>()?;
        let mut statement = connection.prepare("SELECT id, body FROM tail ORDER BY id")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let number: i64 = row.get(0)?;
            match tail::groups(row.get_ref(1)?.as_blob()?, |_| true) {
                Ok(groups) => {
                    self.parts += 1;
                    for group in groups {
                        let sealed = sealed.get(&group.signal).copied().unwrap_or(0);
                        self.readings += tail::unsealed(&group, sealed).len() as u64;
                    }
                }
                Err(why) => self.found(format!("commit {number}: {why}")),
            }
        }
        Ok(())
    }
}

/// Whether the readings of a part, or the sums that are left of them, are those of its summary.
fn part_fits(
    connection: &Connection,
    summary: &Summary,
) -> Result<Result<(), String>, rusqlite::Error> {
    let is = |other: &Bucket| {
        let ends = |b: &Bucket| (b.first_tick, b.last_tick, b.count);
        match ends(other) == ends(&summary.bucket) {
            true => Ok(()),
            false => Err("its readings are not those that its summary says".to_owned()),
        }
    };
    let buckets = match buckets_of(connection, summary)? {
        Ok(buckets) => buckets,
        Err(why) => return Ok(Err(format!("its sums: {why}"))),
    };
    let mut all = Bucket::EMPTY;
    buckets.iter().for_each(|bucket| all.merge(bucket));
    if let Err(why) = is(&all) {
        return Ok(Err(why));
    }
    Ok(match points_of(connection, summary)? {
        Ok(Some(points)) => is(&Bucket::of(&points)),
        Ok(None) => Ok(()),
        Err(why) => Err(why.to_string()),
    })
}

#[cfg(test)]
#[path = "examine_tests.rs"]
mod tests;
