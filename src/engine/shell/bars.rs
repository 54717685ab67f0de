//! Instruments that were not confirmed safe when a run ended.
//!
//! ```text
//! run ends, `pump` is not confirmed safe -> barred: no run gets it
//!    safe state again after 5 s, 10 s, ... 5 min, for ever -> confirmed -> freed
//!    a person looks at it and says why it may be used      -----------> freed
//! ```
//!
//! The core bars an instrument itself, with the record of its safe state; the note beside it is for
//! the engines that come after, which do not read again what is over. Where nobody else has the
//! instrument in hand its safe state is sent again; nothing else is, except what a person gives by
//! hand. An engine that has nothing left to do ends all the same, and the next one goes on with it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::control::{Refusal, RefusalKind, Reply};
use super::engine::{Engine, EngineError};
use super::entries::{EngineRecord, Fact};
use super::history::History;
use super::instruments::Instruments;
use super::progress::Progress;
use crate::engine::core::{Event, Tick};

/// Until the safe state is sent again for the first time: a link that broke is back by then.
const AGAIN_FIRST: Duration = Duration::from_secs(5);
/// At most so long from one try to the next: somebody who mends a pump sees it freed while still
/// there, and a line that is dead is not kept busy.
const AGAIN_MOST: Duration = Duration::from_secs(300);

/// When the safe states of instruments that were not confirmed safe are sent again.
#[derive(Debug, Default)]
pub(super) struct Bars {
    again: BTreeMap<String, (Tick, Duration)>,
}

impl Bars {
    /// What earlier engines left is told its safe state at once.
    pub(super) fn restore<'a>(&mut self, left: impl Iterator<Item = &'a String>) {
        self.again = left.map(|name| (name.clone(), (Tick(0), AGAIN_FIRST))).collect();
    }

    /// When the next is due.
    pub(super) fn due(&self) -> Option<Tick> {
        self.again.values().map(|(at, _)| *at).min()
    }
}

impl<I: Instruments> Engine<I> {
    /// Sends the safe states that are due again.
    // SAFETY(lab): an instrument in the hands of a run or of a person is not stopped under them.
    pub(super) fn insist_on_safety(&mut self) {
        let now = self.now();
        let barred: Vec<String> = self.core.barred().keys().cloned().collect();
        self.bars.again.retain(|name, _| barred.contains(name));
        for instrument in barred {
            let first = (now.after(AGAIN_FIRST), AGAIN_FIRST);
            let (at, wait) = *self.bars.again.entry(instrument.clone()).or_insert(first);
            if at > now {
                continue;
            }
            let longer = wait.saturating_mul(2).min(AGAIN_MOST);
            self.bars.again.insert(instrument.clone(), (now.after(wait), longer));
            // The emergency stop sends its own, and more often.
            let others = self.is_stopped()
                || self.hands.hold(&instrument)
                || !self.core.is_free(&instrument)
                || self.making_safe.contains_key(&instrument);
            if !others && let Err(why) = self.instruments.safe_state(&instrument) {
                self.told(Progress::NotConfirmedSafe { instrument, why: why.0 });
            }
        }
    }

    /// An instrument has answered a safe state, whoever sent it.
    pub(super) fn free_confirmed(
        &mut self,
        instrument: &str,
        confirmed: bool,
        detail: &str,
    ) -> Result<(), EngineError> {
        if !self.core.barred().contains_key(instrument) {
            return Ok(());
        }
        if confirmed {
            return self.free(instrument.to_owned(), String::new(), detail.to_owned());
        }
        // The emergency stop tells it itself.
        if !self.is_stopped() {
            let (instrument, why) = (instrument.to_owned(), detail.to_owned());
            self.told(Progress::NotConfirmedSafe { instrument, why });
        }
        Ok(())
    }

    /// A person says that an instrument may be used although it was not confirmed safe.
    pub(super) fn free_by_word(
        &mut self,
        instrument: String,
        run: &str,
        by: String,
        reason: String,
    ) -> Result<Reply, EngineError> {
        match a_word_for(&instrument, run, &reason) {
            Ok(reason) => {
                self.free(instrument, by, reason)?;
                Ok(Reply::Freed { run: run.to_owned() })
            }
            Err(why) => Ok(Reply::Refused(Refusal::new(RefusalKind::NotNow, why))),
        }
    }

    /// Whoever cleared the emergency stop by force has said why what was not confirmed may be used.
    pub(super) fn free_cleared(
        &mut self,
        instruments: &[String],
        by: &str,
        reason: &str,
    ) -> Result<(), EngineError> {
        for instrument in instruments {
            if self.core.barred().contains_key(instrument) {
                self.free(instrument.clone(), by.to_owned(), reason.to_owned())?;
            }
        }
        Ok(())
    }

    fn free(&mut self, instrument: String, by: String, reason: String) -> Result<(), EngineError> {
        self.bars.again.remove(&instrument);
        self.told(Progress::Freed { instrument: instrument.clone(), by: by.clone() });
        let freed = instrument.clone();
        self.note(Fact::Engine(EngineRecord::Freed { instrument, by, reason }))?;
        self.step(Event::Freed { instrument: freed })
    }
}

/// The reason for which an instrument that is not confirmed safe may be used.
///
/// Errors: there is none; what to do.
pub fn a_word_for(instrument: &str, run: &str, reason: &str) -> Result<String, String> {
    match reason.trim() {
        "" => Err(format!(
            "{instrument} is not confirmed safe since run {run} ended; go and look at it, then say \
             why it may be used: `labloop instrument accept {instrument} --reason WHY`"
        )),
        reason => Ok(reason.to_owned()),
    }
}

impl History {
    /// Takes note of an instrument that was not confirmed safe, or is again.
    pub(super) fn bars(&mut self, record: &EngineRecord, wall_ms: i64) {
        match record {
            EngineRecord::Barred { instrument, run } => {
                self.barred.insert(instrument.clone(), run.clone());
                self.barred_since.insert(instrument.clone(), wall_ms);
            }
            EngineRecord::Freed { instrument, .. } => {
                self.barred.remove(instrument);
            }
            EngineRecord::Cleared { not_confirmed, .. } => {
                self.barred.retain(|name, _| !not_confirmed.contains(name));
            }
            _ => {}
        }
    }
}
