//! An edge node of Sparkplug B, made from a definition.

use std::collections::BTreeMap;

use labloop_simulators::{Inward, Outward};
use serde_json::Value as Json;

use super::board::begin;
use super::messages::{Received, Role};
use super::payload::{Heard, Reader};
use super::state::State;
use super::{Mirror, say};
use crate::driver::golden::{from_instrument, raw_payload};
use crate::driver::plan::{AskPlan, Op, Plan};
use crate::driver::sparkplug::{BD_SEQ, DataType, Datum, Metric, Payload, Place, REBIRTH};
use crate::driver::template::Template;
use crate::driver::topics::metric_value;
use crate::expr::Expr;
use crate::spec::Shape;
use crate::spec::instrument::Example;
use crate::units::Unit;

/// Milliseconds since 1970 when lab time is zero: 2026-01-01T00:00:00Z.
const EPOCH_MS: f64 = 1_767_225_600_000.0;
/// Quality of a value that is none.
const BAD: u64 = 0;

/// A metric it has.
#[derive(Debug, Clone)]
struct Own {
    name: String,
    property: Option<String>,
    alias: u64,
    kind: DataType,
    said: Option<Option<Datum>>,
}

/// A message that writes a metric.
#[derive(Debug, Clone)]
struct Write {
    role: Role,
    name: String,
    value: Expr,
    unit: Option<Unit>,
}

#[derive(Debug, Clone)]
pub(super) struct Edge {
    place: Place,
    bd_seq: u64,
    seq: u8,
    metrics: Vec<Own>,
    writes: Vec<Write>,
}

fn rendered(plan: &Plan, template: &Template) -> Option<String> {
    let scope = plan.scope();
    template.render(&|name| scope.look_up(name)).ok().map(|(text, _)| text)
}

fn property_metric(plan: &Plan, property: &str) -> Option<String> {
    match plan.properties.get(property)?.ask.as_ref()? {
        AskPlan::Metric(metric) => rendered(plan, metric),
        _ => None,
    }
}

impl Edge {
    pub fn new(place: Place, plan: &Plan) -> Edge {
        let mut edge = Edge { place, bd_seq: 0, seq: 0, metrics: Vec::new(), writes: Vec::new() };
        for (name, property) in &plan.properties {
            let Some(metric) = property_metric(plan, name) else { continue };
            let kind = match &property.shape {
                Shape::Bool => DataType::Boolean,
                Shape::Integer => DataType::Int32,
                Shape::Text => DataType::String,
                _ => DataType::Double,
            };
            edge.add(metric, Some(name.clone()), kind);
        }
        for (name, action) in &plan.actions {
            for (step, op) in action.operations.iter().enumerate() {
                edge.write(plan, op, Role::Step { action: name.clone(), step });
            }
            let cancels = || Role::Other(format!("cancels {name}"));
            action.on_cancel.iter().for_each(|op| edge.write(plan, op, cancels()));
        }
        plan.safe_state.iter().for_each(|op| edge.write(plan, op, Role::Safe));
        edge
    }

    fn add(&mut self, name: String, property: Option<String>, kind: DataType) {
        if !self.metrics.iter().any(|own| own.name == name) {
            let alias = self.metrics.len() as u64 + 1;
            self.metrics.push(Own { name, property, alias, kind, said: None });
        }
    }

    fn write(&mut self, plan: &Plan, op: &Op, role: Role) {
        let Op::SetMetric { metric, value, unit } = op else { return };
        let Some(name) = rendered(plan, metric) else { return };
        // A metric that nothing reads: its examples say of which type it is.
        self.add(name.clone(), None, DataType::Double);
        self.writes.push(Write { role, name, value: value.clone(), unit: unit.clone() });
    }

    /// Types and first values from the births of an example.
    pub fn learn(&mut self, example: &Example, its: &Plan, plan: &Plan, state: &mut State) {
        for line in &example.bytes {
            let (topic, payload) = line.value.split_once(' ').unwrap_or((&line.value, ""));
            if !from_instrument(its, topic) {
                continue;
            }
            let payload = raw_payload(payload).and_then(|bytes| Payload::read(&bytes));
            for metric in payload.map(|payload| payload.metrics).unwrap_or_default() {
                let (Some(name), Some(kind)) = (&metric.name, metric.datatype) else { continue };
                let Some(kind) = DataType::of_code(kind) else { continue };
                let property =
                    its.properties.keys().find(|p| property_metric(its, p).as_ref() == Some(name));
                let own = property.and_then(|property| property_metric(plan, property));
                let own = own.as_ref().unwrap_or(name);
                if let Some(seat) = self.metrics.iter_mut().find(|seat| seat.name == *own) {
                    seat.kind = kind;
                }
                if let (Some(property), Some(raw)) = (property, &metric.value)
                    && let Some(shape) = its.properties.get(property)
                {
                    begin(state, property, Some(metric_value(shape, &kind.read(raw))));
                }
            }
        }
    }

    pub fn filters(&self) -> Vec<String> {
        let mut filters = vec![self.place.topic("NCMD")];
        if self.place.device.is_some() {
            filters.push(self.place.topic("DCMD"));
        }
        filters
    }

    /// Its death certificate.
    pub fn will(&self) -> Outward {
        let payload = Payload { metrics: vec![self.bd_seq()], ..Payload::default() };
        self.message("NDEATH", &payload)
    }

    fn bd_seq(&self) -> Metric {
        named(BD_SEQ, DataType::UInt64, &Datum::Number(self.bd_seq as f64))
    }

    fn message(&self, kind: &str, payload: &Payload) -> Outward {
        let topic = self.place.topic(kind);
        Outward { topic, payload: payload.write(), ..Outward::default() }
    }

    fn next_seq(&mut self) -> u64 {
        self.seq = self.seq.wrapping_add(1);
        u64::from(self.seq)
    }
}

fn named(name: &str, kind: DataType, datum: &Datum) -> Metric {
    Metric {
        name: Some(name.to_owned()),
        datatype: Some(kind.code()),
        value: kind.write(datum).ok(),
        ..Metric::default()
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "after 2026")]
fn milliseconds(now: f64) -> u64 {
    now.mul_add(1000.0, EPOCH_MS) as u64
}

impl Mirror {
    /// Its births; the number that ties its death to them goes up with each connection.
    pub(super) fn be_born(&mut self, now: f64, noise: &mut dyn FnMut() -> f64) -> Vec<Outward> {
        if let Some(edge) = &mut self.board.edge {
            edge.bd_seq = (edge.bd_seq + 1) % 256;
        }
        self.births(now, noise)
    }

    fn births(&mut self, now: f64, noise: &mut dyn FnMut() -> f64) -> Vec<Outward> {
        let metrics = self.metrics(now, noise, true);
        let Some(edge) = &mut self.board.edge else { return Vec::new() };
        edge.seq = 0;
        let timestamp = Some(milliseconds(now));
        let rebirth = named(REBIRTH, DataType::Boolean, &Datum::Bool(false));
        let mut node = vec![edge.bd_seq(), rebirth];
        if edge.place.device.is_none() {
            node.extend(metrics);
            return vec![
                edge.message("NBIRTH", &Payload { timestamp, metrics: node, seq: Some(0) }),
            ];
        }
        let birth = edge.message("NBIRTH", &Payload { timestamp, metrics: node, seq: Some(0) });
        let seq = Some(edge.next_seq());
        vec![birth, edge.message("DBIRTH", &Payload { timestamp, metrics, seq })]
    }

    /// All metrics for a birth, or those that changed.
    fn metrics(&mut self, now: f64, noise: &mut dyn FnMut() -> f64, all: bool) -> Vec<Metric> {
        let Some(mut metrics) = self.board.edge.as_ref().map(|edge| edge.metrics.clone()) else {
            return Vec::new();
        };
        let mut out = Vec::new();
        for own in &mut metrics {
            let datum = own.property.clone().and_then(|name| self.datum(&name, now, noise));
            if !all && own.said.as_ref() == Some(&datum) {
                continue;
            }
            let value = datum.as_ref().and_then(|datum| own.kind.write(datum).ok());
            let null = value.is_none();
            out.push(Metric {
                name: all.then(|| own.name.clone()),
                alias: Some(own.alias),
                timestamp: Some(milliseconds(now)),
                datatype: all.then(|| own.kind.code()),
                null,
                quality: (null && own.property.is_some()).then_some(BAD),
                value,
                ..Metric::default()
            });
            own.said = Some(datum);
        }
        if let Some(edge) = &mut self.board.edge {
            edge.metrics = metrics;
        }
        out
    }

    fn datum(&mut self, name: &str, now: f64, noise: &mut dyn FnMut() -> f64) -> Option<Datum> {
        let property = self.plan.properties.get(name)?.clone();
        let value = self.shown(name, now, noise)?;
        match say::property(&property, &value, self.upset.broken)? {
            Json::Bool(on) => Some(Datum::Bool(on)),
            Json::Number(number) => number.as_f64().map(Datum::Number),
            Json::String(text) => Some(Datum::Text(text)),
            Json::Null | Json::Array(_) | Json::Object(_) => None,
        }
    }

    /// What changed since the last message.
    pub(super) fn report(&mut self, now: f64, noise: &mut dyn FnMut() -> f64) -> Vec<Outward> {
        let metrics = self.metrics(now, noise, false);
        let Some(edge) = &mut self.board.edge else { return Vec::new() };
        if metrics.is_empty() {
            return Vec::new();
        }
        let kind = if edge.place.device.is_some() { "DDATA" } else { "NDATA" };
        let (timestamp, seq) = (Some(milliseconds(now)), Some(edge.next_seq()));
        vec![edge.message(kind, &Payload { timestamp, metrics, seq })]
    }

    /// Takes a command: a birth is wanted, or metrics are written.
    pub(super) fn take_metrics(
        &mut self,
        inward: &Inward,
        now: f64,
        noise: &mut dyn FnMut() -> f64,
    ) -> Vec<Outward> {
        let Some(edge) = self.board.edge.clone() else { return Vec::new() };
        let Ok(payload) = Payload::read(&inward.payload) else { return Vec::new() };
        let at_node = inward.topic == edge.place.topic("NCMD");
        if at_node && payload.metrics.iter().any(|metric| metric.name.as_deref() == Some(REBIRTH)) {
            return self.births(now, noise);
        }
        let ours = at_node == edge.place.device.is_none();
        if !ours || self.upset.busy {
            return Vec::new();
        }
        for metric in &payload.metrics {
            let its = |own: &&Own| match (&metric.name, metric.alias) {
                (Some(name), _) => own.name == *name,
                (None, alias) => alias == Some(own.alias),
            };
            let Some(own) = edge.metrics.iter().find(its) else { continue };
            let Some(datum) = metric.value.as_ref().and_then(|raw| own.kind.read(raw).ok()) else {
                continue;
            };
            let (steps, safe) = self.written(&edge.writes, &own.name, &datum);
            self.perform(steps, safe);
        }
        self.report(now, noise)
    }

    /// What writing a value to a metric can be a step of.
    fn written(&self, writes: &[Write], name: &str, datum: &Datum) -> (Received, bool) {
        let json = match datum {
            Datum::Bool(on) => Json::Bool(*on),
            Datum::Number(number) => Json::from(*number),
            Datum::Text(text) => Json::from(text.as_str()),
        };
        let (mut steps, mut safe) = (Vec::new(), false);
        for write in writes.iter().filter(|write| write.name == name) {
            let args = match &write.role {
                Role::Step { action, .. } => self.plan.actions.get(action).map(|a| &*a.args),
                _ => None,
            };
            let reader = Reader { config: &self.plan.config, args: args.unwrap_or_default() };
            let mut heard = Heard::default();
            if !reader.value(&write.value, write.unit.as_ref(), &json, &mut heard) {
                continue;
            }
            let fields: BTreeMap<_, _> = heard.fields;
            match &write.role {
                Role::Step { action, step } => steps.push((action.clone(), *step, fields)),
                Role::Safe => safe = true,
                Role::Property(_) | Role::Other(_) => {}
            }
        }
        (steps, safe)
    }
}
