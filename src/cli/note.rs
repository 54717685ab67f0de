//! `labloop note`: something worth keeping, with author and time, in the journal.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::json;

use super::args::NoteArgs;
use super::live::{self, Engine};
use super::user::user;
use super::{Exit, output};
use crate::engine::shell::control::Reply;
use crate::engine::shell::{Control, History, note_without_engine};
use crate::store::{Durability, Journal, StateLock};

pub(super) fn run(args: &NoteArgs, json: bool) -> Exit {
    live::end(note(args, json), json)
}

fn note(args: &NoteArgs, json: bool) -> Result<Exit, (Exit, String)> {
    let state = args.state.state.as_path();
    let by = args.by.clone().unwrap_or_else(user);
    let note = Control::Note { text: args.text.clone(), about: args.about.clone(), by: by.clone() };
    let usage = |message: String| (Exit::Usage, message);
    let note = note.checked().map_err(|refusal| usage(refusal.message))?;
    match live::find(state)? {
        Engine::Live(mut client) => {
            let view = live::view(&mut client)?;
            let instruments = view.instruments.into_iter().map(|i| i.instrument).collect();
            known(state, args.about.as_deref(), instruments)?;
            match live::ask(&mut client, note, std::time::Duration::ZERO)? {
                Reply::Noted => {}
                other => return Err(live::unexpected(&other)),
            }
        }
        Engine::None => {
            if !state.join("journal.db").exists() {
                let folder = state.display();
                return Err(usage(format!(
                    "nothing was ever run in {folder}: there is no journal"
                )));
            }
            known(state, args.about.as_deref(), BTreeSet::new())?;
            let _lock = StateLock::take(state).map_err(|error| usage(error.to_string()))?;
            let fail = |error: crate::store::JournalError| usage(error.to_string());
            let mut journal = Journal::open(state, Durability::Power).map_err(fail)?;
            let history = History::read(&journal, None).map_err(fail)?;
            note_without_engine(&mut journal, &history, note).map_err(fail)?;
        }
    }
    if json {
        output::data(&format!("{}\n", json!({ "noted": true, "by": by, "about": args.about })));
    } else {
        output::say(format!("Noted, by {by}."));
    }
    Ok(Exit::Done)
}

/// A note about something that is not there would never be found again.
fn known(
    state: &Path,
    about: Option<&str>,
    mut instruments: BTreeSet<String>,
) -> Result<(), (Exit, String)> {
    let Some(about) = about else { return Ok(()) };
    let Ok(journal) = Journal::open_read_only(state) else { return Ok(()) };
    let history = History::read(&journal, None).map_err(|e| (Exit::Usage, e.to_string()))?;
    let steps = history.runs.values().flat_map(|run| &run.steps);
    instruments.extend(steps.map(|step| step.instrument.clone()));
    let campaigns: Vec<&str> = history.campaigns.iter().map(|c| c.machine.id.as_str()).collect();
    if campaigns.contains(&about) || history.runs.contains_key(about) || instruments.contains(about)
    {
        return Ok(());
    }
    Err((
        Exit::Usage,
        format!(
            "--about {about}: there is no run, campaign or instrument of that name; campaigns: {}; \
             instruments: {}",
            campaigns.join(", "),
            instruments.into_iter().collect::<Vec<_>>().join(", ")
        ),
    ))
}
