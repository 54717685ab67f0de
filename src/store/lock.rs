//! One engine per state folder: an exclusive file lock that dies with its process.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

/// Why the state folder cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another engine has it.
    #[error(
        "another labloop{holder} is using the state folder {folder}; end it first, or choose \
         another folder with --state",
        folder = folder.display()
    )]
    Held {
        /// Folder.
        folder: PathBuf,
        /// ` (process N)` if known.
        holder: String,
    },
    /// The folder cannot be made or written.
    #[error("the state folder {folder} cannot be used: {source}", folder = folder.display())]
    Io {
        /// Folder.
        folder: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
}

/// The lock; given back when dropped or when the process ends, however it ends.
#[derive(Debug)]
pub struct StateLock {
    _file: File,
}

impl StateLock {
    /// Makes the folder if needed and takes it.
    pub fn take(folder: &Path) -> Result<StateLock, LockError> {
        let fail = |source| LockError::Io { folder: folder.to_owned(), source };
        std::fs::create_dir_all(folder).map_err(fail)?;
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(folder.join("lock"))
            .map_err(fail)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                let mut text = String::new();
                // Only for the message; a holder that cannot be read is still a holder.
                let _ = file.read_to_string(&mut text);
                let pid = text.trim();
                let holder =
                    if pid.is_empty() { String::new() } else { format!(" (process {pid})") };
                return Err(LockError::Held { folder: folder.to_owned(), holder });
            }
            Err(std::fs::TryLockError::Error(source)) => return Err(fail(source)),
        }
        file.set_len(0).map_err(fail)?;
        file.rewind().map_err(fail)?;
        writeln!(file, "{}", std::process::id()).map_err(fail)?;
        Ok(StateLock { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_engine_is_refused_by_name_until_the_first_is_gone() {
        let folder = std::env::temp_dir().join(format!("labloop-lock-{}", std::process::id()));
        let first = StateLock::take(&folder).unwrap();
        let message = StateLock::take(&folder).unwrap_err().to_string();
        assert!(message.contains(&format!("process {}", std::process::id())), "{message}");
        drop(first);
        StateLock::take(&folder).unwrap();
        std::fs::remove_dir_all(folder).unwrap();
    }
}
