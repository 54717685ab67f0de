//! Actions of the core to the instruments, notices of the instruments to the core.

use std::sync::Arc;
use std::time::Duration;

use super::analyses::Asked;
use super::engine::{Engine, Pending};
use super::instruments::Instruments;
use super::progress::Progress;
use super::wire_trace;
use crate::compiler::graph::{FailureKind, HoldState};
use crate::driver::{self, Notice, Outcome, Sent};
use crate::engine::campaign::CampaignRecord;
use crate::engine::core::{Action, Cause, Event, Failure, Reading, Record, Signal, StepKey, Tick};
use crate::expr::Value;
use crate::units::Unit;

/// At the latest after this (lab time) a hold state has not been confirmed.
const HOLD_DEADLINE: Duration = Duration::from_secs(30);
/// Messages kept for the witness of one step.
const WITNESSED_MAX: usize = 64;

impl<I: Instruments> Engine<I> {
    pub(super) fn perform_one(&mut self, action: Action) {
        match action {
            Action::Send { run, step, attempt, instrument, action, args, deadline } => {
                let id = format!("{run}/{}#{attempt}", step.path);
                let pending = Pending::Command { run: run.clone(), key: step.key.clone(), attempt };
                self.pending.insert(id.clone(), pending);
                if let Err(refused) =
                    self.instruments.send(&id, &instrument, &action, args, deadline)
                {
                    self.pending.remove(&id);
                    let failure = Failure::without_effect(FailureKind::Link, refused.0);
                    let (key, result, trace) = (step.key, Err(failure), String::new());
                    self.own.push_back(Event::Outcome { run, key, attempt, result, trace });
                }
            }
            Action::ReadWitness { run, key, instrument, property, since } => {
                let id = format!("{run}/{}:{}?{property}", key.node.0, rounds(&key));
                let pending = Pending::Witness {
                    run: run.clone(),
                    key: key.clone(),
                    instrument: instrument.clone(),
                    since,
                };
                self.pending.insert(id.clone(), pending);
                if let Err(refused) = self.read(&id, &instrument, &property) {
                    self.pending.remove(&id);
                    let reading = Err(Failure::without_effect(FailureKind::Link, refused.0));
                    self.own.push_back(Event::Witnessed { run, key, reading });
                }
            }
            Action::Cancel { run, step, attempt, instrument } => {
                let id = format!("{run}/{}#{attempt}", step.path);
                // Where it cannot be cancelled it is awaited.
                if let Err(refused) = self.instruments.cancel(&instrument, &id) {
                    tracing::info!(%id, why = %refused.0, "not cancelled");
                }
            }
            Action::Hold { run, instrument, how } => self.bring_to_hold(run, instrument, how),
            Action::Analyse { run, key, function, inputs } => {
                let Some(graph) = self.core.run(&run).map(|r| Arc::clone(&r.graph)) else { return };
                let asked = Asked { run, key, function, inputs };
                self.own.extend(self.analyses.begin(asked, &graph, &self.journal));
            }
            Action::MakeSafe { run, instrument } => {
                let waiting = self.making_safe.entry(instrument.clone()).or_default();
                waiting.push(run.clone());
                if waiting.len() > 1 {
                    return;
                }
                match self.safe_by_stop(&instrument) {
                    None => {}
                    // The emergency stop has sent it; how it went follows.
                    Some(None) => return,
                    Some(Some((confirmed, detail))) => {
                        self.making_safe.remove(&instrument);
                        let trace = String::new();
                        let made = Event::MadeSafe { run, instrument, confirmed, detail, trace };
                        self.own.push_back(made);
                        return;
                    }
                }
                if let Err(refused) = self.instruments.safe_state(&instrument) {
                    self.making_safe.remove(&instrument);
                    let (confirmed, detail, trace) = (false, refused.0, String::new());
                    self.own.push_back(Event::MadeSafe {
                        run,
                        instrument,
                        confirmed,
                        detail,
                        trace,
                    });
                }
            }
        }
    }

    fn bring_to_hold(&mut self, run: String, instrument: String, how: HoldState) {
        let refused = match how {
            HoldState::Declared => {
                let id = format!("{run}!hold/{instrument}");
                let pending = Pending::Hold { run: run.clone(), instrument: instrument.clone() };
                self.pending.insert(id.clone(), pending);
                let (action, args) = (driver::HOLD_STATE, Default::default());
                let sent = self.instruments.send(&id, &instrument, action, args, HOLD_DEADLINE);
                sent.err().inspect(|_| {
                    self.pending.remove(&id);
                })
            }
            HoldState::Safe => {
                self.holding.entry(instrument.clone()).or_default().push(run.clone());
                self.instruments.safe_state(&instrument).err().inspect(|_| {
                    self.holding.remove(&instrument);
                })
            }
            HoldState::Stays => None,
        };
        if let Some(refused) = refused {
            let (confirmed, detail, trace) = (false, refused.0, String::new());
            self.own.push_back(Event::AtHold { run, instrument, confirmed, detail, trace });
        }
    }

    /// A notice as an event of the core, if it is one.
    pub(super) fn translate(&mut self, notice: Notice) -> Option<Event> {
        match notice {
            Notice::Outcome { attempt, outcome } => self.outcome(&attempt, outcome),
            Notice::Sample { instrument, property, value, at, about } => {
                self.take_reading(&instrument, &property, &value, at, about);
                let max_age = self.instruments.max_age(&instrument, &property);
                let signal = Signal { value, at: Tick(at.0), max_age };
                Some(Event::Sample { instrument, property, signal })
            }
            Notice::Link { instrument, up, detail } => {
                if !up {
                    self.lose_readings(&instrument, &detail);
                }
                self.told(Progress::Link { instrument: instrument.clone(), up, detail });
                Some(match up {
                    true => Event::LinkUp { instrument },
                    false => Event::LinkLost { instrument },
                })
            }
            Notice::Rebooted { instrument, detail } => {
                self.rebooted.insert(instrument.clone(), self.now());
                self.told(Progress::Alarm { instrument, detail });
                None
            }
            Notice::Identified { .. } | Notice::NotOurs { .. } => None,
            Notice::Alarm { instrument, detail } => {
                self.told(Progress::Alarm { instrument, detail });
                None
            }
            Notice::SafeState { instrument, confirmed, detail, trace } => {
                let trace = wire_trace::kept(&trace);
                for run in self.making_safe.remove(&instrument).unwrap_or_default() {
                    self.own.push_back(Event::MadeSafe {
                        run,
                        instrument: instrument.clone(),
                        confirmed,
                        detail: detail.clone(),
                        trace: trace.clone(),
                    });
                }
                for run in self.holding.remove(&instrument).unwrap_or_default() {
                    self.own.push_back(Event::AtHold {
                        run,
                        instrument: instrument.clone(),
                        confirmed,
                        detail: detail.clone(),
                        trace: trace.clone(),
                    });
                }
                self.own.pop_front()
            }
        }
    }

    fn outcome(&mut self, attempt: &str, outcome: Outcome) -> Option<Event> {
        let pending = self.pending.remove(attempt)?;
        let (result, trace) = match outcome {
            Outcome::Done { value, trace } => (Ok(value), trace),
            Outcome::Failed { kind, message, effect, trace } => {
                let effect_unknown = effect == Sent::Unknown;
                (Err(Failure { kind: kind_of(kind), message, effect_unknown }), trace)
            }
        };
        match pending {
            Pending::Command { run, key, attempt } => {
                let trace = self.witness_trace(&run, &key, trace);
                Some(Event::Outcome { run, key, attempt, result, trace })
            }
            Pending::Hold { run, instrument } => {
                let confirmed = result.is_ok();
                let detail = result.map_or_else(|f| f.message, |_| "confirmed".to_owned());
                let trace = wire_trace::kept(&trace);
                Some(Event::AtHold { run, instrument, confirmed, detail, trace })
            }
            Pending::Witness { run, key, instrument, since } => {
                let of = self.witnessed.entry((run.clone(), key.clone())).or_default();
                // A witness may be read again and again while a device settles.
                let room = WITNESSED_MAX.saturating_sub(of.len());
                of.extend(trace.into_iter().take(room));
                let rebooted = self.rebooted.get(&instrument).is_some_and(|at| *at >= since);
                let now = self.now();
                let busy = match self.core.signals().value(&instrument, "status", now) {
                    Value::Text(status) if &*status == "busy" => Some(true),
                    Value::Text(_) => Some(false),
                    _ => None,
                };
                let reading = result.and_then(|value| match value {
                    Some(value) => Ok(Reading { value, rebooted, busy }),
                    None => Err(Failure::without_effect(
                        FailureKind::NoValue,
                        "the witness has no value",
                    )),
                });
                Some(Event::Witnessed { run, key, reading })
            }
        }
    }

    /// The trace of a step: what its witness was read with since it was last told, and what
    /// followed.
    pub(super) fn witness_trace(
        &mut self,
        run: &str,
        key: &StepKey,
        followed: Vec<driver::Exchange>,
    ) -> String {
        let mut all = self.witnessed.remove(&(run.to_owned(), key.clone())).unwrap_or_default();
        all.extend(followed);
        wire_trace::kept(&all)
    }

    /// What people may want to see of a record.
    pub(super) fn tell(&mut self, record: &Record) {
        if let Some(progress) = progress_of_run(record) {
            self.told(progress);
        }
    }
}

/// What people may want to see of a record of a run.
pub fn progress_of_run(record: &Record) -> Option<Progress> {
    Some(match record {
        Record::Intent { run, step, instrument, action, .. } => Progress::Step {
            run: run.clone(),
            path: step.path.clone(),
            what: format!("{instrument}.{action}"),
        },
        Record::Begun { run, step } | Record::Held { run, step } => {
            let (run, path) = (run.clone(), step.path.clone());
            Progress::Step { run, path, what: String::new() }
        }
        Record::Outcome { run, step, result: Err(failure), .. }
        | Record::Ended { run, step, result: Err(failure), .. } => Progress::StepFailed {
            run: run.clone(),
            path: step.path.clone(),
            why: failure.message.clone(),
        },
        Record::Resolved { run, step, resolution, evidence, .. } => Progress::Resolved {
            run: run.clone(),
            path: step.path.clone(),
            resolution: resolution.as_str().to_owned(),
            evidence: evidence.clone(),
        },
        Record::Question { run, step, question, options, .. } => Progress::Question {
            run: run.clone(),
            path: step.path.clone(),
            question: question.clone(),
            options: options.clone(),
        },
        Record::Moved { run, to, cause, by, detail } => Progress::Moved {
            run: run.clone(),
            to: *to,
            by: by.clone(),
            why: match (detail.as_str(), cause) {
                // Who it was says more.
                ("", Cause::Person) => String::new(),
                ("", cause) => cause.as_str().to_owned(),
                (detail, _) => detail.to_owned(),
            },
        },
        Record::AtHold { run, instrument, confirmed, detail, .. } => Progress::AtHold {
            run: run.clone(),
            instrument: instrument.clone(),
            confirmed: *confirmed,
            detail: detail.clone(),
        },
        Record::RunEnded { run, ending, cause, not_confirmed } => Progress::RunEnded {
            run: run.clone(),
            ending: *ending,
            cause: cause.clone(),
            not_confirmed: not_confirmed.clone(),
        },
        _ => return None,
    })
}

/// What people may want to see of a record of a campaign.
pub fn progress_of_campaign(campaign: &str, record: &CampaignRecord) -> Option<Progress> {
    let campaign = campaign.to_owned();
    Some(match record {
        CampaignRecord::Proposed { experiment, hypothesis } => {
            let (experiment, hypothesis) = (*experiment, hypothesis.clone());
            Progress::Proposed { campaign, experiment, hypothesis }
        }
        CampaignRecord::Concluded { experiment, conclusion, verdict } => Progress::Concluded {
            campaign,
            experiment: *experiment,
            conclusion: conclusion.clone(),
            verdict: *verdict,
        },
        CampaignRecord::Ended { reason } => {
            Progress::CampaignEnded { campaign, reason: reason.clone() }
        }
        _ => return None,
    })
}

fn rounds(key: &StepKey) -> String {
    key.rounds.iter().map(u32::to_string).collect::<Vec<_>>().join(".")
}

pub(super) fn kind_of(kind: driver::FailureKind) -> FailureKind {
    match kind {
        driver::FailureKind::Timeout => FailureKind::Timeout,
        driver::FailureKind::BadReply => FailureKind::BadReply,
        driver::FailureKind::Refused => FailureKind::Refused,
        driver::FailureKind::Busy => FailureKind::Busy,
        driver::FailureKind::Alarm => FailureKind::Alarm,
        driver::FailureKind::Link => FailureKind::Link,
        driver::FailureKind::Gate => FailureKind::Gate,
        driver::FailureKind::Person => FailureKind::Person,
        driver::FailureKind::Internal => FailureKind::Internal,
    }
}

/// A value as a number in a unit; `None` if it is not one of that dimension.
pub(super) fn in_unit(value: &Value, unit: &str) -> Option<f64> {
    let quantity = value.as_quantity()?;
    let number = if unit.is_empty() {
        quantity.dim.is_none().then_some(quantity.value)
    } else {
        quantity.in_unit(&Unit::parse(unit).ok()?)
    };
    number.filter(|n| n.is_finite())
}
