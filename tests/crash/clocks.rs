//! The wall clock is set by hours, while a run is under way and between two engines; an engine is
//! stopped for a while. Lab time goes on as if nothing had been.
//!
//! Needs Debian's `faketime`, whose library shows a wall clock that a file sets.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::lane::{AtWork, Lane, Variant, in_lanes};

const LIMIT: Duration = Duration::from_secs(60);

/// Two steps with a wait between them, and a limit on the time from one to the other. A minute is
/// a second on the wall.
const STEPS: &str = "\
schema: labloop/protocol/v1
name: waits
roles:
  bath: {type: thermostat}
  pump: {type: syringe_pump}
steps:
  - {id: one, do: bath.set_temperature, with: {target: 26 degC}}
  - {id: dose, do: pump.dispense, with: {volume: 0.05 mL, rate: 4 mL/min}}
  - {id: rest, wait: 3 min}
  - {id: two, do: bath.set_temperature, with: {target: 27 degC}, within: LIMIT}
finally:
  - {do: bath.set_temperature, with: {target: 25 degC}}
";

fn variant(within: &str) -> Variant {
    let protocol = STEPS.replace("LIMIT", within).replace("pump:", "pump_a:");
    let protocol: &'static str = Box::leak(protocol.replace("do: pump.", "do: pump_a.").into());
    Variant { protocol: Some(protocol), ..Variant::default() }
}

/// Where Debian keeps it.
fn faketime() -> Option<PathBuf> {
    let found = std::fs::read_dir("/usr/lib").unwrap().flatten();
    let library = found.map(|e| e.path().join("faketime/libfaketime.so.1")).find(|p| p.exists());
    if library.is_none() {
        let why = "faketime is missing (./test installs it)";
        assert!(std::env::var_os("CI").is_none(), "{why}");
        eprintln!("SKIPPED: {why}");
    }
    library
}

/// An engine whose wall clock is off by what a file says.
fn shown(mut command: Command, library: &Path, lane: &Lane) -> Command {
    command.env("LD_PRELOAD", library);
    command.env("FAKETIME_TIMESTAMP_FILE", lane.folder().join("clock.txt"));
    command.envs([("FAKETIME_NO_CACHE", "1"), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")]);
    command.env("DONT_FAKE_MONOTONIC", "1");
    command
}

fn set(lane: &Lane, by: &str) {
    // In one go: half a line would be another time.
    let (new, file) = (lane.folder().join("clock.new"), lane.folder().join("clock.txt"));
    std::fs::write(&new, format!("{by}\n")).unwrap();
    std::fs::rename(new, file).unwrap();
}

fn resting(lane: &Lane) -> bool {
    let dosed = lane.effects_since().iter().any(|e| e["effect"] == "dispense");
    dosed && lane.history().is_some_and(|h| h.runs.values().any(|r| r.steps.len() == 2))
}

fn forward_only(lane: &Lane) {
    let ticks = lane.ticks();
    assert!(ticks.is_sorted(), "lab time went back: {ticks:?}");
    let longest = ticks.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
    // A wait of three minutes is the longest; what starting takes on a busy machine comes on top.
    assert!(longest < 20.0 * 60.0, "lab time leapt by {longest} s");
}

#[test]
fn row_14_a_wall_clock_set_by_hours_during_a_run_changes_no_wait_and_no_limit() {
    let Some(library) = faketime() else { return };
    in_lanes(2, |number| {
        let (by, ms) = [("+3h", 10_800_000), ("-3h", -10_800_000)][number];
        let lane = Lane::new("clock-step", variant("30 min"));
        set(&lane, "+0");
        let command = shown(lane.engine(false, 1), &library, &lane);
        let mut engine = AtWork::start(command, lane.folder().join("said.txt"));
        engine.until("the wait", LIMIT, |_| resting(&lane));
        let begun = Instant::now();
        set(&lane, by);
        let (status, said) = engine.end(LIMIT);
        assert!(status.success(), "{by}: {status}\n{said}");
        // The wait was neither cut short nor frozen.
        assert!(begun.elapsed() > Duration::from_secs(2), "{by}: {:?}", begun.elapsed());
        assert!(said.contains("the wall clock was set"), "{by}: {said}");
        let facts = lane.engine_facts();
        let steps: Vec<i64> = facts
            .iter()
            .filter(|(kind, _)| kind == "engine_clock_stepped")
            .map(|(_, body)| body["clock_stepped"]["by_ms"].as_i64().unwrap())
            .collect();
        assert!(matches!(steps[..], [step] if (step - ms).abs() < 2_000), "{by}: {steps:?}");
        forward_only(&lane);
        lane.audit(by);
    });
}

#[test]
fn row_14_a_wall_clock_set_between_two_engines_does_not_count_as_time_that_passed() {
    let Some(library) = faketime() else { return };
    in_lanes(2, |number| {
        let by = ["+5h", "-5h"][number];
        let lane = Lane::new("clock-between", variant("30 min"));
        set(&lane, "+0");
        let command = shown(lane.engine(false, 1), &library, &lane);
        let mut engine = AtWork::start(command, lane.folder().join("said.txt"));
        engine.until("the wait", LIMIT, |_| resting(&lane));
        engine.signal("KILL");
        engine.child.wait().unwrap();
        set(&lane, by);
        let begun = Instant::now();
        let command = shown(lane.engine(true, 1), &library, &lane);
        let mut engine = AtWork::start(command, lane.folder().join("said.txt"));
        let (status, said) = engine.end(LIMIT);
        // Forwards: no limit is broken. Backwards: nothing freezes.
        assert!(status.success(), "{by}: {status}\n{said}");
        assert!(begun.elapsed() < Duration::from_secs(30), "{by}: {:?}", begun.elapsed());
        let facts = lane.engine_facts();
        let away = facts.iter().find(|(kind, _)| kind == "engine_away").unwrap();
        let for_ms = away.1["away"]["for_ms"].as_u64().unwrap();
        assert!(for_ms < 30_000, "{by}: {away:?}");
        assert!(away.1["away"]["by"].as_str().unwrap().contains("own clock"), "{away:?}");
        forward_only(&lane);
        lane.audit(by);
    });
}

/// Stopped, starved, or in a machine that slept.
#[test]
fn row_15_an_engine_that_did_not_run_for_a_while_notices_and_keeps_its_limits() {
    let stopped = Duration::from_secs(7);
    let lane = Lane::new("clock-gap", variant("5 min"));
    let mut engine = AtWork::start(lane.engine(false, 1), lane.folder().join("said.txt"));
    engine.until("the wait", LIMIT, |_| resting(&lane));
    engine.signal("STOP");
    std::thread::sleep(stopped);
    engine.signal("CONT");
    let (status, said) = engine.end(LIMIT);
    assert!(said.contains("the engine did not run for"), "{said}");
    let facts = lane.engine_facts();
    let gap = facts.iter().find(|(kind, _)| kind == "engine_gap").unwrap();
    let for_ms = gap.1["gap"]["for_ms"].as_u64().unwrap();
    assert!((6_500..60_000).contains(&for_ms), "{gap:?}");
    // The wait ended when the engine woke, and the limit counts from there.
    assert!(status.success(), "{status}\n{said}");
    forward_only(&lane);
    lane.audit("a gap");
}
