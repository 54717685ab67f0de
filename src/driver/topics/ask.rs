//! Questions: properties that are read or polled, and what is sent after each connect.

use std::sync::Arc;

use tokio::time::Instant;

use super::publish::{Flight, Verdict};
use super::{Topics, shown};
use crate::driver::exchange::Trace;
use crate::driver::plan::{AskPlan, Op};
use crate::driver::scope::Scope;
use crate::driver::session::next_turn;
use crate::driver::types::{About, FailureKind, Flaw, Way};
use crate::expr::{self, Value};
use crate::wire::mqtt::Event;

/// Reads that wait at once; more are refused.
const WAITING_MAX: usize = 256;

/// Something to ask.
pub(super) struct Question {
    /// The property whose value it brings; none for what is sent after a connect.
    property: Option<String>,
    op: Op,
}

/// A question that is out.
pub(super) struct Asking {
    pub(super) property: Option<String>,
    pub(super) flight: Flight,
    /// Wall time.
    pub(super) until: Instant,
}

/// A read that waits for a live value.
pub(super) struct Waiting {
    attempt: String,
    property: String,
    /// Wall time.
    pub(super) until: Instant,
    trace: Trace,
}

impl Topics {
    /// Reads a property for somebody: asks for it where that can be done, else takes the last live
    /// value, else waits for one.
    pub(super) fn read(&mut self, attempt: String, name: &str) {
        let plan = Arc::clone(&self.plan);
        let Some(property) = plan.properties.get(name) else {
            let why = format!("it has no property `{name}`");
            return self.outbox.refuse(attempt, FailureKind::Internal, why);
        };
        if !self.is_up() {
            return self.outbox.refuse(attempt, FailureKind::Link, self.lamp.why_down());
        }
        if let Some(computed) = &property.computed {
            let mut scope = self.scope();
            self.put_values(&mut scope);
            return match expr::eval(computed, &scope) {
                Ok(value) => self.outbox.done(attempt, Some(value), Trace::default()),
                Err(error) => self.outbox.refuse(attempt, FailureKind::BadReply, error.message),
            };
        }
        let query = self.query(name);
        let now = self.clock.now();
        if query.is_none()
            && let Some((value, at)) = self.state.values.get(name)
            && property.max_age.is_none_or(|age| now.since(*at) <= age)
        {
            return self.outbox.done(attempt, Some(value.clone()), Trace::default());
        }
        if self.state.waiting.len() >= WAITING_MAX {
            let why = "too many reads wait for it".to_owned();
            return self.outbox.refuse(attempt, FailureKind::Busy, why);
        }
        self.state.questions.extend(query);
        let until = Instant::now() + self.plan.reply_timeout;
        let (property, trace) = (name.to_owned(), Trace::default());
        self.state.waiting.push(Waiting { attempt, property, until, trace });
    }

    /// The question for a property, unless it waits to be asked already.
    pub(super) fn query(&self, name: &str) -> Option<Question> {
        let Some(AskPlan::Topic { query: Some(op), .. }) = &self.plan.properties.get(name)?.ask
        else {
            return None;
        };
        let queued = |question: &Question| question.property.as_deref() == Some(name);
        let asked = self.state.questions.iter().any(queued);
        (!asked).then(|| Question { property: Some(name.to_owned()), op: (**op).clone() })
    }

    /// What is asked whenever the instrument is there again.
    pub(super) fn ask_at_first(&mut self) {
        let plan = Arc::clone(&self.plan);
        self.state.questions.clear();
        let first = plan.on_connect.iter().filter(|op| !matches!(op, Op::Pause(_)));
        self.state.questions.extend(first.map(|op| Question { property: None, op: op.clone() }));
        let now = self.clock.now();
        self.state.polls = plan
            .properties
            .iter()
            .filter(|(_, property)| {
                property.every.is_some()
                    && matches!(property.ask, Some(AskPlan::Topic { query: Some(_), .. }))
            })
            .map(|(name, _)| (name.clone(), now))
            .collect();
    }

    /// Whether a question may be sent: no other message of ours is out or about to be.
    pub(super) fn may_ask(&self) -> bool {
        let idle = self.state.active.as_ref().is_none_or(|active| {
            active.flight.is_none() && active.next >= active.action.operations.len()
        });
        idle && self.state.asking.is_none() && self.is_up()
    }

    /// Asks what is due.
    pub(super) fn ask_next(&mut self) {
        if !self.may_ask() {
            return;
        }
        let now = self.clock.now();
        let due = self.state.polls.iter().filter(|(_, due)| **due <= now);
        let due: Vec<String> = due.map(|(name, _)| name.clone()).collect();
        for name in due {
            let every = self.plan.properties.get(&name).and_then(|property| property.every);
            if let Some(every) = every {
                self.state.polls.insert(name.clone(), next_turn(&self.clock, now, every));
                let question = self.query(&name);
                self.state.questions.extend(question);
            }
        }
        while self.may_ask()
            && let Some(question) = self.state.questions.pop_front()
        {
            if self.silence_left(&question.op).is_some() {
                self.state.questions.push_front(question);
                return;
            }
            self.ask(question, &mut Trace::default());
        }
    }

    fn ask(&mut self, question: Question, trace: &mut Trace) {
        let number = self.state.messages.wrapping_add(1);
        let id = format!("{}{}-{number}", self.origin, self.client_id);
        let scope = Scope { command: id.clone(), ..self.scope() };
        match self.publish(&question.op, &scope, &id, trace) {
            Ok(flight) if flight.reply.is_none() && question.property.is_none() => {}
            Ok(flight) => {
                let until = Instant::now() + self.plan.reply_timeout;
                let property = question.property;
                let waits = self.state.waiting.iter_mut();
                for waiting in waits.filter(|w| Some(&w.property) == property.as_ref()) {
                    waiting.until = until;
                    waiting.trace.all.clone_from(&trace.all);
                }
                self.state.asking = Some(Asking { property, flight, until });
            }
            Err(fault) => self.unanswered(question.property, fault.kind, &fault.message),
        }
    }

    /// Asks at once, unless a question is out.
    pub(super) fn ask_now(&mut self, question: Question, trace: &mut Trace) {
        if self.state.asking.is_none() {
            self.ask(question, trace);
        }
    }

    /// A question that brought nothing.
    fn unanswered(&mut self, property: Option<String>, kind: FailureKind, why: &str) {
        match property {
            Some(property) => {
                let about = About { flaw: Flaw::of(kind), device_ms: None };
                self.sample(&property, Value::Missing(why.into()), about);
            }
            None => {
                let instrument = &self.plan.name;
                tracing::warn!(%instrument, why, "a message of `on_connect` was not answered");
            }
        }
    }

    /// What an event means for the question that is out.
    pub(super) fn answer_question(&mut self, event: &Event) {
        let Some(asking) = self.state.asking.take() else { return };
        match self.judge(&asking.flight, event) {
            // The broker has it; the value itself comes on its topic.
            Verdict::Nothing | Verdict::Progress | Verdict::Answered(None) => {
                self.state.asking = Some(asking);
            }
            Verdict::Answered(Some(json)) => {
                let plan = Arc::clone(&self.plan);
                let Some(name) = asking.property else { return };
                let Some(property) = plan.properties.get(&name) else { return };
                let path = asking.flight.reply.and_then(|reply| reply.json);
                let value = super::hear::value_in(property, &json, path.as_deref())
                    .unwrap_or_else(|| Value::Missing("the answer does not hold it".into()));
                if let Event::Message(message) = event {
                    let waits = self.state.waiting.iter_mut();
                    for waiting in waits.filter(|waiting| waiting.property == name) {
                        waiting.trace.add(&self.clock, Way::In, shown(message));
                    }
                }
                let about = super::hear::heard_about(&value);
                self.sample(&name, value, about);
            }
            Verdict::Failed(fault) => self.unanswered(asking.property, fault.kind, &fault.message),
        }
    }

    /// Ends the reads that waited for a value, now that there is one.
    pub(super) fn end_waiting(&mut self, name: &str, value: &Value) {
        let waiting = std::mem::take(&mut self.state.waiting);
        let (ended, open) = waiting.into_iter().partition(|waiting| waiting.property == name);
        self.state.waiting = open;
        let ended: Vec<Waiting> = ended;
        for waiting in ended {
            self.outbox.done(waiting.attempt, Some(value.clone()), waiting.trace);
        }
        let unanswered = |asking: &mut Asking| {
            asking.flight.reply.is_none() && asking.property.as_deref() == Some(name)
        };
        self.state.asking.take_if(unanswered);
    }

    /// Ends questions and reads that waited long enough.
    pub(super) fn late(&mut self) {
        let now = Instant::now();
        if let Some(asking) = self.state.asking.take_if(|asking| asking.until <= now) {
            let why = "it does not answer the question for it";
            self.owe(Some(&asking.flight));
            let reads = asking.property.iter();
            for property in reads {
                self.end_reads_of(property, why);
            }
            self.unanswered(asking.property, FailureKind::Timeout, why);
        }
        let (late, open): (Vec<Waiting>, Vec<Waiting>) =
            std::mem::take(&mut self.state.waiting).into_iter().partition(|w| w.until <= now);
        self.state.waiting = open;
        for waiting in late {
            let why = match self.state.kept.get(&waiting.property) {
                Some(kept) => format!(
                    "it has sent no live value; the broker kept {} from an unknown time",
                    kept.show()
                ),
                None => "it has sent no live value".to_owned(),
            };
            self.outbox.refuse(waiting.attempt, FailureKind::Timeout, why);
        }
        if self.state.rebirth_at.is_some_and(|at| at <= now) {
            self.ask_for_birth();
        }
    }

    fn end_reads_of(&mut self, property: &str, why: &str) {
        let waiting = std::mem::take(&mut self.state.waiting);
        for waiting in waiting {
            if waiting.property == property {
                self.outbox.refuse(waiting.attempt, FailureKind::Timeout, why.to_owned());
            } else {
                self.state.waiting.push(waiting);
            }
        }
    }

    /// Ends all reads: the instrument cannot be talked to.
    pub(super) fn end_reads(&mut self, why: &str) {
        if let Some(asking) = self.state.asking.take() {
            self.owe(Some(&asking.flight));
        }
        self.state.questions.clear();
        for waiting in std::mem::take(&mut self.state.waiting) {
            self.outbox.refuse(waiting.attempt, FailureKind::Link, why.to_owned());
        }
    }
}
