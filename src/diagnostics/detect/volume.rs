//! What was pumped against what was weighed.

use super::face::{
    BadSetting, Evidence, Intake, Kind, Level, Sample, Symptom, not_negative, positive,
};

/// Settings of [`VolumeBalance`]. Volumes in mL, masses in g.
#[derive(Clone, Copy, Debug)]
pub struct VolumeSettings {
    /// Density of the liquid, g/mL.
    pub density: f64,
    /// Relative standard uncertainty of the density, number.
    pub density_uncertainty: f64,
    /// Relative standard uncertainty of what a pump says it pumped, number.
    pub pump_uncertainty: f64,
    /// Standard uncertainty of the pump that does not grow with the volume (backlash), mL.
    pub pump_offset: f64,
    /// Standard uncertainty of one weighing, g.
    pub weighing: f64,
    /// Most that may evaporate, mL/s.
    pub evaporation_max: f64,
    /// Most that is on the way between pump and balance (drops, tubing that fills), mL.
    pub underway_max: f64,
    /// A gap in either signal longer than this makes the balance start afresh, s.
    pub gap_s: f64,
}

/// A volume balance from the start of a delivery ([`Self::start`]).
///
/// The rate is integrated by trapezoids between its samples (an announced stop counts at once);
/// the mass on the balance, less its value at the start, over the density is what arrived. The
/// difference may lie between minus the evaporation and what is underway, and zero; beyond that it
/// must be larger than four combined standard uncertainties, three weighings in a row.
/// Delay: three weighings after the missing volume has passed four uncertainties:
/// at rate q about `4 u / q`.
/// Source: mass balance test, Crowe 1996, J. Process Control 6, 89; uncertainty: JCGM 100:2008, 5.1.
#[derive(Clone, Debug)]
pub struct VolumeBalance {
    settings: VolumeSettings,
    level: Level,
    rate_intake: Intake,
    mass_intake: Intake,
    rate: Option<f64>,
    pumped: f64,
    first_mass: Option<f64>,
    elapsed: f64,
    row: u32,
    row_since: u64,
}

impl VolumeBalance {
    const ROW: u32 = 3;

    /// A balance with these settings.
    ///
    /// # Errors
    /// A setting that is not a finite number, above zero or at least zero as its nature demands.
    pub fn new(settings: VolumeSettings) -> Result<Self, BadSetting> {
        positive("density", settings.density)?;
        positive("weighing", settings.weighing)?;
        positive("gap", settings.gap_s)?;
        not_negative("density_uncertainty", settings.density_uncertainty)?;
        not_negative("pump_uncertainty", settings.pump_uncertainty)?;
        not_negative("pump_offset", settings.pump_offset)?;
        not_negative("evaporation_max", settings.evaporation_max)?;
        not_negative("underway_max", settings.underway_max)?;
        Ok(Self {
            settings,
            level: Level::Quiet,
            rate_intake: Intake::default(),
            mass_intake: Intake::default(),
            rate: None,
            pumped: 0.0,
            first_mass: None,
            elapsed: 0.0,
            row: 0,
            row_since: 0,
        })
    }

    /// A delivery begins: both sides count from zero (also after a tare or a change of vessel).
    pub fn start(&mut self) {
        self.pumped = 0.0;
        self.first_mass = None;
        self.elapsed = 0.0;
        self.row = 0;
        self.level = Level::Quiet;
    }

    /// The rate of the pump now, mL/s; negative when it draws from the vessel on the balance.
    pub fn rate(&mut self, sample: Sample) -> Level {
        let Some(step) = self.rate_intake.admit(&sample) else { return self.level };
        if step > self.settings.gap_s {
            self.start();
        } else if let Some(before) = self.rate
            && self.first_mass.is_some()
        {
            // Where the rate steps to or from zero the trapezoid would invent half a step.
            let mean = if before == 0.0 || sample.value == 0.0 {
                before
            } else {
                0.5 * (before + sample.value)
            };
            self.pumped += mean * step;
        }
        self.rate = Some(sample.value);
        self.level
    }

    /// The mass on the balance, g.
    pub fn mass(&mut self, sample: Sample) -> Level {
        let Some(step) = self.mass_intake.admit(&sample) else { return self.level };
        if step > self.settings.gap_s {
            self.start();
        }
        let Some(first) = self.first_mass else {
            self.first_mass = Some(sample.value);
            return self.level;
        };
        self.elapsed += step;
        let s = &self.settings;
        let weighed = (sample.value - first) / s.density;
        let evaporation = s.evaporation_max * self.elapsed;
        let missing = self.pumped - weighed;
        let allowed = evaporation + s.underway_max;
        let over = if missing < 0.0 { -missing } else { (missing - allowed).max(0.0) };
        let uncertainty = [
            s.pump_uncertainty * self.pumped,
            s.pump_offset,
            s.density_uncertainty * weighed,
            std::f64::consts::SQRT_2 * s.weighing / s.density,
        ]
        .iter()
        .fold(0.0f64, |sum, part| part.mul_add(*part, sum))
        .sqrt();
        if over > 4.0 * uncertainty {
            if self.row == 0 {
                self.row_since = sample.at;
            }
            self.row = self.row.saturating_add(1);
            if self.row >= Self::ROW {
                self.level = Level::Present(Symptom {
                    kind: Kind::VolumeBalance,
                    since: self.row_since,
                    size: missing.abs(),
                    evidence: Evidence::Volume {
                        pumped: self.pumped,
                        weighed,
                        uncertainty,
                        evaporation,
                    },
                });
            }
        } else {
            self.row = 0;
            if over < 2.0 * uncertainty {
                self.level = Level::Quiet;
            }
        }
        self.level
    }

    /// Volume pumped since the start, mL.
    #[must_use]
    pub const fn pumped(&self) -> f64 {
        self.pumped
    }

    /// The level after the last sample.
    #[must_use]
    pub const fn level(&self) -> Level {
        self.level
    }

    /// What was taken and ignored of the rate and of the mass.
    #[must_use]
    pub const fn intake(&self) -> (Intake, Intake) {
        (self.rate_intake, self.mass_intake)
    }
}
