//! The end of a campaign in words: best point, how sure, how well calibrated, where the data are.

use std::path::Path;

use super::output;
use super::progress::significant;
use crate::engine::campaign::{Campaign, Conclusion, Edit, EndReason, Experiment, Verdict};
use crate::engine::core::Ending;

/// How a run ended, in words.
pub(super) fn ending_text(ending: Ending, cause: &str) -> String {
    match (ending, cause.is_empty()) {
        (Ending::Complete, _) | (_, true) => ending.as_str().to_owned(),
        (Ending::Invalid, false) => format!("invalid, the sample is discarded: {cause}"),
        (_, false) => format!("{}: {cause}", ending.as_str()),
    }
}

/// Why a campaign ended, in words.
pub(super) fn reason_text(reason: &EndReason) -> String {
    match reason {
        EndReason::Goal(condition) => format!("the goal is reached ({condition})"),
        EndReason::BudgetSpent(what) => format!("the budget is spent ({what})"),
        EndReason::SpaceExhausted(why) => format!("there is nothing left to try ({why})"),
        EndReason::Failures(count) => format!(
            "{count} experiments failed in a row; look at the lab, then `labloop resume` goes on"
        ),
        EndReason::FailureBudget { failed, allowed } => format!(
            "{failed} experiments failed, {allowed} are allowed (`on_failed_run.budget`); look at \
             the runs, then `labloop edit` raises it"
        ),
        EndReason::Person(who) => format!("{who}; `labloop resume` goes on"),
        EndReason::Internal(why) => why.clone(),
    }
}

/// The experiment with the best value of an objective.
pub(super) fn best<'a>(
    campaign: &'a Campaign,
    objective: &str,
    more_is_better: bool,
) -> Option<(&'a Experiment, f64)> {
    let mut best: Option<(&Experiment, f64)> = None;
    for experiment in &campaign.experiments {
        let Some(Conclusion::Measured { results }) = experiment.counts() else { continue };
        let Some(value) = results.get(objective).copied() else { continue };
        let better = best.is_none_or(|(_, b)| if more_is_better { value > b } else { value < b });
        if better {
            best = Some((experiment, value));
        }
    }
    best
}

/// Share of predicted experiments whose result lay in the central interval of that width.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Coverage {
    /// Experiments with a prediction and a result.
    pub predicted: usize,
    /// Within the central 50, 80 and 95 %.
    pub within: [usize; 3],
}

/// How often the predictions of one objective came true.
pub(super) fn coverage(campaign: &Campaign, objective: &str) -> Coverage {
    // Half-widths of central normal intervals of 50, 80 and 95 %, in sd.
    const HALF: [f64; 3] = [0.6745, 1.2816, 1.9600];
    let mut coverage = Coverage { predicted: 0, within: [0; 3] };
    for experiment in &campaign.experiments {
        let Some(Conclusion::Measured { results }) = &experiment.conclusion else { continue };
        let (Some(value), Some(p)) =
            (results.get(objective), experiment.hypothesis.predictions.get(objective))
        else {
            continue;
        };
        if p.sd <= 0.0 {
            continue;
        }
        coverage.predicted += 1;
        let z = ((value - p.mean) / p.sd).abs();
        for (count, half) in coverage.within.iter_mut().zip(HALF) {
            *count += usize::from(z <= half);
        }
    }
    coverage
}

/// Prints the end of a campaign for people.
pub(super) fn print(
    campaign: &Campaign,
    objective: Option<&(String, String, bool)>,
    show: impl Fn(&Experiment) -> String,
    surest: Option<String>,
    state: &Path,
) {
    let failed = super::launch::failed(campaign);
    let reruns: usize = campaign.experiments.iter().map(|e| e.runs.len().saturating_sub(1)).sum();
    output::say("");
    output::say(format!(
        "{}: {} experiments concluded, {failed} failed, {reruns} runs repeated.",
        campaign.id,
        campaign.concluded()
    ));
    if let Some((name, unit, more)) = objective {
        if let Some((experiment, value)) = best(campaign, name, *more) {
            output::say(format!(
                "Best measured: {name} {} {unit} in experiment {} ({}).",
                significant(value),
                experiment.number,
                show(experiment)
            ));
        }
        if let Some(surest) = surest {
            output::say(surest);
        }
        let c = coverage(campaign, name);
        if c.predicted > 0 {
            let part = |n: usize| format!("{n} of {}", c.predicted);
            output::say(format!(
                "Calibration: results fell into the predicted 50 / 80 / 95 % intervals in {} / {} / {} \
                 predictions.",
                part(c.within[0]),
                part(c.within[1]),
                part(c.within[2])
            ));
        }
        let tally =
            |v: Verdict| campaign.experiments.iter().filter(|e| e.verdict == Some(v)).count();
        output::say(format!(
            "Hypotheses: {} supported, {} refuted, {} inconclusive.",
            tally(Verdict::Supported),
            tally(Verdict::Refuted),
            tally(Verdict::Inconclusive)
        ));
    }
    output::say(format!(
        "The data: {}; `labloop export {} --state {}` writes them as a table.",
        state.join("journal.db").display(),
        campaign.id,
        state.display()
    ));
}

/// The last line of a campaign in which experiments failed: how many, why the last did, and where
/// to look.
pub(super) fn say_failures(campaign: &Campaign, shown: &super::run::Shown, state: &Path) {
    if shown.search.is_none() {
        return;
    }
    if let Some(line) = failures(campaign, state) {
        output::error(line);
    }
}

fn failures(campaign: &Campaign, state: &Path) -> Option<String> {
    let (failed, of) = (super::launch::failed(campaign), campaign.concluded());
    let last = campaign.experiments.iter().rev().find_map(|e| match &e.conclusion {
        Some(Conclusion::Failed { cause }) => Some((e.number, cause)),
        _ => None,
    });
    let (number, cause) = last?;
    let (id, state) = (&campaign.id, state.display());
    let count = match (failed, of) {
        (1, 1) => "the only experiment".to_owned(),
        (failed, of) if failed == of => format!("all {of} experiments"),
        (failed, of) => format!("{failed} of {of} experiments"),
    };
    Some(format!(
        "{count} of campaign {id} failed; experiment {number} because of: {cause}. `labloop status \
         {id} --state {state}` tells why each did, `labloop export {id} --what steps --state \
         {state}` what was sent"
    ))
}

/// What people and lost samples have done to an experiment: a line each.
pub(super) fn remarks(experiment: &Experiment) -> Vec<String> {
    let excluded = experiment.excluded.iter().map(|out| {
        format!("excluded by {}: {}; the planner does not learn from it", out.by, out.reason)
    });
    let lost = experiment.quarantined().map(|run| {
        format!("sample of run {} quarantined: {}; its results are not used", run.run, run.cause)
    });
    excluded.chain(lost).collect()
}

/// Who took an experiment out of what the planner learns from, for other programs.
pub(super) fn exclusion(experiment: &Experiment) -> serde_json::Value {
    experiment.excluded.as_ref().map_or(
        serde_json::Value::Null,
        |out| serde_json::json!({ "by": out.by, "reason": out.reason }),
    )
}

/// Runs of an experiment whose samples were lost or are in doubt, for other programs.
pub(super) fn quarantined(experiment: &Experiment) -> Vec<serde_json::Value> {
    let runs = experiment.quarantined();
    runs.map(|run| serde_json::json!({ "run": run.run, "cause": run.cause })).collect()
}

/// Changes of a campaign under way, for other programs.
pub(super) fn edits(campaign: &Campaign) -> Vec<serde_json::Value> {
    let edit = |e: &Edit| {
        serde_json::json!({
            "by": e.by, "reason": e.reason, "diff": e.diff, "after_experiment": e.after,
        })
    };
    campaign.edits.iter().map(edit).collect()
}
