//! What a live engine says of itself, for people.

use super::{ask, command, output};
use crate::engine::core::Cause;
use crate::engine::shell::view::{CampaignView, HoldView, RunView, View};

/// The whole of it, or what belongs to one run or campaign.
pub(super) fn in_words(view: &View, wanted: impl Fn(&str) -> bool) -> String {
    let speed = match view.speed == 1.0 {
        true => String::new(),
        false => format!(", {} lab seconds a second", view.speed),
    };
    let mut text = format!(
        "An engine is at work.\nprocess {}, labloop {}{speed}\n",
        view.process, view.version
    );
    if let Some(by) = &view.emergency_stop {
        text.push_str(&format!(
            "EMERGENCY STOP by {by}, not cleared: nothing is sent. Look at the lab, then `labloop \
             estop --clear --by NAME`.\n"
        ));
    }
    for instrument in &view.not_confirmed {
        text.push_str(&command::instrument_in_words(instrument));
    }
    for campaign in view.campaigns.iter().filter(|c| wanted(&c.campaign)) {
        text.push_str(&campaign_in_words(campaign));
    }
    for run in view.runs.iter().filter(|r| wanted(&r.run)) {
        text.push_str(&run_in_words(run));
    }
    for parked in view.parked.iter().filter(|p| wanted(&p.run)) {
        text.push_str(&format!("run {parked}\n"));
    }
    for question in view.questions.iter().filter(|q| wanted(&q.run)) {
        text.push_str(&format!("question {}", ask::in_words(question)));
    }
    let (ready, not_ready): (Vec<_>, Vec<_>) = view.instruments.iter().partition(|i| i.ready);
    if !view.instruments.is_empty() {
        text.push_str(&format!(
            "instruments: {} of {} ready\n",
            ready.len(),
            view.instruments.len()
        ));
    }
    for instrument in not_ready {
        text.push_str(&format!("  {} is not ready: {}\n", instrument.instrument, instrument.why));
    }
    text
}

fn campaign_in_words(campaign: &CampaignView) -> String {
    let by = campaign.by.as_ref().map_or(String::new(), |by| format!(" by {by}"));
    let planning = if campaign.planning { ", the planner is at work" } else { "" };
    format!(
        "campaign {}: {}{by}, {} of {} experiments concluded{planning}\n",
        campaign.campaign, campaign.state, campaign.concluded, campaign.experiments
    )
}

fn run_in_words(run: &RunView) -> String {
    let cause = if run.cause.is_empty() { String::new() } else { format!(", {}", run.cause) };
    let mut text = format!(
        "run {} ({}): {}{cause}, {} of lab time\n",
        run.run,
        run.protocol,
        run.state,
        output::duration(run.lab_s)
    );
    for hold in &run.holds {
        text.push_str(&hold_in_words(hold));
    }
    for step in &run.steps {
        let since = output::duration(step.lab_s);
        text.push_str(&format!("  {}  {}, {} for {since}\n", step.path, step.what, step.state));
    }
    if !run.making_safe.is_empty() {
        let names = run.making_safe.join(", ");
        text.push_str(&format!("  safe states are under way: {names}\n"));
    }
    for instrument in &run.not_confirmed {
        text.push_str(&format!("  {instrument}: NOT CONFIRMED SAFE: look at it now\n"));
    }
    text
}

/// A run as the last engine left it: nobody drives it now.
pub(super) fn left_in_words(run: &RunView) -> String {
    let cause = if run.cause.is_empty() { String::new() } else { format!(", {}", run.cause) };
    let mut text = format!(
        "run {} ({}): {} when the last engine ended{cause}, {} of lab time\n",
        run.run,
        run.protocol,
        run.state,
        output::duration(run.lab_s)
    );
    for hold in &run.holds {
        text.push_str(&hold_in_words(hold));
    }
    for step in &run.steps {
        let state = match step.state.as_str() {
            "sent" => "was under way, not known how it ended",
            "in doubt" => "in doubt, not known how it ended",
            "under way" => "was under way",
            "waits to start" => "waited to start",
            "failed" => "had failed",
            other => other,
        };
        text.push_str(&format!("  {}  {}: {state}\n", step.path, step.what));
    }
    if !run.making_safe.is_empty() {
        let names = run.making_safe.join(", ");
        text.push_str(&format!(
            "  safe states were under way, not known how they ended: {names}\n"
        ));
    }
    for instrument in &run.not_confirmed {
        text.push_str(&format!("  {instrument}: NOT CONFIRMED SAFE: look at it now\n"));
    }
    text
}

fn hold_in_words(hold: &HoldView) -> String {
    let detail = match hold.detail.as_str() {
        "" => String::new(),
        detail => format!(": {detail}"),
    };
    // Who says more than what, where somebody did it.
    let by = match hold.cause.as_str() {
        cause if cause == Cause::Person.as_str() => hold.by.clone(),
        cause if hold.by == crate::engine::core::ENGINE => cause.to_owned(),
        cause => format!("{cause} ({})", hold.by),
    };
    format!("  held for {} by {by}{detail}\n", output::duration(hold.lab_s))
}
