//! Tests of the journal: order, chain, lease.

use super::*;

fn folder() -> PathBuf {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name =
        format!("labloop-journal-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
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
        (
            "INSERT INTO journal SELECT 5, tick, wall, subject, kind, body, hash FROM journal WHERE seq = 4",
            5,
        ),
        (
            "INSERT INTO journal SELECT 0, tick, wall, subject, kind, body, hash FROM journal WHERE seq = 4",
            0,
        ),
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
        match Journal::open(&folder, Durability::Power) {
            Err(JournalError::Damaged { what, .. }) => assert!(what.contains(word), "{what}"),
            other => panic!("{change}: {other:?}"),
        }
        // It can still be looked at.
        let looked = Journal::open_read_only(&folder).unwrap();
        assert!(looked.damage().is_some_and(|what| what.contains(word)), "{change}");
        std::fs::remove_dir_all(folder).unwrap();
    }
}

#[test]
fn a_database_that_another_program_keeps_locked_is_waited_for_within_a_bound() {
    let folder = folder();
    let mut journal = Journal::open(&folder, Durability::Process).unwrap();
    take(&mut journal);
    let held_for = |time: Duration| {
        let other = rusqlite::Connection::open(folder.join("journal.db")).unwrap();
        let (locked, is_locked) = std::sync::mpsc::channel();
        let holder = std::thread::spawn(move || {
            other.execute_batch("BEGIN EXCLUSIVE").unwrap();
            locked.send(()).unwrap();
            std::thread::sleep(time);
            other.execute_batch("COMMIT").unwrap();
        });
        is_locked.recv().unwrap();
        holder
    };
    // A short hold costs time and nothing else.
    let holder = held_for(Duration::from_millis(400));
    journal.append(&[entry(1, "{}")], &[]).unwrap();
    holder.join().unwrap();
    // A long one is an error that says so, in bounded time.
    let holder = held_for(BUSY_WAIT + Duration::from_secs(2));
    let begun = std::time::Instant::now();
    match journal.append(&[entry(2, "{}")], &[]) {
        Err(error @ JournalError::Locked { .. }) => {
            assert!(error.to_string().contains("another program"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    assert!(begun.elapsed() < BUSY_WAIT + Duration::from_secs(2));
    holder.join().unwrap();
    assert_eq!(journal.verify().unwrap().entries, 1);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_file_or_folder_that_cannot_be_written_is_refused_with_the_reason() {
    let folder = folder();
    let gone = folder.join("gone");
    match Journal::open(&gone, Durability::Process) {
        Err(error @ JournalError::ReadOnly { .. }) => {
            assert!(error.to_string().contains("cannot be written"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_table_of_subjects_is_rebuilt_where_it_does_not_fit_and_never_believed() {
    let folder = folder();
    let mut journal = Journal::open(&folder, Durability::Process).unwrap();
    take(&mut journal);
    let run = |n: u64, kind: &'static str| Entry {
        kind,
        subject: format!("mix-{}", n / 4),
        ..entry(n, "{}")
    };
    let entries: Vec<Entry> = (0..subjects::EVERY + 500)
        .map(|n| run(n, if n % 4 == 3 { "run_ended" } else { "intent" }))
        .collect();
    for some in entries.chunks(100) {
        journal.append(some, &[]).unwrap();
    }
    let standing = journal.standing().unwrap();
    let third = journal.subject("mix-3").unwrap().unwrap();
    let last = entries.len() as u64 / 4 - 1;
    assert_eq!(standing.numbers["mix"], u32::try_from(last).unwrap());
    assert!(standing.open.is_empty(), "{:?}", standing.open.keys());
    drop(journal);
    let whole = std::fs::read(folder.join("journal.db")).unwrap();
    for change in [
        "UPDATE subject SET over = 0 WHERE name = 'mix-3'",
        "UPDATE subject SET entries = 3 WHERE name = 'mix-3'",
        "DELETE FROM subject WHERE name = 'mix-3'",
        "UPDATE mark SET seq = seq - 1",
        "DELETE FROM mark",
        "DROP TABLE subject",
        "ALTER TABLE subject ADD COLUMN more INTEGER",
    ] {
        std::fs::write(folder.join("journal.db"), &whole).unwrap();
        rusqlite::Connection::open(folder.join("journal.db"))
            .unwrap()
            .execute_batch(change)
            .unwrap();
        let journal = Journal::open(&folder, Durability::Process).unwrap();
        let again = journal.standing().unwrap();
        assert_eq!((&again.open, &again.numbers), (&standing.open, &standing.numbers), "{change}");
        let found = journal.subject("mix-3").unwrap().unwrap();
        assert_eq!(journal.entries_of(&found).unwrap().len(), 4, "{change}");
        journal.verify().unwrap();
    }
    // An entry of a subject that is gone, or was changed, is missed although the table is whole.
    for change in [
        "DELETE FROM journal WHERE seq = 14",
        "UPDATE journal SET body = '[]' WHERE seq = 14",
        "UPDATE journal SET subject = 'mix-9' WHERE seq = 14",
    ] {
        std::fs::write(folder.join("journal.db"), &whole).unwrap();
        rusqlite::Connection::open(folder.join("journal.db"))
            .unwrap()
            .execute_batch(change)
            .unwrap();
        let journal = Journal::open_read_only(&folder).unwrap();
        match journal.entries_of(&third) {
            Err(JournalError::Broken { .. }) => {}
            other => panic!("{change}: {other:?}"),
        }
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn an_anchor_that_a_second_power_loss_brings_back_does_not_make_the_journal_look_replaced() {
    let folder = folder();
    let (db, anchor) = (folder.join("journal.db"), folder.join("journal.head"));
    let mut journal = Journal::open(&folder, Durability::Power).unwrap();
    take(&mut journal);
    let more = |journal: &mut Journal, from: u64| {
        for tick in from..from + 4 {
            journal.append(&[entry(tick, "{}")], &[]).unwrap();
        }
    };
    more(&mut journal, 1);
    drop(journal);
    let short = std::fs::read(&db).unwrap();
    let mut journal = Journal::open(&folder, Durability::Power).unwrap();
    take(&mut journal);
    more(&mut journal, 5);
    drop(journal);
    let eight = std::fs::read(&anchor).unwrap();
    // The disk lied: the power loss takes entries that were durable, and not the anchor.
    std::fs::write(&db, short).unwrap();
    let mut journal = Journal::open(&folder, Durability::Power).unwrap();
    assert_eq!(journal.lost(), Some(Lost { from: 5, to: 8 }));
    take(&mut journal);
    more(&mut journal, 9);
    drop(journal);
    // The next one takes what was written over the anchor.
    std::fs::write(&anchor, &eight).unwrap();
    let journal = Journal::open(&folder, Durability::Power).unwrap();
    assert_eq!((journal.len(), journal.lost()), (9, None));
    assert_eq!(journal.survey(None).unwrap().findings.len(), 0);
    drop(journal);
    // An entry that was never lost is still held against its anchor.
    anchor::AnchorWriter::new(&folder).write(4, &[7; 32]);
    let refused = Journal::open(&folder, Durability::Power);
    assert!(matches!(refused, Err(JournalError::Broken { seq: 4, .. })), "{refused:?}");
    std::fs::remove_dir_all(folder).unwrap();
}
