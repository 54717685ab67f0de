//! `labloop verify`: the record proves itself.

use super::args::StateArgs;
use super::{Exit, output};
use crate::engine::shell::verify_files;
use crate::store::Journal;

pub(super) fn run(args: &StateArgs, json: bool) -> Exit {
    let verified = Journal::open_read_only(&args.state).and_then(|journal| {
        let found = journal.verify()?;
        // The chain is whole, so what it says of the files can be held against them.
        Ok((found, verify_files(&journal)?))
    });
    match verified {
        Ok((found, files)) if json => {
            let value = serde_json::json!({
                "ok": true, "entries": found.entries, "documents": found.documents,
                "files": files, "head": found.head,
            });
            output::data(&format!("{value}\n"));
            Exit::Done
        }
        Ok((found, files)) => {
            output::say(format!(
                "The journal is whole: {} entries, {} documents, {files} files.",
                found.entries, found.documents
            ));
            output::say("Its last hash follows; keep it elsewhere to notice a journal cut short.");
            output::data(&format!("{}\n", found.head));
            Exit::Done
        }
        Err(error) => {
            if json {
                let value = serde_json::json!({"ok": false, "error": error.to_string()});
                output::data(&format!("{value}\n"));
            }
            output::error(error.to_string());
            Exit::RunFailed
        }
    }
}
