//! A recorded wire: one JSON object a line, the first of them says what was recorded.
//!
//! ```text
//! {"labloop_trace":1,"wire":"serial","address":"serial:/dev/ttyUSB0","started":"2026-01-01T08:00:00Z"}
//! {"t":0.000000,"way":"out","hex":"5354500d","text":"STP\\r"}
//! {"t":0.006210,"way":"in","hex":"02303053","text":"\\x0200S"}
//! {"t":9.1,"note":"the client has closed its connection"}
//! ```
//!
//! `t` is in seconds since the start, `way` as the device sees it from here: `out` to it, `in` from
//! it. Over MQTT a line is a message and has `topic`, and what version 5 says beside.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::printable::printable;

/// Form of the file; raised when a reader of before would misread it.
const FORM: u32 = 1;
/// Longest file that is read.
const LONGEST_FILE: u64 = 512 << 20;
/// Longest line of it: a message of a megabyte, written twice.
const LONGEST_LINE: usize = 8 << 20;

/// What was recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Form of the file.
    pub labloop_trace: u32,
    /// Scheme of the address: `serial`, `tcp`, `modbus+tcp`, `modbus+serial` or `mqtt`.
    pub wire: String,
    /// Where the device was.
    pub address: String,
    /// Wall time of the start.
    pub started: String,
    /// Baud rate and frame of a serial line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
}

impl Head {
    /// A head for an address.
    pub fn new(address: &str, serial: Option<String>) -> Head {
        let wire = address.split_once(':').map_or(address, |(scheme, _)| scheme);
        Head {
            labloop_trace: FORM,
            wire: wire.to_owned(),
            address: address.to_owned(),
            started: jiff::Timestamp::now().to_string(),
            serial,
        }
    }
}

/// Direction of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// To the device.
    Out,
    /// From the device.
    In,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Line {
    /// Seconds since the start.
    pub t: f64,
    /// Direction; none for a note.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub way: Option<Direction>,
    /// Topic of an MQTT message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Where its answer goes (MQTT 5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_topic: Option<String>,
    /// What its answer repeats, in hexadecimal (MQTT 5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation: Option<String>,
    /// It was stored before and is old.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retain: bool,
    /// The bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hex: Option<String>,
    /// The same for people; cut where it is long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Something that is no message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Line {
    /// Its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        self.hex.as_deref().and_then(from_hex).unwrap_or_default()
    }
}

/// A trace read back.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// What was recorded.
    pub head: Head,
    /// Its lines in order.
    pub lines: Vec<Line>,
}

/// A trace cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// The file cannot be read.
    #[error("{path} cannot be read: {source}", path = path.display())]
    Io {
        /// File.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// It is none.
    #[error("{path}:{line} is not part of a wire trace: {reason}", path = path.display())]
    Form {
        /// File.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Why.
        reason: String,
    },
}

/// Reads a trace.
pub fn read(path: &Path) -> Result<Trace, TraceError> {
    let io = |source| TraceError::Io { path: path.to_owned(), source };
    let form =
        |line: usize, reason: String| TraceError::Form { path: path.to_owned(), line, reason };
    let file = std::fs::File::open(path).map_err(io)?;
    if file.metadata().map_err(io)?.len() > LONGEST_FILE {
        return Err(form(1, format!("it is larger than {} MiB", LONGEST_FILE >> 20)));
    }
    let mut reader = BufReader::new(file);
    let mut head: Option<Head> = None;
    let mut lines = Vec::new();
    for number in 1.. {
        let mut text = String::new();
        let mut limited = std::io::Read::take(&mut reader, LONGEST_LINE as u64);
        if limited.read_line(&mut text).map_err(io)? == 0 {
            break;
        }
        if text.len() >= LONGEST_LINE {
            return Err(form(number, format!("it is longer than {LONGEST_LINE} bytes")));
        }
        if text.trim().is_empty() {
            continue;
        }
        if head.is_none() {
            let found: Head =
                serde_json::from_str(&text).map_err(|error| form(number, error.to_string()))?;
            if found.labloop_trace > FORM {
                let why = format!("its form {} is newer than this labloop", found.labloop_trace);
                return Err(form(number, why));
            }
            head = Some(found);
            continue;
        }
        match serde_json::from_str::<Line>(&text) {
            Ok(mut line) if line.t.is_finite() && line.t >= 0.0 => {
                // The bytes are enough; a long trace need not stand in memory twice.
                line.text = None;
                if line.hex.as_deref().is_some_and(|hex| from_hex(hex).is_none()) {
                    return Err(form(number, "`hex` holds no bytes".to_owned()));
                }
                lines.push(line);
            }
            Ok(_) => return Err(form(number, "`t` is no time".to_owned())),
            // The machine went down while it was written.
            Err(_) if !text.ends_with('\n') => break,
            Err(error) => return Err(form(number, error.to_string())),
        }
    }
    match head {
        Some(head) => Ok(Trace { head, lines }),
        None => Err(form(1, "it is empty".to_owned())),
    }
}

/// Writes a trace, each line at once, up to a size.
#[derive(Debug)]
pub struct Recorder {
    file: std::fs::File,
    started: Instant,
    written: u64,
    most: u64,
    full: bool,
    messages: u64,
}

impl Recorder {
    /// Makes a new file; one that is there already is not overwritten. `most`: its size at most,
    /// in bytes.
    pub fn create(path: &Path, head: &Head, most: u64) -> std::io::Result<Recorder> {
        let file = std::fs::OpenOptions::new().write(true).create_new(true).open(path)?;
        let started = Instant::now();
        let mut recorder = Recorder { file, started, written: 0, most, full: false, messages: 0 };
        recorder.put(&serde_json::to_string(head)?)?;
        Ok(recorder)
    }

    /// Notes bytes that crossed.
    pub fn bytes(&mut self, way: Direction, bytes: &[u8]) -> std::io::Result<()> {
        self.line(Line {
            way: Some(way),
            hex: Some(to_hex(bytes)),
            text: Some(printable(bytes)),
            ..Line::default()
        })
    }

    /// Notes something that is no message.
    pub fn note(&mut self, text: &str) -> std::io::Result<()> {
        self.line(Line { note: Some(text.to_owned()), ..Line::default() })
    }

    /// Notes a line; its time is now.
    pub fn line(&mut self, mut line: Line) -> std::io::Result<()> {
        if self.full {
            return Ok(());
        }
        let t = self.started.elapsed().as_secs_f64();
        line.t = (t * 1e6).round() / 1e6;
        self.messages += u64::from(line.way.is_some());
        let text = serde_json::to_string(&line)?;
        if self.written + text.len() as u64 > self.most {
            self.full = true;
            let note = Some(format!("the trace ends here: it has {} bytes", self.written));
            return self.put(&serde_json::to_string(&Line { t, note, ..Line::default() })?);
        }
        self.put(&text)
    }

    fn put(&mut self, text: &str) -> std::io::Result<()> {
        self.written += text.len() as u64 + 1;
        // One write, so that a reader never sees half a line.
        let written = self.file.write_all(format!("{text}\n").as_bytes());
        // A disk that is full is told once, and not with every message.
        self.full |= written.is_err();
        written
    }

    /// The file has its size: what crosses from now on is not noted.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Messages noted so far.
    pub fn messages(&self) -> u64 {
        self.messages
    }
}

/// Bytes as hexadecimal digits without spaces.
pub fn to_hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The inverse of [`to_hex`].
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs
        .iter()
        .map(|pair| {
            let digits = std::str::from_utf8(pair).ok().filter(|d| !d.starts_with('+'))?;
            u8::from_str_radix(digits, 16).ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("labloop-trace-{name}-{}", std::process::id()))
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_recorded_is_read_back_and_the_size_is_kept() {
        let path = file("size");
        let _ = std::fs::remove_file(&path);
        let head = Head::new("serial:/dev/x", Some("19200 8N1".to_owned()));
        let mut recorder = Recorder::create(&path, &head, 2_000).unwrap();
        recorder.bytes(Direction::Out, b"STP\r").unwrap();
        tokio::time::advance(std::time::Duration::from_millis(6)).await;
        recorder.bytes(Direction::In, b"\x0200S\x03").unwrap();
        for _ in 0..100 {
            recorder.bytes(Direction::In, &[0; 100]).unwrap();
        }
        assert!(recorder.is_full());
        assert!(Recorder::create(&path, &head, 10).is_err(), "it was overwritten");
        let trace = read(&path).unwrap();
        assert_eq!(trace.head, head);
        assert_eq!(trace.lines[0].bytes(), b"STP\r");
        assert_eq!(trace.lines[1].t, 0.006);
        assert!(trace.lines.last().unwrap().note.as_ref().unwrap().contains("ends here"));
        assert!(std::fs::metadata(&path).unwrap().len() < 2_200);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn what_is_no_trace_is_refused_with_its_line() {
        let path = file("wrong");
        let head = r#"{"labloop_trace":1,"wire":"tcp","address":"tcp://h:1","started":""}"#;
        for (text, line) in [
            (String::new(), ":1 "),
            ("{}\n".to_owned(), ":1 "),
            (head.replace(":1,", ":9,") + "\n", ":1 "),
            (format!("{head}\n{{\"t\":-1}}\n"), ":2 "),
            (format!("{head}\n{{\"t\":0,\"hex\":\"0\"}}\n"), ":2 "),
            (format!("{head}\nnonsense\n{{}}\n"), ":2 "),
        ] {
            std::fs::write(&path, &text).unwrap();
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains(line), "{text}: {error}");
        }
        // Cut in the middle of a line: what came before counts.
        std::fs::write(&path, format!("{head}\n{{\"t\":0,\"hex\":\"00\"}}\n{{\"t\":1,")).unwrap();
        assert_eq!(read(&path).unwrap().lines.len(), 1);
        std::fs::remove_file(path).unwrap();
    }

    proptest! {
        #[test]
        fn hex_is_read_back(bytes: Vec<u8>, text: String) {
            prop_assert_eq!(from_hex(&to_hex(&bytes)), Some(bytes));
            let _ = from_hex(&text);
        }
    }
}
