//! Six kinds of data as instruments give them: with their resolution, their units, and the jitter
//! of polling.

use labloop::store::telemetry::{Point, Scale, Status};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Random numbers with what is needed here.
pub struct Dice(ChaCha8Rng);

impl Dice {
    /// From a seed.
    pub fn new(seed: u64) -> Dice {
        Dice(ChaCha8Rng::seed_from_u64(seed))
    }

    /// From 0 to 1.
    pub fn even(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Normal, mean 0, standard deviation 1 (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let (a, b) = (1.0 - self.even(), self.even());
        (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
    }
}

/// A kind of data.
pub struct Kind {
    /// For people.
    pub name: &'static str,
    /// Time between polls in ms.
    pub every_ms: f64,
    /// The unit in which the instrument speaks.
    pub scale: Scale,
    /// The next value.
    pub next: fn(&mut Dice, &mut [f64; 4], u64) -> f64,
}

const MILLI: Scale = Scale { factor: 1e-3, offset: 0.0 };
const MILLILITRE: Scale = Scale { factor: 1e-6, offset: 0.0 };
const BAR: Scale = Scale { factor: 1e5, offset: 0.0 };
const PERCENT: Scale = Scale { factor: 0.01, offset: 0.0 };

/// All kinds.
pub const KINDS: [Kind; 6] = [
    Kind {
        name: "bath, 0.01 degC as text, 0.5 s",
        every_ms: 500.0,
        scale: Scale::CELSIUS,
        next: |dice, s, n| {
            // A bath that regulates: slow wander, sensor noise of 15 mK.
            s[0] += -0.002 * s[0] + 0.002 * dice.normal();
            let celsius = 25.0 + 5.0 * (n as f64 / 9e4).sin() + s[0] + 0.015 * dice.normal();
            (celsius * 100.0).round() / 100.0 + 273.15
        },
    },
    Kind {
        name: "balance, 0.1 mg as text, 0.2 s",
        every_ms: 200.0,
        scale: MILLI,
        next: |dice, s, n| {
            // A dose of some grams now and then; drift by evaporation; noise of 2 digits.
            if n % 3_000 < 100 {
                s[0] += 0.05 * dice.even();
            }
            s[0] -= 2e-6;
            ((s[0] + 2e-4 * dice.normal()) * 1e4).round() / 1e4 * 1e-3
        },
    },
    Kind {
        name: "pump volume, 0.001 mL as text, 0.2 s",
        every_ms: 200.0,
        scale: MILLILITRE,
        next: |dice, s, n| {
            // 1.25 mL/min for ten minutes, then five of rest; the pump polls its own counter.
            if n % 4_500 < 3_000 {
                s[0] += 1.25 / 300.0 * (1.0 + 0.01 * dice.normal());
            }
            ((s[0] % 1_000.0) * 1e3).round() / 1e3 * 1e-6
        },
    },
    Kind {
        name: "pressure, f32 register in bar, 1 s",
        every_ms: 1_000.0,
        scale: BAR,
        next: |dice, s, _| {
            s[0] += -0.01 * s[0] + 0.01 * dice.normal();
            f64::from((12.0 + s[0] + 0.002 * dice.normal()) as f32) * 1e5
        },
    },
    Kind {
        name: "heater, 0.1 % register, 0.25 s",
        every_ms: 250.0,
        scale: PERCENT,
        next: |dice, s, _| {
            s[0] += -0.02 * s[0] + 0.8 * dice.normal();
            (45.0 + s[0]).clamp(0.0, 100.0).mul_add(10.0, 0.0).round() * 0.1 * 0.01
        },
    },
    Kind {
        name: "absorbance, full double, 1 s",
        every_ms: 1_000.0,
        scale: Scale::SI,
        next: |dice, s, _| {
            s[0] += -0.001 * s[0] + 1e-4 * dice.normal();
            0.35 + s[0] + 3e-4 * dice.normal()
        },
    },
];

/// Readings of a kind: a poll each period, answered after a latency with some milliseconds of
/// jitter, one in 200 much later; one in 2,000 begins a stretch of three without a value.
pub struct Stream {
    kind: &'static Kind,
    dice: Dice,
    state: [f64; 4],
    n: u64,
    last: u64,
    bad: u32,
}

impl Stream {
    /// From a seed.
    pub fn new(kind: &'static Kind, seed: u64) -> Stream {
        Stream { kind, dice: Dice::new(seed), state: [0.0; 4], n: 0, last: 0, bad: 0 }
    }
}

impl Iterator for Stream {
    type Item = Point;

    fn next(&mut self) -> Option<Point> {
        let late = if self.dice.even() < 0.005 { 40.0 * self.dice.even() } else { 0.0 };
        let at = self.n as f64 * self.kind.every_ms + 12.0 + 2.0 * self.dice.normal() + late;
        let tick = ((at.max(0.0) * 1e6) as u64).max(self.last + 1);
        self.last = tick;
        let value = (self.kind.next)(&mut self.dice, &mut self.state, self.n);
        self.n += 1;
        if self.dice.even() < 0.0005 {
            self.bad = 3;
        }
        if self.bad > 0 {
            self.bad -= 1;
            let status = Status { code: 2 | 39 << 2, text: 0 };
            return Some(Point { tick, value: f64::NAN, status });
        }
        Some(Point { tick, value, status: Status::GOOD })
    }
}
