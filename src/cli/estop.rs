//! `labloop estop`: safe states of everything, ahead of everything, and its clearing.

use serde_json::json;

use super::args::EstopArgs;
use super::live::{self, Engine};
use super::user::user;
use super::{Exit, command, output};
use crate::engine::shell::control::{Reply, Safety};
use crate::engine::shell::{Control, History, clear_without_engine};
use crate::server::Client;
use crate::store::{Durability, Journal, StateLock};

pub(super) fn run(args: &EstopArgs, json: bool) -> Exit {
    let outcome = match args.clear {
        true => clear(args, json),
        false => press(args, json),
    };
    live::end(outcome, json)
}

fn press(args: &EstopArgs, json: bool) -> Result<Exit, (Exit, String)> {
    let state = args.state.state.as_path();
    let folder = state.display();
    let nobody = match live::find(state) {
        Ok(Engine::Live(mut client)) => return pressed(&mut client, args, json),
        Ok(Engine::None) => format!("no engine is at work in {folder} to send it"),
        // Pressed in the wrong place: what counts is the same.
        Err((Exit::Usage, why)) => why,
        Err(other) => return Err(other),
    };
    Err((
        Exit::Unreachable,
        format!(
            "NOTHING WAS SENT: {nobody}. If anything moves or heats, use the hard-wired emergency \
             stop. Single instruments are told by `labloop instrument call LAB INSTRUMENT \
             safe_state --yes --state {folder}`"
        ),
    ))
}

fn pressed(client: &mut Client, args: &EstopArgs, json: bool) -> Result<Exit, (Exit, String)> {
    let by = args.by.clone().unwrap_or_else(user);
    let control =
        Control::EmergencyStop { by: by.clone(), reason: args.reason.clone().unwrap_or_default() };
    match live::ask(client, control, args.wait)? {
        Reply::Pressed => {}
        other => return Err(live::unexpected(&other)),
    }
    if !json {
        output::say(format!(
            "EMERGENCY STOP by {by}: every instrument is being told its safe state; nothing else \
             is sent until `labloop estop --clear --by NAME`."
        ));
    }
    // Whoever does not stay is told nothing more.
    if args.wait.is_zero() {
        if json {
            let value = json!({ "pressed": true, "by": by, "instruments": [] });
            output::data(&format!("{value}\n"));
        }
        return Ok(Exit::Done);
    }
    let outcome = client.outcome(args.wait).map_err(|error| live::failed(&error))?;
    let outcome = outcome.map_err(|why| (Exit::Safety, why))?;
    if json {
        let value = json!({ "pressed": true, "by": by, "instruments": outcome.instruments });
        output::data(&format!("{value}\n"));
    } else {
        for instrument in &outcome.instruments {
            output::data(&command::instrument_in_words(instrument));
        }
    }
    let all = outcome.instruments.iter().all(|i| i.state == Safety::Safe);
    Ok(if all { Exit::Done } else { Exit::Safety })
}

fn clear(args: &EstopArgs, json: bool) -> Result<Exit, (Exit, String)> {
    let state = args.state.state.as_path();
    let usage = |message: String| (Exit::Usage, message);
    let Some(by) = args.by.clone() else {
        return Err(usage(
            "who clears the emergency stop? Name yourself with --by; look at the lab first".into(),
        ));
    };
    let control = Control::Clear { by: by.clone(), reason: args.reason.clone() };
    let control = control.checked().map_err(|refusal| usage(refusal.message))?;
    match live::find(state)? {
        Engine::Live(mut client) => {
            match live::ask(&mut client, control, std::time::Duration::ZERO)? {
                Reply::Cleared => {}
                other => return Err(live::unexpected(&other)),
            }
        }
        Engine::None => {
            if !state.join("journal.db").exists() {
                return Err(usage("the emergency stop is not pressed".to_owned()));
            }
            let _lock = StateLock::take(state).map_err(|error| usage(error.to_string()))?;
            let fail = |error: crate::store::JournalError| usage(error.to_string());
            let mut journal = Journal::open(state, Durability::Power).map_err(fail)?;
            let history = History::read(&journal, None).map_err(fail)?;
            clear_without_engine(&mut journal, &history, &by, args.reason.as_deref())
                .map_err(fail)?
                .map_err(usage)?;
        }
    }
    if json {
        output::data(&format!("{}\n", json!({ "cleared": true, "by": by })));
    } else {
        output::say(format!(
            "The emergency stop is cleared by {by}. Runs that it ended stay ended; commands pass \
             again."
        ));
    }
    Ok(Exit::Done)
}
