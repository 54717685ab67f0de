//! Modbus frames, TCP, RTU and ASCII: requests out, checked answers in.
//!
//! An answer on a serial line carries neither address of a register nor a number of its own, so whoever uses
//! this must own the line and discard late bytes before each request. Everything that can be
//! checked is: transaction and protocol (TCP), checksum (RTU, ASCII), unit, function, byte count, and the
//! echo of a write.
//!
//! Source: MODBUS Application Protocol 1.1b3, MODBUS over Serial Line 1.02 and MODBUS Messaging on
//! TCP/IP 1.0b.

mod ascii;

pub use ascii::{ascii_frame, take_ascii};

/// Longest frame of TCP or RTU: 7 bytes of header and 253 of data.
pub const LONGEST_FRAME: usize = 260;

/// An answer to a question that was asked longer ago, counted in questions, is nobody's.
const OLDEST: u16 = 256;

/// How requests and answers are framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// With the header of Modbus TCP.
    Tcp,
    /// In binary, with a CRC.
    Rtu,
    /// In hexadecimal digits, from a colon to CR LF, with an LRC.
    Ascii,
}

impl Framing {
    /// A frame; `transaction` stands only in that of TCP.
    pub fn frame(self, transaction: u16, unit: u8, pdu: &[u8]) -> Vec<u8> {
        match self {
            Framing::Tcp => tcp_frame(transaction, unit, pdu),
            Framing::Rtu => rtu_frame(unit, pdu),
            Framing::Ascii => ascii_frame(unit, pdu),
        }
    }

    /// Takes the PDU of one answer from the front of what has arrived; `None` while it is
    /// incomplete. After an error nothing on the line can be trusted until it was quiet.
    pub fn take(
        self,
        arrived: &mut Vec<u8>,
        transaction: u16,
        unit: u8,
    ) -> Result<Option<Vec<u8>>, ModbusError> {
        match self {
            Framing::Tcp => take_tcp(arrived, transaction, unit),
            Framing::Rtu => take_rtu(arrived, unit),
            Framing::Ascii => take_ascii(arrived, unit),
        }
    }
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Functions 1 to 4: read `count` coils, discrete inputs, holding or input registers.
    Read {
        /// 1 coils, 2 discrete inputs, 3 holding registers, 4 input registers.
        function: u8,
        /// First, counted from 0.
        start: u16,
        /// How many.
        count: u16,
    },
    /// Function 5.
    WriteCoil {
        /// Which, counted from 0.
        at: u16,
        /// On or off.
        on: bool,
    },
    /// Function 6.
    WriteSingle {
        /// Which, counted from 0.
        at: u16,
        /// New content.
        word: u16,
    },
    /// Function 15.
    WriteCoils {
        /// First, counted from 0.
        start: u16,
        /// New states, 1 to 1968.
        bits: Vec<bool>,
    },
    /// Function 16.
    WriteMultiple {
        /// First, counted from 0.
        start: u16,
        /// New contents, 1 to 123.
        words: Vec<u16>,
    },
}

/// A good answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Contents of registers.
    Words(Vec<u16>),
    /// States of coils or inputs, as many as were asked for.
    Bits(Vec<bool>),
    /// The write was accepted.
    Written,
}

/// Why an answer is not good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ModbusError {
    /// The device refused with a code.
    #[error("exception {code}: {}", exception_text(*code))]
    Exception {
        /// Exception code.
        code: u8,
    },
    /// The frame is damaged or not an answer to the question.
    #[error("{0}")]
    Frame(String),
}

/// What an exception code means.
pub fn exception_text(code: u8) -> &'static str {
    match code {
        1 => "illegal function",
        2 => "illegal data address",
        3 => "illegal data value",
        4 => "server device failure",
        5 => "acknowledged, still working",
        6 => "server device busy",
        8 => "memory parity error",
        10 => "gateway path unavailable",
        11 => "gateway target did not respond",
        _ => "unknown code",
    }
}

impl Request {
    fn function(&self) -> u8 {
        match self {
            Request::Read { function, .. } => *function,
            Request::WriteCoil { .. } => 5,
            Request::WriteSingle { .. } => 6,
            Request::WriteCoils { .. } => 15,
            Request::WriteMultiple { .. } => 16,
        }
    }

    /// Function code and data.
    pub fn pdu(&self) -> Vec<u8> {
        let mut pdu = vec![self.function()];
        match self {
            Request::Read { start, count, .. } => {
                pdu.extend(start.to_be_bytes());
                pdu.extend(count.to_be_bytes());
            }
            Request::WriteCoil { at, on } => {
                pdu.extend(at.to_be_bytes());
                pdu.extend(if *on { [0xff, 0] } else { [0, 0] });
            }
            Request::WriteSingle { at, word } => {
                pdu.extend(at.to_be_bytes());
                pdu.extend(word.to_be_bytes());
            }
            Request::WriteCoils { start, bits } => {
                let count = u16::try_from(bits.len()).unwrap_or(u16::MAX);
                pdu.extend(start.to_be_bytes());
                pdu.extend(count.to_be_bytes());
                pdu.push(u8::try_from(bits.len().div_ceil(8)).unwrap_or(u8::MAX));
                pdu.extend(
                    bits.chunks(8).map(|bits| {
                        bits.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit))
                    }),
                );
            }
            Request::WriteMultiple { start, words } => {
                let count = u16::try_from(words.len()).unwrap_or(u16::MAX);
                pdu.extend(start.to_be_bytes());
                pdu.extend(count.to_be_bytes());
                pdu.push(u8::try_from(words.len() * 2).unwrap_or(u8::MAX));
                pdu.extend(words.iter().flat_map(|word| word.to_be_bytes()));
            }
        }
        pdu
    }

    /// Reads the PDU of an answer to this request.
    pub fn answer(&self, pdu: &[u8]) -> Result<Answer, ModbusError> {
        let bad = |text: String| Err(ModbusError::Frame(text));
        let Some((&function, data)) = pdu.split_first() else {
            return bad("the answer is empty".to_owned());
        };
        let asked = self.function();
        if function == asked | 0x80 {
            return match data {
                [code] => Err(ModbusError::Exception { code: *code }),
                _ => bad("an exception of the wrong length".to_owned()),
            };
        }
        if function != asked {
            return bad(format!("an answer to function {function}, asked was {asked}"));
        }
        match self {
            Request::Read { function, count, .. } => {
                let Some((&length, data)) = data.split_first() else {
                    return bad("the answer has no length".to_owned());
                };
                let bits = *function <= 2;
                let expected =
                    if bits { usize::from(*count).div_ceil(8) } else { usize::from(*count) * 2 };
                if usize::from(length) != expected || data.len() != expected {
                    return bad(format!(
                        "an answer of {} bytes to a question for {expected}",
                        data.len()
                    ));
                }
                if bits {
                    let bit = |at: usize| {
                        data.get(at / 8).is_some_and(|byte| byte & (1 << (at % 8)) != 0)
                    };
                    Ok(Answer::Bits((0..usize::from(*count)).map(bit).collect()))
                } else {
                    let words = data.chunks_exact(2).map(|pair| match pair {
                        [high, low] => u16::from_be_bytes([*high, *low]),
                        _ => 0,
                    });
                    Ok(Answer::Words(words.collect()))
                }
            }
            Request::WriteCoil { .. } | Request::WriteSingle { .. } => {
                if self.pdu() == pdu {
                    Ok(Answer::Written)
                } else {
                    bad("the echo of the write differs from what was written".to_owned())
                }
            }
            Request::WriteCoils { .. } | Request::WriteMultiple { .. } => {
                if self.pdu().get(..5) == Some(pdu) {
                    Ok(Answer::Written)
                } else {
                    bad("the answer names other registers than were written".to_owned())
                }
            }
        }
    }
}

/// A TCP frame: header with transaction, then unit and PDU.
pub fn tcp_frame(transaction: u16, unit: u8, pdu: &[u8]) -> Vec<u8> {
    let length = u16::try_from(pdu.len() + 1).unwrap_or(u16::MAX);
    let mut frame = Vec::with_capacity(pdu.len() + 7);
    frame.extend(transaction.to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(length.to_be_bytes());
    frame.push(unit);
    frame.extend(pdu);
    frame
}

/// Takes one TCP answer from the front of what has arrived; `None` while it is incomplete. The
/// PDU is returned; answers to other transactions are late and dropped; an error means that the
/// stream can no longer be trusted.
pub fn take_tcp(
    arrived: &mut Vec<u8>,
    transaction: u16,
    unit: u8,
) -> Result<Option<Vec<u8>>, ModbusError> {
    while let Some(&[t1, t0, p1, p0, l1, l0, answered]) = arrived.first_chunk::<7>() {
        let length = usize::from(u16::from_be_bytes([l1, l0]));
        if [p1, p0] != [0, 0] || !(2..=LONGEST_FRAME - 6).contains(&length) {
            return Err(ModbusError::Frame("this is not Modbus TCP".to_owned()));
        }
        if arrived.len() < 6 + length {
            return Ok(None);
        }
        let frame: Vec<u8> = arrived.drain(..6 + length).collect();
        let age = transaction.wrapping_sub(u16::from_be_bytes([t1, t0]));
        if age != 0 {
            // Late; but only what is whole in itself shows where the next frame begins.
            if age <= OLDEST && is_whole(frame.get(7..).unwrap_or_default()) {
                continue;
            }
            return Err(ModbusError::Frame("this answers no question of ours".to_owned()));
        }
        if answered != unit {
            let what = format!("an answer of unit {answered}, asked was {unit}");
            return Err(ModbusError::Frame(what));
        }
        // What follows can only be the same answer again. Anything else shows that the frame was
        // made of parts of two.
        let again = [t1, t0, 0, 0];
        if arrived.iter().zip(again).any(|(found, expected)| *found != expected) {
            let what = "the answer is followed by parts of another".to_owned();
            return Err(ModbusError::Frame(what));
        }
        return Ok(Some(frame.get(7..).unwrap_or_default().to_vec()));
    }
    Ok(None)
}

/// An RTU frame: unit, PDU, checksum.
pub fn rtu_frame(unit: u8, pdu: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(pdu.len() + 3);
    frame.push(unit);
    frame.extend(pdu);
    frame.extend(crc16(&frame).to_le_bytes());
    frame
}

/// Takes one RTU answer from the front of what has arrived; `None` while it is incomplete. Its
/// length follows from function and byte count, so a broken frame is known at its end, not after
/// a silence that a USB adapter may insert anywhere.
pub fn take_rtu(arrived: &mut Vec<u8>, unit: u8) -> Result<Option<Vec<u8>>, ModbusError> {
    let length = match arrived.as_slice() {
        [_, function, ..] if function & 0x80 != 0 => 5,
        [_, 1..=4, count, ..] => usize::from(*count) + 5,
        [_, 5 | 6 | 15 | 16, ..] => 8,
        [_, 1..=4] | [_] | [] => return Ok(None),
        [_, function, ..] => {
            return Err(ModbusError::Frame(format!("an answer to function {function}")));
        }
    };
    let Some(frame) = arrived.get(..length) else { return Ok(None) };
    let (body, sum) = frame.split_at(length - 2);
    if crc16(body).to_le_bytes() != sum {
        return Err(ModbusError::Frame("the checksum is wrong".to_owned()));
    }
    let answered = body.first().copied().unwrap_or_default();
    if answered != unit {
        return Err(ModbusError::Frame(format!("an answer of unit {answered}, asked was {unit}")));
    }
    let pdu = body.get(1..).unwrap_or_default().to_vec();
    arrived.drain(..length);
    Ok(Some(pdu))
}

/// Whether the PDU of an answer is as long as it says itself.
fn is_whole(pdu: &[u8]) -> bool {
    match pdu {
        [1..=4, count, data @ ..] => usize::from(*count) == data.len(),
        [5 | 6 | 15 | 16, ..] => pdu.len() == 5,
        [function, _] => *function >= 0x80,
        _ => false,
    }
}

/// CRC-16/MODBUS: polynomial 0x8005 reflected, start 0xFFFF.
pub fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xffff, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte), |crc, _| {
            if crc & 1 == 1 { (crc >> 1) ^ 0xa001 } else { crc >> 1 }
        })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const READ: Request = Request::Read { function: 3, start: 1, count: 1 };

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        assert_eq!(crc16(b"123456789"), 0x4b37);
        assert_eq!(rtu_frame(1, &READ.pdu()), [1, 3, 0, 1, 0, 1, 0xd5, 0xca]);
    }

    #[test]
    fn coils_are_written_several_at_once() {
        let write = Request::WriteCoils {
            start: 19,
            bits: vec![true, false, true, true, false, false, true, true, true, false],
        };
        // The example of function 15 in the application protocol.
        assert_eq!(write.pdu(), [15, 0, 0x13, 0, 10, 2, 0xcd, 1]);
        assert_eq!(write.answer(&[15, 0, 0x13, 0, 10]), Ok(Answer::Written));
        assert!(write.answer(&[15, 0, 0x13, 0, 9]).is_err());
    }

    #[test]
    fn an_answer_to_an_earlier_transaction_is_passed_over() {
        let mut arrived = tcp_frame(7, 1, &[3, 2, 0, 251]);
        let mut late = [arrived.clone(), tcp_frame(8, 1, &[3, 2, 0, 9])].concat();
        assert_eq!(take_tcp(&mut late, 8, 1), Ok(Some(vec![3, 2, 0, 9])));
        assert_eq!(take_tcp(&mut arrived.clone(), 8, 1), Ok(None));
        assert!(take_tcp(&mut arrived.clone(), 7, 2).is_err());
        let pdu = take_tcp(&mut arrived, 7, 1).unwrap().unwrap();
        assert_eq!(READ.answer(&pdu), Ok(Answer::Words(vec![251])));
        assert!(arrived.is_empty());
    }

    #[test]
    fn an_answer_made_of_two_halves_is_refused() {
        let half = &tcp_frame(7, 1, &[3, 4, 0, 251, 0, 7])[..9];
        assert!(take_tcp(&mut [half, half].concat(), 7, 1).is_err());
        let whole = tcp_frame(7, 1, &[3, 2, 0, 251]);
        let twice = &mut [whole.as_slice(), &whole].concat();
        assert_eq!(take_tcp(twice, 7, 1), Ok(Some(vec![3, 2, 0, 251])));
    }

    #[test]
    fn frames_may_arrive_byte_by_byte() {
        let pdu = [3, 2, 0, 251];
        for framing in [Framing::Tcp, Framing::Rtu, Framing::Ascii] {
            let frame = framing.frame(7, 1, &pdu);
            let mut arrived = Vec::new();
            for (at, byte) in frame.iter().enumerate() {
                arrived.push(*byte);
                let taken = framing.take(&mut arrived, 7, 1);
                assert_eq!(taken.unwrap().is_some(), at + 1 == frame.len());
            }
        }
    }

    #[test]
    fn wrong_counts_echoes_and_functions_are_refused() {
        assert!(READ.answer(&[3, 4, 0, 1, 0, 2]).is_err());
        assert!(READ.answer(&[4, 2, 0, 1]).is_err());
        assert!(READ.answer(&[]).is_err());
        assert_eq!(READ.answer(&[0x83, 6]), Err(ModbusError::Exception { code: 6 }));
        let write = Request::WriteSingle { at: 5, word: 9 };
        assert_eq!(write.answer(&write.pdu()), Ok(Answer::Written));
        assert!(write.answer(&[6, 0, 5, 0, 8]).is_err());
        let write = Request::WriteMultiple { start: 5, words: vec![1, 2] };
        assert_eq!(write.pdu(), [16, 0, 5, 0, 2, 4, 0, 1, 0, 2]);
        assert_eq!(write.answer(&[16, 0, 5, 0, 2]), Ok(Answer::Written));
        assert!(write.answer(&[16, 0, 5, 0, 1]).is_err());
        let coils = Request::Read { function: 1, start: 0, count: 3 };
        assert_eq!(coils.answer(&[1, 1, 0b101]), Ok(Answer::Bits(vec![true, false, true])));
    }

    #[test]
    fn a_damaged_rtu_frame_is_refused() {
        let mut frame = rtu_frame(1, &[3, 2, 0, 251]);
        frame[4] ^= 1;
        assert!(take_rtu(&mut frame, 1).is_err());
        assert!(take_rtu(&mut vec![1, 99, 0], 1).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_from_the_wire_panic(mut bytes: Vec<u8>, count in 0_u16..200) {
            let request = Request::Read { function: 3, start: 0, count };
            let _ = request.answer(&bytes);
            let _ = take_rtu(&mut bytes.clone(), 1);
            let _ = take_ascii(&mut bytes.clone(), 1);
            bytes.splice(..0, *b":");
            let _ = take_ascii(&mut bytes.clone(), 1);
            let _ = take_tcp(&mut bytes, 1, 1);
        }

        #[test]
        fn a_flipped_bit_never_passes_the_checksum(bit in 0_usize..56, word: u16) {
            let [high, low] = word.to_be_bytes();
            let mut frame = rtu_frame(1, &[3, 2, high, low]);
            frame[bit / 8] ^= 1 << (bit % 8);
            // Another length or function may leave the frame incomplete, but never complete.
            prop_assert!(!matches!(take_rtu(&mut frame, 1), Ok(Some(_))));
        }
    }
}
