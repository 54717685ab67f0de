//! What a power loss can do to the files of a journal: cut them at any byte. Whatever is cut, the
//! journal opens with the whole records before the cut, verifies, and goes on; and what was durable
//! and is gone is said.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::path::{Path, PathBuf};

use labloop::store::{
    Document, Durability, Entry, Holder, Journal, JournalError, StoredEntry, Upkeep,
};

/// So many bytes at the end of each file are cut off one by one.
const CUTS: usize = 64 << 10;
/// Every cut of the log is opened by SQLite; every so many of them, and those where it makes a
/// difference, as a journal, which holds all of these entries against the chain and goes on.
const FULL_EVERY: usize = 127;
/// The file is cut at every byte where its pages are read (a test beside `store/salvage.rs`); here
/// it is cut around each of its pages and at every so many bytes between, and mended as a whole.
const FILE_EVERY: usize = 211;
const PAGE: usize = 4_096;

/// A folder that goes when the test ends well; in memory where that can be had.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let memory = Path::new("/dev/shm");
        let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let folder = base.join(format!("labloop-power-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        Folder(folder)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Empties it and puts these files there; an empty one is none.
    fn put(&self, files: &[(&str, &[u8])]) {
        for found in std::fs::read_dir(&self.0).unwrap() {
            std::fs::remove_file(found.unwrap().path()).unwrap();
        }
        for (name, bytes) in files {
            if !bytes.is_empty() {
                std::fs::write(self.file(name), bytes).unwrap();
            }
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }
}

fn entry(number: u64) -> Entry {
    // Some bodies run over several pages.
    let length = if number.is_multiple_of(17) { 9_000 } else { 120 + (number * 37 % 300) as usize };
    Entry {
        tick: number * 1_000,
        wall_ms: 1_700_000_000_000 + number as i64,
        subject: format!("mix-1.{}", number / 20),
        kind: if number.is_multiple_of(2) { "intent" } else { "outcome" },
        body: format!("{{\"n\":{number},\"x\":\"{}\"}}", "z".repeat(length)),
    }
}

fn take(journal: &mut Journal) {
    let nothing = |_| Ok::<_, JournalError>((Vec::new(), Vec::new()));
    journal.take_lease(&Holder::this_process(1), 0, nothing).unwrap();
}

/// A state folder as it stands when the power fails, and the entries in it.
struct Failed {
    main: Vec<u8>,
    log: Vec<u8>,
    anchor: Vec<u8>,
    entries: Vec<StoredEntry>,
}

/// A journal with so many entries in its main file and so many more in its log.
fn failed(name: &str, main: u64, log: u64) -> Failed {
    let folder = Folder::new(name);
    let mut journal = Journal::open(&folder.0, Durability::Process).unwrap();
    take(&mut journal);
    let document = |n: u64| Document::new("graph", format!("{n} ").repeat(900));
    for n in 1..=main {
        let documents = if n.is_multiple_of(10) { vec![document(n)] } else { Vec::new() };
        journal.append(&[entry(n)], &documents).unwrap();
    }
    // The last connection takes the log over when it goes.
    drop(journal);
    let mut journal = Journal::open(&folder.0, Durability::Process).unwrap();
    take(&mut journal);
    for n in main + 1..=main + log {
        journal.append(&[entry(n)], &[]).unwrap();
    }
    let read = |name: &str| std::fs::read(folder.file(name)).unwrap_or_default();
    Failed {
        main: read("journal.db"),
        log: read("journal.db-wal"),
        anchor: read("journal.head"),
        entries: journal.read(0, usize::MAX).unwrap(),
    }
}

/// Opens what is left; gives the number of old entries that are there, which must be the first
/// ones, and the notes behind them.
fn left(folder: &Folder, before: &Failed, full: bool, cut: usize) -> (usize, Vec<Upkeep>) {
    let mut journal = Journal::open(&folder.0, Durability::Process)
        .unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
    let lost = journal.lost();
    if full {
        take(&mut journal);
        journal.append(&[entry(9_999)], &[]).unwrap();
        journal.verify().unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
    }
    let found = journal.read(0, usize::MAX).unwrap();
    let old = found.iter().zip(&before.entries).take_while(|(a, b)| a == b).count();
    let notes: Vec<Upkeep> = found[old..]
        .iter()
        .filter(|entry| entry.subject == "journal")
        .map(|entry| serde_json::from_str(&entry.body).unwrap())
        .collect();
    let others = found.len() - old - notes.len();
    assert_eq!(others, usize::from(full), "cut at {cut}: entries nobody wrote");
    // Durable entries that are gone are never passed over.
    let said = lost.is_some() || notes.iter().any(|n| matches!(n, Upkeep::TailLost { .. }));
    assert_eq!(said, old < before.entries.len(), "cut at {cut}: {lost:?} {notes:?}");
    if let Some(lost) = lost {
        assert_eq!(lost.from as usize, found.len() - usize::from(full) * (1 + notes.len()) + 1);
        assert_eq!(lost.to as usize, before.entries.len());
    }
    (old, notes)
}

/// What SQLite makes of a log that is cut shorter and shorter in place, and is not taken over.
fn entries_in(folder: &Folder) -> usize {
    use rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
    let connection = rusqlite::Connection::open(folder.file("journal.db")).unwrap();
    connection.set_db_config(SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
    let ask = "SELECT count(*), max(seq) FROM journal";
    let (count, last): (i64, i64) =
        connection.query_row(ask, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert_eq!(count, last);
    usize::try_from(count).unwrap()
}

#[test]
fn the_log_cut_at_every_byte_opens_with_the_whole_commits_before_the_cut() {
    let before = failed("log", 12, 16);
    assert!(before.log.len() > CUTS, "{}", before.log.len());
    let (bytes, whole) = (Folder::new("log-bytes"), Folder::new("log-cut"));
    bytes.put(&[("journal.db", &before.main), ("journal.db-wal", &before.log)]);
    let log = std::fs::OpenOptions::new().write(true).open(bytes.file("journal.db-wal")).unwrap();
    let mut last = before.entries.len();
    let mut changed = true;
    for cut in (before.log.len() - CUTS..=before.log.len()).rev() {
        log.set_len(cut as u64).unwrap();
        let found = entries_in(&bytes);
        assert!(found <= last && found >= 12, "cut at {cut}: {found} entries before {last}");
        // Where it makes a difference, and at many cuts between, the journal as a whole.
        if changed || found != last || cut % FULL_EVERY == 0 {
            whole.put(&[
                ("journal.db", &before.main),
                ("journal.db-wal", &before.log[..cut]),
                ("journal.head", &before.anchor),
            ]);
            let (old, notes) = left(&whole, &before, cut % 3 == 0, cut);
            assert_eq!(old, found, "cut at {cut}");
            let mended = notes.iter().any(|note| matches!(note, Upkeep::Salvaged { .. }));
            assert!(!mended, "cut at {cut}");
        }
        changed = found != last;
        last = found;
    }
    assert!(last < before.entries.len());
}

#[test]
fn the_file_cut_anywhere_is_salvaged_up_to_its_last_whole_record() {
    let before = failed("main", 150, 0);
    assert!(before.main.len() > CUTS, "{}", before.main.len());
    let folder = Folder::new("main-cut");
    let (mut last, mut salvaged) = (0, 0);
    let chosen =
        |cut: &usize| cut.is_multiple_of(FILE_EVERY) || *cut % PAGE <= 1 || *cut % PAGE == PAGE - 1;
    for cut in (before.main.len() - CUTS..=before.main.len()).filter(chosen) {
        let full = cut % 3 == 0;
        folder.put(&[("journal.db", &before.main[..cut]), ("journal.head", &before.anchor)]);
        let (old, notes) = left(&folder, &before, full, cut);
        assert!(old >= last, "cut at {cut}: {old} entries after {last}");
        last = old;
        let mended = notes.iter().find_map(|note| match note {
            Upkeep::Salvaged { damaged, .. } => Some(damaged.clone()),
            _ => None,
        });
        if let Some(damaged) = mended {
            salvaged += 1;
            assert_eq!(std::fs::metadata(folder.file(&damaged)).unwrap().len(), cut as u64);
            // Mended once, it is whole.
            let again = Journal::open(&folder.0, Durability::Process).unwrap();
            assert_eq!(again.lost(), None, "cut at {cut}");
        }
    }
    assert_eq!(last, before.entries.len());
    assert!(salvaged > CUTS / FILE_EVERY * 9 / 10, "{salvaged}");
}

#[test]
fn a_log_cut_after_its_pages_were_taken_over_loses_nothing() {
    // The file has everything, and a log of older pages lies over it.
    let before = failed("stale", 12, 16);
    let whole = {
        let folder = Folder::new("stale-whole");
        folder.put(&[("journal.db", &before.main), ("journal.db-wal", &before.log)]);
        drop(Journal::open(&folder.0, Durability::Process).unwrap());
        std::fs::read(folder.file("journal.db")).unwrap()
    };
    let folder = Folder::new("stale-cut");
    for cut in (before.log.len() - CUTS..before.log.len()).step_by(509) {
        folder.put(&[
            ("journal.db", &whole),
            ("journal.db-wal", &before.log[..cut]),
            ("journal.head", &before.anchor),
        ]);
        // Older pages may hide entries, and then they are missed; none is ever read wrongly.
        left(&folder, &before, true, cut);
    }
}

#[test]
fn a_journal_that_is_gone_is_missed() {
    let before = failed("gone", 20, 0);
    let folder = Folder::new("gone-cut");
    for length in [0, 1, 100, 511] {
        folder.put(&[("journal.db", &before.main[..length]), ("journal.head", &before.anchor)]);
        let (old, notes) = left(&folder, &before, true, length);
        assert_eq!(old, 0);
        assert!(
            notes.contains(&Upkeep::TailLost { from: 1, to: Some(before.entries.len() as u64) })
        );
    }
}

#[test]
fn a_salvage_that_was_interrupted_is_ended_by_the_next_start() {
    let before = failed("interrupted", 150, 0);
    let folder = Folder::new("interrupted-cut");
    folder.put(&[
        ("journal.db", &before.main[..before.main.len() - 20_000]),
        ("journal.head", &before.anchor),
    ]);
    let (old, _) = left(&folder, &before, false, 0);
    let fresh = std::fs::read(folder.file("journal.db")).unwrap();
    // Decided, but neither the old log is gone nor the new file in its place.
    folder.put(&[
        ("journal.db", &before.main[..before.main.len() - 20_000]),
        ("journal.db-wal", &before.log),
        ("journal.db.salvaged", &fresh),
        ("journal.head", &before.anchor),
    ]);
    let (again, notes) = left(&folder, &before, true, 0);
    assert_eq!(again, old);
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(!folder.file("journal.db.salvaged").exists());
}
