//! A thermostat against a simulator that nobody here wrote: the Julabo FP50 of lewis (European
//! Spallation Source), over TCP, with the definition of the product as it is.
//!
//! Two things differ from a real circulator. lewis answers a command with an empty line, a Julabo
//! with nothing: the line is a stray one, and must not pass for the answer to the next question. And
//! it takes `IN_PV_01` for the external probe and `IN_PV_02` for the power, the other way round than
//! the manual; these two are not read here.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "bench/mod.rs"]
mod bench;
mod peer;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use labloop::driver::{Fleet, Notice};
use labloop::expr::Value;
use labloop::wire::{Clock, Dialer};
use peer::{Lab, command, definition, failure, is_done, quantity, setup, value};
use tokio::sync::mpsc;

/// A simulator of lewis in its own process.
struct Lewis {
    child: Child,
    port: u16,
}

impl Lewis {
    /// Its bath goes a hundred times faster than a real one: about 8 K a second.
    fn start() -> Lewis {
        let port = bench::free_ports(1)[0];
        let child = Command::new(bench::peers().with_file_name("lewis"))
            .args(["-k", "lewis.devices", "-e", "100", "julabo", "-p"])
            .arg(format!("julabo-version-1: {{bind_address: 127.0.0.1, port: {port}}}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let until = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "lewis does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        Lewis { child, port }
    }

    /// What it says to somebody else than the driver.
    fn ask(&self, question: &str) -> String {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket.write_all(format!("{question}\r").as_bytes()).unwrap();
        let mut answer = Vec::new();
        let mut byte = [0];
        while !answer.ends_with(b"\r\n") {
            socket.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        String::from_utf8(answer).unwrap().trim().to_owned()
    }
}

impl Drop for Lewis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn the_julabo_of_lewis_is_driven_by_the_definition_as_it_is() {
    let lewis = Lewis::start();
    let at = format!("tcp://127.0.0.1:{}", lewis.port);
    let bath = setup("bath", definition("thermostat/julabo.yaml", &[]), &at, &[]);
    let (sender, notices) = mpsc::channel(4096);
    let fleet = Fleet::start(vec![bath], Clock::real(), Dialer::real(), sender, 1).unwrap();
    let mut lab = Lab { fleet, notices, seen: Vec::new() };
    lab.ready().await;
    assert_eq!(value(&lab.read("bath", "temperature").await), quantity("24 degC"));
    assert_eq!(value(&lab.read("bath", "running").await), Value::Bool(false));
    let set = |id: &str, target| command(id, "bath", "set_temperature", &[("target", target)]);

    assert!(is_done(&lab.run(set("warm", "50 degC")).await));
    assert_eq!((lewis.ask("IN_SP_00"), lewis.ask("IN_MODE_05")), ("50.0".into(), "1".into()));
    assert_eq!(value(&lab.read("bath", "target").await), quantity("50 degC"));
    assert_eq!(value(&lab.read("bath", "running").await), Value::Bool(true));
    let until = Instant::now() + Duration::from_secs(20);
    let warm = quantity("49 degC");
    loop {
        let now = value(&lab.read("bath", "temperature").await);
        if let (Value::Quantity(now), Value::Quantity(warm)) = (&now, &warm)
            && now.value > warm.value
        {
            break;
        }
        assert!(Instant::now() < until, "it does not get warm: {now:?}");
    }

    // lewis ignores what its high limit of 100 degC forbids, without a word, as a Julabo does.
    assert_eq!(failure(&lab.run(set("hot", "150 degC")).await), ("refused", "Unknown".to_owned()));
    assert_eq!(lewis.ask("IN_SP_00"), "50.0");

    assert!(is_done(&lab.run(command("stop", "bath", "stop", &[])).await));
    assert_eq!(lewis.ask("IN_MODE_05"), "0");

    assert!(is_done(&lab.run(set("again", "60 degC")).await));
    lab.fleet.safe_state("bath").unwrap();
    let safe = lab.wait(|notice| match notice {
        Notice::SafeState { confirmed, detail, .. } => Some((*confirmed, detail.clone())),
        _ => None,
    });
    assert_eq!(safe.await, (true, "confirmed".to_owned()));
    assert_eq!(lewis.ask("IN_MODE_05"), "0");
    lab.fleet.shutdown().await;
}
