//! MQTT backwards: messages are carried out and answered, properties published.

use labloop_simulators::{Inward, Outward, Presence};
use serde_json::Value as Json;

use super::board::{self, Entry, kept};
use super::messages::{self, Role};
use super::payload::{self, Heard, put};
use super::{Mirror, say};
use crate::driver::plan::{AskPlan, CorrelatePlan, Plan};
use crate::driver::scope::Scope;

/// Lab time after which a stream looks for changes, s.
const LOOK_S: f64 = 1.0;

/// Random numbers of noise.
type Noise<'a> = dyn FnMut() -> f64 + 'a;

impl Mirror {
    /// Connects to its broker.
    pub(super) fn appear(&mut self, now: f64, noise: &mut Noise<'_>) -> Presence {
        self.state.advance(now);
        for stream in &mut self.board.streams {
            (stream.due, stream.said) = (now, None);
        }
        let births = if self.board.edge.is_some() {
            self.be_born(now, noise)
        } else {
            let liveness = self.board.liveness.iter();
            liveness.map(|liveness| kept(&liveness.topic, &liveness.online)).collect()
        };
        Presence { filters: self.board.filters(&self.plan), births, will: self.board.will() }
    }

    /// Loses its broker.
    pub(super) fn vanish(&mut self) -> Option<Outward> {
        self.board.will()
    }

    /// Takes a message.
    pub(super) fn take(
        &mut self,
        inward: &Inward,
        now: f64,
        noise: &mut Noise<'_>,
    ) -> Vec<Outward> {
        self.state.advance(now);
        if self.board.edge.is_some() {
            return self.take_metrics(inward, now, noise);
        }
        let found = board::best(&self.board.entries, inward, &self.plan);
        let Some((first, heard)) = found.first().cloned() else { return Vec::new() };
        let Some(entry) = self.board.entries.get(first).cloned() else { return Vec::new() };
        let roles: Vec<Role> = found
            .iter()
            .filter_map(|(at, _)| self.board.entries.get(*at).map(|entry| entry.role.clone()))
            .collect();
        let commands = roles.iter().any(|role| matches!(role, Role::Step { .. } | Role::Safe));
        if commands && self.upset.busy {
            let busy = entry.reply.as_ref().and_then(|reply| reply.error.clone());
            let answer = busy.and_then(|path| self.refuse(&entry, &heard, inward, &path));
            return answer.into_iter().collect();
        }
        self.returned = None;
        let steps = found.iter().zip(&roles).filter_map(|((_, heard), role)| match role {
            Role::Step { action, step } => Some((action.clone(), *step, heard.fields.clone())),
            _ => None,
        });
        let after_s = self.perform(steps.collect(), roles.contains(&Role::Safe));
        let reply = self.answer(&entry, &heard, inward, noise, now);
        // What it shows comes before its answer, so that whoever waits for that sees it.
        let own = reply.as_ref().map(|reply| reply.topic.clone());
        let asked = roles.iter().find_map(|role| match role {
            Role::Property(name) => Some(name.as_str()),
            _ => None,
        });
        let mut out = self.say(now, noise, own.as_deref(), asked);
        out.extend(reply.map(|reply| Outward { after_s, ..reply }));
        out
    }

    /// Carries out what a message is a step of; lab time until it is answered, s.
    pub(super) fn perform(&mut self, steps: messages::Received, safe: bool) -> f64 {
        let mut after_s = 0.0;
        if !steps.is_empty() {
            self.recent.push(steps);
            if let Some((action, args)) = self.meant() {
                after_s = self.act(&action, args, false);
            }
        }
        if safe {
            self.state.halt();
        }
        after_s
    }

    /// What it publishes by itself.
    pub(super) fn stream(&mut self, now: f64, noise: &mut Noise<'_>) -> (Vec<Outward>, f64) {
        self.state.advance(now);
        let out = if self.board.edge.is_some() {
            self.report(now, noise)
        } else {
            self.say(now, noise, None, None)
        };
        let streams = self.board.streams.iter().filter(|stream| stream.asked.is_none());
        let due = streams.map(|stream| stream.due);
        let next = due.chain(self.state.next_end()).fold(now + LOOK_S, f64::min);
        (out, (next - now).max(0.0))
    }

    /// Streams that are due or show something new, all but the one on which it answers, and the one
    /// it was asked for.
    fn say(
        &mut self,
        now: f64,
        noise: &mut Noise<'_>,
        but: Option<&str>,
        asked: Option<&str>,
    ) -> Vec<Outward> {
        let mut out = Vec::new();
        for at in 0..self.board.streams.len() {
            let Some(stream) = self.board.streams.get(at).cloned() else { continue };
            if but == Some(&stream.topic)
                || (stream.asked.is_some() && stream.asked.as_deref() != asked)
            {
                continue;
            }
            let mut json =
                stream.like.as_deref().and_then(|like| serde_json::from_slice(like).ok());
            for (name, path) in &stream.names {
                let Some(value) = self.json_of(name, now, noise) else { continue };
                match path {
                    Some(path) => put(json.get_or_insert(Json::Null), path, value),
                    None => json = Some(value),
                }
            }
            let bare = stream.names.iter().all(|(_, path)| path.is_none());
            let payload = match json {
                Some(json) if bare => say::alone(&json),
                Some(json) => json.to_string().into_bytes(),
                None => continue,
            };
            let changed = stream.said.as_ref() != Some(&payload);
            if let Some(own) = self.board.streams.get_mut(at)
                && (changed || now >= stream.due || stream.asked.is_some())
            {
                (own.due, own.said) = (now + stream.every_s, Some(payload.clone()));
                out.push(Outward { topic: stream.topic, payload, ..Outward::default() });
            }
        }
        out
    }

    /// A property as it stands in messages.
    fn json_of(&mut self, name: &str, now: f64, noise: &mut Noise<'_>) -> Option<Json> {
        let property = self.plan.properties.get(name)?.clone();
        let value = self.shown(name, now, noise)?;
        let said = say::property(&property, &value, self.upset.broken);
        if said.is_none() {
            self.state.note(format!("{name}: {} is nothing a message can hold", value.show()));
        }
        said
    }

    /// The answer to a message.
    fn answer(
        &mut self,
        entry: &Entry,
        heard: &Heard,
        inward: &Inward,
        noise: &mut Noise<'_>,
        now: f64,
    ) -> Option<Outward> {
        let reply = entry.reply.as_ref()?;
        let topic = answer_topic(&self.plan, entry, heard, inward)?;
        let like = entry.like.as_deref().map(serde_json::from_slice::<Json>);
        if let (Some(Err(_)), Some(text)) = (&like, &entry.like) {
            let payload = text.clone();
            let correlation = inward.correlation.clone();
            return Some(Outward { topic, payload, correlation, ..Outward::default() });
        }
        let mut json = match like {
            Some(Ok(json)) => json,
            _ => Json::Object(serde_json::Map::new()),
        };
        // Properties that are read from this topic, where the answer holds them.
        for name in self.plan.properties.keys().cloned().collect::<Vec<_>>() {
            let Some(path) = self.path_on(&name, &topic, heard) else { continue };
            let known =
                crate::driver::json::at(&json, &path).is_some() || reply.has.contains(&path);
            if known && let Some(value) = self.json_of(&name, now, noise) {
                put(&mut json, &path, value);
            }
        }
        if let (Role::Property(name), Some(path)) = (&entry.role, &reply.json)
            && let Some(value) = self.json_of(name, now, noise)
        {
            put(&mut json, path, value);
        }
        if let (Role::Step { action, .. }, Some(value)) = (&entry.role, self.returned.take())
            && let Some(shape) = self.plan.actions.get(action).and_then(|a| a.returns.clone())
            && let Err(why) = say::returned(&shape, &value, reply.json.as_deref(), &mut json)
        {
            self.state.note(format!("{action}: {why}"));
        }
        payload::echo(reply, heard, &mut json);
        let correlation = inward.correlation.clone();
        let payload = json.to_string().into_bytes();
        Some(Outward { topic, payload, correlation, ..Outward::default() })
    }

    /// The path of a property on a topic.
    fn path_on(&self, name: &str, topic: &str, heard: &Heard) -> Option<String> {
        let property = self.plan.properties.get(name)?;
        let Some(AskPlan::Topic { topics, json: Some(path), .. }) = &property.ask else {
            return None;
        };
        let scope = scope_of(&self.plan, heard);
        let is = |own: &crate::driver::template::Template| {
            own.render(&|name| scope.look_up(name)).is_ok_and(|(own, _)| own == topic)
        };
        topics.iter().any(is).then(|| path.clone())
    }

    /// The answer that it is busy.
    fn refuse(&self, entry: &Entry, heard: &Heard, inward: &Inward, path: &str) -> Option<Outward> {
        let reply = entry.reply.as_ref()?;
        let topic = answer_topic(&self.plan, entry, heard, inward)?;
        let mut json = Json::Object(serde_json::Map::new());
        payload::echo(reply, heard, &mut json);
        put(&mut json, path, Json::from("busy"));
        let (payload, correlation) = (json.to_string().into_bytes(), inward.correlation.clone());
        Some(Outward { topic, payload, correlation, ..Outward::default() })
    }
}

fn scope_of(plan: &Plan, heard: &Heard) -> Scope {
    Scope { client: heard.client.clone().unwrap_or_default(), ..plan.scope() }
}

/// Where the answer to a message goes.
fn answer_topic(plan: &Plan, entry: &Entry, heard: &Heard, inward: &Inward) -> Option<String> {
    let reply = entry.reply.as_ref()?;
    if reply.correlate == CorrelatePlan::Data {
        return inward.response_topic.clone();
    }
    let scope = scope_of(plan, heard);
    reply.topic.render(&|name| scope.look_up(name)).ok().map(|(topic, _)| topic)
}
