//! Numbers as bytes: blocks of IEEE 488.2 over a line, binary payloads over MQTT.

use crate::expr::{Sample, Type};
use crate::spec::codes;
use crate::spec::diagnostic::Diagnostic;
use crate::spec::nearest::listed;
use crate::spec::reader::{Item, NameForm, Reader};
use crate::spec::source::{Span, Spanned};
use crate::spec::value::{AxisSource, Expression, Shape};
use crate::units::Dimension;

use super::check::{Names, expect};
use super::tables as t;
use super::{Ask, Bytes, Instrument, Operation, ReplyEnd, Wire};

/// How numbers stand in bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct Binary {
    /// Kind of number.
    pub sample: Spanned<Sample>,
    /// The most significant byte comes first.
    pub big_endian: bool,
    /// value = number * scale + offset; `None`: one of the unit.
    pub scale: Option<Expression>,
    /// See `scale`; `None`: zero.
    pub offset: Option<Expression>,
    /// What the places of the axes are.
    pub axes: Vec<BinaryAxis>,
    /// More bytes than this are an error.
    pub max_bytes: u32,
    /// The whole entry.
    pub span: Span,
}

/// What the places of one axis are.
#[derive(Debug, Clone, PartialEq)]
pub struct BinaryAxis {
    /// Name, as in `returns`; that of a curve is `x`.
    pub name: Spanned<String>,
    /// First place; `None`: zero.
    pub start: Option<Expression>,
    /// From one place to the next; `None`: one of the unit.
    pub step: Option<Expression>,
    /// Number of places; `None`: as many as there are.
    pub length: Option<Expression>,
}

/// Most bytes of a block unless the definition says otherwise.
const BYTES_DEFAULT: u32 = 1 << 22;

/// Reads `block:` or `binary:`.
pub(super) fn lower(r: &mut Reader<'_>, item: Item<'_>) -> Option<Binary> {
    let f = r.object(item, &t::BINARY)?;
    let words: Vec<(&str, (Sample, bool))> =
        t::SAMPLES.iter().filter_map(|word| Some((*word, sample(word)?))).collect();
    let kind = f.get("type").and_then(|item| r.word(item, &words));
    let scale = f.get("scale").and_then(|item| r.value_expression(item));
    let offset = f.get("offset").and_then(|item| r.value_expression(item));
    let mut axes = Vec::new();
    for (name, item) in r.map(f.get("axes"), NameForm::Identifier) {
        let Some(axis) = r.object(item, &t::BINARY_AXIS) else { continue };
        axes.push(BinaryAxis {
            name,
            start: axis.get("start").and_then(|item| r.value_expression(item)),
            step: axis.get("step").and_then(|item| r.value_expression(item)),
            length: axis.get("length").and_then(|item| r.value_expression(item)),
        });
    }
    let max = f.get("max_bytes").and_then(|item| r.count32(item, 1, t::MAX_BLOCK_BYTES));
    let kind = kind?;
    let (sample, big_endian) = kind.value;
    Some(Binary {
        sample: Spanned::new(sample, kind.span),
        big_endian,
        scale,
        offset,
        axes,
        max_bytes: max.map_or(BYTES_DEFAULT, |max| max.value),
        span: f.span,
    })
}

/// `i16be`: kind of number, and whether the most significant byte comes first.
fn sample(word: &str) -> Option<(Sample, bool)> {
    let (name, big) = match (word.strip_suffix("be"), word.strip_suffix("le")) {
        (Some(name), _) => (name, true),
        (_, Some(name)) => (name, false),
        _ => (word, false),
    };
    Sample::ALL.iter().find(|(known, _)| *known == name).map(|(_, kind)| (*kind, big))
}

impl Binary {
    /// Its expressions, each with the type it must have for values of a shape.
    pub(super) fn expressions(&self, shape: &Shape) -> Vec<(&Expression, Type)> {
        let of = |dim| Type::Quantity { dim, point: false };
        let (value, axes) = dimensions(shape);
        let mut all: Vec<(&Expression, Type)> =
            self.scale.iter().chain(&self.offset).map(|e| (e, of(value))).collect();
        for axis in &self.axes {
            let known = axes.iter().find(|(name, _)| *name == axis.name.value);
            let dim = known.map_or(Dimension::NONE, |(_, dim)| *dim);
            all.extend(axis.start.iter().chain(&axis.step).map(|e| (e, of(dim))));
            all.extend(axis.length.iter().map(|e| (e, of(Dimension::NONE))));
        }
        all
    }

    /// Reports what is missing or does not fit the shape of the values.
    pub(super) fn check(&self, r: &mut Reader<'_>, shape: Option<&Shape>) {
        let wrong = |span, message: String| Diagnostic::error(codes::BULK, span, message);
        let (Some(shape), true) =
            (shape, matches!(shape, Some(Shape::Series { .. } | Shape::Array { .. })))
        else {
            r.push(
                wrong(self.span, "say with `series` or `array` what these bytes are".to_owned())
                    .label("bytes of a value that is neither a curve nor an array")
                    .fix("returns: {series: {x: s, y: V}}"),
            );
            return;
        };
        let (_, axes) = dimensions(shape);
        for axis in &self.axes {
            if !axes.iter().any(|(name, _)| *name == axis.name.value) {
                r.push(
                    wrong(
                        axis.name.span,
                        format!("name an axis: there is no `{}`", axis.name.value),
                    )
                    .label("no axis of the value")
                    .reason(format!("there are: {}", listed(axes.iter().map(|(n, _)| *n)))),
                );
            }
        }
        let of = |name: &str| self.axes.iter().find(|axis| axis.name.value == name);
        let listed_places = matches!(
            shape,
            Shape::Series { points: Some(points), .. } if matches!(points.x, AxisSource::At(_))
        );
        if matches!(shape, Shape::Series { .. })
            && !listed_places
            && of("x").is_none_or(|x| x.step.is_none())
        {
            r.push(
                wrong(self.span, "add the step of the axis `x`".to_owned())
                    .label("where on the abscissa is each of the numbers?")
                    .fix("axes: {x: {step: 1 us}}"),
            );
        }
        let open: Vec<&str> = axes
            .iter()
            .map(|(name, _)| *name)
            .filter(|name| of(name).is_none_or(|axis| axis.length.is_none()))
            .collect();
        if let (Shape::Array { .. }, [_, second, ..]) = (shape, open.as_slice()) {
            r.push(
                wrong(self.span, format!("add the `length` of the axis `{second}`"))
                    .label("two axes of unknown length")
                    .reason("how many numbers stand in one row?"),
            );
        }
    }
}

/// Dimension of the values of a shape, and name and dimension of its axes.
fn dimensions(shape: &Shape) -> (Dimension, Vec<(&str, Dimension)>) {
    match shape {
        Shape::Series { x, y, .. } => (y.value.dim, vec![("x", x.value.dim)]),
        Shape::Array { unit, axes } => (
            unit.value.dim,
            axes.iter().map(|axis| (axis.name.value.as_str(), axis.value.value.dim)).collect(),
        ),
        _ => (Dimension::NONE, Vec::new()),
    }
}

/// Checks every block and binary payload of a definition.
pub(super) fn check_all(r: &mut Reader<'_>, instrument: &Instrument) {
    for property in &instrument.properties {
        let binary = match &property.ask {
            Some(Ask::Send { block, .. }) => block.as_deref(),
            Some(Ask::Topic { binary, .. }) => binary.as_deref(),
            Some(Ask::Register(_) | Ask::Metric { .. }) | None => None,
        };
        let names = Names::new(instrument, None);
        match binary {
            Some(binary) => one(r, instrument, &names, binary, Some(&property.shape)),
            None => not_from_text(r, instrument, &property.shape, property.name.span),
        }
    }
    for action in &instrument.actions {
        let names = Names::new(instrument, Some(action));
        let all: Vec<&Binary> = action.operations.iter().filter_map(binary_of).collect();
        for binary in &all {
            one(r, instrument, &names, binary, action.returns.as_ref());
        }
        if let (Some(shape), []) = (&action.returns, all.as_slice()) {
            not_from_text(r, instrument, shape, action.name.span);
        }
    }
    let states = instrument.safe_state.iter().chain(&instrument.hold_state);
    let safe = states.flat_map(|state| &state.operations);
    let none = Names::new(instrument, None);
    for operation in instrument.identify.iter().chain(&instrument.on_connect).chain(safe) {
        if let Some(binary) = binary_of(operation) {
            one(r, instrument, &none, binary, None);
        }
    }
}

fn binary_of(operation: &Operation) -> Option<&Binary> {
    match operation {
        Operation::Send { block, .. } => block.as_deref(),
        Operation::Publish { reply: Some(reply), .. } => reply.binary.as_deref(),
        _ => None,
    }
}

fn one(
    r: &mut Reader<'_>,
    instrument: &Instrument,
    names: &Names,
    binary: &Binary,
    shape: Option<&Shape>,
) {
    binary.check(r, shape);
    if let Wire::Bytes(bytes) = &instrument.connection.wire {
        frame(r, binary.span, bytes, instrument.status.is_some());
    }
    for (expression, wanted) in shape.map(|shape| binary.expressions(shape)).unwrap_or_default() {
        expect(r, names, expression, &wanted);
    }
}

/// A text answer holds one value; a curve or an array needs a block.
fn not_from_text(r: &mut Reader<'_>, instrument: &Instrument, shape: &Shape, at: Span) {
    let large = matches!(shape, Shape::Series { .. } | Shape::Array { .. });
    if large && !matches!(instrument.connection.wire, Wire::Mqtt(_)) {
        r.push(
            Diagnostic::error(codes::BULK, at, "say with `block` how its numbers come")
                .label("a curve or an array, and no block to read it from")
                .fix("block: {type: i16be, scale: 2 mV, axes: {x: {step: 1 us}}}"),
        );
    }
}

/// Reports frames in which a block cannot stand.
pub(super) fn frame(r: &mut Reader<'_>, block: Span, bytes: &Bytes, has_status: bool) {
    let plain_end = matches!(&bytes.reply.end, ReplyEnd::Text(_));
    let what = if !plain_end {
        "replies that end in another way than with `reply.end`"
    } else if bytes.checksum.is_some() {
        "a check sum"
    } else if bytes.escape.is_some() {
        "an escape byte"
    } else if bytes.reply_prefix.is_some() {
        "an address in replies"
    } else if has_status {
        "a status in replies"
    } else {
        return;
    };
    r.push(
        Diagnostic::error(codes::BULK, block, format!("a block does not go together with {what}"))
            .label("where would the block begin and end?")
            .reason("a block of IEEE 488.2 stands alone in a reply with a plain end"),
    );
}
