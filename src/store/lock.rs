//! One engine per state folder: an exclusive file lock that dies with its process.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long an engine waits for those who only look.
const LOOKERS_WAIT: Duration = Duration::from_millis(500);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

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
        // Whoever only looks is gone in a moment; an engine stays.
        let until = Instant::now() + LOOKERS_WAIT;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < until => {
                    std::thread::sleep(LOOK_AGAIN);
                }
                Err(TryLockError::WouldBlock) => return Err(held(folder, &mut file)),
                Err(TryLockError::Error(source)) => return Err(fail(source)),
            }
        }
        file.set_len(0).map_err(fail)?;
        file.rewind().map_err(fail)?;
        writeln!(file, "{}", std::process::id()).map_err(fail)?;
        Ok(StateLock { _file: file })
    }

    /// Whether the folder is free. Takes nothing and leaves nothing behind, and does not take
    /// others that look for an engine.
    ///
    /// Errors: an engine has it, or it cannot be read.
    pub fn look(folder: &Path) -> Result<(), LockError> {
        let mut file = match File::open(folder.join("lock")) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(LockError::Io { folder: folder.to_owned(), source }),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(()),
            Err(TryLockError::WouldBlock) => Err(held(folder, &mut file)),
            Err(TryLockError::Error(source)) => {
                Err(LockError::Io { folder: folder.to_owned(), source })
            }
        }
    }
}

/// That another has the lock, and who.
fn held(folder: &Path, file: &mut File) -> LockError {
    let mut text = String::new();
    // Only for the message; a holder that cannot be read is still a holder.
    let _ = file.read_to_string(&mut text);
    let pid = text.trim();
    let holder = if pid.is_empty() { String::new() } else { format!(" (process {pid})") };
    LockError::Held { folder: folder.to_owned(), holder }
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
        assert!(matches!(StateLock::look(&folder), Err(LockError::Held { .. })));
        drop(first);
        StateLock::look(&folder).unwrap();
        StateLock::take(&folder).unwrap();
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn somebody_who_looks_keeps_no_engine_out() {
        let folder = std::env::temp_dir().join(format!("labloop-look-{}", std::process::id()));
        drop(StateLock::take(&folder).unwrap());
        let looker = File::open(folder.join("lock")).unwrap();
        looker.try_lock_shared().unwrap();
        StateLock::look(&folder).unwrap();
        let gone = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            drop(looker);
        });
        StateLock::take(&folder).unwrap();
        gone.join().unwrap();
        std::fs::remove_dir_all(folder).unwrap();
    }
}
