//! Analyses that are programs of the author's, from the protocol to the journal. Needs python3.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod bench;

use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use bench::{Bench, labloop};
use labloop::analysis::Needed;
use labloop::store::Journal;
use serde_json::Value;

const LAB: &str = "examples/light-mixing/lab.yaml";

/// A folder with a protocol that measures a spectrum and gives it to a program.
struct Case {
    bench: Bench,
}

impl Case {
    /// `step`: keys of the analysis besides its inputs and what it returns.
    fn new(name: &str, step: &str, script: &str) -> Case {
        let bench = Bench::new(name);
        let case = Case { bench };
        let many: Vec<String> = (0..150).map(|n| n.to_string()).collect();
        let text = format!(
            r#"schema: labloop/protocol/v1
name: program
roles: {{light: {{type: spectrometer}}}}
steps:
  - {{id: spectrum, do: light.measure, with: {{red: 0, green: 0, blue: 200}}}}
  - wait: 4 s
  - id: fit
    {step}
    with: {{spectrum: "${{ steps.spectrum }}", path: 10 mm, word: hello, many: [{}]}}
    returns: {{place: {{unit: nm}}, share: {{unit: "%"}}, count: {{type: int}}, note: {{type: text}}}}
results:
  place: {{value: "${{ steps.fit.place }}", unit: nm}}
  share: {{value: "${{ steps.fit.share }}", unit: "%"}}
  count: {{value: "${{ steps.fit.count }}"}}
"#,
            many.join(", ")
        );
        std::fs::write(case.protocol(), text).unwrap();
        std::fs::create_dir_all(case.bench.folder().join("analysis")).unwrap();
        std::fs::create_dir_all(case.temporary()).unwrap();
        case.write("analysis/fit.py", script);
        case
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.bench.folder().join(file), text).unwrap();
    }

    fn protocol(&self) -> PathBuf {
        self.bench.folder().join("protocol.yaml")
    }

    fn temporary(&self) -> PathBuf {
        self.bench.folder().join("tmp")
    }

    fn command(&self, speed: &str) -> std::process::Command {
        let mut command = labloop();
        command.arg("run").arg(self.protocol()).args(["--lab", LAB, "--simulate"]);
        command.args(["--speed", speed]).arg("--state").arg(self.bench.state());
        command.env("TMPDIR", self.temporary()).env("LAB_PASSWORD", "secret");
        command
    }

    fn run(&self) -> Output {
        self.command("max").output().unwrap()
    }

    fn conclusion(&self) -> Value {
        self.bench.json(&["export", "--format", "json"])["experiments"][0]["conclusion"].clone()
    }

    /// The run fails at the analysis; gives why, and what the journal keeps of its standard error.
    fn fails(&self) -> (String, String) {
        let output = self.run();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        let conclusion = self.conclusion();
        assert!(conclusion["measured"].is_null(), "{conclusion}");
        let ended = self.ended();
        let failure = ended["result"]["Err"]["message"].as_str().unwrap().to_owned();
        assert!(conclusion.to_string().contains("fit"), "{conclusion}");
        self.nothing_is_left();
        (failure, ended["trace"].as_str().unwrap_or_default().to_owned())
    }

    /// The record of the end of the analysis.
    fn ended(&self) -> Value {
        let journal = Journal::open_read_only(&self.bench.state()).unwrap();
        let entries = journal.read(0, 10_000).unwrap();
        let bodies = entries.iter().map(|e| serde_json::from_str::<Value>(&e.body).unwrap());
        let mut ended: Vec<Value> = bodies
            .filter_map(|body| body.pointer("/ended").cloned())
            .filter(|ended| ended["step"]["path"] == "fit")
            .collect();
        assert_eq!(ended.len(), 1);
        ended.remove(0)
    }

    fn nothing_is_left(&self) {
        let left = std::fs::read_dir(self.temporary()).unwrap().count();
        assert_eq!(left, 0, "folders of analyses are left");
    }
}

const PROCESS: &str =
    "analyse: {process: [python3, analysis/fit.py], memory: 512 MB}\n    timeout: 20 s";

const GOOD: &str = r#"
import json, os, sys
told = json.load(sys.stdin)["inputs"]
spectrum = told["spectrum"]
assert (spectrum["x_unit"], told["path"]) == ("m", {"value": 0.01, "unit": "m"}), told
assert told["word"] == {"value": "hello"}
assert "LAB_PASSWORD" not in os.environ
assert os.getcwd() == os.environ["TMPDIR"]
with open(told["many"]["file"]) as file:
    values = [float(line) for line in file.read().split()[1:]]
assert values == list(range(150)), values
top = max(range(len(spectrum["y"])), key=lambda i: spectrum["y"][i])
print("one warning", file=sys.stderr)
print(json.dumps({"results": {
    "place": {"value": spectrum["x"][top], "unit": "m"},
    "share": 100 * spectrum["y"][top] / sum(spectrum["y"]),
    "count": len(values), "note": "fine"}}))
"#;

#[test]
fn a_program_gets_inputs_with_units_and_its_results_are_those_of_the_run() {
    let case = Case::new("program", PROCESS, GOOD);
    let output = case.run();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let results = &case.conclusion()["measured"]["results"];
    // The blue LED is seen at 470 nm.
    assert!((results["place"].as_f64().unwrap() - 470.0).abs() < 1.0, "{results}");
    assert!((20.0..100.0).contains(&results["share"].as_f64().unwrap()), "{results}");
    assert_eq!(results["count"], 150.0);
    let ended = case.ended();
    assert_eq!(ended["trace"], "one warning\n");
    assert!(ended.to_string().contains(r#""quality":{"text":"good"}"#), "{ended}");
    case.nothing_is_left();
    case.bench.ok(&["verify"]);
}

#[test]
fn the_hash_of_the_graph_covers_the_text_of_the_program() {
    let hash = |script: &str| {
        let case = Case::new("hash", PROCESS, script);
        let protocol = case.protocol();
        let args = ["graph", protocol.to_str().unwrap(), "--lab", LAB, "--format", "json"];
        let output = labloop().args(args).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let graph: Value = serde_json::from_slice(&output.stdout).unwrap();
        graph["hash"].as_str().unwrap().to_owned()
    };
    assert_eq!(hash(GOOD), hash(GOOD));
    assert_ne!(hash(GOOD), hash(&format!("{GOOD}# one more line\n")));
}

#[test]
fn a_program_may_import_what_files_names() {
    let step = "analyse: {process: [python3, analysis/fit.py], files: [analysis/helper.py]}\n    timeout: 20 s";
    let script = "import helper\nhelper.tell()\n";
    let case = Case::new("files", step, script);
    case.write(
        "analysis/helper.py",
        "def tell():\n    print('{\"results\": {\"place\": 1, \"share\": 2, \"count\": 3, \"note\": \"\"}}')\n",
    );
    let output = case.run();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(case.conclusion()["measured"]["results"]["place"], 1.0);
}

#[test]
fn a_program_that_fails_fails_the_run_with_what_it_said() {
    let script =
        "import sys\nprint('looking', file=sys.stderr)\nraise ValueError('no peak found')\n";
    let (why, trace) = Case::new("fails", PROCESS, script).fails();
    assert!(why.contains("ended with exit code 1: ValueError: no peak found"), "{why}");
    assert!(trace.starts_with("looking\nTraceback") && trace.contains("fit.py"), "{trace}");

    let script = "print('{\"error\": \"the baseline is above the peak\"}')";
    let (why, _) = Case::new("error", PROCESS, script).fails();
    assert!(why.ends_with("failed: the baseline is above the peak"), "{why}");
}

#[test]
fn a_program_that_hangs_is_killed_at_its_deadline_with_all_it_started() {
    let step = "analyse: {process: [python3, analysis/fit.py, PIDS]}\n    timeout: 2 s";
    let script = r#"
import subprocess, sys, time
child = subprocess.Popen(["sleep", "1000"])
open(sys.argv[1], "w").write(str(child.pid))
print("started", file=sys.stderr, flush=True)
time.sleep(1000)
"#;
    let pids = std::env::temp_dir().join(format!("labloop-pids-{}", std::process::id()));
    let case = Case::new("hangs", &step.replace("PIDS", pids.to_str().unwrap()), script);
    let begun = Instant::now();
    let (why, trace) = case.fails();
    assert!(why.contains("did not end within 2 s and was killed"), "{why}");
    assert_eq!(trace, "started\n");
    // Virtual time does not run ahead of it, nor is it waited for longer than it may take.
    assert!((2.0..15.0).contains(&begun.elapsed().as_secs_f64()), "{:?}", begun.elapsed());
    assert_eq!(case.ended()["result"]["Err"]["kind"], "timeout");
    let child = std::fs::read_to_string(&pids).unwrap();
    std::fs::remove_file(pids).unwrap();
    let state = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z"), "the child lives on: {state}");
}

#[test]
fn what_is_no_result_is_refused() {
    let printed = |what: &str| {
        let script = format!("import json\nprint({what})");
        Case::new("refused", PROCESS, &script).fails().0
    };
    let why = printed("'rubbish'");
    assert!(why.contains("printed what is not JSON") && why.contains("rubbish"), "{why}");
    let why = printed(
        "json.dumps({'results': {'place': float('nan'), 'share': 1, 'count': 1, 'note': ''}})",
    );
    assert!(why.contains("printed NaN or Infinity"), "{why}");
    let why = printed(
        "json.dumps({'results': {'place': {'value': 1, 'unit': 'mL'}, 'share': 1, 'count': 1, 'note': ''}})",
    );
    assert!(why.contains("`place` is in `mL`, not in a unit like `nm`"), "{why}");
    let why = printed("'x' * (20 << 20)");
    assert!(why.contains("printed more than 8 MiB and was killed"), "{why}");
}

#[test]
fn a_program_that_takes_too_much_memory_fails() {
    let step = "analyse: {process: [python3, analysis/fit.py], memory: 200 MB}\n    timeout: 20 s";
    let (why, trace) = Case::new("memory", step, "x = bytearray(1 << 30)").fails();
    assert!(why.contains("MemoryError (it may take 190 MiB)"), "{why}");
    assert!(trace.contains("MemoryError"), "{trace}");
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let step = "analyse: {process: [python-that-is-not-there, analysis/fit.py]}\n    timeout: 20 s";
    let (why, _) = Case::new("absent", step, "").fails();
    assert!(why.contains("there is no program `python-that-is-not-there`"), "{why}");
}

#[test]
fn a_resumed_run_uses_the_text_it_was_started_with() {
    let script = |place: u32| {
        format!(
            "print('{{\"results\": {{\"place\": {place}, \"share\": 2, \"count\": 3, \"note\": \"\"}}}}')"
        )
    };
    let case = Case::new("resumed", PROCESS, &script(1));
    let mut engine = case.command("1").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // Killed in the wait before the analysis.
    let until = Instant::now() + Duration::from_secs(30);
    let waiting = || {
        Journal::open_read_only(&case.bench.state()).is_ok_and(|journal| {
            let entries = journal.read(0, 10_000).unwrap_or_default();
            entries.iter().any(|e| e.body.contains("wait#2"))
        })
    };
    while !waiting() {
        assert!(Instant::now() < until, "the run did not begin");
        std::thread::sleep(Duration::from_millis(20));
    }
    engine.kill().unwrap();
    engine.wait().unwrap();
    case.write("analysis/fit.py", &script(7));
    case.bench.ok(&["resume"]);
    assert_eq!(case.conclusion()["measured"]["results"]["place"], 1.0);
    // A new run takes the file as it is now.
    let fresh = Case::new("resumed", PROCESS, &script(7));
    assert!(fresh.run().status.success());
    assert_eq!(fresh.conclusion()["measured"]["results"]["place"], 7.0);
}

#[test]
fn a_program_under_way_when_the_engine_dies_is_run_again() {
    let script = "import time\ntime.sleep(3)\nprint('{\"results\": {\"place\": 1, \"share\": 2, \"count\": 3, \"note\": \"\"}}')\n";
    let case = Case::new("killed", PROCESS, script);
    let mut engine =
        case.command("max").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let until = Instant::now() + Duration::from_secs(30);
    while std::fs::read_dir(case.temporary()).unwrap().count() == 0 {
        assert!(Instant::now() < until, "the program did not begin");
        std::thread::sleep(Duration::from_millis(20));
    }
    engine.kill().unwrap();
    engine.wait().unwrap();
    case.bench.ok(&["resume"]);
    assert_eq!(case.conclusion()["measured"]["results"]["place"], 1.0);
    case.ended();
}

/// Tables of the built-in functions as the reference shows them.
fn reference() -> String {
    let mut text = String::new();
    for name in labloop::analysis::names() {
        let signature = labloop::analysis::signature(name).unwrap();
        text += &format!(
            "### `{name}`\n\n{}\n\n| input | is | meaning |\n|---|---|---|\n",
            signature.doc
        );
        for input in signature.inputs {
            let left_out = match input.needed {
                Needed::Always => "",
                _ => ", may be left out",
            };
            text += &format!("| `{}`{left_out} | {} | {} |\n", input.name, input.is, input.doc);
        }
        text += "\n| gives | in the unit of |\n|---|---|\n";
        for (field, is) in signature.outputs {
            text += &format!("| `{field}` | {is} |\n");
        }
        text += "\n";
    }
    text
}

#[test]
fn the_reference_shows_every_function_as_it_is() {
    let (begin, end) = ("--test analyses` -->\n", "<!-- end -->");
    let file = "docs/reference/analyses.md";
    let text = std::fs::read_to_string(file).unwrap();
    let from = text.find(begin).unwrap() + begin.len();
    let to = text.find(end).unwrap();
    let wanted = format!("{}\n{}{}", &text[..from], reference(), &text[to..]);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(file, &wanted).unwrap();
    } else {
        assert_eq!(text, wanted, "run UPDATE=1 cargo test --test analyses");
    }
}

#[test]
fn the_steps_of_the_reference_compile() {
    let text = std::fs::read_to_string("docs/reference/analyses.md").unwrap();
    let steps: Vec<&str> =
        text.split("```yaml\n").skip(1).map(|part| part.split("```").next().unwrap()).collect();
    assert_eq!(steps.len(), 2);
    let case = Case::new("reference", PROCESS, GOOD);
    case.write("analysis/yield.py", "");
    for step in steps {
        let step: String = step.lines().map(|line| format!("  {line}\n")).collect();
        let head = "schema: labloop/protocol/v1\nname: shown\nroles: {light: {type: spectrometer}}\nsteps:\n  - {id: spectrum, do: light.measure, with: {red: 1, green: 1, blue: 1}}\n";
        case.write("protocol.yaml", &format!("{head}{step}"));
        let args = ["graph", "--lab", LAB];
        let output = labloop().args(args).arg(case.protocol()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
