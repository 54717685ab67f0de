//! The engine that is at work in a state folder, for commands from another terminal.

use std::path::Path;
use std::time::Duration;

use super::{Exit, output};
use crate::engine::shell::Control;
use crate::engine::shell::control::{Refusal, Reply};
use crate::engine::shell::view::View;
use crate::server::{Client, ClientError};
use crate::store::{LockError, StateLock};

/// Who is there.
pub(super) enum Engine {
    /// It takes commands.
    Live(Client),
    /// Nobody is at work in that folder.
    None,
}

/// Looks for the engine of a state folder.
///
/// Errors: there is one, but it cannot be spoken to; why and what to do.
pub(super) fn find(state: &Path) -> Result<Engine, (Exit, String)> {
    match Client::connect(state) {
        Ok(client) => Ok(Engine::Live(client)),
        Err(ClientError::Nobody(_)) => {
            if !state.exists() {
                return Err((
                    Exit::Usage,
                    format!(
                        "there is no state folder {}; name another with --state",
                        state.display()
                    ),
                ));
            }
            match StateLock::look(state) {
                Ok(()) => Ok(Engine::None),
                Err(LockError::Held { holder, .. }) => Err((
                    Exit::Usage,
                    format!(
                        "another labloop{holder} is at work in {} but takes no commands: it is just \
                         starting or ending, on a virtual clock (--speed max), or a look at an \
                         instrument by hand. Try again, or press Ctrl-C in its terminal",
                        state.display()
                    ),
                )),
                Err(error) => Err((Exit::Usage, error.to_string())),
            }
        }
        Err(error) => Err(failed(&error)),
    }
}

/// A connection that did not bring an answer, in words.
pub(super) fn failed(error: &ClientError) -> (Exit, String) {
    let todo = match error {
        ClientError::Silent(_) => {
            "; its process may be stopped or its disk stuck. If things move that should not, use \
             the hard-wired emergency stop"
        }
        ClientError::Gone => "; `labloop status` tells what it knew",
        ClientError::Closed(_) => "; was it started by another user?",
        _ => "",
    };
    (Exit::Unreachable, format!("{error}{todo}"))
}

/// Asks, and gives back what is not a refusal.
pub(super) fn ask(
    client: &mut Client,
    control: Control,
    wait: Duration,
) -> Result<Reply, (Exit, String)> {
    match client.ask(control, wait).map_err(|error| failed(&error))? {
        Reply::Refused(Refusal { message, .. }) => Err((Exit::Usage, message)),
        reply => Ok(reply),
    }
}

/// What is going on in it.
pub(super) fn view(client: &mut Client) -> Result<View, (Exit, String)> {
    match ask(client, Control::Status, Duration::ZERO)? {
        Reply::Status(view) => Ok(*view),
        other => Err(unexpected(&other)),
    }
}

/// An answer that does not fit the question.
pub(super) fn unexpected(reply: &Reply) -> (Exit, String) {
    let said = serde_json::to_string(reply).unwrap_or_default();
    (Exit::Unreachable, format!("the engine answered something else than asked: {said}"))
}

/// What to do where no engine is at work.
pub(super) fn nobody(state: &Path) -> (Exit, String) {
    let folder = state.display();
    let resume = if state.join("journal.db").exists() {
        format!(
            "`labloop status --state {folder}` tells how the last one ended, `labloop resume \
             --state {folder}` goes on with what it left"
        )
    } else {
        "nothing was ever run there".to_owned()
    };
    (Exit::Usage, format!("no engine is at work in {folder}, so nothing was commanded; {resume}"))
}

/// Ends a command: with its code, or with a message and one.
pub(super) fn end(outcome: Result<Exit, (Exit, String)>, json: bool) -> Exit {
    match outcome {
        Ok(exit) => exit,
        Err((exit, message)) => {
            if json {
                output::data(&format!("{}\n", serde_json::json!({ "error": message })));
            }
            output::error(message);
            exit
        }
    }
}
