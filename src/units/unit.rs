//! Units: UCUM codes, the spellings laboratories use, and how to read them.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Dimension;
use super::atoms::{ATOMS, MISTAKES, PREFIXES, SCALES};

/// Powers of a term, and of each base dimension of a unit.
const POWERS: std::ops::RangeInclusive<i8> = -12..=12;
/// Parentheses inside each other.
const DEPTH_MAX: usize = 4;
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

impl Unit {
    /// Reads a unit: atoms with SI prefixes, `/`, `.`, `*`, parentheses, exponents (`m3`, `m^3`,
    /// `s-1`, `m³`), powers of ten (`10*6/mL`) and annotations (`{cells}/mL`).
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
        let (dim, factor) = product(text, text, 0)?;
        if dim.0.iter().any(|power| !POWERS.contains(power)) {
            return Err(UnitError::new(format!("`{text}` has too high powers")));
        }
        if !factor.is_finite() || factor == 0.0 {
            return Err(UnitError::new(format!("`{text}` is too large or too small a unit")));
        }
        Ok(Unit { symbol: text.to_owned(), dim, factor, offset: 0.0, point: false })
    }

    /// The unit without a symbol for plain numbers.
    pub fn one() -> Unit {
        Unit { symbol: String::new(), dim: Dimension::NONE, factor: 1.0, offset: 0.0, point: false }
    }
}

/// Terms joined by `/`, `.`, `*` or a space, perhaps after a leading `/`.
fn product(text: &str, whole: &str, depth: usize) -> Result<(Dimension, f64), UnitError> {
    if depth > DEPTH_MAX {
        return Err(UnitError::new(format!(
            "`{whole}` has too many parentheses inside each other"
        )));
    }
    let (mut dim, mut factor) = (Dimension::NONE, 1.0);
    let text = text.trim();
    let mut divide = text.starts_with('/');
    let mut rest = text.strip_prefix('/').unwrap_or(text).trim_start();
    loop {
        let (part, tail) = split_term(rest, whole)?;
        if part.is_empty() {
            return Err(UnitError::new(format!("`{whole}` is not a unit")).with("mL/min"));
        }
        let (part_dim, part_factor) =
            match part.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')) {
                Some(inner) => product(inner, whole, depth + 1)?,
                None => term(part, whole)?,
            };
        let combined = if divide { dim.div(part_dim) } else { dim.mul(part_dim) };
        dim = combined.ok_or_else(|| UnitError::new(format!("`{whole}` has too high powers")))?;
        factor = if divide { factor / part_factor } else { factor * part_factor };
        let tail = tail.trim_start();
        let mut chars = tail.chars();
        match chars.next() {
            None => return Ok((dim, factor)),
            Some('/') => divide = true,
            // `a/b.c` is (a/b).c for UCUM and a/(b.c) for most people; they are asked to say.
            Some(_) if divide => return Err(two_ways(whole)),
            Some('.' | '*' | '·') => {}
            // A space: what follows is the next term.
            Some(_) => {
                rest = tail;
                continue;
            }
        }
        rest = chars.as_str().trim_start();
    }
}

fn two_ways(whole: &str) -> UnitError {
    let mut parts = whole.splitn(2, '/');
    let (above, below) = (parts.next().unwrap_or(whole), parts.next().unwrap_or_default());
    let below = below.replace(['*', '·', ' '], ".");
    UnitError::new(format!(
        "`{whole}` can be read in two ways: write `{above}/({below})` if all that follows is below \
         the line"
    ))
    .with(format!("{above}/({below})"))
}

/// The first term of a product, with its parentheses, power and annotation, and what follows it.
fn split_term<'t>(text: &'t str, whole: &str) -> Result<(&'t str, &'t str), UnitError> {
    let open = |close: char| UnitError::new(format!("`{whole}` has no `{close}`"));
    if text.starts_with('(') {
        let mut depth = 0usize;
        for (at, c) in text.char_indices() {
            match c {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 {
                return Ok(text.split_at(at + 1));
            }
        }
        return Err(open(')'));
    }
    // The power of ten, `10*6` or `10^6`, holds what joins terms elsewhere.
    let from = if text.starts_with("10*") || text.starts_with("10^") { 3 } else { 0 };
    let mut end = text.len();
    let mut braces = false;
    for (at, c) in text.char_indices().skip_while(|(at, _)| *at < from) {
        match c {
            '{' => braces = true,
            '}' => braces = false,
            '/' | '.' | '*' | '·' | ' ' | '(' if !braces => {
                end = at;
                break;
            }
            _ => {}
        }
    }
    if braces { Err(open('}')) } else { Ok(text.split_at(end)) }
}

/// One term: prefix, atom, exponent, annotation. An annotation says what is counted and changes
/// nothing.
fn term(part: &str, whole: &str) -> Result<(Dimension, f64), UnitError> {
    let part = match part.split_once('{') {
        Some(("", _)) => return Ok((Dimension::NONE, 1.0)),
        Some((before, _)) => before,
        None => part,
    };
    if let Some(power) = part.strip_prefix("10*").or_else(|| part.strip_prefix("10^")) {
        let power = power.parse::<i32>().ok().filter(|p| (-30..=30).contains(p));
        let power = power.ok_or_else(|| {
            UnitError::new(format!("`{part}` has no power of ten from -30 to 30"))
        })?;
        return Ok((Dimension::NONE, 10f64.powi(power)));
    }
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
        .filter(|p| POWERS.contains(p) && *p != 0)
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
