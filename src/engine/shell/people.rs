//! What people did, as the journal tells it, and what still rests on the word of one of them.

use super::engine::{Engine, EngineError};
use super::entries::{EngineRecord, Fact, ManualRecord};
use super::history::History;
use super::instruments::Instruments;
use super::manual::SAFE_STATE;
use crate::engine::campaign::CampaignRecord;
use crate::engine::core::{Command, DEADLINE, Record};

/// What a person did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// Commanded runs or campaigns.
    Command(Command),
    /// Wrote something down.
    Note,
    /// Answered a question of a run.
    Answer,
    /// Changed a campaign under way.
    Edit,
    /// Took an experiment out of what the planner learns from.
    Exclude,
    /// Took it back in.
    Include,
    /// Pressed the emergency stop.
    EmergencyStop,
    /// Cleared it, every instrument being confirmed safe.
    Clear,
    /// Cleared it by force: instruments were not confirmed safe.
    ForcedClear,
    /// Let an instrument be used that was not confirmed safe.
    AcceptUnsafe,
    /// Let another unit be used than the one that was there before.
    AcceptUnit,
    /// Took an instrument into their hands.
    Take,
    /// Gave it back.
    Give,
    /// Let runs begin although entries at the end of the journal were lost.
    AcceptLoss,
}

impl Deed {
    /// One word for other programs and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Deed::Command(command) => command.as_str(),
            Deed::Note => "note",
            Deed::Answer => "answer",
            Deed::Edit => "edit",
            Deed::Exclude => "exclude",
            Deed::Include => "include",
            Deed::EmergencyStop => "estop",
            Deed::Clear => "clear",
            Deed::ForcedClear => "forced_clear",
            Deed::AcceptUnsafe => "accept_unsafe",
            Deed::AcceptUnit => "accept_unit",
            Deed::Take => "take",
            Deed::Give => "give",
            Deed::AcceptLoss => "accept_loss",
        }
    }

    /// As people read it.
    pub fn in_words(self) -> &'static str {
        match self {
            Deed::Command(command) => command.as_str(),
            Deed::Note => "note",
            Deed::Answer => "answered",
            Deed::Edit => "edited the campaign",
            Deed::Exclude => "excluded an experiment",
            Deed::Include => "took an experiment back in",
            Deed::EmergencyStop => "pressed the emergency stop",
            Deed::Clear => "cleared the emergency stop",
            Deed::ForcedClear => {
                "cleared the emergency stop by force, not all being confirmed safe"
            }
            Deed::AcceptUnsafe => "let it be used although it was not confirmed safe",
            Deed::AcceptUnit => "let another unit be used than was there before",
            Deed::Take => "took the instrument",
            Deed::Give => "gave the instrument back",
            Deed::AcceptLoss => "accepted that entries of the journal are lost",
        }
    }

    /// It concerns everything that happens in the lab, whatever it names.
    fn is_of_the_lab(self) -> bool {
        match self {
            Deed::Command(_)
            | Deed::Note
            | Deed::Answer
            | Deed::Edit
            | Deed::Exclude
            | Deed::Include => false,
            Deed::EmergencyStop
            | Deed::Clear
            | Deed::ForcedClear
            | Deed::AcceptUnsafe
            | Deed::AcceptUnit
            | Deed::Take
            | Deed::Give
            | Deed::AcceptLoss => true,
        }
    }
}

/// Something that a person did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonHistory {
    /// When, milliseconds since 1970.
    pub wall_ms: i64,
    /// Who.
    pub by: String,
    /// What.
    pub deed: Deed,
    /// Runs, campaigns or instruments it was about; empty if about the lab as a whole.
    pub about: Vec<String>,
    /// The note, the answer, or the reason.
    pub text: String,
}

/// Something that holds on the word of a person, and on nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// Who gave it.
    pub by: String,
    /// When, milliseconds since 1970.
    pub wall_ms: i64,
    /// Why.
    pub reason: String,
    /// What it is about, as the end of a sentence.
    pub of: String,
}

impl PersonHistory {
    /// Whether it has to do with a run, campaign or instrument, or with the lab as a whole.
    pub fn is_about(&self, id: Option<&str>) -> bool {
        let Some(id) = id else { return true };
        let within = |name: &String| {
            name == id || name.strip_prefix(id).is_some_and(|rest| rest.starts_with('.'))
        };
        self.about.is_empty() || self.deed.is_of_the_lab() || self.about.iter().any(within)
    }
}

impl History {
    fn person(&mut self, wall_ms: i64, by: &str, deed: Deed, about: &[String], text: &str) {
        let (by, about, text) = (by.to_owned(), about.to_vec(), text.to_owned());
        self.people.push(PersonHistory { wall_ms, by, deed, about, text });
    }

    /// Takes note of what a person did, and of what holds on their word. Before what follows from
    /// it for the instruments.
    pub(super) fn did(&mut self, record: &EngineRecord, wall_ms: i64) {
        match record {
            EngineRecord::Started { .. } => self.loss = None,
            EngineRecord::Commanded { command, of, by, reason, .. } => {
                self.person(wall_ms, by, Deed::Command(*command), of, reason);
            }
            EngineRecord::Note { text, about, by } => {
                let about: Vec<String> = about.iter().cloned().collect();
                self.person(wall_ms, by, Deed::Note, &about, text);
            }
            EngineRecord::EmergencyStop { by, .. } => {
                self.person(wall_ms, by, Deed::EmergencyStop, &[], "");
            }
            EngineRecord::Cleared { by, reason, not_confirmed } => {
                let forced = !not_confirmed.is_empty();
                let deed = if forced { Deed::ForcedClear } else { Deed::Clear };
                self.person(wall_ms, by, deed, not_confirmed, reason);
                for instrument in not_confirmed {
                    let of = "after the emergency stop".to_owned();
                    self.vouch(instrument, by, reason, of, wall_ms);
                }
            }
            EngineRecord::Freed { instrument, by, .. } if by.is_empty() => {
                self.on_word.remove(instrument);
            }
            EngineRecord::Freed { instrument, by, reason } => {
                let about = [instrument.clone()];
                self.person(wall_ms, by, Deed::AcceptUnsafe, &about, reason);
                let of = match self.barred.get(instrument) {
                    Some(run) => format!("when run {run} ended"),
                    None => "at the end of a run".to_owned(),
                };
                self.vouch(instrument, by, reason, of, wall_ms);
            }
            EngineRecord::Barred { instrument, .. } | EngineRecord::MadeSafe { instrument, .. } => {
                self.on_word.remove(instrument);
            }
            EngineRecord::Identified { instrument, by, reason, .. } if !by.is_empty() => {
                let about = [instrument.clone()];
                self.person(wall_ms, by, Deed::AcceptUnit, &about, reason);
            }
            EngineRecord::Taken { instrument, by, reason } => {
                self.person(wall_ms, by, Deed::Take, std::slice::from_ref(instrument), reason);
            }
            EngineRecord::Given { instrument, by, changed, .. } => {
                let done = match changed.is_empty() {
                    true => String::new(),
                    false => format!("after {}", changed.join(", ")),
                };
                self.person(wall_ms, by, Deed::Give, std::slice::from_ref(instrument), &done);
            }
            EngineRecord::LossAccepted { by, reason, lost } => {
                let (by_whom, why) = (by.clone(), reason.clone());
                let text = if reason.is_empty() { lost.clone() } else { format!("{lost}: {why}") };
                self.person(wall_ms, by, Deed::AcceptLoss, &[], &text);
                let of = lost.clone();
                self.loss = Some(Word { by: by_whom, wall_ms, reason: why, of });
            }
            EngineRecord::Identified { .. }
            | EngineRecord::Away { .. }
            | EngineRecord::ClockStepped { .. }
            | EngineRecord::Gap { .. }
            | EngineRecord::Left { .. }
            | EngineRecord::DiskLow { .. }
            | EngineRecord::DiskBack { .. }
            | EngineRecord::NotOurs { .. } => {}
        }
    }

    /// Takes note of what a person did to a campaign.
    pub(super) fn did_to_campaign(&mut self, id: &str, record: &CampaignRecord, wall_ms: i64) {
        let about = [id.to_owned()];
        match record {
            CampaignRecord::Edited { by, reason, .. } => {
                self.person(wall_ms, by, Deed::Edit, &about, reason);
            }
            CampaignRecord::Excluded { experiment, by, reason, undo } => {
                let deed = if *undo { Deed::Include } else { Deed::Exclude };
                let text = format!("experiment {experiment}: {reason}");
                self.person(wall_ms, by, deed, &about, &text);
            }
            _ => {}
        }
    }

    /// Takes note of what a person answered, and of a safe state that a word is no longer needed
    /// for.
    pub(super) fn did_to_run(&mut self, record: &Record, wall_ms: i64) {
        match record {
            Record::Answer { run, step, answer, by, .. } if by != DEADLINE => {
                let text = format!("`{answer}` to {}", step.path);
                self.person(wall_ms, by, Deed::Answer, std::slice::from_ref(run), &text);
            }
            Record::MadeSafe { instrument, .. } => {
                self.on_word.remove(instrument);
            }
            _ => {}
        }
    }

    /// Takes note of a safe state that was confirmed to a person.
    pub(super) fn did_by_hand(&mut self, record: &ManualRecord) {
        let ManualRecord::Outcome { id, result: Ok(_), .. } = record else { return };
        let given = self.manual.iter().rev().find(|manual| manual.id == *id);
        if let Some(instrument) =
            given.filter(|m| m.step.action == SAFE_STATE).map(|m| m.step.instrument.clone())
        {
            self.on_word.remove(&instrument);
        }
    }

    fn vouch(&mut self, instrument: &str, by: &str, reason: &str, of: String, wall_ms: i64) {
        let (by, reason) = (by.to_owned(), reason.to_owned());
        self.on_word.insert(instrument.to_owned(), Word { by, wall_ms, reason, of });
    }
}

impl<I: Instruments> Engine<I> {
    /// Notes who let runs begin although entries were lost. `lost`: which, for people.
    pub fn accept_loss(
        &mut self,
        by: String,
        reason: String,
        lost: String,
    ) -> Result<(), EngineError> {
        self.note(Fact::Engine(EngineRecord::LossAccepted { by, reason, lost }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(records: &[EngineRecord]) -> History {
        let mut history = History::default();
        for (wall_ms, record) in (1..).zip(records) {
            history.did(record, wall_ms);
            history.bars(record, wall_ms);
        }
        history
    }

    fn barred() -> EngineRecord {
        EngineRecord::Barred { instrument: "pump".into(), run: "a-1.1.1".into() }
    }

    fn freed(by: &str, reason: &str) -> EngineRecord {
        let instrument = "pump".to_owned();
        EngineRecord::Freed { instrument, by: by.to_owned(), reason: reason.to_owned() }
    }

    #[test]
    fn a_word_counts_until_the_instrument_says_it_itself() {
        let history = after(&[barred(), freed("ada", "unplugged")]);
        let word = &history.on_word["pump"];
        assert_eq!(
            (word.by.as_str(), word.wall_ms, word.of.as_str()),
            ("ada", 2, "when run a-1.1.1 ended")
        );
        assert!(history.barred.is_empty());
        let deed = &history.people[0];
        assert_eq!((deed.deed, deed.text.as_str()), (Deed::AcceptUnsafe, "unplugged"));
        assert!(deed.is_about(Some("another-campaign-1")), "it concerns whoever uses the pump");
        let confirmed = [barred(), freed("ada", "unplugged"), freed("", "confirmed")];
        assert!(after(&confirmed).on_word.is_empty());
        assert!(after(&[barred(), freed("ada", "x"), barred()]).on_word.is_empty(), "barred again");
    }

    #[test]
    fn a_forced_clearing_is_told_from_one_that_was_not() {
        let cleared = |not_confirmed: &[&str]| EngineRecord::Cleared {
            by: "ada".into(),
            reason: "no power".into(),
            not_confirmed: not_confirmed.iter().map(|n| (*n).to_owned()).collect(),
        };
        assert_eq!(after(&[cleared(&[])]).people[0].deed, Deed::Clear);
        let forced = after(&[cleared(&["pump"])]);
        assert_eq!(forced.people[0].deed, Deed::ForcedClear);
        assert_eq!(forced.people[0].about, ["pump"]);
        assert_eq!(forced.on_word["pump"].reason, "no power");
    }
}
