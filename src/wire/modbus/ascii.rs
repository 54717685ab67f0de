//! ASCII frames: `:`, two hexadecimal digits for each byte of unit, PDU and LRC, CR LF.

use super::ModbusError;

/// Longest ASCII frame: a colon, two characters for each byte of unit, PDU and check sum, CR, LF.
const LONGEST_ASCII: usize = 1 + 2 * (1 + 253 + 1) + 2;

/// An ASCII frame: colon, unit, PDU and LRC in hexadecimal digits, CR LF.
pub fn ascii_frame(unit: u8, pdu: &[u8]) -> Vec<u8> {
    let mut bytes = vec![unit];
    bytes.extend(pdu);
    bytes.push(lrc(&bytes));
    let mut frame = vec![b':'];
    for byte in bytes {
        let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'A' + nibble - 10 };
        frame.extend([digit(byte >> 4), digit(byte & 15)]);
    }
    frame.extend(b"\r\n");
    frame
}

/// Takes one ASCII answer from the front of what has arrived; `None` while it is incomplete.
pub fn take_ascii(arrived: &mut Vec<u8>, unit: u8) -> Result<Option<Vec<u8>>, ModbusError> {
    let bad = |text: &str| Err(ModbusError::Frame(text.to_owned()));
    match arrived.first() {
        None => return Ok(None),
        Some(b':') => {}
        Some(_) => return bad("an ASCII frame begins with a colon"),
    }
    let Some(length) = arrived.windows(2).position(|pair| pair == b"\r\n") else {
        return if arrived.len() < LONGEST_ASCII {
            Ok(None)
        } else {
            bad("an ASCII frame without an end")
        };
    };
    let digits = arrived.get(1..length).unwrap_or_default();
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|n| u8::try_from(n).ok());
    let bytes: Option<Vec<u8>> = digits
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect();
    let Some(bytes) = bytes else { return bad("an ASCII frame holds hexadecimal digits only") };
    let Some((sum, body)) = bytes.split_last().filter(|(_, body)| body.len() >= 2) else {
        return bad("an ASCII frame that is too short");
    };
    if lrc(body) != *sum {
        return bad("the checksum is wrong");
    }
    let (answered, pdu) = body.split_first().unwrap_or((&0, &[]));
    if *answered != unit {
        return Err(ModbusError::Frame(format!("an answer of unit {answered}, asked was {unit}")));
    }
    let pdu = pdu.to_vec();
    arrived.drain(..length + 2);
    Ok(Some(pdu))
}

/// Two's complement of the sum of all bytes.
fn lrc(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ascii_frames_are_those_of_the_standard() {
        // F7 + 03 + 13 + 89 + 00 + 0A = 1A0, and 100 - A0 = 60.
        let frame = ascii_frame(0xf7, &[3, 0x13, 0x89, 0, 10]);
        assert_eq!(frame, b":F7031389000A60\r\n");
        let mut arrived = ascii_frame(1, &[3, 2, 0, 251]);
        let pdu = take_ascii(&mut arrived, 1).unwrap().unwrap();
        assert_eq!(pdu, [3, 2, 0, 251]);
        assert!(arrived.is_empty());
        for damaged in
            [&b"x01"[..], b":01030200FBFE\r\n", b":0103020\r\n", b":0G\r\n", b":01\r\n", b":\r\n"]
        {
            assert!(take_ascii(&mut damaged.to_vec(), 1).is_err(), "{damaged:?}");
        }
        assert!(take_ascii(&mut ascii_frame(2, &[3, 2, 0, 251]), 1).is_err());
        assert!(take_ascii(&mut vec![b':'; LONGEST_ASCII], 1).is_err());
    }
}
