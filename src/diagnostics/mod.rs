//! What watches a laboratory while it works, outside every run.
//!
//! Pure: samples and moments come in, states and what changed come out. Threads, wires and the journal
//! are the engine's (`engine::shell`).

pub mod alarm;
pub mod detect;
pub mod interlock;
pub mod signals;

/// A moment of lab time in nanoseconds; only differences and order mean something.
pub type Moment = u64;

/// Lab time from `earlier` to `later` in nanoseconds; zero when it is not earlier.
pub(crate) const fn between(earlier: Moment, later: Moment) -> u64 {
    later.saturating_sub(earlier)
}
