//! Questions of runs to people, as records tell them: the same for a live engine and for whoever
//! reads the journal.

use std::collections::VecDeque;

use super::view::{OptionView, QuestionView};
use crate::engine::core::Record;

/// Answers remembered, to tell whoever comes second; the journal has them all.
const ANSWERS_MAX: usize = 256;

/// Questions that stand open, and the last that were answered.
#[derive(Debug, Clone, Default)]
pub struct Questions {
    /// Oldest first.
    pub open: Vec<QuestionView>,
    /// Oldest first.
    pub answered: VecDeque<Answered>,
}

/// An answer that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// Id of the question.
    pub question: String,
    /// What was answered.
    pub answer: String,
    /// By whom.
    pub by: String,
    /// When, milliseconds since 1970.
    pub wall_ms: i64,
}

impl Questions {
    /// Takes a record of a run.
    pub(super) fn apply(&mut self, record: &Record, wall_ms: i64) {
        match record {
            Record::Question { run, step, question, options, id, meanings, evidence, .. } => {
                let told = |(n, answer): (usize, &String)| OptionView {
                    answer: answer.clone(),
                    meaning: match meanings.get(n) {
                        Some(meaning) => meaning.clone(),
                        None => meaning_of(answer).to_owned(),
                    },
                };
                let name = question_id(run, &step.path, *id);
                self.open.retain(|q| q.id != name);
                self.open.push(QuestionView {
                    id: name,
                    number: *id,
                    run: run.clone(),
                    step: step.path.clone(),
                    question: question.clone(),
                    options: options.iter().enumerate().map(told).collect(),
                    asked_wall_ms: wall_ms,
                    evidence: evidence.clone(),
                    sent: None,
                });
            }
            Record::Answer { run, step, answer, by, question } => {
                let question = question_id(run, &step.path, *question);
                self.open.retain(|q| q.id != question);
                if self.answered.len() >= ANSWERS_MAX {
                    self.answered.pop_front();
                }
                let (answer, by) = (answer.clone(), by.clone());
                self.answered.push_back(Answered { question, answer, by, wall_ms });
            }
            Record::Resolved { run, step, .. } => {
                self.open.retain(|q| q.run != *run || q.step != step.path);
            }
            Record::RunEnded { run, .. } => {
                self.open.retain(|q| q.run != *run);
            }
            _ => {}
        }
    }

    /// The last answer to a question.
    pub fn answer_to(&self, question: &str) -> Option<&Answered> {
        self.answered.iter().rev().find(|a| a.question == question)
    }
}

/// What a question is called: by its number in its run, or by its step in older journals.
fn question_id(run: &str, step: &str, number: u32) -> String {
    match number {
        0 => format!("{run}:{step}"),
        _ => format!("{run}#{number}"),
    }
}

/// What each answer of the engine's own questions leads to, where its record does not say.
fn meaning_of(answer: &str) -> &'static str {
    match answer {
        "done" => "it happened: the run goes on behind this step, which is not sent again",
        "not done" => "it did not happen: it is sent again",
        "discard" => {
            "nobody can tell, or part of it happened: the sample is lost, the run ends as invalid, \
             and the experiment may run anew"
        }
        "retry" => "the step is carried out once more",
        "skip" => "the step counts as passed over, and the run goes on",
        "fail" => "the run ends as failed, and `finally` runs",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compiler::graph::NodeId;
    use crate::engine::core::{About, StepKey, StepRef};

    fn step(path: &str) -> StepRef {
        StepRef { path: path.to_owned(), key: StepKey { node: NodeId(1), rounds: Vec::new() } }
    }

    fn question(run: &str, path: &str, id: u32) -> Record {
        Record::Question {
            run: run.to_owned(),
            step: step(path),
            question: "Did it?".to_owned(),
            options: vec!["done".to_owned(), "later".to_owned()],
            id,
            about: About::Doubt,
            meanings: Vec::new(),
            evidence: None,
        }
    }

    #[test]
    fn a_question_stands_open_until_it_is_answered_and_then_its_answer_is_known() {
        let mut questions = Questions::default();
        questions.apply(&question("a-1", "run/dose", 3), 1_000);
        questions.apply(&question("a-2", "run/dose", 0), 1_000);
        let ids: Vec<&str> = questions.open.iter().map(|q| q.id.as_str()).collect();
        assert_eq!(ids, ["a-1#3", "a-2:run/dose"]);
        let meanings: Vec<bool> =
            questions.open[0].options.iter().map(|o| !o.meaning.is_empty()).collect();
        assert_eq!(meanings, [true, false], "only the protocol knows what `later` means");
        let (run, answer, by) = ("a-1".to_owned(), "done".to_owned(), "anna".to_owned());
        questions
            .apply(&Record::Answer { run, question: 3, step: step("run/dose"), answer, by }, 2);
        assert_eq!(questions.open.len(), 1);
        assert_eq!(questions.answer_to("a-1#3").map(|a| a.by.as_str()), Some("anna"));
        assert_eq!(questions.answer_to("a-2:run/dose"), None);
    }

    #[test]
    fn the_end_of_a_run_ends_its_questions_and_memory_of_answers_is_bounded() {
        let mut questions = Questions::default();
        for id in 1..=1_000 {
            questions.apply(&question("a-1", "run/dose", id), 0);
            let (run, answer, by) = ("a-1".to_owned(), "done".to_owned(), "anna".to_owned());
            let step = step("run/dose");
            questions.apply(&Record::Answer { run, question: id, step, answer, by }, 0);
        }
        assert_eq!(questions.answered.len(), ANSWERS_MAX);
        questions.apply(&question("a-1", "run/dose", 2_000), 0);
        let (run, cause) = ("a-1".to_owned(), String::new());
        let ending = crate::engine::core::Ending::Aborted;
        let ended = Record::RunEnded { run, ending, cause, not_confirmed: Vec::new() };
        questions.apply(&ended, 0);
        assert!(questions.open.is_empty());
    }
}
