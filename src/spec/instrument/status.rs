//! The status that stands in every reply, and tables of errors.

use crate::spec::codes;
use crate::spec::diagnostic::Diagnostic;
use crate::spec::reader::{Item, NameForm, Reader};

use super::lower::STATUS_WORDS;
use super::tables as t;
use super::{ErrorClass, ErrorCode, Status, StatusBits, StatusField};

/// Reads `status:`.
pub(super) fn lower(r: &mut Reader<'_>, item: Item<'_>) -> Option<Status> {
    let f = r.object(item, &t::STATUS)?;
    let fields =
        [("letter", StatusField::Letter), ("word", StatusField::Word), ("byte", StatusField::Byte)];
    let field = f.get("field").and_then(|item| r.word(item, &fields));
    let map = r.named(f.get("map"), NameForm::Free, |r, item| r.word(item, &STATUS_WORDS));
    let busy = f.get("busy").and_then(|item| {
        let inner = r.object(item, &t::STATUS_BITS)?;
        let mask = inner.get("mask").and_then(|item| byte(r, item));
        let is = inner.get("is").and_then(|item| byte(r, item));
        Some(StatusBits { mask: mask?, is: is? })
    });
    let error_mask = f.get("error_mask").and_then(|item| byte(r, item));
    let codes = errors(r, f.get("codes"));
    let alarms = errors(r, f.get("alarms"));
    let field = field?;
    let of_bits = field.value == StatusField::Byte;
    let (foreign, needed): (&[&str], &str) =
        if of_bits { (&["map", "alarms"], "busy") } else { (&["busy", "error_mask"], "map") };
    for key in foreign {
        if let Some(span) = f.key_span(key) {
            let belongs = if of_bits { "a letter or a word" } else { "a byte" };
            r.push(
                Diagnostic::error(
                    codes::NOT_WITH,
                    span,
                    format!("remove `{key}`: it belongs to the status that is {belongs}"),
                )
                .label("would do nothing here"),
            );
        }
    }
    if !f.has(needed) && !f.has_unknown() {
        r.push(
            Diagnostic::error(
                codes::MISSING_KEY,
                field.span,
                format!("add `{needed}` to the status"),
            )
            .label("nothing says what it means")
            .fix(if of_bits {
                "busy: {mask: 32, is: 0}"
            } else {
                "map: {S: ready, I: busy}"
            }),
        );
    }
    Some(Status { field, map, busy, error_mask, codes, alarms })
}

fn byte(r: &mut Reader<'_>, item: Item<'_>) -> Option<u8> {
    r.count32(item, 0, 255).and_then(|n| u8::try_from(n.value).ok())
}

/// Reads a table of errors.
pub(super) fn errors(r: &mut Reader<'_>, item: Option<Item<'_>>) -> Vec<ErrorCode> {
    let classes = [
        ("retry", ErrorClass::Retry),
        ("busy", ErrorClass::Busy),
        ("refused", ErrorClass::Refused),
        ("rebooted", ErrorClass::Rebooted),
        ("reinit", ErrorClass::Reinit),
        ("operator", ErrorClass::Operator),
        ("fatal", ErrorClass::Fatal),
    ];
    let mut out = Vec::new();
    for (code, item) in r.map(item, NameForm::Free) {
        let Some(f) = r.object(item, &t::ERROR) else { continue };
        let text = r.doc(f.get("text"));
        let class = f.get("class").and_then(|item| r.word(item, &classes));
        if let (Some(text), Some(class)) = (text, class) {
            out.push(ErrorCode { code, text, class: class.value });
        }
    }
    out
}
