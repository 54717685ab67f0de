//! One question and its answer on a half-duplex line.
//!
//! The line is drained before each question. After a question without a good answer a late one
//! may still come, so the line is *dirty*: a serial line is used again only after a silence as
//! long as the longest reply timeout on it, a socket only after it was opened anew. No answer can
//! then be taken for that of another question.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout, timeout_at};

use super::line::Urgent;
use super::tap;
use super::text::{Fault, Reply, ReplyEnd, TextCodec, UnsolicitedPlan};
use super::types::{Exchange, FailureKind, Sent, Way};
use crate::spec::instrument::{StatusClass, UnsolicitedAction};
use crate::wire::modbus::{self, Answer, ModbusError, Request};
use crate::wire::printable::{hex, printable};
use crate::wire::{Address, Clock, Dialer, Endpoint, Port, SerialSettings};

/// Longest time the operating system may take to accept a message.
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);

/// A dirty line that does not fall quiet within this many silences is opened anew.
const MOST_SILENCES: u32 = 5;

/// Times a device may say that it is still busy before its answer is given up.
const MOST_BUSY_MESSAGES: u32 = 3_600;

/// An answer that may take long is looked for in steps of this, so that a safe state can come first.
const LONG_WAIT: Duration = Duration::from_millis(100);

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
    /// Silence that makes a dirty line clean.
    quiet: Duration,
    arrived: Vec<u8>,
    last_byte: Option<Instant>,
    /// After a message without an answer the line rests until then.
    not_before: Option<Instant>,
    transaction: u16,
    /// Work that goes ahead of a long answer.
    pub urgent: Option<Arc<Urgent>>,
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
            quiet,
            arrived: Vec::new(),
            last_byte: None,
            not_before: None,
            transaction: 0,
            urgent: None,
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
        self.port = Some(self.dialer.open(&self.at, &self.serial).await?);
        // What a serial adapter had buffered belongs to nobody.
        self.dirty = self.is_shared_medium() && self.dirty;
        Ok(())
    }

    pub fn close(&mut self) {
        self.port = None;
    }

    /// Bytes on a serial line outlive the port; those of a socket do not.
    fn is_shared_medium(&self) -> bool {
        matches!(self.at.endpoint, Endpoint::Serial { .. } | Endpoint::ModbusRtu { .. })
    }

    /// Waits until the other side closes the line or says something of weight; the rest of what
    /// arrives unasked is thrown away. Cancel safe.
    pub async fn idle(&mut self) -> Fault {
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

    /// What bytes that nobody asked for mean.
    fn overheard(&mut self, bytes: &[u8]) -> Option<Fault> {
        let codec = self.listener.take()?;
        self.arrived.extend_from_slice(bytes);
        let mut said = None;
        while said.is_none() {
            match codec.take(&mut self.arrived) {
                Ok(Some(taken)) => {
                    let unasked = codec.unasked(&taken.frame);
                    said = unasked.and_then(|unasked| self.heed(unasked, false).err());
                }
                Ok(None) => break,
                Err(_) => self.arrived.clear(),
            }
        }
        self.listener = Some(codec);
        said
    }

    fn lost(&mut self, effect: Sent, error: &io::Error) -> Fault {
        self.port = None;
        Fault::new(FailureKind::Link, effect, format!("the connection was lost: {error}")).broken()
    }

    /// An answer is missing or cannot be trusted.
    fn spoil(&mut self) {
        self.dirty = true;
        if !self.is_shared_medium() {
            self.port = None;
        }
    }

    /// A dirty line falls quiet, or is opened anew.
    async fn clean(&mut self) -> Result<(), Fault> {
        for _ in 0..MOST_SILENCES {
            let Some(port) = &mut self.port else { break };
            let mut space = [0; 256];
            match timeout(self.quiet, port.receive(&mut space)).await {
                Err(_) => {
                    self.dirty = false;
                    return Ok(());
                }
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(self.lost(Sent::NotSent, &error)),
            }
        }
        self.port = None;
        let never = "the line does not fall quiet after an answer was missing";
        Err(Fault::new(FailureKind::Link, Sent::NotSent, never).broken())
    }

    async fn send(&mut self, bytes: &[u8], gap: Duration) -> Result<(), Fault> {
        if self.dirty && self.port.is_some() {
            if self.is_shared_medium() {
                self.clean().await?;
            } else {
                self.dirty = false;
            }
        }
        if let Some(last) = self.last_byte {
            tokio::time::sleep_until(last + gap).await;
        }
        if let Some(until) = self.not_before.take() {
            tokio::time::sleep_until(until).await;
        }
        self.arrived.clear();
        let Some(port) = &mut self.port else {
            return Err(
                Fault::new(FailureKind::Link, Sent::NotSent, "there is no connection").broken()
            );
        };
        if let Err(error) = port.discard_input() {
            return Err(self.lost(Sent::NotSent, &error));
        }
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
        self.last_byte = Some(Instant::now());
        Ok(())
    }

    /// Waits for more bytes until a moment; `false` when it has passed.
    async fn more(&mut self, until: Instant) -> Result<bool, Fault> {
        let Some(port) = &mut self.port else {
            return Err(
                Fault::new(FailureKind::Link, Sent::Unknown, "there is no connection").broken()
            );
        };
        let mut space = [0; 512];
        match timeout_at(until, port.receive(&mut space)).await {
            Err(_) => Ok(false),
            Ok(Ok(count)) => {
                self.arrived.extend_from_slice(space.get(..count).unwrap_or_default());
                self.last_byte = Some(Instant::now());
                Ok(true)
            }
            Ok(Err(error)) => Err(self.lost(Sent::Unknown, &error)),
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
        self.send(&bytes, timing.gap).await?;
        trace.add(&self.clock, Way::Out, printable(&bytes));
        if codec.echo {
            self.echo(&bytes, timing, trace).await?;
        }
        if !message.answered {
            self.not_before = Some(Instant::now() + timing.silent);
            return Ok(None);
        }
        let longest = message.timeout.unwrap_or(timing.reply);
        let mut deadline = Instant::now() + longest;
        let mut patience = MOST_BUSY_MESSAGES;
        loop {
            let taken = match codec.take(&mut self.arrived) {
                Ok(taken) => taken,
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
        timing: &Timing,
        trace: &mut Trace,
    ) -> Result<(), Fault> {
        let deadline = Instant::now() + timing.reply;
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

    fn is_wanted(&self) -> bool {
        self.urgent.as_ref().is_some_and(|urgent| urgent.is_pending())
    }

    /// Sends a Modbus request and reads its answer.
    pub async fn modbus(
        &mut self,
        unit: u8,
        rtu: bool,
        request: &Request,
        timing: &Timing,
        trace: &mut Trace,
    ) -> Result<Answer, Fault> {
        let pdu = request.pdu();
        self.transaction = self.transaction.wrapping_add(1);
        let transaction = self.transaction;
        let frame = if rtu {
            modbus::rtu_frame(unit, &pdu)
        } else {
            modbus::tcp_frame(transaction, unit, &pdu)
        };
        // Silence of 3.5 characters separates RTU frames.
        let silence = if rtu { self.serial.character().mul_f64(3.5) } else { Duration::ZERO };
        self.send(&frame, timing.gap.max(silence)).await?;
        trace.add(&self.clock, Way::Out, hex(&[&[unit], pdu.as_slice()].concat()));
        let deadline = Instant::now() + timing.reply;
        loop {
            let taken = if rtu {
                modbus::take_rtu(&mut self.arrived, unit)
            } else {
                modbus::take_tcp(&mut self.arrived, transaction, unit)
            };
            match taken {
                Ok(Some(answer)) => {
                    trace.add(&self.clock, Way::In, hex(&[&[unit], answer.as_slice()].concat()));
                    return request.answer(&answer).map_err(|error| match error {
                        ModbusError::Exception { code } => exception(code),
                        other => {
                            self.spoil();
                            Fault::new(FailureKind::BadReply, Sent::Unknown, other.to_string())
                        }
                    });
                }
                Ok(None) => {}
                Err(error) => {
                    trace.add(&self.clock, Way::In, hex(&self.arrived));
                    self.spoil();
                    return Err(Fault::new(
                        FailureKind::BadReply,
                        Sent::Unknown,
                        error.to_string(),
                    ));
                }
            }
            if !self.more(deadline).await? {
                self.spoil();
                return Err(Fault::new(
                    FailureKind::Timeout,
                    Sent::Unknown,
                    format!("no answer within {} ms", timing.reply.as_millis()),
                ));
            }
        }
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
}

fn exception(code: u8) -> Fault {
    let (kind, effect) = match code {
        // Acknowledge: it has begun something that takes longer.
        5 => (FailureKind::Busy, Sent::Unknown),
        6 => (FailureKind::Busy, Sent::NoEffect),
        4 | 8 => (FailureKind::Alarm, Sent::Unknown),
        // A gateway without a path sent nothing on; one whose target is silent did.
        10 => (FailureKind::Link, Sent::NoEffect),
        11 => (FailureKind::Timeout, Sent::Unknown),
        _ => (FailureKind::Refused, Sent::NoEffect),
    };
    let text = modbus::exception_text(code);
    Fault::new(kind, effect, format!("it answers with exception {code}, {text}"))
}
