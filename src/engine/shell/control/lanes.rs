//! The two bounded lanes between whoever asks and the engine.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::{Control, InstrumentOutcome, Outcome, Refusal, RefusalKind, Reply, Safety};
use crate::driver::{EmergencyStop, Stopped};

/// Requests that wait for the engine; more are refused. A request is answered within one commit.
pub(super) const ORDINARY: usize = 64;
/// The same for those that stop something: more than the connections of the control socket, each of
/// which has one request at a time.
const URGENT: usize = 64;
/// How often the answers to an emergency stop are looked at, in wall time.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A request on its way to the engine.
#[derive(Debug)]
pub struct Request {
    /// What is asked.
    pub control: Control,
    /// Where the answer goes, once it is durable.
    pub reply: oneshot::Sender<Reply>,
    /// Where it goes what the command has led to; dropped where it leads to nothing.
    pub outcome: oneshot::Sender<Outcome>,
}

/// A request that is on its way.
#[derive(Debug)]
pub enum Asked {
    /// The engine has it.
    Engine {
        /// Its answer.
        reply: oneshot::Receiver<Reply>,
        /// What a command has led to; closed without a value where it leads to nothing.
        outcome: oneshot::Receiver<Outcome>,
    },
    /// The emergency stop was pressed.
    Pressed(EmergencyStop),
}

impl Asked {
    /// The answer; ask for it once. Cancel safety: the request stays with the engine when this is
    /// dropped.
    pub async fn reply(&mut self) -> Reply {
        let reply = match self {
            Asked::Pressed(_) => return Reply::Pressed,
            Asked::Engine { reply, .. } => reply,
        };
        match reply.await {
            Ok(reply) => reply,
            Err(_) => Reply::Refused(Refusal::new(
                RefusalKind::Gone,
                "the engine ended before it had answered; `labloop status` tells what it knew",
            )),
        }
    }

    /// What it has led to, once every run is where the command leads, or every instrument has
    /// answered to an emergency stop; `None` where that is not told.
    pub async fn outcome(&mut self) -> Option<Outcome> {
        match self {
            Asked::Engine { outcome, .. } => outcome.await.ok(),
            Asked::Pressed(emergency) => loop {
                let outcomes = emergency.outcomes();
                if !outcomes.values().any(|stopped| *stopped == Stopped::Pending) {
                    let instruments = outcomes.into_iter().map(stopped).collect();
                    return Some(Outcome { instruments, ..Outcome::default() });
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            },
        }
    }

    /// What is known so far, of those that are not waited for any longer.
    pub fn so_far(&self) -> Option<Outcome> {
        match self {
            Asked::Engine { .. } => None,
            Asked::Pressed(emergency) => {
                let instruments = emergency.outcomes().into_iter().map(stopped).collect();
                Some(Outcome { instruments, ..Outcome::default() })
            }
        }
    }
}

fn stopped((instrument, stopped): (String, Stopped)) -> InstrumentOutcome {
    let (state, detail) = match stopped {
        Stopped::Confirmed => (Safety::Safe, String::new()),
        Stopped::Pending => (Safety::NotConfirmed, "no answer yet".to_owned()),
        Stopped::NotConfirmed { detail, .. } => (Safety::NotConfirmed, detail),
    };
    InstrumentOutcome { instrument, state, detail }
}

/// How others speak to an engine. Cheap to clone; works from any thread.
#[derive(Debug, Clone)]
pub struct Handle {
    urgent: mpsc::Sender<Request>,
    ordinary: mpsc::Sender<Request>,
    emergency: EmergencyStop,
}

/// The engine's end.
#[derive(Debug)]
pub struct Inbox {
    urgent: mpsc::Receiver<Request>,
    ordinary: mpsc::Receiver<Request>,
}

/// A way to an engine, and its end of it. `emergency`: that of its instruments.
pub fn channel(emergency: EmergencyStop) -> (Handle, Inbox) {
    let (urgent_in, urgent) = mpsc::channel(URGENT);
    let (ordinary_in, ordinary) = mpsc::channel(ORDINARY);
    let handle = Handle { urgent: urgent_in, ordinary: ordinary_in, emergency };
    (handle, Inbox { urgent, ordinary })
}

impl Handle {
    /// Hands a request to the engine, without waiting.
    ///
    /// Errors: it is malformed, too many wait, or the engine has ended.
    pub fn ask(&self, control: Control) -> Result<Asked, Refusal> {
        // SAFETY(lab): before anything else, and whatever the rest of the request is like.
        if let Control::EmergencyStop { by, reason } = control {
            return Ok(self.press(by, reason));
        }
        let control = control.checked()?;
        let lane = if control.is_urgent() { &self.urgent } else { &self.ordinary };
        let (reply_in, reply) = oneshot::channel();
        let (outcome_in, outcome) = oneshot::channel();
        match lane.try_send(Request { control, reply: reply_in, outcome: outcome_in }) {
            Ok(()) => Ok(Asked::Engine { reply, outcome }),
            Err(mpsc::error::TrySendError::Full(_)) => {
                let message = "too many requests wait for the engine; ask again in a moment";
                Err(Refusal::new(RefusalKind::Busy, message))
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Err(Refusal::gone()),
        }
    }

    fn press(&self, by: String, reason: String) -> Asked {
        let by = super::name(by).unwrap_or_else(|_| "somebody".to_owned());
        self.emergency.press(&by);
        if !reason.trim().is_empty() {
            // The word of why goes the ordinary way, and may be lost; the stop does not.
            let text = format!("Emergency stop: {reason}");
            let _ = self.ask(Control::Note { text, about: None, by });
        }
        Asked::Pressed(self.emergency.clone())
    }
}

impl Inbox {
    /// The next request, those that stop something first; `None` when every handle is gone.
    ///
    /// Cancel safety: nothing is lost when this is dropped.
    pub(in super::super) async fn next(&mut self) -> Option<Request> {
        tokio::select! {
            biased;
            Some(request) = self.urgent.recv() => Some(request),
            Some(request) = self.ordinary.recv() => Some(request),
            else => None,
        }
    }

    /// Refuses the next request: the engine is there, but not at work yet.
    ///
    /// Cancel safety: nothing is lost when this is dropped.
    pub async fn refuse_next(&mut self, why: &str) {
        match self.next().await {
            Some(request) => {
                let refusal = Refusal::new(RefusalKind::NotNow, why);
                // Whoever asked may be gone.
                let _ = request.reply.send(Reply::Refused(refusal));
            }
            None => std::future::pending().await,
        }
    }

    /// Takes no more requests and refuses those that wait.
    pub(in super::super) fn close(&mut self) {
        self.urgent.close();
        self.ordinary.close();
        for lane in [&mut self.urgent, &mut self.ordinary] {
            while let Ok(request) = lane.try_recv() {
                // Whoever asked may be gone.
                let _ = request.reply.send(Reply::Refused(Refusal::gone()));
            }
        }
    }
}
