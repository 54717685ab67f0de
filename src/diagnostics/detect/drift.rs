//! A slow wander off the learnt course.

use super::face::{
    BadSetting, Detector, Evidence, Intake, Kind, Learnt, Level, Sample, Symptom, not_negative,
    positive, seconds,
};

/// Settings of [`Drift`].
#[derive(Clone, Copy, Debug)]
pub struct DriftSettings {
    /// Samples of this long are averaged to one block, s.
    pub block_s: f64,
    /// Blocks to learn from, number.
    pub learn_blocks: u32,
    /// Time constant of the reference course, blocks.
    pub memory_blocks: f64,
    /// Decision limit of the CUSUM, in standard deviations of a block off its course.
    pub limit: f64,
    /// Slack of the CUSUM, same unit.
    pub slack: f64,
    /// Decision limit of the EWMA, in its own standard deviations.
    pub ewma_limit: f64,
    /// The scatter of a block is taken as at least this share of that of the samples, number.
    /// It sets what drift matters: course errors of a day cycle must stay below it.
    pub share_min: f64,
    /// Smallest departure that matters, unit of the signal.
    pub off_min: f64,
    /// Time left to the signal after a move on purpose, s.
    pub settle_s: f64,
    /// A gap longer than this makes the reference start afresh, s.
    pub gap_s: f64,
}

impl Default for DriftSettings {
    /// Blocks of a minute, an hour of learning, a reference of an hour.
    fn default() -> Self {
        Self {
            block_s: 60.0,
            learn_blocks: 60,
            memory_blocks: 60.0,
            limit: 8.5,
            slack: 0.6,
            ewma_limit: 6.0,
            share_min: 0.25,
            off_min: 0.0,
            settle_s: 300.0,
            gap_s: 900.0,
        }
    }
}

/// A drift: two-sided CUSUM and EWMA on block means off a course that follows level and trend.
///
/// Block means are compared with a reference of level and trend (Holt), so a day cycle, whose trend
/// changes slowly, passes and a trend that begins does not. The scatter of the block means off
/// their course is learnt from the means themselves: batch means carry the autocorrelation of the
/// signal, which a scatter learnt from single samples would miss. While a drift is present the
/// reference stands still, so that it is not learnt away; [`Detector::moved`] accepts a new course.
/// A departure below 0.4 standard deviations of the samples is never reported.
/// Delay at the defaults: 13 to 20 minutes for 3 standard deviations of the samples per hour at
/// one sample a second (lag-1 correlation up to 0.7); three to five blocks for a step of three.
/// After a fresh start (move, gap) 30 blocks pass before anything is judged.
/// Source: Page 1954, Biometrika 41, 100; Roberts 1959, Technometrics 1, 239 (EWMA); Holt 1957,
/// reprinted Int. J. Forecasting 20, 5; batch means: Law, Simulation Modeling and Analysis, 9.5;
/// Runger and Willemain 1995, J. Qual. Technol. 27, 282 (control charts on batch means).
#[derive(Clone, Debug)]
pub struct Drift {
    settings: DriftSettings,
    intake: Intake,
    level: Level,
    elapsed: f64,
    sum: f64,
    squares: f64,
    count: u32,
    course: f64,
    trend: f64,
    /// Blocks in the course since it started afresh.
    course_blocks: u64,
    blocks: u64,
    square: f64,
    /// Usual variance of the samples within a block.
    within: f64,
    up: f64,
    down: f64,
    ewma: f64,
    /// Like `ewma`, of the departure itself, unclipped: what is reported.
    off: f64,
    up_since: u64,
    down_since: u64,
    quiet_until: u64,
}

impl Drift {
    /// Weight of the newest block in the EWMA: mean age four blocks.
    const EWMA_WEIGHT: f64 = 0.2;
    /// Memory of the scatter, blocks.
    const MEMORY: f64 = 1000.0;
    /// Blocks after a fresh start before the course is trusted.
    const START: u64 = 30;

    /// A detector with these settings.
    ///
    /// # Errors
    /// A setting that is not a finite number above zero.
    pub fn new(settings: DriftSettings) -> Result<Self, BadSetting> {
        positive("block", settings.block_s)?;
        positive("memory", settings.memory_blocks)?;
        positive("limit", settings.limit)?;
        positive("slack", settings.slack)?;
        not_negative("share_min", settings.share_min)?;
        not_negative("off_min", settings.off_min)?;
        positive("ewma_limit", settings.ewma_limit)?;
        positive("gap", settings.gap_s)?;
        Ok(Self {
            settings,
            intake: Intake::default(),
            level: Level::Learning { share: 0.0 },
            elapsed: 0.0,
            sum: 0.0,
            squares: 0.0,
            count: 0,
            course: 0.0,
            trend: 0.0,
            course_blocks: 0,
            blocks: 0,
            square: 0.0,
            within: 0.0,
            up: 0.0,
            down: 0.0,
            ewma: 0.0,
            off: 0.0,
            up_since: 0,
            down_since: 0,
            quiet_until: 0,
        })
    }

    fn afresh(&mut self) {
        (self.elapsed, self.sum, self.squares, self.count) = (0.0, 0.0, 0.0, 0);
        self.course_blocks = 0;
        self.trend = 0.0;
        (self.up, self.down, self.ewma, self.off) = (0.0, 0.0, 0.0, 0.0);
        if self.level.is_present() {
            self.level = Level::Quiet;
        }
    }

    fn follow(&mut self, off: f64) {
        self.course_blocks += 1;
        // Least squares of a line while young (gains 4/n and 6/n^2), then a steady memory.
        let n = (self.course_blocks as f64).min(2.0 * self.settings.memory_blocks);
        let level = 2.0 * (2.0 * n - 1.0) / (n * (n + 1.0));
        let trend = 6.0 / (n * (n + 1.0));
        self.course += level * off;
        self.trend += trend * off;
    }

    fn block(&mut self, at: u64, mean: f64, variance: f64) {
        let s = self.settings;
        if self.course_blocks == 0 {
            self.course = mean;
            self.course_blocks = 1;
            return;
        }
        self.course += self.trend;
        let off = mean - self.course;
        let learn = u64::from(s.learn_blocks.max(20));
        if self.course_blocks < Self::START {
            self.follow(off);
            return;
        }
        if self.blocks < learn {
            self.adapt(off, variance);
            self.follow(off);
            let share = self.blocks as f32 / learn as f32;
            self.level = if share < 1.0 { Level::Learning { share } } else { Level::Quiet };
            return;
        }
        let spread = self.square.max(s.share_min * s.share_min * self.within).sqrt();
        if spread <= 0.0 {
            self.adapt(off, variance);
            self.follow(off);
            return;
        }
        let z = (off / spread).clamp(-6.0, 6.0);
        if self.up <= 0.0 {
            self.up_since = at;
        }
        if self.down <= 0.0 {
            self.down_since = at;
        }
        self.up = (self.up + z - s.slack).clamp(0.0, 2.0 * s.limit);
        self.down = (self.down - z - s.slack).clamp(0.0, 2.0 * s.limit);
        self.ewma += Self::EWMA_WEIGHT * (z - self.ewma);
        self.off += Self::EWMA_WEIGHT * (off - self.off);
        let ewma_sd = (Self::EWMA_WEIGHT / (2.0 - Self::EWMA_WEIGHT)).sqrt();
        let strength =
            (self.up.max(self.down) / s.limit).max(self.ewma.abs() / (s.ewma_limit * ewma_sd));
        let size = self.ewma.abs() * spread;
        // A departure below 0.4 of the scatter of the samples is no drift anyone could see.
        let least = s.off_min.max(0.4 * self.within.sqrt());
        if strength > 1.0 && (size >= least || self.level.is_present()) {
            let since = match self.level {
                Level::Present(old) => old.since,
                _ if self.up > self.down => self.up_since,
                _ => self.down_since,
            };
            self.level = Level::Present(Symptom {
                kind: Kind::Drift,
                since,
                size: self.off.abs(),
                evidence: Evidence::Drift { off: self.off, spread, for_s: seconds(since, at) },
            });
        } else if strength < 0.5 {
            self.level = Level::Quiet;
        }
        if self.level.is_present() {
            self.trend *= 0.98; // What is known of the trend fades while it is not followed.
        } else {
            self.adapt(off.clamp(-3.0 * spread, 3.0 * spread), variance);
            self.follow(off.clamp(-6.0 * spread, 6.0 * spread));
        }
    }

    fn adapt(&mut self, off: f64, variance: f64) {
        self.blocks += 1;
        let weight = 1.0 / (self.blocks as f64).min(Self::MEMORY);
        self.square += weight * (off * off - self.square);
        // Clipped: one spike in a block is not its scatter.
        let most = if self.blocks > 10 { 4.0 * self.within } else { f64::MAX };
        self.within += weight * (variance.min(most) - self.within);
    }
}

impl Detector for Drift {
    #[inline]
    fn push(&mut self, sample: Sample) -> Level {
        let Some(step) = self.intake.admit(&sample) else { return self.level };
        if step > self.settings.gap_s {
            self.afresh();
        }
        if sample.at < self.quiet_until {
            return self.level;
        }
        self.elapsed += step;
        // Sums are taken about the course: large values must not drown small scatter.
        let off = sample.value - self.course;
        self.sum += off;
        self.squares += off * off;
        self.count += 1;
        if self.elapsed >= self.settings.block_s {
            let n = f64::from(self.count);
            let off = self.sum / n;
            let variance = (self.squares / n - off * off).max(0.0);
            let mean = self.course + off;
            (self.elapsed, self.sum, self.squares, self.count) = (0.0, 0.0, 0.0, 0);
            self.block(sample.at, mean, variance);
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
        self.afresh();
        self.quiet_until = at.saturating_add((self.settings.settle_s * 1e9) as u64);
    }

    /// `count`: blocks; `spread`: of a block off its course, unit of the signal; `centre`: the
    /// course (shown, not restored: after a restart it starts afresh); `extra`: usual deviation of the
    /// samples within a block. A detector with blocks of another length must not restore it.
    fn learnt(&self) -> Option<Learnt> {
        Some(Learnt {
            kind: Kind::Drift,
            count: self.blocks,
            centre: self.course,
            spread: self.square.sqrt(),
            extra: self.within.sqrt(),
        })
    }

    fn restore(&mut self, learnt: &Learnt) -> bool {
        if !learnt.fits(Kind::Drift) || learnt.extra < 0.0 {
            return false;
        }
        self.within = learnt.extra * learnt.extra;
        self.blocks = learnt.count;
        self.square = learnt.spread * learnt.spread;
        true
    }
}
