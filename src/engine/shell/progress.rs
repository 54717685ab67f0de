//! What the engine tells whoever watches.

use crate::engine::campaign::{Conclusion, EndReason, Hypothesis, Verdict, campaign_of};
use crate::engine::core::{Command, Ending, Parked, RunState};

/// Something happened that people may want to see. Already durable when told.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Progress {
    /// An experiment was proposed.
    Proposed {
        /// Campaign.
        campaign: String,
        /// From 1.
        experiment: u32,
        /// What is expected.
        hypothesis: Hypothesis,
    },
    /// A run began.
    RunStarted {
        /// Run.
        run: String,
        /// Predicted duration, lab seconds.
        expected_s: f64,
    },
    /// A step began.
    Step {
        /// Run.
        run: String,
        /// Path.
        path: String,
        /// What it does, `pump_1.start`.
        what: String,
    },
    /// A step failed.
    StepFailed {
        /// Run.
        run: String,
        /// Path.
        path: String,
        /// Why.
        why: String,
    },
    /// A doubt was resolved.
    Resolved {
        /// Run.
        run: String,
        /// Path.
        path: String,
        /// done, not done, discard.
        resolution: String,
        /// By what.
        evidence: String,
    },
    /// A person is asked.
    Question {
        /// Run.
        run: String,
        /// Path.
        path: String,
        /// Text.
        question: String,
        /// Answers.
        options: Vec<String>,
    },
    /// A run is over.
    RunEnded {
        /// Run.
        run: String,
        /// How.
        ending: Ending,
        /// Why, if not complete.
        cause: String,
        /// Instruments not confirmed safe.
        not_confirmed: Vec<String>,
    },
    /// An experiment is over.
    Concluded {
        /// Campaign.
        campaign: String,
        /// From 1.
        experiment: u32,
        /// What it brought.
        conclusion: Conclusion,
        /// What became of its hypothesis.
        verdict: Verdict,
    },
    /// An instrument came or went.
    Link {
        /// Instrument.
        instrument: String,
        /// Now up?
        up: bool,
        /// Why.
        detail: String,
    },
    /// An instrument reports something a person should know.
    Alarm {
        /// Instrument.
        instrument: String,
        /// What.
        detail: String,
    },
    /// The emergency stop was pressed: the gate is closed, safe states are on their way.
    EmergencyStop {
        /// Who, or what.
        by: String,
    },
    /// After an emergency stop an instrument did not confirm its safe state; it is told again and
    /// again, and so is this.
    NotConfirmedSafe {
        /// Instrument.
        instrument: String,
        /// Why.
        why: String,
    },
    /// An instrument that was not confirmed safe when a run ended may be used again.
    Freed {
        /// Instrument.
        instrument: String,
        /// Who says so; empty if it has confirmed its safe state.
        by: String,
    },
    /// The emergency stop was cleared: the gate is open.
    Cleared {
        /// Who.
        by: String,
    },
    /// Something about the engine itself, its disk or its clock.
    Engine {
        /// What, as a sentence.
        detail: String,
    },
    /// Runs wait for instruments or places that others have: all of them, in the order they are
    /// served. Empty: no run waits any more.
    Parked {
        /// Each with what it waits for and who has it.
        runs: Vec<Parked>,
    },
    /// A run came to another state, or another cause holds it too.
    Moved {
        /// Run.
        run: String,
        /// State it is in now.
        to: RunState,
        /// Who.
        by: String,
        /// Why.
        why: String,
    },
    /// An instrument of a run that is being held is in its hold state, or was not confirmed to be.
    AtHold {
        /// Run.
        run: String,
        /// Instrument.
        instrument: String,
        /// Read back from the instrument.
        confirmed: bool,
        /// What it said.
        detail: String,
    },
    /// A person commanded something, and it is being carried out.
    Commanded {
        /// What.
        command: Command,
        /// Who.
        by: String,
        /// Why, if that was said.
        reason: String,
    },
    /// The campaign is over.
    CampaignEnded {
        /// Campaign.
        campaign: String,
        /// Why.
        reason: EndReason,
    },
}

impl Progress {
    /// The campaign it is about, if it is about one.
    pub fn campaign(&self) -> Option<&str> {
        match self {
            Progress::Proposed { campaign, .. }
            | Progress::Concluded { campaign, .. }
            | Progress::CampaignEnded { campaign, .. } => Some(campaign),
            Progress::RunStarted { run, .. }
            | Progress::Step { run, .. }
            | Progress::StepFailed { run, .. }
            | Progress::Resolved { run, .. }
            | Progress::Question { run, .. }
            | Progress::Moved { run, .. }
            | Progress::AtHold { run, .. }
            | Progress::RunEnded { run, .. } => campaign_of(run),
            Progress::Link { .. }
            | Progress::Parked { .. }
            | Progress::Alarm { .. }
            | Progress::Engine { .. }
            | Progress::Commanded { .. }
            | Progress::EmergencyStop { .. }
            | Progress::NotConfirmedSafe { .. }
            | Progress::Freed { .. }
            | Progress::Cleared { .. } => None,
        }
    }
}

/// Gets told what happens, on the engine's own task: must be quick and must not block.
pub type Observer = Box<dyn FnMut(&Progress) + Send>;
