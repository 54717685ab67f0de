//! What a new engine does with runs of the one before.

use std::time::Duration;

use proptest::prelude::*;

use super::SECOND;
use super::lab::{Draft, Lab, Reply};
use crate::compiler::graph::Effect;
use crate::engine::core::{Cause, Command, Ending, Event, InDoubt, Record, RunState};

const HOUR: Duration = Duration::from_secs(3_600);

/// A pump that runs beside a wait, then an injection.
fn injecting() -> Draft {
    let mut draft = Draft::new();
    let start = draft.action(0, "start", "pump_1", Effect::Repeatable);
    draft.starts(start, "pumps");
    draft.action(0, "inject", "pump_2", Effect::Once);
    draft.action(0, "after", "pump_2", Effect::Repeatable);
    draft
}

fn moves(lab: &Lab) -> Vec<RunState> {
    let to = |r: &Record| match r {
        Record::Moved { to, .. } => Some(*to),
        _ => None,
    };
    lab.records.iter().filter_map(to).collect()
}

#[test]
fn a_run_in_which_all_is_known_goes_on_by_itself() {
    let mut draft = Draft::new();
    draft.wait(0, "wait", "10 min");
    draft.action(0, "set", "pump_1", Effect::Repeatable);
    let mut lab = Lab::new(InDoubt::Ask, &[]);
    lab.start("r", &draft);
    lab.restart(5 * SECOND);
    assert_eq!(moves(&lab), [RunState::Recovering, RunState::Running]);
    assert_eq!(lab.state("r"), RunState::Running);
    lab.settle();
    assert_eq!(lab.ending("r"), Some(Ending::Complete));
}

#[test]
fn a_run_with_a_doubt_is_held_until_it_is_answered_and_then_goes_on() {
    let mut lab = Lab::new(InDoubt::Ask, &[Reply::Done, Reply::Silent]);
    lab.start("r", &injecting());
    lab.restart(SECOND);
    assert_eq!((lab.state("r"), lab.questions()), (RunState::Held, 1));
    assert_eq!(lab.held, ["pump_1 Safe"]);
    assert!(lab.core.run("r").unwrap().is_held_by(Cause::Doubt));
    assert_eq!(lab.count("inject"), 1);
    lab.answer("r", "inject", "done", "Ada");
    // What the hold had stopped is set going again before anything follows.
    assert_eq!(lab.sent, ["pump_1.start", "pump_2.inject", "pump_1.start", "pump_2.after"]);
    assert_eq!(lab.ending("r"), Some(Ending::Complete));
}

#[test]
fn dying_again_and_again_during_recovery_asks_each_question_once() {
    let mut lab = Lab::new(InDoubt::Ask, &[Reply::Done, Reply::Silent]);
    lab.start("r", &injecting());
    for _ in 0..20 {
        lab.restart(SECOND);
    }
    assert_eq!((lab.questions(), lab.count("inject")), (1, 1));
    assert_eq!(lab.state("r"), RunState::Held);
    lab.answer("r", "inject", "not done", "Ada");
    lab.settle();
    assert_eq!((lab.questions(), lab.count("inject")), (1, 2));
    assert_eq!(lab.ending("r"), Some(Ending::Complete));
}

#[test]
fn a_run_comes_up_as_a_person_left_it() {
    for (command, state) in [(Command::Pause, RunState::Paused), (Command::Hold, RunState::Held)] {
        let mut draft = Draft::new();
        let start = draft.action(0, "start", "pump_1", Effect::Repeatable);
        draft.starts(start, "pumps");
        let kind = Draft::condition("run.elapsed > 100 h");
        let kind =
            crate::compiler::graph::NodeKind::WaitUntil { condition: kind, stable_for: SECOND };
        let until = draft.add(Some(0), "until", kind);
        draft.node(until).deadline = Some(SECOND);
        draft.action(0, "after", "pump_2", Effect::Repeatable);
        let mut lab = Lab::new(InDoubt::Ask, &[]);
        lab.start("r", &draft);
        lab.command("r", command);
        lab.pass(HOUR);
        assert_eq!(lab.state("r"), state);
        lab.restart(HOUR);
        lab.settle();
        assert_eq!((lab.state("r"), lab.count("after")), (state, 0), "{command:?}");
    }
}

#[test]
fn a_run_held_for_the_shutdown_goes_on_with_the_next_engine() {
    let mut lab = Lab::new(InDoubt::Ask, &[]);
    let mut draft = injecting();
    draft.wait(0, "wait", "1 h");
    lab.start("r", &draft);
    lab.give(Event::HoldAll { cause: Cause::Shutdown, detail: "SIGTERM".into() });
    assert_eq!(lab.state("r"), RunState::Held);
    lab.restart(SECOND);
    assert_eq!((lab.state("r"), lab.count("start")), (RunState::Running, 2));
    // Not so where the disk is still full when the next engine comes.
    lab.give(Event::HoldAll { cause: Cause::Shutdown, detail: "SIGTERM".into() });
    lab.core = crate::engine::core::Core::new(InDoubt::Ask, Duration::ZERO);
    for record in lab.records.clone() {
        let graphs = lab.graphs.clone();
        lab.core.apply(&record, lab.now, || graphs.get(record.run()).cloned());
    }
    lab.give(Event::HoldAll { cause: Cause::Disk, detail: "no room".into() });
    lab.give(Event::Recovered { downtime: SECOND });
    assert_eq!(lab.state("r"), RunState::Held);
    lab.give(Event::Passed { cause: Cause::Disk });
    assert_eq!(lab.state("r"), RunState::Running);
}

#[test]
fn an_engine_that_dies_while_it_restarts_a_run_begins_the_restart_anew() {
    let replies = [Reply::Done, Reply::Silent];
    let mut lab = Lab::new(InDoubt::Ask, &replies);
    let mut draft = Draft::new();
    let start = draft.action(0, "start", "pump_1", Effect::Repeatable);
    draft.starts(start, "pumps");
    draft.wait(0, "wait", "1 h");
    lab.start("r", &draft);
    lab.command("r", Command::Hold);
    lab.command("r", Command::Resume);
    assert_eq!((lab.state("r"), lab.count("start")), (RunState::Restarting, 2));
    lab.restart(SECOND);
    lab.settle();
    // A person had let it go on, but what it set going is not known to go: a person is told.
    assert_eq!(lab.state("r"), RunState::Held);
    lab.command("r", Command::Resume);
    lab.settle();
    assert_eq!((lab.count("start"), lab.ending("r")), (3, Some(Ending::Complete)));
}

#[test]
fn an_engine_that_dies_while_it_holds_a_run_sends_the_hold_states_again() {
    let mut lab = Lab::new(InDoubt::Ask, &[]);
    let mut draft = injecting();
    draft.wait(0, "wait", "1 h");
    lab.start("r", &draft);
    lab.command("r", Command::Hold);
    // The hold state was about to be sent, and nothing more is known.
    let cut = lab.records.iter().position(|r| matches!(r, Record::ToHold { .. })).unwrap();
    lab.records.truncate(cut + 1);
    lab.held.clear();
    lab.restart(SECOND);
    assert_eq!((&*lab.held, lab.state("r")), (&["pump_1 Safe".to_owned()][..], RunState::Held));
}

#[test]
fn a_run_that_was_left_alone_too_long_asks_once_whether_it_may_go_on() {
    let waiting = || {
        let mut draft = Draft::new();
        let start = draft.action(0, "start", "pump_1", Effect::Repeatable);
        draft.starts(start, "pumps");
        draft.wait(0, "wait", "1 h");
        let finally = draft.finally();
        let stop = draft.action(finally, "stop", "pump_1", Effect::Repeatable);
        draft.stops(stop);
        draft.graph.resume_within = Some(HOUR);
        draft
    };
    let begun = |downtime: Duration| {
        let mut lab = Lab::new(InDoubt::Ask, &[]);
        lab.start("r", &waiting());
        lab.restart(downtime);
        lab
    };
    assert_eq!(begun(HOUR).state("r"), RunState::Running);
    for unknown in [HOUR + SECOND, Duration::MAX] {
        let mut lab = begun(unknown);
        assert_eq!((lab.state("r"), lab.questions()), (RunState::Held, 1));
        assert_eq!(lab.held, ["pump_1 Safe"]);
        // Dying again does not forget it, and asks nothing twice.
        for _ in 0..5 {
            lab.restart(SECOND);
        }
        assert_eq!((lab.state("r"), lab.questions()), (RunState::Held, 1));
        lab.answer("r", "steps", "resume", "Ada");
        assert_eq!((lab.state("r"), lab.count("start")), (RunState::Running, 2));
        lab.settle();
        assert_eq!(lab.ending("r"), Some(Ending::Complete));
    }
    // Resuming it is an answer too, and so are the others.
    let mut lab = begun(2 * HOUR);
    lab.command("r", Command::Resume);
    assert_eq!((lab.state("r"), lab.count("start")), (RunState::Running, 2));
    for (answer, stops, ending) in [("stop", 1, Ending::Stopped), ("abort", 0, Ending::Aborted)] {
        let mut lab = begun(2 * HOUR);
        lab.answer("r", "steps", answer, "Ada");
        lab.settle();
        assert_eq!((lab.count("stop"), lab.ending("r")), (stops, Some(ending)));
    }
    // Nobody looks for a day: what it made cannot be trusted.
    let mut lab = begun(2 * HOUR);
    lab.pass(25 * HOUR);
    assert_eq!((lab.count("stop"), lab.ending("r")), (1, Some(Ending::Invalid)));
    // What has not begun cannot have spoilt.
    let other = waiting();
    let mut lab = Lab::new(InDoubt::Ask, &[]);
    lab.give(Event::HoldAll { cause: Cause::Disk, detail: String::new() });
    lab.start("r", &other);
    lab.restart(2 * HOUR);
    assert_eq!((lab.state("r"), lab.questions(), lab.count("start")), (RunState::Running, 0, 1));
}

#[test]
fn a_repeatable_command_is_sent_again_only_while_its_step_is_the_current_one() {
    let mut draft = Draft::new();
    draft.action(0, "set", "pump_1", Effect::Repeatable);
    draft.wait(0, "wait", "1 h");
    let finally = draft.finally();
    draft.action(finally, "stop", "pump_1", Effect::Repeatable);
    // Under way: sent again.
    let mut lab = Lab::new(InDoubt::Ask, &[Reply::Silent]);
    lab.start("r", &draft);
    lab.restart(SECOND);
    assert_eq!(lab.count("set"), 2);
    // Done: not.
    lab.restart(SECOND);
    assert_eq!(lab.count("set"), 2);
    // Its run is being stopped: not, and `finally` follows.
    let mut lab = Lab::new(InDoubt::Ask, &[Reply::Silent]);
    lab.start("r", &draft);
    lab.command("r", Command::Stop);
    lab.restart(SECOND);
    lab.settle();
    assert_eq!((lab.count("set"), lab.count("stop")), (1, 1));
    assert_eq!(lab.ending("r"), Some(Ending::Stopped));
}

#[derive(Debug, Clone, Copy)]
enum Turn {
    Command(Command),
    Disk(bool),
    Crash,
    Pass(u64),
    Answer,
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        prop::sample::select(vec![
            Command::Pause,
            Command::Hold,
            Command::Hold,
            Command::Resume,
            Command::Resume,
            Command::Resume,
        ])
        .prop_map(Turn::Command),
        any::<bool>().prop_map(Turn::Disk),
        Just(Turn::Crash),
        (1_u64..400).prop_map(Turn::Pass),
        Just(Turn::Answer),
    ]
}

proptest! {
    /// Whatever people and the engine do: no dose twice, state by the journal is the live one, and
    /// once nothing holds the run and all is answered, it ends.
    #[test]
    fn holds_and_crashes_in_any_order_do_no_harm(
        turns in prop::collection::vec(turn(), 0..24),
        replies in prop::collection::vec(super::reply(), 0..10),
    ) {
        let mut draft = injecting();
        let dose = draft.action(0, "dispense", "pump_1", Effect::Verifiable);
        draft.cancels(dose);
        draft.wait(0, "wait", "3 min");
        let finally = draft.finally();
        let stop = draft.action(finally, "stop", "pump_1", Effect::Repeatable);
        draft.stops(stop);
        let mut lab = Lab::new(InDoubt::Ask, &replies);
        lab.start("r", &draft);
        let mut words = 0;
        for turn in turns {
            match turn {
                Turn::Command(command) => {
                    lab.command("r", command);
                }
                Turn::Disk(true) => {
                    lab.give(Event::HoldAll { cause: Cause::Disk, detail: String::new() });
                }
                Turn::Disk(false) => lab.give(Event::Passed { cause: Cause::Disk }),
                Turn::Crash => lab.restart(SECOND),
                Turn::Pass(seconds) => lab.pass(Duration::from_secs(seconds)),
                Turn::Answer => words += answer_all(&mut lab),
            }
            let mut again = crate::engine::core::Core::new(InDoubt::Ask, Duration::ZERO);
            for record in &lab.records {
                again.apply(record, lab.now, || lab.graphs.get(record.run()).cloned());
            }
            let seen = |core: &crate::engine::core::Core| {
                core.run("r").map(|r| (r.state(), r.phase, r.holds.clone(), r.in_flight()))
            };
            let (one, other) = (seen(&again), seen(&lab.core));
            let ticks = |held: Vec<crate::engine::core::HeldBy>| {
                held.into_iter().map(|h| h.cause).collect::<Vec<_>>()
            };
            prop_assert_eq!(
                one.map(|(s, p, h, f)| (s, p, ticks(h), f)),
                other.map(|(s, p, h, f)| (s, p, ticks(h), f))
            );
        }
        lab.give(Event::Passed { cause: Cause::Disk });
        for _ in 0..30 {
            lab.pass(Duration::from_secs(400));
            words += answer_all(&mut lab);
            if lab.ending("r").is_some() {
                break;
            }
            lab.command("r", Command::Resume);
        }
        prop_assert!(lab.ending("r").is_some(), "it ends: {:?}", lab.core.run("r").map(|r| r.state()));
        // Every second injection had a person's word before it.
        prop_assert!(lab.count("inject") <= 1 + words, "{:?}", lab.sent);
        prop_assert!((lab.dispensed - 100.0) / 5.0 <= 1.0 + words as f64);
    }
}

/// A careful person, who always says that it did not happen; how many answers that were.
fn answer_all(lab: &mut Lab) -> usize {
    let open: Vec<String> = lab.core.run("r").map_or_else(Vec::new, |run| {
        run.steps.iter().filter(|(_, s)| s.asked).map(|(key, _)| run.path(key)).collect()
    });
    for path in &open {
        lab.answer("r", path, "not done", "Ada");
    }
    open.len()
}
