//! Messages, registers and topics of a definition.

use crate::spec::codes;
use crate::spec::diagnostic::Diagnostic;
use crate::spec::reader::{Fields, Item, NameForm, Reader};
use crate::spec::source::Span;
use crate::spec::tree::NodeKind;

use super::bulk;
use super::lower::STATUS_WORDS;
use super::register::register;
use super::registers;
use super::tables as t;
use super::{Correlate, Operation, Payload, ReplyKind, TopicReply, Unless};

/// What kind of wire the definition speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Medium {
    /// The connection could not be read; nothing is compared with it.
    Unknown,
    /// Lines or frames over serial or TCP.
    Bytes,
    /// Modbus.
    Modbus,
    /// MQTT.
    Mqtt,
}

impl Medium {
    fn word(self) -> &'static str {
        match self {
            Medium::Unknown => "an unknown wire",
            Medium::Bytes => "serial or tcp",
            Medium::Modbus => "modbus",
            Medium::Mqtt => "mqtt",
        }
    }
}

/// Reports a key that the wire cannot serve.
pub(super) fn fits(
    r: &mut Reader<'_>,
    key: &str,
    span: Span,
    medium: Medium,
    needed: Medium,
) -> bool {
    if medium == Medium::Unknown || medium == needed {
        return true;
    }
    let instead = match medium {
        Medium::Bytes => "`send` and `ask`",
        Medium::Modbus => "`write`, `read` and `register`",
        Medium::Mqtt | Medium::Unknown => "`publish` and `topic`",
    };
    r.push(
        Diagnostic::error(
            codes::WRONG_OPERATION,
            span,
            format!("use {instead} here: `{key}` needs a connection over {}", needed.word()),
        )
        .label(format!("the connection is {}", medium.word())),
    );
    false
}

/// A list of operations.
pub(super) fn list(r: &mut Reader<'_>, item: Option<Item<'_>>, medium: Medium) -> Vec<Operation> {
    r.list(item, |r, item| operation(r, item, medium))
}

/// The words that make an operation, the wire each needs, and the keys that may stand beside it.
const WORDS: &[(&str, Medium, &[&str])] = &[
    ("send", Medium::Bytes, &["reply", "expect", "parse", "block", "timeout", "unless", "verify"]),
    ("write", Medium::Modbus, &["value", "unit", "map", "unless_equal", "verify"]),
    ("read", Medium::Modbus, &[]),
    ("publish", Medium::Mqtt, &["json", "text", "qos", "expiry", "retain", "reply"]),
    ("set_metric", Medium::Mqtt, &["value", "unit"]),
    ("wait", Medium::Unknown, &[]),
];

fn operation(r: &mut Reader<'_>, item: Item<'_>, medium: Medium) -> Option<Operation> {
    let f = r.object(Item { key: "operation", node: item.node }, &t::OPERATION)?;
    let given: Vec<_> = WORDS.iter().filter(|(word, ..)| f.has(word)).collect();
    let [(word, needed, allowed)] = given.as_slice() else {
        if !f.has_unknown() {
            r.push(
                Diagnostic::error(
                    codes::WRONG_OPERATION,
                    f.span,
                    "give one of send, write, read, publish, set_metric and wait",
                )
                .label(if given.is_empty() {
                    "none of them"
                } else {
                    "more than one"
                }),
            );
        }
        return None;
    };
    let at = f.key_span(word).unwrap_or(f.span);
    if *needed != Medium::Unknown {
        fits(r, word, at, medium, *needed);
    }
    for key in t::OPERATION.keys.iter().map(|key| key.name) {
        if key != *word
            && !allowed.contains(&key)
            && let Some(span) = f.key_span(key)
        {
            r.push(
                Diagnostic::error(
                    codes::NOT_WITH,
                    span,
                    format!("remove `{key}`: it has no meaning for `{word}`"),
                )
                .label("would do nothing here"),
            );
        }
    }
    match *word {
        "send" => send(r, &f),
        "write" => write(r, &f),
        "read" => {
            let register = Box::new(register(r, f.get("read")?, None)?);
            Some(Operation::Read { register, span: f.span })
        }
        "publish" => publish(r, &f),
        "set_metric" => set_metric(r, &f),
        _ => f.get("wait").and_then(|item| r.time(item)).map(|time| Operation::Pause { time }),
    }
}

fn send(r: &mut Reader<'_>, f: &Fields<'_>) -> Option<Operation> {
    let texts = r.one_or_list(f.get("send"), Reader::text);
    let reply = match f.get("reply") {
        Some(item) => {
            r.word(item, &[("none", ReplyKind::None)]).map_or(ReplyKind::Yes, |w| w.value)
        }
        None => ReplyKind::Yes,
    };
    let expect = r.one_or_list(f.get("expect"), |r, item| r.word(item, &STATUS_WORDS));
    let parse = f.get("parse").and_then(|item| r.text(item));
    let block = f.get("block").and_then(|item| bulk::lower(r, item)).map(Box::new);
    block_alone(r, f);
    let timeout = f.get("timeout").and_then(|item| r.time(item));
    if reply == ReplyKind::None {
        for key in ["expect", "parse", "block", "timeout"] {
            if let Some(span) = f.key_span(key) {
                r.push(
                    Diagnostic::error(
                        codes::NOT_WITH,
                        span,
                        format!("remove `{key}`: no reply comes"),
                    )
                    .label("`reply: none` stands beside it"),
                );
            }
        }
    }
    let unless = f.get("unless").and_then(|item| question(r, item)).map(Box::new);
    if let Some(settle) = unless.as_ref().and_then(|unless| unless.settle.as_ref()) {
        let place = settle.span;
        r.push(
            Diagnostic::error(codes::NOT_WITH, place, "remove `settle`: nothing was sent before")
                .label("`unless` is asked first"),
        );
    }
    let verify = f.get("verify").and_then(|item| question(r, item)).map(Box::new);
    if texts.is_empty() {
        return None;
    }
    Some(Operation::Send {
        texts,
        reply,
        expect,
        parse,
        block,
        timeout,
        unless,
        verify,
        span: f.span,
    })
}

/// A reply is either a block or read with a pattern.
pub(super) fn block_alone(r: &mut Reader<'_>, f: &Fields<'_>) {
    let (true, Some(span)) = (f.has("block"), f.key_span("parse")) else { return };
    r.push(
        Diagnostic::error(codes::NOT_WITH, span, "remove `parse`: the reply is a block")
            .label("reads a text, and a block is none"),
    );
}

/// A question and what its answer must be: `{ask, parse, unit, equals, within, settle}`.
pub(super) fn question(r: &mut Reader<'_>, item: Item<'_>) -> Option<Unless> {
    let f = r.object(item, &t::UNLESS)?;
    let ask = f.get("ask").and_then(|item| r.text(item));
    let parse = f.get("parse").and_then(|item| r.text(item));
    let unit = f.get("unit").and_then(|item| r.unit(item));
    let equals = f.get("equals").and_then(|item| r.value_expression(item));
    let within = f.get("within").and_then(|item| match &unit {
        Some(unit) => r.quantity(item, &unit.value),
        None => r.any_quantity(item),
    });
    let settle = f.get("settle").and_then(|item| r.time(item));
    Some(Unless { ask: ask?, parse: parse?, unit, equals: equals?, within, settle, span: f.span })
}

fn write(r: &mut Reader<'_>, f: &Fields<'_>) -> Option<Operation> {
    let flag = |r: &mut Reader<'_>, key: &str| {
        f.get(key).and_then(|item| r.boolean(item)).is_some_and(|b| b.value)
    };
    let verify = flag(r, "verify");
    let unless_equal = flag(r, "unless_equal");
    let register = f.get("write").and_then(|item| register(r, item, Some(verify)));
    let value = f.get("value").and_then(|item| r.value_expression(item));
    let unit = f.get("unit").and_then(|item| r.unit(item));
    if !f.has("value") {
        let at = f.key_span("write").unwrap_or(f.span);
        r.push(
            Diagnostic::error(
                codes::MISSING_KEY,
                at,
                "add `value`: what is written into the register?",
            )
            .label("no value")
            .fix("value: \"${ args.target }\""),
        );
    }
    let map = r.named(f.get("map"), NameForm::Free, |r, item| r.text(item));
    registers::words(r, &map);
    if let (Some(unit), Some(own)) = (&unit, register.as_ref().and_then(|r| r.unit.as_ref())) {
        r.push(
            Diagnostic::error(codes::NOT_WITH, unit.span, "remove one of the two units")
                .label("says it a second time")
                .also(own.span, "the unit of the register"),
        );
    }
    let unit = unit.or_else(|| register.as_ref().and_then(|register| register.unit.clone()));
    Some(Operation::Write {
        register: Box::new(register?),
        value: value?,
        unit,
        map,
        unless_equal,
        span: f.span,
    })
}

fn publish(r: &mut Reader<'_>, f: &Fields<'_>) -> Option<Operation> {
    let topic = f.get("publish").and_then(|item| r.text(item));
    let payload = match (f.get("json"), f.get("text")) {
        (Some(item), None) => r.written(item).map(Payload::Json),
        (None, Some(item)) => r.text(item).map(Payload::Text),
        (Some(_), Some(_)) => {
            let at = f.key_span("text").unwrap_or(f.span);
            r.push(
                Diagnostic::error(codes::NOT_WITH, at, "keep one of `json` and `text`")
                    .label("a second payload"),
            );
            None
        }
        (None, None) => {
            let at = f.key_span("publish").unwrap_or(f.span);
            r.push(
                Diagnostic::error(codes::MISSING_KEY, at, "add `json` or `text`: what is sent?")
                    .label("no payload")
                    .fix("json: {}"),
            );
            None
        }
    };
    if let Some(item) = f.get("retain")
        && r.boolean(item).is_some_and(|retain| retain.value)
    {
        // SAFETY(lab): the device would carry it out again whenever it comes back.
        r.push(
            Diagnostic::error(
                codes::RETAINED_COMMAND,
                item.span(),
                "remove `retain`: a command must never be kept by the broker",
            )
            .label("carried out again each time the device connects"),
        );
    }
    let qos = f.get("qos").and_then(|item| r.count32(item, 0, 1)).map(|n| u8::from(n.value == 1));
    let expiry = f.get("expiry").and_then(|item| r.time(item));
    let reply = f.get("reply").and_then(|item| topic_reply(r, item));
    Some(Operation::Publish { topic: topic?, payload: payload?, qos, expiry, reply, span: f.span })
}

/// A message that asks for a property: a `publish`.
pub(super) fn query(r: &mut Reader<'_>, item: Item<'_>, medium: Medium) -> Option<Operation> {
    let operation = operation(r, item, medium)?;
    if matches!(operation, Operation::Publish { .. }) {
        return Some(operation);
    }
    r.push(
        Diagnostic::error(codes::WRONG_OPERATION, item.span(), "write a `publish` as the `query`")
            .label("asks nothing over MQTT")
            .fix("query: {publish: get, json: {}}"),
    );
    None
}

fn set_metric(r: &mut Reader<'_>, f: &Fields<'_>) -> Option<Operation> {
    let metric = f.get("set_metric").and_then(|item| r.text(item));
    let value = f.get("value").and_then(|item| r.value_expression(item));
    let unit = f.get("unit").and_then(|item| r.unit(item));
    if !f.has("value") {
        let at = f.key_span("set_metric").unwrap_or(f.span);
        r.push(
            Diagnostic::error(codes::MISSING_KEY, at, "add `value`: what is written?")
                .label("no value")
                .fix("value: \"${ args.target }\""),
        );
    }
    Some(Operation::SetMetric { metric: metric?, value: value?, unit, span: f.span })
}

fn topic_reply(r: &mut Reader<'_>, item: Item<'_>) -> Option<TopicReply> {
    if matches!(&item.node.kind, NodeKind::Scalar { text, .. } if text == "none") {
        return None;
    }
    let f = r.object(item, &t::TOPIC_REPLY)?;
    let topic = f.get("topic").and_then(|item| r.text(item));
    let correlate = f.get("correlate").and_then(|item| {
        if matches!(item.node.kind, NodeKind::Map(_)) {
            let inner = r.object(item, &t::CORRELATE)?;
            let paths = r.one_or_list(inner.get("json"), Reader::text);
            return (!paths.is_empty()).then_some(Correlate::Field(paths));
        }
        let word = r.word(item, &[("property", true), ("next", false)])?;
        Some(if word.value { Correlate::Property } else { Correlate::Next })
    });
    let has = r.one_or_list(f.get("has"), Reader::text);
    let progress = r.named(f.get("while"), NameForm::Free, |r, item| {
        Some(r.one_or_list(Some(item), Reader::text))
    });
    let json = f.get("json").and_then(|item| r.text(item));
    let binary = f.get("binary").and_then(|item| bulk::lower(r, item)).map(Box::new);
    let error = f.get("error").and_then(|item| r.text(item));
    let (topic, correlate) = (topic?, correlate?);
    if let (Some(binary), None, Correlate::Field(paths)) = (&binary, &json, &correlate) {
        let at = paths.first().map_or(f.span, |path| path.span);
        r.push(
            Diagnostic::error(
                codes::BULK,
                at,
                "correlate by `property` or `next`, or say where in the JSON the bytes stand",
            )
            .label("a payload of plain bytes has no fields")
            .also(binary.span, "the payload"),
        );
    }
    Some(TopicReply { topic, correlate, has, progress, json, binary, error, span: f.span })
}
