//! `labloop run`: a campaign or a protocol, on instruments or simulators.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::args::RunArgs;
use super::launch::{Work, Worked, World};
use super::{Exit, check, launch, output, progress, summary};
use crate::compiler::campaign::Search;
use crate::compiler::graph::Graph;
use crate::compiler::{Bundle, Request, campaign, check_bundle, compile, first_guard};
use crate::engine::campaign::{Campaign, CampaignRecord, Experiment, Rules};
use crate::engine::core::{Core, InDoubt, Tick};
use crate::engine::shell::{
    Brain, CampaignBrain, Compile, EngineError, History, SinglePoint, goal,
};
use crate::expr::Value;
use crate::spec::campaign as spec;
use crate::store::{Document, Journal, StateLock};

/// Experiments of a campaign that does not say.
const EXPERIMENTS: u32 = 20;
/// Failed experiments in a row that pause a campaign that does not say.
const PAUSE_AFTER: u32 = 3;

pub(super) fn run(args: &RunArgs, json: bool) -> Exit {
    match start(args, json) {
        Ok(exit) => exit,
        Err((exit, message)) => {
            output::error(message);
            exit
        }
    }
}

/// Outcome of a command: an exit code, or one with a message.
pub(super) type Outcome = Result<Exit, (Exit, String)>;

pub(super) fn usage(message: impl ToString) -> (Exit, String) {
    (Exit::Usage, message.to_string())
}

/// Refuses a lab with interlocks: better no run than one that believes itself guarded.
pub(super) fn guarded(bundle: &Bundle) -> Result<(), (Exit, String)> {
    let guard = bundle.lab.as_ref().and_then(|lab| first_guard(lab, &bundle.sources));
    let Some((what, place)) = guard else { return Ok(()) };
    Err((
        Exit::NotCompiled,
        format!(
            "{}:{}:{}: {what} is checked, but this version does not evaluate it while a run goes \
             on, and a run that looks guarded and is not is worse than none. Remove it from the \
             lab and guard the hazard by hardware",
            place.file, place.line, place.column
        ),
    ))
}

fn start(args: &RunArgs, json: bool) -> Outcome {
    let mut bundle = Bundle::load(&args.document, args.lab.as_deref()).map_err(usage)?;
    check_bundle(&mut bundle);
    if !check::show(&bundle) {
        return Ok(Exit::NotCompiled);
    }
    guarded(&bundle)?;
    let folder = args.state.state.as_path();
    let _lock = StateLock::take(folder).map_err(usage)?;
    let lab_file = bundle.lab_file().map(Path::new).ok_or_else(|| usage("there is no lab"))?;
    let history = match Journal::open_read_only(folder) {
        Ok(journal) => History::read(&journal, None).map_err(usage)?,
        Err(_) => History::default(),
    };
    if let Some(open) = history.open_runs().next() {
        return Err(usage(format!(
            "run {} is not over: `labloop resume --state {}` goes on with it first",
            open.run,
            folder.display()
        )));
    }
    if let Some(stop) = &history.stopped {
        let why = format!(
            "the emergency stop that {} pressed was not cleared; look at the lab, then clear it",
            stop.by
        );
        return Err((Exit::Safety, why));
    }
    let base = after(&history);
    let seed = args.seed;
    let world = launch::world(&args.time, lab_file, base, folder, seed)
        .map_err(|m| (Exit::Unreachable, m))?;
    let journal = Journal::open(folder, world.durability()).map_err(usage)?;
    let bundle = Arc::new(bundle);
    let context = Context { bundle, history, journal, json };
    if context.bundle.campaign.is_some() {
        context.campaign(args, world)
    } else {
        context.protocol(args, world)
    }
}

/// Lab time to go on from: never before what the journal knows.
pub(super) fn after(history: &History) -> Tick {
    if history.last_tick == Tick(0) {
        Tick(0)
    } else {
        history.last_tick.after(Duration::from_secs(1))
    }
}

/// Compiles the protocol of a bundle for one set of parameters.
pub(super) fn compiler(bundle: &Arc<Bundle>) -> Compile {
    let bundle = Arc::clone(bundle);
    Box::new(move |parameters| compiled(&bundle, parameters))
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
pub(super) fn rules(campaign: &spec::Campaign, experiments: Option<u32>) -> Rules {
    Rules {
        experiments: experiments
            .or(campaign.budget.experiments.as_ref().map(|e| e.value))
            .unwrap_or(EXPERIMENTS),
        time: campaign.budget.time.as_ref().map(|t| t.value),
        parallel: campaign.parallel.as_ref().map_or(1, |p| p.value),
        batch: campaign.planner.batch.as_ref().map_or(1, |b| b.value),
        replicates: campaign.replicates.as_ref().map_or(1, |r| r.value),
        pause_after: campaign.on_failed_run.pause_after.as_ref().map_or(PAUSE_AFTER, |p| p.value),
    }
}

/// What a campaign says of doubts.
pub(super) fn in_doubt(campaign: Option<&spec::Campaign>) -> InDoubt {
    match campaign.map(|c| c.in_doubt) {
        Some(spec::InDoubt::Discard) => InDoubt::Discard,
        Some(spec::InDoubt::Ask) | None => InDoubt::Ask,
    }
}

/// Lab time that wires may take beyond the deadlines of steps: none but at a scaled clock.
pub(super) fn slack(world: &World) -> Duration {
    match world {
        World::Wires { clock, .. } if clock.speed() > 1.0 => {
            clock.lab_span(Duration::from_secs(10))
        }
        World::Wires { .. } | World::Virtual { .. } => Duration::ZERO,
    }
}

/// What the display needs to know.
pub(super) fn plan(
    search: Option<&Search>,
    bundle: &Bundle,
    experiments: u32,
    done: u32,
    world: &World,
) -> progress::Plan {
    let units = bundle.protocol.iter().flat_map(|p| &p.parameters).filter_map(|p| match &p.kind {
        crate::spec::ValueType::Quantity { unit } => {
            Some((p.name.value.clone(), unit.value.symbol.clone()))
        }
        _ => None,
    });
    progress::Plan {
        objective: search
            .and_then(|s| s.objectives.first())
            .map(|o| (o.result.clone(), o.unit.clone(), o.maximize)),
        experiments,
        done,
        speed: match world {
            World::Wires { clock, .. } => Some(clock.speed()),
            World::Virtual { .. } => None,
        },
        units: units.collect(),
    }
}

struct Context {
    bundle: Arc<Bundle>,
    history: History,
    journal: Journal,
    json: bool,
}

impl Context {
    fn campaign(self, args: &RunArgs, world: World) -> Outcome {
        let Some(declared) = self.bundle.campaign.clone() else { return Ok(Exit::Usage) };
        if !args.set.is_empty() {
            return Err(usage("--set is for protocols; a campaign has `fixed:`"));
        }
        let search =
            campaign::check(&self.bundle).value.ok_or((Exit::NotCompiled, String::new()))?;
        let seed = args.seed.or(declared.planner.seed.as_ref().map(|s| s.value)).unwrap_or(1);
        let initial = declared.planner.initial.as_ref().map(|i| i.value);
        let rules = rules(&declared, args.experiments);
        let id = self.history.next_id(&declared.name.value);
        let kept = Document::new("bundle", self.bundle.to_kept());
        let begin = CampaignRecord::Started {
            name: declared.name.value.clone(),
            bundle: kept.hash.clone(),
            seed,
            experiments: rules.experiments,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let brain = CampaignBrain::new(search.clone(), seed, initial).map_err(usage)?;
        let display = plan(Some(&search), &self.bundle, rules.experiments, 0, &world);
        if !self.json {
            output::say(format!(
                "Campaign {id}: {} experiments at most, seed {seed}, {} time.",
                rules.experiments,
                world.word()
            ));
        }
        let work = Work {
            bundle: Arc::clone(&self.bundle),
            state: args.state.state.clone(),
            journal: self.journal,
            core: Core::new(in_doubt(Some(&declared)), slack(&world)),
            observer: progress::observer(display, self.json, None),
            seed,
            epoch: self.history.epoch + 1,
            resuming: false,
            disk_low: self.history.disk_low,
            left: self.history.left(),
        };
        let machine = Campaign::new(id, rules);
        let compile = compiler(&self.bundle);
        let objectives = search.objectives.iter().map(|o| o.result.clone()).collect();
        let stop = goal(&search);
        let worked = launch::work(world, work, move |engine| {
            engine.keep(kept);
            engine.set_campaign(machine, Box::new(brain), compile, stop, objectives, begin)
        });
        finish(worked, &self.bundle, Some(&search), &args.state.state, self.json)
    }

    /// A single run is a campaign of one experiment: it is resumed like one.
    fn protocol(self, args: &RunArgs, world: World) -> Outcome {
        let parameters = launch::parameters(&self.bundle, &args.set).map_err(usage)?;
        let graph = compiled(&self.bundle, &parameters).map_err(|m| (Exit::NotCompiled, m))?;
        let id = self.history.next_id(&graph.protocol);
        let seed = args.seed.unwrap_or(1);
        let rules = single_rules();
        let kept = Document::new("bundle", self.bundle.to_kept());
        let begin = CampaignRecord::Started {
            name: graph.protocol.clone(),
            bundle: kept.hash.clone(),
            seed,
            experiments: rules.experiments,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let work = Work {
            bundle: Arc::clone(&self.bundle),
            state: args.state.state.clone(),
            journal: self.journal,
            core: Core::new(InDoubt::Ask, slack(&world)),
            observer: progress::observer(plan(None, &self.bundle, 1, 0, &world), self.json, None),
            seed,
            epoch: self.history.epoch + 1,
            resuming: false,
            disk_low: self.history.disk_low,
            left: self.history.left(),
        };
        let machine = Campaign::new(id, rules);
        let compile = compiler(&self.bundle);
        let brain = SinglePoint::new(parameters);
        let worked = launch::work(world, work, move |engine| {
            engine.keep(kept);
            let no_goal = Box::new(|_: &[Experiment]| None);
            engine.set_campaign(machine, Box::new(brain), compile, no_goal, Vec::new(), begin)
        });
        finish(worked, &self.bundle, None, &args.state.state, self.json)
    }
}

/// Bounds of a single run. A lost sample is not measured again unasked.
pub(super) fn single_rules() -> Rules {
    Rules { experiments: 1, time: None, parallel: 1, batch: 1, replicates: 1, pause_after: 0 }
}

/// Results of a single run, as data, in the units the protocol reports them in.
fn report_run(state: &Path, run: &str, bundle: &Bundle, json: bool) -> Result<(), (Exit, String)> {
    let journal = Journal::open_read_only(state).map_err(usage)?;
    let history = History::read(&journal, None).map_err(usage)?;
    let Some(found) = history.runs.get(run) else { return Ok(()) };
    if json {
        let value = serde_json::json!({
            "run": run, "ending": found.ending, "cause": found.cause, "results": found.results,
        });
        output::data(&format!("{value}\n"));
        return Ok(());
    }
    if let Some(ending) = found.ending {
        output::say(format!("Run {run} {}.", summary::ending_text(ending, &found.cause)));
    }
    for (name, value) in &found.results {
        let declared = bundle.protocol.iter().flat_map(|protocol| &protocol.results);
        let unit = declared.filter(|r| r.name.value == *name).find_map(|r| r.unit.as_ref());
        let shown = match (value.as_quantity(), unit) {
            // A plain number stands alone.
            (Some(q), Some(unit)) if unit.value.symbol != "1" => q.display_in(&unit.value),
            _ => value.show(),
        };
        output::data(&format!("{name} = {shown}\n"));
    }
    Ok(())
}

/// The end of an engine's work, for people and as an exit code.
pub(super) fn finish(
    worked: Result<Worked, String>,
    bundle: &Bundle,
    search: Option<&Search>,
    state: &Path,
    json: bool,
) -> Outcome {
    match worked.map_err(|m| (Exit::Unreachable, m))? {
        Worked::Unreachable(message) => Err((Exit::Unreachable, message)),
        Worked::Broke(EngineError::Brain(error)) => Err((Exit::RunFailed, error.to_string())),
        Worked::Broke(error) => Err((Exit::Safety, error.to_string())),
        Worked::Finished(finished, engine) => {
            match (engine.campaign(), search) {
                (Some(campaign), Some(search)) if !json => print(campaign, search, bundle, state),
                (Some(campaign), None) => {
                    let runs = campaign.experiments.iter().flat_map(|e| &e.runs);
                    if let Some(last) = runs.last() {
                        report_run(state, &last.run, bundle, json)?;
                    }
                }
                _ => {}
            }
            let has_goal =
                search.is_some_and(|s| !(s.stop_any.is_empty() && s.stop_all.is_empty()));
            Ok(launch::exit_of(&finished, has_goal, search.is_none()))
        }
    }
}

fn print(campaign: &Campaign, search: &Search, bundle: &Bundle, state: &Path) {
    let show = |parameters: &BTreeMap<String, Value>| {
        search
            .axes
            .iter()
            .filter_map(|axis| {
                let value = parameters.get(&axis.name)?;
                let shown = match value.as_quantity().and_then(|q| q.in_unit(&axis.unit)) {
                    Some(number) => {
                        format!("{} {}", progress::significant(number), axis.unit.symbol)
                    }
                    None => value.show(),
                };
                Some(format!("{} {}", axis.name, shown.trim_end()))
            })
            .collect::<Vec<_>>()
            .join(", ")
    };
    let objective =
        search.objectives.first().map(|o| (o.result.clone(), o.unit.clone(), o.maximize));
    let surest = surest(campaign, search, bundle).map(|(parameters, predicted)| {
        let name = objective.as_ref().map(|o| o.0.as_str()).unwrap_or_default();
        let unit = objective.as_ref().map(|o| o.1.as_str()).unwrap_or_default();
        format!(
            "The model expects the best at {}: {name} {:.1} ± {:.1} {unit} (95 %).",
            show(&parameters),
            predicted.mean,
            1.96 * predicted.sd
        )
    });
    summary::print(campaign, objective.as_ref(), |e| show(&e.hypothesis.parameters), surest, state);
}

/// Where the model, told everything, expects the best.
fn surest(
    campaign: &Campaign,
    search: &Search,
    bundle: &Bundle,
) -> Option<(BTreeMap<String, Value>, crate::engine::campaign::Predicted)> {
    let seed = bundle.campaign.as_ref()?.planner.seed.as_ref().map_or(1, |s| s.value);
    let mut brain = CampaignBrain::new(search.clone(), seed, None).ok()?;
    brain.restore(&campaign.experiments).ok()?;
    let (parameters, mut predictions) = brain.surest()?;
    let predicted = predictions.remove(&search.objectives.first()?.result)?;
    Some((parameters, predicted))
}
