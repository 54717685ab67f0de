//! What a definition says that cannot work, or works until it does not: errors that no answer can
//! match, topics that cannot be told apart, patterns that swallow answers, messages that an
//! argument could change.

mod topics;

use crate::spec::codes;
use crate::spec::diagnostic::Diagnostic;
use crate::spec::reader::Reader;
use crate::spec::source::{Span, Spanned};
use crate::spec::value::{ValueSpec, ValueType};
use crate::units::Unit;

use super::{
    Action, Ask, Bytes, ErrorClass, ErrorCode, ExampleOf, Instrument, Operation, ReplyEnd, Status,
    StatusClass, StatusField, Wire,
};

impl Instrument {
    /// Actions and properties that no example shows; computed properties and those that are known
    /// from a status need none.
    pub fn without_golden_bytes(&self) -> Vec<(&str, Span)> {
        let shown = |name: &str| {
            self.examples.iter().any(|example| match &example.of {
                ExampleOf::Action(shown) | ExampleOf::Property(shown) => shown.value == name,
                ExampleOf::SafeState => false,
            })
        };
        let properties = self.properties.iter().filter(|property| property.ask.is_some());
        let properties = properties.map(|property| &property.name);
        let actions = self.actions.iter().map(|action| &action.name);
        properties
            .chain(actions)
            .filter(|name| !shown(&name.value))
            .map(|name| (name.value.as_str(), name.span))
            .collect()
    }
}

/// Everything that is looked for.
pub(super) fn all(r: &mut Reader<'_>, instrument: &Instrument) {
    errors(r, instrument);
    if let Some(status) = &instrument.status {
        status_errors(r, status);
    }
    match &instrument.connection.wire {
        Wire::Bytes(bytes) => {
            patterns(r, instrument, bytes);
            messages(r, instrument, bytes);
        }
        Wire::Mqtt(_) => topics::all(r, instrument),
        Wire::Modbus(_) => {}
    }
}

/// The text of a pattern or template before its first field, and the fields with what follows each.
struct Written<'t> {
    before: String,
    fields: Vec<(&'t str, String)>,
}

impl<'t> Written<'t> {
    /// Reads braces; what is not well formed is left to the driver, which says so.
    fn read(text: &'t str) -> Written<'t> {
        let mut written = Written { before: String::new(), fields: Vec::new() };
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (plain, from) = rest.split_at(at);
            written.push(plain);
            if let Some(after) = from.strip_prefix("{{").or_else(|| from.strip_prefix("}}")) {
                written.push(from.get(..1).unwrap_or_default());
                rest = after;
            } else if let Some((field, after)) =
                from.strip_prefix('{').and_then(|from| from.split_once('}'))
            {
                written.fields.push((field, String::new()));
                rest = after;
            } else {
                rest = from.get(1..).unwrap_or_default();
            }
        }
        written.push(rest);
        written
    }

    fn push(&mut self, text: &str) {
        match self.fields.last_mut() {
            Some((_, behind)) => behind.push_str(text),
            None => self.before.push_str(text),
        }
    }

    /// Text that everything must begin with for it to match, when it matches all that does.
    fn catch_all(&self) -> Option<&str> {
        match self.fields.as_slice() {
            [(field, behind)] if behind.is_empty() && is_open(field) => Some(&self.before),
            _ => None,
        }
    }
}

/// Whether a field takes any text.
fn is_open(field: &str) -> bool {
    matches!(field.split_once(':'), None | Some((_, "s" | "")))
        && !matches!(field, "unit" | "status")
}

fn errors(r: &mut Reader<'_>, instrument: &Instrument) {
    let Wire::Bytes(bytes) = &instrument.connection.wire else {
        if let Some(first) = instrument.errors.first() {
            r.push(unreachable(first, "no answer over this wire is compared with `errors`"));
        }
        return;
    };
    let mut swallowed: Vec<(String, Span)> = Vec::new();
    for error in &instrument.errors {
        let code = error.code.value.as_str();
        let written = Written::read(code);
        let is_pattern = code.contains('{');
        let why = never_in_frame(code, bytes, is_pattern);
        let shadow = swallowed.iter().find(|(before, _)| match is_pattern {
            true => written.before.starts_with(before.as_str()),
            // An exact text is looked up before the patterns, its beginning after them.
            false => code.strip_suffix('*').is_some_and(|begin| begin.starts_with(before.as_str())),
        });
        if let Some(why) = why {
            r.push(unreachable(error, why));
        } else if let Some((_, span)) = shadow {
            let why = "another entry matches all of these answers before";
            r.push(unreachable(error, why).also(*span, "matches them first"));
        }
        if let (true, Some(before)) = (is_pattern, written.catch_all()) {
            if before.trim().is_empty() {
                r.push(
                    Diagnostic::error(
                        codes::LOOSE_PATTERN,
                        error.code.span,
                        "begin the pattern with text that only an error has",
                    )
                    .label("every answer would be this error"),
                );
            }
            swallowed.push((before.to_owned(), error.code.span));
        }
    }
}

/// Why a text can never stand between the start and the end of a reply.
fn never_in_frame(code: &str, bytes: &Bytes, is_pattern: bool) -> Option<&'static str> {
    if code.trim() != code && !is_pattern {
        return Some("spaces around an answer are cut off before it is compared");
    }
    let plain = bytes.escape.is_none() && bytes.checksum.is_none();
    let shortest = Written::read(code.trim_end_matches('*'));
    let fixed: usize = shortest.before.chars().count()
        + shortest.fields.iter().map(|(_, behind)| behind.chars().count()).sum::<usize>();
    let most = match &bytes.reply.end {
        ReplyEnd::Text(ends) => {
            // An end that stands alone may be the answer itself, such as NAK.
            let alone = ends.len() > 1 && ends.iter().any(|end| end.value == code);
            let inside = |end: &Spanned<String>| {
                !end.value.trim().is_empty() && code.contains(end.value.as_str())
            };
            if plain && !alone && ends.iter().any(inside) {
                return Some("it holds the end of a reply");
            }
            bytes.reply.max_length.as_ref().map(|length| length.value)
        }
        ReplyEnd::Length(length) => Some(length.value),
        ReplyEnd::Lines { .. } | ReplyEnd::Size { .. } | ReplyEnd::Idle(_) => {
            bytes.reply.max_length.as_ref().map(|length| length.value)
        }
    };
    let too_long = most.is_some_and(|most| fixed > most as usize);
    too_long.then_some("it is longer than any reply may be")
}

fn unreachable(error: &ErrorCode, why: &str) -> Diagnostic {
    Diagnostic::error(
        codes::UNREACHABLE_ERROR,
        error.code.span,
        format!("remove or correct `{}`: no answer can be it", error.code.value.escape_debug()),
    )
    .label("never matches")
    .reason(why)
}

fn status_errors(r: &mut Reader<'_>, status: &Status) {
    for error in &status.codes {
        let code = error.code.value.as_str();
        let why = match status.field.value {
            StatusField::Byte => {
                let mask = status.error_mask.unwrap_or(0);
                let most = mask >> mask.trailing_zeros().min(7);
                let number = code.parse::<u8>().ok();
                (!number.is_some_and(|n| (1..=most).contains(&n)))
                    .then_some("`error_mask` cannot give this number")
            }
            StatusField::Letter | StatusField::Word => {
                let class = status.map.iter().find(|entry| entry.name.value == code);
                match class.map(|entry| entry.value.value) {
                    Some(StatusClass::Error | StatusClass::Alarm) => None,
                    Some(_) => Some("`map` says that this status is no error"),
                    None => Some("`map` does not know this status"),
                }
            }
        };
        if let Some(why) = why {
            r.push(unreachable(error, why));
        }
    }
    let has_alarm = status.map.iter().any(|entry| entry.value.value == StatusClass::Alarm);
    if let (Some(first), false) = (status.alarms.first(), has_alarm) {
        r.push(unreachable(first, "no status in `map` is an alarm"));
    }
    for alarm in &status.alarms {
        if matches!(alarm.class, ErrorClass::Retry | ErrorClass::Busy) {
            r.push(
                Diagnostic::error(
                    codes::RETRY_CLASS,
                    alarm.code.span,
                    "choose another class: operator, rebooted, reinit or fatal",
                )
                .label("says that the command may be sent again")
                .reason(
                    "an alarm stands in place of the answer, so nobody knows whether the command \
                     was carried out; sent again it would be carried out twice",
                ),
            );
        }
    }
}

/// Patterns that match more than they should.
fn patterns(r: &mut Reader<'_>, instrument: &Instrument, bytes: &Bytes) {
    let loose = |span, message: &str| Diagnostic::error(codes::LOOSE_PATTERN, span, message);
    let parses = parses(instrument);
    for unasked in &bytes.unsolicited {
        let written = Written::read(&unasked.pattern.value);
        let Some(before) = written.catch_all() else { continue };
        if before.trim().is_empty() {
            r.push(
                loose(unasked.pattern.span, "begin the pattern with text that only this has")
                    .label("every answer would be taken for it")
                    .reason("what comes unasked is looked for before the answer to a question"),
            );
        } else if let Some(parse) =
            parses.iter().find(|parse| Written::read(&parse.value).before.starts_with(before))
        {
            r.push(
                loose(unasked.pattern.span, "say more of this message than its beginning")
                    .label("also matches an answer")
                    .also(parse.span, "this answer would be lost")
                    .reason("what comes unasked is looked for before the answer to a question"),
            );
        }
    }
    for parse in parses {
        let written = Written::read(&parse.value);
        for pair in written.fields.windows(2) {
            let [(first, behind), (second, _)] = pair else { continue };
            if !behind.is_empty() || *second == "status" {
                continue;
            }
            if is_open(first) {
                r.push(
                    loose(
                        parse.span,
                        &format!("put text between `{{{first}}}` and `{{{second}}}`"),
                    )
                    .label("the first takes everything, the second nothing"),
                );
            } else if first.starts_with("value:") && is_number(first) && is_open(second) {
                let message = format!("say what follows `{{{first}}}` in the answer");
                r.push(
                    Diagnostic::warning(codes::LOOSE_PATTERN, parse.span, message)
                        .label("anything may follow the number")
                        .reason("a damaged answer such as `1.2#5` would pass for 1.2"),
                );
            }
        }
    }
}

fn is_number(field: &str) -> bool {
    let form = field.split_once(':').map_or("", |(_, form)| form);
    let form = form.split(['*', '/']).next().unwrap_or_default();
    matches!(form, "f" | "d" | "a")
}

/// All patterns of answers.
fn parses(instrument: &Instrument) -> Vec<&Spanned<String>> {
    let mut all = Vec::new();
    for property in &instrument.properties {
        if let Some(Ask::Send { parse: Some(parse), .. }) = &property.ask {
            all.push(parse);
        }
    }
    for operation in operations(instrument) {
        if let Operation::Send { parse, unless, verify, .. } = operation {
            all.extend(parse);
            all.extend(unless.iter().chain(verify).map(|question| &question.parse));
        }
    }
    all
}

/// All operations of a definition.
fn operations(instrument: &Instrument) -> impl Iterator<Item = &Operation> {
    let actions = instrument.actions.iter().flat_map(|a| a.operations.iter().chain(&a.on_cancel));
    let states = instrument.safe_state.iter().chain(&instrument.hold_state);
    let safe = states.flat_map(|state| &state.operations);
    let beat = instrument.heartbeat.iter().flat_map(|beat| beat.arm.iter().chain(&beat.disarm));
    instrument.identify.iter().chain(&instrument.on_connect).chain(actions).chain(safe).chain(beat)
}

/// Messages that hold their own end, and arguments that could change one.
fn messages(r: &mut Reader<'_>, instrument: &Instrument, bytes: &Bytes) {
    let end = bytes.send_end.value.as_str();
    let framed_by_end = bytes.escape.is_none()
        && bytes.checksum.is_none()
        && bytes.send_size.is_none()
        && !end.is_empty();
    for operation in operations(instrument) {
        let Operation::Send { texts, .. } = operation else { continue };
        for text in texts {
            let bare = bytes.send_bare.iter().any(|bare| bare.value == text.value);
            if framed_by_end && !bare && text.value.contains(end) {
                r.push(
                    Diagnostic::error(
                        codes::INJECTION,
                        text.span,
                        "make two messages of it: it holds the end of a message",
                    )
                    .label("the device would take the rest for another message")
                    .also(bytes.send_end.span, "the end"),
                );
            }
        }
    }
    for action in &instrument.actions {
        for operation in action.operations.iter().chain(&action.on_cancel) {
            let Operation::Send { texts, .. } = operation else { continue };
            for text in texts {
                fields(r, action, &instrument.config, text);
            }
        }
    }
}

/// Fields of one message of an action.
fn fields(r: &mut Reader<'_>, action: &Action, config: &[ValueSpec], text: &Spanned<String>) {
    for (field, _) in Written::read(&text.value).fields {
        let mut pieces = field.splitn(3, ':');
        let name = pieces.next().unwrap_or_default();
        let spec = match name.strip_prefix("config.") {
            Some(name) => config.iter().find(|spec| spec.name.value == name),
            None => action.args.iter().find(|spec| spec.name.value == name),
        };
        let has_format = match (pieces.next(), pieces.next()) {
            (None, _) => false,
            (Some(one), None) => is_format(one) || Unit::parse(one).is_err(),
            (Some(_), Some(_)) => true,
        };
        let Some(spec) = spec else { continue };
        match &spec.kind {
            ValueType::Text if !name.contains('.') => r.push(
                Diagnostic::warning(
                    codes::INJECTION,
                    text.span,
                    format!("make `{name}` a choice of the words the device knows"),
                )
                .label("a free text stands in this message")
                .also(spec.name.span, "any text")
                .reason(
                    "letters, digits and ` _-+./` get through; where the device splits messages \
                     at one of them, a text becomes another command",
                )
                .fix(format!("{name}: {{type: choice, options: [...]}}")),
            ),
            ValueType::Quantity { .. } | ValueType::Number if !has_format => r.push(
                Diagnostic::error(
                    codes::BARE_NUMBER,
                    text.span,
                    format!("give `{{{field}}}` a format, such as `.3f` or `4s`"),
                )
                .label("written with as many digits as it happens to have")
                .also(spec.name.span, "a number")
                .reason("0.1 + 0.2 is written 0.30000000000000004, and a small number as 1e-7"),
            ),
            _ => {}
        }
    }
}

/// Whether a piece of a field is a format rather than a unit.
fn is_format(piece: &str) -> bool {
    let piece = piece.strip_prefix('+').unwrap_or(piece);
    let factor = piece
        .find(['*', '/'])
        .filter(|at| piece.get(at + 1..).is_some_and(|rest| rest.parse::<f64>().is_ok()));
    let piece = factor.and_then(|at| piece.get(..at)).unwrap_or(piece);
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    match piece {
        "" => factor.is_some(),
        _ if piece.ends_with('d') => piece
            .trim_start_matches(['~', '?'])
            .trim_end_matches('d')
            .bytes()
            .all(|b| b.is_ascii_digit()),
        _ if piece.starts_with('.') => {
            piece.strip_prefix('.').and_then(|p| p.strip_suffix('f')).is_some_and(digits)
        }
        _ => match piece.split_once('s') {
            Some((before, after)) => !before.is_empty() && digits(before) && digits(after),
            None => false,
        },
    }
}
