//! What a lab's interlocks read, do and refuse, as data.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::expr::Expr;
use crate::spec::lab::{InterlockAction, InterlockKind, Lab};

/// An input older than this is stale, unless its definition says otherwise. Ten seconds are long for
/// what is polled each second and short for what can burn.
pub const OLDEST: Duration = Duration::from_secs(10);

/// A property that an interlock reads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Input {
    /// Instrument of the lab.
    pub instrument: String,
    /// Property of its definition, or `running`: whether it was started and not made safe since.
    pub property: String,
}

/// What a tripped interlock does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// Makes one instrument safe, and refuses commands to it until the interlock is clear.
    SafeState(String),
    /// Makes all instruments safe, and refuses all commands until the interlock is clear.
    SafeStateAll,
    /// Holds the runs that use these instruments.
    Hold(BTreeSet<String>),
    /// Holds all runs.
    HoldAll,
    /// Aborts the runs that use these instruments.
    Abort(BTreeSet<String>),
    /// Tells people.
    Alarm,
}

/// What an interlock does while its condition holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Does {
    /// Acts, once it has held for so long.
    Trip {
        /// For this long before it acts.
        held_for: Duration,
        /// In this order.
        acts: Vec<Act>,
        /// Stays until a person resets it.
        latch: bool,
    },
    /// Refuses one action, or all (`None`), of an instrument.
    Forbid {
        /// Instrument.
        instrument: String,
        /// Action of its definition.
        action: Option<String>,
    },
}

/// One interlock, ready to be judged.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Its name in the lab.
    pub id: String,
    /// Its condition, as an expression.
    pub condition: Expr,
    /// The same as written.
    pub text: String,
    /// What it does.
    pub does: Does,
}

/// Why a command is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The interlock.
    pub id: String,
    /// What holds, and what to do, for people.
    pub why: String,
}

/// The interlocks of a lab and what they need.
#[derive(Debug, Clone, PartialEq)]
pub struct Installed {
    /// In the order of the lab file.
    pub rules: Vec<Rule>,
    /// What they read, with the age at which it is stale.
    pub inputs: BTreeMap<Input, Duration>,
    /// Instruments whose freshness they ask for, `stale(bath_1)`: all their properties count.
    pub watched: BTreeSet<String>,
    /// Amounts of stock, `stock.feed_a.volume`, as the lab file gives them.
    pub stock: BTreeMap<String, BTreeMap<String, crate::units::Quantity>>,
    /// Whether each instrument has a property `running` of its own.
    pub own_running: BTreeSet<String>,
}

/// The interlocks of a lab.
///
/// `max_age` gives the age at which a property of an instrument is stale, if its definition has that
/// property.
pub fn rules(lab: &Lab, max_age: &dyn Fn(&str, &str) -> Option<Duration>) -> Installed {
    let mut installed = Installed {
        rules: Vec::new(),
        inputs: BTreeMap::new(),
        watched: BTreeSet::new(),
        stock: stock(lab),
        own_running: BTreeSet::new(),
    };
    for interlock in &lab.interlocks {
        let (condition, does) = match &interlock.kind {
            InterlockKind::Trip { condition, held_for, actions, latch } => {
                let users = instruments_of(lab, &condition.expr, actions);
                let acts = actions.iter().map(|action| act(action, &users)).collect();
                let held_for = held_for.as_ref().map_or(Duration::ZERO, |time| time.value);
                (condition, Does::Trip { held_for, acts, latch: *latch })
            }
            InterlockKind::Forbid { instrument, action, when } => {
                let action = (action.value != "*").then(|| action.value.clone());
                (when, Does::Forbid { instrument: instrument.value.clone(), action })
            }
        };
        for path in condition.expr.names() {
            installed.read(lab, &path, max_age);
        }
        installed.rules.push(Rule {
            id: interlock.id.value.clone(),
            condition: condition.expr.clone(),
            text: condition.text.trim().to_owned(),
            does,
        });
    }
    installed
}

impl Installed {
    fn read(
        &mut self,
        lab: &Lab,
        path: &[String],
        max_age: &dyn Fn(&str, &str) -> Option<Duration>,
    ) {
        match path {
            [instrument] if lab.instrument(instrument).is_some() => {
                self.watched.insert(instrument.clone());
            }
            [instrument, property, ..] if lab.instrument(instrument).is_some() => {
                let age = max_age(instrument, property);
                if property == "running" && age.is_some() {
                    self.own_running.insert(instrument.clone());
                }
                let input = Input { instrument: instrument.clone(), property: property.clone() };
                self.inputs.insert(input, age.unwrap_or(OLDEST));
            }
            _ => {}
        }
    }
}

/// Instruments a tripped interlock is about: those of its condition, and those it makes safe.
fn instruments_of(lab: &Lab, condition: &Expr, actions: &[InterlockAction]) -> BTreeSet<String> {
    let read = condition.names().into_iter().filter_map(|path| path.into_iter().next());
    let made_safe = actions.iter().filter_map(|action| match action {
        InterlockAction::SafeState(name) => Some(name.value.clone()),
        _ => None,
    });
    read.chain(made_safe).filter(|name| lab.instrument(name).is_some()).collect()
}

fn act(action: &InterlockAction, users: &BTreeSet<String>) -> Act {
    match action {
        InterlockAction::SafeState(name) => Act::SafeState(name.value.clone()),
        InterlockAction::SafeStateAll(_) => Act::SafeStateAll,
        InterlockAction::HoldUsers(_) => Act::Hold(users.clone()),
        InterlockAction::HoldAll(_) => Act::HoldAll,
        InterlockAction::AbortUsers(_) => Act::Abort(users.clone()),
        InterlockAction::Alarm(_) => Act::Alarm,
    }
}

fn stock(lab: &Lab) -> BTreeMap<String, BTreeMap<String, crate::units::Quantity>> {
    let of = |stock: &crate::spec::lab::Stock| {
        let amount = ["volume", "amount", "mass", "count"].map(|name| (name, stock.amount.value));
        let concentration = stock.concentration.as_ref().map(|c| ("concentration", c.value));
        let warn = stock.warn_below.as_ref().map(|w| ("warn_below", w.value));
        let fields = amount.into_iter().chain(concentration).chain(warn);
        fields.map(|(name, value)| (name.to_owned(), value)).collect()
    };
    lab.stock.iter().map(|stock| (stock.name.value.clone(), of(stock))).collect()
}
