//! What the promises of the history rest on: `cargo bench --bench history`.
//!
//! Prints tables; asserts nothing about time. Needs 2 GB of disk for a while, in the folder of
//! `TMPDIR`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs, reason = "a measurement")]

mod data;
mod disk;
mod peers;

use std::hint::black_box;
use std::time::{Duration, Instant};

use data::{KINDS, Stream};
use labloop::diagnostics::signals::{
    Board, Declared, Instant as Moment, Quality, Ring, Sample, Tick, Wanted, Window,
};
use labloop::store::telemetry::{Point, TimeStep, packed, unpacked};

const PART: usize = 8_192;
const MANY: usize = 64 * PART;

/// Millions a second.
fn rate(n: usize, took: Duration) -> f64 {
    n as f64 / took.as_secs_f64() / 1e6
}

/// Fastest of three.
fn fastest<T>(mut work: impl FnMut() -> T) -> (T, Duration) {
    let mut best: Option<(T, Duration)> = None;
    for _ in 0..3 {
        let began = Instant::now();
        let result = black_box(work());
        let took = began.elapsed();
        if best.as_ref().is_none_or(|(_, fastest)| took < *fastest) {
            best = Some((result, took));
        }
    }
    best.unwrap()
}

fn codecs() {
    println!("\nbytes a reading, time (1 ms) and value (bit-exact) and quality; parts of {PART}");
    println!(
        "{:38} {:>7} {:>7} {:>7} {:>7} {:>8} {:>8} {:>8} {:>8}",
        "", "before", "gorilla", "decimal", "pco", "here", "no unit", "1 us", "1 ns"
    );
    for kind in &KINDS {
        let points: Vec<Point> = Stream::new(kind, 7).take(MANY).collect();
        let each = |bytes: &dyn Fn(&[Point]) -> usize| {
            points.chunks(PART).map(bytes).sum::<usize>() as f64 / MANY as f64
        };
        let here = |step, scale| each(&|part| packed(part, step, scale).len());
        println!(
            "{:38} {:7.2} {:7.2} {:7.2} {:7.2} {:8.2} {:8.2} {:8.2} {:8.2}",
            kind.name,
            each(&|part| peers::before(part).len()),
            each(&peers::gorilla),
            each(&|part| peers::decimal_bits(part, kind.scale)),
            each(&|part| {
                let (times, values, status) = peers::pco_alone(part);
                times.len() + values.len() + status
            }),
            here(TimeStep::Millisecond, Some(kind.scale)),
            here(TimeStep::Millisecond, None),
            here(TimeStep::Microsecond, Some(kind.scale)),
            here(TimeStep::Nanosecond, Some(kind.scale)),
        );
    }
    println!("\nmillions of readings a second, one core");
    println!(
        "{:38} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "", "before", "pco pack", "unpack", "pack", "unpack"
    );
    for kind in &KINDS {
        let points: Vec<Point> = Stream::new(kind, 7).take(MANY).collect();
        let (_, before) = fastest(|| points.chunks(PART).map(peers::before).collect::<Vec<_>>());
        let (alone, pco) =
            fastest(|| points.chunks(PART).map(peers::pco_alone).collect::<Vec<_>>());
        let (_, back) = fastest(|| alone.iter().map(peers::pco_back).sum::<usize>());
        let pack = |part| packed(part, TimeStep::Millisecond, Some(kind.scale));
        let (bytes, here) = fastest(|| points.chunks(PART).map(pack).collect::<Vec<_>>());
        let (read, again) =
            fastest(|| bytes.iter().map(|part| unpacked(part).unwrap().len()).sum::<usize>());
        assert_eq!(read, MANY);
        println!(
            "{:38} {:9.0} {:9.1} {:9.1} {:9.1} {:9.1}",
            kind.name,
            rate(MANY, before),
            rate(MANY, pco),
            rate(MANY, back),
            rate(MANY, here),
            rate(MANY, again),
        );
    }
}

fn memory() {
    const SAMPLES: usize = 10_000_000;
    let sample = |n: usize| {
        let at = Moment { tick: Tick(n as u64 * 1_000_000), wall_ms: n as i64 };
        Sample::new(at, (n % 1_000) as f64, Quality::GOOD)
    };
    println!("\nmemory");
    let mut ring = Ring::new(SAMPLES);
    let fill = |ring: &mut Ring| {
        let began = Instant::now();
        (0..SAMPLES).for_each(|n| {
            black_box(ring.push(sample(n)));
        });
        began.elapsed()
    };
    let first = fill(&mut ring);
    println!("ring, push, growing                    {:9.1} M/s", rate(SAMPLES, first));
    let mut small = Ring::new(10_000);
    let took = fill(&mut small);
    println!("ring of 10,000, push, going round      {:9.1} M/s", rate(SAMPLES, took));
    for columns in [200, 2_000, 16_384] {
        let window = Window { from: Tick(3), to: Tick(SAMPLES as u64 * 1_000_000 - 7) };
        let (picture, took) = fastest(|| ring.columns(window, columns));
        println!(
            "ring of 10^7, {:6} columns          {:9.3} ms",
            picture.len(),
            took.as_secs_f64() * 1e3
        );
    }
    drop(ring);
    let mut board = Board::default();
    let ids: Vec<_> = (0..200)
        .map(|n| {
            let declared = Declared {
                name: format!("s{n}").into(),
                unit: "K".into(),
                max_age: Duration::from_secs(1),
                kept: 4_096,
            };
            board.declare(declared).unwrap()
        })
        .collect();
    let mut slow = board.subscribe(Wanted::All, 1_000);
    let _one = board.subscribe(Wanted::These([ids[7]].into()), 1_000);
    let began = Instant::now();
    for n in 0..SAMPLES {
        black_box(board.push(ids[n % 200], sample(n)));
    }
    let took = began.elapsed();
    println!(
        "board of 200, one who never takes, one of one signal: {:5.1} M/s",
        rate(SAMPLES, took)
    );
    assert_eq!(slow.take().count(), 1_001);
}

fn main() {
    let began = Instant::now();
    codecs();
    memory();
    disk::all();
    let peak = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = peak.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("").to_owned();
    println!("\nall of it: {:.0} s, {}", began.elapsed().as_secs_f64(), peak.replace('\t', " "));
}
