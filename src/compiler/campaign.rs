//! A campaign against its protocol: what is searched, in which limits, for what.

mod budget;
pub mod edit;

use std::collections::BTreeMap;

use super::bundle::Bundle;
use super::graph::Graph;
use super::names::Names;
use super::values;
use super::walk::{Request, compile};
use crate::expr::{Expr, Interval, Type, TypeEnv, Value};
use crate::spec::campaign::{Campaign, Range};
use crate::spec::protocol::Protocol;
use crate::spec::{Checked, Diagnostic, Report, ValueSpec, ValueType, codes, listed, nearest};
use crate::units::{Dimension, Quantity, Unit};

/// One parameter of the search, in the numbers a planner works with.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// Parameter.
    pub name: String,
    /// What values it takes.
    pub kind: AxisKind,
    /// Unit of the numbers; without a symbol for counts and plain numbers.
    pub unit: Unit,
}

/// Values of an axis.
#[derive(Debug, Clone, PartialEq)]
pub enum AxisKind {
    /// Any number between two.
    Continuous {
        /// Least.
        min: f64,
        /// Greatest.
        max: f64,
        /// Spread evenly in the logarithm.
        log: bool,
    },
    /// Any whole number between two.
    Integer {
        /// Least.
        min: f64,
        /// Greatest.
        max: f64,
    },
    /// Some numbers.
    Discrete {
        /// In rising order.
        values: Vec<f64>,
    },
    /// Some words.
    Categorical {
        /// The words.
        choices: Vec<String>,
        /// Numbers that describe each word, in the order of the words; empty if there are none.
        descriptors: Vec<Vec<f64>>,
    },
}

/// One objective.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Result.
    pub result: String,
    /// Unit of the result.
    pub unit: String,
    /// More is better.
    pub maximize: bool,
    /// Result that holds the noise of each measurement.
    pub noise: Option<String>,
    /// Least that is worth having, in the unit of the result.
    pub reference: Option<f64>,
}

/// What a campaign searches, checked.
#[derive(Debug, Clone)]
pub struct Search {
    /// Parameters that vary.
    pub axes: Vec<Axis>,
    /// Parameters that do not.
    pub fixed: BTreeMap<String, Value>,
    /// What for.
    pub objectives: Vec<Target>,
    /// Conditions over parameters.
    pub input_constraints: Vec<Expr>,
    /// Limits of results.
    pub outcome_limits: Vec<OutcomeLimit>,
    /// The search ends when one of these holds.
    pub stop_any: Vec<Expr>,
    /// Or when all of these do.
    pub stop_all: Vec<Expr>,
}

/// A result that must stay on one side of a value.
#[derive(Debug, Clone, PartialEq)]
pub struct OutcomeLimit {
    /// Result.
    pub result: String,
    /// The value, in the unit of the result.
    pub value: f64,
    /// The result may be at most the value; otherwise at least.
    pub at_most: bool,
}

/// Names of stop conditions: `best.<result>`, and `improvement(last: n)`.
struct StopNames {
    results: BTreeMap<String, Type>,
}

impl TypeEnv for StopNames {
    fn type_of(&self, path: &[String]) -> Result<Type, Option<String>> {
        match path {
            [root, name] if root == "best" => self.results.get(name).cloned().ok_or_else(|| {
                nearest(name, self.results.keys().map(String::as_str)).map(|n| format!("best.{n}"))
            }),
            _ => Err(self.results.keys().next().map(|n| format!("best.{n}"))),
        }
    }

    fn type_of_call(&self, name: &str) -> Option<Type> {
        (name == "improvement").then_some(Type::Quantity { dim: Dimension::NONE, point: false })
    }
}

impl Axis {
    /// Whether a value of the parameter is one that is searched.
    pub fn holds(&self, value: &Value) -> bool {
        let number = || value.as_quantity().and_then(|q| q.in_unit(&self.unit));
        // Units and decimal steps move the last bits.
        let slack = |a: f64, b: f64| 1e-9 * a.abs().max(b.abs()).max(f64::MIN_POSITIVE);
        match &self.kind {
            AxisKind::Continuous { min, max, .. } | AxisKind::Integer { min, max } => number()
                .is_some_and(|n| n >= min - slack(*min, *max) && n <= max + slack(*min, *max)),
            AxisKind::Discrete { values } => {
                number().is_some_and(|n| values.iter().any(|v| (v - n).abs() <= slack(*v, n)))
            }
            AxisKind::Categorical { choices, .. } => choices.contains(&value.show()),
        }
    }

    /// A planner's number or word as a value with its unit.
    pub fn value(&self, number: f64) -> Value {
        Value::Quantity(Quantity::of(number, &self.unit))
    }
}

/// Checks a campaign with its protocol and lab, over the whole box it searches.
pub fn check(bundle: &Bundle) -> Checked<Search> {
    let mut report = Report::new();
    let (Some(campaign), Some(protocol), Some(lab)) =
        (&bundle.campaign, &bundle.protocol, &bundle.lab)
    else {
        return Checked::new(None, report);
    };
    let mut search = Search {
        axes: Vec::new(),
        fixed: BTreeMap::new(),
        objectives: Vec::new(),
        input_constraints: Vec::new(),
        outcome_limits: Vec::new(),
        stop_any: Vec::new(),
        stop_all: Vec::new(),
    };
    let mut ranges = BTreeMap::new();
    space(campaign, protocol, &mut search, &mut ranges, &mut report);
    objectives(campaign, protocol, &mut search, &mut report);
    constraints(campaign, protocol, &mut search, &mut report);

    let compiled: Checked<Graph> = compile(Request {
        sources: &bundle.sources,
        protocol,
        lab,
        definitions: &bundle.definitions,
        protocols: &bundle.protocols,
        pins: &campaign.roles,
        parameters: &search.fixed,
        ranges: &ranges,
    });
    report.extend(compiled.report);
    if let Some(graph) = &compiled.value {
        budget::check(campaign, lab, graph, &mut report);
    }
    budget::feasible(campaign, &search, &ranges, &mut report);
    report.sort();
    let value = (!report.has_errors()).then_some(search);
    Checked::new(value, report)
}

fn space(
    campaign: &Campaign,
    protocol: &Protocol,
    search: &mut Search,
    ranges: &mut BTreeMap<String, Interval>,
    report: &mut Report,
) {
    let names = Names::default();
    for dimension in &campaign.space {
        let name = &dimension.name.value;
        let Some(spec) = protocol.parameter(name) else {
            let known: Vec<&str> =
                protocol.parameters.iter().map(|p| p.name.value.as_str()).collect();
            let mut wrong = Diagnostic::error(
                codes::UNKNOWN_PARAMETER,
                dimension.name.span,
                format!("the protocol has no parameter `{name}`"),
            )
            .reason(format!("it has {}", known.join(", ")));
            if let Some(near) = nearest(name, known) {
                wrong = wrong.fix(near);
            }
            report.push(wrong);
            continue;
        };
        match &dimension.range {
            Range::Interval { from, to, log, step } => {
                let unit = match &spec.kind {
                    ValueType::Quantity { unit } => unit.value.clone(),
                    ValueType::Number | ValueType::Integer => Unit::one(),
                    _ => {
                        report.push(
                            Diagnostic::error(
                                codes::SPACE_WIDER,
                                dimension.span,
                                format!("`{name}` is not a number, so it has no range"),
                            )
                            .also(spec.span, "declared here")
                            .fix(format!("{name}: [option, option]")),
                        );
                        continue;
                    }
                };
                let (Some(min), Some(max)) = (from.value.in_unit(&unit), to.value.in_unit(&unit))
                else {
                    report.push(
                        Diagnostic::error(
                            codes::SPACE_WIDER,
                            from.span.to(to.span),
                            format!("the range of `{name}` is not a {}", spec.expr_type()),
                        )
                        .also(spec.span, "declared here"),
                    );
                    continue;
                };
                narrower(spec, from.value, from.span, to.value, to.span, report);
                ranges.insert(name.clone(), Interval { lo: from.value.value, hi: to.value.value });
                let kind = match (step, &spec.kind) {
                    (Some(step), _) => {
                        // A step is a difference: a temperature's is in K, of the same size.
                        let step = step.value.value / unit.factor;
                        Some(stepped(min, max, step))
                    }
                    (None, ValueType::Integer) => {
                        Some(AxisKind::Integer { min: min.ceil(), max: max.floor() })
                    }
                    (None, _) => Some(AxisKind::Continuous { min, max, log: *log }),
                };
                if let Some(kind) = kind {
                    search.axes.push(Axis { name: name.clone(), kind, unit });
                }
            }
            Range::Options { values: written, descriptors } => {
                let mut found = Vec::new();
                for option in written {
                    if let Some(expr) = values::argument(option, spec, &names, report)
                        && let Some(value) = expr.as_literal()
                    {
                        found.push(value.clone());
                    }
                }
                if found.len() != written.len() {
                    continue;
                }
                let (kind, unit) = options(spec, &found, descriptors);
                if let AxisKind::Discrete { .. } = &kind {
                    let numbers: Vec<f64> =
                        found.iter().filter_map(Value::as_quantity).map(|q| q.value).collect();
                    let lo = numbers.iter().copied().fold(f64::INFINITY, f64::min);
                    let hi = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    ranges.insert(name.clone(), Interval { lo, hi });
                }
                search.axes.push(Axis { name: name.clone(), kind, unit });
            }
        }
    }
    for fixed in &campaign.fixed {
        let Some(spec) = protocol.parameter(&fixed.name.value) else {
            report.push(Diagnostic::error(
                codes::UNKNOWN_PARAMETER,
                fixed.name.span,
                format!("the protocol has no parameter `{}`", fixed.name.value),
            ));
            continue;
        };
        if let Some(expr) = values::argument(&fixed.value, spec, &names, report)
            && let Some(value) = expr.as_literal()
        {
            search.fixed.insert(fixed.name.value.clone(), value.clone());
        }
    }
    for spec in &protocol.parameters {
        let name = &spec.name.value;
        let named = campaign.space.iter().any(|d| d.name.value == *name)
            || campaign.fixed.iter().any(|f| f.name.value == *name);
        if named {
            continue;
        }
        match spec.default.as_ref().and_then(|d| d.expr.constant()) {
            Some(value) => {
                search.fixed.insert(name.clone(), value);
            }
            None => report.push(
                Diagnostic::error(
                    codes::PARAMETER_OPEN,
                    campaign.name.span,
                    format!("the campaign gives `{name}` no value"),
                )
                .also(spec.span, "the parameter, which has no default")
                .fix(format!("add `{name}` under `space:` or `fixed:`")),
            ),
        }
    }
}

fn options(
    spec: &ValueSpec,
    found: &[Value],
    descriptors: &[crate::spec::Named<Vec<f64>>],
) -> (AxisKind, Unit) {
    let unit = match &spec.kind {
        ValueType::Quantity { unit } => unit.value.clone(),
        _ => Unit::one(),
    };
    let numbers: Vec<f64> = found.iter().filter_map(|v| v.as_quantity()?.in_unit(&unit)).collect();
    if numbers.len() == found.len() {
        let mut values = numbers;
        values.sort_by(f64::total_cmp);
        return (AxisKind::Discrete { values }, unit);
    }
    let choices: Vec<String> = found.iter().map(Value::show).collect();
    let described = choices
        .iter()
        .filter_map(|c| descriptors.iter().find(|d| d.name.value == *c))
        .map(|d| d.value.clone())
        .collect();
    (AxisKind::Categorical { choices, descriptors: described }, Unit::one())
}

fn stepped(min: f64, max: f64, step: f64) -> AxisKind {
    /// A finer grid is as good as continuous for the search.
    const VALUES_MAX: f64 = 1000.0;
    let count = ((max - min) / step + 1e-9).floor();
    if !count.is_finite() || count > VALUES_MAX || step <= 0.0 {
        return AxisKind::Continuous { min, max, log: false };
    }
    let values = (0..=count as u32).map(|n| {
        // Decimal steps give decimal values: 1.1, not 1.1000000000000001.
        let value = min + f64::from(n) * step;
        (value * 1e9).round() / 1e9
    });
    AxisKind::Discrete { values: values.collect() }
}

fn narrower(
    spec: &ValueSpec,
    from: Quantity,
    from_span: crate::spec::Span,
    to: Quantity,
    to_span: crate::spec::Span,
    report: &mut Report,
) {
    let sides =
        [(from, from_span, spec.min.as_ref(), true), (to, to_span, spec.max.as_ref(), false)];
    for (value, span, limit, low) in sides {
        let Some(limit) = limit else { continue };
        let slack = 1e-9 * limit.value.value.abs();
        let wider = if low {
            value.value < limit.value.value - slack
        } else {
            value.value > limit.value.value + slack
        };
        if wider {
            report.push(
                Diagnostic::error(
                    codes::SPACE_WIDER,
                    span,
                    format!(
                        "`{}` goes to {value}, the protocol allows {} {}",
                        spec.name.value,
                        if low { "at least" } else { "at most" },
                        limit.value
                    ),
                )
                .also(limit.span, "the protocol's limit")
                .reason("a campaign may only narrow a protocol's limits")
                .fix(limit.value.to_string()),
            );
        }
    }
}

fn objectives(campaign: &Campaign, protocol: &Protocol, search: &mut Search, report: &mut Report) {
    let known: Vec<&str> = protocol.results.iter().map(|r| r.name.value.as_str()).collect();
    let unknown = |name: &crate::spec::Spanned<String>| {
        let mut wrong = Diagnostic::error(
            codes::OBJECTIVE_RESULT,
            name.span,
            format!("`{}` is not a result of the protocol", name.value),
        )
        .reason(format!("its results are {}", known.join(", ")));
        if let Some(near) = nearest(&name.value, known.iter().copied()) {
            wrong = wrong.fix(near);
        }
        wrong
    };
    for objective in &campaign.objectives {
        let Some(result) = protocol.result(&objective.result.value) else {
            report.push(unknown(&objective.result));
            continue;
        };
        if let Some(noise) = &objective.noise
            && protocol.result(&noise.value).is_none()
        {
            report.push(unknown(noise));
            continue;
        }
        let unit = result.unit.as_ref().map_or_else(Unit::one, |u| u.value.clone());
        let reference = match &objective.reference {
            None => None,
            Some(reference) => match reference.value.in_unit(&unit) {
                Some(number) => Some(number),
                None => {
                    report.push(
                        Diagnostic::error(
                            codes::OBJECTIVE_UNIT,
                            reference.span,
                            format!(
                                "the reference of `{}` is a {}, the result is in {}",
                                objective.result.value,
                                reference.value.dim,
                                if unit.symbol.is_empty() { "no unit" } else { &unit.symbol }
                            ),
                        )
                        .also(result.span, "the result"),
                    );
                    continue;
                }
            },
        };
        search.objectives.push(Target {
            result: objective.result.value.clone(),
            unit: unit.symbol.clone(),
            maximize: objective.maximize,
            noise: objective.noise.as_ref().map(|n| n.value.clone()),
            reference,
        });
    }
}

fn constraints(campaign: &Campaign, protocol: &Protocol, search: &mut Search, report: &mut Report) {
    let mut inputs = Names::default();
    for spec in &protocol.parameters {
        inputs.parameters.insert(spec.name.value.clone(), spec.expr_type());
    }
    for constraint in &campaign.input_constraints {
        if let Some(expr) = values::condition(constraint, &inputs, report) {
            search.input_constraints.push(expr);
        }
    }
    for constraint in &campaign.outcome_constraints {
        match outcome_limit(constraint.text.as_str(), protocol) {
            Ok(limit) => search.outcome_limits.push(limit),
            Err(why) => {
                let name = constraint.text.trim().strip_prefix("results.").unwrap_or_default();
                let name = name.split(['<', '>', ' ']).next().unwrap_or_default();
                let known = || protocol.results.iter().map(|r| r.name.value.as_str());
                let wrong = if !name.is_empty() && protocol.result(name).is_none() {
                    let near = nearest(name, known());
                    let message = match near {
                        Some(near) => format!("write `results.{near}` instead of `results.{name}`"),
                        None => format!("name a result of the protocol, not `{name}`"),
                    };
                    let mut wrong =
                        Diagnostic::error(codes::UNKNOWN_RESULT, constraint.span, message)
                            .label("no result of the protocol")
                            .also(protocol.name.span, "the protocol")
                            .reason(format!("its results are {}", listed(known())));
                    wrong.fix = near.map(|near| format!("results.{near}"));
                    wrong
                } else {
                    Diagnostic::error(codes::CONSTRAINT_READS, constraint.span, why)
                        .label("not one result and one value")
                        .fix("results.impurity <= 5 %")
                };
                report.push(wrong);
            }
        }
    }
    let results = protocol.results.iter().map(|result| {
        let unit = result.unit.as_ref().map_or_else(Unit::one, |u| u.value.clone());
        (result.name.value.clone(), Type::Quantity { dim: unit.dim, point: unit.point })
    });
    let names = StopNames { results: results.collect() };
    for (list, all) in [(&campaign.stop.any, false), (&campaign.stop.all, true)] {
        for condition in list {
            match crate::expr::check(&condition.expr, &names) {
                Ok(Type::Bool | Type::Unknown) => {
                    let kept = if all { &mut search.stop_all } else { &mut search.stop_any };
                    kept.push(condition.expr.clone());
                }
                Ok(other) => report.push(Diagnostic::error(
                    codes::NOT_BOOLEAN,
                    condition.span,
                    format!("this is a {other}, not true or false"),
                )),
                Err(errors) => {
                    for error in errors {
                        let mut wrong = Diagnostic::error(
                            codes::UNKNOWN_NAME,
                            condition.place(error.span.clone()),
                            error.message,
                        );
                        if let Some(help) = error.help {
                            wrong = wrong.fix(help);
                        }
                        report.push(wrong);
                    }
                }
            }
        }
    }
}

/// `results.NAME <= VALUE` or `>=`.
fn outcome_limit(text: &str, protocol: &Protocol) -> Result<OutcomeLimit, String> {
    let (left, right, at_most) = match (text.split_once("<="), text.split_once(">=")) {
        (Some((a, b)), None) => (a, b, true),
        (None, Some((a, b))) => (a, b, false),
        _ => return Err("an outcome constraint compares one result with one value".to_owned()),
    };
    let name = left
        .trim()
        .strip_prefix("results.")
        .ok_or("an outcome constraint begins with `results.NAME`")?;
    let result =
        protocol.result(name).ok_or_else(|| format!("`{name}` is not a result of the protocol"))?;
    let unit = result.unit.as_ref().map_or_else(Unit::one, |u| u.value.clone());
    let value = Quantity::parse(right.trim()).map_err(|e| e.message)?;
    let number = value
        .in_unit(&unit)
        .ok_or_else(|| format!("`{name}` is in {}, the limit is a {}", unit.symbol, value.dim))?;
    Ok(OutcomeLimit { result: name.to_owned(), value: number, at_most })
}
