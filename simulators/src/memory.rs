//! Instruments on in-memory pipes, for a virtual clock.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::AtomicUsize;

use tokio::io::DuplexStream;

use crate::broker::Broker;
use crate::config::{Error, LabConfig};
use crate::lab::{Shared, broker_and_base, split};
use crate::wires;
use crate::world::Models;

/// Bytes a pipe holds before its writer waits.
const PIPE: usize = 1 << 16;

/// A lab whose wires are pipes of this process.
#[derive(Clone)]
pub struct MemoryLab {
    shared: Shared,
    brokers: BTreeMap<String, Broker>,
    addresses: Vec<String>,
}

/// Starts a lab in memory. Instruments answer on the runtime that dials; with a paused clock on
/// one thread everything happens in one fixed order.
pub fn in_memory(config: &LabConfig, models: Models) -> Result<MemoryLab, Error> {
    let shared = Shared::new(config, models)?;
    let addresses: Vec<String> = config.devices.iter().map(|d| d.address.clone()).collect();
    let brokers = addresses
        .iter()
        .filter(|a| a.starts_with("mqtt"))
        .map(|a| broker_and_base(a).0.to_owned())
        .map(|host| (host.clone(), Broker::new(shared.clone(), &host)))
        .collect();
    Ok(MemoryLab { shared, brokers, addresses })
}

impl MemoryLab {
    /// Opens the wire of an address of the lab; again whenever it was closed. Must be called
    /// inside a tokio runtime.
    pub fn dial(&self, address: &str) -> io::Result<DuplexStream> {
        let (near, mut far) = tokio::io::duplex(PIPE);
        let (scheme, place, _) = split(address);
        let shared = self.shared.clone();
        match scheme {
            "serial" | "tcp" => {
                let address = self
                    .addresses
                    .iter()
                    .find(|a| split(a).1 == place)
                    .cloned()
                    .ok_or(io::ErrorKind::NotFound)?;
                tokio::spawn(async move {
                    let lines = AtomicUsize::new(0);
                    let _ = wires::serial(&shared, &address, &mut far, &lines).await;
                });
            }
            "modbus+serial" | "modbus+rtu+tcp" => {
                let addresses: Vec<String> =
                    self.addresses.iter().filter(|a| split(a).1 == place).cloned().collect();
                if addresses.is_empty() {
                    return Err(io::ErrorKind::NotFound.into());
                }
                tokio::spawn(async move {
                    let lines = AtomicUsize::new(0);
                    let _ = wires::modbus_rtu(&shared, &addresses, &mut far, &lines).await;
                });
            }
            "modbus+tcp" => {
                let addresses: Vec<String> =
                    self.addresses.iter().filter(|a| split(a).1 == place).cloned().collect();
                if addresses.is_empty() {
                    return Err(io::ErrorKind::NotFound.into());
                }
                tokio::spawn(async move {
                    let _ = wires::modbus(&shared, &addresses, &mut far).await;
                });
            }
            "mqtt" | "mqtts" => {
                let broker = self
                    .brokers
                    .get(broker_and_base(address).0)
                    .cloned()
                    .ok_or(io::ErrorKind::NotFound)?;
                tokio::spawn(async move {
                    let _ = broker.serve(far).await;
                });
            }
            _ => return Err(io::ErrorKind::Unsupported.into()),
        }
        Ok(near)
    }

    /// Orders a fault such as `pump_1:late=500ms@10%`, or ends all of an instrument:
    /// `pump_1:off`. The error says what is wrong with the order.
    pub fn order(&self, fault: &str) -> Result<(), String> {
        self.shared.order(fault)
    }

    /// What turned out to be wrong with descriptions of instruments.
    pub fn complaints(&self) -> Vec<String> {
        self.shared.world().complaints.clone()
    }

    /// Effects that instruments had so far, for tests.
    pub fn effects(&self) -> Vec<crate::world::Effect> {
        self.shared.world().effects.clone()
    }
}
