//! Message templates: `RAT {rate:mL/min:4s3} MM`.
//!
//! A field is `{name}`, `{name:unit}`, `{name:format}` or `{name:unit:format}`; `{{` and `}}` are
//! braces. Names are arguments, `config.name` and `command.id`.
//!
//! | format | renders | refuses |
//! |---|---|---|
//! | `d`, `03d` | whole number, perhaps with leading zeros | fractions |
//! | `?d` | whole number, nothing for zero | fractions |
//! | `~d`, `~03d` | the same, rounded | a value that changes by more than 0.5 % |
//! | `.2f` | so many decimals | the same |
//! | `4s`, `4s3` | so many significant digits, at most so many decimals | the same, or too many digits |
//!
//! A `+` before a format writes the sign of positive numbers too. Hexadecimal and binary forms, and
//! factors behind a form (`{target:degC:h4s*100}`), are those of [`super::forms`].
//!
//! A number is never sent when the instrument would get another value than rounding explains.

mod reverse;

use super::forms::{Factor, Packed};
use crate::expr::Value;
use crate::units::{Dimension, Unit};

pub(super) use reverse::Said;

/// Most of a value that rendering may lose.
const LARGEST_LOSS: f64 = 0.005;

/// Longest text argument put into a message.
const LONGEST_TEXT: usize = 64;

/// A compiled template.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Text(String),
    Field { name: Vec<String>, unit: Option<Unit>, format: Option<Format> },
}

/// How a number is written.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Format {
    form: Form,
    factor: Factor,
    /// Positive numbers get their sign too.
    plus: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Form {
    Shortest,
    Whole { width: usize, zeros: bool, omit_zero: bool, rounded: bool },
    Fixed { decimals: usize },
    Significant { digits: usize, decimals: usize },
    Packed(Packed),
}

impl Template {
    /// Compiles a template.
    pub fn parse(source: &str) -> Result<Template, String> {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = source;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            text.push_str(before);
            if let Some(after) = from.strip_prefix("{{") {
                text.push('{');
                rest = after;
            } else if let Some(after) = from.strip_prefix("}}") {
                text.push('}');
                rest = after;
            } else if let Some(after) = from.strip_prefix('{') {
                let (field, after) = after
                    .split_once('}')
                    .ok_or_else(|| format!("`{{` without `}}` in {source:?}; write `{{{{`"))?;
                if !text.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut text)));
                }
                parts.push(field_of(field)?);
                rest = after;
            } else {
                return Err(format!("`}}` without `{{` in {source:?}; write `}}}}`"));
            }
        }
        text.push_str(rest);
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        Ok(Template { parts })
    }

    /// A filter over MQTT topics that lets through whatever it can make.
    pub fn filter(&self) -> String {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(own) => text.push_str(own),
                Part::Field { .. } => text.push('\0'),
            }
        }
        let level = |level: &str| if level.contains('\0') { "+" } else { level }.to_owned();
        text.split('/').map(level).collect::<Vec<_>>().join("/")
    }

    /// Fills it in, and says which fraction of a number was lost at most; the error says what was
    /// refused and why.
    pub fn render(&self, value: &Lookup<'_>) -> Result<(String, f64), String> {
        let mut out = String::new();
        let mut loss = 0.0_f64;
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Field { name, unit, format } => {
                    let shown = name.join(".");
                    let value = value(name).ok_or_else(|| format!("`{shown}` is not known"))?;
                    let (text, lost) = field_text(&shown, &value, unit.as_ref(), *format)?;
                    out.push_str(&text);
                    loss = loss.max(lost);
                }
            }
        }
        Ok((out, loss))
    }

    /// Fills in the alternative that loses least; the first of equals.
    pub fn render_best(alternatives: &[Template], value: &Lookup<'_>) -> Result<String, String> {
        let mut best: Option<(String, f64)> = None;
        let mut refused = "there is nothing to send".to_owned();
        for template in alternatives {
            match template.render(value) {
                Ok((text, loss)) => {
                    if best.as_ref().is_none_or(|(_, least)| loss < *least - 1e-12) {
                        best = Some((text, loss));
                    }
                }
                Err(reason) => refused = reason,
            }
        }
        best.map(|(text, _)| text).ok_or(refused)
    }
}

/// Gives the value of a name.
pub(super) type Lookup<'a> = dyn Fn(&[String]) -> Option<Value> + 'a;

fn field_of(field: &str) -> Result<Part, String> {
    let mut pieces = field.splitn(3, ':');
    let name = pieces.next().unwrap_or_default();
    let valid = |part: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    if !name.split('.').all(valid) {
        return Err(format!("`{{{field}}}` does not begin with a name"));
    }
    let (unit, format) = match (pieces.next(), pieces.next()) {
        (None, _) => (None, None),
        (Some(one), None) => match format_of(one) {
            Some(format) => (None, Some(format)),
            None => (Some(one), None),
        },
        (Some(unit), Some(format)) => {
            let format = format_of(format).ok_or_else(|| {
                format!("`{format}` in `{{{field}}}` is no format; try `4s` or `.2f`")
            })?;
            (Some(unit), Some(format))
        }
    };
    let unit = unit
        .map(|unit| Unit::parse(unit).map_err(|e| format!("`{unit}` is no unit: {e}")))
        .transpose()?;
    Ok(Part::Field { name: name.split('.').map(str::to_owned).collect(), unit, format })
}

fn format_of(text: &str) -> Option<Format> {
    let (text, factor) = Factor::split(text)?;
    let (text, plus) = match text.strip_prefix('+') {
        Some(text) => (text, true),
        None => (text, false),
    };
    let form =
        if text.is_empty() && factor != Factor::ONE { Form::Shortest } else { form_of(text)? };
    Some(Format { form, factor, plus })
}

fn form_of(text: &str) -> Option<Form> {
    if let Some(packed) = Packed::parse(text) {
        return Some(Form::Packed(packed));
    }
    if let Some(width) = text.strip_suffix('d') {
        let (width, rounded) = match width.strip_prefix('~') {
            Some(width) => (width, true),
            None => (width, false),
        };
        let (width, omit_zero) = match width.strip_prefix('?') {
            Some(width) => (width, true),
            None => (width, false),
        };
        let zeros = width.starts_with('0');
        let width = if width.is_empty() { 0 } else { small(width)? };
        return Some(Form::Whole { width, zeros, omit_zero, rounded });
    }
    if let Some(decimals) = text.strip_suffix('f') {
        return Some(Form::Fixed { decimals: small(decimals.strip_prefix('.')?)? });
    }
    let (digits, decimals) = text.split_once('s')?;
    let digits = small(digits).filter(|digits| *digits > 0)?;
    let decimals = if decimals.is_empty() { 15 } else { small(decimals)? };
    Some(Form::Significant { digits, decimals })
}

/// A count from 0 to 15, the digits a 64-bit float holds.
fn small(text: &str) -> Option<usize> {
    text.parse().ok().filter(|count| *count <= 15)
}

fn field_text(
    name: &str,
    value: &Value,
    unit: Option<&Unit>,
    format: Option<Format>,
) -> Result<(String, f64), String> {
    match value {
        Value::Quantity(quantity) => {
            let (number, symbol) = match unit {
                Some(unit) => (quantity.in_unit(unit), unit.symbol.as_str()),
                None => ((quantity.dim == Dimension::default()).then_some(quantity.value), ""),
            };
            let number = number.ok_or_else(|| match unit {
                Some(unit) => format!("`{name}` cannot be given in {}", unit.symbol),
                None => format!("`{name}` has a dimension, so its field must name a unit"),
            })?;
            number_text(name, number, format).map_err(|reason| format!("{reason} {symbol}"))
        }
        Value::Bool(on) => Ok((if *on { "1" } else { "0" }.to_owned(), 0.0)),
        Value::Text(text) => {
            let harmless = |c: char| c.is_ascii_alphanumeric() || " _-+./".contains(c);
            if text.len() > LONGEST_TEXT || !text.chars().all(harmless) {
                return Err(format!(
                    "`{name}` may hold at most {LONGEST_TEXT} letters, digits and ` _-+./` in a message"
                ));
            }
            Ok((text.to_string(), 0.0))
        }
        Value::Missing(reason) => Err(format!("`{name}` has no value: {reason}")),
        Value::List(_) | Value::Record(_) | Value::Series(_) => {
            Err(format!("`{name}` is no single value"))
        }
    }
}

/// A number as text and how much of it is lost, as a fraction.
fn number_text(name: &str, value: f64, format: Option<Format>) -> Result<(String, f64), String> {
    if !value.is_finite() {
        return Err(format!("`{name}` is not a finite number"));
    }
    let format =
        format.unwrap_or(Format { form: Form::Shortest, factor: Factor::ONE, plus: false });
    // A value that came through SI units carries rounding noise in its last bits.
    let value = tidy(format.factor.sent(value));
    let (text, sent) = match format.form {
        Form::Packed(packed) => {
            let whole = value.round();
            let is_float = matches!(packed, Packed::Binary { kind: super::forms::Kind::Float, .. });
            // What is scaled to whole numbers is rounded like decimals; a plain count is not.
            let scaled = is_float || format.factor == Factor::ONE;
            let number = if scaled { value } else { whole };
            let text = packed.render(number).map_err(|why| format!("`{name}`: {why}"))?;
            (text, number)
        }
        Form::Shortest => (format!("{value}"), value),
        Form::Whole { width, zeros, omit_zero, rounded } => {
            let whole = value.round();
            if (whole != value && !rounded) || whole.abs() > 9e15 {
                return Err(format!("`{name}` must be a whole number, it is {value}"));
            }
            let text = match (whole as i64, omit_zero, zeros) {
                (0, true, _) => String::new(),
                (whole, _, true) => format!("{whole:0width$}"),
                (whole, _, false) => format!("{whole:width$}"),
            };
            (text, whole)
        }
        Form::Fixed { decimals } => {
            let text = format!("{value:.decimals$}");
            let sent = text.parse().unwrap_or(0.0);
            (text, sent)
        }
        Form::Significant { digits, decimals } => {
            let text = significant(value, digits, decimals)
                .ok_or_else(|| format!("`{name}` = {value} needs more than {digits} digits in"))?;
            let sent = text.parse().unwrap_or(0.0);
            (text, sent)
        }
    };
    let loss = if value == 0.0 { sent.abs() } else { ((sent - value) / value).abs() };
    if loss > LARGEST_LOSS {
        return Err(format!("`{name}` = {value} would be sent as {sent}: too much is lost in"));
    }
    let plus = format.plus && !text.starts_with('-');
    Ok((if plus { format!("+{text}") } else { text }, loss))
}

/// The value with 15 significant digits.
fn tidy(value: f64) -> f64 {
    format!("{value:.14e}").parse().unwrap_or(value)
}

fn significant(value: f64, digits: usize, most_decimals: usize) -> Option<String> {
    let magnitude = if value == 0.0 { 0 } else { value.abs().log10().floor() as i64 };
    let wanted = i64::try_from(digits).ok()? - 1 - magnitude;
    let mut decimals = usize::try_from(wanted.max(0)).ok()?.min(most_decimals);
    loop {
        let text = format!("{value:.decimals$}");
        let shown = text.bytes().filter(u8::is_ascii_digit).count();
        // A leading `0.` is not counted: `0.250` has three digits after it and one before.
        if shown <= digits || (value.abs() < 1.0 && decimals <= digits) {
            return Some(text);
        }
        // Rounding may have added a digit, 9.9996 to 10.000.
        decimals = decimals.checked_sub(1)?;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::units::Quantity;

    fn render(templates: &[&str], value: f64, unit: &str) -> Result<String, String> {
        let quantity = Quantity::of(value, &Unit::parse(unit).unwrap());
        let templates: Vec<Template> =
            templates.iter().map(|template| Template::parse(template).unwrap()).collect();
        Template::render_best(&templates, &|name| {
            (name == ["x"]).then_some(Value::Quantity(quantity))
        })
    }

    fn plain(template: &str, value: f64) -> Result<String, String> {
        let quantity = Quantity { value, dim: Dimension::default(), point: false };
        let rendered = Template::parse(template).unwrap();
        Ok(rendered.render(&|_| Some(Value::Quantity(quantity)))?.0)
    }

    #[test]
    fn a_rate_is_sent_in_the_unit_that_keeps_it() {
        let rate = ["RAT {x:mL/min:4s3} MM", "RAT {x:uL/min:4s3} UM"];
        for (value, text) in [
            (2.5, "RAT 2.500 MM"),
            (20.0, "RAT 20.00 MM"),
            (0.1234567, "RAT 123.5 UM"),
            (0.0125, "RAT 12.50 UM"),
            (9.9996, "RAT 10.00 MM"),
            (1500.0, "RAT 1500 MM"),
        ] {
            assert_eq!(render(&rate, value, "mL/min").as_deref(), Ok(text), "{value}");
        }
    }

    #[test]
    fn a_value_that_would_not_survive_is_refused() {
        assert!(render(&["{x:mL:4s3}"], 0.0001, "mL").unwrap_err().contains("too much is lost"));
        assert!(render(&["{x:mL:4s3}"], 0.0014, "mL").is_err());
        assert!(render(&["{x:mL:4s}"], 12345.0, "mL").unwrap_err().contains("more than 4 digits"));
        assert!(render(&["{x:mL:.1f}"], 0.04, "mL").is_err());
        assert!(render(&["{x:s}"], 1.0, "mL").is_err());
        assert!(render(&["{x}"], 1.0, "mL").unwrap_err().contains("must name a unit"));
        assert!(plain("{x:d}", 1.5).is_err());
        assert!(plain("{x:~d}", 1.5).unwrap_err().contains("too much is lost"));
        assert!(plain("{x}", f64::NAN).is_err());
    }

    #[test]
    fn whole_numbers_are_padded_or_left_out() {
        assert_eq!(plain("{x:02d}", 7.0).as_deref(), Ok("07"));
        assert_eq!(plain("{x:?d}", 0.0).as_deref(), Ok(""));
        assert_eq!(plain("{x:?d}", 12.0).as_deref(), Ok("12"));
        assert_eq!(plain("{{{x:d}}}", 3.0).as_deref(), Ok("{3}"));
        assert_eq!(plain("{x:~d}", 1234.4).as_deref(), Ok("1234"));
        assert_eq!(plain("{x:+d}", 100.0).as_deref(), Ok("+100"));
        assert_eq!(plain("{x:+.1f}", -2.0).as_deref(), Ok("-2.0"));
    }

    #[test]
    fn hex_and_binary_stand_beside_text() {
        assert_eq!(render(&["{{M00{x:degC:h4s*100}"], -12.34, "degC").as_deref(), Ok("{M00FB2E"));
        assert_eq!(plain("/{x:c49}Q", 0.0).as_deref(), Ok("/1Q"));
        assert_eq!(plain("\u{cc}{x:u8}{x:u16le}", 7.0).as_deref(), Ok("\u{cc}\u{7}\u{7}\u{0}"));
        assert!(plain("{x:u8}", 1.4).is_err());
        assert!(plain("{x:h4*10}", 0.04).is_err());
    }

    #[test]
    fn temperatures_keep_their_scale() {
        assert_eq!(render(&["{x:degC:.1f}"], 25.0, "degC").as_deref(), Ok("25.0"));
        assert_eq!(render(&["{x:K:.2f}"], 25.0, "degC").as_deref(), Ok("298.15"));
    }

    #[test]
    fn text_cannot_carry_a_second_command() {
        let template = Template::parse("GO {x}").unwrap();
        for (text, fine) in [("home 1", true), ("1\rRUN", false), ("a;b", false), ("é", false)] {
            let result = template.render(&|_| Some(Value::Text(text.into())));
            assert_eq!(result.is_ok(), fine, "{text:?}");
        }
    }

    #[test]
    fn mistakes_in_a_template_are_named() {
        for wrong in ["{", "}", "{}", "{a b}", "{x:furlong}", "{x:mL:4q}", "{x:mL:99s}"] {
            assert!(Template::parse(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_sent_is_within_rounding(value in 1e-3..9_999_f64) {
            if let Ok(text) = render(&["{x:mL:4s3}"], value, "mL") {
                let sent: f64 = text.parse().unwrap();
                prop_assert!(((sent - value) / value).abs() <= LARGEST_LOSS);
                prop_assert!(text.len() <= 5, "{}", text);
            }
        }

        #[test]
        fn no_template_panics(text in "[{}:a-z0-9|=.?]{0,24}") {
            let _ = Template::parse(&text);
        }
    }
}
