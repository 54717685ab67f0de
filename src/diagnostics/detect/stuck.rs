//! A value that no longer changes.

use super::face::{
    BadSetting, Detector, Evidence, Intake, Kind, Learnt, Level, Sample, Symptom, not_negative,
    positive, seconds,
};

/// Settings of [`Stuck`].
#[derive(Clone, Copy, Debug)]
pub struct StuckSettings {
    /// Changes to learn from before anything is said, number.
    pub learn_changes: u32,
    /// Move of the actuator that must show in the signal, unit of the actuator.
    pub actuator_move: f64,
    /// Within this time, s.
    pub actuator_delay_s: f64,
    /// A change of the signal up to this is none, for the actuator's rule, unit of the signal.
    pub dead_band: f64,
}

impl Default for StuckSettings {
    /// 50 changes; the actuator's rule is off (no move is large enough).
    fn default() -> Self {
        Self { learn_changes: 50, actuator_move: f64::MAX, actuator_delay_s: 60.0, dead_band: 0.0 }
    }
}

/// A stuck value: a run of equal readings longer than the signal's own past allows, or a signal
/// that does not answer its actuator.
///
/// It learns the share `p` of readings that repeat the one before, and the longest run. A run
/// counts when chance would give it less than once in 10^9 readings (`n > ln 1e-9 / ln p`) and
/// when it is over four times the longest run learnt. Signals that repeat nearly always
/// (`p > 0.999`) are left to the actuator's rule. Learning goes on while quiet.
/// Delay: that many readings: three for a signal that never repeats, 31 at one half, 198 at nine
/// in ten. Source: flat-line test of QARTOD (IOOS Manual for Real-Time Quality Control, 2020),
/// with the length learnt rather than given; run lengths after Feller 1968, XIII.7.
#[derive(Clone, Debug)]
pub struct Stuck {
    settings: StuckSettings,
    intake: Intake,
    level: Level,
    last: Option<f64>,
    run: u64,
    run_since: u64,
    repeats: f64,
    changes: f64,
    longest: f64,
    allowed: u64,
    anchor: Option<f64>,
    actuator: Option<f64>,
    actuator_at: Option<(u64, f64)>,
}

impl Stuck {
    /// No run shorter than this counts (readings).
    const RUN_MIN: u64 = 3;

    /// A detector with these settings.
    ///
    /// # Errors
    /// A setting that is not a finite number above (or, for the dead band, at) zero.
    pub fn new(settings: StuckSettings) -> Result<Self, BadSetting> {
        positive("actuator_move", settings.actuator_move)?;
        positive("actuator_delay", settings.actuator_delay_s)?;
        not_negative("dead_band", settings.dead_band)?;
        Ok(Self {
            settings,
            intake: Intake::default(),
            level: Level::Learning { share: 0.0 },
            last: None,
            run: 0,
            run_since: 0,
            repeats: 0.0,
            changes: 0.0,
            longest: 0.0,
            allowed: u64::MAX,
            anchor: None,
            actuator: None,
            actuator_at: None,
        })
    }

    /// Tells what the actuator of this signal does (its output or read-back).
    pub fn actuator(&mut self, at: u64, value: f64) {
        if !value.is_finite() {
            return;
        }
        self.actuator = Some(value);
        let (_, start) = *self.actuator_at.get_or_insert((at, value));
        // The clock of the rule runs only while the actuator stands away from where it was.
        if (value - start).abs() < self.settings.actuator_move {
            self.actuator_at = Some((at, start));
        }
    }

    /// The longest run that is still usual, readings; `u64::MAX` while learning or if unwatchable.
    #[must_use]
    pub const fn allowed(&self) -> u64 {
        self.allowed
    }

    fn learn(&mut self, run: u64) {
        // An exponential memory of 10^5 changes, so that a new resolution is learnt in time.
        if self.changes > 1e5 {
            self.changes *= 0.5;
            self.repeats *= 0.5;
            self.longest *= 0.9;
        }
        self.changes += 1.0;
        self.repeats += run.saturating_sub(1) as f64;
        self.longest = self.longest.max(run as f64);
        self.set_allowed();
    }

    fn set_allowed(&mut self) {
        let share = (self.repeats + 0.005) / (self.repeats + self.changes + 1.0);
        self.allowed = if self.changes < f64::from(self.settings.learn_changes) || share > 0.999 {
            u64::MAX
        } else {
            let chance = (1e-9f64.ln() / share.max(1e-9).ln()).ceil();
            let seen = if self.longest <= 1.0 { 2.0 } else { 4.0 * self.longest };
            (chance.max(seen) as u64).max(Self::RUN_MIN - 1)
        };
    }

    fn unmoved(&self, sample: Sample) -> Option<Symptom> {
        let (at, start) = self.actuator_at?;
        let moved = self.actuator? - start;
        let for_s = seconds(at, sample.at);
        (moved.abs() >= self.settings.actuator_move && for_s >= self.settings.actuator_delay_s)
            .then_some(Symptom {
                kind: Kind::Stuck,
                since: at,
                size: for_s,
                evidence: Evidence::Unmoved { value: sample.value, actuator_moved: moved, for_s },
            })
    }
}

impl Detector for Stuck {
    fn push(&mut self, sample: Sample) -> Level {
        if self.intake.admit(&sample).is_none() {
            return self.level;
        }
        let anchor = *self.anchor.get_or_insert(sample.value);
        if (sample.value - anchor).abs() > self.settings.dead_band {
            self.anchor = Some(sample.value);
            self.actuator_at = self.actuator.map(|value| (sample.at, value));
        }
        let same = self.last.is_some_and(|last| last.to_bits() == sample.value.to_bits());
        if same {
            self.run += 1;
        } else {
            if self.last.is_some() && self.run <= self.allowed {
                self.learn(self.run);
            }
            self.last = Some(sample.value);
            self.run = 1;
            self.run_since = sample.at;
        }
        self.level = if self.run > self.allowed {
            Level::Present(Symptom {
                kind: Kind::Stuck,
                since: self.run_since,
                size: self.run as f64,
                evidence: Evidence::Stuck {
                    value: sample.value,
                    repeats: self.run,
                    usual: self.longest as u64,
                },
            })
        } else if let Some(symptom) = self.unmoved(sample) {
            Level::Present(symptom)
        } else {
            let share = self.changes / f64::from(self.settings.learn_changes.max(1));
            if share < 1.0 { Level::Learning { share: share as f32 } } else { Level::Quiet }
        };
        self.level
    }

    fn level(&self) -> Level {
        self.level
    }

    fn intake(&self) -> Intake {
        self.intake
    }

    /// `count`: changes; `centre`: share of readings that repeat; `extra`: longest run.
    fn learnt(&self) -> Option<Learnt> {
        let all = self.repeats + self.changes;
        Some(Learnt {
            kind: Kind::Stuck,
            count: self.changes as u64,
            centre: if all > 0.0 { self.repeats / all } else { 0.0 },
            spread: 0.0,
            extra: self.longest,
        })
    }

    fn restore(&mut self, learnt: &Learnt) -> bool {
        if !learnt.fits(Kind::Stuck) || !(0.0..1.0).contains(&learnt.centre) || learnt.extra < 0.0 {
            return false;
        }
        self.changes = learnt.count as f64;
        self.repeats = self.changes * learnt.centre / (1.0 - learnt.centre);
        self.longest = learnt.extra;
        self.set_allowed();
        true
    }
}
