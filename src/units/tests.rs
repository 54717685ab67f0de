//! Laws and reference values.

use proptest::prelude::*;

use super::*;

#[test]
fn quantities_read_as_a_lab_writes_them() {
    let cases = [
        ("2.5 mL/min", 2.5e-6 / 60.0, Dimension::VOLUME_FLOW),
        ("1 h 30 min", 5_400.0, Dimension::TIME),
        ("20 %", 0.2, Dimension::NONE),
        ("25 degC", 298.15, Dimension::TEMPERATURE),
        ("25°C", 298.15, Dimension::TEMPERATURE),
        ("98.6 degF", 310.15, Dimension::TEMPERATURE),
        ("5 K/min", 5.0 / 60.0, Dimension::HEATING_RATE),
        ("0.10 mol/L", 100.0, Dimension::CONCENTRATION),
        ("100 mM", 100.0, Dimension::CONCENTRATION),
        ("1 MM", 1e9, Dimension::CONCENTRATION),
        ("10 µL", 1e-8, Dimension::VOLUME),
        ("10 μL", 1e-8, Dimension::VOLUME),
        ("1 psi", 6_894.757_293_168_361, Dimension::PRESSURE),
        ("600 rpm", 10.0, Dimension::FREQUENCY),
        ("412 nm", 4.12e-7, Dimension::LENGTH),
        ("1 m3", 1.0, Dimension::VOLUME),
        ("1 m^3/s", 1.0, Dimension::VOLUME_FLOW),
        ("9000 L/mol/cm", 900.0, Dimension::ABSORPTIVITY),
        ("1e-3 s", 1e-3, Dimension::TIME),
        ("-3.5 mV", -3.5e-3, Dimension::VOLTAGE),
        ("3", 3.0, Dimension::NONE),
    ];
    for (text, value, dim) in cases {
        let found = Quantity::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(found.dim, dim, "{text}");
        assert!((found.value - value).abs() <= 1e-12 * value.abs(), "{text}: {found:?}");
    }
}

#[test]
fn wrong_units_come_with_the_right_spelling() {
    let cases = [
        ("5 lpm", Some("L/min")),
        ("5 minutes", Some("min")),
        ("5 RPM", Some("rpm")),
        ("5 degC/min", Some("K/min")),
        ("5 celsius", Some("degC")),
        ("5 furlong", None),
        ("mL", Some("2.5 mL/min")),
        ("", Some("2.5 mL/min")),
        ("1 m 30 cm", Some("1 h 30 min")),
    ];
    for (text, suggestion) in cases {
        let error = Quantity::parse(text).expect_err(text);
        assert_eq!(error.suggestion.as_deref(), suggestion, "{text}: {error}");
    }
    assert!(Unit::parse("J/mol.K").unwrap_err().message.contains("two ways"));
    assert!(Quantity::parse("1e400 m").is_err());
}

#[test]
fn case_matters() {
    assert_ne!(Unit::parse("mM").unwrap().factor, Unit::parse("MM").unwrap().factor);
    assert!(Unit::parse("mpa").is_err());
    assert_eq!(Unit::parse("MPa").unwrap().factor, 1e6);
    assert_eq!(Unit::parse("mPa").unwrap().factor, 1e-3);
}

#[test]
fn a_temperature_on_a_scale_is_not_a_difference() {
    let celsius = Unit::parse("degC").unwrap();
    let kelvin = Unit::parse("K").unwrap();
    let point = Quantity::parse("25 degC").unwrap();
    assert!((point.in_unit(&kelvin).unwrap() - 298.15).abs() < 1e-12);
    assert_eq!(Quantity::parse("25 K").unwrap().in_unit(&celsius), None);
    assert_eq!(point.to_string(), "25 degC");
}

#[test]
fn printing_hides_the_noise_of_conversion() {
    for text in ["2.5 mL/min", "0.1 mol/L", "110 degC", "90 s", "0.3 mL", "412 nm", "1.2 bar"] {
        assert_eq!(Quantity::parse(text).unwrap().to_string(), text);
    }
}

#[test]
fn json_keeps_every_bit_and_refuses_what_is_not_finite() {
    for text in ["2.5 mL/min", "25 degC", "5 K", "0.3", "1 J/mol/K", "3 1/s2"] {
        let quantity = Quantity::parse(text).unwrap();
        let json = serde_json::to_string(&quantity).unwrap();
        assert_eq!(serde_json::from_str::<Quantity>(&json).unwrap(), quantity, "{json}");
    }
    assert!(serde_json::to_string(&Quantity::number(f64::NAN)).is_err());
    assert!(serde_json::from_str::<Quantity>(r#"{"value":1,"unit":"m","x":1}"#).is_err());
}

fn units() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "m", "nm", "mL", "uL/min", "mol/L", "degC", "degF", "K", "bar", "psi", "rpm", "%", "h",
        "kJ/mol", "mS/cm", "mA", "g/L", "K/min",
    ])
}

proptest! {
    #[test]
    fn what_goes_into_a_unit_comes_back(number in -1e6f64..1e6, symbol in units()) {
        let unit = Unit::parse(symbol).unwrap();
        let back = Quantity::of(number, &unit).in_unit(&unit).unwrap();
        prop_assert!((back - number).abs() <= 1e-9 * number.abs().max(1.0));
    }

    #[test]
    fn dimensions_form_a_group(a in prop::array::uniform7(-9i8..9), b in prop::array::uniform7(-9i8..9)) {
        let (a, b) = (Dimension(a), Dimension(b));
        prop_assert_eq!(a.mul(b), b.mul(a));
        prop_assert_eq!(a.mul(b).unwrap().div(b), Some(a));
        prop_assert_eq!(a.powi(2).unwrap().sqrt(), Some(a));
        let text = a.si();
        if !text.is_empty() {
            prop_assert_eq!(Unit::parse(&text).unwrap().dim, a);
        }
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,40}") {
        let _ = Quantity::parse(&text);
        let _ = Unit::parse(&text);
    }
}

/// Codes of The Unified Code for Units of Measure with their magnitudes in coherent SI units,
/// after the tables of the specification (version 2.1, sections 4.2 to 4.5).
#[test]
fn ucum_codes_mean_what_ucum_says() {
    let cases = [
        ("10*3", 1e3),
        ("10^-6", 1e-6),
        ("[ppm]", 1e-6),
        ("rad", 1.0),
        ("Hz", 1.0),
        ("N", 1.0),
        ("kPa", 1e3),
        ("kJ", 1e3),
        ("mW", 1e-3),
        ("nA", 1e-9),
        ("kV", 1e3),
        ("uF", 1e-6),
        ("MOhm", 1e6),
        ("mS", 1e-3),
        ("Wb", 1.0),
        ("mT", 1e-3),
        ("uH", 1e-6),
        ("lm", 1.0),
        ("lx", 1.0),
        ("GBq", 1e9),
        ("mSv", 1e-3),
        ("kat", 1.0),
        ("U", 1e-6 / 60.0),
        ("wk", 604_800.0),
        ("d", 86_400.0),
        ("t", 1e3),
        ("bar", 1e5),
        ("u", 1.660_539_068_92e-27),
        ("eV", 1.602_176_634e-19),
        ("cP", 1e-3),
        ("mm[Hg]", 0.133_322_368_421_052_63e3),
        ("[in_i]", 0.025_4),
        ("[ft_i]", 0.304_8),
        ("[lb_av]", 0.453_592_37),
        ("[psi]", 6_894.757_293_168_361),
        ("cal_th", 4.184),
        ("10*6/mL", 1e12),
        ("{cells}/mL", 1e6),
        ("mL{solvent}", 1e-6),
        ("/min", 1.0 / 60.0),
        ("J/(mol.K)", 1.0),
        ("kg.m/s2", 1.0),
        ("4.m", f64::NAN),
    ];
    for (code, value) in cases {
        match Unit::parse(code) {
            Ok(unit) => {
                let off = (unit.factor - value).abs() / value.abs();
                assert!(off < 1e-9, "{code}: {} is not {value}", unit.factor);
            }
            Err(_) => assert!(value.is_nan(), "{code} is not read"),
        }
    }
    assert_eq!(
        Unit::parse("Cel").unwrap(),
        Unit { symbol: "Cel".into(), ..Unit::parse("degC").unwrap() }
    );
    for (ambiguous, clear) in [("J/mol.K", "J/(mol.K)"), ("W/m2 K", "W/(m2.K)")] {
        let error = Unit::parse(ambiguous).unwrap_err();
        assert_eq!(error.suggestion.as_deref(), Some(clear), "{error}");
        assert!(Unit::parse(clear).is_ok());
    }
    for broken in ["(m", "m)", "{x", "m//s", "m.", "((((((m))))))", "10*", "10*99", "()"] {
        assert!(Unit::parse(broken).is_err(), "{broken}");
    }
}

fn atoms() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "m", "g", "s", "A", "K", "mol", "L", "Pa", "J", "W", "V", "Hz", "Ohm", "M",
    ])
}

fn close(a: &Unit, b: &Unit) -> bool {
    a.dim == b.dim && (a.factor - b.factor).abs() <= 1e-12 * a.factor.abs()
}

proptest! {
    // UCUM, sections 2.4 (expressions), 2.5 (annotations) and 4.1 (prefixes).
    #[test]
    fn products_commute_and_division_is_by_all_that_follows(a in atoms(), b in atoms(), c in atoms()) {
        let same = |one: String, other: String| {
            close(&Unit::parse(&one).unwrap(), &Unit::parse(&other).unwrap())
        };
        let commute = same(format!("{a}.{b}"), format!("{b}.{a}"));
        let divide = same(format!("{a}/{b}/{c}"), format!("{a}/({b}.{c})"));
        let above = same(format!("({a}/{b}).{c}"), format!("{a}.{c}/{b}"));
        let twice = same(format!("{a}/({b}/{c})"), format!("{a}.{c}/{b}"));
        prop_assert!(commute && divide && above && twice);
    }

    #[test]
    fn a_power_is_a_product(a in atoms(), n in 1usize..4) {
        let product = Unit::parse(&vec![a; n].join(".")).unwrap();
        let power = Unit::parse(&format!("{a}{n}")).unwrap();
        let below = Unit::parse(&format!("{a}-{n}")).unwrap();
        let inverse = Unit::parse(&format!("1/({product})")).unwrap();
        prop_assert!(close(&power, &product) && close(&below, &inverse));
    }

    #[test]
    fn a_prefix_is_a_power_of_ten(a in atoms(), i in 0usize..13) {
        let prefixes = [
            ("T", 12), ("G", 9), ("M", 6), ("k", 3), ("h", 2), ("d", -1), ("c", -2), ("m", -3), ("u", -6),
            ("n", -9), ("p", -12), ("f", -15), ("a", -18),
        ];
        let (prefix, power) = prefixes[i];
        let both = Unit::parse(&format!("{prefix}{a}"));
        // Some spell another unit: `mM`... `cd`, `Pa`, `min` are units of their own.
        if let Ok(both) = both && both.dim == Unit::parse(a).unwrap().dim {
            let expected = Unit::parse(&format!("10*{power}.{a}")).unwrap();
            prop_assert!(close(&both, &expected), "{prefix}{a}");
        }
    }

    #[test]
    fn an_annotation_changes_nothing(symbol in units(), what in "[a-z]{1,8}") {
        let unit = Unit::parse(symbol).unwrap();
        if !unit.point {
            let noted = Unit::parse(&format!("{symbol}{{{what}}}")).unwrap();
            prop_assert_eq!((noted.dim, noted.factor), (unit.dim, unit.factor));
        }
    }

    #[test]
    fn what_is_printed_is_read_again(number in -1e6f64..1e6, symbol in units()) {
        let shown = Quantity::of(number, &Unit::parse(symbol).unwrap()).to_string();
        let back = Quantity::parse(&shown).unwrap();
        let value = Quantity::of(number, &Unit::parse(symbol).unwrap());
        prop_assert_eq!(back.dim, value.dim);
        prop_assert!((back.value - value.value).abs() <= 1e-8 * value.value.abs().max(1e-12), "{}", shown);
    }
}
