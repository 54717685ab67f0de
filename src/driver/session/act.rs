//! Actions: sent message by message, then watched until they are complete.

use std::sync::Arc;
use std::time::Duration;

use super::{MOST_MISSES, Session, World, next_turn};
use crate::driver::exchange::Trace;
use crate::driver::line::Outbox;
use crate::driver::plan::{ActionPlan, DonePlan, Op};
use crate::driver::scope::Scope;
use crate::driver::talk::{Talk, sendable};
use crate::driver::text::Fault;
use crate::driver::types::{Command, FailureKind, Sent};
use crate::driver::values;
use crate::expr::{self, Value};
use crate::spec::instrument::EffectClass;
use crate::wire::Tick;

/// An action under way.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) attempt: String,
    /// Fencing epoch of whoever gave it.
    pub(super) epoch: u64,
    pub(super) action: Arc<ActionPlan>,
    pub(super) scope: Scope,
    pub(super) deadline: Tick,
    pub(super) next: usize,
    pub(super) resume_at: Tick,
    pub(super) trace: Trace,
    pub(super) value: Option<Value>,
    /// A message that may have an effect was accepted.
    pub(super) touched: bool,
    pub(super) repeated: bool,
    pub(super) misses: u32,
    pub(super) held_since: Option<Tick>,
}

impl Session {
    /// Begins an action, or refuses it.
    pub(in crate::driver) fn begin(&mut self, command: Command, epoch: u64, world: &mut World<'_>) {
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
        let config = Scope::of_config(&self.plan.config);
        let mut scope = Scope { args, command: command.attempt.clone(), ..config };
        if let Err(why) = values::compute(&mut scope, &action.compute) {
            return refuse(world.outbox, FailureKind::Internal, why);
        }
        // SAFETY(lab): all of it or nothing; half an action leaves the device in between.
        if let Err(why) = action.operations.iter().try_for_each(|op| sendable(op, &scope)) {
            return refuse(world.outbox, FailureKind::Internal, why);
        }
        let clock = &world.line.clock;
        let now = clock.now();
        let grace = clock.lab_span(self.plan.reply_timeout);
        self.active = Some(Active {
            attempt: command.attempt.clone(),
            epoch,
            action: Arc::clone(action),
            scope,
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

    /// Gives the action under way its turn.
    pub(in crate::driver) async fn act(&mut self, world: &mut World<'_>) {
        let Some(mut active) = self.active.take() else { return };
        let sending = active.next < active.action.operations.len();
        let result = if sending {
            self.send_next(&mut active, world).await
        } else {
            self.wait_on(&mut active, world).await
        };
        match result {
            Ok(false) => self.active = Some(active),
            // Nothing of this turn was sent; it is taken again after the safe state.
            Err(fault) if fault.yields && fault.effect == Sent::NotSent => {
                active.resume_at = world.line.clock.now();
                self.active = Some(active);
            }
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
                // An answer that is missing is no reason to stop what may well be running: a
                // witness will tell. Only what does not end by its deadline is stopped.
                if waiting && world.line.clock.now() >= active.deadline {
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
            world
                .gate
                .check(active.epoch)
                .map_err(|why| Fault::new(FailureKind::Gate, Sent::NotSent, why))?;
        }
        let action = Arc::clone(&active.action);
        let Some(op) = action.operations.get(active.next) else { return Ok(true) };
        let mut talk = Talk { plan: &self.plan, line: world.line, trace: &mut active.trace };
        let heard = match talk.run(op, &active.scope).await {
            Ok(heard) => heard,
            Err(fault) => {
                let up = self.heed(&fault, world.line.clock.now(), world.outbox);
                let harmless = action.effect == EffectClass::Read;
                let lost = matches!(fault.kind, FailureKind::Timeout | FailureKind::BadReply);
                if harmless && up && lost && !active.repeated && world.line.is_open() {
                    active.repeated = true;
                    return Ok(false);
                }
                return Err(fault);
            }
        };
        self.heard(&mut active.trace, world);
        active.touched |= heard.sent;
        active.value = heard.value.or(active.value.take());
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
                active.resume_at = active.resume_at.plus(*every).min(active.deadline);
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
            None | Some(DonePlan::After(_)) if active.resume_at > active.deadline => {
                return Err(late());
            }
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
                self.heard(&mut active.trace, world);
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
                self.heed(&fault, world.line.clock.now(), world.outbox);
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
    pub(in crate::driver) fn expire(&mut self, now: Tick, outbox: &mut Outbox) {
        if self.up {
            return;
        }
        if let Some(active) = self.active.take_if(|active| now >= active.deadline) {
            outbox.failed(active.attempt, late(), active.trace);
        }
    }

    /// Sends what the definition says for an action that is stopped half-way.
    async fn clean_up(&mut self, active: &mut Active, world: &mut World<'_>) {
        // SAFETY(lab): what stops an action is not put off for the safe state of another instrument.
        world.line.saves = true;
        for op in &active.action.on_cancel {
            if !world.line.is_open() {
                break;
            }
            let mut talk = Talk { plan: &self.plan, line: world.line, trace: &mut active.trace };
            if let Err(fault) = talk.run(op, &active.scope).await {
                self.heed(&fault, world.line.clock.now(), world.outbox);
            }
        }
        world.line.saves = false;
    }

    /// Stops the action under way.
    pub(in crate::driver) async fn cancel(&mut self, world: &mut World<'_>) {
        let Some(mut active) = self.active.take() else { return };
        if active.touched {
            self.clean_up(&mut active, world).await;
        }
        let effect = if active.touched { Sent::Unknown } else { Sent::NotSent };
        let fault = Fault::new(FailureKind::Person, effect, "it was cancelled");
        world.outbox.failed(active.attempt, fault, active.trace);
    }

    /// Ends the action under way without sending anything for it.
    pub(in crate::driver) fn abandon(&mut self, kind: FailureKind, why: &str, outbox: &mut Outbox) {
        if let Some(active) = self.active.take() {
            let effect = if active.touched { Sent::Unknown } else { Sent::NotSent };
            outbox.failed(active.attempt, Fault::new(kind, effect, why), active.trace);
        }
    }

    /// An action that had not sent all of its messages when the line broke cannot go on: what
    /// waited is not sent later, and of what was sent in part nobody knows where it stands.
    pub(in crate::driver) fn line_broke(&mut self, outbox: &mut Outbox) {
        let sending = |active: &mut Active| active.next < active.action.operations.len();
        if let Some(active) = self.active.take_if(sending) {
            let effect = if active.touched { Sent::Unknown } else { Sent::NotSent };
            let why = "the connection was lost before all of it was sent";
            outbox.failed(active.attempt, Fault::new(FailureKind::Link, effect, why), active.trace);
        }
    }
}

fn late() -> Fault {
    Fault::new(FailureKind::Timeout, Sent::Unknown, "it was not done by its deadline")
}

/// A time from an expression.
pub(in crate::driver) fn span_of(time: &expr::Expr, scope: &Scope) -> Result<Duration, String> {
    match expr::eval(time, scope).map_err(|error| error.message)? {
        Value::Quantity(quantity) if quantity.dim == crate::units::Dimension::TIME => {
            Duration::try_from_secs_f64(quantity.value).map_err(|_| "a time below zero".to_owned())
        }
        _ => Err("its duration is not a time".to_owned()),
    }
}
