//! `labloop resume`: the same campaign, the same run, at the step it had reached.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::args::{ResumeArgs, Speed, TimeArgs};
use super::launch::Work;
use super::run::{Outcome, compiler, finish, in_doubt, plan, rules, single_rules, slack, usage};
use super::{Exit, check, launch, output, progress, summary};
use crate::compiler::{Bundle, campaign};
use crate::engine::campaign::{CampaignRecord, Experiment};
use crate::engine::core::{Core, Tick};
use crate::engine::shell::{Brain, CampaignBrain, History, Passed, SinglePoint, goal, passed};
use crate::store::{Journal, StateLock};

pub(super) fn run(args: &ResumeArgs, json: bool) -> Exit {
    match resume(args, json) {
        Ok(exit) => exit,
        Err((exit, message)) => {
            output::error(message);
            exit
        }
    }
}

fn resume(args: &ResumeArgs, json: bool) -> Outcome {
    let folder = args.state.state.as_path();
    if !folder.join("journal.db").exists() {
        return Err(usage(format!(
            "there is nothing to resume in {}; name another folder with --state",
            folder.display()
        )));
    }
    let _lock = StateLock::take(folder).map_err(usage)?;
    let journal = Journal::open_read_only(folder).map_err(usage)?;
    let past = History::read(&journal, None).map_err(usage)?;
    let found = past.campaign_named(args.id.as_deref());
    let Some(found) = found else {
        return Err(usage(match &args.id {
            Some(id) => format!("there is no campaign `{id}` here; see `labloop status`"),
            None => "there is no campaign here to resume".to_owned(),
        }));
    };
    let (id, seed, hash) = (found.machine.id.clone(), found.seed, found.bundle.clone());
    let text = journal
        .document(&hash)
        .map_err(usage)?
        .ok_or_else(|| usage(format!("the texts {hash} of campaign {id} are missing")))?;
    drop(journal);
    // The texts it was started with, whatever happened to the files since.
    let mut bundle = Bundle::from_kept(&text).map_err(usage)?;
    crate::compiler::check_bundle(&mut bundle);
    if !check::show(&bundle) {
        return Ok(Exit::NotCompiled);
    }
    super::run::guarded(&bundle)?;
    let declared = bundle.campaign.clone();
    let search = match &declared {
        Some(_) => Some(campaign::check(&bundle).value.ok_or((Exit::NotCompiled, String::new()))?),
        None => None,
    };
    let rules = match &declared {
        Some(declared) => rules(declared, Some(found.experiments)),
        None => single_rules(),
    };
    if found.machine.concluded() >= rules.experiments as usize && past.open_runs().next().is_none()
    {
        output::say(format!("Campaign {id} is complete; there is nothing to resume."));
        return Ok(Exit::Done);
    }
    let time = time_of(&args.time, &past);
    let lab_file = kept_lab(&bundle, folder)?;
    let (base, away) = now(&past, &time);
    let world = launch::world(&time, &lab_file, base, folder, Some(seed))
        .map_err(|m| (Exit::Unreachable, m))?;
    let journal = Journal::open(folder, world.durability()).map_err(usage)?;
    let mut core = Core::new(in_doubt(declared.as_deref()), slack(&world));
    let history = History::read(&journal, Some(&mut core)).map_err(usage)?;
    let left = history.left();
    let Some(found) = history.campaigns.into_iter().find(|c| c.machine.id == id) else {
        return Err(usage(format!("campaign {id} is gone")));
    };
    let mut machine = found.machine;
    machine.rules = rules.clone();
    let mut brain: Box<dyn Brain> = match (&search, &declared) {
        (Some(search), Some(declared)) => {
            let initial = declared.planner.initial.as_ref().map(|i| i.value);
            Box::new(CampaignBrain::new(search.clone(), seed, initial).map_err(usage)?)
        }
        _ => Box::new(SinglePoint::new(BTreeMap::new())),
    };
    brain.restore(&machine.experiments).map_err(usage)?;
    let best = search
        .as_ref()
        .and_then(|s| s.objectives.first())
        .and_then(|o| summary::best(&machine, &o.result, o.maximize))
        .map(|(_, value)| value);
    let done = u32::try_from(machine.concluded()).unwrap_or(u32::MAX);
    let display = plan(search.as_ref(), &bundle, rules.experiments, done, &world);
    if !json {
        output::say(format!(
            "Campaign {id} goes on: {done} of {} experiments concluded, {} runs were under way.",
            rules.experiments,
            core.open_runs().count()
        ));
    }
    let bundle = Arc::new(bundle);
    let work = Work {
        bundle: Arc::clone(&bundle),
        state: folder.to_owned(),
        journal,
        core,
        observer: progress::observer(display, json, best),
        seed,
        epoch: history.epoch + 1,
        resuming: true,
        disk_low: history.disk_low,
        left,
    };
    let compile = compiler(&bundle);
    let objectives = search.iter().flat_map(|s| &s.objectives).map(|o| o.result.clone()).collect();
    let stop = match &search {
        Some(search) => goal(search),
        None => Box::new(|_: &[Experiment]| None),
    };
    let begin = CampaignRecord::Resumed { version: env!("CARGO_PKG_VERSION").to_owned() };
    let worked = launch::work(world, work, move |engine| {
        if let Some(away) = &away {
            engine.was_away(away)?;
        }
        engine.set_campaign(machine, brain, compile, stop, objectives, begin)
    });
    finish(worked, &bundle, search.as_ref(), folder, json)
}

/// As the last engine ran, unless said otherwise.
fn time_of(given: &TimeArgs, past: &History) -> TimeArgs {
    if given.simulate || given.speed != Speed::Times(1.0) {
        return TimeArgs { simulate: given.simulate, speed: given.speed };
    }
    match past.time.as_str() {
        "virtual" => TimeArgs { simulate: true, speed: Speed::Max },
        "simulated" => TimeArgs { simulate: true, speed: Speed::Times(past.speed) },
        _ => TimeArgs { simulate: false, speed: Speed::Times(past.speed) },
    }
}

/// Lab time now, on a clock that ran on since the last engine; a virtual clock stood still.
fn now(past: &History, time: &TimeArgs) -> (Tick, Option<Passed>) {
    let Speed::Times(speed) = time.speed else {
        return (past.last_tick.after(Duration::from_millis(1)), None);
    };
    let passed = passed(past, past.speed);
    (passed.lab_time(past, speed), Some(passed))
}

/// The lab file for simulators: the kept text, written out, because the file may have changed.
fn kept_lab(bundle: &Bundle, folder: &Path) -> Result<std::path::PathBuf, (Exit, String)> {
    let name = bundle.lab_file().ok_or_else(|| usage("the kept texts hold no lab"))?;
    let path = Path::new(name);
    if path.is_file() {
        return Ok(path.to_owned());
    }
    let text = bundle
        .sources
        .iter()
        .find(|s| *s.name == *name)
        .map(|s| s.text.to_string())
        .ok_or_else(|| usage("the kept texts hold no lab"))?;
    let copy = folder.join("lab.yaml");
    std::fs::write(&copy, text).map_err(usage)?;
    Ok(copy)
}
