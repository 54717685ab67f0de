//! Tables of units: atoms, prefixes, temperature scales and common misspellings.
//!
//! Codes and magnitudes after The Unified Code for Units of Measure (ucum.org), whose codes in
//! brackets are read beside the spellings laboratories use.

use super::Dimension;

/// A unit that is not made of others.
pub(super) struct Atom {
    /// Spellings; the first is the one we print.
    pub symbols: &'static [&'static str],
    /// Dimension.
    pub dim: Dimension,
    /// Coherent SI units in one of it.
    pub factor: f64,
    /// Whether it takes SI prefixes.
    pub prefixed: bool,
}

const fn atom(
    symbols: &'static [&'static str],
    dim: Dimension,
    factor: f64,
    prefixed: bool,
) -> Atom {
    Atom { symbols, dim, factor, prefixed }
}

use Dimension as D;

/// Units and their factors (SI brochure, 9th edition; psi and other customary units after NIST
/// SP 811, appendix B). The first symbol is the one we print.
pub(super) const ATOMS: &[Atom] = &[
    atom(&["m"], D::LENGTH, 1.0, true),
    atom(&["g"], D::MASS, 1e-3, true),
    atom(&["s", "sec"], D::TIME, 1.0, true),
    atom(&["A"], D::CURRENT, 1.0, true),
    atom(&["K"], D::TEMPERATURE, 1.0, true),
    atom(&["mol"], D::AMOUNT, 1.0, true),
    atom(&["cd"], D::LUMINOUS, 1.0, false),
    atom(&["min"], D::TIME, 60.0, false),
    atom(&["h", "hr"], D::TIME, 3_600.0, false),
    atom(&["d", "day"], D::TIME, 86_400.0, false),
    atom(&["L", "l"], D::VOLUME, 1e-3, true),
    atom(&["M"], D::CONCENTRATION, 1e3, true),
    atom(&["Hz"], D::FREQUENCY, 1.0, true),
    atom(&["rpm"], D::FREQUENCY, 1.0 / 60.0, false),
    atom(&["N"], D::FORCE, 1.0, true),
    atom(&["Pa"], D::PRESSURE, 1.0, true),
    atom(&["bar"], D::PRESSURE, 1e5, true),
    atom(&["atm"], D::PRESSURE, 101_325.0, false),
    atom(&["Torr", "mmHg", "mm[Hg]"], D::PRESSURE, 101_325.0 / 760.0, true),
    atom(&["psi", "[psi]"], D::PRESSURE, 6_894.757_293_168_361, false),
    atom(&["J"], D::ENERGY, 1.0, true),
    atom(&["eV"], D::ENERGY, 1.602_176_634e-19, true),
    atom(&["cal", "cal_th"], D::ENERGY, 4.184, true),
    atom(&["W"], D::POWER, 1.0, true),
    atom(&["V"], D::VOLTAGE, 1.0, true),
    atom(&["Ohm", "ohm", "Ω"], D::RESISTANCE, 1.0, true),
    atom(&["C"], D::CHARGE, 1.0, true),
    atom(&["S"], Dimension([-2, -1, 3, 2, 0, 0, 0]), 1.0, true),
    atom(&["F"], Dimension([-2, -1, 4, 2, 0, 0, 0]), 1.0, true),
    atom(&["H"], Dimension([2, 1, -2, -2, 0, 0, 0]), 1.0, true),
    atom(&["T"], Dimension([0, 1, -2, -1, 0, 0, 0]), 1.0, true),
    atom(&["Wb"], Dimension([2, 1, -2, -1, 0, 0, 0]), 1.0, true),
    atom(&["Bq"], D::FREQUENCY, 1.0, true),
    atom(&["Gy", "Sv"], Dimension([2, 0, -2, 0, 0, 0, 0]), 1.0, true),
    atom(&["lm"], D::LUMINOUS, 1.0, true),
    atom(&["lx"], Dimension([-2, 0, 0, 0, 0, 0, 1]), 1.0, true),
    atom(&["sr"], D::NONE, 1.0, false),
    // Enzyme activity: the unit turns over one micromole a minute.
    atom(&["kat"], Dimension([0, 0, -1, 0, 0, 1, 0]), 1.0, true),
    atom(&["U"], Dimension([0, 0, -1, 0, 0, 1, 0]), 1e-6 / 60.0, true),
    // Batteries are sold in ampere hours and watt hours.
    atom(&["Ah"], D::CHARGE, 3_600.0, true),
    atom(&["Wh"], D::ENERGY, 3_600.0, true),
    // Viscosities: poise and stokes.
    atom(&["P"], Dimension([-1, 1, -1, 0, 0, 0, 0]), 0.1, true),
    atom(&["St"], Dimension([2, 0, -1, 0, 0, 0, 0]), 1e-4, true),
    atom(&["wk"], D::TIME, 604_800.0, false),
    atom(&["t"], D::MASS, 1_000.0, false),
    atom(&["[lb_av]", "lb"], D::MASS, 0.453_592_37, false),
    atom(&["in", "[in_i]"], D::LENGTH, 0.0254, false),
    atom(&["[ft_i]", "ft"], D::LENGTH, 0.304_8, false),
    atom(&["Da", "u"], D::MASS, 1.660_539_068_92e-27, true),
    atom(&["%"], D::NONE, 1e-2, false),
    atom(&["ppm", "[ppm]"], D::NONE, 1e-6, false),
    atom(&["ppb", "[ppb]"], D::NONE, 1e-9, false),
    atom(&["1"], D::NONE, 1.0, false),
    atom(&["rad"], D::NONE, 1.0, false),
    atom(&["deg", "°"], D::NONE, std::f64::consts::PI / 180.0, false),
    atom(&["AU", "mAU"], D::NONE, 1.0, false),
    atom(&["pH", "[pH]"], D::NONE, 1.0, false),
    atom(&["counts", "count"], D::NONE, 1.0, false),
];

/// SI prefixes, those of two letters first.
pub(super) const PREFIXES: &[(&str, f64)] = &[
    ("da", 1e1),
    ("Y", 1e24),
    ("Z", 1e21),
    ("E", 1e18),
    ("P", 1e15),
    ("T", 1e12),
    ("G", 1e9),
    ("M", 1e6),
    ("k", 1e3),
    ("h", 1e2),
    ("d", 1e-1),
    ("c", 1e-2),
    ("m", 1e-3),
    ("u", 1e-6),
    ("µ", 1e-6),
    ("μ", 1e-6),
    ("n", 1e-9),
    ("p", 1e-12),
    ("f", 1e-15),
    ("a", 1e-18),
    ("z", 1e-21),
    ("y", 1e-24),
];

/// Temperatures on a scale: symbols, factor, offset.
pub(super) const SCALES: &[(&[&str], f64, f64)] = &[
    (&["degC", "°C", "℃", "Cel"], 1.0, 273.15),
    (&["degF", "°F", "[degF]"], 5.0 / 9.0, 459.67 * 5.0 / 9.0),
];

/// What people write and what they could mean.
pub(super) const MISTAKES: &[(&str, &str)] = &[
    ("C", "degC (temperature) or A s (charge)"),
    ("F", "degF (temperature) or uF (capacitance)"),
    ("cc", "mL"),
    ("lpm", "L/min"),
    ("sccm", "mL/min at a stated temperature, or mol/min"),
    ("minutes", "min"),
    ("minute", "min"),
    ("mins", "min"),
    ("hours", "h"),
    ("hour", "h"),
    ("hrs", "h"),
    ("seconds", "s"),
    ("second", "s"),
    ("secs", "s"),
    ("days", "d"),
    ("msec", "ms"),
    ("celsius", "degC"),
    ("Celsius", "degC"),
    ("degc", "degC"),
    ("DegC", "degC"),
    ("deg_C", "degC"),
    ("k", "K"),
    ("kelvin", "K"),
    ("RPM", "rpm"),
    ("Rpm", "rpm"),
    ("percent", "%"),
    ("pct", "%"),
    ("Bar", "bar"),
    ("BAR", "bar"),
    ("PSI", "psi"),
    ("Psi", "psi"),
    ("hz", "Hz"),
    ("molar", "M"),
    ("m L", "mL"),
    ("gram", "g"),
    ("grams", "g"),
    ("kG", "kg"),
    ("Kg", "kg"),
    ("KG", "kg"),
    ("w", "W"),
    ("v", "V"),
    ("mV/s", "mV/s"),
    ("liter", "L"),
    ("litre", "L"),
    ("micron", "um"),
];
