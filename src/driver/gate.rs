//! The gate: the last thing before the wire, and all that closes it.
//!
//! ```text
//! closed by      commands   reads   safe states   opened by
//! interlock      refused    pass    pass          `open`
//! emergency stop refused    pass    pass          a person, through the engine
//! lapsed lease   refused    refused refused       nothing: the instruments are another engine's
//! ```
//!
//! The emergency stop is a handle that needs no runtime, waits for nothing and passes no queue: it
//! closes the gate, and wakes every line with its safe states ahead of all other work. Its locks are
//! held for a few assignments at a time and never across a wait, so no task that is stuck holds one.
//! An instrument that does not confirm is asked again for as long as the gate is closed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::line::Urgent;
use crate::wire::{Backoff, Clock};

/// Longest pause before an instrument that did not confirm its safe state is told again, in wall
/// time: long enough not to keep a line busy, short enough that one that comes back is safe soon.
const LONGEST_RETRY: Duration = Duration::from_secs(10);

/// A line that has not said how a safe state went after this long, in wall time, is asked anew; on a
/// slow line with many instruments it may still be at it, and asking twice is one more safe state.
const UNANSWERED: Duration = Duration::from_secs(60);

/// A command of an engine that was not heard of for so long stays here: its process was stopped, or
/// its disk is stuck, and its lease may be another's. A disk that syncs slowly takes a few seconds.
const LEASE_OLD: Duration = Duration::from_secs(10);

/// Who pressed the emergency stop, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pressed {
    /// Who, or what.
    pub by: String,
    /// When.
    pub at: jiff::Timestamp,
    /// Which press this is, from 1: one that comes while an earlier is being cleared keeps the gate
    /// closed.
    pub number: u64,
}

/// How the safe state of one instrument went since the emergency stop was pressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stopped {
    /// Asked for; nothing is known yet.
    Pending,
    /// The instrument confirmed it.
    Confirmed,
    /// It did not; it is asked again and again.
    NotConfirmed {
        /// Why, for people.
        detail: String,
        /// Times it was asked without success.
        tries: u32,
    },
}

/// What is being done about one instrument.
#[derive(Debug)]
struct Effort {
    state: Stopped,
    again_at: Option<Instant>,
    backoff: Backoff,
}

/// An instrument whose safe state the stop sends.
#[derive(Debug)]
struct Member {
    instrument: String,
    line: Arc<Urgent>,
    /// Longest pause between two tries.
    longest: Duration,
}

/// Keeps commands from the wire.
#[derive(Debug)]
pub(super) struct Gate {
    clock: Clock,
    /// The emergency stop was pressed and not cleared.
    stopped: AtomicBool,
    /// One press or clearing at a time.
    hand: Mutex<()>,
    presses: AtomicU64,
    pressed: watch::Sender<Option<Pressed>>,
    efforts: Mutex<BTreeMap<String, Effort>>,
    lines: Mutex<Vec<Member>>,
    /// Wakes [`insist`].
    wake: Notify,
    /// Closed for another reason.
    closed: Mutex<Option<String>>,
    lapsed: OnceLock<String>,
    /// Somebody promised to beat.
    watched: AtomicBool,
    /// When it beat last, in nanoseconds since `born`.
    beat: AtomicU64,
    born: Instant,
    /// Fencing epoch of the engine whose commands pass; 0 until one is set.
    epoch: AtomicU64,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gate {
    pub fn new(clock: Clock) -> Gate {
        Gate {
            clock,
            stopped: AtomicBool::new(false),
            hand: Mutex::new(()),
            presses: AtomicU64::new(0),
            pressed: watch::Sender::new(None),
            efforts: Mutex::default(),
            lines: Mutex::default(),
            wake: Notify::new(),
            closed: Mutex::default(),
            lapsed: OnceLock::new(),
            watched: AtomicBool::new(false),
            beat: AtomicU64::new(0),
            born: Instant::now(),
            epoch: AtomicU64::new(0),
        }
    }

    /// An instrument whose safe state the emergency stop sends. `watchdog`: it stops by itself after
    /// so long without a message, of whatever kind.
    // SAFETY(lab): where the device hears but does not obey, its own watchdog is the next to act,
    // and every try puts it off: the tries come to lie farther apart than it waits. (A pause is
    // between half and all of its span.)
    pub fn add(&self, instrument: String, line: Arc<Urgent>, watchdog: Option<Duration>) {
        let longest = watchdog.map_or(LONGEST_RETRY, |wait| LONGEST_RETRY.max(wait * 5 / 2));
        locked(&self.lines).push(Member { instrument, line, longest });
    }

    /// Whether a device that stops by itself may be told that all is well: while the engine that is
    /// to watch over it is at work, was heard of no longer than `within` ago, and, after an emergency
    /// stop, only once it is safe.
    pub fn may_feed(&self, instrument: &str, within: Duration) -> bool {
        if self.lapsed.get().is_some() {
            return false;
        }
        if self.stopped.load(Ordering::SeqCst) {
            let efforts = locked(&self.efforts);
            if efforts.get(instrument).is_none_or(|effort| effort.state != Stopped::Confirmed) {
                return false;
            }
        }
        self.silent_for() <= within
    }

    /// How long ago the engine that promised to beat was heard of.
    fn silent_for(&self) -> Duration {
        if !self.watched.load(Ordering::SeqCst) {
            return Duration::ZERO;
        }
        let beat = Duration::from_nanos(self.beat.load(Ordering::SeqCst));
        self.born.elapsed().saturating_sub(beat)
    }

    pub fn close(&self, reason: &str) {
        *locked(&self.closed) = Some(reason.to_owned());
    }

    pub fn open(&self) {
        *locked(&self.closed) = None;
    }

    /// Whether a command that may have an effect may pass; the error says why not.
    pub fn check(&self, epoch: u64) -> Result<(), String> {
        if let Some(why) = self.lapsed.get() {
            return Err(lapsed_text(why));
        }
        if self.stopped.load(Ordering::SeqCst) {
            let by = self.pressed.borrow().as_ref().map(|pressed| pressed.by.clone());
            return Err(format!(
                "the gate is closed: {} pressed the emergency stop; it opens when a person clears it",
                by.as_deref().unwrap_or("somebody")
            ));
        }
        let silent = self.silent_for();
        if silent > LEASE_OLD {
            return Err(format!(
                "the gate is closed: the engine was not heard of for {:.0} s, and somebody else may \
                 have its instruments by now",
                silent.as_secs_f64()
            ));
        }
        if let Some(reason) = &*locked(&self.closed) {
            return Err(format!("the gate is closed: {reason}"));
        }
        let current = self.epoch.load(Ordering::SeqCst);
        if epoch != current {
            return Err(format!(
                "the gate is closed: the command is of engine {epoch}, and the instruments are \
                 engine {current}'s"
            ));
        }
        Ok(())
    }

    pub fn set_epoch(&self, epoch: u64) {
        self.epoch.store(epoch, Ordering::SeqCst);
    }

    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    /// Takes note of how a safe state went.
    pub fn reported(&self, instrument: &str, confirmed: bool, detail: &str) {
        if !self.stopped.load(Ordering::SeqCst) {
            return;
        }
        let mut efforts = locked(&self.efforts);
        let Some(effort) = efforts.get_mut(instrument) else { return };
        if confirmed {
            effort.state = Stopped::Confirmed;
            effort.again_at = None;
            return;
        }
        let tries = match &effort.state {
            Stopped::NotConfirmed { tries, .. } => tries.saturating_add(1),
            Stopped::Pending | Stopped::Confirmed => 1,
        };
        effort.state = Stopped::NotConfirmed { detail: detail.to_owned(), tries };
        let lapsed = self.lapsed.get().is_some();
        effort.again_at = (!lapsed).then(|| Instant::now() + effort.backoff.pause());
        drop(efforts);
        self.wake.notify_one();
    }

    /// Asks again where it is time to; the next time for the others.
    fn ask_again(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut due = Vec::new();
        let mut efforts = locked(&self.efforts);
        for (instrument, effort) in efforts.iter_mut() {
            if effort.again_at.is_some_and(|at| at <= now) {
                effort.again_at = Some(now + UNANSWERED);
                due.push(instrument.clone());
            }
        }
        let next = efforts.values().filter_map(|effort| effort.again_at).min();
        drop(efforts);
        for member in &*locked(&self.lines) {
            if due.contains(&member.instrument) {
                member.line.safe_state(&member.instrument);
            }
        }
        next
    }
}

fn lapsed_text(why: &str) -> String {
    format!("the lease of this engine has lapsed: {why}; the instruments are no longer its own")
}

/// Asks instruments that did not confirm their safe state again, for as long as it lives.
pub(super) async fn insist(gate: Arc<Gate>) {
    loop {
        let next = gate.ask_again();
        let pause = async {
            match next {
                Some(next) => tokio::time::sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = gate.wake.notified() => {}
            () = pause => {}
        }
    }
}

/// The emergency stop of all instruments of a fleet; cheap to clone, and works from any thread.
#[derive(Debug, Clone)]
pub struct EmergencyStop(pub(super) Arc<Gate>);

impl EmergencyStop {
    /// The stop of nothing, for instruments that are not there.
    pub fn detached(clock: Clock) -> EmergencyStop {
        EmergencyStop(Arc::new(Gate::new(clock)))
    }

    /// Closes the gate for all instruments, and has every line send its safe states ahead of every
    /// queue. Waits for nothing. Pressed again, it sends the safe states again.
    // SAFETY(lab): the gate closes first, with one store that needs no lock; whatever stands between
    // the gate and the wire just now gives way to the safe state before its first byte.
    pub fn press(&self, by: &str) {
        self.press_at(by, self.0.clock.wall());
    }

    /// The same for one that was pressed earlier, before this process began.
    pub fn press_at(&self, by: &str, at: jiff::Timestamp) {
        let gate = &*self.0;
        gate.stopped.store(true, Ordering::SeqCst);
        let _hand = locked(&gate.hand);
        gate.stopped.store(true, Ordering::SeqCst);
        let number = gate.presses.fetch_add(1, Ordering::SeqCst).saturating_add(1);
        let lines = locked(&gate.lines);
        {
            let mut efforts = locked(&gate.efforts);
            for (seed, member) in lines.iter().enumerate() {
                let effort = Effort {
                    state: Stopped::Pending,
                    again_at: Some(Instant::now() + UNANSWERED),
                    backoff: Backoff::up_to(member.longest, seed as u64),
                };
                efforts.insert(member.instrument.clone(), effort);
            }
        }
        for member in &*lines {
            member.line.safe_state(&member.instrument);
        }
        drop(lines);
        gate.pressed.send_modify(|pressed| {
            let first = pressed.take();
            let (by, at) = first.map_or_else(|| (by.to_owned(), at), |first| (first.by, first.at));
            *pressed = Some(Pressed { by, at, number });
        });
        gate.wake.notify_one();
    }

    /// Who keeps the gate closed, if it is.
    pub fn pressed(&self) -> Option<Pressed> {
        self.0.pressed.borrow().clone()
    }

    /// Changes whenever it is pressed or cleared.
    pub fn watch(&self) -> watch::Receiver<Option<Pressed>> {
        self.0.pressed.subscribe()
    }

    /// How each instrument stands since it was pressed; empty when it is not.
    pub fn outcomes(&self) -> BTreeMap<String, Stopped> {
        let efforts = locked(&self.0.efforts);
        efforts.iter().map(|(name, effort)| (name.clone(), effort.state.clone())).collect()
    }

    /// Instruments that have not confirmed their safe state, each with what is known.
    pub fn not_confirmed(&self) -> BTreeMap<String, String> {
        let told = |(name, state)| match state {
            Stopped::Confirmed => None,
            Stopped::Pending => Some((name, "no answer yet".to_owned())),
            Stopped::NotConfirmed { detail, .. } => Some((name, detail)),
        };
        self.outcomes().into_iter().filter_map(told).collect()
    }

    /// Opens the gate again, if nobody pressed since `number` (see [`Pressed`]); `false` when somebody
    /// did. Whether it may be opened is the engine's to say, after it is in the journal.
    pub fn clear(&self, number: u64) -> bool {
        let gate = &*self.0;
        let _hand = locked(&gate.hand);
        if gate.presses.load(Ordering::SeqCst) != number {
            return false;
        }
        locked(&gate.efforts).clear();
        gate.pressed.send_replace(None);
        gate.stopped.store(false, Ordering::SeqCst);
        true
    }
}

/// The right to speak to a fleet's instruments; cheap to clone, and works from any thread.
#[derive(Debug, Clone)]
pub struct Lease(pub(super) Arc<Gate>);

impl Lease {
    /// From now on commands of this fencing epoch pass, and no other.
    pub fn take(&self, epoch: u64) {
        self.0.set_epoch(epoch);
    }

    /// Fencing epoch whose commands pass.
    pub fn epoch(&self) -> u64 {
        self.0.epoch()
    }

    /// The instruments belong to somebody else now: nothing is sent to any of them any more, not
    /// even a safe state, which would be a second hand on another's experiment. For good.
    pub fn lapse(&self, why: &str) {
        // The first reason stays.
        let _ = self.0.lapsed.set(why.to_owned());
        for member in &*locked(&self.0.lines) {
            member.line.lapse();
        }
    }

    /// Why it has lapsed, if it has.
    pub fn lapsed(&self) -> Option<String> {
        self.0.lapsed.get().map(|why| lapsed_text(why))
    }
}

/// The pulse of the engine that watches over a fleet; cheap to clone, and works from any thread.
///
/// Devices that stop by themselves when nobody talks to them are kept from that only while it beats:
/// a driver that goes on by itself must not make an engine look alive that is stuck.
#[derive(Debug, Clone)]
pub struct Health(pub(super) Arc<Gate>);

impl Health {
    /// The pulse for nobody.
    pub fn detached(clock: Clock) -> Health {
        Health(Arc::new(Gate::new(clock)))
    }

    /// All is well now. From the first beat on it is counted upon.
    pub fn beat(&self) {
        let since = self.0.born.elapsed();
        self.0.beat.store(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX), Ordering::SeqCst);
        self.0.watched.store(true, Ordering::SeqCst);
    }

    /// Nobody watches over the fleet any more, on purpose.
    pub fn rest(&self) {
        self.0.watched.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
