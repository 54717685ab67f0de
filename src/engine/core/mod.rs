//! The pure core: decides every step of every run.
//!
//! State changes only by applying records, and records are all that the journal keeps; so state
//! rebuilt from the journal equals the state that was. What is lost in a crash on purpose: live
//! signals, timers and claims, which are derived anew.
//!
//! ```text
//!            StartRun                    body done / failed / stop
//!   (new) ------------> Body ------------------------------> Finally
//!                        |  abort                               |
//!                        v                                      v
//!                       Safe  <-----------------------------  (done)
//!                        |  every started instrument confirmed, or said to be not
//!                        v
//!                       Over
//! ```
mod advance;
mod apply;
mod basis;
mod claims;
mod command;
mod conclude;
mod doubt;
mod events;
mod flow;
mod hold;
mod leaf;
mod machine;
mod parked;
mod plan;
mod question;
mod record;
mod recover;
mod replay;
mod rounds;
mod run;
mod scope;
mod signals;
mod states;
#[cfg(test)]
mod tests;
mod transitions;
mod wake;

pub use basis::{Basis, Told};
pub use command::ENGINE;
pub use events::{Action, Event, Failure, Heard, InDoubt, Output, Reading, Reply};
pub use machine::Core;
pub use parked::{OVERTAKEN_MAX, Obstacle, Parked};
pub use plan::Plan;
pub use question::DEADLINE;
pub use record::{About, Ending, Evidence, Record, Resolution, StepRef, Terms};
pub use recover::in_words;
pub use replay::{Difference, Replay};
pub use run::{Answered, AtHold, HeldBy, OpenQuestion, Phase, Run, Status, StepKey, StepState};
pub use signals::{Signal, Signals};
pub use states::{CAUSES, Cause, Command, Illegal, RunState, STATES, TRIGGERS, Trigger};
pub use transitions::next as next_state;

/// Lab time in nanoseconds since the first start of the state folder's first engine.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct Tick(pub u64);

impl Tick {
    /// This much later; saturates after 584 years.
    pub fn after(self, duration: std::time::Duration) -> Tick {
        Tick(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Time from `earlier` to this; zero if it is not earlier.
    pub fn since(self, earlier: Tick) -> std::time::Duration {
        std::time::Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}
