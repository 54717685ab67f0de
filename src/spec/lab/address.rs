//! Addresses of instruments, as far as their text shows.

use crate::spec::codes;
use crate::spec::diagnostic::Diagnostic;
use crate::spec::reader::{Item, Reader};
use crate::spec::source::Spanned;

use super::SCHEMES;

pub(super) fn address(r: &mut Reader<'_>, item: Item<'_>) -> Option<Spanned<String>> {
    let text = r.text(item)?;
    if has_password(&text.value) {
        r.push(
            Diagnostic::error(
                codes::SECRET,
                text.span,
                "take the password out of the address: name its place under `secret`",
            )
            .label("a password between the user and the @")
            .reason("lab files are shared and kept; a password in them is public")
            .fix("secret: env:MQTT_PASSWORD"),
        );
        return None;
    }
    let scheme = SCHEMES.iter().find(|scheme| text.value.starts_with(**scheme));
    let rest = scheme.and_then(|scheme| text.value.strip_prefix(*scheme)).unwrap_or("");
    let problem = match scheme {
        None => Some("no scheme that labloop knows"),
        Some(&"null:") => None,
        Some(_) if rest.is_empty() || rest.starts_with(['?', ':']) => {
            Some("nothing after the scheme")
        }
        Some(_) if text.value.contains(char::is_whitespace) => Some("a space inside"),
        Some(scheme) if scheme.ends_with("//") => bad_host(rest).or_else(|| bad_unit(scheme, rest)),
        Some(scheme) => bad_unit(scheme, rest),
    };
    let Some(problem) = problem else { return Some(text) };
    // The form of the scheme that was meant; without one, that of what was written.
    let form = match scheme.copied() {
        Some("modbus+tcp://") => "modbus+tcp://192.168.4.11:502?unit=1",
        Some("modbus+serial:") => "modbus+serial:/dev/ttyUSB0?unit=1",
        Some("modbus+rtu+tcp://") => "modbus+rtu+tcp://192.168.4.11:4001?unit=1",
        Some("tcp://") => "tcp://192.168.4.11:10001",
        Some("mqtt://" | "mqtts://") => "mqtt://broker.lab:1883/base",
        _ => "serial:/dev/ttyUSB0",
    };
    let (message, fix) = if scheme.is_some() {
        (format!("write the address as `{form}`"), format!("at: \"{form}\""))
    } else {
        let what = "write the address with its scheme, such as serial:/dev/... or \
                    modbus+tcp://host:502?unit=1";
        let fix = if text.value.starts_with("/dev/") {
            format!("at: \"serial:{}\"", text.value)
        } else if text.value.parse::<std::net::IpAddr>().is_ok() {
            format!("at: \"modbus+tcp://{}:502?unit=1\"", text.value)
        } else {
            format!("at: \"{form}\"")
        };
        (what.to_owned(), fix)
    };
    r.push(
        Diagnostic::error(codes::BAD_ADDRESS, text.span, message)
            .label(problem)
            .reason(format!("the schemes are: {}", SCHEMES.join(" ")))
            .fix(fix),
    );
    None
}

/// Whether there is one, as in `mqtt://user:password@host`.
fn has_password(address: &str) -> bool {
    let place = address.split_once("://").map_or("", |(_, rest)| rest);
    // A password may hold anything: what counts is the last @ before the path, or any in it.
    let user = place.rsplit_once('@').map_or("", |(user, _)| user);
    user.split('/').next().is_some_and(|user| user.contains(':'))
}

fn bad_host(rest: &str) -> Option<&'static str> {
    let host = rest.split(['/', '?']).next().unwrap_or("");
    let (host, port) = match host.rsplit_once(':') {
        // The colons of an IPv6 address stand inside brackets.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (host, None),
    };
    if host.is_empty() {
        return Some("no host");
    }
    let bad_port = port.is_some_and(|port| !port.parse::<u16>().is_ok_and(|port| port > 0));
    bad_port.then_some("the port is no number from 1 to 65535")
}

/// What is wrong behind the place of a Modbus device.
fn bad_unit(scheme: &str, rest: &str) -> Option<&'static str> {
    if !scheme.starts_with("modbus") {
        return None;
    }
    let (place, query) = rest.split_once('?').map_or((rest, None), |(p, q)| (p, Some(q)));
    // Serial servers have no usual port.
    if scheme == "modbus+rtu+tcp://" && !place.rsplit(']').next().unwrap_or("").contains(':') {
        return Some("the port is missing");
    }
    let Some(unit) = query?.strip_prefix("unit=") else {
        return Some("after `?` only `unit=` is understood");
    };
    match (unit.parse::<u8>(), scheme) {
        (Ok(_), "modbus+tcp://") | (Ok(1..=247), _) => None,
        (_, "modbus+tcp://") => Some("the unit is no number from 0 to 255"),
        _ => Some("the unit is no number from 1 to 247"),
    }
}
