//! What a simulated laboratory is made of: devices, the plant they are wired to, and how it is served.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A laboratory to simulate.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabConfig {
    /// Seed of every random draw: measurement noise, reply latency, faults.
    #[serde(default)]
    pub seed: u64,
    /// Lab seconds that pass in one second of tokio time; finite and above zero.
    #[serde(default = "one")]
    pub speed: f64,
    /// The instruments, each under the name the lab file gives it.
    pub devices: Vec<DeviceConfig>,
    /// The physics that joins the instruments; without it each instrument stands alone.
    #[serde(default)]
    pub plant: Option<PlantConfig>,
}

/// One simulated instrument.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceConfig {
    /// The name of the instrument in the lab file.
    pub name: String,
    /// The name of its definition, for example `newera-ne1000`.
    pub model: String,
    /// Where the lab file says it is, for example `serial:/dev/ttyUSB0`.
    pub address: String,
    /// The instrument's configuration as plain numbers and texts in the definition's units,
    /// plus fault settings and the model's own (see the crate's README).
    #[serde(default)]
    pub config: BTreeMap<String, serde_json::Value>,
}

/// The physics behind the instruments.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlantConfig {
    /// `snar-flow` or `light-box`.
    pub name: String,
    /// Which instrument stands at which place of the plant; what is left out is found by model.
    #[serde(default)]
    pub wiring: BTreeMap<String, String>,
    /// Settings of the plant, and faults as `INSTRUMENT.SETTING`.
    #[serde(default)]
    pub settings: BTreeMap<String, f64>,
}

/// How a simulated laboratory is put on real wires.
#[derive(Debug, Clone, Default)]
pub struct ServeOptions {
    /// Use free ports and new pseudo terminals instead of the lab's own addresses.
    pub anywhere: bool,
    /// Run the crate's own MQTT broker; otherwise the devices connect to the lab's broker.
    pub broker: bool,
    /// Written once everything listens: JSON `{pid, endpoints: {lab address: actual address}}`.
    pub ready_file: Option<PathBuf>,
    /// Return this long (wall time) after the last connection closed, or the start.
    pub linger: Option<Duration>,
    /// JSON lines, one for every command that has an effect, as received.
    pub log: Option<PathBuf>,
}

/// What can go wrong with a simulated laboratory; each reads after "failed to simulate the lab: ".
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration asks for something the simulators do not have.
    #[error("{place}: {message}; {way_out}")]
    Config {
        /// The device or section that is wrong.
        place: String,
        /// What is wrong with it.
        message: String,
        /// What to write instead.
        way_out: String,
    },
    /// A port, terminal or file could not be had.
    #[error("{what}; {way_out}")]
    Io {
        /// What was attempted.
        what: String,
        /// What to do about it.
        way_out: String,
        /// The operating system's answer.
        source: std::io::Error,
    },
}

impl Error {
    #[allow(dead_code)]
    pub(crate) fn config(
        place: impl Into<String>,
        message: impl Into<String>,
        way_out: impl Into<String>,
    ) -> Self {
        Self::Config { place: place.into(), message: message.into(), way_out: way_out.into() }
    }

    #[allow(dead_code)]
    pub(crate) fn io(
        what: impl Into<String>,
        way_out: impl Into<String>,
        source: std::io::Error,
    ) -> Self {
        Self::Io { what: what.into(), way_out: way_out.into(), source }
    }
}

fn one() -> f64 {
    1.0
}
