//! The dispatcher around the pure core: time, journal, instruments, planner.
//!
//! One task owns the state. It takes what has arrived, lets the core decide, makes all resulting
//! records durable in one commit and only then performs the actions. While a commit is under way
//! further events queue up and share the next one (group commit).
//!
//! ```text
//!   notices, commands, timers -> [inbox] -> core.step -> journal.append -> instruments.send
//!                                   ^                                            |
//!                                   +--------------------------------------------+
//! ```
//!
//! Architecture invariant: knows no HTTP and no terminal; tells what happens to an observer.
mod analyses;
mod bars;
mod behind;
mod brain;
mod bulk;
mod by_hand;
mod change;
mod clocks;
pub mod control;
mod disk;
mod engine;
mod entries;
mod estop;
mod gauge;
mod hand;
mod history;
mod identity;
mod instruments;
mod lab;
mod last_word;
mod live;
mod manual;
mod named;
mod notes;
mod obey;
mod people;
mod perform;
mod prepare;
mod process;
mod progress;
mod questions;
mod replay;
mod search;
mod searches;
mod serving;
mod signals;
mod thinking;
pub mod view;
mod wanted;
mod watch;
pub mod wire_trace;

pub use bars::a_word_for;
pub use behind::runs_left;
pub use brain::{Brain, BrainError, Compile, Goal, Proposal};
pub use bulk::{Reference, read as read_file, references};
pub use by_hand::{ByHand, Disturbed};
pub use change::{Change, ChangeError, change_without_engine};
pub use clocks::{Gone, Passed, boot_mark, passed};
pub use control::{Control, Handle, Inbox};
pub use disk::Disk;
pub use engine::{Engine, EngineError, EngineSetup};
pub use entries::{BootMark, EngineRecord, Fact, ManualFailure, ManualRecord, read_facts};
pub use estop::{StopHistory, clear_without_engine, record_without_engine, stop_without_engine};
pub use gauge::Gauge;
pub use hand::{Called, Left, TakenHistory};
pub use history::{CampaignHistory, History, ManualHistory, RunHistory, StepHistory};
pub use instruments::{Instruments, Refused};
pub use lab::{
    LabError, LabInstruments, TooLate, instrument_setup, read_secret, stop_latencies, too_late,
    with_access,
};
pub use live::{KEPT, Live, SignalView};
pub use manual::{Manual, ManualCommand, ManualError, ManualOutcome, SAFE_STATE, permitted};
pub use named::{Named, verify_named};
pub use notes::note_without_engine;
pub use people::{Deed, PersonHistory, Word};
pub use perform::{progress_of_campaign, progress_of_run};
pub use prepare::{EXPERIMENTS, PrepareError, Prepared, Wish, name_of, parameters};
pub use progress::{Observer, Progress};
pub use questions::{Answered, Questions};
pub use replay::{CampaignDifference, Replayed, replay};
pub use search::{CampaignBrain, SinglePoint, goal, problem_parameters};
pub use searches::{CAMPAIGNS_MAX, CampaignEnd, Finished, SearchSetup};
pub use serving::{HOLD_WITHIN, Order, Pulse, SAFE_WITHIN, Said, ServiceSetup};
pub use signals::Keeping;
pub use wanted::{Wanted, WantedAction, arguments, unknown, wanted};
