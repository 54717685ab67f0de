//! One or two samples far off their neighbours.

use super::face::{
    BadSetting, Detector, Evidence, Intake, Kind, Learnt, Level, Sample, Symptom, positive, seconds,
};
use super::ring::Sorted;

/// Settings of [`Spike`].
#[derive(Clone, Copy, Debug)]
pub struct SpikeSettings {
    /// How many standard deviations off the median counts, number.
    pub threshold: f64,
    /// Smallest size that counts, unit of the signal (the resolution, if nothing better is known).
    pub size_min: f64,
    /// How long a spike stays present, s.
    pub hold_s: f64,
}

impl Default for SpikeSettings {
    fn default() -> Self {
        Self { threshold: 7.0, size_min: 1e-12, hold_s: 10.0 }
    }
}

/// A Hampel identifier made to tell spikes from steps.
///
/// The median of the last eleven samples is the reference; the scale is the larger of half the
/// quartile range of these (as standard deviation; eleven samples scatter) and the usual distance from the median, learnt
/// with a memory of 1000 samples from distances clipped at five. A sample beyond `threshold` scales
/// is a candidate; it is a spike when one of the next two samples is back within half the
/// distance, otherwise it was a step and the window takes it in.
/// Delay: one sample after a spike of one sample, two after one of two.
/// Source: Hampel 1974, J. Am. Stat. Assoc. 69, 383; Pearson et al. 2016, EURASIP J. Adv. Sig. Pr. 87.
#[derive(Clone, Debug)]
pub struct Spike {
    settings: SpikeSettings,
    intake: Intake,
    level: Level,
    window: Sorted<11>,
    deviation: f64,
    seen: u64,
    candidate: Option<Candidate>,
    last_end: u64,
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    at: u64,
    value: f64,
    median: f64,
    spread: f64,
    age: u8,
}

impl Spike {
    /// Samples before anything is said.
    const LEARN: u64 = 100;
    /// Memory of the usual distance, samples.
    const MEMORY: f64 = 1000.0;

    /// A detector with these settings.
    ///
    /// # Errors
    /// A setting that is not a finite number above zero.
    pub fn new(settings: SpikeSettings) -> Result<Self, BadSetting> {
        positive("threshold", settings.threshold)?;
        positive("size_min", settings.size_min)?;
        positive("hold", settings.hold_s)?;
        Ok(Self {
            settings,
            intake: Intake::default(),
            level: Level::Learning { share: 0.0 },
            window: Sorted::new(),
            deviation: 0.0,
            seen: 0,
            candidate: None,
            last_end: 0,
        })
    }

    fn confirm(&mut self, sample: Sample, candidate: Candidate) -> Level {
        self.last_end = sample.at;
        let size = candidate.value - candidate.median;
        Level::Present(Symptom {
            kind: Kind::Spike,
            since: candidate.at,
            size: size.abs(),
            evidence: Evidence::Spike {
                value: candidate.value,
                median: candidate.median,
                spread: candidate.spread,
            },
        })
    }
}

impl Detector for Spike {
    fn push(&mut self, sample: Sample) -> Level {
        if self.intake.admit(&sample).is_none() {
            return self.level;
        }
        if !self.window.is_full() {
            self.window.push(sample.value);
            return self.level;
        }
        let median = self.window.median();
        let distance = (sample.value - median).abs();
        let share = self.seen as f32 / Self::LEARN as f32;
        let mut level = match self.level {
            Level::Present(_) if seconds(self.last_end, sample.at) < self.settings.hold_s => {
                self.level
            }
            _ if share < 1.0 => Level::Learning { share },
            _ => Level::Quiet,
        };
        if let Some(candidate) = self.candidate {
            let size = candidate.value - candidate.median;
            let back = (sample.value - candidate.median).abs() < 0.5 * size.abs();
            if back {
                level = self.confirm(sample, candidate);
                self.candidate = None;
            } else if candidate.age >= 1 {
                self.candidate = None; // A step: it has stayed.
            } else {
                self.candidate = Some(Candidate { age: candidate.age + 1, ..candidate });
            }
        } else if share >= 1.0 {
            // 1.349: quartile range of the normal distribution; 1.253: sd over mean distance.
            let spread = (0.5 * self.window.quartile_range() / 1.349).max(1.253 * self.deviation);
            let limit = (self.settings.threshold * spread).max(self.settings.size_min);
            if distance > limit {
                self.candidate =
                    Some(Candidate { at: sample.at, value: sample.value, median, spread, age: 0 });
            }
        }
        if self.candidate.is_none() || self.seen < Self::LEARN {
            self.seen += 1;
            let clipped = if self.seen > 20 {
                distance.min(5.0 * self.deviation.max(1e-300))
            } else {
                distance
            };
            // Zero would clip everything: let a flat past open up again.
            let clipped = if self.deviation <= 0.0 { distance } else { clipped };
            let weight = 1.0 / (self.seen as f64).min(Self::MEMORY);
            self.deviation += weight * (clipped - self.deviation);
        }
        self.window.push(sample.value);
        self.level = level;
        level
    }

    fn level(&self) -> Level {
        self.level
    }

    fn intake(&self) -> Intake {
        self.intake
    }

    fn moved(&mut self, _at: u64) {
        self.window.clear();
        self.candidate = None;
    }

    /// `count`: samples; `spread`: usual deviation from the running median, unit of the signal.
    fn learnt(&self) -> Option<Learnt> {
        Some(Learnt {
            kind: Kind::Spike,
            count: self.seen,
            centre: 0.0,
            spread: 1.253 * self.deviation,
            extra: 0.0,
        })
    }

    fn restore(&mut self, learnt: &Learnt) -> bool {
        if !learnt.fits(Kind::Spike) {
            return false;
        }
        self.seen = learnt.count;
        self.deviation = learnt.spread / 1.253;
        true
    }
}
