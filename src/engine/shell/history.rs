//! What the journal tells, gathered for resuming, `status` and `export`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::bulk;
use super::by_hand::ByHand;
use super::entries::{BASIS, BootMark, EngineRecord, Fact, ManualRecord, PAGE};
use super::estop::StopHistory;
use super::hand::TakenHistory;
use super::manual::SAFE_STATE;
use super::people::{PersonHistory, Word};
use super::questions::Questions;
use crate::compiler::graph::{Effect, Graph};
use crate::engine::campaign::{Campaign, CampaignRecord, Rules};
use crate::engine::core::{Cause, Core, Ending, Phase, Record, RunState, Tick};
use crate::expr::Value;
use crate::store::{Journal, JournalError, Lost, StoredEntry, Subject, Upkeep};

/// Kind of the entry that begins a campaign.
const CAMPAIGN_STARTED: &str = "campaign_started";

/// Unclean starts of services that are remembered; a few are a crash loop.
const STARTS_MAX: usize = 16;

/// Everything the journal tells.
#[derive(Debug, Default)]
pub struct History {
    /// Campaigns by name in the journal, in order of their start.
    pub campaigns: Vec<CampaignHistory>,
    /// Runs by name.
    pub runs: BTreeMap<String, RunHistory>,
    /// Commands given by hand, in order of their intents.
    pub manual: Vec<ManualHistory>,
    /// Fencing epoch of the last engine; 0 if there was none.
    pub epoch: u64,
    /// Latest lab time.
    pub last_tick: Tick,
    /// Wall time of the last entry, milliseconds since 1970.
    pub last_wall_ms: i64,
    /// `real`, `scaled` or `virtual`: the time the last engine ran on.
    pub time: String,
    /// Its lab seconds per wall second.
    pub speed: f64,
    /// When it began, in lab time and on the machine's own clock.
    pub boot: Option<(Tick, BootMark)>,
    /// When services started that did not end as they were told to, since one last did; milliseconds
    /// since 1970.
    pub unclean_starts: Vec<i64>,
    /// It ran out of disk and had not found room again.
    pub disk_low: bool,
    /// Which unit each instrument was last, as far as it can tell.
    pub identities: BTreeMap<String, String>,
    /// Instruments in people's hands.
    pub taken: BTreeMap<String, TakenHistory>,
    /// Instruments that were not confirmed safe when a run ended, each with that run.
    pub barred: BTreeMap<String, String>,
    /// What people told instruments while no engine was at work, in order.
    pub by_hand: Vec<ByHand>,
    /// Since when, milliseconds since 1970; of those that were freed too.
    pub barred_since: BTreeMap<String, i64>,
    /// Instruments that are used on somebody's word although they were not confirmed safe.
    pub on_word: BTreeMap<String, Word>,
    /// Entries at the end were lost, and runs begin on somebody's word.
    pub loss: Option<Word>,
    /// The emergency stop that was not cleared.
    pub stopped: Option<StopHistory>,
    /// Questions to people.
    pub asked: Questions,
    /// What people did, in order.
    pub people: Vec<PersonHistory>,
    /// What cannot be read of a damaged journal.
    pub damage: Vec<String>,
    /// Highest number behind each name, where not everything was read.
    pub(super) numbers: BTreeMap<String, u32>,
    /// Commands whose end is known are not kept: who goes on needs none, and a run may have a
    /// million.
    pub(super) brief: bool,
    /// Entry with which it was noted, or will be, that the ones before it were lost.
    pub(super) lost_at: Option<u64>,
    /// Entry with which the last engine started.
    pub(super) started_at: Option<u64>,
    /// Fencing epoch with which it did.
    pub(super) engine_epoch: u64,
}

/// One campaign.
#[derive(Debug, Clone)]
pub struct CampaignHistory {
    /// Its state; its rules stop nothing until the caller sets them.
    pub machine: Campaign,
    /// Name in its file.
    pub name: String,
    /// Hash of the document with all its texts.
    pub bundle: String,
    /// Seed of its planner.
    pub seed: u64,
    /// Experiments at most.
    pub experiments: u32,
    /// Values given to the protocol of a single run.
    pub parameters: BTreeMap<String, Value>,
    /// Key it was asked for with.
    pub key: Option<String>,
    /// When it began, milliseconds since 1970.
    pub wall_ms: i64,
}

/// One run.
#[derive(Debug, Clone)]
pub struct RunHistory {
    /// Name.
    pub run: String,
    /// Content hash of its graph.
    pub graph: String,
    /// Document that keeps it.
    pub document: String,
    /// When it began.
    pub started: Tick,
    /// When it began, milliseconds since 1970.
    pub wall_ms: i64,
    /// When it ended.
    pub ended: Option<Tick>,
    /// How it ended.
    pub ending: Option<Ending>,
    /// Why, if not complete.
    pub cause: String,
    /// Results in coherent SI units.
    pub results: BTreeMap<String, Value>,
    /// Commands, in order of their intents; of what goes on ([`History::current`],
    /// [`History::recover`]) only those without an end.
    pub steps: Vec<StepHistory>,
    /// Safe states at its end, as commands of that name.
    pub made_safe: Vec<StepHistory>,
    /// Questions that stand open: step and text with its options.
    pub questions: BTreeMap<String, (String, Vec<String>)>,
    /// Its first entry.
    pub first_at: u64,
    /// Its last entry that changed its state.
    pub moved_at: u64,
    /// The last entry with which it was let go on.
    pub resumed_at: u64,
}

/// One command given by hand.
#[derive(Debug, Clone)]
pub struct ManualHistory {
    /// Name.
    pub id: String,
    /// Who gave it.
    pub by: String,
    /// Hash of the document with the texts of lab and definitions.
    pub bundle: String,
    /// Where its instrument was, if not where the lab says.
    pub at: Option<String>,
    /// When its intent was noted, milliseconds since 1970.
    pub wall_ms: i64,
    /// The command; its path is its name.
    pub step: StepHistory,
}

/// One command of a run.
#[derive(Debug, Clone)]
pub struct StepHistory {
    /// Step.
    pub path: String,
    /// Attempt, from 1.
    pub attempt: u32,
    /// Instrument.
    pub instrument: String,
    /// Action.
    pub action: String,
    /// Arguments.
    pub args: BTreeMap<String, Value>,
    /// Effect class.
    pub effect: Effect,
    /// When its intent was noted.
    pub at: Tick,
    /// When its outcome was known.
    pub until: Option<Tick>,
    /// `done`, the failure, or how a doubt was resolved; empty while open.
    pub outcome: String,
    /// What it returned.
    pub value: Option<Value>,
    /// What crossed the wire for it, as in [`super::wire_trace`].
    pub trace: String,
}

impl History {
    /// Goes through a whole journal. With `core`, as [`History::recover`].
    ///
    /// Of a damaged journal it tells what can be read, and what cannot in `damage`.
    pub fn read(journal: &Journal, core: Option<&mut Core>) -> Result<History, JournalError> {
        if let Some(core) = core {
            return History::recover(journal, core, None);
        }
        let mut history = History::nothing();
        history.damage.extend(journal.damage().map(str::to_owned));
        let mut after = 0;
        loop {
            let (page, last) = match journal.read(after, PAGE) {
                Ok(page) => {
                    let last = page.last().map_or(after, |last| last.seq);
                    (page, last)
                }
                Err(JournalError::Broken { .. }) => {
                    let partly = journal.read_what_can_be(after, PAGE)?;
                    history.damage.extend(partly.said);
                    (partly.entries, partly.last)
                }
                Err(error) => return Err(error),
            };
            if last == after {
                break;
            }
            after = last;
            history.last_wall_ms = page.last().map_or(history.last_wall_ms, |last| last.wall_ms);
            for entry in &page {
                match Fact::read(entry) {
                    Ok(fact) => history.take(entry, &fact),
                    Err(error) => history.damage.push(error.to_string()),
                }
            }
        }
        if let Some(lost) = journal.lost() {
            let Lost { from, to } = lost;
            history.damage.push(format!("entries {from} to {to} are missing at the end"));
        }
        Ok(history)
    }

    /// The whole of a state folder, for looking at it; of a damaged journal what can be read.
    pub fn look(folder: &Path) -> Result<(Journal, History), JournalError> {
        let journal = Journal::open_read_only(folder)?;
        match History::read(&journal, None) {
            Ok(history) => Ok((journal, history)),
            Err(JournalError::Damaged { what, .. }) => {
                let journal = Journal::open_damaged(folder, what)?;
                let history = History::read(&journal, None)?;
                Ok((journal, history))
            }
            Err(error) => Err(error),
        }
    }

    /// What goes on: campaigns, runs and commands that are not over, and the last campaign, or the
    /// one of that name. Nothing else is read, however long the journal is.
    ///
    /// Errors: an entry that is missing or was changed.
    pub fn current(journal: &Journal, wanted: Option<&str>) -> Result<History, JournalError> {
        let (mut history, subjects) = History::standing(journal, wanted)?;
        journal.each_of(&subjects, |entry| {
            history.take(&entry, &Fact::read(&entry)?);
            Ok(())
        })?;
        Ok(history)
    }

    /// As [`History::current`], and brings back the state of every open run.
    pub fn recover(
        journal: &Journal,
        core: &mut Core,
        wanted: Option<&str>,
    ) -> Result<History, JournalError> {
        let (mut history, subjects) = History::standing(journal, wanted)?;
        let mut graphs: BTreeMap<String, Arc<Graph>> = BTreeMap::new();
        let mut problem = None;
        journal.each_of(&subjects, |entry| {
            let fact = Fact::read(&entry)?;
            history.take(&entry, &fact);
            let Fact::Run(mut record) = fact else { return Ok(()) };
            bulk::restore(&mut record, journal.files())
                .map_err(|source| JournalError::File { seq: entry.seq, source })?;
            let record = &record;
            let lookup = || match graph_of(journal, record, &mut graphs) {
                Ok(graph) => graph,
                Err(error) => {
                    problem.get_or_insert(error);
                    None
                }
            };
            core.apply(record, Tick(entry.tick), lookup);
            if core.run(record.run()).is_some_and(|r| r.phase == Phase::Over) {
                core.forget(record.run());
            }
            Ok(())
        })?;
        match problem {
            Some(error) => Err(error),
            None => Ok(history),
        }
    }

    fn nothing() -> History {
        History { time: "real".to_owned(), speed: 1.0, ..History::default() }
    }

    /// A history of nothing yet, and the subjects that are not over, or that were asked for. Claims
    /// and the age of runs follow the order in which things happened, so their entries are gone
    /// through in the order of the journal.
    fn standing(
        journal: &Journal,
        wanted: Option<&str>,
    ) -> Result<(History, Vec<Subject>), JournalError> {
        let standing = journal.standing()?;
        let open = standing.open.values().filter(|subject| subject.name != BASIS);
        let mut subjects: Vec<Subject> = open.cloned().collect();
        let named = match wanted {
            Some(wanted) => journal.subject(wanted)?,
            None => None,
        };
        let last = standing.newest.get(CAMPAIGN_STARTED);
        let mut more: Vec<&Subject> = named.iter().chain(last).filter(|s| s.over).collect();
        more.dedup();
        subjects.extend(more.into_iter().cloned());
        let mut history = History { numbers: standing.numbers, brief: true, ..History::nothing() };
        if let Some(last) = journal.last()? {
            history.last_tick = Tick(last.tick);
            history.last_wall_ms = last.wall_ms;
        }
        history.epoch = journal.lease()?.map_or(0, |lease| lease.epoch);
        if journal.lost().is_some() {
            history.lost_at = Some(journal.len() + 1);
        }
        Ok((history, subjects))
    }

    fn take(&mut self, entry: &StoredEntry, fact: &Fact) {
        let now = Tick(entry.tick);
        self.last_tick = self.last_tick.max(now);
        match fact {
            Fact::Basis(_) => {}
            Fact::Engine(record) => {
                if matches!(record, EngineRecord::Started { .. }) {
                    self.started_at = Some(entry.seq);
                }
                self.engine(record, now, entry.wall_ms);
            }
            Fact::Manual(record) => {
                self.by_hand_alone(record, entry.seq);
                self.manual(record, now, entry.wall_ms);
            }
            Fact::Campaign(id, record) => {
                self.did_to_campaign(id, record, entry.wall_ms);
                self.campaign(id, record, now, entry.wall_ms);
            }
            Fact::Journal(Upkeep::TailLost { .. }) => {
                // What was noted later in this journal may be known again.
                self.lost_at = self.lost_at.max(Some(entry.seq));
            }
            Fact::Journal(Upkeep::Migrated { .. } | Upkeep::Salvaged { .. }) => {}
            Fact::Run(record) => {
                let moved = matches!(record, Record::Moved { .. });
                let resumed = is_let_go(record);
                self.run(record, entry.seq, now, entry.wall_ms);
                self.asked.apply(record, entry.wall_ms);
                self.did_to_run(record, entry.wall_ms);
                if let Some(run) = self.runs.get_mut(record.run()).filter(|_| moved) {
                    run.moved_at = entry.seq;
                }
                if let Some(run) = self.runs.get_mut(record.run()).filter(|_| resumed) {
                    run.resumed_at = entry.seq;
                }
            }
        }
    }

    /// Whether entries were lost since an engine was started last: nobody has said yet that they know.
    pub fn loss_unseen(&self) -> bool {
        self.lost_at.is_some_and(|lost| self.started_at.is_none_or(|started| started < lost))
    }

    /// Open runs that were under way when entries at the end of the journal were lost, and to
    /// which nobody has said a word since: what their instruments were told, nobody knows.
    pub fn unvouched(&self) -> Vec<String> {
        let Some(lost_at) = self.lost_at else { return Vec::new() };
        let open = self.open_runs().filter(|run| run.moved_at.max(run.first_at) < lost_at);
        open.map(|run| run.run.clone()).collect()
    }

    /// The last campaign, or the one of that name.
    pub fn campaign_named(&self, id: Option<&str>) -> Option<&CampaignHistory> {
        match id {
            None => self.campaigns.last(),
            Some(id) => self.campaigns.iter().find(|c| c.machine.id == id),
        }
    }

    /// Name for the next campaign or run of this name: `name-1`, `name-2`, ...
    pub fn next_id(&self, name: &str) -> String {
        let taken = |id: &str| {
            self.campaigns.iter().any(|c| c.machine.id == id)
                || self.runs.contains_key(id)
                || self.manual.iter().any(|m| m.id == id)
        };
        let first = self.numbers.get(name).map_or(1, |last| last.saturating_add(1));
        (first..).map(|n| format!("{name}-{n}")).find(|id| !taken(id)).unwrap_or_default()
    }

    /// Fencing epoch of the last engine; whoever noted something alone since has had one of its own.
    pub fn last_engine(&self) -> u64 {
        self.engine_epoch
    }

    /// Runs that are not over.
    pub fn open_runs(&self) -> impl Iterator<Item = &RunHistory> {
        self.runs.values().filter(|r| r.ending.is_none())
    }

    fn engine(&mut self, record: &EngineRecord, now: Tick, wall_ms: i64) {
        self.did(record, wall_ms);
        match record {
            EngineRecord::Started { epoch, time, speed, boot, service, .. } => {
                if *service {
                    if self.unclean_starts.len() >= STARTS_MAX {
                        self.unclean_starts.remove(0);
                    }
                    self.unclean_starts.push(wall_ms);
                }
                self.epoch = *epoch;
                self.engine_epoch = *epoch;
                self.time.clone_from(time);
                self.speed = *speed;
                self.boot = boot.clone().map(|mark| (now, mark));
            }
            EngineRecord::Left { .. } => self.unclean_starts.clear(),
            EngineRecord::DiskLow { .. } => self.disk_low = true,
            EngineRecord::DiskBack { .. } => self.disk_low = false,
            EngineRecord::Identified { instrument, identity, .. } if identity.is_empty() => {
                self.identities.remove(instrument);
            }
            // Simulators are nobody in particular.
            EngineRecord::Identified { .. } if self.time != "real" => {}
            EngineRecord::Identified { instrument, identity, .. } => {
                self.identities.insert(instrument.clone(), identity.clone());
            }
            EngineRecord::Taken { .. } | EngineRecord::Given { .. } => {
                self.hands(record, wall_ms);
            }
            EngineRecord::Barred { .. } | EngineRecord::Freed { .. } => self.bars(record, wall_ms),
            EngineRecord::EmergencyStop { .. } | EngineRecord::MadeSafe { .. } => self.stop(record),
            EngineRecord::Cleared { .. } => {
                self.bars(record, wall_ms);
                self.stop(record);
            }
            EngineRecord::Away { .. }
            | EngineRecord::NotOurs { .. }
            | EngineRecord::ClockStepped { .. }
            | EngineRecord::Gap { .. }
            | EngineRecord::LossAccepted { .. }
            | EngineRecord::Commanded { .. }
            | EngineRecord::Note { .. } => {}
        }
    }

    pub(super) fn campaign(&mut self, id: &str, record: &CampaignRecord, now: Tick, wall_ms: i64) {
        if let CampaignRecord::Started {
            name, bundle, seed, experiments, parameters, key, ..
        } = record
        {
            self.campaigns.push(CampaignHistory {
                machine: Campaign::new(id.to_owned(), Rules::unbounded()),
                name: name.clone(),
                bundle: bundle.clone(),
                seed: *seed,
                experiments: *experiments,
                parameters: parameters.clone(),
                key: key.clone(),
                wall_ms,
            });
        }
        if let Some(found) = self.campaigns.iter_mut().find(|c| c.machine.id == id) {
            if let CampaignRecord::Edited { bundle, experiments, .. } = record {
                found.bundle.clone_from(bundle);
                found.experiments = *experiments;
            }
            found.machine.apply(record, now);
        }
    }

    fn manual(&mut self, record: &ManualRecord, now: Tick, wall_ms: i64) {
        self.handled(record);
        self.did_by_hand(record);
        match record {
            ManualRecord::Intent {
                id,
                by,
                epoch,
                bundle,
                instrument,
                at,
                action,
                args,
                effect,
                ..
            } => {
                self.epoch = self.epoch.max(*epoch);
                self.manual.push(ManualHistory {
                    id: id.clone(),
                    by: by.clone(),
                    bundle: bundle.clone(),
                    at: at.clone(),
                    wall_ms,
                    step: StepHistory {
                        path: id.clone(),
                        attempt: 1,
                        instrument: instrument.clone(),
                        action: action.clone(),
                        args: args.clone(),
                        effect: *effect,
                        at: now,
                        until: None,
                        outcome: String::new(),
                        value: None,
                        trace: String::new(),
                    },
                });
            }
            ManualRecord::Outcome { id, result, trace, .. } => {
                let Some(found) = self.manual.iter_mut().rev().find(|m| m.id == *id) else {
                    return;
                };
                found.step.until = Some(now);
                found.step.trace.clone_from(trace);
                match result {
                    Ok(value) => {
                        found.step.outcome = "done".to_owned();
                        found.step.value.clone_from(value);
                    }
                    Err(failure) => found.step.outcome.clone_from(&failure.message),
                }
            }
        }
    }

    fn run(&mut self, record: &Record, seq: u64, now: Tick, wall_ms: i64) {
        if let Record::RunStarted { run, graph, document, .. } = record {
            self.runs.insert(
                run.clone(),
                RunHistory {
                    run: run.clone(),
                    graph: graph.clone(),
                    document: document.clone(),
                    started: now,
                    wall_ms,
                    ended: None,
                    ending: None,
                    cause: String::new(),
                    results: BTreeMap::new(),
                    steps: Vec::new(),
                    made_safe: Vec::new(),
                    questions: BTreeMap::new(),
                    first_at: seq,
                    moved_at: 0,
                    resumed_at: 0,
                },
            );
            return;
        }
        let brief = self.brief;
        let Some(run) = self.runs.get_mut(record.run()) else { return };
        match record {
            Record::Outcome { step, attempt, .. } if brief => {
                run.forget(&step.path, *attempt);
            }
            Record::Intent { step, attempt, instrument, action, args, effect, .. } => {
                run.steps.push(StepHistory {
                    path: step.path.clone(),
                    attempt: *attempt,
                    instrument: instrument.clone(),
                    action: action.clone(),
                    args: args.clone(),
                    effect: *effect,
                    at: now,
                    until: None,
                    outcome: String::new(),
                    value: None,
                    trace: String::new(),
                });
            }
            Record::Outcome { step, attempt, result, trace, .. } => {
                if let Some(found) = run.attempt(&step.path, *attempt) {
                    found.until = Some(now);
                    found.trace.clone_from(trace);
                    match result {
                        Ok(value) => {
                            found.outcome = "done".to_owned();
                            found.value.clone_from(value);
                        }
                        Err(failure) => found.outcome.clone_from(&failure.message),
                    }
                }
            }
            Record::Resolved { step, attempt, resolution, by, trace, .. } => {
                if let Some(found) = run.attempt(&step.path, *attempt) {
                    found.trace.push_str(trace);
                    found.until = Some(now);
                    found.outcome = format!("{} (by {by})", resolution.as_str());
                }
                run.questions.remove(&step.path);
                if brief {
                    run.forget(&step.path, *attempt);
                }
            }
            Record::Question { step, question, options, .. } => {
                run.questions.insert(step.path.clone(), (question.clone(), options.clone()));
            }
            Record::Answer { step, .. } => {
                run.questions.remove(&step.path);
            }
            Record::MadeSafe { instrument, confirmed, detail, trace, .. } => {
                run.made_safe.push(StepHistory {
                    path: format!("{SAFE_STATE}/{instrument}"),
                    attempt: 1,
                    instrument: instrument.clone(),
                    action: SAFE_STATE.to_owned(),
                    args: BTreeMap::new(),
                    effect: Effect::Repeatable,
                    at: now,
                    until: Some(now),
                    outcome: if *confirmed { "done".to_owned() } else { detail.clone() },
                    value: None,
                    trace: trace.clone(),
                });
            }
            Record::BodyEnded { results, .. } => run.results.clone_from(results),
            Record::RunEnded { ending, cause, .. } => {
                run.ended = Some(now);
                run.ending = Some(*ending);
                run.cause.clone_from(cause);
                run.questions.clear();
            }
            _ => {}
        }
    }
}

/// Whether a run goes on with it, or a person's hold ends.
fn is_let_go(record: &Record) -> bool {
    matches!(
        record,
        Record::Moved { to: RunState::Running | RunState::Restarting, .. }
            | Record::Released { cause: Cause::Person, .. }
    )
}

impl RunHistory {
    fn attempt(&mut self, path: &str, attempt: u32) -> Option<&mut StepHistory> {
        self.steps.iter_mut().rev().find(|s| s.path == path && s.attempt == attempt)
    }

    fn forget(&mut self, path: &str, attempt: u32) {
        self.steps.retain(|s| s.path != path || s.attempt != attempt);
    }

    /// How long it took, or has taken so far.
    pub fn duration(&self, now: Tick) -> Duration {
        self.ended.unwrap_or(now).since(self.started)
    }
}

fn graph_of(
    journal: &Journal,
    record: &Record,
    known: &mut BTreeMap<String, Arc<Graph>>,
) -> Result<Option<Arc<Graph>>, JournalError> {
    let Record::RunStarted { document, .. } = record else { return Ok(None) };
    if let Some(graph) = known.get(document) {
        return Ok(Some(Arc::clone(graph)));
    }
    let broken = |what: String| JournalError::Broken { path: "journal.db".into(), seq: 0, what };
    let text = journal
        .document(document)?
        .ok_or_else(|| broken(format!("the graph {document} of a run is missing")))?;
    let graph: Graph = serde_json::from_str(&text)
        .map_err(|error| broken(format!("the graph {document} cannot be read: {error}")))?;
    let graph = Arc::new(graph);
    known.insert(document.clone(), Arc::clone(&graph));
    Ok(Some(graph))
}
