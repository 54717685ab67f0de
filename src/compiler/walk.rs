//! The walk over a protocol: names, then steps, then results.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::bind::{self, Definitions};
use super::call::Calls;
use super::flow;
use super::graph::{
    Condition, Edge, Graph, Node, NodeId, NodeKind, OnError, Place, ResultSpec, Retry,
};
use super::names::{Names, StepType};
use super::proof::Moved;
use super::samples::Samples;
use super::values;
use crate::expr::{self, Expr, Interval, Type, Value};
use crate::spec::lab::Lab;
use crate::spec::protocol::{Protocol, Step, StepKind};
use crate::spec::{
    Checked, Diagnostic, Expression, Named, Report, Sources, Span, Spanned, ValueSpec, ValueType,
    Written, codes,
};

/// Nodes of one graph at most; loops over lists do not multiply them.
const NODES_MAX: usize = 200_000;

/// Protocols by the path of their files.
pub type Protocols = BTreeMap<String, Arc<Protocol>>;

/// What is compiled.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// All texts, for places.
    pub sources: &'a Sources,
    /// The recipe.
    pub protocol: &'a Protocol,
    /// Where it runs.
    pub lab: &'a Lab,
    /// Definitions by name.
    pub definitions: &'a Definitions,
    /// Protocols that are called, by the path of their files.
    pub protocols: &'a Protocols,
    /// Roles a campaign pins.
    pub pins: &'a [Named<Spanned<String>>],
    /// Values of parameters; those not given are checked over their whole range.
    pub parameters: &'a BTreeMap<String, Value>,
    /// Narrower ranges, of a campaign's space.
    pub ranges: &'a BTreeMap<String, Interval>,
}

/// Compiles a protocol for a lab.
///
/// With a value for every parameter the graph can be run. Without, it is good for showing, and
/// the report holds what is wrong for any value in the box.
pub fn compile(request: Request<'_>) -> Checked<Graph> {
    let (walk, graph) = walked(request);
    let (graph, report) = super::proof::prove(walk, graph);
    Checked::new(graph, report)
}

/// The graph before anything is proven of it.
pub(super) fn walked(request: Request<'_>) -> (Walk<'_>, Graph) {
    let mut report = Report::new();
    let protocol = request.protocol;
    let bindings =
        bind::bind(protocol, request.lab, request.definitions, request.pins, &mut report);
    let mut names = Names { lab: Some(request.lab), ..Names::default() };
    names.roles = bindings;
    parameters(&request, &mut names, &mut report);
    derived(protocol, &mut names, &mut report);
    collect_ids(&protocol.steps, &mut names.all_steps, &mut names.blocks);
    collect_ids(&protocol.finally, &mut names.all_steps, &mut names.blocks);

    let mut walk = Walk::new(request, names, report);
    let require = walk.require(protocol);
    walk.place_samples();
    let root = walk.root("steps", &protocol.steps);
    let results = walk.results();
    let exits = walk.exits();
    let finally = (!protocol.finally.is_empty() || exits > 0)
        .then(|| walk.root("finally", &protocol.finally));
    walk.exits_of_calls(finally, exits);
    debug_assert_eq!(root, NodeId(0));
    let graph = walk.graph(require, results, finally);
    (walk, graph)
}

/// `file:line:column` of a span.
pub(super) fn place(sources: &Sources, span: Span) -> Place {
    match sources.locate(span) {
        Some((file, at)) => Place { file: Arc::clone(file), line: at.line, column: at.column },
        None => Place::default(),
    }
}

fn parameters(request: &Request<'_>, names: &mut Names<'_>, report: &mut Report) {
    for spec in &request.protocol.parameters {
        let name = spec.name.value.clone();
        names.parameters.insert(name.clone(), spec.expr_type());
        let given = request.parameters.get(&name).cloned();
        let pinned = request.ranges.contains_key(&name);
        let default = spec.default.as_ref().and_then(|d| expr::eval(&d.expr, names).ok());
        let value = given.or_else(|| default.filter(|_| !pinned && !request.parameters.is_empty()));
        if let Some(value) = value {
            given_parameter(spec, &value, report);
            names.values.insert(name, value);
            continue;
        }
        let range = request.ranges.get(&name).copied().or_else(|| {
            let (lo, hi) = (spec.min.as_ref()?, spec.max.as_ref()?);
            Some(Interval { lo: lo.value.value, hi: hi.value.value })
        });
        if let Some(range) = range {
            names.ranges.insert(name, range);
        }
    }
    for name in request.parameters.keys() {
        if request.protocol.parameter(name).is_none() {
            let known: Vec<&str> =
                request.protocol.parameters.iter().map(|p| p.name.value.as_str()).collect();
            let mut wrong = Diagnostic::error(
                codes::UNKNOWN_PARAMETER,
                request.protocol.name.span,
                format!("the protocol has no parameter `{name}`"),
            )
            .reason(format!("it has {}", known.join(", ")));
            if let Some(near) = crate::spec::nearest(name, known.iter().copied()) {
                wrong = wrong.fix(near);
            }
            report.push(wrong);
        }
    }
}

/// A value given from outside (campaign, command line) against the protocol's declaration.
fn given_parameter(spec: &ValueSpec, value: &Value, report: &mut Report) {
    let name = &spec.name.value;
    let wrong = |message: String| Diagnostic::error(codes::OUT_OF_RANGE, spec.span, message);
    if value.type_of() != spec.expr_type() {
        let message = format!(
            "parameter `{name}` must be a {}, it was given {}",
            spec.expr_type(),
            value.show()
        );
        report.push(wrong(message));
        return;
    }
    if let Value::Quantity(q) = value {
        let slack = 1e-9 * q.value.abs();
        let low = spec.min.as_ref().is_some_and(|m| q.value < m.value.value - slack);
        let high = spec.max.as_ref().is_some_and(|m| q.value > m.value.value + slack);
        let whole = spec.kind != ValueType::Integer || q.value.fract() == 0.0;
        if low || high || !whole || !q.value.is_finite() {
            let limit = |l: &Option<Spanned<crate::units::Quantity>>| {
                l.as_ref().map_or("no limit".to_owned(), |l| l.value.to_string())
            };
            report.push(wrong(format!(
                "parameter `{name}` was given {q}; it may be from {} to {}{}",
                limit(&spec.min),
                limit(&spec.max),
                if whole { "" } else { ", whole numbers only" }
            )));
        }
    }
    if let (ValueType::Choice { options }, Value::Text(text)) = (&spec.kind, value)
        && !options.iter().any(|o| *o.value == **text)
    {
        let words: Vec<&str> = options.iter().map(|o| o.value.as_str()).collect();
        report.push(wrong(format!(
            "parameter `{name}` was given `{text}`; it is one of {}",
            words.join(", ")
        )));
    }
}

pub(super) fn derived(protocol: &Protocol, names: &mut Names<'_>, report: &mut Report) {
    for Named { name, value } in &protocol.derived {
        let found = match value {
            Written::Expression(expression) => values::checked(expression, names, report),
            Written::Scalar { text, quoted: false, .. } => {
                let value = values::free_literal(text);
                let found = value.type_of();
                Some((Expr::literal(value), found))
            }
            other => values::list(other, names, report),
        };
        let Some((expr, found)) = found else {
            names.derived_types.insert(name.value.clone(), Type::Unknown);
            continue;
        };
        names.derived_types.insert(name.value.clone(), found);
        match expr::eval(&expr, names) {
            Ok(value) => {
                names.derived.insert(name.value.clone(), value);
            }
            Err(error) if error.kind == expr::ErrorKind::Value => {
                let span = match value {
                    Written::Expression(e) => e.place(error.span.clone()),
                    other => other.span(),
                };
                let what = format!("`{}` has no value: {}", name.value, error.message);
                report.push(Diagnostic::error(codes::EXPRESSION_TYPE, span, what));
            }
            Err(_) => {}
        }
        names.derived_exprs.push((name.value.clone(), expr.clone()));
        if let Some(range) = expr::interval(&expr, names) {
            names.derived_ranges.insert(name.value.clone(), range);
        }
    }
}

/// Names of all steps, and of those that are blocks.
pub(super) fn collect_ids(
    steps: &[Step],
    all: &mut BTreeSet<String>,
    blocks: &mut BTreeSet<String>,
) {
    for step in steps {
        let inner = inner_lists(step);
        if let Some(id) = &step.id {
            all.insert(id.value.clone());
            if !inner.is_empty() {
                blocks.insert(id.value.clone());
            }
        }
        for list in inner {
            collect_ids(list, all, blocks);
        }
    }
}

/// Lists of steps inside a step.
pub(super) fn inner_lists(step: &Step) -> Vec<&[Step]> {
    match &step.kind {
        StepKind::Parallel { branches, .. } => {
            branches.iter().map(|b| b.steps.as_slice()).collect()
        }
        StepKind::Group { steps, .. }
        | StepKind::Repeat { steps, .. }
        | StepKind::ForEach { steps, .. } => vec![steps.as_slice()],
        StepKind::If { then, otherwise, .. } => vec![then.as_slice(), otherwise.as_slice()],
        _ => Vec::new(),
    }
}

/// State of the walk.
pub(super) struct Walk<'a> {
    pub(super) request: Request<'a>,
    /// The protocol whose steps are walked: the one asked for, or one that is called.
    protocol: &'a Protocol,
    pub(super) names: Names<'a>,
    pub(super) report: Report,
    pub(super) nodes: Vec<Node>,
    /// The step each node was made from; `None` for roots and what the compiler adds.
    pub(super) origins: Vec<Option<&'a Step>>,
    pub(super) edges: Vec<Edge>,
    /// Steps that are never sent twice.
    pub(super) once: Vec<Span>,
    pub(super) samples: Samples,
    /// Liquid and other stock that steps move.
    pub(super) moved: BTreeMap<NodeId, Moved>,
    /// `within` of steps that stand first in a block, for the edge to the block.
    pub(super) hoisted: BTreeMap<NodeId, Duration>,
    /// Calls around the place that is walked, and those that are over.
    pub(super) calls: Calls<'a>,
    /// Type of what the analysis just walked gives.
    pub(super) analysed: Option<Type>,
}

impl<'a> Walk<'a> {
    fn new(request: Request<'a>, names: Names<'a>, report: Report) -> Walk<'a> {
        Walk {
            request,
            protocol: request.protocol,
            names,
            report,
            nodes: Vec::new(),
            origins: Vec::new(),
            edges: Vec::new(),
            once: Vec::new(),
            samples: Samples::default(),
            moved: BTreeMap::new(),
            hoisted: BTreeMap::new(),
            calls: Calls::default(),
            analysed: None,
        }
    }

    /// The protocol whose steps are walked.
    pub(super) fn protocol(&self) -> &'a Protocol {
        self.protocol
    }

    /// Walks another protocol's steps from now on; gives the one before.
    pub(super) fn switch(&mut self, to: &'a Protocol) -> &'a Protocol {
        std::mem::replace(&mut self.protocol, to)
    }

    fn require(&mut self, protocol: &'a Protocol) -> Vec<Condition> {
        let mut found = Vec::new();
        for c in &protocol.require {
            let Some(expr) = values::condition(c, &self.names, &mut self.report) else { continue };
            if let Some(Value::Bool(false)) = expr.as_literal() {
                self.report.push(
                    Diagnostic::error(
                        codes::REQUIRE_FAILS,
                        c.span,
                        "this does not hold in this lab: the run could never begin",
                    )
                    .label("false as things stand")
                    .also(self.request.lab.name.span, "the lab"),
                );
            }
            let place = place(self.request.sources, c.span);
            found.push(Condition { expr, text: c.text.clone(), place });
        }
        found
    }

    /// The graph, before it is proven and hashed.
    fn graph(
        &mut self,
        require: Vec<Condition>,
        results: Vec<ResultSpec>,
        finally: Option<NodeId>,
    ) -> Graph {
        let mut graph = Graph {
            protocol: self.request.protocol.name.value.clone(),
            hash: String::new(),
            parameters: std::mem::take(&mut self.names.values),
            derived: std::mem::take(&mut self.names.derived),
            roles: self
                .names
                .roles
                .iter()
                .map(|(r, b)| (r.clone(), b.instrument.clone()))
                .collect(),
            require,
            nodes: std::mem::take(&mut self.nodes),
            edges: std::mem::take(&mut self.edges),
            finally,
            results,
            started_instruments: Vec::new(),
            places: self.place_claims(),
            hold_states: BTreeMap::new(),
            stock: BTreeMap::new(),
            resume_within: self.request.protocol.resume_within.as_ref().map(|w| w.value),
        };
        self.calls.rename_in(&mut graph);
        graph
    }

    fn root(&mut self, name: &str, steps: &'a [Step]) -> NodeId {
        let span = match name {
            "steps" => self.request.protocol.name.span,
            _ => steps.first().map_or(self.request.protocol.name.span, |s| s.span),
        };
        let id = self.push(None, 0, name.to_owned(), NodeKind::Group { hold: Vec::new() }, span);
        if let Some(node) = self.nodes.get_mut(id.0 as usize) {
            // Paths of steps do not begin with the name of the list they stand in.
            node.path = if name == "steps" { String::new() } else { name.to_owned() };
        }
        self.list(id, 0, steps);
        if name == "steps"
            && let Some(node) = self.nodes.get_mut(id.0 as usize)
        {
            node.path = "steps".to_owned();
        }
        id
    }

    /// Adds a node; its path follows from its parent's.
    pub(super) fn push(
        &mut self,
        parent: Option<NodeId>,
        slot: u32,
        name: String,
        kind: NodeKind,
        span: Span,
    ) -> NodeId {
        let id = NodeId(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        let above = parent.and_then(|p| self.nodes.get(p.0 as usize)).map(|p| p.path.as_str());
        let path = match above {
            None | Some("") => name.clone(),
            Some(above) => format!("{above}/{name}"),
        };
        self.nodes.push(Node {
            id,
            name,
            path,
            parent,
            slot,
            kind,
            claims: Vec::new(),
            expected: Duration::ZERO,
            deadline: None,
            retry: None,
            on_error: OnError::Fail,
            fresh: Vec::new(),
            place: place(self.request.sources, span),
        });
        self.origins.push(None);
        id
    }

    /// Compiles a list of steps into siblings with their order.
    pub(super) fn list(&mut self, parent: NodeId, slot: u32, steps: &'a [Step]) {
        let mut siblings = flow::Siblings::new(steps);
        for (index, step) in steps.iter().enumerate() {
            if self.nodes.len() >= NODES_MAX {
                self.report.push(Diagnostic::error(
                    codes::CLAIM_ABOVE_CAPACITY,
                    step.span,
                    format!("the protocol has more than {NODES_MAX} steps"),
                ));
                return;
            }
            if let Some(id) = self.step(parent, slot, index, step) {
                siblings.placed(index, id);
            }
        }
        siblings.connect(self);
    }

    fn step(&mut self, parent: NodeId, slot: u32, index: usize, step: &'a Step) -> Option<NodeId> {
        let made = self.made(parent, slot, index, step);
        if let (None, Some(id)) = (made, &step.id) {
            // What is wrong with it was reported; that others read it is no second mistake.
            let found = StepType { value: Type::Unknown, loops: Vec::new(), certain: true };
            self.names.steps.learn(id.value.clone(), found);
        }
        made
    }

    fn made(&mut self, parent: NodeId, slot: u32, index: usize, step: &'a Step) -> Option<NodeId> {
        let name = match &step.id {
            Some(id) => id.value.clone(),
            None => format!("{}#{}", word(step), index + 1),
        };
        let id = match &step.kind {
            StepKind::Do { .. } => self.action(parent, slot, name, step)?,
            StepKind::Wait { duration } => {
                let expr = self.time(duration)?;
                let expected = self.longest(&expr);
                let id = self.push(
                    Some(parent),
                    slot,
                    name,
                    NodeKind::Wait { duration: expr },
                    step.span,
                );
                self.expect(id, expected);
                id
            }
            StepKind::WaitUntil { condition, stable_for } => {
                let text = condition.text.clone();
                let at = place(self.request.sources, condition.span);
                let expr = values::condition(condition, &self.names, &mut self.report);
                let stable = stable_for.as_ref().and_then(|s| self.constant_time(s, "stable_for"));
                let kind = NodeKind::WaitUntil {
                    condition: Condition { expr: expr?, text, place: at },
                    stable_for: stable.unwrap_or_default(),
                };
                let id = self.push(Some(parent), slot, name, kind, step.span);
                self.expect(id, stable.unwrap_or_default());
                id
            }
            StepKind::Analyse { .. } => self.analysis(parent, slot, name, step)?,
            StepKind::Ask { question, options, on_timeout } => {
                let (question, _) = values::checked(question, &self.names, &mut self.report)?;
                let kind = NodeKind::Ask {
                    question,
                    options: options.iter().map(|o| o.value.clone()).collect(),
                    on_timeout: on_timeout.as_ref().map(|o| o.value.clone()),
                };
                self.push(Some(parent), slot, name, kind, step.span)
            }
            StepKind::Log { message } => {
                let (message, _) = values::checked(message, &self.names, &mut self.report)?;
                self.push(Some(parent), slot, name, NodeKind::Log { message }, step.span)
            }
            StepKind::Call { .. } => self.call(parent, slot, name, step)?,
            StepKind::Move { .. } => self.move_step(parent, slot, name, step)?,
            _ => self.block(parent, slot, name, step)?,
        };
        if let Some(origin) = self.origins.get_mut(id.0 as usize) {
            *origin = Some(step);
        }
        self.common(id, step);
        self.freshness(id, step);
        self.learn(step);
        Some(id)
    }

    /// Deadline, retry and what a failure does: the same for every step.
    fn common(&mut self, id: NodeId, step: &'a Step) {
        let deadline = step.timeout.as_ref().and_then(|t| self.constant_time(t, "timeout"));
        let retry = step.retry.as_ref().map(|r| {
            let wait = r.wait.as_ref().and_then(|w| self.constant_time(w, "wait"));
            let max_wait = r.max_wait.as_ref().and_then(|w| self.constant_time(w, "max_wait"));
            if let (Some(wait), Some(longest), Some(written)) = (wait, max_wait, &r.max_wait)
                && longest < wait
            {
                self.report.push(
                    Diagnostic::error(
                        codes::RETRY_FACTOR,
                        written.span,
                        "make `max_wait` as long as `wait`, or longer",
                    )
                    .label("shorter than the first pause"),
                );
            }
            let only = r
                .only
                .iter()
                .filter_map(|kind| {
                    let text = serde_json::Value::String(kind.value.clone());
                    serde_json::from_value(text).ok()
                })
                .collect();
            Retry {
                times: r.times.value,
                wait: wait.unwrap_or_default(),
                factor: r.factor.as_ref().map_or(1.0, |factor| factor.value),
                max_wait,
                only,
            }
        });
        if let Some(node) = self.nodes.get_mut(id.0 as usize) {
            if deadline.is_some() {
                node.deadline = deadline;
            }
            node.retry = retry;
        }
        let on_error = self.on_error(id, step);
        if let Some(node) = self.nodes.get_mut(id.0 as usize) {
            node.on_error = on_error;
        }
    }

    /// What others can know of a step once it has ended.
    fn learn(&mut self, step: &Step) {
        let Some(id) = &step.id else { return };
        let value = match &step.kind {
            StepKind::Do { role, action, .. } => self
                .names
                .roles
                .get(&role.value)
                .and_then(|b| b.definition.action(&action.value))
                .and_then(|a| a.returns.as_ref())
                .map_or(Type::Unknown, super::names::shape_type),
            StepKind::Analyse { .. } => self.analysed.take().unwrap_or(Type::Unknown),
            StepKind::Ask { .. } | StepKind::Log { .. } => Type::Text,
            _ => return,
        };
        let certain =
            !matches!(step.on_error, Some(crate::spec::protocol::OnErrorDecl::Continue(_)));
        let found = StepType { value, loops: Vec::new(), certain };
        self.names.steps.learn(id.value.clone(), found);
    }

    pub(super) fn expect(&mut self, id: NodeId, expected: Duration) {
        if let Some(node) = self.nodes.get_mut(id.0 as usize) {
            node.expected = expected;
        }
    }

    /// An expression that must be a time.
    fn time(&mut self, expression: &Expression) -> Option<Expr> {
        let (expr, found) = values::checked(expression, &self.names, &mut self.report)?;
        let time = Type::Quantity { dim: crate::units::Dimension::TIME, point: false };
        if found != time && found != Type::Unknown {
            self.report.push(
                Diagnostic::error(
                    codes::EXPRESSION_TYPE,
                    expression.span,
                    "write a time here, such as `5 min`",
                )
                .label(format!("this is a {found}"))
                .fix("5 min"),
            );
            return None;
        }
        if expr::interval(&expr, &self.names).is_some_and(|r| r.lo < 0.0) {
            self.report.push(
                Diagnostic::error(
                    codes::OUT_OF_RANGE,
                    expression.span,
                    "keep this time at zero or above: it may be negative",
                )
                .label("may be below zero"),
            );
            return None;
        }
        Some(expr)
    }

    /// A time that must be known before the run, or at least bounded: its greatest value.
    pub(super) fn constant_time(&mut self, expression: &Expression, key: &str) -> Option<Duration> {
        let expr = self.time(expression)?;
        let longest = self.longest(&expr);
        if longest.is_zero()
            && expr.as_literal().is_none()
            && expr::interval(&expr, &self.names).is_none()
        {
            self.report.push(Diagnostic::error(
                codes::EXPRESSION_NOT_ALLOWED,
                expression.span,
                format!(
                    "`{key}` must be known before the run: use parameters and derived values only"
                ),
            ));
            return None;
        }
        Some(longest)
    }

    /// Greatest value of a time over the box; zero where it is not known.
    pub(super) fn longest(&self, expr: &Expr) -> Duration {
        expr::interval(expr, &self.names)
            .and_then(|r| Duration::try_from_secs_f64(r.hi).ok())
            .unwrap_or_default()
    }

    fn results(&mut self) -> Vec<ResultSpec> {
        let protocol = self.request.protocol;
        let mut found = Vec::new();
        for result in &protocol.results {
            let before = self.report.diagnostics.len();
            let Some((value, is)) = values::checked(&result.value, &self.names, &mut self.report)
            else {
                continue;
            };
            // A result without a value on some path is a mistake of its own kind.
            for found in self.report.diagnostics.iter_mut().skip(before) {
                if found.code == codes::SET_ON_ONE_PATH {
                    found.code = codes::RESULT_NOT_ALWAYS;
                    found.message = format!(
                        "give result `{}` a value on every path: here it may have none",
                        result.name.value
                    );
                }
            }
            let unit = result.unit.as_ref().map(|u| &u.value);
            let fits = match (&is, unit) {
                (Type::Quantity { dim, point }, Some(unit)) => {
                    *dim == unit.dim && (*point || !unit.point)
                }
                (Type::Quantity { dim, .. }, None) => dim.is_none(),
                (Type::Unknown | Type::Bool | Type::Text, _) => true,
                _ => false,
            };
            if !fits {
                let mut wrong = Diagnostic::error(
                    codes::EXPRESSION_TYPE,
                    result.value.span,
                    match &result.unit {
                        Some(unit) => format!(
                            "give result `{}` a unit that fits: `{}` does not",
                            result.name.value, unit.value.symbol
                        ),
                        None => format!("add a `unit` to result `{}`", result.name.value),
                    },
                )
                .label(format!("this is a {is}"));
                wrong = match &result.unit {
                    Some(unit) => wrong.also(unit.span, "which this unit does not fit"),
                    None => wrong.fix("add `unit:` to the result"),
                };
                self.report.push(wrong);
            }
            found.push(ResultSpec {
                name: result.name.value.clone(),
                value,
                unit: unit.map(|u| u.symbol.clone()).unwrap_or_default(),
                place: place(self.request.sources, result.span),
            });
        }
        found
    }

    pub(super) fn note_once(&mut self) {
        let Some(first) = self.once.first() else { return };
        let count = self.once.len();
        let steps = if count == 1 { "step is" } else { "steps are" };
        self.report.push(
            Diagnostic::note(
                codes::ONCE_STEPS,
                *first,
                format!("{count} {steps} never sent twice: after a crash a person may be asked"),
            )
            .reason("the action is `once`: nothing can tell whether it happened"),
        );
    }
}

fn word(step: &Step) -> String {
    match &step.kind {
        StepKind::Do { role, action, .. } => format!("{}.{}", role.value, action.value),
        StepKind::Wait { .. } => "wait".to_owned(),
        StepKind::WaitUntil { .. } => "wait_until".to_owned(),
        StepKind::Parallel { .. } => "parallel".to_owned(),
        StepKind::Group { .. } => "steps".to_owned(),
        StepKind::Repeat { .. } => "repeat".to_owned(),
        StepKind::ForEach { .. } => "for_each".to_owned(),
        StepKind::If { .. } => "if".to_owned(),
        StepKind::Ask { .. } => "ask".to_owned(),
        StepKind::Log { .. } => "log".to_owned(),
        StepKind::Analyse { function, .. } => function.value.clone(),
        StepKind::Call { .. } => "call".to_owned(),
        StepKind::Move { sample, .. } => format!("move {}", sample.value),
    }
}
