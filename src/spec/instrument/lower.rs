//! Tree to instrument definition.

use crate::spec::Kind;
use crate::spec::codes;
use crate::spec::diagnostic::{Checked, Diagnostic};
use crate::spec::reader::{Fields, Item, NameForm, Reader};
use crate::spec::shape;
use crate::spec::shared;
use crate::spec::source::{SourceFile, Spanned};
use crate::spec::tree::NodeKind;

use super::operation::{self, Medium};
use super::register;
use super::simulate;
use super::tables as t;
use super::{
    Action, Alarm, AlarmAction, AlarmSeverity, Ask, Connection, DeviceTime, Done, EffectClass,
    Example, ExampleOf, Hazard, Heartbeat, Instrument, Operation, Property, ReplyKind, SafeState,
    StatusClass, Takes, TimeForm, Wire, WitnessDecl, bulk, check, connection, status,
};

const TIME_FORMS: [(&str, TimeForm); 3] =
    [("s", TimeForm::Seconds), ("ms", TimeForm::Milliseconds), ("rfc3339", TimeForm::Rfc3339)];

pub(super) const STATUS_WORDS: [(&str, StatusClass); 4] = [
    ("busy", StatusClass::Busy),
    ("ready", StatusClass::Ready),
    ("error", StatusClass::Error),
    ("alarm", StatusClass::Alarm),
];

impl Instrument {
    /// Reads a definition. All mistakes at once; a value may be there in spite of them.
    pub fn lower(file: &SourceFile) -> Checked<Instrument> {
        shared::document(file, Kind::Instrument, &t::INSTRUMENT, |r, f| {
            let name = f.get("name").and_then(|item| r.name(item, NameForm::Word));
            let kind = f.get("type").and_then(|item| r.name(item, NameForm::Word));
            let vendor = r.doc(f.get("vendor"));
            let model = r.doc(f.get("model"));
            let doc = r.doc(f.get("doc"));
            let config = shared::value_specs(r, f.get("config"), &shared::SETTING);
            let connection = f.get("connection").and_then(|item| connection::lower(r, item));
            let medium = medium(connection.as_ref());
            let status = f.get("status").and_then(|item| status::lower(r, item));
            let errors = status::errors(r, f.get("errors"));
            let identify = operation::list(r, f.get("identify"), medium);
            let on_connect = operation::list(r, f.get("on_connect"), medium);
            let properties = properties(r, f.get("properties"), medium);
            let actions = actions(r, f.get("actions"), medium);
            let safe_state = f.get("safe_state").and_then(|item| state(r, item, medium));
            let hold_state = f.get("hold_state").and_then(|item| state(r, item, medium));
            let heartbeat = f.get("heartbeat").and_then(|item| heartbeat(r, item, medium));
            let alarms = alarms(r, f.get("alarms"));
            let simulate = f.get("simulate").and_then(|item| simulate::lower(r, item));
            let examples = r.list(f.get("examples"), example);
            let mut instrument = Instrument {
                source: file.id,
                name: name?,
                kind: kind?,
                vendor,
                model,
                doc,
                config,
                connection: connection?,
                status,
                errors,
                identify,
                on_connect,
                properties,
                actions,
                safe_state,
                hold_state,
                heartbeat,
                alarms,
                simulate: simulate.unwrap_or_default(),
                examples,
                span: f.span,
            };
            check::imply(&mut instrument);
            check::all(r, &instrument, f);
            Some(instrument)
        })
    }
}

fn medium(connection: Option<&Connection>) -> Medium {
    match connection.map(|connection| &connection.wire) {
        None => Medium::Unknown,
        Some(Wire::Bytes(_)) => Medium::Bytes,
        Some(Wire::Modbus(_)) => Medium::Modbus,
        Some(Wire::Mqtt(_)) => Medium::Mqtt,
    }
}

fn properties(r: &mut Reader<'_>, item: Option<Item<'_>>, medium: Medium) -> Vec<Property> {
    let mut out = Vec::new();
    for (name, item) in r.map(item, NameForm::Identifier) {
        let Some(f) = r.object(item, &t::PROPERTY) else { continue };
        out.extend(property(r, name, &f, medium));
    }
    out
}

fn property(
    r: &mut Reader<'_>,
    name: Spanned<String>,
    f: &Fields<'_>,
    medium: Medium,
) -> Option<Property> {
    let shape = shape::shape(r, f, name.span);
    let ask = property_source(r, &name, f, medium);
    let value = f.get("value").and_then(|item| r.value_expression(item));
    let every = f.get("every").and_then(|item| r.time(item));
    let max_age = f.get("max_age").and_then(|item| r.time(item));
    let map = r.named(f.get("map"), NameForm::Free, |r, item| r.text(item));
    let units = r.named(f.get("units"), NameForm::Free, |r, item| r.unit(item));
    let status = r.one_or_list(f.get("status"), |r, item| r.word(item, &STATUS_WORDS));
    let unit = match &shape {
        Some(crate::spec::value::Shape::Quantity(unit)) => Some(unit.value.clone()),
        _ => None,
    };
    let limit = |r: &mut Reader<'_>, key: &str| {
        let item = f.get(key)?;
        match &unit {
            Some(unit) => r.quantity(item, unit),
            None => r.any_quantity(item),
        }
    };
    let min = limit(r, "min");
    let max = limit(r, "max");
    shared::reversed(r, &min, &max, unit.as_ref());
    let doc = r.doc(f.get("doc"));
    let shape = shape?;
    Some(Property {
        name,
        doc,
        shape,
        ask,
        value,
        every,
        max_age,
        map,
        units,
        status,
        min,
        max,
        span: f.span,
    })
}

/// Where a property comes from; exactly one source.
fn property_source(
    r: &mut Reader<'_>,
    name: &Spanned<String>,
    f: &Fields<'_>,
    medium: Medium,
) -> Option<Ask> {
    let sources: Vec<&str> = ["ask", "register", "topic", "metric", "value"]
        .into_iter()
        .filter(|key| f.has(key))
        .collect();
    match sources.as_slice() {
        [] if f.has("status") || f.has("query") || f.has_unknown() => {}
        [] => r.push(
            Diagnostic::error(
                codes::PROPERTY_SOURCE,
                name.span,
                format!("say where `{}` comes from: ask, register, topic or value", name.value),
            )
            .label("no source")
            .fix(match medium {
                Medium::Modbus => {
                    "register: {holding: 1, base: 0, type: i16, scale: 0.1, order: AB}"
                }
                Medium::Mqtt => "topic: status\njson: temperature",
                Medium::Bytes | Medium::Unknown => "ask: IN_PV_1\nparse: \"{value:f}\"",
            }),
        ),
        [_] => {}
        [first, second, ..] => {
            let at = f.key_span(second).unwrap_or(name.span);
            r.push(
                Diagnostic::error(
                    codes::PROPERTY_SOURCE,
                    at,
                    format!("keep one of `{first}` and `{second}`: a property has one source"),
                )
                .label("a second source"),
            );
        }
    }
    let needs = |r: &mut Reader<'_>, key: &str, needed: Medium| {
        if let Some(span) = f.key_span(key) {
            operation::fits(r, key, span, medium, needed);
        }
    };
    needs(r, "ask", Medium::Bytes);
    needs(r, "parse", Medium::Bytes);
    needs(r, "block", Medium::Bytes);
    needs(r, "binary", Medium::Mqtt);
    needs(r, "register", Medium::Modbus);
    needs(r, "topic", Medium::Mqtt);
    needs(r, "query", Medium::Mqtt);
    needs(r, "time", Medium::Mqtt);
    needs(r, "metric", Medium::Mqtt);
    if let Some(item) = f.get("ask") {
        let text = r.text(item);
        let parse = f.get("parse").and_then(|item| r.text(item));
        let block = f.get("block").and_then(|item| bulk::lower(r, item)).map(Box::new);
        operation::block_alone(r, f);
        return Some(Ask::Send { text: text?, parse, block });
    }
    if let Some(item) = f.get("register") {
        return register::register(r, item, None).map(Box::new).map(Ask::Register);
    }
    if let Some(item) = f.get("metric") {
        return r.text(item).map(|name| Ask::Metric { name });
    }
    let topics = r.one_or_list(f.get("topic"), Reader::text);
    let query = f.get("query").and_then(|item| operation::query(r, item, medium)).map(Box::new);
    let json = f.get("json").and_then(|item| r.text(item));
    let binary = f.get("binary").and_then(|item| bulk::lower(r, item)).map(Box::new);
    let time = f.get("time").and_then(|item| device_time(r, item));
    let given = !topics.is_empty() || query.is_some();
    given.then_some(Ask::Topic { topics, json, binary, query, time })
}

fn device_time(r: &mut Reader<'_>, item: Item<'_>) -> Option<DeviceTime> {
    let f = r.object(item, &t::DEVICE_TIME)?;
    let json = f.get("json").and_then(|item| r.text(item));
    let form = f.get("in").and_then(|item| r.word(item, &TIME_FORMS));
    Some(DeviceTime { json: json?, form: form? })
}

fn actions(r: &mut Reader<'_>, item: Option<Item<'_>>, medium: Medium) -> Vec<Action> {
    let mut out = Vec::new();
    for (name, item) in r.map(item, NameForm::Identifier) {
        let Some(f) = r.object(item, &t::ACTION) else { continue };
        out.extend(action(r, name, &f, medium));
    }
    out
}

fn action(
    r: &mut Reader<'_>,
    name: Spanned<String>,
    f: &Fields<'_>,
    medium: Medium,
) -> Option<Action> {
    let args = shared::value_specs(r, f.get("args"), &shared::SETTING);
    let compute = r.named(f.get("compute"), NameForm::Identifier, Reader::value_expression);
    let operations = operation::list(r, f.get("do"), medium);
    let done = f.get("done").and_then(|item| done(r, item));
    let returns = f.get("returns").and_then(|item| {
        let inner = r.object(item, &shape::RETURNS)?;
        shape::shape(r, &inner, inner.span)
    });
    let words = [
        ("read", EffectClass::Read),
        ("repeatable", EffectClass::Repeatable),
        ("verifiable", EffectClass::Verifiable),
        ("once", EffectClass::Once),
    ];
    let effect = f.get("effect").and_then(|item| r.word(item, &words));
    let effect = effect.unwrap_or(Spanned::new(EffectClass::Once, name.span));
    let witness = f.get("witness").and_then(|item| witness(r, item));
    let takes = takes(r, &name, f);
    let on_cancel = operation::list(r, f.get("on_cancel"), medium);
    let hazards = [
        ("heats", Hazard::Heats),
        ("pressurises", Hazard::Pressurises),
        ("pumps", Hazard::Pumps),
        ("moves", Hazard::Moves),
        ("powers", Hazard::Powers),
    ];
    let starts = r.one_or_list(f.get("starts"), |r, item| r.word(item, &hazards));
    let stops = f.get("stops").and_then(|item| r.boolean(item)).is_some_and(|b| b.value);
    let require = r.list(f.get("require"), Reader::condition);
    let doc = r.doc(f.get("doc"));
    check::witness_presence(r, &name, effect, f);
    Some(Action {
        name,
        doc,
        args,
        compute,
        operations,
        done,
        returns,
        effect,
        witness,
        takes: takes?,
        on_cancel,
        starts,
        stops,
        require,
        span: f.span,
    })
}

fn takes(r: &mut Reader<'_>, name: &Spanned<String>, f: &Fields<'_>) -> Option<Takes> {
    let inner = f.get("takes").and_then(|item| r.object(item, &t::TAKES));
    let missing = match &inner {
        Some(inner) => !inner.has("timeout") && !inner.has_unknown(),
        None => !f.has("takes"),
    };
    if missing {
        let at = f.key_span("takes").unwrap_or(name.span);
        r.push(
            Diagnostic::error(
                codes::NO_DEADLINE,
                at,
                format!(
                    "say how long `{}` takes at most: add `takes: {{timeout: ...}}`",
                    name.value
                ),
            )
            .label("no deadline")
            .reason("nothing may hang for ever: an action that is not done by then has failed")
            .fix("takes: {expected: 300 ms, timeout: 5 s}"),
        );
    }
    let inner = inner?;
    let expected = inner.get("expected").and_then(|item| r.time_expression(item));
    let timeout = inner.get("timeout").and_then(|item| r.time_expression(item));
    Some(Takes { expected, timeout: timeout? })
}

fn witness(r: &mut Reader<'_>, item: Item<'_>) -> Option<WitnessDecl> {
    let f = r.object(item, &t::WITNESS)?;
    let name = |r: &mut Reader<'_>, key: &str| {
        f.get(key).and_then(|item| r.name(item, NameForm::Identifier))
    };
    let property = name(r, "property");
    let counts = name(r, "counts");
    let equals = name(r, "equals");
    let settle = f.get("settle").and_then(|item| r.time(item));
    let void_if_rebooted =
        f.get("void_if").and_then(|item| r.word(item, &[("rebooted", ())])).is_some();
    if f.has("counts") == f.has("equals") && !f.has_unknown() {
        let at = f.key_span("equals").unwrap_or(f.span);
        r.push(
            Diagnostic::error(
                codes::WITNESS_FORM,
                at,
                "give one of `counts` and `equals`: how does the property show that it happened?",
            )
            .label(if f.has("counts") { "both are given" } else { "neither is given" })
            .fix("counts: volume"),
        );
    }
    Some(WitnessDecl {
        property: property?,
        counts,
        equals,
        settle: settle?,
        void_if_rebooted,
        span: f.span,
    })
}

fn done(r: &mut Reader<'_>, item: Item<'_>) -> Option<Done> {
    let f = r.object(item, &t::DONE)?;
    let forms: [(&str, &[&str]); 3] =
        [("poll", &["until", "every"]), ("when", &["every"]), ("after", &[])];
    let given: Vec<&(&str, &[&str])> = forms.iter().filter(|(key, _)| f.has(key)).collect();
    let [(word, needed)] = given.as_slice() else {
        if !f.has_unknown() {
            r.push(
                Diagnostic::error(
                    codes::DONE_FORM,
                    f.span,
                    "give one of {poll, until, every}, {when, every} and {after}",
                )
                .label(if given.is_empty() { "none of them" } else { "more than one" })
                .fix("done: {poll: \"\", until: ready, every: 200 ms}"),
            );
        }
        return None;
    };
    for key in *needed {
        if !f.has(key) {
            let at = f.key_span(word).unwrap_or(f.span);
            r.push(
                Diagnostic::error(codes::DONE_FORM, at, format!("add `{key}` beside `{word}`"))
                    .label(format!("`{key}` is missing")),
            );
        }
    }
    let every = f.get("every").and_then(|item| r.time(item));
    match *word {
        "poll" => {
            let send = f.get("poll").and_then(|item| r.text(item));
            let until = r.one_or_list(f.get("until"), |r, item| r.word(item, &STATUS_WORDS));
            Some(Done::Poll { send: send?, until, every: every? })
        }
        "when" => {
            let condition = f.get("when").and_then(|item| r.condition(item));
            let held_for = f.get("for").and_then(|item| r.time(item));
            Some(Done::Until { condition: condition?, held_for, every: every? })
        }
        _ => f.get("after").and_then(|item| r.time_expression(item)).map(Done::After),
    }
}

/// A safe state or a hold state.
fn state(r: &mut Reader<'_>, item: Item<'_>, medium: Medium) -> Option<SafeState> {
    let span = item.span();
    if matches!(item.node.kind, NodeKind::List(_)) {
        let operations = operation::list(r, Some(item), medium);
        return Some(SafeState { operations, confirm: None, span });
    }
    let f = r.object(item, &t::SAFE_STATE)?;
    let operations = operation::list(r, f.get("do"), medium);
    let confirm = f.get("confirm").and_then(|item| r.condition(item));
    Some(SafeState { operations, confirm, span })
}

fn heartbeat(r: &mut Reader<'_>, item: Item<'_>, medium: Medium) -> Option<Heartbeat> {
    let f = r.object(item, &t::HEARTBEAT)?;
    let messages = |r: &mut Reader<'_>, key: &str| -> Vec<Operation> {
        let Some(item) = f.get(key) else { return Vec::new() };
        if matches!(item.node.kind, NodeKind::List(_)) {
            return operation::list(r, Some(item), medium);
        }
        operation::fits(r, key, item.span(), medium, Medium::Bytes);
        let text = r.text(item);
        text.into_iter()
            .map(|text| Operation::Send {
                span: text.span,
                texts: vec![text],
                reply: ReplyKind::Yes,
                expect: Vec::new(),
                parse: None,
                block: None,
                timeout: None,
                unless: None,
                verify: None,
            })
            .collect()
    };
    let arm = messages(r, "arm");
    let feed = messages(r, "feed");
    let disarm = messages(r, "disarm");
    let period = f.get("period").and_then(|item| r.time(item));
    Some(Heartbeat { arm, feed, period: period?, disarm, span: f.span })
}

fn alarms(r: &mut Reader<'_>, item: Option<Item<'_>>) -> Vec<Alarm> {
    let severities = [
        ("low", AlarmSeverity::Low),
        ("medium", AlarmSeverity::Medium),
        ("high", AlarmSeverity::High),
        ("critical", AlarmSeverity::Critical),
    ];
    let actions = [
        ("none", AlarmAction::None),
        ("fail_step", AlarmAction::FailStep),
        ("hold", AlarmAction::Hold),
        ("abort", AlarmAction::Abort),
    ];
    let alarms = r.list(item, |r, item| {
        let f = r.object(item, &t::ALARM)?;
        let id = f.get("id").and_then(|item| r.name(item, NameForm::Identifier));
        let condition = f.get("if").and_then(|item| r.condition(item));
        let held_for = f.get("for").and_then(|item| r.time(item));
        let severity = f.get("severity").and_then(|item| r.word(item, &severities));
        let action = f.get("action").and_then(|item| r.word(item, &actions));
        let doc = r.doc(f.get("doc"));
        Some(Alarm {
            id: id?,
            condition: condition?,
            held_for,
            severity: severity?.value,
            action: action.map_or(AlarmAction::None, |word| word.value),
            doc,
            span: f.span,
        })
    });
    shared::unique(r, "alarm", alarms.iter().map(|a| &a.id));
    alarms
}

fn example(r: &mut Reader<'_>, item: Item<'_>) -> Option<Example> {
    let f = r.object(item, &t::EXAMPLE)?;
    let given: Vec<&str> =
        ["action", "property", "safe_state"].into_iter().filter(|key| f.has(key)).collect();
    if given.len() != 1 && !f.has_unknown() {
        r.push(
            Diagnostic::error(
                codes::BAD_VALUE,
                f.span,
                "say what this example shows: one of action, property and safe_state",
            )
            .label(if given.is_empty() { "none of them" } else { "more than one" }),
        );
    }
    let name = |r: &mut Reader<'_>, key: &str| {
        f.get(key).and_then(|item| r.name(item, NameForm::Identifier))
    };
    let of = match given.first() {
        Some(&"action") => name(r, "action").map(ExampleOf::Action),
        Some(&"property") => name(r, "property").map(ExampleOf::Property),
        Some(_) => {
            f.get("safe_state").and_then(|item| r.boolean(item)).map(|_| ExampleOf::SafeState)
        }
        None => None,
    };
    let config = r.named(f.get("config"), NameForm::Identifier, |r, item| r.written(item));
    let args = r.named(f.get("args"), NameForm::Identifier, |r, item| r.written(item));
    let bytes = r.list(f.get("bytes"), Reader::text);
    let value = f.get("value").and_then(|item| r.written(item));
    let fails = f.get("fails").and_then(|item| {
        let kinds = crate::spec::protocol::FAILURE_KINDS;
        let words: Vec<(&str, &str)> = kinds.iter().map(|kind| (*kind, *kind)).collect();
        r.word(item, &words).map(|word| word.map(str::to_owned))
    });
    let source = r.doc(f.get("source"));
    Some(Example { of: of?, config, args, bytes, value, fails, source, span: f.span })
}
