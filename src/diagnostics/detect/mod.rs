//! Streaming detectors: each turns samples of a signal, a line or a pair of signals into a level.
//!
//! Invariant: pure code. No clock, no I/O, no randomness; the same samples give the same levels.
//! Each sample costs bounded constant work and allocates nothing. A detector never fails on data:
//! NaN, infinities, bad quality and time going backwards are counted in [`Intake`] and skipped.
//!
//! | detector | finds | input |
//! |---|---|---|
//! | [`Limit`] | a value past a limit | signal |
//! | [`Rate`] | a value that changes too fast | signal |
//! | [`Stuck`] | a value that repeats for too long | signal, its actuator if there is one |
//! | [`Spike`] | one or two samples far off their neighbours | signal |
//! | [`Noise`] | noise that grew or vanished | signal |
//! | [`Drift`] | a slow wander off the learnt course | signal, moves of the set point |
//! | [`Control`] | a response that does not follow its set point | signal, set point |
//! | [`Steady`] | a signal that has settled | signal |
//! | [`Oscillation`] | a loop that swings | control error |
//! | [`Saturation`] | a value at an end of its range | signal |
//! | [`Disagreement`] | two sensors that should agree | two signals |
//! | [`PeriodicLoss`] | losses that come with a period | times of losses |
//! | [`ReplyTime`] | replies that become slower | reply times |
//! | [`ErrorRate`] | more failed exchanges than usual | outcome of each exchange |
//! | [`ClockSkew`] | a device clock that runs off or jumps | device time at arrival |
//! | [`VolumeBalance`] | volume pumped that was not weighed, or the reverse | rate, mass |

mod agree;
mod clock;
mod control;
mod drift;
mod face;
mod limit;
mod line;
mod loss;
mod noise;
mod oscillation;
mod rate;
mod ring;
mod sentence;
mod spike;
mod steady;
mod stuck;
mod volume;

#[cfg(test)]
mod laws_tests;

pub use agree::{Disagreement, DisagreementSettings};
pub use clock::{ClockSettings, ClockSkew};
pub use control::{Control, ControlSettings};
pub use drift::{Drift, DriftSettings};
pub use face::{
    BadSetting, Detector, Evidence, Intake, Kind, Learnt, Level, Quality, Sample, Symptom,
};
pub use limit::{Limit, LimitSettings, Saturation, SaturationSettings, Side};
pub use line::{ErrorRate, ErrorRateSettings, ReplyTime, ReplyTimeSettings};
pub use loss::{PeriodicLoss, PeriodicLossSettings};
pub use noise::{Noise, NoiseSettings};
pub use oscillation::{Oscillation, OscillationSettings};
pub use rate::{Rate, RateSettings};
pub use sentence::Sentence;
pub use spike::{Spike, SpikeSettings};
pub use steady::{Steady, SteadySettings};
pub use stuck::{Stuck, StuckSettings};
pub use volume::{VolumeBalance, VolumeSettings};
