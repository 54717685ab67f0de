//! An instrument that is not there: every action is done at once and every property is missing.
//! For measuring what labloop itself costs per step.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::exchange::Trace;
use super::gate::Gate;
use super::isolated::{Driven, Then};
use super::line::{Lamp, Outbox, Request, Urgent, refuse_for_good};
use super::plan::Plan;
use super::types::{FailureKind, Notice};
use super::values;
use crate::expr::Value;
use crate::spec::instrument::EffectClass;

pub(super) struct Null {
    pub plan: Arc<Plan>,
    pub requests: mpsc::Receiver<Request>,
    pub urgent: Arc<Urgent>,
    pub outbox: Outbox,
    pub gate: Arc<Gate>,
    pub lamp: Lamp,
    /// It was told to end.
    pub ends: bool,
}

impl Driven for Null {
    async fn drive(&mut self) {
        self.lamp.up(&mut self.outbox, "nothing to connect to");
        while !self.ends {
            if self.urgent.has_lapsed() {
                let why = self.gate.check(self.gate.epoch()).err().unwrap_or_default();
                return self.refuse_all(FailureKind::Gate, &why).await;
            }
            let room = !self.outbox.is_full();
            let mut arrived = None;
            tokio::select! {
                biased;
                () = self.urgent.wait() => {
                    let pending = self.urgent.take();
                    self.ends |= pending.shutdown;
                    for instrument in pending.safe {
                        let detail = "there is nothing to make safe".to_owned();
                        let trace = Vec::new();
                        self.outbox.put(Notice::SafeState { instrument, confirmed: true, detail, trace });
                    }
                }
                () = self.outbox.room() => self.outbox.flush(),
                request = self.requests.recv(), if room => match request {
                    Some(request) => arrived = Some(request),
                    None => self.ends = true,
                },
            }
            if let Some(request) = arrived {
                self.answer(request);
            }
        }
        self.outbox.finish().await;
    }

    fn renew(&mut self, why: &str, _then: Then) {
        self.outbox.give_up(why);
        self.lamp.lost(&mut self.outbox, why);
    }

    async fn refuse(&mut self, why: &str) {
        self.refuse_all(FailureKind::Link, why).await;
    }
}

impl Null {
    async fn refuse_all(&mut self, kind: FailureKind, why: &str) {
        self.urgent.release();
        if !self.ends {
            let (requests, urgent) = (&mut self.requests, &self.urgent);
            refuse_for_good(requests, urgent, &mut self.outbox, kind, why).await;
        }
        self.outbox.finish().await;
    }

    fn answer(&mut self, request: Request) {
        let attempt = request.attempt().to_owned();
        self.outbox.begun(&attempt);
        let (command, epoch) = match request {
            Request::Read { .. } => {
                let value = Value::Missing("this instrument is not there".into());
                return self.outbox.done(attempt, Some(value), Trace::default());
            }
            Request::Act(command, epoch) => (command, epoch),
        };
        let Some(action) = self.plan.actions.get(&command.action) else {
            let why = format!("it has no action `{}`", command.action);
            return self.outbox.refuse(attempt, FailureKind::Internal, why);
        };
        if let Err(why) = values::complete(&action.args, &command.args, "arguments") {
            return self.outbox.refuse(attempt, FailureKind::Internal, why.join("; "));
        }
        if action.effect != EffectClass::Read
            && let Err(why) = self.gate.check(epoch)
        {
            return self.outbox.refuse(attempt, FailureKind::Gate, why);
        }
        self.outbox.done(attempt, None, Trace::default());
    }
}
