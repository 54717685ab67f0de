//! The table of states against one written by hand, and its laws.

use crate::engine::core::{
    CAUSES, Cause, Command, Ending, Illegal, RunState, STATES, TRIGGERS, Trigger,
    next_state as next,
};

/// State, then what a person's pause, hold, resume, stop and abort make of it: the new state, `=`
/// for "it is so already", `-` for refused.
const COMMANDS: &str = "
    idle        pausing   holding   =          stopping  aborting
    running     pausing   holding   =          stopping  aborting
    pausing     =         holding   running    stopping  aborting
    paused      =         holding   running    stopping  aborting
    holding     =         =         -          stopping  aborting
    held        =         =         restarting stopping  aborting
    restarting  -         holding   =          stopping  aborting
    recovering  pausing   holding   =          stopping  aborting
    completing  -         -         -          =         aborting
    stopping    -         -         -          =         aborting
    aborting    -         -         -          =         =
    complete    -         -         -          =         =
    stopped     -         -         -          =         =
    failed      -         -         -          =         =
    invalid     -         -         -          =         =
    aborted     -         -         -          =         =
";

/// State, then: it begins, what it waited for has happened, a new engine took it over, its steps
/// are done, one of them failed, the sample is lost.
const HAPPENINGS: &str = "
    idle        running   -         recovering completing stopping  stopping
    running     -         -         recovering completing stopping  stopping
    pausing     -         paused    =          -          -         stopping
    paused      -         -         =          -          -         stopping
    holding     -         held      =          -          -         stopping
    held        -         -         =          -          -         stopping
    restarting  -         running   holding    -          -         stopping
    recovering  -         running   recovering -          -         stopping
    completing  -         -         =          -          -         -
    stopping    -         -         =          -          -         -
    aborting    -         -         =          -          -         -
    complete    -         -         =          -          -         -
    stopped     -         -         =          -          -         -
    failed      -         -         =          -          -         -
    invalid     -         -         =          -          -         -
    aborted     -         -         =          -          -         -
";

fn word(result: Result<RunState, Illegal>) -> &'static str {
    match result {
        Ok(state) => state.as_str(),
        Err(Illegal::Already(_)) => "=",
        Err(Illegal::Refused(_)) => "-",
    }
}

fn check(table: &str, triggers: &[Trigger]) {
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .filter(|row: &Vec<&str>| !row.is_empty())
        .collect();
    assert_eq!(rows.len(), STATES.len());
    for (row, state) in rows.iter().zip(STATES) {
        assert_eq!(row[0], state.as_str());
        assert_eq!(row.len(), triggers.len() + 1);
        for (expected, trigger) in row[1..].iter().zip(triggers) {
            let found = word(next(state, *trigger, Cause::Person));
            assert_eq!(found, *expected, "{trigger:?} in {}", state.as_str());
        }
    }
}

#[test]
fn every_command_in_every_state_is_as_the_table_says() {
    let commands = [Command::Pause, Command::Hold, Command::Resume, Command::Stop, Command::Abort];
    check(COMMANDS, &commands.map(Trigger::Command));
}

#[test]
fn everything_that_happens_in_every_state_is_as_the_table_says() {
    let happenings = [
        Trigger::Begun,
        Trigger::Settled,
        Trigger::Recovered,
        Trigger::Body(Ending::Complete),
        Trigger::Body(Ending::Failed),
        Trigger::Body(Ending::Invalid),
    ];
    check(HAPPENINGS, &happenings);
}

#[test]
fn a_run_is_over_only_as_it_ends() {
    use Ending::{Aborted, Complete, Failed, Invalid, Stopped};
    for state in STATES {
        for ending in [Complete, Failed, Invalid, Stopped, Aborted] {
            let may = matches!(
                (state, ending),
                (RunState::Completing, Complete)
                    | (RunState::Stopping, Failed | Invalid | Stopped)
                    | (RunState::Aborting, Aborted)
            );
            let found = next(state, Trigger::Over(ending), Cause::Person);
            assert_eq!(found.is_ok(), may, "{state:?} {ending:?}");
            if let Ok(state) = found {
                assert!(state.is_over());
            }
        }
    }
}

/// Every state, every trigger, every cause.
#[test]
fn laws_of_the_table() {
    for state in STATES {
        for trigger in TRIGGERS {
            for cause in CAUSES {
                let found = next(state, trigger, cause);
                let told = format!("{state:?} {trigger:?} {cause:?} -> {found:?}");
                // What is over stays over.
                assert!(!state.is_over() || found.is_err(), "{told}");
                // Whoever is refused is told why; whoever is obeyed changes something, but for an
                // engine that dies on the way.
                match found {
                    Err(Illegal::Already(why) | Illegal::Refused(why)) => {
                        assert!(!why.is_empty(), "{told}");
                    }
                    Ok(to) => {
                        let again = trigger == Trigger::Recovered && to == RunState::Recovering;
                        assert!(to != state || again, "{told}");
                    }
                }
                // A command given twice is no error the second time.
                if let (Ok(to), Trigger::Command(_)) = (found, trigger) {
                    let again = next(to, trigger, cause);
                    assert!(
                        matches!(again, Err(Illegal::Already(_))),
                        "{told}, and then {again:?}"
                    );
                }
                // The engine never ends a pause, and pauses nothing.
                let engines = cause != Cause::Person;
                let paused = matches!(state, RunState::Pausing | RunState::Paused);
                if engines && trigger == Trigger::Command(Command::Pause) {
                    assert!(found.is_err(), "{told}");
                }
                if engines && paused && trigger == Trigger::Command(Command::Resume) {
                    assert!(found.is_err(), "{told}");
                }
                // Emergency, interlock and person abort from every state that is not over.
                let aborts = matches!(
                    cause,
                    Cause::Person | Cause::Emergency | Cause::Interlock | Cause::Downtime
                );
                if trigger == Trigger::Command(Command::Abort) && aborts && !state.is_over() {
                    assert!(
                        found == Ok(RunState::Aborting) || state == RunState::Aborting,
                        "{told}"
                    );
                }
            }
        }
    }
}
