//! Devices that stop by themselves when nobody watches over them: the engine is stopped, killed or
//! stuck, and they stop within their own time and a tenth of it (row 11 of the acceptance figures).
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod bench;
mod rig;

use std::collections::BTreeMap;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bench::{Bench, labloop};
use labloop::compiler::Bundle;
use labloop::engine::core::{Core, InDoubt};
use labloop::engine::shell::{Engine, EngineSetup, Instruments, LabInstruments, control};
use labloop::store::{Durability, Journal};
use labloop::wire::{Clock, Dialer};
use rig::{Fed, Rig, definition, lab};
use tokio::sync::mpsc;

/// The device stops by itself after so long.
const PERIOD: Duration = Duration::from_millis(2_000);
/// What the test's own threads may be late on a busy machine.
const SLACK: Duration = Duration::from_millis(150);

const STEPS: &str = "  - {id: soak, do: rig_1.soak}\n";

/// An engine at work on a device that is fed.
fn at_work(name: &str, fed: Fed) -> (Bench, Rig, Child) {
    let bench = Bench::new(name);
    let rig = Rig::start("rig 1", Some(fed));
    let ms = u64::try_from(PERIOD.as_millis()).unwrap();
    let text = definition(Some((fed, ms)));
    let (lab_file, protocol) = lab(bench.folder(), &[("rig_1", &rig)], &text, STEPS);
    let engine = labloop()
        .arg("run")
        .arg(&protocol)
        .arg("--lab")
        .arg(&lab_file)
        .arg("--state")
        .arg(bench.state())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    rig.wait("it soaks", |state| state.power == 50);
    // For longer than it would go on by itself: it is fed.
    std::thread::sleep(PERIOD * 2);
    assert_eq!(rig.with(|state| state.tripped), None, "it was not fed by a healthy engine");
    (bench, rig, engine)
}

fn signal(engine: &Child, signal: &str) {
    let done = std::process::Command::new("kill")
        .args([signal, &engine.id().to_string()])
        .status()
        .unwrap();
    assert!(done.success());
}

fn stops_in_time(rig: &Rig, since: Instant, extra: Duration) {
    rig.wait("it stops by itself", |state| state.tripped.is_some());
    let took = rig.with(|state| state.tripped).unwrap().duration_since(since);
    let longest = PERIOD + PERIOD / 10 + extra + SLACK;
    assert!(took <= longest, "it stopped after {took:?}, and {longest:?} is the most");
}

#[test]
fn row_11_a_device_stops_by_itself_when_the_engine_is_killed_or_stopped() {
    for (name, fed, how) in [
        ("killed-own", Fed::Own, "-KILL"),
        ("killed-any", Fed::Any, "-KILL"),
        ("stopped-own", Fed::Own, "-STOP"),
        ("stopped-any", Fed::Any, "-STOP"),
    ] {
        let (_bench, rig, mut engine) = at_work(name, fed);
        let since = Instant::now();
        signal(&engine, how);
        stops_in_time(&rig, since, Duration::ZERO);
        engine.kill().unwrap();
        engine.wait().unwrap();
    }
}

/// The engine's own task is stuck, and the drivers' thread is not.
#[test]
fn row_16_a_device_stops_by_itself_when_the_engine_is_stuck_and_its_drivers_are_not() {
    for fed in [Fed::Own, Fed::Any] {
        let bench = Bench::new("stuck");
        let rig = Rig::start("rig 1", Some(fed));
        let ms = u64::try_from(PERIOD.as_millis()).unwrap();
        let text = definition(Some((fed, ms)));
        let (lab_file, protocol) = lab(bench.folder(), &[("rig_1", &rig)], &text, STEPS);
        let mut bundle = Bundle::load(&protocol, Some(&lab_file)).unwrap();
        labloop::compiler::check_bundle(&mut bundle);
        let graph = labloop::compiler::compile(labloop::compiler::Request {
            sources: &bundle.sources,
            protocol: bundle.protocol.as_ref().unwrap(),
            lab: bundle.lab.as_ref().unwrap(),
            definitions: &bundle.definitions,
            protocols: &bundle.protocols,
            pins: &[],
            parameters: &BTreeMap::new(),
            ranges: &BTreeMap::new(),
        });
        let graph = graph.value.unwrap();
        let stuck = Arc::new(AtomicBool::new(false));
        let (told, state) = (Arc::clone(&stuck), bench.state());
        let engine = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let (sender, notices) = mpsc::channel(4_096);
                let clock = Clock::real();
                let lab = bundle.lab.clone().unwrap();
                let instruments = LabInstruments::start(
                    &lab,
                    &bundle.definitions,
                    &clock,
                    Dialer::real(),
                    sender,
                    1,
                )
                .unwrap();
                let (_handle, controls) = control::channel(instruments.emergency());
                std::fs::create_dir_all(&state).unwrap();
                let journal = Journal::open(&state, Durability::Power).unwrap();
                let mut engine = Engine::new(EngineSetup {
                    journal,
                    telemetry: None,
                    clock,
                    instruments,
                    notices,
                    controls,
                    // On the engine's own task.
                    observer: Box::new(move |_| {
                        if told.load(Ordering::SeqCst) {
                            std::thread::sleep(3 * PERIOD);
                        }
                    }),
                    core: Core::new(InDoubt::Ask, Duration::ZERO),
                });
                engine.begin(1, "real").unwrap();
                tokio::time::sleep(Duration::from_millis(500)).await;
                engine.start_run("trial".into(), Arc::new(graph)).unwrap();
                let _ = tokio::time::timeout(Duration::from_secs(30), engine.work()).await;
            });
        });
        rig.wait("it soaks", |state| state.power == 50);
        std::thread::sleep(2 * PERIOD);
        assert_eq!(rig.with(|state| state.tripped), None, "it was not fed by a healthy engine");
        let since = Instant::now();
        stuck.store(true, Ordering::SeqCst);
        // Something to tell: the cable is pulled for a moment.
        rig.cut();
        // Its patience with an engine that does not beat comes on top of the last beat.
        stops_in_time(&rig, since, Duration::from_millis(300) + PERIOD / 3);
        stuck.store(false, Ordering::SeqCst);
        engine.join().unwrap();
    }
}
