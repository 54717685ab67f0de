//! The record proves itself: whatever is done to the files of a journal is found and named, and
//! nothing that was not written is ever read.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::path::{Path, PathBuf};

use labloop::store::{
    Document, Durability, Entry, Head, Holder, Journal, JournalError, StoredEntry, Survey,
};

const ENTRIES: u64 = 12;
/// Lab time of an entry that is appended to a damaged journal.
const APPENDED: u64 = 77;
/// Of all bits of the file, every so many is flipped.
const STRIDE: usize = 41;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let memory = Path::new("/dev/shm");
        let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let folder = base.join(format!("labloop-tamper-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        Folder(folder)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn put(&self, files: &[(&str, &[u8])]) {
        for found in std::fs::read_dir(&self.0).unwrap() {
            std::fs::remove_file(found.unwrap().path()).unwrap();
        }
        for (name, bytes) in files {
            std::fs::write(self.file(name), bytes).unwrap();
        }
    }

    /// Does something to the file behind the journal's back.
    fn change(&self, sql: &str) {
        let connection = rusqlite::Connection::open(self.file("journal.db")).unwrap();
        connection.execute_batch(sql).unwrap();
    }

    fn survey(&self, head: Option<&Head>) -> Survey {
        Journal::open_read_only(&self.0).unwrap().survey(head).unwrap()
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
    Entry {
        tick: number,
        wall_ms: 5,
        subject: format!("mix-1.{}", number % 3),
        kind: if number.is_multiple_of(2) { "intent" } else { "outcome" },
        body: format!("{{\"n\":{number}}}"),
    }
}

fn take(journal: &mut Journal) {
    let nothing = |_| Ok::<_, JournalError>((Vec::new(), Vec::new()));
    journal.take_lease(&Holder::this_process(1), 0, nothing).unwrap();
}

/// The files of a small journal, and what is in it.
fn small(folder: &Folder) -> (Vec<u8>, Vec<u8>, Vec<StoredEntry>) {
    let mut journal = Journal::open(&folder.0, Durability::Process).unwrap();
    take(&mut journal);
    for n in 1..=ENTRIES {
        let documents = [Document::new("graph", format!("graph of {}", n / 4))];
        journal.append(&[entry(n)], &documents).unwrap();
    }
    let entries = journal.read(0, usize::MAX).unwrap();
    drop(journal);
    let read = |name: &str| std::fs::read(folder.file(name)).unwrap();
    (read("journal.db"), read("journal.head"), entries)
}

/// What is found first, and where.
fn first(survey: &Survey) -> (&str, Option<u64>) {
    survey.findings.first().map_or(("nothing", None), |found| (found.what, found.seq))
}

#[test]
fn every_record_edited_deleted_swapped_or_cut_off_is_named() {
    let folder = Folder::new("records");
    let (main, head, _) = small(&folder);
    let fresh = || folder.put(&[("journal.db", &main), ("journal.head", &head)]);
    fresh();
    assert_eq!(folder.survey(None).findings, []);
    for seq in 1..=ENTRIES {
        for (column, value) in [
            ("body", "'{\"n\":0}'"),
            ("tick", "tick + 1"),
            ("wall", "wall - 1"),
            ("subject", "'mix-2'"),
            ("kind", "'held'"),
            ("hash", "randomblob(32)"),
        ] {
            fresh();
            folder.change(&format!("UPDATE journal SET {column} = {value} WHERE seq = {seq}"));
            let survey = folder.survey(None);
            assert_eq!(first(&survey), ("changed", Some(seq)), "{column} of {seq}: {survey:?}");
            let named = survey.findings.iter().filter(|f| f.what == "changed").count();
            let ends = usize::from(column == "hash" && seq == ENTRIES);
            assert_eq!(named, 1 + ends, "{column} of {seq}: {survey:?}");
        }
        fresh();
        folder.change(&format!("DELETE FROM journal WHERE seq = {seq}"));
        let survey = folder.survey(None);
        let what = if seq == ENTRIES { "cut off" } else { "missing" };
        assert_eq!(first(&survey), (what, Some(seq)), "{seq}: {survey:?}");

        fresh();
        folder.change(&format!("DELETE FROM journal WHERE seq >= {seq}"));
        let survey = folder.survey(None);
        assert_eq!(first(&survey), ("cut off", Some(seq)), "{seq}: {survey:?}");
        let said = &survey.findings[0].detail;
        assert!(said.contains(&ENTRIES.to_string()), "{said}");

        if seq < ENTRIES {
            fresh();
            folder.change(&format!(
                "UPDATE journal SET seq = 99 WHERE seq = {seq};
                 UPDATE journal SET seq = {seq} WHERE seq = {seq} + 1;
                 UPDATE journal SET seq = {seq} + 1 WHERE seq = 99;"
            ));
            let survey = folder.survey(None);
            assert_eq!(first(&survey), ("moved", Some(seq)), "{seq}: {survey:?}");
        }
        fresh();
        folder.change(&format!(
            "UPDATE journal SET seq = -seq WHERE seq >= {seq};
             UPDATE journal SET seq = 1 - seq WHERE seq < 0;
             INSERT INTO journal VALUES ({seq}, 1, 1, 'mix-1.1', 'intent', '{{}}', randomblob(32));"
        ));
        let survey = folder.survey(None);
        assert_eq!(first(&survey), ("moved", Some(seq)), "{seq}: {survey:?}");
    }
}

#[test]
fn documents_the_lease_and_the_table_of_subjects_are_checked_too() {
    let folder = Folder::new("others");
    let (main, head, _) = small(&folder);
    for (change, what) in [
        ("UPDATE document SET text = 'other' WHERE rowid = 2", "document"),
        ("DROP TABLE mark; CREATE TABLE mark (one INTEGER)", "index"),
    ] {
        folder.put(&[("journal.db", &main), ("journal.head", &head)]);
        folder.change(change);
        let survey = folder.survey(None);
        assert!(survey.findings.iter().any(|f| f.what == what), "{change}: {survey:?}");
    }
}

#[test]
fn a_journal_rewritten_as_a_whole_is_told_by_a_head_kept_elsewhere() {
    let folder = Folder::new("rewritten");
    let (main, head, entries) = small(&folder);
    let kept: Head = {
        let journal = Journal::open_read_only(&folder.0).unwrap();
        format!("{}:{}", journal.len(), journal.head()).parse().unwrap()
    };
    assert_eq!(folder.survey(Some(&kept)).findings, []);
    // Somebody who knows how writes another past, with all its hashes and its anchor.
    let forged = Folder::new("forged");
    let mut journal = Journal::open(&forged.0, Durability::Process).unwrap();
    take(&mut journal);
    for n in 1..=ENTRIES {
        journal.append(&[Entry { tick: n + 1, ..entry(n) }], &[]).unwrap();
    }
    drop(journal);
    assert_eq!(forged.survey(None).findings, []);
    assert_eq!(first(&forged.survey(Some(&kept))), ("changed", Some(ENTRIES)));
    // The anchor of the true one shows it as well, and nothing is run on it.
    std::fs::write(forged.file("journal.head"), &head).unwrap();
    assert_eq!(first(&forged.survey(None)), ("changed", Some(ENTRIES)));
    match Journal::open(&forged.0, Durability::Process) {
        Err(JournalError::Broken { seq, .. }) => assert_eq!(seq, entries.len() as u64),
        other => panic!("{other:?}"),
    }
    // An older copy of the whole folder is only told by the head kept elsewhere.
    folder.put(&[("journal.db", &main), ("journal.head", &head)]);
    let later: Head = format!("{}:{}", ENTRIES + 3, kept.hash).parse().unwrap();
    assert_eq!(first(&folder.survey(Some(&later))), ("cut off", Some(ENTRIES + 1)));
}

#[test]
fn damage_in_the_middle_is_refused_by_name_and_the_rest_can_be_looked_at() {
    let folder = Folder::new("middle");
    let (main, head, entries) = small(&folder);
    folder.put(&[("journal.db", &main), ("journal.head", &head)]);
    folder.change("UPDATE journal SET body = '{}' WHERE seq = 5");
    match Journal::open(&folder.0, Durability::Process) {
        Err(JournalError::Broken { seq: 5, path, .. }) => {
            assert_eq!(path, folder.file("journal.db"));
        }
        other => panic!("{other:?}"),
    }
    let journal = Journal::open_read_only(&folder.0).unwrap();
    assert!(matches!(journal.read(0, 100), Err(JournalError::Broken { seq: 5, .. })));
    let partly = journal.read_what_can_be(0, 100).unwrap();
    assert_eq!(partly.entries.len(), entries.len() - 1);
    assert!(partly.said.len() == 1 && partly.said[0].contains("entry 5"), "{partly:?}");
}

/// Whatever was read must be what was written.
fn nothing_false(journal: &Journal, entries: &[StoredEntry], at: usize) -> usize {
    let read = match journal.read(0, usize::MAX) {
        Ok(read) => read,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return 0;
        }
    };
    let own = read.iter().filter(|e| e.subject != "journal" && e.tick != APPENDED);
    for (found, written) in own.zip(entries) {
        assert_eq!(found, written, "bit {at}");
    }
    read.len()
}

#[test]
fn no_flipped_bit_leads_to_a_wrong_read_a_panic_or_a_silent_skip() {
    let folder = Folder::new("bits");
    let (main, head, entries) = small(&folder);
    let (mut refused, mut found, mut harmless) = (0, 0, 0);
    for at in (0..main.len() * 8).step_by(STRIDE) {
        let mut bytes = main.clone();
        bytes[at / 8] ^= 1 << (at % 8);
        folder.put(&[("journal.db", &bytes), ("journal.head", &head)]);
        let survey = match Journal::open_read_only(&folder.0) {
            Ok(journal) => {
                nothing_false(&journal, &entries, at);
                journal.survey(None).ok()
            }
            Err(_) => None,
        };
        match &survey {
            None => {}
            Some(survey) if survey.findings.is_empty() => {
                harmless += 1;
                let journal = Journal::open_read_only(&folder.0).unwrap();
                assert_eq!(nothing_false(&journal, &entries, at), entries.len(), "bit {at}");
            }
            Some(_) => found += 1,
        }
        // What an engine makes of it: nothing, or the true past, or a part of it and a word.
        let nothing = |_| Ok::<_, JournalError>((Vec::new(), Vec::new()));
        let opened = Journal::open(&folder.0, Durability::Process);
        let held = opened.and_then(|mut journal| {
            journal.take_lease(&Holder::this_process(1), 0, nothing)?;
            journal.append(&[entry(APPENDED)], &[])?;
            Ok(journal)
        });
        if held.is_err() {
            refused += 1;
        }
        if let Ok(journal) = held {
            let read = nothing_false(&journal, &entries, at);
            if read > 0 && survey.is_some_and(|survey| survey.findings.is_empty()) {
                journal.verify().unwrap_or_else(|error| panic!("bit {at}: {error}"));
                assert!(read > entries.len(), "bit {at}");
            }
            drop(journal);
            let again = Journal::open_read_only(&folder.0).unwrap();
            let notes = again.about("journal").unwrap_or_default();
            let old = again.len() as usize - notes.len() - 1;
            let told = notes.iter().any(|note| note.kind == "journal_tail_lost");
            assert!(old == entries.len() || told, "bit {at}: {old} entries");
        }
    }
    // Most of a small file is room between rows.
    assert!(found > 300 && refused > 100, "{found} found, {refused} refused, {harmless} harmless");
}
