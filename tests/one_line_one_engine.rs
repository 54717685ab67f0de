//! One line has one driver: on one machine by a lock, between machines by the session at the broker.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod bench;
mod peer;
mod rig;

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bench::{Bench, Broker, free_ports, labloop, mosquitto, wait_for};
use labloop::driver::{Fleet, Notice};
use labloop::wire::{Clock, Dialer};
use peer::{setup, written};
use rig::{Rig, definition, lab};
use tokio::sync::mpsc;

#[test]
fn a_second_engine_with_a_state_folder_of_its_own_is_told_who_has_the_line() {
    let bench = Bench::new("lines");
    let rig = Rig::start("rig 1", None);
    let steps = "  - {id: soak, do: rig_1.soak}\n";
    let (lab_file, protocol) = lab(bench.folder(), &[("rig_1", &rig)], &definition(None), steps);
    let run = |state: &str| {
        let mut command = labloop();
        command.arg("run").arg(&protocol).arg("--lab").arg(&lab_file);
        command.arg("--state").arg(bench.folder().join(state));
        command
    };
    let mut first = run("a").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    rig.wait("it soaks", |state| state.power == 50);
    let second = run("b").output().unwrap();
    let said = String::from_utf8(second.stderr).unwrap();
    assert_ne!(second.status.code(), Some(0));
    let pid = format!("process {}", first.id());
    assert!(said.contains(&pid), "{said}");
    assert!(said.contains(&bench.folder().join("a").display().to_string()), "{said}");
    assert!(said.contains(&rig.at()), "{said}");
    // By hand with another folder: the same.
    let by_hand = labloop()
        .args(["instrument", "call"])
        .arg(&lab_file)
        .args(["rig_1", "halt", "--yes", "--state"])
        .arg(bench.folder().join("c"))
        .output()
        .unwrap();
    let said = String::from_utf8(by_hand.stderr).unwrap();
    assert!(said.contains(&pid), "{said}");
    assert_eq!(rig.count("OFF"), 0);
    // Looking for what is there, or listening in, would garble what it says.
    let trace = bench.folder().join("trace").display().to_string();
    let connections = || rig.with(|state| state.connections.len());
    let (at, before) = (rig.at(), connections());
    for look in [vec!["probe", at.as_str()], vec!["record", at.as_str(), "--to", &trace]] {
        let looked = labloop().arg("instrument").args(&look).output().unwrap();
        let said = String::from_utf8(looked.stderr).unwrap();
        assert_eq!(looked.status.code(), Some(5), "{said}");
        assert!(said.contains(&pid), "{said}");
    }
    assert_eq!(connections(), before);
    // The lock dies with its process, however that ends.
    first.kill().unwrap();
    first.wait().unwrap();
    let third = labloop()
        .args(["instrument", "call"])
        .arg(&lab_file)
        .args(["rig_1", "halt", "--yes", "--state"])
        .arg(bench.folder().join("c"))
        .output()
        .unwrap();
    assert!(third.status.success(), "{}", String::from_utf8_lossy(&third.stderr));
    assert_eq!(rig.count("OFF"), 1);
}

#[tokio::test]
async fn a_line_that_is_shut_down_may_be_driven_again_in_the_same_process() {
    let rig = Rig::start("rig 1", None);
    let start = || {
        let (sender, notices) = mpsc::channel(1_024);
        let setups = vec![setup("rig", written("rig.yaml", &definition(None)), &rig.at(), &[])];
        let fleet = Fleet::start(setups, Clock::real(), Dialer::real(), sender, 1);
        (fleet, notices)
    };
    let (first, _notices) = start();
    let first = first.unwrap();
    // Somebody keeps the handle of its stop.
    let stop = first.emergency();
    let refused = start().0.unwrap_err();
    assert!(refused[0].reason.contains("is driven by"), "{refused:?}");
    first.shutdown().await;
    start().0.unwrap().shutdown().await;
    drop(stop);
}

const SWITCH: &str = r#"schema: labloop/instrument/v1
name: switch
type: probe
vendor: nobody
connection:
  mqtt: {version: 5, qos: 1, keep_alive: 30 s, expiry: 10 s}
  reply_timeout: 500 ms
properties:
  lamp: {type: text, topic: state}
safe_state: []
"#;

/// Row 27: the loser holds and alarms, and does not take the session back. Mosquitto ends a session
/// that is taken over without a word, so it takes a few rounds to be noticed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_27_an_engine_whose_session_is_taken_over_does_not_fight_for_it() {
    let Some(program) = mosquitto() else { return };
    let bench = Bench::new("takeover");
    let port = free_ports(1)[0];
    let _broker = Broker::start(&program, port, bench.folder());
    let at = format!("mqtt://127.0.0.1:{port}/lab/switch");
    let (mut notices, fleet) = switch(&at).await;
    // Another machine's engine, which takes it back each time.
    let sessions = Arc::new(AtomicUsize::new(0));
    let other = tokio::spawn(intruder(at, Arc::clone(&sessions)));
    let taken = async {
        loop {
            if let Notice::NotOurs { detail, .. } = notices.recv().await.unwrap() {
                return detail;
            }
        }
    };
    let detail = tokio::time::timeout(Duration::from_secs(20), taken).await.unwrap();
    assert!(detail.contains("taken its session"), "{detail}");
    // No ping-pong: the other keeps it, for longer than any back-off, also when a safe state is
    // wanted, which would be a second hand.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = sessions.load(Ordering::SeqCst);
    assert!(before <= 6, "{before} sessions");
    fleet.safe_state("switch").unwrap();
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(!fleet.is_ready("switch"));
    assert_eq!(sessions.load(Ordering::SeqCst), before, "the session was taken back");
    // The other has ended, and a person says that it is ours again.
    other.abort();
    fleet.accept("switch").unwrap();
    for _ in 0..100 {
        if fleet.is_ready("switch") {
            return fleet.shutdown().await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it did not come back");
}

async fn switch(at: &str) -> (mpsc::Receiver<Notice>, Fleet) {
    let (sender, notices) = mpsc::channel(1_024);
    let setups = vec![setup("switch", written("switch.yaml", SWITCH), at, &[])];
    let fleet = Fleet::start(setups, Clock::real(), Dialer::real(), sender, 1).unwrap();
    for state in fleet.ready(Duration::from_secs(10)).await.into_values() {
        state.unwrap();
    }
    (notices, fleet)
}

/// A client with the name that every labloop has for this instrument; counts its sessions.
async fn intruder(at: String, sessions: Arc<AtomicUsize>) {
    use labloop::wire::claim::{key_hash, line_key};
    use labloop::wire::mqtt::{Options, Session, Version};
    let address = labloop::wire::Address::parse(&at).unwrap();
    let options = Options {
        version: Version::V5,
        client_id: format!("labloop-{}", key_hash(&line_key(&address).unwrap())),
        keep_alive: Duration::from_secs(30),
        login: None,
        will: None,
    };
    loop {
        let port = Dialer::real().open_broker(&address, &Default::default()).await.unwrap();
        let mut session = Session::open(port, &options).await.unwrap();
        sessions.fetch_add(1, Ordering::SeqCst);
        while session.next().await.is_ok() {}
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

#[test]
fn a_lab_with_a_simulator_in_its_place_needs_no_line() {
    // Two at once with the same lab file.
    let (a, b) = (Bench::new("simulated-a"), Bench::new("simulated-b"));
    let run = |bench: &Bench| {
        let mut command = labloop();
        command.args(["run", "examples/flow-synthesis/campaign.yaml"]);
        command.args(["--simulate", "--speed", "60", "--experiments", "1", "--state"]);
        command.arg(bench.state()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let (first, second) = (run(&a), run(&b));
    wait_for(&a.state().join("journal.db"));
    wait_for(&b.state().join("journal.db"));
    for run in [first, second] {
        let output = run.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
