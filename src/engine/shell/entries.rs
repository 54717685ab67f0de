//! Facts as journal entries and back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::compiler::graph::{Effect, FailureKind};
use crate::driver::Sent;
use crate::engine::campaign::CampaignRecord;
use crate::engine::core::{Basis, Command, InDoubt, Record};
use crate::expr::Value;
use crate::store::{Entry, Journal, JournalError, StoredEntry, Upkeep};

/// Entries read at a time when a journal is gone through.
pub(super) const PAGE: usize = 5_000;

/// Kind of the entries that say what decisions rest on.
pub(super) const BASIS: &str = "basis";

/// Anything the journal keeps.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    /// An engine took the state folder.
    Engine(EngineRecord),
    /// About a campaign.
    Campaign(String, CampaignRecord),
    /// About a run.
    Run(Record),
    /// What the records of runs that follow it rest on.
    Basis(Basis),
    /// About a command that a person gave by hand.
    Manual(ManualRecord),
    /// About the journal itself, noted by the store.
    Journal(Upkeep),
}

/// Facts about commands given by hand. An intent without outcome is in doubt, as in a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ManualRecord {
    /// A command is about to be sent. Durable before the first byte.
    Intent {
        /// `manual-1`, `manual-2`, ...
        id: String,
        /// Who gave it.
        by: String,
        /// Fencing epoch of whoever sends it.
        epoch: u64,
        /// Hash of the document with the texts of lab and definitions.
        bundle: String,
        /// Instrument of the lab.
        instrument: String,
        /// Where it is, if that is not what the lab says.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<String>,
        /// Action of its definition.
        action: String,
        /// Arguments as sent.
        args: BTreeMap<String, Value>,
        /// What sending twice would do.
        effect: Effect,
        /// Reading of the witness just before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        baseline: Option<Value>,
    },
    /// What became of it.
    Outcome {
        /// Id of the intent.
        id: String,
        /// Value the action returned, or why it failed.
        result: Result<Option<Value>, ManualFailure>,
        /// Reading of the witness afterwards, where the effect was not known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        witness: Option<Value>,
        /// Bytes sent and received, for people; bounded.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        trace: String,
    },
}

/// Why a command given by hand failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ManualFailure {
    /// Class of failure.
    pub kind: FailureKind,
    /// For people: what happened.
    pub message: String,
    /// What is known about its effect on the world.
    pub effect: Sent,
}

impl ManualRecord {
    /// The command it is about.
    pub fn id(&self) -> &str {
        match self {
            ManualRecord::Intent { id, .. } | ManualRecord::Outcome { id, .. } => id,
        }
    }
}

/// Facts about engines.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineRecord {
    /// An engine took the state folder; the number is its fencing epoch.
    Started {
        /// From 1, one more for each engine.
        epoch: u64,
        /// Version of labloop.
        version: String,
        /// `real`, `scaled` or `virtual`.
        time: String,
        /// Lab seconds per wall second; 0 on a virtual clock.
        speed: f64,
        /// What it did where nothing could tell whether a command had its effect.
        #[serde(default)]
        in_doubt: InDoubt,
        /// Lab time it gave the wires beyond the deadlines of steps, in nanoseconds.
        #[serde(default, skip_serializing_if = "is_zero")]
        slack_ns: u64,
        /// What the machine's own clock showed; what was written before it was kept has none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        boot: Option<BootMark>,
        /// It serves: it ends only when it is told to, and says so.
        #[serde(default, skip_serializing_if = "is_false")]
        service: bool,
        /// It keeps what was not confirmed safe at the end of a run from other runs; versions that
        /// did not have none.
        #[serde(default, skip_serializing_if = "is_false")]
        bars: bool,
    },
    /// Nobody was at work before this engine.
    Away {
        /// For so long.
        for_ms: u64,
        /// How that is known.
        by: String,
    },
    /// The wall clock was set. Lab time does not follow it.
    ClockStepped {
        /// Forwards, or backwards if negative.
        by_ms: i64,
    },
    /// The engine did not run for a while: it was stopped, starved, or the machine slept.
    Gap {
        /// For so long.
        for_ms: u64,
        /// Of which the machine was asleep, so that its clocks stood still.
        asleep_ms: u64,
    },
    /// A service ended as it was told to, with its runs held or over.
    Left {
        /// By whom or what.
        by: String,
        /// Runs that are held and go on with the next engine.
        held: u32,
    },
    /// The disk under the state folder is nearly full: telemetry is no longer written, runs are
    /// held.
    DiskLow {
        /// Bytes that were free.
        free: u64,
        /// Fewer than this.
        mark: u64,
    },
    /// The emergency stop was pressed: the gate is closed until it is cleared.
    EmergencyStop {
        /// Who, or what.
        by: String,
        /// When, milliseconds since 1970.
        at_ms: i64,
    },
    /// The safe state that the emergency stop sent was confirmed, or not; noted when that changes.
    MadeSafe {
        /// Instrument.
        instrument: String,
        /// Read back from the instrument.
        confirmed: bool,
        /// What it said.
        detail: String,
    },
    /// A person cleared the emergency stop: the gate is open.
    Cleared {
        /// Who.
        by: String,
        /// Why it was cleared although instruments were not confirmed safe; empty if all were.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
        /// Those.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        not_confirmed: Vec<String>,
    },
    /// A person took an instrument out: no step of a run begins on it until it is given back.
    Taken {
        /// Instrument.
        instrument: String,
        /// Who.
        by: String,
        /// What for.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// An instrument was given back.
    Given {
        /// Instrument.
        instrument: String,
        /// Who gave it back.
        by: String,
        /// What was done to it that may have had an effect.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        changed: Vec<String>,
        /// Runs that had used it and are held because of that.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        held: Vec<String>,
    },
    /// An instrument was not confirmed safe when a run ended: no run may use it until it is.
    Barred {
        /// Instrument.
        instrument: String,
        /// Run that ended.
        run: String,
    },
    /// It may be used again.
    Freed {
        /// Instrument.
        instrument: String,
        /// Who says so; empty if the instrument has confirmed its safe state.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        by: String,
        /// Why, or what the instrument said.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// Which unit an instrument is.
    Identified {
        /// Instrument.
        instrument: String,
        /// What it answered; empty if it cannot tell.
        identity: String,
        /// Who accepted it in the place of another; empty for the first that was there.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        by: String,
        /// Why, if that was said.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// Entries at the end of the journal were lost, and a person says that they have looked at the
    /// lab and that runs may begin.
    LossAccepted {
        /// Who.
        by: String,
        /// Why, if that was said.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
        /// Which entries, as far as that is known.
        lost: String,
    },
    /// Another unit answered than before, or another client took an instrument over.
    NotOurs {
        /// Instrument.
        instrument: String,
        /// What was seen.
        detail: String,
    },
    /// There is room again: runs go on.
    DiskBack {
        /// Bytes that are free.
        free: u64,
    },
    /// A person commanded something, and it is being carried out.
    Commanded {
        /// What.
        command: Command,
        /// Run or campaign it was for; all if `None`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        target: Option<String>,
        /// Runs and campaigns that this meant.
        of: Vec<String>,
        /// Who.
        by: String,
        /// Why, if that was said.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// A person wrote something down.
    Note {
        /// What.
        text: String,
        /// Run, campaign or instrument it is about.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        about: Option<String>,
        /// Who.
        by: String,
    },
}

fn is_false(flag: &bool) -> bool {
    !*flag
}

/// A moment on the clock that runs from the start of a machine, which nobody can set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootMark {
    /// Which start of which machine.
    pub id: String,
    /// Time since then, with the time the machine was asleep.
    pub since_ms: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Fact {
    /// As an entry of the journal.
    ///
    /// Errors: a value that JSON cannot hold, such as an infinite number.
    pub fn entry(&self, tick: u64, wall_ms: i64) -> Result<Entry, serde_json::Error> {
        let (subject, kind, body) = match self {
            Fact::Engine(record) => {
                ("engine".to_owned(), engine_kind(record), serde_json::to_string(record)?)
            }
            Fact::Campaign(id, record) => {
                (id.clone(), campaign_kind(record), serde_json::to_string(record)?)
            }
            Fact::Run(record) => {
                (record.run().to_owned(), run_kind(record), serde_json::to_string(record)?)
            }
            // A subject of its own: who takes the folder over reads all about engines.
            Fact::Basis(basis) => (BASIS.to_owned(), BASIS, serde_json::to_string(basis)?),
            Fact::Manual(record) => {
                let kind = match record {
                    ManualRecord::Intent { .. } => "manual_intent",
                    ManualRecord::Outcome { .. } => "manual_outcome",
                };
                (record.id().to_owned(), kind, serde_json::to_string(record)?)
            }
            Fact::Journal(upkeep) => return Ok(upkeep.entry(tick, wall_ms)),
        };
        Ok(Entry { tick, wall_ms, subject, kind, body })
    }

    /// From an entry of the journal.
    pub fn read(entry: &StoredEntry) -> Result<Fact, JournalError> {
        let fact = match entry.kind.as_str() {
            kind if kind.starts_with("engine_") => {
                serde_json::from_str(&entry.body).map(Fact::Engine)
            }
            kind if kind.starts_with("campaign_") => serde_json::from_str(&entry.body)
                .map(|record| Fact::Campaign(entry.subject.clone(), record)),
            kind if kind.starts_with("journal_") => {
                serde_json::from_str(&entry.body).map(Fact::Journal)
            }
            BASIS => serde_json::from_str(&entry.body).map(Fact::Basis),
            kind if kind.starts_with("manual_") => {
                serde_json::from_str(&entry.body).map(Fact::Manual)
            }
            _ => serde_json::from_str(&entry.body).map(Fact::Run),
        };
        fact.map_err(|error| JournalError::Broken {
            path: "journal.db".into(),
            seq: entry.seq,
            what: format!(
                "this labloop cannot read it ({error}); was it written by another version?"
            ),
        })
    }
}

fn campaign_kind(record: &CampaignRecord) -> &'static str {
    match record {
        CampaignRecord::Started { .. } => "campaign_started",
        CampaignRecord::Resumed { .. } => "campaign_resumed",
        CampaignRecord::Proposed { .. } => "campaign_proposed",
        CampaignRecord::Assigned { .. } => "campaign_assigned",
        CampaignRecord::RunOver { .. } => "campaign_run_over",
        CampaignRecord::Concluded { .. } => "campaign_concluded",
        CampaignRecord::Told { .. } => "campaign_told",
        CampaignRecord::Edited { .. } => "campaign_edited",
        CampaignRecord::Excluded { .. } => "campaign_excluded",
        CampaignRecord::Ended { .. } => "campaign_ended",
    }
}

fn engine_kind(record: &EngineRecord) -> &'static str {
    match record {
        EngineRecord::Started { .. } => "engine_started",
        EngineRecord::Away { .. } => "engine_away",
        EngineRecord::ClockStepped { .. } => "engine_clock_stepped",
        EngineRecord::Gap { .. } => "engine_gap",
        EngineRecord::Left { .. } => "engine_left",
        EngineRecord::DiskLow { .. } => "engine_disk_low",
        EngineRecord::DiskBack { .. } => "engine_disk_back",
        EngineRecord::Commanded { .. } => "engine_commanded",
        EngineRecord::Note { .. } => "engine_note",
        EngineRecord::Taken { .. } => "engine_taken",
        EngineRecord::Given { .. } => "engine_given",
        EngineRecord::Barred { .. } => "engine_barred",
        EngineRecord::Freed { .. } => "engine_freed",
        EngineRecord::Identified { .. } => "engine_identified",
        EngineRecord::LossAccepted { .. } => "engine_loss_accepted",
        EngineRecord::NotOurs { .. } => "engine_not_ours",
        EngineRecord::EmergencyStop { .. } => "engine_emergency_stop",
        EngineRecord::MadeSafe { .. } => "engine_made_safe",
        EngineRecord::Cleared { .. } => "engine_cleared",
    }
}

fn run_kind(record: &Record) -> &'static str {
    match record {
        Record::RunStarted { .. } => "run_started",
        Record::Moved { .. } => "moved",
        Record::Released { .. } => "released",
        Record::Cancelling { .. } => "cancelling",
        Record::ToHold { .. } => "to_hold",
        Record::AtHold { .. } => "at_hold",
        Record::Held { .. } => "held",
        Record::Begun { .. } => "begun",
        Record::Intent { .. } => "intent",
        Record::Outcome { .. } => "outcome",
        Record::Resolved { .. } => "resolved",
        Record::Ended { .. } => "ended",
        Record::Decided { .. } => "decided",
        Record::Retrying { .. } => "retrying",
        Record::Handling { .. } => "handling",
        Record::PassedOver { .. } => "passed_over",
        Record::Question { .. } => "question",
        Record::Answer { .. } => "answer",
        Record::Paused { .. } => "paused",
        Record::BodyEnded { .. } => "body_ended",
        Record::FinallyEnded { .. } => "finally_ended",
        Record::MadeSafe { .. } => "made_safe",
        Record::RunEnded { .. } => "run_ended",
    }
}

/// Goes through a journal in order.
pub fn read_facts(
    journal: &Journal,
    mut each: impl FnMut(&StoredEntry, Fact),
) -> Result<(), JournalError> {
    let mut after = 0;
    loop {
        let page = journal.read(after, PAGE)?;
        let Some(last) = page.last() else { return Ok(()) };
        after = last.seq;
        for entry in &page {
            each(entry, Fact::read(entry)?);
        }
    }
}
