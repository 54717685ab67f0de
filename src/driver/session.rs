//! One instrument on a half-duplex line: prepared after each connect, polled, and with at most one
//! action under way.
//!
//! ```text
//! down -> identify, on_connect -> up -> (polls | one action | safe state) -> down
//! action: sending (one operation a turn) -> waiting (until its completion) -> outcome
//! ```
//!
//! An action gives the line back after each message, so that other instruments, and before all
//! safe states, get their turn.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::exchange::{Line, Trace};
use super::line::{Gate, Lamp, Outbox};
use super::plan::{ActionPlan, AskPlan, DonePlan, Op, Plan};
use super::scope::Scope;
use super::talk::{self, Talk};
use super::text::{Fault, Reply};
use super::types::{Command, FailureKind, Notice, Sent};
use super::values;
use crate::expr::{self, Value};
use crate::spec::instrument::EffectClass;
use crate::wire::{Backoff, Clock, Tick};

/// Rounds of identify and on_connect that an alarm or a restart may cost.
const MOST_PREPARATIONS: u32 = 3;

/// Unanswered questions in a row after which an instrument counts as gone, and answers that a wait
/// for completion may miss.
const MOST_MISSES: u32 = 3;

/// Times each message of a safe state is tried; it is absolute by nature.
const SAFE_TRIES: u32 = 2;

/// Times the confirmation of a safe state is read, and the pause between, in lab time.
const CONFIRM_TRIES: u32 = 5;
const CONFIRM_PAUSE: Duration = Duration::from_millis(200);

/// However fast lab time runs, one property is asked for this often at most, in wall time.
const SHORTEST_POLL: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub(super) struct Session {
    pub plan: Arc<Plan>,
    actions: BTreeMap<String, Arc<ActionPlan>>,
    pub lamp: Lamp,
    backoff: Backoff,
    up: bool,
    /// When to prepare it again.
    retry_at: Instant,
    polls: Vec<Poll>,
    active: Option<Active>,
    misses: u32,
    /// When the device was last heard, for its heartbeat.
    last_heard: Instant,
}

#[derive(Debug)]
struct Poll {
    property: String,
    every: Duration,
    due: Tick,
    /// Text of the question; other polls with the same one share its answer.
    question: Option<String>,
    last: Option<Value>,
}

/// An action under way.
#[derive(Debug)]
struct Active {
    attempt: String,
    action: Arc<ActionPlan>,
    scope: Scope,
    deadline: Tick,
    next: usize,
    resume_at: Tick,
    trace: Trace,
    value: Option<Value>,
    /// A message that may have an effect was accepted.
    touched: bool,
    repeated: bool,
    misses: u32,
    held_since: Option<Tick>,
}

/// What a session needs from its surroundings.
pub(super) struct World<'a> {
    pub line: &'a mut Line,
    pub outbox: &'a mut Outbox,
    pub gate: &'a Gate,
}

impl Session {
    pub fn new(plan: Arc<Plan>, lamp: Lamp, clock: &Clock, seed: u64) -> Session {
        let now = clock.now();
        let scope = plan.scope();
        let polls = plan
            .properties
            .iter()
            .filter_map(|(name, property)| {
                let every = property.every?;
                let question = match &property.ask {
                    Some(AskPlan::Text { template, .. }) => {
                        template.render(&|name| scope.look_up(name)).ok().map(|(text, _)| text)
                    }
                    _ => None,
                };
                Some(Poll { property: name.clone(), every, due: now, question, last: None })
            })
            .collect();
        let actions =
            plan.actions.iter().map(|(n, action)| (n.clone(), Arc::new(action.clone()))).collect();
        Session {
            plan,
            actions,
            lamp,
            backoff: Backoff::new(seed),
            up: false,
            retry_at: Instant::now(),
            polls,
            active: None,
            misses: 0,
            last_heard: Instant::now(),
        }
    }

    /// Takes the instrument as prepared; for golden bytes, which begin there.
    pub fn assume_up(&mut self) {
        self.up = true;
        self.polls.clear();
    }

    pub fn is_up(&self) -> bool {
        self.up
    }

    /// When it wants its next turn on an open line; `None` while it only waits to be prepared
    /// (see [`Session::retry_at`]).
    pub fn due(&self) -> Option<Tick> {
        let poll = self.polls.iter().map(|poll| poll.due).min();
        let active = self.active.as_ref().map(|active| active.resume_at);
        if !self.up {
            return None;
        }
        [poll, active].into_iter().flatten().min()
    }

    pub fn active_due(&self) -> Option<Tick> {
        self.active.as_ref().filter(|_| self.up).map(|active| active.resume_at)
    }

    /// A deadline passes also while the line is down.
    pub fn deadline(&self) -> Option<Tick> {
        self.active.as_ref().map(|active| active.deadline)
    }

    pub fn retry_at(&self) -> Instant {
        self.retry_at
    }

    /// When the device must hear from us, if it watches the line.
    pub fn feed_at(&self) -> Option<Instant> {
        let beat = self.plan.heartbeat.as_ref().filter(|_| self.up)?;
        Some(self.last_heard + beat.period / 3)
    }

    pub fn is_active(&self, attempt: &str) -> bool {
        self.active.as_ref().is_some_and(|active| active.attempt == attempt)
    }

    /// The line broke or the device is gone.
    pub fn went_down(&mut self, why: &str, outbox: &mut Outbox) {
        self.up = false;
        self.misses = 0;
        self.retry_at = Instant::now() + self.backoff.pause();
        self.lamp.down(outbox, why);
    }

    /// Identify, prepare, arm the heartbeat.
    pub async fn prepare(&mut self, world: &mut World<'_>) {
        let scope = self.plan.scope();
        let mut rebooted = None;
        for _ in 0..MOST_PREPARATIONS {
            let mut trace = Trace::default();
            let mut fault = None;
            let plan = Arc::clone(&self.plan);
            let arm = plan.heartbeat.as_ref().map(|beat| beat.arm.as_slice()).unwrap_or_default();
            for op in plan.identify.iter().chain(&plan.on_connect).chain(arm) {
                let mut talk = Talk { plan: &plan, line: world.line, trace: &mut trace };
                if let Err(found) = talk.run(op, &scope).await {
                    fault = Some(found);
                    break;
                }
            }
            match fault {
                None => {
                    self.up = true;
                    self.misses = 0;
                    self.backoff.reset();
                    self.last_heard = Instant::now();
                    let now = world.line.clock.now();
                    for poll in &mut self.polls {
                        poll.due = now;
                    }
                    self.lamp.up(world.outbox, "identified and ready");
                    if let Some(detail) = rebooted {
                        self.tell_rebooted(detail, world.outbox);
                    }
                    return;
                }
                Some(fault) if fault.kind == FailureKind::Alarm => {
                    // The alarm is cleared by being read; what it replaced is asked again.
                    if fault.rebooted {
                        rebooted = Some(fault.message.clone());
                    } else {
                        self.tell_alarm(&fault, world.outbox);
                    }
                    if fault.broken || !world.line.is_open() {
                        self.went_down(&fault.message, world.outbox);
                        return;
                    }
                }
                Some(fault) => {
                    self.went_down(&fault.message, world.outbox);
                    if let Some(detail) = rebooted {
                        self.tell_rebooted(detail, world.outbox);
                    }
                    return;
                }
            }
        }
        self.went_down("its alarm does not clear", world.outbox);
    }

    fn tell_rebooted(&self, detail: String, outbox: &mut Outbox) {
        outbox.put(Notice::Rebooted { instrument: self.plan.name.clone(), detail });
    }

    fn tell_alarm(&self, fault: &Fault, outbox: &mut Outbox) {
        let detail = fault.message.clone();
        outbox.put(Notice::Alarm { instrument: self.plan.name.clone(), detail });
    }

    /// Takes note of how a question ended; `true` when the session is still up.
    fn heed(&mut self, fault: &Fault, outbox: &mut Outbox) -> bool {
        if fault.effect != Sent::NotSent && fault.kind != FailureKind::Timeout {
            self.last_heard = Instant::now();
        }
        if fault.kind == FailureKind::Alarm && !fault.rebooted {
            self.tell_alarm(fault, outbox);
        }
        if fault.rebooted {
            self.tell_rebooted(fault.message.clone(), outbox);
            // It forgot what on_connect told it.
            self.up = false;
            self.retry_at = Instant::now();
            return false;
        }
        if fault.broken {
            return false;
        }
        if fault.kind == FailureKind::Timeout {
            self.misses += 1;
            if self.misses >= MOST_MISSES {
                self.went_down("it does not answer", outbox);
                return false;
            }
        } else {
            self.misses = 0;
        }
        true
    }

    fn heard(&mut self) {
        self.misses = 0;
        self.last_heard = Instant::now();
    }

    /// Begins an action, or refuses it.
    pub fn begin(&mut self, command: Command, world: &mut World<'_>) {
        let refuse = |outbox: &mut Outbox, kind, why: String| {
            outbox.refuse(command.attempt.clone(), kind, why);
        };
        if !self.up {
            return refuse(world.outbox, FailureKind::Link, self.lamp.why_down());
        }
        if let Some(active) = &self.active {
            let why = format!("attempt {} is still under way", active.attempt);
            return refuse(world.outbox, FailureKind::Busy, why);
        }
        let Some(action) = self.actions.get(&command.action) else {
            let why = format!("it has no action `{}`", command.action);
            return refuse(world.outbox, FailureKind::Internal, why);
        };
        let args = match values::complete(&action.args, &command.args, "arguments") {
            Ok(args) => args,
            Err(why) => return refuse(world.outbox, FailureKind::Internal, why.join("; ")),
        };
        let clock = &world.line.clock;
        let now = clock.now();
        let grace = clock.lab_span(self.plan.reply_timeout);
        self.active = Some(Active {
            attempt: command.attempt.clone(),
            action: Arc::clone(action),
            scope: Scope { args, command: command.attempt, ..Scope::of_config(&self.plan.config) },
            deadline: now.plus(command.deadline).plus(grace),
            next: 0,
            resume_at: now,
            trace: Trace::default(),
            value: None,
            touched: false,
            repeated: false,
            misses: 0,
            held_since: None,
        });
    }

    /// Reads a property for somebody.
    pub async fn read(&mut self, attempt: String, property: &str, world: &mut World<'_>) {
        if !self.up {
            return world.outbox.refuse(attempt, FailureKind::Link, self.lamp.why_down());
        }
        let mut trace = Trace::default();
        let mut last = None;
        for _ in 0..2 {
            let plan = Arc::clone(&self.plan);
            let mut talk = Talk { plan: &plan, line: world.line, trace: &mut trace };
            match talk.property(property).await {
                Ok(value) => {
                    self.heard();
                    return world.outbox.done(attempt, Some(value), trace);
                }
                Err(fault) => {
                    let up = self.heed(&fault, world.outbox);
                    let again =
                        up && matches!(fault.kind, FailureKind::Timeout | FailureKind::BadReply);
                    let open = world.line.is_open();
                    last = Some(fault);
                    if !(again && open) {
                        break;
                    }
                }
            }
        }
        if let Some(fault) = last {
            world.outbox.failed(attempt, fault, trace);
        }
    }

    /// Gives the action under way its turn.
    pub async fn act(&mut self, world: &mut World<'_>) {
        let Some(mut active) = self.active.take() else { return };
        let sending = active.next < active.action.operations.len();
        let result = if sending {
            self.send_next(&mut active, world).await
        } else {
            self.wait_on(&mut active, world).await
        };
        match result {
            Ok(false) => self.active = Some(active),
            Ok(true) => world.outbox.done(active.attempt, active.value, active.trace),
            Err(mut fault) => {
                let waiting = !sending;
                // A lost connection does not end what the device is doing.
                if waiting && fault.broken {
                    self.active = Some(active);
                    return;
                }
                if (active.touched || waiting) && fault.effect != Sent::Unknown {
                    fault.effect = Sent::Unknown;
                }
                if active.touched {
                    self.clean_up(&mut active, world).await;
                }
                world.outbox.failed(active.attempt, fault, active.trace);
            }
        }
    }

    /// Sends one operation; `true` when the action is complete.
    async fn send_next(
        &mut self,
        active: &mut Active,
        world: &mut World<'_>,
    ) -> Result<bool, Fault> {
        let now = world.line.clock.now();
        if active.next == 0 {
            if now > active.deadline {
                let why = "it waited too long for its turn on the line";
                return Err(Fault::new(FailureKind::Timeout, Sent::NotSent, why));
            }
            for (condition, text) in &active.action.require {
                let mut talk =
                    Talk { plan: &self.plan, line: world.line, trace: &mut active.trace };
                let holds = talk.holds(condition, &active.scope).await.map_err(|mut fault| {
                    fault.effect = Sent::NotSent;
                    fault
                })?;
                if !holds {
                    let why = format!("its condition `{text}` does not hold");
                    return Err(Fault::new(FailureKind::Refused, Sent::NotSent, why));
                }
            }
        }
        // SAFETY(lab): the last thing before the wire; a gate that closed between two messages of
        // an action stops it there.
        if active.action.effect != EffectClass::Read {
            world.gate.check().map_err(|why| Fault::new(FailureKind::Gate, Sent::NotSent, why))?;
        }
        let action = Arc::clone(&active.action);
        let Some(op) = action.operations.get(active.next) else { return Ok(true) };
        let mut talk = Talk { plan: &self.plan, line: world.line, trace: &mut active.trace };
        let heard = match talk.run(op, &active.scope).await {
            Ok(heard) => heard,
            Err(fault) => {
                let up = self.heed(&fault, world.outbox);
                let harmless = action.effect == EffectClass::Read;
                let lost = matches!(fault.kind, FailureKind::Timeout | FailureKind::BadReply);
                if harmless && up && lost && !active.repeated && world.line.is_open() {
                    active.repeated = true;
                    return Ok(false);
                }
                return Err(fault);
            }
        };
        self.heard();
        active.touched |= heard.sent;
        if let Some(raw) = heard.raw {
            let value = values::returned(action.returns.as_ref(), raw)
                .map_err(|why| Fault::new(FailureKind::BadReply, Sent::Unknown, why))?;
            active.value = value.or(active.value.take());
        }
        active.next += 1;
        let now = world.line.clock.now();
        active.resume_at = match op {
            Op::Pause(pause) => now.plus(*pause),
            _ => now,
        };
        if active.next < action.operations.len() {
            return Ok(false);
        }
        match &action.done {
            None => Ok(active.resume_at <= now),
            Some(DonePlan::Poll { every, .. } | DonePlan::Until { every, .. }) => {
                active.resume_at = active.resume_at.plus(*every);
                Ok(false)
            }
            Some(DonePlan::After(time)) => {
                let span = span_of(time, &active.scope)
                    .map_err(|why| Fault::new(FailureKind::Internal, Sent::Unknown, why))?;
                active.resume_at = active.resume_at.plus(span);
                Ok(false)
            }
        }
    }

    /// Looks whether the action is complete; `true` when it is.
    async fn wait_on(&mut self, active: &mut Active, world: &mut World<'_>) -> Result<bool, Fault> {
        let action = Arc::clone(&active.action);
        let mut talk = Talk { plan: &self.plan, line: world.line, trace: &mut active.trace };
        let (result, every) = match &action.done {
            None | Some(DonePlan::After(_)) => return Ok(true),
            Some(DonePlan::Poll { send, until, every }) => {
                let status = talk.status(send, &active.scope).await;
                (status.map(|status| status.is_some_and(|s| until.contains(&s))), *every)
            }
            Some(DonePlan::Until { condition, every, .. }) => {
                (talk.holds(condition, &active.scope).await, *every)
            }
        };
        let now = world.line.clock.now();
        active.resume_at = next_turn(&world.line.clock, now, every);
        match result {
            Ok(holds) => {
                self.heard();
                active.misses = 0;
                let held_for = match &action.done {
                    Some(DonePlan::Until { held_for, .. }) => *held_for,
                    _ => Duration::ZERO,
                };
                let since = holds.then(|| active.held_since.unwrap_or(now));
                active.held_since = since;
                if since.is_some_and(|since| now.since(since) >= held_for) {
                    return Ok(true);
                }
            }
            Err(fault) => {
                self.heed(&fault, world.outbox);
                active.misses += 1;
                let lost = matches!(fault.kind, FailureKind::Timeout | FailureKind::BadReply);
                if fault.broken || !lost || active.misses >= MOST_MISSES {
                    return Err(fault);
                }
            }
        }
        if now >= active.deadline {
            return Err(late());
        }
        active.resume_at = active.resume_at.min(active.deadline);
        Ok(false)
    }

    /// Ends an action whose deadline passed while its instrument could not be asked.
    pub fn expire(&mut self, now: Tick, outbox: &mut Outbox) {
        if self.up {
            return;
        }
        if let Some(active) = self.active.take_if(|active| now >= active.deadline) {
            outbox.failed(active.attempt, late(), active.trace);
        }
    }

    /// Sends what the definition says for an action that is stopped half-way.
    async fn clean_up(&mut self, active: &mut Active, world: &mut World<'_>) {
        for op in &active.action.on_cancel {
            if !world.line.is_open() {
                return;
            }
            let mut talk = Talk { plan: &self.plan, line: world.line, trace: &mut active.trace };
            if let Err(fault) = talk.run(op, &active.scope).await {
                self.heed(&fault, world.outbox);
            }
        }
    }

    /// Stops the action under way.
    pub async fn cancel(&mut self, world: &mut World<'_>) {
        let Some(mut active) = self.active.take() else { return };
        if active.touched {
            self.clean_up(&mut active, world).await;
        }
        let effect = if active.touched { Sent::Unknown } else { Sent::NotSent };
        let fault = Fault::new(FailureKind::Person, effect, "it was cancelled");
        world.outbox.failed(active.attempt, fault, active.trace);
    }

    /// Ends the action under way without sending anything for it.
    pub fn abandon(&mut self, kind: FailureKind, why: &str, outbox: &mut Outbox) {
        if let Some(active) = self.active.take() {
            let effect = if active.touched { Sent::Unknown } else { Sent::NotSent };
            outbox.failed(active.attempt, Fault::new(kind, effect, why), active.trace);
        }
    }

    /// An action that had sent only part of its messages when the line broke cannot go on.
    pub fn line_broke(&mut self, outbox: &mut Outbox) {
        let sending =
            |active: &mut Active| active.next > 0 && active.next < active.action.operations.len();
        if let Some(active) = self.active.take_if(sending) {
            let effect = if active.touched { Sent::Unknown } else { Sent::NotSent };
            let why = "the connection was lost between two of its messages";
            outbox.failed(active.attempt, Fault::new(FailureKind::Link, effect, why), active.trace);
        }
    }

    /// Sends the safe state, whatever else is going on, and tells how it went.
    pub async fn make_safe(&mut self, world: &mut World<'_>) {
        self.abandon(FailureKind::Gate, "the safe state was sent", world.outbox);
        let mut trace = Trace::default();
        let mut troubles = Vec::new();
        let scope = self.plan.scope();
        let plan = Arc::clone(&self.plan);
        for op in &plan.safe_state {
            if let Op::Pause(pause) = op {
                world.line.clock.sleep(*pause).await;
                continue;
            }
            let mut trouble = None;
            for _ in 0..SAFE_TRIES {
                if !world.line.is_open() && world.line.open().await.is_err() {
                    trouble = Some("there is no connection".to_owned());
                    break;
                }
                let mut talk = Talk { plan: &plan, line: world.line, trace: &mut trace };
                match talk.run(op, &scope).await {
                    Ok(_) => {
                        trouble = None;
                        break;
                    }
                    Err(fault) => {
                        self.heed(&fault, world.outbox);
                        trouble = Some(fault.message);
                    }
                }
            }
            troubles.extend(trouble);
        }
        if troubles.is_empty()
            && let Some(confirm) = &plan.confirm
        {
            let mut seen = Err("it was not confirmed".to_owned());
            for turn in 0..CONFIRM_TRIES {
                if turn > 0 {
                    world.line.clock.sleep(CONFIRM_PAUSE).await;
                }
                let mut talk = Talk { plan: &plan, line: world.line, trace: &mut trace };
                match talk.holds(confirm, &scope).await {
                    Ok(true) => {
                        seen = Ok(());
                        break;
                    }
                    Ok(false) => seen = Err("its read-back does not confirm it".to_owned()),
                    Err(fault) => {
                        self.heed(&fault, world.outbox);
                        seen = Err(fault.message);
                    }
                }
            }
            troubles.extend(seen.err());
        }
        let confirmed = troubles.is_empty();
        let detail = if confirmed { "confirmed".to_owned() } else { troubles.join("; ") };
        world.outbox.put(Notice::SafeState {
            instrument: plan.name.clone(),
            confirmed,
            detail,
            trace: trace.all,
        });
    }

    /// Polls the property that is due longest, if any.
    pub async fn poll(&mut self, world: &mut World<'_>) -> bool {
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
                self.heard();
                self.sample(&name, value, world);
                if let Some(reply) = reply {
                    self.share(&name, question.as_deref(), &reply, world);
                }
            }
            Err(fault) => {
                self.heed(&fault, world.outbox);
                self.sample(&name, Value::Missing(fault.message.as_str().into()), world);
            }
        }
        true
    }

    fn sample(&mut self, property: &str, value: Value, world: &mut World<'_>) {
        if let Some(poll) = self.polls.iter_mut().find(|poll| poll.property == property) {
            poll.last = Some(value.clone());
        }
        world.outbox.put(Notice::Sample {
            instrument: self.plan.name.clone(),
            property: property.to_owned(),
            value,
            at: world.line.clock.now(),
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
                self.sample(name, value, world);
            }
        }
    }

    /// Lets the device hear from us.
    pub async fn feed(&mut self, world: &mut World<'_>) {
        self.last_heard = Instant::now();
        let plan = Arc::clone(&self.plan);
        let scope = plan.scope();
        let mut trace = Trace::default();
        if let Some(op) = plan.identify.first() {
            let mut talk = Talk { plan: &plan, line: world.line, trace: &mut trace };
            if let Err(fault) = talk.run(op, &scope).await {
                self.heed(&fault, world.outbox);
            }
        }
    }

    /// Ends on purpose: the device need not miss us.
    pub async fn farewell(&mut self, world: &mut World<'_>) {
        self.abandon(FailureKind::Link, "the driver was shut down", world.outbox);
        let plan = Arc::clone(&self.plan);
        let (Some(beat), true) = (&plan.heartbeat, self.up) else { return };
        let scope = plan.scope();
        let mut trace = Trace::default();
        for op in &beat.disarm {
            let mut talk = Talk { plan: &plan, line: world.line, trace: &mut trace };
            if talk.run(op, &scope).await.is_err() {
                return;
            }
        }
    }
}

fn next_turn(clock: &Clock, now: Tick, every: Duration) -> Tick {
    let least =
        if clock.speed().is_finite() { clock.lab_span(SHORTEST_POLL) } else { SHORTEST_POLL };
    now.plus(every.max(least))
}

fn late() -> Fault {
    Fault::new(FailureKind::Timeout, Sent::Unknown, "it was not done by its deadline")
}

/// A time from an expression.
pub(super) fn span_of(time: &expr::Expr, scope: &Scope) -> Result<Duration, String> {
    match expr::eval(time, scope).map_err(|error| error.message)? {
        Value::Quantity(quantity) if quantity.dim == crate::units::Dimension::TIME => {
            Duration::try_from_secs_f64(quantity.value).map_err(|_| "a time below zero".to_owned())
        }
        _ => Err("its duration is not a time".to_owned()),
    }
}
