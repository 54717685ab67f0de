//! The flow reactor: two pumps, a heated channel, a flow cell.
//!
//! Fluid moves through the heated channel as a row of equal plugs. A plug forms in the T-piece, in the
//! ratio of the flows at the time, enters the channel when it is full and pushes the oldest plug out;
//! inside, it reacts at the temperature of the chip at each moment. So what the flow cell shows has a
//! history: it knows the temperature the plug went through, and the time it stood while the pumps did.
//! Behind the channel, cold and unreacting, lie the tubing (plug flow) and three mixed volumes, the
//! last of which is the flow cell; they stand for transport and axial dispersion.
//!
//! In steady flow each plug stays exactly volume/flow, so the cell shows [`crate::chemistry::react`].

use std::collections::VecDeque;

use serde_json::{Value as Json, json};

use crate::chemistry::{Mixture, Rates};
use crate::config::{Error, PlantConfig};
use crate::plants::{Plant, wired};
use crate::world::{Device, Noise, Placed};

/// Plugs in the heated channel.
const PLUGS: usize = 50;
/// Plugs in the tubing between channel and flow cell.
const TUBING: usize = 6;
/// Mixed volumes at the end, each as large as a plug.
const TANKS: usize = 3;
/// Longest step over which temperature counts as constant, s.
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
    /// Volume of one plug, mL.
    plug_ml: f64,
    /// What of each feed has gone into the plug that is forming, mL.
    forming: [f64; 2],
    /// Oldest plug in front.
    channel: VecDeque<Mixture>,
    tubing: VecDeque<Mixture>,
    tanks: [Mixture; TANKS],
    /// Lab time, s.
    at: f64,
}

/// Solvent.
const EMPTY: Mixture = Mixture { a: 0.0, b: 0.0, p: 0.0, d: 0.0 };

impl FlowReactor {
    /// The plant of a lab; its wiring names `feed_a`, `feed_b` and `heater`.
    pub(crate) fn new(config: &PlantConfig, placed: &[Placed]) -> Result<FlowReactor, Error> {
        let part = |part: &str| wired(config, placed, part);
        let volume = config.settings.get("reactor_volume").copied().unwrap_or(0.5e-6) * 1e6;
        if !(1e-3..=1e3).contains(&volume) {
            return Err(Error::Plant(format!("a reactor volume of {volume} mL")));
        }
        Ok(FlowReactor {
            feed_a: part("feed_a")?,
            feed_b: part("feed_b")?,
            heater: part("heater")?,
            plug_ml: volume / PLUGS as f64,
            forming: [0.0; 2],
            channel: VecDeque::from(vec![EMPTY; PLUGS]),
            tubing: VecDeque::from(vec![EMPTY; TUBING]),
            tanks: [EMPTY; TANKS],
            at: 0.0,
        })
    }

    /// Flows in mL/min for `dt` seconds.
    fn flow(&mut self, a: f64, b: f64, celsius: f64, dt: f64) {
        let rates = Rates::at(celsius.clamp(-20.0, 250.0));
        let total = (a + b) / 60.0;
        let mut left = dt;
        while left > 0.0 {
            let room = self.plug_ml - self.forming.iter().sum::<f64>();
            let full_in = if total > 0.0 { room.max(0.0) / total } else { f64::INFINITY };
            let part = left.min(full_in);
            self.react(rates, part);
            for (volume, flow) in self.forming.iter_mut().zip([a, b]) {
                *volume += flow / 60.0 * part;
            }
            if full_in <= left {
                self.push();
            }
            left -= part;
        }
    }

    fn react(&mut self, rates: Rates, dt: f64) {
        let parts = rates.parts(dt);
        let h = dt / f64::from(parts);
        for plug in &mut self.channel {
            if plug.b > 0.0 || plug.p > 0.0 {
                *plug = (0..parts).fold(*plug, |m, _| rates.step(m, h));
            }
        }
    }

    /// The plug in the T-piece is full: it enters the channel, and all others move on.
    fn push(&mut self) {
        let [a, b] = std::mem::take(&mut self.forming);
        let share = b / (a + b);
        // Written so that a plug of pure B has no infinite ratio.
        let fresh = Mixture {
            a: crate::chemistry::FEED_A * (1.0 - share),
            b: crate::chemistry::FEED_B * share,
            ..EMPTY
        };
        self.channel.push_back(fresh);
        self.tubing.push_back(self.channel.pop_front().unwrap_or(EMPTY));
        let mut inlet = self.tubing.pop_front().unwrap_or(EMPTY);
        // One plug through a mixed volume of its own size.
        let keep = (-1.0_f64).exp();
        for tank in &mut self.tanks {
            *tank = tank.blend(inlet, keep);
            inlet = *tank;
        }
    }
}

impl Plant for FlowReactor {
    fn advance(&mut self, now: f64, placed: &mut [Placed]) {
        while self.at < now {
            let mut to = now.min(self.at + STEP_S);
            let (mut a, mut b) = (0.0, 0.0);
            for one in placed.iter() {
                let Device::Pump(pump) = &one.device else { continue };
                // A change that is due now was made by the step before.
                to = pump.next_change().filter(|at| *at > self.at).map_or(to, |at| at.min(to));
                if one.name == self.feed_a {
                    a = pump.flow();
                } else if one.name == self.feed_b {
                    b = pump.flow();
                }
            }
            let mut celsius = 25.0;
            for one in placed.iter_mut() {
                match &mut one.device {
                    Device::Pump(pump) => pump.advance(to),
                    Device::Controller(controller) => {
                        controller.advance(to);
                        if one.name == self.heater {
                            celsius = controller.temperature();
                        }
                    }
                    _ => {}
                }
            }
            self.flow(a, b, celsius, to - self.at);
            self.at = to;
        }
    }

    fn spectrum(&self, request: &Json, noise: Noise<'_>) -> Json {
        let cell = self.tanks.last().copied().unwrap_or(EMPTY);
        spectrum([cell.a, cell.p, cell.d], request, noise)
    }
}

/// What a spectrometer with nothing in front of it shows.
pub(crate) fn dark_spectrum(request: &Json, noise: Noise<'_>) -> Json {
    spectrum([0.0; 3], request, noise)
}

/// How long the spectrometer takes for a request, s; nothing for one it will refuse.
pub(crate) fn measuring_s(request: &Json) -> f64 {
    let field = |name: &str| request.get(name).and_then(Json::as_f64).unwrap_or(0.0);
    let (integration, averages) = (field("integration_ms"), field("averages"));
    let fits = (1.0..=10_000.0).contains(&integration) && (1.0..=1_000.0).contains(&averages);
    if fits { integration * averages / 1e3 } else { 0.0 }
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
    use crate::bus::basic;
    use crate::chemistry::{FEED_A, noiseless_yield, react};
    use crate::config::{DeviceConfig, LabConfig};
    use crate::world::{Models, World};
    use std::collections::BTreeMap;

    fn lab() -> (LabConfig, World) {
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
        let world = World::new(&config, Models::new()).unwrap();
        (config, world)
    }

    fn say(world: &mut World, line: &str, now: f64) {
        let frame = basic(line).unwrap();
        let name = world.pump_at("at newera-ne1000", &frame).unwrap();
        world.line(&name, &frame, now).unwrap();
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
    fn a_plug_remembers_the_heat_it_went_through_and_the_time_it_stood() {
        let config = lab().0;
        let world = World::new(&config, Models::new()).unwrap();
        let mut reactor = FlowReactor::new(config.plant.as_ref().unwrap(), &world.placed).unwrap();
        let cell = |r: &FlowReactor| r.tanks[TANKS - 1];
        // 1 mL/min at 80 degC for 0.5 mL: 30 s.
        for _ in 0..400 {
            reactor.flow(0.6, 0.4, 80.0, 0.25);
        }
        let steady = react(80.0, 30.0, 0.4 / 0.6);
        assert!((cell(&reactor).p - steady.p).abs() < 1e-4 * steady.p);
        assert!((cell(&reactor).a - steady.a).abs() < 1e-4 * steady.a);
        // The chip is cold from now on; what is behind it does not know yet.
        for _ in 0..20 {
            reactor.flow(0.6, 0.4, 20.0, 0.25);
        }
        assert!((cell(&reactor).p - steady.p).abs() < 0.02 * steady.p);
        for _ in 0..400 {
            reactor.flow(0.6, 0.4, 20.0, 0.25);
        }
        assert!(cell(&reactor).p < 0.3 * steady.p);
        // Standing still for ten minutes lets the reaction go on, but nothing reaches the cell.
        let before = cell(&reactor).p;
        for _ in 0..2400 {
            reactor.flow(0.0, 0.0, 60.0, 0.25);
        }
        assert_eq!(cell(&reactor).p, before);
        let stood = reactor.channel[PLUGS / 2].p;
        assert!(stood > 1.5 * before, "{stood} against {before}");
    }

    #[test]
    fn the_flow_cell_sees_a_change_of_feed_after_the_dead_volume_and_smeared() {
        let config = lab().0;
        let world = World::new(&config, Models::new()).unwrap();
        let mut reactor = FlowReactor::new(config.plant.as_ref().unwrap(), &world.placed).unwrap();
        // Cold: nothing reacts to speak of, A is a tracer. 0.6 mL/min is one plug a second.
        let mut seen = Vec::new();
        for _ in 0..80 {
            reactor.flow(0.6, 0.0, -20.0, 1.0);
            seen.push(reactor.tanks[TANKS - 1].a / crate::chemistry::FEED_A);
        }
        let first = seen.iter().position(|a| *a > 0.01).unwrap() + 1;
        assert_eq!(first, PLUGS + TUBING + 1);
        assert!((0.1..0.5).contains(&seen[first - 1]), "smeared by the mixed volumes");
        assert!(seen[first + 8] > 0.99);
    }

    #[test]
    fn the_yield_from_one_wavelength_is_right_to_one_percent_at_the_optimum() {
        let ([t, s, r], best) = crate::chemistry::optimum();
        let m = react(t, s, r);
        let shape = |(top, place, width): (f64, f64, f64)| {
            top * (-((412.5_f64 - place) / width).powi(2) / 2.0).exp()
        };
        let seen = shape(PRODUCT) * m.p + shape(BIS) * m.d + shape(START) * m.a;
        let measured = seen / PRODUCT.0 * (1.0 + r) / FEED_A;
        assert!((measured / best - 1.0).abs() < 0.01, "{measured} against {best}");
    }

    #[test]
    fn after_three_residence_times_the_cell_shows_the_yield_of_the_kinetics() {
        let mut world = lab().1;
        let (celsius, seconds, ratio) = (85.0, 40.0, 0.8);
        let total = 0.5 / seconds * 60.0;
        for line in ["", "1", "DIA14.57", "1DIA14.57", "VOL0", "1VOL0"] {
            say(&mut world, line, 0.0);
        }
        world.modbus("bath_1", &[16, 0, 24, 0, 1, 2, 0x03, 0x52], 0.0).unwrap();
        let a = total / (1.0 + ratio);
        let b = total - a;
        for line in
            [format!("RAT {a:.4} MM"), format!("1RAT {b:.4} MM"), "RUN".into(), "1RUN".into()]
        {
            say(&mut world, &line, 100.0);
        }
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
