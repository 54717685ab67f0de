//! One device on each wire, driven while something is wrong, and an oracle that knows the truth.

pub mod broker;
pub mod definitions;
pub mod device;
pub mod oracle;
pub mod truth;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use labloop::driver::{Command, Fleet, InstrumentSetup, Notice, Outcome};
use labloop::expr::Value;
use labloop::spec::instrument::Instrument;
use labloop::units::{Dimension, Quantity};
use labloop::wire::{Address, Clock, Dialer, SerialSettings, Tick};
use labloop_simulators::faults::spec;
use labloop_simulators::{DeviceConfig, LabConfig, MemoryLab, Model, in_memory};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::Instant;

use self::broker::Broker;
use self::device::{LineDevice, Tongue};
use self::oracle::{Attempt, Oracle, What};
use self::truth::Truth;

/// The wires of the matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// Serial text with an address and a status in each answer.
    Addressed,
    /// Serial text with nothing but the answer.
    Plain,
    /// Serial frames with a CRC.
    Binary,
    /// The plain text over a socket.
    Tcp,
    ModbusTcp,
    ModbusRtu,
    Mqtt5,
    Mqtt3,
}

impl Wire {
    pub fn address(self) -> &'static str {
        match self {
            Wire::Addressed | Wire::Plain | Wire::Binary => "serial:/dev/device",
            Wire::Tcp => "tcp://device:1",
            Wire::ModbusTcp => "modbus+tcp://device:502?unit=5",
            Wire::ModbusRtu => "modbus+serial:/dev/device?unit=5",
            Wire::Mqtt5 | Wire::Mqtt3 => "mqtt://broker/lab/device",
        }
    }

    /// Whether a damaged bit always shows: the frames have a check sum.
    pub fn is_protected(self) -> bool {
        matches!(self, Wire::Binary | Wire::ModbusRtu)
    }

    pub fn is_mqtt(self) -> bool {
        matches!(self, Wire::Mqtt5 | Wire::Mqtt3)
    }

    /// Whether several devices share it. Each of them then has an address.
    pub fn is_shared(self) -> bool {
        matches!(self, Wire::Addressed | Wire::Binary | Wire::ModbusRtu)
    }

    /// Where the device with an address is.
    fn place(self, address: u8) -> String {
        self.address().replace("unit=5", &format!("unit={address}"))
    }

    fn tongue(self) -> Tongue {
        match self {
            Wire::Addressed => Tongue::Addressed,
            Wire::Binary => Tongue::Binary,
            Wire::ModbusTcp | Wire::ModbusRtu => Tongue::Modbus,
            _ => Tongue::Plain,
        }
    }
}

/// What can be wrong, in the words of the simulators; `#` is drawn anew for each run.
pub const KINDS: [&str; 17] = [
    "silence",
    "lost",
    "delay=#ms",
    "late=#ms",
    "corrupt",
    "flip",
    "truncated",
    "duplicated",
    "wrong_address",
    "exception=#",
    "busy",
    "stuck",
    "drift=9",
    "spike=1000",
    "sensor_break",
    "disconnect",
    "reboot",
];

/// Times a fault may take, ms: with the pieces below up to the reply timeout of 300 ms and the
/// silence of 300 ms that follows it. What comes later still cannot be told from an answer where
/// nothing identifies it.
const LATEST_MS: u64 = 540;

/// Pauses inside of what comes in pieces, ms, at most two; shorter than the pause of 25 ms that the
/// definitions ask for before a question.
const PIECE_MS: u64 = 20;

/// Several kinds at once.
pub const MIXED: &str = "mixed";

/// Random numbers of a run (Steele, Lea and Flood, 2014).
#[derive(Debug, Clone)]
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Where faults are ordered.
enum Faulty {
    Line(MemoryLab),
    Broker(Broker),
}

impl Faulty {
    fn order(&self, text: &str) {
        match self {
            Faulty::Line(lab) => lab.order(text).unwrap(),
            Faulty::Broker(broker) => broker.order(spec::parse(text).unwrap().1),
        }
    }
}

/// Something between the driver and the device, for canaries.
pub type Between = Arc<dyn Fn(Dialer) -> Dialer + Send + Sync>;

/// One run.
pub struct Run {
    pub wire: Wire,
    pub definition: Arc<Instrument>,
    /// One of [`KINDS`], or a fault of its own.
    pub kind: String,
    pub seed: u64,
    pub between: Option<Between>,
}

impl Account {
    pub fn add(&mut self, other: Account) {
        self.good += other.good;
        self.done += other.done;
        self.failed += other.failed;
        self.unknown += other.unknown;
        self.wrong.extend(other.wrong);
    }
}

/// What came of a run.
#[derive(Debug, Default, Clone)]
pub struct Account {
    pub wrong: Vec<String>,
    pub good: u32,
    pub done: u32,
    pub failed: u32,
    pub unknown: u32,
}

impl Run {
    /// The faults as they are ordered: one, or several of [`KINDS`] at once.
    fn faults(&self, dice: &mut Dice) -> Vec<String> {
        let order = |kind: &str, longest: u64, share: u64, dice: &mut Dice| {
            let number = match kind {
                "exception=#" => [1, 2, 3, 4, 5, 6, 8, 10, 11][dice.below(9) as usize],
                _ => 10 + dice.below(longest - 10),
            };
            format!("device:{}@{share}%", kind.replace('#', &number.to_string()))
        };
        if self.kind == MIXED {
            let count = 2 + dice.below(3);
            let kinds: BTreeSet<u64> = (0..count).map(|_| dice.below(17)).collect();
            let kinds: Vec<&str> = kinds.into_iter().map(|kind| KINDS[kind as usize]).collect();
            // Half an answer that comes twice may have the length of a whole one: without a check
            // sum nothing shows it.
            let forged = kinds.contains(&"duplicated") && self.wire == Wire::ModbusTcp;
            // A wrong bit in the name of the field that says what is wrong hides it.
            let hidden = kinds.contains(&"flip") && self.wire.is_mqtt();
            let kinds = kinds.into_iter().filter(|kind| match *kind {
                "truncated" => !forged,
                "busy" | "exception=#" => !hidden,
                _ => true,
            });
            // Two that take time must not add up to more than one may take.
            return kinds.map(|kind| order(kind, LATEST_MS / 2, 25, dice)).collect();
        }
        let share = [15, 40, 100][dice.below(3) as usize];
        vec![order(&self.kind, LATEST_MS, share, dice)]
    }

    /// In virtual time and in memory.
    pub fn go(&self) -> Account {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(self.drive())
    }

    async fn drive(&self) -> Account {
        // Other numbers for each fault and wire.
        let salt = self.kind.bytes().fold(self.wire as u64, |salt, byte| {
            salt.wrapping_mul(31).wrapping_add(u64::from(byte))
        });
        let mut dice = Dice(salt << 20 ^ self.seed);
        let faults = self.faults(&mut dice);
        let order_all = |faulty: &Faulty| faults.iter().for_each(|fault| faulty.order(fault));
        let count = if self.wire.is_shared() { 1 + dice.below(2) } else { 1 };
        let truths: Vec<Arc<Mutex<Truth>>> = (0..count).map(|_| Arc::default()).collect();
        for (number, truth) in (0..).zip(&truths) {
            // No two devices of a line ever say the same number.
            truth.lock().unwrap().numbers = 40_000 * number;
        }
        let (faulty, mut dialer) = self.wired(&truths);
        if let Some(between) = &self.between {
            dialer = between(dialer);
        }
        let early = dice.below(4) == 0;
        if dice.below(2) == 0 {
            dialer = in_pieces(dialer, self.seed);
        }
        if early {
            order_all(&faulty);
        }
        let setup = |at: usize| InstrumentSetup {
            name: NAMES[at].to_owned(),
            definition: Arc::clone(&self.definition),
            at: Address::parse(&self.wire.place(ADDRESSES[at])).unwrap(),
            config: BTreeMap::from([("address".to_owned(), plain(u32::from(ADDRESSES[at])))]),
            secret: None,
            trust: labloop::wire::Trust::default(),
        };
        let (sender, notices) = mpsc::channel(4096);
        let clock = Clock::virtual_time(Tick(0));
        let fleet =
            Fleet::start((0..truths.len()).map(setup).collect(), clock, dialer, sender, self.seed);
        let flips = faults.iter().any(|fault| fault.contains("flip"));
        let oracles = truths.iter().map(|truth| Oracle::new(self.wire, flips, Arc::clone(truth)));
        let oracles = oracles.collect();
        let mut driver = Driver { fleet: fleet.unwrap(), notices, oracles, dice, next: 0 };
        if early {
            tokio::time::sleep(Duration::from_millis(driver.dice.below(1500))).await;
        } else {
            driver.ready("at first").await;
            order_all(&faulty);
        }
        for _ in 0..8 {
            let pair = driver.dice.below(10) < 3;
            driver.begin();
            if pair {
                driver.begin();
            }
            driver.disturb().await;
            driver.finish(false).await;
            let pause = driver.dice.below(400);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        for name in &NAMES[..truths.len()] {
            faulty.order(&format!("{name}:off"));
        }
        // What is still on its way arrives, and the pauses between attempts to connect pass.
        tokio::time::sleep(Duration::from_secs(4)).await;
        driver.ready("after the faults were ended").await;
        for what in
            [What::Read("a"), What::Read("c"), What::Dose, What::Set, What::Move, What::Sample]
        {
            for at in 0..truths.len() {
                driver.attempt(at, what);
            }
            driver.finish(true).await;
        }
        let Driver { fleet, oracles, .. } = driver;
        fleet.shutdown().await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let mut sum = Account::default();
        for mut oracle in oracles {
            oracle.settle();
            sum.add(oracle.account);
        }
        for wrong in &mut sum.wrong {
            *wrong = format!("{:?} {} seed {}: {wrong}", self.wire, faults.join(" "), self.seed);
        }
        sum
    }

    fn wired(&self, truths: &[Arc<Mutex<Truth>>]) -> (Faulty, Dialer) {
        if self.wire.is_mqtt() {
            let seed = self.seed ^ 0x6d71_7474;
            let broker = Broker::new(self.wire == Wire::Mqtt3, &truths[0], seed);
            let dialer = broker.dialer();
            return (Faulty::Broker(broker), dialer);
        }
        let config = LabConfig {
            seed: self.seed,
            speed: 1.0,
            devices: (0..truths.len())
                .map(|at| DeviceConfig {
                    name: NAMES[at].to_owned(),
                    model: "of this test".to_owned(),
                    address: self.wire.place(ADDRESSES[at]),
                    config: BTreeMap::new(),
                })
                .collect(),
            plant: None,
        };
        let device = |at: usize| LineDevice::new(self.wire.tongue(), ADDRESSES[at], &truths[at]);
        let model = |at: usize| (NAMES[at].to_owned(), Box::new(device(at)) as Box<dyn Model>);
        let lab = in_memory(&config, (0..truths.len()).map(model).collect()).unwrap();
        let wires = lab.clone();
        (Faulty::Line(lab), Dialer::memory(move |address| wires.dial(address)))
    }
}

/// What the device sends comes in pieces, as on a serial line.
fn in_pieces(dialer: Dialer, seed: u64) -> Dialer {
    Dialer::memory(move |address| {
        let (near, far) = tokio::io::duplex(1 << 16);
        let (dialer, at) = (dialer.clone(), Address::parse(address).unwrap());
        let mut dice = Dice(seed);
        tokio::spawn(async move {
            let device = dialer.open(&at, &SerialSettings::default()).await?;
            let (mut from, mut to) = tokio::io::split(device);
            let (mut read, mut write) = tokio::io::split(far);
            tokio::spawn(async move { tokio::io::copy(&mut read, &mut to).await });
            let mut space = [0; 4096];
            loop {
                let count = from.read(&mut space).await?;
                if count == 0 {
                    return write.shutdown().await;
                }
                let mut left = &space[..count];
                for _ in 0..dice.below(3) {
                    if left.is_empty() {
                        break;
                    }
                    let (piece, rest) = left.split_at(1 + dice.below(left.len() as u64) as usize);
                    write.write_all(piece).await?;
                    tokio::time::sleep(Duration::from_millis(dice.below(PIECE_MS))).await;
                    left = rest;
                }
                write.write_all(left).await?;
            }
        });
        Ok(near)
    })
}

/// A dialer through which everything passes that two functions make of it: what is asked becomes
/// what reaches the device and what the driver is answered at once.
pub fn relayed(
    dialer: Dialer,
    asked: impl Fn(Vec<u8>) -> (Vec<u8>, Vec<u8>) + Copy + Send + Sync + 'static,
    said: impl Fn(Vec<u8>) -> Vec<u8> + Copy + Send + Sync + 'static,
) -> Dialer {
    Dialer::memory(move |address| {
        let (near, mut far) = tokio::io::duplex(1 << 16);
        let (dialer, at) = (dialer.clone(), Address::parse(address).unwrap());
        tokio::spawn(async move {
            let mut device = dialer.open(&at, &SerialSettings::default()).await?;
            let (mut one, mut other) = ([0; 4096], [0; 4096]);
            loop {
                tokio::select! {
                    count = far.read(&mut one) => match count? {
                        0 => return std::io::Result::Ok(()),
                        count => {
                            let (on, back) = asked(one[..count].to_vec());
                            device.write_all(&on).await?;
                            far.write_all(&back).await?;
                        }
                    },
                    count = device.read(&mut other) => match count? {
                        0 => return Ok(()),
                        count => far.write_all(&said(other[..count].to_vec())).await?,
                    },
                }
            }
        });
        Ok(near)
    })
}

struct Driver {
    fleet: Fleet,
    notices: mpsc::Receiver<Notice>,
    /// One for each device.
    oracles: Vec<Oracle>,
    dice: Dice,
    next: u64,
}

/// Devices of a line; faults are ordered of the first.
const NAMES: [&str; 2] = ["device", "neighbour"];
const ADDRESSES: [u8; 2] = [5, 6];

fn plain(number: u32) -> Value {
    let dim = Dimension::default();
    Value::Quantity(Quantity { value: f64::from(number), dim, point: false })
}

impl Driver {
    async fn ready(&mut self, when: &str) {
        for (name, state) in self.fleet.ready(Duration::from_secs(15)).await {
            if let Err(why) = state {
                let why = format!("{when} {name} is not ready within 15 s: {why}");
                self.oracles[0].wrong(why);
            }
        }
    }

    fn begin(&mut self) {
        let what = match self.dice.below(10) {
            0 => What::Read("a"),
            1 => What::Read("b"),
            2 => What::Read("c"),
            3 => What::Read("sp"),
            4 => What::Read("at"),
            5 | 6 => What::Dose,
            7 => What::Set,
            8 => What::Move,
            _ => What::Sample,
        };
        let at = self.dice.below(self.oracles.len() as u64) as usize;
        self.attempt(at, what);
    }

    /// Now and then somebody changes his mind, or wants everything to stop.
    async fn disturb(&mut self) {
        let what = self.dice.below(12);
        let pause = self.dice.below(600);
        if what > 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(pause)).await;
        for (name, oracle) in NAMES.iter().zip(&self.oracles) {
            if what == 0 {
                self.fleet.safe_state(name).unwrap();
                continue;
            }
            for attempt in oracle.waiting() {
                self.fleet.cancel(name, attempt).unwrap();
            }
        }
    }

    fn attempt(&mut self, at: usize, what: What) {
        self.next += 1;
        let name = format!("attempt-{}", self.next);
        // Far enough from each other that no single bit makes one of another.
        let number = 1_000_000
            + u32::try_from((self.next * 1_414_213 + self.dice.below(1000)) % 7_999_999).unwrap();
        self.oracles[at].begun(name.clone(), Attempt { what, number, begun: Instant::now() });
        let action = match what {
            What::Read(property) => {
                self.fleet.read(&name, NAMES[at], property).unwrap();
                return;
            }
            What::Dose => "dose",
            What::Set => "set",
            What::Move => "move",
            What::Sample => "sample",
        };
        let args = match what {
            What::Sample => BTreeMap::new(),
            _ => BTreeMap::from([("n".to_owned(), plain(number))]),
        };
        let command = Command {
            attempt: name,
            instrument: NAMES[at].to_owned(),
            action: action.to_owned(),
            args,
            deadline: Duration::from_secs(8),
        };
        self.fleet.send(command).unwrap();
    }

    /// Waits for the outcomes of all that was begun.
    async fn finish(&mut self, must: bool) {
        while let Some(at) = self.oracles.iter().position(Oracle::is_waiting) {
            // Its deadline of 8 s, and what the line had to do before.
            match tokio::time::timeout(Duration::from_secs(30), self.notices.recv()).await {
                Ok(Some(Notice::Outcome { attempt, outcome })) => {
                    let its = |oracle: &Oracle| oracle.waiting().any(|name| *name == attempt);
                    let at = self.oracles.iter().position(its).unwrap_or(at);
                    if let (true, Outcome::Failed { message, kind, .. }) = (must, &outcome) {
                        let why = format!("without faults {attempt} fails: {kind:?}: {message}");
                        self.oracles[at].wrong(why);
                    }
                    self.oracles[at].ended(&attempt, &outcome);
                }
                Ok(Some(Notice::Sample { instrument, property, value, at, .. })) => {
                    let its = NAMES.iter().position(|name| *name == instrument).unwrap();
                    self.oracles[its].sample(&property, &value, at);
                }
                Ok(Some(_)) => {}
                Ok(None) => panic!("the fleet ended"),
                Err(_) => {
                    self.oracles[at].wrong("no outcome within 30 s".to_owned());
                    return;
                }
            }
        }
    }
}
