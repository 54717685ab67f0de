//! A simulator made from a definition: its codec and registers run backwards.
//!
//! It says what the definition's `examples:` say, and holds a state that `simulate:` moves. What
//! it cannot know without `simulate:` it does at once: a message whose field is called like a
//! property sets it, everything else is acknowledged as in the example.
//!
//! A simulator from the same file shares the file's misreadings. That is why the examples must
//! come from manuals or captures, and why labloop also has simulators of its own for some devices.

mod board;
mod edge;
pub(super) mod messages;
mod modbus;
mod model;
mod payload;
mod say;
mod state;
pub(super) mod text;
mod topics;
mod value;

use std::collections::BTreeMap;

use self::messages::{Entry, Recent, Role};
use self::state::State;
use super::plan::{DonePlan, Plan, Protocol};
use super::types::InstrumentSetup;
use crate::expr::{self, Value};
use crate::spec::instrument::{Instrument, StatusClass};
use std::sync::Arc;

/// Lab time of something that takes time of which nothing is known, s.
const SHORT_S: f64 = 0.1;

/// A simulated device.
#[derive(Debug)]
pub struct Mirror {
    definition: Arc<Instrument>,
    plan: Plan,
    entries: Vec<Entry>,
    recent: Recent,
    state: State,
    /// As it was when it was switched on.
    fresh: State,
    arrived: Vec<u8>,
    /// Answers that questions must get after what was set.
    proofs: BTreeMap<String, String>,
    /// What the action that was just done answers.
    returned: Option<Value>,
    upset: Upsets,
    memory: modbus::Memory,
    /// What it says and hears at a broker.
    board: board::Board,
}

/// What is wrong with it just now.
#[derive(Debug, Default)]
struct Upsets {
    busy: bool,
    stuck: bool,
    /// Fraction in an hour, and since when.
    drift: Option<(f64, f64)>,
    spike: Option<f64>,
    broken: bool,
    exception: Option<u8>,
    rebooted: bool,
    /// What was said last, for a value that is stuck.
    last: BTreeMap<String, Value>,
}

impl Mirror {
    /// A device of this definition that was just switched on. The error lists what keeps it from
    /// being simulated.
    pub fn new(setup: &InstrumentSetup) -> Result<Mirror, Vec<String>> {
        let plan = Plan::new(setup)?;
        let definition = Arc::clone(&setup.definition);
        let mut entries = messages::entries(&plan);
        let mut state = State::new(&plan, definition.simulate.signals.clone());
        let mut memory = modbus::Memory::default();
        let mut board = board::Board::new(&plan);
        match &plan.protocol {
            Protocol::Text { .. } => text::learn(&definition, &plan, &mut entries, &mut state),
            Protocol::Modbus { .. } => memory.learn(&definition, &plan, &mut state),
            Protocol::Mqtt(_) => board.learn(&definition, &plan, &mut state),
            Protocol::Null => return Err(vec!["`null:` needs no simulator".to_owned()]),
        }
        value::defaults(&plan, &mut state);
        let mut wrong = Vec::new();
        for entry in &definition.simulate.initial {
            match expr::eval(&entry.value.expr, &state) {
                Ok(value) => {
                    state.values.insert(entry.name.value.clone(), value);
                }
                Err(error) => {
                    wrong.push(format!("simulate: initial {}: {}", entry.name.value, error.message))
                }
            }
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let fresh = state.clone();
        Ok(Mirror {
            definition,
            plan,
            entries,
            recent: Recent::default(),
            returned: None,
            state,
            fresh,
            arrived: Vec::new(),
            proofs: BTreeMap::new(),
            upset: Upsets::default(),
            memory,
            board,
        })
    }

    /// Mistakes in `simulate:` that came to light so far.
    pub fn problems(&self) -> &[String] {
        &self.state.problems
    }

    /// The value of a property or a variable of the simulator now.
    pub fn value(&mut self, name: &str, now: f64) -> Option<Value> {
        self.state.advance(now);
        expr::Env::value(&self.state, &[name.to_owned()])
    }

    fn status(&self) -> StatusClass {
        if self.upset.busy || self.state.busy() { StatusClass::Busy } else { StatusClass::Ready }
    }

    /// Does what an action does, with the fields of its messages. Gives the lab time until the
    /// device answers, s: that of actions whose answer says that they are done.
    fn act(&mut self, name: &str, args: BTreeMap<String, Value>, was_busy: bool) -> f64 {
        let Some(action) = self.definition.action(name) else { return 0.0 };
        let stops = action.stops;
        let done = self.plan.actions.get(name).and_then(|action| action.done.clone());
        let simulated =
            self.definition.simulate.actions.iter().find(|entry| entry.name.value == name);
        let simulated = simulated.map(|entry| entry.value.clone());
        let expected = action.takes.expected.clone();
        let timeout = action.takes.timeout.clone();
        for (field, value) in &args {
            let known = self.state.values.get(field);
            if simulated.is_none() && known.is_some_and(|known| value::alike(known, value)) {
                self.state.values.insert(field.clone(), value.clone());
            }
        }
        self.state.args.extend(args);
        if stops {
            self.state.halt();
        }
        let seconds = |state: &State, expression: &crate::spec::Expression| match expr::eval(
            &expression.expr,
            state,
        ) {
            Ok(Value::Quantity(time)) if time.value.is_finite() => Some(time.value.max(0.0)),
            _ => None,
        };
        let polled = matches!(done, Some(DonePlan::Poll { .. }));
        let takes = match simulated.as_ref().and_then(|action| action.takes.clone()) {
            Some(takes) => match self.state.eval(name, &takes) {
                Some(Value::Quantity(time)) if time.value.is_finite() => time.value.max(0.0),
                _ => 0.0,
            },
            None if polled => {
                expected.and_then(|time| seconds(&self.state, &time)).unwrap_or(SHORT_S)
            }
            None if was_busy => SHORT_S,
            None => match &done {
                Some(DonePlan::After(time)) => match expr::eval(time, &self.state) {
                    Ok(Value::Quantity(time)) => time.value.max(0.0),
                    _ => 0.0,
                },
                _ => 0.0,
            },
        };
        let simulated = simulated.unwrap_or_default();
        self.returned = simulated.returns.as_ref().and_then(|e| self.state.eval(name, e));
        // Without a poll, a condition or a time the answer itself says that it is done; what takes
        // longer than the action may last goes on behind its answer.
        let longest = seconds(&self.state, &timeout).unwrap_or(f64::MAX);
        let answer_waits = done.is_none() && takes > 0.0 && takes < longest && !was_busy;
        self.state.begin(name, &simulated, if answer_waits { 0.0 } else { takes });
        if answer_waits { takes } else { 0.0 }
    }

    /// The action that the messages so far make up, with this one as its last.
    fn meant(&mut self) -> Option<(String, BTreeMap<String, Value>)> {
        let actions = self.plan.actions.iter();
        let found = actions.filter_map(|(name, action)| {
            let steps = messages::steps(&action.operations);
            self.recent.tail(name, &steps).map(|(length, fields)| (length, name, fields))
        });
        // Of actions as long as each other one that stops things wins, then the first.
        let best = found.fold(None, |best: Option<(usize, &String, _)>, one| match best {
            Some(best) if best.0 >= one.0 => Some(best),
            _ => Some(one),
        });
        best.map(|(_, name, fields)| (name.clone(), fields))
    }

    /// What a property is read as, with what upsets it.
    fn shown(&mut self, name: &str, now: f64, noise: &mut dyn FnMut() -> f64) -> Option<Value> {
        if self.upset.stuck
            && let Some(last) = self.upset.last.get(name)
        {
            return Some(last.clone());
        }
        let mut value = expr::Env::value(&self.state, &[name.to_owned()])?;
        let spread = self.state.noise(name);
        if let Value::Quantity(quantity) = &mut value {
            if spread > 0.0 {
                quantity.value += spread * noise();
                *quantity = self.state.in_bounds(name, *quantity);
            }
            if let Some((fraction, since)) = self.upset.drift {
                quantity.value *= 1.0 + fraction * (now - since) / 3600.0;
            }
            if let Some(times) = self.upset.spike {
                quantity.value *= times;
            }
        }
        self.upset.last.insert(name.to_owned(), value.clone());
        Some(value)
    }

    fn reboot(&mut self) {
        let problems = std::mem::take(&mut self.state.problems);
        let mut fresh = self.fresh.clone();
        fresh.restart_at(&self.state);
        self.state = fresh;
        self.state.problems = problems;
        self.recent = Recent::default();
        self.memory.forget();
        self.proofs.clear();
        self.upset.rebooted = true;
    }
}

/// Whether an entry stops what is under way.
fn halts(role: &Role) -> bool {
    matches!(role, Role::Safe)
}

pub use model::Device;
