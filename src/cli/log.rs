//! The log of a service: one event is one line, and the disk it takes is bounded.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::filter::LevelFilter;

/// A log file is put aside when it has this size, in bytes.
const SIZE_MAX: u64 = 8 << 20;
/// Log files kept beside the current one.
const KEPT: u32 = 4;
/// Longest line, in bytes; the rest is cut. Instruments can say anything.
const LINE_MAX: usize = 16 << 10;
/// Folder in the state folder.
const FOLDER: &str = "log";
/// Current file in it.
const NAME: &str = "labloop.log";

/// Where lines go.
#[derive(Debug, Clone)]
pub(super) struct Log(Arc<Sink>);

#[derive(Debug)]
enum Sink {
    /// To whoever reads stderr: a terminal, or the journal of the system.
    Stderr,
    /// To files.
    Files(Mutex<Files>),
}

#[derive(Debug)]
struct Files {
    folder: PathBuf,
    size_max: u64,
    file: Option<File>,
    size: u64,
    /// Lines that could not be written.
    lost: u64,
}

/// Begins to log: to stderr where systemd reads it, to files of the state folder otherwise. Returns
/// the log, and where it is.
pub(super) fn begin(state: &Path, level: LevelFilter) -> io::Result<(Log, Option<PathBuf>)> {
    // systemd names the stream it reads.
    let sink = match std::env::var_os("JOURNAL_STREAM") {
        Some(_) => Sink::Stderr,
        None => Sink::Files(Mutex::new(Files::open(&state.join(FOLDER), SIZE_MAX)?)),
    };
    let place = matches!(sink, Sink::Files(_)).then(|| state.join(FOLDER).join(NAME));
    let log = Log(Arc::new(sink));
    let writer = log.clone();
    let made = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(false)
        .with_target(false)
        .with_writer(move || writer.clone())
        .try_init();
    made.map_err(io::Error::other)?;
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        tracing::error!(thread = thread.name().unwrap_or("?"), "panic: {panic}");
    }));
    Ok((log, place))
}

impl Log {
    /// Goes on in a new file of the same name: somebody has put the old one away.
    pub(super) fn reopen(&self) {
        if let Sink::Files(files) = &*self.0 {
            let mut files = files.lock().unwrap_or_else(PoisonError::into_inner);
            files.file = None;
        }
    }
}

/// One event: the formatter writes each with one call.
impl Write for Log {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let line = one_line(&String::from_utf8_lossy(event));
        match &*self.0 {
            Sink::Stderr => io::stderr().lock().write_all(line.as_bytes())?,
            Sink::Files(files) => {
                files.lock().unwrap_or_else(PoisonError::into_inner).line(&line);
            }
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An event as one line: whatever it holds, it neither begins another one nor commands a terminal.
fn one_line(event: &str) -> String {
    let event = event.strip_suffix('\n').unwrap_or(event);
    let mut line = String::with_capacity(event.len() + 1);
    for letter in event.chars() {
        if line.len() >= LINE_MAX {
            line.push('…');
            break;
        }
        match letter {
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            // Line separators, and what turns the direction of a text.
            '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                line.extend(letter.escape_unicode());
            }
            control if control.is_control() => line.extend(control.escape_unicode()),
            letter => line.push(letter),
        }
    }
    line.push('\n');
    line
}

impl Files {
    fn open(folder: &Path, size_max: u64) -> io::Result<Files> {
        std::fs::create_dir_all(folder)?;
        let mut files = Files { folder: folder.to_owned(), size_max, file: None, size: 0, lost: 0 };
        files.begin()?;
        Ok(files)
    }

    fn begin(&mut self) -> io::Result<()> {
        let path = self.folder.join(NAME);
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        self.size = file.metadata()?.len();
        self.file = Some(file);
        Ok(())
    }

    /// Writes a line; a log that cannot be written holds nobody up.
    fn line(&mut self, line: &str) {
        if self.write(line).is_err() {
            self.file = None;
            self.lost += 1;
        }
    }

    fn write(&mut self, line: &str) -> io::Result<()> {
        if self.file.is_none() {
            self.begin()?;
        }
        if self.size > 0 && self.size + line.len() as u64 > self.size_max {
            self.put_aside()?;
        }
        let Some(file) = self.file.as_mut() else { return Ok(()) };
        if self.lost > 0 {
            let lost = std::mem::take(&mut self.lost);
            file.write_all(format!("{lost} lines of the log were lost\n").as_bytes())?;
        }
        file.write_all(line.as_bytes())?;
        self.size += line.len() as u64;
        Ok(())
    }

    fn put_aside(&mut self) -> io::Result<()> {
        let name = |n: u32| match n {
            0 => self.folder.join(NAME),
            n => self.folder.join(format!("{NAME}.{n}")),
        };
        for n in (0..KEPT).rev() {
            match std::fs::rename(name(n), name(n + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.file = None;
        self.begin()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn row_69_one_event_is_one_line_whatever_it_holds(event in any::<String>()) {
            let line = one_line(&event);
            let inner = line.strip_suffix('\n').unwrap();
            prop_assert!(!inner.chars().any(char::is_control), "{inner:?}");
            let turning = ['\u{2028}', '\u{2029}', '\u{202e}', '\u{2066}'];
            prop_assert!(!inner.contains(turning));
            prop_assert!(inner.len() <= LINE_MAX + 16);
        }
    }

    #[test]
    fn events_with_line_breaks_reach_the_file_as_one_line_each() {
        let folder = std::env::temp_dir().join(format!("labloop-log-{}", std::process::id()));
        let sink = Sink::Files(Mutex::new(Files::open(&folder, SIZE_MAX).unwrap()));
        let log = Log(Arc::new(sink));
        let writer = log.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            let sample = "a\nERROR forged: all is well\r\u{1b}[2J";
            tracing::warn!(sample, "said {sample}");
            tracing::info!("second");
        });
        let text = std::fs::read_to_string(folder.join(NAME)).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_disk_that_a_log_takes_is_bounded() {
        let folder = std::env::temp_dir().join(format!("labloop-logs-{}", std::process::id()));
        let mut files = Files::open(&folder, 1_000).unwrap();
        for n in 0..1_000 {
            files.line(&format!("line {n} of the log\n"));
        }
        let names: Vec<_> = std::fs::read_dir(&folder).unwrap().flatten().collect();
        assert_eq!(names.len(), KEPT as usize + 1);
        for file in names {
            assert!(file.metadata().unwrap().len() <= 1_000, "{file:?}");
        }
        let last = std::fs::read_to_string(folder.join(NAME)).unwrap();
        assert!(last.ends_with("line 999 of the log\n"), "{last}");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
