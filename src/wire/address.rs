//! Where an instrument is: the `at:` of a lab file.
//!
//! ```text
//! serial:/dev/serial/by-id/pump-1
//! tcp://192.168.4.20:10001
//! modbus+tcp://192.168.4.11:502?unit=1
//! modbus+serial:/dev/ttyUSB0?unit=2
//! modbus+rtu+tcp://192.168.4.21:4001?unit=2
//! mqtt://user@broker.lab:1883/sdl-demo/picow/7
//! ```

use std::fmt;

/// A checked address. Instruments with equal [`Address::line`] share one line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// As written in the lab file.
    pub text: String,
    /// What stands there.
    pub endpoint: Endpoint,
}

/// The parts of an address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Endpoint {
    /// A serial port; several instruments may share it.
    Serial {
        /// Device path.
        path: String,
    },
    /// A plain TCP connection.
    Tcp {
        /// Name or number of the host.
        host: String,
        /// Port.
        port: u16,
    },
    /// Modbus over TCP.
    ModbusTcp {
        /// Name or number of the host.
        host: String,
        /// Port, 502 unless written.
        port: u16,
        /// Unit identifier, 1 unless written.
        unit: u8,
    },
    /// Modbus RTU on a serial port.
    ModbusRtu {
        /// Device path.
        path: String,
        /// Slave address 1 to 247.
        unit: u8,
    },
    /// Modbus RTU through a serial server: RTU frames in a TCP connection.
    ModbusRtuTcp {
        /// Name or number of the host.
        host: String,
        /// Port; serial servers have no usual one.
        port: u16,
        /// Slave address 1 to 247.
        unit: u8,
    },
    /// Topics below a base on an MQTT broker.
    Mqtt {
        /// Name or number of the host.
        host: String,
        /// Port, 1883 (8883 with TLS) unless written.
        port: u16,
        /// First levels of all topics of the instrument, without slashes at the ends.
        base: String,
        /// User name for the broker.
        user: Option<String>,
        /// `mqtts://`.
        tls: bool,
    },
    /// Nothing: every action is done at once. For measuring what labloop itself costs.
    Null {
        /// Tells one from another.
        name: String,
    },
}

/// Why a text is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an address: {reason}; write {try_}")]
pub struct AddressError {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
    /// A form that would be right.
    pub try_: String,
}

const FORMS: &str = "`serial:/dev/...`, `tcp://host:port`, `modbus+tcp://host:502?unit=1`, \
                     `modbus+serial:/dev/...?unit=1`, `modbus+rtu+tcp://host:port?unit=1` or \
                     `mqtt://host:1883/base`";

impl Address {
    /// Reads an address.
    pub fn parse(text: &str) -> Result<Address, AddressError> {
        let fail = |reason: &str, try_: &str| AddressError {
            text: text.to_owned(),
            reason: reason.to_owned(),
            try_: try_.to_owned(),
        };
        let (scheme, rest) = text.split_once(':').ok_or_else(|| fail("it has no scheme", FORMS))?;
        let endpoint = match scheme {
            "serial" => {
                let try_ = "`serial:/dev/serial/by-id/...`";
                let path = device_path(rest).map_err(|reason| fail(reason, try_))?;
                Endpoint::Serial { path }
            }
            "modbus+serial" => {
                let try_ = "`modbus+serial:/dev/serial/by-id/...?unit=1`";
                let (rest, unit) = unit_of(rest, 1..=247).map_err(|reason| fail(reason, try_))?;
                let path = device_path(rest).map_err(|reason| fail(reason, try_))?;
                Endpoint::ModbusRtu { path, unit }
            }
            "tcp" => {
                let try_ = "`tcp://host:port`";
                let rest = rest.strip_prefix("//").ok_or_else(|| fail("`//` is missing", try_))?;
                let (host, port) = host_port(rest, None).map_err(|reason| fail(reason, try_))?;
                Endpoint::Tcp { host, port }
            }
            "modbus+tcp" => {
                let try_ = "`modbus+tcp://host:502?unit=1`";
                let rest = rest.strip_prefix("//").ok_or_else(|| fail("`//` is missing", try_))?;
                let (rest, unit) = unit_of(rest, 0..=255).map_err(|reason| fail(reason, try_))?;
                let (host, port) =
                    host_port(rest, Some(502)).map_err(|reason| fail(reason, try_))?;
                Endpoint::ModbusTcp { host, port, unit }
            }
            "modbus+rtu+tcp" => {
                let try_ = "`modbus+rtu+tcp://host:port?unit=1`";
                let rest = rest.strip_prefix("//").ok_or_else(|| fail("`//` is missing", try_))?;
                let (rest, unit) = unit_of(rest, 1..=247).map_err(|reason| fail(reason, try_))?;
                let (host, port) = host_port(rest, None).map_err(|reason| fail(reason, try_))?;
                Endpoint::ModbusRtuTcp { host, port, unit }
            }
            "mqtt" | "mqtts" => {
                let tls = scheme == "mqtts";
                let try_ = "`mqtt://host:1883/base/topic`";
                let rest = rest.strip_prefix("//").ok_or_else(|| fail("`//` is missing", try_))?;
                let (authority, base) = rest.split_once('/').unwrap_or((rest, ""));
                let base = base.trim_matches('/');
                if base.contains(['+', '#', '\0']) {
                    return Err(fail("a base topic has no `+`, `#` or NUL", try_));
                }
                let (user, authority) = match authority.split_once('@') {
                    Some((user, host)) if !user.is_empty() && !user.contains(':') => {
                        (Some(user.to_owned()), host)
                    }
                    Some(_) => {
                        return Err(fail("a password does not belong here, use `secret:`", try_));
                    }
                    None => (None, authority),
                };
                let usual = if tls { 8883 } else { 1883 };
                let (host, port) =
                    host_port(authority, Some(usual)).map_err(|reason| fail(reason, try_))?;
                Endpoint::Mqtt { host, port, base: base.to_owned(), user, tls }
            }
            "null" => Endpoint::Null { name: rest.to_owned() },
            other => return Err(fail(&format!("`{other}:` is no scheme"), FORMS)),
        };
        Ok(Address { text: text.to_owned(), endpoint })
    }

    /// What is shared by all that hang on the same line: the port, without unit or topic.
    pub fn line(&self) -> String {
        match &self.endpoint {
            Endpoint::Serial { path } => format!("serial:{path}"),
            Endpoint::ModbusRtu { path, .. } => format!("modbus+serial:{path}"),
            Endpoint::Tcp { host, port } => format!("tcp://{host}:{port}"),
            Endpoint::ModbusTcp { host, port, .. } => format!("modbus+tcp://{host}:{port}"),
            Endpoint::ModbusRtuTcp { host, port, .. } => {
                format!("modbus+rtu+tcp://{host}:{port}")
            }
            Endpoint::Mqtt { host, port, tls, .. } => {
                format!("mqtt{}://{host}:{port}", if *tls { "s" } else { "" })
            }
            Endpoint::Null { name } => format!("null:{name}"),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn device_path(text: &str) -> Result<String, &'static str> {
    if !text.starts_with('/') || text.len() < 2 {
        return Err("the path of a port starts with `/`");
    }
    if text.contains(|c: char| c.is_control() || c == '?') {
        return Err("the path of a port has no such characters");
    }
    Ok(text.to_owned())
}

fn host_port(text: &str, usual: Option<u16>) -> Result<(String, u16), &'static str> {
    let text = text.trim_end_matches('/');
    // An IPv6 address stands in brackets, so the last colon after them starts the port.
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if bracketed.is_none() && host.contains([':', '[', ']']) {
        return Err("an IPv6 address stands in brackets");
    }
    let host = bracketed.unwrap_or(host);
    if host.is_empty() || host.contains(|c: char| c.is_whitespace() || "/?#@".contains(c)) {
        return Err("the host is missing or has characters no host has");
    }
    let port = match port {
        Some(port) => port.parse::<u16>().map_err(|_| "the port is a number from 1 to 65535")?,
        None => usual.ok_or("the port is missing")?,
    };
    if port == 0 {
        return Err("the port is a number from 1 to 65535");
    }
    Ok((host.to_owned(), port))
}

fn unit_of(text: &str, allowed: std::ops::RangeInclusive<u8>) -> Result<(&str, u8), &'static str> {
    let Some((rest, query)) = text.split_once('?') else { return Ok((text, 1)) };
    let unit = query.strip_prefix("unit=").ok_or("after `?` only `unit=` is understood")?;
    let unit = unit.parse::<u8>().map_err(|_| "the unit is a number from 0 to 255")?;
    if allowed.contains(&unit) {
        Ok((rest, unit))
    } else {
        Err("on a serial line the unit is a number from 1 to 247")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instruments_on_one_port_share_a_line() {
        let line = |text: &str| Address::parse(text).unwrap().line();
        assert_eq!(line("modbus+tcp://h:502?unit=1"), line("modbus+tcp://h?unit=9"));
        assert_eq!(line("modbus+rtu+tcp://h:4001?unit=1"), line("modbus+rtu+tcp://h:4001?unit=9"));
        assert_ne!(line("modbus+rtu+tcp://h:4001"), line("modbus+tcp://h:4001"));
        assert_eq!(line("serial:/dev/ttyUSB0"), "serial:/dev/ttyUSB0");
        assert_eq!(line("mqtt://me@b/x/y"), line("mqtt://b:1883/z"));
        assert_ne!(line("tcp://h:1"), line("tcp://h:2"));
        assert_eq!(line("tcp://[::1]:7"), "tcp://::1:7");
    }

    #[test]
    fn a_wrong_address_says_what_to_write() {
        for text in [
            "",
            "COM3",
            "serial:ttyUSB0",
            "serial:",
            "tcp:h:1",
            "tcp://h",
            "tcp://h:0",
            "tcp://h:70000",
            "modbus+tcp://h?u=1",
            "modbus+serial:/dev/x?unit=0",
            "modbus+rtu+tcp://h?unit=1",
            "modbus+rtu+tcp://h:4001?unit=0",
            "modbus+rtu+tcp:h:4001",
            "mqtt://",
            "mqtt://a:b@h/x",
            "mqtt://h/+/x",
            "http://h",
            "mqtt://h:1883:9",
        ] {
            let error = Address::parse(text).unwrap_err().to_string();
            assert!(error.contains("write `"), "{text}: {error}");
        }
    }

    #[test]
    fn the_parts_of_an_mqtt_address_are_read() {
        let address = Address::parse("mqtts://me@broker.lab/sdl-demo/picow/7/").unwrap();
        let Endpoint::Mqtt { host, port, base, user, tls } = address.endpoint else { panic!() };
        assert_eq!((host.as_str(), port, tls), ("broker.lab", 8883, true));
        assert_eq!((base.as_str(), user.as_deref()), ("sdl-demo/picow/7", Some("me")));
    }
}
