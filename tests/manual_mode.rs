//! An instrument in a person's hands while the engine runs.
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
use labloop::engine::shell::Control;
use labloop::engine::shell::control::Reply;
use labloop::server::Client;
use rig::{Rig, definition, lab};

struct Running {
    bench: Bench,
    engine: Child,
    lab: String,
}

impl Running {
    fn start(name: &str, rigs: &[(&str, &Rig)], steps: &str) -> Running {
        let bench = Bench::new(name);
        let (lab, protocol) = lab(bench.folder(), rigs, &definition(None), steps);
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
        let lab = lab.to_str().unwrap().to_owned();
        let running = Running { bench, engine, lab };
        wait_for(&running.bench.state().join("control.sock"));
        running
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.bench.folder().join("engine.log")).unwrap()
    }

    fn ask(&self, control: Control) -> Reply {
        Client::connect(&self.bench.state()).unwrap().ask(control, Duration::ZERO).unwrap()
    }

    fn hand(&self, words: &[&str]) -> (i32, String, String) {
        self.bench.run(&[&["instrument"], words].concat())
    }

    fn call(&self, words: &[&str]) -> (i32, String, String) {
        let all = [&["call", self.lab.as_str(), "rig_1"], words].concat();
        self.hand(&all)
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

/// Heats, waits for three seconds, doses.
const STEPS: &str = "  - {id: heat, do: rig_1.heat, with: {power: 40}}
  - {id: rest, wait: 3 s}
  - {id: dose, do: rig_1.dose, with: {count: 2}}
";

#[test]
fn row_52_an_instrument_is_taken_acted_on_and_given_back_and_its_run_is_held_with_the_list() {
    let rig = Rig::start("rig 1", None);
    let mut running = Running::start("hands", &[("rig_1", &rig)], STEPS);
    rig.wait("it is heated", |state| state.power == 40);

    // Not taken: it is read and stopped by hand, nothing else.
    let (code, _, said) = running.call(&["heat", "--set", "power=70", "--yes"]);
    assert_ne!(code, 0);
    assert!(said.contains("is not taken"), "{said}");
    let (code, out, said) = running.call(&["power"]);
    assert_eq!(code, 0, "{said}");
    assert!(out.contains("power = 40"), "{out}");

    let (code, _, said) = running.hand(&["take", "rig_1", "--by", "ada", "--reason", "clogged"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("trial-1"), "the run that has used it is not named: {said}");
    let (code, _, said) = running.hand(&["take", "rig_1", "--by", "bob"]);
    assert_ne!(code, 0);
    assert!(said.contains("in ada's hands"), "{said}");

    // The same limits.
    let (code, _, said) = running.call(&["heat", "--set", "power=101", "--yes"]);
    assert_ne!(code, 0);
    assert!(said.contains("100"), "{said}");
    assert_eq!(rig.count("HEAT 101"), 0);
    let (code, _, said) = running.call(&["heat", "--set", "power=70", "--yes"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(rig.with(|state| state.power), 70);
    let (code, _, said) = running.call(&["dose", "--set", "count=3", "--yes"]);
    assert_eq!(code, 0, "{said}");

    // The run waits where it needs it, for longer than its own wait.
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(rig.count("DOSE 2"), 0, "the run went on with an instrument that was taken");

    let (code, _, said) = running.hand(&["give", "rig_1", "--by", "ada"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("heat(power: 70)") && said.contains("dose(count: 3)"), "{said}");
    assert!(said.contains("trial-1"), "{said}");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(rig.count("DOSE 2"), 0, "the run went on before a person said so");
    let resume = Control::Command {
        target: None,
        command: labloop::engine::core::Command::Resume,
        by: "ada".into(),
        reason: String::new(),
    };
    assert!(matches!(running.ask(resume), Reply::Commanded { .. }));
    assert_eq!(running.ended(), 0, "{}", running.said());
    assert_eq!(rig.count("DOSE 2"), 1);

    // Everything is in the journal, with its author.
    running.bench.ok(&["verify"]);
    running.bench.ok(&["replay"]);
    let journal = rusqlite::Connection::open(running.bench.state().join("journal.db")).unwrap();
    let kinds = |kind: &str| -> Vec<String> {
        let mut rows = journal.prepare("SELECT body FROM journal WHERE kind = ?1").unwrap();
        let found = rows.query_map([kind], |row| row.get(0)).unwrap();
        found.map(Result::unwrap).collect()
    };
    let taken = kinds("engine_taken");
    assert!(taken[0].contains("ada") && taken[0].contains("clogged"), "{taken:?}");
    assert_eq!(kinds("manual_intent").len(), 2);
    assert_eq!(kinds("manual_outcome").len(), 2);
    assert!(kinds("engine_given")[0].contains("heat(power: 70)"));
    // The dose by hand has its witness before it.
    assert!(kinds("manual_intent")[1].contains("baseline"), "{:?}", kinds("manual_intent"));
}

#[test]
fn an_instrument_with_a_command_under_way_is_not_taken() {
    let rig = Rig::start("rig 1", None);
    let steps = "  - {id: soak, do: rig_1.soak}\n";
    let mut running = Running::start("hands-busy", &[("rig_1", &rig)], steps);
    rig.wait("it soaks", |state| state.power == 50);
    let (code, _, said) = running.hand(&["take", "rig_1"]);
    assert_ne!(code, 0);
    assert!(said.contains("soak of run trial-1"), "{said}");
    // What stops is carried out at any time, and ends what was under way.
    let (code, _, said) = running.call(&["safe_state"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(rig.with(|state| state.power), 0);
    let _ = running.engine.kill();
}

#[test]
fn what_was_taken_is_still_taken_when_the_engine_comes_back() {
    let rig = Rig::start("rig 1", None);
    let mut running = Running::start("hands-kill", &[("rig_1", &rig)], STEPS);
    rig.wait("it is heated", |state| state.power == 40);
    let (code, _, said) = running.hand(&["take", "rig_1", "--by", "ada"]);
    assert_eq!(code, 0, "{said}");
    running.engine.kill().unwrap();
    running.engine.wait().unwrap();
    std::fs::remove_file(running.bench.state().join("control.sock")).unwrap_or_default();
    running.engine = labloop()
        .arg("resume")
        .arg("--state")
        .arg(running.bench.state())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for(&running.bench.state().join("control.sock"));
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(rig.count("DOSE 2"), 0, "the run went on with an instrument that was taken");
    // Nothing was done to it: its run goes on by itself.
    let (code, _, said) = running.hand(&["give", "rig_1", "--by", "ada"]);
    assert_eq!(code, 0, "{said}");
    rig.wait("the run goes on", |state| state.total == 2);
    assert_eq!(running.ended(), 0);
    running.bench.ok(&["replay"]);
}
