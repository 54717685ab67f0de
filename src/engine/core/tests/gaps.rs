//! Engines that stood still, and restarts that were broken off: found by simulation, seeds in
//! `tests/simulation`.

use std::time::Duration;

use super::SECOND;
use super::lab::{Draft, Lab, Reply};
use crate::compiler::graph::Effect;
use crate::engine::core::{Cause, Command, Ending, Event, InDoubt, Record, RunState, StepKey};

/// One pump that two actions set going, one after the other.
fn set_going_in_two() -> Draft {
    let mut draft = Draft::new();
    let grip = draft.action(0, "grip", "pump_1", Effect::Repeatable);
    draft.starts(grip, "moves");
    let start = draft.action(0, "start", "pump_1", Effect::Repeatable);
    draft.starts(start, "pumps");
    draft.wait(0, "wait", "1 h");
    draft
}

fn pumping_too() -> Draft {
    let mut draft = Draft::new();
    draft.action(0, "other", "pump_1", Effect::Repeatable);
    draft
}

fn step_of(lab: &Lab, name: &str) -> StepKey {
    let intent = lab.records.iter().find_map(|r| match r {
        Record::Intent { step, .. } if step.path == name => Some(step.key.clone()),
        _ => None,
    });
    intent.unwrap()
}

#[test]
fn a_command_given_out_late_has_its_whole_time_once_the_engine_is_at_work_again() {
    let mut draft = Draft::new();
    draft.action(0, "inject", "pump_1", Effect::Once);
    let mut lab = Lab::new(InDoubt::Ask, &[Reply::Silent]);
    lab.start("r", &draft);
    // It stood still for a minute between its decision and the send; the command has 10 s.
    lab.now = lab.now.after(60 * SECOND);
    lab.give(Event::Gap);
    lab.give(Event::Wake);
    assert_eq!(lab.questions(), 0, "nobody can tell yet");
    lab.pass(5 * SECOND);
    let (run, key, trace) = ("r".to_owned(), step_of(&lab, "inject"), String::new());
    lab.give(Event::Outcome { run, key, attempt: 1, result: Ok(None), trace });
    lab.settle();
    assert_eq!((lab.ending("r"), lab.count("inject")), (Some(Ending::Complete), 1));
}

#[test]
fn a_silence_after_a_gap_is_still_bounded() {
    let mut draft = Draft::new();
    draft.action(0, "inject", "pump_1", Effect::Once);
    let mut lab = Lab::new(InDoubt::Ask, &[Reply::Silent]);
    lab.start("r", &draft);
    lab.now = lab.now.after(60 * SECOND);
    lab.give(Event::Gap);
    lab.settle();
    assert_eq!((lab.questions(), lab.count("inject")), (1, 1));
}

#[test]
fn a_count_that_began_anew_after_it_was_read_proves_nothing() {
    let mut draft = Draft::new();
    draft.action(0, "dispense", "pump_1", Effect::Verifiable);
    let mut lab = Lab::new(InDoubt::Ask, &[Reply::LostAfter]);
    lab.start("r", &draft);
    lab.settle();
    let asked: Vec<_> = lab.witnessed_since.clone();
    assert!(asked.len() > 1, "read before, and to resolve the doubt");
    assert!(asked.iter().all(|since| *since == asked[0]), "{asked:?}: restarts since the first");
    let kept = lab.records.iter().find_map(|r| match r {
        Record::Intent { baseline_at, .. } => *baseline_at,
        _ => None,
    });
    assert_eq!(kept, Some(asked[0]), "also for the engine that comes next");
}

#[test]
fn a_restart_that_was_broken_off_keeps_its_instrument_from_other_runs() {
    let done = Reply::Done;
    let mut lab = Lab::new(InDoubt::Ask, &[done, done, done, Reply::Refused]);
    lab.start("r", &set_going_in_two());
    lab.command("r", Command::Hold);
    lab.command("r", Command::Resume);
    assert_eq!(lab.state("r"), RunState::Held);
    assert!(lab.core.run("r").unwrap().is_held_by(Cause::Restart));
    lab.start("s", &pumping_too());
    assert_eq!(lab.count("other"), 0, "pump_1 is gripped and does not pump");
    let parked = lab.parked.last().unwrap();
    assert!(parked.iter().any(|p| p.run == "s"), "{parked:?}");
    // Also after the engine was killed.
    lab.restart(SECOND);
    assert_eq!(lab.count("other"), 0);
    // In the order in which it was first set going.
    lab.sent.clear();
    lab.command("r", Command::Resume);
    assert_eq!(lab.state("r"), RunState::Running);
    assert_eq!(lab.sent[..2], ["pump_1.grip", "pump_1.start"]);
}

#[test]
fn a_restart_held_half_way_keeps_its_instrument_too_and_gives_it_back_at_the_end() {
    let done = Reply::Done;
    let mut lab = Lab::new(InDoubt::Ask, &[done, done, Reply::Silent]);
    lab.start("r", &set_going_in_two());
    lab.command("r", Command::Hold);
    lab.command("r", Command::Resume);
    lab.command("r", Command::Hold);
    let (run, key, trace) = ("r".to_owned(), step_of(&lab, "grip"), String::new());
    lab.give(Event::Outcome { run, key, attempt: 2, result: Ok(None), trace });
    assert_eq!(lab.state("r"), RunState::Held);
    lab.start("s", &pumping_too());
    assert_eq!(lab.count("other"), 0);
    lab.command("r", Command::Stop);
    lab.settle();
    assert_eq!((lab.ending("r"), lab.count("other")), (Some(Ending::Stopped), 1));
}

#[test]
fn a_run_that_was_stopped_while_it_was_set_going_again_ends_although_the_engine_was_killed() {
    let mut lab = Lab::new(InDoubt::Ask, &[Reply::Done, Reply::Done, Reply::Silent]);
    lab.start("r", &set_going_in_two());
    lab.command("r", Command::Hold);
    lab.command("r", Command::Resume);
    assert_eq!(lab.state("r"), RunState::Restarting);
    lab.command("r", Command::Stop);
    assert_eq!(lab.ending("r"), None, "the outcome of what was sent last is awaited");
    lab.restart(SECOND);
    lab.settle();
    assert_eq!(lab.ending("r"), Some(Ending::Stopped));
}

/// A run that pumps, is held, and ends before its hold state is answered; another waits for the pump.
fn ended_on_its_way_to_hold(command: Command) -> Lab {
    let mut draft = Draft::new();
    let start = draft.action(0, "start", "pump_1", Effect::Repeatable);
    draft.starts(start, "pumps");
    draft.wait(0, "wait", "1 h");
    let finally = draft.finally();
    let stop = draft.action(finally, "stop", "pump_1", Effect::Repeatable);
    draft.stops(stop);
    let mut lab = Lab::new(InDoubt::Ask, &[]);
    lab.start("r", &draft);
    lab.slow = true;
    lab.command("r", Command::Hold);
    lab.start("s", &pumping_too());
    lab.command("r", command);
    lab
}

#[test]
fn a_hold_state_on_its_way_keeps_its_instrument_when_its_run_ends() {
    for command in [Command::Abort, Command::Stop] {
        let mut lab = ended_on_its_way_to_hold(command);
        assert_eq!((lab.ending("r"), lab.count("other")), (None, 0), "{command:?}");
        let (run, instrument) = ("r".to_owned(), "pump_1".to_owned());
        let (confirmed, detail, trace) = (true, String::new(), String::new());
        lab.give(Event::AtHold { run, instrument, confirmed, detail, trace });
        assert!(lab.ending("r").is_some(), "{command:?}");
        lab.settle();
        assert_eq!((lab.ending("s"), lab.count("other")), (Some(Ending::Complete), 1));
    }
}

#[test]
fn a_hold_state_that_nobody_answers_or_whose_engine_died_keeps_nobody_for_ever() {
    let mut lab = ended_on_its_way_to_hold(Command::Abort);
    lab.settle();
    assert_eq!((lab.ending("r"), lab.ending("s")), (Some(Ending::Aborted), Some(Ending::Complete)));
    let mut lab = ended_on_its_way_to_hold(Command::Stop);
    lab.restart(Duration::ZERO);
    assert_eq!((lab.ending("r"), lab.ending("s")), (Some(Ending::Stopped), Some(Ending::Complete)));
}

#[test]
fn after_a_crash_nobody_takes_an_instrument_whose_safe_state_may_be_on_its_way() {
    let mut draft = Draft::new();
    let start = draft.action(0, "start", "pump_1", Effect::Repeatable);
    draft.starts(start, "pumps");
    let mut waits = Draft::new();
    waits.wait(0, "wait", "1 min");
    waits.action(0, "other", "pump_1", Effect::Once);
    let mut lab = Lab::new(InDoubt::Ask, &[]);
    lab.start("older", &waits);
    lab.start("r", &draft);
    // The engine dies with the safe state of `r` on the wire, and the next comes when the wait is over.
    let cut = lab.records.iter().position(|r| matches!(r, Record::FinallyEnded { .. })).unwrap();
    lab.records.truncate(cut + 1);
    lab.restart_later(60 * SECOND);
    let place = |wanted: &dyn Fn(&Record) -> bool| lab.records.iter().position(wanted).unwrap();
    let safe = place(&|r| matches!(r, Record::MadeSafe { run, .. } if run == "r"));
    let sent = place(&|r| matches!(r, Record::Intent { run, .. } if run == "older"));
    assert!(safe < sent, "{:?}", lab.records);
    lab.settle();
    assert_eq!(lab.ending("older"), Some(Ending::Complete));
}
