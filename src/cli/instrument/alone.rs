//! A command by hand while no engine is at work: the wires are this process's own, and so is the duty
//! to take an emergency stop from another terminal.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;

use super::super::args::CallArgs;
use super::super::{Exit, output};
use super::chosen::Chosen;
use super::shown::Watch;
use super::{runtime, usage};
use crate::driver::{InstrumentSetup, Pressed, Stopped};
use crate::engine::shell::{
    Manual, ManualCommand, ManualError, ManualOutcome, control, stop_without_engine, with_access,
};
use crate::server::Server;
use crate::store::Journal;
use crate::wire::{Clock, Dialer};

/// How long an instrument may take to connect, in wall time.
const CONNECT_WAIT: Duration = Duration::from_secs(20);

/// What a command has led to beside its outcome.
pub(super) struct Given {
    /// Ctrl-C was pressed.
    pub(super) interrupted: bool,
    pub(super) safety: Safety,
    pub(super) messages: Vec<serde_json::Value>,
}

/// How a safe state went that was sent beside a command.
pub(super) struct Safety {
    /// That of a second Ctrl-C.
    made_safe: Option<Result<(), String>>,
    /// Who pressed the emergency stop meanwhile, and how the instrument stands.
    stopped: Option<(Pressed, BTreeMap<String, Stopped>)>,
}

impl Safety {
    /// No safe state was sent.
    pub(super) fn is_untouched(&self) -> bool {
        self.made_safe.is_none() && self.stopped.is_none()
    }

    /// A reason why the command was not given, with what must be heard of this.
    pub(super) fn with(
        &self,
        instrument: &str,
        exit: Exit,
        why: impl std::fmt::Display,
    ) -> (Exit, String) {
        match self.word(instrument) {
            Some((stopped, word)) => (stopped.unwrap_or(exit), format!("{why}\n{word}")),
            None => (exit, why.to_string()),
        }
    }

    /// What must be heard of it, if anything was sent; and with which code that ends.
    pub(super) fn word(&self, instrument: &str) -> Option<(Option<Exit>, String)> {
        let not = |why: &str| format!("it is NOT CONFIRMED SAFE ({why}): look at it now");
        if let Some((pressed, outcomes)) = &self.stopped {
            let how = match outcomes.get(instrument) {
                Some(Stopped::Confirmed) => "its safe state is confirmed".to_owned(),
                Some(Stopped::NotConfirmed { detail, .. }) => not(detail),
                Some(Stopped::Pending) | None => not("no answer"),
            };
            let word = format!(
                "EMERGENCY STOP by {}: {instrument}: {how}. Nothing acts until `labloop estop \
                 --clear --by NAME`",
                pressed.by
            );
            return Some((Some(Exit::Safety), word));
        }
        match self.made_safe.as_ref()? {
            Ok(()) => Some((None, format!("{instrument}: its safe state is confirmed."))),
            Err(why) => Some((Some(Exit::Safety), format!("{instrument}: {}", not(why)))),
        }
    }
}

/// What becomes of the device's own watchdog at the end of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Watchdog {
    /// It is switched off: the device goes on by itself.
    Ends,
    /// It goes on, and stops the device.
    Stays,
}

/// Whoever else asks for something while a command by hand is under way.
const BUSY: &str = "a command by hand is under way here (`labloop instrument call`); it takes an \
                    emergency stop and nothing else: ask again when it has ended";

/// Takes the emergency stop from other terminals, for as long as it lives.
struct Desk {
    server: Option<Server>,
    refusing: tokio::task::JoinHandle<()>,
}

impl Desk {
    fn open(state: &Path, manual: &Manual) -> Desk {
        let (handle, mut inbox) = control::channel(manual.emergency());
        let server = Server::start(state, handle).map_err(|error| {
            output::error(format!(
                "an emergency stop cannot reach this command, Ctrl-C can: {error}"
            ));
        });
        let refusing = tokio::spawn(async move {
            loop {
                inbox.refuse_next(BUSY).await;
            }
        });
        Desk { server: server.ok(), refusing }
    }

    /// Closes it, after its last words; the driver goes on meanwhile.
    async fn close(self) {
        // An error would mean that the thread panicked: it is gone either way.
        let _ = tokio::task::spawn_blocking(move || drop(self.server)).await;
        self.refusing.abort();
    }
}

/// Connects and gives the command.
pub(super) fn send(
    args: &CallArgs,
    chosen: &Chosen,
    watchdog: Watchdog,
    (clock, dialer): (Clock, Dialer),
    journal: &mut Journal,
    command: ManualCommand,
    json: bool,
) -> Result<(Result<ManualOutcome, ManualError>, Given), (Exit, String)> {
    let mut setup = chosen.setup.clone();
    if let (Watchdog::Stays, Some(beat)) =
        (watchdog, &mut Arc::make_mut(&mut setup.definition).heartbeat)
    {
        beat.disarm.clear();
    }
    runtime().map_err(usage)?.block_on(async {
        let watch = Watch::new(chosen, Some(&command.action), json);
        let mut manual = begin(chosen, setup, &clock, dialer, Some(watch.tap()))?;
        let desk = Desk::open(&args.state.state, &manual);
        let (stop, stopped) = mpsc::channel(2);
        let interrupted = Arc::new(AtomicBool::new(false));
        let listener = tokio::spawn(interrupts(stop, Arc::clone(&interrupted)));
        let result = match there(&manual, chosen).await {
            Ok(()) => Ok(manual.command(journal, command, stopped).await),
            Err(why) => Err(why),
        };
        listener.abort();
        let safety = safety(&manual, desk).await;
        if let Some((pressed, outcomes)) = &safety.stopped
            && let Err(error) = stop_without_engine(journal, pressed, outcomes)
        {
            output::error(format!("the emergency stop could not be noted: {error}"));
        }
        manual.close().await;
        let messages = watch.finish().await;
        match result {
            Ok(result) => {
                let interrupted = interrupted.load(Ordering::Relaxed);
                Ok((result, Given { interrupted, safety, messages }))
            }
            Err((exit, why)) => Err(safety.with(&args.instrument, exit, why)),
        }
    })
}

/// How safe the instrument is once nothing more can be asked of this command.
async fn safety(manual: &Manual, desk: Desk) -> Safety {
    // Whoever pressed is told by the desk how it went; whoever presses while it closes is heard too.
    manual.stopped().await;
    desk.close().await;
    let stopped = manual.stopped().await;
    Safety { made_safe: manual.made_safe().cloned(), stopped }
}

/// Connects without arming the device's own watchdog.
pub(super) async fn reader(
    chosen: &Chosen,
    clock: &Clock,
    dialer: Dialer,
    tap: Option<crate::driver::Tap>,
) -> Result<Manual, (Exit, String)> {
    let mut setup = chosen.setup.clone();
    Arc::make_mut(&mut setup.definition).heartbeat = None;
    connect(chosen, setup, clock, dialer, tap).await
}

async fn connect(
    chosen: &Chosen,
    setup: InstrumentSetup,
    clock: &Clock,
    dialer: Dialer,
    tap: Option<crate::driver::Tap>,
) -> Result<Manual, (Exit, String)> {
    let manual = begin(chosen, setup, clock, dialer, tap)?;
    match there(&manual, chosen).await {
        Ok(()) => Ok(manual),
        Err(why) => {
            manual.close().await;
            Err(why)
        }
    }
}

/// Begins to connect, identify and prepare, as an engine does.
fn begin(
    chosen: &Chosen,
    setup: InstrumentSetup,
    clock: &Clock,
    dialer: Dialer,
    tap: Option<crate::driver::Tap>,
) -> Result<Manual, (Exit, String)> {
    let name = &chosen.instrument.name.value;
    let setup = with_access(setup, &chosen.instrument, &dialer)
        .map_err(|why| (Exit::Usage, format!("{name}: {why}")))?;
    Manual::start(setup, clock.clone(), dialer, tap).map_err(|why| (Exit::Unreachable, why))
}

/// Waits until it is there and prepared.
async fn there(manual: &Manual, chosen: &Chosen) -> Result<(), (Exit, String)> {
    let name = &chosen.instrument.name.value;
    manual.connect(CONNECT_WAIT).await.map_err(|why| {
        (
            Exit::Unreachable,
            format!(
                "`{name}` at {} is not there: {why}. Is it switched on, and is `at:` right?",
                chosen.setup.at
            ),
        )
    })
}

/// First Ctrl-C cancels the action, the second sends the safe state.
async fn interrupts(stop: mpsc::Sender<()>, interrupted: Arc<AtomicBool>) {
    for said in ["Cancelling. Ctrl-C again sends the safe state.", "Sending the safe state."] {
        if tokio::signal::ctrl_c().await.is_err() {
            return std::future::pending().await;
        }
        output::say(said);
        interrupted.store(true, Ordering::Relaxed);
        if stop.send(()).await.is_err() {
            return;
        }
    }
}
