//! Alarms: each state of the standard, and the laws of all of them.

use proptest::prelude::*;

use super::*;
use crate::diagnostics::Moment;

const SECOND: Moment = 1_000_000_000;
const HOUR: Moment = 3_600 * SECOND;

fn key(source: &str) -> AlarmKey {
    AlarmKey::new(source, "stalled")
}

fn declared(priority: Priority) -> Declared {
    Declared {
        priority,
        what: "it does not turn".to_owned(),
        todo: "look at the tubing".to_owned(),
        on_delay: 0,
        off_delay: 0,
        latch: false,
        cause: None,
    }
}

/// Alarms with what was recorded of them.
#[derive(Default)]
struct Desk {
    alarms: Alarms,
    records: Vec<AlarmRecord>,
}

impl Desk {
    fn tell(&mut self, source: &str, condition: Option<&Declared>, now: Moment) -> Standing {
        self.alarms.tell(&key(source), condition, now, &mut self.records);
        self.standing(source)
    }

    fn tick(&mut self, now: Moment) {
        self.alarms.tick(now, &mut self.records);
    }

    fn standing(&self, source: &str) -> Standing {
        self.alarms.get(&key(source)).map_or(Standing::Normal, Alarm::standing)
    }

    fn acknowledge(&mut self, source: &str, now: Moment) -> Result<(), Refused> {
        self.alarms.acknowledge(&key(source), "Ada", now, &mut self.records)
    }

    fn reset(&mut self, source: &str, now: Moment) -> Result<(), Refused> {
        self.alarms.reset(&key(source), "Ada", now, &mut self.records)
    }

    fn shelve(&mut self, source: &str, until: Moment, now: Moment) -> Result<(), Refused> {
        let reason = "the pump is being repaired";
        self.alarms.shelve(&key(source), "Ada", reason, until, now, &mut self.records)
    }

    /// The alarms that the records make.
    fn again(&self) -> Alarms {
        let mut alarms = Alarms::default();
        for record in &self.records {
            alarms.apply(record);
        }
        alarms
    }
}

#[test]
fn from_its_first_sign_to_the_moment_nobody_need_think_of_it() {
    let mut desk = Desk::default();
    let high = declared(Priority::High);
    assert_eq!(desk.tell("pump", Some(&high), 0), Standing::Unacknowledged);
    assert_eq!(desk.tell("pump", Some(&high), SECOND), Standing::Unacknowledged);
    assert_eq!(desk.records.len(), 1, "told at each sample, raised once");
    desk.acknowledge("pump", 2 * SECOND).unwrap();
    desk.acknowledge("pump", 3 * SECOND).unwrap();
    assert_eq!((desk.standing("pump"), desk.records.len()), (Standing::Acknowledged, 2));
    assert_eq!(desk.tell("pump", None, 4 * SECOND), Standing::Normal);
    // The other way round: it is over before anybody has seen it.
    desk.tell("pump", Some(&high), 5 * SECOND);
    assert_eq!(desk.tell("pump", None, 6 * SECOND), Standing::Returned);
    desk.acknowledge("pump", 7 * SECOND).unwrap();
    assert_eq!(desk.standing("pump"), Standing::Normal);
    assert_eq!(desk.acknowledge("pump", 8 * SECOND), Err(Refused::Unknown(key("pump"))));
}

#[test]
fn one_that_comes_back_must_be_acknowledged_again() {
    let mut desk = Desk::default();
    let high = declared(Priority::High);
    desk.tell("pump", Some(&high), 0);
    desk.tell("pump", None, SECOND);
    assert_eq!(desk.tell("pump", Some(&high), 2 * SECOND), Standing::Unacknowledged);
    assert_eq!(desk.alarms.get(&key("pump")).unwrap().times(), 2, "and says how often");
}

#[test]
fn a_latched_one_is_reset_by_a_person_and_only_once_it_is_over() {
    let mut desk = Desk::default();
    let latched = Declared { latch: true, ..declared(Priority::Critical) };
    desk.tell("pump", Some(&latched), 0);
    assert_eq!(desk.reset("pump", SECOND), Err(Refused::Holds(key("pump"))));
    desk.acknowledge("pump", SECOND).unwrap();
    assert_eq!(desk.tell("pump", None, 2 * SECOND), Standing::Latched);
    desk.reset("pump", 3 * SECOND).unwrap();
    assert_eq!(desk.standing("pump"), Standing::Normal);
}

#[test]
fn chattering_is_kept_down_by_delays_on_both_sides() {
    let mut desk = Desk::default();
    let slow = Declared { on_delay: 2 * SECOND, off_delay: 5 * SECOND, ..declared(Priority::Low) };
    // A square wave faster than the delay never becomes an alarm.
    for second in 0..60 {
        let on = second % 2 == 0;
        assert_eq!(desk.tell("pump", on.then_some(&slow), second * SECOND), Standing::Normal);
    }
    desk.tell("pump", Some(&slow), 100 * SECOND);
    desk.tick(102 * SECOND - 1);
    assert_eq!(desk.standing("pump"), Standing::Normal);
    desk.tick(102 * SECOND);
    assert_eq!(desk.standing("pump"), Standing::Unacknowledged);
    // Nor does it end at the first gap.
    for second in 103..160 {
        let on = second % 4 == 0;
        desk.tell("pump", on.then_some(&slow), second * SECOND);
        assert_eq!(desk.standing("pump"), Standing::Unacknowledged, "{second} s");
    }
    desk.tick(170 * SECOND);
    assert_eq!((desk.standing("pump"), desk.records.len()), (Standing::Returned, 2));
}

#[test]
fn a_dead_bus_is_one_alarm_and_not_forty() {
    let mut desk = Desk::default();
    let of_bus = Declared { cause: Some(key("bus_2")), ..declared(Priority::High) };
    // Some come before the bus is known to be dead, some after.
    for unit in 0..20 {
        desk.tell(&format!("unit_{unit}"), Some(&of_bus), 0);
    }
    desk.tell("bus_2", Some(&declared(Priority::High)), SECOND);
    for unit in 20..40 {
        desk.tell(&format!("unit_{unit}"), Some(&of_bus), 2 * SECOND);
    }
    let counts = desk.alarms.counts();
    assert_eq!((counts.unacknowledged, counts.holding, counts.hidden), (1, 1, 40));
    let (first, _) = desk.alarms.standing()[0];
    assert_eq!(*first, key("bus_2"));
    // The bus is back, one unit is not: that one is an alarm of its own now.
    for unit in 0..39 {
        desk.tell(&format!("unit_{unit}"), None, 3 * SECOND);
    }
    desk.acknowledge("bus_2", 3 * SECOND).unwrap();
    desk.tell("bus_2", None, 4 * SECOND);
    assert_eq!(desk.standing("unit_39"), Standing::Unacknowledged);
    assert_eq!(desk.alarms.standing().len(), 1, "what nobody saw, nobody need acknowledge");
}

#[test]
fn shelving_has_a_reason_and_an_end_and_is_not_for_what_is_critical() {
    let mut desk = Desk::default();
    desk.tell("pump", Some(&declared(Priority::High)), 0);
    desk.tell("bath", Some(&declared(Priority::Critical)), 0);
    assert_eq!(desk.shelve("bath", HOUR, 0), Err(Refused::Critical(key("bath"))));
    assert_eq!(desk.shelve("pump", 9 * HOUR, 0), Err(Refused::TooLong(key("pump"))));
    let mut none = Vec::new();
    let told = desk.alarms.shelve(&key("pump"), "Ada", "  ", HOUR, 0, &mut none);
    assert_eq!(told, Err(Refused::NoReason(key("pump"))));
    desk.shelve("pump", HOUR, 0).unwrap();
    assert_eq!(desk.standing("pump"), Standing::Shelved);
    let (by, why, until) = desk.alarms.get(&key("pump")).unwrap().hidden().unwrap();
    assert_eq!((by, why, until), ("Ada", "the pump is being repaired", Some(HOUR)));
    // It goes on behind the shelf, and is in sight again by itself.
    desk.tell("pump", None, 10 * SECOND);
    desk.tell("pump", Some(&declared(Priority::High)), 20 * SECOND);
    desk.tick(HOUR - 1);
    assert_eq!(desk.standing("pump"), Standing::Shelved);
    desk.tick(HOUR);
    assert_eq!(desk.standing("pump"), Standing::Unacknowledged);
    let mut records = Vec::new();
    let why = "its sensor is broken";
    desk.alarms.take_out_of_service(&key("pump"), "Ada", why, HOUR, &mut records).unwrap();
    assert_eq!(desk.standing("pump"), Standing::OutOfService);
    desk.tick(100 * HOUR);
    assert_eq!(desk.standing("pump"), Standing::OutOfService, "until a person puts it back");
    desk.alarms.put_back(&key("pump"), "Ada", 100 * HOUR, &mut records).unwrap();
    assert_eq!(desk.standing("pump"), Standing::Unacknowledged);
}

#[test]
fn the_first_of_a_cascade_and_the_order_are_kept() {
    let mut desk = Desk::default();
    desk.tell("a", Some(&declared(Priority::Low)), 0);
    desk.tell("b", Some(&declared(Priority::High)), 0);
    desk.tell("c", Some(&declared(Priority::High)), 0);
    let order: Vec<&str> =
        desk.alarms.standing().iter().map(|(key, _)| key.source.as_str()).collect();
    assert_eq!(order, ["b", "c", "a"], "the most urgent first, then the oldest");
    assert!(desk.alarms.get(&key("a")).unwrap().first_out());
    assert!(!desk.alarms.get(&key("b")).unwrap().first_out());
}

#[test]
fn a_flood_is_bounded_and_counted() {
    let mut desk = Desk::default();
    let low = declared(Priority::Low);
    for number in 0..10_200 {
        desk.tell(&format!("unit_{number}"), Some(&low), 0);
    }
    let counts = desk.alarms.counts();
    assert_eq!((counts.holding, counts.lost), (10_000, 200));
}

#[derive(Debug, Clone)]
enum Happens {
    Told(u8, bool),
    Passes(u64),
    Acknowledged(u8),
    Reset(u8),
    Shelved(u8, u64),
    PutBack(u8),
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        6 => (0_u8..4, any::<bool>()).prop_map(|(who, holds)| Happens::Told(who, holds)),
        3 => (0_u64..20).prop_map(Happens::Passes),
        1 => (0_u8..4).prop_map(Happens::Acknowledged),
        1 => (0_u8..4).prop_map(Happens::Reset),
        1 => (0_u8..4, 1_u64..30).prop_map(|(who, time)| Happens::Shelved(who, time)),
        1 => (0_u8..4).prop_map(Happens::PutBack),
    ]
}

proptest! {
    /// What the records make is what was; nothing that holds for longer than its delay is normal;
    /// nothing critical is out of sight unless its cause stands.
    #[test]
    fn whatever_happens(story in prop::collection::vec(happens(), 1..80)) {
        let name = |who: u8| ["bus", "unit_1", "unit_2", "critical"][usize::from(who)];
        let of = |who: u8| Declared {
            priority: if who == 3 { Priority::Critical } else { Priority::Medium },
            on_delay: u64::from(who) * SECOND,
            off_delay: u64::from(who % 2) * 2 * SECOND,
            latch: who == 2,
            cause: (who == 1 || who == 2).then(|| key("bus")),
            ..declared(Priority::Low)
        };
        let mut desk = Desk::default();
        let mut since: [Option<Moment>; 4] = [None; 4];
        let mut now = 0;
        for event in story {
            match event {
                Happens::Told(who, holds) => {
                    let at = &mut since[usize::from(who)];
                    *at = if holds { at.or(Some(now)) } else { None };
                    desk.tell(name(who), holds.then(|| of(who)).as_ref(), now);
                }
                Happens::Passes(seconds) => {
                    now += seconds * SECOND;
                    desk.tick(now);
                }
                Happens::Acknowledged(who) => drop(desk.acknowledge(name(who), now)),
                Happens::Reset(who) => drop(desk.reset(name(who), now)),
                Happens::Shelved(who, time) => drop(desk.shelve(name(who), now + time * SECOND, now)),
                Happens::PutBack(who) => {
                    drop(desk.alarms.put_back(&key(name(who)), "Ada", now, &mut desk.records));
                }
            }
            for who in 0..4_u8 {
                let standing = desk.standing(name(who));
                if since[usize::from(who)].is_some_and(|at| now - at >= of(who).on_delay) {
                    prop_assert!(standing != Standing::Normal, "{} at {now}", name(who));
                }
                if who == 3 {
                    let hidden = matches!(standing, Standing::Shelved | Standing::OutOfService);
                    prop_assert!(!hidden);
                }
                if standing == Standing::Suppressed {
                    prop_assert!(desk.alarms.get(&key("bus")).is_some_and(Alarm::holds));
                }
            }
            let again = desk.again();
            prop_assert_eq!(again.standing(), desk.alarms.standing());
            prop_assert!(desk.alarms.next().is_none_or(|next| next > now));
        }
    }
}
