//! All instruments of a lab behind one handle.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::bus::Bus;
use super::exchange::Line;
use super::gate::{EmergencyStop, Gate, Health, Lease, insist};
use super::isolated::{Recovery, isolated};
use super::line::{Lamp, Outbox, QUEUE, Readiness, Request, Urgent};
use super::null::Null;
use super::plan::{Plan, Protocol};
use super::session::Session;
use super::stop;
use super::tap::watched;
use super::topics::{State, Topics};
use super::types::{Command, InstrumentSetup, Notice, SendError, SetupError, Tap};
use super::unit::Unit;
use crate::wire::claim::{key_hash, line_key};
use crate::wire::{Backoff, Clock, Dialer, LineLock, SerialSettings};

/// Longest pause before a silent device of a shared line is asked again, in reply timeouts. An
/// attempt costs two of them, one for the answer and one for the quiet after it.
const SILENT_SHARE: u32 = 10;

/// The running drivers: one task for each line.
#[derive(Debug)]
pub struct Fleet {
    instruments: BTreeMap<String, Handle>,
    gate: Arc<Gate>,
    dropped: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<()>>,
    /// Asks for safe states again that were not confirmed.
    insisting: JoinHandle<()>,
    tap: Option<Tap>,
}

/// The way to one instrument.
#[derive(Debug)]
struct Handle {
    requests: mpsc::Sender<Request>,
    urgent: Arc<Urgent>,
    ready: watch::Receiver<Readiness>,
    unit: Arc<Unit>,
    /// The longest that other work on the line can keep its safe state waiting.
    stop_latency: Duration,
}

/// A setup with its compiled plan.
struct Ready {
    setup: InstrumentSetup,
    plan: Arc<Plan>,
    unit: Arc<Unit>,
    /// Keeps others on this machine from its line.
    lock: Option<Arc<LineLock>>,
}

impl Fleet {
    /// Checks each setup and starts one task for each line; connecting begins at once. All that
    /// cannot be driven is reported together, and then nothing is started. `seed` feeds the jitter
    /// of reconnects. Must be called inside a tokio runtime.
    pub fn start(
        instruments: Vec<InstrumentSetup>,
        clock: Clock,
        dialer: Dialer,
        notices: mpsc::Sender<Notice>,
        seed: u64,
    ) -> Result<Fleet, Vec<SetupError>> {
        Fleet::start_watched(instruments, clock, dialer, notices, seed, None)
    }

    /// The same, with the identity of each unit that was there before.
    pub fn start_knowing(
        instruments: Vec<InstrumentSetup>,
        clock: Clock,
        dialer: Dialer,
        notices: mpsc::Sender<Notice>,
        seed: u64,
        known: &BTreeMap<String, String>,
    ) -> Result<Fleet, Vec<SetupError>> {
        Fleet::begin(instruments, clock, dialer, notices, seed, None, known)
    }

    /// The same, with every message shown as it crosses a wire.
    pub fn start_watched(
        instruments: Vec<InstrumentSetup>,
        clock: Clock,
        dialer: Dialer,
        notices: mpsc::Sender<Notice>,
        seed: u64,
        tap: Option<Tap>,
    ) -> Result<Fleet, Vec<SetupError>> {
        Fleet::begin(instruments, clock, dialer, notices, seed, tap, &BTreeMap::new())
    }

    fn begin(
        instruments: Vec<InstrumentSetup>,
        clock: Clock,
        dialer: Dialer,
        notices: mpsc::Sender<Notice>,
        seed: u64,
        tap: Option<Tap>,
        known: &BTreeMap<String, String>,
    ) -> Result<Fleet, Vec<SetupError>> {
        let mut wrong = Vec::new();
        let mut locks = BTreeMap::new();
        let mut lines: BTreeMap<String, Vec<Ready>> = BTreeMap::new();
        for setup in instruments {
            let lock = claimed(&setup, &dialer, &mut locks).unwrap_or_else(|reason| {
                wrong.push(SetupError { instrument: setup.name.clone(), reason });
                None
            });
            if let Err(reason) = dialer.supports(&setup.at, &setup.trust) {
                wrong.push(SetupError { instrument: setup.name.clone(), reason });
            }
            match Plan::new(&setup) {
                Ok(plan) => {
                    let line = stop::line_of(&setup, &plan);
                    let unit = Arc::new(Unit::new(known.get(&setup.name).cloned()));
                    let plan = Arc::new(plan);
                    lines.entry(line).or_default().push(Ready { setup, plan, unit, lock });
                }
                Err(reasons) => wrong.extend(
                    reasons
                        .into_iter()
                        .map(|reason| SetupError { instrument: setup.name.clone(), reason }),
                ),
            }
        }
        for members in lines.values() {
            wrong.extend(line_mistakes(members));
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let gate = Arc::new(Gate::new(clock.clone()));
        let mut fleet = Fleet {
            instruments: BTreeMap::new(),
            insisting: tokio::spawn(insist(Arc::clone(&gate))),
            gate,
            dropped: Arc::default(),
            tasks: Vec::new(),
            tap,
        };
        for (number, members) in lines.into_values().enumerate() {
            // Lines that fail together must not all come back at the same moment.
            let seed = seed.wrapping_add(number as u64);
            fleet.start_line(members, &clock, &dialer, &notices, seed);
        }
        Ok(fleet)
    }

    fn start_line(
        &mut self,
        members: Vec<Ready>,
        clock: &Clock,
        dialer: &Dialer,
        notices: &mpsc::Sender<Notice>,
        seed: u64,
    ) {
        let (requests, inlet) = mpsc::channel(QUEUE);
        let urgent: Arc<Urgent> = Arc::default();
        let gate = Arc::clone(&self.gate);
        let outbox =
            Outbox::new(notices.clone(), Arc::clone(&self.dropped), Arc::clone(&self.gate));
        let mut lamps = Vec::new();
        let all: Vec<stop::Member<'_>> =
            members.iter().map(|m| stop::Member::new(&m.plan, stop::is_serial(&m.setup))).collect();
        let stop_latency = stop::line_stop(String::new(), &all).starts;
        for member in &members {
            let name = member.setup.name.clone();
            let (state, ready) = watch::channel(Readiness::Connecting);
            lamps.push(Lamp::new(name.clone(), state));
            let handle = Handle {
                requests: requests.clone(),
                urgent: Arc::clone(&urgent),
                ready,
                unit: Arc::clone(&member.unit),
                stop_latency,
            };
            let beat = member.plan.heartbeat.as_ref().filter(|beat| beat.feed.is_empty());
            self.gate.add(name.clone(), Arc::clone(&urgent), beat.map(|beat| beat.period));
            self.instruments.insert(name, handle);
        }
        let Some(first) = members.first() else { return };
        if let Some(lock) = &first.lock {
            urgent.keep(Arc::clone(lock));
        }
        let task = match &first.plan.protocol {
            Protocol::Text { serial, .. } | Protocol::Modbus { serial, .. } => {
                let quiet = members.iter().map(|member| member.plan.reply_timeout).max();
                let mut line = Line::new(
                    first.setup.at.clone(),
                    *serial,
                    dialer.clone(),
                    clock.clone(),
                    quiet.unwrap_or_default(),
                );
                line.urgent = Some(Arc::clone(&urgent));
                line.listener = match (&first.plan.protocol, members.as_slice()) {
                    (Protocol::Text { codec, .. }, [_]) if !codec.unsolicited.is_empty() => {
                        Some((**codec).clone())
                    }
                    _ => None,
                };
                // A device that is gone is not to take the line from the others.
                let patience = if members.len() > 1 {
                    quiet.unwrap_or_default() * SILENT_SHARE
                } else {
                    Duration::ZERO
                };
                let sessions = members
                    .iter()
                    .zip(lamps)
                    .map(|(member, lamp)| {
                        let backoff = Backoff::up_to(patience, seed);
                        let unit = Arc::clone(&member.unit);
                        Session::new(Arc::clone(&member.plan), lamp, unit, clock, backoff)
                    })
                    .collect();
                let queue = VecDeque::new();
                let backoff = Backoff::of_line(seed);
                let (requests, recovery) = (inlet, Recovery::new());
                let bus = Bus {
                    line,
                    sessions,
                    requests,
                    urgent,
                    outbox,
                    gate,
                    backoff,
                    queue,
                    recovery,
                };
                tokio::spawn(watched(self.tap.clone(), isolated(bus)))
            }
            Protocol::Mqtt(mqtt) => {
                let Some(lamp) = lamps.pop() else { return };
                let topics = Topics {
                    plan: Arc::clone(&first.plan),
                    mqtt: mqtt.clone(),
                    at: first.setup.at.clone(),
                    secret: first.setup.secret.clone(),
                    trust: first.setup.trust.clone(),
                    client_id: client_id(&first.setup, dialer, seed),
                    origin: origin(&first.setup, dialer, clock),
                    unit: Arc::clone(&first.unit),
                    rivals: !dialer.is_elsewhere(&first.setup.at),
                    dialer: dialer.clone(),
                    clock: clock.clone(),
                    requests: inlet,
                    urgent,
                    outbox,
                    gate,
                    backoff: Backoff::of_broker(seed),
                    lamp,
                    state: State::default(),
                    recovery: Recovery::new(),
                };
                tokio::spawn(watched(self.tap.clone(), isolated(topics)))
            }
            Protocol::Null => {
                let Some(lamp) = lamps.pop() else { return };
                let plan = Arc::clone(&first.plan);
                let null = Null { plan, requests: inlet, urgent, outbox, gate, lamp, ends: false };
                tokio::spawn(isolated(null))
            }
        };
        self.tasks.push(task);
    }

    /// Waits until each instrument is connected, identified and prepared, at most `within` (wall
    /// time); per instrument the reason why it is not.
    pub async fn ready(&self, within: Duration) -> BTreeMap<String, Result<(), String>> {
        let deadline = Instant::now() + within;
        let mut states = BTreeMap::new();
        for (name, handle) in &self.instruments {
            let mut ready = handle.ready.clone();
            let up = ready.wait_for(|state| *state == Readiness::Up);
            let result = match timeout_at(deadline, up).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(_)) => Err("its driver has ended".to_owned()),
                Err(_) => Err(match &*handle.ready.borrow() {
                    Readiness::Up => "it came up too late".to_owned(),
                    Readiness::Connecting => "no connection yet".to_owned(),
                    Readiness::Down(why) => why.clone(),
                }),
            };
            states.insert(name.clone(), result);
        }
        states
    }

    /// Whether an instrument is connected, identified and prepared now.
    pub fn is_ready(&self, instrument: &str) -> bool {
        self.instruments
            .get(instrument)
            .is_some_and(|h| *h.ready.borrow() == Readiness::Up && !h.requests.is_closed())
    }

    /// Why an instrument cannot be used now; `None` when it can, or is not of this lab.
    pub fn why_not_ready(&self, instrument: &str) -> Option<String> {
        let handle = self.instruments.get(instrument)?;
        match &*handle.ready.borrow() {
            Readiness::Up if handle.requests.is_closed() => Some("its driver has ended".to_owned()),
            Readiness::Up => None,
            Readiness::Connecting => Some("no connection yet".to_owned()),
            Readiness::Down(why) => Some(why.clone()),
        }
    }

    /// Hands over an attempt; its outcome comes as a notice.
    pub fn send(&self, command: Command) -> Result<(), SendError> {
        self.send_as(command, self.gate.epoch())
    }

    /// The same for an engine with a fencing epoch of its own; at the gate it must be that of the
    /// [`Lease`], however long the command has waited for its turn.
    pub fn send_as(&self, command: Command, epoch: u64) -> Result<(), SendError> {
        self.request(Request::Act(command, epoch))
    }

    /// Reads one property now; `Done` with its value, or `Failed`, comes as a notice.
    pub fn read(&self, attempt: &str, instrument: &str, property: &str) -> Result<(), SendError> {
        self.request(Request::Read {
            attempt: attempt.to_owned(),
            instrument: instrument.to_owned(),
            property: property.to_owned(),
        })
    }

    fn request(&self, request: Request) -> Result<(), SendError> {
        let name = request.instrument().to_owned();
        let handle = self.handle(&name)?;
        handle.requests.try_send(request).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SendError::Full(name),
            mpsc::error::TrySendError::Closed(_) => SendError::Closed,
        })
    }

    fn handle(&self, instrument: &str) -> Result<&Handle, SendError> {
        self.instruments.get(instrument).ok_or_else(|| SendError::Unknown(instrument.to_owned()))
    }

    /// Stops waiting for an attempt: not yet sent, it is dropped; under way, the definition's
    /// `on_cancel` is sent. Its outcome follows either way.
    pub fn cancel(&self, instrument: &str, attempt: &str) -> Result<(), SendError> {
        self.handle(instrument)?.urgent.cancel(attempt);
        Ok(())
    }

    /// Sends the safe state ahead of everything queued, gate open or not. Actions of the
    /// instrument that wait or are under way end as failed.
    pub fn safe_state(&self, instrument: &str) -> Result<(), SendError> {
        self.handle(instrument)?.urgent.safe_state(instrument);
        Ok(())
    }

    /// A person says that an instrument may be used although another unit answers, or another client
    /// had taken it over; its identity now, if it tells one.
    pub fn accept(&self, instrument: &str) -> Result<Option<String>, SendError> {
        let handle = self.handle(instrument)?;
        let identity = handle.unit.accept();
        handle.urgent.wake();
        Ok(identity)
    }

    /// How long, in wall time, other work on its line can keep the safe state of each instrument
    /// from the wire at most.
    pub fn stop_latencies(&self) -> BTreeMap<String, Duration> {
        self.instruments.iter().map(|(name, h)| (name.clone(), h.stop_latency)).collect()
    }

    /// The emergency stop of all its instruments.
    pub fn emergency(&self) -> EmergencyStop {
        EmergencyStop(Arc::clone(&self.gate))
    }

    /// The pulse of whoever watches over it.
    pub fn health(&self) -> Health {
        Health(Arc::clone(&self.gate))
    }

    /// The right to speak to its instruments.
    pub fn lease(&self) -> Lease {
        Lease(Arc::clone(&self.gate))
    }

    /// Closes the gate: until it is opened only reads and safe states pass.
    pub fn close_gate(&self, reason: &str) {
        self.gate.close(reason);
    }

    /// Opens the gate again.
    pub fn open_gate(&self) {
        self.gate.open();
    }

    /// Samples dropped because nobody read the notices.
    pub fn dropped_samples(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Ends all tasks; attempts under way end as failed. Sends no safe state.
    pub async fn shutdown(self) {
        self.insisting.abort();
        for handle in self.instruments.values() {
            handle.urgent.shutdown();
        }
        for task in self.tasks {
            // A task that panicked has nothing left to end.
            let _ = task.await;
        }
    }
}

/// Takes the line of an instrument on this machine; lines that its fleet has are not taken twice.
fn claimed(
    setup: &InstrumentSetup,
    dialer: &Dialer,
    locks: &mut BTreeMap<String, Arc<LineLock>>,
) -> Result<Option<Arc<LineLock>>, String> {
    let Some(key) = line_key(&setup.at) else { return Ok(None) };
    if let Some(lock) = locks.get(&key) {
        return Ok(Some(Arc::clone(lock)));
    }
    let lock = dialer.claim(&setup.at).map_err(|error| error.to_string())?.map(Arc::new);
    if let Some(lock) = &lock {
        locks.insert(key, Arc::clone(lock));
    }
    Ok(lock)
}

/// Who we are to a broker. For a real instrument that depends on the instrument alone: a second
/// engine that wants it, on whatever machine, takes the first one's session over, and both know.
/// 23 characters, which every broker takes.
fn client_id(setup: &InstrumentSetup, dialer: &Dialer, seed: u64) -> String {
    match line_key(&setup.at).filter(|_| !dialer.is_elsewhere(&setup.at)) {
        Some(key) => format!("labloop-{}", key_hash(&key)),
        None => format!("labloop-{}-{seed:x}", setup.name),
    }
}

/// What ids of messages begin with. A real device that knows the ids it has seen, to do nothing
/// twice, must not take a command of another engine for one of those, least of all a safe state:
/// runs of two state folders may have the same names, and counts begin anew with each engine.
fn origin(setup: &InstrumentSetup, dialer: &Dialer, clock: &Clock) -> String {
    if line_key(&setup.at).is_none() || dialer.is_elsewhere(&setup.at) {
        return String::new();
    }
    format!("{:x}.{:x}:", clock.wall().as_millisecond(), std::process::id())
}

/// What is wrong with instruments that share a line.
fn line_mistakes(members: &[Ready]) -> Vec<SetupError> {
    let mut wrong = Vec::new();
    let Some(first) = members.first() else { return wrong };
    let settings = |plan: &Plan| match &plan.protocol {
        Protocol::Text { serial, .. } | Protocol::Modbus { serial, .. } => *serial,
        Protocol::Mqtt(_) | Protocol::Null => SerialSettings::default(),
    };
    let mut addresses: BTreeMap<String, &str> = BTreeMap::new();
    for member in members {
        let name = &member.setup.name;
        let error = |reason: String| SetupError { instrument: name.clone(), reason };
        if settings(&member.plan) != settings(&first.plan) {
            let reason = format!(
                "it shares the line {} with `{}` but needs other serial settings",
                member.setup.at.line(),
                first.setup.name
            );
            wrong.push(error(reason));
        }
        let framing = |plan: &Plan| match &plan.protocol {
            Protocol::Modbus { framing, .. } => Some(*framing),
            _ => None,
        };
        if framing(&member.plan) != framing(&first.plan) {
            let reason = format!(
                "it shares the line {} with `{}` but speaks Modbus in other frames",
                member.setup.at.line(),
                first.setup.name
            );
            wrong.push(error(reason));
        }
        let address = match &member.plan.protocol {
            // Answers without an address are told apart by who was asked.
            Protocol::Text { codec, .. } => format!("{}\0{}", codec.prefix, codec.reply_prefix),
            // Parts of one unit have registers of their own.
            Protocol::Modbus { unit, plus, .. } => format!("{unit}+{plus}"),
            Protocol::Mqtt(_) | Protocol::Null => continue,
        };
        if let Some(other) = addresses.insert(address, name) {
            let reason = format!(
                "it has the same address on the line {} as `{other}`; two devices would answer at once",
                member.setup.at.line()
            );
            wrong.push(error(reason));
        }
    }
    wrong
}
