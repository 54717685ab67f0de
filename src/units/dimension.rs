//! Dimensions: exponents of the seven SI base units.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Exponents of the seven SI base units, in the order m, kg, s, A, K, mol, cd.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Dimension(pub [i8; 7]);

const BASE: [&str; 7] = ["m", "kg", "s", "A", "K", "mol", "cd"];

macro_rules! named {
    ($($(#[$doc:meta])* $name:ident = $exponents:expr, $text:expr;)*) => {
        impl Dimension {
            $($(#[$doc])* pub const $name: Dimension = Dimension($exponents);)*
        }
        /// Names people use for dimensions.
        const NAMES: &[(Dimension, &str)] = &[$((Dimension::$name, $text)),*];
    };
}

named! {
    /// No dimension.
    NONE = [0, 0, 0, 0, 0, 0, 0], "number without a unit";
    /// m
    LENGTH = [1, 0, 0, 0, 0, 0, 0], "length";
    /// kg
    MASS = [0, 1, 0, 0, 0, 0, 0], "mass";
    /// s
    TIME = [0, 0, 1, 0, 0, 0, 0], "time";
    /// A
    CURRENT = [0, 0, 0, 1, 0, 0, 0], "electric current";
    /// K
    TEMPERATURE = [0, 0, 0, 0, 1, 0, 0], "temperature";
    /// mol
    AMOUNT = [0, 0, 0, 0, 0, 1, 0], "amount of substance";
    /// cd
    LUMINOUS = [0, 0, 0, 0, 0, 0, 1], "luminous intensity";
    /// m2
    AREA = [2, 0, 0, 0, 0, 0, 0], "area";
    /// m3
    VOLUME = [3, 0, 0, 0, 0, 0, 0], "volume";
    /// m3/s
    VOLUME_FLOW = [3, 0, -1, 0, 0, 0, 0], "volume flow";
    /// kg/s
    MASS_FLOW = [0, 1, -1, 0, 0, 0, 0], "mass flow";
    /// mol/s
    AMOUNT_FLOW = [0, 0, -1, 0, 0, 1, 0], "amount flow";
    /// 1/s
    FREQUENCY = [0, 0, -1, 0, 0, 0, 0], "frequency";
    /// m/s
    SPEED = [1, 0, -1, 0, 0, 0, 0], "speed";
    /// mol/m3
    CONCENTRATION = [-3, 0, 0, 0, 0, 1, 0], "concentration";
    /// kg/m3
    DENSITY = [-3, 1, 0, 0, 0, 0, 0], "mass concentration";
    /// m3/mol/m, of Beer-Lambert
    ABSORPTIVITY = [2, 0, 0, 0, 0, -1, 0], "molar absorptivity";
    /// N
    FORCE = [1, 1, -2, 0, 0, 0, 0], "force";
    /// Pa
    PRESSURE = [-1, 1, -2, 0, 0, 0, 0], "pressure";
    /// J
    ENERGY = [2, 1, -2, 0, 0, 0, 0], "energy";
    /// W
    POWER = [2, 1, -3, 0, 0, 0, 0], "power";
    /// J/mol
    MOLAR_ENERGY = [2, 1, -2, 0, 0, -1, 0], "molar energy";
    /// V
    VOLTAGE = [2, 1, -3, -1, 0, 0, 0], "voltage";
    /// ohm
    RESISTANCE = [2, 1, -3, -2, 0, 0, 0], "resistance";
    /// C
    CHARGE = [0, 0, 1, 1, 0, 0, 0], "electric charge";
    /// S/m
    CONDUCTIVITY = [-3, -1, 3, 2, 0, 0, 0], "conductivity";
    /// K/s
    HEATING_RATE = [0, 0, -1, 0, 1, 0, 0], "heating rate";
    /// kg/mol
    MOLAR_MASS = [0, 1, 0, 0, 0, -1, 0], "molar mass";
    /// Pa s
    VISCOSITY = [-1, 1, -1, 0, 0, 0, 0], "dynamic viscosity";
}

impl Dimension {
    /// Whether it has no dimension.
    pub fn is_none(self) -> bool {
        self == Dimension::NONE
    }

    /// Dimension of a product; `None` if an exponent leaves -127..=127.
    #[expect(clippy::should_implement_trait, reason = "it can fail, the operator cannot")]
    pub fn mul(self, other: Dimension) -> Option<Dimension> {
        self.zip(other, i8::checked_add)
    }

    /// Dimension of a quotient; `None` if an exponent leaves -127..=127.
    #[expect(clippy::should_implement_trait, reason = "it can fail, the operator cannot")]
    pub fn div(self, other: Dimension) -> Option<Dimension> {
        self.zip(other, i8::checked_sub)
    }

    /// Dimension of a power; `None` if an exponent leaves -127..=127.
    pub fn powi(self, power: i8) -> Option<Dimension> {
        let mut exponents = self.0;
        for exponent in &mut exponents {
            *exponent = exponent.checked_mul(power)?;
        }
        Some(Dimension(exponents))
    }

    /// Dimension of a square root; `None` if an exponent is odd.
    pub fn sqrt(self) -> Option<Dimension> {
        let mut exponents = self.0;
        for exponent in &mut exponents {
            if *exponent % 2 != 0 {
                return None;
            }
            *exponent /= 2;
        }
        Some(Dimension(exponents))
    }

    fn zip(self, other: Dimension, f: impl Fn(i8, i8) -> Option<i8>) -> Option<Dimension> {
        let mut exponents = self.0;
        for (a, b) in exponents.iter_mut().zip(other.0) {
            *a = f(*a, b)?;
        }
        Some(Dimension(exponents))
    }

    /// `volume flow`, or the base units where people have no word for it.
    pub fn name(self) -> String {
        match NAMES.iter().find(|(dimension, _)| *dimension == self) {
            Some((_, name)) => (*name).to_owned(),
            None => self.si(),
        }
    }

    /// Base units as UCUM writes them: `m3/s`, `1/s`, empty for none.
    pub fn si(self) -> String {
        let side = |positive: bool| -> Vec<String> {
            BASE.iter()
                .zip(self.0)
                .filter(|(_, e)| (*e > 0) == positive && *e != 0)
                .map(|(unit, e)| match e.unsigned_abs() {
                    1 => (*unit).to_owned(),
                    n => format!("{unit}{n}"),
                })
                .collect()
        };
        let (over, under) = (side(true), side(false));
        match (over.is_empty(), under.is_empty()) {
            (true, true) => String::new(),
            (false, true) => over.join("."),
            (true, false) => format!("1/{}", under.join("/")),
            (false, false) => format!("{}/{}", over.join("."), under.join("/")),
        }
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}
