//! Tokens.

use std::ops::Range;

use super::{ErrorKind, ExprError};
use crate::units::{Dimension, Quantity, Unit};

/// Longest text of an expression.
const TEXT_MAX: usize = 4_096;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Quantity(Quantity),
    Text(String),
    Name(String),
    Symbol(&'static str),
}

pub(super) type Placed = (Token, Range<usize>);

const SYMBOLS: &[&str] = &[
    "==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/", "^", "(", ")", "[", "]", ",", ".", "?",
    ":",
];
/// Words that are never a unit after a number.
const WORDS: &[&str] = &["and", "or", "not", "in", "true", "false"];

pub(super) fn lex(text: &str) -> Result<Vec<Placed>, ExprError> {
    if text.len() > TEXT_MAX {
        return Err(ExprError::new(
            ErrorKind::Limit,
            0..text.len(),
            format!("an expression of more than {TEXT_MAX} characters"),
        ));
    }
    let mut tokens: Vec<Placed> = Vec::new();
    let mut at = 0;
    while let Some(first) = text.get(at..).and_then(|rest| rest.chars().next()) {
        let rest = text.get(at..).unwrap_or_default();
        if first.is_whitespace() {
            at += first.len_utf8();
        } else if first.is_ascii_digit() {
            let (quantity, len) = number(rest, at)?;
            // `1 h 30 min` is one value.
            match tokens.last_mut() {
                Some((Token::Quantity(before), span))
                    if before.dim == Dimension::TIME && quantity.dim == Dimension::TIME =>
                {
                    before.value += quantity.value;
                    span.end = at + len;
                }
                _ => tokens.push((Token::Quantity(quantity), at..at + len)),
            }
            at += len;
        } else if first == '"' || first == '\'' {
            let body = rest.get(1..).unwrap_or_default();
            let Some(end) = body.find(first) else {
                return Err(ExprError::new(
                    ErrorKind::Syntax,
                    at..text.len(),
                    "the text is not closed",
                )
                .help(format!("{rest}{first}")));
            };
            let inner = body.get(..end).unwrap_or_default();
            tokens.push((Token::Text(inner.to_owned()), at..at + end + 2));
            at += end + 2;
        } else if first.is_alphabetic() || first == '_' {
            let len = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
            let word = rest.get(..len).unwrap_or_default();
            tokens.push((Token::Name(word.to_owned()), at..at + len));
            at += len;
        } else if let Some(symbol) = SYMBOLS.iter().find(|s| rest.starts_with(**s)) {
            tokens.push((Token::Symbol(symbol), at..at + symbol.len()));
            at += symbol.len();
        } else {
            let help = match first {
                '&' => Some("and"),
                '|' => Some("or"),
                '!' => Some("not"),
                '=' => Some("=="),
                '≤' => Some("<="),
                '≥' => Some(">="),
                '×' => Some("*"),
                _ => None,
            };
            let error = ExprError::new(
                ErrorKind::Syntax,
                at..at + first.len_utf8(),
                format!("`{first}` has no meaning here"),
            );
            return Err(match help {
                Some(help) => error.help(help),
                None => error,
            });
        }
    }
    Ok(tokens)
}

/// A number and the unit after it, if there is one; and how many bytes both take.
fn number(rest: &str, at: usize) -> Result<(Quantity, usize), ExprError> {
    let bytes = rest.as_bytes();
    let mut len = 0;
    while let Some(byte) = bytes.get(len) {
        let next = bytes.get(len + 1);
        let exponent = matches!(byte, b'e' | b'E')
            && (next.is_some_and(u8::is_ascii_digit)
                || (matches!(next, Some(b'+' | b'-'))
                    && bytes.get(len + 2).is_some_and(u8::is_ascii_digit)));
        match byte {
            b'0'..=b'9' => len += 1,
            b'.' if next.is_some_and(u8::is_ascii_digit) => len += 1,
            _ if exponent => len += 2,
            _ => break,
        }
    }
    let digits = rest.get(..len).unwrap_or_default();
    let value: f64 = digits.parse().map_err(|_| {
        ExprError::new(ErrorKind::Syntax, at..at + len, format!("`{digits}` is not a number"))
    })?;
    let tail = rest.get(len..).unwrap_or_default();
    let gap = tail.len() - tail.trim_start().len();
    let unit_text = unit_at(tail.trim_start());
    let quantity = if unit_text.is_empty() {
        Quantity::number(value)
    } else {
        let start = at + len + gap;
        let unit = Unit::parse(unit_text).map_err(|error| {
            let span = start..start + unit_text.len();
            let wrong = ExprError::new(ErrorKind::Unit, span, error.message);
            match error.suggestion {
                Some(suggestion) => wrong.help(format!("{digits} {suggestion}")),
                None => wrong,
            }
        })?;
        len += gap + unit_text.len();
        Quantity::of(value, &unit)
    };
    if !quantity.value.is_finite() {
        let message = "the number is too large to compute with";
        return Err(ExprError::new(ErrorKind::Value, at..at + len, message));
    }
    Ok((quantity, len))
}

/// The unit at the start of a text: a first term, and further ones joined by `/`, `.` or `*`
/// without a space as long as they are units. `3 mL/min` is one value, `3 mL / x` a division.
fn unit_at(text: &str) -> &str {
    let first = term_len(text);
    if first == 0 || WORDS.contains(&text.get(..first).unwrap_or_default()) {
        return "";
    }
    let mut end = first;
    loop {
        let rest = text.get(end..).unwrap_or_default();
        if !rest.starts_with(['/', '.', '*', '·']) {
            break;
        }
        let join = rest.chars().next().map_or(1, char::len_utf8);
        let next = term_len(rest.get(join..).unwrap_or_default());
        let term = rest.get(join..join + next).unwrap_or_default();
        if next == 0 || Unit::parse(term).is_err() {
            break;
        }
        // A name that goes on after a dot is a path, `8 K/s.value` is not a unit.
        end += join + next;
    }
    text.get(..end).unwrap_or_default()
}

fn term_len(text: &str) -> usize {
    if text.starts_with('%') {
        return 1;
    }
    let letters = text
        .find(|c: char| !(c.is_alphabetic() || matches!(c, '°' | 'µ' | 'μ' | 'Ω' | '℃' | '_')))
        .unwrap_or(text.len());
    if letters == 0 {
        return 0;
    }
    let rest = text.get(letters..).unwrap_or_default();
    let power = rest
        .find(|c: char| !(c.is_ascii_digit() || matches!(c, '^' | '²' | '³' | '⁻' | '¹')))
        .unwrap_or(rest.len());
    // `s-1`: a sign belongs to the unit only right before a digit.
    if power == 0 && rest.starts_with('-') && rest.as_bytes().get(1).is_some_and(u8::is_ascii_digit)
    {
        let digits = rest.get(1..).unwrap_or_default();
        let count = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        return letters + 1 + count;
    }
    letters + power
}
