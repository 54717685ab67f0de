//! What a hold and a long absence do to an instrument on a real wire.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod bench;
mod rig;

use std::path::PathBuf;
use std::time::Duration;

use bench::engine::Engine;
use bench::{Bench, labloop, wait_for};
use rig::{Rig, definition, lab};

/// Full power, and nothing for a while.
const STEPS: &str = "  - {id: heat, do: rig_1.heat, with: {power: 80}}
  - {id: wait, wait: WAIT}
  - {id: halt, do: rig_1.halt}
";

struct Heated {
    bench: Bench,
    rig: Rig,
    lab: PathBuf,
    protocol: PathBuf,
}

impl Heated {
    /// `hold`: what the definition says of its hold state; `more`: of the protocol.
    fn new(name: &str, hold: &str, wait: &str, more: &str) -> Heated {
        let bench = Bench::new(name);
        let rig = Rig::start("rig 1", None);
        let definition = format!("{}{hold}", definition(None));
        let steps = format!("{}{more}", STEPS.replace("WAIT", wait));
        let (lab, protocol) = lab(bench.folder(), &[("rig_1", &rig)], &definition, &steps);
        Heated { bench, rig, lab, protocol }
    }

    fn run(&self) -> Engine {
        let mut command = labloop();
        command.arg("run").arg(&self.protocol).arg("--lab").arg(&self.lab);
        self.engine(command)
    }

    fn resume(&self) -> Engine {
        let mut command = labloop();
        command.arg("resume");
        self.engine(command)
    }

    fn engine(&self, mut command: std::process::Command) -> Engine {
        command.arg("--state").arg(self.bench.state());
        let engine = Engine::start(command, self.bench.folder().join("engine.log"));
        wait_for(&self.bench.state().join("control.sock"));
        engine
    }

    fn power(&self, power: i64) {
        self.rig.wait(&format!("its power is {power}"), |state| state.power == power);
    }

    fn state_of_run(&self) -> String {
        let status = self.bench.json(&["status", "--json"]);
        status["live"]["runs"][0]["state"].as_str().unwrap_or_default().to_owned()
    }
}

const LOW: &str = "hold_state: {do: [{send: \"HEAT 5\", parse: OK}], confirm: power == 5}\n";

#[test]
fn a_hold_brings_an_instrument_to_its_hold_state_and_resume_sets_it_going_again() {
    // A heater without a hold state goes on heating; what stays as it is, is not set going again.
    for (hold, held, lowered, heated_up) in
        [(LOW, 5, 1, 2), ("hold_state: []\n", 80, 0, 1), ("", 80, 0, 1)]
    {
        let heated = Heated::new("held", hold, "3 s", "");
        let mut engine = heated.run();
        heated.power(80);
        heated.bench.ok(&["hold", "--reason", "a look at the flask"]);
        heated.power(held);
        assert_eq!(heated.state_of_run(), "held", "{}", engine.said());
        // It stays so, for longer than the wait would have taken.
        std::thread::sleep(Duration::from_secs(4));
        heated.power(held);
        heated.bench.ok(&["resume"]);
        heated.power(80);
        assert_eq!(engine.ended(), 0, "{}", engine.said());
        assert_eq!((heated.rig.count("HEAT 5"), heated.rig.count("HEAT 80")), (lowered, heated_up));
        heated.power(0);
        heated.bench.ok(&["replay"]);
    }
}

#[test]
fn a_run_left_alone_for_longer_than_its_protocol_allows_is_held_and_asks() {
    let heated = Heated::new("away", LOW, "20 s", "resume: {within: 2 s}\n");
    let mut engine = heated.run();
    heated.power(80);
    engine.kill();
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(heated.rig.with(|state| state.power), 80, "nothing watches it meanwhile");
    let mut engine = heated.resume();
    // It may have spoilt: nothing goes on before a person has looked.
    heated.power(5);
    engine.wait_for("longer than the");
    engine.wait_for("run trial-1.1.1 is held");
    assert_eq!(heated.state_of_run(), "held", "{}", engine.said());
    let open = heated.bench.json(&["ask", "--json"]);
    let question = &open["questions"][0];
    assert!(question["question"].as_str().unwrap().contains("Look at the sample"), "{open:#}");
    let id = question["id"].to_string();
    let answers = question["options"].to_string();
    for answer in ["resume", "stop", "abort"] {
        assert!(answers.contains(answer), "{open:#}");
    }
    heated.bench.ok(&["ask", id.trim_matches('"'), "resume", "--by", "ada"]);
    heated.power(80);
    assert_eq!(engine.ended(), 0, "{}", engine.said());
    assert_eq!(heated.rig.count("HEAT 80"), 2);
    heated.bench.ok(&["verify"]);
    heated.bench.ok(&["replay"]);
}

#[test]
fn a_run_left_alone_for_less_than_its_protocol_allows_goes_on_by_itself() {
    let heated = Heated::new("back", LOW, "8 s", "resume: {within: 10 min}\n");
    let mut engine = heated.run();
    heated.power(80);
    engine.kill();
    std::thread::sleep(Duration::from_secs(2));
    let mut engine = heated.resume();
    assert_eq!(engine.ended(), 0, "{}", engine.said());
    // It was heating all the time, and is told so once.
    assert_eq!((heated.rig.count("HEAT 5"), heated.rig.count("HEAT 80")), (0, 1));
    heated.power(0);
}
