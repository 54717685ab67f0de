//! The task that owns one instrument behind an MQTT broker.
//!
//! Each instrument has a session of its own with the broker, so a slow one does not delay another.
//! A command is published once. Its answer is told from all other messages by correlation data or
//! by a field that repeats the id of the attempt; duplicates, retained messages and answers to
//! somebody else are passed over. A retained message is old: it counts for liveness and for
//! nothing else.

mod act;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;
use tokio::sync::mpsc;
use tokio::time::Instant;

use self::act::{Active, Flight, Step};
use super::json;
use super::line::{Gate, Lamp, Outbox, Request, Urgent};
use super::plan::{AskPlan, MqttPlan, Op, Plan};
use super::text::Fault;
use super::types::{FailureKind, Notice, Secret, Sent};
use crate::expr::Value;
use crate::wire::mqtt::{Login, Message, Options, Session};
use crate::wire::printable::printable;
use crate::wire::{Address, Backoff, Clock, Dialer, Tick, Trust};

pub(super) struct Topics {
    pub plan: Arc<Plan>,
    pub mqtt: MqttPlan,
    pub at: Address,
    pub secret: Option<Secret>,
    pub trust: Trust,
    pub client_id: String,
    pub dialer: Dialer,
    pub clock: Clock,
    pub requests: mpsc::Receiver<Request>,
    pub urgent: Arc<Urgent>,
    pub outbox: Outbox,
    pub gate: Arc<Gate>,
    pub backoff: Backoff,
    pub lamp: Lamp,
    pub state: State,
}

/// What changes while it runs.
#[derive(Default)]
pub(super) struct State {
    queue: VecDeque<Request>,
    session: Option<Session>,
    /// What the instrument's liveness topic said last.
    online: Option<bool>,
    /// Last live value of each streamed property.
    values: BTreeMap<String, (Value, Tick)>,
    active: Option<Active>,
    /// Safe states sent so far, for their ids.
    safe_states: u64,
}

impl Topics {
    /// Runs until it is shut down.
    pub async fn run(mut self) {
        let mut connect_at = Instant::now();
        loop {
            self.outbox.flush();
            while !self.outbox.is_full()
                && let Ok(request) = self.requests.try_recv()
            {
                self.state.queue.push_back(request);
            }
            let pending = self.urgent.take();
            if pending.shutdown {
                break;
            }
            if !pending.safe.is_empty() {
                self.make_safe().await;
            }
            for attempt in pending.cancelled {
                self.cancel(&attempt).await;
            }
            if self.state.session.is_none() {
                if connect_at <= Instant::now() {
                    let connected = self.connect().await;
                    // Also after a success: a broker may accept and hang up at once.
                    let pause = match &connected {
                        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                            self.backoff.pause_refused()
                        }
                        _ => self.backoff.pause(),
                    };
                    connect_at = Instant::now() + pause;
                    if let Err(error) = connected {
                        self.lost(&error);
                    }
                    continue;
                }
                self.refuse_all();
            } else {
                self.work();
            }
            self.rest(connect_at).await;
        }
        self.abandon(FailureKind::Link, "the driver was shut down");
        self.requests.close();
        while let Ok(request) = self.requests.try_recv() {
            self.state.queue.push_back(request);
        }
        for request in std::mem::take(&mut self.state.queue) {
            let why = "the driver was shut down".to_owned();
            self.outbox.refuse(request.attempt().to_owned(), FailureKind::Link, why);
        }
        if let Some(session) = self.state.session.take() {
            session.close().await;
        }
        self.outbox.finish().await;
    }

    async fn connect(&mut self) -> io::Result<()> {
        let port = self.dialer.open_broker(&self.at, &self.trust).await?;
        let options = Options {
            version: self.mqtt.version,
            client_id: self.client_id.clone(),
            keep_alive: self.mqtt.keep_alive,
            login: self.login(),
            will: None,
        };
        let mut session = Session::open(port, &options).await?;
        session.subscribe(&self.filters()).await?;
        self.state.online = None;
        self.state.session = Some(session);
        if self.mqtt.liveness.is_none() {
            self.lamp.up(&mut self.outbox, "connected to the broker");
        } else {
            self.lamp.down(&mut self.outbox, "nothing on its liveness topic yet");
        }
        Ok(())
    }

    /// Whom the broker is told that we are. A password without a user is that of the instrument.
    fn login(&self) -> Option<Login> {
        let user = match (&self.mqtt.user, &self.secret) {
            (Some(user), _) => user.clone(),
            (None, Some(_)) => self.plan.name.clone(),
            (None, None) => return None,
        };
        let password = self.secret.as_ref().map(|s| s.0.clone()).unwrap_or_default();
        Some(Login { user, password })
    }

    /// All topics this instrument speaks on.
    fn filters(&self) -> Vec<String> {
        let mut filters: Vec<String> = Vec::new();
        filters.extend(self.mqtt.liveness.as_ref().map(|(topic, ..)| topic.clone()));
        for property in self.plan.properties.values() {
            if let Some(AskPlan::Topic { topic, .. }) = &property.ask {
                filters.push(self.plan.topic(topic));
            }
        }
        let actions = self.plan.actions.values();
        let ops = actions
            .flat_map(|action| action.operations.iter().chain(&action.on_cancel))
            .chain(&self.plan.safe_state)
            .chain(&self.plan.on_connect);
        for op in ops {
            if let Op::Publish { reply: Some(reply), .. } = op {
                filters.push(self.plan.topic(&reply.topic));
            }
        }
        filters.sort();
        filters.dedup();
        filters
    }

    fn lost(&mut self, error: &io::Error) {
        let session = self.state.session.take();
        let why = error.to_string();
        if let Some(active) = self.state.active.take() {
            let left = |flight: &Flight| {
                session.as_ref().is_some_and(|session| session.has_left(flight.ticket))
            };
            let out = active.touched || active.flight.as_ref().is_some_and(left);
            let effect = if out { Sent::Unknown } else { Sent::NotSent };
            let why = format!("the connection was lost: {why}");
            self.outbox.failed(
                active.attempt,
                Fault::new(FailureKind::Link, effect, why),
                active.trace,
            );
        }
        self.lamp.down(&mut self.outbox, &why);
    }

    fn refuse_all(&mut self) {
        for request in std::mem::take(&mut self.state.queue) {
            let why = self.lamp.why_down();
            self.outbox.refuse(request.attempt().to_owned(), FailureKind::Link, why);
        }
    }

    fn abandon(&mut self, kind: FailureKind, why: &str) {
        if let Some(active) = self.state.active.take() {
            let out = active.touched || active.flight.is_some();
            let effect = if out { Sent::Unknown } else { Sent::NotSent };
            self.outbox.failed(active.attempt, Fault::new(kind, effect, why), active.trace);
        }
    }

    fn is_up(&self) -> bool {
        self.state.session.is_some()
            && (self.mqtt.liveness.is_none() || self.state.online == Some(true))
    }

    /// Takes requests and moves the action under way as far as it goes without waiting.
    fn work(&mut self) {
        while let Some(request) = self.state.queue.pop_front() {
            match request {
                Request::Act(command) => self.begin(command),
                Request::Read { attempt, property, .. } => self.read(attempt, &property),
            }
        }
        while let Some(mut active) = self.state.active.take() {
            match self.advance(&mut active) {
                Ok(Step::Wait) => {
                    self.state.active = Some(active);
                    break;
                }
                Ok(Step::Again) => self.state.active = Some(active),
                Ok(Step::Done) => self.outbox.done(active.attempt, active.value, active.trace),
                Err(mut fault) => {
                    if active.touched && fault.effect != Sent::Unknown {
                        fault.effect = Sent::Unknown;
                    }
                    let out = active.touched || active.flight.is_some();
                    if out && fault.kind == FailureKind::Timeout {
                        self.clean_up(&mut active);
                    }
                    self.outbox.failed(active.attempt, fault, active.trace);
                }
            }
        }
    }

    /// Liveness and streamed properties.
    fn note(&mut self, message: &Message) {
        if let Some((topic, online, offline)) = &self.mqtt.liveness
            && *topic == message.topic
        {
            let before = self.state.online;
            let now = if message.payload == online.as_bytes() {
                Some(true)
            } else if message.payload == offline.as_bytes() {
                Some(false)
            } else {
                before
            };
            self.state.online = now;
            match (before, now) {
                (_, Some(false)) => {
                    self.lamp.down(&mut self.outbox, "its last will says that it is gone");
                    self.abandon(FailureKind::Link, "the instrument went offline");
                }
                (Some(_), Some(true)) if !message.retain => {
                    self.lamp.up(&mut self.outbox, "online");
                    let detail = "it announced itself again".to_owned();
                    let instrument = self.plan.name.clone();
                    self.outbox.put(Notice::Rebooted { instrument, detail });
                }
                (_, Some(true)) => self.lamp.up(&mut self.outbox, "online"),
                (_, None) => {}
            }
        }
        if message.retain {
            return;
        }
        let plan = Arc::clone(&self.plan);
        for (name, property) in &plan.properties {
            let Some(AskPlan::Topic { topic, json: path }) = &property.ask else { continue };
            if plan.topic(topic) != message.topic {
                continue;
            }
            let json = serde_json::from_slice(&message.payload)
                .unwrap_or_else(|_| Json::from(String::from_utf8_lossy(&message.payload)));
            let value = json::value_of(&property.shape, &json, path.as_deref())
                .unwrap_or_else(|why| Value::Missing(why.into()));
            self.sample(name, value);
        }
    }

    fn sample(&mut self, name: &str, value: Value) {
        let at = self.clock.now();
        self.state.values.insert(name.to_owned(), (value.clone(), at));
        let (instrument, property) = (self.plan.name.clone(), name.to_owned());
        self.outbox.put(Notice::Sample { instrument, property, value, at });
    }

    /// A value that is older than allowed is a value no longer.
    fn age(&mut self) {
        let now = self.clock.now();
        let old: Vec<String> = self
            .state
            .values
            .iter()
            .filter(|(name, (value, at))| {
                let age = self.plan.properties.get(*name).and_then(|property| property.max_age);
                !matches!(value, Value::Missing(_)) && age.is_some_and(|age| now.since(*at) > age)
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in old {
            self.sample(&name, Value::Missing("its last value is too old".into()));
        }
    }

    /// Sleeps until there is something to do.
    async fn rest(&mut self, connect_at: Instant) {
        let clock = self.clock.clone();
        let ages = self.state.values.iter().filter_map(|(name, (value, at))| {
            let age = self.plan.properties.get(name)?.max_age?;
            (!matches!(value, Value::Missing(_)))
                .then(|| at.plus(age).plus(Duration::from_nanos(1)))
        });
        let due =
            self.state.active.as_ref().map(|active| {
                if active.flight.is_some() { active.deadline } else { active.resume_at }
            });
        let lab = ages.chain(due).min();
        let room = !self.outbox.is_full();
        let open = self.state.session.is_some();
        // With QoS 0 nothing comes back; that it has left is all that can be known.
        let silent = self
            .state
            .active
            .as_ref()
            .and_then(|active| active.flight.as_ref())
            .filter(|flight| flight.ticket.id.is_none() && flight.reply.is_none());
        let silent = silent.map(|flight| flight.ticket);
        let mut event = None;
        tokio::select! {
            biased;
            () = self.urgent.wait() => {}
            () = self.outbox.room() => {}
            request = self.requests.recv(), if room => match request {
                Some(request) => self.state.queue.push_back(request),
                None => self.urgent.shutdown(),
            },
            next = async {
                match &mut self.state.session {
                    Some(session) => match silent {
                        Some(ticket) => session.next_or_left(ticket).await,
                        None => session.next().await.map(Some),
                    },
                    None => std::future::pending().await,
                }
            } => event = Some(next),
            () = async { clock.sleep_until(lab.unwrap_or_default()).await }, if lab.is_some() => {}
            () = tokio::time::sleep_until(connect_at), if !open => {}
        }
        match event {
            None => {}
            Some(Ok(Some(event))) => self.handle(&event),
            Some(Ok(None)) => {
                if let Some(active) = &mut self.state.active {
                    active.flight = None;
                    active.touched = true;
                }
            }
            Some(Err(error)) => self.lost(&error),
        }
        self.age();
    }
}

fn shown(message: &Message) -> String {
    format!("{} {}", message.topic, printable(&message.payload))
}
