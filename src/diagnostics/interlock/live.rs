//! Interlocks judged on live values.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::rules::{Act, Does, Input, Installed, Refusal};
use crate::diagnostics::{Moment, between};
use crate::expr::{self, Argument, Env, Value};

/// How an interlock stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Its condition does not hold.
    Clear,
    /// Its condition holds, and not for long enough yet to act.
    Pending {
        /// Since when.
        since: Moment,
    },
    /// It acted. A `forbid` that refuses is tripped too.
    Tripped {
        /// When.
        at: Moment,
    },
    /// Its condition is over; a person must reset it.
    Returned {
        /// When it had tripped.
        at: Moment,
    },
}

/// What changed.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// The condition holds: act, in this order. For a `forbid` there is nothing to do but refuse.
    Tripped {
        /// The interlock.
        id: String,
        /// When.
        at: Moment,
        /// Its condition, the values it read, and what of them was not known.
        evidence: String,
        /// What to do.
        acts: Vec<Act>,
        /// No other interlock stood tripped: the first to go of a cascade.
        first_out: bool,
    },
    /// The condition is over. A latched one goes on refusing until it is reset.
    Returned {
        /// The interlock.
        id: String,
        /// Whether a person must reset it.
        latched: bool,
    },
}

/// Why an interlock cannot be reset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotReset {
    /// There is none of this name.
    #[error("there is no interlock `{0}` in this lab")]
    Unknown(String),
    /// It has not tripped.
    #[error("interlock `{0}` is clear: nothing to reset")]
    Clear(String),
    /// Its condition still holds.
    #[error("interlock `{id}` still holds: {evidence}; end that first")]
    Holds {
        /// The interlock.
        id: String,
        /// What it reads.
        evidence: String,
    },
}

/// One interlock as people see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// Its name.
    pub id: String,
    /// Its condition as written.
    pub text: String,
    /// How it stands.
    pub state: State,
    /// What it read when it was judged last.
    pub evidence: String,
}

#[derive(Debug, Clone)]
struct Tag {
    reading: Option<(Value, Moment)>,
    max_age: u64,
}

/// The interlocks of one lab, with what is known of their inputs.
#[derive(Debug, Clone)]
pub struct Interlocks {
    installed: Installed,
    states: Vec<State>,
    tags: BTreeMap<Input, Tag>,
    /// When anything good last came of an instrument whose freshness is asked for, and how old it
    /// may be.
    fresh: BTreeMap<String, (Option<Moment>, u64)>,
    since: Moment,
    /// Input -> interlocks that read it.
    readers: BTreeMap<Input, Vec<usize>>,
    watchers: BTreeMap<String, Vec<usize>>,
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Interlocks {
    /// Installs them; nothing is known of their inputs yet.
    pub fn new(installed: Installed, now: Moment) -> Interlocks {
        let tag = |age: &Duration| Tag { reading: None, max_age: nanoseconds(*age) };
        let tags = installed.inputs.iter().map(|(input, age)| (input.clone(), tag(age))).collect();
        let oldest = |instrument: &String| {
            let own = installed.inputs.iter().filter(|(input, _)| input.instrument == *instrument);
            own.map(|(_, age)| *age).max().unwrap_or(super::rules::OLDEST)
        };
        let fresh = installed
            .watched
            .iter()
            .map(|name| (name.clone(), (None, nanoseconds(oldest(name)))))
            .collect();
        let (mut readers, mut watchers) = (BTreeMap::new(), BTreeMap::new());
        for (index, rule) in installed.rules.iter().enumerate() {
            for path in rule.condition.names() {
                match path.as_slice() {
                    [instrument] if installed.watched.contains(instrument) => {
                        let of: &mut Vec<usize> = watchers.entry(instrument.clone()).or_default();
                        of.push(index);
                    }
                    [instrument, property, ..] => {
                        let input =
                            Input { instrument: instrument.clone(), property: property.clone() };
                        if installed.inputs.contains_key(&input) {
                            let of: &mut Vec<usize> = readers.entry(input).or_default();
                            of.push(index);
                        }
                    }
                    _ => {}
                }
            }
        }
        let states = vec![State::Clear; installed.rules.len()];
        Interlocks { installed, states, tags, fresh, since: now, readers, watchers }
    }

    /// What stood latched when the engine before ended: it stays so until a person resets it.
    pub fn restore(&mut self, latched: &BTreeMap<String, Moment>) {
        for (rule, state) in self.installed.rules.iter().zip(&mut self.states) {
            if let Some(at) = latched.get(&rule.id) {
                *state = State::Tripped { at: *at };
            }
        }
    }

    /// Whether any interlock reads this property, or asks how fresh its instrument is.
    pub fn reads(&self, instrument: &str, property: &str) -> bool {
        let input = Input { instrument: instrument.to_owned(), property: property.to_owned() };
        self.tags.contains_key(&input) || self.fresh.contains_key(instrument)
    }

    /// Takes a sample and judges what reads it. A sample older than one taken before is passed over.
    pub fn sample(
        &mut self,
        instrument: &str,
        property: &str,
        value: Value,
        at: Moment,
        now: Moment,
        changes: &mut Vec<Change>,
    ) {
        // A moment ahead of now must not keep a value fresh for longer than its age.
        let at = at.min(now);
        let mut due = Vec::new();
        if let Some((last, _)) = self.fresh.get_mut(instrument)
            && !matches!(value, Value::Missing(_))
        {
            *last = Some(last.map_or(at, |last| last.max(at)));
            due.extend(self.watchers.get(instrument).into_iter().flatten());
        }
        let input = Input { instrument: instrument.to_owned(), property: property.to_owned() };
        if let Some(tag) = self.tags.get_mut(&input)
            && tag.reading.as_ref().is_none_or(|(_, last)| *last <= at)
        {
            tag.reading = Some((value, at));
            due.extend(self.readers.get(&input).into_iter().flatten());
        }
        due.sort_unstable();
        due.dedup();
        for index in due {
            self.judge(index, now, changes);
        }
    }

    /// Nothing is known of an instrument any longer: its link is lost, or another unit answers.
    pub fn lost(&mut self, instrument: &str, why: &str, now: Moment, changes: &mut Vec<Change>) {
        for (input, tag) in &mut self.tags {
            let derived = input.property == "running"
                && !self.installed.own_running.contains(&input.instrument);
            if input.instrument == instrument && !derived {
                tag.reading = Some((Value::missing(why), now));
            }
        }
        if let Some((last, _)) = self.fresh.get_mut(instrument) {
            *last = Some(0);
        }
        self.tick(now, changes);
    }

    /// Whether an instrument was started and not made safe since; of use where its definition has
    /// no property of that name.
    pub fn running(
        &mut self,
        instrument: &str,
        running: bool,
        now: Moment,
        changes: &mut Vec<Change>,
    ) {
        if self.installed.own_running.contains(instrument) {
            return;
        }
        let input = Input { instrument: instrument.to_owned(), property: "running".to_owned() };
        let Some(tag) = self.tags.get_mut(&input) else { return };
        // It is true until said otherwise: it has no age.
        tag.max_age = u64::MAX;
        tag.reading = Some((Value::Bool(running), now));
        for index in self.readers.get(&input).cloned().unwrap_or_default() {
            self.judge(index, now, changes);
        }
    }

    /// Judges all: what became stale, and what has held for long enough.
    pub fn tick(&mut self, now: Moment, changes: &mut Vec<Change>) {
        for index in 0..self.states.len() {
            self.judge(index, now, changes);
        }
    }

    /// A person resets one that has latched.
    ///
    /// Errors: it is not there, it is clear, or its condition still holds.
    pub fn reset(&mut self, id: &str, now: Moment) -> Result<(), NotReset> {
        let index = self.installed.rules.iter().position(|rule| rule.id == id);
        let found = index.and_then(|index| Some((index, *self.states.get(index)?)));
        let (index, state) = found.ok_or_else(|| NotReset::Unknown(id.to_owned()))?;
        if matches!(state, State::Clear | State::Pending { .. }) {
            return Err(NotReset::Clear(id.to_owned()));
        }
        if self.holds(index, now) != Holds::No {
            let evidence = self.evidence(index, now);
            return Err(NotReset::Holds { id: id.to_owned(), evidence });
        }
        if let Some(state) = self.states.get_mut(index) {
            *state = State::Clear;
        }
        Ok(())
    }

    /// Why a command may not be sent now; `None`: no interlock is against it.
    pub fn refusal(&self, instrument: &str, action: &str, now: Moment) -> Option<Refusal> {
        self.installed.rules.iter().enumerate().find_map(|(index, rule)| {
            let against = match &rule.does {
                Does::Forbid { instrument: of, action: forbidden } => {
                    of == instrument && forbidden.as_deref().is_none_or(|one| one == action)
                }
                Does::Trip { acts, .. } => acts.iter().any(|act| match act {
                    Act::SafeState(of) => of == instrument,
                    Act::SafeStateAll => true,
                    Act::Hold(_) | Act::HoldAll | Act::Abort(_) | Act::Alarm => false,
                }),
            };
            if !against {
                return None;
            }
            let state = self.states.get(index).copied()?;
            let id = rule.id.clone();
            let why = match (state, self.holds(index, now)) {
                (State::Clear | State::Pending { .. }, Holds::No) => return None,
                (State::Returned { .. } | State::Tripped { .. }, Holds::No) => {
                    format!(
                        "interlock `{id}` has tripped; its condition is over: look, then reset it"
                    )
                }
                (_, Holds::NotYetKnown) => {
                    let evidence = self.evidence(index, now);
                    format!("interlock `{id}` waits for its inputs: {evidence}")
                }
                (_, Holds::Yes) => format!("interlock `{id}` holds: {}", self.evidence(index, now)),
            };
            Some(Refusal { id, why })
        })
    }

    /// All of them, in the order of the lab file.
    pub fn standing(&self, now: Moment) -> Vec<Standing> {
        let rules = self.installed.rules.iter().zip(&self.states).enumerate();
        let tell = |(index, (rule, state)): (usize, (&super::Rule, &State))| Standing {
            id: rule.id.clone(),
            text: rule.text.clone(),
            state: *state,
            evidence: self.evidence(index, now),
        };
        rules.map(tell).collect()
    }

    fn judge(&mut self, index: usize, now: Moment, changes: &mut Vec<Change>) {
        let (Some(rule), Some(state)) =
            (self.installed.rules.get(index), self.states.get(index).copied())
        else {
            return;
        };
        let holds = self.holds(index, now);
        let (held_for, latch) = match &rule.does {
            Does::Trip { held_for, latch, .. } => (nanoseconds(*held_for), *latch),
            Does::Forbid { .. } => (0, false),
        };
        let returned = |changes: &mut Vec<Change>| {
            changes.push(Change::Returned { id: rule.id.clone(), latched: latch });
        };
        let next = match (state, holds) {
            (State::Clear, Holds::Yes) if held_for > 0 => State::Pending { since: now },
            (State::Pending { since }, Holds::Yes) if between(since, now) < held_for => state,
            (State::Clear | State::Pending { .. }, Holds::Yes) => {
                let first_out = !self.any_tripped();
                let (id, acts) = (rule.id.clone(), rule.acts());
                let evidence = self.evidence(index, now);
                changes.push(Change::Tripped { id, at: now, evidence, acts, first_out });
                State::Tripped { at: now }
            }
            // A latched one that holds again acts again: somebody may have started it meanwhile.
            (State::Returned { at }, Holds::Yes) => {
                let (id, acts) = (rule.id.clone(), rule.acts());
                let evidence = self.evidence(index, now);
                changes.push(Change::Tripped { id, at: now, evidence, acts, first_out: false });
                State::Tripped { at }
            }
            (State::Tripped { at }, Holds::No) => {
                returned(changes);
                if latch { State::Returned { at } } else { State::Clear }
            }
            (State::Pending { .. }, Holds::No) => State::Clear,
            (state, _) => state,
        };
        if let Some(state) = self.states.get_mut(index) {
            *state = next;
        }
    }

    fn any_tripped(&self) -> bool {
        self.states.iter().any(|state| matches!(state, State::Tripped { .. }))
    }

    /// Whether the condition of an interlock holds.
    fn holds(&self, index: usize, now: Moment) -> Holds {
        let Some(rule) = self.installed.rules.get(index) else { return Holds::No };
        let view = View { of: self, now, read: None, early: Cell::new(false) };
        match expr::eval(&rule.condition, &view) {
            Ok(Value::Bool(true)) => Holds::Yes,
            Ok(Value::Bool(false)) => Holds::No,
            Ok(Value::Missing(_)) if view.early.get() => Holds::NotYetKnown,
            // Not known, not a truth value, or no value at all: on the safe side.
            Ok(_) | Err(_) => Holds::Yes,
        }
    }

    /// The condition, what it reads as it stands, and why it cannot be computed, for people.
    fn evidence(&self, index: usize, now: Moment) -> String {
        let Some(rule) = self.installed.rules.get(index) else { return String::new() };
        let view = View { of: self, now, read: Some(RefCell::default()), early: Cell::new(false) };
        let value = expr::eval(&rule.condition, &view);
        let mut text = rule.text.clone();
        let read = view.read.map(RefCell::into_inner).unwrap_or_default();
        for (number, (name, shown)) in read.into_iter().enumerate() {
            let before = if number == 0 { " with " } else { ", " };
            let _ = write!(text, "{before}{name} {shown}");
        }
        let _ = match value {
            Ok(Value::Bool(_) | Value::Missing(_)) => Ok(()),
            Ok(other) => write!(text, "; it gives {}, neither true nor false", other.show()),
            Err(error) => write!(text, "; it cannot be computed: {error}"),
        };
        text
    }
}

impl super::Rule {
    fn acts(&self) -> Vec<Act> {
        match &self.does {
            Does::Trip { acts, .. } => acts.clone(),
            Does::Forbid { .. } => Vec::new(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holds {
    Yes,
    No,
    /// It cannot be told, and an input still has time to be read for the first time.
    NotYetKnown,
}

/// What a condition reads, noted for the evidence.
struct View<'a> {
    of: &'a Interlocks,
    now: Moment,
    /// `None`: nobody will be shown it.
    read: Option<RefCell<BTreeMap<String, String>>>,
    early: Cell<bool>,
}

impl View<'_> {
    fn tag(&self, input: &Input) -> Option<Value> {
        let tag = self.of.tags.get(input)?;
        let wrong = match &tag.reading {
            None => {
                if between(self.of.since, self.now) <= tag.max_age {
                    self.early.set(true);
                }
                Some("was never read".to_owned())
            }
            Some((_, at)) if between(*at, self.now) > tag.max_age => {
                Some(format!("is stale, {:.1} s old", between(*at, self.now) as f64 / 1e9))
            }
            Some((value, _)) if unusable(value) => Some("is not a number".to_owned()),
            Some(_) => None,
        };
        let name = || format!("{}.{}", input.instrument, input.property);
        let value = match (wrong, &tag.reading) {
            (Some(wrong), _) => Value::missing(format!("{} {wrong}", name())),
            (None, Some((value, _))) => value.clone(),
            (None, None) => Value::missing("never read"),
        };
        self.note(&name, &|| match &value {
            Value::Missing(why) => why.strip_prefix(&name()).unwrap_or(why).trim().to_owned(),
            known => format!("= {}", known.show()),
        });
        Some(value)
    }

    fn note(&self, name: &dyn Fn() -> String, shown: &dyn Fn() -> String) {
        if let Some(read) = &self.read {
            read.borrow_mut().insert(name(), shown());
        }
    }
}

/// A number that no comparison may see.
fn unusable(value: &Value) -> bool {
    value.as_quantity().is_some_and(|quantity| !quantity.value.is_finite())
}

impl Env for View<'_> {
    fn value(&self, path: &[String]) -> Option<Value> {
        match path {
            [root, name, field] if root == "stock" => {
                let amount = self.of.installed.stock.get(name)?.get(field)?;
                Some(Value::Quantity(*amount))
            }
            [instrument, property] => {
                self.tag(&Input { instrument: instrument.clone(), property: property.clone() })
            }
            _ => None,
        }
    }

    fn call(&self, name: &str, args: &[Argument]) -> Option<Value> {
        let ("stale", Some([instrument, property @ ..])) = (name, args.first()?.path.as_deref())
        else {
            return None;
        };
        if let [property] = property {
            let input = Input { instrument: instrument.clone(), property: property.clone() };
            let stale = matches!(self.tag(&input)?, Value::Missing(_));
            return Some(self.unless_early(stale));
        }
        let (last, max_age) = self.of.fresh.get(instrument)?;
        let age = last.map(|at| between(at, self.now));
        if age.is_none() && between(self.of.since, self.now) <= *max_age {
            self.early.set(true);
        }
        self.note(&|| instrument.clone(), &|| match age {
            None => "never heard of".to_owned(),
            Some(age) => format!("heard of {:.1} s ago", age as f64 / 1e9),
        });
        Some(self.unless_early(age.is_none_or(|age| age > *max_age)))
    }
}

impl View<'_> {
    fn unless_early(&self, stale: bool) -> Value {
        if stale && self.early.get() {
            return Value::missing("not read yet");
        }
        Value::Bool(stale)
    }
}
