//! Units: UCUM codes, the spellings laboratories use, and how to read them.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Dimension;

/// Longest text read as a unit.
const UNIT_TEXT_MAX: usize = 64;

/// A unit: `value in SI = value in unit * factor + offset`.
#[derive(Debug, Clone, PartialEq)]
pub struct Unit {
    /// As written.
    pub symbol: String,
    /// Dimension.
    pub dim: Dimension,
    /// Coherent SI units in one of it.
    pub factor: f64,
    /// SI value of its zero; only temperatures on a scale have one.
    pub offset: f64,
    /// Values in it are points on a scale (degC), not differences (K).
    pub point: bool,
}

/// Why a text is not a unit or a quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct UnitError {
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub suggestion: Option<String>,
}

impl UnitError {
    pub(super) fn new(message: impl Into<String>) -> UnitError {
        UnitError { message: message.into(), suggestion: None }
    }

    pub(super) fn with(mut self, suggestion: impl Into<String>) -> UnitError {
        self.suggestion = Some(suggestion.into());
        self
    }
}

struct Atom {
    symbols: &'static [&'static str],
    dim: Dimension,
    factor: f64,
    prefixed: bool,
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
const ATOMS: &[Atom] = &[
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
    atom(&["Torr", "mmHg"], D::PRESSURE, 101_325.0 / 760.0, true),
    atom(&["psi"], D::PRESSURE, 6_894.757_293_168_361, false),
    atom(&["J"], D::ENERGY, 1.0, true),
    atom(&["eV"], D::ENERGY, 1.602_176_634e-19, true),
    atom(&["cal"], D::ENERGY, 4.184, true),
    atom(&["W"], D::POWER, 1.0, true),
    atom(&["V"], D::VOLTAGE, 1.0, true),
    atom(&["Ohm", "ohm", "Ω"], D::RESISTANCE, 1.0, true),
    atom(&["C"], D::CHARGE, 1.0, true),
    atom(&["S"], Dimension([-2, -1, 3, 2, 0, 0, 0]), 1.0, true),
    atom(&["F"], Dimension([-2, -1, 4, 2, 0, 0, 0]), 1.0, true),
    atom(&["in"], D::LENGTH, 0.0254, false),
    atom(&["Da"], D::MASS, 1.660_539_068_92e-27, true),
    atom(&["%"], D::NONE, 1e-2, false),
    atom(&["ppm"], D::NONE, 1e-6, false),
    atom(&["ppb"], D::NONE, 1e-9, false),
    atom(&["1"], D::NONE, 1.0, false),
    atom(&["rad"], D::NONE, 1.0, false),
    atom(&["deg", "°"], D::NONE, std::f64::consts::PI / 180.0, false),
    atom(&["AU", "mAU"], D::NONE, 1.0, false),
    atom(&["pH"], D::NONE, 1.0, false),
    atom(&["counts", "count"], D::NONE, 1.0, false),
];

const PREFIXES: &[(&str, f64)] = &[
    ("da", 1e1),
    ("G", 1e9),
    ("M", 1e6),
    ("k", 1e3),
    ("d", 1e-1),
    ("c", 1e-2),
    ("m", 1e-3),
    ("u", 1e-6),
    ("µ", 1e-6),
    ("μ", 1e-6),
    ("n", 1e-9),
    ("p", 1e-12),
    ("f", 1e-15),
];

/// Temperatures on a scale: symbols, factor, offset.
const SCALES: &[(&[&str], f64, f64)] = &[
    (&["degC", "°C", "℃", "Cel"], 1.0, 273.15),
    (&["degF", "°F", "[degF]"], 5.0 / 9.0, 459.67 * 5.0 / 9.0),
];

/// What people write and what they could mean.
const MISTAKES: &[(&str, &str)] = &[
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

impl Unit {
    /// Reads a unit: atoms with SI prefixes, `/`, `.`, `*`, exponents (`m3`, `m^3`, `s-1`, `m³`).
    ///
    /// Errors: what is not known, with the spelling that was probably meant; `degC` in a compound
    /// (a temperature on a scale cannot be divided).
    pub fn parse(text: &str) -> Result<Unit, UnitError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(UnitError::new("the unit is empty").with("1"));
        }
        if text.len() > UNIT_TEXT_MAX {
            return Err(UnitError::new(format!("a unit of more than {UNIT_TEXT_MAX} characters")));
        }
        for (symbols, factor, offset) in SCALES {
            if symbols.contains(&text) {
                return Ok(Unit {
                    symbol: text.to_owned(),
                    dim: Dimension::TEMPERATURE,
                    factor: *factor,
                    offset: *offset,
                    point: true,
                });
            }
        }
        let (mut dim, mut factor) = (Dimension::NONE, 1.0);
        let mut divide = false;
        let mut rest = text;
        loop {
            let end = rest.find(['/', '.', '*', '·', ' ']).unwrap_or(rest.len());
            let (part, tail) = rest.split_at(end);
            if part.is_empty() {
                return Err(UnitError::new(format!("`{text}` is not a unit")).with("mL/min"));
            }
            let (part_dim, part_factor) = term(part, text)?;
            let combined = if divide { dim.div(part_dim) } else { dim.mul(part_dim) };
            dim =
                combined.ok_or_else(|| UnitError::new(format!("`{text}` has too high powers")))?;
            factor = if divide { factor / part_factor } else { factor * part_factor };
            let mut chars = tail.chars();
            match chars.next() {
                None => break,
                // `a/b/c` divides by both, `a/b.c` too only for UCUM; people are asked to say.
                Some('/') => divide = true,
                Some(_) if divide => {
                    return Err(UnitError::new(format!(
                        "`{text}` can be read in two ways: is what follows below the line or above?"
                    ))
                    .with(format!(
                        "{}/{}",
                        text.split('/').next().unwrap_or(text),
                        "…/…"
                    )));
                }
                Some(_) => {}
            }
            rest = chars.as_str().trim_start();
        }
        Ok(Unit { symbol: text.to_owned(), dim, factor, offset: 0.0, point: false })
    }

    /// The unit without a symbol for plain numbers.
    pub fn one() -> Unit {
        Unit { symbol: String::new(), dim: Dimension::NONE, factor: 1.0, offset: 0.0, point: false }
    }
}

/// One term: prefix, atom, exponent.
fn term(part: &str, whole: &str) -> Result<(Dimension, f64), UnitError> {
    let (symbol, power) = split_power(part)?;
    let Some((dim, factor)) = find(symbol) else {
        return Err(unknown(symbol, whole));
    };
    let dim =
        dim.powi(power).ok_or_else(|| UnitError::new(format!("`{whole}` has too high powers")))?;
    Ok((dim, factor.powi(i32::from(power))))
}

fn find(symbol: &str) -> Option<(Dimension, f64)> {
    // `mAU` is listed for the suggestion of readers, a thousandth of AU.
    if symbol == "mAU" {
        return Some((Dimension::NONE, 1e-3));
    }
    // Coulomb and farad are refused on their own: whoever writes `25 C` means degC.
    if matches!(symbol, "C" | "F") {
        return None;
    }
    if let Some(atom) = ATOMS.iter().find(|a| a.symbols.contains(&symbol)) {
        return Some((atom.dim, atom.factor));
    }
    PREFIXES.iter().find_map(|(prefix, scale)| {
        let rest = symbol.strip_prefix(prefix)?;
        let atom = ATOMS.iter().find(|a| a.prefixed && a.symbols.contains(&rest))?;
        Some((atom.dim, atom.factor * scale))
    })
}

fn split_power(part: &str) -> Result<(&str, i8), UnitError> {
    if part == "1" {
        return Ok((part, 1));
    }
    for (superscript, power) in [("⁻¹", -1), ("⁻²", -2), ("⁻³", -3), ("²", 2), ("³", 3)]
    {
        if let Some(symbol) = part.strip_suffix(superscript) {
            return Ok((symbol, power));
        }
    }
    let end = part
        .rfind(|c: char| !(c.is_ascii_digit() || c == '-' || c == '+'))
        .map_or(0, |i| i + part.get(i..).and_then(|s| s.chars().next()).map_or(1, char::len_utf8));
    let (symbol, power) = part.split_at(end);
    if power.is_empty() {
        return Ok((symbol, 1));
    }
    let power = power
        .parse::<i8>()
        .ok()
        .filter(|p| (-12..=12).contains(p) && *p != 0)
        .ok_or_else(|| UnitError::new(format!("`{part}` has no power from -12 to 12")))?;
    Ok((symbol.strip_suffix('^').unwrap_or(symbol), power))
}

fn unknown(symbol: &str, whole: &str) -> UnitError {
    for (symbols, ..) in SCALES {
        if symbols.contains(&symbol) {
            return UnitError::new(format!(
                "`{symbol}` is a temperature on a scale and cannot be part of `{whole}`"
            ))
            .with(whole.replace(symbol, "K"));
        }
    }
    let error = UnitError::new(format!("`{symbol}` is not a unit"));
    if let Some((_, meant)) = MISTAKES.iter().find(|(wrong, _)| *wrong == symbol) {
        return error.with(whole.replace(symbol, meant));
    }
    let lower = symbol.to_lowercase();
    let near = ATOMS
        .iter()
        .flat_map(|a| a.symbols)
        .chain(SCALES.iter().flat_map(|(s, ..)| s.iter()))
        .find(|s| s.to_lowercase() == lower);
    match near {
        Some(near) => error.with(whole.replace(symbol, near)),
        None => error,
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.symbol)
    }
}

impl Serialize for Unit {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.symbol)
    }
}

impl<'de> Deserialize<'de> for Unit {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Unit, D::Error> {
        let text = String::deserialize(from)?;
        if text.is_empty() {
            return Ok(Unit::one());
        }
        Unit::parse(&text).map_err(serde::de::Error::custom)
    }
}
