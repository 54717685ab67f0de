//! After a reconnect the same unit must answer: rows 37 and 40 of `docs/reference/hazards.md`. And an
//! instrument that restarted is told nothing by itself: row 39.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod bench;
mod rig;

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use bench::{Bench, labloop, wait_for};
use labloop::engine::core::Command;
use labloop::engine::shell::Control;
use labloop::engine::shell::control::Reply;
use labloop::server::Client;
use rig::{Rig, definition, lab};

/// Heats, waits, doses.
const STEPS: &str = "  - {id: heat, do: rig_1.heat, with: {power: 40}}
  - {id: rest, wait: 2 s}
  - {id: dose, do: rig_1.dose, with: {count: 2}}
";

struct Running {
    bench: Bench,
    engine: Child,
}

impl Running {
    fn start(name: &str, rig: &Rig) -> Running {
        let bench = Bench::new(name);
        let (lab, protocol) = lab(bench.folder(), &[("rig_1", rig)], &definition(None), STEPS);
        let log = std::fs::File::create(bench.folder().join("engine.log")).unwrap();
        let engine = labloop()
            .arg("run")
            .arg(&protocol)
            .arg("--lab")
            .arg(&lab)
            .arg("--state")
            .arg(bench.state())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let running = Running { bench, engine };
        wait_for(&running.bench.state().join("control.sock"));
        running
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.bench.folder().join("engine.log")).unwrap()
    }

    fn wait_for(&self, text: &str) {
        let until = Instant::now() + Duration::from_secs(30);
        while !self.said().contains(text) {
            assert!(Instant::now() < until, "`{text}` was not said:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn resume(&self) {
        let resume = Control::Command {
            target: None,
            command: Command::Resume,
            by: "ada".into(),
            reason: String::new(),
        };
        let mut client = Client::connect(&self.bench.state()).unwrap();
        let reply = client.ask(resume, Duration::ZERO).unwrap();
        assert!(matches!(reply, Reply::Commanded { .. }), "{reply:?}");
    }

    fn ended(&mut self) -> i32 {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(status) = self.engine.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < until, "the engine goes on:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(10));
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
fn row_37_another_unit_after_a_reconnect_is_sent_nothing_and_its_run_is_held() {
    let rig = Rig::start("rig, serial 17", None);
    let mut running = Running::start("swapped", &rig);
    rig.wait("it is heated", |state| state.power == 40);
    rig.with(|state| state.id = "rig, serial 99".to_owned());
    rig.cut();
    running.wait_for("another unit answers");
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(rig.count("DOSE 2"), 0, "a stranger was commanded");
    // A person looks and says that it is all right, and that the run goes on.
    let (code, _, said) = running.bench.run(&["instrument", "accept", "rig_1", "--by", "ada"]);
    assert_eq!(code, 0, "{said}");
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(rig.count("DOSE 2"), 0, "the run went on before a person said so");
    running.resume();
    assert_eq!(running.ended(), 0, "{}", running.said());
    assert_eq!(rig.count("DOSE 2"), 1);
    running.bench.ok(&["verify"]);
    running.bench.ok(&["replay"]);
}

#[test]
fn row_37_the_right_unit_put_back_is_used_again() {
    let rig = Rig::start("rig, serial 17", None);
    let mut running = Running::start("put-back", &rig);
    rig.wait("it is heated", |state| state.power == 40);
    rig.with(|state| state.id = "rig, serial 99".to_owned());
    rig.cut();
    running.wait_for("another unit answers");
    rig.with(|state| state.id = "rig, serial 17".to_owned());
    // It is back within a moment; until it is in its hold state the run cannot go on.
    let until = Instant::now() + Duration::from_secs(30);
    while rig.count("DOSE 2") == 0 {
        assert!(Instant::now() < until, "{}", running.said());
        running.resume();
        std::thread::sleep(Duration::from_millis(500));
    }
    assert_eq!(running.ended(), 0, "{}", running.said());
    assert_eq!(rig.count("DOSE 2"), 1);
}

#[test]
fn row_40_an_engine_that_comes_back_knows_which_unit_it_was() {
    let rig = Rig::start("rig, firmware 1", None);
    let mut running = Running::start("firmware", &rig);
    rig.wait("it is heated", |state| state.power == 40);
    running.engine.kill().unwrap();
    running.engine.wait().unwrap();
    rig.with(|state| state.id = "rig, firmware 2".to_owned());
    let (code, _, said) = running.bench.run(&["resume"]);
    assert_ne!(code, 0);
    assert!(said.contains("rig, firmware 2") && said.contains("rig, firmware 1"), "{said}");
    assert_eq!(rig.count("DOSE 2"), 0);
    // An engineer confirms; the run goes on with it.
    running.bench.ok(&["instrument", "accept", "rig_1", "--by", "ada"]);
    let (code, _, said) = running.bench.run(&["resume"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(rig.count("DOSE 2"), 1);
    running.bench.ok(&["verify"]);
}
