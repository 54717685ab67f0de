//! The instrument of a lab that a command by hand is for, and what is wanted of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::super::Exit;
use super::super::output;
use crate::compiler::bundle::Loader;
use crate::compiler::{PORT_ARGUMENTS, check_lab, first_guard};
use crate::driver::{InstrumentSetup, preview};
use crate::engine::shell::{SAFE_STATE, instrument_setup};
use crate::expr::Value;
use crate::spec::instrument::{Action, Instrument, Property};
use crate::spec::lab::LabInstrument;
use crate::spec::{Named, ValueSpec, ValueType, Written, listed, literal, nearest, render};
use crate::wire::Address;

/// A lab and one instrument of it.
pub(super) struct Chosen {
    pub instrument: LabInstrument,
    pub definition: Arc<Instrument>,
    pub setup: InstrumentSetup,
    /// The texts of lab and definitions, to be kept.
    pub kept: String,
    /// An interlock or emergency stop, which this version does not evaluate.
    pub guard: Option<String>,
}

/// What is wanted of it.
pub(super) enum Wanted {
    Action(Box<Action>),
    Property(Box<Property>),
    /// Its safe state.
    Safe,
}

type Failed = (Exit, String);

impl Chosen {
    /// Reads a lab and finds an instrument in it. `at`: where it is instead.
    pub fn load(file: &Path, name: &str, at: Option<&str>) -> Result<Chosen, Failed> {
        let mut loader = Loader::default();
        let found = loader.lab(file).map_err(|error| (Exit::Usage, error.to_string()))?;
        if let Some((lab, definitions)) = &found {
            let more = check_lab(lab, definitions);
            loader.report.extend(more);
        }
        let Some((lab, definitions)) = found.filter(|_| !loader.report.has_errors()) else {
            let colour =
                if output::colour() { render::Colour::Always } else { render::Colour::Never };
            output::say(render::text(&loader.report, &loader.sources, colour));
            return Err((Exit::NotCompiled, format!("{} has mistakes", file.display())));
        };
        let Some(instrument) = lab.instrument(name).cloned() else {
            let known = lab.instruments.iter().map(|i| i.name.value.as_str());
            return Err((Exit::Usage, unknown("the lab has no instrument", name, known)));
        };
        let Some(definition) = definitions.get(&instrument.definition.value).cloned() else {
            let why = format!("there is no definition `{}`", instrument.definition.value);
            return Err((Exit::NotCompiled, why));
        };
        let mut setup = instrument_setup(&instrument, &definition)
            .map_err(|why| (Exit::Usage, format!("{name}: {why}")))?;
        if let Some(at) = at {
            setup.at =
                Address::parse(at).map_err(|error| (Exit::Usage, format!("--at: {error}")))?;
        }
        let guard = first_guard(&lab, &loader.sources).map(|(what, _)| what.to_string());
        let kept = loader.keep_lab(file);
        Ok(Chosen { instrument, definition, setup, kept, guard })
    }

    /// An action or a property by name.
    pub fn wanted(&self, name: &str) -> Result<Wanted, String> {
        if let Some(action) = self.definition.action(name) {
            return Ok(Wanted::Action(Box::new(action.clone())));
        }
        if let Some(property) = self.definition.property(name) {
            return Ok(Wanted::Property(Box::new(property.clone())));
        }
        if name == SAFE_STATE {
            return match &self.definition.safe_state {
                Some(_) => Ok(Wanted::Safe),
                None => Err(format!("`{}` has no safe state", self.definition.name.value)),
            };
        }
        let actions = self.definition.actions.iter().map(|a| a.name.value.as_str());
        let known = actions.chain(self.definition.properties.iter().map(|p| p.name.value.as_str()));
        let own = &self.definition.name.value;
        Err(unknown(&format!("`{own}` has no action or property"), name, known))
    }

    /// Arguments of an action as given with `--set`; all that is wrong with them at once.
    pub fn arguments(
        &self,
        action: &Action,
        set: &[String],
    ) -> Result<BTreeMap<String, Value>, String> {
        let mut given = BTreeMap::new();
        let mut wrong = Vec::new();
        for text in set {
            match self.argument(action, text) {
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
        for limit in self.instrument.limits.iter().filter(|l| l.action.value == action.name.value) {
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
                    self.instrument.name.value,
                    shown(&limit.value)
                ));
            }
        }
        if wrong.is_empty() { Ok(given) } else { Err(wrong.join("\n")) }
    }

    fn argument(&self, action: &Action, text: &str) -> Result<(String, Value), String> {
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| format!("--set {text}: write --set name=\"value unit\""))?;
        let (name, value) = (name.trim(), value.trim());
        let Some(spec) = action.args.iter().find(|spec| spec.name.value == name) else {
            let known = action.args.iter().map(|spec| spec.name.value.as_str());
            let own = &action.name.value;
            return Err(unknown(&format!("--set: `{own}` has no argument"), name, known));
        };
        let value = self.port(spec, value)?;
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
    fn port(&self, spec: &ValueSpec, word: &str) -> Result<String, String> {
        let ports: &[Named<Written>] = &self.instrument.ports;
        if ports.is_empty() || !PORT_ARGUMENTS.contains(&spec.name.value.as_str()) {
            return Ok(word.to_owned());
        }
        match ports.iter().find(|port| port.name.value == word).map(|port| &port.value) {
            Some(Written::Scalar { text, .. }) => Ok(text.clone()),
            Some(_) => Err(format!("the port `{word}` of the lab is no single word")),
            None => {
                let known = ports.iter().map(|port| port.name.value.as_str());
                let own = &self.instrument.name.value;
                Err(unknown(&format!("`{own}` has no port"), word, known))
            }
        }
    }
}

/// `WHAT "name"; did you mean ...`
fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    match nearest(name, known.clone()) {
        Some(near) => format!("{what} `{name}`; did you mean `{near}`?"),
        None => format!("{what} `{name}`; there is {}", listed(known)),
    }
}
