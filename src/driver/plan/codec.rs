//! The codec of a text or binary protocol, with the configuration of one unit filled in.

use std::collections::BTreeMap;

use crate::driver::checksum::{Checksum, Crc, From, Sum, Written};
use crate::driver::forms::Packed;
use crate::driver::pattern::Pattern;
use crate::driver::scope::Scope;
use crate::driver::template::Template;
use crate::driver::text::{
    LONGEST_REPLY, ReplyEnd, StatusForm, StatusTable, TextCodec, UnsolicitedPlan,
};
use crate::expr::Value;
use crate::spec::Spanned;
use crate::spec::instrument::{
    self as doc, ChecksumFrom, ChecksumKind, ErrorClass, StatusBits, StatusField,
};
use crate::wire::printable::bytes_of;

type Text = Option<Spanned<String>>;

/// Compiles the codec of a definition; every mistake is noted in `wrong`.
pub(super) fn codec(
    definition: &doc::Instrument,
    bytes: &doc::Bytes,
    config: &BTreeMap<String, Value>,
    wrong: &mut Vec<String>,
) -> Option<TextCodec> {
    let mut note = Notes { wrong };
    let prefix = note.filled(&bytes.send_prefix, config, "address.send");
    let reply_prefix = note.filled(&bytes.reply_prefix, config, "address.reply");
    let start = note.raw(&bytes.send_start, "send_start");
    let end = note.of(raw_of(&bytes.send_end.value, "send_end"));
    let escape = note.raw(&bytes.escape, "escape");
    let reply = &bytes.reply;
    let reply_start = note.raw(&reply.start, "reply.start");
    let drop = note.raw(&reply.drop, "reply.drop");
    let reply_end = note.reply_end(&reply.end);
    let size = match &bytes.send_size {
        None => Some(None),
        Some((form, add)) => {
            note.form(form, "send_size.as").map(|form| Some((form, *add as usize)))
        }
    };
    let checksum = match &bytes.checksum {
        None => Some(None),
        Some(sum) => note.of(checksum(sum)).map(Some),
    };
    let escape = escape.and_then(|bytes| match bytes.as_slice() {
        [] => Some(None),
        [one] => Some(Some(*one)),
        _ => {
            note.wrong.push("connection.escape: write one character".to_owned());
            None
        }
    });
    let bare = bytes.send_bare.iter().map(|text| raw_of(&text.value, "send_bare")).collect();
    let bare = note.of(bare);
    let error_patterns = note.error_patterns(&definition.errors);
    let mut unsolicited = Vec::new();
    for entry in &bytes.unsolicited {
        let pattern = Pattern::parse(&entry.pattern.value)
            .map_err(|why| format!("connection.unsolicited: {why}"));
        if let Some(pattern) = note.of(pattern) {
            let text = entry.text.clone().unwrap_or_else(|| "something happened to it".to_owned());
            unsolicited.push(UnsolicitedPlan { pattern, action: entry.action, text });
        }
    }
    Some(TextCodec {
        start: start?,
        prefix: prefix?,
        end: end?,
        bare: bare?,
        size: size?,
        escape: escape?,
        checksum: checksum?,
        reply_start: reply_start?,
        reply_end: reply_end?,
        longest: reply.max_length.as_ref().map_or(LONGEST_REPLY, |length| length.value as usize),
        echo: reply.echo,
        drop: drop?,
        reply_prefix: reply_prefix?,
        status: definition.status.as_ref().map(status),
        errors: table(&definition.errors),
        error_patterns,
        unsolicited,
    })
}

/// Where mistakes are noted.
struct Notes<'a> {
    wrong: &'a mut Vec<String>,
}

impl Notes<'_> {
    fn of<T>(&mut self, result: Result<T, String>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(why) => {
                self.wrong.push(why);
                None
            }
        }
    }

    /// A template over the configuration, filled in.
    fn filled(
        &mut self,
        source: &Text,
        config: &BTreeMap<String, Value>,
        place: &str,
    ) -> Option<String> {
        let scope = Scope::of_config(config);
        let source = source.as_ref().map_or("", |source| source.value.as_str());
        let text = Template::parse(source)
            .and_then(|template| template.render(&|name| scope.look_up(name)))
            .map(|(text, _)| text)
            .map_err(|why| format!("connection.{place}: {why}"));
        self.of(text)
    }

    fn raw(&mut self, text: &Text, place: &str) -> Option<Vec<u8>> {
        self.of(raw_of(text.as_ref().map_or("", |text| text.value.as_str()), place))
    }

    fn form(&mut self, form: &Spanned<String>, place: &str) -> Option<Packed> {
        self.of(Packed::parse(&form.value).ok_or_else(|| {
            format!("connection.{place}: `{}` is no form; write u8, u16be, u16le or h2", form.value)
        }))
    }

    /// Errors whose keys have a brace: these are patterns.
    fn error_patterns(&mut self, codes: &[doc::ErrorCode]) -> Vec<(Pattern, (String, ErrorClass))> {
        let mut patterns = Vec::new();
        for error in codes.iter().filter(|error| error.code.value.contains('{')) {
            let pattern = Pattern::parse(&error.code.value).map_err(|why| format!("errors: {why}"));
            if let Some(pattern) = self.of(pattern) {
                patterns.push((pattern, (error.text.clone(), error.class)));
            }
        }
        patterns
    }

    fn reply_end(&mut self, end: &doc::ReplyEnd) -> Option<ReplyEnd> {
        let mut all = |texts: &[Spanned<String>], place: &str| {
            let raw: Result<Vec<_>, _> =
                texts.iter().map(|text| raw_of(&text.value, place)).collect();
            self.of(raw)
        };
        Some(match end {
            doc::ReplyEnd::Text(ends) => ReplyEnd::Bytes(all(ends, "reply.end")?),
            doc::ReplyEnd::Lines { end, last } => ReplyEnd::Lines {
                last: all(last, "reply.last_line")?,
                end: self.of(raw_of(&end.value, "reply.end"))?,
            },
            doc::ReplyEnd::Size { at, form, add, tail } => ReplyEnd::Size {
                at: *at as usize,
                form: self.form(form, "reply.size.as")?,
                add: *add as usize,
                tail: self.raw(tail, "reply.size.tail")?,
            },
            doc::ReplyEnd::Length(length) => ReplyEnd::Length(length.value as usize),
            doc::ReplyEnd::Idle(idle) => ReplyEnd::Idle(idle.value),
        })
    }
}

fn raw_of(text: &str, place: &str) -> Result<Vec<u8>, String> {
    bytes_of(text)
        .ok_or_else(|| format!("connection.{place}: {text:?} holds characters that are no bytes"))
}

fn table(codes: &[doc::ErrorCode]) -> BTreeMap<String, (String, ErrorClass)> {
    codes.iter().map(|e| (e.code.value.clone(), (e.text.clone(), e.class))).collect()
}

fn status(status: &doc::Status) -> StatusTable {
    let map = || status.map.iter().map(|n| (n.name.value.clone(), n.value.value)).collect();
    StatusTable {
        form: match status.field.value {
            StatusField::Letter => StatusForm::Letter(map()),
            StatusField::Word => StatusForm::Word(map()),
            StatusField::Byte => StatusForm::Byte {
                // Without bits for it the device is never busy.
                busy: status.busy.unwrap_or(StatusBits { mask: 0, is: 1 }),
                error_mask: status.error_mask.unwrap_or(0),
            },
        },
        codes: table(&status.codes),
        alarms: table(&status.alarms),
    }
}

fn checksum(sum: &doc::Checksum) -> Result<Checksum, String> {
    let written = match sum.form.value.as_str() {
        "u8" => Written::Big(1),
        "u16be" => Written::Big(2),
        "u16le" => Written::Little(2),
        "u32be" => Written::Big(4),
        "u32le" => Written::Little(4),
        "h2" => Written::Hex(2),
        "h4" => Written::Hex(4),
        other => match other.strip_prefix('d').map(|mark| (mark.chars().next(), mark.len())) {
            Some((Some(mark), 1)) if !mark.is_ascii_digit() => Written::Decimal(mark),
            _ => {
                return Err(format!(
                    "connection.checksum.as: `{other}` is none of u8, u16be, u16le, u32be, u32le, \
                     h2, h4 and d*"
                ));
            }
        },
    };
    let computed = match &sum.kind {
        ChecksumKind::Named(name) => Sum::named(&name.value)
            .ok_or_else(|| format!("connection.checksum.kind: `{}` is not known", name.value))?,
        ChecksumKind::Crc(crc) => Sum::Crc(Crc {
            width: crc.width,
            poly: u64::from(crc.poly),
            init: u64::from(crc.init),
            reflect_in: crc.reflect_in,
            reflect_out: crc.reflect_out,
            xor_out: u64::from(crc.xor_out),
        }),
    };
    Ok(Checksum {
        sum: computed,
        written,
        from: match sum.from {
            ChecksumFrom::Start => From::Start,
            ChecksumFrom::Address => From::Address,
            ChecksumFrom::Body => From::Body,
        },
        over_end: sum.over_end,
        replies: sum.replies,
    })
}
