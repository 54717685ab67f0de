//! One message of ours and the one that answers it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;
use tokio::time::Instant;

use super::{Topics, operations, shown};
use crate::driver::exchange::Trace;
use crate::driver::json;
use crate::driver::plan::{CorrelatePlan, Op, ReplyPlan};
use crate::driver::scope::Scope;
use crate::driver::sparkplug::Datum;
use crate::driver::text::Fault;
use crate::driver::types::{FailureKind, Sent, Way};
use crate::expr::{self, Expr, Value};
use crate::units::{Dimension, Unit};
use crate::wire::mqtt::{Event, Message, Ticket};

/// A message that was published and waits for its answer.
pub(super) struct Flight {
    pub(super) ticket: Ticket,
    pub(super) reply: Option<ReplyPlan>,
    /// Whole topic of the answer.
    topic: String,
    /// Id and number in a field of the answer.
    id: String,
    number: u32,
    correlation: Vec<u8>,
    /// The broker has it.
    pub(super) acknowledged: bool,
}

/// What an event means for the message that is out.
pub(super) enum Verdict {
    Nothing,
    /// It was taken; more is to come.
    Progress,
    Answered(Option<Json>),
    Failed(Fault),
}

impl Topics {
    /// Hands one message to the session.
    pub(super) fn publish(
        &mut self,
        op: &Op,
        scope: &Scope,
        tag: &str,
        trace: &mut Trace,
    ) -> Result<Flight, Fault> {
        self.state.messages = self.state.messages.wrapping_add(1).max(1);
        let scope = &Scope { number: self.state.messages, ..scope.clone() };
        let correlation = tag.as_bytes().to_vec();
        let (message, confirmed, reply, answer) = match op {
            Op::Publish { topic, body, confirmed, expiry, reply } => {
                let render = |topic: &crate::driver::template::Template| {
                    topic.render(&|name| scope.look_up(name)).map(|(topic, _)| topic)
                };
                let answer = reply.as_ref().map(|reply| render(&reply.topic)).transpose();
                let answer = answer.map_err(Fault::not_sent)?;
                let data = matches!(reply, Some(ReplyPlan { correlate: CorrelatePlan::Data, .. }));
                let message = Message {
                    topic: render(topic).map_err(Fault::not_sent)?,
                    payload: body.render(scope).map_err(Fault::not_sent)?,
                    retain: false,
                    response_topic: answer.clone().filter(|_| data),
                    correlation: data.then(|| correlation.clone()),
                    expiry: expiry.or(self.mqtt.expiry),
                };
                (message, confirmed.unwrap_or(self.mqtt.confirmed), reply.clone(), answer)
            }
            Op::SetMetric { metric, value, unit } => {
                let message = self.metric(metric, value, unit.as_ref(), scope);
                (message.map_err(Fault::not_sent)?, self.mqtt.confirmed, None, None)
            }
            Op::Text { .. } | Op::Write { .. } | Op::Read { .. } | Op::Pause(_) => {
                return Err(Fault::not_sent("this message cannot be sent over MQTT"));
            }
        };
        if message.topic.is_empty() || message.topic.contains(['+', '#', '\0']) {
            let why = format!("`{}` is no topic to publish on", message.topic);
            return Err(Fault::not_sent(why));
        }
        // SAFETY(lab): the last thing before the wire, also for a safe state.
        if self.urgent.has_lapsed() {
            let why = self.gate.check(self.gate.epoch()).err().unwrap_or_default();
            return Err(Fault::new(FailureKind::Gate, Sent::NotSent, why));
        }
        let Some(session) = &mut self.state.session else {
            return Err(Fault::new(FailureKind::Link, Sent::NotSent, "there is no connection"));
        };
        let ticket = session
            .publish(&message, confirmed)
            .map_err(|error| Fault::new(FailureKind::Link, Sent::NotSent, error.to_string()))?;
        trace.add(&self.clock, Way::Out, shown(&message));
        Ok(Flight {
            ticket,
            reply,
            topic: answer.unwrap_or_default(),
            id: scope.command.clone(),
            number: scope.number,
            correlation,
            acknowledged: false,
        })
    }

    /// The message that writes a metric of Sparkplug.
    fn metric(
        &self,
        metric: &crate::driver::template::Template,
        value: &Expr,
        unit: Option<&Unit>,
        scope: &Scope,
    ) -> Result<Message, String> {
        let node = self.state.node.as_ref().ok_or("its birth certificate is not known")?;
        let (name, _) = metric.render(&|name| scope.look_up(name))?;
        let value = expr::eval(value, scope).map_err(|error| error.message)?;
        let datum = datum_of(&value, unit)?;
        let now = self.milliseconds();
        let (topic, payload) = if self.state.making_safe {
            node.write_blindly(&name, &datum, now)?
        } else {
            node.write(&name, &datum, now)?
        };
        Ok(Message { topic, payload, expiry: self.mqtt.expiry, ..Message::default() })
    }

    /// Milliseconds since 1970.
    pub(super) fn milliseconds(&self) -> u64 {
        u64::try_from(self.clock.wall().as_millisecond()).unwrap_or(0)
    }

    /// Nobody waits any longer for the answer to a message. Where only its topic shows that it is
    /// an answer, the next question must not be asked while it may still come.
    pub(super) fn owe(&mut self, flight: Option<&Flight>) {
        if let Some(Flight { reply: Some(reply), topic, .. }) = flight
            && reply.correlate == CorrelatePlan::Next
        {
            let until = Instant::now() + self.plan.reply_timeout;
            self.state.owed.insert(topic.clone(), until);
        }
    }

    /// Whatever was asked may still be answered, and what it was is not known any more.
    pub(super) fn owe_all(&mut self) {
        let plan = Arc::clone(&self.plan);
        let until = Instant::now() + plan.reply_timeout;
        for op in operations(&plan) {
            if let Op::Publish { reply: Some(reply), .. } = op
                && reply.correlate == CorrelatePlan::Next
                && let Some(topic) = self.rendered(&reply.topic)
            {
                self.state.owed.insert(topic, until);
            }
        }
    }

    /// How long it takes until a message can be sent whose answer only its topic shows.
    pub(super) fn silence_left(&mut self, op: &Op) -> Option<Duration> {
        let Op::Publish { reply: Some(reply), .. } = op else { return None };
        if reply.correlate != CorrelatePlan::Next {
            return None;
        }
        self.state.owed.retain(|_, until| *until > Instant::now());
        let until = self.state.owed.get(&self.rendered(&reply.topic)?)?;
        Some(until.saturating_duration_since(Instant::now()))
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
                    judge_answer(flight, reply, message)
                }
                _ => Verdict::Nothing,
            },
        }
    }
}

fn judge_answer(flight: &Flight, reply: &ReplyPlan, message: &Message) -> Verdict {
    let parsed = serde_json::from_slice::<Json>(&message.payload);
    let ours = match &reply.correlate {
        CorrelatePlan::Data => message.correlation.as_deref() == Some(&flight.correlation),
        CorrelatePlan::Field(paths) => parsed.as_ref().is_ok_and(|json| {
            let mut echoed = paths.iter().filter_map(|path| json::at(json, path));
            echoed.any(|echo| is_id(flight, echo))
        }),
        CorrelatePlan::Next => true,
    };
    if !ours {
        return Verdict::Nothing;
    }
    let json = match (parsed, std::str::from_utf8(&message.payload)) {
        (Ok(json), _) => json,
        // Plain text, where nothing is looked up in it.
        (Err(_), Ok(text))
            if reply.json.is_none() && reply.has.is_empty() && reply.binary.is_none() =>
        {
            Json::from(text)
        }
        // Plain bytes are no JSON; only an error would be.
        (Err(_), _) if reply.binary.is_some() && reply.json.is_none() => {
            return Verdict::Answered(Some(Json::Null));
        }
        (Err(_), _) if !reply.has.is_empty() => return Verdict::Nothing,
        (Err(error), _) => {
            let why = format!("the answer is no JSON: {error}");
            return Verdict::Failed(Fault::new(FailureKind::BadReply, Sent::Unknown, why));
        }
    };
    let error = reply.error.as_ref().and_then(|path| json::at(&json, path));
    if let Some(error) = error.filter(|e| !matches!(e, Json::Null | Json::Bool(false))) {
        let text = error.as_str().map_or_else(|| json::short(error), str::to_owned);
        let why = format!("it answers with the error {text:?}");
        // What nobody can prove to be ours proves nothing about ours.
        let effect =
            if reply.correlate == CorrelatePlan::Next { Sent::Unknown } else { Sent::NoEffect };
        return Verdict::Failed(Fault::new(FailureKind::Refused, effect, why));
    }
    if !reply.has.is_empty() && !reply.has.iter().any(|path| json::at(&json, path).is_some()) {
        return Verdict::Nothing;
    }
    let more = reply.progress.iter().any(|(path, words)| {
        let word = json::at(&json, path).map(json::word);
        word.is_some_and(|word| words.contains(&word))
    });
    if more { Verdict::Progress } else { Verdict::Answered(Some(json)) }
}

/// Whether a field repeats the id, or the number, of a message.
fn is_id(flight: &Flight, echo: &Json) -> bool {
    match echo {
        Json::String(text) => *text == flight.id || *text == flight.number.to_string(),
        Json::Number(number) => number.as_u64() == Some(u64::from(flight.number)),
        _ => false,
    }
}

/// A value as a metric holds it.
fn datum_of(value: &Value, unit: Option<&Unit>) -> Result<Datum, String> {
    match (value, unit) {
        (Value::Bool(on), _) => Ok(Datum::Bool(*on)),
        (Value::Text(text), _) => Ok(Datum::Text(text.to_string())),
        (Value::Quantity(quantity), Some(unit)) => quantity
            .in_unit(unit)
            .map(|number| Datum::Number(json::tidy(number)))
            .ok_or_else(|| format!("the value cannot be given in {}", unit.symbol)),
        (Value::Quantity(quantity), None) if quantity.dim == Dimension::default() => {
            Ok(Datum::Number(json::tidy(quantity.value)))
        }
        (Value::Quantity(_), None) => Err("a value with a dimension needs a `unit:`".to_owned()),
        (Value::Missing(reason), _) => Err(format!("the value is missing: {reason}")),
        (
            Value::List(_)
            | Value::Record(_)
            | Value::Series(_)
            | Value::Array(_)
            | Value::Filed(_),
            _,
        ) => Err("the value is no single value".to_owned()),
    }
}
