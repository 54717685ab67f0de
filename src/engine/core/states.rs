//! The states of a run, with the names of ISA-88, and what can change them.
//!
//! A state says what the run may do now. What leads from one to the next is the table in
//! `transitions.rs`; what a state does on its way is in `command.rs` and `hold.rs`.

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
