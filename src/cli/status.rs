//! `labloop status`: what is going on, or was.

use std::collections::BTreeMap;

use serde_json::json;

use super::args::StatusArgs;
use super::export::person_json;
use super::live::{self, Engine};
use super::summary::{edits, ending_text, exclusion, quarantined, reason_text, remarks};
use super::withheld::Withheld;
use super::{Exit, ask, now, output};
use crate::compiler::Bundle;
use crate::engine::campaign::{Conclusion, Experiment, Wanted};
use crate::engine::core::Command;
use crate::engine::shell::view::{RunView, View};
use crate::engine::shell::{
    CampaignHistory, Deed, History, ManualHistory, PersonHistory, RunHistory, StepHistory,
    runs_left,
};
use crate::expr::Value;
use crate::store::Journal;

pub(super) fn run(args: &StatusArgs, json: bool) -> Exit {
    let (journal, history) = match History::look(&args.state.state) {
        Ok(found) => found,
        Err(error) => {
            output::error(error.to_string());
            return Exit::Usage;
        }
    };
    if let Some(id) = &args.id
        && history.campaign_named(Some(id)).is_none()
        && !history.runs.contains_key(id)
        && !history.manual.iter().any(|manual| manual.id == *id)
    {
        let known: Vec<&str> = history.campaigns.iter().map(|c| c.machine.id.as_str()).collect();
        output::error(format!("there is no campaign or run `{id}`; there is {}", known.join(", ")));
        return Exit::Usage;
    }
    output::damaged(&history.damage);
    // An engine that does not answer is told of; what the journal knows is shown all the same.
    let (view, working) = match live::find(&args.state.state) {
        Ok(Engine::Live(mut client)) => match live::view(&mut client) {
            Ok(mut view) => {
                say_why(&mut view.runs, &history);
                (Some(view), true)
            }
            Err((_, message)) => {
                output::error(message);
                (None, true)
            }
        },
        Ok(Engine::None) => (None, false),
        Err(_) => (None, true),
    };
    // What nobody drives is told from the journal; of one that is damaged what can be read.
    let left = match &view {
        Some(_) => Vec::new(),
        None => {
            let mut left = runs_left(&journal).unwrap_or_default();
            say_why(&mut left, &history);
            left
        }
    };
    let told = Told { journal: &journal, history: &history, working, view: view.as_ref(), left };
    let id = args.id.as_deref();
    if json {
        output::data(&format!("{:#}\n", as_json(&told, id)));
    } else {
        output::data(&as_text(&told, id));
    }
    Exit::Done
}

/// The reason that a person gave for a hold stands with what they commanded.
fn say_why(runs: &mut [RunView], history: &History) {
    for run in runs {
        for hold in run.holds.iter_mut().filter(|hold| hold.detail.is_empty()) {
            let said = history.people.iter().rev().find(|said| {
                said.deed == Deed::Command(Command::Hold)
                    && said.by == hold.by
                    && said.about.contains(&run.run)
            });
            hold.detail = said.map(|said| said.text.clone()).unwrap_or_default();
        }
    }
}

/// What there is to tell.
struct Told<'a> {
    journal: &'a Journal,
    history: &'a History,
    /// An engine is at work.
    working: bool,
    /// What it says.
    view: Option<&'a View>,
    /// Runs as the last engine left them, where none says anything.
    left: Vec<RunView>,
}

fn wanted(id: Option<&str>, name: &str) -> bool {
    id.is_none_or(|id| id == name || name.strip_prefix(id).is_some_and(|r| r.starts_with('.')))
}

fn as_text(told: &Told<'_>, id: Option<&str>) -> String {
    let history = told.history;
    let mut text = match told.view {
        Some(view) => now::in_words(view, |name| wanted(id, name)),
        None if told.working => "An engine is at work.\n".to_owned(),
        None => nobody(told, id),
    };
    text.push_str(&Withheld::of(history, told.view).in_words());
    for campaign in history.campaigns.iter().filter(|c| wanted(id, &c.machine.id)) {
        text.push_str(&campaign_in_words(campaign, told));
    }
    for run in history.runs.values().filter(|r| wanted(id, &r.run)) {
        text.push_str(&run_in_words(run, told, id));
    }
    for said in history.people.iter().filter(|p| p.is_about(id)) {
        text.push_str(&person(said));
    }
    for manual in history.manual.iter().filter(|m| wanted(id, &m.id)) {
        text.push_str(&manual_in_words(manual));
    }
    text
}

/// Nobody drives: what stands as the last engine left it, and that it stays so.
fn nobody(told: &Told<'_>, id: Option<&str>) -> String {
    let mut text = "No engine is at work".to_owned();
    match told.history.open_runs().count() {
        0 => text.push_str(": nobody is driving, and no run is open.\n"),
        runs => text.push_str(&format!(
            ": nobody is driving {}. Instruments are as they were left; `labloop resume` goes on.\n",
            if runs == 1 { "the run that is open".to_owned() } else { format!("{runs} open runs") }
        )),
    }
    if let Some(stop) = &told.history.stopped {
        text.push_str(&format!(
            "EMERGENCY STOP by {}, {}, not cleared: look at the lab, then `labloop estop --clear \
             --by NAME`\n",
            stop.by,
            output::wall(stop.wall_ms)
        ));
        for (instrument, why) in stop.safe.iter().filter_map(|(n, why)| Some((n, why.as_ref()?))) {
            text.push_str(&format!("  {instrument}: NOT CONFIRMED SAFE ({why})\n"));
        }
    }
    for run in told.left.iter().filter(|run| wanted(id, &run.run)) {
        text.push_str(&now::left_in_words(run));
    }
    text
}

fn campaign_in_words(campaign: &CampaignHistory, told: &Told<'_>) -> String {
    let machine = &campaign.machine;
    let state = match (&machine.ended, told.working) {
        (Some(reason), _) => reason_text(reason),
        (None, true) if machine.wanted != Wanted::Run => {
            format!("{}, as {} wants it", machine.state(|_| false).as_str(), machine.wanted_by)
        }
        (None, true) => "running".to_owned(),
        (None, false) => "interrupted; `labloop resume` goes on".to_owned(),
    };
    let mut text = format!(
        "{}  {} of {} experiments concluded, since {}: {state}\n",
        machine.id,
        machine.concluded(),
        machine.experiments.len(),
        output::wall(campaign.wall_ms),
    );
    for edit in &machine.edits {
        let why = if edit.reason.is_empty() { "" } else { ": " };
        let after = edit.after;
        text.push_str(&format!(
            "  edited by {} after experiment {after}{why}{}\n",
            edit.by, edit.reason
        ));
        for change in &edit.diff {
            text.push_str(&format!("    {change}\n"));
        }
    }
    let units = units(told.journal, campaign);
    for experiment in &machine.experiments {
        text.push_str(&experiment_in_words(experiment, &units));
    }
    text
}

fn experiment_in_words(experiment: &Experiment, units: &BTreeMap<String, String>) -> String {
    let outcome = match &experiment.conclusion {
        Some(Conclusion::Measured { results }) => {
            let shown = |(name, value): (&String, &f64)| match units.get(name) {
                Some(unit) => format!("{name} {value:.4} {unit}"),
                None => format!("{name} {value:.4}"),
            };
            results.iter().map(shown).collect::<Vec<_>>().join(", ")
        }
        Some(Conclusion::Failed { cause }) => format!("failed: {cause}"),
        None if experiment.runs.is_empty() => "waits".to_owned(),
        None => "under way".to_owned(),
    };
    let runs = match experiment.runs.len() {
        0 | 1 => String::new(),
        n => format!(" ({n} runs)"),
    };
    // What is excluded stays to be seen, struck out.
    let outcome = match &experiment.excluded {
        Some(_) => format!("~~{outcome}~~"),
        None => outcome,
    };
    let mut text = format!("  {:>3}  {outcome}{runs}\n", experiment.number);
    for remark in remarks(experiment) {
        text.push_str(&format!("       {remark}\n"));
    }
    text
}

/// Units of a campaign's results; none where its texts cannot be read any more.
fn units(journal: &Journal, campaign: &CampaignHistory) -> BTreeMap<String, String> {
    let text = journal.document(&campaign.bundle).ok().flatten().unwrap_or_default();
    let protocol = Bundle::from_kept(&text).ok().and_then(|bundle| bundle.protocol);
    let results = protocol.iter().flat_map(|protocol| &protocol.results);
    let unit = |result: &crate::spec::protocol::ResultDecl| {
        let unit = result.unit.as_ref()?.value.symbol.clone();
        (unit != "1").then(|| (result.name.value.clone(), unit))
    };
    results.filter_map(unit).collect()
}

fn run_in_words(run: &RunHistory, told: &Told<'_>, id: Option<&str>) -> String {
    let history = told.history;
    let of_one = |c: &CampaignHistory| wanted(Some(&c.machine.id), &run.run);
    if history.campaigns.iter().any(of_one) && run.ending.is_some() && id.is_none() {
        return String::new();
    }
    let mut text = String::new();
    // What is open was told already, by the engine or as the last one left it.
    let told_of = told.view.is_some() || told.left.iter().any(|left| left.run == run.run);
    if run.ending.is_some() || !told_of {
        let state = match run.ending {
            Some(ending) => ending_text(ending, &run.cause),
            None => "open".to_owned(),
        };
        let took = output::duration(run.duration(history.last_tick).as_secs_f64());
        text.push_str(&format!("run {}  {state}, {took} of lab time\n", run.run));
    }
    let seen = told.view.is_some();
    for question in history.asked.open.iter().filter(|q| q.run == run.run && !seen) {
        text.push_str(&format!("question {}", ask::in_words(question)));
    }
    if id.is_some() {
        for step in &run.steps {
            text.push_str(&format!(
                "  {:<40} {}.{} {}\n",
                step.path,
                step.instrument,
                step.action,
                if step.outcome.is_empty() { "in doubt" } else { &step.outcome },
            ));
        }
    }
    text
}

fn manual_in_words(manual: &ManualHistory) -> String {
    let step = &manual.step;
    let args: Vec<String> =
        step.args.iter().map(|(name, value)| format!("{name} = {}", plain(value))).collect();
    format!(
        "{}  {} by {}: {}.{} {}{}: {}\n",
        manual.id,
        output::wall(manual.wall_ms),
        manual.by,
        step.instrument,
        step.action,
        args.join(", "),
        manual.at.as_ref().map_or(String::new(), |at| format!(" at {at}")),
        if step.outcome.is_empty() {
            "in doubt, its outcome was never learnt"
        } else {
            &step.outcome
        },
    )
}

fn as_json(told: &Told<'_>, id: Option<&str>) -> serde_json::Value {
    let history = told.history;
    let campaigns: Vec<_> = history
        .campaigns
        .iter()
        .filter(|c| wanted(id, &c.machine.id))
        .map(|c| {
            let experiments: Vec<_> = c
                .machine
                .experiments
                .iter()
                .map(|e| {
                    json!({
                        "experiment": e.number,
                        "hypothesis": e.hypothesis,
                        "runs": e.runs.iter().map(|r| json!({
                            "run": r.run, "ending": r.ending, "cause": r.cause,
                            "results": r.results,
                        })).collect::<Vec<_>>(),
                        "conclusion": e.conclusion,
                        "verdict": e.verdict,
                        "excluded": exclusion(e),
                        "quarantined": quarantined(e),
                    })
                })
                .collect();
            json!({
                "campaign": c.machine.id, "name": c.name, "seed": c.seed,
                "started": output::wall(c.wall_ms), "ended": c.machine.ended,
                "state": c.machine.state(|_| false).as_str(), "wanted_by": c.machine.told_by(),
                "edits": edits(&c.machine), "units": units(told.journal, c),
                "experiments": experiments,
            })
        })
        .collect();
    let runs: Vec<_> = history
        .runs
        .values()
        .filter(|r| wanted(id, &r.run))
        .map(|r| {
            json!({
                "run": r.run, "ending": r.ending, "cause": r.cause, "graph": r.graph,
                "lab_seconds": r.duration(history.last_tick).as_secs_f64(),
                "results": r.results,
                "questions": history.asked.open.iter().filter(|q| q.run == r.run)
                    .collect::<Vec<_>>(),
                "commands": r.steps.len(), "steps": id.map(|_| steps_as_json(r)),
            })
        })
        .collect();
    let manual: Vec<_> = history
        .manual
        .iter()
        .filter(|m| wanted(id, &m.id))
        .map(|m| {
            json!({
                "id": m.id, "by": m.by, "when": output::wall(m.wall_ms), "at": m.at,
                "instrument": m.step.instrument, "action": m.step.action, "args": m.step.args,
                "outcome": m.step.outcome, "value": m.step.value,
            })
        })
        .collect();
    let withheld = Withheld::of(history, told.view);
    let left: Vec<_> = told.left.iter().filter(|run| wanted(id, &run.run)).collect();
    json!({
        "working": told.working, "live": told.view, "epoch": history.epoch,
        "left": left, "emergency_stop": stop_as_json(told),
        "campaigns": campaigns, "runs": runs, "manual": manual, "damage": history.damage,
        "not_confirmed_safe": history.barred, "instruments": withheld.as_json(),
        "loss_accepted": withheld.loss_as_json(),
        "people": history.people.iter().filter(|p| p.is_about(id)).map(person_json)
            .collect::<Vec<_>>(),
    })
}

/// Each command of a run, as the text has them when one is asked for by name.
fn steps_as_json(run: &RunHistory) -> Vec<serde_json::Value> {
    let step = |step: &StepHistory| {
        json!({
            "step": step.path, "attempt": step.attempt, "instrument": step.instrument,
            "action": step.action, "arguments": step.args,
            "outcome": if step.outcome.is_empty() { "in doubt" } else { &step.outcome },
        })
    };
    run.steps.iter().map(step).collect()
}

/// The emergency stop that was not cleared, as the journal has it.
fn stop_as_json(told: &Told<'_>) -> serde_json::Value {
    told.history.stopped.as_ref().map_or(serde_json::Value::Null, |stop| {
        let open = stop.safe.iter().filter_map(|(name, why)| Some((name, why.as_ref()?)));
        json!({
            "by": stop.by, "when": output::wall(stop.wall_ms),
            "not_confirmed": open.collect::<BTreeMap<_, _>>(),
        })
    })
}

/// What a person did, on one line or more.
fn person(said: &PersonHistory) -> String {
    let about = match said.about.as_slice() {
        [] => String::new(),
        about => format!(" ({})", about.join(", ")),
    };
    let what = match (said.deed, said.text.as_str()) {
        (deed, "") => deed.in_words().to_owned(),
        (Deed::Note, text) => format!("note: {}", text.replace('\n', "\n    ")),
        (Deed::Answer, text) => format!("answered {text}"),
        (deed, text) => format!("{}: {text}", deed.in_words()),
    };
    format!("{} {}{about} {what}\n", output::wall(said.wall_ms), said.by)
}

/// A value for a table.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::Missing(_) => String::new(),
        Value::Bool(b) => b.to_string(),
        Value::Text(text) => text.to_string(),
        Value::Quantity(quantity) => format!("{quantity}"),
        Value::Filed(filed) => format!("{}, in file {}", filed.show(), filed.sha256),
        Value::List(_) | Value::Record(_) | Value::Series(_) | Value::Array(_) => {
            serde_json::to_string(value).unwrap_or_default()
        }
    }
}
