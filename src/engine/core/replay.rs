//! Decides again what the journal says was decided, and finds the first difference.
//!
//! A journal holds, for each turn of the core, what woke it and what it looked at ([`Basis`]) and
//! then the records that followed. A replay gives the same to a core of its own, at the same tick,
//! and compares the records. Equal records mean equal decisions: state changes by records only.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::Tick;
use super::basis::Basis;
use super::events::{Event, InDoubt};
use super::machine::Core;
use super::record::Record;
use super::run::Phase;
use crate::compiler::graph::{Effect, Graph};
use crate::expr::Value;

/// The first decision that came out otherwise.
#[derive(Debug, Clone)]
pub struct Difference {
    /// Place in the journal: of the record that is not derived, or of what was basis.
    pub seq: u64,
    /// Lab time.
    pub at: Tick,
    /// What woke the core.
    pub event: Event,
    /// What the journal says; `None` if it says nothing more.
    pub journal: Option<Box<Record>>,
    /// What follows from it now; `None` if nothing more does.
    pub derived: Option<Box<Record>>,
}

/// One turn of the core, as the journal has it.
#[derive(Debug)]
struct Turn {
    seq: u64,
    at: Tick,
    basis: Basis,
    records: Vec<(u64, Record)>,
}

/// A replay under way.
#[derive(Debug)]
pub struct Replay {
    core: Core,
    graphs: BTreeMap<String, Arc<Graph>>,
    /// Records of runs that are not over, for the next engine to take up.
    open: Vec<(Tick, Record)>,
    turn: Option<Turn>,
    /// Turns decided again with the same records.
    pub turns: u64,
    /// Records derived again.
    pub records: u64,
    /// Records of versions that did not note what they rest on: believed, not derived.
    pub believed: u64,
}

impl Default for Replay {
    fn default() -> Replay {
        Replay {
            core: Core::new(InDoubt::Ask, Duration::ZERO),
            graphs: BTreeMap::new(),
            open: Vec::new(),
            turn: None,
            turns: 0,
            records: 0,
            believed: 0,
        }
    }
}

impl Replay {
    /// An engine took the state folder: what is open is taken up from the records, as it did.
    pub fn engine_started(
        &mut self,
        in_doubt: InDoubt,
        slack: Duration,
    ) -> Result<(), Box<Difference>> {
        self.end()?;
        self.core = Core::new(in_doubt, slack);
        for (at, record) in &self.open {
            let graph = self.graphs.get(record.run()).cloned();
            self.core.apply(record, *at, || graph);
        }
        Ok(())
    }

    /// What was in people's hands from then on.
    pub fn hands(&mut self, taken: BTreeMap<String, String>) -> Result<(), Box<Difference>> {
        self.end()?;
        self.core.set_taken(taken);
        Ok(())
    }

    /// What the engine that started knew to be not confirmed safe; `None` if it was one of a
    /// version that kept nothing back.
    pub fn left_unsafe(&mut self, barred: Option<BTreeMap<String, String>>) {
        self.core.bars = barred.is_some();
        self.core.set_barred(barred.unwrap_or_default());
    }

    /// What woke the core. Decides the turn before.
    pub fn woken(&mut self, seq: u64, at: Tick, basis: Basis) -> Result<(), Box<Difference>> {
        self.end()?;
        self.turn = Some(Turn { seq, at, basis, records: Vec::new() });
        Ok(())
    }

    /// A record, and the graph it starts a run of, if it does.
    pub fn record(&mut self, seq: u64, at: Tick, record: Record, graph: Option<Arc<Graph>>) {
        if let (Record::RunStarted { run, .. }, Some(graph)) = (&record, graph) {
            self.graphs.insert(run.clone(), graph);
        }
        match &mut self.turn {
            Some(turn) => turn.records.push((seq, record.clone())),
            None => {
                self.believed += 1;
                let graph = self.graphs.get(record.run()).cloned();
                self.core.apply(&record, at, || graph);
                self.forget(record.run());
            }
        }
        if let Record::RunEnded { run, .. } = &record {
            self.close(run);
        } else {
            self.open.push((at, record));
        }
    }

    /// A run is over. Of its records only the last use of each instrument is kept, as long as runs
    /// are open: what it used is not theirs to hold or to set going again.
    fn close(&mut self, run: &str) {
        let started = |(_, r): &(Tick, Record)| match r {
            Record::RunStarted { run: started, .. } if started != run => Some(started.clone()),
            _ => None,
        };
        let still: BTreeSet<String> = self.open.iter().filter_map(started).collect();
        let mut used = BTreeSet::new();
        let mut kept = Vec::with_capacity(self.open.len());
        for (at, record) in self.open.drain(..).rev() {
            let keep = still.contains(record.run())
                || match &record {
                    Record::Intent { instrument, effect, .. } => {
                        !still.is_empty()
                            && *effect != Effect::Read
                            && used.insert(instrument.clone())
                    }
                    _ => false,
                };
            if keep {
                kept.push((at, record));
            }
        }
        kept.reverse();
        self.open = kept;
    }

    /// Decides the last turn.
    pub fn end(&mut self) -> Result<(), Box<Difference>> {
        let Some(Turn { seq, at, basis, records }) = self.turn.take() else { return Ok(()) };
        let event = self.filled(basis.event.clone(), &records);
        self.core.see(basis.saw);
        let derived = self.core.step(event, at).records;
        let mut derived = derived.into_iter().map(bare);
        let mut last = seq;
        for (place, record) in records {
            last = place;
            let run = record.run().to_owned();
            let (journal, derived) = (bare(record), derived.next());
            if derived.as_ref() != Some(&journal) {
                let (journal, derived) = (Some(Box::new(journal)), derived.map(Box::new));
                let event = basis.event;
                return Err(Box::new(Difference { seq: place, at, event, journal, derived }));
            }
            self.records += 1;
            if matches!(journal, Record::RunEnded { .. }) {
                self.forget(&run);
            }
        }
        if let Some(more) = derived.next() {
            let derived = Some(Box::new(more));
            let event = basis.event;
            return Err(Box::new(Difference { seq: last, at, event, journal: None, derived }));
        }
        self.turns += 1;
        Ok(())
    }

    fn forget(&mut self, run: &str) {
        if self.core.run(run).is_some_and(|r| r.phase == Phase::Over) {
            self.core.forget(run);
            self.graphs.remove(run);
        }
    }

    /// The event with what its record says of it.
    fn filled(&self, mut event: Event, records: &[(u64, Record)]) -> Event {
        match &mut event {
            Event::StartRun { run, graph, .. } => {
                if let Some(kept) = self.graphs.get(run) {
                    *graph = Arc::clone(kept);
                }
            }
            Event::Outcome { run, key, attempt, result: found, .. } => {
                for (_, record) in records {
                    if let Record::Outcome { run: of, step, attempt: number, result, .. } = record
                        && (of, &step.key, number) == (&*run, &*key, &*attempt)
                    {
                        found.clone_from(result);
                    }
                }
            }
            Event::Analysed { run, key, result: found, .. } => {
                for (_, record) in records {
                    if let Record::Ended { run: of, step, result, .. } = record
                        && (of, &step.key) == (&*run, &*key)
                    {
                        let nothing = || Value::Missing("it gave no value".into());
                        *found = result.clone().map(|value| value.unwrap_or_else(nothing));
                    }
                }
            }
            _ => {}
        }
        event
    }
}

/// A record without what the shell adds for people.
fn bare(mut record: Record) -> Record {
    match &mut record {
        Record::Outcome { trace, .. }
        | Record::Resolved { trace, .. }
        | Record::Ended { trace, .. }
        | Record::MadeSafe { trace, .. }
        | Record::AtHold { trace, .. } => trace.clear(),
        _ => {}
    }
    record
}
