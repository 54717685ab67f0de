//! Typed Modbus registers: raw words to numbers and back.

mod encode;

use crate::spec::instrument::{Register, RegisterType, Table, WordOrder};
use crate::wire::modbus::{Answer, Request};

/// A register with its request worked out.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Registers {
    table: Table,
    start: u16,
    kind: RegisterType,
    order: WordOrder,
    scale: f64,
    offset: f64,
    invalid: Vec<i64>,
    single: bool,
}

/// What registers held.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Reading {
    Number(f64),
    Bool(bool),
    /// One of the raw values that are no measurements.
    Invalid(i64),
}

impl Registers {
    /// Checks a register; `single` writes one register with function 6 instead of 16.
    pub fn new(register: &Register, single: bool) -> Result<Registers, String> {
        let number = register.number.value;
        let start = number
            .checked_sub(u32::from(register.base))
            .and_then(|start| u16::try_from(start).ok())
            .ok_or_else(|| {
                format!("there is no register {number} counted from {}", register.base)
            })?;
        let kind = register.kind.value;
        let table = register.table.value;
        let bit_table = matches!(table, Table::Coil | Table::Discrete);
        if bit_table != (kind == RegisterType::Bool) {
            return Err(format!(
                "register {number}: coils and inputs are `bool`, registers are not"
            ));
        }
        if !(register.scale.is_finite() && register.scale != 0.0 && register.offset.is_finite()) {
            return Err(format!("register {number}: the scale is zero or not finite"));
        }
        let order = match (register.order, kind) {
            (Some(order), _) => order,
            (None, RegisterType::Bool) => WordOrder::Abcd,
            (None, _) => return Err(format!("register {number} has no `order`")),
        };
        Ok(Registers {
            table,
            start,
            kind,
            order,
            scale: register.scale,
            offset: register.offset,
            invalid: register.invalid.iter().map(|raw| raw.value).collect(),
            single,
        })
    }

    fn count(&self) -> u16 {
        match self.kind {
            RegisterType::U16 | RegisterType::I16 | RegisterType::Bool => 1,
            RegisterType::U32 | RegisterType::I32 | RegisterType::F32 => 2,
            RegisterType::U64 | RegisterType::F64 => 4,
        }
    }

    /// The request that reads it.
    pub fn read(&self) -> Request {
        let function = match self.table {
            Table::Coil => 1,
            Table::Discrete => 2,
            Table::Holding => 3,
            Table::Input => 4,
        };
        Request::Read { function, start: self.start, count: self.count() }
    }

    /// The number an answer holds.
    pub fn reading(&self, answer: &Answer) -> Result<Reading, String> {
        let words = match answer {
            Answer::Bits(bits) => {
                return bits
                    .first()
                    .map(|bit| Reading::Bool(*bit))
                    .ok_or_else(|| "no bit".to_owned());
            }
            Answer::Written => return Err("an answer to a write".to_owned()),
            Answer::Words(words) => words,
        };
        let bytes = self.bytes_of(words);
        let raw = bytes.iter().fold(0_u64, |raw, byte| raw << 8 | u64::from(*byte));
        let integer = match self.kind {
            RegisterType::U16 | RegisterType::U32 | RegisterType::Bool => i64::try_from(raw).ok(),
            RegisterType::I16 => Some(i64::from(raw as u16 as i16)),
            RegisterType::I32 => Some(i64::from(raw as u32 as i32)),
            RegisterType::U64 => i64::try_from(raw).ok(),
            RegisterType::F32 | RegisterType::F64 => None,
        };
        if let Some(raw) = integer.filter(|raw| self.invalid.contains(raw)) {
            return Ok(Reading::Invalid(raw));
        }
        let number = match (self.kind, integer) {
            (RegisterType::F32, _) => f64::from(f32::from_bits(raw as u32)),
            (RegisterType::F64, _) => f64::from_bits(raw),
            (_, Some(integer)) => integer as f64,
            (_, None) => raw as f64,
        };
        let number = number * self.scale + self.offset;
        if number.is_finite() {
            // 251 * 0.1 is 25.1, not 25.1 and a bit.
            Ok(Reading::Number(format!("{number:.12e}").parse().unwrap_or(number)))
        } else {
            Err(format!("the register holds {number}"))
        }
    }

    /// The request that writes a number, refused when it does not fit or would lose more than
    /// half a step of the register.
    pub fn write(&self, number: f64) -> Result<Request, String> {
        let raw = (number - self.offset) / self.scale;
        if !raw.is_finite() {
            return Err(format!("{number} is not a number"));
        }
        let whole = raw.round();
        let check = |low: f64, high: f64| {
            if (low..=high).contains(&whole) {
                Ok(whole)
            } else {
                Err(format!("{number} does not fit: the register would have to hold {whole}"))
            }
        };
        let bytes: Vec<u8> = match self.kind {
            RegisterType::Bool => return self.write_coil(number),
            RegisterType::U16 => (check(0.0, 65535.0)? as u16).to_be_bytes().to_vec(),
            RegisterType::I16 => (check(-32768.0, 32767.0)? as i16).to_be_bytes().to_vec(),
            RegisterType::U32 => (check(0.0, f64::from(u32::MAX))? as u32).to_be_bytes().to_vec(),
            RegisterType::I32 => {
                let whole = check(f64::from(i32::MIN), f64::from(i32::MAX))?;
                (whole as i32).to_be_bytes().to_vec()
            }
            // Above 2^53 not every whole number is a 64-bit float.
            RegisterType::U64 => {
                (check(0.0, 9_007_199_254_740_992.0)? as u64).to_be_bytes().to_vec()
            }
            RegisterType::F32 => (raw as f32).to_be_bytes().to_vec(),
            RegisterType::F64 => raw.to_be_bytes().to_vec(),
        };
        if self.table != Table::Holding {
            return Err("only holding registers and coils can be written".to_owned());
        }
        let words = self.words_of(&bytes);
        match words.as_slice() {
            [word] if self.single => Ok(Request::WriteSingle { at: self.start, word: *word }),
            _ => Ok(Request::WriteMultiple { start: self.start, words }),
        }
    }

    fn write_coil(&self, number: f64) -> Result<Request, String> {
        match (self.table, number) {
            (Table::Coil, 0.0) => Ok(Request::WriteCoil { at: self.start, on: false }),
            (Table::Coil, 1.0) => Ok(Request::WriteCoil { at: self.start, on: true }),
            (Table::Coil, _) => Err(format!("a coil is 0 or 1, not {number}")),
            _ => Err("only holding registers and coils can be written".to_owned()),
        }
    }

    /// Whether a reading is what writing `number` would leave there.
    pub fn holds(&self, reading: Reading, number: f64) -> bool {
        match reading {
            Reading::Number(found) => match self.kind {
                RegisterType::F32 | RegisterType::F64 => {
                    (found - number).abs() <= 1e-6 * number.abs().max(1.0)
                }
                _ => (found - number).abs() <= self.scale.abs() * 0.5 + 1e-9,
            },
            Reading::Bool(found) => found == (number == 1.0),
            Reading::Invalid(_) => false,
        }
    }

    fn bytes_of(&self, words: &[u16]) -> Vec<u8> {
        let mut words = words.to_vec();
        if matches!(self.order, WordOrder::Cdab | WordOrder::Dcba) {
            words.reverse();
        }
        let swap = matches!(self.order, WordOrder::Badc | WordOrder::Dcba);
        words
            .into_iter()
            .flat_map(|word| if swap { word.swap_bytes() } else { word }.to_be_bytes())
            .collect()
    }

    fn words_of(&self, bytes: &[u8]) -> Vec<u16> {
        let swap = matches!(self.order, WordOrder::Badc | WordOrder::Dcba);
        let mut words: Vec<u16> = bytes
            .chunks_exact(2)
            .map(|pair| pair.iter().fold(0_u16, |word, byte| word << 8 | u16::from(*byte)))
            .map(|word| if swap { word.swap_bytes() } else { word })
            .collect();
        if matches!(self.order, WordOrder::Cdab | WordOrder::Dcba) {
            words.reverse();
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn registers(kind: RegisterType, order: WordOrder, scale: f64) -> Registers {
        Registers {
            table: Table::Holding,
            start: 24,
            kind,
            order,
            scale,
            offset: 0.0,
            invalid: vec![-1],
            single: false,
        }
    }

    #[test]
    fn a_scaled_integer_reads_and_writes_back() {
        let register = registers(RegisterType::I16, WordOrder::Abcd, 0.1);
        assert_eq!(register.reading(&Answer::Words(vec![251])), Ok(Reading::Number(25.1)));
        assert_eq!(register.reading(&Answer::Words(vec![0xff9c])), Ok(Reading::Number(-10.0)));
        assert_eq!(register.reading(&Answer::Words(vec![0xffff])), Ok(Reading::Invalid(-1)));
        let write = Request::WriteMultiple { start: 24, words: vec![800] };
        assert_eq!(register.write(80.0), Ok(write));
        assert!(register.write(4000.0).unwrap_err().contains("does not fit"));
        assert!(register.write(f64::NAN).is_err());
        assert!(register.holds(Reading::Number(80.0), 80.04));
        assert!(!register.holds(Reading::Number(80.0), 80.1));
    }

    #[test]
    fn word_orders_differ() {
        // 78.2 as a float is 0x429C6666.
        for (order, words) in [
            (WordOrder::Abcd, vec![0x429c, 0x6666]),
            (WordOrder::Cdab, vec![0x6666, 0x429c]),
            (WordOrder::Badc, vec![0x9c42, 0x6666]),
            (WordOrder::Dcba, vec![0x6666, 0x9c42]),
        ] {
            let register = registers(RegisterType::F32, order, 1.0);
            let reading = register.reading(&Answer::Words(words.clone())).unwrap();
            assert!(register.holds(reading, 78.2), "{order:?} {reading:?}");
            assert_eq!(register.write(78.2), Ok(Request::WriteMultiple { start: 24, words }));
        }
    }

    #[test]
    fn a_float_that_is_no_number_is_refused() {
        let register = registers(RegisterType::F32, WordOrder::Abcd, 1.0);
        assert!(register.reading(&Answer::Words(vec![0x7fc0, 0])).is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(value in -3000.0..3000.0_f64, order in 0..4) {
            let order = [WordOrder::Abcd, WordOrder::Cdab, WordOrder::Badc, WordOrder::Dcba][order as usize];
            for kind in [RegisterType::I16, RegisterType::I32, RegisterType::F32, RegisterType::F64] {
                let register = registers(kind, order, 0.1);
                let Ok(Request::WriteMultiple { words, .. }) = register.write(value) else { panic!() };
                if let Reading::Number(_) = register.reading(&Answer::Words(words.clone())).unwrap() {
                    prop_assert!(register.holds(register.reading(&Answer::Words(words)).unwrap(), value));
                }
            }
        }
    }
}
