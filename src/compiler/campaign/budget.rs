//! What a whole campaign needs, and whether its constraints leave anything to try.

use std::collections::BTreeMap;

use super::{AxisKind, Search};
use crate::compiler::graph::Graph;
use crate::expr::{self, Env, Interval, RangeEnv, Value};
use crate::spec::campaign::Campaign;
use crate::spec::lab::Lab;
use crate::spec::{Diagnostic, Report, codes, nearest};
use crate::units::Quantity;

/// Points tried to find one that the constraints allow.
const POINTS_TRIED: u32 = 20_000;

/// The worst run, as often as the campaign may run, against the stock and the campaign's budget.
pub(super) fn check(campaign: &Campaign, lab: &Lab, graph: &Graph, report: &mut Report) {
    let replicates = campaign.replicates.as_ref().map_or(1, |r| r.value);
    let runs =
        campaign.budget.experiments.as_ref().map(|e| f64::from(e.value) * f64::from(replicates));
    for entry in &campaign.budget.stock {
        let Some(stock) = lab.stock(&entry.name.value) else {
            let names = lab.stock.iter().map(|s| s.name.value.as_str());
            let near = nearest(&entry.name.value, names);
            let message = match near {
                Some(near) => format!("write `{near}` instead of `{}`", entry.name.value),
                None => format!("name a stock of the lab, not `{}`", entry.name.value),
            };
            let mut wrong = Diagnostic::error(codes::UNKNOWN_STOCK, entry.name.span, message)
                .label("no stock of the lab")
                .also(lab.name.span, "the lab");
            wrong.fix = near.map(str::to_owned);
            report.push(wrong);
            continue;
        };
        let budget = entry.value.value;
        if budget.dim != stock.amount.value.dim {
            report.push(
                Diagnostic::error(
                    codes::WRONG_DIMENSION,
                    entry.value.span,
                    format!(
                        "give the budget of `{}` as a {}",
                        entry.name.value,
                        stock.amount.value.dim.name()
                    ),
                )
                .label(format!("this is a {}", budget.dim.name()))
                .also(stock.amount.span, "what there is"),
            );
            continue;
        }
        let drawn = graph.stock.get(&entry.name.value).map_or(0.0, |u| u.drawn);
        if drawn > budget.value * (1.0 + 1e-9) {
            let one = Quantity { value: drawn, ..budget };
            report.push(
                Diagnostic::error(
                    codes::STOCK_TOO_SMALL,
                    entry.value.span,
                    format!("raise this budget: one run may take {one} of `{}`", entry.name.value),
                )
                .label("less than one run needs")
                .fix(one.to_string()),
            );
        }
    }
    let Some(runs) = runs else { return };
    for stock in &lab.stock {
        let Some(used) = graph.stock.get(&stock.name.value) else { continue };
        let dead = stock.dead_volume.as_ref().map_or(0.0, |d| d.value.value);
        let show = |value: f64| Quantity { value, ..stock.amount.value }.to_string();
        let there = (stock.amount.value.value - dead).max(0.0);
        let capped = campaign.budget.stock.iter().find(|b| b.name.value == stock.name.value);
        let needed =
            capped.map_or(used.drawn * runs, |b| b.value.value.value.min(used.drawn * runs));
        let span = campaign.budget.experiments.as_ref().map_or(campaign.budget.span, |e| e.span);
        if needed > there * (1.0 + 1e-9) {
            report.push(
                Diagnostic::warning(
                    codes::BUDGET_ABOVE_STOCK,
                    span,
                    format!(
                        "expect to refill `{}`: {runs} runs take up to {}, it has {}",
                        stock.name.value,
                        show(needed),
                        show(there)
                    ),
                )
                .label(format!("each takes up to {}", show(used.drawn)))
                .also(stock.amount.span, "what there is"),
            );
        }
        if let Some(capacity) = &stock.capacity
            && stock.amount.value.value + used.delivered * runs
                > capacity.value.value * (1.0 + 1e-9)
        {
            report.push(
                Diagnostic::warning(
                    codes::BUDGET_ABOVE_STOCK,
                    span,
                    format!(
                        "expect to empty `{}`: {runs} runs give up to {} to it, it has room for {}",
                        stock.name.value,
                        show(used.delivered * runs),
                        show(capacity.value.value - stock.amount.value.value)
                    ),
                )
                .label(format!("each gives up to {}", show(used.delivered)))
                .also(capacity.span, "what it holds"),
            );
        }
    }
}

/// A point of the box as an environment, and the box itself as ranges.
struct Point(BTreeMap<String, Value>);

impl Env for Point {
    fn value(&self, path: &[String]) -> Option<Value> {
        match path {
            [root, name] if root == "params" => self.0.get(name).cloned(),
            _ => None,
        }
    }
}

struct Space<'a> {
    ranges: &'a BTreeMap<String, Interval>,
    fixed: &'a BTreeMap<String, Value>,
}

impl RangeEnv for Space<'_> {
    fn range(&self, path: &[String]) -> Option<Interval> {
        let [root, name] = path else { return None };
        if root != "params" {
            return None;
        }
        self.ranges.get(name).copied().or_else(|| {
            self.fixed.get(name).and_then(Value::as_quantity).map(|q| Interval::point(q.value))
        })
    }
}

/// Whether the input constraints leave anything. A constraint that is false over the whole box is
/// proof that they do not; where intervals cannot tell, points of an additive recurrence are
/// tried, and a warning says how many.
pub(super) fn feasible(
    campaign: &Campaign,
    search: &Search,
    ranges: &BTreeMap<String, Interval>,
    report: &mut Report,
) {
    if search.input_constraints.is_empty() || report.has_errors() {
        return;
    }
    let whole = Space { ranges, fixed: &search.fixed };
    for (written, constraint) in campaign.input_constraints.iter().zip(&search.input_constraints) {
        if expr::truth(constraint, &whole) == Some(false) {
            report.push(
                Diagnostic::error(
                    codes::EMPTY_SPACE,
                    written.span,
                    "loosen this constraint: no point of the space satisfies it",
                )
                .label("false everywhere")
                .also(campaign.name.span, "the campaign's space"),
            );
            return;
        }
    }
    for n in 0..POINTS_TRIED {
        let point = Point(point(search, n));
        let holds = |c: &expr::Expr| matches!(expr::eval(c, &point), Ok(Value::Bool(true)));
        if search.input_constraints.iter().all(holds) {
            return;
        }
    }
    let span = campaign.input_constraints.first().map_or(campaign.name.span, |c| c.span);
    report.push(
        Diagnostic::error(
            codes::EMPTY_SPACE,
            span,
            "loosen the constraints: together they leave nothing to try",
        )
        .label("the first of them")
        .reason(format!("none of {POINTS_TRIED} points spread over the space satisfies them all")),
    );
}

/// The n-th point of an additive recurrence over the axes, the corners of the box first.
/// Source: Roberts, The unreasonable effectiveness of quasirandom sequences, 2018 (R_d sequence).
fn point(search: &Search, n: u32) -> BTreeMap<String, Value> {
    let mut values = search.fixed.clone();
    let dimensions = search.axes.len().max(1);
    // The root of x^(d+1) = x + 1.
    let mut root: f64 = 1.5;
    for _ in 0..50 {
        root = (1.0 + root).powf(1.0 / (dimensions as f64 + 1.0));
    }
    let corners = 1u32.checked_shl(u32::try_from(dimensions.min(12)).unwrap_or(12)).unwrap_or(0);
    for (index, axis) in search.axes.iter().enumerate() {
        let power = i32::try_from(index).unwrap_or(0) + 1;
        let share = if n < corners {
            f64::from(n >> index.min(31) & 1)
        } else {
            (0.5 + f64::from(n) * root.powi(-power)).fract()
        };
        let value = match &axis.kind {
            AxisKind::Continuous { min, max, .. } => axis.value(min + share * (max - min)),
            AxisKind::Integer { min, max } => axis.value((min + share * (max - min)).round()),
            AxisKind::Discrete { values } => {
                let at = (share * (values.len().saturating_sub(1)) as f64).round() as usize;
                axis.value(values.get(at).copied().unwrap_or(0.0))
            }
            AxisKind::Categorical { choices, .. } => {
                let at = (share * (choices.len().saturating_sub(1)) as f64).round() as usize;
                Value::text(choices.get(at).map_or("", String::as_str))
            }
        };
        values.insert(axis.name.clone(), value);
    }
    values
}
