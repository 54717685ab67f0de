//! What the wires cost: `cargo bench --bench wires`, or with `-- modbus serial mqtt idle` a part.
//!
//! Others stand beside each figure, in the same run: pymodbus and pyserial (from `./test`'s Python),
//! and bare system calls without anything of labloop. Whoever answers is a process of its own, and
//! on the serial lines it takes for each byte the time that a UART would. Rounds alternate, so that
//! a machine that slows down slows all of them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs,
    reason = "a bench that cannot go on has no figure to give"
)]

#[path = "wires/idle.rs"]
mod idle;
#[path = "wires/modbus.rs"]
mod modbus;
#[path = "wires/mqtt.rs"]
mod mqtt;
#[path = "wires/serial.rs"]
mod serial;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use labloop::driver::{Fleet, InstrumentSetup, Notice, Outcome};
use labloop::spec::Sources;
use labloop::spec::instrument::Instrument;
use labloop::wire::{Address, Clock, Dialer, Trust};
use tokio::sync::mpsc;

/// Rounds of each side.
const ROUNDS: usize = 5;
/// Length of a round.
const ROUND: Duration = Duration::from_secs(2);

/// A child that ends with the bench.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn row(what: &str, figure: String, goal: &str) {
    println!("{what:<66} {figure:>14}   {goal}");
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// This program again, in another part.
fn part(words: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(words);
    command
}

fn python() -> PathBuf {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers/bin/python3");
    assert!(python.exists(), "{} is missing: run ./test once", python.display());
    python
}

/// Rounds per second of another program on the same wire.
fn peer(words: &[&str]) -> f64 {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/wires/peer.py");
    let seconds = ROUND.as_secs().to_string();
    let out = Command::new(python())
        .arg(script)
        .args(words)
        .arg(seconds)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    let [count, took] = numbers[..] else { panic!("peer.py {words:?} said {text:?}") };
    count / took
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn definition(text: &str) -> Arc<Instrument> {
    let mut sources = Sources::new();
    let id = sources.add("bench.yaml", text.to_owned());
    let checked = Instrument::lower(sources.get(id).unwrap());
    assert!(!checked.report.has_errors(), "{:#?}", checked.report);
    let mut definition = checked.value.unwrap();
    // Only what is asked for is measured.
    for property in &mut definition.properties {
        property.every = None;
    }
    Arc::new(definition)
}

fn setup(name: &str, definition: &Arc<Instrument>, at: &str) -> InstrumentSetup {
    InstrumentSetup {
        name: name.to_owned(),
        definition: Arc::clone(definition),
        at: Address::parse(at).unwrap(),
        config: BTreeMap::new(),
        secret: None,
        trust: Trust::default(),
    }
}

/// Reads a property again and again through the driver, as the engine does, from each address at
/// once; rounds per second of all together.
fn reads(definition: &Arc<Instrument>, at: &[String], property: &str) -> f64 {
    // The engine's runtime is of this kind.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (sender, mut notices) = mpsc::channel(4_096);
        let names: Vec<String> = (0..at.len()).map(|n| format!("it{n}")).collect();
        let setups = names.iter().zip(at).map(|(name, at)| setup(name, definition, at)).collect();
        let fleet = Fleet::start(setups, Clock::real(), Dialer::real(), sender, 1).unwrap();
        let ready = fleet.ready(Duration::from_secs(10)).await;
        assert!(ready.values().all(Result::is_ok), "{ready:?}");
        // The answer to one question calls for the next one to the same instrument.
        for name in &names {
            fleet.read(name, name, property).unwrap();
        }
        let warm = 20 * at.len();
        let mut begun = Instant::now();
        let mut count = 0;
        while count < warm || begun.elapsed() < ROUND {
            let notice = notices.recv().await.unwrap();
            let Notice::Outcome { attempt, outcome } = notice else { continue };
            assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
            fleet.read(&attempt, &attempt, property).unwrap();
            count += 1;
            if count == warm {
                begun = Instant::now();
            }
        }
        let rate = (count - warm) as f64 / begun.elapsed().as_secs_f64();
        fleet.shutdown().await;
        rate
    })
}

/// A mosquitto of this bench's own; the folder is its own too.
fn mosquitto() -> (Ended, u16) {
    let program = ["/usr/sbin/mosquitto", "/usr/bin/mosquitto", "/usr/local/sbin/mosquitto"]
        .into_iter()
        .find(|p| Path::new(p).exists())
        .expect("mosquitto is installed; ./test installs it");
    let port = free_port();
    let file = std::env::temp_dir().join(format!("labloop-bench-{port}.conf"));
    let text = format!(
        "listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n\
         max_queued_messages 0\nlog_type none\n"
    );
    std::fs::write(&file, text).unwrap();
    let child = Command::new(program)
        .arg("-c")
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let until = Instant::now() + Duration::from_secs(10);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < until, "mosquitto does not answer");
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = std::fs::remove_file(file);
    (Ended(child), port)
}

/// Processor time that a process has had.
fn cpu(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    // User and system time, in the kernel's ticks of 10 ms.
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["registers"] => modbus::server(),
        ["uart", kind, baud] => serial::uart(kind, baud.parse().unwrap()),
        ["publisher", port, instruments, seconds] => mqtt::publisher(
            port.parse().unwrap(),
            instruments.parse().unwrap(),
            seconds.parse().unwrap(),
        ),
        ["idle", kind, port, count] => {
            idle::child(kind, port.parse().unwrap(), count.parse().unwrap());
        }
        parts => {
            let wanted = |part: &str| parts.is_empty() || parts.contains(&part);
            let load = std::fs::read_to_string("/proc/loadavg").unwrap();
            println!("load before: {}", load.trim());
            if wanted("modbus") {
                modbus::bench();
            }
            for (kind, baud) in serial::LINES {
                if wanted("serial") || wanted(kind) || wanted(&format!("{kind}-{baud}")) {
                    serial::bench(kind, baud);
                }
            }
            if wanted("mqtt") {
                mqtt::bench();
            }
            if wanted("idle") {
                idle::bench();
            }
        }
    }
}
