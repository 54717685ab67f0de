//! The other end of the control socket, for commands: connects, asks, waits; nothing is repeated.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use super::address;
use super::protocol::{Ask, Line, Say, VERSION};
use crate::engine::shell::Control;
use crate::engine::shell::control::{Outcome, Reply};

/// An engine that is well answers within one commit; one on a slow disk within this.
const REPLY_WITHIN: Duration = Duration::from_secs(10);
/// Longest line of an engine: the state of a large lab.
const ANSWER_MAX: u64 = 16 * 1024 * 1024;
/// An outcome may come this long after the time that was asked for.
const GRACE: Duration = Duration::from_secs(5);

/// Why an engine was not reached, or did not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nobody listens: no engine, or one that takes no commands.
    #[error("no engine listens: {0}")]
    Nobody(#[source] io::Error),
    /// The socket is there, but this user may not use it, or the like.
    #[error("the control socket cannot be used: {0}")]
    Closed(#[source] io::Error),
    /// It was connected and said nothing: stopped, stuck or gone.
    #[error("the engine did not answer within {} s: it is stopped or stuck", .0.as_secs())]
    Silent(Duration),
    /// The connection broke.
    #[error("the connection to the engine broke: {0}")]
    Broken(#[source] io::Error),
    /// It ended before it answered.
    #[error("the engine ended before it answered")]
    Gone,
    /// It said something else than this protocol.
    #[error("the engine's answer cannot be read ({0}); is it of another version?")]
    Unreadable(String),
}

/// A connection to a running engine.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects to the engine of a state folder.
    pub fn connect(state: &Path) -> Result<Client, ClientError> {
        let stream = address::connect(state).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                ClientError::Nobody(error)
            }
            _ => ClientError::Closed(error),
        })?;
        stream.set_write_timeout(Some(REPLY_WITHIN)).map_err(ClientError::Closed)?;
        Ok(Client { stream: BufReader::new(stream) })
    }

    /// Asks, and stays for the outcome so long afterwards if it is more than nothing.
    pub fn ask(&mut self, control: Control, wait: Duration) -> Result<Reply, ClientError> {
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let ask = Ask { v: VERSION, control, wait_ms };
        let mut line =
            serde_json::to_vec(&ask).map_err(|error| ClientError::Broken(error.into()))?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line).map_err(broken)?;
        match self.next(REPLY_WITHIN)? {
            Say::Reply(reply) => Ok(reply),
            other => Err(ClientError::Unreadable(format!("no reply but {other:?}"))),
        }
    }

    /// What a command has led to, or why that is not known.
    pub fn outcome(&mut self, wait: Duration) -> Result<Result<Outcome, String>, ClientError> {
        match self.next(wait.saturating_add(GRACE))? {
            Say::Outcome(outcome) => Ok(Ok(outcome)),
            Say::Unseen(why) => Ok(Err(why)),
            Say::Reply(reply) => Err(ClientError::Unreadable(format!("a second reply, {reply:?}"))),
        }
    }

    fn next(&mut self, within: Duration) -> Result<Say, ClientError> {
        let until = Instant::now() + within;
        let mut line = Vec::new();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ClientError::Silent(within));
            }
            self.stream.get_ref().set_read_timeout(Some(left)).map_err(broken)?;
            match (&mut self.stream).take(ANSWER_MAX).read_until(b'\n', &mut line) {
                Ok(_) if line.ends_with(b"\n") => break,
                Ok(0) => return Err(ClientError::Gone),
                Ok(_) if line.len() as u64 >= ANSWER_MAX => {
                    return Err(ClientError::Unreadable("it does not end".to_owned()));
                }
                Ok(_) => {}
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock
                    | io::ErrorKind::TimedOut
                    | io::ErrorKind::Interrupted => {}
                    _ => return Err(broken(error)),
                },
            }
        }
        let line: Line = serde_json::from_slice(&line)
            .map_err(|error| ClientError::Unreadable(error.to_string()))?;
        match line.v {
            VERSION => Ok(line.say),
            other => Err(ClientError::Unreadable(format!("version {other} of the protocol"))),
        }
    }
}

fn broken(error: io::Error) -> ClientError {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => ClientError::Gone,
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ClientError::Silent(REPLY_WITHIN),
        _ => ClientError::Broken(error),
    }
}
