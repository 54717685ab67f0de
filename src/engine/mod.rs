//! The run state machine and the dispatcher around it.
//!
//! `core` is a pure function: `(state, event, now) -> (records, actions)`. It has no clock, no I/O,
//! no randomness and no async, so the same code serves the live run, the dry run on a virtual
//! clock, recovery after a crash and randomized tests. `shell` makes its records durable,
//! performs its actions in that order and feeds back what happened. `campaign` decides, just as
//! purely, what is run next.
//!
//! Architecture invariant: an action that touches an instrument is performed only after the
//! records that came with it are durable (intent before effect).
pub mod campaign;
pub mod core;
pub mod shell;
