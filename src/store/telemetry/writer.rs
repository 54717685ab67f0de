//! Writes history: takes readings, commits them together, packs them when there are enough.
//!
//! What is committed is durable as [`Durability`] says; what was pushed since the last commit is
//! lost in a crash. Packing and the end of the tail are part of the same transaction, so that
//! a crash at any moment neither loses a committed reading nor doubles one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;

use super::codec::{self, TimeStep};
use super::decimal::Scale;
use super::error::{CodecError, TelemetryError};
use super::point::{Bucket, Point};
use super::schema::{Durability, failed, open_to_write};
use super::tail;

/// Signals of a file.
pub const SIGNALS_MAX: u32 = 100_000;
/// Bytes of a signal's name.
pub const NAME_BYTES_MAX: usize = 256;
/// Different texts that are kept; what comes after them has none.
const TEXTS_MAX: usize = 4_096;
/// Bytes of a text that are kept.
const TEXT_BYTES_MAX: usize = 120;
/// Or when it has so many rows: four hours of commits each second.
pub(super) const TAIL_ROWS_MAX: usize = 14_400;

/// What history must know of a signal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Declaration<'a> {
    /// `instrument.property`.
    pub name: &'a str,
    /// Its SI unit, for people; empty for a number without one.
    pub unit: &'a str,
    /// Which rule of retention applies.
    pub class: &'a str,
    /// Step to which its times are kept.
    pub step: TimeStep,
    /// The unit in which the instrument speaks: values pack better when it is known.
    pub scale: Option<Scale>,
}

/// A moment by both clocks of the lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Lab time in nanoseconds.
    pub tick: u64,
    /// Milliseconds since 1970.
    pub wall_ms: i64,
}

/// Number of a signal in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SignalKey(pub(super) u32);

#[derive(Debug)]
pub(super) struct Open {
    pub(super) name: Arc<str>,
    pub(super) unit: String,
    pub(super) class: String,
    pub(super) step: TimeStep,
    pub(super) scale: Option<Scale>,
    /// Whether the table `signal` has it as it is here.
    pub(super) noted: bool,
    /// Readings in parts.
    pub(super) sealed: u64,
    /// Readings that are not in parts.
    pub(super) points: Vec<Point>,
    /// How many of them are in the tail.
    pub(super) committed: usize,
    /// No row of the tail before this one has any of them.
    pub(super) oldest_row: i64,
}

/// Writes history.
#[derive(Debug)]
pub struct TelemetryWriter {
    pub(super) connection: Connection,
    pub(super) path: PathBuf,
    pub(super) open: BTreeMap<u32, Open>,
    pub(super) names: BTreeMap<Arc<str>, u32>,
    /// Signals with readings that are not committed.
    pub(super) touched: BTreeSet<u32>,
    pub(super) texts: BTreeMap<String, u32>,
    pub(super) texts_noted: usize,
    pub(super) overloaded: Vec<(u32, Bucket)>,
    pub(super) clock: Option<Stamp>,
    /// Rows of the tail, with their bytes.
    pub(super) tail: VecDeque<(i64, usize)>,
    /// [`TAIL_ROWS_MAX`], less in tests.
    pub(super) tail_rows_max: usize,
    pub(super) damaged: Vec<CodecError>,
    /// Where retention goes on.
    pub(super) care: super::upkeep::Care,
}

impl TelemetryWriter {
    /// Opens or makes `telemetry.db` in a state folder, and takes up what was committed.
    pub fn open(folder: &Path, durability: Durability) -> Result<TelemetryWriter, TelemetryError> {
        let (connection, path) = open_to_write(folder, durability)?;
        let mut writer = TelemetryWriter {
            connection,
            path: path.clone(),
            open: BTreeMap::new(),
            names: BTreeMap::new(),
            touched: BTreeSet::new(),
            texts: BTreeMap::new(),
            texts_noted: 0,
            overloaded: Vec::new(),
            clock: None,
            tail: VecDeque::new(),
            tail_rows_max: TAIL_ROWS_MAX,
            damaged: Vec::new(),
            care: super::upkeep::Care::default(),
        };
        writer.take_up().map_err(failed(&path))?;
        Ok(writer)
    }

    fn take_up(&mut self) -> Result<(), rusqlite::Error> {
        let mut statement =
            self.connection.prepare("SELECT id, name, class, sealed, unit FROM signal")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (id, name): (u32, String) = (row.get(0)?, row.get(1)?);
            let (class, sealed) = (row.get(2)?, row.get::<_, i64>(3)?.cast_unsigned());
            let name: Arc<str> = name.into();
            self.names.insert(name.clone(), id);
            let open = Open {
                name,
                unit: row.get(4)?,
                class,
                step: TimeStep::Millisecond,
                scale: None,
                noted: true,
                sealed,
                points: Vec::new(),
                committed: 0,
                oldest_row: 0,
            };
            self.open.insert(id, open);
        }
        let mut statement = self.connection.prepare("SELECT text, id FROM text")?;
        self.texts = statement
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        self.texts_noted = self.texts.len();
        let mut statement = self.connection.prepare("SELECT id, body FROM tail ORDER BY id")?;
        let (mut bodies, mut rows): (Vec<Vec<u8>>, _) = (Vec::new(), statement.query([])?);
        while let Some(row) = rows.next()? {
            let body: Vec<u8> = row.get(1)?;
            self.tail.push_back((row.get(0)?, body.len()));
            bodies.push(body);
        }
        let sealed = self.open.iter().map(|(id, open)| (*id, open.sealed)).collect();
        let (recovered, damaged) = tail::recover(bodies, &sealed);
        for (id, points) in recovered {
            if let Some(open) = self.open.get_mut(&id) {
                open.committed = points.len();
                // What was rounded once to its step must not be rounded again to another.
                let finest = |step: TimeStep| {
                    points.iter().all(|p| p.tick.is_multiple_of(step.nanoseconds()))
                };
                open.step = [TimeStep::Millisecond, TimeStep::Microsecond]
                    .into_iter()
                    .find(|step| finest(*step))
                    .unwrap_or(TimeStep::Nanosecond);
                open.points = points;
            }
        }
        if !damaged.is_empty() {
            // Numbers behind a hole do not fit: with the next commit all of it becomes parts.
            self.tail_rows_max = 0;
            self.touched.extend(self.open.keys());
        }
        self.damaged = damaged;
        Ok(())
    }

    /// What could not be read of the tail when the file was opened; those readings are lost.
    pub fn damaged(&self) -> &[CodecError] {
        &self.damaged
    }

    /// The number of a signal, which is new or was known before.
    pub fn declare(&mut self, signal: &Declaration<'_>) -> Result<SignalKey, TelemetryError> {
        if signal.name.is_empty() || signal.name.len() > NAME_BYTES_MAX {
            return Err(TelemetryError::Name(NAME_BYTES_MAX));
        }
        if let Some(id) = self.names.get(signal.name).copied() {
            if let Some(open) = self.open.get_mut(&id) {
                // A finer step can take up points of a coarser one, not the other way round.
                open.step =
                    if open.points.is_empty() { signal.step } else { signal.step.min(open.step) };
                open.scale = signal.scale;
                open.noted &= open.class == signal.class && open.unit == signal.unit;
                signal.class.clone_into(&mut open.class);
                signal.unit.clone_into(&mut open.unit);
            }
            return Ok(SignalKey(id));
        }
        let id = self.open.last_key_value().map_or(0, |(id, _)| *id) + 1;
        if id > SIGNALS_MAX {
            return Err(TelemetryError::TooManySignals(SIGNALS_MAX));
        }
        let name: Arc<str> = signal.name.into();
        self.names.insert(name.clone(), id);
        let open = Open {
            name,
            unit: signal.unit.to_owned(),
            class: signal.class.to_owned(),
            step: signal.step,
            scale: signal.scale,
            noted: false,
            sealed: 0,
            points: Vec::new(),
            committed: 0,
            oldest_row: 0,
        };
        self.open.insert(id, open);
        Ok(SignalKey(id))
    }

    /// The number of a text for [`super::Status`]; 0 if there is no room for more.
    pub fn text(&mut self, text: &str) -> u32 {
        let text = text.get(..text.floor_char_boundary(TEXT_BYTES_MAX)).unwrap_or_default();
        if let Some(id) = self.texts.get(text) {
            return *id;
        }
        if text.is_empty() || self.texts.len() >= TEXTS_MAX {
            return 0;
        }
        let id = self.texts.len() as u32 + 1;
        self.texts.insert(text.to_owned(), id);
        id
    }

    /// Takes a reading; nothing is written before [`TelemetryWriter::commit`].
    pub fn push(&mut self, signal: SignalKey, point: Point) {
        if let Some(open) = self.open.get_mut(&signal.0) {
            if open.points.len() == open.committed {
                self.touched.insert(signal.0);
            }
            open.points.push(point);
        }
    }

    /// Takes what readings came to for which there was no room.
    pub fn overloaded(&mut self, signal: SignalKey, bucket: Bucket) {
        self.overloaded.push((signal.0, bucket));
    }

    /// Signals, with their numbers and classes.
    pub(super) fn classes(&self) -> impl Iterator<Item = (u32, &str)> {
        self.open.iter().map(|(id, open)| (*id, open.class.as_str()))
    }

    /// The number of a signal by its name.
    pub(super) fn number(&self, name: &str) -> Option<u32> {
        self.names.get(name).copied()
    }
}

/// Bytes of a reading that was packed alone, for measuring.
#[doc(hidden)]
pub fn packed(points: &[Point], step: TimeStep, scale: Option<Scale>) -> Vec<u8> {
    codec::encode(points, step, scale)
}

/// The inverse of [`packed`], for measuring.
#[doc(hidden)]
pub fn unpacked(bytes: &[u8]) -> Result<Vec<Point>, CodecError> {
    codec::decode(bytes)
}
