//! Messages of the language server protocol: a header with the length, then JSON.

use std::io::{self, BufRead, Read, Write};

use serde_json::Value;

/// Largest message: a document of the largest size with every character escaped, and its envelope.
const MESSAGE_BYTES_MAX: u64 = 32 << 20;
/// Longest header.
const HEADER_BYTES_MAX: u64 = 8 << 10;

/// What was read.
pub(super) enum Frame {
    /// A message.
    Message(Value),
    /// Bytes of the right length that are not JSON.
    NotJson(String),
    /// The other side has closed.
    End,
}

/// Reads one message.
///
/// Errors: no length, a length above the limit, the stream.
pub(super) fn read(from: &mut impl BufRead) -> io::Result<Frame> {
    let bad = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
    let mut length = None;
    let mut left = HEADER_BYTES_MAX;
    loop {
        let mut line = String::new();
        let count = from.take(left).read_line(&mut line)? as u64;
        if count == 0 && left > 0 {
            return Ok(Frame::End);
        }
        left = left.saturating_sub(count);
        if left == 0 {
            return Err(bad(format!("a header of more than {HEADER_BYTES_MAX} bytes")));
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse::<u64>().ok();
        }
    }
    let length = length.ok_or_else(|| bad("a message without Content-Length".to_owned()))?;
    if length > MESSAGE_BYTES_MAX {
        return Err(bad(format!("a message of {length} bytes; {MESSAGE_BYTES_MAX} are the most")));
    }
    let mut body = Vec::new();
    if from.take(length).read_to_end(&mut body)? as u64 != length {
        return Ok(Frame::End);
    }
    Ok(match serde_json::from_slice(&body) {
        Ok(value) => Frame::Message(value),
        Err(error) => Frame::NotJson(error.to_string()),
    })
}

/// Writes one message.
pub(super) fn write(to: &mut impl Write, message: &Value) -> io::Result<()> {
    let body = message.to_string();
    write!(to, "Content-Length: {}\r\n\r\n{body}", body.len())?;
    to.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn messages_come_back_as_they_were_written() {
        let mut bytes = Vec::new();
        write(&mut bytes, &json!({ "a": "µ中" })).unwrap();
        bytes.extend(b"Content-Type: x\r\ncontent-length: 3\r\n\r\n{x}Content-Length: 9\r\n\r\n{}");
        let mut from = bytes.as_slice();
        assert!(matches!(read(&mut from), Ok(Frame::Message(v)) if v == json!({ "a": "µ中" })));
        assert!(matches!(read(&mut from), Ok(Frame::NotJson(_))));
        assert!(matches!(read(&mut from), Ok(Frame::End)), "a message that is cut");
        assert!(matches!(read(&mut from), Ok(Frame::End)));
    }

    #[test]
    fn headers_and_messages_without_bound_are_refused() {
        assert!(read(&mut b"Content-Length: 99999999999\r\n\r\n".as_slice()).is_err());
        assert!(read(&mut b"X: y\r\n\r\n{}".as_slice()).is_err());
        assert!(read(&mut "x".repeat(100_000).as_bytes()).is_err());
        assert!(read(&mut b"\xff\xfe: 1\r\n\r\n".as_slice()).is_err());
    }
}
