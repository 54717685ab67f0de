//! A signal that has settled.

use super::face::{
    BadSetting, Detector, Evidence, Intake, Kind, Level, Sample, Symptom, positive, seconds,
};

/// Settings of [`Steady`].
#[derive(Clone, Copy, Debug)]
pub struct SteadySettings {
    /// Samples closer than this are averaged to one, s; take two to three times the time over
    /// which the noise is correlated, or a twentieth of the slowest time constant.
    pub interval_s: f64,
    /// Below this ratio the signal may be steady, number; 1 is the mean at steady state.
    pub ratio_steady: f64,
    /// Above this ratio it is not, number.
    pub ratio_moving: f64,
    /// How long the ratio must be low, s.
    pub hold_s: f64,
    /// A gap longer than this starts afresh, s.
    pub gap_s: f64,
}

impl Default for SteadySettings {
    fn default() -> Self {
        Self { interval_s: 1.0, ratio_steady: 1.4, ratio_moving: 2.0, hold_s: 30.0, gap_s: 60.0 }
    }
}

/// Steady state by the ratio of two variances, both by exponential filters.
///
/// One variance is about the filtered mean, one from successive differences; a moving signal
/// raises only the first. Filter weights 0.2, 0.1, 0.1 as the authors advise. [`Level::Present`]
/// means *steady* here. Delay: `hold` plus about ten intervals after the movement has faded into
/// the noise. Used by `settled(...)`.
/// Source: Cao and Rhinehart 1995, J. Process Control 5, 363 (R-statistic); critical values:
/// Cao and Rhinehart 1997, Comput. Chem. Eng. 21, S-1, and Rhinehart 2013, ACC, 4477.
#[derive(Clone, Debug)]
pub struct Steady {
    settings: SteadySettings,
    intake: Intake,
    level: Level,
    elapsed: f64,
    sum: f64,
    count: u32,
    points: u32,
    last: f64,
    mean: f64,
    about_mean: f64,
    differences: f64,
    low_since: Option<u64>,
}

impl Steady {
    /// Weight of the mean filter.
    const MEAN: f64 = 0.2;
    /// Weight of the two variance filters.
    const VARIANCE: f64 = 0.1;
    /// Points before the ratio means anything.
    const START: u32 = 20;

    /// A detector with these settings.
    ///
    /// # Errors
    /// A setting that is not a finite number above zero, or ratios in the wrong order.
    pub fn new(settings: SteadySettings) -> Result<Self, BadSetting> {
        positive("interval", settings.interval_s)?;
        positive("ratio_steady", settings.ratio_steady)?;
        positive("ratio_moving less ratio_steady", settings.ratio_moving - settings.ratio_steady)?;
        positive("gap", settings.gap_s)?;
        Ok(Self {
            settings,
            intake: Intake::default(),
            level: Level::Learning { share: 0.0 },
            elapsed: 0.0,
            sum: 0.0,
            count: 0,
            points: 0,
            last: 0.0,
            mean: 0.0,
            about_mean: 0.0,
            differences: 0.0,
            low_since: None,
        })
    }

    /// Whether the signal is steady; `None` while too little is known.
    #[must_use]
    pub const fn is_steady(&self) -> Option<bool> {
        match self.level {
            Level::Learning { .. } => None,
            Level::Quiet => Some(false),
            Level::Present(_) => Some(true),
        }
    }

    /// The ratio; about 1 at steady state.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        if self.differences > 0.0 {
            (2.0 - Self::MEAN) * self.about_mean / self.differences
        } else if self.about_mean > 0.0 {
            f64::INFINITY
        } else {
            1.0 // Perfectly flat.
        }
    }

    fn restart(&mut self) {
        (self.elapsed, self.sum, self.count, self.points) = (0.0, 0.0, 0, 0);
        self.low_since = None;
        self.level = Level::Learning { share: 0.0 };
    }

    fn point(&mut self, at: u64, value: f64) {
        if self.points == 0 {
            self.mean = value;
            (self.about_mean, self.differences) = (0.0, 0.0);
        } else {
            let off = value - self.mean;
            let step = value - self.last;
            self.about_mean += Self::VARIANCE * (off * off - self.about_mean);
            self.differences += Self::VARIANCE * (step * step - self.differences);
            self.mean += Self::MEAN * off;
        }
        self.last = value;
        self.points = self.points.saturating_add(1);
        if self.points < Self::START {
            self.level = Level::Learning { share: self.points as f32 / Self::START as f32 };
            return;
        }
        let ratio = self.ratio();
        if ratio > self.settings.ratio_moving {
            self.low_since = None;
            self.level = Level::Quiet;
        } else if ratio < self.settings.ratio_steady || self.low_since.is_some() {
            let since = *self.low_since.get_or_insert(at);
            self.level = if seconds(since, at) >= self.settings.hold_s {
                Level::Present(Symptom {
                    kind: Kind::Steady,
                    since,
                    size: ratio,
                    evidence: Evidence::Steady { value: self.mean, ratio },
                })
            } else {
                Level::Quiet
            };
        } else {
            self.level = Level::Quiet;
        }
    }
}

impl Detector for Steady {
    #[inline]
    fn push(&mut self, sample: Sample) -> Level {
        let Some(step) = self.intake.admit(&sample) else { return self.level };
        if step > self.settings.gap_s {
            self.restart();
        }
        self.elapsed += step;
        self.sum += sample.value;
        self.count += 1;
        if self.elapsed >= self.settings.interval_s {
            let mean = self.sum / f64::from(self.count);
            (self.elapsed, self.sum, self.count) = (0.0, 0.0, 0);
            self.point(sample.at, mean);
        }
        self.level
    }

    fn level(&self) -> Level {
        self.level
    }

    fn intake(&self) -> Intake {
        self.intake
    }

    fn moved(&mut self, _at: u64) {
        self.restart();
    }
}
