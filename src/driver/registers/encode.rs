//! Values to words.

use super::{Bits, Content, EXACT, Reading, Registers, raw};
use crate::spec::instrument::{RegisterType, Sentinel, Table, WordOrder};

impl Registers {
    /// Function that reads it, first address and number of its own registers.
    pub fn place(&self) -> (u8, u16, u16) {
        (self.read_function, self.start, self.count)
    }

    /// Function that reads it and the registers that must be read together, if any.
    pub fn block(&self) -> Option<(u8, u16, u16)> {
        self.block.map(|(start, count)| (self.read_function, start, count))
    }

    /// Whether writes of a table (coils or holding registers) reach it.
    pub fn is_in(&self, table: Table) -> bool {
        self.table == table
    }

    /// The words that hold a value, nearest to it; for a coil one word that is 0 or 1.
    pub fn content(&self, content: &Content) -> Result<Vec<u16>, String> {
        let number = match (content, self.kind) {
            (Content::Text(text), RegisterType::String) => {
                return Ok(self.words_of(&raw::bytes_of_text(text, self.count)?));
            }
            (Content::Number(number), kind) if kind != RegisterType::String => *number,
            _ => return Err(format!("{content} is not what the register holds")),
        };
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
            RegisterType::Bool => {
                return match number {
                    0.0 => Ok(vec![0]),
                    1.0 => Ok(vec![1]),
                    _ => Err(format!("a coil is 0 or 1, not {number}")),
                };
            }
            RegisterType::U16 => (check(0.0, 65535.0)? as u16).to_be_bytes().to_vec(),
            RegisterType::I16 => (check(-32768.0, 32767.0)? as i16).to_be_bytes().to_vec(),
            RegisterType::U32 => (check(0.0, f64::from(u32::MAX))? as u32).to_be_bytes().to_vec(),
            RegisterType::I32 => {
                let whole = check(f64::from(i32::MIN), f64::from(i32::MAX))?;
                (whole as i32).to_be_bytes().to_vec()
            }
            RegisterType::U64 => (check(0.0, EXACT)? as u64).to_be_bytes().to_vec(),
            RegisterType::I64 => (check(-EXACT, EXACT)? as i64).to_be_bytes().to_vec(),
            RegisterType::F32 => {
                let single = raw as f32;
                if !single.is_finite() {
                    return Err(format!("{number} does not fit into 32 bits"));
                }
                single.to_be_bytes().to_vec()
            }
            RegisterType::F64 => raw.to_be_bytes().to_vec(),
            // Texts have returned above.
            RegisterType::String => return Err("a number in place of a text".to_owned()),
        };
        Ok(self.words_of(&bytes))
    }

    /// The words of a value as a device would hold it, for simulators.
    pub fn shown(&self, reading: &Reading) -> Result<Vec<u16>, String> {
        match (reading, &self.bits) {
            (Reading::Bits(set), Some(Bits(names))) => {
                let on = |(name, bit): (&String, &u32)| {
                    if set.get(name).copied().unwrap_or(false) { 1_u64 << bit } else { 0 }
                };
                let raw = names.iter().map(on).fold(0, |all, one| all | one);
                Ok(self.words_of_bits(raw))
            }
            (Reading::Bool(on), Some(Bits(names))) => {
                let first = names.values().next().copied().unwrap_or(0);
                Ok(self.words_of_bits(u64::from(*on) << first))
            }
            (Reading::Bool(on), None) => self.content(&Content::Number(f64::from(u8::from(*on)))),
            (Reading::Number(number), _) => self.content(&Content::Number(*number)),
            (Reading::Text(text), _) => match text.parse() {
                Ok(number) if self.kind != RegisterType::String => {
                    self.content(&Content::Number(number))
                }
                _ => self.content(&Content::Text(text.clone())),
            },
            (Reading::Bits(_) | Reading::Invalid(_), _) => {
                Err("this is not what the register holds".to_owned())
            }
        }
    }

    /// The words of the first raw value that is no measurement.
    pub fn no_measurement(&self) -> Option<Vec<u16>> {
        match *self.invalid.first()? {
            Sentinel::Bits(bits) => Some(self.words_of_bits(bits)),
            Sentinel::Number(raw) => {
                self.content(&Content::Number(raw * self.scale + self.offset)).ok()
            }
        }
    }

    fn words_of_bits(&self, bits: u64) -> Vec<u16> {
        let bytes = bits.to_be_bytes();
        let from = bytes.len().saturating_sub(usize::from(self.count) * 2);
        self.words_of(bytes.get(from..).unwrap_or_default())
    }

    pub(super) fn bytes_of(&self, words: &[u16]) -> Vec<u8> {
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
