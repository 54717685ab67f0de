//! Patterns written backwards: the answer that holds a value, for simulators.

use super::{Form, Part, Pattern, Raw, To};

impl Pattern {
    /// An answer that this pattern finds `value` in, or anything that fits it. What the pattern passes over, and how wide and
    /// how precise numbers are, is as in the answer `like`, which came from a manual.
    pub fn fill(
        &self,
        value: Option<&Raw>,
        unit: Option<&str>,
        like: Option<&str>,
    ) -> Result<String, String> {
        let like = like.and_then(|like| self.walk(like));
        let mut out = String::new();
        for (at, part) in self.parts.iter().enumerate() {
            let like = like.as_ref().and_then(|like| like.get(at)).copied();
            match part {
                Part::Status => {}
                Part::Text(text) => out.push_str(text),
                Part::Unit => out.push_str(unit.or(like).unwrap_or("x")),
                Part::Field { to: To::Nowhere, form } => match like {
                    Some(like) => out.push_str(like),
                    None => out.push_str(&blank(*form)?),
                },
                Part::Field { to: To::Value, form } => match (value, like) {
                    (Some(value), _) => out.push_str(&written(*form, value, like)?),
                    (None, Some(like)) => out.push_str(like),
                    (None, None) => out.push_str(&blank(*form)?),
                },
            }
        }
        Ok(out)
    }

    /// The text of each part in an answer.
    fn walk<'a>(&self, answer: &'a str) -> Option<Vec<&'a str>> {
        let mut texts = Vec::new();
        let mut rest = answer;
        for (at, part) in self.parts.iter().enumerate() {
            let after = match part {
                Part::Status => rest,
                Part::Text(text) => rest.strip_prefix(text.as_str())?,
                Part::Unit => {
                    rest.trim_start_matches(|c: char| c.is_ascii_alphabetic() || c == '%')
                }
                Part::Field { form, .. } => self.field(at, *form, rest, &|_| String::new()).ok()?.1,
            };
            texts.push(rest.get(..rest.len() - after.len())?);
            rest = after;
        }
        rest.is_empty().then_some(texts)
    }
}

/// What stands for a field that nobody reads.
fn blank(form: Form) -> Result<String, String> {
    match form {
        Form::Decimal(_) | Form::Aligned(_) | Form::Whole(_) => Ok("0".to_owned()),
        Form::Word => Ok("x".to_owned()),
        Form::Rest => Ok(String::new()),
        Form::Characters(count) => Ok(" ".repeat(count)),
        Form::Packed(packed, _) | Form::Bit(packed, _) => packed.render(0.0),
    }
}

fn written(form: Form, value: &Raw, like: Option<&str>) -> Result<String, String> {
    let number = match value {
        Raw::Number(number) => Ok(*number),
        Raw::Text(text) => text.parse().map_err(|_| format!("{text:?} is no number")),
    };
    match form {
        Form::Decimal(factor) => Ok(decimal(factor.inverse(number?), like)),
        Form::Whole(factor) => Ok(whole(factor.inverse(number?), like)),
        Form::Aligned(factor) => Ok(aligned(factor.inverse(number?), like)),
        Form::Packed(packed, factor) => {
            let number = factor.inverse(number?);
            packed.render(number).or_else(|_| packed.render(number.round()))
        }
        Form::Bit(packed, bit) => {
            let before = like.and_then(|like| packed.read(like)).unwrap_or(0.0);
            #[expect(clippy::cast_possible_truncation, reason = "within 2^53")]
            let before = before as i64;
            let bits = before & !(1 << bit) | i64::from(number? != 0.0) << bit;
            packed.render(bits as f64)
        }
        Form::Word | Form::Rest | Form::Characters(_) => {
            let text = match value {
                Raw::Text(text) => text.clone(),
                Raw::Number(number) => number.to_string(),
            };
            Ok(match form {
                Form::Characters(count) => format!("{text:<count$}").chars().take(count).collect(),
                _ => text,
            })
        }
    }
}

/// A number as precise and as wide as another.
fn decimal(number: f64, like: Option<&str>) -> String {
    let Some(like) = like else { return shortest(number) };
    let digits = like.trim_start();
    let plus = if digits.starts_with('+') && number >= 0.0 { "+" } else { "" };
    if let Some((mantissa, exponent)) = digits.split_once(['e', 'E']) {
        let decimals = mantissa.split_once('.').map_or(0, |(_, after)| after.len());
        let text = format!("{number:.decimals$e}");
        let (mantissa, power) = text.split_once('e').unwrap_or((&text, "0"));
        let power: i32 = power.parse().unwrap_or(0);
        let width = exponent.trim_start_matches(['+', '-']).len();
        let sign = if power < 0 { "-" } else { "+" };
        return format!("{plus}{mantissa}E{sign}{:0width$}", power.abs());
    }
    let decimals = digits.split_once('.').map_or(0, |(_, after)| after.len());
    let text = format!("{number:.decimals$}");
    // What rounds to nothing has no sign.
    let text = if text.trim_start_matches(['-', '0', '.']).is_empty() {
        text.trim_start_matches('-').to_owned()
    } else {
        text
    };
    fitted(&format!("{plus}{text}"), like)
}

fn whole(number: f64, like: Option<&str>) -> String {
    let text = format!("{:.0}", number.round());
    let text = if text == "-0" { "0".to_owned() } else { text };
    match like {
        None => text,
        Some(like) => {
            let plus = like.trim_start().starts_with('+') && number >= 0.0;
            fitted(&format!("{}{text}", if plus { "+" } else { "" }), like)
        }
    }
}

/// As wide as another number: zeros where that one has them, else spaces before it.
fn fitted(text: &str, like: &str) -> String {
    let width = like.chars().count();
    let digits = like.trim_start().trim_start_matches(['+', '-']);
    let zeros = digits.len() > 1 && digits.starts_with('0') && !digits.starts_with("0.");
    let signed = text.starts_with(['+', '-']);
    if zeros {
        let (sign, digits) = text.split_at(usize::from(signed));
        let width = width - sign.len().min(width);
        return format!("{sign}{digits:0>width$}");
    }
    format!("{text:>width$}")
}

/// The sign first, then spaces, then the number.
fn aligned(number: f64, like: Option<&str>) -> String {
    let Some(like) = like else { return shortest(number) };
    let sign = if number < 0.0 { '-' } else { '+' };
    let digits = like.trim_start_matches([' ', '+', '-']);
    let unsigned = decimal(number.abs(), Some(digits));
    let width = like.chars().count().saturating_sub(1);
    if like.starts_with(['+', '-']) {
        return format!("{sign}{unsigned:>width$}");
    }
    let text = if number < 0.0 { format!("-{unsigned}") } else { unsigned };
    format!("{text:>0$}", like.chars().count())
}

fn shortest(number: f64) -> String {
    // Six digits are what a display shows; an answer of seventeen would be no device's.
    let text = format!("{number:.6}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text.is_empty() || text == "-0" { "0".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(pattern: &str, value: f64, like: &str) -> String {
        let pattern = Pattern::parse(pattern).unwrap();
        let like = (!like.is_empty()).then_some(like);
        let text = pattern.fill(Some(&Raw::Number(value)), None, like).unwrap();
        let found = pattern.find(&text).unwrap().value;
        let Some(Raw::Number(found)) = found else { panic!("{text}: no number") };
        assert!((found - value).abs() <= 0.51, "{text}: {found}");
        text
    }

    #[test]
    fn numbers_look_like_those_of_the_manual() {
        for (pattern, value, like, text) in [
            ("I{value:f}W{_:f}{unit}", 1.25, "I0.500W0.000ML", "I1.250W0.000ML"),
            ("{value:f} 1", 31.27, "  25.0 1", "  31.3 1"),
            ("{value:f}", 0.0012, "1.000000E-03", "1.200000E-03"),
            ("{value:f}", -12.0, "+1.50E+01", "-1.20E+01"),
            ("{value:f}", 0.2, "+001.5", "+000.2"),
            ("{value:d}", 42.0, "0007", "0042"),
            ("{value:d}", 7.0, "", "7"),
            ("S S {value:a} g", -2.5, "S S -   0.04 g", "S S -   2.50 g"),
            ("S S {value:a} g", 2.5, "S S     10.04 g", "S S      2.50 g"),
            ("{value:h4s/100}", -12.34, "", "FB2E"),
        ] {
            assert_eq!(fill(pattern, value, like), text, "{pattern}");
        }
    }

    #[test]
    fn one_bit_is_set_in_what_was_there() {
        let pattern = Pattern::parse("{value:h4.lsb3}").unwrap();
        assert_eq!(pattern.fill(Some(&Raw::Number(1.0)), None, Some("0001")).unwrap(), "0009");
        assert_eq!(pattern.fill(Some(&Raw::Number(0.0)), None, Some("000F")).unwrap(), "0007");
    }

    proptest::proptest! {
        #[test]
        fn what_is_filled_is_found(value in -1e4..1e4_f64, decimals in 0_usize..5) {
            let pattern = Pattern::parse("T={value:f} {_:w};{_:4s}").unwrap();
            let like = format!("T={:8.decimals$} ok;abcd", 1.0);
            let text = pattern.fill(Some(&Raw::Number(value)), None, Some(&like)).unwrap();
            let Some(Raw::Number(found)) = pattern.find(&text).unwrap().value else { panic!() };
            proptest::prop_assert!((found - value).abs() <= 0.5 * 10_f64.powi(-i32::try_from(decimals).unwrap()) + 1e-9);
        }
    }
}
