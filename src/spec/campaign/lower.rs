//! Tree to campaign: reading, and what a campaign can be checked for on its own.

use std::collections::BTreeSet;

use crate::spec::Kind;
use crate::spec::codes;
use crate::spec::diagnostic::{Checked, Diagnostic};
use crate::spec::lab::lower::same_dimension;
use crate::spec::protocol::lower::unattended;
use crate::spec::reader::{Fields, Item, NameForm, Reader};
use crate::spec::shared;
use crate::spec::source::{SourceFile, Span, Spanned};
use crate::spec::tree::NodeKind;
use crate::spec::value::{Condition, Named, Written};

use super::tables::{
    BUDGET, CAMPAIGN, CONSTRAINTS, FAILED_RUN, INTERVAL, MAX_AT_ONCE, MAX_EXPERIMENTS,
    MAX_PRIORITY, OBJECTIVE, PLANNER, STOP,
};
use super::{
    Approve, Budget, Campaign, Dimension, InDoubt, Objective, OnFailedRun, PlannerDecl, Range, Stop,
};

/// Most values of a range with a step; more is a continuous range.
const MAX_STEPS: f64 = 100_000.0;

impl Campaign {
    /// Reads a campaign. All mistakes at once; a value may be there in spite of them.
    pub fn lower(file: &SourceFile) -> Checked<Campaign> {
        shared::document(file, Kind::Campaign, &CAMPAIGN, |r, f| {
            let empty = || Spanned::new(String::new(), f.span.at_start());
            let name = f.get("name").and_then(|item| r.name(item, NameForm::Word));
            let constraints = f.get("constraints").and_then(|item| r.object(item, &CONSTRAINTS));
            let constraint = |r: &mut Reader<'_>, key: &str, root: &str| {
                let item = constraints.as_ref().and_then(|c| c.get(key));
                let conditions = r.list(item, Reader::condition);
                only_reads(r, &conditions, key, root);
                conditions
            };
            let campaign = Campaign {
                source: file.id,
                name: name.unwrap_or_else(empty),
                doc: r.doc(f.get("doc")),
                protocol: f.get("protocol").and_then(|item| r.text(item)).unwrap_or_else(empty),
                lab: f.get("lab").and_then(|item| r.text(item)),
                roles: r.named(f.get("roles"), NameForm::Identifier, |r, item| {
                    r.name(item, NameForm::Identifier)
                }),
                space: space(r, f),
                fixed: r.named(f.get("fixed"), NameForm::Identifier, |r, item| r.written(item)),
                objectives: objectives(r, f),
                input_constraints: constraint(r, "inputs", "params"),
                outcome_constraints: constraint(r, "outcomes", "results"),
                planner: planner(r, f.get("planner")),
                parallel: f.get("parallel").and_then(|item| r.count32(item, 1, MAX_AT_ONCE)),
                priority: f.get("priority").and_then(|item| r.count32(item, 0, MAX_PRIORITY)),
                replicates: f.get("replicates").and_then(|item| r.count32(item, 1, MAX_AT_ONCE)),
                on_failed_run: on_failed_run(r, f.get("on_failed_run")),
                in_doubt: f
                    .get("in_doubt")
                    .and_then(|item| {
                        r.word(item, &[("ask", InDoubt::Ask), ("discard", InDoubt::Discard)])
                    })
                    .map(|word| word.value)
                    .unwrap_or_default(),
                budget: budget(r, f),
                stop: stop(r, f.get("stop")),
                approve: approve(r, f.get("approve")),
                unattended: unattended(r, f),
            };
            both_set(r, &campaign);
            Some(campaign)
        })
    }
}

fn space(r: &mut Reader<'_>, f: &Fields<'_>) -> Vec<Dimension> {
    let entries = r.map(f.get("space"), NameForm::Identifier);
    if let Some(item) = f.get("space")
        && matches!(&item.node.kind, NodeKind::Map(map) if map.is_empty())
    {
        r.push(
            Diagnostic::error(
                codes::NOTHING_TO_SEARCH,
                item.span(),
                "name at least one parameter under `space`",
            )
            .label("nothing to search")
            .fix("space:\n  temperature: {from: 40 degC, to: 110 degC}"),
        );
    }
    let mut out = Vec::new();
    for (name, item) in entries {
        let span = item.span();
        let range = if matches!(item.node.kind, NodeKind::List(_)) {
            options(r, item).map(|values| Range::Options { values, descriptors: Vec::new() })
        } else {
            r.object(item, &INTERVAL).and_then(|inner| range(r, &name, &inner))
        };
        if let Some(range) = range {
            out.push(Dimension { name, range, span });
        }
    }
    out
}

fn options(r: &mut Reader<'_>, item: Item<'_>) -> Option<Vec<Written>> {
    let values = r.list(Some(item), |r, item| {
        if !matches!(item.node.kind, NodeKind::Scalar { .. }) {
            r.wrong_kind(item, "a list of single values", "[a, b]");
            return None;
        }
        let text = r.text(item)?;
        let quoted = matches!(&item.node.kind, NodeKind::Scalar { quoted: true, .. });
        Some(Written::Scalar { text: text.value, quoted, span: text.span })
    });
    if values.is_empty() {
        r.push(
            Diagnostic::error(
                codes::NOTHING_TO_SEARCH,
                item.span(),
                format!("list at least one value for `{}`", item.key),
            )
            .label("nothing to choose from"),
        );
        return None;
    }
    let texts: Vec<Spanned<String>> = values
        .iter()
        .filter_map(|value| match value {
            Written::Scalar { text, span, .. } => Some(Spanned::new(text.clone(), *span)),
            _ => None,
        })
        .collect();
    r.no_repeats(&texts);
    Some(values)
}

fn range(r: &mut Reader<'_>, name: &Spanned<String>, f: &Fields<'_>) -> Option<Range> {
    if f.has("options") {
        for key in ["from", "to", "scale", "step"] {
            if let Some(span) = f.key_span(key) {
                r.push(
                    Diagnostic::error(
                        codes::NOT_WITH,
                        span,
                        format!("remove `{key}`: `{}` has options", name.value),
                    )
                    .label("belongs to a range"),
                );
            }
        }
        let values = f.get("options").and_then(|item| options(r, item))?;
        let descriptors = descriptors(r, f, &values);
        return Some(Range::Options { values, descriptors });
    }
    if let Some(span) = f.key_span("descriptors") {
        r.push(
            Diagnostic::error(codes::NOT_WITH, span, "remove `descriptors`, or give `options`")
                .label("describes options"),
        );
    }
    for key in ["from", "to"] {
        if !f.has(key) && !f.has_unknown() {
            r.push(
                Diagnostic::error(
                    codes::MISSING_KEY,
                    name.span,
                    format!("add `{key}` to `{}`: which values are tried?", name.value),
                )
                .label(format!("no `{key}`"))
                .fix(format!("{}: {{from: 40 degC, to: 110 degC}}", name.value)),
            );
        }
    }
    let from = f.get("from").and_then(|item| r.any_quantity(item));
    let to = f.get("to").and_then(|item| r.any_quantity(item));
    let step = f.get("step").and_then(|item| r.any_quantity(item));
    let scale = f.get("scale").and_then(|item| r.word(item, &[("linear", false), ("log", true)]));
    let (from, to) = (from?, to?);
    if !same_dimension(r, &from, &to, "to") {
        return None;
    }
    if from.value.value >= to.value.value {
        let equal = from.value.value == to.value.value;
        let message = if equal {
            format!("move `{}` to `fixed`, or give it a range", name.value)
        } else {
            "exchange `from` and `to`".to_owned()
        };
        r.push(
            Diagnostic::error(codes::RANGE_EMPTY, from.span, message)
                .label(if equal { "one value only" } else { "above `to`" })
                .also(to.span, "`to`"),
        );
        return None;
    }
    let log = scale.is_some_and(|word| word.value);
    if log && (from.value.value <= 0.0 || from.value.point) {
        r.push(
            Diagnostic::error(
                codes::LOG_SCALE,
                from.span,
                "choose a `from` above zero, or `scale: linear`",
            )
            .label(if from.value.point { "a temperature on a scale" } else { "zero or below" })
            .reason("the logarithm needs values above zero"),
        );
    }
    let step = step.filter(|step| step_fits(r, &from, &to, step));
    Some(Range::Interval { from, to, log, step })
}

fn step_fits(
    r: &mut Reader<'_>,
    from: &Spanned<crate::units::Quantity>,
    to: &Spanned<crate::units::Quantity>,
    step: &Spanned<crate::units::Quantity>,
) -> bool {
    if step.value.point {
        let raw = r.file.slice(step.span.range()).to_owned();
        let number = raw.split_whitespace().next().unwrap_or("1").to_owned();
        r.push(
            Diagnostic::error(
                codes::TEMPERATURE_DIFFERENCE,
                step.span,
                "give `step` in K: it is a difference of temperatures",
            )
            .label("a point on a temperature scale")
            .fix(format!("step: {number} K")),
        );
        return false;
    }
    if !same_dimension(r, from, step, "step") {
        return false;
    }
    let width = to.value.value - from.value.value;
    let count = width / step.value.value;
    let problem = if step.value.value <= 0.0 {
        Some("not above zero")
    } else if count < 1.0 {
        Some("wider than the range")
    } else if count > MAX_STEPS {
        Some("more than 100,000 values: leave `step` out")
    } else {
        None
    };
    if let Some(problem) = problem {
        r.push(
            Diagnostic::error(
                codes::RANGE_STEP,
                step.span,
                "choose a `step` that fits between `from` and `to`",
            )
            .label(problem)
            .also(from.span.to(to.span), "the range"),
        );
    }
    problem.is_none()
}

fn descriptors(r: &mut Reader<'_>, f: &Fields<'_>, values: &[Written]) -> Vec<Named<Vec<f64>>> {
    let lists = r.named(f.get("descriptors"), NameForm::Word, |r, item| {
        let numbers = r.list(Some(item), Reader::number);
        Some(numbers.into_iter().map(|n| n.value).collect::<Vec<f64>>())
    });
    let Some(first) = lists.first() else { return lists };
    let length = first.value.len();
    let words: BTreeSet<&str> = values
        .iter()
        .filter_map(|value| match value {
            Written::Scalar { text, .. } => Some(text.as_str()),
            _ => None,
        })
        .collect();
    for list in &lists {
        let problem = if !words.contains(list.name.value.as_str()) {
            Some("not one of the options".to_owned())
        } else if list.value.len() != length || length == 0 {
            Some(format!("{} numbers, not {length}", list.value.len()))
        } else {
            None
        };
        if let Some(problem) = problem {
            r.push(
                Diagnostic::error(
                    codes::DESCRIPTORS,
                    list.name.span,
                    "give each option the same count of numbers",
                )
                .label(problem)
                .also(first.name.span, format!("{length} numbers here")),
            );
        }
    }
    let described: BTreeSet<&str> = lists.iter().map(|list| list.name.value.as_str()).collect();
    if let Some(missing) = words.difference(&described).next() {
        let at = f.key_span("descriptors").unwrap_or(f.span);
        r.push(
            Diagnostic::error(codes::DESCRIPTORS, at, format!("add numbers for `{missing}`"))
                .label("an option without numbers"),
        );
    }
    lists
}

fn objectives(r: &mut Reader<'_>, f: &Fields<'_>) -> Vec<Objective> {
    if let Some(item) = f.get("objectives")
        && matches!(&item.node.kind, NodeKind::List(items) if items.is_empty())
    {
        r.push(
            Diagnostic::error(codes::NOTHING_TO_SEARCH, item.span(), "name at least one objective")
                .label("nothing to reach")
                .fix("objectives:\n  - {result: yield, goal: maximize}"),
        );
    }
    let objectives = r.list(f.get("objectives"), |r, item| {
        let f = r.object(item, &OBJECTIVE)?;
        let result = f.get("result").and_then(|item| r.name(item, NameForm::Identifier));
        let goal =
            f.get("goal").and_then(|item| r.word(item, &[("maximize", true), ("minimize", false)]));
        let noise = f.get("noise").and_then(|item| r.name(item, NameForm::Identifier));
        let reference = f.get("reference").and_then(|item| r.any_quantity(item));
        Some(Objective { result: result?, maximize: goal?.value, noise, reference, span: f.span })
    });
    shared::unique(r, "objective", objectives.iter().map(|o| &o.result));
    objectives
}

/// Reports a constraint that reads something it cannot know.
fn only_reads(r: &mut Reader<'_>, conditions: &[Condition], key: &str, root: &str) {
    for condition in conditions {
        for path in condition.expr.names() {
            let Some(first) = path.first().filter(|first| *first != root) else { continue };
            let shown = path.join(".");
            let at = condition.text.find(shown.as_str()).unwrap_or(0);
            let place = condition.place(at..at + shown.len());
            let hint = match (first.as_str(), key) {
                ("results", "inputs") => {
                    "move it to `outcomes`: results are known only after a run".to_owned()
                }
                ("params", "outcomes") => {
                    "move it to `inputs`: it can be checked before a run".to_owned()
                }
                _ => format!(
                    "`{key}` may read `{root}` only: write `{root}.{shown}` if that is meant"
                ),
            };
            r.push(
                Diagnostic::error(codes::CONSTRAINT_READS, place, hint)
                    .label(format!("not one of {root}")),
            );
            break;
        }
    }
}

fn planner(r: &mut Reader<'_>, item: Option<Item<'_>>) -> PlannerDecl {
    let Some(f) = item.and_then(|item| r.object(item, &PLANNER)) else {
        return PlannerDecl::default();
    };
    PlannerDecl {
        initial: f.get("initial").and_then(|item| r.count32(item, 1, MAX_EXPERIMENTS)),
        batch: f.get("batch").and_then(|item| r.count32(item, 1, MAX_AT_ONCE)),
        seed: f.get("seed").and_then(|item| r.count(item, 0, u64::MAX)),
    }
}

fn on_failed_run(r: &mut Reader<'_>, item: Option<Item<'_>>) -> OnFailedRun {
    let Some(f) = item.and_then(|item| r.object(item, &FAILED_RUN)) else {
        return OnFailedRun::default();
    };
    let count_as =
        f.get("count_as").and_then(|item| r.word(item, &[("failed", false), ("nothing", true)]));
    OnFailedRun {
        leave_out: count_as.is_some_and(|word| word.value),
        pause_after: f.get("pause_after").and_then(|item| r.count32(item, 1, MAX_EXPERIMENTS)),
        budget: f.get("budget").and_then(|item| r.count32(item, 1, MAX_EXPERIMENTS)),
    }
}

fn budget(r: &mut Reader<'_>, campaign: &Fields<'_>) -> Budget {
    let span = campaign.key_span("budget").or(campaign.key_span("name")).unwrap_or(campaign.span);
    let Some(item) = campaign.get("budget") else { return Budget { span, ..Budget::default() } };
    let Some(f) = r.object(item, &BUDGET) else { return Budget { span, ..Budget::default() } };
    if !f.has("experiments") && !f.has("time") && !f.has("stock") && !f.has_unknown() {
        r.push(
            Diagnostic::error(
                codes::NO_BUDGET,
                f.span,
                "say when the campaign must end: experiments, time or stock",
            )
            .label("no end")
            .fix("budget: {experiments: 60}"),
        );
    }
    Budget {
        experiments: f.get("experiments").and_then(|item| r.count32(item, 1, MAX_EXPERIMENTS)),
        time: f.get("time").and_then(|item| r.time(item)),
        stock: r.named(f.get("stock"), NameForm::Identifier, |r, item| r.any_quantity(item)),
        span: f.span,
    }
}

fn stop(r: &mut Reader<'_>, item: Option<Item<'_>>) -> Stop {
    let Some(f) = item.and_then(|item| r.object(item, &STOP)) else { return Stop::default() };
    Stop {
        any: r.list(f.get("any"), Reader::condition),
        all: r.list(f.get("all"), Reader::condition),
    }
}

fn approve(r: &mut Reader<'_>, item: Option<Item<'_>>) -> Approve {
    let words = [
        ("never", Approve::Never),
        ("first_batch", Approve::FirstBatch),
        ("every", Approve::Every),
    ];
    item.and_then(|item| r.word(item, &words)).map(|word| word.value).unwrap_or_default()
}

/// Reports parameters that are searched and fixed.
fn both_set(r: &mut Reader<'_>, campaign: &Campaign) {
    for fixed in &campaign.fixed {
        let searched: Option<Span> =
            campaign.space.iter().find(|d| d.name.value == fixed.name.value).map(|d| d.name.span);
        if let Some(searched) = searched {
            r.push(
                Diagnostic::error(
                    codes::DUPLICATE_NAME,
                    fixed.name.span,
                    format!("keep `{}` in `space` or in `fixed`, not in both", fixed.name.value),
                )
                .label("fixed here")
                .also(searched, "searched here"),
            );
        }
    }
}
