//! Two sensors that should agree.

use super::face::{
    BadSetting, Evidence, Intake, Kind, Learnt, Level, Sample, Symptom, not_negative, positive,
    seconds,
};

/// Settings of [`Disagreement`].
#[derive(Clone, Copy, Debug)]
pub struct DisagreementSettings {
    /// Largest departure from the usual difference, unit of the signals.
    pub tolerance: f64,
    /// Comparisons to learn the usual difference from; 0: the usual difference is zero.
    pub learn: u32,
    /// How well the times of the samples are known, s: the faster the signal moves, the more it
    /// may differ.
    pub time_s: f64,
    /// The departure must last this long, s.
    pub on_delay_s: f64,
    /// Samples of one sensor further apart than this are not joined by a line, s.
    pub gap_s: f64,
}

/// Two sensors of one quantity that part from each other, at whatever times each is read.
///
/// When one sensor reports, its line between its last two samples is read at the time of the last
/// sample of the other: both values are for one moment and nothing is extrapolated. The usual
/// difference and its scatter are learnt from the first `learn` comparisons and kept (a slow
/// adaptation would learn a failing sensor). Trouble: a difference off the usual one by more than
/// `tolerance` or six scatters, plus what the signal moves in `time_s`, at least three comparisons and `on_delay` long. It returns below
/// two thirds of that. Delay: three comparisons and `on_delay`; a comparison comes with each
/// sample of the slower sensor.
/// Source: dual sensor validation after NAMUR NE 107 and Clarke 1995, Control Eng. Pract. 3, 1375.
#[derive(Clone, Debug)]
pub struct Disagreement {
    settings: DisagreementSettings,
    first: Line,
    second: Line,
    level: Level,
    count: u64,
    mean: f64,
    square: f64,
    off_since: Option<u64>,
    off_count: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Line {
    intake: Intake,
    before: Option<(u64, f64)>,
    last: Option<(u64, f64)>,
    /// Whether the last sample has been compared.
    used: bool,
}

impl Line {
    fn take(&mut self, sample: &Sample) -> bool {
        if self.intake.admit(sample).is_none() {
            return false;
        }
        self.before = self.last;
        self.last = Some((sample.at, sample.value));
        self.used = false;
        true
    }

    /// Change per second between the last two samples, without sign.
    fn speed(&self) -> f64 {
        match (self.before, self.last) {
            (Some((t0, v0)), Some((t1, v1))) if t1 > t0 => (v1 - v0).abs() / seconds(t0, t1),
            _ => 0.0,
        }
    }

    /// The value at `at`, if that lies between the last two samples.
    fn value_at(&self, at: u64, gap_s: f64) -> Option<f64> {
        let (t1, v1) = self.last?;
        if at == t1 {
            return Some(v1);
        }
        let (t0, v0) = self.before?;
        if at < t0 || at > t1 || seconds(t0, t1) > gap_s {
            return None;
        }
        Some(v0 + (v1 - v0) * (seconds(t0, at) / seconds(t0, t1)))
    }
}

impl Disagreement {
    const ROW: u32 = 3;

    /// A detector with these settings.
    ///
    /// # Errors
    /// A tolerance or gap that is not a finite number above zero.
    pub fn new(settings: DisagreementSettings) -> Result<Self, BadSetting> {
        positive("tolerance", settings.tolerance)?;
        positive("gap", settings.gap_s)?;
        not_negative("on_delay", settings.on_delay_s)?;
        not_negative("time", settings.time_s)?;
        Ok(Self {
            settings,
            first: Line::default(),
            second: Line::default(),
            level: Level::Learning { share: 0.0 },
            count: 0,
            mean: 0.0,
            square: 0.0,
            off_since: None,
            off_count: 0,
        })
    }

    /// A sample of the first sensor.
    pub fn first(&mut self, sample: Sample) -> Level {
        if self.first.take(&sample) {
            self.compare();
        }
        self.level
    }

    /// A sample of the second sensor.
    pub fn second(&mut self, sample: Sample) -> Level {
        if self.second.take(&sample) {
            self.compare();
        }
        self.level
    }

    /// The level after the last sample.
    #[must_use]
    pub const fn level(&self) -> Level {
        self.level
    }

    /// What was taken and ignored of each sensor.
    #[must_use]
    pub const fn intake(&self) -> (Intake, Intake) {
        (self.first.intake, self.second.intake)
    }

    fn compare(&mut self) {
        let (Some((t1, v1)), Some((t2, v2))) = (self.first.last, self.second.last) else { return };
        let gap = self.settings.gap_s;
        // The older of the two last samples is the moment to compare at, once.
        let (at, first, second) = if t1 <= t2 {
            if self.first.used {
                return;
            }
            let Some(other) = self.second.value_at(t1, gap) else { return };
            self.first.used = true;
            (t1, v1, other)
        } else {
            if self.second.used {
                return;
            }
            let Some(other) = self.first.value_at(t2, gap) else { return };
            self.second.used = true;
            (t2, other, v2)
        };
        self.judge(at, first, second);
    }

    fn judge(&mut self, at: u64, first: f64, second: f64) {
        let learn = u64::from(self.settings.learn);
        let difference = first - second;
        if self.count < learn {
            self.count += 1;
            let off = difference - self.mean;
            let weight = 1.0 / self.count as f64;
            self.mean += weight * off;
            self.square += weight * (off * (difference - self.mean) - self.square);
            self.level = if self.count < learn {
                Level::Learning { share: self.count as f32 / learn as f32 }
            } else {
                Level::Quiet
            };
            return;
        }
        let moving = self.first.speed().min(self.second.speed()) * self.settings.time_s;
        let allowed = self.settings.tolerance.max(6.0 * self.square.max(0.0).sqrt()) + moving;
        let off = (difference - self.mean).abs();
        if off > allowed {
            let since = *self.off_since.get_or_insert(at);
            self.off_count = self.off_count.saturating_add(1);
            if self.off_count >= Self::ROW && seconds(since, at) >= self.settings.on_delay_s {
                self.level = Level::Present(Symptom {
                    kind: Kind::Disagreement,
                    since,
                    size: off,
                    evidence: Evidence::Disagreement { first, second, usual: self.mean, allowed },
                });
            }
        } else if !self.level.is_present() || off < allowed / 1.5 {
            self.off_since = None;
            self.off_count = 0;
            self.level = Level::Quiet;
        }
    }

    /// `count`: comparisons; `centre` and `spread`: usual difference, unit of the signals.
    #[must_use]
    pub fn learnt(&self) -> Learnt {
        Learnt {
            kind: Kind::Disagreement,
            count: self.count,
            centre: self.mean,
            spread: self.square.max(0.0).sqrt(),
            extra: 0.0,
        }
    }

    /// Takes back what [`Self::learnt`] gave; false if it does not fit.
    pub fn restore(&mut self, learnt: &Learnt) -> bool {
        if !learnt.fits(Kind::Disagreement) {
            return false;
        }
        self.count = learnt.count;
        self.mean = learnt.centre;
        self.square = learnt.spread * learnt.spread;
        true
    }
}
