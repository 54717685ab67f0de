//! Text and binary protocols backwards.

use std::collections::BTreeMap;
use std::sync::Arc;

use labloop_simulators::Answer;

use super::messages::{self, Entry, Like, Role};
use super::state::State;
use super::{Mirror, halts, value};
use crate::driver::bulk::Cut;
use crate::driver::golden::{mqtt_address, raw};
use crate::driver::pattern::Raw;
use crate::driver::plan::{AskPlan, Plan, PropertyPlan, Protocol, UnlessPlan};
use crate::driver::template::Said;
use crate::driver::text::{Reply, TextCodec};
use crate::driver::types::InstrumentSetup;
use crate::driver::{values, written_values};
use crate::expr::{self, Value};
use crate::spec::instrument::{ErrorClass, Example, ExampleOf, Instrument, StatusClass};
use crate::spec::{Shape, Written};
use crate::units::Quantity;
use crate::wire::Address;
use crate::wire::printable::text_of;

/// Answers to questions of verification at most.
const PROOFS_MAX: usize = 256;

/// Learns from the examples how the device answers.
pub(super) fn learn(
    definition: &Arc<Instrument>,
    plan: &Plan,
    entries: &mut [Entry],
    state: &mut State,
) {
    // Examples of properties first: theirs is the value that a property begins with.
    let (properties, others): (Vec<&Example>, Vec<&Example>) =
        definition.examples.iter().partition(|e| matches!(e.of, ExampleOf::Property(_)));
    for example in properties.into_iter().chain(others) {
        // Its configuration may differ from the one simulated: another address, another syringe.
        let Some(its) = plan_of(definition, example) else { continue };
        let Protocol::Text { codec, .. } = &its.protocol else { continue };
        let missing =
            matches!(&example.value, Some(Written::Scalar { text, .. }) if text == "missing");
        for turn in example.bytes.chunks(2) {
            let mut sent = turn.first().and_then(|t| raw(&t.value).ok()).unwrap_or_default();
            let received = turn.get(1).and_then(|t| raw(&t.value).ok()).unwrap_or_default();
            let whole = sent.clone();
            let fits =
                |body: &str| entries.iter().any(|e| e.template.read(body, &its.config).is_some());
            let Some(body) = codec.take_request(&mut sent, &fits).and_then(|heard| heard.body)
            else {
                continue;
            };
            let found = best(entries, &body, &its);
            let block = found.iter().any(|(at, _)| entries.get(*at).is_some_and(|e| e.block));
            let like = match block {
                true => block_of(codec, &received),
                false => opened(codec, &whole, received),
            };
            let Some(like) = like else { continue };
            for (entry, _) in found {
                let Some(entry) = entries.get_mut(entry) else { continue };
                let seat = if missing { &mut entry.missing } else { &mut entry.like };
                if seat.is_none() && (missing || example.fails.is_none()) {
                    *seat = Some(like.clone());
                }
                if let Role::Property(name) = &entry.role
                    && !missing
                    && !state.values.contains_key(name)
                    && let Some(property) = plan.properties.get(name)
                {
                    let found = entry.parse.as_ref().and_then(|p| p.find(&like.data).ok());
                    let (status, data) = (like.class, like.data.clone());
                    let reply = Reply { status, data, block: None };
                    if let Ok(value) = values::of_reply(property, &reply, found)
                        && !matches!(value, Value::Missing(_))
                    {
                        state.values.insert(name.clone(), value);
                    }
                }
            }
        }
    }
}

pub(super) fn plan_of(definition: &Arc<Instrument>, example: &Example) -> Option<Plan> {
    let at = match &definition.connection.wire {
        crate::spec::instrument::Wire::Bytes(bytes) if bytes.serial.is_none() => "tcp://example:1",
        crate::spec::instrument::Wire::Modbus(_) => "modbus+tcp://example:502?unit=1",
        crate::spec::instrument::Wire::Mqtt(mqtt) => mqtt_address(definition, mqtt),
        _ => "serial:/dev/example",
    };
    let setup = InstrumentSetup {
        name: "example".to_owned(),
        definition: Arc::clone(definition),
        at: Address::parse(at).ok()?,
        config: written_values(&definition.config, &example.config).ok()?,
        secret: None,
        trust: crate::wire::Trust::default(),
    };
    Plan::new(&setup).ok()
}

/// The block in what was received, as the text that an answer is made from.
fn block_of(codec: &TextCodec, received: &[u8]) -> Option<Like> {
    match codec.block(received, received.len()) {
        Ok(Cut::Block { data, .. }) => {
            let frame = received.get(codec.reply_start.len()..data.end)?;
            Some(Like { class: None, data: text_of(frame) })
        }
        _ => None,
    }
}

/// The answer in what was received: the last that somebody asked for.
fn opened(codec: &TextCodec, request: &[u8], mut received: Vec<u8>) -> Option<Like> {
    if codec.echo && received.starts_with(request) {
        received.drain(..request.len());
    }
    let mut last = None;
    loop {
        let taken = match codec.take(&mut received) {
            Ok(Some(taken)) => taken,
            _ => match codec.take_idle(&mut received) {
                Some(taken) if !taken.whole.is_empty() => taken,
                _ => break,
            },
        };
        if codec.unasked(&taken.frame).is_none() {
            last = codec.opened(&taken.frame).or(last);
        }
    }
    last.map(|(class, data)| Like { class, data })
}

/// The entries a message can be, of those with the most text of their own.
pub(in crate::driver) fn best(entries: &[Entry], body: &str, plan: &Plan) -> Vec<(usize, Said)> {
    let mut found: Vec<(usize, Said)> = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        let Some(said) = entry.template.read(body, &plan.config) else { continue };
        match found.first().map(|(_, first)| first.own) {
            Some(own) if own > said.own => {}
            Some(own) if own == said.own => found.push((at, said)),
            _ => found = vec![(at, said)],
        }
    }
    found
}

impl Mirror {
    /// Hears bytes of the line; gives the requests that are for this device.
    pub(super) fn hear_text(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let Protocol::Text { codec, .. } = &self.plan.protocol else { return Vec::new() };
        self.arrived.extend(bytes);
        let (entries, config) = (&self.entries, &self.plan.config);
        let fits = |body: &str| entries.iter().any(|e| e.template.read(body, config).is_some());
        let mut requests = Vec::new();
        while let Some(heard) = codec.take_request(&mut self.arrived, &fits) {
            if heard.body.is_some() {
                requests.push(heard.whole);
            }
        }
        requests
    }

    /// Carries out a request and answers it.
    pub(super) fn answer_text(
        &mut self,
        request: &[u8],
        now: f64,
        noise: &mut dyn FnMut() -> f64,
    ) -> Option<Answer> {
        self.state.advance(now);
        let (entries, config) = (&self.entries, &self.plan.config);
        let fits = |body: &str| entries.iter().any(|e| e.template.read(body, config).is_some());
        let Protocol::Text { codec, .. } = &self.plan.protocol else { return None };
        let codec = codec.clone();
        let body = codec.take_request(&mut request.to_vec(), &fits)?.body?;
        let found = best(&self.entries, &body, &self.plan);
        let frame = |data: &str, after_s: f64| {
            codec.answer(request, data).map(|bytes| Answer { after_s, bytes })
        };
        if found.is_empty() {
            // Not a message of the definition: devices that number their errors say so, others
            // say nothing.
            let data = refusal(&codec, ErrorClass::Operator)?;
            return frame(&data, 0.0);
        }
        if self.upset.rebooted {
            self.upset.rebooted = false;
            if let Some(data) = refusal(&codec, ErrorClass::Rebooted) {
                return frame(&data, 0.0);
            }
        }
        if self.upset.busy
            && codec.status.is_none()
            && let Some(data) = refusal(&codec, ErrorClass::Busy)
        {
            return frame(&data, 0.0);
        }
        // Several properties may stand in one answer.
        let asked = found.iter().filter_map(|(at, _)| {
            self.entries.get(*at).filter(|entry| matches!(entry.role, Role::Property(_))).cloned()
        });
        let asked: Vec<Entry> = asked.collect();
        let steps = found.iter().filter_map(|(at, said)| match &self.entries.get(*at)?.role {
            Role::Step { action, step } => Some((action.clone(), *step, said.fields.clone())),
            _ => None,
        });
        let steps: messages::Received = steps.collect();
        let first = found.first().and_then(|(at, _)| self.entries.get(*at)).cloned()?;
        let liked = found.iter().find_map(|(at, _)| self.entries.get(*at)?.like.clone());
        let mut after_s = 0.0;
        self.returned = None;
        if !steps.is_empty() {
            for (at, said) in &found {
                let proof = self.entries.get(*at).and_then(|entry| entry.proof.clone());
                if let Some(proof) = proof {
                    self.prove(&proof, &said.fields);
                }
            }
            self.recent.push(steps);
            if let Some((action, args)) = self.meant() {
                let was_busy = liked.as_ref().and_then(|l| l.class) == Some(StatusClass::Busy);
                after_s = self.act(&action, args, was_busy);
            }
        }
        let safe =
            found.iter().any(|(at, _)| self.entries.get(*at).is_some_and(|e| halts(&e.role)));
        if safe {
            self.state.halt();
        }
        if !first.answered {
            return None;
        }
        let data = match asked.as_slice() {
            [_, ..] => self.readings_text(&asked, now, noise)?,
            [] if self.returned.is_some() && first.parse.is_some() => {
                self.returned_text(&first, liked.as_ref())?
            }
            [] if self.proofs.contains_key(&body) => {
                self.proofs.get(&body).cloned().unwrap_or_default()
            }
            [] => match (&liked, &first.parse) {
                (Some(like), _) => like.data.clone(),
                (None, Some(parse)) => parse.fill(None, None, None).unwrap_or_default(),
                (None, None) => String::new(),
            },
        };
        let status = self.status();
        let class = liked.as_ref().and_then(|like| like.class);
        let text = codec
            .status_text(status)
            .or_else(|| codec.status_text(class.unwrap_or(StatusClass::Ready)))
            .unwrap_or_default();
        // A word of status and what follows are told apart by a space that `data` begins with.
        frame(&format!("{text}{data}"), after_s)
    }

    /// The answer that holds what an action returns.
    fn returned_text(&mut self, entry: &Entry, like: Option<&Like>) -> Option<String> {
        let (parse, value) = (entry.parse.as_ref()?, self.returned.take()?);
        let Role::Step { action, .. } = &entry.role else { return None };
        let shape = self.plan.actions.get(action)?.returns.clone()?;
        let raw = match (&value, &shape) {
            (Value::Quantity(quantity), Shape::Quantity(unit)) => {
                quantity.in_unit(&unit.value).map(Raw::Number)
            }
            (Value::Quantity(quantity), _) => Some(Raw::Number(quantity.value)),
            (Value::Text(text), _) => Some(Raw::Text(text.to_string())),
            (Value::Bool(on), _) => Some(Raw::Number(f64::from(u8::from(*on)))),
            _ => None,
        };
        let filled = raw
            .ok_or_else(|| format!("{} is not what it returns", value.show()))
            .and_then(|raw| parse.fill(Some(&raw), None, like.map(|like| like.data.as_str())));
        match filled {
            Ok(data) => Some(data),
            Err(why) => {
                self.state.note(format!("{action}: {why}"));
                None
            }
        }
    }

    /// What a message sets, when nothing else says it: the answer to the question that follows it.
    fn prove(&mut self, proof: &UnlessPlan, fields: &BTreeMap<String, Value>) {
        self.state.args.extend(fields.clone());
        let Ok(value) = expr::eval(&proof.equals, &self.state) else { return };
        let same = |property: &&(&String, &PropertyPlan)| match &property.1.ask {
            Some(AskPlan::Text { template, .. }) => *template == proof.ask,
            _ => false,
        };
        if let Some((name, _)) = self.plan.properties.iter().collect::<Vec<_>>().iter().find(same) {
            let name = (*name).clone();
            // A plain number beside a quantity: the question names the unit.
            let value = match (&value, self.state.values.get(&name), &proof.unit) {
                (Value::Quantity(number), Some(Value::Quantity(before)), Some(unit))
                    if number.dim != before.dim =>
                {
                    Value::Quantity(Quantity::of(number.value, unit))
                }
                (Value::Quantity(number), Some(Value::Bool(_)), _) => {
                    Value::Bool(number.value != 0.0)
                }
                _ => value,
            };
            if self.state.values.get(&name).is_none_or(|before| value::alike(before, &value)) {
                self.state.values.insert(name, value);
            }
            return;
        }
        let Ok((ask, _)) = proof.ask.render(&|path| self.scope_value(path)) else { return };
        let like = self.entries.iter().find(|entry| entry.template == proof.ask);
        let like = like.and_then(|entry| entry.like.as_ref()).map(|like| like.data.as_str());
        let raw = match (&value, &proof.unit) {
            (Value::Quantity(quantity), Some(unit)) => quantity.in_unit(unit).map(Raw::Number),
            (Value::Quantity(quantity), None) => Some(Raw::Number(quantity.value)),
            (Value::Text(text), _) => Some(Raw::Text(text.to_string())),
            (Value::Bool(on), _) => Some(Raw::Number(f64::from(u8::from(*on)))),
            _ => None,
        };
        if let Some(Ok(data)) = raw.map(|raw| proof.parse.fill(Some(&raw), None, like))
            && (self.proofs.len() < PROOFS_MAX || self.proofs.contains_key(&ask))
        {
            self.proofs.insert(ask, data);
        }
    }

    fn scope_value(&self, path: &[String]) -> Option<Value> {
        match path {
            [name] => self.state.args.get(name).cloned(),
            [of, name] if of == "config" => self.plan.config.get(name).cloned(),
            _ => None,
        }
    }

    /// An answer with several properties: each is put into what the one before left.
    fn readings_text(
        &mut self,
        entries: &[Entry],
        now: f64,
        noise: &mut dyn FnMut() -> f64,
    ) -> Option<String> {
        let mut data: Option<String> = None;
        for entry in entries {
            let like = match &data {
                Some(data) => Some(data.clone()),
                None => entry.like.as_ref().map(|like| like.data.clone()),
            };
            data = Some(self.reading_text(entry, like.as_deref(), now, noise)?);
        }
        data
    }

    fn reading_text(
        &mut self,
        entry: &Entry,
        like: Option<&str>,
        now: f64,
        noise: &mut dyn FnMut() -> f64,
    ) -> Option<String> {
        let Role::Property(name) = &entry.role else { return None };
        // Curves and arrays are those of the examples.
        if entry.block {
            return like.map(str::to_owned);
        }
        if self.upset.broken {
            return entry.missing.as_ref().map(|like| like.data.clone());
        }
        let property = self.plan.properties.get(name)?.clone();
        if !property.status.is_empty() {
            return Some(like.unwrap_or_default().to_owned());
        }
        let value = self.shown(name, now, noise)?;
        let (raw, unit) = match value::said(&property, &value) {
            Ok(said) => said,
            Err(why) => {
                self.state.note(format!("{name}: {why}"));
                return None;
            }
        };
        match &entry.parse {
            Some(parse) => match parse.fill(Some(&raw), unit.as_deref(), like) {
                Ok(text) => Some(text),
                Err(why) => {
                    self.state.note(format!("{name}: {why}"));
                    None
                }
            },
            None => Some(match raw {
                Raw::Text(text) => text,
                Raw::Number(number) => number.to_string(),
            }),
        }
    }
}

/// What the device says when something is wrong in this way, status included.
fn refusal(codec: &TextCodec, class: ErrorClass) -> Option<String> {
    let of = |table: &BTreeMap<String, (String, ErrorClass)>| {
        table.iter().find(|(_, (_, its))| *its == class).map(|(code, _)| code.clone())
    };
    if let Some(table) = &codec.status {
        if let Some(alarm) = of(&table.alarms) {
            return Some(format!("{}{alarm}", codec.status_text(StatusClass::Alarm)?));
        }
        if let crate::driver::text::StatusForm::Byte { busy, error_mask } = &table.form
            && let Some(code) = of(&table.codes).and_then(|code| code.parse::<u8>().ok())
        {
            let ready = !busy.is & busy.mask | 0x40 & !busy.mask & !error_mask;
            return Some(
                char::from(ready | code << error_mask.trailing_zeros().min(7)).to_string(),
            );
        }
        if let Some(code) = of(&table.codes) {
            return Some(code);
        }
    }
    let code = of(&codec.errors)?;
    let text = code.trim_end_matches('*').to_owned();
    let status = codec.status_text(StatusClass::Ready).unwrap_or_default();
    Some(format!("{status}{text}"))
}
