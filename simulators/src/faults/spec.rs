//! Faults in words: `pump_1:late=500ms@10%`.

use std::str::FromStr;
use std::time::Duration;

use crate::model::Upset;

/// A kind of fault, with what it needs to know.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// The request is not heard: no effect, no answer.
    Silence,
    /// It is carried out, and its answer lost.
    Lost,
    /// The device is slow; what is asked meanwhile waits (wall time).
    Delay(Duration),
    /// The answer comes so much later, when others may have been asked (wall time).
    Late(Duration),
    /// One byte of the answer is damaged so that it can be seen: no letter has its highest bit.
    Corrupt,
    /// One bit of the answer is wrong, whichever: without a check sum a digit may become another.
    Flip,
    /// The answer ends in the middle.
    Truncated,
    /// The answer comes twice.
    Duplicated,
    /// The answer bears another device's address.
    WrongAddress,
    /// The line is cut instead of an answer.
    Disconnect,
    /// Something is wrong with the device itself.
    Upset(Upset),
}

/// A fault of one instrument.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fault {
    /// What happens.
    pub kind: Kind,
    /// How likely it is for each request, 0 to 1.
    pub share: f64,
}

/// All words, for messages.
pub const KINDS: &str = "silence, lost, delay=TIME, late=TIME, corrupt, flip, truncated, \
     duplicated, wrong_address, disconnect, exception=CODE, busy, stuck, drift=SHARE_PER_HOUR, spike=FACTOR, \
     sensor_break, reboot";

/// A fault of an instrument, or `None` for the end of all its faults.
pub type Order = (String, Option<Fault>);

/// Reads `INSTRUMENT:KIND[=VALUE][@SHARE%]` or `INSTRUMENT:off`.
pub fn parse(text: &str) -> Result<Order, String> {
    let form = "write INSTRUMENT:KIND[=VALUE][@SHARE%], such as pump_1:late=500ms@10%";
    let (name, rest) =
        text.trim().split_once(':').ok_or_else(|| format!("`{text}` is no fault: {form}"))?;
    if name.is_empty() {
        return Err(format!("`{text}` names no instrument: {form}"));
    }
    if rest == "off" {
        return Ok((name.to_owned(), None));
    }
    let (what, share) = match rest.split_once('@') {
        None => (rest, 1.0),
        Some((what, share)) => {
            let percent = share.strip_suffix('%').and_then(|share| f64::from_str(share).ok());
            let percent = percent.filter(|percent| (0.0..=100.0).contains(percent));
            let why = || format!("`{share}` is no share of requests; write 10%");
            (what, percent.ok_or_else(why)? / 100.0)
        }
    };
    let (word, value) = match what.split_once('=') {
        None => (what, None),
        Some((word, value)) => (word, Some(value)),
    };
    Ok((name.to_owned(), Some(Fault { kind: kind(word, value)?, share })))
}

fn kind(word: &str, value: Option<&str>) -> Result<Kind, String> {
    let number = |what: &str| {
        let number = value.and_then(|value| f64::from_str(value).ok());
        let number = number.filter(|number: &f64| number.is_finite());
        number.ok_or_else(|| format!("`{word}` needs {what}"))
    };
    let none = |kind: Kind| match value {
        None => Ok(kind),
        Some(value) => Err(format!("`{word}` takes no value, it has `{value}`")),
    };
    match word {
        "silence" => none(Kind::Silence),
        "lost" => none(Kind::Lost),
        "delay" => time(word, value).map(Kind::Delay),
        "late" => time(word, value).map(Kind::Late),
        "corrupt" => none(Kind::Corrupt),
        "flip" => none(Kind::Flip),
        "truncated" => none(Kind::Truncated),
        "duplicated" => none(Kind::Duplicated),
        "wrong_address" => none(Kind::WrongAddress),
        "disconnect" => none(Kind::Disconnect),
        "busy" => none(Kind::Upset(Upset::Busy)),
        "stuck" => none(Kind::Upset(Upset::Stuck)),
        "sensor_break" => none(Kind::Upset(Upset::SensorBreak)),
        "reboot" => none(Kind::Upset(Upset::Reboot)),
        "drift" => number("a share per hour, such as drift=0.05")
            .map(|share| Kind::Upset(Upset::Drift(share))),
        "spike" => number("a factor, such as spike=10").map(|f| Kind::Upset(Upset::Spike(f))),
        "exception" => {
            let code = value.and_then(|code| code.parse().ok());
            code.filter(|code| (1..=11).contains(code))
                .map(|code| Kind::Upset(Upset::Exception(code)))
                .ok_or_else(|| "`exception` needs a code of Modbus, 1 to 11".to_owned())
        }
        _ => Err(format!("`{word}` is no fault; there are {KINDS}")),
    }
}

fn time(word: &str, value: Option<&str>) -> Result<Duration, String> {
    let wrong = || format!("`{word}` needs a time up to an hour, such as {word}=500ms");
    let value = value.ok_or_else(wrong)?;
    let (number, factor) = match (value.strip_suffix("ms"), value.strip_suffix('s')) {
        (Some(number), _) => (number, 1e-3),
        (None, Some(number)) => (number, 1.0),
        (None, None) => return Err(wrong()),
    };
    let seconds = f64::from_str(number.trim()).map_err(|_| wrong())? * factor;
    if !(0.0..=3600.0).contains(&seconds) {
        return Err(wrong());
    }
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_as_written() {
        let fault = |text| parse(text).map(|(name, fault)| (name, fault.unwrap()));
        let late = Fault { kind: Kind::Late(Duration::from_millis(500)), share: 0.1 };
        assert_eq!(fault("pump_1:late=500ms@10%"), Ok(("pump_1".to_owned(), late)));
        let drift = Fault { kind: Kind::Upset(Upset::Drift(-0.05)), share: 1.0 };
        assert_eq!(fault("bath:drift=-0.05"), Ok(("bath".to_owned(), drift)));
        assert_eq!(parse("bath:off"), Ok(("bath".to_owned(), None)));
    }

    #[test]
    fn what_is_no_fault_is_refused_with_a_way_out() {
        for (text, part) in [
            ("late", "write INSTRUMENT:KIND"),
            (":late=1s", "names no instrument"),
            ("a:late", "needs a time"),
            ("a:late=2h", "needs a time"),
            ("a:late=-1s", "needs a time"),
            ("a:silence=3", "takes no value"),
            ("a:silence@200%", "no share"),
            ("a:silence@x", "no share"),
            ("a:exception=99", "1 to 11"),
            ("a:gremlin", "there are silence"),
            ("a:spike=NaN", "a factor"),
        ] {
            let why = parse(text).unwrap_err();
            assert!(why.contains(part), "{text}: {why}");
        }
    }
}
