//! Questions for people: what is asked, what is known, what each answer means, who answered.
//!
//! Each question has a number in its run. An answer must be one of its options and, if it names a
//! number, that of the question that is open; the first answer counts, and whoever comes second is
//! told who was first.

use std::time::Duration;

use super::Tick;
use super::events::{Heard, InDoubt};
use super::machine::Core;
use super::record::{About, Ending, Evidence, Record, Resolution, StepRef};
use super::run::{Phase, Run, Status, StepKey, commanded};
use super::states::Cause;
use crate::compiler::graph::{NodeId, NodeKind};
use crate::expr::Value;

/// Who answers a question that nobody answered in time.
pub const DEADLINE: &str = "deadline";
/// How long a question about a failure, a doubt or a downtime stays open before the cautious answer
/// is taken.
pub(super) const QUESTION_WAIT: Duration = Duration::from_secs(24 * 3600);
/// Longest answer that is taken where the journal names no options.
const ANSWER_MAX: usize = 2_000;

/// What a doubt can be answered with, and what follows.
const DOUBT_ANSWERS: [(&str, &str); 3] = [
    ("done", "it happened: the step counts as done, and the run goes on"),
    ("not done", "it did not happen: the step may send it again"),
    (
        "discard",
        "nobody can tell, or only part of it happened: the sample is lost, and the run \
                 ends as invalid",
    ),
];

/// What a question about a failed step can be answered with.
pub(super) const FAILURE_ANSWERS: [(&str, &str); 3] = [
    ("retry", "the step begins anew"),
    ("skip", "the run goes on without it; its results stay missing"),
    ("fail", "the run fails, and `finally` runs"),
];

/// An answer to a question, as it came.
pub(super) struct Answering<'a> {
    pub run: &'a str,
    pub path: &'a str,
    pub question: Option<u32>,
    pub answer: String,
    pub by: String,
}

impl Core {
    /// Asks a person.
    #[expect(clippy::too_many_arguments, reason = "each is a part of the question's record")]
    pub(super) fn ask(
        &mut self,
        id: &str,
        key: &StepKey,
        about: About,
        question: String,
        answers: &[(&str, &str)],
        evidence: Option<Box<Evidence>>,
        now: Tick,
    ) {
        let Some(run) = self.runs.get(id) else { return };
        let explained = answers.iter().any(|(_, meaning)| !meaning.is_empty());
        let meanings = answers.iter().filter(|_| explained).map(|(_, m)| (*m).to_owned());
        let record = Record::Question {
            run: id.to_owned(),
            step: run.step_ref(key),
            question,
            options: answers.iter().map(|(answer, _)| (*answer).to_owned()).collect(),
            id: run.questions.saturating_add(1),
            about,
            meanings: meanings.collect(),
            evidence,
        };
        self.emit(record, now);
        self.wake_question(id, key);
    }

    /// Brings a question back to the list so that its deadline is armed.
    pub(super) fn wake_question(&mut self, id: &str, key: &StepKey) {
        if let Some(run) = self.runs.get_mut(id) {
            run.ready.insert(key.clone());
        }
    }

    /// A question that stands open: the cautious answer is taken at its deadline.
    pub(super) fn attend_question(&mut self, id: &str, key: &StepKey, now: Tick) -> bool {
        let Some(run) = self.runs.get(id) else { return false };
        let (Some(state), Some(node)) = (run.steps.get(key), run.node(key)) else { return false };
        let about = state.question.as_ref().map_or(About::Protocol, |q| q.about);
        let protocols = match about {
            About::Protocol | About::Failure => true,
            About::Doubt | About::Downtime => false,
        };
        let wait = match node.kind {
            NodeKind::Ask { .. } => node.deadline.unwrap_or(QUESTION_WAIT),
            _ => QUESTION_WAIT,
        };
        let due = if protocols { run.due(state, wait, now) } else { state.since.after(wait) };
        if protocols && run.state().stands_still() {
            return false;
        }
        if now < due {
            self.sleep_until(id, key, due);
            return false;
        }
        let answer = match (&node.kind, state.status, about) {
            (_, _, About::Downtime) => "stop".to_owned(),
            (NodeKind::Ask { on_timeout, .. }, _, _) => match on_timeout {
                Some(answer) => answer.clone(),
                None => "invalid".to_owned(),
            },
            (_, Status::Sent | Status::Uncertain, _) => "discard".to_owned(),
            _ => "fail".to_owned(),
        };
        self.answer(id, key, answer, DEADLINE.to_owned(), now);
        true
    }

    /// A person's answer. What became of it is in the replies.
    pub(super) fn take_answer(&mut self, given: Answering<'_>, now: Tick) {
        match self.may_answer(&given) {
            Ok(key) => {
                let (run, by) = (given.run.to_owned(), given.by);
                self.answer(&run, &key, given.answer, by, now);
                self.reply(&run, Heard::Accepted, String::new());
            }
            Err((heard, why)) => self.reply(given.run, heard, why),
        }
    }

    fn may_answer(&self, given: &Answering<'_>) -> Result<StepKey, (Heard, String)> {
        let refused = |why: String| Err((Heard::Refused, why));
        let Some(run) = self.runs.get(given.run) else {
            return refused(format!("there is no run `{}` under way", given.run));
        };
        let open = run.steps.iter().find(|(k, s)| s.asked && run.path(k) == given.path);
        let open = open.filter(|(key, _)| run.is_in_phase(key));
        let Some((key, state)) = open else { return Err(run.not_open(given)) };
        let asked = state.question.as_ref();
        if let (Some(named), Some(asked)) = (given.question, asked)
            && named != asked.id
        {
            if let Some(before) = run.answers.iter().find(|a| a.id == named) {
                return Err(before.told(&given.answer));
            }
            return refused(format!(
                "question {named} is not the one that is open at `{}`: that is question {}",
                given.path, asked.id
            ));
        }
        let options = asked.map(|q| q.options.as_slice()).unwrap_or_default();
        if !options.is_empty() && !options.contains(&given.answer) {
            return refused(format!(
                "`{}` is no answer to this question: answer {}",
                given.answer,
                options.iter().map(|o| format!("`{o}`")).collect::<Vec<_>>().join(", ")
            ));
        }
        if given.answer.len() > ANSWER_MAX {
            return refused(format!("an answer has at most {ANSWER_MAX} bytes"));
        }
        Ok(key.clone())
    }

    pub(super) fn answer(
        &mut self,
        id: &str,
        key: &StepKey,
        answer: String,
        by: String,
        now: Tick,
    ) {
        let Some(run) = self.runs.get(id) else { return };
        let (Some(state), step) = (run.steps.get(key), run.step_ref(key)) else { return };
        let attempt = state.attempts;
        let doubt = matches!(state.status, Status::Sent | Status::Uncertain);
        let (question, about) =
            state.question.as_ref().map_or((0, About::Protocol), |q| (q.id, q.about));
        self.emit(
            Record::Answer {
                run: id.to_owned(),
                question,
                step: step.clone(),
                answer: answer.clone(),
                by: by.clone(),
            },
            now,
        );
        if about == About::Downtime {
            self.resolve_downtime(id, &answer, by, now);
        } else if doubt {
            self.resolve_by_word(id, step, attempt, &answer, by, now);
        }
    }

    /// A person's word on a doubt.
    fn resolve_by_word(
        &mut self,
        id: &str,
        step: StepRef,
        attempt: u32,
        answer: &str,
        by: String,
        now: Tick,
    ) {
        let resolution = match answer {
            "done" => Resolution::Done,
            "not done" => Resolution::NotDone,
            _ => Resolution::Discard,
        };
        self.doubts.remove(&(id.to_owned(), step.key.clone()));
        let record = Record::Resolved {
            run: id.to_owned(),
            step,
            attempt,
            resolution,
            evidence: format!("answered `{answer}`"),
            by,
            trace: String::new(),
        };
        self.emit(record, now);
    }

    /// A person's word, or nobody's, on a run that was left alone for too long.
    fn resolve_downtime(&mut self, id: &str, answer: &str, by: String, now: Tick) {
        match answer {
            "resume" => {
                let run = id.to_owned();
                self.emit(Record::Released { run, cause: Cause::Downtime, by }, now);
            }
            "abort" => self.end_body(id, Ending::Aborted, format!("aborted by {by}"), now),
            // Nobody looked: what it made cannot be trusted.
            _ if by == DEADLINE => {
                let cause = "nobody said whether it may go on after the engine was away".to_owned();
                self.end_body(id, Ending::Invalid, cause, now);
            }
            _ => self.end_body(id, Ending::Stopped, format!("stopped by {by}"), now),
        }
    }

    /// A person who resumes a run answers the question about its downtime by that.
    pub(super) fn answer_downtime_by_resuming(&mut self, id: &str, by: &str, now: Tick) {
        let root = StepKey { node: NodeId(0), rounds: Vec::new() };
        let open = self.runs.get(id).and_then(|r| r.steps.get(&root)).is_some_and(|s| s.asked);
        if open {
            self.answer(id, &root, "resume".to_owned(), by.to_owned(), now);
        }
    }

    /// Nothing can tell whether a command had its effect: a person or the policy decides.
    pub(super) fn unresolvable(&mut self, id: &str, key: &StepKey, reason: &str, now: Tick) {
        let doubt = self.doubts.remove(&(id.to_owned(), key.clone()));
        let Some(run) = self.runs.get(id) else { return };
        let Some(state) = run.steps.get(key) else { return };
        match run.terms.in_doubt.unwrap_or(self.in_doubt) {
            InDoubt::Discard => {
                let record = Record::Resolved {
                    run: id.to_owned(),
                    step: run.step_ref(key),
                    attempt: state.attempts,
                    resolution: Resolution::Discard,
                    evidence: reason.to_owned(),
                    by: "policy in_doubt: discard".to_owned(),
                    trace: String::new(),
                };
                self.emit(record, now);
            }
            InDoubt::Ask => {
                let evidence = run.evidence(key, reason, doubt.and_then(|d| d.seen));
                let what = evidence
                    .as_ref()
                    .map_or(String::new(), |e| format!("{}.{}", e.instrument, e.action));
                let question = format!(
                    "{what} was sent (attempt {}) and nothing can tell whether it happened: \
                     {reason}. Look at the instrument. done = it happened, go on; not done = it \
                     did not, send it again; discard = the sample is lost.",
                    state.attempts
                );
                let evidence = evidence.map(Box::new);
                self.ask(id, key, About::Doubt, question, &DOUBT_ANSWERS, evidence, now);
            }
        }
    }
}

impl Run {
    /// What is known of a command in doubt.
    fn evidence(&self, key: &StepKey, reason: &str, after: Option<Value>) -> Option<Evidence> {
        let (state, node) = (self.steps.get(key)?, self.node(key)?);
        let (instrument, action) = commanded(&node.kind)?;
        let witness = match &node.kind {
            NodeKind::Action { witness: Some(witness), .. } => Some(witness.property.clone()),
            _ => None,
        };
        Some(Evidence {
            instrument: instrument.to_owned(),
            action: action.to_owned(),
            args: state.args.clone(),
            sent: state.sent.unwrap_or(state.since),
            attempt: state.attempts,
            witness,
            before: state.baseline.clone(),
            after,
            reason: reason.to_owned(),
        })
    }

    /// Why no question is open where somebody answers one.
    fn not_open(&self, given: &Answering<'_>) -> (Heard, String) {
        let before = self.answers.iter().rev().find(|a| match given.question {
            Some(id) => a.id == id,
            None => a.path == given.path,
        });
        if let Some(before) = before {
            return before.told(&given.answer);
        }
        let why = match self.phase {
            Phase::Body => String::new(),
            Phase::Draining | Phase::Finally | Phase::Safe | Phase::Over => {
                format!("; the run is {}", self.state().as_str())
            }
        };
        let path = given.path;
        (Heard::Refused, format!("no question of `{}` is open at `{path}`{why}", self.id))
    }
}

impl super::run::Answered {
    /// What a second person is told.
    fn told(&self, answer: &str) -> (Heard, String) {
        let (first, by) = (&self.answer, &self.by);
        let told = format!("question {} was answered `{first}` by {by} before", self.id);
        let heard = if answer == first { Heard::Already } else { Heard::Refused };
        (heard, told)
    }
}
