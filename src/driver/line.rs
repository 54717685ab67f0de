//! What the tasks of all kinds of lines share: requests in, notices out.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, mpsc, watch};

use super::exchange::Trace;
use super::gate::Gate;
use super::text::Fault;
use super::types::{Command, FailureKind, Notice, Outcome, Sent};
use crate::expr::Value;
use crate::wire::LineLock;

/// Requests waiting for one line.
pub(super) const QUEUE: usize = 128;

/// Outcomes kept while nobody reads notices; above this a line accepts no further requests.
const BACKLOG: usize = 1024;

/// Work for a line.
#[derive(Debug)]
pub(super) enum Request {
    /// With the fencing epoch of whoever gives it.
    Act(Command, u64),
    Read {
        attempt: String,
        instrument: String,
        property: String,
    },
}

impl Request {
    pub fn instrument(&self) -> &str {
        match self {
            Request::Act(command, _) => &command.instrument,
            Request::Read { instrument, .. } => instrument,
        }
    }

    pub fn attempt(&self) -> &str {
        match self {
            Request::Act(command, _) => &command.attempt,
            Request::Read { attempt, .. } => attempt,
        }
    }
}

/// Work that goes ahead of all other. Requests of one kind for one instrument are one request, so
/// this never fills up.
#[derive(Debug, Default)]
pub(super) struct Urgent {
    pending: Mutex<Pending>,
    notify: Notify,
    /// The line is no longer ours.
    lapsed: AtomicBool,
    /// Keeps others on this machine from the line.
    lock: Mutex<Option<Arc<LineLock>>>,
}

/// What is pending.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Instruments whose safe state is wanted, in the order of asking.
    pub safe: Vec<String>,
    /// Attempts nobody waits for any longer.
    pub cancelled: BTreeSet<String>,
    /// The line is to end.
    pub shutdown: bool,
}

impl Urgent {
    fn change(&self, change: impl FnOnce(&mut Pending)) {
        change(&mut self.pending.lock().unwrap_or_else(PoisonError::into_inner));
        self.notify.notify_one();
    }

    pub fn safe_state(&self, instrument: &str) {
        self.change(|pending| {
            if !pending.safe.iter().any(|name| name == instrument) {
                pending.safe.push(instrument.to_owned());
            }
        });
    }

    pub fn cancel(&self, attempt: &str) {
        self.change(|pending| {
            if pending.cancelled.len() < BACKLOG {
                pending.cancelled.insert(attempt.to_owned());
            }
        });
    }

    pub fn shutdown(&self) {
        self.change(|pending| pending.shutdown = true);
    }

    /// Keeps the lock on the line for as long as it is driven.
    pub fn keep(&self, lock: Arc<LineLock>) {
        *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = Some(lock);
    }

    /// Gives the lock on the line back: it is closed.
    pub fn release(&self) {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Has the line look at everything anew.
    pub fn wake(&self) {
        self.notify.notify_one();
    }

    /// Nothing may be sent on the line any more.
    pub fn lapse(&self) {
        self.lapsed.store(true, Ordering::SeqCst);
        self.notify.notify_one();
    }

    /// Whether nothing may be sent on the line any more.
    pub fn has_lapsed(&self) -> bool {
        self.lapsed.load(Ordering::SeqCst)
    }

    /// Whether a safe state or the end of the line is pending.
    pub fn is_pending(&self) -> bool {
        if self.has_lapsed() {
            return true;
        }
        let pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        !pending.safe.is_empty() || pending.shutdown
    }

    /// Takes all that is pending.
    pub fn take(&self) -> Pending {
        std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until something is pending. Cancel safe.
    pub async fn wait(&self) {
        self.notify.notified().await;
    }
}

/// Whether an instrument can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Readiness {
    Connecting,
    Up,
    Down(String),
}

/// Notices on their way out. Samples are dropped when nobody reads them; everything else waits
/// here, and its number is bounded because a line with a backlog accepts nothing new.
#[derive(Debug)]
pub(super) struct Outbox {
    notices: mpsc::Sender<Notice>,
    waiting: VecDeque<Notice>,
    /// Attempts that were begun and have no outcome yet; no more than were waiting in a queue.
    open: BTreeSet<String>,
    dropped: Arc<AtomicU64>,
    /// Hears how safe states went.
    gate: Arc<Gate>,
}

impl Outbox {
    pub fn new(notices: mpsc::Sender<Notice>, dropped: Arc<AtomicU64>, gate: Arc<Gate>) -> Outbox {
        Outbox { notices, waiting: VecDeque::new(), open: BTreeSet::new(), dropped, gate }
    }

    pub fn put(&mut self, notice: Notice) {
        self.flush();
        if let Notice::SafeState { instrument, confirmed, detail, .. } = &notice {
            self.gate.reported(instrument, *confirmed, detail);
        }
        if let Notice::Outcome { attempt, .. } = &notice {
            self.open.remove(attempt);
        }
        if matches!(notice, Notice::Sample { .. }) {
            if !self.waiting.is_empty() || self.notices.try_send(notice).is_err() {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
            return;
        }
        self.waiting.push_back(notice);
        self.flush();
    }

    /// An attempt leaves its queue: from here on it is owed an outcome, whatever becomes of the driver.
    pub fn begun(&mut self, attempt: &str) {
        self.open.insert(attempt.to_owned());
    }

    /// Whether an attempt is owed an outcome.
    pub fn owes(&self, attempt: &str) -> bool {
        self.open.contains(attempt)
    }

    /// Answers all that was begun: its driver is gone, and nobody knows what was sent for it.
    pub fn give_up(&mut self, why: &str) {
        for attempt in std::mem::take(&mut self.open) {
            let fault = Fault::new(FailureKind::Internal, Sent::Unknown, why);
            self.failed(attempt, fault, Trace::default());
        }
    }

    pub fn done(&mut self, attempt: String, value: Option<Value>, trace: Trace) {
        let outcome = Outcome::Done { value, trace: trace.all };
        self.put(Notice::Outcome { attempt, outcome });
    }

    pub fn failed(&mut self, attempt: String, fault: Fault, trace: Trace) {
        let Fault { kind, message, effect, .. } = fault;
        let outcome = Outcome::Failed { kind, message, effect, trace: trace.all };
        self.put(Notice::Outcome { attempt, outcome });
    }

    pub fn refuse(&mut self, attempt: String, kind: FailureKind, message: String) {
        self.failed(attempt, Fault::new(kind, Sent::NotSent, message), Trace::default());
    }

    pub fn flush(&mut self) {
        while let Some(notice) = self.waiting.pop_front() {
            match self.notices.try_send(notice) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(notice)) => {
                    self.waiting.push_front(notice);
                    return;
                }
                // Nobody will ever read them.
                Err(mpsc::error::TrySendError::Closed(_)) => {}
            }
        }
    }

    pub fn is_full(&self) -> bool {
        self.waiting.len() >= BACKLOG
    }

    /// Waits until something that waits can go out; for ever when nothing waits. Cancel safe.
    pub async fn room(&self) {
        if self.waiting.is_empty() {
            std::future::pending::<()>().await;
        }
        // An error means that the reader is gone; the next flush empties the queue.
        let _ = self.notices.reserve().await;
    }

    /// Delivers what is left; gives up when nobody reads for a second.
    pub async fn finish(&mut self) {
        let deliver = async {
            while let Some(notice) = self.waiting.pop_front() {
                if self.notices.send(notice).await.is_err() {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(std::time::Duration::from_secs(1), deliver).await;
    }
}

/// Tells one instrument's readiness, once per change.
#[derive(Debug)]
pub(super) struct Lamp {
    instrument: String,
    state: watch::Sender<Readiness>,
}

impl Lamp {
    pub fn new(instrument: String, state: watch::Sender<Readiness>) -> Lamp {
        Lamp { instrument, state }
    }

    pub fn up(&self, outbox: &mut Outbox, detail: &str) {
        if self
            .state
            .send_if_modified(|state| std::mem::replace(state, Readiness::Up) != Readiness::Up)
        {
            outbox.put(Notice::Link {
                instrument: self.instrument.clone(),
                up: true,
                detail: detail.to_owned(),
            });
        }
    }

    pub fn down(&self, outbox: &mut Outbox, detail: &str) {
        let down = Readiness::Down(detail.to_owned());
        // A reason that changes while it is down is told only here, not as news.
        let was_down = matches!(*self.state.borrow(), Readiness::Down(_));
        self.state.send_replace(down);
        if !was_down {
            outbox.put(Notice::Link {
                instrument: self.instrument.clone(),
                up: false,
                detail: detail.to_owned(),
            });
        }
    }

    /// It is lost for a reason that must be heard, also where it was down before.
    pub fn lost(&self, outbox: &mut Outbox, detail: &str) {
        self.state.send_replace(Readiness::Down(detail.to_owned()));
        let (instrument, detail) = (self.instrument.clone(), detail.to_owned());
        outbox.put(Notice::Link { instrument, up: false, detail });
    }

    pub fn why_down(&self) -> String {
        match &*self.state.borrow() {
            Readiness::Down(why) => format!("it is not connected: {why}"),
            Readiness::Connecting | Readiness::Up => "it is not connected".to_owned(),
        }
    }
}

/// What is left of a line on which nothing more is sent: everything is refused until it is shut down.
pub(super) async fn refuse_for_good(
    requests: &mut mpsc::Receiver<Request>,
    urgent: &Urgent,
    outbox: &mut Outbox,
    kind: FailureKind,
    why: &str,
) {
    loop {
        outbox.flush();
        let pending = urgent.take();
        for instrument in pending.safe {
            let (confirmed, detail, trace) = (false, why.to_owned(), Vec::new());
            outbox.put(Notice::SafeState { instrument, confirmed, detail, trace });
        }
        if pending.shutdown {
            break;
        }
        let room = !outbox.is_full();
        tokio::select! {
            () = urgent.wait() => {}
            () = outbox.room() => {}
            request = requests.recv(), if room => match request {
                Some(request) => {
                    outbox.refuse(request.attempt().to_owned(), kind, why.to_owned());
                }
                None => break,
            },
        }
    }
}
