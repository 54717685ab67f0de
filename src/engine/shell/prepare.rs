//! From texts to a campaign that an engine can run: its bounds, planner, compiler and goal. The same
//! for `run`, `resume` and what is submitted to a service.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::brain::{Brain, BrainError, Compile, Goal};
use super::history::{CampaignHistory, History};
use super::search::{CampaignBrain, SinglePoint, goal};
use super::searches::SearchSetup;
use crate::compiler::campaign::Search;
use crate::compiler::graph::Graph;
use crate::compiler::{Bundle, Request, campaign, compile};
use crate::engine::campaign::{Campaign, CampaignRecord, Experiment, Rules};
use crate::engine::core::{InDoubt, Terms};
use crate::expr::Value;
use crate::spec::ValueType;
use crate::spec::campaign as spec;
use crate::store::Document;
use crate::units::Quantity;

/// Experiments of a campaign that does not say.
pub const EXPERIMENTS: u32 = 20;
/// Failed experiments in a row that pause a campaign that does not say.
const PAUSE_AFTER: u32 = 3;

/// What a campaign or a single run is asked for with, beside its texts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    /// Values of a protocol's parameters, `name=value unit`.
    #[serde(default)]
    pub set: Vec<String>,
    /// Seed of the planner, instead of the campaign's.
    #[serde(default)]
    pub seed: Option<u64>,
    /// Experiments at most, instead of the campaign's budget.
    #[serde(default)]
    pub experiments: Option<u32>,
    /// A repeated wish with the same key is the same campaign.
    #[serde(default)]
    pub key: Option<String>,
}

/// Why there is no campaign to run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PrepareError {
    /// The texts have mistakes; they are in the bundle's report.
    #[error("the texts have mistakes")]
    Texts,
    /// The protocol does not compile for the values given.
    #[error("the protocol does not compile: {0}")]
    Compile(String),
    /// It is asked for with what it does not have.
    #[error("{0}")]
    Wish(String),
    /// The planner cannot take it.
    #[error("the planner cannot take it: {0}")]
    Brain(#[from] BrainError),
}

/// A campaign, ready for an engine and for people.
pub struct Prepared {
    /// For the engine.
    pub setup: SearchSetup,
    /// Its texts.
    pub bundle: Arc<Bundle>,
    /// What it searches; `None` for a single run.
    pub search: Option<Search>,
    /// Experiments at most.
    pub experiments: u32,
    /// Seed of its planner.
    pub seed: u64,
    /// Its texts, to be kept with its first record; `None` if they are.
    pub kept: Option<Document>,
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared").field("campaign", &self.setup.machine.id).finish_non_exhaustive()
    }
}

/// Name in its file of the campaign of a bundle, or of the protocol of a single run.
pub fn name_of(bundle: &Bundle) -> String {
    match (&bundle.campaign, &bundle.protocol) {
        (Some(campaign), _) => campaign.name.value.clone(),
        (None, Some(protocol)) => protocol.name.value.clone(),
        (None, None) => "run".to_owned(),
    }
}

impl Prepared {
    /// A campaign, or a single run as a campaign of one experiment, that begins now as `id`.
    pub fn new(bundle: Arc<Bundle>, wish: &Wish, id: String) -> Result<Prepared, PrepareError> {
        let name = name_of(&bundle);
        let kept = Document::new("bundle", bundle.to_kept());
        let declared = bundle.campaign.clone();
        let (parts, seed, parameters) = match &declared {
            Some(declared) => {
                if !wish.set.is_empty() {
                    let why = "--set is for protocols; a campaign has `fixed:`";
                    return Err(PrepareError::Wish(why.to_owned()));
                }
                let seed =
                    wish.seed.or(declared.planner.seed.as_ref().map(|s| s.value)).unwrap_or(1);
                let rules = rules(declared, wish.experiments);
                (Parts::of_campaign(&bundle, declared, rules, seed)?, seed, BTreeMap::new())
            }
            None => {
                let parameters = parameters(&bundle, &wish.set).map_err(PrepareError::Wish)?;
                compiled(&bundle, &parameters).map_err(PrepareError::Compile)?;
                let parts = Parts::of_run(parameters.clone());
                (parts, wish.seed.unwrap_or(1), parameters)
            }
        };
        let begin = CampaignRecord::Started {
            name,
            bundle: kept.hash.clone(),
            seed,
            experiments: parts.rules.experiments,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            parameters,
            key: wish.key.clone(),
        };
        let machine = Campaign::new(id, parts.rules.clone());
        Ok(parts.prepared(bundle, machine, seed, Some(begin), Some(kept)))
    }

    /// A campaign of the journal that goes on, with the texts it was started with. One that is over
    /// and is not `reopened` only sees its last runs to their ends.
    pub fn again(
        bundle: Arc<Bundle>,
        found: CampaignHistory,
        reopened: bool,
    ) -> Result<Prepared, PrepareError> {
        let seed = found.seed;
        let mut parts = match bundle.campaign.clone() {
            Some(declared) => {
                let rules = rules(&declared, Some(found.experiments));
                Parts::of_campaign(&bundle, &declared, rules, seed)?
            }
            None => Parts::of_run(found.parameters),
        };
        let mut machine = found.machine;
        machine.rules = parts.rules.clone();
        parts.brain.restore(&machine.experiments)?;
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let goes_on = reopened || machine.ended.is_none();
        let begin = goes_on.then_some(CampaignRecord::Resumed { version });
        Ok(parts.prepared(bundle, machine, seed, begin, None))
    }

    /// What a campaign under way goes on with after a change of its texts, or of what its planner
    /// learns from. `experiments`: at most so many, if not those of its texts.
    pub fn anew(
        bundle: Arc<Bundle>,
        mut machine: Campaign,
        experiments: Option<u32>,
    ) -> Result<Prepared, PrepareError> {
        let seed = machine.seed;
        let declared = bundle.campaign.clone().ok_or(PrepareError::Texts)?;
        let rules = rules(&declared, experiments);
        let mut parts = Parts::of_campaign(&bundle, &declared, rules, seed)?;
        machine.rules = parts.rules.clone();
        parts.brain.restore(&machine.experiments)?;
        Ok(parts.prepared(bundle, machine, seed, None, None))
    }
}

/// What a campaign is made of but for its state.
struct Parts {
    rules: Rules,
    brain: Box<dyn Brain>,
    search: Option<Search>,
    goal: Goal,
    terms: Terms,
}

impl Parts {
    fn of_campaign(
        bundle: &Bundle,
        declared: &spec::Campaign,
        rules: Rules,
        seed: u64,
    ) -> Result<Parts, PrepareError> {
        let search = campaign::check(bundle).value.ok_or(PrepareError::Texts)?;
        let initial = declared.planner.initial.as_ref().map(|i| i.value);
        let brain = CampaignBrain::new(search.clone(), seed, initial)?
            .leaving_out_failures(declared.on_failed_run.leave_out);
        let priority = i32::from(rules.priority);
        Ok(Parts {
            rules,
            brain: Box::new(brain),
            goal: goal(&search),
            search: Some(search),
            terms: Terms {
                in_doubt: Some(match declared.in_doubt {
                    spec::InDoubt::Discard => InDoubt::Discard,
                    spec::InDoubt::Ask => InDoubt::Ask,
                }),
                priority,
            },
        })
    }

    /// A single run is a campaign of one experiment: it is resumed like one.
    fn of_run(parameters: BTreeMap<String, Value>) -> Parts {
        Parts {
            rules: single_rules(),
            brain: Box::new(SinglePoint::new(parameters)),
            search: None,
            goal: Box::new(|_: &[Experiment]| None),
            terms: Terms { in_doubt: Some(InDoubt::Ask), ..Terms::default() },
        }
    }

    fn prepared(
        self,
        bundle: Arc<Bundle>,
        machine: Campaign,
        seed: u64,
        begin: Option<CampaignRecord>,
        kept: Option<Document>,
    ) -> Prepared {
        let objectives =
            self.search.iter().flat_map(|s| &s.objectives).map(|o| o.result.clone()).collect();
        let experiments = self.rules.experiments;
        let setup = SearchSetup {
            machine,
            brain: self.brain,
            compile: compiler(&bundle, self.search.as_ref()),
            goal: self.goal,
            objectives,
            terms: self.terms,
            begin,
        };
        Prepared { setup, bundle, search: self.search, experiments, seed, kept }
    }
}

impl History {
    /// Campaigns that an engine takes up: those that are open, and those that are over with a run
    /// that is not. `named`: this one even if it is over, and of the others only those that have
    /// a run under way, for no run is left behind.
    pub fn to_take_up(&self, named: Option<&str>) -> Vec<&CampaignHistory> {
        let under_way = |c: &CampaignHistory| {
            let mut runs = c.machine.experiments.iter().flat_map(|e| &e.runs);
            runs.any(|r| self.runs.get(&r.run).is_some_and(|run| run.ending.is_none()))
        };
        self.campaigns
            .iter()
            .filter(|c| match named {
                Some(id) if c.machine.id == id => true,
                Some(_) => under_way(c),
                None => c.machine.ended.is_none() || under_way(c),
            })
            .collect()
    }
}

/// Compiles the protocol of a bundle for one set of parameters. What lies outside of the space is
/// not compiled, whoever proposed it: an edit may have narrowed the space since.
fn compiler(bundle: &Arc<Bundle>, search: Option<&Search>) -> Compile {
    let bundle = Arc::clone(bundle);
    let axes = search.map(|search| search.axes.clone()).unwrap_or_default();
    Box::new(move |parameters| {
        let outside = axes.iter().find_map(|axis| {
            let value = parameters.get(&axis.name)?;
            (!axis.holds(value)).then(|| format!("{} = {}", axis.name, value.show()))
        });
        match outside {
            Some(what) => Err(format!("{what} lies outside of the space of the campaign")),
            None => compiled(&bundle, parameters),
        }
    })
}

fn compiled(bundle: &Bundle, parameters: &BTreeMap<String, Value>) -> Result<Arc<Graph>, String> {
    let (Some(protocol), Some(lab)) = (&bundle.protocol, &bundle.lab) else {
        return Err("there is no protocol or no lab".to_owned());
    };
    let pins = bundle.campaign.as_ref().map(|c| c.roles.as_slice()).unwrap_or_default();
    let checked = compile(Request {
        sources: &bundle.sources,
        protocol,
        lab,
        definitions: &bundle.definitions,
        protocols: &bundle.protocols,
        pins,
        parameters,
        ranges: &BTreeMap::new(),
    });
    match checked.value {
        Some(graph) => Ok(Arc::new(graph)),
        None => {
            let wrong: Vec<String> =
                checked.report.diagnostics.iter().map(|d| d.message.clone()).collect();
            Err(wrong.join("; "))
        }
    }
}

/// Bounds of a campaign.
fn rules(campaign: &spec::Campaign, experiments: Option<u32>) -> Rules {
    Rules {
        experiments: experiments
            .or(campaign.budget.experiments.as_ref().map(|e| e.value))
            .unwrap_or(EXPERIMENTS),
        time: campaign.budget.time.as_ref().map(|t| t.value),
        parallel: campaign.parallel.as_ref().map_or(1, |p| p.value),
        batch: campaign.planner.batch.as_ref().map_or(1, |b| b.value),
        replicates: campaign.replicates.as_ref().map_or(1, |r| r.value),
        pause_after: campaign.on_failed_run.pause_after.as_ref().map_or(PAUSE_AFTER, |p| p.value),
        failures: campaign.on_failed_run.budget.as_ref().map(|b| b.value),
        priority: campaign.priority.as_ref().map_or(0, |p| u8::try_from(p.value).unwrap_or(0)),
    }
}

/// Bounds of a single run. A lost sample is not measured again unasked.
fn single_rules() -> Rules {
    Rules { experiments: 1, ..Rules::unbounded() }
}

/// Values given with `--set`, as the protocol's parameters want them; the middle of the range for
/// parameters without value and default.
pub fn parameters(bundle: &Bundle, set: &[String]) -> Result<BTreeMap<String, Value>, String> {
    let Some(protocol) = &bundle.protocol else { return Ok(BTreeMap::new()) };
    let mut values = BTreeMap::new();
    for text in set {
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| format!("--set {text}: write --set name=\"value unit\""))?;
        let Some(spec) = protocol.parameter(name.trim()) else {
            let known: Vec<&str> =
                protocol.parameters.iter().map(|p| p.name.value.as_str()).collect();
            return Err(format!(
                "--set {name}: the protocol has no such parameter; it has {}",
                known.join(", ")
            ));
        };
        let value = value.trim();
        let parsed = match &spec.kind {
            ValueType::Quantity { .. } | ValueType::Number | ValueType::Integer => {
                let q = Quantity::parse(value).map_err(|e| match &e.suggestion {
                    Some(s) => format!("--set {name}: {e}; write for example {s}"),
                    None => format!("--set {name}: {e}"),
                })?;
                Value::Quantity(q)
            }
            ValueType::Bool => Value::Bool(value == "true"),
            ValueType::Choice { .. } | ValueType::Text => Value::text(value),
        };
        values.insert(spec.name.value.clone(), parsed);
    }
    for spec in &protocol.parameters {
        if values.contains_key(&spec.name.value) {
            continue;
        }
        let value = match (&spec.default, &spec.min, &spec.max) {
            (Some(default), ..) => default.expr.constant(),
            (None, Some(min), Some(max)) => {
                let middle = 0.5 * (min.value.value + max.value.value);
                let whole = spec.kind == ValueType::Integer;
                let value = if whole { middle.round() } else { middle };
                Some(Value::Quantity(Quantity { value, ..min.value }))
            }
            _ => match &spec.kind {
                ValueType::Choice { options } => options.first().map(|o| Value::text(&o.value)),
                _ => None,
            },
        };
        match value {
            Some(value) => {
                values.insert(spec.name.value.clone(), value);
            }
            None => {
                return Err(format!("give a value with --set {}=...", spec.name.value));
            }
        }
    }
    Ok(values)
}
