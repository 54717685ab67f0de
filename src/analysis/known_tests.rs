//! Functions against values known from elsewhere.

use super::tests::{curve_of, field, inputs, numbers, q, quality, text_of};
use super::*;

/// NIST StRD, linear regression, data set Norris (lower difficulty, 36 observations): y, x.
/// <https://www.itl.nist.gov/div898/strd/lls/data/Norris.shtml>
const NORRIS: [(f64, f64); 36] = [
    (0.1, 0.2),
    (338.8, 337.4),
    (118.1, 118.2),
    (888.0, 884.6),
    (9.2, 10.1),
    (228.1, 226.5),
    (668.5, 666.3),
    (998.5, 996.3),
    (449.1, 448.6),
    (778.9, 777.0),
    (559.2, 558.2),
    (0.3, 0.4),
    (0.1, 0.6),
    (778.1, 775.5),
    (668.8, 666.9),
    (339.3, 338.0),
    (448.9, 447.5),
    (10.8, 11.6),
    (557.7, 556.0),
    (228.3, 228.1),
    (998.0, 995.8),
    (888.8, 887.6),
    (119.6, 120.2),
    (0.3, 0.3),
    (0.6, 0.3),
    (557.6, 556.8),
    (339.3, 339.1),
    (888.0, 887.2),
    (998.5, 999.0),
    (778.9, 779.0),
    (10.2, 11.1),
    (117.6, 118.3),
    (228.9, 229.2),
    (668.4, 669.1),
    (449.2, 448.9),
    (0.2, 0.5),
];

fn close(found: f64, known: f64, digits: f64) {
    let error = ((found - known) / known).abs();
    assert!(error < 10f64.powf(-digits), "{found} is not {known}");
}

#[test]
fn a_calibration_has_the_certified_values_of_norris() {
    let (y, x): (Vec<f64>, Vec<f64>) = NORRIS.iter().copied().unzip();
    let found = call("calibration", &inputs(&[("x", numbers(&x)), ("y", numbers(&y))])).unwrap();
    close(field(&found, "intercept"), -0.262323073774029, 10.0);
    close(field(&found, "intercept_sd"), 0.232818234301152, 10.0);
    close(field(&found, "slope"), 1.00211681802045, 12.0);
    close(field(&found, "slope_sd"), 0.429796848199937e-3, 10.0);
    close(field(&found, "residual_sd"), 0.884796396144373, 10.0);
    close(field(&found, "r2"), 0.999993745883712, 12.0);
    assert_eq!(quality(&found), "good");
}

#[test]
fn a_mean_and_its_spread_survive_a_great_offset_as_nist_numacc_asks() {
    // NIST StRD, univariate, data set NumAcc4: 1001 values around 10000000.2, sd exactly 0.1.
    let mut values = vec![10_000_000.2];
    values.extend((0..1000).map(|i| if i % 2 == 0 { 10_000_000.1 } else { 10_000_000.3 }));
    let found = call("summary", &inputs(&[("of", numbers(&values))])).unwrap();
    close(field(&found, "mean"), 10_000_000.2, 14.0);
    close(field(&found, "sd"), 0.1, 7.0);
    let one = call("summary", &inputs(&[("of", numbers(&[5.0]))])).unwrap();
    let Value::Record(fields) = &one else { panic!() };
    assert!(matches!(fields["sd"], Value::Missing(_)), "one value has no spread");
}

#[test]
fn a_reading_on_a_line_has_the_error_of_the_textbook() {
    // Miller and Miller, Statistics and Chemometrics for Analytical Chemistry, 5th ed., examples
    // 5.3.1 to 5.6.1: fluorescein standards, pg/mL, and their fluorescence.
    let x = [0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0];
    let y = [2.1, 5.0, 9.0, 12.6, 17.3, 21.0, 24.7];
    let line = call("calibration", &inputs(&[("x", numbers(&x)), ("y", numbers(&y))])).unwrap();
    let round = |v: f64, digits: i32| (v * 10f64.powi(digits)).round() / 10f64.powi(digits);
    assert_eq!(round(field(&line, "slope"), 2), 1.93);
    assert_eq!(round(field(&line, "intercept"), 2), 1.52);
    // The book rounds on the way: 0.4329.
    assert!((field(&line, "residual_sd") - 0.4329).abs() < 1e-4);
    assert_eq!(round(field(&line, "slope_sd"), 4), 0.0409);
    assert_eq!(round(field(&line, "intercept_sd"), 4), 0.2949);
    let read = |reading: Value| {
        call("inverse_calibration", &inputs(&[("calibration", line.clone()), ("reading", reading)]))
            .unwrap()
    };
    for (reading, x, sd) in [(2.9, 0.72, 0.26), (13.5, 6.21, 0.24), (23.0, 11.13, 0.26)] {
        let found = read(Value::number(reading));
        assert_eq!(round(field(&found, "value"), 2), x);
        assert_eq!(round(field(&found, "sd"), 2), sd);
        assert_eq!(quality(&found), "good");
    }
    let outside = read(numbers(&[29.0, 29.2]));
    assert_eq!(quality(&outside), "uncertain");
    assert!(text_of(&outside, "reason").contains("outside the standards"));
}

#[test]
fn a_weighted_line_counts_each_point_by_its_error() {
    // Miller and Miller, 5th ed., example 5.10.1: absorbance of standards, ug/mL.
    let x = [0.0, 2.0, 4.0, 6.0, 8.0, 10.0];
    let y = [0.009, 0.158, 0.301, 0.472, 0.577, 0.739];
    let sd = [0.001, 0.004, 0.010, 0.013, 0.017, 0.022];
    let list = inputs(&[("x", numbers(&x)), ("y", numbers(&y)), ("sd", numbers(&sd))]);
    let found = call("calibration", &list).unwrap();
    assert!((field(&found, "slope") - 0.0738).abs() < 5e-5, "{found:?}");
    assert!((field(&found, "intercept") - 0.0091).abs() < 5e-5, "{found:?}");
    // Two points with known errors: the line goes through both, s_b² = (s1² + s2²) / dx².
    let two = inputs(&[
        ("x", numbers(&[1.0, 3.0])),
        ("y", numbers(&[1.0, 5.0])),
        ("sd", numbers(&[0.3, 0.4])),
    ]);
    let found = call("calibration", &two).unwrap();
    close(field(&found, "slope"), 2.0, 12.0);
    close(field(&found, "slope_sd"), 0.25, 12.0);
    // a = (3 y1 - y2) / 2 = -1, s_a² = (9 s1² + s2²) / 4.
    close(field(&found, "intercept_sd"), ((9.0 * 0.09 + 0.16) / 4.0_f64).sqrt(), 12.0);
}

#[test]
fn savitzky_golay_has_the_weights_of_their_table() {
    // Savitzky and Golay 1964, table I (quadratic and cubic), as corrected by Steinier et al. 1972.
    for (half, norm, table) in [
        (2, 35.0, vec![-3.0, 12.0, 17.0, 12.0, -3.0]),
        (3, 21.0, vec![-2.0, 3.0, 6.0, 7.0, 6.0, 3.0, -2.0]),
        (4, 231.0, vec![-21.0, 14.0, 39.0, 54.0, 59.0, 54.0, 39.0, 14.0, -21.0]),
    ] {
        for order in [2, 3] {
            let found = smooth::weights(half, order, 0);
            for (found, known) in found.iter().zip(&table) {
                assert!((found - known / norm).abs() < 1e-14);
            }
        }
    }
    // A cubic is left as it is by polynomials of order 3, at the ends too.
    let y: Vec<f64> = (0..20).map(|i| f64::from(i).powi(3) - 40.0 * f64::from(i)).collect();
    let curve = curve_of(0.0, 1.0, &y);
    let list = inputs(&[("of", curve), ("window", q("7")), ("order", q("3"))]);
    let found = call("smooth", &list).unwrap();
    let Value::Record(fields) = &found else { panic!() };
    let smoothed = &fields["curve"].as_series().unwrap().y;
    assert!(smoothed.iter().zip(&y).all(|(a, b)| (a - b).abs() < 1e-8));
}

#[test]
fn integrals_have_their_analytic_values() {
    let sine: Vec<f64> = (0..=1000).map(|i| (f64::from(i) / 1000.0 * 3.2).sin()).collect();
    let curve = curve_of(0.0, 3.2e-3, &sine);
    let area = |list: &[(&str, Value)]| {
        let mut all = vec![("of", curve.clone())];
        all.extend_from_slice(list);
        field(&call("integrate", &inputs(&all)).unwrap(), "area")
    };
    // cos 0.5 - cos 2.5, over the axis and over the line between the ends.
    let known = 0.5_f64.cos() - 2.5_f64.cos();
    let (from, to) = (("from", q("0.5 m")), ("to", q("2.5 m")));
    close(area(&[from.clone(), to.clone()]), known, 5.0);
    let line = 0.5 * (0.5_f64.sin() + 2.5_f64.sin()) * 2.0;
    close(area(&[from, to, ("baseline", Value::text("line"))]), known - line, 5.0);
    close(area(&[]), 1.0 - 3.2_f64.cos(), 5.0);
}

#[test]
fn peaks_of_gaussians_have_their_place_height_width_and_area() {
    // Height h and standard deviation s: area h s sqrt(2 pi), half width 2 s sqrt(2 ln 2).
    let known = [(2.0, 1.0, 0.1), (5.0, 0.5, 0.2), (8.0, 0.02, 0.1)];
    let y: Vec<f64> = (0..=1000)
        .map(|i| {
            let x = f64::from(i) * 0.01;
            let gauss = |(at, h, s): &(f64, f64, f64)| h * (-0.5 * ((x - at) / s).powi(2)).exp();
            known.iter().map(gauss).sum()
        })
        .collect();
    let few = call("peaks", &inputs(&[("of", curve_of(0.0, 0.01, &y))])).unwrap();
    assert_eq!(field(&few, "count"), 2.0, "the third stands out by less than 5 %");
    let list = inputs(&[("of", curve_of(0.0, 0.01, &y)), ("prominence", q("0.01"))]);
    let found = call("peaks", &list).unwrap();
    let Value::Record(fields) = &found else { panic!() };
    let peaks = fields["peaks"].as_list().unwrap();
    assert_eq!(peaks.len(), 3);
    for (peak, (at, h, s)) in peaks.iter().zip(&known) {
        close(field(peak, "place"), *at, 4.0);
        close(field(peak, "height"), *h, 4.0);
        close(field(peak, "prominence"), *h, 4.0);
        close(field(peak, "width"), s * 2.0 * (2.0 * std::f64::consts::LN_2).sqrt(), 3.0);
        close(field(peak, "area"), h * s * (2.0 * std::f64::consts::PI).sqrt(), 3.0);
    }
    let none = call("peaks", &inputs(&[("of", curve_of(0.0, 1.0, &[3.0, 2.0, 1.0]))])).unwrap();
    assert_eq!(field(&none, "count"), 0.0);
}

#[test]
fn a_prominence_is_measured_from_the_higher_foot() {
    // Feet of the middle peak: 1 on the left, 2 on the right; a flat top counts once. The last
    // one is above the middle one, so that its left foot is 1.
    let y = [0.0, 9.0, 1.0, 5.0, 5.0, 5.0, 2.0, 8.0, 0.0];
    let found = call("peaks", &inputs(&[("of", curve_of(0.0, 1.0, &y))])).unwrap();
    let Value::Record(fields) = &found else { panic!() };
    let peaks = fields["peaks"].as_list().unwrap();
    let prominences: Vec<f64> = peaks.iter().map(|p| field(p, "prominence")).collect();
    assert_eq!(prominences, [9.0, 3.0, 7.0]);
    assert_eq!(field(&peaks[1], "place"), 4.0);
}

#[test]
fn asymmetric_least_squares_finds_the_line_below_the_peaks() {
    let base = |i: f64| 1.0 + 0.002 * i;
    let y: Vec<f64> = (0..400)
        .map(f64::from)
        .map(|i| base(i) + 2.0 * (-0.5 * ((i - 200.0) / 8.0).powi(2)).exp())
        .collect();
    let list = inputs(&[("spectra", curve_of(0.0, 1.0, &y)), ("method", Value::text("als"))]);
    let found = call("baseline", &list).unwrap();
    let Value::Record(fields) = &found else { panic!() };
    let line = &fields["baseline"].as_series().unwrap().y;
    for (i, found) in line.iter().enumerate() {
        assert!((found - base(i as f64)).abs() < 0.05, "{i}: {found}");
    }
    let left = &fields["spectrum"].as_series().unwrap().y;
    assert!((left[200] - 2.0).abs() < 0.06, "{}", left[200]);
    // A straight line has no bends to pay for: whatever the weights, it is found exactly.
    let straight: Vec<f64> = (0..50).map(|i| 3.0 - 0.1 * f64::from(i)).collect();
    let (line, settled) = baseline::asymmetric(&straight, 1e6, 0.5).unwrap();
    assert!(settled && line.iter().zip(&straight).all(|(a, b)| (a - b).abs() < 1e-6));
}

#[test]
fn an_end_point_is_that_of_the_textbook() {
    // Skoog, West, Holler and Crouch, table 21-1: 2.433 mmol Cl- with 0.1000 mol/L AgNO3, mL and V.
    let volume = [
        5.0, 15.0, 20.0, 22.0, 23.0, 23.5, 23.8, 24.0, 24.1, 24.2, 24.3, 24.4, 24.5, 24.6, 24.7,
        25.0, 25.5,
    ];
    let reading = [
        0.062, 0.085, 0.107, 0.123, 0.138, 0.146, 0.161, 0.174, 0.183, 0.194, 0.233, 0.316, 0.340,
        0.351, 0.358, 0.373, 0.385,
    ];
    let found =
        call("end_point", &inputs(&[("volume", numbers(&volume)), ("reading", numbers(&reading))]))
            .unwrap();
    // Second derivatives +4.4 at 24.30 and -5.9 at 24.40: 24.30 + 0.1 * 4.4 / 10.3.
    close(field(&found, "volume"), 24.30 + 0.1 * 4.4 / 10.3, 6.0);
    assert!(field(&found, "volume_sd") < 0.03);
    assert_eq!(quality(&found), "good");
}

#[test]
fn a_first_order_decay_gives_its_constant_and_half_life() {
    let k = 0.0123;
    let t: Vec<f64> = (0..20).map(|i| 10.0 * f64::from(i)).collect();
    let y: Vec<f64> = t.iter().map(|t| 0.1 + 0.9 * (-k * t).exp()).collect();
    let seconds = |v: &f64| Value::Quantity(Quantity::new(*v, Dimension::TIME));
    let over = Value::List(t.iter().map(seconds).collect());
    let list = inputs(&[("of", numbers(&y)), ("over", over.clone()), ("end", q("0.1"))]);
    let found = call("first_order_rate", &list).unwrap();
    close(field(&found, "rate"), k, 9.0);
    close(field(&found, "half_life"), std::f64::consts::LN_2 / k, 9.0);
    close(field(&found, "start"), 0.9, 9.0);
    let Value::Record(fields) = &found else { panic!() };
    let rate = fields["rate"].as_quantity().unwrap();
    assert_eq!(Some(rate.dim), Dimension::NONE.div(Dimension::TIME));
    let wrong = inputs(&[("of", numbers(&y)), ("over", over), ("end", q("0.5"))]);
    let error = call("first_order_rate", &wrong).unwrap_err().to_string();
    assert!(error.contains("both sides"), "{error}");
}

#[test]
fn values_that_agree_are_combined_and_those_that_do_not_are_uncertain() {
    // Bevington and Robinson: weights 1 / s², so 2 and 3 with sd 1 and 2 give 2.2, sd sqrt(0.8).
    let two = |b: f64| {
        call("combine", &inputs(&[("values", numbers(&[2.0, b])), ("sds", numbers(&[1.0, 2.0]))]))
            .unwrap()
    };
    let found = two(3.0);
    close(field(&found, "value"), 2.2, 12.0);
    close(field(&found, "sd"), 0.8_f64.sqrt(), 12.0);
    assert_eq!(quality(&found), "good");
    // 20 away from each other, where the difference has the sd sqrt(5).
    let apart = two(22.0);
    close(field(&apart, "birge_ratio"), 20.0 / 5.0_f64.sqrt(), 12.0);
    close(field(&apart, "sd"), 0.8_f64.sqrt() * 20.0 / 5.0_f64.sqrt(), 12.0);
    assert_eq!(quality(&apart), "uncertain");
}

#[test]
fn an_absorbance_is_minus_the_logarithm_of_what_is_left() {
    let curve = |y: &[f64]| curve_of(400e-9, 10e-9, y);
    let list = inputs(&[
        ("sample", Value::List(vec![curve(&[10.0, 28.0]), curve(&[12.0, 32.0])])),
        ("reference", curve(&[101.0, 291.0])),
        ("dark", curve(&[1.0, 1.0])),
    ]);
    let found = call("absorbance", &list).unwrap();
    let Value::Record(fields) = &found else { panic!() };
    let y = &fields["spectrum"].as_series().unwrap().y;
    close(y[0], 1.0, 12.0);
    close(y[1], 10.0_f64.log10(), 12.0);
    let dark = inputs(&[("sample", curve(&[10.0, 0.0])), ("reference", curve(&[20.0, 20.0]))]);
    let error = call("absorbance", &dark).unwrap_err().to_string();
    assert!(error.contains("`sample` is not brighter than the dark at 410 nm"), "{error}");
}

#[test]
fn steady_is_what_neither_drifts_nor_scatters() {
    let judge = |values: &[f64]| {
        let list = inputs(&[("of", numbers(values)), ("tolerance", q("0.1")), ("last", q("4"))]);
        let found = call("steady_state", &list).unwrap();
        let Value::Record(fields) = &found else { panic!() };
        (fields["steady"].as_bool().unwrap(), quality(&found))
    };
    assert_eq!(judge(&[9.0, 1.0, 1.02, 0.99, 1.01]), (true, "good".to_owned()));
    assert_eq!(judge(&[1.0, 1.1, 1.2, 1.3]), (false, "good".to_owned()), "it drifts");
    assert_eq!(judge(&[1.0, 2.0, 2.0, 1.0]), (false, "good".to_owned()), "it scatters");
    assert_eq!(judge(&[1.0, 1.0, 1.0]), (false, "uncertain".to_owned()), "too few");
    let curve = curve_of(0.0, 1.0, &[5.0, 4.0, 3.0, 3.0, 3.0, 3.0]);
    let over = |window: &str| {
        let list = inputs(&[("of", curve.clone()), ("relative", q("1 %")), ("window", q(window))]);
        let Value::Record(fields) = call("steady_state", &list).unwrap() else { panic!() };
        fields["steady"].as_bool().unwrap()
    };
    assert!(over("3 m") && !over("4 m") && !over("10 m"));
}
