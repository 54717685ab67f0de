//! What people do to instruments by hand while no engine is at work: the runs that go on later know of
//! it, an emergency stop reaches it, and a device's own watchdog is not taken from it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod bench;
mod rig;

use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use bench::{Bench, labloop, wait_for};
use rig::{Fed, Rig, definition, lab};

/// Heats, waits for long enough to be killed in, doses.
const STEPS: &str = "  - {id: heat, do: rig_1.heat, with: {power: 40}}
  - {id: rest, wait: 2 s}
  - {id: dose, do: rig_1.dose, with: {count: 2}}
";

/// A watchdog that does not trip within a test, and can be switched off.
fn guarded() -> String {
    let text = definition(Some((Fed::Own, 60_000)));
    let armed = text.replace("period:", "disarm: [{send: DISARM, parse: OK}], period:");
    assert_ne!(text, armed);
    armed
}

struct Lab {
    bench: Bench,
    rig: Rig,
    lab: PathBuf,
    protocol: PathBuf,
}

/// A process of labloop; it goes with the test.
struct Process(Child, PathBuf);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    fn signal(&self, signal: &str) {
        let id = self.0.id().to_string();
        assert!(std::process::Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    fn said(&self) -> String {
        let mut said = String::new();
        std::fs::File::open(&self.1).unwrap().read_to_string(&mut said).unwrap();
        said
    }

    fn wait_for(&self, text: &str) {
        let until = Instant::now() + Duration::from_secs(30);
        while !self.said().contains(text) {
            assert!(Instant::now() < until, "`{text}` was not said:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn ended(&mut self) -> i32 {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < until, "it goes on:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Lab {
    fn new(name: &str, text: &str) -> Lab {
        let bench = Bench::new(name);
        let rig = Rig::start("rig 1", Some(Fed::Own));
        let (lab, protocol) = lab(bench.folder(), &[("rig_1", &rig)], text, STEPS);
        Lab { bench, rig, lab, protocol }
    }

    fn start(&self, log: &str, words: &[&str]) -> Process {
        let log = self.bench.folder().join(log);
        let said = std::fs::File::create(&log).unwrap();
        let mut command = labloop();
        command.args(words).arg("--state").arg(self.bench.state());
        Process(command.stdout(Stdio::null()).stderr(said).spawn().unwrap(), log)
    }

    /// A run that has heated is under way, and its engine is gone.
    fn left_by_an_engine(&self) {
        let (protocol, lab) = (self.protocol.to_str().unwrap(), self.lab.to_str().unwrap());
        let engine = self.start("run.log", &["run", protocol, "--lab", lab]);
        self.rig.wait("it is heated", |state| state.power == 40);
        // The outcome of the heating is in the journal too.
        std::thread::sleep(Duration::from_millis(500));
        engine.kill();
    }

    fn call(&self, words: &[&str]) -> (i32, String, String) {
        let lab = self.lab.to_str().unwrap();
        self.bench.run(&[&["instrument", "call", lab, "rig_1"], words].concat())
    }

    fn calling(&self, words: &[&str]) -> Process {
        let lab = self.lab.to_str().unwrap();
        self.start("call.log", &[&["instrument", "call", lab, "rig_1"], words].concat())
    }
}

#[test]
fn what_was_done_by_hand_while_no_engine_was_at_work_holds_the_run_that_had_used_it() {
    let lab = Lab::new("hands-hold", &definition(None));
    lab.left_by_an_engine();
    let (code, _, said) = lab.call(&["halt"]);
    assert_eq!(code, 0, "{said}");
    // An engine that dies before it has done anything leaves it to the next.
    lab.start("short.log", &["resume"]).kill();
    for log in ["first.log", "second.log"] {
        let engine = lab.start(log, &["resume"]);
        engine.wait_for("trial-1.1.1 stays held");
        engine.wait_for("who sent halt to rig_1 by hand while no engine was at work");
        wait_for(&lab.bench.state().join("control.sock"));
        std::thread::sleep(Duration::from_secs(4));
        assert_eq!(lab.rig.count("DOSE 2"), 0, "it went on:\n{}", engine.said());
        let told = lab.bench.ok(&["status"]);
        assert!(told.contains("held"), "{told}");
        if log == "first.log" {
            // kill -9 of an engine that holds it, and a `resume` that names no run.
            engine.kill();
            continue;
        }
        let mut engine = engine;
        lab.bench.ok(&["resume", "trial-1.1.1", "--by", "ada"]);
        assert_eq!(engine.ended(), 0, "{}", engine.said());
    }
    assert_eq!(lab.rig.count("DOSE 2"), 1);
    lab.bench.ok(&["verify"]);
    lab.bench.ok(&["replay"]);
}

#[test]
fn what_an_engine_that_gave_up_left_word_of_counts_also_when_something_was_noted_in_between() {
    let lab = Lab::new("hands-gave-up", &definition(None));
    lab.left_by_an_engine();
    let word = r#"{"epoch":1,"runs":["trial-1.1.1"]}"#;
    std::fs::write(lab.bench.state().join("gave-up"), word).unwrap();
    lab.bench.ok(&["note", "the lid was open", "--by", "ada"]);
    let engine = lab.start("resume.log", &["resume"]);
    engine.wait_for("the engine before, which gave up");
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(lab.rig.count("DOSE 2"), 0, "it went on:\n{}", engine.said());
}

#[test]
fn a_look_by_hand_holds_nothing() {
    let lab = Lab::new("hands-look", &definition(None));
    lab.left_by_an_engine();
    let (code, out, said) = lab.call(&["power"]);
    assert_eq!((code, out.as_str()), (0, "power = 40\n"), "{said}");
    let mut engine = lab.start("resume.log", &["resume"]);
    assert_eq!(engine.ended(), 0, "{}", engine.said());
    assert!(!engine.said().contains("stays held"), "{}", engine.said());
    assert_eq!(lab.rig.count("DOSE 2"), 1);
}

#[test]
fn an_emergency_stop_reaches_a_command_by_hand_in_another_terminal() {
    let lab = Lab::new("hands-estop", &guarded());
    let mut call = lab.calling(&["soak"]);
    lab.rig.wait("it soaks", |state| state.power == 50);
    // Others are told who is there.
    let (code, _, said) = lab.call(&["halt"]);
    assert_ne!(code, 0);
    assert!(said.contains("a command by hand is under way here"), "{said}");

    let begun = Instant::now();
    let (code, out, said) = lab.bench.run(&["estop", "--by", "ada"]);
    assert_eq!(code, 0, "{said}");
    assert!(out.contains("rig_1") && begun.elapsed() < Duration::from_secs(5), "{out}");
    assert_eq!(lab.rig.with(|state| state.power), 0);
    assert_eq!(call.ended(), 7, "{}", call.said());
    let said = call.said();
    assert!(said.contains("EMERGENCY STOP by ada: rig_1: its safe state is confirmed"), "{said}");

    // It stays pressed until somebody clears it.
    let (code, _, said) = lab.call(&["heat", "--set", "power=30", "--yes"]);
    assert_ne!(code, 0);
    assert!(said.contains("ada"), "{said}");
    lab.bench.ok(&["estop", "--clear", "--by", "ada"]);
    let (code, _, said) = lab.call(&["heat", "--set", "power=30", "--yes"]);
    assert_eq!(code, 0, "{said}");
    lab.bench.ok(&["verify"]);
}

#[test]
fn one_that_does_not_obey_the_emergency_stop_keeps_its_watchdog() {
    let lab = Lab::new("hands-estop-not", &guarded());
    let mut call = lab.calling(&["soak"]);
    lab.rig.wait("it soaks", |state| state.power == 50);
    lab.rig.with(|state| state.stubborn = true);
    let (code, out, said) = lab.bench.run(&["estop", "--by", "ada"]);
    assert_eq!(code, 7, "{said}");
    assert!(out.contains("NOT CONFIRMED"), "{out}");
    assert_eq!(call.ended(), 7, "{}", call.said());
    assert!(call.said().contains("rig_1: it is NOT CONFIRMED SAFE"), "{}", call.said());
    assert_eq!(lab.rig.count("DISARM"), 0, "its last help was taken from it");
    let (code, _, said) = lab.bench.run(&["estop", "--clear", "--by", "ada"]);
    assert_ne!(code, 0);
    assert!(said.contains("NOT CONFIRMED SAFE: rig_1"), "{said}");
}

#[test]
fn a_second_ctrl_c_says_whether_the_safe_state_was_confirmed() {
    for (name, hears) in [("hands-ctrl-c", true), ("hands-ctrl-c-not", false)] {
        let lab = Lab::new(name, &guarded());
        let mut call = lab.calling(&["soak"]);
        lab.rig.wait("it soaks", |state| state.power == 50);
        // Its answer is awaited when both come.
        lab.rig.with(|state| state.deaf = true);
        std::thread::sleep(Duration::from_millis(100));
        call.signal("-INT");
        call.wait_for("Cancelling");
        call.signal("-INT");
        call.wait_for("Sending the safe state");
        lab.rig.with(|state| state.deaf = !hears);
        let code = call.ended();
        let said = call.said();
        if hears {
            assert_eq!(code, 130, "{said}");
            assert!(said.contains("rig_1: its safe state is confirmed"), "{said}");
            assert_eq!(lab.rig.with(|state| state.power), 0);
        } else {
            assert_eq!(code, 7, "{said}");
            assert!(said.contains("rig_1: it is NOT CONFIRMED SAFE"), "{said}");
        }
    }
}

#[test]
fn a_watchdog_is_switched_off_only_by_a_command_after_which_nothing_needs_it() {
    // Nothing else is going on, and it is safe.
    let lab = Lab::new("hands-watchdog", &guarded());
    let (code, _, said) = lab.call(&["safe_state"]);
    assert_eq!((code, lab.rig.count("DISARM")), (0, 1), "{said}");
    // It does not confirm its safe state: its watchdog is the last that can stop it.
    lab.rig.with(|state| (state.stubborn, state.power) = (true, 20));
    let (code, _, said) = lab.call(&["safe_state"]);
    assert_eq!((code, lab.rig.count("DISARM")), (7, 1), "{said}");

    // A run that is not over has left it to its watchdog.
    let lab = Lab::new("hands-watchdog-run", &guarded());
    lab.left_by_an_engine();
    for what in ["halt", "safe_state", "power"] {
        let (code, _, said) = lab.call(&[what]);
        assert_eq!(code, 0, "{said}");
        assert_eq!(lab.rig.count("DISARM"), 0, "after {what}");
    }
    assert!(lab.rig.with(|state| state.watchdog.is_some()));
}
