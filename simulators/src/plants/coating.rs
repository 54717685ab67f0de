//! A spin coater, an arm that carries one substrate, a hot plate and a film meter.
//!
//! Thickness after a spin follows Meyerhofer (J. Appl. Phys. 49, 3993, 1978): proportional to the
//! inverse square root of the speed, reached with a time constant that falls with the speed. A wet film
//! that lies longer than [`OPEN_S`] grows rough for good. On the plate it cures and, slower but with a
//! higher activation energy, degrades: too cold or too short leaves it uncured, too hot destroys it.

use serde_json::{Value as Json, json};

use crate::config::{Error, PlantConfig};
use crate::plants::{Answer, Plant, number, rounded, setting, unknown, walk, wired};
use crate::world::{Effect, Noise, Placed};

/// Settings: thickness at 1000 rpm, and conductivity of a perfect film.
pub(crate) const SETTINGS: &[&str] = &["thickness", "conductivity"];

/// How long a wet film may lie, and how fast it then grows rough, s.
const OPEN_S: f64 = 25.0;
const ROUGH_S: f64 = 30.0;
/// Rates at 120 degC, 1/s, and activation energies, J/mol.
const CURE: (f64, f64) = (1.0 / 120.0, 60e3);
const DAMAGE: (f64, f64) = (1.0 / 9_000.0, 140e3);
const GAS_J_MOL_K: f64 = 8.314;
/// Thinning takes this long at 1000 rpm, s.
const THINNING_S: f64 = 6.0;
/// The arm needs this long for one way, s.
const CARRY_S: f64 = 8.0;
const STEP_S: f64 = 0.5;
const PLACES: [&str; 4] = ["tray", "coater", "plate", "meter"];

/// What the coater is doing: speed, acceleration, and how long it holds the speed.
#[derive(Debug, Clone, Copy)]
struct Spin {
    target_rpm: f64,
    ramp_rpm_s: f64,
    hold_s: f64,
}

/// The line.
#[derive(Debug)]
pub(crate) struct Coating {
    coater: String,
    arm: String,
    plate: String,
    meter: String,
    at_1000_rpm_nm: f64,
    perfect_s_m: f64,
    place: &'static str,
    rpm: f64,
    spin: Option<Spin>,
    film: Film,
    at: f64,
}

/// What lies on the substrate.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Film {
    /// Ink was put on it.
    inked: bool,
    thickness_nm: f64,
    wet_s: f64,
    spun: bool,
    cured: f64,
    damaged: f64,
}

const BARE: Film =
    Film { inked: false, thickness_nm: 0.0, wet_s: 0.0, spun: false, cured: 0.0, damaged: 0.0 };
/// A puddle of ink before it is spun, nm.
const PUDDLE_NM: f64 = 5_000.0;

impl Coating {
    pub(crate) fn new(config: &PlantConfig, placed: &[Placed]) -> Result<Coating, Error> {
        let part = |part| wired(config, placed, part);
        let settings = &config.settings;
        Ok(Coating {
            coater: part("coater")?,
            arm: part("arm")?,
            plate: part("plate")?,
            meter: part("meter")?,
            at_1000_rpm_nm: setting(settings, "thickness", 240e-9, 1e-9..=1e-5)? * 1e9,
            perfect_s_m: setting(settings, "conductivity", 1e5, 1.0..=1e8)?,
            place: "tray",
            rpm: 0.0,
            spin: None,
            film: BARE,
            at: 0.0,
        })
    }

    fn step(&mut self, plate_c: f64, dt: f64) {
        if let Some(spin) = &mut self.spin {
            let change =
                (spin.target_rpm - self.rpm).clamp(-spin.ramp_rpm_s * dt, spin.ramp_rpm_s * dt);
            self.rpm += change;
            if self.rpm >= spin.target_rpm {
                spin.hold_s -= dt;
                // It brakes by itself when the time is over.
                if spin.hold_s <= 0.0 {
                    spin.target_rpm = 0.0;
                }
            }
        }
        let film = &mut self.film;
        if self.place == "coater" && film.inked && self.rpm > 100.0 {
            let rest = self.at_1000_rpm_nm * (1_000.0 / self.rpm).sqrt();
            // Only thinner: a slower spin does not bring ink back.
            let rest = rest.min(film.thickness_nm);
            let time_s = THINNING_S * 1_000.0 / self.rpm;
            film.thickness_nm = rest + (film.thickness_nm - rest) * (-dt / time_s).exp();
            film.spun = true;
        } else if film.spun && self.place == "plate" {
            let rate = |(at_120, energy): (f64, f64)| {
                at_120 * (energy / GAS_J_MOL_K * (1.0 / 393.15 - 1.0 / (plate_c + 273.15))).exp()
            };
            film.cured = 1.0 - (1.0 - film.cured) * (-rate(CURE) * dt).exp();
            film.damaged = 1.0 - (1.0 - film.damaged) * (-rate(DAMAGE) * dt).exp();
        } else if film.spun && film.cured < 0.5 {
            film.wet_s += dt;
        }
    }

    fn conductivity(&self) -> f64 {
        let rough = 1.0 - (-((self.film.wet_s - OPEN_S).max(0.0) / ROUGH_S)).exp();
        let film = &self.film;
        self.perfect_s_m * film.cured.powi(2) * (1.0 - film.damaged) * (1.0 - 0.8 * rough)
    }

    fn spin(&mut self, input: &Json) -> Result<f64, String> {
        let target_rpm = number(input, "speed_rpm", 100.0..=8_000.0)?;
        let ramp_rpm_s = number(input, "ramp_rpm_s", 10.0..=10_000.0)?;
        let hold_s = number(input, "time_s", 1.0..=600.0)?;
        if self.place != "coater" {
            return Err("no substrate on the chuck".into());
        }
        self.spin = Some(Spin { target_rpm, ramp_rpm_s, hold_s });
        Ok(hold_s + 2.0 * target_rpm / ramp_rpm_s + STEP_S)
    }

    fn carry(&mut self, instrument: &str, input: &Json) -> Answer {
        let place = |key: &str| {
            let name = input.get(key).and_then(Json::as_str).unwrap_or_default();
            PLACES.iter().find(|p| **p == name).copied().ok_or(format!("{key} is no place"))
        };
        let (from, to) = (place("from")?, place("to")?);
        if from != self.place {
            return Err(format!("nothing lies at {from}"));
        }
        if from == "coater" && self.rpm > 0.0 {
            return Err("the coater is turning".into());
        }
        if from == "tray" {
            self.film = BARE;
        }
        self.place = to;
        let effect = Effect::new(instrument, "transfer", &[]);
        Ok((json!({"at": to}), Some(effect)))
    }
}

impl Plant for Coating {
    fn advance(&mut self, now: f64, placed: &mut [Placed]) {
        let mut at = self.at;
        walk(&mut at, now, STEP_S, placed, |flows, dt| self.step(flows.celsius(&self.plate), dt));
        self.at = at;
    }

    fn begin(&mut self, instrument: &str, command: &str, input: &Json) -> f64 {
        match command {
            "spin" if instrument == self.coater => self.spin(input).unwrap_or(0.0),
            "transfer" if instrument == self.arm => CARRY_S,
            "measure" if instrument == self.meter => 5.0,
            _ => 0.0,
        }
    }

    fn command(
        &mut self,
        instrument: &str,
        command: &str,
        input: &Json,
        mut noise: Noise<'_>,
    ) -> Answer {
        match command {
            "ink" if instrument == self.coater => {
                let ul = number(input, "volume_ul", 10.0..=1_000.0)?;
                if self.place != "coater" {
                    return Err("no substrate on the chuck".into());
                }
                self.film = Film { inked: true, thickness_nm: PUDDLE_NM, ..BARE };
                Ok((json!({"volume_ul": ul}), Some(Effect::new(instrument, "ink", &[("ul", ul)]))))
            }
            "spin" if instrument == self.coater => {
                let stopped = self.spin.take().is_none();
                self.rpm = 0.0;
                if stopped {
                    return Err("the spin was refused or stopped".into());
                }
                let rpm = number(input, "speed_rpm", 100.0..=8_000.0)?;
                Ok((
                    json!({"speed_rpm": rpm}),
                    Some(Effect::new(instrument, "spin", &[("rpm", rpm)])),
                ))
            }
            "stop" if instrument == self.coater => {
                (self.spin, self.rpm) = (None, 0.0);
                Ok((json!({"speed_rpm": 0}), Some(Effect::new(instrument, "stop", &[]))))
            }
            "transfer" if instrument == self.arm => self.carry(instrument, input),
            "halt" if instrument == self.arm => Ok((json!({"at": self.place}), None)),
            "measure" if instrument == self.meter => {
                if self.place != "meter" {
                    return Err("nothing lies at the meter".into());
                }
                let thickness = self.film.thickness_nm * (1.0 + 0.005 * noise.normal());
                let sheet = 1.0 / (self.conductivity().max(1e-3) * self.film.thickness_nm * 1e-9);
                let sheet = sheet * (1.0 + 0.01 * noise.normal());
                let answer =
                    json!({"thickness_nm": rounded(thickness, 1), "sheet_ohm": rounded(sheet, 3)});
                Ok((answer, None))
            }
            _ => Err(unknown(command)),
        }
    }

    fn state(&self, instrument: &str) -> Option<(f64, Json)> {
        if instrument == self.coater {
            return Some((
                1.0,
                json!({"speed_rpm": self.rpm.round(), "loaded": self.place == "coater"}),
            ));
        }
        (instrument == self.arm).then(|| (5.0, json!({"at": self.place})))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Coating {
        Coating {
            coater: "c".into(),
            arm: "a".into(),
            plate: "p".into(),
            meter: "m".into(),
            at_1000_rpm_nm: 240.0,
            perfect_s_m: 1e5,
            place: "coater",
            rpm: 0.0,
            spin: None,
            film: Film { inked: true, thickness_nm: PUDDLE_NM, ..BARE },
            at: 0.0,
        }
    }

    fn coated(rpm: f64, wait_s: f64, plate_c: f64, anneal_s: f64) -> Coating {
        let mut line = line();
        let input = json!({"speed_rpm": rpm, "ramp_rpm_s": 1000, "time_s": 45});
        let busy = line.spin(&input).unwrap();
        (0..(busy / 0.5) as u32).for_each(|_| line.step(25.0, 0.5));
        assert_eq!(line.rpm, 0.0);
        line.place = "tray";
        (0..(wait_s / 0.5) as u32).for_each(|_| line.step(25.0, 0.5));
        line.place = "plate";
        (0..(anneal_s / 0.5) as u32).for_each(|_| line.step(plate_c, 0.5));
        line
    }

    #[test]
    fn four_times_the_speed_halves_the_film_and_a_late_anneal_spoils_it() {
        assert!((coated(1_000.0, 10.0, 120.0, 300.0).film.thickness_nm - 240.0).abs() < 3.0);
        assert!((coated(4_000.0, 10.0, 120.0, 300.0).film.thickness_nm - 120.0).abs() < 1.0);
        let good = coated(2_000.0, 10.0, 120.0, 600.0).conductivity();
        assert!(coated(2_000.0, 60.0, 120.0, 600.0).conductivity() < 0.6 * good);
        // Too cold, and too hot.
        assert!(coated(2_000.0, 10.0, 90.0, 600.0).conductivity() < 0.8 * good);
        assert!(coated(2_000.0, 10.0, 180.0, 600.0).conductivity() < 0.3 * good);
    }
}
