//! The connection of a definition.

use crate::spec::codes;
use crate::spec::diagnostic::Diagnostic;
use crate::spec::reader::{Fields, Item, Reader};

use super::frame;
use super::tables as t;
use super::{Bytes, Connection, Liveness, Modbus, Mqtt, Parity, Serial, Wire};

/// Reads `connection:`.
pub(super) fn lower(r: &mut Reader<'_>, item: Item<'_>) -> Option<Connection> {
    let f = r.object(item, &t::CONNECTION)?;
    let serial = f.get("serial").and_then(|item| serial(r, item));
    let wire = match (f.has("modbus"), f.has("mqtt"), f.has("serial") || f.has("tcp")) {
        (true, false, _) => modbus(r, &f, serial).map(Wire::Modbus),
        (false, true, false) => mqtt(r, &f).map(|mqtt| Wire::Mqtt(Box::new(mqtt))),
        (false, false, true) => bytes(r, &f, serial).map(|bytes| Wire::Bytes(Box::new(bytes))),
        (false, false, false) => {
            if !f.has_unknown() {
                r.push(
                    Diagnostic::error(
                        codes::CONNECTION,
                        f.span,
                        "name the wire: serial, tcp, modbus or mqtt",
                    )
                    .label("no wire")
                    .fix("serial: {baud: 9600, frame: 8N1}"),
                );
            }
            None
        }
        (_, true, _) => {
            let at = f.key_span("mqtt").unwrap_or(f.span);
            r.push(
                Diagnostic::error(
                    codes::CONNECTION,
                    at,
                    "keep one kind of wire: write a second definition for the other",
                )
                .label("a second kind of wire"),
            );
            None
        }
    };
    let reply_timeout = f.get("reply_timeout").and_then(|item| r.time(item));
    let min_gap = f.get("min_gap").and_then(|item| r.time(item));
    let mut foreign = |keys: &[&str], belongs: &str| {
        for key in keys {
            if let Some(span) = f.key_span(key) {
                r.push(
                    Diagnostic::error(
                        codes::NOT_WITH,
                        span,
                        format!("remove `{key}`: it belongs to {belongs}"),
                    )
                    .label("would do nothing here"),
                );
            }
        }
    };
    let of_bytes = [
        "send_start",
        "send_size",
        "send_end",
        "send_bare",
        "escape",
        "address",
        "reply",
        "checksum",
        "silent",
        "unsolicited",
    ];
    match &wire {
        Some(Wire::Modbus(_)) => foreign(&[&of_bytes[..], &["liveness"]].concat(), "other wires"),
        Some(Wire::Mqtt(_)) => foreign(&of_bytes, "serial and tcp"),
        Some(Wire::Bytes(_)) => foreign(&["liveness"], "mqtt"),
        None => {}
    }
    Some(Connection { wire: wire?, reply_timeout: reply_timeout?, min_gap, span: f.span })
}

fn serial(r: &mut Reader<'_>, item: Item<'_>) -> Option<Serial> {
    let f = r.object(item, &t::SERIAL)?;
    let baud = f.get("baud").and_then(|item| r.count32(item, 50, 4_000_000));
    let frame = f.get("frame").and_then(|item| {
        let text = r.text(item)?;
        let mut chars = text.value.chars();
        let (bits, parity, stop) = (chars.next(), chars.next(), chars.next());
        let data_bits = match bits {
            Some('7') => Some(7),
            Some('8') => Some(8),
            _ => None,
        };
        let parity = match parity {
            Some('N' | 'n') => Some(Parity::None),
            Some('E' | 'e') => Some(Parity::Even),
            Some('O' | 'o') => Some(Parity::Odd),
            _ => None,
        };
        let stop_bits = match stop {
            Some('1') => Some(1),
            Some('2') => Some(2),
            _ => None,
        };
        match (data_bits, parity, stop_bits, chars.next()) {
            (Some(data), Some(parity), Some(stop), None) => Some((data, parity, stop)),
            _ => {
                r.push(
                    Diagnostic::error(
                        codes::BAD_VALUE,
                        text.span,
                        "write `frame` as data bits, parity and stop bits, such as 8N1",
                    )
                    .label("data bits 7 or 8, parity N, E or O, stop bits 1 or 2")
                    .fix("frame: 8N1"),
                );
                None
            }
        }
    });
    let dtr = f.get("dtr_on_open").and_then(|item| r.boolean(item));
    let (data_bits, parity, stop_bits) = frame?;
    let dtr_on_open = dtr.is_none_or(|b| b.value);
    Some(Serial { baud: baud?, data_bits, parity, stop_bits, dtr_on_open })
}

fn bytes(r: &mut Reader<'_>, f: &Fields<'_>, serial: Option<Serial>) -> Option<Bytes> {
    for (key, doc, example) in [
        ("send_end", "what ends a message", "send_end: \"\\r\\n\""),
        ("reply", "what ends a reply", "reply: {end: \"\\r\\n\"}"),
    ] {
        if !f.has(key) && !f.has_unknown() {
            r.push(
                Diagnostic::error(
                    codes::CONNECTION,
                    f.span,
                    format!("add `{key}` to the connection: {doc}?"),
                )
                .label(format!("`{key}` is missing"))
                .reason("line ends differ from maker to maker, and often between request and reply")
                .fix(example),
            );
        }
    }
    if f.has("serial") && serial.is_none() {
        return None;
    }
    let mut text = |key: &str| f.get(key).and_then(|item| r.text(item));
    let (send_start, send_end, escape) = (text("send_start"), text("send_end"), text("escape"));
    let send_bare = r.list(f.get("send_bare"), Reader::text);
    if let Some(empty) = send_bare.iter().find(|text| text.value.is_empty()) {
        r.push(
            Diagnostic::error(
                codes::CONNECTION,
                empty.span,
                "write the characters of the message, or leave the entry out",
            )
            .label("an empty message")
            .reason("sent as it stands it would be no message at all"),
        );
    }
    let address = f.get("address").and_then(|item| r.object(item, &t::BUS_ADDRESS));
    let mut part =
        |key: &str| address.as_ref().and_then(|a| a.get(key)).and_then(|item| r.text(item));
    let send_prefix = part("send");
    let reply_prefix = part("reply");
    let send_size = f.get("send_size").and_then(|item| frame::send_size(r, item));
    let checksum = f.get("checksum").and_then(|item| frame::checksum(r, item));
    let silent = f.get("silent").and_then(|item| frame::silent(r, item));
    let unsolicited = r.list(f.get("unsolicited"), frame::unsolicited);
    let reply = f.get("reply").and_then(|item| frame::reply(r, item));
    if f.has("checksum") && checksum.is_none() {
        return None;
    }
    Some(Bytes {
        serial,
        tcp: f.has("tcp"),
        send_start,
        send_size,
        send_prefix,
        send_end: send_end?,
        send_bare,
        escape,
        reply: reply?,
        checksum,
        silent,
        unsolicited,
        reply_prefix,
    })
}

fn modbus(r: &mut Reader<'_>, f: &Fields<'_>, serial: Option<Serial>) -> Option<Modbus> {
    let inner = r.object(f.get("modbus")?, &t::MODBUS)?;
    let max_block = inner.get("max_block").and_then(|item| r.count32(item, 1, t::MAX_BLOCK));
    let write =
        inner.get("write").and_then(|item| r.word(item, &[("single", true), ("multiple", false)]));
    let framing =
        inner.get("framing").and_then(|item| r.word(item, &[("rtu", false), ("ascii", true)]));
    if let (Some(framing), None) = (&framing, &serial) {
        r.push(
            Diagnostic::error(
                codes::NOT_WITH,
                framing.span,
                "add `serial` settings, or remove `framing`: Modbus TCP has one framing",
            )
            .label("frames of a serial line"),
        );
    }
    let plus = inner.get("plus").and_then(|item| r.value_expression(item));
    Some(Modbus {
        serial,
        max_block,
        write_single: write.is_some_and(|word| word.value),
        ascii: framing.is_some_and(|word| word.value),
        plus,
    })
}

fn mqtt(r: &mut Reader<'_>, f: &Fields<'_>) -> Option<Mqtt> {
    let inner = r.object(f.get("mqtt")?, &t::MQTT)?;
    let version =
        inner.get("version").and_then(|item| r.word(item, &[("5", true), ("3.1.1", false)]));
    let qos = inner.get("qos").and_then(|item| r.count32(item, 0, 1));
    let mut time = |key: &str| inner.get(key).and_then(|item| r.time(item));
    let keep_alive = time("keep_alive");
    let expiry = time("expiry");
    let max_age = time("max_age");
    let liveness = f.get("liveness").and_then(|item| {
        let inner = r.object(item, &t::LIVENESS)?;
        let mut text = |key: &str| inner.get(key).and_then(|item| r.text(item));
        let (topic, online, offline) = (text("topic"), text("online"), text("offline"));
        let max_age = inner.get("max_age").and_then(|item| r.time(item));
        Some(Liveness { topic: topic?, online: online?, offline: offline?, max_age })
    });
    let qos = if qos.is_some_and(|n| n.value == 0) { 0 } else { 1 };
    let sparkplug =
        inner.get("sparkplug").and_then(|item| r.boolean(item)).is_some_and(|b| b.value);
    if let (true, Some(span)) = (sparkplug, f.key_span("liveness")) {
        r.push(
            Diagnostic::error(codes::NOT_WITH, span, "remove `liveness`: Sparkplug has its own")
                .label("would do nothing here")
                .reason("birth and death certificates say whether the device is there"),
        );
    }
    Some(Mqtt { v5: version?.value, qos, keep_alive, liveness, max_age, expiry, sparkplug })
}
