//! A nucleophilic aromatic substitution in a flow reactor, with two ways to lose.
//!
//! ```text
//! A + B -> P     the product, an amino nitroarene
//! P     -> X     the product is slowly lost, low activation energy
//! P + B -> D     over-substitution to the bis-adduct, rate k [P] [B]^2 as a second amine
//!                catalyses it as a base; high activation energy
//! ```
//!
//! Starting point: Hone, Holmes, Akien, Bourne and Muller, React. Chem. Eng. 2, 103 (2017),
//! 2,4-difluoronitrobenzene (A) and pyrrolidine (B) in ethanol: k(ortho) = 0.579 L/mol/s at 90
//! degC. Changed here, so that the optimum lies inside the box rather than at its edge: one
//! regio-isomer, 55 kJ/mol instead of 33.3 for the substitution, a first-order loss of the
//! product, and an over-substitution that is second order in the amine (base catalysis) and
//! rises more steeply with temperature than the 38.9 and 44.8 kJ/mol that were measured.

/// Gas constant, J/mol/K.
const R: f64 = 8.314_462_618;
/// Temperature the rate constants are given at, K.
const T_REF: f64 = 363.15;

/// Rate constant at 90 degC and activation energy in J/mol.
const SUBSTITUTION: (f64, f64) = (0.579, 55_000.0);
/// First order, 1/s.
const LOSS: (f64, f64) = (0.006, 15_000.0);
/// L2/mol2/s.
const OVER: (f64, f64) = (0.6, 90_000.0);

/// Concentration of A in its feed, mol/L.
pub const FEED_A: f64 = 0.20;
/// Concentration of B in its feed, mol/L.
pub const FEED_B: f64 = 0.60;

fn rate((k, energy): (f64, f64), kelvin: f64) -> f64 {
    k * (energy / R * (1.0 / T_REF - 1.0 / kelvin)).exp()
}

/// Concentrations along a plug-flow reactor, mol/L.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mixture {
    /// Starting material.
    pub a: f64,
    /// Amine.
    pub b: f64,
    /// Product.
    pub p: f64,
    /// Bis-adduct.
    pub d: f64,
}

impl Mixture {
    /// Both feeds freshly mixed; `ratio` = flow of feed B to flow of feed A.
    pub fn fresh(ratio: f64) -> Mixture {
        let share = 1.0 / (1.0 + ratio);
        Mixture { a: FEED_A * share, b: FEED_B * ratio * share, p: 0.0, d: 0.0 }
    }
}

/// Rate constants at one temperature.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rates {
    /// Substitution, L/mol/s.
    k1: f64,
    /// Loss of the product, 1/s.
    k2: f64,
    /// Over-substitution, L2/mol2/s.
    k3: f64,
}

impl Rates {
    pub(crate) fn at(celsius: f64) -> Rates {
        let kelvin = celsius + 273.15;
        Rates { k1: rate(SUBSTITUTION, kelvin), k2: rate(LOSS, kelvin), k3: rate(OVER, kelvin) }
    }

    fn slope(&self, m: Mixture) -> Mixture {
        let (r1, r2, r3) = (self.k1 * m.a * m.b, self.k2 * m.p, self.k3 * m.p * m.b * m.b);
        Mixture { a: -r1, b: -r1 - r3, p: r1 - r2 - r3, d: r3 }
    }

    /// The mixture after `dt` seconds: one step of Runge-Kutta of fourth order.
    pub(crate) fn step(&self, m: Mixture, dt: f64) -> Mixture {
        let s1 = self.slope(m);
        let s2 = self.slope(m.along(s1, 0.5 * dt));
        let s3 = self.slope(m.along(s2, 0.5 * dt));
        let s4 = self.slope(m.along(s3, dt));
        m.along(s1, dt / 6.0).along(s2, dt / 3.0).along(s3, dt / 3.0).along(s4, dt / 6.0)
    }

    /// Steps of `dt` seconds must be cut into so many parts to be exact to 1e-4, 256 at most.
    pub(crate) fn parts(&self, dt: f64) -> u32 {
        let fastest = self.k1 * (FEED_A + FEED_B) + self.k2 + self.k3 * FEED_B * FEED_B;
        (dt * fastest).ceil().clamp(1.0, 256.0) as u32
    }
}

impl Mixture {
    /// This share of itself and the rest of another.
    pub(crate) fn blend(self, other: Mixture, keep: f64) -> Mixture {
        let mix = |own: f64, its: f64| its + (own - its) * keep;
        Mixture {
            a: mix(self.a, other.a),
            b: mix(self.b, other.b),
            p: mix(self.p, other.p),
            d: mix(self.d, other.d),
        }
    }

    fn along(self, slope: Mixture, dt: f64) -> Mixture {
        Mixture {
            a: self.a + dt * slope.a,
            b: self.b + dt * slope.b,
            p: self.p + dt * slope.p,
            d: self.d + dt * slope.d,
        }
    }
}

/// What leaves the reactor. `ratio` = flow of feed B to flow of feed A, `seconds` = residence time.
///
/// Runge-Kutta of fourth order with 200 steps: to 1e-6 of the exact solution in the box.
pub fn react(celsius: f64, seconds: f64, ratio: f64) -> Mixture {
    let rates = Rates::at(celsius);
    let steps = 200;
    (0..steps).fold(Mixture::fresh(ratio), |m, _| rates.step(m, seconds / f64::from(steps)))
}

/// Share of A that became product, from 0 to 1.
pub fn noiseless_yield(celsius: f64, seconds: f64, ratio: f64) -> f64 {
    react(celsius, seconds, ratio).p * (1.0 + ratio) / FEED_A
}

/// Box of the example: temperature in degC, residence time in s, ratio of the flows B to A.
pub const BOX: [(f64, f64); 3] = [(40.0, 120.0), (15.0, 120.0), (0.3, 2.0)];

/// Best point of the box and its yield: a grid of 41 x 41 x 41 points (time spaced evenly in the
/// logarithm), then seven rounds of a grid around the best with a third of the width each.
pub fn optimum() -> ([f64; 3], f64) {
    let inside = |[t, s, r]: [f64; 3]| noiseless_yield(t, s.exp(), r);
    let [t, s, r] = BOX;
    let limits = [t, (s.0.ln(), s.1.ln()), r];
    let mut grid = limits;
    let mut best = ([0.0; 3], f64::NEG_INFINITY);
    for round in 0..8 {
        let n = if round == 0 { 40 } else { 10 };
        let at = |(lo, hi): (f64, f64), k: u32| lo + (hi - lo) * f64::from(k) / f64::from(n);
        let [t, s, r] = grid;
        for i in 0..=n {
            for j in 0..=n {
                for k in 0..=n {
                    let point = [at(t, i), at(s, j), at(r, k)];
                    let found = inside(point);
                    if found > best.1 {
                        best = (point, found);
                    }
                }
            }
        }
        for ((side, centre), limit) in grid.iter_mut().zip(best.0).zip(limits) {
            let half = (side.1 - side.0) / 6.0;
            *side = ((centre - half).max(limit.0), (centre + half).min(limit.1));
        }
    }
    let ([t, s, r], found) = best;
    ([t, s.exp(), r], found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_made_from_nothing() {
        for (t, s, r) in [(30.0, 15.0, 0.8), (120.0, 120.0, 3.0), (70.0, 60.0, 1.5)] {
            let m = react(t, s, r);
            assert!(m.a + m.p + m.d <= FEED_A / (1.0 + r) + 1e-12);
            assert!(m.p + m.d > 0.0);
            assert!(m.a >= 0.0 && m.b >= 0.0 && m.p >= 0.0 && m.d >= 0.0);
        }
    }

    #[test]
    fn the_optimum_lies_inside_the_box_and_is_one() {
        let (at, best) = optimum();
        for (value, (lo, hi)) in at.iter().zip(BOX) {
            let margin = 0.03 * (hi - lo);
            assert!((lo + margin..=hi - margin).contains(value), "{at:?}");
        }
        assert!((0.3..0.98).contains(&best), "{best}");
        let [t, s, r] = at;
        for (dt, ds, dr) in [
            (4.0, 0.0, 0.0),
            (-4.0, 0.0, 0.0),
            (0.0, 8.0, 0.0),
            (0.0, -8.0, 0.0),
            (0.0, 0.0, 0.2),
            (0.0, 0.0, -0.2),
        ] {
            assert!(noiseless_yield(t + dt, s + ds, r + dr) < best);
        }
    }
}
