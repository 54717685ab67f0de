//! A protocol written for a type of instrument runs on any maker's: one text, every definition of
//! that type, each against the virtual instrument of its own.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod bench;

use std::collections::BTreeMap;

use bench::Bench;
use labloop::compiler::built_in;
use labloop::spec::Sources;
use labloop::spec::instrument::{Instrument, Wire};

/// What a lab must say about a unit of each definition, where it must say anything.
const CONFIG: &[(&str, &str)] = &[
    ("newera-ne1000", "syringe_diameter: 14.57 mm"),
    ("newera-ne1000-safe", "syringe_diameter: 14.57 mm"),
    ("harvard-pump11", "syringe_diameter: 14.57 mm"),
    ("tecan-cavro", "syringe: 5 mL"),
    ("hamilton-psd4", "syringe: 5 mL"),
    ("hamilton-ml600", "syringe: 5 mL"),
    ("runze-sy01b", "syringe: 5 mL, full_stroke: 6000"),
    ("alicat-mc", "full_scale: 100 mL/min"),
    ("bronkhorst-propar", "capacity: 100 mL/min"),
    ("bronkhorst-modbus", "capacity: 100 mL/min"),
    ("alicat-modbus", "full_scale: 100 mL/min"),
    ("omega-cn7", "highest: 200 degC"),
    ("watlow-ez-zone", "highest: 200 degC"),
    ("watlow-ez-zone-gateway", "highest: 200 degC"),
];

/// Steps for the role `it`, in the words the type promises.
const PROTOCOLS: &[(&str, &str)] = &[
    (
        "syringe_pump",
        "- {do: it.refill, with: {volume: 0.4 mL, rate: 5 mL/min}}
- {do: it.dispense, with: {volume: 0.2 mL, rate: 5 mL/min}}
- {do: it.start, with: {rate: 1 mL/min}}
- wait: 5 s
- {do: it.stop}",
    ),
    (
        "thermostat",
        "- {do: it.set_temperature, with: {target: 40 degC}}
- wait_until: abs(roles.it.temperature - 40 degC) < 1 K
  timeout: 5 h",
    ),
    (
        "stirrer",
        "- {do: it.set_speed, with: {speed: 300 rpm}}
- wait: 30 s
- {do: it.stop}",
    ),
    (
        "balance",
        "- {do: it.tare}
- {id: weight, do: it.measure}
- if: abs(steps.weight.value) > 1 g
  then: [{wait_until: roles.it.weight < -1 kg, timeout: 1 s}]",
    ),
    (
        "mass_flow_controller",
        "- {do: it.set_flow, with: {flow: 20 mL/min}}
- wait_until: abs(roles.it.flow - 20 mL/min) < 1 mL/min
  timeout: 5 min
- {do: it.stop}",
    ),
    (
        "motion",
        "- {do: it.home}
- {do: it.move, with: {x: 10 mm, y: 5 mm, z: 1 mm, speed: 600 mm/min}}
- wait_until: abs(roles.it.x - 10 mm) < 0.1 mm
  timeout: 1 min",
    ),
    (
        "selector_valve",
        "- {do: it.select, with: {port: here}}\n- {do: it.select, with: {port: there}}",
    ),
];

fn definitions(kind: &str) -> BTreeMap<String, Instrument> {
    let all = built_in::names().map(|name| {
        let (path, text) = built_in::text(name).unwrap();
        let mut sources = Sources::new();
        let id = sources.add(path.to_owned(), text);
        (name.to_owned(), Instrument::lower(sources.get(id).unwrap()).value.unwrap())
    });
    all.filter(|(_, definition)| definition.kind.value == kind).collect()
}

fn address(definition: &Instrument) -> &'static str {
    match &definition.connection.wire {
        Wire::Bytes(bytes) if bytes.serial.is_some() => "serial:/dev/it",
        Wire::Bytes(_) => "tcp://it:1",
        Wire::Modbus(_) => "modbus+tcp://it:502?unit=1",
        Wire::Mqtt(_) => "mqtt://broker:1883/lab/it",
    }
}

/// What a run says that does not end well.
fn run(kind: &str, steps: &str, name: &str, definition: &Instrument) -> Option<String> {
    let bench = Bench::new("roles");
    let config = CONFIG.iter().find(|(of, _)| *of == name).map_or("", |(_, config)| config);
    // Valves with letters for their ports show that the lab translates.
    let ports = match name {
        "knauer-azura-injection" => "ports: {here: I, there: L}",
        _ => "ports: {here: 1, there: 2}",
    };
    let ports = if kind == "selector_valve" { format!(", {ports}") } else { String::new() };
    let at = address(definition);
    let lab = format!(
        "schema: labloop/lab/v1\nname: roles\ninstruments:\n  unit: {{use: {name}, at: \"{at}\", plays: [it], \
         config: {{{config}}}{ports}}}\n"
    );
    let steps = steps.replace('\n', "\n  ");
    let wanted = if kind == "selector_valve" { ", ports: [here, there]" } else { "" };
    let protocol = format!(
        "schema: labloop/protocol/v1\nname: any-{}\nroles:\n  it: {{type: {kind}{wanted}}}\nsteps:\n  {steps}\n",
        kind.replace('_', "-")
    );
    let (lab_file, protocol_file) =
        (bench.folder().join("lab.yaml"), bench.folder().join("any.yaml"));
    std::fs::write(&lab_file, lab).unwrap();
    std::fs::write(&protocol_file, protocol).unwrap();
    let (lab, protocol) = (lab_file.to_str().unwrap(), protocol_file.to_str().unwrap());
    let (code, _, said) =
        bench.run(&["run", protocol, "--lab", lab, "--simulate", "--speed", "max"]);
    (code != 0).then(|| format!("{kind} {name} ended with {code}:\n{said}"))
}

#[test]
fn one_protocol_runs_on_every_makers_instrument_of_a_type() {
    let mut wrong = Vec::new();
    let mut runs = 0;
    for (kind, steps) in PROTOCOLS {
        let found = definitions(kind);
        assert!(found.len() > 1, "only {} definitions of {kind}", found.len());
        for (name, definition) in &found {
            wrong.extend(run(kind, steps, name, definition));
            runs += 1;
        }
    }
    assert!(wrong.is_empty(), "{} of {runs} runs failed\n{}", wrong.len(), wrong.join("\n"));
}
