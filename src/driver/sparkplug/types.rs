//! Data types of metrics, and values between them and ours.

/// Whole numbers beyond this are not exact as a number of ours.
const LARGEST_EXACT: f64 = 9_007_199_254_740_992.0;

/// The types a metric of an instrument may have; data sets, templates, files and arrays are not
/// read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::driver) enum DataType {
    Int8,
    Int16,
    Int32,
    Int64,
    UInt8,
    UInt16,
    UInt32,
    UInt64,
    Float,
    Double,
    Boolean,
    String,
    DateTime,
    Text,
}

const CODES: [(u32, DataType); 14] = [
    (1, DataType::Int8),
    (2, DataType::Int16),
    (3, DataType::Int32),
    (4, DataType::Int64),
    (5, DataType::UInt8),
    (6, DataType::UInt16),
    (7, DataType::UInt32),
    (8, DataType::UInt64),
    (9, DataType::Float),
    (10, DataType::Double),
    (11, DataType::Boolean),
    (12, DataType::String),
    (13, DataType::DateTime),
    (14, DataType::Text),
];

/// A value as it stands in a message.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::driver) enum Raw {
    Int(u32),
    Long(u64),
    Float(f32),
    Double(f64),
    Bool(bool),
    Text(String),
    /// Bytes, a data set, a template: nothing an instrument's property is.
    Other,
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::driver) enum Datum {
    Number(f64),
    Bool(bool),
    Text(String),
}

impl DataType {
    /// The type of a number in a message.
    pub fn of_code(code: u32) -> Option<DataType> {
        CODES.iter().find(|(its, _)| *its == code).map(|(_, kind)| *kind)
    }

    /// Its number in messages.
    pub fn code(self) -> u32 {
        CODES.iter().find(|(_, kind)| *kind == self).map_or(0, |(code, _)| *code)
    }

    /// What a value of this type means.
    pub fn read(self, raw: &Raw) -> Result<Datum, String> {
        let wrong = || Err(format!("a metric of type {self:?} holds {raw:?}"));
        // Negative numbers stand as two's complement in an unsigned field (6.4.16).
        let number = match (self, raw) {
            (DataType::Boolean, Raw::Bool(on)) => return Ok(Datum::Bool(*on)),
            (DataType::String | DataType::Text, Raw::Text(text)) => {
                return Ok(Datum::Text(text.clone()));
            }
            (DataType::Int8, Raw::Int(bits)) => f64::from(*bits as u8 as i8),
            (DataType::Int16, Raw::Int(bits)) => f64::from(*bits as u16 as i16),
            (DataType::Int32, Raw::Int(bits)) => f64::from(*bits as i32),
            (
                DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64,
                Raw::Long(n),
            ) => exact(*n as i64 as f64)?,
            (DataType::UInt8, Raw::Int(bits)) if *bits <= 0xff => f64::from(*bits),
            (DataType::UInt16, Raw::Int(bits)) if *bits <= 0xffff => f64::from(*bits),
            (DataType::UInt32, Raw::Int(bits)) => f64::from(*bits),
            (DataType::UInt32 | DataType::UInt64 | DataType::DateTime, Raw::Long(n)) => {
                exact(*n as f64)?
            }
            (DataType::Float, Raw::Float(number)) => f64::from(*number),
            (DataType::Double, Raw::Double(number)) => *number,
            _ => return wrong(),
        };
        if number.is_finite() { Ok(Datum::Number(number)) } else { wrong() }
    }

    /// A value as a message of this type holds it. A number that would be changed is refused.
    pub fn write(self, datum: &Datum) -> Result<Raw, String> {
        let number = match (self, datum) {
            (DataType::Boolean, Datum::Bool(on)) => return Ok(Raw::Bool(*on)),
            (DataType::String | DataType::Text, Datum::Text(text)) => {
                return Ok(Raw::Text(text.clone()));
            }
            (_, Datum::Number(number)) if number.is_finite() => *number,
            _ => return Err(format!("{datum:?} cannot be written to a metric of type {self:?}")),
        };
        let (low, high) = match self {
            DataType::Int8 => (-128.0, 127.0),
            DataType::Int16 => (-32_768.0, 32_767.0),
            DataType::Int32 => (-2_147_483_648.0, 2_147_483_647.0),
            DataType::Int64 => (-LARGEST_EXACT, LARGEST_EXACT),
            DataType::UInt8 => (0.0, 255.0),
            DataType::UInt16 => (0.0, 65_535.0),
            DataType::UInt32 => (0.0, 4_294_967_295.0),
            DataType::UInt64 | DataType::DateTime => (0.0, LARGEST_EXACT),
            DataType::Float if f64::from(number as f32).is_finite() => {
                return Ok(Raw::Float(number as f32));
            }
            DataType::Double => return Ok(Raw::Double(number)),
            DataType::Float | DataType::Boolean | DataType::String | DataType::Text => {
                return Err(format!("{number} cannot be written to a metric of type {self:?}"));
            }
        };
        if number.fract() != 0.0 || !(low..=high).contains(&number) {
            return Err(format!("{number} is no whole number from {low} to {high} ({self:?})"));
        }
        Ok(match self {
            DataType::Int64 | DataType::UInt64 | DataType::DateTime | DataType::UInt32 => {
                Raw::Long(number as i64 as u64)
            }
            _ => Raw::Int(number as i64 as u32),
        })
    }
}

fn exact(number: f64) -> Result<f64, String> {
    if number.abs() <= LARGEST_EXACT {
        return Ok(number);
    }
    Err(format!("{number} is too large to be exact"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kinds() -> impl Strategy<Value = DataType> {
        (0..CODES.len()).prop_map(|at| CODES[at].1)
    }

    #[test]
    fn negative_numbers_are_twos_complement() {
        assert_eq!(DataType::Int8.write(&Datum::Number(-2.0)), Ok(Raw::Int(0xffff_fffe)));
        assert_eq!(DataType::Int16.read(&Raw::Int(0xfffe)), Ok(Datum::Number(-2.0)));
        assert_eq!(DataType::Int64.read(&Raw::Long(u64::MAX)), Ok(Datum::Number(-1.0)));
    }

    #[test]
    fn what_would_change_a_value_is_refused() {
        for (kind, datum) in [
            (DataType::Int8, Datum::Number(128.0)),
            (DataType::UInt16, Datum::Number(-1.0)),
            (DataType::Int32, Datum::Number(0.5)),
            (DataType::Boolean, Datum::Number(1.0)),
            (DataType::Float, Datum::Number(1e300)),
            (DataType::Double, Datum::Number(f64::NAN)),
            (DataType::Double, Datum::Text("1".to_owned())),
        ] {
            assert!(kind.write(&datum).is_err(), "{kind:?} {datum:?}");
        }
        assert!(DataType::UInt64.read(&Raw::Long(u64::MAX)).is_err());
        assert!(DataType::Double.read(&Raw::Double(f64::INFINITY)).is_err());
        assert!(DataType::Boolean.read(&Raw::Int(1)).is_err());
    }

    proptest! {
        #[test]
        fn a_number_that_is_written_is_read_back(kind in kinds(), number in -1e6f64..1e6) {
            for number in [number, number.round()] {
                if let Ok(raw) = kind.write(&Datum::Number(number)) {
                    let Ok(Datum::Number(back)) = kind.read(&raw) else { panic!("{raw:?}") };
                    let loss = if kind == DataType::Float { 1e-6 * number.abs() } else { 0.0 };
                    prop_assert!((back - number).abs() <= loss);
                }
            }
        }
    }
}
