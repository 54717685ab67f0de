//! Tells the service manager how it goes: systemd's notification protocol, datagrams to the socket
//! named in the environment (sd_notify(3)).

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Longest line of a status; what is longer is cut.
const STATUS_MAX: usize = 400;

/// The service manager, if there is one.
#[derive(Debug)]
pub(super) struct Manager {
    to: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Manager {
    /// The manager named in the environment.
    pub(super) fn of_environment() -> Manager {
        let address = std::env::var_os("NOTIFY_SOCKET").and_then(|name| {
            let bytes = name.as_bytes();
            match bytes.split_first() {
                Some((b'@', name)) => SocketAddr::from_abstract_name(name).ok(),
                Some((b'/', _)) => SocketAddr::from_pathname(&name).ok(),
                _ => None,
            }
        });
        let to = address.and_then(|address| Some((UnixDatagram::unbound().ok()?, address)));
        let variable = |name: &str| std::env::var(name).ok();
        // Meant for another process if it names one.
        let mine = variable("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().to_string());
        let watchdog = variable("WATCHDOG_USEC")
            .filter(|_| mine)
            .and_then(|text| text.parse().ok())
            .filter(|micros| *micros > 0)
            .map(Duration::from_micros);
        Manager { to, watchdog }
    }

    /// It kills a process that has not shown life for so long.
    pub(super) fn watchdog(&self) -> Option<Duration> {
        self.watchdog.filter(|_| self.to.is_some())
    }

    /// The work has begun.
    pub(super) fn ready(&self) {
        self.tell("READY=1");
    }

    /// The work goes on: only to be told where it was seen to.
    pub(super) fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    /// The work ends.
    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// A line for people.
    pub(super) fn status(&self, line: &str) {
        let line = line.replace(['\n', '\r'], " ");
        self.tell(&format!("STATUS={}", line.chars().take(STATUS_MAX).collect::<String>()));
    }

    fn tell(&self, what: &str) {
        let Some((socket, address)) = &self.to else { return };
        if let Err(error) = socket.send_to_addr(what.as_bytes(), address) {
            tracing::debug!(%error, what, "the service manager was not told");
        }
    }
}
