use proptest::prelude::*;

use super::super::types::Raw;
use super::*;

const NOW: u64 = 1_700_000_000_000;

fn metric(name: &str, kind: DataType, datum: &Datum) -> Metric {
    Metric {
        name: Some(name.to_owned()),
        datatype: Some(kind.code()),
        value: Some(kind.write(datum).unwrap()),
        ..Metric::default()
    }
}

fn bytes(seq: Option<u64>, metrics: Vec<Metric>) -> Vec<u8> {
    Payload { timestamp: Some(NOW), metrics, seq }.write()
}

fn bd_seq(number: f64) -> Metric {
    metric(BD_SEQ, DataType::UInt64, &Datum::Number(number))
}

fn node_birth(bd: f64) -> Vec<u8> {
    bytes(Some(0), vec![bd_seq(bd)])
}

fn node_death(bd: f64) -> Vec<u8> {
    bytes(None, vec![bd_seq(bd)])
}

fn device_birth(seq: u64, t: f64) -> Vec<u8> {
    let temperature = Metric { alias: Some(7), ..metric("T", DataType::Float, &Datum::Number(t)) };
    bytes(Some(seq), vec![temperature, metric("on", DataType::Boolean, &Datum::Bool(false))])
}

/// Data by alias alone, as most nodes send it.
fn data(seq: u64, t: f32) -> Vec<u8> {
    let value = Some(Raw::Float(t));
    bytes(Some(seq), vec![Metric { alias: Some(7), value, ..Metric::default() }])
}

const NBIRTH: &str = "spBv1.0/lab/NBIRTH/edge";
const NDEATH: &str = "spBv1.0/lab/NDEATH/edge";
const DBIRTH: &str = "spBv1.0/lab/DBIRTH/edge/oven";
const DDATA: &str = "spBv1.0/lab/DDATA/edge/oven";
const OTHER: &str = "spBv1.0/lab/DDATA/edge/other";

fn born() -> Node {
    let mut node = Node::new(Place::parse("lab/edge/oven").unwrap());
    assert_eq!(node.hear(NBIRTH, &node_birth(3.0)), Heard::Nothing);
    let Heard::Born { values, again } = node.hear(DBIRTH, &device_birth(1, 20.5)) else {
        panic!("not born");
    };
    assert!(!again && node.is_born());
    assert_eq!((values[0].name.as_str(), &values[0].reading), ("T", &Ok(Datum::Number(20.5))));
    node
}

fn temperature(heard: &Heard) -> Option<f64> {
    match heard {
        Heard::Values(values) => match values.as_slice() {
            [Said { name, reading: Ok(Datum::Number(number)), .. }] if name == "T" => Some(*number),
            _ => None,
        },
        _ => None,
    }
}

#[test]
fn births_define_what_aliases_mean() {
    let mut node = born();
    assert_eq!(temperature(&node.hear(DDATA, &data(2, 21.0))), Some(21.0));
    let value = Some(Raw::Float(1.0));
    let strange = bytes(Some(3), vec![Metric { alias: Some(8), value, ..Metric::default() }]);
    assert!(matches!(node.hear(DDATA, &strange), Heard::Lost(why) if why.contains("alias 8")));
    assert!(!node.is_born());
}

#[test]
fn a_gap_in_the_numbers_makes_everything_unknown_until_the_next_birth() {
    let mut node = born();
    assert!(matches!(node.hear(DDATA, &data(3, 99.0)), Heard::Lost(_)));
    assert!(matches!(node.hear(DDATA, &data(4, 99.0)), Heard::Lost(_)));
    assert!(node.write("on", &Datum::Bool(true), NOW).is_err());
    assert_eq!(node.hear(NBIRTH, &node_birth(3.0)), Heard::Nothing);
    assert!(matches!(node.hear(DBIRTH, &device_birth(1, 20.0)), Heard::Born { again: false, .. }));
}

#[test]
fn other_devices_of_the_node_count_and_duplicates_do_not() {
    let mut node = born();
    assert_eq!(node.hear(OTHER, &data(2, 1.0)), Heard::Nothing);
    assert_eq!(temperature(&node.hear(DDATA, &data(3, 22.0))), Some(22.0));
    assert_eq!(node.hear(DDATA, &data(3, 22.0)), Heard::Nothing);
    assert_eq!(temperature(&node.hear(DDATA, &data(4, 23.0))), Some(23.0));
}

#[test]
fn numbers_start_again_after_255() {
    let mut node = born();
    for seq in 2..600u64 {
        let heard = node.hear(DDATA, &data(seq % 256, 1.0));
        assert_eq!(temperature(&heard), Some(1.0), "{seq}");
    }
}

#[test]
fn the_will_of_an_earlier_session_kills_nothing() {
    let mut node = born();
    assert_eq!(node.hear(NDEATH, &node_death(2.0)), Heard::Nothing);
    assert!(node.is_born());
    assert!(matches!(node.hear(NDEATH, &node_death(3.0)), Heard::Died(_)));
    assert!(!node.is_born());
    assert_eq!(node.hear(NBIRTH, &node_birth(4.0)), Heard::Nothing);
    assert!(matches!(node.hear(DBIRTH, &device_birth(1, 20.0)), Heard::Born { again: true, .. }));
}

#[test]
fn a_node_that_connects_anew_without_a_death_is_noticed() {
    let mut node = born();
    assert!(matches!(node.hear(NBIRTH, &node_birth(4.0)), Heard::Died(_)));
    assert!(matches!(node.hear(DBIRTH, &device_birth(1, 20.0)), Heard::Born { again: true, .. }));
}

#[test]
fn data_before_a_birth_asks_for_one() {
    let mut node = Node::new(Place::parse("lab/edge/oven").unwrap());
    assert!(matches!(node.hear(DDATA, &data(9, 1.0)), Heard::Lost(_)));
    assert_eq!(node.hear("spBv1.0/lab/DCMD/edge/oven", b"noise"), Heard::Nothing);
    assert_eq!(node.hear("spBv1.0/lab/DDATA/another/oven", &data(9, 1.0)), Heard::Nothing);
}

#[test]
fn bad_stale_and_missing_values_are_no_values() {
    let mut node = born();
    let with = |seq, metric: Metric| bytes(Some(seq), vec![metric]);
    let t = metric("T", DataType::Float, &Datum::Number(21.0));
    for (seq, metric, part) in [
        (2, Metric { quality: Some(0), ..t.clone() }, "bad"),
        (3, Metric { quality: Some(500), ..t.clone() }, "stale"),
        (4, Metric { null: true, value: None, ..t.clone() }, "no value"),
        (5, Metric { value: Some(Raw::Float(f32::NAN)), ..t.clone() }, "holds"),
    ] {
        let Heard::Values(values) = node.hear(DDATA, &with(seq, metric)) else { panic!() };
        assert!(values[0].reading.as_ref().unwrap_err().contains(part), "{values:?}");
        assert_eq!((values[0].stale, values[0].device_ms), (part == "stale", Some(NOW as i64)));
    }
    let old = Metric { historical: true, ..t };
    assert_eq!(node.hear(DDATA, &with(6, old)), Heard::Values(vec![]));
}

#[test]
fn a_command_names_its_metric_and_has_the_type_of_the_birth() {
    let node = born();
    let (topic, payload) = node.write("on", &Datum::Bool(true), 300).unwrap();
    assert_eq!(topic, "spBv1.0/lab/DCMD/edge/oven");
    // timestamp 300; a metric of 11 bytes: name, timestamp, type 11, boolean true; no number.
    let expected = [
        0x08, 0xac, 0x02, 0x12, 0x0b, 0x0a, 0x02, b'o', b'n', 0x18, 0xac, 0x02, 0x20, 0x0b, 0x70,
        0x01,
    ];
    assert_eq!(payload, expected);
    assert!(node.write("on", &Datum::Number(1.0), 300).is_err());
    assert!(node.write("off", &Datum::Bool(true), 300).unwrap_err().contains("no metric `off`"));
}

#[test]
fn a_safe_state_is_said_even_when_nothing_is_known() {
    let mut node = born();
    let safe = Datum::Number(5.0);
    let typed = node.write("T", &safe, 300).unwrap();
    assert!(matches!(node.doubt("?"), Heard::Lost(_)));
    assert!(node.write("T", &safe, 300).is_err());
    assert_eq!(node.write_blindly("T", &safe, 300), Ok(typed));
    let unknown = Node::new(Place::parse("lab/edge/oven").unwrap());
    let (_, payload) = unknown.write_blindly("on", &Datum::Bool(false), 300).unwrap();
    assert!(payload.ends_with(&[0x20, 0x0b, 0x70, 0x00]), "{payload:02x?}");
}

#[test]
fn places_are_two_or_three_levels() {
    for base in ["", "lab", "lab/", "a/b/c/d", "/edge"] {
        assert!(Place::parse(base).is_err(), "{base}");
    }
    let node = Place::parse("lab/edge").unwrap();
    assert_eq!(node.topic("NCMD"), "spBv1.0/lab/NCMD/edge");
    assert_eq!(node.filters(), ["spBv1.0/lab/+/edge/+", "spBv1.0/lab/+/edge"]);
}

proptest! {
    /// Whatever is lost or comes twice: a value is believed only while no number is missing since
    /// the birth.
    #[test]
    fn no_value_is_believed_after_a_loss(lost in proptest::collection::vec(0u8..4, 1..300)) {
        let mut node = born();
        let mut whole = true;
        for (at, fate) in lost.iter().enumerate() {
            let message = data((at as u64 + 2) % 256, at as f32);
            match fate {
                0 => whole = false,
                1 => {
                    let _ = node.hear(DDATA, &message);
                    prop_assert_eq!(temperature(&node.hear(DDATA, &message)), None);
                }
                _ => {
                    let heard = node.hear(DDATA, &message);
                    prop_assert_eq!(temperature(&heard).is_some(), whole);
                }
            }
        }
    }

    #[test]
    fn any_message_gets_an_answer(
        kind in "[ND](BIRTH|DATA|DEATH)",
        payload in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let mut node = born();
        let device = if kind.starts_with('D') { "/oven" } else { "" };
        let _ = node.hear(&format!("spBv1.0/lab/{kind}/edge{device}"), &payload);
    }
}
