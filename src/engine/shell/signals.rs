//! Readings on their way from the instruments to whoever watches and to the disk.
//!
//! ```text
//! notice of a driver -> sample (time, value, quality, reason) -> board: ring, subscriptions
//!                                                             -> recorder: queue -> thread -> disk
//! ```
//! Architecture invariant: the engine waits for neither. The board is memory; the recorder's queue is
//! bounded, and what does not fit is kept as minimum, maximum and mean of its second, counted, and
//! told to people. Nothing here writes to the journal.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::control::{Refusal, RefusalKind, Reply};
use super::engine::Engine;
use super::gauge::Gauge;
use super::instruments::{Instruments, Refused};
use super::live::{Live, SignalView};
use super::progress::Progress;
use crate::diagnostics::signals::{self, Quality, Reason, Sample, SignalId};
use crate::driver::{About, Flaw, Outcome};
use crate::expr::Value;
use crate::store::telemetry::{
    Declaration, Pace, Recorder, RecorderKey, Retention, Scale, Stamp, Standing, TelemetryWriter,
    TimeStep,
};
use crate::wire::Tick;

/// The recorder's standing is looked at this often (wall time).
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What is lost again and again is told this often (wall time).
const TELL_EVERY: Duration = Duration::from_secs(60);
/// A device's clock that differs by more is not believed: clocks that NTP keeps differ by less, and a
/// value that is older is nothing to act on.
const SKEW_MAX: Duration = Duration::from_secs(2);

/// What a history is kept with.
#[derive(Debug)]
pub struct Keeping {
    /// The file.
    pub writer: TelemetryWriter,
    /// How long what is kept.
    pub retention: Retention,
}

/// One number of a property.
#[derive(Debug)]
struct Known {
    gauge: Gauge,
    name: String,
    id: SignalId,
    /// Which rule of retention applies.
    class: String,
    key: Key,
}

/// A signal in the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    /// Nothing of it was recorded yet: what was never read has no place in the file.
    NotYet,
    Is(RecorderKey),
    /// There was no room.
    Refused,
}

/// What was told of the recorder and the drivers.
#[derive(Debug, Default)]
struct Told {
    standing: Standing,
    dropped: u64,
    /// When losses were told last.
    losses_at: Option<Instant>,
}

/// Board and recorder.
#[derive(Debug)]
pub(super) struct Signals {
    live: Live,
    known: BTreeMap<String, BTreeMap<String, Vec<Known>>>,
    /// Properties that were asked for apart from polling, by their attempt.
    asked: BTreeMap<String, Question>,
    recorder: Option<Recorder>,
    /// The engine's time, for the recorder's thread: a virtual clock stands still everywhere else.
    stamp: Arc<Mutex<Stamp>>,
    told: Told,
    looked: Instant,
}

impl Signals {
    /// With a history, if one is to be kept. The second is why it is not.
    pub(super) fn new(keeping: Option<Keeping>, now: Stamp) -> (Signals, Option<String>) {
        let stamp = Arc::new(Mutex::new(now));
        let (recorder, failed) = match keeping.map(|keeping| start(keeping, &stamp)) {
            None => (None, None),
            Some(Ok(recorder)) => (Some(recorder), None),
            Some(Err(error)) => (None, Some(error)),
        };
        let signals = Signals {
            live: Live::default(),
            known: BTreeMap::new(),
            asked: BTreeMap::new(),
            recorder,
            stamp,
            told: Told::default(),
            looked: Instant::now(),
        };
        (signals, failed)
    }

    pub(super) fn live(&self) -> &Live {
        &self.live
    }

    /// Tells the recorder's thread what time it is.
    fn set_time(&self, now: Stamp) {
        *self.stamp.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    fn is_known(&self, instrument: &str, property: &str) -> bool {
        self.known.get(instrument).is_some_and(|of| of.contains_key(property))
    }

    /// Makes the numbers of a property known, before or at its first reading.
    fn know(&mut self, instrument: &str, property: &str, gauges: &[Gauge], max_age: Duration) {
        let known = gauges.iter().filter_map(|gauge| {
            let name = match &gauge.field {
                Some(field) => format!("{instrument}.{property}.{field}"),
                None => format!("{instrument}.{property}"),
            };
            let id = self.live.declare(&name, gauge, max_age)?;
            let (gauge, class, key) = (gauge.clone(), property.to_owned(), Key::NotYet);
            Some(Known { gauge, name, id, class, key })
        });
        let known = known.collect();
        self.known.entry(instrument.to_owned()).or_default().insert(property.to_owned(), known);
    }

    /// Takes a reading; `record` is whether it may go to the disk.
    fn take(&mut self, instrument: &str, property: &str, reading: &Reading<'_>, record: bool) {
        let recorder = self.recorder.as_ref().filter(|_| record);
        let known = self.known.get_mut(instrument).and_then(|of| of.get_mut(property));
        for known in known.into_iter().flatten() {
            let number = known.gauge.number(reading.value);
            let quality = match number {
                Ok(_) => Quality::GOOD,
                Err(_) => Quality::because(reason_of(reading.about.flaw)),
            };
            let mut sample = Sample::new(arrived(reading.at), number.unwrap_or(f64::NAN), quality);
            if let Some(device_ms) = reading.about.device_ms {
                sample = sample.by_device(device_ms, SKEW_MAX);
            }
            known.put(&self.live, recorder, sample, number.err());
        }
    }

    /// Whether a property was told since it was asked for: what an instrument sends by itself is
    /// told to all and then answers the question too.
    fn has_heard(&self, question: &Question) -> bool {
        let of = self.known.get(&question.instrument).and_then(|of| of.get(&question.property));
        of.into_iter().flatten().any(|known| {
            self.live.latest(known.id).is_some_and(|latest| latest.tick >= question.at)
        })
    }

    /// The link to an instrument is lost: nothing that was known of it is worth anything now.
    fn lose(&mut self, instrument: &str, at: Stamp, why: &str, record: bool) {
        let lost = Quality::because(Reason::LinkLost);
        let recorder = self.recorder.as_ref().filter(|_| record);
        let of = self.known.get_mut(instrument);
        for known in of.into_iter().flat_map(BTreeMap::values_mut).flatten() {
            // What was never read, and what was told already, needs no more words.
            if self.live.latest(known.id).is_some_and(|s| s.quality.reason != Reason::LinkLost) {
                let sample = Sample::new(arrived(at), f64::NAN, lost);
                known.put(&self.live, recorder, sample, Some(why));
            }
        }
    }

    /// Readings of a run are kept in full, whatever retention does with what came before and after.
    pub(super) fn run_begins(&self, run: &str, at: u64) {
        if let Some(recorder) = &self.recorder {
            recorder.pin(run, None, at, u64::MAX);
        }
    }

    pub(super) fn run_ends(&self, run: &str, at: u64) {
        if let Some(recorder) = &self.recorder {
            recorder.end_pin(run, at);
        }
    }
}

impl Known {
    fn put(
        &mut self,
        live: &Live,
        recorder: Option<&Recorder>,
        sample: Sample,
        note: Option<&str>,
    ) {
        let sample = live.push(self.id, sample, note);
        let Some(recorder) = recorder else { return };
        if self.key == Key::NotYet {
            self.key = self.declare(recorder);
        }
        if let Key::Is(key) = self.key {
            recorder.push(key, sample.tick.0, sample.value, sample.status(), note);
        }
    }

    fn declare(&self, recorder: &Recorder) -> Key {
        let unit = &self.gauge.unit;
        let declaration = Declaration {
            name: &self.name,
            unit: &unit.dim.si(),
            class: &self.class,
            step: TimeStep::Millisecond,
            scale: Some(Scale { factor: unit.factor, offset: unit.offset }),
        };
        match recorder.declare(&declaration) {
            Ok(key) => Key::Is(key),
            Err(error) => {
                tracing::warn!(signal = self.name, %error, "not recorded");
                Key::Refused
            }
        }
    }
}

fn arrived(at: Stamp) -> signals::Instant {
    signals::Instant { tick: signals::Tick(at.tick), wall_ms: at.wall_ms }
}

/// A property that was asked for apart from polling.
#[derive(Debug)]
struct Question {
    instrument: String,
    property: String,
    at: signals::Tick,
}

/// A reading as a driver told it.
struct Reading<'a> {
    value: &'a Value,
    at: Stamp,
    about: About,
}

fn start(keeping: Keeping, stamp: &Arc<Mutex<Stamp>>) -> Result<Recorder, String> {
    let pace = Pace { retention: keeping.retention, ..Pace::default() };
    let stamp = Arc::clone(stamp);
    let clock = move || *stamp.lock().unwrap_or_else(PoisonError::into_inner);
    Recorder::start(keeping.writer, pace, clock).map_err(|error| error.to_string())
}

/// Why a value is not there. What the driver cannot tell has its words in the note.
fn reason_of(flaw: Option<Flaw>) -> Reason {
    match flaw {
        Some(Flaw::NoAnswer) => Reason::NoAnswer,
        Some(Flaw::LinkLost) => Reason::LinkLost,
        Some(Flaw::Unreadable) => Reason::Unreadable,
        Some(Flaw::SensorError) => Reason::SensorError,
        Some(Flaw::OutOfRange) => Reason::OutOfRange,
        Some(Flaw::Stale) => Reason::Stale,
        None => Reason::Other,
    }
}

impl<I: Instruments> Engine<I> {
    /// The live values.
    pub fn live(&self) -> Live {
        self.signals.live().clone()
    }

    /// The signals as they are, of one instrument or of all.
    pub(super) fn signals_now(&self, instrument: Option<&str>) -> Reply {
        let now = signals::Tick(self.now().0);
        let of = |signal: &SignalView| {
            instrument.is_none_or(|name| {
                signal.signal.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'))
            })
        };
        let mut all = self.signals.live().all(now);
        all.retain(of);
        if let (true, Some(name)) = (all.is_empty(), instrument) {
            let message = format!("no signal of an instrument `{name}` is known");
            return Reply::Refused(Refusal::new(RefusalKind::UnknownId, message));
        }
        Reply::Signals(all)
    }

    fn stamp(&self, tick: u64) -> Stamp {
        let (now, wall) = (self.clock.now(), self.clock.wall().as_millisecond());
        let ago = self.clock.wall_span(now.since(Tick(tick))).as_millis();
        Stamp { tick, wall_ms: wall.saturating_sub(i64::try_from(ago).unwrap_or(i64::MAX)) }
    }

    /// Makes all signals of the lab known; until they are read they are bad, as never read.
    pub(super) fn know_signals(&mut self) {
        for (instrument, property) in self.instruments.properties() {
            let max_age = self.instruments.max_age(&instrument, &property);
            if let Some(gauges) = self.instruments.gauges(&instrument, &property) {
                self.signals.know(&instrument, &property, gauges, max_age);
            }
        }
    }

    /// Reads a property apart from polling; what it is goes to the signals too.
    pub(super) fn read(
        &mut self,
        attempt: &str,
        instrument: &str,
        property: &str,
    ) -> Result<(), Refused> {
        self.instruments.read(attempt, instrument, property)?;
        let (instrument, property) = (instrument.to_owned(), property.to_owned());
        let question = Question { instrument, property, at: signals::Tick(self.now().0) };
        self.signals.asked.insert(attempt.to_owned(), question);
        Ok(())
    }

    /// Takes what the outcome of an attempt says about a property, if it was a reading.
    pub(super) fn take_answer(&mut self, attempt: &str, outcome: &Outcome) {
        let Some(question) = self.signals.asked.remove(attempt) else { return };
        if self.signals.has_heard(&question) {
            return;
        }
        let Question { instrument, property, .. } = question;
        let now = self.clock.now();
        match outcome {
            Outcome::Done { value: Some(value), .. } => {
                self.take_reading(&instrument, &property, value, now, About::default());
            }
            Outcome::Done { value: None, .. } => {}
            Outcome::Failed { kind, message, .. } => {
                let flaw = Flaw::of(*kind);
                // What a person cancelled or a full queue kept back says nothing about the device.
                if flaw.is_some() {
                    let (value, about) =
                        (Value::Missing(message.as_str().into()), About { flaw, device_ms: None });
                    self.take_reading(&instrument, &property, &value, now, about);
                }
            }
        }
    }

    /// Takes a reading that a driver tells.
    pub(super) fn take_reading(
        &mut self,
        instrument: &str,
        property: &str,
        value: &Value,
        at: Tick,
        about: About,
    ) {
        if !self.signals.is_known(instrument, property) {
            let max_age = self.instruments.max_age(instrument, property);
            match self.instruments.gauges(instrument, property) {
                Some(gauges) => self.signals.know(instrument, property, gauges, max_age),
                None => {
                    // Nothing was declared: the first number says what it is.
                    let Some(gauge) = Gauge::of_value(value) else { return };
                    self.signals.know(instrument, property, &[gauge], max_age);
                }
            }
        }
        // A device's clock goes with the wall, not with a lab time that runs faster.
        let real = (self.clock.speed() - 1.0).abs() < f64::EPSILON;
        let about = About { device_ms: about.device_ms.filter(|_| real), ..about };
        let at = self.stamp(at.0);
        self.signals.set_time(at);
        // History gives way before the journal does.
        let record = !self.watch.disk_is_low();
        self.signals.take(instrument, property, &Reading { value, at, about }, record);
    }

    /// The link to an instrument is lost.
    pub(super) fn lose_readings(&mut self, instrument: &str, why: &str) {
        let now = self.stamp(self.now().0);
        self.signals.set_time(now);
        self.signals.lose(instrument, now, why, !self.watch.disk_is_low());
    }

    /// Makes the last readings durable; whoever waits for the end waits so long at most.
    pub(super) fn flush_history(&mut self) {
        self.signals.set_time(self.stamp(self.now().0));
        if let Some(recorder) = &self.signals.recorder
            && !recorder.flush(FLUSH_MAX)
        {
            let why = recorder.standing().failing.unwrap_or_else(|| "the disk is slow".to_owned());
            let detail = format!("the last readings are not in the history: {why}");
            tracing::warn!("{detail}");
            // No commit follows with which it would be told.
            (self.observer)(&Progress::Engine { detail });
        }
    }

    /// Tells what history has lost, once for each kind of loss, and when it is well again.
    pub(super) fn look_at_history(&mut self) {
        if self.signals.looked.elapsed() < LOOK_EVERY {
            return;
        }
        self.signals.looked = Instant::now();
        let standing = self.signals.recorder.as_ref().map(Recorder::standing).unwrap_or_default();
        let dropped = self.instruments.dropped_readings();
        for detail in self.signals.told.news(standing, dropped) {
            tracing::warn!("{detail}");
            self.told(Progress::Engine { detail });
        }
    }
}

/// How long the end waits for the last commit of the history.
const FLUSH_MAX: Duration = Duration::from_secs(5);

impl Told {
    /// What is new since the last look.
    fn news(&mut self, standing: Standing, dropped: u64) -> Vec<String> {
        let mut news = Vec::new();
        match (&self.standing.failing, &standing.failing) {
            (None, Some(why)) => news.push(format!(
                "history is not being written: {why}; it is tried again each second, and the \
                 readings wait in memory"
            )),
            (Some(_), None) => news.push("history is being written again".to_owned()),
            (None, None) | (Some(_), Some(_)) => {}
        }
        let once = [
            (&self.standing.upkeep_failing, &standing.upkeep_failing, "retention does not work"),
            (&self.standing.pin_refused, &standing.pin_refused, "a window cannot be kept"),
            (&self.standing.signal_refused, &standing.signal_refused, "a signal is not recorded"),
        ];
        for (before, now, what) in once {
            if let Some(why) = now.as_ref().filter(|_| before != now) {
                news.push(format!("{what}: {why}"));
            }
        }
        if standing.is_over && !self.standing.is_over {
            news.push(
                "the history is larger than --history-max allows, and all that is left in it \
                 belongs to runs: it grows on"
                    .to_owned(),
            );
        }
        let quiet = self.losses_at.is_some_and(|at| at.elapsed() < TELL_EVERY);
        let overloaded = standing.overloaded.saturating_sub(self.standing.overloaded);
        let missed = dropped.saturating_sub(self.dropped);
        let mut standing = standing;
        if quiet {
            // Told with the next ones.
            standing.overloaded = self.standing.overloaded;
        } else {
            if overloaded > 0 {
                news.push(format!(
                    "{overloaded} readings came faster than history is written: of them minimum, \
                     maximum, mean and number are kept"
                ));
            }
            if missed > 0 {
                news.push(format!(
                    "{missed} readings came faster than the engine took them: they are lost"
                ));
            }
            if overloaded > 0 || missed > 0 {
                self.losses_at = Some(Instant::now());
            }
            self.dropped = dropped;
        }
        self.standing = standing;
        news
    }
}

#[cfg(test)]
#[path = "signals_tests.rs"]
mod tests;
