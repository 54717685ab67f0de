//! What a person may ask of a running engine, and what the engine answers.
//!
//! ```text
//! terminal, HTTP, Ctrl-C -> Handle -> [urgent | ordinary] -> engine -> Reply, once it is durable
//!                                                               +----> Outcome, once it is reached
//! ```
//!
//! Both queues are bounded and nobody waits for room in them: what does not fit is refused, so that
//! no client can keep the engine from its instruments. What stops something has a queue of its own,
//! which questions about the state cannot fill. The emergency stop passes both: it is pressed where
//! it is asked for, and the engine learns of it beside its inbox.
//!
//! To add a command: a variant of [`Control`] with its line in [`Control::checked`], and a handler
//! in `obey`.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::hand::Called;
use super::prepare::Wish;
use super::view::View;
use crate::driver::{EmergencyStop, Stopped};
use crate::engine::core::{Command, Ending};

/// Requests that wait for the engine; more are refused. A request is answered within one commit.
const ORDINARY: usize = 64;
/// The same for those that stop something: more than the connections of the control socket, each of
/// which has one request at a time.
const URGENT: usize = 64;
/// How often the answers to an emergency stop are looked at, in wall time.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// Longest name of a person.
pub const NAME_MAX: usize = 100;
/// Longest reason.
pub const REASON_MAX: usize = 1_000;
/// Longest note.
pub const NOTE_MAX: usize = 4_000;
/// Longest text of a campaign that is edited, in bytes: it must fit into one line of the socket.
pub const EDIT_MAX: usize = 128 << 10;
/// Most arguments of a command by hand.
pub const SET_MAX: usize = 100;
/// Longest id of a run, campaign, instrument or question.
pub const ID_MAX: usize = 500;

/// What a person may ask of the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Control {
    /// To a run, to a campaign and its runs, or to all.
    Command {
        /// Run or campaign; all if `None`.
        #[serde(default)]
        target: Option<String>,
        /// What.
        command: Command,
        /// Who.
        by: String,
        /// Why.
        #[serde(default)]
        reason: String,
    },
    /// Safe states of all instruments, ahead of everything; nothing else is sent until it is
    /// cleared.
    EmergencyStop {
        /// Who.
        by: String,
        /// Why.
        #[serde(default)]
        reason: String,
    },
    /// The emergency stop is cleared.
    Clear {
        /// Who.
        by: String,
        /// Why, although instruments are not confirmed safe.
        #[serde(default)]
        reason: Option<String>,
    },
    /// The answer to a question.
    Answer {
        /// Id of the question, as [`View`] gives it.
        question: String,
        /// One of its options.
        answer: String,
        /// Who.
        by: String,
    },
    /// A person takes an instrument out: runs that need it wait.
    Take {
        /// Instrument.
        instrument: String,
        /// Who.
        by: String,
        /// What for.
        #[serde(default)]
        reason: String,
    },
    /// An instrument is given back.
    Give {
        /// Instrument.
        instrument: String,
        /// Who.
        by: String,
    },
    /// One action, reading or safe state by hand.
    Call {
        /// Instrument.
        instrument: String,
        /// Action or property of its definition, or `safe_state`.
        what: String,
        /// Arguments, each `name=value`.
        #[serde(default)]
        set: Vec<String>,
        /// Who.
        by: String,
    },
    /// An instrument may be used although another unit answers than before.
    Accept {
        /// Instrument.
        instrument: String,
        /// Who.
        by: String,
    },
    /// Something worth keeping.
    Note {
        /// What.
        text: String,
        /// Run, campaign or instrument it is about.
        #[serde(default)]
        about: Option<String>,
        /// Who.
        by: String,
    },
    /// Another text for a campaign under way.
    Edit {
        /// Campaign.
        campaign: String,
        /// The whole text.
        text: String,
        /// Who.
        by: String,
        /// Why.
        #[serde(default)]
        reason: String,
    },
    /// An experiment is taken out of what the planner learns from, or back in.
    Exclude {
        /// Campaign.
        campaign: String,
        /// Experiment, from 1.
        experiment: u32,
        /// Who.
        by: String,
        /// Why.
        reason: String,
        /// Back in.
        #[serde(default)]
        undo: bool,
    },
    /// A campaign, or a single run, for an engine that serves.
    Submit {
        /// All texts, as a bundle is kept.
        bundle: String,
        /// What is asked for beside them.
        wish: Wish,
        /// Who.
        by: String,
    },
    /// What is going on.
    Status,
}

/// What the engine answers, once what follows from it is durable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reply {
    /// What a command meant for each run and campaign it was for.
    Commanded {
        /// In order of age.
        subjects: Vec<Subject>,
    },
    /// The emergency stop is pressed. The one reply that does not wait for the journal.
    Pressed,
    /// The emergency stop is cleared.
    Cleared,
    /// An answer was taken.
    Answered {
        /// Id of the question.
        question: String,
        /// Run.
        run: String,
        /// Step.
        step: String,
        /// The answer.
        answer: String,
    },
    /// An instrument is in a person's hands.
    Taken {
        /// Runs that have used it; they wait where they need it next.
        runs: Vec<String>,
    },
    /// An instrument was given back.
    Given {
        /// What was done to it that may have had an effect.
        changed: Vec<String>,
        /// Runs that had used it and are held because of that.
        held: Vec<String>,
    },
    /// A command by hand is under way; how it ends comes as the outcome.
    Calling {
        /// Its name in the journal; empty for a reading.
        id: String,
        /// It has ended after so long, in seconds of wall time, and what its wire takes.
        at_most_s: f64,
    },
    /// An instrument is used as it is now.
    Accepted {
        /// What it says who it is; empty if it cannot tell.
        identity: String,
    },
    /// A note is kept.
    Noted,
    /// A campaign was changed.
    Edited {
        /// Campaign.
        campaign: String,
        /// The changes, in words.
        diff: Vec<String>,
    },
    /// An experiment was taken out, or back in.
    Excluded {
        /// Campaign.
        campaign: String,
        /// Experiment.
        experiment: u32,
        /// Back in.
        undo: bool,
    },
    /// A campaign was taken, now or when it was asked for with this key before.
    Submitted {
        /// Its name.
        campaign: String,
    },
    /// What is going on.
    Status(Box<View>),
    /// Nothing was done.
    Refused(Refusal),
}

/// Why nothing was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Class.
    pub kind: RefusalKind,
    /// For people: what is wrong and what to do.
    pub message: String,
}

/// Classes of refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RefusalKind {
    /// There is no run, campaign, question or instrument of that name.
    UnknownId,
    /// The answer is none of the question's options.
    WrongAnswer,
    /// Somebody else was first.
    AlreadyAnswered,
    /// It cannot be done now.
    NotNow,
    /// The request is not one, or too long.
    Malformed,
    /// The texts have mistakes; the message is the report.
    NotCompiled,
    /// It is for another lab than the one that is served.
    OtherLab,
    /// Too many requests wait.
    Busy,
    /// The engine has ended.
    Gone,
}

impl Refusal {
    /// A refusal.
    pub fn new(kind: RefusalKind, message: impl Into<String>) -> Refusal {
        Refusal { kind, message: message.into() }
    }

    fn gone() -> Refusal {
        Refusal::new(RefusalKind::Gone, "the engine has ended its work")
    }
}

/// What a command meant for one run or campaign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// Its name.
    pub id: String,
    /// Run or campaign.
    pub kind: SubjectKind,
    /// What the engine made of it.
    pub result: Obeyed,
    /// State it is in now.
    pub state: String,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// What a command can be for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubjectKind {
    /// A run.
    Run,
    /// A campaign.
    Campaign,
}

/// What the engine made of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Obeyed {
    /// It is being carried out.
    Accepted,
    /// There was nothing to do.
    AlreadySo,
    /// It cannot be done.
    Refused,
}

/// Where a command has led.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Runs it was for.
    #[serde(default)]
    pub runs: Vec<RunOutcome>,
    /// All instruments, after an emergency stop.
    #[serde(default)]
    pub instruments: Vec<InstrumentOutcome>,
    /// How a command by hand went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub called: Option<Called>,
}

impl Outcome {
    /// Of a command by hand.
    pub(super) fn of_call(called: Called) -> Outcome {
        Outcome { called: Some(called), ..Outcome::default() }
    }
}

/// Where a command has led one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunOutcome {
    /// Run.
    pub run: String,
    /// State it is in now.
    pub state: String,
    /// How it ended, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
    /// Why, if not complete.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cause: String,
    /// Instruments it had used, if the command touches them.
    #[serde(default)]
    pub instruments: Vec<InstrumentOutcome>,
}

/// What is known of one instrument after a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstrumentOutcome {
    /// Instrument.
    pub instrument: String,
    /// What is known.
    pub state: Safety,
    /// What it said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// Whether an instrument is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Safety {
    /// In its safe state, read back from it.
    Safe,
    /// As the last action of `finally` on it left it.
    LeftByFinally,
    /// In its hold state, read back from it.
    Held,
    /// Holding the run leaves it as it is, watched.
    AsItWas,
    /// Told, but it did not confirm: look at it.
    NotConfirmed,
}

impl Control {
    /// Whether it stops something and must not wait behind what does not.
    pub fn is_urgent(&self) -> bool {
        match self {
            Control::Command { command, .. } => {
                !matches!(command, Command::Pause | Command::Resume)
            }
            Control::EmergencyStop { .. } => true,
            Control::Clear { .. }
            | Control::Accept { .. }
            | Control::Take { .. }
            | Control::Give { .. }
            | Control::Call { .. }
            | Control::Answer { .. }
            | Control::Note { .. }
            | Control::Edit { .. }
            | Control::Exclude { .. }
            | Control::Submit { .. }
            | Control::Status => false,
        }
    }

    /// The same with tidy texts, or why it cannot be one: names and reasons stand on one line of
    /// somebody's terminal, and have a length.
    pub fn checked(self) -> Result<Control, Refusal> {
        Ok(match self {
            Control::Command { target, command, by, reason } => Control::Command {
                target: target.map(|id| line(id, "the id", ID_MAX)).transpose()?,
                command,
                by: name(by)?,
                reason: line(reason, "the reason", REASON_MAX)?,
            },
            Control::EmergencyStop { by, reason } => {
                let reason = line(reason, "the reason", REASON_MAX)?;
                Control::EmergencyStop { by: name(by)?, reason }
            }
            Control::Clear { by, reason } => {
                let reason = reason.map(|r| line(r, "the reason", REASON_MAX)).transpose()?;
                Control::Clear { by: name(by)?, reason }
            }
            Control::Answer { question, answer, by } => Control::Answer {
                question: line(question, "the id", ID_MAX)?,
                answer: line(answer, "the answer", ID_MAX)?,
                by: name(by)?,
            },
            Control::Take { instrument, by, reason } => Control::Take {
                instrument: line(instrument, "the id", ID_MAX)?,
                by: name(by)?,
                reason: line(reason, "the reason", REASON_MAX)?,
            },
            Control::Give { instrument, by } => {
                Control::Give { instrument: line(instrument, "the id", ID_MAX)?, by: name(by)? }
            }
            Control::Call { instrument, what, set, by } => {
                if set.len() > SET_MAX {
                    let why = format!("more than {SET_MAX} arguments");
                    return Err(Refusal::new(RefusalKind::Malformed, why));
                }
                let set = set.into_iter().map(|text| line(text, "an argument", REASON_MAX));
                Control::Call {
                    instrument: line(instrument, "the id", ID_MAX)?,
                    what: line(what, "the action", ID_MAX)?,
                    set: set.collect::<Result<_, _>>()?,
                    by: name(by)?,
                }
            }
            Control::Accept { instrument, by } => {
                Control::Accept { instrument: line(instrument, "the id", ID_MAX)?, by: name(by)? }
            }
            Control::Note { text, about, by } => Control::Note {
                text: filled(paragraphs(text, "the note", NOTE_MAX)?, "the note")?,
                about: about.map(|id| line(id, "the id", ID_MAX)).transpose()?,
                by: name(by)?,
            },
            Control::Edit { campaign, text, by, reason } => {
                if text.len() > EDIT_MAX {
                    let message = format!("the text is longer than {} KiB", EDIT_MAX >> 10);
                    return Err(Refusal::new(RefusalKind::Malformed, message));
                }
                Control::Edit {
                    campaign: line(campaign, "the id", ID_MAX)?,
                    text,
                    by: name(by)?,
                    reason: line(reason, "the reason", REASON_MAX)?,
                }
            }
            Control::Exclude { campaign, experiment, by, reason, undo } => Control::Exclude {
                campaign: line(campaign, "the id", ID_MAX)?,
                experiment,
                by: name(by)?,
                reason: filled(line(reason, "the reason", REASON_MAX)?, "the reason")?,
                undo,
            },
            Control::Submit { bundle, wish, by } => {
                let key = wish.key.map(|key| line(key, "the key", ID_MAX)).transpose()?;
                Control::Submit { bundle, wish: Wish { key, ..wish }, by: name(by)? }
            }
            Control::Status => Control::Status,
        })
    }
}

fn name(by: String) -> Result<String, Refusal> {
    filled(line(by, "the name of who gives the command", NAME_MAX)?, "the name of who gives it")
}

fn filled(text: String, what: &str) -> Result<String, Refusal> {
    if text.is_empty() {
        return Err(Refusal::new(RefusalKind::Malformed, format!("{what} is empty")));
    }
    Ok(text)
}

fn line(text: String, what: &str, most: usize) -> Result<String, Refusal> {
    Ok(paragraphs(text, what, most)?.replace(['\n', '\t'], " "))
}

/// Trimmed, within its length, and with nothing in it that a terminal would obey.
fn paragraphs(text: String, what: &str, most: usize) -> Result<String, Refusal> {
    let text = text.trim();
    if text.chars().count() > most {
        let message = format!("{what} is longer than {most} characters");
        return Err(Refusal::new(RefusalKind::Malformed, message));
    }
    let obeyed = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    Ok(text.replace("\r\n", "\n").replace(obeyed, "\u{fffd}"))
}

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
        let by = name(by).unwrap_or_else(|_| "somebody".to_owned());
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
    pub(super) async fn next(&mut self) -> Option<Request> {
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
    pub(super) fn close(&mut self) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Clock;

    fn pause(by: &str, reason: &str) -> Control {
        let (by, reason) = (by.to_owned(), reason.to_owned());
        Control::Command { target: None, command: Command::Pause, by, reason }
    }

    fn abort() -> Control {
        let by = "anna".to_owned();
        Control::Command { target: None, command: Command::Abort, by, reason: String::new() }
    }

    #[test]
    fn a_full_inbox_refuses_questions_and_still_takes_an_abort() {
        let (handle, mut inbox) = channel(EmergencyStop::detached(Clock::real()));
        let mut taken = Vec::new();
        let refused = loop {
            match handle.ask(Control::Status) {
                Ok(asked) => taken.push(asked),
                Err(refusal) => break refusal,
            }
            assert!(taken.len() <= ORDINARY, "nothing is refused");
        };
        assert_eq!(refused.kind, RefusalKind::Busy);
        let _abort = handle.ask(abort()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let first = runtime.block_on(inbox.next()).unwrap();
        assert_eq!(first.control, abort(), "an abort waits for nothing");
    }

    #[test]
    fn an_engine_that_ends_refuses_what_waits_and_what_comes() {
        let (handle, mut inbox) = channel(EmergencyStop::detached(Clock::real()));
        let mut waits = handle.ask(Control::Status).unwrap();
        inbox.close();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        match runtime.block_on(waits.reply()) {
            Reply::Refused(refusal) => assert_eq!(refusal.kind, RefusalKind::Gone),
            other => panic!("{other:?}"),
        }
        assert_eq!(handle.ask(Control::Status).unwrap_err().kind, RefusalKind::Gone);
    }

    #[test]
    fn names_and_reasons_stand_on_one_line_and_command_no_terminal() {
        let Ok(Control::Command { by, reason, .. }) =
            pause(" anna\u{1b}[2J ", "first\nsecond").checked()
        else {
            panic!("it is a command")
        };
        assert_eq!((by.as_str(), reason.as_str()), ("anna\u{fffd}[2J", "first second"));
        for wrong in [pause("", ""), pause(&"x".repeat(NAME_MAX + 1), ""), pause(" \n", "")] {
            assert_eq!(wrong.checked().unwrap_err().kind, RefusalKind::Malformed);
        }
    }

    #[test]
    fn a_request_reads_as_it_is_documented() {
        let text = r#"{"command":{"command":"pause","by":"anna"}}"#;
        assert_eq!(serde_json::from_str::<Control>(text).unwrap(), pause("anna", ""));
        let text = r#"{"command":{"command":"pause","by":"anna","when":"now"}}"#;
        assert!(serde_json::from_str::<Control>(text).is_err(), "what is not known is not done");
    }
}
