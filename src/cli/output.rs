//! Writing for people and for programs.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

static UNWRITTEN: AtomicBool = AtomicBool::new(false);

/// Writes data to stdout. A closed pipe (`| head`) is not an error worth a message.
pub fn data(text: &str) {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    if let Err(why) = written
        && why.kind() != std::io::ErrorKind::BrokenPipe
        && !UNWRITTEN.swap(true, Ordering::Relaxed)
    {
        error(format!("not everything could be written: {why}"));
    }
}

/// Whether data could not be written to stdout.
pub fn is_unwritten() -> bool {
    UNWRITTEN.load(Ordering::Relaxed)
}

/// Writes a line for people to stderr.
pub fn say(text: impl AsRef<str>) {
    let mut out = std::io::stderr().lock();
    let _ = writeln!(out, "{}", text.as_ref());
}

/// Writes an error for people: what happened, where, what to do.
pub fn error(text: impl AsRef<str>) {
    say(format!("error: {}", text.as_ref()));
}

/// The beginning of a text that may be long, such as a message that holds a curve.
pub fn beginning(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Whether stderr is a terminal that may be coloured and redrawn.
pub fn terminal() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|t| t != "dumb")
}

/// Whether to colour: on a terminal and NO_COLOR is not set.
pub fn colour() -> bool {
    terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

/// A cell of a CSV file, quoted where RFC 4180 asks for it.
pub fn csv_cell(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// `4 min 12 s`, `2 h 5 min`, `3.2 s`.
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "?".to_owned();
    }
    let whole = seconds.round() as u64;
    match whole {
        0..=9 => format!("{seconds:.1} s"),
        10..=59 => format!("{whole} s"),
        60..=3_599 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3_600, whole % 3_600 / 60),
    }
}

/// Seconds since 1970 in milliseconds as RFC 3339 in UTC.
pub fn wall(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |t| t.to_string())
}

/// What cannot be read of a damaged journal; what follows is only a part of the truth.
pub(super) fn damaged(said: &[String]) {
    for line in said {
        error(format!("the journal is damaged: {line}"));
    }
    if !said.is_empty() {
        error("what is shown is only what can be read; `labloop verify` names every place");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_like_a_clock() {
        assert_eq!(duration(3.24), "3.2 s");
        assert_eq!(duration(252.0), "4 min 12 s");
        assert_eq!(duration(7_500.0), "2 h 05 min");
        assert_eq!(duration(f64::NAN), "?");
    }

    #[test]
    fn cells_with_commas_and_quotes_survive_csv() {
        assert_eq!(csv_cell("a,\"b\""), "\"a,\"\"b\"\"\"");
        assert_eq!(csv_cell("plain"), "plain");
    }
}
