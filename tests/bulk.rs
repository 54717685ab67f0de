//! Large curves and images: they arrive whole, are kept once, stay out of the journal, come back
//! after a kill, and no change of them goes unnoticed.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod bench;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bench::{Bench, Broker, free_ports, labloop, mosquitto, wait_for};

/// Points of the oscilloscope's record: a block of 1 MB.
const POINTS: usize = 500_000;

/// Bytes of a record: a ramp, so that every byte stands in it, line ends too.
fn record() -> Vec<u8> {
    (0..POINTS).flat_map(|at| i16::try_from(at % 20_000).unwrap().to_be_bytes()).collect()
}

/// An oscilloscope on a socket, which answers until the test ends.
fn oscilloscope() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                for line in lines.map_while(Result::ok) {
                    let answer = match line.as_str() {
                        "*IDN?" => b"TEST,SCOPE,1,1\n".to_vec(),
                        "*ESR?" | "ACQ:STATE?" => b"0\n".to_vec(),
                        "WFMP:YMU?" => b"1.0E-3\n".to_vec(),
                        "WFMP:YOF?" | "WFMP:YZE?" | "WFMP:XZE?" => b"0.0\n".to_vec(),
                        "WFMP:XIN?" => b"1.0E-6\n".to_vec(),
                        "CURV?" => {
                            let data = record();
                            let mut block = format!("#7{:07}", data.len()).into_bytes();
                            block.extend(data);
                            block.push(b'\n');
                            block
                        }
                        _ => continue,
                    };
                    if stream.write_all(&answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

/// A lab with an oscilloscope, and a protocol that reads it.
fn scope_bench(name: &str, steps: &str) -> (Bench, String) {
    let bench = Bench::new(name);
    let port = oscilloscope();
    let lab = format!(
        "schema: labloop/lab/v1\nname: bench\ninstruments:\n  \
         scope_1: {{use: scpi-oscilloscope, at: \"tcp://127.0.0.1:{port}\", plays: [scope]}}\n"
    );
    std::fs::write(bench.folder().join("lab.yaml"), lab).unwrap();
    let protocol = format!(
        "schema: labloop/protocol/v1\nname: record\nroles: {{scope: {{type: oscilloscope}}}}\n\
         steps:\n{steps}\nresults:\n  level: {{value: \"${{ mean(steps.first) }}\", unit: V}}\n"
    );
    let path = bench.folder().join("protocol.yaml");
    std::fs::write(&path, protocol).unwrap();
    (bench, path.to_str().unwrap().to_owned())
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    entries
        .flat_map(|entry| {
            let path = entry.unwrap().path();
            if path.is_dir() { files_below(&path) } else { vec![path] }
        })
        .collect()
}

fn journal_bytes(state: &Path) -> u64 {
    ["journal.db", "journal.db-wal"]
        .iter()
        .filter_map(|name| std::fs::metadata(state.join(name)).ok())
        .map(|meta| meta.len())
        .sum()
}

const THRICE: &str = "  - {id: first, do: scope.measure}\n  - {id: second, do: scope.measure}\n  \
                      - {id: third, do: scope.measure}";

/// Mean of the ramp in volts.
const LEVEL: f64 = 9.9995;

#[test]
fn a_block_of_a_megabyte_is_kept_once_and_the_journal_stays_small() {
    let (bench, protocol) = scope_bench("block", THRICE);
    bench.ok(&["run", &protocol]);

    let files = files_below(&bench.state().join("files"));
    assert_eq!(files.len(), 1, "{files:?}");
    let size = std::fs::metadata(&files[0]).unwrap().len();
    assert!((8 * POINTS as u64..8 * POINTS as u64 + 1_000).contains(&size), "{size} bytes");
    let journal = journal_bytes(&bench.state());
    assert!(journal < 400_000, "the journal has {journal} bytes");

    let listed = bench.json(&["export", "--what", "files", "--format", "json"]);
    let listed = listed.as_array().unwrap();
    assert_eq!(listed.len(), 3);
    let steps: Vec<&str> = listed.iter().map(|l| l["step"].as_str().unwrap()).collect();
    assert_eq!(steps, ["first", "second", "third"]);
    let file = &listed[0]["file"];
    assert_eq!(file["sha256"].as_str(), files[0].file_name().unwrap().to_str());
    assert_eq!((file["unit"].as_str(), file["axes"][0]["unit"].as_str()), (Some("V"), Some("s")));
    assert_eq!(file["axes"][0]["length"].as_u64(), Some(POINTS as u64));

    let to = bench.folder().join("numbers");
    bench.ok(&["export", "--what", "files", "--to", to.to_str().unwrap()]);
    let name = file["sha256"].as_str().unwrap();
    let csv = std::fs::read_to_string(to.join(format!("{name}.csv"))).unwrap();
    let mut lines = csv.lines();
    assert_eq!(lines.next(), Some("x [s],y [V]"));
    let (x, y) = lines.nth(10).unwrap().split_once(',').unwrap();
    assert!((x.parse::<f64>().unwrap() - 10e-6).abs() < 1e-15, "{x}");
    assert!((y.parse::<f64>().unwrap() - 10e-3).abs() < 1e-12, "{y}");
    assert_eq!(lines.count(), POINTS - 11);
    assert!(to.join(format!("{name}.json")).exists());

    // In the list of steps the values are named, not spilled.
    assert!(bench.ok(&["export", "--what", "steps", "--format", "json"]).len() < 10_000);
}

#[test]
fn a_change_of_a_file_is_found() {
    let (bench, protocol) = scope_bench("tamper", THRICE);
    bench.ok(&["run", &protocol]);
    assert_eq!(bench.json(&["verify", "--json"])["files"].as_u64(), Some(1));
    let file = files_below(&bench.state().join("files")).remove(0);
    let good = std::fs::read(&file).unwrap();

    let mut changed = good.clone();
    changed[good.len() / 2] ^= 1;
    std::fs::write(&file, &changed).unwrap();
    let (code, _, said) = bench.run(&["verify"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("was changed") && said.contains("entry"), "{said}");

    std::fs::remove_file(&file).unwrap();
    let (code, _, said) = bench.run(&["verify"]);
    assert!(code == 1 && said.contains("is missing"), "{said}");
    let to = bench.folder().join("numbers");
    let (code, _, said) = bench.run(&["export", "--what", "files", "--to", to.to_str().unwrap()]);
    assert!(code != 0 && said.contains("is missing"), "{said}");

    std::fs::write(&file, &good).unwrap();
    bench.ok(&["verify"]);
}

/// Starts a run and kills it as soon as its record is in the journal.
fn killed(bench: &Bench, protocol: &str) {
    let mut engine = labloop()
        .args(["run", protocol, "--state"])
        .arg(bench.state())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let (_, steps, _) = bench.run(&["export", "--what", "files", "--format", "json"]);
        if steps.contains("\"first\"") {
            break;
        }
        assert!(Instant::now() < until, "nothing was measured");
        std::thread::sleep(Duration::from_millis(50));
    }
    engine.kill().unwrap();
    engine.wait().unwrap();
}

const AND_WAIT: &str = "  - {id: first, do: scope.measure}\n  - {wait: 4 s}";

#[test]
fn a_run_that_was_killed_goes_on_with_the_curve_it_had() {
    let (bench, protocol) = scope_bench("resume", AND_WAIT);
    killed(&bench, &protocol);
    bench.ok(&["resume"]);
    let all = bench.json(&["export", "--format", "json"]);
    let run = &all["experiments"][0];
    let level = run.pointer("/conclusion/measured/results/level").and_then(|v| v.as_f64());
    assert!((level.unwrap() - LEVEL).abs() < 1e-9, "{run}");
    bench.ok(&["verify"]);
}

#[test]
fn a_run_whose_curve_was_changed_does_not_go_on() {
    let (bench, protocol) = scope_bench("resume-changed", AND_WAIT);
    killed(&bench, &protocol);
    let file = files_below(&bench.state().join("files")).remove(0);
    let mut content = std::fs::read(&file).unwrap();
    let last = content.len() - 1;
    content[last] ^= 1;
    std::fs::write(&file, content).unwrap();
    let (code, _, said) = bench.run(&["resume"]);
    assert_ne!(code, 0, "{said}");
    assert!(said.contains("was changed after it was written"), "{said}");
}

/// Points of the spectrum over MQTT.
const LINES: usize = 120_000;

const GATEWAY: &str = r#"schema: labloop/instrument/v1
name: gateway
type: spectrometer
config: {}
connection: {mqtt: {version: 5, qos: 1}, reply_timeout: 20 s}
actions:
  measure:
    do: [{publish: ask, json: {}, reply: {topic: spectrum, correlate: next}}]
    returns: {series: {x: nm, y: "1"}}
    effect: read
    takes: {expected: 1 s, timeout: 30 s}
  image:
    do: [{publish: ask, json: {}, reply: {topic: image, correlate: next, binary: {type: u16le, axes: {x: {length: 400}}}}}]
    returns: {array: {unit: "1", axes: {y: um, x: um}}}
    effect: read
    takes: {expected: 1 s, timeout: 30 s}
safe_state: []
examples:
  - {action: measure, bytes: ["ask {}", "spectrum {\"x\": [1, 2], \"y\": [3, 4]}"], value: {x: [1 nm, 2 nm], y: [3, 4]}}
"#;

/// Answers the next question with the content of a file.
fn gateway(port: u16, topic: &str, file: &Path) -> Child {
    let script = format!(
        "mosquitto_sub -p {port} -t lab/ask -C 1 >/dev/null && \
         mosquitto_pub -p {port} -t lab/{topic} -f '{}'",
        file.display()
    );
    Command::new("sh").args(["-c", &script]).spawn().unwrap()
}

#[test]
fn a_long_spectrum_and_an_image_over_mqtt_are_kept_as_files() {
    let Some(program) = mosquitto() else { panic!("mosquitto is needed: apt install mosquitto") };
    let bench = Bench::new("mqtt");
    let folder = bench.folder();
    let port = free_ports(1)[0];
    let _broker = Broker::start(&program, port, folder);
    std::fs::write(folder.join("gateway.yaml"), GATEWAY).unwrap();
    let lab = format!(
        "schema: labloop/lab/v1\nname: bench\ninstruments:\n  \
         spec_1: {{use: gateway, at: \"mqtt://127.0.0.1:{port}/lab\", plays: [light]}}\n"
    );
    std::fs::write(folder.join("lab.yaml"), lab).unwrap();
    let x: Vec<String> = (0..LINES).map(|at| format!("{:.3}", 200.0 + at as f64 / 200.0)).collect();
    let y: Vec<String> = (0..LINES).map(|at| format!("{:.4}", (at as f64 / 1e3).sin())).collect();
    let json = format!("{{\"x\": [{}], \"y\": [{}]}}", x.join(","), y.join(","));
    std::fs::write(folder.join("spectrum.json"), json).unwrap();
    let pixels: Vec<u8> =
        (0..300u32 * 400).flat_map(|at| ((at % 4096) as u16).to_le_bytes()).collect();
    std::fs::write(folder.join("image.raw"), &pixels).unwrap();
    let run = |name: &str, result: &str, topic: &str, file: &str| {
        let protocol = format!(
            "schema: labloop/protocol/v1\nname: {name}\nroles: {{light: {{type: spectrometer}}}}\n\
             steps: [{{id: first, do: light.{name}}}]\n\
             results: {{level: {{value: \"${{ {result} }}\"}}}}\n"
        );
        let path = folder.join(format!("{name}.yaml"));
        std::fs::write(&path, protocol).unwrap();
        let mut gateway = gateway(port, topic, &folder.join(file));
        // The gateway must listen before it is asked.
        std::thread::sleep(Duration::from_millis(500));
        bench.ok(&[
            "run",
            path.to_str().unwrap(),
            "--lab",
            folder.join("lab.yaml").to_str().unwrap(),
        ]);
        assert!(gateway.wait().unwrap().success());
    };
    run("measure", "mean(steps.first)", "spectrum", "spectrum.json");
    run("image", "max(steps.first)", "image", "image.raw");

    let files = files_below(&bench.state().join("files"));
    assert_eq!(files.len(), 2, "{files:?}");
    let journal = journal_bytes(&bench.state());
    assert!(journal < 400_000, "the journal has {journal} bytes");
    assert_eq!(bench.json(&["verify", "--json"])["files"].as_u64(), Some(2));

    let image = bench.json(&["export", "--format", "json"]);
    let level = image.pointer("/experiments/0/conclusion/measured/results/level");
    assert_eq!(level.and_then(|v| v.as_f64()), Some(4095.0), "{image}");
    let to = folder.join("numbers");
    bench.ok(&["export", "--what", "files", "--to", to.to_str().unwrap()]);
    let raw = files_below(&to).into_iter().find(|f| f.extension().is_some_and(|e| e == "raw"));
    assert_eq!(std::fs::read(raw.as_ref().unwrap()).unwrap(), pixels);
    let about = std::fs::read_to_string(raw.unwrap().with_extension("json")).unwrap();
    let about: serde_json::Value = serde_json::from_str(&about).unwrap();
    assert_eq!(about.pointer("/about/numbers").and_then(|v| v.as_str()), Some("u16"));
    let lengths: Vec<u64> = about["about"]["axes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|axis| axis["length"].as_u64().unwrap())
        .collect();
    assert_eq!(lengths, [300, 400]);
    wait_for(&bench.state().join("journal.db"));
}
