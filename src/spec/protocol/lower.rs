//! Tree to protocol: reading, and what a protocol can be checked for on its own.

use crate::spec::Kind;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::spec::codes;
use crate::spec::diagnostic::{Checked, Diagnostic};
use crate::spec::nearest::{listed, nearest};
use crate::spec::reader::{Fields, Item, NameForm, Reader};
use crate::spec::shared;
use crate::spec::source::{SourceFile, Span, Spanned};
use crate::spec::table::Key;
use crate::spec::tree::NodeKind;
use crate::spec::value::{Expression, Named};

use super::tables::{
    COMMON, FAILURE_KINDS, MAX_FACTOR, MAX_RETRIES, MAX_ROUNDS, ON_ERROR, PROTOCOL, REPEAT, RESULT,
    RESUME, RETRY, ROLE, SAMPLE, STEP, WORDS,
};
use super::{Branch, OnErrorDecl, Protocol, ResultDecl, RetryDecl, Role, Sample, Step, StepKind};

impl Protocol {
    /// Reads a protocol. All mistakes at once; a value may be there in spite of them.
    pub fn lower(file: &SourceFile) -> Checked<Protocol> {
        shared::document(file, Kind::Protocol, &PROTOCOL, |r, f| {
            let name = f.get("name").and_then(|item| r.name(item, NameForm::Word));
            let protocol = Protocol {
                source: file.id,
                name: name.unwrap_or_else(|| Spanned::new(String::new(), f.span.at_start())),
                doc: r.doc(f.get("doc")),
                unattended: unattended(r, f),
                parameters: shared::value_specs(r, f.get("parameters"), &shared::PARAMETER),
                derived: r.named(f.get("derived"), NameForm::Identifier, |r, item| r.written(item)),
                roles: roles(r, f.get("roles")),
                samples: samples(r, f.get("samples")),
                require: r.list(f.get("require"), Reader::condition),
                resume_within: resume(r, f.get("resume")),
                steps: steps(r, f.get("steps")),
                finally: steps(r, f.get("finally")),
                results: results(r, f.get("results")),
            };
            ids(r, &protocol);
            Some(protocol)
        })
    }
}

/// `unattended: allowed | forbidden`.
pub(in crate::spec) fn unattended(r: &mut Reader<'_>, f: &Fields<'_>) -> Option<Spanned<bool>> {
    r.word(f.get("unattended")?, &[("allowed", true), ("forbidden", false)])
}

/// `resume: {within: 30 min}`.
fn resume(r: &mut Reader<'_>, item: Option<Item<'_>>) -> Option<Spanned<Duration>> {
    let f = r.object(item?, &RESUME)?;
    f.get("within").and_then(|item| r.time(item))
}

fn roles(r: &mut Reader<'_>, item: Option<Item<'_>>) -> Vec<Role> {
    let mut out = Vec::new();
    for (name, item) in r.map(item, NameForm::Identifier) {
        let Some(f) = r.object(item, &ROLE) else { continue };
        let kind = f.get("type").and_then(|item| r.name(item, NameForm::Word));
        let ports = r.names(f.get("ports"), NameForm::Word);
        let doc = r.doc(f.get("doc"));
        if let Some(kind) = kind {
            out.push(Role { name, kind, ports, doc, span: f.span });
        }
    }
    out
}

fn samples(r: &mut Reader<'_>, item: Option<Item<'_>>) -> Vec<Sample> {
    let mut out = Vec::new();
    for (name, item) in r.map(item, NameForm::Identifier) {
        let Some(f) = r.object(item, &SAMPLE) else { continue };
        let labware = f.get("labware").and_then(|item| r.name(item, NameForm::Word));
        let at = f.get("at").and_then(|item| r.name(item, NameForm::Identifier));
        let doc = r.doc(f.get("doc"));
        if let Some(at) = at {
            out.push(Sample { name, labware, at, doc, span: f.span });
        }
    }
    out
}

fn results(r: &mut Reader<'_>, item: Option<Item<'_>>) -> Vec<ResultDecl> {
    let mut out = Vec::new();
    for (name, item) in r.map(item, NameForm::Identifier) {
        let Some(f) = r.object(item, &RESULT) else { continue };
        let value = f.get("value").and_then(|item| r.value_expression(item));
        let unit = f.get("unit").and_then(|item| r.unit(item));
        let doc = r.doc(f.get("doc"));
        if let Some(value) = value {
            out.push(ResultDecl { name, value, unit, doc, span: f.span });
        }
    }
    out
}

/// A list of steps; an empty one is reported.
fn steps(r: &mut Reader<'_>, item: Option<Item<'_>>) -> Vec<Step> {
    if let Some(item) = item
        && let NodeKind::List(items) = &item.node.kind
        && items.is_empty()
    {
        r.push(
            Diagnostic::error(
                codes::NO_STEPS,
                item.span(),
                format!("write at least one step under `{}`, or remove it", item.key),
            )
            .label("no steps")
            .fix(format!("{}:\n  - wait: 1 s", item.key)),
        );
        return Vec::new();
    }
    let steps = r.list(item, step);
    after(r, &steps);
    steps
}

fn step(r: &mut Reader<'_>, item: Item<'_>) -> Option<Step> {
    let f = r.object(Item { key: "step", node: item.node }, &STEP)?;
    let word = step_word(r, &f)?;
    beside(r, &f, word);
    let key = f.key_span(word).unwrap_or(f.span);
    // Read before the kind, so that findings of one step come in the order of its parts even
    // when its kind cannot be read.
    let id = f.get("id").and_then(|item| r.name(item, NameForm::Identifier));
    let kind = step_kind(r, &f, word);
    let after = r.names(f.get("after"), NameForm::Identifier);
    let within = f.get("within").and_then(|item| r.time_expression(item));
    let timeout = f.get("timeout").and_then(|item| r.time_expression(item));
    let retry = f.get("retry").and_then(|item| retry(r, item));
    let on_error = f.get("on_error").and_then(|item| on_error(r, item));
    let doc = r.doc(f.get("doc"));
    Some(Step {
        id,
        doc,
        kind: kind?,
        after,
        within,
        timeout,
        retry,
        on_error,
        word: key,
        span: f.span,
    })
}

/// The one word that makes the step what it is.
fn step_word(r: &mut Reader<'_>, f: &Fields<'_>) -> Option<&'static str> {
    let mut words: Vec<(&'static str, Span)> =
        WORDS.iter().filter_map(|(word, _)| Some((*word, f.key_span(word)?))).collect();
    // `steps` is the body of a `for_each`, and a word of its own otherwise.
    if words.iter().any(|(word, _)| *word == "for_each") {
        words.retain(|(word, _)| *word != "steps");
    }
    words.sort_by_key(|(_, span)| span.start);
    match words.as_slice() {
        [(word, _)] => Some(word),
        [] => {
            let all = WORDS.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
            // A misspelt word was reported as an unknown key with the right one.
            if !f.has_unknown() {
                r.push(
                    Diagnostic::error(
                        codes::STEP_WORD,
                        f.span,
                        "say what this step does: none of the words that do something stands in it",
                    )
                    .label("this step does nothing")
                    .reason(format!("a step has exactly one of: {all}")),
                );
            }
            None
        }
        [(first, at), (second, again), ..] => {
            r.push(
                Diagnostic::error(
                    codes::STEP_WORD,
                    *again,
                    format!("begin a new step with `- {second}:`: this one already has `{first}`"),
                )
                .label("a second thing to do")
                .also(*at, "the first")
                .reason("steps run in the order written, and one line does one thing"),
            );
            Some(first)
        }
    }
}

/// Reports keys that have no meaning for this word.
fn beside(r: &mut Reader<'_>, f: &Fields<'_>, word: &str) {
    let Some((_, allowed)) = WORDS.iter().find(|(w, _)| *w == word) else { return };
    for Key { name, .. } in STEP.keys {
        let known = *name == word
            || COMMON.contains(name)
            || allowed.contains(name)
            // Two words in one step were reported already.
            || WORDS.iter().any(|(w, _)| w == name);
        if known {
            continue;
        }
        let Some(span) = f.key_span(name) else { continue };
        let owners: Vec<&str> =
            WORDS.iter().filter(|(_, keys)| keys.contains(name)).map(|(w, _)| *w).collect();
        r.push(
            Diagnostic::error(
                codes::NOT_WITH,
                span,
                format!("remove `{name}`: it has no meaning for `{word}`"),
            )
            .label("would do nothing here")
            .reason(format!("`{name}` belongs to: {}", owners.join(", "))),
        );
    }
}

fn step_kind(r: &mut Reader<'_>, f: &Fields<'_>, word: &str) -> Option<StepKind> {
    let arguments = |r: &mut Reader<'_>| {
        r.named(f.get("with"), NameForm::Identifier, |r, item| r.written(item))
    };
    match word {
        "do" => {
            let target = f.get("do").and_then(|item| role_action(r, item));
            let with = arguments(r);
            let consumes = consumes(r, f.get("consumes"));
            let expires = f.get("expires").and_then(|item| r.time_expression(item));
            let uses = r.names(f.get("uses"), NameForm::Identifier);
            let (role, action) = target?;
            Some(StepKind::Do { role, action, with, consumes, expires, uses })
        }
        "move" => {
            let sample = f.get("move").and_then(|item| r.name(item, NameForm::Identifier));
            let to = f.get("to").and_then(|item| r.name(item, NameForm::Identifier));
            let by = f.get("by").and_then(|item| r.name(item, NameForm::Identifier));
            if !f.has("to") {
                let at = f.key_span("move").unwrap_or(f.span);
                r.push(
                    Diagnostic::error(codes::MISSING_KEY, at, "add `to`: where does it go?")
                        .label("no place to go to")
                        .fix("to: rack"),
                );
            }
            if by.is_none() && !f.has("by") {
                bounded(r, f, "move", codes::UNBOUNDED_QUESTION, "nobody may be there to move it");
            }
            Some(StepKind::Move { sample: sample?, to: to?, by })
        }
        "wait" => Some(StepKind::Wait { duration: r.time_expression(f.get("wait")?)? }),
        "wait_until" => {
            bounded(r, f, word, codes::UNBOUNDED_WAIT, "say when to give up");
            let condition = f.get("wait_until").and_then(|item| r.condition(item));
            let stable_for = f.get("stable_for").and_then(|item| r.time_expression(item));
            Some(StepKind::WaitUntil { condition: condition?, stable_for })
        }
        "parallel" => {
            let branches = r
                .map(f.get("parallel"), NameForm::Identifier)
                .into_iter()
                .map(|(name, item)| Branch { steps: steps(r, Some(item)), name })
                .collect();
            let start_together = f.get("start_together").and_then(|item| r.time_expression(item));
            Some(StepKind::Parallel { branches, start_together })
        }
        "steps" => {
            let hold = r.names(f.get("hold"), NameForm::Identifier);
            Some(StepKind::Group { hold, steps: steps(r, f.get("steps")) })
        }
        "repeat" => repeat(r, f),
        "for_each" => for_each(r, f),
        "if" => {
            let condition = f.get("if").and_then(|item| r.condition(item));
            let then = steps(r, f.get("then"));
            let otherwise = steps(r, f.get("else"));
            if !f.has("then") && !f.has("else") {
                let at = f.key_span("if").unwrap_or(f.span);
                r.push(
                    Diagnostic::error(
                        codes::MISSING_KEY,
                        at,
                        "add `then`: what to do if the condition holds",
                    )
                    .label("neither then nor else")
                    .fix("then:\n  - log: it holds"),
                );
            }
            Some(StepKind::If { condition: condition?, then, otherwise })
        }
        "ask" => ask(r, f),
        "log" => Some(StepKind::Log { message: r.text_expression(f.get("log")?)? }),
        "analyse" => {
            let item = f.get("analyse")?;
            if matches!(item.node.kind, NodeKind::Map(_)) {
                bounded(r, f, word, codes::UNBOUNDED_WAIT, "when has the program failed?");
                let process = super::process::process(r, f, item);
                let with = arguments(r);
                let function = Spanned::new("process".to_owned(), item.span());
                return Some(StepKind::Analyse {
                    function,
                    process: Some(Box::new(process?)),
                    with,
                });
            }
            let function = r.name(item, NameForm::Identifier);
            let with = arguments(r);
            for name in ["returns", "timeout"] {
                let Some(at) = f.key_span(name) else { continue };
                r.push(
                    Diagnostic::error(
                        codes::NOT_WITH,
                        at,
                        format!("remove `{name}`: it is for programs of your own only"),
                    )
                    .label("would do nothing here")
                    .reason(format!("`{name}` belongs to `analyse: {{process: [...]}}`")),
                );
            }
            Some(StepKind::Analyse { function: function?, process: None, with })
        }
        _ => {
            let protocol = f.get("call").and_then(|item| r.text(item));
            let with = arguments(r);
            let roles = r.named(f.get("roles"), NameForm::Identifier, |r, item| {
                r.name(item, NameForm::Identifier)
            });
            Some(StepKind::Call { protocol: protocol?, with, roles })
        }
    }
}

/// Reports a wait or a question without an end.
fn bounded(r: &mut Reader<'_>, f: &Fields<'_>, word: &str, code: &'static str, how: &str) {
    if f.has("timeout") {
        return;
    }
    let at = f.key_span(word).unwrap_or(f.span);
    r.push(
        Diagnostic::error(code, at, format!("add a `timeout` to `{word}`: {how}"))
            .label("may last for ever")
            .reason("nothing in a lab may hang: every wait and every question has a bound")
            .fix(match word {
                "ask" => "timeout: 15 min\non_timeout: stop",
                "analyse" => "timeout: 60 s",
                _ => "timeout: 30 min",
            }),
    );
}

/// `role.action`.
fn role_action(r: &mut Reader<'_>, item: Item<'_>) -> Option<(Spanned<String>, Spanned<String>)> {
    let text = r.text(item)?;
    dotted(r, &text, item.key, "role.action")
}

/// Two names joined by a dot, each with its place.
pub(in crate::spec) fn dotted(
    r: &mut Reader<'_>,
    text: &Spanned<String>,
    key: &str,
    form: &str,
) -> Option<(Spanned<String>, Spanned<String>)> {
    let raw = r.file.slice(text.span.range());
    // In quotes the names begin one byte later.
    let skip = u32::from(raw.starts_with(['"', '\'']));
    let part = |from: usize, len: usize| {
        let start = text.span.start + skip + u32::try_from(from).unwrap_or(0);
        let end = (start + u32::try_from(len).unwrap_or(0)).min(text.span.end);
        Span { start: start.min(end), end, ..text.span }
    };
    let parts = text
        .value
        .split_once('.')
        .filter(|(a, b)| !a.is_empty() && !b.is_empty() && !b.contains('.'));
    let Some((first, second)) = parts else {
        r.push(
            Diagnostic::error(codes::BAD_VALUE, text.span, format!("write `{key}` as {form}"))
                .label("not two names joined by a dot")
                .fix(match form.split_once('.') {
                    Some((first, _)) if !text.value.contains('.') => {
                        format!("{key}: {first}.{}", text.value)
                    }
                    _ => format!("{key}: {form}"),
                }),
        );
        return None;
    };
    let a = Spanned::new(first.to_owned(), part(0, first.len()));
    let b = Spanned::new(second.to_owned(), part(first.len() + 1, second.len()));
    let ok = r.check_name(&a, NameForm::Identifier)
        & (b.value == "*" && form.ends_with('*') || r.check_name(&b, NameForm::Identifier));
    ok.then_some((a, b))
}

fn consumes(r: &mut Reader<'_>, item: Option<Item<'_>>) -> Vec<Named<Expression>> {
    r.named(item, NameForm::Identifier, |r, item| {
        let value = r.value_expression(item)?;
        // A text is no amount; the reader says how an amount is written.
        match value.expr.as_literal() {
            Some(crate::expr::Value::Text(_) | crate::expr::Value::Bool(_)) => {
                r.any_quantity(item);
                None
            }
            _ => Some(value),
        }
    })
}

fn repeat(r: &mut Reader<'_>, f: &Fields<'_>) -> Option<StepKind> {
    let inner = r.object(f.get("repeat")?, &REPEAT)?;
    if !inner.has("max_times") {
        let at = f.key_span("repeat").unwrap_or(inner.span);
        r.push(
            Diagnostic::error(
                codes::UNBOUNDED_LOOP,
                at,
                "add `max_times` to `repeat`: at most how many rounds?",
            )
            .label("may last for ever")
            .reason("a condition may never come true; every loop has a bound")
            .fix("max_times: 10"),
        );
    }
    let max_times = inner.get("max_times").and_then(|item| r.count_expression(item, 1, MAX_ROUNDS));
    let until = inner.get("until").and_then(|item| r.condition(item));
    let steps = steps(r, inner.get("steps"));
    Some(StepKind::Repeat { max_times: max_times?, until, steps })
}

fn for_each(r: &mut Reader<'_>, f: &Fields<'_>) -> Option<StepKind> {
    let item = f.get("for_each")?;
    let mut variables = r.map(Some(item), NameForm::Identifier);
    if variables.len() > 1
        && let Some((second, _)) = variables.get(1)
    {
        r.push(
            Diagnostic::error(
                codes::WRONG_KIND,
                second.span,
                "put a second `for_each` inside this one",
            )
            .label("a second variable"),
        );
    }
    let variable = (!variables.is_empty()).then(|| variables.remove(0));
    let values = variable.and_then(|(name, item)| {
        if let NodeKind::List(items) = &item.node.kind
            && items.is_empty()
        {
            r.push(
                Diagnostic::error(
                    codes::NO_STEPS,
                    item.span(),
                    "give `for_each` at least one value",
                )
                .label("nothing to go through"),
            );
        }
        Some((name, r.written(item)?))
    });
    if !f.has("steps") {
        let at = f.key_span("for_each").unwrap_or(f.span);
        r.push(
            Diagnostic::error(
                codes::MISSING_KEY,
                at,
                "add `steps` beside `for_each`: what to do for each value",
            )
            .label("no steps")
            .fix("steps:\n  - log: one value"),
        );
    }
    let steps = steps(r, f.get("steps"));
    let (variable, values) = values?;
    Some(StepKind::ForEach { variable, values, steps })
}

fn ask(r: &mut Reader<'_>, f: &Fields<'_>) -> Option<StepKind> {
    bounded(r, f, "ask", codes::UNBOUNDED_QUESTION, "nobody may be there to answer");
    let question = f.get("ask").and_then(|item| r.text_expression(item));
    let options = r.names(f.get("options"), NameForm::Word);
    if !f.has("options") {
        let at = f.key_span("ask").unwrap_or(f.span);
        r.push(
            Diagnostic::error(
                codes::MISSING_KEY,
                at,
                "add `options` to `ask`: the answers to choose from",
            )
            .label("no answers")
            .fix("options: [go_on, stop]"),
        );
    }
    let on_timeout = f.get("on_timeout").and_then(|item| r.name(item, NameForm::Word));
    if let Some(answer) = &on_timeout
        && !options.is_empty()
        && !options.iter().any(|o| o.value == answer.value)
    {
        let all: Vec<&str> = options.iter().map(|o| o.value.as_str()).collect();
        let near = nearest(&answer.value, all.iter().copied());
        let better = near.or(all.first().copied()).unwrap_or_default();
        r.push(
            Diagnostic::error(
                codes::UNKNOWN_WORD,
                answer.span,
                format!("take one of the options on timeout, such as `{better}`"),
            )
            .label("not one of the options")
            .reason(format!("the options are: {}", listed(all.iter().copied())))
            .fix(format!("on_timeout: {better}")),
        );
    }
    Some(StepKind::Ask { question: question?, options, on_timeout })
}

fn retry(r: &mut Reader<'_>, item: Item<'_>) -> Option<RetryDecl> {
    let f = r.object(item, &RETRY)?;
    let times = f.get("times").and_then(|item| r.count32(item, 1, MAX_RETRIES));
    let wait = f.get("wait").and_then(|item| r.time_expression(item));
    let factor = f.get("factor").and_then(|item| r.number(item)).filter(|factor| {
        let fits = (1.0..=MAX_FACTOR).contains(&factor.value);
        if !fits {
            r.push(
                Diagnostic::error(
                    codes::RETRY_FACTOR,
                    factor.span,
                    format!("choose a `factor` from 1 to {MAX_FACTOR}"),
                )
                .label("a pause that shrinks, or grows beyond all use")
                .fix("factor: 2"),
            );
        }
        fits
    });
    let max_wait = f.get("max_wait").and_then(|item| r.time_expression(item));
    if !f.has("wait")
        && let Some(key) = ["factor", "max_wait"].into_iter().find(|key| f.has(key))
    {
        r.push(
            Diagnostic::error(
                codes::RETRY_FACTOR,
                f.key_span(key).unwrap_or(f.span),
                format!("add `wait` beside `{key}`: how long is the first pause?"),
            )
            .label("no pause to begin with")
            .fix("wait: 5 s"),
        );
    }
    let words: Vec<(&str, &str)> = FAILURE_KINDS.iter().map(|kind| (*kind, *kind)).collect();
    let only = r.one_or_list(f.get("if"), |r, item| {
        r.word(item, &words).map(|word| word.map(str::to_owned))
    });
    Some(RetryDecl { times: times?, wait, factor, max_wait, only, span: f.span })
}

fn on_error(r: &mut Reader<'_>, item: Item<'_>) -> Option<OnErrorDecl> {
    let span = item.span();
    if matches!(item.node.kind, NodeKind::Map(_)) {
        let f = r.object(item, &ON_ERROR)?;
        let steps = steps(r, f.get("do"));
        return Some(OnErrorDecl::Do(steps, span));
    }
    let words = [("fail", 0_u8), ("continue", 1), ("ask", 2), ("invalid", 3), ("fallback", 4)];
    Some(match r.word(item, &words)?.value {
        0 => OnErrorDecl::Fail(span),
        1 => OnErrorDecl::Continue(span),
        2 => OnErrorDecl::Ask(span),
        3 => OnErrorDecl::Invalid(span),
        _ => OnErrorDecl::Fallback(span),
    })
}

/// Reports `after` that names no step of the same list, and steps that wait for each other.
fn after(r: &mut Reader<'_>, steps: &[Step]) {
    let mut ids: BTreeMap<&str, usize> = BTreeMap::new();
    for (n, step) in steps.iter().enumerate() {
        if let Some(id) = &step.id {
            ids.entry(id.value.as_str()).or_insert(n);
        }
    }
    for name in steps.iter().flat_map(|step| &step.after) {
        if r.is_full() {
            return;
        }
        if ids.contains_key(name.value.as_str()) {
            continue;
        }
        let near = nearest(&name.value, ids.keys().copied());
        let message = match near {
            Some(near) => format!("write `{near}` instead of `{}`", name.value),
            None => format!("name a step of this list: none has the id `{}`", name.value),
        };
        let mut diagnostic = Diagnostic::error(codes::UNKNOWN_STEP, name.span, message)
            .label("no step of this list")
            .reason("`after` joins steps that stand in one list");
        diagnostic.fix = near.map(|near| format!("after: [{near}]"));
        r.push(diagnostic);
    }
    if let Some(name) = circle(steps, &ids) {
        r.push(
            Diagnostic::error(
                codes::CYCLIC_AFTER,
                name.span,
                "break the circle: this step waits for one that waits for it",
            )
            .label("leads back to this step")
            .reason("without `after` a step waits for the one written before it"),
        );
    }
}

/// The first `after` of the first step that waits for itself, along `after` or, where a step has
/// none, along the order written. One topological sort: linear in the length of the list.
fn circle<'s>(steps: &'s [Step], ids: &BTreeMap<&str, usize>) -> Option<&'s Spanned<String>> {
    let before = |n: usize| -> Vec<usize> {
        match steps.get(n) {
            Some(step) if !step.after.is_empty() => {
                step.after.iter().filter_map(|name| ids.get(name.value.as_str()).copied()).collect()
            }
            _ => n.checked_sub(1).into_iter().collect(),
        }
    };
    let mut waiting: Vec<usize> = Vec::with_capacity(steps.len());
    let mut followers: Vec<Vec<usize>> = vec![Vec::new(); steps.len()];
    for n in 0..steps.len() {
        let earlier = before(n);
        waiting.push(earlier.len());
        for e in earlier {
            if let Some(list) = followers.get_mut(e) {
                list.push(n);
            }
        }
    }
    let mut free: Vec<usize> =
        waiting.iter().enumerate().filter(|(_, w)| **w == 0).map(|(n, _)| n).collect();
    while let Some(n) = free.pop() {
        for &f in followers.get(n).into_iter().flatten() {
            if let Some(w) = waiting.get_mut(f) {
                *w -= 1;
                if *w == 0 {
                    free.push(f);
                }
            }
        }
    }
    // Who still waits is on a circle or behind one; walking back as many steps as there are ends
    // on a circle, and once more around it finds its first step that says `after`.
    let stuck = |n: &usize| waiting.get(*n).is_some_and(|w| *w > 0);
    let mut at = (0..steps.len()).find(stuck)?;
    for _ in 0..steps.len() {
        at = before(at).into_iter().find(stuck)?;
    }
    let (start, mut first) = (at, None);
    loop {
        if steps.get(at).is_some_and(|step| !step.after.is_empty()) {
            first = Some(first.map_or(at, |f: usize| f.min(at)));
        }
        at = before(at).into_iter().find(stuck)?;
        if at == start {
            break;
        }
    }
    steps.get(first?)?.after.first()
}

/// Reports ids that stand twice anywhere in the protocol: `steps.ID` must mean one step.
fn ids(r: &mut Reader<'_>, protocol: &Protocol) {
    let mut all: Vec<&Spanned<String>> = Vec::new();
    let mut open: Vec<&Step> = protocol.steps.iter().chain(&protocol.finally).collect();
    while let Some(step) = open.pop() {
        all.extend(step.id.as_ref());
        open.extend(step.children());
    }
    all.sort_by_key(|id| id.span);
    shared::unique(r, "step", all);
}
