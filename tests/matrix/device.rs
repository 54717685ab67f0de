//! The device on a line: its own words for what it is asked, written without the driver's codec.

use std::sync::{Arc, Mutex};

use labloop_simulators::{Answer, Inward, Model, Outward, Presence, Upset};

use super::truth::{Ask, Says, Truth};

/// How it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tongue {
    /// `#05Ra\r` and `>05S1001\r`: address and status in each answer.
    Addressed,
    /// `Ra\r` and `1001\r\n`.
    Plain,
    /// Frames with a length and a CRC.
    Binary,
    /// Registers; the wire makes the frames.
    Modbus,
}

/// Address of nobody.
const OTHER: u8 = 9;
/// No measurement.
/// Registers of a sensor that is broken.
pub const SENTINEL: u32 = u32::MAX;
/// Registers of numbers, two words each, and what they are.
const REGISTERS: [(u16, &str); 6] =
    [(0, "a"), (2, "b"), (4, "c"), (20, "sp"), (22, "at"), (40, "s")];

#[derive(Debug)]
pub struct LineDevice {
    pub tongue: Tongue,
    pub truth: Arc<Mutex<Truth>>,
    /// On the line.
    address: u8,
    arrived: Vec<u8>,
}

impl LineDevice {
    pub fn new(tongue: Tongue, address: u8, truth: &Arc<Mutex<Truth>>) -> LineDevice {
        let mut its = truth.lock().unwrap();
        its.tells_restart = matches!(tongue, Tongue::Addressed | Tongue::Binary);
        its.modbus = tongue == Tongue::Modbus;
        LineDevice { tongue, address, truth: Arc::clone(truth), arrived: Vec::new() }
    }
}

/// What is asked in letters.
fn asked(body: &str) -> Option<Ask> {
    let number = || body.get(1..)?.parse().ok();
    Some(match body.get(..1)? {
        "I" if body == "I" => Ask::Hello,
        "R" => Ask::Read(property(body.get(1..)?)?),
        "D" => Ask::Dose(number()?),
        "S" => Ask::Set(number()?),
        "M" => Ask::Move(number()?),
        _ => return None,
    })
}

fn property(word: &str) -> Option<&'static str> {
    REGISTERS.iter().map(|(_, name)| *name).find(|name| *name == word)
}

/// What it says in letters.
fn words(says: Says) -> String {
    match says {
        Says::Value(value) => value.to_string(),
        Says::Nothing => "---".to_owned(),
        Says::Done => "OK".to_owned(),
        Says::Busy => "BUSY".to_owned(),
        Says::Error(code) => format!("ERR{code}"),
        Says::Rebooted => "?R".to_owned(),
    }
}

fn status(says: Says, busy: bool) -> u8 {
    match says {
        Says::Rebooted => b'A',
        _ if busy => b'B',
        _ => b'S',
    }
}

/// A frame: start, length of all but the start, address, data, CRC, end.
fn binary(address: u8, data: &[u8]) -> Vec<u8> {
    let inner = [&[address], data].concat();
    let sum = crc(&inner);
    [&[2, u8::try_from(inner.len() + 4).unwrap()], inner.as_slice(), &sum.to_be_bytes(), &[3]]
        .concat()
}

/// CRC-16/XMODEM.
fn crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 }
        })
    })
}

impl Model for LineDevice {
    fn hear(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        self.arrived.extend(bytes);
        let mut requests = Vec::new();
        if self.tongue == Tongue::Binary {
            while let [2, length, rest @ ..] = self.arrived.as_slice() {
                let length = usize::from(*length);
                if rest.len() + 1 < length {
                    break;
                }
                let frame: Vec<u8> = self.arrived.drain(..=length).collect();
                let inner = &frame[2..length - 2];
                assert_eq!(crc(inner).to_be_bytes(), frame[length - 2..length], "{frame:?}");
                if inner[0] == self.address {
                    requests.push(inner[1..].to_vec());
                }
            }
            return requests;
        }
        let address = format!("{:02}", self.address);
        while let Some(end) = self.arrived.iter().position(|byte| *byte == b'\r') {
            let line: Vec<u8> = self.arrived.drain(..=end).collect();
            let line = String::from_utf8(line[..end].to_vec()).unwrap();
            let body = match self.tongue {
                Tongue::Addressed => line.strip_prefix('#').and_then(|l| l.strip_prefix(&address)),
                _ => Some(line.as_str()),
            };
            requests.extend(body.map(|body| body.as_bytes().to_vec()));
        }
        requests
    }

    fn answer(&mut self, request: &[u8], _now: f64) -> Option<Answer> {
        let mut truth = self.truth.lock().unwrap();
        let bytes = match self.tongue {
            Tongue::Modbus => modbus(&mut truth, request),
            Tongue::Binary => {
                let ask = match request {
                    [b'I'] => Ask::Hello,
                    [b'R', letter] => Ask::Read(match letter {
                        b'p' => "sp",
                        b't' => "at",
                        other => property(std::str::from_utf8(&[*other]).unwrap()).unwrap(),
                    }),
                    [what, number @ ..] => {
                        let number = u32::from_be_bytes(number.try_into().unwrap());
                        match what {
                            b'D' => Ask::Dose(number),
                            b'S' => Ask::Set(number),
                            _ => Ask::Move(number),
                        }
                    }
                    [] => return None,
                };
                let says = truth.take(ask);
                let data = match says {
                    Says::Value(value) => value.to_be_bytes().to_vec(),
                    other => words(other).into_bytes(),
                };
                binary(self.address, &[&[status(says, truth.is_busy())], data.as_slice()].concat())
            }
            Tongue::Plain | Tongue::Addressed => {
                let ask = asked(std::str::from_utf8(request).unwrap())
                    .unwrap_or_else(|| panic!("not a message of the definition: {request:?}"));
                let says = truth.take(ask);
                let words = words(says);
                match self.tongue {
                    Tongue::Plain => format!("{words}\r\n"),
                    _ => {
                        let status = char::from(status(says, truth.is_busy()));
                        format!(">{:02}{status}{words}\r", self.address)
                    }
                }
                .into_bytes()
            }
        };
        Some(Answer { after_s: 0.0, bytes })
    }

    fn misaddressed(&self, answer: &[u8]) -> Option<Vec<u8>> {
        match self.tongue {
            Tongue::Addressed => {
                let other = format!(">{:02}", OTHER);
                Some([other.as_bytes(), answer.get(3..)?].concat())
            }
            Tongue::Binary => Some(binary(OTHER, answer.get(3..answer.len().checked_sub(3)?)?)),
            Tongue::Plain | Tongue::Modbus => None,
        }
    }

    // It stands on a line: a broker never hears of it.
    fn appear(&mut self, _now: f64) -> Presence {
        Presence::default()
    }

    fn vanish(&mut self) -> Option<Outward> {
        None
    }

    fn message(&mut self, _message: &Inward, _now: f64) -> Vec<Outward> {
        Vec::new()
    }

    fn stream(&mut self, _now: f64) -> (Vec<Outward>, f64) {
        (Vec::new(), f64::INFINITY)
    }

    fn complaints(&mut self) -> Vec<String> {
        Vec::new()
    }

    fn upset(&mut self, upset: Upset, on: bool, _now: f64) {
        self.truth.lock().unwrap().upset(upset, on);
    }
}

/// Answers a PDU.
fn modbus(truth: &mut Truth, pdu: &[u8]) -> Vec<u8> {
    let function = pdu[0];
    let start = u16::from_be_bytes([pdu[1], pdu[2]]);
    let ask = match function {
        3 | 4 if start == 60 => Ask::Hello,
        3 | 4 => {
            let found = REGISTERS.iter().find(|(at, _)| *at == start);
            Ask::Read(found.unwrap_or_else(|| panic!("register {start}")).1)
        }
        16 => {
            let number = u32::from_be_bytes([pdu[6], pdu[7], pdu[8], pdu[9]]);
            match start {
                30 => Ask::Dose(number),
                20 => Ask::Set(number),
                32 => Ask::Move(number),
                other => panic!("register {other}"),
            }
        }
        other => panic!("function {other}"),
    };
    let words = |value: u32| {
        let bytes = value.to_be_bytes();
        let data = if ask == Ask::Hello { &bytes[2..] } else { &bytes[..] };
        [&[function, u8::try_from(data.len()).unwrap()], data].concat()
    };
    match truth.take(ask) {
        Says::Value(value) => words(value),
        Says::Nothing => words(SENTINEL),
        Says::Done => pdu[..5].to_vec(),
        Says::Busy => vec![function | 0x80, 6],
        Says::Error(code) => vec![function | 0x80, code],
        Says::Rebooted => unreachable!("registers cannot say that"),
    }
}
