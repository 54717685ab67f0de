//! Every definition, driven against the simulator made from the same file: each property is read,
//! each action done, the safe state taken.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod bench;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use labloop::compiler::built_in;
use labloop::driver::mirror::{Device, Mirror};
use labloop::driver::{
    Command, Definition, Fleet, InstrumentSetup, Notice, Outcome, written_values,
};
use labloop::expr::Value;
use labloop::spec::Sources;
use labloop::spec::instrument::{ExampleOf, Wire};
use labloop::wire::{Address, Clock, Dialer, Tick};
use labloop_simulators::{DeviceConfig, LabConfig, Models, ServeOptions, in_memory, serve};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

const NAME: &str = "device";

/// Simulators that are driven at the same time over real wires.
const AT_ONCE: usize = 16;

/// All built-in definitions.
fn definitions() -> Vec<Arc<Definition>> {
    let mut all = Vec::new();
    for name in built_in::names() {
        let (path, text) = built_in::text(name).unwrap();
        let mut sources = Sources::new();
        let id = sources.add(path.to_owned(), text);
        all.push(Arc::new(Definition::lower(sources.get(id).unwrap()).value.unwrap()));
    }
    all
}

/// Units configured as the examples say, each way once.
fn setups(definition: &Arc<Definition>, at: &str) -> Vec<InstrumentSetup> {
    let mut configs: Vec<BTreeMap<String, Value>> = Vec::new();
    for example in &definition.examples {
        let config = written_values(&definition.config, &example.config).unwrap();
        if !configs.contains(&config) {
            configs.push(config);
        }
    }
    let setup = |config| InstrumentSetup {
        name: NAME.to_owned(),
        definition: Arc::clone(definition),
        at: Address::parse(at).unwrap(),
        config,
        secret: None,
        trust: labloop::wire::Trust::default(),
    };
    configs.into_iter().map(setup).collect()
}

fn lab(address: &str, speed: f64) -> LabConfig {
    LabConfig {
        seed: 7,
        speed,
        devices: vec![DeviceConfig {
            name: NAME.to_owned(),
            model: "by its definition".to_owned(),
            address: address.to_owned(),
            config: BTreeMap::new(),
        }],
        plant: None,
    }
}

fn models(setup: &InstrumentSetup) -> Models {
    let mirror = Mirror::new(setup).unwrap_or_else(|wrong| panic!("{}", wrong.join("\n")));
    Models::from([(NAME.to_owned(), Box::new(Device::new(mirror, 7)) as _)])
}

/// Drives a device through all its definition says; what went wrong.
async fn drive(setup: InstrumentSetup, clock: Clock, dialer: Dialer) -> Vec<String> {
    let (definition, config) = (Arc::clone(&setup.definition), setup.config.clone());
    let (sender, mut notices) = mpsc::channel(4096);
    let fleet = Fleet::start(vec![setup], clock.clone(), dialer, sender, 1).unwrap();
    let mut wrong = Vec::new();
    for (_, ready) in fleet.ready(Duration::from_secs(20)).await {
        if let Err(why) = ready {
            return vec![format!("{}: it does not connect: {why}", definition.name.value)];
        }
    }
    let mut attempts: Vec<(String, BTreeMap<String, Value>)> = Vec::new();
    for example in &definition.examples {
        if let ExampleOf::Action(name) = &example.of
            && example.fails.is_none()
            && written_values(&definition.config, &example.config).unwrap() == config
            && !attempts.iter().any(|(done, _)| *done == name.value)
        {
            let action = definition.action(&name.value).unwrap();
            attempts
                .push((name.value.clone(), written_values(&action.args, &example.args).unwrap()));
        }
    }
    // What is read first shows what the examples said, what is read last what the actions left.
    for round in ["before", "after"] {
        for property in &definition.properties {
            let name = &property.name.value;
            fleet.read(&format!("{round} {name}"), NAME, name).unwrap();
            if let Err(why) = ended(&mut notices).await {
                wrong.push(format!("property {name} ({round}): {why}"));
            }
        }
        let stop = definition.actions.iter().find(|a| a.stops && a.args.is_empty());
        let mut queue = Vec::new();
        for (action, args) in std::mem::take(&mut attempts) {
            let starts = !definition.action(&action).unwrap().starts.is_empty();
            queue.push((action, args));
            // What runs is stopped before anything else begins, as people do.
            if let (true, Some(stop)) = (starts, stop) {
                queue.push((stop.name.value.clone(), BTreeMap::new()));
            }
        }
        for (number, (action, args)) in queue.into_iter().enumerate() {
            fleet
                .send(Command {
                    attempt: format!("{number} {action}"),
                    instrument: NAME.to_owned(),
                    action: action.clone(),
                    args,
                    deadline: Duration::from_secs(6 * 3600),
                })
                .unwrap();
            if let Err(why) = ended(&mut notices).await {
                wrong.push(format!("action {action}: {why}"));
            }
        }
    }
    if definition.safe_state.is_some() {
        fleet.safe_state(NAME).unwrap();
        if let Err(why) = ended(&mut notices).await {
            wrong.push(format!("safe state: {why}"));
        }
    }
    fleet.shutdown().await;
    wrong.into_iter().map(|why| format!("{}: {why}", definition.name.value)).collect()
}

async fn ended(notices: &mut mpsc::Receiver<Notice>) -> Result<Option<Value>, String> {
    loop {
        match notices.recv().await.unwrap() {
            Notice::Outcome { outcome: Outcome::Done { value, .. }, .. } => return Ok(value),
            Notice::Outcome { outcome: Outcome::Failed { kind, message, .. }, .. } => {
                return Err(format!("{kind:?}: {message}"));
            }
            Notice::SafeState { confirmed: true, .. } => return Ok(None),
            Notice::SafeState { detail, .. } => return Err(detail),
            _ => {}
        }
    }
}

fn address(definition: &Definition) -> &'static str {
    match &definition.connection.wire {
        Wire::Bytes(bytes) if bytes.serial.is_some() => "serial:/dev/device",
        Wire::Bytes(_) => "tcp://device:1",
        Wire::Modbus(modbus) if modbus.serial.is_some() => "modbus+serial:/dev/device?unit=1",
        Wire::Modbus(_) => "modbus+tcp://device:502?unit=1",
        Wire::Mqtt(mqtt) if mqtt.sparkplug => "mqtt://broker:1883/lab/node/device",
        Wire::Mqtt(_) => "mqtt://broker:1883/lab/device",
    }
}

/// In memory and in virtual time, where mistakes in `simulate:` show.
#[test]
fn every_definition_is_its_own_simulator() {
    let mut wrong = Vec::new();
    let all = definitions();
    assert!(all.len() >= 46, "only {} definitions", all.len());
    for definition in &all {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        wrong.extend(runtime.block_on(async {
            let at = address(definition);
            let mut wrong = Vec::new();
            for setup in setups(definition, at) {
                let memory = in_memory(&lab(at, 1.0), models(&setup)).unwrap();
                let wires = memory.clone();
                let dialer = Dialer::memory(move |address| wires.dial(address));
                wrong.extend(drive(setup, Clock::virtual_time(Tick(0)), dialer).await);
                let complaints = memory.complaints().into_iter();
                wrong.extend(complaints.map(|c| format!("{}: {c}", definition.name.value)));
            }
            wrong
        }));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Places on real wires where a definition is driven: each kind of wire it speaks.
fn places(definition: &Definition) -> Vec<&'static str> {
    let mut places = vec![address(definition)];
    match &definition.connection.wire {
        Wire::Bytes(bytes) if bytes.serial.is_some() && bytes.tcp => places.push("tcp://device:1"),
        Wire::Modbus(modbus) if modbus.serial.is_some() => {
            places.push("modbus+tcp://device:502?unit=1");
        }
        _ => {}
    }
    places
}

/// Serves one simulator on its real wire and drives it there.
async fn over_wire(definition: Arc<Definition>, at: &'static str, ready: PathBuf) -> Vec<String> {
    let setup = setups(&definition, at).remove(0);
    let options = ServeOptions {
        anywhere: true,
        broker: true,
        ready_file: Some(ready.clone()),
        ..ServeOptions::default()
    };
    // At a broker what is seconds old is stale, so lab time must not outrun the sockets.
    let speed = if at.starts_with("mqtt") { 50.0 } else { 1000.0 };
    let served = tokio::spawn(serve(lab(at, speed), models(&setup), options));
    while !ready.exists() {
        assert!(!served.is_finished(), "{at} is not served");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let text = std::fs::read_to_string(&ready).unwrap();
    let text: serde_json::Value = serde_json::from_str(&text).unwrap();
    let actual = text["endpoints"][at].as_str().unwrap();
    let setup = InstrumentSetup { at: Address::parse(actual).unwrap(), ..setup };
    let driven = drive(setup, Clock::scaled(speed, Tick(0)), Dialer::real()).await;
    served.abort();
    driven.into_iter().map(|why| format!("{at}: {why}")).collect()
}

/// Drives one simulator as both are clients of a mosquitto of their own.
async fn over_mosquitto(definition: Arc<Definition>, port: u16) -> Vec<String> {
    let bench = bench::Bench::new("conformance");
    let program = bench::mosquitto().expect("mosquitto is not installed; ./test installs it");
    let _broker = bench::Broker::start(&program, port, bench.folder());
    let at = address(&definition).replace("broker:1883", &format!("127.0.0.1:{port}"));
    let setup = setups(&definition, &at).remove(0);
    let speed = 50.0;
    let served = tokio::spawn(serve(lab(&at, speed), models(&setup), ServeOptions::default()));
    // Without a sign of life the driver does not wait for the instrument to listen.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!served.is_finished(), "{at} is not served");
    let driven = drive(setup, Clock::scaled(speed, Tick(0)), Dialer::real()).await;
    served.abort();
    driven.into_iter().map(|why| format!("mosquitto: {why}")).collect()
}

/// Through a broker nobody here wrote.
#[test]
fn every_mqtt_simulator_works_over_mosquitto() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let wrong = runtime.block_on(async {
        let turns = Arc::new(Semaphore::new(AT_ONCE));
        let mut running = JoinSet::new();
        let all = definitions().into_iter();
        let all: Vec<_> = all.filter(|d| matches!(d.connection.wire, Wire::Mqtt(_))).collect();
        assert!(all.len() >= 17, "only {}", all.len());
        for (definition, port) in all.iter().zip(bench::free_ports(all.len())) {
            let (definition, turns) = (Arc::clone(definition), Arc::clone(&turns));
            running.spawn(async move {
                let _turn = turns.acquire_owned().await.unwrap();
                over_mosquitto(definition, port).await
            });
        }
        let mut wrong = Vec::new();
        while let Some(driven) = running.join_next().await {
            wrong.extend(driven.unwrap());
        }
        wrong
    });
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// On real terminals and sockets, several at a time: they mostly wait.
#[test]
fn every_simulator_works_over_its_wire() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let folder = std::env::temp_dir().join(format!("labloop-conformance-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let wrong = runtime.block_on(async {
        let turns = Arc::new(Semaphore::new(AT_ONCE));
        let mut running = JoinSet::new();
        for definition in definitions() {
            for (number, at) in places(&definition).into_iter().enumerate() {
                let (definition, turns) = (Arc::clone(&definition), Arc::clone(&turns));
                let ready = folder.join(format!("{}-{number}.json", definition.name.value));
                running.spawn(async move {
                    let _turn = turns.acquire_owned().await.unwrap();
                    over_wire(definition, at, ready).await
                });
            }
        }
        let mut wrong = Vec::new();
        while let Some(driven) = running.join_next().await {
            wrong.extend(driven.unwrap());
        }
        wrong
    });
    let _ = std::fs::remove_dir_all(&folder);
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Orders of faults, each of which hits a part of the requests.
const FAULTS: [&str; 16] = [
    "silence",
    "lost",
    "delay=700ms",
    "late=700ms",
    "corrupt",
    "flip",
    "truncated",
    "duplicated",
    "wrong_address",
    "exception=4",
    "busy",
    "stuck",
    "spike=1000",
    "sensor_break",
    "disconnect",
    "reboot",
];

/// Reads each property; which of them could not be read because of the line.
async fn unread(fleet: &Fleet, definition: &Definition, notices: &mut Notices) -> Vec<String> {
    let mut unread = Vec::new();
    for property in &definition.properties {
        let name = &property.name.value;
        fleet.read(name, NAME, name).unwrap();
        let read = tokio::time::timeout(Duration::from_secs(3600), ended(notices)).await;
        let read = read.unwrap_or_else(|_| Err("Timeout: no outcome within an hour".to_owned()));
        if let Err(why) = read
            && ["Timeout", "BadReply", "Link"].iter().any(|kind| why.starts_with(kind))
        {
            unread.push(format!("{name}: {why}"));
        }
    }
    unread
}

type Notices = mpsc::Receiver<Notice>;

/// What was wrong before with an instrument is no fault of the fault.
async fn recovers(setup: InstrumentSetup, fault: &str) -> Vec<String> {
    let definition = Arc::clone(&setup.definition);
    let memory = in_memory(&lab(&setup.at.text, 1.0), models(&setup)).unwrap();
    let wires = memory.clone();
    let dialer = Dialer::memory(move |address| wires.dial(address));
    let (sender, mut notices) = mpsc::channel(4096);
    let clock = Clock::virtual_time(Tick(0));
    let fleet = Fleet::start(vec![setup], clock, dialer, sender, 1).unwrap();
    fleet.ready(Duration::from_secs(20)).await;
    let before = unread(&fleet, &definition, &mut notices).await;
    memory.order(&format!("{NAME}:{fault}@40%")).unwrap();
    for _ in 0..3 {
        unread(&fleet, &definition, &mut notices).await;
    }
    memory.order(&format!("{NAME}:off")).unwrap();
    tokio::time::sleep(Duration::from_secs(120)).await;
    let mut wrong = Vec::new();
    for (_, ready) in fleet.ready(Duration::from_secs(60)).await {
        wrong.extend(ready.err());
    }
    let after = unread(&fleet, &definition, &mut notices).await;
    wrong.extend(after.into_iter().filter(|why| !before.contains(why)));
    fleet.shutdown().await;
    wrong.into_iter().map(|why| format!("{} after {fault}: {why}", definition.name.value)).collect()
}

/// In memory and in virtual time.
#[test]
fn every_definition_works_again_when_a_fault_is_over() {
    let mut wrong = Vec::new();
    for definition in &definitions() {
        for fault in FAULTS {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap();
            let setup = setups(definition, address(definition)).remove(0);
            wrong.extend(runtime.block_on(recovers(setup, fault)));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
