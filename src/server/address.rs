//! Where the control socket is. The address of a Unix socket has room for 107 bytes; a state folder
//! may be deeper than that, and is then named by an open file of it.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use super::SOCKET;

/// Longest address of a Unix socket, in bytes.
const ADDRESS_MAX: usize = 107;
/// Folder that nobody else can enter, in which the socket is made before it gets its name.
const MAKING: &str = "control.new";

/// A name of a file that is short enough, for as long as this lives.
struct Short {
    path: PathBuf,
    _folder: Option<File>,
}

impl Short {
    fn of(folder: &Path, name: &str) -> io::Result<Short> {
        let path = folder.join(name);
        if path.as_os_str().as_bytes().len() <= ADDRESS_MAX {
            return Ok(Short { path, _folder: None });
        }
        if !cfg!(target_os = "linux") {
            let message = format!("its path is longer than {ADDRESS_MAX} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let open = File::open(folder)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}/{name}", open.as_raw_fd()));
        Ok(Short { path, _folder: Some(open) })
    }
}

/// A socket of our own: its file, and which file that is.
#[derive(Debug)]
pub(super) struct Bound {
    file: PathBuf,
    device: u64,
    inode: u64,
    /// Who made it.
    pub(super) user: u32,
}

/// Listens at the control socket of a state folder. What a dead engine left there is replaced: the
/// caller holds the lock of the folder. Only this user can connect, at no moment anybody else.
pub(super) fn bind(state: &Path) -> io::Result<(UnixListener, Bound)> {
    let making = state.join(MAKING);
    match std::fs::remove_dir_all(&making) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::fs::DirBuilder::new().mode(0o700).create(&making)?;
    let listener = UnixListener::bind(&Short::of(&making, SOCKET)?.path)?;
    let made = making.join(SOCKET);
    std::fs::set_permissions(&made, std::fs::Permissions::from_mode(0o600))?;
    let is = std::fs::metadata(&made)?;
    let file = state.join(SOCKET);
    std::fs::rename(&made, &file)?;
    std::fs::remove_dir(&making)?;
    Ok((listener, Bound { file, device: is.dev(), inode: is.ino(), user: is.uid() }))
}

/// Connects to the control socket of a state folder.
pub(super) fn connect(state: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(&Short::of(state, SOCKET)?.path)
}

impl Drop for Bound {
    fn drop(&mut self) {
        let ours = std::fs::symlink_metadata(&self.file)
            .is_ok_and(|is| is.dev() == self.device && is.ino() == self.inode);
        if ours {
            let _ = std::fs::remove_file(&self.file);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let name = format!("labloop-address-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_socket_that_a_dead_engine_left_is_replaced_and_a_foreign_one_is_not_removed() {
        let folder = folder("stale");
        let (first, bound) = bind(&folder).unwrap();
        drop(first);
        std::mem::forget(bound);
        assert_eq!(connect(&folder).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        let (_second, second) = bind(&folder).unwrap();
        connect(&folder).unwrap();
        let mode = std::fs::metadata(folder.join(SOCKET)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let (_third, third) = bind(&folder).unwrap();
        drop(second);
        connect(&folder).unwrap();
        drop(third);
        assert!(!folder.join(SOCKET).exists());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_state_folder_may_be_deeper_than_an_address_is_long() {
        let top = folder("deep");
        let deep = top.join("a".repeat(120)).join("b".repeat(120));
        std::fs::create_dir_all(&deep).unwrap();
        let (_listener, bound) = bind(&deep).unwrap();
        connect(&deep).unwrap();
        drop(bound);
        assert_eq!(std::fs::read_dir(&deep).unwrap().count(), 0, "nothing is left");
        std::fs::remove_dir_all(top).unwrap();
    }
}
