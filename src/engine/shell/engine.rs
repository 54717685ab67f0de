//! The loop: take what arrived, decide, make durable, perform.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::analyses::{self, Analyses};
use super::bars::Bars;
use super::brain::BrainError;
use super::bulk;
use super::control::Inbox;
use super::entries::{EngineRecord, Fact};
use super::estop::Stop;
use super::hand::Hands;
use super::instruments::Instruments;
use super::last_word;
use super::obey::Desk;
use super::progress::{Observer, Progress};
use super::questions::Questions;
use super::searches::{Finished, Searches};
use super::serving::Service;
use super::signals::{Keeping, Signals};
use super::watch::Watch;
use crate::compiler::graph::Graph;
use crate::driver::{EmergencyStop, Exchange, Health, Notice, Pressed};
use crate::engine::core::{Command, Core, Event, Record, StepKey, Terms, Tick};
use crate::store::telemetry::Stamp;
use crate::store::{Document, Entry, FilesError, Holder, Journal, JournalError};
use crate::wire::Clock;

/// Events taken into one commit; more wait for the next.
const BATCH: usize = 1_024;
/// Entries without a record among them that may wait for the next commit.
const BASIS_MAX: usize = 256;
/// How long instruments may take to confirm their safe state when the engine gives up (wall time).
const GIVE_UP_WAIT: Duration = Duration::from_secs(10);
/// A commit longer ago than this no longer says whose the state folder is (wall time).
const LEASE_FRESH: Duration = Duration::from_millis(100);
/// The engine beats this often while it is well, in wall time: three times within the shortest time
/// that a device's watchdog is kept from acting without a beat.
const BEAT_EVERY: Duration = Duration::from_millis(100);

/// Why the engine stopped short. Safe states are the caller's to send: the fleet is still there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The journal failed: nothing may be sent any more.
    #[error(transparent)]
    Journal(JournalError),
    /// Another engine owns the instruments now. Alone among these, this one sends no safe states:
    /// they are the other's to send.
    #[error(transparent)]
    Lapsed(JournalError),
    /// A large value could not be kept: nothing may be sent any more.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// A fact could not be written down.
    #[error("a fact could not be written into the journal: {0}")]
    Encode(#[from] serde_json::Error),
    /// The planners cannot be waited for.
    #[error("the planner cannot go on: {0}")]
    Brain(#[from] BrainError),
    /// A campaign cannot be taken.
    #[error("the campaign cannot be taken: {0}")]
    Campaign(String),
    /// All drivers are gone while runs are open.
    #[error("the drivers are gone")]
    Deserted,
}

impl From<JournalError> for EngineError {
    fn from(error: JournalError) -> EngineError {
        if matches!(error, JournalError::Lapsed { .. }) {
            EngineError::Lapsed(error)
        } else {
            EngineError::Journal(error)
        }
    }
}

/// What an engine is made of.
pub struct EngineSetup<I> {
    /// Journal, open for writing.
    pub journal: Journal,
    /// The history of readings, if one is kept.
    pub telemetry: Option<Keeping>,
    /// Lab time.
    pub clock: Clock,
    /// The lab.
    pub instruments: I,
    /// From the drivers.
    pub notices: mpsc::Receiver<Notice>,
    /// From people.
    pub controls: Inbox,
    /// Who watches.
    pub observer: Observer,
    /// The pure core, with its history applied when resuming.
    pub core: Core,
}

/// A request to an instrument under way.
#[derive(Debug, Clone)]
pub(super) enum Pending {
    Command { run: String, key: crate::engine::core::StepKey, attempt: u32 },
    Witness { run: String, key: crate::engine::core::StepKey, instrument: String, since: Tick },
    Hold { run: String, instrument: String },
}

/// The engine.
pub struct Engine<I> {
    pub(super) core: Core,
    pub(super) clock: Clock,
    pub(super) instruments: I,
    pub(super) pending: HashMap<String, Pending>,
    /// Safe states under way: instrument -> runs that wait for it.
    pub(super) making_safe: BTreeMap<String, Vec<String>>,
    /// The same for runs that are being held.
    pub(super) holding: BTreeMap<String, Vec<String>>,
    /// What crossed the wires for witnesses of steps that are not over.
    pub(super) witnessed: BTreeMap<(String, StepKey), Vec<Exchange>>,
    /// When each instrument was last seen to have restarted.
    pub(super) rebooted: BTreeMap<String, Tick>,
    /// Events made by the shell itself, taken before anything from outside.
    pub(super) own: VecDeque<Event>,
    pub(super) analyses: Analyses,
    pub(super) journal: Journal,
    /// Live values and their history.
    pub(super) signals: Signals,
    pub(super) notices: mpsc::Receiver<Notice>,
    pub(super) controls: Inbox,
    /// Who asked for what and is not answered yet.
    pub(super) desk: Desk,
    /// Questions that stand open.
    pub(super) questions: Questions,
    pub(super) observer: Observer,
    pub(super) searches: Searches,
    /// Set in an engine that serves.
    pub(super) service: Option<Service>,
    /// Clocks and disk.
    pub(super) watch: Watch,
    pub(super) hands: Hands,
    pub(super) bars: Bars,
    pub(super) emergency: EmergencyStop,
    /// The pulse that keeps the instruments' own watchdogs from acting.
    pub(super) health: Health,
    /// Presses and clearings of it that were looked at.
    pub(super) stop_seen: watch::Receiver<Option<Pressed>>,
    /// What is known of the one that is pressed.
    pub(super) stop: Option<Stop>,
    pub(super) entries: Vec<Entry>,
    /// Something among the entries must be durable before anything is performed.
    waits_for_disk: bool,
    documents: Vec<Document>,
    actions: Vec<crate::engine::core::Action>,
    told: Vec<Progress>,
    pub(super) finished: Finished,
    /// When the last commit showed that the lease is this engine's.
    committed: Instant,
}

impl<I: Instruments> Engine<I> {
    /// An engine that has not begun.
    pub fn new(setup: EngineSetup<I>) -> Engine<I> {
        let now = Stamp { tick: setup.clock.now().0, wall_ms: setup.clock.wall().as_millisecond() };
        let (signals, failed) = Signals::new(setup.telemetry, now);
        let no_history = |why| Progress::Engine { detail: format!("no history is written: {why}") };
        let emergency = setup.instruments.emergency();
        let health = setup.instruments.health();
        Engine {
            core: setup.core,
            clock: setup.clock,
            instruments: setup.instruments,
            pending: HashMap::new(),
            making_safe: BTreeMap::new(),
            holding: BTreeMap::new(),
            witnessed: BTreeMap::new(),
            rebooted: BTreeMap::new(),
            own: VecDeque::new(),
            analyses: Analyses::new(),
            journal: setup.journal,
            signals,
            notices: setup.notices,
            controls: setup.controls,
            desk: Desk::default(),
            questions: Questions::default(),
            observer: setup.observer,
            searches: Searches::new(),
            service: None,
            watch: Watch::new(),
            stop_seen: emergency.watch(),
            hands: Hands::default(),
            bars: Bars::default(),
            emergency,
            health,
            stop: None,
            entries: Vec::new(),
            waits_for_disk: false,
            documents: Vec::new(),
            actions: Vec::new(),
            told: failed.map(no_history).into_iter().collect(),
            finished: Finished::default(),
            committed: Instant::now(),
        }
    }

    /// Takes the folder over: raises its fencing number and notes it, in one commit. `epoch` is one
    /// more than the last in the entries; the number is that or a higher one.
    pub fn begin(&mut self, epoch: u64, time: &str) -> Result<(), EngineError> {
        self.know_signals();
        let (tick, wall_ms) = (self.clock.now().0, self.clock.wall().as_millisecond());
        let speed = Some(self.clock.speed()).filter(|s| s.is_finite()).unwrap_or(0.0);
        let boot = super::clocks::boot_mark().filter(|_| self.clock.speed().is_finite());
        let (in_doubt, slack) = self.core.rules();
        let first = |epoch| {
            let record = EngineRecord::Started {
                in_doubt,
                slack_ns: u64::try_from(slack.as_nanos()).unwrap_or(u64::MAX),
                epoch,
                version: env!("CARGO_PKG_VERSION").to_owned(),
                time: time.to_owned(),
                speed,
                boot,
                service: self.service.is_some(),
                bars: true,
            };
            Ok::<_, EngineError>((vec![Fact::Engine(record).entry(tick, wall_ms)?], Vec::new()))
        };
        let epoch = self.journal.take_lease(&Holder::this_process(wall_ms), epoch, first)?;
        self.instruments.obey(epoch);
        self.hands.obey(epoch);
        self.committed = Instant::now();
        Ok(())
    }

    /// Keeps a document with the next commit.
    pub fn keep(&mut self, document: Document) {
        self.documents.push(document);
    }

    /// Starts a run outside of any campaign.
    pub fn start_run(&mut self, run: String, graph: Arc<Graph>) -> Result<(), EngineError> {
        let document = self.keep_graph(&graph)?;
        self.own.push_back(Event::StartRun { run, graph, document, terms: Terms::default() });
        Ok(())
    }

    /// Holds runs about which entries may be lost, until a person lets each of them go on. Call
    /// before [`Engine::recover`]: nothing of them may be sent before.
    // SAFETY(lab): an intent that was lost with the end of the journal was sent all the same.
    pub fn hold_unvouched(&mut self, runs: &[String]) {
        self.hold_before_recovery(runs, "the journal, whose end was lost");
    }

    /// Holds runs whose instruments the engine before made safe when it gave up, without being able to
    /// note it. Call before [`Engine::recover`].
    pub fn hold_given_up(&mut self, folder: &Path, before: u64) {
        let runs = last_word::left(folder, before);
        let why = "the engine before, which gave up and made its instruments safe: set them as they \
                   should be by hand, then resume";
        self.hold_before_recovery(&runs, why);
    }

    pub(super) fn hold_before_recovery(&mut self, runs: &[String], by: &str) {
        for run in runs.iter().filter(|run| self.core.run(run).is_some()) {
            let (run, by) = (run.clone(), by.to_owned());
            self.own.push_back(Event::Command { run, command: Command::Hold, by });
        }
    }

    /// Resolves what was under way when the last engine died. Call once the links are up.
    pub fn recover(&mut self, instruments_lost: bool) {
        for run in self.core.open_runs() {
            // Again: the engine before may have died before that was durable.
            self.signals.run_begins(&run.id, run.started.0);
        }
        let downtime = self.watch.downtime();
        self.own.push_back(Event::Recovered { downtime });
        if instruments_lost {
            self.own.push_back(Event::InstrumentsLost);
        }
    }

    /// Questions that the engine before had asked.
    pub fn set_questions(&mut self, questions: Questions) {
        self.questions = questions;
    }

    /// The journal, for reading while the engine rests.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Whether anything is left to do.
    pub(super) fn is_idle(&self) -> bool {
        self.own.is_empty()
            && !self.is_insisting()
            && !self.hands.is_busy()
            && self.core.open_runs().next().is_none()
            && self.searches.are_over()
    }

    pub(super) fn now(&self) -> Tick {
        Tick(self.clock.now().0)
    }

    /// Works until every run is over and every campaign has ended.
    pub async fn work(&mut self) -> Result<Finished, EngineError> {
        let worked = self.go_on().await;
        if let Err(error @ EngineError::Lapsed(_)) = &worked {
            self.instruments.lapse(&error.to_string());
        }
        worked
    }

    async fn go_on(&mut self) -> Result<Finished, EngineError> {
        self.resolve_first().await?;
        loop {
            self.beat();
            // First of all what the engine before left open is taken up: nothing may be decided
            // about a run before the core knows what became of its commands.
            self.take_own()?;
            self.look_around()?;
            self.look_at_stop()?;
            self.settle_calls()?;
            self.insist_on_safety();
            self.go_on_with_campaigns()?;
            self.commit()?;
            self.open_cleared();
            self.perform()?;
            self.perform_calls()?;
            if !self.own.is_empty() {
                continue;
            }
            if self.may_end() {
                self.note_end()?;
                self.waits_for_disk |= !self.entries.is_empty();
                self.commit()?;
                self.flush_history();
                self.close_desk();
                return Ok(self.finished.clone());
            }
            self.wait().await?;
        }
    }

    /// The engine cannot go on (the journal failed, say): sends the safe state of everything that
    /// open runs have touched, without another word in the journal, and waits a little for the
    /// instruments to confirm. Returns those that did not.
    // SAFETY(lab): a heater or pump must not be left running by an engine that gives up.
    pub async fn give_up(&mut self) -> Vec<String> {
        let runs = self.core.open_runs();
        let touched: BTreeSet<String> = runs.flat_map(|run| run.touched.iter().cloned()).collect();
        let runs: Vec<String> = self.core.open_runs().map(|run| run.id.clone()).collect();
        last_word::leave(self.journal.folder(), self.journal.epoch(), &runs);
        self.make_safe_and_wait(touched.into_iter().collect()).await
    }

    /// Sends these safe states, and waits a little for the instruments to confirm. Returns those that
    /// did not.
    pub async fn make_safe_and_wait(&mut self, mut waiting: Vec<String>) -> Vec<String> {
        let mut refused = Vec::new();
        waiting.retain(|instrument| {
            let taken = self.instruments.safe_state(instrument).is_ok();
            if !taken {
                refused.push(instrument.clone());
            }
            taken
        });
        let confirm = async {
            while !waiting.is_empty() {
                let Some(notice) = self.notices.recv().await else { return };
                if let Notice::SafeState { instrument, confirmed: true, .. } = notice {
                    waiting.retain(|name| *name != instrument);
                }
            }
        };
        // Running out of time is told by who is still waiting.
        let _ = tokio::time::timeout(GIVE_UP_WAIT, confirm).await;
        refused.extend(waiting);
        refused
    }

    pub(super) fn take_own(&mut self) -> Result<(), EngineError> {
        for _ in 0..BATCH {
            let Some(event) = self.own.pop_front() else { break };
            self.step(event)?;
        }
        Ok(())
    }

    /// Waits for something to happen and takes all of it.
    ///
    /// Cancel safety: `recv`, the sleep and the set of thoughts lose nothing when dropped.
    async fn wait(&mut self) -> Result<(), EngineError> {
        let wake =
            self.core.next_wake().into_iter().chain(self.hands.due()).chain(self.bars.due()).min();
        let clock = self.clock.clone();
        let sleep = async {
            match wake {
                Some(tick) => clock.sleep_until(crate::wire::Tick(tick.0)).await,
                None => std::future::pending().await,
            }
        };
        let look = async {
            match clock.speed().is_finite() {
                true => tokio::time::sleep(self.watch.next()).await,
                // A clock that jumps to the next timer must not find one here.
                false => std::future::pending().await,
            }
        };
        // Beats for as long as the engine waits here, which it does whenever it is well.
        let health = self.health.clone();
        let beating = async {
            if !clock.speed().is_finite() {
                std::future::pending::<()>().await;
            }
            loop {
                health.beat();
                tokio::time::sleep(BEAT_EVERY).await;
            }
        };
        tokio::select! {
            biased;
            // An error would mean that the emergency stop is gone, which the engine itself keeps.
            _ = self.stop_seen.changed() => {
                self.stop_seen.mark_changed();
                self.look_at_stop()?;
            }
            Some(request) = self.controls.next() => self.take_request(request)?,
            notice = self.notices.recv() => match notice {
                Some(notice) => self.take_notice(notice)?,
                None => return Err(EngineError::Deserted),
            },
            event = self.analyses.next() => self.step(event)?,
            thought = self.searches.thought() => self.take_thought(thought)?,
            happened = Service::next(&mut self.service) => self.take_happened(happened)?,
            () = sleep => self.step(Event::Wake)?,
            () = look => {}
            () = beating => {}
        }
        for _ in 0..BATCH {
            match self.notices.try_recv() {
                Ok(notice) => self.take_notice(notice)?,
                Err(_) => break,
            }
        }
        Ok(())
    }

    pub(super) fn take_notice(&mut self, notice: Notice) -> Result<(), EngineError> {
        if let Notice::Outcome { attempt, outcome } = &notice {
            self.take_answer(attempt, outcome);
        }
        self.heed_notice(&notice)?;
        match self.translate(notice) {
            Some(event) => self.step(event),
            None => Ok(()),
        }
    }

    /// One event through the core; its records and actions are collected for the next commit.
    pub(super) fn step(&mut self, event: Event) -> Result<(), EngineError> {
        // Whatever was heard while the engine stood still is judged only after it knows that it did.
        if self.overslept() {
            self.look_around()?;
        }
        let now = self.now();
        let output = self.core.step(event, now);
        if let Some(basis) = output.basis {
            self.note_at(Fact::Basis(basis), now)?;
        }
        for mut record in output.records {
            self.tell(&record);
            self.overhear(&record);
            if let Record::Resolved { run, step, trace, .. } = &mut record {
                *trace = self.witness_trace(run, &step.key, Vec::new());
            }
            if let Record::RunStarted { run, .. } = &record {
                self.signals.run_begins(run, now.0);
            }
            let over = match &record {
                Record::RunEnded { run, ending, cause, not_confirmed } => {
                    self.signals.run_ends(run, now.0);
                    Some((run.clone(), *ending, cause.clone(), not_confirmed.clone()))
                }
                _ => None,
            };
            let unsafe_now = match &record {
                Record::MadeSafe { run, instrument, confirmed: false, .. } => {
                    Some((instrument.clone(), run.clone()))
                }
                _ => None,
            };
            self.note_at(Fact::Run(record), now)?;
            if let Some((instrument, run)) = unsafe_now {
                self.note_at(Fact::Engine(EngineRecord::Barred { instrument, run }), now)?;
            }
            if let Some((run, ending, cause, not_confirmed)) = over {
                self.witnessed.retain(|(of, _), _| *of != run);
                self.run_over(&run, ending, cause, not_confirmed)?;
            }
        }
        self.actions.extend(output.actions);
        if let Some(runs) = output.parked {
            self.told(Progress::Parked { runs });
        }
        self.desk.hear(output.replies);
        Ok(())
    }

    pub(super) fn note(&mut self, fact: Fact) -> Result<(), EngineError> {
        let now = self.now();
        self.note_at(fact, now)
    }

    /// Notes what was decided at `now`, which may be a moment ago: a replay decides at the tick of
    /// the entry.
    fn note_at(&mut self, mut fact: Fact, now: Tick) -> Result<(), EngineError> {
        self.waits_for_disk |= !matches!(fact, Fact::Basis(_));
        if let Fact::Run(record) = &mut fact {
            bulk::keep(record, self.journal.files())?;
        }
        let wall_ms = self.clock.wall().as_millisecond();
        self.entries.push(fact.entry(now.0, wall_ms)?);
        Ok(())
    }

    /// Keeps a graph with the next commit; the hash it is found by. (The graph's own hash leaves
    /// out the places in files, this one covers the whole text.)
    pub(super) fn keep_graph(&mut self, graph: &Graph) -> Result<String, EngineError> {
        let document = Document::new("graph", serde_json::to_string(graph)?);
        let hash = document.hash.clone();
        self.documents.push(document);
        self.documents.extend(analyses::scripts(graph));
        Ok(hash)
    }

    /// Makes everything noted so far durable, then tells the observer.
    pub(super) fn commit(&mut self) -> Result<(), EngineError> {
        // What decisions rest on need not be durable before they are: it goes with the next record.
        let wait = !self.waits_for_disk && self.entries.len() < BASIS_MAX;
        if !(wait && self.documents.is_empty()) {
            if !self.entries.is_empty() {
                self.look_at_disk()?;
            }
            self.journal.append(&self.entries, &self.documents)?;
            if !self.entries.is_empty() {
                self.committed = Instant::now();
            }
            self.entries.clear();
            self.waits_for_disk = false;
        }
        self.documents.clear();
        for told in std::mem::take(&mut self.told) {
            (self.observer)(&told);
        }
        self.reply();
        Ok(())
    }

    /// Performs the actions whose records are durable now.
    fn perform(&mut self) -> Result<(), EngineError> {
        // SAFETY(lab): a process that was stopped after its commit may be overtaken by the time it
        // goes on. (What is overtaken between this line and the wire only the instrument can tell.)
        if !self.actions.is_empty() && self.committed.elapsed() > LEASE_FRESH {
            self.journal.check_lease()?;
        }
        if self.clock.speed().is_finite() {
            self.health.beat();
        }
        for action in std::mem::take(&mut self.actions) {
            self.perform_one(action);
        }
        Ok(())
    }

    pub(super) fn told(&mut self, progress: Progress) {
        self.told.push(progress);
    }
}
