//! All instruments of a lab, what they act on, and lab time.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::{Value as Json, json};

use crate::bus::Frame;
use crate::config::{DeviceConfig, Error, LabConfig};
use crate::controller::Controller;
use crate::faults::{Fate, Faults};
use crate::light::LightBox;
use crate::plant::FlowReactor;
use crate::pump::Pump;

/// A command that changed something, as the instrument took it.
#[derive(Debug, Clone, PartialEq)]
pub struct Effect {
    /// Instrument.
    pub instrument: String,
    /// What it did.
    pub effect: &'static str,
    /// Numbers that belong to it.
    pub detail: BTreeMap<&'static str, f64>,
}

impl Effect {
    pub(crate) fn new(
        instrument: &str,
        effect: &'static str,
        detail: &[(&'static str, f64)],
    ) -> Effect {
        let detail = detail.iter().copied().collect();
        Effect { instrument: instrument.to_owned(), effect, detail }
    }
}

/// One instrument.
#[derive(Debug)]
pub(crate) enum Device {
    Pump(Pump),
    Controller(Controller),
    Spectrometer,
    Light(LightBox),
}

/// An instrument and where it stands.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) device: Device,
}

/// The state of everything simulated.
#[derive(Debug)]
pub struct World {
    pub(crate) placed: Vec<Placed>,
    plant: Option<FlowReactor>,
    /// Of noise; latency and faults have streams of their own.
    rng: ChaCha8Rng,
    faults: BTreeMap<String, Faults>,
    log: Option<std::fs::File>,
    /// Effects so far, for tests.
    pub effects: Vec<Effect>,
    keep_effects: bool,
}

/// A message an MQTT instrument publishes.
#[derive(Debug, Clone, PartialEq)]
pub struct Publication {
    /// Topic; empty = the response topic of the request.
    pub topic: String,
    /// JSON or text.
    pub payload: Vec<u8>,
}

impl World {
    /// A lab that was just switched on.
    pub fn new(config: &LabConfig) -> Result<World, Error> {
        let mut placed = Vec::new();
        let settings = config.plant.as_ref().map(|p| p.settings.clone()).unwrap_or_default();
        check_settings(&settings, config)?;
        let syringe = settings.get("syringe_volume");
        for device in &config.devices {
            let mut model = model(device)?;
            if let (Device::Pump(pump), Some(cubic_metres)) = (&mut model, syringe) {
                pump.fit_syringe(cubic_metres * 1e6);
            }
            placed.push(Placed {
                name: device.name.clone(),
                address: device.address.clone(),
                device: model,
            });
        }
        let plant = match &config.plant {
            Some(plant) if plant.name == "snar-flow" => Some(FlowReactor::new(plant, &placed)?),
            Some(plant) if plant.name == "light-box" => None,
            Some(plant) => {
                return Err(Error::Plant(format!(
                    "`{}` is not known; there are snar-flow and light-box",
                    plant.name
                )));
            }
            None => None,
        };
        Ok(World {
            placed,
            plant,
            rng: ChaCha8Rng::seed_from_u64(config.seed),
            faults: config
                .devices
                .iter()
                .map(|d| (d.name.clone(), Faults::new(config.seed, &d.name, &settings)))
                .collect(),
            log: None,
            effects: Vec::new(),
            keep_effects: true,
        })
    }

    /// Writes effects to a file instead of keeping them.
    pub fn log_to(&mut self, file: std::fs::File) {
        self.log = Some(file);
        self.keep_effects = false;
    }

    fn note(&mut self, effects: Vec<Effect>, now: f64) {
        for effect in effects {
            if let Some(log) = &mut self.log {
                let line = json!({
                    "instrument": effect.instrument, "t": now, "effect": effect.effect,
                    "detail": effect.detail,
                });
                // A log that cannot be written must not stop a pump.
                let _ = writeln!(log, "{line}").and_then(|()| log.flush());
            }
            if self.keep_effects {
                self.effects.push(effect);
            }
        }
    }

    /// What happens to the next request to an instrument.
    pub(crate) fn fate(&mut self, name: &str) -> Fate {
        let plain = Fate {
            deaf: false,
            mute: false,
            before: Duration::ZERO,
            latency: Duration::from_millis(1),
        };
        self.faults.get_mut(name).map_or(plain, Faults::next)
    }

    /// The pump on a serial bus that a request is for.
    pub(crate) fn pump_at(&self, address: &str, frame: &Frame) -> Option<String> {
        let its = |placed: &&Placed| match &placed.device {
            Device::Pump(pump) => placed.address == address && pump.address() == frame.address,
            _ => false,
        };
        self.placed.iter().find(its).map(|p| p.name.clone())
    }

    /// The controller at an address of the lab.
    pub(crate) fn controller_at(&self, address: &str) -> Option<String> {
        let its = |p: &&Placed| p.address == address && matches!(p.device, Device::Controller(_));
        self.placed.iter().find(its).map(|p| p.name.clone())
    }

    fn advance(&mut self, now: f64) {
        if let Some(plant) = &mut self.plant {
            plant.advance(now, &mut self.placed);
        }
    }

    /// What a pump answers to a request.
    pub(crate) fn line(&mut self, name: &str, frame: &Frame, now: f64) -> Option<Vec<u8>> {
        self.advance(now);
        let mut effects = Vec::new();
        let answer = match self.device(name)? {
            Device::Pump(pump) => pump.request(frame, now, &mut effects),
            _ => None,
        };
        self.note(effects, now);
        answer
    }

    /// What a controller answers to a Modbus request (PDU).
    pub(crate) fn modbus(&mut self, name: &str, pdu: &[u8], now: f64) -> Option<Vec<u8>> {
        self.advance(now);
        let mut effects = Vec::new();
        let answer = match self.device(name)? {
            Device::Controller(it) => Some(crate::modbus::answer(it, pdu, now, &mut effects)),
            _ => None,
        };
        self.note(effects, now);
        answer
    }

    fn device(&mut self, name: &str) -> Option<&mut Device> {
        self.placed.iter_mut().find(|p| p.name == name).map(|p| &mut p.device)
    }

    /// Lab time an MQTT instrument needs before it can answer a message, s.
    pub(crate) fn busy_s(&self, name: &str, below: &str, payload: &[u8]) -> f64 {
        let input: Json = serde_json::from_slice(payload).unwrap_or_default();
        let device = self.placed.iter().find(|p| p.name == name).map(|p| &p.device);
        match device {
            Some(Device::Spectrometer) if below == "measure" => crate::plant::measuring_s(&input),
            Some(Device::Light(_)) if below == "GPIO/28/" => crate::light::measuring_s(&input),
            _ => 0.0,
        }
    }

    /// A message below the base topic of an MQTT instrument.
    pub fn message(
        &mut self,
        name: &str,
        below: &str,
        payload: &[u8],
        now: f64,
    ) -> Vec<Publication> {
        self.advance(now);
        let Some(index) = self.placed.iter().position(|p| p.name == name) else {
            return Vec::new();
        };
        let input: Json = match serde_json::from_slice(payload) {
            Ok(input @ Json::Object(_)) => input,
            _ => {
                return vec![publication(
                    "",
                    &json!({"error": "the payload is not a JSON object"}),
                )];
            }
        };
        let noise = Noise { rng: &mut self.rng };
        match self.placed.get_mut(index).map(|p| &mut p.device) {
            Some(Device::Spectrometer) => match below {
                "measure" => {
                    let answer = match &self.plant {
                        Some(plant) => plant.spectrum(&input, noise),
                        None => crate::plant::dark_spectrum(&input, noise),
                    };
                    vec![publication("", &answer)]
                }
                "lamp" => vec![publication("", &json!({"on": input.get("on")}))],
                _ => Vec::new(),
            },
            Some(Device::Light(light)) if below == "GPIO/28/" => {
                let (answer, effect) = light.command(name, &input, noise);
                self.note(effect.into_iter().collect(), now);
                vec![publication("as7341/", &answer)]
            }
            _ => Vec::new(),
        }
    }

    /// Lab time of the next change that happens by itself.
    pub fn next_change(&self) -> Option<f64> {
        self.placed
            .iter()
            .filter_map(|p| match &p.device {
                Device::Pump(pump) => pump.next_change(),
                _ => None,
            })
            .min_by(f64::total_cmp)
    }
}

/// Refuses settings that would do nothing.
fn check_settings(settings: &BTreeMap<String, f64>, config: &LabConfig) -> Result<(), Error> {
    for name in settings.keys() {
        let fault = config.devices.iter().any(|d| Faults::knows(name, &d.name));
        if !fault && !["reactor_volume", "syringe_volume"].contains(&name.as_str()) {
            return Err(Error::Plant(format!(
                "the setting `{name}` is not known; there are reactor_volume, syringe_volume, and \
                 INSTRUMENT_delay, _effect_delay, _silence_every, _lost_reply_every"
            )));
        }
    }
    Ok(())
}

fn publication(topic: &str, payload: &Json) -> Publication {
    Publication { topic: topic.to_owned(), payload: payload.to_string().into_bytes() }
}

fn model(device: &DeviceConfig) -> Result<Device, Error> {
    Ok(match device.model.as_str() {
        "newera-ne1000" => {
            let address = device.config.get("address").and_then(Json::as_f64).unwrap_or(0.0);
            Device::Pump(Pump::new(&device.name, address.clamp(0.0, 99.0) as u8))
        }
        "eurotherm-3216" => Device::Controller(Controller::new(&device.name, 25.0)),
        "mqtt5-spectrometer" => Device::Spectrometer,
        "as7341-picow" => Device::Light(LightBox::default()),
        model => {
            return Err(Error::Model { name: device.name.clone(), model: model.to_owned() });
        }
    })
}

/// Random numbers of instruments.
pub(crate) struct Noise<'a> {
    rng: &'a mut ChaCha8Rng,
}

impl Noise<'_> {
    /// A normally distributed number with mean 0 and sd 1 (Box and Muller, 1958).
    pub(crate) fn normal(&mut self) -> f64 {
        let unit =
            |rng: &mut ChaCha8Rng| (f64::from(rng.next_u32()) + 0.5) / (f64::from(u32::MAX) + 1.0);
        let (u, v) = (unit(self.rng), unit(self.rng));
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }
}
