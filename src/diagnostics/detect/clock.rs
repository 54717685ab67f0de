//! A device clock that runs off or jumps.

use super::face::{BadSetting, Evidence, Kind, Level, Symptom, positive, seconds};
use super::ring::Ring;

/// Settings of [`ClockSkew`].
#[derive(Clone, Copy, Debug)]
pub struct ClockSettings {
    /// Largest skew that does not matter, parts per million.
    pub ppm_max: f64,
    /// Smallest jump that matters, s.
    pub step_min_s: f64,
    /// Messages of this long give one point of the envelope, s.
    pub block_s: f64,
}

impl Default for ClockSettings {
    fn default() -> Self {
        Self { ppm_max: 100.0, step_min_s: 1.0, block_s: 60.0 }
    }
}

/// Clock skew and clock jumps from arrival time less device time.
///
/// Delays in the network only add, so the least offset of each block lies on the true line of the
/// clocks: the lower envelope. A line by least squares through the last 16 block minima gives the
/// skew; it must pass the limit by two standard errors. A block minimum off the line by more than
/// `step_min` is a jump when the next block agrees; the line then starts afresh and the jump stays
/// present for 16 blocks. Delay: eight blocks (8 min by default) for a skew, two for a jump.
/// Source: Paxson 1998, SIGMETRICS, 11; Moon, Skelly and Towsley 1999, INFOCOM, 227.
#[derive(Clone, Debug)]
pub struct ClockSkew {
    settings: ClockSettings,
    level: Level,
    origin: Option<(u64, i64)>,
    last: u64,
    block_from: u64,
    least: f64,
    least_at: f64,
    points: Ring<(f64, f64), 16>,
    pending: Option<(f64, f64)>,
    step_blocks: u32,
    backwards: u64,
}

impl ClockSkew {
    /// A detector with these settings.
    ///
    /// # Errors
    /// A setting that is not a finite number above zero.
    pub fn new(settings: ClockSettings) -> Result<Self, BadSetting> {
        positive("ppm_max", settings.ppm_max)?;
        positive("step_min", settings.step_min_s)?;
        positive("block", settings.block_s)?;
        Ok(Self {
            settings,
            level: Level::Learning { share: 0.0 },
            origin: None,
            last: 0,
            block_from: 0,
            least: f64::INFINITY,
            least_at: 0.0,
            points: Ring::new(),
            pending: None,
            step_blocks: 0,
            backwards: 0,
        })
    }

    /// A message that arrived at `at` (monotonic, ns) carried device time `device_ns`.
    pub fn message(&mut self, at: u64, device_ns: i64) -> Level {
        let (start, device_start) = *self.origin.get_or_insert((at, device_ns));
        if at < self.last {
            self.backwards += 1;
            return self.level;
        }
        if self.last == 0 {
            self.block_from = at;
        }
        self.last = at;
        let t = seconds(start, at);
        let offset = t - device_ns.saturating_sub(device_start) as f64 * 1e-9;
        if offset < self.least {
            (self.least, self.least_at) = (offset, t);
        }
        if seconds(self.block_from, at) >= self.settings.block_s {
            let point = (self.least_at, self.least);
            self.block_from = at;
            self.least = f64::INFINITY;
            self.block(at, point);
        }
        self.level
    }

    fn block(&mut self, at: u64, point: (f64, f64)) {
        let fit = self.fit();
        let expected = fit.map_or_else(
            || self.points.newest().map(|p| p.1),
            |(slope, _, mt, mo)| Some(mo + slope * (point.0 - mt)),
        );
        let off = expected.map_or(0.0, |e| point.1 - e);
        if off.abs() > self.settings.step_min_s {
            let Some(first) = self.pending.replace(point) else { return };
            if (first.1 - point.1).abs() > self.settings.step_min_s {
                return; // Not at rest yet.
            }
            self.points.clear();
            self.points.push(first);
            self.points.push(point);
            self.pending = None;
            self.step_blocks = 16;
            self.level = Level::Present(Symptom {
                kind: Kind::ClockSkew,
                since: at,
                size: off.abs(),
                evidence: Evidence::ClockStep { step_s: off },
            });
            return;
        }
        self.pending = None;
        self.points.push(point);
        if self.step_blocks > 0 {
            self.step_blocks -= 1;
            return;
        }
        let count = self.points.len();
        let Some((slope, error, ..)) = self.fit().filter(|_| count >= 8) else {
            self.level = Level::Learning { share: count as f32 / 8.0 };
            return;
        };
        let (ppm, error) = (slope * 1e6, error * 1e6);
        let held = self.level.is_present();
        let limit = self.settings.ppm_max * if held { 0.8 } else { 1.0 };
        self.level = if ppm.abs() - if held { 0.0 } else { 2.0 * error } > limit {
            let first = self.points.iter().next().map_or(0.0, |p| p.0);
            Level::Present(Symptom {
                kind: Kind::ClockSkew,
                since: self.level.symptom().map_or(at, |old| old.since),
                size: ppm.abs(),
                evidence: Evidence::ClockSkew { ppm, over_s: point.0 - first },
            })
        } else {
            Level::Quiet
        };
    }

    /// Slope, its standard error, and the means of time and offset.
    fn fit(&self) -> Option<(f64, f64, f64, f64)> {
        let n = self.points.len() as f64;
        if n < 4.0 {
            return None;
        }
        let (st, so) = self.points.iter().fold((0.0, 0.0), |(a, b), p| (a + p.0, b + p.1));
        let (mt, mo) = (st / n, so / n);
        let (mut tt, mut to, mut oo) = (0.0, 0.0, 0.0);
        for p in self.points.iter() {
            let (t, o) = (p.0 - mt, p.1 - mo);
            tt += t * t;
            to += t * o;
            oo += o * o;
        }
        if tt <= 0.0 {
            return None;
        }
        let slope = to / tt;
        Some((slope, ((oo - slope * to).max(0.0) / (n - 2.0) / tt).sqrt(), mt, mo))
    }

    /// The level after the last message.
    #[must_use]
    pub const fn level(&self) -> Level {
        self.level
    }

    /// Messages that arrived before the one before: ignored.
    #[must_use]
    pub const fn backwards(&self) -> u64 {
        self.backwards
    }
}
