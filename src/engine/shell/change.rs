//! What people do to a campaign under way: commands to it as a whole, another text for it,
//! experiments taken out of what its planner learns from.
//!
//! Architecture invariant: a change is checked in full before it is noted, and noted before it is
//! in force; experiments under way keep their graphs.

use std::sync::Arc;

use super::control::{Obeyed, Refusal, RefusalKind, Reply, Subject, SubjectKind};
use super::engine::{Engine, EngineError};
use super::entries::Fact;
use super::history::History;
use super::instruments::Instruments;
use super::prepare::Prepared;
use crate::compiler::campaign::edit::{EditError, edited};
use crate::compiler::{Bundle, check_bundle};
use crate::engine::campaign::{Campaign, CampaignRecord, CampaignState, EndReason, Obedience};
use crate::engine::core::{Command, RunState};
use crate::store::{Document, Holder, Journal, JournalError};

/// A change of a campaign that may be made.
#[derive(Debug)]
pub struct Change {
    /// What the journal keeps of it.
    pub record: CampaignRecord,
    /// The campaign after it.
    pub prepared: Prepared,
    /// Texts to be kept with it; `None` if they are.
    pub kept: Option<Document>,
}

/// Why a campaign cannot be changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// The new text cannot take the place of the old one.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// It cannot be done.
    #[error("{0}")]
    Refused(String),
}

impl Change {
    /// Another text for a campaign.
    ///
    /// Errors: the text has mistakes, or changes nothing, or more than may be.
    pub fn edit(
        journal: &Journal,
        machine: &Campaign,
        text: &str,
        by: String,
        reason: String,
    ) -> Result<Change, ChangeError> {
        let found = edited(&texts(journal, machine)?, text)?;
        let kept = Document::new("bundle", found.bundle.to_kept());
        let (bundle, diff) = (kept.hash.clone(), found.diff);
        // A budget of the command line stays until the text's own is changed.
        let counted = diff.iter().any(|change| change.starts_with("budget.experiments:"));
        let experiments = (!counted).then_some(machine.rules.experiments);
        let prepared = prepared(found.bundle, machine, experiments)?;
        let experiments = prepared.experiments;
        let record = CampaignRecord::Edited { by, reason, diff, bundle, experiments };
        Ok(Change { record, prepared, kept: Some(kept) })
    }

    /// An experiment that the planner is not to learn from, or is to learn from again.
    ///
    /// Errors: there is no such experiment, or it is so already.
    pub fn exclude(
        journal: &Journal,
        machine: &Campaign,
        experiment: u32,
        by: String,
        reason: String,
        undo: bool,
    ) -> Result<Change, ChangeError> {
        let refused = |why: String| Err(ChangeError::Refused(why));
        let Some(found) = machine.experiment(experiment) else {
            let count = machine.experiments.len();
            return refused(format!("there is no experiment {experiment}, only 1 to {count}"));
        };
        if found.excluded.is_some() != undo {
            let so = if undo { "is not excluded" } else { "is excluded already" };
            return refused(format!("experiment {experiment} {so}"));
        }
        let record = CampaignRecord::Excluded { experiment, by, reason, undo };
        let mut after = machine.clone();
        after.apply(&record, machine.started);
        let mut bundle = Bundle::from_kept(&texts(journal, machine)?).map_err(EditError::from)?;
        check_bundle(&mut bundle);
        let prepared = prepared(bundle, &after, Some(machine.rules.experiments))?;
        Ok(Change { record, prepared, kept: None })
    }
}

/// Notes a change while no engine is at work, under a fencing number of its own.
pub fn change_without_engine(
    journal: &mut Journal,
    history: &History,
    change: Change,
) -> Result<(), JournalError> {
    let id = change.prepared.setup.machine.id.clone();
    let wall_ms = jiff::Timestamp::now().as_millisecond();
    let fact = Fact::Campaign(id, change.record);
    let entry = fact.entry(history.last_tick.0, wall_ms).map_err(|error| JournalError::Broken {
        path: "journal.db".into(),
        seq: journal.len() + 1,
        what: format!("a fact cannot be written: {error}"),
    })?;
    let kept = change.kept.into_iter().collect();
    let first = |_| Ok::<_, JournalError>((vec![entry], kept));
    journal.take_lease(&Holder::this_process(wall_ms), history.epoch.saturating_add(1), first)?;
    Ok(())
}

fn texts(journal: &Journal, machine: &Campaign) -> Result<String, ChangeError> {
    match journal.document(&machine.bundle) {
        Ok(Some(text)) => Ok(text),
        Ok(None) => {
            Err(ChangeError::Refused(format!("the texts of campaign {} are missing", machine.id)))
        }
        Err(error) => Err(ChangeError::Refused(error.to_string())),
    }
}

fn prepared(
    bundle: Bundle,
    machine: &Campaign,
    experiments: Option<u32>,
) -> Result<Prepared, ChangeError> {
    Prepared::anew(Arc::new(bundle), machine.clone(), experiments)
        .map_err(|error| ChangeError::Refused(error.to_string()))
}

impl<I: Instruments> Engine<I> {
    /// State a campaign is in.
    pub(super) fn campaign_state(&self, machine: &Campaign) -> CampaignState {
        machine.state(|run| {
            let state = self.core.run(run).map(|run| run.state());
            state.is_some_and(|s| matches!(s, RunState::Held | RunState::Paused))
        })
    }

    /// What a command means for a campaign; its runs have heard of it.
    pub(super) fn command_campaign(
        &mut self,
        id: &str,
        command: Command,
        by: &str,
        reason: &str,
    ) -> Result<Option<Subject>, EngineError> {
        let Some(machine) = self.campaign(id) else { return Ok(None) };
        let (result, why) = match machine.obey(command, by, reason) {
            Obedience::Accepted(record) => {
                let idle = machine.active_runs() == 0;
                self.note_campaign(id, record)?;
                // With nothing under way it ends here and now, also where nothing could be started.
                let how = match command {
                    Command::Stop if idle => Some("stopped"),
                    Command::Abort if idle => Some("aborted"),
                    _ => None,
                };
                if let Some(how) = how {
                    self.end_campaign(id, EndReason::Person(format!("{how} by {by}")))?;
                }
                (Obeyed::Accepted, String::new())
            }
            Obedience::Already => (Obeyed::AlreadySo, String::new()),
            Obedience::Refused(why) => (Obeyed::Refused, why.to_owned()),
        };
        let Some(machine) = self.campaign(id) else { return Ok(None) };
        let state = self.campaign_state(machine).as_str().to_owned();
        let (id, kind) = (id.to_owned(), SubjectKind::Campaign);
        Ok(Some(Subject { id, kind, result, state, why }))
    }

    pub(super) fn edit(
        &mut self,
        id: &str,
        text: &str,
        by: String,
        reason: String,
    ) -> Result<Reply, EngineError> {
        let Some(machine) = self.changeable(id) else { return Ok(not_here(id)) };
        match Change::edit(&self.journal, machine, text, by, reason) {
            Ok(change) => {
                let diff = match &change.record {
                    CampaignRecord::Edited { diff, .. } => diff.clone(),
                    _ => Vec::new(),
                };
                self.make(change)?;
                Ok(Reply::Edited { campaign: id.to_owned(), diff })
            }
            Err(error) => Ok(refused(&error)),
        }
    }

    pub(super) fn exclude(
        &mut self,
        id: &str,
        experiment: u32,
        by: String,
        reason: String,
        undo: bool,
    ) -> Result<Reply, EngineError> {
        let Some(machine) = self.changeable(id) else { return Ok(not_here(id)) };
        match Change::exclude(&self.journal, machine, experiment, by, reason, undo) {
            Ok(change) => {
                self.make(change)?;
                Ok(Reply::Excluded { campaign: id.to_owned(), experiment, undo })
            }
            Err(error) => Ok(refused(&error)),
        }
    }

    fn changeable(&self, id: &str) -> Option<&Campaign> {
        self.campaign(id).filter(|machine| machine.ended.is_none())
    }

    fn make(&mut self, change: Change) -> Result<(), EngineError> {
        let Change { record, prepared, kept } = change;
        if let Some(kept) = kept {
            self.keep(kept);
        }
        self.note_campaign(&prepared.setup.machine.id.clone(), record)?;
        self.change_campaign(prepared.setup);
        Ok(())
    }
}

fn refused(error: &ChangeError) -> Reply {
    Reply::Refused(Refusal::new(RefusalKind::NotNow, format!("nothing was changed: {error}")))
}

fn not_here(id: &str) -> Reply {
    let message = format!("no campaign `{id}` is under way here");
    Reply::Refused(Refusal::new(RefusalKind::UnknownId, message))
}
