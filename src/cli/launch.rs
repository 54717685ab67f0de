//! From a bundle to an engine at work: time, instruments, planner, display.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use labloop_simulators::{DeviceConfig, LabConfig, MemoryLab, PlantConfig, in_memory};
use tokio::sync::mpsc;

use super::args::{Speed, TimeArgs};
use super::interrupts::{self, Commands};
use super::run::Shown;
use super::{Exit, keep, mirrors, output};
use crate::compiler::Bundle;
use crate::engine::campaign::{Campaign, Conclusion, EndReason};
use crate::engine::core::{Core, Ending, Tick};
use crate::engine::shell::control::RunOutcome;
use crate::engine::shell::{
    Control, Disk, Disturbed, Engine, EngineError, EngineSetup, Finished, Handle, Instruments,
    LabInstruments, Left, Observer, Passed, Questions, control,
};
use crate::server::Server;
use crate::spec::lab::Lab;
use crate::spec::{Named, Written};
use crate::store::telemetry::Retention;
use crate::store::{Document, Durability, Journal};
use crate::units::Quantity;
use crate::wire::{self, Clock, Dialer};

/// Notices that wait for the engine before drivers drop samples (never outcomes).
pub(super) const NOTICES: usize = 4_096;
/// Simulators that were started end this long after the last engine has gone.
const LINGER: Duration = Duration::from_secs(60);
/// How long simulators may take to answer.
const SIMULATORS_WAIT: Duration = Duration::from_secs(20);
/// What whoever asks is told meanwhile.
const CONNECTING: &str = "the engine is still waiting for its instruments to connect, and nothing \
                          runs yet: ask again in a moment. `labloop estop` is heard already";
/// How long instruments may take to connect, in wall time.
const CONNECT_WAIT: Duration = Duration::from_secs(20);

/// A lab as the simulators know it.
pub(super) fn simulated(lab: &Lab, speed: f64, seed: Option<u64>) -> LabConfig {
    let from_lab = lab.simulation.as_ref().and_then(|s| s.seed.as_ref()).map(|s| s.value);
    LabConfig {
        seed: seed.or(from_lab).unwrap_or(1),
        speed,
        devices: lab
            .instruments
            .iter()
            .map(|i| DeviceConfig {
                name: i.name.value.clone(),
                model: i.definition.value.clone(),
                address: i.address.value.clone(),
                config: i.config.iter().map(json_of).collect(),
            })
            .collect(),
        plant: lab.simulation.as_ref().map(|s| PlantConfig {
            name: s.plant.value.clone(),
            wiring: s
                .wiring
                .iter()
                .map(|w| (w.name.value.clone(), w.value.value.clone()))
                .collect(),
            settings: s
                .settings
                .iter()
                .map(|w| (w.name.value.clone(), w.value.value.value))
                .collect(),
        }),
    }
}

fn json_of(entry: &Named<Written>) -> (String, serde_json::Value) {
    let value = match &entry.value {
        Written::Scalar { text, .. } => match Quantity::parse(text) {
            Ok(q) => serde_json::json!(q.value),
            Err(_) => serde_json::json!(text),
        },
        Written::Expression(e) => serde_json::json!(e.text),
        Written::List { .. } | Written::Map { .. } => serde_json::Value::Null,
    };
    (entry.name.value.clone(), value)
}

/// How time passes and where the instruments are.
pub(super) enum World {
    /// Instruments of the lab file, or simulators in their place, on real wires.
    Wires { clock: Clock, dialer: Dialer, word: &'static str },
    /// A virtual clock and in-memory wires.
    Virtual { base: wire::Tick },
}

impl World {
    /// Word for the journal.
    pub(super) fn word(&self) -> &'static str {
        match self {
            World::Wires { word, .. } => word,
            World::Virtual { .. } => "virtual",
        }
    }

    /// Lab seconds per wall second; `None` on a virtual clock.
    pub(super) fn speed(&self) -> Option<f64> {
        match self {
            World::Wires { clock, .. } => Some(clock.speed()),
            World::Virtual { .. } => None,
        }
    }

    /// Whether time and instruments are only thought of.
    pub(super) fn is_virtual(&self) -> bool {
        matches!(self, World::Virtual { .. })
    }

    /// How durable the journal must be.
    pub(super) fn durability(&self) -> Durability {
        match self {
            World::Wires { .. } => Durability::Power,
            World::Virtual { .. } => Durability::Process,
        }
    }
}

/// Sets up time and wires. `base`: lab time to go on from. Starts simulators where asked, or finds
/// those that are still alive.
pub(super) fn world(
    time: &TimeArgs,
    lab_file: &Path,
    base: Tick,
    state: &Path,
    seed: Option<u64>,
) -> Result<World, String> {
    let base = wire::Tick(base.0);
    match (time.simulate, time.speed) {
        (false, Speed::Times(1.0)) => Ok(World::Wires {
            clock: Clock::scaled(1.0, base),
            dialer: Dialer::real(),
            word: "real",
        }),
        (false, Speed::Times(speed)) => Ok(World::Wires {
            clock: Clock::scaled(speed, base),
            dialer: Dialer::real(),
            word: "scaled",
        }),
        (false, Speed::Max) => Err("--speed max needs --simulate".to_owned()),
        (true, Speed::Max) => Ok(World::Virtual { base }),
        (true, Speed::Times(speed)) => {
            let endpoints = simulators(lab_file, speed, state, seed)?;
            let dialer = Dialer::redirected(&endpoints).map_err(|e| e.to_string())?;
            Ok(World::Wires { clock: Clock::scaled(speed, base), dialer, word: "simulated" })
        }
    }
}

#[derive(serde::Deserialize)]
struct Ready {
    pid: u32,
    endpoints: BTreeMap<String, String>,
}

fn ready(file: &Path) -> Option<Ready> {
    let found: Ready = serde_json::from_str(&std::fs::read_to_string(file).ok()?).ok()?;
    // A process that ended and is waited for by nobody is a zombie: it no longer answers.
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", found.pid)).ok()?;
    let alive = stat.rsplit(')').next().is_some_and(|rest| !rest.trim_start().starts_with('Z'));
    alive.then_some(found)
}

/// Simulators of a lab in a process of their own, which outlives this one for a while.
fn simulators(
    lab_file: &Path,
    speed: f64,
    state: &Path,
    seed: Option<u64>,
) -> Result<BTreeMap<String, String>, String> {
    let folder = state.join("simulators");
    std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    // Simulators of another speed are of another world.
    let file = folder.join(format!("ready-{speed}.json"));
    if let Some(found) = ready(&file) {
        return Ok(found.endpoints);
    }
    let _ = std::fs::remove_file(&file);
    let program = std::env::current_exe().map_err(|e| format!("cannot find myself: {e}"))?;
    let log = std::fs::File::create(folder.join("simulators.log"))
        .map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut command = Command::new(program);
    command
        .arg("simulator")
        .arg(lab_file)
        .args(["--anywhere", "--broker", "--speed", &speed.to_string()])
        .args(["--linger", &LINGER.as_secs_f64().to_string()])
        .arg("--ready-file")
        .arg(&file)
        .arg("--log")
        .arg(folder.join("effects.jsonl"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    if let Some(seed) = seed {
        command.args(["--seed", &seed.to_string()]);
    }
    // A group of its own: Ctrl-C is for the engine, instruments stay.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command.spawn().map_err(|e| format!("the simulators did not start: {e}"))?;
    let until = Instant::now() + SIMULATORS_WAIT;
    loop {
        if let Some(found) = ready(&file) {
            return Ok(found.endpoints);
        }
        if let Ok(Some(status)) = child.try_wait() {
            let said = std::fs::read_to_string(folder.join("simulators.log")).unwrap_or_default();
            return Err(format!("the simulators ended ({status}): {}", said.trim()));
        }
        if Instant::now() > until {
            let _ = child.kill();
            return Err("the simulators did not answer in time".to_owned());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What an engine needs beside its world.
pub(super) struct Work {
    /// The lab and its definitions.
    pub(super) bundle: Arc<Bundle>,
    /// State folder.
    pub(super) state: PathBuf,
    /// Journal, open.
    pub(super) journal: Journal,
    /// How durable its records are.
    pub(super) durability: Durability,
    /// How long readings are kept.
    pub(super) retention: Retention,
    /// Core, with its history when resuming.
    pub(super) core: Core,
    /// Display.
    pub(super) observer: Observer,
    /// Seed for jitter and simulators.
    pub(super) seed: u64,
    /// Fencing epoch of this engine.
    pub(super) epoch: u64,
    /// Runs may be under way: resolve them.
    pub(super) resuming: bool,
    /// Runs that stay held until a person says a word, because entries about them may be lost.
    pub(super) unvouched: Vec<String>,
    /// The same, because people told their instruments something while no engine was at work.
    pub(super) disturbed: Vec<Disturbed>,
    /// Fencing epoch of the engine before.
    pub(super) before: u64,
    /// How long nobody was at work before, if that is known.
    pub(super) away: Option<Passed>,
    /// What the last engine left.
    pub(super) left: Left,
    /// Questions that the engine before had asked.
    pub(super) questions: Questions,
    /// Commands that this engine begins with.
    pub(super) go_on: Vec<Control>,
}

/// How an engine ended.
pub(super) enum Worked {
    /// It did its work.
    Finished {
        /// How.
        finished: Box<Finished>,
        /// The engine, at rest.
        engine: Box<Engine<LabInstruments>>,
        /// Where runs and instruments are that a signal to the process has ended.
        interrupted: Vec<RunOutcome>,
    },
    /// Instruments did not connect.
    Unreachable(String),
    /// It stopped short.
    Broke(EngineError),
}

/// Runs an engine in its world until its work is done. `prepare` gives it its campaign or run.
pub(super) fn work(
    world: World,
    work: Work,
    prepare: impl FnOnce(&mut Engine<LabInstruments>) -> Result<(), EngineError>,
) -> Result<Worked, String> {
    let lab = work.bundle.lab.clone().ok_or("there is no lab")?;
    match world {
        World::Wires { clock, dialer, word } => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|e| format!("no runtime: {e}"))?;
            runtime.block_on(async { go(&lab, work, clock, dialer, word, true, prepare).await })
        }
        World::Virtual { base } => {
            // Time stands still while anything can run and then jumps to the next timer: the
            // same drivers and simulators, as fast as they can think, in one fixed order.
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .map_err(|e| format!("no runtime: {e}"))?;
            runtime.block_on(async {
                let config = simulated(&lab, 1.0, Some(work.seed));
                let models = mirrors::models(&lab, &work.bundle.definitions, config.seed)?;
                let simulated: MemoryLab = in_memory(&config, models).map_err(|e| e.to_string())?;
                let dialer = Dialer::memory(move |address| simulated.dial(address));
                let clock = Clock::virtual_time(base);
                go(&lab, work, clock, dialer, "virtual", false, prepare).await
            })
        }
    }
}

async fn go(
    lab: &Lab,
    work: Work,
    clock: Clock,
    dialer: Dialer,
    word: &'static str,
    signals: bool,
    prepare: impl FnOnce(&mut Engine<LabInstruments>) -> Result<(), EngineError>,
) -> Result<Worked, String> {
    let (notices_in, notices) = mpsc::channel(NOTICES);
    let holder = format!("state folder {}", work.state.display());
    let dialer = dialer.held_by(&holder);
    // Simulators are nobody in particular.
    let known = if word == "real" { work.left.identities.clone() } else { BTreeMap::new() };
    let instruments = LabInstruments::start_knowing(
        lab,
        &work.bundle.definitions,
        &clock,
        dialer,
        notices_in,
        work.seed,
        &known,
    )
    .map_err(|e| e.to_string())?;
    // SAFETY(lab): the gate is closed before anything is connected.
    if let Some(stop) = &work.left.stopped {
        instruments.emergency().press(&stop.by);
    }
    let (handle, mut controls) = control::channel(instruments.emergency());
    // Before the instruments are there: the emergency stop is heard while they are waited for.
    let server = if signals { listen(&work.state, &handle) } else { None };
    let reached = {
        let mut wait = std::pin::pin!(connected(&instruments));
        loop {
            // Cancel safety: the wait is kept, and no request is lost.
            tokio::select! {
                reached = &mut wait => break reached,
                () = controls.refuse_next(CONNECTING) => {}
            }
        }
    };
    if let Err(missing) = reached {
        return Ok(Worked::Unreachable(missing));
    }
    let mut engine = Engine::new(EngineSetup {
        journal: work.journal,
        telemetry: keep::history(&work.state, work.durability, work.retention),
        clock,
        instruments,
        notices,
        controls,
        observer: work.observer,
        core: work.core,
    });
    engine.set_questions(work.questions);
    for control in work.go_on {
        // The inbox is empty; more runs than it has room for wait for another `resume`.
        let _ = handle.ask(control);
    }
    if signals {
        engine.watch_disk(Disk::new(&work.state));
    }
    let prepared = engine
        .begin(work.epoch, word)
        .and_then(|()| {
            if let Some(away) = &work.away {
                // Told by the observer.
                let _ = engine.was_away(away)?;
            }
            let bundle = Document::new("bundle", work.bundle.to_kept());
            engine.take_over(&work.left, bundle)?;
            if work.resuming {
                // On a virtual clock the instruments are gone, and every sample with them.
                if word != "virtual" {
                    engine.hold_unvouched(&work.unvouched);
                    engine.hold_given_up(&work.state, work.before);
                    engine.hold_disturbed(&work.disturbed);
                }
                engine.recover(word == "virtual");
            }
            Ok(())
        })
        .and_then(|()| prepare(&mut engine));
    let asked = Commands::default();
    if signals {
        tokio::spawn(interrupts::heard(handle, asked.clone()));
    }
    let worked = match prepared {
        Ok(()) => engine.work().await,
        // Runs of the engine before may have left instruments at work.
        Err(error) => Err(error),
    };
    let worked = match worked {
        Ok(finished) => {
            let interrupted = asked.led_to().await;
            let (finished, engine) = (Box::new(finished), Box::new(engine));
            Worked::Finished { finished, engine, interrupted }
        }
        // Its instruments are another engine's: not one byte more, safe states neither.
        Err(error @ EngineError::Lapsed(_)) => Worked::Broke(error),
        // Nor may one speak to them that never got the folder: somebody else may have it.
        Err(error) if engine.journal().epoch().is_none() => Worked::Broke(error),
        Err(error) => {
            for instrument in engine.give_up().await {
                output::error(format!("{instrument} was NOT CONFIRMED SAFE: look at it now"));
            }
            Worked::Broke(error)
        }
    };
    // Last words reach whoever waits for them.
    drop(server);
    Ok(worked)
}

/// Takes commands from other terminals. An engine without this can still be stopped by Ctrl-C.
pub(super) fn listen(state: &Path, handle: &Handle) -> Option<Server> {
    match Server::start(state, handle.clone()) {
        Ok(server) => Some(server),
        Err(error) => {
            output::error(format!(
                "commands from other terminals cannot reach this engine, only Ctrl-C can: {error}"
            ));
            None
        }
    }
}

/// Waits until every instrument is connected and identified.
async fn connected(instruments: &LabInstruments) -> Result<(), String> {
    let wait = async {
        while !instruments.not_ready().is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(CONNECT_WAIT, wait).await.map_err(|_| {
        format!(
            "no connection to {} within {} s; is it switched on, and is `at:` of the lab file right?\n  {}",
            instruments.not_ready().join(", "),
            CONNECT_WAIT.as_secs(),
            instruments.why_not_ready().join("\n  ")
        )
    })
}

/// Environment variable of somebody who has simulators of the same speed on real wires.
const SCALED_WIRES: &str = "LABLOOP_SCALED_WIRES";

/// Whether the lab's clock may run at this speed.
// SAFETY(lab): a real pump does not dose faster because the lab's clock runs faster; its doses would
// be cut short at their deadlines.
pub(super) fn fits(time: &TimeArgs) -> Result<(), String> {
    let real = matches!(time.speed, Speed::Times(1.0));
    let willing = matches!(time.speed, Speed::Times(_)) && std::env::var_os(SCALED_WIRES).is_some();
    if time.simulate || real || willing {
        return Ok(());
    }
    Err(format!(
        "real instruments do not run faster than life: --speed needs --simulate (or, where all of \
         them are `labloop simulator --speed` of the same speed, {SCALED_WIRES}=1)"
    ))
}

/// Exit code of what an engine made of a campaign.
pub(super) fn exit_of(finished: &Finished, campaign: &Campaign, shown: &Shown) -> Exit {
    if interrupts::happened() {
        return Exit::Interrupted;
    }
    if !finished.not_confirmed.is_empty() || finished.stopped.is_some() {
        return Exit::Safety;
    }
    let last = finished.last_runs.get(&shown.id).copied();
    end_code(finished.reason(&shown.id), campaign, last, shown)
}

/// Exit code of how a campaign ended.
pub(super) fn end_code(
    reason: Option<&EndReason>,
    campaign: &Campaign,
    last: Option<Ending>,
    shown: &Shown,
) -> Exit {
    let single = shown.search.is_none();
    let goals = shown.search.as_ref();
    let has_goal = goals.is_some_and(|s| !(s.stop_any.is_empty() && s.stop_all.is_empty()));
    match (reason, last) {
        (Some(EndReason::Person(_)), _) => Exit::Person,
        (
            Some(EndReason::Failures(_) | EndReason::FailureBudget { .. } | EndReason::Internal(_)),
            _,
        ) => Exit::RunFailed,
        (_, Some(Ending::Failed | Ending::Invalid)) if single => Exit::RunFailed,
        // Nothing was measured: whatever else ended it, that is no success.
        _ if failed(campaign) > 0 && failed(campaign) == campaign.concluded() => Exit::RunFailed,
        (Some(EndReason::BudgetSpent(_)), _) if has_goal => Exit::BudgetSpent,
        _ => Exit::Done,
    }
}

/// Experiments of a campaign that failed.
pub(super) fn failed(campaign: &Campaign) -> usize {
    let failed =
        |conclusion: &Option<Conclusion>| matches!(conclusion, Some(Conclusion::Failed { .. }));
    campaign.experiments.iter().filter(|e| failed(&e.conclusion)).count()
}
