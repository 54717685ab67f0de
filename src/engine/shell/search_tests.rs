//! Campaigns whose experiments fail, end without a number or are taken out: the planner goes on,
//! and what is rebuilt from the journal is what was.

use proptest::prelude::*;

use super::super::searches::learn;
use super::*;
use crate::compiler::campaign::Target;
use crate::engine::campaign::{Campaign, CampaignRecord, Decision, EndReason, Rules, verdict};
use crate::engine::core::{Ending, Tick};

/// What becomes of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Measured,
    NoNumber,
    TooLarge,
    Failed,
    Lost,
}

fn space(from: f64, to: f64) -> Search {
    let unit = Unit::parse("min").unwrap();
    let axis = |name: &str, kind| Axis { name: name.into(), kind, unit: unit.clone() };
    Search {
        axes: vec![
            axis("t", AxisKind::Continuous { min: from, max: to, log: false }),
            axis("n", AxisKind::Discrete { values: vec![1.0, 2.0, 4.0] }),
        ],
        fixed: BTreeMap::new(),
        objectives: vec![Target {
            result: "y".into(),
            unit: String::new(),
            maximize: true,
            noise: None,
            reference: None,
        }],
        input_constraints: Vec::new(),
        outcome_limits: Vec::new(),
        stop_any: Vec::new(),
        stop_all: Vec::new(),
    }
}

fn brain(initial: u32, leave_out: bool) -> CampaignBrain {
    let brain = CampaignBrain::new(space(1.0, 9.0), 7, Some(initial)).unwrap();
    brain.leaving_out_failures(leave_out)
}

/// A campaign as the shell runs it, with the journal beside it.
struct Play {
    campaign: Campaign,
    brain: CampaignBrain,
    journal: Vec<String>,
}

impl Play {
    fn new(rules: Rules, brain: CampaignBrain) -> Play {
        Play { campaign: Campaign::new("c".into(), rules), brain, journal: Vec::new() }
    }

    fn note(&mut self, record: CampaignRecord) {
        self.journal.push(serde_json::to_string(&record).unwrap());
        self.campaign.apply(&record, Tick(1));
    }

    fn run_over(&mut self, experiment: u32, run: String, fate: Fate) {
        let value = match fate {
            Fate::Measured => Some(f64::from(experiment % 5)),
            Fate::TooLarge => Some(1e200),
            Fate::NoNumber | Fate::Failed | Fate::Lost => None,
        };
        let ending = match fate {
            Fate::Failed => Ending::Failed,
            Fate::Lost => Ending::Invalid,
            _ => Ending::Complete,
        };
        let results = value.into_iter().map(|v| ("y".to_owned(), v)).collect();
        let cause = "so it was".to_owned();
        self.note(CampaignRecord::RunOver { experiment, run, ending, cause, results });
    }

    /// Goes on until the campaign ends or the fates do.
    fn go(&mut self, fates: &mut impl Iterator<Item = Fate>) -> Option<EndReason> {
        loop {
            match self.campaign.decide(Tick(1))? {
                Decision::Propose(count) => match self.brain.propose(count).unwrap() {
                    Proposal::Experiments(list) => {
                        for hypothesis in list {
                            let experiment = self.campaign.experiments.len() as u32 + 1;
                            self.note(CampaignRecord::Proposed { experiment, hypothesis });
                        }
                    }
                    Proposal::Exhausted(why) => panic!("{why}"),
                },
                Decision::StartRun { experiment, run } => {
                    let fate = fates.next()?;
                    self.note(CampaignRecord::Assigned { experiment, run: run.clone() });
                    self.run_over(experiment, run, fate);
                }
                Decision::Conclude { experiment, conclusion } => {
                    let of = self.campaign.experiment(experiment).unwrap().hypothesis.clone();
                    let (conclusion, learnt) = learn(&mut self.brain, &of, conclusion);
                    learnt.unwrap();
                    let verdict = verdict(&of, &["y".to_owned()], &conclusion);
                    self.note(CampaignRecord::Concluded { experiment, conclusion, verdict });
                }
                Decision::End(reason) => return Some(reason),
            }
        }
    }

    /// What an engine makes of the journal.
    fn again(&self, mut brain: CampaignBrain) -> Play {
        let mut again = Campaign::new("c".into(), self.campaign.rules.clone());
        for text in &self.journal {
            again.apply(&serde_json::from_str(text).unwrap(), Tick(1));
        }
        assert_eq!(again.experiments, self.campaign.experiments);
        brain.restore(&again.experiments).unwrap();
        Play { campaign: again, brain, journal: self.journal.clone() }
    }
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        5 => Just(Fate::Measured),
        1 => Just(Fate::NoNumber),
        1 => Just(Fate::TooLarge),
        2 => Just(Fate::Failed),
        1 => Just(Fate::Lost),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Rows 59 and 64 of the hazards.
    #[test]
    fn a_planner_rebuilt_from_the_journal_proposes_what_the_live_one_does(
        fates in prop::collection::vec(fate(), 1..9),
        leave_out in any::<bool>(),
    ) {
        let rules = Rules { experiments: 100, ..Rules::unbounded() };
        let mut live = Play::new(rules, brain(3, leave_out));
        live.go(&mut fates.into_iter());
        let mut again = live.again(brain(3, leave_out));
        let next = (live.brain.propose(1).unwrap(), again.brain.propose(1).unwrap());
        prop_assert_eq!(next.0, next.1);
    }
}

#[test]
fn campaigns_with_thirty_failures_in_a_hundred_go_on_within_their_budget() {
    let mut ended = BTreeMap::new();
    for seed in 0..40_u32 {
        let rules =
            Rules { experiments: 30, pause_after: 0, failures: Some(12), ..Rules::unbounded() };
        // Mostly the space-filling start: fits of forty campaigns would take minutes.
        let mut play = Play::new(rules, brain(if seed < 2 { 24 } else { 40 }, false));
        let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12_345);
        let mut fates = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            match (state >> 16) % 10 {
                0 => Fate::Failed,
                1 => Fate::NoNumber,
                2 => Fate::TooLarge,
                _ => Fate::Measured,
            }
        });
        let reason = play.go(&mut fates).unwrap();
        let failed = play.campaign.failed();
        match &reason {
            EndReason::BudgetSpent(_) => assert!(failed <= 12),
            EndReason::FailureBudget { failed: f, allowed: 12 } => {
                assert_eq!((*f, failed), (13, 13))
            }
            other => panic!("seed {seed}: {other:?}"),
        }
        *ended
            .entry(format!("{reason:?}").split('(').next().unwrap_or("").to_owned())
            .or_insert(0) += 1;
    }
    assert!(ended.len() >= 2, "both ends are seen: {ended:?}");
}

#[test]
fn an_excluded_experiment_is_not_learnt_from_and_can_be_taken_back_in() {
    let rules = Rules { experiments: 6, ..Rules::unbounded() };
    let mut play = Play::new(rules, brain(3, false));
    play.go(&mut std::iter::repeat(Fate::Measured));
    let told = |play: &Play| play.brain.planner.told();
    let out = |undo| CampaignRecord::Excluded {
        experiment: 2,
        by: "anna".into(),
        reason: "the lamp was off".into(),
        undo,
    };
    assert_eq!(told(&play), 6);
    play.note(out(false));
    let without = play.again(brain(3, false));
    assert_eq!(told(&without), 5);
    assert!(without.brain.planner.pending().is_empty(), "its number is spent");
    assert_eq!(without.campaign.experiments[1].counts(), None);
    assert!(without.campaign.experiments[1].conclusion.is_some(), "nothing is deleted");
    play.note(out(true));
    assert_eq!(told(&play.again(brain(3, false))), 6);
}

#[test]
fn points_of_before_the_space_was_narrowed_stay_where_they_were_measured() {
    let rules = Rules { experiments: 8, ..Rules::unbounded() };
    let mut play = Play::new(rules, brain(4, false));
    play.go(&mut std::iter::repeat(Fate::Measured));
    let narrow = CampaignBrain::new(space(1.0, 4.0), 7, Some(4)).unwrap();
    let outside = play
        .campaign
        .experiments
        .iter()
        .filter(|e| !narrow.search.axes[0].holds(&e.hypothesis.parameters["t"]));
    assert!(outside.count() > 1, "the test shows nothing");
    let mut after = play.again(narrow);
    assert_eq!(after.brain.planner.told(), 8);
    for experiment in &play.campaign.experiments {
        let point = after.brain.point(&experiment.hypothesis.parameters).unwrap();
        let before = play.brain.point(&experiment.hypothesis.parameters).unwrap();
        assert_eq!(point, before);
    }
    for _ in 0..4 {
        let Proposal::Experiments(list) = after.brain.propose(1).unwrap() else { panic!("none") };
        assert!(after.brain.search.axes[0].holds(&list[0].parameters["t"]), "{list:?}");
    }
}
