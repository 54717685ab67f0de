//! Where each subject stands, so that a long journal opens without being read.
//!
//! A derived table: first and last entry of each campaign, run and command, how many entries it
//! has, whether it is over, and a digest over the hashes of its entries. It is written with every
//! [`EVERY`] entries, in the transaction of those, with a mark that says up to which entry it
//! speaks; the entries behind the mark are gone through when the journal is opened.
//!
//! Architecture invariant: the table is never trusted over the chain. Its rows and its mark carry
//! digests, the mark names an entry of the chain by number and hash, and whoever reads the entries
//! of a subject counts them and compares their digest. What does not agree is rebuilt from the
//! chain, or refused.

use std::collections::{BTreeMap, HashMap};
use std::sync::OnceLock;

use rusqlite::{Connection, OptionalExtension, Row, params};
use sha2::{Digest, Sha256};

use super::chain::{GENESIS, as_i64};
use super::schema::{self, Made};

/// Entries between two marks: at most so many are gone through again at the next start (about
/// 20 ms), and so seldom is the table written.
pub(super) const EVERY: u64 = 4_096;

/// Kinds of entries after which a subject is over. (Commands by hand are few, and what was done to
/// an instrument that is in somebody's hands is asked for later.)
const CLOSING: &[&str] = &["run_ended", "campaign_ended"];

pub(super) const TABLES: &str = "
CREATE TABLE subject (
    name TEXT PRIMARY KEY,
    opened TEXT NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    entries INTEGER NOT NULL,
    over INTEGER NOT NULL,
    digest BLOB NOT NULL,
    own BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE mark (
    one INTEGER PRIMARY KEY,
    seq INTEGER NOT NULL,
    head BLOB NOT NULL,
    subjects INTEGER NOT NULL,
    total BLOB NOT NULL,
    own BLOB NOT NULL
) STRICT;
";

/// Where one subject stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Its name.
    pub name: String,
    /// Kind of its first entry.
    pub opened: String,
    /// Its first entry.
    pub first: u64,
    /// Its last entry.
    pub last: u64,
    /// How many there are.
    pub entries: u64,
    /// Whether an entry that ends it was among them.
    pub over: bool,
    /// Over the hashes of its entries, in order.
    pub(super) digest: [u8; 32],
}

impl Subject {
    fn new(name: &str, kind: &str, seq: u64) -> Subject {
        Subject {
            name: name.to_owned(),
            opened: kind.to_owned(),
            first: seq,
            last: seq,
            entries: 0,
            over: false,
            digest: GENESIS,
        }
    }

    fn take(&mut self, seq: u64, kind: &str, hash: &[u8; 32]) {
        self.last = seq;
        self.entries += 1;
        self.over |= CLOSING.contains(&kind);
        self.digest = joined(&self.digest, hash);
    }

    fn own(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for text in [&self.name, &self.opened] {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        }
        for number in [self.first, self.last, self.entries, u64::from(self.over)] {
            hash.update(number.to_le_bytes());
        }
        hash.update(self.digest);
        hash.finalize().into()
    }

    fn from_row(row: &Row<'_>) -> Result<Option<Subject>, rusqlite::Error> {
        let number = |at: usize| row.get::<_, i64>(at).map(|n| u64::try_from(n).unwrap_or(0));
        let digest: Vec<u8> = row.get(6)?;
        let own: Vec<u8> = row.get(7)?;
        let Ok(digest) = <[u8; 32]>::try_from(digest.as_slice()) else { return Ok(None) };
        let subject = Subject {
            name: row.get(0)?,
            opened: row.get(1)?,
            first: number(2)?,
            last: number(3)?,
            entries: number(4)?,
            over: number(5)? != 0,
            digest,
        };
        Ok((own == subject.own()).then_some(subject))
    }
}

/// The digest of a subject with one more entry.
pub(super) fn joined(digest: &[u8; 32], hash: &[u8; 32]) -> [u8; 32] {
    let mut next = Sha256::new();
    next.update(digest);
    next.update(hash);
    next.finalize().into()
}

/// A sum of digests that does not depend on their order: wrapping, number by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Total([u64; 4]);

impl Total {
    fn change(&mut self, digest: &[u8; 32], change: impl Fn(u64, u64) -> u64) {
        let (numbers, _) = digest.as_chunks::<8>();
        for (sum, number) in self.0.iter_mut().zip(numbers) {
            *sum = change(*sum, u64::from_le_bytes(*number));
        }
    }

    fn add(&mut self, digest: &[u8; 32]) {
        self.change(digest, u64::wrapping_add);
    }

    fn remove(&mut self, digest: &[u8; 32]) {
        self.change(digest, u64::wrapping_sub);
    }

    fn bytes(self) -> Vec<u8> {
        self.0.iter().flat_map(|n| n.to_le_bytes()).collect()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Total> {
        let (numbers, rest) = bytes.as_chunks::<8>();
        let mut total = Total::default();
        if numbers.len() != total.0.len() || !rest.is_empty() {
            return None;
        }
        for (sum, number) in total.0.iter_mut().zip(numbers) {
            *sum = u64::from_le_bytes(*number);
        }
        Some(total)
    }
}

/// The subjects of a journal as its writer keeps them: those that changed since the mark in memory,
/// the others in the table.
#[derive(Debug, Clone)]
pub(super) struct Subjects {
    /// Entry of the last mark.
    marked: u64,
    /// Rows in the table.
    count: u64,
    /// Over the rows in the table.
    total: Total,
    /// Changed since, and what the table's row adds to the total, if it has one.
    changed: HashMap<String, (Subject, Option<[u8; 32]>)>,
}

impl Subjects {
    /// Those of an empty journal.
    pub(super) fn none() -> Subjects {
        Subjects { marked: 0, count: 0, total: Total::default(), changed: HashMap::new() }
    }

    /// Those in the table, if it is whole and speaks about this chain; `known` gives the hash of an
    /// entry.
    pub(super) fn load(
        connection: &Connection,
        known: impl FnOnce(u64) -> Result<Option<[u8; 32]>, rusqlite::Error>,
    ) -> Result<Option<Subjects>, rusqlite::Error> {
        if !tables_fit(connection)? {
            return Ok(None);
        }
        let mark = connection
            .query_row(
                "SELECT seq, head, subjects, total, own FROM mark WHERE one = 1",
                [],
                |row| {
                    Ok((
                        row.get::<_, i64>(0)?,
                        row.get::<_, Vec<u8>>(1)?,
                        row.get::<_, i64>(2)?,
                        row.get::<_, Vec<u8>>(3)?,
                        row.get::<_, Vec<u8>>(4)?,
                    ))
                },
            )
            .optional()?;
        let Some((seq, head, count, total, own)) = mark else { return Ok(None) };
        let (Ok(marked), Ok(count), Ok(head), Some(total)) = (
            u64::try_from(seq),
            u64::try_from(count),
            <[u8; 32]>::try_from(head.as_slice()),
            Total::from_bytes(&total),
        ) else {
            return Ok(None);
        };
        let before = if marked == 0 { Some(GENESIS) } else { known(marked)? };
        if own != mark_own(marked, &head, count, total) || before != Some(head) {
            return Ok(None);
        }
        Ok(Some(Subjects { marked, count, total, changed: HashMap::new() }))
    }

    /// Up to which entry the table speaks.
    pub(super) fn marked(&self) -> u64 {
        self.marked
    }

    /// Takes one more entry in.
    pub(super) fn take(
        &mut self,
        connection: &Connection,
        seq: u64,
        (name, kind): (&str, &str),
        hash: &[u8; 32],
    ) -> Result<(), rusqlite::Error> {
        if !self.changed.contains_key(name) {
            // Made from all entries, it owes nothing to whatever stands in the table.
            let row = if self.marked == 0 { None } else { row_of(connection, name)? };
            let (subject, own) = match row {
                Some(Some(found)) => {
                    let own = found.own();
                    (found, Some(own))
                }
                // A row that does not fit its digest is found when the table is gone through.
                Some(None) | None => (Subject::new(name, kind, seq), None),
            };
            self.changed.insert(name.to_owned(), (subject, own));
        }
        if let Some((subject, _)) = self.changed.get_mut(name) {
            subject.take(seq, kind, hash);
        }
        Ok(())
    }

    /// Writes the table and its mark if that is due; inside the transaction of the entries.
    pub(super) fn mark_if_due(
        &mut self,
        connection: &Connection,
        seq: u64,
        head: &[u8; 32],
    ) -> Result<(), rusqlite::Error> {
        if seq.saturating_sub(self.marked) < EVERY {
            Ok(())
        } else {
            self.mark(connection, seq, head)
        }
    }

    /// Writes the table and its mark.
    pub(super) fn mark(
        &mut self,
        connection: &Connection,
        seq: u64,
        head: &[u8; 32],
    ) -> Result<(), rusqlite::Error> {
        if self.marked == 0 {
            // Made from all entries: what stands there speaks of something else.
            connection.execute_batch("DROP TABLE IF EXISTS subject; DROP TABLE IF EXISTS mark;")?;
            connection.execute_batch(TABLES)?;
        }
        let mut insert = connection.prepare_cached(
            "INSERT OR REPLACE INTO subject VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?;
        for (subject, before) in self.changed.values() {
            let own = subject.own();
            insert.execute(params![
                subject.name,
                subject.opened,
                as_i64(subject.first),
                as_i64(subject.last),
                as_i64(subject.entries),
                subject.over,
                subject.digest.as_slice(),
                own.as_slice()
            ])?;
            match before {
                Some(before) => self.total.remove(before),
                None => self.count += 1,
            }
            self.total.add(&own);
        }
        self.changed.clear();
        self.marked = seq;
        connection
            .prepare_cached("INSERT OR REPLACE INTO mark VALUES (1, ?1, ?2, ?3, ?4, ?5)")?
            .execute(params![
                as_i64(seq),
                head.as_slice(),
                as_i64(self.count),
                self.total.bytes(),
                mark_own(seq, head, self.count, self.total).as_slice()
            ])?;
        Ok(())
    }

    /// Goes through all subjects, those of the table first. `false`: the table does not fit its
    /// mark and must be rebuilt.
    pub(super) fn each(
        &self,
        connection: &Connection,
        mut each: impl FnMut(&Subject),
    ) -> Result<bool, rusqlite::Error> {
        let (mut count, mut total) = (0u64, Total::default());
        if self.count > 0 {
            let mut statement = connection.prepare_cached(
                "SELECT name, opened, first, last, entries, over, digest, own FROM subject",
            )?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let Some(subject) = Subject::from_row(row)? else { return Ok(false) };
                count += 1;
                total.add(&subject.own());
                if !self.changed.contains_key(&subject.name) {
                    each(&subject);
                }
            }
        }
        for (subject, _) in self.changed.values() {
            each(subject);
        }
        Ok(count == self.count && total == self.total)
    }

    /// Where one subject stands.
    pub(super) fn get(
        &self,
        connection: &Connection,
        name: &str,
    ) -> Result<Option<Subject>, rusqlite::Error> {
        if let Some((subject, _)) = self.changed.get(name) {
            return Ok(Some(subject.clone()));
        }
        if self.count == 0 {
            return Ok(None);
        }
        Ok(row_of(connection, name)?.flatten())
    }
}

/// Whether the tables are as [`TABLES`] makes them.
pub(super) fn tables_fit(connection: &Connection) -> Result<bool, rusqlite::Error> {
    static MODEL: OnceLock<Made> = OnceLock::new();
    let (model, found) = (schema::model(&MODEL, &[TABLES])?, schema::made(connection)?);
    Ok(model.iter().all(|(name, statement)| found.get(name) == Some(statement)))
}

/// The table's row of a subject: `None` if there is none, `Some(None)` if it is damaged.
fn row_of(connection: &Connection, name: &str) -> Result<Option<Option<Subject>>, rusqlite::Error> {
    connection
        .prepare_cached(
            "SELECT name, opened, first, last, entries, over, digest, own FROM subject \
             WHERE name = ?1",
        )?
        .query_row([name], Subject::from_row)
        .optional()
}

fn mark_own(seq: u64, head: &[u8; 32], count: u64, total: Total) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(seq.to_le_bytes());
    hash.update(head);
    hash.update(count.to_le_bytes());
    hash.update(total.bytes());
    hash.finalize().into()
}

/// What is asked of the subjects most often, found in one pass over them.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    /// Those that are not over, by name.
    pub open: BTreeMap<String, Subject>,
    /// The newest that began with an entry of each kind.
    pub newest: BTreeMap<String, Subject>,
    /// Highest number behind each name: 3 for `mix` if there are `mix-1` to `mix-3`.
    pub numbers: BTreeMap<String, u32>,
}

impl Standing {
    pub(super) fn take(&mut self, subject: &Subject) {
        if !subject.over {
            self.open.insert(subject.name.clone(), subject.clone());
        }
        let numbered = subject.name.rsplit_once('-');
        if let Some((name, Ok(number))) = numbered.map(|(name, n)| (name, n.parse::<u32>())) {
            match self.numbers.get_mut(name) {
                Some(highest) => *highest = number.max(*highest),
                None => {
                    self.numbers.insert(name.to_owned(), number);
                }
            }
        }
        match self.newest.get_mut(&subject.opened) {
            Some(newest) if newest.first > subject.first => {}
            Some(newest) => newest.clone_from(subject),
            None => {
                self.newest.insert(subject.opened.clone(), subject.clone());
            }
        }
    }
}
