//! The health of a line: failed exchanges and slow replies.

use super::face::{
    BadSetting, Detector, Evidence, Intake, Kind, Learnt, Level, Sample, Symptom, positive,
};

/// Settings of [`ErrorRate`].
#[derive(Clone, Copy, Debug)]
pub struct ErrorRateSettings {
    /// Exchanges to learn from, number.
    pub learn: u32,
    /// How many times the usual share of failures should be found soonest, number above 1.
    pub ratio: f64,
    /// At least this share of failures should be found soonest (0 to 1).
    pub share_min: f64,
    /// Decision limit: logarithm of the odds; false alarms come about once in `e^limit` exchanges.
    pub limit: f64,
}

impl Default for ErrorRateSettings {
    fn default() -> Self {
        Self { learn: 300, ratio: 5.0, share_min: 0.05, limit: 17.0 }
    }
}

/// More failed exchanges than usual (checksum, timeout: one detector for each cause and line).
///
/// A Bernoulli CUSUM: a chain of sequential probability ratio tests of the usual share `p0`
/// against `p1 = max(ratio p0, share_min)`. `p0` is learnt, never below 1 in 1000, and adapts over
/// 10^5 exchanges while quiet. Failures in a row whose chance is below 10^-9 count as well, at
/// least three. Delay: three exchanges for a dead line that used to be clean; about 60 exchanges
/// for 10 % failures. It returns after 50 to 150 good exchanges.
/// Source: Wald 1947, Sequential Analysis; Reynolds and Stoumbos 1999, J. Qual. Technol. 31, 87.
#[derive(Clone, Debug)]
pub struct ErrorRate {
    settings: ErrorRateSettings,
    level: Level,
    seen: u64,
    usual: f64,
    recent: f64,
    sum: f64,
    since: u64,
    row: u32,
    row_since: u64,
    row_limit: u32,
    on_fail: f64,
    on_good: f64,
}

impl ErrorRate {
    const SHARE_FLOOR: f64 = 1e-3;
    const MEMORY: f64 = 1e5;

    /// A detector with these settings.
    ///
    /// # Errors
    /// A ratio not above one, a share outside 0 to 1, a limit not above zero.
    pub fn new(settings: ErrorRateSettings) -> Result<Self, BadSetting> {
        positive("ratio less one", settings.ratio - 1.0)?;
        positive("limit", settings.limit)?;
        positive("share_min", settings.share_min)?;
        positive("one less share_min", 1.0 - settings.share_min)?;
        let mut new = Self {
            settings,
            level: Level::Learning { share: 0.0 },
            seen: 0,
            usual: 0.0,
            recent: 0.0,
            sum: 0.0,
            since: 0,
            row: 0,
            row_since: 0,
            row_limit: 3,
            on_fail: 0.0,
            on_good: 0.0,
        };
        new.weigh();
        Ok(new)
    }

    /// Sets the steps of the test from the usual share.
    fn weigh(&mut self) {
        let p0 = self.usual.clamp(Self::SHARE_FLOOR, 0.5);
        let p1 = (self.settings.ratio * p0).max(self.settings.share_min).min(0.5 + 0.5 * p0);
        self.on_fail = (p1 / p0).ln();
        self.on_good = ((1.0 - p1) / (1.0 - p0)).ln();
        self.row_limit = ((1e-9f64.ln() / p0.ln()).ceil() as u32).max(3);
    }

    /// One exchange at `at`: `failed` or not.
    pub fn exchange(&mut self, at: u64, failed: bool) -> Level {
        let learn = u64::from(self.settings.learn.max(1));
        let x = f64::from(u8::from(failed));
        self.recent += 0.05 * (x - self.recent);
        if failed {
            if self.row == 0 {
                self.row_since = at;
            }
            self.row = self.row.saturating_add(1);
        } else {
            self.row = 0;
        }
        // A dead line is found while learning, too.
        let dead = self.row >= self.row_limit;
        if self.seen < learn {
            if !dead {
                self.learn(x);
            }
        } else {
            if self.sum <= 0.0 {
                self.since = at;
            }
            let step = if failed { self.on_fail } else { self.on_good };
            self.sum = (self.sum + step).clamp(0.0, 1.5 * self.settings.limit);
            if self.sum < 0.5 * self.settings.limit {
                self.learn(x);
            }
        }
        let over = self.sum > self.settings.limit
            || (self.level.is_present() && self.sum > 0.5 * self.settings.limit);
        self.level = if dead || over {
            let since = match self.level {
                Level::Present(old) => old.since,
                _ if over => self.since,
                _ => self.row_since,
            };
            Level::Present(Symptom {
                kind: Kind::ErrorRate,
                since,
                size: self.recent,
                evidence: Evidence::ErrorRate {
                    recent: self.recent,
                    usual: self.usual,
                    in_a_row: self.row,
                },
            })
        } else if self.seen < learn {
            Level::Learning { share: self.seen as f32 / learn as f32 }
        } else {
            Level::Quiet
        };
        self.level
    }

    fn learn(&mut self, x: f64) {
        self.seen += 1;
        self.usual += (x - self.usual) / (self.seen as f64).min(Self::MEMORY);
        if self.seen.is_multiple_of(64) {
            self.weigh();
        }
    }

    /// The level after the last exchange.
    #[must_use]
    pub const fn level(&self) -> Level {
        self.level
    }

    /// `count`: exchanges; `centre`: usual share of failures.
    #[must_use]
    pub const fn learnt(&self) -> Learnt {
        Learnt {
            kind: Kind::ErrorRate,
            count: self.seen,
            centre: self.usual,
            spread: 0.0,
            extra: 0.0,
        }
    }

    /// Takes back what [`Self::learnt`] gave; false if it does not fit.
    pub fn restore(&mut self, learnt: &Learnt) -> bool {
        if !learnt.fits(Kind::ErrorRate) || !(0.0..=1.0).contains(&learnt.centre) {
            return false;
        }
        self.seen = learnt.count;
        self.usual = learnt.centre;
        self.weigh();
        true
    }
}

/// Settings of [`ReplyTime`].
#[derive(Clone, Copy, Debug)]
pub struct ReplyTimeSettings {
    /// Replies to learn from, number.
    pub learn: u32,
    /// The reply time must grow by at least this factor to matter, number above 1.
    pub ratio_min: f64,
    /// Decision limit of the CUSUM, in usual deviations of the log reply time.
    pub limit: f64,
    /// Slack of the CUSUM, same unit.
    pub slack: f64,
}

impl Default for ReplyTimeSettings {
    fn default() -> Self {
        Self { learn: 300, ratio_min: 1.5, limit: 20.0, slack: 1.0 }
    }
}

/// Replies that become slower than the line's own past.
///
/// One-sided CUSUM on the logarithm of the reply time, each step clipped at three deviations so
/// that one slow reply is no growth; together with a recent mean at least `ratio_min` times the
/// usual. Centre and mean deviation of the logarithm are learnt with clipped steps and adapt over
/// 10^4 replies while quiet. Delay: ten replies when they are very slow, 20 to 40 for twice the
/// usual time at a scatter of 30 %.
/// Source: Page 1954, Biometrika 41, 100; Huber 1981, Robust Statistics (clipping).
#[derive(Clone, Debug)]
pub struct ReplyTime {
    settings: ReplyTimeSettings,
    intake: Intake,
    level: Level,
    seen: u64,
    centre: f64,
    deviation: f64,
    recent: f64,
    sum: f64,
    since: u64,
}

impl ReplyTime {
    const MEMORY: f64 = 1e4;

    /// A detector with these settings.
    ///
    /// # Errors
    /// A ratio not above one, a limit or slack not above zero.
    pub fn new(settings: ReplyTimeSettings) -> Result<Self, BadSetting> {
        positive("ratio_min less one", settings.ratio_min - 1.0)?;
        positive("limit", settings.limit)?;
        positive("slack", settings.slack)?;
        Ok(Self {
            settings,
            intake: Intake::default(),
            level: Level::Learning { share: 0.0 },
            seen: 0,
            centre: 0.0,
            deviation: 0.0,
            recent: 0.0,
            sum: 0.0,
            since: 0,
        })
    }

    fn learn(&mut self, log: f64) {
        self.seen += 1;
        let weight = 1.0 / (self.seen as f64).min(Self::MEMORY);
        let mut off = log - self.centre;
        if self.seen > 20 {
            let most = 3.0 * self.deviation.max(0.02);
            off = off.clamp(-most, most);
        }
        self.centre += weight * off;
        if self.seen > 1 {
            self.deviation += weight * (1.253 * off.abs() - self.deviation);
        }
    }
}

impl Detector for ReplyTime {
    /// The value of the sample is the reply time, s.
    fn push(&mut self, sample: Sample) -> Level {
        if sample.value <= 0.0 {
            self.intake.unusable += 1;
            return self.level;
        }
        if self.intake.admit(&sample).is_none() {
            return self.level;
        }
        let s = self.settings;
        let log = sample.value.ln();
        let learn = u64::from(s.learn.max(20));
        if self.seen < learn {
            self.learn(log);
            let share = self.seen as f32 / learn as f32;
            self.level = if share < 1.0 { Level::Learning { share } } else { Level::Quiet };
            return self.level;
        }
        // Two per cent: below that, timers are coarser than the line.
        let deviation = self.deviation.max(0.02);
        let z = ((log - self.centre) / deviation).clamp(-3.0, 3.0);
        if self.sum <= 0.0 {
            self.since = sample.at;
        }
        self.sum = (self.sum + z - s.slack).clamp(0.0, 1.5 * s.limit);
        self.recent += 0.1 * (log - self.centre - self.recent);
        let grown = self.recent.exp();
        let held = self.level.is_present() && self.sum > 0.5 * s.limit;
        self.level = if held || (self.sum > s.limit && grown > s.ratio_min) {
            Level::Present(Symptom {
                kind: Kind::ReplyTime,
                since: self.level.symptom().map_or(self.since, |old| old.since),
                size: grown,
                evidence: Evidence::ReplyTime {
                    now_s: (self.centre + self.recent).exp(),
                    usual_s: self.centre.exp(),
                },
            })
        } else {
            Level::Quiet
        };
        if self.sum < 0.5 * s.limit {
            self.learn(log);
        }
        self.level
    }

    fn level(&self) -> Level {
        self.level
    }

    fn intake(&self) -> Intake {
        self.intake
    }

    /// `count`: replies; `centre` and `spread`: natural logarithm of the reply time in s.
    fn learnt(&self) -> Option<Learnt> {
        Some(Learnt {
            kind: Kind::ReplyTime,
            count: self.seen,
            centre: self.centre,
            spread: self.deviation,
            extra: 0.0,
        })
    }

    fn restore(&mut self, learnt: &Learnt) -> bool {
        if !learnt.fits(Kind::ReplyTime) {
            return false;
        }
        self.seen = learnt.count;
        self.centre = learnt.centre;
        self.deviation = learnt.spread;
        true
    }
}
