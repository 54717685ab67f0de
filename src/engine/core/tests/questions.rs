//! Questions have numbers, options and evidence; the first answer counts.

use super::lab::{Draft, Lab, Reply};
use crate::compiler::graph::{Effect, NodeKind, OnError};
use crate::engine::core::{
    About, Command, Ending, Event, Evidence, Heard, InDoubt, Record, RunState,
};
use crate::expr::{Expr, Value};
use std::time::Duration;

fn asking() -> Draft {
    let mut draft = Draft::new();
    let kind = NodeKind::Ask {
        question: Expr::literal(Value::text("Clear?")),
        options: vec!["yes".into(), "no".into()],
        on_timeout: Some("no".into()),
    };
    draft.add(Some(0), "look", kind);
    draft.action(0, "after", "pump_1", Effect::Repeatable);
    draft
}

fn answer(lab: &mut Lab, question: Option<u32>, answer: &str, by: &str) -> (Heard, String) {
    lab.heard.clear();
    let (run, path) = ("r".into(), "look".into());
    let (answer, by) = (answer.into(), by.into());
    lab.give(Event::Answer { run, path, question, answer, by });
    let reply = lab.heard.remove(0);
    (reply.heard, reply.message)
}

#[test]
fn an_answer_must_be_an_option_of_the_question_that_is_open() {
    let mut lab = Lab::new(InDoubt::Ask, &[]);
    lab.start("r", &asking());
    let (heard, why) = answer(&mut lab, Some(1), "maybe", "Ada");
    assert_eq!(heard, Heard::Refused);
    assert!(why.contains("`yes`, `no`"), "{why}");
    let (heard, why) = answer(&mut lab, Some(7), "yes", "Ada");
    assert_eq!(heard, Heard::Refused);
    assert!(why.contains("question 1"), "{why}");
    assert_eq!(lab.count("after"), 0);
    assert_eq!(answer(&mut lab, Some(1), "yes", "Ada").0, Heard::Accepted);
    assert_eq!(lab.count("after"), 1);
}

#[test]
fn who_gave_a_sample_up_is_told_by_name() {
    for (option, by, told) in [
        ("invalid", "Ada", "look: Ada answered `invalid`"),
        (
            "invalid",
            crate::engine::core::DEADLINE,
            "look: nobody answered in time, which counts as `invalid`",
        ),
    ] {
        let mut draft = Draft::new();
        let kind = NodeKind::Ask {
            question: Expr::literal(Value::text("Clear?")),
            options: vec!["yes".into(), option.into()],
            on_timeout: None,
        };
        draft.add(Some(0), "look", kind);
        let mut lab = Lab::new(InDoubt::Ask, &[]);
        lab.start("r", &draft);
        assert_eq!(answer(&mut lab, Some(1), option, by).0, Heard::Accepted);
        lab.settle();
        assert_eq!(lab.ending("r"), Some(Ending::Invalid));
        let cause = lab.records.iter().find_map(|record| match record {
            Record::BodyEnded { cause, .. } => Some(cause.clone()),
            _ => None,
        });
        assert_eq!(cause.as_deref(), Some(told));
    }
}

#[test]
fn the_first_answer_counts_and_the_second_is_told_of_it() {
    let mut lab = Lab::new(InDoubt::Ask, &[]);
    let mut draft = asking();
    draft.wait(0, "wait", "1 h");
    lab.start("r", &draft);
    assert_eq!(answer(&mut lab, Some(1), "no", "Ada").0, Heard::Accepted);
    for question in [Some(1), None] {
        let (heard, why) = answer(&mut lab, question, "yes", "Bob");
        assert_eq!(heard, Heard::Refused);
        assert!(why.contains("`no` by Ada"), "{why}");
        assert_eq!(answer(&mut lab, question, "no", "Bob").0, Heard::Already);
    }
    let answers = lab.records.iter().filter(|r| matches!(r, Record::Answer { .. })).count();
    assert_eq!(answers, 1);
}

#[test]
fn a_question_asked_again_has_a_number_of_its_own() {
    let mut draft = Draft::new();
    let step = draft.action(0, "look", "pump_1", Effect::Repeatable);
    draft.node(step).on_error = OnError::Ask;
    let mut lab = Lab::new(InDoubt::Ask, &[Reply::Refused, Reply::Refused]);
    lab.start("r", &draft);
    assert_eq!(answer(&mut lab, Some(1), "retry", "Ada").0, Heard::Accepted);
    // Bob still has the first question before him.
    let (heard, why) = answer(&mut lab, Some(1), "skip", "Bob");
    assert_eq!(heard, Heard::Refused);
    assert!(why.contains("`retry` by Ada"), "{why}");
    assert_eq!(answer(&mut lab, Some(2), "skip", "Bob").0, Heard::Accepted);
    assert_eq!(lab.ending("r"), Some(Ending::Complete));
}

#[test]
fn a_doubt_comes_with_what_was_sent_and_what_each_answer_means() {
    let mut draft = Draft::new();
    draft.action(0, "dispense", "pump_1", Effect::Verifiable);
    let mut lab = Lab::new(InDoubt::Ask, &[Reply::HalfDone]);
    lab.start("r", &draft);
    lab.settle();
    let found = lab.records.iter().find_map(|r| match r {
        Record::Question { id, about, options, meanings, evidence: Some(evidence), .. } => {
            Some((*id, *about, options.clone(), meanings.clone(), evidence.clone()))
        }
        _ => None,
    });
    let (id, about, options, meanings, evidence) = found.unwrap();
    assert_eq!((id, about), (1, About::Doubt));
    assert_eq!(options, ["done", "not done", "discard"]);
    assert_eq!(meanings.len(), 3);
    let Evidence { instrument, action, args, attempt, witness, before, after, .. } = *evidence;
    assert_eq!((&*instrument, &*action, attempt), ("pump_1", "dispense", 1));
    assert_eq!(args.get("volume"), Some(&Value::number(5.0)));
    assert_eq!(witness.as_deref(), Some("dispensed"));
    assert_eq!((before, after), (Some(Value::number(100.0)), Some(Value::number(102.5))));
}

#[test]
fn a_question_of_the_protocol_waits_while_its_run_is_held() {
    let mut draft = asking();
    draft.node(1).deadline = Some(Duration::from_secs(600));
    let mut lab = Lab::new(InDoubt::Ask, &[]);
    lab.start("r", &draft);
    lab.command("r", Command::Hold);
    lab.pass(Duration::from_secs(3_600));
    assert_eq!((lab.state("r"), lab.count("after")), (RunState::Held, 0));
    lab.command("r", Command::Resume);
    lab.pass(Duration::from_secs(599));
    assert_eq!(lab.count("after"), 0);
    lab.pass(Duration::from_secs(2));
    // Nobody answered: the answer the protocol gives for that.
    assert_eq!(lab.count("after"), 1);
}

#[test]
fn a_question_may_be_answered_while_its_run_is_held_or_paused() {
    for command in [Command::Hold, Command::Pause] {
        let mut lab = Lab::new(InDoubt::Ask, &[]);
        lab.start("r", &asking());
        lab.command("r", command);
        assert_eq!(answer(&mut lab, None, "yes", "Ada").0, Heard::Accepted);
        assert_eq!(lab.count("after"), 0, "{command:?}");
        lab.command("r", Command::Resume);
        assert_eq!(lab.count("after"), 1, "{command:?}");
    }
}

#[test]
fn a_question_of_a_run_that_ends_is_no_longer_answered() {
    let mut draft = asking();
    let finally = draft.finally();
    draft.wait(finally, "cool", "1 h");
    let mut lab = Lab::new(InDoubt::Ask, &[]);
    lab.start("r", &draft);
    lab.command("r", Command::Stop);
    let (heard, why) = answer(&mut lab, Some(1), "yes", "Ada");
    assert_eq!(heard, Heard::Refused);
    assert!(why.contains("stopping"), "{why}");
    assert_eq!(lab.count("after"), 0);
}

#[test]
fn an_old_question_without_number_and_options_kept_is_answered_by_its_step() {
    let old = r#"{"question":{"run":"r","step":{"path":"look","key":{"node":1}},
        "question":"Clear?","options":["yes","no"]}}"#;
    let record: Record = serde_json::from_str(old).unwrap();
    let Record::Question { id, about, ref evidence, .. } = record else { panic!("{record:?}") };
    assert_eq!((id, about, evidence.is_none()), (0, About::Protocol, true));
    let paused: Record =
        serde_json::from_str(r#"{"paused":{"run":"r","paused":true,"by":"Ada"}}"#).unwrap();
    let mut lab = Lab::new(InDoubt::Ask, &[]);
    lab.start("r", &asking());
    lab.records.push(paused);
    lab.restart(Duration::ZERO);
    assert_eq!(lab.state("r"), RunState::Paused, "an old journal's pause holds");
    lab.command("r", Command::Resume);
    assert_eq!(lab.state("r"), RunState::Running);
}
