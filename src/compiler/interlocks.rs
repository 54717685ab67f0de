//! Interlocks of a lab: names and types of their conditions, and protocols that would trip them
//! every time.

use super::bind::Definitions;
use super::graph::Place;
use super::names::shape_type;
use super::walk::Walk;
use crate::expr::{self, ErrorKind, Interval, RangeEnv, Type, TypeEnv};
use crate::spec::instrument::{Action, Instrument};
use crate::spec::lab::{InterlockKind, Lab};
use crate::spec::{Diagnostic, Expression, Report, Span, codes, listed, nearest};
use crate::units::Quantity;

/// What a condition of the lab can read: `bath_1.temperature`, `bath_1.running`,
/// `stock.feed_a.volume`, and `stale(bath_1)`.
struct LabNames<'a> {
    lab: &'a Lab,
    definitions: &'a Definitions,
}

impl LabNames<'_> {
    fn definition(&self, instrument: &str) -> Option<&Instrument> {
        let found = self.lab.instrument(instrument)?;
        self.definitions.get(&found.definition.value).map(AsRef::as_ref)
    }
}

impl TypeEnv for LabNames<'_> {
    fn type_of(&self, path: &[String]) -> Result<Type, Option<String>> {
        match path {
            [root, name, field] if root == "stock" => match stock(self.lab, name, field) {
                Some(q) => Ok(Type::Quantity { dim: q.dim, point: q.point }),
                None => {
                    let names = self.lab.stock.iter().map(|s| s.name.value.as_str());
                    Err(nearest(name, names).map(|near| format!("stock.{near}.volume")))
                }
            },
            [instrument] if self.lab.instrument(instrument).is_some() => Ok(Type::Unknown),
            [instrument, property, ..] if self.lab.instrument(instrument).is_some() => {
                // Its file could not be read, which was reported.
                let Some(definition) = self.definition(instrument) else {
                    return Ok(Type::Unknown);
                };
                if let Some(found) = definition.property(property) {
                    return Ok(shape_type(&found.shape));
                }
                if property == "running" {
                    return Ok(Type::Bool);
                }
                let names = definition.properties.iter().map(|p| p.name.value.as_str());
                let near = nearest(property, names.clone().chain(["running"]));
                Err(near
                    .map(|near| format!("{instrument}.{near}"))
                    .or_else(|| Some(format!("`{instrument}` has {}", listed(names)))))
            }
            [name, ..] => {
                let names = self.lab.instruments.iter().map(|i| i.name.value.as_str());
                Err(nearest(name, names.chain(["stock"])).map(str::to_owned))
            }
            [] => Err(None),
        }
    }

    fn type_of_call(&self, name: &str) -> Option<Type> {
        (name == "stale").then_some(Type::Bool)
    }
}

fn stock(lab: &Lab, name: &str, field: &str) -> Option<Quantity> {
    let stock = lab.stock(name)?;
    match field {
        "volume" | "amount" | "mass" | "count" => Some(stock.amount.value),
        "concentration" => stock.concentration.as_ref().map(|c| c.value),
        "warn_below" => stock.warn_below.as_ref().map(|w| w.value),
        _ => None,
    }
}

/// Names, types and actions of all interlocks, and the input of the emergency stop.
pub(super) fn check(lab: &Lab, definitions: &Definitions, report: &mut Report) {
    let names = LabNames { lab, definitions };
    for interlock in &lab.interlocks {
        match &interlock.kind {
            InterlockKind::Trip { condition, .. } => boolean(condition, &names, report),
            InterlockKind::Forbid { instrument, action, when } => {
                boolean(when, &names, report);
                let Some(definition) = names.definition(&instrument.value) else { continue };
                if action.value == "*" || definition.action(&action.value).is_some() {
                    continue;
                }
                let known = definition.actions.iter().map(|a| a.name.value.as_str());
                let near = nearest(&action.value, known.clone());
                let message = match near {
                    Some(near) => format!("write `{near}` instead of `{}`", action.value),
                    None => format!("`{}` cannot `{}`", instrument.value, action.value),
                };
                let mut wrong = Diagnostic::error(codes::UNKNOWN_ACTION, action.span, message)
                    .label("no action of this instrument")
                    .also(definition.name.span, "its definition")
                    .reason(format!("it can {}", listed(known)));
                wrong.fix = near.map(str::to_owned);
                report.push(wrong);
            }
        }
    }
    if let Some(estop) = &lab.estop
        && let Some(definition) = names.definition(&estop.instrument.value)
    {
        let found = definition.property(&estop.property.value);
        let is = found.map(|p| shape_type(&p.shape));
        if is == Some(Type::Bool) {
            return;
        }
        let mut wrong = Diagnostic::error(
            codes::UNKNOWN_PROPERTY,
            estop.property.span,
            "name a property that is true while all is well",
        );
        wrong = match (found, is) {
            (Some(found), Some(is)) => {
                wrong.label(format!("this is a {is}")).also(found.name.span, "declared here")
            }
            _ => wrong.label("no property of this instrument").reason(format!(
                "it has {}",
                listed(definition.properties.iter().map(|p| p.name.value.as_str()))
            )),
        };
        report.push(wrong);
    }
}

fn boolean(condition: &Expression, names: &LabNames<'_>, report: &mut Report) {
    match expr::check(&condition.expr, names) {
        Ok(Type::Bool | Type::Unknown) => {}
        Ok(other) => report.push(
            Diagnostic::error(
                codes::NOT_BOOLEAN,
                condition.span,
                "compare this with something: an interlock is true or false",
            )
            .label(format!("this is a {other}"))
            .fix(format!("{} > 100 degC", condition.text.trim())),
        ),
        Err(errors) => {
            for error in errors {
                let written = condition.text.get(error.span.clone()).unwrap_or_default();
                let first = written.split('.').next().unwrap_or_default();
                let kind = error.kind;
                let mut wrong = condition.diagnostic(error);
                if kind == ErrorKind::Name && wrong.code == codes::UNKNOWN_NAME {
                    wrong.code = match first {
                        "stock" => codes::UNKNOWN_STOCK,
                        name if names.lab.instrument(name).is_some() => codes::UNKNOWN_PROPERTY,
                        _ => codes::UNKNOWN_INSTRUMENT,
                    };
                }
                report.push(wrong);
            }
        }
    }
}

/// Ranges of a lab as it stands, with what an action sets.
struct Set<'a> {
    lab: &'a Lab,
    instrument: &'a str,
    properties: &'a [(String, Interval)],
}

impl RangeEnv for Set<'_> {
    fn range(&self, path: &[String]) -> Option<Interval> {
        match path {
            [root, name, field] if root == "stock" => {
                stock(self.lab, name, field).map(|q| Interval::point(q.value))
            }
            [instrument, property] if instrument == self.instrument => {
                self.properties.iter().find(|(name, _)| name == property).map(|(_, range)| *range)
            }
            _ => None,
        }
    }
}

/// Arguments that a process follows: properties of their kind become what they say.
const TARGETS: &[&str] = &["target", "setpoint", "temperature"];

/// Properties an action sets, with the range it sets them to.
fn set_by(
    definition: &Instrument,
    action: &Action,
    ranges: &[(String, Interval)],
) -> Vec<(String, Interval)> {
    let mut set = Vec::new();
    for (argument, range) in ranges {
        let Some(spec) = action.args.iter().find(|a| a.name.value == *argument) else { continue };
        for property in &definition.properties {
            let name = &property.name.value;
            let alike = shape_type(&property.shape) == spec.expr_type();
            if alike && (name == argument || TARGETS.contains(&argument.as_str())) {
                set.push((name.clone(), *range));
            }
        }
    }
    set
}

impl Walk<'_> {
    /// A command that an interlock forbids as the lab stands, or that sets what trips one.
    pub(super) fn interlocked(
        &mut self,
        instrument: &str,
        definition: &Instrument,
        action: &Action,
        ranges: &[(String, Interval)],
        span: Span,
    ) {
        let lab = self.request.lab;
        let set = set_by(definition, action, ranges);
        let env = Set { lab, instrument, properties: &set };
        for interlock in &lab.interlocks {
            let id = &interlock.id.value;
            match &interlock.kind {
                InterlockKind::Forbid { instrument: of, action: forbidden, when } => {
                    let meant = of.value == instrument
                        && (forbidden.value == "*" || forbidden.value == action.name.value);
                    if meant && expr::truth(&when.expr, &env) == Some(true) {
                        self.report.push(
                            Diagnostic::error(
                                codes::INTERLOCK_ALWAYS,
                                span,
                                format!("interlock `{id}` forbids this in the lab as it stands"),
                            )
                            .label("would be refused")
                            .also(when.span, "holds already"),
                        );
                    }
                }
                InterlockKind::Trip { condition, .. } if !set.is_empty() => {
                    let verdict = expr::truth(&condition.expr, &env);
                    let upper: Vec<(String, Interval)> = set
                        .iter()
                        .map(|(name, range)| (name.clone(), Interval::point(range.hi)))
                        .collect();
                    let at_most = Set { lab, instrument, properties: &upper };
                    let shown: Vec<String> = set
                        .iter()
                        .filter_map(|(name, range)| show(definition, name, range.hi))
                        .collect();
                    let wrong = match verdict {
                        Some(true) => Diagnostic::error(
                            codes::INTERLOCK_ALWAYS,
                            span,
                            format!("interlock `{id}` would trip every time"),
                        ),
                        None if expr::truth(&condition.expr, &at_most) == Some(true) => {
                            Diagnostic::warning(
                                codes::INTERLOCK_ALWAYS,
                                span,
                                format!("interlock `{id}` trips for some values of the box"),
                            )
                        }
                        _ => continue,
                    };
                    self.report.push(
                        wrong
                            .label("sets what trips it")
                            .also(condition.span, "trips")
                            .reason(format!("it may set {}", shown.join(", "))),
                    );
                }
                InterlockKind::Trip { .. } => {}
            }
        }
    }
}

fn show(definition: &Instrument, property: &str, value: f64) -> Option<String> {
    match shape_type(&definition.property(property)?.shape) {
        Type::Quantity { dim, point } => {
            Some(format!("{property} to {}", Quantity { value, dim, point }))
        }
        _ => None,
    }
}

/// Where the first interlock or emergency stop of a lab is written, if it has one: this version
/// checks them but does not evaluate them while a run goes on.
pub fn first_guard(lab: &Lab, sources: &crate::spec::Sources) -> Option<(String, Place)> {
    let interlock = lab.interlocks.first().map(|i| (format!("interlock `{}`", i.id.value), i.span));
    let estop = lab.estop.as_ref().map(|e| ("`estop:`".to_owned(), e.span));
    let (what, span) = interlock.or(estop)?;
    Some((what, super::walk::place(sources, span)))
}
