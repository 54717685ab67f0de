//! `labloop resume`: the same campaign, the same run, at the step it had reached.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::args::{CommandArgs, ResumeArgs, Speed, StateArgs, TimeArgs};
use super::launch::{Work, World};
use super::live::{self, Engine};
use super::run::{Outcome, Shown, finish, plan, refused, slack, usage};
use super::user::user;
use super::{Exit, check, command, keep, launch, output, progress, summary};
use crate::compiler::Bundle;
use crate::engine::campaign::campaign_of;
use crate::engine::core::{Cause, Command, Core, InDoubt, RunState, Tick};
use crate::engine::shell::{
    CampaignHistory, Control, Disturbed, History, Passed, Prepared, SearchSetup, passed,
};
use crate::store::{Durability, Journal, Lost, StateLock};

pub(super) fn run(args: &ResumeArgs, json: bool) -> Exit {
    // With an engine at work it is a command like others; without one it starts one.
    if let Ok(Engine::Live(mut client)) = live::find(&args.state.state) {
        let command = CommandArgs {
            id: args.id.clone(),
            by: args.by.clone(),
            reason: args.reason.clone(),
            wait: args.wait,
            state: StateArgs { state: args.state.state.clone() },
        };
        return live::end(command::give(&mut client, Command::Resume, &command, json), json);
    }
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
    // For writing: an end that is damaged is mended before anything is decided on it.
    let journal = Journal::open(folder, Durability::Power).map_err(usage)?;
    let past = History::current(&journal, args.id.as_deref()).map_err(usage)?;
    // Instruments that did not confirm are told again; nothing else happens before it is cleared.
    if let Some(stop) = &past.stopped {
        let (_, why) = super::run::stopped(stop);
        output::error(format!("{why}. Then this goes on by itself; until then safe states only"));
    }
    let (wanted, reopened) = wanted(&past, args.id.as_deref())?;
    let mut texts = Texts::read(&journal, &wanted)?;
    drop(journal);
    if !texts.show() {
        return Ok(Exit::NotCompiled);
    }
    let Some((first, seed)) = texts.first() else { return Ok(Exit::Done) };
    let time = time_of(&args.time, &past);
    let lab_file = kept_lab(&first, folder)?;
    let (base, away) = now(&past, &time);
    launch::fits(&time).map_err(usage)?;
    let world = launch::world(&time, &lab_file, base, folder, Some(seed))
        .map_err(|m| (Exit::Unreachable, m))?;
    let durability = world.durability();
    let journal = Journal::open(folder, durability).map_err(usage)?;
    let mut core = Core::new(InDoubt::Ask, slack(&world));
    let history = History::recover(&journal, &mut core, args.id.as_deref()).map_err(usage)?;
    say_lost(&journal, &history, &world);
    let prepared = texts.prepare(&history, reopened.as_deref())?;
    // Runs that began before each kept its own rule follow that of the last campaign.
    if let Some(rule) = prepared.last().and_then(|last| last.setup.terms.in_doubt) {
        core.set_in_doubt(rule);
    }
    let displays = displays(&prepared, &world);
    if !json {
        for (id, display, _) in &displays {
            let under_way = core.open_runs().filter(|r| campaign_of(&r.id) == Some(id)).count();
            output::say(format!(
                "Campaign {id} goes on: {} of {} experiments concluded, {under_way} runs were \
                 under way.",
                display.done, display.experiments,
            ));
        }
    }
    let by = args.by.clone().unwrap_or_else(user);
    let disturbed = history.disturbed(&core);
    say_disturbed(&disturbed, &world);
    let stay = disturbed.iter().map(|one| one.run.clone()).chain(history.unvouched()).collect();
    let go_on = to_go_on(&core, &prepared, &stay, &by, &args.reason);
    let work = Work {
        bundle: first,
        state: folder.to_owned(),
        journal,
        durability,
        retention: keep::retention(&args.keep),
        core,
        observer: progress::observer(displays, json),
        seed,
        epoch: history.epoch + 1,
        resuming: true,
        unvouched: history.unvouched(),
        disturbed,
        before: history.last_engine(),
        away,
        left: history.left(),
        questions: history.asked,
        go_on,
    };
    let (setups, shown): (Vec<_>, Vec<_>) = prepared.into_iter().map(parted).unzip();
    let worked = launch::work(world, work, move |engine| {
        setups.into_iter().try_for_each(|setup| engine.add_campaign(setup))
    });
    finish(worked, &shown, folder, json)
}

/// What is gone from the end of the journal, and what it means.
fn say_lost(journal: &Journal, history: &History, world: &World) {
    let Some(Lost { from, to }) = journal.lost() else { return };
    output::error(format!(
        "entries {from} to {to} were durable and are gone from the end of the journal: nobody knows \
         what the instruments were told in them"
    ));
    let held = history.unvouched();
    if !held.is_empty() && !world.is_virtual() {
        output::error(format!(
            "look at the lab; {} stay{} held until you say `labloop resume RUN` (it stands as the \
             journal says) or `labloop abort RUN` (safe state, sample discarded)",
            held.join(", "),
            if held.len() == 1 { "s" } else { "" },
        ));
    }
}

/// Which runs do not go on by themselves, because of what their instruments were told meanwhile.
fn say_disturbed(disturbed: &[Disturbed], world: &World) {
    for Disturbed { run, by } in disturbed.iter().filter(|_| !world.is_virtual()) {
        output::error(format!(
            "{run} stays held: {by}, and what it goes on with may not hold any more. Set right what \
             it needs, then `labloop resume {run}`"
        ));
    }
}

/// What the engine and what people are told of a campaign.
fn parted(prepared: Prepared) -> (SearchSetup, Shown) {
    let Prepared { setup, bundle, search, .. } = prepared;
    let id = setup.machine.id.clone();
    (setup, Shown { id, bundle, search })
}

/// Campaigns that are taken up, and the one of them that goes on although it is over.
type Wanted = (Vec<CampaignHistory>, Option<String>);

/// Campaigns that are taken up. Without a name: all that are open, or else the last one. With a
/// name: that one, and those whose runs are under way, for no run is left behind.
fn wanted(past: &History, id: Option<&str>) -> Result<Wanted, (Exit, String)> {
    if let Some(id) = id
        && past.campaign_named(Some(id)).is_none()
    {
        return Err(usage(format!("there is no campaign `{id}` here; see `labloop status`")));
    }
    let mut found = past.to_take_up(id);
    let mut reopened = id.map(str::to_owned);
    if found.is_empty() {
        found.extend(past.campaign_named(None));
        reopened = found.first().map(|c| c.machine.id.clone());
    }
    if found.is_empty() {
        return Err(usage("there is no campaign here to resume"));
    }
    // What has ended with all its experiments has nothing left to try.
    let over = |c: &&CampaignHistory| {
        c.machine.ended.is_some()
            && c.machine.active_runs() == 0
            && c.machine.concluded() >= c.experiments as usize
    };
    for complete in found.iter().copied().filter(over) {
        let id = &complete.machine.id;
        output::say(format!("Campaign {id} is complete; there is nothing to resume in it."));
    }
    found.retain(|c| !over(c));
    Ok((found.into_iter().cloned().collect(), reopened))
}

/// Campaigns with the texts they were started with, whatever happened to the files since.
pub(super) struct Texts(pub(super) Vec<(String, u64, Arc<Bundle>)>);

impl Texts {
    /// Of no campaign.
    pub(super) fn none() -> Texts {
        Texts(Vec::new())
    }

    /// Reads the texts of campaigns and checks them.
    pub(super) fn read(
        journal: &Journal,
        wanted: &[CampaignHistory],
    ) -> Result<Texts, (Exit, String)> {
        let mut read: Vec<(String, u64, Arc<Bundle>)> = Vec::new();
        for found in wanted {
            let (id, hash) = (found.machine.id.clone(), &found.bundle);
            let text = journal
                .document(hash)
                .map_err(usage)?
                .ok_or_else(|| usage(format!("the texts {hash} of campaign {id} are missing")))?;
            let mut bundle = Bundle::from_kept(&text).map_err(usage)?;
            crate::compiler::check_bundle(&mut bundle);
            super::run::guarded(&bundle)?;
            read.push((id, found.seed, Arc::new(bundle)));
        }
        Ok(Texts(read))
    }

    /// Shows mistakes; false if there are any. Leaves campaigns of another lab than that of the
    /// last one alone: one engine has one lab.
    fn show(&mut self) -> bool {
        if !self.0.iter().all(|(_, _, bundle)| check::show(bundle)) {
            return false;
        }
        let Some((_, _, last)) = self.0.last().cloned() else { return true };
        self.0.retain(|(id, _, bundle)| match last.lab_difference(bundle) {
            None => true,
            Some(how) => {
                output::say(format!(
                    "Campaign {id} was started in another lab ({how}): `labloop resume {id}` goes \
                     on with it."
                ));
                false
            }
        });
        true
    }

    fn first(&self) -> Option<(Arc<Bundle>, u64)> {
        self.0.first().map(|(_, seed, bundle)| (Arc::clone(bundle), *seed))
    }

    /// Ready for the engine. `reopened`: this one goes on although it is over.
    pub(super) fn prepare(
        self,
        history: &History,
        reopened: Option<&str>,
    ) -> Result<Vec<Prepared>, (Exit, String)> {
        let mut prepared = Vec::new();
        for (id, _, bundle) in self.0 {
            let found = history
                .campaign_named(Some(&id))
                .cloned()
                .ok_or_else(|| usage(format!("campaign {id} is gone")))?;
            let reopened = reopened == Some(id.as_str());
            prepared.push(Prepared::again(bundle, found, reopened).map_err(refused)?);
        }
        Ok(prepared)
    }
}

/// What is shown of each campaign, with its best so far.
fn displays(prepared: &[Prepared], world: &World) -> Vec<(String, progress::Plan, Option<f64>)> {
    let display = |one: &Prepared| {
        let machine = &one.setup.machine;
        let best = one
            .search
            .as_ref()
            .and_then(|s| s.objectives.first())
            .and_then(|o| summary::best(machine, &o.result, o.maximize))
            .map(|(_, value)| value);
        let done = u32::try_from(machine.concluded()).unwrap_or(u32::MAX);
        let display = plan(one.search.as_ref(), &one.bundle, one.experiments, done, world.speed());
        (machine.id.clone(), display, best)
    };
    prepared.iter().map(display).collect()
}

/// What the person who resumes lets go on: what people had paused or held when the engine ended.
/// What else holds a run stays, until it has passed; and `stay` stay until each of them is named.
fn to_go_on(
    core: &Core,
    campaigns: &[Prepared],
    stay: &BTreeSet<String>,
    by: &str,
    reason: &str,
) -> Vec<Control> {
    let open = core.open_runs().filter(|run| !stay.contains(&run.id));
    let paused = open.filter(|run| match run.state() {
        RunState::Pausing | RunState::Paused => true,
        RunState::Holding | RunState::Held => run.holds.iter().all(|h| h.cause == Cause::Person),
        _ => run.paused,
    });
    let stays = |id: &str| stay.iter().any(|run| campaign_of(run) == Some(id));
    let told = campaigns.iter().map(|c| &c.setup.machine);
    let told = told.filter(|machine| machine.told_by().is_some() && !stays(&machine.id));
    let targets = told.map(|m| m.id.clone()).chain(paused.map(|run| run.id.clone()));
    let resume = |target| Control::Command {
        target: Some(target),
        command: Command::Resume,
        by: by.to_owned(),
        reason: reason.to_owned(),
    };
    targets.map(resume).collect()
}

/// As the last engine ran, unless said otherwise.
pub(super) fn time_of(given: &TimeArgs, past: &History) -> TimeArgs {
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
pub(super) fn now(past: &History, time: &TimeArgs) -> (Tick, Option<Passed>) {
    let Speed::Times(speed) = time.speed else {
        return (past.last_tick.after(Duration::from_millis(1)), None);
    };
    let passed = passed(past, past.speed);
    (passed.lab_time(past, speed), Some(passed))
}

/// The lab file for simulators: the kept text, written out, because the file may have changed.
pub(super) fn kept_lab(
    bundle: &Bundle,
    folder: &Path,
) -> Result<std::path::PathBuf, (Exit, String)> {
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
