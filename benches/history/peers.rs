//! What the format is measured against: the one before, pco alone, Gorilla, and decimals in bits.

use labloop::store::telemetry::{Point, Scale};
use pco::ChunkConfig;
use pco::standalone::{simple_compress, simple_decompress};

fn times(points: &[Point]) -> Vec<i64> {
    points
        .windows(2)
        .map(|w| (w[1].tick / 1_000_000) as i64 - (w[0].tick / 1_000_000) as i64)
        .collect()
}

fn status_bytes(points: &[Point]) -> usize {
    points.chunk_by(|a, b| a.status == b.status).count() * 3
}

/// Sixteen bytes a reading, in blocks of 512; the quality is not kept.
pub fn before(points: &[Point]) -> Vec<u8> {
    let mut out = Vec::with_capacity(points.len() * 16);
    for point in points {
        out.extend_from_slice(&point.tick.to_le_bytes());
        out.extend_from_slice(&point.value.to_le_bytes());
    }
    out
}

/// pco on time steps (ms) and on the doubles as they are.
pub fn pco_alone(points: &[Point]) -> (Vec<u8>, Vec<u8>, usize) {
    let config = ChunkConfig::default();
    let values: Vec<f64> = points.iter().map(|p| p.value).collect();
    let times = simple_compress(&times(points), &config).unwrap();
    (times, simple_compress(&values, &config).unwrap(), status_bytes(points))
}

/// The inverse of [`pco_alone`], without putting the readings together.
pub fn pco_back(packed: &(Vec<u8>, Vec<u8>, usize)) -> usize {
    let times: Vec<i64> = simple_decompress(&packed.0).unwrap();
    let values: Vec<f64> = simple_decompress(&packed.1).unwrap();
    times.len().min(values.len())
}

/// Bits of Gorilla (Pelkonen et al., VLDB 2015): delta of delta of ms, XOR of values.
pub fn gorilla(points: &[Point]) -> usize {
    let (mut bits, mut delta) = (128usize, 0i64);
    for step in times(points) {
        let dod = step - delta;
        delta = step;
        bits += match dod {
            0 => 1,
            -63..=64 => 9,
            -255..=256 => 12,
            -2047..=2048 => 16,
            _ => 36,
        };
    }
    let (mut lead, mut trail) = (65u32, 0u32);
    for w in points.windows(2) {
        let xor = w[0].value.to_bits() ^ w[1].value.to_bits();
        if xor == 0 {
            bits += 1;
            continue;
        }
        let (l, t) = (xor.leading_zeros().min(31), xor.trailing_zeros());
        if lead <= 64 && l >= lead && t >= trail {
            bits += 2 + (64 - lead - trail) as usize;
        } else {
            (lead, trail) = (l, t);
            bits += 2 + 5 + 6 + (64 - l - t) as usize;
        }
    }
    bits / 8 + status_bytes(points)
}

/// Bytes of an ALP-like codec: decimals in their unit, each 1,024 as bits above their minimum, with
/// exceptions; times as bits above their minimum too. Doubles with no such form stay doubles.
pub fn decimal_bits(points: &[Point], scale: Scale) -> usize {
    points.chunks(1_024).map(|chunk| decimal_chunk(chunk, scale)).sum::<usize>()
        + status_bytes(points)
}

fn width(values: &[i64]) -> usize {
    let (min, max) = values.iter().fold((i64::MAX, i64::MIN), |(a, b), v| (a.min(*v), b.max(*v)));
    if values.is_empty() { 0 } else { 64 - ((max - min) as u64).leading_zeros() as usize }
}

fn decimal_chunk(points: &[Point], scale: Scale) -> usize {
    let times = times(points);
    let time_bytes = 12 + width(&times) * times.len() / 8;
    let best = (0..=9)
        .flat_map(|places| [(places, true), (places, false)])
        .map(|(places, text)| {
            let power = 10f64.powi(places);
            let wholes: Vec<i64> = points
                .iter()
                .filter_map(|p| {
                    let n = ((p.value - scale.offset) / scale.factor * power).round();
                    let number = if text { n / power } else { n * (1.0 / power) };
                    let back = number * scale.factor + scale.offset;
                    (back.to_bits() == p.value.to_bits()).then_some(n as i64)
                })
                .collect();
            let exceptions = points.len() - wholes.len();
            12 + width(&wholes) * points.len() / 8 + exceptions * 10
        })
        .min()
        .unwrap();
    time_bytes + best.min(points.len() * 8)
}
