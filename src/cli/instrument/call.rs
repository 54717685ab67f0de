//! `labloop instrument call`: one action or property by hand, with the bytes as they cross.

use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal};
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::super::args::{CallArgs, Speed, TimeArgs};
use super::super::launch::{self, World};
use super::super::{Exit, live, output, run::after, user::user};
use super::alone::{Watchdog, reader, send};
use super::chosen::{Chosen, Wanted};
use super::shown::{Watch, report};
use super::{runtime, usage};
use crate::driver::{Sent, preview};
use crate::engine::shell::control::Reply;
use crate::engine::shell::{
    Called, Control, History, ManualCommand, ManualError, ManualOutcome, SAFE_STATE, permitted,
};
use crate::expr::Value;
use crate::server::{Client, ClientError};
use crate::spec::instrument::{Action, EffectClass, Property};
use crate::spec::{Shape, ValueType};
use crate::store::{Document, Durability, Journal, StateLock};
use crate::wire::{Clock, Dialer};

/// How long a property may take, in wall time.
const READ_WAIT: Duration = Duration::from_secs(10);
/// Longest command by hand through a running engine, and what its wire may take beyond.
const LONGEST_CALL: Duration = Duration::from_secs(3_600);
const CALL_GRACE: Duration = Duration::from_secs(90);
/// How long a safe state may take.
const SAFE_WAIT: Duration = Duration::from_secs(60);

type Outcome = Result<Exit, (Exit, String)>;

pub(super) fn run(args: &CallArgs, json: bool) -> Exit {
    match call(args, json) {
        Ok(exit) => exit,
        Err((exit, message)) => {
            output::error(message);
            exit
        }
    }
}

fn call(args: &CallArgs, json: bool) -> Outcome {
    let chosen = Chosen::load(&args.lab, &args.instrument, args.at.as_deref())?;
    match chosen.wanted(&args.what).map_err(usage)? {
        Wanted::Property(property) => {
            if !args.set.is_empty() {
                let name = &property.name.value;
                return Err(usage(format!("`{name}` is a property: it takes no --set")));
            }
            read(args, &chosen, &property, json)
        }
        Wanted::Action(action) => {
            let given = chosen.arguments(&action, &args.set).map_err(usage)?;
            act(args, &chosen, &Act::of(&chosen, *action, given)?, json)
        }
        Wanted::Safe => {
            if !args.set.is_empty() {
                return Err(usage("the safe state takes no --set"));
            }
            act(args, &chosen, &Act::safe(), json)
        }
    }
}

/// What is to be sent.
struct Act {
    name: String,
    /// `None`: the safe state.
    action: Option<Action>,
    given: BTreeMap<String, Value>,
    deadline: Duration,
}

impl Act {
    fn of(
        chosen: &Chosen,
        action: Action,
        given: BTreeMap<String, Value>,
    ) -> Result<Act, (Exit, String)> {
        let deadline = preview::longest(&chosen.setup, &action, &given).map_err(usage)?;
        Ok(Act { name: action.name.value.clone(), action: Some(action), given, deadline })
    }

    fn safe() -> Act {
        let (name, deadline) = (SAFE_STATE.to_owned(), SAFE_WAIT);
        Act { name, action: None, given: BTreeMap::new(), deadline }
    }

    fn preview(&self, chosen: &Chosen) -> Result<Vec<preview::Preview>, (Exit, String)> {
        match &self.action {
            Some(_) => preview::action(&chosen.setup, &self.name, &self.given),
            None => preview::safe_state(&chosen.setup),
        }
        .map_err(usage)
    }
}

fn dry_run(messages: &[preview::Preview], json: bool) -> Exit {
    if json {
        let rows: Vec<_> =
            messages.iter().map(|m| json!({"bytes": m.bytes, "note": m.note})).collect();
        output::data(&format!("{:#}\n", json!({ "messages": rows })));
        return Exit::Done;
    }
    for message in messages {
        match (message.bytes.is_empty(), message.note.is_empty()) {
            (true, _) => output::data(&format!("  ({})\n", message.note)),
            (false, true) => output::data(&format!("> {}\n", message.bytes)),
            (false, false) => {
                output::data(&format!("> {:<32}  ({})\n", message.bytes, message.note))
            }
        }
    }
    output::say("Nothing was opened and nothing was sent.");
    Exit::Done
}

/// Takes the state folder, if there is one: nobody else may talk to its instruments now.
fn lock(state: &Path, make: bool) -> Result<Option<StateLock>, (Exit, String)> {
    if !make && !state.exists() {
        return Ok(None);
    }
    StateLock::take(state).map(Some).map_err(usage)
}

fn world(args: &CallArgs, history: &History) -> Result<(Clock, Dialer), (Exit, String)> {
    let time = TimeArgs { simulate: args.simulate, speed: Speed::Times(1.0) };
    let world = launch::world(&time, &args.lab, after(history), &args.state.state, None)
        .map_err(|why| (Exit::Unreachable, why))?;
    match world {
        World::Wires { clock, dialer, .. } => {
            let holder = format!("a command by hand, state folder {}", args.state.state.display());
            Ok((clock, dialer.held_by(&holder)))
        }
        World::Virtual { .. } => Err(usage("a command by hand needs real wires")),
    }
}

fn read(args: &CallArgs, chosen: &Chosen, property: &Property, json: bool) -> Outcome {
    let name = &property.name.value;
    if args.dry_run {
        let messages = preview::property(&chosen.setup, name).map_err(usage)?;
        return Ok(dry_run(&messages, json));
    }
    if let Some(client) = engine(args)? {
        return through_engine(client, args, chosen, Some(&property.shape), json);
    }
    let _lock = lock(&args.state.state, args.simulate)?;
    let (clock, dialer) = world(args, &History::default())?;
    let done = runtime().map_err(usage)?.block_on(async {
        let watch = Watch::new(chosen, None, json);
        let tap = watch.tap();
        // SAFETY(lab): a look at an instrument neither arms its watchdog nor switches it off: an engine
        // that was killed may have left it to that.
        let mut manual = reader(chosen, &clock, dialer, Some(tap)).await?;
        let outcome = manual.read(name, READ_WAIT).await;
        manual.close().await;
        Ok::<_, (Exit, String)>((outcome, watch.finish().await))
    })?;
    let (outcome, messages) = done;
    Ok(report(args, &outcome, Some(&property.shape), name, &messages, json))
}

fn act(args: &CallArgs, chosen: &Chosen, act: &Act, json: bool) -> Outcome {
    // Rendered in any case: what cannot be sent is said before anything is opened.
    let messages = act.preview(chosen)?;
    if args.dry_run {
        return Ok(dry_run(&messages, json));
    }
    if let Some(action) = &act.action {
        guarded(chosen, action)?;
        confirmed(args, chosen, action, &act.given)?;
    }
    if let Some(client) = engine(args)? {
        let returns = act.action.as_ref().and_then(|action| action.returns.as_ref());
        let exit = through_engine(client, args, chosen, returns, json)?;
        let unsafe_now = act.action.is_none() && exit == Exit::RunFailed;
        return Ok(if unsafe_now { Exit::Safety } else { exit });
    }
    let state = &args.state.state;
    let _lock = lock(state, true)?;
    let mut journal = Journal::open(state, Durability::Power).map_err(usage)?;
    let history = History::current(&journal, None).map_err(usage)?;
    if let Some(action) = &act.action {
        permitted(&history, action).map_err(usage)?;
        // SAFETY(lab): the gate that the emergency stop has closed is closed for hands too.
        if let Some(stop) = history.stopped.as_ref().filter(|_| !is_harmless(action)) {
            return Err(crate::cli::run::stopped(stop));
        }
    }
    let (clock, dialer) = world(args, &history)?;
    let at = match (&args.at, args.simulate) {
        (Some(at), _) => Some(at.clone()),
        (None, true) => Some("simulated".to_owned()),
        (None, false) => None,
    };
    let command = ManualCommand {
        id: history.next_id("manual"),
        by: user(),
        epoch: history.epoch + 1,
        bundle: Document::new("bundle", chosen.kept.clone()),
        at,
        action: act.name.clone(),
        args: act.given.clone(),
        deadline: act.deadline,
    };
    let id = command.id.clone();
    let started = std::time::Instant::now();
    // SAFETY(lab): a run that is not over may have left it to its own watchdog.
    let watchdog =
        if history.open_runs().next().is_some() { Watchdog::Stays } else { Watchdog::Ends };
    let (result, given) =
        send(args, chosen, watchdog, (clock, dialer), &mut journal, command, json)?;
    let (outcome, unrecorded) = match result {
        Ok(outcome) => (outcome, None),
        Err(ManualError::Outcome { source, outcome }) => (*outcome, Some(source)),
        Err(error) => return Err(given.safety.with(&args.instrument, Exit::RunFailed, error)),
    };
    let returns = act.action.as_ref().and_then(|action| action.returns.as_ref());
    let mut exit = report(args, &outcome, returns, &act.name, &given.messages, json);
    if act.action.is_none() && exit == Exit::RunFailed {
        exit = Exit::Safety;
    }
    if given.interrupted && exit != Exit::Done {
        exit = Exit::Interrupted;
    }
    if let Some((stopped, word)) = given.safety.word(&args.instrument) {
        match stopped {
            Some(stopped) => {
                exit = stopped;
                output::error(word);
            }
            None => output::say(word),
        }
    }
    if let Some(error) = unrecorded {
        let why = format!("{id} was sent, but its outcome could not be noted: {error}");
        return Err((Exit::Safety, why));
    }
    if !json {
        let took = output::duration(started.elapsed().as_secs_f64());
        output::say(format!("Noted as {id}, {took}."));
        if let Some(action) = act.action.as_ref().filter(|_| given.safety.is_untouched()) {
            goes_on(args, chosen, action, &outcome);
        }
    }
    Ok(exit)
}

/// The engine that is at work in the state folder: it has the instruments, so the command goes
/// through it.
fn engine(args: &CallArgs) -> Result<Option<Client>, (Exit, String)> {
    match Client::connect(&args.state.state) {
        Ok(_) if args.at.is_some() => Err(usage(
            "an engine is at work here and has its own place for the instrument; leave out --at",
        )),
        Ok(client) => Ok(Some(client)),
        Err(ClientError::Nobody(_)) => Ok(None),
        Err(error) => Err(live::failed(&error)),
    }
}

/// Gives the command to a running engine, which has its own lab: its limits count.
fn through_engine(
    mut client: Client,
    args: &CallArgs,
    chosen: &Chosen,
    shape: Option<&Shape>,
    json: bool,
) -> Outcome {
    let control = Control::Call {
        instrument: args.instrument.clone(),
        what: args.what.clone(),
        set: args.set.clone(),
        by: user(),
    };
    let Reply::Calling { id, at_most_s } = live::ask(&mut client, control, LONGEST_CALL)? else {
        return Err((Exit::Unreachable, "the engine answered something else".to_owned()));
    };
    let within = Duration::try_from_secs_f64(at_most_s).unwrap_or(LONGEST_CALL) + CALL_GRACE;
    let outcome = client.outcome(within).map_err(|error| live::failed(&error))?;
    let called = outcome.map_err(|why| (Exit::RunFailed, why))?.called;
    let Some(Called { result, baseline, witness, trace, .. }) = called else {
        return Err((Exit::Unreachable, "the engine told no outcome".to_owned()));
    };
    let shown = trace.clone();
    let messages = runtime().map_err(usage)?.block_on(async {
        let watch = Watch::new(chosen, Some(&args.what), json);
        for message in shown {
            // An error means that nobody shows them.
            let _ = watch.tap().send(message).await;
        }
        watch.finish().await
    });
    let outcome = ManualOutcome { result, baseline, witness, trace };
    let exit = report(args, &outcome, shape, &args.what, &messages, json);
    if !json && !id.is_empty() {
        output::say(format!("Noted by the running engine as {id}."));
    }
    Ok(exit)
}

/// What was started goes on when this command has ended.
fn goes_on(args: &CallArgs, chosen: &Chosen, action: &Action, outcome: &ManualOutcome) {
    let may = match &outcome.result {
        Ok(_) => action.done.is_none(),
        Err(failure) => failure.effect == Sent::Unknown,
    };
    if action.starts.is_empty() || !may {
        return;
    }
    if chosen.definition.heartbeat.is_some() {
        output::say("Its watchdog was switched off at the end of this command.");
    }
    let stops = chosen.definition.actions.iter().find(|a| a.stops);
    let (lab, name) = (args.lab.display(), &args.instrument);
    output::say(format!(
        "`{name}` may go on by itself, and nobody watches it{}.",
        format_args!(
            "; end it with `labloop instrument call {lab} {name} {}`",
            stops.map_or(SAFE_STATE, |stop| stop.name.value.as_str())
        )
    ));
}

/// What only reads, or ends what the instrument does.
fn is_harmless(action: &Action) -> bool {
    action.stops || action.effect.value == EffectClass::Read
}

/// A lab with interlocks is refused as `run` refuses it; reading and stopping is always allowed.
fn guarded(chosen: &Chosen, action: &Action) -> Result<(), (Exit, String)> {
    let harmless = is_harmless(action);
    match &chosen.guard {
        Some(what) if !harmless => Err((
            Exit::NotCompiled,
            format!(
                "the lab has {what}, which this version does not evaluate, so commands that it \
                 could forbid are not sent; actions that read or stop are"
            ),
        )),
        _ => Ok(()),
    }
}

/// Actions that start something are sent only when a person has seen what they will do.
fn confirmed(
    args: &CallArgs,
    chosen: &Chosen,
    action: &Action,
    given: &BTreeMap<String, Value>,
) -> Result<(), (Exit, String)> {
    if action.starts.is_empty() || args.yes {
        return Ok(());
    }
    let starts: Vec<&str> = action.starts.iter().map(|hazard| hazard.value.as_str()).collect();
    let shown: Vec<String> = given
        .iter()
        .map(|(name, value)| format!("{name} = {}", argument(action, name, value)))
        .collect();
    let what = format!(
        "`{}` at {} {}: {} {}",
        args.instrument,
        if args.simulate { "a simulator" } else { chosen.setup.at.text.as_str() },
        starts.join(" and "),
        action.name.value,
        shown.join(", ")
    );
    if !(std::io::stdin().is_terminal() && output::terminal()) {
        return Err(usage(format!(
            "{what}. Confirm it with --yes, or look at the bytes with --dry-run"
        )));
    }
    output::say(format!("{what}. Type `yes` to send it:"));
    let mut answer = String::new();
    let read = std::io::Read::take(std::io::stdin().lock(), 64).read_line(&mut answer);
    match read {
        Ok(_) if answer.trim() == "yes" => Ok(()),
        _ => Err((Exit::Person, "not confirmed; nothing was sent".to_owned())),
    }
}

fn argument(action: &Action, name: &str, value: &Value) -> String {
    let spec = action.args.iter().find(|spec| spec.name.value == name);
    match (spec.map(|spec| &spec.kind), value) {
        (Some(ValueType::Quantity { unit }), Value::Quantity(q)) => q.display_in(&unit.value),
        _ => value.show(),
    }
}
