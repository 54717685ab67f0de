//! Numbers that are not decimal text: hexadecimal digits, binary fields, single characters.
//!
//! Messages are texts of the characters U+0000 to U+00FF, one for each byte, so these forms stand
//! in templates and patterns beside text.
//!
//! | form | is |
//! |---|---|
//! | `h4`, `h4s` | so many hexadecimal digits; with `s` in two's complement |
//! | `u8`, `i8`, `u16be`, `i32le`, `f32be`, ... | binary, with the order of its bytes |
//! | `c49` | the character with the code of the number plus 49 |
//!
//! Behind a form may stand `*100` or `/100`: what is sent is the value times 100, what is read is
//! the number divided by 100.

/// A number in a form of fixed length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packed {
    Hex { digits: usize, signed: bool },
    Binary { bytes: usize, kind: Kind, little: bool },
    Character { plus: u8 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Unsigned,
    Signed,
    Float,
}

/// Largest whole number that a 64-bit float holds exactly.
const LARGEST_WHOLE: f64 = 9_007_199_254_740_992.0;

impl Packed {
    /// Reads the name of a form.
    pub fn parse(text: &str) -> Option<Packed> {
        if let Some(plus) = text.strip_prefix('c') {
            return Some(Packed::Character { plus: plus.parse().ok()? });
        }
        if let Some(rest) = text.strip_prefix('h') {
            let signed = rest.ends_with('s');
            let digits: usize = rest.strip_suffix('s').unwrap_or(rest).parse().ok()?;
            return (1..=13).contains(&digits).then_some(Packed::Hex { digits, signed });
        }
        let (kind, rest) = match text.split_at_checked(1)? {
            ("u", rest) => (Kind::Unsigned, rest),
            ("i", rest) => (Kind::Signed, rest),
            ("f", rest) => (Kind::Float, rest),
            _ => return None,
        };
        let (bits, little) = match (rest.strip_suffix("le"), rest.strip_suffix("be")) {
            (Some(bits), _) => (bits, Some(true)),
            (_, Some(bits)) => (bits, Some(false)),
            _ => (rest, None),
        };
        let bytes = match (bits, kind) {
            ("8", Kind::Unsigned | Kind::Signed) => 1,
            ("16", Kind::Unsigned | Kind::Signed) => 2,
            ("32", _) => 4,
            ("64", _) => 8,
            _ => return None,
        };
        // One byte has no order, and several have none that could be guessed.
        match (bytes, little) {
            (1, None) => Some(Packed::Binary { bytes, kind, little: false }),
            (2.., Some(little)) => Some(Packed::Binary { bytes, kind, little }),
            _ => None,
        }
    }

    /// Characters it takes.
    pub fn length(self) -> usize {
        match self {
            Packed::Hex { digits, .. } => digits,
            Packed::Binary { bytes, .. } => bytes,
            Packed::Character { .. } => 1,
        }
    }

    /// Bits of its number.
    fn bits(self) -> u32 {
        match self {
            Packed::Hex { digits, .. } => 4 * u32::try_from(digits).unwrap_or(13),
            Packed::Binary { bytes, .. } => 8 * u32::try_from(bytes).unwrap_or(8),
            Packed::Character { .. } => 8,
        }
    }

    fn signed(self) -> bool {
        matches!(self, Packed::Hex { signed: true, .. } | Packed::Binary { kind: Kind::Signed, .. })
    }

    /// The number in this form; the error says why it does not fit.
    pub fn render(self, value: f64) -> Result<String, String> {
        if let Packed::Binary { bytes, kind: Kind::Float, little } = self {
            #[expect(clippy::cast_possible_truncation, reason = "the device wants a single")]
            let mut raw = match bytes {
                4 => (value as f32).to_be_bytes().to_vec(),
                _ => value.to_be_bytes().to_vec(),
            };
            if little {
                raw.reverse();
            }
            return Ok(raw.into_iter().map(char::from).collect());
        }
        let whole = value.round();
        if (whole - value).abs() > 1e-9 * value.abs().max(1.0) {
            return Err(format!("{value} is not a whole number"));
        }
        let bits = self.bits();
        let (least, most) = match (self, self.signed()) {
            (Packed::Character { plus }, _) => (0.0, f64::from(255 - plus)),
            (_, true) => (-2_f64.powi(i32_of(bits) - 1), 2_f64.powi(i32_of(bits) - 1) - 1.0),
            (_, false) => (0.0, 2_f64.powi(i32_of(bits)) - 1.0),
        };
        if whole < least || whole > most || whole.abs() > LARGEST_WHOLE {
            return Err(format!("{whole} does not lie between {least} and {most}"));
        }
        #[expect(clippy::cast_possible_truncation, reason = "within 2^53")]
        let whole = whole as i64;
        let mask = if bits >= 64 { u64::MAX } else { (1_u64 << bits) - 1 };
        let raw = u64::from_ne_bytes(whole.to_ne_bytes()) & mask;
        Ok(match self {
            Packed::Hex { digits, .. } => format!("{raw:0digits$X}"),
            Packed::Binary { bytes, little, .. } => {
                let all = raw.to_be_bytes();
                let used = all.iter().skip(8 - bytes.min(8)).copied();
                let used: Vec<u8> = used.collect();
                let character = |byte: &u8| char::from(*byte);
                if little {
                    used.iter().rev().map(character).collect()
                } else {
                    used.iter().map(character).collect()
                }
            }
            Packed::Character { plus } => {
                char::from(u8::try_from(raw).unwrap_or(0).saturating_add(plus)).to_string()
            }
        })
    }

    /// The number that a text of [`Packed::length`] characters holds; `None` when it holds none.
    pub fn read(self, text: &str) -> Option<f64> {
        let raw = match self {
            Packed::Hex { .. } => {
                if !text.bytes().all(|b| b.is_ascii_hexdigit()) {
                    return None;
                }
                u64::from_str_radix(text, 16).ok()?
            }
            Packed::Character { plus } => {
                let code = u8::try_from(u32::from(text.chars().next()?)).ok()?;
                return code.checked_sub(plus).map(f64::from);
            }
            Packed::Binary { bytes, kind, little } => {
                let mut raw = crate::wire::printable::bytes_of(text)?;
                if raw.len() != bytes {
                    return None;
                }
                if little {
                    raw.reverse();
                }
                match (kind, bytes) {
                    (Kind::Float, 4) => {
                        let value = f64::from(f32::from_be_bytes(raw.try_into().ok()?));
                        return value.is_finite().then_some(value);
                    }
                    (Kind::Float, _) => {
                        let value = f64::from_be_bytes(raw.try_into().ok()?);
                        return value.is_finite().then_some(value);
                    }
                    _ => raw.iter().fold(0_u64, |all, byte| (all << 8) | u64::from(*byte)),
                }
            }
        };
        let bits = self.bits();
        let negative = self.signed() && raw >> (bits - 1) & 1 == 1;
        let filled = if negative && bits < 64 { raw | !((1_u64 << bits) - 1) } else { raw };
        let value = if self.signed() {
            i64::from_ne_bytes(filled.to_ne_bytes()) as f64
        } else {
            raw as f64
        };
        (value.abs() <= LARGEST_WHOLE).then_some(value)
    }
}

fn i32_of(bits: u32) -> i32 {
    i32::try_from(bits).unwrap_or(64)
}

/// What stands behind a form: the number on the wire is the value times `mul`, divided by `div`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Factor {
    mul: f64,
    div: f64,
}

impl Factor {
    pub const ONE: Factor = Factor { mul: 1.0, div: 1.0 };

    /// Splits `h4s*100` into `h4s` and the factor.
    pub fn split(text: &str) -> Option<(&str, Factor)> {
        let Some(at) = text.find(['*', '/']) else { return Some((text, Factor::ONE)) };
        let (form, factor) = text.split_at_checked(at)?;
        let (sign, number) = factor.split_at_checked(1)?;
        let number: f64 = number.parse().ok().filter(|n: &f64| n.is_finite() && *n > 0.0)?;
        let factor = match sign {
            "*" => Factor { mul: number, div: 1.0 },
            _ => Factor { mul: 1.0, div: number },
        };
        Some((form, factor))
    }

    /// The number on the wire for a value.
    pub fn sent(self, value: f64) -> f64 {
        value * self.mul / self.div
    }

    /// The other way: the inverse of [`Factor::sent`] and of [`Factor::read`].
    pub fn inverse(self, number: f64) -> f64 {
        number * self.div / self.mul
    }

    /// The value that a number read from the wire stands for; there `/100` is written as it is
    /// read.
    pub fn read(self, number: f64) -> f64 {
        number * self.mul / self.div
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sent(form: &str, value: f64) -> Result<Vec<u8>, String> {
        let text = Packed::parse(form).unwrap().render(value)?;
        Ok(crate::wire::printable::bytes_of(&text).unwrap())
    }

    #[test]
    fn numbers_of_makers_come_out_as_their_manuals_show_them() {
        assert_eq!(sent("h4s", 2500.0).unwrap(), b"09C4"); // Huber, 25.00 degC
        assert_eq!(sent("h4s", -1.0).unwrap(), b"FFFF");
        assert_eq!(sent("h4", 16000.0).unwrap(), b"3E80"); // Bronkhorst, 50 %
        assert_eq!(sent("c49", 9.0).unwrap(), b":"); // Cavro, switch 9
        assert_eq!(sent("u16le", 258.0).unwrap(), [2, 1]);
        assert_eq!(sent("f32be", 1.0).unwrap(), [0x3f, 0x80, 0, 0]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(sent("u8", 256.0).is_err());
        assert!(sent("u8", -1.0).is_err());
        assert!(sent("i8", 128.0).is_err());
        assert!(sent("h4s", 32768.0).is_err());
        assert!(sent("u16be", 1.5).is_err());
        assert!(sent("c49", 207.0).is_err());
        for wrong in ["u16", "u8le", "h", "h0", "h99", "f16be", "x", "c", "c300", ""] {
            assert_eq!(Packed::parse(wrong), None, "{wrong}");
        }
        let form = Packed::parse("f32be").unwrap();
        assert_eq!(form.read("\u{7f}\u{c0}\u{0}\u{0}"), None); // not a number
        assert_eq!(Packed::parse("h4").unwrap().read("+123"), None);
    }

    #[test]
    fn factors_stand_behind_a_form() {
        let (form, factor) = Factor::split("h4s*100").unwrap();
        assert_eq!((form, factor.sent(25.0)), ("h4s", 2500.0));
        let (form, factor) = Factor::split("h4s/100").unwrap();
        assert_eq!((form, factor.read(2500.0)), ("h4s", 25.0));
        for wrong in ["h4*", "h4*x", "h4*0", "h4/-1"] {
            assert_eq!(Factor::split(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn every_form_reads_what_it_renders(value in -70_000_i32..70_000, form in 0..10_usize) {
            let forms = ["u8", "i8", "u16be", "i16le", "u32be", "i32le", "f64le", "h4", "h8s", "c40"];
            let form = Packed::parse(forms[form]).unwrap();
            if let Ok(text) = form.render(f64::from(value)) {
                prop_assert_eq!(text.chars().count(), form.length());
                prop_assert_eq!(form.read(&text), Some(f64::from(value)));
            }
        }

        #[test]
        fn no_text_panics(text: String, form in "[uifhc][0-9]{0,3}[sbl]?e?") {
            if let Some(form) = Packed::parse(&form) {
                let _ = form.read(&text);
            }
            let _ = Factor::split(&text);
        }
    }
}
