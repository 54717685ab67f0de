//! The same on a disk: what is durable a second, what a picture of 10^8 readings takes, and how
//! long a push waits while retention is at work.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use labloop::store::telemetry::{
    Declaration, Durability, Pace, Point, Recorder, Retention, Rule, SignalKey, Stamp, Telemetry,
    TelemetryWriter, TimeStep,
};
use rusqlite::{Connection, params};

use crate::data::{KINDS, Stream};
use crate::{fastest, peers, rate};

const MS: u64 = 1_000_000;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("history-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn bytes(&self) -> u64 {
        std::fs::metadata(self.0.join("telemetry.db")).unwrap().len()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn stamp(tick: u64) -> Stamp {
    Stamp { tick, wall_ms: 1_800_000_000_000 + (tick / MS) as i64 }
}

fn percentile(sorted: &[Duration], part: f64) -> Duration {
    sorted[((sorted.len() - 1) as f64 * part) as usize]
}

/// The format of before: blocks of 512, sixteen bytes each.
fn before(folder: &Path, signals: &[Vec<Point>]) -> Duration {
    let connection = Connection::open(folder.join("telemetry.db")).unwrap();
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
             CREATE TABLE block (signal TEXT NOT NULL, first INTEGER NOT NULL,
             last INTEGER NOT NULL, count INTEGER NOT NULL, samples BLOB NOT NULL) STRICT;
             CREATE INDEX block_signal ON block (signal, first);",
        )
        .unwrap();
    let began = Instant::now();
    let blocks = signals[0].len().div_ceil(512);
    for at in 0..blocks {
        connection.execute_batch("BEGIN").unwrap();
        for (n, points) in signals.iter().enumerate() {
            let chunk = &points[at * 512..points.len().min(at * 512 + 512)];
            connection
                .prepare_cached("INSERT INTO block VALUES (?1, ?2, ?3, ?4, ?5)")
                .unwrap()
                .execute(params![
                    format!("instrument_{n}.property"),
                    chunk[0].tick as i64,
                    chunk[chunk.len() - 1].tick as i64,
                    chunk.len() as i64,
                    peers::before(chunk)
                ])
                .unwrap();
        }
        connection.execute_batch("COMMIT").unwrap();
    }
    began.elapsed()
}

fn declare(writer: &mut TelemetryWriter, n: usize) -> SignalKey {
    let name = format!("instrument_{n}.property");
    let kind = &KINDS[n % KINDS.len()];
    let declaration = Declaration {
        name: &name,
        unit: "",
        class: "process",
        step: TimeStep::Millisecond,
        scale: Some(kind.scale),
    };
    writer.declare(&declaration).unwrap()
}

/// As fast as it goes: 200 signals of all kinds, a commit for each 200,000 readings.
fn throughput() {
    const SIGNALS: usize = 200;
    const EACH: usize = 20_000;
    let signals: Vec<Vec<Point>> = (0..SIGNALS)
        .map(|n| Stream::new(&KINDS[n % KINDS.len()], n as u64).take(EACH).collect())
        .collect();
    println!(
        "\non disk: {SIGNALS} signals of all kinds, {} readings, as fast as it goes",
        SIGNALS * EACH
    );
    let folder = Folder::new("before");
    let took = before(&folder.0, &signals);
    println!(
        "before (NORMAL)                        {:6.2} M/s {:6.2} B a reading",
        rate(SIGNALS * EACH, took),
        folder.bytes() as f64 / (SIGNALS * EACH) as f64
    );
    drop(folder);
    for (durability, name) in
        [(Durability::Commit, "here, durable (FULL)"), (Durability::Checkpoint, "here, NORMAL")]
    {
        let folder = Folder::new("here");
        let mut writer = TelemetryWriter::open(&folder.0, durability).unwrap();
        let keys: Vec<_> = (0..SIGNALS).map(|n| declare(&mut writer, n)).collect();
        let mut commits = Vec::new();
        let began = Instant::now();
        for from in (0..EACH).step_by(1_000) {
            for (key, points) in keys.iter().zip(&signals) {
                points[from..from + 1_000].iter().for_each(|point| writer.push(*key, *point));
            }
            let committing = Instant::now();
            writer.commit(stamp(from as u64)).unwrap();
            commits.push(committing.elapsed());
        }
        let took = began.elapsed();
        drop(writer);
        commits.sort_unstable();
        println!(
            "{name:38} {:6.2} M/s, commit of 200,000: {:.0} ms, longest {:.0} ms",
            rate(SIGNALS * EACH, took),
            percentile(&commits, 0.5).as_secs_f64() * 1e3,
            commits[commits.len() - 1].as_secs_f64() * 1e3
        );
    }
}

/// 10^8 readings of one signal.
fn many(folder: &Folder) -> u64 {
    const MANY: usize = 100_000_000;
    let kind = &KINDS[0];
    let mut writer = TelemetryWriter::open(&folder.0, Durability::Checkpoint).unwrap();
    let key = declare(&mut writer, 0);
    writer.commit(stamp(0)).unwrap();
    let mut stream = Stream::new(kind, 3);
    let end = MANY as u64 * (kind.every_ms * 1e6) as u64;
    let began = Instant::now();
    let mut writing = Duration::ZERO;
    for _ in 0..MANY / 200_000 {
        let part: Vec<Point> = stream.by_ref().take(200_000).collect();
        let pushing = Instant::now();
        part.iter().for_each(|point| writer.push(key, *point));
        writer.commit(stamp(part[0].tick)).unwrap();
        writing += pushing.elapsed();
    }
    drop(writer);
    println!(
        "\n10^8 readings of one signal ({}): {:.0} s",
        kind.name,
        began.elapsed().as_secs_f64()
    );
    println!("written                                {:6.2} M/s", rate(MANY, writing));
    println!(
        "file, with sums and everything         {:6.2} B a reading",
        folder.bytes() as f64 / MANY as f64
    );
    end
}

fn pictures(folder: &Folder, end: u64) {
    let telemetry = Telemetry::open(&folder.0).unwrap().unwrap();
    let name = "instrument_0.property";
    println!("picture: window, columns               first, ms  again, ms");
    for (what, part) in [
        ("all 10^8 readings", 1.0),
        ("a third", 0.33),
        ("a tenth", 0.1),
        ("a hundredth", 0.01),
        ("a thousandth", 0.001),
    ] {
        for columns in [200, 2_000] {
            let width = (end as f64 * part) as u64;
            let from = (end - width) / 3 + 12_345_678;
            let began = Instant::now();
            let picture = telemetry.columns(name, from, from + width, columns).unwrap();
            let first = began.elapsed();
            let count: u64 = picture.columns.iter().map(|c| c.count).sum();
            let (_, again) =
                fastest(|| telemetry.columns(name, from, from + width, columns).unwrap());
            println!(
                "{what:20} {columns:6} columns         {:9.1} {:10.1}   ({count} readings)",
                first.as_secs_f64() * 1e3,
                again.as_secs_f64() * 1e3
            );
        }
    }
    let (reading, took) = fastest(|| telemetry.read(name, end / 2, end / 2 + end / 100).unwrap());
    println!(
        "read back, {} readings           {:6.2} M/s",
        reading.points.len(),
        rate(reading.points.len(), took)
    );
}

/// The format of before can only read everything.
fn picture_before() {
    const MANY: usize = 10_000_000;
    let folder = Folder::new("picture");
    let points: Vec<Point> = Stream::new(&KINDS[0], 3).take(MANY).collect();
    before(&folder.0, &[points]);
    let connection = Connection::open(folder.0.join("telemetry.db")).unwrap();
    let (_, took) = fastest(|| {
        let mut columns = vec![(f64::MAX, f64::MIN); 2_000];
        let length = MANY as u64 * 500 * MS;
        let mut statement = connection
            .prepare("SELECT samples FROM block WHERE signal = ?1 ORDER BY first")
            .unwrap();
        let mut rows = statement.query(["instrument_0.property"]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            for reading in row.get_ref(0).unwrap().as_blob().unwrap().chunks_exact(16) {
                let tick = u64::from_le_bytes(reading[..8].try_into().unwrap());
                let value = f64::from_le_bytes(reading[8..].try_into().unwrap());
                let at = (u128::from(tick) * 2_000 / u128::from(length)).min(1_999) as usize;
                columns[at] = (columns[at].0.min(value), columns[at].1.max(value));
            }
        }
        columns
    });
    println!(
        "before, 10^7 readings, 2000 columns: {:.0} ms (ten times that for 10^8)",
        took.as_secs_f64() * 1e3
    );
}

/// 200,000 readings a second on 1,000 signals for a while, durable each second, while retention
/// thins the 10^8.
fn retention(folder: &Folder, end: u64) {
    const SIGNALS: usize = 1_000;
    const SECONDS: u64 = 15;
    const TURNS: u64 = 1_000;
    for (what, days, upkeep_ms) in [
        ("without retention", None, 50),
        ("retention, 50 ms/s", Some(1), 50),
        ("retention, all time", Some(1), 900),
    ] {
        let before = folder.bytes();
        let retention = Retention {
            others: Rule { full_days: days, minute_days: None, hour_days: None },
            ..Retention::default()
        };
        let writer = TelemetryWriter::open(&folder.0, Durability::Commit).unwrap();
        let upkeep = Duration::from_millis(upkeep_ms);
        let pace = Pace { retention, upkeep, ..Pace::default() };
        // Wall time goes on from the end of what is there.
        let history = Recorder::start(writer, pace, move || stamp(end + 86_400_000 * MS)).unwrap();
        let keys: Vec<_> = (0..SIGNALS)
            .map(|n| {
                let name = format!("live_{n}.property");
                let kind = &KINDS[n % KINDS.len()];
                let declaration = Declaration {
                    name: &name,
                    unit: "",
                    class: "live",
                    step: TimeStep::Millisecond,
                    scale: Some(kind.scale),
                };
                (history.declare(&declaration).unwrap(), Stream::new(kind, n as u64))
            })
            .collect();
        let mut keys = keys;
        let mut delays = Vec::with_capacity(SECONDS as usize * 200_000);
        let began = Instant::now();
        for turn in 0..SECONDS * TURNS {
            for n in 0..200 {
                let (key, stream) = &mut keys[(turn as usize * 200 + n) % SIGNALS];
                let point = stream.next().unwrap();
                let pushing = Instant::now();
                history.push(*key, end + point.tick, point.value, point.status.code, None);
                delays.push(pushing.elapsed());
            }
            let due = Duration::from_micros(turn * 1_000_000 / TURNS);
            std::thread::sleep(due.saturating_sub(began.elapsed()));
        }
        let took = began.elapsed();
        assert!(history.flush(Duration::from_secs(60)));
        let standing = history.standing();
        drop(history);
        delays.sort_unstable();
        println!(
            "{what:20} {:7.0} a second for {:.0} s; {} written, {} summed up, {} commits, longest {:.0} ms",
            delays.len() as f64 / took.as_secs_f64(),
            took.as_secs_f64(),
            standing.written,
            standing.overloaded,
            standing.commits,
            standing.longest_commit.as_secs_f64() * 1e3,
        );
        println!(
            "                     push: median {:?}, 99 % {:?}, 99.99 % {:?}, worst {:?}; file {:.0} -> {:.0} MB",
            percentile(&delays, 0.5),
            percentile(&delays, 0.99),
            percentile(&delays, 0.9999),
            delays[delays.len() - 1],
            before as f64 / 1e6,
            folder.bytes() as f64 / 1e6,
        );
        if let Some(error) = standing.upkeep_failing {
            println!("retention failed: {error}");
        }
    }
    let mut writer = TelemetryWriter::open(&folder.0, Durability::Commit).unwrap();
    let retention = Retention {
        others: Rule { full_days: Some(1), minute_days: Some(400), hour_days: None },
        ..Retention::default()
    };
    let (mut slices, mut longest, mut thinned) = (0, Duration::ZERO, 0);
    let began = Instant::now();
    loop {
        let slicing = Instant::now();
        let kept = writer.upkeep(&retention, stamp(end + 86_400_000 * MS), Duration::ZERO).unwrap();
        longest = longest.max(slicing.elapsed());
        slices += 1;
        thinned += kept.thinned;
        if !kept.more {
            break;
        }
    }
    println!(
        "the rest of it: {slices} slices, {thinned} parts thinned in {:.1} s, longest slice {:.0} ms; file {:.0} MB",
        began.elapsed().as_secs_f64(),
        longest.as_secs_f64() * 1e3,
        folder.bytes() as f64 / 1e6
    );
}

pub fn all() {
    throughput();
    let folder = Folder::new("many");
    let end = many(&folder);
    pictures(&folder, end);
    picture_before();
    println!(
        "\nretention of that file while 200,000 readings a second come in, durable each second"
    );
    retention(&folder, end);
}
