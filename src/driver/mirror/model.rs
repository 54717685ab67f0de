//! The mirror as the simulators know it.

use labloop_simulators::{Answer, Inward, Model, Outward, Presence, Upset};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::Mirror;
use crate::driver::plan::Protocol;

/// A mirror with random numbers for its noise.
#[derive(Debug)]
pub struct Device {
    mirror: Mirror,
    rng: ChaCha8Rng,
    /// Complaints that were made already.
    told: usize,
}

impl Device {
    /// Noise is the same for the same seed.
    pub fn new(mirror: Mirror, seed: u64) -> Device {
        Device { mirror, rng: ChaCha8Rng::seed_from_u64(seed), told: 0 }
    }

    /// The device itself.
    pub fn mirror(&mut self) -> &mut Mirror {
        &mut self.mirror
    }
}

/// A normally distributed number (Box and Muller, 1958).
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let unit =
        |rng: &mut ChaCha8Rng| (f64::from(rng.next_u32()) + 0.5) / (f64::from(u32::MAX) + 1.0);
    let (u, v) = (unit(rng), unit(rng));
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

impl Model for Device {
    fn hear(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        self.mirror.hear_text(bytes)
    }

    fn knows(&self, pdu: &[u8]) -> bool {
        self.mirror.knows_modbus(pdu)
    }

    fn answer(&mut self, request: &[u8], now: f64) -> Option<Answer> {
        let rng = &mut self.rng;
        let mut noise = || normal(rng);
        match &self.mirror.plan.protocol {
            Protocol::Text { .. } => self.mirror.answer_text(request, now, &mut noise),
            Protocol::Modbus { .. } => self.mirror.answer_modbus(request, now, &mut noise),
            Protocol::Mqtt(_) | Protocol::Null => None,
        }
    }

    fn appear(&mut self, now: f64) -> Presence {
        let rng = &mut self.rng;
        self.mirror.appear(now, &mut || normal(rng))
    }

    fn vanish(&mut self) -> Option<Outward> {
        self.mirror.vanish()
    }

    fn message(&mut self, message: &Inward, now: f64) -> Vec<Outward> {
        let rng = &mut self.rng;
        self.mirror.take(message, now, &mut || normal(rng))
    }

    fn stream(&mut self, now: f64) -> (Vec<Outward>, f64) {
        let rng = &mut self.rng;
        self.mirror.stream(now, &mut || normal(rng))
    }

    fn complaints(&mut self) -> Vec<String> {
        let all = &self.mirror.state.problems;
        let new = all.get(self.told..).unwrap_or_default().to_vec();
        self.told = all.len();
        new
    }

    fn upset(&mut self, upset: Upset, on: bool, now: f64) {
        let mirror = &mut self.mirror;
        mirror.state.advance(now);
        match upset {
            Upset::Busy => mirror.upset.busy = on,
            Upset::Stuck => mirror.upset.stuck = on,
            Upset::Drift(fraction) => {
                mirror.upset.drift = on.then_some((fraction, now));
            }
            Upset::Spike(times) => mirror.upset.spike = on.then_some(times),
            Upset::SensorBreak => mirror.upset.broken = on,
            Upset::Exception(code) => mirror.upset.exception = on.then_some(code),
            Upset::Reboot if on => mirror.reboot(),
            Upset::Reboot => {}
        }
    }
}
