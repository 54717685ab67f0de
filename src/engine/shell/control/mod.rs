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

mod lanes;
mod reply;

use serde::{Deserialize, Serialize};

use super::prepare::Wish;
use crate::engine::core::Command;

pub use lanes::{Asked, Handle, Inbox, Request, channel};
pub use reply::{
    InstrumentOutcome, Obeyed, Outcome, Refusal, RefusalKind, Reply, RunOutcome, Safety, Subject,
    SubjectKind,
};

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
        /// Id of the question, as [`View`](super::view::View) gives it.
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
    /// An instrument may be used although it was not confirmed safe when a run ended, or although
    /// another unit answers than before.
    Accept {
        /// Instrument.
        instrument: String,
        /// Who.
        by: String,
        /// Why; needed where it was not confirmed safe.
        #[serde(default)]
        reason: String,
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
    /// The signals as they are.
    Signals {
        /// Those of this instrument only.
        #[serde(default)]
        instrument: Option<String>,
    },
    /// What is going on.
    Status,
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
            | Control::Signals { .. }
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
            Control::Accept { instrument, by, reason } => Control::Accept {
                instrument: line(instrument, "the id", ID_MAX)?,
                by: name(by)?,
                reason: line(reason, "the reason", REASON_MAX)?,
            },
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
            Control::Signals { instrument } => Control::Signals {
                instrument: instrument.map(|id| line(id, "the id", ID_MAX)).transpose()?,
            },
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

#[cfg(test)]
mod tests {
    use super::lanes::ORDINARY;
    use super::*;
    use crate::driver::EmergencyStop;
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
