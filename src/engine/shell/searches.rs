//! Campaigns of an engine: several at once, each with its own planner, compiler and goal.
//!
//! Planners think on threads of their own, a bounded number at a time; a campaign whose planner
//! fails ends and leaves the others alone. Runs of all campaigns share the instruments; the core
//! decides who gets them.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::brain::{Brain, BrainError, Compile, Goal, Proposal};
use super::engine::{Engine, EngineError};
use super::entries::Fact;
use super::instruments::Instruments;
use super::perform::progress_of_campaign;
use super::progress::Progress;
use super::serving::{Service, instruments_of};
use super::thinking::{Thinking, Turn};
use crate::compiler::graph::Graph;
use crate::driver::panic_text;
use crate::engine::campaign::{
    Campaign, CampaignRecord, Conclusion, Decision, EndReason, Hypothesis, verdict,
};
use crate::engine::core::{Ending, Event, Phase, Terms, Tick};

/// Planners that think at the same time: a fit may take all of a core for a minute, and cores are
/// few. On a clock that jumps one at a time, so that their answers come in one fixed order.
const THINKING_AT_ONCE: usize = 2;
/// Campaigns that can be open at once.
pub const CAMPAIGNS_MAX: usize = 32;
/// Ends of campaigns that are remembered; an engine may run for months.
const FINISHED_MAX: usize = 256;

/// A campaign, ready to be run.
pub struct SearchSetup {
    /// Its state.
    pub machine: Campaign,
    /// Its planner.
    pub brain: Box<dyn Brain>,
    /// Compiles its protocol.
    pub compile: Compile,
    /// Its stop conditions.
    pub goal: Goal,
    /// Results that its hypotheses predict.
    pub objectives: Vec<String>,
    /// What its runs are given beside their graphs.
    pub terms: Terms,
    /// How it begins or goes on; `None` for one that is over and whose last runs are not.
    pub begin: Option<CampaignRecord>,
}

/// A campaign being run.
pub(super) struct Search {
    pub(super) machine: Campaign,
    /// Away while it thinks.
    brain: Option<Box<dyn Brain>>,
    thinking: bool,
    compile: Compile,
    goal: Goal,
    objectives: Vec<String>,
    terms: Terms,
    /// Which of the thoughts begun so far was its last.
    thought: u64,
    /// Instruments of its next run, while one of them is not there.
    awaits: BTreeSet<String>,
}

/// What a planner came back with.
pub(super) struct Thought {
    pub(super) campaign: String,
    /// Which of the thoughts begun so far it is.
    pub(super) turn: u64,
    /// Lost if it panicked, or was given up.
    pub(super) brain: Option<Box<dyn Brain>>,
    pub(super) proposal: Result<Proposal, BrainError>,
}

/// All campaigns, in order of their arrival.
pub(super) struct Searches {
    all: Vec<Search>,
    thoughts: Thinking,
    begun: u64,
}

/// How a campaign ended.
#[derive(Debug, Clone, PartialEq)]
pub struct CampaignEnd {
    /// Campaign.
    pub campaign: String,
    /// Why.
    pub reason: EndReason,
}

/// How the engine's work ended.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Finished {
    /// Campaigns that ended, in that order; the last few hundred of them.
    pub campaigns: Vec<CampaignEnd>,
    /// How the last run of each of them ended.
    pub last_runs: BTreeMap<String, Ending>,
    /// Instruments not confirmed safe at the end of any run.
    pub not_confirmed: Vec<String>,
    /// Who pressed the emergency stop, if anybody did.
    pub stopped: Option<String>,
}

impl Finished {
    /// Why a campaign ended.
    pub fn reason(&self, campaign: &str) -> Option<&EndReason> {
        self.campaigns.iter().rev().find(|c| c.campaign == campaign).map(|c| &c.reason)
    }

    fn note(&mut self, campaign: &str, reason: &EndReason) {
        if self.campaigns.len() >= FINISHED_MAX {
            let oldest = self.campaigns.remove(0);
            self.last_runs.remove(&oldest.campaign);
        }
        let (campaign, reason) = (campaign.to_owned(), reason.clone());
        self.campaigns.push(CampaignEnd { campaign, reason });
    }
}

impl Searches {
    pub(super) fn new() -> Searches {
        Searches { all: Vec::new(), thoughts: Thinking::new(), begun: 0 }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Search> {
        self.all.iter()
    }

    pub(super) fn get(&self, id: &str) -> Option<&Search> {
        self.all.iter().find(|s| s.machine.id == id)
    }

    fn get_mut(&mut self, id: &str) -> Option<&mut Search> {
        self.all.iter_mut().find(|s| s.machine.id == id)
    }

    /// Whether none of them has anything left to decide.
    pub(super) fn are_over(&self) -> bool {
        self.all.iter().all(|s| s.machine.ended.is_some())
    }

    /// Campaign and experiment a run belongs to.
    fn of_run(&self, run: &str) -> Option<(String, u32)> {
        let mut all = self.all.iter();
        all.find_map(|s| Some((s.machine.id.clone(), s.machine.experiment_of(run)?)))
    }

    /// The next planner that comes back.
    ///
    /// Cancel safety: a thought stays in the set until it is taken.
    pub(super) async fn thought(&mut self) -> Result<Thought, BrainError> {
        self.thoughts.next().await
    }

    /// Forgets campaigns that are over, with their runs.
    fn forget_ended(&mut self) {
        let over =
            |s: &Search| s.machine.ended.is_some() && s.machine.active_runs() == 0 && !s.thinking;
        self.all.retain(|s| !over(s));
    }

    /// Ids in the order in which they may decide: whoever thought longest ago comes first, so that
    /// none waits for ever while planners are few.
    fn in_turn(&self) -> Vec<String> {
        let mut turns: Vec<(u64, &str)> =
            self.all.iter().map(|s| (s.thought, s.machine.id.as_str())).collect();
        turns.sort_by_key(|(thought, _)| *thought);
        turns.into_iter().map(|(_, id)| id.to_owned()).collect()
    }
}

/// Calls what belongs to one campaign; if it panics, that campaign pays and nobody else.
pub(super) fn guarded<T>(what: &str, call: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(call))
        .map_err(|panic| format!("{what} panicked: {}", panic_text(panic.as_ref())))
}

/// Tells a planner of an experiment. What it cannot use (a result that is missing, or no number) is
/// a failed experiment, and no reason to end the campaign.
pub(super) fn learn(
    brain: &mut dyn Brain,
    hypothesis: &Hypothesis,
    conclusion: Conclusion,
) -> (Conclusion, Result<(), String>) {
    let mut tell = |conclusion: &Conclusion| {
        guarded("the planner", || brain.learn(hypothesis, conclusion))
            .and_then(|learnt| learnt.map_err(|error| error.0))
    };
    match (tell(&conclusion), &conclusion) {
        (Err(why), Conclusion::Measured { .. }) => {
            let failed = Conclusion::Failed { cause: format!("it cannot be learnt from: {why}") };
            let learnt = tell(&failed);
            (failed, learnt)
        }
        (learnt, _) => (conclusion, learnt),
    }
}

impl<I: Instruments> Engine<I> {
    /// Gives the engine a campaign, beside those it has.
    ///
    /// Errors: too many are open, or one of that name is.
    pub fn add_campaign(&mut self, setup: SearchSetup) -> Result<(), EngineError> {
        let SearchSetup { mut machine, brain, compile, goal, objectives, terms, begin } = setup;
        if self.searches.get(&machine.id).is_some_and(|s| s.machine.ended.is_none()) {
            return Err(EngineError::Campaign(format!("{} is already open", machine.id)));
        }
        let open = self.searches.iter().filter(|s| s.machine.ended.is_none()).count();
        if open >= CAMPAIGNS_MAX {
            let why = format!("{open} campaigns are open, and more than that are not taken");
            return Err(EngineError::Campaign(why));
        }
        let id = machine.id.clone();
        self.searches.all.retain(|s| s.machine.id != id);
        if let Some(begin) = begin {
            machine.apply(&begin, self.now());
            self.note(Fact::Campaign(id, begin))?;
        }
        self.searches.all.push(Search {
            machine,
            brain: Some(brain),
            thinking: false,
            compile,
            goal,
            objectives,
            terms,
            thought: 0,
            awaits: BTreeSet::new(),
        });
        Ok(())
    }

    /// Goes on with another planner, space and bounds; the state stays.
    pub(super) fn change_campaign(&mut self, setup: SearchSetup) {
        self.searches.begun += 1;
        let turn = self.searches.begun;
        let Some(search) = self.searches.get_mut(&setup.machine.id) else { return };
        search.machine.rules = setup.machine.rules;
        search.machine.proposing = false;
        search.brain = Some(setup.brain);
        search.thinking = false;
        search.compile = setup.compile;
        search.goal = setup.goal;
        search.objectives = setup.objectives;
        search.terms = setup.terms;
        search.thought = turn;
    }

    /// How long a planner may think, in wall time, before it is given up and its campaign ends.
    pub fn set_patience_with_planners(&mut self, patience: Duration) {
        self.searches.thoughts.set_patience(patience);
    }

    /// Campaigns, for reading while the engine rests.
    pub fn campaigns(&self) -> impl Iterator<Item = &Campaign> {
        self.searches.iter().map(|s| &s.machine)
    }

    /// A campaign by name, for reading while the engine rests.
    pub fn campaign(&self, id: &str) -> Option<&Campaign> {
        self.searches.get(id).map(|s| &s.machine)
    }

    /// Lets every campaign decide until there is nothing it can do now.
    pub(super) fn go_on_with_campaigns(&mut self) -> Result<(), EngineError> {
        // What would be started now could not be written down.
        if self.watch.disk_is_low() {
            return Ok(());
        }
        for id in self.searches.in_turn() {
            while self.go_on_with(&id)? {}
        }
        if self.service.is_some() {
            self.searches.forget_ended();
        }
        Ok(())
    }

    /// One decision of one campaign; false if there is none now.
    fn go_on_with(&mut self, id: &str) -> Result<bool, EngineError> {
        let now = self.now();
        let thinkers = if self.clock.speed().is_finite() { THINKING_AT_ONCE } else { 1 };
        // Nothing new begins before the emergency stop is cleared, or once the service leaves.
        let stopped = self.is_stopped() || self.service.as_ref().is_some_and(Service::is_quiet);
        let room = self.searches.thoughts.len() < thinkers;
        let Some(search) = self.searches.get(id) else { return Ok(false) };
        let Some(decision) = search.machine.decide(now) else { return Ok(false) };
        let thinks = search.brain.is_none();
        match decision {
            Decision::Propose(_) | Decision::StartRun { .. } if stopped => return Ok(false),
            Decision::Propose(_) if !room || thinks => return Ok(false),
            Decision::Propose(count) => {
                let jumps = !self.clock.speed().is_finite();
                self.searches.begin_thought(id, count, jumps);
                return Ok(false);
            }
            Decision::StartRun { .. } if self.still_waits(id) => return Ok(false),
            Decision::StartRun { experiment, run } => self.assign(id, experiment, run)?,
            Decision::Conclude { experiment, conclusion } => {
                if thinks {
                    // The brain is thinking; it learns when it is back.
                    return Ok(false);
                }
                self.conclude(id, experiment, conclusion)?;
            }
            Decision::End(reason) => self.end_campaign(id, reason)?,
        }
        Ok(true)
    }

    fn assign(&mut self, id: &str, experiment: u32, run: String) -> Result<(), EngineError> {
        let Some(search) = self.searches.get(id) else { return Ok(()) };
        let Some(found) = search.machine.experiment(experiment) else { return Ok(()) };
        let terms = search.terms.clone();
        let compiled = guarded("the compiler", || (search.compile)(&found.hypothesis.parameters));
        match compiled.and_then(|graph| graph) {
            Ok(graph) if self.must_wait(id, &graph) => Ok(()),
            Ok(graph) => {
                let document = self.keep_graph(&graph)?;
                let record = CampaignRecord::Assigned { experiment, run: run.clone() };
                self.note_campaign(id, record)?;
                self.told(Progress::RunStarted {
                    run: run.clone(),
                    expected_s: crate::scheduler::expected_duration(&graph).as_secs_f64(),
                });
                self.start(run, graph, document, terms)
            }
            Err(why) => {
                let cause = format!("the protocol does not compile for its parameters: {why}");
                self.conclude(id, experiment, Conclusion::Failed { cause })
            }
        }
    }

    /// A service starts a run once all its instruments are there, however late they come.
    fn must_wait(&mut self, id: &str, graph: &Graph) -> bool {
        if self.service.is_none() {
            return false;
        }
        let needed = instruments_of(graph);
        if self.missing_of(&needed).is_empty() {
            return false;
        }
        if let Some(search) = self.searches.get_mut(id) {
            search.awaits = needed;
        }
        self.still_waits(id)
    }

    /// Whether an instrument that kept a run from starting is still missing; says which.
    fn still_waits(&mut self, id: &str) -> bool {
        let Some(search) = self.searches.get_mut(id) else { return false };
        if search.awaits.is_empty() {
            return false;
        }
        let needed = std::mem::take(&mut search.awaits);
        let missing = self.missing_of(&needed);
        self.say_missing(&missing);
        let waits = !missing.is_empty();
        if let Some(search) = self.searches.get_mut(id).filter(|_| waits) {
            search.awaits = needed;
        }
        waits
    }

    fn start(
        &mut self,
        run: String,
        graph: Arc<Graph>,
        document: String,
        terms: Terms,
    ) -> Result<(), EngineError> {
        self.step(Event::StartRun { run, graph, document, terms })
    }

    fn conclude(
        &mut self,
        id: &str,
        experiment: u32,
        conclusion: Conclusion,
    ) -> Result<(), EngineError> {
        let Some(search) = self.searches.get_mut(id) else { return Ok(()) };
        let Some(found) = search.machine.experiment(experiment) else { return Ok(()) };
        let hypothesis: Hypothesis = found.hypothesis.clone();
        let excluded = found.excluded.is_some();
        let (conclusion, learnt) = match search.brain.as_mut() {
            Some(brain) if excluded => {
                brain.pass_over(&hypothesis);
                (conclusion, Ok(()))
            }
            Some(brain) => learn(brain.as_mut(), &hypothesis, conclusion),
            None => (conclusion, Ok(())),
        };
        let verdict = verdict(&hypothesis, &search.objectives, &conclusion);
        self.note_campaign(id, CampaignRecord::Concluded { experiment, conclusion, verdict })?;
        if let Err(why) = learnt {
            return self.fail_campaign(id, &why);
        }
        let goal = self
            .searches
            .get(id)
            .map(|s| guarded("the stop condition", || (s.goal)(&s.machine.experiments)));
        match goal {
            Some(Ok(Some(goal))) => self.end_campaign(id, EndReason::Goal(goal)),
            Some(Err(why)) => self.fail_campaign(id, &why),
            Some(Ok(None)) | None => Ok(()),
        }
    }

    /// Ends a campaign whose planner failed; its runs under way go on to their ends, and so do all
    /// other campaigns.
    fn fail_campaign(&mut self, id: &str, why: &str) -> Result<(), EngineError> {
        let reason = format!("the planner cannot go on: {why}");
        tracing::error!(campaign = id, %why, "the planner of a campaign cannot go on");
        self.end_campaign(id, EndReason::Internal(reason))
    }

    pub(super) fn end_campaign(&mut self, id: &str, reason: EndReason) -> Result<(), EngineError> {
        if self.searches.get(id).is_some_and(|s| s.machine.ended.is_none()) {
            self.note_campaign(id, CampaignRecord::Ended { reason })?;
        }
        Ok(())
    }

    pub(super) fn take_thought(
        &mut self,
        thought: Result<Thought, BrainError>,
    ) -> Result<(), EngineError> {
        let Thought { campaign: id, turn, brain, proposal } = thought?;
        let Some(search) = self.searches.get_mut(&id) else { return Ok(()) };
        if search.thought != turn {
            // The campaign was changed meanwhile: that planner's answer is worth nothing any more.
            return Ok(());
        }
        search.thinking = false;
        search.brain = brain;
        search.machine.proposing = false;
        if search.machine.ended.is_some() {
            return Ok(());
        }
        let first = u32::try_from(search.machine.experiments.len()).unwrap_or(u32::MAX);
        match proposal {
            Ok(Proposal::Experiments(list)) => {
                for (experiment, hypothesis) in (first.saturating_add(1)..).zip(list) {
                    self.note_campaign(&id, CampaignRecord::Proposed { experiment, hypothesis })?;
                }
                Ok(())
            }
            Ok(Proposal::Exhausted(why)) => self.end_campaign(&id, EndReason::SpaceExhausted(why)),
            Err(error) => self.fail_campaign(&id, &error.0),
        }
    }

    pub(super) fn note_campaign(
        &mut self,
        id: &str,
        record: CampaignRecord,
    ) -> Result<(), EngineError> {
        let now: Tick = self.now();
        let Some(search) = self.searches.get_mut(id) else { return Ok(()) };
        search.machine.apply(&record, now);
        if let CampaignRecord::Ended { reason } = &record {
            self.finished.note(id, reason);
        }
        if let Some(progress) = progress_of_campaign(id, &record) {
            self.told(progress);
        }
        self.note(Fact::Campaign(id.to_owned(), record))
    }

    /// A run is over: its campaign learns of it.
    pub(super) fn run_over(
        &mut self,
        run: &str,
        ending: Ending,
        cause: String,
        not_confirmed: Vec<String>,
    ) -> Result<(), EngineError> {
        for instrument in not_confirmed {
            if !self.finished.not_confirmed.contains(&instrument) {
                self.finished.not_confirmed.push(instrument);
            }
        }
        let results = self.results_of(run);
        if let Some((id, experiment)) = self.searches.of_run(run) {
            self.finished.last_runs.insert(id.clone(), ending);
            let follows =
                self.campaign(&id).and_then(|campaign| campaign.follows(run, ending, &cause));
            let run = run.to_owned();
            let record = CampaignRecord::RunOver { experiment, run, ending, cause, results };
            self.note_campaign(&id, record)?;
            if let Some(record) = follows {
                self.note_campaign(&id, record)?;
            }
        }
        self.core.forget(run);
        self.analyses.forget(run);
        Ok(())
    }

    /// Results of a run in the units its protocol gives them.
    fn results_of(&self, run: &str) -> BTreeMap<String, f64> {
        let Some(run) = self.core.run(run).filter(|r| r.phase == Phase::Over) else {
            return BTreeMap::new();
        };
        let mut results = BTreeMap::new();
        for spec in &run.graph.results {
            let value = run.results.get(&spec.name);
            if let Some(number) = value.and_then(|v| super::perform::in_unit(v, &spec.unit)) {
                results.insert(spec.name.clone(), number);
            }
        }
        results
    }
}

impl Searches {
    /// Lets a planner think on a thread of its own.
    fn begin_thought(&mut self, id: &str, count: u32, jumps: bool) {
        self.begun += 1;
        let number = self.begun;
        let Some(search) = self.get_mut(id) else { return };
        let Some(brain) = search.brain.take() else { return };
        search.machine.proposing = true;
        search.thinking = true;
        search.thought = number;
        let campaign = id.to_owned();
        self.thoughts.begin(Turn { campaign, number, count }, brain, jumps);
    }
}
