//! The journal: SQLite in WAL mode, one writer, group commit, SHA-256 hash chain.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use sha2::{Digest, Sha256};

use super::files::{Files, FilesError};

/// Layout of the journal file; raised with every change of it.
const SCHEMA_VERSION: i64 = 1;
/// Hash before the first entry.
const GENESIS: [u8; 32] = [0; 32];
/// Longest body of one entry; larger things are documents.
const BODY_MAX: usize = 16 << 20;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS journal (
    seq INTEGER PRIMARY KEY,
    tick INTEGER NOT NULL,
    wall INTEGER NOT NULL,
    subject TEXT NOT NULL,
    kind TEXT NOT NULL,
    body TEXT NOT NULL,
    hash BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS journal_subject ON journal (subject, seq);
CREATE TABLE IF NOT EXISTS document (
    hash TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    text TEXT NOT NULL
) STRICT;
";

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// SQLite or the disk said no. After a failed commit nothing may be sent any more.
    #[error("the journal {path} failed: {source}", path = path.display())]
    Database {
        /// File.
        path: PathBuf,
        /// Cause.
        source: rusqlite::Error,
    },
    /// Written by a newer labloop.
    #[error(
        "the journal {path} has format {found}, this labloop reads up to {SCHEMA_VERSION}; use the \
         labloop that wrote it, or a newer one",
        path = path.display()
    )]
    Newer {
        /// File.
        path: PathBuf,
        /// Its version.
        found: i64,
    },
    /// The chain is broken.
    #[error(
        "the journal {path} was changed after it was written: entry {seq}: {what}. Restore it from \
         a backup; `labloop verify` names the place",
        path = path.display()
    )]
    Broken {
        /// File.
        path: PathBuf,
        /// First bad entry.
        seq: u64,
        /// What is wrong with it.
        what: String,
    },
    /// A file that an entry refers to cannot be used.
    #[error("entry {seq} of the journal refers to a file that cannot be used: {source}")]
    File {
        /// Entry.
        seq: u64,
        /// Cause.
        source: FilesError,
    },
    /// A body is too large for an entry.
    #[error("a journal entry of {0} bytes is larger than the limit of {BODY_MAX}")]
    TooLarge(usize),
    /// There is no journal here.
    #[error("there is no journal at {path}; has anything been run with this state folder?", path = .0.display())]
    Absent(PathBuf),
}

/// How durable a commit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// On disk when `append` returns: survives power loss. For everything that drives hardware.
    Power,
    /// Survives the death of the process but not of the machine: dry runs on a virtual clock.
    Process,
}

/// One fact to append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Lab time in nanoseconds.
    pub tick: u64,
    /// Wall time in milliseconds since 1970.
    pub wall_ms: i64,
    /// Campaign or run it is about.
    pub subject: String,
    /// Kind of fact.
    pub kind: &'static str,
    /// JSON.
    pub body: String,
}

/// One fact read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEntry {
    /// Place in the journal, from 1.
    pub seq: u64,
    /// Lab time in nanoseconds.
    pub tick: u64,
    /// Wall time in milliseconds since 1970.
    pub wall_ms: i64,
    /// Campaign or run it is about.
    pub subject: String,
    /// Kind of fact.
    pub kind: String,
    /// JSON.
    pub body: String,
}

/// What a check of the whole chain found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Number of entries.
    pub entries: u64,
    /// Hash of the last one, hexadecimal: keep it elsewhere to detect a rewritten journal.
    pub head: String,
    /// Number of documents.
    pub documents: u64,
}

/// The journal of one state folder.
#[derive(Debug)]
pub struct Journal {
    connection: Connection,
    path: PathBuf,
    files: Files,
    seq: u64,
    head: [u8; 32],
}

impl Journal {
    /// Opens or makes the journal in a state folder, for writing.
    pub fn open(folder: &Path, durability: Durability) -> Result<Journal, JournalError> {
        let path = folder.join("journal.db");
        let fail = |source| JournalError::Database { path: path.clone(), source };
        let connection = Connection::open(&path).map_err(fail)?;
        let sync = match durability {
            Durability::Power => "FULL",
            Durability::Process => "NORMAL",
        };
        connection
            .execute_batch(&format!(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = {sync}; \
                 PRAGMA busy_timeout = 5000; PRAGMA wal_autocheckpoint = 2000;"
            ))
            .map_err(fail)?;
        let version: i64 =
            connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(fail)?;
        if version > SCHEMA_VERSION {
            return Err(JournalError::Newer { path, found: version });
        }
        connection.execute_batch(SCHEMA).map_err(fail)?;
        if version < SCHEMA_VERSION {
            connection
                .execute_batch(&format!("PRAGMA user_version = {SCHEMA_VERSION};"))
                .map_err(fail)?;
        }
        Journal::with_head(connection, path, Files::new(folder, durability))
    }

    /// Opens the journal for reading only, also while an engine writes.
    pub fn open_read_only(folder: &Path) -> Result<Journal, JournalError> {
        let path = folder.join("journal.db");
        if !path.exists() {
            return Err(JournalError::Absent(path));
        }
        let fail = |source| JournalError::Database { path: path.clone(), source };
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&path, flags).map_err(fail)?;
        connection.execute_batch("PRAGMA busy_timeout = 5000;").map_err(fail)?;
        let version: i64 =
            connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(fail)?;
        if version > SCHEMA_VERSION {
            return Err(JournalError::Newer { path, found: version });
        }
        Journal::with_head(connection, path, Files::new(folder, Durability::Power))
    }

    /// The files beside it.
    pub fn files(&self) -> &Files {
        &self.files
    }

    fn with_head(
        connection: Connection,
        path: PathBuf,
        files: Files,
    ) -> Result<Journal, JournalError> {
        let last: Option<(i64, Vec<u8>)> = connection
            .query_row("SELECT seq, hash FROM journal ORDER BY seq DESC LIMIT 1", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()
            .map_err(|source| JournalError::Database { path: path.clone(), source })?;
        let (seq, head) = match last {
            None => (0, GENESIS),
            Some((seq, hash)) => {
                let seq = u64::try_from(seq).unwrap_or(0);
                let head = <[u8; 32]>::try_from(hash.as_slice()).map_err(|_| {
                    let what = "its hash does not have 32 bytes".to_owned();
                    JournalError::Broken { path: path.clone(), seq, what }
                })?;
                (seq, head)
            }
        };
        Ok(Journal { connection, path, files, seq, head })
    }

    /// Appends facts and documents in one commit. When it returns `Ok`, they are durable.
    ///
    /// Errors: after any error the state of the disk is unknown; the caller must stop sending,
    /// never try again (a second fsync may claim success for pages that were dropped).
    pub fn append(
        &mut self,
        entries: &[Entry],
        documents: &[Document],
    ) -> Result<(), JournalError> {
        if entries.is_empty() && documents.is_empty() {
            return Ok(());
        }
        let path = &self.path;
        let fail = |source| JournalError::Database { path: path.clone(), source };
        let (mut seq, mut head) = (self.seq, self.head);
        let transaction = self.connection.transaction().map_err(fail)?;
        {
            let mut insert = transaction
                .prepare_cached("INSERT OR IGNORE INTO document VALUES (?1, ?2, ?3)")
                .map_err(fail)?;
            for document in documents {
                insert
                    .execute(params![document.hash, document.kind, document.text])
                    .map_err(fail)?;
            }
            let mut insert = transaction
                .prepare_cached("INSERT INTO journal VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")
                .map_err(fail)?;
            for entry in entries {
                if entry.body.len() > BODY_MAX {
                    return Err(JournalError::TooLarge(entry.body.len()));
                }
                seq += 1;
                head = chain(
                    &head,
                    seq,
                    entry.tick,
                    entry.wall_ms,
                    &entry.subject,
                    entry.kind,
                    &entry.body,
                );
                insert
                    .execute(params![
                        as_i64(seq),
                        as_i64(entry.tick),
                        entry.wall_ms,
                        entry.subject,
                        entry.kind,
                        entry.body,
                        head.as_slice()
                    ])
                    .map_err(fail)?;
            }
        }
        transaction.commit().map_err(fail)?;
        self.seq = seq;
        self.head = head;
        Ok(())
    }

    /// Number of entries.
    pub fn len(&self) -> u64 {
        self.seq
    }

    /// Whether nothing was ever written.
    pub fn is_empty(&self) -> bool {
        self.seq == 0
    }

    /// Hash of the last entry, hexadecimal.
    pub fn head(&self) -> String {
        hex(&self.head)
    }

    /// Entries after `seq` in order, at most `limit`.
    pub fn read(&self, after: u64, limit: usize) -> Result<Vec<StoredEntry>, JournalError> {
        let fail = |source| JournalError::Database { path: self.path.clone(), source };
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT seq, tick, wall, subject, kind, body FROM journal \
                 WHERE seq > ?1 ORDER BY seq LIMIT ?2",
            )
            .map_err(fail)?;
        let rows = statement
            .query_map(params![as_i64(after), i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
                Ok(StoredEntry {
                    seq: u64::try_from(row.get::<_, i64>(0)?).unwrap_or(0),
                    tick: u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0),
                    wall_ms: row.get(2)?,
                    subject: row.get(3)?,
                    kind: row.get(4)?,
                    body: row.get(5)?,
                })
            })
            .map_err(fail)?;
        rows.collect::<Result<_, _>>().map_err(fail)
    }

    /// Entries about one subject and everything below it (`id` and `id.…`), in order.
    pub fn about(&self, subject: &str) -> Result<Vec<StoredEntry>, JournalError> {
        let mut found = Vec::new();
        let mut after = 0;
        loop {
            let page = self.read(after, 10_000)?;
            let Some(last) = page.last() else { return Ok(found) };
            after = last.seq;
            found.extend(page.into_iter().filter(|e| {
                e.subject == subject
                    || e.subject.strip_prefix(subject).is_some_and(|rest| rest.starts_with('.'))
            }));
        }
    }

    /// A document by its hash.
    pub fn document(&self, hash: &str) -> Result<Option<String>, JournalError> {
        self.connection
            .query_row("SELECT text FROM document WHERE hash = ?1", [hash], |row| row.get(0))
            .optional()
            .map_err(|source| JournalError::Database { path: self.path.clone(), source })
    }

    /// Recomputes every hash.
    ///
    /// Errors: [`JournalError::Broken`] at the first entry that was changed, removed, added or
    /// moved; a document that does not fit its hash is reported with the number of entries + 1.
    /// A journal whose *end* was cut off is whole in itself: compare `head` with one kept
    /// elsewhere.
    pub fn verify(&self) -> Result<Verified, JournalError> {
        let broken = |seq, what: &str| JournalError::Broken {
            path: self.path.clone(),
            seq,
            what: what.into(),
        };
        let fail = |source| JournalError::Database { path: self.path.clone(), source };
        let mut statement = self
            .connection
            .prepare("SELECT seq, tick, wall, subject, kind, body, hash FROM journal ORDER BY seq")
            .map_err(fail)?;
        let mut rows = statement.query([]).map_err(fail)?;
        let (mut expected, mut head) = (1u64, GENESIS);
        while let Some(row) = rows.next().map_err(fail)? {
            let seq = u64::try_from(row.get::<_, i64>(0).map_err(fail)?).unwrap_or(0);
            if seq != expected {
                return Err(broken(expected, "it is missing"));
            }
            let tick = u64::try_from(row.get::<_, i64>(1).map_err(fail)?).unwrap_or(0);
            let wall: i64 = row.get(2).map_err(fail)?;
            let (subject, kind, body): (String, String, String) =
                (row.get(3).map_err(fail)?, row.get(4).map_err(fail)?, row.get(5).map_err(fail)?);
            head = chain(&head, seq, tick, wall, &subject, &kind, &body);
            let stored: Vec<u8> = row.get(6).map_err(fail)?;
            if stored != head {
                return Err(broken(seq, "its content does not fit its hash"));
            }
            expected += 1;
        }
        let entries = expected - 1;
        let mut statement =
            self.connection.prepare("SELECT hash, text FROM document").map_err(fail)?;
        let mut rows = statement.query([]).map_err(fail)?;
        let mut documents = 0;
        while let Some(row) = rows.next().map_err(fail)? {
            let (hash, text): (String, String) =
                (row.get(0).map_err(fail)?, row.get(1).map_err(fail)?);
            if Document::new("", text).hash != hash {
                return Err(broken(expected, &format!("document {hash} was changed")));
            }
            documents += 1;
        }
        Ok(Verified { entries, head: hex(&head), documents })
    }
}

/// A text kept beside the journal by its own hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// SHA-256 of the text, hexadecimal.
    pub hash: String,
    /// What it is: `graph`, `bundle`.
    pub kind: String,
    /// The text.
    pub text: String,
}

impl Document {
    /// A document and its hash.
    pub fn new(kind: &str, text: String) -> Document {
        let hash: [u8; 32] = Sha256::digest(text.as_bytes()).into();
        Document { hash: hex(&hash), kind: kind.to_owned(), text }
    }
}

fn chain(
    head: &[u8; 32],
    seq: u64,
    tick: u64,
    wall_ms: i64,
    subject: &str,
    kind: &str,
    body: &str,
) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(head);
    hash.update(seq.to_le_bytes());
    hash.update(tick.to_le_bytes());
    hash.update(wall_ms.to_le_bytes());
    // Lengths first, so that no two entries can share one byte string.
    for text in [subject, kind, body] {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    }
    hash.finalize().into()
}

fn as_i64(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
        text.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('0'));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> PathBuf {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "labloop-journal-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn entry(tick: u64, body: &str) -> Entry {
        Entry { tick, wall_ms: 5, subject: "a.1".into(), kind: "intent", body: body.into() }
    }

    #[test]
    fn entries_come_back_in_order_after_reopening() {
        let folder = folder();
        let mut journal = Journal::open(&folder, Durability::Power).unwrap();
        journal.append(&[entry(1, "{}"), entry(2, "[1]")], &[]).unwrap();
        let head = journal.head();
        drop(journal);
        let mut journal = Journal::open(&folder, Durability::Power).unwrap();
        assert_eq!(journal.head(), head);
        journal.append(&[entry(3, "[2]")], &[Document::new("graph", "g".into())]).unwrap();
        let read = journal.read(1, 10).unwrap();
        assert_eq!(read.iter().map(|e| e.body.as_str()).collect::<Vec<_>>(), ["[1]", "[2]"]);
        let verified = journal.verify().unwrap();
        assert_eq!((verified.entries, verified.documents), (3, 1));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn any_change_gap_or_swap_is_found_and_named() {
        let changes = [
            ("UPDATE journal SET body = '{ }' WHERE seq = 2", 2),
            ("UPDATE journal SET tick = tick + 1 WHERE seq = 3", 3),
            ("DELETE FROM journal WHERE seq = 2", 2),
            ("UPDATE journal SET seq = 9 WHERE seq = 3", 3),
            ("UPDATE journal SET subject = 'a.2' WHERE seq = 1", 1),
            ("UPDATE document SET text = 'h'", 5),
        ];
        for (change, place) in changes {
            let folder = folder();
            let mut journal = Journal::open(&folder, Durability::Power).unwrap();
            let entries: Vec<Entry> = (1..=4).map(|n| entry(n, "{}")).collect();
            journal.append(&entries, &[Document::new("graph", "g".into())]).unwrap();
            journal.connection.execute_batch(change).unwrap();
            match journal.verify() {
                Err(JournalError::Broken { seq, .. }) => assert_eq!(seq, place, "{change}"),
                other => panic!("{change}: {other:?}"),
            }
            std::fs::remove_dir_all(folder).unwrap();
        }
    }

    #[test]
    fn a_newer_journal_is_refused() {
        let folder = folder();
        let journal = Journal::open(&folder, Durability::Power).unwrap();
        journal.connection.execute_batch("PRAGMA user_version = 99").unwrap();
        drop(journal);
        let refused = Journal::open(&folder, Durability::Power);
        assert!(matches!(refused, Err(JournalError::Newer { found: 99, .. })));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
