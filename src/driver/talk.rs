//! Operations of a definition on a half-duplex line: each becomes one or more questions.

use std::collections::BTreeMap;

use super::bulk::BlockPlan;
use super::exchange::{Line, Message, Timing, Trace};
use super::pattern::{Found, Raw};
use super::plan::{AskPlan, Op, Plan, PropertyPlan, Protocol, UnlessPlan};
use super::registers::{Content, Reading, Registers};
use super::scope::Scope;
use super::template::Template;
use super::text::{Fault, Reply};
use super::types::{FailureKind, Sent, Way};
use super::values;
use crate::expr::{self, Expr, Value};
use crate::spec::instrument::StatusClass;
use crate::units::{Quantity, Unit};
use crate::wire::modbus::Request;

/// One instrument's voice on its line.
pub(super) struct Talk<'a> {
    pub plan: &'a Plan,
    pub line: &'a mut Line,
    pub trace: &'a mut Trace,
}

/// What an operation brought.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Something was sent that may have an effect.
    pub sent: bool,
    pub raw: Option<Raw>,
    /// The curve or array of a block.
    pub value: Option<Value>,
}

impl Talk<'_> {
    fn timing(&self) -> Timing {
        Timing { reply: self.plan.reply_timeout, gap: self.plan.gap, silent: self.plan.silent_gap }
    }

    async fn ask(&mut self, body: &str, answered: bool) -> Result<Option<Reply>, Fault> {
        let message = Message { body, answered, timeout: None, lenient: false, block: None };
        self.ask_for(message).await
    }

    async fn ask_for(&mut self, message: Message<'_>) -> Result<Option<Reply>, Fault> {
        let Protocol::Text { codec, .. } = &self.plan.protocol else {
            return Err(Fault::not_sent("a text message on a line that is not text"));
        };
        let timing = self.timing();
        let reply = self.line.text(codec, &message, &timing, self.trace).await?;
        self.trace.status = reply.as_ref().and_then(|reply| reply.status).or(self.trace.status);
        Ok(reply)
    }

    async fn registers(&mut self, request: &Request) -> Result<crate::wire::modbus::Answer, Fault> {
        let Protocol::Modbus { unit, framing, .. } = &self.plan.protocol else {
            return Err(Fault::not_sent("registers on a line that is not Modbus"));
        };
        let timing = self.timing();
        self.line.modbus(*unit, *framing, request, &timing, self.trace).await
    }

    async fn reading(&mut self, register: &Registers) -> Result<Reading, Fault> {
        let answer = self.registers(&register.read()).await?;
        register.reading(&answer).map_err(bad_reply)
    }

    /// Runs one operation. Pauses are the caller's.
    pub async fn run(&mut self, op: &Op, scope: &Scope) -> Result<Heard, Fault> {
        match op {
            Op::Text { texts, answered, expect, parse, block, timeout, unless, verify } => {
                if let Some(unless) = unless
                    && self.is_so(unless, scope).await.map_err(harmless)?
                {
                    return Ok(Heard::default());
                }
                let body = Template::render_best(texts, &|name| scope.look_up(name))
                    .map_err(Fault::not_sent)?;
                let lenient = expect.contains(&StatusClass::Error);
                if let Some(block) = block {
                    let value = self.block(&body, *timeout, block, scope).await?;
                    return Ok(Heard { sent: true, raw: None, value: Some(value) });
                }
                let (answered, timeout) = (*answered, *timeout);
                let message = Message { body: &body, answered, timeout, lenient, block: None };
                let Some(reply) = self.ask_for(message).await? else {
                    let plan = self.plan;
                    if let Some(check) = verify.as_deref().or(plan.silent_check.as_ref()) {
                        self.verify(check, scope).await?;
                    }
                    return Ok(Heard { sent: true, ..Heard::default() });
                };
                let raw = match parse {
                    Some(pattern) => reply.find(pattern)?.value,
                    None => None,
                };
                if !expect.is_empty()
                    && !lenient
                    && !reply.status.is_some_and(|status| expect.contains(&status))
                {
                    let status = reply.status.map_or("none", values::status_word);
                    return Err(Fault::new(
                        FailureKind::Refused,
                        Sent::Unknown,
                        format!("its status after the command is {status}"),
                    ));
                }
                if let Some(verify) = verify {
                    self.verify(verify, scope).await?;
                }
                Ok(Heard { sent: true, raw, value: None })
            }
            Op::Read { register, unit } => {
                let reading = self.reading(register).await?;
                let raw = values::raw_of(reading, register.unit.as_ref(), unit.as_ref());
                let raw = Some(raw.map_err(bad_reply)?);
                Ok(Heard { sent: true, raw, value: None })
            }
            Op::Write { register, value, unit, words, unless_equal, verify } => {
                let content = written(value, unit.as_ref(), words, scope);
                let content = content.map_err(Fault::not_sent)?;
                let request = register.write(&content).map_err(Fault::not_sent)?;
                if *unless_equal {
                    let now = self.reading(register).await.map_err(harmless)?;
                    if register.holds(&now, &content) {
                        return Ok(Heard::default());
                    }
                }
                self.registers(&request).await?;
                if *verify {
                    let mut now = self.reading(register).await;
                    // Reading again is harmless, and a lost answer proves nothing.
                    // SAFETY(lab): a safe state that waits comes first.
                    if matches!(&now, Err(fault) if !fault.broken) && !self.line.is_wanted() {
                        now = self.reading(register).await;
                    }
                    let now = now.map_err(|mut fault| {
                        fault.effect = Sent::Unknown;
                        fault
                    })?;
                    if !register.holds(&now, &content) {
                        return Err(Fault::new(
                            FailureKind::BadReply,
                            Sent::Unknown,
                            format!("{content} was written, but it reads back as {now:?}"),
                        ));
                    }
                }
                Ok(Heard { sent: true, ..Heard::default() })
            }
            Op::Pause(_) => Ok(Heard::default()),
            Op::Publish { .. } | Op::SetMetric { .. } => {
                Err(Fault::not_sent("an MQTT message on a line that is not MQTT"))
            }
        }
    }

    /// Asks for a block, after the properties that say what its numbers are.
    async fn block(
        &mut self,
        body: &str,
        timeout: Option<std::time::Duration>,
        block: &BlockPlan,
        scope: &Scope,
    ) -> Result<Value, Fault> {
        let mut scope = scope.clone();
        for expr in block.expressions() {
            for name in needs(self.plan, expr) {
                // One that stands in several expressions is read once.
                if scope.properties.contains_key(&name) {
                    continue;
                }
                let value = Box::pin(self.property(&name)).await.map_err(harmless)?;
                scope.properties.insert(name, value);
            }
        }
        let most = Some(block.most);
        let message = Message { body, answered: true, timeout, lenient: false, block: most };
        let reply =
            self.ask_for(message).await?.ok_or_else(|| bad_reply("no answer".to_owned()))?;
        match reply.block {
            Some(bytes) => block.value(bytes, &scope).map_err(bad_reply),
            None => {
                let said = self.last_said();
                Err(bad_reply(format!("its answer is no block of IEEE 488.2{said}")))
            }
        }
    }

    /// Makes sure that a message was taken.
    async fn verify(&mut self, question: &UnlessPlan, scope: &Scope) -> Result<(), Fault> {
        // The device needs its time however fast the lab clock runs.
        tokio::time::sleep(question.settle).await;
        let mut so = self.is_so(question, scope).await;
        // Asking again is harmless, and a lost answer proves nothing.
        // SAFETY(lab): a safe state that waits comes first.
        if matches!(&so, Err(fault) if !fault.broken && fault.kind == FailureKind::Timeout)
            && !self.line.is_wanted()
        {
            so = self.is_so(question, scope).await;
        }
        match so {
            Ok(true) => Ok(()),
            Ok(false) => Err(Fault::new(
                FailureKind::Refused,
                Sent::Unknown,
                format!("it does not confirm the message when asked{}", self.last_said()),
            )),
            Err(mut fault) => {
                fault.effect = Sent::Unknown;
                Err(fault)
            }
        }
    }

    /// What came last, for an error.
    fn last_said(&self) -> String {
        let last = self.trace.all.iter().rev().find(|exchange| exchange.way == Way::In);
        last.map_or_else(String::new, |exchange| format!(": it answers `{}`", exchange.text))
    }

    /// Whether the instrument says that a message is not needed.
    async fn is_so(&mut self, unless: &UnlessPlan, scope: &Scope) -> Result<bool, Fault> {
        let (body, _) = unless.ask.render(&|name| scope.look_up(name)).map_err(Fault::not_sent)?;
        let reply =
            self.ask(&body, true).await?.ok_or_else(|| bad_reply("no answer".to_owned()))?;
        let found = reply.find(&unless.parse)?;
        let wanted = expr::eval(&unless.equals, scope).map_err(|e| Fault::not_sent(e.message))?;
        Ok(match (found.value, wanted) {
            (Some(Raw::Number(number)), Value::Quantity(wanted)) => {
                let now = match &unless.unit {
                    Some(unit) => Quantity::of(number, unit),
                    None => Quantity { value: number, ..wanted },
                };
                let within = unless.within.map_or(1e-9 * wanted.value.abs(), |w| w.value);
                now.dim == wanted.dim && (now.value - wanted.value).abs() <= within
            }
            (Some(Raw::Text(text)), Value::Text(wanted)) => text == *wanted,
            _ => false,
        })
    }

    /// Asks for the status.
    pub async fn status(
        &mut self,
        send: &Template,
        scope: &Scope,
    ) -> Result<Option<StatusClass>, Fault> {
        let (body, _) = send.render(&|name| scope.look_up(name)).map_err(Fault::not_sent)?;
        Ok(self.ask(&body, true).await?.and_then(|reply| reply.status))
    }

    /// Reads a property. Computed ones read what they are computed from.
    pub async fn property(&mut self, name: &str) -> Result<Value, Fault> {
        let plan = self.plan;
        let Some(property) = plan.properties.get(name) else {
            return Err(Fault::not_sent(format!("there is no property `{name}`")));
        };
        let Some(computed) = &property.computed else {
            return Ok(self.read(property).await?.0);
        };
        let mut scope = plan.scope();
        for name in needs(plan, computed) {
            if let Some(property) = plan.properties.get(&name).filter(|p| p.computed.is_none()) {
                let value = self.read(property).await?.0;
                scope.properties.insert(name, value);
            }
        }
        expr::eval(computed, &scope).map_err(|error| bad_reply(error.message))
    }

    /// Reads a property, and gives back the answer for others that are read from the same one.
    pub async fn read(&mut self, property: &PropertyPlan) -> Result<(Value, Option<Reply>), Fault> {
        match &property.ask {
            Some(AskPlan::Text { template, parse, block }) => {
                let scope = self.plan.scope();
                let (body, _) =
                    template.render(&|name| scope.look_up(name)).map_err(Fault::not_sent)?;
                if let Some(block) = block {
                    return Ok((self.block(&body, None, block, &scope).await?, None));
                }
                let reply = self.ask(&body, true).await?;
                let reply = reply.ok_or_else(|| bad_reply("no answer".to_owned()))?;
                let found = match parse {
                    Some(pattern) => Some(reply.find(pattern)?),
                    None => None,
                };
                let value = values::of_reply(property, &reply, found).map_err(bad_reply)?;
                Ok((value, Some(reply)))
            }
            Some(AskPlan::Register(register)) => {
                let reading = self.reading(register).await?;
                let value = values::of_reading(property, reading, register.unit.as_ref());
                Ok((value.map_err(bad_reply)?, None))
            }
            Some(AskPlan::Topic { .. } | AskPlan::Metric(_)) | None => {
                Err(Fault::not_sent("this property cannot be asked for"))
            }
        }
    }

    /// Whether a condition over properties and arguments holds now.
    pub async fn holds(&mut self, condition: &Expr, scope: &Scope) -> Result<bool, Fault> {
        let mut scope = scope.clone();
        for name in needs(self.plan, condition) {
            let value = Box::pin(self.property(&name)).await?;
            scope.properties.insert(name, value);
        }
        match expr::eval(condition, &scope) {
            Ok(Value::Bool(holds)) => Ok(holds),
            // Unknown is not true.
            Ok(_) => Ok(false),
            Err(error) => Err(bad_reply(error.message)),
        }
    }
}

/// The value of a property in an answer to the same question, asked for another property.
pub(super) fn shared(property: &PropertyPlan, reply: &Reply) -> Option<Value> {
    let found = match &property.ask {
        Some(AskPlan::Text { block: Some(_), .. }) => return None,
        Some(AskPlan::Text { parse: Some(pattern), .. }) => Some(pattern.find(&reply.data).ok()?),
        Some(AskPlan::Text { parse: None, .. }) | None => None::<Found>,
        Some(AskPlan::Register(_) | AskPlan::Topic { .. } | AskPlan::Metric(_)) => return None,
    };
    values::of_reply(property, reply, found).ok()
}

/// Properties of the plan that an expression is about.
pub(super) fn needs(plan: &Plan, expr: &Expr) -> Vec<String> {
    let mut names: Vec<String> = expr
        .names()
        .into_iter()
        .filter_map(|path| path.into_iter().next())
        .filter(|name| plan.properties.contains_key(name))
        .collect();
    names.sort();
    names.dedup();
    names
}

/// Whether a message can be made at all: an action whose last message cannot must not have its first
/// on the wire.
///
/// Errors: what is refused and why.
pub(super) fn sendable(op: &Op, scope: &Scope) -> Result<(), String> {
    let look_up = |name: &[String]| scope.look_up(name);
    match op {
        Op::Text { texts, .. } => Template::render_best(texts, &look_up).map(drop),
        Op::Write { register, value, unit, words, .. } => {
            let content = written(value, unit.as_ref(), words, scope)?;
            register.write(&content).map(drop)
        }
        Op::Publish { topic, body, .. } => {
            topic.render(&look_up)?;
            body.render(scope).map(drop)
        }
        Op::SetMetric { metric, value, .. } => {
            metric.render(&look_up)?;
            expr::eval(value, scope).map(drop).map_err(|error| error.message)
        }
        Op::Read { .. } | Op::Pause(_) => Ok(()),
    }
}

/// What stands for a value in registers.
pub(super) fn written(
    value: &Expr,
    unit: Option<&Unit>,
    words: &BTreeMap<String, f64>,
    scope: &Scope,
) -> Result<Content, String> {
    match (expr::eval(value, scope).map_err(|e| e.message)?, unit) {
        (Value::Bool(on), _) => Ok(Content::Number(f64::from(u8::from(on)))),
        (Value::Text(text), _) if words.is_empty() => Ok(Content::Text(text.as_ref().to_owned())),
        (Value::Text(text), _) => words
            .get(&*text)
            .map(|number| Content::Number(*number))
            .ok_or_else(|| format!("the device has no number for `{text}`")),
        (Value::Quantity(quantity), Some(unit)) => quantity
            .in_unit(unit)
            .map(Content::Number)
            .ok_or_else(|| format!("the value cannot be given in {}", unit.symbol)),
        (Value::Quantity(quantity), None) if quantity.dim == crate::units::Dimension::default() => {
            Ok(Content::Number(quantity.value))
        }
        (Value::Quantity(_), None) => Err("a value with a dimension needs a `unit:`".to_owned()),
        (Value::Missing(reason), _) => Err(format!("the value is missing: {reason}")),
        _ => Err("the value is neither a number nor a text".to_owned()),
    }
}

fn bad_reply(message: String) -> Fault {
    Fault::new(FailureKind::BadReply, Sent::Unknown, message)
}

/// A question asked before the message proper changes nothing, however it ends.
fn harmless(mut fault: Fault) -> Fault {
    fault.effect = Sent::NotSent;
    fault
}
