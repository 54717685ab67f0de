//! How an answer reaches the wire: whole or mangled, now or late.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use crate::faults::Mangled;

/// Late answers at most; further ones are lost.
const LATE_MAX: usize = 64;

/// The answer to one request.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Delivery {
    /// Empty: no answer.
    pub(crate) bytes: Vec<u8>,
    /// It comes so much later, after others'.
    pub(crate) late: Duration,
    /// The line is cut instead.
    pub(crate) cut: bool,
}

impl Delivery {
    /// An answer after its faults. `misaddress` gives it another device's address.
    pub(crate) fn mangle(
        mut self,
        mangled: &[Mangled],
        misaddress: impl Fn(&[u8]) -> Option<Vec<u8>>,
        damage: impl Fn(&mut [u8], f64),
    ) -> Delivery {
        for one in mangled {
            let length = self.bytes.len() as f64;
            match one {
                Mangled::Corrupt(place) => damage(&mut self.bytes, *place),
                Mangled::Flip(place) => flip(&mut self.bytes, *place),
                Mangled::Truncated(place) => {
                    #[expect(
                        clippy::cast_possible_truncation,
                        clippy::cast_sign_loss,
                        reason = "a place in it"
                    )]
                    self.bytes.truncate((place * length) as usize);
                }
                Mangled::Duplicated => self.bytes.extend_from_within(..),
                Mangled::WrongAddress => self.bytes = misaddress(&self.bytes).unwrap_or_default(),
            }
        }
        self
    }
}

/// Damages one byte as a disturbed line does: its highest bit is wrong, which no letter has.
pub(crate) fn disturb(bytes: &mut [u8], place: f64) {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in it")]
    let at = (place * bytes.len() as f64) as usize;
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 0x80;
    }
}

/// Turns one bit of an answer, at a share of its length.
pub(crate) fn flip(bytes: &mut [u8], place: f64) {
    let bits = place.clamp(0.0, 1.0) * 8.0 * bytes.len() as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in it")]
    let bit = bits as usize;
    if let Some(byte) = bytes.get_mut(bit / 8) {
        *byte ^= 1 << (bit % 8);
    }
}

/// Answers that are still on their way.
#[derive(Debug, Default)]
pub(crate) struct Late(VecDeque<(Instant, Vec<u8>)>);

impl Late {
    /// Writes an answer, or keeps it until its time has come.
    pub(crate) async fn deliver<S: AsyncWrite + Unpin>(
        &mut self,
        delivery: Delivery,
        stream: &mut S,
    ) -> io::Result<()> {
        if delivery.cut {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        if delivery.bytes.is_empty() {
            return Ok(());
        }
        if delivery.late.is_zero() {
            stream.write_all(&delivery.bytes).await?;
            return stream.flush().await;
        }
        if self.0.len() < LATE_MAX {
            self.0.push_back((Instant::now() + delivery.late, delivery.bytes));
            self.0.make_contiguous().sort_by_key(|(due, _)| *due);
        }
        Ok(())
    }

    /// Waits for the next of them; for ever when there is none.
    pub(crate) async fn next(&mut self) -> Vec<u8> {
        match self.0.front() {
            Some((due, _)) => tokio::time::sleep_until(*due).await,
            None => std::future::pending().await,
        }
        self.0.pop_front().map(|(_, bytes)| bytes).unwrap_or_default()
    }
}
