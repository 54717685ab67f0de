//! What the instruments of a lab act on together: one file per plant.
//!
//! A plant owns the physics, its instruments are windows into it. Which instrument stands where is
//! the `wiring` of the lab's simulation. Plants step through lab time by themselves, with steps that
//! end whenever a pump changes; nothing in them knows a wire.

mod battery;
mod chromatography;
mod coating;
mod culture;
mod dilution;
mod titration;

use std::collections::BTreeMap;
use std::fmt::Debug;

use serde_json::Value as Json;

use crate::config::{Error, PlantConfig};
use crate::plant::{FlowReactor, dark_spectrum};
use crate::world::{Device, Effect, Noise, Placed};

/// Names of all plants, and the settings of each beside those for pumps and faults.
pub(crate) const KNOWN: &[(&str, &[&str])] = &[
    ("snar-flow", &["reactor_volume"]),
    ("light-box", &[]),
    ("titration", titration::SETTINGS),
    ("coating", coating::SETTINGS),
    ("battery", battery::SETTINGS),
    ("chromatography", chromatography::SETTINGS),
    ("culture", culture::SETTINGS),
    ("dilution", dilution::SETTINGS),
];

/// What a bridge answers to a command, and what it did; or why it refuses.
pub(crate) type Answer = Result<(Json, Option<Effect>), String>;

/// What instruments act on together.
pub(crate) trait Plant: Debug + Send {
    /// Lets lab time pass, for the instruments too.
    fn advance(&mut self, now: f64, placed: &mut [Placed]);

    /// What a spectrometer sees.
    fn spectrum(&self, request: &Json, noise: Noise<'_>) -> Json {
        dark_spectrum(request, noise)
    }

    /// A bridge takes a command; lab time until it can answer, s.
    fn begin(&mut self, _instrument: &str, _command: &str, _input: &Json) -> f64 {
        0.0
    }

    /// A bridge answers a command.
    fn command(
        &mut self,
        _instrument: &str,
        command: &str,
        _input: &Json,
        _noise: Noise<'_>,
    ) -> Answer {
        Err(unknown(command))
    }

    /// What a bridge publishes of itself, and how often in lab time, s.
    fn state(&self, _instrument: &str) -> Option<(f64, Json)> {
        None
    }

    /// What a probe on a line shows.
    fn reading(&mut self, _instrument: &str, _noise: Noise<'_>) -> Option<f64> {
        None
    }
}

/// The plant of a lab; `None` where instruments stand alone.
pub(crate) fn of(
    config: Option<&PlantConfig>,
    placed: &[Placed],
) -> Result<Option<Box<dyn Plant>>, Error> {
    let Some(config) = config else { return Ok(None) };
    Ok(Some(match config.name.as_str() {
        "snar-flow" => Box::new(FlowReactor::new(config, placed)?),
        "light-box" => return Ok(None),
        "titration" => Box::new(titration::Titration::new(config, placed)?),
        "coating" => Box::new(coating::Coating::new(config, placed)?),
        "battery" => Box::new(battery::Battery::new(config, placed)?),
        "chromatography" => Box::new(chromatography::Chromatograph::new(config, placed)?),
        "culture" => Box::new(culture::Culture::new(config, placed)?),
        "dilution" => Box::new(dilution::Dilution::new(config, placed)?),
        name => {
            let known: Vec<&str> = KNOWN.iter().map(|(name, _)| *name).collect();
            let known = known.join(", ");
            return Err(Error::Plant(format!("`{name}` is not known; there are {known}")));
        }
    }))
}

/// The instrument at a place of the plant.
pub(crate) fn wired(config: &PlantConfig, placed: &[Placed], part: &str) -> Result<String, Error> {
    let name = config
        .wiring
        .get(part)
        .ok_or_else(|| Error::Plant(format!("its wiring does not name `{part}`")))?;
    if !placed.iter().any(|p| p.name == *name) {
        return Err(Error::Plant(format!("there is no instrument `{name}`")));
    }
    Ok(name.clone())
}

/// A setting in coherent SI units, within what makes sense.
fn setting(
    settings: &BTreeMap<String, f64>,
    name: &str,
    default: f64,
    range: std::ops::RangeInclusive<f64>,
) -> Result<f64, Error> {
    let value = settings.get(name).copied().unwrap_or(default);
    if range.contains(&value) {
        return Ok(value);
    }
    let (low, high) = (range.start(), range.end());
    Err(Error::Plant(format!("`{name}` is {value}; in SI units it must be from {low} to {high}")))
}

/// Walks through lab time in steps of at most `longest` seconds that end where a pump changes by
/// itself, lets pumps and controllers run, and tells each step's instruments to `each`.
fn walk(
    at: &mut f64,
    now: f64,
    longest: f64,
    placed: &mut [Placed],
    mut each: impl FnMut(&Flows<'_>, f64),
) {
    while *at < now {
        let mut to = now.min(*at + longest);
        for one in placed.iter() {
            let Device::Pump(pump) = &one.device else { continue };
            to = pump.next_change().filter(|change| *change > *at).map_or(to, |c| c.min(to));
        }
        let mut flows = BTreeMap::new();
        let mut celsius = BTreeMap::new();
        for one in placed.iter_mut() {
            match &mut one.device {
                Device::Pump(pump) => {
                    flows.insert(one.name.as_str(), pump.flow());
                    pump.advance(to);
                }
                Device::Controller(controller) => {
                    controller.advance(to);
                    celsius.insert(one.name.as_str(), controller.temperature());
                }
                Device::Text(text) if text.stirring() => {
                    flows.insert(one.name.as_str(), 1.0);
                }
                Device::Text(_)
                | Device::Spectrometer
                | Device::Light(_)
                | Device::Bridge
                | Device::Model(_) => {}
            }
        }
        each(&Flows { flows, celsius }, to - *at);
        *at = to;
    }
}

/// What instruments did during one step.
struct Flows<'a> {
    flows: BTreeMap<&'a str, f64>,
    celsius: BTreeMap<&'a str, f64>,
}

impl Flows<'_> {
    /// Flow of a pump, mL/s.
    fn ml_s(&self, pump: &str) -> f64 {
        self.flows.get(pump).copied().unwrap_or(0.0) / 60.0
    }

    /// Temperature of a controller, degC.
    fn celsius(&self, controller: &str) -> f64 {
        self.celsius.get(controller).copied().unwrap_or(25.0)
    }

    /// Whether a stirrer turns.
    fn stirs(&self, stirrer: &str) -> bool {
        self.flows.contains_key(stirrer)
    }
}

/// A number of a command.
fn number(input: &Json, name: &str, range: std::ops::RangeInclusive<f64>) -> Result<f64, String> {
    let value = input.get(name).and_then(Json::as_f64).ok_or(format!("{name} is missing"))?;
    if range.contains(&value) { Ok(value) } else { Err(format!("{name} is out of range")) }
}

fn unknown(command: &str) -> String {
    format!("{command} is not known")
}

/// Rounded to `digits` behind the point, as instruments report.
fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}
