//! What people tell instruments while no engine is at work. The runs that had used them go on later,
//! with a lab that is not as they left it: the next engine holds them.
//!
//! Architecture invariant: nothing is kept for this but the intents of the commands themselves. A run
//! is held until it was let go on after the intent, so an engine that dies leaves it to the one after
//! it, whether or not it had noted the hold.

use super::engine::Engine;
use super::entries::ManualRecord;
use super::history::{History, RunHistory};
use super::instruments::Instruments;
use crate::compiler::graph::Effect;
use crate::driver::Sent;
use crate::engine::core::Core;

/// Something that an instrument was told by hand while no engine was at work, and that may have had
/// an effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ByHand {
    /// Name of the command in the journal.
    pub id: String,
    /// Who gave it.
    pub by: String,
    /// To which instrument.
    pub instrument: String,
    /// What it was told.
    pub action: String,
    /// Its entry.
    pub(super) seq: u64,
}

/// A run that may not go on as if nothing had happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disturbed {
    /// The run.
    pub run: String,
    /// Who did what to its instruments.
    pub by: String,
}

impl History {
    /// Takes note of a command that was given by hand under a number that no engine has.
    pub(super) fn by_hand_alone(&mut self, record: &ManualRecord, seq: u64) {
        match record {
            ManualRecord::Intent { id, by, epoch, instrument, action, effect, .. } => {
                // An engine holds the runs it is at work with by itself.
                if *epoch != self.engine_epoch && *effect != Effect::Read {
                    let (id, by) = (id.clone(), by.clone());
                    let (instrument, action) = (instrument.clone(), action.clone());
                    self.by_hand.push(ByHand { id, by, instrument, action, seq });
                }
            }
            ManualRecord::Outcome { id, result: Err(failure), .. }
                if failure.effect == Sent::NotSent =>
            {
                self.by_hand.retain(|hand| hand.id != *id);
            }
            ManualRecord::Outcome { .. } => {}
        }
    }

    /// Open runs that have used an instrument which a person has told something since, and to which
    /// nobody has said a word after that.
    pub fn disturbed(&self, core: &Core) -> Vec<Disturbed> {
        self.open_runs().filter_map(|run| self.disturbance(run, core)).collect()
    }

    fn disturbance(&self, run: &RunHistory, core: &Core) -> Option<Disturbed> {
        let touched = &core.run(&run.run)?.touched;
        let since = run.resumed_at.max(run.first_at);
        let hands = self.by_hand.iter().filter(|hand| hand.seq > since);
        let mut told: Vec<String> = hands
            .filter(|hand| touched.contains(&hand.instrument))
            .map(|ByHand { by, action, instrument, .. }| {
                format!("{by}, who sent {action} to {instrument} by hand")
            })
            .collect();
        // A person who insists has said the same thing many times.
        told.dedup();
        (!told.is_empty()).then(|| Disturbed {
            run: run.run.clone(),
            by: format!("{} while no engine was at work", told.join("; ")),
        })
    }
}

impl<I: Instruments> Engine<I> {
    /// Holds runs whose instruments were told something by hand while no engine was at work, until a
    /// person lets each of them go on. Call before [`Engine::recover`]: nothing of them may be sent
    /// before.
    // SAFETY(lab): what a run goes on with rests on what its instruments were told.
    pub fn hold_disturbed(&mut self, runs: &[Disturbed]) {
        for Disturbed { run, by } in runs {
            self.hold_before_recovery(std::slice::from_ref(run), by);
        }
    }
}
