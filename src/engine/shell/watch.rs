//! What the engine does about its clocks and its disk.

use std::time::{Duration, Instant};

use super::clocks::{GAP_MIN, Gone, Passed, Reading, Seen};
use super::disk::{Change, Disk};
use super::engine::{Engine, EngineError};
use super::entries::{EngineRecord, Fact};
use super::instruments::Instruments;
use super::progress::Progress;
use crate::engine::core::{Cause, ENGINE, Event, Run, RunState, in_words};

/// The engine looks at its clocks and its disk this often, in wall time.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Runs of protocols that do not say how long they may be left alone are said to go on, with how
/// long it was, if that was longer than this, in lab time: a shift change is none, a night is.
pub const LONG_AWAY: Duration = Duration::from_secs(3_600);

/// What the shell watches of the machine it runs on.
#[derive(Debug)]
pub(super) struct Watch {
    clocks: Reading,
    looked: Instant,
    disk: Option<Disk>,
    /// Lab time without an engine before this one.
    downtime: Duration,
}

impl Watch {
    pub(super) fn new() -> Watch {
        Watch {
            clocks: Reading::now(),
            looked: Instant::now(),
            disk: None,
            downtime: Duration::ZERO,
        }
    }

    /// Lab time without an engine before this one.
    pub(super) fn downtime(&self) -> Duration {
        self.downtime
    }

    /// How long until the next look.
    pub(super) fn next(&self) -> Duration {
        LOOK_EVERY.saturating_sub(self.looked.elapsed())
    }

    /// Whether telemetry gives way to the journal.
    pub(super) fn disk_is_low(&self) -> bool {
        self.disk.as_ref().is_some_and(Disk::is_low)
    }
}

impl<I: Instruments> Engine<I> {
    /// Watches the disk under the state folder from now on.
    pub fn watch_disk(&mut self, disk: Disk) {
        self.watch.disk = Some(disk);
    }

    /// Notes how long nobody was at work before this engine; runs that may not be left alone for so
    /// long do not go on by themselves. Call before [`Engine::recover`].
    ///
    /// Returns what people must know: for each run of a protocol without `resume: within` that was
    /// left alone for longer than an hour of lab time, that it goes on all the same. It is noted too.
    pub fn was_away(&mut self, passed: &Passed) -> Result<Vec<String>, EngineError> {
        let for_ms = u64::try_from(passed.wall.as_millis()).unwrap_or(u64::MAX);
        let by = passed.by.as_str().to_owned();
        self.watch.downtime = match passed.by {
            Gone::BootClock | Gone::WallClock => self.clock.lab_span(passed.wall),
            // It may have been any time: more than any limit allows.
            Gone::SinceBoot | Gone::Unknown => Duration::MAX,
        };
        self.note(Fact::Engine(EngineRecord::Away { for_ms, by }))?;
        let downtime = self.watch.downtime;
        if downtime <= LONG_AWAY {
            return Ok(Vec::new());
        }
        let unbounded = |run: &&Run| run.graph.resume_within.is_none() && run.has_begun();
        let left: Vec<(String, String)> = self
            .core
            .open_runs()
            .filter(unbounded)
            .map(|run| (run.id.clone(), goes_on(run, downtime, passed.by)))
            .collect();
        let mut told = Vec::new();
        for (run, text) in left {
            let (about, by) = (Some(run), ENGINE.to_owned());
            self.note(Fact::Engine(EngineRecord::Note { text: text.clone(), about, by }))?;
            self.told(Progress::Engine { detail: text.clone() });
            told.push(text);
        }
        Ok(told)
    }

    /// Whether nobody has looked at the clocks for so long that the engine cannot have been at work.
    pub(super) fn overslept(&self) -> bool {
        self.clock.speed().is_finite() && self.watch.looked.elapsed() > GAP_MIN
    }

    /// Looks at the clocks, once a second, and at the disk. A clock that jumps by itself has
    /// neither.
    pub(super) fn look_around(&mut self) -> Result<(), EngineError> {
        self.look_at_history();
        if !self.clock.speed().is_finite() {
            return Ok(());
        }
        if self.watch.looked.elapsed() >= LOOK_EVERY {
            self.watch.looked = Instant::now();
            // An engine that was overtaken while it had nothing to note must not go on feeding
            // watchdogs.
            self.journal.check_lease()?;
            let now = Reading::now();
            let before = std::mem::replace(&mut self.watch.clocks, now);
            for seen in now.since(&before) {
                self.take_time(seen)?;
            }
        }
        self.look_at_disk()
    }

    /// Before something is written; what follows from it comes with the next round.
    pub(super) fn look_at_disk(&mut self) -> Result<(), EngineError> {
        let Some(change) = self.watch.disk.as_mut().and_then(Disk::look) else { return Ok(()) };
        match change {
            Change::Low { free, mark } => {
                self.note(Fact::Engine(EngineRecord::DiskLow { free, mark }))?;
                let detail = format!(
                    "the disk under the state folder is nearly full ({} free, {} wanted): \
                     telemetry is no longer written and runs are held; they go on when {} are free",
                    mebibytes(free),
                    mebibytes(mark),
                    mebibytes(2 * mark)
                );
                self.told(Progress::Engine { detail: detail.clone() });
                self.step(Event::HoldAll { cause: Cause::Disk, detail })
            }
            Change::Back { free } => {
                self.note(Fact::Engine(EngineRecord::DiskBack { free }))?;
                let free = mebibytes(free);
                let detail = format!("there is room on the disk again ({free} free): runs go on");
                self.told(Progress::Engine { detail });
                self.step(Event::Passed { cause: Cause::Disk })
            }
        }
    }

    fn take_time(&mut self, seen: Seen) -> Result<(), EngineError> {
        match seen {
            Seen::Stepped { by_ms } => {
                self.note(Fact::Engine(EngineRecord::ClockStepped { by_ms }))?;
                let by = Duration::from_millis(by_ms.unsigned_abs());
                let way = if by_ms < 0 { "back" } else { "forward" };
                let detail = format!(
                    "the wall clock was set {way} by {:.1} s; times of the lab do not follow it",
                    by.as_secs_f64()
                );
                self.told(Progress::Engine { detail });
                Ok(())
            }
            Seen::Gap { lasted, asleep } => {
                self.clock.slept(asleep);
                let milliseconds = |span: Duration| u64::try_from(span.as_millis());
                self.note(Fact::Engine(EngineRecord::Gap {
                    for_ms: milliseconds(lasted).unwrap_or(u64::MAX),
                    asleep_ms: milliseconds(asleep).unwrap_or(u64::MAX),
                }))?;
                let why = if asleep.is_zero() { "did not run" } else { "slept with its machine" };
                let detail = format!(
                    "the engine {why} for {:.1} s: every instrument is looked at anew",
                    lasted.as_secs_f64()
                );
                self.told(Progress::Engine { detail });
                // SAFETY(lab): what was sent late is not taken for unanswered, and its instrument not
                // given to another run, because the time for its answer went by meanwhile.
                self.step(Event::Gap)?;
                // What was read before says nothing about now. Time limits between steps are lab
                // time and have gone on.
                for instrument in self.instruments.names() {
                    self.step(Event::LinkLost { instrument })?;
                }
                for view in self.instruments.conditions() {
                    if view.ready {
                        self.step(Event::LinkUp { instrument: view.instrument })?;
                    }
                }
                Ok(())
            }
        }
    }
}

/// That a run goes on although it was left alone for long, and what to do if it should not.
fn goes_on(run: &Run, downtime: Duration, by: Gone) -> String {
    let id = &run.id;
    let what = match run.state() {
        RunState::Paused | RunState::Pausing => "stays paused, as people left it",
        RunState::Held | RunState::Holding => "stays held until what holds it has passed",
        state if state.goes_on() => "goes on at the step it had reached",
        _ => "is brought to its end",
    };
    format!(
        "run {id}: no engine was there for {} ({}), and it {what}, because protocol {} does not say \
         with `resume: {{within: TIME}}` how long it may be left alone. Look at the sample; `labloop \
         hold {id}` or `labloop abort {id}` if it is not good any more",
        in_words(downtime),
        by.as_str(),
        run.graph.protocol,
    )
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
