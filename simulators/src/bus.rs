//! A serial line with New Era pumps on it: finds frames in bytes, and the pump that each is for.
//!
//! Requests are `[address]<command><CR>`, or in safe mode `<STX><length>[address]<command><crc><crc><ETX>`
//! with CRC-16/XMODEM over the data and a length that counts itself, the CRC and ETX. A frame for an
//! address where no pump is gets no answer.

const STX: u8 = 0x02;
const ETX: u8 = 0x03;
/// Longest request; longer input without an end is noise and is dropped.
const REQUEST_BYTES_MAX: usize = 128;

/// How frames look on the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// `<STX>data<ETX>`.
    Basic,
    /// `<STX><length>data<crc><crc><ETX>`.
    Safe,
}

/// A request found on the line.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    /// Pump it is for.
    pub address: u8,
    /// What follows the address.
    pub command: String,
    /// How it was framed.
    pub framing: Framing,
    /// The checksum was right; always so in basic mode.
    pub intact: bool,
}

/// Cuts the byte stream of one connection into requests.
#[derive(Debug, Default)]
pub(crate) struct Framer {
    buffer: Vec<u8>,
}

impl Framer {
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Vec<Frame> {
        let mut frames = Vec::new();
        for &byte in bytes {
            self.buffer.push(byte);
            if let Some(frame) = self.complete() {
                frames.extend(frame);
                self.buffer.clear();
            } else if self.buffer.len() > REQUEST_BYTES_MAX {
                self.buffer.clear();
            }
        }
        frames
    }

    /// `None` while more bytes are needed; `Some(None)` for a frame that means nothing.
    fn complete(&self) -> Option<Option<Frame>> {
        match self.buffer.as_slice() {
            [STX, length, rest @ ..] => {
                if rest.len() + 1 < usize::from(*length).max(4) {
                    return None;
                }
                let [data @ .., high, low, ETX] = rest else { return Some(None) };
                let intact = crc16_xmodem(data).to_be_bytes() == [*high, *low];
                Some(frame(data, Framing::Safe, intact))
            }
            [STX] => None,
            [data @ .., b'\r'] => Some(frame(data, Framing::Basic, true)),
            _ => None,
        }
    }
}

/// A request in basic mode, as it would come over the line without its end.
pub fn basic(line: &str) -> Option<Frame> {
    frame(line.as_bytes(), Framing::Basic, true)
}

fn frame(data: &[u8], framing: Framing, intact: bool) -> Option<Frame> {
    let text = std::str::from_utf8(data).ok()?.trim_matches(|c| matches!(c, '\n' | ' '));
    let digits = text.bytes().take(2).take_while(u8::is_ascii_digit).count();
    let (address, command) = text.split_at_checked(digits)?;
    let address = if address.is_empty() { 0 } else { address.parse().ok()? };
    Some(Frame { address, command: command.to_owned(), framing, intact })
}

/// An answer as it goes on the wire.
pub(crate) fn encode(data: &str, framing: Framing) -> Vec<u8> {
    let mut bytes = vec![STX];
    if framing == Framing::Safe {
        bytes.push(u8::try_from(data.len() + 4).unwrap_or(u8::MAX));
    }
    bytes.extend_from_slice(data.as_bytes());
    if framing == Framing::Safe {
        bytes.extend_from_slice(&crc16_xmodem(data.as_bytes()).to_be_bytes());
    }
    bytes.push(ETX);
    bytes
}

/// CRC-16/XMODEM: polynomial 0x1021, initial value 0, most significant bit first.
fn crc16_xmodem(data: &[u8]) -> u16 {
    data.iter().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(address: u8, command: &str) -> Frame {
        Frame { address, command: command.into(), framing: Framing::Basic, intact: true }
    }

    #[test]
    fn requests_end_with_cr_and_the_address_may_be_left_out() {
        let mut framer = Framer::default();
        assert_eq!(framer.feed(b"DIS\r1RUN\r07"), [request(0, "DIS"), request(1, "RUN")]);
        assert_eq!(
            framer.feed(b"\r99RAT 1.0 MM\r\r"),
            [request(7, ""), request(99, "RAT 1.0 MM"), request(0, "")]
        );
    }

    #[test]
    fn safe_frames_carry_length_and_checksum() {
        assert_eq!(crc16_xmodem(b"123456789"), 0x31c3); // the catalogue's check value
        let mut bytes = encode("1DIS", Framing::Safe);
        assert_eq!(bytes[..2], [STX, 8]);
        let frames = Framer::default().feed(&bytes);
        assert_eq!(frames, [Frame { framing: Framing::Safe, ..request(1, "DIS") }]);
        bytes[3] ^= 1;
        assert!(!Framer::default().feed(&bytes)[0].intact);
    }

    #[test]
    fn noise_is_dropped_and_the_next_request_is_understood() {
        let mut framer = Framer::default();
        assert_eq!(framer.feed(&[0x55; 1000]).len(), 0);
        assert_eq!(framer.feed(b"\r").len(), 1); // the pump will not know this command
        assert_eq!(framer.feed(b"\xff\xfe\r"), []);
        assert_eq!(framer.feed(b"1DIS\r"), [request(1, "DIS")]);
        assert_eq!(framer.feed(&[STX, 0, 0, 0, 0]), []);
    }
}
