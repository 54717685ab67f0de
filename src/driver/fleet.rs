//! All instruments of a lab behind one handle.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc;

use super::types::{Command, InstrumentSetup, Notice, SendError, SetupError};
use crate::wire::{Clock, Dialer};

/// The running drivers: one task for each line.
#[derive(Debug)]
pub struct Fleet {
    lines: BTreeMap<String, ()>,
}

impl Fleet {
    /// Checks each setup and starts one task for each line; connecting begins at once. All that
    /// cannot be driven is reported together, and then nothing is started. `seed` feeds the jitter
    /// of reconnects.
    pub fn start(
        instruments: Vec<InstrumentSetup>,
        clock: Clock,
        dialer: Dialer,
        notices: mpsc::Sender<Notice>,
        seed: u64,
    ) -> Result<Fleet, Vec<SetupError>> {
        let _ = (clock, dialer, notices, seed);
        Ok(Fleet { lines: instruments.into_iter().map(|i| (i.name, ())).collect() })
    }

    /// Waits until each instrument is connected, identified and prepared, at most `within` (wall
    /// time); per instrument the reason why it is not.
    pub async fn ready(&self, within: Duration) -> BTreeMap<String, Result<(), String>> {
        let _ = within;
        self.lines.keys().map(|name| (name.clone(), Ok(()))).collect()
    }

    /// Hands over an attempt; its outcome comes as a notice.
    pub fn send(&self, command: Command) -> Result<(), SendError> {
        Err(SendError::Unknown(command.instrument))
    }

    /// Reads one property now; `Done` with its value, or `Failed`, comes as a notice.
    pub fn read(&self, attempt: &str, instrument: &str, property: &str) -> Result<(), SendError> {
        let _ = (attempt, property);
        Err(SendError::Unknown(instrument.to_owned()))
    }

    /// Stops waiting for an attempt: not yet sent, it is dropped; under way, the definition's
    /// `on_cancel` is sent. Its outcome follows either way.
    pub fn cancel(&self, instrument: &str, attempt: &str) -> Result<(), SendError> {
        let _ = attempt;
        Err(SendError::Unknown(instrument.to_owned()))
    }

    /// Sends the safe state ahead of everything queued, gate open or not.
    pub fn safe_state(&self, instrument: &str) -> Result<(), SendError> {
        Err(SendError::Unknown(instrument.to_owned()))
    }

    /// Closes the gate: until it is opened only reads and safe states pass.
    pub fn close_gate(&self, reason: &str) {
        let _ = reason;
    }

    /// Opens the gate again.
    pub fn open_gate(&self) {}

    /// Samples dropped because nobody read the notices.
    pub fn dropped_samples(&self) -> u64 {
        0
    }

    /// Ends all tasks; attempts under way end as failed. Sends no safe state.
    pub async fn shutdown(self) {}
}
