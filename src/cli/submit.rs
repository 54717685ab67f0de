//! `labloop submit`, and `labloop run` where a service holds the state folder: the service gets all
//! texts, and the campaign is followed by what the journal says of it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::args::{RunArgs, SubmitArgs};
use super::live::{self, Engine};
use super::run::{Outcome, Shown, guarded, plan, show_end, usage};
use super::user::user;
use super::{Exit, check, launch, output, progress, summary};
use crate::compiler::{Bundle, campaign, check_bundle};
use crate::engine::campaign::{CampaignRecord, campaign_of};
use crate::engine::core::Record;
use crate::engine::shell::control::{Refusal, RefusalKind, Reply};
use crate::engine::shell::{
    Control, Fact, History, Observer, Wish, progress_of_campaign, progress_of_run,
};
use crate::server::Client;
use crate::store::Journal;

/// How often the journal is looked at while a campaign is followed.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Entries read at a time.
const PAGE: usize = 1_000;
/// How often it is asked whether the service is still there.
const ASK_EVERY: u32 = 25;

pub(super) fn run(args: &SubmitArgs, json: bool) -> Exit {
    match submit(args, json) {
        Ok(exit) => exit,
        Err((exit, message)) => {
            output::error(message);
            exit
        }
    }
}

fn submit(args: &SubmitArgs, json: bool) -> Outcome {
    let mut bundle = Bundle::load(&args.document, args.lab.as_deref()).map_err(usage)?;
    check_bundle(&mut bundle);
    if !check::show(&bundle) {
        return Ok(Exit::NotCompiled);
    }
    guarded(&bundle)?;
    let folder = args.state.state.as_path();
    let Engine::Live(mut client) = live::find(folder)? else {
        let why = format!(
            "no service is at work in {}: start `labloop serve --state {}`, or run it without one \
             with `labloop run`",
            folder.display(),
            folder.display()
        );
        return Err((Exit::Unreachable, why));
    };
    let wish = Wish {
        set: args.set.clone(),
        seed: args.seed,
        experiments: args.experiments,
        key: args.key.clone(),
    };
    let campaign = hand_in(&mut client, &bundle, wish)?;
    match json {
        true => output::data(&format!("{}\n", serde_json::json!({ "campaign": campaign }))),
        false => output::data(&format!("{campaign}\n")),
    }
    Ok(Exit::Done)
}

/// Hands a campaign to a service; its name there.
fn hand_in(client: &mut Client, bundle: &Bundle, wish: Wish) -> Result<String, (Exit, String)> {
    let control = Control::Submit { bundle: bundle.to_kept(), wish, by: user() };
    match client.ask(control, Duration::ZERO).map_err(|error| live::failed(&error))? {
        Reply::Submitted { campaign } => Ok(campaign),
        Reply::Refused(Refusal { kind: RefusalKind::NotCompiled, message }) => {
            Err((Exit::NotCompiled, message))
        }
        Reply::Refused(Refusal { message, .. }) => Err((Exit::Usage, message)),
        other => Err((Exit::Unreachable, format!("the service answered {other:?}"))),
    }
}

/// `labloop run` while an engine holds the folder. `held`: what there is to say if it takes nothing.
pub(super) fn hand_over(args: &RunArgs, bundle: Bundle, held: String, json: bool) -> Outcome {
    let folder = args.state.state.as_path();
    let Ok(mut client) = Client::connect(folder) else { return Err(usage(held)) };
    let journal = Journal::open_read_only(folder).map_err(usage)?;
    let from = journal.len();
    let campaign = match hand_in(&mut client, &bundle, super::run::wish(args)) {
        Ok(campaign) => campaign,
        Err((Exit::Usage, why)) => return Err(usage(format!("{held}\n  {why}"))),
        Err(error) => return Err(error),
    };
    drop(client);
    let search = match &bundle.campaign {
        Some(_) => campaign::check(&bundle).value,
        None => None,
    };
    let experiments = match &bundle.campaign {
        Some(declared) => args
            .experiments
            .or(declared.budget.experiments.as_ref().map(|e| e.value))
            .unwrap_or(crate::engine::shell::EXPERIMENTS),
        None => 1,
    };
    if !json {
        output::say(format!(
            "The service of {} has it as {campaign}. Ctrl-C ends this display; `labloop stop \
             {campaign}` ends the campaign.",
            folder.display()
        ));
    }
    let display = plan(search.as_ref(), &bundle, experiments, 0, Some(1.0));
    let observer = progress::observer(vec![(campaign.clone(), display, None)], json);
    let shown = Shown { id: campaign, bundle: Arc::new(bundle), search };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| usage(format!("no runtime: {e}")))?;
    runtime.block_on(follow(folder, &journal, from, &shown, observer, json))
}

/// Shows what the journal says of a campaign until it has ended.
async fn follow(
    folder: &Path,
    journal: &Journal,
    from: u64,
    shown: &Shown,
    mut observer: Observer,
    json: bool,
) -> Outcome {
    let mut after = from;
    let mut looks = 0_u32;
    let mut alone = false;
    loop {
        let page = journal.read(after, PAGE).map_err(usage)?;
        let full = page.len() == PAGE;
        let mut ended = false;
        for entry in page {
            after = entry.seq;
            match Fact::read(&entry).map_err(usage)? {
                Fact::Campaign(id, record) if id == shown.id => {
                    ended |= matches!(record, CampaignRecord::Ended { .. });
                    if let Some(progress) = progress_of_campaign(&id, &record) {
                        observer(&progress);
                    }
                }
                Fact::Run(record) if campaign_of(Record::run(&record)) == Some(&shown.id) => {
                    if let Some(progress) = progress_of_run(&record) {
                        observer(&progress);
                    }
                }
                _ => {}
            }
        }
        if ended {
            return end(folder, journal, shown, json);
        }
        if full {
            continue;
        }
        looks += 1;
        if looks.is_multiple_of(ASK_EVERY) {
            let gone = Client::connect(folder).is_err();
            if gone && !alone && !json {
                output::say("The service is gone; when it is back, the campaign goes on.");
            }
            alone = gone;
        }
        // Cancel safety: nothing is lost with the sleep.
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {
                output::say(format!(
                    "{} goes on in the service. `labloop status {0}` tells of it, `labloop stop \
                     {0}` ends it.",
                    shown.id
                ));
                return Ok(Exit::Interrupted);
            }
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// The end of a campaign that another process ran, as if this one had.
fn end(folder: &Path, journal: &Journal, shown: &Shown, json: bool) -> Outcome {
    let history = History::read(journal, None).map_err(usage)?;
    let Some(found) = history.campaign_named(Some(&shown.id)) else { return Ok(Exit::RunFailed) };
    show_end(&found.machine, shown, folder, json)?;
    summary::say_failures(&found.machine, shown, folder);
    let runs: Vec<_> = found.machine.experiments.iter().flat_map(|e| &e.runs).collect();
    let unsafe_end = |run: &&crate::engine::campaign::RunOfExperiment| {
        let made_safe = history.runs.get(&run.run).map(|r| r.made_safe.as_slice());
        made_safe.unwrap_or_default().iter().any(|step| step.outcome != "done")
    };
    if runs.iter().any(unsafe_end) {
        return Ok(Exit::Safety);
    }
    let last = runs.last().and_then(|run| run.ending);
    Ok(launch::end_code(found.machine.ended.as_ref(), &found.machine, last, shown))
}
