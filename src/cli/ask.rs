//! `labloop ask`: what the lab wants to know from a person, and the answers.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::args::AskArgs;
use super::live::{self, Engine};
use super::user::user;
use super::{Exit, output};
use crate::engine::shell::control::{Refusal, RefusalKind, Reply};
use crate::engine::shell::view::{QuestionView, SentView};
use crate::engine::shell::{Control, History};
use crate::server::Client;
use crate::store::Journal;

pub(super) fn run(args: &AskArgs, json: bool) -> Exit {
    live::end(ask(args, json), json)
}

fn ask(args: &AskArgs, json: bool) -> Result<Exit, (Exit, String)> {
    let state = args.state.state.as_path();
    let mut engine = live::find(state)?;
    let open = match &mut engine {
        Engine::Live(client) => live::view(client)?.questions,
        Engine::None => history(state)?.asked.open,
    };
    match (&args.id, &args.answer, engine) {
        (Some(id), Some(answer), Engine::Live(mut client)) => {
            let id = meant(&open, id);
            answered(&mut client, state, id, answer, args, json)
        }
        (Some(id), Some(_), Engine::None) => {
            if !open.iter().any(|q| q.id == meant(&open, id)) {
                return Err((Exit::Usage, not_open(state, id, &open)));
            }
            Err((
                Exit::Usage,
                format!(
                    "no engine is at work in {folder} that could take the answer: `labloop resume \
                     --state {folder}` first, then answer",
                    folder = state.display()
                ),
            ))
        }
        (id, _, engine) => {
            let shown: Vec<&QuestionView> = match id {
                None => open.iter().collect(),
                Some(id) => open.iter().filter(|q| q.id == meant(&open, id)).collect(),
            };
            if let (Some(id), []) = (id, shown.as_slice()) {
                return Err((Exit::Usage, not_open(state, id, &open)));
            }
            list(&shown, matches!(engine, Engine::Live(_)), json);
            Ok(Exit::Done)
        }
    }
}

/// The question of that id, or the only one of a run of that name.
fn meant<'a>(open: &'a [QuestionView], id: &'a str) -> &'a str {
    let of_run: Vec<&QuestionView> = open.iter().filter(|q| q.run == id).collect();
    match of_run.as_slice() {
        [only] => &only.id,
        _ => id,
    }
}

fn history(state: &Path) -> Result<History, (Exit, String)> {
    Journal::open_read_only(state)
        .and_then(|journal| History::read(&journal, None))
        .map_err(|error| (Exit::Usage, error.to_string()))
}

/// Why a question cannot be answered: somebody was first, or there is none of that name.
fn not_open(state: &Path, id: &str, open: &[QuestionView]) -> String {
    let past = history(state).ok();
    if let Some(found) = past.as_ref().and_then(|past| past.asked.answer_to(id)) {
        return format!(
            "question {id} was answered already: `{}` by {}, {}",
            found.answer,
            found.by,
            output::wall(found.wall_ms)
        );
    }
    let open: Vec<&str> = open.iter().map(|q| q.id.as_str()).collect();
    match open.as_slice() {
        [] => format!("there is no question {id}; no question is open"),
        _ => format!("there is no open question {id}; open are {}", open.join(", ")),
    }
}

fn answered(
    client: &mut Client,
    state: &Path,
    id: &str,
    answer: &str,
    args: &AskArgs,
    json: bool,
) -> Result<Exit, (Exit, String)> {
    let by = args.by.clone().unwrap_or_else(user);
    let control =
        Control::Answer { question: id.to_owned(), answer: answer.to_owned(), by: by.clone() };
    match client.ask(control, Duration::ZERO).map_err(|error| live::failed(&error))? {
        Reply::Answered { question, run, step, answer } => {
            if json {
                let value = json!({
                    "answered": question, "run": run, "step": step, "answer": answer, "by": by,
                });
                output::data(&format!("{value}\n"));
            } else {
                output::say(format!("{question}: answered `{answer}` by {by}; run {run} goes on."));
            }
            Ok(Exit::Done)
        }
        // The engine remembers what was answered to itself, the journal everything.
        Reply::Refused(Refusal { kind: RefusalKind::UnknownId, .. }) => {
            let open = live::view(client).map(|view| view.questions).unwrap_or_default();
            Err((Exit::Usage, not_open(state, id, &open)))
        }
        Reply::Refused(Refusal { message, .. }) => Err((Exit::Usage, message)),
        other => Err(live::unexpected(&other)),
    }
}

fn list(questions: &[&QuestionView], live: bool, json: bool) {
    if json {
        output::data(&format!("{:#}\n", json!({ "live": live, "questions": questions })));
        return;
    }
    if questions.is_empty() {
        output::say("No question is open.");
        return;
    }
    for question in questions {
        output::data(&in_words(question));
    }
    if !live {
        output::say("No engine is at work: `labloop resume` first, then answer.");
    }
}

/// One question, for somebody who has not been there.
pub(super) fn in_words(question: &QuestionView) -> String {
    let mut text = format!("{}  {}\n", question.id, question.question);
    let asked = match question.asked_wall_ms {
        0 => String::new(),
        ms => format!(", asked {} ago ({})", since(ms), output::wall(ms)),
    };
    text.push_str(&format!("  run {}, step {}{asked}\n", question.run, question.step));
    if let Some(sent) = &question.sent {
        text.push_str(&format!("  sent: {}\n", sent_in_words(sent)));
    }
    if let Some(evidence) = &question.evidence {
        if let Some(witness) = &evidence.witness {
            let value = |value: &Option<_>| match value {
                Some(value) => super::status::plain(value),
                None => "unknown".to_owned(),
            };
            text.push_str(&format!(
                "  {}.{witness}: {} before it was sent, {} now\n",
                evidence.instrument,
                value(&evidence.before),
                value(&evidence.after)
            ));
        }
        text.push_str(&format!("  why nothing can tell: {}\n", evidence.reason));
    }
    for option in &question.options {
        let meaning = match option.meaning.as_str() {
            "" => String::new(),
            meaning => format!(": {meaning}"),
        };
        text.push_str(&format!("  labloop ask '{}' '{}'{meaning}\n", question.id, option.answer));
    }
    text
}

fn sent_in_words(sent: &SentView) -> String {
    let args: Vec<String> =
        sent.args.iter().map(|(name, value)| format!("{name} = {value}")).collect();
    let args = if args.is_empty() { String::new() } else { format!(" {}", args.join(", ")) };
    format!(
        "{}.{}{args}, attempt {}, {} of lab time ago",
        sent.instrument,
        sent.action,
        sent.attempt,
        output::duration(sent.lab_s_ago)
    )
}

/// How long ago a moment was, by the clock on the wall.
pub(super) fn since(wall_ms: i64) -> String {
    let now = jiff::Timestamp::now().as_millisecond();
    output::duration(now.saturating_sub(wall_ms).max(0) as f64 / 1_000.0)
}
