//! `labloop verify`: the record proves itself.
//!
//! The record is the journal; its exit code speaks of that. Telemetry proves nothing and is told
//! apart: what is wrong with it is a warning.

use serde_json::json;

use super::args::VerifyArgs;
use super::{Exit, output};
use crate::engine::shell::{Named, verify_named};
use crate::store::{Anchor, Finding, Head, Journal, JournalError, Soundness, Survey, examine};

pub(super) fn run(args: &VerifyArgs, json: bool) -> Exit {
    let looked = look(args);
    let telemetry = examine(&args.state.state);
    let exit = match looked {
        Ok((survey, named)) => {
            let all: Vec<&Finding> = survey.findings.iter().chain(&named.findings).collect();
            if json {
                let anchor = anchored(args);
                as_json(&survey, &named, &all, anchor, &telemetry);
            } else {
                as_text(args, &survey, &named, &all);
            }
            if all.is_empty() { Exit::Done } else { Exit::RunFailed }
        }
        Err(error) => {
            if json {
                let telemetry = telemetry_as_json(&telemetry);
                let value =
                    json!({"ok": false, "error": error.to_string(), "telemetry": telemetry});
                output::data(&format!("{value}\n"));
            }
            output::error(error.to_string());
            Exit::RunFailed
        }
    };
    if !json {
        say_telemetry(args, &telemetry);
    }
    exit
}

/// Whether the anchor stands beside the journal.
fn anchored(args: &VerifyArgs) -> bool {
    !Journal::open_read_only(&args.state.state).is_ok_and(|j| *j.anchor() == Anchor::Absent)
}

fn say_telemetry(args: &VerifyArgs, telemetry: &Soundness) {
    let file = args.state.state.join("telemetry.db");
    let file = file.display();
    match telemetry {
        Soundness::Missing => output::say(format!(
            "There is no {file}: no readings between decisions are kept here. The next engine \
             makes a new one."
        )),
        Soundness::Whole { parts, readings } => output::say(format!(
            "Telemetry, apart from the journal, is whole: {readings} readings in {parts} parts."
        )),
        Soundness::Damaged(found) => {
            for what in found {
                output::say(format!("warning: telemetry: {what}"));
            }
            output::say(format!(
                "warning: {file} is damaged: readings between decisions are lost or wrong, and an \
                 engine may not be able to write more. The journal does not rest on it. Keep the file \
                 as it is (`sqlite3 {file} .recover` reads what can be read), restore a backup \
                 beside it, and move it away with its -wal and -shm: the next engine makes a new \
                 one"
            ));
        }
        Soundness::Unread(why) => output::say(format!(
            "warning: {file} could not be looked at ({why}); whether it is whole is not known"
        )),
    }
}

fn telemetry_as_json(telemetry: &Soundness) -> serde_json::Value {
    match telemetry {
        Soundness::Missing => json!({"state": "missing"}),
        Soundness::Whole { parts, readings } => {
            json!({"state": "whole", "parts": parts, "readings": readings})
        }
        Soundness::Damaged(found) => json!({"state": "damaged", "findings": found}),
        Soundness::Unread(why) => json!({"state": "unread", "why": why}),
    }
}

fn look(args: &VerifyArgs) -> Result<(Survey, Named), JournalError> {
    let folder = &args.state.state;
    let journal = Journal::open_read_only(folder)?;
    let survey = journal.survey(args.head.as_ref())?;
    match verify_named(&journal) {
        Ok(named) => Ok((survey, named)),
        // Pages that cannot be read: the survey has named them.
        Err(JournalError::Damaged { what, .. }) => {
            let named = verify_named(&Journal::open_damaged(folder, what)?)?;
            Ok((survey, named))
        }
        Err(error) => Err(error),
    }
}

fn as_json(survey: &Survey, named: &Named, all: &[&Finding], anchor: bool, telemetry: &Soundness) {
    let findings: Vec<_> = all
        .iter()
        .map(|found| {
            json!({
                "what": found.what, "entry": found.seq, "subject": found.subject,
                "kind": found.kind, "detail": found.detail,
            })
        })
        .collect();
    let value = json!({
        "ok": all.is_empty(), "entries": survey.entries, "documents": survey.documents,
        "files": named.files, "head": survey.head, "anchor": anchor, "findings": findings,
        "telemetry": telemetry_as_json(telemetry),
    });
    output::data(&format!("{value}\n"));
}

fn as_text(args: &VerifyArgs, survey: &Survey, named: &Named, all: &[&Finding]) {
    for found in all {
        let about = match (found.subject.as_str(), found.kind.as_str()) {
            ("", _) => String::new(),
            (subject, kind) => format!(" ({kind} of {subject})"),
        };
        output::error(format!("{}: {}{about}", found.what, found.detail));
    }
    if !all.is_empty() {
        output::error(format!(
            "the journal in {} is not as it was written: {} finding{}; nothing was changed. Keep \
             the folder as it is, and restore a backup beside it",
            args.state.state.display(),
            all.len(),
            if all.len() == 1 { "" } else { "s" },
        ));
        return;
    }
    output::say(format!(
        "The journal is whole: {} entries, {} documents, {} files.",
        survey.entries, survey.documents, named.files
    ));
    if !anchored(args) {
        output::say("There is no anchor beside it: a missing end would not show.");
    }
    let head = Head { seq: survey.entries, hash: survey.head.clone() };
    output::say(format!(
        "Its last hash follows; keep `{head}` on another machine, and `labloop verify --head` shows \
         a journal that was cut short or rewritten as a whole."
    ));
    output::data(&format!("{}\n", survey.head));
}
