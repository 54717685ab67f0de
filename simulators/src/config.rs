//! What is simulated and how it is served.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A lab to simulate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabConfig {
    /// Seed of noise and reply times.
    pub seed: u64,
    /// Lab seconds per wall second.
    pub speed: f64,
    /// Instruments.
    pub devices: Vec<DeviceConfig>,
    /// What they act on; without one every instrument is alone in the world.
    pub plant: Option<PlantConfig>,
}

/// One instrument.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceConfig {
    /// Name in the lab.
    pub name: String,
    /// Name of its definition, such as `newera-ne1000`.
    pub model: String,
    /// Address in the lab, such as `serial:/dev/ttyUSB0`.
    pub address: String,
    /// Configuration of the definition; quantities as numbers in coherent SI units.
    pub config: BTreeMap<String, serde_json::Value>,
}

/// What the instruments act on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlantConfig {
    /// `snar-flow` or `light-box`.
    pub name: String,
    /// Part of the plant -> instrument.
    pub wiring: BTreeMap<String, String>,
    /// Numbers of the plant in coherent SI units.
    pub settings: BTreeMap<String, f64>,
}

/// How simulators are served on real wires.
#[derive(Debug, Clone, Default)]
pub struct ServeOptions {
    /// Free ports and terminals instead of the addresses of the lab.
    pub anywhere: bool,
    /// Run an MQTT broker instead of using the one at the lab's address.
    pub broker: bool,
    /// Written once everything answers: `{"pid": n, "endpoints": {lab address: actual one}}`.
    pub ready_file: Option<PathBuf>,
    /// Called once everything answers, with the lab's addresses and the actual ones.
    pub on_ready: Option<fn(&BTreeMap<String, String>)>,
    /// End this long after the last connection was closed (wall time).
    pub linger: Option<Duration>,
    /// Faults from the start: `pump_1:late=500ms@10%`.
    pub faults: Vec<String>,
    /// Address of a port that takes such orders while it runs, one a line.
    pub control: Option<String>,
    /// Every command with an effect is appended here as it is received, one JSON object a line.
    pub log: Option<PathBuf>,
}

/// A lab cannot be simulated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no simulator of this model.
    #[error("there is no simulator for `{model}` (instrument {name})")]
    Model {
        /// Instrument.
        name: String,
        /// Its model.
        model: String,
    },
    /// The plant is not known, or its wiring is wrong.
    #[error("the simulated plant: {0}")]
    Plant(String),
    /// A fault that cannot be.
    #[error("{0}")]
    Fault(String),
    /// An address cannot be served.
    #[error("{address} cannot be served: {reason}")]
    Address {
        /// Address.
        address: String,
        /// Why.
        reason: String,
    },
    /// A file or a port.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Cause.
        source: std::io::Error,
    },
}
