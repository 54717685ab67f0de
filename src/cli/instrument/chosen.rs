//! The instrument of a lab that a command by hand is for, and what is wanted of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::super::Exit;
use super::super::output;
use crate::compiler::bundle::Loader;
use crate::compiler::{check_lab, first_guard};
use crate::driver::InstrumentSetup;
use crate::engine::shell::{SAFE_STATE, arguments, instrument_setup, unknown};
use crate::expr::Value;
use crate::spec::instrument::{Action, Instrument, Property};
use crate::spec::lab::LabInstrument;
use crate::spec::render;
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
        arguments(&self.instrument, action, set)
    }
}
