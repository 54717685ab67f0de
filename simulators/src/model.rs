//! Instruments that are described elsewhere: what the wires need to know of them.

use std::fmt::Debug;

/// What an instrument answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Lab time until it answers, s.
    pub after_s: f64,
    /// As they stand on the wire; for Modbus the PDU.
    pub bytes: Vec<u8>,
}

/// Something wrong with an instrument itself, not with its wire.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Upset {
    /// It says that it is busy.
    Busy,
    /// Every value stays what it is, whatever happens.
    Stuck,
    /// Numbers move away, by this fraction of themselves in an hour.
    Drift(f64),
    /// Numbers are so many times what they are.
    Spike(f64),
    /// What it measures is no measurement.
    SensorBreak,
    /// Modbus: it answers with this exception.
    Exception(u8),
    /// It restarts and has forgotten everything.
    Reboot,
}

/// A message an instrument at a broker takes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Inward {
    /// Whole topic.
    pub topic: String,
    /// As it came.
    pub payload: Vec<u8>,
    /// Where an answer goes, with MQTT 5.
    pub response_topic: Option<String>,
    /// What an answer repeats, with MQTT 5.
    pub correlation: Option<Vec<u8>>,
}

/// A message an instrument at a broker publishes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Outward {
    /// Whole topic.
    pub topic: String,
    /// As it goes.
    pub payload: Vec<u8>,
    /// The broker keeps it.
    pub retain: bool,
    /// Of the message it answers, with MQTT 5.
    pub correlation: Option<Vec<u8>>,
    /// Lab time until it is published, s.
    pub after_s: f64,
}

/// How an instrument appears at a broker.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Presence {
    /// What it listens to.
    pub filters: Vec<String>,
    /// What it says first.
    pub births: Vec<Outward>,
    /// What the broker says when it has gone.
    pub will: Option<Outward>,
}

/// An instrument as its wire sees it. Calls come in order of time; `now` is lab time in s.
pub trait Model: Debug + Send {
    /// Hears bytes of its line, whoever they are for; gives the requests that are for it.
    fn hear(&mut self, bytes: &[u8]) -> Vec<Vec<u8>>;

    /// Whether a Modbus PDU is for it, where several parts of one device share a unit.
    fn knows(&self, _pdu: &[u8]) -> bool {
        true
    }

    /// Carries out one request of [`Model::hear`], or a Modbus PDU.
    fn answer(&mut self, request: &[u8], now: f64) -> Option<Answer>;

    /// The same answer, but as if another device of the line had given it; `None` where answers
    /// bear no address.
    fn misaddressed(&self, answer: &[u8]) -> Option<Vec<u8>> {
        let _ = answer;
        None
    }

    /// Connects to its broker.
    fn appear(&mut self, now: f64) -> Presence;

    /// Loses its broker; what that says in its name.
    fn vanish(&mut self) -> Option<Outward>;

    /// Takes a message it listens to; what it publishes then, in this order.
    fn message(&mut self, message: &Inward, now: f64) -> Vec<Outward>;

    /// What it publishes by itself now, and the lab time in s until it wants to be asked again;
    /// for ever when that is infinite.
    fn stream(&mut self, now: f64) -> (Vec<Outward>, f64);

    /// What was wrong with its description since the last call.
    fn complaints(&mut self) -> Vec<String>;

    /// Is upset by something; with `false` no longer.
    fn upset(&mut self, upset: Upset, on: bool, now: f64);
}
