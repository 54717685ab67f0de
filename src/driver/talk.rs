//! Operations of a definition on a half-duplex line: each becomes one or more questions.

use super::exchange::{Line, Message, Timing, Trace};
use super::pattern::{Found, Raw};
use super::plan::{AskPlan, Op, Plan, PropertyPlan, Protocol, UnlessPlan};
use super::registers::{Reading, Registers};
use super::scope::Scope;
use super::template::Template;
use super::text::{Fault, Reply};
use super::types::{FailureKind, Sent, Way};
use super::values;
use crate::expr::{self, Expr, Value};
use crate::spec::instrument::StatusClass;
use crate::units::Quantity;
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
}

impl Talk<'_> {
    fn timing(&self) -> Timing {
        Timing { reply: self.plan.reply_timeout, gap: self.plan.gap, silent: self.plan.silent_gap }
    }

    async fn ask(&mut self, body: &str, answered: bool) -> Result<Option<Reply>, Fault> {
        self.ask_for(Message { body, answered, timeout: None, lenient: false }).await
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
        let Protocol::Modbus { unit, rtu, .. } = &self.plan.protocol else {
            return Err(Fault::not_sent("registers on a line that is not Modbus"));
        };
        let timing = self.timing();
        self.line.modbus(*unit, *rtu, request, &timing, self.trace).await
    }

    async fn reading(&mut self, register: &Registers) -> Result<Reading, Fault> {
        let answer = self.registers(&register.read()).await?;
        register.reading(&answer).map_err(bad_reply)
    }

    /// Runs one operation. Pauses are the caller's.
    pub async fn run(&mut self, op: &Op, scope: &Scope) -> Result<Heard, Fault> {
        match op {
            Op::Text { texts, answered, expect, parse, timeout, unless, verify } => {
                if let Some(unless) = unless
                    && self.is_so(unless, scope).await.map_err(harmless)?
                {
                    return Ok(Heard::default());
                }
                let body = Template::render_best(texts, &|name| scope.look_up(name))
                    .map_err(Fault::not_sent)?;
                let lenient = expect.contains(&StatusClass::Error);
                let message =
                    Message { body: &body, answered: *answered, timeout: *timeout, lenient };
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
                Ok(Heard { sent: true, raw })
            }
            Op::Read { register } => {
                let raw = match self.reading(register).await? {
                    Reading::Number(number) => Raw::Number(number),
                    Reading::Bool(on) => Raw::Number(f64::from(u8::from(on))),
                    Reading::Invalid(raw) => {
                        return Err(bad_reply(format!("{raw} is no measurement")));
                    }
                };
                Ok(Heard { sent: true, raw: Some(raw) })
            }
            Op::Write { register, value, unit, unless_equal, verify } => {
                let number = write_value(value, unit.as_ref(), scope).map_err(Fault::not_sent)?;
                let request = register.write(number).map_err(Fault::not_sent)?;
                if *unless_equal {
                    let now = self.reading(register).await.map_err(harmless)?;
                    if register.holds(now, number) {
                        return Ok(Heard::default());
                    }
                }
                self.registers(&request).await?;
                if *verify {
                    let mut now = self.reading(register).await;
                    // Reading again is harmless, and a lost answer proves nothing.
                    if matches!(&now, Err(fault) if !fault.broken) {
                        now = self.reading(register).await;
                    }
                    let now = now.map_err(|mut fault| {
                        fault.effect = Sent::Unknown;
                        fault
                    })?;
                    if !register.holds(now, number) {
                        return Err(Fault::new(
                            FailureKind::BadReply,
                            Sent::Unknown,
                            format!("{number} was written, but it reads back as {now:?}"),
                        ));
                    }
                }
                Ok(Heard { sent: true, ..Heard::default() })
            }
            Op::Pause(_) => Ok(Heard::default()),
            Op::Publish { .. } => {
                Err(Fault::not_sent("an MQTT message on a line that is not MQTT"))
            }
        }
    }

    /// Makes sure that a message was taken.
    async fn verify(&mut self, question: &UnlessPlan, scope: &Scope) -> Result<(), Fault> {
        // The device needs its time however fast the lab clock runs.
        tokio::time::sleep(question.settle).await;
        let mut so = self.is_so(question, scope).await;
        // Asking again is harmless, and a lost answer proves nothing.
        if matches!(&so, Err(fault) if !fault.broken && fault.kind == FailureKind::Timeout) {
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
            Some(AskPlan::Text { template, parse }) => {
                let scope = self.plan.scope();
                let (body, _) =
                    template.render(&|name| scope.look_up(name)).map_err(Fault::not_sent)?;
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
                Ok((values::of_reading(property, reading).map_err(bad_reply)?, None))
            }
            Some(AskPlan::Topic { .. }) | None => {
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
        Some(AskPlan::Text { parse: Some(pattern), .. }) => Some(pattern.find(&reply.data).ok()?),
        Some(AskPlan::Text { parse: None, .. }) | None => None::<Found>,
        Some(AskPlan::Register(_) | AskPlan::Topic { .. }) => return None,
    };
    values::of_reply(property, reply, found).ok()
}

fn needs(plan: &Plan, expr: &Expr) -> Vec<String> {
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

pub(super) fn write_value(
    value: &Expr,
    unit: Option<&crate::units::Unit>,
    scope: &Scope,
) -> Result<f64, String> {
    match (expr::eval(value, scope).map_err(|e| e.message)?, unit) {
        (Value::Bool(on), _) => Ok(f64::from(u8::from(on))),
        (Value::Quantity(quantity), Some(unit)) => quantity
            .in_unit(unit)
            .ok_or_else(|| format!("the value cannot be given in {}", unit.symbol)),
        (Value::Quantity(quantity), None) if quantity.dim == crate::units::Dimension::default() => {
            Ok(quantity.value)
        }
        (Value::Quantity(_), None) => Err("a value with a dimension needs a `unit:`".to_owned()),
        (Value::Missing(reason), _) => Err(format!("the value is missing: {reason}")),
        _ => Err("the value is no number".to_owned()),
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
