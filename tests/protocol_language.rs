//! Calls, samples, time limits and stock, as a run lives through them: the binary on virtual
//! instruments.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod bench;

use bench::{Bench, labloop};

const LAB: &str = "schema: labloop/lab/v1
name: bench
instruments:
  pump_1: {use: newera-ne1000, at: \"serial:/dev/pumps\", plays: [pump], config: {syringe_diameter: 14.57 mm, address: 0}, draws: feed, delivers: waste}
  pump_2: {use: newera-ne1000, at: \"serial:/dev/pumps\", plays: [second], config: {syringe_diameter: 14.57 mm, address: 1}}
  bath_1: {use: eurotherm-3216, at: \"modbus+tcp://192.168.4.11:502?unit=1\", plays: [bath]}
  uv_1: {use: mqtt5-spectrometer, at: \"mqtt://192.168.4.2:1883/bench/uv_1\", plays: [uv]}
places:
  rack: {capacity: 4}
  bench: {capacity: 1}
stock:
  feed: {volume: 100 mL}
  waste: {volume: 0 mL, capacity: 1 L}
simulation:
  plant: snar-flow
  seed: 1
  wiring: {feed_a: pump_1, feed_b: pump_2, heater: bath_1}
  settings: {reactor_volume: 0.5 mL}
";

const WASH: &str = "schema: labloop/protocol/v1
name: wash
parameters:
  volume: {unit: mL, min: 0.01 mL, max: 5 mL}
  rounds: {type: int, min: 1, max: 5, default: 2}
derived:
  half: ${ params.volume / 2 }
roles:
  pump: {type: syringe_pump}
steps:
  - id: rinse
    repeat:
      max_times: ${ params.rounds }
      steps:
        - {id: dose, do: pump.dispense, with: {volume: \"${ derived.half }\", rate: 5 mL/min}}
finally:
  - {id: halted, do: pump.stop}
results:
  used: {value: \"${ derived.half * params.rounds }\", unit: mL}
";

fn files(bench: &Bench, files: &[(&str, &str)]) -> String {
    std::fs::write(bench.folder().join("lab.yaml"), LAB).unwrap();
    std::fs::write(bench.folder().join("wash.yaml"), WASH).unwrap();
    for (name, text) in files {
        std::fs::write(bench.folder().join(name), text).unwrap();
    }
    bench.folder().join("protocol.yaml").display().to_string()
}

fn lab(bench: &Bench) -> String {
    bench.folder().join("lab.yaml").display().to_string()
}

fn protocol(body: &str) -> String {
    format!("schema: labloop/protocol/v1\nname: test\n{body}")
}

/// One run; exit code and its conclusion.
fn run(bench: &Bench, path: &str) -> (i32, serde_json::Value) {
    let (code, _, said) = bench.run(&["run", path, "--simulate", "--speed", "max"]);
    assert!(code < 2, "{said}");
    let all = bench.json(&["export", "--format", "json"]);
    let conclusion = all["experiments"][0]["conclusion"].clone();
    assert!(!conclusion.is_null(), "{said}");
    (code, conclusion)
}

/// Paths of the steps that sent something, in order.
fn sent(bench: &Bench) -> Vec<String> {
    let all = bench.json(&["export", "--what", "steps", "--format", "json"]);
    let steps = all[0]["steps"].as_array().unwrap();
    steps.iter().map(|step| step["step"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_called_protocol_gets_values_that_are_measured_first_and_gives_results() {
    let bench = Bench::new("call");
    let path = files(
        &bench,
        &[(
            "protocol.yaml",
            &protocol(
                "roles:\n  pump: {type: syringe_pump}\n  second: {type: syringe_pump}\n  uv: {type: spectrometer}\nsteps:\n  \
                 - {id: look, do: uv.measure, with: {integration: 50 ms, averages: 2}}\n  \
                 - {id: blank, analyse: absorbance_at, with: {spectra: \"${ steps.look }\", wavelength: 412 nm}}\n  \
                 - {id: first, call: wash.yaml, with: {volume: 1 mL}}\n  \
                 - {id: then, call: wash.yaml, with: {volume: \"${ (1 + abs(steps.blank.value)) * 0.5 mL }\", rounds: 3}, roles: {pump: second}}\n\
                 results:\n  first: {value: \"${ steps.first.used }\", unit: mL}\n  \
                 then: {value: \"${ steps.then.used }\", unit: mL}\n  blank: {value: \"${ steps.blank.value }\", unit: \"1\"}\n",
            ),
        )],
    );
    let (code, conclusion) = run(&bench, &path);
    assert_eq!(code, 0, "{conclusion}");
    let results = &conclusion["measured"]["results"];
    assert_eq!(results["first"], 1.0);
    let blank = results["blank"].as_f64().unwrap();
    let expected = (1.0 + blank.abs()) * 0.25 * 3.0;
    assert!((results["then"].as_f64().unwrap() - expected).abs() < 1e-9, "{results}");
    assert_eq!(
        sent(&bench),
        [
            "look",
            "first/rinse[1]/dose",
            "first/rinse[2]/dose",
            "first/finally/halted",
            "then/rinse[1]/dose",
            "then/rinse[2]/dose",
            "then/rinse[3]/dose",
            "then/finally/halted",
        ]
    );
}

#[test]
fn a_run_that_fails_inside_a_call_passes_the_finally_of_the_call_and_of_no_other() {
    let bench = Bench::new("call-fails");
    let failing = WASH.replace(
        "finally:",
        "  - {id: never, wait_until: roles.pump.dispensed > 900 mL, timeout: 10 s}\nfinally:",
    );
    let path = files(
        &bench,
        &[
            ("failing.yaml", &failing),
            (
                "protocol.yaml",
                &protocol(
                    "roles:\n  pump: {type: syringe_pump}\n  second: {type: syringe_pump}\nsteps:\n  \
                     - {id: good, call: wash.yaml, with: {volume: 1 mL}}\n  \
                     - {id: bad, call: failing.yaml, with: {volume: 1 mL}, roles: {pump: second}}\n  \
                     - {id: after, call: wash.yaml, with: {volume: 1 mL}}\n",
                ),
            ),
        ],
    );
    let (code, conclusion) = run(&bench, &path);
    assert_eq!(code, 1, "{conclusion}");
    assert!(conclusion.to_string().contains("bad/never"), "{conclusion}");
    let sent = sent(&bench);
    assert_eq!(sent.iter().filter(|s| s.starts_with("good/finally")).count(), 1, "{sent:?}");
    assert!(sent.iter().any(|s| s == "finally/bad/exit/halted"), "{sent:?}");
    assert!(!sent.iter().any(|s| s.starts_with("after/")), "{sent:?}");
    assert!(!sent.iter().any(|s| s.contains("good/exit")), "{sent:?}");
}

#[test]
fn what_has_expired_while_the_run_waited_is_not_used() {
    let bench = Bench::new("expires");
    // The bath takes longer to get warm than anybody can know before the run.
    let path = files(
        &bench,
        &[(
            "protocol.yaml",
            &protocol(
                "samples:\n  mix: {at: rack}\nroles:\n  pump: {type: syringe_pump}\n  bath: {type: thermostat}\nsteps:\n  \
                 - {id: make, do: pump.dispense, with: {volume: 0.1 mL, rate: 5 mL/min}, uses: [mix], expires: 5 s}\n  \
                 - {id: heat, do: bath.set_temperature, with: {target: 100 degC}}\n  \
                 - {id: hot, wait_until: roles.bath.temperature > 99 degC, timeout: 30 min}\n  \
                 - {id: use, do: pump.dispense, with: {volume: 0.1 mL, rate: 5 mL/min}, uses: [mix]}\nfinally:\n  - {do: pump.stop}\n",
            ),
        )],
    );
    let (code, conclusion) = run(&bench, &path);
    assert_eq!(code, 1, "{conclusion}");
    assert!(conclusion.to_string().contains("expired after 5.0 s"), "{conclusion}");
    assert!(!sent(&bench).iter().any(|s| s == "use"));
}

#[test]
fn a_person_is_asked_to_move_a_sample_and_nobody_answering_loses_it() {
    let bench = Bench::new("move");
    let path = files(
        &bench,
        &[(
            "protocol.yaml",
            &protocol(
                "samples:\n  film: {at: rack}\nsteps:\n  - {id: carry, move: film, to: bench, timeout: 5 min}\n",
            ),
        )],
    );
    let (code, conclusion) = run(&bench, &path);
    assert_eq!(code, 1, "{conclusion}");
    let output = labloop().args(["graph", &path, "--lab", &lab(&bench)]).output().unwrap();
    let graph = String::from_utf8(output.stdout).unwrap();
    assert!(graph.contains("ask Move film from rack to bench. [done / invalid]"), "{graph}");
}

#[test]
fn the_hash_knows_what_is_done_and_not_how_it_is_written() {
    let bench = Bench::new("hash");
    let one = protocol(
        "roles:\n  pump: {type: syringe_pump}\nsteps:\n  - {id: a, do: pump.dispense, with: {volume: 0.1 mL, rate: 5 mL/min}}\nfinally:\n  - {do: pump.stop}\n",
    );
    let same = protocol(
        "# a comment\nroles:\n    pump: {type: syringe_pump}\n\nsteps:\n    - id: a\n      do: pump.dispense # here\n      with:\n          rate: 5.0 mL/min\n          volume: 100 uL\nfinally:\n    - do: pump.stop\n",
    );
    let other = one.replace("0.1 mL,", "0.2 mL,");
    let hash = |text: &str| {
        let path = files(&bench, &[("protocol.yaml", text)]);
        let output = labloop()
            .args(["graph", &path, "--lab", &lab(&bench), "--format", "json"])
            .output()
            .unwrap();
        let graph: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        graph["hash"].as_str().unwrap().to_owned()
    };
    assert_eq!(hash(&one), hash(&same));
    assert_ne!(hash(&one), hash(&other));
}

#[test]
fn a_step_that_would_start_too_early_for_a_later_limit_waits() {
    let bench = Bench::new("waits");
    let path = files(
        &bench,
        &[(
            "protocol.yaml",
            &protocol(
                "roles:\n  uv: {type: spectrometer}\nsteps:\n  - {id: begin, wait: 1 s}\n  - {id: slow, wait: 10 min, after: [begin]}\n  \
                 - {id: look, do: uv.measure, with: {integration: 50 ms, averages: 2}, after: [begin]}\n  \
                 - {id: both, log: fresh, after: [slow, look], within: 1 min}\n",
            ),
        )],
    );
    let (code, conclusion) = run(&bench, &path);
    assert_eq!(code, 0, "{conclusion}");
}

#[test]
fn what_nothing_uses_is_a_warning_and_no_error() {
    let bench = Bench::new("unused");
    let path = files(
        &bench,
        &[(
            "protocol.yaml",
            &protocol(
                "parameters:\n  lost: {unit: mL, min: 1 mL, max: 2 mL}\nderived:\n  also: 3 mL\nroles:\n  pump: {type: syringe_pump}\n  second: {type: syringe_pump}\nsteps:\n  - {do: pump.stop}\n",
            ),
        )],
    );
    let output = labloop().args(["check", &path]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    for name in ["parameter `lost`", "derived value `also`", "role `second`"] {
        assert!(said.contains(&format!("use the {name} or remove it")), "{said}");
    }
}

#[test]
fn behind_a_loop_all_its_rounds_can_be_read_also_from_a_call() {
    let bench = Bench::new("history");
    let body = "roles:\n  pump: {type: syringe_pump}\nsteps:\n  \
                - id: doses\n    repeat:\n      max_times: 4\n      steps:\n        \
                - {id: dose, do: pump.dispense, with: {volume: \"${ loop.index * 0.05 mL }\", rate: 5 mL/min}}\n        \
                - {id: so_far, analyse: summary, with: {of: \"${ [loop.index * 0.05 mL] }\"}}\n  \
                - {id: all, analyse: summary, with: {of: \"${ steps.doses.history.so_far.mean }\"}}\nfinally:\n  - {do: pump.stop}\n\
                results:\n  mean: {value: \"${ steps.all.mean }\", unit: mL}\n";
    let inner = protocol(body).replace("name: test", "name: inner");
    let outer = protocol(
        "roles:\n  pump: {type: syringe_pump}\nsteps:\n  - {id: twice, for_each: {n: [1, 2]}, steps: [{id: inner, call: inner.yaml}]}\n  \
         - {log: \"${ steps.twice.inner.mean }\"}\n  - {id: own, call: inner.yaml}\nresults:\n  mean: {value: \"${ steps.own.mean }\", unit: mL}\n",
    );
    let path = files(&bench, &[("inner.yaml", &inner), ("protocol.yaml", &outer)]);
    let (code, conclusion) = run(&bench, &path);
    assert_eq!(code, 0, "{conclusion}");
    let mean = conclusion["measured"]["results"]["mean"].as_f64().unwrap();
    assert!((mean - 0.125).abs() < 1e-9, "{conclusion}");
}

#[test]
fn a_call_that_stands_in_finally_runs_once_to_its_own_end() {
    let bench = Bench::new("last");
    let path = files(
        &bench,
        &[(
            "protocol.yaml",
            &protocol(
                "roles:\n  pump: {type: syringe_pump}\nsteps:\n  - {wait: 1 s}\nfinally:\n  - {id: last, call: wash.yaml, with: {volume: 0.2 mL}}\n",
            ),
        )],
    );
    let (code, conclusion) = run(&bench, &path);
    assert_eq!(code, 0, "{conclusion}");
    let expected =
        ["finally/last/rinse[1]/dose", "finally/last/rinse[2]/dose", "finally/last/finally/halted"];
    assert_eq!(sent(&bench), expected);
}
