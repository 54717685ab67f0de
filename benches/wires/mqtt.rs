//! A thousand instruments behind one broker, each telling a value ten times a second.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use labloop::driver::{Fleet, Notice};
use labloop::expr::Value;
use labloop::spec::instrument::Instrument;
use labloop::wire::{Clock, Dialer};
use tokio::sync::mpsc;

use super::{Ended, cpu, definition, mosquitto, part, row, setup};

pub const INSTRUMENTS: usize = 1_000;
const PER_SECOND: usize = 10;
const WARM_UP: u64 = 5;
const MEASURED: u64 = 20;

pub const METER: &str = "\
schema: labloop/instrument/v1
name: meter
type: bench_meter
vendor: bench
doc: Tells the time of day at which it spoke.
connection:
  mqtt: {version: 5, qos: 1, keep_alive: 30 s}
  reply_timeout: 1 s
properties:
  spoke: {doc: When it spoke, unit: s, topic: state, json: t, max_age: 60 s}
safe_state: []
";

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

/// A client of MQTT 3.1.1 that does nothing but publish at QoS 0, evenly.
pub fn publisher(port: u16, instruments: usize, seconds: u64) {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    socket.set_nodelay(true).unwrap();
    let name = b"publisher";
    let mut hello = vec![0x10, 12 + name.len() as u8, 0, 4];
    hello.extend(b"MQTT");
    hello.extend([4, 2, 0, 0, 0, name.len() as u8]);
    hello.extend(name);
    socket.write_all(&hello).unwrap();
    socket.read_exact(&mut [0; 4]).unwrap();
    let step = Duration::from_millis(1);
    let each = instruments * PER_SECOND / 1_000;
    let begun = Instant::now();
    let mut at = 0;
    let steps = u32::try_from(seconds * 1_000).unwrap();
    for turn in 0..steps {
        let due = begun + step * turn;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let mut packets = Vec::new();
        for _ in 0..each {
            let topic = format!("bench/{at}/state");
            let payload = format!("{{\"t\":{:.6}}}", now());
            packets.push(0x30);
            packets.push(u8::try_from(2 + topic.len() + payload.len()).unwrap());
            packets.extend([0, topic.len() as u8]);
            packets.extend(topic.as_bytes());
            packets.extend(payload.as_bytes());
            at = (at + 1) % instruments;
        }
        socket.write_all(&packets).unwrap();
    }
    socket.write_all(&[0xe0, 0]).unwrap();
}

/// Connects so many instruments, a hundred at a time.
pub async fn connect(
    meter: &Arc<Instrument>,
    count: usize,
    at: impl Fn(usize) -> String,
    notices: &mpsc::Sender<Notice>,
) -> Fleet {
    let setups = (0..count).map(|n| setup(&format!("m{n}"), meter, &at(n))).collect();
    let fleet = Fleet::start(setups, Clock::real(), Dialer::real(), notices.clone(), 1).unwrap();
    let ready = fleet.ready(Duration::from_secs(60)).await;
    let failed: Vec<_> = ready.iter().filter(|(_, state)| state.is_err()).take(3).collect();
    assert!(failed.is_empty(), "{failed:?}");
    fleet
}

pub fn bench() {
    let (broker, port) = mosquitto();
    let meter = definition(METER);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let seconds = WARM_UP + MEASURED + 2;
    let (mut delays, dropped, took, used) = runtime.block_on(async {
        let (sender, mut notices) = mpsc::channel(4_096);
        let base = |n| format!("mqtt://127.0.0.1:{port}/bench/{n}");
        let fleet = connect(&meter, INSTRUMENTS, base, &sender).await;
        while notices.try_recv().is_ok() {}
        let words = [port.to_string(), INSTRUMENTS.to_string(), seconds.to_string()];
        let child = part(&["publisher", &words[0], &words[1], &words[2]])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let publisher = Ended(child);
        let pids = [std::process::id(), broker.0.id(), publisher.0.id()];
        let begun = Instant::now();
        let mut delays: Vec<f64> = Vec::new();
        let mut start = None;
        while begun.elapsed() < Duration::from_secs(WARM_UP + MEASURED) {
            let notice = tokio::time::timeout(Duration::from_secs(1), notices.recv()).await;
            let Ok(Some(notice)) = notice else { continue };
            let Notice::Sample { value: Value::Quantity(spoke), .. } = notice else { continue };
            if begun.elapsed() >= Duration::from_secs(WARM_UP) {
                start.get_or_insert_with(|| (Instant::now(), pids.map(cpu)));
                delays.push(now() - spoke.value);
            }
        }
        let (start, before) = start.expect("messages arrive");
        let took = start.elapsed().as_secs_f64();
        let after = pids.map(cpu);
        let used = [0, 1, 2].map(|n| (after[n] - before[n]).as_secs_f64() / took);
        let dropped = fleet.dropped_samples();
        drop(publisher);
        fleet.shutdown().await;
        (delays, dropped, took, used)
    });
    delays.sort_by(f64::total_cmp);
    let at = |share: f64| 1e3 * delays[((delays.len() - 1) as f64 * share) as usize];
    println!("{INSTRUMENTS} MQTT instruments, {PER_SECOND} messages a second each, mosquitto");
    row(
        "  messages handled",
        format!("{:.0} /s", delays.len() as f64 / took),
        "published 10000 /s",
    );
    row("  dropped", format!("{dropped}"), "goal 0");
    row("  from publish to sample, p50", format!("{:.2} ms", at(0.5)), "");
    row("  from publish to sample, p99", format!("{:.2} ms", at(0.99)), "goal 10 ms");
    row("  from publish to sample, longest", format!("{:.2} ms", at(1.0)), "");
    let shares = used.map(|share| format!("{:.0} %", 100.0 * share));
    row("  processor: labloop", shares[0].clone(), "of one core");
    row("  processor: mosquitto", shares[1].clone(), "of one core");
    row("  processor: publisher", shares[2].clone(), "of one core");
}
