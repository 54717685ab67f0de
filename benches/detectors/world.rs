//! Simulated instruments with labelled faults: pure functions of a seed.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Randomness of one run.
pub struct Dice {
    rng: ChaCha8Rng,
    spare: Option<f64>,
}

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self { rng: ChaCha8Rng::seed_from_u64(seed), spare: None }
    }
    /// Between 0 and 1.
    pub fn even(&mut self) -> f64 {
        (self.rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.even()
    }
    /// Normal with unit variance (Marsaglia's polar method).
    pub fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        loop {
            let (u, v) = (2.0 * self.even() - 1.0, 2.0 * self.even() - 1.0);
            let s = u * u + v * v;
            if s > 0.0 && s < 1.0 {
                let f = (-2.0 * s.ln() / s).sqrt();
                self.spare = Some(v * f);
                return u * f;
            }
        }
    }
}

/// What an instrument is like. Units: of the signal, s.
#[derive(Clone, Copy)]
pub struct Nature {
    pub name: &'static str,
    pub rate_hz: f64,
    /// Standard deviation of the noise.
    pub sd: f64,
    /// Lag-1 correlation of the noise.
    pub phi: f64,
    pub quantum: f64,
    /// Amplitude of the day cycle, in `sd`.
    pub day: f64,
    /// Range of set points and time constant of the response.
    pub low: f64,
    pub high: f64,
    pub tau_s: f64,
    /// Hours between moves, at least and at most.
    pub moves_h: (f64, f64),
    /// Amplitude and period of a regular ripple (pump strokes).
    pub ripple: (f64, f64),
    /// Peaks after a move, height and width (absorbance).
    pub peak: (f64, f64),
    /// Closed PID loop with a heater instead of a plain response.
    pub pid: bool,
}

const PLAIN: Nature = Nature {
    name: "",
    rate_hz: 1.0,
    sd: 1.0,
    phi: 0.5,
    quantum: 0.01,
    day: 1.0,
    low: 10.0,
    high: 50.0,
    tau_s: 20.0,
    moves_h: (2.0, 8.0),
    ripple: (0.0, 1.0),
    peak: (0.0, 1.0),
    pid: false,
};

pub const INSTRUMENTS: [Nature; 6] = [
    Nature {
        name: "thermostat degC",
        sd: 0.02,
        phi: 0.6,
        quantum: 0.01,
        low: 25.0,
        high: 80.0,
        day: 0.0,
        tau_s: 120.0,
        moves_h: (3.0, 9.0),
        pid: true,
        ..PLAIN
    },
    Nature {
        name: "pump pressure bar",
        rate_hz: 10.0,
        sd: 0.05,
        phi: 0.5,
        quantum: 0.01,
        low: 5.0,
        high: 60.0,
        tau_s: 8.0,
        ripple: (0.08, 7.3),
        ..PLAIN
    },
    Nature {
        name: "balance g",
        rate_hz: 5.0,
        sd: 0.0008,
        phi: 0.7,
        quantum: 0.001,
        low: 0.0,
        high: 150.0,
        tau_s: 2.0,
        day: 2.0,
        ..PLAIN
    },
    Nature {
        name: "absorbance mAU",
        rate_hz: 5.0,
        sd: 0.05,
        phi: 0.3,
        quantum: 0.001,
        low: 0.0,
        high: 2.0,
        tau_s: 5.0,
        day: 2.0,
        moves_h: (4.0, 8.0),
        peak: (900.0, 15.0),
        ..PLAIN
    },
    Nature {
        name: "pH",
        sd: 0.004,
        phi: 0.7,
        quantum: 0.001,
        low: 4.0,
        high: 9.0,
        tau_s: 40.0,
        day: 2.0,
        ..PLAIN
    },
    Nature {
        name: "flow mL/min",
        rate_hz: 10.0,
        sd: 0.01,
        phi: 0.2,
        quantum: 0.005,
        low: 0.5,
        high: 10.0,
        tau_s: 3.0,
        ..PLAIN
    },
];

/// What goes wrong with the signal; the number is the size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    None,
    /// Jumps past the limit by so many sd.
    Over(f64),
    /// Runs off at so many units per s.
    Ramp(f64),
    /// Freezes for so many s.
    Freeze(f64),
    /// One sample off by so many sd.
    Spike(f64),
    /// Noise times this.
    Noise(f64),
    /// So many standard deviations of the samples (noise and ripple) per hour.
    Drift(f64),
    /// The response leaves its set point by this, unit of the signal.
    Leave(f64),
    /// Swings with this amplitude, unit of the signal.
    Swing(f64),
    /// Sits at the end of the range; the number is not used.
    Pegged(f64),
    /// The second sensor is off by this.
    Apart(f64),
}

/// What an instrument shows at one moment.
#[derive(Clone, Copy, Default)]
pub struct Scene {
    pub at: u64,
    pub value: f64,
    pub set_point: f64,
    pub moved: bool,
    /// A second sensor of the same quantity, read a third of a period later.
    pub second: (u64, f64),
}

pub struct World {
    n: Nature,
    dice: Dice,
    tick: u64,
    period_s: f64,
    set_point: f64,
    true_value: f64,
    noise: f64,
    noise2: f64,
    next_move_s: f64,
    moved_s: f64,
    /// No moves from here on, s.
    pub no_moves_from_s: f64,
    integral: f64,
    heater: [f64; 10],
    frozen: Option<f64>,
    before: f64,
    pub fault: Fault,
    pub fault_from_s: f64,
    phase: f64,
}

impl World {
    pub fn new(n: Nature, seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let set_point = dice.between(n.low, n.high);
        let next_move_s = 3600.0 * dice.between(n.moves_h.0, n.moves_h.1);
        let phase = dice.even();
        Self {
            n,
            dice,
            tick: 0,
            period_s: 1.0 / n.rate_hz,
            set_point,
            true_value: set_point,
            noise: 0.0,
            noise2: 0.0,
            next_move_s,
            moved_s: -1e9,
            no_moves_from_s: f64::INFINITY,
            integral: (set_point - 22.0) / 150.0,
            heater: [(set_point - 22.0) / 150.0; 10],
            frozen: None,
            before: set_point,
            fault: Fault::None,
            fault_from_s: f64::INFINITY,
            phase,
        }
    }

    pub fn period_s(&self) -> f64 {
        self.period_s
    }

    /// Upper end of what the sensor can show.
    pub fn top(n: &Nature) -> f64 {
        n.high + 0.5 * (n.high - n.low) + n.peak.0 * 1.2
    }

    pub fn step(&mut self) -> Scene {
        let n = self.n;
        let t = self.tick as f64 * self.period_s;
        // Arrival jitters by up to a tenth of the period.
        let at = ((t + 0.1 * self.period_s * self.dice.even()) * 1e9) as u64 + 1;
        self.tick += 1;
        let mut moved = false;
        if t >= self.next_move_s && t < self.no_moves_from_s {
            self.set_point = self.dice.between(n.low, n.high);
            self.next_move_s = t + 3600.0 * self.dice.between(n.moves_h.0, n.moves_h.1);
            self.moved_s = t;
            moved = true;
        }
        let on = t >= self.fault_from_s;
        let since = t - self.fault_from_s;
        let day = (std::f64::consts::TAU * (t / 86400.0 + self.phase)).sin();
        let lost = matches!(self.fault, Fault::Leave(_)) && on;
        if n.pid {
            let error = self.set_point - (self.true_value + self.noise);
            let wanted = 0.05 * error + self.integral;
            if (0.0..1.0).contains(&wanted) {
                self.integral += 0.0004 * error * self.period_s;
            }
            self.heater.rotate_right(1);
            self.heater[0] = wanted.clamp(0.0, 1.0);
            let power = self.heater[9];
            let ambient = 22.0 + day;
            self.true_value +=
                self.period_s * ((ambient + 150.0 * power) - self.true_value) / 400.0;
        } else {
            self.true_value +=
                (self.set_point - self.true_value) * (1.0 - (-self.period_s / n.tau_s).exp());
        }
        let unit = (1.0 - n.phi * n.phi).sqrt();
        self.noise = n.phi * self.noise + unit * n.sd * self.dice.normal();
        self.noise2 = n.phi * self.noise2 + unit * n.sd * self.dice.normal();
        let louder = if let (Fault::Noise(f), true) = (self.fault, on) { f } else { 1.0 };
        let mut clean = self.true_value + n.day * n.sd * day;
        clean += n.ripple.0 * (std::f64::consts::TAU * t / n.ripple.1).sin();
        if n.peak.0 > 0.0 {
            let x = (t - self.moved_s - 120.0) / n.peak.1;
            clean += n.peak.0 * (-0.5 * x * x).exp();
        }
        if on {
            clean += match self.fault {
                Fault::Ramp(r) => r * since,
                Fault::Drift(r) => {
                    r * n.sd.hypot(std::f64::consts::FRAC_1_SQRT_2 * n.ripple.0) * since / 3600.0
                }
                Fault::Leave(size) => size * (1.0 - (-since / 20.0).exp()),
                Fault::Swing(a) => {
                    a * (std::f64::consts::TAU * since / (6.0 * n.tau_s).max(30.0)).sin()
                }
                _ => 0.0,
            };
        }
        let _ = lost;
        let round = |v: f64| (v / n.quantum).round() * n.quantum;
        let mut value = round(clean + louder * self.noise);
        let motion = 0.33 * (clean - self.before);
        self.before = clean;
        let mut other = round(clean + motion + self.noise2 + 0.5 * n.sd);
        if on {
            match self.fault {
                Fault::Over(k) => {
                    value = round(Self::limit(&n) + k * n.sd + 3.0 * n.sd + self.noise.abs())
                }
                Fault::Spike(k) if since < self.period_s => value += k * n.sd,
                Fault::Freeze(s) if since < s => value = *self.frozen.get_or_insert(value),
                Fault::Pegged(_) => value = Self::top(&n),
                Fault::Apart(d) => other += d,
                _ => {}
            }
        }
        if !matches!(self.fault, Fault::Ramp(_)) {
            value = value.min(Self::top(&n));
        }
        let second = (at + (0.33 * self.period_s * 1e9) as u64, other);
        Scene { at, value, set_point: self.set_point, moved, second }
    }

    /// The limit an engineer would set.
    pub fn limit(n: &Nature) -> f64 {
        n.high + 0.3 * (n.high - n.low) + n.peak.0 * 1.1
    }
}
