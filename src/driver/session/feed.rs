//! Devices that stop by themselves when they hear nothing for a while.
//!
//! They are kept from it only while somebody watches over the lab: see [`Gate::may_feed`]. For most
//! of them any message counts; while such a one is not to be fed it is not spoken to at all, but for
//! its safe state. What a closed gate means for them depends on who closed it:
//!
//! | closed by | fed | because |
//! |---|---|---|
//! | an interlock | yes | the interlock itself says what is to stop; a watchdog that trips as well may lose a position |
//! | the emergency stop, safe state confirmed | yes | it is safe already |
//! | the emergency stop, not confirmed | no | its own watchdog is the next to act |
//! | an engine that does not beat | no | nobody sees what it does |
//! | a lapsed lease | no | it is another engine's to feed |

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Session, World};
use crate::driver::exchange::Trace;
use crate::driver::gate::Gate;
use crate::driver::scope::Scope;
use crate::driver::talk::Talk;
use crate::driver::types::FailureKind;
use crate::expr::Value;
use crate::units::{Dimension, Quantity};

/// An engine that was not heard of for a tenth of a device's own period, or for this, is not well:
/// so the device stops no later than that after what it would by itself. An engine beats every
/// 100 ms.
const LEAST_PATIENCE: Duration = Duration::from_millis(300);

impl Session {
    /// When the device must hear from us, if it watches the line.
    pub fn feed_at(&self) -> Option<Instant> {
        let beat = self.plan.heartbeat.as_ref().filter(|_| self.is_up())?;
        Some(self.last_fed + beat.period / 3)
    }

    /// Whether its watchdog may be put off now.
    pub fn may_feed(&self, gate: &Gate) -> bool {
        let Some(beat) = &self.plan.heartbeat else { return true };
        gate.may_feed(&self.plan.name, (beat.period / 10).max(LEAST_PATIENCE))
    }

    /// Whether it is not spoken to at all, because any message would put its watchdog off.
    pub fn is_withheld(&self, gate: &Gate) -> bool {
        let any = self.plan.heartbeat.as_ref().is_some_and(|beat| beat.feed.is_empty());
        any && !self.may_feed(gate)
    }

    /// The device took notice of a message, which is enough for most watchdogs.
    pub(super) fn listened(&mut self) {
        let own = self.plan.heartbeat.as_ref().is_some_and(|beat| !beat.feed.is_empty());
        if !own {
            self.last_fed = Instant::now();
        }
    }

    /// Lets the device hear from us. One that fails is made up for by the next: there are three in
    /// a period.
    pub async fn feed(&mut self, world: &mut World<'_>) {
        self.last_fed = Instant::now();
        let plan = Arc::clone(&self.plan);
        let scope = self.heartbeat_scope();
        let mut trace = Trace::default();
        let own = plan.heartbeat.as_ref().map(|beat| beat.feed.as_slice()).unwrap_or_default();
        let any = plan.identify.get(..1).unwrap_or_default();
        for op in if own.is_empty() { any } else { own } {
            let mut talk = Talk { plan: &plan, line: world.line, trace: &mut trace };
            if let Err(fault) = talk.run(op, &scope).await {
                self.heed(&fault, world.line.clock.now(), world.outbox);
                return;
            }
        }
    }

    /// What the messages of a heartbeat may name.
    pub(super) fn heartbeat_scope(&self) -> Scope {
        let mut scope = self.plan.scope();
        if let Some(beat) = &self.plan.heartbeat {
            let period = Quantity::new(beat.period.as_secs_f64(), Dimension::TIME);
            scope.args.insert("period".to_owned(), Value::Quantity(period));
        }
        scope
    }

    /// Ends on purpose: the device need not miss us, unless it was told to be safe and did not
    /// confirm it.
    pub async fn farewell(&mut self, world: &mut World<'_>) {
        self.abandon(FailureKind::Link, "the driver was shut down", world.outbox);
        let plan = Arc::clone(&self.plan);
        let (Some(beat), true) = (&plan.heartbeat, self.up) else { return };
        // SAFETY(lab): it did not obey, and its own watchdog is the last that can stop it.
        if self.not_safe {
            return;
        }
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
