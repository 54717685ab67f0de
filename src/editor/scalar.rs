//! How single values are spelled.

use crate::spec::schema::Form;
use crate::spec::{Report, SourceFile, SourceId, Written, literal, tree};
use crate::units::{Quantity, Unit};

/// Where a value stands; it decides what may stand there without quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Context {
    /// Behind `key:` or `-`, to the end of the line.
    Block,
    /// Inside `[ ]` or `{ }`.
    Flow,
    /// Before a colon.
    Key,
    /// Before a colon inside `{ }`.
    FlowKey,
}

/// One line: a value as it is written from now on.
///
/// `raw` is how it stands in the file, `text` what YAML makes of it.
pub(super) fn spell(raw: &str, text: &str, quoted: bool, form: Form, context: Context) -> String {
    if !quoted {
        let better = unquoted(text, form);
        // A value that was on several lines, or outside of brackets, may need quotes now.
        return if better == text && raw == text || stands_plain(&better, context) {
            better
        } else {
            encode(&better)
        };
    }
    let better = braces(text);
    if !needs_quotes(&better, form) && stands_plain(&better, context) {
        return unquoted(&better, form);
    }
    let one_line = !raw.contains('\n');
    if one_line && raw.starts_with('"') {
        return braces(raw);
    }
    if one_line && text.contains(['"', '\\']) {
        return braces(raw);
    }
    encode(&better)
}

/// What an unquoted value becomes.
fn unquoted(text: &str, form: Form) -> String {
    match form {
        Form::Quantity => quantity(text).unwrap_or_else(|| braces(text)),
        Form::Unit => unit(text),
        // An argument may be a word such as `5mL`; only what nobody means as a word is changed.
        Form::Value if text.contains(['°', '℃', ' ']) => {
            quantity(text).unwrap_or_else(|| braces(text))
        }
        Form::Value | Form::Condition | Form::Other => braces(text),
    }
}

/// Whether quotes say something here: without them the value would be read as something else, or
/// a person would have to think about it.
pub(super) fn needs_quotes(text: &str, form: Form) -> bool {
    if text.contains("${") {
        return !(text.starts_with("${") && text.ends_with('}'));
    }
    if form == Form::Condition {
        return false;
    }
    let written =
        Written::Scalar { text: text.to_owned(), quoted: false, span: Default::default() };
    let Some(guess) = literal::guess(&written) else { return true };
    if guess.as_text().is_none() {
        // `"5 mL"` where a quantity is read is the same without; `"5"` is left alone.
        let unit = text.trim_end().ends_with(|c: char| c.is_alphabetic() || c == '%');
        return !(form == Form::Quantity && unit && guess.as_quantity().is_some());
    }
    let inside = |c: char| c.is_alphanumeric() || "_-./+() ".contains(c);
    let simple = text.starts_with(char::is_alphabetic) && text.chars().all(inside);
    !simple || text.contains("  ")
}

/// Whether a text may stand without quotes and still be read as itself.
fn stands_plain(text: &str, context: Context) -> bool {
    if text.is_empty() || text.contains(['\n', '\r', '\t']) {
        return false;
    }
    let document = match context {
        Context::Block => format!("k: {text}\n"),
        Context::Flow => format!("k: [{text}]\n"),
        Context::Key => format!("{text}: v\n"),
        Context::FlowKey => format!("k: {{{text}: v}}\n"),
    };
    let mut report = Report::new();
    let file = SourceFile::new(SourceId(0), "", document);
    let Some(root) = tree::parse(&file, &mut report) else { return false };
    if !report.is_empty() {
        return false;
    }
    let is = |node: &tree::Node| matches!(&node.kind, tree::NodeKind::Scalar { text: found, quoted: false } if found == text);
    let tree::NodeKind::Map(entries) = &root.kind else { return false };
    let [entry] = entries.as_slice() else { return false };
    match (context, &entry.value.kind) {
        (Context::Block, _) => is(&entry.value),
        (Context::Flow, tree::NodeKind::List(items)) => {
            matches!(items.as_slice(), [one] if is(one))
        }
        (Context::Key, _) => entry.key.value == text && !entry.value.span.range().is_empty(),
        (Context::FlowKey, tree::NodeKind::Map(inner)) => {
            matches!(inner.as_slice(), [one] if one.key.value == text)
        }
        _ => false,
    }
}

/// `${x}` and `${  x }` as `${ x }`.
pub(super) fn braces(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        let Some((inner, tail)) = after.split_once('}') else {
            out.push_str("${");
            out.push_str(after);
            return out;
        };
        let inner = inner.trim();
        out.push_str(&if inner.is_empty() { "${}".to_owned() } else { format!("${{ {inner} }}") });
        rest = tail;
    }
    out.push_str(rest);
    out
}

/// A quantity as a number, one space and a unit; `None` if it is not one or has no unit.
pub(super) fn quantity(text: &str) -> Option<String> {
    let value = Quantity::parse(text).ok()?;
    let mut parts: Vec<String> = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(number_end(rest));
        let tail = tail.trim_start();
        // The next part, as in `1 h 30 min`, begins with a digit behind a space.
        let next = tail.char_indices().zip(tail.chars().skip(1)).find_map(|((at, c), next)| {
            (c.is_whitespace() && next.is_ascii_digit()).then_some(at + c.len_utf8())
        });
        let (symbol, tail) = tail.split_at(next.unwrap_or(tail.len()));
        if number.is_empty() || symbol.trim().is_empty() {
            return None;
        }
        parts.push(format!("{number} {}", unit(symbol.trim())));
        rest = tail.trim_start();
    }
    let better = parts.join(" ");
    (Quantity::parse(&better).ok()? == value).then_some(better)
}

/// Where the number at the start of a text ends.
fn number_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let mut at = usize::from(matches!(bytes.first(), Some(b'+' | b'-')));
    while digit(at) || bytes.get(at) == Some(&b'.') {
        at += 1;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        if digit(at + 1 + sign) {
            at += 1 + sign;
            while digit(at) {
                at += 1;
            }
        }
    }
    at
}

/// A unit in the one spelling of it: `degC` for `°C`, `uL` for `µL`.
pub(super) fn unit(text: &str) -> String {
    let better = match text {
        "°C" | "℃" | "Cel" => "degC".to_owned(),
        "°F" | "[degF]" => "degF".to_owned(),
        _ => text.replace(['µ', 'μ'], "u"),
    };
    let alike = match (Unit::parse(text), Unit::parse(&better)) {
        (Ok(a), Ok(b)) => (a.dim, a.point) == (b.dim, b.point) && a.factor == b.factor,
        _ => false,
    };
    if alike { better } else { text.to_owned() }
}

/// A text in double quotes.
pub(super) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{85}' | '\u{A0}' | '\u{2028}' | '\u{2029}' | '\u{FEFF}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c if c.is_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_have_one_spelling_and_keep_their_value() {
        for (written, wanted) in [
            ("5mL", "5 mL"),
            ("25 °C", "25 degC"),
            ("25°C", "25 degC"),
            ("1h 30min", "1 h 30 min"),
            ("2.50   mL/min", "2.50 mL/min"),
            ("10 µL", "10 uL"),
            ("1e-3 mol/L", "1e-3 mol/L"),
            ("20%", "20 %"),
        ] {
            assert_eq!(quantity(written).as_deref(), Some(wanted), "{written}");
        }
        for other in ["5", "fast", "", "5 mL 3 mL", "5 flops"] {
            assert_eq!(quantity(other), None, "{other}");
        }
    }

    #[test]
    fn an_argument_that_may_be_a_word_is_left_alone() {
        assert_eq!(spell("5mL", "5mL", false, Form::Value, Context::Block), "5mL");
        assert_eq!(spell("5mL", "5mL", false, Form::Quantity, Context::Block), "5 mL");
        assert_eq!(spell("25 °C", "25 °C", false, Form::Value, Context::Flow), "25 degC");
        assert_eq!(spell("25 °C", "25 °C", false, Form::Other, Context::Block), "25 °C");
    }

    #[test]
    fn quotes_go_where_they_say_nothing() {
        let spelled = |raw: &str, text: &str, form, context| spell(raw, text, true, form, context);
        assert_eq!(spelled("'MeOH'", "MeOH", Form::Other, Context::Block), "MeOH");
        assert_eq!(spelled("'5'", "5", Form::Other, Context::Block), "\"5\"");
        assert_eq!(spelled("'off'", "off", Form::Other, Context::Block), "\"off\"");
        assert_eq!(spelled("\"1\"", "1", Form::Unit, Context::Block), "\"1\"");
        assert_eq!(spelled("\"%\"", "%", Form::Unit, Context::Flow), "\"%\"");
        assert_eq!(spelled("\"5 mL\"", "5 mL", Form::Quantity, Context::Flow), "5 mL");
        assert_eq!(spelled("\"${x}\"", "${x}", Form::Value, Context::Block), "${ x }");
        assert_eq!(spelled("\"${x}\"", "${x}", Form::Value, Context::Flow), "\"${ x }\"");
        assert_eq!(spelled("'{\"a\"}'", "{\"a\"}", Form::Other, Context::Block), "'{\"a\"}'");
        assert_eq!(spelled("\"\\x02A\"", "\u{2}A", Form::Other, Context::Block), "\"\\x02A\"");
    }
}
