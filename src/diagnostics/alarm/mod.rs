//! Alarms after ISA-18.2: conditions a person must know of, from their first sign to the moment when
//! nobody need think of them any longer.
//!
//! Pure, like the engine's core: [`Alarms::tell`] and the commands decide and give [`AlarmRecord`]s,
//! [`Alarms::apply`] is the only way the state changes; so the alarms of a journal are the alarms that
//! were. The states are those of the standard:
//!
//! | state | condition | acknowledged |
//! |---|---|---|
//! | normal | over | - |
//! | unacknowledged | holds | no |
//! | acknowledged | holds | yes |
//! | returned | over | no |
//! | latched | over | either; a person must reset it |
//! | shelved | either | out of sight until a time, with a reason |
//! | suppressed | holds | shown under the alarm that causes it |
//! | out of service | either | out of sight until a person puts it back |
//!
//! Source of states and terms: ANSI/ISA-18.2-2016, clause 5.2 and figure 3 (as summarised in EEMUA 191
//! and in IEC 62682).

mod record;
mod table;
#[cfg(test)]
mod tests;

pub use record::{AlarmKey, AlarmRecord, Declared, Priority};
pub use table::{Alarm, Alarms, Counts, Refused, Standing};
