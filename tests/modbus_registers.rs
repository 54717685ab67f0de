//! What the register language promises, driven against the simulator made from the same definition.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod peer;

use std::collections::BTreeMap;
use std::sync::Arc;

use labloop::driver::mirror::{Device, Mirror};
use labloop::driver::{Command, InstrumentSetup, Outcome};
use labloop::expr::Value;
use labloop::spec::Sources;
use labloop::spec::instrument::Instrument;
use labloop::wire::{Address, Dialer};
use labloop_simulators::{DeviceConfig, LabConfig, MemoryLab, Models, in_memory};
use peer::{Lab, failure, is_done, quantity, value};

const DEFINITION: &str = r#"
schema: labloop/instrument/v1
name: everything
type: thermostat
config: {zone: {type: int, default: 1, min: 1, max: 4}}
connection:
  modbus: {plus: "${ 1000 * (config.zone - 1) }"}
  serial: {baud: 9600, frame: 8N1}
  reply_timeout: 1 s
properties:
  temperature: {unit: degC, register: {input: 20, base: 0, type: f64, order: CDAB, unit: degF}}
  target: {unit: degC, register: {holding: 30, base: 0, type: i32, scale: 0.01, order: BADC, unit: degF}}
  label: {type: text, register: {holding: 40, base: 0, type: string, length: 4, order: BA}}
  mode: {type: text, map: {"10": auto, "54": manual}, register: {holding: 50, base: 0, type: u16, order: AB}}
  flags:
    fields: {hot: {type: bool}, open: {type: bool}}
    register: {input: 60, base: 0, type: u16, order: AB, bits: {numbering: msb0, names: {hot: 0, open: 15}}}
  locked: {type: bool, register: {holding: 61, base: 0, type: u32, order: ABCD, bits: {numbering: lsb0, names: {locked: 20}}}}
  level: {type: number, register: {holding: 72, base: 0, type: f32, order: CDAB, block: {start: 70, count: 10}}}
  lamp: {type: bool, register: {coil: 5, base: 0}}
  outlet: {unit: degC, register: {input: 90, base: 1, type: i16, scale: 0.1, order: AB, invalid: ["0x8002", -999]}}
actions:
  set_temperature:
    args: {target: {unit: degC, min: -50 degC, max: 300 degC}}
    do: [{write: {holding: 30, base: 0, type: i32, scale: 0.01, order: BADC, unit: degF}, value: "${ args.target }", verify: true}]
    effect: repeatable
    takes: {timeout: 10 s}
  name_it:
    args: {label: {type: text}}
    do: [{write: {holding: 40, base: 0, type: string, length: 4, order: BA}, value: "${ args.label }", verify: true, unless_equal: true}]
    effect: repeatable
    takes: {timeout: 10 s}
  set_mode:
    args: {mode: {type: choice, options: [auto, manual, eco]}}
    do: [{write: {holding: 50, base: 0, type: u16, order: AB, functions: {write: 6}}, value: "${ args.mode }", map: {"10": auto, "54": manual}, verify: true}]
    effect: repeatable
    takes: {timeout: 10 s}
  light:
    args: {lamp: {type: bool}}
    do: [{write: {coil: 5, base: 0, functions: {write: 15}}, value: "${ args.lamp }", verify: true}]
    effect: repeatable
    takes: {timeout: 10 s}
  read_target:
    do: [{read: {holding: 30, base: 0, type: i32, scale: 0.01, order: BADC, unit: degF}}]
    returns: {unit: K}
    effect: read
    takes: {timeout: 10 s}
safe_state: [{write: {holding: 30, base: 0, type: i32, scale: 0.01, order: BADC, unit: degF}, value: 0 degC, verify: true}]
simulate:
  initial: {temperature: 25 degC, target: 20 degC, label: none, mode: manual, level: 0.5, lamp: false, locked: true, outlet: 21.5 degC}
examples: []
"#;

fn definition() -> Arc<Instrument> {
    let mut sources = Sources::new();
    let id = sources.add("everything.yaml", DEFINITION);
    let checked = Instrument::lower(sources.get(id).unwrap());
    assert!(!checked.report.has_errors(), "{:#?}", checked.report);
    Arc::new(checked.value.unwrap())
}

/// The definition's simulator and a driver for it.
fn lab(at: &str, zone: f64) -> (Lab, MemoryLab) {
    let setup = InstrumentSetup {
        name: "all".to_owned(),
        definition: definition(),
        at: Address::parse(at).unwrap(),
        config: BTreeMap::from([("zone".to_owned(), Value::number(zone))]),
        secret: None,
        trust: labloop::wire::Trust::default(),
    };
    let config = LabConfig {
        seed: 7,
        speed: 1.0,
        devices: vec![DeviceConfig {
            name: "all".to_owned(),
            model: "by its definition".to_owned(),
            address: at.to_owned(),
            config: BTreeMap::new(),
        }],
        plant: None,
    };
    let mirror = Mirror::new(&setup).unwrap();
    let models = Models::from([("all".to_owned(), Box::new(Device::new(mirror, 7)) as _)]);
    let memory = in_memory(&config, models).unwrap();
    let wires = memory.clone();
    let dialer = Dialer::memory(move |address| wires.dial(address));
    (Lab::start(vec![setup], dialer), memory)
}

async fn act(lab: &mut Lab, action: &str, args: &[(&str, Value)]) -> Outcome {
    let args = args.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let command = Command {
        attempt: action.to_owned(),
        instrument: "all".to_owned(),
        action: action.to_owned(),
        args,
        deadline: std::time::Duration::from_secs(60),
    };
    lab.run(command).await
}

fn degrees(found: &Value, unit: &str) -> f64 {
    let unit = labloop::units::Unit::parse(unit).unwrap();
    found.as_quantity().unwrap().in_unit(&unit).unwrap()
}

const WIRES: [&str; 3] = [
    "modbus+serial:/dev/all?unit=7",
    "modbus+tcp://all:502?unit=7",
    "modbus+rtu+tcp://all:4001?unit=7",
];

#[tokio::test(start_paused = true)]
async fn every_kind_of_register_is_written_and_reads_back() {
    for at in WIRES {
        for zone in [1.0, 3.0] {
            let (mut lab, memory) = lab(at, zone);
            lab.ready().await;
            assert!(
                (degrees(&value(&lab.read("all", "temperature").await), "degC") - 25.0).abs()
                    < 1e-9
            );
            assert_eq!(value(&lab.read("all", "level").await), Value::number(0.5), "{at}");
            assert_eq!(value(&lab.read("all", "locked").await), Value::Bool(true), "{at}");
            let flags = value(&lab.read("all", "flags").await);
            let off = |name: &str| (name.to_owned(), Value::Bool(false));
            assert_eq!(flags, Value::Record([off("hot"), off("open")].into()), "{at}");

            let outcome =
                act(&mut lab, "set_temperature", &[("target", quantity("80 degC"))]).await;
            assert!(is_done(&outcome), "{at}: {outcome:?}");
            // 80 degC is 176 degF, 17600 hundredths.
            assert!(
                (degrees(&value(&lab.read("all", "target").await), "degC") - 80.0).abs() < 1e-9
            );
            let returned = value(&act(&mut lab, "read_target", &[]).await);
            assert!((degrees(&returned, "K") - 353.15).abs() < 1e-9, "{at}: {returned:?}");

            for text in ["pump-7", "A", "12345678", "12345678"] {
                let outcome = act(&mut lab, "name_it", &[("label", Value::text(text))]).await;
                assert!(is_done(&outcome), "{at}: {outcome:?}");
                assert_eq!(value(&lab.read("all", "label").await), Value::text(text), "{at}");
            }
            for mode in ["auto", "manual"] {
                let outcome = act(&mut lab, "set_mode", &[("mode", Value::text(mode))]).await;
                assert!(is_done(&outcome), "{at}: {outcome:?}");
                assert_eq!(value(&lab.read("all", "mode").await), Value::text(mode), "{at}");
            }
            for on in [true, false] {
                let outcome = act(&mut lab, "light", &[("lamp", Value::Bool(on))]).await;
                assert!(is_done(&outcome), "{at}: {outcome:?}");
                assert_eq!(value(&lab.read("all", "lamp").await), Value::Bool(on), "{at}");
            }
            assert_eq!(memory.complaints(), Vec::<String>::new());
            lab.fleet.shutdown().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_register_cannot_hold_is_refused_before_anything_is_sent() {
    let (mut lab, _memory) = lab(WIRES[0], 1.0);
    lab.ready().await;
    for (action, argument, given) in [
        ("name_it", "label", Value::text("nine chars")),
        ("name_it", "label", Value::text("caf\u{e9}")),
        ("name_it", "label", Value::text("blank ")),
        ("set_mode", "mode", Value::text("eco")),
    ] {
        let outcome = act(&mut lab, action, &[(argument, given)]).await;
        assert_eq!(failure(&outcome).1, "NotSent", "{outcome:?}");
        let Outcome::Failed { trace, .. } = &outcome else { panic!() };
        assert!(trace.is_empty(), "{trace:?}");
    }
    lab.fleet.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_broken_sensor_is_no_measurement() {
    let (mut lab, memory) = lab(WIRES[1], 1.0);
    lab.ready().await;
    let found = value(&lab.read("all", "outlet").await);
    assert!((degrees(&found, "degC") - 21.5).abs() < 1e-9);
    memory.order("all:sensor_break").unwrap();
    let found = value(&lab.read("all", "outlet").await);
    let Value::Missing(why) = &found else { panic!("{found:?}") };
    assert!(why.contains("0x8002"), "{why}");
    lab.fleet.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn two_parts_of_one_unit_share_its_address() {
    let at = "modbus+tcp://gateway:502?unit=1";
    let gateway = peer::definition("thermostat/watlow-ez-zone-gateway.yaml", &[]);
    let zone = |name: &str, zone: f64| InstrumentSetup {
        name: name.to_owned(),
        definition: Arc::clone(&gateway),
        at: Address::parse(at).unwrap(),
        config: BTreeMap::from([
            ("zone".to_owned(), Value::number(zone)),
            ("highest".to_owned(), quantity("200 degC")),
        ]),
        secret: None,
        trust: labloop::wire::Trust::default(),
    };
    let setups = vec![zone("left", 1.0), zone("right", 2.0)];
    let devices = setups.iter().map(|setup| DeviceConfig {
        name: setup.name.clone(),
        model: "by its definition".to_owned(),
        address: at.to_owned(),
        config: BTreeMap::new(),
    });
    let config = LabConfig { seed: 7, speed: 1.0, devices: devices.collect(), plant: None };
    let model = |setup: &InstrumentSetup| {
        let device = Device::new(Mirror::new(setup).unwrap(), 7);
        (setup.name.clone(), Box::new(device) as _)
    };
    let models: Models = setups.iter().map(model).collect();
    let memory = in_memory(&config, models).unwrap();
    let mut lab = Lab::start(setups, Dialer::memory(move |address| memory.dial(address)));
    lab.ready().await;
    for (name, target) in [("left", "80 degC"), ("right", "40 degC")] {
        let command = peer::command(name, name, "set_temperature", &[("target", target)]);
        assert!(is_done(&lab.run(command).await));
    }
    for (name, target) in [("left", 80.0), ("right", 40.0)] {
        let found = value(&lab.read(name, "setpoint").await);
        assert!((degrees(&found, "degC") - target).abs() < 1e-4, "{name}: {found:?}");
    }
    lab.fleet.shutdown().await;

    // The same part twice is one too many.
    let (sender, _notices) = tokio::sync::mpsc::channel(8);
    let wrong = labloop::driver::Fleet::start(
        vec![zone("left", 2.0), zone("right", 2.0)],
        labloop::wire::Clock::virtual_time(labloop::wire::Tick(0)),
        Dialer::memory(|_| Err(std::io::ErrorKind::NotFound.into())),
        sender,
        1,
    )
    .unwrap_err();
    assert!(wrong[0].reason.contains("same address"), "{wrong:?}");
}
