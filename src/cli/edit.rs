//! `labloop edit` and `exclude`: what people change of a campaign under way.
//!
//! Where an engine is at work, it makes the change; else the change goes into the journal, and
//! `labloop resume` goes on with it. Either way it is checked here first, with all that `labloop
//! check` says of the new text.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::args::StateArgs;
use super::live::{self, Engine};
use super::run::{Outcome, usage};
use super::user::user;
use super::{Exit, check, output};
use crate::compiler::campaign::edit::EditError;
use crate::engine::campaign::{Campaign, CampaignRecord};
use crate::engine::shell::control::{EDIT_MAX, Reply};
use crate::engine::shell::{Change, ChangeError, Control, History, change_without_engine};
use crate::server::Client;
use crate::store::{Durability, Journal, StateLock};

/// How long an engine may take to check a campaign anew.
const WAIT: std::time::Duration = std::time::Duration::from_secs(60);

/// `labloop edit`
#[derive(Debug, Args)]
pub struct EditArgs {
    /// Campaign, as `labloop status` names it.
    pub campaign: String,
    /// The whole new text of the campaign.
    #[arg(value_name = "NEW_CAMPAIGN.yaml")]
    pub file: PathBuf,
    /// Say what would change, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Who changes it; the user of this terminal if not given.
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
    /// Why, for the journal.
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub reason: String,
    /// State.
    #[command(flatten)]
    pub state: StateArgs,
}

/// `labloop exclude`
#[derive(Debug, Args)]
pub struct ExcludeArgs {
    /// Campaign, as `labloop status` names it.
    pub campaign: String,
    /// Experiment, from 1.
    pub experiment: u32,
    /// Take it back in.
    #[arg(long)]
    pub undo: bool,
    /// Who takes it out; the user of this terminal if not given.
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
    /// Why; it stays beside the experiment.
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub reason: String,
    /// State.
    #[command(flatten)]
    pub state: StateArgs,
}

pub(super) fn edit(args: &EditArgs, json: bool) -> Exit {
    live::end(edited(args, json), json)
}

pub(super) fn exclude(args: &ExcludeArgs, json: bool) -> Exit {
    live::end(excluded(args, json), json)
}

fn edited(args: &EditArgs, json: bool) -> Outcome {
    let folder = args.state.state.as_path();
    let name = args.file.display();
    let text = std::fs::read_to_string(&args.file)
        .map_err(|error| usage(format!("{name} cannot be read: {error}")))?;
    if text.len() > EDIT_MAX {
        return Err(usage(format!("{name} is longer than {} KiB", EDIT_MAX >> 10)));
    }
    let (by, reason) = (args.by.clone().unwrap_or_else(user), args.reason.clone());
    let made = {
        let text = text.clone();
        let (by, reason) = (by.clone(), reason.clone());
        move |journal: &Journal, past: &History, id: &str| {
            let machine = &machine_of(past, id)?;
            Change::edit(journal, machine, &text, by, reason).map_err(refused)
        }
    };
    let change = look(folder, &args.campaign, made.clone())?;
    let diff = match &change.record {
        CampaignRecord::Edited { diff, .. } => diff.clone(),
        _ => Vec::new(),
    };
    tell(&args.campaign, &diff, args.dry_run, json);
    if args.dry_run {
        return Ok(Exit::Done);
    }
    let campaign = args.campaign.clone();
    let control = Control::Edit { campaign, text, by, reason };
    let live = change_there(folder, &args.campaign, control, made)?;
    if !json {
        output::say(match live {
            true => "It holds from the next proposal on; experiments under way keep what they are.",
            false => "No engine is at work; `labloop resume` goes on with it.",
        });
    }
    Ok(Exit::Done)
}

fn excluded(args: &ExcludeArgs, json: bool) -> Outcome {
    let folder = args.state.state.as_path();
    let (by, reason) = (args.by.clone().unwrap_or_else(user), args.reason.clone());
    if reason.trim().is_empty() {
        return Err(usage("say why with --reason: it stays beside the experiment"));
    }
    let (experiment, undo) = (args.experiment, args.undo);
    let made = {
        let (by, reason) = (by.clone(), reason.clone());
        move |journal: &Journal, past: &History, id: &str| {
            let machine = &machine_of(past, id)?;
            Change::exclude(journal, machine, experiment, by, reason, undo).map_err(refused)
        }
    };
    look(folder, &args.campaign, made.clone())?;
    let campaign = args.campaign.clone();
    let control = Control::Exclude { campaign, experiment, by, reason, undo };
    change_there(folder, &args.campaign, control, made)?;
    if json {
        let way_back = if undo { "" } else { " --undo" };
        let back = format!("labloop exclude {} {experiment}{way_back}", args.campaign);
        let value = json!({
            "campaign": args.campaign, "experiment": experiment, "undo": undo, "to_undo": back,
        });
        output::data(&format!("{value}\n"));
    } else if undo {
        output::say(format!(
            "The planner learns from experiment {experiment} again. `labloop exclude {} \
             {experiment} --reason WHY --state {}` takes it out.",
            args.campaign,
            folder.display()
        ));
    } else {
        output::say(format!(
            "The planner no longer learns from experiment {experiment}; it stays in the record. \
             `labloop exclude {} {experiment} --undo --reason WHY --state {}` takes it back in.",
            args.campaign,
            folder.display()
        ));
    }
    Ok(Exit::Done)
}

/// The change, checked against the journal as it is now.
fn look(
    folder: &Path,
    id: &str,
    change: impl FnOnce(&Journal, &History, &str) -> Result<Change, (Exit, String)>,
) -> Result<Change, (Exit, String)> {
    if !folder.join("journal.db").exists() {
        return Err(usage(format!(
            "there is no campaign in {}; name another folder with --state",
            folder.display()
        )));
    }
    let journal = Journal::open_read_only(folder).map_err(usage)?;
    let past = History::read(&journal, None).map_err(usage)?;
    change(&journal, &past, id)
}

/// Makes the change where the campaign is: in the engine that is at work (true), or in the journal.
fn change_there(
    folder: &Path,
    id: &str,
    control: Control,
    change: impl FnOnce(&Journal, &History, &str) -> Result<Change, (Exit, String)>,
) -> Result<bool, (Exit, String)> {
    match live::find(folder)? {
        Engine::Live(mut client) => ask(&mut client, control).map(|()| true),
        Engine::None => {
            let _lock = StateLock::take(folder).map_err(usage)?;
            let mut journal = Journal::open(folder, Durability::Power).map_err(usage)?;
            let past = History::read(&journal, None).map_err(usage)?;
            let change = change(&journal, &past, id)?;
            change_without_engine(&mut journal, &past, change).map_err(usage)?;
            Ok(false)
        }
    }
}

fn ask(client: &mut Client, control: Control) -> Result<(), (Exit, String)> {
    match live::ask(client, control, WAIT)? {
        Reply::Edited { .. } | Reply::Excluded { .. } => Ok(()),
        _ => Err((Exit::Unreachable, "the engine answered something else".to_owned())),
    }
}

/// A campaign of the journal, with as many experiments as it was given.
fn machine_of(past: &History, id: &str) -> Result<Campaign, (Exit, String)> {
    let found = past
        .campaign_named(Some(id))
        .ok_or_else(|| usage(format!("there is no campaign `{id}` here; see `labloop status`")))?;
    let mut machine = found.machine.clone();
    machine.rules.experiments = found.experiments;
    Ok(machine)
}

fn refused(error: ChangeError) -> (Exit, String) {
    match error {
        ChangeError::Edit(EditError::Texts(bundle)) => {
            check::show(&bundle);
            (Exit::NotCompiled, "nothing was changed: the new text has mistakes".to_owned())
        }
        other => usage(format!("nothing was changed: {other}")),
    }
}

fn tell(campaign: &str, diff: &[String], dry_run: bool, json: bool) {
    if json {
        let value = json!({"campaign": campaign, "diff": diff, "dry_run": dry_run});
        output::data(&format!("{value}\n"));
        return;
    }
    let would = if dry_run { " would change" } else { "" };
    output::say(format!("Campaign {campaign}{would}:"));
    for change in diff {
        output::data(&format!("  {change}\n"));
    }
}
