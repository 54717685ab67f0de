//! The rules of a campaign, on runs that end as the test says.

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
    play_under(rules(), endings)
}

fn play_under(rules: Rules, endings: &[Ending]) -> (Vec<String>, Campaign) {
    let mut campaign = Campaign::new("c".into(), rules);
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

/// A campaign in every state it can be in, with a run under way or none.
fn every_state() -> Vec<(CampaignState, Campaign)> {
    let mut found: Vec<(CampaignState, Campaign)> = Vec::new();
    let commands = [None, Some(Command::Pause), Some(Command::Hold), Some(Command::Stop)];
    let commands = commands.into_iter().chain([Some(Command::Abort)]);
    let ends = [
        None,
        Some(EndReason::Goal("g".into())),
        Some(EndReason::Failures(3)),
        Some(EndReason::Person("p".into())),
    ];
    for command in commands {
        for active in [false, true] {
            for end in &ends {
                let mut campaign = Campaign::new("c".into(), rules());
                let proposed = CampaignRecord::Proposed { experiment: 1, hypothesis: hypothesis() };
                campaign.apply(&proposed, Tick(1));
                if active {
                    let run = "c.1.1".to_owned();
                    campaign.apply(&CampaignRecord::Assigned { experiment: 1, run }, Tick(1));
                }
                if let Some(command) = command {
                    campaign.apply(&commanded(command), Tick(1));
                }
                if let Some(reason) = end {
                    campaign.apply(&CampaignRecord::Ended { reason: reason.clone() }, Tick(1));
                }
                found.push((campaign.state(|_| false), campaign));
            }
        }
    }
    found
}

fn commanded(command: Command) -> CampaignRecord {
    let (by, reason, run) = ("anna".to_owned(), String::new(), None);
    CampaignRecord::Told { command, by, reason, run }
}

#[test]
fn every_command_in_every_state_does_what_the_table_says_and_nothing_the_second_time() {
    use CampaignState as S;
    use Command as C;
    let mut seen = std::collections::BTreeSet::new();
    for (state, campaign) in every_state() {
        seen.insert(state.as_str());
        for command in [C::Pause, C::Hold, C::Resume, C::Stop, C::Abort] {
            // What it comes to; `None`: refused.
            let expected = match (state, command) {
                (S::Running, C::Resume) => Some(&[S::Running][..]),
                (S::Running | S::Pausing | S::Paused, C::Pause) => {
                    Some(&[S::Pausing, S::Paused][..])
                }
                (S::Holding | S::Held, C::Pause | C::Hold) => Some(&[S::Holding, S::Held][..]),
                (S::Running | S::Pausing | S::Paused, C::Hold) => Some(&[S::Holding, S::Held][..]),
                (S::Pausing | S::Paused | S::Holding | S::Held, C::Resume) => {
                    Some(&[S::Running][..])
                }
                (S::Aborting, C::Stop | C::Abort) => Some(&[S::Aborting][..]),
                (S::Stopping | S::Aborting, C::Pause | C::Hold | C::Resume) => None,
                (
                    S::Running | S::Pausing | S::Paused | S::Holding | S::Held | S::Stopping,
                    C::Stop,
                ) => Some(&[S::Stopping][..]),
                (
                    S::Running | S::Pausing | S::Paused | S::Holding | S::Held | S::Stopping,
                    C::Abort,
                ) => Some(&[S::Aborting][..]),
                (S::Stopped | S::Aborted | S::Complete | S::Ended, C::Stop | C::Abort) => {
                    Some(std::slice::from_ref(&state))
                }
                (S::Stopped | S::Aborted | S::Complete | S::Ended, _) => None,
            };
            let mut after = campaign.clone();
            match (after.obey(command, "anna", ""), expected) {
                (Obedience::Refused(why), None) => assert!(!why.is_empty()),
                (Obedience::Already, Some(to)) => assert!(to.contains(&state), "{state:?}"),
                (Obedience::Accepted(record), Some(to)) => {
                    after.apply(&record, Tick(2));
                    let now = after.state(|_| false);
                    assert!(to.contains(&now), "{state:?} {command:?} {now:?}");
                    assert_eq!(after.obey(command, "bob", ""), Obedience::Already);
                }
                (other, _) => panic!("{state:?} {command:?}: {other:?}"),
            }
        }
    }
    assert_eq!(seen.len(), 11, "states that cannot be reached: {seen:?}");
}

#[test]
fn a_pause_begins_no_run_and_a_stop_ends_the_campaign_once_its_runs_are_over() {
    let mut campaign = Campaign::new("c".into(), Rules { parallel: 2, ..rules() });
    for experiment in [1, 2] {
        let record = CampaignRecord::Proposed { experiment, hypothesis: hypothesis() };
        campaign.apply(&record, Tick(1));
    }
    let run = "c.1.1".to_owned();
    campaign.apply(&CampaignRecord::Assigned { experiment: 1, run }, Tick(1));
    campaign.apply(&commanded(Command::Pause), Tick(1));
    assert_eq!(campaign.decide(Tick(1)), None, "experiment 2 waits");
    campaign.apply(&commanded(Command::Resume), Tick(1));
    assert!(matches!(campaign.decide(Tick(1)), Some(Decision::StartRun { experiment: 2, .. })));
    campaign.apply(&commanded(Command::Stop), Tick(1));
    assert_eq!(campaign.decide(Tick(1)), None, "a run is under way");
    over(&mut campaign, 1, "c.1.1", Ending::Stopped);
    let end = Decision::End(EndReason::Person("stopped by anna".into()));
    assert_eq!(campaign.decide(Tick(1)), Some(end));
}

#[test]
fn an_engine_that_comes_back_leaves_paused_what_a_person_paused() {
    let mut campaign = Campaign::new("c".into(), rules());
    campaign.apply(&commanded(Command::Pause), Tick(1));
    campaign.apply(&CampaignRecord::Resumed { version: "x".into() }, Tick(2));
    assert_eq!(campaign.decide(Tick(2)), None);
    campaign.apply(&commanded(Command::Resume), Tick(3));
    assert_eq!(campaign.decide(Tick(3)), Some(Decision::Propose(1)));
}

#[test]
fn a_stop_of_one_run_is_in_the_record_of_its_campaign() {
    let (_, campaign) = play(&[Ending::Aborted]);
    assert_eq!(campaign.state(|_| false), CampaignState::Aborted);
    assert_eq!((campaign.wanted, campaign.wanted_by.as_str()), (Wanted::Abort, "anna"));
}

#[test]
fn more_failures_than_the_budget_end_the_campaign_though_never_in_a_row() {
    let rules = Rules { experiments: 20, failures: Some(2), ..Rules::unbounded() };
    let good = [Ending::Complete, Ending::Failed];
    let (seen, campaign) = play_under(rules, &good.repeat(10));
    assert_eq!(seen.last().unwrap(), "end FailureBudget { failed: 3, allowed: 2 }");
    assert_eq!(campaign.experiments.len(), 6);
}

#[test]
fn records_of_before_there_were_commands_are_read() {
    let old = r#"{"resumed":{"version":"0.1.0"}}"#;
    let read: CampaignRecord = serde_json::from_str(old).unwrap();
    assert_eq!(read, CampaignRecord::Resumed { version: "0.1.0".into() });
    let text = serde_json::to_string(&read).unwrap();
    assert_eq!(text, old);
}
