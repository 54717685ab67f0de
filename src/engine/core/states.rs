//! The states of a run and what leads from one to the next: ISA-88 names, one pure table.
//!
//! A state says what the run may do now. `next` is the whole table: whoever asks, it answers with
//! the new state, or why there is none. What a state does on its way is in `command.rs` and
//! `hold.rs`; the table is printed into `docs/explanation/states.md`.

use serde::{Deserialize, Serialize};

use super::record::Ending;

/// What a run is doing as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Begun; waits for what `require` asks and for its places.
    Idle,
    /// Steps run.
    Running,
    /// No new step starts; those under way come to their end.
    Pausing,
    /// Nothing is under way; instruments stay as they are.
    Paused,
    /// What can be cancelled is, the rest is awaited; instruments go to their hold states.
    Holding,
    /// Instruments are in their hold states, or said not to be.
    Held,
    /// What the hold stopped is set going again.
    Restarting,
    /// A new engine finds out what became of the commands of the one before.
    Recovering,
    /// All steps are done; `finally` and the safe states follow.
    Completing,
    /// The steps have ended early; `finally` and the safe states follow.
    Stopping,
    /// Safe states now.
    Aborting,
    /// Over: all steps done.
    Complete,
    /// Over: ended by a person, `finally` ran.
    Stopped,
    /// Over: a step failed.
    Failed,
    /// Over: the sample is lost or in doubt.
    Invalid,
    /// Over: ended at once, safe states only.
    Aborted,
}

/// Every state, in the order of a life.
pub const STATES: [RunState; 16] = [
    RunState::Idle,
    RunState::Running,
    RunState::Pausing,
    RunState::Paused,
    RunState::Holding,
    RunState::Held,
    RunState::Restarting,
    RunState::Recovering,
    RunState::Completing,
    RunState::Stopping,
    RunState::Aborting,
    RunState::Complete,
    RunState::Stopped,
    RunState::Failed,
    RunState::Invalid,
    RunState::Aborted,
];

/// Commands to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// No new step after those under way.
    Pause,
    /// Now, and keep safe: cancel what can be cancelled, instruments to their hold states.
    Hold,
    /// Go on.
    Resume,
    /// End the steps under way, run `finally`.
    Stop,
    /// Safe states now.
    Abort,
}

/// What can change the state of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// Somebody commands it.
    Command(Command),
    /// Its first step may start.
    Begun,
    /// What the state waited for has happened.
    Settled,
    /// A new engine took it over.
    Recovered,
    /// Its steps have ended by themselves: all done, one failed, or the sample is lost.
    Body(Ending),
    /// Its safe states have been answered.
    Over(Ending),
}

/// Every trigger, in the order of the table in the docs.
pub const TRIGGERS: [Trigger; 14] = [
    Trigger::Command(Command::Pause),
    Trigger::Command(Command::Hold),
    Trigger::Command(Command::Resume),
    Trigger::Command(Command::Stop),
    Trigger::Command(Command::Abort),
    Trigger::Begun,
    Trigger::Settled,
    Trigger::Recovered,
    Trigger::Body(Ending::Complete),
    Trigger::Body(Ending::Failed),
    Trigger::Over(Ending::Complete),
    Trigger::Over(Ending::Failed),
    Trigger::Over(Ending::Stopped),
    Trigger::Over(Ending::Aborted),
];

/// Why a run is held, or was ended from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A person asked for it.
    Person,
    /// The engine is going down; passes when the next one starts.
    Shutdown,
    /// The disk is nearly full, or cannot be written.
    Disk,
    /// The clock jumped.
    Clock,
    /// After a crash, nothing can tell what became of a command.
    Doubt,
    /// The engine was away for longer than the protocol allows.
    Downtime,
    /// What a hold had stopped could not be set going again.
    Restart,
    /// An interlock tripped.
    Interlock,
    /// The emergency stop was pressed.
    Emergency,
}

/// Every cause.
pub const CAUSES: [Cause; 9] = [
    Cause::Person,
    Cause::Shutdown,
    Cause::Disk,
    Cause::Clock,
    Cause::Doubt,
    Cause::Downtime,
    Cause::Restart,
    Cause::Interlock,
    Cause::Emergency,
];

/// Why a trigger leads nowhere from a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Illegal {
    /// It is so already: nothing to do, and no error.
    Already(&'static str),
    /// It cannot be, and why; for people, with the way out.
    Refused(&'static str),
}

impl RunState {
    /// As shown to people.
    pub fn as_str(self) -> &'static str {
        match self {
            RunState::Idle => "idle",
            RunState::Running => "running",
            RunState::Pausing => "pausing",
            RunState::Paused => "paused",
            RunState::Holding => "holding",
            RunState::Held => "held",
            RunState::Restarting => "restarting",
            RunState::Recovering => "recovering",
            RunState::Completing => "completing",
            RunState::Stopping => "stopping",
            RunState::Aborting => "aborting",
            RunState::Complete => "complete",
            RunState::Stopped => "stopped",
            RunState::Failed => "failed",
            RunState::Invalid => "invalid",
            RunState::Aborted => "aborted",
        }
    }

    /// Nothing follows any more.
    pub fn is_over(self) -> bool {
        match self {
            RunState::Complete
            | RunState::Stopped
            | RunState::Failed
            | RunState::Invalid
            | RunState::Aborted => true,
            RunState::Idle
            | RunState::Running
            | RunState::Pausing
            | RunState::Paused
            | RunState::Holding
            | RunState::Held
            | RunState::Restarting
            | RunState::Recovering
            | RunState::Completing
            | RunState::Stopping
            | RunState::Aborting => false,
        }
    }

    /// Steps may start, fail and end the run.
    pub fn goes_on(self) -> bool {
        matches!(
            self,
            RunState::Idle | RunState::Running | RunState::Completing | RunState::Stopping
        )
    }

    /// Time stands still for waits and deadlines of the protocol.
    pub fn stands_still(self) -> bool {
        matches!(self, RunState::Holding | RunState::Held | RunState::Restarting)
    }

    /// The state after the steps have ended so.
    pub fn ending(ending: Ending) -> RunState {
        match ending {
            Ending::Complete => RunState::Completing,
            Ending::Failed | Ending::Invalid | Ending::Stopped => RunState::Stopping,
            Ending::Aborted => RunState::Aborting,
        }
    }

    /// The state of a run that is over.
    pub fn ended(ending: Ending) -> RunState {
        match ending {
            Ending::Complete => RunState::Complete,
            Ending::Failed => RunState::Failed,
            Ending::Invalid => RunState::Invalid,
            Ending::Stopped => RunState::Stopped,
            Ending::Aborted => RunState::Aborted,
        }
    }
}

impl Command {
    /// As on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Command::Pause => "pause",
            Command::Hold => "hold",
            Command::Resume => "resume",
            Command::Stop => "stop",
            Command::Abort => "abort",
        }
    }
}

impl Cause {
    /// As shown to people.
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::Person => "a person",
            Cause::Shutdown => "the engine going down",
            Cause::Disk => "the disk",
            Cause::Clock => "a clock jump",
            Cause::Doubt => "a command in doubt",
            Cause::Downtime => "the time the engine was away",
            Cause::Restart => "a restart that failed",
            Cause::Interlock => "an interlock",
            Cause::Emergency => "the emergency stop",
        }
    }

    /// Whether the engine may let a run go on once this has passed, without a person.
    pub fn passes(self) -> bool {
        match self {
            Cause::Shutdown | Cause::Disk | Cause::Clock | Cause::Doubt => true,
            Cause::Person
            | Cause::Downtime
            | Cause::Restart
            | Cause::Interlock
            | Cause::Emergency => false,
        }
    }

    /// Whether a person may end this hold by a word. What the engine or the lab still finds wrong
    /// has to be mended instead.
    pub fn yields_to_a_person(self) -> bool {
        match self {
            Cause::Person | Cause::Downtime | Cause::Restart => true,
            Cause::Shutdown
            | Cause::Disk
            | Cause::Clock
            | Cause::Doubt
            | Cause::Interlock
            | Cause::Emergency => false,
        }
    }
}

/// The state that follows, or why none does.
///
/// Errors: [`Illegal::Already`] where the command has been obeyed before, [`Illegal::Refused`]
/// where it cannot be.
pub fn next(state: RunState, trigger: Trigger, cause: Cause) -> Result<RunState, Illegal> {
    match trigger {
        Trigger::Command(command) => commanded(state, command, cause),
        Trigger::Begun => match state {
            RunState::Idle => Ok(RunState::Running),
            _ => Err(Illegal::Refused("only an idle run begins")),
        },
        Trigger::Settled => settled(state),
        Trigger::Recovered => recovered(state),
        Trigger::Body(ending) => body(state, ending),
        Trigger::Over(ending) => match (state, ending) {
            (RunState::Completing, Ending::Complete)
            | (RunState::Stopping, Ending::Failed | Ending::Invalid | Ending::Stopped)
            | (RunState::Aborting, Ending::Aborted) => Ok(RunState::ended(ending)),
            _ => Err(Illegal::Refused("it does not end like that")),
        },
    }
}

const ENDING: &str =
    "it is ending: `finally` or the safe states are under way; abort skips to the safe states";
const OVER: &str = "it is over";

fn commanded(state: RunState, command: Command, cause: Cause) -> Result<RunState, Illegal> {
    match command {
        Command::Pause => pause(state, cause),
        Command::Hold => hold(state),
        Command::Resume => resume(state, cause),
        Command::Stop => stop(state, cause),
        Command::Abort => abort(state, cause),
    }
}

fn pause(state: RunState, cause: Cause) -> Result<RunState, Illegal> {
    if cause != Cause::Person {
        return Err(Illegal::Refused("only a person pauses a run; the engine holds it"));
    }
    match state {
        RunState::Idle | RunState::Running | RunState::Recovering => Ok(RunState::Pausing),
        RunState::Pausing => Err(Illegal::Already("it is pausing already")),
        RunState::Paused => Err(Illegal::Already("it is paused already")),
        RunState::Holding => Err(Illegal::Already("it goes to its hold state, which is more")),
        RunState::Held => Err(Illegal::Already("it is held already, which is more")),
        RunState::Restarting => {
            Err(Illegal::Refused("it is restarting: hold it, or pause it once it runs"))
        }
        RunState::Completing | RunState::Stopping => Err(Illegal::Refused(ENDING)),
        RunState::Aborting => Err(Illegal::Refused("it is being aborted")),
        RunState::Complete
        | RunState::Stopped
        | RunState::Failed
        | RunState::Invalid
        | RunState::Aborted => Err(Illegal::Refused(OVER)),
    }
}

fn hold(state: RunState) -> Result<RunState, Illegal> {
    match state {
        RunState::Idle
        | RunState::Running
        | RunState::Pausing
        | RunState::Paused
        | RunState::Restarting
        | RunState::Recovering => Ok(RunState::Holding),
        RunState::Holding => Err(Illegal::Already("it goes to its hold state already")),
        RunState::Held => Err(Illegal::Already("it is held already")),
        RunState::Completing | RunState::Stopping => Err(Illegal::Refused(ENDING)),
        RunState::Aborting => Err(Illegal::Refused("it is being aborted")),
        RunState::Complete
        | RunState::Stopped
        | RunState::Failed
        | RunState::Invalid
        | RunState::Aborted => Err(Illegal::Refused(OVER)),
    }
}

fn resume(state: RunState, cause: Cause) -> Result<RunState, Illegal> {
    let person = cause == Cause::Person;
    match state {
        RunState::Pausing | RunState::Paused if !person => {
            Err(Illegal::Refused("a person paused it, and only a person lets it go on"))
        }
        RunState::Pausing | RunState::Paused => Ok(RunState::Running),
        RunState::Held if cause == Cause::Emergency => {
            Err(Illegal::Refused("after an emergency stop a person lets it go on"))
        }
        RunState::Held => Ok(RunState::Restarting),
        RunState::Holding => {
            Err(Illegal::Refused("it is still going to its hold state: resume it once it is held"))
        }
        RunState::Idle | RunState::Running => Err(Illegal::Already("it is running already")),
        RunState::Restarting => Err(Illegal::Already("it is restarting already")),
        RunState::Recovering => Err(Illegal::Already(
            "it is finding out what became of its commands, and goes on by itself",
        )),
        RunState::Completing | RunState::Stopping => Err(Illegal::Refused(ENDING)),
        RunState::Aborting => Err(Illegal::Refused("it is being aborted")),
        RunState::Complete
        | RunState::Stopped
        | RunState::Failed
        | RunState::Invalid
        | RunState::Aborted => Err(Illegal::Refused(OVER)),
    }
}

fn stop(state: RunState, cause: Cause) -> Result<RunState, Illegal> {
    match state {
        RunState::Idle
        | RunState::Running
        | RunState::Pausing
        | RunState::Paused
        | RunState::Holding
        | RunState::Held
        | RunState::Restarting
        | RunState::Recovering => match cause {
            Cause::Person | Cause::Downtime => Ok(RunState::Stopping),
            Cause::Shutdown
            | Cause::Disk
            | Cause::Clock
            | Cause::Doubt
            | Cause::Restart
            | Cause::Interlock
            | Cause::Emergency => {
                Err(Illegal::Refused("only a person stops a run; the engine holds or aborts it"))
            }
        },
        RunState::Completing => Err(Illegal::Already("its steps are done, and it is ending")),
        RunState::Stopping => Err(Illegal::Already("it is stopping already")),
        RunState::Aborting => Err(Illegal::Already("it is being aborted, which is more")),
        RunState::Complete
        | RunState::Stopped
        | RunState::Failed
        | RunState::Invalid
        | RunState::Aborted => Err(Illegal::Already(OVER)),
    }
}

fn abort(state: RunState, cause: Cause) -> Result<RunState, Illegal> {
    match state {
        RunState::Idle
        | RunState::Running
        | RunState::Pausing
        | RunState::Paused
        | RunState::Holding
        | RunState::Held
        | RunState::Restarting
        | RunState::Recovering
        | RunState::Completing
        | RunState::Stopping => match cause {
            Cause::Person | Cause::Downtime | Cause::Interlock | Cause::Emergency => {
                Ok(RunState::Aborting)
            }
            Cause::Shutdown | Cause::Disk | Cause::Clock | Cause::Doubt | Cause::Restart => {
                Err(Illegal::Refused("this holds a run and does not abort it"))
            }
        },
        RunState::Aborting => Err(Illegal::Already("it is being aborted already")),
        RunState::Complete
        | RunState::Stopped
        | RunState::Failed
        | RunState::Invalid
        | RunState::Aborted => Err(Illegal::Already(OVER)),
    }
}

fn settled(state: RunState) -> Result<RunState, Illegal> {
    match state {
        RunState::Pausing => Ok(RunState::Paused),
        RunState::Holding => Ok(RunState::Held),
        RunState::Restarting | RunState::Recovering => Ok(RunState::Running),
        RunState::Idle
        | RunState::Running
        | RunState::Paused
        | RunState::Held
        | RunState::Completing
        | RunState::Stopping
        | RunState::Aborting
        | RunState::Complete
        | RunState::Stopped
        | RunState::Failed
        | RunState::Invalid
        | RunState::Aborted => Err(Illegal::Refused("it waits for nothing of that kind")),
    }
}

fn recovered(state: RunState) -> Result<RunState, Illegal> {
    match state {
        RunState::Idle | RunState::Running | RunState::Recovering => Ok(RunState::Recovering),
        // What was set going is not known to go: it is held and restarted anew.
        RunState::Restarting => Ok(RunState::Holding),
        RunState::Pausing | RunState::Paused => Err(Illegal::Already("it stays paused")),
        RunState::Holding | RunState::Held => Err(Illegal::Already("it stays held")),
        RunState::Completing | RunState::Stopping | RunState::Aborting => {
            Err(Illegal::Already("it goes on ending"))
        }
        RunState::Complete
        | RunState::Stopped
        | RunState::Failed
        | RunState::Invalid
        | RunState::Aborted => Err(Illegal::Already(OVER)),
    }
}

fn body(state: RunState, ending: Ending) -> Result<RunState, Illegal> {
    match state {
        RunState::Idle | RunState::Running => match ending {
            Ending::Complete | Ending::Failed | Ending::Invalid => Ok(RunState::ending(ending)),
            Ending::Stopped | Ending::Aborted => {
                Err(Illegal::Refused("somebody has to command that"))
            }
        },
        // Virtual instruments that are gone, or a question about the run as a whole that nobody
        // answered, end a run that stands still.
        RunState::Pausing
        | RunState::Paused
        | RunState::Holding
        | RunState::Held
        | RunState::Restarting
        | RunState::Recovering => match ending {
            Ending::Invalid => Ok(RunState::Stopping),
            Ending::Complete | Ending::Failed | Ending::Stopped | Ending::Aborted => {
                Err(Illegal::Refused("steps of a run that stands still do not end it"))
            }
        },
        RunState::Completing | RunState::Stopping | RunState::Aborting => {
            Err(Illegal::Refused("its steps have ended before"))
        }
        RunState::Complete
        | RunState::Stopped
        | RunState::Failed
        | RunState::Invalid
        | RunState::Aborted => Err(Illegal::Refused(OVER)),
    }
}
