//! A lithium cell on a cycler: an equivalent circuit behind constant current and constant voltage.
//!
//! Open-circuit voltage over state of charge, a series resistance, and one resistance with a
//! capacitance beside it (Plett, Battery Management Systems I, 2015, ch. 2). Each full cycle takes a
//! small part of the capacity away. The cycler ends a charge and a discharge by itself, as they do.

use serde_json::{Value as Json, json};

use crate::config::{Error, PlantConfig};
use crate::plants::{Answer, Plant, number, rounded, setting, unknown, walk, wired};
use crate::world::{Effect, Noise, Placed};

/// Settings: charge between the two voltages at rest, and the part of it that a full cycle takes away.
pub(crate) const SETTINGS: &[&str] = &["capacity", "fade"];

const SERIES_OHM: f64 = 0.030;
const PAIR_OHM: f64 = 0.015;
const PAIR_S: f64 = 40.0;
/// Voltages no cycler leaves with this cell, V.
const LIMITS_V: std::ops::RangeInclusive<f64> = 2.5..=4.25;
const STEP_S: f64 = 1.0;
/// Between two states, s.
const EVERY_S: f64 = 5.0;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Mode {
    Rest,
    Charge { amps: f64, volts: f64, cutoff_amps: f64 },
    Discharge { amps: f64, volts: f64 },
}

/// The cell and what holds it.
#[derive(Debug)]
pub(crate) struct Battery {
    cycler: String,
    capacity_as: f64,
    fade: f64,
    /// State of charge, 0 to 1.
    soc: f64,
    pair_v: f64,
    mode: Mode,
    amps: f64,
    /// Charge that went through since the last command, A s.
    moved_as: f64,
    at: f64,
}

/// Voltage at rest: 3.0 V when empty, 4.2 V when full.
fn rest_v(soc: f64) -> f64 {
    3.0 + 0.55 * (1.0 - (-20.0 * soc).exp()) + 0.45 * soc + 0.20 * soc.powi(8)
}

impl Battery {
    pub(crate) fn new(config: &PlantConfig, placed: &[Placed]) -> Result<Battery, Error> {
        Ok(Battery {
            cycler: wired(config, placed, "cycler")?,
            capacity_as: setting(&config.settings, "capacity", 3_600.0, 3.6..=3.6e6)?,
            fade: setting(&config.settings, "fade", 5e-4, 0.0..=0.1)?,
            soc: 0.3,
            pair_v: 0.0,
            mode: Mode::Rest,
            amps: 0.0,
            moved_as: 0.0,
            at: 0.0,
        })
    }

    /// At the terminals, with a current that charges when positive.
    fn volts(&self, amps: f64) -> f64 {
        rest_v(self.soc) + self.pair_v + amps * SERIES_OHM
    }

    fn step(&mut self, dt: f64) {
        self.amps = match self.mode {
            Mode::Rest => 0.0,
            Mode::Charge { amps, volts, .. } => {
                let held = (volts - rest_v(self.soc) - self.pair_v) / SERIES_OHM;
                held.min(amps).max(0.0)
            }
            Mode::Discharge { amps, .. } => -amps,
        };
        let moved = self.amps * dt;
        self.soc += moved / self.capacity_as;
        self.moved_as += moved.abs();
        // Half of a cycle's loss in each direction.
        self.capacity_as *= 1.0 - 0.5 * self.fade * moved.abs() / self.capacity_as;
        let target = self.amps * PAIR_OHM;
        self.pair_v = target + (self.pair_v - target) * (-dt / PAIR_S).exp();
        let over = match self.mode {
            Mode::Rest => false,
            Mode::Charge { amps, cutoff_amps, .. } => self.amps < amps && self.amps <= cutoff_amps,
            Mode::Discharge { volts, .. } => self.volts(self.amps) <= volts,
        };
        if over || self.soc < -0.05 {
            (self.mode, self.amps) = (Mode::Rest, 0.0);
        }
    }

    /// The same command again leaves a step that is under way alone.
    fn set(&mut self, mode: Mode) {
        if self.mode != mode {
            (self.mode, self.moved_as) = (mode, 0.0);
        }
    }

    fn shown(&self) -> Json {
        let mode = match self.mode {
            Mode::Rest => "rest",
            Mode::Charge { .. } => "charge",
            Mode::Discharge { .. } => "discharge",
        };
        json!({
            "mode": mode,
            "voltage_v": rounded(self.volts(self.amps), 4),
            "current_a": rounded(self.amps, 4),
            "charge_ah": rounded(self.moved_as / 3_600.0, 6),
        })
    }
}

impl Plant for Battery {
    fn advance(&mut self, now: f64, placed: &mut [Placed]) {
        let mut at = self.at;
        walk(&mut at, now, STEP_S, placed, |_, dt| self.step(dt));
        self.at = at;
    }

    fn command(&mut self, instrument: &str, command: &str, input: &Json, _: Noise<'_>) -> Answer {
        if instrument != self.cycler {
            return Err(unknown(command));
        }
        let effect = |name, amps| Some(Effect::new(instrument, name, &[("amps", amps)]));
        let done = match command {
            "charge" => {
                let amps = number(input, "current_a", 0.001..=100.0)?;
                let volts = number(input, "voltage_v", LIMITS_V)?;
                let cutoff_amps = number(input, "cutoff_a", 0.0..=amps)?;
                self.set(Mode::Charge { amps, volts, cutoff_amps });
                effect("charge", amps)
            }
            "discharge" => {
                let amps = number(input, "current_a", 0.001..=100.0)?;
                let volts = number(input, "cutoff_v", LIMITS_V)?;
                self.set(Mode::Discharge { amps, volts });
                effect("discharge", amps)
            }
            // What went through stays on display.
            "rest" => {
                (self.mode, self.amps) = (Mode::Rest, 0.0);
                effect("rest", 0.0)
            }
            "read" => None,
            _ => return Err(unknown(command)),
        };
        Ok((self.shown(), done))
    }

    fn state(&self, instrument: &str) -> Option<(f64, Json)> {
        (instrument == self.cycler).then(|| (EVERY_S, self.shown()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_discharge_gives_the_capacity_and_a_fast_one_less() {
        let mut cell = Battery {
            cycler: "c".into(),
            capacity_as: 3_600.0,
            fade: 0.0,
            soc: 0.3,
            pair_v: 0.0,
            mode: Mode::Rest,
            amps: 0.0,
            moved_as: 0.0,
            at: 0.0,
        };
        let mut run = |mode: Mode| {
            cell.set(mode);
            let mut seconds = 0;
            while cell.mode != Mode::Rest {
                cell.step(1.0);
                seconds += 1;
                assert!(seconds < 100_000);
                assert!((2.9..4.21).contains(&cell.volts(cell.amps)));
            }
            cell.moved_as / 3_600.0
        };
        run(Mode::Charge { amps: 1.0, volts: 4.2, cutoff_amps: 0.02 });
        let slow = run(Mode::Discharge { amps: 0.2, volts: 3.0 });
        assert!((slow - 1.0).abs() < 0.01, "{slow}");
        let charged = run(Mode::Charge { amps: 0.5, volts: 4.2, cutoff_amps: 0.02 });
        assert!((charged - slow).abs() < 0.01, "{charged}");
        let fast = run(Mode::Discharge { amps: 3.0, volts: 3.0 });
        assert!(fast < 0.995 * slow, "{fast}");
    }
}
