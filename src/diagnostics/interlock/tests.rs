//! Interlocks: level-triggered, and on the safe side of what is not known.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::diagnostics::Moment;
use crate::expr::{self, Value};
use crate::spec::lab::Lab;
use crate::spec::{SourceId, Sources};
use crate::units::Quantity;

const SECOND: Moment = 1_000_000_000;
/// Every property of these tests is stale after this long.
const AGE: Duration = Duration::from_secs(3);

fn lab(interlocks: &str) -> Lab {
    let text = format!(
        "schema: labloop/lab/v1\nname: test\ninstruments:\n  \
         bath_1: {{use: some-bath, at: \"serial:/dev/a\", plays: [bath]}}\n  \
         bath_2: {{use: some-bath, at: \"serial:/dev/b\", plays: [bath]}}\n\
         stock:\n  feed_a: {{volume: 250 mL}}\ninterlocks:\n{interlocks}"
    );
    let mut sources = Sources::new();
    sources.add("lab.yaml", text.as_str());
    let checked = Lab::lower(sources.get(SourceId(0)).unwrap());
    let shown = format!("{:?}", checked.report);
    checked.value.unwrap_or_else(|| panic!("{shown}"))
}

fn install(interlocks: &str) -> Interlocks {
    Interlocks::new(
        rules(&lab(interlocks), &|_, property| (property != "running").then_some(AGE)),
        0,
    )
}

fn kelvin(value: f64) -> Value {
    match expr::eval(&expr::parse("1 K").unwrap(), &Nothing).unwrap() {
        Value::Quantity(one) => Value::Quantity(Quantity { value, point: true, ..one }),
        other => panic!("{other:?}"),
    }
}

fn celsius(value: f64) -> Value {
    kelvin(value + 273.15)
}

struct Nothing;

impl expr::Env for Nothing {
    fn value(&self, _: &[String]) -> Option<Value> {
        None
    }
}

/// A sample of `bath_1.temperature`, and what changed by it.
fn see(interlocks: &mut Interlocks, value: Value, at: Moment) -> Vec<Change> {
    let mut changes = Vec::new();
    interlocks.sample("bath_1", "temperature", value, at, at, &mut changes);
    changes
}

fn tick(interlocks: &mut Interlocks, now: Moment) -> Vec<Change> {
    let mut changes = Vec::new();
    interlocks.tick(now, &mut changes);
    changes
}

fn tripped(changes: &[Change]) -> Vec<&str> {
    let id = |change: &Change| match change {
        Change::Tripped { .. } => true,
        Change::Returned { .. } => false,
    };
    let name = |change| match change {
        &Change::Tripped { ref id, .. } | &Change::Returned { ref id, .. } => id.as_str(),
    };
    changes.iter().filter(|change| id(change)).map(name).collect()
}

fn state(interlocks: &Interlocks, id: &str) -> State {
    interlocks.standing(0).into_iter().find(|one| one.id == id).unwrap().state
}

const HOT: &str = "  - {id: hot, trip_if: bath_1.temperature > 120 degC, action: [safe_state: bath_1, hold: users]}\n";

/// Public failure: a monochromator of a beam line reached 140 degC past a limit of 120 degC.
#[test]
fn a_limit_that_is_crossed_acts_on_the_first_sample_past_it() {
    let mut one = install(HOT);
    for (number, value) in [25.0, 90.0, 119.9, 120.0].into_iter().enumerate() {
        assert!(see(&mut one, celsius(value), number as u64 * SECOND).is_empty(), "{value}");
    }
    let changes = see(&mut one, celsius(120.1), 4 * SECOND);
    let [Change::Tripped { id, at, evidence, acts, first_out }] = changes.as_slice() else {
        panic!("{changes:?}")
    };
    assert_eq!((id.as_str(), *at, *first_out), ("hot", 4 * SECOND, true));
    assert!(evidence.contains("bath_1.temperature = 120.1 degC"), "{evidence}");
    let users = ["bath_1".to_owned()].into();
    assert_eq!(acts, &[Act::SafeState("bath_1".into()), Act::Hold(users)]);
    let refusal = one.refusal("bath_1", "set_temperature", 4 * SECOND).unwrap();
    assert!(refusal.why.contains("holds") && refusal.why.contains("120.1"), "{refusal:?}");
    assert_eq!(one.refusal("bath_2", "set_temperature", 4 * SECOND), None);
}

/// Public failure: a guard installed after its condition was already true waited for an edge that
/// never came (bluesky issue 1970).
#[test]
fn one_installed_while_its_condition_holds_trips_at_once() {
    let mut one = install(HOT);
    assert_eq!(tripped(&see(&mut one, celsius(140.0), 0)), ["hot"]);
    // And of one that is true of what the lab file says, nothing need be read at all.
    let mut dry = install("  - {id: dry, trip_if: stock.feed_a.volume < 300 mL, action: alarm}\n");
    assert_eq!(tripped(&tick(&mut dry, 0)), ["dry"]);
}

#[test]
fn what_was_never_read_refuses_at_once_and_acts_when_its_time_is_up() {
    let mut one = install(HOT);
    assert!(tick(&mut one, 0).is_empty());
    let why = one.refusal("bath_1", "set_temperature", 0).unwrap().why;
    assert!(why.contains("waits for its inputs") && why.contains("never read"), "{why}");
    assert!(tick(&mut one, 3 * SECOND).is_empty());
    let changes = tick(&mut one, 3 * SECOND + 1);
    assert_eq!(tripped(&changes), ["hot"]);
    let [Change::Tripped { evidence, .. }] = changes.as_slice() else { panic!("{changes:?}") };
    assert!(evidence.contains("never read"), "{evidence}");
}

#[test]
fn a_stale_a_missing_and_a_numberless_input_trip() {
    for wrong in [Value::missing("sensor broken"), celsius(f64::NAN), celsius(f64::NEG_INFINITY)] {
        let mut one = install(HOT);
        assert!(see(&mut one, celsius(25.0), 0).is_empty());
        assert_eq!(tripped(&see(&mut one, wrong.clone(), SECOND)), ["hot"], "{wrong:?}");
    }
    let mut one = install(HOT);
    see(&mut one, celsius(25.0), 0);
    assert!(tick(&mut one, 3 * SECOND).is_empty());
    assert_eq!(tripped(&tick(&mut one, 3 * SECOND + 1)), ["hot"]);
    let mut one = install(HOT);
    see(&mut one, celsius(25.0), 0);
    let mut changes = Vec::new();
    one.lost("bath_1", "its link is lost", SECOND, &mut changes);
    assert_eq!(tripped(&changes), ["hot"]);
}

/// Kleene: what is known and decides is enough, and nothing else is.
#[test]
fn an_unknown_part_counts_only_where_it_decides() {
    let both = "  - {id: hot, trip_if: bath_1.temperature > 120 degC or bath_2.temperature > 120 degC, \
                action: alarm}\n";
    let mut one = install(both);
    let mut changes = Vec::new();
    one.sample("bath_1", "temperature", celsius(130.0), 0, 0, &mut changes);
    assert_eq!(tripped(&changes), ["hot"], "bath_2 was never read");
    let and = "  - {id: hot, trip_if: bath_1.temperature > 120 degC and bath_2.temperature > 120 degC, \
               action: alarm}\n";
    let mut one = install(and);
    assert!(see(&mut one, celsius(25.0), 4 * SECOND).is_empty(), "false whatever bath_2 is");
    assert!(tick(&mut one, 5 * SECOND).is_empty());
    assert_eq!(tripped(&see(&mut one, celsius(121.0), 6 * SECOND)), ["hot"], "bath_2 is unknown");
}

#[test]
fn for_waits_so_long_and_starts_anew_when_the_condition_was_over() {
    let mut one = install(
        "  - {id: slow, trip_if: bath_1.temperature > 120 degC, for: 5 s, action: alarm, latch: false}\n",
    );
    see(&mut one, celsius(121.0), 0);
    assert_eq!(state(&one, "slow"), State::Pending { since: 0 });
    see(&mut one, celsius(121.0), 2 * SECOND);
    see(&mut one, celsius(119.0), 4 * SECOND);
    assert_eq!(state(&one, "slow"), State::Clear);
    see(&mut one, celsius(121.0), 5 * SECOND);
    see(&mut one, celsius(121.0), 8 * SECOND);
    assert!(tick(&mut one, 10 * SECOND - 1).is_empty());
    assert_eq!(tripped(&tick(&mut one, 10 * SECOND)), ["slow"]);
    let over = see(&mut one, celsius(100.0), 11 * SECOND);
    assert_eq!(over, [Change::Returned { id: "slow".into(), latched: false }]);
    assert_eq!(state(&one, "slow"), State::Clear);
}

#[test]
fn a_latched_one_refuses_until_a_person_resets_it_after_its_condition_is_over() {
    let mut one = install(HOT);
    assert!(matches!(one.reset("hot", 0), Err(NotReset::Clear(_))));
    assert!(matches!(one.reset("cold", 0), Err(NotReset::Unknown(_))));
    see(&mut one, celsius(121.0), SECOND);
    let why = one.reset("hot", SECOND).unwrap_err().to_string();
    assert!(why.contains("still holds") && why.contains("121"), "{why}");
    let over = see(&mut one, celsius(60.0), 2 * SECOND);
    assert_eq!(over, [Change::Returned { id: "hot".into(), latched: true }]);
    let why = one.refusal("bath_1", "set_temperature", 2 * SECOND).unwrap().why;
    assert!(why.contains("reset"), "{why}");
    // It comes back while it waits for a person: it acts again.
    assert_eq!(tripped(&see(&mut one, celsius(122.0), 3 * SECOND)), ["hot"]);
    see(&mut one, celsius(60.0), 4 * SECOND);
    assert_eq!(one.reset("hot", 4 * SECOND), Ok(()));
    assert_eq!(one.refusal("bath_1", "set_temperature", 4 * SECOND), None);
    // Reset while nothing is known: refused, it may hold.
    see(&mut one, celsius(122.0), 5 * SECOND);
    see(&mut one, celsius(60.0), 6 * SECOND);
    assert!(matches!(one.reset("hot", 60 * SECOND), Err(NotReset::Holds { .. })));
}

#[test]
fn what_stood_latched_before_a_restart_still_refuses() {
    let mut one = install(HOT);
    one.restore(&BTreeMap::from([("hot".to_owned(), 0), ("of another lab".to_owned(), 0)]));
    assert!(one.refusal("bath_1", "set_temperature", 0).is_some());
    see(&mut one, celsius(25.0), SECOND);
    let why = one.refusal("bath_1", "set_temperature", SECOND).unwrap().why;
    assert!(why.contains("reset"), "{why}");
    assert_eq!(one.reset("hot", SECOND), Ok(()));
}

#[test]
fn forbid_refuses_only_what_it_names_and_only_while_it_holds() {
    let mut one = install(
        "  - {id: hot_and_dry, forbid: bath_1.set_temperature, when: bath_2.temperature > 50 degC}\n\
         \x20 - {id: all, forbid: \"bath_2.*\", when: bath_1.temperature > 50 degC}\n",
    );
    let mut changes = Vec::new();
    one.sample("bath_2", "temperature", celsius(60.0), 0, 0, &mut changes);
    assert_eq!(tripped(&changes), ["hot_and_dry"]);
    assert!(one.refusal("bath_1", "set_temperature", 0).is_some());
    assert!(one.refusal("bath_1", "stop", 0).is_none());
    assert!(one.refusal("bath_2", "anything", 0).is_some(), "bath_1 was not read yet");
    let mut changes = Vec::new();
    one.sample("bath_1", "temperature", celsius(20.0), 0, 0, &mut changes);
    one.sample("bath_2", "temperature", celsius(20.0), 1, 1, &mut changes);
    assert!(one.refusal("bath_1", "set_temperature", 1).is_none());
    assert!(one.refusal("bath_2", "anything", 1).is_none());
    // Judged when it is asked, not only when it was last told.
    assert!(one.refusal("bath_2", "anything", 4 * SECOND).is_some(), "stale by now");
}

#[test]
fn stale_of_an_instrument_and_running_are_conditions() {
    let blind = "  - {id: blind, trip_if: bath_1.running and stale(bath_1), for: 5 s, action: [safe_state: bath_1], latch: true}\n";
    let mut one = install(blind);
    let mut changes = Vec::new();
    one.running("bath_1", true, 0, &mut changes);
    see(&mut one, celsius(80.0), 0);
    assert!(tick(&mut one, 10 * SECOND).is_empty(), "stale after 10 s, not at");
    assert!(tick(&mut one, 11 * SECOND).is_empty(), "begins to hold");
    assert!(tick(&mut one, 15 * SECOND).is_empty());
    assert_eq!(tripped(&tick(&mut one, 16 * SECOND)), ["blind"]);
    let mut one = install(blind);
    one.running("bath_1", false, 0, &mut changes);
    assert!(tick(&mut one, 100 * SECOND).is_empty(), "stale, and not running");
}

#[test]
fn the_first_of_a_cascade_is_marked() {
    let mut one = install(
        "  - {id: warm, trip_if: bath_1.temperature > 80 degC, action: alarm}\n  \
         - {id: hot, trip_if: bath_1.temperature > 120 degC, action: alarm}\n",
    );
    let first = |changes: &[Change]| {
        let of = |change: &Change| match change {
            Change::Tripped { first_out, .. } => Some(*first_out),
            Change::Returned { .. } => None,
        };
        changes.iter().filter_map(of).collect::<Vec<_>>()
    };
    assert_eq!(first(&see(&mut one, celsius(90.0), 0)), [true]);
    assert_eq!(first(&see(&mut one, celsius(130.0), SECOND)), [false]);
}

#[test]
fn an_older_sample_does_not_replace_a_newer_and_none_is_from_the_future() {
    let mut one = install(HOT);
    see(&mut one, celsius(25.0), 2 * SECOND);
    let mut changes = Vec::new();
    one.sample("bath_1", "temperature", celsius(130.0), SECOND, 2 * SECOND, &mut changes);
    assert!(changes.is_empty());
    one.sample("bath_1", "temperature", celsius(25.0), u64::MAX, 2 * SECOND, &mut changes);
    assert_eq!(tripped(&tick(&mut one, 6 * SECOND)), ["hot"], "stale all the same");
}

#[derive(Debug, Clone)]
enum Happens {
    Sample(u8, f64),
    Broken(u8),
    Passes(u64),
    Lost(u8),
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        4 => (1_u8..3, 0.0..200.0_f64).prop_map(|(bath, value)| Happens::Sample(bath, value)),
        1 => (1_u8..3).prop_map(Happens::Broken),
        2 => (0_u64..5_000).prop_map(Happens::Passes),
        1 => (1_u8..3).prop_map(Happens::Lost),
    ]
}

proptest! {
    /// The law: while the newest reading of either bath is over the limit, or not known after its
    /// time, commands are refused and the interlock stands tripped; and only then does it trip.
    #[test]
    fn it_stands_tripped_exactly_while_it_must(story in prop::collection::vec(happens(), 1..60)) {
        let mut one = install(
            "  - {id: hot, trip_if: bath_1.temperature > 120 degC or bath_2.temperature > 120 degC, \
             action: [safe_state: all], latch: false}\n",
        );
        let age = AGE.as_millis() as u64;
        let mut last: [Option<(Option<f64>, u64)>; 2] = [None, None];
        let mut now = 0_u64;
        for event in story {
            let mut changes = Vec::new();
            let at = now * 1_000_000;
            match event {
                Happens::Sample(bath, value) => {
                    last[usize::from(bath - 1)] = Some((Some(value), now));
                    let name = format!("bath_{bath}");
                    one.sample(&name, "temperature", celsius(value), at, at, &mut changes);
                }
                Happens::Broken(bath) => {
                    last[usize::from(bath - 1)] = Some((None, now));
                    let name = format!("bath_{bath}");
                    let broken = Value::missing("broken");
                    one.sample(&name, "temperature", broken, at, at, &mut changes);
                }
                Happens::Lost(bath) => {
                    last[usize::from(bath - 1)] = Some((None, now));
                    one.lost(&format!("bath_{bath}"), "lost", at, &mut changes);
                }
                Happens::Passes(time) => {
                    now += time;
                    one.tick(now * 1_000_000, &mut changes);
                }
            }
            let at = now * 1_000_000;
            let known = |reading: &Option<(Option<f64>, u64)>| {
                let (value, read) = (*reading)?;
                value.filter(|_| now - read <= age)
            };
            let early = now <= age && last.iter().any(Option::is_none);
            let over = last.iter().filter_map(known).any(|value| value + 273.15 > 120.0 + 273.15);
            let unknown = last.iter().any(|reading| known(reading).is_none());
            let must = over || (unknown && !early);
            let stands = matches!(state(&one, "hot"), State::Tripped { .. });
            if must {
                prop_assert!(stands, "at {now} ms: {last:?}");
            } else if !unknown {
                prop_assert!(!stands, "at {now} ms: {last:?}");
            }
            let refused = one.refusal("bath_1", "set_temperature", at).is_some();
            prop_assert_eq!(refused, must || unknown || stands);
        }
    }
}
