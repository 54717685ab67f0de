//! Reading the journal back. Every entry that is given out fits the chain.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::chain::{Document, GENESIS, StoredEntry, as_i64, chain, hex};
use super::error::JournalError;
use super::journal::{Journal, database};
use super::subjects::{Standing, Subject, Subjects, joined};

/// So many entries at the end are held against the chain whenever the journal is opened: more than
/// the write-ahead log ever holds (60 ms). The rest is for `labloop verify`.
const TAIL: u64 = 20_000;
/// Entries read at a time.
const PAGE: usize = 5_000;
/// Entries of one subject read at a time. There may be a thousand subjects that are not over, and
/// each has its page in memory.
const PAGE_OF_SUBJECT: usize = 256;

/// An entry as it stands in the file.
pub(super) struct View<'a> {
    pub(super) seq: u64,
    pub(super) tick: u64,
    pub(super) wall_ms: i64,
    pub(super) subject: &'a str,
    pub(super) kind: &'a str,
    pub(super) body: &'a str,
    /// The hash that stands with it.
    pub(super) hash: &'a [u8],
}

impl<'a> View<'a> {
    pub(super) fn of(row: &'a Row<'_>) -> Result<View<'a>, rusqlite::Error> {
        let text = |at: usize| Ok::<_, rusqlite::Error>(row.get_ref(at)?.as_str()?);
        Ok(View {
            seq: u64::try_from(row.get::<_, i64>(0)?).unwrap_or(0),
            tick: u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0),
            wall_ms: row.get(2)?,
            subject: text(3)?,
            kind: text(4)?,
            body: text(5)?,
            hash: row.get_ref(6)?.as_blob()?,
        })
    }

    /// Its hash behind an entry of that hash.
    pub(super) fn behind(&self, head: &[u8; 32], seq: u64) -> [u8; 32] {
        chain(head, seq, self.tick, self.wall_ms, self.subject, self.kind, self.body)
    }

    pub(super) fn kept(&self) -> StoredEntry {
        StoredEntry {
            seq: self.seq,
            tick: self.tick,
            wall_ms: self.wall_ms,
            subject: self.subject.to_owned(),
            kind: self.kind.to_owned(),
            body: self.body.to_owned(),
        }
    }
}

/// What can be read of a damaged journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partly {
    /// Entries that fit.
    pub entries: Vec<StoredEntry>,
    /// What is missing or does not fit.
    pub said: Vec<String>,
    /// The last entry that was looked at.
    pub last: u64,
}

/// Columns of [`View`], of the whole journal.
pub(super) const COLUMNS: &str = "seq, tick, wall, subject, kind, body, hash FROM journal";

/// Goes through the entries behind `after` in order, whose hash is `head`; `each` gets every one
/// with its own hash. Returns number and hash of the last.
///
/// Errors: the first that is missing or does not fit.
pub(super) fn scan(
    connection: &Connection,
    path: &Path,
    (after, head): (u64, [u8; 32]),
    limit: u64,
    mut each: impl FnMut(&View<'_>, &[u8; 32]) -> Result<(), rusqlite::Error>,
) -> Result<(u64, [u8; 32]), JournalError> {
    let fail = |source| database(path, source);
    let broken = |seq, what: &str| JournalError::Broken {
        path: path.to_owned(),
        seq,
        what: what.to_owned(),
    };
    let mut statement = connection
        .prepare_cached(&format!("SELECT {COLUMNS} WHERE seq > ?1 ORDER BY seq LIMIT ?2"))
        .map_err(fail)?;
    let mut rows = statement.query(params![as_i64(after), as_i64(limit)]).map_err(fail)?;
    let (mut seq, mut head) = (after, head);
    while let Some(row) = rows.next().map_err(fail)? {
        let view = View::of(row).map_err(fail)?;
        if view.seq != seq + 1 {
            return Err(broken(seq + 1, "it is missing"));
        }
        let hash = view.behind(&head, view.seq);
        if view.hash != hash {
            return Err(broken(view.seq, "its content does not fit its hash"));
        }
        each(&view, &hash).map_err(fail)?;
        (seq, head) = (view.seq, hash);
    }
    Ok((seq, head))
}

/// The hash that stands with an entry.
pub(super) fn hash_at(
    connection: &Connection,
    seq: u64,
) -> Result<Option<[u8; 32]>, rusqlite::Error> {
    if seq == 0 {
        return Ok(Some(GENESIS));
    }
    let hash: Option<Vec<u8>> = connection
        .prepare_cached("SELECT hash FROM journal WHERE seq = ?1")?
        .query_row([as_i64(seq)], |row| row.get(0))
        .optional()?;
    Ok(hash.and_then(|hash| <[u8; 32]>::try_from(hash.as_slice()).ok()))
}

/// Where the subjects of a journal stand, from the table and the entries behind its mark, or, where
/// that is missing or does not fit, from all entries. Checks the end of the chain on the way.
pub(super) fn subjects(
    connection: &Connection,
    path: &Path,
    seq: u64,
) -> Result<Subjects, JournalError> {
    let fail = |source| database(path, source);
    if let Some(mut subjects) =
        Subjects::load(connection, |seq| hash_at(connection, seq)).map_err(fail)?
        && subjects.each(connection, |_| {}).map_err(fail)?
    {
        let after = subjects.marked().min(seq.saturating_sub(TAIL));
        let head = hash_at(connection, after).map_err(fail)?.ok_or_else(|| {
            let what = "it is missing".to_owned();
            JournalError::Broken { path: path.to_owned(), seq: after, what }
        })?;
        let marked = subjects.marked();
        let (end, _) = scan(connection, path, (after, head), u64::MAX, |view, hash| {
            if view.seq > marked {
                subjects.take(connection, view.seq, (view.subject, view.kind), hash)?;
            }
            Ok(())
        })?;
        return if end >= seq { Ok(subjects) } else { Err(short(path, end)) };
    }
    let mut subjects = Subjects::none();
    let (end, _) = scan(connection, path, (0, GENESIS), u64::MAX, |view, hash| {
        subjects.take(connection, view.seq, (view.subject, view.kind), hash)
    })?;
    if end >= seq { Ok(subjects) } else { Err(short(path, end)) }
}

fn short(path: &Path, end: u64) -> JournalError {
    let what = "it is missing".to_owned();
    JournalError::Broken { path: path.to_owned(), seq: end + 1, what }
}

impl Journal {
    /// Entries after `seq` in order, at most `limit`; each fits the chain.
    pub fn read(&self, after: u64, limit: usize) -> Result<Vec<StoredEntry>, JournalError> {
        let fail = |source| self.fail(source);
        let mut found = Vec::new();
        let Some(head) = hash_at(&self.connection, after).map_err(fail)? else {
            return Ok(found);
        };
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        scan(&self.connection, &self.path, (after, head), limit, |view, _| {
            found.push(view.kept());
            Ok(())
        })?;
        Ok(found)
    }

    /// Entries after `seq` in order, at most `limit`, of a journal that is damaged: what does not
    /// fit the chain is left out, and said in words. For looking at it, never for going on.
    pub fn read_what_can_be(&self, after: u64, limit: usize) -> Result<Partly, JournalError> {
        let fail = |source| self.fail(source);
        let mut statement = self
            .connection
            .prepare_cached(&format!("SELECT {COLUMNS} WHERE seq > ?1 ORDER BY seq LIMIT ?2"))
            .map_err(fail)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut rows = statement.query(params![as_i64(after), limit]).map_err(fail)?;
        let (mut found, mut said) = (Vec::new(), Vec::new());
        let mut seq = after;
        let mut head = hash_at(&self.connection, after).map_err(fail)?;
        while let Some(row) = rows.next().map_err(fail)? {
            let view = View::of(row).map_err(fail)?;
            if view.seq > seq + 1 {
                said.push(missing(seq + 1, view.seq - 1));
                head = None;
            }
            // Behind a gap there is nothing to hold the first entry against.
            let fits = head.is_none_or(|head| view.hash == view.behind(&head, view.seq));
            if fits {
                found.push(view.kept());
            } else {
                said.push(format!("entry {} was changed and is left out", view.seq));
            }
            (seq, head) = (view.seq, <[u8; 32]>::try_from(view.hash).ok());
        }
        Ok(Partly { entries: found, said, last: seq })
    }

    /// Entries about one subject and everything below it (`id` and `id.…`), in order.
    pub fn about(&self, subject: &str) -> Result<Vec<StoredEntry>, JournalError> {
        let mut found = Vec::new();
        let mut after = 0;
        loop {
            let page = self.read(after, PAGE)?;
            let Some(last) = page.last() else { return Ok(found) };
            after = last.seq;
            found.extend(page.into_iter().filter(|e| {
                e.subject == subject
                    || e.subject.strip_prefix(subject).is_some_and(|rest| rest.starts_with('.'))
            }));
        }
    }

    /// A document by its hash, which it fits.
    pub fn document(&self, hash: &str) -> Result<Option<String>, JournalError> {
        let text: Option<String> = self
            .connection
            .prepare_cached("SELECT text FROM document WHERE hash = ?1")
            .and_then(|mut found| found.query_row([hash], |row| row.get(0)).optional())
            .map_err(|source| self.fail(source))?;
        let Some(text) = text else { return Ok(None) };
        let document = Document::new("", text);
        if document.hash == hash {
            return Ok(Some(document.text));
        }
        let what = format!("document {hash} was changed");
        Err(JournalError::Damaged { path: self.path.clone(), what })
    }

    /// The hash of an entry, hexadecimal.
    pub fn hash_of(&self, seq: u64) -> Result<Option<String>, JournalError> {
        let hash = hash_at(&self.connection, seq).map_err(|source| self.fail(source))?;
        Ok(hash.map(|hash| hex(&hash)))
    }

    /// The last entry.
    pub fn last(&self) -> Result<Option<StoredEntry>, JournalError> {
        Ok(self.read(self.seq.saturating_sub(1), 1)?.pop())
    }

    /// Which subjects are not over, and what else can be said of all of them in one pass.
    pub fn standing(&self) -> Result<Standing, JournalError> {
        let mut standing = Standing::default();
        let whole = self
            .subjects()?
            .each(&self.connection, |subject| standing.take(subject))
            .map_err(|source| self.fail(source))?;
        if !whole {
            let what = "its table of subjects was changed".to_owned();
            return Err(JournalError::Damaged { path: self.path.clone(), what });
        }
        Ok(standing)
    }

    /// Where one subject stands.
    pub fn subject(&self, name: &str) -> Result<Option<Subject>, JournalError> {
        self.subjects()?.get(&self.connection, name).map_err(|source| self.fail(source))
    }

    /// The entries of one subject in order, without reading any others. That none is missing and
    /// none was changed is checked.
    pub fn entries_of(&self, subject: &Subject) -> Result<Vec<StoredEntry>, JournalError> {
        let mut found = Vec::new();
        self.each_of(std::slice::from_ref(subject), |entry| {
            found.push(entry);
            Ok(())
        })?;
        Ok(found)
    }

    /// Goes through the entries of some subjects in the order of the journal, without reading any
    /// others, and without keeping them: a run may be a million entries long. That none was changed
    /// is checked before `each` gets it, that none is missing when it is through.
    pub fn each_of(
        &self,
        subjects: &[Subject],
        mut each: impl FnMut(StoredEntry) -> Result<(), JournalError>,
    ) -> Result<(), JournalError> {
        let mut cursors: Vec<Cursor<'_>> = subjects.iter().map(Cursor::new).collect();
        let mut next = BinaryHeap::new();
        for (number, cursor) in cursors.iter_mut().enumerate() {
            cursor.fill(self)?;
            next.extend(cursor.page.front().map(|entry| Reverse((entry.seq, number))));
        }
        while let Some(Reverse((_, number))) = next.pop() {
            let Some(cursor) = cursors.get_mut(number) else { continue };
            if let Some(entry) = cursor.page.pop_front() {
                each(entry)?;
            }
            if cursor.page.is_empty() {
                cursor.fill(self)?;
            }
            next.extend(cursor.page.front().map(|entry| Reverse((entry.seq, number))));
        }
        Ok(())
    }
}

/// How far the entries of a subject were read.
struct Cursor<'a> {
    subject: &'a Subject,
    /// Read and not yet given out.
    page: VecDeque<StoredEntry>,
    /// The last that was read, and its hash.
    after: u64,
    head: [u8; 32],
    /// How many were read, and the digest over them.
    found: u64,
    digest: [u8; 32],
    through: bool,
}

impl<'a> Cursor<'a> {
    fn new(subject: &'a Subject) -> Cursor<'a> {
        let (page, digest) = (VecDeque::new(), GENESIS);
        Cursor { subject, page, after: 0, head: GENESIS, found: 0, digest, through: false }
    }

    /// Reads the next page; behind the last one it compares what was found with what there should
    /// be.
    fn fill(&mut self, journal: &Journal) -> Result<(), JournalError> {
        let fail = |source| journal.fail(source);
        let broken = |seq, what: &str| JournalError::Broken {
            path: journal.path.clone(),
            seq,
            what: what.to_owned(),
        };
        if self.through {
            return Ok(());
        }
        let mut statement = journal
            .connection
            .prepare_cached(&format!(
                "SELECT {COLUMNS} WHERE subject = ?1 AND seq > ?2 AND seq <= ?3 ORDER BY seq \
                 LIMIT {PAGE_OF_SUBJECT}"
            ))
            .map_err(fail)?;
        let subject = self.subject;
        let from_to = params![subject.name, as_i64(self.after), as_i64(subject.last)];
        let mut rows = statement.query(from_to).map_err(fail)?;
        while let Some(row) = rows.next().map_err(fail)? {
            let view = View::of(row).map_err(fail)?;
            let last = view.seq.saturating_sub(1);
            let before = match last == self.after && self.found > 0 {
                true => Some(self.head),
                false => hash_at(&journal.connection, last).map_err(fail)?,
            };
            let Some(before) = before else { return Err(broken(last, "it is missing")) };
            let hash = view.behind(&before, view.seq);
            if view.hash != hash {
                return Err(broken(view.seq, "its content does not fit its hash"));
            }
            self.digest = joined(&self.digest, &hash);
            (self.after, self.head, self.found) = (view.seq, hash, self.found + 1);
            self.page.push_back(view.kept());
        }
        self.through = self.page.len() < PAGE_OF_SUBJECT;
        if self.through && (self.found != subject.entries || self.digest != subject.digest) {
            let seq = if self.found == 0 { subject.first } else { self.after };
            let what = format!("entries of `{}` are missing around it", subject.name);
            return Err(broken(seq, &what));
        }
        Ok(())
    }
}

pub(super) fn missing(from: u64, to: u64) -> String {
    if from == to {
        format!("entry {from} is missing")
    } else {
        format!("entries {from} to {to} are missing")
    }
}
