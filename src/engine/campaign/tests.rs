//! The rules of a campaign, on runs that end as the test says.

use proptest::prelude::*;

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
    if let Some(record) = campaign.follows(run, ending, "stopped by anna") {
        campaign.apply(&record, Tick(1));
    }
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
            Decision::Conclude { conclusion: Conclusion::Measured { .. }, .. } => "measured".into(),
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
                campaign.apply(&CampaignRecord::Assigned { experiment, run: run.clone() }, Tick(1));
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
    assert_eq!(seen.last().unwrap(), "end Person(\"stopped by anna\")");
    campaign.apply(&CampaignRecord::Resumed { version: "x".into(), by: None }, Tick(2));
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
