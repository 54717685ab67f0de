//! `labloop run`: a campaign or a protocol, on instruments or simulators.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::args::RunArgs;
use super::launch::{Work, Worked, World};
use super::user::user;
use super::{Exit, check, interrupts, keep, launch, output, progress, summary};
use crate::compiler::campaign::Search;
use crate::compiler::{Bundle, check_bundle, first_guard};
use crate::engine::campaign::Campaign;
use crate::engine::core::{Core, InDoubt, Tick};
use crate::engine::shell::{
    Brain, CampaignBrain, EngineError, History, PrepareError, Prepared, Questions, Wish, name_of,
};
use crate::expr::Value;
use crate::store::{Durability, Journal, LockError, Lost, StateLock};

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

/// Nothing is begun before a person has cleared the emergency stop.
pub(super) fn stopped(stop: &crate::engine::shell::StopHistory) -> (Exit, String) {
    let why = format!(
        "the emergency stop that {} pressed was not cleared; look at the lab, then `labloop estop \
         --clear --by NAME`",
        stop.by
    );
    (Exit::Safety, why)
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
    let _lock = match StateLock::take(folder) {
        Ok(lock) => lock,
        Err(held @ LockError::Held { .. }) => {
            return super::submit::hand_over(args, bundle, held.to_string(), json);
        }
        Err(error) => return Err(usage(error)),
    };
    let lab_file = bundle.lab_file().map(PathBuf::from).ok_or_else(|| usage("there is no lab"))?;
    // For writing: an end that is damaged is mended before anything is decided on it.
    let journal = Journal::open(folder, Durability::Power).map_err(usage)?;
    let history = History::current(&journal, None).map_err(usage)?;
    let which = match journal.lost() {
        Some(Lost { from, to }) => Some(format!("entries {from} to {to}")),
        None if history.loss_unseen() => Some("entries".to_owned()),
        None => None,
    };
    if let Some(which) = which.as_ref().filter(|_| !args.accept_loss) {
        return Err((
            Exit::Safety,
            format!(
                "{which} were durable and are gone from the end of the journal: a run may have been \
                 under way that nobody knows of. Look at the lab, then say --accept-loss"
            ),
        ));
    }
    drop(journal);
    if let Some(open) = history.open_runs().next() {
        return Err(usage(format!(
            "run {} is not over: `labloop resume --state {}` goes on with it first",
            open.run,
            folder.display()
        )));
    }
    if let Some(stop) = &history.stopped {
        return Err(stopped(stop));
    }
    let id = history.next_id(&name_of(&bundle));
    let prepared = Prepared::new(Arc::new(bundle), &wish(args), id).map_err(refused)?;
    let (base, seed) = (after(&history), args.seed);
    launch::fits(&args.time).map_err(usage)?;
    let world = launch::world(&args.time, &lab_file, base, folder, seed)
        .map_err(|m| (Exit::Unreachable, m))?;
    let durability = world.durability();
    let journal = Journal::open(folder, durability).map_err(usage)?;
    let Prepared { setup, bundle, search, experiments, seed, kept } = prepared;
    let id = setup.machine.id.clone();
    let display = plan(search.as_ref(), &bundle, experiments, 0, world.speed());
    if !json && search.is_some() {
        output::say(format!(
            "Campaign {id}: {experiments} experiments at most, seed {seed}, {} time.",
            world.word()
        ));
    }
    let work = Work {
        bundle: Arc::clone(&bundle),
        state: folder.to_owned(),
        journal,
        durability,
        retention: keep::retention(&args.keep),
        core: Core::new(InDoubt::Ask, slack(&world)),
        observer: progress::observer(vec![(id.clone(), display, None)], json),
        seed,
        epoch: history.epoch + 1,
        resuming: false,
        unvouched: Vec::new(),
        disturbed: Vec::new(),
        before: history.last_engine(),
        away: None,
        left: history.left(),
        questions: Questions::default(),
        go_on: Vec::new(),
    };
    let (by, reason) = (args.by.clone().unwrap_or_else(user), args.reason.clone());
    let worked = launch::work(world, work, move |engine| {
        if let Some(lost) = which {
            engine.accept_loss(by, reason, lost)?;
        }
        kept.into_iter().for_each(|document| engine.keep(document));
        engine.add_campaign(setup)
    });
    finish(worked, &[Shown { id, bundle, search }], folder, json)
}

/// What the command line asks for beside the texts.
pub(super) fn wish(args: &RunArgs) -> Wish {
    Wish { set: args.set.clone(), seed: args.seed, experiments: args.experiments, key: None }
}

/// Why there is no campaign, with its exit code.
pub(super) fn refused(error: PrepareError) -> (Exit, String) {
    match error {
        PrepareError::Texts => (Exit::NotCompiled, String::new()),
        PrepareError::Compile(why) => (Exit::NotCompiled, why),
        other => usage(other),
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
    speed: Option<f64>,
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
        speed,
        units: units.collect(),
    }
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

/// A campaign whose end is shown.
pub(super) struct Shown {
    /// Campaign.
    pub(super) id: String,
    /// Its texts.
    pub(super) bundle: Arc<Bundle>,
    /// What it searched; `None` for a single run.
    pub(super) search: Option<Search>,
}

/// The end of an engine's work, for people and as an exit code: that of the campaign that ended
/// worst.
pub(super) fn finish(
    worked: Result<Worked, String>,
    shown: &[Shown],
    state: &Path,
    json: bool,
) -> Outcome {
    match worked.map_err(|m| (Exit::Unreachable, m))? {
        Worked::Unreachable(message) => Err((Exit::Unreachable, message)),
        Worked::Broke(EngineError::Brain(error)) => Err((Exit::RunFailed, error.to_string())),
        Worked::Broke(error @ EngineError::Lapsed(_)) => Err((Exit::RunFailed, error.to_string())),
        Worked::Broke(error) => Err((Exit::Safety, error.to_string())),
        Worked::Finished { finished, engine, interrupted } => {
            let mut exit = Exit::Done;
            let ended = shown.iter().filter_map(|one| Some((one, engine.campaign(&one.id)?)));
            for (one, campaign) in ended.clone() {
                show_end(campaign, one, state, json)?;
                exit = exit.worse(launch::exit_of(&finished, campaign, one));
            }
            interrupts::show(&interrupted, json);
            // What a person must look at is said last.
            for (one, campaign) in ended {
                summary::say_failures(campaign, one, state);
            }
            Ok(exit)
        }
    }
}

/// What a campaign or a single run brought.
pub(super) fn show_end(
    campaign: &Campaign,
    shown: &Shown,
    state: &Path,
    json: bool,
) -> Result<(), (Exit, String)> {
    match &shown.search {
        Some(search) if !json => print(campaign, search, &shown.bundle, state),
        Some(_) => {}
        None => {
            let runs = campaign.experiments.iter().flat_map(|e| &e.runs);
            if let Some(last) = runs.last() {
                report_run(state, &last.run, &shown.bundle, json)?;
            }
        }
    }
    Ok(())
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
