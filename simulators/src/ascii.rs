//! Frames of Modbus ASCII (Modbus over Serial Line V1.02), as a slave cuts them.

/// Longest frame: colon, unit, PDU and check sum in two characters for each byte, CR, LF.
const FRAME_MAX: usize = 513;

/// What the bytes of a line are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// A request: unit and PDU.
    Request(u8, Vec<u8>),
    /// At most the beginning of one.
    More,
    /// Not ASCII frames.
    Else,
}

/// Takes one request with a right check sum from what has arrived. A binary frame is never taken
/// for one: no function code is a hexadecimal digit.
pub(crate) fn take_request(arrived: &mut Vec<u8>) -> Heard {
    loop {
        match take_one(arrived) {
            // Damaged: what follows may be whole.
            None => {}
            Some(heard) => return heard,
        }
    }
}

/// The same for the first frame; `None` for a damaged one, which is dropped.
fn take_one(arrived: &mut Vec<u8>) -> Option<Heard> {
    if arrived.first() != Some(&b':') {
        return Some(if arrived.is_empty() { Heard::More } else { Heard::Else });
    }
    let digits = arrived.iter().skip(1).take_while(|byte| byte.is_ascii_hexdigit()).count();
    match arrived.get(1 + digits..) {
        Some([] | [b'\r']) if arrived.len() < FRAME_MAX => return Some(Heard::More),
        Some([b'\r', b'\n', ..]) => {}
        _ => return Some(Heard::Else),
    }
    let frame: Vec<u8> = arrived.drain(..digits + 3).collect();
    let digit = |byte: &u8| char::from(*byte).to_digit(16).unwrap_or(0) as u8;
    let pairs = frame.get(1..=digits).unwrap_or_default().chunks(2);
    let bytes: Vec<u8> = pairs.map(|pair| pair.iter().fold(0, |b, d| b << 4 | digit(d))).collect();
    match bytes.as_slice() {
        [unit, pdu @ .., sum] if !pdu.is_empty() && digits % 2 == 0 => {
            let (body, _) = bytes.split_at(bytes.len() - 1);
            (lrc(body) == *sum).then(|| Heard::Request(*unit, pdu.to_vec()))
        }
        _ => None,
    }
}

/// A frame around a PDU.
pub(crate) fn frame(unit: u8, pdu: &[u8]) -> Vec<u8> {
    let mut bytes = [&[unit], pdu].concat();
    bytes.push(lrc(&bytes));
    let digits: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    format!(":{digits}\r\n").into_bytes()
}

/// Two's complement of the sum of all bytes.
fn lrc(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_arrive_in_pieces_and_damaged_ones_are_passed_over() {
        let request = frame(247, &[3, 0x13, 0x89, 0, 10]);
        assert_eq!(request, b":F7031389000A60\r\n");
        let mut arrived = Vec::new();
        for byte in &request[..request.len() - 1] {
            arrived.push(*byte);
            assert_eq!(take_request(&mut arrived), Heard::More);
        }
        arrived.push(b'\n');
        let heard = Heard::Request(247, vec![3, 0x13, 0x89, 0, 10]);
        assert_eq!(take_request(&mut arrived), heard);
        assert!(arrived.is_empty());
        let mut damaged = [&b":F7031389000B60\r\n"[..], &request].concat();
        assert_eq!(take_request(&mut damaged), heard);
        assert_eq!(take_request(&mut damaged), Heard::More);
        // Unit 58 in binary begins with a colon too.
        assert_eq!(take_request(&mut vec![b':', 3, 0, 0, 0, 1]), Heard::Else);
        assert_eq!(take_request(&mut vec![b':'; 600]), Heard::Else);
    }
}
