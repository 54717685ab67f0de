//! Pausing, holding, going on, stopping and aborting, from wherever a run stands.

use std::time::Duration;

use super::SECOND;
use super::lab::{Draft, Lab, Reply};
use crate::compiler::graph::{Effect, HoldState, NodeKind, Retry};
use crate::engine::core::{
    Cause, Command, Ending, Event, Failure, Heard, InDoubt, Record, RunState, StepKey,
};

const MINUTE: Duration = Duration::from_secs(60);

/// A pump that runs while another step waits an hour.
fn pumping() -> Draft {
    let mut draft = Draft::new();
    let start = draft.action(0, "start", "pump_1", Effect::Repeatable);
    draft.starts(start, "pumps");
    draft.wait(0, "wait", "1 h");
    draft.action(0, "after", "pump_2", Effect::Repeatable);
    let finally = draft.finally();
    let stop = draft.action(finally, "stop", "pump_1", Effect::Repeatable);
    draft.stops(stop);
    draft
}

fn attempts(lab: &Lab) -> Vec<(String, u32)> {
    let intent = |r: &Record| match r {
        Record::Intent { step, attempt, .. } => Some((step.path.clone(), *attempt)),
        _ => None,
    };
    lab.records.iter().filter_map(intent).collect()
}

#[test]
fn a_pause_lets_the_step_under_way_end_and_starts_no_other() {
    let mut draft = Draft::new();
    draft.wait(0, "wait", "10 min");
    draft.action(0, "after", "pump_1", Effect::Repeatable);
    let mut lab = Lab::new(InDoubt::Ask, &[]);
    lab.start("r", &draft);
    assert_eq!(lab.command("r", Command::Pause).heard, Heard::Accepted);
    assert_eq!(lab.state("r"), RunState::Pausing);
    assert_eq!(lab.command("r", Command::Pause).heard, Heard::Already);
    lab.pass(20 * MINUTE);
    assert_eq!((lab.state("r"), lab.count("after")), (RunState::Paused, 0));
    assert!(lab.held.is_empty(), "a pause leaves instruments as they are");
    assert_eq!(lab.command("r", Command::Resume).state, Some(RunState::Running));
    lab.settle();
    assert_eq!((lab.count("after"), lab.ending("r")), (1, Some(Ending::Complete)));
}

#[test]
fn a_failure_during_a_pause_waits_for_the_run_to_go_on() {
    let mut draft = Draft::new();
    draft.action(0, "set", "pump_1", Effect::Repeatable);
    let finally = draft.finally();
    draft.action(finally, "stop", "pump_1", Effect::Repeatable);
    let mut lab = Lab::new(InDoubt::Ask, &[Reply::Silent]);
    lab.start("r", &draft);
    lab.command("r", Command::Pause);
    lab.settle();
    assert_eq!((lab.state("r"), lab.count("stop")), (RunState::Paused, 0));
    lab.command("r", Command::Resume);
    lab.settle();
    assert_eq!((lab.count("stop"), lab.ending("r")), (1, Some(Ending::Failed)));
}

#[test]
fn a_hold_stops_what_pumps_and_a_resume_sets_it_going_again() {
    let mut lab = Lab::new(InDoubt::Ask, &[]);
    lab.start("r", &pumping());
    assert_eq!(lab.command("r", Command::Hold).heard, Heard::Accepted);
    assert_eq!(lab.state("r"), RunState::Held);
    assert_eq!(lab.held, ["pump_1 Safe"]);
    assert!(lab.safe.is_empty() && lab.sent == ["pump_1.start"]);
    assert_eq!(lab.command("r", Command::Hold).heard, Heard::Already);
    assert_eq!(lab.command("r", Command::Pause).heard, Heard::Already);
    assert_eq!(lab.held.len(), 1, "a second hold sends nothing");
    assert_eq!(lab.command("r", Command::Resume).heard, Heard::Accepted);
    assert_eq!(lab.state("r"), RunState::Running);
    assert_eq!(lab.sent, ["pump_1.start", "pump_1.start"]);
    assert_eq!(attempts(&lab), [("start".to_owned(), 1), ("start".to_owned(), 2)]);
    lab.settle();
    assert_eq!(lab.ending("r"), Some(Ending::Complete));
    assert_eq!(lab.sent, ["pump_1.start", "pump_1.start", "pump_2.after", "pump_1.stop"]);
}

#[test]
fn what_heats_or_stirs_stays_as_it_is_and_a_definition_may_say_otherwise() {
    let mut draft = Draft::new();
    let heat = draft.action(0, "heat", "bath", Effect::Repeatable);
    draft.starts(heat, "heats");
    let stir = draft.action(0, "stir", "stirrer", Effect::Repeatable);
    draft.starts(stir, "moves");
    draft.action(0, "set", "valve", Effect::Repeatable);
    draft.wait(0, "wait", "1 h");
    draft.graph.hold_states.insert("stirrer".into(), HoldState::Stays);
    draft.graph.hold_states.insert("valve".into(), HoldState::Declared);
    let mut lab = Lab::new(InDoubt::Ask, &[]);
    lab.start("r", &draft);
    lab.command("r", Command::Hold);
    assert_eq!((lab.state("r"), &*lab.held), (RunState::Held, &["valve Declared".to_owned()][..]));
    let told: Vec<&str> = lab
        .records
        .iter()
        .filter_map(|r| match r {
            Record::AtHold { instrument, confirmed: true, .. } => Some(instrument.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(told, ["bath", "stirrer", "valve"], "each instrument is told of");
}

#[test]
fn an_instrument_that_does_not_confirm_its_hold_state_is_said_to_and_the_run_is_held() {
    let mut lab = Lab::new(InDoubt::Ask, &[]);
    lab.deaf = true;
    lab.start("r", &pumping());
    lab.command("r", Command::Hold);
    assert_eq!(lab.state("r"), RunState::Held);
    let not = |r: &Record| matches!(r, Record::AtHold { confirmed: false, .. });
    assert_eq!(lab.records.iter().filter(|r| not(r)).count(), 1);
}

#[test]
fn a_dose_cut_in_half_by_a_hold_is_in_doubt_and_is_not_given_again() {
    let mut draft = Draft::new();
    let dose = draft.action(0, "dispense", "pump_1", Effect::Verifiable);
    draft.cancels(dose);
    let mut lab = Lab::new(InDoubt::Ask, &[Reply::HalfDone]);
    lab.start("r", &draft);
    lab.command("r", Command::Hold);
    assert_eq!(lab.sent, ["pump_1.dispense", "pump_1.cancel"]);
    assert_eq!(lab.held, ["pump_1 Safe"], "what was cut short may still move");
    lab.pass(MINUTE);
    assert_eq!((lab.state("r"), lab.questions()), (RunState::Held, 1));
    lab.command("r", Command::Resume);
    assert_eq!(lab.count("dispense"), 1);
    assert_eq!(lab.answer("r", "dispense", "discard", "Ada"), Heard::Accepted);
    lab.settle();
    assert_eq!((lab.count("dispense"), lab.ending("r")), (1, Some(Ending::Invalid)));
}

#[test]
fn a_dose_that_a_hold_stopped_before_it_began_is_given_once() {
    let mut draft = Draft::new();
    let dose = draft.action(0, "dispense", "pump_1", Effect::Verifiable);
    draft.cancels(dose);
    let mut lab = Lab::new(InDoubt::Ask, &[Reply::Silent]);
    lab.start("r", &draft);
    lab.command("r", Command::Hold);
    lab.pass(MINUTE);
    // The witness proves that nothing happened; being cut short is no failure of the step.
    assert_eq!((lab.state("r"), lab.questions()), (RunState::Held, 0));
    assert_eq!(lab.count("dispense"), 1);
    lab.command("r", Command::Resume);
    lab.settle();
    assert_eq!((lab.count("dispense"), lab.ending("r")), (2, Some(Ending::Complete)));
    assert_eq!(lab.dispensed, 105.0);
}

#[test]
fn a_command_cut_short_by_a_hold_has_not_failed_and_is_sent_again() {
    let mut draft = Draft::new();
    let set = draft.action(0, "set", "pump_1", Effect::Repeatable);
    draft.cancels(set);
    let mut lab = Lab::new(InDoubt::Ask, &[Reply::Silent]);
    lab.start("r", &draft);
    lab.command("r", Command::Hold);
    assert_eq!((lab.state("r"), lab.count("cancel")), (RunState::Held, 1));
    assert_eq!(lab.held, ["pump_1 Safe"], "what was cut short may still move");
    // It has no retry, and needs none.
    lab.command("r", Command::Resume);
    assert_eq!((lab.count("set"), lab.ending("r")), (2, Some(Ending::Complete)));
    // What its time limit has run out for is not sent again.
    let mut draft = Draft::new();
    draft.action(0, "before", "pump_2", Effect::Repeatable);
    let set = draft.action(0, "set", "pump_1", Effect::Repeatable);
    draft.cancels(set);
    draft.graph.edges[0].max = Some(5 * SECOND);
    let mut lab = Lab::new(InDoubt::Ask, &[Reply::Done, Reply::Silent]);
    lab.start("r", &draft);
    lab.command("r", Command::Hold);
    lab.pass(MINUTE);
    lab.command("r", Command::Resume);
    lab.settle();
    assert_eq!((lab.count("set"), lab.ending("r")), (1, Some(Ending::Failed)));
}

#[test]
fn a_hold_awaits_what_cannot_be_cancelled() {
    let mut draft = Draft::new();
    let start = draft.action(0, "start", "pump_1", Effect::Repeatable);
    draft.starts(start, "pumps");
    draft.action(0, "dispense", "pump_1", Effect::Once);
    let mut lab = Lab::new(InDoubt::Ask, &[Reply::Done, Reply::SilentAfter]);
    lab.start("r", &draft);
    lab.command("r", Command::Hold);
    assert_eq!(lab.state("r"), RunState::Holding);
    assert!(lab.held.is_empty(), "nothing comes between a command and its outcome");
    let key = StepKey { node: crate::compiler::graph::NodeId(2), rounds: Vec::new() };
    let (run, result, trace) = ("r".into(), Ok(None), String::new());
    lab.give(Event::Outcome { run, key, attempt: 1, result, trace });
    assert_eq!((lab.state("r"), &*lab.held), (RunState::Held, &["pump_1 Safe".to_owned()][..]));
}

#[test]
fn time_stands_still_for_waits_and_deadlines_but_not_for_limits_between_steps() {
    // A wait of an hour, held for two, goes on where it was.
    let mut lab = Lab::new(InDoubt::Ask, &[]);
    lab.start("r", &pumping());
    lab.pass(30 * MINUTE);
    lab.command("r", Command::Hold);
    lab.pass(120 * MINUTE);
    lab.command("r", Command::Resume);
    lab.pass(29 * MINUTE);
    assert_eq!(lab.count("after"), 0);
    lab.pass(2 * MINUTE);
    assert_eq!(lab.count("after"), 1);
    // A deadline of a condition is held too.
    let mut draft = Draft::new();
    let kind = NodeKind::WaitUntil {
        condition: Draft::condition("run.elapsed > 100 h"),
        stable_for: SECOND,
    };
    let until = draft.add(Some(0), "until", kind);
    draft.node(until).deadline = Some(10 * MINUTE);
    let mut lab = Lab::new(InDoubt::Ask, &[]);
    lab.start("r", &draft);
    lab.pass(5 * MINUTE);
    lab.command("r", Command::Hold);
    lab.pass(60 * MINUTE);
    lab.command("r", Command::Resume);
    lab.pass(4 * MINUTE);
    assert_eq!(lab.state("r"), RunState::Running);
    lab.pass(2 * MINUTE);
    assert_eq!(lab.ending("r"), Some(Ending::Failed));
    // What stands in a flask goes on reacting: `within` is broken by the hold.
    let mut draft = Draft::new();
    draft.action(0, "one", "pump_1", Effect::Repeatable);
    draft.action(0, "two", "pump_2", Effect::Repeatable);
    draft.graph.edges[0].max = Some(5 * SECOND);
    let mut lab = Lab::new(InDoubt::Ask, &[Reply::Silent]);
    lab.start("r", &draft);
    lab.command("r", Command::Hold);
    let key = StepKey { node: crate::compiler::graph::NodeId(1), rounds: Vec::new() };
    let (run, result, trace) = ("r".into(), Ok(None), String::new());
    lab.give(Event::Outcome { run, key, attempt: 1, result, trace });
    lab.pass(MINUTE);
    lab.command("r", Command::Resume);
    lab.settle();
    assert_eq!((lab.count("two"), lab.ending("r")), (0, Some(Ending::Failed)));
}

#[test]
fn a_retry_that_waits_goes_on_waiting_after_a_hold() {
    let mut draft = Draft::new();
    let step = draft.action(0, "set", "pump_1", Effect::Repeatable);
    draft.node(step).retry =
        Some(Retry { times: 1, wait: 10 * MINUTE, factor: 1.0, max_wait: None, only: Vec::new() });
    let mut lab = Lab::new(InDoubt::Ask, &[Reply::Refused]);
    lab.start("r", &draft);
    lab.pass(5 * MINUTE);
    lab.command("r", Command::Hold);
    lab.pass(60 * MINUTE);
    lab.command("r", Command::Resume);
    lab.pass(4 * MINUTE);
    assert_eq!(lab.count("set"), 1);
    lab.pass(2 * MINUTE);
    assert_eq!(lab.count("set"), 2);
}

#[test]
fn what_no_machine_can_set_going_again_is_left_to_a_person() {
    let mut draft = Draft::new();
    let start = draft.action(0, "start", "pump_1", Effect::Repeatable);
    draft.starts(start, "pumps");
    draft.action(0, "mode", "pump_1", Effect::Repeatable);
    draft.wait(0, "wait", "1 h");
    let mut lab = Lab::new(InDoubt::Ask, &[]);
    lab.start("r", &draft);
    lab.command("r", Command::Hold);
    lab.command("r", Command::Resume);
    let run = lab.core.run("r").unwrap();
    assert_eq!(run.state(), RunState::Held);
    assert!(run.holds[0].detail.contains("mode"), "{:?}", run.holds);
    assert_eq!(lab.sent, ["pump_1.start", "pump_1.mode"]);
    // A person has set it and says so.
    lab.command("r", Command::Resume);
    assert_eq!((lab.state("r"), lab.sent.len()), (RunState::Running, 2));
}

#[test]
fn a_restart_that_fails_holds_the_run_again() {
    let replies = [Reply::Done, Reply::Refused, Reply::Done];
    let mut lab = Lab::new(InDoubt::Ask, &replies);
    lab.start("r", &pumping());
    lab.command("r", Command::Hold);
    lab.command("r", Command::Resume);
    assert_eq!((lab.state("r"), lab.count("start")), (RunState::Held, 2));
    assert_eq!(lab.held, ["pump_1 Safe", "pump_1 Safe"]);
    lab.command("r", Command::Resume);
    assert_eq!((lab.state("r"), lab.count("start")), (RunState::Running, 3));
    lab.settle();
    assert_eq!(lab.ending("r"), Some(Ending::Complete));
}

#[test]
fn a_run_does_not_go_on_without_its_instruments() {
    let mut lab = Lab::new(InDoubt::Ask, &[]);
    lab.start("r", &pumping());
    lab.command("r", Command::Hold);
    lab.give(Event::LinkLost { instrument: "pump_1".into() });
    let reply = lab.command("r", Command::Resume);
    assert_eq!((reply.heard, lab.state("r")), (Heard::Refused, RunState::Held));
    assert!(reply.message.contains("pump_1"), "{}", reply.message);
    lab.give(Event::LinkUp { instrument: "pump_1".into() });
    assert_eq!(lab.command("r", Command::Resume).heard, Heard::Accepted);
    assert_eq!(lab.state("r"), RunState::Running);
}

#[test]
fn a_run_held_for_a_cause_goes_on_when_it_passes_but_not_over_a_persons_word() {
    let mut lab = Lab::new(InDoubt::Ask, &[]);
    lab.start("r", &pumping());
    let low = || Event::HoldAll { cause: Cause::Disk, detail: "1 MiB left".into() };
    lab.give(low());
    lab.give(low());
    assert_eq!(lab.state("r"), RunState::Held);
    let reply = lab.command("r", Command::Resume);
    assert_eq!(reply.heard, Heard::Refused, "{}", reply.message);
    // One that starts meanwhile is held from its start.
    let mut other = Draft::new();
    other.action(0, "set", "pump_2", Effect::Repeatable);
    lab.start("late", &other);
    assert_eq!((lab.state("late"), lab.count("set")), (RunState::Held, 0));
    lab.give(Event::Passed { cause: Cause::Disk });
    assert_eq!(lab.state("r"), RunState::Running);
    assert_eq!((lab.count("set"), lab.count("start")), (1, 2));
    // Held by a person as well, it stays held.
    lab.give(low());
    assert_eq!(lab.command("r", Command::Hold).heard, Heard::Accepted);
    lab.give(Event::Passed { cause: Cause::Disk });
    assert_eq!(lab.state("r"), RunState::Held);
    assert_eq!(lab.command("r", Command::Resume).heard, Heard::Accepted);
    assert_eq!(lab.state("r"), RunState::Running);
    // Paused by a person before, it is paused after.
    lab.command("r", Command::Pause);
    lab.give(low());
    lab.give(Event::Passed { cause: Cause::Disk });
    assert_eq!(lab.state("r"), RunState::Paused);
    // Two causes: both must pass.
    lab.give(low());
    lab.give(Event::HoldAll { cause: Cause::Clock, detail: "one hour back".into() });
    lab.give(Event::Passed { cause: Cause::Disk });
    assert_eq!(lab.state("r"), RunState::Held);
    lab.give(Event::Passed { cause: Cause::Clock });
    assert_eq!(lab.state("r"), RunState::Paused);
}

#[test]
fn stop_and_abort_end_a_run_from_wherever_it_stands() {
    for before in [None, Some(Command::Pause), Some(Command::Hold)] {
        for (command, finally, ending) in
            [(Command::Stop, 1, Ending::Stopped), (Command::Abort, 0, Ending::Aborted)]
        {
            let mut lab = Lab::new(InDoubt::Ask, &[]);
            lab.start("r", &pumping());
            if let Some(before) = before {
                lab.command("r", before);
            }
            assert_eq!(lab.command("r", command).heard, Heard::Accepted);
            lab.settle();
            assert_eq!(lab.ending("r"), Some(ending), "{before:?} {command:?}");
            assert_eq!(lab.count("stop"), finally, "{before:?} {command:?}");
            assert_eq!(lab.safe, ["pump_1"], "{before:?} {command:?}");
            assert_eq!(lab.command("r", Command::Abort).heard, Heard::Already);
            assert_eq!(lab.command("r", Command::Resume).heard, Heard::Refused);
        }
    }
}

#[test]
fn an_abort_reaches_a_run_in_its_finally_and_keeps_its_results() {
    let mut draft = pumping();
    draft.graph.nodes.truncate(2);
    draft.graph.edges.clear();
    draft.graph.finally = None;
    let finally = draft.finally();
    draft.wait(finally, "cool", "1 h");
    let mut lab = Lab::new(InDoubt::Ask, &[]);
    lab.start("r", &draft);
    assert_eq!(lab.state("r"), RunState::Completing);
    assert_eq!(lab.command("r", Command::Hold).heard, Heard::Refused);
    lab.command("r", Command::Abort);
    assert_eq!((lab.ending("r"), &*lab.safe), (Some(Ending::Aborted), &["pump_1".to_owned()][..]));
}

#[test]
fn the_emergency_stop_aborts_every_run_and_keeps_new_ones_from_starting() {
    let mut lab = Lab::new(InDoubt::Ask, &[]);
    lab.start("a", &pumping());
    lab.start("b", &pumping());
    lab.command("b", Command::Hold);
    let pressed = Event::Emergency { by: "button".into(), detail: "contact open".into() };
    lab.give(pressed);
    lab.settle();
    assert_eq!(lab.ending("a"), Some(Ending::Aborted));
    assert_eq!(lab.ending("b"), Some(Ending::Aborted));
    let mut other = Draft::new();
    other.action(0, "set", "pump_2", Effect::Repeatable);
    lab.start("c", &other);
    assert_eq!((lab.state("c"), lab.count("set")), (RunState::Held, 0));
    lab.give(Event::Passed { cause: Cause::Emergency });
    assert_eq!(lab.count("set"), 1);
}

#[test]
fn an_instrument_that_another_run_uses_now_is_not_touched_by_a_hold() {
    let mut first = pumping();
    // Even where its definition has a hold state of its own.
    first.graph.hold_states.insert("pump_1".into(), HoldState::Declared);
    let mut second = Draft::new();
    second.action(0, "dispense", "pump_1", Effect::Once);
    second.wait(0, "wait", "1 h");
    let mut lab = Lab::new(InDoubt::Ask, &[]);
    lab.start("a", &first);
    lab.start("b", &second);
    assert_eq!(lab.sent, ["pump_1.start", "pump_1.dispense"]);
    lab.command("a", Command::Hold);
    assert_eq!((lab.state("a"), lab.held.len()), (RunState::Held, 0));
    lab.command("a", Command::Resume);
    assert_eq!((lab.state("a"), lab.count("start")), (RunState::Running, 1));
}

#[test]
fn a_command_under_way_when_its_run_is_held_keeps_its_outcome() {
    let mut draft = Draft::new();
    draft.action(0, "set", "pump_1", Effect::Repeatable);
    draft.action(0, "next", "pump_1", Effect::Repeatable);
    let mut lab = Lab::new(InDoubt::Ask, &[Reply::Silent]);
    lab.start("r", &draft);
    lab.command("r", Command::Hold);
    let key = StepKey { node: crate::compiler::graph::NodeId(1), rounds: Vec::new() };
    let failure = Failure {
        kind: crate::compiler::graph::FailureKind::Refused,
        message: "no".into(),
        effect_unknown: false,
    };
    let (run, result, trace) = ("r".into(), Err(failure), String::new());
    lab.give(Event::Outcome { run, key, attempt: 1, result, trace });
    // It failed, but a run that is held does not run its `finally`.
    assert_eq!((lab.state("r"), lab.ending("r")), (RunState::Held, None));
    lab.command("r", Command::Resume);
    lab.settle();
    assert_eq!(lab.ending("r"), Some(Ending::Failed));
}
