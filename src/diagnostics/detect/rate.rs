//! A value that changes too fast.

use super::face::{
    BadSetting, Detector, Evidence, Intake, Kind, Level, Sample, Symptom, not_negative, positive,
};
use super::ring::Ring;

/// Settings of [`Rate`].
#[derive(Clone, Copy, Debug)]
pub struct RateSettings {
    /// Fastest rise allowed, unit of the signal per s; `None` for no limit.
    pub rise_per_s: Option<f64>,
    /// Fastest fall allowed (a positive number), unit of the signal per s.
    pub fall_per_s: Option<f64>,
    /// The slope is taken over this long, s.
    pub window_s: f64,
    /// A gap longer than this starts the window afresh, s.
    pub gap_s: f64,
}

/// A mean of some neighbouring samples.
#[derive(Clone, Copy, Debug, Default)]
struct Point {
    /// Seconds since the window began.
    t: f64,
    v: f64,
}

/// A slope by least squares over a time window, against a limit for rise and fall.
///
/// Samples are averaged into eighths of the window and a line is fitted through the last eight
/// means; the slope less two of its standard errors must pass the limit, so noise alone does not.
/// It returns when the slope is below 0.8 of the limit. Delay: half the window or a little
/// more for ten times the limit, three quarters for three times, the window and an eighth for one
/// just above it; while the window fills nothing is judged before four eighths. Cost: at the end of each eighth one
/// pass over eight points. Source: Draper and Smith, Applied Regression Analysis, 1998, 1.2-1.4.
#[derive(Clone, Debug)]
pub struct Rate {
    settings: RateSettings,
    intake: Intake,
    level: Level,
    points: Ring<Point, 8>,
    elapsed: f64,
    bin_end: f64,
    sum_t: f64,
    sum_v: f64,
    count: u32,
    slope: Option<f64>,
}

impl Rate {
    /// A detector with these settings.
    ///
    /// # Errors
    /// A window, gap or limit that is not a finite number above zero, or no limit at all.
    pub fn new(settings: RateSettings) -> Result<Self, BadSetting> {
        positive("window", settings.window_s)?;
        positive("gap", settings.gap_s)?;
        for limit in [settings.rise_per_s, settings.fall_per_s].into_iter().flatten() {
            not_negative("rate", limit)?;
        }
        if settings.rise_per_s.is_none() && settings.fall_per_s.is_none() {
            return Err(BadSetting { name: "rate", must: "given for rise, fall or both" });
        }
        Ok(Self {
            settings,
            intake: Intake::default(),
            level: Level::Quiet,
            points: Ring::new(),
            elapsed: 0.0,
            bin_end: settings.window_s / 8.0,
            sum_t: 0.0,
            sum_v: 0.0,
            count: 0,
            slope: None,
        })
    }

    /// The slope of the window, unit of the signal per s, once the window is half full.
    #[must_use]
    pub const fn slope(&self) -> Option<f64> {
        self.slope
    }

    fn restart(&mut self) {
        self.points.clear();
        self.elapsed = 0.0;
        self.bin_end = self.settings.window_s / 8.0;
        self.sum_t = 0.0;
        self.sum_v = 0.0;
        self.count = 0;
        self.slope = None;
    }

    /// Slope and its standard error.
    fn fit(&self) -> Option<(f64, f64)> {
        let n = self.points.len() as f64;
        if n < 4.0 {
            return None;
        }
        let (st, sv) = self.points.iter().fold((0.0, 0.0), |(a, b), p| (a + p.t, b + p.v));
        let (mt, mv) = (st / n, sv / n);
        let (mut tt, mut tv, mut vv) = (0.0, 0.0, 0.0);
        for p in self.points.iter() {
            let (t, v) = (p.t - mt, p.v - mv);
            tt += t * t;
            tv += t * v;
            vv += v * v;
        }
        if tt <= 0.0 {
            return None;
        }
        let slope = tv / tt;
        let rest = (vv - slope * tv).max(0.0);
        Some((slope, (rest / (n - 2.0) / tt).sqrt()))
    }

    fn judge(&mut self, sample: Sample) {
        let Some((slope, error)) = self.fit() else { return };
        self.slope = Some(slope);
        let limit = if slope > 0.0 { self.settings.rise_per_s } else { self.settings.fall_per_s };
        let Some(limit) = limit else {
            self.level = Level::Quiet;
            return;
        };
        let symptom = |since| Symptom {
            kind: Kind::Rate,
            since,
            size: slope.abs(),
            evidence: Evidence::Rate { per_second: slope, limit, window_s: self.settings.window_s },
        };
        if let Level::Present(old) = self.level {
            self.level = if slope.abs() < 0.8 * limit {
                Level::Quiet
            } else {
                Level::Present(symptom(old.since))
            };
        } else if slope.abs() - 2.0 * error > limit {
            self.level = Level::Present(symptom(sample.at));
        }
    }
}

impl Detector for Rate {
    fn push(&mut self, sample: Sample) -> Level {
        let Some(step) = self.intake.admit(&sample) else { return self.level };
        if step > self.settings.gap_s {
            self.restart();
        } else {
            self.elapsed += step;
        }
        self.sum_t += self.elapsed;
        self.sum_v += sample.value;
        self.count += 1;
        if self.elapsed >= self.bin_end {
            let n = f64::from(self.count);
            self.points.push(Point { t: self.sum_t / n, v: self.sum_v / n });
            (self.sum_t, self.sum_v, self.count) = (0.0, 0.0, 0);
            self.bin_end = self.elapsed + self.settings.window_s / 8.0;
            self.judge(sample);
        }
        self.level
    }

    fn level(&self) -> Level {
        self.level
    }

    fn intake(&self) -> Intake {
        self.intake
    }
}
