//! `labloop replay`: every decision in the journal, derived again.

use std::fmt::Write as _;

use serde_json::json;

use super::args::ReplayJournalArgs;
use super::{Exit, output};
use crate::engine::core::{Difference, Event, Record};
use crate::engine::shell::{CampaignDifference, Replayed, replay};
use crate::store::Journal;

pub(super) fn run(args: &ReplayJournalArgs, json: bool) -> Exit {
    let replayed = Journal::open_read_only(&args.state.state).and_then(|journal| replay(&journal));
    let replayed = match replayed {
        Ok(replayed) => replayed,
        Err(error) => {
            output::error(error.to_string());
            return Exit::RunFailed;
        }
    };
    if json {
        output::data(&format!("{}\n", value(&replayed)));
    } else {
        output::say(text(&replayed));
    }
    if differs(&replayed) { Exit::RunFailed } else { Exit::Done }
}

fn text(replayed: &Replayed) -> String {
    let counted = &replayed.replay;
    let same = format!(
        "{} turns of runs with {} records, {} decisions of campaigns and {} proposed experiments",
        counted.turns, counted.records, replayed.decisions, replayed.proposals
    );
    let mut text = match (&replayed.difference, &replayed.campaign) {
        (Some(found), _) => format!(
            "{same} came out as the journal has them. Entry {} does not:\n  woken by: {}\n  \
             journal: {}\n  derived: {}",
            found.seq,
            woken(&found.event),
            shown(found.journal.as_deref()),
            shown(found.derived.as_deref()),
        ),
        (None, Some(found)) => format!(
            "{same} came out as the journal has them. Entry {} of campaign {} does not:\n  \
             journal: {}\n  derived: {}",
            found.seq, found.campaign, found.journal, found.derived,
        ),
        (None, None) => format!("Decided again: {same}. All as the journal has them."),
    };
    if differs(replayed) && replayed.version != env!("CARGO_PKG_VERSION") {
        // Writing into a text cannot fail.
        let _ = write!(
            text,
            "\nIt was decided by labloop {}, this is {}: look at it with that version first.",
            replayed.version,
            env!("CARGO_PKG_VERSION")
        );
    }
    if counted.believed > 0 {
        let _ = write!(
            text,
            "\n{} records are of a version that did not note what they rest on; they were \
             believed.",
            counted.believed
        );
    }
    text
}

fn differs(replayed: &Replayed) -> bool {
    replayed.difference.is_some() || replayed.campaign.is_some()
}

fn shown(record: Option<&Record>) -> String {
    match record {
        Some(record) => serde_json::to_string(record)
            .unwrap_or_else(|why| format!("a record that cannot be written down ({why})")),
        None => "nothing".to_owned(),
    }
}

/// What woke the core, for people.
fn woken(event: &Event) -> String {
    match event {
        Event::StartRun { run, .. } => format!("run {run} begins"),
        Event::Outcome { run, attempt, .. } => {
            format!("the outcome of attempt {attempt} of a step of run {run}")
        }
        Event::Witnessed { run, .. } => format!("a witness of a step of run {run} was read"),
        Event::Analysed { run, .. } => format!("an analysis of run {run} ended"),
        Event::Sample { instrument, property, .. } => {
            format!("{property} of {instrument} was read")
        }
        Event::LinkLost { instrument } => format!("the link to {instrument} was lost"),
        Event::LinkUp { instrument } => format!("{instrument} was connected"),
        Event::Answer { run, path, answer, by, .. } => {
            format!("{by} answered `{answer}` to {path} of run {run}")
        }
        Event::MadeSafe { run, instrument, confirmed, .. } => {
            let how = if *confirmed { "confirmed" } else { "did not confirm" };
            format!("{instrument} {how} its safe state, for run {run}")
        }
        Event::Command { run, command, by } => format!("{by} commanded {} {run}", command.as_str()),
        Event::AtHold { run, instrument, confirmed, .. } => {
            let how = if *confirmed { "confirmed" } else { "did not confirm" };
            format!("{instrument} {how} its hold state, for run {run}")
        }
        Event::Taken { instrument, by } => format!("{by} took {instrument}"),
        Event::Given { instrument } => format!("{instrument} was given back"),
        Event::Freed { instrument } => format!("{instrument} may be used again"),
        Event::HoldAll { cause, detail } => {
            format!("all runs are held by {}: {detail}", cause.as_str())
        }
        Event::Passed { cause } => format!("{} has passed", cause.as_str()),
        Event::Emergency { by, .. } => format!("{by} pressed the emergency stop"),
        Event::Recovered { downtime } => {
            format!("a new engine took over after {}", crate::engine::core::in_words(*downtime))
        }
        Event::Gap => "the engine had not been at work for a while".to_owned(),
        Event::InstrumentsLost => "the instruments of before are gone".to_owned(),
        Event::Wake => "time has passed".to_owned(),
    }
}

fn value(replayed: &Replayed) -> serde_json::Value {
    let difference = |difference: &Difference| {
        json!({
            "seq": difference.seq, "tick": difference.at.0, "event": difference.event,
            "journal": difference.journal, "derived": difference.derived,
        })
    };
    let campaign = |difference: &CampaignDifference| {
        json!({
            "seq": difference.seq, "campaign": difference.campaign,
            "journal": difference.journal, "derived": difference.derived,
        })
    };
    json!({
        "turns": replayed.replay.turns, "records": replayed.replay.records,
        "believed": replayed.replay.believed, "version": replayed.version,
        "decisions": replayed.decisions, "proposals": replayed.proposals,
        "campaign_difference": replayed.campaign.as_deref().map(campaign),
        "difference": replayed.difference.as_deref().map(difference),
    })
}
