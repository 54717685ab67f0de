//! The wire format of protobuf: numbered fields, as much of it as Sparkplug B uses.
//!
//! Source: Protocol Buffers, "Encoding".

/// One field of a message.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

/// The fields of a message, one after the other.
#[derive(Debug, Clone)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Fields of these bytes.
    pub fn of(bytes: &'a [u8]) -> Fields<'a> {
        Fields { rest: bytes }
    }

    /// Number and value of the next field; `None` at the end. Every call takes bytes or ends.
    pub fn next(&mut self) -> Result<Option<(u32, Field<'a>)>, String> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).ok().filter(|number| *number > 0);
        let number = number.ok_or_else(|| format!("there is no field {}", key >> 3))?;
        let field = match key & 7 {
            0 => Field::Varint(self.varint()?),
            1 => Field::Fixed64(u64::from_le_bytes(*self.array::<8>()?)),
            2 => {
                let length = self.varint()?;
                Field::Bytes(self.take(length)?)
            }
            5 => Field::Fixed32(u32::from_le_bytes(*self.array::<4>()?)),
            other => return Err(format!("field {number} is of the unknown kind {other}")),
        };
        Ok(Some((number, field)))
    }

    fn varint(&mut self) -> Result<u64, String> {
        let mut value = 0u64;
        for at in 0..10 {
            let (byte, rest) = self.rest.split_first().ok_or("it ends in a number")?;
            self.rest = rest;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte holds the last bit of 64.
            if at == 9 && bits > 1 {
                return Err("a number has more than 64 bits".to_owned());
            }
            value |= bits << (7 * at);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("a number does not end".to_owned())
    }

    fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], String> {
        let (array, rest) = self.rest.split_first_chunk::<N>().ok_or("it ends in a number")?;
        self.rest = rest;
        Ok(array)
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], String> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let taken = self
            .rest
            .get(..length)
            .ok_or_else(|| format!("a field of {length} bytes goes beyond its end"))?;
        self.rest = self.rest.get(length..).unwrap_or_default();
        Ok(taken)
    }
}

/// Writes a message field by field.
#[derive(Debug, Clone, Default)]
pub(super) struct Writer(pub Vec<u8>);

impl Writer {
    fn raw_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn key(&mut self, number: u32, kind: u64) {
        self.raw_varint(u64::from(number) << 3 | kind);
    }

    pub fn varint(&mut self, number: u32, value: u64) {
        self.key(number, 0);
        self.raw_varint(value);
    }

    pub fn bytes(&mut self, number: u32, bytes: &[u8]) {
        self.key(number, 2);
        self.raw_varint(bytes.len() as u64);
        self.0.extend(bytes);
    }

    pub fn fixed32(&mut self, number: u32, bits: u32) {
        self.key(number, 5);
        self.0.extend(bits.to_le_bytes());
    }

    pub fn fixed64(&mut self, number: u32, bits: u64) {
        self.key(number, 1);
        self.0.extend(bits.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_written_as_the_rules_say() {
        // The examples of the encoding rules: field 1 is 150; field 2 is "testing".
        let mut writer = Writer::default();
        writer.varint(1, 150);
        writer.bytes(2, b"testing");
        assert_eq!(
            writer.0,
            [0x08, 0x96, 0x01, 0x12, 0x07, b't', b'e', b's', b't', b'i', b'n', b'g']
        );
        let mut fields = Fields::of(&writer.0);
        assert_eq!(fields.next(), Ok(Some((1, Field::Varint(150)))));
        assert_eq!(fields.next(), Ok(Some((2, Field::Bytes(b"testing")))));
        assert_eq!(fields.next(), Ok(None));
    }

    #[test]
    fn what_breaks_the_rules_is_refused() {
        for (bytes, part) in [
            (&[0x08][..], "ends in a number"),
            (&[0x08, 0x80], "ends in a number"),
            (&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02], "64 bits"),
            (&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x81], "not end"),
            (&[0x12, 0x05, 1, 2], "beyond its end"),
            (&[0x0b], "unknown kind 3"),
            (&[0x00, 0x01], "no field 0"),
            (&[0x0d, 1, 2, 3], "ends in a number"),
        ] {
            let why = Fields::of(bytes).next().unwrap_err();
            assert!(why.contains(part), "{bytes:02x?}: {why}");
        }
    }

    proptest! {
        #[test]
        fn every_number_comes_back(number in 1u32..1 << 28, value: u64, bits: u32, long: u64) {
            let mut writer = Writer::default();
            writer.varint(number, value);
            writer.fixed32(number, bits);
            writer.fixed64(number, long);
            let mut fields = Fields::of(&writer.0);
            prop_assert_eq!(fields.next(), Ok(Some((number, Field::Varint(value)))));
            prop_assert_eq!(fields.next(), Ok(Some((number, Field::Fixed32(bits)))));
            prop_assert_eq!(fields.next(), Ok(Some((number, Field::Fixed64(long)))));
            prop_assert_eq!(fields.next(), Ok(None));
        }
    }
}
