//! Arrays of numbers on a regular grid, such as images: the samples as the instrument gave them,
//! with what they mean.

use serde::{Deserialize, Serialize};

use crate::units::Dimension;

/// Kind of number an instrument writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sample {
    /// 8 bits without sign.
    U8,
    /// 8 bits with sign.
    I8,
    /// 16 bits without sign.
    U16,
    /// 16 bits with sign.
    I16,
    /// 32 bits without sign.
    U32,
    /// 32 bits with sign.
    I32,
    /// 32-bit floating point.
    F32,
    /// 64-bit floating point.
    F64,
}

impl Sample {
    /// All kinds, with their names.
    pub const ALL: [(&'static str, Sample); 8] = [
        ("u8", Sample::U8),
        ("i8", Sample::I8),
        ("u16", Sample::U16),
        ("i16", Sample::I16),
        ("u32", Sample::U32),
        ("i32", Sample::I32),
        ("f32", Sample::F32),
        ("f64", Sample::F64),
    ];

    /// Bytes of one number.
    pub fn size(self) -> usize {
        match self {
            Sample::U8 | Sample::I8 => 1,
            Sample::U16 | Sample::I16 => 2,
            Sample::U32 | Sample::I32 | Sample::F32 => 4,
            Sample::F64 => 8,
        }
    }

    /// `u16`.
    pub fn name(self) -> &'static str {
        Sample::ALL.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    /// One number from its bytes, the least significant first; `None` when there are too few.
    pub fn read(self, bytes: &[u8]) -> Option<f64> {
        Some(match self {
            Sample::U8 => f64::from(*bytes.first()?),
            Sample::I8 => f64::from(i8::from_le_bytes([*bytes.first()?])),
            Sample::U16 => f64::from(u16::from_le_bytes(*bytes.first_chunk()?)),
            Sample::I16 => f64::from(i16::from_le_bytes(*bytes.first_chunk()?)),
            Sample::U32 => f64::from(u32::from_le_bytes(*bytes.first_chunk()?)),
            Sample::I32 => f64::from(i32::from_le_bytes(*bytes.first_chunk()?)),
            Sample::F32 => f64::from(f32::from_le_bytes(*bytes.first_chunk()?)),
            Sample::F64 => f64::from_le_bytes(*bytes.first_chunk()?),
        })
    }
}

/// One axis of an array: places at `start`, `start + step`, ...
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Axis {
    /// Name.
    pub name: String,
    /// Number of places.
    pub length: usize,
    /// First place, in coherent SI units.
    pub start: f64,
    /// From one place to the next.
    pub step: f64,
    /// Dimension of the places.
    pub dim: Dimension,
}

/// Numbers on a regular grid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Parts", into = "Parts")]
pub struct Array {
    parts: Parts,
}

/// What an array is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parts {
    /// The slowest first: of an image its rows, then its columns.
    pub axes: Vec<Axis>,
    /// Kind of the samples.
    pub sample: Sample,
    /// The samples, each with its least significant byte first.
    pub bytes: Vec<u8>,
    /// value = sample * scale + offset, in coherent SI units.
    pub scale: f64,
    /// See `scale`.
    pub offset: f64,
    /// Dimension of the values.
    pub dim: Dimension,
}

impl Array {
    /// Checks that there is a finite number at each place.
    ///
    /// Errors: axes that do not fit the samples, a number that is not finite.
    pub fn new(parts: Parts) -> Result<Array, String> {
        let places = parts.axes.iter().try_fold(1usize, |all, axis| all.checked_mul(axis.length));
        let bytes = places.and_then(|places| places.checked_mul(parts.sample.size()));
        if parts.axes.is_empty() || bytes != Some(parts.bytes.len()) || parts.bytes.is_empty() {
            let lengths: Vec<String> = parts.axes.iter().map(|a| a.length.to_string()).collect();
            return Err(format!(
                "{} bytes are not {} numbers of kind {}",
                parts.bytes.len(),
                lengths.join(" x "),
                parts.sample.name()
            ));
        }
        let axes = parts.axes.iter().all(|axis| axis.start.is_finite() && axis.step.is_finite());
        let array = Array { parts };
        if !axes || !array.values().all(f64::is_finite) {
            return Err("it holds a number that is not finite".to_owned());
        }
        Ok(array)
    }

    /// What it is made of.
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Its values in coherent SI units, the last axis the fastest.
    pub fn values(&self) -> impl Iterator<Item = f64> + '_ {
        let Parts { sample, bytes, scale, offset, .. } = &self.parts;
        bytes
            .chunks_exact(sample.size())
            .filter_map(|one| sample.read(one))
            .map(move |raw| raw * scale + offset)
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.parts.bytes.len() / self.parts.sample.size()
    }

    /// Always false: an array has a value at least.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Dimension of its values.
    pub fn dim(&self) -> Dimension {
        self.parts.dim
    }

    /// `480 x 640`.
    pub fn shape(&self) -> String {
        let lengths: Vec<String> =
            self.parts.axes.iter().map(|axis| axis.length.to_string()).collect();
        lengths.join(" x ")
    }
}

impl TryFrom<Parts> for Array {
    type Error = String;

    fn try_from(parts: Parts) -> Result<Array, String> {
        Array::new(parts)
    }
}

impl From<Array> for Parts {
    fn from(array: Array) -> Parts {
        array.parts
    }
}
