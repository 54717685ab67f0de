//! `labloop export --what telemetry`: readings with time, unit, quality and reason.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::args::ExportFormat;
use super::output;
use crate::diagnostics::signals::{Clock, Level, of_status};
use crate::engine::shell::{History, RunHistory};
use crate::store::Telemetry;
use crate::store::telemetry::{Bucket, Point, Status, TelemetryError};

/// Readings taken from the file at once.
const PIECE: usize = 100_000;

/// Readings of runs, as text.
pub(super) fn export(
    folder: &Path,
    history: &History,
    runs: &[&RunHistory],
    format: ExportFormat,
) -> Result<String, String> {
    let store = Telemetry::open(folder).map_err(|e| e.to_string())?;
    let Some(store) = store else { return Err("there is no telemetry here".to_owned()) };
    let mut sheet = Sheet::new(format);
    fill(&store, history, runs, &mut sheet).map_err(|e| e.to_string())?;
    Ok(sheet.end())
}

fn fill(
    store: &Telemetry,
    history: &History,
    runs: &[&RunHistory],
    sheet: &mut Sheet,
) -> Result<(), TelemetryError> {
    let texts = store.texts()?;
    for signal in store.signals()? {
        let unit = store.unit(&signal)?;
        for run in runs {
            let to = run.ended.unwrap_or(history.last_tick).0;
            let of = Of { store, texts: &texts, run, signal: &signal, unit: unit.as_deref() };
            let mut from = run.started.0;
            loop {
                let piece = store.read_at_most(&signal, from, to, PIECE)?;
                // What overlaps two pieces belongs to the one that it begins in.
                let until = piece.more_from.unwrap_or(u64::MAX);
                let begins = |b: &Bucket| (from..until).contains(&b.first_tick.max(run.started.0));
                for damaged in piece.damaged.iter().filter(|d| begins(&d.summary)) {
                    output::error(format!(
                        "{} readings of {signal} in run {} cannot be read: {}",
                        damaged.summary.count, run.run, damaged.why
                    ));
                }
                for point in &piece.points {
                    sheet.put(&of.reading(point)?);
                }
                for bucket in piece.thinned.iter().filter(|bucket| begins(bucket)) {
                    sheet.put(&of.sums(bucket)?);
                }
                match piece.more_from {
                    Some(more) => from = more,
                    None => break,
                }
            }
        }
    }
    Ok(())
}

/// What rows are about.
struct Of<'a> {
    store: &'a Telemetry,
    texts: &'a BTreeMap<u32, String>,
    run: &'a RunHistory,
    signal: &'a str,
    unit: Option<&'a str>,
}

/// A reading, or the sums that are left of several.
struct Row<'a> {
    of: &'a Of<'a>,
    seconds: f64,
    /// Wall time in milliseconds since 1970, where it is known.
    wall_ms: Option<i64>,
    value: f64,
    status: Status,
    sums: Option<&'a Bucket>,
}

impl Of<'_> {
    fn reading(&self, point: &Point) -> Result<Row<'_>, TelemetryError> {
        let (value, status) = (point.value, point.status);
        self.row(point.tick, value, status, None)
    }

    fn sums<'a>(&'a self, bucket: &'a Bucket) -> Result<Row<'a>, TelemetryError> {
        self.row(bucket.first_tick, bucket.mean(), bucket.worst, Some(bucket))
    }

    fn row<'a>(
        &'a self,
        tick: u64,
        value: f64,
        status: Status,
        sums: Option<&'a Bucket>,
    ) -> Result<Row<'a>, TelemetryError> {
        let wall_ms = self.store.wall_ms(tick)?;
        Ok(Row { of: self, seconds: self.seconds(tick), wall_ms, value, status, sums })
    }

    /// Seconds since the run began; before it is less than nothing.
    fn seconds(&self, tick: u64) -> f64 {
        let began = self.run.started.0;
        match tick.checked_sub(began) {
            Some(after) => after as f64 / 1e9,
            None => -((began - tick) as f64 / 1e9),
        }
    }
}

impl Row<'_> {
    fn time(&self) -> String {
        self.wall_ms.map(output::wall).unwrap_or_default()
    }

    /// Level, reason, what the instrument said, and whose clock.
    fn quality(&self) -> [String; 4] {
        let (quality, clock) = of_status(self.status.code);
        let reason = match quality.level() {
            Level::Good => String::new(),
            Level::Uncertain | Level::Bad => quality.reason.text().to_owned(),
        };
        let note = self.of.texts.get(&self.status.text).cloned().unwrap_or_default();
        let clock = match clock {
            Clock::Arrival => "arrival",
            Clock::Device => "device",
        };
        [quality.level().to_string(), reason, note, clock.to_owned()]
    }
}

/// The table while it is filled.
enum Sheet {
    Csv(String),
    Json(Vec<Value>),
}

const HEADER: &str = "run,signal,unit,time_s,time,value_si,quality,reason,note,clock,until_s,count,\
                      min_si,max_si\n";

impl Sheet {
    fn new(format: ExportFormat) -> Sheet {
        match format {
            ExportFormat::Csv => Sheet::Csv(HEADER.to_owned()),
            ExportFormat::Json => Sheet::Json(Vec::new()),
        }
    }

    fn put(&mut self, row: &Row<'_>) {
        match self {
            Sheet::Csv(text) => put_csv(text, row),
            Sheet::Json(rows) => rows.push(as_json(row)),
        }
    }

    fn end(self) -> String {
        match self {
            Sheet::Csv(text) => text,
            Sheet::Json(rows) => format!("{}\n", Value::Array(rows)),
        }
    }
}

fn put_csv(text: &mut String, row: &Row<'_>) {
    let number = |value: f64| if value.is_finite() { value.to_string() } else { String::new() };
    let [level, reason, note, clock] = row.quality();
    let sums = match row.sums {
        Some(sums) => [
            format!("{:.3}", row.of.seconds(sums.last_tick)),
            sums.count.to_string(),
            number(sums.min),
            number(sums.max),
        ],
        None => Default::default(),
    };
    let cells = [
        row.of.run.run.clone(),
        row.of.signal.to_owned(),
        row.of.unit.unwrap_or_default().to_owned(),
        format!("{:.3}", row.seconds),
        row.time(),
        number(row.value),
        level,
        reason,
        note,
        clock,
    ];
    let cells: Vec<String> = cells.iter().chain(&sums).map(|c| output::csv_cell(c)).collect();
    text.push_str(&cells.join(","));
    text.push('\n');
}

fn as_json(row: &Row<'_>) -> Value {
    let [level, reason, note, clock] = row.quality();
    // JSON has no NaN: a value that is none is null.
    let mut object = json!({
        "run": row.of.run.run, "signal": row.of.signal, "unit": row.of.unit,
        "time_s": row.seconds, "time": row.time(), "value_si": row.value,
        "quality": level, "reason": reason, "note": note, "clock": clock,
    });
    if let (Some(sums), Some(object)) = (row.sums, object.as_object_mut()) {
        object.insert("until_s".to_owned(), json!(row.of.seconds(sums.last_tick)));
        object.insert("count".to_owned(), json!(sums.count));
        object.insert("min_si".to_owned(), json!(sums.min));
        object.insert("max_si".to_owned(), json!(sums.max));
    }
    object
}
