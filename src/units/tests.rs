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
