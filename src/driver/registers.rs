//! Typed Modbus registers: raw words to values and back.

mod encode;
mod raw;

use std::collections::BTreeMap;

use crate::spec::instrument::{Register, RegisterType, Sentinel, Table, WordOrder};
use crate::units::Unit;
use crate::wire::modbus::{Answer, Request};

/// Above this not every whole number is a 64-bit float.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Longest string in registers: what one write can carry.
const MOST_WRITTEN: u16 = 123;

/// A register with its requests worked out.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Registers {
    table: Table,
    read_function: u8,
    write_function: u8,
    start: u16,
    count: u16,
    /// First register and number of those that come only together.
    block: Option<(u16, u16)>,
    kind: RegisterType,
    order: WordOrder,
    scale: f64,
    offset: f64,
    /// Unit of the scaled value, where it is not that of who reads it.
    pub unit: Option<Unit>,
    invalid: Vec<Sentinel>,
    bits: Option<Bits>,
}

/// Bits by name; their numbers count from the least significant.
#[derive(Debug, Clone, PartialEq)]
struct Bits(BTreeMap<String, u32>);

/// What registers held.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Reading {
    Number(f64),
    Bool(bool),
    Text(String),
    /// Bits by name.
    Bits(BTreeMap<String, bool>),
    /// Something that is no measurement, as people would write it.
    Invalid(String),
}

/// What is written into registers.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content {
    Number(f64),
    Text(String),
}

impl std::fmt::Display for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Content::Number(number) => write!(f, "{number}"),
            Content::Text(text) => write!(f, "{text:?}"),
        }
    }
}

impl Registers {
    /// Checks a register whose number moves by `plus`; `single` writes one register with function
    /// 6 instead of 16, where the register does not say.
    pub fn new(register: &Register, single: bool, plus: i64) -> Result<Registers, String> {
        let number = register.number.value;
        let base = register.base;
        let place = |number: u32| {
            let moved = i64::from(number).saturating_add(plus) - i64::from(base);
            u16::try_from(moved).map_err(|_| {
                format!("there is no register {}", i64::from(number).saturating_add(plus))
            })
        };
        let start = place(number)?;
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
        let length = register.length.as_ref().map(|length| length.value);
        if kind == RegisterType::String && length.is_none() {
            return Err(format!("register {number}: a string needs a `length`"));
        }
        let count = kind.registers(length);
        let count = u16::try_from(count)
            .ok()
            .filter(|count| (1..=MOST_WRITTEN).contains(count) && *count - 1 <= u16::MAX - start)
            .ok_or_else(|| format!("register {number}: {count} registers do not fit there"))?;
        let block = match &register.block {
            None => None,
            Some(block) => {
                let first = place(block.start.value)?;
                let length = u16::try_from(block.count.value).unwrap_or(u16::MAX);
                let inside = start >= first && start - first <= length.saturating_sub(count);
                if !inside || length == 0 || length > 125 {
                    return Err(format!("register {number} is not inside its block"));
                }
                Some((first, length))
            }
        };
        let (usual_read, usual_write) = match table {
            Table::Coil => (1, 5),
            Table::Discrete => (2, 0),
            Table::Holding => (3, if single { 6 } else { 16 }),
            Table::Input => (4, 0),
        };
        Ok(Registers {
            table,
            read_function: register.read_function.unwrap_or(usual_read),
            write_function: register.write_function.unwrap_or(usual_write),
            start,
            count,
            block,
            kind,
            order,
            scale: register.scale,
            offset: register.offset,
            unit: register.unit.as_ref().map(|unit| unit.value.clone()),
            invalid: register.invalid.iter().map(|raw| raw.value).collect(),
            bits: register.bits.as_ref().map(|bits| {
                let top = u32::from(count) * 16 - 1;
                let from_least = |n: u8| match bits.lsb0 {
                    true => u32::from(n),
                    false => top.saturating_sub(u32::from(n)),
                };
                let names = bits.names.iter();
                Bits(names.map(|n| (n.name.value.clone(), from_least(n.value.value))).collect())
            }),
        })
    }

    /// The request that reads it, with its whole block where it has one.
    pub fn read(&self) -> Request {
        let (start, count) = self.block.unwrap_or((self.start, self.count));
        Request::Read { function: self.read_function, start, count }
    }

    /// The value an answer holds.
    pub fn reading(&self, answer: &Answer) -> Result<Reading, String> {
        let from = usize::from(self.start - self.block.map_or(self.start, |(first, _)| first));
        let words = match answer {
            Answer::Bits(bits) => {
                return bits
                    .get(from)
                    .map(|bit| Reading::Bool(*bit))
                    .ok_or_else(|| "no bit".to_owned());
            }
            Answer::Written => return Err("an answer to a write".to_owned()),
            Answer::Words(words) => words,
        };
        let words = words.get(from..from + usize::from(self.count));
        let bytes = self.bytes_of(words.ok_or("fewer registers than the value has")?);
        if self.kind == RegisterType::String {
            return raw::text_of(&bytes).map(Reading::Text);
        }
        let raw = bytes.iter().fold(0_u64, |raw, byte| raw << 8 | u64::from(*byte));
        let number = raw::number(self.kind, raw);
        let missing = |sentinel: &&Sentinel| match sentinel {
            Sentinel::Bits(bits) => *bits == raw,
            Sentinel::Number(missing) => raw::same(self.kind, *missing, number),
        };
        if let Some(sentinel) = self.invalid.iter().find(missing) {
            return Ok(Reading::Invalid(sentinel.to_string()));
        }
        if let Some(Bits(names)) = &self.bits {
            let bits = names.iter().map(|(name, bit)| (name.clone(), raw >> bit & 1 == 1));
            return Ok(Reading::Bits(bits.collect()));
        }
        if !number.is_finite() {
            return Err(format!("the register holds {number}"));
        }
        if self.kind.range().is_some() && number.abs() > EXACT {
            return Err(format!("the register holds {raw:#x}, a number that would lose digits"));
        }
        if self.scale == 1.0 && self.offset == 0.0 {
            return Ok(Reading::Number(number));
        }
        let number = number * self.scale + self.offset;
        if number.is_finite() {
            // 251 * 0.1 is 25.1, not 25.1 and a bit.
            Ok(Reading::Number(format!("{number:.14e}").parse().unwrap_or(number)))
        } else {
            Err(format!("the scaled value is {number}"))
        }
    }

    /// The request that writes a value, refused when it does not fit or would lose more than half
    /// a step of the register.
    pub fn write(&self, content: &Content) -> Result<Request, String> {
        if !matches!(self.table, Table::Holding | Table::Coil) {
            return Err("only holding registers and coils can be written".to_owned());
        }
        if self.bits.is_some() {
            return Err("writing named bits would clear the others".to_owned());
        }
        let words = self.content(content)?;
        Ok(match (self.write_function, words.as_slice()) {
            (5, [word]) => Request::WriteCoil { at: self.start, on: *word != 0 },
            (15, [word]) => Request::WriteCoils { start: self.start, bits: vec![*word != 0] },
            (6, [word]) => Request::WriteSingle { at: self.start, word: *word },
            // What takes several registers is written whole, by the one function that can.
            _ => Request::WriteMultiple { start: self.start, words },
        })
    }

    /// Whether a reading is what writing `content` would leave there.
    pub fn holds(&self, reading: &Reading, content: &Content) -> bool {
        match (reading, content) {
            (Reading::Number(found), Content::Number(number)) => match self.kind {
                RegisterType::F32 | RegisterType::F64 => {
                    (found - number).abs() <= 1e-6 * number.abs().max(1.0)
                }
                _ => (found - number).abs() <= self.scale.abs() * 0.5 + 1e-9,
            },
            (Reading::Bool(found), Content::Number(number)) => *found == (*number == 1.0),
            (Reading::Text(found), Content::Text(text)) => found == text,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests;
