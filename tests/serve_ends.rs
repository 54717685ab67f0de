//! Where a service meets what is around it: signals, a service manager, secrets, backups.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod bench;
#[path = "bench/service.rs"]
mod service;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bench::{Bench, labloop};
use labloop::engine::shell::{HOLD_WITHIN, SAFE_WITHIN};
use service::{LAB, Manager, Service, count, log, submit, until};

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

/// Instruments in a process of the test's own, which can stand still.
struct Simulators(Child);

impl Simulators {
    /// Those that an engine with `--simulate --speed 60` finds in its state folder.
    fn found(bench: &Bench) -> Simulators {
        let folder = bench.state().join("simulators");
        std::fs::create_dir_all(&folder).unwrap();
        let ready = folder.join("ready-60.json");
        let args = ["simulator", LAB, "--anywhere", "--broker", "--speed", "60", "--ready-file"];
        let mut command = labloop();
        command.args(args).arg(&ready).arg("--log").arg(folder.join("effects.jsonl"));
        let simulators = Simulators::start(&mut command);
        bench::wait_for(&ready);
        simulators
    }

    fn start(command: &mut Command) -> Simulators {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Simulators(command.spawn().unwrap())
    }

    fn signal(&self, name: &str) {
        let to = self.0.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &to]).status().unwrap().success());
    }
}

impl Drop for Simulators {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How often an instrument was told something.
fn told(bench: &Bench, instrument: &str, effect: &str) -> usize {
    let path = bench.state().join("simulators/effects.jsonl");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines().filter_map(|line| serde_json::from_str(line).ok());
    lines
        .filter(|found: &serde_json::Value| {
            found["instrument"] == instrument && found["effect"] == effect
        })
        .count()
}

#[test]
fn a_second_sigterm_while_runs_are_held_makes_all_safe_at_once_and_says_what_is_not() {
    let bench = Bench::new("twice");
    let simulators = Simulators::found(&bench);
    let mut service = Service::start(&bench);
    let file = bench.folder().join("calm.yaml");
    std::fs::write(&file, CALM).unwrap();
    submit(&bench, &[file.to_str().unwrap(), "--lab", LAB]);
    until("its pump runs", || told(&bench, "pump_1", "start") == 1 && count(&bench, "outcome") > 0);
    let stops = told(&bench, "pump_1", "stop");

    // Nobody confirms anything: holding would take all of its time.
    simulators.signal("STOP");
    service.signal("TERM");
    until("it holds", || log(&bench).contains("every run is held"));
    std::thread::sleep(Duration::from_secs(2));
    assert!(service.process.try_wait().unwrap().is_none(), "it waits for the hold states");
    assert_eq!(count(&bench, "engine_left"), 0);
    let second = Instant::now();
    service.signal("TERM");
    let mut status = None;
    until("it ends", || {
        status = service.process.try_wait().unwrap();
        status.is_some()
    });
    let took = second.elapsed();
    // Long before the time for holding is over, however busy this machine is.
    assert!(took < SAFE_WITHIN + Duration::from_secs(6), "{took:?} {}", log(&bench));
    assert!(took + Duration::from_secs(2) < HOLD_WITHIN, "{took:?}");
    assert_eq!(status.unwrap().code(), Some(0));
    let said = log(&bench);
    assert!(said.contains("SIGTERM again"), "{said}");
    let named = |line: &str| line.contains(r#""not_confirmed_safe":["pump_1"]"#);
    assert!(said.lines().any(|line| line.contains("ERROR") && named(line)), "{said}");

    // What it sent last is in the line, and reaches the pump.
    simulators.signal("CONT");
    until("the pump stops", || told(&bench, "pump_1", "stop") > stops);
    assert_eq!(told(&bench, "pump_1", "start"), 1);
    bench.ok(&["verify"]);
}

#[test]
fn ctrl_c_ends_the_runs_and_names_each_instrument() {
    let bench = Bench::new("ctrl-c");
    let mut service = Service::start(&bench);
    let file = bench.folder().join("calm.yaml");
    std::fs::write(&file, CALM).unwrap();
    submit(&bench, &[file.to_str().unwrap(), "--lab", LAB]);
    until("its pump runs", || told(&bench, "pump_1", "start") == 1 && count(&bench, "outcome") > 0);
    service.signal("INT");
    let mut status = None;
    until("it ends", || {
        status = service.process.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(130), "{}", log(&bench));
    assert!(log(&bench).contains("pump_1: safe, confirmed"), "{}", log(&bench));
}

#[test]
fn sighup_opens_the_log_anew_and_nothing_else_happens() {
    let bench = Bench::new("hangup");
    let service = Service::start(&bench);
    let (log_file, old) =
        (bench.state().join("log/labloop.log"), bench.state().join("log/put-away"));
    std::fs::rename(&log_file, &old).unwrap();
    service.signal("HUP");
    until("it goes on in a new file", || log(&bench).contains("SIGHUP: the log was reopened"));
    let before = std::fs::read_to_string(&old).unwrap();
    assert!(before.contains("labloop serve begins") && !before.contains("SIGHUP"), "{before}");
    assert!(!log(&bench).contains("labloop serve begins"));
    assert!(bench.ok(&["status"]).contains("An engine is at work"));
    service.terminate();
    assert!(log(&bench).contains("has ended as it was told to"), "{}", log(&bench));
}

#[test]
fn a_service_manager_behind_an_abstract_socket_is_told_too() {
    let bench = Bench::new("abstract");
    let (manager, socket) = Manager::abstractly(&format!("labloop-{}", std::process::id()));
    let args = ["--lab", LAB, "--simulate", "--speed", "60"];
    let service = Service::with(&bench, &args, |command| {
        command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "6000000")
    });
    manager.hears("READY=1");
    manager.hears("WATCHDOG=1");
    service.signal("TERM");
    manager.hears("STOPPING=1");
    service.terminate();
}

#[test]
fn an_emergency_stop_without_an_engine_sends_nothing_and_says_what_to_do() {
    let bench = Bench::new("nobody");
    let refused = |when: &str| {
        let (code, out, said) = bench.run(&["estop", "--by", "anna"]);
        assert_eq!(code, 5, "{when}: {said}");
        assert!(out.is_empty(), "{when}: {out}");
        for part in ["NOTHING WAS SENT", "hard-wired emergency stop", "safe_state --yes --state"] {
            assert!(said.contains(part), "{when}: no `{part}` in {said}");
        }
        let (code, out, _) = bench.run(&["estop", "--by", "anna", "--json"]);
        let told: serde_json::Value = serde_json::from_str(&out).unwrap();
        let error = told["error"].as_str().unwrap_or_default();
        assert!(code == 5 && error.contains("NOTHING WAS SENT"), "{when}: {out}");
    };
    refused("there never was an engine");
    assert!(!bench.state().exists(), "it makes no state folder");
    let service = Service::start(&bench);
    service.kill();
    refused("the engine was killed");
}

#[test]
fn who_commands_an_engine_that_waits_for_its_instruments_is_told_so() {
    let bench = Bench::new("connecting");
    let ports = bench::free_ports(2);
    let lab = std::fs::read_to_string(LAB)
        .unwrap()
        .replace("192.168.4.2:1883", &format!("127.0.0.1:{}", ports[0]))
        .replace("192.168.4.11:502", &format!("127.0.0.1:{}", ports[1]))
        .replace("/dev/serial/by-id/pumps", "/dev/null/pumps");
    let (lab_file, calm) = (bench.folder().join("lab.yaml"), bench.folder().join("calm.yaml"));
    std::fs::write(&lab_file, lab).unwrap();
    std::fs::write(&calm, CALM).unwrap();
    let mut command = labloop();
    command.arg("run").arg(&calm).arg("--lab").arg(&lab_file).arg("--state").arg(bench.state());
    let mut engine = Simulators::start(&mut command);
    let socket = bench.state().join("control.sock");
    until("it listens", || std::os::unix::net::UnixStream::connect(&socket).is_ok());
    for command in ["pause", "hold", "stop", "abort", "resume"] {
        let (code, _, said) = bench.run(&[command]);
        assert_eq!(code, 2, "{command}: {said}");
        let wanted = said.contains("waiting for its instruments to connect")
            && said.contains("nothing runs yet")
            && said.contains("ask again in a moment")
            && said.contains("`labloop estop` is heard already");
        assert!(wanted, "{command}: {said}");
    }
    assert!(engine.0.try_wait().unwrap().is_none(), "all of them while it waited");
    // The emergency stop is heard, and honest about instruments that nobody reaches.
    let (code, out, said) = bench.run(&["estop", "--by", "anna", "--wait", "5"]);
    assert_eq!(code, 7, "{out}{said}");
    assert!(said.contains("EMERGENCY STOP by anna"), "{said}");
    assert!(out.contains("NOT CONFIRMED SAFE"), "{out}");
    let mut status = None;
    until("it gives up", || {
        status = engine.0.try_wait().unwrap();
        status.is_some()
    });
    assert!(matches!(status.unwrap().code(), Some(5 | 7)), "{status:?}");
    assert_eq!(count(&bench, "intent"), 0);
}

/// What must be nowhere.
const CANARY: &str = "canary-Kanarienvogel-4711";

/// Files under a folder that hold these bytes.
fn holding(folder: &Path, bytes: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(holding(&path, bytes));
        } else if path.is_file() {
            let content = std::fs::read(&path).unwrap();
            if content.windows(bytes.len()).any(|window| window == bytes) {
                found.push(path);
            }
        }
    }
    found
}

/// Two lights behind a broker that asks who comes.
const LIGHTS: &str = "schema: labloop/lab/v1
name: lights
instruments:
  light_1: {use: as7341-picow, at: \"mqtt://keeper@BROKER/one\", plays: [a], secret: env:LAB_CANARY}
  light_2: {use: as7341-picow, at: \"mqtt://keeper@BROKER/two\", plays: [b], secret: file:canary}
";

const BOTH: &str = "schema: labloop/protocol/v1
name: both
roles:
  a: {type: spectrometer}
  b: {type: spectrometer}
steps:
  - {id: one, do: a.measure, with: {red: 1, green: 2, blue: 3}}
  - {id: two, do: b.measure, with: {red: 3, green: 2, blue: 1}}
  - {id: look, ask: Is it bright?, options: [bright, dark], timeout: 20 h, on_timeout: dark}
results: {}
";

#[test]
fn a_secret_is_in_no_log_no_journal_no_export_and_no_message() {
    let Some(mosquitto) = bench::mosquitto() else {
        panic!("mosquitto is not installed; ./test installs it");
    };
    let bench = Bench::new("canary");
    let port = bench::free_ports(1)[0];
    let passwords = bench.folder().join("passwords");
    let mut made = Command::new("mosquitto_passwd");
    made.args(["-b", "-c"]).arg(&passwords).args(["keeper", CANARY]);
    assert!(made.status().unwrap().success());
    // The simulators come without a name; whoever has one must prove it.
    let settings = format!("allow_anonymous true\npassword_file {}\n", passwords.display());
    let broker = bench::Broker::with(&mosquitto, port, bench.folder(), &settings);
    let write = |name: &str, text: &str| {
        let path = bench.folder().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let lights = LIGHTS.replace("BROKER", &format!("127.0.0.1:{port}"));
    let lab = write("lab.yaml", &lights);
    let open = lights.replace("keeper@", "").replace(", secret: env:LAB_CANARY", "");
    let open = write("open.yaml", &open.replace(", secret: file:canary", ""));
    let both = write("both.yaml", BOTH);
    write("canary", &format!("{CANARY}\n"));
    let mut said = Vec::new();
    let mut saying = |args: &[&str]| {
        let mut command = labloop();
        command.args(args).arg("--state").arg(bench.state()).env("LAB_CANARY", CANARY);
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        said.push((args.join(" "), text.clone()));
        (output.status.code().unwrap_or(-1), text)
    };
    let mut command = labloop();
    command.arg("simulator").arg(&open).args(["--speed", "60"]);
    let _simulators = Simulators::start(&mut command);

    // The broker does not know this one.
    let args = ["--lab", lab.to_str().unwrap(), "--speed", "60", "--log-level", "trace"];
    let wrong = format!("{CANARY}-no-more");
    let service = Service::with(&bench, &args, |command| command.env("LAB_CANARY", &wrong));
    submit(&bench, &[both.to_str().unwrap(), "--lab", lab.to_str().unwrap()]);
    until("the broker refuses", || log(&bench).contains("NotAuthorized"));
    for args in [["status"].as_slice(), &["status", "--json"]] {
        assert_eq!(saying(args).0, 0);
    }
    assert_eq!(count(&bench, "run_started"), 0);
    service.terminate();

    let service = Service::with(&bench, &args, |command| command.env("LAB_CANARY", CANARY));
    until("a person is asked", || bench.run(&["ask"]).1.contains("Is it bright?"));
    for args in [["status"].as_slice(), &["status", "--json"], &["ask"], &["ask", "--json"]] {
        assert_eq!(saying(args).0, 0);
    }
    assert_eq!(saying(&["ask", "both-1.1.1", "bright"]).0, 0);
    until("its run has ended", || count(&bench, "run_ended") == 1);
    service.terminate();
    drop(broker);
    for what in ["experiments", "steps", "runs"] {
        for format in ["csv", "json"] {
            saying(&["export", "both-1", "--what", what, "--format", format]);
        }
    }
    for args in [
        ["verify"].as_slice(),
        &["replay"],
        &["instrument", "trace", "both-1"],
        &["status", "both-1", "--json"],
    ] {
        let (code, text) = saying(args);
        assert_eq!(code, 0, "{args:?}: {text}");
    }
    // Nobody answers at the broker's place any more.
    let (code, text) = saying(&["run", both.to_str().unwrap(), "--lab", lab.to_str().unwrap()]);
    assert_eq!(code, 5, "{text}");

    // Written into the file itself, it is refused and not repeated.
    for (name, from, to) in [
        ("inside.yaml", "env:LAB_CANARY", CANARY.to_owned()),
        ("address.yaml", "keeper@", format!("keeper:{CANARY}@")),
    ] {
        let path = write(name, &lights.replace(from, &to));
        let path = path.to_str().unwrap();
        let (code, text) = saying(&["serve", "--lab", path]);
        assert!(code == 3 && text.contains("LL0506"), "{code} {text}");
        let mut check = labloop();
        let output = check.args(["check", path]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(3) && text.contains("LL0506"), "{text}");
        assert!(!text.contains(CANARY), "{text}");
    }

    for (args, text) in &said {
        assert!(!text.contains(CANARY), "labloop {args}:\n{text}");
    }
    assert_eq!(holding(&bench.state(), CANARY.as_bytes()), Vec::<PathBuf>::new());
    // The same search finds what may be there: the lab's text, and the canary where it belongs.
    assert!(!holding(&bench.state(), b"keeper@127.0.0.1").is_empty());
    assert!(!holding(bench.folder(), CANARY.as_bytes()).is_empty());
}

/// The commands of the page on backups, as they stand there.
fn backup_commands() -> String {
    let page = std::fs::read_to_string("docs/reference/journal.md").unwrap();
    let (_, section) = page.split_once("## Backup and restore").unwrap();
    let (_, block) = section.split_once("```sh\n").unwrap();
    block.split_once("```").unwrap().0.to_owned()
}

#[test]
fn the_backup_of_the_manual_is_whole_although_an_engine_is_at_work() {
    let bench = Bench::new("backup");
    let service = Service::start(&bench);
    let campaign = "examples/flow-synthesis/campaign.yaml";
    let id = submit(&bench, &[campaign, "--experiments", "2"]);
    until("large values are kept", || bench.state().join("files").is_dir());
    let hash = bench.ok(&["verify"]).trim().to_owned();
    let head = format!("{}:{hash}", seq_of(&bench.state(), &hash));

    std::os::unix::fs::symlink(bench.state(), bench.folder().join(".labloop")).unwrap();
    let backup = bench.folder().join("backup");
    std::fs::create_dir(&backup).unwrap();
    let commands = backup_commands();
    assert!(commands.contains("VACUUM INTO") && commands.contains("cp -r"), "{commands}");
    let commands = commands.replace("/backup", backup.to_str().unwrap());
    let mut shell = Command::new("sh");
    let output = shell.args(["-e", "-c", &commands]).current_dir(bench.folder()).output().unwrap();
    assert!(output.status.success(), "{output:?}\n{commands}");
    until("the engine goes on meanwhile", || count_of(&bench.state()) > count_of(&backup));
    service.kill();

    // Into an empty folder, as the page says.
    let restored = bench.folder().join("restored");
    std::fs::create_dir(&restored).unwrap();
    let copied = Command::new("cp")
        .arg("-r")
        .arg(backup.join("journal.db"))
        .arg(backup.join("files"))
        .arg(&restored)
        .status()
        .unwrap();
    assert!(copied.success());
    let on_copy = |args: &[&str]| {
        let output = labloop().args(args).arg("--state").arg(&restored).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, _, said) = on_copy(&["verify"]);
    assert_eq!(code, Some(0), "{said}");
    let (code, _, said) = on_copy(&["verify", "--head", &head]);
    assert_eq!(code, Some(0), "{said}");
    let (code, out, said) = on_copy(&["status", &id, "--json"]);
    assert!(code == Some(0) && out.contains(&id), "{out}{said}");
    // A copy that lost one of its files is not whole.
    std::fs::remove_dir_all(restored.join("files")).unwrap();
    assert_eq!(on_copy(&["verify"]).0, Some(1));
}

/// Entries in a journal.
fn count_of(folder: &Path) -> u64 {
    labloop::store::Journal::open_read_only(folder).unwrap().len()
}

/// The entry of this hash.
fn seq_of(folder: &Path, hash: &str) -> u64 {
    let journal = labloop::store::Journal::open_read_only(folder).unwrap();
    (1..=journal.len()).find(|seq| journal.hash_of(*seq).unwrap().as_deref() == Some(hash)).unwrap()
}
