//! What crossed a wire for one command, as it is kept with its outcome: one line a message, with
//! lab time and direction.
//!
//! ```text
//! 83.125000 > RAT 2.000 MM\r
//! 83.131250 < \x0200S\x03
//! ```
//!
//! Bounded: of a long trace the beginning and the end are kept, and a line says how many messages
//! are missing between them. Journals of before hold lines without a time.

use crate::driver::{Exchange, Way};
use crate::wire::Tick;

/// Longest trace kept with an outcome, bytes.
pub const LONGEST: usize = 4_000;

/// Longest message in it, bytes; a longer one is cut.
const LONGEST_MESSAGE: usize = 1_000;

/// Stands where messages were left out.
const GAP: &str = "…";

/// One line of a trace.
#[derive(Debug, Clone, PartialEq)]
pub enum Line {
    /// A message.
    Message {
        /// Lab time, if it was kept.
        at: Option<Tick>,
        /// Direction.
        way: Way,
        /// The bytes, printable.
        text: String,
    },
    /// Messages that were left out here.
    Missing(String),
}

/// A trace as it is kept.
pub fn kept(trace: &[Exchange]) -> String {
    let lines: Vec<String> = trace.iter().map(line).collect();
    let whole: usize = lines.iter().map(String::len).sum();
    if whole <= LONGEST {
        return lines.concat();
    }
    // Half for the beginning, half for the end: how it began and how it ended tell most.
    let room = LONGEST / 2 - 40;
    let fits = |lines: &mut dyn Iterator<Item = &String>| {
        let mut used = 0;
        lines
            .take_while(|line| {
                used += line.len();
                used <= room
            })
            .count()
    };
    let front = fits(&mut lines.iter());
    let back = fits(&mut lines.iter().rev()).min(lines.len() - front);
    let missing = lines.len() - front - back;
    let mut text: String = lines.iter().take(front).map(String::as_str).collect();
    if missing > 0 {
        text.push_str(&format!("{GAP} {missing} messages left out\n"));
    }
    text.extend(lines.iter().skip(front + missing).map(String::as_str));
    text
}

fn line(exchange: &Exchange) -> String {
    let way = match exchange.way {
        Way::Out => '>',
        Way::In => '<',
    };
    let micros = exchange.at.0 / 1_000;
    let mut text = exchange.text.as_str();
    let mut cut = "";
    if text.len() > LONGEST_MESSAGE {
        let end = (0..=LONGEST_MESSAGE).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text = text.get(..end).unwrap_or_default();
        cut = GAP;
    }
    format!("{}.{:06} {way} {text}{cut}\n", micros / 1_000_000, micros % 1_000_000)
}

/// The lines of a kept trace. Never fails: what is no message is said to be missing.
pub fn lines(kept: &str) -> Vec<Line> {
    kept.lines()
        .map(|line| message(line).unwrap_or_else(|| Line::Missing(line.to_owned())))
        .collect()
}

fn message(line: &str) -> Option<Line> {
    let (time, rest) = match line.split_once(' ')? {
        (">" | "<", _) => (None, line),
        (time, rest) => (Some(time), rest),
    };
    let (way, text) = match rest.split_once(' ').unwrap_or((rest, "")) {
        (">", text) => (Way::Out, text),
        ("<", text) => (Way::In, text),
        _ => return None,
    };
    let at = match time {
        None => None,
        Some(time) => {
            let (seconds, micros) = time.split_once('.')?;
            let nanos = seconds.parse::<u64>().ok()?.checked_mul(1_000_000_000)?;
            Some(Tick(nanos.checked_add(micros.parse::<u64>().ok()?.checked_mul(1_000)?)?))
        }
    };
    Some(Line::Message { at, way, text: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn exchange(at: u64, way: Way, text: &str) -> Exchange {
        Exchange { at: Tick(at), way, text: text.to_owned() }
    }

    #[test]
    fn a_trace_is_read_back_with_its_times() {
        let trace =
            [exchange(83_125_000_000, Way::Out, "RUN\\r"), exchange(83_125_001_000, Way::In, "")];
        let text = kept(&trace);
        assert_eq!(text, "83.125000 > RUN\\r\n83.125001 < \n");
        let read: Vec<Line> = trace
            .iter()
            .map(|e| Line::Message { at: Some(e.at), way: e.way, text: e.text.clone() })
            .collect();
        assert_eq!(lines(&text), read);
        // As journals of before have it.
        let old = Line::Message { at: None, way: Way::Out, text: "STP\\r".to_owned() };
        assert_eq!(lines("> STP\\r\n…\n"), [old, Line::Missing("…".to_owned())]);
    }

    #[test]
    fn of_a_long_trace_beginning_and_end_are_kept() {
        let trace: Vec<Exchange> =
            (0..1000).map(|n| exchange(n, Way::In, &format!("message {n}"))).collect();
        let text = kept(&trace);
        assert!(text.len() <= LONGEST, "{}", text.len());
        assert!(text.contains("message 0\n") && text.ends_with("message 999\n"));
        let missing = lines(&text).iter().filter(|l| matches!(l, Line::Missing(_))).count();
        assert_eq!(missing, 1);
        let flood: Vec<Exchange> =
            (0..64).map(|n| exchange(n, Way::In, &"é".repeat(2_000))).collect();
        assert!(kept(&flood).len() <= LONGEST);
    }

    proptest! {
        #[test]
        fn no_text_panics_and_traces_are_bounded(text: String, many in 0_usize..200) {
            lines(&text);
            let trace: Vec<Exchange> =
                (0..many).map(|n| exchange(n as u64, Way::Out, &text)).collect();
            prop_assert!(kept(&trace).len() <= LONGEST);
        }
    }
}
