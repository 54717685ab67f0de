//! What durability and decisions cost per step: `cargo bench --bench engine`.
//!
//! A null instrument answers every command at once, so all that is left is labloop: deciding,
//! encoding, hashing, one commit with one sync for each step, and waking up. The figures stand
//! beside a bare append and `fdatasync` of the same bytes on the same disk, in the same run,
//! because disks differ and so do hours of the same disk.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs,
    reason = "a bench that cannot go on has no figure to give"
)]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use labloop::compiler::graph::{Edge, Effect, Graph, Node, NodeId, NodeKind, OnError, Place};
use labloop::driver::{EmergencyStop, Notice, Outcome};
use labloop::engine::core::{Action, Core, Event, InDoubt, Terms, Tick};
use labloop::engine::shell::control::channel;
use labloop::engine::shell::{Engine, EngineSetup, Instruments, Refused};
use labloop::expr::{Expr, Value};
use labloop::store::{Durability, Journal};
use labloop::wire::Clock;
use tokio::sync::mpsc;

/// Bytes of an outcome and an intent as they stand in the journal.
const STEP_BYTES: usize = 600;

/// Answers every command with "done", at once.
struct Null(mpsc::Sender<Notice>);

impl Instruments for Null {
    fn send(
        &self,
        attempt: &str,
        _: &str,
        _: &str,
        _: BTreeMap<String, Value>,
        _: Duration,
    ) -> Result<(), Refused> {
        let outcome = Outcome::Done { value: None, trace: Vec::new() };
        let notice = Notice::Outcome { attempt: attempt.to_owned(), outcome };
        self.0.try_send(notice).map_err(|e| Refused(e.to_string()))
    }

    fn read(&self, _: &str, _: &str, _: &str) -> Result<(), Refused> {
        Err(Refused("a null instrument has no properties".into()))
    }

    fn safe_state(&self, instrument: &str) -> Result<(), Refused> {
        let notice = Notice::SafeState {
            instrument: instrument.to_owned(),
            confirmed: true,
            detail: String::new(),
            trace: Vec::new(),
        };
        self.0.try_send(notice).map_err(|e| Refused(e.to_string()))
    }

    fn max_age(&self, _: &str, _: &str) -> Duration {
        Duration::from_secs(60)
    }
}

/// A protocol of so many steps, one after the other, on one instrument.
fn graph(steps: u32, instrument: &str) -> Arc<Graph> {
    let node = |id: u32, parent: Option<u32>, name: String, kind: NodeKind| Node {
        id: NodeId(id),
        path: name.clone(),
        name,
        parent: parent.map(NodeId),
        slot: 0,
        claims: match &kind {
            NodeKind::Action { instrument, .. } => vec![instrument.clone()],
            _ => Vec::new(),
        },
        kind,
        expected: Duration::from_millis(1),
        deadline: Some(Duration::from_secs(10)),
        retry: None,
        on_error: OnError::Fail,
        fresh: Vec::new(),
        place: Place::default(),
    };
    let mut nodes = vec![node(0, None, "steps".into(), NodeKind::Group { hold: Vec::new() })];
    let mut edges = Vec::new();
    for id in 1..=steps {
        let kind = NodeKind::Action {
            role: "pump".into(),
            instrument: instrument.into(),
            action: "set_rate".into(),
            args: BTreeMap::from([("rate".into(), Expr::literal(Value::number(f64::from(id))))]),
            effect: Effect::Repeatable,
            witness: None,
            starts: Vec::new(),
            stops: false,
            cancels: false,
        };
        nodes.push(node(id, Some(0), format!("step_{id}"), kind));
        if id > 1 {
            let (from, to) = (NodeId(id - 1), NodeId(id));
            edges.push(Edge { from, to, min: Duration::ZERO, max: None });
        }
    }
    Arc::new(Graph {
        protocol: "null".into(),
        hash: "0".into(),
        parameters: BTreeMap::new(),
        derived: BTreeMap::new(),
        roles: BTreeMap::new(),
        require: Vec::new(),
        nodes,
        edges,
        finally: None,
        results: Vec::new(),
        hold_states: BTreeMap::new(),
        started_instruments: Vec::new(),
        places: Vec::new(),
        stock: BTreeMap::new(),
        resume_within: None,
    })
}

/// Runs so many runs of so many steps; the time it took.
fn run(folder: &Path, durability: Durability, runs: u32, steps: u32) -> Duration {
    std::fs::create_dir_all(folder).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let took = runtime.block_on(async {
        let (sender, notices) = mpsc::channel(4_096);
        let (_keep, controls) = channel(EmergencyStop::detached(Clock::real()));
        let mut engine = Engine::new(EngineSetup {
            journal: Journal::open(folder, durability).unwrap(),
            telemetry: None,
            clock: Clock::real(),
            instruments: Null(sender),
            notices,
            controls,
            observer: Box::new(|_| {}),
            core: Core::new(InDoubt::Ask, Duration::ZERO),
        });
        engine.begin(1, "real").unwrap();
        for n in 0..runs {
            engine.start_run(format!("run-{n}"), graph(steps, &format!("pump_{n}"))).unwrap();
        }
        let start = Instant::now();
        engine.work().await.unwrap();
        start.elapsed()
    });
    std::fs::remove_dir_all(folder).unwrap();
    took
}

/// Time of one append and `fdatasync`, sorted.
fn bare_syncs(folder: &Path, count: usize) -> Vec<Duration> {
    std::fs::create_dir_all(folder).unwrap();
    let mut file = std::fs::File::create(folder.join("bare")).unwrap();
    let bytes = vec![b'x'; STEP_BYTES];
    let mut times: Vec<Duration> = (0..count)
        .map(|_| {
            let start = Instant::now();
            file.write_all(&bytes).unwrap();
            file.sync_data().unwrap();
            start.elapsed()
        })
        .collect();
    times.sort();
    std::fs::remove_dir_all(folder).unwrap();
    times
}

/// The pure core alone: events in, records and actions out.
fn core_alone(steps: u32) -> Duration {
    let mut core = Core::new(InDoubt::Ask, Duration::ZERO);
    let mut next = Some(Event::StartRun {
        run: "r".into(),
        graph: graph(steps, "pump"),
        document: "d".into(),
        terms: Terms::default(),
    });
    let start = Instant::now();
    let mut now = Tick(0);
    while let Some(event) = next.take() {
        now.0 += 1_000;
        for action in core.step(event, now).actions {
            if let Action::Send { run, step, attempt, .. } = action {
                let (key, trace) = (step.key, String::new());
                next = Some(Event::Outcome { run, key, attempt, result: Ok(None), trace });
            }
        }
    }
    start.elapsed()
}

fn row(what: &str, figure: String, goal: &str) {
    println!("{what:<66} {figure:>14}   {goal}");
}

fn main() {
    let disk = PathBuf::from("target/bench-engine");
    let memory = PathBuf::from("/dev/shm/labloop-bench-engine");
    let us = |d: Duration| d.as_secs_f64() * 1e6;

    // Alternating, so that a disk that slows down slows both.
    let mut bare = Vec::new();
    let mut steps = Vec::new();
    for _ in 0..5 {
        bare.extend(bare_syncs(&disk, 200));
        steps.push(run(&disk, Durability::Power, 1, 400) / 400);
    }
    bare.sort();
    steps.sort();
    let (p50, p99) = (bare[bare.len() / 2], bare[bare.len() * 99 / 100]);
    let mean = bare.iter().sum::<Duration>() / u32::try_from(bare.len()).unwrap();
    let step = steps[steps.len() / 2];
    row("bare append + fdatasync of 600 bytes, p50", format!("{:.0} us", us(p50)), "");
    row("bare append + fdatasync of 600 bytes, p99", format!("{:.0} us", us(p99)), "");
    row("bare append + fdatasync of 600 bytes, mean", format!("{:.0} us", us(mean)), "");
    row("sequential step, intent and outcome durable, mean", format!("{:.0} us", us(step)), "");
    let ratio = us(step) / us(mean);
    row("  of a bare fdatasync (means of the same run)", format!("{ratio:.2} x"), "goal 1.5 x");

    let decided = core_alone(20_000) / 20_000;
    row("pure core, per step", format!("{:.1} us", us(decided)), "");
    let unsynced = run(&memory, Durability::Process, 1, 20_000) / 20_000;
    let all = format!("{:.1} us", us(unsynced));
    row("core + encode + hash + SQLite in memory, per step", all, "engine's own: goal 20 us");

    let (runs, each) = (64, 200);
    let took = run(&disk, Durability::Power, runs, each);
    let rate = f64::from(runs * each) / took.as_secs_f64();
    row("64 runs in flight, durable steps per second", format!("{rate:.0} /s"), "goal 10000 /s");

    if let Some(program) = release_binary() {
        let mut times: Vec<Duration> = (0..9).map(|n| cold_start(&program, n)).collect();
        times.sort();
        let whole = format!("{:.0} ms", times[times.len() / 2].as_secs_f64() * 1e3);
        row(
            "cold start, check, compile and one whole run (virtual clock)",
            whole,
            "goal 50 ms to the first command",
        );
    } else {
        println!("cold start: build the release binary first (cargo build --release)");
    }
}

fn release_binary() -> Option<PathBuf> {
    Some(PathBuf::from("target/release/labloop")).filter(|p| p.exists())
}

/// A process from nothing to the end of its run: longer than to its first command.
fn cold_start(program: &Path, n: u32) -> Duration {
    let state = std::env::temp_dir().join(format!("labloop-cold-{}-{n}", std::process::id()));
    let start = Instant::now();
    let status = std::process::Command::new(program)
        .args(["run", "examples/light-mixing/protocol.yaml", "--simulate", "--speed", "max"])
        .args(["--set", "red=1", "--set", "green=2", "--set", "blue=3", "--state"])
        .arg(&state)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap();
    let took = start.elapsed();
    assert!(status.success());
    let _ = std::fs::remove_dir_all(state);
    took
}
