//! Patterns of answers: `I{value:f}W{_:f}{unit}`.
//!
//! `f` is a decimal number, `d` a whole number, both with any spaces before them because many
//! devices align numbers to the right; `w` is a word of letters, digits, `_` and `-`, `s` everything
//! up to the next character of the pattern. `{unit}` is a word of letters, `{status}` stands for the
//! status and takes no characters. The whole answer must match.

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Pattern {
    parts: Vec<Part>,
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
    Decimal,
    Whole,
    Word,
    Rest,
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

impl Pattern {
    /// Compiles a pattern.
    pub fn parse(source: &str) -> Result<Pattern, String> {
        let mut parts = Vec::new();
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
            parts.push(match field.split_once(':').unwrap_or((field, "")) {
                ("unit", "") => Part::Unit,
                ("status", "") => Part::Status,
                (name @ ("value" | "_"), form) => Part::Field {
                    to: if name == "_" { To::Nowhere } else { To::Value },
                    form: match form {
                        "f" => Form::Decimal,
                        "d" => Form::Whole,
                        "w" => Form::Word,
                        "s" | "" => Form::Rest,
                        other => {
                            return Err(format!("`{other}` in {source:?} is none of f, d, w, s"));
                        }
                    },
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
        Ok(Pattern { parts })
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
                    let ahead = match form {
                        Form::Decimal | Form::Whole => rest.trim_start_matches(' '),
                        Form::Word | Form::Rest => rest,
                    };
                    let length = match form {
                        Form::Decimal => decimal_length(ahead),
                        Form::Whole => {
                            let sign = usize::from(ahead.starts_with(['+', '-']));
                            let digits = ahead.get(sign..).unwrap_or_default();
                            let digits = length_of(digits, |c| c.is_ascii_digit());
                            if digits == 0 { 0 } else { sign + digits }
                        }
                        Form::Word => {
                            length_of(ahead, |c| c.is_ascii_alphanumeric() || "_-".contains(c))
                        }
                        Form::Rest => match self.parts.get(at + 1) {
                            Some(Part::Text(text)) => {
                                ahead.find(text.as_str()).unwrap_or(ahead.len())
                            }
                            _ => ahead.len(),
                        },
                    };
                    let (text, after) = ahead.split_at(length);
                    let raw = match form {
                        Form::Decimal | Form::Whole => {
                            Raw::Number(text.parse().map_err(|_| wrong("number"))?)
                        }
                        Form::Word if text.is_empty() => return Err(wrong("word")),
                        Form::Word | Form::Rest => Raw::Text(text.to_owned()),
                    };
                    if *to == To::Value {
                        found.value = Some(raw);
                    }
                    rest = after;
                }
            }
        }
        if rest.is_empty() { Ok(found) } else { Err(format!("{answer:?} goes on with {rest:?}")) }
    }
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
    }

    #[test]
    fn an_exponent_needs_digits() {
        assert_eq!(found("{value:f}", "-2.5e-3").unwrap().value, Some(Raw::Number(-0.0025)));
        let energy = found("{value:f}{unit}", "2.5E").unwrap();
        assert_eq!((energy.value, energy.unit.as_deref()), (Some(Raw::Number(2.5)), Some("E")));
    }

    #[test]
    fn mistakes_in_a_pattern_are_named() {
        for wrong in ["{", "}", "{value:x}", "{other}", "{unit:f}"] {
            assert!(Pattern::parse(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_panics(answer: String, pattern in "[A-Z{}:_a-z]{0,16}") {
            if let Ok(pattern) = Pattern::parse(&pattern) {
                let _ = pattern.find(&answer);
            }
            let _ = Pattern::parse("I{value:f}W{_:d}{unit}").unwrap().find(&answer);
        }
    }
}
