//! Runs as the last engine left them, for looking at them while nobody is at work.

use std::time::Duration;

use super::history::History;
use super::view::{RunView, run_view};
use crate::engine::campaign::campaign_of;
use crate::engine::core::{Core, InDoubt};
use crate::store::{Journal, JournalError};

/// What the journal says of each run that is not over: its state, what holds it, and the steps that
/// were under way; times are those at the last entry.
///
/// Errors: an entry or a graph that cannot be read.
pub fn runs_left(journal: &Journal) -> Result<Vec<RunView>, JournalError> {
    let mut core = Core::new(InDoubt::Ask, Duration::ZERO);
    let history = History::recover(journal, &mut core, None)?;
    let view = |run| {
        let run: &crate::engine::core::Run = run;
        run_view(run, campaign_of(&run.id).map(str::to_owned), history.last_tick)
    };
    Ok(core.open_runs().map(view).collect())
}
