//! The tools for one device on a real line, as an engineer uses them: against simulators that
//! count what they are told.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod bench;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bench::{Bench, Broker, free_ports, labloop, mosquitto, wait_for};
use labloop::engine::core::{Record, Terms};
use labloop::engine::shell::Fact;
use labloop::store::{Durability, Holder, Journal, JournalError, StateLock};
use serde_json::Value as Json;

const PUMP: &str = "serial:/dev/serial/by-id/pump-1";
const RTU: &str = "modbus+serial:/dev/serial/by-id/bath-2?unit=2";
const BATH: &str = "modbus+tcp://127.0.0.1:5502?unit=3";

const LAB: &str = r#"
schema: labloop/lab/v1
name: bench
instruments:
  pump_1:
    use: newera-ne1000
    at: "serial:/dev/serial/by-id/pump-1"
    plays: [pump]
    config: {syringe_diameter: 14.57 mm}
    limits: {dispense: {volume: {max: 5 mL}}}
  bath_1: {use: eurotherm-3216, at: "modbus+tcp://127.0.0.1:5502?unit=3", plays: [bath]}
  bath_2: {use: eurotherm-3216, at: "modbus+serial:/dev/serial/by-id/bath-2?unit=2"}
"#;

/// Something that runs beside a test and ends with it.
struct Beside(Child);

impl Beside {
    fn start(command: &mut Command) -> Beside {
        Beside(command.stderr(Stdio::null()).spawn().unwrap())
    }

    /// The same, for a tool that says where it listens: that address too.
    fn listening(command: &mut Command) -> (Beside, String) {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut first).unwrap();
        (Beside(child), first.trim().to_owned())
    }

    /// Asks it to end; exit code and what it said.
    fn end(mut self) -> (i32, String) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let mut said = String::new();
        if let Some(mut err) = self.0.stderr.take() {
            err.read_to_string(&mut said).unwrap();
        }
        (self.0.wait().unwrap().code().unwrap_or(-1), said)
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A bench with a lab and its simulators.
struct Stand {
    bench: Bench,
    lab: String,
    endpoints: Json,
    _simulators: Beside,
}

impl Stand {
    fn new(name: &str, lab: &str, more: &[&str]) -> Stand {
        let bench = Bench::new(name);
        let file = bench.folder().join("lab.yaml");
        std::fs::write(&file, lab).unwrap();
        let ready = bench.folder().join("ready.json");
        let mut command = labloop();
        command.arg("simulator").arg(&file).arg("--ready-file").arg(&ready);
        command.arg("--log").arg(bench.folder().join("effects.jsonl"));
        command.args(more).stdout(Stdio::null());
        let simulators = Beside::start(&mut command);
        wait_for(&ready);
        let ready: Json = serde_json::from_str(&std::fs::read_to_string(ready).unwrap()).unwrap();
        let endpoints = ready["endpoints"].clone();
        Stand { bench, lab: file.display().to_string(), endpoints, _simulators: simulators }
    }

    fn usual(name: &str) -> Stand {
        Stand::new(name, LAB, &["--anywhere", "--speed", "60"])
    }

    fn at(&self, address: &str) -> String {
        self.endpoints[address].as_str().unwrap().to_owned()
    }

    /// `instrument call LAB ...`
    fn call(&self, args: &[&str]) -> (i32, String, String) {
        self.bench.run(&[&["instrument", "call", &self.lab], args].concat())
    }

    /// What the simulators were told to do.
    fn effects(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.bench.folder().join("effects.jsonl"));
        let effect = |line: &str| {
            let line: Json = serde_json::from_str(line).unwrap();
            line["effect"].as_str().unwrap().to_owned()
        };
        text.unwrap_or_default().lines().map(effect).collect()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.bench.folder().join(name)
    }
}

const DOSE: [&str; 6] = ["pump_1", "dispense", "--set", "volume=2 mL", "--set", "rate=4 mL/min"];

#[test]
fn a_dose_by_hand_happens_once_and_is_in_the_journal() {
    let stand = Stand::usual("call");
    let pump = stand.at(PUMP);
    let dose = [&DOSE[..], &["--at", &pump]].concat();
    // Looking at the bytes opens nothing, not even a journal.
    let (code, out, said) = stand.call(&[&dose[..], &["--dry-run"]].concat());
    assert_eq!(code, 0, "{said}");
    assert!(out.contains("> VOL2.000\\r\n> RAT 4.000 MM\\r\n> DIRINF\\r\n> RUN\\r\n"), "{out}");
    assert!(!stand.bench.state().exists());
    assert!(stand.effects().is_empty());
    // What pumps is not sent unconfirmed.
    let (code, _, said) = stand.call(&dose);
    assert!(code == 2 && said.contains("--yes") && said.contains("pumps"), "{code} {said}");
    assert!(stand.effects().is_empty());

    let (code, _, said) = stand.call(&[&dose[..], &["--yes"]].concat());
    assert_eq!(code, 0, "{said}");
    assert_eq!(stand.effects(), ["dispense"]);
    assert!(said.contains("> RAT 4.000 MM\\r") && said.contains("< \\x0200I\\x03"), "{said}");
    assert!(said.contains("dispense 7 of 9: rate = 4 mL/min"), "{said}");

    let (code, out, _) = stand.call(&["pump_1", "dispensed", "--at", &pump]);
    assert_eq!((code, out.as_str()), (0, "dispensed = 2 mL\n"));
    // A read needs no journal; the dose is there, with who and what, and the chain holds.
    let status = stand.bench.json(&["status", "--json"]);
    let manual = status["manual"].as_array().unwrap();
    assert_eq!(manual.len(), 1);
    assert_eq!(manual[0]["action"], "dispense");
    assert_eq!(manual[0]["outcome"], "done");
    assert!(!manual[0]["by"].as_str().unwrap().is_empty());
    assert!(stand.bench.ok(&["status"]).contains("manual-1"));
    stand.bench.ok(&["verify"]);
    let journal = Journal::open_read_only(&stand.bench.state()).unwrap();
    let kinds: Vec<String> =
        journal.about("manual-1").unwrap().into_iter().map(|entry| entry.kind).collect();
    assert_eq!(kinds, ["manual_intent", "manual_outcome"]);

    let trace = stand.bench.ok(&["instrument", "trace", "manual-1"]);
    assert!(trace.contains("> VOL2.000\\r") && trace.contains("volume = 2 mL"), "{trace}");
    let rows = stand.bench.json(&["instrument", "trace", "manual-1", "--json"]);
    let run = rows.as_array().unwrap().iter().find(|row| row["bytes"] == "RUN\\r").unwrap();
    assert_eq!(run["meaning"], "dispense 9 of 9");
    assert_eq!(run["way"], "out");
}

#[test]
fn what_must_not_be_sent_is_refused_with_all_reasons() {
    let stand = Stand::usual("refused");
    let pump = stand.at(PUMP);
    for (args, reasons) in [
        // Beyond the definition, beyond the lab.
        (
            &["dispense", "--set", "volume=20 mL", "--set", "rate=400 mL/min"][..],
            &["at most 20 mL/min", "in this lab `pump_1` allows at most 5 mL"][..],
        ),
        (&["dispense", "--set", "volume=2 mL", "--set", "rate=4 degC"], &["a temperature"]),
        (&["dispense", "--set", "volume=2", "--set", "rate=4 mL/min"], &["write volume=\"2 mL\""]),
        (&["dispense", "--set", "volume=2 mL"], &["`rate` is missing"]),
        (&["dispense", "--set", "volum=2 mL"], &["did you mean `volume`?"]),
        (&["dispense", "--set", "volume"], &["name=\"value unit\""]),
        (&["dispens"], &["did you mean `dispense`?"]),
        (&["dispensed", "--set", "volume=2 mL"], &["is a property"]),
    ] {
        let (code, _, said) = stand.call(&[&["pump_1"], args, &["--yes", "--at", &pump]].concat());
        assert_eq!(code, 2, "{args:?} {said}");
        for reason in reasons {
            assert!(said.contains(reason), "{args:?}: {reason}? {said}");
        }
    }
    let (code, _, said) = stand.call(&["pump_2", "dispensed"]);
    assert!(code == 2 && said.contains("did you mean `pump_1`?"), "{said}");
    assert!(stand.effects().is_empty());
    assert!(!stand.bench.state().join("journal.db").exists());
}

#[test]
fn while_an_engine_owns_the_state_nothing_is_sent_by_hand() {
    let stand = Stand::usual("owned");
    let pump = stand.at(PUMP);
    let lock = StateLock::take(&stand.bench.state()).unwrap();
    let dose = [&DOSE[..], &["--yes", "--at", &pump]].concat();
    for args in [&dose[..], &["pump_1", "dispensed", "--at", &pump]] {
        let (code, _, said) = stand.call(args);
        assert!(code == 2 && said.contains("is using the state folder"), "{code} {said}");
    }
    drop(lock);
    assert!(stand.effects().is_empty());

    // A run that is not over may be resumed, and rests on what its instruments were told.
    let mut journal = Journal::open(&stand.bench.state(), Durability::Power).unwrap();
    let open = Record::RunStarted {
        run: "mix-1".to_owned(),
        graph: String::new(),
        document: String::new(),
        terms: Terms::default(),
    };
    let open = Fact::Run(open).entry(1, 1).unwrap();
    let first = |_| Ok::<_, JournalError>((vec![open], Vec::new()));
    journal.take_lease(&Holder::this_process(1), 1, first).unwrap();
    drop(journal);
    let (code, _, said) = stand.call(&dose);
    assert!(code == 2 && said.contains("run mix-1 is not over"), "{code} {said}");
    assert!(stand.effects().is_empty());
    for stop in ["stop", "safe_state"] {
        let (code, _, said) = stand.call(&["pump_1", stop, "--at", &pump]);
        assert_eq!(code, 0, "{said}");
    }
    stand.bench.ok(&["verify"]);
}

#[test]
fn an_instrument_that_is_not_there_leaves_no_intent() {
    let stand = Stand::usual("absent");
    let nowhere = format!("tcp://127.0.0.1:{}", free_ports(1)[0]);
    let started = Instant::now();
    let (code, _, said) = stand.call(&[&DOSE[..], &["--yes", "--at", &nowhere]].concat());
    assert_eq!(code, 5, "{said}");
    assert!(said.contains("is not there"), "{said}");
    assert!(started.elapsed() < Duration::from_secs(40));
    let journal = Journal::open_read_only(&stand.bench.state()).unwrap();
    assert!(journal.is_empty());
    let (code, ..) = stand.call(&["pump_1", "dispensed", "--at", &nowhere]);
    assert_eq!(code, 5);
}

#[test]
fn a_command_killed_half_way_stays_in_doubt_for_all_to_see() {
    // One second of the lab takes one second: the dose lasts half a minute.
    let stand = Stand::new("killed", LAB, &["--anywhere"]);
    let pump = stand.at(PUMP);
    let mut command = labloop();
    command.args(["instrument", "call", &stand.lab]).args(DOSE).args(["--yes", "--at", &pump]);
    command.arg("--state").arg(stand.bench.state());
    let call = Beside::start(&mut command);
    let until = Instant::now() + Duration::from_secs(20);
    while stand.effects().is_empty() {
        assert!(Instant::now() < until, "nothing was sent");
        std::thread::sleep(Duration::from_millis(10));
    }
    // kill -9
    drop(call);
    assert!(stand.bench.ok(&["status"]).contains("in doubt"));
    stand.bench.ok(&["verify"]);
    // The next command goes on behind it and takes a name of its own.
    let (code, _, said) = stand.call(&["pump_1", "stop", "--at", &pump]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("manual-2"), "{said}");
    assert_eq!(stand.effects(), ["dispense", "stop"]);
    stand.bench.ok(&["verify"]);
}

#[test]
fn ctrl_c_stops_what_was_begun_and_says_so() {
    let stand = Stand::new("ctrl-c", LAB, &["--anywhere"]);
    let pump = stand.at(PUMP);
    let mut command = labloop();
    command.args(["instrument", "call", &stand.lab]).args(DOSE).args(["--yes", "--at", &pump]);
    command.arg("--state").arg(stand.bench.state()).stderr(Stdio::piped());
    let mut call = command.spawn().unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    while stand.effects().is_empty() {
        assert!(Instant::now() < until, "nothing was sent");
        std::thread::sleep(Duration::from_millis(10));
    }
    let pid = call.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let mut said = String::new();
    call.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(call.wait().unwrap().code(), Some(130), "{said}");
    // The definition's `on_cancel`.
    let after = said.split("Cancelling").nth(1).unwrap_or_default();
    assert_eq!(after.matches("> STP\\r").count(), 2, "{said}");
    assert!(said.contains("NOT KNOWN") && said.contains("Its witness says"), "{said}");
    assert_eq!(stand.effects(), ["dispense", "stop"]);
    let status = stand.bench.json(&["status", "--json"]);
    assert_eq!(status["manual"][0]["outcome"], "it was cancelled");
    stand.bench.ok(&["verify"]);
}

#[test]
fn a_person_at_a_terminal_is_asked() {
    let stand = Stand::usual("asked");
    let pump = stand.at(PUMP);
    for (answer, code, effects) in [("no\n", 6, 0), ("yes\n", 0, 1)] {
        let words = [&["instrument", "call", &stand.lab][..], &DOSE, &["--at", &pump]].concat();
        let words: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
        let line = format!("{} {}", env!("CARGO_BIN_EXE_labloop"), words.join(" "));
        // A terminal of its own (util-linux).
        let mut terminal = Command::new("script")
            .args(["-q", "-e", "-c", &line, "/dev/null"])
            .env("LABLOOP_STATE", stand.bench.state())
            .env("NO_COLOR", "1")
            .env("TERM", "xterm")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = Vec::new();
        let mut out = terminal.stdout.take().unwrap();
        let mut space = [0; 512];
        while !String::from_utf8_lossy(&said).contains("Type `yes`") {
            let count = out.read(&mut space).unwrap();
            assert!(count > 0, "{}", String::from_utf8_lossy(&said));
            said.extend(&space[..count]);
        }
        let mut keyboard = terminal.stdin.take().unwrap();
        keyboard.write_all(answer.as_bytes()).unwrap();
        out.read_to_end(&mut said).unwrap();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert_eq!(terminal.wait().unwrap().code(), Some(code), "{said}");
        assert!(said.contains("pumps: dispense") && said.contains("volume = 2 mL"), "{said}");
        assert_eq!(stand.effects().len(), effects, "{said}");
        drop(keyboard);
    }
}

#[test]
fn a_lab_with_interlocks_is_only_read_and_stopped_by_hand() {
    let guarded = format!(
        "{LAB}interlocks: [{{id: cold, forbid: pump_1.dispense, when: bath_1.temperature < 20 degC}}]\n"
    );
    let stand = Stand::new("guarded", &guarded, &["--anywhere", "--speed", "60"]);
    let pump = stand.at(PUMP);
    let (code, _, said) = stand.call(&[&DOSE[..], &["--yes", "--at", &pump]].concat());
    assert!(code == 3 && said.contains("interlock `cold`"), "{code} {said}");
    assert!(stand.effects().is_empty());
    for harmless in ["dispensed", "stop", "safe_state"] {
        let (code, _, said) = stand.call(&["pump_1", harmless, "--at", &pump]);
        assert_eq!(code, 0, "{harmless}: {said}");
    }
}

#[test]
fn what_answers_is_found_without_a_single_command() {
    let stand = Stand::usual("probe");
    let (pump, bath) = (stand.at(PUMP), stand.at(BATH));
    let line = bath.split('?').next().unwrap();
    let probe = |args: &[&str]| {
        let output = labloop().args(["instrument", "probe", "--json"]).args(args).output().unwrap();
        let out: Json = serde_json::from_slice(&output.stdout).unwrap_or(Json::Null);
        (output.status.code().unwrap(), out)
    };
    // A pump that was just switched on says so instead of its first answer, once; it is asked again.
    let (code, found) = probe(&[&pump, "--definition", "newera-ne1000", "--units", "0-2"]);
    assert_eq!(code, 0);
    let all = found["found"].as_array().unwrap();
    assert_eq!(all.len(), 1, "{found:#}");
    assert_eq!(all[0]["config"]["address"], "0");
    assert!(all[0]["alarms"][0].as_str().unwrap().contains("power was interrupted"), "{found:#}");
    // All built-in definitions that fit the line are tried.
    let (code, found) = probe(&[&pump]);
    assert_eq!(code, 0);
    assert_eq!(found["found"][0]["definition"], "newera-ne1000", "{found:#}");
    assert_eq!(found["found"][0]["certain"], true);
    assert_eq!(found["found"][0]["values"]["dispensed"], "0 mL");
    // Asking this way would switch the pump to another mode.
    let skipped = found["skipped"].as_array().unwrap();
    assert!(skipped.iter().any(|s| s["definition"] == "newera-ne1000-safe"), "{skipped:#?}");

    // Modbus behind a recording proxy: every frame is seen.
    let file = stand.file("probe.jsonl");
    let mut command = labloop();
    command.args(["instrument", "record", line, "--to"]).arg(&file);
    let (proxy, at) = Beside::listening(&mut command);
    let (code, found) = probe(&[at.as_str(), "--units", "1-5"]);
    assert_eq!(code, 0, "{found:#}");
    let units: Vec<u64> =
        found["units"].as_array().unwrap().iter().map(|u| u["unit"].as_u64().unwrap()).collect();
    assert_eq!(units, [3]);
    assert_eq!(found["found"][0]["definition"], "eurotherm-3216");
    assert_eq!(found["found"][0]["at"], format!("{at}?unit=3"));
    assert_eq!(found["found"][0]["values"]["setpoint"], "25 degC");
    assert_eq!(proxy.end().0, 0);
    let trace = labloop::wire::trace::read(&file).unwrap();
    let functions: Vec<u8> = trace
        .lines
        .iter()
        .filter(|line| line.way == Some(labloop::wire::trace::Direction::Out))
        .map(|line| line.bytes()[7])
        .collect();
    assert!(functions.len() > 8, "{functions:?}");
    assert!(functions.iter().all(|function| (1..=4).contains(function)), "{functions:?}");
    // And neither simulator was told to do anything.
    assert!(stand.effects().is_empty(), "{:?}", stand.effects());

    let (code, _) = probe(&[&format!("tcp://127.0.0.1:{}", free_ports(1)[0])]);
    assert_eq!(code, 5);
    let (code, _) = probe(&[&pump, "--definition", "newera-ne100"]);
    assert_eq!(code, 2);
}

#[test]
fn a_recorded_device_answers_as_it_did() {
    let stand = Stand::usual("record");
    for (name, device, address, more) in [
        ("pump_1", PUMP, "pump.jsonl", &["--definition", "newera-ne1000"][..]),
        ("bath_1", BATH, "bath.jsonl", &[]),
        ("bath_2", RTU, "rtu.jsonl", &["--definition", "eurotherm-3216"]),
    ] {
        let file = stand.file(address);
        let mut command = labloop();
        command.args(["instrument", "record", &stand.at(device), "--to"]).arg(&file).args(more);
        let (proxy, at) = Beside::listening(&mut command);
        let (action, property) = match name {
            "pump_1" => (DOSE[1..].to_vec(), "dispensed"),
            _ => (vec!["set_temperature", "--set", "target=40 degC"], "setpoint"),
        };
        let act = [&[name][..], &action, &["--yes", "--at", &at]].concat();
        let (code, _, said) = stand.call(&act);
        assert_eq!(code, 0, "{said}");
        let (code, value, _) = stand.call(&[name, property, "--at", &at]);
        assert_eq!(code, 0);
        let (code, said) = proxy.end();
        assert_eq!(code, 0, "{said}");
        // A second recording does not overwrite the first.
        let mut again = labloop();
        again.args(["instrument", "record", &stand.at(device), "--to"]).arg(&file).args(more);
        assert_eq!(again.output().unwrap().status.code(), Some(2));

        let before = stand.effects();
        let mut command = labloop();
        command.args(["instrument", "replay"]).arg(&file);
        let (replay, at) = Beside::listening(&mut command);
        let (code, _, said) = stand.call(&[&[name][..], &action, &["--yes", "--at", &at]].concat());
        assert_eq!(code, 0, "{said}");
        let (code, replayed, _) = stand.call(&[name, property, "--at", &at]);
        assert_eq!((code, &replayed), (0, &value));
        assert_eq!(stand.effects(), before, "the replay reached the device");
        let (code, said) = replay.end();
        assert!(code == 0 && said.contains("0 were never recorded"), "{code} {said}");

        // What was never asked while it was recorded is said, not invented.
        let mut command = labloop();
        command.args(["instrument", "replay"]).arg(&file);
        let (replay, at) = Beside::listening(&mut command);
        let other = if name == "pump_1" { "rate" } else { "output" };
        let (code, ..) = stand.call(&[name, other, "--at", &at]);
        assert_eq!(code, 1);
        let (code, said) = replay.end();
        assert!(code == 1 && said.contains("never recorded, so not answered"), "{code} {said}");
    }
}

#[test]
fn other_programs_are_recorded_and_answered_too() {
    let stand = Stand::usual("others");
    let (tcp, line) = (stand.file("tcp.jsonl"), stand.file("line.jsonl"));
    // A Modbus master nobody here wrote (mbpoll), and a program on pyserial.
    let master = |at: &str| {
        let place = at.strip_prefix("modbus+tcp://").unwrap();
        let (host, port) = place.split('?').next().unwrap().split_once(':').unwrap();
        let output = Command::new("mbpoll")
            .args(["-m", "tcp", "-p", port, "-a", "3", "-0", "-r", "5", "-c", "1", "-1", host])
            .output()
            .unwrap();
        let out = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{out}");
        out.lines().find(|line| line.starts_with("[5]")).unwrap().to_owned()
    };
    let program = |at: &str| {
        let path = at.strip_prefix("serial:").unwrap();
        let script = format!(
            "import serial\np = serial.Serial({path:?}, 19200, timeout=5)\np.write(b'\\r')\n\
             p.read_until(b'\\x03')\np.write(b'DIA\\r')\nprint(p.read_until(b'\\x03'))"
        );
        let output = Command::new(bench::peers()).args(["-c", &script]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let record = |device: &str, file: &PathBuf, more: &[&str]| {
        let mut command = labloop();
        command.args(["instrument", "record", &stand.at(device), "--to"]).arg(file).args(more);
        Beside::listening(&mut command)
    };
    let replay = |file: &PathBuf| {
        let mut command = labloop();
        Beside::listening(command.args(["instrument", "replay"]).arg(file))
    };
    let (proxy, at) = record(BATH, &tcp, &[]);
    let register = master(&at);
    assert_eq!(register.split_whitespace().last(), Some("250"));
    proxy.end();
    let (proxy, at) = record(PUMP, &line, &["--definition", "newera-ne1000"]);
    let diameter = program(&at);
    assert!(diameter.contains("00S"), "{diameter}");
    proxy.end();
    for (file, said) in [(&tcp, register), (&line, diameter)] {
        let (replay, at) = replay(file);
        let again = if file == &tcp { master(&at) } else { program(&at) };
        assert_eq!(again, said);
        let (code, told) = replay.end();
        assert_eq!(code, 0, "{told}");
    }
}

#[test]
fn a_lost_answer_leaves_the_effect_unknown_and_the_witness_is_read() {
    let stand = Stand::usual("unknown");
    let file = stand.file("pump.jsonl");
    let mut command = labloop();
    command.args(["instrument", "record", &stand.at(PUMP), "--to"]).arg(&file);
    command.args(["--baud", "19200", "--frame", "8N1"]);
    let (proxy, at) = Beside::listening(&mut command);
    let dose = |at: &str| {
        [&DOSE[..], &["--yes", "--json", "--at", at]]
            .concat()
            .iter()
            .map(|s| (*s).to_owned())
            .collect::<Vec<String>>()
    };
    let call = |at: &str| {
        let args = dose(at);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let (code, out, _) = stand.call(&args);
        (code, serde_json::from_str::<Json>(&out).unwrap())
    };
    assert_eq!(call(&at).0, 0);
    assert_eq!(proxy.end().0, 0);
    // The same device, but its answer to RUN is lost.
    let text = std::fs::read_to_string(&file).unwrap();
    let mut kept = String::new();
    let mut lost = false;
    for line in text.lines() {
        if !(lost && line.contains("\"in\"")) {
            kept.push_str(line);
            kept.push('\n');
        }
        lost = line.contains("RUN");
    }
    assert_ne!(kept, text);
    std::fs::write(&file, kept).unwrap();
    let mut command = labloop();
    command.args(["instrument", "replay"]).arg(&file);
    let (replay, at) = Beside::listening(&mut command);
    let (code, out) = call(&at);
    assert_eq!(code, 1, "{out:#}");
    assert_eq!(out["result"]["effect"], "unknown", "{out:#}");
    assert_eq!(out["result"]["kind"], "timeout");
    assert!(out["witness"].is_string(), "{out:#}");
    let runs = out["messages"].as_array().unwrap().iter().filter(|m| m["bytes"] == "RUN\\r");
    assert_eq!(runs.count(), 1, "sent twice: {out:#}");
    replay.end();
}

const PROTOCOL: &str = r#"
schema: labloop/protocol/v1
name: rinse
roles: {pump: {type: syringe_pump}, bath: {type: thermostat}}
steps:
  - {id: warm, do: bath.set_temperature, with: {target: 30 degC}}
  - {id: dose, do: pump.dispense, with: {volume: 1 mL, rate: 2 mL/min}}
finally:
  - {do: pump.stop}
  - {do: bath.set_temperature, with: {target: 25 degC}}
results: {rinsed: {value: "${ run.elapsed }", unit: s}}
"#;

#[test]
fn what_crossed_for_a_step_of_a_run_is_shown_decoded() {
    let bench = Bench::new("trace");
    let (lab, protocol) = (bench.folder().join("lab.yaml"), bench.folder().join("rinse.yaml"));
    std::fs::write(&lab, LAB).unwrap();
    std::fs::write(&protocol, PROTOCOL).unwrap();
    let protocol = protocol.display().to_string();
    bench.ok(&["run", &protocol, "--simulate", "--speed", "max"]);
    // The files may go: the run was started with their texts.
    std::fs::remove_file(&lab).unwrap();
    let status = bench.json(&["status", "--json"]);
    let run = status["runs"][0]["run"].as_str().unwrap().to_owned();
    let shown = bench.ok(&["instrument", "trace", &run, "dose"]);
    assert!(shown.contains("pump_1.dispense"), "{shown}");
    assert!(shown.contains("dispense 6 of 9: volume = 1 mL"), "{shown}");
    // The witness that was read before it, too.
    let (witness, dose) = (shown.find("asks for dispensed"), shown.find("dispense 6 of 9"));
    assert!(witness.is_some() && witness < dose, "{shown}");
    assert!(!shown.contains("set_temperature"), "{shown}");
    let rows = bench.json(&["instrument", "trace", &run, "warm", "--json"]);
    let rows = rows.as_array().unwrap();
    assert!(rows.iter().any(|r| r["meaning"] == "writes: set_temperature = 30 degC"), "{rows:#?}");
    assert!(rows.iter().all(|r| r["seconds"].as_f64().unwrap() >= 0.0), "{rows:#?}");
    let safe = bench.ok(&["instrument", "trace", &run, "safe_state"]);
    assert!(safe.contains("safe_state/bath_1") && safe.contains("safe state = 0 degC"), "{safe}");
    let csv = bench.ok(&["export", &run, "--what", "wire"]);
    assert!(csv.starts_with("run,step,attempt,instrument,action,seconds,way,bytes,meaning\n"));
    assert!(csv.lines().count() > rows.len());
    let (code, _, said) = bench.run(&["instrument", "trace", &run, "nothing"]);
    assert!(code == 2 && said.contains("nothing crossed"), "{said}");
    bench.ok(&["verify"]);
}

#[test]
fn a_doubt_is_shown_with_the_readings_that_resolved_it() {
    let bench = Bench::new("doubt");
    for name in ["lab.yaml", "campaign.yaml", "protocol.yaml"] {
        let text = std::fs::read_to_string(format!("examples/flow-synthesis/{name}")).unwrap();
        // About one answer of the pump in six is lost, after it has done what it was told.
        let lost = "reactor_volume: 0.5 mL, pump_1_lost_reply_every: 6";
        let text = text.replace("reactor_volume: 0.5 mL}", &format!("{lost}}}"));
        std::fs::write(bench.folder().join(name), text).unwrap();
    }
    let campaign = bench.folder().join("campaign.yaml").display().to_string();
    let run = ["run", &campaign, "--simulate", "--speed", "max", "--experiments", "3"];
    bench.run(&run);
    let runs = bench.json(&["export", "snar-1", "--what", "steps", "--format", "json"]);
    let all = runs.as_array().unwrap().iter().flat_map(|run| {
        run["steps"].as_array().unwrap().iter().map(move |step| (&run["run"], step))
    });
    let mut resolved = all.filter(|(_, step)| {
        step["outcome"].as_str().is_some_and(|outcome| outcome.ends_with("(by witness)"))
    });
    let (run, step) = resolved.next().unwrap_or_else(|| panic!("no doubt arose: {runs:#}"));
    let (run, step) = (run.as_str().unwrap(), step["step"].as_str().unwrap());
    let rows = bench.json(&["instrument", "trace", run, step, "--json"]);
    let rows = rows.as_array().unwrap();
    let sent = rows.iter().position(|r| r["meaning"] == "dispense 1 of 9");
    let asked = |row: &&Json| row["meaning"] == "asks for dispensed";
    let (before, after) = rows.split_at(sent.unwrap());
    assert!(before.iter().any(|row| asked(&row)), "{rows:#?}");
    assert!(after.iter().any(|row| asked(&row)), "{rows:#?}");
    bench.ok(&["verify"]);
}

#[test]
fn messages_of_a_broker_are_recorded_and_replayed() {
    let Some(program) = mosquitto() else { panic!("mosquitto is missing: run ./test once") };
    let port = free_ports(1)[0];
    let lab = format!(
        "schema: labloop/lab/v1\nname: optics\ninstruments:\n  \
         uv_1: {{use: mqtt5-spectrometer, at: \"mqtt://127.0.0.1:{port}/lab/uv\"}}\n  \
         light_1: {{use: as7341-picow, at: \"mqtt://127.0.0.1:{port}/sdl-demo/picow/7\"}}\n"
    );
    let folder = Bench::new("broker");
    let _broker = Broker::start(&program, port, folder.folder());
    let stand = Stand::new("mqtt", &lab, &["--speed", "60"]);
    let json = |args: &[&str]| {
        let (code, out, said) = stand.call(args);
        assert_eq!(code, 0, "{said}");
        serde_json::from_str::<Json>(&out).unwrap()
    };
    let device = format!("mqtt://127.0.0.1:{port}/lab/uv");
    // Answers tied to their questions by correlation data, and by a field of the JSON.
    let uv = ["uv_1", "measure", "--set", "averages=4"];
    let light =
        ["light_1", "measure", "--set", "red=10", "--set", "green=0", "--set", "blue=255", "--yes"];
    for (model, base, measure) in
        [("mqtt5-spectrometer", "lab/uv", &uv[..]), ("as7341-picow", "sdl-demo/picow/7", &light)]
    {
        let address = format!("mqtt://127.0.0.1:{port}/{base}");
        let file = stand.file(&format!("{model}.jsonl"));
        let mut command = labloop();
        command.args(["instrument", "record", &address, "--definition", model, "--to"]).arg(&file);
        let (recorder, _) = Beside::listening(&mut command);
        let measured = json(&[measure, &["--json"]].concat());
        let (code, said) = recorder.end();
        assert_eq!(code, 0, "{said}");
        let trace = labloop::wire::trace::read(&file).unwrap();
        let out = labloop::wire::trace::Direction::Out;
        assert_eq!(trace.lines.iter().filter(|l| l.way == Some(out)).count(), 1, "{trace:?}");

        // Replayed below another base of the same broker, for another question's id.
        let other = format!("mqtt://127.0.0.1:{port}/replayed/{model}");
        let mut command = labloop();
        command.args(["instrument", "replay"]).arg(&file).args(["--at", &other]);
        let (replay, _) = Beside::listening(&mut command);
        let replayed = json(&[measure, &["--json", "--at", &other]].concat());
        assert!(measured["result"]["whole"].is_object(), "{measured:#}");
        assert_eq!(replayed["result"], measured["result"]);
        let last = |of: &Json| {
            let messages = of["messages"].as_array().unwrap();
            messages.last().unwrap()["bytes"].as_str().unwrap().to_owned()
        };
        assert!(last(&replayed).starts_with(&format!("replayed/{model}/")), "{replayed:#}");
        assert_ne!(last(&measured), last(&replayed));
        let (code, said) = replay.end();
        assert!(code == 0 && said.contains("0 were never recorded"), "{code} {said}");
    }

    // Who is there is heard, not asked.
    let output = labloop()
        .args(["instrument", "probe", &device, "--within", "2", "--json"])
        .output()
        .unwrap();
    let found: Json = serde_json::from_slice(&output.stdout).unwrap();
    let all = found["found"].as_array().unwrap();
    assert!(all.iter().any(|f| f["definition"] == "mqtt5-spectrometer"), "{found:#}");
    assert!(all.iter().all(|f| f["certain"] == false), "liveness alone is no proof: {found:#}");
}

/// Blocks of a page: their language with what stands behind it, and their lines.
fn blocks(page: &str) -> Vec<(String, Vec<String>)> {
    let mut all: Vec<(String, Vec<String>)> = Vec::new();
    let mut open = false;
    for line in page.lines() {
        match line.strip_prefix("```") {
            Some(_) if open => open = false,
            Some(language) => {
                open = true;
                all.push((language.to_owned(), Vec::new()));
            }
            None if open => all.last_mut().unwrap().1.push(line.to_owned()),
            None => {}
        }
    }
    all
}

#[test]
fn the_page_on_connecting_an_instrument_is_true() {
    let page = std::fs::read_to_string("docs/how-to/connect-an-instrument.md").unwrap();
    let blocks = blocks(&page);
    let bench = Bench::new("page");
    let text = |name: &str| {
        let block = blocks.iter().find(|(language, _)| language == &format!("yaml {name}"));
        block.unwrap().1.join("\n") + "\n"
    };
    // The device of the page: a simulator of its own definition.
    let lab = bench.folder().join("lab.yaml");
    std::fs::write(bench.folder().join("acme-rs5.yaml"), text("acme-rs5.yaml")).unwrap();
    std::fs::write(&lab, text("lab.yaml")).unwrap();
    let ready = bench.folder().join("ready.json");
    let mut command = labloop();
    command.arg("simulator").arg(&lab).args(["--anywhere", "--ready-file"]).arg(&ready);
    let _simulator = Beside::start(command.stdout(Stdio::null()));
    wait_for(&ready);
    let ready: Json = serde_json::from_str(&std::fs::read_to_string(ready).unwrap()).unwrap();
    let device = ready["endpoints"]["serial:/dev/ttyUSB0"].as_str().unwrap().to_owned();

    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_labloop")).parent().unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
    let mut beside: Option<(Beside, String)> = None;
    let mut count = 0;
    for (language, lines) in &blocks {
        if let Some(name) = language.strip_prefix("yaml ") {
            let text = lines.join("\n").replace("serial:/dev/ttyUSB0", &device) + "\n";
            std::fs::write(bench.folder().join(name), text).unwrap();
            continue;
        }
        assert_eq!(language, "sh");
        for line in lines {
            let mut line = line.replace("serial:/dev/ttyUSB0", &device);
            if let Some((_, at)) = &beside {
                line = line.replace("serial:/dev/pts/7", at);
            }
            let mut command = Command::new("sh");
            command.args(["-c", &format!("exec {line}")]).current_dir(bench.folder());
            command.env("PATH", &path).env("NO_COLOR", "1").stdin(Stdio::null());
            command.env("LABLOOP_STATE", bench.state());
            count += 1;
            if line.contains("instrument record") || line.contains("instrument replay") {
                if let Some((before, _)) = beside.take() {
                    assert_eq!(before.end().0, 0);
                }
                beside = Some(Beside::listening(&mut command));
                continue;
            }
            let output = command.output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{line}\n{said}");
            if line.contains("probe") {
                let out = String::from_utf8(output.stdout).unwrap();
                assert!(out.contains("is acme-rs5"), "{out}");
            }
        }
    }
    // Whatever was asked of the replay was recorded.
    let (code, said) = beside.unwrap().0.end();
    assert_eq!(code, 0, "{said}");
    assert!(count > 15, "{count} commands were found");
}
