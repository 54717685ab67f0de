//! From the press of the emergency stop to the first byte of each safe state: `cargo bench --bench estop`.
//!
//! A hundred instruments on real wires, all polled and with an action under way: 40 behind an MQTT
//! broker (mosquitto if it is installed, else the one of the simulators), 40 on TCP lines that take
//! 5 ms for each answer, and 20 on Modbus TCP. Each notes when the first byte of its safe state is
//! there, so the time on the wire and through the broker is in the figure. A question that is already
//! on a line is waited for; the bound that `labloop check` gives for it stands beside.
//!
//! Then the same with both cores of this machine busy.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs,
    reason = "a bench that cannot go on has no figure to give"
)]

use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use labloop::driver::{Fleet, InstrumentSetup, Notice, stop_latencies};
use labloop::spec::Sources;
use labloop::spec::instrument::Instrument;
use labloop::wire::mqtt::{Event, Message, Options, Session, Version};
use labloop::wire::{Address, Clock, Dialer, Trust};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

/// Presses with quiet cores, and with busy ones.
const PRESSES: usize = 60;
const MQTT: usize = 40;
const TEXT: usize = 40;
const MODBUS: usize = 20;
/// A text device takes so long for an answer.
const ANSWER: Duration = Duration::from_millis(5);
/// A press is given up after this.
const GIVE_UP: Duration = Duration::from_secs(10);

/// When the first byte of the safe state was there, per device; `None` while it is waited for.
type Seen = Arc<Vec<Mutex<Option<Instant>>>>;

fn note(seen: &Seen, device: usize) {
    seen[device].lock().unwrap().get_or_insert_with(Instant::now);
}

const TEXT_DEFINITION: &str = r#"schema: labloop/instrument/v1
name: text
type: probe
vendor: nobody
connection:
  tcp: {}
  send_end: "\n"
  reply: {end: "\n"}
  reply_timeout: 200 ms
properties:
  a: {type: int, ask: "A?", parse: "{value:d}", every: 50 ms}
  b: {type: int, ask: "B?", parse: "{value:d}", every: 50 ms}
  busy: {type: int, ask: "C?", parse: "{value:d}"}
actions:
  work:
    do: [{send: WORK, parse: OK}]
    done: {when: "busy == 0", every: 20 ms}
    effect: once
    takes: {expected: 1 s, timeout: 600 s}
safe_state: {do: [{send: "OFF", parse: OK}], confirm: busy == 0}
"#;

const MODBUS_DEFINITION: &str = r#"schema: labloop/instrument/v1
name: registers
type: probe
vendor: nobody
connection: {modbus: {write: single}, reply_timeout: 200 ms}
properties:
  a: {type: int, register: {holding: 1, base: 0, type: u16, order: AB}, every: 50 ms}
  b: {type: int, register: {holding: 2, base: 0, type: u16, order: AB}, every: 50 ms}
  busy: {type: int, register: {holding: 3, base: 0, type: u16, order: AB}}
actions:
  work:
    do: [{write: {holding: 3, base: 0, type: u16, order: AB}, value: 1}]
    done: {when: "busy == 0", every: 20 ms}
    effect: once
    takes: {expected: 1 s, timeout: 600 s}
safe_state:
  do: [{write: {holding: 9, base: 0, type: u16, order: AB}, value: 0}]
  confirm: busy == 0
"#;

const MQTT_DEFINITION: &str = r#"schema: labloop/instrument/v1
name: topics
type: probe
vendor: nobody
connection:
  mqtt: {version: 5, qos: 1, keep_alive: 30 s, expiry: 10 s}
  reply_timeout: 1 s
properties:
  busy: {type: int, topic: busy}
actions:
  work:
    do: [{publish: work, text: "1"}]
    done: {when: "busy == 0", every: 20 ms}
    effect: once
    takes: {expected: 1 s, timeout: 600 s}
safe_state:
  do: [{publish: safe, text: "0"}]
  confirm: busy == 0
"#;

fn definition(text: &str) -> Arc<Instrument> {
    let mut sources = Sources::new();
    let id = sources.add("bench.yaml".to_owned(), text.to_owned());
    let checked = Instrument::lower(sources.get(id).unwrap());
    assert!(!checked.report.has_errors(), "{:#?}", checked.report);
    Arc::new(checked.value.unwrap())
}

fn setup(name: String, definition: &Arc<Instrument>, at: &str) -> InstrumentSetup {
    InstrumentSetup {
        name,
        definition: Arc::clone(definition),
        at: Address::parse(at).unwrap(),
        config: BTreeMap::new(),
        secret: None,
        trust: Trust::default(),
    }
}

/// A device that answers each line after a while.
async fn text_device(listener: tokio::net::TcpListener, device: usize, seen: Seen) {
    while let Ok((mut stream, _)) = listener.accept().await {
        stream.set_nodelay(true).unwrap();
        let (mut busy, mut line) = (0, Vec::new());
        let mut space = [0; 256];
        while let Ok(count @ 1..) = stream.read(&mut space).await {
            if line.is_empty() && space[0] == b'O' {
                note(&seen, device);
            }
            line.extend_from_slice(&space[..count]);
            while let Some(end) = line.iter().position(|byte| *byte == b'\n') {
                let asked: Vec<u8> = line.drain(..=end).collect();
                tokio::time::sleep(ANSWER).await;
                let answer = match asked.as_slice() {
                    b"WORK\n" => {
                        busy = 1;
                        "OK\n".to_owned()
                    }
                    b"OFF\n" => {
                        busy = 0;
                        "OK\n".to_owned()
                    }
                    b"C?\n" => format!("{busy}\n"),
                    _ => "17\n".to_owned(),
                };
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    break;
                }
            }
        }
    }
}

/// Registers over Modbus TCP; register 9 is the safe state.
async fn modbus_device(listener: tokio::net::TcpListener, device: usize, seen: Seen) {
    while let Ok((mut stream, _)) = listener.accept().await {
        stream.set_nodelay(true).unwrap();
        let mut busy = 0_u16;
        let mut head = [0; 7];
        while stream.read_exact(&mut head).await.is_ok() {
            let length = usize::from(u16::from_be_bytes([head[4], head[5]])) - 1;
            let mut pdu = vec![0; length];
            if stream.read_exact(&mut pdu).await.is_err() {
                break;
            }
            let register = u16::from_be_bytes([pdu[1], pdu[2]]);
            let answer = match pdu[0] {
                3 => {
                    let value = if register == 3 { busy } else { 17 };
                    let mut answer = vec![3, 2];
                    answer.extend_from_slice(&value.to_be_bytes());
                    answer
                }
                _ => {
                    if register == 9 {
                        note(&seen, device);
                        busy = 0;
                    } else {
                        busy = 1;
                    }
                    pdu[..5].to_vec()
                }
            };
            let mut frame = head.to_vec();
            frame[4..6].copy_from_slice(&u16::try_from(answer.len() + 1).unwrap().to_be_bytes());
            frame.extend_from_slice(&answer);
            if stream.write_all(&frame).await.is_err() {
                break;
            }
        }
    }
}

/// A client of the broker that says ten times a second whether it is busy.
async fn mqtt_device(port: u16, device: usize, seen: Seen) {
    let base = format!("bench/{device}");
    let at = Address::parse(&format!("mqtt://127.0.0.1:{port}/{base}")).unwrap();
    let port = Dialer::real().open_broker(&at, &Trust::default()).await.unwrap();
    let options = Options {
        version: Version::V5,
        client_id: format!("device-{device}"),
        keep_alive: Duration::from_secs(30),
        login: None,
        will: None,
    };
    let mut session = Session::open(port, &options).await.unwrap();
    session.subscribe(&[format!("{base}/work"), format!("{base}/safe")]).await.unwrap();
    let mut busy = 0;
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    loop {
        let mut say = false;
        tokio::select! {
            event = session.next() => match event {
                Ok(Event::Message(message)) if message.topic.ends_with("/safe") => {
                    note(&seen, device);
                    (busy, say) = (0, true);
                }
                Ok(Event::Message(_)) => (busy, say) = (1, true),
                Ok(_) => {}
                Err(_) => return,
            },
            _ = tick.tick() => say = true,
        }
        if say {
            let message = Message {
                topic: format!("{base}/busy"),
                payload: busy.to_string().into_bytes(),
                ..Message::default()
            };
            let _ = session.publish(&message, false);
        }
    }
}

/// A broker: mosquitto, or that of the simulators.
struct Broker {
    port: u16,
    child: Option<Child>,
    name: &'static str,
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn broker(folder: &Path) -> Option<Broker> {
    let program = ["/usr/sbin/mosquitto", "/usr/bin/mosquitto", "/usr/local/sbin/mosquitto"];
    let program = program.iter().find(|path| Path::new(path).exists())?;
    let port = free_port();
    let file = folder.join("mosquitto.conf");
    let text = format!(
        "listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\npersistence false\n"
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
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < until, "the broker does not listen");
        std::thread::sleep(Duration::from_millis(10));
    }
    Some(Broker { port, child: Some(child), name: "mosquitto" })
}

fn percentile(sorted: &[Duration], share: f64) -> Duration {
    let at = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len());
    sorted[at - 1]
}

fn shown(span: Duration) -> String {
    format!("{:.1} ms", span.as_secs_f64() * 1e3)
}

fn print(kind: &str, mut all: Vec<Duration>, bound: &str) {
    all.sort();
    println!(
        "  {kind:<28} {:>6} {:>10} {:>10} {:>10}   {bound}",
        all.len(),
        shown(percentile(&all, 0.5)),
        shown(percentile(&all, 0.99)),
        shown(*all.last().unwrap()),
    );
}

struct Bench {
    fleet: Fleet,
    names: Vec<String>,
    seen: Seen,
    done: Arc<AtomicU64>,
    wires: tokio::runtime::Runtime,
}

impl Bench {
    /// Puts an action under way on every instrument.
    fn work(&self, round: usize) {
        for name in &self.names {
            let attempt = format!("{name}-{round}");
            self.fleet
                .send(labloop::driver::Command {
                    attempt,
                    instrument: name.clone(),
                    action: "work".into(),
                    args: BTreeMap::new(),
                    deadline: Duration::from_secs(600),
                })
                .unwrap();
        }
    }

    /// Presses again and again; the times of every instrument at every press.
    fn press(&self, first: usize) -> Vec<Vec<Duration>> {
        let stop = self.fleet.emergency();
        let mut all = vec![Vec::new(); self.names.len()];
        for round in first..first + PRESSES {
            self.work(round);
            // Not in step with anything.
            std::thread::sleep(Duration::from_millis(150 + (round as u64 * 37) % 90));
            for seen in &*self.seen {
                *seen.lock().unwrap() = None;
            }
            let pressed = Instant::now();
            stop.press("bench");
            loop {
                let missing = self.seen.iter().filter(|s| s.lock().unwrap().is_none()).count();
                if missing == 0 {
                    break;
                }
                assert!(pressed.elapsed() < GIVE_UP, "{missing} were not told");
                std::thread::sleep(Duration::from_millis(1));
            }
            for (times, seen) in all.iter_mut().zip(&*self.seen) {
                times.push(seen.lock().unwrap().unwrap().duration_since(pressed));
            }
            while !stop.not_confirmed().is_empty() {
                assert!(pressed.elapsed() < GIVE_UP, "{:?}", stop.not_confirmed());
                std::thread::sleep(Duration::from_millis(1));
            }
            stop.clear(stop.pressed().unwrap().number);
        }
        all
    }
}

fn main() {
    let folder = std::env::temp_dir().join(format!("labloop-estop-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let Some(broker) = broker(&folder) else {
        println!("mosquitto is not installed; run ./test once");
        return;
    };
    let seen: Seen = Arc::new((0..MQTT + TEXT + MODBUS).map(|_| Mutex::new(None)).collect());
    let devices =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (text, registers, topics) =
        (definition(TEXT_DEFINITION), definition(MODBUS_DEFINITION), definition(MQTT_DEFINITION));
    let mut setups = Vec::new();
    for device in 0..MQTT {
        devices.spawn(mqtt_device(broker.port, device, Arc::clone(&seen)));
        let at = format!("mqtt://127.0.0.1:{}/bench/{device}", broker.port);
        setups.push(setup(format!("topics_{device:02}"), &topics, &at));
    }
    for device in MQTT..MQTT + TEXT + MODBUS {
        let listener = devices.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        if device < MQTT + TEXT {
            devices.spawn(text_device(listener, device, Arc::clone(&seen)));
            setups.push(setup(format!("text_{device}"), &text, &format!("tcp://127.0.0.1:{port}")));
        } else {
            devices.spawn(modbus_device(listener, device, Arc::clone(&seen)));
            let at = format!("modbus+tcp://127.0.0.1:{port}");
            setups.push(setup(format!("registers_{device}"), &registers, &at));
        }
    }
    let lines = stop_latencies(&setups).unwrap();
    let bound = |prefix: &str| {
        let of = lines.iter().filter(|l| l.instruments.iter().any(|i| i.name.starts_with(prefix)));
        of.map(|line| line.starts).max().unwrap_or_default()
    };
    let bounds = [bound("topics"), bound("text"), bound("registers")];
    let names: Vec<String> = setups.iter().map(|setup| setup.name.clone()).collect();
    // As the engine has them: on a thread of their own.
    let wires =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (sender, mut notices) = mpsc::channel(65_536);
    let entered = wires.enter();
    let fleet = Fleet::start(setups, Clock::real(), Dialer::real(), sender, 1).unwrap();
    drop(entered);
    let done = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&done);
    devices.spawn(async move {
        while let Some(notice) = notices.recv().await {
            if matches!(notice, Notice::Sample { .. }) {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let states = wires.block_on(fleet.ready(Duration::from_secs(30)));
    for (name, state) in states {
        state.unwrap_or_else(|why| panic!("{name}: {why}"));
    }
    let bench = Bench { fleet, names, seen, done, wires };
    println!(
        "Emergency stop: {} instruments ({MQTT} MQTT by {}, {TEXT} TCP text, {MODBUS} Modbus TCP), \
         {PRESSES} presses each; from the press to the first byte of the safe state at the device.",
        bench.names.len(),
        broker.name
    );
    println!(
        "  {:<28} {:>6} {:>10} {:>10} {:>10}   of which a question on the line at most",
        "", "n", "p50", "p99", "max"
    );
    series("cores as they are", &bench, 0, &bounds);
    let spinning = Arc::new(AtomicBool::new(true));
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let spinners: Vec<_> = (0..cores)
        .map(|_| {
            let spinning = Arc::clone(&spinning);
            std::thread::spawn(move || {
                while spinning.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            })
        })
        .collect();
    series(&format!("{cores} cores saturated"), &bench, PRESSES, &bounds);
    spinning.store(false, Ordering::Relaxed);
    spinners.into_iter().for_each(|spinner| spinner.join().unwrap());
    println!("  ({} samples were read meanwhile)", bench.done.load(Ordering::Relaxed));
    bench.wires.block_on(bench.fleet.shutdown());
    bench.wires.shutdown_background();
    devices.shutdown_background();
    let _ = std::fs::remove_dir_all(folder);
}

fn series(what: &str, bench: &Bench, first: usize, bounds: &[Duration; 3]) {
    println!("{what}:");
    let times = bench.press(first);
    let parts = [(0, MQTT, "MQTT"), (MQTT, TEXT, "TCP text"), (MQTT + TEXT, MODBUS, "Modbus TCP")];
    for ((from, count, kind), bound) in parts.into_iter().zip(bounds) {
        let part: Vec<Duration> = times[from..from + count].concat();
        let bound = if bound.is_zero() { "none".to_owned() } else { shown(*bound) };
        print(kind, part, &bound);
    }
    print("all", times.concat(), "goal: p99 50 ms and that");
}
