//! Steps that do something themselves: actions and analyses.

use std::collections::BTreeMap;
use std::time::Duration;

use super::graph::{Effect, NodeId, NodeKind, Witness};
use super::proof::Moved;
use super::values;
use super::walk::Walk;
use crate::expr::{self, Expr, Type, Value};
use crate::spec::instrument::{Action, EffectClass, Hazard, WitnessDecl};
use crate::spec::protocol::{Step, StepKind};
use crate::spec::{Diagnostic, Expression, Named, Spanned, Written, codes, listed, nearest};
use crate::units::Dimension;

/// Arguments whose values a lab may name under `ports:`.
pub const PORT_ARGUMENTS: &[&str] = &["port", "from", "to", "place"];

impl<'a> Walk<'a> {
    /// `do: role.action`.
    pub(super) fn action(
        &mut self,
        parent: NodeId,
        slot: u32,
        name: String,
        step: &'a Step,
    ) -> Option<NodeId> {
        let StepKind::Do { role, action, with, .. } = &step.kind else { return None };
        self.command(parent, slot, name, step, role, action, with)
    }

    /// An action of the instrument that plays a role.
    #[expect(clippy::too_many_arguments, reason = "all of them name one command")]
    pub(super) fn command(
        &mut self,
        parent: NodeId,
        slot: u32,
        name: String,
        step: &'a Step,
        role: &Spanned<String>,
        action: &Spanned<String>,
        with: &[Named<Written>],
    ) -> Option<NodeId> {
        let Some(binding) = self.names.roles.get(&role.value).cloned() else {
            // A role that nobody plays was reported once, where it is declared.
            if self.protocol().role(&role.value).is_none() {
                let roles: Vec<&str> =
                    self.protocol().roles.iter().map(|r| r.name.value.as_str()).collect();
                let near = nearest(&role.value, roles.iter().copied());
                let message = match near {
                    Some(near) => format!("write `{near}` instead of `{}`", role.value),
                    None => format!("add `{}` to `roles:`, or use one that is there", role.value),
                };
                let mut wrong = Diagnostic::error(codes::UNKNOWN_ROLE, role.span, message)
                    .label("no role of this protocol")
                    .reason(format!("its roles are {}", listed(roles)));
                wrong.fix = near.map(|near| format!("{near}.{}", action.value));
                self.report.push(wrong);
            }
            return None;
        };
        let definition = std::sync::Arc::clone(&binding.definition);
        let Some(declared) = definition.action(&action.value) else {
            let known: Vec<&str> =
                definition.actions.iter().map(|a| a.name.value.as_str()).collect();
            let message = match nearest(&action.value, known.iter().copied()) {
                Some(near) => {
                    let (role, action) = (&role.value, &action.value);
                    format!("write `{role}.{near}` instead of `{role}.{action}`")
                }
                None => {
                    format!("use something `{}` can do: it cannot `{}`", role.value, action.value)
                }
            };
            let mut wrong = Diagnostic::error(codes::UNKNOWN_ACTION, action.span, message)
                .label("no such action")
                .also(definition.name.span, format!("plays `{}`", role.value))
                .reason(format!("it can {}", known.join(", ")));
            if let Some(near) = nearest(&action.value, known.iter().copied()) {
                wrong = wrong.fix(format!("{}.{near}", role.value));
            }
            self.report.push(wrong);
            return None;
        };
        let args = self.arguments(&binding.instrument, declared, with, step, &role.value)?;
        self.lab_limits(&binding.instrument, declared, with, &args);
        let ranges: Vec<(String, expr::Interval)> = args
            .iter()
            .filter_map(|(name, e)| Some((name.clone(), expr::interval(e, &self.names)?)))
            .collect();
        self.interlocked(&binding.instrument, definition.as_ref(), declared, &ranges, step.word);
        let effect = effect_of(declared.effect.value);
        if effect == Effect::Once {
            self.once.push(step.word);
        }
        if let (Effect::Once, Some(retry)) = (effect, &step.retry) {
            self.report.push(
                Diagnostic::error(
                    codes::RETRY_OF_ONCE,
                    retry.span,
                    format!(
                        "remove `retry`: `{}.{}` must never be sent twice",
                        role.value, action.value
                    ),
                )
                .also(declared.effect.span, "its effect class")
                .reason("nothing can tell whether a failed attempt had its effect")
                .fix("remove `retry:`, or give the action a witness in its definition"),
            );
        }
        let (expected, timeout) = self.takes(declared, &args);
        if timeout.is_none() && step.timeout.is_none() {
            self.report.push(
                Diagnostic::error(
                    codes::NO_DEADLINE,
                    step.word,
                    "add a `timeout`: how long this may take is not known before the run",
                )
                .label("no deadline")
                .also(declared.takes.timeout.span, "its timeout reads a value measured later")
                .fix("timeout: 5 min"),
            );
        }
        let kind = NodeKind::Action {
            role: role.value.clone(),
            instrument: binding.instrument.clone(),
            action: action.value.clone(),
            args,
            effect,
            witness: declared.witness.as_ref().map(witness_of),
            starts: declared.starts.iter().map(|h| h.value.as_str().to_owned()).collect(),
            stops: declared.stops,
            cancels: !declared.on_cancel.is_empty(),
        };
        let id = self.push(Some(parent), slot, name, kind, step.span);
        self.moves_liquid(id, declared, step);
        if let Some(node) = self.nodes.get_mut(id.0 as usize) {
            node.claims = vec![binding.instrument];
            node.expected = expected;
            node.deadline = timeout;
        }
        Some(id)
    }

    fn arguments(
        &mut self,
        instrument: &str,
        declared: &Action,
        with: &[Named<Written>],
        step: &Step,
        role: &str,
    ) -> Option<BTreeMap<String, Expr>> {
        let mut args = BTreeMap::new();
        let mut complete = true;
        let mut misspelt: Vec<&str> = Vec::new();
        let open: Vec<&str> = declared
            .args
            .iter()
            .filter(|a| a.required && !with.iter().any(|w| w.name.value == a.name.value))
            .map(|a| a.name.value.as_str())
            .collect();
        for Named { name, value } in with {
            let Some(spec) = declared.args.iter().find(|a| a.name.value == name.value) else {
                let known: Vec<&str> =
                    declared.args.iter().map(|a| a.name.value.as_str()).collect();
                let what = format!("{role}.{}", declared.name.value);
                // One name too many and one too few are one mistake.
                let near = nearest(&name.value, known.iter().copied()).or(match open.as_slice() {
                    [only] => Some(*only),
                    _ => None,
                });
                let mut wrong = Diagnostic::error(
                    codes::UNKNOWN_ARGUMENT,
                    name.span,
                    match near {
                        Some(near) => format!("write `{near}` instead of `{}`", name.value),
                        None => format!("remove `{}`: `{what}` takes no such argument", name.value),
                    },
                )
                .label("no such argument")
                .also(declared.name.span, "the action");
                wrong = match near {
                    Some(near) => {
                        misspelt.extend(
                            declared
                                .args
                                .iter()
                                .map(|a| a.name.value.as_str())
                                .find(|n| *n == near),
                        );
                        wrong.fix(near)
                    }
                    None if known.is_empty() => wrong.reason("it takes nothing"),
                    None => wrong.reason(format!("it takes {}", known.join(", "))),
                };
                self.report.push(wrong);
                complete = false;
                continue;
            };
            let port = self.port(instrument, name, value);
            let value = match &port {
                Ok(Some(value)) => value,
                Ok(None) => value,
                Err(()) => {
                    complete = false;
                    continue;
                }
            };
            match values::argument(value, spec, &self.names, &mut self.report) {
                Some(expr) => {
                    args.insert(name.value.clone(), expr);
                }
                None => complete = false,
            }
        }
        for spec in &declared.args {
            if args.contains_key(&spec.name.value)
                || with.iter().any(|w| w.name.value == spec.name.value)
            {
                continue;
            }
            match &spec.default {
                Some(default) => {
                    args.insert(spec.name.value.clone(), default.expr.clone());
                }
                // An argument that was misspelt was reported with the name it was meant to have.
                None if spec.required && misspelt.contains(&spec.name.value.as_str()) => {
                    complete = false;
                }
                None if spec.required => {
                    self.report.push(
                        Diagnostic::error(
                            codes::MISSING_ARGUMENT,
                            step.word,
                            format!(
                                "add `{}` to `with:` of `{role}.{}`",
                                spec.name.value, declared.name.value
                            ),
                        )
                        .label("an argument is missing")
                        .also(spec.span, "declared here")
                        .fix(format!(
                            "with: {{{}: {}}}",
                            spec.name.value,
                            values::sample(spec)
                        )),
                    );
                    complete = false;
                }
                None => {}
            }
        }
        complete.then_some(args)
    }

    /// What an action takes from stock or moves, at most over the box.
    fn moves_liquid(&mut self, id: NodeId, declared: &Action, step: &'a Step) {
        let mut moved = Moved { fills: Moved::is_fill(&declared.name.value), ..Moved::default() };
        if let StepKind::Do { consumes, .. } = &step.kind {
            for Named { name, value } in consumes {
                let amount = self.consumed(name, value);
                moved.consumed.extend(amount.map(|amount| (name.value.clone(), amount)));
            }
        }
        let mut asks_volume = false;
        let pumps = declared.starts.iter().any(|h| h.value == Hazard::Pumps) || moved.fills;
        if let (true, Some(NodeKind::Action { args, .. })) =
            (pumps, self.nodes.get(id.0 as usize).map(|n| &n.kind))
        {
            for spec in &declared.args {
                let Type::Quantity { dim, .. } = spec.expr_type() else { continue };
                let bound = args.get(&spec.name.value).and_then(|e| expr::interval(e, &self.names));
                let most = bound.map(|r| r.hi).or(spec.max.as_ref().map(|m| m.value.value));
                if dim == Dimension::VOLUME {
                    asks_volume = true;
                    moved.volume = most;
                } else if dim == Dimension::VOLUME_FLOW {
                    moved.rate = most;
                }
            }
            // What is asked for as a volume does not run on at its rate.
            if asks_volume {
                moved.rate = None;
            }
        }
        if !moved.consumed.is_empty() || moved.volume.is_some() || moved.rate.is_some() {
            self.moved.insert(id, moved);
        }
    }

    /// `consumes: {stock: amount}`: the greatest amount.
    fn consumed(&mut self, name: &Spanned<String>, value: &Expression) -> Option<f64> {
        let lab = self.request.lab;
        let Some(stock) = lab.stock(&name.value) else {
            let near = nearest(&name.value, lab.stock.iter().map(|s| s.name.value.as_str()));
            let message = match near {
                Some(near) => format!("write `{near}` instead of `{}`", name.value),
                None => format!("add `{}` to `stock:` of the lab", name.value),
            };
            let mut wrong = Diagnostic::error(codes::UNKNOWN_STOCK, name.span, message)
                .label("no stock of the lab")
                .also(lab.name.span, "the lab");
            wrong.fix = near.map(str::to_owned);
            self.report.push(wrong);
            return None;
        };
        let (expr, found) = values::checked(value, &self.names, &mut self.report)?;
        let wanted = stock.amount.value.dim;
        if !matches!(found, Type::Quantity { dim, .. } if dim == wanted) && found != Type::Unknown {
            self.report.push(
                Diagnostic::error(
                    codes::EXPRESSION_TYPE,
                    value.span,
                    format!("say how much of `{}` as a {}", name.value, wanted.name()),
                )
                .label(format!("this is a {found}"))
                .also(stock.amount.span, "what there is of it"),
            );
            return None;
        }
        let range = expr::interval(&expr, &self.names);
        if range.is_none() {
            self.report.push(
                Diagnostic::error(
                    codes::EXPRESSION_NOT_ALLOWED,
                    value.span,
                    format!(
                        "how much of `{}` this takes must be bounded before the run",
                        name.value
                    ),
                )
                .label("depends on what is measured")
                .fix("the most it may take: 5 mL"),
            );
        }
        range.map(|r| r.hi)
    }

    /// The instrument's own word for a port or place that the lab names; `Ok(None)`: no such name.
    fn port(
        &mut self,
        instrument: &str,
        name: &Spanned<String>,
        value: &Written,
    ) -> Result<Option<Written>, ()> {
        let lab = self.request.lab;
        let Some(found) = lab.instrument(instrument) else { return Ok(None) };
        if found.ports.is_empty() || !PORT_ARGUMENTS.contains(&name.value.as_str()) {
            return Ok(None);
        }
        let words: Vec<String> = match value {
            Written::Scalar { text, .. } => vec![text.clone()],
            Written::Expression(e) => {
                let (expr, _) = values::checked(e, &self.names, &mut self.report).ok_or(())?;
                match expr.as_literal() {
                    Some(Value::Text(text)) => vec![text.to_string()],
                    _ => self.options_of(&expr),
                }
            }
            Written::List { .. } | Written::Map { .. } => return Ok(None),
        };
        let mut own = None;
        for word in &words {
            match found.ports.iter().find(|p| p.name.value == *word) {
                Some(port) => own = Some(port.value.clone()),
                None => {
                    let ports = found.ports.iter().map(|p| p.name.value.as_str());
                    let near = nearest(word, ports.clone());
                    let message = match near {
                        Some(near) => format!("write `{near}` instead of `{word}`"),
                        None => format!("name a port that `{instrument}` has, not `{word}`"),
                    };
                    let mut wrong = Diagnostic::error(codes::UNKNOWN_PORT, value.span(), message)
                        .label("no port of that name")
                        .also(found.name.span, "the instrument")
                        .reason(format!("its ports are {}", listed(ports)));
                    wrong.fix = near.map(str::to_owned);
                    self.report.push(wrong);
                    return Err(());
                }
            }
        }
        Ok(own)
    }

    /// Words a choice parameter may be, if an expression is just one.
    fn options_of(&self, expr: &Expr) -> Vec<String> {
        let names = expr.names();
        let [path] = names.as_slice() else { return Vec::new() };
        let [root, name] = path.as_slice() else { return Vec::new() };
        match self.protocol().parameter(name).map(|p| &p.kind) {
            Some(crate::spec::ValueType::Choice { options }) if root == "params" => {
                options.iter().map(|o| o.value.clone()).collect()
            }
            _ => Vec::new(),
        }
    }

    /// A lab may narrow what a definition allows.
    fn lab_limits(
        &mut self,
        instrument: &str,
        declared: &Action,
        with: &[Named<Written>],
        args: &BTreeMap<String, Expr>,
    ) {
        let Some(found) = self.request.lab.instrument(instrument) else { return };
        for limit in found.limits.iter().filter(|l| l.action.value == declared.name.value) {
            let Some(expr) = args.get(&limit.argument.value) else { continue };
            let Some(range) = expr::interval(expr, &self.names) else { continue };
            let written = with.iter().find(|w| w.name.value == limit.argument.value);
            let span = written.map_or(limit.argument.span, |w| w.value.span());
            let broken = [
                (
                    limit.max.as_ref().filter(|m| range.hi > m.value.value * (1.0 + 1e-9)),
                    range.hi,
                    "at most",
                ),
                (
                    limit.min.as_ref().filter(|m| range.lo < m.value.value * (1.0 - 1e-9)),
                    range.lo,
                    "at least",
                ),
            ];
            for (limit_value, value, word) in broken {
                let Some(limit_value) = limit_value else { continue };
                let q = limit_value.value;
                let value = crate::units::Quantity { value, ..q };
                self.report.push(
                    Diagnostic::error(
                        codes::OUT_OF_RANGE,
                        span,
                        format!(
                            "keep `{}` {word} {q} in this lab: it may reach {value}",
                            limit.argument.value
                        ),
                    )
                    .label("beyond the lab's limit")
                    .also(limit_value.span, "the lab's limit"),
                );
            }
        }
    }

    /// Expected and greatest duration of an action, from its definition and its arguments.
    fn takes(
        &mut self,
        declared: &Action,
        args: &BTreeMap<String, Expr>,
    ) -> (Duration, Option<Duration>) {
        let mut known = BTreeMap::new();
        for spec in &declared.args {
            let expr = args.get(&spec.name.value);
            let value = expr.and_then(Expr::as_literal).cloned();
            let range = expr.and_then(|e| expr::interval(e, &self.names)).or_else(|| {
                let (lo, hi) = (spec.min.as_ref()?, spec.max.as_ref()?);
                Some(expr::Interval { lo: lo.value.value, hi: hi.value.value })
            });
            known.insert(spec.name.value.clone(), (spec.expr_type(), value, range));
        }
        let before = self.names.args.replace(known);
        let longest = |expression: &Expression, walk: &Walk<'_>| {
            expr::interval(&expression.expr, &walk.names)
                .and_then(|r| Duration::try_from_secs_f64(r.hi).ok())
        };
        let expected = declared.takes.expected.as_ref().and_then(|e| longest(e, self));
        let timeout = longest(&declared.takes.timeout, self);
        self.names.args = before;
        (expected.unwrap_or_default(), timeout)
    }
}

fn effect_of(class: EffectClass) -> Effect {
    match class {
        EffectClass::Read => Effect::Read,
        EffectClass::Repeatable => Effect::Repeatable,
        EffectClass::Verifiable => Effect::Verifiable,
        EffectClass::Once => Effect::Once,
    }
}

fn witness_of(declared: &WitnessDecl) -> Witness {
    Witness {
        property: declared.property.value.clone(),
        counts: declared.counts.as_ref().map(|c| c.value.clone()),
        equals: declared.equals.as_ref().map(|c| c.value.clone()),
        settle: declared.settle.value,
        void_if_rebooted: declared.void_if_rebooted,
    }
}
