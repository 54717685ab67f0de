//! Templates read backwards: what a received message says, for simulators.

use std::collections::BTreeMap;

use super::{Form, Format, LONGEST_TEXT, Part, Template, field_text};
use crate::expr::Value;
use crate::units::{Dimension, Quantity, Unit};

/// What a message said.
#[derive(Debug, Clone, PartialEq, Default)]
pub(in crate::driver) struct Said {
    /// Its fields that are arguments or computed from them.
    pub fields: BTreeMap<String, Value>,
    /// Characters that are the template's own: of several templates that fit, the one with most
    /// is meant.
    pub own: usize,
}

impl Template {
    /// Reads a message that this template could have made; `None` when it could not. Fields over
    /// the configuration must hold its values.
    pub fn read(&self, message: &str, config: &BTreeMap<String, Value>) -> Option<Said> {
        let mut said = Said::default();
        let mut rest = message;
        for (at, part) in self.parts.iter().enumerate() {
            match part {
                Part::Text(text) => {
                    rest = rest.strip_prefix(text.as_str())?;
                    said.own += text.chars().count();
                }
                Part::Field { name, unit, format } => {
                    let [one] = name.as_slice() else {
                        rest = match name.as_slice() {
                            [of, key] if of == "config" => {
                                let value = config.get(key)?;
                                let (text, _) =
                                    field_text(key, value, unit.as_ref(), *format).ok()?;
                                rest.strip_prefix(text.as_str())?
                            }
                            _ => rest.get(self.text_length(at, rest)..)?,
                        };
                        continue;
                    };
                    let (length, value) = match format {
                        None if unit.is_none() => {
                            let length = self.text_length(at, rest);
                            (length, free(rest.get(..length)?)?)
                        }
                        _ => number(rest, unit.as_ref(), *format)?,
                    };
                    // A field that stands twice says the same twice.
                    if said.fields.get(one).is_some_and(|before| *before != value) {
                        return None;
                    }
                    said.fields.insert(one.clone(), value);
                    rest = rest.get(length..)?;
                }
            }
        }
        rest.is_empty().then_some(said)
    }

    /// The topics that this template can make, as a filter of MQTT.
    pub fn filter(&self, config: &BTreeMap<String, Value>) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Field { name, unit, format } => {
                let known = match name.as_slice() {
                    [of, key] if of == "config" => config.get(key),
                    _ => None,
                };
                let text = known.and_then(|v| field_text("config", v, unit.as_ref(), *format).ok());
                text.map_or_else(|| "+".to_owned(), |(text, _)| text)
            }
        };
        let topic: String = self.parts.iter().map(part).collect();
        // A wildcard is a level of its own.
        let level = |level: &str| if level.contains('+') { "+" } else { level }.to_owned();
        topic.split('/').map(level).collect::<Vec<_>>().join("/")
    }

    /// Whether one of its fields is this name.
    pub fn has_field(&self, wanted: &[&str]) -> bool {
        self.parts.iter().any(|part| match part {
            Part::Text(_) => false,
            Part::Field { name, .. } => name.iter().map(String::as_str).eq(wanted.iter().copied()),
        })
    }

    /// Bytes of a free text: up to the template's next own text.
    fn text_length(&self, at: usize, rest: &str) -> usize {
        let end = match self.parts.get(at + 1) {
            Some(Part::Text(text)) => rest.find(text.as_str()).unwrap_or(rest.len()),
            _ => rest.len(),
        };
        end.min(rest.char_indices().nth(LONGEST_TEXT).map_or(rest.len(), |(at, _)| at))
    }
}

fn free(text: &str) -> Option<Value> {
    if text.is_empty() {
        return None;
    }
    Some(match text.parse::<f64>() {
        Ok(number) if number.is_finite() => plain(number),
        _ => Value::Text(text.into()),
    })
}

fn plain(value: f64) -> Value {
    Value::Quantity(Quantity { value, dim: Dimension::default(), point: false })
}

fn number(rest: &str, unit: Option<&Unit>, format: Option<Format>) -> Option<(usize, Value)> {
    let form = format.map_or(Form::Shortest, |format| format.form);
    let (length, number) = match form {
        Form::Packed(packed) => {
            let mut ends = rest.char_indices().map(|(at, c)| at + c.len_utf8());
            let length = ends.nth(packed.length().checked_sub(1)?)?;
            (length, packed.read(rest.get(..length)?)?)
        }
        Form::Whole { width, zeros, omit_zero, .. } => {
            let ahead = rest.len() - rest.trim_start_matches(' ').len();
            let digits = rest.get(ahead..)?;
            let sign = usize::from(digits.starts_with(['+', '-']));
            let count = digits.bytes().skip(sign).take_while(u8::is_ascii_digit).count();
            // Numbers with leading zeros may follow each other without anything between.
            let count =
                if zeros && width > 0 { count.min(width.saturating_sub(sign)) } else { count };
            if count == 0 {
                return omit_zero.then(|| (0, quantity(0.0, unit)));
            }
            let length = ahead + sign + count;
            (length, rest.get(ahead..length)?.parse().ok()?)
        }
        Form::Shortest | Form::Fixed { .. } | Form::Significant { .. } => {
            let length = decimal(rest);
            (length, rest.get(..length)?.parse().ok()?)
        }
    };
    let value = format.map_or(number, |format| format.factor.inverse(number));
    Some((length, quantity(value, unit)))
}

fn quantity(number: f64, unit: Option<&Unit>) -> Value {
    unit.map_or_else(|| plain(number), |unit| Value::Quantity(Quantity::of(number, unit)))
}

/// Length of a number without an exponent: templates write none.
fn decimal(text: &str) -> usize {
    let sign = usize::from(text.starts_with(['+', '-']));
    let mut point = false;
    let digits = text.bytes().skip(sign).take_while(|byte| {
        let first = *byte == b'.' && !point;
        point |= *byte == b'.';
        first || byte.is_ascii_digit()
    });
    sign + digits.count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(template: &str, message: &str) -> Option<Said> {
        let config = BTreeMap::from([("node".to_owned(), plain(3.0))]);
        Template::parse(template).unwrap().read(message, &config)
    }

    #[test]
    fn a_message_gives_back_its_fields() {
        let said = read("V{speed:~d}D{steps:~d}R", "V200D2400R").unwrap();
        assert_eq!(said.fields.get("speed"), Some(&plain(200.0)));
        assert_eq!(said.fields.get("steps"), Some(&plain(2400.0)));
        assert_eq!(said.own, 3);
        let said = read("RAT {rate:mL/min:4s3} MM", "RAT 2.500 MM").unwrap();
        let Some(Value::Quantity(rate)) = said.fields.get("rate") else { panic!("no rate") };
        assert!((rate.in_unit(&Unit::parse("mL/min").unwrap()).unwrap() - 2.5).abs() < 1e-12);
        let said = read("{{M00{x:h4s*100}", "{M00FB2E").unwrap();
        assert_eq!(said.fields.get("x"), Some(&plain(-12.34)));
        assert_eq!(
            read("G{x}", "Ghome").unwrap().fields.get("x"),
            Some(&Value::Text("home".into()))
        );
    }

    #[test]
    fn other_messages_are_not_taken() {
        for (template, message) in [
            ("V{speed:~d}R", "V200"),
            ("V{speed:~d}R", "V200Rx"),
            ("V{speed:~d}R", "VR"),
            (":{config.node:02d}{x:03d}", ":04007"),
            ("{x:d} {x:d}", "1 2"),
            ("G{x}", "G"),
        ] {
            assert_eq!(read(template, message), None, "{template} {message}");
        }
        assert!(read(":{config.node:02d}{x:03d}", ":03007").is_some());
    }

    proptest::proptest! {
        #[test]
        fn what_is_rendered_is_read(steps in 0..100_000_u32, volume in 1e-3..900_f64) {
            let template = Template::parse("A{volume:mL:.3f}B{steps:06d}{steps:h8}").unwrap();
            let unit = Unit::parse("mL").unwrap();
            let given = |name: &[String]| Some(match name {
                [name] if name == "steps" => plain(f64::from(steps)),
                _ => Value::Quantity(Quantity::of(volume, &unit)),
            });
            if let Ok((text, _)) = template.render(&given) {
                let said = template.read(&text, &BTreeMap::new()).unwrap();
                proptest::prop_assert_eq!(said.fields.get("steps"), Some(&plain(f64::from(steps))));
                let Some(Value::Quantity(found)) = said.fields.get("volume") else { panic!() };
                let found = found.in_unit(&unit).unwrap();
                proptest::prop_assert!((found - volume).abs() <= 0.0005 + 1e-12);
            }
        }

        #[test]
        fn no_message_panics(message: String) {
            for template in ["{x}", "{x:02d}{y:d}", "{x:.1f};", "{x:u16le}{y:h4}", "a{command.id}b"] {
                let _ = read(template, &message);
            }
        }
    }
}
