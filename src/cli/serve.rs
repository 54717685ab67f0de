//! `labloop serve`: an engine without a person beside it. It takes up what was under way, runs what
//! is submitted, and idles otherwise.
//!
//! ```text
//! SIGTERM: every run is held, then it ends     SIGINT: as in `run`     SIGHUP: the log is reopened
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::args::{ServeArgs, Speed};
use super::interrupts::{self, Commands};
use super::launch::World;
use super::log::{self, Log};
use super::notify::Manager;
use super::resume::{Texts, kept_lab, now, time_of};
use super::run::{Outcome, after, slack, usage};
use super::{Exit, check, command, keep, launch, output, progress};
use crate::compiler::Bundle;
use crate::engine::core::{Command, Core, InDoubt};
use crate::engine::shell::{
    Control, Disk, Disturbed, Engine, EngineError, EngineSetup, Handle, History, Instruments,
    LabInstruments, Order, Passed, Prepared, Progress, Pulse, ServiceSetup, control,
};
use crate::store::{Document, Journal, StateLock};

/// So many starts within [`LOOP_WITHIN`] that follow unclean ends are a crash loop.
const LOOP_STARTS: usize = 3;
/// Time in which starts count towards a crash loop.
const LOOP_WITHIN: Duration = Duration::from_secs(5 * 60);
/// An engine whose loop has not gone round for so long is said to be stuck.
const STUCK_AFTER: Duration = Duration::from_secs(5);
/// How often the pulse is looked at where no watchdog asks for it.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(super) fn run(args: &ServeArgs) -> Exit {
    match serve(args) {
        Ok(exit) => exit,
        Err((exit, message)) => {
            tracing::error!("{message}");
            output::error(message);
            exit
        }
    }
}

fn serve(args: &ServeArgs) -> Outcome {
    let folder = args.state.state.as_path();
    if args.time.speed == Speed::Max {
        let why = "--speed max is for `run`: a service has nothing to jump to while it idles";
        return Err(usage(why));
    }
    let _lock = StateLock::take(folder).map_err(usage)?;
    let (log, place) = log::begin(folder, args.log_level)
        .map_err(|e| usage(format!("the log in {} cannot be written: {e}", folder.display())))?;
    if let Some(place) = place {
        output::say(format!("The log is {}.", place.display()));
    }
    let version = env!("CARGO_PKG_VERSION");
    tracing::info!(version, process = std::process::id(), "labloop serve begins");
    let (past, texts) = look_back(folder)?;
    let lab = lab_of(args, folder, &past)?;
    let texts = texts_of_lab(texts, &lab, &past)?;
    let time = time_of(&args.time, &past);
    if time.speed == Speed::Max {
        let why = "what was run here was run with --speed max; serve from another --state folder";
        return Err(usage(why));
    }
    let lab_file = kept_lab(&lab, folder)?;
    let (base, away) = match past.epoch {
        0 => (after(&past), None),
        _ => now(&past, &time),
    };
    let seed = args.seed.unwrap_or(1);
    launch::fits(&time).map_err(usage)?;
    let world = launch::world(&time, &lab_file, base, folder, Some(seed))
        .map_err(|m| (Exit::Unreachable, m))?;
    let durability = world.durability();
    let journal = Journal::open(folder, durability).map_err(usage)?;
    let mut core = Core::new(InDoubt::Ask, slack(&world));
    let mut history = History::recover(&journal, &mut core, None).map_err(usage)?;
    // Names and keys of campaigns that are over are never given again.
    history.campaigns.clone_from(&past.campaigns);
    let prepared = texts.prepare(&history, None)?;
    let disturbed = history.disturbed(&core);
    let house = House { folder, lab: Arc::new(lab), seed, away, log, disturbed };
    let World::Wires { clock, dialer, word } = world else {
        return Err(usage("a service has real wires"));
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| usage(format!("no runtime: {e}")))?;
    runtime.block_on(async {
        let (notices_in, notices) = mpsc::channel(launch::NOTICES);
        let lab = house.lab.lab.clone().ok_or_else(|| usage("there is no lab"))?;
        let definitions = &house.lab.definitions;
        let dialer = dialer.held_by(&format!("state folder {}", folder.display()));
        let left = history.left();
        // Simulators are nobody in particular.
        let known = if word == "real" { left.identities.clone() } else { BTreeMap::new() };
        let instruments = LabInstruments::start_knowing(
            &lab,
            definitions,
            &clock,
            dialer,
            notices_in,
            house.seed,
            &known,
        )
        .map_err(|e| usage(e.to_string()))?;
        let emergency = instruments.emergency();
        // SAFETY(lab): the gate is closed before anything is connected.
        if let Some(stop) = &left.stopped {
            emergency.press(&stop.by);
        }
        let (handle, controls) = control::channel(emergency);
        let engine = Engine::new(EngineSetup {
            journal,
            telemetry: keep::history(folder, durability, keep::retention(&args.keep)),
            clock,
            instruments,
            notices,
            controls,
            observer: Box::new(tell),
            core,
        });
        work(engine, &house, &history, prepared, word, handle).await
    })
}

/// What a service is made of, beside its engine.
struct House<'a> {
    folder: &'a Path,
    lab: Arc<Bundle>,
    seed: u64,
    away: Option<Passed>,
    log: Log,
    disturbed: Vec<Disturbed>,
}

async fn work(
    mut engine: Engine<LabInstruments>,
    house: &House<'_>,
    history: &History,
    prepared: Vec<Prepared>,
    word: &'static str,
    handle: Handle,
) -> Outcome {
    let pulse = Arc::new(Pulse::default());
    let (orders_in, orders) = mpsc::channel(8);
    let held = crash_loop(history).or_else(|| {
        history.loss_unseen().then(|| {
            "entries at the end of the journal were lost: a run may have been under way that nobody \
             knows of. Look at the lab, then `labloop resume` goes on"
                .to_owned()
        })
    });
    if let Some(why) = &held {
        tracing::error!("{why}");
        output::error(why);
    }
    let key =
        |c: &crate::engine::shell::CampaignHistory| Some((c.key.clone()?, c.machine.id.clone()));
    engine.serve(ServiceSetup {
        lab: Arc::clone(&house.lab),
        pulse: Arc::clone(&pulse),
        taken: history.campaigns.iter().map(|c| c.machine.id.clone()).collect::<BTreeSet<_>>(),
        keys: history.campaigns.iter().filter_map(key).collect::<BTreeMap<_, _>>(),
        orders,
        held,
    });
    engine.set_questions(history.asked.clone());
    engine.watch_disk(Disk::new(house.folder));
    engine.hold_unvouched(&history.unvouched());
    engine.hold_given_up(house.folder, history.last_engine());
    engine.hold_disturbed(&house.disturbed);
    for Disturbed { run, by } in &house.disturbed {
        tracing::warn!(run, by, "it stays held until it is resumed by name");
    }
    let begun = engine
        .begin(history.epoch + 1, word)
        .and_then(|()| house.away.as_ref().map_or(Ok(Vec::new()), |away| engine.was_away(away)))
        .map(|told| told.iter().for_each(|line| output::say(format!("warning: {line}"))))
        .and_then(|()| {
            let bundle = Document::new("bundle", house.lab.to_kept());
            engine.take_over(&history.left(), bundle)
        })
        .and_then(|()| {
            prepared.into_iter().try_for_each(|one| {
                tracing::info!(campaign = one.setup.machine.id, "goes on");
                engine.add_campaign(one.setup)
            })
        });
    if let Err(error) = begun {
        return Err((Exit::Safety, error.to_string()));
    }
    let server = launch::listen(house.folder, &handle);
    let interrupted = Arc::new(AtomicBool::new(false));
    let asked = Commands::default();
    let (log, heard) = (house.log.clone(), Arc::clone(&interrupted));
    tokio::spawn(signals(orders_in, handle, log, heard, asked.clone()));
    let manager = Arc::new(Manager::of_environment());
    let ended = Arc::new(AtomicBool::new(false));
    let watching = watch(Arc::clone(&pulse), Arc::clone(&manager), Arc::clone(&ended));
    let worked = engine.work().await;
    manager.stopping();
    let exit = match worked {
        Ok(_) => {
            let ended = asked.led_to().await;
            for line in ended.iter().flat_map(|run| {
                command::in_words(run).lines().map(str::to_owned).collect::<Vec<_>>()
            }) {
                tracing::info!("{line}");
            }
            interrupts::show(&ended, false);
            // SAFETY(lab): what could not be held in time was aborted; what is not over even now
            // gets its safe state once more.
            let exposed = engine.exposed_instruments();
            if !exposed.is_empty() {
                // Held ones stay as they are: what a hold leaves going is to go on.
                not_confirmed(engine.make_safe_and_wait(exposed.into_iter().collect()).await);
            }
            let stopped = engine.not_confirmed();
            if stopped.is_empty() {
                tracing::info!("labloop serve has ended as it was told to");
                match interrupted.load(Ordering::Relaxed) {
                    true => Ok(Exit::Interrupted),
                    false => Ok(Exit::Done),
                }
            } else {
                not_confirmed(stopped);
                let why = "the emergency stop was not confirmed by every instrument".to_owned();
                Err((Exit::Safety, why))
            }
        }
        // Its instruments are another engine's: not one byte more, safe states neither.
        Err(error @ EngineError::Lapsed(_)) => Err((Exit::Safety, error.to_string())),
        Err(error) => {
            not_confirmed(engine.give_up().await);
            Err((Exit::Safety, error.to_string()))
        }
    };
    // Last words reach whoever waits for them.
    drop(server);
    ended.store(true, Ordering::Relaxed);
    if let Some(watching) = watching {
        watching.thread().unpark();
    }
    exit
}

fn not_confirmed(instruments: Vec<String>) {
    for instrument in instruments {
        let text = format!("{instrument} was NOT CONFIRMED SAFE: look at it now");
        tracing::error!("{text}");
        output::error(text);
    }
}

/// What the journal tells, and the texts of the campaigns that are taken up.
fn look_back(folder: &Path) -> Result<(History, Texts), (Exit, String)> {
    if !folder.join("journal.db").exists() {
        return Ok((History::default(), Texts::none()));
    }
    let journal = Journal::open_read_only(folder).map_err(usage)?;
    let past = History::read(&journal, None).map_err(usage)?;
    let wanted: Vec<_> = past.to_take_up(None).into_iter().cloned().collect();
    let texts = Texts::read(&journal, &wanted)?;
    Ok((past, texts))
}

/// The lab that is served: the one named, or that of the last campaign.
fn lab_of(args: &ServeArgs, folder: &Path, past: &History) -> Result<Bundle, (Exit, String)> {
    let lab = match (&args.lab, past.campaigns.last()) {
        (Some(lab), _) => Bundle::of_lab(lab).map_err(usage)?,
        (None, Some(last)) => {
            let journal = Journal::open_read_only(folder).map_err(usage)?;
            let missing = || usage(format!("the texts of {} are missing", last.machine.id));
            let text = journal.document(&last.bundle).map_err(usage)?.ok_or_else(missing)?;
            Bundle::from_kept(&text).map_err(usage)?
        }
        (None, None) => return Err(usage("name the lab that is served with --lab LAB")),
    };
    match check::show(&lab) {
        true => Ok(lab),
        false => Err((Exit::NotCompiled, "the lab cannot be served".to_owned())),
    }
}

/// The texts of campaigns of this lab. One of another lab stays open and waits, unless a run of it
/// is under way: that one has to be brought to its end first.
fn texts_of_lab(texts: Texts, lab: &Bundle, past: &History) -> Result<Texts, (Exit, String)> {
    let mut ours = Texts::none();
    for (id, seed, bundle) in texts.0 {
        let under_way = |run: &crate::engine::shell::RunHistory| {
            crate::engine::campaign::campaign_of(&run.run) == Some(id.as_str())
        };
        match lab.lab_difference(&bundle) {
            None if check::show(&bundle) => ours.0.push((id, seed, bundle)),
            None => return Err((Exit::NotCompiled, format!("{id} no longer compiles"))),
            Some(how) if past.open_runs().any(under_way) => {
                return Err(usage(format!(
                    "a run of {id} is under way and was started in another lab: {how}. Bring it to \
                     its end with `labloop resume {id}`, or serve the lab it was started in"
                )));
            }
            Some(how) => {
                let why = format!("{id} was started in another lab ({how}) and is left open");
                tracing::warn!("{why}");
                output::say(why);
            }
        }
    }
    Ok(ours)
}

/// Why nothing may move before a person says so, if services ended uncleanly again and again.
fn crash_loop(history: &History) -> Option<String> {
    let now = jiff::Timestamp::now().as_millisecond();
    let within = i64::try_from(LOOP_WITHIN.as_millis()).unwrap_or(i64::MAX);
    let recent = history.unclean_starts.iter().filter(|at| (0..within).contains(&(now - **at)));
    let starts = recent.count() + 1;
    (starts >= LOOP_STARTS).then(|| {
        format!(
            "this is start {starts} within {} minutes after ends nobody ordered: everything is \
             held. Find the reason in the log, then `labloop resume` goes on",
            LOOP_WITHIN.as_secs() / 60
        )
    })
}

/// What happens in the lab, as lines of the log.
fn tell(progress: &Progress) {
    let Some(event) = progress::as_json(progress) else { return };
    match progress {
        Progress::Step { .. } => tracing::debug!("{event}"),
        Progress::StepFailed { .. }
        | Progress::Question { .. }
        | Progress::Alarm { .. }
        | Progress::Engine { .. } => tracing::warn!("{event}"),
        Progress::EmergencyStop { .. } | Progress::NotConfirmedSafe { .. } => {
            tracing::error!("{event}");
        }
        Progress::RunEnded { not_confirmed, .. } if !not_confirmed.is_empty() => {
            tracing::error!("{event}");
        }
        _ => tracing::info!("{event}"),
    }
}

/// Takes the signals of this process until the engine has gone.
async fn signals(
    orders: mpsc::Sender<Order>,
    handle: Handle,
    log: Log,
    interrupted: Arc<AtomicBool>,
    asked: Commands,
) {
    let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
        signal(SignalKind::hangup()),
    ) else {
        tracing::error!("signals cannot be taken: only SIGKILL ends this process");
        return;
    };
    let (mut interrupts, mut terminates) = (0, 0);
    loop {
        // Cancel safety: a signal that is not taken yet stays pending.
        tokio::select! {
            Some(()) = terminate.recv() => {
                terminates += 1;
                tracing::warn!("{}", match terminates {
                    1 => "SIGTERM: runs are held, then the service ends",
                    _ => "SIGTERM again: what is not held yet goes to its safe state now",
                });
                // A full queue holds orders enough.
                let _ = orders.try_send(Order::Leave { by: "SIGTERM".to_owned() });
            }
            Some(()) = interrupt.recv() => {
                interrupts += 1;
                interrupted.store(true, Ordering::Relaxed);
                let (command, said) = match interrupts {
                    1 => (Command::Stop, "Ctrl-C: runs end their steps, then `finally`; again aborts"),
                    _ => (Command::Abort, "Ctrl-C again: safe states now"),
                };
                tracing::warn!("{said}");
                output::say(said);
                let (by, reason) = ("Ctrl-C".to_owned(), String::new());
                if let Ok(given) = handle.ask(Control::Command { target: None, command, by, reason }) {
                    asked.keep(given);
                }
                let _ = orders.try_send(Order::EndWhenIdle);
            }
            Some(()) = hangup.recv() => {
                log.reopen();
                tracing::info!("SIGHUP: the log was reopened");
            }
            else => return,
        }
    }
}

/// Looks at the engine's pulse on a thread of its own: tells the service manager of every beat, and
/// of none that was not there.
fn watch(
    pulse: Arc<Pulse>,
    manager: Arc<Manager>,
    ended: Arc<AtomicBool>,
) -> Option<std::thread::JoinHandle<()>> {
    let every = manager.watchdog().map_or(LOOK_EVERY, |limit| (limit / 3).min(LOOK_EVERY));
    let look = move || {
        let (mut seen, mut since, mut stuck) = (0, Instant::now(), false);
        let mut told = crate::engine::shell::Said::default();
        while !ended.load(Ordering::Relaxed) {
            let beats = pulse.beats();
            if beats != seen {
                if std::mem::take(&mut stuck) {
                    let seconds = since.elapsed().as_secs();
                    tracing::warn!(seconds, "the engine's loop goes round again");
                }
                (seen, since) = (beats, Instant::now());
                manager.alive();
            } else if !stuck && since.elapsed() >= STUCK_AFTER {
                stuck = true;
                tracing::error!("the engine's loop has not gone round for {STUCK_AFTER:?}");
            }
            let said = pulse.said();
            if said.ready && !told.ready {
                manager.ready();
            }
            if said.status != told.status {
                manager.status(&said.status);
                tracing::debug!(status = said.status);
            }
            told = said;
            std::thread::park_timeout(every);
        }
    };
    let made = std::thread::Builder::new().name("labloop-pulse".to_owned()).spawn(look);
    made.inspect_err(|error| tracing::error!(%error, "the engine's pulse is not watched")).ok()
}
