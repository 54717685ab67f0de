//! Bytes as people read them, and back.

/// Longest text kept of one message in a trace.
pub const LONGEST: usize = 2_000;

/// Printable ASCII as it is, the rest as `\r`, `\n`, `\t`, `\\` or `\x02`. Cut at [`LONGEST`]
/// characters, with the number of bytes left out.
pub fn printable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().min(LONGEST) + 8);
    for (at, byte) in bytes.iter().enumerate() {
        if text.len() >= LONGEST {
            text.push_str(&format!("... ({} more bytes)", bytes.len() - at));
            break;
        }
        match byte {
            b'\r' => text.push_str("\\r"),
            b'\n' => text.push_str("\\n"),
            b'\t' => text.push_str("\\t"),
            b'\\' => text.push_str("\\\\"),
            b' '..=b'~' => text.push(char::from(*byte)),
            other => text.push_str(&format!("\\x{other:02x}")),
        }
    }
    text
}

/// The bytes of a text made by [`printable`]; `None` when it was cut or is none.
pub fn unprintable(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            // Everything else that is no printable ASCII is written as an escape.
            bytes.push(Some(byte).filter(|byte| (b' '..=b'~').contains(byte))?);
            continue;
        }
        bytes.push(match rest.next()? {
            b'r' => b'\r',
            b'n' => b'\n',
            b't' => b'\t',
            b'\\' => b'\\',
            b'x' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            _ => return None,
        });
    }
    (text.len() < LONGEST).then_some(bytes)
}

/// The bytes of a text made by [`hex`]; `None` when it was cut or is none.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    text.split_whitespace().map(|pair| u8::from_str_radix(pair, 16).ok()).collect()
}

/// Bytes as pairs of hexadecimal digits with spaces, for frames that hold no text.
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity((3 * bytes.len()).min(LONGEST + 3));
    for (at, byte) in bytes.iter().enumerate() {
        if text.len() >= LONGEST {
            text.push_str(&format!(" ... ({} more bytes)", bytes.len() - at));
            break;
        }
        if at > 0 {
            text.push(' ');
        }
        // Two of these stand in the trace of every question: a formatter for each byte costs more
        // than all else that is done for it.
        for digit in [byte >> 4, byte & 0x0f] {
            text.extend(char::from_digit(u32::from(digit), 16).map(|c| c.to_ascii_uppercase()));
        }
    }
    text
}

/// The bytes of a text whose characters are all below U+0100, one byte each. Definitions write
/// control characters this way (`"\x02"` in YAML); `None` when another character stands in it.
pub fn bytes_of(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect()
}

/// Bytes as a text of the characters U+0000 to U+00FF, the inverse of [`bytes_of`].
pub fn text_of(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn control_bytes_are_shown_by_name() {
        assert_eq!(printable(b"\x0200S\x03\r\n\\"), "\\x0200S\\x03\\r\\n\\\\");
        assert_eq!(hex(&[1, 0xfb]), "01 FB");
    }

    #[test]
    fn a_flood_is_cut() {
        assert!(printable(&[0; 100_000]).len() < LONGEST + 40);
        assert!(hex(&[0; 100_000]).len() < LONGEST + 40);
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(bytes in proptest::collection::vec(0_u8.., 0..400)) {
            prop_assert_eq!(unprintable(&printable(&bytes)), Some(bytes.clone()));
            prop_assert_eq!(unhex(&hex(&bytes)), Some(bytes));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = (unprintable(&text), unhex(&text));
        }

        #[test]
        fn text_and_bytes_are_inverse(bytes: Vec<u8>) {
            prop_assert_eq!(bytes_of(&text_of(&bytes)), Some(bytes));
        }
    }
}
