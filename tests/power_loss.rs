//! What a power loss can do to the files of a journal: cut them at any byte. Whatever is cut, the
//! journal opens with the whole records before the cut, verifies, and goes on; and what was durable
//! and is gone is said.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use labloop::store::{
    Document, Durability, Entry, Holder, Journal, JournalError, StoredEntry, Upkeep,
};

/// So many bytes at the end of each file are cut off, one by one.
const CUTS: usize = 64 << 10;
/// After every cut the journal is opened, appended to and verified; after every so many, and around
/// the ends of pages, it is opened once more. `ALL_BYTES=1`: after every cut.
const AGAIN_EVERY: usize = 8;
const PAGE: usize = 4_096;
/// They are shared among so many processes.
const PARTS: usize = 2;
/// Bytes of the head of a write-ahead log, and of a frame: a page and its head.
const LOG_HEAD: usize = 32;
const FRAME: usize = 24 + PAGE;

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
    static HOLDER: LazyLock<Holder> = LazyLock::new(|| Holder::this_process(1));
    let nothing = |_| Ok::<_, JournalError>((Vec::new(), Vec::new()));
    journal.take_lease(&HOLDER, 0, nothing).unwrap();
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

/// What was left after a cut.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Left {
    /// Old entries that are there, the first ones.
    old: usize,
    /// What the store noted behind them.
    notes: Vec<Upkeep>,
}

/// Opens what is left, appends to it and checks all of it; and opens it again if `again`.
fn left(folder: &Folder, before: &Failed, cut: usize, again: bool) -> Left {
    let open = || {
        Journal::open(&folder.0, Durability::Process)
            .unwrap_or_else(|error| panic!("cut at {cut}: {error}"))
    };
    let mut journal = open();
    let lost = journal.lost();
    take(&mut journal);
    journal.append(&[entry(9_999)], &[]).unwrap();
    let verified = journal.verify().unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
    let (found, head) = (journal.read(0, usize::MAX).unwrap(), journal.head());
    assert_eq!((verified.entries, &verified.head), (found.len() as u64, &head), "cut at {cut}");
    drop(journal);
    if again {
        // So short a journal is held against its chain as a whole when it is opened.
        let journal = open();
        assert_eq!((journal.lost(), journal.head()), (None, head), "cut at {cut}");
        assert_eq!(journal.len(), verified.entries, "cut at {cut}");
    }
    let old = found.iter().zip(&before.entries).take_while(|(a, b)| a == b).count();
    let (last, notes) = found[old..].split_last().unwrap();
    assert_eq!(last.body, entry(9_999).body, "cut at {cut}");
    assert!(notes.iter().all(|n| n.subject == "journal"), "cut at {cut}: nobody wrote {notes:?}");
    let notes: Vec<Upkeep> = notes.iter().map(|n| serde_json::from_str(&n.body).unwrap()).collect();
    // Durable entries that are gone are never passed over.
    let said = notes.iter().find_map(|note| match note {
        Upkeep::TailLost { from, to } => Some((*from, *to)),
        _ => None,
    });
    let gone =
        (old < before.entries.len()).then(|| (old as u64 + 1, Some(before.entries.len() as u64)));
    assert_eq!(said, gone, "cut at {cut}: {lost:?} {notes:?}");
    Left { old, notes }
}

/// Whether a journal cut here is opened once more; `unit`: bytes of what is whole or not there, that
/// began at `head`.
fn again(cut: usize, head: usize, unit: usize) -> bool {
    static ALL: LazyLock<bool> = LazyLock::new(|| std::env::var_os("ALL_BYTES").is_some());
    let within = (cut + 1 - head) % unit;
    *ALL || cut.is_multiple_of(AGAIN_EVERY) || within <= 2
}

/// Tries every cut of the last bytes of a file of this length, from the shortest to the whole file,
/// in the part of it that falls to this process; the outcomes by their cuts.
fn every_cut(length: usize, part: usize, each: impl Fn(usize) -> Left) -> Vec<(usize, Left)> {
    assert!(length > CUTS, "{length}");
    let share = CUTS / PARTS;
    let first = length - CUTS + part * share;
    // The first cut of the next part belongs to both, so that what holds between neighbours is
    // seen everywhere.
    let cuts = first..=first + share;
    let outcomes: Vec<_> = cuts.map(|cut| (cut, each(cut))).collect();
    // A longer file never holds less.
    assert!(outcomes.is_sorted_by_key(|(_, left)| left.old));
    outcomes
}

/// Runs the test of this name in processes of its own, one for each part: SQLite counts its memory
/// under one lock, for which threads would wait most of the time. `None`, once they have passed;
/// in such a process its part.
fn part_of(test: &str) -> Option<usize> {
    const PART: &str = "LABLOOP_TEST_PART";
    if let Ok(part) = std::env::var(PART) {
        return Some(part.parse().unwrap());
    }
    let begun = std::time::Instant::now();
    let part = |part: usize| {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", test, "--nocapture"]).env(PART, part.to_string());
        command.spawn().unwrap()
    };
    let parts: Vec<_> = (0..PARTS).map(part).collect();
    let passed: Vec<bool> =
        parts.into_iter().map(|mut part| part.wait().unwrap().success()).collect();
    assert!(passed.iter().all(|passed| *passed), "{passed:?}");
    println!("{test}: {CUTS} cuts, {:.0} s", begun.elapsed().as_secs_f64());
    None
}

#[test]
fn the_log_cut_at_every_byte_opens_with_the_whole_commits_before_the_cut() {
    let test = "the_log_cut_at_every_byte_opens_with_the_whole_commits_before_the_cut";
    let Some(part) = part_of(test) else { return };
    let before = failed("log", 12, 7);
    let folder = Folder::new("log-cut");
    let outcomes = every_cut(before.log.len(), part, |cut| {
        folder.put(&[
            ("journal.db", &before.main),
            ("journal.db-wal", &before.log[..cut]),
            ("journal.head", &before.anchor),
        ]);
        left(&folder, &before, cut, again(cut, LOG_HEAD, FRAME))
    });
    let mended = |left: &Left| left.notes.iter().any(|n| matches!(n, Upkeep::Salvaged { .. }));
    assert!(outcomes.iter().all(|(_, left)| left.old >= 12 && !mended(left)));
    // Only the last byte of a commit makes a difference.
    let commits: Vec<_> =
        outcomes.windows(2).filter(|pair| pair[0].1.old < pair[1].1.old).collect();
    assert!(commits.len() >= 3, "{}", commits.len());
    for pair in commits {
        assert_eq!(pair[0].1.old + 1, pair[1].1.old);
        assert_eq!((pair[1].0 - LOG_HEAD) % FRAME, 0, "cut at {}", pair[1].0);
    }
    let last = outcomes.last().unwrap();
    assert_eq!(last.1.old == before.entries.len(), last.0 == before.log.len());
}

#[test]
fn the_file_cut_at_every_byte_is_salvaged_up_to_its_last_whole_record() {
    let test = "the_file_cut_at_every_byte_is_salvaged_up_to_its_last_whole_record";
    let Some(part) = part_of(test) else { return };
    let before = failed("main", 40, 0);
    let folder = Folder::new("main-cut");
    let outcomes = every_cut(before.main.len(), part, |cut| {
        folder.put(&[("journal.db", &before.main[..cut]), ("journal.head", &before.anchor)]);
        let left = left(&folder, &before, cut, again(cut, 0, PAGE));
        // The damaged file is kept as it was found.
        let mended = left.notes.iter().find_map(|note| match note {
            Upkeep::Salvaged { damaged, .. } => Some(damaged),
            _ => None,
        });
        assert_eq!(mended.is_some(), cut < before.main.len(), "cut at {cut}");
        if let Some(damaged) = mended {
            let kept = std::fs::read(folder.file(damaged)).unwrap();
            assert!(kept == before.main[..cut], "cut at {cut}");
        }
        left
    });
    let kept: BTreeSet<usize> = outcomes.iter().map(|(_, left)| left.old).collect();
    assert!(kept.len() >= 3, "{kept:?}");
    let last = outcomes.last().unwrap();
    assert_eq!(last.1.old == before.entries.len(), last.0 == before.main.len());
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
        left(&folder, &before, cut, true);
    }
}

#[test]
fn a_journal_that_is_gone_is_missed() {
    let before = failed("gone", 20, 0);
    let folder = Folder::new("gone-cut");
    for length in [0, 1, 100, 511] {
        folder.put(&[("journal.db", &before.main[..length]), ("journal.head", &before.anchor)]);
        let Left { old, notes } = left(&folder, &before, length, true);
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
    // What the store puts there once it has decided: the whole entries and two notes behind them.
    let mended = Journal::open(&folder.0, Durability::Process).unwrap();
    let old = usize::try_from(mended.len()).unwrap() - 2;
    drop(mended);
    let fresh = std::fs::read(folder.file("journal.db")).unwrap();
    // Decided, but neither the old log is gone nor the new file in its place.
    folder.put(&[
        ("journal.db", &before.main[..before.main.len() - 20_000]),
        ("journal.db-wal", &before.log),
        ("journal.db.salvaged", &fresh),
        ("journal.head", &before.anchor),
    ]);
    let Left { old: again, notes } = left(&folder, &before, 0, true);
    assert_eq!(again, old);
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(!folder.file("journal.db.salvaged").exists());
}
