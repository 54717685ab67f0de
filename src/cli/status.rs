//! `labloop status`: what is going on, or was.

use serde_json::json;

use super::args::StatusArgs;
use super::export::person_json;
use super::live::{self, Engine};
use super::summary::{edits, ending_text, exclusion, quarantined, reason_text, remarks};
use super::{Exit, ask, now, output};
use crate::engine::campaign::{Conclusion, Wanted};
use crate::engine::shell::view::View;
use crate::engine::shell::{History, PersonHistory};
use crate::expr::Value;

pub(super) fn run(args: &StatusArgs, json: bool) -> Exit {
    let history = match History::look(&args.state.state) {
        Ok((_, history)) => history,
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
            Ok(view) => (Some(view), true),
            Err((_, message)) => {
                output::error(message);
                (None, true)
            }
        },
        Ok(Engine::None) => (None, false),
        Err(_) => (None, true),
    };
    let id = args.id.as_deref();
    if json {
        let value = as_json(&history, id, working, view.as_ref());
        output::data(&format!("{value:#}\n"));
        return Exit::Done;
    }
    output::data(&match &view {
        Some(view) => now::in_words(view, |name| wanted(id, name)),
        None if working => "An engine is at work.\n".to_owned(),
        None => "No engine is at work.\n".to_owned(),
    });
    output::data(&as_text(&history, id, working, view.is_some()));
    Exit::Done
}

fn wanted(id: Option<&str>, name: &str) -> bool {
    id.is_none_or(|id| id == name || name.strip_prefix(id).is_some_and(|r| r.starts_with('.')))
}

/// What the journal tells. `seen`: what is under way was told by the engine itself.
fn as_text(history: &History, id: Option<&str>, working: bool, seen: bool) -> String {
    let mut text = String::new();
    if let (Some(stop), false) = (&history.stopped, seen) {
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
    if !seen {
        text.push_str(&now::barred(&history.barred));
    }
    for campaign in history.campaigns.iter().filter(|c| wanted(id, &c.machine.id)) {
        let machine = &campaign.machine;
        let state = match (&machine.ended, working) {
            (Some(reason), _) => reason_text(reason),
            (None, true) if machine.wanted != Wanted::Run => {
                format!("{}, as {} wants it", machine.state(|_| false).as_str(), machine.wanted_by)
            }
            (None, true) => "running".to_owned(),
            (None, false) => "interrupted; `labloop resume` goes on".to_owned(),
        };
        text.push_str(&format!(
            "{}  {} of {} experiments concluded, since {}: {state}\n",
            machine.id,
            machine.concluded(),
            machine.experiments.len(),
            output::wall(campaign.wall_ms),
        ));
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
        for experiment in &machine.experiments {
            let outcome = match &experiment.conclusion {
                Some(Conclusion::Measured { results }) => results
                    .iter()
                    .map(|(name, value)| format!("{name} {value:.4}"))
                    .collect::<Vec<_>>()
                    .join(", "),
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
            text.push_str(&format!("  {:>3}  {outcome}{runs}\n", experiment.number));
            for remark in remarks(experiment) {
                text.push_str(&format!("       {remark}\n"));
            }
        }
    }
    for run in history.runs.values().filter(|r| wanted(id, &r.run)) {
        let in_campaign = history.campaigns.iter().any(|c| wanted(Some(&c.machine.id), &run.run));
        if in_campaign && run.ending.is_some() && id.is_none() {
            continue;
        }
        let state = match run.ending {
            Some(ending) => ending_text(ending, &run.cause),
            None => "open".to_owned(),
        };
        let took = output::duration(run.duration(history.last_tick).as_secs_f64());
        text.push_str(&format!("run {}  {state}, {took} of lab time\n", run.run));
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
    }
    for said in history.people.iter().filter(|p| p.is_about(id)) {
        text.push_str(&person(said));
    }
    for manual in history.manual.iter().filter(|m| wanted(id, &m.id)) {
        let step = &manual.step;
        let args: Vec<String> =
            step.args.iter().map(|(name, value)| format!("{name} = {}", plain(value))).collect();
        text.push_str(&format!(
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
        ));
    }
    text
}

fn as_json(
    history: &History,
    id: Option<&str>,
    working: bool,
    live: Option<&View>,
) -> serde_json::Value {
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
                "state": c.machine.state(|_| false).as_str(),
                "edits": edits(&c.machine),
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
                "commands": r.steps.len(),
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
    json!({
        "working": working, "live": live, "epoch": history.epoch, "campaigns": campaigns, "runs": runs,
        "manual": manual, "damage": history.damage, "not_confirmed_safe": history.barred,
        "people": history.people.iter().filter(|p| p.is_about(id)).map(person_json)
            .collect::<Vec<_>>(),
    })
}

/// What a person commanded or noted, on one line or more.
fn person(said: &PersonHistory) -> String {
    let about = match said.about.as_slice() {
        [] => String::new(),
        about => format!(" ({})", about.join(", ")),
    };
    let what = match (&said.command, said.text.as_str()) {
        (Some(command), "") => command.as_str().to_owned(),
        (Some(command), reason) => format!("{}: {reason}", command.as_str()),
        (None, text) => format!("note: {}", text.replace('\n', "\n    ")),
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
