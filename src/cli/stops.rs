//! How long the safe states of a lab take at most, in words.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::check::Finding;
use crate::driver::LineStop;
use crate::engine::shell::{stop_latencies, too_late};
use crate::spec::instrument::Instrument;
use crate::spec::lab::Lab;
use crate::spec::{Diagnostic, Report, codes};

/// The lines of a lab with their figures; demands of the lab that are not met go to the report.
/// `Err`: why nothing can be said.
pub(super) fn of(
    lab: &Lab,
    definitions: &BTreeMap<String, Arc<Instrument>>,
    report: &mut Report,
) -> Result<Vec<LineStop>, String> {
    let lines = stop_latencies(lab, definitions).map_err(|error| error.to_string())?;
    for late in too_late(lab, &lines) {
        let because = &late.line.because;
        let mut found = Diagnostic::error(
            codes::STOP_LATENCY,
            late.demanded.span,
            format!(
                "allow {} or make the line faster: `{}` is safe after {} at the latest",
                shown(late.safe),
                late.instrument,
                shown(late.safe)
            ),
        )
        .label("less than it may take")
        .fix(format!("stop_within: {}", shown(late.safe)));
        if !because.takes.is_zero() {
            found = found.reason(format!(
                "on {} the {} of `{}` may keep the line for {}; a shorter `reply_timeout` of its \
                 definition or a line of its own helps",
                late.line.line,
                because.what,
                because.instrument,
                shown(because.takes)
            ));
        }
        if let Some(instrument) = lab.instrument(&because.instrument) {
            found = found.also(instrument.name.span, "keeps the line longest");
        }
        report.push(found);
    }
    Ok(lines)
}

/// A time of at most so much, rounded up.
fn shown(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        // A nanosecond more is no reason to show another digit.
        ..1.0 => format!("{} ms", (seconds * 1e3 - 1e-6).max(0.0).ceil()),
        ..100.0 => format!("{:.1} s", ((seconds - 1e-9) * 10.0).ceil() / 10.0),
        _ => format!("{} s", (seconds - 1e-9).ceil()),
    }
}

/// Lines for people.
pub(super) fn text(lines: &[LineStop]) -> String {
    let mut text = "Safe states at the latest, when the slowest question has just been asked and \
                    nobody answers it:"
        .to_owned();
    for line in lines {
        let names: Vec<&str> = line.instruments.iter().map(|i| i.name.as_str()).collect();
        text.push_str(&format!("\n  {} ({}): ", line.line, names.join(", ")));
        let acting: Vec<_> = line.instruments.iter().filter(|i| !i.own.is_zero()).collect();
        match acting.as_slice() {
            [] => text.push_str("nothing to make safe"),
            [one] => {
                let (starts, safe) = (shown(line.starts), shown(one.safe));
                text.push_str(&format!("a safe state starts after {starts}, "));
                text.push_str(&format!("{} is safe after {safe}", one.name));
            }
            all => {
                let starts = shown(line.starts);
                text.push_str(&format!("a safe state starts after {starts}; wanted at once, "));
                let last = all.iter().map(|i| i.safe).max().unwrap_or_default();
                text.push_str(&format!("all are safe after {}", shown(last)));
                for one in all {
                    text.push_str(&format!("\n    {}: safe after {}", one.name, shown(one.safe)));
                    text.push_str(&format!(", of which {} are its own", shown(one.own)));
                }
            }
        }
        if !line.because.takes.is_zero() {
            let because = &line.because;
            let takes = shown(because.takes);
            text.push_str(&format!(
                "\n    longest wait: {takes}, {} of {}",
                because.what, because.instrument
            ));
        }
    }
    text
}

/// The same for programs: a note at the name of the lab.
pub(super) fn json(finding: &Finding) -> Option<Value> {
    let stops = finding.stops.as_ref()?;
    let lines = stops.lines.as_ref().ok()?;
    let one = |line: &LineStop| {
        let instruments: Vec<Value> = line
            .instruments
            .iter()
            .map(|i| {
                json!({
                    "instrument": i.name, "own_s": i.own.as_secs_f64(),
                    "safe_s": i.safe.as_secs_f64(),
                })
            })
            .collect();
        json!({
            "line": line.line, "starts_s": line.starts.as_secs_f64(),
            "safe_s": line.safe.as_secs_f64(), "instruments": instruments,
            "because": {
                "instrument": line.because.instrument, "what": line.because.what,
                "takes_s": line.because.takes.as_secs_f64(),
            },
        })
    };
    let (file, at) = finding.sources.locate(stops.place)?;
    Some(json!({
        "file": file, "line": at.line, "column": at.column, "code": codes::STOP_LATENCY,
        "severity": "note", "message": "how long safe states take at most, line by line",
        "reason": text(lines), "lines": lines.iter().map(one).collect::<Vec<Value>>(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rounded_up() {
        for (ms, text) in
            [(0, "0 ms"), (600, "600 ms"), (1_000, "1.0 s"), (1_301, "1.4 s"), (120_001, "121 s")]
        {
            assert_eq!(shown(Duration::from_millis(ms)), text);
        }
    }
}
