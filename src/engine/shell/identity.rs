//! Which unit each instrument was, and what happens when another one answers.
//!
//! The first identity of an instrument is noted, and every later engine is told it before it
//! connects. Where another unit answers, or another client has taken the instrument over, the drivers
//! send nothing but its safe state; the engine holds the runs that have used it, and a person says
//! what holds from now on. An instrument that restarted is told nothing by itself either: what it
//! needs then moves liquid or axes, so the runs wait for a person who initialises it by hand.

use super::control::{Refusal, RefusalKind, Reply};
use super::engine::{Engine, EngineError};
use super::entries::{EngineRecord, Fact};
use super::instruments::Instruments;
use super::progress::Progress;
use crate::driver::Notice;
use crate::engine::core::{Command, Event};

impl<I: Instruments> Engine<I> {
    /// What a notice means besides what the core makes of it.
    pub(super) fn heed_notice(&mut self, notice: &Notice) -> Result<(), EngineError> {
        match notice {
            Notice::SafeState { instrument, confirmed, detail, trace } => {
                self.note_safe(instrument, *confirmed, detail)?;
                self.free_confirmed(instrument, *confirmed, detail)?;
                self.take_called_safe(instrument, *confirmed, detail, trace)
            }
            Notice::Outcome { attempt, outcome } => self.take_called(attempt, outcome),
            Notice::Identified { instrument, identity } => {
                self.note_identity(instrument.clone(), identity.clone())
            }
            Notice::NotOurs { instrument, detail } => {
                self.note_stranger(instrument.clone(), detail.clone())
            }
            // SAFETY(lab): it has lost what it was told, and perhaps where it stands.
            Notice::Rebooted { instrument, .. } => {
                self.hold_users(instrument, &format!("{instrument} (it restarted)"))
            }
            _ => Ok(()),
        }
    }

    /// The first unit that was ever there said who it is.
    pub(super) fn note_identity(
        &mut self,
        instrument: String,
        identity: String,
    ) -> Result<(), EngineError> {
        let (by, reason) = (String::new(), String::new());
        self.note(Fact::Engine(EngineRecord::Identified { instrument, identity, by, reason }))
    }

    /// An instrument may not be used as it is.
    pub(super) fn note_stranger(
        &mut self,
        instrument: String,
        detail: String,
    ) -> Result<(), EngineError> {
        self.told(Progress::Alarm { instrument: instrument.clone(), detail: detail.clone() });
        let by = format!("{instrument} (not the one it was)");
        self.hold_users(&instrument, &by)?;
        self.note(Fact::Engine(EngineRecord::NotOurs { instrument, detail }))
    }

    /// Holds every run that has sent an instrument something with an effect: what it goes on with
    /// may not hold any more.
    pub(super) fn hold_users(&mut self, instrument: &str, by: &str) -> Result<(), EngineError> {
        let users: Vec<String> = self
            .core
            .open_runs()
            .filter(|run| run.touched.iter().any(|name| name == instrument))
            .map(|run| run.id.clone())
            .collect();
        for run in users {
            let (command, by) = (Command::Hold, by.to_owned());
            self.step(Event::Command { run, command, by })?;
        }
        Ok(())
    }

    /// A person says that an instrument may be used as it is. Runs stay held until they are
    /// resumed. One that was not confirmed safe is that first, with a reason; whether it is the
    /// unit it was is said in a second word.
    pub(super) fn accept(
        &mut self,
        instrument: String,
        by: String,
        reason: String,
    ) -> Result<Reply, EngineError> {
        if let Some(run) = self.core.barred().get(&instrument).cloned() {
            return self.free_by_word(instrument, &run, by, reason);
        }
        Ok(match self.instruments.accept(&instrument) {
            Ok(identity) => {
                let identity = identity.unwrap_or_default();
                let known = identity.clone();
                let record = EngineRecord::Identified { instrument, identity, by, reason };
                self.note(Fact::Engine(record))?;
                Reply::Accepted { identity: known }
            }
            Err(why) => Reply::Refused(Refusal::new(RefusalKind::UnknownId, why.0)),
        })
    }
}
