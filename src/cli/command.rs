//! `labloop pause`, `hold`, `resume`, `stop` and `abort`: commands to a running engine from another terminal.

use std::time::Duration;

use serde_json::json;

use super::args::CommandArgs;
use super::live::{self, Engine};
use super::user::user;
use super::{Exit, output};
use crate::engine::core::{Command, Ending};
use crate::engine::shell::Control;
use crate::engine::shell::control::{
    InstrumentOutcome, Obeyed, Outcome, Reply, RunOutcome, Safety, Subject, SubjectKind,
};
use crate::server::Client;

pub(super) fn run(command: Command, args: &CommandArgs, json: bool) -> Exit {
    let outcome = match live::find(&args.state.state) {
        Ok(Engine::Live(mut client)) => give(&mut client, command, args, json),
        Ok(Engine::None) => Err(live::nobody(&args.state.state)),
        Err(error) => Err(error),
    };
    live::end(outcome, json)
}

/// Gives a command, stays for what it leads to and tells both.
pub(super) fn give(
    client: &mut Client,
    command: Command,
    args: &CommandArgs,
    json: bool,
) -> Result<Exit, (Exit, String)> {
    let wait = args.wait;
    let control = Control::Command {
        target: args.id.clone(),
        command,
        by: args.by.clone().unwrap_or_else(user),
        reason: args.reason.clone(),
    };
    let reply = live::ask(client, control, wait)?;
    let Reply::Commanded { subjects } = reply else {
        return Err((Exit::Unreachable, "the engine answered something else".to_owned()));
    };
    if !json {
        tell(command, args.id.is_none(), &subjects);
    }
    let refused = subjects.iter().all(|s| s.result == Obeyed::Refused);
    let waits = !wait.is_zero() && subjects.iter().any(|s| s.kind == SubjectKind::Run) && !refused;
    let outcome = match waits {
        false => Ok(Outcome::default()),
        true => client.outcome(wait).map_err(|error| live::failed(&error))?,
    };
    if json {
        let value = match &outcome {
            Ok(outcome) => json!({"command": command, "subjects": subjects, "outcome": outcome}),
            Err(why) => json!({"command": command, "subjects": subjects, "unseen": why}),
        };
        output::data(&format!("{value}\n"));
    }
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(why) => {
            output::error(why);
            return Ok(Exit::RunFailed);
        }
    };
    if !json {
        for run in &outcome.runs {
            output::data(&in_words(run));
        }
    }
    let mut instruments = outcome.runs.iter().flat_map(|r| &r.instruments);
    Ok(if instruments.any(|i| i.state == Safety::NotConfirmed) {
        Exit::Safety
    } else if refused && !subjects.is_empty() {
        Exit::Usage
    } else {
        Exit::Done
    })
}

fn tell(command: Command, all: bool, subjects: &[Subject]) {
    let noun = command.as_str();
    if subjects.is_empty() {
        output::say(format!("Nothing is under way, so there is nothing to {noun}."));
        return;
    }
    if all && subjects.len() > 1 {
        let names: Vec<&str> = subjects.iter().map(|s| s.id.as_str()).collect();
        output::say(format!("To everything under way: {}.", names.join(", ")));
    }
    for subject in subjects {
        let what = match subject.kind {
            SubjectKind::Run => "run",
            SubjectKind::Campaign => "campaign",
        };
        let (id, state) = (&subject.id, &subject.state);
        output::say(match subject.result {
            Obeyed::Accepted => format!("{what} {id}: {noun} accepted, it is {state}."),
            Obeyed::AlreadySo if subject.why.is_empty() => {
                format!("{what} {id}: it is {state} already.")
            }
            Obeyed::AlreadySo => format!("{what} {id}: {}.", subject.why),
            Obeyed::Refused => format!("{what} {id}: {}.", subject.why),
        });
    }
}

pub(super) fn in_words(run: &RunOutcome) -> String {
    let how = match run.ending {
        Some(Ending::Complete) | None => run.state.clone(),
        Some(ending) => super::summary::ending_text(ending, &run.cause),
    };
    let mut text = format!("run {}: {how}\n", run.run);
    for instrument in &run.instruments {
        text.push_str(&instrument_in_words(instrument));
    }
    text
}

/// One line of what is known of an instrument.
pub(super) fn instrument_in_words(instrument: &InstrumentOutcome) -> String {
    let what = match instrument.state {
        Safety::Safe => "safe, confirmed",
        Safety::LeftByFinally => "as `finally` left it",
        Safety::Held => "in its hold state, confirmed",
        Safety::AsItWas => "stays as it is",
        Safety::NotConfirmed => "NOT CONFIRMED SAFE: look at it now",
    };
    let detail = match (&instrument.state, instrument.detail.as_str()) {
        (Safety::NotConfirmed, detail) if !detail.is_empty() => format!(" ({detail})"),
        _ => String::new(),
    };
    format!("  {}: {what}{detail}\n", instrument.instrument)
}

/// `--wait`
pub(super) fn parse_wait(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(n) if (0.0..=3_600.0).contains(&n) => Ok(Duration::from_secs_f64(n)),
        _ => Err("a number of seconds from 0 to 3600".to_owned()),
    }
}
