//! The payload of a message: metrics, a time and a sequence number.

use super::protobuf::{Field, Fields, Writer};
use super::types::Raw;

/// Most metrics of one message.
const METRICS_MAX: usize = 10_000;
/// Longest name of a metric, in bytes.
const NAME_MAX: usize = 1024;
/// Most properties of one metric that are looked through.
const PROPERTIES_MAX: usize = 64;
/// Name of the property that says how good a value is.
const QUALITY: &str = "Quality";

/// A payload.
#[derive(Debug, Clone, PartialEq, Default)]
pub(in crate::driver) struct Payload {
    /// Milliseconds since 1970.
    pub timestamp: Option<u64>,
    pub metrics: Vec<Metric>,
    /// Number of the message, 0 to 255.
    pub seq: Option<u64>,
}

/// A metric.
#[derive(Debug, Clone, PartialEq, Default)]
pub(in crate::driver) struct Metric {
    pub name: Option<String>,
    /// Stands for the name once a birth has told it.
    pub alias: Option<u64>,
    /// Milliseconds since 1970.
    pub timestamp: Option<u64>,
    pub datatype: Option<u32>,
    /// Kept from before; not what it is now.
    pub historical: bool,
    pub null: bool,
    /// 192 is good, 0 bad, 500 stale.
    pub quality: Option<u64>,
    pub value: Option<Raw>,
}

impl Payload {
    /// Reads a payload. Fields that are not known are passed over, as protobuf wants.
    pub fn read(bytes: &[u8]) -> Result<Payload, String> {
        let mut payload = Payload::default();
        let mut fields = Fields::of(bytes);
        while let Some((number, field)) = fields.next()? {
            match (number, field) {
                (1, Field::Varint(time)) => payload.timestamp = Some(time),
                (2, Field::Bytes(_)) if payload.metrics.len() == METRICS_MAX => {
                    return Err(format!("it has more than {METRICS_MAX} metrics"));
                }
                (2, Field::Bytes(metric)) => payload.metrics.push(Metric::read(metric)?),
                (3, Field::Varint(seq)) => payload.seq = Some(seq),
                (1..=3, other) => return Err(format!("field {number} of it is {other:?}")),
                _ => {}
            }
        }
        Ok(payload)
    }

    /// Writes it, fields in the order of their numbers.
    pub fn write(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        if let Some(time) = self.timestamp {
            writer.varint(1, time);
        }
        for metric in &self.metrics {
            writer.bytes(2, &metric.write());
        }
        if let Some(seq) = self.seq {
            writer.varint(3, seq);
        }
        writer.0
    }
}

impl Metric {
    fn read(bytes: &[u8]) -> Result<Metric, String> {
        let mut metric = Metric::default();
        let mut fields = Fields::of(bytes);
        while let Some((number, field)) = fields.next()? {
            match (number, field) {
                (1, Field::Bytes(name)) => metric.name = Some(name_of(name)?),
                (2, Field::Varint(alias)) => metric.alias = Some(alias),
                (3, Field::Varint(time)) => metric.timestamp = Some(time),
                (4, Field::Varint(kind)) => metric.datatype = Some(narrow(kind)?),
                (5, Field::Varint(historical)) => metric.historical = historical != 0,
                (7, Field::Varint(null)) => metric.null = null != 0,
                (9, Field::Bytes(set)) => metric.quality = quality(set)?,
                (10, Field::Varint(int)) => metric.value = Some(Raw::Int(narrow(int)?)),
                (11, Field::Varint(long)) => metric.value = Some(Raw::Long(long)),
                (12, Field::Fixed32(bits)) => {
                    metric.value = Some(Raw::Float(f32::from_bits(bits)));
                }
                (13, Field::Fixed64(bits)) => {
                    metric.value = Some(Raw::Double(f64::from_bits(bits)));
                }
                (14, Field::Varint(on)) => metric.value = Some(Raw::Bool(on != 0)),
                (15, Field::Bytes(text)) => metric.value = Some(Raw::Text(text_of(text)?)),
                (16..=19, Field::Bytes(_)) => metric.value = Some(Raw::Other),
                (1..=5 | 7 | 9..=19, other) => {
                    return Err(format!("field {number} of a metric is {other:?}"));
                }
                _ => {}
            }
        }
        Ok(metric)
    }

    fn write(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        if let Some(name) = &self.name {
            writer.bytes(1, name.as_bytes());
        }
        let numbers = [(2, self.alias), (3, self.timestamp), (4, self.datatype.map(u64::from))];
        for (number, value) in numbers {
            if let Some(value) = value {
                writer.varint(number, value);
            }
        }
        for (number, set) in [(5, self.historical), (7, self.null)] {
            if set {
                writer.varint(number, 1);
            }
        }
        if let Some(quality) = self.quality {
            // A set of one key and one value of type Int32.
            let mut value = Writer::default();
            value.varint(1, 3);
            value.varint(3, quality);
            let mut set = Writer::default();
            set.bytes(1, QUALITY.as_bytes());
            set.bytes(2, &value.0);
            writer.bytes(9, &set.0);
        }
        match &self.value {
            Some(Raw::Int(bits)) => writer.varint(10, u64::from(*bits)),
            Some(Raw::Long(bits)) => writer.varint(11, *bits),
            Some(Raw::Float(number)) => writer.fixed32(12, number.to_bits()),
            Some(Raw::Double(number)) => writer.fixed64(13, number.to_bits()),
            Some(Raw::Bool(on)) => writer.varint(14, u64::from(*on)),
            Some(Raw::Text(text)) => writer.bytes(15, text.as_bytes()),
            Some(Raw::Other) | None => {}
        }
        writer.0
    }
}

/// A 32 bit number; negative ones of some writers are sign extended to 64 bits.
fn narrow(number: u64) -> Result<u32, String> {
    u32::try_from(number)
        .or_else(|_| i32::try_from(number as i64).map(|number| number as u32))
        .map_err(|_| format!("{number} has more than 32 bits"))
}

fn text_of(bytes: &[u8]) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| "a text is no UTF-8".to_owned())
}

fn name_of(bytes: &[u8]) -> Result<String, String> {
    if bytes.len() > NAME_MAX {
        return Err(format!("the name of a metric is longer than {NAME_MAX} bytes"));
    }
    text_of(bytes)
}

/// The quality in a set of properties.
fn quality(set: &[u8]) -> Result<Option<u64>, String> {
    let (mut keys, mut values) = (Vec::new(), Vec::new());
    let mut fields = Fields::of(set);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Field::Bytes(key)) if keys.len() < PROPERTIES_MAX => keys.push(key),
            (2, Field::Bytes(value)) if values.len() < PROPERTIES_MAX => values.push(value),
            (1 | 2, Field::Bytes(_)) => {
                return Err(format!("a metric has more than {PROPERTIES_MAX} properties"));
            }
            _ => {}
        }
    }
    let at = keys.iter().position(|key| *key == QUALITY.as_bytes());
    let Some(value) = at.and_then(|at| values.get(at)) else { return Ok(None) };
    let mut fields = Fields::of(value);
    let mut found = None;
    while let Some((number, field)) = fields.next()? {
        if let (3 | 4, Field::Varint(number)) = (number, field) {
            found = Some(number);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Each byte follows from the encoding rules: key = number * 8 + kind, then the value.
    #[test]
    fn a_payload_is_the_bytes_the_rules_give() {
        let payload = Payload {
            timestamp: Some(300),
            metrics: vec![
                Metric {
                    name: Some("T".to_owned()),
                    alias: Some(2),
                    datatype: Some(9),
                    value: Some(Raw::Float(21.5)),
                    ..Metric::default()
                },
                Metric {
                    name: Some("on".to_owned()),
                    datatype: Some(11),
                    quality: Some(192),
                    value: Some(Raw::Bool(true)),
                    ..Metric::default()
                },
            ],
            seq: Some(1),
        };
        let bytes = [
            0x08, 0xac, 0x02, // 1: 300 = 0x2c + 2 * 128
            0x12, 0x0c, // 2: 12 bytes
            0x0a, 0x01, b'T', // name
            0x10, 0x02, // alias
            0x20, 0x09, // type Float
            0x65, 0x00, 0x00, 0xac, 0x41, // 12: 21.5 = 0x41ac0000, least byte first
            0x12, 0x1a, // 2: 26 bytes
            0x0a, 0x02, b'o', b'n', // name
            0x20, 0x0b, // type Boolean
            0x4a, 0x10, // 9: 16 bytes of properties
            0x0a, 0x07, b'Q', b'u', b'a', b'l', b'i', b't', b'y', // key
            0x12, 0x05, 0x08, 0x03, 0x18, 0xc0, 0x01, // value: Int32, 192
            0x70, 0x01, // 14: true
            0x18, 0x01, // 3: seq 1
        ];
        assert_eq!(payload.write(), bytes);
        assert_eq!(Payload::read(&bytes), Ok(payload));
    }

    #[test]
    fn a_payload_that_breaks_off_is_refused() {
        let payload = Payload {
            metrics: vec![Metric {
                name: Some("T".to_owned()),
                value: Some(Raw::Double(1.0)),
                ..Metric::default()
            }],
            ..Payload::default()
        };
        let bytes = payload.write();
        for length in 1..bytes.len() {
            assert!(Payload::read(&bytes[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn too_many_metrics_are_refused() {
        let empty = [0x12, 0x00].repeat(METRICS_MAX + 1);
        assert!(Payload::read(&empty).unwrap_err().contains("more than"));
    }

    fn metrics() -> impl Strategy<Value = Metric> {
        let value = prop_oneof![
            any::<u32>().prop_map(Raw::Int),
            any::<u64>().prop_map(Raw::Long),
            (-1e30f32..1e30).prop_map(Raw::Float),
            (-1e300f64..1e300).prop_map(Raw::Double),
            any::<bool>().prop_map(Raw::Bool),
            "\\PC{0,20}".prop_map(Raw::Text),
        ];
        let name = proptest::option::of("\\PC{0,20}");
        let some = proptest::option::of(any::<u64>());
        (name, some.clone(), some, any::<bool>(), proptest::option::of(value)).prop_map(
            |(name, alias, timestamp, historical, value)| Metric {
                name,
                alias,
                timestamp,
                historical,
                datatype: Some(10),
                quality: alias.map(|_| 192),
                value,
                ..Metric::default()
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            metrics in proptest::collection::vec(metrics(), 0..8),
            timestamp in proptest::option::of(any::<u64>()),
            seq in proptest::option::of(0u64..256),
        ) {
            let payload = Payload { timestamp, metrics, seq };
            prop_assert_eq!(Payload::read(&payload.write()), Ok(payload));
        }

        #[test]
        fn any_bytes_get_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Payload::read(&bytes);
        }

        /// Damage of a good message too, which gets further than noise.
        #[test]
        fn any_damage_gets_an_answer(
            metrics in proptest::collection::vec(metrics(), 1..4),
            at: proptest::sample::Index,
            byte: u8,
        ) {
            let mut bytes = Payload { metrics, ..Payload::default() }.write();
            let place = at.index(bytes.len().max(1));
            if let Some(seat) = bytes.get_mut(place) {
                *seat = byte;
            }
            let _ = Payload::read(&bytes);
        }
    }
}
