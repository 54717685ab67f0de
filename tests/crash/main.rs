//! What a real process does when it is killed, when the operating system says no, when the disk is full,
//! when clocks are set: over real wires, against instruments that count what they are told.
//!
//! | | |
//! |---|---|
//! | `lane` | a lab whose instruments outlive the engine, and the oracle that compares their count with the journal |
//! | `kills` | SIGKILL at random moments |
//! | `points` | SIGKILL at every n-th call of the operating system |
//! | `doubts` | what nothing can tell is asked, and answered by a person |
//! | `failing_calls` | the n-th call fails |
//! | `disk_full` | a disk that fills up or cannot be written |
//! | `clocks` | clocks that are set, engines that are stopped |
//! | `adapter` | the cable of the pumps is pulled out |
//! | `two_engines` | a second engine on the same folder |
//! | `hazards` | the page that lists them all |
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod adapter;
#[path = "../bench/mod.rs"]
mod bench;
mod clocks;
mod disk_full;
mod doubts;
mod failing_calls;
mod hazards;
mod kills;
mod lane;
mod points;
mod two_engines;
