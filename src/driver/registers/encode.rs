//! Registers backwards: the words that hold a value, for simulators.

use super::{Registers, Request, Table};

impl Registers {
    /// Function that reads it, first address and number of registers.
    pub fn place(&self) -> (u8, u16, u16) {
        match self.read() {
            Request::Read { function, start, count } => (function, start, count),
            // `read` makes nothing else.
            _ => (0, 0, 0),
        }
    }

    /// The words that hold a number, nearest to it; for a coil one word that is 0 or 1.
    pub fn words(&self, number: f64) -> Result<Vec<u16>, String> {
        let bits = matches!(self.table, Table::Coil | Table::Discrete);
        let table = if bits { Table::Coil } else { Table::Holding };
        let writable = Registers { table, single: false, ..self.clone() };
        match writable.write(number)? {
            Request::WriteMultiple { words, .. } => Ok(words),
            Request::WriteSingle { word, .. } => Ok(vec![word]),
            Request::WriteCoil { on, .. } => Ok(vec![u16::from(on)]),
            Request::Read { .. } => Err("a value is not written by reading".to_owned()),
        }
    }

    /// The words of the first raw value that is no measurement.
    pub fn no_measurement(&self) -> Option<Vec<u16>> {
        let raw = *self.invalid.first()?;
        self.words(raw as f64 * self.scale + self.offset).ok()
    }
}
