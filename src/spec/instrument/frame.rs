//! Frames of text and binary protocols: where a reply ends, check sums, what is said unasked.

use crate::spec::codes;
use crate::spec::diagnostic::Diagnostic;
use crate::spec::reader::{Fields, Item, Reader};
use crate::spec::source::Spanned;

use super::tables as t;
use super::{
    Checksum, ChecksumFrom, ChecksumKind, CrcDecl, ReplyEnd, ReplyFrame, Silent, Unsolicited,
    UnsolicitedAction, operation,
};

/// Reads `reply:`.
pub(super) fn reply(r: &mut Reader<'_>, item: Item<'_>) -> Option<ReplyFrame> {
    let f = r.object(item, &t::REPLY)?;
    let ways = ["end", "size", "length", "idle"];
    let ends: Vec<&str> = ways.into_iter().filter(|key| f.has(key)).collect();
    if ends.len() != 1 && !f.has_unknown() {
        r.push(
            Diagnostic::error(
                codes::CONNECTION,
                f.span,
                "say how a reply ends: one of end, size, length and idle",
            )
            .label(if ends.is_empty() { "no end" } else { "more than one end" })
            .fix("reply: {end: \"\\r\\n\"}"),
        );
        return None;
    }
    let start = f.get("start").and_then(|item| r.text(item));
    let end = match ends.first() {
        Some(&"end") => line_end(r, &f),
        Some(&"size") => f.get("size").and_then(|item| size(r, item)),
        Some(&"length") => {
            f.get("length").and_then(|item| r.count32(item, 1, t::MAX_REPLY)).map(ReplyEnd::Length)
        }
        _ => f.get("idle").and_then(|item| r.time(item)).map(ReplyEnd::Idle),
    };
    if let (Some(span), false) = (f.key_span("last_line"), f.has("end")) {
        r.push(
            Diagnostic::error(codes::NOT_WITH, span, "add `end`: how does each line end?")
                .label("lines without an end")
                .fix("end: \"\\r\\n\""),
        );
    }
    let max_length = f.get("max_length").and_then(|item| r.count32(item, 1, t::MAX_REPLY));
    let echo = f.get("echo").and_then(|item| r.boolean(item)).is_some_and(|b| b.value);
    let drop = f.get("drop").and_then(|item| r.text(item));
    Some(ReplyFrame { start, end: end?, max_length, echo, drop })
}

fn line_end(r: &mut Reader<'_>, f: &Fields<'_>) -> Option<ReplyEnd> {
    let ends = r.one_or_list(f.get("end"), Reader::text);
    if let Some(empty) = ends.iter().find(|end| end.value.is_empty()) {
        r.push(
            Diagnostic::error(
                codes::CONNECTION,
                empty.span,
                "write the characters that end a reply, or use `idle`",
            )
            .label("an empty end"),
        );
        return None;
    }
    if !f.has("last_line") {
        return (!ends.is_empty()).then_some(ReplyEnd::Text(ends));
    }
    let last = r.one_or_list(f.get("last_line"), Reader::text);
    match ends.as_slice() {
        [end] if !last.is_empty() => Some(ReplyEnd::Lines { end: end.clone(), last }),
        [_, second, ..] => {
            r.push(
                Diagnostic::error(codes::CONNECTION, second.span, "give one `end` of lines")
                    .label("with `last_line` every line ends alike"),
            );
            None
        }
        _ => None,
    }
}

fn size(r: &mut Reader<'_>, item: Item<'_>) -> Option<ReplyEnd> {
    let f = r.object(item, &t::SIZE)?;
    let at = f.get("at").and_then(|item| r.count32(item, 0, 1024));
    let form = f.get("as").and_then(|item| r.text(item));
    let add = f.get("add").and_then(|item| r.count32(item, 0, 1024));
    let tail = f.get("tail").and_then(|item| r.text(item));
    Some(ReplyEnd::Size { at: at?.value, form: form?, add: add.map_or(0, |add| add.value), tail })
}

/// Reads `send_size:`.
pub(super) fn send_size(r: &mut Reader<'_>, item: Item<'_>) -> Option<(Spanned<String>, u32)> {
    let f = r.object(item, &t::SEND_SIZE)?;
    let form = f.get("as").and_then(|item| r.text(item));
    let add = f.get("add").and_then(|item| r.count32(item, 0, 1024));
    Some((form?, add.map_or(0, |add| add.value)))
}

/// Reads `checksum:`.
pub(super) fn checksum(r: &mut Reader<'_>, item: Item<'_>) -> Option<Checksum> {
    let f = r.object(item, &t::CHECKSUM)?;
    let kind = match (f.get("kind"), f.get("crc")) {
        (Some(item), None) => {
            let words: Vec<(&str, ())> = t::CHECKSUMS.iter().map(|word| (*word, ())).collect();
            r.word(item, &words)?;
            r.text(item).map(ChecksumKind::Named)
        }
        (None, Some(item)) => crc(r, item).map(ChecksumKind::Crc),
        _ => {
            r.push(
                Diagnostic::error(
                    codes::CONNECTION,
                    f.span,
                    "say how the check sum is computed: one of kind and crc",
                )
                .label("neither or both")
                .fix("kind: crc16_modbus"),
            );
            None
        }
    };
    let form = f.get("as").and_then(|item| r.text(item));
    let words = [
        ("start", ChecksumFrom::Start),
        ("address", ChecksumFrom::Address),
        ("body", ChecksumFrom::Body),
    ];
    let from = f.get("from").and_then(|item| r.word(item, &words));
    let flag = |r: &mut Reader<'_>, key: &str| f.get(key).and_then(|item| r.boolean(item));
    let over_end = flag(r, "over_end").is_some_and(|b| b.value);
    let replies = flag(r, "replies").is_none_or(|b| b.value);
    Some(Checksum {
        kind: kind?,
        form: form?,
        from: from.map_or(ChecksumFrom::Start, |from| from.value),
        over_end,
        replies,
        span: f.span,
    })
}

fn crc(r: &mut Reader<'_>, item: Item<'_>) -> Option<CrcDecl> {
    let f = r.object(item, &t::CRC)?;
    let mut count = |key: &str, least: u32, most: u32| {
        f.get(key).and_then(|item| r.count32(item, least, most)).map(|n| n.value)
    };
    let (width, poly) = (count("width", 8, 32), count("poly", 0, u32::MAX));
    let (init, xor_out) = (count("init", 0, u32::MAX), count("xor_out", 0, u32::MAX));
    let mut flag = |key: &str| f.get(key).and_then(|item| r.boolean(item)).is_some_and(|b| b.value);
    let (reflect_in, reflect_out) = (flag("reflect_in"), flag("reflect_out"));
    Some(CrcDecl {
        width: width?,
        poly: poly?,
        init: init?,
        reflect_in,
        reflect_out,
        xor_out: xor_out.unwrap_or(0),
    })
}

/// Reads `silent:`.
pub(super) fn silent(r: &mut Reader<'_>, item: Item<'_>) -> Option<Silent> {
    let f = r.object(item, &t::SILENT)?;
    let gap = f.get("gap").and_then(|item| r.time(item));
    let check = f.get("check").and_then(|item| operation::question(r, item));
    Some(Silent { gap, check })
}

/// Reads one entry of `unsolicited:`.
pub(super) fn unsolicited(r: &mut Reader<'_>, item: Item<'_>) -> Option<Unsolicited> {
    let f = r.object(item, &t::UNSOLICITED)?;
    let pattern: Option<Spanned<String>> = f.get("match").and_then(|item| r.text(item));
    let words = [
        ("ignore", UnsolicitedAction::Ignore),
        ("busy", UnsolicitedAction::Busy),
        ("rebooted", UnsolicitedAction::Rebooted),
        ("alarm", UnsolicitedAction::Alarm),
    ];
    let action = f.get("do").and_then(|item| r.word(item, &words));
    let text = r.doc(f.get("text"));
    Some(Unsolicited { pattern: pattern?, action: action?.value, text })
}
