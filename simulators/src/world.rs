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
use crate::faults::spec::{Fault, Kind};
use crate::faults::{Fate, Faults};
use crate::light::LightBox;
use crate::model::{Answer, Model, Upset};
use crate::plants::{self, Plant};
use crate::pump::Pump;
use crate::text::Text;

/// Commands of a bridge are below this topic.
const COMMANDS: &str = "do/";
/// Complaints that are kept.
const COMPLAINTS_MAX: usize = 256;
/// Longest time a bridge is busy with one command, s.
const BUSY_MAX_S: f64 = 86_400.0;
/// Definitions of bridges; what each does is up to the plant.
const BRIDGES: &[&str] = &[
    "mqtt5-spin-coater",
    "mqtt5-sample-arm",
    "mqtt5-film-meter",
    "mqtt5-battery-cycler",
    "mqtt5-hplc",
    "mqtt5-bioreactor",
    "mqtt5-liquid-handler",
    "mqtt5-plate-reader",
];

/// Instruments of a lab that are described elsewhere, by their names.
pub type Models = BTreeMap<String, Box<dyn Model>>;

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
    /// Talks in lines of text.
    Text(Text),
    /// A gateway to something of the plant: topics `do/COMMAND` and `state`.
    Bridge,
    /// Described elsewhere.
    Model(Box<dyn Model>),
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
    plant: Option<Box<dyn Plant>>,
    /// Of noise; latency and faults have streams of their own.
    rng: ChaCha8Rng,
    faults: BTreeMap<String, Faults>,
    log: Option<std::fs::File>,
    /// Effects so far, for tests.
    pub effects: Vec<Effect>,
    keep_effects: bool,
    /// What is wrong with descriptions of instruments.
    pub complaints: Vec<String>,
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
    pub fn new(config: &LabConfig, mut models: Models) -> Result<World, Error> {
        let mut placed = Vec::new();
        let settings = config.plant.as_ref().map(|p| p.settings.clone()).unwrap_or_default();
        check_settings(&settings, config)?;
        let syringe = settings.get("syringe_volume");
        for device in &config.devices {
            let mut model = match models.remove(&device.name) {
                Some(model) => Device::Model(model),
                None => model(device)?,
            };
            if let (Device::Pump(pump), Some(cubic_metres)) = (&mut model, syringe) {
                pump.fit_syringe(cubic_metres * 1e6);
            }
            placed.push(Placed {
                name: device.name.clone(),
                address: device.address.clone(),
                device: model,
            });
        }
        let plant = plants::of(config.plant.as_ref(), &placed)?;
        if plant.is_none()
            && let Some(bridge) = placed.iter().find(|p| matches!(p.device, Device::Bridge))
        {
            let known: Vec<&str> = plants::KNOWN.iter().map(|(name, _)| *name).collect();
            return Err(Error::Plant(format!(
                "`{}` needs something to act on: one of {}",
                bridge.name,
                known.join(", ")
            )));
        }
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
            complaints: Vec::new(),
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
        let plain = Fate { latency: Duration::from_millis(1), ..Fate::default() };
        self.faults.get_mut(name).map_or(plain, Faults::next)
    }

    /// Orders a fault of an instrument, or ends all of them.
    pub(crate) fn order(&mut self, name: &str, fault: Option<Fault>) -> Result<(), String> {
        let Some(placed) = self.placed.iter().find(|p| p.name == name) else {
            let known: Vec<&str> = self.placed.iter().map(|p| p.name.as_str()).collect();
            return Err(format!("there is no instrument `{name}`; there are {}", known.join(", ")));
        };
        if let Some(Fault { kind: Kind::Upset(_), .. }) = fault
            && !matches!(placed.device, Device::Model(_))
        {
            return Err(format!(
                "the simulator of `{name}` plays a part in a plant: faults of the device itself \
                 are not known to it, those of its line are"
            ));
        }
        match self.faults.get_mut(name).map(|faults| faults.order(fault)) {
            Some(true) => Ok(()),
            _ => Err(format!("`{name}` has too many faults; end them with {name}:off")),
        }
    }

    /// The pump on a serial bus that a request is for, or the only instrument of a line.
    pub(crate) fn pump_at(&self, address: &str, frame: &Frame) -> Option<String> {
        let its = |placed: &&Placed| match &placed.device {
            Device::Pump(pump) => placed.address == address && pump.address() == frame.address,
            Device::Text(_) => placed.address == address,
            _ => false,
        };
        self.placed.iter().find(its).map(|p| p.name.clone())
    }

    /// Lab time an instrument on a line needs for a request, s.
    pub(crate) fn line_busy_s(&self, name: &str, frame: &Frame) -> f64 {
        match self.placed.iter().find(|p| p.name == name).map(|p| &p.device) {
            Some(Device::Text(text)) => text.busy_s(&frame.command),
            _ => 0.0,
        }
    }

    /// The instrument at a Modbus address of the lab that a PDU is for: of several the one that
    /// knows the registers, else the first.
    pub(crate) fn modbus_at(&self, address: &str, pdu: &[u8]) -> Option<String> {
        let its = |p: &&Placed| {
            p.address == address && { matches!(p.device, Device::Controller(_) | Device::Model(_)) }
        };
        let knows = |p: &&Placed| match &p.device {
            Device::Model(model) => model.knows(pdu),
            _ => true,
        };
        let mut all = self.placed.iter().filter(its);
        let first = all.clone().next();
        all.find(knows).or(first).map(|p| p.name.clone())
    }

    fn advance(&mut self, now: f64) {
        if let Some(plant) = &mut self.plant {
            plant.advance(now, &mut self.placed);
        }
    }

    /// What an instrument on a line answers to a request.
    pub(crate) fn line(&mut self, name: &str, frame: &Frame, now: f64) -> Option<Vec<u8>> {
        self.advance(now);
        let mut effects = Vec::new();
        let noise = Noise { rng: &mut self.rng };
        let device = self.placed.iter_mut().find(|p| p.name == name).map(|p| &mut p.device)?;
        let answer = match device {
            Device::Pump(pump) => pump.request(frame, now, &mut effects),
            Device::Text(text) => {
                let reading = match &mut self.plant {
                    Some(plant) if text.wants_reading(&frame.command) => plant.reading(name, noise),
                    _ => None,
                };
                let (answer, effect) = text.request(name, &frame.command, now, reading);
                effects.extend(effect);
                answer.map(String::into_bytes)
            }
            _ => None,
        };
        self.note(effects, now);
        answer
    }

    /// Instruments on a line that are described elsewhere.
    pub(crate) fn models_at(&self, address: &str) -> Vec<String> {
        let its = |p: &&Placed| p.address == address && matches!(p.device, Device::Model(_));
        self.placed.iter().filter(its).map(|p| p.name.clone()).collect()
    }

    /// The requests to one of them in bytes of its line.
    pub(crate) fn hear(&mut self, name: &str, bytes: &[u8]) -> Vec<Vec<u8>> {
        match self.device(name) {
            Some(Device::Model(model)) => model.hear(bytes),
            _ => Vec::new(),
        }
    }

    /// What one of them answers.
    pub(crate) fn answer(&mut self, name: &str, request: &[u8], now: f64) -> Option<Answer> {
        self.advance(now);
        self.model(name, |model| model.answer(request, now)).flatten()
    }

    /// Does something with an instrument that is described elsewhere, and keeps its complaints.
    pub(crate) fn model<T>(
        &mut self,
        name: &str,
        act: impl FnOnce(&mut dyn Model) -> T,
    ) -> Option<T> {
        let Some(Device::Model(model)) = self.device(name) else { return None };
        let done = act(model.as_mut());
        for complaint in model.complaints() {
            let complaint = format!("{name}: {complaint}");
            tracing::warn!("{complaint}");
            if self.complaints.len() < COMPLAINTS_MAX {
                self.complaints.push(complaint);
            }
        }
        Some(done)
    }

    /// The answer of one of them under another address.
    pub(crate) fn misaddressed(&self, name: &str, answer: &[u8]) -> Option<Vec<u8>> {
        match self.placed.iter().find(|p| p.name == name).map(|p| &p.device) {
            Some(Device::Model(model)) => model.misaddressed(answer),
            _ => None,
        }
    }

    /// Upsets an instrument; `false` when it cannot be.
    pub(crate) fn upset(&mut self, name: &str, upset: Upset, on: bool, now: f64) -> bool {
        match self.device(name) {
            Some(Device::Model(model)) => {
                model.upset(upset, on, now);
                true
            }
            _ => false,
        }
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

    /// An MQTT instrument takes a message; lab time it needs before it can answer, s.
    pub(crate) fn begin(&mut self, name: &str, below: &str, payload: &[u8], now: f64) -> f64 {
        self.advance(now);
        let input: Json = serde_json::from_slice(payload).unwrap_or_default();
        let device = self.placed.iter().find(|p| p.name == name).map(|p| &p.device);
        match (device, below.strip_prefix(COMMANDS), &mut self.plant) {
            (Some(Device::Spectrometer), ..) if below == "measure" => {
                crate::plant::measuring_s(&input)
            }
            (Some(Device::Light(_)), ..) if below == "GPIO/28/" => {
                crate::light::measuring_s(&input)
            }
            (Some(Device::Bridge), Some(command), Some(plant)) => {
                plant.begin(name, command, &input).clamp(0.0, BUSY_MAX_S)
            }
            _ => 0.0,
        }
    }

    /// What a bridge publishes of itself, and how often in lab time, s.
    pub(crate) fn state(&mut self, name: &str, now: f64) -> Option<(f64, Vec<u8>)> {
        self.advance(now);
        let (every, state) = self.plant.as_ref()?.state(name)?;
        Some((every, state.to_string().into_bytes()))
    }

    /// Instruments that publish their state by themselves.
    pub(crate) fn publishers(&self) -> Vec<String> {
        let plant = self.plant.as_ref();
        let publishes = |name: &str| plant.is_some_and(|p| p.state(name).is_some());
        let bridges = self.placed.iter().filter(|p| matches!(p.device, Device::Bridge));
        bridges.map(|p| p.name.clone()).filter(|name| publishes(name)).collect()
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
            Some(Device::Bridge) => {
                let (Some(command), Some(plant)) = (below.strip_prefix(COMMANDS), &mut self.plant)
                else {
                    return Vec::new();
                };
                let (answer, effect) = match plant.command(name, command, &input, noise) {
                    Ok((answer, effect)) => (answer, effect),
                    Err(why) => (json!({"error": why}), None),
                };
                // What it shows comes before its answer, so that whoever waits for that sees it.
                let state = plant.state(name).map(|(_, state)| publication("state", &state));
                self.note(effect.into_iter().collect(), now);
                state.into_iter().chain([publication("", &answer)]).collect()
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
    let plant = config.plant.as_ref().map(|p| p.name.as_str()).unwrap_or_default();
    let its = plants::KNOWN.iter().find(|(name, _)| *name == plant).map_or(&[][..], |(_, s)| *s);
    for name in settings.keys() {
        let fault = config.devices.iter().any(|d| Faults::knows(name, &d.name));
        if !fault && name != "syringe_volume" && !its.contains(&name.as_str()) {
            let its: String = its.iter().map(|s| format!("{s}, ")).collect();
            return Err(Error::Plant(format!(
                "the setting `{name}` is not known; there are {its}syringe_volume, and \
                 INSTRUMENT_delay, _effect_delay, _silence_every, _lost_reply_every"
            )));
        }
    }
    Ok(())
}

fn publication(topic: &str, payload: &Json) -> Publication {
    Publication { topic: topic.to_owned(), payload: payload.to_string().into_bytes() }
}

/// Whether there is a simulator of its own for a definition of this name.
pub fn has_simulator(definition: &str) -> bool {
    let own = [
        "newera-ne1000",
        "eurotherm-3216",
        "mqtt5-spectrometer",
        "as7341-picow",
        "atlas-ezo-ph",
        "ika-rct",
    ];
    own.contains(&definition) || BRIDGES.contains(&definition)
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
        "atlas-ezo-ph" => Device::Text(Text::ezo()),
        "ika-rct" => Device::Text(Text::ika()),
        model if BRIDGES.contains(&model) => Device::Bridge,
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
