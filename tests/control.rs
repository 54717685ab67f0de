//! Commands to a running engine from another terminal, with the real binary on both sides.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod bench;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use bench::{Bench, labloop};
use serde_json::Value;

/// A pump runs, and nothing else happens for hours.
const CALM: &str = "schema: labloop/protocol/v1
name: calm
roles:
  pump_a: {type: syringe_pump}
steps:
  - {id: start, do: pump_a.start, with: {rate: 0.05 mL/min}}
  - id: watch
    repeat: {max_times: 1000, steps: [{id: rest, wait: 30 s}]}
finally:
  - {do: pump_a.stop}
results: {}
";

/// A person is asked.
const ASKS: &str = "schema: labloop/protocol/v1
name: asks
roles:
  pump_a: {type: syringe_pump}
steps:
  - {id: prime, do: pump_a.dispense, with: {volume: 0.2 mL, rate: 2 mL/min}}
  - id: look
    ask: Is the tubing free of bubbles?
    options: [clear, bubbles]
    timeout: 20 h
    on_timeout: bubbles
  - {id: rest, wait: 100 min}
finally:
  - {do: pump_a.stop}
results: {}
";

/// An engine in the background; what it says goes to `engine.log`.
fn engine(bench: &Bench, args: &[&str]) -> Child {
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(bench.folder().join("engine.log"))
        .unwrap();
    labloop()
        .args(args)
        .arg("--state")
        .arg(bench.state())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// How long anything may take that takes a moment.
const SOON: Duration = Duration::from_secs(30);

/// An engine at work on a simulated lab, 60 times as fast as the clock on the wall.
struct Running {
    bench: Bench,
    engine: Child,
}

impl Running {
    fn campaign(name: &str) -> Running {
        Running::of(name, "examples/flow-synthesis/campaign.yaml")
    }

    fn of(name: &str, document: &str) -> Running {
        let bench = Bench::new(name);
        let engine = engine(&bench, &["run", document, "--simulate", "--speed", "60"]);
        let running = Running { bench, engine };
        running.listens();
        running
    }

    /// A protocol on the lab of the flow synthesis.
    fn protocol(name: &str, text: &str) -> Running {
        let bench = Bench::new(name);
        let file = bench.folder().join("protocol.yaml");
        std::fs::write(&file, text).unwrap();
        let lab = "examples/flow-synthesis/lab.yaml";
        let args = ["run", file.to_str().unwrap(), "--lab", lab, "--simulate", "--speed", "60"];
        let engine = engine(&bench, &args);
        let running = Running { bench, engine };
        running.listens();
        running
    }

    /// Waits until it takes commands.
    fn listens(&self) {
        let until = Instant::now() + SOON;
        while UnixStream::connect(self.bench.state().join("control.sock")).is_err() {
            assert!(Instant::now() < until, "nobody listens: {}", self.said());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Takes up its state again, in a new engine.
    fn resumed(&mut self) {
        self.engine = engine(&self.bench, &["resume", "--by", "otto"]);
        self.listens();
    }

    /// Waits until the live view is as wanted; the view.
    fn until(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + SOON;
        loop {
            let view = self.bench.json(&["status", "--json"])["live"].take();
            if !view.is_null() && wanted(&view) {
                return view;
            }
            assert!(Instant::now() < until, "no {what}: {view:#}\n{}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until its pump runs.
    fn runs(&self) {
        self.until("step that waits", |view| view["runs"][0]["steps"][0]["what"] == "wait");
    }

    /// What the engine has said so far.
    fn said(&self) -> String {
        std::fs::read_to_string(self.bench.folder().join("engine.log")).unwrap_or_default()
    }

    /// Its exit code, once it ends.
    fn ended(&mut self) -> i32 {
        let until = Instant::now() + SOON;
        loop {
            if let Some(status) = self.engine.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < until, "the engine goes on: {}", self.said());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// A command with `--json`; its exit code and what it told.
    fn json(&self, args: &[&str]) -> (i32, Value) {
        let (code, out, said) = self.bench.run(&[args, &["--json"]].concat());
        (code, serde_json::from_str(&out).unwrap_or_else(|e| panic!("{args:?}: {e}: {out}{said}")))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.engine.kill();
        let _ = self.engine.wait();
    }
}

#[test]
fn an_abort_from_another_terminal_leaves_everything_safe_and_says_so() {
    let mut lab = Running::protocol("abort", CALM);
    lab.runs();
    let (code, out, said) = lab.bench.run(&["abort", "--by", "anna", "--reason", "it smells"]);
    assert_eq!(code, 0, "{out}{said}");
    assert!(out.contains("run calm-1.1.1: aborted: aborted by anna"), "{out}");
    assert!(out.contains("  pump_1: safe, confirmed"), "{out}");
    assert_eq!(lab.ended(), 6, "ended by a person: {}", lab.said());
    assert!(lab.said().contains("abort by anna: it smells"), "{}", lab.said());
    assert!(!lab.bench.state().join("control.sock").exists(), "the socket goes with the engine");
    for command in ["pause", "hold", "stop", "abort"] {
        let (code, _, said) = lab.bench.run(&[command]);
        assert_eq!(code, 2);
        assert!(said.contains("no engine is at work") && said.contains("resume"), "{said}");
    }
}

#[test]
fn each_command_is_obeyed_once_and_answered_from_every_state() {
    let mut lab = Running::protocol("states", CALM);
    lab.runs();
    let run = "calm-1.1.1";
    let told = |args: &[&str], result: &str, state: &str| {
        let (code, told) = lab.json(&[args, &["--by", "anna"]].concat());
        let subject = told["subjects"].as_array().unwrap().last().unwrap().clone();
        let subjects = told["subjects"].as_array().unwrap();
        let subject = subjects.iter().find(|s| s["id"] == run).unwrap_or(&subject);
        assert_eq!(subject["result"], result, "{args:?}: {told:#}");
        if result != "refused" {
            assert_eq!(code, 0, "{args:?}: {told:#}");
            let runs = told["outcome"]["runs"].as_array().unwrap();
            assert!(runs.iter().all(|r| r["state"] == state), "{args:?}: {told:#}");
        } else {
            assert_eq!(code, 2, "{args:?}: {told:#}");
            assert!(!subject["why"].as_str().unwrap().is_empty());
        }
        told
    };
    told(&["resume", run], "already_so", "running");
    told(&["pause", run], "accepted", "paused");
    told(&["pause", run], "already_so", "paused");
    told(&["resume", run], "accepted", "running");
    let held = told(&["hold", run, "--reason", "the bath is open"], "accepted", "held");
    let pump = &held["outcome"]["runs"][0]["instruments"][0];
    assert_eq!(
        (&pump["instrument"], &pump["state"]),
        (&"pump_1".into(), &"held".into()),
        "{held:#}"
    );
    told(&["hold", run], "already_so", "held");
    told(&["pause", run], "already_so", "held");
    let view = lab.until("hold", |view| view["runs"][0]["state"] == "held");
    assert_eq!(view["runs"][0]["holds"][0]["by"], "anna", "{view:#}");
    told(&["resume", run], "accepted", "running");
    told(&["pause", run], "accepted", "paused");
    told(&["stop", run], "accepted", "stopped");
    assert_eq!(lab.ended(), 6, "{}", lab.said());
    let status = lab.bench.json(&["status", "--json"]);
    let commands: Vec<String> = status["people"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| format!("{} {}", p["by"].as_str().unwrap(), p["command"].as_str().unwrap()))
        .collect();
    let done = ["pause", "resume", "hold", "resume", "pause", "stop"].map(|c| format!("anna {c}"));
    assert_eq!(commands, done, "what changed nothing is not noted");
    assert_eq!(status["people"][2]["text"], "the bath is open");
    lab.bench.ok(&["verify"]);
}

#[test]
fn a_paused_campaign_starts_nothing_and_a_stopped_one_ends_with_its_run() {
    let mut lab = Running::campaign("campaign");
    lab.until("first run", |view| view["runs"][0]["run"] == "snar-1.1.1");
    let (code, told) = lab.json(&["pause", "--by", "anna", "--wait", "60"]);
    assert_eq!(code, 0, "{told:#}");
    let kinds: Vec<&str> =
        told["subjects"].as_array().unwrap().iter().map(|s| s["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["run", "campaign"], "{told:#}");
    let view = lab.until("pause", |view| view["campaigns"][0]["state"] == "paused");
    assert_eq!(view["campaigns"][0]["by"], "anna");
    // The run alone goes on; the campaign starts no other.
    let (code, told) = lab.json(&["resume", "snar-1.1.1"]);
    assert_eq!(code, 0, "{told:#}");
    lab.until("end of the run", |view| view["runs"].as_array().unwrap().is_empty());
    std::thread::sleep(Duration::from_millis(500));
    let view = lab.until("rest", |view| view["campaigns"][0]["concluded"] == 1);
    assert_eq!(view["runs"], serde_json::json!([]), "{view:#}");
    let (_, told) = lab.json(&["pause", "snar-1"]);
    assert_eq!(told["subjects"][0]["result"], "already_so", "{told:#}");
    // And over a crash it stays so, until a person says otherwise.
    lab.engine.kill().unwrap();
    lab.engine.wait().unwrap();
    lab.resumed();
    lab.until("second run", |view| view["runs"][0]["run"] == "snar-1.2.1");
    let (code, out, said) = lab.bench.run(&["stop", "snar-1", "--by", "anna"]);
    assert_eq!(code, 0, "{out}{said}");
    assert!(out.contains("run snar-1.2.1: stopped: stopped by anna"), "{out}");
    assert_eq!(lab.ended(), 6, "{}", lab.said());
    let status = lab.bench.ok(&["status"]);
    assert!(status.contains("stopped by anna"), "{status}");
}

#[test]
fn a_question_survives_a_crash_and_the_first_of_two_answers_counts() {
    let mut lab = Running::protocol("asks", ASKS);
    let view = lab.until("question", |view| view["questions"][0]["id"].is_string());
    let id = view["questions"][0]["id"].as_str().unwrap().to_owned();
    let text = lab.bench.ok(&["ask"]);
    for part in [&id, "Is the tubing free of bubbles?", "asked", "'clear'", "'bubbles'", "look"] {
        assert!(text.contains(part), "no {part} in {text}");
    }
    let (code, _, said) = lab.bench.run(&["ask", &id, "perhaps"]);
    assert_eq!(code, 2);
    assert!(said.contains("answer with one of: clear / bubbles"), "{said}");
    let (code, _, said) = lab.bench.run(&["ask", "nobody", "clear"]);
    assert_eq!(code, 2);
    assert!(said.contains(&format!("open are {id}")), "{said}");

    lab.engine.kill().unwrap();
    lab.engine.wait().unwrap();
    let text = lab.bench.ok(&["ask", "asks-1.1.1"]);
    assert!(text.contains("Is the tubing free of bubbles?"), "{text}");
    let (code, _, said) = lab.bench.run(&["ask", &id, "clear"]);
    assert_eq!(code, 2);
    assert!(said.contains("labloop resume"), "{said}");
    let status = lab.bench.ok(&["status"]);
    assert!(status.contains("No engine is at work") && status.contains(&id), "{status}");

    lab.resumed();
    lab.until("question again", |view| view["questions"][0]["id"] == id.as_str());
    let people = ["anna", "bert", "cleo", "dora"];
    let answers: Vec<(i32, String, String)> = std::thread::scope(|scope| {
        let asked: Vec<_> = people
            .iter()
            .map(|who| scope.spawn(|| lab.bench.run(&["ask", &id, "clear", "--by", who])))
            .collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    let first: Vec<&str> =
        people.iter().zip(&answers).filter(|(_, a)| a.0 == 0).map(|(who, _)| *who).collect();
    assert_eq!(first.len(), 1, "{answers:?}");
    for (code, _, said) in answers.iter().filter(|a| a.0 != 0) {
        assert_eq!(*code, 2);
        let by = format!("was answered already: `clear` by {}", first[0]);
        assert!(said.contains(&by), "{said}");
    }
    lab.until("going on", |view| view["runs"][0]["steps"][0]["path"] == "rest");
    assert!(lab.bench.ok(&["ask"]).is_empty());
    lab.bench.ok(&["abort"]);
    lab.ended();
    let (code, _, said) = lab.bench.run(&["ask", &id, "clear"]);
    assert_eq!(code, 2);
    assert!(said.contains("was answered already"), "the journal remembers: {said}");
}

#[test]
fn an_emergency_stop_makes_all_safe_and_stays_until_a_person_clears_it() {
    let mut lab = Running::protocol("estop", CALM);
    lab.runs();
    let (code, told) = lab.json(&["estop", "--by", "anna", "--reason", "smoke"]);
    assert_eq!(code, 0, "{told:#}");
    let instruments = told["instruments"].as_array().unwrap();
    assert_eq!(instruments.len(), 4, "every instrument of the lab: {told:#}");
    assert!(instruments.iter().all(|i| i["state"] == "safe"), "{told:#}");
    let code = lab.ended();
    assert_eq!(code, 7, "{}", lab.said());
    let status = lab.bench.ok(&["status"]);
    assert!(status.contains("EMERGENCY STOP by anna"), "{status}");
    let (code, _, said) = lab.bench.run(&["estop", "--clear"]);
    assert_eq!(code, 2);
    assert!(said.contains("--by"), "{said}");
    lab.bench.ok(&["estop", "--clear", "--by", "anna"]);
    let status = lab.bench.ok(&["status"]);
    assert!(!status.contains("EMERGENCY STOP"), "{status}");
    let (code, _, said) = lab.bench.run(&["estop", "--clear", "--by", "anna"]);
    assert_eq!(code, 2);
    assert!(said.contains("is not pressed"), "{said}");
    let (code, _, said) = lab.bench.run(&["estop"]);
    assert_eq!(code, 5);
    assert!(said.contains("NOTHING WAS SENT"), "{said}");
}

#[test]
fn notes_are_kept_with_author_and_time_by_an_engine_and_without_one() {
    let mut lab = Running::protocol("notes", CALM);
    lab.runs();
    lab.bench.ok(&["note", "The feed looks cloudy.", "--about", "pump_1", "--by", "anna"]);
    let (code, _, said) = lab.bench.run(&["note", "What?", "--about", "pump_9"]);
    assert_eq!(code, 2);
    assert!(said.contains("pump_1"), "{said}");
    lab.bench.ok(&["abort", "--by", "anna"]);
    lab.ended();
    lab.bench.ok(&["note", "Cleaned the\nbath.\u{1b}[2J", "--by", "bert"]);
    let (code, _, said) = lab.bench.run(&["note", " ", "--by", "bert"]);
    assert_eq!(code, 2);
    assert!(said.contains("empty"), "{said}");
    let people = lab.bench.json(&["status", "--json"])["people"].clone();
    let notes: Vec<(&str, &str)> = people
        .as_array()
        .unwrap()
        .iter()
        .filter(|p| p["command"].is_null())
        .map(|p| (p["by"].as_str().unwrap(), p["text"].as_str().unwrap()))
        .collect();
    assert_eq!(
        notes,
        [("anna", "The feed looks cloudy."), ("bert", "Cleaned the\nbath.\u{fffd}[2J")]
    );
    let text = lab.bench.ok(&["status"]);
    assert!(text.contains("anna (pump_1) note: The feed looks cloudy."), "{text}");
    lab.bench.ok(&["verify"]);
}

/// Bytes that nobody foresaw (xorshift, Marsaglia 2003).
struct Noise(u64);

impl Noise {
    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut next = || {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0
        };
        (0..count).map(|_| (next() >> 24) as u8).collect()
    }
}

#[test]
fn no_client_keeps_the_engine_from_the_next_command() {
    let mut lab = Running::protocol("garbage", CALM);
    lab.runs();
    let socket = lab.bench.state().join("control.sock");
    let mut noise = Noise(20_261_125);
    let status = b"{\"v\":1,\"control\":\"status\"}\n";
    let mut kept = Vec::new();
    for round in 0..200_usize {
        let Ok(mut stream) = UnixStream::connect(&socket) else { panic!("round {round}") };
        stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        match round % 5 {
            // Random bytes, with ends of lines among them.
            0 => drop(stream.write_all(&noise.bytes(5_000))),
            // Half a line, and gone.
            1 => drop(stream.write_all(&status[..20])),
            // A question, and gone before the answer.
            2 => drop(stream.write_all(status)),
            // Half a line, and silent.
            3 => {
                let _ = stream.write_all(&status[..10]);
                kept.push(stream);
            }
            // Many questions, and no answer is ever read.
            _ => {
                for _ in 0..200 {
                    if stream.write_all(status).is_err() {
                        break;
                    }
                }
                kept.push(stream);
            }
        }
    }
    // A line without end is told so and closed.
    let mut endless = UnixStream::connect(&socket).unwrap();
    endless.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    let _ = endless.write_all(&vec![b'x'; labloop::server::LINE_MAX + 40_000]);
    endless.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut answer = String::new();
    let _ = BufReader::new(&endless).read_line(&mut answer);
    assert!(answer.contains("longer than"), "{answer}");
    let mut rest = Vec::new();
    let _ = endless.read_to_end(&mut rest);

    let began = Instant::now();
    let (code, out, said) = lab.bench.run(&["abort", "--by", "anna"]);
    assert_eq!(code, 0, "{out}{said}");
    assert!(out.contains("pump_1: safe, confirmed"), "{out}");
    assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
    assert_eq!(lab.ended(), 6, "{}", lab.said());
    drop(kept);
    lab.bench.ok(&["verify"]);
}

#[test]
fn what_is_malformed_is_told_on_the_same_connection() {
    let mut lab = Running::protocol("malformed", CALM);
    lab.runs();
    let mut stream = UnixStream::connect(lab.bench.state().join("control.sock")).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let mut answers = BufReader::new(stream.try_clone().unwrap()).lines();
    let mut ask = |line: &str| -> Value {
        stream.write_all(format!("{line}\n").as_bytes()).unwrap();
        serde_json::from_str(&answers.next().unwrap().unwrap()).unwrap()
    };
    for (line, said) in [
        ("hello", "not a JSON object"),
        (r#"{"v":9,"control":"status"}"#, "speaks version 1"),
        (r#"{"v":1,"control":{"command":{"command":"dance","by":"anna"}}}"#, "unknown variant"),
        (r#"{"v":1,"control":{"command":{"command":"pause","by":""}}}"#, "is empty"),
    ] {
        let told = ask(line);
        assert_eq!(told["v"], 1);
        let refused = &told["say"]["reply"]["refused"];
        assert_eq!(refused["kind"], "malformed", "{told}");
        assert!(refused["message"].as_str().unwrap().contains(said), "{told}");
    }
    let told = ask(r#"{"v":1,"control":"status"}"#);
    assert_eq!(told["say"]["reply"]["status"]["process"], lab.engine.id(), "{told}");
    lab.bench.ok(&["abort"]);
    lab.ended();
}

#[test]
fn a_state_folder_as_deep_as_can_be_takes_commands_too() {
    let top = Bench::new("deep");
    let deep = top.folder().join("a".repeat(100)).join("b".repeat(100));
    std::fs::create_dir_all(&deep).unwrap();
    let file = top.folder().join("protocol.yaml");
    std::fs::write(&file, CALM).unwrap();
    let mut engine = labloop()
        .args(["run", file.to_str().unwrap(), "--lab", "examples/flow-synthesis/lab.yaml"])
        .args(["--simulate", "--speed", "60", "--state"])
        .arg(&deep)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let until = Instant::now() + SOON;
    let done = loop {
        let done = labloop().args(["abort", "--state"]).arg(&deep).output().unwrap();
        if done.status.success() {
            break done;
        }
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(Instant::now() < until, "{said}");
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(String::from_utf8_lossy(&done.stderr).contains("abort accepted"));
    engine.wait().unwrap();
}

#[test]
fn many_people_at_once_are_each_answered_and_each_command_is_noted_once() {
    let mut lab = Running::protocol("many", CALM);
    lab.runs();
    let people = ["anna", "bert", "cleo", "dora"];
    let commands = ["pause", "resume", "hold", "resume", "pause", "resume"];
    let accepted: usize = std::thread::scope(|scope| {
        let lab = &lab;
        let asked: Vec<_> = people
            .iter()
            .map(|who| {
                scope.spawn(move || {
                    let mut accepted = 0;
                    for command in commands {
                        let args = [command, "calm-1.1.1", "--by", who, "--wait", "0"];
                        let (code, told) = lab.json(&args);
                        assert!(code == 0 || code == 2, "{command}: {code} {told:#}");
                        accepted += usize::from(told["subjects"][0]["result"] == "accepted");
                    }
                    accepted
                })
            })
            .collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).sum()
    });
    assert!(accepted >= 2, "nothing was ever accepted");
    let people = lab.bench.json(&["status", "--json"])["people"].as_array().unwrap().len();
    assert_eq!(people, accepted, "what was accepted is noted, and nothing else");
    // Whatever they left behind, it ends safely.
    let (code, out, said) = lab.bench.run(&["abort", "--by", "anna"]);
    assert_eq!(code, 0, "{out}{said}");
    assert!(out.contains("pump_1: safe, confirmed"), "{out}");
    lab.ended();
    let rows = lab.bench.ok(&["export", "calm-1.1.1", "--what", "people"]);
    assert_eq!(rows.lines().count(), 2 + accepted, "{rows}");
    lab.bench.ok(&["verify"]);
}

#[test]
fn a_command_whose_client_is_gone_is_obeyed_and_an_engine_that_stands_still_is_told_of() {
    let mut lab = Running::protocol("gone", CALM);
    lab.runs();
    let mut stream = UnixStream::connect(lab.bench.state().join("control.sock")).unwrap();
    let line = br#"{"v":1,"control":{"command":{"command":"pause","by":"anna"}},"wait_ms":60000}"#;
    stream.write_all(line).unwrap();
    stream.write_all(b"\n").unwrap();
    drop(stream);
    lab.until("pause", |view| view["runs"][0]["state"] == "paused");

    let pid = lab.engine.id().to_string();
    let signal = |which: &str| {
        let done = std::process::Command::new("kill").args([which, &pid]).status().unwrap();
        assert!(done.success());
    };
    signal("-STOP");
    let (code, _, said) = lab.bench.run(&["abort", "--by", "anna"]);
    let status = lab.bench.ok(&["status"]);
    signal("-CONT");
    assert_eq!(code, 5, "{said}");
    assert!(said.contains("stopped or stuck") && said.contains("hard-wired"), "{said}");
    assert!(status.contains("An engine is at work"), "{status}");
    // The command was on its way, and is obeyed when the engine wakes.
    assert_eq!(lab.ended(), 6, "{}", lab.said());
}
