//! The laws of a run, on graphs made by hand and an instrument made of a closure.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::compiler::graph::Edge;
use crate::compiler::graph::{Effect, FailureKind, NodeId, NodeKind, OnError, Retry};
use crate::expr;

mod first_readings;
mod gaps;
mod hold;
mod lab;
mod parked;
mod questions;
mod recovery;
mod states;
mod strangers;

use lab::{Draft, Lab, Reply};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn steps_run_in_order_then_finally_then_the_run_is_complete() {
    let mut draft = Draft::new();
    draft.action(0, "start", "pump_1", Effect::Repeatable);
    draft.action(0, "dispense", "pump_2", Effect::Verifiable);
    let finally = draft.finally();
    draft.action(finally, "stop", "pump_1", Effect::Repeatable);
    let mut lab = Lab::new(InDoubt::Ask, &[]);
    lab.start("r", &draft);
    lab.settle();
    assert_eq!(lab.sent, ["pump_1.start", "pump_2.dispense", "pump_1.stop"]);
    assert_eq!(lab.ending("r"), Some(Ending::Complete));
    // What `finally` stopped is left so; what it did not touch gets its safe state.
    assert_eq!(lab.safe, ["pump_2"]);
}

#[test]
fn a_failed_step_runs_finally_and_every_started_instrument_is_made_safe() {
    let mut draft = Draft::new();
    draft.action(0, "start", "pump_1", Effect::Repeatable);
    draft.action(0, "set", "pump_2", Effect::Repeatable);
    draft.action(0, "never", "pump_2", Effect::Repeatable);
    let finally = draft.finally();
    draft.action(finally, "stop", "pump_1", Effect::Repeatable);
    let mut lab = Lab::new(InDoubt::Ask, &[Reply::Done, Reply::Refused]);
    lab.start("r", &draft);
    lab.settle();
    assert_eq!(lab.ending("r"), Some(Ending::Failed));
    assert_eq!(lab.count("never"), 0);
    assert_eq!(lab.count("stop"), 1);
    assert_eq!(lab.safe, ["pump_1", "pump_2"]);
}

/// Found by a run on real wires: a witness was being read when another branch failed.
#[test]
fn a_witness_that_is_read_after_the_steps_have_ended_starts_no_dose() {
    let mut draft = Draft::new();
    draft.action(0, "set", "pump_1", Effect::Repeatable);
    draft.action(0, "dispense", "pump_2", Effect::Verifiable);
    draft.graph.edges.clear();
    let finally = draft.finally();
    draft.action(finally, "stop", "pump_1", Effect::Repeatable);
    let mut core = Core::new(InDoubt::Ask, Duration::ZERO);
    let graph = Arc::new(draft.graph);
    let (run, document, terms) = ("r".to_owned(), "d".to_owned(), Terms::default());
    let begun = core.step(Event::StartRun { run: run.clone(), graph, document, terms }, Tick(0));
    let mut witness = None;
    for action in begun.actions {
        match action {
            Action::Send { step, attempt, .. } => {
                let (kind, message) = (FailureKind::Refused, "as told".into());
                let result = Err(Failure { kind, message, effect_unknown: false });
                let (run, key, trace) = (run.clone(), step.key, String::new());
                core.step(Event::Outcome { run, key, attempt, result, trace }, Tick(1));
            }
            Action::ReadWitness { key, .. } => witness = Some(key),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(core.run("r").unwrap().phase, Phase::Finally);
    let reading =
        Ok(Reading { value: expr::Value::number(1.0), rebooted: false, busy: Some(false) });
    let event = Event::Witnessed { run, key: witness.unwrap(), reading };
    let late = core.step(event, Tick(2));
    assert_eq!(late.actions, []);
    assert!(!late.records.iter().any(|r| matches!(r, Record::Intent { .. })));
}

#[test]
fn a_retry_waits_and_is_bounded() {
    let mut draft = Draft::new();
    let step = draft.action(0, "set", "pump_1", Effect::Repeatable);
    draft.node(step).retry =
        Some(Retry { times: 2, wait: 5 * SECOND, factor: 1.0, max_wait: None, only: Vec::new() });
    let mut lab = Lab::new(InDoubt::Ask, &[Reply::Refused, Reply::Refused]);
    lab.start("r", &draft);
    assert_eq!(lab.count("set"), 1);
    lab.settle();
    assert_eq!(lab.count("set"), 3);
    assert_eq!(lab.ending("r"), Some(Ending::Complete));
    assert!(lab.now >= Tick(0).after(10 * SECOND));
    let mut lab = Lab::new(InDoubt::Ask, &[Reply::Refused; 9]);
    lab.start("r", &draft);
    lab.settle();
    assert_eq!((lab.count("set"), lab.ending("r")), (3, Some(Ending::Failed)));
}

#[test]
fn a_started_dose_is_read_back_before_it_is_sent_again() {
    let mut draft = Draft::new();
    let step = draft.action(0, "dispense", "pump_1", Effect::Verifiable);
    draft.node(step).retry =
        Some(Retry { times: 1, wait: SECOND, factor: 1.0, max_wait: None, only: Vec::new() });
    // It happened and the answer was lost: the witness says so, nothing is sent again.
    let mut lab = Lab::new(InDoubt::Ask, &[Reply::LostAfter]);
    lab.start("r", &draft);
    lab.settle();
    assert_eq!((lab.count("dispense"), lab.ending("r")), (1, Some(Ending::Complete)));
    // It did not happen: the witness says so, and the retry may send it.
    let mut lab = Lab::new(InDoubt::Ask, &[Reply::LostBefore]);
    lab.start("r", &draft);
    lab.settle();
    assert_eq!((lab.count("dispense"), lab.ending("r")), (2, Some(Ending::Complete)));
    assert_eq!(lab.dispensed, 105.0);
}

#[test]
fn a_restarted_instrument_proves_nothing() {
    let mut draft = Draft::new();
    draft.action(0, "dispense", "pump_1", Effect::Verifiable);
    let mut lab = Lab::new(InDoubt::Discard, &[Reply::Silent]);
    lab.start("r", &draft);
    lab.rebooted = true;
    lab.dispensed = 0.0;
    lab.crash(InDoubt::Discard);
    assert_eq!((lab.count("dispense"), lab.ending("r")), (1, Some(Ending::Invalid)));
}

#[test]
fn a_run_whose_instruments_are_gone_ends_as_invalid_and_an_untouched_one_goes_on() {
    let mut draft = Draft::new();
    draft.action(0, "set", "pump_1", Effect::Repeatable);
    draft.add(Some(0), "rest", NodeKind::Wait { duration: expr::parse("1 min").unwrap() });
    draft.action(0, "again", "pump_1", Effect::Repeatable);
    let mut waiting = Draft::new();
    waiting.add(Some(0), "rest", NodeKind::Wait { duration: expr::parse("1 min").unwrap() });
    waiting.action(0, "read", "pump_2", Effect::Repeatable);
    let mut lab = Lab::new(InDoubt::Ask, &[]);
    lab.start("touched", &draft);
    lab.start("untouched", &waiting);
    assert_eq!(lab.sent, ["pump_1.set"]);
    lab.give(Event::InstrumentsLost);
    lab.settle();
    assert_eq!(lab.sent, ["pump_1.set", "pump_2.read"]);
    assert_eq!(lab.ending("touched"), Some(Ending::Invalid));
    assert_eq!(lab.ending("untouched"), Some(Ending::Complete));
}

#[test]
fn a_once_action_in_doubt_is_a_question_and_the_answer_decides() {
    for (answer, sent, ending) in [
        ("done", 1, Ending::Complete),
        ("not done", 2, Ending::Complete),
        ("discard", 1, Ending::Invalid),
    ] {
        let mut draft = Draft::new();
        draft.action(0, "inject", "pump_1", Effect::Once);
        let mut lab = Lab::new(InDoubt::Ask, &[Reply::Silent]);
        lab.start("r", &draft);
        lab.core = Core::new(InDoubt::Ask, Duration::ZERO);
        let records = lab.records.clone();
        for record in &records {
            let graph = Arc::new(draft.graph.clone());
            lab.core.apply(record, lab.now, || Some(graph));
        }
        lab.give(Event::Recovered { downtime: Duration::ZERO });
        assert!(lab.records.iter().any(|r| matches!(r, Record::Question { .. })), "{answer}");
        assert_eq!(lab.count("inject"), 1);
        lab.give(Event::Answer {
            run: "r".into(),
            path: "inject".into(),
            question: None,
            answer: answer.into(),
            by: "Ada".into(),
        });
        lab.settle();
        assert_eq!((lab.count("inject"), lab.ending("r")), (sent, Some(ending)), "{answer}");
    }
}

#[test]
fn each_run_keeps_its_own_rule_for_doubts_through_a_crash() {
    let mut draft = Draft::new();
    draft.action(0, "inject", "pump_1", Effect::Once);
    let mut other = Draft::new();
    other.action(0, "inject", "pump_2", Effect::Once);
    let mut lab = Lab::new(InDoubt::Ask, &[Reply::Silent, Reply::Silent]);
    let terms = Terms { in_doubt: Some(InDoubt::Discard), ..Terms::default() };
    lab.start_under("discards", &draft, terms);
    lab.start("asks", &other);
    lab.crash(InDoubt::Ask);
    assert_eq!(lab.ending("discards"), Some(Ending::Invalid));
    // Time passed until nobody had answered and the question's default was taken.
    let asked = |r: &&Record| matches!(r, Record::Question { .. });
    let of: Vec<&str> = lab.records.iter().filter(asked).map(Record::run).collect();
    assert_eq!(of, ["asks"]);
}

#[test]
fn a_loop_ends_when_its_condition_holds_and_fails_at_its_bound() {
    for (until, rounds, ending) in
        [("loop.index >= 3", 3, Ending::Complete), ("loop.index >= 9", 5, Ending::Failed)]
    {
        let mut draft = Draft::new();
        let kind = NodeKind::Repeat { max_times: 5, until: Some(Draft::condition(until)) };
        let block = draft.add(Some(0), "again", kind);
        draft.action(block, "set", "pump_1", Effect::Repeatable);
        let mut lab = Lab::new(InDoubt::Ask, &[]);
        lab.start("r", &draft);
        lab.settle();
        assert_eq!((lab.count("set"), lab.ending("r")), (rounds, Some(ending)), "{until}");
    }
}

#[test]
fn the_steps_of_on_error_run_and_the_run_goes_on() {
    let mut draft = Draft::new();
    let step = draft.action(0, "set", "pump_1", Effect::Repeatable);
    draft.action(0, "after", "pump_1", Effect::Repeatable);
    let handler = draft.add(Some(step), "on_error", NodeKind::Group { hold: Vec::new() });
    draft.action(handler, "mend", "pump_1", Effect::Repeatable);
    draft.node(step).on_error = OnError::Do(NodeId(handler));
    let mut lab = Lab::new(InDoubt::Ask, &[Reply::Refused]);
    lab.start("r", &draft);
    lab.settle();
    assert_eq!(lab.sent, ["pump_1.set", "pump_1.mend", "pump_1.after"]);
    assert_eq!(lab.ending("r"), Some(Ending::Complete));
}

/// A step on `pump_1` that may go to `pump_2` and then to `pump_3`.
fn with_fallback(name: &str, effect: Effect) -> Draft {
    let mut draft = Draft::new();
    let first = draft.action(0, name, "pump_1", effect);
    let second = draft.action(first, name, "pump_2", effect);
    let third = draft.action(second, name, "pump_3", effect);
    draft.graph.edges.clear();
    draft.node(first).on_error = OnError::Fallback(NodeId(second));
    draft.node(second).on_error = OnError::Fallback(NodeId(third));
    draft
}

#[test]
fn what_one_instrument_refuses_goes_to_the_next_and_each_is_tried_once() {
    let mut draft = with_fallback("measure", Effect::Read);
    let after = draft.action(0, "after", "pump_1", Effect::Read);
    let edge = Edge { from: NodeId(1), to: NodeId(after), min: Duration::ZERO, max: None };
    draft.graph.edges = vec![edge];
    let mut lab = Lab::new(InDoubt::Ask, &[Reply::Refused, Reply::Done]);
    lab.start("r", &draft);
    lab.settle();
    assert_eq!(lab.sent, ["pump_1.measure", "pump_2.measure", "pump_1.after"]);
    assert_eq!(lab.ending("r"), Some(Ending::Complete));
    let mut lab = Lab::new(InDoubt::Ask, &[Reply::Refused; 3]);
    lab.start("r", &draft);
    lab.settle();
    assert_eq!(lab.sent, ["pump_1.measure", "pump_2.measure", "pump_3.measure"]);
    assert_eq!(lab.ending("r"), Some(Ending::Failed));
}

#[test]
fn a_dose_that_may_have_been_given_goes_to_no_other_instrument() {
    let draft = with_fallback("inject", Effect::Once);
    let mut lab = Lab::new(InDoubt::Discard, &[Reply::LostAfter]);
    lab.start("r", &draft);
    lab.settle();
    assert_eq!(lab.sent, ["pump_1.inject"]);
    assert_eq!(lab.ending("r"), Some(Ending::Invalid));
}

#[test]
fn a_crash_while_another_instrument_stands_in_repeats_nothing() {
    let draft = with_fallback("inject", Effect::Once);
    let mut lab = Lab::new(InDoubt::Discard, &[Reply::Refused, Reply::Silent]);
    lab.start("r", &draft);
    lab.crash(InDoubt::Discard);
    assert_eq!(lab.sent, ["pump_1.inject", "pump_2.inject"]);
    assert_eq!(lab.ending("r"), Some(Ending::Invalid));
}

#[test]
fn a_time_limit_between_steps_is_kept_or_the_step_fails() {
    let mut draft = Draft::new();
    draft.action(0, "one", "pump_1", Effect::Repeatable);
    draft.action(0, "two", "pump_2", Effect::Repeatable);
    draft.graph.edges[0].max = Some(5 * SECOND);
    let mut other = Draft::new();
    other.action(0, "long", "pump_2", Effect::Repeatable);
    let mut lab = Lab::new(InDoubt::Ask, &[Reply::Silent, Reply::Done]);
    // Another run keeps the instrument for longer than the limit allows.
    lab.start("other", &other);
    lab.start("r", &draft);
    lab.settle();
    assert_eq!(lab.count("two"), 0);
    assert_eq!(lab.ending("r"), Some(Ending::Failed));
}

#[test]
fn two_runs_never_hold_one_instrument_at_once_and_both_end() {
    let block = |first: &str, second: &str| {
        let mut draft = Draft::new();
        let hold = NodeKind::Group { hold: vec![first.to_owned()] };
        let group = draft.add(Some(0), "hold", hold);
        draft.action(group, "a", first, Effect::Repeatable);
        let wait = NodeKind::Wait { duration: expr::parse("10 s").unwrap() };
        draft.add(Some(group), "wait", wait);
        draft.action(group, "b", second, Effect::Repeatable);
        draft
    };
    let mut lab = Lab::new(InDoubt::Ask, &[]);
    lab.start("x", &block("pump_1", "pump_2"));
    lab.start("y", &block("pump_2", "pump_1"));
    assert_eq!(lab.sent, ["pump_1.a"], "the younger run waits for all it needs");
    lab.settle();
    assert_eq!(lab.sent, ["pump_1.a", "pump_2.b", "pump_2.a", "pump_1.b"]);
    assert_eq!(
        (lab.ending("x"), lab.ending("y")),
        (Some(Ending::Complete), Some(Ending::Complete))
    );
}

#[test]
fn stop_ends_the_step_and_abort_does_not_wait() {
    let mut draft = Draft::new();
    draft.action(0, "start", "pump_1", Effect::Repeatable);
    draft.add(Some(0), "wait", NodeKind::Wait { duration: expr::parse("1 h").unwrap() });
    let finally = draft.finally();
    draft.action(finally, "stop", "pump_1", Effect::Repeatable);
    for (command, finally_ran, ending) in
        [(Command::Stop, 1, Ending::Stopped), (Command::Abort, 0, Ending::Aborted)]
    {
        let mut lab = Lab::new(InDoubt::Ask, &[]);
        lab.start("r", &draft);
        lab.give(Event::Command { run: "r".into(), command, by: "Ada".into() });
        assert_eq!((lab.count("stop"), lab.ending("r")), (finally_ran, Some(ending)));
        assert_eq!(lab.safe, ["pump_1"]);
    }
}

pub fn reply() -> impl Strategy<Value = Reply> {
    prop::sample::select(vec![
        Reply::Done,
        Reply::Done,
        Reply::Refused,
        Reply::LostAfter,
        Reply::LostBefore,
        Reply::Silent,
        Reply::SilentAfter,
    ])
}

proptest! {
    /// Whatever is lost and whenever the engine dies: no dose twice, and every run ends.
    #[test]
    fn no_dose_is_given_twice(
        replies in prop::collection::vec(reply(), 0..12),
        crashes in prop::collection::vec(any::<bool>(), 0..6),
    ) {
        let mut draft = Draft::new();
        for name in ["set", "dispense", "set2", "dispense", "inject"] {
            let effect = match name {
                "dispense" => Effect::Verifiable,
                "inject" => Effect::Once,
                _ => Effect::Repeatable,
            };
            let step = draft.action(0, name, "pump_1", effect);
            if effect != Effect::Once {
                draft.node(step).retry = Some(Retry { times: 1, wait: SECOND, factor: 1.0, max_wait: None, only: Vec::new() });
            }
        }
        let finally = draft.finally();
        draft.action(finally, "stop", "pump_1", Effect::Repeatable);
        let mut lab = Lab::new(InDoubt::Discard, &replies);
        lab.start("r", &draft);
        for crash in crashes {
            if crash { lab.crash(InDoubt::Discard) } else { lab.settle() }
        }
        lab.crash(InDoubt::Discard);
        lab.settle();
        prop_assert!(lab.ending("r").is_some());
        prop_assert!(lab.count("inject") <= 1);
        let doses = (lab.dispensed - 100.0) / 5.0;
        prop_assert!(doses <= 2.0, "{doses} doses of two");
        if lab.ending("r") == Some(Ending::Complete) {
            prop_assert_eq!(doses, 2.0);
        }
        // Every command on the wire has its intent in the journal.
        let intents = lab.records.iter().filter(|r| matches!(r, Record::Intent { .. })).count();
        prop_assert_eq!(intents, lab.sent.len());
        // The journal alone gives the same state back.
        let mut again = Core::new(InDoubt::Discard, Duration::ZERO);
        for record in &lab.records {
            again.apply(record, lab.now, || lab.graphs.get(record.run()).cloned());
        }
        let phase = |core: &Core| core.run("r").map(|r| (r.phase, r.ready.clone()));
        prop_assert_eq!(phase(&again), phase(&lab.core));
        let made_safe: BTreeSet<&String> = lab.safe.iter().collect();
        prop_assert!(lab.ending("r") == Some(Ending::Complete) || lab.sent.is_empty()
            || made_safe.contains(&"pump_1".to_owned()));
    }
}
