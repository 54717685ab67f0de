//! States of a campaign and commands to it, named as ISA-88 names those of a run.
//!
//! ```text
//!             pause            hold            stop              abort
//! running ---> pausing .. paused
//! running, paused ---> holding .. held
//! running, paused, held ---> stopping .. stopped
//! all but aborted ---> aborting .. aborted
//! paused, held ---> running   by resume
//! ```
//!
//! A pause begins no run any more and lets those under way come to their ends. A hold, a stop and
//! an abort are the runs' as well: whoever carries a command here carries it there.

use serde::{Deserialize, Serialize};

use super::{Campaign, CampaignRecord, EndReason};
use crate::engine::core::Command;

/// What a person wants of a campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wanted {
    /// That it goes on.
    Run,
    /// That it begins nothing.
    Pause,
    /// That all of it stands still.
    Hold,
    /// That it ends, `finally` included.
    Stop,
    /// That it ends now.
    Abort,
}

impl Wanted {
    pub(super) fn after(command: Command) -> Wanted {
        match command {
            Command::Pause => Wanted::Pause,
            Command::Hold => Wanted::Hold,
            Command::Resume => Wanted::Run,
            Command::Stop => Wanted::Stop,
            Command::Abort => Wanted::Abort,
        }
    }
}

/// State of a campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CampaignState {
    /// It goes on.
    Running,
    /// It begins nothing; runs are under way.
    Pausing,
    /// It begins nothing, and nothing is under way.
    Paused,
    /// Its runs are coming to a stand.
    Holding,
    /// Its runs stand still.
    Held,
    /// Its runs are coming to their ends.
    Stopping,
    /// Ended by a person; it can be resumed.
    Stopped,
    /// Safe states are being sent.
    Aborting,
    /// Ended by a person at once; it can be resumed.
    Aborted,
    /// Ended as it was meant to.
    Complete,
    /// Ended by failures, or by a fault of labloop.
    Ended,
}

impl CampaignState {
    /// As shown to people.
    pub fn as_str(self) -> &'static str {
        match self {
            CampaignState::Running => "running",
            CampaignState::Pausing => "pausing",
            CampaignState::Paused => "paused",
            CampaignState::Holding => "holding",
            CampaignState::Held => "held",
            CampaignState::Stopping => "stopping",
            CampaignState::Stopped => "stopped",
            CampaignState::Aborting => "aborting",
            CampaignState::Aborted => "aborted",
            CampaignState::Complete => "complete",
            CampaignState::Ended => "ended",
        }
    }

    /// Whether it is over.
    pub fn is_over(self) -> bool {
        matches!(
            self,
            CampaignState::Stopped
                | CampaignState::Aborted
                | CampaignState::Complete
                | CampaignState::Ended
        )
    }
}

/// What a command means for a campaign.
#[derive(Debug, Clone, PartialEq)]
pub enum Obedience {
    /// It is carried out: this is the record of it.
    Accepted(CampaignRecord),
    /// There is nothing to do.
    Already,
    /// It cannot be done, for this reason.
    Refused(&'static str),
}

impl Campaign {
    /// State it is in. `rests`: whether a run that is not over is held or paused.
    pub fn state(&self, rests: impl Fn(&str) -> bool) -> CampaignState {
        match (&self.ended, self.wanted) {
            (Some(EndReason::Person(_)), Wanted::Abort) => return CampaignState::Aborted,
            (Some(EndReason::Person(_)), _) => return CampaignState::Stopped,
            (
                Some(EndReason::Goal(_) | EndReason::BudgetSpent(_) | EndReason::SpaceExhausted(_)),
                _,
            ) => return CampaignState::Complete,
            (
                Some(
                    EndReason::Failures(_)
                    | EndReason::FailureBudget { .. }
                    | EndReason::Internal(_),
                ),
                _,
            ) => return CampaignState::Ended,
            (None, _) => {}
        }
        let still = || {
            let mut runs = self.experiments.iter().flat_map(|e| &e.runs);
            runs.all(|r| r.ending.is_some() || rests(&r.run))
        };
        match self.wanted {
            Wanted::Run => CampaignState::Running,
            Wanted::Pause if still() => CampaignState::Paused,
            Wanted::Pause => CampaignState::Pausing,
            Wanted::Hold if still() => CampaignState::Held,
            Wanted::Hold => CampaignState::Holding,
            Wanted::Stop => CampaignState::Stopping,
            Wanted::Abort => CampaignState::Aborting,
        }
    }

    /// What a command means for it now; apply the record to carry it out.
    pub fn obey(&self, command: Command, by: &str, reason: &str) -> Obedience {
        let new = Wanted::after(command);
        if self.ended.is_some() {
            return match command {
                Command::Stop | Command::Abort => Obedience::Already,
                Command::Resume => Obedience::Refused("it has ended; `labloop resume` goes on"),
                Command::Pause | Command::Hold => Obedience::Refused("it has ended"),
            };
        }
        match (self.wanted, new) {
            // What is asked for is there, or more than that.
            (now, new) if now == new => Obedience::Already,
            (Wanted::Abort, Wanted::Stop) | (Wanted::Hold, Wanted::Pause) => Obedience::Already,
            (Wanted::Stop, Wanted::Run | Wanted::Pause | Wanted::Hold) => {
                Obedience::Refused("it is being stopped")
            }
            (Wanted::Abort, _) => Obedience::Refused("it is being aborted"),
            _ => {
                let (by, reason) = (by.to_owned(), reason.to_owned());
                let run = None;
                Obedience::Accepted(CampaignRecord::Told { command, by, reason, run })
            }
        }
    }
}
