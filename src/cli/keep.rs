//! The history of readings: how it is opened, and how long what is kept.

use std::path::Path;

use super::args::KeepArgs;
use super::output;
use crate::engine::shell::Keeping;
use crate::store::Durability;
use crate::store::telemetry::{self, Retention, Rule};

/// Opens the history of a state folder. A lab works without one rather than not at all: what is
/// wrong is said, and `None` given.
pub(super) fn history(
    folder: &Path,
    durability: Durability,
    retention: Retention,
) -> Option<Keeping> {
    let durability = match durability {
        Durability::Power => telemetry::Durability::Commit,
        Durability::Process => telemetry::Durability::Checkpoint,
    };
    let opened = match telemetry::open_or_set_aside(folder, durability) {
        Ok(opened) => opened,
        Err(error) => {
            output::error(format!("NO HISTORY of readings is written: {error}"));
            return None;
        }
    };
    if let Some((place, why)) = &opened.aside {
        let text = format!(
            "telemetry.db was damaged ({why}) and is kept as {}; a new one is begun. No decision \
             rests on what was in it",
            place.display()
        );
        tracing::warn!("{text}");
        output::say(format!("warning: {text}"));
    }
    for damage in opened.writer.damaged() {
        output::error(format!("readings at the end of the history are lost: {damage}"));
    }
    Some(Keeping { writer: opened.writer, retention })
}

/// What the command line says of it.
pub(super) fn retention(keep: &KeepArgs) -> Retention {
    let others = Rule {
        full_days: keep.keep_readings.0,
        minute_days: keep.keep_minutes.0,
        hour_days: keep.keep_hours.0,
    };
    let bytes_max = keep.history_max.map(|megabytes| u64::from(megabytes.get()) * 1_000_000);
    Retention { others, bytes_max, ..Retention::default() }
}
