//! What a person wants of an instrument, read against its definition and the limits of its lab: the
//! same for a command that goes through a running engine and for one without.

use std::collections::BTreeMap;
use std::time::Duration;

use super::instruments::Refused;
use super::manual::SAFE_STATE;
use crate::compiler::PORT_ARGUMENTS;
use crate::compiler::graph::Effect;
use crate::driver::{InstrumentSetup, preview};
use crate::expr::Value;
use crate::spec::instrument::{Action, EffectClass};
use crate::spec::lab::LabInstrument;
use crate::spec::{Named, ValueSpec, ValueType, Written, listed, literal, nearest};

/// How long a safe state may take, in lab time.
const SAFE_WAIT: Duration = Duration::from_secs(60);

/// What is wanted, ready to be sent.
#[derive(Debug, Clone, PartialEq)]
pub enum Wanted {
    /// A reading.
    Property(String),
    /// The safe state.
    Safe,
    /// An action.
    Action(Box<WantedAction>),
}

/// An action with all that it takes.
#[derive(Debug, Clone, PartialEq)]
pub struct WantedAction {
    /// Name.
    pub action: String,
    /// Arguments, complete and within the limits of definition and lab.
    pub args: BTreeMap<String, Value>,
    /// What sending it twice would do.
    pub effect: Effect,
    /// It stops something.
    pub stops: bool,
    /// Property that shows whether it had its effect, and how long that takes to show.
    pub witness: Option<(String, Duration)>,
    /// At the latest after this much lab time it has ended.
    pub deadline: Duration,
}

impl Wanted {
    /// Whether it may be done to an instrument that runs are using: it only reads, or stops.
    pub fn is_harmless(&self) -> bool {
        match self {
            Wanted::Property(_) | Wanted::Safe => true,
            Wanted::Action(action) => action.stops || action.effect == Effect::Read,
        }
    }

    /// Its name, as a person writes it.
    pub fn name(&self) -> &str {
        match self {
            Wanted::Property(name) => name,
            Wanted::Safe => SAFE_STATE,
            Wanted::Action(action) => &action.action,
        }
    }

    /// At the latest after this much lab time it has ended.
    pub(super) fn deadline(&self) -> Duration {
        match self {
            Wanted::Property(_) | Wanted::Safe => SAFE_WAIT,
            Wanted::Action(action) => action.deadline,
        }
    }
}

/// Reads what a person wants of an instrument. `set`: arguments, each `name=value`.
///
/// Errors: all that is wrong with it, for the person.
pub fn wanted(
    instrument: &LabInstrument,
    setup: &InstrumentSetup,
    what: &str,
    set: &[String],
) -> Result<Wanted, Refused> {
    let definition = &setup.definition;
    let plain = |wanted: Wanted| match set.is_empty() {
        true => Ok(wanted),
        false => Err(Refused(format!("`{what}` takes no --set"))),
    };
    if let Some(action) = definition.action(what) {
        let args = arguments(instrument, action, set).map_err(Refused)?;
        let deadline = preview::longest(setup, action, &args).map_err(Refused)?;
        return Ok(Wanted::Action(Box::new(WantedAction {
            action: what.to_owned(),
            args,
            effect: effect_of(action.effect.value),
            stops: action.stops,
            witness: action
                .witness
                .as_ref()
                .map(|witness| (witness.property.value.clone(), witness.settle.value)),
            deadline,
        })));
    }
    if definition.property(what).is_some() {
        return plain(Wanted::Property(what.to_owned()));
    }
    let own = &definition.name.value;
    if what == SAFE_STATE {
        return match &definition.safe_state {
            Some(_) => plain(Wanted::Safe),
            None => Err(Refused(format!("`{own}` has no safe state"))),
        };
    }
    let actions = definition.actions.iter().map(|a| a.name.value.as_str());
    let known = actions.chain(definition.properties.iter().map(|p| p.name.value.as_str()));
    Err(Refused(unknown(&format!("`{own}` has no action or property"), what, known)))
}

pub(super) fn effect_of(class: EffectClass) -> Effect {
    match class {
        EffectClass::Read => Effect::Read,
        EffectClass::Repeatable => Effect::Repeatable,
        EffectClass::Verifiable => Effect::Verifiable,
        EffectClass::Once => Effect::Once,
    }
}

/// Arguments of an action, each given as `name=value`, within the limits of definition and lab.
///
/// Errors: all that is wrong with them at once.
pub fn arguments(
    instrument: &LabInstrument,
    action: &Action,
    set: &[String],
) -> Result<BTreeMap<String, Value>, String> {
    let mut given = BTreeMap::new();
    let mut wrong = Vec::new();
    for text in set {
        match argument(instrument, action, text) {
            Ok((name, value)) => {
                if given.insert(name.clone(), value).is_some() {
                    wrong.push(format!("--set {name} is given twice"));
                }
            }
            Err(why) => wrong.push(why),
        }
    }
    if wrong.is_empty() {
        match preview::arguments(action, &given) {
            Ok(all) => given = all,
            Err(why) => wrong.extend(why),
        }
    }
    wrong.extend(beyond_the_lab(instrument, action, &given));
    if wrong.is_empty() { Ok(given) } else { Err(wrong.join("\n")) }
}

/// Arguments that the definition allows and the lab does not.
fn beyond_the_lab(
    instrument: &LabInstrument,
    action: &Action,
    given: &BTreeMap<String, Value>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    for limit in instrument.limits.iter().filter(|l| l.action.value == action.name.value) {
        let name = &limit.argument.value;
        let Some(Value::Quantity(value)) = given.get(name) else { continue };
        let spec = action.args.iter().find(|spec| spec.name.value == *name);
        let shown = |quantity: &crate::units::Quantity| match spec.map(|spec| &spec.kind) {
            Some(ValueType::Quantity { unit }) => quantity.display_in(&unit.value),
            _ => quantity.to_string(),
        };
        let above = |limit: f64| value.value > limit + 1e-9 * limit.abs();
        let below = |limit: f64| value.value < limit - 1e-9 * limit.abs();
        let most = limit.max.as_ref().filter(|most| above(most.value.value));
        let least = limit.min.as_ref().filter(|least| below(least.value.value));
        for (limit, word) in [(most, "at most"), (least, "at least")] {
            let Some(limit) = limit else { continue };
            wrong.push(format!(
                "{name} is {}; in this lab `{}` allows {word} {}",
                shown(value),
                instrument.name.value,
                shown(&limit.value)
            ));
        }
    }
    wrong
}

fn argument(
    instrument: &LabInstrument,
    action: &Action,
    text: &str,
) -> Result<(String, Value), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| format!("--set {text}: write --set name=\"value unit\""))?;
    let (name, value) = (name.trim(), value.trim());
    let Some(spec) = action.args.iter().find(|spec| spec.name.value == name) else {
        let known = action.args.iter().map(|spec| spec.name.value.as_str());
        let own = &action.name.value;
        return Err(unknown(&format!("--set: `{own}` has no argument"), name, known));
    };
    let value = port(instrument, spec, value)?;
    let value = literal::parse(&value, spec).map_err(|why| {
        let way_out = match &spec.kind {
            ValueType::Quantity { unit } if value.parse::<f64>().is_ok() => {
                format!("; write {name}=\"{value} {}\"", unit.value.symbol)
            }
            _ => String::new(),
        };
        format!("--set {name}: {why}{way_out}")
    })?;
    Ok((name.to_owned(), value))
}

/// The instrument's own word for a port that the lab names.
fn port(instrument: &LabInstrument, spec: &ValueSpec, word: &str) -> Result<String, String> {
    let ports: &[Named<Written>] = &instrument.ports;
    if ports.is_empty() || !PORT_ARGUMENTS.contains(&spec.name.value.as_str()) {
        return Ok(word.to_owned());
    }
    match ports.iter().find(|port| port.name.value == word).map(|port| &port.value) {
        Some(Written::Scalar { text, .. }) => Ok(text.clone()),
        Some(_) => Err(format!("the port `{word}` of the lab is no single word")),
        None => {
            let known = ports.iter().map(|port| port.name.value.as_str());
            let own = &instrument.name.value;
            Err(unknown(&format!("`{own}` has no port"), word, known))
        }
    }
}

/// `WHAT "name"; did you mean ...`
pub fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    match nearest(name, known.clone()) {
        Some(near) => format!("{what} `{name}`; did you mean `{near}`?"),
        None => format!("{what} `{name}`; there is {}", listed(known)),
    }
}
