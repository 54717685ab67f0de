//! Reads history: readings of a window, and a window as columns of a picture.
//!
//! A picture is answered from the coarsest sums that are fine enough for it:
//!
//! ```text
//! a part is at most half a column wide     its summary                     8192 readings a row
//! its buckets are                          `fine`                           512 readings each
//! neither                                  its readings
//! ```
//! A bucket stands in the column of its middle, so a value can be drawn a quarter of a column
//! aside; the ends of the window are exact. No value is left out or counted twice.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, params};

use super::canvas::Canvas;
use super::codec;
use super::error::{CodecError, TelemetryError};
use super::legacy;
use super::parts::{self, Summary};
use super::point::{Bucket, Point};
use super::schema::{FULL, HOURS, LAYOUT, MINUTES, OVERLOAD, failed, open_to_read, whole};
use super::tail;

/// Readings that one call gives at most: 0.5 GB.
pub const READ_MAX: usize = 20_000_000;

/// A part that cannot be read.
#[derive(Debug, Clone, PartialEq)]
pub struct Damaged {
    /// What is still known of it.
    pub summary: Bucket,
    /// What is wrong with it.
    pub why: CodecError,
}

/// What a window holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reading {
    /// Readings in order of time.
    pub points: Vec<Point>,
    /// Minutes and hours of which only sums are left: thinned by retention, or lost to overload.
    pub thinned: Vec<Bucket>,
    /// Parts that cannot be read; their readings are missing.
    pub damaged: Vec<Damaged>,
    /// From here on there is more than one call gives.
    pub more_from: Option<u64>,
}

/// A window as columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// One bucket a column; [`Bucket::EMPTY`] where there is nothing.
    pub columns: Vec<Bucket>,
    /// Parts that cannot be read: their summary stands in the picture instead.
    pub damaged: Vec<Damaged>,
}

/// Reads history, also while it is written.
#[derive(Debug)]
pub struct Telemetry {
    pub(super) connection: Connection,
    pub(super) path: PathBuf,
    pub(super) layout: i64,
    pub(super) has_blocks: bool,
}

struct Known {
    id: u32,
    sealed: u64,
    span: i64,
}

impl Telemetry {
    /// Opens `telemetry.db` of a state folder for reading; `None` if there is none.
    pub fn open(folder: &Path) -> Result<Option<Telemetry>, TelemetryError> {
        let Some((connection, path, layout)) = open_to_read(folder)? else { return Ok(None) };
        let has_blocks = legacy::is_there(&connection).map_err(failed(&path))?;
        Ok(Some(Telemetry { connection, path, layout, has_blocks }))
    }

    /// Names of all signals.
    pub fn signals(&self) -> Result<Vec<String>, TelemetryError> {
        let names = || -> Result<Vec<String>, rusqlite::Error> {
            let mut names = match self.has_blocks {
                true => legacy::signals(&self.connection)?,
                false => Vec::new(),
            };
            if self.layout >= LAYOUT {
                let mut statement = self.connection.prepare("SELECT name FROM signal")?;
                for name in statement.query_map([], |row| row.get(0))? {
                    names.push(name?);
                }
            }
            names.sort_unstable();
            names.dedup();
            Ok(names)
        };
        names().map_err(failed(&self.path))
    }

    /// SI unit of a signal; `None` where it is not known, as in files of format 1.
    pub fn unit(&self, signal: &str) -> Result<Option<String>, TelemetryError> {
        if self.layout < LAYOUT {
            return Ok(None);
        }
        let unit = || -> Result<Option<String>, rusqlite::Error> {
            self.connection
                .prepare_cached("SELECT unit FROM signal WHERE name = ?1")?
                .query_row([signal], |row| row.get(0))
                .optional()
        };
        unit().map_err(failed(&self.path))
    }

    /// What instruments said, by the number in [`super::Status`].
    pub fn texts(&self) -> Result<BTreeMap<u32, String>, TelemetryError> {
        if self.layout < LAYOUT {
            return Ok(BTreeMap::new());
        }
        let texts = || -> Result<_, rusqlite::Error> {
            let mut statement = self.connection.prepare("SELECT id, text FROM text")?;
            statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        };
        texts().map_err(failed(&self.path))
    }

    /// Wall time of a tick, milliseconds since 1970, to 10 ms; `None` before the first record.
    pub fn wall_ms(&self, tick: u64) -> Result<Option<i64>, TelemetryError> {
        if self.layout < LAYOUT {
            return Ok(None);
        }
        let found = self.connection.prepare_cached(
            "SELECT tick, wall_ms FROM clock WHERE tick <= ?1 ORDER BY tick DESC LIMIT 1",
        );
        let found = found.and_then(|mut statement| {
            let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
            match statement.query_row([whole(tick)], row) {
                Ok(found) => Ok(Some(found)),
                Err(rusqlite::Error::QueryReturnedNoRows) => Ok(None),
                Err(error) => Err(error),
            }
        });
        let found = found.map_err(failed(&self.path))?;
        Ok(found.map(|(at, wall)| {
            wall.saturating_add(whole(tick).saturating_sub(at).div_euclid(1_000_000))
        }))
    }

    /// Ticks of the first and the last reading of a signal; `None` if there is none.
    pub fn span(&self, signal: &str) -> Result<Option<(u64, u64)>, TelemetryError> {
        self.find_span(signal).map_err(failed(&self.path))
    }

    fn find_span(&self, signal: &str) -> Result<Option<(u64, u64)>, rusqlite::Error> {
        let snapshot = self.connection.unchecked_transaction()?;
        let mut all = Bucket::EMPTY;
        let mut take = |first: u64, last: u64| {
            all.first_tick = all.first_tick.min(first);
            all.last_tick = all.last_tick.max(last);
            all.count += 1;
        };
        if self.has_blocks
            && let Some((first, last)) = legacy::span(&snapshot, signal)?
        {
            take(first, last);
        }
        if let Some(known) = self.known(&snapshot, signal)? {
            let mut statement = snapshot
                .prepare_cached("SELECT min(first), max(last) FROM summary WHERE signal = ?1")?;
            let ends: (Option<i64>, Option<i64>) =
                statement.query_row([known.id], |row| Ok((row.get(0)?, row.get(1)?)))?;
            if let (Some(first), Some(last)) = ends {
                take(first.cast_unsigned(), last.cast_unsigned());
            }
            // What cannot be read has no readings.
            let mut damaged = Vec::new();
            self.each_in_tail(&snapshot, &known, 0, u64::MAX, &mut damaged, |point| {
                take(point.tick, point.tick);
            })?;
        }
        Ok((all.count > 0).then_some((all.first_tick, all.last_tick)))
    }

    /// Readings of a signal between two ticks, both included, in order of time; at most
    /// [`READ_MAX`].
    pub fn read(&self, signal: &str, from: u64, to: u64) -> Result<Reading, TelemetryError> {
        self.read_at_most(signal, from, to, READ_MAX)
    }

    /// The same with another limit; readings of one tick are never parted.
    pub fn read_at_most(
        &self,
        signal: &str,
        from: u64,
        to: u64,
        limit: usize,
    ) -> Result<Reading, TelemetryError> {
        let mut reading = Reading::default();
        self.gather(signal, from, to, limit, &mut reading).map_err(failed(&self.path))?;
        let points = &mut reading.points;
        if !points.is_sorted_by_key(|point| point.tick) {
            points.sort_by_key(|point| point.tick);
        }
        if points.len() > limit
            && let Some(first_left) = points.get(limit).map(|point| point.tick)
        {
            let whole_ticks = points.partition_point(|point| point.tick < first_left);
            // More readings of one tick than the limit: they stay together.
            let kept = match whole_ticks {
                0 => points.partition_point(|point| point.tick <= first_left),
                some => some,
            };
            reading.more_from = points.get(kept).map(|point| point.tick);
            points.truncate(kept);
        }
        Ok(reading)
    }

    fn gather(
        &self,
        signal: &str,
        from: u64,
        to: u64,
        limit: usize,
        reading: &mut Reading,
    ) -> Result<(), rusqlite::Error> {
        // One state of the file for all that follows.
        let snapshot = self.connection.unchecked_transaction()?;
        let inside = |point: &&Point| (from..=to).contains(&point.tick);
        if self.has_blocks {
            legacy::read(&snapshot, signal, from, to, |point| reading.points.push(point))?;
        }
        let Some(known) = self.known(&snapshot, signal)? else { return Ok(()) };
        let mut summaries = Vec::new();
        self.each_summary(&snapshot, &known, from, to, |summary| summaries.push(summary))?;
        summaries.sort_by_key(|summary| summary.bucket.first_tick);
        for summary in summaries {
            // Parts that follow begin later: enough is enough once they are beyond the limit.
            if reading.points.len() > limit
                && reading.points.last().is_some_and(|p| p.tick < summary.bucket.first_tick)
            {
                return Ok(());
            }
            match points_of(&snapshot, &summary)? {
                Ok(Some(points)) => reading.points.extend(points.iter().filter(inside)),
                Ok(None) => match buckets_of(&snapshot, &summary)? {
                    Ok(buckets) => {
                        let overlaps = |b: &Bucket| b.last_tick >= from && b.first_tick <= to;
                        reading.thinned.extend(buckets.into_iter().filter(overlaps));
                    }
                    Err(why) => reading.damaged.push(Damaged { summary: summary.bucket, why }),
                },
                Err(why) => reading.damaged.push(Damaged { summary: summary.bucket, why }),
            }
        }
        self.each_in_tail(&snapshot, &known, from, to, &mut reading.damaged, |point| {
            reading.points.push(*point);
        })
    }

    /// A window as columns of equal width, 1 to [`super::COLUMNS_MAX`]; see the top of this file.
    pub fn columns(
        &self,
        signal: &str,
        from: u64,
        to: u64,
        columns: usize,
    ) -> Result<Picture, TelemetryError> {
        let mut canvas = Canvas::new(from, to, columns);
        let mut damaged = Vec::new();
        self.draw(signal, &mut canvas, &mut damaged).map_err(failed(&self.path))?;
        Ok(Picture { columns: canvas.columns, damaged })
    }

    fn draw(
        &self,
        signal: &str,
        canvas: &mut Canvas,
        damaged: &mut Vec<Damaged>,
    ) -> Result<(), rusqlite::Error> {
        let snapshot = self.connection.unchecked_transaction()?;
        if self.has_blocks {
            legacy::read(&snapshot, signal, canvas.from, canvas.to, |point| canvas.point(&point))?;
        }
        let Some(known) = self.known(&snapshot, signal)? else { return Ok(()) };
        let mut finer = Vec::new();
        self.each_summary(&snapshot, &known, canvas.from, canvas.to, |summary| {
            if canvas.takes(&summary.bucket) {
                canvas.bucket(&summary.bucket);
            } else {
                finer.push(summary);
            }
        })?;
        for summary in finer {
            if let Err(why) = draw_finer(&snapshot, &summary, canvas)? {
                canvas.bucket(&summary.bucket);
                damaged.push(Damaged { summary: summary.bucket, why });
            }
        }
        self.each_in_tail(&snapshot, &known, canvas.from, canvas.to, damaged, |point| {
            canvas.point(point);
        })
    }

    fn known(
        &self,
        connection: &Connection,
        signal: &str,
    ) -> Result<Option<Known>, rusqlite::Error> {
        if self.layout < LAYOUT {
            return Ok(None);
        }
        let mut statement =
            connection.prepare_cached("SELECT id, sealed, span FROM signal WHERE name = ?1")?;
        let known = statement.query_row([signal], |row| {
            let sealed = row.get::<_, i64>(1)?.cast_unsigned();
            Ok(Known { id: row.get(0)?, sealed, span: row.get(2)? })
        });
        match known {
            Ok(known) => Ok(Some(known)),
            Err(rusqlite::Error::QueryReturnedNoRows) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn each_summary(
        &self,
        connection: &Connection,
        known: &Known,
        from: u64,
        to: u64,
        mut take: impl FnMut(Summary),
    ) -> Result<(), rusqlite::Error> {
        let mut statement = parts::overlapping(connection)?;
        for stage in [HOURS, MINUTES, FULL, OVERLOAD] {
            let mut rows =
                statement.query(params![known.id, stage, known.span, whole(from), whole(to)])?;
            while let Some(row) = rows.next()? {
                take(Summary::from_row(row)?);
            }
        }
        Ok(())
    }

    fn each_in_tail(
        &self,
        connection: &Connection,
        known: &Known,
        from: u64,
        to: u64,
        damaged: &mut Vec<Damaged>,
        mut take: impl FnMut(&Point),
    ) -> Result<(), rusqlite::Error> {
        let mut statement = connection.prepare_cached(
            "SELECT body, first, last FROM tail WHERE last >= ?1 AND first <= ?2 ORDER BY id",
        )?;
        let mut rows = statement.query(params![whole(from), whole(to)])?;
        while let Some(row) = rows.next()? {
            match tail::groups(row.get_ref(0)?.as_blob()?, |signal| signal == known.id) {
                Ok(groups) => groups
                    .iter()
                    .flat_map(|group| tail::unsealed(group, known.sealed))
                    .filter(|point| (from..=to).contains(&point.tick))
                    .for_each(&mut take),
                Err(why) => {
                    let (first, last): (i64, i64) = (row.get(1)?, row.get(2)?);
                    let mut summary = Bucket::EMPTY;
                    summary.first_tick = first.cast_unsigned();
                    summary.last_tick = last.cast_unsigned();
                    damaged.push(Damaged { summary, why });
                }
            }
        }
        Ok(())
    }
}

/// What is stored of a part beside its summary.
type Stored<T> = Result<Result<T, CodecError>, rusqlite::Error>;

/// Readings of a part; `None` if only sums are left of it.
pub(super) fn points_of(connection: &Connection, summary: &Summary) -> Stored<Option<Vec<Point>>> {
    let mut statement = connection.prepare_cached("SELECT body FROM part WHERE id = ?1")?;
    let mut rows = statement.query([summary.part])?;
    let Some(row) = rows.next()? else { return Ok(Err(CodecError::Truncated("row"))) };
    let Some(body) = row.get_ref(0)?.as_blob_or_null()? else { return Ok(Ok(None)) };
    Ok(codec::decode(body).map(Some))
}

/// Buckets of a part: of `fine`, or the summary where there is no more.
pub(super) fn buckets_of(connection: &Connection, summary: &Summary) -> Stored<Vec<Bucket>> {
    let mut statement = connection.prepare_cached("SELECT fine FROM part WHERE id = ?1")?;
    let mut rows = statement.query([summary.part])?;
    let Some(row) = rows.next()? else { return Ok(Err(CodecError::Truncated("row"))) };
    match row.get_ref(0)?.as_blob()? {
        [] => Ok(Ok(vec![summary.bucket])),
        fine => Ok(codec::decode_buckets(fine)),
    }
}

fn draw_finer(connection: &Connection, summary: &Summary, canvas: &mut Canvas) -> Stored<()> {
    let buckets = match buckets_of(connection, summary)? {
        Ok(buckets) => buckets,
        Err(why) => return Ok(Err(why)),
    };
    let is_fine = buckets.iter().all(|bucket| canvas.takes(bucket) || canvas.misses(bucket));
    if !is_fine {
        match points_of(connection, summary)? {
            Ok(Some(points)) => {
                points.iter().for_each(|point| canvas.point(point));
                return Ok(Ok(()));
            }
            // There is nothing finer.
            Ok(None) => {}
            Err(why) => return Ok(Err(why)),
        }
    }
    for bucket in &buckets {
        if !canvas.misses(bucket) {
            canvas.bucket(bucket);
        }
    }
    Ok(Ok(()))
}
