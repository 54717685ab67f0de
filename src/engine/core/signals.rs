//! Latest values of properties, as far as decisions need them. Lost in a crash on purpose.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Tick;
use crate::expr::Value;

/// The latest reading of a property.
#[derive(Debug, Clone)]
pub struct Signal {
    /// Value; missing when its quality is bad.
    pub value: Value,
    /// When it was measured.
    pub at: Tick,
    /// Older than this it is stale.
    pub max_age: Duration,
}

/// Latest readings of all properties.
#[derive(Debug, Clone, Default)]
pub struct Signals {
    latest: BTreeMap<String, BTreeMap<String, Signal>>,
}

impl Signals {
    /// Takes a reading.
    pub fn set(&mut self, instrument: &str, property: &str, signal: Signal) {
        if let Some(properties) = self.latest.get_mut(instrument) {
            if let Some(entry) = properties.get_mut(property) {
                *entry = signal;
                return;
            }
            properties.insert(property.to_owned(), signal);
            return;
        }
        self.latest.insert(instrument.to_owned(), BTreeMap::from([(property.to_owned(), signal)]));
    }

    /// The value if it is fresh; missing with the reason otherwise.
    pub fn value(&self, instrument: &str, property: &str, now: Tick) -> Value {
        match self.latest.get(instrument).and_then(|p| p.get(property)) {
            None => Value::Missing(format!("{instrument}.{property} was never read").into()),
            Some(signal) if now.since(signal.at) > signal.max_age => Value::Missing(
                format!(
                    "{instrument}.{property} is stale: last read {:.1} s ago",
                    now.since(signal.at).as_secs_f64()
                )
                .into(),
            ),
            Some(signal) => signal.value.clone(),
        }
    }

    /// Forgets an instrument whose link is lost.
    pub fn forget(&mut self, instrument: &str) {
        self.latest.remove(instrument);
    }
}
