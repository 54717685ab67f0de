//! Doubles that are decimal numbers of a device, scaled to SI: as whole numbers.
//!
//! A bath that says `25.31` (degC) is kept as 298.46 K: as a double that is 52 bits of noise, as
//! `2531` it is three bits of change. The form is found by trying, and used only for values it gives
//! back bit for bit; the rest are exceptions. The idea is that of ALP (Afroozeh, Kuffó, Boncz:
//! ALP: Adaptive Lossless floating-Point compression, SIGMOD 2023); new here is that the factor and
//! offset of the unit are undone as well, in the order in which labloop applies them.

/// Decimal places that are tried; 10^15 is the last power below 2^53 with room for a digit.
const PLACES_MAX: u8 = 12;
/// Values looked at to choose a form.
const LOOKED_AT: usize = 48;
/// Whole numbers from here on say nothing about the form of a double, and pack no better than it.
const FITTING: u64 = 1 << 36;
/// Whole numbers up to here are exact as doubles.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

const POWERS: [f64; PLACES_MAX as usize + 1] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12];

/// How values of a unit become SI: `value * factor + offset`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    /// Factor.
    pub factor: f64,
    /// Offset.
    pub offset: f64,
}

impl Scale {
    /// The unit is that of SI.
    pub const SI: Scale = Scale { factor: 1.0, offset: 0.0 };
    /// Degrees Celsius.
    pub const CELSIUS: Scale = Scale { factor: 1.0, offset: 273.15 };
}

/// How a device's number comes to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// It was text: `n / 10^places`, rounded once.
    Text,
    /// It was a register: `n * 10^-places`.
    Register,
}

/// A way to write doubles as whole numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Decimal {
    pub(super) places: u8,
    pub(super) step: Step,
    pub(super) scale: Scale,
}

impl Decimal {
    fn power(self) -> f64 {
        POWERS.get(usize::from(self.places)).copied().unwrap_or(f64::NAN)
    }

    /// The double of a whole number.
    pub(super) fn double(self, whole: i64) -> f64 {
        let number = match self.step {
            Step::Text => whole as f64 / self.power(),
            Step::Register => whole as f64 * (1.0 / self.power()),
        };
        number * self.scale.factor + self.scale.offset
    }

    /// The whole number of a double, if it comes back as it was.
    pub(super) fn whole(self, value: f64) -> Option<i64> {
        let near = ((value - self.scale.offset) / self.scale.factor * self.power()).round();
        if near.is_nan() || near.abs() >= WHOLE_MAX {
            return None;
        }
        let whole = near as i64;
        (self.double(whole).to_bits() == value.to_bits()).then_some(whole)
    }

    /// Finds the form with the fewest places that fits nearly all of a few of the values.
    pub(super) fn find(values: &[f64], hint: Option<Scale>) -> Option<Decimal> {
        let stride = (values.len() / LOOKED_AT).max(1);
        let looked: Vec<f64> = values
            .iter()
            .step_by(stride)
            .copied()
            .filter(|value| value.is_finite())
            .take(LOOKED_AT)
            .collect();
        if looked.is_empty() {
            return None;
        }
        let scales = [hint, Some(Scale::SI), Some(Scale::CELSIUS)];
        let is_sound = |scale: &Scale| scale.factor.is_normal() && scale.offset.is_finite();
        // The fewest places over all scales: with many, noise is decimal too.
        for places in 0..=PLACES_MAX {
            for scale in scales.into_iter().flatten().filter(is_sound) {
                for step in [Step::Text, Step::Register] {
                    let decimal = Decimal { places, step, scale };
                    let fit = |value: &&f64| {
                        decimal.whole(**value).is_some_and(|n| n.unsigned_abs() < FITTING)
                    };
                    if looked.iter().filter(fit).count() * 20 >= looked.len() * 19 {
                        return Some(decimal);
                    }
                }
            }
        }
        None
    }

    /// Byte that stands for places and step in a block.
    pub(super) const fn byte(self) -> u8 {
        match self.step {
            Step::Text => self.places,
            Step::Register => self.places | 0x80,
        }
    }

    /// The inverse of [`Decimal::byte`].
    pub(super) fn from_byte(byte: u8, scale: Scale) -> Option<Decimal> {
        let step = if byte & 0x80 == 0 { Step::Text } else { Step::Register };
        let places = byte & 0x7f;
        (places <= PLACES_MAX).then_some(Decimal { places, step, scale })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_registers_in_units_are_found() {
        let celsius: Vec<f64> = (2400..2600).map(|n| f64::from(n) / 100.0 + 273.15).collect();
        let found = Decimal::find(&celsius, None).unwrap();
        assert_eq!((found.places, found.step, found.scale), (2, Step::Text, Scale::CELSIUS));
        assert_eq!(found.whole(celsius[3]), Some(2403));
        // A register times 0.1, in mL/min: only with the unit is it seen.
        let scale = Scale { factor: 1e-6 / 60.0, offset: 0.0 };
        let flow: Vec<f64> = (0..200).map(|n| f64::from(n) * 0.1 * scale.factor).collect();
        assert_eq!(Decimal::find(&flow, None), None);
        let found = Decimal::find(&flow, Some(scale)).unwrap();
        assert_eq!((found.places, found.step), (1, Step::Register));
        assert!(flow.iter().all(|v| found.double(found.whole(*v).unwrap()) == *v));
    }

    #[test]
    fn what_does_not_come_back_is_no_whole_number() {
        let plain = Decimal { places: 2, step: Step::Text, scale: Scale::SI };
        for value in [-0.0, f64::NAN, f64::INFINITY, 1e300, 0.001, f64::MIN_POSITIVE] {
            assert_eq!(plain.whole(value), None, "{value}");
        }
        let noise: Vec<f64> = (0..100).map(|n| f64::from(n).sqrt()).collect();
        assert_eq!(Decimal::find(&noise[2..], None), None);
        assert_eq!(Decimal::find(&[f64::NAN; 3], None), None);
        assert_eq!(Decimal::from_byte(13, Scale::SI), None);
    }
}
