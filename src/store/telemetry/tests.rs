//! What history promises whole: what was committed comes back, once, whatever happened since.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;
use rusqlite::Connection;

use super::*;

/// A folder of its own, gone with it.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("telemetry-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::SeqCst));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    /// The folder as a power loss now would leave it at best.
    fn copy(&self) -> Folder {
        let copy = Folder::new();
        for file in std::fs::read_dir(&self.0).unwrap().flatten() {
            std::fs::copy(file.path(), copy.0.join(file.file_name())).unwrap();
        }
        copy
    }

    fn database(&self) -> Connection {
        Connection::open(self.0.join("telemetry.db")).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(super) const MS: u64 = 1_000_000;

pub(super) fn declaration(name: &str) -> Declaration<'_> {
    Declaration { name, unit: "K", class: "process", step: TimeStep::Millisecond, scale: None }
}

pub(super) fn stamp(tick: u64) -> Stamp {
    Stamp { tick, wall_ms: 1_800_000_000_000 + (tick / MS) as i64 }
}

pub(super) fn value(n: u64) -> f64 {
    (2500 + n * 37 % 19) as f64 / 100.0 + 273.15
}

fn read(folder: &Path, signal: &str) -> Reading {
    Telemetry::open(folder).unwrap().unwrap().read(signal, 0, u64::MAX).unwrap()
}

fn open(folder: &Folder) -> TelemetryWriter {
    TelemetryWriter::open(&folder.0, Durability::Checkpoint).unwrap()
}

#[test]
fn readings_come_back_across_parts_tail_and_restart() {
    let folder = Folder::new();
    let mut sent = Vec::new();
    for round in 0..3u64 {
        let mut writer = open(&folder);
        let bath = writer.declare(&declaration("bath.temperature")).unwrap();
        let error = Status { code: 2 | 36 << 2, text: writer.text("E03 heater open") };
        for n in round * 7_000..(round + 1) * 7_000 {
            let status = if n % 5_000 == 17 { error } else { Status::GOOD };
            let point = Point { tick: n * 250 * MS, value: value(n), status };
            sent.push(point);
            writer.push(bath, point);
            if n % 900 == 0 {
                writer.commit(stamp(point.tick)).unwrap();
            }
        }
        writer.commit(stamp(round * 7_000 * 250 * MS)).unwrap();
        // Lost with the process, and only this.
        writer.push(bath, Point::good(u64::MAX / 2, 0.0));
    }
    let telemetry = Telemetry::open(&folder.0).unwrap().unwrap();
    assert_eq!(telemetry.signals().unwrap(), ["bath.temperature"]);
    assert_eq!(telemetry.texts().unwrap()[&1], "E03 heater open");
    let reading = telemetry.read("bath.temperature", 0, u64::MAX).unwrap();
    assert_eq!(reading.points, sent);
    assert!(reading.damaged.is_empty() && reading.thinned.is_empty());
    let some = telemetry.read("bath.temperature", 500 * MS, 600 * 1000 * MS).unwrap();
    assert_eq!(some.points, sent[2..=2400]);
    // Long answers come in pieces that fit together.
    let (mut from, mut pieces) = (0, Vec::new());
    loop {
        let piece = telemetry.read_at_most("bath.temperature", from, u64::MAX, 4_000).unwrap();
        assert!(piece.points.len() <= 4_000);
        pieces.extend(piece.points);
        match piece.more_from {
            Some(more) => from = more,
            None => break,
        }
    }
    assert_eq!(pieces, sent);
    assert_eq!(telemetry.wall_ms(5_000 * MS).unwrap(), Some(1_800_000_005_000));
    assert!(telemetry.read("nobody", 0, 1).unwrap().points.is_empty());
}

#[test]
fn a_crash_after_any_commit_neither_loses_nor_doubles() {
    let folder = Folder::new();
    let mut writer = open(&folder);
    writer.tail_rows_max = 5;
    let keys: Vec<SignalKey> =
        ["a", "b", "c"].iter().map(|name| writer.declare(&declaration(name)).unwrap()).collect();
    let mut sent: [Vec<Point>; 3] = Default::default();
    for commit in 0..40u64 {
        // Fast enough to fill parts, to be sealed with the tail, and to be carried on in it.
        for (signal, many) in [(0, 1_700u64), (1, 130), (2, 3)] {
            for n in 0..many {
                let tick = (commit * 1_000 + n * 1_000 / many) * MS;
                let point = Point::good(tick, value(commit * many + n));
                writer.push(keys[signal], point);
                sent[signal].push(point);
            }
        }
        writer.commit(stamp(commit * 1_000 * MS)).unwrap();
        let crashed = folder.copy();
        let mut taken_up = open(&crashed);
        for (name, sent) in ["a", "b", "c"].iter().zip(&sent) {
            assert_eq!(read(&crashed.0, name).points, *sent, "{name} after commit {commit}");
        }
        // And goes on.
        let b = taken_up.declare(&declaration("b")).unwrap();
        let next = Point::good(1_000_000 * MS, 1.0);
        taken_up.push(b, next);
        taken_up.commit(stamp(0)).unwrap();
        assert_eq!(read(&crashed.0, "b").points.last(), Some(&next));
        assert_eq!(read(&crashed.0, "b").points.len(), sent[1].len() + 1);
    }
    let sealed: i64 =
        folder.database().query_row("SELECT count(*) FROM summary", [], |r| r.get(0)).unwrap();
    assert!(sealed > 10, "{sealed}");
}

#[test]
fn a_damaged_part_loses_itself_and_is_named() {
    let folder = Folder::new();
    let mut writer = open(&folder);
    let key = writer.declare(&declaration("s")).unwrap();
    for n in 0..4 * 8_192 {
        writer.push(key, Point::good(n * 1_000 * MS, value(n)));
    }
    writer.commit(stamp(0)).unwrap();
    drop(writer);
    let database = folder.database();
    let body: Vec<u8> =
        database.query_row("SELECT body FROM part WHERE id = 2", [], |r| r.get(0)).unwrap();
    for (at, cut) in [(100, body.len()), (body.len() - 1, body.len()), (0, 0), (3, 20)] {
        let mut broken = body.clone();
        if let Some(byte) = broken.get_mut(at) {
            *byte ^= 4;
        }
        broken.truncate(cut);
        database.execute("UPDATE part SET body = ?1 WHERE id = 2", [broken]).unwrap();
        let reading = read(&folder.0, "s");
        assert_eq!(reading.points.len(), 3 * 8_192);
        assert_eq!(reading.damaged.len(), 1);
        assert_eq!(reading.damaged[0].summary.first_tick, 8_192_000 * MS);
        // The picture has its extremes still.
        let telemetry = Telemetry::open(&folder.0).unwrap().unwrap();
        let picture = telemetry.columns("s", 0, 4 * 8_192_000 * MS, 5).unwrap();
        assert_eq!(picture.columns.iter().map(|c| c.count).sum::<u64>(), 4 * 8_192);
    }
    // A hole in the tail: named when it is taken up, and what is behind it is whole.
    let mut writer = open(&folder);
    let key = writer.declare(&declaration("s")).unwrap();
    for n in 0..3u64 {
        writer.push(key, Point::good((90_000 + n) * 1_000_000 * MS, n as f64));
        writer.commit(stamp(0)).unwrap();
    }
    drop(writer);
    let middle = "UPDATE tail SET body = x'00112233' WHERE id = 2";
    database.execute(middle, []).unwrap();
    assert_eq!(read(&folder.0, "s").damaged.len(), 2);
    let mut writer = open(&folder);
    assert_eq!(writer.damaged().len(), 1);
    let key = writer.declare(&declaration("s")).unwrap();
    writer.push(key, Point::good(99_000_000_000 * MS, 9.0));
    writer.commit(stamp(0)).unwrap();
    let last: Vec<f64> =
        read(&folder.0, "s").points.iter().skip(3 * 8_192).map(|p| p.value).collect();
    assert_eq!(last, [0.0, 2.0, 9.0]);
}

#[test]
fn the_file_of_before_is_read_and_goes_on() {
    let folder = Folder::new();
    let database = folder.database();
    database
        .execute_batch(
            "CREATE TABLE block (signal TEXT NOT NULL, first INTEGER NOT NULL,
             last INTEGER NOT NULL, count INTEGER NOT NULL, samples BLOB NOT NULL) STRICT;
             CREATE INDEX block_signal ON block (signal, first);",
        )
        .unwrap();
    let mut samples = Vec::new();
    for n in 0..512u64 {
        samples.extend_from_slice(&(n * MS).to_le_bytes());
        let value = if n == 7 { f64::NAN } else { n as f64 };
        samples.extend_from_slice(&value.to_le_bytes());
    }
    samples.push(1);
    database
        .execute("INSERT INTO block VALUES ('old', 0, ?1, 512, ?2)", (511 * MS as i64, samples))
        .unwrap();
    assert_eq!(read(&folder.0, "old").points.len(), 512);
    let mut writer = open(&folder);
    let old = writer.declare(&declaration("old")).unwrap();
    writer.push(old, Point::good(600 * MS, 600.0));
    writer.commit(stamp(600 * MS)).unwrap();
    let telemetry = Telemetry::open(&folder.0).unwrap().unwrap();
    assert_eq!(telemetry.signals().unwrap(), ["old"]);
    let points = telemetry.read("old", 0, u64::MAX).unwrap().points;
    assert_eq!((points.len(), points[512].value), (513, 600.0));
    assert_eq!(points[7].status, Status::BAD);
    let picture = telemetry.columns("old", 0, 601 * MS, 3).unwrap();
    assert_eq!(picture.columns.iter().map(|c| c.used).sum::<u64>(), 512);
    database.pragma_update(None, "user_version", 3).unwrap();
    assert!(matches!(Telemetry::open(&folder.0), Err(TelemetryError::Newer { found: 3, .. })));
    let newer = TelemetryWriter::open(&folder.0, Durability::Commit);
    assert!(matches!(newer, Err(TelemetryError::Newer { found: 3, .. })));
}

#[test]
fn a_picture_keeps_every_spike_and_counts_each_reading_once() {
    let folder = Folder::new();
    let mut writer = open(&folder);
    let key = writer.declare(&declaration("s")).unwrap();
    const MANY: u64 = 100_000;
    for n in 0..MANY {
        let value = if n == 54_321 { 1e6 } else { value(n) };
        writer.push(key, Point::good(n * 100 * MS, value));
    }
    writer.commit(stamp(0)).unwrap();
    let telemetry = Telemetry::open(&folder.0).unwrap().unwrap();
    for (from, to) in [(0, MANY - 1), (12_345, 77_777), (54_000, 55_000), (54_321, 54_321)] {
        for columns in [1, 3, 60, 1_000, COLUMNS_MAX * 2] {
            let picture =
                telemetry.columns("s", from * 100 * MS, to * 100 * MS, columns).unwrap().columns;
            assert_eq!(picture.len(), columns.min(COLUMNS_MAX));
            assert_eq!(picture.iter().map(|c| c.count).sum::<u64>(), to - from + 1);
            assert_eq!(picture.iter().filter(|c| c.max == 1e6).count(), 1, "{from} {columns}");
            let at = picture.iter().position(|c| c.max == 1e6).unwrap() as f64;
            let wide = ((to - from) * 100 * MS + 1) as f64;
            let exact = ((54_321 - from) * 100 * MS) as f64 / wide * picture.len() as f64;
            assert!((at + 0.5 - exact).abs() <= 0.76, "{at} {exact}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn any_readings_come_back_from_any_window(
        gaps in prop::collection::vec((0u64..5_000, -9i32..9), 1..3_000),
        commits in 1usize..400, rows in 1usize..9, back: bool,
        from in 0u64..3_000_000, length in 0u64..6_000_000, columns in 1usize..50,
    ) {
        let folder = Folder::new();
        let mut writer = open(&folder);
        writer.tail_rows_max = rows;
        let key = writer.declare(&declaration("s")).unwrap();
        let (mut tick, mut sent) = (0, Vec::new());
        for (n, (gap, value)) in gaps.iter().enumerate() {
            // A clock that was set back in the middle, too.
            tick = if back && n == gaps.len() / 2 { tick / 2 / MS * MS } else { tick + gap * MS };
            let point = Point::good(tick, f64::from(*value));
            sent.push(point);
            writer.push(key, point);
            if n % commits == 0 {
                writer.commit(stamp(tick)).unwrap();
            }
        }
        writer.commit(stamp(tick)).unwrap();
        let (from, to) = (from * MS, (from + length) * MS);
        sent.retain(|point| (from..=to).contains(&point.tick));
        sent.sort_by_key(|point| point.tick);
        let telemetry = Telemetry::open(&folder.0).unwrap().unwrap();
        let reading = telemetry.read("s", from, to).unwrap();
        prop_assert!(reading.points == sent);
        let picture = telemetry.columns("s", from, to, columns).unwrap().columns;
        let mut sum = Bucket::EMPTY;
        picture.iter().for_each(|column| sum.merge(column));
        let plain = Bucket::of(&sent);
        prop_assert_eq!((sum.count, sum.sum), (plain.count, plain.sum));
        prop_assert_eq!((sum.min.to_bits(), sum.max.to_bits()), (plain.min.to_bits(), plain.max.to_bits()));
    }
}
