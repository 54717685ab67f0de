//! A stirred bioreactor with probes, and a pump that feeds it glucose.
//!
//! Growth after Monod (Annu. Rev. Microbiol. 3, 371, 1949) with a yield and maintenance; what the cells do
//! not get as oxygen, because nobody stirs, slows them down. The analyser shows glucose after a delay.

use serde_json::{Value as Json, json};

use crate::config::{Error, PlantConfig};
use crate::plants::{Answer, Plant, number, rounded, setting, unknown, walk, wired};
use crate::world::{Effect, Noise, Placed};

/// Settings: volume, glucose and biomass at the start, glucose in the feed.
pub(crate) const SETTINGS: &[&str] = &["volume", "glucose", "biomass", "feed"];

/// Fastest growth, 1/s; half of it at this glucose, g/L.
const FASTEST_1_S: f64 = 0.35 / 3_600.0;
const HALF_G_L: f64 = 0.15;
/// Biomass from glucose, g/g, and what each gram needs to live, g/g/s.
const YIELD: f64 = 0.5;
const UPKEEP_1_S: f64 = 0.02 / 3_600.0;
/// Optical density of 1 g/L.
const OD_PER_G_L: f64 = 2.2;
/// Delay of the glucose analyser, s.
const ANALYSER_S: f64 = 120.0;
const STEP_S: f64 = 5.0;
/// Between two states, s.
const EVERY_S: f64 = 30.0;

/// The vessel.
#[derive(Debug)]
pub(crate) struct Culture {
    reactor: String,
    feed: String,
    feed_g_l: f64,
    volume_l: f64,
    /// Masses in the vessel, g.
    biomass_g: f64,
    glucose_g: f64,
    shown_g_l: f64,
    rpm: f64,
    oxygen: f64,
    at: f64,
}

impl Culture {
    pub(crate) fn new(config: &PlantConfig, placed: &[Placed]) -> Result<Culture, Error> {
        let get = |name, default, range| setting(&config.settings, name, default, range);
        // kg/m3 are g/L.
        let volume_l = get("volume", 1e-3, 1e-5..=1.0)? * 1e3;
        let glucose = get("glucose", 5.0, 0.0..=200.0)?;
        Ok(Culture {
            reactor: wired(config, placed, "reactor")?,
            feed: wired(config, placed, "feed")?,
            feed_g_l: get("feed", 400.0, 1.0..=1_000.0)?,
            volume_l,
            biomass_g: get("biomass", 0.2, 1e-3..=100.0)? * volume_l,
            glucose_g: glucose * volume_l,
            shown_g_l: glucose,
            rpm: 0.0,
            oxygen: 1.0,
            at: 0.0,
        })
    }

    fn glucose(&self) -> f64 {
        self.glucose_g / self.volume_l
    }

    fn step(&mut self, feed_ml_s: f64, dt: f64) {
        let fed_l = feed_ml_s * dt / 1e3;
        self.volume_l += fed_l;
        self.glucose_g += fed_l * self.feed_g_l;
        let share = self.glucose() / (HALF_G_L + self.glucose());
        // Stirring carries in what the cells breathe; at rest the surface gives a tenth.
        let supply = 0.1 + (self.rpm / 400.0).powf(1.2);
        let density = self.biomass_g / self.volume_l;
        let demand = density * share / 12.0;
        self.oxygen = (1.0 - demand / supply).clamp(0.0, 1.0);
        let breath = if demand > supply { supply / demand } else { 1.0 };
        let grown = FASTEST_1_S * share * breath * self.biomass_g * dt;
        let eaten = grown / YIELD + UPKEEP_1_S * share * self.biomass_g * dt;
        let part = if eaten > self.glucose_g { self.glucose_g / eaten } else { 1.0 };
        self.biomass_g += grown * part;
        self.glucose_g = (self.glucose_g - eaten * part).max(0.0);
        let now = self.glucose();
        self.shown_g_l = now + (self.shown_g_l - now) * (-dt / ANALYSER_S).exp();
    }

    fn shown(&self) -> Json {
        json!({
            "od": rounded(OD_PER_G_L * self.biomass_g / self.volume_l, 3),
            "glucose_g_l": rounded(self.shown_g_l, 3),
            "oxygen_percent": rounded(100.0 * self.oxygen, 1),
            "volume_ml": rounded(self.volume_l * 1e3, 2),
            "temperature_c": 37.0,
            "stirring_rpm": self.rpm,
        })
    }
}

impl Plant for Culture {
    fn advance(&mut self, now: f64, placed: &mut [Placed]) {
        let mut at = self.at;
        walk(&mut at, now, STEP_S, placed, |flows, dt| self.step(flows.ml_s(&self.feed), dt));
        self.at = at;
    }

    fn command(&mut self, instrument: &str, command: &str, input: &Json, _: Noise<'_>) -> Answer {
        if instrument != self.reactor {
            return Err(unknown(command));
        }
        self.rpm = match command {
            "stir" => number(input, "speed_rpm", 50.0..=1_200.0)?,
            "stop" => 0.0,
            "read" => return Ok((self.shown(), None)),
            _ => return Err(unknown(command)),
        };
        Ok((self.shown(), Some(Effect::new(instrument, "stir", &[("rpm", self.rpm)]))))
    }

    fn state(&self, instrument: &str) -> Option<(f64, Json)> {
        (instrument == self.reactor).then(|| (EVERY_S, self.shown()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vessel(rpm: f64) -> Culture {
        Culture {
            reactor: "r".into(),
            feed: "f".into(),
            feed_g_l: 400.0,
            volume_l: 1.0,
            biomass_g: 0.2,
            glucose_g: 5.0,
            shown_g_l: 5.0,
            rpm,
            oxygen: 1.0,
            at: 0.0,
        }
    }

    #[test]
    fn cells_grow_at_their_fastest_until_the_glucose_is_gone() {
        let mut fed = vessel(600.0);
        (0..720).for_each(|_| fed.step(0.0, 5.0));
        let rate = (fed.biomass_g / 0.2).ln(); // in one hour
        assert!((0.32..0.35).contains(&rate), "{rate}");
        (0..7_200).for_each(|_| fed.step(0.0, 5.0));
        assert!(fed.glucose() < 0.01);
        let made = (fed.biomass_g - 0.2) / 5.0;
        assert!((0.45..0.5).contains(&made), "{made}");
        // 10 mL of feed bring 4 g.
        (0..120).for_each(|_| fed.step(1.0 / 60.0, 5.0));
        assert!((fed.volume_l - 1.01).abs() < 1e-9);
        assert!(fed.shown_g_l > 0.5);
    }

    #[test]
    fn without_stirring_a_dense_culture_starves_for_air() {
        let grown = |rpm| {
            let mut vessel = Culture { biomass_g: 5.0, glucose_g: 50.0, ..vessel(rpm) };
            (0..720).for_each(|_| vessel.step(0.0, 5.0));
            vessel.biomass_g - 5.0
        };
        assert!(grown(0.0) < 0.5 * grown(600.0));
    }
}
