//! What a decision rests on: the event that woke the core, and every reading it looked at.
//!
//! With the records that follow, this is all it takes to derive each decision again: time comes
//! with the entry, the state from the records before. Readings that nobody looked at are not kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::events::Event;
use super::signals::Signal;
use crate::compiler::graph::Graph;
use crate::expr::Value;

/// Readings by instrument and property, as they were seen.
pub type Told = BTreeMap<String, BTreeMap<String, Value>>;

/// What woke the core and what it looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Basis {
    /// The event, without what a record that follows from it says anyway.
    pub event: Event,
    /// Readings that were looked at, missing ones with the reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub saw: Told,
}

impl Event {
    /// The event as the journal keeps it: what its record says is left out.
    pub(super) fn noted(&self) -> Event {
        let mut noted = self.clone();
        match &mut noted {
            Event::StartRun { graph, .. } => *graph = Arc::new(Graph::default()),
            Event::Outcome { result, trace, .. } => {
                *result = Ok(None);
                trace.clear();
            }
            Event::Analysed { result, trace, .. } => {
                *result = Ok(Value::Missing("not filled in".into()));
                trace.clear();
            }
            Event::Sample { signal, .. } => *signal = Signal::default(),
            Event::MadeSafe { trace, .. } | Event::AtHold { trace, .. } => trace.clear(),
            _ => {}
        }
        noted
    }
}
