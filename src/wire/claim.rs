//! One owner per line on this machine.
//!
//! Two engines with two state folders know nothing of each other; the line they both want does. Each
//! real line has a file in a folder of this machine, and whoever drives the line holds a lock on it,
//! which ends with its process however that ends. What is written in the file only names the holder.
//!
//! What this does not reach: another machine, another container with a folder of its own, and one
//! instrument under two names (a host name and its number).

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::address::{Address, Endpoint};

/// Folders for the files, the first that can be used: of the machine, of the session, and any.
const FOLDERS: [&str; 2] = ["/run/lock", "/var/lock"];

/// Longest text about a holder that is read.
const LONGEST_HOLDER: u64 = 4_096;

/// The lock on a line; given back when dropped.
#[derive(Debug)]
pub struct LineLock {
    _file: File,
}

/// Why a line cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// Somebody else drives it.
    #[error(
        "its line {line} is driven by {holder}; one line has one driver: end that one, or give \
         the command through it"
    )]
    Held {
        /// Line.
        line: String,
        /// Process and state folder.
        holder: String,
    },
    /// The lock cannot be made.
    #[error("whether somebody else drives its line {line} cannot be found out: {path}: {source}",
            path = path.display())]
    Io {
        /// Line.
        line: String,
        /// File.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
}

/// What one driver at a time may hold: a port, a socket, or the topics of one instrument. `None`:
/// there is nothing.
pub fn line_key(at: &Address) -> Option<String> {
    let tcp = |host: &str, port: u16| {
        let host = host.to_ascii_lowercase();
        let host = if host == "localhost" { "127.0.0.1".to_owned() } else { host };
        format!("tcp {host}:{port}")
    };
    match &at.endpoint {
        Endpoint::Serial { path } | Endpoint::ModbusRtu { path, .. } => {
            // The same port has many names; one that is not plugged in has only the one given.
            let real = std::fs::canonicalize(path).unwrap_or_else(|_| PathBuf::from(path));
            Some(format!("serial {}", real.display()))
        }
        Endpoint::Tcp { host, port }
        | Endpoint::ModbusTcp { host, port, .. }
        | Endpoint::ModbusRtuTcp { host, port, .. } => Some(tcp(host, *port)),
        Endpoint::Mqtt { host, port, base, .. } => {
            Some(format!("mqtt {} {base}", tcp(host, *port)))
        }
        Endpoint::Null { .. } => None,
    }
}

/// A short name for a key, the same on every machine.
pub fn key_hash(key: &str) -> String {
    let hash = Sha256::digest(key.as_bytes());
    hash.iter().take(7).map(|byte| format!("{byte:02x}")).collect()
}

/// Takes a line. `holder` is told to whoever comes later: the state folder, say.
pub fn claim(at: &Address, holder: &str) -> Result<Option<LineLock>, ClaimError> {
    let Some(key) = line_key(at) else { return Ok(None) };
    claim_in(&folder(), &key, &at.line(), holder).map(Some)
}

fn folder() -> PathBuf {
    let usable = |path: &Path| {
        rustix::fs::access(path, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).is_ok()
    };
    let shared = FOLDERS.iter().map(PathBuf::from).find(|path| usable(path));
    let own = || std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| usable(path));
    shared.unwrap_or_else(|| {
        let instead = own().unwrap_or_else(std::env::temp_dir);
        let folder = instead.display();
        tracing::warn!(%folder, "{} cannot be written: locks of lines are seen only by programs that \
            use this folder instead", FOLDERS.join(" nor "));
        instead
    })
}

fn claim_in(folder: &Path, key: &str, line: &str, holder: &str) -> Result<LineLock, ClaimError> {
    let path = folder.join(format!("labloop-line-{}", key_hash(key)));
    let fail = |source| ClaimError::Io { line: line.to_owned(), path: path.clone(), source };
    let mut file = open(&path).map_err(fail)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            // Only for the message; a holder that cannot be read is still a holder.
            let _ = (&mut file).take(LONGEST_HOLDER).read_to_string(&mut text);
            let text = super::printable::printable(text.trim().as_bytes());
            let holder = if text.is_empty() { "somebody else".to_owned() } else { text };
            return Err(ClaimError::Held { line: line.to_owned(), holder });
        }
        Err(TryLockError::Error(source)) => return Err(fail(source)),
    }
    // A file of another user may be locked though not written: then it names nobody.
    let _ = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "process {} ({holder}), line {line}", std::process::id()));
    Ok(LineLock { _file: file })
}

/// Opens the file, or makes it, for every user of the machine; never through a link that somebody
/// else has put there.
fn open(path: &Path) -> io::Result<File> {
    let flags = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let existing =
        |write: bool| OpenOptions::new().read(true).write(write).custom_flags(flags).open(path);
    match existing(true) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return existing(false),
        other => return other,
    }
    let made =
        OpenOptions::new().read(true).write(true).create_new(true).custom_flags(flags).open(path);
    match made {
        Ok(file) => {
            file.set_permissions(Permissions::from_mode(0o666))?;
            Ok(file)
        }
        // Somebody was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            existing(true).or_else(|_| existing(false))
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_one_driver_and_the_second_is_told_who() {
        let folder = std::env::temp_dir().join(format!("labloop-claims-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let take = |holder: &str| claim_in(&folder, "tcp h:1", "tcp://h:1", holder);
        let first = take("state folder /var/lib/a").unwrap();
        let told = take("b").unwrap_err().to_string();
        let pid = format!("process {} (state folder /var/lib/a)", std::process::id());
        assert!(told.contains(&pid) && told.contains("tcp://h:1"), "{told}");
        claim_in(&folder, "tcp h:2", "tcp://h:2", "b").unwrap();
        drop(first);
        take("b").unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_link_that_somebody_put_there_is_not_followed() {
        let folder = std::env::temp_dir().join(format!("labloop-links-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let target = folder.join("precious");
        std::fs::write(&target, "kept").unwrap();
        let link = folder.join(format!("labloop-line-{}", key_hash("k")));
        std::os::unix::fs::symlink(&target, link).unwrap();
        assert!(matches!(claim_in(&folder, "k", "l", "b"), Err(ClaimError::Io { .. })));
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "kept");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn names_of_one_line_are_one_key() {
        let key = |text: &str| line_key(&Address::parse(text).unwrap()).unwrap();
        assert_eq!(key("modbus+tcp://H:502?unit=1"), key("tcp://h:502"));
        assert_eq!(key("tcp://localhost:1"), key("tcp://127.0.0.1:1"));
        assert_ne!(key("mqtt://b/x"), key("mqtt://b/y"));
        assert_eq!(key("mqtt://me@b/x"), key("mqtt://b:1883/x/"));
        assert_eq!(key_hash("a").len(), 14);
    }
}
