//! What the journal costs and what it takes to open: `cargo bench --bench journal`.
//!
//! Everything durable stands beside a bare append and `fdatasync` of the same bytes on the same
//! disk in the same run, because disks differ and so do hours of the same disk. `-- memory` prints
//! the memory of an engine over 10^4 to 10^6 steps instead, `-- recovery` only the times to open,
//! `-- open-run` time and memory of bringing back one run that is itself a million entries long.
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
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use labloop::compiler::graph::{Edge, Effect, Graph, Node, NodeId, NodeKind, OnError, Place};
use labloop::driver::{EmergencyStop, Notice, Outcome};
use labloop::engine::core::{Action, Core, Event, InDoubt, Terms, Tick};
use labloop::engine::shell::control::channel;
use labloop::engine::shell::{Engine, EngineSetup, Fact, History, Instruments, Refused};
use labloop::expr::{Expr, Value};
use labloop::store::{Document, Durability, Entry, Holder, Journal, JournalError};
use labloop::wire::Clock;
use tokio::sync::mpsc;

/// Bytes of an intent as it stands in the journal.
const INTENT_BYTES: usize = 300;
/// Moments that are noted.
const ASKED_MAX: usize = 10_000;
/// Commits measured for each figure.
const COMMITS: usize = 300;

/// Answers every command with "done", at once, and notes when it was asked.
struct Null {
    notices: mpsc::Sender<Notice>,
    asked: Arc<Mutex<Vec<Instant>>>,
}

impl Instruments for Null {
    fn send(
        &self,
        attempt: &str,
        _: &str,
        _: &str,
        _: BTreeMap<String, Value>,
        _: Duration,
    ) -> Result<(), Refused> {
        let mut asked = self.asked.lock().unwrap();
        if asked.len() < ASKED_MAX {
            asked.push(Instant::now());
        }
        let outcome = Outcome::Done { value: None, trace: Vec::new() };
        let notice = Notice::Outcome { attempt: attempt.to_owned(), outcome };
        self.notices.try_send(notice).map_err(|e| Refused(e.to_string()))
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
        self.notices.try_send(notice).map_err(|e| Refused(e.to_string()))
    }

    fn max_age(&self, _: &str, _: &str) -> Duration {
        Duration::from_secs(60)
    }
}

/// So many steps one after the other, `rounds` times.
fn graph(steps: u32, rounds: u32, instrument: &str) -> Arc<Graph> {
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
    let again = NodeKind::Repeat { max_times: rounds, until: None };
    let mut nodes = vec![
        node(0, None, "steps".into(), NodeKind::Group { hold: Vec::new() }),
        node(1, Some(0), "again".into(), again),
    ];
    let mut edges = Vec::new();
    for id in 2..steps + 2 {
        let kind = NodeKind::Action {
            role: "pump".into(),
            instrument: instrument.into(),
            action: "set_rate".into(),
            args: BTreeMap::from([("rate".into(), Expr::literal(Value::number(f64::from(id))))]),
            effect: Effect::Repeatable,
            witness: None,
            starts: Vec::new(),
            cancels: false,
            stops: false,
        };
        nodes.push(node(id, Some(1), format!("step_{id}"), kind));
        if id > 2 {
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
        started_instruments: Vec::new(),
        places: Vec::new(),
        stock: BTreeMap::new(),
        resume_within: None,
        hold_states: BTreeMap::new(),
    })
}

fn fresh(folder: &Path) -> PathBuf {
    let _ = std::fs::remove_dir_all(folder);
    std::fs::create_dir_all(folder).unwrap();
    folder.to_owned()
}

fn us(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn percentile(times: &mut [Duration], of: usize) -> Duration {
    times.sort();
    times[(times.len() - 1) * of / 100]
}

fn row(what: &str, figure: String, goal: &str) {
    println!("{what:<70} {figure:>16}   {goal}");
}

/// Time of one append and `fdatasync` of so many bytes.
fn bare(folder: &Path, bytes: usize) -> Vec<Duration> {
    let mut file = std::fs::File::create(fresh(folder).join("bare")).unwrap();
    let bytes = vec![b'x'; bytes];
    let one = || {
        let start = Instant::now();
        file.write_all(&bytes).unwrap();
        file.sync_data().unwrap();
        start.elapsed()
    };
    std::iter::repeat_with(one).take(COMMITS).collect()
}

fn take(journal: &mut Journal) {
    let nothing = |_| Ok::<_, JournalError>((Vec::new(), Vec::new()));
    journal.take_lease(&Holder::this_process(1), 0, nothing).unwrap();
}

fn intent(n: usize) -> Entry {
    let body = format!("{{\"intent\":{{\"n\":{n},\"x\":\"{}\"}}}}", "z".repeat(INTENT_BYTES - 60));
    Entry { tick: n as u64, wall_ms: 1, subject: format!("r.{}", n % 64), kind: "intent", body }
}

/// Durable intents a second when so many share each commit.
fn grouped(folder: &Path, at_once: usize) -> f64 {
    let mut journal = Journal::open(&fresh(folder), Durability::Power).unwrap();
    take(&mut journal);
    let start = Instant::now();
    for commit in 0..COMMITS {
        let entries: Vec<Entry> = (0..at_once).map(|n| intent(commit * at_once + n)).collect();
        journal.append(&entries, &[]).unwrap();
    }
    (COMMITS * at_once) as f64 / start.elapsed().as_secs_f64()
}

/// The same without group commit: each of them in a commit of its own.
fn naive(folder: &Path) -> f64 {
    grouped(folder, 1)
}

/// A peer: a plain table of SQLite in the same mode, one insert for each commit; no chain, no lease.
fn plain_sqlite(folder: &Path) -> f64 {
    let connection = rusqlite::Connection::open(fresh(folder).join("plain.db")).unwrap();
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             CREATE TABLE log (seq INTEGER PRIMARY KEY, body TEXT NOT NULL);",
        )
        .unwrap();
    let start = Instant::now();
    for n in 0..COMMITS {
        connection.execute("INSERT INTO log (body) VALUES (?1)", [intent(n).body]).unwrap();
    }
    COMMITS as f64 / start.elapsed().as_secs_f64()
}

/// Runs a graph; the times between one command and the next.
fn engine(folder: &Path, durability: Durability, graphs: Vec<Arc<Graph>>) -> Vec<Duration> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    runtime.block_on(async {
        let (notices, inbox) = mpsc::channel(4_096);
        let (_keep, controls) = channel(EmergencyStop::detached(Clock::real()));
        let mut engine = Engine::new(EngineSetup {
            journal: Journal::open(folder, durability).unwrap(),
            telemetry: None,
            clock: Clock::real(),
            instruments: Null { notices, asked: Arc::clone(&asked) },
            notices: inbox,
            controls,
            observer: Box::new(|_| {}),
            core: Core::new(InDoubt::Ask, Duration::ZERO),
        });
        engine.begin(1, "real").unwrap();
        for (n, graph) in graphs.into_iter().enumerate() {
            engine.start_run(format!("run-{n}"), graph).unwrap();
            engine.work().await.unwrap();
            // Of long measurements only the memory is asked for.
            asked.lock().unwrap().truncate(ASKED_MAX);
        }
    });
    let asked = asked.lock().unwrap();
    asked.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

/// A journal of so many entries: runs of 32 steps that are over, and one of 1000 under way.
fn long(folder: &Path, entries: u64) {
    let mut journal = Journal::open(&fresh(folder), Durability::Process).unwrap();
    take(&mut journal);
    let text = |graph: &Graph| Document::new("graph", serde_json::to_string(graph).unwrap());
    let (short, open) = (graph(32, 1, "pump"), graph(1_000, 2, "pump"));
    let documents = [text(&short), text(&open)];
    journal.append(&[], &documents).unwrap();
    let mut number = 0;
    let mut tick = 0;
    while journal.len() + 2_100 < entries {
        let document = documents[0].hash.clone();
        walk(&mut journal, &format!("mix-1.{number}"), (&short, document), &mut tick, usize::MAX);
        number += 1;
    }
    let document = documents[1].hash.clone();
    let rest = usize::try_from(entries - journal.len()).unwrap();
    walk(&mut journal, "mix-2.1", (&open, document), &mut tick, rest);
    assert_eq!(journal.len(), entries);
}

/// Notes a run as the core decides it, up to so many entries.
fn walk(
    journal: &mut Journal,
    run: &str,
    (graph, document): (&Arc<Graph>, String),
    tick: &mut u64,
    most: usize,
) {
    let mut core = Core::new(InDoubt::Ask, Duration::ZERO);
    let (id, graph, terms) = (run.to_owned(), Arc::clone(graph), Terms::default());
    let mut next = vec![Event::StartRun { run: id, graph, document, terms }];
    let mut entries = Vec::new();
    while let Some(event) = next.pop() {
        *tick += 1_000;
        let output = core.step(event, Tick(*tick));
        entries.extend(output.records.into_iter().map(|r| Fact::Run(r).entry(*tick, 1).unwrap()));
        for action in output.actions {
            match action {
                Action::Send { run, step, attempt, .. } => {
                    let (key, trace) = (step.key, String::new());
                    next.push(Event::Outcome { run, key, attempt, result: Ok(None), trace });
                }
                Action::MakeSafe { instrument, .. } => {
                    let (confirmed, detail, trace) = (true, String::new(), String::new());
                    let run = run.to_owned();
                    next.push(Event::MadeSafe { run, instrument, confirmed, detail, trace });
                }
                _ => {}
            }
        }
        if entries.len() >= most {
            entries.truncate(most);
            break;
        }
    }
    journal.append(&entries, &[]).unwrap();
}

fn recovery() {
    let folder = PathBuf::from("target/bench-journal-long");
    for entries in [10_000, 100_000, 1_000_000] {
        long(&folder, entries);
        let mut times: Vec<(Duration, Duration)> = (0..5)
            .map(|_| {
                let start = Instant::now();
                let journal = Journal::open(&folder, Durability::Power).unwrap();
                let opened = start.elapsed();
                let mut core = Core::new(InDoubt::Ask, Duration::ZERO);
                let history = History::recover(&journal, &mut core, None).unwrap();
                assert_eq!((history.runs.len(), core.open_runs().count()), (1, 1));
                (opened, start.elapsed())
            })
            .collect();
        times.sort();
        let (opened, ready) = times[times.len() / 2];
        let size = std::fs::metadata(folder.join("journal.db")).unwrap().len() >> 20;
        row(
            &format!("{entries} entries ({size} MiB): opened and its end checked"),
            format!("{:.0} ms", us(opened) / 1e3),
            "",
        );
        let goal = if entries == 1_000_000 { "goal 2000 ms" } else { "" };
        row(
            "  and the run under way (2000 of them) brought back",
            format!("{:.0} ms", us(ready) / 1e3),
            goal,
        );
        let start = Instant::now();
        let journal = Journal::open_read_only(&folder).unwrap();
        journal.verify().unwrap();
        let took = start.elapsed().as_secs_f64();
        row("  full check of every entry, as `labloop verify`", format!("{took:.2} s"), "");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

/// Memory of this process, KiB.
fn rss() -> u64 {
    memory_of("VmRSS")
}

fn memory_of(what: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(what)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// One run under way that loops, and is the whole journal; each length is opened in a process of
/// its own, whose memory nothing else has touched.
fn open_run() {
    let folder = PathBuf::from("target/bench-journal-open-run");
    for entries in [10_000, 100_000, 1_000_000] {
        let mut journal = Journal::open(&fresh(&folder), Durability::Process).unwrap();
        take(&mut journal);
        let graph = graph(32, u32::MAX, "pump");
        let document = Document::new("graph", serde_json::to_string(&*graph).unwrap());
        journal.append(&[], std::slice::from_ref(&document)).unwrap();
        walk(&mut journal, "mix-1.1.1", (&graph, document.hash), &mut 0, entries);
        drop(journal);
        let mut own = std::process::Command::new(std::env::current_exe().unwrap());
        assert!(own.arg("open-run-alone").arg(&folder).status().unwrap().success());
    }
    std::fs::remove_dir_all(folder).unwrap();
}

fn open_run_alone(folder: &Path) {
    let (before, start) = (rss(), Instant::now());
    let journal = Journal::open(folder, Durability::Power).unwrap();
    let opened = start.elapsed();
    let mut core = Core::new(InDoubt::Ask, Duration::ZERO);
    let history = History::recover(&journal, &mut core, None).unwrap();
    let ready = start.elapsed();
    assert_eq!((history.runs.len(), core.open_runs().count()), (1, 1));
    let mib = |kib: u64| format!("{:.0} MiB", (kib - before) as f64 / 1024.0);
    row(
        &format!("one run of {} entries under way: opened", journal.len()),
        format!("{:.0} ms", us(opened) / 1e3),
        "",
    );
    row("  and brought back", format!("{:.0} ms", us(ready) / 1e3), "goal 2000 ms");
    row("  memory at most, and afterwards", mib(memory_of("VmHWM")), &mib(rss()));
}

fn memory() {
    let folder = PathBuf::from("/dev/shm/labloop-bench-memory");
    let mib = |kib: u64| format!("{:.1} MiB", kib as f64 / 1024.0);
    for (what, most) in
        [("runs of 1000 steps, one after the other", 1_000), ("one run that loops", 0)]
    {
        let mut before = 0;
        for steps in [10_000u32, 100_000, 1_000_000] {
            let folder = fresh(&folder);
            let graphs = match most {
                0 => vec![graph(1, steps, "pump")],
                most => vec![graph(most, 1, "pump"); (steps / most) as usize],
            };
            let start = Instant::now();
            drop(engine(&folder, Durability::Process, graphs));
            let (now, took) = (rss(), start.elapsed().as_secs_f64());
            let grown = if before == 0 { 0.0 } else { (now as f64 / before as f64 - 1.0) * 100.0 };
            row(
                &format!("{what}: {steps} steps ({took:.0} s)"),
                mib(now),
                &format!("{grown:+.1} % since the line before"),
            );
            before = now;
        }
    }
    std::fs::remove_dir_all(folder).unwrap();
}

fn durable() {
    let disk = PathBuf::from("target/bench-journal");
    let mut all = Vec::new();
    let mut steps = Vec::new();
    // Alternating, so that a disk that slows down slows all.
    for _ in 0..3 {
        all.extend(bare(&disk, INTENT_BYTES));
        steps.extend(engine(&fresh(&disk), Durability::Power, vec![graph(400, 1, "pump")]));
    }
    let (p50, p99) = (percentile(&mut all, 50), percentile(&mut all, 99));
    row(
        "bare append + fdatasync of 300 bytes, p50 / p99",
        format!("{:.0} / {:.0} us", us(p50), us(p99)),
        "",
    );
    let per_second = 1e6 / us(p50);
    row("  that is, synced appends per second", format!("{per_second:.0} /s"), "");
    row(
        "plain SQLite, WAL, FULL, one insert a commit",
        format!("{:.0} /s", plain_sqlite(&disk)),
        "",
    );
    row("journal, each intent in a commit of its own", format!("{:.0} /s", naive(&disk)), "");
    for at_once in [1, 4, 16, 64] {
        row(
            &format!("journal, group commit, {at_once} concurrent"),
            format!("{:.0} /s", grouped(&disk, at_once)),
            "durable intents",
        );
    }
    let (p50, p99) = (percentile(&mut steps, 50), percentile(&mut steps, 99));
    row(
        "engine, one step with intent and outcome synced, p50 / p99",
        format!("{:.0} / {:.0} us", us(p50), us(p99)),
        "goal 6000 / 15000 us",
    );
    std::fs::remove_dir_all(disk).unwrap();
}

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let asked = |word: &str| words.iter().any(|w| w == word);
    if asked("memory") {
        return memory();
    }
    if asked("open-run-alone") {
        return open_run_alone(Path::new(words.last().unwrap()));
    }
    if asked("open-run") {
        return open_run();
    }
    if !asked("recovery") {
        durable();
    }
    recovery();
}
