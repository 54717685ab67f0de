//! The closed loop as a user runs it: the binary, whole campaigns, real files.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod bench;

use bench::{Bench, labloop};
use labloop_simulators::chemistry;

const FLOW: &str = "examples/flow-synthesis/campaign.yaml";
const LIGHT: &str = "examples/light-mixing/campaign.yaml";

#[test]
fn the_same_seed_gives_the_same_journal_twice() {
    let heads: Vec<String> = (0..2)
        .map(|_| {
            let bench = Bench::new("twice");
            bench.ok(&["run", FLOW, "--simulate", "--speed", "max", "--experiments", "9"]);
            bench.ok(&["verify"])
        })
        .collect();
    assert_eq!(heads[0], heads[1]);
    let other = Bench::new("other");
    other.ok(&["run", FLOW, "--simulate", "--speed", "max", "--experiments", "9", "--seed", "2"]);
    assert_ne!(other.ok(&["verify"]), heads[0]);
}

/// The yield without noise where the campaign measured its best, as a share of the optimum.
fn share_of_optimum(seed: u32) -> f64 {
    let bench = Bench::new("seed");
    bench.ok(&["run", FLOW, "--simulate", "--speed", "max", "--seed", &seed.to_string()]);
    let all = bench.json(&["export", "--format", "json"]);
    let mut best: Option<(f64, [f64; 3])> = None;
    let experiments = all["experiments"].as_array().unwrap();
    assert_eq!(experiments.len(), 25);
    for experiment in experiments {
        let Some(yielded) = experiment["conclusion"]["measured"]["results"]["yield"].as_f64()
        else {
            continue;
        };
        let p = &experiment["hypothesis"]["parameters"];
        let si = |name: &str| {
            let q = &p[name]["quantity"];
            q.as_f64().or_else(|| q["value"].as_f64()).unwrap()
        };
        let at = [si("temperature") - 273.15, si("residence_time"), si("ratio")];
        if best.is_none_or(|(b, _)| yielded > b) {
            best = Some((yielded, at));
        }
    }
    let (_, [celsius, seconds, ratio]) = best.unwrap();
    chemistry::noiseless_yield(celsius, seconds, ratio) / chemistry::optimum().1
}

#[test]
fn nine_of_ten_seeds_come_within_five_percent_of_the_optimum() {
    let shares: Vec<f64> = (1..=10).map(share_of_optimum).collect();
    let good = shares.iter().filter(|s| **s >= 0.95).count();
    eprintln!("share of the optimum by seed: {shares:.3?}");
    assert!(good >= 9, "{shares:.3?}");
}

#[test]
fn the_light_kit_finds_the_colour_of_a_spectrum() {
    let bench = Bench::new("light");
    let (code, _, _) = bench.run(&["run", LIGHT, "--simulate", "--speed", "max"]);
    assert!(code == 0 || code == 8, "exit code {code}");
    let all = bench.json(&["export", "--format", "json"]);
    let distances = all["experiments"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|e| e["conclusion"]["measured"]["results"]["distance"].as_f64());
    let best = distances.fold(f64::INFINITY, f64::min);
    // Black is 9,000 counts away; a hundredth of the brightest channel is as good as the eye.
    assert!(best < 600.0, "best distance {best}");
}

#[test]
fn a_single_protocol_runs_with_parameters_from_the_command_line() {
    let bench = Bench::new("single");
    let text = bench.ok(&[
        "run",
        "examples/flow-synthesis/protocol.yaml",
        "--simulate",
        "--speed",
        "max",
        "--set",
        "temperature=85 degC",
        "--set",
        "residence_time=40 s",
        "--set",
        "ratio=0.8",
    ]);
    assert!(text.contains("yield = "), "{text}");
    let (code, _, said) = bench.run(&[
        "run",
        "examples/flow-synthesis/protocol.yaml",
        "--simulate",
        "--speed",
        "max",
        "--set",
        "temperature=200 degC",
    ]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("temperature"), "{said}");
}

#[test]
fn a_campaign_runs_over_somebody_elses_broker_and_simulators_in_another_process() {
    let Some(mosquitto) = bench::mosquitto() else {
        panic!("mosquitto is not installed; ./test installs it");
    };
    let bench = Bench::new("broker");
    let ports = bench::free_ports(2);
    let _broker = bench::Broker::start(&mosquitto, ports[0], bench.folder());
    let lab = std::fs::read_to_string("examples/flow-synthesis/lab.yaml").unwrap();
    let terminal = bench.folder().join("pumps");
    let lab = lab
        .replace("192.168.4.2:1883", &format!("127.0.0.1:{}", ports[0]))
        .replace("192.168.4.11:502", &format!("127.0.0.1:{}", ports[1]))
        .replace("/dev/serial/by-id/pumps", &terminal.display().to_string());
    let file = bench.folder().join("lab.yaml");
    std::fs::write(&file, lab).unwrap();
    let ready = bench.folder().join("ready.json");
    let mut simulators = labloop()
        .args(["simulator", file.to_str().unwrap(), "--speed", "60", "--ready-file"])
        .arg(&ready)
        .spawn()
        .unwrap();
    bench::wait_for(&ready);
    bench.ok(&[
        "run",
        FLOW,
        "--lab",
        file.to_str().unwrap(),
        "--speed",
        "60",
        "--experiments",
        "3",
    ]);
    simulators.kill().unwrap();
    simulators.wait().unwrap();
    let all = bench.json(&["export", "--format", "json"]);
    let experiments = all["experiments"].as_array().unwrap();
    assert_eq!(experiments.len(), 3);
    assert!(experiments.iter().all(|e| e["conclusion"]["measured"].is_object()), "{all:#}");
    bench.ok(&["verify"]);
}

#[test]
fn a_dry_run_that_was_killed_goes_on_without_losing_or_repeating_an_experiment() {
    let bench = Bench::new("dry");
    let mut killed = 0;
    for round in 0..40u64 {
        let first = !bench.run(&["status"]).1.contains("snar-1");
        let mut command = labloop();
        if first {
            command.args(["run", FLOW, "--simulate", "--speed", "max", "--experiments", "12"]);
        } else {
            command.arg("resume");
        }
        let mut child = command
            .arg("--state")
            .arg(bench.state())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(120 + 37 * (round % 7)));
        if killed < 8 {
            child.kill().unwrap();
            child.wait().unwrap();
            killed += 1;
            continue;
        }
        let status = child.wait().unwrap();
        assert!(status.success(), "{status}");
        break;
    }
    let all = bench.json(&["export", "--format", "json"]);
    let experiments = all["experiments"].as_array().unwrap();
    assert_eq!(experiments.len(), 12);
    for experiment in experiments {
        assert!(experiment["conclusion"]["measured"].is_object(), "{experiment:#}");
        let runs = experiment["runs"].as_array().unwrap();
        let complete = runs.iter().filter(|r| r["ending"] == "complete").count();
        assert_eq!(complete, 1, "{experiment:#}");
        // The instruments lost their memory with the process: what was in doubt was discarded.
        assert!(runs.iter().all(|r| r["ending"] == "complete" || r["ending"] == "invalid"));
    }
    bench.ok(&["verify"]);
}
