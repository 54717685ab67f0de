//! A cable that is pulled and put back, a server that is killed and started again, a device whose
//! power was off: within two seconds of its coming back everything works, by itself, and waiting
//! for it costs no processor time. On real terminals and sockets, in real time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod peer;

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use labloop::driver::{Fleet, InstrumentSetup, Notice};
use labloop::spec::Sources;
use labloop::spec::instrument::Instrument;
use labloop::wire::{Address, Clock, Dialer, SerialSettings};
use peer::{Lab, is_done, setup};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_serial::{SerialPort, SerialStream};

/// From its coming back until it is ready.
const BACK: Duration = Duration::from_secs(2);

/// How long it is away: too short for the pauses to have grown, and longer than the longest.
const AWAY: [Duration; 2] = [Duration::from_millis(300), Duration::from_secs(5)];

const TEXT: &str = r#"
connection:
  serial: {baud: 115200, frame: 8N1}
  tcp: {}
  send_end: "\r"
  reply: {end: "\r\n"}
  reply_timeout: 500 ms
identify: [{send: I, parse: "1"}]
properties:
  a: {type: number, ask: A, parse: "{value:d}", every: 100 ms}
"#;

const REGISTERS: &str = r"
connection:
  modbus: {}
  reply_timeout: 500 ms
identify: [{read: {holding: 0, base: 0, type: u16, scale: 1, order: AB}}]
properties:
  a: {type: number, register: {holding: 1, base: 0, type: u16, scale: 1, order: AB}, every: 100 ms}
";

fn probe(text: &str, at: &str) -> InstrumentSetup {
    let text = format!(
        "schema: labloop/instrument/v1\nname: probe\ntype: probe\nvendor: nobody\nconfig: {{}}\n\
         safe_state: []\n{text}"
    );
    let mut sources = Sources::new();
    let id = sources.add("probe.yaml".to_owned(), text);
    let definition: Arc<Instrument> =
        Arc::new(Instrument::lower(sources.get(id).unwrap()).value.unwrap());
    setup("probe", definition, at, &[])
}

fn start(setup: InstrumentSetup) -> Lab {
    let (sender, notices) = mpsc::channel(4096);
    let fleet = Fleet::start(vec![setup], Clock::real(), Dialer::real(), sender, 1).unwrap();
    Lab { fleet, notices, seen: Vec::new() }
}

/// Answers every line with `1` while it is on.
async fn answer_lines<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, on: Arc<AtomicBool>) {
    while let Ok(byte) = stream.read_u8().await {
        let answers = byte == b'\r' && on.load(Ordering::SeqCst);
        if answers && stream.write_all(b"1\r\n").await.is_err() {
            return;
        }
    }
}

/// Answers every read of one register.
async fn answer_reads<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) {
    let mut frame = [0; 12];
    while stream.read_exact(&mut frame).await.is_ok() {
        let answer = [frame[0], frame[1], 0, 0, 0, 5, frame[6], 3, 2, 0, 1];
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

/// Processor time of this thread so far; the runtime of a test has no other.
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
}

/// Takes it away and brings it back, and looks how long it takes until a value is read again.
async fn away_and_back<F, G>(lab: &mut Lab, mut take: F, mut give: G)
where
    F: AsyncFnMut(),
    G: AsyncFnMut(),
{
    lab.ready().await;
    for away in AWAY {
        take().await;
        lab.wait(|notice| matches!(notice, Notice::Link { up: false, .. }).then_some(())).await;
        let (begun, spent) = (Instant::now(), processor_time());
        tokio::time::sleep(away).await;
        let spent = processor_time() - spent;
        // Spinning would cost all of it.
        assert!(spent < begun.elapsed() / 10, "{spent:?} of {:?}", begun.elapsed());
        assert!(!lab.fleet.is_ready("probe"));
        give().await;
        let back = Instant::now();
        lab.wait(|notice| matches!(notice, Notice::Link { up: true, .. }).then_some(())).await;
        assert!(is_done(&lab.read("probe", "a").await));
        let took = back.elapsed();
        println!(
            "away for {away:?}: ready {took:?} after it was back, {spent:?} of processor time"
        );
        assert!(took < BACK, "{took:?}");
    }
}

/// A terminal behind a link, as udev makes one.
struct Adapter {
    link: PathBuf,
    keep: Option<File>,
    device: Option<JoinHandle<()>>,
}

impl Adapter {
    fn new(name: &str) -> Adapter {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::SeqCst);
        let name = format!("labloop-replug-{}-{number}-{name}", std::process::id());
        Adapter { link: std::env::temp_dir().join(name), keep: None, device: None }
    }

    fn plug(&mut self, on: &Arc<AtomicBool>) {
        let (master, slave) = SerialStream::pair().unwrap();
        let path = slave.name().unwrap();
        let no_controlling_terminal = 0o400;
        let mut options = File::options();
        options.read(true).write(true).custom_flags(no_controlling_terminal);
        self.keep = Some(options.open(&path).unwrap());
        // Its lock would keep the driver out.
        drop(slave);
        self.device = Some(tokio::spawn(answer_lines(master, Arc::clone(on))));
        std::os::unix::fs::symlink(path, &self.link).unwrap();
    }

    async fn unplug(&mut self) {
        self.keep = None;
        std::fs::remove_file(&self.link).unwrap();
        if let Some(device) = self.device.take() {
            device.abort();
            let _ = device.await;
        }
    }
}

impl Drop for Adapter {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.link);
    }
}

fn serial(link: &Path) -> String {
    format!("serial:{}", link.display())
}

#[tokio::test]
async fn a_serial_adapter_is_found_again() {
    let on = Arc::new(AtomicBool::new(true));
    let adapter = std::cell::RefCell::new(Adapter::new("adapter"));
    adapter.borrow_mut().plug(&on);
    let mut lab = start(probe(TEXT, &serial(&adapter.borrow().link)));
    #[expect(clippy::await_holding_refcell_ref, reason = "one after the other")]
    let take = async || adapter.borrow_mut().unplug().await;
    away_and_back(&mut lab, take, async || adapter.borrow_mut().plug(&on)).await;
    lab.fleet.shutdown().await;
}

/// The adapter stays, the device behind it has no power: its silence has to be noticed first.
#[tokio::test]
async fn a_device_that_was_switched_off_is_found_again() {
    let on = Arc::new(AtomicBool::new(true));
    let mut adapter = Adapter::new("device");
    adapter.plug(&on);
    let mut lab = start(probe(TEXT, &serial(&adapter.link)));
    let take = async || on.store(false, Ordering::SeqCst);
    away_and_back(&mut lab, take, async || on.store(true, Ordering::SeqCst)).await;
    lab.fleet.shutdown().await;
}

/// A server at one address, killed with its connections and started again.
struct Server {
    port: u16,
    task: Option<JoinHandle<()>>,
}

impl Server {
    async fn start(&mut self, registers: bool) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await.unwrap();
        self.port = listener.local_addr().unwrap().port();
        self.task = Some(tokio::spawn(async move {
            let mut clients = tokio::task::JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                socket.set_nodelay(true).unwrap();
                if registers {
                    clients.spawn(answer_reads(socket));
                } else {
                    clients.spawn(answer_lines(socket, Arc::new(AtomicBool::new(true))));
                }
            }
        }));
    }

    async fn kill(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            let _ = task.await;
        }
    }
}

#[expect(clippy::await_holding_refcell_ref, reason = "one after the other")]
async fn a_server_comes_back(registers: bool) {
    let server = std::cell::RefCell::new(Server { port: 0, task: None });
    server.borrow_mut().start(registers).await;
    let port = server.borrow().port;
    let setup = match registers {
        true => probe(REGISTERS, &format!("modbus+tcp://127.0.0.1:{port}?unit=1")),
        false => probe(TEXT, &format!("tcp://127.0.0.1:{port}")),
    };
    let mut lab = start(setup);
    let take = async || server.borrow_mut().kill().await;
    away_and_back(&mut lab, take, async || server.borrow_mut().start(registers).await).await;
    lab.fleet.shutdown().await;
}

#[tokio::test]
async fn a_socket_is_found_again() {
    a_server_comes_back(false).await;
}

#[tokio::test]
async fn a_modbus_server_is_found_again() {
    a_server_comes_back(true).await;
}

/// What came after an adapter that is gone reads as empty for ever; its port is given up, so that the
/// one that comes in its place is not kept out by the old handle.
#[tokio::test]
async fn an_adapter_that_is_gone_is_an_error_and_keeps_nobody_out() {
    let on = Arc::new(AtomicBool::new(true));
    let mut adapter = Adapter::new("gone");
    adapter.plug(&on);
    let at = Address::parse(&serial(&adapter.link)).unwrap();
    let settings = SerialSettings::default();
    let mut stale = Dialer::real().open(&at, &settings).await.unwrap();
    let taken = Dialer::real().open(&at, &settings).await.unwrap_err();
    assert!(taken.to_string().contains("exclusive"), "{taken}");
    adapter.unplug().await;
    for _ in 0..3 {
        assert!(stale.receive(&mut [0; 8]).await.is_err());
    }
    assert!(stale.discard_input().is_err());
    assert!(Dialer::real().open(&at, &settings).await.is_err());
    adapter.plug(&on);
    let mut fresh = Dialer::real().open(&at, &settings).await.unwrap();
    fresh.write_all(b"A\r").await.unwrap();
    let mut space = [0; 8];
    let count = fresh.receive(&mut space).await.unwrap();
    assert!(b"1\r\n".starts_with(&space[..count]) && count > 0);
}
