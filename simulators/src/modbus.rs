//! Modbus requests and answers (Modbus Application Protocol V1.1b3): functions 3, 4, 6 and 16.

use crate::controller::{Controller, Exception};
use crate::world::Effect;

/// Answer of a controller to a PDU; an exception where the request is wrong.
pub(crate) fn answer(
    controller: &mut Controller,
    pdu: &[u8],
    now: f64,
    effects: &mut Vec<Effect>,
) -> Vec<u8> {
    let function = pdu.first().copied().unwrap_or(0);
    match respond(controller, pdu, now, effects) {
        Ok(answer) => answer,
        Err(exception) => vec![function | 0x80, exception as u8],
    }
}

fn respond(
    controller: &mut Controller,
    pdu: &[u8],
    now: f64,
    effects: &mut Vec<Effect>,
) -> Result<Vec<u8>, Exception> {
    let word = |at: usize| -> Result<u16, Exception> {
        match (pdu.get(at), pdu.get(at + 1)) {
            (Some(high), Some(low)) => Ok(u16::from_be_bytes([*high, *low])),
            _ => Err(Exception::Value),
        }
    };
    match pdu.first() {
        Some(function @ (3 | 4)) => {
            let values = controller.read(word(1)?, word(3)?, now)?;
            let mut answer = vec![*function, (values.len() * 2) as u8];
            answer.extend(values.iter().flat_map(|v| v.to_be_bytes()));
            Ok(answer)
        }
        Some(6) => {
            controller.write(word(1)?, word(3)?, now, effects)?;
            Ok(pdu.get(..5).unwrap_or_default().to_vec())
        }
        Some(16) => {
            let (start, count) = (word(1)?, word(3)?);
            let bytes = pdu.get(5).copied().unwrap_or(0);
            if count == 0 || count > 123 || u16::from(bytes) != count * 2 {
                return Err(Exception::Value);
            }
            for n in 0..count {
                let value = word(6 + 2 * usize::from(n))?;
                controller.write(start.saturating_add(n), value, now, effects)?;
            }
            Ok(pdu.get(..5).unwrap_or_default().to_vec())
        }
        _ => Err(Exception::Function),
    }
}
