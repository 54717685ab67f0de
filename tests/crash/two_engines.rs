//! Two engines on one folder: the second is refused; and where the first was taken for dead, it is
//! the first that may send nothing any more.

use std::time::Duration;

use crate::lane::{AtWork, Lane, Variant, ended, in_lanes};

const LIMIT: Duration = Duration::from_secs(60);

/// Instruments that can be reached by two at once: a serial line cannot, the second finds it taken.
const STEPS: &str = "\
schema: labloop/protocol/v1
name: shared
roles:
  bath: {type: thermostat}
  light: {type: spectrometer}
steps:
  - id: many
    for_each: {n: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]}
    steps:
      - {id: warm, do: bath.set_temperature, with: {target: \"${ 20 degC + loop.index * 1 K }\"}}
      - {id: short, wait: 15 s}
  - {id: colour, do: light.measure, with: {red: 20, green: 10, blue: 20}}
finally:
  - {do: bath.set_temperature, with: {target: 19 degC}}
";

fn shared() -> Variant {
    Variant { protocol: Some(STEPS), only: &["bath_1", "light_1"], ..Variant::default() }
}

fn warmed(lane: &Lane) -> usize {
    lane.effects_since().iter().filter(|e| e["effect"] == "set_temperature").count()
}

/// Nothing in the folder tells of an engine any more.
fn taken_for_dead(lane: &Lane) {
    for file in ["lock", "control.sock"] {
        let _ = std::fs::remove_file(lane.state().join(file));
    }
}

/// Stops the first and starts a second in its place; the second at work, or at its end.
fn taken_over(lane: &Lane, first: &AtWork, to_its_end: bool) -> AtWork {
    for _ in 0..20 {
        first.signal("STOP");
        taken_for_dead(lane);
        // What was on its way has arrived.
        std::thread::sleep(Duration::from_millis(200));
        let before = warmed(lane);
        let mut second = AtWork::start(lane.engine(true, 1), lane.folder().join("second.txt"));
        let status = loop {
            match second.child.try_wait().unwrap() {
                Some(status) => break status,
                None if !to_its_end && warmed(lane) >= before + 3 => return second,
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        if status.success() {
            return second;
        }
        // Stopped within a commit the first still holds the database: nobody is let in.
        assert!(second.said().contains("locked"), "{}", second.said());
        first.signal("CONT");
        std::thread::sleep(Duration::from_millis(37));
    }
    panic!("the first was always stopped within a commit");
}

#[test]
fn row_22_a_second_engine_is_refused_at_once_with_the_process_of_the_first() {
    let lane = Lane::new("two-refused", Variant::default());
    let mut first = AtWork::start(lane.engine(false, 1), lane.folder().join("first.txt"));
    first.until("work", LIMIT, |_| lane.begun());
    let (status, said) = ended(&mut lane.engine(false, 1), Duration::from_secs(10));
    assert_eq!(status.code(), Some(2), "{said}");
    assert!(said.contains(&first.child.id().to_string()), "{said}");
    // `resume` is a word to the engine that is there, and starts none.
    let (status, said) = ended(&mut lane.engine(true, 1), Duration::from_secs(10));
    assert!(status.success() && said.contains("already"), "{said}");
    let (status, said) = first.end(LIMIT);
    assert!(status.success(), "{said}");
    assert_eq!(lane.audit("refused").complete, 1);
}

/// The first is stopped, its lock deleted, a second takes over, the first wakes: after the second has
/// ended, and while it is at work.
#[test]
fn row_22_an_engine_that_was_taken_for_dead_sends_nothing_when_it_wakes() {
    in_lanes(2, |number| {
        let lane = Lane::new("two-lapsed", shared());
        let mut first = AtWork::start(lane.engine(false, 1), lane.folder().join("first.txt"));
        first.until("work", LIMIT, |_| warmed(&lane) >= 2);
        let mut second = taken_over(&lane, &first, number == 0);
        let before = lane.effects_since().len();
        first.signal("CONT");
        let (status, said) = first.end(LIMIT);
        assert!(!status.success(), "{status}\n{said}");
        assert!(said.contains("was overtaken"), "{said}");
        if number == 0 {
            std::thread::sleep(Duration::from_millis(500));
            let more = lane.effects_since().split_off(before);
            assert!(more.is_empty(), "the first has sent {more:?}\n{said}");
        } else {
            let (status, said) = second.end(LIMIT);
            assert!(status.success(), "{status}\n{said}");
        }
        // Every temperature was set by whoever had written its intent, and none by the other.
        let audit = lane.audit("lapsed");
        assert_eq!(audit.complete, 1);
        let safe = lane
            .effects_since()
            .iter()
            .filter(|e| e["effect"] == "set_temperature" && e["detail"]["target_degc"] == 0.0)
            .count();
        assert!(safe <= 1, "a lapsed engine has sent a safe state into the other's run");
    });
}

/// A serial line has one owner, also when the folder seems to have none.
#[test]
fn row_22_a_line_that_another_engine_holds_is_not_opened() {
    let lane = Lane::new("two-line", Variant::default());
    let mut first = AtWork::start(lane.engine(false, 1), lane.folder().join("first.txt"));
    first.until("work", LIMIT, |_| lane.effects_since().iter().any(|e| e["effect"] == "dispense"));
    first.signal("STOP");
    taken_for_dead(&lane);
    let before = lane.effects_since().len();
    let (status, said) = ended(&mut lane.engine(true, 1), LIMIT);
    assert_eq!(status.code(), Some(5), "{said}");
    assert!(said.contains("pump_1") && said.contains("exclusive"), "{said}");
    assert_eq!(lane.effects_since().len(), before, "{said}");
    drop(first);
    let (status, said) = lane.finish(true, 1);
    assert!(status.success(), "{said}");
    assert_eq!(lane.audit("line").complete, 1);
}
