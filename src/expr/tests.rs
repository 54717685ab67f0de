//! Cases and laws.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::eval::nothing;
use super::*;
use crate::units::{Dimension, Quantity};

struct Names(BTreeMap<String, Value>);

impl Names {
    fn of(list: &[(&str, Value)]) -> Names {
        Names(list.iter().map(|(n, v)| ((*n).to_owned(), v.clone())).collect())
    }
}

impl Env for Names {
    fn value(&self, path: &[String]) -> Option<Value> {
        self.0.get(&path.join(".")).cloned()
    }
}

impl TypeEnv for Names {
    fn type_of(&self, path: &[String]) -> Result<Type, Option<String>> {
        self.0.get(&path.join(".")).map(Value::type_of).ok_or(None)
    }
}

fn q(text: &str) -> Value {
    Value::Quantity(Quantity::parse(text).unwrap())
}

fn names() -> Names {
    Names::of(&[
        ("params.t", q("80 degC")),
        ("params.time", q("5 min")),
        ("params.n", Value::number(3.0)),
        ("params.cat", Value::text("Pd-1")),
        ("bath", Value::Record(BTreeMap::from([("temperature".to_owned(), q("79.8 degC"))]))),
        ("lost", Value::missing("stale")),
        ("list", Value::List(vec![Value::number(1.0), Value::number(2.0), Value::number(6.0)])),
        ("nil", Value::List(vec![])),
    ])
}

fn value(text: &str) -> Result<Value, ExprError> {
    eval(&parse(text)?, &names())
}

#[test]
fn values() {
    let cases = [
        ("1 + 2 * 3", Value::number(7.0)),
        ("(1 + 2) * 3", Value::number(9.0)),
        ("2 ^ 3", Value::number(8.0)),
        ("-2 + 5", Value::number(3.0)),
        ("abs(bath.temperature - params.t) < 0.5 K", Value::Bool(true)),
        ("params.t + 5 K", q("85 degC")),
        ("-5 degC + 10 K", q("5 degC")),
        ("params.t - 40 degC <= 8 K/min * params.time", Value::Bool(true)),
        ("10 mL / params.time", q("2 mL/min")),
        ("1 h 30 min", q("90 min")),
        ("params.cat == 'Pd-1' ? 1 : 2", Value::number(1.0)),
        ("params.cat in ['Pd-1', \"Pd-2\"]", Value::Bool(true)),
        ("not (1 > 2) and 3 >= 3", Value::Bool(true)),
        ("mean(list)", Value::number(3.0)),
        ("slope(list)", Value::number(2.5)),
        ("last(list) - list[1]", Value::number(5.0)),
        ("list[-1]", Value::number(6.0)),
        ("max(1 mL, 2 mL, 500 uL)", q("2 mL")),
        ("clamp(7, 0, 5)", Value::number(5.0)),
        ("sqrt(4 mL * 9 mL) == 6 mL", Value::Bool(true)),
        ("len(nil)", Value::number(0.0)),
        ("1 % < 2 %", Value::Bool(true)),
        ("false and lost > 1", Value::Bool(false)),
        ("true or lost > 1", Value::Bool(true)),
    ];
    for (text, expected) in cases {
        match (value(text), &expected) {
            (Ok(Value::Quantity(a)), Value::Quantity(b)) => {
                assert_eq!((a.dim, a.point), (b.dim, b.point), "{text}");
                assert!((a.value - b.value).abs() <= 1e-12 * b.value.abs(), "{text}: {a:?}");
            }
            (found, _) => assert_eq!(found.as_ref(), Ok(&expected), "{text}"),
        }
    }
}

#[test]
fn what_is_missing_stays_missing() {
    for text in ["lost", "lost + 1", "lost > 1", "true and lost > 1", "abs(lost)", "lost.x"] {
        assert!(matches!(value(text), Ok(Value::Missing(_))), "{text}: {:?}", value(text));
    }
}

#[test]
fn mistakes_have_a_place() {
    let cases = [
        ("1 / 0", ErrorKind::Value, 0..5),
        ("1 + mean(nil)", ErrorKind::Value, 4..13),
        ("exp(1000)", ErrorKind::Value, 0..9),
        ("2 + nothing", ErrorKind::Name, 4..11),
        ("1 mL + 2 s", ErrorKind::Dimension, 0..10),
        ("20 degC + 5 degC", ErrorKind::Dimension, 0..16),
        ("5 lpm + 1 mL", ErrorKind::Unit, 2..5),
        ("1 +", ErrorKind::Syntax, 3..3),
        ("1 < 2 < 3", ErrorKind::Syntax, 6..7),
        ("a && b", ErrorKind::Syntax, 2..3),
        ("(1", ErrorKind::Syntax, 2..2),
        ("list[9]", ErrorKind::Value, 0..7),
    ];
    for (text, kind, span) in cases {
        let error = value(text).expect_err(text);
        assert_eq!((error.kind, error.span.clone()), (kind, span), "{text}: {error}");
    }
}

#[test]
fn types_are_checked_before_anything_runs() {
    let check = |text: &str| check(&parse(text).unwrap(), &names());
    assert_eq!(check("params.t > 20 degC"), Ok(Type::Bool));
    assert_eq!(
        check("10 mL / params.time"),
        Ok(Type::Quantity { dim: Dimension::VOLUME_FLOW, point: false })
    );
    let errors = check("params.t > 5 min and params.x == 1 or frob(2)").unwrap_err();
    let messages: Vec<String> = errors.iter().map(|e| e.message.clone()).collect();
    assert_eq!(errors.len(), 3, "{messages:?}");
    assert!(messages[0].contains("temperature on a scale"), "{messages:?}");
    assert!(messages[1].contains("params.x"), "{messages:?}");
    assert!(errors[2].help.as_ref().unwrap().contains("clamp"));
}

#[test]
fn templates_are_typed_alone_and_text_inside_text() {
    let of = |text: &str| eval(&parse_template(text).unwrap(), &names()).unwrap();
    assert_eq!(of("${ params.n }"), Value::number(3.0));
    assert_eq!(of("heat to ${ params.t } now"), Value::text("heat to 80 degC now"));
    assert_eq!(of("plain"), Value::text("plain"));
    let error = parse_template("at ${ 1 + } end").unwrap_err();
    assert_eq!(error.span, 10..10);
}

#[test]
fn names_are_listed_once_in_order() {
    let expr = parse("a.b + f.g * a.b + max(c, 2)").unwrap();
    assert_eq!(expr.names(), [vec!["a", "b"], vec!["f", "g"], vec!["c"]]);
}

#[test]
fn folding_keeps_what_is_not_known() {
    let expr = parse("params.n * 2 + later.x").unwrap();
    let folded = fold(&expr, &names());
    assert_eq!(folded.names(), [vec!["later", "x"]]);
    let json = serde_json::to_string(&folded).unwrap();
    assert_eq!(serde_json::from_str::<Expr>(&json).unwrap(), folded);
    assert!(fold(&parse("params.n * 2").unwrap(), &names()).as_literal().is_some());
}

#[test]
fn limits_hold() {
    let deep = format!("{}1{}", "(".repeat(100), ")".repeat(100));
    assert_eq!(parse(&deep).unwrap_err().kind, ErrorKind::Limit);
    let minus = format!("{}1", "-".repeat(1000));
    assert_eq!(parse(&minus).unwrap_err().kind, ErrorKind::Limit);
    let nots = format!("{} true", "not ".repeat(900));
    assert_eq!(parse(&nots).unwrap_err().kind, ErrorKind::Limit);
    let long = vec!["1"; 600].join("+");
    assert_eq!(parse(&long).unwrap_err().kind, ErrorKind::Limit);
}

struct Box2(f64, f64);

impl RangeEnv for Box2 {
    fn range(&self, path: &[String]) -> Option<Interval> {
        (path.len() == 1 && path[0] == "x").then_some(Interval { lo: self.0, hi: self.1 })
    }
}

fn arithmetic() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![Just("x".to_owned()), (-9i32..9).prop_map(|n| format!("({n})"))];
    leaf.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            (inner.clone(), prop::sample::select(vec!["+", "-", "*", "/"]), inner.clone())
                .prop_map(|(a, op, b)| format!("({a} {op} {b})")),
            (prop::sample::select(vec!["abs", "exp", "sqrt", "round"]), inner.clone())
                .prop_map(|(f, a)| format!("{f}({a})")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("min({a}, {b})")),
        ]
    })
}

#[test]
fn a_clamp_bounds_what_is_only_known_at_run_time() {
    let range = |text: &str| interval(&parse(text).unwrap(), &Box2(0.0, 1.0));
    assert_eq!(range("clamp(steps.ph.value, 2, 5)"), Some(Interval { lo: 2.0, hi: 5.0 }));
    assert_eq!(range("clamp(steps.ph.value, x, x + 4)"), Some(Interval { lo: 0.0, hi: 5.0 }));
    assert_eq!(range("clamp(x, 0.5, steps.ph.value)"), None);
    assert_eq!(range("steps.ph.value"), None);
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,60}") {
        let _ = parse(&text);
        let _ = parse_template(&text);
    }

    #[test]
    fn tokens_in_any_order_never_panic(
        words in prop::collection::vec(prop::sample::select(vec![
            "1", "2 mL", "x", ".", "(", ")", "[", "]", "+", "-", "*", "/", "^", "?", ":", ",",
            "and", "not", "in", "<", "==", "\"t\"", "min", "5 degC", "%",
        ]), 0..20)
    ) {
        if let Ok(expr) = parse(&words.join(" ")) {
            let _ = eval(&expr, &names());
            let _ = check(&expr, &names());
        }
    }

    #[test]
    fn folding_does_not_change_the_value(text in arithmetic(), x in -9.0f64..9.0) {
        let env = Names::of(&[("x", Value::number(x))]);
        let expr = parse(&text).unwrap();
        let plain = eval(&expr, &env);
        prop_assert_eq!(eval(&fold(&expr, &nothing()), &env).ok(), plain.clone().ok());
        prop_assert_eq!(eval(&fold(&expr, &env), &nothing()).ok(), plain.ok());
    }

    #[test]
    fn the_interval_holds_every_value(text in arithmetic(), at in 0.0f64..1.0, lo in -5.0f64..5.0, width in 0.0f64..3.0) {
        let expr = parse(&text).unwrap();
        if let Some(range) = interval(&expr, &Box2(lo, lo + width)) {
            let env = Names::of(&[("x", Value::number(lo + at * width))]);
            if let Ok(Value::Quantity(found)) = eval(&expr, &env) {
                let slack = 1e-9 * (1.0 + range.lo.abs().max(range.hi.abs()));
                prop_assert!(found.value >= range.lo - slack && found.value <= range.hi + slack);
            }
        }
    }
}
