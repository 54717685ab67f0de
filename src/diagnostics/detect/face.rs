//! The common face of the detectors: samples in, levels out.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How far a value can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quality {
    /// Fresh and within what the instrument promises.
    Good,
    /// Usable with care; detectors take it like a good value.
    Uncertain,
    /// Not to be used; detectors skip it.
    Bad,
}

/// One value of a signal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Monotonic time, nanoseconds.
    pub at: u64,
    /// The value, in the unit of the signal.
    pub value: f64,
    /// How far it can be trusted.
    pub quality: Quality,
}

impl Sample {
    /// A good value.
    #[must_use]
    pub const fn good(at: u64, value: f64) -> Self {
        Self { at, value, quality: Quality::Good }
    }
}

/// What a symptom is a symptom of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each name is explained at its detector")]
pub enum Kind {
    Limit,
    Rate,
    Stuck,
    Spike,
    Noise,
    Drift,
    LossOfControl,
    Steady,
    Oscillation,
    Saturation,
    Disagreement,
    PeriodicLoss,
    ReplyTime,
    ErrorRate,
    ClockSkew,
    VolumeBalance,
}

/// What was seen, in numbers; [`Symptom::sentence`] makes words of it.
///
/// Values are in the unit of the signal, times in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are the words of the sentences in sentence.rs")]
pub enum Evidence {
    Limit { value: f64, limit: f64, above: bool },
    Rate { per_second: f64, limit: f64, window_s: f64 },
    Stuck { value: f64, repeats: u64, usual: u64 },
    Unmoved { value: f64, actuator_moved: f64, for_s: f64 },
    Spike { value: f64, median: f64, spread: f64 },
    Noise { ratio: f64, usual_sd: f64 },
    Drift { off: f64, spread: f64, for_s: f64 },
    NoProgress { value: f64, set_point: f64, for_s: f64 },
    Left { value: f64, set_point: f64, excess: f64, for_s: f64 },
    Steady { value: f64, ratio: f64 },
    Oscillation { amplitude: f64, period_s: f64, half_periods: u32 },
    Saturation { value: f64, end: f64, for_s: f64 },
    Disagreement { first: f64, second: f64, usual: f64, allowed: f64 },
    PeriodicLoss { period_s: f64, losses: u32, coherence: f64 },
    ReplyTime { now_s: f64, usual_s: f64 },
    ErrorRate { recent: f64, usual: f64, in_a_row: u32 },
    ClockSkew { ppm: f64, over_s: f64 },
    ClockStep { step_s: f64 },
    Volume { pumped: f64, weighed: f64, uncertainty: f64, evaporation: f64 },
}

/// A finding.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Symptom {
    /// What it is.
    pub kind: Kind,
    /// Monotonic time of its onset as far as known, nanoseconds.
    pub since: u64,
    /// Its size in its own unit: see `Evidence`; for ratios and statistics a bare number.
    pub size: f64,
    /// What was seen.
    pub evidence: Evidence,
}

/// What a detector says now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Level {
    /// Not enough seen yet; `share` of the learning is done (0 to 1).
    Learning {
        /// Part done, 0 to 1.
        share: f32,
    },
    /// Nothing found.
    Quiet,
    /// Found and still there.
    Present(Symptom),
}

impl Level {
    /// Whether a symptom is present.
    #[must_use]
    pub const fn is_present(&self) -> bool {
        matches!(self, Self::Present(_))
    }

    /// The symptom, if one is present.
    #[must_use]
    pub const fn symptom(&self) -> Option<&Symptom> {
        match self {
            Self::Present(symptom) => Some(symptom),
            Self::Learning { .. } | Self::Quiet => None,
        }
    }
}

/// What a detector has learnt, to be stored, shown and given back after a restart.
///
/// What `centre`, `spread` and `extra` mean is said at each detector's `learnt`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Learnt {
    /// Whose learning this is.
    pub kind: Kind,
    /// From how many observations (samples, blocks or exchanges).
    pub count: u64,
    /// The usual value.
    pub centre: f64,
    /// The usual deviation from it (one standard deviation).
    pub spread: f64,
    /// One more number of the detector's own.
    pub extra: f64,
}

impl Learnt {
    /// Whether this can be taken by a detector of `kind`: all finite, no negative spread.
    #[must_use]
    pub fn fits(&self, kind: Kind) -> bool {
        self.kind == kind
            && self.centre.is_finite()
            && self.spread.is_finite()
            && self.spread >= 0.0
            && self.extra.is_finite()
    }
}

/// A setting no detector can work with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadSetting {
    /// Name of the setting.
    pub name: &'static str,
    /// What it must be.
    pub must: &'static str,
}

impl fmt::Display for BadSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` must be {}", self.name, self.must)
    }
}

impl std::error::Error for BadSetting {}

/// Refuses a setting that is not a finite number above zero.
pub(super) fn positive(name: &'static str, value: f64) -> Result<(), BadSetting> {
    if value.is_finite() && value > 0.0 {
        Ok(())
    } else {
        Err(BadSetting { name, must: "a finite number above zero" })
    }
}

/// Refuses a setting that is not a finite number, zero or above.
pub(super) fn not_negative(name: &'static str, value: f64) -> Result<(), BadSetting> {
    if value.is_finite() && value >= 0.0 {
        Ok(())
    } else {
        Err(BadSetting { name, must: "a finite number, zero or above" })
    }
}

/// Seconds from `from` to `to`, zero if `to` is earlier.
pub(super) fn seconds(from: u64, to: u64) -> f64 {
    to.saturating_sub(from) as f64 * 1e-9
}

/// The door of every detector: lets good samples in, in order of time, and counts the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Intake {
    last: Option<u64>,
    /// Samples taken.
    pub taken: u64,
    /// Samples that were not later than the one before: ignored.
    pub backwards: u64,
    /// Samples that were NaN, infinite, beyond 1e100 or of bad quality: ignored.
    pub unusable: u64,
}

impl Intake {
    /// No reading of an instrument is larger than this; its square still is a number.
    const SIZE_MAX: f64 = 1e100;

    /// Seconds since the sample before (zero for the first), or `None` if the sample is refused.
    #[inline]
    pub(super) fn admit(&mut self, sample: &Sample) -> Option<f64> {
        // The bound holds for NaN, too; squares and sums of what passes stay finite.
        let sound = sample.value.abs() <= Self::SIZE_MAX;
        if !sound || sample.quality == Quality::Bad {
            self.unusable += 1;
            return None;
        }
        let step = match self.last {
            Some(last) if sample.at <= last => {
                self.backwards += 1;
                return None;
            }
            Some(last) => (sample.at - last) as f64 * 1e-9,
            None => 0.0,
        };
        self.last = Some(sample.at);
        self.taken += 1;
        Some(step)
    }
}

/// A detector of one signal.
pub trait Detector {
    /// Takes a sample and says what it shows; a refused sample leaves the level as it was.
    fn push(&mut self, sample: Sample) -> Level;

    /// The level after the last sample.
    fn level(&self) -> Level;

    /// What was taken and what was ignored.
    fn intake(&self) -> Intake;

    /// The signal is about to move on purpose (set point, rate or load changed at `at`).
    ///
    /// Detectors that compare with the past hold still and start afresh; what they know of the
    /// noise they keep.
    fn moved(&mut self, at: u64) {
        let _ = at;
    }

    /// What was learnt so far, if this detector learns.
    fn learnt(&self) -> Option<Learnt> {
        None
    }

    /// Takes back what [`Detector::learnt`] gave. False if it does not fit; nothing changes then.
    fn restore(&mut self, learnt: &Learnt) -> bool {
        let _ = learnt;
        false
    }
}
