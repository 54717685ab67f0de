//! Instruments that runs do not get, or get on nobody's word but a person's: who, since when, why,
//! and what ends it.

use std::collections::BTreeMap;

use serde_json::json;

use super::{ask, output};
use crate::engine::shell::view::View;
use crate::engine::shell::{History, TakenHistory, Word};

/// What is withheld, from the live engine where there is one and from the journal.
pub(super) struct Withheld<'a> {
    taken: &'a BTreeMap<String, TakenHistory>,
    /// Each with the run that left it so.
    barred: &'a BTreeMap<String, String>,
    history: &'a History,
}

impl<'a> Withheld<'a> {
    /// The journal's word, unless the engine says otherwise: it knows first.
    pub(super) fn of(history: &'a History, view: Option<&'a View>) -> Withheld<'a> {
        match view {
            Some(view) => Withheld { taken: &view.taken, barred: &view.barred, history },
            None => Withheld { taken: &history.taken, barred: &history.barred, history },
        }
    }

    /// Words of people that count now: not of an instrument that is barred again.
    fn words(&self) -> impl Iterator<Item = (&String, &Word)> {
        self.history.on_word.iter().filter(|(name, _)| !self.barred.contains_key(*name))
    }

    fn since(&self, instrument: &str) -> i64 {
        self.history.barred_since.get(instrument).copied().unwrap_or_default()
    }

    /// One line for each.
    pub(super) fn in_words(&self) -> String {
        let mut text = String::new();
        for (instrument, taken) in self.taken {
            let why = after(": ", &taken.reason);
            let done = after("; done to it since: ", &taken.done.join(", "));
            text.push_str(&format!(
                "{instrument}: in the hands of {}{}{why}{done}. Runs that need it wait; `labloop \
                 instrument give {instrument}` gives it back\n",
                taken.by,
                since(taken.wall_ms)
            ));
        }
        for (instrument, run) in self.barred {
            text.push_str(&format!(
                "{instrument}: NOT CONFIRMED SAFE since run {run} ended{}; no run may use it until \
                 its safe state is confirmed, or after `labloop instrument accept {instrument} \
                 --reason WHY`\n",
                ago(self.since(instrument))
            ));
        }
        for (instrument, word) in self.words() {
            text.push_str(&format!(
                "{instrument}: used on the word of {}{}, although it was not confirmed safe {}{}. \
                 This passes when it confirms a safe state\n",
                word.by,
                since(word.wall_ms),
                word.of,
                after(": ", &word.reason)
            ));
        }
        if let Some(loss) = &self.history.loss {
            text.push_str(&format!(
                "{} were lost from the end of the journal; {} accepted that{}{}\n",
                loss.of,
                loss.by,
                since(loss.wall_ms),
                after(": ", &loss.reason)
            ));
        }
        text
    }

    /// The same for other programs.
    pub(super) fn as_json(&self) -> serde_json::Value {
        let taken = self.taken.iter().map(|(instrument, taken)| {
            json!({
                "instrument": instrument, "state": "taken", "by": taken.by,
                "since": when(taken.wall_ms), "reason": taken.reason, "done": taken.done,
                "to_do": format!("labloop instrument give {instrument}"),
            })
        });
        let barred = self.barred.iter().map(|(instrument, run)| {
            json!({
                "instrument": instrument, "state": "not_confirmed_safe", "run": run,
                "since": when(self.since(instrument)),
                "to_do": format!("labloop instrument accept {instrument} --reason WHY"),
            })
        });
        let on_word = self.words().map(|(instrument, word)| {
            json!({
                "instrument": instrument, "state": "used_on_a_word", "by": word.by,
                "since": when(word.wall_ms), "reason": word.reason, "not_confirmed": word.of,
            })
        });
        taken.chain(barred).chain(on_word).collect()
    }

    /// Who accepted that entries of the journal are lost.
    pub(super) fn loss_as_json(&self) -> serde_json::Value {
        self.history.loss.as_ref().map_or(serde_json::Value::Null, |loss| {
            json!({
                "by": loss.by, "when": when(loss.wall_ms), "reason": loss.reason, "lost": loss.of,
            })
        })
    }
}

fn after(mark: &str, text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{mark}{text}") }
}

/// ` since 2026-11-25T13:00:00Z (3 min 20 s ago)`; nothing where it is not known.
fn since(wall_ms: i64) -> String {
    match wall_ms {
        0 => String::new(),
        ms => format!(" since {} ({} ago)", output::wall(ms), ask::since(ms)),
    }
}

fn ago(wall_ms: i64) -> String {
    match wall_ms {
        0 => String::new(),
        ms => format!(" ({}, {} ago)", output::wall(ms), ask::since(ms)),
    }
}

fn when(wall_ms: i64) -> serde_json::Value {
    match wall_ms {
        0 => serde_json::Value::Null,
        ms => output::wall(ms).into(),
    }
}
