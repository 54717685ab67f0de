//! Which instrument plays which role.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::spec::instrument::Instrument;
use crate::spec::lab::{Lab, LabInstrument};
use crate::spec::protocol::{Protocol, Role};
use crate::spec::{Diagnostic, Named, Report, Spanned, ValueType, codes, nearest};

/// Definitions by name.
pub type Definitions = BTreeMap<String, Arc<Instrument>>;

/// A role with the instrument that plays it.
#[derive(Debug, Clone)]
pub struct Binding {
    /// Name in the lab.
    pub instrument: String,
    /// Its definition.
    pub definition: Arc<Instrument>,
}

/// Binds every role. A role that nobody plays is an error; where several could, the one that
/// lists the role under `plays:` goes first, then the order of the lab file.
pub fn bind(
    protocol: &Protocol,
    lab: &Lab,
    definitions: &Definitions,
    pins: &[Named<Spanned<String>>],
    report: &mut Report,
) -> BTreeMap<String, Binding> {
    let mut bound = BTreeMap::new();
    for pin in pins {
        if protocol.role(&pin.name.value).is_none() {
            let mut wrong = Diagnostic::error(
                codes::UNKNOWN_ROLE,
                pin.name.span,
                format!("the protocol has no role `{}`", pin.name.value),
            );
            let names = protocol.roles.iter().map(|r| r.name.value.as_str());
            if let Some(near) = nearest(&pin.name.value, names) {
                wrong = wrong.fix(near);
            }
            report.push(wrong);
        }
    }
    for role in &protocol.roles {
        let pin = pins.iter().find(|p| p.name.value == role.name.value);
        if let Some(binding) = one(role, lab, definitions, pin, report) {
            bound.insert(role.name.value.clone(), binding);
        }
    }
    bound
}

fn one(
    role: &Role,
    lab: &Lab,
    definitions: &Definitions,
    pin: Option<&Named<Spanned<String>>>,
    report: &mut Report,
) -> Option<Binding> {
    let name = &role.name.value;
    let player = match pin {
        Some(pin) => match lab.instrument(&pin.value.value) {
            Some(instrument) => instrument,
            None => {
                let mut wrong = Diagnostic::error(
                    codes::UNKNOWN_INSTRUMENT,
                    pin.value.span,
                    format!("the lab has no instrument `{}`", pin.value.value),
                );
                let names = lab.instruments.iter().map(|i| i.name.value.as_str());
                if let Some(near) = nearest(&pin.value.value, names) {
                    wrong = wrong.fix(near);
                }
                report.push(wrong);
                return None;
            }
        },
        None => {
            let plays = |i: &&LabInstrument| i.plays.iter().any(|p| p.value == *name);
            let fits = |i: &&LabInstrument| {
                i.plays.is_empty()
                    && definitions
                        .get(&i.definition.value)
                        .is_some_and(|d| d.kind.value == role.kind.value)
            };
            match lab.instruments.iter().find(plays).or_else(|| lab.instruments.iter().find(fits)) {
                Some(instrument) => instrument,
                None => {
                    let candidates: Vec<&str> = lab
                        .instruments
                        .iter()
                        .filter(|i| {
                            definitions
                                .get(&i.definition.value)
                                .is_some_and(|d| d.kind.value == role.kind.value)
                        })
                        .map(|i| i.name.value.as_str())
                        .collect();
                    let mut wrong = Diagnostic::error(
                        codes::ROLE_NOT_PLAYED,
                        role.name.span,
                        format!("let an instrument of the lab play `{name}`: none does"),
                    )
                    .also(lab.name.span, "the lab");
                    wrong = match candidates.first() {
                        Some(first) => wrong
                            .fix(format!("add `{name}` to `plays:` of `{first}` in the lab file")),
                        None => wrong.reason(format!(
                            "the lab has no instrument of type {}",
                            role.kind.value
                        )),
                    };
                    report.push(wrong);
                    return None;
                }
            }
        }
    };
    // A definition that could not be read was reported with its file.
    let definition = definitions.get(&player.definition.value)?;
    if definition.kind.value != role.kind.value {
        report.push(
            Diagnostic::error(
                codes::ROLE_TYPE,
                role.kind.span,
                format!(
                    "`{name}` needs a {}, but `{}` is a {}",
                    role.kind.value, player.name.value, definition.kind.value
                ),
            )
            .also(player.name.span, "plays the role")
            .also(definition.kind.span, "its type"),
        );
        return None;
    }
    ports(role, player, definition, report);
    Some(Binding { instrument: player.name.value.clone(), definition: Arc::clone(definition) })
}

/// Ports a role needs must be named in the lab, or be words of the definition's own `port`.
fn ports(role: &Role, player: &LabInstrument, definition: &Instrument, report: &mut Report) {
    let own: Vec<&str> = definition
        .actions
        .iter()
        .flat_map(|a| &a.args)
        .filter(|a| a.name.value == "port")
        .filter_map(|a| match &a.kind {
            ValueType::Choice { options } => Some(options.iter().map(|o| o.value.as_str())),
            _ => None,
        })
        .flatten()
        .collect();
    let known: Vec<&str> =
        player.ports.iter().map(|p| p.name.value.as_str()).chain(own.iter().copied()).collect();
    for port in &role.ports {
        if known.contains(&port.value.as_str()) {
            continue;
        }
        let near = nearest(&port.value, known.iter().copied());
        let message = match near {
            Some(near) => format!("write `{near}` instead of `{}`", port.value),
            None => format!("name the port `{}` of `{}` in the lab", port.value, player.name.value),
        };
        let mut wrong = Diagnostic::error(codes::UNKNOWN_PORT, port.span, message)
            .label("no port of that name")
            .also(player.name.span, "plays the role");
        wrong.fix = match near {
            Some(near) => Some(near.to_owned()),
            None => Some(format!("ports: {{{}: 1}}", port.value)),
        };
        report.push(wrong);
    }
}
