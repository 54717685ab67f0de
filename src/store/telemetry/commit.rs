//! One commit: what is pushed goes into the tail, what is enough for a part into parts.
//!
//! Everything is worked out from memory that stays as it is until the transaction is through
//! ([`TelemetryWriter::settle`]): a commit that fails can be tried again.

use std::collections::BTreeMap;

use rusqlite::params;

use super::error::TelemetryError;
use super::parts;
use super::schema::{OVERLOAD, failed, whole};
use super::tail::Row;
use super::writer::{Open, Stamp, TAIL_ROWS_MAX, TelemetryWriter};

/// Readings of a full part.
pub(super) const PART: usize = 8_192;
/// The tail is turned into parts when it has so many bytes: they are read when the file is opened.
/// And a reader goes through what of it lies in its window.
const TAIL_BYTES_MAX: usize = 16 << 20;
/// Signals with fewer open readings are carried on in the tail, so that parts do not get small.
const CARRIED_MAX: usize = 512;
/// Wall time is kept to this.
const CLOCK_MS: i64 = 10;

/// What a commit has put into parts.
#[derive(Debug, Default)]
struct Turned {
    sealed: Vec<(u32, usize)>,
    /// Rows of the tail before this one are gone.
    gone_before: i64,
    /// Rows that were added to it, with their bytes.
    rows: Vec<(i64, usize)>,
    /// Whether all rows before those are gone.
    fresh: bool,
}

impl TelemetryWriter {
    /// Makes all that was pushed durable. After an error nothing of it is, and all of it is tried
    /// again with the next commit.
    pub fn commit(&mut self, now: Stamp) -> Result<(), TelemetryError> {
        let path = self.path.clone();
        let failed = failed(&path);
        self.connection.execute_batch("BEGIN IMMEDIATE").map_err(&failed)?;
        let written = self.write(now).and_then(|turned| {
            self.connection.execute_batch("COMMIT")?;
            Ok(turned)
        });
        match written {
            Ok(turned) => {
                self.settle(&turned, now);
                Ok(())
            }
            Err(error) => {
                // It may have been rolled back already.
                let _ = self.connection.execute_batch("ROLLBACK");
                Err(failed(error))
            }
        }
    }

    fn write(&self, now: Stamp) -> Result<Turned, rusqlite::Error> {
        self.write_names(now)?;
        for (signal, bucket) in &self.overloaded {
            parts::insert(&self.connection, *signal, OVERLOAD, bucket, &[], None)?;
        }
        let mut turned = self.forget_tail()?;
        let mut row = Row::default();
        for id in &self.touched {
            let Some(open) = self.open.get(id) else { continue };
            let full = open.points.len() / PART * PART;
            self.seal(*id, open, full, &mut turned)?;
            let from = full.max(open.committed);
            let rest = open.points.get(from..).unwrap_or_default();
            row.put(*id, open.sealed + from as u64, rest, open.step);
        }
        self.write_tail(row, &mut turned)?;
        let gone = |(id, _): &&(i64, usize)| *id >= turned.gone_before;
        let rows = self.tail.iter().filter(gone).chain(&turned.rows);
        let (rows, bytes) = rows.fold((0, 0), |(rows, all), (_, bytes)| (rows + 1, all + bytes));
        if rows > self.tail_rows_max || bytes > TAIL_BYTES_MAX {
            self.turn(&mut turned)?;
        }
        Ok(turned)
    }

    /// Removes the rows of the tail of which everything is in parts.
    fn forget_tail(&self) -> Result<Turned, rusqlite::Error> {
        let needed = self.open.values().filter(|open| open.committed > 0);
        let gone_before = needed.map(|open| open.oldest_row).min().unwrap_or(i64::MAX);
        if self.damaged.is_empty() && self.tail.front().is_some_and(|(id, _)| *id < gone_before) {
            self.connection
                .prepare_cached("DELETE FROM tail WHERE id < ?1")?
                .execute([gone_before])?;
            return Ok(Turned { gone_before, ..Turned::default() });
        }
        Ok(Turned { gone_before: i64::MIN, ..Turned::default() })
    }

    fn write_names(&self, now: Stamp) -> Result<(), rusqlite::Error> {
        for (id, open) in self.open.iter().filter(|(_, open)| !open.noted) {
            self.connection
                .prepare_cached(
                    "INSERT INTO signal VALUES (?1, ?2, ?3, ?4, 0, 0) ON CONFLICT (id) DO UPDATE \
                     SET class = excluded.class, unit = excluded.unit",
                )?
                .execute(params![id, &*open.name, open.unit, open.class])?;
        }
        if self.texts.len() > self.texts_noted {
            for (text, id) in &self.texts {
                self.connection
                    .prepare_cached("INSERT INTO text VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
                    .execute(params![id, text])?;
            }
        }
        if self.clock_parts(now) {
            self.connection
                .prepare_cached("INSERT OR REPLACE INTO clock VALUES (?1, ?2)")?
                .execute(params![whole(now.tick), now.wall_ms])?;
        }
        Ok(())
    }

    /// Whether wall time is not where the last row of `clock` says.
    fn clock_parts(&self, now: Stamp) -> bool {
        let Some(clock) = self.clock else { return true };
        let passed = now.tick.wrapping_sub(clock.tick).cast_signed() / 1_000_000;
        let expected = clock.wall_ms.saturating_add(passed);
        now.wall_ms.saturating_sub(expected).unsigned_abs() > CLOCK_MS.unsigned_abs()
    }

    /// Writes the first `count` open readings of a signal as parts.
    fn seal(
        &self,
        id: u32,
        open: &Open,
        count: usize,
        turned: &mut Turned,
    ) -> Result<(), rusqlite::Error> {
        let points = open.points.get(..count).unwrap_or_default();
        if points.is_empty() {
            return Ok(());
        }
        for part in points.chunks(PART) {
            parts::insert_points(&self.connection, id, part, open.step, open.scale)?;
        }
        self.connection
            .prepare_cached("UPDATE signal SET sealed = ?2 WHERE id = ?1")?
            .execute(params![id, (open.sealed + count as u64).cast_signed()])?;
        turned.sealed.push((id, count));
        Ok(())
    }

    fn write_tail(&self, row: Row, turned: &mut Turned) -> Result<(), rusqlite::Error> {
        if let Some((first, last, body)) = row.finish() {
            self.connection
                .prepare_cached("INSERT INTO tail (first, last, body) VALUES (?1, ?2, ?3)")?
                .execute(params![whole(first), whole(last), body])?;
            turned.rows.push((self.connection.last_insert_rowid(), body.len()));
        }
        Ok(())
    }

    /// Turns the tail into parts; what is too little for one stands alone in a new tail.
    fn turn(&self, turned: &mut Turned) -> Result<(), rusqlite::Error> {
        let done: BTreeMap<u32, usize> = std::mem::take(&mut turned.sealed).into_iter().collect();
        let left = |id: &u32, open: &Open| open.points.len() - done.get(id).copied().unwrap_or(0);
        let carried: usize = self
            .open
            .iter()
            .map(|(id, open)| left(id, open))
            .filter(|left| *left < CARRIED_MAX)
            .sum();
        // Twelve bytes a reading; the new tail must be small beside the limit. One with a hole is
        // not carried on.
        let carry = carried * 12 < TAIL_BYTES_MAX / 4 && self.damaged.is_empty();
        let mut row = Row::default();
        for (id, open) in &self.open {
            let before = done.get(id).copied().unwrap_or(0);
            if carry && open.points.len() - before < CARRIED_MAX {
                let rest = open.points.get(before..).unwrap_or_default();
                row.put(*id, open.sealed + before as u64, rest, open.step);
                if before > 0 {
                    turned.sealed.push((*id, before));
                }
                continue;
            }
            let rest = open.points.get(before..).unwrap_or_default();
            if !rest.is_empty() {
                parts::insert_points(&self.connection, *id, rest, open.step, open.scale)?;
            }
            let all = open.points.len();
            if all > 0 {
                self.connection
                    .prepare_cached("UPDATE signal SET sealed = ?2 WHERE id = ?1")?
                    .execute(params![id, (open.sealed + all as u64).cast_signed()])?;
                turned.sealed.push((*id, all));
            }
        }
        self.connection.execute_batch("DELETE FROM tail")?;
        turned.rows.clear();
        turned.fresh = true;
        self.write_tail(row, turned)
    }

    /// Brings memory to what was committed.
    fn settle(&mut self, turned: &Turned, now: Stamp) {
        for (id, count) in &turned.sealed {
            if let Some(open) = self.open.get_mut(id) {
                open.points.drain(..*count);
                open.sealed += *count as u64;
                open.committed = open.committed.saturating_sub(*count);
            }
        }
        let row = turned.rows.last().map_or(0, |(id, _)| *id);
        for (id, open) in &mut self.open {
            if turned.fresh || (open.committed == 0 && self.touched.contains(id)) {
                open.oldest_row = row;
            }
            if self.touched.contains(id) {
                open.committed = open.points.len();
            }
        }
        self.touched.clear();
        if turned.fresh {
            self.tail.clear();
            if !std::mem::take(&mut self.damaged).is_empty() {
                self.tail_rows_max = TAIL_ROWS_MAX;
            }
        }
        self.tail.retain(|(id, _)| *id >= turned.gone_before);
        self.tail.extend(&turned.rows);
        self.texts_noted = self.texts.len();
        self.overloaded.clear();
        self.open.values_mut().for_each(|open| open.noted = true);
        if self.clock_parts(now) {
            self.clock = Some(now);
        }
    }
}
