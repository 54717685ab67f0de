//! Actions over MQTT: published once, answered by the one message that is theirs.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;
use tokio::time::{Instant, timeout_at};

use super::{Topics, shown};
use crate::driver::exchange::Trace;
use crate::driver::json;
use crate::driver::plan::{ActionPlan, CorrelatePlan, DonePlan, Op, ReplyPlan};
use crate::driver::scope::Scope;
use crate::driver::session::span_of;
use crate::driver::text::Fault;
use crate::driver::types::{Command, FailureKind, Notice, Sent, Way};
use crate::driver::values;
use crate::expr::{self, Value};
use crate::spec::instrument::EffectClass;
use crate::wire::Tick;
use crate::wire::mqtt::{Event, Message, Ticket};

/// An action under way.
pub(super) struct Active {
    pub(super) attempt: String,
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
}

/// A message that was published and waits for its answer.
pub(super) struct Flight {
    pub(super) ticket: Ticket,
    pub(super) reply: Option<ReplyPlan>,
    /// Full topic of the answer.
    pub(super) topic: String,
    /// Id in a field of the answer.
    pub(super) id: String,
    pub(super) correlation: Vec<u8>,
    /// The broker has it.
    pub(super) acknowledged: bool,
}

/// What an event means for the message that is out.
pub(super) enum Verdict {
    Nothing,
    Answered(Option<Json>),
    Failed(Fault),
}

/// How an action goes on.
pub(super) enum Step {
    Wait,
    Again,
    Done,
}

impl Topics {
    pub(super) fn begin(&mut self, command: Command) {
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
        let mut scope = Scope { args, command: attempt.clone(), ..self.plan.scope() };
        if let Err(why) = values::compute(&mut scope, &action.compute) {
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
        });
    }

    pub(super) fn read(&mut self, attempt: String, name: &str) {
        let age = self.plan.properties.get(name).and_then(|property| property.max_age);
        let now = self.clock.now();
        match self.state.values.get(name) {
            Some((value, at)) if age.is_none_or(|age| now.since(*at) <= age) => {
                self.outbox.done(attempt, Some(value.clone()), Trace::default());
            }
            Some(_) => self.outbox.refuse(
                attempt,
                FailureKind::Timeout,
                "its last value is too old".to_owned(),
            ),
            None => self.outbox.refuse(
                attempt,
                FailureKind::Timeout,
                "it has sent no value yet".to_owned(),
            ),
        }
    }

    /// Whether a condition over streamed properties holds.
    pub(super) fn holds(&self, condition: &expr::Expr, scope: &Scope) -> Result<bool, String> {
        let mut scope = scope.clone();
        for (name, (value, _)) in &self.state.values {
            scope.properties.insert(name.clone(), value.clone());
        }
        match expr::eval(condition, &scope) {
            Ok(Value::Bool(holds)) => Ok(holds),
            Ok(_) => Ok(false),
            Err(error) => Err(error.message),
        }
    }

    pub(super) fn advance(&mut self, active: &mut Active) -> Result<Step, Fault> {
        let now = self.clock.now();
        if now >= active.deadline {
            let left = active.flight.as_ref().is_some_and(|flight| {
                self.state.session.as_ref().is_some_and(|session| session.has_left(flight.ticket))
            });
            let effect = if left || active.touched { Sent::Unknown } else { Sent::NotSent };
            let mut why = "it was not done by its deadline".to_owned();
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
        if let Some(op) = active.action.operations.get(active.next).cloned() {
            active.next += 1;
            return match op {
                Op::Pause(pause) => {
                    active.resume_at = now.plus(pause);
                    Ok(Step::Again)
                }
                Op::Publish { .. } => {
                    // SAFETY(lab): the last thing before the wire.
                    if active.action.effect != EffectClass::Read {
                        self.gate
                            .check()
                            .map_err(|why| Fault::new(FailureKind::Gate, Sent::NotSent, why))?;
                    }
                    let tag = format!("{}/{}", active.attempt, active.next);
                    active.flight =
                        Some(self.publish(&op, &active.scope, &tag, &mut active.trace)?);
                    Ok(Step::Wait)
                }
                Op::Text { .. } | Op::Write { .. } | Op::Read { .. } => {
                    Err(Fault::not_sent("this message cannot be sent over MQTT"))
                }
            };
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
                let holds = self
                    .holds(condition, &active.scope)
                    .map_err(|why| Fault::new(FailureKind::BadReply, Sent::Unknown, why))?;
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

    /// Hands one message to the session.
    pub(super) fn publish(
        &mut self,
        op: &Op,
        scope: &Scope,
        tag: &str,
        trace: &mut Trace,
    ) -> Result<Flight, Fault> {
        let Op::Publish { topic, payload, reply } = op else {
            return Err(Fault::not_sent("this message cannot be sent over MQTT"));
        };
        let (topic, _) = topic.render(&|name| scope.look_up(name)).map_err(Fault::not_sent)?;
        if topic.contains(['+', '#', '\0']) {
            return Err(Fault::not_sent(format!("`{topic}` is no topic to publish on")));
        }
        let payload = payload.render(scope).map_err(Fault::not_sent)?.to_string().into_bytes();
        let answer = reply.as_ref().map(|reply| self.plan.topic(&reply.topic));
        let data = matches!(reply, Some(ReplyPlan { correlate: CorrelatePlan::Data, .. }));
        let correlation = tag.as_bytes().to_vec();
        let message = Message {
            topic: self.plan.topic(&topic),
            payload,
            retain: false,
            response_topic: answer.clone().filter(|_| data),
            correlation: data.then(|| correlation.clone()),
            expiry: self.mqtt.expiry,
        };
        let Some(session) = &mut self.state.session else {
            return Err(Fault::new(FailureKind::Link, Sent::NotSent, "there is no connection"));
        };
        let ticket = session
            .publish(&message, self.mqtt.confirmed)
            .map_err(|error| Fault::new(FailureKind::Link, Sent::NotSent, error.to_string()))?;
        trace.add(&self.clock, Way::Out, shown(&message));
        Ok(Flight {
            ticket,
            reply: reply.clone(),
            topic: answer.unwrap_or_default(),
            id: scope.command.clone(),
            correlation,
            acknowledged: false,
        })
    }

    /// What an event says about a message that is out.
    pub(super) fn judge(&self, flight: &Flight, event: &Event) -> Verdict {
        match event {
            Event::Acknowledged { id, problem: Some(problem) } if Some(*id) == flight.ticket.id => {
                let kind = if problem == "nobody listens" {
                    FailureKind::Link
                } else {
                    FailureKind::Refused
                };
                Verdict::Failed(Fault::new(kind, Sent::NoEffect, problem.clone()))
            }
            // The broker has it; without an answer to wait for that is all there will be.
            Event::Acknowledged { id, problem: None }
                if Some(*id) == flight.ticket.id && flight.reply.is_none() =>
            {
                Verdict::Answered(None)
            }
            Event::Acknowledged { .. } => Verdict::Nothing,
            Event::Message(message) => match &flight.reply {
                Some(reply) if message.topic == flight.topic && !message.retain => {
                    self.judge_answer(flight, reply, message)
                }
                _ => Verdict::Nothing,
            },
        }
    }

    pub(super) fn judge_answer(
        &self,
        flight: &Flight,
        reply: &ReplyPlan,
        message: &Message,
    ) -> Verdict {
        let parsed = serde_json::from_slice::<Json>(&message.payload);
        let ours = match &reply.correlate {
            CorrelatePlan::Data => message.correlation.as_deref() == Some(&flight.correlation),
            CorrelatePlan::Field(paths) => parsed.as_ref().is_ok_and(|json| {
                let echoed = |path: &String| json::at(json, path).and_then(Json::as_str);
                paths.iter().any(|path| echoed(path) == Some(&flight.id))
            }),
            CorrelatePlan::Next => true,
        };
        if !ours {
            return Verdict::Nothing;
        }
        let json = match parsed {
            Ok(json) => json,
            Err(error) => {
                let why = format!("the answer is no JSON: {error}");
                return Verdict::Failed(Fault::new(FailureKind::BadReply, Sent::Unknown, why));
            }
        };
        match reply.error.as_ref().and_then(|path| json::at(&json, path)) {
            None | Some(Json::Null | Json::Bool(false)) => Verdict::Answered(Some(json)),
            Some(error) => {
                let text = error.as_str().map_or_else(|| json::short(error), str::to_owned);
                let why = format!("it answers with the error {text:?}");
                Verdict::Failed(Fault::new(FailureKind::Refused, Sent::NoEffect, why))
            }
        }
    }

    /// Takes note of an event; it may complete the message that is out.
    pub(super) fn handle(&mut self, event: &Event) {
        // The connection carries something: it is worth having back at once.
        self.backoff.reset();
        if let Event::Message(message) = event {
            self.note(message);
        }
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
        if let (Verdict::Answered(Some(_)) | Verdict::Failed(_), Event::Message(message)) =
            (&verdict, event)
        {
            active.trace.add(&self.clock, Way::In, shown(message));
        }
        match verdict {
            Verdict::Nothing => self.state.active = Some(active),
            Verdict::Answered(json) => {
                active.touched = true;
                let flight = active.flight.take();
                let path = flight.and_then(|f| f.reply).and_then(|reply| reply.json);
                if let (Some(shape), Some(json)) = (&active.action.returns, json)
                    && active.next == active.action.operations.len()
                {
                    match json::value_of(shape, &json, path.as_deref()) {
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
        let effect = if out { Sent::Unknown } else { Sent::NotSent };
        let fault = Fault::new(FailureKind::Person, effect, "it was cancelled");
        self.outbox.failed(active.attempt, fault, active.trace);
    }

    /// Sends what the definition says for an action that is stopped half-way.
    pub(super) fn clean_up(&mut self, active: &mut Active) {
        let scope = active.scope.clone();
        for (at, op) in active.action.on_cancel.clone().iter().enumerate() {
            if !matches!(op, Op::Pause(_)) {
                let tag = format!("{}/cancel/{at}", active.attempt);
                // Best effort; what could not be sent is in the log.
                if let Err(fault) = self.publish(op, &scope, &tag, &mut active.trace) {
                    tracing::warn!(instrument = %self.plan.name, why = %fault.message, "on_cancel");
                }
            }
        }
    }

    /// Sends the safe state, whatever else is going on, and tells how it went.
    pub(super) async fn make_safe(&mut self) {
        self.abandon(FailureKind::Gate, "the safe state was sent");
        for request in std::mem::take(&mut self.state.queue) {
            let why = "the safe state was sent".to_owned();
            self.outbox.refuse(request.attempt().to_owned(), FailureKind::Gate, why);
        }
        let plan = Arc::clone(&self.plan);
        let mut trace = Trace::default();
        let mut troubles = Vec::new();
        if self.state.session.is_none()
            && let Err(error) = self.connect().await
        {
            self.lost(&error);
        }
        for op in &plan.safe_state {
            self.state.safe_states += 1;
            let id = format!("{}-safe-{}", self.client_id, self.state.safe_states);
            let scope = Scope { command: id.clone(), ..plan.scope() };
            if let Op::Pause(pause) = op {
                self.clock.sleep(*pause).await;
                continue;
            }
            let flight = match self.publish(op, &scope, &id, &mut trace) {
                Ok(flight) => flight,
                Err(fault) => {
                    troubles.push(fault.message);
                    continue;
                }
            };
            if let Err(why) = self.await_flight(&flight, &mut trace).await {
                troubles.push(why);
            }
        }
        if let (Some(confirm), true) = (&plan.confirm, troubles.is_empty())
            && !matches!(self.holds(confirm, &plan.scope()), Ok(true))
        {
            troubles.push("its read-back does not confirm it".to_owned());
        }
        let confirmed = troubles.is_empty();
        let detail = if confirmed { "confirmed".to_owned() } else { troubles.join("; ") };
        let instrument = plan.name.clone();
        self.outbox.put(Notice::SafeState { instrument, confirmed, detail, trace: trace.all });
    }

    /// Waits for the answer to one message, taking note of all others.
    pub(super) async fn await_flight(
        &mut self,
        flight: &Flight,
        trace: &mut Trace,
    ) -> Result<(), String> {
        let deadline = Instant::now() + self.plan.reply_timeout;
        loop {
            let Some(session) = &mut self.state.session else {
                return Err("there is no connection".to_owned());
            };
            if flight.ticket.id.is_none()
                && flight.reply.is_none()
                && session.has_left(flight.ticket)
            {
                return Ok(());
            }
            match timeout_at(deadline, session.next()).await {
                Err(_) => return Err("it does not answer".to_owned()),
                Ok(Err(error)) => {
                    self.lost(&error);
                    return Err(error.to_string());
                }
                Ok(Ok(event)) => {
                    let verdict = self.judge(flight, &event);
                    self.handle(&event);
                    if let (Event::Message(message), Verdict::Answered(_) | Verdict::Failed(_)) =
                        (&event, &verdict)
                    {
                        trace.add(&self.clock, Way::In, shown(message));
                    }
                    match verdict {
                        Verdict::Nothing => {}
                        Verdict::Answered(_) => return Ok(()),
                        Verdict::Failed(fault) => return Err(fault.message),
                    }
                }
            }
        }
    }
}
