//! The record proves itself: every entry, every document, the tables derived from them, and the end
//! of the journal against the anchor and against a head that was kept elsewhere.

use rusqlite::Row;

use super::anchor::{self, Anchor, Head};
use super::chain::{Document, GENESIS, StoredEntry, chain, hex};
use super::error::JournalError;
use super::journal::Journal;
use super::reading::{COLUMNS, View, hash_at, missing};
use super::subjects::{self, Subjects};
use super::{lease, salvage, schema};

/// Findings that are told one by one; a journal with more is not mended by reading them.
const FINDINGS_MAX: usize = 100;
/// How far an entry that stands in the wrong place is looked for.
const NEAR: usize = 64;

/// What a check of the whole chain found, where all is well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Number of entries.
    pub entries: u64,
    /// Hash of the last one, hexadecimal: keep it elsewhere to detect a rewritten journal.
    pub head: String,
    /// Number of documents.
    pub documents: u64,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// `changed`, `missing`, `moved`, `added`, `cut off`, `unreadable`, `document`, `index`,
    /// `lease`, `anchor`.
    pub what: &'static str,
    /// First entry it concerns, if it is about entries.
    pub seq: Option<u64>,
    /// What that entry is about, as far as it can be read.
    pub subject: String,
    /// Its kind.
    pub kind: String,
    /// In words.
    pub detail: String,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// Entries in the file.
    pub entries: u64,
    /// Number of the last one, which is more than their number where some are missing.
    pub last: u64,
    /// Hash of the last one, hexadecimal.
    pub head: String,
    /// Documents in the file.
    pub documents: u64,
    /// Everything that is wrong, in order; at most 100 things.
    pub findings: Vec<Finding>,
}

impl Survey {
    fn add(&mut self, what: &'static str, entry: Option<&StoredEntry>, detail: String) {
        self.add_at(what, entry.map(|entry| entry.seq), entry, detail);
    }

    fn add_at(
        &mut self,
        what: &'static str,
        seq: Option<u64>,
        entry: Option<&StoredEntry>,
        detail: String,
    ) {
        if self.findings.len() >= FINDINGS_MAX {
            return;
        }
        let (subject, kind) =
            entry.map_or(("", ""), |entry| (entry.subject.as_str(), entry.kind.as_str()));
        let (subject, kind) = (subject.to_owned(), kind.to_owned());
        self.findings.push(Finding { what, seq, subject, kind, detail });
    }
}

/// An entry with the hash that stands with it.
type Kept = (StoredEntry, Vec<u8>);

impl Journal {
    /// Recomputes every hash; the first thing that is wrong is the error.
    pub fn verify(&self) -> Result<Verified, JournalError> {
        let survey = self.survey(None)?;
        match survey.findings.into_iter().next() {
            None => Ok(Verified {
                entries: survey.entries,
                head: survey.head,
                documents: survey.documents,
            }),
            Some(Finding { seq: Some(seq), detail, .. }) => {
                Err(JournalError::Broken { path: self.path.clone(), seq, what: detail })
            }
            Some(Finding { seq: None, detail, .. }) => {
                Err(JournalError::Damaged { path: self.path.clone(), what: detail })
            }
        }
    }

    /// Looks at everything and tells all that is wrong. `kept`: a head from elsewhere.
    pub fn survey(&self, kept: Option<&Head>) -> Result<Survey, JournalError> {
        let mut survey =
            Survey { entries: 0, last: 0, head: hex(&GENESIS), documents: 0, findings: Vec::new() };
        // Before the file, and the file in one state: an engine may be writing.
        let anchor = self.path.parent().map_or(Anchor::Absent, anchor::read);
        let reading = self.connection.unchecked_transaction().map_err(|e| self.fail(e))?;
        if let Some(what) = self.damage() {
            survey.add("unreadable", None, format!("the file cannot be read as a whole: {what}"));
        } else {
            self.pages(&mut survey);
        }
        let derived = match self.chain_through(&mut survey) {
            Ok(derived) => derived,
            Err(error) => {
                survey.add("unreadable", None, error.to_string());
                self.carved(&mut survey)?;
                None
            }
        };
        if let Err(error) = self.documents(&mut survey) {
            survey.add("document", None, format!("documents cannot be read: {error}"));
        }
        if let Err(error) = self.derived(&mut survey, derived.as_ref()) {
            survey.add("index", None, error.to_string());
        }
        self.ends(&mut survey, &anchor, kept);
        drop(reading);
        Ok(survey)
    }

    /// What SQLite itself finds wrong with its pages.
    fn pages(&self, survey: &mut Survey) {
        let found: Result<Vec<String>, _> = self
            .connection
            .prepare("PRAGMA integrity_check(20)")
            .and_then(|mut check| check.query_map([], |row| row.get(0))?.collect());
        match found {
            Ok(lines) => {
                for line in lines.iter().filter(|line| *line != "ok") {
                    survey.add("unreadable", None, format!("pages of the file: {line}"));
                }
            }
            Err(error) => {
                survey.add("unreadable", None, format!("pages of the file: {error}"));
            }
        }
    }

    /// The chain; gives the subjects as they should stand, unless something is wrong.
    fn chain_through(&self, survey: &mut Survey) -> Result<Option<Subjects>, rusqlite::Error> {
        let mut statement = self.connection.prepare(&format!("SELECT {COLUMNS} ORDER BY seq"))?;
        let mut rows = statement.query([])?;
        let mut subjects = Subjects::none();
        let mut link = Link { expected: 1, heads: vec![GENESIS] };
        // A few entries ahead, to find one that stands in the wrong place.
        let mut ahead: std::collections::VecDeque<Kept> = std::collections::VecDeque::new();
        let before = survey.findings.len();
        loop {
            while ahead.len() < NEAR {
                let Some(row) = rows.next()? else { break };
                ahead.push_back(kept_row(row)?);
            }
            let Some((entry, hash)) = ahead.pop_front() else { break };
            link.take(&entry, &hash, &ahead, survey);
            survey.entries += 1;
            survey.head = hex(&hash);
            survey.last = survey.last.max(entry.seq);
            if let Some(head) = link.heads.first()
                && survey.findings.len() == before
            {
                let names = (entry.subject.as_str(), entry.kind.as_str());
                subjects.take(&self.connection, entry.seq, names, head)?;
            }
        }
        Ok((survey.findings.len() == before).then_some(subjects))
    }

    /// Names the entries that cannot be read any more, where SQLite gave up.
    fn carved(&self, survey: &mut Survey) -> Result<(), JournalError> {
        let Some(folder) = self.path.parent() else { return Ok(()) };
        let carved = salvage::carve(folder)?;
        let mut expected = 1;
        for (seq, rows) in &carved.rows {
            if *seq > expected {
                let detail = format!("{}: no page holds it", missing(expected, seq - 1));
                survey.add_at("missing", Some(expected), None, detail);
            }
            expected = seq + 1;
            if let Some((entry, hash)) = rows.last() {
                survey.entries = *seq;
                survey.head = hex(hash);
                let before = seq.checked_sub(1).and_then(|n| carved.rows.get(&n));
                let fits = *seq == 1
                    || before.is_none_or(|before| {
                        before.iter().any(|(_, head)| behind(entry, head, *seq) == *hash)
                    });
                if !fits {
                    let detail = format!("entry {seq}: its content does not fit its hash");
                    survey.add("changed", Some(entry), detail);
                }
            }
        }
        Ok(())
    }

    fn documents(&self, survey: &mut Survey) -> Result<(), rusqlite::Error> {
        let mut statement =
            self.connection.prepare("SELECT hash, kind, text FROM document NOT INDEXED")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (hash, kind, text): (String, String, String) =
                (row.get(0)?, row.get(1)?, row.get(2)?);
            if Document::new("", text).hash != hash {
                survey.add("document", None, format!("document {hash} ({kind}) was changed"));
            }
            survey.documents += 1;
        }
        Ok(())
    }

    /// What is derived from the entries: the table of subjects and the lease.
    fn derived(
        &self,
        survey: &mut Survey,
        true_ones: Option<&Subjects>,
    ) -> Result<(), rusqlite::Error> {
        if schema::format(&self.connection)? < schema::FORMAT || self.damage().is_some() {
            return Ok(());
        }
        let named = schema::epoch_in_entries(&self.connection)?;
        match lease::read(&self.connection)? {
            Some(lease) if lease.epoch < named => survey.add(
                "lease",
                None,
                format!("the lease has epoch {}, the entries know of {named}", lease.epoch),
            ),
            None if named > 0 => {
                survey.add("lease", None, "the lease is gone".to_owned());
            }
            Some(_) | None => {}
        }
        if !subjects::tables_fit(&self.connection)? {
            let detail = "the table of subjects is gone or is another one".to_owned();
            survey.add("index", None, detail);
        }
        let kept = Subjects::load(&self.connection, |seq| hash_at(&self.connection, seq))?;
        let (Some(kept), Some(true_ones)) = (kept, true_ones) else { return Ok(()) };
        let mut off = None;
        let whole = kept.each(&self.connection, |subject| {
            // The table speaks up to its mark only.
            if let Ok(Some(now)) = true_ones.get(&self.connection, &subject.name)
                && (now.first, &now.opened) == (subject.first, &subject.opened)
                && now.entries >= subject.entries
                && (now.last != subject.last || now.digest == subject.digest)
            {
                return;
            }
            off.get_or_insert_with(|| subject.name.clone());
        })?;
        if !whole || off.is_some() {
            let name = off.unwrap_or_default();
            let detail = format!("the table of subjects does not fit the entries {name}");
            survey.add("index", None, detail);
        }
        Ok(())
    }

    /// The end against the anchor and against a head kept elsewhere.
    fn ends(&self, survey: &mut Survey, anchor: &Anchor, kept: Option<&Head>) {
        let anchor = match anchor {
            Anchor::At(head) => Some(head),
            Anchor::Unreadable => {
                survey.add("anchor", None, "the anchor `journal.head` cannot be read".to_owned());
                None
            }
            Anchor::Absent => None,
        };
        let of_before = |head: &Head| {
            let found = self.hash_of(head.seq).ok().flatten();
            found.as_ref() != Some(&head.hash) && self.says_lost(head.seq).unwrap_or(false)
        };
        // One that a second power loss brought back says nothing.
        let anchor = anchor.filter(|head| head.seq > survey.last || !of_before(head));
        let heads = anchor.map(|head| (head, "the anchor `journal.head`"));
        for (head, whose) in heads.into_iter().chain(kept.map(|head| (head, "the head given"))) {
            if head.seq > survey.last {
                let from = survey.last + 1;
                let detail = format!("{} at the end, says {whose}", missing(from, head.seq));
                survey.add_at("cut off", Some(from), None, detail);
            } else if head.seq > 0 {
                let found = self.hash_of(head.seq).ok().flatten();
                if found.as_ref() != Some(&head.hash) {
                    let detail = format!(
                        "entry {} is not the one that {whose} knows: the journal was rewritten or \
                         replaced, from there or from before",
                        head.seq
                    );
                    survey.add_at("changed", Some(head.seq), None, detail);
                }
            }
        }
    }
}

/// Where a walk along the chain stands.
struct Link {
    expected: u64,
    /// Hashes that the next entry may stand on: what was computed and, where that was wrong, what
    /// was written. None after a gap: there is nothing to hold the next one against.
    heads: Vec<[u8; 32]>,
}

impl Link {
    fn take(
        &mut self,
        entry: &StoredEntry,
        hash: &[u8],
        ahead: &std::collections::VecDeque<Kept>,
        survey: &mut Survey,
    ) {
        let written = <[u8; 32]>::try_from(hash).ok();
        if entry.seq > self.expected {
            let detail = missing(self.expected, entry.seq - 1);
            survey.add_at("missing", Some(self.expected), None, detail);
            self.heads.clear();
        } else if entry.seq < self.expected {
            let detail = format!("an entry with number {} was added", entry.seq);
            survey.add("added", Some(entry), detail);
            return;
        }
        self.expected = entry.seq + 1;
        let fits = |head: &[u8; 32]| written.is_some_and(|w| behind(entry, head, entry.seq) == w);
        if self.heads.is_empty() || self.heads.iter().any(fits) {
            self.heads = written.into_iter().collect();
            return;
        }
        // Does the entry that belongs here stand further on?
        let elsewhere = ahead.iter().find(|(other, hash)| {
            self.heads.iter().any(|head| behind(other, head, entry.seq) == hash.as_slice())
        });
        let detail = match elsewhere {
            Some((other, _)) => {
                format!(
                    "entry {}: the one that belongs here stands at {}; this one was moved or added",
                    entry.seq, other.seq
                )
            }
            None => format!("entry {}: its content does not fit its hash", entry.seq),
        };
        let what = if elsewhere.is_some() { "moved" } else { "changed" };
        survey.add(what, Some(entry), detail);
        // If only its hash was changed, the next one stands on what it should have been.
        let mut heads: Vec<[u8; 32]> = written.into_iter().collect();
        heads.extend(self.heads.iter().map(|head| behind(entry, head, entry.seq)));
        if let Some((_, hash)) = elsewhere {
            heads.extend(<[u8; 32]>::try_from(hash.as_slice()).ok());
        }
        self.heads = heads;
    }
}

fn behind(entry: &StoredEntry, head: &[u8; 32], seq: u64) -> [u8; 32] {
    let StoredEntry { tick, wall_ms, subject, kind, body, .. } = entry;
    chain(head, seq, *tick, *wall_ms, subject, kind, body)
}

fn kept_row(row: &Row<'_>) -> Result<Kept, rusqlite::Error> {
    let view = View::of(row)?;
    Ok((view.kept(), view.hash.to_vec()))
}
