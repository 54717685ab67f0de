//! Large values as files: what stands in such a file, and what stands in its place elsewhere.
//!
//! ```text
//! labloop data 1 \n
//! {"curve": {...}} or {"array": {...}} \n     what the numbers are, one line of JSON
//! numbers, least significant byte first
//! ```
//!
//! The bytes are the same for the same value, and every bit of the value comes back, so that a run
//! that goes on after a crash sees what it saw before. Pure: files are read and written elsewhere.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::array::{Array, Axis, Parts, Sample};
use super::value::{Series, Value};
use crate::units::{Dimension, Unit};

/// Curves and arrays with more numbers than this are kept as files; smaller ones are cheaper where
/// they are.
pub const INLINE_MAX: usize = 64;
/// Most numbers of one curve or array; twice the largest image of a common camera.
pub const NUMBERS_MAX: usize = 1 << 24;

const MAGIC: &[u8] = b"labloop data 1\n";

/// What stands in place of a value that is kept as a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filed {
    /// SHA-256 of the file, hexadecimal; also its name.
    pub sha256: String,
    /// Size of the file.
    pub bytes: u64,
    /// What it holds.
    pub is: FiledKind,
    /// Kind of its numbers.
    pub sample: Sample,
    /// Unit of its numbers.
    pub unit: String,
    /// Its axes, the slowest first.
    pub axes: Vec<FiledAxis>,
}

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FiledKind {
    /// A curve.
    Curve,
    /// An array.
    Array,
}

impl FiledKind {
    /// `curve` or `array`.
    pub fn as_str(self) -> &'static str {
        match self {
            FiledKind::Curve => "curve",
            FiledKind::Array => "array",
        }
    }
}

/// One axis of a value that is kept as a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FiledAxis {
    /// Name.
    pub name: String,
    /// Number of places.
    pub length: usize,
    /// Unit of the places.
    pub unit: String,
}

impl Filed {
    /// `a curve of 1000 points` or `an array of 480 x 640 numbers`.
    pub fn show(&self) -> String {
        let lengths: Vec<String> = self.axes.iter().map(|axis| axis.length.to_string()).collect();
        match self.is {
            FiledKind::Curve => format!("a curve of {} points", lengths.join(" x ")),
            FiledKind::Array => format!("an array of {} numbers", lengths.join(" x ")),
        }
    }
}

/// The first line of a file after its magic.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Header {
    Curve { points: usize, x: Places, x_dim: Dimension, y_dim: Dimension },
    Array { axes: Vec<Axis>, sample: Sample, scale: f64, offset: f64, dim: Dimension },
}

/// Abscissas: all written out, or evenly spaced where that gives exactly the same numbers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Places {
    Listed,
    Even { start: f64, step: f64 },
}

/// The file of a value and what stands in its place, with the hash still to be filled in; `None`
/// for values that stay where they are.
pub fn file_of(value: &Value) -> Option<(Vec<u8>, Filed)> {
    match value {
        Value::Series(series) if series.y.len() > INLINE_MAX => curve_file(series),
        Value::Array(array) if array.len() > INLINE_MAX => array_file(array),
        _ => None,
    }
}

/// Coherent units with names of their own.
const NAMED: &[&str] = &["Hz", "N", "Pa", "J", "W", "C", "V", "F", "Ohm", "H", "T", "S"];

/// The coherent SI unit of a dimension.
fn unit(dim: Dimension) -> String {
    let named = |name: &&&str| Unit::parse(name).is_ok_and(|unit| unit.dim == dim && !unit.point);
    match NAMED.iter().find(named) {
        Some(name) => (*name).to_owned(),
        None if dim.is_none() => "1".to_owned(),
        None => dim.si(),
    }
}

fn begin(header: &Header, room: usize) -> Option<Vec<u8>> {
    let line = serde_json::to_vec(header).ok()?;
    let mut bytes = Vec::with_capacity(MAGIC.len() + line.len() + 1 + room);
    bytes.extend_from_slice(MAGIC);
    bytes.extend(line);
    bytes.push(b'\n');
    Some(bytes)
}

fn curve_file(series: &Series) -> Option<(Vec<u8>, Filed)> {
    let points = series.y.len();
    if series.x.len() != points {
        return None;
    }
    let places = even(&series.x).unwrap_or(Places::Listed);
    let listed = matches!(places, Places::Listed);
    let header = Header::Curve { points, x: places, x_dim: series.x_dim, y_dim: series.y_dim };
    let mut bytes = begin(&header, points * 16)?;
    let x: &[f64] = if listed { &series.x } else { &[] };
    for number in x.iter().chain(&series.y) {
        bytes.extend(number.to_le_bytes());
    }
    let axis = FiledAxis { name: "x".to_owned(), length: points, unit: unit(series.x_dim) };
    let filed = Filed {
        sha256: String::new(),
        bytes: bytes.len() as u64,
        is: FiledKind::Curve,
        sample: Sample::F64,
        unit: unit(series.y_dim),
        axes: vec![axis],
    };
    Some((bytes, filed))
}

/// Evenly spaced places, if they give every number bit by bit.
fn even(x: &[f64]) -> Option<Places> {
    let (first, second, last) = (*x.first()?, *x.get(1)?, *x.last()?);
    let steps = [second - first, (last - first) / (x.len() - 1) as f64];
    let fits = |step: &f64| {
        let all = |(at, x): (usize, &f64)| (first + at as f64 * step).to_bits() == x.to_bits();
        step.is_finite() && x.iter().enumerate().all(all)
    };
    // A step is mostly a short number, such as 4e-10, that the differences only come close to.
    let short = (0..=16).flat_map(|digits| {
        steps.into_iter().filter_map(move |step| format!("{step:.digits$e}").parse().ok())
    });
    let step = short.chain(steps).find(fits)?;
    Some(Places::Even { start: first, step })
}

fn array_file(array: &Array) -> Option<(Vec<u8>, Filed)> {
    let Parts { axes, sample, bytes: numbers, scale, offset, dim } = array.parts().clone();
    let named = |axis: &Axis| FiledAxis {
        name: axis.name.clone(),
        length: axis.length,
        unit: unit(axis.dim),
    };
    let filed_axes = axes.iter().map(named).collect();
    let header = Header::Array { axes, sample, scale, offset, dim };
    let mut bytes = begin(&header, numbers.len())?;
    bytes.extend(numbers);
    let filed = Filed {
        sha256: String::new(),
        bytes: bytes.len() as u64,
        is: FiledKind::Array,
        sample,
        unit: unit(dim),
        axes: filed_axes,
    };
    Some((bytes, filed))
}

/// The value in a file.
///
/// Errors: what is no such file, or not a whole one.
pub fn value_in(file: &[u8]) -> Result<Value, String> {
    let rest = file.strip_prefix(MAGIC).ok_or("it does not begin as a file of labloop data")?;
    let end = rest.iter().position(|byte| *byte == b'\n').ok_or("its first lines are cut off")?;
    let (line, numbers) = rest.split_at(end);
    let numbers = numbers.get(1..).unwrap_or_default();
    let header: Header = serde_json::from_slice(line).map_err(|e| format!("its header: {e}"))?;
    match header {
        Header::Array { axes, sample, scale, offset, dim } => {
            let bytes = numbers.to_vec();
            let array = Array::new(Parts { axes, sample, bytes, scale, offset, dim })?;
            Ok(Value::Array(Arc::new(array)))
        }
        Header::Curve { points, x, x_dim, y_dim } => {
            let wide = if matches!(x, Places::Listed) { 16 } else { 8 };
            if points > NUMBERS_MAX || points.checked_mul(wide) != Some(numbers.len()) {
                return Err(format!("it should hold {points} points"));
            }
            let all = numbers.as_chunks::<8>().0.iter().map(|eight| f64::from_le_bytes(*eight));
            let all: Vec<f64> = all.collect();
            let (x, y) = match x {
                Places::Listed => {
                    let (x, y) = all.split_at(points);
                    (x.to_vec(), y.to_vec())
                }
                Places::Even { start, step } => {
                    ((0..points).map(|at| start + at as f64 * step).collect(), all)
                }
            };
            Ok(Value::Series(Arc::new(Series { x, x_dim, y, y_dim })))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn curve(x: Vec<f64>, y: Vec<f64>) -> Value {
        Value::Series(Arc::new(Series { x, x_dim: Dimension::TIME, y, y_dim: Dimension::NONE }))
    }

    #[test]
    fn even_places_take_no_room_and_come_back_bit_by_bit() {
        for (start, step) in [(0.0, 1e-9 / 3.0), (-0.1, 4e-10), (2e-7, 1e-9), (0.3, 1.25)] {
            let x: Vec<f64> = (0..10_000).map(|at| start + f64::from(at) * step).collect();
            let value = curve(x, (0..10_000).map(|at| f64::from(at).sin()).collect());
            let (bytes, filed) = file_of(&value).unwrap();
            assert!(bytes.len() < 80_000 + 300, "{start} {step}: {}", bytes.len());
            assert_eq!(filed.axes[0].unit, "s");
            assert_eq!(value_in(&bytes).unwrap(), value);
        }
    }

    #[test]
    fn small_values_stay_where_they_are() {
        assert!(file_of(&curve(vec![0.0; 64], vec![1.0; 64])).is_none());
        assert!(file_of(&Value::text(&"x".repeat(1_000))).is_none());
    }

    #[test]
    fn an_image_keeps_its_samples_as_they_came() {
        let axis = |name: &str, length| Axis {
            name: name.to_owned(),
            length,
            start: 0.0,
            step: 2e-6,
            dim: Dimension::LENGTH,
        };
        let bytes: Vec<u8> = (0..240_u16).flat_map(|n| (n * 100).to_le_bytes()).collect();
        let parts = Parts {
            axes: vec![axis("y", 12), axis("x", 20)],
            sample: Sample::U16,
            bytes,
            scale: 0.5,
            offset: 1.0,
            dim: Dimension::NONE,
        };
        let array = Array::new(parts).unwrap();
        assert_eq!(array.values().nth(3), Some(151.0));
        let value = Value::Array(Arc::new(array));
        let (file, filed) = file_of(&value).unwrap();
        assert_eq!(filed.show(), "an array of 12 x 20 numbers");
        assert_eq!(value_in(&file).unwrap(), value);
        for cut in [3, 20, file.len() - 1] {
            assert!(value_in(&file[..cut]).is_err(), "{cut}");
        }
    }

    proptest! {
        #[test]
        fn every_curve_comes_back(
            points in prop::collection::vec((any::<f64>(), any::<f64>()), 65..200)
        ) {
            let (x, y): (Vec<f64>, Vec<f64>) = points.into_iter().unzip();
            let bits = |v: &[f64]| v.iter().map(|n| n.to_bits()).collect::<Vec<_>>();
            let (file, _) = file_of(&curve(x.clone(), y.clone())).unwrap();
            let Value::Series(found) = value_in(&file).unwrap() else { panic!() };
            prop_assert_eq!(bits(&found.x), bits(&x));
            prop_assert_eq!(bits(&found.y), bits(&y));
        }

        #[test]
        fn no_file_panics(bytes: Vec<u8>) {
            let _ = value_in(&[MAGIC, bytes.as_slice()].concat());
        }
    }
}
