//! One question and its answer on a half-duplex line.
//!
//! The line is drained before each question. After a question without a good answer a late one
//! may still come, so the line is *dirty*: it is used again only after a silence as long as the
//! longest reply timeout on it, also when it was opened anew meanwhile, for a late answer outlives
//! an adapter that was unplugged and the socket of a serial server. Where answers bear the number
//! of their question, as in Modbus TCP, a new connection is enough. No answer can then be taken
//! for that of another question.
//!
//! Bytes that nobody asked for, such as an answer that comes twice, may have a rest that is still
//! on its way: after them the line must be silent for a moment before the next question.

mod modbus;
mod silence;

use std::collections::BTreeSet;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, Sleep, timeout_at};

use super::bulk::Arrival;
use super::line::Urgent;
use super::tap;
use super::text::{Fault, Reply, ReplyEnd, TextCodec, UnsolicitedPlan};
use super::types::{Exchange, FailureKind, Sent, Way};
use crate::spec::instrument::{StatusClass, UnsolicitedAction};
use crate::wire::printable::printable;
use crate::wire::{Address, Clock, Dialer, Endpoint, Pause, Port, SerialSettings};

/// Longest time the operating system may take to accept a message.
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);

/// Times a device may say that it is still busy before its answer is given up.
const MOST_BUSY_MESSAGES: u32 = 3_600;

/// An answer that may take long is looked for in steps of this, so that a safe state can come first.
pub(super) const LONG_WAIT: Duration = Duration::from_millis(100);

/// Messages kept in one trace; a long completion poll would otherwise grow it without bound.
const LONGEST_TRACE: usize = 64;

/// The messages of one attempt.
#[derive(Debug, Default)]
pub(super) struct Trace {
    pub all: Vec<Exchange>,
    /// What the last answer said about the instrument.
    pub status: Option<StatusClass>,
}

impl Trace {
    /// Adds a message; of a long trace the beginning and the latest are kept.
    pub fn add(&mut self, clock: &Clock, way: Way, text: String) {
        if self.all.len() >= LONGEST_TRACE {
            self.all.remove(LONGEST_TRACE / 2);
        }
        let exchange = Exchange { at: clock.now(), way, text };
        tap::show(&exchange);
        self.all.push(exchange);
    }
}

/// The owner of one half-duplex line.
#[derive(Debug)]
pub(super) struct Line {
    pub at: Address,
    serial: SerialSettings,
    dialer: Dialer,
    pub clock: Clock,
    port: Option<Port>,
    dirty: bool,
    /// When an answer was missed last.
    spoiled: Option<Instant>,
    /// Silence that makes a dirty line clean.
    quiet: Duration,
    arrived: Vec<u8>,
    last_byte: Option<Instant>,
    /// When the last byte came that nobody asked for.
    stray: Option<Instant>,
    /// After a message without an answer the line rests until then.
    not_before: Option<Instant>,
    transaction: u16,
    /// Questions over Modbus TCP in a row that got no answer.
    silences: u32,
    /// Modbus units that answered since the line was opened.
    answered: BTreeSet<u8>,
    /// Waits on serial lines.
    pause: Pause,
    /// Ends waits for an answer; kept from one to the next, because setting a timer anew for each
    /// wakes the runtime each time.
    patience: Option<Pin<Box<Sleep>>>,
    /// Work that goes ahead of a long answer, and of every other question.
    pub urgent: Option<Arc<Urgent>>,
    /// What is sent now is a safe state.
    pub saves: bool,
    /// What the only instrument of the line says unasked.
    pub listener: Option<TextCodec>,
}

impl Line {
    pub fn new(
        at: Address,
        serial: SerialSettings,
        dialer: Dialer,
        clock: Clock,
        quiet: Duration,
    ) -> Line {
        Line {
            at,
            serial,
            dialer,
            clock,
            port: None,
            dirty: false,
            spoiled: None,
            quiet,
            arrived: Vec::new(),
            last_byte: None,
            stray: None,
            not_before: None,
            transaction: 0,
            silences: 0,
            answered: BTreeSet::new(),
            pause: Pause::default(),
            patience: None,
            urgent: None,
            saves: false,
            listener: None,
        }
    }

    pub fn is_open(&self) -> bool {
        self.port.is_some()
    }

    /// Opens the line.
    pub async fn open(&mut self) -> io::Result<()> {
        self.port = None;
        self.arrived.clear();
        self.stray = None;
        self.silences = 0;
        self.answered.clear();
        self.port = Some(self.dialer.open(&self.at, &self.serial).await?);
        // What was asked long ago is not answered any more.
        let lately = |asked: Instant| asked.elapsed() < 2 * self.quiet;
        self.dirty &= !self.is_numbered() && self.last_byte.is_some_and(lately);
        Ok(())
    }

    pub fn close(&mut self) {
        self.port = None;
    }

    /// The line after its driver panicked: closed, and nothing is believed of what was being said on
    /// it but that its answer may still come.
    pub fn renew(&mut self) {
        let (at, dialer, clock) = (self.at.clone(), self.dialer.clone(), self.clock.clone());
        let now = Instant::now();
        *self = Line {
            dirty: true,
            spoiled: Some(now),
            last_byte: Some(now),
            transaction: self.transaction,
            urgent: self.urgent.take(),
            listener: self.listener.take(),
            saves: self.saves,
            ..Line::new(at, self.serial, dialer, clock, self.quiet)
        };
    }

    /// A serial line stays what it is when it is opened anew; a socket may begin afresh.
    fn is_serial(&self) -> bool {
        matches!(self.at.endpoint, Endpoint::Serial { .. } | Endpoint::ModbusRtu { .. })
    }

    /// Answers bear the number of their question.
    fn is_numbered(&self) -> bool {
        matches!(self.at.endpoint, Endpoint::ModbusTcp { .. })
    }

    /// Waits until the other side closes the line or says something of weight; the rest of what
    /// arrives unasked is thrown away. Cancel safe.
    pub async fn idle(&mut self) -> Fault {
        if let Some(fault) = self.overheard(&[]) {
            return fault;
        }
        loop {
            let Some(port) = &mut self.port else {
                return std::future::pending().await;
            };
            let mut space = [0; 256];
            match port.receive(&mut space).await {
                Ok(count) => {
                    tracing::debug!(line = %self.at, count, "bytes nobody asked for");
                    if let Some(fault) = self.overheard(space.get(..count).unwrap_or_default()) {
                        return fault;
                    }
                }
                Err(error) => return self.lost(Sent::NotSent, &error),
            }
        }
    }

    fn lost(&mut self, effect: Sent, error: &io::Error) -> Fault {
        self.port = None;
        // What was asked may still be answered once the line is back.
        if effect != Sent::NotSent {
            self.dirty = true;
            self.spoiled = Some(Instant::now());
        }
        Fault::new(FailureKind::Link, effect, format!("the connection was lost: {error}")).broken()
    }

    /// An answer is missing or cannot be trusted.
    fn spoil(&mut self) {
        self.dirty = true;
        self.spoiled = Some(Instant::now());
        // Behind a serial server stands a line with others on it: they keep their connection.
        let shared = matches!(self.at.endpoint, Endpoint::ModbusRtuTcp { .. });
        if !self.is_serial() && !shared {
            self.port = None;
        }
    }

    /// Gives the moment at which the last bit is out, as far as it can be known.
    async fn send(&mut self, bytes: &[u8], gap: Duration) -> Result<Instant, Fault> {
        if self.dirty && self.port.is_some() {
            self.clean().await?;
        }
        let after_gap = self.last_byte.map(|last| last + gap);
        // The runtime's timers round up to a millisecond, even for a moment that has just passed.
        if let Some(moment) = after_gap.max(self.not_before.take())
            && moment > Instant::now()
        {
            match &self.port {
                Some(Port::Serial(_)) => self.pause.until(moment).await,
                _ => tokio::time::sleep_until(moment).await,
            }
        }
        self.settle().await?;
        // SAFETY(lab): the last thing before the wire, also for a safe state: on a line that is no
        // longer ours nothing is sent.
        if self.urgent.as_ref().is_some_and(|urgent| urgent.has_lapsed()) {
            let why = "the lease of this engine has lapsed";
            return Err(Fault::new(FailureKind::Gate, Sent::NotSent, why));
        }
        // SAFETY(lab): one attempt may be many questions; a safe state waits for one at most.
        if !self.saves && self.is_wanted() {
            return Err(Fault::yielding());
        }
        let Some(port) = &mut self.port else {
            return Err(
                Fault::new(FailureKind::Link, Sent::NotSent, "there is no connection").broken()
            );
        };
        let mut left = bytes;
        let deadline = Instant::now() + WRITE_TIMEOUT;
        while !left.is_empty() {
            let sent = if left.len() == bytes.len() { Sent::NotSent } else { Sent::Unknown };
            match timeout_at(deadline, port.write(left)).await {
                Ok(Ok(count)) if count > 0 => left = left.get(count..).unwrap_or_default(),
                Ok(Ok(_)) => return Err(self.lost(sent, &io::ErrorKind::WriteZero.into())),
                Ok(Err(error)) => return Err(self.lost(sent, &error)),
                Err(_) => return Err(self.lost(sent, &io::ErrorKind::TimedOut.into())),
            }
        }
        if let Ok(Err(error)) = timeout_at(deadline, port.flush()).await {
            return Err(self.lost(Sent::Unknown, &error));
        }
        // The kernel has it; the line takes its time for each character.
        let mut out = Instant::now();
        if self.is_serial() {
            out += self.serial.character() * u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        }
        self.last_byte = Some(out);
        Ok(out)
    }

    /// Waits for more bytes until a moment; `false` when it has passed.
    async fn more(&mut self, until: Instant) -> Result<bool, Fault> {
        let Some(port) = &mut self.port else {
            return Err(
                Fault::new(FailureKind::Link, Sent::Unknown, "there is no connection").broken()
            );
        };
        let mut space = [0; 512];
        let timer = self.patience.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        loop {
            // One that was set for an earlier answer may go off too soon; then it is set anew.
            if timer.is_elapsed() || timer.deadline() > until {
                timer.as_mut().reset(until);
            }
            let received = tokio::select! {
                biased;
                received = port.receive(&mut space) => received,
                () = timer.as_mut() => {
                    if Instant::now() < until {
                        continue;
                    }
                    return Ok(false);
                }
            };
            return match received {
                Ok(count) => {
                    self.arrived.extend_from_slice(space.get(..count).unwrap_or_default());
                    self.last_byte = Some(Instant::now());
                    Ok(true)
                }
                Err(error) => Err(self.lost(Sent::Unknown, &error)),
            };
        }
    }

    /// Sends a text message and reads its answer; `None` when none is expected.
    pub async fn text(
        &mut self,
        codec: &TextCodec,
        message: &Message<'_>,
        timing: &Timing,
        trace: &mut Trace,
    ) -> Result<Option<Reply>, Fault> {
        let bytes = codec.frame(message.body)?;
        let out = self.send(&bytes, timing.gap).await?;
        trace.add(&self.clock, Way::Out, printable(&bytes));
        if codec.echo {
            self.echo(&bytes, out + timing.reply, trace).await?;
        }
        if !message.answered {
            self.not_before = Some(out + timing.silent);
            return Ok(None);
        }
        let longest = message.timeout.unwrap_or(timing.reply);
        let mut deadline = out.max(Instant::now()) + longest;
        let mut patience = MOST_BUSY_MESSAGES;
        loop {
            let taken = match codec.arrival(&mut self.arrived, message.block) {
                Ok(Arrival::Block { shown, data }) => {
                    trace.add(&self.clock, Way::In, shown);
                    let reply = Reply { status: None, data: String::new(), block: Some(data) };
                    return Ok(Some(reply));
                }
                Ok(Arrival::Answer(taken)) => Some(taken),
                Ok(Arrival::Nothing) => None,
                Err(why) => {
                    trace.add(&self.clock, Way::In, printable(&self.arrived));
                    self.spoil();
                    return Err(Fault::new(FailureKind::BadReply, Sent::Unknown, why));
                }
            };
            if let Some(taken) = taken {
                trace.add(&self.clock, Way::In, printable(&taken.whole));
                if let Some(unasked) = codec.unasked(&taken.frame) {
                    if unasked.action == UnsolicitedAction::Busy && patience > 0 {
                        patience -= 1;
                        deadline = deadline.max(Instant::now() + timing.reply);
                    }
                    self.heed(unasked, patience < MOST_BUSY_MESSAGES)?;
                    continue;
                }
                self.left_over(self.arrived.len());
                match codec.read(&taken.frame, message.lenient)? {
                    Some(reply) => return Ok(Some(reply)),
                    // Late, and of another instrument of the line.
                    None => continue,
                }
            }
            let until = match &codec.reply_end {
                ReplyEnd::Idle(idle) if !self.arrived.is_empty() => {
                    deadline.min(Instant::now() + *idle)
                }
                _ if message.timeout.is_some() => deadline.min(Instant::now() + LONG_WAIT),
                _ => deadline,
            };
            if self.more(until).await? {
                // SAFETY(lab): a block may go on for long. On a socket what is left of it ends with
                // the connection; on a serial line it would come between, so it is heard out, and
                // its time is part of the line's stop latency.
                if message.block.is_some() && !self.is_serial() && self.is_wanted() {
                    return Err(self.give_up());
                }
                continue;
            }
            if message.timeout.is_some() && Instant::now() < deadline {
                // SAFETY(lab): an answer that may take minutes must not keep a safe state waiting.
                if self.is_wanted() {
                    return Err(self.give_up());
                }
                continue;
            }
            if !self.arrived.is_empty()
                && let Some(taken) = codec.take_idle(&mut self.arrived)
            {
                trace.add(&self.clock, Way::In, printable(&taken.whole));
                if let Some(reply) = codec.read(&taken.frame, message.lenient)? {
                    return Ok(Some(reply));
                }
                continue;
            }
            let what = if self.arrived.is_empty() { "no answer" } else { "an answer cut short" };
            if !self.arrived.is_empty() {
                trace.add(&self.clock, Way::In, printable(&self.arrived));
            }
            self.spoil();
            return Err(Fault::new(
                FailureKind::Timeout,
                Sent::Unknown,
                format!("{what} within {} ms", longest.as_millis()),
            ));
        }
    }

    /// Waits for what the instrument repeats of a message before it answers.
    async fn echo(
        &mut self,
        bytes: &[u8],
        deadline: Instant,
        trace: &mut Trace,
    ) -> Result<(), Fault> {
        while self.arrived.len() < bytes.len() {
            if !self.more(deadline).await? {
                self.spoil();
                let why = "it does not repeat the message, as it should";
                return Err(Fault::new(FailureKind::Timeout, Sent::Unknown, why));
            }
        }
        if !self.arrived.starts_with(bytes) {
            trace.add(&self.clock, Way::In, printable(&self.arrived));
            self.spoil();
            let why = "it repeats another message than the one sent";
            return Err(Fault::new(FailureKind::BadReply, Sent::Unknown, why));
        }
        self.arrived.drain(..bytes.len());
        Ok(())
    }

    /// What a message means that came instead of an answer.
    fn heed(&mut self, unasked: &UnsolicitedPlan, waits: bool) -> Result<(), Fault> {
        match unasked.action {
            UnsolicitedAction::Ignore => {}
            // SAFETY(lab): a device that says again and again that it is busy would keep the line
            // from a safe state; that goes first.
            UnsolicitedAction::Busy if waits && self.is_wanted() => return Err(self.give_up()),
            UnsolicitedAction::Busy => {}
            UnsolicitedAction::Rebooted | UnsolicitedAction::Alarm => {
                let mut fault = Fault::new(
                    FailureKind::Alarm,
                    Sent::Unknown,
                    format!("it says unasked that {}", unasked.text),
                );
                fault.rebooted = unasked.action == UnsolicitedAction::Rebooted;
                return Err(fault);
            }
        }
        Ok(())
    }

    fn give_up(&mut self) -> Fault {
        self.spoil();
        let why = "the answer was given up for a safe state";
        Fault::new(FailureKind::Gate, Sent::Unknown, why)
    }

    /// Whether a safe state waits for the line.
    pub fn is_wanted(&self) -> bool {
        self.urgent.as_ref().is_some_and(|urgent| urgent.is_pending())
    }
}

/// Times of one instrument, in wall time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timing {
    pub reply: Duration,
    pub gap: Duration,
    /// Least time after a message that has no answer.
    pub silent: Duration,
}

/// One text message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'a> {
    pub body: &'a str,
    pub answered: bool,
    /// Longest wait for its answer, where that of the instrument is too short.
    pub timeout: Option<Duration>,
    /// An error status of its answer is no failure.
    pub lenient: bool,
    /// The answer is a block of at most so many bytes.
    pub block: Option<usize>,
}
