//! Losses that come with a period.

use super::face::{BadSetting, Evidence, Kind, Level, Symptom, positive, seconds};

/// Settings of [`PeriodicLoss`].
#[derive(Clone, Copy, Debug)]
pub struct PeriodicLossSettings {
    /// Time between two exchanges of the line, s; periods below four of these cannot be told.
    pub poll_s: f64,
    /// Longest period looked for, s.
    pub period_max_s: f64,
    /// Decision limit of the Rayleigh statistic; chance gives it once in `e^limit` trials.
    pub limit: f64,
}

/// Lost messages that keep step with a clock (a pump that switches, a cron job, a lease).
///
/// For 240 trial periods, spaced so that the phase is kept over the memory, each loss is a unit
/// vector at its phase; the vectors fade with a memory of 24 losses. `Z = R^2 / W` (R the length
/// of the sum, W its weight in squares) is Rayleigh's statistic. A period counts when Z passes the
/// limit, it was seen in at least eight different cycles and over half of the cycles lost
/// something (so bursts and multiples of the period do not count).
/// Cost: 240 sines per loss, nothing per good message. Delay: 16 to 20 losses in step, at most 30
/// with a tenth of the period as jitter. It returns when the losses fall out of step, or when none
/// came for eight periods ([`Self::tick`]).
/// Source: Rayleigh 1919, Phil. Mag. 37, 321; Mardia and Jupp, Directional Statistics, 2000, 6.3.
#[derive(Clone, Debug)]
pub struct PeriodicLoss {
    settings: PeriodicLossSettings,
    level: Level,
    trials: Vec<Trial>,
    origin: Option<u64>,
    last: u64,
    losses: u32,
    backwards: u64,
}

#[derive(Clone, Copy, Debug)]
struct Trial {
    period_s: f64,
    cos: f64,
    sin: f64,
    weight: f64,
    squares: f64,
    /// Cycle of the last loss, and fading counts of cycles hit and passed.
    cycle: f64,
    hit: f64,
    passed: f64,
}

impl PeriodicLoss {
    const TRIALS: u32 = 240;
    /// What a loss keeps of its weight with each further loss.
    const KEEP: f64 = 1.0 - 1.0 / 24.0;

    /// A detector with these settings.
    ///
    /// # Errors
    /// A time that is not a finite number above zero, or no room between shortest and longest.
    pub fn new(settings: PeriodicLossSettings) -> Result<Self, BadSetting> {
        positive("poll", settings.poll_s)?;
        positive("limit", settings.limit)?;
        let least = 4.0 * settings.poll_s;
        positive("period_max less four polls", settings.period_max_s - least)?;
        let ratio = (settings.period_max_s / least).powf(1.0 / f64::from(Self::TRIALS - 1));
        let trials = (0..Self::TRIALS)
            .map(|n| Trial {
                period_s: least * ratio.powi(n as i32),
                cos: 0.0,
                sin: 0.0,
                weight: 0.0,
                squares: 0.0,
                cycle: -1.0,
                hit: 0.0,
                passed: 0.0,
            })
            .collect();
        Ok(Self {
            settings,
            level: Level::Quiet,
            trials,
            origin: None,
            last: 0,
            losses: 0,
            backwards: 0,
        })
    }

    /// A message was lost at `at`.
    pub fn lost(&mut self, at: u64) -> Level {
        let origin = *self.origin.get_or_insert(at);
        if at < self.last {
            self.backwards += 1;
            return self.level;
        }
        self.last = at;
        self.losses = self.losses.saturating_add(1);
        let t = seconds(origin, at);
        let mut best: Option<(f64, Trial)> = None;
        for trial in &mut self.trials {
            let turns = t / trial.period_s;
            let (sin, cos) = (turns.fract() * std::f64::consts::TAU).sin_cos();
            trial.cos = trial.cos * Self::KEEP + cos;
            trial.sin = trial.sin * Self::KEEP + sin;
            trial.weight = trial.weight * Self::KEEP + 1.0;
            trial.squares = trial.squares * Self::KEEP * Self::KEEP + 1.0;
            // Whole cycles since the last loss, counted so that jitter cannot split a cycle.
            let ahead = (turns - trial.cycle).round();
            if trial.cycle < 0.0 || ahead >= 1.0 {
                let passed = if trial.cycle < 0.0 { 1.0 } else { ahead };
                trial.hit = trial.hit * Self::KEEP + 1.0;
                trial.passed = trial.passed * Self::KEEP + passed;
                trial.cycle = turns;
            }
            let z = (trial.cos * trial.cos + trial.sin * trial.sin) / trial.squares;
            let sound = trial.hit >= 7.0
                && trial.hit > 0.5 * trial.passed
                && trial.hit > 0.6 * trial.weight;
            if sound && best.is_none_or(|(most, _)| z > most) {
                best = Some((z, *trial));
            }
        }
        let held = self.level.is_present();
        self.level = match best {
            Some((z, trial)) if z > self.settings.limit * if held { 0.7 } else { 1.0 } => {
                let length = trial.cos.hypot(trial.sin);
                Level::Present(Symptom {
                    kind: Kind::PeriodicLoss,
                    since: self.level.symptom().map_or(at, |old| old.since),
                    size: trial.period_s,
                    evidence: Evidence::PeriodicLoss {
                        period_s: trial.period_s,
                        losses: self.losses,
                        coherence: length / trial.weight,
                    },
                })
            }
            _ => Level::Quiet,
        };
        self.level
    }

    /// Time passes without a loss: lets the symptom go when none came for eight periods.
    pub fn tick(&mut self, at: u64) -> Level {
        if let Level::Present(symptom) = self.level
            && seconds(self.last, at) > 8.0 * symptom.size
        {
            self.level = Level::Quiet;
            for trial in &mut self.trials {
                (trial.cos, trial.sin, trial.weight, trial.squares) = (0.0, 0.0, 0.0, 0.0);
                (trial.hit, trial.passed) = (0.0, 0.0);
            }
        }
        self.level
    }

    /// The level after the last loss.
    #[must_use]
    pub const fn level(&self) -> Level {
        self.level
    }

    /// Losses that were earlier than the one before: ignored.
    #[must_use]
    pub const fn backwards(&self) -> u64 {
        self.backwards
    }
}
