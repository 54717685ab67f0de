//! A register map backwards (Modbus Application Protocol V1.1b3).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use labloop_simulators::Answer;

use super::state::State;
use super::{Mirror, text, value};
use crate::driver::golden::raw;
use crate::driver::plan::{AskPlan, Op, Plan};
use crate::driver::registers::{Content, Reading, Registers};
use crate::driver::values;
use crate::expr::{self, Value};
use crate::spec::instrument::{Example, ExampleOf, Instrument, Table};
use crate::units::{Dimension, Quantity, Unit};
use crate::wire::modbus::Answer as Words;

const ILLEGAL_FUNCTION: u8 = 1;
const ILLEGAL_ADDRESS: u8 = 2;
const ILLEGAL_VALUE: u8 = 3;
const DEVICE_FAILURE: u8 = 4;

/// Registers that are no property: table (by the function that reads it) and address.
#[derive(Debug, Clone, Default)]
pub(super) struct Memory {
    words: BTreeMap<(u8, u16), u16>,
    fresh: BTreeMap<(u8, u16), u16>,
    /// Registers that are read together or not at all: function, first, how many.
    blocks: Vec<(u8, u16, u16)>,
}

impl Memory {
    /// Takes the register map of the definition, and what its examples say stands there.
    pub fn learn(&mut self, definition: &Arc<Instrument>, plan: &Plan, state: &mut State) {
        let (properties, others): (Vec<&Example>, Vec<&Example>) =
            definition.examples.iter().partition(|e| matches!(e.of, ExampleOf::Property(_)));
        for example in properties.into_iter().chain(others) {
            let Some(its) = text::plan_of(definition, example) else { continue };
            for turn in example.bytes.chunks(2) {
                let bytes = |at: usize| turn.get(at).and_then(|text| raw(&text.value).ok());
                let (Some(sent), Some(received)) = (bytes(0), bytes(1)) else { continue };
                self.exchange(&sent, &received);
            }
            if let ExampleOf::Property(name) = &example.of
                && let Some(property) = its.properties.get(&name.value)
                && let Some(AskPlan::Register(register)) = &property.ask
                && !state.values.contains_key(&name.value)
                && let Some(reading) = self.reading(register)
                && let Ok(value) = values::of_reading(property, reading, register.unit.as_ref())
                && !matches!(value, Value::Missing(_))
            {
                state.values.insert(name.value.clone(), value);
            }
        }
        let asked = plan.properties.values().filter_map(|property| match &property.ask {
            Some(AskPlan::Register(register)) => register.block(),
            _ => None,
        });
        self.blocks = asked.collect();
        let written = written(plan).into_iter().map(|(register, _)| register.place());
        for (function, start, count) in written.chain(self.blocks.clone()) {
            for at in 0..count {
                self.words.entry((function, start.saturating_add(at))).or_insert(0);
            }
        }
        self.fresh = self.words.clone();
    }

    /// The words that a recorded read found.
    fn exchange(&mut self, sent: &[u8], received: &[u8]) {
        let [_, function @ 1..=4, high, low, _, count, ..] = *sent else { return };
        let Some(data) = received.get(3..).filter(|_| received.get(1) == Some(&function)) else {
            return;
        };
        let start = u16::from_be_bytes([high, low]);
        let words: Vec<u16> = if function <= 2 {
            let bit = |at: u8| data.get(usize::from(at / 8)).map_or(0, |byte| byte >> (at % 8) & 1);
            (0..count).map(|at| u16::from(bit(at))).collect()
        } else {
            data.chunks_exact(2)
                .map(|pair| pair.iter().fold(0, |w, b| w << 8 | u16::from(*b)))
                .collect()
        };
        for (at, word) in (start..=u16::MAX).zip(words) {
            self.words.entry((function, at)).or_insert(word);
        }
    }

    fn reading(&self, register: &Registers) -> Option<Reading> {
        let (function, start, count) = register.block().unwrap_or(register.place());
        let words: Option<Vec<u16>> = (0..count)
            .map(|at| self.words.get(&(function, start.checked_add(at)?)).copied())
            .collect();
        register.reading(&found(function, words?)).ok()
    }

    pub fn forget(&mut self) {
        self.words = self.fresh.clone();
    }
}

fn found(function: u8, words: Vec<u16>) -> Words {
    match function {
        1 | 2 => Words::Bits(words.into_iter().map(|word| word != 0).collect()),
        _ => Words::Words(words),
    }
}

/// All registers that are written, with the argument each takes where it takes one as it is.
fn written(plan: &Plan) -> Vec<(Registers, Step)> {
    let mut all = Vec::new();
    for (name, action) in &plan.actions {
        for (step, op) in action.operations.iter().enumerate() {
            push(&mut all, plan, op, Some((name.clone(), step)));
        }
        for op in &action.on_cancel {
            push(&mut all, plan, op, None);
        }
    }
    for op in plan.safe_state.iter().chain(&plan.on_connect) {
        push(&mut all, plan, op, None);
    }
    all
}

struct Step {
    of: Option<(String, usize)>,
    argument: Option<Argument>,
    /// What is always written; anything else is not this step.
    constant: Option<Vec<u16>>,
}

/// The argument that a register takes as it is.
struct Argument {
    name: String,
    unit: Option<Unit>,
    words: BTreeMap<String, f64>,
}

impl Argument {
    /// What was said, from what the register now holds.
    fn of(&self, reading: Reading) -> Option<Value> {
        Some(match reading {
            Reading::Number(number) if !self.words.is_empty() => {
                let (word, _) = self.words.iter().find(|(_, its)| **its == number)?;
                Value::text(word)
            }
            Reading::Number(number) => Value::Quantity(match &self.unit {
                Some(unit) => Quantity::of(number, unit),
                None => Quantity { value: number, dim: Dimension::default(), point: false },
            }),
            Reading::Bool(on) => Value::Bool(on),
            Reading::Text(text) => Value::text(&text),
            Reading::Bits(_) | Reading::Invalid(_) => return None,
        })
    }
}

fn push(all: &mut Vec<(Registers, Step)>, plan: &Plan, op: &Op, of: Option<(String, usize)>) {
    let Op::Write { register, value, unit, words, .. } = op else { return };
    let argument = match value.as_path() {
        Some([args, name]) if args == "args" => {
            Some(Argument { name: name.clone(), unit: unit.clone(), words: words.clone() })
        }
        _ => None,
    };
    let constant = match (expr::eval(value, &plan.scope()), unit) {
        (Ok(Value::Quantity(quantity)), Some(unit)) => quantity.in_unit(unit),
        (Ok(Value::Quantity(quantity)), None) => Some(quantity.value),
        (Ok(Value::Bool(on)), _) => Some(f64::from(u8::from(on))),
        _ => None,
    };
    let constant = constant.and_then(|number| register.content(&Content::Number(number)).ok());
    all.push((register.clone(), Step { of, argument, constant }));
}

impl Mirror {
    /// Whether the first register that a PDU names is one of its own.
    pub(super) fn knows_modbus(&self, pdu: &[u8]) -> bool {
        let [function, high, low, ..] = *pdu else { return false };
        let first = u16::from_be_bytes([high, low]);
        let inside = |(_, start, count): (u8, u16, u16)| {
            (start..start.saturating_add(count)).contains(&first)
        };
        let read = self.plan.properties.values().any(|property| match &property.ask {
            Some(AskPlan::Register(register)) => {
                let place = register.block().unwrap_or(register.place());
                place.0 == function && inside(place)
            }
            _ => false,
        });
        read || self.memory.words.contains_key(&(function, first))
            || written(&self.plan).iter().any(|(register, _)| {
                let table = if matches!(function, 5 | 15) { Table::Coil } else { Table::Holding };
                matches!(function, 5 | 6 | 15 | 16)
                    && register.is_in(table)
                    && inside(register.place())
            })
    }

    /// Answers a PDU.
    pub(super) fn answer_modbus(
        &mut self,
        pdu: &[u8],
        now: f64,
        noise: &mut dyn FnMut() -> f64,
    ) -> Option<Answer> {
        self.state.advance(now);
        let function = *pdu.first()?;
        let result = match self.upset.exception {
            Some(code) => Err(code),
            None => self.respond(function, pdu, now, noise),
        };
        self.upset.rebooted = false;
        let bytes = match result {
            Ok(bytes) => bytes,
            Err(code) => vec![function | 0x80, code],
        };
        Some(Answer { after_s: 0.0, bytes })
    }

    fn respond(
        &mut self,
        function: u8,
        pdu: &[u8],
        now: f64,
        noise: &mut dyn FnMut() -> f64,
    ) -> Result<Vec<u8>, u8> {
        let word = |at: usize| match (pdu.get(at), pdu.get(at + 1)) {
            (Some(high), Some(low)) => Ok(u16::from_be_bytes([*high, *low])),
            _ => Err(ILLEGAL_VALUE),
        };
        let (start, second) = (word(1)?, word(3)?);
        match function {
            1..=4 => {
                let words = self.image(function, start, second, now, noise)?;
                let mut data: Vec<u8> = Vec::new();
                if function <= 2 {
                    data = words
                        .chunks(8)
                        .map(|bits| {
                            bits.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit != 0))
                        })
                        .collect();
                } else {
                    data.extend(words.iter().flat_map(|word| word.to_be_bytes()));
                }
                let length = u8::try_from(data.len()).map_err(|_| ILLEGAL_VALUE)?;
                Ok([vec![function, length], data].concat())
            }
            5 => {
                let on = match second {
                    0xFF00 => 1,
                    0 => 0,
                    _ => return Err(ILLEGAL_VALUE),
                };
                self.store(Table::Coil, start, &[on])?;
                Ok(pdu.get(..5).unwrap_or_default().to_vec())
            }
            6 => {
                self.store(Table::Holding, start, &[second])?;
                Ok(pdu.get(..5).unwrap_or_default().to_vec())
            }
            15 => {
                let bits = (0..second).map(|at| {
                    let byte = pdu.get(6 + usize::from(at / 8)).copied().ok_or(ILLEGAL_VALUE)?;
                    Ok(u16::from(byte >> (at % 8) & 1))
                });
                let bits: Vec<u16> = bits.collect::<Result<_, u8>>()?;
                self.store(Table::Coil, start, &bits)?;
                Ok(pdu.get(..5).unwrap_or_default().to_vec())
            }
            16 => {
                if second == 0
                    || second > 123
                    || pdu.get(5).map(|n| u16::from(*n)) != Some(2 * second)
                {
                    return Err(ILLEGAL_VALUE);
                }
                let words = (0..usize::from(second)).map(|at| word(6 + 2 * at));
                let words: Vec<u16> = words.collect::<Result<_, u8>>()?;
                self.store(Table::Holding, start, &words)?;
                Ok(pdu.get(..5).unwrap_or_default().to_vec())
            }
            _ => Err(ILLEGAL_FUNCTION),
        }
    }

    /// What stands in some registers just now.
    fn image(
        &mut self,
        function: u8,
        start: u16,
        count: u16,
        now: f64,
        noise: &mut dyn FnMut() -> f64,
    ) -> Result<Vec<u16>, u8> {
        let most = if function <= 2 { 2000 } else { 125 };
        if count == 0 || count > most {
            return Err(ILLEGAL_VALUE);
        }
        let end = start.checked_add(count - 1).ok_or(ILLEGAL_ADDRESS)?;
        let torn = |(its, first, length): &(u8, u16, u16)| {
            let last = first.saturating_add(length.saturating_sub(1));
            *its == function && *first <= end && last >= start && (*first < start || last > end)
        };
        if self.memory.blocks.iter().any(torn) {
            return Err(ILLEGAL_ADDRESS);
        }
        let mut image: BTreeMap<u16, u16> = BTreeMap::new();
        for ((_, at), word) in self.memory.words.range((function, start)..=(function, end)) {
            image.insert(*at, *word);
        }
        for (name, property) in self.plan.properties.clone() {
            let Some(AskPlan::Register(register)) = &property.ask else { continue };
            let (its, first, length) = register.place();
            let last = first.saturating_add(length.saturating_sub(1));
            if its != function || last < start || first > end {
                continue;
            }
            let words = if self.upset.broken {
                register.no_measurement().ok_or(DEVICE_FAILURE)?
            } else {
                let Some(value) = self.shown(&name, now, noise) else { continue };
                let reading = value::held(&property, &value, register.unit.as_ref());
                match reading.map(|reading| register.shown(&reading)) {
                    Some(Ok(words)) => words,
                    Some(Err(why)) => {
                        self.state.note(format!("{name}: {why}"));
                        return Err(DEVICE_FAILURE);
                    }
                    // Not a number: what the example said.
                    None => continue,
                }
            };
            for (at, word) in (first..=last).zip(words) {
                image.insert(at, word);
            }
        }
        (start..=end).map(|at| image.get(&at).copied().ok_or(ILLEGAL_ADDRESS)).collect()
    }

    /// Takes what is written.
    fn store(&mut self, table: Table, start: u16, words: &[u16]) -> Result<(), u8> {
        let end = start
            .checked_add(u16::try_from(words.len()).unwrap_or(u16::MAX).saturating_sub(1))
            .ok_or(ILLEGAL_ADDRESS)?;
        let written = written(&self.plan);
        let span = |register: &Registers| {
            let (_, first, length) = register.place();
            (first, first.saturating_add(length.saturating_sub(1)))
        };
        let inside = |register: &Registers| {
            let (first, last) = span(register);
            register.is_in(table) && first >= start && last <= end
        };
        // A value of several registers is written whole or not at all.
        let torn = |register: &Registers| {
            let (first, last) = span(register);
            register.is_in(table) && first <= end && last >= start && !inside(register)
        };
        if !written.iter().any(|(register, _)| inside(register))
            || written.iter().any(|(register, _)| torn(register))
        {
            return Err(ILLEGAL_ADDRESS);
        }
        let readers: BTreeSet<u8> = written
            .iter()
            .filter(|(register, _)| inside(register))
            .map(|(register, _)| register.place().0)
            .collect();
        for reader in readers {
            for (at, word) in (start..=end).zip(words) {
                self.memory.words.insert((reader, at), *word);
            }
        }
        for (name, property) in self.plan.properties.clone() {
            if let Some(AskPlan::Register(register)) = &property.ask
                && inside(register)
                && let Some(reading) = self.memory.reading(register)
                && let Ok(value) = values::of_reading(&property, reading, register.unit.as_ref())
            {
                self.state.values.insert(name, value);
            }
        }
        let mut received = Vec::new();
        for (register, step) in written.iter().filter(|(register, _)| inside(register)) {
            let Some((action, number)) = &step.of else { continue };
            let from = usize::from(register.place().1 - start);
            let other = |constant: &Vec<u16>| {
                words.get(from..from + constant.len()) != Some(constant.as_slice())
            };
            if step.constant.as_ref().is_some_and(other) {
                continue;
            }
            let mut fields = BTreeMap::new();
            if let Some(argument) = &step.argument
                && let Some(value) = self.memory.reading(register).and_then(|r| argument.of(r))
            {
                fields.insert(argument.name.clone(), value);
            }
            received.push((action.clone(), *number, fields));
        }
        if !received.is_empty() {
            self.recent.push(received);
            if let Some((action, args)) = self.meant() {
                self.act(&action, args, false);
            }
        }
        Ok(())
    }
}
