//! A wire whose driver panics over one byte of an answer, as one with a bug would.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use labloop::wire::{Dialer, Stream};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

/// The byte that no driver survives.
pub const POISON: char = '\x07';

#[derive(Debug)]
struct Fragile(DuplexStream);

/// Wires that panic in the task that reads [`POISON`] from them.
pub fn fragile(pipe: impl Fn() -> DuplexStream + Send + Sync + 'static) -> Dialer {
    Dialer::streams(move |_| Ok(Box::new(Fragile(pipe())) as Box<dyn Stream>))
}

impl AsyncRead for Fragile {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.0).poll_read(context, buffer);
        assert!(!buffer.filled()[before..].contains(&(POISON as u8)), "no such byte");
        read
    }
}

impl AsyncWrite for Fragile {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
