//! Faults at a broker: whatever goes wrong, no command is sent twice, nothing false is taken for true,
//! and when it is over the instrument works again.
//!
//! Each run is seeded and in virtual time; a failure names its definition, fault and seed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod peer;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use labloop::driver::mirror::{Device, Mirror};
use labloop::driver::{Command, Definition, Fleet, InstrumentSetup, Notice, Outcome};
use labloop::expr::Value;
use labloop::wire::{Address, Clock, Dialer, Tick};
use labloop_simulators::{
    Answer, DeviceConfig, Inward, LabConfig, Model, Models, Outward, Presence, Upset, in_memory,
};
use tokio::sync::mpsc;

const NAME: &str = "switch";
/// Seeded runs of each fault with each device: four of them make 200 of each fault.
const SEEDS: u64 = 50;

const DEVICES: [(&str, &str); 4] = [
    ("power_switch/tasmota-plug.yaml", "mqtt://broker:1883/lab/switch"),
    ("power_switch/shelly-gen2-switch.yaml", "mqtt://broker:1883/lab/switch"),
    ("power_switch/esphome-relay.yaml", "mqtt://broker:1883/lab/switch"),
    ("power_switch/sparkplug-switch.yaml", "mqtt://broker:1883/lab/node/switch"),
];

/// Fault, and whether the device itself says what is not so.
const FAULTS: [(&str, bool); 15] = [
    ("silence@40%", false),
    ("lost@40%", false),
    ("delay=300ms@40%", false),
    ("late=2s@40%", false),
    ("corrupt@40%", false),
    ("truncated@40%", false),
    ("duplicated@40%", false),
    ("wrong_address@40%", false),
    ("disconnect@20%", false),
    ("busy@40%", false),
    ("sensor_break@40%", false),
    // It forgets after it was told.
    ("reboot@10%", true),
    ("stuck@40%", true),
    ("drift=0.5", true),
    ("spike=10@40%", true),
];

/// What the device itself knows.
#[derive(Debug, Default)]
struct Truth {
    on: bool,
    /// Commands that reached it, queries left out.
    commands: BTreeMap<String, usize>,
}

/// A simulator that is looked into.
#[derive(Debug)]
struct Watched {
    device: Device,
    truth: Arc<Mutex<Truth>>,
}

impl Watched {
    fn look(&mut self, now: f64) {
        let on = self.device.mirror().value("switched_on", now);
        self.truth.lock().unwrap().on = on == Some(Value::Bool(true));
    }
}

impl Model for Watched {
    fn hear(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        self.device.hear(bytes)
    }

    fn answer(&mut self, request: &[u8], now: f64) -> Option<Answer> {
        self.device.answer(request, now)
    }

    fn appear(&mut self, now: f64) -> Presence {
        self.device.appear(now)
    }

    fn vanish(&mut self) -> Option<Outward> {
        self.device.vanish()
    }

    fn message(&mut self, message: &Inward, now: f64) -> Vec<Outward> {
        let text = String::from_utf8_lossy(&message.payload).into_owned();
        let question = text.is_empty()
            || text == "10"
            || text.contains("GetStatus")
            || message.topic.contains("/NCMD/");
        if !question {
            // One of ours holds the id of the attempt, or at least what is wanted.
            let mut truth = self.truth.lock().unwrap();
            *truth.commands.entry(wanted(&message.payload)).or_default() += 1;
        }
        let out = self.device.message(message, now);
        self.look(now);
        out
    }

    fn stream(&mut self, now: f64) -> (Vec<Outward>, f64) {
        let out = self.device.stream(now);
        self.look(now);
        out
    }

    fn complaints(&mut self) -> Vec<String> {
        self.device.complaints()
    }

    fn upset(&mut self, upset: Upset, on: bool, now: f64) {
        self.device.upset(upset, on, now);
        self.look(now);
    }
}

/// What a command wants, `on` or `off`.
fn wanted(payload: &[u8]) -> String {
    let text = String::from_utf8_lossy(payload);
    let on = text == "ON" || text.contains("\"on\":true") || payload.ends_with(&[0x70, 1]);
    if on { "on" } else { "off" }.to_owned()
}

struct Lab {
    fleet: Fleet,
    notices: mpsc::Receiver<Notice>,
    attempts: BTreeMap<String, usize>,
}

impl Lab {
    async fn outcome(&mut self, attempt: &str) -> Outcome {
        loop {
            match self.notices.recv().await.unwrap() {
                Notice::Outcome { attempt: of, outcome } if of == attempt => return outcome,
                _ => {}
            }
        }
    }

    async fn switch(&mut self, on: bool) -> Outcome {
        let word = if on { "on" } else { "off" };
        *self.attempts.entry(word.to_owned()).or_default() += 1;
        let attempt = format!("{word}-{}", self.attempts[word]);
        self.fleet
            .send(Command {
                attempt: attempt.clone(),
                instrument: NAME.to_owned(),
                action: format!("switch_{word}"),
                args: BTreeMap::new(),
                deadline: Duration::from_secs(20),
            })
            .unwrap();
        self.outcome(&attempt).await
    }

    async fn read(&mut self, number: usize) -> Outcome {
        let attempt = format!("read-{number}");
        self.fleet.read(&attempt, NAME, "switched_on").unwrap();
        self.outcome(&attempt).await
    }
}

fn config(at: &str, seed: u64) -> LabConfig {
    LabConfig {
        seed,
        speed: 1.0,
        devices: vec![DeviceConfig {
            name: NAME.to_owned(),
            model: "by its definition".to_owned(),
            address: at.to_owned(),
            config: BTreeMap::new(),
        }],
        plant: None,
    }
}

/// One run; how many commands were done, or what must not be.
async fn run(
    definition: Arc<Definition>,
    at: &str,
    fault: &str,
    lies: bool,
    seed: u64,
) -> Result<usize, String> {
    let setup = InstrumentSetup {
        name: NAME.to_owned(),
        definition,
        at: Address::parse(at).unwrap(),
        config: BTreeMap::new(),
        secret: None,
        trust: labloop::wire::Trust::default(),
    };
    let truth = Arc::new(Mutex::new(Truth::default()));
    let device = Device::new(Mirror::new(&setup).unwrap(), seed);
    let model = Watched { device, truth: Arc::clone(&truth) };
    let models = Models::from([(NAME.to_owned(), Box::new(model) as _)]);
    let memory = in_memory(&config(at, seed), models).unwrap();
    let wires = memory.clone();
    let dialer = Dialer::memory(move |address| wires.dial(address));
    let (sender, notices) = mpsc::channel(4096);
    let fleet =
        Fleet::start(vec![setup], Clock::virtual_time(Tick(0)), dialer, sender, seed).unwrap();
    let mut lab = Lab { fleet, notices, attempts: BTreeMap::new() };
    lab.fleet.ready(Duration::from_secs(30)).await;
    memory.order(&format!("{NAME}:{fault}")).unwrap();
    let mut done = 0;
    for round in 0..4 {
        let on = round % 2 == 0;
        let outcome = lab.switch(on).await;
        if let Outcome::Done { .. } = outcome {
            done += 1;
            if !lies && truth.lock().unwrap().on != on {
                return Err(format!("round {round}: done, but the device is not {on}"));
            }
        }
        // What is late has come by then.
        tokio::time::sleep(Duration::from_secs(5)).await;
        let before = truth.lock().unwrap().on;
        let read = lab.read(round).await;
        if let Outcome::Done { value: Some(Value::Bool(said)), .. } = read
            && !lies
            && said != before
        {
            return Err(format!("round {round}: it is read as {said}, it is {before}"));
        }
    }
    memory.order(&format!("{NAME}:off")).unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    // What was upset hears with its next message that it is no longer.
    let _ = lab.switch(true).await;
    for on in [true, false] {
        let outcome = lab.switch(on).await;
        if !matches!(outcome, Outcome::Done { .. }) || truth.lock().unwrap().on != on {
            return Err(format!("it does not recover: {on}: {outcome:?}"));
        }
    }
    lab.fleet.shutdown().await;
    for (word, count) in &truth.lock().unwrap().commands {
        let sent = lab.attempts.get(word).copied().unwrap_or(0);
        if *count > sent {
            return Err(format!("{count} commands `{word}` for {sent} attempts"));
        }
    }
    match memory.complaints().as_slice() {
        [] => Ok(done),
        complaints => Err(complaints.join("; ")),
    }
}

#[test]
fn no_fault_at_a_broker_makes_a_command_twice_or_a_value_false() {
    let mut wrong = Vec::new();
    let devices = DEVICES.map(|(file, at)| (file, peer::definition(file, &[]), at));
    for (fault, lies) in FAULTS {
        let mut done = 0;
        for (file, definition, at) in &devices {
            for seed in 0..SEEDS {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_time()
                    .start_paused(true)
                    .build()
                    .unwrap();
                match runtime.block_on(run(Arc::clone(definition), at, fault, lies, seed)) {
                    Ok(count) => done += count,
                    Err(why) => wrong.push(format!("{file} {fault} seed {seed}: {why}")),
                }
            }
        }
        // A fault that lets nothing through would prove nothing.
        assert!(done > 0, "{fault}: nothing was ever done");
    }
    wrong.truncate(30);
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
