//! The service as it runs in a lab: the real binary, simulators on real wires, signals, a service
//! manager that listens.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod bench;
#[path = "bench/service.rs"]
mod service;

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::Duration;

use bench::{Bench, labloop};
use service::{LAB, Manager, Service, count, entries, log, submit, until};

const CAMPAIGN: &str = "examples/flow-synthesis/campaign.yaml";
const PROTOCOL: &str = "examples/flow-synthesis/protocol.yaml";
/// Experiments concluded, and whether the campaign has ended.
fn progress(bench: &Bench, id: &str) -> (usize, bool) {
    let all = bench.json(&["export", id, "--format", "json"]);
    let experiments = all["experiments"].as_array().unwrap();
    let concluded = experiments.iter().filter(|e| !e["conclusion"].is_null()).count();
    let ended = bench.json(&["status", id, "--json"]);
    let campaigns = ended["campaigns"].as_array().unwrap();
    let ended = campaigns.iter().any(|c| c["campaign"] == id && !c["ended"].is_null());
    (concluded, ended)
}

fn has_ended(bench: &Bench, id: &str) -> bool {
    let text = entries(bench);
    text.iter().any(|(subject, kind)| subject == id && kind == "campaign_ended")
}

/// What the pumps were told against what the journal says.
fn assert_nothing_was_dispensed_twice(bench: &Bench) {
    let mut told: BTreeMap<String, usize> = BTreeMap::new();
    let effects = std::fs::read_to_string(bench.state().join("simulators/effects.jsonl")).unwrap();
    for line in effects.lines() {
        let effect: serde_json::Value = serde_json::from_str(line).unwrap();
        if effect["effect"] == "dispense" {
            *told.entry(effect["instrument"].as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    let runs = bench.json(&["export", "--what", "steps", "--format", "json"]);
    let mut noted: BTreeMap<String, usize> = BTreeMap::new();
    for id in campaigns(bench) {
        let runs = bench.json(&["export", &id, "--what", "steps", "--format", "json"]);
        for step in runs.as_array().unwrap().iter().flat_map(|r| r["steps"].as_array().unwrap()) {
            let done = step["outcome"].as_str().unwrap().starts_with("done");
            if step["action"] == "dispense" && done {
                *noted.entry(step["instrument"].as_str().unwrap().to_owned()).or_default() += 1;
            }
        }
    }
    assert!(!runs.as_array().unwrap().is_empty());
    assert_eq!(told, noted);
}

fn campaigns(bench: &Bench) -> Vec<String> {
    let journal = labloop::store::Journal::open_read_only(&bench.state()).unwrap();
    let history = labloop::engine::shell::History::read(&journal, None).unwrap();
    history.campaigns.iter().map(|c| c.machine.id.clone()).collect()
}

#[test]
fn two_campaigns_share_the_instruments_of_a_service_and_a_third_is_refused_with_the_reason() {
    let bench = Bench::new("service");
    let service = Service::start(&bench);
    let first = submit(&bench, &[CAMPAIGN, "--experiments", "2"]);
    assert_eq!(first, "snar-1");
    // A person with `run` follows to the end.
    let file = bench.folder().join("held.yaml");
    std::fs::write(&file, std::fs::read_to_string(PROTOCOL).unwrap()).unwrap();
    let args = ["run", file.to_str().unwrap(), "--lab", LAB, "--set", "temperature=85 degC"];
    let (code, out, said) = bench.run(&args);
    assert_eq!(code, 0, "{said}");
    assert!(out.contains("yield = "), "{out}");
    assert!(said.contains("has it as"), "{said}");
    until("the first has ended", || has_ended(&bench, &first));
    assert_eq!(progress(&bench, &first).0, 2);

    // Row 63: the same wish again is the same campaign.
    let together: Vec<_> = (0..8)
        .map(|_| {
            let mut command = labloop();
            command.args(["submit", CAMPAIGN, "--experiments", "1", "--key", "monday"]);
            command.arg("--state").arg(bench.state()).stdout(Stdio::piped()).stderr(Stdio::null());
            command.spawn().unwrap()
        })
        .collect();
    let ids: Vec<String> = together
        .into_iter()
        .map(|child| String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap())
        .collect();
    assert!(ids.iter().all(|id| id.trim() == "snar-2"), "{ids:?}");

    // Another lab than the one served.
    let lab = std::fs::read_to_string(LAB).unwrap().replacen("pump_1", "pump_9", 1);
    let other = bench.folder().join("lab.yaml");
    std::fs::write(&other, lab).unwrap();
    let (code, _, said) = bench.run(&["submit", CAMPAIGN, "--lab", other.to_str().unwrap()]);
    assert!(code == 2 || code == 3, "{code} {said}");
    let lab = std::fs::read_to_string(LAB).unwrap() + "# another one\n";
    std::fs::write(&other, lab).unwrap();
    let (code, _, said) = bench.run(&["submit", CAMPAIGN, "--lab", other.to_str().unwrap()]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("another lab") && said.contains("# another one"), "{said}");

    until("the last has ended", || has_ended(&bench, "snar-2"));
    service.terminate();
    assert_eq!(count(&bench, "engine_left"), 1);
    assert_nothing_was_dispensed_twice(&bench);
    bench.ok(&["verify"]);
}

#[test]
fn a_service_that_is_killed_goes_on_with_both_its_campaigns() {
    let bench = Bench::new("killed");
    let service = Service::start(&bench);
    let ids = [
        submit(&bench, &[CAMPAIGN, "--experiments", "2"]),
        submit(&bench, &[CAMPAIGN, "--experiments", "2", "--seed", "7"]),
    ];
    until("both have a run", || {
        let begun = entries(&bench);
        ids.iter().all(|id| {
            begun.iter().any(|(s, k)| k == "run_started" && s.starts_with(&format!("{id}.")))
        })
    });
    service.kill();
    let service = Service::start(&bench);
    for id in &ids {
        until("each has ended", || has_ended(&bench, id));
        assert_eq!(progress(&bench, id).0, 2);
    }
    service.terminate();
    assert_nothing_was_dispensed_twice(&bench);
    bench.ok(&["verify"]);
}

#[test]
fn sigterm_holds_the_run_within_its_bound_and_the_next_service_goes_on_by_itself() {
    let bench = Bench::new("term");
    let service = Service::start(&bench);
    let id = submit(&bench, &[CAMPAIGN, "--experiments", "2"]);
    until("a command was sent", || count(&bench, "intent") > 3);
    let took = service.terminate();
    assert!(took < Duration::from_secs(35), "it took {took:?}");
    let journal = labloop::store::Journal::open_read_only(&bench.state()).unwrap();
    let mut core = labloop::engine::core::Core::new(Default::default(), Duration::ZERO);
    labloop::engine::shell::History::read(&journal, Some(&mut core)).unwrap();
    let states: Vec<String> = core.open_runs().map(|r| r.state().as_str().to_owned()).collect();
    assert!(states.iter().all(|s| s == "held"), "{states:?}");
    assert!(!has_ended(&bench, &id));
    drop(journal);

    let service = Service::start(&bench);
    until("it has ended", || has_ended(&bench, &id));
    assert_eq!(progress(&bench, &id).0, 2);
    assert!(!log(&bench).contains("everything is held"), "that was no crash");
    service.terminate();
    bench.ok(&["verify"]);
}

#[test]
fn row_20_the_third_start_after_crashes_comes_up_held_until_a_person_lets_it_go() {
    let bench = Bench::new("loop");
    let service = Service::start(&bench);
    let id = submit(&bench, &[CAMPAIGN, "--experiments", "1"]);
    until("its run has begun", || count(&bench, "run_started") > 0);
    service.kill();
    Service::start(&bench).kill();
    let service = Service::start(&bench);
    assert!(log(&bench).contains("this is start 3 within 5 minutes"), "{}", log(&bench));
    let sent = count(&bench, "intent");
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(count(&bench, "intent"), sent, "nothing moves");
    assert!(!has_ended(&bench, &id));
    bench.ok(&["resume"]);
    until("it has ended", || has_ended(&bench, &id));
    service.terminate();
}

#[test]
fn a_service_manager_hears_of_its_life_and_of_none_when_the_engine_is_stuck() {
    let bench = Bench::new("notify");
    let (manager, socket) = Manager::listen(&bench);
    let args = ["--lab", LAB, "--simulate", "--speed", "60"];
    let service = Service::with(&bench, &args, |command| {
        command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "6000000")
    });
    manager.hears("READY=1");
    let heard = manager.hear(Duration::from_secs(4));
    let alive = |heard: &[(Duration, String)]| {
        heard.iter().filter(|(_, text)| text == "WATCHDOG=1").count()
    };
    assert!(alive(&heard) >= 2, "{heard:?}");

    // The thread of the engine alone is stopped: each of its calls to the kernel takes for ever.
    // All other threads go on.
    let pid = service.process.id().to_string();
    let strace = Command::new("strace")
        .args(["-p", &pid, "-e", "trace=epoll_wait,epoll_pwait,epoll_pwait2"])
        .args(["-e", "inject=epoll_wait,epoll_pwait,epoll_pwait2:delay_enter=60000000"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut strace) = strace else { panic!("strace is not installed; ./test installs it") };
    let _ = manager.hear(Duration::from_secs(3));
    let heard = manager.hear(Duration::from_secs(6));
    assert_eq!(alive(&heard), 0, "a stuck engine shows no life: {heard:?}");
    strace.kill().unwrap();
    strace.wait().unwrap();
    manager.hears("WATCHDOG=1");
    assert!(log(&bench).contains("has not gone round"), "{}", log(&bench));

    service.signal("TERM");
    manager.hears("STOPPING=1");
    service.terminate();
}

#[test]
fn a_service_starts_without_its_instruments_and_runs_once_they_are_there() {
    let Some(mosquitto) = bench::mosquitto() else {
        panic!("mosquitto is not installed; ./test installs it");
    };
    let bench = Bench::new("late");
    let ports = bench::free_ports(2);
    let terminal = bench.folder().join("pumps");
    let lab = std::fs::read_to_string(LAB)
        .unwrap()
        .replace("192.168.4.2:1883", &format!("127.0.0.1:{}", ports[0]))
        .replace("192.168.4.11:502", &format!("127.0.0.1:{}", ports[1]))
        .replace("/dev/serial/by-id/pumps", &terminal.display().to_string());
    let file = bench.folder().join("lab.yaml");
    std::fs::write(&file, lab).unwrap();
    let lab = file.to_str().unwrap();
    let service = Service::with(&bench, &["--lab", lab, "--speed", "60"], |command| command);
    let id = submit(&bench, &[PROTOCOL, "--lab", lab]);
    until("it says what it waits for", || log(&bench).contains("waits for"));
    assert_eq!(count(&bench, "run_started"), 0);
    let _broker = bench::Broker::start(&mosquitto, ports[0], bench.folder());
    let mut simulators = labloop()
        .args(["simulator", lab, "--speed", "60"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("it has ended", || has_ended(&bench, &id));
    service.terminate();
    simulators.kill().unwrap();
    simulators.wait().unwrap();
    assert_eq!(count(&bench, "run_ended"), 1);
}

#[test]
fn the_unit_file_is_one_and_leaves_room_for_our_bounds() {
    let unit = std::fs::read_to_string("packaging/labloop.service").unwrap();
    let value = |key: &str| {
        let line = unit.lines().find(|l| l.starts_with(&format!("{key}=")));
        line.unwrap_or_else(|| panic!("{key} is missing")).split_once('=').unwrap().1.to_owned()
    };
    let seconds = |key: &str| value(key).trim_end_matches('s').parse::<u64>().unwrap();
    let ours = labloop::engine::shell::HOLD_WITHIN + labloop::engine::shell::SAFE_WITHIN;
    assert!(seconds("TimeoutStopSec") > ours.as_secs() + 5);
    assert!(seconds("WatchdogSec") >= 10, "the engine shows life once a second");
    assert_eq!(value("Type"), "notify");
    for (key, wanted) in
        [("NoNewPrivileges", "yes"), ("ProtectSystem", "strict"), ("DevicePolicy", "closed")]
    {
        assert_eq!(value(key), wanted);
    }
    // systemd-analyze wants the programs to be there; only its own words on the rest count.
    let Ok(said) = Command::new("systemd-analyze")
        .args(["verify", "--man=no", "packaging/labloop.service"])
        .output()
    else {
        eprintln!("systemd-analyze is not here: the unit file was only read");
        return;
    };
    let text = String::from_utf8_lossy(&said.stderr).into_owned();
    let about_us = |line: &&str| {
        line.contains("labloop.service")
            && !line.contains("is not executable")
            && !line.contains("not-found")
    };
    let wrong: Vec<&str> = text.lines().filter(about_us).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
