//! Campaigns: which experiment is run next and when the search is over. Pure, like `core`:
//! state changes only by applying records, and decisions follow from state alone.
//!
//! ```text
//! Propose -> Proposed -> Assigned (a run) -> run ends -> Concluded -> ... -> Ended
//!                            ^------ invalid or interrupted: a new run of the same experiment
//! ```

mod record;
mod states;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use super::core::{Command, Ending, Tick};

pub use record::{CampaignRecord, Conclusion, EndReason, Hypothesis, Predicted, Verdict};
pub use states::{CampaignState, Obedience, Wanted};

/// New runs of one experiment after samples were lost, before it counts as failed.
const RERUNS_MAX: u32 = 3;
/// Part of the cause of a run that was aborted because its service ended, and for no other reason.
pub const SERVICE_ENDED: &str = " as the service ended";

/// Bounds of a campaign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Experiments at most.
    pub experiments: u32,
    /// Lab time at most.
    pub time: Option<Duration>,
    /// Runs in flight at once.
    pub parallel: u32,
    /// Experiments proposed at a time.
    pub batch: u32,
    /// Complete runs per experiment.
    pub replicates: u32,
    /// Failed experiments in a row that end it; 0 = never.
    pub pause_after: u32,
    /// Failed experiments allowed in all; one more ends it.
    pub failures: Option<u32>,
    /// Whose runs get an instrument first, where several wait for it: larger ones.
    pub priority: u8,
}

impl Rules {
    /// Rules that stop nothing; for looking at the past.
    pub fn unbounded() -> Rules {
        Rules {
            experiments: u32::MAX,
            time: None,
            parallel: 1,
            batch: 1,
            replicates: 1,
            pause_after: 0,
            failures: None,
            priority: 0,
        }
    }
}

/// One point of the search.
#[derive(Debug, Clone, PartialEq)]
pub struct Experiment {
    /// From 1.
    pub number: u32,
    /// What was expected.
    pub hypothesis: Hypothesis,
    /// Runs so far, the last may be under way.
    pub runs: Vec<RunOfExperiment>,
    /// Who took it out of what the planner learns from, if anybody did.
    pub excluded: Option<Exclusion>,
    /// What it brought.
    pub conclusion: Option<Conclusion>,
    /// What became of its hypothesis.
    pub verdict: Option<Verdict>,
}

/// An experiment that the planner does not learn from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exclusion {
    /// Who took it out.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// A change of a campaign under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// What, in words.
    pub diff: Vec<String>,
    /// When.
    pub at: Tick,
    /// Experiments that were proposed before.
    pub after: u32,
}

/// One run of an experiment.
#[derive(Debug, Clone, PartialEq)]
pub struct RunOfExperiment {
    /// Name.
    pub run: String,
    /// How it ended; `None` while under way.
    pub ending: Option<Ending>,
    /// Why, if not complete.
    pub cause: String,
    /// Results in the units of the protocol.
    pub results: BTreeMap<String, f64>,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Ask the planner for this many experiments; answer with [`CampaignRecord::Proposed`].
    Propose(u32),
    /// Start a run of an experiment.
    StartRun {
        /// Experiment.
        experiment: u32,
        /// Name of the run.
        run: String,
    },
    /// An experiment is over.
    Conclude {
        /// Experiment.
        experiment: u32,
        /// What it brought.
        conclusion: Conclusion,
    },
    /// The campaign is over.
    End(EndReason),
}

/// The campaign that a run of this name belongs to: `snar-1` of `snar-1.4.1`.
pub fn campaign_of(run: &str) -> Option<&str> {
    let mut parts = run.rsplitn(3, '.');
    let numbered = parts.by_ref().take(2).filter(|part| part.parse::<u32>().is_ok()).count() == 2;
    parts.next().filter(|_| numbered)
}

/// State of a campaign.
#[derive(Debug, Clone)]
pub struct Campaign {
    /// Name of this campaign in the journal.
    pub id: String,
    /// Bounds.
    pub rules: Rules,
    /// Experiments, number n at n - 1.
    pub experiments: Vec<Experiment>,
    /// When it began.
    pub started: Tick,
    /// Hash of the document with the texts that hold now.
    pub bundle: String,
    /// Seed of its planner.
    pub seed: u64,
    /// Why it ended, if it has.
    pub ended: Option<EndReason>,
    /// The planner was asked and has not answered.
    pub proposing: bool,
    /// What a person wants of it.
    pub wanted: Wanted,
    /// Who wants that; empty if nobody said so.
    pub wanted_by: String,
    /// Changes so far.
    pub edits: Vec<Edit>,
    /// Conclusions that were there when it was last taken up again: their failures are past.
    forgiven: usize,
}

impl Campaign {
    /// A campaign that has not begun.
    pub fn new(id: String, rules: Rules) -> Campaign {
        Campaign {
            id,
            rules,
            experiments: Vec::new(),
            started: Tick(0),
            bundle: String::new(),
            seed: 0,
            ended: None,
            proposing: false,
            wanted: Wanted::Run,
            wanted_by: String::new(),
            edits: Vec::new(),
            forgiven: 0,
        }
    }

    /// Takes a fact into the state.
    pub fn apply(&mut self, record: &CampaignRecord, now: Tick) {
        match record {
            CampaignRecord::Started { bundle, seed, .. } => {
                self.started = now;
                self.bundle.clone_from(bundle);
                self.seed = *seed;
            }
            CampaignRecord::Resumed { .. } => {
                // What a person paused or was stopping, an engine that comes back leaves so.
                if self.ended.is_some() {
                    self.wanted = Wanted::Run;
                    self.wanted_by.clear();
                }
                self.ended = None;
                self.proposing = false;
                self.forgiven = self.concluded();
            }
            CampaignRecord::Told { command, by, .. } => {
                self.wanted = Wanted::after(*command);
                self.wanted_by.clone_from(by);
            }
            CampaignRecord::Edited { by, reason, diff, bundle, .. } => {
                let after = u32::try_from(self.experiments.len()).unwrap_or(u32::MAX);
                let (by, reason, diff) = (by.clone(), reason.clone(), diff.clone());
                self.edits.push(Edit { by, reason, diff, at: now, after });
                self.bundle.clone_from(bundle);
            }
            CampaignRecord::Excluded { experiment, by, reason, undo } => {
                if let Some(experiment) = self.experiment_mut(*experiment) {
                    let out = Exclusion { by: by.clone(), reason: reason.clone() };
                    experiment.excluded = (!undo).then_some(out);
                }
            }
            CampaignRecord::Proposed { experiment, hypothesis } => {
                self.proposing = false;
                if *experiment as usize == self.experiments.len() + 1 {
                    self.experiments.push(Experiment {
                        number: *experiment,
                        hypothesis: hypothesis.clone(),
                        runs: Vec::new(),
                        excluded: None,
                        conclusion: None,
                        verdict: None,
                    });
                }
            }
            CampaignRecord::Assigned { experiment, run } => {
                if let Some(experiment) = self.experiment_mut(*experiment) {
                    experiment.runs.push(RunOfExperiment {
                        run: run.clone(),
                        ending: None,
                        cause: String::new(),
                        results: BTreeMap::new(),
                    });
                }
            }
            CampaignRecord::RunOver { experiment, run, ending, cause, results } => {
                let found = self
                    .experiment_mut(*experiment)
                    .and_then(|e| e.runs.iter_mut().find(|r| r.run == *run));
                if let Some(over) = found {
                    over.ending = Some(*ending);
                    over.cause.clone_from(cause);
                    over.results.clone_from(results);
                }
            }
            CampaignRecord::Concluded { experiment, conclusion, verdict } => {
                if let Some(experiment) = self.experiment_mut(*experiment) {
                    experiment.conclusion = Some(conclusion.clone());
                    experiment.verdict = Some(*verdict);
                }
            }
            CampaignRecord::Ended { reason } => {
                self.ended = Some(reason.clone());
                self.proposing = false;
            }
        }
    }

    fn experiment_mut(&mut self, number: u32) -> Option<&mut Experiment> {
        self.experiments.get_mut((number as usize).checked_sub(1)?)
    }

    /// An experiment by number.
    pub fn experiment(&self, number: u32) -> Option<&Experiment> {
        self.experiments.get((number as usize).checked_sub(1)?)
    }

    /// The experiment a run belongs to.
    pub fn experiment_of(&self, run: &str) -> Option<u32> {
        self.experiments.iter().find(|e| e.runs.iter().any(|r| r.run == run)).map(|e| e.number)
    }

    /// Runs under way.
    pub fn active_runs(&self) -> usize {
        self.experiments.iter().filter(|e| e.is_running()).count()
    }

    /// Experiments with a conclusion.
    pub fn concluded(&self) -> usize {
        self.experiments.iter().filter(|e| e.conclusion.is_some()).count()
    }

    /// The next thing to do; `None` while everything that can be under way is. Apply the record
    /// it leads to before asking again.
    pub fn decide(&self, now: Tick) -> Option<Decision> {
        if self.ended.is_some() {
            return None;
        }
        for experiment in &self.experiments {
            if let Some(conclusion) = experiment.to_conclude(self.rules.replicates) {
                return Some(Decision::Conclude { experiment: experiment.number, conclusion });
            }
        }
        if matches!(self.wanted, Wanted::Stop | Wanted::Abort) {
            let how = if self.wanted == Wanted::Abort { "aborted" } else { "stopped" };
            let reason = EndReason::Person(format!("{how} by {}", self.wanted_by));
            return (self.active_runs() == 0).then_some(Decision::End(reason));
        }
        let failures = self.failed_in_a_row();
        if self.rules.pause_after > 0 && failures >= self.rules.pause_after {
            return self.end_when_idle(EndReason::Failures(failures));
        }
        if let Some(allowed) = self.rules.failures
            && self.failed() > allowed
        {
            let failed = self.failed();
            return self.end_when_idle(EndReason::FailureBudget { failed, allowed });
        }
        if matches!(self.wanted, Wanted::Pause | Wanted::Hold) {
            return None;
        }
        let active = self.active_runs();
        let slots = (self.rules.parallel as usize).saturating_sub(active);
        if slots == 0 {
            return None;
        }
        if let Some(next) = self.experiments.iter().find(|e| e.needs_run()) {
            let run = format!("{}.{}.{}", self.id, next.number, next.runs.len() + 1);
            return Some(Decision::StartRun { experiment: next.number, run });
        }
        if let Some(limit) = self.rules.time
            && now.since(self.started) >= limit
        {
            let hours = limit.as_secs_f64() / 3600.0;
            return self.end_when_idle(EndReason::BudgetSpent(format!("{hours:.1} h of lab time")));
        }
        let left = (self.rules.experiments as usize).saturating_sub(self.experiments.len());
        if left == 0 {
            let spent = format!("{} experiments", self.rules.experiments);
            return self.end_when_idle(EndReason::BudgetSpent(spent));
        }
        if self.proposing {
            return None;
        }
        let wanted = (self.rules.batch.max(1) as usize).min(left).min(slots.max(1));
        Some(Decision::Propose(u32::try_from(wanted).unwrap_or(1)))
    }

    fn end_when_idle(&self, reason: EndReason) -> Option<Decision> {
        (self.active_runs() == 0 && !self.proposing).then_some(Decision::End(reason))
    }

    /// What follows for the campaign from the end of one of its runs: who stops a run does not
    /// want it begun anew.
    pub fn follows(&self, run: &str, ending: Ending, cause: &str) -> Option<CampaignRecord> {
        let command = match ending {
            Ending::Stopped => Command::Stop,
            Ending::Aborted => Command::Abort,
            Ending::Complete | Ending::Failed | Ending::Invalid => return None,
        };
        // A service that ends aborts what cannot be held; the next one goes on with the campaign.
        if cause.contains(SERVICE_ENDED) {
            return None;
        }
        let told = matches!(self.wanted, Wanted::Stop | Wanted::Abort) || self.ended.is_some();
        // `stopped by anna`, as the core says it.
        let by = cause.split_once(" by ").map_or(cause, |(_, by)| by).to_owned();
        let run = Some(run.to_owned());
        let reason = String::new();
        (!told).then_some(CampaignRecord::Told { command, by, reason, run })
    }

    /// Who told it to do anything but go on, if anybody did.
    pub fn told_by(&self) -> Option<&str> {
        (self.wanted != Wanted::Run).then_some(self.wanted_by.as_str())
    }

    /// Experiments that failed.
    pub fn failed(&self) -> u32 {
        let failed = |e: &&Experiment| matches!(e.conclusion, Some(Conclusion::Failed { .. }));
        u32::try_from(self.experiments.iter().filter(failed).count()).unwrap_or(u32::MAX)
    }

    fn failed_in_a_row(&self) -> u32 {
        let failed = self
            .experiments
            .iter()
            .rev()
            .filter(|e| e.conclusion.is_some())
            .take(self.concluded().saturating_sub(self.forgiven))
            .take_while(|e| matches!(e.conclusion, Some(Conclusion::Failed { .. })))
            .count();
        u32::try_from(failed).unwrap_or(u32::MAX)
    }
}

impl Experiment {
    /// What the planner may learn of it: nothing once it is excluded.
    pub fn counts(&self) -> Option<&Conclusion> {
        self.conclusion.as_ref().filter(|_| self.excluded.is_none())
    }

    /// Runs whose sample was lost or is in doubt; their results are used nowhere.
    pub fn quarantined(&self) -> impl Iterator<Item = &RunOfExperiment> {
        self.runs.iter().filter(|r| r.ending == Some(Ending::Invalid))
    }

    fn is_running(&self) -> bool {
        self.runs.last().is_some_and(|r| r.ending.is_none())
    }

    fn needs_run(&self) -> bool {
        self.conclusion.is_none() && !self.is_running()
    }

    /// Whether its runs allow a conclusion: enough complete ones, a failed one, or too many lost.
    fn to_conclude(&self, replicates: u32) -> Option<Conclusion> {
        if self.conclusion.is_some() || self.is_running() {
            return None;
        }
        let failed = self.runs.iter().find(|r| r.ending == Some(Ending::Failed));
        if let Some(run) = failed {
            return Some(Conclusion::Failed { cause: run.cause.clone() });
        }
        let complete: Vec<&RunOfExperiment> =
            self.runs.iter().filter(|r| r.ending == Some(Ending::Complete)).collect();
        if complete.len() >= replicates.max(1) as usize {
            let mut results = BTreeMap::new();
            for name in complete.first().into_iter().flat_map(|r| r.results.keys()) {
                // A result that one of them lacks has no mean.
                let all: Option<Vec<f64>> =
                    complete.iter().map(|r| r.results.get(name).copied()).collect();
                if let Some(all) = all {
                    results.insert(name.clone(), all.iter().sum::<f64>() / all.len() as f64);
                }
            }
            return Some(Conclusion::Measured { results });
        }
        let lost = self.runs.iter().filter(|r| r.ending == Some(Ending::Invalid)).count();
        if lost > RERUNS_MAX as usize {
            let cause = self.runs.last().map(|r| r.cause.clone()).unwrap_or_default();
            return Some(Conclusion::Failed { cause: format!("{lost} samples lost: {cause}") });
        }
        None
    }
}

/// What a measurement makes of a prediction. Central intervals of a normal distribution: 80 % is
/// 1.2816 sd to either side, 95 % is 1.9600.
pub fn verdict(hypothesis: &Hypothesis, objectives: &[String], conclusion: &Conclusion) -> Verdict {
    let Conclusion::Measured { results } = conclusion else { return Verdict::Inconclusive };
    let mut worst: Option<f64> = None;
    for name in objectives {
        let (Some(p), Some(y)) = (hypothesis.predictions.get(name), results.get(name)) else {
            continue;
        };
        if p.sd > 0.0 {
            let z = ((y - p.mean) / p.sd).abs();
            worst = Some(worst.map_or(z, |w: f64| w.max(z)));
        }
    }
    match worst {
        Some(z) if z <= 1.2816 => Verdict::Supported,
        Some(z) if z > 1.96 => Verdict::Refuted,
        _ => Verdict::Inconclusive,
    }
}
