//! Patterns of answers: `I{value:f}W{_:f}{unit}`.
//!
//! `f` is a decimal number, `d` a whole number, both with any spaces before them because many
//! devices align numbers to the right; `a` is a decimal number whose sign stands before such
//! spaces; `w` is a word of letters, digits, `_` and `-`, `?w` one that begins with
//! a letter and may be missing, `s` everything up to the next character of the pattern, `4s` exactly four characters. `{unit}` is a word of
//! letters, `{status}` stands for the status and takes no characters. The whole answer must match.
//!
//! Hexadecimal and binary forms, and factors behind a number (`{value:h4s/100}`), are those of
//! [`super::forms`]. One bit of such a number is `h4.lsb3`, counted from the least significant, or
//! `h4.msb12`, counted from the most significant; makers number them both ways.

mod fill;

use super::forms::{Factor, Packed};

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Pattern {
    parts: Vec<Part>,
    /// Places of the parts that may be missing.
    optional: Vec<usize>,
}

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Text(String),
    Field { to: To, form: Form },
    Unit,
    Status,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum To {
    Value,
    Nowhere,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Form {
    Decimal(Factor),
    /// Spaces may stand between the sign and the digits.
    Aligned(Factor),
    Whole(Factor),
    Word,
    Rest,
    Characters(usize),
    Packed(Packed, Factor),
    /// One bit, counted from the least significant.
    Bit(Packed, u32),
}

/// Most characters of one field of fixed length.
const LONGEST_FIELD: usize = 4096;

fn form_of(text: &str) -> Option<Form> {
    match text {
        "w" | "?w" => return Some(Form::Word),
        "s" | "" => return Some(Form::Rest),
        _ => {}
    }
    if let Some((packed, bit)) = text.split_once('.') {
        let packed = Packed::parse(packed)?;
        let bits = match packed {
            Packed::Hex { digits, .. } => 4 * digits,
            Packed::Binary { bytes, .. } => 8 * bytes,
            Packed::Character { .. } => return None,
        };
        let (number, turned) = match (bit.strip_prefix("lsb"), bit.strip_prefix("msb")) {
            (Some(number), _) => (number, false),
            (_, number) => (number?, true),
        };
        let number: usize = number.parse().ok().filter(|n| *n < bits)?;
        let number = if turned { bits - 1 - number } else { number };
        return Some(Form::Bit(packed, u32::try_from(number).ok()?));
    }
    let (form, factor) = Factor::split(text)?;
    match form {
        "f" => return Some(Form::Decimal(factor)),
        "a" => return Some(Form::Aligned(factor)),
        "d" => return Some(Form::Whole(factor)),
        _ => {}
    }
    if let Some(packed) = Packed::parse(form) {
        return Some(Form::Packed(packed, factor));
    }
    let length: usize = form.strip_suffix('s')?.parse().ok()?;
    ((1..=LONGEST_FIELD).contains(&length) && factor == Factor::ONE)
        .then_some(Form::Characters(length))
}

/// What a match found.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Found {
    /// The value.
    pub value: Option<Raw>,
    /// Word at `{unit}`.
    pub unit: Option<String>,
    /// The pattern asks for the status.
    pub status: bool,
}

/// A value before its unit is known.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Raw {
    Number(f64),
    Text(String),
}

impl std::fmt::Display for Raw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Raw::Number(number) => write!(f, "{number}"),
            Raw::Text(text) => f.write_str(text.trim()),
        }
    }
}

impl Pattern {
    /// Compiles a pattern.
    pub fn parse(source: &str) -> Result<Pattern, String> {
        let mut parts = Vec::new();
        let mut optional = Vec::new();
        let mut text = String::new();
        let mut rest = source;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            text.push_str(before);
            if let Some(after) = from.strip_prefix("{{") {
                text.push('{');
                rest = after;
                continue;
            }
            if let Some(after) = from.strip_prefix("}}") {
                text.push('}');
                rest = after;
                continue;
            }
            let field = from.strip_prefix('{').and_then(|after| after.split_once('}'));
            let Some((field, after)) = field else {
                return Err(format!("a brace without its partner in the pattern {source:?}"));
            };
            if !text.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut text)));
            }
            if field.ends_with(":?w") {
                optional.push(parts.len());
            }
            parts.push(match field.split_once(':').unwrap_or((field, "")) {
                ("unit", "") => Part::Unit,
                ("status", "") => Part::Status,
                (name @ ("value" | "_"), form) => Part::Field {
                    to: if name == "_" { To::Nowhere } else { To::Value },
                    form: form_of(form).ok_or_else(|| {
                        format!(
                            "`{form}` in {source:?} is no form; write f, d, w, s, 4s, h4, u8, \
                             u16be or another of the reference"
                        )
                    })?,
                },
                _ => {
                    return Err(format!(
                        "`{{{field}}}` in {source:?} is none of value, _, unit and status"
                    ));
                }
            });
            rest = after;
        }
        text.push_str(rest);
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        Ok(Pattern { parts, optional })
    }

    /// Whether a part of it is fixed, so that not every answer matches.
    pub fn has_own_text(&self) -> bool {
        self.parts.iter().any(|part| match part {
            Part::Text(text) => !text.trim().is_empty(),
            Part::Field { .. } | Part::Unit | Part::Status => false,
        })
    }

    /// Matches a whole answer; the error says what was expected where.
    pub fn find(&self, answer: &str) -> Result<Found, String> {
        let mut found = Found::default();
        let mut rest = answer;
        for (at, part) in self.parts.iter().enumerate() {
            let wrong = |what: &str| format!("{answer:?} has no {what} at {rest:?}");
            match part {
                Part::Status => found.status = true,
                Part::Text(text) => {
                    rest = rest.strip_prefix(text.as_str()).ok_or_else(|| wrong(text))?;
                }
                Part::Unit => {
                    let length = length_of(rest, |c| c.is_ascii_alphabetic() || c == '%');
                    let (word, after) = rest.split_at(length);
                    if word.is_empty() {
                        return Err(wrong("unit"));
                    }
                    found.unit = Some(word.to_owned());
                    rest = after;
                }
                Part::Field { to, form } => {
                    let (raw, after) = self.field(at, *form, rest, &wrong)?;
                    if *to == To::Value {
                        found.value = Some(raw);
                    }
                    rest = after;
                }
            }
        }
        if rest.is_empty() { Ok(found) } else { Err(format!("{answer:?} goes on with {rest:?}")) }
    }

    /// Reads the field at a place of the pattern, and gives back what comes behind it.
    fn field<'a>(
        &self,
        at: usize,
        form: Form,
        rest: &'a str,
        wrong: &dyn Fn(&str) -> String,
    ) -> Result<(Raw, &'a str), String> {
        let ahead = match form {
            Form::Decimal(_) | Form::Whole(_) => rest.trim_start_matches(' '),
            Form::Aligned(_) => rest.trim_start_matches([' ', '+', '-']),
            Form::Word | Form::Rest | Form::Characters(_) | Form::Packed(..) | Form::Bit(..) => {
                rest
            }
        };
        let length = match form {
            Form::Decimal(_) | Form::Aligned(_) => decimal_length(ahead),
            Form::Whole(_) => {
                let sign = usize::from(ahead.starts_with(['+', '-']));
                let digits = ahead.get(sign..).unwrap_or_default();
                let digits = length_of(digits, |c| c.is_ascii_digit());
                if digits == 0 { 0 } else { sign + digits }
            }
            Form::Word if self.optional.contains(&at) && !begins_with_letter(ahead) => 0,
            Form::Word => length_of(ahead, |c| c.is_ascii_alphanumeric() || "_-".contains(c)),
            Form::Rest => match self.parts.get(at + 1) {
                Some(Part::Text(text)) => ahead.find(text.as_str()).unwrap_or(ahead.len()),
                _ => ahead.len(),
            },
            Form::Characters(count) => {
                first_of(ahead, count).ok_or_else(|| wrong("text that long"))?
            }
            Form::Packed(packed, _) | Form::Bit(packed, _) => {
                first_of(ahead, packed.length()).ok_or_else(|| wrong("number that long"))?
            }
        };
        let (text, after) = ahead.split_at(length);
        let raw = match form {
            Form::Decimal(factor) | Form::Whole(factor) => {
                let number = text.parse().map_err(|_| wrong("number"))?;
                Raw::Number(factor.read(number))
            }
            Form::Aligned(factor) => {
                let before = rest.get(..rest.len() - ahead.len()).unwrap_or_default();
                let sign = match before.trim_matches(' ') {
                    "" | "+" => 1.0,
                    "-" => -1.0,
                    _ => return Err(wrong("number")),
                };
                let number: f64 = text.parse().map_err(|_| wrong("number"))?;
                Raw::Number(factor.read(sign * number))
            }
            Form::Packed(packed, factor) => {
                let number = packed.read(text).ok_or_else(|| wrong("number"))?;
                Raw::Number(factor.read(number))
            }
            Form::Bit(packed, bit) => {
                let number = packed.read(text).ok_or_else(|| wrong("number"))?;
                #[expect(clippy::cast_possible_truncation, reason = "within 2^53")]
                let bits = number as i64;
                Raw::Number(f64::from(u8::from(bits >> bit & 1 == 1)))
            }
            Form::Word if text.is_empty() && !self.optional.contains(&at) => {
                return Err(wrong("word"));
            }
            Form::Word | Form::Rest | Form::Characters(_) => Raw::Text(text.to_owned()),
        };
        Ok((raw, after))
    }
}

/// Bytes that so many characters take; `None` when there are fewer.
fn first_of(text: &str, count: usize) -> Option<usize> {
    let mut ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
    if count == 0 { Some(0) } else { ends.nth(count - 1) }
}

fn begins_with_letter(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
}

fn length_of(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|c| !belongs(c)).unwrap_or(text.len())
}

/// Length of the decimal number a text begins with; 0 without one. `e` belongs to it only when an
/// exponent follows.
fn decimal_length(text: &str) -> usize {
    let digits = |from: usize| {
        let rest = text.get(from..).unwrap_or_default();
        length_of(rest, |c| c.is_ascii_digit())
    };
    let mut at = usize::from(text.starts_with(['+', '-']));
    let whole = digits(at);
    at += whole;
    let mut fraction = 0;
    if text.get(at..).is_some_and(|rest| rest.starts_with('.')) {
        fraction = digits(at + 1);
        at += 1 + fraction;
    }
    if whole + fraction == 0 {
        return 0;
    }
    let rest = text.get(at..).unwrap_or_default();
    if let Some(exponent) = rest.strip_prefix(['e', 'E']) {
        let sign = usize::from(exponent.starts_with(['+', '-']));
        let length = digits(at + 1 + sign);
        if length > 0 {
            at += 1 + sign + length;
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(pattern: &str, answer: &str) -> Result<Found, String> {
        Pattern::parse(pattern).unwrap().find(answer)
    }

    #[test]
    fn a_total_is_read_with_its_unit() {
        let found = found("I{value:f}W{_:f}{unit}", "I1.500W0.250ML").unwrap();
        assert_eq!(found.value, Some(Raw::Number(1.5)));
        assert_eq!(found.unit.as_deref(), Some("ML"));
    }

    #[test]
    fn what_does_not_match_is_refused() {
        for (pattern, answer) in [
            ("I{value:f}W", "I1.5"),
            ("{value:f}", "1.5x"),
            ("{value:f}", ""),
            ("{value:f}", "."),
            ("{value:d}", "1.5"),
            ("{value:w}", " "),
            ("{value:f}{unit}", "3"),
        ] {
            assert!(found(pattern, answer).is_err(), "{pattern} {answer}");
        }
    }

    #[test]
    fn numbers_may_be_aligned_to_the_right() {
        let weight = found("S S {value:f} {unit}", "S S    -0.0021 g").unwrap();
        assert_eq!(weight.value, Some(Raw::Number(-0.0021)));
        assert!(found("{value:f}", "1.5 ").is_err());
        assert!(found("{value:d}", "- 5").is_err());
        let aligned = |answer: &str| found("{value:a} g", answer).map(|found| found.value);
        assert_eq!(aligned("-    52.1873 g"), Ok(Some(Raw::Number(-52.1873))));
        assert_eq!(aligned("+    52.1873 g"), Ok(Some(Raw::Number(52.1873))));
        assert!(aligned("+-  52.1873 g").is_err());
        for weight in ["N     -    52.1873 g  ", "-    52.1873 g  "] {
            let found = found("{_:?w}{value:a} g{_:s}", weight).map(|found| found.value);
            assert_eq!(found, Ok(Some(Raw::Number(-52.1873))), "{weight}");
        }
    }

    #[test]
    fn an_exponent_needs_digits() {
        assert_eq!(found("{value:f}", "-2.5e-3").unwrap().value, Some(Raw::Number(-0.0025)));
        let energy = found("{value:f}{unit}", "2.5E").unwrap();
        assert_eq!((energy.value, energy.unit.as_deref()), (Some(Raw::Number(2.5)), Some("E")));
    }

    #[test]
    fn hex_binary_and_bits_are_read() {
        let value = |pattern: &str, answer: &str| found(pattern, answer).unwrap().value;
        let number = |number| Some(Raw::Number(number));
        assert_eq!(value("{{S00{value:h4s/100}", "{S0009C4"), number(25.0));
        assert_eq!(value("{{S01{value:h4s/100}", "{S01FF9C"), number(-1.0));
        assert_eq!(value("{_:u8}{value:u16le}\u{dd}", "\u{0}\u{5}\u{1}\u{dd}"), number(261.0));
        assert_eq!(value("{value:h4.lsb0}", "0001"), number(1.0));
        assert_eq!(value("{value:h4.msb0}", "0001"), number(0.0));
        assert_eq!(value("{value:h4.msb15}", "0001"), number(1.0));
        assert_eq!(value("{_:3s}{value:d}", "ab 7"), number(7.0));
        assert_eq!(value("{value:f*2}", "1.5"), number(3.0));
        for (pattern, answer) in [("{value:h4}", "12"), ("{value:h4}", "12G4"), ("{value:4s}", "é")]
        {
            assert!(found(pattern, answer).is_err(), "{pattern} {answer}");
        }
    }

    #[test]
    fn mistakes_in_a_pattern_are_named() {
        for wrong in ["{value:h4.lsb16}", "{value:f.lsb1}", "{value:u16}"] {
            assert!(Pattern::parse(wrong).is_err(), "{wrong}");
        }
        for wrong in ["{", "}", "{value:x}", "{other}", "{unit:f}"] {
            assert!(Pattern::parse(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_panics(answer: String, pattern in "[A-Z{}:_a-z0-9.*/]{0,16}") {
            if let Ok(pattern) = Pattern::parse(&pattern) {
                let _ = pattern.find(&answer);
            }
            let _ = Pattern::parse("I{value:f}W{_:d}{unit}").unwrap().find(&answer);
        }
    }
}
