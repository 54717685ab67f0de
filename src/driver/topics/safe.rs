//! The safe state of one instrument behind a broker.

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::publish::{Flight, Verdict};
use super::{Topics, shown};
use crate::driver::exchange::Trace;
use crate::driver::isolated::caught;
use crate::driver::plan::{AskPlan, Op};
use crate::driver::scope::Scope;
use crate::driver::types::{FailureKind, Notice, Way};
use crate::expr::Expr;
use crate::wire::mqtt::Event;

impl Topics {
    /// Sends the safe state, whatever else is going on, and tells how it went.
    pub(super) async fn make_safe(&mut self) {
        self.abandon(FailureKind::Gate, "the safe state was sent");
        for request in std::mem::take(&mut self.state.queue) {
            let why = "the safe state was sent".to_owned();
            self.outbox.refuse(request.attempt().to_owned(), FailureKind::Gate, why);
        }
        self.end_reads("the safe state was sent");
        let plan = Arc::clone(&self.plan);
        let mut trace = Trace::default();
        let mut troubles = Vec::new();
        if self.state.session.is_none()
            && self.unit.strange().is_none()
            && let Err(error) = self.connect().await
        {
            self.lost(&error);
        }
        let born = caught(self.await_birth()).await;
        troubles.extend(self.panicked(born).await.err());
        for op in &plan.safe_state {
            if let Op::Pause(pause) = op {
                self.clock.sleep(*pause).await;
                continue;
            }
            self.state.making_safe = true;
            // SAFETY(lab): a driver that panics over the answer to one message must not keep the
            // next from the wire.
            let sent = caught(self.send_safely(op, &mut trace)).await;
            troubles.extend(self.panicked(sent).await.and_then(|sent| sent).err());
            self.state.making_safe = false;
        }
        if let (Some(confirm), true) = (&plan.confirm, troubles.is_empty()) {
            let seen = caught(self.confirm(confirm, &mut trace)).await;
            troubles.extend(self.panicked(seen).await.and_then(|seen| seen).err());
        }
        let confirmed = troubles.is_empty();
        let detail = if confirmed { "confirmed".to_owned() } else { troubles.join("; ") };
        let instrument = plan.name.clone();
        self.outbox.put(Notice::SafeState { instrument, confirmed, detail, trace: trace.all });
    }

    /// What was done, unless its driver panicked over it: then it is connected anew.
    async fn panicked<T>(&mut self, done: Result<T, String>) -> Result<T, String> {
        let panic = match done {
            Ok(done) => return Ok(done),
            Err(panic) => panic,
        };
        let why = format!("its driver panicked: {panic}");
        tracing::error!(instrument = %self.plan.name, %why);
        self.start_over(&why);
        self.lamp.down(&mut self.outbox, &why);
        if self.unit.strange().is_none()
            && let Err(error) = self.connect().await
        {
            self.lost(&error);
        }
        Err(why)
    }

    /// Without its birth certificate a Sparkplug instrument can only be spoken to blindly.
    async fn await_birth(&mut self) {
        if self.state.node.as_ref().is_some_and(|node| !node.is_born()) {
            self.send_rebirth();
        }
        let deadline = Instant::now() + self.plan.reply_timeout;
        while self.state.node.as_ref().is_some_and(|node| !node.is_born())
            && self.step(deadline).await.is_ok()
        {}
    }

    async fn send_safely(&mut self, op: &Op, trace: &mut Trace) -> Result<(), String> {
        self.state.safe_states += 1;
        let id = format!("{}{}-safe-{}", self.origin, self.client_id, self.state.safe_states);
        let scope = Scope { command: id.clone(), ..self.scope() };
        // SAFETY(lab): sent at once, but an answer that may be another's confirms nothing.
        let uncertain = self.silence_left(op).is_some();
        let flight = self.publish(op, &scope, &id, trace).map_err(|fault| fault.message)?;
        let answered = self.await_flight(&flight, trace).await;
        if answered.is_err() {
            self.owe(Some(&flight));
        }
        answered?;
        match uncertain {
            true => Err("its answer cannot be told from an earlier one".to_owned()),
            false => Ok(()),
        }
    }

    /// The next event, with note taken of it.
    async fn step(&mut self, deadline: Instant) -> Result<Event, String> {
        let Some(session) = &mut self.state.session else {
            return Err("there is no connection".to_owned());
        };
        match timeout_at(deadline, session.next()).await {
            Err(_) => Err("it does not answer".to_owned()),
            Ok(Err(error)) => {
                self.lost(&error);
                Err(error.to_string())
            }
            Ok(Ok(event)) => {
                self.handle(&event);
                Ok(event)
            }
        }
    }

    /// Waits for the answer to one message, taking note of all others.
    async fn await_flight(&mut self, flight: &Flight, trace: &mut Trace) -> Result<(), String> {
        let deadline = Instant::now() + self.plan.reply_timeout;
        loop {
            if flight.ticket.id.is_none() && flight.reply.is_none() {
                // With QoS 0 nothing comes back: once it has left no more can be known.
                let Some(session) = &mut self.state.session else {
                    return Err("there is no connection".to_owned());
                };
                if session.has_left(flight.ticket) {
                    return Ok(());
                }
                let left = timeout_at(deadline, session.next_or_left(flight.ticket)).await;
                match left {
                    Err(_) => return Err("the broker takes nothing".to_owned()),
                    Ok(Err(error)) => {
                        self.lost(&error);
                        return Err(error.to_string());
                    }
                    Ok(Ok(Some(event))) => self.handle(&event),
                    Ok(Ok(None)) => {}
                }
                continue;
            }
            let event = self.step(deadline).await?;
            let verdict = self.judge(flight, &event);
            if let (
                Event::Message(message),
                Verdict::Answered(_) | Verdict::Progress | Verdict::Failed(_),
            ) = (&event, &verdict)
            {
                trace.add(&self.clock, Way::In, shown(message));
            }
            match verdict {
                Verdict::Nothing | Verdict::Progress => {}
                Verdict::Answered(_) => return Ok(()),
                Verdict::Failed(fault) => return Err(fault.message),
            }
        }
    }

    /// Waits until the read-back shows the safe state, and asks for it where that can be done.
    async fn confirm(&mut self, confirm: &Expr, trace: &mut Trace) -> Result<(), String> {
        let deadline = Instant::now() + self.plan.reply_timeout;
        let plan = Arc::clone(&self.plan);
        for name in confirm.names().iter().filter_map(|path| path.first()) {
            let ask = plan.properties.get(name).and_then(|property| property.ask.as_ref());
            if let Some(AskPlan::Topic { query: Some(_), .. }) = ask {
                // Known only from before the safe state: asked for anew below.
                self.state.values.remove(name);
            }
        }
        // A node reports changes only: what was known before, its next birth shows anew.
        self.doubt("its safe state was sent");
        self.ask_for(confirm, trace);
        loop {
            if matches!(self.holds(confirm, &self.scope()), Ok(true)) {
                return Ok(());
            }
            self.ask_for(confirm, trace);
            self.step(deadline)
                .await
                .map_err(|why| format!("its read-back does not confirm it: {why}"))?;
        }
    }

    /// Asks for the properties of a condition that have no live value, one at a time.
    fn ask_for(&mut self, condition: &Expr, trace: &mut Trace) {
        for name in condition.names().iter().filter_map(|path| path.first()) {
            if self.state.values.contains_key(name) {
                continue;
            }
            if let Some(question) = self.query(name) {
                self.ask_now(question, trace);
            }
        }
    }
}
