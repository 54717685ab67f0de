//! Laws that hold for every function and whatever it is given.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::expr::Type;

/// Numbers of every size, also those that overflow when multiplied, and ties.
fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        60 => 0.1..10.0_f64,
        20 => -10.0..10.0_f64,
        10 => (0..4_i32).prop_map(f64::from),
        1 => any::<f64>().prop_filter("finite", |v| v.is_finite()),
    ]
}

fn unit() -> impl Strategy<Value = Dimension> {
    prop::sample::select(vec![
        Dimension::NONE,
        Dimension::NONE,
        Dimension::NONE,
        Dimension::NONE,
        Dimension::LENGTH,
        Dimension::TIME,
        Dimension::TEMPERATURE,
        Dimension::CONCENTRATION,
        Dimension::ABSORPTIVITY,
    ])
}

fn numbers() -> impl Strategy<Value = Value> {
    let list =
        prop_oneof![prop::collection::vec(number(), 6..7), prop::collection::vec(number(), 0..12),];
    (list, unit(), any::<bool>()).prop_map(|(list, dim, rise)| {
        let mut list = list;
        if rise {
            list.sort_by(f64::total_cmp);
        }
        Value::List(list.into_iter().map(|v| of(v, dim)).collect())
    })
}

fn a_curve() -> impl Strategy<Value = Value> {
    let points = prop_oneof![
        prop::collection::vec((0.001..2.0_f64, number()), 12..13),
        prop::collection::vec((0.001..2.0_f64, number()), 0..40),
    ];
    (points, any::<bool>(), unit()).prop_map(|(steps, even, y_dim)| {
        let (mut x, mut y, mut at) = (Vec::new(), Vec::new(), 0.0);
        for (step, value) in steps {
            at += if even { 0.5 } else { step };
            x.push(at);
            y.push(value);
        }
        Value::Series(Arc::new(Series { x, x_dim: Dimension::LENGTH, y, y_dim }))
    })
}

fn given() -> impl Strategy<Value = Value> {
    let words = vec!["line", "als", "none", "area", "peak"];
    prop_oneof![
        (number(), unit()).prop_map(|(v, dim)| of(v, dim)),
        numbers(),
        a_curve(),
        prop::collection::vec(a_curve(), 0..3).prop_map(Value::List),
        prop::sample::select(words).prop_map(Value::text),
        (numbers(), numbers()).prop_map(|(x, y)| {
            let list = BTreeMap::from([("x".to_owned(), x), ("y".to_owned(), y)]);
            call("calibration", &list).unwrap_or(Value::Bool(true))
        }),
    ]
}

/// Whether a value is of the type that was promised; what is missing is of every type.
fn is_of(value: &Value, promised: &Type) -> bool {
    match (value, promised) {
        (Value::Missing(_), _) | (_, Type::Unknown) => true,
        (Value::Record(fields), Type::Record(types)) => {
            fields.keys().eq(types.keys())
                && fields.iter().all(|(name, v)| types.get(name).is_some_and(|t| is_of(v, t)))
        }
        (Value::List(items), Type::List(item)) => items.iter().all(|v| is_of(v, item)),
        (value, promised) => value.type_of() == *promised,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_result_is_what_the_compiler_promised_and_nothing_panics(
        pool in prop::collection::vec(given(), 8..9),
        choice in prop::collection::vec(0..9_usize, 8..9),
    ) {
        for name in names() {
            let signature = signature(name).unwrap();
            // The n-th input is left out, or one of those that fit, if any fits.
            let mut inputs = Inputs::new();
            for (input, choice) in signature.inputs.iter().zip(&choice) {
                let types: Given = inputs.iter().map(|(n, v)| (n.clone(), v.type_of())).collect();
                let fitting: Vec<&Value> =
                    pool.iter().filter(|v| input.is.accepts(&v.type_of(), &types)).collect();
                let left_out = *choice == 8 && input.needed == Needed::Optional;
                if let (false, Some(value)) = (left_out, fitting.get(choice % fitting.len().max(1))) {
                    inputs.insert(input.name.to_owned(), (*value).clone());
                }
            }
            let types = inputs.iter().map(|(n, v)| (n.clone(), v.type_of())).collect();
            match call(name, &inputs) {
                Ok(value) => {
                    let promised = signature.output(&types);
                    prop_assert!(is_of(&value, &promised), "{name}: {value:?} is no {promised:?}");
                    prop_assert!(is_finite(&value));
                }
                Err(error) => prop_assert!(!error.message.is_empty()),
            }
        }
    }

    #[test]
    fn a_line_follows_its_points_when_they_are_moved_and_scaled(
        points in prop::collection::vec((-5.0..5.0_f64, -5.0..5.0_f64), 4..20),
        move_by in -1e3..1e3_f64,
        scale in 0.01..100.0_f64,
    ) {
        let (x, y): (Vec<f64>, Vec<f64>) = points.into_iter().unzip();
        let spread = x.iter().copied().fold(f64::NEG_INFINITY, f64::max)
            - x.iter().copied().fold(f64::INFINITY, f64::min);
        prop_assume!(spread > 0.1);
        let plain = line::fit(&x, &y, None).unwrap();
        let moved: Vec<f64> = y.iter().map(|y| scale * y + move_by).collect();
        let found = line::fit(&x, &moved, None).unwrap();
        let near = |a: f64, b: f64| (a - b).abs() <= 1e-8 * (1.0 + a.abs().max(b.abs())) * (1.0 + move_by.abs());
        prop_assert!(near(found.slope, scale * plain.slope));
        prop_assert!(near(found.intercept, scale * plain.intercept + move_by));
        prop_assert!(near(found.slope_sd, scale * plain.slope_sd));
    }
}
