//! What is going on in an engine, as told to whoever asks: made when it is asked for, from the
//! state itself, so it costs nothing while nobody looks.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::control::{InstrumentOutcome, Safety};
use super::engine::Engine;
use super::hand::TakenHistory;
use super::instruments::Instruments;
use crate::compiler::graph::NodeKind;
use crate::engine::core::{Evidence, HeldBy, Parked, Run, Status, StepKey, StepState, Tick};
use crate::expr::Value;

/// Steps shown of one run; a protocol with more branches at once is rare, and a view has a size.
const STEPS_MAX: usize = 50;

/// What is going on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct View {
    /// Version of the engine.
    pub version: String,
    /// Its process.
    pub process: u32,
    /// Wall time, milliseconds since 1970.
    pub wall_ms: i64,
    /// Lab seconds per wall second.
    pub speed: f64,
    /// Campaigns that are not over.
    pub campaigns: Vec<CampaignView>,
    /// Runs that are not over, oldest first.
    pub runs: Vec<RunView>,
    /// Runs that wait for instruments or places, each with who has them, in the order they are
    /// served.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parked: Vec<Parked>,
    /// Who pressed the emergency stop that is not cleared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emergency_stop: Option<String>,
    /// Instruments that have not confirmed their safe state since it was pressed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_confirmed: Vec<InstrumentOutcome>,
    /// Instruments that were not confirmed safe when a run ended, each with that run: no run may use
    /// them until they are, or until a person says so.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub barred: BTreeMap<String, String>,
    /// Instruments in people's hands: runs that need them wait.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub taken: BTreeMap<String, TakenHistory>,
    /// Questions that stand open.
    pub questions: Vec<QuestionView>,
    /// Instruments of the lab.
    pub instruments: Vec<InstrumentView>,
}

/// A campaign.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CampaignView {
    /// Its name.
    pub campaign: String,
    /// `running`, `paused`, `stopping`.
    pub state: String,
    /// Who said so, if somebody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Experiments proposed so far.
    pub proposed: usize,
    /// Experiments concluded.
    pub concluded: usize,
    /// Experiments at most.
    pub experiments: u32,
    /// The planner is at work.
    pub planning: bool,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunView {
    /// Its name.
    pub run: String,
    /// Campaign it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub campaign: Option<String>,
    /// Protocol.
    pub protocol: String,
    /// ISA-88 word for what it is doing as a whole.
    pub state: String,
    /// For so long it has been going, lab seconds.
    pub lab_s: f64,
    /// Why it is on its way to its end, if it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cause: String,
    /// What holds it, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<HoldView>,
    /// Steps under way.
    pub steps: Vec<StepView>,
    /// Instruments whose safe state was sent and is awaited.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub making_safe: Vec<String>,
    /// Instruments that did not confirm their safe state.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_confirmed: Vec<String>,
}

/// What holds a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HoldView {
    /// What.
    pub cause: String,
    /// Who.
    pub by: String,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// Since then, lab seconds.
    pub lab_s: f64,
}

/// A step under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepView {
    /// `run/steady[2]/spectrum`.
    pub path: String,
    /// `pump_a.dispense`, `wait`, `ask`, ...
    pub what: String,
    /// Where it stands.
    pub state: String,
    /// Since then, lab seconds.
    pub lab_s: f64,
}

/// A question for a person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QuestionView {
    /// What it is answered by.
    pub id: String,
    /// Number in its run; 0 in older journals.
    #[serde(default)]
    pub number: u32,
    /// Run.
    pub run: String,
    /// Step.
    pub step: String,
    /// Text, with the evidence.
    pub question: String,
    /// Answers to choose from, and what each means.
    pub options: Vec<OptionView>,
    /// When it was asked, milliseconds since 1970; 0 if that is not known.
    pub asked_wall_ms: i64,
    /// What is known of a command in doubt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Box<Evidence>>,
    /// The command it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<SentView>,
}

/// One answer to a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OptionView {
    /// The answer.
    pub answer: String,
    /// What follows from it; empty where only the protocol knows.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub meaning: String,
}

/// A command that was sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SentView {
    /// Instrument.
    pub instrument: String,
    /// Action.
    pub action: String,
    /// Arguments, as shown to people.
    pub args: BTreeMap<String, String>,
    /// Attempt, from 1.
    pub attempt: u32,
    /// Before so many lab seconds.
    pub lab_s_ago: f64,
}

/// An instrument.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstrumentView {
    /// Its name in the lab.
    pub instrument: String,
    /// Connected and identified.
    pub ready: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

impl<I: Instruments> Engine<I> {
    /// What is going on now.
    pub(super) fn view(&self) -> View {
        let now = self.now();
        View {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            process: std::process::id(),
            wall_ms: self.clock.wall().as_millisecond(),
            speed: Some(self.clock.speed()).filter(|s| s.is_finite()).unwrap_or(0.0),
            campaigns: self
                .campaigns()
                .filter(|m| m.ended.is_none())
                .map(|machine| CampaignView {
                    campaign: machine.id.clone(),
                    state: self.campaign_state(machine).as_str().to_owned(),
                    by: machine.told_by().map(str::to_owned),
                    proposed: machine.experiments.len(),
                    concluded: machine.concluded(),
                    experiments: machine.rules.experiments,
                    planning: machine.proposing,
                })
                .collect(),
            runs: self
                .core
                .open_runs()
                .map(|run| run_view(run, self.campaign_of(&run.id), now))
                .collect(),
            parked: self.core.parked(),
            emergency_stop: self.emergency.pressed().map(|pressed| pressed.by),
            not_confirmed: self
                .emergency
                .not_confirmed()
                .into_iter()
                .map(|(instrument, detail)| InstrumentOutcome {
                    instrument,
                    state: Safety::NotConfirmed,
                    detail,
                })
                .collect(),
            barred: self.core.barred().clone(),
            taken: self.hands.taken().clone(),
            questions: self.questions.open.iter().map(|q| self.with_command(q, now)).collect(),
            instruments: self.instruments.conditions(),
        }
    }

    /// Campaign that a run belongs to.
    pub(super) fn campaign_of(&self, run: &str) -> Option<String> {
        self.campaigns().find(|c| c.experiment_of(run).is_some()).map(|c| c.id.clone())
    }

    /// The command that a question is about, as it stands now.
    fn with_command(&self, question: &QuestionView, now: Tick) -> QuestionView {
        let sent = self.core.run(&question.run).and_then(|run| {
            let (key, state) = run.steps.iter().find(|(k, _)| run.path(k) == question.step)?;
            let NodeKind::Action { instrument, action, .. } = &run.node(key)?.kind else {
                return None;
            };
            Some(SentView {
                instrument: instrument.clone(),
                action: action.clone(),
                args: state.args.iter().map(|(n, v)| (n.clone(), shown(v))).collect(),
                attempt: state.attempts,
                lab_s_ago: now.since(state.sent?).as_secs_f64(),
            })
        });
        QuestionView { sent, ..question.clone() }
    }
}

/// A run at a moment.
pub(super) fn run_view(run: &Run, campaign: Option<String>, now: Tick) -> RunView {
    let steps = run.steps.iter().filter_map(|(key, state)| step_view(run, key, state, now));
    RunView {
        run: run.id.clone(),
        campaign,
        protocol: run.graph.protocol.clone(),
        state: run.state().as_str().to_owned(),
        lab_s: now.since(run.started).as_secs_f64(),
        cause: run.ending.as_ref().map(|(_, cause)| cause.clone()).unwrap_or_default(),
        holds: run.holds.iter().map(|held| hold_view(held, now)).collect(),
        steps: steps.take(STEPS_MAX).collect(),
        making_safe: run.making_safe.iter().cloned().collect(),
        not_confirmed: run.not_confirmed.clone(),
    }
}

fn hold_view(held: &HeldBy, now: Tick) -> HoldView {
    HoldView {
        cause: held.cause.as_str().to_owned(),
        by: held.by.clone(),
        detail: held.detail.clone(),
        lab_s: now.since(held.since).as_secs_f64(),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Quantity(quantity) => quantity.to_string(),
        other => other.show(),
    }
}

/// A step that people would say is under way.
fn step_view(run: &Run, key: &StepKey, state: &StepState, now: Tick) -> Option<StepView> {
    let node = run.node(key)?;
    let word = match state.status {
        _ if state.asked => "asks",
        Status::Sent => "sent",
        Status::Uncertain => "in doubt",
        Status::Failed => "failed",
        Status::Open | Status::Deciding if !node.kind.is_block() => "under way",
        Status::Waiting if !node.kind.is_block() => "waits to start",
        Status::Waiting | Status::Open | Status::Deciding | Status::Done | Status::PassedOver => {
            return None;
        }
    };
    let what = match &node.kind {
        NodeKind::Action { instrument, action, .. } => format!("{instrument}.{action}"),
        NodeKind::Wait { .. } => "wait".to_owned(),
        NodeKind::WaitUntil { .. } => "wait until".to_owned(),
        NodeKind::Analyse { .. } => "analyse".to_owned(),
        NodeKind::Ask { .. } => "ask".to_owned(),
        NodeKind::Log { .. } => "log".to_owned(),
        NodeKind::Values { .. } => "values".to_owned(),
        NodeKind::Group { .. }
        | NodeKind::Parallel { .. }
        | NodeKind::Repeat { .. }
        | NodeKind::ForEach { .. }
        | NodeKind::Branch { .. } => "block".to_owned(),
    };
    Some(StepView {
        path: run.path(key),
        what,
        state: word.to_owned(),
        lab_s: now.since(state.since).as_secs_f64(),
    })
}
