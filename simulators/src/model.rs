//! Instruments that are described elsewhere: what the wires need to know of them.

use std::fmt::Debug;

use crate::world::Publication;

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

    /// Takes a message below its base topic.
    fn message(&mut self, below: &str, payload: &[u8], now: f64) -> Vec<Publication>;

    /// What was wrong with its description since the last call.
    fn complaints(&mut self) -> Vec<String>;

    /// Is upset by something; with `false` no longer.
    fn upset(&mut self, upset: Upset, on: bool, now: f64);
}
