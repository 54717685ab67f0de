//! Names that nothing uses: most often the mark of a misspelling elsewhere.

use std::collections::BTreeSet;

use super::exits::span_of;
use crate::compiler::graph::{Graph, Node, NodeKind};
use crate::compiler::walk::Walk;
use crate::expr::Expr;
use crate::spec::protocol::{Protocol, Step, StepKind};
use crate::spec::{Diagnostic, Expression, Span, Written, codes};

/// Steps shorter than this are not worth overlapping.
const WORTH_S: f64 = 10.0;
/// Hints of one protocol.
const HINTS_MAX: usize = 3;

/// Notes neighbours that use different instruments and could run side by side.
pub(super) fn overlaps(walk: &mut Walk<'_>, graph: &Graph) {
    let mut hints = 0;
    for edge in &graph.edges {
        let (Some(a), Some(b)) = (graph.node(edge.from), graph.node(edge.to)) else { continue };
        let (
            NodeKind::Action { instrument: one, .. },
            NodeKind::Action { instrument: other, args, .. },
        ) = (&a.kind, &b.kind)
        else {
            continue;
        };
        let reads = args.values().any(|e| {
            e.names().iter().any(|p| p.first().is_some_and(|r| r == "steps" || r == "roles"))
        });
        let long = |n: &Node| n.expected.as_secs_f64() >= WORTH_S;
        let in_finally = graph.finally.is_some_and(|root| a.id >= root);
        let limited = edge.max.is_some() || !b.fresh.is_empty();
        if one == other || reads || limited || in_finally || !long(a) || !long(b) {
            continue;
        }
        let (Some(first), Some(second)) = (span_of(walk, a.id), span_of(walk, b.id)) else {
            continue;
        };
        walk.report.push(
            Diagnostic::note(
                codes::COULD_OVERLAP,
                second,
                format!("put `{}` and `{}` into a `parallel` to save time", a.path, b.path),
            )
            .label("does not need the step before")
            .also(first, "on another instrument"),
        );
        hints += 1;
        if hints == HINTS_MAX {
            return;
        }
    }
}

/// Warns of parameters, derived values, roles and samples that nothing reads.
pub(super) fn check(walk: &mut Walk<'_>, _: &Graph) {
    let protocol = walk.request.protocol;
    let mut used = Used::default();
    used.protocol(protocol);
    let mut warn = |what: &str, name: &str, span: Span| {
        walk.report.push(
            Diagnostic::warning(
                codes::UNUSED,
                span,
                format!("use the {what} `{name}` or remove it: nothing reads it"),
            )
            .label("not used"),
        );
    };
    for p in &protocol.parameters {
        if !used.read("params", &p.name.value) {
            warn("parameter", &p.name.value, p.name.span);
        }
    }
    for d in &protocol.derived {
        if !used.read("derived", &d.name.value) {
            warn("derived value", &d.name.value, d.name.span);
        }
    }
    for role in &protocol.roles {
        if !used.roles.contains(&role.name.value)
            && !used.roles.contains("*")
            && !used.read("roles", &role.name.value)
        {
            warn("role", &role.name.value, role.name.span);
        }
    }
    for sample in &protocol.samples {
        if !used.samples.contains(&sample.name.value) {
            warn("sample", &sample.name.value, sample.name.span);
        }
    }
}

/// What a protocol uses.
#[derive(Default)]
struct Used {
    paths: BTreeSet<(String, String)>,
    roles: BTreeSet<String>,
    samples: BTreeSet<String>,
}

impl Used {
    fn read(&self, root: &str, name: &str) -> bool {
        self.paths.contains(&(root.to_owned(), name.to_owned()))
    }

    fn protocol(&mut self, protocol: &Protocol) {
        for derived in &protocol.derived {
            self.written(&derived.value);
        }
        protocol.require.iter().for_each(|c| self.expression(c));
        protocol.results.iter().for_each(|r| self.expression(&r.value));
        let mut open: Vec<&Step> = protocol.steps.iter().chain(&protocol.finally).collect();
        while let Some(step) = open.pop() {
            self.step(step);
            open.extend(step.children());
        }
    }

    fn step(&mut self, step: &Step) {
        let times = [&step.within, &step.timeout];
        times.into_iter().flatten().for_each(|e| self.expression(e));
        if let Some(retry) = &step.retry {
            [&retry.wait, &retry.max_wait].into_iter().flatten().for_each(|e| self.expression(e));
        }
        match &step.kind {
            StepKind::Do { role, with, consumes, expires, uses, .. } => {
                self.roles.insert(role.value.clone());
                with.iter().for_each(|w| self.written(&w.value));
                consumes.iter().for_each(|c| self.expression(&c.value));
                expires.iter().for_each(|e| self.expression(e));
                self.samples.extend(uses.iter().map(|u| u.value.clone()));
            }
            StepKind::Move { sample, by, .. } => {
                self.samples.insert(sample.value.clone());
                self.roles.extend(by.iter().map(|b| b.value.clone()));
            }
            StepKind::Wait { duration } => self.expression(duration),
            StepKind::WaitUntil { condition, stable_for } => {
                self.expression(condition);
                stable_for.iter().for_each(|e| self.expression(e));
            }
            StepKind::Parallel { start_together, .. } => {
                start_together.iter().for_each(|e| self.expression(e));
            }
            StepKind::Group { hold, .. } => {
                self.roles.extend(hold.iter().map(|h| h.value.clone()));
            }
            StepKind::Repeat { max_times, until, .. } => {
                self.expression(max_times);
                until.iter().for_each(|e| self.expression(e));
            }
            StepKind::ForEach { values, .. } => self.written(values),
            StepKind::If { condition, .. } => self.expression(condition),
            StepKind::Ask { question, .. } => self.expression(question),
            StepKind::Log { message } => self.expression(message),
            StepKind::Analyse { with, .. } => with.iter().for_each(|w| self.written(&w.value)),
            StepKind::Call { with, roles, .. } => {
                with.iter().for_each(|w| self.written(&w.value));
                self.roles.extend(roles.iter().map(|r| r.value.value.clone()));
                // Roles of the same name are handed on without a word.
                self.roles.insert("*".to_owned());
            }
        }
    }

    fn written(&mut self, written: &Written) {
        match written {
            Written::Expression(e) => self.expression(e),
            Written::Scalar { .. } => {}
            Written::List { items, .. } => items.iter().for_each(|i| self.written(i)),
            Written::Map { entries, .. } => entries.iter().for_each(|e| self.written(&e.value)),
        }
    }

    fn expression(&mut self, expression: &Expression) {
        self.expr(&expression.expr);
    }

    fn expr(&mut self, expr: &Expr) {
        for path in expr.names() {
            if let [root, name, ..] = path.as_slice() {
                self.paths.insert((root.clone(), name.clone()));
            }
        }
    }
}
