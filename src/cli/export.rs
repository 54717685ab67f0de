//! `labloop export`: results, commands and telemetry for other programs.

use std::collections::BTreeSet;

use serde_json::json;

use super::args::{ExportArgs, ExportFormat, ExportWhat};
use super::instrument::trace as wire;
use super::status::plain;
use super::summary::{edits, exclusion, quarantined};
use super::{Exit, export_files, export_telemetry, output};
use crate::engine::campaign::{Conclusion, Experiment};
use crate::engine::shell::{CampaignHistory, Deed, History, PersonHistory, RunHistory};
use crate::store::Journal;

pub(super) fn run(args: &ExportArgs, json: bool) -> Exit {
    // `--json` everywhere means the same.
    let format = if json { ExportFormat::Json } else { args.format };
    match export(args, format) {
        Ok(text) => {
            output::data(&text);
            Exit::Done
        }
        Err(message) => {
            output::error(message);
            Exit::Usage
        }
    }
}

fn export(args: &ExportArgs, format: ExportFormat) -> Result<String, String> {
    if args.to.is_some() && args.what != ExportWhat::Files {
        return Err("--to belongs to --what files; everything else goes to stdout".to_owned());
    }
    let folder = &args.state.state;
    let (journal, history) = History::look(folder).map_err(|e| e.to_string())?;
    output::damaged(&history.damage);
    let id = args.id.as_deref();
    let campaign = history.campaign_named(id);
    let name = match (campaign, id) {
        (Some(campaign), _) => campaign.machine.id.clone(),
        (None, Some(id)) if history.runs.contains_key(id) => id.to_owned(),
        (None, Some(id)) => {
            return Err(format!("there is no campaign or run `{id}`; see `labloop status`"));
        }
        (None, None) => match history.runs.keys().next_back() {
            Some(run) => run.clone(),
            None => return Err("nothing has been run with this state folder".to_owned()),
        },
    };
    let runs: Vec<&RunHistory> = history
        .runs
        .values()
        .filter(|r| {
            r.run == name || r.run.strip_prefix(&name).is_some_and(|rest| rest.starts_with('.'))
        })
        .collect();
    match (args.what, format) {
        (ExportWhat::Experiments, format) => {
            let campaign = campaign.ok_or_else(|| {
                format!("`{name}` is a single run; export it with --what steps or --what telemetry")
            })?;
            Ok(match format {
                ExportFormat::Csv => experiments_csv(campaign),
                ExportFormat::Json => format!("{:#}\n", experiments_json(campaign, &journal)),
            })
        }
        (ExportWhat::Steps, ExportFormat::Csv) => Ok(steps_csv(&runs)),
        (ExportWhat::Steps, ExportFormat::Json) => Ok(format!("{:#}\n", steps_json(&runs))),
        (ExportWhat::Wire, format) => {
            let rows = wire::rows(&journal, &history, &name, None);
            Ok(match format {
                ExportFormat::Csv => wire_csv(&rows),
                ExportFormat::Json => {
                    let all: Vec<_> = rows.iter().map(wire::as_json).collect();
                    format!("{:#}\n", serde_json::Value::Array(all))
                }
            })
        }
        (ExportWhat::Telemetry, format) => {
            export_telemetry::export(folder, &history, &runs, format)
        }
        (ExportWhat::People, format) => {
            let said: Vec<_> = history.people.iter().filter(|p| p.is_about(Some(&name))).collect();
            Ok(match format {
                ExportFormat::Csv => people_csv(&said),
                ExportFormat::Json => {
                    let all: Vec<_> = said.into_iter().map(person_json).collect();
                    format!("{:#}\n", serde_json::Value::Array(all))
                }
            })
        }
        (ExportWhat::Files, format) => {
            export_files::export(&journal, &runs, format, args.to.as_deref())
        }
    }
}

fn people_csv(said: &[&PersonHistory]) -> String {
    let mut text = "when,by,command,about,text\n".to_owned();
    for person in said {
        let when = output::wall(person.wall_ms);
        let command = person.deed.as_str();
        let about = person.about.join(" ");
        let cells = [when.as_str(), &person.by, command, &about, &person.text];
        let cells: Vec<String> = cells.into_iter().map(output::csv_cell).collect();
        text.push_str(&cells.join(","));
        text.push('\n');
    }
    text
}

/// What a person did.
pub(super) fn person_json(person: &PersonHistory) -> serde_json::Value {
    json!({
        "when": output::wall(person.wall_ms), "by": person.by, "about": person.about,
        // A note commands nothing.
        "command": Some(person.deed.as_str()).filter(|_| person.deed != Deed::Note),
        "text": person.text,
    })
}

fn wire_csv(rows: &[wire::Row]) -> String {
    let mut text = "run,step,attempt,instrument,action,seconds,way,bytes,meaning\n".to_owned();
    for row in rows {
        let seconds = row.seconds.map_or(String::new(), |s| format!("{s:.6}"));
        let attempt = row.attempt.to_string();
        let cells = [
            &row.run,
            &row.step,
            &attempt,
            &row.instrument,
            &row.action,
            &seconds,
            &row.way.to_owned(),
            &row.bytes,
            &row.meaning,
        ];
        let cells: Vec<String> = cells.iter().map(|cell| output::csv_cell(cell)).collect();
        text.push_str(&cells.join(","));
        text.push('\n');
    }
    text
}

fn names<'a>(
    experiments: &'a [Experiment],
    of: impl Fn(&'a Experiment) -> Vec<&'a String>,
) -> Vec<&'a String> {
    experiments.iter().flat_map(of).collect::<BTreeSet<_>>().into_iter().collect()
}

fn experiments_csv(campaign: &CampaignHistory) -> String {
    let experiments = &campaign.machine.experiments;
    let parameters = names(experiments, |e| e.hypothesis.parameters.keys().collect());
    let results = names(experiments, |e| match &e.conclusion {
        Some(Conclusion::Measured { results }) => results.keys().collect(),
        _ => Vec::new(),
    });
    let predicted = names(experiments, |e| e.hypothesis.predictions.keys().collect());
    let mut header = vec!["experiment".to_owned(), "status".to_owned()];
    header.extend(parameters.iter().map(|n| (*n).clone()));
    header.extend(results.iter().map(|n| (*n).clone()));
    for name in &predicted {
        header.push(format!("{name}_predicted"));
        header.push(format!("{name}_predicted_sd"));
    }
    let last = ["verdict", "runs", "reason", "excluded", "quarantined"];
    header.extend(last.map(str::to_owned));
    let mut text = header.join(",") + "\n";
    for experiment in experiments {
        let (status, measured) = match &experiment.conclusion {
            Some(Conclusion::Measured { results }) => ("measured", Some(results)),
            Some(Conclusion::Failed { .. }) => ("failed", None),
            None => ("open", None),
        };
        let mut row = vec![experiment.number.to_string(), status.to_owned()];
        row.extend(
            parameters
                .iter()
                .map(|n| experiment.hypothesis.parameters.get(*n).map(plain).unwrap_or_default()),
        );
        row.extend(
            results
                .iter()
                .map(|n| measured.and_then(|m| m.get(*n)).map(f64::to_string).unwrap_or_default()),
        );
        for name in &predicted {
            let p = experiment.hypothesis.predictions.get(*name);
            row.push(p.map(|p| p.mean.to_string()).unwrap_or_default());
            row.push(p.map(|p| p.sd.to_string()).unwrap_or_default());
        }
        let verdict = experiment.verdict.and_then(|v| serde_json::to_value(v).ok());
        row.push(verdict.and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default());
        row.push(experiment.runs.len().to_string());
        row.push(experiment.hypothesis.reason.clone());
        let out = experiment.excluded.as_ref();
        row.push(out.map(|out| format!("by {}: {}", out.by, out.reason)).unwrap_or_default());
        let lost = experiment.quarantined().map(|run| format!("{}: {}", run.run, run.cause));
        row.push(lost.collect::<Vec<_>>().join("; "));
        text.push_str(&row.iter().map(|c| output::csv_cell(c)).collect::<Vec<_>>().join(","));
        text.push('\n');
    }
    text
}

fn experiments_json(campaign: &CampaignHistory, journal: &Journal) -> serde_json::Value {
    let experiments: Vec<_> = campaign
        .machine
        .experiments
        .iter()
        .map(|e| {
            json!({
                "experiment": e.number, "hypothesis": e.hypothesis, "conclusion": e.conclusion,
                "verdict": e.verdict, "excluded": exclusion(e), "quarantined": quarantined(e),
                "runs": e.runs.iter().map(|r| json!({
                    "run": r.run, "ending": r.ending, "cause": r.cause, "results": r.results,
                })).collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({
        "campaign": campaign.machine.id, "name": campaign.name, "seed": campaign.seed,
        "started": output::wall(campaign.wall_ms), "ended": campaign.machine.ended,
        "sources": campaign.bundle, "edits": edits(&campaign.machine), "journal_head": journal.head(), "experiments": experiments,
    })
}

fn steps_csv(runs: &[&RunHistory]) -> String {
    let mut text =
        "run,step,attempt,instrument,action,arguments,effect,start_s,end_s,outcome\n".to_owned();
    for run in runs {
        for step in &run.steps {
            let args: Vec<String> =
                step.args.iter().map(|(name, value)| format!("{name}={}", plain(value))).collect();
            let effect = serde_json::to_value(step.effect).ok();
            let row = [
                run.run.clone(),
                step.path.clone(),
                step.attempt.to_string(),
                step.instrument.clone(),
                step.action.clone(),
                args.join("; "),
                effect.and_then(|e| e.as_str().map(str::to_owned)).unwrap_or_default(),
                format!("{:.3}", step.at.since(run.started).as_secs_f64()),
                step.until
                    .map(|u| format!("{:.3}", u.since(run.started).as_secs_f64()))
                    .unwrap_or_default(),
                step.outcome.clone(),
            ];
            text.push_str(&row.iter().map(|c| output::csv_cell(c)).collect::<Vec<_>>().join(","));
            text.push('\n');
        }
    }
    text
}

fn steps_json(runs: &[&RunHistory]) -> serde_json::Value {
    runs.iter()
        .map(|run| {
            let steps: Vec<_> = run
                .steps
                .iter()
                .map(|s| {
                    json!({
                        "step": s.path, "attempt": s.attempt, "instrument": s.instrument,
                        "action": s.action, "arguments": s.args, "effect": s.effect,
                        "start_s": s.at.since(run.started).as_secs_f64(),
                        "end_s": s.until.map(|u| u.since(run.started).as_secs_f64()),
                        "outcome": s.outcome, "value": s.value,
                    })
                })
                .collect();
            json!({"run": run.run, "ending": run.ending, "graph": run.graph, "steps": steps})
        })
        .collect()
}
