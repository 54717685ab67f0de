//! What crossed a wire, decoded by the definition: which of its messages each one is, with the
//! values of its fields, and what the answer says. For people; nothing is decided by it.

mod modbus;
mod text;
mod topics;

use super::mirror::messages::{self, Entry, Role};
use super::plan::{Plan, Protocol};
use super::types::{Exchange, InstrumentSetup, Way};
use crate::expr::Value;
use crate::spec::Shape;
use crate::spec::instrument::Instrument;
use std::sync::Arc;

/// What one message says.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Decoded {
    /// What it is: `dispense 2 of 4`, `asks for temperature`, `answers`.
    pub what: String,
    /// Names and values of what it carries, with units.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<(String, String)>,
    /// What its status says about the instrument.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
}

/// Word that stands for the safe state where the name of an action is asked for.
pub const SAFE_STATE: &str = "safe_state";

impl Decoded {
    fn new(what: impl Into<String>) -> Decoded {
        Decoded { what: what.into(), ..Decoded::default() }
    }

    fn field(mut self, name: &str, value: String) -> Decoded {
        self.fields.push((name.to_owned(), value));
        self
    }
}

impl std::fmt::Display for Decoded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)?;
        for (at, (name, value)) in self.fields.iter().enumerate() {
            write!(f, "{} {name} = {value}", if at == 0 { ":" } else { "," })?;
        }
        match &self.status {
            Some(status) => write!(f, " [{status}]"),
            None => Ok(()),
        }
    }
}

/// Reads the messages of one instrument in their order: an answer is understood by its question.
#[derive(Debug)]
pub struct Decoder {
    definition: Arc<Instrument>,
    plan: Plan,
    entries: Vec<Entry>,
    /// The action the messages belong to, if it is known: several may share a message.
    action: Option<String>,
    /// What was asked last.
    asked: Asked,
    /// Questions of `identify:` that are still to come, when it begins with a connection.
    identifying: Vec<usize>,
}

/// The question an answer belongs to.
#[derive(Debug, Default)]
enum Asked {
    #[default]
    Nothing,
    /// Entries that the message can have been, the one meant first.
    Text(Vec<usize>),
    /// A request.
    Registers(Vec<u8>),
    /// Action and number of its operation.
    Topic(String, usize),
}

impl Decoder {
    /// A decoder for one unit. `action`: what the messages were sent for, if it is known, or
    /// [`SAFE_STATE`]. The error
    /// lists what keeps the definition from being used.
    pub fn new(setup: &InstrumentSetup, action: Option<&str>) -> Result<Decoder, Vec<String>> {
        let plan = Plan::new(setup)?;
        let entries = messages::entries(&plan);
        Ok(Decoder {
            definition: Arc::clone(&setup.definition),
            plan,
            entries,
            action: action.map(str::to_owned),
            asked: Asked::Nothing,
            identifying: Vec::new(),
        })
    }

    /// The messages begin with those of a new connection.
    pub fn from_connection(mut self) -> Decoder {
        let entries = self.entries.iter().enumerate();
        let asks = |entry: &Entry| matches!(&entry.role, Role::Other(what) if what == "identifies");
        self.identifying = entries.filter(|(_, e)| asks(e)).map(|(at, _)| at).collect();
        self
    }

    /// Says what a message is; `None` when the definition does not know it.
    pub fn read(&mut self, exchange: &Exchange) -> Option<Decoded> {
        match (&self.plan.protocol, exchange.way) {
            (Protocol::Text { .. }, Way::Out) => self.text_out(&exchange.text),
            (Protocol::Text { .. }, Way::In) => self.text_in(&exchange.text),
            (Protocol::Modbus { .. }, Way::Out) => self.modbus_out(&exchange.text),
            (Protocol::Modbus { .. }, Way::In) => self.modbus_in(&exchange.text),
            (Protocol::Mqtt(_), Way::Out) => self.topic_out(&exchange.text),
            (Protocol::Mqtt(_), Way::In) => self.topic_in(&exchange.text),
            (Protocol::Null, _) => None,
        }
    }

    /// The messages were sent to make it safe.
    fn is_safe(&self) -> bool {
        self.action.as_deref() == Some(SAFE_STATE)
    }

    /// The name of a step of an action, with its number where there are several.
    fn step(&self, action: &str, step: usize) -> String {
        let count = self.plan.actions.get(action).map_or(0, |action| action.operations.len());
        match count {
            0 | 1 => action.to_owned(),
            _ => format!("{action} {} of {count}", step + 1),
        }
    }

    /// An argument in the unit its definition gives it.
    fn argument(&self, action: &str, name: &str, value: &Value) -> String {
        let declared = self.definition.action(action);
        let spec = declared.and_then(|a| a.args.iter().find(|spec| spec.name.value == name));
        match (spec.map(|spec| &spec.kind), value) {
            (Some(crate::spec::ValueType::Quantity { unit }), Value::Quantity(quantity)) => {
                quantity.display_in(&unit.value)
            }
            _ => value.show(),
        }
    }
}

/// A value in the unit its declaration gives it.
fn shown(shape: &Shape, value: &Value) -> String {
    match (shape, value) {
        (Shape::Quantity(unit), Value::Quantity(quantity)) => quantity.display_in(&unit.value),
        _ => value.show(),
    }
}

#[cfg(test)]
mod tests;
