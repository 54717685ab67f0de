//! Hazard row 47: an instrument that did not confirm its safe state when a run ended is kept from the
//! next one, over real wires and over engines, until it confirms or a person says why it may be used.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod bench;
mod rig;

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use bench::{Bench, labloop, wait_for};
use rig::{Rig, definition, lab};

const STEPS: &str = "  - {id: heat, do: rig_1.heat, with: {power: 40}}
  - {id: soak, do: rig_1.soak}
";

/// A lab of one instrument, whose first run was aborted and left it hot.
struct LeftHot {
    bench: Bench,
    rig: Rig,
    lab: PathBuf,
    protocol: PathBuf,
}

struct Engine(Child);

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl LeftHot {
    fn new(name: &str) -> LeftHot {
        let bench = Bench::new(name);
        let rig = Rig::start("rig 1", None);
        let (lab, protocol) = lab(bench.folder(), &[("rig_1", &rig)], &definition(None), STEPS);
        let left = LeftHot { bench, rig, lab, protocol };
        let mut engine = left.start();
        left.rig.wait("it soaks", |state| state.power == 50);
        left.rig.with(|state| state.stubborn = true);
        let (code, _, said) = left.bench.run(&["abort"]);
        assert_eq!(code, 7, "{said}");
        assert_eq!(left.ended(&mut engine), 7, "{}", left.said());
        assert!(left.said().contains("NOT CONFIRMED SAFE"), "{}", left.said());
        let told = left.bench.ok(&["status"]);
        assert!(told.contains("rig_1: NOT CONFIRMED SAFE since run"), "{told}");
        left
    }

    /// Another engine in the same state folder.
    fn start(&self) -> Engine {
        let log = self.bench.folder().join("engine.log");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        let mut command = labloop();
        command.arg("run").arg(&self.protocol).arg("--lab").arg(&self.lab);
        command.arg("--state").arg(self.bench.state());
        let child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let engine = Engine(child);
        wait_for(&self.bench.state().join("control.sock"));
        engine
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.bench.folder().join("engine.log")).unwrap()
    }

    fn wait_for(&self, text: &str) {
        let until = Instant::now() + Duration::from_secs(60);
        while !self.said().contains(text) {
            assert!(Instant::now() < until, "`{text}` was not said:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn ended(&self, engine: &mut Engine) -> i32 {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(status) = engine.0.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < until, "the engine goes on:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn state(&self) -> &Path {
        self.bench.folder()
    }
}

#[test]
fn row_47_the_next_run_waits_until_the_instrument_confirms() {
    let left = LeftHot::new("not-safe-confirms");
    let off = left.rig.count("OFF");
    let mut engine = left.start();
    left.wait_for("not confirmed safe since run");
    // kill -9: the engine after it knows it too, and which run waits.
    engine.0.kill().unwrap();
    engine.0.wait().unwrap();
    std::fs::remove_file(left.state().join("engine.log")).unwrap();
    let log = std::fs::File::create(left.state().join("engine.log")).unwrap();
    let mut resume = labloop();
    resume.arg("resume").arg("--state").arg(left.bench.state());
    let mut engine = Engine(resume.stdout(Stdio::null()).stderr(log).spawn().unwrap());
    left.wait_for("not confirmed safe since run");
    assert_eq!(left.rig.count("HEAT 40"), 1, "only of the first run");
    let live = left.bench.json(&["status", "--json"]);
    assert!(live["not_confirmed_safe"]["rig_1"].is_string(), "{live}");
    assert!(live["live"]["barred"]["rig_1"].is_string(), "{live}");

    // It gives in: told again, it confirms, and the run goes on.
    left.rig.with(|state| state.stubborn = false);
    left.rig.wait("the second run soaks", |state| {
        state.told.iter().filter(|(_, told)| told == "HEAT 40").count() == 2 && state.power == 50
    });
    assert!(left.rig.count("OFF") > off, "it was not told again");
    assert!(left.said().contains("has confirmed its safe state"), "{}", left.said());
    left.rig.with(|state| state.power = 0);
    assert_eq!(left.ended(&mut engine), 0, "{}", left.said());
    let told = left.bench.ok(&["status"]);
    assert!(!told.contains("NOT CONFIRMED SAFE"), "{told}");
    left.bench.ok(&["verify"]);
    left.bench.ok(&["replay"]);
}

#[test]
fn row_47_a_person_says_why_it_may_be_used() {
    let left = LeftHot::new("not-safe-word");
    // Without a reason it is no word.
    let (code, _, said) = left.bench.run(&["instrument", "accept", "rig_1", "--by", "ada"]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("rig_1 is not confirmed safe since run"), "{said}");
    let mut engine = left.start();
    left.wait_for("not confirmed safe since run");
    let (code, _, said) = left.bench.run(&["instrument", "accept", "rig_1", "--by", "ada"]);
    assert_ne!(code, 0, "{said}");
    assert_eq!(left.rig.count("HEAT 40"), 1, "only of the first run");
    left.rig.with(|state| state.stubborn = false);
    let words = ["instrument", "accept", "rig_1", "--by", "ada", "--reason", "its plug is pulled"];
    left.bench.ok(&words);
    left.rig.wait("the second run soaks", |state| {
        state.told.iter().filter(|(_, told)| told == "HEAT 40").count() == 2 && state.power == 50
    });
    left.rig.with(|state| state.power = 0);
    assert_eq!(left.ended(&mut engine), 0, "{}", left.said());
    left.bench.ok(&["verify"]);
    left.bench.ok(&["replay"]);
    let journal = rusqlite::Connection::open(left.bench.state().join("journal.db")).unwrap();
    let body: String = journal
        .query_row("SELECT body FROM journal WHERE kind = 'engine_freed'", [], |row| row.get(0))
        .unwrap();
    assert!(body.contains("its plug is pulled") && body.contains("ada"), "{body}");
}

#[test]
fn row_47_the_word_of_a_person_counts_also_while_no_engine_is_at_work() {
    let left = LeftHot::new("not-safe-alone");
    let words = ["instrument", "accept", "rig_1", "--by", "ada", "--reason", "it is unplugged"];
    left.bench.ok(&words);
    let told = left.bench.ok(&["status"]);
    assert!(!told.contains("NOT CONFIRMED SAFE"), "{told}");
    left.rig.with(|state| state.stubborn = false);
    let mut engine = left.start();
    left.rig.wait("the second run soaks", |state| {
        state.told.iter().filter(|(_, told)| told == "HEAT 40").count() == 2 && state.power == 50
    });
    left.rig.with(|state| state.power = 0);
    assert_eq!(left.ended(&mut engine), 0, "{}", left.said());
    left.bench.ok(&["replay"]);
}
