//! Masters nobody here wrote, mbpoll and minimalmodbus, against labloop's own Modbus simulators: over
//! TCP, and in RTU and ASCII on terminals.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod bench;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use bench::{Bench, labloop, peers, wait_for};
use serde_json::{Value as Json, json};

/// A process that ends with its test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Instruments of a lab as simulators.
const LAB: &str = "\
schema: labloop/lab/v1
name: masters
instruments:
  bath: {use: watlow-ez-zone, at: \"modbus+tcp://10.0.0.1:502?unit=1\", plays: [bath], config: {highest: 200 degC}}
  gas_1: {use: alicat-modbus, at: \"modbus+serial:/dev/bus?unit=3\", plays: [gas], config: {full_scale: 20 mL/min}}
  gas_2: {use: alicat-modbus, at: \"modbus+serial:/dev/bus?unit=5\", plays: [gas], config: {full_scale: 20 mL/min}}
  acid: {use: hamilton-arc-ph, at: \"modbus+serial:/dev/arc?unit=2\", plays: [acid]}
  oven: {use: omega-cn7, at: \"modbus+serial:/dev/oven?unit=1\", plays: [oven], config: {highest: 200 degC}}
";

/// labloop's simulators; where each is, by its address in the lab.
fn simulators(bench: &Bench) -> (Process, BTreeMap<String, String>) {
    let lab = bench.folder().join("lab.yaml");
    std::fs::write(&lab, LAB).unwrap();
    let ready = bench.folder().join("ready.json");
    let child = labloop()
        .arg("simulator")
        .arg(&lab)
        .args(["--anywhere", "--seed", "7", "--ready-file"])
        .arg(&ready)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let child = Process(child);
    wait_for(&ready);
    let text: Json = serde_json::from_slice(&std::fs::read(&ready).unwrap()).unwrap();
    let places = text["endpoints"].as_object().unwrap();
    let place = |at: &Json| {
        let at = at.as_str().unwrap().split('?').next().unwrap();
        at.trim_start_matches("modbus+tcp://").trim_start_matches("modbus+serial:").to_owned()
    };
    let places = places.iter().map(|(lab, at)| (lab.clone(), place(at))).collect();
    (child, places)
}

/// One call of mbpoll, with registers counted from 0; the values it shows, or what it complains of.
fn mbpoll(
    place: &[&str],
    unit: u8,
    kind: &str,
    from: u16,
    count: u16,
    write: &[&str],
) -> Vec<String> {
    let (unit, from, count) = (unit.to_string(), from.to_string(), count.to_string());
    let mut command = Command::new("mbpoll");
    command.args(["-0", "-q", "-o", "1", "-a", &unit, "-t", kind, "-r", &from]);
    if write.is_empty() {
        command.args(["-1", "-c", &count]);
    }
    let output = command.args(place).args(write).output();
    let output = output.expect("mbpoll is missing: run ./test once");
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    let shown: Vec<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix('[')?.split_once(':'))
        .map(|(_, value)| value.trim().to_owned())
        .collect();
    let said = |words: &str| text.lines().find(|line| line.contains(words)).map(str::to_owned);
    match said("failed").or_else(|| said("Written")) {
        Some(line) => vec![line],
        None => shown,
    }
}

fn near(shown: &[String], expected: f64, within: f64) {
    let [value] = shown else { panic!("{shown:?}") };
    let value: f64 = value.parse().unwrap_or_else(|_| panic!("{shown:?}"));
    assert!((value - expected).abs() <= within, "{value} is not {expected}");
}

fn complains(shown: &[String], of: &str) {
    assert!(matches!(shown, [line] if line.contains(of)), "{shown:?}");
}

#[test]
fn mbpoll_reads_and_writes_a_simulator_over_tcp() {
    let bench = Bench::new("modbus-masters");
    let (_simulators, places) = simulators(&bench);
    let (host, port) = places["modbus+tcp://10.0.0.1:502?unit=1"].split_once(':').unwrap();
    let place = ["-m", "tcp", "-p", port, host];
    let at = |kind, from, write: &[&str]| mbpoll(&place, 1, kind, from, 1, write);
    // degF, low word first, which is what mbpoll takes unless told otherwise.
    near(&at("4:float", 2160, &[]), 77.0, 0.0);
    near(&at("4:float", 360, &[]), 77.0, 1.0);
    near(&at("4", 1880, &[]), 10.0, 0.0);
    complains(&at("4:float", 2160, &["100.4"]), "Written 1 references");
    near(&at("4:float", 2160, &[]), 100.4, 1e-4);
    complains(&at("4", 1880, &["62"]), "Written 1 references");
    near(&at("4", 1880, &[]), 62.0, 0.0);
    // What is not there, and half of a value.
    complains(&at("4", 5, &[]), "Illegal data address");
    complains(&at("3", 360, &[]), "Illegal data address");
    complains(&at("4", 2160, &["5"]), "Illegal data address");
    near(&at("4:float", 2160, &[]), 100.4, 1e-4);
    // The gateway says that nobody is there.
    complains(&mbpoll(&place, 8, "4", 360, 1, &[]), "failed");
}

#[test]
fn mbpoll_reads_and_writes_two_simulators_on_one_terminal() {
    let bench = Bench::new("modbus-masters");
    let (_simulators, places) = simulators(&bench);
    let line = places["modbus+serial:/dev/bus?unit=3"].as_str();
    assert_eq!(line, places["modbus+serial:/dev/bus?unit=5"]);
    let place = ["-m", "rtu", "-b", "19200", "-P", "none", "-B", line];
    let at = |unit, from, write: &[&str]| mbpoll(&place, unit, "4:float", from, 1, write);
    complains(&at(3, 1009, &["15.5"]), "Written 1 references");
    complains(&at(5, 1009, &["4.25"]), "Written 1 references");
    near(&at(3, 1009, &[]), 15.5, 0.0);
    near(&at(5, 1009, &[]), 4.25, 0.0);
    near(&at(3, 1204, &[]), 22.0, 1.0);
    complains(&at(3, 1300, &[]), "Illegal data address");
    complains(&at(7, 1009, &[]), "timed out");
    near(&at(5, 1009, &[]), 4.25, 0.0);
}

/// Calls of minimalmodbus and what came of them.
fn minimalmodbus(mode: &str, port: &str, calls: &Json) -> Vec<Json> {
    let mut python = Command::new(peers())
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/modbus_master.py"))
        .args([mode, port])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(calls.to_string().as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn minimalmodbus_reads_and_writes_simulators_in_rtu() {
    let bench = Bench::new("modbus-masters");
    let (_simulators, places) = simulators(&bench);
    let line = places["modbus+serial:/dev/bus?unit=3"].as_str();
    let calls = json!([
        [3, "write_float", 1009, 12.5],
        [5, "write_float", 1009, 3.75],
        [3, "read_float", 1009],
        [5, "read_float", 1009],
        [3, "read_long", 999],
        [3, "write_registers", 999, [6, 1]],
        [3, "read_registers", 999, 2],
        [3, "read_float", 1009],
        [3, "write_register", 1009, 5, 0, 6],
        [3, "read_register", 1300],
        [7, "read_float", 1009],
        [5, "read_float", 1009],
    ]);
    let results = minimalmodbus("rtu", line, &calls);
    let expected = json!([
        null,
        null,
        12.5,
        3.75,
        0,
        null,
        // The valve is held, the argument replaced by "well", and no gas is wanted any more.
        [6, 0],
        0.0,
        "IllegalRequestError",
        "IllegalRequestError",
        "NoResponseError",
        3.75
    ]);
    assert_eq!(Json::from(results), expected);

    let arc = places["modbus+serial:/dev/arc?unit=2"].as_str();
    let calls = json!([
        [2, "read_registers", 2089, 10],
        [2, "read_float", 2091, 3, 2, 3],
        [2, "read_registers", 2089, 9],
        [2, "read_registers", 2090, 10],
    ]);
    let results = minimalmodbus("rtu", arc, &calls);
    let words = results[0].as_array().unwrap();
    let word = |at: usize| u32::try_from(words[at].as_u64().unwrap()).unwrap();
    let ph = f32::from_bits(word(3) << 16 | word(2));
    assert!((ph - 7.01).abs() < 0.1, "{ph}");
    // A part of a block is refused, as the sensor does.
    assert_eq!(results[1..], ["IllegalRequestError"; 3]);
}

#[test]
fn minimalmodbus_reads_and_writes_a_simulator_in_ascii_and_in_rtu() {
    let bench = Bench::new("modbus-masters");
    let (_simulators, places) = simulators(&bench);
    let line = places["modbus+serial:/dev/oven?unit=1"].as_str();
    for (mode, target) in [("ascii", 80.5), ("rtu", 60.5)] {
        let calls = json!([
            [1, "write_bit", 2068, 0, 5],
            [1, "read_bit", 2068, 2],
            [1, "write_register", 4097, target, 1, 6, true],
            [1, "read_register", 4097, 1, 3, true],
            [1, "write_bit", 2068, 1, 15],
            [1, "read_bit", 2068, 2],
            [1, "read_register", 4096, 1, 3, true],
            [1, "read_register", 5000, 1, 3, true],
        ]);
        let results = minimalmodbus(mode, line, &calls);
        let temperature = results[6].as_f64().unwrap();
        let temperature_is_likely = (15.0..30.0).contains(&temperature);
        assert!(temperature_is_likely, "{mode}: {temperature}");
        let others: Vec<&Json> =
            results.iter().enumerate().filter(|(at, _)| *at != 6).map(|(_, r)| r).collect();
        let expected = json!([null, 0, null, target, null, 1, "IllegalRequestError"]);
        assert_eq!(json!(others), expected, "{mode}");
    }
}
