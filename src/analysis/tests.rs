//! Known answers and bad data.

use std::sync::Arc;

use super::distance::frechet;
use super::*;

fn series(x: &[f64], y: &[f64]) -> Value {
    let x = x.iter().map(|v| v * 1e-9).collect();
    Value::Series(Arc::new(Series {
        x,
        x_dim: Dimension::LENGTH,
        y: y.to_vec(),
        y_dim: Dimension::NONE,
    }))
}

pub(super) fn inputs(list: &[(&str, Value)]) -> Inputs {
    list.iter().map(|(n, v)| ((*n).to_owned(), v.clone())).collect()
}

pub(super) fn q(text: &str) -> Value {
    Value::Quantity(Quantity::parse(text).unwrap())
}

pub(super) fn field(value: &Value, name: &str) -> f64 {
    let Value::Record(fields) = value else { panic!("{value:?}") };
    fields[name].as_quantity().unwrap().value
}

pub(super) fn numbers(list: &[f64]) -> Value {
    Value::List(list.iter().map(|v| Value::number(*v)).collect())
}

/// A curve without a unit over lengths, from `start` in even steps.
pub(super) fn curve_of(start: f64, step: f64, y: &[f64]) -> Value {
    let x = (0..y.len()).map(|i| start + step * i as f64).collect();
    let y = y.to_vec();
    let (x_dim, y_dim) = (Dimension::LENGTH, Dimension::NONE);
    Value::Series(Arc::new(Series { x, x_dim, y, y_dim }))
}

pub(super) fn text_of(value: &Value, name: &str) -> String {
    let Value::Record(fields) = value else { panic!("{value:?}") };
    fields[name].as_text().unwrap().to_owned()
}

pub(super) fn quality(value: &Value) -> String {
    text_of(value, "quality")
}

#[test]
fn beer_lambert_gives_concentration_yield_and_their_errors() {
    let spectra = Value::List(vec![
        series(&[400.0, 420.0], &[0.4, 0.6]),
        series(&[400.0, 420.0], &[0.5, 0.7]),
    ]);
    let found = call(
        "beer_lambert",
        &inputs(&[
            ("spectra", spectra),
            ("wavelength", q("410 nm")),
            ("path_length", q("10 mm")),
            ("absorptivity", q("1100 L/mol/cm")),
            ("full", q("1 mM")),
        ]),
    )
    .unwrap();
    assert!((field(&found, "absorbance") - 0.55).abs() < 1e-12);
    assert!((field(&found, "concentration") - 0.5).abs() < 1e-12);
    assert!((field(&found, "yield") - 0.5).abs() < 1e-12);
    assert!((field(&found, "yield_sd") - 0.05 / 1.1).abs() < 1e-12);
    let Value::Record(fields) = &found else { panic!() };
    assert_eq!(fields["saturated"], Value::Bool(false));
}

#[test]
fn what_cannot_be_computed_is_an_error_that_says_why() {
    let spectrum = series(&[400.0, 420.0], &[0.4, 0.6]);
    let cases = [
        ("nonsense", vec![], "no such analysis"),
        ("absorbance_at", vec![("spectra", spectrum.clone())], "`wavelength` is missing"),
        (
            "absorbance_at",
            vec![("spectra", spectrum.clone()), ("wavelength", q("500 nm"))],
            "outside the curve",
        ),
        (
            "absorbance_at",
            vec![("spectra", Value::List(vec![])), ("wavelength", q("410 nm"))],
            "empty list",
        ),
        (
            "absorbance_at",
            vec![("spectra", series(&[420.0, 400.0], &[1.0, 2.0])), ("wavelength", q("410 nm"))],
            "does not rise",
        ),
        (
            "absorbance_at",
            vec![("spectra", spectrum.clone()), ("wavelength", q("5 s"))],
            "must be a length",
        ),
        ("summary", vec![("of", Value::List(vec![q("1 s"), q("1 m")]))], "mixes units"),
        (
            "relative_change",
            vec![("of", Value::List(vec![q("0"), q("0"), q("0")]))],
            "zero on average",
        ),
        (
            "spectral_distance",
            vec![("of", spectrum), ("target", Value::List(vec![q("1")]))],
            "2 points, the target 1",
        ),
    ];
    for (function, list, expected) in cases {
        let error = call(function, &inputs(&list)).unwrap_err().to_string();
        assert!(error.contains(expected), "{function}: {error}");
    }
    let infinite = series(&[400.0, 420.0], &[f64::INFINITY, 0.6]);
    let list = inputs(&[("spectra", infinite), ("wavelength", q("400 nm"))]);
    assert!(call("absorbance_at", &list).unwrap_err().to_string().contains("finite"));
}

#[test]
fn the_frechet_distance_is_the_shortest_leash() {
    assert_eq!(frechet(&[0.0, 1.0, 2.0], &[0.0, 1.0, 2.0]), 0.0);
    assert_eq!(frechet(&[0.0, 0.0, 5.0], &[0.0, 5.0, 5.0]), 0.0);
    assert_eq!(frechet(&[0.0, 1.0, 0.0], &[0.0, 3.0, 0.0]), 2.0);
}

#[test]
fn steadiness_is_judged_on_the_last_values_only() {
    let list = |values: &[f64]| {
        inputs(&[("of", Value::List(values.iter().map(|v| Value::number(*v)).collect()))])
    };
    assert_eq!(field(&call("relative_change", &list(&[9.0, 2.0])).unwrap(), "value"), 1.0);
    let found = call("relative_change", &list(&[9.0, 0.99, 1.0, 1.01])).unwrap();
    assert!((field(&found, "value") - 0.02).abs() < 1e-12);
}

#[test]
fn a_parabola_finds_the_top_between_points() {
    let x: Vec<f64> = (0..9).map(|n| 400.0 + 5.0 * f64::from(n)).collect();
    let y: Vec<f64> = x.iter().map(|x| 2.0 - ((x - 417.0) / 20.0).powi(2)).collect();
    let found = call("peak", &inputs(&[("of", series(&x, &y))])).unwrap();
    assert!((field(&found, "place") - 417e-9).abs() < 1e-15);
    assert!((field(&found, "height") - 2.0).abs() < 1e-9);
    let flat = call(
        "baseline",
        &inputs(&[("spectra", series(&x, &x)), ("from", q("400 nm")), ("to", q("430 nm"))]),
    )
    .unwrap();
    let Value::Record(fields) = flat else { panic!() };
    assert!(fields["spectrum"].as_series().unwrap().y.iter().all(|v| v.abs() < 1e-9));
}
