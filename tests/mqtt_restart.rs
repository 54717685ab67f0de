//! A broker that goes away in the middle, and commands that it kept.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod bench;
mod peer;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use labloop::driver::mirror::{Device, Mirror};
use labloop::driver::{Fleet, InstrumentSetup, Notice, Outcome};
use labloop::expr::Value;
use labloop::wire::mqtt::{Message, Options, Session, Version};
use labloop::wire::{Address, Clock, Dialer, SerialSettings};
use labloop_simulators::{
    Answer, DeviceConfig, Inward, LabConfig, Model, Models, Outward, Presence, ServeOptions, Upset,
    serve,
};
use peer::{command, definition, failure, is_done, setup, without_polls};
use tokio::sync::mpsc;

/// A simulated plug that writes down what it hears.
#[derive(Debug)]
struct Heard(Device, Arc<Mutex<Vec<String>>>);

impl Model for Heard {
    fn hear(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        self.0.hear(bytes)
    }

    fn answer(&mut self, request: &[u8], now: f64) -> Option<Answer> {
        self.0.answer(request, now)
    }

    fn appear(&mut self, now: f64) -> Presence {
        self.0.appear(now)
    }

    fn vanish(&mut self) -> Option<Outward> {
        self.0.vanish()
    }

    fn message(&mut self, message: &Inward, now: f64) -> Vec<Outward> {
        self.1.lock().unwrap().push(String::from_utf8(message.payload.clone()).unwrap());
        self.0.message(message, now)
    }

    fn stream(&mut self, now: f64) -> (Vec<Outward>, f64) {
        self.0.stream(now)
    }

    fn complaints(&mut self) -> Vec<String> {
        self.0.complaints()
    }

    fn upset(&mut self, upset: Upset, on: bool, now: f64) {
        self.0.upset(upset, on, now);
    }
}

fn plug(port: u16) -> InstrumentSetup {
    let plug = without_polls(definition("power_switch/tasmota-plug.yaml", &[]));
    setup("plug", plug, &format!("mqtt://127.0.0.1:{port}/plug"), &[])
}

/// The plug as a client of the broker at a port; what it hears.
fn simulator(setup: &InstrumentSetup) -> (tokio::task::JoinHandle<()>, Arc<Mutex<Vec<String>>>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let model = Heard(Device::new(Mirror::new(setup).unwrap(), 1), Arc::clone(&heard));
    let config = LabConfig {
        seed: 1,
        speed: 1.0,
        devices: vec![DeviceConfig {
            name: "plug".to_owned(),
            model: "tasmota-plug".to_owned(),
            address: setup.at.text.clone(),
            config: BTreeMap::new(),
        }],
        plant: None,
    };
    let models = Models::from([("plug".to_owned(), Box::new(model) as _)]);
    let served = serve(config, models, ServeOptions::default());
    (tokio::spawn(async move { served.await.unwrap() }), heard)
}

struct Lab(Fleet, mpsc::Receiver<Notice>);

impl Lab {
    fn start(setup: InstrumentSetup) -> Lab {
        let (sender, notices) = mpsc::channel(1024);
        let fleet = Fleet::start(vec![setup], Clock::real(), Dialer::real(), sender, 1).unwrap();
        Lab(fleet, notices)
    }

    async fn wait<T>(&mut self, mut pick: impl FnMut(&Notice) -> Option<T>) -> T {
        let found = async {
            loop {
                let notice = self.1.recv().await.unwrap();
                if let Some(found) = pick(&notice) {
                    return found;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), found).await.expect("nothing in 30 s")
    }

    async fn run(&mut self, attempt: &str, action: &str) -> Outcome {
        self.0.send(command(attempt, "plug", action, &[])).unwrap();
        self.outcome(attempt).await
    }

    async fn outcome(&mut self, attempt: &str) -> Outcome {
        self.wait(|notice| match notice {
            Notice::Outcome { attempt: of, outcome } if of == attempt => Some(outcome.clone()),
            _ => None,
        })
        .await
    }

    async fn link(&mut self, wanted: bool) {
        self.wait(|notice| match notice {
            Notice::Link { up, .. } if *up == wanted => Some(()),
            _ => None,
        })
        .await;
    }

    async fn is_on(&mut self, attempt: &str) -> bool {
        self.0.read(attempt, "plug", "switched_on").unwrap();
        match self.outcome(attempt).await {
            Outcome::Done { value: Some(Value::Bool(on)), .. } => on,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_broker_that_restarts_carries_nothing_twice() {
    let bench = bench::Bench::new("restart");
    let port = bench::free_ports(1)[0];
    let program = bench::mosquitto().expect("mosquitto is not installed; ./test installs it");
    let broker = bench::Broker::start(&program, port, bench.folder());
    let (served, heard) = simulator(&plug(port));
    let mut lab = Lab::start(plug(port));
    lab.link(true).await;
    assert!(is_done(&lab.run("a", "switch_on").await));
    drop(broker);
    lab.link(false).await;
    assert_eq!(failure(&lab.run("b", "switch_off").await), ("link", "NotSent".to_owned()));
    let _broker = bench::Broker::start(&program, port, bench.folder());
    let back = Instant::now();
    lab.link(true).await;
    assert!(back.elapsed() < Duration::from_secs(15), "{:?}", back.elapsed());
    assert!(lab.is_on("read").await, "the refused command has not come after all");
    assert!(is_done(&lab.run("c", "switch_off").await));
    assert!(!lab.is_on("again").await);
    let count = |word: &str| heard.lock().unwrap().iter().filter(|said| *said == word).count();
    assert_eq!((count("ON"), count("OFF")), (1, 1), "{:?}", heard.lock().unwrap());
    lab.0.shutdown().await;
    served.abort();
}

#[tokio::test]
async fn a_command_that_a_broker_kept_is_not_carried_out() {
    let bench = bench::Bench::new("kept");
    let port = bench::free_ports(1)[0];
    let program = bench::mosquitto().expect("mosquitto is not installed; ./test installs it");
    let _broker = bench::Broker::start(&program, port, bench.folder());
    let at = Address::parse(&format!("mqtt://127.0.0.1:{port}")).unwrap();
    let wire = Dialer::real().open(&at, &SerialSettings::default()).await.unwrap();
    let options = Options {
        version: Version::V5,
        client_id: "somebody".to_owned(),
        keep_alive: Duration::from_secs(10),
        login: None,
        will: None,
    };
    let mut session = Session::open(wire, &options).await.unwrap();
    let kept = Message {
        topic: "cmnd/plug/POWER".to_owned(),
        payload: b"ON".to_vec(),
        retain: true,
        ..Message::default()
    };
    session.publish(&kept, true).unwrap();
    session.next().await.unwrap();
    let (served, heard) = simulator(&plug(port));
    let mut lab = Lab::start(plug(port));
    lab.link(true).await;
    assert!(!lab.is_on("read").await);
    assert!(!heard.lock().unwrap().contains(&"ON".to_owned()));
    lab.0.shutdown().await;
    served.abort();
}
