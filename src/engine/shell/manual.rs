//! One command that a person gives by hand, with the promises of a run: the intent is durable
//! before the first byte, the bytes leave at most once, and the outcome says what is known of the
//! effect.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::entries::{Fact, ManualFailure, ManualRecord};
use super::history::History;
use super::perform::kind_of;
use super::wanted::effect_of;
use super::wire_trace;
use crate::compiler::graph::Effect;
use crate::driver::{
    Command, EmergencyStop, Exchange, FailureKind, Fleet, InstrumentSetup, Notice, Outcome,
    Pressed, SendError, Sent, Stopped, Tap,
};
use crate::expr::Value;
use crate::spec::instrument::{Action, EffectClass};
use crate::store::{Document, Entry, Holder, Journal, JournalError};
use crate::wire::{Clock, Dialer};

/// Notices that wait; one instrument without polls tells little.
const NOTICES: usize = 1_024;
/// A driver that does not say how an attempt ended this long after its deadline never will.
const GRACE: Duration = Duration::from_secs(90);
/// How long a safe state beside a command may take to be confirmed, in wall time.
const SAFE_GRACE: Duration = Duration::from_secs(60);
/// How long an instrument that does not confirm after an emergency stop is told again, in wall time:
/// whoever stands before it must hear soon that it does not obey.
const INSIST: Duration = Duration::from_secs(10);
/// A value that is only published is waited for in steps of this.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

pub use crate::driver::decode::SAFE_STATE;

/// A command to give.
#[derive(Debug, Clone)]
pub struct ManualCommand {
    /// Name in the journal, from [`History::next_id`].
    pub id: String,
    /// Who gives it.
    pub by: String,
    /// Fencing epoch at least: one more than the last in the journal. The intent names the one it
    /// was given.
    pub epoch: u64,
    /// Texts of lab and definitions.
    pub bundle: Document,
    /// Address, if it is not that of the lab.
    pub at: Option<String>,
    /// Action of the definition, or [`SAFE_STATE`].
    pub action: String,
    /// Arguments, checked.
    pub args: BTreeMap<String, Value>,
    /// At the latest after this much lab time it has ended.
    pub deadline: Duration,
}

/// How it went.
#[derive(Debug, Clone, PartialEq)]
pub struct ManualOutcome {
    /// Value, or why it failed.
    pub result: Result<Option<Value>, ManualFailure>,
    /// The witness before it was sent.
    pub baseline: Option<Value>,
    /// The witness afterwards, where the effect was not known.
    pub witness: Option<Value>,
    /// What crossed the wire.
    pub trace: Vec<Exchange>,
}

/// Why a command has no outcome.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManualError {
    /// Nothing was sent.
    #[error("nothing was sent: {0}")]
    NotSent(String),
    /// The intent could not be made durable, so nothing was sent.
    #[error("nothing was sent: {0}")]
    Intent(#[source] JournalError),
    /// It was sent, and how it ended could not be noted.
    #[error("the command was sent, but its outcome could not be noted: {source}")]
    Outcome {
        /// Cause.
        source: JournalError,
        /// How it ended.
        outcome: Box<ManualOutcome>,
    },
}

/// Whether a command may be given now. A run that is not over rests on what its instruments were
/// told and on the readings of their witnesses; a command from outside would falsify both.
///
/// Errors: why not, and what to do.
pub fn permitted(history: &History, action: &Action) -> Result<(), String> {
    let Some(open) = history.open_runs().next() else { return Ok(()) };
    if action.stops || action.effect.value == EffectClass::Read {
        return Ok(());
    }
    Err(format!(
        "run {} is not over, and what it goes on with rests on what its instruments were told: \
         `labloop resume` it to its end first; until then only actions that read or stop are \
         carried out by hand",
        open.run
    ))
}

/// A safe state that was sent beside a command.
#[derive(Debug)]
enum Beside {
    /// Nobody has answered yet.
    OnItsWay,
    /// The error says why it is not confirmed.
    Ended(Result<(), String>),
}

/// The connection to one instrument, for commands by hand.
#[derive(Debug)]
pub struct Manual {
    fleet: Fleet,
    notices: mpsc::Receiver<Notice>,
    clock: Clock,
    setup: InstrumentSetup,
    /// The safe state that was sent beside a command.
    made_safe: Option<Beside>,
    /// What crossed the wire for it.
    safe_trace: Vec<Exchange>,
}

impl Manual {
    /// Starts the driver of one instrument; connecting goes on by itself. Nothing is polled. Must
    /// be called inside a tokio runtime.
    pub fn start(
        mut setup: InstrumentSetup,
        clock: Clock,
        dialer: Dialer,
        tap: Option<Tap>,
    ) -> Result<Manual, String> {
        let mut definition = (*setup.definition).clone();
        for property in &mut definition.properties {
            property.every = None;
        }
        setup.definition = Arc::new(definition);
        let (sender, notices) = mpsc::channel(NOTICES);
        let setups = vec![setup.clone()];
        let fleet = Fleet::start_watched(setups, clock.clone(), dialer, sender, 0, tap)
            .map_err(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
        let (made_safe, safe_trace) = (None, Vec::new());
        Ok(Manual { fleet, notices, clock, setup, made_safe, safe_trace })
    }

    /// Waits until it is connected, identified and prepared; the error is why it is not.
    pub async fn connect(&self, within: Duration) -> Result<(), String> {
        self.fleet.ready(within).await.into_values().collect::<Result<Vec<()>, _>>().map(|_| ())
    }

    /// The emergency stop of the instrument.
    pub fn emergency(&self) -> EmergencyStop {
        self.fleet.emergency()
    }

    /// How the safe state went that a second interrupt or the emergency stop has sent; the error says
    /// why it is not confirmed. `None`: none was sent.
    pub fn made_safe(&self) -> Option<&Result<(), String>> {
        match self.made_safe.as_ref()? {
            Beside::OnItsWay => None,
            Beside::Ended(how) => Some(how),
        }
    }

    /// Who pressed the emergency stop, if somebody did, and how the instrument stands. One that does
    /// not confirm is told again and again meanwhile, for a while.
    pub async fn stopped(&self) -> Option<(Pressed, BTreeMap<String, Stopped>)> {
        let emergency = self.emergency();
        let pressed = emergency.pressed()?;
        let until = tokio::time::Instant::now() + INSIST;
        loop {
            let outcomes = emergency.outcomes();
            let safe = outcomes.values().all(|stopped| *stopped == Stopped::Confirmed);
            if safe || tokio::time::Instant::now() >= until {
                return Some((pressed, outcomes));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Reads a property; one that is only published is waited for.
    pub async fn read(&mut self, property: &str, within: Duration) -> ManualOutcome {
        let until = tokio::time::Instant::now() + within;
        for number in 1u64.. {
            let attempt = format!("read-{number}");
            let sent = self.fleet.read(&attempt, &self.setup.name, property);
            if let Err(refused) = sent {
                return not_sent(&refused);
            }
            let outcome = self.outcome(&attempt, within + GRACE, &mut None).await;
            let silent = matches!(&outcome.result, Err(failure)
                if failure.effect == Sent::NotSent
                    && failure.kind == kind_of(FailureKind::Timeout));
            if !silent || tokio::time::Instant::now() >= until {
                return outcome;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        not_sent(&SendError::Closed)
    }

    /// Gives a command: witness, intent into the journal, bytes, outcome into the journal.
    /// Whatever comes on `stop` first cancels it, and a second time sends the safe state.
    pub async fn command(
        &mut self,
        journal: &mut Journal,
        command: ManualCommand,
        stop: mpsc::Receiver<()>,
    ) -> Result<ManualOutcome, ManualError> {
        let definition = Arc::clone(&self.setup.definition);
        let action = definition.action(&command.action);
        if action.is_none() && command.action != SAFE_STATE {
            return Err(ManualError::NotSent(format!("there is no action `{}`", command.action)));
        }
        let witness = action.and_then(|action| action.witness.as_ref());
        let effect = action.map_or(Effect::Repeatable, |action| effect_of(action.effect.value));
        let mut baseline = None;
        if let Some(witness) = witness {
            let read = self.read(&witness.property.value, Duration::from_secs(5)).await;
            baseline = read.result.ok().flatten();
        }
        let intent = |epoch| ManualRecord::Intent {
            id: command.id.clone(),
            by: command.by.clone(),
            epoch,
            bundle: command.bundle.hash.clone(),
            instrument: self.setup.name.clone(),
            at: command.at.clone(),
            action: command.action.clone(),
            args: command.args.clone(),
            effect,
            baseline: baseline.clone(),
        };
        let holder = Holder::this_process(self.clock.wall().as_millisecond());
        let next = journal.len() + 1;
        let first = |epoch| {
            let entry = self.entry(next, intent(epoch))?;
            Ok::<_, JournalError>((vec![entry], vec![command.bundle.clone()]))
        };
        // The number that fences off whoever had the instrument before, and the intent, in one.
        journal.take_lease(&holder, command.epoch, first).map_err(ManualError::Intent)?;
        // SAFETY(lab): durable from here on; only now may bytes leave.
        let mut outcome = match action {
            Some(_) => self.send(&command, stop).await,
            None => self.make_safe(command.deadline).await,
        };
        outcome.baseline = baseline;
        if let (Some(witness), Err(failure)) = (witness, &outcome.result)
            && failure.effect == Sent::Unknown
        {
            self.clock.sleep(witness.settle.value).await;
            let read = self.read(&witness.property.value, Duration::from_secs(5)).await;
            outcome.witness = read.result.ok().flatten();
        }
        let record = ManualRecord::Outcome {
            id: command.id,
            result: outcome.result.clone(),
            witness: outcome.witness.clone(),
            trace: wire_trace::kept(&outcome.trace),
        };
        let noted =
            self.entry(journal.len() + 1, record).and_then(|entry| journal.append(&[entry], &[]));
        match noted {
            Ok(()) => Ok(outcome),
            Err(source) => Err(ManualError::Outcome { source, outcome: Box::new(outcome) }),
        }
    }

    async fn send(&mut self, command: &ManualCommand, stop: mpsc::Receiver<()>) -> ManualOutcome {
        // A device that remembers ids must never take this one for that of another journal.
        let attempt = format!("{}-{}", command.id, self.clock.wall().as_millisecond());
        let sent = self.fleet.send(Command {
            attempt: attempt.clone(),
            instrument: self.setup.name.clone(),
            action: command.action.clone(),
            args: command.args.clone(),
            deadline: command.deadline,
        });
        if let Err(refused) = sent {
            return not_sent(&refused);
        }
        let longest = self.clock.wall_span(command.deadline) + GRACE;
        let mut outcome = self.outcome(&attempt, longest, &mut Some(stop)).await;
        let safe = self.settle_safety().await;
        outcome.trace.append(&mut self.safe_trace);
        if let (Some(safe), Err(failure)) = (safe, &mut outcome.result) {
            failure.message = format!("{}; {safe}", failure.message);
        }
        outcome
    }

    /// Waits for the answer to a safe state that is on its way; in words.
    async fn settle_safety(&mut self) -> Option<String> {
        let until = tokio::time::Instant::now() + SAFE_GRACE;
        while matches!(self.made_safe, Some(Beside::OnItsWay)) {
            match tokio::time::timeout_at(until, self.notices.recv()).await {
                Ok(Some(notice)) => self.note_safe(notice),
                Ok(None) | Err(_) => {
                    let why = "it never said how that went".to_owned();
                    self.made_safe = Some(Beside::Ended(Err(why)));
                }
            }
        }
        self.made_safe().map(|safe| match safe {
            Ok(()) => "its safe state is confirmed".to_owned(),
            Err(why) => format!("it is NOT CONFIRMED SAFE: {why}"),
        })
    }

    fn note_safe(&mut self, notice: Notice) {
        if let Notice::SafeState { confirmed, detail, trace, .. } = notice {
            self.made_safe = Some(Beside::Ended(if confirmed { Ok(()) } else { Err(detail) }));
            self.safe_trace.extend(trace);
        }
    }

    async fn make_safe(&mut self, longest: Duration) -> ManualOutcome {
        if let Err(refused) = self.fleet.safe_state(&self.setup.name) {
            return not_sent(&refused);
        }
        let until = tokio::time::Instant::now() + self.clock.wall_span(longest);
        while let Ok(Some(notice)) = tokio::time::timeout_at(until, self.notices.recv()).await {
            let Notice::SafeState { confirmed, detail, trace, .. } = notice else { continue };
            if confirmed {
                return ManualOutcome { result: Ok(None), baseline: None, witness: None, trace };
            }
            let why = format!("it is NOT CONFIRMED SAFE: {detail}");
            return failed(FailureKind::Refused, why, Sent::Unknown, trace);
        }
        let why = "the driver never said how it ended".to_owned();
        failed(FailureKind::Internal, why, Sent::Unknown, Vec::new())
    }

    fn entry(&self, seq: u64, record: ManualRecord) -> Result<Entry, JournalError> {
        let wall = self.clock.wall().as_millisecond();
        Fact::Manual(record).entry(self.clock.now().0, wall).map_err(|error| JournalError::Broken {
            path: "journal.db".into(),
            seq,
            what: format!("a value cannot be written: {error}"),
        })
    }

    /// Waits for the outcome of an attempt.
    async fn outcome(
        &mut self,
        attempt: &str,
        longest: Duration,
        stop: &mut Option<mpsc::Receiver<()>>,
    ) -> ManualOutcome {
        let until = tokio::time::Instant::now() + longest;
        let mut asked = false;
        let mut pressed = self.fleet.emergency().watch();
        loop {
            let notice = tokio::select! {
                notice = self.notices.recv() => notice,
                stopped = wait(stop) => {
                    if stopped.is_none() {
                        *stop = None;
                        continue;
                    }
                    // Errors mean that the driver has ended; the wait below ends with it.
                    let _ = if asked {
                        self.made_safe = Some(Beside::OnItsWay);
                        self.fleet.safe_state(&self.setup.name)
                    } else {
                        self.fleet.cancel(&self.setup.name, attempt)
                    };
                    asked = true;
                    continue;
                }
                // The stop has sent the safe state itself, past everything here.
                Ok(()) = pressed.changed() => {
                    self.made_safe = Some(Beside::OnItsWay);
                    continue;
                }
                () = tokio::time::sleep_until(until) => None,
            };
            match notice {
                Some(Notice::Outcome { attempt: of, outcome }) if of == attempt => {
                    return taken(outcome);
                }
                Some(notice) => self.note_safe(notice),
                None => {
                    let why = "the driver never said how it ended";
                    return failed(FailureKind::Internal, why.to_owned(), Sent::Unknown, vec![]);
                }
            }
        }
    }

    /// Ends the connection.
    pub async fn close(self) {
        // The driver tells its last notices to nobody.
        drop(self.notices);
        self.fleet.shutdown().await;
    }
}

async fn wait(stop: &mut Option<mpsc::Receiver<()>>) -> Option<()> {
    match stop {
        Some(stop) => stop.recv().await,
        None => std::future::pending().await,
    }
}

fn taken(outcome: Outcome) -> ManualOutcome {
    match outcome {
        Outcome::Done { value, trace } => {
            ManualOutcome { result: Ok(value), baseline: None, witness: None, trace }
        }
        Outcome::Failed { kind, message, effect, trace } => failed(kind, message, effect, trace),
    }
}

fn failed(kind: FailureKind, message: String, effect: Sent, trace: Vec<Exchange>) -> ManualOutcome {
    let failure = ManualFailure { kind: kind_of(kind), message, effect };
    ManualOutcome { result: Err(failure), baseline: None, witness: None, trace }
}

fn not_sent(refused: &SendError) -> ManualOutcome {
    failed(FailureKind::Link, refused.to_string(), Sent::NotSent, Vec::new())
}
