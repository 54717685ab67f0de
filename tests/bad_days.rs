//! What a laboratory does to an engine on a bad day: closed windows, deleted folders, lost files, full
//! disks. Over the real program; each was seen to go wrong once.
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

const FLOW: &str = "examples/flow-synthesis/campaign.yaml";
const LIGHT: &str = "examples/light-mixing/campaign.yaml";
/// How long anything may take that takes a moment.
const SOON: Duration = Duration::from_secs(40);

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < SOON, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A campaign under way on simulated instruments, 20 times as fast as life.
fn running(bench: &Bench) -> Child {
    let log = std::fs::File::create(bench.folder().join("log")).unwrap();
    let engine = labloop()
        .args(["run", FLOW, "--simulate", "--speed", "20", "--experiments", "5", "--state"])
        .arg(bench.state())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    until("the flow began", || {
        let (code, steps, _) = bench.run(&["export", "--what", "steps"]);
        code == 0 && steps.contains("start_a")
    });
    engine
}

fn log(bench: &Bench) -> String {
    std::fs::read_to_string(bench.folder().join("log")).unwrap_or_default()
}

fn signal(engine: &Child, name: &str) {
    let kill =
        std::process::Command::new("kill").args([name, &engine.id().to_string()]).status().unwrap();
    assert!(kill.success());
}

#[test]
fn a_window_that_is_closed_ends_a_run_by_its_finally() {
    for name in ["-TERM", "-HUP"] {
        let bench = Bench::new("closed");
        let mut engine = running(&bench);
        signal(&engine, name);
        let code = engine.wait().unwrap().code();
        assert_eq!(code, Some(130), "{name}: {}", log(&bench));
        let (_, steps, _) = bench.run(&["export", "--what", "steps"]);
        let finally = steps.lines().filter(|line| line.contains("finally/"));
        assert!(finally.count() >= 3, "{name}: {steps}");
    }
}

#[test]
fn a_run_under_nohup_outlives_its_window() {
    let bench = Bench::new("nohup");
    let line = format!(
        "trap '' HUP; exec \"$0\" run {FLOW} --simulate --speed 60 --experiments 1 --state \"$1\""
    );
    let mut engine = std::process::Command::new("sh")
        .args(["-c", &line, env!("CARGO_BIN_EXE_labloop")])
        .arg(bench.state())
        .env_remove("LABLOOP_STATE")
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(bench.folder().join("log")).unwrap())
        .spawn()
        .unwrap();
    until("the flow began", || bench.run(&["export", "--what", "steps"]).1.contains("start_a"));
    signal(&engine, "-HUP");
    let code = engine.wait().unwrap().code();
    assert_eq!(code, Some(0), "{}", log(&bench));
}

#[test]
fn a_state_folder_that_is_deleted_or_moved_ends_the_run_safely() {
    for moved in [false, true] {
        let bench = Bench::new("deleted");
        let mut engine = running(&bench);
        let elsewhere = bench.folder().join("elsewhere");
        match moved {
            true => std::fs::rename(bench.state(), &elsewhere).unwrap(),
            false => std::fs::remove_dir_all(bench.state()).unwrap(),
        }
        let code = engine.wait().unwrap().code();
        assert_eq!(code, Some(7), "{}", log(&bench));
        assert!(log(&bench).contains("moved or deleted"), "{}", log(&bench));
        if moved {
            let (code, _, said) = {
                let out = labloop().args(["verify", "--state"]).arg(&elsewhere).output().unwrap();
                (out.status.code(), (), String::from_utf8_lossy(&out.stderr).into_owned())
            };
            assert_eq!(code, Some(0), "{said}");
        }
    }
}

#[test]
fn a_lost_journal_is_not_replaced_before_a_person_says_so() {
    let bench = Bench::new("lost");
    let light = ["run", LIGHT, "--simulate", "--speed", "max", "--experiments", "2"];
    bench.run(&light);
    std::fs::write(bench.state().join("journal.db"), b"").unwrap();
    for _ in 0..2 {
        let (code, _, said) = bench.run(&light);
        assert_eq!(code, 7, "{said}");
        assert!(said.contains("--accept-loss"), "{said}");
        // Other commands that write are no such word.
        bench.run(&["note", "we lost the disk"]);
    }
    let accepted = [light.as_slice(), &["--accept-loss"]].concat();
    let (code, _, said) = bench.run(&accepted);
    assert_ne!(code, 7, "{said}");
    let (code, _, said) = bench.run(&light);
    assert_ne!(code, 7, "once is enough: {said}");
}

#[test]
fn a_run_that_was_held_is_derived_again_without_a_difference() {
    let bench = Bench::new("held");
    let mut engine = running(&bench);
    bench.ok(&["hold", "--wait", "30"]);
    bench.ok(&["resume"]);
    bench.ok(&["stop", "--wait", "60"]);
    engine.wait().unwrap();
    let (code, said, told) = bench.run(&["replay"]);
    assert_eq!(code, 0, "{said}{told}");
}

#[test]
fn an_emergency_stop_that_is_not_cleared_keeps_hands_off_too() {
    let bench = Bench::new("stopped");
    let mut engine = running(&bench);
    bench.run(&["estop", "--by", "Ada", "--reason", "smoke"]);
    engine.wait().unwrap();
    let dose = ["volume=0.05 mL", "rate=2 mL/min"];
    let lab = "examples/flow-synthesis/lab.yaml";
    let call =
        ["instrument", "call", lab, "pump_1", "dispense", "--set", dose[0], "--set", dose[1]];
    let call = [call.as_slice(), &["--yes", "--simulate"]].concat();
    let (code, _, said) = bench.run(&call);
    assert_eq!(code, 7, "{said}");
    assert!(said.contains("estop --clear"), "{said}");
}

#[test]
fn real_instruments_do_not_run_faster_than_life() {
    let bench = Bench::new("fast");
    let out = labloop()
        .args(["run", FLOW, "--speed", "10", "--state"])
        .arg(bench.state())
        .env_remove("LABLOOP_SCALED_WIRES")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(2), "{said}");
    assert!(said.contains("needs --simulate"), "{said}");
}

#[test]
fn data_that_cannot_be_written_is_no_success() {
    let bench = Bench::new("full");
    bench.run(&["run", LIGHT, "--simulate", "--speed", "max", "--experiments", "2"]);
    for what in ["experiments", "steps"] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let out = labloop()
            .args(["export", "--what", what, "--state"])
            .arg(bench.state())
            .stdout(full)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(2), "{what}: {said}");
        assert!(said.contains("not everything could be written"), "{what}: {said}");
    }
}
