//! What comes unasked, and the silence before a question: nothing that is still on its way may pass
//! for its answer.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::Line;
use crate::driver::text::Fault;
use crate::driver::types::{FailureKind, Sent};

/// A dirty line that does not fall quiet within this many silences is opened anew.
const MOST_SILENCES: u32 = 5;

/// Silence after bytes that nobody asked for: longer than an adapter holds the rest of them back.
const STRAY_SILENCE: Duration = Duration::from_millis(100);

/// A line on which such bytes keep coming for this long is opened anew.
const LONGEST_NOISE: Duration = Duration::from_secs(1);

impl Line {
    /// What bytes that nobody asked for mean.
    pub(super) fn overheard(&mut self, bytes: &[u8]) -> Option<Fault> {
        let Some(codec) = self.listener.take() else {
            self.left_over(bytes.len());
            return None;
        };
        self.arrived.extend_from_slice(bytes);
        let mut said = None;
        while said.is_none() {
            match codec.take(&mut self.arrived) {
                Ok(Some(taken)) => match codec.unasked(&taken.frame) {
                    Some(unasked) => said = self.heed(unasked, false).err(),
                    None => self.left_over(taken.whole.len()),
                },
                Ok(None) => break,
                Err(_) => {
                    self.left_over(self.arrived.len());
                    self.arrived.clear();
                }
            }
        }
        self.left_over(bytes.len().min(self.arrived.len()));
        self.listener = Some(codec);
        said
    }

    /// Takes note of bytes that nobody asked for.
    pub(super) fn left_over(&mut self, count: usize) {
        if count > 0 {
            self.stray = Some(Instant::now());
        }
    }

    /// Throws away what has arrived unasked, and waits until its rest has come too.
    pub(super) async fn settle(&mut self) -> Result<(), Fault> {
        let give_up = Instant::now() + LONGEST_NOISE;
        loop {
            if let Some(mut fault) = self.overheard(&[]) {
                fault.effect = Sent::NotSent;
                return Err(fault);
            }
            let Some(port) = &mut self.port else {
                let why = "there is no connection";
                return Err(Fault::new(FailureKind::Link, Sent::NotSent, why).broken());
            };
            match port.discard_input() {
                Ok(count) => self.left_over(count),
                Err(error) => return Err(self.lost(Sent::NotSent, &error)),
            }
            let silence = STRAY_SILENCE.min(self.quiet);
            let Some(until) = self.stray.map(|at| at + silence).filter(|t| *t > Instant::now())
            else {
                self.stray = None;
                self.arrived.clear();
                return Ok(());
            };
            let Some(port) = &mut self.port else { continue };
            let mut space = [0; 256];
            let heard = match timeout_at(until, port.receive(&mut space)).await {
                Err(_) => continue,
                Ok(Ok(count)) => self.overheard(space.get(..count).unwrap_or_default()),
                Ok(Err(error)) => Some(self.lost(Sent::NotSent, &error)),
            };
            if let Some(mut fault) = heard {
                fault.effect = Sent::NotSent;
                return Err(fault);
            }
            if Instant::now() >= give_up {
                self.port = None;
                let never = "bytes that nobody asked for keep coming on the line";
                return Err(Fault::new(FailureKind::Link, Sent::NotSent, never).broken());
            }
        }
    }

    /// A dirty line falls quiet, or is opened anew.
    pub(super) async fn clean(&mut self) -> Result<(), Fault> {
        // Silence before this counts too, if nothing has come meanwhile.
        let mut since = self.spoiled.max(self.last_byte).max(self.stray);
        for _ in 0..MOST_SILENCES {
            let Some(port) = &mut self.port else { break };
            let mut space = [0; 256];
            let silent = since.take().unwrap_or_else(Instant::now) + self.quiet;
            match timeout_at(silent, port.receive(&mut space)).await {
                Err(_) => {
                    self.dirty = false;
                    return Ok(());
                }
                Ok(Ok(count)) => {
                    if let Some(mut fault) = self.overheard(space.get(..count).unwrap_or_default())
                    {
                        fault.effect = Sent::NotSent;
                        return Err(fault);
                    }
                }
                Ok(Err(error)) => return Err(self.lost(Sent::NotSent, &error)),
            }
        }
        self.port = None;
        let never = "the line does not fall quiet after an answer was missing";
        Err(Fault::new(FailureKind::Link, Sent::NotSent, never).broken())
    }
}
