//! The thread: nothing waits for it, what it cannot take is counted, and what fails is tried again.

use super::super::tests::{Folder, MS, declaration, value};
use super::super::{Durability, Telemetry};
use super::*;

fn clock() -> Stamp {
    Stamp { tick: 0, wall_ms: 0 }
}

fn start(folder: &Folder, pace: Pace) -> Recorder {
    let writer = TelemetryWriter::open(&folder.0, Durability::Checkpoint).unwrap();
    Recorder::start(writer, pace, clock).unwrap()
}

#[test]
fn what_was_pushed_is_durable_after_a_flush_and_after_the_end() {
    let folder = Folder::new();
    let history = start(&folder, Pace::default());
    let keys: Vec<RecorderKey> =
        ["a", "b"].iter().map(|name| history.declare(&declaration(name)).unwrap()).collect();
    assert_eq!(history.declare(&declaration("a")).unwrap(), keys[0]);
    assert!(history.declare(&declaration("")).is_err());
    for n in 0..10_000u64 {
        history.push(keys[n as usize % 2], n * MS, value(n), 0, None);
    }
    history.push(keys[0], 10_000 * MS, f64::NAN, 2, Some("no answer"));
    assert!(history.flush(Duration::from_secs(60)));
    assert_eq!(history.standing().written, 10_001);
    let telemetry = Telemetry::open(&folder.0).unwrap().unwrap();
    let points = telemetry.read("a", 0, u64::MAX).unwrap().points;
    assert_eq!(points.len(), 5_001);
    let last = points.last().unwrap();
    assert_eq!(telemetry.texts().unwrap()[&last.status.text], "no answer");
    assert_eq!(last.status.severity(), 2);
    history.push(keys[1], 20_000 * MS, 7.0, 0, None);
    drop(history);
    assert_eq!(telemetry.read("b", 15_000 * MS, u64::MAX).unwrap().points[0].value, 7.0);
}

#[test]
fn more_than_can_be_written_is_summed_up_and_counted() {
    let folder = Folder::new();
    let pace = Pace { commit_every: Duration::from_secs(600), queue_max: 1_000, ..Pace::default() };
    let history = start(&folder, pace);
    let key = history.declare(&declaration("fast")).unwrap();
    // Another writer keeps the database locked: nothing can be committed.
    let other = rusqlite::Connection::open(folder.0.join("telemetry.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    for n in 0..50_000u64 {
        history.push(key, n * MS, if n == 44_444 { 1e9 } else { value(n) }, 0, None);
    }
    assert!(!history.flush(Duration::from_millis(1_500)), "it cannot be durable");
    assert!(history.standing().failing.unwrap().contains("locked"));
    other.execute_batch("COMMIT").unwrap();
    while !history.flush(Duration::from_secs(60)) {}
    let standing = history.standing();
    assert_eq!(standing.failing, None);
    assert!(standing.overloaded > 0);
    assert_eq!(standing.written + standing.overloaded, 50_000);
    let telemetry = Telemetry::open(&folder.0).unwrap().unwrap();
    let reading = telemetry.read("fast", 0, u64::MAX).unwrap();
    let lost: u64 = reading.thinned.iter().map(|bucket| bucket.count).sum();
    assert_eq!((lost, reading.points.len() as u64), (standing.overloaded, standing.written));
    // The spike was among the lost ones, and is seen.
    let picture = telemetry.columns("fast", 0, 50_000 * MS, 100).unwrap();
    assert_eq!(picture.columns.iter().filter(|column| column.max == 1e9).count(), 1);
    assert_eq!(picture.columns.iter().map(|column| column.count).sum::<u64>(), 50_000);
}

#[test]
fn a_pin_is_kept_before_the_retention_that_follows() {
    let folder = Folder::new();
    let rule = super::super::Rule { full_days: Some(0), ..Default::default() };
    let retention = Retention { others: rule, bytes_max: Some(1), ..Default::default() };
    let pace = Pace { retention, upkeep: Duration::from_secs(60), ..Pace::default() };
    let history = start(&folder, pace);
    let key = history.declare(&declaration("s")).unwrap();
    for n in 0..9_000u64 {
        history.push(key, n * 1_000 * MS, value(n), 0, None);
    }
    history.pin("run-1", Some("s"), 0, 1_000 * MS);
    assert!(history.flush(Duration::from_secs(60)));
    assert!(history.flush(Duration::from_secs(60)));
    drop(history);
    let telemetry = Telemetry::open(&folder.0).unwrap().unwrap();
    assert_eq!(telemetry.read("s", 0, 1_000 * MS).unwrap().points.len(), 2);
}
