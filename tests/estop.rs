//! The emergency stop over real wires: ahead of every queue, until it is confirmed, until a person
//! clears it. Rows are those of `docs/reference/hazards.md`.
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
use labloop::engine::shell::control::Reply;
use labloop::engine::shell::{Control, History, clear_without_engine};
use labloop::server::Client;
use labloop::store::{Durability, Journal, StateLock};
use rig::{Rig, definition, lab};

const STEPS: &str = "  - {id: heat, do: rig_1.heat, with: {power: 40}}
  - {id: soak, do: rig_1.soak}
finally:
  - {id: cool, do: rig_1.heat, with: {power: 1}}
";

struct Running {
    bench: Bench,
    engine: Child,
}

impl Running {
    fn start(bench: Bench, words: &[&str]) -> Running {
        let log = bench.folder().join("engine.log");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        let engine = labloop()
            .args(words)
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

fn ask(bench: &Bench, control: Control) -> Reply {
    Client::connect(&bench.state()).unwrap().ask(control, Duration::ZERO).unwrap()
}

fn press(bench: &Bench) {
    let control = Control::EmergencyStop { by: "ada".into(), reason: String::new() };
    assert_eq!(ask(bench, control), Reply::Pressed);
}

fn clear(bench: &Bench, reason: Option<&str>) -> Result<(), String> {
    let control = Control::Clear { by: "bob".into(), reason: reason.map(str::to_owned) };
    match ask(bench, control) {
        Reply::Cleared => Ok(()),
        Reply::Refused(refusal) => Err(refusal.message),
        other => panic!("{other:?}"),
    }
}

/// Clears it while no engine is at work.
fn clear_alone(bench: &Bench) -> Result<(), String> {
    let _lock = StateLock::take(&bench.state()).unwrap();
    let mut journal = Journal::open(&bench.state(), Durability::Power).unwrap();
    let history = History::read(&journal, None).unwrap();
    clear_without_engine(&mut journal, &history, "bob", None).unwrap()
}

fn text(path: &std::path::Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_stop_makes_everything_safe_runs_no_finally_and_keeps_new_runs_out_until_it_is_cleared() {
    let bench = Bench::new("estop");
    let rig = Rig::start("rig 1", None);
    let other = Rig::start("rig 2", None);
    let rigs = [("rig_1", &rig), ("rig_2", &other)];
    let (lab_file, protocol) = lab(bench.folder(), &rigs, &definition(None), STEPS);
    other.with(|state| state.power = 9);
    let words = ["run", text(&protocol), "--lab", text(&lab_file)];
    let mut running = Running::start(bench, &words);
    rig.wait("it soaks", |state| state.power == 50);

    let pressed = Instant::now();
    press(&running.bench);
    assert_eq!(running.ended(), 7, "{}", running.said());
    // Also the one that no run had used.
    for rig in [&rig, &other] {
        assert_eq!(rig.with(|state| state.power), 0);
        let first = rig.with(|state| {
            state.told.iter().find(|(at, told)| *at > pressed && told == "OFF").map(|(at, _)| *at)
        });
        assert!(first.is_some(), "no safe state was sent");
    }
    assert_eq!(rig.count("HEAT 1"), 0, "`finally` ran in an emergency");

    // Across restarts: a new run is refused, until somebody clears it.
    let (code, _, said) = running.bench.run(&words);
    assert_eq!(code, 7, "{said}");
    assert!(said.contains("ada pressed was not cleared"), "{said}");
    clear_alone(&running.bench).unwrap();
    assert!(clear_alone(&running.bench).is_err(), "it is cleared already");
    running.bench.ok(&["verify"]);
}

#[test]
fn row_47_one_that_is_not_confirmed_is_told_again_and_again_and_stands_in_the_way_of_clearing() {
    let bench = Bench::new("estop-stubborn");
    let rig = Rig::start("rig 1", None);
    let (lab_file, protocol) = lab(bench.folder(), &[("rig_1", &rig)], &definition(None), STEPS);
    let words = ["run", text(&protocol), "--lab", text(&lab_file)];
    let mut running = Running::start(bench, &words);
    rig.wait("it soaks", |state| state.power == 50);
    rig.with(|state| state.stubborn = true);
    press(&running.bench);
    running.wait_for("NOT CONFIRMED SAFE");
    let tries = rig.count("OFF");
    rig.wait("it is told again", |state| {
        state.told.iter().filter(|(_, told)| told == "OFF").count() > tries + 4
    });
    let said = clear(&running.bench, None).unwrap_err();
    assert!(said.contains("rig_1") && said.contains("NOT CONFIRMED SAFE"), "{said}");
    assert!(running.engine.try_wait().unwrap().is_none(), "it went although rig_1 is not safe");

    // kill -9: the next engine closes the gate and tells it again before anything else.
    running.engine.kill().unwrap();
    running.engine.wait().unwrap();
    let before = rig.count("OFF");
    let Running { bench, .. } = &mut running;
    let bench = std::mem::replace(bench, Bench::new("estop-empty"));
    let mut running = Running::start(bench, &["resume"]);
    rig.wait("the next engine tells it too", |state| {
        state.told.iter().filter(|(_, told)| told == "OFF").count() > before
    });
    // It gives in at last.
    rig.with(|state| state.stubborn = false);
    rig.wait("it is off", |state| state.power == 0);
    let until = Instant::now() + Duration::from_secs(30);
    while clear(&running.bench, None).is_err() {
        assert!(Instant::now() < until, "{}", running.said());
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(rig.count("HEAT 1"), 0, "`finally` ran in an emergency");
    running.engine.kill().unwrap();
    running.engine.wait().unwrap();
    running.bench.ok(&["verify"]);
}

#[test]
fn a_forced_clearing_says_why() {
    let bench = Bench::new("estop-forced");
    let rig = Rig::start("rig 1", None);
    let (lab_file, protocol) = lab(bench.folder(), &[("rig_1", &rig)], &definition(None), STEPS);
    let words = ["run", text(&protocol), "--lab", text(&lab_file)];
    let mut running = Running::start(bench, &words);
    rig.wait("it soaks", |state| state.power == 50);
    rig.with(|state| state.deaf = true);
    press(&running.bench);
    running.wait_for("NOT CONFIRMED SAFE");
    clear(&running.bench, Some("its plug is pulled")).unwrap();
    running.ended();
    running.bench.ok(&["verify"]);
    let journal = rusqlite::Connection::open(running.bench.state().join("journal.db")).unwrap();
    let body: String = journal
        .query_row("SELECT body FROM journal WHERE kind = 'engine_cleared'", [], |row| row.get(0))
        .unwrap();
    assert!(body.contains("its plug is pulled") && body.contains("rig_1"), "{body}");
}
