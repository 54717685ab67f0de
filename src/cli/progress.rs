//! What a person sees while a campaign runs: one line that is redrawn on a terminal, plain lines
//! elsewhere, JSON lines with --json.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::Instant;

use super::output;
use super::summary::{ending_text, reason_text};
use crate::engine::campaign::{Conclusion, Hypothesis, Verdict};
use crate::engine::shell::{Observer, Progress};

/// What the display needs to know of the campaign.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// First objective, its unit and whether more is better.
    pub objective: Option<(String, String, bool)>,
    /// Experiments at most.
    pub experiments: u32,
    /// Experiments concluded before this engine began.
    pub done: u32,
    /// Lab seconds per wall second; `None` on a virtual clock.
    pub speed: Option<f64>,
    /// Units parameters are shown in.
    pub units: BTreeMap<String, String>,
}

/// What is shown of one campaign.
struct Shown {
    plan: Plan,
    best: Option<f64>,
    concluded: u32,
    began: Instant,
    began_at: u32,
    experiment: u32,
}

struct Display {
    live: bool,
    colour: bool,
    json: bool,
    /// A line stands that will be redrawn.
    drawn: bool,
    /// Instruments that were connected: only those can be lost.
    connected: BTreeSet<String>,
    campaigns: BTreeMap<String, Shown>,
    /// Lines name their campaign.
    several: bool,
}

/// An observer that writes to stderr (or JSON lines to stdout). `plans`: the campaigns shown, each
/// with its best so far.
pub(super) fn observer(plans: Vec<(String, Plan, Option<f64>)>, json: bool) -> Observer {
    let mut display = Display::new(plans, json);
    Box::new(move |progress| display.take(progress))
}

impl Display {
    fn new(plans: Vec<(String, Plan, Option<f64>)>, json: bool) -> Display {
        let shown = |(id, plan, best): (String, Plan, Option<f64>)| {
            let (concluded, began) = (plan.done, Instant::now());
            (id, Shown { best, concluded, began, began_at: plan.done, experiment: 0, plan })
        };
        let campaigns: BTreeMap<String, Shown> = plans.into_iter().map(shown).collect();
        Display {
            live: output::terminal() && !json,
            colour: output::colour(),
            json,
            drawn: false,
            connected: BTreeSet::new(),
            several: campaigns.len() > 1,
            campaigns,
        }
    }

    fn take(&mut self, progress: &Progress) {
        let id = progress.campaign().unwrap_or_default().to_owned();
        if self.json {
            if let Some(mut line) = as_json(progress) {
                if let (false, Some(fields)) = (id.is_empty(), line.as_object_mut()) {
                    fields.insert("campaign".to_owned(), id.into());
                }
                output::data(&format!("{line}\n"));
            }
            return;
        }
        let head = if self.several && !id.is_empty() { format!("{id} ") } else { String::new() };
        match progress {
            Progress::Proposed { experiment, hypothesis, .. } => {
                let Some(shown) = self.campaigns.get_mut(&id) else { return };
                shown.experiment = *experiment;
                let (line, reason) = shown.proposed(*experiment, hypothesis);
                self.line(&format!("{head}{line}"));
                self.line(&self.dim(&format!("       {head}{reason}")));
            }
            Progress::RunStarted { run, .. } => self.status(&id, &format!("run {run} begins")),
            Progress::Step { path, what, .. } => {
                let what = if what.is_empty() { String::new() } else { format!(" ({what})") };
                self.status(&id, &format!("{path}{what}"));
            }
            Progress::StepFailed { run, path, why } => {
                self.line(&format!("       {run} {path} failed: {why}"));
            }
            Progress::Resolved { run, path, resolution, evidence } => {
                self.line(&format!("       {run} {path} was in doubt: {resolution} ({evidence})"));
            }
            Progress::Question { run, path, question, options } => {
                self.line(&format!("  ?    {run} {path}: {question}"));
                self.line(&format!("       answer with one of: {}", options.join(" / ")));
            }
            Progress::RunEnded { run, ending, cause, not_confirmed } => {
                use crate::engine::core::Ending;
                if *ending != Ending::Complete {
                    self.line(&format!("       run {run} {}", ending_text(*ending, cause)));
                }
                for instrument in not_confirmed {
                    self.line(&format!(
                        "  !    {instrument} was NOT CONFIRMED SAFE: look at it now"
                    ));
                }
            }
            Progress::Concluded { conclusion, verdict, .. } => {
                self.concluded(&id, &head, conclusion, *verdict);
            }
            Progress::Link { instrument, up: false, detail } => {
                if self.connected.remove(instrument) {
                    self.line(&format!("  !    lost {instrument}: {detail}"));
                }
            }
            Progress::Link { instrument, up: true, detail } => {
                self.connected.insert(instrument.clone());
                self.status(&id, &format!("{instrument} is connected ({detail})"));
            }
            Progress::Alarm { instrument, detail } => {
                self.line(&format!("  !    {instrument}: {detail}"));
            }
            Progress::EmergencyStop { by } => {
                self.line(&format!(
                    "  !!   EMERGENCY STOP by {by}: every instrument is told its safe state, and \
                     nothing else is sent until it is cleared"
                ));
            }
            Progress::NotConfirmedSafe { instrument, why } => {
                self.line(&format!(
                    "  !!   {instrument} is NOT CONFIRMED SAFE ({why}): look at it now; it is told \
                     again"
                ));
            }
            Progress::Freed { instrument, by } => {
                let how = match by.as_str() {
                    "" => "has confirmed its safe state".to_owned(),
                    by => format!("may be used on {by}'s word"),
                };
                self.line(&format!("  !    {instrument} {how}: runs that wait for it go on"));
            }
            Progress::Cleared { by } => {
                self.line(&format!("  !    the emergency stop was cleared by {by}"));
            }
            Progress::Engine { detail } => self.line(&format!("  !    {detail}")),
            Progress::Parked { runs } => {
                for parked in runs {
                    // What only a person or the instrument can end is no passing matter.
                    match parked.waits_for_safety() {
                        true => self.line(&format!("  !    {parked}")),
                        false => self.status("", &parked.to_string()),
                    }
                }
            }
            Progress::Moved { run, to, by, why } => {
                let why = if why.is_empty() { String::new() } else { format!(": {why}") };
                self.line(&format!("  >    run {run} is {} ({by}{why})", to.as_str()));
            }
            Progress::AtHold { instrument, confirmed: true, detail, .. } => {
                self.line(&format!("       {instrument} is in its hold state ({detail})"));
            }
            Progress::AtHold { instrument, confirmed: false, detail, .. } => {
                self.line(&format!(
                    "  !    {instrument} is NOT CONFIRMED in its hold state ({detail}): look at it"
                ));
            }
            Progress::Commanded { command, by, reason } => {
                let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
                self.line(&format!("  >    {} by {by}{why}", command.as_str()));
            }
            Progress::CampaignEnded { reason, .. } => {
                self.clear();
                let which = if self.several { format!("Campaign {id}") } else { "Campaign".into() };
                self.line(&format!("{which} over: {}.", reason_text(reason)));
            }
        }
    }

    fn concluded(&mut self, id: &str, head: &str, conclusion: &Conclusion, verdict: Verdict) {
        let Some(shown) = self.campaigns.get_mut(id) else { return };
        shown.concluded += 1;
        let Conclusion::Measured { results } = conclusion else {
            if let Conclusion::Failed { cause } = conclusion {
                self.line(&format!("       {head}failed: {cause}"));
            }
            return;
        };
        let Some((name, unit, more)) = shown.plan.objective.clone() else { return };
        let Some(value) = results.get(&name).copied() else { return };
        let better = shown.best.is_none_or(|best| if more { value > best } else { value < best });
        if better {
            shown.best = Some(value);
        }
        let verdict = match verdict {
            Verdict::Supported => ", as predicted",
            Verdict::Refuted => ", prediction refuted",
            Verdict::Inconclusive => "",
        };
        let (best, left) = (shown.best.unwrap_or(value), shown.time_left());
        let mark = if better { self.bold(" <- best so far") } else { format!("  best {best:.2}") };
        self.line(&format!("       {head}{name} {value:.2} {unit}{verdict}{mark}{left}"));
    }

    fn line(&mut self, text: &str) {
        self.clear();
        output::say(text);
    }

    /// The line under the last one, redrawn in place; not shown where nothing can be redrawn.
    fn status(&mut self, id: &str, text: &str) {
        if !self.live {
            return;
        }
        let head = match self.campaigns.get(id) {
            Some(shown) => format!("{:>3}/{} ", shown.experiment, shown.plan.experiments),
            None => String::new(),
        };
        let mut out = std::io::stderr().lock();
        let cut: String = format!("{head}{text}").chars().take(100).collect();
        let _ = write!(out, "\r\x1b[2K{cut}");
        let _ = out.flush();
        self.drawn = true;
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            let mut out = std::io::stderr().lock();
            let _ = write!(out, "\r\x1b[2K");
        }
    }

    fn bold(&self, text: &str) -> String {
        if self.colour { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn dim(&self, text: &str) -> String {
        if self.colour { format!("\x1b[2m{text}\x1b[0m") } else { text.to_owned() }
    }
}

impl Shown {
    /// What is tried and what is expected of it, and why.
    fn proposed(&self, experiment: u32, hypothesis: &Hypothesis) -> (String, String) {
        let parameters: Vec<String> = hypothesis
            .parameters
            .iter()
            .map(|(name, value)| format!("{name} {}", self.value(name, value)))
            .collect();
        let prediction = match (&self.plan.objective, hypothesis.predictions.is_empty()) {
            (Some((name, unit, _)), false) => hypothesis
                .predictions
                .get(name)
                .map(|p| format!("; expects {name} {:.1} ± {:.1} {unit}", p.mean, 1.96 * p.sd))
                .unwrap_or_default(),
            _ => String::new(),
        };
        let line = format!(
            "{experiment:>3}/{} {}{prediction}",
            self.plan.experiments,
            parameters.join(", ")
        );
        (line, hypothesis.reason.clone())
    }

    fn time_left(&self) -> String {
        let done = self.concluded.saturating_sub(self.began_at);
        if done == 0 || self.plan.speed.is_none() {
            return String::new();
        }
        let left = self.plan.experiments.saturating_sub(self.concluded);
        let each = self.began.elapsed().as_secs_f64() / f64::from(done);
        if left == 0 {
            return String::new();
        }
        format!("  ({} left)", output::duration(each * f64::from(left)))
    }

    fn value(&self, name: &str, value: &crate::expr::Value) -> String {
        let unit = self.plan.units.get(name).and_then(|u| crate::units::Unit::parse(u).ok());
        match (value.as_quantity(), unit) {
            (Some(quantity), Some(unit)) => {
                let number = quantity.in_unit(&unit).unwrap_or(quantity.value);
                format!("{} {}", significant(number), unit.symbol)
            }
            (Some(quantity), None) if quantity.dim == crate::units::Dimension::NONE => {
                significant(quantity.value)
            }
            _ => super::status::plain(value),
        }
    }
}

/// Four significant digits, without an exponent where that is short.
pub(super) fn significant(number: f64) -> String {
    if number == 0.0 || !number.is_finite() {
        return format!("{number}");
    }
    let places = 3 - number.abs().log10().floor() as i32;
    if (0..=6).contains(&places) {
        let text = format!("{number:.*}", places as usize);
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text
        }
    } else if places < 0 && places > -6 {
        format!("{number:.0}")
    } else {
        format!("{number:.3e}")
    }
}

pub(super) fn as_json(progress: &Progress) -> Option<serde_json::Value> {
    use serde_json::json;
    Some(match progress {
        Progress::Proposed { experiment, hypothesis, .. } => {
            json!({"event": "proposed", "experiment": experiment, "hypothesis": hypothesis})
        }
        Progress::RunStarted { run, expected_s } => {
            json!({"event": "run_started", "run": run, "expected_s": expected_s})
        }
        Progress::Step { run, path, what } => {
            json!({"event": "step", "run": run, "step": path, "what": what})
        }
        Progress::StepFailed { run, path, why } => {
            json!({"event": "step_failed", "run": run, "step": path, "why": why})
        }
        Progress::Resolved { run, path, resolution, evidence } => json!({
            "event": "resolved", "run": run, "step": path, "resolution": resolution,
            "evidence": evidence,
        }),
        Progress::Question { run, path, question, options } => json!({
            "event": "question", "run": run, "step": path, "question": question,
            "options": options,
        }),
        Progress::RunEnded { run, ending, cause, not_confirmed } => json!({
            "event": "run_ended", "run": run, "ending": ending, "cause": cause,
            "not_confirmed_safe": not_confirmed,
        }),
        Progress::Concluded { experiment, conclusion, verdict, .. } => json!({
            "event": "concluded", "experiment": experiment, "conclusion": conclusion,
            "verdict": verdict,
        }),
        Progress::Link { instrument, up, detail } => {
            json!({"event": "link", "instrument": instrument, "up": up, "detail": detail})
        }
        Progress::Alarm { instrument, detail } => {
            json!({"event": "alarm", "instrument": instrument, "detail": detail})
        }
        Progress::EmergencyStop { by } => json!({"event": "emergency_stop", "by": by}),
        Progress::NotConfirmedSafe { instrument, why } => {
            json!({"event": "not_confirmed_safe", "instrument": instrument, "why": why})
        }
        Progress::Freed { instrument, by } => {
            json!({"event": "freed", "instrument": instrument, "by": by})
        }
        Progress::Cleared { by } => json!({"event": "emergency_stop_cleared", "by": by}),
        Progress::Engine { detail } => json!({"event": "engine", "detail": detail}),
        Progress::Parked { runs } => json!({"event": "parked", "runs": runs}),
        Progress::Moved { run, to, by, why } => {
            json!({"event": "moved", "run": run, "to": to, "by": by, "why": why})
        }
        Progress::AtHold { run, instrument, confirmed, detail } => json!({
            "event": "at_hold", "run": run, "instrument": instrument, "confirmed": confirmed,
            "detail": detail,
        }),
        Progress::Commanded { command, by, reason } => {
            json!({"event": "commanded", "command": command, "by": by, "reason": reason})
        }
        Progress::CampaignEnded { reason, .. } => {
            json!({"event": "campaign_ended", "reason": reason})
        }
    })
}

#[cfg(test)]
mod tests {
    use super::significant;

    #[test]
    fn numbers_are_shown_with_four_digits() {
        for (number, text) in [
            (0.0, "0"),
            (12.3456, "12.35"),
            (100.0, "100"),
            (0.001_234_56, "0.001235"),
            (123_456.0, "123456"),
            (1.5e-9, "1.500e-9"),
        ] {
            assert_eq!(significant(number), text);
        }
    }
}
