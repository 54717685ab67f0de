//! What an instrument says unasked: liveness, births and deaths, streamed properties.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;
use tokio::time::Instant;

use super::Topics;
use super::time::device_ms;
use crate::driver::bulk::BlockPlan;
use crate::driver::json;
use crate::driver::plan::{AskPlan, Op, Plan, PropertyPlan};
use crate::driver::scope::Scope;
use crate::driver::sparkplug::{Datum, Heard, Reading, Said};
use crate::driver::template::Template;
use crate::driver::types::{About, FailureKind, Flaw, Notice};
use crate::driver::values;
use crate::expr::{self, Value};
use crate::spec::Shape;
use crate::wire::Tick;
use crate::wire::mqtt::Message;

/// Why a value that is `null` is missing.
const NOTHING: &str = "it gives no value";
/// Births are asked for no more often than this, in wall time.
const REBIRTH_EVERY: Duration = Duration::from_secs(5);

impl Topics {
    pub(super) fn rendered(&self, topic: &Template) -> Option<String> {
        let scope = self.scope();
        topic.render(&|name| scope.look_up(name)).ok().map(|(topic, _)| topic)
    }

    /// All topics this instrument speaks on.
    pub(super) fn filters(&self) -> Vec<String> {
        let mut filters: Vec<String> = Vec::new();
        filters.extend(self.mqtt.liveness.as_ref().map(|liveness| liveness.topic.clone()));
        filters.extend(self.mqtt.sparkplug.iter().flat_map(|place| place.filters()));
        for property in self.plan.properties.values() {
            if let Some(AskPlan::Topic { topics, .. }) = &property.ask {
                filters.extend(topics.iter().filter_map(|topic| self.rendered(topic)));
            }
        }
        for op in operations(&self.plan) {
            if let Op::Publish { reply: Some(reply), .. } = op {
                filters.extend(self.rendered(&reply.topic));
            }
        }
        filters.sort();
        filters.dedup();
        filters
    }

    /// Takes note of a message.
    pub(super) fn note(&mut self, message: &Message) {
        if self.state.node.is_some() {
            return self.note_births(message);
        }
        let was_heard = self.state.heard.is_some();
        if !message.retain {
            self.state.heard = Some(self.clock.now());
            if !was_heard && self.state.online == Some(true) {
                self.come_up("it speaks again");
            }
        }
        self.note_liveness(message);
        if !message.retain
            && let Some(until) = self.state.owed.get_mut(&message.topic)
        {
            *until = Instant::now() + self.plan.reply_timeout;
        }
        let plan = Arc::clone(&self.plan);
        for (name, property) in &plan.properties {
            let Some(AskPlan::Topic { topics, json: path, binary, time, .. }) = &property.ask
            else {
                continue;
            };
            let its = |topic: &Template| self.rendered(topic).as_ref() == Some(&message.topic);
            if !topics.iter().any(its) {
                continue;
            }
            // A message that says nothing about a property changes nothing.
            let value = match binary {
                Some(block) => {
                    let value = self.numbers(block, &message.payload, path.as_deref(), None);
                    Some(value.unwrap_or_else(|why| Value::Missing(why.into())))
                }
                None => heard_value(property, &message.payload, path.as_deref()),
            };
            let Some(value) = value else { continue };
            if message.retain {
                self.state.kept.insert(name.clone(), value);
            } else {
                let device_ms = time.as_ref().and_then(|time| device_ms(time, &message.payload));
                let about = About { device_ms, ..heard_about(&value) };
                self.sample(name, value, about);
            }
        }
    }

    /// The curve or array that bytes of a payload stand for.
    pub(super) fn numbers(
        &self,
        block: &BlockPlan,
        payload: &[u8],
        path: Option<&str>,
        scope: Option<&Scope>,
    ) -> Result<Value, String> {
        let mut scope = scope.cloned().unwrap_or_else(|| self.scope());
        // What the instrument streams may say what its numbers mean.
        for expr in block.expressions() {
            for name in expr.names().into_iter().filter_map(|path| path.into_iter().next()) {
                if let Some((value, _)) = self.state.values.get(&name) {
                    scope.properties.insert(name, value.clone());
                }
            }
        }
        block.value(json::bytes_in(payload, path)?, &scope)
    }

    fn note_liveness(&mut self, message: &Message) {
        let Some(liveness) = &self.mqtt.liveness else { return };
        if liveness.topic != message.topic {
            return;
        }
        let before = self.state.online;
        let now = if message.payload == liveness.online.as_bytes() {
            Some(true)
        } else if message.payload == liveness.offline.as_bytes() {
            Some(false)
        } else {
            before
        };
        self.state.online = now;
        match (before, now) {
            (_, Some(false)) => {
                self.abandon(FailureKind::Link, "the instrument went offline");
                self.go_down("its last will says that it is gone");
            }
            (Some(_), Some(true)) if !message.retain => {
                self.forget("it announced itself again");
                self.state.up = false;
                self.come_up("online");
                let detail = "it announced itself again".to_owned();
                let instrument = self.plan.name.clone();
                self.outbox.put(Notice::Rebooted { instrument, detail });
            }
            (Some(true), Some(true)) | (_, None) => {}
            (_, Some(true)) => self.come_up("online"),
        }
    }

    /// Births, deaths and data of Sparkplug.
    fn note_births(&mut self, message: &Message) {
        // A birth that the broker kept is not the state of a live session (6.4.3).
        let Some(node) = self.state.node.as_mut().filter(|_| !message.retain) else { return };
        let heard = node.hear(&message.topic, &message.payload);
        if heard != Heard::Nothing {
            self.state.heard = Some(self.clock.now());
        }
        self.take(heard);
    }

    /// Doubts all that is known of a Sparkplug instrument, and asks for its birth.
    pub(super) fn doubt(&mut self, why: &str) {
        if let Some(node) = self.state.node.as_mut().filter(|node| node.is_born()) {
            let heard = node.doubt(why);
            self.take(heard);
        }
    }

    fn take(&mut self, heard: Heard) {
        match heard {
            Heard::Nothing => {}
            Heard::Born { values, again } => {
                self.state.rebirth_at = None;
                if again {
                    let detail = "its node connected anew".to_owned();
                    let instrument = self.plan.name.clone();
                    self.outbox.put(Notice::Rebooted { instrument, detail });
                }
                self.metrics(&values);
                self.come_up("its birth certificate has come");
            }
            Heard::Values(values) => self.metrics(&values),
            Heard::Died(why) => {
                self.abandon(FailureKind::Link, "the instrument went offline");
                self.go_down(&why);
                // Should it live after all, its birth will say so.
                self.state.rebirth_at = Some(Instant::now() + REBIRTH_EVERY);
            }
            Heard::Lost(why) => {
                self.go_down(&format!("{why}; it was asked for a birth certificate"));
                if self.state.rebirth_at.is_none_or(|at| at <= Instant::now()) {
                    self.ask_for_birth();
                }
            }
        }
    }

    /// Asks a Sparkplug instrument that has said nothing for long enough whether all is as it was.
    pub(super) fn ask_the_silent(&mut self) {
        let (Some(due), now) = (self.silent_until(), self.clock.now()) else { return };
        if now >= due {
            self.state.heard = Some(now);
            self.send_rebirth();
        }
    }

    /// When a Sparkplug instrument has been silent for as long as its properties may be.
    pub(super) fn silent_until(&self) -> Option<Tick> {
        let born = self.state.node.as_ref().is_some_and(|node| node.is_born());
        let every = self.plan.properties.values().filter_map(|property| property.every).min()?;
        self.state.heard.filter(|_| born).map(|heard| heard.plus(every))
    }

    /// Asks for the birth certificates; harmless, and necessary to understand anything else.
    pub(super) fn ask_for_birth(&mut self) {
        if self.state.node.as_ref().is_none_or(|node| node.is_born()) {
            self.state.rebirth_at = None;
            return;
        }
        self.state.rebirth_at = Some(Instant::now() + REBIRTH_EVERY);
        self.send_rebirth();
    }

    pub(super) fn send_rebirth(&mut self) {
        let now = self.milliseconds();
        let Some(node) = &self.state.node else { return };
        let (topic, payload) = node.rebirth(now);
        let Some(session) = &mut self.state.session else { return };
        let message = Message { topic, payload, ..Message::default() };
        if let Err(error) = session.publish(&message, false) {
            tracing::warn!(instrument = %self.plan.name, %error, "no birth could be asked for");
        }
    }

    fn metrics(&mut self, values: &[Said]) {
        let plan = Arc::clone(&self.plan);
        for (name, property) in &plan.properties {
            let Some(AskPlan::Metric(metric)) = &property.ask else { continue };
            let Some(metric) = self.rendered(metric) else { continue };
            // Of several values in one message the last is the newest.
            let said = values.iter().rev().find(|said| said.name == metric);
            if let Some(said) = said {
                let value = metric_value(property, &said.reading);
                let about = said.about(&value);
                self.sample(name, value, about);
            }
        }
    }

    /// A live value of a property.
    pub(super) fn sample(&mut self, name: &str, value: Value, about: About) {
        let at = self.clock.now();
        self.state.values.insert(name.to_owned(), (value.clone(), at));
        self.state.kept.remove(name);
        self.end_waiting(name, &value);
        self.tell(name, value, at, about);
    }

    fn tell(&mut self, name: &str, value: Value, at: Tick, about: About) {
        let (instrument, property) = (self.plan.name.clone(), name.to_owned());
        self.outbox.put(Notice::Sample { instrument, property, value, at, about });
    }

    /// Whatever was known is known no longer.
    pub(super) fn forget(&mut self, why: &str) {
        self.state.kept.clear();
        let now = self.clock.now();
        for name in std::mem::take(&mut self.state.values).into_keys() {
            self.tell(&name, Value::Missing(why.into()), now, About::flaw(Flaw::LinkLost));
        }
    }

    /// A value that is older than allowed is a value no longer, and an instrument that says nothing
    /// for too long is as good as gone.
    pub(super) fn age(&mut self) {
        let now = self.clock.now();
        let old: Vec<String> = self
            .state
            .values
            .iter()
            .filter(|(name, (_, at))| {
                let age = self.plan.properties.get(*name).and_then(|property| property.max_age);
                age.is_some_and(|age| now.since(*at) > age)
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in old {
            self.state.values.remove(&name);
            let value = Value::Missing("its last value is too old".into());
            self.tell(&name, value, now, About::flaw(Flaw::Stale));
        }
        let most = self.mqtt.liveness.as_ref().and_then(|liveness| liveness.max_age);
        if let (Some(most), Some(heard), Some(true)) = (most, self.state.heard, self.state.online)
            && now.since(heard) > most
        {
            self.state.heard = None;
            self.go_down("nothing was heard of it for too long");
        }
        self.ask_the_silent();
    }

    /// Puts the live values of all properties into a scope; those without one are missing.
    pub(super) fn put_values(&self, scope: &mut Scope) {
        for (name, property) in &self.plan.properties {
            if property.computed.is_none() {
                let value = self.state.values.get(name).map(|(value, _)| value.clone());
                let none = || Value::Missing("it has sent no value yet".into());
                scope.properties.insert(name.clone(), value.unwrap_or_else(none));
            }
        }
        for (name, property) in &self.plan.properties {
            if let Some(computed) = &property.computed {
                let value = expr::eval(computed, scope)
                    .unwrap_or_else(|error| Value::Missing(error.message.as_str().into()));
                scope.properties.insert(name.clone(), value);
            }
        }
    }
}

/// All messages a plan has.
pub(in crate::driver) fn operations(plan: &Plan) -> impl Iterator<Item = &Op> {
    let queries = plan.properties.values().filter_map(|property| match &property.ask {
        Some(AskPlan::Topic { query: Some(query), .. }) => Some(&**query),
        _ => None,
    });
    plan.actions
        .values()
        .flat_map(|action| action.operations.iter().chain(&action.on_cancel))
        .chain(&plan.safe_state)
        .chain(&plan.on_connect)
        .chain(queries)
}

/// What a message says about the value that was read from it.
pub(super) fn heard_about(value: &Value) -> About {
    match values::about(value) {
        // A message that is not what the definition says; that the device has no value it can say
        // with `null` only.
        About { flaw: Some(Flaw::SensorError), .. } if !is_none(value) => {
            About::flaw(Flaw::Unreadable)
        }
        about => about,
    }
}

fn is_none(value: &Value) -> bool {
    matches!(value, Value::Missing(why) if **why == *NOTHING)
}

/// The value of a property in a message; `None` when the message says nothing about it.
pub(in crate::driver) fn heard_value(
    property: &PropertyPlan,
    payload: &[u8],
    path: Option<&str>,
) -> Option<Value> {
    let json = match (serde_json::from_slice::<Json>(payload), std::str::from_utf8(payload)) {
        (Ok(json), _) => json,
        (Err(_), Ok(text)) if path.is_none() => Json::from(text),
        (Err(error), _) => {
            return Some(Value::Missing(format!("the message is no JSON: {error}").into()));
        }
    };
    value_in(property, &json, path)
}

/// The value of a property in a message that is JSON.
pub(in crate::driver) fn value_in(
    property: &PropertyPlan,
    json: &Json,
    path: Option<&str>,
) -> Option<Value> {
    let found = match path {
        Some(path) => json::at(json, path)?,
        None => json,
    };
    if let Shape::Record(fields) = &property.shape {
        let path = |field: &crate::spec::Field| match &field.json {
            Some(path) => path.value.clone(),
            None => field.name.value.clone(),
        };
        if !fields.iter().any(|field| json::at(found, &path(field)).is_some()) {
            return None;
        }
    }
    Some(value_of(property, found))
}

fn value_of(property: &PropertyPlan, found: &Json) -> Value {
    if found.is_null() {
        return Value::Missing(NOTHING.into());
    }
    let word = property.words.get(&json::word(found));
    let meant = match (word.map(String::as_str), &property.shape) {
        (Some("true"), Shape::Bool) => Json::Bool(true),
        (Some("false"), Shape::Bool) => Json::Bool(false),
        (Some(word), _) => Json::from(word),
        (None, _) => found.clone(),
    };
    match json::value_of(&property.shape, &meant, None) {
        Ok(Value::Quantity(quantity)) => values::limited(property, quantity)
            .unwrap_or_else(|why| Value::Missing(why.as_str().into())),
        Ok(value) => value,
        Err(why) => Value::Missing(why.as_str().into()),
    }
}

pub(in crate::driver) fn metric_value(property: &PropertyPlan, reading: &Reading) -> Value {
    match reading {
        Ok(Datum::Number(number)) => value_of(property, &Json::from(*number)),
        Ok(Datum::Bool(on)) => value_of(property, &Json::Bool(*on)),
        Ok(Datum::Text(text)) => value_of(property, &Json::from(text.as_str())),
        Err(why) => Value::Missing(why.as_str().into()),
    }
}
