//! Analyses that are programs: one process each, in a private folder, with bounds on its time,
//! memory and output.
//!
//! Blocking, on a thread of its own: a virtual clock stands still while such a thread works, and
//! the deadline counts real time, which is what computing takes.
//!
//! ```text
//! inputs -> stdin   (JSON, large arrays as files in the folder)
//! stdout -> results (JSON, at most OUTPUT_MAX)      stderr -> trace (the last ERRORS_MAX)
//! ```

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::analysis::{self, Inputs};
use crate::compiler::graph::{FailureKind, Process};
use crate::engine::core::Failure;
use crate::expr::Value;

/// Most bytes of an answer.
const OUTPUT_MAX: usize = 8 << 20;
/// What is kept of the standard error: its end, where programs say why they failed.
const ERRORS_MAX: usize = 16 << 10;
/// Longest line of the standard error in the message of a failure.
const LINE_MAX: usize = 500;
/// Largest file a program may write, in blocks of 512 bytes.
const FILE_BLOCKS_MAX: u32 = 2 << 20;
/// How often a process is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long the outputs of a process that has ended may stay open.
const DRAIN: Duration = Duration::from_secs(2);
/// What a program gets of labloop's own environment: what finds programs and their libraries, and
/// nothing that a lab file may call a secret.
const ENVIRONMENT: &[&str] = &[
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TZ",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "PYTHONPATH",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "R_LIBS",
    "R_LIBS_USER",
    "JULIA_DEPOT_PATH",
    "NODE_PATH",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
];

/// A program to be run.
pub(super) struct Job {
    /// The program.
    pub process: Process,
    /// Texts of its files by path, as they were kept.
    pub texts: Vec<(String, String)>,
    /// Inputs.
    pub inputs: Inputs,
    /// Most real time.
    pub deadline: Duration,
}

/// How it ended, and what it wrote to its standard error.
pub(super) type Ended = (Result<Value, Failure>, String);

/// Runs a program to its end, or to its deadline, or until nobody wants its result any more.
pub(super) fn run(job: &Job, cancelled: &AtomicBool) -> Ended {
    let (kind, message, trace) = match perform(job, cancelled) {
        Ok((Ok(value), trace)) => return (Ok(value), trace),
        Ok((Err((kind, message)), trace)) => (kind, message, trace),
        Err(message) => (FailureKind::Internal, message, String::new()),
    };
    let name = job.process.argv.join(" ");
    let name: String = name.chars().take(100).collect();
    (Err(Failure::without_effect(kind, format!("`{name}` {message}"))), trace)
}

type Outcome = (Result<Value, (FailureKind, String)>, String);

fn perform(job: &Job, cancelled: &AtomicBool) -> Result<Outcome, String> {
    let folder = Folder::new().map_err(|e| format!("got no folder of its own: {e}"))?;
    let question = analysis::question(&job.inputs);
    for (name, text) in job.texts.iter().chain(&question.files) {
        folder.write(name, text).map_err(|e| format!("could not be given `{name}`: {e}"))?;
    }
    let mut child =
        command(job, folder.path()).spawn().map_err(|e| format!("cannot be started: {e}"))?;
    let outputs = Outputs::of(&mut child, question.json);
    let end = Instant::now() + job.deadline;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) => {}
            Err(error) => {
                kill(&mut child);
                return Err(format!("cannot be waited for: {error}"));
            }
        }
        let why = if cancelled.load(Ordering::Relaxed) {
            Some((FailureKind::Person, "was ended with its run".to_owned()))
        } else if Instant::now() >= end {
            let limit = job.deadline.as_secs_f64();
            Some((FailureKind::Timeout, format!("did not end within {limit} s and was killed")))
        } else if outputs.too_much.load(Ordering::Relaxed) {
            let limit = OUTPUT_MAX >> 20;
            Some((FailureKind::NoValue, format!("printed more than {limit} MiB and was killed")))
        } else {
            None
        };
        if let Some(why) = why {
            kill(&mut child);
            let (_, errors) = outputs.take();
            return Ok((Err(why), errors));
        }
        thread::sleep(LOOK_EVERY);
    };
    let (output, errors) = outputs.take();
    let result = match failed(job, status, &errors) {
        Some(message) => Err((FailureKind::NoValue, message)),
        None => match output {
            None => Err((FailureKind::NoValue, "left its standard output open".to_owned())),
            Some(output) => match String::from_utf8(output) {
                Err(_) => Err((FailureKind::NoValue, "printed what is not UTF-8".to_owned())),
                Ok(text) => analysis::answer(&text, &job.process.returns)
                    .map_err(|why| (FailureKind::NoValue, format!("failed: {why}"))),
            },
        },
    };
    Ok((result, errors))
}

/// The program behind a shell that sets its limits and becomes it. Its process group is its own,
/// so that all it starts can be ended with it.
fn command(job: &Job, folder: &Path) -> Command {
    // Memory by address space; processor time as a last bound, for a program whose engine was
    // killed; no core files.
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    let seconds = (job.deadline.as_secs() + 1).saturating_mul(cores);
    let memory = match cfg!(target_os = "linux") {
        true => format!("ulimit -v {} && ", job.process.memory >> 10),
        false => String::new(),
    };
    let script = format!(
        "{memory}ulimit -c 0 && ulimit -t {seconds} && ulimit -f {FILE_BLOCKS_MAX} && exec \"$@\""
    );
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(script).arg("sh").args(&job.process.argv);
    command.current_dir(folder).env_clear().process_group(0);
    for name in ENVIRONMENT {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    // The same inputs give the same result, whatever the order of a hash table.
    command.env("TMPDIR", folder).env("PYTHONHASHSEED", "0").env("PYTHONDONTWRITEBYTECODE", "1");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Why a process that ended by itself has no result; `None` if it ended well.
fn failed(job: &Job, status: ExitStatus, errors: &str) -> Option<String> {
    if status.success() {
        return None;
    }
    let program = job.process.argv.first().map_or("", String::as_str);
    let last = errors.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let last: String = last.trim().chars().take(LINE_MAX).collect();
    let memory = job.process.memory >> 20;
    let hint = match errors.contains("MemoryError") || errors.contains("out of memory") {
        true => format!(" (it may take {memory} MiB)"),
        false => String::new(),
    };
    let said = if last.is_empty() { String::new() } else { format!(": {last}") };
    Some(match (status.code(), status.signal()) {
        (Some(127), _) => format!("cannot be started: there is no program `{program}`"),
        (Some(126), _) => format!("cannot be started: `{program}` is no program"),
        (Some(code), _) => format!("ended with exit code {code}{said}{hint}"),
        (None, Some(signal)) => {
            format!("was ended by signal {signal}, with {memory} MiB of memory allowed{said}")
        }
        (None, None) => format!("ended without an exit code{said}"),
    })
}

/// Ends a process that has not been waited for, and all it started.
fn kill(child: &mut Child) {
    // The group has the number of the process, which is not given to another one before the
    // process is waited for.
    let group = format!("-{}", child.id());
    let killed = Command::new("/bin/sh")
        .args(["-c", "kill -s KILL -- \"$1\"", "sh", &group])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if let Err(error) = killed {
        tracing::warn!(%error, "the process group of an analysis was not ended");
    }
    // The process itself at least; it fails only if there is none any more.
    let _ = child.kill();
    let _ = child.wait();
}

/// The pipes of a process, each served by a thread of its own so that none can fill up.
struct Outputs {
    output: mpsc::Receiver<Vec<u8>>,
    errors: mpsc::Receiver<Vec<u8>>,
    too_much: std::sync::Arc<AtomicBool>,
}

impl Outputs {
    fn of(child: &mut Child, question: String) -> Outputs {
        let too_much = std::sync::Arc::new(AtomicBool::new(false));
        if let Some(mut stdin) = child.stdin.take() {
            // A program that does not read all of it closes the pipe; that is its own affair.
            thread::spawn(move || drop(stdin.write_all(question.as_bytes())));
        }
        let (send, output) = mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            let too_much = std::sync::Arc::clone(&too_much);
            thread::spawn(move || {
                let mut all = Vec::new();
                let read = stdout.take(OUTPUT_MAX as u64 + 1).read_to_end(&mut all);
                if all.len() > OUTPUT_MAX {
                    too_much.store(true, Ordering::Relaxed);
                } else if read.is_ok() {
                    drop(send.send(all));
                }
            });
        }
        let (send, errors) = mpsc::channel();
        if let Some(stderr) = child.stderr.take() {
            thread::spawn(move || drop(send.send(tail(stderr))));
        }
        Outputs { output, errors, too_much }
    }

    /// What was printed, if its pipe was closed in time, and what was said of errors.
    fn take(self) -> (Option<Vec<u8>>, String) {
        let output = self.output.recv_timeout(DRAIN).ok();
        let errors = self.errors.recv_timeout(DRAIN).unwrap_or_default();
        (output, String::from_utf8_lossy(&errors).into_owned())
    }
}

/// The end of what a pipe gives.
fn tail(mut pipe: impl Read) -> Vec<u8> {
    let (mut kept, mut part) = (Vec::new(), [0_u8; 4096]);
    while let Ok(count) = pipe.read(&mut part) {
        if count == 0 {
            break;
        }
        kept.extend_from_slice(part.get(..count).unwrap_or_default());
        if kept.len() > 2 * ERRORS_MAX {
            kept.drain(..kept.len() - ERRORS_MAX);
        }
    }
    let start = kept.len().saturating_sub(ERRORS_MAX);
    kept.split_off(start)
}

/// A folder that only this process may read and that is gone with this value.
struct Folder(PathBuf);

impl Folder {
    fn new() -> std::io::Result<Folder> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let mut last = None;
        // Names that a killed engine of the same process number left behind are passed over.
        for _ in 0..1_000 {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("labloop-analysis-{}-{number}", std::process::id());
            let path = std::env::temp_dir().join(name);
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Folder(path)),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| std::io::Error::other("no free name")))
    }

    fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file that may be read and executed. `name` is a relative path without `..`.
    fn write(&self, name: &str, text: &str) -> std::io::Result<()> {
        let path = self.0.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, folder = %self.0.display(), "a folder of an analysis is left");
        }
    }
}
