//! Steps that compute: what `analyse:` names, its inputs and their types.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::graph::{NodeId, NodeKind, Process, Script};
use super::values;
use super::walk::Walk;
use super::{hash, scripts};
use crate::analysis::{self, Given, Kind, Needed, Returned, Signature, signature};
use crate::expr::{Expr, Type, Value};
use crate::spec::protocol::{ProcessDecl, Step, StepKind};
use crate::spec::{Diagnostic, Named, Shape, Span, Spanned, Written, codes, nearest};

impl<'a> Walk<'a> {
    /// `analyse: function`.
    pub(super) fn analysis(
        &mut self,
        parent: NodeId,
        slot: u32,
        name: String,
        step: &'a Step,
    ) -> Option<NodeId> {
        let StepKind::Analyse { function, process, with } = &step.kind else { return None };
        if let Some(process) = process {
            return self.process(parent, slot, name, step, process, with);
        }
        let Some(signature) = signature(&function.value) else {
            let message = match nearest(&function.value, analysis::names()) {
                Some(near) => format!("write `{near}` instead of `{}`", function.value),
                None => format!("name an analysis that exists, not `{}`", function.value),
            };
            let mut wrong = Diagnostic::error(codes::UNKNOWN_ANALYSIS, function.span, message)
                .label("no such analysis")
                .reason(format!("there are {}", analysis::names().join(", ")));
            if let Some(near) = nearest(&function.value, analysis::names()) {
                wrong = wrong.fix(near);
            }
            self.report.push(wrong);
            return None;
        };
        let given = self.inputs(&function.value, function.span, with, signature)?;
        let types = given.iter().map(|(name, (_, found))| (name.clone(), found.clone())).collect();
        self.analysed = Some(signature.output(&types));
        let inputs = given.into_iter().map(|(name, (expr, _))| (name, expr)).collect();
        let kind = NodeKind::Analyse { function: function.value.clone(), inputs, process: None };
        Some(self.push(Some(parent), slot, name, kind, step.span))
    }

    /// `analyse: {process: [...]}`.
    fn process(
        &mut self,
        parent: NodeId,
        slot: u32,
        name: String,
        step: &'a Step,
        declared: &ProcessDecl,
        with: &'a [Named<Written>],
    ) -> Option<NodeId> {
        let mut inputs = BTreeMap::new();
        let mut complete = true;
        for Named { name, value } in with {
            match values::list(value, &self.names, &mut self.report) {
                Some((expr, _)) => {
                    inputs.insert(name.value.clone(), expr);
                }
                None => complete = false,
            }
        }
        let sources = self.request.sources;
        let here = sources.get(self.protocol().source).map_or("", |file| &file.name);
        let folder = Path::new(here).parent().unwrap_or(Path::new(""));
        let mut found = BTreeMap::new();
        for wanted in scripts::wanted(declared).into_iter().flatten() {
            let path = folder.join(&wanted.path).to_string_lossy().replace('\\', "/");
            // One that is not there was reported when the texts were read.
            if let Some(file) = sources.iter().find(|file| *file.name == *path) {
                let script =
                    Script { sha256: hash::of_text(&file.text), source: Arc::clone(&file.text) };
                found.insert(wanted.path, script);
            }
        }
        let returns: BTreeMap<String, Returned> =
            declared.returns.iter().map(|r| (r.name.value.clone(), returned(&r.value))).collect();
        let mut fields: BTreeMap<String, Type> =
            declared.returns.iter().map(|r| (r.name.value.clone(), r.value.expr_type())).collect();
        fields.insert("quality".to_owned(), Type::Text);
        fields.insert("reason".to_owned(), Type::Text);
        self.analysed = Some(Type::Record(fields));
        if !complete {
            return None;
        }
        let process = Process {
            argv: declared.argv.iter().map(|a| a.value.clone()).collect(),
            scripts: found,
            memory: declared.memory,
            returns,
        };
        let process = Some(Box::new(process));
        let kind = NodeKind::Analyse { function: "process".to_owned(), inputs, process };
        Some(self.push(Some(parent), slot, name, kind, step.span))
    }

    /// Inputs of a built-in function with their types, if all are there and fit.
    fn inputs(
        &mut self,
        function: &str,
        at: Span,
        with: &'a [Named<Written>],
        signature: &Signature,
    ) -> Option<BTreeMap<String, (Expr, Type)>> {
        let mut given = BTreeMap::new();
        let mut complete = true;
        for Named { name, value } in with {
            if signature.input(&name.value).is_none() {
                self.unknown_input(name, function, signature);
                complete = false;
                continue;
            }
            let Some(found) = values::list(value, &self.names, &mut self.report) else {
                complete = false;
                continue;
            };
            given.insert(name.value.clone(), found);
        }
        let types: Given =
            given.iter().map(|(name, (_, found))| (name.clone(), found.clone())).collect();
        for Named { name, value } in with {
            let (Some(input), Some((expr, found))) =
                (signature.input(&name.value), given.get(&name.value))
            else {
                continue;
            };
            let literal = expr.as_literal().and_then(Value::as_text);
            let wrong_word = match (input.is, literal) {
                (Kind::Word(words), Some(word)) => !words.contains(&word),
                _ => false,
            };
            if input.is.accepts(found, &types) && !wrong_word {
                continue;
            }
            let wanted = input.is.words(&types);
            let near = match (literal, input.is) {
                (Some(word), Kind::Word(words)) => nearest(word, words.iter().copied()),
                _ => None,
            };
            let message = match (near, literal) {
                (Some(near), Some(word)) => format!("write `{near}` instead of `{word}`"),
                _ => format!("give `{}` of `{function}` {wanted}", name.value),
            };
            let mut wrong = Diagnostic::error(codes::EXPRESSION_TYPE, value.span(), message)
                .reason(format!("{}: {}", name.value, input.doc));
            wrong = match (literal, input.is) {
                (Some(_), Kind::Word(_)) => {
                    wrong.fix = near.map(str::to_owned);
                    wrong.label(format!("not {wanted}"))
                }
                _ => wrong.label(format!("this is a {found}")),
            };
            self.report.push(wrong);
            complete = false;
        }
        let word = |name: &str| {
            let (expr, _) = given.get(name)?;
            expr.as_literal().and_then(Value::as_text).map(str::to_owned)
        };
        let written = |name: &str| with.iter().find(|w| w.name.value == name);
        for input in signature.inputs {
            if let (Needed::Or(other), Some(one), Some(two)) =
                (input.needed, written(input.name), written(needed_other(input)))
                && one.name.span.start > two.name.span.start
            {
                self.report.push(
                    Diagnostic::error(
                        codes::NOT_WITH,
                        one.name.span,
                        format!("keep one of `{other}` and `{}`", input.name),
                    )
                    .label("says the same in another way")
                    .also(two.name.span, "the other one"),
                );
                complete = false;
            }
            if written(input.name).is_some() || !input.is_needed(&types, word) {
                continue;
            }
            let passed_over = match input.needed {
                // Of two that stand for each other, one is asked for.
                Needed::Or(other) => other < input.name,
                // Which word was meant decides whether it is missing.
                Needed::Unless(..) => !complete,
                Needed::Always | Needed::Optional => false,
            };
            if passed_over {
                continue;
            }
            let mut missing = Diagnostic::error(
                codes::MISSING_ARGUMENT,
                at,
                match input.needed {
                    Needed::Or(other) => {
                        format!("add `{}` or `{other}` to `with:` of `{function}`", input.name)
                    }
                    _ => format!("add `{}` to `with:` of `{function}`", input.name),
                },
            )
            .label("an input is missing")
            .reason(format!("{}: {}", input.name, input.doc));
            if let Needed::Unless(other, word) = input.needed {
                missing = missing.fix(format!("{other}: {word}"));
            }
            self.report.push(missing);
            complete = false;
        }
        complete.then_some(given)
    }

    fn unknown_input(&mut self, name: &Spanned<String>, function: &str, signature: &Signature) {
        let known: Vec<&str> = signature.inputs.iter().map(|i| i.name).collect();
        let near = nearest(&name.value, known.iter().copied());
        let message = match near {
            Some(near) => format!("write `{near}` instead of `{}`", name.value),
            None => format!("remove `{}`: `{function}` takes no such input", name.value),
        };
        let mut wrong = Diagnostic::error(codes::UNKNOWN_ARGUMENT, name.span, message)
            .label("no such input")
            .reason(format!("it takes {}", known.join(", ")));
        wrong.fix = near.map(str::to_owned);
        self.report.push(wrong);
    }
}

fn needed_other(input: &analysis::Input) -> &'static str {
    match input.needed {
        Needed::Or(other) | Needed::Unless(other, _) => other,
        Needed::Always | Needed::Optional => "",
    }
}

fn returned(shape: &Shape) -> Returned {
    match shape {
        Shape::Quantity(unit) => Returned::Unit(unit.value.symbol.clone()),
        Shape::Number => Returned::Number,
        Shape::Integer => Returned::Integer,
        Shape::Bool => Returned::Bool,
        // Records and arrays are not among what `returns` may say.
        Shape::Text | Shape::Record(_) | Shape::Array { .. } => Returned::Text,
        Shape::Series { x, y, .. } => {
            Returned::Series { x: x.value.symbol.clone(), y: y.value.symbol.clone() }
        }
    }
}
