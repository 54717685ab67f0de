//! What retention thins, what it leaves alone, and how long it takes.

use super::super::tests::{Folder, MS, declaration, stamp, value};
use super::super::*;
use super::*;

const SECOND: u64 = 1_000 * MS;
const DAY: u64 = 86_400 * SECOND;

/// Readings of a day.
const DAILY: u64 = 43_200;

/// A signal read every two seconds for so many days.
fn days(folder: &Folder, name: &str, days: u64) -> TelemetryWriter {
    let mut writer = TelemetryWriter::open(&folder.0, Durability::Checkpoint).unwrap();
    let key = writer.declare(&declaration(name)).unwrap();
    writer.commit(stamp(0)).unwrap();
    for n in 0..days * DAILY {
        writer.push(key, Point::good(n * 2 * SECOND, value(n)));
        if n % 8_640 == 0 {
            writer.commit(stamp(n * 2 * SECOND)).unwrap();
        }
    }
    writer.commit(stamp(days * DAY)).unwrap();
    writer
}

fn all(writer: &mut TelemetryWriter, retention: &Retention, now: u64) -> Kept {
    let kept = writer.upkeep(retention, stamp(now), Duration::from_secs(600)).unwrap();
    assert!(!kept.more);
    kept
}

#[test]
fn what_is_old_becomes_minutes_then_hours_then_nothing() {
    let folder = Folder::new();
    let mut writer = days(&folder, "s", 30);
    let telemetry = Telemetry::open(&folder.0).unwrap().unwrap();
    let whole = telemetry.columns("s", 0, 30 * DAY, 30).unwrap().columns;
    let before = writer.bytes_used().unwrap();
    let rule = Rule { full_days: Some(10), minute_days: Some(20), hour_days: None };
    let classes = [("process".to_owned(), rule)].into();
    let mut retention = Retention { classes, ..Retention::default() };
    assert!(all(&mut writer, &retention, 30 * DAY).thinned > 20);
    assert_eq!(all(&mut writer, &retention, 30 * DAY), Kept::default());
    assert!(writer.bytes_used().unwrap() < before);
    let reading = telemetry.read("s", 0, 31 * DAY).unwrap();
    // A part that is not wholly old enough stays.
    assert!(
        reading.points.len() >= 10 * DAILY as usize && reading.points.len() < 11 * DAILY as usize
    );
    let first = reading.points[0].tick;
    assert!(reading.thinned.iter().all(|thinned| thinned.last_tick < first));
    let now = telemetry.columns("s", 0, 30 * DAY, 30).unwrap().columns;
    for (whole, now) in whole.iter().zip(&now) {
        assert_eq!((now.min, now.max), (whole.min, whole.max));
        // A part at an edge may stand in the next column, in either picture.
        assert!(now.count.abs_diff(whole.count) <= 2 * 8_192, "{} {}", now.count, whole.count);
        assert!((now.mean() - whole.mean()).abs() < 1e-3);
    }
    assert_eq!(now.iter().map(|c| c.count).sum::<u64>(), 30 * DAILY);
    retention.classes.values_mut().for_each(|rule| rule.hour_days = Some(25));
    assert!(all(&mut writer, &retention, 30 * DAY).dropped > 0);
    let left = telemetry.columns("s", 0, 30 * DAY, 1).unwrap().columns[0].count;
    assert!(left < 27 * DAILY, "{left}");
    // Days later the rest goes the same way, but for what is not in parts yet.
    all(&mut writer, &retention, 100 * DAY);
    let left = telemetry.columns("s", 0, 30 * DAY, 1).unwrap().columns[0].count;
    assert_eq!(left, 30 * DAILY % 8_192);
}

#[test]
fn what_a_run_needs_stays_whatever_the_limit() {
    let folder = Folder::new();
    let mut writer = days(&folder, "s", 20);
    let pin = Pin { why: "run-7", signal: Some("s"), from: 3 * DAY, to: 4 * DAY };
    writer.pin(&pin).unwrap();
    writer.pin(&Pin { why: "run-8", signal: None, from: 9 * DAY, to: 9 * DAY }).unwrap();
    let unknown = writer.pin(&Pin { signal: Some("nobody"), ..pin });
    assert!(matches!(unknown, Err(TelemetryError::Unknown(_))));
    let retention = Retention {
        others: Rule { full_days: Some(1), ..Rule::default() },
        bytes_max: Some(1),
        ..Retention::default()
    };
    let kept = all(&mut writer, &retention, 100 * DAY);
    assert!(kept.is_over && kept.dropped > 0);
    let telemetry = Telemetry::open(&folder.0).unwrap().unwrap();
    for (from, to, readings) in [(3 * DAY, 4 * DAY, DAILY as usize + 1), (9 * DAY, 9 * DAY, 1)] {
        assert_eq!(telemetry.read("s", from, to).unwrap().points.len(), readings);
    }
    let gone = telemetry.read("s", 6 * DAY, 7 * DAY).unwrap();
    assert!(gone.points.is_empty() && gone.thinned.is_empty());
    assert_eq!(writer.unpin("run-7").unwrap(), 1);
    assert!(all(&mut writer, &retention, 100 * DAY).dropped > 0);
    assert!(telemetry.read("s", 3 * DAY, 4 * DAY).unwrap().points.is_empty());
    assert_eq!(telemetry.read("s", 9 * DAY, 9 * DAY).unwrap().points.len(), 1);
}

#[test]
fn a_run_that_is_not_over_keeps_all_that_comes_and_once_it_is_no_more_than_its_own() {
    let folder = Folder::new();
    let mut writer = days(&folder, "s", 20);
    let open = Pin { why: "run-7", signal: None, from: 10 * DAY, to: u64::MAX };
    writer.pin(&open).unwrap();
    // An engine that takes the run up pins it again.
    writer.pin(&open).unwrap();
    let retention = Retention {
        others: Rule { full_days: Some(1), minute_days: Some(2), hour_days: Some(3) },
        ..Retention::default()
    };
    all(&mut writer, &retention, 100 * DAY);
    let telemetry = Telemetry::open(&folder.0).unwrap().unwrap();
    let left = |from, to| telemetry.read("s", from, to).unwrap().points.len() as u64;
    assert_eq!(left(0, 9 * DAY), 0);
    assert_eq!(left(10 * DAY, 20 * DAY), 10 * DAILY);
    assert_eq!(writer.end_pin("run-7", 12 * DAY).unwrap(), 1);
    all(&mut writer, &retention, 100 * DAY);
    assert_eq!(left(10 * DAY, 12 * DAY), 2 * DAILY + 1);
    assert_eq!(left(14 * DAY, 19 * DAY), 0);
    assert_eq!(writer.end_pin("run-7", 15 * DAY).unwrap(), 0, "it has an end");
}

#[test]
fn what_would_not_get_smaller_is_kept_as_it_is() {
    let folder = Folder::new();
    let mut writer = TelemetryWriter::open(&folder.0, Durability::Checkpoint).unwrap();
    let key = writer.declare(&declaration("slow")).unwrap();
    writer.commit(stamp(0)).unwrap();
    // Every five minutes: a bucket a minute is larger than the reading itself.
    for n in 0..9_000u64 {
        writer.push(key, Point::good(n * 300 * SECOND, value(n)));
    }
    writer.commit(stamp(0)).unwrap();
    let retention = Retention {
        others: Rule { full_days: Some(0), ..Rule::default() },
        ..Retention::default()
    };
    assert_eq!(all(&mut writer, &retention, 100 * DAY).thinned, 1);
    let telemetry = Telemetry::open(&folder.0).unwrap().unwrap();
    assert_eq!(telemetry.read("slow", 0, u64::MAX).unwrap().points.len(), 9_000);
}

#[test]
fn work_is_cut_into_slices() {
    let folder = Folder::new();
    let mut writer = days(&folder, "s", 30);
    let retention = Retention {
        others: Rule { full_days: Some(1), ..Rule::default() },
        ..Retention::default()
    };
    let mut calls = 0;
    while writer.upkeep(&retention, stamp(30 * DAY), Duration::ZERO).unwrap().more {
        calls += 1;
        // Reading and writing go on between them.
        let key = writer.declare(&declaration("s")).unwrap();
        writer.push(key, Point::good(30 * DAY + calls, 1.0));
        writer.commit(stamp(30 * DAY)).unwrap();
    }
    assert!(calls >= 3, "{calls}");
}
