//! Which unit an instrument is, and whose its session is.
//!
//! What a unit answers to the questions of `identify:` that take a `{value}`, such as its serial
//! number and firmware, is its identity. After a reconnect, and after a restart of the engine, the
//! same unit must answer; what another one is told would be told to a stranger.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Longest identity that is kept; an instrument can answer anything.
const LONGEST: usize = 500;

/// What is known of the unit.
#[derive(Debug, Default)]
pub(super) struct Unit {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    known: Option<String>,
    /// Why it cannot be used until a person accepts it.
    strange: Option<String>,
    /// What the stranger answered.
    found: Option<String>,
}

/// What an identity means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Met {
    /// The unit that was there before.
    Same,
    /// The first that was ever there.
    First,
    /// Another one; why it is not used, and whether that is news.
    Stranger { why: String, news: bool },
}

impl Unit {
    pub fn new(known: Option<String>) -> Unit {
        Unit { state: Mutex::new(State { known, ..State::default() }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of an identity; empty: the instrument cannot tell.
    pub fn meet(&self, found: &str) -> Met {
        let found: String = found.chars().take(LONGEST).collect();
        let mut state = self.state();
        if found.is_empty() || state.known.as_ref() == Some(&found) {
            state.strange = None;
            return Met::Same;
        }
        let Some(known) = state.known.clone() else {
            state.known = Some(found);
            return Met::First;
        };
        let why = format!(
            "another unit answers, or its firmware was changed: `{found}` instead of `{known}`; \
             put the right one back, or accept this one"
        );
        let news = state.found.as_ref() != Some(&found) || state.strange.is_none();
        state.found = Some(found);
        state.strange = Some(why.clone());
        Met::Stranger { why, news }
    }

    /// Somebody else speaks to the instrument now; it is not spoken to until a person says so.
    pub fn taken_over(&self, why: &str) {
        self.state().strange = Some(why.to_owned());
    }

    /// Why it is not used.
    pub fn strange(&self) -> Option<String> {
        self.state().strange.clone()
    }

    /// A person says that it may be used as it is; its identity now, if it tells one.
    pub fn accept(&self) -> Option<String> {
        let mut state = self.state();
        state.strange = None;
        if let Some(found) = state.found.take() {
            state.known = Some(found);
        }
        state.known.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_unit_is_a_stranger_until_a_person_accepts_it() {
        let unit = Unit::new(None);
        assert_eq!(unit.meet("IKA 1234"), Met::First);
        assert_eq!(unit.meet("IKA 1234"), Met::Same);
        assert!(matches!(unit.meet("IKA 9"), Met::Stranger { news: true, .. }));
        assert!(matches!(unit.meet("IKA 9"), Met::Stranger { news: false, .. }));
        // The right one is put back.
        assert_eq!(unit.meet("IKA 1234"), Met::Same);
        assert_eq!(unit.strange(), None);
        assert!(matches!(unit.meet("IKA 9"), Met::Stranger { news: true, .. }));
        assert_eq!(unit.accept().as_deref(), Some("IKA 9"));
        assert_eq!(unit.meet("IKA 9"), Met::Same);
        assert!(matches!(unit.meet("IKA 1234"), Met::Stranger { .. }));
    }

    #[test]
    fn one_that_cannot_tell_is_never_a_stranger() {
        let unit = Unit::new(Some("IKA 1234".into()));
        assert_eq!(unit.meet(""), Met::Same);
    }
}
