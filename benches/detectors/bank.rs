//! The bank of detectors a lab engineer would put on each instrument.

use labloop::diagnostics::detect::*;

use crate::world::{Nature, Scene, World};

pub const NAMES: [&str; 11] = [
    "limit",
    "rate",
    "stuck",
    "spike",
    "noise",
    "drift",
    "control",
    "oscillation",
    "saturation",
    "disagreement",
    "steady",
];

pub struct Bank {
    pub limit: Limit,
    pub rate: Rate,
    pub stuck: Stuck,
    pub spike: Spike,
    pub noise: Noise,
    pub drift: Drift,
    pub control: Control,
    pub oscillation: Oscillation,
    pub saturation: Saturation,
    pub disagreement: Disagreement,
    pub steady: Steady,
}

/// Half width of good control.
pub fn band(n: &Nature) -> f64 {
    10.0 * n.sd + 4.0 * n.quantum + 2.0 * n.ripple.0 + n.day * n.sd
}

/// A rate no sound instrument reaches, unit per s.
pub fn rate_limit(n: &Nature) -> f64 {
    let span = n.high - n.low;
    if n.peak.0 > 0.0 { n.peak.0 / n.peak.1 } else { 1.2 * span / n.tau_s }
}

pub fn tolerance(n: &Nature) -> f64 {
    8.0 * n.sd + 2.0 * n.quantum
}

pub fn swing_min(n: &Nature) -> f64 {
    5.0 * n.sd + 2.0 * n.ripple.0 + 2.0 * n.quantum
}

impl Bank {
    pub fn new(n: &Nature) -> Result<Self, BadSetting> {
        let period = 1.0 / n.rate_hz;
        let settle = 12.0 * n.tau_s + 20.0 * n.peak.1 + 300.0 + if n.pid { 1500.0 } else { 0.0 };
        Ok(Self {
            limit: Limit::new(LimitSettings {
                limit: World::limit(n),
                side: Side::Above,
                hysteresis: 5.0 * n.sd,
                on_delay_s: 0.0,
                off_delay_s: 2.0 * period,
            })?,
            rate: Rate::new(RateSettings {
                rise_per_s: Some(rate_limit(n)),
                fall_per_s: Some(rate_limit(n)),
                window_s: (16.0 * period).max(4.0 * band(n) / rate_limit(n)),
                gap_s: 60.0,
            })?,
            stuck: Stuck::new(StuckSettings::default())?,
            spike: Spike::new(SpikeSettings { size_min: 3.0 * n.quantum, ..Default::default() })?,
            noise: Noise::new(NoiseSettings { settle_s: settle, ..Default::default() })?,
            drift: Drift::new(DriftSettings { settle_s: settle, ..Default::default() })?,
            control: Control::new(ControlSettings {
                band: band(n),
                gain: band(n),
                gain_time_s: 3.0 * n.tau_s + 300.0 * f64::from(u8::from(n.pid)) + 12.0 * n.peak.1,
                excess_max: band(n) * n.tau_s + n.peak.0 * n.peak.1 * 3.0,
                overshoot: 0.1,
                lag_s: n.tau_s * if n.pid { 4.0 } else { 1.0 },
                gap_s: 60.0,
            })?,
            oscillation: Oscillation::new(OscillationSettings {
                amplitude_min: swing_min(n),
                period_max_s: 30.0 * n.tau_s + 60.0,
                period_min_s: 8.0 * period,
                settle_s: settle,
                gap_s: 60.0,
            })?,
            saturation: Saturation::new(SaturationSettings {
                low: None,
                high: Some(World::top(n)),
                margin: 0.0,
                hold_s: 0.0,
            })?,
            disagreement: Disagreement::new(DisagreementSettings {
                tolerance: tolerance(n),
                learn: 300,
                time_s: 0.5 * period,
                on_delay_s: 0.0,
                gap_s: 60.0,
            })?,
            steady: Steady::new(SteadySettings {
                interval_s: (5.0 * period).max(n.tau_s / 20.0).max(if n.ripple.0 > 0.0 {
                    2.0 * n.ripple.1
                } else {
                    0.0
                }),
                ..Default::default()
            })?,
        })
    }

    /// Lets one detector, or all with `None`, see a scene; gives the levels in the order of NAMES.
    pub fn see(&mut self, only: Option<usize>, n: &Nature, s: &Scene) -> [Level; 11] {
        let sample = Sample::good(s.at, s.value);
        let all = only.is_none();
        let is = |k: usize| all || only == Some(k);
        if s.moved {
            for detector in [
                &mut self.spike as &mut dyn Detector,
                &mut self.noise,
                &mut self.drift,
                &mut self.oscillation,
                &mut self.steady,
            ] {
                detector.moved(s.at);
            }
        }
        let mut out = [Level::Quiet; 11];
        if is(0) {
            out[0] = self.limit.push(sample);
        }
        if is(1) {
            out[1] = self.rate.push(sample);
        }
        if is(2) {
            out[2] = self.stuck.push(sample);
        }
        if is(3) {
            out[3] = self.spike.push(sample);
        }
        if is(4) {
            out[4] = self.noise.push(sample);
        }
        if is(5) {
            out[5] = self.drift.push(sample);
        }
        if is(6) && n.peak.0 == 0.0 {
            self.control.set_point(s.at, s.set_point);
            out[6] = self.control.push(sample);
        }
        if is(7) {
            out[7] = self.oscillation.push(Sample::good(s.at, s.value - s.set_point));
        }
        if is(8) {
            out[8] = self.saturation.push(sample);
        }
        if is(9) {
            self.disagreement.first(sample);
            out[9] = self.disagreement.second(Sample::good(s.second.0, s.second.1));
        }
        if is(10) {
            out[10] = self.steady.push(sample);
        }
        let _ = n;
        out
    }
}
