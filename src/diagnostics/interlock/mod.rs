//! Interlocks: conditions of the lab that make the runtime act, or refuse, by itself.
//!
//! Level-triggered: a condition is judged on its inputs as they stand, at installation, at each sample
//! and at each tick; nothing depends on having seen it change. What is not known counts against
//! safety: an input that was never read, is stale, is no number or cannot be computed with lets the
//! condition hold. Kleene's `or` and `and` decide what an unknown part means for the whole, so
//! `a > 100 degC or b > 100 degC` trips on `a` alone while `b` is lost.
//!
//! ```text
//! trip_if   clear -> pending (`for:`) -> tripped -> returned -> clear
//!                                        (acts)     (latched: until a person resets it)
//! forbid    allowed <-> refused
//! ```
//!
//! Right after installation an input has the time of its own greatest age to be read for the first
//! time: until then interlocks that need it refuse, and do not act yet.

mod live;
mod rules;
#[cfg(test)]
mod tests;

pub use live::{Change, Interlocks, NotReset, Standing, State};
pub use rules::{Act, Does, Input, Installed, Refusal, Rule, rules};
