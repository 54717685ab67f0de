//! The task that owns one instrument behind an MQTT broker.
//!
//! Each instrument has a session of its own with the broker, so a slow one does not delay another.
//! A command is published once. Its answer is told from all other messages by correlation data or
//! by a field that repeats the id of the attempt; duplicates, retained messages and answers to
//! somebody else are passed over. A retained message is old: it counts for liveness and for
//! nothing else. At most one message of ours is out at a time, a question or a command.

mod act;
mod ask;
mod hear;
mod publish;
mod safe;
mod time;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

pub(super) use self::hear::{heard_value, metric_value, operations, value_in};

use self::act::{Active, Step};
use self::ask::{Asking, Question, Waiting};
use self::publish::Flight;
use super::gate::Gate;
use super::isolated::{Driven, Recovery, Then};
use super::line::{Lamp, Outbox, Request, Urgent, refuse_for_good};
use super::plan::{MqttPlan, Plan};
use super::scope::Scope;
use super::sparkplug::Node;
use super::text::Fault;
use super::types::{FailureKind, Notice, Secret, Sent};
use super::unit::Unit;
use crate::expr::Value;
use crate::wire::mqtt::{Event, Login, Message, Options, Session};
use crate::wire::printable::printable;
use crate::wire::{Address, Backoff, Clock, Dialer, Tick, Trust};

/// Not every broker says that another client came with our name; it ends the session without a word.
/// A client that takes it back at once ends the other's, and so on: so many sessions in a row that
/// lived shorter than this are a fight, and whoever notices gives way.
const MOST_SHORT: u32 = 3;
const SHORT: Duration = Duration::from_secs(10);

/// An instrument that is not ours is left alone for so long, unless a person accepts it.
const FOR_LONG: Duration = Duration::from_secs(3_600);

pub(super) struct Topics {
    pub plan: Arc<Plan>,
    pub mqtt: MqttPlan,
    pub at: Address,
    pub secret: Option<Secret>,
    pub trust: Trust,
    pub client_id: String,
    /// What the ids of our messages begin with.
    pub origin: String,
    pub dialer: Dialer,
    pub clock: Clock,
    pub requests: mpsc::Receiver<Request>,
    pub urgent: Arc<Urgent>,
    pub outbox: Outbox,
    pub gate: Arc<Gate>,
    pub backoff: Backoff,
    pub lamp: Lamp,
    pub unit: Arc<Unit>,
    /// Others that want the same instrument take its session over.
    pub rivals: bool,
    pub state: State,
    pub recovery: Recovery,
}

/// What changes while it runs.
#[derive(Default)]
pub(super) struct State {
    queue: VecDeque<Request>,
    session: Option<Session>,
    /// Since when.
    opened: Option<Instant>,
    /// Sessions in a row that the broker ended without a word soon after they began.
    short: u32,
    /// What the instrument's liveness topic said last.
    online: Option<bool>,
    /// It can be talked to.
    up: bool,
    /// When something live was heard of it last; `None` while it is silent for too long.
    heard: Option<Tick>,
    /// What is known of its births, with Sparkplug.
    node: Option<Node>,
    /// When its birth may be asked for again, wall time.
    rebirth_at: Option<Instant>,
    /// Last live value of each streamed property.
    values: BTreeMap<String, (Value, Tick)>,
    /// What the broker had kept of properties: old, and of unknown age.
    kept: BTreeMap<String, Value>,
    active: Option<Active>,
    /// Topics on which the answer to a message that nobody waits for any longer may still come,
    /// and the end of the silence that shows that it does not.
    owed: BTreeMap<String, Instant>,
    /// The question that is out.
    asking: Option<Asking>,
    questions: VecDeque<Question>,
    /// When each property with a `query` and a period is asked for next.
    polls: BTreeMap<String, Tick>,
    /// Reads that wait for a live value.
    waiting: Vec<Waiting>,
    /// Messages so far, for their numbers.
    messages: u32,
    /// The safe state is being sent: it is said even to an instrument of which nothing is known.
    making_safe: bool,
    /// Safe states sent so far, for their ids.
    safe_states: u64,
}

impl Driven for Topics {
    async fn drive(&mut self) {
        loop {
            self.outbox.flush();
            while !self.outbox.is_full()
                && let Ok(request) = self.requests.try_recv()
            {
                self.state.queue.push_back(request);
            }
            if self.urgent.has_lapsed() {
                return self.lapsed().await;
            }
            let pending = self.urgent.take();
            self.recovery.ends |= pending.shutdown;
            // SAFETY(lab): also one that was asked for just before the end.
            if let Some(instrument) = pending.safe.into_iter().next() {
                self.recovery.saving = Some(instrument);
                self.make_safe().await;
                self.recovery.saving = None;
                if let Some(why) = self.recovery.given_up.clone() {
                    self.state.session = None;
                    self.go_down(&why);
                }
            }
            if self.recovery.ends {
                break;
            }
            for attempt in pending.cancelled {
                self.cancel(&attempt).await;
            }
            let ours = self.unit.strange().is_none();
            if self.state.session.is_none() {
                if ours && self.recovery.connects() {
                    let connected = self.connect().await;
                    // Also after a success: a broker may accept and hang up at once.
                    let pause = match &connected {
                        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                            self.backoff.pause_refused()
                        }
                        _ => self.backoff.pause(),
                    };
                    self.recovery.connect_at = Instant::now() + pause;
                    if let Err(error) = connected {
                        self.lost(&error);
                    }
                    continue;
                }
                self.refuse_all();
            } else {
                self.work();
            }
            let next = self.recovery.next().filter(|_| ours);
            self.rest(next.unwrap_or_else(|| Instant::now() + FOR_LONG)).await;
        }
        self.end().await;
    }

    fn renew(&mut self, why: &str, then: Then) {
        self.abandon(FailureKind::Internal, why);
        self.start_over(why);
        self.state.queue.retain(|request| !self.outbox.owes(request.attempt()));
        self.outbox.give_up(why);
        self.recovery.take_up(why, then, &mut self.outbox);
        self.lamp.lost(&mut self.outbox, why);
    }

    async fn refuse(&mut self, why: &str) {
        self.recovery.forgo(why, &mut self.outbox);
        self.state.session = None;
        for request in std::mem::take(&mut self.state.queue) {
            self.outbox.refuse(request.attempt().to_owned(), FailureKind::Link, why.to_owned());
        }
        if !self.recovery.ends {
            let (requests, urgent) = (&mut self.requests, &self.urgent);
            let kind = FailureKind::Link;
            refuse_for_good(requests, urgent, &mut self.outbox, kind, why).await;
        }
        self.urgent.release();
        self.outbox.finish().await;
    }
}

impl Topics {
    /// Its driver panicked: the session is closed, and nothing is believed of what was known but what
    /// may still come. Requests that are not begun stay.
    fn start_over(&mut self, why: &str) {
        self.forget(why);
        let old = std::mem::take(&mut self.state);
        self.state.queue = old.queue;
        self.state.owed = old.owed;
        self.state.messages = old.messages;
        self.state.safe_states = old.safe_states;
        self.owe_all();
    }

    /// It is shut down.
    async fn end(&mut self) {
        self.abandon(FailureKind::Link, "the driver was shut down");
        self.end_reads("the driver was shut down");
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
        self.urgent.release();
        self.outbox.finish().await;
    }

    /// The instrument is another's: it is let go of without a word.
    async fn lapsed(&mut self) {
        let why = self.gate.check(self.gate.epoch()).err().unwrap_or_default();
        self.abandon(FailureKind::Gate, &why);
        self.go_down(&why);
        self.state.session = None;
        for request in std::mem::take(&mut self.state.queue) {
            self.outbox.refuse(request.attempt().to_owned(), FailureKind::Gate, why.clone());
        }
        self.urgent.release();
        let (requests, urgent) = (&mut self.requests, &self.urgent);
        refuse_for_good(requests, urgent, &mut self.outbox, FailureKind::Gate, &why).await;
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
        self.state.heard = Some(self.clock.now());
        self.state.session = Some(session);
        self.state.opened = Some(Instant::now());
        self.state.node = self.mqtt.sparkplug.clone().map(Node::new);
        if self.state.node.is_some() {
            self.lamp.down(&mut self.outbox, "no birth certificate yet; it was asked for one");
            self.ask_for_birth();
        } else if self.mqtt.liveness.is_none() {
            self.come_up("connected to the broker");
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

    fn lost(&mut self, error: &io::Error) {
        let session = self.state.session.take();
        let mut why = error.to_string();
        let lived = self.state.opened.take().map(|opened| opened.elapsed());
        let short = error.kind() == io::ErrorKind::UnexpectedEof
            && lived.is_some_and(|lived| lived < SHORT);
        self.state.short = if short { self.state.short + 1 } else { 0 };
        let fought_over = self.rivals && self.state.short >= MOST_SHORT;
        if error.kind() == io::ErrorKind::ResourceBusy || fought_over {
            self.state.short = 0;
            // SAFETY(lab): taking it back would take it from whoever has it now, who would take it
            // back: two hands on one instrument, in turns.
            why =
                "another client has taken its session at the broker over: another labloop drives \
                   it; end that one, then accept the instrument here"
                    .to_owned();
            self.unit.taken_over(&why);
            let (instrument, detail) = (self.plan.name.clone(), why.clone());
            self.outbox.put(Notice::NotOurs { instrument, detail });
        }
        if let Some(active) = self.state.active.take() {
            self.owe(active.flight.as_ref());
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
        self.go_down(&why);
    }

    /// Can be talked to.
    fn come_up(&mut self, detail: &str) {
        self.lamp.up(&mut self.outbox, detail);
        if !std::mem::replace(&mut self.state.up, true) {
            self.ask_at_first();
        }
    }

    /// Cannot be talked to: what is known of it is no longer so.
    fn go_down(&mut self, why: &str) {
        self.state.up = false;
        self.end_reads(why);
        self.forget(why);
        self.lamp.down(&mut self.outbox, why);
    }

    fn refuse_all(&mut self) {
        for request in std::mem::take(&mut self.state.queue) {
            let why = self.lamp.why_down();
            self.outbox.refuse(request.attempt().to_owned(), FailureKind::Link, why);
        }
    }

    fn abandon(&mut self, kind: FailureKind, why: &str) {
        if let Some(active) = self.state.active.take() {
            self.owe(active.flight.as_ref());
            let out = active.touched || active.flight.is_some();
            let effect = if out { Sent::Unknown } else { Sent::NotSent };
            self.outbox.failed(active.attempt, Fault::new(kind, effect, why), active.trace);
        }
    }

    fn is_up(&self) -> bool {
        let there = match (&self.state.node, &self.mqtt.liveness) {
            (Some(node), _) => node.is_born(),
            (None, Some(_)) => self.state.online == Some(true) && self.state.heard.is_some(),
            (None, None) => true,
        };
        self.state.session.is_some() && there
    }

    /// Scope of messages that belong to no action.
    fn scope(&self) -> Scope {
        Scope { client: self.client_id.clone(), ..self.plan.scope() }
    }

    /// Takes requests and moves the action under way as far as it goes without waiting.
    fn work(&mut self) {
        while let Some(request) = self.state.queue.pop_front() {
            self.outbox.begun(request.attempt());
            match request {
                Request::Act(command, epoch) => self.begin(command, epoch),
                Request::Read { attempt, property, .. } => self.read(attempt, &property),
            }
        }
        self.ask_next();
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
                    self.owe(active.flight.as_ref());
                    let out = active.touched || active.flight.is_some();
                    if out && fault.kind == FailureKind::Timeout {
                        self.clean_up(&mut active);
                        self.doubt("a command was not echoed");
                    }
                    self.outbox.failed(active.attempt, fault, active.trace);
                }
            }
        }
        // An action that has ended may have kept a question waiting.
        self.ask_next();
    }

    /// Lab time of the next thing that happens by itself.
    fn due(&self) -> Option<Tick> {
        let state = &self.state;
        let ages = state.values.iter().filter_map(|(name, (_, at))| {
            let age = self.plan.properties.get(name)?.max_age?;
            Some(at.plus(age).plus(Duration::from_nanos(1)))
        });
        let action = state.active.as_ref().map(|active| {
            let waits = active.flight.is_some() || state.asking.is_some();
            if waits { active.deadline } else { active.resume_at }
        });
        let polls = state.polls.values().copied().filter(|_| self.may_ask());
        let silence = match (&self.mqtt.liveness, state.heard) {
            (Some(liveness), Some(heard)) if state.online == Some(true) => {
                liveness.max_age.map(|age| heard.plus(age).plus(Duration::from_nanos(1)))
            }
            _ => None,
        };
        ages.chain(action).chain(polls).chain(silence).chain(self.silent_until()).min()
    }

    /// Wall time of the next thing that happens by itself.
    fn wall_due(&self) -> Option<Instant> {
        let state = &self.state;
        let waiting = state.waiting.iter().map(|waiting| waiting.until);
        let asking = state.asking.as_ref().map(|asking| asking.until);
        let unborn = state.node.as_ref().is_some_and(|node| !node.is_born());
        let rebirth = state.rebirth_at.filter(|_| unborn && state.session.is_some());
        // One that has passed already is acted on as soon as a question may be asked.
        let now = Instant::now();
        let owed = state.owed.values().copied();
        let owed = owed.filter(|until| !state.questions.is_empty() && *until > now);
        waiting.chain(asking).chain(rebirth).chain(owed).min()
    }

    /// Sleeps until there is something to do.
    async fn rest(&mut self, connect_at: Instant) {
        let clock = self.clock.clone();
        let (lab, wall) = (self.due(), self.wall_due());
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
            () = async { sleep_until(wall).await }, if wall.is_some() => {}
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
        self.late();
    }

    /// Takes note of an event; it may complete the message that is out.
    fn handle(&mut self, event: &Event) {
        // The connection carries something: it is worth having back at once.
        self.backoff.reset();
        if let Event::Message(message) = event {
            self.note(message);
        }
        self.answer_question(event);
        self.answer_action(event);
    }
}

async fn sleep_until(wall: Option<Instant>) {
    if let Some(wall) = wall {
        tokio::time::sleep_until(wall).await;
    }
}

fn shown(message: &Message) -> String {
    format!("{} {}", message.topic, printable(&message.payload))
}
