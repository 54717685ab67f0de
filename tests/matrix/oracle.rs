//! What must never happen, judged from the device's side.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use labloop::driver::{Outcome, Sent};
use labloop::expr::Value;
use labloop::wire::Tick;
use tokio::time::Instant;

use super::device::SENTINEL;
use super::truth::{MOST, Truth};
use super::{Account, Wire};

/// A polled value was asked for at most so long before it was told: the reply timeout.
const POLL_WINDOW: Duration = Duration::from_millis(310);

/// A streamed value may be so old when it is given out: `max_age` of the definition.
const STREAM_WINDOW: Duration = Duration::from_millis(2010);

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum What {
    Read(&'static str),
    Dose,
    Set,
    Move,
    /// An action that reads.
    Sample,
}

#[derive(Debug, Clone, Copy)]
pub struct Attempt {
    pub what: What,
    /// Of a command; used once.
    pub number: u32,
    pub begun: Instant,
}

pub struct Oracle {
    wire: Wire,
    /// Single bits are wrong, and the wire has no check sum: a number may be one bit from the truth.
    blurred: bool,
    truth: Arc<Mutex<Truth>>,
    start: Instant,
    waiting: BTreeMap<String, Attempt>,
    /// Attempts that claim to have had no effect.
    harmless: Vec<(String, u32)>,
    pub account: Account,
}

impl Oracle {
    pub fn new(wire: Wire, flips: bool, truth: Arc<Mutex<Truth>>) -> Oracle {
        Oracle {
            wire,
            blurred: flips && !wire.is_protected(),
            truth,
            start: Instant::now(),
            waiting: BTreeMap::new(),
            harmless: Vec::new(),
            account: Account::default(),
        }
    }

    pub fn wrong(&mut self, what: String) {
        self.account.wrong.push(what);
    }

    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Attempts without an outcome.
    pub fn waiting(&self) -> impl Iterator<Item = &String> {
        self.waiting.keys()
    }

    pub fn begun(&mut self, name: String, attempt: Attempt) {
        self.waiting.insert(name, attempt);
    }

    /// A value that was told as good must be one that the device gave for this property, then.
    fn good(&mut self, property: &str, value: &Value, from: Instant, to: Instant) {
        let Value::Quantity(quantity) = value else {
            if !matches!(value, Value::Missing(_)) {
                self.wrong(format!("{property} is {value:?}"));
            }
            return;
        };
        self.account.good += 1;
        let value = quantity.value;
        if property == "c" && value > MOST {
            self.wrong(format!("{property} = {value} is outside of its limits and told as good"));
        }
        let truth = self.truth.lock().unwrap();
        let then = truth.said.iter().rev().take_while(|said| said.at >= from);
        let then = then.filter(|said| said.at <= to);
        let known = if self.blurred {
            // The name in a message may be hit as well as the number.
            let near = then.clone().any(|said| is_near(self.wire, said.value, value));
            // What stands for a broken sensor may be hit too.
            near || (self.wire == Wire::ModbusTcp && is_near(self.wire, SENTINEL, value))
        } else {
            then.clone().any(|said| said.property == property && f64::from(said.value) == value)
        };
        if !known {
            let source = truth.said.iter().find(|said| f64::from(said.value) == value).copied();
            let source = source.map(|said| {
                (said.property, said.at.duration_since(self.start), to.duration_since(self.start))
            });
            drop(truth);
            self.wrong(format!(
                "{property} = {value} is told as good; the device said it as {source:?}"
            ));
        }
    }

    /// A value that came by itself.
    pub fn sample(&mut self, property: &str, value: &Value, at: Tick) {
        if property == "status" {
            return;
        }
        let at = self.start + Duration::from_nanos(at.0);
        let window = if self.wire.is_mqtt() { STREAM_WINDOW } else { POLL_WINDOW };
        self.good(property, value, at.checked_sub(window).unwrap_or(at), at);
    }

    pub fn ended(&mut self, name: &str, outcome: &Outcome) {
        let Some(Attempt { what, number, begun }) = self.waiting.remove(name) else {
            return self.wrong(format!("{name} ends twice, or was never begun"));
        };
        let now = Instant::now();
        let (executed, reached) = {
            let truth = self.truth.lock().unwrap();
            let executed = truth.executed.get(&number).copied().unwrap_or(0);
            (executed, truth.reached.contains(&number))
        };
        match (outcome, what) {
            (Outcome::Done { value, .. }, What::Read(property)) => {
                let from = if self.wire.is_mqtt() {
                    begun.checked_sub(STREAM_WINDOW).unwrap_or(begun)
                } else {
                    begun
                };
                let value = value.clone().unwrap_or(Value::Bool(false));
                self.good(property, &value, from, now);
            }
            (Outcome::Done { value, .. }, What::Sample) => {
                let value = value.clone().unwrap_or(Value::Bool(false));
                self.good("s", &value, begun, now);
            }
            (Outcome::Done { .. }, What::Dose | What::Set | What::Move) => {
                self.account.done += 1;
                if executed == 0 {
                    self.wrong(format!(
                        "{name} {what:?} is told as done and was never carried out"
                    ));
                }
                if what == What::Move && !reached {
                    self.wrong(format!("{name} is told as done and its target was not reached"));
                }
            }
            (Outcome::Failed { effect, message, .. }, _) => {
                self.account.failed += 1;
                if message.trim().is_empty() {
                    self.wrong(format!("{name} fails without a reason"));
                }
                if *effect == Sent::Unknown {
                    self.account.unknown += 1;
                } else {
                    self.harmless.push((format!("{name} {what:?}: {effect:?}: {message}"), number));
                }
            }
        }
    }

    /// At the end of all things, when nothing is on its way any more.
    pub fn settle(&mut self) {
        let truth = Arc::clone(&self.truth);
        let truth = truth.lock().unwrap();
        for (number, times) in &truth.executed {
            if *times > 1 {
                self.wrong(format!("{number} was carried out {times} times"));
            }
        }
        for (name, number) in std::mem::take(&mut self.harmless) {
            if truth.executed.contains_key(&number) {
                self.wrong(format!("{name}, but it was carried out"));
            }
        }
    }
}

/// Whether a number is what one wrong bit can make of another on this wire.
fn is_near(wire: Wire, said: u32, value: f64) -> bool {
    if f64::from(said) == value {
        return true;
    }
    if wire == Wire::ModbusTcp {
        return (0..32).any(|bit| f64::from(said ^ 1 << bit) == value);
    }
    let text = said.to_string().into_bytes();
    (0..text.len() * 8).any(|bit| {
        let mut text = text.clone();
        text[bit / 8] ^= 1 << (bit % 8);
        let text = String::from_utf8_lossy(&text).into_owned();
        text.trim().parse() == Ok(value)
    })
}
