//! The engine is killed again and again over real wires. Its instruments live on in a process of
//! their own and count what they are told.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod bench;

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::{Duration, Instant};

use bench::{Bench, labloop};

const KILLS: u32 = 20;
const EXPERIMENTS: usize = 8;
/// Seed of the moments; change it to look at others.
const SEED: u64 = 20_261_123;

/// Numbers for the moments of the kills (xorshift, Marsaglia 2003).
struct Moments(u64);

impl Moments {
    fn next(&mut self) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        Duration::from_millis(150 + self.0 % 1_500)
    }
}

#[test]
fn a_campaign_killed_twenty_times_loses_nothing_and_dispenses_nothing_twice() {
    let bench = Bench::new("kills");
    let mut moments = Moments(SEED);
    let mut kills = 0;
    loop {
        let begun = bench.run(&["status"]).1.contains("snar-1");
        let mut command = labloop();
        if begun {
            command.arg("resume");
        } else {
            command.args(["run", "examples/flow-synthesis/campaign.yaml"]);
            command.args(["--simulate", "--speed", "60"]);
            command.args(["--experiments", &EXPERIMENTS.to_string()]);
        }
        let mut engine = command
            .arg("--state")
            .arg(bench.state())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        if kills < KILLS {
            let until = Instant::now() + moments.next();
            let mut ended = None;
            while Instant::now() < until && ended.is_none() {
                ended = engine.try_wait().unwrap();
                std::thread::sleep(Duration::from_millis(5));
            }
            if ended.is_none() {
                engine.kill().unwrap();
                engine.wait().unwrap();
                kills += 1;
                continue;
            }
            assert!(ended.unwrap().success(), "it ended by itself: {ended:?}");
            break;
        }
        assert!(engine.wait().unwrap().success());
        break;
    }
    assert!(kills >= KILLS / 2, "only {kills} kills: the campaign was over too soon");

    let all = bench.json(&["export", "--format", "json"]);
    let experiments = all["experiments"].as_array().unwrap();
    assert_eq!(experiments.len(), EXPERIMENTS);
    for experiment in experiments {
        assert!(experiment["conclusion"]["measured"].is_object(), "{experiment:#}");
    }

    // What the instruments were told against what the journal says.
    let mut told: BTreeMap<(String, String), usize> = BTreeMap::new();
    let effects = std::fs::read_to_string(bench.state().join("simulators/effects.jsonl")).unwrap();
    for line in effects.lines() {
        let effect: serde_json::Value = serde_json::from_str(line).unwrap();
        let key = |name: &str| effect[name].as_str().unwrap().to_owned();
        *told.entry((key("instrument"), key("effect"))).or_default() += 1;
    }
    let runs = bench.json(&["export", "--what", "steps", "--format", "json"]);
    let mut noted: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut starts_sent: BTreeMap<String, usize> = BTreeMap::new();
    for run in runs.as_array().unwrap() {
        for step in run["steps"].as_array().unwrap() {
            let text = |name: &str| step[name].as_str().unwrap().to_owned();
            let outcome = text("outcome");
            if text("action") == "dispense" && outcome.starts_with("done") {
                *noted.entry((text("instrument"), "dispense".to_owned())).or_default() += 1;
            }
            if text("action") == "start" {
                *starts_sent.entry(text("instrument")).or_default() += 1;
            }
        }
    }
    for pump in ["pump_1", "pump_2"] {
        let key = (pump.to_owned(), "dispense".to_owned());
        let lost: usize =
            runs.as_array().unwrap().iter().filter(|r| r["ending"] == "invalid").count();
        assert_eq!(told.get(&key), noted.get(&key), "{pump} ({lost} samples discarded)");
        // A set point may be sent again; the journal knows of each time.
        let started = told.get(&(pump.to_owned(), "start".to_owned())).copied().unwrap_or(0);
        assert!(started <= starts_sent[pump], "{pump}: {started} starts");
    }
    bench.ok(&["verify"]);
}
