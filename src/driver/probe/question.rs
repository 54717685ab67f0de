//! A message that only asks.

use crate::driver::exchange::{Line, Message, Timing, Trace};
use crate::driver::mirror::messages::{self, Role};
use crate::driver::pattern::Pattern;
use crate::driver::plan::{AskPlan, Op, Plan, PropertyPlan, Protocol};
use crate::driver::registers::Registers;
use crate::driver::template::Template;
use crate::driver::text::{Fault, Reply};
use crate::driver::types::{FailureKind, Sent};
use crate::driver::values;
use crate::expr::Value;
use crate::spec::instrument::{EffectClass, StatusClass};
use crate::wire::modbus::Request;
use crate::wire::printable::{hex, printable};

/// Properties that are read as a sample, those that are polled first.
const SAMPLES: usize = 3;

/// A message that only asks. There is no other way to make one than the two functions below, and
/// nothing else can be sent from this module.
pub(super) struct Question(Asks);

enum Asks {
    /// A text that is answered, with what the answer must be.
    Text { bytes: Vec<u8>, body: String, expect: Vec<StatusClass>, parse: Option<Pattern> },
    /// Registers to read; it holds no value that could be written.
    Register(Registers),
}

/// An answer to a question.
pub(super) enum Heard {
    Reply(Reply),
    Registers(crate::driver::registers::Reading),
}

/// The questions that identify a device; the error says why they are not only questions.
pub(super) fn identify(plan: &Plan) -> Result<Vec<Question>, String> {
    plan.identify
        .iter()
        .map(|op| match op {
            Op::Text {
                texts,
                answered: true,
                expect,
                parse,
                block: None,
                unless: None,
                verify: None,
                ..
            } => text(plan, texts, expect.clone(), parse.clone()),
            Op::Read { register, .. } => reads(register),
            Op::Text { .. }
            | Op::Write { .. }
            | Op::Publish { .. }
            | Op::SetMetric { .. }
            | Op::Pause(_) => Err("its `identify:` does more than ask".to_owned()),
        })
        .collect()
}

/// Questions for a few properties.
pub(super) fn samples(plan: &Plan) -> Vec<(String, Question)> {
    let mut names: Vec<(&String, &PropertyPlan)> =
        plan.properties.iter().filter(|(_, property)| property.computed.is_none()).collect();
    names.sort_by_key(|(_, property)| property.every.is_none());
    let mut all: Vec<(String, Question)> = Vec::new();
    for (name, property) in names {
        let question = match &property.ask {
            // A curve is long, and says little of who gives it.
            Some(AskPlan::Text { block: Some(_), .. }) => None,
            Some(AskPlan::Text { template, parse, block: None }) => {
                let texts = std::slice::from_ref(template);
                text(plan, texts, Vec::new(), parse.clone()).ok()
            }
            Some(AskPlan::Register(register)) => reads(register).ok(),
            Some(AskPlan::Topic { .. } | AskPlan::Metric(_)) | None => None,
        };
        if let Some(question) = question.filter(|q| !all.iter().any(|(_, other)| q.same(other))) {
            all.push((name.clone(), question));
        }
        if all.len() == SAMPLES {
            break;
        }
    }
    all
}

/// A read of registers: only with the functions that are one to every device (Modbus Application
/// Protocol V1.1b3, functions 1 to 4).
fn reads(register: &Registers) -> Result<Question, String> {
    let Request::Read { function, .. } = register.read() else {
        return Err("it does more than read".to_owned());
    };
    if (1..=4).contains(&function) {
        Ok(Question(Asks::Register(register.clone())))
    } else {
        Err(format!("it reads with function {function}, which may be anything to another device"))
    }
}

fn text(
    plan: &Plan,
    texts: &[Template],
    expect: Vec<StatusClass>,
    parse: Option<Pattern>,
) -> Result<Question, String> {
    let Protocol::Text { codec, .. } = &plan.protocol else {
        return Err("it asks in text on a line that is none".to_owned());
    };
    let scope = plan.scope();
    let body = Template::render_best(texts, &|name| scope.look_up(name))?;
    let bytes = codec.frame(&body).map_err(|fault| fault.message)?;
    Ok(Question(Asks::Text { bytes, body, expect, parse }))
}

impl Question {
    fn same(&self, other: &Question) -> bool {
        match (&self.0, &other.0) {
            (Asks::Text { bytes, .. }, Asks::Text { bytes: others, .. }) => bytes == others,
            (Asks::Register(one), Asks::Register(other)) => one == other,
            _ => false,
        }
    }

    /// For people.
    pub fn shown(&self) -> String {
        match &self.0 {
            Asks::Text { bytes, .. } => printable(bytes),
            Asks::Register(register) => hex(&register.read().pdu()),
        }
    }

    /// What a definition would take these bytes for, if that has an effect.
    pub fn effect_on(&self, plan: &Plan) -> Option<String> {
        let (Asks::Text { bytes, .. }, Protocol::Text { codec, .. }) = (&self.0, &plan.protocol)
        else {
            // See `reads`.
            return None;
        };
        let entries = messages::entries(plan);
        let fits =
            |body: &str| entries.iter().any(|e| e.template.read(body, &plan.config).is_some());
        let body = codec.take_request(&mut bytes.clone(), &fits)?.body?;
        entries.iter().filter(|entry| entry.template.read(&body, &plan.config).is_some()).find_map(
            |entry| match &entry.role {
                Role::Step { action, .. } => {
                    let effect = plan.actions.get(action)?.effect;
                    (effect != EffectClass::Read).then(|| action.clone())
                }
                Role::Safe => Some("the safe state".to_owned()),
                Role::Other(what) if !what.starts_with("asks") && what != "identifies" => {
                    (what != "checks").then(|| what.clone())
                }
                Role::Property(_) | Role::Other(_) => None,
            },
        )
    }

    /// Asks. The one place where this module sends anything.
    pub async fn ask(
        &self,
        plan: &Plan,
        line: &mut Line,
        timing: &Timing,
        trace: &mut Trace,
    ) -> Result<Heard, Fault> {
        let bad = |why: String| Fault::new(FailureKind::BadReply, Sent::NoEffect, why);
        match (&self.0, &plan.protocol) {
            (Asks::Text { body, expect, parse, .. }, Protocol::Text { codec, .. }) => {
                let lenient = expect.contains(&StatusClass::Error);
                let message = Message { body, answered: true, timeout: None, lenient, block: None };
                let reply = line.text(codec, &message, timing, trace).await?;
                let reply = reply.ok_or_else(|| bad("no answer".to_owned()))?;
                if let Some(pattern) = parse {
                    reply.find(pattern)?;
                }
                Ok(Heard::Reply(reply))
            }
            (Asks::Register(register), Protocol::Modbus { unit, framing, .. }) => {
                let request = register.read();
                let answer = line.modbus(*unit, *framing, &request, timing, trace).await?;
                register.reading(&answer).map(Heard::Registers).map_err(bad)
            }
            _ => Err(bad("a question for another wire".to_owned())),
        }
    }

    /// Whether hardly any other device answers like this: by fixed text, a status, or an address.
    pub fn is_telling(&self, plan: &Plan) -> bool {
        match (&self.0, &plan.protocol) {
            (Asks::Text { parse, .. }, Protocol::Text { codec, .. }) => {
                parse.as_ref().is_some_and(Pattern::has_own_text)
                    || codec.status.is_some()
                    || !codec.reply_start.is_empty()
            }
            _ => false,
        }
    }

    /// The value of a property in an answer.
    pub fn value(&self, property: &PropertyPlan, heard: &Heard) -> Result<Value, String> {
        match heard {
            Heard::Registers(reading) => {
                let unit = match &self.0 {
                    Asks::Register(register) => register.unit.as_ref(),
                    Asks::Text { .. } => None,
                };
                values::of_reading(property, reading.clone(), unit)
            }
            Heard::Reply(reply) => {
                let Asks::Text { parse, .. } = &self.0 else { return Err("no text".to_owned()) };
                let found = match parse {
                    Some(pattern) => Some(pattern.find(&reply.data)?),
                    None => None,
                };
                values::of_reply(property, reply, found)
            }
        }
    }
}
