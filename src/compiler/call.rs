//! `call:` of another protocol: its steps become a block of this one.
//!
//! The called protocol is walked in its own names, so that its mistakes are shown as it is
//! written. What it makes is then renamed: its step `dose` becomes `call/dose`, its parameters the
//! values of a node in front of its steps, its results those of a node behind them. So the engine
//! needs to know nothing of calls.
//!
//! Its `finally` runs when the call ends, and again at the end of a run that ends inside the call.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use super::graph::{Condition, Edge, Graph, NodeId, NodeKind, Place};
use super::names::{Names, StepType};
use super::walk::{self, Walk};
use super::{values, walk::place};
use crate::expr::{self, Expr, Type};
use crate::spec::protocol::{Protocol, Step, StepKind};
use crate::spec::{Diagnostic, Named, SourceId, Span, Spanned, Written, codes, nearest};

/// Calls inside calls at most.
const DEPTH_MAX: usize = 8;

/// Names that expressions begin with, besides variables of loops.
const ROOTS: &[&str] = &["params", "derived", "roles", "steps", "loop", "run", "lab", "results"];

/// Calls around the place that is walked, and what is left of those that are over.
#[derive(Debug, Default)]
pub(super) struct Calls<'a> {
    /// Files of the protocols that are being called, with the place of the call.
    open: Vec<(SourceId, Span)>,
    /// Names of calls of the protocol that is walked.
    names: BTreeSet<String>,
    /// `finally` lists that a run must pass if it ends inside a call.
    exits: Vec<Exit<'a>>,
}

/// The `finally` of a called protocol, with all that its steps can read.
#[derive(Debug)]
struct Exit<'a> {
    protocol: &'a Protocol,
    names: Names<'a>,
    /// Name of the call's block in the whole graph.
    block: String,
    /// From the call itself to the outermost one around it.
    renames: Vec<Rename>,
    span: Span,
}

/// What a called protocol's names become in the one that calls it.
#[derive(Debug, Clone)]
struct Rename {
    prefix: String,
    /// Steps, blocks and calls of the called protocol.
    ids: BTreeSet<String>,
    calls: BTreeSet<String>,
    roles: BTreeMap<String, String>,
    /// Steps of its `finally`, where that is made a second time.
    exit_ids: BTreeSet<String>,
}

impl Rename {
    fn id(&self, name: &str) -> String {
        if self.exit_ids.contains(name) {
            return format!("{}/exit/{name}", self.prefix);
        }
        format!("{}/{name}", self.prefix)
    }

    fn known(&self, name: &str) -> bool {
        name.contains('/') || self.ids.contains(name)
    }

    fn path(&self, path: &[String]) -> Option<Vec<String>> {
        let (root, rest) = path.split_first()?;
        let steps = |name: String, rest: &[String]| {
            let mut out = vec!["steps".to_owned(), name];
            out.extend_from_slice(rest);
            out
        };
        let first = rest.first();
        let tail = rest.get(1..).unwrap_or_default();
        match (root.as_str(), first) {
            ("params", Some(_)) => Some(steps(format!("{}//with", self.prefix), rest)),
            ("derived", Some(name)) => {
                let mut of = vec!["value".to_owned()];
                of.extend_from_slice(tail);
                Some(steps(format!("{}//derived/{name}", self.prefix), &of))
            }
            ("roles", Some(role)) => {
                let mut out = path.to_vec();
                *out.get_mut(1)? = self.roles.get(role)?.clone();
                Some(out)
            }
            ("steps", Some(name)) => {
                let name = match self.calls.contains(name) {
                    true => self.id(&format!("{name}//results")),
                    false => self.id(name),
                };
                let mut tail = tail.to_vec();
                if first.is_some_and(|f| self.calls.contains(f)) {
                    return Some(steps(name, &tail));
                }
                // `steps.replicate.final` and `steps.titrate.history.ph`: the block only says
                // where its step is.
                let at = usize::from(tail.first().is_some_and(|word| word == "history"));
                if let Some(inner) = tail.get_mut(at)
                    && self.known(inner)
                {
                    *inner = match self.calls.contains(inner) {
                        true => self.id(&format!("{inner}//results")),
                        false => self.id(inner),
                    };
                }
                Some(steps(name, &tail))
            }
            ("loop", Some(what)) if what == "history" => {
                let mut out = path.to_vec();
                let name = out.get_mut(2)?;
                *name = self.id(name);
                Some(out)
            }
            ("run", Some(what)) if what == "inside" => {
                let mut out = path.to_vec();
                let name = out.get_mut(2)?;
                *name = self.id(name);
                Some(out)
            }
            (root, _) if !ROOTS.contains(&root) => {
                let mut out = path.to_vec();
                *out.first_mut()? = format!("{}/{root}", self.prefix);
                Some(out)
            }
            _ => None,
        }
    }

    fn expr(&self, expr: &mut Expr) {
        *expr = expr.renamed(&|path| self.path(path));
    }
}

/// Changes every expression of a node.
fn each_expression(kind: &mut NodeKind, change: &mut dyn FnMut(&mut Expr)) {
    match kind {
        NodeKind::Action { args, .. } => args.values_mut().for_each(change),
        NodeKind::Analyse { inputs, .. } => inputs.values_mut().for_each(change),
        NodeKind::Values { values } => values.values_mut().for_each(change),
        NodeKind::Wait { duration } => change(duration),
        NodeKind::WaitUntil { condition, .. } | NodeKind::Branch { condition } => {
            change(&mut condition.expr);
        }
        NodeKind::Repeat { until: Some(until), .. } => change(&mut until.expr),
        NodeKind::Ask { question, .. } => change(question),
        NodeKind::Log { message } => change(message),
        NodeKind::Repeat { until: None, .. }
        | NodeKind::Group { .. }
        | NodeKind::Parallel { .. }
        | NodeKind::ForEach { .. } => {}
    }
}

impl Calls<'_> {
    /// `steps.call.result` of the protocol itself reads the node behind the call's steps.
    pub(super) fn rename_in(&self, graph: &mut Graph) {
        if self.names.is_empty() {
            return;
        }
        let rename = |path: &[String]| {
            if path.first().is_none_or(|root| root != "steps") {
                return None;
            }
            // The call itself, or behind the block it stands in, or behind a loop's history.
            let behind = if path.get(2).is_some_and(|word| word == "history") { 3 } else { 2 };
            let at = [1, behind]
                .into_iter()
                .find(|at| path.get(*at).is_some_and(|n| self.names.contains(n)))?;
            let mut out = path.to_vec();
            let name = out.get_mut(at)?;
            *name = format!("{name}//results");
            Some(out)
        };
        let mut change = |expr: &mut Expr| *expr = expr.renamed(&rename);
        for node in &mut graph.nodes {
            each_expression(&mut node.kind, &mut change);
        }
        graph.results.iter_mut().for_each(|r| change(&mut r.value));
    }
}

impl<'a> Walk<'a> {
    /// `call: other.yaml`.
    pub(super) fn call(
        &mut self,
        parent: NodeId,
        slot: u32,
        name: String,
        step: &'a Step,
    ) -> Option<NodeId> {
        let StepKind::Call { protocol: file, with, roles } = &step.kind else { return None };
        let callee = self.callee(file)?;
        let mut names = Names { lab: Some(self.request.lab), ..Names::default() };
        let roles = self.called_roles(callee, roles, step.word, &mut names);
        let given = self.called_arguments(callee, with, step.word, &mut names);
        let (Some(roles), Some(given)) = (roles, given) else { return None };

        let group = NodeKind::Group { hold: Vec::new() };
        let block = self.push(Some(parent), slot, name.clone(), group, step.span);
        let mut last = None;
        if !given.is_empty() {
            let kind = NodeKind::Values { values: given };
            let id = self.push(Some(block), 0, "with".to_owned(), kind, step.span);
            if let Some(node) = self.nodes.get_mut(id.0 as usize) {
                node.name = format!("{name}//with");
            }
            self.chain(&mut last, id);
        }

        let caller = self.switch(callee);
        std::mem::swap(&mut self.names, &mut names);
        self.calls.open.push((callee.source, file.span));
        let outer_calls = std::mem::take(&mut self.calls.names);
        let first = self.nodes.len();
        let exits = self.calls.exits.len();
        let results = self.called_body(callee, block, step, &mut last);
        let own_calls = std::mem::replace(&mut self.calls.names, outer_calls);
        self.calls.open.pop();
        std::mem::swap(&mut self.names, &mut names);
        self.switch(caller);

        let mut ids = names.all_steps.clone();
        ids.extend(own_calls.iter().cloned());
        let rename = Rename {
            prefix: name.clone(),
            ids,
            calls: own_calls,
            roles,
            exit_ids: BTreeSet::new(),
        };
        self.rename_from(first, &rename);
        for exit in self.calls.exits.iter_mut().skip(exits) {
            exit.block = rename.id(&exit.block);
            exit.renames.push(rename.clone());
        }
        if !callee.finally.is_empty() {
            let mut inside = BTreeSet::new();
            walk::collect_ids(&callee.finally, &mut inside, &mut BTreeSet::new());
            let renames = vec![Rename { exit_ids: inside, ..rename }];
            let exit =
                Exit { protocol: callee, names, block: name.clone(), renames, span: step.span };
            self.calls.exits.push(exit);
        }
        if let Some(id) = &step.id {
            self.calls.names.insert(id.value.clone());
            let value = Type::Record(results);
            let found = StepType { value, loops: Vec::new(), certain: true };
            self.names.steps.learn(id.value.clone(), found);
        }
        Some(block)
    }

    /// The protocol that is called, if it can be.
    fn callee(&mut self, file: &Spanned<String>) -> Option<&'a Protocol> {
        let here = self.request.sources.get(self.protocol().source).map(|f| &*f.name);
        let folder = Path::new(here.unwrap_or_default()).parent().unwrap_or(Path::new(""));
        let key = folder.join(&file.value).to_string_lossy().replace('\\', "/");
        // A file that cannot be read was reported when it was looked for.
        let callee: &'a Protocol = self.request.protocols.get(&key)?;
        let root = (self.request.protocol.source, self.request.protocol.name.span);
        let around = self.calls.open.iter().chain([&root]);
        if let Some((_, first)) = around.into_iter().find(|(source, _)| *source == callee.source) {
            self.report.push(
                Diagnostic::error(
                    codes::CALL_CYCLE,
                    file.span,
                    format!("remove this call: `{}` is being called already", callee.name.value),
                )
                .label("calls itself")
                .also(*first, "first here")
                .reason("the calls would never end"),
            );
            return None;
        }
        if self.calls.open.len() >= DEPTH_MAX {
            self.report.push(
                Diagnostic::error(
                    codes::CALL_CYCLE,
                    file.span,
                    format!("flatten these calls: more than {DEPTH_MAX} stand inside each other"),
                )
                .label("one call too deep"),
            );
            return None;
        }
        Some(callee)
    }

    /// Its roles, by ours.
    fn called_roles(
        &mut self,
        callee: &'a Protocol,
        written: &'a [Named<Spanned<String>>],
        word: Span,
        names: &mut Names<'a>,
    ) -> Option<BTreeMap<String, String>> {
        let mut all = BTreeMap::new();
        let mut complete = true;
        for entry in written {
            if callee.role(&entry.name.value).is_none() {
                let known = callee.roles.iter().map(|r| r.name.value.as_str());
                let near = nearest(&entry.name.value, known);
                let mut wrong = Diagnostic::error(
                    codes::UNKNOWN_ROLE,
                    entry.name.span,
                    match near {
                        Some(near) => format!("write `{near}` instead of `{}`", entry.name.value),
                        None => format!(
                            "remove `{}`: `{}` has no such role",
                            entry.name.value, callee.name.value
                        ),
                    },
                )
                .label("no role of the called protocol")
                .also(callee.name.span, "the called protocol");
                wrong.fix = near.map(str::to_owned);
                self.report.push(wrong);
                complete = false;
            }
        }
        for role in &callee.roles {
            let given = written.iter().find(|w| w.name.value == role.name.value);
            let ours = given.map_or(&role.name, |w| &w.value);
            let Some(binding) = self.names.roles.get(&ours.value).cloned() else {
                // A role that nobody plays was reported where it is declared.
                if self.protocol().role(&ours.value).is_none() {
                    let span = given.map_or(word, |w| w.value.span);
                    let theirs = &role.name.value;
                    let known =
                        self.protocol().roles.iter().find(|r| r.kind.value == role.kind.value);
                    let ours = known.map_or("our_role", |r| r.name.value.as_str());
                    self.report.push(
                        Diagnostic::error(
                            codes::ROLE_NOT_PLAYED,
                            span,
                            format!(
                                "say which of our roles plays `{theirs}` of the called protocol"
                            ),
                        )
                        .also(role.span, format!("needs a {}", role.kind.value))
                        .fix(format!("roles: {{{theirs}: {ours}}}")),
                    );
                }
                complete = false;
                continue;
            };
            if binding.definition.kind.value != role.kind.value {
                self.report.push(
                    Diagnostic::error(
                        codes::ROLE_TYPE,
                        given.map_or(word, |w| w.value.span),
                        format!(
                            "name a {} for `{}`: `{}` is a {}",
                            role.kind.value,
                            role.name.value,
                            ours.value,
                            binding.definition.kind.value
                        ),
                    )
                    .label("of another type")
                    .also(role.kind.span, "what the called protocol needs"),
                );
                complete = false;
                continue;
            }
            all.insert(role.name.value.clone(), ours.value.clone());
            names.roles.insert(role.name.value.clone(), binding);
        }
        complete.then_some(all)
    }

    /// Its parameters from `with:`. What is known now becomes a value of `names`; the rest is
    /// worked out when the run gets to the call.
    fn called_arguments(
        &mut self,
        callee: &'a Protocol,
        with: &'a [Named<Written>],
        word: Span,
        names: &mut Names<'a>,
    ) -> Option<BTreeMap<String, Expr>> {
        let mut later = BTreeMap::new();
        let mut complete = true;
        for entry in with {
            if callee.parameter(&entry.name.value).is_some() {
                continue;
            }
            let known = callee.parameters.iter().map(|p| p.name.value.as_str());
            let near = nearest(&entry.name.value, known);
            let mut wrong = Diagnostic::error(
                codes::UNKNOWN_PARAMETER,
                entry.name.span,
                match near {
                    Some(near) => format!("write `{near}` instead of `{}`", entry.name.value),
                    None => format!(
                        "remove `{}`: `{}` has no such parameter",
                        entry.name.value, callee.name.value
                    ),
                },
            )
            .label("no such parameter")
            .also(callee.name.span, "the called protocol");
            wrong.fix = near.map(str::to_owned);
            self.report.push(wrong);
            complete = false;
        }
        for spec in &callee.parameters {
            let name = spec.name.value.clone();
            names.parameters.insert(name.clone(), spec.expr_type());
            let written = with.iter().find(|w| w.name.value == name);
            let expr = match (written, &spec.default) {
                (Some(w), _) => values::argument(&w.value, spec, &self.names, &mut self.report),
                (None, Some(default)) => Some(default.expr.clone()),
                (None, None) => {
                    self.report.push(
                        Diagnostic::error(
                            codes::MISSING_ARGUMENT,
                            word,
                            format!("give `{name}` to the called protocol under `with:`"),
                        )
                        .label("a parameter has no value")
                        .also(spec.span, "declared here, without a default")
                        .fix(format!("with: {{{name}: {}}}", values::sample(spec))),
                    );
                    None
                }
            };
            let Some(expr) = expr else {
                complete = false;
                continue;
            };
            match expr.constant() {
                Some(value) => {
                    names.values.insert(name, value);
                }
                None => {
                    if let Some(range) = expr::interval(&expr, &self.names) {
                        names.ranges.insert(name.clone(), range);
                    } else if let (Some(min), Some(max)) = (&spec.min, &spec.max) {
                        let range = expr::Interval { lo: min.value.value, hi: max.value.value };
                        names.ranges.insert(name.clone(), range);
                    }
                    later.insert(name, expr);
                }
            }
        }
        complete.then_some(later)
    }

    /// Its derived values, steps, `finally` and results, in its own names.
    fn called_body(
        &mut self,
        callee: &'a Protocol,
        block: NodeId,
        step: &'a Step,
        last: &mut Option<NodeId>,
    ) -> BTreeMap<String, Type> {
        walk::derived(callee, &mut self.names, &mut self.report);
        walk::collect_ids(&callee.steps, &mut self.names.all_steps, &mut self.names.blocks);
        walk::collect_ids(&callee.finally, &mut self.names.all_steps, &mut self.names.blocks);
        for (name, expr) in self.names.derived_exprs.clone() {
            if self.names.derived.contains_key(&name) {
                continue;
            }
            let values = BTreeMap::from([("value".to_owned(), expr)]);
            let kind = NodeKind::Values { values };
            let id = self.push(Some(block), 0, format!("/derived/{name}"), kind, step.span);
            self.chain(last, id);
        }
        for condition in &callee.require {
            let Some(expr) = values::condition(condition, &self.names, &mut self.report) else {
                continue;
            };
            let at: Place = place(self.request.sources, condition.span);
            let kind = NodeKind::WaitUntil {
                condition: Condition { expr, text: condition.text.clone(), place: at },
                stable_for: Duration::ZERO,
            };
            let id = self.push(Some(block), 0, "require".to_owned(), kind, condition.span);
            if let Some(node) = self.nodes.get_mut(id.0 as usize) {
                node.deadline = Some(Duration::ZERO);
            }
            self.chain(last, id);
        }
        self.called_samples(callee);
        let mut list = |walk: &mut Walk<'a>, name: &str, steps: &'a [Step]| {
            let kind = NodeKind::Group { hold: Vec::new() };
            let id = walk.push(Some(block), 0, name.to_owned(), kind, step.span);
            if name == "steps" {
                walk.same_path(id, block);
            }
            walk.list(id, 0, steps);
            walk.chain(last, id);
        };
        list(self, "steps", &callee.steps);
        // Results are what the steps left, before `finally` undoes it.
        let mut types = BTreeMap::new();
        let mut found = BTreeMap::new();
        for result in &callee.results {
            if let Some((expr, is)) = values::checked(&result.value, &self.names, &mut self.report)
            {
                types.insert(result.name.value.clone(), is);
                found.insert(result.name.value.clone(), expr);
            }
        }
        let kind = NodeKind::Values { values: found };
        let id = self.push(Some(block), 0, "/results".to_owned(), kind, step.span);
        self.chain(last, id);
        if !callee.finally.is_empty() {
            let kind = NodeKind::Group { hold: Vec::new() };
            let id = self.push(Some(block), 0, "finally".to_owned(), kind, step.span);
            self.list(id, 0, &callee.finally);
            self.chain(last, id);
        }
        types
    }

    /// Samples it shares with the protocol around it stand where that left them.
    fn called_samples(&mut self, callee: &'a Protocol) {
        let before = self.samples.at.clone();
        self.place_samples();
        for (name, place) in before {
            self.samples.at.insert(name, place);
        }
        let _ = callee;
    }

    fn chain(&mut self, last: &mut Option<NodeId>, id: NodeId) {
        if let Some(from) = last.replace(id) {
            self.edges.push(Edge { from, to: id, min: Duration::ZERO, max: None });
        }
    }

    fn same_path(&mut self, id: NodeId, as_: NodeId) {
        let path = self.nodes.get(as_.0 as usize).map(|n| n.path.clone()).unwrap_or_default();
        if let Some(node) = self.nodes.get_mut(id.0 as usize) {
            node.path = path;
        }
    }

    /// Renames everything that was made since a node.
    fn rename_from(&mut self, first: usize, rename: &Rename) {
        for node in self.nodes.iter_mut().skip(first) {
            if rename.known(&node.name) {
                node.name = rename.id(&node.name);
            }
            if let NodeKind::Action { role, .. } = &mut node.kind
                && let Some(ours) = rename.roles.get(role)
            {
                role.clone_from(ours);
            }
            if let NodeKind::ForEach { variable, .. } = &mut node.kind {
                *variable = format!("{}/{variable}", rename.prefix);
            }
            each_expression(&mut node.kind, &mut |expr| rename.expr(expr));
        }
    }

    /// How many calls with a `finally` of their own there are so far.
    pub(super) fn exits(&self) -> usize {
        self.calls.exits.len()
    }

    /// For runs that end inside a call: its `finally`, if it had begun and not ended, before that
    /// of the run, the innermost first. Calls that stand in `finally` themselves come to their end
    /// there: only the first `count` are meant.
    pub(super) fn exits_of_calls(&mut self, finally: Option<NodeId>, count: usize) {
        let Some(root) = finally else { return };
        let first_own: Vec<NodeId> = self
            .nodes
            .iter()
            .filter(|n| n.parent == Some(root) && !self.edges.iter().any(|e| e.to == n.id))
            .map(|n| n.id)
            .collect();
        let mut last = None;
        let mut exits = std::mem::take(&mut self.calls.exits);
        exits.truncate(count);
        for exit in exits {
            let path = ["run", "inside", exit.block.as_str()].map(str::to_owned).to_vec();
            let text = format!("the call `{}` was under way", exit.block);
            let place = place(self.request.sources, exit.span);
            let condition = Condition { expr: Expr::path(path), text, place };
            let name = format!("{}/exit", exit.block);
            let kind = NodeKind::Branch { condition };
            let branch = self.push(Some(root), 0, name, kind, exit.span);
            let first = self.nodes.len();
            let mut names = exit.names;
            std::mem::swap(&mut self.names, &mut names);
            let caller = self.switch(exit.protocol);
            self.list(branch, 0, &exit.protocol.finally);
            self.switch(caller);
            std::mem::swap(&mut self.names, &mut names);
            for rename in &exit.renames {
                self.rename_from(first, rename);
            }
            self.chain(&mut last, branch);
        }
        for own in first_own {
            if let Some(from) = last {
                self.edges.push(Edge { from, to: own, min: Duration::ZERO, max: None });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Vec<String> {
        text.split('.').map(str::to_owned).collect()
    }

    #[test]
    fn names_of_a_called_protocol_are_those_of_the_call() {
        let rename = Rename {
            prefix: "mix".to_owned(),
            ids: ["dose", "loop_a", "wash"].map(str::to_owned).into(),
            calls: ["wash".to_owned()].into(),
            roles: [("pump".to_owned(), "pump_a".to_owned())].into(),
            exit_ids: BTreeSet::new(),
        };
        for (from, to) in [
            ("params.volume", "steps.mix//with.volume"),
            ("derived.half.value", "steps.mix//derived/half.value.value"),
            ("roles.pump.dispensed", "roles.pump_a.dispensed"),
            ("steps.loop_a.dose.x", "steps.mix/loop_a.mix/dose.x"),
            ("steps.loop_a.history.dose.x", "steps.mix/loop_a.history.mix/dose.x"),
            ("steps.loop_a.wash.volume", "steps.mix/loop_a.mix/wash//results.volume"),
            ("steps.wash.volume", "steps.mix/wash//results.volume"),
            ("loop.history.dose", "loop.history.mix/dose"),
            ("n", "mix/n"),
        ] {
            assert_eq!(rename.path(&path(from)), Some(path(to)), "{from}");
        }
        assert_eq!(rename.path(&path("run.elapsed")), None);
    }
}
