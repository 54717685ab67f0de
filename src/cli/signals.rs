//! `labloop signals`: what every signal is now, or what one of them was.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::args::SignalsArgs;
use super::live::{self, Engine};
use super::{Exit, output};
use crate::diagnostics::signals::of_status;
use crate::engine::shell::control::Reply;
use crate::engine::shell::{Control, SignalView};
use crate::store::Telemetry;
use crate::store::telemetry::{Bucket, Picture, TelemetryError};

pub(super) fn run(args: &SignalsArgs, json: bool) -> Exit {
    let told = match &args.signal {
        Some(signal) => past(args, signal, json),
        None => present(&args.state.state, args.instrument.as_deref(), json),
    };
    match told {
        Ok(text) => {
            output::data(&text);
            Exit::Done
        }
        Err((exit, message)) => {
            output::error(message);
            exit
        }
    }
}

/// All signals, as the engine at work has them.
fn present(state: &Path, instrument: Option<&str>, json: bool) -> Result<String, (Exit, String)> {
    let Engine::Live(mut client) = live::find(state)? else {
        let (exit, message) = live::nobody(state);
        return Err((exit, format!("{message}; `labloop signals SIGNAL` reads the history")));
    };
    let control = Control::Signals { instrument: instrument.map(str::to_owned) };
    let signals = match live::ask(&mut client, control, Duration::ZERO)? {
        Reply::Signals(signals) => signals,
        other => return Err(live::unexpected(&other)),
    };
    if json {
        let text = serde_json::to_string_pretty(&signals);
        return text.map(|text| text + "\n").map_err(|e| (Exit::Usage, e.to_string()));
    }
    Ok(signals.iter().map(in_words).collect())
}

fn in_words(signal: &SignalView) -> String {
    let value = signal.value.map_or("-".to_owned(), |value| format!("{value} {}", signal.unit));
    let mut quality = signal.level.clone();
    for more in [&signal.reason, &signal.note].into_iter().filter(|text| !text.is_empty()) {
        // A reason and a note often say the same.
        if !quality.contains(more.as_str()) {
            let _ = write!(quality, ": {more}");
        }
    }
    let age = signal.age_s.map_or(String::new(), |age| format!("  {age:.1} s ago"));
    format!("{:40}  {:24}  {quality}{age}\n", signal.signal, value.trim_end())
}

/// One signal, as the history has it.
fn past(args: &SignalsArgs, signal: &str, json: bool) -> Result<String, (Exit, String)> {
    let failed = |error: TelemetryError| (Exit::Usage, error.to_string());
    let usage = |message: String| (Exit::Usage, message);
    let folder = &args.state.state;
    let store = Telemetry::open(folder)
        .map_err(failed)?
        .ok_or_else(|| usage(format!("there is no history in {}", folder.display())))?;
    let Some((first, last)) = store.span(signal).map_err(failed)? else {
        let known = store.signals().map_err(failed)?;
        return Err(usage(format!(
            "the history has no readings of `{signal}`; it has those of {}",
            known.join(", ")
        )));
    };
    let last_ns = u64::try_from(args.last.as_nanos()).unwrap_or(u64::MAX);
    let from = last.saturating_sub(last_ns).max(first);
    let picture = store.columns(signal, from, last, args.columns.into()).map_err(failed)?;
    for damaged in &picture.damaged {
        output::error(format!(
            "{} readings cannot be read, their sums stand for them: {}",
            damaged.summary.count, damaged.why
        ));
    }
    let unit = store.unit(signal).map_err(failed)?;
    let rows = rows(&store, &picture).map_err(failed)?;
    Ok(match json {
        true => {
            let columns: Vec<Value> = rows.iter().map(|row| as_json(row)).collect();
            let value = json!({"signal": signal, "unit": unit, "columns": columns});
            format!("{value:#}\n")
        }
        false => {
            let unit = unit.unwrap_or_default();
            let mut text = "time,signal,unit,count,min_si,mean_si,max_si,quality\n".to_owned();
            for row in &rows {
                text.push_str(&as_csv(row, signal, &unit));
            }
            text
        }
    })
}

/// A column that is not empty, and when it begins.
struct Row<'a> {
    time: String,
    sums: &'a Bucket,
}

fn rows<'a>(store: &Telemetry, picture: &'a Picture) -> Result<Vec<Row<'a>>, TelemetryError> {
    let full = picture.columns.iter().filter(|column| column.count > 0);
    full.map(|sums| {
        let time = store.wall_ms(sums.first_tick)?.map(output::wall).unwrap_or_default();
        Ok(Row { time, sums })
    })
    .collect()
}

fn as_csv(row: &Row<'_>, signal: &str, unit: &str) -> String {
    let number = |value: f64| if value.is_finite() { value.to_string() } else { String::new() };
    let (quality, _) = of_status(row.sums.worst.code);
    let cells = [
        row.time.clone(),
        signal.to_owned(),
        unit.to_owned(),
        row.sums.count.to_string(),
        number(row.sums.min),
        number(row.sums.mean()),
        number(row.sums.max),
        quality.to_string(),
    ];
    let cells: Vec<String> = cells.iter().map(|cell| output::csv_cell(cell)).collect();
    cells.join(",") + "\n"
}

fn as_json(row: &Row<'_>) -> Value {
    let sums = row.sums;
    let (quality, _) = of_status(sums.worst.code);
    json!({
        "time": row.time, "first_ns": sums.first_tick, "last_ns": sums.last_tick,
        "count": sums.count, "used": sums.used, "first_si": sums.first, "last_si": sums.last,
        "min_si": sums.min, "mean_si": sums.mean(), "max_si": sums.max,
        "worst_quality": quality.level().to_string(), "worst_reason": quality.reason.text(),
    })
}
