//! `labloop verify`: the record proves itself.

use serde_json::json;

use super::args::VerifyArgs;
use super::{Exit, output};
use crate::engine::shell::{Named, verify_named};
use crate::store::{Anchor, Finding, Head, Journal, JournalError, Survey};

pub(super) fn run(args: &VerifyArgs, json: bool) -> Exit {
    let looked = look(args);
    match looked {
        Ok((survey, named)) => {
            let all: Vec<&Finding> = survey.findings.iter().chain(&named.findings).collect();
            if json {
                as_json(&survey, &named, &all);
            } else {
                as_text(args, &survey, &named, &all);
            }
            if all.is_empty() { Exit::Done } else { Exit::RunFailed }
        }
        Err(error) => {
            if json {
                let value = json!({"ok": false, "error": error.to_string()});
                output::data(&format!("{value}\n"));
            }
            output::error(error.to_string());
            Exit::RunFailed
        }
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

fn as_json(survey: &Survey, named: &Named, all: &[&Finding]) {
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
        "files": named.files, "head": survey.head, "findings": findings,
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
    if Journal::open_read_only(&args.state.state).is_ok_and(|j| *j.anchor() == Anchor::Absent) {
        output::say("There is no anchor beside it: a missing end would not show.");
    }
    let head = Head { seq: survey.entries, hash: survey.head.clone() };
    output::say(format!(
        "Its last hash follows; keep `{head}` on another machine, and `labloop verify --head` shows \
         a journal that was cut short or rewritten as a whole."
    ));
    output::data(&format!("{}\n", survey.head));
}
