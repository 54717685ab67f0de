//! What an instrument at a broker hears and says: learned from the plan and the examples.

use std::collections::BTreeMap;
use std::sync::Arc;

use labloop_simulators::{Inward, Outward};

use super::edge::Edge;
use super::messages::Role;
use super::payload::{Heard, Reader};
use super::state::State;
use super::text::plan_of;
use crate::driver::golden::{ATTEMPT, from_instrument, raw_payload};
use crate::driver::plan::{AskPlan, Body, LivenessPlan, Op, Plan, Protocol, ReplyPlan};
use crate::driver::scope::Scope;
use crate::driver::template::Template;
use crate::driver::topics::{heard_value, value_in};
use crate::expr::Value;
use crate::spec::instrument::{Example, ExampleOf, Instrument};

/// Longest lab time between messages of a stream, s.
const PERIOD_S: f64 = 10.0;
/// Messages of a stream in the time after which it counts as stale.
const PER_AGE: f64 = 3.0;

/// A message it may get.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub role: Role,
    pub topic: Template,
    pub body: Body,
    pub reply: Option<ReplyPlan>,
    /// How it answered in an example.
    pub like: Option<Vec<u8>>,
}

/// A topic it publishes on by itself.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    pub topic: String,
    /// Properties on it, with their paths.
    pub names: Vec<(String, Option<String>)>,
    /// How it looked in an example.
    pub like: Option<Vec<u8>>,
    /// It publishes on it when it is asked for this property, and only then.
    pub asked: Option<String>,
    /// Lab time between its messages, s.
    pub every_s: f64,
    pub due: f64,
    pub said: Option<Vec<u8>>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Board {
    pub entries: Vec<Entry>,
    pub streams: Vec<Stream>,
    pub liveness: Option<LivenessPlan>,
    pub edge: Option<Edge>,
}

impl Board {
    /// What the plan says; nothing for what is no instrument at a broker.
    pub fn new(plan: &Plan) -> Board {
        let Protocol::Mqtt(mqtt) = &plan.protocol else { return Board::default() };
        Board {
            entries: entries(plan),
            streams: streams(plan),
            liveness: mqtt.liveness.clone(),
            edge: mqtt.sparkplug.clone().map(|place| Edge::new(place, plan)),
        }
    }

    /// Learns from the examples how it answers, and what its properties begin with.
    pub fn learn(&mut self, definition: &Arc<Instrument>, plan: &Plan, state: &mut State) {
        // Examples of properties first: theirs is the value that a property begins with.
        let (properties, others): (Vec<&Example>, Vec<&Example>) =
            definition.examples.iter().partition(|e| matches!(e.of, ExampleOf::Property(_)));
        for example in properties.into_iter().chain(others) {
            if example.fails.is_some() {
                continue;
            }
            let Some(its) = plan_of(definition, example) else { continue };
            if let Some(edge) = &mut self.edge {
                edge.learn(example, &its, plan, state);
            } else {
                self.learn_one(example, &its, plan, state);
            }
        }
    }

    fn learn_one(&mut self, example: &Example, its: &Plan, plan: &Plan, state: &mut State) {
        let its_entries = entries(its);
        let mut sent: Vec<(usize, Heard)> = Vec::new();
        for line in &example.bytes {
            let (topic, payload) = line.value.split_once(' ').unwrap_or((&line.value, ""));
            let Ok(payload) = raw_payload(payload) else { continue };
            if !from_instrument(its, topic) {
                let (topic, payload) = (topic.to_owned(), payload);
                let inward = Inward { topic, payload, ..Inward::default() };
                sent = best(&its_entries, &inward, its);
                continue;
            }
            let client = format!("labloop-{ATTEMPT}-0");
            let scope = Scope { client, ..its.scope() };
            let is = |own: &Template| {
                own.render(&|name| scope.look_up(name)).is_ok_and(|(own, _)| own == topic)
            };
            for (at, _) in &sent {
                let Some(reply) = its_entries.get(*at).and_then(|entry| entry.reply.as_ref())
                else {
                    continue;
                };
                if let Some(entry) = self.entries.get_mut(*at).filter(|_| is(&reply.topic)) {
                    entry.like.get_or_insert_with(|| payload.clone());
                    if let Role::Property(name) = &entry.role
                        && let Some(property) = its.properties.get(name)
                        && let Ok(json) = serde_json::from_slice(&payload)
                    {
                        begin(state, name, value_in(property, &json, reply.json.as_deref()));
                    }
                }
            }
            for (name, property) in &its.properties {
                let Some(AskPlan::Topic { topics, json, .. }) = &property.ask else { continue };
                let Some(number) = topics.iter().position(is) else { continue };
                let value = heard_value(property, &payload, json.as_deref());
                if matches!(value, Some(Value::Missing(_))) {
                    continue;
                }
                begin(state, name, value);
                let own = own_topic(plan, name, number);
                let stream =
                    self.streams.iter_mut().find(|stream| Some(&stream.topic) == own.as_ref());
                if let Some(stream) = stream {
                    stream.like.get_or_insert_with(|| payload.clone());
                }
            }
        }
    }

    /// What it listens to.
    pub fn filters(&self, plan: &Plan) -> Vec<String> {
        let mut filters: Vec<String> =
            self.entries.iter().map(|entry| entry.topic.filter(&plan.config)).collect();
        filters.extend(self.edge.iter().flat_map(Edge::filters));
        filters.sort();
        filters.dedup();
        filters
    }

    /// What the broker says when it has gone.
    pub fn will(&self) -> Option<Outward> {
        if let Some(edge) = &self.edge {
            return Some(edge.will());
        }
        self.liveness.as_ref().map(|liveness| kept(&liveness.topic, &liveness.offline))
    }
}

/// A message that the broker keeps.
pub(super) fn kept(topic: &str, payload: &str) -> Outward {
    Outward {
        topic: topic.to_owned(),
        payload: payload.as_bytes().to_vec(),
        retain: true,
        ..Outward::default()
    }
}

/// The first value of a property, unless it has one.
pub(super) fn begin(state: &mut State, name: &str, value: Option<Value>) {
    if let Some(value) = value.filter(|value| !matches!(value, Value::Missing(_))) {
        state.values.entry(name.to_owned()).or_insert(value);
    }
}

fn own_topic(plan: &Plan, name: &str, number: usize) -> Option<String> {
    let AskPlan::Topic { topics, .. } = plan.properties.get(name)?.ask.as_ref()? else {
        return None;
    };
    let scope = plan.scope();
    topics.get(number)?.render(&|name| scope.look_up(name)).ok().map(|(topic, _)| topic)
}

/// All messages of a plan, always in the same order.
fn entries(plan: &Plan) -> Vec<Entry> {
    let mut all = Vec::new();
    let mut add = |op: &Op, role: Role| {
        if let Op::Publish { topic, body, reply, .. } = op {
            let (topic, body, reply) = (topic.clone(), body.clone(), reply.clone());
            all.push(Entry { role, topic, body, reply, like: None });
        }
    };
    for (name, property) in &plan.properties {
        if let Some(AskPlan::Topic { query: Some(query), .. }) = &property.ask {
            add(query, Role::Property(name.clone()));
        }
    }
    for (name, action) in &plan.actions {
        for (step, op) in action.operations.iter().enumerate() {
            add(op, Role::Step { action: name.clone(), step });
        }
        let cancels = || Role::Other(format!("cancels {name}"));
        action.on_cancel.iter().for_each(|op| add(op, cancels()));
    }
    plan.safe_state.iter().for_each(|op| add(op, Role::Safe));
    plan.on_connect.iter().for_each(|op| add(op, Role::Other("prepares".to_owned())));
    all
}

/// The topics of properties that it publishes on without being asked.
fn streams(plan: &Plan) -> Vec<Stream> {
    let mut all: BTreeMap<String, Stream> = BTreeMap::new();
    for (name, property) in &plan.properties {
        let Some(AskPlan::Topic { topics, json, query, binary: None, .. }) = &property.ask else {
            // Numbers in bytes come as in the examples, when they are asked for.
            continue;
        };
        let age_s = property.max_age.map_or(f64::INFINITY, |age| age.as_secs_f64() / PER_AGE);
        // A read waits as long as for a reply.
        let read_s = plan.reply_timeout.as_secs_f64() / PER_AGE;
        let every_s = age_s.min(read_s).clamp(1e-3, PERIOD_S);
        let asks = matches!(query.as_deref(), Some(Op::Publish { reply: None, .. }));
        for (number, topic) in topics.iter().enumerate() {
            // What goes to one client is an answer.
            let answer = topic.has_field(&["command", "client"]);
            let Some(topic) = own_topic(plan, name, number).filter(|_| !answer) else { continue };
            let stream = all.entry(topic.clone()).or_insert_with(|| Stream {
                topic,
                names: Vec::new(),
                like: None,
                asked: None,
                every_s,
                due: 0.0,
                said: None,
            });
            stream.every_s = stream.every_s.min(every_s);
            if asks && number == 0 {
                stream.asked = Some(name.clone());
            }
            stream.names.push((name.clone(), json.clone()));
        }
    }
    all.into_values().collect()
}

/// The entries a message can be, of those with the most of their own.
pub(super) fn best(entries: &[Entry], inward: &Inward, plan: &Plan) -> Vec<(usize, Heard)> {
    let mut found: Vec<(usize, Heard)> = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        let Some(topic) = entry.topic.read(&inward.topic, &plan.config) else { continue };
        let args = match &entry.role {
            Role::Step { action, .. } => plan.actions.get(action).map(|action| &*action.args),
            _ => None,
        };
        let reader = Reader { config: &plan.config, args: args.unwrap_or_default() };
        let mut heard = Heard { fields: topic.fields, own: topic.own, ..Heard::default() };
        if !reader.body(&entry.body, &inward.payload, &mut heard) {
            continue;
        }
        match found.first().map(|(_, first)| first.own) {
            Some(own) if own > heard.own => {}
            Some(own) if own == heard.own => found.push((at, heard)),
            _ => found = vec![(at, heard)],
        }
    }
    found
}
