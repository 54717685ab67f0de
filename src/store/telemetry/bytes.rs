//! Bytes with their ends watched: nothing here trusts a length that it reads.

use super::error::CodecError;

/// Appends a number in groups of seven bits, low ones first.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A signed number as an unsigned one, small ones small.
pub(super) const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The inverse of [`zigzag`].
pub(super) const fn unzigzag(value: u64) -> i64 {
    ((value >> 1) as i64) ^ -((value & 1) as i64)
}

/// Reads from the front of bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { rest: bytes }
    }

    pub(super) const fn left(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn take(&mut self, n: usize, what: &'static str) -> Result<&'a [u8], CodecError> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or(CodecError::Truncated(what))?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn byte(&mut self, what: &'static str) -> Result<u8, CodecError> {
        let (byte, rest) = self.rest.split_first().ok_or(CodecError::Truncated(what))?;
        self.rest = rest;
        Ok(*byte)
    }

    pub(super) fn eight(&mut self, what: &'static str) -> Result<[u8; 8], CodecError> {
        let (eight, rest) = self.rest.split_first_chunk().ok_or(CodecError::Truncated(what))?;
        self.rest = rest;
        Ok(*eight)
    }

    pub(super) fn double(&mut self, what: &'static str) -> Result<f64, CodecError> {
        Ok(f64::from_le_bytes(self.eight(what)?))
    }

    pub(super) fn varint(&mut self, what: &'static str) -> Result<u64, CodecError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(what)?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit only.
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(CodecError::Malformed { what, why: "a number has more than 64 bits".to_owned() })
    }

    /// A part that stands with its length in front.
    pub(super) fn part(&mut self, what: &'static str) -> Result<&'a [u8], CodecError> {
        let length = self.varint(what)?;
        let length = usize::try_from(length).map_err(|_| CodecError::Truncated(what))?;
        self.take(length, what)
    }
}

/// Appends a part with its length in front.
pub(super) fn put_part(out: &mut Vec<u8>, part: &[u8]) {
    put_varint(out, part.len() as u64);
    out.extend_from_slice(part);
}

const CRC: [u32; 256] = {
    let mut table = [0u32; 256];
    let mut n = 0;
    while n < 256 {
        let mut crc = n as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        #[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
        {
            table[n] = crc;
        }
        n += 1;
    }
    table
};

/// CRC-32C (Castagnoli; RFC 3720, appendix B.4).
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        #[expect(clippy::indexing_slicing, reason = "a byte has 256 values, so has the table")]
        let step = CRC[usize::from(crc as u8 ^ byte)];
        crc = (crc >> 8) ^ step;
    }
    !crc
}

/// Puts the checksum of all that is there behind it.
pub(super) fn seal(out: &mut Vec<u8>) {
    let crc = crc32c(out);
    out.extend_from_slice(&crc.to_le_bytes());
}

/// What stands before the checksum, if it is what was written.
pub(super) fn unseal(bytes: &[u8]) -> Result<&[u8], CodecError> {
    let (body, stored) = bytes.split_last_chunk().ok_or(CodecError::Truncated("checksum"))?;
    let (stored, found) = (u32::from_le_bytes(*stored), crc32c(body));
    if stored == found { Ok(body) } else { Err(CodecError::Checksum { stored, found }) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_checksum_is_the_published_one() {
        // RFC 3720, appendix B.4, and the check value of the CRC catalogue.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    }

    #[test]
    fn a_number_too_long_is_refused() {
        let mut cursor = Cursor::new(&[0xff; 12]);
        assert!(matches!(cursor.varint("count"), Err(CodecError::Malformed { .. })));
        assert!(matches!(Cursor::new(&[0x80]).varint("count"), Err(CodecError::Truncated(_))));
        let mut part = Vec::new();
        put_varint(&mut part, u64::MAX);
        assert!(matches!(Cursor::new(&part).part("values"), Err(CodecError::Truncated(_))));
    }

    proptest! {
        #[test]
        fn numbers_come_back(value: u64, signed: i64) {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            put_varint(&mut out, zigzag(signed));
            let mut cursor = Cursor::new(&out);
            prop_assert_eq!(cursor.varint("a").unwrap(), value);
            prop_assert_eq!(unzigzag(cursor.varint("b").unwrap()), signed);
            prop_assert_eq!(cursor.left(), 0);
        }
    }
}
