//! A whole journal decided again.

mod campaigns;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub use campaigns::CampaignDifference;
use campaigns::Campaigns;

use super::bulk;
use super::entries::{EngineRecord, Fact, read_facts};
use super::history::History;
use crate::compiler::graph::Graph;
use crate::engine::core::{Difference, Record, Replay, Tick};
use crate::store::{Journal, JournalError};

/// What a replay found.
#[derive(Debug)]
pub struct Replayed {
    /// The replay at its end, with what it counted.
    pub replay: Replay,
    /// The first decision about a run that came out otherwise, if any did.
    pub difference: Option<Box<Difference>>,
    /// The first decision of a campaign that came out otherwise, if any did before that.
    pub campaign: Option<Box<CampaignDifference>>,
    /// Decisions of campaigns that came out the same.
    pub decisions: u64,
    /// Experiments that the planners proposed again.
    pub proposals: u64,
    /// Version of labloop whose engine decided last, up to the difference.
    pub version: String,
}

/// Decides everything in a journal again, to its end or to the first difference.
///
/// Errors: the journal, a graph or a file beside it cannot be read.
pub fn replay(journal: &Journal) -> Result<Replayed, JournalError> {
    let mut found = Replayed {
        replay: Replay::default(),
        difference: None,
        campaign: None,
        decisions: 0,
        proposals: 0,
        version: String::new(),
    };
    let mut campaigns = Campaigns::default();
    let mut problem = None;
    // Of this only what was not confirmed safe.
    let mut known = History::default();
    let mut hands: BTreeMap<String, String> = BTreeMap::new();
    let mut graphs: BTreeMap<String, Arc<Graph>> = BTreeMap::new();
    read_facts(journal, |entry, fact| {
        if problem.is_some() || found.difference.is_some() || found.campaign.is_some() {
            return;
        }
        let at = Tick(entry.tick);
        let decided = match fact {
            Fact::Engine(EngineRecord::Started { version, in_doubt, slack_ns, bars, .. }) => {
                found.version = version;
                let started = found.replay.engine_started(in_doubt, Duration::from_nanos(slack_ns));
                let started = started.and_then(|()| found.replay.hands(hands.clone()));
                found.replay.left_unsafe(bars.then(|| known.barred.clone()));
                started
            }
            Fact::Basis(basis) => found.replay.woken(entry.seq, at, basis),
            Fact::Run(mut record) => {
                let restored = bulk::restore(&mut record, journal.files())
                    .map_err(|source| JournalError::File { seq: entry.seq, source })
                    .and_then(|()| graph_of(journal, entry.seq, &record, &mut graphs));
                match restored {
                    Ok(graph) => found.replay.record(entry.seq, at, record, graph),
                    Err(error) => problem = Some(error),
                }
                Ok(())
            }
            Fact::Engine(EngineRecord::Taken { instrument, by, .. }) => {
                hands.insert(instrument, by);
                found.replay.hands(hands.clone())
            }
            // Runs that were held because of it were held before it was given back.
            Fact::Engine(EngineRecord::Given { instrument, .. }) => {
                hands.remove(&instrument);
                found.replay.hands(hands.clone())
            }
            Fact::Campaign(id, record) => {
                let when = (entry.seq, at, entry.wall_ms);
                match campaigns.record(journal, when, &id, &record) {
                    Ok(difference) => found.campaign = difference,
                    Err(error) => problem = Some(error),
                }
                Ok(())
            }
            Fact::Engine(record) => {
                known.bars(&record, entry.wall_ms);
                Ok(())
            }
            Fact::Manual(_) | Fact::Journal(_) => Ok(()),
        };
        found.difference = decided.err();
    })?;
    if let Some(problem) = problem {
        return Err(problem);
    }
    if found.difference.is_none() && found.campaign.is_none() {
        found.difference = found.replay.end().err();
        found.campaign = campaigns.end()?;
    }
    found.decisions = campaigns.decisions;
    found.proposals = campaigns.proposals;
    Ok(found)
}

/// The graph that a record starts a run of.
fn graph_of(
    journal: &Journal,
    seq: u64,
    record: &Record,
    known: &mut BTreeMap<String, Arc<Graph>>,
) -> Result<Option<Arc<Graph>>, JournalError> {
    let Record::RunStarted { run, document, .. } = record else { return Ok(None) };
    if let Some(graph) = known.get(document) {
        return Ok(Some(Arc::clone(graph)));
    }
    let broken = |what: String| JournalError::Broken { path: "journal.db".into(), seq, what };
    let text = journal
        .document(document)?
        .ok_or_else(|| broken(format!("the graph {document} of run {run} is missing")))?;
    let graph: Arc<Graph> = serde_json::from_str(&text)
        .map(Arc::new)
        .map_err(|error| broken(format!("the graph {document} of run {run}: {error}")))?;
    // The next run of a campaign seldom has the same graph, replicates have.
    known.clear();
    known.insert(document.clone(), Arc::clone(&graph));
    Ok(Some(graph))
}
