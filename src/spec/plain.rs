//! Plain scalars that YAML 1.1 tools read as something other than the text that stands there.

/// What a plain scalar would become, and what to write.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ambiguous {
    /// After "write ".
    pub instead: String,
    /// Beside the caret.
    pub label: &'static str,
    /// Why.
    pub reason: String,
    /// The quoted form.
    pub fix: String,
}

/// Whether a plain scalar is refused.
pub(super) fn ambiguous(text: &str) -> Option<Ambiguous> {
    let quoted = format!("\"{text}\"");
    let lower = text.to_ascii_lowercase();
    let found = |instead: String, label, reason: String, fix: String| {
        Some(Ambiguous { instead, label, reason, fix })
    };
    match lower.as_str() {
        "yes" | "on" | "no" | "off" => {
            let truth = matches!(lower.as_str(), "yes" | "on");
            return found(
                format!("{quoted} for the word, or `{truth}` for the truth value,"),
                "a word or a truth value?",
                format!("YAML 1.1 tools read it as {truth}"),
                quoted,
            );
        }
        "true" | "false" if text != lower => {
            return found(
                format!("`{lower}`"),
                "a word or a truth value?",
                "truth values are written in small letters".to_owned(),
                lower,
            );
        }
        ".inf" | "+.inf" | "-.inf" | ".nan" => {
            return found(
                "a finite number".to_owned(),
                "not a finite number",
                "infinity and not-a-number are no values an instrument can take".to_owned(),
                quoted,
            );
        }
        "=" => {
            return found(
                quoted.clone(),
                "a mark or a text?",
                "YAML 1.1 tools read a bare = as a mark of its own".to_owned(),
                quoted,
            );
        }
        _ => {}
    }
    if let Some(seconds) = sexagesimal(text) {
        return found(
            format!(
                "{}, {} or {quoted}",
                clock(text, ["h", "min", "s"]),
                clock(text, ["min", "s", "ms"])
            ),
            "a time, a text or a number?",
            format!("YAML 1.1 tools read it as the number {seconds}, people read hours or minutes"),
            clock(text, ["min", "s", "ms"]),
        );
    }
    if is_date(text) {
        return found(
            quoted.clone(),
            "a text or a date?",
            "YAML 1.1 tools read it as a date".to_owned(),
            quoted,
        );
    }
    other_number(text).map(|(number, reason)| Ambiguous {
        instead: format!("{number} for the number, or {quoted} for the text,"),
        label: "a text or a number?",
        reason,
        fix: number,
    })
}

/// `1:30` and `1:30:00`, as YAML 1.1 reads them.
fn sexagesimal(text: &str) -> Option<u64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let mut parts = digits.split(':');
    let first = parts.next()?;
    let mut total = whole(first)?;
    let mut count = 0;
    for part in parts {
        let part = part.split_once('.').map_or(part, |(whole, _)| whole);
        if part.len() > 2 {
            return None;
        }
        total = total.checked_mul(60)?.checked_add(whole(part).filter(|n| *n < 60)?)?;
        count += 1;
    }
    (1..=2).contains(&count).then_some(total)
}

fn clock(text: &str, units: [&str; 3]) -> String {
    let parts = text.trim_start_matches(['+', '-']).split(':').zip(units);
    parts.map(|(n, unit)| format!("{n} {unit}")).collect::<Vec<_>>().join(" ")
}

fn whole(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// `2026-01-02`, perhaps with a time.
fn is_date(text: &str) -> bool {
    let day = text.split([' ', 'T', 't']).next().unwrap_or("");
    let parts: Vec<&str> = day.split('-').collect();
    let [year, month, date] = parts.as_slice() else { return false };
    year.len() == 4
        && (1..=2).contains(&month.len())
        && (1..=2).contains(&date.len())
        && [year, month, date].iter().all(|part| whole(part).is_some())
}

/// `0755`, `0o17`, `0x1F`, `0b11`, `1_000`: the decimal number that was probably meant, and how
/// tools read it.
fn other_number(text: &str) -> Option<(String, String)> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let sign = if text.starts_with('-') { "-" } else { "" };
    let radix = |prefix: &str, radix: u32| {
        let digits = digits.strip_prefix(prefix)?.replace('_', "");
        u64::from_str_radix(&digits, radix).ok()
    };
    if let Some(n) = radix("0x", 16).or_else(|| radix("0b", 2)).or_else(|| radix("0o", 8)) {
        return Some((n.to_string(), format!("YAML tools read it as the number {n}")));
    }
    if digits.len() > 1 && digits.starts_with('0') && whole(digits).is_some() {
        let decimal = match digits.trim_start_matches('0') {
            "" => "0",
            decimal => decimal,
        };
        let why = match u64::from_str_radix(digits, 8) {
            Ok(n) if n.to_string() != decimal => {
                format!("YAML 1.1 tools read it as {n} (octal), others as {decimal}")
            }
            _ => "tools disagree on what a leading zero means".to_owned(),
        };
        return Some((format!("{sign}{decimal}"), why));
    }
    let plain = digits.replace('_', "");
    if plain.len() < digits.len()
        && digits.starts_with(|c: char| c.is_ascii_digit())
        && plain.parse::<f64>().is_ok()
    {
        let why = format!("YAML 1.1 tools read it as {plain}, others as text");
        return Some((format!("{sign}{plain}"), why));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_yaml_1_1_reads_otherwise_is_refused() {
        for text in [
            "yes",
            "No",
            "ON",
            "off",
            "True",
            "1:30",
            "12:30:45",
            "-1:30",
            "0755",
            "0o17",
            "0x1F",
            "0b11",
            "1_000",
            "2026-01-02",
            "2026-01-02T10:00:00Z",
            ".inf",
            ".NaN",
            "=",
        ] {
            assert!(ambiguous(text).is_some(), "{text} should be refused");
        }
    }

    #[test]
    fn ordinary_words_numbers_and_quantities_are_not() {
        for text in [
            "true",
            "false",
            "0",
            "0.5",
            "10",
            "-3",
            "1e3",
            "1 h 30 min",
            "2.5 mL/min",
            "Pd-1",
            "once",
            "y",
            "n",
            "modbus+tcp://10.0.0.1:502?unit=1",
            "1:90",
            "a:b",
            "8N1",
            "0 s",
            "00:1A:7D",
            "v1_2",
            "x_1",
            "2026-01",
            "1.2.3",
            "0.0.0.0:80",
        ] {
            assert_eq!(ambiguous(text), None, "{text} should pass");
        }
    }

    #[test]
    fn a_clock_time_is_refused_with_both_readings() {
        let found = ambiguous("1:30").unwrap();
        assert!(found.reason.contains("number 90"), "{}", found.reason);
        assert_eq!(found.instead, "1 h 30 min, 1 min 30 s or \"1:30\"");
    }
}
