//! What campaigns decided, decided again: which experiment, by the planner with the same seed and
//! the same results before it; which run; what it concluded; why it ended.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::super::brain::Proposal;
use super::super::history::History;
use super::super::prepare::Prepared;
use super::super::searches::SearchSetup;
use crate::compiler::{Bundle, check_bundle};
use crate::engine::campaign::{
    CampaignRecord, Conclusion, Decision, EndReason, Hypothesis, verdict,
};
use crate::engine::core::Tick;
use crate::store::{Journal, JournalError};

/// A decision of a campaign that came out otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CampaignDifference {
    /// Entry of the journal.
    pub seq: u64,
    /// Campaign.
    pub campaign: String,
    /// What the journal says.
    pub journal: String,
    /// What follows now.
    pub derived: String,
}

/// Why a decision cannot be looked at.
pub(super) type Stop = Result<Option<Box<CampaignDifference>>, JournalError>;

/// Proposals that came together, as one answer of the planner.
struct Proposed {
    campaign: String,
    seq: u64,
    list: Vec<Hypothesis>,
}

/// Campaigns of a journal, as far as it was gone through.
#[derive(Default)]
pub(super) struct Campaigns {
    history: History,
    open: BTreeMap<String, SearchSetup>,
    proposed: Option<Proposed>,
    /// Decisions that came out as the journal has them.
    pub(super) decisions: u64,
    /// Experiments that the planner proposed again.
    pub(super) proposals: u64,
}

impl Campaigns {
    /// The next record of a campaign.
    pub(super) fn record(
        &mut self,
        journal: &Journal,
        (seq, at, wall_ms): (u64, Tick, i64),
        id: &str,
        record: &CampaignRecord,
    ) -> Stop {
        if let CampaignRecord::Proposed { hypothesis, .. } = record {
            if self.proposed.as_ref().is_some_and(|p| p.campaign != id) {
                let difference = self.end()?;
                if difference.is_some() {
                    return Ok(difference);
                }
            }
            let (campaign, list) = (id.to_owned(), Vec::new());
            let open = self.proposed.get_or_insert(Proposed { campaign, seq, list });
            open.list.push(hypothesis.clone());
            self.apply(id, record, at, wall_ms);
            return Ok(None);
        }
        let difference = self.end()?;
        if difference.is_some() {
            return Ok(difference);
        }
        let wrong = self.open.get(id).and_then(|open| wrong(open, record, at));
        if let Some((journal, derived)) = wrong {
            let campaign = id.to_owned();
            return Ok(Some(Box::new(CampaignDifference { seq, campaign, journal, derived })));
        }
        self.learn(id, record);
        self.apply(id, record, at, wall_ms);
        if takes_up(record) {
            self.take_up(journal, seq, id)?;
        }
        self.decisions += u64::from(decided(record));
        if matches!(record, CampaignRecord::Ended { .. }) {
            self.open.remove(id);
        }
        Ok(None)
    }

    /// Compares the planner's last answer.
    pub(super) fn end(&mut self) -> Stop {
        let Some(Proposed { campaign, seq, list }) = self.proposed.take() else { return Ok(None) };
        let Some(open) = self.open.get_mut(&campaign) else { return Ok(None) };
        let count = u32::try_from(list.len()).unwrap_or(u32::MAX);
        let derived = match open.brain.propose(count) {
            Ok(Proposal::Experiments(derived)) if derived == list => {
                self.proposals += u64::from(count);
                return Ok(None);
            }
            Ok(Proposal::Experiments(derived)) => shown(&derived),
            Ok(Proposal::Exhausted(why)) => format!("nothing is left to try: {why}"),
            Err(error) => format!("the planner fails: {error}"),
        };
        let journal = shown(&list);
        Ok(Some(Box::new(CampaignDifference { seq, campaign, journal, derived })))
    }

    fn apply(&mut self, id: &str, record: &CampaignRecord, at: Tick, wall_ms: i64) {
        self.history.campaign(id, record, at, wall_ms);
        if let Some(open) = self.open.get_mut(id) {
            open.machine.apply(record, at);
        }
    }

    fn learn(&mut self, id: &str, record: &CampaignRecord) {
        let CampaignRecord::Concluded { experiment, conclusion, .. } = record else { return };
        let Some(open) = self.open.get_mut(id) else { return };
        let Some(found) = open.machine.experiment(*experiment) else { return };
        // A planner that cannot learn ended its campaign then, and fails at its next proposal now.
        let _ = open.brain.learn(&found.hypothesis, conclusion);
    }

    /// The campaign as an engine takes it up here, from what is told of it so far.
    fn take_up(&mut self, journal: &Journal, seq: u64, id: &str) -> Result<(), JournalError> {
        let Some(found) = self.history.campaign_named(Some(id)).cloned() else { return Ok(()) };
        let broken = |what: String| JournalError::Broken { path: "journal.db".into(), seq, what };
        let text = journal
            .document(&found.bundle)?
            .ok_or_else(|| broken(format!("the texts {} of {id} are missing", found.bundle)))?;
        let mut bundle = Bundle::from_kept(&text)
            .map_err(|error| broken(format!("the texts of {id} cannot be read: {error}")))?;
        check_bundle(&mut bundle);
        let prepared = Prepared::again(Arc::new(bundle), found, true)
            .map_err(|error| broken(format!("{id} cannot be taken up: {error}")))?;
        self.open.insert(id.to_owned(), prepared.setup);
        Ok(())
    }
}

/// Whether the planner is made anew here.
fn takes_up(record: &CampaignRecord) -> bool {
    matches!(
        record,
        CampaignRecord::Started { .. }
            | CampaignRecord::Resumed { .. }
            | CampaignRecord::Edited { .. }
            | CampaignRecord::Excluded { .. }
    )
}

/// Whether it says what the campaign decided, not what it was told.
fn decided(record: &CampaignRecord) -> bool {
    matches!(
        record,
        CampaignRecord::Assigned { .. }
            | CampaignRecord::Concluded { .. }
            | CampaignRecord::Ended { .. }
    )
}

/// What the journal says and what follows instead, if that is something else.
fn wrong(open: &SearchSetup, record: &CampaignRecord, at: Tick) -> Option<(String, String)> {
    // The planner has answered or was never asked.
    let mut machine = open.machine.clone();
    machine.proposing = false;
    let next = machine.decide(at);
    let differs = |derived: String| Some((shown(record), derived));
    match record {
        CampaignRecord::Assigned { experiment, run } => {
            let (experiment, run) = (*experiment, run.clone());
            let fits = next == Some(Decision::StartRun { experiment, run });
            if fits { None } else { differs(shown(&next)) }
        }
        CampaignRecord::Concluded { experiment, conclusion, verdict: said } => {
            let now =
                Decision::Conclude { experiment: *experiment, conclusion: conclusion.clone() };
            let fits = next == Some(now) || did_not_compile(&next, *experiment, conclusion);
            if !fits {
                return differs(shown(&next));
            }
            let hypothesis = &machine.experiment(*experiment)?.hypothesis;
            let derived = verdict(hypothesis, &open.objectives, conclusion);
            if derived == *said { None } else { differs(shown(&derived)) }
        }
        CampaignRecord::Ended { reason } => match reason {
            EndReason::Goal(said) => {
                let derived = (open.goal)(&machine.experiments);
                if derived.as_ref() == Some(said) { None } else { differs(shown(&derived)) }
            }
            EndReason::BudgetSpent(_) | EndReason::Failures(_) => {
                let fits = next == Some(Decision::End(reason.clone()));
                if fits { None } else { differs(shown(&next)) }
            }
            // Words of a person, of the planner and of a failure are told, not decided here.
            _ => None,
        },
        _ => None,
    }
}

/// A run that was to be started and whose graph could not be made.
fn did_not_compile(next: &Option<Decision>, number: u32, conclusion: &Conclusion) -> bool {
    matches!(next, Some(Decision::StartRun { experiment, .. }) if *experiment == number)
        && matches!(conclusion, Conclusion::Failed { .. })
}

/// As an entry of the journal would have it.
fn shown(what: &impl Serialize) -> String {
    match serde_json::to_string(what) {
        Ok(text) if text == "null" => "nothing".to_owned(),
        Ok(text) => text,
        // A number that JSON does not know.
        Err(error) => format!("what cannot be written down ({error})"),
    }
}
