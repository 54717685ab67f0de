//! Readings become samples with quality and reason, and the history says what it loses.

use super::*;
use crate::diagnostics::signals::{Clock, Level, Window, of_status};
use crate::store::Telemetry;
use crate::store::telemetry::Durability;
use crate::units::Quantity;

const SECOND: u64 = 1_000_000_000;

fn at(seconds: u64) -> Stamp {
    Stamp { tick: seconds * SECOND, wall_ms: 1_800_000_000_000 + (seconds * 1_000) as i64 }
}

fn celsius(number: f64) -> Value {
    Value::Quantity(Quantity::parse(&format!("{number} degC")).unwrap())
}

fn gauge() -> Gauge {
    let unit = crate::units::Unit::parse("degC").unwrap();
    Gauge { field: None, unit }
}

fn board() -> Signals {
    let (mut signals, failed) = Signals::new(None, at(0));
    assert!(failed.is_none());
    signals.know("bath", "temperature", &[gauge()], Duration::from_secs(3));
    signals
}

fn seen(signals: &Signals, seconds: u64) -> SignalView {
    signals.live().all(signals::Tick(seconds * SECOND)).remove(0)
}

fn read(value: &Value, seconds: u64) -> Reading<'_> {
    Reading { value, at: at(seconds), about: About::default() }
}

#[test]
fn a_signal_is_never_read_good_stale_bad_and_good_again() {
    let mut signals = board();
    assert_eq!((seen(&signals, 1).level.as_str(), seen(&signals, 1).age_s), ("bad", None));
    assert_eq!(seen(&signals, 1).reason, "never read");
    signals.take("bath", "temperature", &read(&celsius(25.0), 1), true);
    let good = seen(&signals, 2);
    assert_eq!((good.value, good.unit.as_str(), good.level.as_str()), (Some(298.15), "K", "good"));
    assert_eq!((good.age_s, good.wall_ms), (Some(1.0), Some(at(1).wall_ms)));
    let stale = seen(&signals, 5);
    assert_eq!((stale.value, stale.reason.as_str()), (None, "stale"));
    let missing = Value::Missing("no answer within 1 s".into());
    let about = About::flaw(Flaw::NoAnswer);
    let failed = Reading { value: &missing, at: at(6), about };
    signals.take("bath", "temperature", &failed, true);
    let bad = seen(&signals, 6);
    assert_eq!((bad.value, bad.level.as_str()), (None, "bad"));
    assert_eq!((bad.reason.as_str(), bad.note.as_str()), ("no answer", "no answer within 1 s"));
    signals.take("bath", "temperature", &read(&celsius(26.0), 7), true);
    assert_eq!(seen(&signals, 7).value, Some(299.15));
    signals.lose("bath", at(8), "the cable is out", true);
    let lost = seen(&signals, 8);
    assert_eq!((lost.reason.as_str(), lost.note.as_str()), ("connection lost", "the cable is out"));
}

#[test]
fn a_device_is_believed_about_its_time_only_when_its_clock_is_right() {
    let mut signals = board();
    let value = celsius(25.0);
    let mut take = |seconds, device_ms| {
        let about = About { flaw: None, device_ms: Some(device_ms) };
        signals.take(
            "bath",
            "temperature",
            &Reading { value: &value, at: at(seconds), about },
            true,
        );
        seen(&signals, seconds)
    };
    let earlier = take(10, at(10).wall_ms - 400);
    assert_eq!(
        (earlier.age_s, earlier.by_device, earlier.level.as_str()),
        (Some(0.4), true, "good")
    );
    let skewed = take(11, at(11).wall_ms - 3_600_000);
    assert_eq!((skewed.age_s, skewed.by_device), (Some(0.0), false));
    assert_eq!((skewed.value, skewed.level.as_str()), (Some(298.15), "uncertain"));
}

#[test]
fn records_and_switches_have_their_numbers_and_texts_none() {
    let field = |name: &str| Gauge { field: Some(name.to_owned()), unit: gauge().unit };
    let (mut signals, _) = Signals::new(None, at(0));
    signals.know("oven", "zones", &[field("left"), field("right")], Duration::from_secs(3));
    let zones = Value::Record([("left".to_owned(), celsius(30.0))].into());
    signals.take("oven", "zones", &read(&zones, 1), true);
    let all = signals.live().all(signals::Tick(SECOND));
    assert_eq!((all[0].signal.as_str(), all[0].value), ("oven.zones.left", Some(303.15)));
    assert_eq!((all[1].signal.as_str(), all[1].value), ("oven.zones.right", None));
    assert_eq!(all[1].note, "the answer does not hold it");
    assert_eq!(Gauge::of_value(&Value::Bool(true)).unwrap().number(&Value::Bool(true)), Ok(1.0));
    assert_eq!(Gauge::of_value(&Value::text("ready")), None);
    assert!(gauge().number(&Value::Quantity(Quantity::number(3.0))).is_err());
}

#[test]
fn who_watches_slowly_loses_its_own_oldest_and_is_told() {
    let mut signals = board();
    let mut slow = signals.live().subscribe(&["bath.temperature"], 10);
    for n in 0..100 {
        signals.take(
            "bath",
            "temperature",
            &read(&celsius(f64::from(n)), u64::from(n as u8)),
            true,
        );
    }
    let items: Vec<_> = slow.take().collect();
    assert!(matches!(items[0], signals::Item::Gap(gap) if gap.lost == 90), "{:?}", items[0]);
    assert_eq!(items.len(), 11);
    let window = Window { from: signals::Tick(0), to: signals::Tick(100 * SECOND - 1) };
    let columns = signals.live().columns("bath.temperature", window, 10).unwrap();
    assert_eq!(columns.iter().map(|c| c.count).sum::<u64>(), 100, "the ring has lost nothing");
    assert_eq!((columns[9].min, columns[9].max), (90.0 + 273.15, 99.0 + 273.15));
}

#[test]
fn readings_are_in_the_history_with_unit_quality_reason_and_clock() {
    let folder = std::env::temp_dir().join(format!("labloop-signals-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let writer = TelemetryWriter::open(&folder, Durability::Checkpoint).unwrap();
    let keeping = Keeping { writer, retention: Retention::default() };
    let (mut signals, failed) = Signals::new(Some(keeping), at(0));
    assert!(failed.is_none());
    signals.know("bath", "temperature", &[gauge()], Duration::from_secs(3));
    signals.know("bath", "never", &[gauge()], Duration::from_secs(3));
    signals.run_begins("r-1", at(1).tick);
    signals.take("bath", "temperature", &read(&celsius(25.0), 1), true);
    let missing = Value::Missing("E03".into());
    let about = About { flaw: Some(Flaw::SensorError), device_ms: Some(at(2).wall_ms - 500) };
    signals.take("bath", "temperature", &Reading { value: &missing, at: at(2), about }, true);
    signals.take("bath", "temperature", &read(&celsius(99.0), 3), false);
    signals.run_ends("r-1", at(4).tick);
    drop(signals);
    let store = Telemetry::open(&folder).unwrap().unwrap();
    assert_eq!(store.signals().unwrap(), ["bath.temperature"], "what was never read has no place");
    assert_eq!(store.unit("bath.temperature").unwrap().as_deref(), Some("K"));
    let points = store.read("bath.temperature", 0, u64::MAX).unwrap().points;
    assert_eq!(points.len(), 2, "the third came while the disk was full");
    assert_eq!((points[0].value, points[0].tick), (298.15, SECOND));
    let (quality, clock) = of_status(points[1].status.code);
    assert_eq!((quality.level(), quality.reason), (Level::Bad, Reason::SensorError));
    assert_eq!((clock, points[1].tick), (Clock::Device, 1_500_000_000));
    assert_eq!(store.texts().unwrap()[&points[1].status.text], "E03");
    let pins: Vec<(String, i64, i64)> = rusqlite::Connection::open(folder.join("telemetry.db"))
        .unwrap()
        .prepare("SELECT why, first, last FROM pin")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(pins, [("r-1".to_owned(), 1_000_000_000, 4_000_000_000)]);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn losses_are_told_once_and_again_when_they_go_on() {
    let mut told = Told::default();
    let failing = Standing { failing: Some("disk full".to_owned()), ..Standing::default() };
    assert!(told.news(failing.clone(), 0)[0].contains("disk full"));
    assert!(told.news(failing, 0).is_empty());
    assert_eq!(told.news(Standing::default(), 0), ["history is being written again"]);
    let lost = |overloaded| Standing { overloaded, ..Standing::default() };
    let first = told.news(lost(7), 3);
    assert!(first[0].starts_with("7 readings") && first[1].starts_with("3 readings"), "{first:?}");
    assert!(told.news(lost(9), 4).is_empty(), "within the minute");
    told.losses_at = None;
    let again = told.news(lost(12), 4);
    assert!(again[0].starts_with("5 readings") && again[1].starts_with("1 readings"), "{again:?}");
}
