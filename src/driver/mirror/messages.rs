//! Which of a definition's messages a received one is, and which action several of them make up.

use std::collections::{BTreeMap, VecDeque};

use crate::driver::pattern::Pattern;
use crate::driver::plan::{AskPlan, DonePlan, Op, Plan, UnlessPlan};
use crate::driver::template::Template;
use crate::expr::Value;
use crate::spec::instrument::StatusClass;

/// Messages that are remembered: no action has more.
const REMEMBERED: usize = 32;

/// A message the device may get.
#[derive(Debug, Clone)]
pub(in crate::driver) struct Entry {
    pub template: Template,
    pub role: Role,
    pub answered: bool,
    pub parse: Option<Pattern>,
    /// It is answered with a block.
    pub block: bool,
    /// How the device answered in an example.
    pub like: Option<Like>,
    /// Asked after it, and what must be answered then.
    pub proof: Option<Box<UnlessPlan>>,
    /// How it answered when there was nothing to measure.
    pub missing: Option<Like>,
}

/// An answer of an example.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::driver) struct Like {
    pub class: Option<StatusClass>,
    pub data: String,
}

/// What a message is for.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::driver) enum Role {
    /// Asks for a property.
    Property(String),
    /// A step of an action.
    Step { action: String, step: usize },
    /// Part of the safe state.
    Safe,
    /// Anything else: what it is for, in words.
    Other(String),
}

/// All messages of a plan, always in the same order.
pub(in crate::driver) fn entries(plan: &Plan) -> Vec<Entry> {
    let mut all = Vec::new();
    for (name, property) in &plan.properties {
        if let Some(AskPlan::Text { template, parse, block }) = &property.ask {
            add(&mut all, template, Role::Property(name.clone()), true, parse.as_ref());
            set_block(&mut all, block.is_some());
        }
    }
    for (name, action) in &plan.actions {
        for (step, op) in action.operations.iter().enumerate() {
            operation(&mut all, op, &Role::Step { action: name.clone(), step });
        }
        for op in &action.on_cancel {
            operation(&mut all, op, &Role::Other(format!("cancels {name}")));
        }
        if let Some(DonePlan::Poll { send, .. }) = &action.done {
            add(&mut all, send, Role::Other(format!("asks whether {name} is done")), true, None);
        }
    }
    for op in &plan.safe_state {
        operation(&mut all, op, &Role::Safe);
    }
    let beat = plan.heartbeat.iter();
    let beat = beat.flat_map(|beat| beat.arm.iter().chain(&beat.feed).chain(&beat.disarm));
    let ops = plan.identify.iter().map(|op| (op, "identifies"));
    let ops = ops.chain(plan.on_connect.iter().map(|op| (op, "prepares")));
    for (op, word) in ops.chain(beat.map(|op| (op, "sets its watchdog"))) {
        operation(&mut all, op, &Role::Other(word.to_owned()));
    }
    if let Some(check) = &plan.silent_check {
        question(&mut all, check);
    }
    all
}

fn add(
    all: &mut Vec<Entry>,
    template: &Template,
    role: Role,
    answered: bool,
    parse: Option<&Pattern>,
) {
    let (template, parse) = (template.clone(), parse.cloned());
    let (like, proof, missing) = (None, None, None);
    all.push(Entry { template, role, answered, parse, block: false, like, proof, missing });
}

fn set_block(all: &mut [Entry], block: bool) {
    if let Some(entry) = all.last_mut() {
        entry.block = block;
    }
}

fn question(all: &mut Vec<Entry>, question: &UnlessPlan) {
    let role = Role::Other("checks".to_owned());
    add(all, &question.ask, role, true, Some(&question.parse));
}

fn operation(all: &mut Vec<Entry>, op: &Op, role: &Role) {
    let Op::Text { texts, answered, parse, block, unless, verify, .. } = op else { return };
    for text in texts {
        add(all, text, role.clone(), *answered, parse.as_ref());
        set_block(all, block.is_some());
        if let (Some(entry), Some(verify)) = (all.last_mut(), verify) {
            entry.proof = Some(verify.clone());
        }
    }
    for check in [unless, verify].into_iter().flatten() {
        question(all, check);
    }
}

/// A step of an action that is a message, and whether it may be left out.
pub(super) fn steps(operations: &[Op]) -> Vec<(usize, bool)> {
    let steps = operations.iter().enumerate();
    steps
        .filter_map(|(at, op)| match op {
            Op::Text { unless, .. } => Some((at, unless.is_some())),
            Op::Write { unless_equal, .. } => Some((at, *unless_equal)),
            Op::Publish { .. } | Op::SetMetric { .. } => Some((at, false)),
            Op::Read { .. } | Op::Pause(_) => None,
        })
        .collect()
}

/// One message that was received: which steps it can have been, with its fields.
pub(super) type Received = Vec<(String, usize, BTreeMap<String, Value>)>;

/// The last messages that were no questions.
#[derive(Debug, Default)]
pub(super) struct Recent(VecDeque<Received>);

impl Recent {
    pub fn push(&mut self, received: Received) {
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(received);
    }

    /// How many of an action's messages are the last ones received, and their fields; `None` when
    /// the last of the action was not the last received, or one before it is missing.
    pub fn tail(
        &self,
        action: &str,
        steps: &[(usize, bool)],
    ) -> Option<(usize, BTreeMap<String, Value>)> {
        let mut received = self.0.iter().rev().peekable();
        let mut fields = BTreeMap::new();
        let mut length = 0;
        for (at, (step, optional)) in steps.iter().rev().enumerate() {
            let its = |all: &&Received| {
                all.iter().find(|(name, number, _)| name == action && number == step).cloned()
            };
            match received.peek().and_then(its) {
                Some((_, _, its)) => {
                    // Messages of before are older than those of after.
                    for (name, value) in its {
                        fields.entry(name).or_insert(value);
                    }
                    length += 1;
                    received.next();
                }
                None if *optional && at > 0 => {}
                None => return None,
            }
        }
        (length > 0).then_some((length, fields))
    }
}
