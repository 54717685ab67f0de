//! Serial lines, sockets and Modbus.

use std::time::Duration;

use tokio::time::Instant;

use super::{Candidate, Findings, Found, ProbeError, Search};
use crate::driver::exchange::{Line, Timing, Trace};
use crate::driver::plan::{Plan, Protocol};
use crate::driver::types::FailureKind;
use crate::expr::Value;
use crate::spec::Shape;
use crate::wire::modbus::{Answer, Framing, Request};
use crate::wire::{Clock, Dialer, Endpoint, SerialSettings};

/// Longest wait for one answer; a device that needs longer is named with `--definition`.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// Wait for the answer of a unit that may not be there.
const UNIT_WAIT: Duration = Duration::from_millis(300);
/// Rest between two questions.
const GAP: Duration = Duration::from_millis(20);

pub(super) struct Lines<'a> {
    pub search: &'a Search,
    pub dialer: &'a Dialer,
    pub clock: &'a Clock,
    pub until: Instant,
    pub tell: &'a mut dyn FnMut(&str),
}

impl Lines<'_> {
    pub async fn probe(
        &mut self,
        candidates: Vec<Candidate>,
        findings: &mut Findings,
    ) -> Result<(), ProbeError> {
        // One opening of the port for all that share its settings.
        let mut groups: Vec<(SerialSettings, Vec<Candidate>)> = Vec::new();
        for candidate in candidates {
            let settings = settings(&candidate.plan);
            match groups.iter_mut().find(|(its, _)| *its == settings) {
                Some((_, members)) => members.push(candidate),
                None => groups.push((settings, vec![candidate])),
            }
        }
        for (settings, mut members) in groups {
            let mut line = self.line(settings);
            self.open(&mut line).await?;
            let modbus = matches!(
                self.search.at.endpoint,
                Endpoint::ModbusTcp { .. } | Endpoint::ModbusRtu { .. }
            );
            let units = if modbus {
                let units = self.units(&mut line, findings).await?;
                // Only units that are there are asked more.
                units.into_iter().map(Some).collect()
            } else {
                vec![None]
            };
            for unit in units {
                for candidate in &mut members {
                    if let (Some(unit), Protocol::Modbus { unit: its, .. }) =
                        (unit, &mut candidate.plan.protocol)
                    {
                        *its = unit;
                    }
                    if Instant::now() >= self.until {
                        findings.cut_short = true;
                        return Ok(());
                    }
                    let found = self.candidate(&mut line, candidate, unit, findings).await?;
                    if found && !modbus && !self.search.all && self.search.units.is_none() {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    fn line(&self, settings: SerialSettings) -> Line {
        Line::new(
            self.search.at.clone(),
            settings,
            self.dialer.clone(),
            self.clock.clone(),
            UNIT_WAIT,
        )
    }

    async fn open(&self, line: &mut Line) -> Result<(), ProbeError> {
        if line.is_open() {
            return Ok(());
        }
        let opened = line.open().await;
        opened.map_err(|error| ProbeError::Unreachable {
            at: self.search.at.text.clone(),
            reason: error.to_string(),
        })
    }

    /// Units that answer: with a register, or with an exception, which proves them as well.
    async fn units(
        &mut self,
        line: &mut Line,
        findings: &mut Findings,
    ) -> Result<Vec<u8>, ProbeError> {
        let (own, framing) = match self.search.at.endpoint {
            Endpoint::ModbusTcp { unit, .. } => (unit, Framing::Tcp),
            Endpoint::ModbusRtu { unit, .. } | Endpoint::ModbusRtuTcp { unit, .. } => {
                (unit, Framing::Rtu)
            }
            _ => return Ok(Vec::new()),
        };
        let (first, last) = self.search.units.unwrap_or((own, own));
        let timing = Timing { reply: UNIT_WAIT, gap: GAP, silent: GAP };
        let mut there = Vec::new();
        for unit in first..=last {
            if Instant::now() >= self.until {
                findings.cut_short = true;
                break;
            }
            if framing != Framing::Tcp && !(1..=247).contains(&unit) {
                continue;
            }
            (self.tell)(&format!("unit {unit}"));
            let mut said = None;
            for function in [3, 4] {
                let request = Request::Read { function, start: 0, count: 1 };
                self.open(line).await?;
                let mut trace = Trace::default();
                match line.modbus(unit, framing, &request, &timing, &mut trace).await {
                    Ok(Answer::Words(words)) => {
                        let word = words.first().copied().unwrap_or_default();
                        let table = if function == 3 { "holding" } else { "input" };
                        said = Some(format!("{table} register 0 holds {word}"));
                        break;
                    }
                    Ok(_) => {}
                    // A gateway that speaks for a unit behind it which is not there.
                    Err(fault) if fault.kind == FailureKind::Link => break,
                    Err(fault) if fault.kind == FailureKind::Timeout => break,
                    Err(fault) => said = Some(fault.message),
                }
            }
            if let Some(said) = said {
                if !there.contains(&unit) {
                    there.push(unit);
                }
                if !findings.units.iter().any(|(known, _)| *known == unit) {
                    findings.units.push((unit, said));
                }
            }
        }
        Ok(there)
    }

    /// Tries one definition; `true` when it is certain.
    async fn candidate(
        &mut self,
        line: &mut Line,
        candidate: &Candidate,
        unit: Option<u8>,
        findings: &mut Findings,
    ) -> Result<bool, ProbeError> {
        let plan = &candidate.plan;
        let named = match (unit, candidate.config.first()) {
            (Some(unit), _) => format!("{} at unit {unit}", candidate.name()),
            (None, Some((name, value))) => format!("{} with {name} {value}", candidate.name()),
            (None, None) => candidate.name().to_owned(),
        };
        (self.tell)(&named);
        let reply = plan.reply_timeout.min(LONGEST_WAIT);
        let timing = Timing { reply, gap: plan.gap.max(GAP), silent: plan.silent_gap };
        let mut trace = Trace::default();
        let (mut telling, mut alarms) = (false, Vec::new());
        for question in &candidate.identify {
            self.open(line).await?;
            let mut heard = question.ask(plan, line, &timing, &mut trace).await;
            // An alarm stands in place of an answer and is cleared by being read; what it replaced
            // is asked again.
            if let Err(fault) = &heard
                && fault.kind == FailureKind::Alarm
                && line.is_open()
            {
                alarms.push(fault.message.clone());
                heard = question.ask(plan, line, &timing, &mut trace).await;
            }
            if let Err(fault) = heard {
                if fault.kind != FailureKind::Timeout {
                    findings.others.push((named, fault.message));
                }
                return Ok(false);
            }
            telling |= question.is_telling(plan);
        }
        let (mut values, mut missing) = (Vec::new(), Vec::new());
        for (name, question) in &candidate.samples {
            self.open(line).await?;
            let Some(property) = plan.properties.get(name) else { continue };
            let heard = question.ask(plan, line, &timing, &mut trace).await;
            match heard.map(|heard| question.value(property, &heard)) {
                Ok(Ok(value)) => {
                    telling |= question.is_telling(plan);
                    values.push((name.clone(), shown(&property.shape, &value)));
                }
                Ok(Err(_)) | Err(_) => missing.push(name.clone()),
            }
        }
        if values.is_empty() && (candidate.identify.is_empty() || !candidate.samples.is_empty()) {
            let why = "what it answers does not read as its properties".to_owned();
            findings.others.push((named, why));
            return Ok(false);
        }
        let certain = telling && missing.is_empty();
        findings.found.push(Found {
            definition: candidate.name().to_owned(),
            at: self.address(unit),
            config: candidate.config.clone(),
            certain,
            values,
            missing,
            alarms,
            trace: trace.all,
        });
        Ok(certain)
    }

    fn address(&self, unit: Option<u8>) -> String {
        let text = &self.search.at.text;
        match unit {
            Some(unit) => {
                let line = text.split_once('?').map_or(text.as_str(), |(line, _)| line);
                format!("{line}?unit={unit}")
            }
            None => text.clone(),
        }
    }
}

fn settings(plan: &Plan) -> SerialSettings {
    match &plan.protocol {
        Protocol::Text { serial, .. } | Protocol::Modbus { serial, .. } => *serial,
        Protocol::Mqtt(_) | Protocol::Null => SerialSettings::default(),
    }
}

fn shown(shape: &Shape, value: &Value) -> String {
    match (shape, value) {
        (Shape::Quantity(unit), Value::Quantity(quantity)) => quantity.display_in(&unit.value),
        _ => value.show(),
    }
}
