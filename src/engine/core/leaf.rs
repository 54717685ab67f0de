//! Steps under way that send nothing, and blocks that wait for a condition.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use super::Tick;
use super::advance::{BACKSTOP, evaluated, no_value};
use super::events::{Action, Failure};
use super::machine::Core;
use super::record::{About, Record};
use super::run::StepKey;
use super::scope::Scope;
use crate::compiler::graph::{FailureKind, NodeKind};
use crate::expr::{self, Value};

/// How long an analysis may take whose step has no deadline.
const ANALYSIS_WAIT: Duration = Duration::from_secs(3_600);

impl Core {
    /// A leaf under way that sends nothing.
    pub(super) fn attend(&mut self, id: &str, key: &StepKey, now: Tick) -> bool {
        let Some(run) = self.runs.get(id) else { return false };
        let (Some(state), Some(node)) = (run.steps.get(key), run.node(key)) else { return false };
        // SAFETY(lab): it has failed, and what handles that is under way. A timer that it left behind
        // must not let it fail once more, or what handles it is done twice.
        if state.open_children > 0 {
            self.sleep(id, key);
            return false;
        }
        let place = (id.to_owned(), key.clone());
        match &node.kind {
            NodeKind::Wait { duration } => {
                let scope = Scope::new(self, run, key, now);
                let seconds = match expr::eval(duration, &scope) {
                    Ok(Value::Quantity(q)) => Duration::try_from_secs_f64(q.value).ok(),
                    _ => None,
                };
                let unread = scope.unread();
                let Some(wait) = seconds else {
                    if self.put_off(id, key, unread, now) {
                        return false;
                    }
                    self.end_open(id, key, Err(no_value("wait", "it is not a time")), now);
                    return true;
                };
                let due = run.due(state, wait, now);
                if now < due {
                    self.sleep_until(id, key, due);
                    return false;
                }
                self.end_open(id, key, Ok(None), now);
                true
            }
            NodeKind::WaitUntil { .. } => {
                self.watching.entry(place).or_insert(None);
                self.look_at(id, key, now)
            }
            NodeKind::Analyse { function, inputs, .. } => {
                let scope = Scope::new(self, run, key, now);
                let values = evaluated(inputs, &scope);
                let (unread, function) = (scope.unread(), function.clone());
                let values = match values {
                    Ok(values) => values,
                    Err(_) if self.put_off(id, key, unread, now) => return false,
                    Err(failure) => {
                        self.end_open(id, key, Err(failure), now);
                        return true;
                    }
                };
                let deadline = node.deadline.unwrap_or(ANALYSIS_WAIT);
                let asked = match self.asked.entry(place.clone()) {
                    Entry::Occupied(asked) => *asked.get(),
                    Entry::Vacant(free) => {
                        free.insert(now);
                        self.out.actions.push(Action::Analyse {
                            run: id.to_owned(),
                            key: key.clone(),
                            function,
                            inputs: values,
                        });
                        now
                    }
                };
                let limit = self.patience(asked).after(deadline).after(self.slack).after(BACKSTOP);
                if now < limit {
                    self.sleep_until(id, key, limit);
                    return false;
                }
                self.asked.remove(&place);
                let message = format!("no result within {:.0} s", deadline.as_secs_f64());
                let failure = Failure::without_effect(FailureKind::Timeout, message);
                self.end_open(id, key, Err(failure), now);
                true
            }
            NodeKind::Values { values } => {
                let scope = Scope::new(self, run, key, now);
                let mut found = BTreeMap::new();
                let mut failure = None;
                for (name, value) in values {
                    match expr::eval(value, &scope) {
                        // What a called protocol did not measure stays missing until it is read.
                        Ok(value) => {
                            found.insert(name.clone(), value);
                        }
                        Err(error) => failure = Some(no_value(name, &error.message)),
                    }
                }
                let unread = scope.unread();
                if self.put_off(id, key, unread, now) {
                    return false;
                }
                let result = failure.map_or(Ok(Some(Value::Record(found))), Err);
                self.end_open(id, key, result, now);
                true
            }
            NodeKind::Ask { question, options, .. } => {
                let scope = Scope::new(self, run, key, now);
                let question = match expr::eval(question, &scope) {
                    Ok(Value::Text(text)) => text.to_string(),
                    _ => "The protocol asks, but its question has no value.".to_owned(),
                };
                let options = options.clone();
                let answers: Vec<(&str, &str)> =
                    options.iter().map(|option| (option.as_str(), "")).collect();
                self.ask(id, key, About::Protocol, question, &answers, None, now);
                true
            }
            _ => {
                self.sleep(id, key);
                false
            }
        }
    }

    pub(super) fn decide_block(&mut self, id: &str, key: &StepKey, now: Tick) -> bool {
        let Some(run) = self.runs.get(id) else { return false };
        let Some(node) = run.node(key) else { return false };
        let condition = match &node.kind {
            NodeKind::Branch { condition } => Some(condition),
            NodeKind::Repeat { until, .. } => until.as_ref(),
            _ => return false,
        };
        let mut unread = false;
        let verdict = match condition {
            None => Ok(false),
            Some(condition) => {
                let scope = Scope::new(self, run, key, now);
                let value = expr::eval(&condition.expr, &scope);
                unread = scope.unread();
                match value {
                    Ok(Value::Bool(holds)) => Ok(holds),
                    Ok(Value::Missing(why)) => Err(no_value(&condition.text, &why)),
                    Ok(_) => Err(no_value(&condition.text, "it is not true or false")),
                    Err(error) => Err(no_value(&condition.text, &error.message)),
                }
            }
        };
        match verdict {
            Ok(holds) => {
                let step = run.step_ref(key);
                self.emit(Record::Decided { run: id.to_owned(), step, holds }, now);
            }
            Err(_) if self.put_off(id, key, unread, now) => return false,
            Err(failure) => self.end_open(id, key, Err(failure), now),
        }
        true
    }
}
