//! A recording of MQTT, replayed at a broker.
//!
//! Requests are the messages that were recorded as going to the device. Their answers are known by
//! the correlation data they repeat (MQTT 5), or by a text of the request's JSON that stands in
//! theirs; both are replaced by those of whoever asks now. Everything else the device said is
//! published again in its rhythm, over and over.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use serde_json::Value as Json;
use tokio::time::{Instant, sleep_until};

use super::Told;
use crate::wire::mqtt::{Event, Message, Session};
use crate::wire::trace::{Direction, Line, Trace, from_hex};

/// Texts shorter than this are no ids: `on`, `red`.
const SHORTEST_ID: usize = 6;
/// Pause between two rounds of what the device says by itself.
const ROUND: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
struct Turn {
    topic: String,
    payload: Vec<u8>,
    /// Texts that tie the answer to the request.
    ids: BTreeSet<String>,
    answers: Vec<(Duration, Line)>,
}

/// Requests and answers at a broker.
#[derive(Debug, Clone)]
pub struct TopicScript {
    turns: Vec<Turn>,
    /// What the device says by itself, with the time since the start.
    stream: Vec<(Duration, Message)>,
    at: Option<usize>,
    paced: bool,
}

impl TopicScript {
    /// The script of a trace, for topics below `base` instead of those it was recorded at.
    pub fn new(trace: &Trace, base: &str, paced: bool) -> Result<TopicScript, String> {
        if !trace.head.wire.starts_with("mqtt") {
            return Err("the trace is not one of MQTT".to_owned());
        }
        let recorded =
            crate::wire::Address::parse(&trace.head.address).map_err(|error| error.to_string())?;
        let crate::wire::Endpoint::Mqtt { base: before, .. } = recorded.endpoint else {
            return Err("the trace is not one of MQTT".to_owned());
        };
        let moved = |topic: &str| match topic.strip_prefix(before.as_str()) {
            Some(below) => format!("{base}{below}"),
            None => topic.to_owned(),
        };
        let mut script = TopicScript { turns: Vec::new(), stream: Vec::new(), at: None, paced };
        // Correlation data of each request, and when it was sent.
        let mut asked: Vec<(Option<Vec<u8>>, f64)> = Vec::new();
        for line in &trace.lines {
            let Some(topic) = line.topic.as_deref().map(moved) else { continue };
            let correlation = line.correlation.as_deref().and_then(from_hex);
            if line.way == Some(Direction::Out) {
                asked.push((correlation, line.t));
                let payload = line.bytes();
                script.turns.push(Turn {
                    topic,
                    payload,
                    ids: BTreeSet::new(),
                    answers: Vec::new(),
                });
                continue;
            }
            let mine = script.turns.iter_mut().zip(&asked).rev().find_map(|(turn, (own, t))| {
                let by_data = correlation.is_some() && correlation == *own;
                let shared = shared(&turn.payload, &line.bytes());
                (by_data || !shared.is_empty()).then_some((turn, *t, shared))
            });
            match mine {
                Some((turn, t, shared)) => {
                    turn.ids.extend(shared);
                    let after = Duration::try_from_secs_f64(line.t - t).unwrap_or_default();
                    let line = Line { topic: Some(topic), ..line.clone() };
                    turn.answers.push((after, line));
                }
                None => {
                    let at = Duration::try_from_secs_f64(line.t).unwrap_or_default();
                    let (payload, retain) = (line.bytes(), line.retain);
                    script
                        .stream
                        .push((at, Message { topic, payload, retain, ..Message::default() }));
                }
            }
        }
        if script.turns.is_empty() && script.stream.is_empty() {
            return Err("nothing was said while it was recorded".to_owned());
        }
        Ok(script)
    }

    /// Number of recorded requests.
    pub fn requests(&self) -> usize {
        self.turns.len()
    }

    /// Topics that requests come on.
    pub fn topics(&self) -> Vec<String> {
        let all: BTreeSet<&String> = self.turns.iter().map(|turn| &turn.topic).collect();
        all.into_iter().cloned().collect()
    }

    /// Topics it leaves a stored message on, to be cleared when it ends.
    pub fn stored(&self) -> Vec<String> {
        let kept = self.stream.iter().filter(|(_, message)| message.retain);
        let all: BTreeSet<&String> = kept.map(|(_, message)| &message.topic).collect();
        all.into_iter().cloned().collect()
    }

    /// Answers until the session ends. Meant to be dropped when it is enough.
    pub async fn serve(
        &mut self,
        session: &mut Session,
        tell: &mut (dyn FnMut(Told) + Send),
    ) -> io::Result<()> {
        let first = self.stream.first().map_or(Duration::ZERO, |(at, _)| *at);
        let mut round = Instant::now();
        let mut next = 0;
        loop {
            let due = self.stream.get(next).map(|(at, _)| round + at.saturating_sub(first));
            let event = tokio::select! {
                event = session.next() => Some(event?),
                () = sleep_until(due.unwrap_or(round)), if due.is_some() => None,
            };
            match event {
                None => {
                    if let Some((_, message)) = self.stream.get(next) {
                        session.publish(message, false)?;
                    }
                    next += 1;
                    if next == self.stream.len() {
                        next = 0;
                        round = Instant::now() + ROUND;
                    }
                }
                Some(Event::Message(message)) if !message.retain => {
                    self.request(&message, session, tell).await?;
                }
                Some(_) => {}
            }
        }
    }

    async fn request(
        &mut self,
        message: &Message,
        session: &mut Session,
        tell: &mut (dyn FnMut(Told) + Send),
    ) -> io::Result<()> {
        let asked = Instant::now();
        let Some((at, ids)) = self.next(message) else {
            let payload = crate::wire::printable::printable(&message.payload);
            tell(Told::Unknown(format!("{} {payload}", message.topic)));
            return Ok(());
        };
        self.at = Some(at);
        let answers = self.turns.get(at).map(|turn| turn.answers.clone()).unwrap_or_default();
        for (after, line) in &answers {
            if self.paced {
                sleep_until(asked + *after).await;
            }
            let recorded = line.topic.clone().unwrap_or_default();
            // The answer goes where whoever asks now wants it.
            let topic = match (&message.response_topic, &line.correlation) {
                (Some(topic), Some(_)) => topic.clone(),
                _ => recorded,
            };
            let answer = Message {
                topic,
                payload: renamed(&line.bytes(), &ids),
                correlation: message.correlation.clone().filter(|_| line.correlation.is_some()),
                ..Message::default()
            };
            session.publish(&answer, false)?;
        }
        tell(if answers.is_empty() { Told::Silent(at + 1) } else { Told::Answered(at + 1) });
        Ok(())
    }

    /// The recorded request that a message is, and the ids of before with those of now.
    fn next(&self, message: &Message) -> Option<(usize, BTreeMap<String, String>)> {
        let from = self.at.map_or(0, |at| at + 1);
        let all = self.turns.iter().enumerate();
        let order = all.clone().skip(from).chain(all.take(from));
        order.filter(|(_, turn)| turn.topic == message.topic).find_map(|(at, turn)| {
            let mut ids = BTreeMap::new();
            let same = match (json(&turn.payload), json(&message.payload)) {
                (Some(before), Some(now)) => same(&before, &now, &turn.ids, &mut ids),
                _ => turn.payload == message.payload,
            };
            same.then_some((at, ids))
        })
    }
}

fn json(payload: &[u8]) -> Option<Json> {
    serde_json::from_slice(payload).ok()
}

fn texts(json: &Json, all: &mut BTreeSet<String>) {
    match json {
        Json::String(text) if text.len() >= SHORTEST_ID => {
            all.insert(text.clone());
        }
        Json::Array(items) => items.iter().for_each(|item| texts(item, all)),
        Json::Object(map) => map.values().for_each(|value| texts(value, all)),
        _ => {}
    }
}

/// Texts that stand in both payloads.
fn shared(one: &[u8], other: &[u8]) -> BTreeSet<String> {
    let of = |payload: &[u8]| {
        let mut all = BTreeSet::new();
        if let Some(json) = json(payload) {
            texts(&json, &mut all);
        }
        all
    };
    of(one).intersection(&of(other)).cloned().collect()
}

/// Whether two payloads say the same but for their ids.
fn same(
    before: &Json,
    now: &Json,
    known: &BTreeSet<String>,
    ids: &mut BTreeMap<String, String>,
) -> bool {
    match (before, now) {
        (Json::String(before), Json::String(now)) if known.contains(before) => {
            ids.insert(before.clone(), now.clone());
            true
        }
        (Json::Array(before), Json::Array(now)) => {
            before.len() == now.len()
                && before.iter().zip(now).all(|(before, now)| same(before, now, known, ids))
        }
        (Json::Object(before), Json::Object(now)) => {
            before.len() == now.len()
                && before.iter().all(|(name, before)| {
                    now.get(name).is_some_and(|now| same(before, now, known, ids))
                })
        }
        (Json::Number(before), Json::Number(now)) => before.as_f64() == now.as_f64(),
        (before, now) => before == now,
    }
}

/// A payload with the ids of now.
fn renamed(payload: &[u8], ids: &BTreeMap<String, String>) -> Vec<u8> {
    fn walk(json: &mut Json, ids: &BTreeMap<String, String>) {
        match json {
            Json::String(text) => {
                if let Some(now) = ids.get(text) {
                    text.clone_from(now);
                }
            }
            Json::Array(items) => items.iter_mut().for_each(|item| walk(item, ids)),
            Json::Object(map) => map.values_mut().for_each(|value| walk(value, ids)),
            _ => {}
        }
    }
    match json(payload) {
        Some(mut json) if !ids.is_empty() => {
            walk(&mut json, ids);
            json.to_string().into_bytes()
        }
        _ => payload.to_vec(),
    }
}
