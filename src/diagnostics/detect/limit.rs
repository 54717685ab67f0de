//! A value past a limit, and a value at the end of its range.

use super::face::{
    BadSetting, Detector, Evidence, Intake, Kind, Level, Sample, Symptom, not_negative, positive,
    seconds,
};

/// On which side of the limit the trouble lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Too high.
    Above,
    /// Too low.
    Below,
}

/// Settings of [`Limit`].
#[derive(Clone, Copy, Debug)]
pub struct LimitSettings {
    /// The limit, unit of the signal.
    pub limit: f64,
    /// The side that is trouble.
    pub side: Side,
    /// How far back inside the value must be to return, unit of the signal.
    pub hysteresis: f64,
    /// The value must be past the limit for this long, s.
    pub on_delay_s: f64,
    /// The value must be back for this long, s.
    pub off_delay_s: f64,
}

/// A value past a limit: comparison with dead band and delays (ISA-18.2-2016, 10.4; IEC 62682).
///
/// Level-triggered: a condition that holds at the first sample counts at once.
/// Delay: the on-delay; one sample when that is zero.
#[derive(Clone, Debug)]
pub struct Limit {
    settings: LimitSettings,
    intake: Intake,
    level: Level,
    /// Since when the value is on the side that would change the level.
    turning: Option<u64>,
}

impl Limit {
    /// A detector with these settings.
    ///
    /// # Errors
    /// A setting that is not finite, or a negative delay or hysteresis.
    pub fn new(settings: LimitSettings) -> Result<Self, BadSetting> {
        not_negative("hysteresis", settings.hysteresis)?;
        not_negative("on_delay", settings.on_delay_s)?;
        not_negative("off_delay", settings.off_delay_s)?;
        if !settings.limit.is_finite() {
            return Err(BadSetting { name: "limit", must: "a finite number" });
        }
        Ok(Self { settings, intake: Intake::default(), level: Level::Quiet, turning: None })
    }
}

impl Detector for Limit {
    fn push(&mut self, sample: Sample) -> Level {
        if self.intake.admit(&sample).is_none() {
            return self.level;
        }
        let s = &self.settings;
        let past = match s.side {
            Side::Above => sample.value - s.limit,
            Side::Below => s.limit - sample.value,
        };
        if let Level::Present(mut symptom) = self.level {
            symptom.size = symptom.size.max(past);
            if past > 0.0 {
                symptom.evidence = Evidence::Limit {
                    value: sample.value,
                    limit: s.limit,
                    above: s.side == Side::Above,
                };
            }
            self.level = Level::Present(symptom);
            if past > -s.hysteresis || (s.hysteresis == 0.0 && past > 0.0) {
                self.turning = None;
            } else {
                let back = *self.turning.get_or_insert(sample.at);
                if seconds(back, sample.at) >= s.off_delay_s {
                    self.level = Level::Quiet;
                    self.turning = None;
                }
            }
        } else if past > 0.0 {
            let since = *self.turning.get_or_insert(sample.at);
            if seconds(since, sample.at) >= s.on_delay_s {
                self.level = Level::Present(Symptom {
                    kind: Kind::Limit,
                    since,
                    size: past,
                    evidence: Evidence::Limit {
                        value: sample.value,
                        limit: s.limit,
                        above: s.side == Side::Above,
                    },
                });
                self.turning = None;
            }
        } else {
            self.turning = None;
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

/// Settings of [`Saturation`].
#[derive(Clone, Copy, Debug)]
pub struct SaturationSettings {
    /// Lower end of what the sensor or actuator can give, unit of the signal.
    pub low: Option<f64>,
    /// Upper end, unit of the signal.
    pub high: Option<f64>,
    /// A value this near to an end is at it, unit of the signal.
    pub margin: f64,
    /// For this long, s.
    pub hold_s: f64,
}

/// A value that stays at an end of its range, where it no longer tells or does anything.
///
/// At least three samples and `hold_s` within `margin` of an end; a detector of absorbance, a
/// transmitter at 20 mA or a heater at 100 % are the usual customers. It returns with the first
/// three samples away from the end. Delay: the longer of three samples and `hold_s`.
/// Source: range checking after NAMUR NE 43 and NE 107.
#[derive(Clone, Debug)]
pub struct Saturation {
    settings: SaturationSettings,
    intake: Intake,
    level: Level,
    at_end: u32,
    away: u32,
    since: u64,
}

impl Saturation {
    /// Samples in a row that count.
    const ROW: u32 = 3;

    /// A detector with these settings.
    ///
    /// # Errors
    /// No end at all, or a setting that is not finite.
    pub fn new(settings: SaturationSettings) -> Result<Self, BadSetting> {
        not_negative("margin", settings.margin)?;
        not_negative("hold", settings.hold_s)?;
        let ends = [settings.low, settings.high];
        if ends.iter().flatten().count() == 0 || ends.iter().flatten().any(|e| !e.is_finite()) {
            return Err(BadSetting { name: "range", must: "given by at least one finite end" });
        }
        if let (Some(low), Some(high)) = (settings.low, settings.high) {
            positive("range", high - low)?;
        }
        Ok(Self {
            settings,
            intake: Intake::default(),
            level: Level::Quiet,
            at_end: 0,
            away: 0,
            since: 0,
        })
    }
}

impl Detector for Saturation {
    fn push(&mut self, sample: Sample) -> Level {
        if self.intake.admit(&sample).is_none() {
            return self.level;
        }
        let s = &self.settings;
        let end = match (s.low, s.high) {
            (Some(low), _) if sample.value <= low + s.margin => Some(low),
            (_, Some(high)) if sample.value >= high - s.margin => Some(high),
            _ => None,
        };
        if let Some(end) = end {
            if self.at_end == 0 {
                self.since = sample.at;
            }
            self.at_end = self.at_end.saturating_add(1);
            self.away = 0;
            let for_s = seconds(self.since, sample.at);
            if self.at_end >= Self::ROW && for_s >= s.hold_s {
                self.level = Level::Present(Symptom {
                    kind: Kind::Saturation,
                    since: self.since,
                    size: for_s,
                    evidence: Evidence::Saturation { value: sample.value, end, for_s },
                });
            }
        } else {
            self.away = self.away.saturating_add(1);
            if self.away >= Self::ROW || !self.level.is_present() {
                self.at_end = 0;
                self.level = Level::Quiet;
            }
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
