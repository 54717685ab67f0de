//! Retention: what is old becomes a bucket a minute, then a bucket an hour, then nothing.
//!
//! It works in slices of at most [`SLICE`] parts, each a transaction of its own, and stops when the
//! time it was given is over: what it adds to the delay of a commit is that time and one slice.
//! Parts that a pin overlaps are left alone, whatever the rule or the size of the file says.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension, params};

use super::error::TelemetryError;
use super::parts::{self, Summary};
use super::schema::{FULL, HOURS, MINUTES, failed, whole};
use super::thin::{HOUR_NS, thin};
use super::writer::{Stamp, TelemetryWriter};

/// Parts of a slice.
pub(super) const SLICE: usize = 8;
/// Summaries looked at in search of a slice.
const LOOKED_AT: usize = 64;
/// Pages given back to the file system after a slice: 0.5 MB.
const PAGES: i64 = 128;
/// They are given back only while more than one page in so many is free: new readings take them.
const FREE: i64 = 8;
/// A part of minutes spans so long at most (one that was longer before stays so): what is dropped
/// or pinned later goes by whole parts.
const MINUTES_SPAN: u64 = 24 * HOUR_NS;
/// And a part of hours so long.
const HOURS_SPAN: u64 = 4 * MINUTES_SPAN;
/// After a look that found nothing to do, the next one comes so much later.
const REST_MS: i64 = 60_000;
const DAY_MS: i64 = 86_400_000;

/// How long what is kept of a class of signals. `None` is for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rule {
    /// Days for which every reading is kept.
    pub full_days: Option<u32>,
    /// Days for which minimum, maximum and mean of each minute are.
    pub minute_days: Option<u32>,
    /// Days for which those of each hour are.
    pub hour_days: Option<u32>,
}

impl Rule {
    fn days(&self) -> impl Iterator<Item = u32> + use<> {
        [self.full_days, self.minute_days, self.hour_days].into_iter().flatten()
    }
}

/// How long what is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Retention {
    /// By class of signals.
    pub classes: BTreeMap<String, Rule>,
    /// For all other classes.
    pub others: Rule,
    /// Bytes of the file from which on the oldest goes first, whatever the rules say.
    pub bytes_max: Option<u64>,
}

/// What upkeep has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kept {
    /// Parts that were thinned.
    pub thinned: u64,
    /// Parts that were dropped.
    pub dropped: u64,
    /// Those of them that could not be read: their summary stands for them.
    pub damaged: u64,
    /// Whether there is more to do.
    pub more: bool,
    /// Whether the file is larger than allowed, and nothing in it may be thinned.
    pub is_over: bool,
}

/// A window that retention leaves alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin<'a> {
    /// What needs it, such as a run.
    pub why: &'a str,
    /// The signal; `None` for all.
    pub signal: Option<&'a str>,
    /// First tick.
    pub from: u64,
    /// Last tick.
    pub to: u64,
}

/// Where retention goes on: ticks before which nothing of a signal and stage is to be done.
#[derive(Debug, Default)]
pub(super) struct Care {
    past: BTreeMap<(u32, i64), i64>,
    /// The signal that was worked on last.
    done: u32,
    /// When nothing was found to do, under which rules.
    rested: Option<(Retention, i64)>,
}

/// What a look for work has found.
enum Look {
    /// Parts of a signal.
    Slice(u32, Vec<Summary>),
    /// Pinned parts only, and there may be others behind them.
    Pinned,
    /// Nothing to do.
    Nothing,
}

impl TelemetryWriter {
    /// Keeps a window from retention, durably.
    pub fn pin(&mut self, pin: &Pin<'_>) -> Result<(), TelemetryError> {
        let signal = match pin.signal {
            None => 0,
            Some(name) => match self.number(name) {
                Some(number) => number,
                None => return Err(TelemetryError::Unknown(name.to_owned())),
            },
        };
        // Pinning again what is pinned changes nothing.
        self.connection
            .execute(
                "INSERT INTO pin (why, signal, first, last) SELECT ?1, ?2, ?3, ?4 WHERE NOT EXISTS \
                 (SELECT 1 FROM pin WHERE why = ?1 AND signal = ?2 AND first <= ?3 AND last >= ?4)",
                params![pin.why, signal, whole(pin.from), whole(pin.to)],
            )
            .map_err(failed(&self.path))?;
        Ok(())
    }

    /// Ends the windows of a reason that had no end yet (`to` was [`u64::MAX`]); what comes after is
    /// retention's.
    pub fn end_pin(&mut self, why: &str, to: u64) -> Result<usize, TelemetryError> {
        // What retention has passed lies long before the end of a run that ends now.
        if self.care.past.values().any(|past| *past >= whole(to)) {
            self.care = Care::default();
        }
        self.connection
            .execute(
                "UPDATE pin SET last = ?2 WHERE why = ?1 AND last = ?3",
                params![why, whole(to), i64::MAX],
            )
            .map_err(failed(&self.path))
    }

    /// Lets retention have all windows that were pinned for a reason. How many there were.
    pub fn unpin(&mut self, why: &str) -> Result<usize, TelemetryError> {
        self.care = Care::default();
        self.connection.execute("DELETE FROM pin WHERE why = ?1", [why]).map_err(failed(&self.path))
    }

    /// Thins and drops what is old, for about so long: `budget` and one slice.
    pub fn upkeep(
        &mut self,
        retention: &Retention,
        now: Stamp,
        budget: Duration,
    ) -> Result<Kept, TelemetryError> {
        let began = Instant::now();
        let mut kept = Kept::default();
        if let Some((rules, since_ms)) = &self.care.rested
            && rules == retention
            && (0..REST_MS).contains(&now.wall_ms.saturating_sub(*since_ms))
        {
            return Ok(kept);
        }
        let path = self.path.clone();
        loop {
            let worked = self.slice(retention, now, &mut kept).map_err(failed(&path))?;
            if !worked {
                kept.more = false;
                self.care.rested = (!kept.is_over).then(|| (retention.clone(), now.wall_ms));
                return Ok(kept);
            }
            kept.more = true;
            if began.elapsed() >= budget {
                return Ok(kept);
            }
        }
    }

    /// One slice of work; whether there was any.
    fn slice(
        &mut self,
        retention: &Retention,
        now: Stamp,
        kept: &mut Kept,
    ) -> Result<bool, rusqlite::Error> {
        let (signal, slice) = match self.due(retention, now, kept)? {
            Look::Slice(signal, slice) => (signal, slice),
            Look::Pinned => return Ok(true),
            Look::Nothing => return Ok(false),
        };
        let transaction = self.connection.transaction()?;
        if slice.iter().any(|summary| summary.stage == HOURS) {
            for summary in &slice {
                parts::remove(&transaction, signal, summary)?;
            }
            kept.dropped += slice.len() as u64;
        } else {
            kept.damaged += thin(&transaction, signal, &slice)?;
            kept.thinned += slice.len() as u64;
        }
        transaction.commit()?;
        if self.pragma("freelist_count")? <= self.pragma("page_count")? / FREE {
            return Ok(true);
        }
        let mut vacuum = self.connection.prepare(&format!("PRAGMA incremental_vacuum({PAGES})"))?;
        let mut rows = vacuum.query([])?;
        while rows.next()?.is_some() {}
        Ok(true)
    }

    /// The parts to be done next: by the rules, or because the file is too large.
    fn due(
        &mut self,
        retention: &Retention,
        now: Stamp,
        kept: &mut Kept,
    ) -> Result<Look, rusqlite::Error> {
        let signals: Vec<(u32, Rule)> = self
            .classes()
            .map(|(id, class)| (id, *retention.classes.get(class).unwrap_or(&retention.others)))
            .collect();
        // Each in turn, so that one with much to do does not keep the others from theirs.
        // The lab time of so many days ago, looked up once for all signals.
        let mut until: BTreeMap<u32, Option<i64>> = BTreeMap::new();
        for days in signals.iter().flat_map(|(_, rule)| rule.days()) {
            if let std::collections::btree_map::Entry::Vacant(entry) = until.entry(days) {
                let wall_ms = now.wall_ms.saturating_sub(i64::from(days) * DAY_MS);
                entry.insert(tick_at(&self.connection, wall_ms, now)?);
            }
        }
        let start = signals.partition_point(|(id, _)| *id <= self.care.done);
        let (before, after) = signals.split_at_checked(start).unwrap_or((&signals, &[]));
        for (signal, rule) in after.iter().chain(before) {
            let stages =
                [(FULL, rule.full_days), (MINUTES, rule.minute_days), (HOURS, rule.hour_days)];
            for (stage, days) in stages {
                let until = days.and_then(|days| until.get(&days).copied().flatten());
                let Some(until) = until else { continue };
                match self.oldest(*signal, stage, until)? {
                    Look::Nothing => {}
                    found => {
                        self.care.done = *signal;
                        return Ok(found);
                    }
                }
            }
        }
        self.too_large(retention, &signals, kept)
    }

    /// The oldest parts of a signal and stage that end before a tick and are not pinned.
    fn oldest(&mut self, signal: u32, stage: i64, until: i64) -> Result<Look, rusqlite::Error> {
        let past = self.care.past.get(&(signal, stage)).copied().unwrap_or(i64::MIN);
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT {} FROM summary WHERE signal = ?1 AND stage = ?2 AND first > ?3 \
             AND first <= ?4 ORDER BY first, part LIMIT ?5",
            parts::COLUMNS
        ))?;
        let found: Vec<Summary> = statement
            .query_map(params![signal, stage, past, until, LOOKED_AT as i64], Summary::from_row)?
            .collect::<Result<_, _>>()?;
        let mut slice = Vec::new();
        let mut passed = past;
        for summary in &found {
            if whole(summary.bucket.last_tick) > until || slice.len() >= SLICE {
                break;
            }
            // What is thinned together must not reach over a pin: it would be pinned as a whole.
            let begin = slice
                .first()
                .map_or(summary.bucket.first_tick, |first: &Summary| first.bucket.first_tick);
            let end = summary.bucket.last_tick;
            let span = if stage == FULL { MINUTES_SPAN } else { HOURS_SPAN };
            if !slice.is_empty() && end.saturating_sub(begin) > span {
                break;
            }
            if !is_pinned(&self.connection, signal, begin, end)? {
                slice.push(*summary);
            } else if slice.is_empty() {
                passed = whole(summary.bucket.first_tick);
            } else {
                break;
            }
        }
        self.care.past.insert((signal, stage), passed);
        Ok(match slice.is_empty() {
            false => Look::Slice(signal, slice),
            true if passed > past => Look::Pinned,
            true => Look::Nothing,
        })
    }

    /// Where the file is too large: the oldest parts of the first stage that has any.
    fn too_large(
        &mut self,
        retention: &Retention,
        signals: &[(u32, Rule)],
        kept: &mut Kept,
    ) -> Result<Look, rusqlite::Error> {
        kept.is_over = false;
        let Some(bytes_max) = retention.bytes_max else { return Ok(Look::Nothing) };
        if self.bytes_used()? <= bytes_max {
            return Ok(Look::Nothing);
        }
        for stage in [FULL, MINUTES, HOURS] {
            let mut oldest: Option<(i64, u32)> = None;
            let mut statement = self.connection.prepare_cached(
                "SELECT first FROM summary WHERE signal = ?1 AND stage = ?2 AND first > ?3 \
                 ORDER BY first LIMIT 1",
            )?;
            for (signal, _) in signals {
                let past = self.care.past.get(&(*signal, stage)).copied().unwrap_or(i64::MIN);
                let first: Option<i64> = statement
                    .query_row(params![signal, stage, past], |row| row.get(0))
                    .optional()?;
                if let Some(first) = first
                    && oldest.is_none_or(|(earliest, _)| first < earliest)
                {
                    oldest = Some((first, *signal));
                }
            }
            drop(statement);
            if let Some((_, signal)) = oldest {
                return self.oldest(signal, stage, i64::MAX);
            }
        }
        kept.is_over = true;
        Ok(Look::Nothing)
    }

    /// Bytes of the file that hold something.
    pub(super) fn bytes_used(&self) -> Result<u64, rusqlite::Error> {
        let pages = self.pragma("page_count")?.saturating_sub(self.pragma("freelist_count")?);
        Ok(pages.saturating_mul(self.pragma("page_size")?).cast_unsigned())
    }

    fn pragma(&self, name: &str) -> Result<i64, rusqlite::Error> {
        self.connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0))
    }
}

/// The lab time of a wall time; `None` before the first record.
fn tick_at(
    connection: &Connection,
    wall_ms: i64,
    now: Stamp,
) -> Result<Option<i64>, rusqlite::Error> {
    let mut statement = connection.prepare_cached(
        "SELECT tick, wall_ms FROM clock WHERE wall_ms <= ?1 ORDER BY tick DESC LIMIT 1",
    )?;
    let anchor: Option<(i64, i64)> =
        statement.query_row([wall_ms], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    Ok(anchor.map(|(tick, wall)| {
        let passed = wall_ms.saturating_sub(wall).saturating_mul(1_000_000);
        tick.saturating_add(passed).min(whole(now.tick))
    }))
}

fn is_pinned(
    connection: &Connection,
    signal: u32,
    first: u64,
    last: u64,
) -> Result<bool, rusqlite::Error> {
    connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM pin WHERE signal IN (?1, 0) AND first <= ?3 \
             AND last >= ?2)",
        )?
        .query_row(params![signal, whole(first), whole(last)], |row| row.get(0))
}

#[cfg(test)]
#[path = "upkeep_tests.rs"]
mod tests;
