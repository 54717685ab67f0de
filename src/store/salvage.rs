//! What is left of a damaged journal, in a fresh file.
//!
//! The longest run of whole, chained entries from the first one, and every document that fits its
//! hash. The damaged files stay beside it under another name, and the first entry of the fresh
//! journal behind the salvaged ones says so.
//!
//! Only an end that is gone is mended so. Where entries after the hole can still be read, the
//! damage is in the middle, and nothing is run on such a journal.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, params};

use super::anchor::{self, Anchor, AnchorWriter};
use super::chain::{Document, GENESIS, StoredEntry, as_i64, chain, hex};
use super::error::JournalError;
use super::pages::{Cell, Found, Pages};
use super::schema;
use super::upkeep::Upkeep;

/// Damaged files that are kept before a person must look into the folder.
const KEPT_MAX: u32 = 100;

/// An entry and the hash it had.
pub(super) type Row = (StoredEntry, [u8; 32]);

/// What the pages of a damaged journal hold.
#[derive(Debug, Default)]
pub(super) struct Carved {
    /// Rows that look like entries, by their numbers; several where the file holds several.
    pub(super) rows: BTreeMap<u64, Vec<Row>>,
    /// Texts that fit their hashes.
    pub(super) documents: BTreeMap<String, Document>,
    /// Highest number in a row that looks like the lease.
    pub(super) epoch: u64,
    /// Whether the file ends before its last page.
    pub(super) cut_short: bool,
}

impl Carved {
    /// Reads the pages of a journal and of its write-ahead log.
    pub(super) fn read(main: &[u8], log: &[u8]) -> Carved {
        let Some(pages) = Pages::new(main, log) else {
            return Carved { cut_short: true, ..Carved::default() };
        };
        let mut carved = Carved { cut_short: pages.cut_short(), ..Carved::default() };
        pages.each_row(|found| carved.take(found));
        carved
    }

    fn take(&mut self, found: Found) {
        match found.cells.as_slice() {
            [
                Cell::Null,
                Cell::Integer(tick),
                Cell::Integer(wall_ms),
                Cell::Text(subject),
                Cell::Text(kind),
                Cell::Text(body),
                Cell::Blob(hash),
            ] => {
                let (Ok(seq), Ok(hash)) =
                    (u64::try_from(found.rowid), <[u8; 32]>::try_from(hash.as_slice()))
                else {
                    return;
                };
                let entry = StoredEntry {
                    seq,
                    tick: u64::try_from(*tick).unwrap_or(0),
                    wall_ms: *wall_ms,
                    subject: subject.clone(),
                    kind: kind.clone(),
                    body: body.clone(),
                };
                let rows = self.rows.entry(seq).or_default();
                if !rows.iter().any(|row| row.1 == hash && row.0 == entry) {
                    rows.push((entry, hash));
                }
            }
            [Cell::Text(hash), Cell::Text(kind), Cell::Text(text)] => {
                let document = Document::new(kind, text.clone());
                if document.hash == *hash {
                    self.documents.insert(hash.clone(), document);
                }
            }
            [
                Cell::Null,
                Cell::Integer(epoch),
                Cell::Integer(_),
                Cell::Text(_),
                Cell::Text(_),
                Cell::Integer(_),
            ] if found.rowid == 1 => {
                self.epoch = self.epoch.max(u64::try_from(*epoch).unwrap_or(0));
            }
            _ => {}
        }
    }

    /// The longest run of whole, chained entries from the first one, and the hash of its last.
    pub(super) fn chained(&self) -> (Vec<&StoredEntry>, [u8; 32]) {
        let (mut chained, mut head) = (Vec::new(), GENESIS);
        for seq in 1u64.. {
            let fitting = self.rows.get(&seq).into_iter().flatten().find(|(entry, hash)| {
                let StoredEntry { seq, tick, wall_ms, subject, kind, body } = entry;
                chain(&head, *seq, *tick, *wall_ms, subject, kind, body) == *hash
            });
            let Some((entry, hash)) = fitting else { break };
            chained.push(entry);
            head = *hash;
        }
        (chained, head)
    }

    /// The last entry that there is any trace of.
    pub(super) fn highest(&self) -> u64 {
        self.rows.last_key_value().map_or(0, |(seq, _)| *seq)
    }
}

/// Reads what there is of a journal's files.
pub(super) fn carve(folder: &Path) -> Result<Carved, JournalError> {
    let read = |name: &str| match fs::read(folder.join(name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(|source| unusable(&folder.join(name), &source)),
    };
    Ok(Carved::read(&read("journal.db")?, &read("journal.db-wal")?))
}

/// Puts a fresh journal in the place of a damaged one. `broken`: what was found; it is given back
/// where the damage is not at the end.
pub(super) fn salvage(folder: &Path, broken: JournalError) -> Result<(), JournalError> {
    let carved = carve(folder)?;
    let (entries, head) = carved.chained();
    let whole = entries.len() as u64;
    if whole == 0 && !carved.cut_short {
        return Err(broken);
    }
    let readable = !matches!(broken, JournalError::Broken { .. });
    if carved.highest() > whole && !(carved.cut_short && readable) {
        return Err(match broken {
            JournalError::Damaged { path, what } => JournalError::Broken {
                path,
                seq: whole + 1,
                what: format!(
                    "it cannot be read, though entries up to {} behind it can ({what})",
                    carved.highest()
                ),
            },
            other => other,
        });
    }
    let damaged = keep_damaged(folder)?;
    // Where the anchor does not tell, nobody knows how much is missing.
    let lost = match anchor::read(folder) {
        Anchor::At(last) if last.seq <= whole => None,
        Anchor::At(last) => Some(Upkeep::TailLost { from: whole + 1, to: Some(last.seq) }),
        Anchor::Absent | Anchor::Unreadable => Some(Upkeep::TailLost { from: whole + 1, to: None }),
    };
    let note = Upkeep::Salvaged {
        entries: whole,
        documents: carved.documents.len() as u64,
        damaged,
        why: broken.to_string(),
    };
    let notes: Vec<Upkeep> = std::iter::once(note).chain(lost).collect();
    let fresh = folder.join("journal.db.fresh");
    let _ = fs::remove_file(&fresh);
    let at = entries.last().map_or((0, 0), |last| (last.tick, last.wall_ms));
    write(&fresh, &entries, head, &carved, (&notes, at))?;
    let fail = |source: io::Error| unusable(&fresh, &source);
    File::open(&fresh).and_then(|file| file.sync_all()).map_err(fail)?;
    // From here on it is decided; whatever interrupts the rest, the next start ends it.
    fs::rename(&fresh, folder.join(SALVAGED)).map_err(fail)?;
    sync_folder(folder)?;
    finish(folder)
}

/// Name of a fresh journal that is whole and takes the place of the damaged one.
const SALVAGED: &str = "journal.db.salvaged";

/// Ends a salvage that was interrupted, if there is one.
pub(super) fn finish(folder: &Path) -> Result<(), JournalError> {
    let salvaged = folder.join(SALVAGED);
    if !salvaged.exists() {
        return Ok(());
    }
    let fail = |source: io::Error| unusable(&salvaged, &source);
    // The log of the damaged file would be played into the fresh one.
    for name in ["journal.db-wal", "journal.db-shm"] {
        match fs::remove_file(folder.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other.map_err(fail)?,
        }
    }
    let connection = Connection::open(&salvaged).map_err(|source| database(&salvaged, source))?;
    let (seq, head) = super::journal::tail(&connection, &salvaged)?;
    drop(connection);
    AnchorWriter::new(folder).write(seq, &head);
    sync_folder(folder)?;
    fs::rename(&salvaged, folder.join("journal.db")).map_err(fail)?;
    sync_folder(folder)
}

/// Gives the damaged files a second name; returns that of the database.
fn keep_damaged(folder: &Path) -> Result<String, JournalError> {
    for number in 1..=KEPT_MAX {
        let name = format!("journal.db.damaged-{number}");
        let kept = folder.join(&name);
        if kept.exists() {
            continue;
        }
        for (from, to) in [
            (folder.join("journal.db-wal"), folder.join(format!("{name}-wal"))),
            (folder.join("journal.db"), kept),
        ] {
            if !from.exists() {
                continue;
            }
            let _ = fs::remove_file(&to);
            // Some file systems have no second names.
            fs::hard_link(&from, &to)
                .or_else(|_| fs::copy(&from, &to).map(|_| ()))
                .map_err(|source| unusable(&to, &source))?;
        }
        return Ok(name);
    }
    let what = format!("{KEPT_MAX} damaged files are kept in its folder already");
    Err(JournalError::Damaged { path: folder.join("journal.db"), what })
}

fn write(
    path: &Path,
    entries: &[&StoredEntry],
    head: [u8; 32],
    carved: &Carved,
    (notes, (tick, wall_ms)): (&[Upkeep], (u64, i64)),
) -> Result<(), JournalError> {
    let fail = |source| database(path, source);
    let mut connection = Connection::open(path).map_err(fail)?;
    // Nobody knows this file before it is whole and synced; one that is not is thrown away.
    connection
        .execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")
        .map_err(fail)?;
    let transaction = connection.transaction().map_err(fail)?;
    schema::create(&transaction).map_err(fail)?;
    {
        let mut insert = transaction
            .prepare("INSERT INTO journal VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")
            .map_err(fail)?;
        let mut previous = GENESIS;
        let mut put = |entry: &StoredEntry| {
            let StoredEntry { seq, tick, wall_ms, subject, kind, body } = entry;
            previous = chain(&previous, *seq, *tick, *wall_ms, subject, kind, body);
            insert.execute(params![
                as_i64(*seq),
                as_i64(*tick),
                wall_ms,
                subject,
                kind,
                body,
                previous.as_slice()
            ])?;
            Ok(previous)
        };
        let mut written = GENESIS;
        for entry in entries {
            written = put(entry).map_err(fail)?;
        }
        if written != head {
            let what = format!("what was salvaged ends with {}", hex(&written));
            return Err(JournalError::Damaged { path: path.to_owned(), what });
        }
        for (seq, note) in (entries.len() as u64 + 1..).zip(notes) {
            let entry = note.entry(tick, wall_ms);
            put(&StoredEntry {
                seq,
                tick,
                wall_ms,
                subject: entry.subject,
                kind: entry.kind.to_owned(),
                body: entry.body,
            })
            .map_err(fail)?;
        }
        let mut keep =
            transaction.prepare("INSERT INTO document VALUES (?1, ?2, ?3)").map_err(fail)?;
        for document in carved.documents.values() {
            keep.execute(params![document.hash, document.kind, document.text]).map_err(fail)?;
        }
    }
    schema::last_epoch(&transaction, carved.epoch).map_err(fail)?;
    transaction.commit().map_err(fail)
}

/// All that can be read of a damaged journal, in memory, for looking at it.
pub(super) fn in_memory(folder: &Path) -> Result<Connection, JournalError> {
    let carved = carve(folder)?;
    let path = folder.join("journal.db");
    let fail = |source| database(&path, source);
    let connection = Connection::open_in_memory().map_err(fail)?;
    schema::create(&connection).map_err(fail)?;
    let (chained, _) = carved.chained();
    let whole = chained.len() as u64;
    let behind = carved.rows.iter().filter(|(seq, _)| **seq > whole);
    let behind = behind.filter_map(|(_, rows)| rows.last());
    let all = chained
        .iter()
        .filter_map(|entry| {
            let rows = carved.rows.get(&entry.seq)?;
            rows.iter().find(|(row, _)| row == *entry)
        })
        .chain(behind);
    let mut insert = connection
        .prepare("INSERT INTO journal VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")
        .map_err(fail)?;
    for (entry, hash) in all {
        insert
            .execute(params![
                as_i64(entry.seq),
                as_i64(entry.tick),
                entry.wall_ms,
                entry.subject,
                entry.kind,
                entry.body,
                hash.as_slice()
            ])
            .map_err(fail)?;
    }
    drop(insert);
    let mut keep = connection.prepare("INSERT INTO document VALUES (?1, ?2, ?3)").map_err(fail)?;
    for document in carved.documents.values() {
        keep.execute(params![document.hash, document.kind, document.text]).map_err(fail)?;
    }
    drop(keep);
    Ok(connection)
}

fn sync_folder(folder: &Path) -> Result<(), JournalError> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|source| unusable(folder, &source))
}

fn unusable(path: &Path, source: &io::Error) -> JournalError {
    JournalError::Unusable { path: path.to_owned(), why: source.to_string() }
}

fn database(path: &Path, source: rusqlite::Error) -> JournalError {
    JournalError::Database { path: PathBuf::from(path), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Durability, Entry, Holder, Journal};
    use proptest::prelude::*;

    /// The file of a journal with so many entries, some of which run over several pages.
    fn file(name: &str, entries: u64) -> Vec<u8> {
        let folder = std::env::temp_dir().join(format!("labloop-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut journal = Journal::open(&folder, Durability::Process).unwrap();
        let nothing = |_| Ok::<_, JournalError>((Vec::new(), Vec::new()));
        journal.take_lease(&Holder::this_process(1), 0, nothing).unwrap();
        for n in 1..=entries {
            let length = if n.is_multiple_of(7) { 9_000 } else { 600 };
            let entry = Entry {
                tick: n,
                wall_ms: 1,
                subject: "a.1".into(),
                kind: "intent",
                body: "x".repeat(length),
            };
            journal.append(&[entry], &[Document::new("graph", format!("{n}"))]).unwrap();
        }
        drop(journal);
        let bytes = std::fs::read(folder.join("journal.db")).unwrap();
        std::fs::remove_dir_all(folder).unwrap();
        bytes
    }

    #[test]
    fn a_file_cut_at_every_byte_gives_its_first_whole_entries() {
        const CUTS: usize = 64 << 10;
        let whole = file("carve-cut", 60);
        assert!(whole.len() > CUTS, "{}", whole.len());
        let (mut last, mut rows) = (0, usize::MAX);
        for cut in whole.len() - CUTS..=whole.len() {
            let pages = Pages::new(&whole[..cut], &[]).unwrap();
            assert_eq!(pages.cut_short(), cut < whole.len());
            let mut found = 0;
            pages.each_row(|_| found += 1);
            // Where other rows are found, they are held against the chain.
            if std::mem::replace(&mut rows, found) == found && cut < whole.len() {
                continue;
            }
            let carved = Carved::read(&whole[..cut], &[]);
            let (entries, _) = carved.chained();
            assert!(entries.iter().zip(1..).all(|(entry, n)| entry.tick == n));
            assert!(entries.len() >= last, "cut at {cut}");
            last = entries.len();
        }
        assert_eq!(last, 60);
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_answer(
            main in prop::collection::vec(any::<u8>(), 0..9_000),
            log in prop::collection::vec(any::<u8>(), 0..9_000),
        ) {
            prop_assert!(Carved::read(&main, &log).chained().0.is_empty());
        }

        #[test]
        fn a_file_with_any_bytes_changed_gives_nothing_false(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..200),
        ) {
            static WHOLE: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
            let mut bytes = WHOLE.get_or_init(|| file("carve-any", 20)).clone();
            for (at, value) in changes {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            let carved = Carved::read(&bytes, &bytes);
            let (entries, _) = carved.chained();
            prop_assert!(entries.iter().zip(1..).all(|(entry, n)| entry.tick == n && entry.seq == n));
        }
    }
}
