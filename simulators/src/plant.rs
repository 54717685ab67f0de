//! The flow reactor: two pumps, a heated coil, a flow cell.

use serde_json::{Value as Json, json};

use crate::chemistry::react;
use crate::config::{Error, PlantConfig};
use crate::world::{Device, Noise, Placed};

/// Well-mixed volumes that stand for transport and mixing from the T-piece to the flow cell.
const TANKS: usize = 5;
/// Share of the reactor volume that lies behind it.
const DEAD_SHARE: f64 = 0.1;
/// Step of the transport model, s.
const STEP_S: f64 = 0.25;
/// Optical path of the flow cell, cm.
const PATH_CM: f64 = 0.01;

/// Absorbers: molar absorptivity in L/mol/cm at the top, its place and width in nm.
const PRODUCT: (f64, f64, f64) = (1_200.0, 412.0, 28.0);
const START: (f64, f64, f64) = (900.0, 258.0, 32.0);
const BIS: (f64, f64, f64) = (1_500.0, 350.0, 22.0);

/// Two feeds through a heated reactor into a flow cell.
#[derive(Debug)]
pub struct FlowReactor {
    feed_a: String,
    feed_b: String,
    heater: String,
    /// mL.
    volume: f64,
    /// Concentrations of A, P and D in each tank, mol/L; the last is the flow cell.
    tanks: [[f64; 3]; TANKS],
    at: f64,
}

impl FlowReactor {
    /// The plant of a lab; its wiring names `feed_a`, `feed_b` and `heater`.
    pub(crate) fn new(config: &PlantConfig, placed: &[Placed]) -> Result<FlowReactor, Error> {
        let part = |part: &str| {
            let name = config
                .wiring
                .get(part)
                .ok_or_else(|| Error::Plant(format!("its wiring does not name `{part}`")))?;
            if !placed.iter().any(|p| p.name == *name) {
                return Err(Error::Plant(format!("there is no instrument `{name}`")));
            }
            Ok(name.clone())
        };
        let volume = config.settings.get("reactor_volume").copied().unwrap_or(0.5e-6) * 1e6;
        if !(1e-3..=1e3).contains(&volume) {
            return Err(Error::Plant(format!("a reactor volume of {volume} mL")));
        }
        Ok(FlowReactor {
            feed_a: part("feed_a")?,
            feed_b: part("feed_b")?,
            heater: part("heater")?,
            volume,
            tanks: [[0.0; 3]; TANKS],
            at: 0.0,
        })
    }

    /// Lets lab time pass. Between two steps the flows and the temperature are taken as constant.
    pub(crate) fn advance(&mut self, now: f64, placed: &mut [Placed]) {
        while self.at + STEP_S <= now {
            self.at += STEP_S;
            let (mut a, mut b, mut celsius) = (0.0, 0.0, 25.0);
            for one in placed.iter_mut() {
                match &mut one.device {
                    Device::Pump(pump) => {
                        pump.advance(self.at);
                        let flow = pump.flow().max(0.0);
                        if one.name == self.feed_a {
                            a = flow;
                        } else if one.name == self.feed_b {
                            b = flow;
                        }
                    }
                    Device::Controller(controller) => {
                        controller.advance(self.at);
                        if one.name == self.heater {
                            celsius = controller.temperature();
                        }
                    }
                    Device::Spectrometer | Device::Light(_) => {}
                }
            }
            self.flow(a, b, celsius);
        }
    }

    fn flow(&mut self, a: f64, b: f64, celsius: f64) {
        let total = a + b;
        if total <= 0.0 {
            return;
        }
        let mut inlet = if a <= 0.0 {
            [0.0; 3]
        } else {
            let seconds = (self.volume / total * 60.0).min(3_600.0);
            let m = react_fast(celsius, seconds, b / a);
            [m.0, m.1, m.2]
        };
        // Exact for a constant inlet over the step, so that it is stable for any flow.
        let tank = self.volume * (1.0 + DEAD_SHARE) / TANKS as f64;
        let keep = (-total * STEP_S / 60.0 / tank).exp();
        for content in &mut self.tanks {
            for (now, into) in content.iter_mut().zip(&mut inlet) {
                *now = *into + (*now - *into) * keep;
                *into = *now;
            }
        }
    }

    /// Answer of the spectrometer to `{"integration_ms", "averages"}`.
    pub(crate) fn spectrum(&self, request: &Json, noise: Noise<'_>) -> Json {
        let cell = self.tanks.last().copied().unwrap_or_default();
        spectrum(cell, request, noise)
    }
}

/// The kinetics with few steps for the many small moves of the plant: concentrations of A, P, D.
fn react_fast(celsius: f64, seconds: f64, ratio: f64) -> (f64, f64, f64) {
    if !(0.0..=1e3).contains(&ratio) {
        return (0.0, 0.0, 0.0);
    }
    let m = react(celsius.clamp(-20.0, 250.0), seconds, ratio);
    (m.a, m.p, m.d)
}

/// What a spectrometer with nothing in front of it shows.
pub(crate) fn dark_spectrum(request: &Json, noise: Noise<'_>) -> Json {
    spectrum([0.0; 3], request, noise)
}

fn spectrum(cell: [f64; 3], request: &Json, mut noise: Noise<'_>) -> Json {
    let field = |name: &str| request.get(name).and_then(Json::as_f64);
    let (Some(integration), Some(averages)) = (field("integration_ms"), field("averages")) else {
        return json!({"error": "integration_ms and averages are missing"});
    };
    if !(1.0..=10_000.0).contains(&integration) || !(1.0..=1_000.0).contains(&averages) {
        return json!({"error": "integration_ms or averages is out of range"});
    }
    // Lamp and pump make a common error of 0.8 % and an offset that averaging does not remove; the
    // detector's own noise falls with the light collected.
    let common = 1.0 + 0.008 * noise.normal();
    let offset = 0.002 * noise.normal();
    let detector = 0.02 / (integration * averages / 50.0).sqrt();
    let [a, p, d] = cell;
    let mut wavelengths = Vec::new();
    let mut absorbance = Vec::new();
    let mut counts = Vec::new();
    for step in 0..=80 {
        let nm = 300.0 + 2.5 * f64::from(step);
        let shape = |(top, place, width): (f64, f64, f64)| {
            top * (-((nm - place) / width).powi(2) / 2.0).exp()
        };
        let clean = (shape(START) * a + shape(PRODUCT) * p + shape(BIS) * d) * PATH_CM;
        let seen = (clean * common + offset + detector * noise.normal()).clamp(-0.5, 3.5);
        wavelengths.push(nm);
        absorbance.push((seen * 1e6).round() / 1e6);
        counts.push((50_000.0 * 10f64.powf(-seen)).round());
    }
    json!({"wavelength_nm": wavelengths, "absorbance": absorbance, "counts": counts})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chemistry::{FEED_A, noiseless_yield};
    use crate::config::{DeviceConfig, LabConfig};
    use crate::world::World;
    use std::collections::BTreeMap;

    fn lab() -> World {
        let device = |name: &str, model: &str, address: f64| DeviceConfig {
            name: name.into(),
            model: model.into(),
            address: format!("at {model}"),
            config: BTreeMap::from([("address".into(), json!(address))]),
        };
        let wiring = [("feed_a", "pump_1"), ("feed_b", "pump_2"), ("heater", "bath_1")];
        let config = LabConfig {
            seed: 3,
            speed: 1.0,
            devices: vec![
                device("pump_1", "newera-ne1000", 0.0),
                device("pump_2", "newera-ne1000", 1.0),
                device("bath_1", "eurotherm-3216", 0.0),
                device("uv_1", "mqtt5-spectrometer", 0.0),
            ],
            plant: Some(PlantConfig {
                name: "snar-flow".into(),
                wiring: wiring.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect(),
                settings: BTreeMap::new(),
            }),
        };
        World::new(&config).unwrap()
    }

    /// Yield as a protocol would compute it from the absorbance at 412.5 nm.
    fn measured(world: &mut World, now: f64, ratio: f64) -> f64 {
        let request = br#"{"integration_ms":50,"averages":20}"#;
        let answer = world.message("uv_1", "measure", request, now);
        let json: Json = serde_json::from_slice(&answer[0].payload).unwrap();
        let absorbance = json["absorbance"][45].as_f64().unwrap();
        absorbance / (PRODUCT.0 * PATH_CM) / (FEED_A / (1.0 + ratio))
    }

    #[test]
    fn after_three_residence_times_the_cell_shows_the_yield_of_the_kinetics() {
        let mut world = lab();
        let (celsius, seconds, ratio) = (85.0, 40.0, 0.8);
        let total = 0.5 / seconds * 60.0;
        let bus = "at newera-ne1000";
        for line in ["", "1", "DIA14.57", "1DIA14.57", "VOL0", "1VOL0"] {
            world.line(bus, line, 0.0);
        }
        world.modbus("at eurotherm-3216", &[16, 0, 24, 0, 1, 2, 0x03, 0x52], 0.0).unwrap();
        let a = total / (1.0 + ratio);
        world.line(bus, &format!("RAT {a:.4} MM"), 100.0);
        world.line(bus, &format!("1RAT {:.4} MM", total - a), 100.0);
        world.line(bus, "RUN", 100.0);
        world.line(bus, "1RUN", 100.0);
        let early = measured(&mut world, 110.0, ratio);
        let mean = (0..9)
            .map(|n| measured(&mut world, 100.0 + 3.0 * seconds + f64::from(n), ratio))
            .sum::<f64>()
            / 9.0;
        let truth = noiseless_yield(celsius, seconds, ratio);
        assert!(early < 0.5 * truth, "{early} before the mixture arrives");
        assert!((mean - truth).abs() < 0.02 * truth, "{mean} against {truth}");
        assert_eq!(world.effects.iter().filter(|e| e.effect == "start").count(), 2);
    }
}
