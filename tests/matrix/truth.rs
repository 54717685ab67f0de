//! The device itself: what it holds, what it was told, and what it said when. Every number it
//! measures is new, so that a number shows which answer it came from.

use std::collections::BTreeMap;
use std::time::Duration;

use labloop_simulators::Upset;
use tokio::time::Instant;

/// How long a movement takes.
const MOVE: Duration = Duration::from_millis(700);

/// Property `c` is never more than this; a spike is.
pub const MOST: f64 = 100_000.0;

/// What it is asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Ask {
    Hello,
    Read(&'static str),
    Dose(u32),
    Set(u32),
    Move(u32),
}

/// What it answers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Says {
    Value(u32),
    /// There is nothing to measure.
    Nothing,
    Done,
    Busy,
    /// An exception of Modbus, or an error with a number.
    Error(u8),
    /// Its power was interrupted; said once.
    Rebooted,
}

/// A number it gave, and for what.
#[derive(Debug, Clone, Copy)]
pub struct Said {
    pub at: Instant,
    pub property: &'static str,
    pub value: u32,
}

#[derive(Debug, Default)]
pub struct Truth {
    pub said: Vec<Said>,
    /// How often each command was carried out, by its number; numbers are used once.
    pub executed: BTreeMap<u32, u32>,
    /// Targets that were reached.
    pub reached: Vec<u32>,
    /// Whether it says that it restarted.
    pub tells_restart: bool,
    /// Exceptions that say nothing about the effect exist on this wire.
    pub modbus: bool,
    pub numbers: u32,
    set_point: u32,
    at: u32,
    moving: Option<(u32, Instant)>,
    busy: bool,
    stuck: bool,
    drift: Option<(f64, Instant)>,
    spike: Option<f64>,
    broken: bool,
    exception: Option<u8>,
    rebooted: bool,
    last: BTreeMap<&'static str, u32>,
}

impl Truth {
    /// Carries out a request.
    pub fn take(&mut self, ask: Ask) -> Says {
        self.advance();
        if self.rebooted && self.tells_restart {
            self.rebooted = false;
            return Says::Rebooted;
        }
        if let Some(code) = self.exception {
            self.numbers += 1;
            // 5 says that it has begun, 4, 8 and 11 leave it open (Modbus Application Protocol 7).
            let begins = match code {
                5 => true,
                4 | 8 | 11 => self.numbers.is_multiple_of(2),
                _ => false,
            };
            if self.modbus && begins {
                self.carry_out(ask);
            }
            return Says::Error(code);
        }
        match ask {
            Ask::Hello => Says::Value(4711),
            Ask::Read(property) => self.read(property),
            Ask::Dose(_) | Ask::Set(_) | Ask::Move(_) if self.busy => Says::Busy,
            _ => {
                self.carry_out(ask);
                Says::Done
            }
        }
    }

    pub fn is_busy(&self) -> bool {
        self.busy || self.moving.is_some()
    }

    fn carry_out(&mut self, ask: Ask) {
        let number = match ask {
            Ask::Hello | Ask::Read(_) => return,
            Ask::Dose(number) => number,
            Ask::Set(number) => {
                self.set_point = number;
                number
            }
            Ask::Move(number) => {
                self.moving = Some((number, Instant::now() + MOVE));
                number
            }
        };
        *self.executed.entry(number).or_default() += 1;
    }

    fn advance(&mut self) {
        if let Some((target, _)) = self.moving.take_if(|(_, ends)| *ends <= Instant::now()) {
            self.at = target;
            self.reached.push(target);
        }
    }

    fn read(&mut self, property: &'static str) -> Says {
        let measured = !matches!(property, "sp" | "at");
        if self.broken && measured {
            return Says::Nothing;
        }
        let value = match (property, self.last.get(property)) {
            (_, Some(last)) if self.stuck => *last,
            ("sp", _) => self.set_point,
            ("at", _) => self.at,
            _ => self.measure(),
        };
        self.last.insert(property, value);
        self.said.push(Said { at: Instant::now(), property, value });
        Says::Value(value)
    }

    fn measure(&mut self) -> u32 {
        self.numbers += 1;
        let mut value = f64::from(1000 + self.numbers);
        if let Some((fraction, since)) = self.drift {
            value *= 1.0 + fraction * since.elapsed().as_secs_f64() / 3600.0;
        }
        value *= self.spike.unwrap_or(1.0);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let value = value.round() as u32;
        value
    }

    /// A state that upsets it ends.
    pub fn upset_ends(&mut self, upset: Upset) {
        if upset != Upset::Reboot {
            self.upset(upset, false);
        }
    }

    pub fn upset(&mut self, upset: Upset, on: bool) {
        self.advance();
        match upset {
            Upset::Busy => self.busy = on,
            Upset::Stuck => self.stuck = on,
            Upset::Drift(fraction) => self.drift = on.then(|| (fraction, Instant::now())),
            Upset::Spike(factor) => self.spike = on.then_some(factor),
            Upset::SensorBreak => self.broken = on,
            Upset::Exception(code) => self.exception = on.then_some(code),
            Upset::Reboot if !on => {}
            Upset::Reboot => {
                (self.set_point, self.at, self.moving) = (0, 0, None);
                self.rebooted = true;
            }
        }
    }
}
