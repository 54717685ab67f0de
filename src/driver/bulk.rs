//! Numbers as bytes: definite length blocks of IEEE 488.2 cut out of replies, and bytes turned
//! into curves and arrays.
//!
//! ```text
//! [header] # digits length data end        #41000 is followed by 1000 bytes of data
//! ```
//!
//! A block says how long it is, so an end of line inside it is data. Source: IEEE 488.2-1992,
//! 8.7.9 (definite length arbitrary block response data).

use std::sync::Arc;

use crate::expr::{self, Array, Axis, Env, Expr, Parts, Sample, Series, Value};
use crate::spec::instrument::Binary;
use crate::spec::{AxisSource, Shape};
use crate::units::{Dimension, Quantity, Unit};
use crate::wire::printable::printable;

use super::framing::{Taken, position};
use super::text::{ReplyEnd, TextCodec};

/// Most characters before the `#` of a block, such as `:CURVE `.
const LONGEST_HEADER: usize = 64;
/// Most points of a curve: 64 MiB in memory.
const POINTS_MAX: usize = 1 << 22;

/// What has arrived of an answer that should be a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cut {
    /// Not enough to tell.
    Incomplete,
    /// An answer without a block, such as an error.
    Plain,
    /// A whole block: its frame, for the trace, and its data.
    Block { whole: usize, data: std::ops::Range<usize> },
}

/// What was taken of what has arrived.
#[derive(Debug)]
pub(super) enum Arrival {
    /// Nothing whole.
    Nothing,
    /// An answer.
    Answer(Taken),
    /// A block: its frame for the trace, and its data.
    Block { shown: String, data: Vec<u8> },
}

impl TextCodec {
    /// Takes what has arrived: where a block of at most so many bytes is expected that, else an
    /// answer.
    pub fn arrival(&self, arrived: &mut Vec<u8>, block: Option<usize>) -> Result<Arrival, String> {
        if let Some(most) = block {
            match self.block(arrived, most)? {
                Cut::Block { whole, data } => {
                    let shown = printable(arrived.get(..whole).unwrap_or_default());
                    let data = arrived.get(data).unwrap_or_default().to_vec();
                    arrived.drain(..whole);
                    return Ok(Arrival::Block { shown, data });
                }
                Cut::Incomplete => return Ok(Arrival::Nothing),
                Cut::Plain => {}
            }
        }
        Ok(self.take(arrived)?.map_or(Arrival::Nothing, Arrival::Answer))
    }

    /// Looks for a whole block at the beginning of what has arrived.
    ///
    /// Errors: a block without a length or of more than `most` bytes, and one that something else
    /// follows than the end of a reply.
    pub fn block(&self, arrived: &[u8], most: usize) -> Result<Cut, String> {
        let start = match position(arrived, &self.reply_start) {
            Some(at) => at + self.reply_start.len(),
            None => return Ok(Cut::Incomplete),
        };
        let body = arrived.get(start..).unwrap_or_default();
        let opening = body.get(..LONGEST_HEADER.min(body.len())).unwrap_or_default();
        let ends: &[Vec<u8>] = match &self.reply_end {
            ReplyEnd::Bytes(ends) => ends,
            _ => &[],
        };
        let ended = ends.iter().filter_map(|end| position(opening, end)).min();
        let mark = match (opening.iter().position(|byte| *byte == b'#'), ended) {
            (Some(mark), Some(end)) if end < mark => return Ok(Cut::Plain),
            (Some(mark), _) => mark,
            (None, None) if body.len() < LONGEST_HEADER => return Ok(Cut::Incomplete),
            (None, _) => return Ok(Cut::Plain),
        };
        let Some(count) = body.get(mark + 1) else { return Ok(Cut::Incomplete) };
        let count = match count {
            b'1'..=b'9' => usize::from(count - b'0'),
            b'0' => {
                return Err(
                    "a block of unknown length; set the instrument to definite length".into()
                );
            }
            _ => return Ok(Cut::Plain),
        };
        let Some(digits) = body.get(mark + 2..mark + 2 + count) else { return Ok(Cut::Incomplete) };
        let length = std::str::from_utf8(digits)
            .ok()
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()))
            .and_then(|digits| digits.parse::<usize>().ok())
            .ok_or("a block whose length is no number")?;
        if length > most {
            return Err(format!("a block of {length} bytes, more than {most}"));
        }
        let data = start + mark + 2 + count;
        let data = data..data + length;
        match self.end_behind(arrived.get(data.end..).unwrap_or_default(), ends) {
            _ if arrived.len() < data.end => Ok(Cut::Incomplete),
            Ok(Some(end)) => Ok(Cut::Block { whole: data.end + end, data }),
            Ok(None) => Ok(Cut::Incomplete),
            Err(()) => Err("a block that is longer than it says".into()),
        }
    }

    /// Length of the end behind a block, with bytes before it that mean nothing; `None` while it
    /// is not there.
    fn end_behind(&self, rest: &[u8], ends: &[Vec<u8>]) -> Result<Option<usize>, ()> {
        if ends.is_empty() {
            return Ok(Some(0));
        }
        let mut at = 0;
        loop {
            let after = rest.get(at..).unwrap_or_default();
            if let Some(end) = ends.iter().find(|end| after.starts_with(end)) {
                return Ok(Some(at + end.len()));
            }
            if ends.iter().any(|end| end.starts_with(after)) {
                return Ok(None);
            }
            match after.first() {
                Some(byte) if self.drop.contains(byte) => at += 1,
                _ => return Err(()),
            }
        }
    }
}

/// How bytes become a value.
#[derive(Debug, Clone)]
pub(super) struct BlockPlan {
    sample: Sample,
    big_endian: bool,
    scale: Option<Expr>,
    offset: Option<Expr>,
    axes: Vec<AxisPlan>,
    /// More bytes than this are refused.
    pub most: usize,
    shape: Shape,
}

#[derive(Debug, Clone)]
struct AxisPlan {
    name: String,
    start: Option<Expr>,
    step: Option<Expr>,
    length: Option<Expr>,
}

impl BlockPlan {
    pub fn new(binary: &Binary, shape: &Shape) -> BlockPlan {
        let expr = |e: &Option<crate::spec::Expression>| e.as_ref().map(|e| e.expr.clone());
        let axis = |axis: &crate::spec::instrument::BinaryAxis| AxisPlan {
            name: axis.name.value.clone(),
            start: expr(&axis.start),
            step: expr(&axis.step),
            length: expr(&axis.length),
        };
        BlockPlan {
            sample: binary.sample.value,
            big_endian: binary.big_endian,
            scale: expr(&binary.scale),
            offset: expr(&binary.offset),
            axes: binary.axes.iter().map(axis).collect(),
            most: binary.max_bytes as usize,
            shape: shape.clone(),
        }
    }

    /// Expressions whose names must have values before the bytes can be read.
    pub fn expressions(&self) -> impl Iterator<Item = &Expr> {
        let axes = self.axes.iter().flat_map(|a| [&a.start, &a.step, &a.length]);
        [&self.scale, &self.offset].into_iter().chain(axes).flatten()
    }

    /// The value that some bytes stand for.
    pub fn value(&self, mut bytes: Vec<u8>, scope: &dyn Env) -> Result<Value, String> {
        if bytes.len() > self.most {
            return Err(format!("{} bytes, more than {}", bytes.len(), self.most));
        }
        let size = self.sample.size();
        if bytes.is_empty() || !bytes.len().is_multiple_of(size) {
            return Err(format!(
                "{} bytes are no whole number of numbers of kind {}",
                bytes.len(),
                self.sample.name()
            ));
        }
        if self.big_endian && size > 1 {
            bytes.chunks_exact_mut(size).for_each(<[u8]>::reverse);
        }
        let given = |what: &str, expr: &Option<Expr>, unit: &Unit, default: f64| match expr {
            None => Ok(Quantity::of(default, unit).value),
            Some(expr) => number(what, expr, scope, unit.dim),
        };
        match &self.shape {
            Shape::Series { x, y, points } => {
                let scale = given("scale", &self.scale, &y.value, 1.0)?;
                let offset = given("offset", &self.offset, &y.value, 0.0)?;
                let places = bytes.len() / size;
                if places > POINTS_MAX {
                    return Err(format!("a curve of {places} points, more than {POINTS_MAX}"));
                }
                let listed = points.as_ref().and_then(|points| match &points.x {
                    AxisSource::At(numbers) => Some(numbers),
                    AxisSource::Array(_) | AxisSource::Each(_) => None,
                });
                let xs = match listed {
                    Some(numbers) if numbers.len() == places => {
                        numbers.iter().map(|n| Quantity::of(n.value, &x.value).value).collect()
                    }
                    Some(numbers) => {
                        return Err(format!("{places} ordinates for {} abscissas", numbers.len()));
                    }
                    None => {
                        let axis = self.axis("x", &x.value, scope)?;
                        if axis.length.is_some_and(|length| length != places) {
                            return Err(format!("{places} points, not {:?}", axis.length));
                        }
                        (0..places).map(|at| axis.start + at as f64 * axis.step).collect()
                    }
                };
                let ys = bytes.chunks_exact(size).filter_map(|one| self.sample.read(one));
                let ys: Vec<f64> = ys.map(|raw| raw * scale + offset).collect();
                if !ys.iter().all(|y| y.is_finite()) {
                    return Err("the block holds a number that is not finite".to_owned());
                }
                Ok(Value::Series(Arc::new(Series {
                    x: xs,
                    x_dim: x.value.dim,
                    y: ys,
                    y_dim: y.value.dim,
                })))
            }
            Shape::Array { unit, axes } => {
                let scale = given("scale", &self.scale, &unit.value, 1.0)?;
                let offset = given("offset", &self.offset, &unit.value, 0.0)?;
                let found: Result<Vec<(Place, Dimension, String)>, String> = axes
                    .iter()
                    .map(|axis| {
                        let place = self.axis(&axis.name.value, &axis.value.value, scope)?;
                        Ok((place, axis.value.value.dim, axis.name.value.clone()))
                    })
                    .collect();
                let axes = lengths(found?, bytes.len() / size)?;
                let (sample, dim) = (self.sample, unit.value.dim);
                let parts = Parts { axes, sample, bytes, scale, offset, dim };
                Ok(Value::Array(Arc::new(Array::new(parts)?)))
            }
            _ => Err("bytes are neither a curve nor an array".to_owned()),
        }
    }

    fn axis(&self, name: &str, unit: &Unit, scope: &dyn Env) -> Result<Place, String> {
        let plan = self.axes.iter().find(|axis| axis.name == name);
        let given = |what: &str, expr: Option<&Expr>, default: f64| match expr {
            None => Ok(Quantity::of(default, unit).value),
            Some(expr) => number(what, expr, scope, unit.dim),
        };
        let start = given("start", plan.and_then(|p| p.start.as_ref()), 0.0)?;
        let zero = Quantity::of(0.0, unit).value;
        let step = match plan.and_then(|p| p.step.as_ref()) {
            Some(expr) => number("step", expr, scope, unit.dim)?,
            None => Quantity::of(1.0, unit).value - zero,
        };
        let length = match plan.and_then(|p| p.length.as_ref()) {
            None => None,
            Some(expr) => match number("length", expr, scope, Dimension::NONE)? {
                whole if whole.fract() == 0.0 && (1.0..=16_777_216.0).contains(&whole) =>
                {
                    #[expect(clippy::cast_possible_truncation, reason = "in range")]
                    #[expect(clippy::cast_sign_loss, reason = "in range")]
                    Some(whole as usize)
                }
                other => return Err(format!("the length {other} of the axis `{name}`")),
            },
        };
        Ok(Place { start, step, length })
    }
}

/// The places of one axis; `None`: as many as there are.
#[derive(Debug, Clone, Copy)]
struct Place {
    start: f64,
    step: f64,
    length: Option<usize>,
}

/// Axes whose lengths give so many places; one that is not known follows from the others.
fn lengths(axes: Vec<(Place, Dimension, String)>, places: usize) -> Result<Vec<Axis>, String> {
    let known = axes.iter().filter_map(|(place, ..)| place.length);
    let known = known.fold(1usize, usize::saturating_mul).max(1);
    axes.into_iter()
        .map(|(Place { start, step, length }, dim, name)| {
            let length = match length {
                Some(length) => length,
                None if places.is_multiple_of(known) => places / known,
                None => return Err(format!("{places} numbers are no whole rows of {known}")),
            };
            Ok(Axis { name, length, start, step, dim })
        })
        .collect()
}

/// The value of an expression in coherent SI units.
fn number(what: &str, expr: &Expr, scope: &dyn Env, dim: Dimension) -> Result<f64, String> {
    match expr::eval(expr, scope).map_err(|e| format!("`{what}`: {}", e.message))? {
        Value::Quantity(quantity) if quantity.dim == dim && quantity.value.is_finite() => {
            Ok(quantity.value)
        }
        Value::Missing(why) => Err(format!("`{what}` has no value: {why}")),
        other => Err(format!("`{what}` is {}", other.show())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn codec() -> TextCodec {
        TextCodec {
            reply_end: ReplyEnd::Bytes(vec![b"\n".to_vec()]),
            drop: b"\r".to_vec(),
            ..TextCodec::plain()
        }
    }

    fn cut(arrived: &[u8]) -> Result<Cut, String> {
        codec().block(arrived, 1000)
    }

    #[test]
    fn an_end_of_line_inside_a_block_is_data() {
        let whole = b"#15a\nb\rc\n";
        assert_eq!(cut(whole), Ok(Cut::Block { whole: 9, data: 3..8 }));
        for length in 0..whole.len() {
            assert_eq!(cut(&whole[..length]), Ok(Cut::Incomplete), "{length}");
        }
        assert_eq!(cut(b":CURVE #12ab\r\n"), Ok(Cut::Block { whole: 14, data: 10..12 }));
    }

    #[test]
    fn what_is_no_block_is_told() {
        assert_eq!(cut(b"-113,\"Undefined header\"\n#1"), Ok(Cut::Plain));
        assert_eq!(cut(b"#Hff\n"), Ok(Cut::Plain));
        assert!(cut(b"#0abc\n").unwrap_err().contains("unknown length"));
        assert!(cut(b"#41001").unwrap_err().contains("more than 1000"));
        assert!(cut(b"#3x12").unwrap_err().contains("no number"));
        assert!(cut(b"#12abc\n").unwrap_err().contains("longer than it says"));
    }

    proptest! {
        #[test]
        fn any_data_comes_out_as_it_went_in(data in prop::collection::vec(any::<u8>(), 0..900)) {
            let mut arrived = format!("#3{:03}", data.len()).into_bytes();
            arrived.extend(&data);
            arrived.push(b'\n');
            let Ok(Cut::Block { whole, data: range }) = cut(&arrived) else { panic!() };
            prop_assert_eq!(whole, arrived.len());
            prop_assert_eq!(&arrived[range], data.as_slice());
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = cut(&bytes);
            let _ = cut(&[b"#", bytes.as_slice()].concat());
        }
    }
}
