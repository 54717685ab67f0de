//! What templates and expressions of a definition can see.

use std::collections::BTreeMap;

use super::json::plain;
use crate::expr::{Env, Value};

/// Arguments, configuration, the id of the attempt and, for conditions, properties just read.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    pub args: BTreeMap<String, Value>,
    pub config: BTreeMap<String, Value>,
    pub command: String,
    /// Number of the message, unlike that of others of this session.
    pub number: u32,
    /// Name of our session with the broker.
    pub client: String,
    pub properties: BTreeMap<String, Value>,
}

impl Scope {
    /// Scope of a definition without arguments.
    pub fn of_config(config: &BTreeMap<String, Value>) -> Scope {
        Scope { config: config.clone(), ..Scope::default() }
    }

    /// For templates: bare names are arguments.
    pub fn look_up(&self, name: &[String]) -> Option<Value> {
        match name {
            [one] => self.args.get(one).cloned(),
            _ => self.value(name),
        }
    }
}

impl Env for Scope {
    fn value(&self, path: &[String]) -> Option<Value> {
        let parts: Vec<&str> = path.iter().map(String::as_str).collect();
        match parts.as_slice() {
            ["args", name] => self.args.get(*name).cloned(),
            ["config", name] => self.config.get(*name).cloned(),
            ["command", "id"] => Some(Value::Text(self.command.as_str().into())),
            ["command", "client"] => Some(Value::Text(self.client.as_str().into())),
            ["command", "number"] => Some(plain(f64::from(self.number))),
            [name] => self.properties.get(*name).cloned(),
            _ => None,
        }
    }
}
