//! What answers at an address: definitions are tried by the questions they mark as harmless.
//!
//! Architecture invariant: read-only by construction. Everything that leaves here is a
//! `Question`, which can be made only from `identify:` and from the asking side of a
//! property, whose bytes no tried definition takes for something with an effect. A register
//! question holds a register and no value, so there is no write it could become; over MQTT nothing
//! is published at all.

mod lines;
mod question;
mod topics;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use self::question::Question;
use super::plan::{Plan, Protocol};
use super::types::{Exchange, InstrumentSetup, Secret};
use super::{Definition, values, written_values};
use crate::expr::Value;
use crate::spec::instrument::Wire;
use crate::spec::{ValueSpec, ValueType};
use crate::units::{Dimension, Quantity};
use crate::wire::{Address, Clock, Dialer, Endpoint, Trust};

/// Names under which definitions keep the address of a unit on a shared line.
const ADDRESSES: &[&str] = &["address", "node", "unit"];

/// What to look for, and where.
#[derive(Debug, Clone)]
pub struct Search {
    /// Where.
    pub at: Address,
    /// Definitions to try.
    pub definitions: Vec<Arc<Definition>>,
    /// They were named, not merely all that fit: their questions are asked whatever other
    /// definitions would take them for.
    pub named: bool,
    /// Addresses of units on a shared line, first and last.
    pub units: Option<(u8, u8)>,
    /// Go on after the first device that is certain.
    pub all: bool,
    /// Stop after this, in wall time; over MQTT listen for so long.
    pub within: Duration,
    /// Password for the broker.
    pub secret: Option<Secret>,
}

/// A device that answers as a definition says.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Definition.
    pub definition: String,
    /// Address for the lab file.
    pub at: String,
    /// Address of the unit in `config:`, where it is kept there.
    pub config: Vec<(String, String)>,
    /// Whether the answers are of a kind that hardly any other device gives.
    pub certain: bool,
    /// What was read, as a sample.
    pub values: Vec<(String, String)>,
    /// Questions of the definition that got no such answer.
    pub missing: Vec<String>,
    /// Alarms it told instead of an answer: they count as read now.
    pub alarms: Vec<String>,
    /// What crossed the wire.
    pub trace: Vec<Exchange>,
}

/// All that was found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Findings {
    /// Devices, the best first.
    pub found: Vec<Found>,
    /// Units of Modbus that answer, with how.
    pub units: Vec<(u8, String)>,
    /// Definitions that were not tried, and why.
    pub skipped: Vec<(String, String)>,
    /// Definitions that were tried without success, and what came back.
    pub others: Vec<(String, String)>,
    /// Topics that were heard.
    pub topics: Vec<String>,
    /// The time ran out before everything was tried.
    pub cut_short: bool,
}

/// Nothing could be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// There is no connection.
    #[error("{at} cannot be opened: {reason}")]
    Unreachable {
        /// Address.
        at: String,
        /// Why.
        reason: String,
    },
    /// No definition fits the wire.
    #[error("none of the definitions can be tried at {at}: {reason}")]
    Nothing {
        /// Address.
        at: String,
        /// Why, for each.
        reason: String,
    },
}

/// A definition with the configuration it is tried with.
struct Candidate {
    setup: InstrumentSetup,
    plan: Plan,
    config: Vec<(String, String)>,
    identify: Vec<Question>,
    samples: Vec<(String, Question)>,
}

impl Candidate {
    fn name(&self) -> &str {
        &self.setup.definition.name.value
    }
}

/// Looks what answers. `tell` is called with what is tried next.
pub async fn probe(
    search: &Search,
    dialer: &Dialer,
    clock: &Clock,
    tell: &mut dyn FnMut(&str),
) -> Result<Findings, ProbeError> {
    let until = Instant::now() + search.within;
    let mut findings = Findings::default();
    let candidates = candidates(search, &mut findings);
    if candidates.is_empty() {
        let why = findings.skipped.iter().map(|(name, why)| format!("{name}: {why}"));
        let reason = match why.collect::<Vec<_>>().join("; ") {
            none if none.is_empty() => "there is none for this wire".to_owned(),
            some => some,
        };
        return Err(ProbeError::Nothing { at: search.at.text.clone(), reason });
    }
    match search.at.endpoint {
        Endpoint::Mqtt { .. } => topics::listen(search, candidates, dialer, &mut findings).await?,
        _ => {
            let mut lines = lines::Lines { search, dialer, clock, until, tell };
            lines.probe(candidates, &mut findings).await?;
        }
    }
    findings.found.sort_by_key(|found| (!found.certain, found.missing.len()));
    Ok(findings)
}

/// Definitions that fit the wire, with their questions.
fn candidates(search: &Search, findings: &mut Findings) -> Vec<Candidate> {
    let mut all = Vec::new();
    for definition in &search.definitions {
        if !fits(definition, &search.at) {
            if search.named {
                let why = format!("it does not speak over `{}`", search.at);
                findings.skipped.push((definition.name.value.clone(), why));
            }
            continue;
        }
        for unit in units(definition, search) {
            match candidate(definition, search, unit) {
                Ok(candidate) => all.push(candidate),
                Err(why) => findings.skipped.push((definition.name.value.clone(), why)),
            }
        }
    }
    let questions: Vec<(String, Option<String>)> = all
        .iter()
        .map(|candidate| {
            let own = candidate.plan.name.as_str();
            let asked = candidate.identify.iter().chain(candidate.samples.iter().map(|s| &s.1));
            let danger = asked.filter_map(|question| {
                let takes = |other: &Candidate| question.effect_on(&other.plan);
                let others = all.iter().filter(|other| !search.named || other.plan.name == own);
                let (name, what) = others.filter_map(|o| Some((o.name(), takes(o)?))).next()?;
                Some(format!("`{}` would be `{what}` to {name}", question.shown()))
            });
            (candidate.name().to_owned(), danger.into_iter().next())
        })
        .collect();
    let mut kept = Vec::new();
    for (candidate, (name, danger)) in all.into_iter().zip(questions) {
        match danger {
            Some(why) => {
                let why = format!("not asked: {why}; name it with --definition to try it alone");
                findings.skipped.push((name, why));
            }
            None if !matches!(candidate.plan.protocol, Protocol::Mqtt(_))
                && candidate.identify.is_empty()
                && candidate.samples.is_empty() =>
            {
                findings.skipped.push((name, "it has no question that only asks".to_owned()));
            }
            None => kept.push(candidate),
        }
    }
    kept
}

fn fits(definition: &Definition, at: &Address) -> bool {
    match (&definition.connection.wire, &at.endpoint) {
        (Wire::Bytes(bytes), Endpoint::Serial { .. }) => bytes.serial.is_some(),
        (Wire::Bytes(bytes), Endpoint::Tcp { .. }) => bytes.tcp,
        (Wire::Modbus(_), Endpoint::ModbusTcp { .. }) => true,
        (Wire::Modbus(modbus), Endpoint::ModbusRtu { .. }) => modbus.serial.is_some(),
        (Wire::Mqtt(_), Endpoint::Mqtt { .. }) => true,
        _ => false,
    }
}

/// Unit addresses that are tried: for text lines those of the configuration.
fn units(definition: &Definition, search: &Search) -> Vec<Option<(String, u8)>> {
    let spec = definition.config.iter().find(|spec| {
        spec.kind == ValueType::Integer && ADDRESSES.contains(&spec.name.value.as_str())
    });
    match (spec, search.units, &search.at.endpoint) {
        (Some(spec), Some((first, last)), Endpoint::Serial { .. } | Endpoint::Tcp { .. }) => {
            let name = &spec.name.value;
            (first..=last).map(|unit| Some((name.clone(), unit))).collect()
        }
        _ => vec![None],
    }
}

fn candidate(
    definition: &Arc<Definition>,
    search: &Search,
    unit: Option<(String, u8)>,
) -> Result<Candidate, String> {
    let mut config = stand_in(definition)?;
    let mut said = Vec::new();
    if let Some((name, unit)) = unit {
        let value = Quantity { value: f64::from(unit), dim: Dimension::default(), point: false };
        config.insert(name.clone(), Value::Quantity(value));
        said.push((name, unit.to_string()));
    }
    let setup = InstrumentSetup {
        name: definition.name.value.clone(),
        definition: Arc::clone(definition),
        at: search.at.clone(),
        config,
        secret: search.secret.clone(),
        trust: Trust::default(),
    };
    let plan = Plan::new(&setup).map_err(|wrong| wrong.join("; "))?;
    let identify = match &plan.protocol {
        Protocol::Mqtt(_) => Vec::new(),
        _ => question::identify(&plan)?,
    };
    let samples = question::samples(&plan);
    Ok(Candidate { setup, plan, config: said, identify, samples })
}

/// A configuration to ask with, for values that only the lab knows: those of an example, else the
/// least allowed. They scale what is read and do not change what is asked.
fn stand_in(definition: &Definition) -> Result<BTreeMap<String, Value>, String> {
    let needed = |spec: &&ValueSpec| spec.required && spec.default.is_none();
    let mut config = BTreeMap::new();
    for spec in definition.config.iter().filter(needed) {
        let name = &spec.name.value;
        let examples = definition.examples.iter();
        let shown = examples.flat_map(|e| e.config.iter().filter(|c| c.name.value == *name)).next();
        let value = match (shown, &spec.min) {
            (Some(entry), _) => {
                let written = std::slice::from_ref(entry);
                written_values(&definition.config, written)?.remove(name)
            }
            (None, Some(min)) => Some(Value::Quantity(min.value)),
            (None, None) => None,
        };
        let value = value.ok_or_else(|| format!("its configuration needs `{name}`"))?;
        config.insert(name.clone(), value);
    }
    // Checked here, so that the reason names the configuration.
    values::complete(&definition.config, &config, "configuration")
        .map_err(|wrong| wrong.join("; "))?;
    Ok(config)
}

#[cfg(test)]
mod tests;
