//! Messages, registers and topics of a definition.

use crate::spec::codes;
use crate::spec::diagnostic::Diagnostic;
use crate::spec::reader::{Fields, Item, NameForm, Reader};
use crate::spec::source::{Span, Spanned};
use crate::spec::tree::NodeKind;

use super::lower::STATUS_WORDS;
use super::tables as t;
use super::{
    Bits, Correlate, Operation, Payload, Register, RegisterType, ReplyKind, Table, TopicReply,
    Unless, WordOrder,
};

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
    ("send", Medium::Bytes, &["reply", "expect", "parse", "timeout", "unless", "verify"]),
    ("write", Medium::Modbus, &["value", "unit", "unless_equal", "verify"]),
    ("read", Medium::Modbus, &["unit"]),
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
            let register = register(r, f.get("read")?, None)?;
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
    let timeout = f.get("timeout").and_then(|item| r.time(item));
    if reply == ReplyKind::None {
        for key in ["expect", "parse", "timeout"] {
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
    Some(Operation::Send { texts, reply, expect, parse, timeout, unless, verify, span: f.span })
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
    Some(Operation::Write { register: register?, value: value?, unit, unless_equal, span: f.span })
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
    let error = f.get("error").and_then(|item| r.text(item));
    Some(TopicReply {
        topic: topic?,
        correlate: correlate?,
        has,
        progress,
        json,
        error,
        span: f.span,
    })
}

/// A register. `verify` stands beside the register of a write.
pub(super) fn register(
    r: &mut Reader<'_>,
    item: Item<'_>,
    verify: Option<bool>,
) -> Option<Register> {
    let f = r.object(item, &t::REGISTER)?;
    let tables = [
        ("holding", Table::Holding),
        ("input", Table::Input),
        ("coil", Table::Coil),
        ("discrete", Table::Discrete),
    ];
    let given: Vec<_> = tables.iter().filter(|(key, _)| f.has(key)).collect();
    let [(key, table)] = given.as_slice() else {
        if !f.has_unknown() {
            r.push(
                Diagnostic::error(
                    codes::REGISTER,
                    f.span,
                    "say which table the register is in: one of holding, input, coil and discrete",
                )
                .label(if given.is_empty() { "none of them" } else { "more than one" })
                .fix("{holding: 26, base: 0, type: i16, scale: 0.1, order: AB}"),
            );
        }
        return None;
    };
    let number = f.get(key).and_then(|item| r.count32(item, 0, 65_536));
    let single_bit = matches!(table, Table::Coil | Table::Discrete);
    let needed: &[(&str, &str)] = if single_bit {
        &[("base", "base: 0")]
    } else {
        &[("base", "base: 0"), ("type", "type: i16"), ("order", "order: AB")]
    };
    for (name, example) in needed {
        if !f.has(name) {
            let at = f.key_span(key).unwrap_or(f.span);
            r.push(
                Diagnostic::error(codes::REGISTER, at, format!("add `{name}` to the register"))
                    .label(format!("`{name}` is missing"))
                    .reason(match *name {
                        "base" => "manuals count from 0 or from 1; the wrong one reads the neighbour's value",
                        "type" => "the same bits are another number as another type",
                        _ => "makers order bytes and words differently; a guess is a wrong number that looks right",
                    })
                    .fix((*example).to_owned()),
            );
        }
    }
    let base = f.get("base").and_then(|item| r.count32(item, 0, 1));
    let kind = register_type(r, &f, single_bit);
    let order = f.get("order").and_then(|item| order(r, item, kind.map(|k| k.value)));
    let number_of = |r: &mut Reader<'_>, key: &str, default: f64| {
        f.get(key).and_then(|item| r.number(item)).map_or(default, |n| n.value)
    };
    let scale = number_of(r, "scale", 1.0);
    let offset = number_of(r, "offset", 0.0);
    if scale == 0.0
        && let Some(item) = f.get("scale")
    {
        r.push(
            Diagnostic::error(codes::OUT_OF_RANGE, item.span(), "choose a `scale` other than zero")
                .label("every value would be zero"),
        );
    }
    let invalid = r.list(f.get("invalid"), |r, item| {
        let n = r.number(item)?;
        #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and in range")]
        let whole = (n.value.fract() == 0.0 && n.value.abs() < 9e15).then_some(n.value as i64);
        whole.map(|whole| Spanned::new(whole, n.span))
    });
    let bits = f.get("bits").and_then(|item| bits(r, item));
    let number = number?;
    let base = base?;
    if number.value < base.value {
        r.push(
            Diagnostic::error(codes::REGISTER, number.span, "choose a number of at least `base`")
                .label("counted from 1 there is no register 0"),
        );
        return None;
    }
    Some(Register {
        table: Spanned::new(*table, f.key_span(key).unwrap_or(f.span)),
        number,
        base: u8::from(base.value == 1),
        kind: kind?,
        order,
        scale,
        offset,
        invalid,
        bits,
        verify: verify.unwrap_or(false),
        span: f.span,
    })
}

fn register_type(r: &mut Reader<'_>, f: &Fields<'_>, bit: bool) -> Option<Spanned<RegisterType>> {
    let words = [
        ("u16", RegisterType::U16),
        ("i16", RegisterType::I16),
        ("u32", RegisterType::U32),
        ("i32", RegisterType::I32),
        ("u64", RegisterType::U64),
        ("f32", RegisterType::F32),
        ("f64", RegisterType::F64),
        ("bool", RegisterType::Bool),
    ];
    let kind = match f.get("type") {
        Some(item) => r.word(item, &words)?,
        None if bit => return Some(Spanned::new(RegisterType::Bool, f.span)),
        None => return None,
    };
    if bit != (kind.value == RegisterType::Bool) {
        r.push(
            Diagnostic::error(
                codes::REGISTER,
                kind.span,
                if bit {
                    "write `type: bool`: it is one bit"
                } else {
                    "use `bits`, or a coil, for single bits"
                },
            )
            .label("does not fit the table"),
        );
        return None;
    }
    Some(kind)
}

/// Byte order; two letters for one register, four for several.
fn order(r: &mut Reader<'_>, item: Item<'_>, kind: Option<RegisterType>) -> Option<WordOrder> {
    let words = [
        ("AB", (WordOrder::Abcd, true)),
        ("BA", (WordOrder::Badc, true)),
        ("ABCD", (WordOrder::Abcd, false)),
        ("CDAB", (WordOrder::Cdab, false)),
        ("BADC", (WordOrder::Badc, false)),
        ("DCBA", (WordOrder::Dcba, false)),
    ];
    let word = r.word(item, &words)?;
    let (order, short) = word.value;
    let one_register = matches!(kind, None | Some(RegisterType::U16 | RegisterType::I16));
    if short && !one_register {
        r.push(
            Diagnostic::error(
                codes::REGISTER,
                word.span,
                "write the order of all four bytes: ABCD, CDAB, BADC or DCBA",
            )
            .label("two letters are for a single register"),
        );
        return None;
    }
    Some(order)
}

fn bits(r: &mut Reader<'_>, item: Item<'_>) -> Option<Bits> {
    let f = r.object(item, &t::BITS)?;
    let numbering =
        f.get("numbering").and_then(|item| r.word(item, &[("lsb0", true), ("msb0", false)]));
    let names = r.named(f.get("names"), NameForm::Identifier, |r, item| {
        let bit = r.count(item, 0, 63)?;
        u8::try_from(bit.value).ok().map(|n| Spanned::new(n, bit.span))
    });
    Some(Bits { lsb0: numbering?.value, names })
}
