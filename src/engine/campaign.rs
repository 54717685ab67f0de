//! Campaigns: which experiment is run next and when the search is over. Pure, like `core`:
//! state changes only by applying records, and decisions follow from state alone.
//!
//! ```text
//! Propose -> Proposed -> Assigned (a run) -> run ends -> Concluded -> ... -> Ended
//!                            ^------ invalid or interrupted: a new run of the same experiment
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::core::{Command, Ending, Tick};
use crate::expr::Value;

/// New runs of one experiment after samples were lost, before it counts as failed.
const RERUNS_MAX: u32 = 3;

/// What a model said of an experiment before it was run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hypothesis {
    /// The planner's own number of the suggestion.
    pub suggestion: u64,
    /// Values with units, as the protocol takes them.
    pub parameters: BTreeMap<String, Value>,
    /// Per objective or constrained result, in the result's unit; empty in the initial design.
    pub predictions: BTreeMap<String, Predicted>,
    /// Probability of being better than the best so far; `None` in the initial design.
    pub probability_of_improvement: Option<f64>,
    /// Probability of meeting all outcome constraints and of not failing.
    pub probability_feasible: Option<f64>,
    /// Why it was chosen, for people.
    pub reason: String,
}

/// Predicted distribution of one result.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Predicted {
    /// Mean, in the unit of the result.
    pub mean: f64,
    /// Standard deviation of a new measurement, in the unit of the result.
    pub sd: f64,
}

/// What became of a hypothesis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Measured within the central 80 % of what was predicted.
    Supported,
    /// Measured outside the central 95 %.
    Refuted,
    /// Between the two, not predicted, or not measured.
    Inconclusive,
}

/// What an experiment brought.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Conclusion {
    /// Results in the units of the protocol.
    Measured {
        /// Value of each result.
        results: BTreeMap<String, f64>,
    },
    /// No result.
    Failed {
        /// Why.
        cause: String,
    },
}

/// Why a campaign ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// A stop condition holds.
    Goal(String),
    /// Experiments or time are spent and no stop condition was given.
    BudgetSpent(String),
    /// The planner has nothing left to try.
    SpaceExhausted(String),
    /// Too many failed experiments in a row.
    Failures(u32),
    /// More failed experiments than the campaign allows in all.
    FailureBudget {
        /// Failed experiments.
        failed: u32,
        /// Allowed.
        allowed: u32,
    },
    /// Ended by a person; `resume` goes on.
    Person(String),
    /// The protocol did not compile for a proposed point, or the planner failed.
    Internal(String),
}

/// One fact about a campaign.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CampaignRecord {
    /// It began.
    Started {
        /// Name in its file.
        name: String,
        /// Hash of the document that holds all texts it was started with.
        bundle: String,
        /// Seed of the planner.
        seed: u64,
        /// Experiments at most.
        experiments: u32,
        /// labloop that started it.
        version: String,
        /// Values given to the protocol of a single run.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        parameters: BTreeMap<String, Value>,
        /// Whoever asks again with this key is told of this campaign instead of starting another.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
    },
    /// An engine took it up again.
    Resumed {
        /// labloop that did.
        version: String,
    },
    /// An experiment was proposed.
    Proposed {
        /// From 1.
        experiment: u32,
        /// What is expected of it.
        hypothesis: Hypothesis,
    },
    /// A run of an experiment begins.
    Assigned {
        /// Experiment.
        experiment: u32,
        /// Run.
        run: String,
    },
    /// A run of an experiment is over.
    RunOver {
        /// Experiment.
        experiment: u32,
        /// Run.
        run: String,
        /// How it ended.
        ending: Ending,
        /// Why, if not complete.
        cause: String,
        /// Results in the units of the protocol; empty unless complete.
        results: BTreeMap<String, f64>,
    },
    /// An experiment is over.
    Concluded {
        /// Experiment.
        experiment: u32,
        /// What it brought.
        conclusion: Conclusion,
        /// What became of its hypothesis.
        verdict: Verdict,
    },
    /// A person told it to start nothing more for now, to go on, or to end.
    Told {
        /// What.
        command: Command,
        /// Who.
        by: String,
    },
    /// The campaign is over.
    Ended {
        /// Why.
        reason: EndReason,
    },
}

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
    /// Runs that were there when the campaign was last taken up again: a stop among them is past.
    pub resumed_after: usize,
    /// What it brought.
    pub conclusion: Option<Conclusion>,
    /// What became of its hypothesis.
    pub verdict: Option<Verdict>,
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
#[derive(Debug, Clone, PartialEq)]
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
    /// Why it ended, if it has.
    pub ended: Option<EndReason>,
    /// The planner was asked and has not answered.
    pub proposing: bool,
    /// What a person told it last, and who; `None` while it goes on.
    pub told: Option<(Command, String)>,
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
            ended: None,
            proposing: false,
            told: None,
            forgiven: 0,
        }
    }

    /// Takes a fact into the state.
    pub fn apply(&mut self, record: &CampaignRecord, now: Tick) {
        match record {
            CampaignRecord::Started { .. } => self.started = now,
            CampaignRecord::Resumed { .. } => {
                self.ended = None;
                self.proposing = false;
                // A campaign that was paused stays so until a person says otherwise.
                self.told.take_if(|(command, _)| matches!(command, Command::Stop | Command::Abort));
                self.forgiven = self.concluded();
                for experiment in &mut self.experiments {
                    experiment.resumed_after = experiment.runs.len();
                }
            }
            CampaignRecord::Proposed { experiment, hypothesis } => {
                self.proposing = false;
                if *experiment as usize == self.experiments.len() + 1 {
                    self.experiments.push(Experiment {
                        number: *experiment,
                        hypothesis: hypothesis.clone(),
                        runs: Vec::new(),
                        resumed_after: 0,
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
            CampaignRecord::Told { command, by } => {
                self.told = (*command != Command::Resume).then(|| (*command, by.clone()));
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
        if let Some(person) = self.ended_by_person() {
            return (self.active_runs() == 0).then_some(Decision::End(EndReason::Person(person)));
        }
        match &self.told {
            Some((Command::Stop, by)) => return self.ended_on_command(format!("stopped by {by}")),
            Some((Command::Abort, by)) => return self.ended_on_command(format!("aborted by {by}")),
            Some((Command::Pause | Command::Hold, _)) => return None,
            Some((Command::Resume, _)) | None => {}
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

    fn ended_on_command(&self, how: String) -> Option<Decision> {
        (self.active_runs() == 0).then_some(Decision::End(EndReason::Person(how)))
    }

    fn end_when_idle(&self, reason: EndReason) -> Option<Decision> {
        (self.active_runs() == 0 && !self.proposing).then_some(Decision::End(reason))
    }

    /// A run was stopped or aborted since the campaign was last taken up.
    fn ended_by_person(&self) -> Option<String> {
        self.experiments
            .iter()
            .filter(|e| e.conclusion.is_none())
            .filter_map(|e| e.runs.get(e.resumed_after..).and_then(<[_]>::last))
            .find(|r| matches!(r.ending, Some(Ending::Stopped | Ending::Aborted)))
            .map(|r| r.cause.clone())
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
                let sum: f64 = complete.iter().filter_map(|r| r.results.get(name)).sum();
                results.insert(name.clone(), sum / complete.len() as f64);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        Rules { experiments: 2, pause_after: 2, ..Rules::unbounded() }
    }

    fn hypothesis() -> Hypothesis {
        Hypothesis {
            suggestion: 1,
            parameters: BTreeMap::new(),
            predictions: BTreeMap::from([("y".to_owned(), Predicted { mean: 1.0, sd: 0.1 })]),
            probability_of_improvement: None,
            probability_feasible: None,
            reason: String::new(),
        }
    }

    fn over(campaign: &mut Campaign, experiment: u32, run: &str, ending: Ending) {
        let results = if ending == Ending::Complete {
            BTreeMap::from([("y".to_owned(), 1.05)])
        } else {
            BTreeMap::new()
        };
        let record = CampaignRecord::RunOver {
            experiment,
            run: run.to_owned(),
            ending,
            cause: "because".to_owned(),
            results,
        };
        campaign.apply(&record, Tick(1));
    }

    /// Plays a campaign whose runs end as listed; returns the decisions as text.
    fn play(endings: &[Ending]) -> (Vec<String>, Campaign) {
        let mut campaign = Campaign::new("c".into(), rules());
        let mut endings = endings.iter();
        let mut seen = Vec::new();
        while let Some(decision) = campaign.decide(Tick(1)) {
            seen.push(match &decision {
                Decision::Propose(n) => format!("propose {n}"),
                Decision::StartRun { run, .. } => format!("run {run}"),
                Decision::Conclude { conclusion: Conclusion::Measured { .. }, .. } => {
                    "measured".into()
                }
                Decision::Conclude { .. } => "failed".into(),
                Decision::End(reason) => format!("end {reason:?}"),
            });
            match decision {
                Decision::Propose(_) => {
                    let experiment = u32::try_from(campaign.experiments.len()).unwrap() + 1;
                    let record = CampaignRecord::Proposed { experiment, hypothesis: hypothesis() };
                    campaign.apply(&record, Tick(1));
                }
                Decision::StartRun { experiment, run } => {
                    campaign
                        .apply(&CampaignRecord::Assigned { experiment, run: run.clone() }, Tick(1));
                    over(&mut campaign, experiment, &run, *endings.next().unwrap());
                }
                Decision::Conclude { experiment, conclusion } => {
                    let verdict = verdict(&hypothesis(), &["y".to_owned()], &conclusion);
                    let record = CampaignRecord::Concluded { experiment, conclusion, verdict };
                    campaign.apply(&record, Tick(1));
                }
                Decision::End(reason) => campaign.apply(&CampaignRecord::Ended { reason }, Tick(1)),
            }
        }
        (seen, campaign)
    }

    #[test]
    fn a_lost_sample_gets_a_new_run_of_the_same_experiment() {
        let (seen, campaign) = play(&[Ending::Invalid, Ending::Complete, Ending::Complete]);
        let expected = [
            "propose 1",
            "run c.1.1",
            "run c.1.2",
            "measured",
            "propose 1",
            "run c.2.1",
            "measured",
            "end BudgetSpent(\"2 experiments\")",
        ];
        assert_eq!(seen, expected);
        assert_eq!(campaign.experiments[0].verdict, Some(Verdict::Supported));
    }

    #[test]
    fn failures_in_a_row_end_the_campaign_and_a_person_may_resume_it() {
        let (seen, _) = play(&[Ending::Failed, Ending::Failed]);
        assert_eq!(seen.last().unwrap(), "end Failures(2)");
        let (seen, mut campaign) = play(&[Ending::Stopped]);
        assert_eq!(seen.last().unwrap(), "end Person(\"because\")");
        campaign.apply(&CampaignRecord::Resumed { version: "x".into() }, Tick(2));
        assert!(
            matches!(campaign.decide(Tick(2)), Some(Decision::StartRun { run, .. }) if run == "c.1.2")
        );
    }

    #[test]
    fn samples_lost_again_and_again_make_a_failed_experiment() {
        let (seen, _) = play(&[Ending::Invalid; 8]);
        assert_eq!(seen.iter().filter(|s| s.starts_with("run c.1.")).count(), 4);
        assert!(seen.contains(&"failed".to_owned()));
    }

    #[test]
    fn verdicts_follow_the_central_intervals() {
        let measured = |y: f64| Conclusion::Measured { results: BTreeMap::from([("y".into(), y)]) };
        let of = |y| verdict(&hypothesis(), &["y".to_owned()], &measured(y));
        assert_eq!(of(1.12), Verdict::Supported);
        assert_eq!(of(0.85), Verdict::Inconclusive);
        assert_eq!(of(1.20), Verdict::Refuted);
        assert_eq!(of(0.80), Verdict::Refuted);
    }

    fn told(campaign: &mut Campaign, command: Command) {
        campaign.apply(&CampaignRecord::Told { command, by: "anna".into() }, Tick(1));
    }

    #[test]
    fn a_paused_campaign_concludes_what_has_ended_and_starts_nothing() {
        let mut campaign = Campaign::new("c".into(), rules());
        let hypothesis = hypothesis();
        campaign.apply(&CampaignRecord::Proposed { experiment: 1, hypothesis }, Tick(1));
        campaign.apply(&CampaignRecord::Assigned { experiment: 1, run: "r".into() }, Tick(1));
        told(&mut campaign, Command::Pause);
        over(&mut campaign, 1, "r", Ending::Complete);
        let Some(Decision::Conclude { experiment, conclusion }) = campaign.decide(Tick(2)) else {
            panic!("what was measured is not lost")
        };
        let verdict = Verdict::Supported;
        campaign.apply(&CampaignRecord::Concluded { experiment, conclusion, verdict }, Tick(2));
        assert_eq!(campaign.decide(Tick(3)), None);
        // A new engine changes nothing about that, a person does.
        campaign.apply(&CampaignRecord::Resumed { version: String::new() }, Tick(4));
        assert_eq!(campaign.decide(Tick(4)), None);
        told(&mut campaign, Command::Resume);
        assert_eq!(campaign.decide(Tick(5)), Some(Decision::Propose(1)));
    }

    #[test]
    fn a_stopped_campaign_ends_with_its_last_run_and_goes_on_when_it_is_taken_up_again() {
        let mut campaign = Campaign::new("c".into(), rules());
        let hypothesis = hypothesis();
        campaign.apply(&CampaignRecord::Proposed { experiment: 1, hypothesis }, Tick(1));
        campaign.apply(&CampaignRecord::Assigned { experiment: 1, run: "r".into() }, Tick(1));
        told(&mut campaign, Command::Stop);
        assert_eq!(campaign.decide(Tick(2)), None, "its run is under way");
        // The run was at its end already and completes: the campaign does not go on all the same.
        over(&mut campaign, 1, "r", Ending::Complete);
        let Some(Decision::Conclude { experiment, conclusion }) = campaign.decide(Tick(2)) else {
            panic!("what was measured is not lost")
        };
        let verdict = Verdict::Supported;
        campaign.apply(&CampaignRecord::Concluded { experiment, conclusion, verdict }, Tick(2));
        let reason = EndReason::Person("stopped by anna".into());
        assert_eq!(campaign.decide(Tick(3)), Some(Decision::End(reason)));
        campaign.apply(&CampaignRecord::Resumed { version: String::new() }, Tick(4));
        assert_eq!(campaign.decide(Tick(5)), Some(Decision::Propose(1)));
    }
}
