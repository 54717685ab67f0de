//! The task that owns one half-duplex line and all instruments on it.
//!
//! Order of work: safe states, cancelled attempts, connecting, watchdogs, messages of actions in the
//! order they came, completion of actions, polls. Nothing starts on the line while an answer is awaited,
//! and no further question is asked once a safe state is wanted: it waits for one answer at most,
//! and when that does not come, for the silence that must follow.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::exchange::Line;
use super::gate::Gate;
use super::isolated::{Driven, Recovery, Then};
use super::line::{Outbox, Request, Urgent, refuse_for_good};
use super::session::{Session, World};
use super::types::FailureKind;
use crate::wire::Backoff;

/// A device that is not to be fed is looked at again after this.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

pub(super) struct Bus {
    pub line: Line,
    pub sessions: Vec<Session>,
    pub requests: mpsc::Receiver<Request>,
    pub urgent: Arc<Urgent>,
    pub outbox: Outbox,
    pub gate: Arc<Gate>,
    pub backoff: Backoff,
    pub queue: VecDeque<Request>,
    pub recovery: Recovery,
}

impl Driven for Bus {
    async fn drive(&mut self) {
        loop {
            self.outbox.flush();
            while !self.outbox.is_full()
                && let Ok(request) = self.requests.try_recv()
            {
                self.queue.push_back(request);
            }
            if self.urgent.has_lapsed() {
                return self.lapsed().await;
            }
            let pending = self.urgent.take();
            self.recovery.ends |= pending.shutdown;
            self.recovery.wanted.extend(pending.safe);
            // SAFETY(lab): also those that were asked for just before the end.
            self.make_safe().await;
            if self.recovery.ends {
                break;
            }
            for attempt in pending.cancelled {
                self.cancel(&attempt).await;
            }
            let now = self.line.clock.now();
            for session in &mut self.sessions {
                session.expire(now, &mut self.outbox);
            }
            if !self.line.is_open() {
                if self.sessions.iter().any(Session::is_up) {
                    self.broke("the connection was lost");
                }
                if self.recovery.connects() {
                    let opened = self.line.open().await;
                    // Also after a success: a server may accept and hang up at once.
                    self.recovery.connect_at = Instant::now() + self.backoff.pause();
                    if let Err(error) = opened {
                        self.broke(&error.to_string());
                    }
                    continue;
                }
                self.refuse_all();
            } else {
                if self.sessions.iter().any(Session::is_up) {
                    self.backoff.reset();
                }
                if self.turn().await {
                    continue;
                }
            }
            self.rest().await;
        }
        self.end().await;
    }

    fn renew(&mut self, why: &str, then: Then) {
        self.line.saves = false;
        self.line.renew();
        self.queue.retain(|request| !self.outbox.owes(request.attempt()));
        for session in &mut self.sessions {
            session.abandon(FailureKind::Internal, why, &mut self.outbox);
        }
        self.outbox.give_up(why);
        for session in &mut self.sessions {
            session.not_safe |= self.recovery.saving.as_ref() == Some(&session.plan.name);
        }
        self.recovery.take_up(why, then, &mut self.outbox);
        for session in &self.sessions {
            session.lamp.lost(&mut self.outbox, why);
        }
        let sessions = std::mem::take(&mut self.sessions);
        self.sessions =
            sessions.into_iter().map(|session| session.renewed(&self.line.clock)).collect();
    }

    async fn refuse(&mut self, why: &str) {
        self.recovery.forgo(why, &mut self.outbox);
        for request in std::mem::take(&mut self.queue) {
            self.outbox.refuse(request.attempt().to_owned(), FailureKind::Link, why.to_owned());
        }
        if !self.recovery.ends {
            self.refuse_all_for_good(FailureKind::Link, why).await;
        }
        self.urgent.release();
        self.outbox.finish().await;
    }
}

impl Bus {
    /// Sends the safe states that are wanted.
    async fn make_safe(&mut self) {
        while let Some(name) = self.recovery.wanted.pop_front() {
            self.drop_queued(|request| request.instrument() == name);
            self.recovery.saving = Some(name.clone());
            self.line.saves = true;
            let (session, mut world) = self.parts(|session| session.plan.name == name);
            if let Some(session) = session {
                session.make_safe(&mut world).await;
            }
            self.line.saves = false;
            self.recovery.saving = None;
            if let Some(why) = self.recovery.given_up.clone() {
                self.line.close();
                self.broke(&why);
            }
        }
    }

    /// It is shut down.
    async fn end(&mut self) {
        for at in 0..self.sessions.len() {
            if self.line.is_open() {
                let (session, mut world) = self.at(at);
                if let Some(session) = session {
                    session.farewell(&mut world).await;
                }
            } else if let Some(session) = self.sessions.get_mut(at) {
                session.abandon(FailureKind::Link, "the driver was shut down", &mut self.outbox);
            }
        }
        self.requests.close();
        while let Ok(request) = self.requests.try_recv() {
            self.queue.push_back(request);
        }
        for request in std::mem::take(&mut self.queue) {
            let why = "the driver was shut down".to_owned();
            self.outbox.refuse(request.attempt().to_owned(), FailureKind::Link, why);
        }
        self.line.close();
        self.urgent.release();
        self.outbox.finish().await;
    }

    async fn refuse_all_for_good(&mut self, kind: FailureKind, why: &str) {
        let (requests, urgent, outbox) = (&mut self.requests, &self.urgent, &mut self.outbox);
        refuse_for_good(requests, urgent, outbox, kind, why).await;
        self.outbox.finish().await;
    }

    /// The line is another's: it is let go of without a word, also to watchdogs.
    async fn lapsed(&mut self) {
        self.line.close();
        let why = self.gate.check(self.gate.epoch()).err().unwrap_or_default();
        for session in &mut self.sessions {
            session.abandon(FailureKind::Gate, &why, &mut self.outbox);
            session.lost_line(&why, &mut self.outbox);
        }
        for request in std::mem::take(&mut self.queue) {
            self.outbox.refuse(request.attempt().to_owned(), FailureKind::Gate, why.clone());
        }
        self.urgent.release();
        self.refuse_all_for_good(FailureKind::Gate, &why).await;
    }

    fn at(&mut self, at: usize) -> (Option<&mut Session>, World<'_>) {
        let world = World { line: &mut self.line, outbox: &mut self.outbox, gate: &self.gate };
        (self.sessions.get_mut(at), world)
    }

    fn parts(&mut self, pick: impl Fn(&Session) -> bool) -> (Option<&mut Session>, World<'_>) {
        let world = World { line: &mut self.line, outbox: &mut self.outbox, gate: &self.gate };
        (self.sessions.iter_mut().find(|session| pick(session)), world)
    }

    fn broke(&mut self, why: &str) {
        for session in &mut self.sessions {
            session.line_broke(&mut self.outbox);
            session.lost_line(why, &mut self.outbox);
        }
    }

    fn drop_queued(&mut self, pick: impl Fn(&Request) -> bool) {
        let (dropped, kept): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.queue)
            .into_iter()
            .partition(|request| matches!(request, Request::Act(..)) && pick(request));
        self.queue = kept;
        for request in dropped {
            let why = "the safe state was sent".to_owned();
            self.outbox.refuse(request.attempt().to_owned(), FailureKind::Gate, why);
        }
    }

    fn refuse_all(&mut self) {
        for request in std::mem::take(&mut self.queue) {
            let name = request.instrument();
            let session = self.sessions.iter().find(|session| session.plan.name == name);
            let why = session.map_or_else(String::new, |session| session.lamp.why_down());
            self.outbox.refuse(request.attempt().to_owned(), FailureKind::Link, why);
        }
    }

    async fn cancel(&mut self, attempt: &str) {
        if let Some(at) = self.queue.iter().position(|request| request.attempt() == attempt) {
            self.queue.remove(at);
            let why = "it was cancelled before it was sent".to_owned();
            self.outbox.refuse(attempt.to_owned(), FailureKind::Person, why);
            return;
        }
        let (session, mut world) = self.parts(|session| session.is_active(attempt));
        if let Some(session) = session {
            session.cancel(&mut world).await;
        }
    }

    /// Does the most urgent thing on an open line; `false` when there is nothing to do.
    async fn turn(&mut self) -> bool {
        let now = Instant::now();
        let gate = Arc::clone(&self.gate);
        let unprepared = |session: &Session| {
            !session.is_up() && session.retry_at() <= now && !session.is_withheld(&gate)
        };
        if let (Some(session), mut world) = self.parts(unprepared) {
            session.prepare(&mut world).await;
            return true;
        }
        // SAFETY(lab): ahead of actions and their polls, which can keep a slow line busy for longer
        // than a watchdog waits; it would stop a device that is needed.
        let hungry = |session: &Session| {
            session.feed_at().is_some_and(|at| at <= now) && session.may_feed(&gate)
        };
        if let (Some(session), mut world) = self.parts(hungry) {
            session.feed(&mut world).await;
            return true;
        }
        if let Some(request) = self.queue.pop_front() {
            self.outbox.begun(request.attempt());
            let name = request.instrument().to_owned();
            let (session, mut world) = self.parts(|session| session.plan.name == name);
            match (session, request) {
                (Some(session), request) if session.is_withheld(&gate) => {
                    let why = "it is not spoken to, so that its own watchdog stops it".to_owned();
                    world.outbox.refuse(request.attempt().to_owned(), FailureKind::Gate, why);
                }
                (Some(session), Request::Act(command, epoch)) => {
                    session.begin(command, epoch, &mut world)
                }
                (Some(session), Request::Read { attempt, instrument, property }) => {
                    let again = session.read(attempt, &property, &mut world).await;
                    if let Some(attempt) = again {
                        self.queue.push_front(Request::Read { attempt, instrument, property });
                    }
                }
                (None, request) => {
                    let why = format!("there is no `{name}` on this line");
                    world.outbox.refuse(request.attempt().to_owned(), FailureKind::Internal, why);
                }
            }
            return true;
        }
        let lab = self.line.clock.now();
        let due = |session: &Session| {
            session.active_due().is_some_and(|due| due <= lab) && !session.is_withheld(&gate)
        };
        let next = (0..self.sessions.len())
            .filter(|at| self.sessions.get(*at).is_some_and(due))
            .min_by_key(|at| self.sessions.get(*at).and_then(Session::active_due));
        if let Some(at) = next {
            let (session, mut world) = self.at(at);
            if let Some(session) = session {
                session.act(&mut world).await;
            }
            return true;
        }
        let mut by_due: Vec<usize> = (0..self.sessions.len()).collect();
        by_due.sort_by_key(|at| self.sessions.get(*at).and_then(Session::due));
        for at in by_due {
            let (session, mut world) = self.at(at);
            if let Some(session) = session.filter(|session| !session.is_withheld(&gate))
                && session.poll(&mut world).await
            {
                return true;
            }
        }
        false
    }

    /// Sleeps until there is something to do.
    async fn rest(&mut self) {
        let open = self.line.is_open();
        let spoken = || self.sessions.iter().filter(|session| !session.is_withheld(&self.gate));
        let lab = if open { spoken().filter_map(Session::due).min() } else { None };
        let deadline = self.sessions.iter().filter_map(Session::deadline).min();
        let lab = [lab, deadline].into_iter().flatten().min();
        let retry = spoken().filter(|s| !s.is_up()).map(Session::retry_at).min();
        let fed = self.sessions.iter().filter(|session| session.may_feed(&self.gate));
        let feed = fed.filter_map(Session::feed_at).min();
        // Nobody says when the engine is well again.
        let starved = self.sessions.iter().any(|session| !session.may_feed(&self.gate));
        let look = starved.then(|| Instant::now() + LOOK_AGAIN);
        let wall = if open {
            [retry, feed, look].into_iter().flatten().min()
        } else {
            self.recovery.next()
        };
        let clock = self.line.clock.clone();
        let room = !self.outbox.is_full();
        let mut arrived = None;
        let mut broken = None;
        tokio::select! {
            biased;
            () = self.urgent.wait() => {}
            () = self.outbox.room() => {}
            request = self.requests.recv(), if room => match request {
                Some(request) => arrived = Some(request),
                // The fleet is gone.
                None => self.urgent.shutdown(),
            },
            () = async { clock.sleep_until(lab.unwrap_or_default()).await }, if lab.is_some() => {}
            () = tokio::time::sleep_until(wall.unwrap_or_else(Instant::now)), if wall.is_some() => {}
            fault = self.line.idle(), if open => broken = Some(fault),
        }
        match broken {
            // The only instrument of the line said something of weight.
            Some(fault) if !fault.broken => {
                let (session, mut world) = self.at(0);
                if let Some(session) = session {
                    session.overheard(&fault, &mut world);
                }
            }
            Some(fault) => self.broke(&fault.message),
            None => {}
        }
        self.queue.extend(arrived);
    }
}
