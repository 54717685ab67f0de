//! A liquid chromatograph that separates three substances of a test mixture.
//!
//! Linear solvent strength (Snyder and Dolan, High-Performance Gradient Elution, 2007, ch. 2):
//! `log k = log kw - S phi`, retention in a linear gradient `t = (t0 / b) log(2.303 k0 b + 1) + t0 + delay` with
//! `b = S t0 dphi / tG`. Retention falls with temperature; an acid is held less where it is charged. Peaks
//! are Gaussian with the width of the column's plates at the retention when they leave it.

use serde_json::{Value as Json, json};

use crate::config::{Error, PlantConfig};
use crate::plants::{Answer, Plant, number, rounded, setting, unknown, walk, wired};
use crate::world::{Effect, Noise, Placed};

/// Settings: plates of the column.
pub(crate) const SETTINGS: &[&str] = &["plates"];

/// Column dead time at 1 mL/min and delay of the gradient, min.
const DEAD_MIN: f64 = 1.0;
const DELAY_MIN: f64 = 0.6;
/// Reading of the detector, min.
const EVERY_MIN: f64 = 0.01;
/// The run goes on so long after the gradient, min.
const AFTER_MIN: f64 = 3.0;

/// A substance: log kw, S, pKa of an acid, change of log k by kelvin, area in mAU min.
struct Substance {
    log_kw: f64,
    slope: f64,
    acid: Option<f64>,
    per_kelvin: f64,
    area: f64,
}

/// Two neighbours that change places with heat and gradient, and an acid that comes later unless it is
/// charged.
const MIXTURE: [Substance; 3] = [
    Substance { log_kw: 2.30, slope: 4.0, acid: None, per_kelvin: -0.004, area: 40.0 },
    Substance { log_kw: 2.62, slope: 4.6, acid: None, per_kelvin: -0.010, area: 60.0 },
    Substance { log_kw: 3.00, slope: 4.4, acid: Some(4.2), per_kelvin: -0.005, area: 30.0 },
];

/// The instrument.
#[derive(Debug)]
pub(crate) struct Chromatograph {
    hplc: String,
    plates: f64,
    /// The run under way, and when it ends.
    running: Option<(Method, f64)>,
    /// Method of the last run that ended well.
    last: Option<Method>,
    injected_ul: f64,
    at: f64,
}

/// How a run is made.
#[derive(Debug)]
struct Method {
    start: f64,
    end: f64,
    gradient_min: f64,
    celsius: f64,
    ph: f64,
}

impl Method {
    fn read(input: &Json) -> Result<Method, String> {
        let method = Method {
            start: number(input, "start_percent", 0.0..=100.0)? / 100.0,
            end: number(input, "end_percent", 0.0..=100.0)? / 100.0,
            gradient_min: number(input, "gradient_min", 1.0..=120.0)?,
            celsius: number(input, "temperature_c", 10.0..=90.0)?,
            ph: number(input, "ph", 2.0..=8.0)?,
        };
        if method.end <= method.start {
            return Err("the gradient must rise".into());
        }
        Ok(method)
    }

    fn minutes(&self) -> f64 {
        self.gradient_min + AFTER_MIN
    }
}

/// Retention time and standard deviation of each peak, min.
fn peaks(method: &Method, plates: f64) -> Vec<(f64, f64, f64)> {
    let peak = |s: &Substance| {
        // Charged, an acid is held ten times less.
        let charged = s.acid.map_or(0.0, |pka| 1.0 / (1.0 + 10f64.powf(pka - method.ph)));
        let log_kw =
            s.log_kw + s.per_kelvin * (method.celsius - 30.0) + (1.0 - 0.9 * charged).log10();
        let k0 = 10f64.powf(log_kw - s.slope * method.start);
        let b = s.slope * DEAD_MIN * (method.end - method.start) / method.gradient_min;
        let grown = 2.303 * k0 * b + 1.0;
        let time = DEAD_MIN / b * grown.log10() + DEAD_MIN + DELAY_MIN;
        let leaving = k0 / grown;
        (time, DEAD_MIN * (1.0 + leaving) / plates.sqrt(), s.area)
    };
    MIXTURE.iter().map(peak).collect()
}

/// Signal of the detector without noise, mAU.
fn signal(peaks: &[(f64, f64, f64)], minutes: f64) -> f64 {
    let bell = |&(time, sd, area): &(f64, f64, f64)| {
        let z = (minutes - time) / sd;
        area / (sd * std::f64::consts::TAU.sqrt()) * (-0.5 * z * z).exp()
    };
    peaks.iter().map(bell).sum()
}

/// What the instrument's own software makes of a run: peaks are maxima with a valley on either side,
/// and the resolution of neighbours comes from their widths at half height. Peaks that have run into
/// each other are one.
fn report(method: &Method, plates: f64, mut noise: Noise<'_>) -> Json {
    let peaks = peaks(method, plates);
    let count = (method.minutes() / EVERY_MIN) as usize;
    let time = |index: usize| index as f64 * EVERY_MIN;
    let seen: Vec<f64> = (0..=count).map(|index| signal(&peaks, time(index))).collect();
    let at = |index: usize| seen.get(index).copied().unwrap_or(0.0);
    let mut found: Vec<(f64, f64)> = Vec::new();
    for top in 1..count {
        if at(top) < 5.0 || at(top) < at(top - 1) || at(top) <= at(top + 1) {
            continue;
        }
        let half = at(top) / 2.0;
        // Between two readings, where the straight line through them is at half height.
        let crossing = |below: usize, above: usize| {
            let share = (half - at(below)) / (at(above) - at(below));
            time(below) + share * (time(above) - time(below))
        };
        let left = (0..top).rev().find(|i| at(*i) < half).map_or(0.0, |i| crossing(i, i + 1));
        let right =
            (top..=count).find(|i| at(*i) < half).map_or(time(count), |i| crossing(i, i - 1));
        found.push((time(top), right - left));
    }
    let neighbours = found.iter().zip(found.iter().skip(1));
    let least = neighbours.map(|(a, b)| 1.18 * (b.0 - a.0) / (a.1 + b.1)).fold(9.99, f64::min);
    let resolution = if found.len() < MIXTURE.len() { 0.0 } else { least };
    let last = found.last().map_or(0.0, |(time, _)| *time);
    json!({
        "peaks": found.len(),
        "resolution": rounded((resolution * (1.0 + 0.01 * noise.normal())).max(0.0), 3),
        "last_min": rounded(last, 3),
    })
}

impl Chromatograph {
    pub(crate) fn new(config: &PlantConfig, placed: &[Placed]) -> Result<Chromatograph, Error> {
        Ok(Chromatograph {
            hplc: wired(config, placed, "hplc")?,
            plates: setting(&config.settings, "plates", 9_000.0, 100.0..=1e6)?,
            running: None,
            last: None,
            injected_ul: 0.0,
            at: 0.0,
        })
    }

    fn shown(&self) -> Json {
        json!({"running": self.running.is_some(), "injected_ul": self.injected_ul})
    }

    fn chromatogram(&self, method: &Method, mut noise: Noise<'_>) -> Json {
        let peaks = peaks(method, self.plates);
        let drift = 0.5 * noise.normal();
        let count = (method.minutes() / EVERY_MIN) as usize;
        let (mut minutes, mut readings) = (Vec::new(), Vec::new());
        for index in 0..=count {
            let t = index as f64 * EVERY_MIN;
            let clean = signal(&peaks, t);
            minutes.push(rounded(t, 3));
            readings.push(rounded(clean + drift * t / method.minutes() + 0.3 * noise.normal(), 3));
        }
        json!({"time_min": minutes, "signal_mau": readings})
    }
}

impl Plant for Chromatograph {
    fn advance(&mut self, now: f64, placed: &mut [Placed]) {
        let mut at = self.at;
        walk(&mut at, now, 3_600.0, placed, |_, _| {});
        self.at = at;
        if let Some((method, _)) = self.running.take_if(|(_, end)| *end <= now) {
            self.last = Some(method);
        }
    }

    fn command(
        &mut self,
        instrument: &str,
        command: &str,
        input: &Json,
        noise: Noise<'_>,
    ) -> Answer {
        match command {
            "run" if instrument == self.hplc => {
                if self.running.is_some() {
                    return Err("a run is under way".into());
                }
                let method = Method::read(input)?;
                let ul = number(input, "volume_ul", 1.0..=100.0)?;
                let minutes = method.minutes();
                self.running = Some((method, self.at + 60.0 * minutes));
                self.last = None;
                self.injected_ul += ul;
                let effect = Effect::new(instrument, "inject", &[("ul", ul), ("min", minutes)]);
                Ok((self.shown(), Some(effect)))
            }
            "fetch" if instrument == self.hplc => {
                let method = self.last.as_ref().ok_or("there was no run")?;
                Ok((self.chromatogram(method, noise), None))
            }
            "report" if instrument == self.hplc => {
                let method = self.last.as_ref().ok_or("there was no run")?;
                Ok((report(method, self.plates, noise), None))
            }
            "stop" if instrument == self.hplc => {
                self.running = None;
                Ok((self.shown(), Some(Effect::new(instrument, "stop", &[]))))
            }
            _ => Err(unknown(command)),
        }
    }

    fn state(&self, instrument: &str) -> Option<(f64, Json)> {
        (instrument == self.hplc).then(|| (5.0, self.shown()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Smallest resolution of neighbours.
    fn resolution(gradient_min: f64, celsius: f64, ph: f64) -> f64 {
        let method = Method { start: 0.05, end: 0.95, gradient_min, celsius, ph };
        let mut peaks = peaks(&method, 9_000.0);
        peaks.sort_by(|a, b| a.0.total_cmp(&b.0));
        let pairs = peaks.windows(2).map(|p| (p[1].0 - p[0].0) / (2.0 * (p[0].1 + p[1].1)));
        pairs.fold(f64::INFINITY, f64::min)
    }

    #[test]
    fn a_longer_gradient_separates_better_and_the_acid_moves_with_the_ph() {
        assert!(resolution(30.0, 25.0, 3.0) > 3.0 * resolution(8.0, 25.0, 3.0));
        // The neighbours change places near 40 degC.
        assert!(resolution(15.0, 40.0, 3.0) < 0.6);
        assert!(resolution(8.0, 60.0, 3.0) > 3.0);
        assert!(resolution(8.0, 60.0, 5.0) < 1.0);
    }
}
