//! `labloop instrument take`, `give` and `accept`: what a person has in their hands.

use std::path::Path;
use std::time::Duration;

use super::super::args::HandArgs;
use super::super::live::{self, Engine};
use super::super::user::user;
use super::super::{Exit, output};
use super::usage;
use crate::engine::shell::control::Reply;
use crate::engine::shell::{
    Control, EngineRecord, Fact, History, a_word_for, record_without_engine,
};
use crate::store::{Durability, Journal, StateLock};

type Outcome = Result<Exit, (Exit, String)>;

/// What is to be done with an instrument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hand {
    Take,
    Give,
    Accept,
}

pub(super) fn run(hand: Hand, args: &HandArgs, json: bool) -> Exit {
    let outcome = match live::find(&args.state.state) {
        Ok(Engine::Live(mut client)) => {
            let control = control(hand, args);
            live::ask(&mut client, control, Duration::ZERO)
                .and_then(|reply| tell(args, &reply, json))
        }
        Ok(Engine::None) => without_engine(hand, args, json),
        Err(error) => Err(error),
    };
    live::end(outcome, json)
}

fn control(hand: Hand, args: &HandArgs) -> Control {
    let (instrument, by) = (args.instrument.clone(), by(args));
    match hand {
        Hand::Take => Control::Take { instrument, by, reason: args.reason.clone() },
        Hand::Give => Control::Give { instrument, by },
        Hand::Accept => Control::Accept { instrument, by, reason: args.reason.clone() },
    }
}

fn by(args: &HandArgs) -> String {
    args.by.clone().unwrap_or_else(user)
}

fn tell(args: &HandArgs, reply: &Reply, json: bool) -> Outcome {
    if json {
        let text = serde_json::to_string(reply).map_err(usage)?;
        output::data(&format!("{text}\n"));
        return Ok(Exit::Done);
    }
    let name = &args.instrument;
    match reply {
        Reply::Taken { runs } if runs.is_empty() => {
            output::say(format!("{name} is yours; no run has used it."));
        }
        Reply::Taken { runs } => {
            output::say(format!(
                "{name} is yours. Runs that have used it: {}; where they need it next they wait \
                 until you give it back.",
                runs.join(", ")
            ));
        }
        Reply::Given { changed, held } => {
            match changed.as_slice() {
                [] => output::say(format!("{name} is given back; nothing was done to it.")),
                _ => output::say(format!("{name} is given back after {}.", changed.join(", "))),
            }
            if !held.is_empty() {
                output::say(format!(
                    "Held, because what they set may not hold any more: {}. Look at the list, set \
                     right what they need, then `labloop resume RUN`.",
                    held.join(", ")
                ));
            }
        }
        Reply::Freed { run } => {
            output::say(format!(
                "{name} was not confirmed safe since run {run} ended; on your word runs may use it."
            ));
        }
        Reply::Accepted { identity } if identity.is_empty() => {
            output::say(format!("{name} is used as it is now."));
        }
        Reply::Accepted { identity } => {
            output::say(format!("{name} is used as it is now: {identity}."));
        }
        _ => return Err((Exit::Unreachable, "the engine answered something else".to_owned())),
    }
    Ok(Exit::Done)
}

/// Nobody is at work: there is nothing to take an instrument from. What a person says is noted for
/// the next engine.
fn without_engine(hand: Hand, args: &HandArgs, json: bool) -> Outcome {
    let folder: &Path = &args.state.state;
    let _lock = StateLock::take(folder).map_err(usage)?;
    let mut journal = Journal::open(folder, Durability::Power).map_err(usage)?;
    let history = History::read(&journal, None).map_err(usage)?;
    let (instrument, by) = (args.instrument.clone(), by(args));
    let (record, reply) = match hand {
        Hand::Take => {
            return Err(usage(
                "no engine is at work, so there is nobody to take it from; give the command with \
                 `labloop instrument call`",
            ));
        }
        Hand::Give => {
            let Some(taken) = history.taken.get(&instrument) else {
                return Err(usage(format!("{instrument} was not taken")));
            };
            if history.open_runs().next().is_some() && !taken.done.is_empty() {
                return Err(usage(format!(
                    "runs are not over, and {} was done to {instrument}: `labloop resume` first, \
                     and give it back while the engine runs, so that it can hold them",
                    taken.done.join(", ")
                )));
            }
            let (changed, held) = (taken.done.clone(), Vec::new());
            let reply = Reply::Given { changed: changed.clone(), held: Vec::new() };
            (EngineRecord::Given { instrument, by, changed, held }, reply)
        }
        Hand::Accept if history.barred.contains_key(&instrument) => {
            let run = history.barred.get(&instrument).cloned().unwrap_or_default();
            let reason = a_word_for(&instrument, &run, &args.reason).map_err(usage)?;
            (EngineRecord::Freed { instrument, by, reason }, Reply::Freed { run })
        }
        Hand::Accept => {
            if !history.identities.contains_key(&instrument) {
                return Err(usage(format!("nothing is known of the unit that was {instrument}")));
            }
            // Whichever answers next is the one.
            let identity = String::new();
            let reply = Reply::Accepted { identity: identity.clone() };
            let reason = args.reason.clone();
            (EngineRecord::Identified { instrument, identity, by, reason }, reply)
        }
    };
    record_without_engine(&mut journal, &history, &Fact::Engine(record)).map_err(usage)?;
    tell(args, &reply, json)
}
