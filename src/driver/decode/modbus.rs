//! Unit and PDU of Modbus, as pairs of hexadecimal digits.

use super::{Asked, Decoded, Decoder, shown};
use crate::driver::plan::{AskPlan, Op};
use crate::driver::registers::{Reading, Registers};
use crate::driver::values;
use crate::spec::Shape;
use crate::spec::instrument::Table;
use crate::units::{Quantity, Unit};
use crate::wire::modbus::{Answer, ModbusError, Request, exception_text};
use crate::wire::printable::unhex;

/// A register that has a name.
struct Known {
    name: String,
    register: Registers,
    shape: Option<Shape>,
    unit: Option<Unit>,
    of: Of,
}

#[derive(PartialEq, Eq)]
enum Of {
    Property,
    Action(String),
    Other,
}

/// The request of a PDU and, for a write, what it writes.
fn request(pdu: &[u8]) -> Option<(Request, Option<Answer>)> {
    let (function, data) = pdu.split_first()?;
    let words: Vec<u16> = data
        .chunks_exact(2)
        .map(|pair| pair.iter().fold(0, |word, byte| word << 8 | u16::from(*byte)))
        .collect();
    let [start, second, ..] = *words.as_slice() else { return None };
    Some(match function {
        1..=4 => (Request::Read { function: *function, start, count: second }, None),
        5 => {
            let on = second != 0;
            (Request::WriteCoil { at: start, on }, Some(Answer::Bits(vec![on])))
        }
        6 => {
            let written = Answer::Words(vec![second]);
            (Request::WriteSingle { at: start, word: second }, Some(written))
        }
        15 => {
            let states =
                data.get(5..)?.iter().flat_map(|byte| (0..8).map(move |at| byte >> at & 1));
            let bits: Vec<bool> = states.map(|bit| bit == 1).take(usize::from(second)).collect();
            (Request::WriteCoils { start, bits: bits.clone() }, Some(Answer::Bits(bits)))
        }
        16 => {
            let words: Vec<u16> = data
                .get(5..)?
                .chunks_exact(2)
                .map(|pair| pair.iter().fold(0, |word, byte| word << 8 | u16::from(*byte)))
                .collect();
            let written = Answer::Words(words.clone());
            (Request::WriteMultiple { start, words }, Some(written))
        }
        _ => return None,
    })
}

/// Table (by the function that reads it), first address and number of registers.
fn place(request: &Request) -> (u8, u16, u16) {
    match request {
        Request::Read { function, start, count } => (*function, *start, *count),
        Request::WriteCoil { at, .. } => (1, *at, 1),
        Request::WriteCoils { start, bits } => {
            (1, *start, u16::try_from(bits.len()).unwrap_or(u16::MAX))
        }
        Request::WriteSingle { at, .. } => (3, *at, 1),
        Request::WriteMultiple { start, words } => {
            (3, *start, u16::try_from(words.len()).unwrap_or(u16::MAX))
        }
    }
}

impl Decoder {
    /// All registers that have a name, those of the action under way first.
    fn known(&self) -> Vec<Known> {
        let mut all = Vec::new();
        let own = self.action.as_deref();
        let mut safe = Vec::new();
        for op in &self.plan.safe_state {
            push(&mut safe, "safe state".to_owned(), op, Of::Other, None);
        }
        if self.is_safe() {
            all.append(&mut safe);
        }
        let mut actions: Vec<_> = self.plan.actions.iter().collect();
        actions.sort_by_key(|(name, _)| Some(name.as_str()) != own);
        for (name, action) in &actions {
            for (step, op) in action.operations.iter().enumerate() {
                let of = Of::Action((*name).clone());
                push(&mut all, self.step(name, step), op, of, action.returns.as_ref());
            }
        }
        for (name, property) in &self.plan.properties {
            if let Some(AskPlan::Register(register)) = &property.ask {
                all.push(Known {
                    name: name.clone(),
                    register: register.clone(),
                    shape: Some(property.shape.clone()),
                    unit: None,
                    of: Of::Property,
                });
            }
        }
        all.append(&mut safe);
        for op in &self.plan.on_connect {
            push(&mut all, "prepares".to_owned(), op, Of::Other, None);
        }
        for op in &self.plan.identify {
            push(&mut all, "identifies".to_owned(), op, Of::Other, None);
        }
        all
    }

    /// What stands in some registers, by their names.
    fn contents(&self, at: (u8, u16, u16), answer: &Answer, write: bool) -> Vec<(String, String)> {
        let mut fields: Vec<(String, String)> = Vec::new();
        for known in self.known() {
            // Another purpose says nothing about what a register holds.
            if if write { known.of == Of::Property } else { known.of == Of::Other } {
                continue;
            }
            let own = known.register.place();
            let read = known.register.block().unwrap_or(own);
            let (function, start, count) = if write { own } else { read };
            // What is read with an unusual function is written to its table all the same.
            let table = match (write, at.0) {
                (true, 1) => known.register.is_in(Table::Coil),
                (true, _) => known.register.is_in(Table::Holding),
                (false, asked) => function == asked,
            };
            let inside = table
                && start >= at.1
                && u32::from(start) + u32::from(count) <= u32::from(at.1) + u32::from(at.2);
            if !inside {
                continue;
            }
            let from = usize::from(start - at.1);
            let until = from + usize::from(count);
            let part = match answer {
                Answer::Words(words) => words.get(from..until).map(|w| Answer::Words(w.to_vec())),
                Answer::Bits(bits) => bits.get(from..until).map(|b| Answer::Bits(b.to_vec())),
                Answer::Written => None,
            };
            let Some(Ok(reading)) = part.map(|part| known.register.reading(&part)) else {
                continue;
            };
            let value = self.value(&known, &reading);
            // One number may have several names; each is said once.
            if !fields.iter().any(|(name, _)| *name == known.name) {
                fields.push((known.name, value));
            }
            if write {
                break;
            }
        }
        fields
    }

    fn value(&self, known: &Known, reading: &Reading) -> String {
        if known.of == Of::Property
            && let Some(property) = self.plan.properties.get(&known.name)
            && let Ok(value) =
                values::of_reading(property, reading.clone(), known.register.unit.as_ref())
        {
            return shown(&property.shape, &value);
        }
        let unit = known.unit.as_ref().or(known.register.unit.as_ref());
        match (reading, &known.shape, unit) {
            (Reading::Number(number), Some(Shape::Quantity(wanted)), None) => {
                Quantity::of(*number, &wanted.value).display_in(&wanted.value)
            }
            (Reading::Number(number), Some(Shape::Quantity(wanted)), Some(unit)) => {
                Quantity::of(*number, unit).display_in(&wanted.value)
            }
            (Reading::Number(number), _, Some(unit)) => {
                Quantity::of(*number, unit).display_in(unit)
            }
            (Reading::Number(number), ..) => crate::units::tidy(*number),
            (Reading::Bool(on), ..) => on.to_string(),
            (Reading::Text(text), ..) => format!("{text:?}"),
            (Reading::Bits(bits), ..) => {
                let on = bits.iter().filter(|(_, on)| **on).map(|(name, _)| name.as_str());
                let on: Vec<&str> = on.collect();
                if on.is_empty() { "no bit is set".to_owned() } else { on.join(", ") }
            }
            (Reading::Invalid(raw), ..) => format!("{raw}, which is no measurement"),
        }
    }

    pub(super) fn modbus_out(&mut self, text: &str) -> Option<Decoded> {
        self.asked = Asked::Nothing;
        let bytes = unhex(text)?;
        let pdu = bytes.get(1..)?;
        let (request, written) = request(pdu)?;
        self.asked = Asked::Registers(pdu.to_vec());
        let at = place(&request);
        if let Some(written) = written {
            let fields = self.contents(at, &written, true);
            let what = if fields.is_empty() {
                format!("writes {} {}", table(at.0), at.1)
            } else {
                "writes".to_owned()
            };
            return Some(Decoded { what, fields, status: None });
        }
        let known: Vec<Known> =
            self.known().into_iter().filter(|known| place(&known.register.read()) == at).collect();
        let names: Vec<&str> = known
            .iter()
            .filter(|known| known.of == Of::Property)
            .map(|known| known.name.as_str())
            .collect();
        Some(Decoded::new(match (names.as_slice(), known.first()) {
            ([], None) => format!("reads {} {}", table(at.0), at.1),
            ([], Some(first)) => format!("reads {} {} ({})", table(at.0), at.1, first.name),
            (names, _) => format!("reads {}", names.join(", ")),
        }))
    }

    pub(super) fn modbus_in(&mut self, text: &str) -> Option<Decoded> {
        let bytes = unhex(text)?;
        let pdu = bytes.get(1..)?;
        let Asked::Registers(asked) = &self.asked else { return None };
        let (request, _) = request(asked)?;
        Some(match request.answer(pdu) {
            Ok(Answer::Written) => Decoded::new("written"),
            Ok(answer) => {
                let fields = self.contents(place(&request), &answer, false);
                if fields.is_empty() {
                    Decoded::new(format!("holds {}", raw(&answer)))
                } else {
                    Decoded { what: "answers".to_owned(), fields, status: None }
                }
            }
            Err(ModbusError::Exception { code }) => {
                Decoded::new(format!("refuses: exception {code}, {}", exception_text(code)))
            }
            Err(other) => Decoded::new(format!("cannot be read: {other}")),
        })
    }
}

fn push(all: &mut Vec<Known>, name: String, op: &Op, of: Of, returns: Option<&Shape>) {
    match op {
        Op::Write { register, unit, .. } => {
            let (register, unit) = (register.clone(), unit.clone());
            all.push(Known { name, register, shape: None, unit, of });
        }
        Op::Read { register, .. } => {
            let (register, shape) = (register.clone(), returns.cloned());
            all.push(Known { name, register, shape, unit: None, of });
        }
        Op::Text { .. } | Op::Publish { .. } | Op::SetMetric { .. } | Op::Pause(_) => {}
    }
}

fn table(function: u8) -> &'static str {
    match function {
        1 => "coil",
        2 => "discrete input",
        3 => "holding register",
        _ => "input register",
    }
}

fn raw(answer: &Answer) -> String {
    match answer {
        Answer::Words(words) => words.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        Answer::Bits(bits) => {
            bits.iter().map(|bit| if *bit { "1" } else { "0" }).collect::<Vec<_>>().join(" ")
        }
        Answer::Written => String::new(),
    }
}
