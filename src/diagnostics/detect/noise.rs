//! Noise that grew or vanished.

use super::face::{
    BadSetting, Detector, Evidence, Intake, Kind, Learnt, Level, Sample, Symptom, positive,
};

/// Settings of [`Noise`].
#[derive(Clone, Copy, Debug)]
pub struct NoiseSettings {
    /// Blocks of 32 samples to learn from, number.
    pub learn_blocks: u32,
    /// Decision limit of the CUSUM, in standard deviations of the log variance of a block.
    pub limit: f64,
    /// Slack of the CUSUM, same unit; half the change that should be found soonest.
    pub slack: f64,
    /// The standard deviation must change by at least this factor to matter, number above 1.
    pub ratio_min: f64,
    /// Time left to the signal after a move on purpose, s.
    pub settle_s: f64,
    /// A gap longer than this starts a new block, s.
    pub gap_s: f64,
}

impl Default for NoiseSettings {
    fn default() -> Self {
        Self {
            learn_blocks: 60,
            limit: 8.0,
            slack: 1.0,
            ratio_min: 1.3,
            settle_s: 60.0,
            gap_s: 60.0,
        }
    }
}

/// A change of noise: two-sided CUSUM on the log variance of second differences.
///
/// Second differences remove level and ramp; each is clipped at five usual deviations so that a
/// spike is no noise; 32 of them make a block. `ln(mean square)` of a block is nearly normal; its
/// own mean and spread are learnt from the signal (so autocorrelation and quantisation are in it)
/// and adapt slowly while quiet. Delay: two to seven blocks (64 to 200 samples) for noise
/// doubled, two for five times; four to fourteen blocks for noise halved, two to seven for a fifth. Signals without any noise (all differences zero) are not watched.
/// Source: Page 1954, Biometrika 41, 100; Chang and Gan 1995, J. Qual. Technol. 27, 109 (CUSUM of
/// log variance); von Neumann 1941, Ann. Math. Stat. 12, 367 (differences).
#[derive(Clone, Debug)]
pub struct Noise {
    settings: NoiseSettings,
    intake: Intake,
    level: Level,
    last: [f64; 2],
    held: u32,
    sum: f64,
    count: u32,
    usual: f64,
    blocks: u64,
    mean: f64,
    square: f64,
    up: f64,
    down: f64,
    recent: f64,
    began: u64,
    quiet_until: u64,
}

impl Noise {
    const BLOCK: u32 = 32;
    /// Memory of the learning, blocks.
    const MEMORY: f64 = 500.0;
    /// Spread of the log variance of 32 normal second differences: it can hardly be less.
    const SPREAD_MIN: f64 = 0.33;

    /// A detector with these settings.
    ///
    /// # Errors
    /// A setting that is not a finite number above zero.
    pub fn new(settings: NoiseSettings) -> Result<Self, BadSetting> {
        positive("limit", settings.limit)?;
        positive("slack", settings.slack)?;
        positive("ratio_min", settings.ratio_min - 1.0)?;
        positive("gap", settings.gap_s)?;
        Ok(Self {
            settings,
            intake: Intake::default(),
            level: Level::Learning { share: 0.0 },
            last: [0.0; 2],
            held: 0,
            sum: 0.0,
            count: 0,
            usual: 0.0,
            blocks: 0,
            mean: 0.0,
            square: 0.0,
            up: 0.0,
            down: 0.0,
            recent: 0.0,
            began: 0,
            quiet_until: 0,
        })
    }

    fn spread(&self) -> f64 {
        self.square.max(0.0).sqrt().max(Self::SPREAD_MIN)
    }

    fn block(&mut self, at: u64) {
        let power = self.sum / f64::from(Self::BLOCK);
        if self.usual <= 0.0 {
            self.usual = power.sqrt();
        }
        if self.usual <= 0.0 {
            return; // No noise at all: nothing to compare with.
        }
        // A floor of a tenth of the usual power keeps quantised signals from minus infinity.
        let log = (power + 0.05 * self.usual * self.usual).ln();
        let learn = u64::from(self.settings.learn_blocks.max(8));
        if self.blocks < learn {
            self.adapt(log, power);
            let share = self.blocks as f32 / learn as f32;
            self.level = if share < 1.0 { Level::Learning { share } } else { Level::Quiet };
            return;
        }
        let spread = self.spread();
        let z = (log - self.mean) / spread;
        let s = self.settings;
        if self.up <= 0.0 && self.down <= 0.0 {
            self.began = at;
        }
        // The sums are bounded, so that a long fault is followed by a prompt return.
        self.up = (self.up + z - s.slack).clamp(0.0, 2.0 * s.limit);
        self.down = (self.down - z - s.slack).clamp(0.0, 2.0 * s.limit);
        self.recent += 0.5 * (log - self.mean - self.recent);
        let ratio = (0.5 * self.recent).exp();
        let grown = self.up > s.limit && ratio > s.ratio_min;
        let fallen = self.down > s.limit && ratio < 1.0 / s.ratio_min;
        if grown || fallen {
            let since = self.level.symptom().map_or(self.began, |symptom| symptom.since);
            self.level = Level::Present(Symptom {
                kind: Kind::Noise,
                since,
                size: ratio,
                evidence: Evidence::Noise { ratio, usual_sd: self.usual / 6.0f64.sqrt() },
            });
        } else if self.up < s.limit && self.down < s.limit {
            self.level = Level::Quiet;
            if self.up < 0.5 * s.limit && self.down < 0.5 * s.limit {
                self.adapt(self.mean + z.clamp(-3.0, 3.0) * spread, power);
            }
        }
    }

    fn adapt(&mut self, log: f64, power: f64) {
        self.blocks += 1;
        let weight = 1.0 / (self.blocks as f64).min(Self::MEMORY);
        let off = log - self.mean;
        self.mean += weight * off;
        self.square += weight * (off * (log - self.mean) - self.square);
        let usual = self.usual * self.usual;
        let power = power.min(4.0 * usual);
        self.usual = (usual + weight.min(0.2) * (power - usual)).sqrt();
    }
}

impl Detector for Noise {
    #[inline]
    fn push(&mut self, sample: Sample) -> Level {
        let Some(step) = self.intake.admit(&sample) else { return self.level };
        if step > self.settings.gap_s || sample.at < self.quiet_until {
            (self.held, self.count, self.sum) = (0, 0, 0.0);
            return self.level;
        }
        let [before, last] = self.last;
        self.last = [last, sample.value];
        if self.held < 2 {
            self.held += 1;
            return self.level;
        }
        let mut second = (sample.value - 2.0 * last + before).abs();
        if self.blocks > 2 {
            second = second.min(5.0 * self.usual);
        }
        self.sum += second * second;
        self.count += 1;
        if self.count == Self::BLOCK {
            self.block(sample.at);
            (self.count, self.sum) = (0, 0.0);
        }
        self.level
    }

    fn level(&self) -> Level {
        self.level
    }

    fn intake(&self) -> Intake {
        self.intake
    }

    fn moved(&mut self, at: u64) {
        self.quiet_until = at.saturating_add((self.settings.settle_s * 1e9) as u64);
    }

    /// `count`: blocks; `centre` and `spread`: log variance of a block; `extra`: usual second
    /// difference, unit of the signal.
    fn learnt(&self) -> Option<Learnt> {
        Some(Learnt {
            kind: Kind::Noise,
            count: self.blocks,
            centre: self.mean,
            spread: self.square.max(0.0).sqrt(),
            extra: self.usual,
        })
    }

    fn restore(&mut self, learnt: &Learnt) -> bool {
        if !learnt.fits(Kind::Noise) || learnt.extra < 0.0 {
            return false;
        }
        self.blocks = learnt.count;
        self.mean = learnt.centre;
        self.square = learnt.spread * learnt.spread;
        self.usual = learnt.extra;
        true
    }
}
