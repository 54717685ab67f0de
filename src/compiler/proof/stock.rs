//! What a run takes from the stock of the lab and gives to it.
//!
//! A step says what it uses up under `consumes:`. Where it does not, a pump whose lab entry names
//! its stock (`draws:`, `delivers:`) moves the volume it is asked for, or its rate for as long as
//! it runs. Loops count all their rounds, an `if` its dearer branch, a failure's steps are added.
//!
//! A bound over the whole box may be far above what any run takes: a flow is great where its time
//! is short. So where the bound does not fit, the corners of the box are compiled one by one.

use std::collections::BTreeMap;

use super::exits::span_of;
use super::lags::Times;
use crate::compiler::graph::{Graph, Node, NodeId, NodeKind, OnError, StockUse};
use crate::compiler::walk::{Request, Walk, walked};
use crate::expr::Value;
use crate::spec::lab::Stock;
use crate::spec::{Diagnostic, Span, ValueType, codes};
use crate::units::Quantity;

/// What one run takes and gives, by stock.
pub(in crate::compiler) type Uses = BTreeMap<String, StockUse>;

/// Actions that take liquid into the instrument.
const FILLS: &[&str] = &["refill", "withdraw", "aspirate"];
/// Parameters whose corners are tried, two for each.
const CORNERS_OF: usize = 6;
/// Nodes compiled for all corners together, at most.
const NODES_TRIED: usize = 200_000;
/// Relative slack at limits.
const SLACK: f64 = 1e-9;

/// Liquid that one step moves, at most.
#[derive(Debug, Clone, Default)]
pub(in crate::compiler) struct Moved {
    /// `consumes:`, by stock, in SI units.
    pub consumed: Vec<(String, f64)>,
    /// Volume it is asked for, m3.
    pub volume: Option<f64>,
    /// Rate it is asked for, m3/s.
    pub rate: Option<f64>,
    /// Whether the liquid goes into the instrument.
    pub fills: bool,
}

impl Moved {
    /// Whether an action of this name takes liquid in.
    pub fn is_fill(action: &str) -> bool {
        FILLS.contains(&action)
    }
}

/// Works out what the run takes, into the graph, and reports what does not fit.
pub(super) fn balance(walk: &mut Walk<'_>, graph: &mut Graph, times: &Times) {
    syringes(walk, graph);
    let mut uses = uses(walk, graph, times);
    let mut at = String::new();
    let box_open = !walk.names.ranges.is_empty();
    if box_open
        && walk.request.lab.stock.iter().any(|s| broken(s, uses.get(&s.name.value)).is_some())
        && let Some((worst, corner)) = worst(walk.request, graph.nodes.len())
    {
        (uses, at) = (worst, corner);
    }
    let lab = walk.request.lab;
    for stock in &lab.stock {
        let Some(problem) = broken(stock, uses.get(&stock.name.value)) else { continue };
        let span = stock_span(walk, graph, &stock.name.value, problem.drawing);
        let mut wrong =
            Diagnostic::error(problem.code, span.unwrap_or(stock.name.span), problem.message)
                .label(problem.label)
                .also(problem.at, problem.says);
        if let Some(dead) = stock.dead_volume.as_ref().filter(|_| problem.drawing) {
            wrong = wrong.also(dead.span, "cannot be reached");
        }
        if !at.is_empty() {
            wrong = wrong.reason(format!("at the worst point of the box: {at}"));
        }
        walk.report.push(wrong);
    }
    graph.stock = uses;
}

/// The worst corner of the parameter box: what is used there, and where it is. Of two corners the
/// one that takes most of its scarcest stock is the worse.
fn worst(request: Request<'_>, nodes: usize) -> Option<(Uses, String)> {
    let ranges: Vec<(&String, crate::expr::Interval)> = request
        .protocol
        .parameters
        .iter()
        .filter_map(|p| {
            let given = request.ranges.get(&p.name.value).copied();
            let own = || {
                let (lo, hi) = (p.min.as_ref()?, p.max.as_ref()?);
                Some(crate::expr::Interval { lo: lo.value.value, hi: hi.value.value })
            };
            let open = !request.parameters.contains_key(&p.name.value);
            Some((&p.name.value, given.or_else(own).filter(|_| open)?))
        })
        .take(CORNERS_OF)
        .collect();
    if nodes.saturating_mul(1 << ranges.len()) > NODES_TRIED {
        return None;
    }
    let mut worst: Option<(f64, Uses, String)> = None;
    for corner in 0..1u32 << ranges.len() {
        let mut parameters = request.parameters.clone();
        let mut shown = Vec::new();
        for (index, (name, range)) in ranges.iter().enumerate() {
            let value = if corner >> index & 1 == 1 { range.hi } else { range.lo };
            if let Some(value) = typed(request, name, value) {
                shown.push(format!("{name} = {}", value.show()));
                parameters.insert((*name).clone(), value);
            }
        }
        for spec in &request.protocol.parameters {
            if let (false, ValueType::Choice { options }) =
                (parameters.contains_key(&spec.name.value), &spec.kind)
                && let Some(first) = options.first()
            {
                parameters.insert(spec.name.value.clone(), Value::text(&first.value));
            }
        }
        let at = Request { parameters: &parameters, ranges: &BTreeMap::new(), ..request };
        let (walk, graph) = walked(at);
        if walk.report.has_errors() {
            continue;
        }
        let times = super::lags::times(&graph);
        let found = uses(&walk, &graph, &times);
        let share = request
            .lab
            .stock
            .iter()
            .filter_map(|s| {
                let used = found.get(&s.name.value)?;
                let room = s.capacity.as_ref().map_or(f64::INFINITY, |c| c.value.value);
                Some(
                    (used.drawn / s.amount.value.value.max(f64::MIN_POSITIVE))
                        .max(used.delivered / room),
                )
            })
            .fold(0.0, f64::max);
        if worst.as_ref().is_none_or(|(most, ..)| share > *most) {
            worst = Some((share, found, shown.join(", ")));
        }
    }
    worst.map(|(_, uses, at)| (uses, at))
}

fn typed(request: Request<'_>, name: &str, value: f64) -> Option<Value> {
    let spec = request.protocol.parameter(name)?;
    Some(match &spec.kind {
        ValueType::Quantity { unit } => {
            Value::Quantity(Quantity { value, dim: unit.value.dim, point: unit.value.point })
        }
        _ => Value::number(value),
    })
}

struct Problem {
    code: &'static str,
    message: String,
    label: String,
    at: Span,
    says: &'static str,
    drawing: bool,
}

/// Whether a stock has what is drawn and room for what is given.
fn broken(stock: &Stock, used: Option<&StockUse>) -> Option<Problem> {
    let used = used?;
    let amount = stock.amount.value;
    let show = |value: f64| Quantity { value, ..amount }.to_string();
    let dead = stock.dead_volume.as_ref().map_or(0.0, |d| d.value.value);
    let name = &stock.name.value;
    if used.drawn > (amount.value - dead).max(0.0) + SLACK * amount.value.abs() {
        return Some(Problem {
            code: codes::STOCK_TOO_SMALL,
            message: format!(
                "fill up `{name}`: one run takes up to {}, it has {}",
                show(used.drawn),
                show((amount.value - dead).max(0.0))
            ),
            label: "the most of it is taken here".to_owned(),
            at: stock.amount.span,
            says: "what there is",
            drawing: true,
        });
    }
    let capacity = stock.capacity.as_ref()?;
    if amount.value + used.delivered > capacity.value.value * (1.0 + SLACK) {
        return Some(Problem {
            code: codes::VOLUME_ABOVE_CAPACITY,
            message: format!(
                "empty `{name}`: one run gives up to {} to it, it has room for {}",
                show(used.delivered),
                show(capacity.value.value - amount.value)
            ),
            label: "the most comes from here".to_owned(),
            at: capacity.span,
            says: "what it holds",
            drawing: false,
        });
    }
    None
}

/// The step that takes most of a stock, or gives most to it.
fn stock_span(walk: &Walk<'_>, graph: &Graph, stock: &str, drawing: bool) -> Option<Span> {
    let of = |node: &Node| -> f64 {
        let Some(moved) = walk.moved.get(&node.id) else { return 0.0 };
        let consumed = moved.consumed.iter().find(|(s, _)| s == stock).map(|(_, amount)| *amount);
        let NodeKind::Action { instrument, .. } = &node.kind else { return 0.0 };
        let entry = walk.request.lab.instrument(instrument);
        let linked =
            entry.and_then(|i| if drawing { i.draws.as_ref() } else { i.delivers.as_ref() });
        let volume =
            moved.volume.or(moved.rate).filter(|_| linked.is_some_and(|l| l.value == stock));
        consumed.filter(|_| drawing).or(volume).unwrap_or(0.0)
    };
    let most = graph.nodes.iter().max_by(|a, b| of(a).total_cmp(&of(b)).then(b.id.cmp(&a.id)))?;
    (of(most) > 0.0).then(|| span_of(walk, most.id)).flatten()
}

/// What a run takes and gives.
pub(in crate::compiler) fn uses(walk: &Walk<'_>, graph: &Graph, times: &Times) -> Uses {
    if walk.moved.is_empty() {
        return Uses::new();
    }
    let refills = refilled(walk, graph);
    let next = next_commands(graph, times);
    let mut inside: Vec<BTreeMap<u32, Uses>> = vec![BTreeMap::new(); graph.nodes.len()];
    let mut total = Uses::new();
    // Children stand behind their parents.
    for node in graph.nodes.iter().rev() {
        let slots = inside.get_mut(node.id.0 as usize).map(std::mem::take).unwrap_or_default();
        let mut all = own(walk, node, &refills, &next, times);
        match &node.kind {
            // A branch takes one way; of a step and its fallback one has the effect.
            _ if matches!(node.kind, NodeKind::Branch { .. })
                || matches!(node.on_error, OnError::Fallback(_)) =>
            {
                for uses in slots.values() {
                    for (stock, used) in uses {
                        let entry = all.entry(stock.clone()).or_default();
                        entry.drawn = entry.drawn.max(used.drawn);
                        entry.delivered = entry.delivered.max(used.delivered);
                    }
                }
            }
            _ => {
                let rounds = match &node.kind {
                    NodeKind::Repeat { max_times, .. } => f64::from(*max_times),
                    NodeKind::ForEach { values, .. } => values.len() as f64,
                    _ => 1.0,
                };
                for uses in slots.values() {
                    add(&mut all, uses, rounds);
                }
            }
        }
        match node.parent.and_then(|p| inside.get_mut(p.0 as usize)) {
            Some(parent) => add(parent.entry(node.slot).or_default(), &all, 1.0),
            None => add(&mut total, &all, 1.0),
        }
    }
    total
}

fn add(to: &mut Uses, uses: &Uses, times: f64) {
    for (stock, used) in uses {
        let entry = to.entry(stock.clone()).or_default();
        entry.drawn += used.drawn * times;
        entry.delivered += used.delivered * times;
    }
}

/// Instruments that are filled from their stock in this protocol: dispensing then takes from the
/// instrument, not from the stock.
fn refilled(walk: &Walk<'_>, graph: &Graph) -> Vec<String> {
    let mut all: Vec<String> = graph
        .nodes
        .iter()
        .filter(|n| walk.moved.get(&n.id).is_some_and(|m| m.fills))
        .filter_map(|n| match &n.kind {
            NodeKind::Action { instrument, .. } => Some(instrument.clone()),
            _ => None,
        })
        .collect();
    all.sort();
    all.dedup();
    all
}

/// When the next command with an effect goes to the same instrument, by node.
fn next_commands(graph: &Graph, times: &Times) -> BTreeMap<NodeId, f64> {
    let mut by_instrument: BTreeMap<&str, Vec<(f64, NodeId)>> = BTreeMap::new();
    for node in &graph.nodes {
        let NodeKind::Action { instrument, effect, .. } = &node.kind else { continue };
        let in_finally = graph.finally.is_some_and(|root| node.id >= root);
        if *effect == crate::compiler::graph::Effect::Read || in_finally {
            continue;
        }
        by_instrument.entry(instrument).or_default().push((times.start(node.id), node.id));
    }
    let mut next = BTreeMap::new();
    for list in by_instrument.values_mut() {
        list.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        for pair in list.windows(2) {
            if let [(_, id), (at, _)] = pair {
                next.insert(*id, *at);
            }
        }
    }
    next
}

/// What one node takes and gives in one pass.
fn own(
    walk: &Walk<'_>,
    node: &Node,
    refilled: &[String],
    next: &BTreeMap<NodeId, f64>,
    times: &Times,
) -> Uses {
    let mut uses = Uses::new();
    let Some(moved) = walk.moved.get(&node.id) else { return uses };
    for (stock, amount) in &moved.consumed {
        uses.entry(stock.clone()).or_default().drawn += amount;
    }
    let NodeKind::Action { instrument, .. } = &node.kind else { return uses };
    let Some(entry) = walk.request.lab.instrument(instrument) else { return uses };
    let running = next.get(&node.id).copied().unwrap_or_else(|| times.body_end());
    let volume =
        moved.volume.or_else(|| Some(moved.rate? * (running - times.start(node.id)).max(0.0)));
    let Some(volume) = volume else { return uses };
    let from_stock = moved.fills || !refilled.contains(instrument);
    if let Some(stock) = entry.draws.as_ref().filter(|_| from_stock && moved.consumed.is_empty()) {
        uses.entry(stock.value.clone()).or_default().drawn += volume;
    }
    if let Some(stock) = entry.delivers.as_ref().filter(|_| !moved.fills) {
        uses.entry(stock.value.clone()).or_default().delivered += volume;
    }
    uses
}

/// Change of a level over some steps: at their end, and the highest on the way.
#[derive(Clone, Copy, Default)]
struct Level {
    net: f64,
    high: f64,
}

impl Level {
    fn then(self, next: Level) -> Level {
        Level { net: self.net + next.net, high: self.high.max(self.net + next.high) }
    }

    fn times(self, rounds: f64) -> Level {
        let more = (rounds - 1.0).max(0.0);
        Level { net: self.net * rounds, high: self.high + (self.net * more).max(0.0) }
    }
}

/// What is filled into an instrument against what it holds.
fn syringes(walk: &mut Walk<'_>, graph: &Graph) {
    for instrument in &walk.request.lab.instruments {
        let Some(holds) = &instrument.holds else { continue };
        let mut levels: BTreeMap<NodeId, BTreeMap<u32, Level>> = BTreeMap::new();
        let mut filling: Option<NodeId> = None;
        for node in graph.nodes.iter().rev() {
            let slots = levels.remove(&node.id).unwrap_or_default();
            let inside = match &node.kind {
                NodeKind::Branch { .. } => slots
                    .values()
                    .copied()
                    .reduce(|a, b| Level { net: a.net.max(b.net), high: a.high.max(b.high) }),
                _ => slots.values().copied().reduce(Level::then),
            };
            let rounds = match &node.kind {
                NodeKind::Repeat { max_times, .. } => f64::from(*max_times),
                NodeKind::ForEach { values, .. } => values.len() as f64,
                _ => 1.0,
            };
            let mut level = inside.unwrap_or_default().times(rounds);
            if let (NodeKind::Action { instrument: of, .. }, Some(moved)) =
                (&node.kind, walk.moved.get(&node.id))
                && *of == instrument.name.value
                && let Some(volume) = moved.volume
            {
                let net = if moved.fills { volume } else { -volume };
                level = Level { net, high: net.max(0.0) };
                if moved.fills {
                    filling = Some(node.id);
                }
            }
            if level.net == 0.0 && level.high == 0.0 {
                continue;
            }
            // Nodes come from the last to the first: this one stands before what is there.
            if let Some(parent) = node.parent {
                let entry = levels.entry(parent).or_default().entry(node.slot).or_default();
                *entry = level.then(*entry);
            } else if level.high > holds.value.value * (1.0 + SLACK)
                && let Some(span) = filling.and_then(|id| span_of(walk, id))
            {
                let show = |value: f64| Quantity { value, ..holds.value }.to_string();
                walk.report.push(
                    Diagnostic::error(
                        codes::VOLUME_ABOVE_CAPACITY,
                        span,
                        format!(
                            "fill `{}` with less: {} would be in it, it holds {}",
                            instrument.name.value,
                            show(level.high),
                            show(holds.value.value)
                        ),
                    )
                    .label("fills it")
                    .also(holds.span, "what it holds"),
                );
            }
        }
    }
}
