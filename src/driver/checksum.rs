//! Check sums of frames: those that makers use by name, and any CRC by its parameters.
//!
//! Parameters of a CRC are those of the Rocksoft model (R. N. Williams, A Painless Guide to CRC
//! Error Detection Algorithms, 1993): width, polynomial, initial value, whether the bits of input
//! and output are reflected, and what the result is combined with.

/// A check sum: how it is computed and how it is written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Checksum {
    pub sum: Sum,
    pub written: Written,
    /// First part that counts.
    pub from: From,
    /// The end of the message counts too; the sum then follows it.
    pub over_end: bool,
    /// Replies carry it as well.
    pub replies: bool,
}

/// How a sum is computed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Sum {
    /// Exclusive or of all bytes.
    Xor,
    /// Sum of all bytes, cut to so many bits.
    Add { bits: u32 },
    /// Sum modulo 64 plus 64: always a printable character (Thyracont).
    Add64,
    /// Two's complement of the sum of all bytes (Modbus ASCII).
    Lrc,
    /// A cyclic redundancy check.
    Crc(Crc),
}

/// Parameters of a CRC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Crc {
    pub width: u32,
    pub poly: u64,
    pub init: u64,
    pub reflect_in: bool,
    pub reflect_out: bool,
    pub xor_out: u64,
}

/// How a sum stands in the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// So many bytes, most significant first.
    Big(usize),
    /// So many bytes, least significant first.
    Little(usize),
    /// So many hexadecimal digits.
    Hex(usize),
    /// In decimal, after a character.
    Decimal(char),
}

/// Where what counts begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    /// With the first byte of the frame.
    Start,
    /// After the start bytes.
    Address,
    /// After the address.
    Body,
}

impl Sum {
    /// A sum by the name makers give it.
    pub fn named(name: &str) -> Option<Sum> {
        let crc = |width, poly, init, reflect, xor_out| {
            Sum::Crc(Crc { width, poly, init, reflect_in: reflect, reflect_out: reflect, xor_out })
        };
        Some(match name {
            "xor8" => Sum::Xor,
            "sum8" => Sum::Add { bits: 8 },
            "sum16" => Sum::Add { bits: 16 },
            "sum64" => Sum::Add64,
            "lrc" => Sum::Lrc,
            "crc16_modbus" => crc(16, 0x8005, 0xFFFF, true, 0),
            "crc16_xmodem" => crc(16, 0x1021, 0, false, 0),
            "crc16_x25" => crc(16, 0x1021, 0xFFFF, true, 0xFFFF),
            _ => return None,
        })
    }

    /// The sum of some bytes.
    pub fn of(self, bytes: &[u8]) -> u64 {
        let total = || bytes.iter().fold(0_u64, |sum, byte| sum.wrapping_add(u64::from(*byte)));
        match self {
            Sum::Xor => u64::from(bytes.iter().fold(0_u8, |sum, byte| sum ^ byte)),
            Sum::Add { bits } => total() & mask(bits),
            Sum::Add64 => total() % 64 + 64,
            Sum::Lrc => total().wrapping_neg() & 0xFF,
            Sum::Crc(crc) => crc.of(bytes),
        }
    }
}

impl Crc {
    fn of(self, bytes: &[u8]) -> u64 {
        let width = self.width.clamp(8, 64);
        let top = 1_u64 << (width - 1);
        let mut crc = self.init & mask(width);
        for byte in bytes {
            let byte = if self.reflect_in { byte.reverse_bits() } else { *byte };
            crc ^= u64::from(byte) << (width - 8);
            for _ in 0..8 {
                crc = if crc & top == 0 { crc << 1 } else { (crc << 1) ^ self.poly };
            }
            crc &= mask(width);
        }
        if self.reflect_out {
            crc = crc.reverse_bits() >> (64 - width);
        }
        (crc ^ self.xor_out) & mask(width)
    }
}

impl Checksum {
    /// The sum of a frame's parts as it stands in the message.
    pub fn text(&self, start: &[u8], address: &[u8], body: &[u8], end: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        if self.from == From::Start {
            bytes.extend(start);
        }
        if self.from != From::Body {
            bytes.extend(address);
        }
        bytes.extend(body);
        if self.over_end {
            bytes.extend(end);
        }
        self.written.write(self.sum.of(&bytes))
    }

    /// Bytes it takes in a reply; `None` when they vary.
    pub fn length(&self) -> Option<usize> {
        match self.written {
            Written::Big(bytes) | Written::Little(bytes) | Written::Hex(bytes) => Some(bytes),
            Written::Decimal(_) => None,
        }
    }

    /// Checks the sum at the end of a reply whose parts before it are given, and takes it off.
    /// The error says what it should have been.
    pub fn strip<'b>(
        &self,
        start: &[u8],
        address: usize,
        frame: &'b [u8],
        end: &[u8],
    ) -> Result<&'b [u8], String> {
        let at = match (self.length(), self.written) {
            (Some(length), _) => frame.len().checked_sub(length),
            (None, Written::Decimal(mark)) => {
                frame.iter().rposition(|byte| char::from(*byte) == mark)
            }
            (None, _) => None,
        };
        let Some((data, found)) = at.and_then(|at| frame.split_at_checked(at)) else {
            return Err("the answer is too short for its check sum".to_owned());
        };
        let (address, body) = data.split_at_checked(address).unwrap_or((&[], data));
        let right = self.text(start, address, body, end);
        let same = match self.written {
            Written::Hex(_) => found.eq_ignore_ascii_case(&right),
            Written::Big(_) | Written::Little(_) | Written::Decimal(_) => found == right,
        };
        if same {
            return Ok(data);
        }
        let shown = |bytes: &[u8]| crate::wire::printable::hex(bytes);
        Err(format!("its check sum is {}, it should be {}", shown(found), shown(&right)))
    }
}

impl Written {
    fn write(self, sum: u64) -> Vec<u8> {
        let big = |bytes: usize| sum.to_be_bytes().into_iter().skip(8_usize.saturating_sub(bytes));
        match self {
            Written::Big(bytes) => big(bytes).collect(),
            Written::Little(bytes) => sum.to_le_bytes().into_iter().take(bytes).collect(),
            Written::Hex(digits) => {
                let text = format!("{sum:0digits$X}");
                text.into_bytes()
            }
            Written::Decimal(mark) => {
                let text = format!("{mark}{sum}");
                text.chars().filter_map(|c| u8::try_from(u32::from(c)).ok()).collect()
            }
        }
    }
}

fn mask(bits: u32) -> u64 {
    if bits >= 64 { u64::MAX } else { (1 << bits) - 1 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CHECK: &[u8] = b"123456789";

    fn plain(sum: Sum, written: Written, from: From, over_end: bool) -> Checksum {
        Checksum { sum, written, from, over_end, replies: true }
    }

    #[test]
    fn check_values_of_the_catalogue_come_out() {
        // Check values of the CRC catalogue (G. Cook, Catalogue of parametrised CRC algorithms).
        for (name, value) in
            [("crc16_modbus", 0x4B37), ("crc16_xmodem", 0x31C3), ("crc16_x25", 0x906E)]
        {
            assert_eq!(Sum::named(name).unwrap().of(CHECK), value, "{name}");
        }
        let crc32 = Crc {
            width: 32,
            poly: 0x04C1_1DB7,
            init: 0xFFFF_FFFF,
            reflect_in: true,
            reflect_out: true,
            xor_out: 0xFFFF_FFFF,
        };
        assert_eq!(Sum::Crc(crc32).of(CHECK), 0xCBF4_3926);
        let crc8 = Crc {
            width: 8,
            poly: 0x07,
            init: 0,
            reflect_in: false,
            reflect_out: false,
            xor_out: 0,
        };
        assert_eq!(Sum::Crc(crc8).of(CHECK), 0xF4);
    }

    #[test]
    fn plain_sums_are_what_they_say() {
        assert_eq!(Sum::Xor.of(&[1, 2, 4, 4]), 3);
        assert_eq!(Sum::Add { bits: 8 }.of(&[200, 100]), 44);
        assert_eq!(Sum::Add { bits: 16 }.of(&[200, 100]), 300);
        assert_eq!(Sum::Add64.of(b"001M^"), {
            let total: u64 = b"001M^".iter().map(|b| u64::from(*b)).sum();
            total % 64 + 64
        });
        // Modbus ASCII, `:010300010001` has the LRC FA.
        assert_eq!(Sum::Lrc.of(&[1, 3, 0, 1, 0, 1]), 0xFA);
    }

    #[test]
    fn a_reply_with_a_wrong_sum_is_refused() {
        let sum = plain(Sum::Add { bits: 16 }, Written::Little(2), From::Start, false);
        let text = sum.text(&[0xCC], &[1], &[0x44, 2, 0, 0xDD], &[]);
        assert_eq!(text, [0xF0, 0x01]); // CC + 01 + 44 + 02 + DD = 01F0, low byte first
        let frame = [1, 0x44, 2, 0, 0xDD, 0xF0, 0x01];
        assert_eq!(sum.strip(&[0xCC], 1, &frame, &[]), Ok(&frame[..5]));
        assert!(sum.strip(&[0xCC], 1, &[1, 0x44, 3, 0, 0xDD, 0xF0, 0x01], &[]).is_err());
        assert!(sum.strip(&[0xCC], 1, &[1], &[]).is_err());
        let marlin = plain(Sum::Xor, Written::Decimal('*'), From::Start, false);
        assert_eq!(marlin.text(&[], &[], b"N3 T0", &[]), b"*57"); // as in the RepRap wiki
        assert_eq!(marlin.strip(&[], 0, b"N3 T0*57", &[]), Ok(&b"N3 T0"[..]));
    }

    proptest! {
        #[test]
        fn one_changed_bit_is_always_found(
            body in proptest::collection::vec(any::<u8>(), 1..40), bit in 0_usize..320,
        ) {
            for name in ["xor8", "sum8", "crc16_modbus", "crc16_xmodem", "lrc"] {
                let sum = plain(Sum::named(name).unwrap(), Written::Big(2), From::Start, false);
                let mut frame = [body.clone(), sum.text(&[], &[], &body, &[])].concat();
                prop_assert_eq!(sum.strip(&[], 0, &frame, &[]), Ok(body.as_slice()));
                let bit = bit % (body.len() * 8);
                frame[bit / 8] ^= 1 << (bit % 8);
                prop_assert!(sum.strip(&[], 0, &frame, &[]).is_err(), "{}", name);
            }
        }
    }
}
