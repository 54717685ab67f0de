//! Bits of registers as numbers and texts.

use crate::spec::instrument::RegisterType;

/// The number that bits are. Of 64-bit integers beyond 2^53 the nearest that a float can hold; of
/// 32-bit floats the shortest decimal number that is theirs alone, 0.98 and not 0.9800000191.
pub(super) fn number(kind: RegisterType, raw: u64) -> f64 {
    match kind {
        RegisterType::I16 => f64::from(raw as u16 as i16),
        RegisterType::I32 => f64::from(raw as u32 as i32),
        RegisterType::I64 => raw as i64 as f64,
        RegisterType::F32 => {
            let single = f32::from_bits(raw as u32);
            single.to_string().parse().unwrap_or(f64::from(single))
        }
        RegisterType::F64 => f64::from_bits(raw),
        RegisterType::U16
        | RegisterType::U32
        | RegisterType::U64
        | RegisterType::Bool
        | RegisterType::String => raw as f64,
    }
}

/// Whether a number written in a definition is the one found in a register of a type.
pub(super) fn same(kind: RegisterType, written: f64, found: f64) -> bool {
    match kind {
        // 9.9E37 is no 32-bit float; the device holds the nearest.
        RegisterType::F32 => written as f32 == found as f32,
        _ => written == found,
    }
}

/// The text in the bytes of registers: up to the first NUL, without blanks behind it.
pub(super) fn text_of(bytes: &[u8]) -> Result<String, String> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let bytes = bytes.get(..end).unwrap_or_default();
    if !bytes.iter().all(|byte| (b' '..=b'~').contains(byte)) {
        return Err("the registers hold no text".to_owned());
    }
    Ok(String::from_utf8_lossy(bytes).trim_end().to_owned())
}

/// The bytes of a text in so many registers, filled up with NUL.
pub(super) fn bytes_of_text(text: &str, registers: u16) -> Result<Vec<u8>, String> {
    let room = usize::from(registers) * 2;
    if !text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Err(format!("{text:?} holds characters that are not ASCII"));
    }
    if text.trim_end().len() != text.len() {
        return Err(format!("{text:?} ends with blanks, which would not read back"));
    }
    if text.len() > room {
        return Err(format!("{text:?} has more than {room} characters"));
    }
    let mut bytes = text.as_bytes().to_vec();
    bytes.resize(room, 0);
    Ok(bytes)
}
