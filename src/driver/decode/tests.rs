//! Golden bytes of built-in definitions, decoded.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::spec::{Document, Sources, lower};
use crate::units::Quantity;
use crate::wire::{Address, Tick};

fn setup(file: &str, at: &str, config: &[(&str, &str)]) -> InstrumentSetup {
    let text = std::fs::read_to_string(format!("instruments/{file}")).unwrap();
    let mut sources = Sources::new();
    let id = sources.add(file.to_owned(), text.as_str());
    let Some(Document::Instrument(definition)) = lower(sources.get(id).unwrap()).value else {
        panic!("{file}")
    };
    let config: BTreeMap<_, _> = config
        .iter()
        .map(|(name, value)| ((*name).to_owned(), Value::Quantity(Quantity::parse(value).unwrap())))
        .collect();
    InstrumentSetup {
        name: "it".to_owned(),
        definition: Arc::clone(&definition),
        at: Address::parse(at).unwrap(),
        config,
        secret: None,
        trust: crate::wire::Trust::default(),
    }
}

fn decoded(setup: &InstrumentSetup, action: Option<&str>, messages: &[(Way, &str)]) -> Vec<String> {
    let mut decoder = Decoder::new(setup, action).unwrap();
    messages
        .iter()
        .map(|(way, text)| {
            let exchange = Exchange { at: Tick(0), way: *way, text: (*text).to_owned() };
            decoder.read(&exchange).map_or_else(|| "?".to_owned(), |found| found.to_string())
        })
        .collect()
}

#[test]
fn a_dose_reads_as_what_was_meant() {
    let pump = setup(
        "syringe_pump/newera-ne1000.yaml",
        "serial:/dev/x",
        &[("syringe_diameter", "14.57 mm")],
    );
    let dose = [
        (Way::Out, "VOL5.000\\r"),
        (Way::In, "\\x0200S\\x03"),
        (Way::Out, "RAT 1.000 MM\\r"),
        (Way::Out, "RUN\\r"),
        (Way::In, "\\x0200I\\x03"),
        (Way::Out, "\\r"),
        (Way::In, "\\x0200S\\x03"),
        (Way::Out, "DIS\\r"),
        (Way::In, "\\x0200SI1.500W0.250ML\\x03"),
        (Way::In, "\\x0200S?OOR\\x03"),
        (Way::Out, "XYZ\\r"),
    ];
    assert_eq!(
        decoded(&pump, Some("dispense"), &dose),
        [
            "dispense 6 of 9: volume = 5 mL",
            "answers [ready]",
            "dispense 7 of 9: rate = 1 mL/min",
            "dispense 9 of 9",
            "answers [busy]",
            "asks whether dispense is done",
            "answers [ready]",
            "asks for dispensed",
            "answers: dispensed = 1.5 mL, withdrawn = 0.25 mL [ready]",
            "it says that a value is out of its range (?OOR)",
            "?",
        ]
    );
    let safe = decoded(&pump, Some(SAFE_STATE), &[(Way::Out, "STP\\r")]);
    assert_eq!(safe, ["safe state"]);
    // Without knowing the action the same message is some action's.
    let some = decoded(&pump, None, &[(Way::Out, "RAT 1.000 MM\\r")]);
    assert!(some[0].ends_with("rate = 1 mL/min"), "{some:?}");
}

#[test]
fn registers_read_by_their_names() {
    let bath = setup("thermostat/eurotherm-3216.yaml", "modbus+tcp://h:502?unit=1", &[]);
    let messages = [
        (Way::Out, "01 03 00 01 00 01"),
        (Way::In, "01 03 02 00 FB"),
        (Way::Out, "01 10 00 18 00 01 02 03 20"),
        (Way::In, "01 10 00 18 00 01"),
        (Way::Out, "01 10 00 18 00 01 02 03 20"),
        (Way::In, "01 90 03"),
        (Way::Out, "01 03 02 00 00 01"),
        (Way::In, "01 03 02 00 07"),
        (Way::Out, "nonsense"),
    ];
    assert_eq!(
        decoded(&bath, Some("set_temperature"), &messages),
        [
            "reads temperature",
            "answers: temperature = 25.1 degC",
            "writes: set_temperature = 80 degC",
            "written",
            "writes: set_temperature = 80 degC",
            "refuses: exception 3, illegal data value",
            "reads holding register 512",
            "holds 7",
            "?",
        ]
    );
}

#[test]
fn topics_read_by_their_actions() {
    let uv = setup("spectrometer/mqtt5-spectrometer.yaml", "mqtt://h/lab/uv", &[]);
    let messages = [
        (Way::Out, "lab/uv/measure {\"averages\":4,\"integration_ms\":50}"),
        (Way::In, "lab/uv/reply {\"wavelength_nm\":[400,500],\"absorbance\":[0.25,0.5]}"),
        (Way::In, "lab/uv/reply {\"error\":\"the lamp is cold\"}"),
        (Way::Out, "lab/other/measure {}"),
    ];
    assert_eq!(
        decoded(&uv, Some("measure"), &messages),
        [
            "measure: averages = 4, integration_ms = 50",
            "answers: measure = a curve of 2 points",
            "refuses: \"the lamp is cold\"",
            "?",
        ]
    );
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic(texts: Vec<(bool, String)>, bytes: Vec<u8>) {
        let pump = setup(
            "syringe_pump/newera-ne1000.yaml",
            "serial:/dev/x",
            &[("syringe_diameter", "14.57 mm")],
        );
        let bath = setup("thermostat/eurotherm-3216.yaml", "modbus+tcp://h:502?unit=1", &[]);
        let (shown, pairs) = (crate::wire::printable::printable(&bytes), crate::wire::printable::hex(&bytes));
        for device in [&pump, &bath] {
            let mut messages: Vec<(Way, &str)> = texts
                .iter()
                .map(|(out, text)| (if *out { Way::Out } else { Way::In }, text.as_str()))
                .collect();
            for text in [&shown, &pairs] {
                messages.extend([(Way::Out, text.as_str()), (Way::In, text.as_str())]);
            }
            decoded(device, None, &messages);
        }
    }
}

#[test]
fn no_message_panics() {
    let devices = [
        setup("thermostat/eurotherm-3216.yaml", "modbus+tcp://h:502?unit=1", &[]),
        setup("spectrometer/mqtt5-spectrometer.yaml", "mqtt://h/base", &[]),
    ];
    for device in &devices {
        for text in ["", " ", "base/x {", "01", "01 10 00 18 00 01 02", "\\x", "01 83", "FF FF FF"]
        {
            decoded(device, None, &[(Way::Out, text), (Way::In, text)]);
        }
    }
}
