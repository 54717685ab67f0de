//! Order between siblings, blocks, and what an exit must leave behind.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use petgraph::algo::kosaraju_scc;
use petgraph::graph::DiGraph;

use super::graph::{Condition, Edge, NodeId, NodeKind, OnError};
use super::values;
use super::walk::{Walk, inner_lists, place};
use crate::expr::{self, Type, Value};
use crate::spec::protocol::{OnErrorDecl, Step, StepKind};
use crate::spec::{Diagnostic, Spanned, codes, nearest};

/// The steps of one list and where they went.
pub(super) struct Siblings<'a> {
    steps: &'a [Step],
    placed: Vec<Option<NodeId>>,
    /// Sibling of each id, or sibling that holds it; made only where `after:` needs it.
    ids: BTreeMap<&'a str, usize>,
}

impl<'a> Siblings<'a> {
    pub(super) fn new(steps: &'a [Step]) -> Siblings<'a> {
        let mut ids = BTreeMap::new();
        if steps.iter().any(|step| !step.after.is_empty()) {
            for (index, step) in steps.iter().enumerate() {
                let mut open = vec![step];
                while let Some(step) = open.pop() {
                    if let Some(id) = &step.id {
                        ids.entry(id.value.as_str()).or_insert(index);
                    }
                    open.extend(inner_lists(step).into_iter().flatten());
                }
            }
        }
        Siblings { steps, placed: vec![None; steps.len()], ids }
    }

    pub(super) fn placed(&mut self, index: usize, id: NodeId) {
        if let Some(entry) = self.placed.get_mut(index) {
            *entry = Some(id);
        }
    }

    /// Adds the edges: to the step before, or to those named by `after:`.
    pub(super) fn connect(self, walk: &mut Walk<'a>) {
        let mut order: DiGraph<usize, ()> = DiGraph::new();
        let indexes: Vec<_> = (0..self.steps.len()).map(|i| order.add_node(i)).collect();
        for (index, step) in self.steps.iter().enumerate() {
            let before: Vec<usize> = if step.after.is_empty() {
                index.checked_sub(1).into_iter().collect()
            } else {
                step.after.iter().filter_map(|name| self.find(name, walk)).collect()
            };
            let own = step.within.as_ref().and_then(|w| walk.constant_time(w, "within"));
            let id = self.placed.get(index).copied().flatten();
            // The first step of a block follows what stands before the block.
            let inner = id.and_then(|id| walk.hoisted.remove(&id));
            let max = own.into_iter().chain(inner).min();
            if let (true, Some(max)) = (before.is_empty(), max) {
                self.hoist(walk, id, step, max);
            }
            for from in before {
                if let (Some(a), Some(b)) = (indexes.get(from), indexes.get(index)) {
                    order.add_edge(*a, *b, ());
                }
                let ids = (self.placed.get(from), self.placed.get(index));
                if let (Some(Some(from)), Some(Some(to))) = ids {
                    let (from, to) = (*from, *to);
                    walk.edges.push(Edge { from, to, min: Duration::ZERO, max });
                }
            }
        }
        // Without `after:` the order is the one written, which has no circle.
        let groups = if self.ids.is_empty() { Vec::new() } else { kosaraju_scc(&order) };
        for group in groups {
            let cyclic =
                group.len() > 1 || group.first().is_some_and(|n| order.contains_edge(*n, *n));
            if !cyclic {
                continue;
            }
            let mut steps: Vec<&Step> =
                group.iter().filter_map(|n| self.steps.get(*order.node_weight(*n)?)).collect();
            steps.sort_by_key(|s| s.span.start);
            let Some(first) = steps.first() else { continue };
            let mut wrong = Diagnostic::error(
                codes::CYCLIC_AFTER,
                first.after.first().map_or(first.word, |a| a.span),
                "remove an `after`: these steps wait for each other and none can start",
            )
            .label("waits in the circle");
            for step in steps.iter().skip(1) {
                wrong = wrong.also(step.word, "waits in the circle");
            }
            walk.report.push(wrong.fix("remove one `after:` of the circle"));
        }
    }

    /// A time limit of a step with nothing before it in its own list.
    fn hoist(&self, walk: &mut Walk<'a>, id: Option<NodeId>, step: &Step, max: Duration) {
        let Some(parent) = id.and_then(|id| walk.nodes.get(id.0 as usize)?.parent) else { return };
        let is_root = walk.nodes.get(parent.0 as usize).is_none_or(|n| n.parent.is_none());
        if !is_root {
            let entry = walk.hoisted.entry(parent).or_insert(max);
            *entry = (*entry).min(max);
            return;
        }
        let span = step.within.as_ref().map_or(step.word, |w| w.span);
        walk.report.push(
            Diagnostic::error(
                codes::NOT_WITH,
                span,
                "remove this `within`: there is no step before it",
            )
            .label("counts from the end of the step before"),
        );
    }

    /// The sibling of that name, or the sibling that holds it.
    fn find(&self, name: &Spanned<String>, walk: &mut Walk<'_>) -> Option<usize> {
        let found = self.ids.get(name.value.as_str()).copied();
        if found.is_none() {
            let mut wrong = Diagnostic::error(
                codes::UNKNOWN_STEP,
                name.span,
                format!("name a step of this list: it has no `{}`", name.value),
            )
            .label("no such step here")
            .reason("`after:` names steps of the same list");
            let ids = self.steps.iter().filter_map(|s| s.id.as_ref()).map(|i| i.value.as_str());
            if let Some(near) = nearest(&name.value, ids) {
                wrong = wrong.fix(near);
            }
            walk.report.push(wrong);
        }
        found
    }
}

impl<'a> Walk<'a> {
    /// Blocks: group, parallel, repeat, for_each, if.
    pub(super) fn block(
        &mut self,
        parent: NodeId,
        slot: u32,
        name: String,
        step: &'a Step,
    ) -> Option<NodeId> {
        match &step.kind {
            StepKind::Group { hold, steps } => {
                let hold = self.held(hold);
                let kind = NodeKind::Group { hold };
                let id = self.push(Some(parent), slot, name, kind, step.span);
                self.list(id, 0, steps);
                Some(id)
            }
            StepKind::Parallel { branches, start_together } => {
                let window =
                    start_together.as_ref().and_then(|w| self.constant_time(w, "start_together"));
                let names = branches.iter().map(|b| b.name.value.clone()).collect();
                let kind = NodeKind::Parallel { branches: names, start_together: window };
                let id = self.push(Some(parent), slot, name, kind, step.span);
                let mark = self.names.steps.mark();
                let (begin, mut ends) = (self.nodes.len(), Vec::new());
                let mut learned = Vec::new();
                for (slot, branch) in (0u32..).zip(branches) {
                    // A branch does not see what its neighbours are doing.
                    self.list(id, slot, &branch.steps);
                    ends.push(self.nodes.len());
                    learned.append(&mut self.names.steps.forget(mark));
                }
                for (name, found) in learned {
                    self.names.steps.learn(name, found);
                }
                self.branches_share(begin, &ends);
                Some(id)
            }
            StepKind::Repeat { max_times, until, steps } => {
                let times = values::checked(max_times, &self.names, &mut self.report)
                    .and_then(|(expr, _)| expr::interval(&expr, &self.names))
                    .map(|range| range.hi);
                let Some(times) = times.filter(|t| (1.0..=1e6).contains(t) && t.fract() == 0.0)
                else {
                    self.report.push(
                        Diagnostic::error(
                            codes::UNBOUNDED_LOOP,
                            max_times.span,
                            "`max_times` must be a whole number from 1 to 1000000, known before the run",
                        )
                        .fix("max_times: 10"),
                    );
                    return None;
                };
                let empty = NodeKind::Repeat { max_times: times as u32, until: None };
                let id = self.push(Some(parent), slot, name, empty, step.span);
                let outer = self.names.rounds.replace(times);
                self.in_loop(
                    step,
                    |walk| walk.list(id, 0, steps),
                    |walk| {
                        let Some(until) = until else { return };
                        let expr = values::condition(until, &walk.names, &mut walk.report);
                        let at = place(walk.request.sources, until.span);
                        if let (Some(expr), Some(node)) = (expr, walk.nodes.get_mut(id.0 as usize))
                        {
                            let text = until.text.clone();
                            node.kind = NodeKind::Repeat {
                                max_times: times as u32,
                                until: Some(Condition { expr, text, place: at }),
                            };
                        }
                    },
                );
                self.names.rounds = outer;
                Some(id)
            }
            StepKind::ForEach { variable, values: list, steps } => {
                let (expr, found) = values::list(list, &self.names, &mut self.report)?;
                let (Some(Value::List(items)), Type::List(item)) = (expr.as_literal(), found)
                else {
                    self.report.push(
                        Diagnostic::error(
                            codes::UNBOUNDED_LOOP,
                            list.span(),
                            "`for_each` needs a list that is known before the run",
                        )
                        .fix(format!("for_each: {{{}: [1, 2, 3]}}", variable.value)),
                    );
                    return None;
                };
                let kind =
                    NodeKind::ForEach { variable: variable.value.clone(), values: items.clone() };
                let id = self.push(Some(parent), slot, name, kind, step.span);
                let hidden = self.names.variables.insert(variable.value.clone(), *item);
                let name = variable.value.clone();
                let range = range_of(items).map(|r| (name.clone(), r));
                let hidden_range = self.names.variable_ranges.remove(&name);
                self.names.variable_ranges.extend(range);
                let outer = self.names.rounds.replace(items.len() as f64);
                self.in_loop(step, |walk| walk.list(id, 0, steps), |_| {});
                self.names.rounds = outer;
                self.names.variable_ranges.remove(&name);
                self.names.variable_ranges.extend(hidden_range.map(|r| (name, r)));
                match hidden {
                    Some(before) => self.names.variables.insert(variable.value.clone(), before),
                    None => self.names.variables.remove(&variable.value),
                };
                Some(id)
            }
            StepKind::If { condition, then, otherwise } => {
                let expr = values::condition(condition, &self.names, &mut self.report);
                let at = place(self.request.sources, condition.span);
                // Errors inside the branches are worth showing even if the condition has one.
                let known = expr.clone().unwrap_or_else(|| expr::Expr::literal(Value::Bool(true)));
                let condition = Condition { expr: known, text: condition.text.clone(), place: at };
                let id =
                    self.push(Some(parent), slot, name, NodeKind::Branch { condition }, step.span);
                let mark = self.names.steps.mark();
                let before = self.samples.clone();
                self.list(id, 0, then);
                let moved = std::mem::replace(&mut self.samples, before);
                let yes = self.names.steps.forget(mark);
                self.list(id, 1, otherwise);
                self.samples.join(&moved);
                // What stands in one branch has a value on some paths only.
                for (name, found) in yes {
                    self.names.steps.learn(name, found);
                }
                self.names.steps.since(mark, |found| found.certain = false);
                expr.map(|_| id)
            }
            _ => None,
        }
    }

    /// Compiles a loop's body, then `last` in the scope of the round that ended, and leaves the
    /// names of its steps as seen from outside.
    fn in_loop(
        &mut self,
        step: &Step,
        body: impl FnOnce(&mut Walk<'a>),
        last: impl FnOnce(&mut Walk<'a>),
    ) {
        let mark = self.names.steps.mark();
        let mut inside = BTreeSet::new();
        let mut blocks = BTreeSet::new();
        collect(inner_lists(step), &mut inside, &mut blocks);
        let outer = self.names.in_loop.replace(inside);
        let before = self.samples.at.clone();
        body(self);
        self.round_closes(&before, step.word);
        last(self);
        self.names.in_loop = outer;
        if !matches!(step.kind, StepKind::ForEach { .. }) {
            return;
        }
        let label = step.id.as_ref().map(|i| i.value.clone()).unwrap_or_default();
        self.names.steps.since(mark, |found| found.loops.push(label.clone()));
    }

    fn held(&mut self, roles: &[Spanned<String>]) -> Vec<String> {
        let mut held = BTreeSet::new();
        for role in roles {
            match self.names.roles.get(&role.value) {
                Some(binding) => {
                    held.insert(binding.instrument.clone());
                }
                None if self.protocol().role(&role.value).is_none() => {
                    let mut wrong = Diagnostic::error(
                        codes::UNKNOWN_ROLE,
                        role.span,
                        format!("name a role of the protocol to hold, not `{}`", role.value),
                    )
                    .label("no such role");
                    let known = self.protocol().roles.iter().map(|r| r.name.value.as_str());
                    if let Some(near) = nearest(&role.value, known) {
                        wrong = wrong.fix(near);
                    }
                    self.report.push(wrong);
                }
                None => {}
            }
        }
        held.into_iter().collect()
    }

    /// Two branches that command one instrument at once would race. Looks at what the branches
    /// became, so that calls count too; `ends` has the count of nodes after each branch.
    fn branches_share(&mut self, begin: usize, ends: &[usize]) {
        let mut first: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        let mut clash = None;
        let mut from = begin;
        for (branch, end) in ends.iter().enumerate() {
            for (index, node) in self.nodes.iter().enumerate().take(*end).skip(from) {
                let NodeKind::Action { instrument, .. } = &node.kind else { continue };
                match first.get(instrument.as_str()) {
                    Some((other, before)) if *other != branch => {
                        clash = clash.or_else(|| Some((instrument.clone(), *before, index)));
                    }
                    Some(_) => {}
                    None => {
                        first.insert(instrument, (branch, index));
                    }
                }
            }
            from = *end;
        }
        let Some((instrument, before, after)) = clash else { return };
        let here = self.protocol().source;
        // A step of a called protocol is shown by its call, which stands in this file.
        let span = |index: usize| {
            let mut at = self.nodes.get(index).map(|n| n.id);
            while let Some(id) = at.filter(|id| id.0 as usize >= begin) {
                let word = self.origins.get(id.0 as usize).copied().flatten().map(|s| s.word);
                if word.is_some_and(|w| w.source == here) {
                    return word;
                }
                at = self.nodes.get(id.0 as usize).and_then(|n| n.parent);
            }
            None
        };
        let (Some(before), Some(after)) = (span(before), span(after)) else { return };
        self.report.push(
            Diagnostic::error(
                codes::BRANCHES_SHARE,
                after,
                format!("put these into one branch: both command `{instrument}` at the same time"),
            )
            .label("one branch")
            .also(before, "the other branch")
            .fix("put both steps into one branch, or after each other"),
        );
    }

    /// `on_error:`; the steps of `do` become a group whose parent is the failing step.
    pub(super) fn on_error(&mut self, id: NodeId, step: &'a Step) -> OnError {
        match &step.on_error {
            None | Some(OnErrorDecl::Fail(_)) => OnError::Fail,
            Some(OnErrorDecl::Continue(_)) => OnError::Continue,
            Some(OnErrorDecl::Ask(_)) => OnError::Ask,
            Some(OnErrorDecl::Invalid(_)) => OnError::Invalid,
            Some(OnErrorDecl::Fallback(span)) => self.fallback(id, step, *span),
            Some(OnErrorDecl::Do(steps, span)) => {
                let kind = NodeKind::Group { hold: Vec::new() };
                let handler = self.push(Some(id), 0, "on_error".to_owned(), kind, *span);
                let mark = self.names.steps.mark();
                let before = self.samples.clone();
                self.list(handler, 0, steps);
                self.samples.join(&before);
                self.names.steps.forget(mark);
                OnError::Do(handler)
            }
        }
    }
}

/// From the least to the greatest of some numbers.
fn range_of(items: &[Value]) -> Option<expr::Interval> {
    let numbers: Option<Vec<f64>> =
        items.iter().map(|item| item.as_quantity().map(|q| q.value)).collect();
    let numbers = numbers.filter(|n| !n.is_empty())?;
    let lo = numbers.iter().copied().fold(f64::INFINITY, f64::min);
    let hi = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    Some(expr::Interval { lo, hi })
}

fn collect(lists: Vec<&[Step]>, inside: &mut BTreeSet<String>, blocks: &mut BTreeSet<String>) {
    for step in lists.into_iter().flatten() {
        let inner = inner_lists(step);
        if let Some(id) = &step.id {
            if inner.is_empty() {
                inside.insert(id.value.clone());
            } else {
                blocks.insert(id.value.clone());
            }
        }
        collect(inner, inside, blocks);
    }
}
