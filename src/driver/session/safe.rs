//! The safe state of one instrument.

use std::sync::Arc;
use std::time::Duration;

use super::{Session, World};
use crate::driver::exchange::Trace;
use crate::driver::isolated::caught;
use crate::driver::plan::Op;
use crate::driver::talk::Talk;
use crate::driver::text::Fault;
use crate::driver::types::{FailureKind, Notice, Sent};

/// Times each message of a safe state is tried; it is absolute by nature.
pub(in crate::driver) const SAFE_TRIES: u32 = 2;

/// Times the confirmation of a safe state is read, and the pause between, in lab time.
pub(in crate::driver) const CONFIRM_TRIES: u32 = 5;
pub(in crate::driver) const CONFIRM_PAUSE: Duration = Duration::from_millis(200);

impl Session {
    /// Sends the safe state, whatever else is going on, and tells how it went.
    pub(in crate::driver) async fn make_safe(&mut self, world: &mut World<'_>) {
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
                // SAFETY(lab): a driver that panics over the answer to one message must not keep the
                // next from the wire.
                let ran = caught(talk.run(op, &scope)).await;
                match ran.unwrap_or_else(|panic| Err(self.panicked(&panic, world))) {
                    Ok(_) => {
                        self.heard(&mut trace, world);
                        trouble = None;
                        break;
                    }
                    Err(fault) if fault.kind == FailureKind::Internal => {
                        trouble = Some(fault.message);
                        break;
                    }
                    Err(fault) => {
                        self.heed(&fault, world.line.clock.now(), world.outbox);
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
                let held = caught(talk.holds(confirm, &scope)).await;
                match held.unwrap_or_else(|panic| Err(self.panicked(&panic, world))) {
                    Ok(true) => {
                        seen = Ok(());
                        break;
                    }
                    Ok(false) => seen = Err("its read-back does not confirm it".to_owned()),
                    Err(fault) => {
                        self.heed(&fault, world.line.clock.now(), world.outbox);
                        seen = Err(fault.message);
                        if fault.kind == FailureKind::Internal {
                            break;
                        }
                    }
                }
            }
            troubles.extend(seen.err());
        }
        let confirmed = troubles.is_empty();
        self.not_safe = !confirmed;
        let detail = if confirmed { "confirmed".to_owned() } else { troubles.join("; ") };
        world.outbox.put(Notice::SafeState {
            instrument: plan.name.clone(),
            confirmed,
            detail,
            trace: trace.all,
        });
    }

    /// Its driver panicked over a message of the safe state: the line is opened anew for the next.
    fn panicked(&mut self, panic: &str, world: &mut World<'_>) -> Fault {
        let why = format!("its driver panicked: {panic}");
        tracing::error!(instrument = %self.plan.name, %why);
        world.line.renew();
        self.lost_line(&why, world.outbox);
        Fault::new(FailureKind::Internal, Sent::Unknown, why).broken()
    }
}
