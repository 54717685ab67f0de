//! What the store itself notes in the journal: that it was migrated, mended, or lost its end.

use serde::{Deserialize, Serialize};

use rusqlite::Connection;

use super::chain::Entry;

/// Subject of these entries.
pub const SUBJECT: &str = "journal";

/// A fact about the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Upkeep {
    /// The file was brought to a newer format; its entries and their hashes are the same.
    Migrated {
        /// Format it had.
        from: i64,
        /// Format it has.
        to: i64,
    },
    /// The file was damaged at its end, and this one was made from what was whole.
    Salvaged {
        /// Entries that were whole, from the first.
        entries: u64,
        /// Documents that were whole.
        documents: u64,
        /// Name of the damaged file in the state folder.
        damaged: String,
        /// What was found.
        why: String,
    },
    /// Entries that were durable are gone: what the instruments were told in them, nobody knows.
    TailLost {
        /// First of them.
        from: u64,
        /// Last of them; `None` if nobody knows.
        to: Option<u64>,
    },
}

impl Upkeep {
    /// As an entry.
    pub fn entry(&self, tick: u64, wall_ms: i64) -> Entry {
        let kind = match self {
            Upkeep::Migrated { .. } => "journal_migrated",
            Upkeep::Salvaged { .. } => "journal_salvaged",
            Upkeep::TailLost { .. } => "journal_tail_lost",
        };
        // Numbers and texts: JSON can hold all of them.
        let body = serde_json::to_string(self).unwrap_or_default();
        Entry { tick, wall_ms, subject: SUBJECT.to_owned(), kind, body }
    }
}

/// Whether the journal says itself that the entry which once had this number was lost.
pub(super) fn says_lost(connection: &Connection, seq: u64) -> rusqlite::Result<bool> {
    let mut notes = connection.prepare(
        "SELECT body FROM journal WHERE subject = ?1 AND kind = 'journal_tail_lost' \
         ORDER BY seq DESC",
    )?;
    let mut rows = notes.query([SUBJECT])?;
    while let Some(row) = rows.next()? {
        let body: String = row.get(0)?;
        if let Ok(Upkeep::TailLost { from, to }) = serde_json::from_str(&body)
            && from <= seq
            && to.is_none_or(|to| seq <= to)
        {
            return Ok(true);
        }
    }
    Ok(false)
}
