//! The control socket's server: bounded in connections, in the length of a line and in the time of
//! everything, on a thread of its own.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use super::address::{self, Bound};
use super::protocol::{Ask, LINE_MAX, Line, Say, VERSION};
use crate::engine::shell::Handle;
use crate::engine::shell::control::{Asked, Refusal, RefusalKind, Reply};

/// Connections at once. One more closes the oldest: a new command must always get in, and whoever
/// has been here longest has had its request taken.
const CONNECTIONS_MAX: usize = 32;
/// A line must be complete this long after the one before, or the connection closes.
const LINE_WITHIN: Duration = Duration::from_secs(10);
/// A client must take an answer in this time.
const TAKEN_WITHIN: Duration = Duration::from_secs(5);
/// Longest stay for what a command leads to.
const WAIT_MAX: Duration = Duration::from_secs(3_600);
/// Last words must be out this long after the engine has ended.
const LAST_WORDS_WITHIN: Duration = Duration::from_secs(1);
/// Pause after an accept that failed, as when the process has no file left to open.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// The control socket cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("the control socket in {folder} cannot be made: {source}", folder = folder.display())]
pub struct ServerError {
    folder: PathBuf,
    source: io::Error,
}

/// The control socket of a state folder; closes and goes when dropped, after the last words.
#[derive(Debug)]
pub struct Server {
    closing: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
    _bound: Bound,
}

impl Server {
    /// Opens the control socket of a state folder, whose lock the caller holds.
    pub fn start(state: &Path, handle: Handle) -> Result<Server, ServerError> {
        let fail = |source| ServerError { folder: state.to_owned(), source };
        let (listener, bound) = address::bind(state).map_err(fail)?;
        listener.set_nonblocking(true).map_err(fail)?;
        let (closing, closed) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(fail)?;
        let user = bound.user;
        let thread = std::thread::Builder::new()
            .name("labloop-control".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    match UnixListener::from_std(listener) {
                        Ok(listener) => accept(listener, user, handle, closed).await,
                        Err(error) => tracing::error!(%error, "the control socket is deaf"),
                    }
                });
            })
            .map_err(fail)?;
        Ok(Server { closing, thread: Some(thread), _bound: bound })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.closing.send(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Takes connections until the engine has ended.
async fn accept(
    listener: UnixListener,
    user: u32,
    handle: Handle,
    mut closed: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    let mut by_age: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        // Cancel safety: a connection that is not accepted yet stays in the queue.
        let accepted = tokio::select! {
            _ = closed.wait_for(|closed| *closed) => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection to the control socket failed");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        // The file's mode says the same; two locks on one door.
        if !stream.peer_cred().is_ok_and(|peer| peer.uid() == user || peer.uid() == 0) {
            continue;
        }
        while connections.try_join_next().is_some() {}
        by_age.retain(|connection| !connection.is_finished());
        while by_age.len() >= CONNECTIONS_MAX {
            let Some(oldest) = by_age.pop_front() else { break };
            oldest.abort();
        }
        by_age.push_back(connections.spawn(attend(stream, handle.clone(), closed.clone())));
    }
    let all = async { while connections.join_next().await.is_some() {} };
    let _ = timeout(LAST_WORDS_WITHIN, all).await;
}

/// One client, from its first line to its last.
async fn attend(stream: UnixStream, handle: Handle, mut closed: watch::Receiver<bool>) {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    loop {
        // Cancel safety: what was read of a line is lost with the connection.
        let line = tokio::select! {
            _ = closed.wait_for(|closed| *closed) => return,
            line = timeout(LINE_WITHIN, next_line(&mut read)) => line,
        };
        let Ok(Ok(Some(line))) = line else { return };
        let (said, wait) = match take(&line, &handle) {
            Err(refusal) => (Err(refusal), Duration::ZERO),
            Ok((asked, wait)) => (Ok(asked), wait),
        };
        let mut asked = match said {
            Ok(asked) => asked,
            Err(refusal) => {
                let fatal = line.len() >= LINE_MAX;
                if tell(&mut write, Say::Reply(Reply::Refused(refusal))).await.is_err() || fatal {
                    return;
                }
                continue;
            }
        };
        let reply = asked.reply().await;
        let waits = !wait.is_zero()
            && matches!(reply, Reply::Commanded { .. } | Reply::Pressed | Reply::Calling { .. });
        if tell(&mut write, Say::Reply(reply)).await.is_err() {
            return;
        }
        if waits {
            let outcome = timeout(wait, asked.outcome()).await;
            let say = match outcome.unwrap_or_else(|_| asked.so_far()) {
                Some(outcome) => Say::Outcome(outcome),
                None => Say::Unseen(format!(
                    "it is still on its way after {} s, or the engine has ended: see `labloop \
                     status`",
                    wait.as_secs_f64()
                )),
            };
            if tell(&mut write, say).await.is_err() {
                return;
            }
        }
    }
}

/// The next line without its end; `None` when the client has gone. A line that is too long comes
/// as far as it is read.
async fn next_line(
    read: &mut BufReader<tokio::net::unix::OwnedReadHalf>,
) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let most = u64::try_from(LINE_MAX).unwrap_or(u64::MAX);
    (&mut *read).take(most).read_until(b'\n', &mut line).await?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if line.len() < LINE_MAX {
        // Half a line and then nothing: whoever wrote it is gone, and may have meant anything.
        return Ok(None);
    }
    Ok(Some(line))
}

/// Hands a line to the engine.
fn take(line: &[u8], handle: &Handle) -> Result<(Asked, Duration), Refusal> {
    if line.len() >= LINE_MAX {
        let message = format!("the line is longer than {LINE_MAX} bytes");
        return Err(Refusal::new(RefusalKind::Malformed, message));
    }
    let ask = Ask::parse(line)?;
    let wait = Duration::from_millis(ask.wait_ms).min(WAIT_MAX);
    Ok((handle.ask(ask.control)?, wait))
}

async fn tell(write: &mut tokio::net::unix::OwnedWriteHalf, say: Say) -> io::Result<()> {
    let mut line = serde_json::to_vec(&Line { v: VERSION, say })?;
    line.push(b'\n');
    let slow = || io::Error::from(io::ErrorKind::TimedOut);
    timeout(TAKEN_WITHIN, write.write_all(&line)).await.map_err(|_| slow())?
}
