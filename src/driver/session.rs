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

mod act;
mod feed;
mod safe;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use self::act::Active;
pub(super) use self::act::span_of;
pub(super) use self::safe::{CONFIRM_PAUSE, CONFIRM_TRIES, SAFE_TRIES};
use self::watch::Poll;
use super::exchange::{Line, Trace};
use super::gate::Gate;
use super::line::{Lamp, Outbox};
use super::plan::{ActionPlan, Op, Plan};
use super::talk::Talk;
use super::text::Fault;
use super::types::{About, FailureKind, Notice, Sent};
use super::unit::{Met, Unit};
use super::values;
use crate::expr::Value;
use crate::spec::instrument::StatusClass;
use crate::wire::{Backoff, Clock, Tick};

/// Rounds of identify and on_connect that an alarm or a restart may cost.
const MOST_PREPARATIONS: u32 = 3;

/// Unanswered questions in a row after which an instrument counts as gone, and answers that a wait
/// for completion may miss.
const MOST_MISSES: u32 = 3;

/// A status that does not change is told again after this much lab time.
const STATUS_FRESH: Duration = Duration::from_secs(10);

/// However fast lab time runs, one property is asked for this often at most, in wall time.
const SHORTEST_POLL: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub(super) struct Session {
    pub plan: Arc<Plan>,
    actions: BTreeMap<String, Arc<ActionPlan>>,
    pub lamp: Lamp,
    unit: Arc<Unit>,
    backoff: Backoff,
    up: bool,
    /// When to prepare it again.
    retry_at: Instant,
    polls: Vec<Poll>,
    active: Option<Active>,
    misses: u32,
    /// Its safe state was sent last and did not come to be, as far as is known.
    pub not_safe: bool,
    /// When the device was last told what its heartbeat needs: by any answer, or by its `feed`.
    last_fed: Instant,
    /// The status told last.
    status: Option<(StatusClass, Tick)>,
}

/// What a session needs from its surroundings.
pub(super) struct World<'a> {
    pub line: &'a mut Line,
    pub outbox: &'a mut Outbox,
    pub gate: &'a Gate,
}

impl Session {
    pub fn new(
        plan: Arc<Plan>,
        lamp: Lamp,
        unit: Arc<Unit>,
        clock: &Clock,
        backoff: Backoff,
    ) -> Session {
        let now = clock.now();
        let polls = Poll::all(&plan, now);
        let actions =
            plan.actions.iter().map(|(n, action)| (n.clone(), Arc::new(action.clone()))).collect();
        Session {
            plan,
            actions,
            lamp,
            unit,
            backoff,
            up: false,
            retry_at: Instant::now(),
            polls,
            active: None,
            misses: 0,
            not_safe: false,
            last_fed: Instant::now(),
            status: None,
        }
    }

    /// The same instrument after its driver panicked: nothing is believed of what was known of it.
    pub fn renewed(self, clock: &Clock) -> Session {
        let not_safe = self.not_safe;
        let session = Session::new(self.plan, self.lamp, self.unit, clock, self.backoff);
        Session { not_safe, ..session }
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

    /// A deadline passes also while the instrument cannot be asked.
    pub fn deadline(&self) -> Option<Tick> {
        self.active.as_ref().filter(|_| !self.up).map(|active| active.deadline)
    }

    pub fn retry_at(&self) -> Instant {
        self.retry_at
    }

    pub fn is_active(&self, attempt: &str) -> bool {
        self.active.as_ref().is_some_and(|active| active.attempt == attempt)
    }

    /// The device is gone from a line that is there.
    fn went_down(&mut self, why: &str, outbox: &mut Outbox) {
        self.lost_line(why, outbox);
        self.retry_at = Instant::now() + self.backoff.pause();
    }

    /// The line broke: once it is open again the device is asked at once.
    pub fn lost_line(&mut self, why: &str, outbox: &mut Outbox) {
        self.up = false;
        self.misses = 0;
        self.retry_at = Instant::now();
        self.lamp.down(outbox, why);
    }

    /// Identify, prepare, arm the heartbeat.
    pub async fn prepare(&mut self, world: &mut World<'_>) {
        for _ in 0..MOST_PREPARATIONS {
            let mut trace = Trace::default();
            let fault = match self.introduce(world, &mut trace).await {
                Ok(true) => {
                    self.up = true;
                    self.backoff.reset();
                    let now = world.line.clock.now();
                    for poll in &mut self.polls {
                        poll.due = now;
                    }
                    self.last_fed = Instant::now();
                    self.lamp.up(world.outbox, "identified and ready");
                    self.heard(&mut trace, world);
                    return;
                }
                // Tried again at another turn.
                Ok(false) => return,
                Err(fault) if fault.yields => return,
                Err(fault) => fault,
            };
            if fault.kind != FailureKind::Alarm {
                self.went_down(&fault.message, world.outbox);
                return;
            }
            // The alarm is cleared by being read; what it replaced is asked again.
            let now = world.line.clock.now();
            self.heed(&fault, now, world.outbox);
            if fault.broken || !world.line.is_open() {
                self.went_down(&fault.message, world.outbox);
                return;
            }
        }
        self.went_down("its alarm does not clear", world.outbox);
    }

    /// Asks who it is and tells it how we speak; `false` when it is not spoken to now.
    async fn introduce(&mut self, world: &mut World<'_>, trace: &mut Trace) -> Result<bool, Fault> {
        let scope = self.heartbeat_scope();
        let plan = Arc::clone(&self.plan);
        let mut identity = Vec::new();
        for op in &plan.identify {
            // SAFETY(lab): a safe state of another instrument comes first; this one is prepared
            // from the beginning afterwards.
            if world.line.is_wanted() {
                return Ok(false);
            }
            let mut talk = Talk { plan: &plan, line: world.line, trace };
            let heard = talk.run(op, &scope).await?;
            // Registers may hold anything, also what changes; a `{value}` of a text is meant.
            if let (Op::Text { .. }, Some(raw)) = (op, heard.raw) {
                identity.push(raw.to_string());
            }
        }
        // SAFETY(lab): before the first message that may have an effect.
        match self.unit.meet(&identity.join("; ")) {
            Met::Same => {}
            Met::First => {
                let (instrument, identity) = (plan.name.clone(), identity.join("; "));
                world.outbox.put(Notice::Identified { instrument, identity });
            }
            Met::Stranger { why, news } => {
                if news {
                    let (instrument, detail) = (plan.name.clone(), why.clone());
                    world.outbox.put(Notice::NotOurs { instrument, detail });
                }
                self.went_down(&why, world.outbox);
                return Ok(false);
            }
        }
        let arm = plan.heartbeat.as_ref().map(|beat| beat.arm.as_slice()).unwrap_or_default();
        for op in plan.on_connect.iter().chain(arm) {
            if world.line.is_wanted() {
                return Ok(false);
            }
            let mut talk = Talk { plan: &plan, line: world.line, trace };
            talk.run(op, &scope).await?;
        }
        Ok(true)
    }

    fn tell_rebooted(&self, detail: String, outbox: &mut Outbox) {
        outbox.put(Notice::Rebooted { instrument: self.plan.name.clone(), detail });
    }

    fn tell_alarm(&self, fault: &Fault, outbox: &mut Outbox) {
        let detail = fault.message.clone();
        outbox.put(Notice::Alarm { instrument: self.plan.name.clone(), detail });
    }

    /// Takes note of how a question ended; `true` when the session is still up.
    fn heed(&mut self, fault: &Fault, now: Tick, outbox: &mut Outbox) -> bool {
        if fault.yields {
            return true;
        }
        if fault.effect != Sent::NotSent && fault.kind != FailureKind::Timeout {
            self.listened();
        }
        if fault.kind == FailureKind::Alarm {
            // SAFETY(lab): an alarm is cleared by being read, whatever question it replaced the
            // answer of. The status that comes next would pass for the end of the action.
            let why = format!("the instrument reported an alarm: {}", fault.message);
            // Said first: whoever hears of the outcome may ask whether a witness still counts.
            if fault.rebooted {
                self.tell_rebooted(fault.message.clone(), outbox);
            } else {
                self.tell_alarm(fault, outbox);
                self.tell_status(StatusClass::Alarm, now, outbox);
            }
            self.abandon(FailureKind::Alarm, &why, outbox);
        }
        if fault.rebooted {
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

    /// Takes note of what the instrument said unasked.
    pub fn overheard(&mut self, fault: &Fault, world: &mut World<'_>) {
        let now = world.line.clock.now();
        self.heed(fault, now, world.outbox);
    }

    fn heard(&mut self, trace: &mut Trace, world: &mut World<'_>) {
        self.misses = 0;
        self.listened();
        let now = world.line.clock.now();
        if let Some(status) = trace.status.take() {
            self.tell_status(status, now, world.outbox);
        }
    }

    /// The status an answer carried, as a property of its own: when it changes, and often enough
    /// to stay fresh.
    fn tell_status(&mut self, status: StatusClass, now: Tick, outbox: &mut Outbox) {
        let fresh =
            |(last, at): (StatusClass, Tick)| last == status && now.since(at) < STATUS_FRESH;
        if self.status.is_some_and(fresh) {
            return;
        }
        self.status = Some((status, now));
        outbox.put(Notice::Sample {
            instrument: self.plan.name.clone(),
            property: "status".to_owned(),
            value: Value::text(values::status_word(status)),
            at: now,
            about: About::default(),
        });
    }
}

pub(in crate::driver) fn next_turn(clock: &Clock, now: Tick, every: Duration) -> Tick {
    let least =
        if clock.speed().is_finite() { clock.lab_span(SHORTEST_POLL) } else { SHORTEST_POLL };
    now.plus(every.max(least))
}
