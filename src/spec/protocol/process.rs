//! `analyse: {process: [...]}`: an analysis that is a program of the author's.

use crate::spec::codes;
use crate::spec::diagnostic::Diagnostic;
use crate::spec::reader::{Fields, Item, NameForm, Reader};
use crate::spec::shape::READING_TYPE;
use crate::spec::source::{Span, Spanned};
use crate::spec::table::{TEXT, Table, Takes, key};
use crate::spec::tree::NodeKind;
use crate::spec::value::{Named, Shape};

/// Most arguments of a program, and most files beside it.
const ARGUMENTS_MAX: usize = 64;
/// Memory a program may take where the protocol does not say, in bytes.
pub const MEMORY_DEFAULT: u64 = 2 << 30;
/// Least and most memory that may be asked for: below, no interpreter starts.
const MEMORY: std::ops::RangeInclusive<u64> = 16 << 20..=1 << 40;
/// Fields that every result has.
const OWN_FIELDS: [&str; 2] = ["quality", "reason"];

/// A program that turns data into results.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessDecl {
    /// Program and arguments, passed as they are, without a shell.
    pub argv: Vec<Spanned<String>>,
    /// Files it reads besides those among the arguments, relative to the protocol.
    pub files: Vec<Spanned<String>>,
    /// Most memory it may take, in bytes.
    pub memory: u64,
    /// What it gives.
    pub returns: Vec<Named<Shape>>,
    /// The mapping.
    pub span: Span,
}

/// `analyse:` as a mapping.
pub(super) static PROCESS: Table = Table {
    what: "an analysis by a program",
    doc: "A program of your own: JSON on its standard input, JSON on its standard output",
    keys: &[
        key(
            "process",
            Takes::List(&TEXT),
            "Program and arguments; files beside the protocol are kept",
        )
        .required("[python3, analysis/yield.py]"),
        key("files", Takes::List(&TEXT), "More files it reads, such as modules it imports"),
        key("memory", Takes::Text, "Most memory it may take, `512 MB`; 2 GiB if not given"),
    ],
};

static CURVE: Table = Table {
    what: "a curve",
    doc: "A curve: y over x",
    keys: &[
        key("x", Takes::Unit, "Unit of the abscissa").required("nm"),
        key("y", Takes::Unit, "Unit of the ordinate").required("\"1\""),
    ],
};

/// One entry of `returns:`.
pub(super) static RETURNED: Table = Table {
    what: "what a program returns",
    doc: "One result: a value with `unit` or `type`, or a curve (`series`)",
    keys: &[
        key("unit", Takes::Unit, "Unit; makes it a physical value"),
        key("type", READING_TYPE, "Kind of value, where it has no unit"),
        key("series", Takes::Object(&CURVE), "A curve"),
    ],
};

/// `analyse:` and `returns:` of a step, where `analyse:` is a mapping.
pub(super) fn process(r: &mut Reader<'_>, f: &Fields<'_>, item: Item<'_>) -> Option<ProcessDecl> {
    let inner = r.object(item, &PROCESS)?;
    if let Some(item) = inner.get("process")
        && let NodeKind::Scalar { text, .. } = &item.node.kind
    {
        let words: Vec<&str> = text.split_whitespace().collect();
        r.push(
            Diagnostic::error(
                codes::WRONG_KIND,
                item.span(),
                "write the program and its arguments as a list",
            )
            .label("one text")
            .reason("no shell takes it apart, so that no name is taken for something else")
            .fix(format!("process: [{}]", words.join(", "))),
        );
        return None;
    }
    let argv = r.list(inner.get("process"), Reader::text);
    let files = r.list(inner.get("files"), Reader::text);
    let memory = match inner.get("memory") {
        Some(item) => memory(r, item),
        None => Some(MEMORY_DEFAULT),
    };
    let returns = returns(r, f);
    if argv.is_empty() || argv.len() > ARGUMENTS_MAX || files.len() > ARGUMENTS_MAX {
        if inner.get("process").is_some_and(|i| matches!(i.node.kind, NodeKind::List(_))) {
            let message = "write the program and its arguments as a list";
            r.push(
                Diagnostic::error(codes::WRONG_KIND, inner.span, message)
                    .label(format!("1 to {ARGUMENTS_MAX} entries"))
                    .fix("process: [python3, analysis/yield.py]"),
            );
        }
        return None;
    }
    Some(ProcessDecl { argv, files, memory: memory?, returns: returns?, span: inner.span })
}

fn returns(r: &mut Reader<'_>, f: &Fields<'_>) -> Option<Vec<Named<Shape>>> {
    let wrong = |at: Span, message: String| Diagnostic::error(codes::RETURNS_FORM, at, message);
    let entries = r.map(f.get("returns"), NameForm::Identifier);
    if entries.is_empty() {
        let at = f.key_span("returns").or_else(|| f.key_span("analyse")).unwrap_or(f.span);
        r.push(
            wrong(at, "add `returns`: what does the program give, in which units?".to_owned())
                .label("no results are named")
                .reason("only what is named here can be used by later steps, in its unit")
                .fix("returns: {yield: {unit: \"%\"}}"),
        );
        return None;
    }
    let mut found = Vec::new();
    let mut complete = true;
    for (name, item) in entries {
        if OWN_FIELDS.contains(&name.value.as_str()) {
            r.push(
                wrong(name.span, format!("give `{}` another name", name.value))
                    .label("every result has this already")
                    .reason("a program sets `quality` and `reason` beside its `results`"),
            );
            complete = false;
            continue;
        }
        match returned(r, &name, item) {
            Some(value) => found.push(Named { name, value }),
            None => complete = false,
        }
    }
    complete.then_some(found)
}

fn returned(r: &mut Reader<'_>, name: &Spanned<String>, item: Item<'_>) -> Option<Shape> {
    if !matches!(item.node.kind, NodeKind::Map(_)) {
        r.push(
            Diagnostic::error(
                codes::RETURNS_FORM,
                item.span(),
                format!("say what `{}` is by its unit or its type", name.value),
            )
            .label("not a mapping")
            .fix(format!("{}: {{unit: \"%\"}}", name.value)),
        );
        return None;
    }
    let inner = r.object(item, &RETURNED)?;
    let given: Vec<&str> =
        ["unit", "type", "series"].into_iter().filter(|k| inner.has(k)).collect();
    match given.as_slice() {
        ["unit"] => Some(Shape::Quantity(r.unit(inner.get("unit")?)?)),
        ["type"] => {
            let words = [("number", 0_u8), ("int", 1), ("bool", 2), ("text", 3)];
            Some(match r.word(inner.get("type")?, &words)?.value {
                0 => Shape::Number,
                1 => Shape::Integer,
                2 => Shape::Bool,
                _ => Shape::Text,
            })
        }
        ["series"] => {
            let curve = r.object(inner.get("series")?, &CURVE)?;
            let x = curve.get("x").and_then(|item| r.unit(item));
            let y = curve.get("y").and_then(|item| r.unit(item));
            Some(Shape::Series { x: x?, y: y?, points: None })
        }
        _ => {
            let message = match given.as_slice() {
                [] => format!("say what `{}` is by its `unit`, `type` or `series`", name.value),
                [first, second, ..] => {
                    format!("keep one of `{first}` and `{second}` for `{}`", name.value)
                }
                [_] => format!("say what `{}` is", name.value),
            };
            if !inner.has_unknown() {
                r.push(
                    Diagnostic::error(codes::RETURNS_FORM, inner.span, message)
                        .label(if given.is_empty() { "says neither" } else { "says two" })
                        .fix(format!("{}: {{unit: \"%\"}}", name.value)),
                );
            }
            None
        }
    }
}

/// `512 MB`.
fn memory(r: &mut Reader<'_>, item: Item<'_>) -> Option<u64> {
    let text = r.text(item)?;
    let units: [(&str, u64); 6] = [
        ("KB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("KIB", 1 << 10),
        ("MIB", 1 << 20),
        ("GIB", 1 << 30),
    ];
    let (number, unit) = text.trim().split_once(char::is_whitespace).unwrap_or((&text, ""));
    let size = units.iter().find(|(name, _)| unit.trim().eq_ignore_ascii_case(name));
    let bytes = match (number.trim().parse::<f64>(), size) {
        (Ok(n), Some((_, size))) if n.is_finite() && n > 0.0 => Some((n * *size as f64) as u64),
        _ => None,
    };
    match bytes.filter(|bytes| MEMORY.contains(bytes)) {
        Some(bytes) => Some(bytes),
        None => {
            r.push(
                Diagnostic::error(
                    codes::OUT_OF_RANGE,
                    text.span,
                    "write the memory with its unit, 16 MiB to 1 TiB, such as `512 MB`",
                )
                .label("not such an amount")
                .reason("units are kB, MB, GB, KiB, MiB and GiB")
                .fix("memory: 512 MB"),
            );
            None
        }
    }
}
