//! What is noted while no engine is at work, with the state folder locked.

use super::control::Control;
use super::entries::{EngineRecord, Fact};
use super::history::History;
use crate::store::{Holder, Journal, JournalError};

/// Keeps a note. Other requests are for an engine, and do nothing here.
pub fn note_without_engine(
    journal: &mut Journal,
    history: &History,
    note: Control,
) -> Result<(), JournalError> {
    let Control::Note { text, about, by } = note else { return Ok(()) };
    note_alone(journal, history, &Fact::Engine(EngineRecord::Note { text, about, by }))
}

/// Notes one fact under a fencing number of its own, like an engine that comes and goes.
pub(super) fn note_alone(
    journal: &mut Journal,
    history: &History,
    fact: &Fact,
) -> Result<(), JournalError> {
    note_together(journal, history, std::slice::from_ref(fact))
}

/// The same for several facts at once.
pub(super) fn note_together(
    journal: &mut Journal,
    history: &History,
    facts: &[Fact],
) -> Result<(), JournalError> {
    let wall_ms = jiff::Timestamp::now().as_millisecond();
    let entry = |fact: &Fact| {
        fact.entry(history.last_tick.0, wall_ms).map_err(|error| JournalError::Broken {
            path: "journal.db".into(),
            seq: journal.len() + 1,
            what: format!("a fact cannot be written: {error}"),
        })
    };
    let entries = facts.iter().map(entry).collect::<Result<Vec<_>, _>>()?;
    let first = |_| Ok::<_, JournalError>((entries, Vec::new()));
    journal.take_lease(&Holder::this_process(wall_ms), history.epoch.saturating_add(1), first)?;
    Ok(())
}
