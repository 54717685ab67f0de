//! The journal: SQLite in WAL mode, one writer, group commit, SHA-256 hash chain, a lease with a
//! fencing number that every commit looks at.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, TransactionBehavior, params};

use super::chain::{BODY_MAX, Document, Entry, GENESIS, StoredEntry, as_i64, chain, hex};
use super::error::JournalError;
use super::files::Files;
use super::lease::{self, Holder, Lease};
use super::schema::{self, SchemaError};

/// How long a commit waits for another program that keeps the database locked: long enough for a
/// backup's last step, short against the time in which somebody should know that nothing is noted.
const BUSY_WAIT: Duration = Duration::from_secs(5);
/// Pages of the write-ahead log that are taken over into the database at once (8 MB).
const CHECKPOINT_PAGES: u32 = 2_000;

/// How durable a commit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// On disk when `append` returns: survives power loss. For everything that drives hardware.
    Power,
    /// Survives the death of the process but not of the machine: dry runs on a virtual clock.
    Process,
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
    /// A write has failed.
    failed: bool,
    /// Fencing number, once the lease was taken.
    epoch: Option<u64>,
}

impl Journal {
    /// Opens or makes the journal in a state folder. Nothing can be noted before
    /// [`Journal::take_lease`]. A journal of an older format is brought to the present one.
    pub fn open(folder: &Path, durability: Durability) -> Result<Journal, JournalError> {
        let path = folder.join("journal.db");
        let fail = |source| database(&path, source);
        let mut connection = Connection::open(&path).map_err(fail)?;
        connection.busy_timeout(BUSY_WAIT).map_err(fail)?;
        // An opening that fails is not to end with a checkpoint of what it could not sync.
        checkpoint_on_close(&connection, false);
        // SQLite falls back to reading where it may not write.
        if connection.is_readonly("main").map_err(fail)? {
            let why = "the file is write-protected".to_owned();
            return Err(JournalError::ReadOnly { path, why });
        }
        schema::checked(&connection).map_err(|error| schema_error(&path, error))?;
        let sync = match durability {
            Durability::Power => "FULL",
            Durability::Process => "NORMAL",
        };
        connection
            .execute_batch(&format!(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = {sync}; \
                 PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES};"
            ))
            .map_err(fail)?;
        schema::bring_up(&mut connection).map_err(|error| schema_error(&path, error))?;
        let journal = Journal::with_head(connection, path, Files::new(folder, durability))?;
        checkpoint_on_close(&journal.connection, true);
        Ok(journal)
    }

    /// Opens the journal for reading only, also while an engine writes.
    pub fn open_read_only(folder: &Path) -> Result<Journal, JournalError> {
        let path = folder.join("journal.db");
        if !path.exists() {
            return Err(JournalError::Absent(path));
        }
        let fail = |source| database(&path, source);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&path, flags).map_err(fail)?;
        connection.busy_timeout(BUSY_WAIT).map_err(fail)?;
        // Format 1 reads the same.
        schema::checked(&connection).map_err(|error| schema_error(&path, error))?;
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
        let (seq, head) = tail(&connection, &path)?;
        Ok(Journal { connection, path, files, seq, head, epoch: None, failed: false })
    }

    /// Takes the state folder over: raises the fencing number and notes `first`, what the new
    /// owner has to say under that number, in one durable commit. Every other owner's commits fail
    /// from here on with [`JournalError::Lapsed`]. Returns the number.
    ///
    /// `at_least`: one more than the highest number that the entries name, in case the row was
    /// lost. Errors: as [`Journal::append`], and [`JournalError::Grew`] if somebody wrote after
    /// this journal was opened, because what was read of it is not the whole past then.
    pub fn take_lease<E: From<JournalError>>(
        &mut self,
        holder: &Holder,
        at_least: u64,
        first: impl FnOnce(u64) -> Result<(Vec<Entry>, Vec<Document>), E>,
    ) -> Result<u64, E> {
        // One that fails is not to be followed by another sync on closing.
        checkpoint_on_close(&self.connection, false);
        let path = &self.path;
        let fail = |source| database(path, source);
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(fail)?;
        let (seq, head) = tail(&transaction, path)?;
        if (seq, head) != (self.seq, self.head) {
            let (path, read) = (path.clone(), self.seq);
            return Err(JournalError::Grew { path, read, found: seq }.into());
        }
        let last = lease::read(&transaction).map_err(fail)?.map_or(0, |lease| lease.epoch);
        let epoch = last.saturating_add(1).max(at_least);
        lease::write(&transaction, epoch, holder).map_err(fail)?;
        let (entries, documents) = first(epoch)?;
        let (seq, head) = insert(&transaction, path, (seq, head), &entries, &documents)?;
        transaction.commit().map_err(fail)?;
        checkpoint_on_close(&self.connection, true);
        (self.seq, self.head, self.epoch) = (seq, head, Some(epoch));
        Ok(epoch)
    }

    /// The fencing number of this owner, once it took the lease.
    pub fn epoch(&self) -> Option<u64> {
        self.epoch
    }

    /// Whose the state folder is, by the journal; `None` before the first owner.
    pub fn lease(&self) -> Result<Option<Lease>, JournalError> {
        let fail = |source| database(&self.path, source);
        if schema::format(&self.connection).map_err(fail)? < schema::FORMAT {
            return Ok(None);
        }
        lease::read(&self.connection).map_err(fail)
    }

    /// Whether the lease is still this owner's. A commit asks this by itself.
    ///
    /// Errors: [`JournalError::Lapsed`] if another has it, [`JournalError::NoLease`] if it was
    /// never taken.
    pub fn check_lease(&self) -> Result<(), JournalError> {
        owned(&self.connection, &self.path, self.epoch)
    }

    /// Appends facts and documents in one commit. When it returns `Ok`, they are durable.
    ///
    /// Errors: [`JournalError::Lapsed`] if another owner took the folder; nothing was written
    /// then. After any other error the state of the disk is unknown; the caller must stop sending,
    /// never try again (a second fsync may claim success for pages that were dropped).
    pub fn append(
        &mut self,
        entries: &[Entry],
        documents: &[Document],
    ) -> Result<(), JournalError> {
        if entries.is_empty() && documents.is_empty() {
            return Ok(());
        }
        self.latched()?;
        let result = self.append_once(entries, documents);
        self.latch(&result);
        result
    }

    fn append_once(
        &mut self,
        entries: &[Entry],
        documents: &[Document],
    ) -> Result<(), JournalError> {
        let path = &self.path;
        let fail = |source| database(path, source);
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(fail)?;
        // SAFETY(lab): in the transaction of the intents, so an engine that was overtaken cannot
        // make one durable and so cannot send.
        owned(&transaction, path, self.epoch)?;
        let (seq, head) = insert(&transaction, path, (self.seq, self.head), entries, documents)?;
        transaction.commit().map_err(fail)?;
        (self.seq, self.head) = (seq, head);
        Ok(())
    }

    /// After a write that failed nothing is written any more: the disk may have dropped pages and
    /// would say that the next sync went well. Not even on closing, where SQLite would copy the log
    /// into the file and sync both.
    fn latch(&mut self, result: &Result<(), JournalError>) {
        if matches!(result, Err(JournalError::Database { .. })) {
            self.failed = true;
            checkpoint_on_close(&self.connection, false);
        }
    }

    fn latched(&self) -> Result<(), JournalError> {
        match self.failed {
            true => Err(JournalError::Latched(self.path.clone())),
            false => Ok(()),
        }
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
        let fail = |source| database(&self.path, source);
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
            .map_err(|source| database(&self.path, source))
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
        let fail = |source| database(&self.path, source);
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

/// An error of SQLite in our words.
fn database(path: &Path, source: rusqlite::Error) -> JournalError {
    let path = path.to_owned();
    match source.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            JournalError::Locked { path, seconds: BUSY_WAIT.as_secs() }
        }
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            JournalError::ReadOnly { path, why: source.to_string() }
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            JournalError::Damaged { path, what: source.to_string() }
        }
        _ => JournalError::Database { path, source },
    }
}

fn schema_error(path: &Path, error: SchemaError) -> JournalError {
    match error {
        SchemaError::Database(source) => database(path, source),
        SchemaError::Newer(found) => JournalError::Newer { path: path.to_owned(), found },
        SchemaError::Damaged(what) => JournalError::Damaged { path: path.to_owned(), what },
    }
}

/// Whether closing the connection copies the log into the file, which syncs both.
fn checkpoint_on_close(connection: &Connection, wanted: bool) {
    let setting = rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
    if let Err(error) = connection.set_db_config(setting, !wanted) {
        tracing::warn!(%error, "the journal may be synced once more on closing");
    }
}

/// Number and hash of the last entry.
fn tail(connection: &Connection, path: &Path) -> Result<(u64, [u8; 32]), JournalError> {
    let last: Option<(i64, Vec<u8>)> = connection
        .prepare_cached("SELECT seq, hash FROM journal ORDER BY seq DESC LIMIT 1")
        .and_then(|mut last| last.query_row([], |row| Ok((row.get(0)?, row.get(1)?))).optional())
        .map_err(|source| database(path, source))?;
    let Some((seq, hash)) = last else { return Ok((0, GENESIS)) };
    let seq = u64::try_from(seq).unwrap_or(0);
    let head = <[u8; 32]>::try_from(hash.as_slice()).map_err(|_| {
        let what = "its hash does not have 32 bytes".to_owned();
        JournalError::Broken { path: path.to_owned(), seq, what }
    })?;
    Ok((seq, head))
}

fn owned(connection: &Connection, path: &Path, mine: Option<u64>) -> Result<(), JournalError> {
    let Some(mine) = mine else { return Err(JournalError::NoLease(path.to_owned())) };
    match lease::read(connection).map_err(|source| database(path, source))? {
        Some(lease) if lease.epoch == mine => Ok(()),
        Some(theirs) => {
            Err(JournalError::Lapsed { path: path.to_owned(), mine, theirs: Box::new(theirs) })
        }
        None => {
            let what = "its lease is gone".to_owned();
            Err(JournalError::Damaged { path: path.to_owned(), what })
        }
    }
}

/// Writes entries behind the last one; inside a transaction of the caller.
fn insert(
    connection: &Connection,
    path: &Path,
    (mut seq, mut head): (u64, [u8; 32]),
    entries: &[Entry],
    documents: &[Document],
) -> Result<(u64, [u8; 32]), JournalError> {
    let fail = |source| database(path, source);
    let mut keep = connection
        .prepare_cached("INSERT OR IGNORE INTO document VALUES (?1, ?2, ?3)")
        .map_err(fail)?;
    for document in documents {
        keep.execute(params![document.hash, document.kind, document.text]).map_err(fail)?;
    }
    let mut note = connection
        .prepare_cached("INSERT INTO journal VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")
        .map_err(fail)?;
    for entry in entries {
        if entry.body.len() > BODY_MAX {
            return Err(JournalError::TooLarge(entry.body.len()));
        }
        seq += 1;
        let Entry { tick, wall_ms, subject, kind, body } = entry;
        head = chain(&head, seq, *tick, *wall_ms, subject, kind, body);
        note.execute(params![
            as_i64(seq),
            as_i64(*tick),
            wall_ms,
            subject,
            kind,
            body,
            head.as_slice()
        ])
        .map_err(fail)?;
    }
    Ok((seq, head))
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

    /// The lease, without anything to say.
    fn take(journal: &mut Journal) -> u64 {
        let nothing = |_| Ok::<_, JournalError>((Vec::new(), Vec::new()));
        journal.take_lease(&Holder::this_process(1), 0, nothing).unwrap()
    }

    fn entry(tick: u64, body: &str) -> Entry {
        Entry { tick, wall_ms: 5, subject: "a.1".into(), kind: "intent", body: body.into() }
    }

    #[test]
    fn entries_come_back_in_order_after_reopening() {
        let folder = folder();
        let mut journal = Journal::open(&folder, Durability::Power).unwrap();
        take(&mut journal);
        journal.append(&[entry(1, "{}"), entry(2, "[1]")], &[]).unwrap();
        let head = journal.head();
        drop(journal);
        let mut journal = Journal::open(&folder, Durability::Power).unwrap();
        assert_eq!(journal.head(), head);
        take(&mut journal);
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
            take(&mut journal);
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

    #[test]
    fn who_was_overtaken_notes_nothing_any_more() {
        let folder = folder();
        let mut first = Journal::open(&folder, Durability::Power).unwrap();
        assert!(matches!(first.append(&[entry(1, "{}")], &[]), Err(JournalError::NoLease(_))));
        assert_eq!(take(&mut first), 1);
        first.append(&[entry(1, "{}")], &[]).unwrap();
        let mut second = Journal::open(&folder, Durability::Power).unwrap();
        assert_eq!(take(&mut second), 2);
        second.append(&[entry(2, "{}")], &[]).unwrap();
        match first.append(&[entry(3, "{}")], &[Document::new("graph", "g".into())]) {
            Err(JournalError::Lapsed { mine: 1, theirs, .. }) => assert_eq!(theirs.epoch, 2),
            other => panic!("{other:?}"),
        }
        assert!(matches!(first.check_lease(), Err(JournalError::Lapsed { .. })));
        second.append(&[entry(4, "{}")], &[]).unwrap();
        let verified = second.verify().unwrap();
        assert_eq!((verified.entries, verified.documents), (3, 0));
        assert_eq!(second.lease().unwrap().unwrap().pid, std::process::id());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_lease_is_refused_to_whoever_has_not_read_the_whole_past() {
        let folder = folder();
        let mut late = Journal::open(&folder, Durability::Power).unwrap();
        let mut quick = Journal::open(&folder, Durability::Power).unwrap();
        take(&mut quick);
        quick.append(&[entry(1, "{}")], &[]).unwrap();
        let nothing = |_| Ok::<_, JournalError>((Vec::new(), Vec::new()));
        match late.take_lease(&Holder::this_process(1), 0, nothing) {
            Err(JournalError::Grew { read: 0, found: 1, .. }) => {}
            other => panic!("{other:?}"),
        }
        quick.append(&[entry(2, "{}")], &[]).unwrap();
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_file_that_lost_its_tables_gets_no_empty_ones() {
        for (change, word) in
            [("DROP TABLE journal", "journal"), ("PRAGMA user_version = 0", "no format")]
        {
            let folder = folder();
            let journal = Journal::open(&folder, Durability::Power).unwrap();
            journal.connection.execute_batch(change).unwrap();
            drop(journal);
            for opened in
                [Journal::open(&folder, Durability::Power), Journal::open_read_only(&folder)]
            {
                match opened {
                    Err(JournalError::Damaged { what, .. }) => assert!(what.contains(word)),
                    other => panic!("{change}: {other:?}"),
                }
            }
            std::fs::remove_dir_all(folder).unwrap();
        }
    }
}
