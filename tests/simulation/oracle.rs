//! What must be true, whatever happens: an account kept from outside.
//!
//! It reads what is durable in the journal, what reaches the wire, and what the instruments did; it
//! asks no code of the engine. Entries are taken once they are durable, in their order.

use std::collections::{BTreeMap, BTreeSet};

use labloop::engine::core::{Ending, Record, Resolution, StepKey};
use labloop::expr::Value;

use super::protocols::Recipe;
use super::world::{Class, Tag, Truth, Unit, What};

/// Laws, named as a failing schedule names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Law {
    /// Nothing is sent before its intent is durable, and no command that counts twice without a
    /// durable word, of a witness or a person, that the first had no effect.
    NotTwice,
    /// What was durable is in the final state; every completed run has its results; each effect
    /// that an instrument counted is accounted for.
    NothingLost,
    /// Every exit leaves what the run started in its safe state, or says which is not.
    SafeExit,
    /// Nothing is sent by an engine whose epoch has lapsed.
    OneEngine,
    /// Every run ends, or waits for a reason that has a name.
    EndsOrWaits,
    /// State rebuilt from the records is the state that was; the same seed gives the same journal.
    ReplayIsLive,
    /// What one run holds, no other touches.
    OneRunAtATime,
    /// What was not confirmed safe at the end of a run is told nothing by a run until it is,
    /// and neither is what a person has taken out.
    KeptBack,
}

/// A law that was broken.
#[derive(Debug, Clone)]
pub struct Broken {
    /// Which.
    pub law: Law,
    /// How.
    pub how: String,
}

type Verdict = Result<(), Broken>;

fn broken(law: Law, how: String) -> Verdict {
    Err(Broken { law, how })
}

/// What the journal says of one attempt.
#[derive(Debug, Clone, PartialEq)]
enum Word {
    Open,
    Done(Option<Value>),
    NoEffect,
    Unknown,
    Discarded,
}

#[derive(Debug, Clone)]
struct Try {
    intent: usize,
    attempt: u32,
    unit: String,
    what: What,
    word: Word,
}

/// What the journal says of one run.
#[derive(Debug, Default)]
pub struct Facts {
    /// Which recipe.
    pub recipe: usize,
    tries: BTreeMap<StepKey, Vec<Try>>,
    paths: BTreeMap<StepKey, String>,
    /// Tries of blocks that a person had run again.
    forgotten: Vec<(String, Try)>,
    /// Open questions: the number, the options.
    pub questions: BTreeMap<StepKey, (u32, Vec<String>)>,
    /// How its body ended.
    pub body: Option<Ending>,
    results: BTreeMap<String, Value>,
    /// How it ended, and what was not confirmed safe.
    pub ended: Option<(Ending, Vec<String>)>,
    /// Instruments that a hold led to their hold states.
    to_hold: BTreeSet<String>,
    /// The last state it was told to be in, by name; for reasons to wait.
    pub state: String,
}

/// The account.
#[derive(Debug, Default)]
pub struct Oracle {
    /// By run.
    pub runs: BTreeMap<String, Facts>,
    /// Entries taken so far.
    pub seen: usize,
    /// Conditions that are waited for.
    pub watching: BTreeSet<(String, StepKey)>,
    /// Intents whose bytes went out.
    sent: BTreeSet<usize>,
    /// What people said: run, path, answer, who.
    pub given: BTreeSet<(String, String, String, String)>,
    /// Steps of which a person said what is not so.
    pub excused: BTreeSet<(String, String)>,
    /// Instruments that were not confirmed safe at the end of a run, and the entry that says so.
    pub barred: BTreeMap<String, usize>,
    /// Instruments in a person's hands, and the entry that says so.
    pub taken: BTreeMap<String, usize>,
    /// Which recipe each run is of.
    pub recipes: BTreeMap<String, usize>,
}

impl Oracle {
    /// An entry is durable.
    pub fn take(
        &mut self,
        line: usize,
        record: &Record,
        pool: &[Recipe],
        units: &[Unit],
    ) -> Verdict {
        let id = record.run().to_owned();
        if let Record::RunStarted { .. } = record {
            let recipe = self.recipes.get(&id).copied().unwrap_or_default();
            if self.runs.insert(id.clone(), Facts { recipe, ..Facts::default() }).is_some() {
                return broken(Law::ReplayIsLive, format!("{id} was started twice"));
            }
            return Ok(());
        }
        let Some(facts) = self.runs.get_mut(&id) else {
            return broken(Law::NothingLost, format!("a record of {id}, which never started"));
        };
        match record {
            Record::Intent { step, attempt, instrument, action, args, .. } => {
                if facts.ended.is_some() {
                    return broken(Law::SafeExit, format!("{id} sends after its end"));
                }
                let number = args.values().next().and_then(Value::as_quantity).map(|q| q.value);
                let what = What::of(action, number);
                let tries = facts.tries.entry(step.key.clone()).or_default();
                if let Some(last) = tries.last() {
                    match last.word {
                        // What a hold stopped is set going again.
                        Word::Done(_)
                            if what.class() == Class::Repeatable
                                && facts.to_hold.contains(instrument) => {}
                        Word::Done(_) => {
                            let how = format!("{id} {} was done and is begun again", step.path);
                            return broken(Law::NothingLost, how);
                        }
                        Word::Open | Word::Unknown | Word::Discarded if what.class().counts() => {
                            let how = format!(
                                "{id} {}: attempt {attempt} is begun, and nothing says that \
                                 attempt {} had no effect ({:?})",
                                step.path, last.attempt, last.word
                            );
                            return broken(Law::NotTwice, how);
                        }
                        _ => {}
                    }
                }
                facts.paths.insert(step.key.clone(), step.path.clone());
                let (attempt, unit) = (*attempt, instrument.clone());
                tries.push(Try { intent: line, attempt, unit, what, word: Word::Open });
            }
            Record::Outcome { step, attempt, result, .. } => {
                // A late word of the instrument itself leaves nothing to ask.
                facts.questions.remove(&step.key);
                let Some(last) = facts.last(&step.key, *attempt) else {
                    let how = format!("{id} {}: an outcome of no attempt", step.path);
                    return broken(Law::NothingLost, how);
                };
                if last.word != Word::Open {
                    let how = format!("{id} {}: a second outcome of one attempt", step.path);
                    return broken(Law::NothingLost, how);
                }
                last.word = match result {
                    Ok(value) => Word::Done(value.clone()),
                    Err(failure) if failure.effect_unknown => Word::Unknown,
                    Err(_) => Word::NoEffect,
                };
                let (word, what, intent) = (last.word.clone(), last.what, last.intent);
                let unit = units.iter().find(|u| u.name == last.unit);
                self.fits(&id, &step.path, &word, what, intent, unit)?;
            }
            Record::Resolved { step, attempt, resolution, by, .. } => {
                let word = match resolution {
                    Resolution::Done => Word::Done(None),
                    Resolution::NotDone => Word::NoEffect,
                    Resolution::Discard => Word::Discarded,
                };
                let said = match resolution {
                    Resolution::Done => "done",
                    Resolution::NotDone => "not done",
                    Resolution::Discard => "discard",
                };
                let given = (id.clone(), step.path.clone(), said.to_owned(), by.clone());
                let person = self.given.contains(&given);
                let Some(last) = facts.last(&step.key, *attempt) else {
                    let how = format!("{id} {}: an attempt that never was is resolved", step.path);
                    return broken(Law::NothingLost, how);
                };
                let class = last.what.class();
                let may = match (&word, class) {
                    (Word::Discarded, _) => true,
                    (_, Class::Once) => person,
                    (_, Class::Verifiable) => person || by == "witness",
                    (_, Class::Read | Class::Repeatable) => true,
                };
                if !may {
                    let how = format!("{id} {}: {by} says it is {said}", step.path);
                    return broken(Law::NotTwice, how);
                }
                last.word = word.clone();
                let (what, intent) = (last.what, last.intent);
                let unit = units.iter().find(|u| u.name == last.unit);
                self.fits(&id, &step.path, &word, what, intent, unit)?;
            }
            Record::Question { step, options, id: number, .. } if facts.body.is_none() => {
                facts.questions.insert(step.key.clone(), (*number, options.clone()));
            }
            Record::Answer { step, answer, by, .. } => {
                facts.questions.remove(&step.key);
                let given = (id.clone(), step.path.clone(), answer.clone(), by.clone());
                if by != "deadline" && !self.given.contains(&given) {
                    let how = format!("{id} {}: nobody answered {answer}", step.path);
                    return broken(Law::NotTwice, how);
                }
                if answer == "retry" {
                    facts.forget_inside(&step.path);
                }
            }
            Record::Begun { step, .. } => {
                let node = pool[facts.recipe].graph.node(step.key.node);
                let waits = node.is_some_and(|n| {
                    matches!(n.kind, labloop::compiler::graph::NodeKind::WaitUntil { .. })
                });
                if waits {
                    self.watching.insert((id.clone(), step.key.clone()));
                }
            }
            Record::Ended { step, .. } => {
                self.watching.remove(&(id.clone(), step.key.clone()));
            }
            Record::BodyEnded { ending, results, .. } => {
                self.watching.retain(|(run, _)| *run != id);
                facts.body = Some(*ending);
                facts.state = "ending".to_owned();
                facts.questions.clear();
                if *ending == Ending::Complete {
                    facts.results.clone_from(results);
                    let excused_any = self.excused.iter().any(|(run, _)| *run == id);
                    facts.complete(&id, &pool[facts.recipe], excused_any)?;
                }
            }
            Record::MadeSafe { instrument, confirmed: false, .. } => {
                self.barred.insert(instrument.clone(), line);
            }
            Record::MadeSafe { instrument, .. } => {
                self.barred.remove(instrument);
            }
            Record::RunEnded { ending, not_confirmed, .. } => {
                if facts.ended.is_some() {
                    return broken(Law::SafeExit, format!("{id} ends twice"));
                }
                facts.ended = Some((*ending, not_confirmed.clone()));
                facts.state.clear();
                for unit in units {
                    self.safe(unit, &id, pool)?;
                }
            }
            Record::Moved { to, .. } => facts.state = to.as_str().to_owned(),
            Record::ToHold { instrument, .. } => {
                facts.to_hold.insert(instrument.clone());
            }
            _ => {}
        }
        Ok(())
    }

    /// An instrument that a run started is safe once the run is over, or named, or in the hands of
    /// another run, which then answers for it.
    fn safe(&self, unit: &Unit, id: &str, pool: &[Recipe]) -> Verdict {
        let (Some(tag), Some(facts)) = (&unit.running, self.runs.get(id)) else { return Ok(()) };
        let Some((ending, not_confirmed)) = &facts.ended else { return Ok(()) };
        let named = |all: &Vec<String>| all.iter().any(|name| name == unit.name);
        let mine = match self.runs.get(&tag.run).and_then(|starter| starter.ended.as_ref()) {
            _ if tag.run == id => true,
            Some((_, before)) => !named(before) && facts.last_use(unit.name).is_some(),
            None => false,
        };
        // Who has used it since it was set going, and leaves such an instrument safe at its end.
        let later = self.runs.values().any(|f| {
            let starts = pool[f.recipe].graph.started_instruments.iter().any(|i| i == unit.name);
            let answers = f.ended.as_ref().is_none_or(|(_, all)| named(all));
            answers && starts && f.last_use(unit.name) > Some(tag.intent)
        });
        if mine && !later && !named(not_confirmed) {
            let how = format!("{id} ended as {ending:?} and {} is still running", unit.name);
            return broken(Law::SafeExit, how);
        }
        Ok(())
    }

    /// An instrument was set going: its run must not be over.
    pub fn set_going(&self, unit: &Unit, pool: &[Recipe]) -> Verdict {
        let Some(tag) = &unit.running else { return Ok(()) };
        match self.runs.contains_key(&tag.run) {
            true => self.safe(unit, &tag.run, pool),
            false => broken(Law::NotTwice, format!("{} is run by nobody", unit.name)),
        }
    }

    /// What the journal says of an attempt is so.
    fn fits(
        &self,
        id: &str,
        path: &str,
        word: &Word,
        what: What,
        intent: usize,
        unit: Option<&Unit>,
    ) -> Verdict {
        let Some(unit) = unit else { return Ok(()) };
        if !what.class().counts() || self.excused.contains(&(id.to_owned(), path.to_owned())) {
            return Ok(());
        }
        let truth = unit.truth(intent);
        let there =
            matches!(what, What::Move(place) if (unit.position - place).abs() <= 0.02 * place);
        match (word, truth) {
            (Word::Done(_), Truth::Once) => Ok(()),
            (Word::Done(_), _) if there => Ok(()),
            (Word::Done(_), _) => {
                broken(Law::NothingLost, format!("{id} {path} is called done, but is {truth:?}"))
            }
            (Word::NoEffect, Truth::Nothing) => Ok(()),
            (Word::NoEffect, _) => {
                broken(Law::NotTwice, format!("{id} {path} is called not done, but is {truth:?}"))
            }
            _ => Ok(()),
        }
    }

    /// Bytes of a command are about to go out.
    pub fn wire(&mut self, tag: &Tag, what: What, current: bool, unit: &Unit) -> Verdict {
        let (run, path) = (&tag.run, &tag.path);
        if !current {
            let how = format!("{run} {path}: an engine whose epoch has lapsed sends");
            return broken(Law::OneEngine, how);
        }
        let found = self.runs.get_mut(run).and_then(|f| f.last(&tag.key, tag.attempt).cloned());
        let Some(found) = found else {
            let how = format!("{run} {path}: bytes go out before their intent is durable");
            return broken(Law::NotTwice, how);
        };
        if self.taken.get(unit.name).is_some_and(|at| *at < found.intent) {
            let how = format!("{run} {path}: {} is in a person's hands, and is used", unit.name);
            return broken(Law::KeptBack, how);
        }
        if self.barred.get(unit.name).is_some_and(|at| *at < found.intent) {
            let how = format!("{run} {path}: {} is not confirmed safe, and is used", unit.name);
            return broken(Law::KeptBack, how);
        }
        let counts = what.class().counts();
        if !self.sent.insert(found.intent) && counts {
            let how = format!("{run} {path}: bytes of attempt {} go out twice", tag.attempt);
            return broken(Law::NotTwice, how);
        }
        if counts && found.word != Word::Open {
            let how = format!("{run} {path}: sent after it was resolved ({:?})", found.word);
            return broken(Law::NotTwice, how);
        }
        if counts && !self.excused.contains(&(run.clone(), path.clone())) {
            let tries = self.runs.get(run).and_then(|f| f.tries.get(&tag.key));
            for earlier in tries.into_iter().flatten().filter(|t| t.intent < found.intent) {
                let truth = unit.truth(earlier.intent);
                if truth != Truth::Nothing {
                    let how = format!(
                        "{run} {path}: attempt {} goes out, and attempt {} is {truth:?}",
                        tag.attempt, earlier.attempt
                    );
                    return broken(Law::NotTwice, how);
                }
            }
        }
        self.alone(unit, run)?;
        Ok(())
    }

    /// Nobody else holds the instrument, and nobody else has a dose under way on it.
    pub fn alone(&self, unit: &Unit, run: &str) -> Verdict {
        if let Some((holder, block)) = &unit.gripped
            && holder != run
            && self.runs.get(holder).is_some_and(|facts| facts.body.is_none())
        {
            let how = format!("{run} touches {}, which {holder} holds in {block}", unit.name);
            return broken(Law::OneRunAtATime, how);
        }
        let foreign = unit.pending.iter().find(|p| {
            p.tag.run != run
                && p.what.class().counts()
                && self
                    .runs
                    .get(&p.tag.run)
                    .is_some_and(|f| f.body.is_none() && f.waits_for(p.tag.intent))
        });
        if let Some(other) = foreign {
            let how = format!(
                "{run} touches {} while {} of {} is under way there",
                unit.name, other.tag.path, other.tag.run
            );
            return broken(Law::OneRunAtATime, how);
        }
        Ok(())
    }

    /// Place of the durable intent of an attempt.
    pub fn intent(&self, run: &str, key: &StepKey, attempt: u32) -> Option<usize> {
        let tries = self.runs.get(run)?.tries.get(key)?;
        tries.iter().rev().find(|t| t.attempt == attempt).map(|t| t.intent)
    }

    /// The last attempt at a step: its instrument and the place of its intent.
    pub fn last_attempt(&self, run: &str, path: &str, units: &[Unit]) -> Option<(usize, usize)> {
        let facts = self.runs.get(run)?;
        let key = facts.paths.iter().find(|(_, p)| *p == path).map(|(key, _)| key)?;
        let last = facts.tries.get(key)?.last()?;
        let unit = units.iter().position(|u| u.name == last.unit)?;
        Some((unit, last.intent))
    }

    /// All is over: everything is accounted for.
    pub fn close(&self, units: &[Unit]) -> Verdict {
        let mut known: BTreeMap<usize, (&str, &str, &Try)> = BTreeMap::new();
        for (id, facts) in &self.runs {
            for (key, tries) in &facts.tries {
                let path = facts.paths.get(key).map_or("", String::as_str);
                known.extend(tries.iter().map(|t| (t.intent, (id.as_str(), path, t))));
            }
            let old = facts.forgotten.iter();
            known.extend(old.map(|(path, t)| (t.intent, (id.as_str(), path.as_str(), t))));
        }
        for unit in units {
            for effect in &unit.effects {
                if !known.contains_key(&effect.tag.intent) {
                    let (run, path) = (&effect.tag.run, &effect.tag.path);
                    let how = format!("{run} {path} happened, and the journal knows nothing of it");
                    return broken(Law::NothingLost, how);
                }
            }
        }
        for (intent, (id, path, attempt)) in known {
            let unit = units.iter().find(|u| u.name == attempt.unit);
            if matches!(attempt.what, What::Move(_)) && matches!(attempt.word, Word::Done(_)) {
                continue; // Judged when it was said; the place may be another by now.
            }
            self.fits(id, path, &attempt.word, attempt.what, intent, unit)?;
        }
        Ok(())
    }

    /// The value a step returned by the journal, for comparison with the state.
    pub fn values(&self) -> impl Iterator<Item = (&str, &StepKey, &Value)> {
        self.runs.iter().flat_map(|(id, facts)| {
            facts.tries.iter().filter_map(move |(key, tries)| match &tries.last()?.word {
                Word::Done(Some(value)) => Some((id.as_str(), key, value)),
                _ => None,
            })
        })
    }
}

impl Facts {
    /// Results by the journal.
    pub fn results(&self) -> &BTreeMap<String, Value> {
        &self.results
    }

    fn last(&mut self, key: &StepKey, attempt: u32) -> Option<&mut Try> {
        self.tries.get_mut(key)?.iter_mut().rev().find(|t| t.attempt == attempt)
    }

    /// Place of the last intent of a command with an effect on an instrument.
    fn last_use(&self, unit: &str) -> Option<usize> {
        let on = |t: &&Try| t.unit == unit && t.what.class() != Class::Read;
        self.tries.values().flatten().filter(on).map(|t| t.intent).max()
    }

    fn waits_for(&self, intent: usize) -> bool {
        let open = |t: &Try| t.intent == intent && matches!(t.word, Word::Open | Word::Unknown);
        self.tries.values().flatten().any(open)
    }

    /// A person has a block run again: what is inside may be sent again.
    fn forget_inside(&mut self, block: &str) {
        let inside: Vec<StepKey> = self
            .paths
            .iter()
            .filter(|(_, path)| {
                path.strip_prefix(block).is_some_and(|rest| rest.starts_with(['/', '[']))
            })
            .map(|(key, _)| key.clone())
            .collect();
        for key in inside {
            let path = self.paths.get(&key).cloned().unwrap_or_default();
            for old in self.tries.remove(&key).into_iter().flatten() {
                self.forgotten.push((path.clone(), old));
            }
        }
    }

    /// A complete run: nothing is open, and all results are what the steps returned.
    fn complete(&self, id: &str, recipe: &Recipe, excused: bool) -> Verdict {
        for (key, tries) in &self.tries {
            let path = self.paths.get(key).map_or("", String::as_str);
            let unclear = tries.last().is_some_and(|t| {
                t.what.class().counts() && !matches!(t.word, Word::Done(_) | Word::NoEffect)
            });
            if unclear && !excused {
                let how = format!("{id} is complete, and nobody knows what became of {path}");
                return broken(Law::NothingLost, how);
            }
        }
        for (name, step) in recipe.results() {
            let Some(result) = self.results.get(&name) else {
                return broken(Law::NothingLost, format!("{id} is complete without {name}"));
            };
            let last = self
                .tries
                .iter()
                .filter(|(key, _)| {
                    let path = self.paths.get(*key).map_or("", String::as_str);
                    path.rsplit('/').next() == Some(step.as_str())
                })
                .filter_map(|(_, tries)| tries.last())
                .max_by_key(|t| t.intent);
            let value = last.map(|t| &t.word);
            if value != Some(&Word::Done(Some(result.clone()))) {
                let how = format!("{id}: {name} is {result:?}, and {step} gave {value:?}");
                return broken(Law::NothingLost, how);
            }
        }
        Ok(())
    }
}
