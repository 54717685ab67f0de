//! A beaker with a weak acid, a burette of strong base, a pH electrode and a stirrer.
//!
//! Charge balance of a monoprotic acid with a strong base (Harris, Quantitative Chemical Analysis,
//! 2010, ch. 11): `[Na+] + [H+] = [OH-] + Ca Ka / (Ka + [H+])`, solved by bisection over pH, which cannot
//! fail: the difference of the two sides falls with pH. What drips in is mixed with a time constant,
//! and the electrode follows with its own; both are much slower when nobody stirs.

use std::collections::BTreeMap;

use crate::config::{Error, PlantConfig};
use crate::plants::{Plant, setting, walk, wired};
use crate::world::{Noise, Placed};

/// Settings: the acid in the beaker, the base in the burette and the volume of the sample.
pub(crate) const SETTINGS: &[&str] = &["acid", "titrant", "sample_volume"];

/// Dissociation constant of acetic acid at 25 degC, and the ion product of water; mol/L.
const KA: f64 = 1.754e-5;
const KW: f64 = 1.008e-14;
/// Mixing and electrode together, stirred and not, s.
const STIRRED_S: f64 = 1.5;
const STILL_S: f64 = 40.0;
/// sd of one reading.
const NOISE_PH: f64 = 0.004;
const STEP_S: f64 = 0.5;

/// The beaker.
#[derive(Debug)]
pub(crate) struct Titration {
    burette: String,
    probe: String,
    stirrer: Option<String>,
    acid_mol_l: f64,
    titrant_mol_l: f64,
    sample_ml: f64,
    dosed_ml: f64,
    shown_ph: f64,
    at: f64,
}

impl Titration {
    pub(crate) fn new(config: &PlantConfig, placed: &[Placed]) -> Result<Titration, Error> {
        let get = |settings: &BTreeMap<String, f64>, name, default, range| {
            setting(settings, name, default, range)
        };
        // mol/m3 are mmol/L.
        let acid_mol_l = get(&config.settings, "acid", 100.0, 1.0..=2_000.0)? / 1e3;
        let titrant_mol_l = get(&config.settings, "titrant", 100.0, 1.0..=2_000.0)? / 1e3;
        let sample_ml = get(&config.settings, "sample_volume", 2e-5, 1e-6..=1e-3)? * 1e6;
        let stirrer = match config.wiring.contains_key("stirrer") {
            true => Some(wired(config, placed, "stirrer")?),
            false => None,
        };
        let mut beaker = Titration {
            burette: wired(config, placed, "burette")?,
            probe: wired(config, placed, "probe")?,
            stirrer,
            acid_mol_l,
            titrant_mol_l,
            sample_ml,
            dosed_ml: 0.0,
            shown_ph: 0.0,
            at: 0.0,
        };
        beaker.shown_ph = beaker.ph();
        Ok(beaker)
    }

    /// pH of the mixture when it is at rest.
    fn ph(&self) -> f64 {
        let total_ml = self.sample_ml + self.dosed_ml;
        let acid = self.acid_mol_l * self.sample_ml / total_ml;
        let base = self.titrant_mol_l * self.dosed_ml / total_ml;
        let excess = |ph: f64| {
            let h = 10f64.powf(-ph);
            base + h - KW / h - acid * KA / (KA + h)
        };
        let (mut low, mut high) = (0.0, 14.0);
        for _ in 0..60 {
            let middle = 0.5 * (low + high);
            if excess(middle) > 0.0 { low = middle } else { high = middle }
        }
        0.5 * (low + high)
    }
}

impl Plant for Titration {
    fn advance(&mut self, now: f64, placed: &mut [Placed]) {
        let mut at = self.at;
        walk(&mut at, now, STEP_S, placed, |flows, dt| {
            self.dosed_ml += flows.ml_s(&self.burette) * dt;
            let stirred = self.stirrer.as_ref().is_none_or(|stirrer| flows.stirs(stirrer));
            let time_s = if stirred { STIRRED_S } else { STILL_S };
            let rest = self.ph();
            self.shown_ph = rest + (self.shown_ph - rest) * (-dt / time_s).exp();
        });
        self.at = at;
    }

    fn reading(&mut self, instrument: &str, mut noise: Noise<'_>) -> Option<f64> {
        (instrument == self.probe).then(|| self.shown_ph + NOISE_PH * noise.normal())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beaker(dosed_ml: f64) -> Titration {
        Titration {
            burette: "b".into(),
            probe: "p".into(),
            stirrer: None,
            acid_mol_l: 0.1,
            titrant_mol_l: 0.1,
            sample_ml: 20.0,
            dosed_ml,
            shown_ph: 0.0,
            at: 0.0,
        }
    }

    #[test]
    fn the_curve_goes_through_the_points_of_the_textbook() {
        // 0.1 M acetic acid: sqrt(Ka C); half-way: pKa; equivalence: 7 + (pKa + log C) / 2; then base.
        let at = |ml: f64| beaker(ml).ph();
        assert!((at(0.0) - 2.88).abs() < 0.01);
        assert!((at(10.0) - 4.756).abs() < 0.005);
        assert!((at(20.0) - 8.73).abs() < 0.01);
        assert!((at(40.0) - (14.0 - 1.477)).abs() < 0.01);
    }
}
