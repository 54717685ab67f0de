//! Frames of Modbus RTU (Modbus over Serial Line V1.02), as a slave cuts them.

/// Longest frame.
const FRAME_MAX: usize = 256;

/// Takes one request with a right check sum from what has arrived: unit and PDU. Bytes before it
/// are noise.
pub(crate) fn take_request(arrived: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let mut from = 0;
    while let Some(rest) = arrived.get(from..).filter(|rest| rest.len() >= 8) {
        let length = match rest.get(1) {
            Some(1..=6) => Some(8),
            // Unit, function, start, count, bytes, the bytes themselves, check sum.
            Some(15 | 16) => rest.get(6).map(|count| 9 + usize::from(*count)),
            _ => None,
        };
        match length {
            Some(length) if rest.len() < length => return trimmed(arrived, from),
            Some(length) => {
                let frame = rest.get(..length).unwrap_or_default();
                if let Some((data, sum)) = frame.split_last_chunk::<2>()
                    && crc(data).to_le_bytes() == *sum
                {
                    let unit = data.first().copied().unwrap_or(0);
                    let pdu = data.get(1..).unwrap_or_default().to_vec();
                    arrived.drain(..from + length);
                    return Some((unit, pdu));
                }
                from += 1;
            }
            None => from += 1,
        }
    }
    trimmed(arrived, from)
}

/// Drops noise, and everything when there is more than a frame of it.
fn trimmed<T>(arrived: &mut Vec<u8>, noise: usize) -> Option<T> {
    if arrived.len() > FRAME_MAX {
        arrived.drain(..noise.min(arrived.len()));
    }
    None
}

/// A frame around a PDU.
pub(crate) fn frame(unit: u8, pdu: &[u8]) -> Vec<u8> {
    let mut bytes = [&[unit], pdu].concat();
    let sum = crc(&bytes).to_le_bytes();
    bytes.extend(sum);
    bytes
}

/// CRC-16/MODBUS.
fn crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xFFFF, |crc, byte| {
        (0..8).fold(
            crc ^ u16::from(*byte),
            |crc, _| {
                if crc & 1 == 1 { crc >> 1 ^ 0xA001 } else { crc >> 1 }
            },
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_found_behind_noise_and_in_pieces() {
        // Modbus over Serial Line, the example of reading register 0 of unit 1.
        let request = [1, 3, 0, 0, 0, 1, 0x84, 0x0A];
        assert_eq!(frame(1, &[3, 0, 0, 0, 1]), request);
        let mut arrived = vec![0xFF, 0x00];
        for byte in &request[..7] {
            arrived.push(*byte);
            assert_eq!(take_request(&mut arrived), None);
        }
        arrived.push(request[7]);
        assert_eq!(take_request(&mut arrived), Some((1, vec![3, 0, 0, 0, 1])));
        assert!(arrived.is_empty());
        let mut damaged = request.to_vec();
        damaged[3] ^= 4;
        assert_eq!(take_request(&mut damaged), None);
    }

    #[test]
    fn a_write_of_several_registers_says_its_length() {
        let pdu = [16, 0, 1, 0, 2, 4, 0, 10, 1, 2];
        let mut arrived = frame(17, &pdu);
        let first = arrived.len() - 1;
        let mut part = arrived[..first].to_vec();
        assert_eq!(take_request(&mut part), None);
        arrived.extend(frame(17, &[3, 0, 0, 0, 1]));
        assert_eq!(take_request(&mut arrived), Some((17, pdu.to_vec())));
        assert_eq!(take_request(&mut arrived), Some((17, vec![3, 0, 0, 0, 1])));
    }
}
