//! What people are told by `status`, `verify`, `export` and the end of a run, with the real binary:
//! what somebody who comes into the lab in the morning must see without asking twice.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod bench;
mod rig;

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use bench::{Bench, labloop, wait_for};
use rig::{Rig, definition, lab};

const LIGHT: &str = "examples/light-mixing/campaign.yaml";
const FLOW_LAB: &str = "examples/flow-synthesis/lab.yaml";
/// How long anything may take that takes a moment.
const SOON: Duration = Duration::from_secs(40);

const STEPS: &str = "  - {id: heat, do: rig_1.heat, with: {power: 40}}
  - {id: soak, do: rig_1.soak}
";

/// A pump runs, and nothing else happens for hours.
const CALM: &str = "schema: labloop/protocol/v1
name: calm
roles:
  pump_a: {type: syringe_pump}
steps:
  - {id: start, do: pump_a.start, with: {rate: 0.05 mL/min}}
  - id: watch
    repeat: {max_times: 100000, steps: [{id: rest, wait: 30 s}]}
finally:
  - {do: pump_a.stop}
results: {}
";

/// An engine; gone when the test ends.
struct Engine(Child);

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Engine {
    fn start(bench: &Bench, args: &[&str]) -> Engine {
        let log = bench.folder().join("engine.log");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        let mut command = labloop();
        command.args(args).arg("--state").arg(bench.state());
        let engine = Engine(command.stdout(Stdio::null()).stderr(log).spawn().unwrap());
        wait_for(&bench.state().join("control.sock"));
        engine
    }

    fn killed(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    fn ended(&mut self, bench: &Bench) -> i32 {
        let mut code = None;
        until("the end of the engine", bench, || {
            code = self.0.try_wait().unwrap().map(|status| status.code().unwrap_or(-1));
            code.is_some()
        });
        code.unwrap()
    }
}

fn said(bench: &Bench) -> String {
    std::fs::read_to_string(bench.folder().join("engine.log")).unwrap_or_default()
}

fn until(what: &str, bench: &Bench, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < SOON, "{what} did not happen\n{}", said(bench));
        std::thread::sleep(Duration::from_millis(30));
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Two instruments of which a run soaks the first.
fn soaking(name: &str) -> (Bench, Rig, Engine) {
    let bench = Bench::new(name);
    let (one, two) = (Rig::start("rig 1", None), Rig::start("rig 2", None));
    let rigs = [("rig_1", &one), ("rig_2", &two)];
    let (lab_file, protocol) = lab(bench.folder(), &rigs, &definition(None), STEPS);
    let engine = Engine::start(&bench, &["run", text(&protocol), "--lab", text(&lab_file)]);
    one.wait("it soaks", |state| state.power == 50);
    (bench, one, engine)
}

/// A protocol on the simulated lab of the flow synthesis.
fn calm(bench: &Bench, speed: &str) -> Engine {
    let file = bench.folder().join("protocol.yaml");
    std::fs::write(&file, CALM).unwrap();
    let args = ["run", text(&file), "--lab", FLOW_LAB, "--simulate", "--speed", speed];
    let engine = Engine::start(bench, &args);
    until("the pump runs", bench, || {
        bench.json(&["status", "--json"])["live"]["runs"][0]["steps"][0]["what"] == "wait"
    });
    engine
}

#[test]
fn an_instrument_in_somebodys_hands_is_told_with_an_engine_and_without() {
    let (bench, _rig, engine) = soaking("told-taken");
    let words = ["instrument", "take", "rig_2", "--by", "ada", "--reason", "a new tube"];
    bench.ok(&words);
    for live in [true, false] {
        let told = bench.ok(&["status"]);
        let line = told.lines().find(|line| line.starts_with("rig_2: ")).unwrap_or_else(|| {
            panic!("no run waits for rig_2, and it is not told: {told}");
        });
        assert!(line.contains("in the hands of ada since 20"), "{line}");
        assert!(line.contains("a new tube"), "{line}");
        assert!(line.contains("labloop instrument give rig_2"), "{line}");
        let told = bench.json(&["status", "--json"]);
        let taken = &told["instruments"][0];
        assert_eq!(taken["instrument"], "rig_2", "{told:#}");
        assert_eq!((&taken["state"], &taken["by"]), (&"taken".into(), &"ada".into()), "{taken}");
        assert_eq!(told["live"].is_object(), live, "{told:#}");
        if live {
            // Only in the first round there is an engine to kill.
            kill(&engine);
        }
    }
    drop(engine);
    bench.ok(&["instrument", "give", "rig_2", "--by", "ada"]);
    assert!(!bench.ok(&["status"]).lines().any(|line| line.starts_with("rig_2: ")));
    let people = bench.ok(&["export", "--what", "people"]);
    assert!(people.contains(",ada,take,rig_2,a new tube"), "{people}");
    assert!(people.contains(",ada,give,rig_2,"), "{people}");
}

/// kill -9; the process is waited for until it has gone.
fn kill(engine: &Engine) {
    let id = engine.0.id().to_string();
    assert!(std::process::Command::new("kill").args(["-9", &id]).status().unwrap().success());
    std::thread::sleep(Duration::from_millis(200));
}

#[test]
fn without_an_engine_status_tells_what_was_under_way_and_that_nobody_drives() {
    let (bench, _rig, engine) = soaking("told-left");
    engine.killed();
    let told = bench.ok(&["status"]);
    assert!(
        told.starts_with("No engine is at work: nobody is driving the run that is open"),
        "{told}"
    );
    assert!(told.contains("run trial-1.1.1 (trial): running when the last engine ended"), "{told}");
    let soak = "soak  rig_1.soak: was under way, not known how it ended";
    assert!(told.contains(soak), "{told}");
    assert!(!told.contains("heat  rig_1.heat"), "what has ended was not under way: {told}");
    let told = bench.json(&["status", "--json"]);
    assert_eq!(told["working"], false, "{told:#}");
    let left = &told["left"][0];
    assert_eq!((&left["run"], &left["state"]), (&"trial-1.1.1".into(), &"running".into()));
    assert_eq!(left["steps"][0]["state"], "sent", "{left:#}");
}

#[test]
fn without_an_engine_status_tells_which_run_is_held_by_whom_and_why() {
    let bench = Bench::new("told-held");
    let engine = calm(&bench, "60");
    bench.ok(&["hold", "--by", "bea", "--reason", "the bath is open"]);
    let live = bench.ok(&["status"]);
    assert!(live.contains("by bea: the bath is open"), "{live}");
    assert!(!live.contains("a person"), "who is known: {live}");
    engine.killed();
    let told = bench.ok(&["status"]);
    assert!(told.contains("run calm-1.1.1 (calm): held when the last engine ended"), "{told}");
    assert!(told.contains("held for") && told.contains("by bea: the bath is open"), "{told}");
    assert!(told.contains("bea (calm-1.1.1, calm-1) hold: the bath is open"), "{told}");
    assert!(!told.contains("a person"), "who is known: {told}");
    let left = bench.json(&["status", "calm-1.1.1", "--json"]);
    assert_eq!(left["runs"][0]["steps"][0]["action"], "start", "{left:#}");
    assert_eq!(left["left"][0]["holds"][0]["by"], "bea", "{left:#}");
}

#[test]
fn what_went_past_a_refusal_is_told_to_everybody_after() {
    let (bench, rig, mut engine) = soaking("told-word");
    rig.with(|state| state.stubborn = true);
    assert_eq!(bench.run(&["abort"]).0, 7);
    assert_eq!(engine.ended(&bench), 7);
    let told = bench.ok(&["status"]);
    assert!(told.contains("rig_1: NOT CONFIRMED SAFE since run trial-1.1.1 ended (20"), "{told}");
    let barred = bench.json(&["status", "--json"]);
    assert_eq!(barred["instruments"][0]["state"], "not_confirmed_safe", "{barred:#}");

    let words = ["instrument", "accept", "rig_1", "--by", "ada", "--reason", "it is unplugged"];
    bench.ok(&words);
    let told = bench.ok(&["status"]);
    let line = told.lines().find(|line| line.starts_with("rig_1: ")).unwrap();
    assert!(line.contains("used on the word of ada since 20"), "{line}");
    assert!(line.contains("trial-1.1.1") && line.contains("it is unplugged"), "{line}");
    let people = bench.json(&["export", "--what", "people", "--json"]);
    let accepted = people.as_array().unwrap().last().unwrap();
    assert_eq!(accepted["command"], "accept_unsafe", "{people:#}");
    assert_eq!((&accepted["by"], &accepted["text"]), (&"ada".into(), &"it is unplugged".into()));
    assert_eq!(accepted["about"][0], "rig_1", "{people:#}");

    // It confirms a safe state: the word is no longer needed, and was given all the same.
    rig.with(|state| state.stubborn = false);
    let protocol = bench.folder().join("protocol.yaml");
    let lab_file = bench.folder().join("lab.yaml");
    let mut engine = Engine::start(&bench, &["run", text(&protocol), "--lab", text(&lab_file)]);
    rig.wait("the second run soaks", |state| {
        state.told.iter().filter(|(_, told)| told == "SOAK").count() == 2 && state.power == 50
    });
    rig.with(|state| state.power = 0);
    assert_eq!(engine.ended(&bench), 0, "{}", said(&bench));
    let told = bench.ok(&["status"]);
    assert!(!told.contains("on the word of"), "{told}");
    assert!(told.contains("ada (rig_1) let it be used although"), "{told}");
}

#[test]
fn a_forced_clearing_is_told_with_its_reason() {
    let (bench, rig, mut engine) = soaking("told-forced");
    rig.with(|state| state.deaf = true);
    bench.run(&["estop", "--by", "ada", "--reason", "smoke"]);
    let why = ["estop", "--clear", "--by", "bea", "--reason", "its plug is pulled"];
    bench.ok(&why);
    engine.ended(&bench);
    let people = bench.ok(&["export", "--what", "people"]);
    assert!(people.contains(",ada,estop,,"), "{people}");
    let forced = people.lines().find(|line| line.contains("forced_clear")).unwrap();
    assert!(forced.contains(",bea,forced_clear,rig_1,its plug is pulled"), "{forced}");
    let told = bench.ok(&["status"]);
    let line = told.lines().find(|line| line.starts_with("rig_1: ")).unwrap();
    assert!(
        line.contains("used on the word of bea") && line.contains("its plug is pulled"),
        "{line}"
    );
}

#[test]
fn a_loss_that_was_accepted_is_told_with_who_accepted_it() {
    let bench = Bench::new("told-loss");
    let light = ["run", LIGHT, "--simulate", "--speed", "max", "--experiments", "2"];
    bench.run(&light);
    std::fs::write(bench.state().join("journal.db"), b"").unwrap();
    let (code, _, told) = bench.run(&light);
    assert_eq!(code, 7, "{told}");
    let (code, _, told) = bench.run(&[light.as_slice(), &["--by", "ada"]].concat());
    assert_eq!(code, 2, "a name without what it is for: {told}");
    let word = ["--accept-loss", "--by", "ada", "--reason", "all is off"];
    bench.run(&[light.as_slice(), &word].concat());
    let told = bench.ok(&["status"]);
    assert!(told.contains("were lost from the end of the journal; ada accepted that"), "{told}");
    let people = bench.json(&["export", "--what", "people", "--format", "json"]);
    let first = &people[0];
    assert_eq!(
        (&first["command"], &first["by"]),
        (&"accept_loss".into(), &"ada".into()),
        "{people:#}"
    );
    assert!(first["text"].as_str().unwrap().contains("all is off"), "{people:#}");
    assert_eq!(bench.json(&["status", "--json"])["loss_accepted"]["by"], "ada");
    // The next engine starts with nothing lost.
    bench.run(&light);
    assert!(!bench.ok(&["status"]).contains("were lost from the end"));
}

#[test]
fn verify_looks_at_telemetry_and_tells_of_it_apart() {
    let bench = Bench::new("told-telemetry");
    bench.run(&["run", LIGHT, "--simulate", "--speed", "max", "--experiments", "2"]);
    let verify = || {
        let (code, head, told) = bench.run(&["verify"]);
        let json = bench.json(&["verify", "--json"]);
        assert_eq!(json["ok"], true, "{json}");
        assert_eq!(json["head"].as_str(), Some(head.trim()), "{json}");
        assert_eq!(code, 0, "the journal is whole: {told}");
        (told, json["telemetry"]["state"].as_str().unwrap().to_owned())
    };
    let (told, state) = verify();
    assert_eq!(state, "whole", "{told}");
    assert!(told.contains("Telemetry, apart from the journal, is whole"), "{told}");
    let file = bench.state().join("telemetry.db");
    let bytes = std::fs::read(&file).unwrap();
    for name in ["telemetry.db-wal", "telemetry.db-shm"] {
        let _ = std::fs::remove_file(bench.state().join(name));
    }
    let mut torn = bytes.clone();
    let middle = torn.len() / 2;
    torn[middle..].fill(0x5a);
    std::fs::write(&file, &torn).unwrap();
    let (told, state) = verify();
    assert_eq!(state, "damaged", "{told}");
    assert!(told.contains("warning: ") && told.contains("is damaged"), "{told}");
    assert!(told.contains("move it away"), "no way out: {told}");
    // An engine that cannot read it goes on without it.
    std::fs::write(&file, b"these are no readings, whatever the name says").unwrap();
    let (_, _, told) =
        bench.run(&["run", LIGHT, "--simulate", "--speed", "max", "--experiments", "1"]);
    assert!(told.contains("is kept as ") && told.contains("telemetry.db.damaged-1"), "{told}");
    assert!(bench.state().join("telemetry.db.damaged-1").exists());
    assert_eq!(verify().1, "whole");
    std::fs::remove_file(&file).unwrap();
    let (told, state) = verify();
    assert_eq!(state, "missing", "{told}");
    assert!(told.contains("There is no ") && told.contains("telemetry.db"), "{told}");
}

/// A campaign of which every experiment fails: its condition never holds.
fn hopeless(folder: &Path) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/light-mixing");
    for name in ["lab.yaml", "campaign.yaml"] {
        std::fs::copy(root.join(name), folder.join(name)).unwrap();
    }
    let campaign = std::fs::read_to_string(folder.join("campaign.yaml")).unwrap();
    let line = campaign.lines().find(|line| line.starts_with("protocol:")).unwrap();
    let protocol = root.join(line.trim_start_matches("protocol:").trim());
    let steps = std::fs::read_to_string(protocol).unwrap();
    let never = "steps:\n  - {id: never, wait_until: \"1 > 2\", timeout: 1 s}\n";
    std::fs::write(folder.join("never.yaml"), steps.replacen("steps:\n", never, 1)).unwrap();
    let campaign = campaign.replacen(line, "protocol: never.yaml", 1);
    std::fs::write(folder.join("campaign.yaml"), campaign).unwrap();
    folder.join("campaign.yaml")
}

#[test]
fn a_campaign_of_which_all_experiments_failed_is_no_success() {
    let bench = Bench::new("told-failed");
    let campaign = hopeless(bench.folder());
    let run = ["run", text(&campaign), "--simulate", "--speed", "max", "--experiments", "2"];
    let (code, _, told) = bench.run(&run);
    assert_eq!(code, 1, "{told}");
    let last = told.lines().last().unwrap();
    assert!(last.contains("all 2 experiments of campaign"), "{told}");
    assert!(last.contains("labloop status") && last.contains("never"), "{last}");
}

#[test]
fn a_run_that_a_signal_ended_names_each_instrument() {
    for signals in [1, 2] {
        let bench = Bench::new("told-signal");
        let mut engine = calm(&bench, "60");
        for _ in 0..signals {
            let id = engine.0.id().to_string();
            let sent = std::process::Command::new("kill").args(["-INT", &id]).status().unwrap();
            assert!(sent.success());
            if signals == 2 {
                until("the first is heard", &bench, || said(&bench).contains("Ending the step"));
            }
        }
        assert_eq!(engine.ended(&bench), 130, "{}", said(&bench));
        let told = said(&bench);
        assert!(told.contains("run calm-1.1.1: "), "{told}");
        let line = told.lines().find(|line| line.starts_with("  pump_1: "));
        assert_eq!(line, Some("  pump_1: safe, confirmed"), "{told}");
    }
    // One that does not confirm is named too.
    let (bench, rig, mut engine) = soaking("told-signal-unsafe");
    rig.with(|state| state.stubborn = true);
    let id = engine.0.id().to_string();
    for _ in 0..2 {
        std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap();
        until("it is heard", &bench, || said(&bench).contains("Ending the step"));
    }
    assert_eq!(engine.ended(&bench), 130, "{}", said(&bench));
    assert!(said(&bench).contains("  rig_1: NOT CONFIRMED SAFE"), "{}", said(&bench));
}

#[test]
fn a_run_that_was_left_alone_for_long_is_said_to_go_on() {
    let bench = Bench::new("told-away");
    // An hour of lab time is 3.6 s.
    calm(&bench, "1000").killed();
    std::thread::sleep(Duration::from_secs(5));
    let mut engine = Engine::start(&bench, &["resume"]);
    until("it is told", &bench, || said(&bench).contains("no engine was there for 1 h"));
    let told = said(&bench);
    let line = told.lines().find(|line| line.contains("no engine was there for")).unwrap();
    for part in ["run calm-1.1.1", "goes on at the step", "resume: {within: TIME}", "labloop hold"]
    {
        assert!(line.contains(part), "{part}: {line}");
    }
    let people = bench.json(&["export", "--what", "people", "--json"]);
    let text = people[0]["text"].as_str().unwrap();
    assert!(text.contains("no engine was there for 1 h"), "it is not noted: {people:#}");
    bench.ok(&["abort"]);
    engine.ended(&bench);
    bench.ok(&["replay"]);
}

#[test]
fn what_is_excluded_is_told_with_the_way_back_and_json_is_everywhere() {
    let bench = Bench::new("told-undo");
    bench.run(&["run", LIGHT, "--simulate", "--speed", "max", "--experiments", "2"]);
    let status = bench.json(&["status", "--json"]);
    let id = status["campaigns"][0]["campaign"].as_str().unwrap().to_owned();
    let out = ["exclude", &id, "1", "--by", "ada", "--reason", "a bubble"];
    let (code, _, told) = bench.run(&out);
    assert_eq!(code, 0, "{told}");
    // What it says can be typed as it is.
    let way_back = told.split('`').nth(1).unwrap();
    let words: Vec<&str> = way_back.split(' ').skip(1).collect();
    let undone = labloop().args(&words).output().unwrap();
    assert!(undone.status.success(), "{way_back}: {}", String::from_utf8_lossy(&undone.stderr));
    let people = bench.ok(&["export", "--what", "people"]);
    assert!(people.contains(&format!(",ada,exclude,{id},experiment 1: a bubble")), "{people}");
    assert!(people.contains(&format!(",include,{id},experiment 1: WHY")), "{people}");
    for what in ["experiments", "steps", "telemetry", "people", "wire", "files"] {
        let told = bench.ok(&["export", "--what", what, "--json"]);
        assert!(serde_json::from_str::<serde_json::Value>(&told).is_ok(), "{what}: {told}");
    }
    for args in [["explain", "LL0208"].as_slice(), &["instrument", "list"]] {
        let out = labloop().args(args).arg("--json").output().unwrap();
        assert!(serde_json::from_slice::<serde_json::Value>(&out.stdout).is_ok(), "{args:?}");
    }
}

#[test]
fn a_result_is_told_with_its_unit() {
    let bench = Bench::new("told-units");
    let flow = "examples/flow-synthesis/campaign.yaml";
    bench.run(&["run", flow, "--simulate", "--speed", "max", "--experiments", "1"]);
    let told = bench.ok(&["status"]);
    let line = told.lines().find(|line| line.starts_with("    1  ")).unwrap();
    let results: Vec<&str> = line.trim_start_matches("    1  ").split(", ").collect();
    assert!(results.iter().any(|r| r.starts_with("yield ") && r.ends_with(" %")), "{line}");
    assert!(results.iter().any(|r| r.starts_with("solvent ") && r.ends_with(" mL")), "{line}");
    let status = bench.json(&["status", "--json"]);
    assert_eq!(status["campaigns"][0]["units"]["solvent"], "mL", "{status:#}");
}
