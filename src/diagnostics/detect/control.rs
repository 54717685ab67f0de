//! A response that does not follow its set point.

use super::face::{
    BadSetting, Detector, Evidence, Intake, Kind, Level, Sample, Symptom, not_negative, positive,
    seconds,
};

/// Settings of [`Control`].
#[derive(Clone, Copy, Debug)]
pub struct ControlSettings {
    /// Half width of the band round the set point that is good control, unit of the signal.
    pub band: f64,
    /// On the way to a new set point the error must shrink by this much, unit of the signal.
    pub gain: f64,
    /// Within each stretch of this length, s.
    pub gain_time_s: f64,
    /// After arrival: how much error outside the band, summed over time, is too much, unit x s.
    pub excess_max: f64,
    /// Overshoot that is still sound, as a share of the move of the set point, number.
    pub overshoot: f64,
    /// How far a sound response may lag behind a ramp, s.
    pub lag_s: f64,
    /// A gap longer than this starts the judgement afresh, s.
    pub gap_s: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// On the way; `best` is the least error so far and `from` when it was reached.
    Underway {
        best: f64,
        from: u64,
    },
    Arrived,
}

/// Loss of control: no progress on the way to the set point, or an error after arrival that
/// does not go away.
///
/// On the way, the error must shrink by `gain` in every `gain_time`, whatever its sign. After
/// arrival the error outside the band is integrated; it leaks away inside the band, ten times
/// faster than a full band of error fills it. A move of the set point puts the loop on the way
/// again; a ramp widens the band by its rate times `lag`, a move by the
/// allowed overshoot (fading over three lags after arrival), and a small correction inside the band
/// changes nothing. Level returns when the band is reached again (or, underway, on progress).
/// Delay: `gain_time` when nothing happens at all; `excess_max / (error - band)` after arrival.
/// Source: the idea of two budgets (progress, summed error) is that of firmware heater checks
/// (Klipper `verify_heater`, Marlin thermal protection); rules, two-sidedness and ramps are ours.
/// Performance of regulation by summed error: Hägglund 1999, Control Eng. Pract. 7, 1505.
#[derive(Clone, Debug)]
pub struct Control {
    settings: ControlSettings,
    intake: Intake,
    level: Level,
    set_point: Option<(u64, f64)>,
    /// Smoothed speed of the set point, unit per s.
    ramp: f64,
    /// Overshoot still allowed, unit of the signal.
    swing: f64,
    phase: Phase,
    excess: f64,
    excess_since: u64,
}

impl Control {
    /// A detector with these settings.
    ///
    /// # Errors
    /// A setting that is not a finite number above (for the lag, at) zero.
    pub fn new(settings: ControlSettings) -> Result<Self, BadSetting> {
        positive("band", settings.band)?;
        positive("gain", settings.gain)?;
        positive("gain_time", settings.gain_time_s)?;
        positive("excess_max", settings.excess_max)?;
        positive("gap", settings.gap_s)?;
        not_negative("lag", settings.lag_s)?;
        not_negative("overshoot", settings.overshoot)?;
        Ok(Self {
            settings,
            intake: Intake::default(),
            level: Level::Quiet,
            set_point: None,
            ramp: 0.0,
            swing: 0.0,
            phase: Phase::Arrived,
            excess: 0.0,
            excess_since: 0,
        })
    }

    /// Tells the set point; call it at each change, and as often as you like on a ramp.
    pub fn set_point(&mut self, at: u64, value: f64) {
        if !value.is_finite() {
            return;
        }
        let moved = match self.set_point {
            Some((before, old)) => {
                let step_s = seconds(before, at);
                let delta = value - old;
                // A move larger than the band is a step, a row of small ones is a ramp.
                if step_s > 0.0 && delta.abs() <= self.settings.band {
                    let weight = (step_s / self.settings.lag_s.max(step_s)).min(1.0);
                    self.ramp += weight * (delta.abs() / step_s - self.ramp);
                }
                let moved = delta.abs() > self.settings.band;
                if moved {
                    self.swing = self.swing.max(self.settings.overshoot * delta.abs());
                }
                moved
            }
            None => true,
        };
        self.set_point = Some((at, value));
        if moved {
            self.phase = Phase::Underway { best: f64::INFINITY, from: at };
            self.excess = 0.0;
            self.level = Level::Quiet;
        }
    }

    /// Nobody regulates any more (heater off, valve closed): nothing is judged.
    pub fn off(&mut self) {
        self.set_point = None;
        self.level = Level::Quiet;
        self.excess = 0.0;
    }

    fn judge(&mut self, sample: Sample, step: f64, set_point: f64, band: f64) {
        let s = self.settings;
        let error = (sample.value - set_point).abs();
        match self.phase {
            Phase::Underway { .. } if error <= band => {
                self.phase = Phase::Arrived;
                self.excess = 0.0;
                self.level = Level::Quiet;
            }
            Phase::Underway { best, from } => {
                if error <= best - s.gain || best.is_infinite() {
                    self.phase = Phase::Underway { best: error, from: sample.at };
                    self.level = Level::Quiet;
                } else if seconds(from, sample.at) >= s.gain_time_s {
                    let for_s = seconds(from, sample.at);
                    self.level = Level::Present(Symptom {
                        kind: Kind::LossOfControl,
                        since: from,
                        size: error,
                        evidence: Evidence::NoProgress { value: sample.value, set_point, for_s },
                    });
                }
            }
            Phase::Arrived => {
                if self.excess <= 0.0 {
                    self.excess_since = sample.at;
                }
                let over = error - band;
                let gain = if over > 0.0 { over } else { -10.0 * band };
                // Bounded, so that a long loss is followed by a prompt return.
                self.excess = (self.excess + gain * step).clamp(0.0, 2.0 * s.excess_max);
                if self.excess > s.excess_max {
                    let for_s = seconds(self.excess_since, sample.at);
                    self.level = Level::Present(Symptom {
                        kind: Kind::LossOfControl,
                        since: self.excess_since,
                        size: error,
                        evidence: Evidence::Left {
                            value: sample.value,
                            set_point,
                            excess: self.excess,
                            for_s,
                        },
                    });
                } else if self.excess < 0.5 * s.excess_max {
                    self.level = Level::Quiet;
                }
            }
        }
    }
}

impl Detector for Control {
    fn push(&mut self, sample: Sample) -> Level {
        let Some(step) = self.intake.admit(&sample) else { return self.level };
        let Some((told, set_point)) = self.set_point else { return self.level };
        let s = self.settings;
        if step > s.gap_s {
            self.phase = Phase::Underway { best: f64::INFINITY, from: sample.at };
            self.excess = 0.0;
        }
        // The allowance for a ramp fades when the set point has stood still for one lag.
        if s.lag_s > 0.0 && seconds(told, sample.at) > s.lag_s {
            self.ramp *= (-step / s.lag_s).exp();
        }
        // The allowance for overshoot fades over three lags after arrival.
        if self.phase == Phase::Arrived && self.swing > 0.0 {
            self.swing *= (-step / (3.0 * s.lag_s).max(step)).exp();
        }
        let band = s.band + self.ramp * s.lag_s + self.swing;
        self.judge(sample, step.min(s.gap_s), set_point, band);
        self.level
    }

    fn level(&self) -> Level {
        self.level
    }

    fn intake(&self) -> Intake {
        self.intake
    }
}
