//! A loop that swings.

use super::face::{
    BadSetting, Detector, Evidence, Intake, Kind, Learnt, Level, Sample, Symptom, not_negative,
    positive,
};
use super::ring::Ring;

/// Settings of [`Oscillation`].
#[derive(Clone, Copy, Debug)]
pub struct OscillationSettings {
    /// Smallest amplitude that matters, unit of the signal.
    pub amplitude_min: f64,
    /// Longest period looked for, s.
    pub period_max_s: f64,
    /// Shortest period looked for, s; at least eight samples.
    pub period_min_s: f64,
    /// Time left to the loop after a move on purpose, s.
    pub settle_s: f64,
    /// A gap longer than this starts afresh, s.
    pub gap_s: f64,
}

/// A sustained oscillation: areas between zero crossings of the control error.
///
/// Feed it the error (value less set point); a slow offset is taken off by a mean over
/// `period_max`. Each stretch between two crossings gives its length and its area (integrated
/// absolute error). Eight in a row that are all larger than that of a sine of `amplitude_min`
/// (`2 a / omega`) and larger than three usual areas, and all of a length within a factor 1.6 of
/// their mean, are an oscillation. It returns with the first three that are not.
/// Delay: four to six periods (eight half-periods, after the slow mean has found the middle).
/// Source: Hägglund 1995, Control Eng. Pract. 3, 1543; regularity of the intervals: Thornhill,
/// Huang and Zhang 2003, J. Process Control 13, 91.
#[derive(Clone, Debug)]
pub struct Oscillation {
    settings: OscillationSettings,
    intake: Intake,
    level: Level,
    mean: f64,
    started: bool,
    positive: bool,
    area: f64,
    length: f64,
    recent: Ring<Half, 8>,
    usual: f64,
    halves: u64,
    misses: u32,
    quiet_until: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Half {
    length: f64,
    area: f64,
    at: u64,
}

impl Oscillation {
    const ROW: usize = 8;
    /// Memory of the usual area, half-periods.
    const MEMORY: f64 = 2000.0;

    /// A detector with these settings.
    ///
    /// # Errors
    /// A setting that is not a finite number above zero, or periods in the wrong order.
    pub fn new(settings: OscillationSettings) -> Result<Self, BadSetting> {
        positive("amplitude_min", settings.amplitude_min)?;
        positive("period_min", settings.period_min_s)?;
        positive("period_max less period_min", settings.period_max_s - settings.period_min_s)?;
        not_negative("settle", settings.settle_s)?;
        positive("gap", settings.gap_s)?;
        Ok(Self {
            settings,
            intake: Intake::default(),
            level: Level::Quiet,
            mean: 0.0,
            started: false,
            positive: false,
            area: 0.0,
            length: 0.0,
            recent: Ring::new(),
            usual: 0.0,
            halves: 0,
            misses: 0,
            quiet_until: 0,
        })
    }

    fn restart(&mut self) {
        self.started = false;
        (self.area, self.length) = (0.0, 0.0);
        self.recent.clear();
        self.misses = 0;
        self.level = Level::Quiet;
    }

    fn half(&mut self, at: u64) {
        let half = Half { length: self.length, area: self.area, at };
        let s = &self.settings;
        // Area of a half sine of amplitude a and half-period T: 2 a T / pi.
        let least = (s.amplitude_min * half.length * std::f64::consts::FRAC_2_PI)
            .max(if self.halves > 100 { 3.0 * self.usual } else { 0.0 });
        let lengths = 0.5 * s.period_min_s..=0.5 * s.period_max_s;
        if half.area < least || !lengths.contains(&half.length) {
            self.misses += 1;
            if self.misses >= 3 {
                self.level = Level::Quiet;
            }
            self.recent.clear();
        } else {
            self.misses = 0;
            self.recent.push(half);
        }
        if !self.level.is_present() {
            self.halves += 1;
            let weight = 1.0 / (self.halves as f64).min(Self::MEMORY);
            let clipped =
                if self.halves > 20 { half.area.min(5.0 * self.usual) } else { half.area };
            self.usual += weight * (clipped - self.usual);
        }
        if self.recent.len() < Self::ROW {
            return;
        }
        let n = Self::ROW as f64;
        let length = self.recent.iter().map(|h| h.length).sum::<f64>() / n;
        let area = self.recent.iter().map(|h| h.area).sum::<f64>() / n;
        let even = self.recent.iter().all(|h| h.length < 1.6 * length && h.length > length / 1.6);
        if even {
            let first = self.recent.iter().next().map_or(at, |h| h.at);
            let amplitude = area / (length * std::f64::consts::FRAC_2_PI);
            let since = self.level.symptom().map_or(first, |symptom| symptom.since);
            self.level = Level::Present(Symptom {
                kind: Kind::Oscillation,
                since,
                size: amplitude,
                evidence: Evidence::Oscillation {
                    amplitude,
                    period_s: 2.0 * length,
                    half_periods: self.recent.len() as u32,
                },
            });
        }
    }
}

impl Detector for Oscillation {
    #[inline]
    fn push(&mut self, sample: Sample) -> Level {
        let Some(step) = self.intake.admit(&sample) else { return self.level };
        if step > self.settings.gap_s || sample.at < self.quiet_until {
            self.restart();
            return self.level;
        }
        if !self.started {
            self.mean = sample.value;
            self.started = true;
        }
        self.mean += (step / self.settings.period_max_s).min(1.0) * (sample.value - self.mean);
        let off = sample.value - self.mean;
        // Crossings need a quarter of the amplitude that matters: noise on the axis is none.
        let crossed = if self.positive {
            off < -0.25 * self.settings.amplitude_min
        } else {
            off > 0.25 * self.settings.amplitude_min
        };
        if crossed {
            self.half(sample.at);
            self.positive = !self.positive;
            (self.area, self.length) = (0.0, 0.0);
        }
        self.area += off.abs() * step;
        self.length += step;
        if self.length > self.settings.period_max_s && self.recent.len() > 0 {
            self.recent.clear();
            self.level = Level::Quiet;
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
        self.restart();
        self.quiet_until = at.saturating_add((self.settings.settle_s * 1e9) as u64);
    }

    /// `count`: half-periods; `centre`: usual area between crossings, unit x s.
    fn learnt(&self) -> Option<Learnt> {
        Some(Learnt {
            kind: Kind::Oscillation,
            count: self.halves,
            centre: self.usual,
            spread: 0.0,
            extra: 0.0,
        })
    }

    fn restore(&mut self, learnt: &Learnt) -> bool {
        if !learnt.fits(Kind::Oscillation) || learnt.centre < 0.0 {
            return false;
        }
        self.halves = learnt.count;
        self.usual = learnt.centre;
        true
    }
}
