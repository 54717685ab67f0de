//! Actions over MQTT: published once, answered by the one message that is theirs.

use std::time::Duration;

use super::publish::{Flight, Verdict};
use super::{Topics, shown};
use crate::driver::exchange::Trace;
use crate::driver::json;
use crate::driver::plan::{ActionPlan, DonePlan, Op};
use crate::driver::scope::Scope;
use crate::driver::session::span_of;
use crate::driver::talk::sendable;
use crate::driver::text::Fault;
use crate::driver::types::{Command, FailureKind, Sent, Way};
use crate::driver::values;
use crate::expr::{self, Value};
use crate::spec::instrument::EffectClass;
use crate::wire::Tick;
use crate::wire::mqtt::Event;

/// An action under way.
pub(super) struct Active {
    pub(super) attempt: String,
    /// Fencing epoch of whoever gave it.
    pub(super) epoch: u64,
    pub(super) action: ActionPlan,
    pub(super) scope: Scope,
    pub(super) deadline: Tick,
    pub(super) next: usize,
    /// The message that is out.
    pub(super) flight: Option<Flight>,
    /// Nothing happens before this.
    pub(super) resume_at: Tick,
    pub(super) held_since: Option<Tick>,
    pub(super) trace: Trace,
    pub(super) value: Option<Value>,
    pub(super) touched: bool,
    /// Why its completion cannot be told just now.
    pub(super) unclear: Option<String>,
}

/// How an action goes on.
pub(super) enum Step {
    Wait,
    Again,
    Done,
}

impl Topics {
    pub(super) fn begin(&mut self, command: Command, epoch: u64) {
        let attempt = command.attempt.clone();
        if !self.is_up() {
            let why = self.lamp.why_down();
            return self.outbox.refuse(attempt, FailureKind::Link, why);
        }
        if let Some(active) = &self.state.active {
            let why = format!("attempt {} is still under way", active.attempt);
            return self.outbox.refuse(attempt, FailureKind::Busy, why);
        }
        let Some(action) = self.plan.actions.get(&command.action) else {
            let why = format!("it has no action `{}`", command.action);
            return self.outbox.refuse(attempt, FailureKind::Internal, why);
        };
        let args = match values::complete(&action.args, &command.args, "arguments") {
            Ok(args) => args,
            Err(why) => return self.outbox.refuse(attempt, FailureKind::Internal, why.join("; ")),
        };
        let now = self.clock.now();
        let grace = self.clock.lab_span(self.plan.reply_timeout);
        let id = format!("{}{attempt}", self.origin);
        let mut scope = Scope { args, command: id, ..self.scope() };
        if let Err(why) = values::compute(&mut scope, &action.compute) {
            return self.outbox.refuse(attempt, FailureKind::Internal, why);
        }
        // SAFETY(lab): all of it or nothing; half an action leaves the device in between.
        if let Err(why) = action.operations.iter().try_for_each(|op| sendable(op, &scope)) {
            return self.outbox.refuse(attempt, FailureKind::Internal, why);
        }
        for (condition, text) in &action.require {
            if !matches!(self.holds(condition, &scope), Ok(true)) {
                let why = format!("its condition `{text}` does not hold");
                return self.outbox.refuse(attempt, FailureKind::Refused, why);
            }
        }
        self.state.active = Some(Active {
            attempt,
            epoch,
            action: action.clone(),
            scope,
            deadline: now.plus(command.deadline).plus(grace),
            next: 0,
            flight: None,
            resume_at: now,
            held_since: None,
            trace: Trace::default(),
            value: None,
            touched: false,
            unclear: None,
        });
    }

    /// Whether a condition over streamed properties holds.
    pub(super) fn holds(&self, condition: &expr::Expr, scope: &Scope) -> Result<bool, String> {
        let mut scope = scope.clone();
        self.put_values(&mut scope);
        match expr::eval(condition, &scope) {
            Ok(Value::Bool(holds)) => Ok(holds),
            Ok(_) => Ok(false),
            Err(error) => Err(error.message),
        }
    }

    /// The next message of an action, or the next pause.
    fn send_step(&mut self, active: &mut Active, now: Tick) -> Result<Step, Fault> {
        match active.action.operations.get(active.next).cloned() {
            None => Ok(Step::Again),
            Some(Op::Pause(pause)) => {
                active.next += 1;
                active.resume_at = now.plus(pause);
                Ok(Step::Again)
            }
            // One message at a time: the answer to a question could be taken for this one's.
            Some(_) if self.state.asking.is_some() => Ok(Step::Wait),
            Some(op) => {
                if let Some(left) = self.silence_left(&op) {
                    active.resume_at = now.plus(self.clock.lab_span(left)).min(active.deadline);
                    return Ok(Step::Wait);
                }
                // SAFETY(lab): the last thing before the wire.
                if active.action.effect != EffectClass::Read {
                    self.gate
                        .check(active.epoch)
                        .map_err(|why| Fault::new(FailureKind::Gate, Sent::NotSent, why))?;
                }
                active.next += 1;
                let tag = format!("{}{}/{}", self.origin, active.attempt, active.next);
                // Each message has an id of its own: the answer to the first, delivered twice,
                // must not answer the second.
                if active.next > 1 {
                    active.scope.command.clone_from(&tag);
                }
                active.flight = Some(self.publish(&op, &active.scope, &tag, &mut active.trace)?);
                Ok(Step::Wait)
            }
        }
    }

    pub(super) fn advance(&mut self, active: &mut Active) -> Result<Step, Fault> {
        let now = self.clock.now();
        if now >= active.deadline {
            let left = active.flight.as_ref().is_some_and(|flight| {
                self.state.session.as_ref().is_some_and(|session| session.has_left(flight.ticket))
            });
            let effect = if left || active.touched { Sent::Unknown } else { Sent::NotSent };
            let mut why = match &active.unclear {
                Some(why) => format!("it was not done by its deadline: {why}"),
                None => "it was not done by its deadline".to_owned(),
            };
            if active.flight.as_ref().is_some_and(|flight| flight.acknowledged) {
                why.push_str(
                    ": the broker has it, but nobody answers; is the instrument there, and may we \
                     publish on this topic (MQTT 3.1.1 does not tell)?",
                );
            }
            return Err(Fault::new(FailureKind::Timeout, effect, why));
        }
        if active.flight.is_some() || now < active.resume_at {
            return Ok(Step::Wait);
        }
        if active.next < active.action.operations.len() {
            return self.send_step(active, now);
        }
        match &active.action.done {
            None => Ok(Step::Done),
            Some(DonePlan::After(time)) => {
                if active.held_since.is_some() {
                    return Ok(Step::Done);
                }
                active.held_since = Some(now);
                let span = span_of(time, &active.scope)
                    .map_err(|why| Fault::new(FailureKind::Internal, Sent::Unknown, why))?;
                active.resume_at = now.plus(span);
                Ok(Step::Again)
            }
            Some(DonePlan::Until { condition, held_for, every }) => {
                // A stream that says nothing readable just now does not end what the device does.
                let holds = match self.holds(condition, &active.scope) {
                    Ok(holds) => {
                        active.unclear = None;
                        holds
                    }
                    Err(why) => {
                        active.unclear = Some(why);
                        false
                    }
                };
                let since = holds.then(|| active.held_since.unwrap_or(now));
                active.held_since = since;
                if since.is_some_and(|since| now.since(since) >= *held_for) {
                    return Ok(Step::Done);
                }
                let least = self.clock.lab_span(Duration::from_millis(5));
                active.resume_at = now.plus((*every).max(least)).min(active.deadline);
                Ok(Step::Wait)
            }
            Some(DonePlan::Poll { .. }) => Err(Fault::not_sent("`poll` is not for MQTT")),
        }
    }

    /// What an event means for the message of the action that is out.
    pub(super) fn answer_action(&mut self, event: &Event) {
        let Some(mut active) = self.state.active.take() else { return };
        if let (Event::Acknowledged { id, problem: None }, Some(flight)) =
            (event, &mut active.flight)
        {
            flight.acknowledged |= flight.ticket.id == Some(*id);
        }
        let verdict = match &active.flight {
            Some(flight) => self.judge(flight, event),
            None => Verdict::Nothing,
        };
        if let (
            Verdict::Answered(Some(_)) | Verdict::Progress | Verdict::Failed(_),
            Event::Message(message),
        ) = (&verdict, event)
        {
            active.trace.add(&self.clock, Way::In, shown(message));
        }
        match verdict {
            Verdict::Nothing => self.state.active = Some(active),
            Verdict::Progress => {
                active.touched = true;
                self.state.active = Some(active);
            }
            Verdict::Answered(json) => {
                active.touched = true;
                let flight = active.flight.take();
                let reply = flight.and_then(|f| f.reply);
                let path = reply.as_ref().and_then(|reply| reply.json.as_deref());
                let binary = reply.as_ref().and_then(|reply| reply.binary.as_deref());
                if let (Some(shape), Some(json)) = (&active.action.returns, json)
                    && active.next == active.action.operations.len()
                {
                    let value = match (binary, event) {
                        (Some(block), Event::Message(message)) => {
                            self.numbers(block, &message.payload, path, Some(&active.scope))
                        }
                        _ => json::value_of(shape, &json, path),
                    };
                    match value {
                        Ok(value) => active.value = Some(value),
                        Err(why) => {
                            let fault = Fault::new(FailureKind::BadReply, Sent::Unknown, why);
                            return self.outbox.failed(active.attempt, fault, active.trace);
                        }
                    }
                }
                self.state.active = Some(active);
            }
            Verdict::Failed(mut fault) => {
                if active.touched {
                    fault.effect = Sent::Unknown;
                }
                self.outbox.failed(active.attempt, fault, active.trace);
            }
        }
    }

    pub(super) async fn cancel(&mut self, attempt: &str) {
        let queue = &mut self.state.queue;
        if let Some(at) = queue.iter().position(|request| request.attempt() == attempt) {
            queue.remove(at);
            let why = "it was cancelled before it was sent".to_owned();
            return self.outbox.refuse(attempt.to_owned(), FailureKind::Person, why);
        }
        let Some(mut active) = self.state.active.take_if(|active| active.attempt == attempt) else {
            return;
        };
        let out = active.touched || active.flight.is_some();
        if out {
            self.clean_up(&mut active);
        }
        self.owe(active.flight.as_ref());
        let effect = if out { Sent::Unknown } else { Sent::NotSent };
        let fault = Fault::new(FailureKind::Person, effect, "it was cancelled");
        self.outbox.failed(active.attempt, fault, active.trace);
    }

    /// Sends what the definition says for an action that is stopped half-way.
    pub(super) fn clean_up(&mut self, active: &mut Active) {
        let scope = active.scope.clone();
        for (at, op) in active.action.on_cancel.clone().iter().enumerate() {
            if !matches!(op, Op::Pause(_)) {
                let tag = format!("{}{}/cancel/{at}", self.origin, active.attempt);
                // Best effort; what could not be sent is in the log.
                if let Err(fault) = self.publish(op, &scope, &tag, &mut active.trace) {
                    tracing::warn!(instrument = %self.plan.name, why = %fault.message, "on_cancel");
                }
            }
        }
    }
}
