//! Schedules whose runs a campaign starts: `engine::campaign` decides, a planner answers at once.
//!
//! The shell around it is that of the product: what a run came to stands in the same commit as its
//! end, and a new engine takes the campaign up from its records.

use std::collections::{BTreeMap, BTreeSet};

use labloop::engine::campaign::{
    Campaign, CampaignRecord, Conclusion, Decision, Hypothesis, Rules, verdict,
};
use labloop::engine::core::{Ending, Event, Record, Tick};
use labloop::expr::Value;

use super::disk::Entry;
use super::engine::{Engine, hashed};
use super::oracle::{Broken, Law};
use super::rng::Rng;
use super::schedule::Schedule;

/// Name of the campaign.
const NAME: &str = "c";

/// What the journal says of the campaign.
#[derive(Debug, Default)]
pub struct Search {
    runs: BTreeMap<u32, Vec<String>>,
    over: BTreeSet<String>,
    concluded: BTreeSet<u32>,
    /// It is over.
    pub ended: bool,
}

impl Schedule<'_> {
    fn rules(&self) -> Rules {
        let mut rng = Rng::new(self.config.seed, 0x7275_6c65);
        Rules {
            experiments: rng.between(2, 4) as u32,
            parallel: rng.between(1, 2) as u32,
            batch: rng.between(1, 2) as u32,
            replicates: 1,
            pause_after: rng.between(0, 2) as u32,
            ..Rules::unbounded()
        }
    }

    /// The campaign as the journal has it.
    pub(super) fn campaign_replayed<'a>(
        &'a self,
        more: impl Iterator<Item = (Tick, &'a Entry)>,
    ) -> Option<Campaign> {
        if !self.searching {
            return None;
        }
        let mut campaign = Campaign::new(NAME.to_owned(), self.rules());
        let lines = self.disk.lines.iter().map(|l| (l.tick, &l.entry));
        for (tick, entry) in lines.chain(more) {
            if let Entry::Campaign(record) = entry {
                campaign.apply(record, tick);
            }
        }
        Some(campaign)
    }

    /// The first word of an engine on the campaign.
    pub(super) fn take_up(&mut self, engine: &mut Engine, now: Tick) {
        let begun = |l: &super::disk::Line| matches!(l.entry, Entry::Campaign(_));
        let record = match self.disk.lines.iter().any(begun) {
            true => CampaignRecord::Resumed { version: "simulated".to_owned() },
            false => CampaignRecord::Started {
                name: NAME.to_owned(),
                bundle: String::new(),
                seed: self.config.seed,
                experiments: self.rules().experiments,
                version: "simulated".to_owned(),
                parameters: BTreeMap::new(),
                key: None,
            },
        };
        // What has ended stays so; nobody asked for more.
        if engine.search.as_ref().is_some_and(|c| c.ended.is_none()) {
            engine.note(record, now);
        }
    }

    /// Lets the campaign decide until there is nothing it can do now.
    pub(super) fn go_on_with_campaign(&mut self, epoch: u64) {
        loop {
            let Some(engine) = self.engines.get_mut(&epoch) else { return };
            let now = engine.tick(self.now);
            let Some(campaign) = &engine.search else { return };
            match campaign.decide(now) {
                None => return,
                Some(Decision::Propose(count)) => {
                    for _ in 0..count {
                        let next = engine.search.as_ref().map_or(0, |c| c.experiments.len()) + 1;
                        let record = CampaignRecord::Proposed {
                            experiment: next as u32,
                            hypothesis: hypothesis(next as u64),
                        };
                        engine.note(record, now);
                    }
                }
                Some(Decision::StartRun { experiment, run }) => {
                    let mut rng = Rng::new(self.config.seed, u64::from(experiment));
                    let recipe = rng.below(self.pool.len() as u64) as usize;
                    let assigned = CampaignRecord::Assigned { experiment, run: run.clone() };
                    engine.note(assigned, now);
                    let graph = std::sync::Arc::clone(&self.pool[recipe].graph);
                    let (document, terms) = (recipe.to_string(), Default::default());
                    let start = Event::StartRun { run: run.clone(), graph, document, terms };
                    engine.step(start, now);
                    self.oracle.recipes.insert(run.clone(), recipe);
                    if !self.runs.iter().any(|(known, _)| *known == run) {
                        self.runs.push((run, recipe));
                    }
                }
                Some(Decision::Conclude { experiment, conclusion }) => {
                    let verdict = verdict(&hypothesis(0), &[], &conclusion);
                    engine.note(CampaignRecord::Concluded { experiment, conclusion, verdict }, now);
                }
                Some(Decision::End(reason)) => {
                    engine.note(CampaignRecord::Ended { reason }, now);
                }
            }
        }
    }

    /// A fact about the campaign is durable.
    pub(super) fn take_campaign(&mut self, record: &CampaignRecord) {
        let search = &mut self.search;
        let how = match record {
            CampaignRecord::Resumed { .. } => {
                search.ended = false;
                None
            }
            CampaignRecord::Proposed { experiment, .. } => {
                search.runs.insert(*experiment, Vec::new()).map(|_| format!("{experiment} twice"))
            }
            CampaignRecord::Assigned { experiment, run } => {
                let runs = search.runs.entry(*experiment).or_default();
                let open = runs.iter().any(|before| !search.over.contains(before));
                let twice = runs.contains(run);
                runs.push(run.clone());
                (open || twice).then(|| format!("{run} begins before the one before is over"))
            }
            CampaignRecord::RunOver { experiment, run, ending, results, .. } => {
                let known = search.runs.get(experiment).is_some_and(|all| all.contains(run));
                let first = search.over.insert(run.clone());
                let facts = self.oracle.runs.get(run);
                let same = facts.is_some_and(|f| {
                    f.ended.as_ref().is_some_and(|(e, _)| e == ending)
                        && (*ending != Ending::Complete || numbers(f.results()) == *results)
                });
                (!known || !first || !same)
                    .then(|| format!("{run}: known {known}, first {first}, as it ended {same}"))
            }
            CampaignRecord::Concluded { experiment, conclusion, .. } => {
                let first = search.concluded.insert(*experiment);
                let runs = search.runs.get(experiment).cloned().unwrap_or_default();
                let fits = match conclusion {
                    Conclusion::Measured { results } => runs.iter().any(|run| {
                        self.oracle.runs.get(run).is_some_and(|f| {
                            f.body == Some(Ending::Complete) && numbers(f.results()) == *results
                        })
                    }),
                    Conclusion::Failed { .. } => true,
                };
                (!first || !fits).then(|| format!("{experiment}: first {first}, fits {fits}"))
            }
            CampaignRecord::Ended { .. } => {
                search.ended = true;
                let open = search.runs.values().flatten().any(|run| !search.over.contains(run));
                open.then(|| "the campaign is over and a run of it is not".to_owned())
            }
            _ => None,
        };
        if let Some(how) = how {
            self.judge(Err(Broken { law: Law::NothingLost, how: format!("campaign: {how}") }));
        }
    }

    /// The campaign of a live engine against the one from its records.
    pub(super) fn compare_campaign(&mut self, engine: &Engine) {
        let unwritten = engine.unwritten();
        let again = self.campaign_replayed(unwritten);
        if hashed(&engine.search) != hashed(&again) {
            let how = "the campaign after replay is not what it was".to_owned();
            self.judge(Err(Broken { law: Law::ReplayIsLive, how }));
        }
    }
}

impl Engine {
    /// A fact about the campaign, for the next commit.
    fn note(&mut self, record: CampaignRecord, now: Tick) {
        if let Some(search) = &mut self.search {
            search.apply(&record, now);
        }
        self.push(now, Entry::Campaign(Box::new(record)));
    }

    /// What the end of a run is to the campaign.
    pub(super) fn run_over(&mut self, record: &Record, now: Tick) {
        let Record::RunEnded { run, ending, cause, .. } = record else { return };
        let Some(experiment) = self.search.as_ref().and_then(|c| c.experiment_of(run)) else {
            return;
        };
        let results = match (*ending, self.core.run(run)) {
            (Ending::Complete, Some(found)) => numbers(&found.results),
            _ => BTreeMap::new(),
        };
        let (run, ending, cause) = (run.clone(), *ending, cause.clone());
        let record = CampaignRecord::RunOver { experiment, run, ending, cause, results };
        self.note(record, now);
    }
}

fn numbers(results: &BTreeMap<String, Value>) -> BTreeMap<String, f64> {
    let number =
        |(name, value): (&String, &Value)| Some((name.clone(), value.as_quantity()?.value));
    results.iter().filter_map(number).collect()
}

fn hypothesis(suggestion: u64) -> Hypothesis {
    Hypothesis {
        suggestion,
        parameters: BTreeMap::new(),
        predictions: BTreeMap::new(),
        probability_of_improvement: None,
        probability_feasible: None,
        reason: String::new(),
    }
}
