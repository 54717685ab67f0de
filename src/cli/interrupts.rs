//! Signals to the process of an engine: what they command, and where that has led.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{command, output};
use crate::engine::core::Command;
use crate::engine::shell::control::{Asked, RunOutcome};
use crate::engine::shell::{Control, Handle};

/// How long an engine that has ended may take to say where a command has led; it has said so
/// already, if it heard it.
const TOLD_WITHIN: Duration = Duration::from_secs(1);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Whether somebody has asked this process to end.
pub(super) fn happened() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Commands that signals have given.
#[derive(Debug, Clone, Default)]
pub(super) struct Commands(Arc<Mutex<Vec<Asked>>>);

impl Commands {
    /// Keeps one, for what it leads to.
    pub(super) fn keep(&self, asked: Asked) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
    }

    /// Where the last that was heard has led, once the engine has ended: run by run, instrument by
    /// instrument. Empty if none was given.
    pub(super) async fn led_to(&self) -> Vec<RunOutcome> {
        let kept = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for mut asked in kept.into_iter().rev() {
            let told = tokio::time::timeout(TOLD_WITHIN, asked.outcome()).await;
            if let Ok(Some(outcome)) = told
                && !outcome.runs.is_empty()
            {
                return outcome.runs;
            }
        }
        Vec::new()
    }
}

/// Waits until somebody asks the process to end, and gives the name of how; `None`: it cannot be heard.
// SAFETY(lab): a terminal window that is closed, or a machine that is shut down, must not leave a
// heater or a pump going.
async fn asked_to_end() -> Option<&'static str> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut term = signal(SignalKind::terminate()).ok()?;
    let hung_up = async {
        match hang_up_is_ignored() {
            true => std::future::pending().await,
            false => signal(SignalKind::hangup()).ok()?.recv().await,
        }
    };
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => pressed.ok().map(|()| "Ctrl-C"),
        _ = term.recv() => Some("SIGTERM"),
        Some(()) = hung_up => Some("SIGHUP"),
    }
}

/// Whether whoever started the process wants it to outlive the terminal (`nohup`).
fn hang_up_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // Signal 1 is the lowest bit.
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|m| m & 1 == 1)
}

/// First Ctrl-C, SIGTERM or SIGHUP: end the step and run `finally`. Second: safe states now.
pub(super) async fn heard(handle: Handle, commands: Commands) {
    for (command, said) in [
        (
            Command::Stop,
            "Ending the step under way, then `finally`. Ctrl-C again aborts to the safe state.",
        ),
        (Command::Abort, "Aborting: safe states now."),
    ] {
        let Some(by) = asked_to_end().await else { return };
        output::say(said);
        INTERRUPTED.store(true, Ordering::Relaxed);
        let (by, reason) = (by.to_owned(), String::new());
        match handle.ask(Control::Command { target: None, command, by, reason }) {
            Ok(asked) => commands.keep(asked),
            Err(_) => return,
        }
    }
}

/// At the end of what a signal has ended: each instrument, and whether it was confirmed safe.
pub(super) fn show(ended: &[RunOutcome], json: bool) {
    if json && !ended.is_empty() {
        let line = serde_json::json!({ "event": "interrupted", "runs": ended });
        output::data(&format!("{line}\n"));
        return;
    }
    for run in ended {
        output::say(command::in_words(run).trim_end());
    }
}
