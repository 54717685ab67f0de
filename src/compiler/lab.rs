//! A lab against the definitions it uses.

use super::bind::Definitions;
use super::interlocks;
use super::names::Names;
use super::values;
use crate::spec::instrument::{Instrument, Wire};
use crate::spec::lab::{Lab, LabInstrument};
use crate::spec::{Diagnostic, Report, codes, nearest};

/// Checks configuration, addresses, limits and wiring of every instrument.
pub fn check_lab(lab: &Lab, definitions: &Definitions) -> Report {
    let mut report = Report::new();
    for instrument in &lab.instruments {
        let Some(definition) = definitions.get(&instrument.definition.value) else { continue };
        config(instrument, definition, &mut report);
        wire(instrument, definition, &mut report);
        limits(instrument, definition, &mut report);
    }
    interlocks::check(lab, definitions, &mut report);
    report.sort();
    report
}

fn config(instrument: &LabInstrument, definition: &Instrument, report: &mut Report) {
    let names = Names::default();
    for entry in &instrument.config {
        match definition.config.iter().find(|s| s.name.value == entry.name.value) {
            Some(spec) => {
                values::argument(&entry.value, spec, &names, report);
            }
            None => {
                let known: Vec<&str> =
                    definition.config.iter().map(|s| s.name.value.as_str()).collect();
                let mut wrong = Diagnostic::error(
                    codes::UNKNOWN_CONFIG,
                    entry.name.span,
                    match nearest(&entry.name.value, known.iter().copied()) {
                        Some(near) => format!("write `{near}` instead of `{}`", entry.name.value),
                        None => format!(
                            "remove `{}`: `{}` has no such setting",
                            entry.name.value, definition.name.value
                        ),
                    },
                )
                .label("no such setting")
                .also(definition.name.span, "the definition");
                wrong = match nearest(&entry.name.value, known.iter().copied()) {
                    Some(near) => wrong.fix(near),
                    None if known.is_empty() => wrong.reason("it has none"),
                    None => wrong.reason(format!("it has {}", known.join(", "))),
                };
                report.push(wrong);
            }
        }
    }
    for spec in definition.config.iter().filter(|s| s.required && s.default.is_none()) {
        // A setting that was misspelt was reported with the name it was meant to have.
        let known = || definition.config.iter().map(|s| s.name.value.as_str());
        let meant = |written: &str| nearest(written, known()) == Some(spec.name.value.as_str());
        if instrument.config.iter().any(|c| meant(&c.name.value)) {
            continue;
        }
        if !instrument.config.iter().any(|c| c.name.value == spec.name.value) {
            report.push(
                Diagnostic::error(
                    codes::MISSING_CONFIG,
                    instrument.name.span,
                    format!(
                        "add `{}` to `config:` of `{}`",
                        spec.name.value, instrument.name.value
                    ),
                )
                .label("a setting is missing")
                .also(spec.span, "required here")
                .fix(format!(
                    "config: {{{}: {}}}",
                    spec.name.value,
                    values::sample(spec)
                )),
            );
        }
    }
}

/// The scheme of an address must be one the definition speaks.
fn wire(instrument: &LabInstrument, definition: &Instrument, report: &mut Report) {
    let address = instrument.address.value.as_str();
    let scheme = address.split(':').next().unwrap_or_default();
    let speaks: Vec<&str> = match &definition.connection.wire {
        Wire::Bytes(bytes) => {
            let mut all = Vec::new();
            if bytes.serial.is_some() {
                all.push("serial");
            }
            if bytes.tcp {
                all.push("tcp");
            }
            all
        }
        // A serial server passes on what the device says on its serial side.
        Wire::Modbus(modbus) if modbus.serial.is_some() => {
            vec!["modbus+tcp", "modbus+serial", "modbus+rtu+tcp"]
        }
        Wire::Modbus(_) => vec!["modbus+tcp"],
        Wire::Mqtt(_) => vec!["mqtt", "mqtts"],
    };
    if scheme != "null" && !speaks.contains(&scheme) {
        report.push(
            Diagnostic::error(
                codes::WRONG_WIRE,
                instrument.address.span,
                format!(
                    "give `{}` an address that begins with {}",
                    instrument.name.value,
                    speaks.join(" or ")
                ),
            )
            .label(format!("it does not speak {scheme}"))
            .also(definition.connection.span, "what it speaks")
            .reason("the definition says which wires the device has"),
        );
    }
}

fn limits(instrument: &LabInstrument, definition: &Instrument, report: &mut Report) {
    for limit in &instrument.limits {
        let Some(action) = definition.action(&limit.action.value) else {
            let known = definition.actions.iter().map(|a| a.name.value.as_str());
            let mut wrong = Diagnostic::error(
                codes::UNKNOWN_ACTION,
                limit.action.span,
                format!("`{}` cannot `{}`", definition.name.value, limit.action.value),
            );
            if let Some(near) = nearest(&limit.action.value, known) {
                wrong = wrong.fix(near);
            }
            report.push(wrong);
            continue;
        };
        let spec = action.args.iter().find(|a| a.name.value == limit.argument.value);
        if let Some(spec) = spec {
            let sides = [(&limit.max, &spec.max, 1.0), (&limit.min, &spec.min, -1.0)];
            for (given, declared, sign) in sides {
                let (Some(given), Some(declared)) = (given, declared) else { continue };
                if sign * (given.value.value - declared.value.value)
                    > 1e-9 * declared.value.value.abs()
                {
                    report.push(
                        Diagnostic::error(
                            codes::LIMIT_WIDER,
                            given.span,
                            format!("narrow this limit to {} or remove it", declared.value),
                        )
                        .label("wider than what the device takes")
                        .also(declared.span, "the definition's limit")
                        .fix(declared.value.to_string()),
                    );
                }
            }
        }
        if spec.is_none() {
            let known = action.args.iter().map(|a| a.name.value.as_str());
            let mut wrong = Diagnostic::error(
                codes::UNKNOWN_ARGUMENT,
                limit.argument.span,
                format!("`{}` takes no `{}`", limit.action.value, limit.argument.value),
            );
            if let Some(near) = nearest(&limit.argument.value, known) {
                wrong = wrong.fix(near);
            }
            report.push(wrong);
        }
    }
}
