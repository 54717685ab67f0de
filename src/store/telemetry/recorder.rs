//! The thread that writes history, so that nothing else waits for a disk.
//!
//! ```text
//! push (microseconds) -> queue in memory, bounded -> thread: commit each second, then retention
//!                        `-> full: one bucket a signal, minimum and maximum kept, counted
//! ```
//! The lock of the queue is held to append one reading, or to swap two vectors: a push never waits
//! for a commit, a checkpoint or retention.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::codec::TimeStep;
use super::decimal::Scale;
use super::error::TelemetryError;
use super::point::{Bucket, Point, Status};
use super::upkeep::{Pin, Retention};
use super::writer::{Declaration, NAME_BYTES_MAX, SIGNALS_MAX, SignalKey, Stamp, TelemetryWriter};

/// Readings in the queue from which on they are summed up: 2 s at 500,000 a second, 32 MB.
pub const QUEUE_MAX: usize = 1 << 20;
/// After a failed commit the next attempt comes no sooner, and no later.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How long the end of all waits for the last commit.
const END_MAX: Duration = Duration::from_secs(5);
/// Texts that are kept apart before the writer has seen them.
const TEXTS_MAX: usize = 4_096;

/// How the thread works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pace {
    /// Time between commits: what a crash may lose.
    pub commit_every: Duration,
    /// Readings in the queue at most.
    pub queue_max: usize,
    /// How long what is kept.
    pub retention: Retention,
    /// Time for retention after each commit.
    pub upkeep: Duration,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            commit_every: Duration::from_secs(1),
            queue_max: QUEUE_MAX,
            retention: Retention::default(),
            upkeep: Duration::from_millis(50),
        }
    }
}

/// Number of a signal, given by [`Recorder::declare`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecorderKey(u32);

/// How the thread is doing.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Standing {
    /// Readings that are durable.
    pub written: u64,
    /// Readings that came faster than they could be written, of which only sums are kept.
    pub overloaded: u64,
    /// Commits.
    pub commits: u64,
    /// The longest of them.
    pub longest_commit: Duration,
    /// Why the last commit failed; it is tried again.
    pub failing: Option<String>,
    /// What retention could not do, and why.
    pub upkeep_failing: Option<String>,
    /// The last window that could not be pinned because its signal is not known, and why.
    pub pin_refused: Option<String>,
    /// The last signal that the file had no room for, and why; nothing of it is kept.
    pub signal_refused: Option<String>,
    /// Whether the file is larger than allowed, and nothing in it may be thinned.
    pub is_over: bool,
}

/// What is to be done about pins.
#[derive(Debug)]
enum Pinning {
    Begin { why: String, signal: Option<String>, from: u64, to: u64 },
    End { why: String, to: u64 },
}

#[derive(Debug)]
struct Declared {
    name: String,
    unit: String,
    class: String,
    step: TimeStep,
    scale: Option<Scale>,
}

#[derive(Debug, Default)]
struct Queue {
    points: Vec<(RecorderKey, Point)>,
    overload: BTreeMap<RecorderKey, Bucket>,
    signals: Vec<Declared>,
    names: BTreeMap<String, RecorderKey>,
    texts: Vec<String>,
    numbers: BTreeMap<String, u32>,
    pins: Vec<Pinning>,
    pushed: u64,
    done: u64,
    /// Everything up to this number of pushes is to be durable soon.
    flush_to: u64,
    stop: bool,
    ended: bool,
    standing: Standing,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    queue_max: usize,
    /// To the thread: there is something to do at once.
    work: Condvar,
    /// From the thread: something is durable.
    durable: Condvar,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Each push leaves it whole: a panic elsewhere spoils nothing.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes readings and has them written by a thread of its own. Dropping it writes what is left.
#[derive(Debug)]
pub struct Recorder {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Recorder {
    /// Starts the thread; `clock` gives the time of a commit.
    pub fn start(
        writer: TelemetryWriter,
        pace: Pace,
        clock: impl Fn() -> Stamp + Send + 'static,
    ) -> Result<Recorder, TelemetryError> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            queue_max: pace.queue_max.max(1),
            work: Condvar::new(),
            durable: Condvar::new(),
        });
        let mut thread = Thread {
            shared: shared.clone(),
            writer,
            pace,
            keys: Vec::new(),
            texts: vec![0],
            left: None,
            pins: Vec::new(),
        };
        let thread = std::thread::Builder::new()
            .name("history".to_owned())
            .spawn(move || thread.work(&clock))
            .map_err(|e| TelemetryError::Thread(e.to_string()))?;
        Ok(Recorder { shared, thread: Some(thread) })
    }

    /// The number of a signal, which is new or was declared before.
    pub fn declare(&self, signal: &Declaration<'_>) -> Result<RecorderKey, TelemetryError> {
        if signal.name.is_empty() || signal.name.len() > NAME_BYTES_MAX {
            return Err(TelemetryError::Name(NAME_BYTES_MAX));
        }
        let mut queue = self.shared.queue();
        if let Some(key) = queue.names.get(signal.name) {
            return Ok(*key);
        }
        if queue.signals.len() >= SIGNALS_MAX as usize {
            return Err(TelemetryError::TooManySignals(SIGNALS_MAX));
        }
        let key = RecorderKey(queue.signals.len() as u32);
        queue.signals.push(Declared {
            name: signal.name.to_owned(),
            unit: signal.unit.to_owned(),
            class: signal.class.to_owned(),
            step: signal.step,
            scale: signal.scale,
        });
        queue.names.insert(signal.name.to_owned(), key);
        Ok(key)
    }

    /// Takes a reading; `code` is its status without the text. Never waits for the disk.
    pub fn push(&self, signal: RecorderKey, tick: u64, value: f64, code: u32, text: Option<&str>) {
        let mut queue = self.shared.queue();
        let text = text.map_or(0, |text| queue.text(text));
        queue.take(
            signal,
            Point { tick, value, status: Status { code, text } },
            self.shared.queue_max,
        );
        let early = queue.points.len() == self.shared.queue_max / 2;
        drop(queue);
        if early {
            self.shared.work.notify_one();
        }
    }

    /// Keeps a window of a signal, or of all, from retention; `why` names what needs it. One whose
    /// end is not known yet lasts to [`u64::MAX`].
    pub fn pin(&self, why: &str, signal: Option<&str>, from: u64, to: u64) {
        let (why, signal) = (why.to_owned(), signal.map(str::to_owned));
        self.shared.queue().pins.push(Pinning::Begin { why, signal, from, to });
    }

    /// Ends a window whose end was not known.
    pub fn end_pin(&self, why: &str, to: u64) {
        self.shared.queue().pins.push(Pinning::End { why: why.to_owned(), to });
    }

    /// Waits until all that was pushed before is durable; whether it is.
    pub fn flush(&self, at_most: Duration) -> bool {
        let mut queue = self.shared.queue();
        let target = queue.pushed;
        queue.flush_to = target;
        self.shared.work.notify_one();
        let (queue, _) = self
            .shared
            .durable
            .wait_timeout_while(queue, at_most, |queue| queue.done < target && !queue.ended)
            .unwrap_or_else(PoisonError::into_inner);
        queue.done >= target
    }

    /// How the thread is doing.
    pub fn standing(&self) -> Standing {
        self.shared.queue().standing.clone()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let mut queue = self.shared.queue();
        queue.stop = true;
        self.shared.work.notify_one();
        let (queue, _) = self
            .shared
            .durable
            .wait_timeout_while(queue, END_MAX, |queue| !queue.ended)
            .unwrap_or_else(PoisonError::into_inner);
        let ended = queue.ended;
        drop(queue);
        // A disk that hangs keeps its thread; whoever ends must not hang with it.
        if let Some(thread) = self.thread.take().filter(|_| ended) {
            // It has told its errors in its standing.
            let _ = thread.join();
        }
    }
}

impl Queue {
    fn take(&mut self, signal: RecorderKey, point: Point, max: usize) {
        self.pushed += 1;
        if self.points.len() < max {
            self.points.push((signal, point));
        } else {
            self.overload.entry(signal).or_insert(Bucket::EMPTY).push(&point);
            self.standing.overloaded += 1;
        }
    }

    fn text(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        if self.texts.len() >= TEXTS_MAX {
            return 0;
        }
        self.texts.push(text.to_owned());
        let number = self.texts.len() as u32;
        self.numbers.insert(text.to_owned(), number);
        number
    }
}

/// What was taken out of the queue and is not durable yet.
struct Taken {
    readings: u64,
    upto: u64,
}

struct Thread {
    shared: Arc<Shared>,
    writer: TelemetryWriter,
    pace: Pace,
    /// Keys of the writer, by those of the queue.
    keys: Vec<SignalKey>,
    /// Texts of the writer, by those of the queue.
    texts: Vec<u32>,
    /// In the writer, and its commit has failed.
    left: Option<Taken>,
    /// Windows that are not pinned yet; retention waits for them.
    pins: Vec<Pinning>,
}

impl Thread {
    fn work(&mut self, clock: &impl Fn() -> Stamp) {
        let mut spare = Vec::new();
        // What time it was when all this began: the first readings come before the first commit.
        self.left = Some(Taken { readings: 0, upto: 0 });
        self.commit(clock());
        loop {
            let stop = self.wait();
            // What could not be committed is tried again before more is taken.
            if self.left.is_none() {
                self.left = Some(self.take(&mut spare));
            }
            let committed = self.commit(clock());
            if stop {
                self.pin();
                // What came between taking and stopping, once more.
                let queue = self.shared.queue();
                if committed && queue.pushed > queue.done {
                    continue;
                }
                break;
            }
            if self.pin() && committed {
                self.upkeep(clock());
            }
        }
        self.shared.queue().ended = true;
        self.shared.durable.notify_all();
    }

    /// Waits for the next commit; whether it is the last.
    fn wait(&self) -> bool {
        let half = self.shared.queue_max / 2;
        let (failing, at_most) = match self.left {
            Some(_) => (true, self.pace.commit_every.min(RETRY_AFTER)),
            None => (false, self.pace.commit_every),
        };
        let idle = |queue: &mut Queue| {
            let wanted = queue.done < queue.flush_to || queue.points.len() >= half;
            !queue.stop && (failing || !wanted)
        };
        let queue = self.shared.queue();
        let (queue, _) = self
            .shared
            .work
            .wait_timeout_while(queue, at_most, idle)
            .unwrap_or_else(PoisonError::into_inner);
        queue.stop
    }

    /// Takes what is in the queue into the writer.
    fn take(&mut self, spare: &mut Vec<(RecorderKey, Point)>) -> Taken {
        spare.clear();
        let mut queue = self.shared.queue();
        std::mem::swap(&mut queue.points, spare);
        let overload = std::mem::take(&mut queue.overload);
        let upto = queue.pushed;
        self.pins.append(&mut queue.pins);
        let mut refused = None;
        for signal in queue.signals.get(self.keys.len()..).unwrap_or_default() {
            let declaration = Declaration {
                name: &signal.name,
                unit: &signal.unit,
                class: &signal.class,
                step: signal.step,
                scale: signal.scale,
            };
            // A file that has too many signals from before gets no more of them; no signal has the
            // number 0.
            let key = self.writer.declare(&declaration).unwrap_or_else(|error| {
                refused = Some(format!("`{}`: {error}", signal.name));
                SignalKey(0)
            });
            self.keys.push(key);
        }
        if refused.is_some() {
            queue.standing.signal_refused = refused;
        }
        for text in queue.texts.get(self.texts.len() - 1..).unwrap_or_default() {
            self.texts.push(self.writer.text(text));
        }
        drop(queue);
        let text = |status: Status| Status {
            text: self.texts.get(status.text as usize).copied().unwrap_or(0),
            ..status
        };
        for (key, point) in spare.iter() {
            if let Some(key) = self.keys.get(key.0 as usize) {
                self.writer.push(*key, Point { status: text(point.status), ..*point });
            }
        }
        for (key, bucket) in overload {
            if let Some(key) = self.keys.get(key.0 as usize) {
                let worst = text(bucket.worst);
                self.writer.overloaded(*key, Bucket { worst, ..bucket });
            }
        }
        Taken { readings: spare.len() as u64, upto }
    }

    /// Pins what is to be pinned; whether all of it is.
    fn pin(&mut self) -> bool {
        for pinning in std::mem::take(&mut self.pins) {
            // What waits has its order: a window ends after it began.
            if !self.pins.is_empty() {
                self.pins.push(pinning);
                continue;
            }
            let done = match &pinning {
                Pinning::Begin { why, signal, from, to } => {
                    let (signal, from, to) = (signal.as_deref(), *from, *to);
                    self.writer.pin(&Pin { why, signal, from, to })
                }
                Pinning::End { why, to } => self.writer.end_pin(why, *to).map(|_| ()),
            };
            match done {
                Ok(()) => {}
                Err(error @ TelemetryError::Unknown(_)) => {
                    self.shared.queue().standing.pin_refused = Some(error.to_string());
                }
                Err(error) => {
                    self.shared.queue().standing.upkeep_failing = Some(error.to_string());
                    self.pins.push(pinning);
                }
            }
        }
        self.pins.is_empty()
    }

    fn commit(&mut self, now: Stamp) -> bool {
        let Some(taken) = self.left.take() else { return true };
        let began = Instant::now();
        let result = self.writer.commit(now);
        let took = began.elapsed();
        let mut queue = self.shared.queue();
        let standing = &mut queue.standing;
        let committed = result.is_ok();
        match result {
            Ok(()) => {
                standing.failing = None;
                standing.written += taken.readings;
                standing.commits += 1;
                standing.longest_commit = standing.longest_commit.max(took);
                queue.done = taken.upto;
            }
            Err(error) => {
                standing.failing = Some(error.to_string());
                self.left = Some(taken);
            }
        }
        drop(queue);
        self.shared.durable.notify_all();
        committed
    }

    fn upkeep(&mut self, now: Stamp) {
        let result = self.writer.upkeep(&self.pace.retention, now, self.pace.upkeep);
        let mut queue = self.shared.queue();
        match result {
            Ok(kept) => {
                queue.standing.is_over = kept.is_over;
                queue.standing.upkeep_failing = None;
            }
            Err(error) => queue.standing.upkeep_failing = Some(error.to_string()),
        }
    }
}

#[cfg(test)]
#[path = "recorder_tests.rs"]
mod tests;
