//! What readers of the whole found: what is decided before an engine knows where it stands, what a
//! hold stops and nobody sets going again, and what keeps the safe states waiting.

use std::time::Duration;

use super::SECOND;
use super::lab::{Draft, Lab, Reply};
use crate::compiler::graph::{Effect, NodeKind};
use crate::engine::core::{Cause, Command, Core, Ending, Event, InDoubt, RunState};

/// A new core that has read the journal and was told nothing yet.
fn reread(lab: &mut Lab) {
    lab.core = Core::new(InDoubt::Ask, Duration::ZERO);
    for record in &lab.records {
        let graphs = &lab.graphs;
        lab.core.apply(record, lab.now, || graphs.get(record.run()).cloned());
    }
}

fn dosing_after_a_wait() -> Draft {
    let mut draft = Draft::new();
    draft.wait(0, "wait", "10 min");
    draft.action(0, "inject", "pump_1", Effect::Once);
    draft
}

#[test]
fn nothing_is_decided_before_a_new_engine_knows_what_was_under_way() {
    let mut lab = Lab::new(InDoubt::Ask, &[]);
    lab.start("r", &dosing_after_a_wait());
    lab.start("s", &dosing_after_a_wait());
    lab.now = lab.now.after(20 * 60 * SECOND);
    reread(&mut lab);
    // Anything may be heard first: the wait is over, and what followed it may have been sent.
    let by = || "Ben".to_owned();
    lab.give(Event::Taken { instrument: "pump_2".into(), by: by() });
    lab.give(Event::Gap);
    lab.give(Event::Wake);
    lab.give(Event::Command { run: "r".into(), command: Command::Hold, by: by() });
    assert_eq!(lab.count("inject"), 0);
    lab.give(Event::Recovered { downtime: SECOND });
    lab.settle();
    assert_eq!((lab.state("r"), lab.ending("s")), (RunState::Held, Some(Ending::Complete)));
    assert_eq!(lab.count("inject"), 1, "that of s, which nothing holds");
}

#[test]
fn what_an_earlier_round_of_a_loop_set_going_is_set_going_again() {
    let mut draft = Draft::new();
    let until = Some(Draft::condition("loop.index >= 3"));
    let body = draft.add(Some(0), "body", NodeKind::Repeat { max_times: 3, until });
    draft.wait(body, "wait", "5 min");
    let start = draft.action(body, "start", "pump_1", Effect::Repeatable);
    draft.starts(start, "pumps");
    let mut lab = Lab::new(InDoubt::Ask, &[]);
    lab.start("r", &draft);
    // In the wait of the second round the pump of the first runs.
    lab.pass(6 * 60 * SECOND);
    assert_eq!(lab.sent, ["pump_1.start"]);
    lab.command("r", Command::Hold);
    assert_eq!(lab.held, ["pump_1 Safe"]);
    lab.command("r", Command::Resume);
    assert_eq!((lab.state("r"), lab.count("start")), (RunState::Running, 2));
}

/// Two instruments of which nothing can tell whether they were going.
fn unclear_twice() -> Draft {
    let mut draft = Draft::new();
    for pump in ["pump_1", "pump_2"] {
        let start = draft.action(0, "start", pump, Effect::Repeatable);
        draft.starts(start, "pumps");
        draft.action(0, "turn", pump, Effect::Repeatable);
    }
    draft.wait(0, "wait", "1 h");
    draft
}

#[test]
fn whoever_is_to_set_instruments_by_hand_is_told_of_all_of_them() {
    let mut lab = Lab::new(InDoubt::Ask, &[]);
    lab.start("r", &unclear_twice());
    lab.command("r", Command::Hold);
    // One of them is not connected either: that is said later, and is no reason to say less.
    lab.give(Event::LinkLost { instrument: "pump_1".into() });
    lab.give(Event::LinkUp { instrument: "pump_1".into() });
    lab.command("r", Command::Resume);
    let run = lab.core.run("r").unwrap();
    let held = run.holds.iter().find(|held| held.cause == Cause::Restart).unwrap();
    assert!(held.detail.contains("pump_1") && held.detail.contains("pump_2"), "{}", held.detail);
    lab.command("r", Command::Resume);
    assert_eq!(lab.state("r"), RunState::Running);
    // A hold later on asks anew: what was set by hand then is stopped now.
    lab.command("r", Command::Hold);
    lab.command("r", Command::Resume);
    assert!(lab.core.run("r").unwrap().is_held_by(Cause::Restart));
}

#[test]
fn a_doubt_in_finally_does_not_keep_the_safe_states_waiting() {
    let mut draft = Draft::new();
    let start = draft.action(0, "start", "pump_1", Effect::Repeatable);
    draft.starts(start, "pumps");
    let finally = draft.finally();
    draft.action(finally, "inject", "pump_2", Effect::Once);
    let mut lab = Lab::new(InDoubt::Ask, &[Reply::Done, Reply::Silent]);
    lab.start("r", &draft);
    assert_eq!(lab.state("r"), RunState::Completing);
    lab.restart(SECOND);
    lab.pass(60 * SECOND);
    assert_eq!((lab.questions(), lab.count("inject")), (0, 1));
    assert!(lab.safe.contains(&"pump_1".to_owned()), "{:?}", lab.safe);
    assert!(lab.ending("r").is_some());
}

#[test]
fn a_doubt_of_a_run_that_was_stopped_does_not_keep_its_finally_waiting() {
    let mut draft = Draft::new();
    let start = draft.action(0, "start", "pump_1", Effect::Repeatable);
    draft.starts(start, "pumps");
    draft.action(0, "inject", "pump_2", Effect::Once);
    let finally = draft.finally();
    let stop = draft.action(finally, "stop", "pump_1", Effect::Repeatable);
    draft.stops(stop);
    let mut lab = Lab::new(InDoubt::Ask, &[Reply::Done, Reply::Silent]);
    lab.start("r", &draft);
    lab.command("r", Command::Stop);
    assert_eq!(lab.count("stop"), 0, "what is under way is awaited");
    lab.restart(SECOND);
    lab.pass(60 * SECOND);
    assert_eq!((lab.count("stop"), lab.ending("r")), (1, Some(Ending::Stopped)));
}

#[test]
fn not_done_by_a_person_is_sent_again_as_the_question_says() {
    let mut draft = Draft::new();
    draft.action(0, "inject", "pump_1", Effect::Once);
    let mut lab = Lab::new(InDoubt::Ask, &[Reply::LostBefore]);
    lab.start("r", &draft);
    assert_eq!(lab.questions(), 1);
    lab.answer("r", "inject", "not done", "Ada");
    lab.settle();
    assert_eq!((lab.count("inject"), lab.ending("r")), (2, Some(Ending::Complete)));
}

/// A step that must begin at most so long after the one before.
fn within(effect: Effect) -> Draft {
    let mut draft = Draft::new();
    draft.action(0, "set", "pump_1", Effect::Repeatable);
    draft.action(0, "dispense", "pump_2", effect);
    draft.graph.edges.iter_mut().for_each(|edge| edge.max = Some(10 * SECOND));
    draft
}

#[test]
fn what_had_begun_in_time_is_said_again_after_a_crash_and_what_had_not_is_too_late() {
    // Sent again because that gives the same state: it had begun.
    let mut lab = Lab::new(InDoubt::Ask, &[Reply::Done, Reply::Silent]);
    lab.start("r", &within(Effect::Repeatable));
    lab.restart_later(60 * SECOND);
    lab.settle();
    assert_eq!((lab.ending("r"), lab.count("dispense")), (Some(Ending::Complete), 2));
    // Proved not to have happened: it would begin a minute too late.
    let mut lab = Lab::new(InDoubt::Ask, &[Reply::Done, Reply::Silent]);
    lab.start("r", &within(Effect::Verifiable));
    lab.restart_later(60 * SECOND);
    lab.settle();
    assert_eq!((lab.ending("r"), lab.count("dispense")), (Some(Ending::Failed), 1));
}
