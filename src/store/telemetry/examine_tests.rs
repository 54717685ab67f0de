//! Whatever is done to the file or to something in it is found.

use super::super::tests::{Folder, MS, declaration, stamp, value};
use super::super::{Durability, FILE, Point, TelemetryWriter};
use super::*;

/// Two parts and a tail.
fn written(folder: &Folder) {
    let mut writer = TelemetryWriter::open(&folder.0, Durability::Checkpoint).unwrap();
    let signal = writer.declare(&declaration("bath.temperature")).unwrap();
    for n in 0..20_000u64 {
        writer.push(signal, Point::good(n * 250 * MS, value(n)));
        if n % 900 == 0 {
            writer.commit(stamp(n * 250 * MS)).unwrap();
        }
    }
    writer.commit(stamp(20_000 * 250 * MS)).unwrap();
}

/// One block, as format 1 wrote it.
fn written_before(folder: &Folder) {
    let bytes: Vec<u8> = (0..512u64)
        .flat_map(|n| [(n * 250 * MS).to_le_bytes(), value(n).to_le_bytes()].concat())
        .collect();
    let database = Connection::open(folder.0.join(FILE)).unwrap();
    database
        .execute_batch(
            "PRAGMA journal_mode = WAL;
             CREATE TABLE block (
                 signal TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
                 count INTEGER NOT NULL, samples BLOB NOT NULL
             ) STRICT;
             CREATE INDEX block_signal ON block (signal, first);",
        )
        .unwrap();
    database
        .execute(
            "INSERT INTO block VALUES ('bath.temperature', 0, ?1, 512, ?2)",
            rusqlite::params![(511 * 250 * MS) as i64, bytes],
        )
        .unwrap();
}

fn damaged(folder: &Folder, what: &str) {
    let found = examine(&folder.0);
    assert!(matches!(&found, Soundness::Damaged(all) if !all.is_empty()), "{what}: {found:?}");
}

fn put(folder: &Folder, bytes: &[u8]) {
    for ending in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(folder.0.join(format!("{FILE}{ending}")));
    }
    std::fs::write(folder.0.join(FILE), bytes).unwrap();
}

fn changed(folder: &Folder, whole: &[u8], what: &str, sql: &str) {
    put(folder, whole);
    let database = Connection::open(folder.0.join(FILE)).unwrap();
    database.execute_batch(sql).unwrap();
    drop(database);
    damaged(folder, what);
}

#[test]
fn what_was_done_to_the_file_or_to_a_part_is_found() {
    let folder = Folder::new();
    assert_eq!(examine(&folder.0), Soundness::Missing);
    written(&folder);
    let whole = std::fs::read(folder.0.join(FILE)).unwrap();
    let Soundness::Whole { parts, readings } = examine(&folder.0) else { panic!() };
    assert_eq!(readings, 20_000);
    assert!(parts >= 3, "{parts}");
    let mut torn = whole.clone();
    let middle = torn.len() / 2 / 4_096 * 4_096;
    torn[middle..middle + 4_096].fill(0x5a);
    for (what, bytes) in [
        ("half of it is gone", &whole[..whole.len() / 2]),
        ("it is empty", &[]),
        ("it is something else", b"these are no readings, whatever the name says".as_slice()),
        ("a page is overwritten", torn.as_slice()),
    ] {
        put(&folder, bytes);
        damaged(&folder, what);
    }
    for (what, sql) in [
        ("a part is cut", "UPDATE part SET body = substr(body, 1, 100)"),
        ("a part lacks its first byte", "UPDATE part SET body = substr(body, 2)"),
        ("sums are cut", "UPDATE part SET fine = substr(fine, 1, 20)"),
        ("a part is gone", "DELETE FROM part WHERE id = 1"),
        ("a part is of another time", "UPDATE summary SET last = last + 1"),
        ("a part has another number", "UPDATE summary SET count = 7"),
        ("a commit is cut", "UPDATE tail SET body = substr(body, 1, 9)"),
        ("a table is gone", "DROP TABLE tail"),
    ] {
        changed(&folder, &whole, what, sql);
    }
    put(&folder, &whole);
    assert!(matches!(examine(&folder.0), Soundness::Whole { readings: 20_000, .. }));
}

#[test]
fn a_history_of_format_1_is_looked_at_too() {
    let folder = Folder::new();
    written_before(&folder);
    let whole = std::fs::read(folder.0.join(FILE)).unwrap();
    assert_eq!(examine(&folder.0), Soundness::Whole { parts: 1, readings: 512 });
    for (what, sql) in [
        ("a block is cut", "UPDATE block SET samples = substr(samples, 1, 100)"),
        ("a block is of another time", "UPDATE block SET last = last + 1"),
        ("a block has another number", "UPDATE block SET count = 511"),
        ("the table is gone", "DROP TABLE block"),
    ] {
        changed(&folder, &whole, what, sql);
    }
    // Gone on with, it has both.
    put(&folder, &whole);
    written(&folder);
    let Soundness::Whole { readings, .. } = examine(&folder.0) else { panic!() };
    assert_eq!(readings, 20_512);
}

#[test]
fn a_newer_history_is_not_called_damaged() {
    let folder = Folder::new();
    written(&folder);
    let database = Connection::open(folder.0.join(FILE)).unwrap();
    database.pragma_update(None, "user_version", 99).unwrap();
    drop(database);
    let found = examine(&folder.0);
    assert!(matches!(&found, Soundness::Unread(why) if why.contains("format 99")), "{found:?}");
}
