//! Several runs on shared instruments: nobody starves, nobody waits for ever, and each is told why.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::SECOND;
use super::lab::{Draft, Lab, Reply};
use crate::compiler::graph::{Effect, NodeKind};
use crate::engine::core::{
    Command, Ending, Event, InDoubt, OVERTAKEN_MAX, Obstacle, Record, RunState, Terms,
};

fn with_priority(priority: i32) -> Terms {
    Terms { priority, ..Terms::default() }
}

/// Holds an instrument for ten seconds.
fn holding(instrument: &str) -> Draft {
    let mut draft = Draft::new();
    let group = draft.add(Some(0), "hold", NodeKind::Group { hold: vec![instrument.to_owned()] });
    draft.action(group, "a", instrument, Effect::Repeatable);
    draft.wait(group, "wait", "10 s");
    draft
}

#[test]
fn a_run_that_waits_says_for_what_and_who_has_it() {
    let mut lab = Lab::new(InDoubt::Ask, &[]);
    lab.start("x", &holding("pump_1"));
    lab.start("y", &holding("pump_1"));
    let parked = lab.core.parked();
    assert_eq!(parked.len(), 1);
    assert_eq!((&*parked[0].run, &*parked[0].step), ("y", "hold"));
    let obstacle = Obstacle::HeldBy {
        instrument: "pump_1".into(),
        run: "x".into(),
        step: "hold".into(),
        state: RunState::Running,
    };
    assert_eq!(parked[0].waits_for, [obstacle]);
    assert_eq!(parked[0].to_string(), "y waits for pump_1, which x has for hold");
    // It is told that the one who has it is held, which may take long.
    lab.command("x", Command::Hold);
    assert!(lab.core.parked()[0].to_string().ends_with("(held)"));
    lab.command("x", Command::Resume);
    lab.settle();
    assert!(lab.core.parked().is_empty());
    assert_eq!(
        (lab.ending("x"), lab.ending("y")),
        (Some(Ending::Complete), Some(Ending::Complete))
    );
}

#[test]
fn what_is_told_of_parked_runs_is_told_when_it_changes_and_only_then() {
    let mut lab = Lab::new(InDoubt::Ask, &[]);
    lab.start("x", &holding("pump_1"));
    lab.start("y", &holding("pump_1"));
    assert_eq!(lab.parked.len(), 1);
    lab.give(Event::Wake);
    lab.give(Event::LinkUp { instrument: "pump_2".into() });
    assert_eq!(lab.parked.len(), 1);
    lab.settle();
    assert_eq!(lab.parked.last().map(Vec::len), Some(0));
}

#[test]
fn a_higher_priority_goes_first_and_equal_ones_go_by_age() {
    let mut lab = Lab::new(InDoubt::Ask, &[]);
    lab.start("first", &holding("pump_1"));
    lab.start_under("low", &holding("pump_1"), with_priority(0));
    lab.start_under("high", &holding("pump_1"), with_priority(5));
    lab.start_under("high2", &holding("pump_1"), with_priority(5));
    lab.settle();
    let order: Vec<&str> = lab
        .records
        .iter()
        .filter_map(|r| match r {
            Record::RunEnded { run, .. } => Some(run.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(order, ["first", "high", "high2", "low"]);
}

#[test]
fn a_run_of_low_priority_does_not_starve() {
    let mut lab = Lab::new(InDoubt::Ask, &[]);
    lab.start("first", &holding("pump_1"));
    lab.start_under("low", &holding("pump_1"), with_priority(-10));
    let mut before = 0;
    for n in 0..200 {
        // There is always another one with a higher priority.
        lab.start_under(&format!("high{n}"), &holding("pump_1"), with_priority(10));
        lab.pass(10 * SECOND);
        if lab.ending("low").is_some() {
            break;
        }
        before += 1;
    }
    assert!(lab.ending("low").is_some(), "it starved");
    assert!(before <= OVERTAKEN_MAX + 3, "{before} went before it");
}

#[test]
fn one_of_high_priority_passes_many_and_the_oldest_of_those_still_gets_its_turn() {
    const MANY: usize = 24;
    let mut lab = Lab::new(InDoubt::Ask, &[]);
    lab.start("first", &holding("pump_1"));
    for n in 0..MANY {
        lab.start_under(&format!("low{n}"), &holding("pump_1"), with_priority(-1));
    }
    lab.start_under("high", &holding("pump_1"), with_priority(9));
    assert_eq!(lab.core.parked()[0].run, "high", "it waits for the one at work and nobody else");
    // From now on another of high priority is always there before the oldest has its turn.
    let mut highs = 0;
    while lab.ending("low0").is_none() {
        lab.start_under(&format!("more{highs}"), &holding("pump_1"), with_priority(9));
        highs += 1;
        assert!(highs <= OVERTAKEN_MAX + 3, "the oldest starves");
        lab.pass(10 * SECOND);
    }
    lab.settle();
    let order: Vec<&str> = lab
        .records
        .iter()
        .filter_map(|r| match r {
            Record::RunEnded { run, .. } => Some(run.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(order[..2], ["first", "high"]);
    let lows: Vec<&&str> = order.iter().filter(|run| run.starts_with("low")).collect();
    let aged: Vec<String> = (0..MANY).map(|n| format!("low{n}")).collect();
    assert_eq!(
        lows,
        aged.iter().map(String::as_str).collect::<Vec<_>>().iter().collect::<Vec<_>>()
    );
}

#[test]
fn a_run_that_needs_two_instruments_is_not_starved_by_runs_that_need_one() {
    let mut both = Draft::new();
    let hold = vec!["pump_1".to_owned(), "pump_2".to_owned()];
    let group = both.add(Some(0), "hold", NodeKind::Group { hold });
    both.wait(group, "wait", "10 s");
    let mut lab = Lab::new(InDoubt::Ask, &[]);
    lab.start("one", &holding("pump_1"));
    lab.pass(5 * SECOND);
    lab.start("two", &holding("pump_2"));
    lab.start("both", &both);
    for n in 0..10 {
        // One after the other, so that never both are free at once by themselves.
        let instrument = if n % 2 == 0 { "pump_1" } else { "pump_2" };
        lab.start(&format!("more{n}"), &holding(instrument));
        lab.pass(5 * SECOND);
    }
    let at = |run: &str| {
        let begun = |r: &Record| matches!(r, Record::Held { run: of, .. } if of == run);
        lab.records.iter().position(begun)
    };
    assert!(at("both").unwrap() < at("more0").unwrap(), "younger ones went before it");
}

#[test]
fn an_instrument_that_a_person_has_taken_out_is_waited_for() {
    let mut draft = Draft::new();
    let group = draft.add(Some(0), "hold", NodeKind::Group { hold: vec!["pump_1".into()] });
    draft.wait(group, "wait", "10 s");
    draft.action(group, "a", "pump_1", Effect::Repeatable);
    let mut lab = Lab::new(InDoubt::Ask, &[]);
    lab.start("r", &draft);
    lab.give(Event::Taken { instrument: "pump_1".into(), by: "Ada".into() });
    lab.settle();
    assert_eq!(lab.count("a"), 0, "even where the run holds it");
    assert_eq!(lab.core.parked()[0].to_string(), "r waits for pump_1, which Ada has taken out");
    lab.give(Event::Given { instrument: "pump_1".into() });
    lab.settle();
    assert_eq!((lab.count("a"), lab.ending("r")), (1, Some(Ending::Complete)));
}

/// One run that leaves `pump_1` not confirmed safe.
fn left_unsafe() -> Lab {
    let mut lab = Lab::new(InDoubt::Ask, &[]);
    lab.start("x", &holding("pump_1"));
    lab.stubborn = true;
    lab.command("x", Command::Abort);
    lab.stubborn = false;
    assert_eq!(lab.ending("x"), Some(Ending::Aborted));
    lab
}

#[test]
fn row_47_what_was_not_confirmed_safe_is_kept_from_the_next_run_until_it_is() {
    let mut lab = left_unsafe();
    lab.start("y", &holding("pump_1"));
    lab.start("z", &holding("pump_2"));
    lab.settle();
    assert_eq!((lab.count("pump_1.a"), lab.ending("y")), (1, None), "only x's own");
    assert_eq!(lab.ending("z"), Some(Ending::Complete), "other instruments are anybody's");
    let obstacle = Obstacle::NotSafe { instrument: "pump_1".into(), run: "x".into() };
    assert_eq!(lab.core.parked()[0].waits_for, [obstacle]);
    let told = lab.core.parked()[0].to_string();
    assert!(told.contains("pump_1: not confirmed safe since run x ended"), "{told}");
    // What a person has in hand and gives back is no safer for it.
    lab.give(Event::Taken { instrument: "pump_1".into(), by: "Ada".into() });
    lab.give(Event::Given { instrument: "pump_1".into() });
    lab.core.set_taken(Default::default());
    lab.settle();
    assert_eq!(lab.ending("y"), None);
    lab.give(Event::Freed { instrument: "pump_1".into() });
    lab.settle();
    assert_eq!((lab.count("pump_1.a"), lab.ending("y")), (2, Some(Ending::Complete)));
}

#[test]
fn row_47_what_was_not_confirmed_safe_is_so_for_the_next_engine_too() {
    let mut lab = left_unsafe();
    lab.restart(SECOND);
    lab.core.forget("x");
    lab.start("y", &holding("pump_1"));
    lab.settle();
    assert_eq!((lab.count("pump_1.a"), lab.ending("y")), (1, None));
    // An engine that reads nothing of runs that are over is told.
    let barred = lab.core.barred().clone();
    lab.core.set_barred(Default::default());
    assert!(lab.core.barred().is_empty());
    lab.core.set_barred(barred);
    assert_eq!(lab.core.barred()["pump_1"], "x");
}

#[test]
fn an_instrument_is_kept_back_from_the_moment_its_safe_state_is_not_confirmed() {
    // x ends with two instruments; while the second is still on its way, y wants the first.
    let mut two = Draft::new();
    let group = two.add(
        Some(0),
        "hold",
        NodeKind::Group { hold: vec!["pump_1".to_owned(), "pump_2".to_owned()] },
    );
    two.action(group, "a", "pump_1", Effect::Repeatable);
    two.action(group, "b", "pump_2", Effect::Repeatable);
    two.wait(group, "wait", "10 s");
    let mut lab = Lab::new(InDoubt::Ask, &[]);
    lab.start("x", &two);
    lab.start("y", &holding("pump_1"));
    let abort = Event::Command { run: "x".into(), command: Command::Abort, by: "Ada".into() };
    lab.records.extend(lab.core.step(abort, lab.now).records);
    let made = Event::MadeSafe {
        run: "x".into(),
        instrument: "pump_1".into(),
        confirmed: false,
        detail: "no answer".into(),
        trace: String::new(),
    };
    lab.give(made);
    assert_eq!(lab.ending("x"), None, "pump_2 is on its way");
    assert_eq!(lab.count("pump_1.a"), 1, "y has got it: {:?}", lab.sent);
}

#[test]
fn a_run_that_stands_still_keeps_nobody_from_what_it_only_waits_for() {
    let mut lab = Lab::new(InDoubt::Ask, &[]);
    lab.start("x", &holding("pump_1"));
    lab.start("y", &holding("pump_1"));
    lab.command("y", Command::Pause);
    lab.start("z", &holding("pump_1"));
    lab.settle();
    assert_eq!(lab.ending("z"), Some(Ending::Complete));
    assert_eq!(lab.state("y"), RunState::Paused);
}

#[test]
fn a_run_that_ends_leaves_what_another_uses_now_to_that_run() {
    let mut first = Draft::new();
    first.action(0, "start", "pump_1", Effect::Repeatable);
    first.action(0, "fails", "pump_2", Effect::Repeatable);
    let mut second = Draft::new();
    second.action(0, "dispense", "pump_1", Effect::Once);
    second.wait(0, "wait", "10 s");
    let mut lab = Lab::new(InDoubt::Ask, &[Reply::Done, Reply::Silent, Reply::Done]);
    lab.start("x", &first);
    lab.start("y", &second);
    lab.pass(5 * SECOND);
    assert_eq!(lab.sent, ["pump_1.start", "pump_2.fails", "pump_1.dispense"]);
    lab.command("x", Command::Abort);
    assert_eq!((lab.ending("x"), &*lab.safe), (Some(Ending::Aborted), &["pump_2".to_owned()][..]));
    lab.settle();
    assert_eq!(lab.ending("y"), Some(Ending::Complete));
    assert_eq!(lab.safe, ["pump_2", "pump_1"], "every instrument reaches its safe state");
}

/// One run: instruments of each of its blocks, and its priority.
type Plan = (Vec<BTreeSet<usize>>, i32);

fn plans() -> impl Strategy<Value = Vec<Plan>> {
    let block = prop::collection::btree_set(0_usize..4, 1..4);
    let run = (prop::collection::vec(block, 1..4), -2_i32..3);
    prop::collection::vec(run, 1..8)
}

fn draft_of(blocks: &[BTreeSet<usize>], parallel: bool) -> Draft {
    const NAMES: [&str; 4] = ["pump_1", "pump_2", "bath", "valve"];
    let mut draft = Draft::new();
    let parent = if parallel {
        let kind = NodeKind::Parallel {
            branches: (0..blocks.len()).map(|n| n.to_string()).collect(),
            start_together: None,
        };
        draft.add(Some(0), "side_by_side", kind)
    } else {
        0
    };
    for (n, block) in blocks.iter().enumerate() {
        let hold: Vec<String> = block.iter().map(|i| NAMES[*i].to_owned()).collect();
        let group = draft.add(Some(parent), &format!("b{n}"), NodeKind::Group { hold });
        if parallel {
            draft.node(group).slot = u32::try_from(n).unwrap();
            draft.graph.edges.retain(|e| e.to.0 != group);
        }
        // In an order of its own: only taking all at once excludes a deadlock.
        for (m, instrument) in block.iter().rev().enumerate() {
            draft.action(group, &format!("s{n}_{m}"), NAMES[*instrument], Effect::Repeatable);
            draft.wait(group, &format!("w{n}_{m}"), "10 s");
        }
    }
    draft
}

proptest! {
    /// Hazard 19: whatever the claims, priorities and orders, every run comes to its end, no two
    /// runs are in one instrument at once, and whoever waits is told for whom.
    #[test]
    fn row_19_no_two_runs_wait_for_each_other(
        runs in plans(),
        parallel in any::<bool>(),
        crash_at in prop::option::of(0_u64..60),
    ) {
        let mut lab = Lab::new(InDoubt::Ask, &[] as &[Reply]);
        for (n, (blocks, priority)) in runs.iter().enumerate() {
            lab.start_under(&format!("r{n}"), &draft_of(blocks, parallel), with_priority(*priority));
        }
        // The longest there can be: all blocks of all runs one after the other.
        let most: usize = runs.iter().flat_map(|(blocks, _)| blocks).map(BTreeSet::len).sum();
        for second in 0..(most as u64 * 10 + 10) {
            if crash_at == Some(second) {
                lab.restart(SECOND);
            }
            for parked in lab.core.parked() {
                prop_assert!(!parked.waits_for.is_empty(), "{parked:?} waits for nobody");
            }
            lab.pass(Duration::from_secs(1));
        }
        for n in 0..runs.len() {
            prop_assert_eq!(lab.ending(&format!("r{n}")), Some(Ending::Complete), "r{}", n);
        }
        prop_assert!(alone_in_blocks(&lab.records));
    }
}

/// Between the claims of a block and its end nobody else sends to what it holds.
fn alone_in_blocks(records: &[Record]) -> bool {
    let mut holders: std::collections::BTreeMap<&str, &str> = Default::default();
    for record in records {
        match record {
            Record::Intent { run, instrument, .. } => {
                // The holder of an instrument is whoever sends to it until its wait is over.
                match holders.get(instrument.as_str()) {
                    Some(other) if *other != run.as_str() => return false,
                    _ => {}
                }
                holders.insert(instrument, run);
            }
            Record::Ended { run, .. } => {
                // A wait that follows a command is over: the block goes on or gives back.
                holders.retain(|_, holder| *holder != run.as_str());
            }
            _ => {}
        }
    }
    true
}

#[test]
fn what_waits_for_a_person_keeps_nothing_from_others() {
    let both = || {
        let mut draft = Draft::new();
        let hold = vec!["pump_1".to_owned(), "pump_2".to_owned()];
        let group = draft.add(Some(0), "hold", NodeKind::Group { hold });
        draft.action(group, "both", "pump_1", Effect::Repeatable);
        draft
    };
    let (instrument, by) = ("pump_1".to_owned(), "Ada".to_owned());
    let mut lab = Lab::new(InDoubt::Ask, &[]);
    lab.give(Event::Taken { instrument: instrument.clone(), by });
    lab.start_under("first", &both(), with_priority(5));
    lab.start("second", &holding("pump_2"));
    lab.settle();
    assert_eq!((lab.ending("first"), lab.ending("second")), (None, Some(Ending::Complete)));
    lab.give(Event::Given { instrument });
    lab.settle();
    assert_eq!(lab.ending("first"), Some(Ending::Complete));
}
