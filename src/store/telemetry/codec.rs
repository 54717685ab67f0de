//! Readings, and buckets of readings, as bytes.
//!
//! ```text
//! points    format 2 | count | log10 of the time step in ns | first tick in steps
//!           | part: steps between ticks | part: values | part: runs of status | CRC-32C
//! buckets   format 3 | count | first tick in ns
//!           | parts: gaps, spans, counts, used, first, last, min, max, sum, status | CRC-32C
//! ```
//! Counts and lengths are varints; a part has its length in front; parts are columns (`column.rs`).
//! A reader allocates for [`COUNT_MAX`] values at most, whatever the bytes say.

use super::bytes::{Cursor, put_part, put_varint, seal, unseal, unzigzag, zigzag};
use super::column::{doubles, put_doubles, put_whole, whole};
use super::decimal::Scale;
use super::error::CodecError;
use super::point::{Bucket, Point, Status};

/// Format of points; 1 is that of the table `block`, sixteen bytes a reading.
pub(super) const FORMAT: u8 = 2;
/// Format of buckets.
const BUCKETS: u8 = 3;
/// Most values of a block.
pub(super) const COUNT_MAX: usize = 1 << 16;
/// Largest exponent of the time step: 1 s.
const STEP_MAX: u8 = 9;

/// Step to which times are kept, rounded down.
///
/// When a polled line answered is known to no better than the scheduling of the poll and the
/// adapter's latency, milliseconds both; a time kept to the nanosecond takes more room than the
/// value it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum TimeStep {
    /// As it was given.
    Nanosecond = 0,
    /// For times that a device measured.
    Microsecond = 3,
    /// For what is polled.
    Millisecond = 6,
}

impl TimeStep {
    /// Its length in nanoseconds.
    pub const fn nanoseconds(self) -> u64 {
        10u64.pow(self as u32)
    }
}

/// Appends points as a block; the time of each is rounded down to the step.
pub(super) fn encode(points: &[Point], step: TimeStep, hint: Option<Scale>) -> Vec<u8> {
    let mut out = Vec::with_capacity(points.len() * 2 + 64);
    let nanoseconds = step.nanoseconds();
    let first = points.first().map_or(0, |point| point.tick / nanoseconds);
    out.push(FORMAT);
    put_varint(&mut out, points.len() as u64);
    out.push(step as u8);
    put_varint(&mut out, first);
    let mut before = first;
    let steps: Vec<i64> = points
        .iter()
        .skip(1)
        .map(|point| {
            let at = point.tick / nanoseconds;
            // Wraps here and in the reader alike.
            let step = at.wrapping_sub(before).cast_signed();
            before = at;
            step
        })
        .collect();
    let mut part = Vec::new();
    put_whole(&mut part, &steps);
    put_part(&mut out, &part);
    part.clear();
    let values: Vec<f64> = points.iter().map(|point| point.value).collect();
    put_doubles(&mut part, &values, hint);
    put_part(&mut out, &part);
    part.clear();
    for run in points.chunk_by(|a, b| a.status == b.status) {
        put_varint(&mut part, run.len() as u64);
        put_varint(&mut part, run.first().map_or(0, |point| point.status.word()));
    }
    put_part(&mut out, &part);
    seal(&mut out);
    out
}

fn count(cursor: &mut Cursor<'_>) -> Result<usize, CodecError> {
    let count = cursor.varint("count")?;
    match usize::try_from(count) {
        Ok(count) if count <= COUNT_MAX => Ok(count),
        _ => Err(CodecError::TooMany(count)),
    }
}

/// Reads a block of points.
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<Point>, CodecError> {
    decode_body(unseal(bytes)?)
}

fn decode_body(bytes: &[u8]) -> Result<Vec<Point>, CodecError> {
    let mut cursor = Cursor::new(bytes);
    match cursor.byte("format")? {
        FORMAT => {}
        other => return Err(CodecError::Format(other)),
    }
    let count = count(&mut cursor)?;
    let exponent = cursor.byte("time step")?;
    if exponent > STEP_MAX {
        let why = format!("10^{exponent} ns is no step of time that is written");
        return Err(CodecError::Malformed { what: "time step", why });
    }
    let nanoseconds = 10u64.pow(u32::from(exponent));
    let mut at = cursor.varint("first tick")?;
    let steps = whole(cursor.part("times")?, count.saturating_sub(1), "times")?;
    let values = doubles(cursor.part("values")?, count, "values")?;
    let runs = cursor.part("status")?;
    if cursor.left() > 0 {
        return Err(CodecError::Trailing(cursor.left()));
    }
    let steps = std::iter::once(0).chain(steps);
    let mut points: Vec<Point> = steps
        .zip(values)
        .map(|(step, value)| {
            at = at.wrapping_add_signed(step);
            Point { tick: at.wrapping_mul(nanoseconds), value, status: Status::GOOD }
        })
        .collect();
    statuses(runs, &mut points)?;
    Ok(points)
}

fn statuses(runs: &[u8], points: &mut [Point]) -> Result<(), CodecError> {
    let malformed = |why: &str| CodecError::Malformed { what: "status", why: why.to_owned() };
    let mut cursor = Cursor::new(runs);
    let mut rest = points;
    while !rest.is_empty() {
        let run = usize::try_from(cursor.varint("status")?).unwrap_or(usize::MAX);
        let status = Status::from_word(cursor.varint("status")?);
        if run == 0 {
            return Err(malformed("a run of it is empty"));
        }
        let (these, others) =
            rest.split_at_mut_checked(run).ok_or_else(|| malformed("it goes on after the end"))?;
        these.iter_mut().for_each(|point| point.status = status);
        rest = others;
    }
    match cursor.left() {
        0 => Ok(()),
        left => Err(CodecError::Trailing(left)),
    }
}

/// Packs buckets, which follow each other in time; at most [`COUNT_MAX`].
pub(super) fn encode_buckets(buckets: &[Bucket], hint: Option<Scale>) -> Vec<u8> {
    let mut out = Vec::with_capacity(buckets.len() * 16 + 64);
    out.push(BUCKETS);
    put_varint(&mut out, buckets.len() as u64);
    put_varint(&mut out, buckets.first().map_or(0, |bucket| bucket.first_tick));
    let mut before = buckets.first().map_or(0, |bucket| bucket.first_tick);
    let gaps = buckets.iter().map(|bucket| {
        let gap = bucket.first_tick.wrapping_sub(before);
        before = bucket.last_tick;
        gap
    });
    let wholes: [Vec<u64>; 5] = [
        gaps.collect(),
        buckets.iter().map(|b| b.last_tick.wrapping_sub(b.first_tick)).collect(),
        buckets.iter().map(|b| b.count).collect(),
        buckets.iter().map(|b| b.used).collect(),
        buckets.iter().map(|b| b.worst.word()).collect(),
    ];
    let mut part = Vec::new();
    for column in wholes {
        let column: Vec<i64> = column.into_iter().map(u64::cast_signed).collect();
        part.clear();
        put_whole(&mut part, &column);
        put_part(&mut out, &part);
    }
    for column in BUCKET_VALUES {
        let column: Vec<f64> = buckets.iter().map(column).collect();
        part.clear();
        put_doubles(&mut part, &column, hint);
        put_part(&mut out, &part);
    }
    seal(&mut out);
    out
}

const BUCKET_VALUES: [fn(&Bucket) -> f64; 5] =
    [|b| b.first, |b| b.last, |b| b.min, |b| b.max, |b| b.sum];

/// Reads packed buckets.
pub(super) fn decode_buckets(bytes: &[u8]) -> Result<Vec<Bucket>, CodecError> {
    decode_buckets_body(unseal(bytes)?)
}

fn decode_buckets_body(bytes: &[u8]) -> Result<Vec<Bucket>, CodecError> {
    let mut cursor = Cursor::new(bytes);
    match cursor.byte("format")? {
        BUCKETS => {}
        other => return Err(CodecError::Format(other)),
    }
    let count = count(&mut cursor)?;
    let mut before = cursor.varint("first tick")?;
    let mut wholes = |what| whole(cursor.part(what)?, count, what);
    let (gaps, spans) = (wholes("gaps")?, wholes("spans")?);
    let (counts, used, worst) = (wholes("counts")?, wholes("counts used")?, wholes("status")?);
    let mut values = |what| doubles(cursor.part(what)?, count, what);
    let (first, last) = (values("first values")?, values("last values")?);
    let (min, max, sum) = (values("minima")?, values("maxima")?, values("sums")?);
    if cursor.left() > 0 {
        return Err(CodecError::Trailing(cursor.left()));
    }
    let ticks = gaps.into_iter().zip(spans).zip(counts.into_iter().zip(used)).zip(worst);
    let values = first.into_iter().zip(last).zip(min.into_iter().zip(max)).zip(sum);
    Ok(ticks
        .zip(values)
        .map(|((((gap, span), (count, used)), worst), (((first, last), (min, max)), sum))| {
            let first_tick = before.wrapping_add_signed(gap);
            let last_tick = first_tick.wrapping_add_signed(span);
            before = last_tick;
            let worst = Status::from_word(worst.cast_unsigned());
            let (count, used) = (count.cast_unsigned(), used.cast_unsigned());
            Bucket { first_tick, last_tick, count, used, first, last, min, max, sum, worst }
        })
        .collect())
}

/// Appends points as they go into the tail: not packed, because they are few and will be.
pub(super) fn put_loose(out: &mut Vec<u8>, points: &[Point], step: TimeStep) {
    let nanoseconds = step.nanoseconds();
    out.push(step as u8);
    put_varint(out, points.len() as u64);
    let (mut at, mut status) = (0, Status::GOOD);
    for point in points {
        let tick = point.tick / nanoseconds;
        // The low bit says whether the status changes.
        let changed = point.status != status;
        let step = zigzag(tick.wrapping_sub(at).cast_signed());
        put_varint(out, step);
        out.push(u8::from(changed));
        if changed {
            put_varint(out, point.status.word());
        }
        out.extend_from_slice(&point.value.to_le_bytes());
        (at, status) = (tick, point.status);
    }
}

/// Reads what [`put_loose`] appended.
pub(super) fn loose(cursor: &mut Cursor<'_>) -> Result<Vec<Point>, CodecError> {
    let exponent = cursor.byte("time step")?;
    if exponent > STEP_MAX {
        let why = format!("10^{exponent} ns is no step of time that is written");
        return Err(CodecError::Malformed { what: "time step", why });
    }
    let nanoseconds = 10u64.pow(u32::from(exponent));
    let count = cursor.varint("count")?;
    // Ten bytes a point at least: what is not there is not allocated for.
    if count > (cursor.left() / 10) as u64 {
        return Err(CodecError::Truncated("points"));
    }
    let mut points = Vec::with_capacity(count as usize);
    let (mut at, mut status) = (0u64, Status::GOOD);
    for _ in 0..count {
        at = at.wrapping_add_signed(unzigzag(cursor.varint("tick")?));
        if cursor.byte("status")? == 1 {
            status = Status::from_word(cursor.varint("status")?);
        }
        let value = cursor.double("value")?;
        points.push(Point { tick: at.wrapping_mul(nanoseconds), value, status });
    }
    Ok(points)
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
