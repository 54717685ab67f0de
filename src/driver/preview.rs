//! What an action would send, rendered without opening anything.

use std::collections::BTreeMap;

use super::plan::{ActionPlan, AskPlan, DonePlan, Op, Plan, PropertyPlan, Protocol, UnlessPlan};
use super::scope::Scope;
use super::session::span_of;
use super::talk::written;
use super::template::Template;
use super::types::InstrumentSetup;
use super::values;
use crate::expr::{self, Expr, Value};
use crate::spec::instrument::Action;
use crate::wire::modbus::{Framing, Request};
use crate::wire::printable::{hex, printable};

/// Id that stands where a command would carry its own.
const ID: &str = "preview";

/// A message that would be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// The bytes, as in a trace.
    pub bytes: String,
    /// Why, and on what it depends.
    pub note: String,
}

/// Arguments checked against the declarations of an action, with defaults. The error lists all
/// that is wrong.
pub fn arguments(
    action: &Action,
    given: &BTreeMap<String, Value>,
) -> Result<BTreeMap<String, Value>, Vec<String>> {
    values::complete(&action.args, given, "arguments")
}

/// How long an action may take with these arguments, in lab time.
pub fn longest(
    setup: &InstrumentSetup,
    action: &Action,
    args: &BTreeMap<String, Value>,
) -> Result<std::time::Duration, String> {
    let config = values::complete(&setup.definition.config, &setup.config, "configuration")
        .map_err(|wrong| wrong.join("; "))?;
    let args = arguments(action, args).map_err(|wrong| wrong.join("; "))?;
    let mut scope = Scope { args, ..Scope::of_config(&config) };
    let plan = Plan::new(setup).map_err(|wrong| wrong.join("; "))?;
    if let Some(found) = plan.actions.get(&action.name.value) {
        values::compute(&mut scope, &found.compute)?;
    }
    span_of(&action.takes.timeout.expr, &scope)
}

/// The messages of an action, in order.
pub fn action(
    setup: &InstrumentSetup,
    name: &str,
    args: &BTreeMap<String, Value>,
) -> Result<Vec<Preview>, String> {
    let plan = Plan::new(setup).map_err(|wrong| wrong.join("; "))?;
    let action = plan.actions.get(name).ok_or_else(|| format!("it has no action `{name}`"))?;
    let args =
        values::complete(&action.args, args, "arguments").map_err(|wrong| wrong.join("; "))?;
    let mut scope = Scope { args, command: ID.to_owned(), client: ID.to_owned(), ..plan.scope() };
    values::compute(&mut scope, &action.compute)?;
    let mut view = View { plan: &plan, scope: &scope, all: Vec::new() };
    for (condition, text) in &action.require {
        view.reads(condition, &format!("first: `{text}` must hold"))?;
    }
    for op in &action.operations {
        view.op(op, "")?;
    }
    view.done(action)?;
    Ok(view.all)
}

/// The messages of the safe state.
pub fn safe_state(setup: &InstrumentSetup) -> Result<Vec<Preview>, String> {
    let plan = Plan::new(setup).map_err(|wrong| wrong.join("; "))?;
    let scope = Scope { command: ID.to_owned(), client: ID.to_owned(), ..plan.scope() };
    let mut view = View { plan: &plan, scope: &scope, all: Vec::new() };
    for op in &plan.safe_state {
        view.op(op, "")?;
    }
    if let Some(confirm) = &plan.confirm {
        view.reads(confirm, "must confirm it")?;
    }
    Ok(view.all)
}

/// The messages that read a property.
pub fn property(setup: &InstrumentSetup, name: &str) -> Result<Vec<Preview>, String> {
    let plan = Plan::new(setup).map_err(|wrong| wrong.join("; "))?;
    let property =
        plan.properties.get(name).ok_or_else(|| format!("it has no property `{name}`"))?;
    let scope = Scope { command: ID.to_owned(), client: ID.to_owned(), ..plan.scope() };
    let mut view = View { plan: &plan, scope: &scope, all: Vec::new() };
    match &property.computed {
        Some(computed) => view.reads(computed, "to compute it")?,
        None => view.property(property, "asks for it")?,
    }
    Ok(view.all)
}

struct View<'a> {
    plan: &'a Plan,
    scope: &'a Scope,
    all: Vec<Preview>,
}

impl View<'_> {
    fn add(&mut self, bytes: String, note: impl Into<String>) {
        self.all.push(Preview { bytes, note: note.into() });
    }

    fn text(&self, body: &str) -> Result<String, String> {
        match &self.plan.protocol {
            Protocol::Text { codec, .. } => {
                Ok(printable(&codec.frame(body).map_err(|fault| fault.message)?))
            }
            _ => Err("a text message on a line that is not text".to_owned()),
        }
    }

    fn ask(&self, template: &Template) -> Result<String, String> {
        self.text(&template.render(&|name| self.scope.look_up(name))?.0)
    }

    fn request(&self, request: &Request) -> Result<String, String> {
        let Protocol::Modbus { unit, framing, .. } = &self.plan.protocol else {
            return Err("registers on a line that is not Modbus".to_owned());
        };
        let pdu = request.pdu();
        // On TCP the transaction number is that of the session.
        Ok(match framing {
            Framing::Tcp => hex(&[&[*unit], pdu.as_slice()].concat()),
            Framing::Rtu => hex(&framing.frame(0, *unit, &pdu)),
            Framing::Ascii => printable(&framing.frame(0, *unit, &pdu)),
        })
    }

    fn question(&mut self, question: &UnlessPlan, note: &str) -> Result<(), String> {
        let bytes = self.ask(&question.ask)?;
        self.add(bytes, note);
        Ok(())
    }

    /// A topic, or the name of a metric.
    fn topic(&self, topic: &Template) -> Result<String, String> {
        topic.render(&|name| self.scope.look_up(name)).map(|(topic, _)| topic)
    }

    fn op(&mut self, op: &Op, note: &str) -> Result<(), String> {
        match op {
            Op::Text { texts, answered, unless, verify, .. } => {
                if let Some(unless) = unless {
                    self.question(unless, "asks whether the next message is needed")?;
                }
                let body = Template::render_best(texts, &|name| self.scope.look_up(name))?;
                let bytes = self.text(&body)?;
                let silent = if *answered { "" } else { "no answer is expected" };
                self.add(bytes, if note.is_empty() { silent } else { note });
                if let Some(check) = verify.as_deref() {
                    self.question(check, "asks whether it was taken")?;
                } else if let (false, Some(check)) = (*answered, &self.plan.silent_check) {
                    self.question(check, "asks whether it was taken")?;
                }
            }
            Op::Write { register, value, unit, words, unless_equal, verify } => {
                let content = written(value, unit.as_ref(), words, self.scope)?;
                let write = register.write(&content)?;
                if *unless_equal {
                    let bytes = self.request(&register.read())?;
                    self.add(bytes, "the next write is left out when it holds this already");
                }
                let bytes = self.request(&write)?;
                self.add(bytes, note);
                if *verify {
                    let bytes = self.request(&register.read())?;
                    self.add(bytes, "must read back as written");
                }
            }
            Op::Read { register, .. } => {
                let bytes = self.request(&register.read())?;
                self.add(bytes, "reads");
            }
            Op::Publish { topic, body, reply, .. } => {
                let topic = self.topic(topic)?;
                let payload = printable(&body.render(self.scope)?);
                let note = match reply {
                    Some(reply) => format!("answered on {}", self.topic(&reply.topic)?),
                    None => note.to_owned(),
                };
                self.add(format!("{topic} {payload}"), note);
            }
            Op::SetMetric { metric, value, unit } => {
                let metric = self.topic(metric)?;
                let value = expr::eval(value, self.scope).map_err(|error| error.message)?;
                let value = match (&value, unit) {
                    (Value::Quantity(quantity), Some(unit)) => quantity.display_in(unit),
                    _ => value.show(),
                };
                self.add(String::new(), format!("writes the metric {metric}: {value}"));
            }
            Op::Pause(pause) => {
                self.add(String::new(), format!("waits {} s", pause.as_secs_f64()));
            }
        }
        Ok(())
    }

    fn property(&mut self, property: &PropertyPlan, note: &str) -> Result<(), String> {
        match &property.ask {
            Some(AskPlan::Text { template, .. }) => {
                let bytes = self.ask(template)?;
                self.add(bytes, note);
            }
            Some(AskPlan::Register(register)) => {
                let bytes = self.request(&register.read())?;
                self.add(bytes, note);
            }
            Some(AskPlan::Topic { query: Some(query), .. }) => self.op(query, note)?,
            Some(AskPlan::Topic { topics, .. }) => {
                let topics: Result<Vec<String>, String> =
                    topics.iter().map(|topic| self.topic(topic)).collect();
                let topics = topics?.join(" or ");
                self.add(String::new(), format!("nothing is sent: it comes on {topics}"));
            }
            Some(AskPlan::Metric(metric)) => {
                let metric = self.topic(metric)?;
                self.add(
                    String::new(),
                    format!("nothing is sent: it comes as the metric {metric}"),
                );
            }
            None => self.add(String::new(), "nothing is sent: it is known from other answers"),
        }
        Ok(())
    }

    fn reads(&mut self, condition: &Expr, note: &str) -> Result<(), String> {
        for path in condition.names() {
            let [name, ..] = path.as_slice() else { continue };
            if let Some(property) = self.plan.properties.get(name) {
                self.property(property, note)?;
            }
        }
        Ok(())
    }

    fn done(&mut self, action: &ActionPlan) -> Result<(), String> {
        match &action.done {
            None => Ok(()),
            Some(DonePlan::Poll { send, every, .. }) => {
                let bytes = self.ask(send)?;
                let every = every.as_secs_f64();
                self.add(bytes, format!("asked every {every} s until it says that it is done"));
                Ok(())
            }
            Some(DonePlan::Until { condition, every, .. }) => {
                let every = every.as_secs_f64();
                self.reads(condition, &format!("asked every {every} s until it is done"))
            }
            Some(DonePlan::After(time)) => {
                let span = span_of(time, self.scope)?;
                self.add(String::new(), format!("done after {} s", span.as_secs_f64()));
                Ok(())
            }
        }
    }
}
