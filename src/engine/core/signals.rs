//! Latest values of properties, as far as decisions need them. Lost in a crash on purpose.
//!
//! Whatever a decision reads is noted, so that the decision can be derived again from the journal
//! without the thousands of readings nobody looked at.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use super::Tick;
use super::basis::Told;
use crate::expr::Value;

/// The latest reading of a property.
#[derive(Debug, Clone, PartialEq)]
pub struct Signal {
    /// Value; missing when its quality is bad.
    pub value: Value,
    /// When it was measured.
    pub at: Tick,
    /// Older than this it is stale.
    pub max_age: Duration,
}

impl Default for Signal {
    /// A property that was never read.
    fn default() -> Signal {
        let value = Value::Missing("never read".into());
        Signal { value, at: Tick(0), max_age: Duration::ZERO }
    }
}

/// Latest readings of all properties.
#[derive(Debug, Clone, Default)]
pub struct Signals {
    latest: BTreeMap<String, BTreeMap<String, Signal>>,
    /// What was read since the last event came, as it was read.
    read: RefCell<Told>,
    /// In a replay: what was read then. Nothing else can be seen.
    told: Option<Told>,
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
        if let Some(told) = &self.told {
            let value = told.get(instrument).and_then(|p| p.get(property)).cloned();
            return value.unwrap_or_else(|| {
                Value::Missing(format!("{instrument}.{property} was not read then").into())
            });
        }
        let value = self.latest(instrument, property, now);
        let mut read = self.read.borrow_mut();
        let of = match read.get_mut(instrument) {
            Some(of) => of,
            None => read.entry(instrument.to_owned()).or_default(),
        };
        of.insert(property.to_owned(), value.clone());
        value
    }

    fn latest(&self, instrument: &str, property: &str, now: Tick) -> Value {
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

    /// A new event: what is read from now on belongs to it.
    pub(super) fn look_anew(&mut self) {
        self.read.get_mut().clear();
    }

    /// What was read since.
    pub(super) fn seen(&mut self) -> Told {
        std::mem::take(self.read.get_mut())
    }

    /// From now on only this can be seen (replay).
    pub(super) fn tell(&mut self, told: Told) {
        self.told = Some(told);
    }
}
