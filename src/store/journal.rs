//! The journal: SQLite in WAL mode, one writer, group commit, SHA-256 hash chain, a lease with a
//! fencing number that every commit looks at.

use std::cell::OnceCell;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, TransactionBehavior, params};

use super::anchor::{self, Anchor, AnchorWriter};
use super::chain::{BODY_MAX, Document, Entry, GENESIS, as_i64, chain, hex};
use super::error::JournalError;
use super::files::Files;
use super::lease::{self, Holder, Lease};
use super::schema::{self, SchemaError};
use super::subjects::{self, Subjects};
use super::upkeep::{self, Upkeep};
use super::{reading, salvage};

/// Smallest database there is.
const FILE_MIN: u64 = 512;
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

/// Entries that were durable and are no longer there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    /// First of them.
    pub from: u64,
    /// Last of them.
    pub to: u64,
}

/// The journal of one state folder.
#[derive(Debug)]
pub struct Journal {
    pub(super) connection: Connection,
    pub(super) path: PathBuf,
    /// Of a writer: which file it is.
    identity: Option<(u64, u64)>,
    files: Files,
    pub(super) seq: u64,
    head: [u8; 32],
    /// A write has failed.
    failed: bool,
    /// Fencing number, once the lease was taken.
    epoch: Option<u64>,
    /// Of a writer.
    writer: Option<Writer>,
    /// What the anchor said before the file was looked at.
    anchor: Anchor,
    /// Entries that the anchor knows and the file does not.
    lost: Option<Lost>,
    /// What is wrong with the file, where this is what could be read of it.
    damage: Option<String>,
    /// Subjects of a reader, once they were asked for.
    standing: OnceCell<Subjects>,
}

/// What only a writer has.
#[derive(Debug)]
struct Writer {
    anchor: AnchorWriter,
    subjects: Subjects,
    /// To be noted with the next lease.
    notes: Vec<Upkeep>,
}

impl Journal {
    /// Opens or makes the journal in a state folder. Nothing can be noted before
    /// [`Journal::take_lease`]. A journal of an older format is brought to the present one; one
    /// whose end is damaged is salvaged up to its last whole entry.
    ///
    /// Cost: one pass over the last entries and over the table of subjects, not over the journal.
    /// Errors: damage in the middle; [`Journal::open_read_only`] still shows what can be read.
    pub fn open(folder: &Path, durability: Durability) -> Result<Journal, JournalError> {
        salvage::finish(folder)?;
        // Before the file: what is written meanwhile must not look lost.
        let anchor = anchor::read(folder);
        let journal = match Journal::open_whole(folder, durability, &anchor) {
            Err(error @ (JournalError::Damaged { .. } | JournalError::Broken { .. })) => {
                salvage::salvage(folder, error)?;
                Journal::open_whole(folder, durability, &anchor::read(folder))?
            }
            other => other?,
        };
        journal.compare_anchor()
    }

    fn open_whole(
        folder: &Path,
        durability: Durability,
        anchor: &Anchor,
    ) -> Result<Journal, JournalError> {
        let path = folder.join("journal.db");
        let fail = |source| database(&path, source);
        refuse_stump(folder, &path, anchor)?;
        let mut connection = Connection::open(&path).map_err(fail)?;
        connection.busy_timeout(BUSY_WAIT).map_err(fail)?;
        // An opening that fails is not to end with a checkpoint of what it could not sync; and a log
        // that does not fit a damaged file is evidence.
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
        let before =
            schema::bring_up(&mut connection).map_err(|error| schema_error(&path, error))?;
        let (seq, head) = tail(&connection, &path)?;
        let mut subjects = reading::subjects(&connection, &path, seq)?;
        if subjects.marked() == 0 && seq >= subjects::EVERY {
            // Gone through once, so that the next start need not.
            let behavior = TransactionBehavior::Immediate;
            let transaction = connection.transaction_with_behavior(behavior).map_err(fail)?;
            if tail(&transaction, &path)? == (seq, head) {
                subjects.mark(&transaction, seq, &head).map_err(fail)?;
                transaction.commit().map_err(fail)?;
            }
        }
        let mut notes = Vec::new();
        if before != 0 && before != schema::FORMAT {
            notes.push(Upkeep::Migrated { from: before, to: schema::FORMAT });
        }
        checkpoint_on_close(&connection, true);
        let files = Files::new(folder, durability);
        let writer = Some(Writer { anchor: AnchorWriter::new(folder), subjects, notes });
        let identity = file_identity(&path);
        Ok(Journal {
            identity,
            connection,
            path,
            files,
            seq,
            head,
            failed: false,
            epoch: None,
            writer,
            anchor: anchor.clone(),
            lost: None,
            damage: None,
            standing: OnceCell::new(),
        })
    }

    /// Holds the anchor against the chain.
    fn compare_anchor(mut self) -> Result<Journal, JournalError> {
        let Anchor::At(last) = &self.anchor else { return Ok(self) };
        if last.seq > self.seq {
            self.lost = Some(Lost { from: self.seq + 1, to: last.seq });
            let (from, to) = (self.seq + 1, Some(last.seq));
            if let Some(writer) = self.writer.as_mut() {
                writer.notes.push(Upkeep::TailLost { from, to });
            }
        } else if last.seq > 0
            && self.hash_of(last.seq)? != Some(last.hash.clone())
            && !self.says_lost(last.seq)?
        {
            let what = "it is not the entry that was durable here: the file was replaced by \
                        another one, or rewritten"
                .to_owned();
            return Err(JournalError::Broken { path: self.path, seq: last.seq, what });
        }
        Ok(self)
    }

    /// Whether the journal says itself that an entry with this number was lost. An anchor that knows
    /// it is one of before.
    pub(super) fn says_lost(&self, seq: u64) -> Result<bool, JournalError> {
        upkeep::says_lost(&self.connection, seq).map_err(|source| self.fail(source))
    }

    /// The state folder it is in.
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }

    /// Opens the journal for reading only, also while an engine writes. Of a damaged one what can
    /// still be read; [`Journal::damage`] says so then.
    pub fn open_read_only(folder: &Path) -> Result<Journal, JournalError> {
        let path = folder.join("journal.db");
        if !path.exists() {
            return Err(JournalError::Absent(path));
        }
        let anchor = anchor::read(folder);
        match open_to_read(folder, &path, &anchor) {
            Ok(connection) => Journal::to_read(folder, connection, anchor, None),
            Err(JournalError::Damaged { what, .. }) => Journal::open_damaged(folder, what),
            Err(error) => Err(error),
        }
    }

    /// Reads what there is in the pages of a damaged journal, into memory: for looking at it.
    pub fn open_damaged(folder: &Path, what: String) -> Result<Journal, JournalError> {
        let anchor = anchor::read(folder);
        Journal::to_read(folder, salvage::in_memory(folder)?, anchor, Some(what))
    }

    fn to_read(
        folder: &Path,
        connection: Connection,
        anchor: Anchor,
        damage: Option<String>,
    ) -> Result<Journal, JournalError> {
        let path = folder.join("journal.db");
        let files = Files::new(folder, Durability::Power);
        let (seq, head) = tail(&connection, &path)?;
        let lost = match &anchor {
            Anchor::At(last) if last.seq > seq => Some(Lost { from: seq + 1, to: last.seq }),
            Anchor::At(_) | Anchor::Absent | Anchor::Unreadable => None,
        };
        Ok(Journal {
            identity: None,
            connection,
            path,
            files,
            seq,
            head,
            failed: false,
            epoch: None,
            writer: None,
            anchor,
            lost,
            damage,
            standing: OnceCell::new(),
        })
    }

    /// What is wrong with the file, where this is only what could be read of it.
    pub fn damage(&self) -> Option<&str> {
        self.damage.as_deref()
    }

    /// What the anchor beside it said when it was opened.
    pub fn anchor(&self) -> &Anchor {
        &self.anchor
    }

    /// Entries at the end that were durable and are gone. The next owner of the lease notes it.
    pub fn lost(&self) -> Option<Lost> {
        self.lost
    }

    /// The files beside it.
    pub fn files(&self) -> &Files {
        &self.files
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
        let Some(mut writer) = self.writer.take() else {
            return Err(JournalError::NoLease(path.clone()).into());
        };
        let (tick, wall_ms) = entries.first().map_or((0, 0), |entry| (entry.tick, entry.wall_ms));
        let notes = writer.notes.iter().map(|note| note.entry(tick, wall_ms));
        let entries: Vec<Entry> = notes.chain(entries).collect();
        let end = (seq, head);
        let (seq, head) =
            insert(&transaction, path, end, &entries, &documents, &mut writer.subjects)?;
        transaction.commit().map_err(fail)?;
        writer.notes.clear();
        writer.anchor.write(seq, &head);
        writer.anchor.sync();
        self.writer = Some(writer);
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
        // SAFETY(lab): an engine whose folder was moved or deleted cannot be commanded any more, and
        // writes into a file that nobody will find.
        if self.identity.is_some() && file_identity(&self.path) != self.identity {
            let why = "it is no longer the file this engine writes to: its folder was moved or \
                       deleted"
                .to_owned();
            return Err(JournalError::Unusable { path: self.path.clone(), why });
        }
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
        let Some(mut writer) = self.writer.take() else {
            return Err(JournalError::NoLease(path.clone()));
        };
        // After an error nothing more is noted: the writer does not come back.
        let end = (self.seq, self.head);
        let (seq, head) =
            insert(&transaction, path, end, entries, documents, &mut writer.subjects)?;
        transaction.commit().map_err(fail)?;
        writer.anchor.write(seq, &head);
        self.writer = Some(writer);
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

    /// Subjects as the writer keeps them, or as the file tells.
    pub(super) fn subjects(&self) -> Result<&Subjects, JournalError> {
        if let Some(writer) = &self.writer {
            return Ok(&writer.subjects);
        }
        if let Some(known) = self.standing.get() {
            return Ok(known);
        }
        let found = reading::subjects(&self.connection, &self.path, self.seq)?;
        Ok(self.standing.get_or_init(|| found))
    }

    pub(super) fn fail(&self, source: rusqlite::Error) -> JournalError {
        database(&self.path, source)
    }
}

/// Opens a file for reading, if it is whole enough for SQLite.
fn open_to_read(folder: &Path, path: &Path, anchor: &Anchor) -> Result<Connection, JournalError> {
    let fail = |source| database(path, source);
    refuse_stump(folder, path, anchor)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(fail)?;
    connection.busy_timeout(BUSY_WAIT).map_err(fail)?;
    // Format 1 reads the same.
    schema::checked(&connection).map_err(|error| schema_error(path, error))?;
    tail(&connection, path)?;
    Ok(connection)
}

/// SQLite takes a file without a head for a new one and throws its log away, and a page of which
/// only a part is there for one that ends with zeros. A state folder that had a journal does not
/// get a new one so, and half a page is no page.
fn refuse_stump(folder: &Path, path: &Path, anchor: &Anchor) -> Result<(), JournalError> {
    let length = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.len());
    let (file, log) = (length(path), length(&folder.join("journal.db-wal")));
    let damaged =
        |what: &str| Err(JournalError::Damaged { path: path.to_owned(), what: what.to_owned() });
    if file < FILE_MIN {
        let had = *anchor != Anchor::Absent || log > 0;
        return if had { damaged("its file is empty or gone") } else { Ok(()) };
    }
    // Pages that are being taken over from the log may be half there; the log has them whole.
    if log == 0 && !file.is_multiple_of(page_size(path).unwrap_or(FILE_MIN)) {
        return damaged("its file ends in the middle of a page");
    }
    Ok(())
}

/// Which file stands at a path now, where the system can tell.
#[cfg(unix)]
fn file_identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

#[cfg(not(unix))]
fn file_identity(_: &Path) -> Option<(u64, u64)> {
    None
}

/// What the head of a database says of its pages.
fn page_size(path: &Path) -> Option<u64> {
    let mut head = [0; 18];
    std::fs::File::open(path).ok()?.read_exact(&mut head).ok()?;
    match u16::from_be_bytes(*head.last_chunk::<2>()?) {
        1 => Some(65_536),
        size => (size >= 512 && size.is_power_of_two()).then(|| u64::from(size)),
    }
}

/// An error of SQLite in our words.
pub(super) fn database(path: &Path, source: rusqlite::Error) -> JournalError {
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
pub(super) fn tail(connection: &Connection, path: &Path) -> Result<(u64, [u8; 32]), JournalError> {
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
    subjects: &mut Subjects,
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
        subjects.take(connection, seq, (subject, kind), &head).map_err(fail)?;
    }
    subjects.mark_if_due(connection, seq, &head).map_err(fail)?;
    Ok((seq, head))
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
