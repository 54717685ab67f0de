//! Notes of people while no engine is at work.

use super::control::Control;
use super::entries::{EngineRecord, Fact};
use super::history::History;
use crate::store::{Journal, JournalError};

/// Keeps a note in a journal whose state folder is locked. Other requests are for an engine.
pub fn note_without_engine(
    journal: &mut Journal,
    history: &History,
    note: Control,
) -> Result<(), JournalError> {
    let Control::Note { text, about, by } = note else { return Ok(()) };
    let fact = Fact::Engine(EngineRecord::Note { text, about, by });
    let wall_ms = jiff::Timestamp::now().as_millisecond();
    let entry = fact.entry(history.last_tick.0, wall_ms).map_err(|error| JournalError::Broken {
        path: "journal.db".into(),
        seq: journal.len() + 1,
        what: format!("a fact cannot be written: {error}"),
    })?;
    journal.append(&[entry], &[])
}
