//! Registers of a definition.

use crate::spec::codes;
use crate::spec::diagnostic::Diagnostic;
use crate::spec::physics;
use crate::spec::reader::{Fields, Item, NameForm, Reader};
use crate::spec::source::{Span, Spanned};
use crate::spec::tree::NodeKind;

use super::tables as t;
use super::{Bits, Block, Register, RegisterType, Sentinel, Table, WordOrder};

/// A register. `verify` stands beside the register of a write.
pub(super) fn register(
    r: &mut Reader<'_>,
    item: Item<'_>,
    verify: Option<bool>,
) -> Option<Register> {
    let f = r.object(item, &t::REGISTER)?;
    let (key, table) = table(r, &f)?;
    let number = f.get(key).and_then(|item| r.count32(item, 0, 65_536));
    let single_bit = matches!(table, Table::Coil | Table::Discrete);
    complete(r, &f, key, single_bit);
    let base = f.get("base").and_then(|item| r.count32(item, 0, 1));
    let plus = f.get("plus").and_then(|item| r.value_expression(item));
    let kind = register_type(r, &f, single_bit);
    let length = length(r, &f, kind);
    let order = f.get("order").and_then(|item| order(r, item, kind.map(|k| k.value)));
    let scale = scale(r, &f, kind);
    let offset = f.get("offset").and_then(|item| r.number(item)).map_or(0.0, |n| n.value);
    let unit = f.get("unit").and_then(|item| r.unit(item));
    let invalid = match kind {
        Some(kind) => r.list(f.get("invalid"), |r, item| sentinel(r, item, kind.value)),
        None => Vec::new(),
    };
    let bits = f.get("bits").and_then(|item| bits(r, item, kind.map(|k| k.value)));
    let block = f.get("block").and_then(|item| block(r, item));
    let functions = f.get("functions").and_then(|item| functions(r, item, table));
    let (read_function, write_function) = functions.unwrap_or((None, None));
    let number = number?;
    let base = base?;
    if number.value < base.value {
        r.push(
            Diagnostic::error(codes::REGISTER, number.span, "choose a number of at least `base`")
                .label("counted from 1 there is no register 0"),
        );
        return None;
    }
    if kind.is_some_and(|kind| kind.value == RegisterType::String) && length.is_none() {
        return None;
    }
    Some(Register {
        table: Spanned::new(table, f.key_span(key).unwrap_or(f.span)),
        number,
        base: u8::from(base.value == 1),
        plus,
        kind: kind?,
        length,
        order,
        scale,
        offset,
        unit,
        invalid,
        bits,
        block,
        read_function,
        write_function,
        verify: verify.unwrap_or(false),
        span: f.span,
    })
}

/// The one table that is named.
fn table(r: &mut Reader<'_>, f: &Fields<'_>) -> Option<(&'static str, Table)> {
    let tables = [
        ("holding", Table::Holding),
        ("input", Table::Input),
        ("coil", Table::Coil),
        ("discrete", Table::Discrete),
    ];
    let given: Vec<_> = tables.iter().filter(|(key, _)| f.has(key)).collect();
    if let [one] = given.as_slice() {
        return Some(**one);
    }
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
    None
}

/// Reports what is missing and has no default.
fn complete(r: &mut Reader<'_>, f: &Fields<'_>, key: &str, single_bit: bool) {
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
}

fn register_type(r: &mut Reader<'_>, f: &Fields<'_>, bit: bool) -> Option<Spanned<RegisterType>> {
    let words = [
        ("u16", RegisterType::U16),
        ("i16", RegisterType::I16),
        ("u32", RegisterType::U32),
        ("i32", RegisterType::I32),
        ("u64", RegisterType::U64),
        ("i64", RegisterType::I64),
        ("f32", RegisterType::F32),
        ("f64", RegisterType::F64),
        ("bool", RegisterType::Bool),
        ("string", RegisterType::String),
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

/// How many registers a string takes.
fn length(
    r: &mut Reader<'_>,
    f: &Fields<'_>,
    kind: Option<Spanned<RegisterType>>,
) -> Option<Spanned<u32>> {
    let length = f.get("length").and_then(|item| r.count32(item, 1, 123));
    let kind = kind?;
    match (kind.value, f.key_span("length")) {
        (RegisterType::String, None) => {
            r.push(
                Diagnostic::error(
                    codes::REGISTER,
                    kind.span,
                    "add `length`: how many registers hold the string?",
                )
                .label("a string of unknown length")
                .reason("devices take and give a string whole, from its first register")
                .fix("length: 8"),
            );
            None
        }
        (RegisterType::String, Some(_)) => length,
        (_, Some(span)) => {
            r.push(
                Diagnostic::error(
                    codes::NOT_WITH,
                    span,
                    "remove `length`: it follows from the type",
                )
                .label("only a string has a length"),
            );
            None
        }
        (_, None) => None,
    }
}

fn scale(r: &mut Reader<'_>, f: &Fields<'_>, kind: Option<Spanned<RegisterType>>) -> f64 {
    let whole = matches!(kind, Some(k) if k.value == RegisterType::String);
    for key in ["scale", "offset", "unit", "invalid", "bits"] {
        if let (true, Some(span)) = (whole, f.key_span(key)) {
            r.push(
                Diagnostic::error(codes::NOT_WITH, span, format!("remove `{key}`: it is a text"))
                    .label("has no meaning for a string"),
            );
        }
    }
    let scale = f.get("scale").and_then(|item| r.number(item)).map_or(1.0, |n| n.value);
    if scale == 0.0
        && let Some(item) = f.get("scale")
    {
        r.push(
            Diagnostic::error(codes::OUT_OF_RANGE, item.span(), "choose a `scale` other than zero")
                .label("every value would be zero"),
        );
    }
    scale
}

/// A number, or bits in hexadecimal, that the register can hold.
fn sentinel(r: &mut Reader<'_>, item: Item<'_>, kind: RegisterType) -> Option<Spanned<Sentinel>> {
    let span = item.span();
    let NodeKind::Scalar { text, .. } = &item.node.kind else {
        r.number(item)?;
        return None;
    };
    if let Some(digits) = text.strip_prefix("0x") {
        let width = kind.registers(None) * 16;
        let bits = u64::from_str_radix(digits, 16).ok();
        if let Some(bits) = bits.filter(|bits| width >= 64 || bits >> width == 0) {
            return Some(Spanned::new(Sentinel::Bits(bits), span));
        }
        r.push(
            Diagnostic::error(
                codes::OUT_OF_RANGE,
                span,
                format!("write at most {} hexadecimal digits", width / 4),
            )
            .label("the register never holds this"),
        );
        return None;
    }
    let number = match physics::number(text) {
        Some(number) => number,
        None => r.number(item)?.value,
    };
    if let Some((low, high)) = kind.range()
        && !(number.fract() == 0.0 && number >= low as f64 && number <= high as f64)
    {
        let bits = number as i64 as u64 & 0xffff;
        r.push(
            Diagnostic::error(
                codes::OUT_OF_RANGE,
                span,
                format!("choose a whole number from {low} to {high}, or write its bits"),
            )
            .label("the register never holds this")
            .reason("what is compared is the raw number, before scale and offset")
            .fix(format!("invalid: [\"0x{bits:04X}\"]")),
        );
        return None;
    }
    Some(Spanned::new(Sentinel::Number(number), span))
}

/// Byte order; two letters for one register and for a string, four for several.
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
    let string = kind == Some(RegisterType::String);
    let two = string || matches!(kind, None | Some(RegisterType::U16 | RegisterType::I16));
    let problem = match (short, two) {
        (true, false) => (
            "write the order of all four bytes: ABCD, CDAB, BADC or DCBA",
            "two letters are for a single register",
        ),
        (false, _) if string => (
            "write AB or BA: the characters of a string stand in the order of its registers",
            "four letters are for numbers",
        ),
        _ => return Some(order),
    };
    r.push(Diagnostic::error(codes::REGISTER, word.span, problem.0).label(problem.1));
    None
}

fn bits(r: &mut Reader<'_>, item: Item<'_>, kind: Option<RegisterType>) -> Option<Bits> {
    let f = r.object(item, &t::BITS)?;
    let numbering =
        f.get("numbering").and_then(|item| r.word(item, &[("lsb0", true), ("msb0", false)]));
    let width = kind.map_or(64, |kind| u64::from(kind.registers(None)) * 16);
    let names = r.named(f.get("names"), NameForm::Identifier, |r, item| {
        let bit = r.count(item, 0, width.saturating_sub(1))?;
        u8::try_from(bit.value).ok().map(|n| Spanned::new(n, bit.span))
    });
    if let (Some(kind @ (RegisterType::F32 | RegisterType::F64)), Some(span)) =
        (kind, f.key_span("names"))
    {
        let what = if kind == RegisterType::F32 { "u32" } else { "u64" };
        r.push(
            Diagnostic::error(codes::REGISTER, span, format!("write `type: {what}` for bits"))
                .label("the bits of a floating point number have no names"),
        );
        return None;
    }
    Some(Bits { lsb0: numbering?.value, names })
}

fn block(r: &mut Reader<'_>, item: Item<'_>) -> Option<Block> {
    let f = r.object(item, &t::BLOCK)?;
    let start = f.get("start").and_then(|item| r.count32(item, 0, 65_536));
    let count = f.get("count").and_then(|item| r.count32(item, 1, t::MAX_BLOCK));
    Some(Block { start: start?, count: count? })
}

/// Function codes of reading and writing, which must be of the table.
fn functions(r: &mut Reader<'_>, item: Item<'_>, table: Table) -> Option<(Option<u8>, Option<u8>)> {
    let f = r.object(item, &t::FUNCTIONS)?;
    let (reads, writes): (&[u8], &[u8]) = match table {
        Table::Holding => (&[3, 4], &[6, 16]),
        Table::Coil => (&[1, 2], &[5, 15]),
        Table::Input => (&[4], &[]),
        Table::Discrete => (&[2], &[]),
    };
    let mut one = |key: &str, allowed: &[u8]| {
        let item = f.get(key)?;
        let code = r.count32(item, 1, 16)?;
        let found = allowed.iter().find(|allowed| u32::from(**allowed) == code.value);
        if found.is_none() {
            refuse(r, key, code.span, allowed);
        }
        found.copied()
    };
    let read = one("read", reads);
    let write = one("write", writes);
    Some((read, write))
}

fn refuse(r: &mut Reader<'_>, key: &str, span: Span, allowed: &[u8]) {
    let codes_text: Vec<String> = allowed.iter().map(ToString::to_string).collect();
    let message = if allowed.is_empty() {
        format!("remove `{key}`: this table cannot be written")
    } else {
        format!("write {} for `{key}`", codes_text.join(" or "))
    };
    r.push(Diagnostic::error(codes::REGISTER, span, message).label("not a function of this table"));
}
