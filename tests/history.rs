//! The history of readings: old files are read and gone on with, every reading has its quality, and
//! what a killed engine loses is what it says it may lose.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod bench;

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use bench::{Bench, labloop};
use labloop::store::Telemetry;
use serde_json::Value;

/// Written by labloop before the history was packed: sixteen bytes a reading.
const FORMAT_1: &str = "tests/journals/history-1/telemetry.db";
const CAMPAIGN: &str = "examples/flow-synthesis/campaign.yaml";
/// How long anything may take that takes a moment.
const SOON: Duration = Duration::from_secs(60);

fn with_history(name: &str) -> Bench {
    let bench = Bench::new(name);
    std::fs::create_dir_all(bench.state()).unwrap();
    std::fs::copy(FORMAT_1, bench.state().join("telemetry.db")).unwrap();
    bench
}

fn count(bench: &Bench, signal: &str) -> usize {
    let store = Telemetry::open(&bench.state()).unwrap().unwrap();
    store.read(signal, 0, u64::MAX).unwrap().points.len()
}

fn run_once(bench: &Bench) -> String {
    let args = ["run", CAMPAIGN, "--simulate", "--speed", "max", "--experiments", "1"];
    let (code, _, said) = bench.run(&args);
    assert_eq!(code, 0, "{said}");
    said
}

#[test]
fn a_history_of_format_1_is_read_as_it_is() {
    let bench = with_history("history-1-read");
    let file = bench.state().join("telemetry.db");
    let before = std::fs::read(&file).unwrap();
    let store = Telemetry::open(&bench.state()).unwrap().unwrap();
    let signals = store.signals().unwrap();
    assert_eq!(signals.len(), 9, "{signals:?}");
    let points = store.read("bath_1.temperature", 0, u64::MAX).unwrap().points;
    assert_eq!(points.len(), 78);
    assert_eq!((points[0].tick, points[0].value), (5_000_000, 298.15));
    assert_eq!((points[77].tick, points[77].value), (154_007_000_000, 385.95));
    assert_eq!(store.unit("bath_1.temperature").unwrap(), None, "it was not kept");
    drop(store);
    let past = bench.json(&["signals", "bath_1.temperature", "--columns", "4", "--json"]);
    let columns = past["columns"].as_array().unwrap();
    let counted: u64 = columns.iter().map(|c| c["count"].as_u64().unwrap()).sum();
    let highest = columns.iter().map(|c| c["max_si"].as_f64().unwrap()).fold(0.0, f64::max);
    assert_eq!((columns.len(), counted, highest), (4, 78, 386.95));
    assert_eq!(std::fs::read(&file).unwrap(), before);
}

#[test]
fn a_history_of_format_1_is_gone_on_with_and_keeps_what_it_has() {
    let fresh = Bench::new("history-2");
    run_once(&fresh);
    let new = count(&fresh, "bath_1.temperature");
    let bench = with_history("history-1-on");
    run_once(&bench);
    assert!(new > 50);
    assert_eq!(count(&bench, "bath_1.temperature"), 78 + new);
    let store = Telemetry::open(&bench.state()).unwrap().unwrap();
    assert_eq!(store.unit("bath_1.temperature").unwrap().as_deref(), Some("K"));
}

#[test]
fn an_export_says_unit_quality_and_clock_of_every_reading() {
    let bench = Bench::new("history-export");
    run_once(&bench);
    let text = bench.ok(&["export", "--what", "telemetry"]);
    let mut lines = text.lines();
    assert_eq!(
        lines.next().unwrap(),
        "run,signal,unit,time_s,time,value_si,quality,reason,note,clock,until_s,count,min_si,max_si"
    );
    let baths: Vec<Vec<&str>> = lines
        .map(|line| line.split(',').collect::<Vec<_>>())
        .filter(|cells| cells[1] == "bath_1.temperature")
        .collect();
    assert!(baths.len() > 50);
    for cells in &baths {
        assert_eq!((cells[2], cells[6], cells[9]), ("K", "good", "arrival"), "{cells:?}");
        assert!(cells[4].starts_with("2026-01-01"), "virtual time begins there: {cells:?}");
        assert!((250.0..450.0).contains(&cells[5].parse::<f64>().unwrap()), "{cells:?}");
    }
    let rows = bench.json(&["export", "--what", "telemetry", "--format", "json"]);
    let bath = |row: &&Value| row["signal"] == "bath_1.temperature";
    assert_eq!(rows.as_array().unwrap().iter().filter(bath).count(), baths.len());
    // A run is kept in full, whatever retention does with what is around it.
    let database = rusqlite::Connection::open(bench.state().join("telemetry.db")).unwrap();
    let open: i64 = database
        .query_row("SELECT count(*) FROM pin WHERE last = 9223372036854775807", [], |r| r.get(0))
        .unwrap();
    let all: i64 = database.query_row("SELECT count(*) FROM pin", [], |r| r.get(0)).unwrap();
    assert_eq!((open, all > 0), (0, true));
}

#[test]
fn a_damaged_history_keeps_no_lab_from_its_work() {
    let bench = Bench::new("history-damaged");
    std::fs::create_dir_all(bench.state()).unwrap();
    let noise = vec![b'x'; 5_000];
    std::fs::write(bench.state().join("telemetry.db"), &noise).unwrap();
    let said = run_once(&bench);
    assert!(said.contains("telemetry.db was damaged"), "{said}");
    assert_eq!(std::fs::read(bench.state().join("telemetry.db.damaged-1")).unwrap(), noise);
    assert!(count(&bench, "bath_1.temperature") > 50);
}

#[test]
fn a_history_that_cannot_be_written_delays_no_run_and_says_so() {
    let bench = Bench::new("history-locked");
    let args = ["run", CAMPAIGN, "--simulate", "--speed", "max", "--experiments", "1"];
    run_once(&bench);
    let before = count(&bench, "bath_1.temperature");
    let other = rusqlite::Connection::open(bench.state().join("telemetry.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let began = Instant::now();
    let (code, out, said) = bench.run(&args);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("the last readings are not in the history"), "{out}{said}");
    assert!(said.contains("locked"), "{said}");
    // The run itself takes a moment; then the end waits for the history, but not for ever.
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(count(&bench, "bath_1.temperature"), before);
    // The journal has lost nothing by it.
    bench.ok(&["verify"]);
    bench.ok(&["replay"]);
}

#[test]
fn a_rule_of_retention_that_is_none_is_refused() {
    let bench = Bench::new("history-rule");
    for wrong in [["--keep-readings", "0"], ["--keep-hours", "soon"], ["--history-max", "0"]] {
        let args = ["run", CAMPAIGN, "--simulate", wrong[0], wrong[1]];
        assert_eq!(bench.run(&args).0, 2, "{wrong:?}");
    }
    let (code, _, said) = bench.run(&["signals", "bath_1.temperature", "--last", "3 mL"]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("a time"), "{said}");
}

/// An engine with simulators on real wires, 20 times as fast as the wall.
struct Running {
    bench: Bench,
    engine: Child,
}

impl Running {
    fn start(name: &str) -> Running {
        let bench = Bench::new(name);
        let engine = labloop()
            .args(["run", CAMPAIGN, "--simulate", "--speed", "20", "--state"])
            .arg(bench.state())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Running { bench, engine }
    }

    /// Waits until a signal is as wanted.
    fn until(&self, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + SOON;
        loop {
            let (code, out, said) = self.bench.run(&["signals", "--json"]);
            if code == 0 {
                let all: Vec<Value> = serde_json::from_str(&out).unwrap();
                if let Some(found) = all.into_iter().find(|s| s["signal"] == name && wanted(s)) {
                    return found;
                }
            }
            assert!(Instant::now() < until, "{name} is not as wanted: {out}{said}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.engine.kill();
        let _ = self.engine.wait();
    }
}

#[test]
fn live_signals_have_value_unit_quality_and_age() {
    let running = Running::start("signals-live");
    let bath = running.until("bath_1.temperature", |s| s["level"] == "good");
    assert_eq!((bath["unit"].as_str(), bath["by_device"].as_bool()), (Some("K"), Some(false)));
    assert!((250.0..450.0).contains(&bath["value"].as_f64().unwrap()), "{bath}");
    assert!(bath["age_s"].as_f64().unwrap() < 60.0, "{bath}");
    let told = running.bench.ok(&["signals", "--instrument", "bath_1"]);
    assert!(told.lines().all(|line| line.starts_with("bath_1.")), "{told}");
    let (code, _, said) = running.bench.run(&["signals", "--instrument", "oven_9"]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("no signal of an instrument `oven_9`"), "{said}");
}

#[test]
fn an_engine_that_is_killed_loses_its_last_second_and_no_more() {
    let mut running = Running::start("history-killed");
    running.until("bath_1.temperature", |s| s["level"] == "good");
    // Readings of several commits.
    std::thread::sleep(Duration::from_secs(4));
    let last = running.until("bath_1.temperature", |s| s["level"] == "good");
    running.engine.kill().unwrap();
    running.engine.wait().unwrap();
    let store = Telemetry::open(&running.bench.state()).unwrap().unwrap();
    let (first, end) = store.span("bath_1.temperature").unwrap().unwrap();
    let reading = store.read("bath_1.temperature", 0, u64::MAX).unwrap();
    assert!(reading.damaged.is_empty() && reading.thinned.is_empty());
    assert!(end - first > 40_000_000_000, "two of four seconds at twenty-fold speed");
    let wall = store.wall_ms(end).unwrap().unwrap();
    let behind = last["wall_ms"].as_i64().unwrap() - wall;
    // A commit each second, on a disk and two cores that others use too.
    assert!(behind < 3_000, "the last reading on the disk is {behind} ms before the last seen");
}
