//! What is due when an engine takes over, before anything was read.

use std::time::Duration;

use super::SECOND;
use super::lab::{Draft, Lab};
use crate::compiler::graph::{Effect, NodeId, NodeKind, OnError, Place, ResultSpec};
use crate::engine::core::{Ending, Event, InDoubt, RunState, Signal};
use crate::expr::{self, Value};

const LEVEL: &str = "roles.pump.level";

/// Waits a minute, and then looks at a live reading in some way.
fn looking(how: impl FnOnce(&mut Draft)) -> Lab {
    let mut draft = Draft::new();
    draft.wait(0, "wait", "1 min");
    how(&mut draft);
    let mut lab = Lab::new(InDoubt::Ask, &[]);
    lab.start("r", &draft);
    // The engine dies, and the wait is over when the next one comes.
    lab.restart_later(300 * SECOND);
    assert_eq!((lab.state("r"), lab.ending("r")), (RunState::Running, None));
    lab
}

fn read(lab: &mut Lab, level: f64) {
    let value = Value::number(level);
    let signal = Signal { value, at: lab.now, max_age: Duration::MAX };
    let (instrument, property) = ("pump_1".into(), "level".into());
    lab.give(Event::Sample { instrument, property, signal });
}

fn branch(draft: &mut Draft) {
    let condition = Draft::condition(&format!("{LEVEL} > 1"));
    let branch = draft.add(Some(0), "branch", NodeKind::Branch { condition });
    draft.action(branch, "dose", "pump_2", Effect::Repeatable);
}

fn repeat(draft: &mut Draft) {
    let until = Some(Draft::condition(&format!("{LEVEL} > 1")));
    let again = draft.add(Some(0), "again", NodeKind::Repeat { max_times: 1, until });
    draft.action(again, "dose", "pump_2", Effect::Repeatable);
}

fn argument(draft: &mut Draft) {
    let dose = draft.action(0, "dose", "pump_2", Effect::Repeatable);
    if let NodeKind::Action { args, .. } = &mut draft.node(dose).kind {
        args.insert("volume".into(), expr::parse(LEVEL).unwrap());
    }
}

fn result(draft: &mut Draft) {
    draft.action(0, "dose", "pump_2", Effect::Repeatable);
    let value = expr::parse(LEVEL).unwrap();
    let (name, unit, place) = ("level".into(), String::new(), Place::default());
    draft.graph.results.push(ResultSpec { name, value, unit, place });
}

#[test]
fn what_is_due_when_an_engine_takes_over_waits_for_its_first_reading() {
    for (how, doses) in
        [(branch as fn(&mut Draft), 1), (repeat as fn(&mut Draft), 1), (argument, 1), (result, 1)]
    {
        let mut lab = looking(how);
        lab.pass(30 * SECOND);
        read(&mut lab, 2.0);
        lab.pass(5 * SECOND);
        assert_eq!((lab.ending("r"), lab.count("dose")), (Some(Ending::Complete), doses));
    }
}

#[test]
fn it_waits_no_longer_than_readings_take() {
    for how in [branch as fn(&mut Draft), repeat, argument, result] {
        let mut lab = looking(how);
        lab.pass(55 * SECOND);
        assert_eq!(lab.ending("r"), None);
        lab.pass(10 * SECOND);
        assert_eq!(lab.ending("r"), Some(Ending::Failed));
    }
}

#[test]
fn without_a_restart_a_missing_reading_fails_its_step_at_once() {
    let mut draft = Draft::new();
    argument(&mut draft);
    let mut lab = Lab::new(InDoubt::Ask, &[]);
    lab.start("r", &draft);
    assert_eq!(lab.ending("r"), Some(Ending::Failed));
}

/// Waits until the level has been high for 30 s, at most 10 min.
fn until(draft: &mut Draft) {
    let condition = Draft::condition(&format!("{LEVEL} > 1"));
    let until = NodeKind::WaitUntil { condition, stable_for: 30 * SECOND };
    let until = draft.add(Some(0), "until", until);
    draft.node(until).deadline = Some(600 * SECOND);
    draft.action(0, "dose", "pump_2", Effect::Repeatable);
}

#[test]
fn a_condition_whose_time_ran_out_without_an_engine_is_looked_at_once_more() {
    for (level, ending) in [(2.0, Ending::Complete), (0.5, Ending::Failed)] {
        let mut lab = looking(until);
        lab.restart_later(3_600 * SECOND);
        assert_eq!(lab.ending("r"), None);
        lab.pass(2 * SECOND);
        read(&mut lab, level);
        lab.pass(31 * SECOND);
        assert_eq!(lab.ending("r"), Some(ending), "{level}");
    }
    // Nothing is ever read.
    let mut lab = looking(until);
    lab.restart_later(3_600 * SECOND);
    lab.pass(65 * SECOND);
    assert_eq!(lab.ending("r"), Some(Ending::Failed));
}

#[test]
fn what_handles_a_condition_that_ran_out_without_an_engine_is_done_once() {
    let mut lab = looking(|draft| {
        let condition = Draft::condition(&format!("{LEVEL} > 1"));
        let until = NodeKind::WaitUntil { condition, stable_for: Duration::ZERO };
        let until = draft.add(Some(0), "until", until);
        draft.node(until).deadline = Some(10 * SECOND);
        let handler = draft.add(Some(until), "on_error", NodeKind::Group { hold: Vec::new() });
        draft.action(handler, "mend", "pump_2", Effect::Repeatable);
        draft.wait(handler, "settle", "1 min");
        draft.node(until).on_error = OnError::Do(NodeId(handler));
    });
    lab.restart_later(3_600 * SECOND);
    lab.pass(3 * SECOND);
    read(&mut lab, 0.5);
    // Timers of the condition are left over from when its first reading was waited for.
    lab.pass(70 * SECOND);
    assert_eq!((lab.count("mend"), lab.ending("r")), (1, Some(Ending::Complete)));
}

#[test]
fn a_condition_may_not_come_true_long_after_its_time() {
    let mut lab = looking(until);
    lab.restart_later(3_600 * SECOND);
    read(&mut lab, 2.0);
    lab.pass(20 * SECOND);
    // It falls before it has been high for long enough.
    read(&mut lab, 0.5);
    assert_eq!(lab.ending("r"), Some(Ending::Failed));
}
