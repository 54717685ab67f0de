//! What leads from one state of a run to the next: one pure table.
//!
//! `next` is the whole of it: whoever asks, it answers with the new state, or why there is none.
//! No match has a catch-all where a new state would slip through. The table is printed into
//! `docs/explanation/states.md`.

use super::record::Ending;
use super::states::{Cause, Command, Illegal, RunState, Trigger};

/// The state that follows, or why none does.
///
/// Errors: [`Illegal::Already`] where the command has been obeyed before, [`Illegal::Refused`]
/// where it cannot be.
pub fn next(state: RunState, trigger: Trigger, cause: Cause) -> Result<RunState, Illegal> {
    match trigger {
        Trigger::Command(command) => commanded(state, command, cause),
        Trigger::Begun if state == RunState::Idle => Ok(RunState::Running),
        Trigger::Begun => Err(Illegal::Refused("only an idle run begins")),
        Trigger::Settled => settled(state),
        Trigger::Recovered => recovered(state),
        Trigger::Body(ending) => body(state, ending),
        Trigger::Over(ending) if state == RunState::ending(ending) => Ok(RunState::ended(ending)),
        Trigger::Over(_) => Err(Illegal::Refused("it does not end like that")),
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
