//! Reading: properties polled and asked for, and one answer that serves several of them.

use std::sync::Arc;
use std::time::Duration;

use super::{Session, World, next_turn};
use crate::driver::exchange::Trace;
use crate::driver::plan::{AskPlan, Plan};
use crate::driver::talk::{self, Talk};
use crate::driver::text::Reply;
use crate::driver::types::{About, FailureKind, Flaw, Notice};
use crate::driver::values;
use crate::expr::Value;
use crate::wire::Tick;

/// A property that is asked for again and again.
#[derive(Debug)]
pub(super) struct Poll {
    pub(super) property: String,
    pub(super) every: Duration,
    pub(super) due: Tick,
    /// Text of the question; other polls with the same one share its answer.
    pub(super) question: Option<String>,
    pub(super) last: Option<Value>,
}

impl Poll {
    /// The polls of an instrument, all due now.
    pub(super) fn all(plan: &Plan, now: Tick) -> Vec<Poll> {
        let scope = plan.scope();
        let poll = |(name, property): (&String, &crate::driver::plan::PropertyPlan)| {
            let every = property.every?;
            let question = match &property.ask {
                Some(AskPlan::Text { template, .. }) => {
                    template.render(&|name| scope.look_up(name)).ok().map(|(text, _)| text)
                }
                _ => None,
            };
            Some(Poll { property: name.clone(), every, due: now, question, last: None })
        };
        plan.properties.iter().filter_map(poll).collect()
    }
}

impl Session {
    /// Reads a property for somebody. Gives the attempt back when a safe state must go first.
    pub(in crate::driver) async fn read(
        &mut self,
        attempt: String,
        property: &str,
        world: &mut World<'_>,
    ) -> Option<String> {
        if !self.up {
            world.outbox.refuse(attempt, FailureKind::Link, self.lamp.why_down());
            return None;
        }
        let mut trace = Trace::default();
        let mut last = None;
        for _ in 0..2 {
            let plan = Arc::clone(&self.plan);
            let mut talk = Talk { plan: &plan, line: world.line, trace: &mut trace };
            match talk.property(property).await {
                Ok(value) => {
                    self.heard(&mut trace, world);
                    world.outbox.done(attempt, Some(value), trace);
                    return None;
                }
                Err(fault) if fault.yields => return Some(attempt),
                Err(fault) => {
                    let up = self.heed(&fault, world.line.clock.now(), world.outbox);
                    let again =
                        up && matches!(fault.kind, FailureKind::Timeout | FailureKind::BadReply);
                    // SAFETY(lab): a safe state that waits comes before a second try.
                    let free = world.line.is_open() && !world.line.is_wanted();
                    last = Some(fault);
                    if !(again && free) {
                        break;
                    }
                }
            }
        }
        if let Some(fault) = last {
            world.outbox.failed(attempt, fault, trace);
        }
        None
    }

    /// Polls the property that is due longest, if any.
    pub(in crate::driver) async fn poll(&mut self, world: &mut World<'_>) -> bool {
        let now = world.line.clock.now();
        let due = self.polls.iter_mut().filter(|poll| poll.due <= now).min_by_key(|poll| poll.due);
        let Some(poll) = due.filter(|_| self.up) else { return false };
        poll.due = next_turn(&world.line.clock, now, poll.every);
        let name = poll.property.clone();
        let question = poll.question.clone();
        let plan = Arc::clone(&self.plan);
        let Some(property) = plan.properties.get(&name) else { return true };
        if property.ask.is_none() && property.computed.is_none() {
            // Known only from answers to other questions.
            return true;
        }
        let mut trace = Trace::default();
        let mut talk = Talk { plan: &plan, line: world.line, trace: &mut trace };
        let result = if property.computed.is_some() {
            talk.property(&name).await.map(|value| (value, None))
        } else {
            talk.read(property).await
        };
        match result {
            Ok((value, reply)) => {
                self.heard(&mut trace, world);
                let about = values::about(&value);
                self.sample(&name, value, about, world);
                if let Some(reply) = reply {
                    self.share(&name, question.as_deref(), &reply, world);
                }
            }
            Err(fault) if fault.yields => {}
            Err(fault) => {
                self.heed(&fault, world.line.clock.now(), world.outbox);
                let about = About { flaw: Flaw::of(fault.kind), device_ms: None };
                self.sample(&name, Value::Missing(fault.message.as_str().into()), about, world);
            }
        }
        true
    }

    fn sample(&mut self, property: &str, value: Value, about: About, world: &mut World<'_>) {
        if let Some(poll) = self.polls.iter_mut().find(|poll| poll.property == property) {
            poll.last = Some(value.clone());
        }
        world.outbox.put(Notice::Sample {
            instrument: self.plan.name.clone(),
            property: property.to_owned(),
            value,
            at: world.line.clock.now(),
            about,
        });
    }

    /// Takes from one answer what it says about other properties too: those with the same
    /// question, and those that only look at its status.
    fn share(&mut self, asked: &str, question: Option<&str>, reply: &Reply, world: &mut World<'_>) {
        let plan = Arc::clone(&self.plan);
        let now = world.line.clock.now();
        for (name, property) in &plan.properties {
            let Some(poll) = self.polls.iter_mut().find(|poll| poll.property == *name) else {
                continue;
            };
            let same = question.is_some() && poll.question.as_deref() == question;
            let of_status = !property.status.is_empty();
            if name == asked || !(same || of_status) {
                continue;
            }
            let Some(value) = talk::shared(property, reply) else { continue };
            // Soon due or changed: otherwise it would be told far more often than wanted.
            let soon = poll.due <= now.plus(poll.every / 4);
            if soon || poll.last.as_ref() != Some(&value) {
                poll.due = next_turn(&world.line.clock, now, poll.every);
                let about = values::about(&value);
                self.sample(name, value, about, world);
            }
        }
    }
}
