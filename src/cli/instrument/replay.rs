//! `labloop instrument replay`: a recorded device, as a simulator.

use std::path::Path;

use serde_json::json;

use super::super::args::ReplayArgs;
use super::super::{Exit, output};
use super::{runtime, secret, until_stopped};
use crate::wire::mqtt::{Login, Message, Options, Session, Version};
use crate::wire::replay::{Script, Told, TopicScript};
use crate::wire::stand::Stand;
use crate::wire::trace::{self, Trace};
use crate::wire::{Address, Dialer, Endpoint, SerialSettings};

pub(super) fn run(args: &ReplayArgs, json: bool) -> Exit {
    match replay(args, json) {
        Ok(exit) => exit,
        Err((exit, message)) => {
            output::error(message);
            exit
        }
    }
}

fn usage(why: impl ToString) -> (Exit, String) {
    (Exit::Usage, why.to_string())
}

/// What was answered, and what was not.
#[derive(Default)]
struct Tally {
    answered: u64,
    unknown: u64,
}

impl Tally {
    fn take(&mut self, told: Told) {
        match told {
            Told::Answered(_) | Told::Silent(_) => self.answered += 1,
            Told::Unknown(what) => {
                self.unknown += 1;
                output::say(format!("never recorded, so not answered: {what}"));
            }
        }
    }

    fn exit(&self, file: &Path) -> Exit {
        let (answered, unknown) = (self.answered, self.unknown);
        output::say(format!(
            "{answered} requests were answered from {}, {unknown} were never recorded.",
            file.display()
        ));
        if unknown == 0 { Exit::Done } else { Exit::RunFailed }
    }
}

fn replay(args: &ReplayArgs, json: bool) -> Result<Exit, (Exit, String)> {
    let trace = trace::read(&args.file).map_err(usage)?;
    runtime().map_err(usage)?.block_on(async {
        if trace.head.wire.starts_with("mqtt") {
            topics(args, &trace, json).await
        } else {
            line(args, &trace, json).await
        }
    })
}

fn ready(at: &str, requests: usize, json: bool) {
    if json {
        let pid = std::process::id();
        output::data(&format!("{}\n", json!({"at": at, "pid": pid, "requests": requests})));
    } else {
        output::data(&format!("{at}\n"));
        output::say(format!("Answering {requests} recorded requests; Ctrl-C ends it."));
    }
}

async fn line(args: &ReplayArgs, trace: &Trace, json: bool) -> Result<Exit, (Exit, String)> {
    let mut script = Script::new(trace, !args.fast).map_err(usage)?;
    let device = Address::parse(&trace.head.address).map_err(usage)?;
    let mut stand = Stand::open(&device, args.at.as_deref()).await.map_err(usage)?;
    ready(&stand.address(&device).map_err(usage)?, script.requests(), json);
    let mut tally = Tally::default();
    let serve = async {
        loop {
            let Ok(mut client) = stand.client().await else { continue };
            // A client that goes in the middle of an answer is no trouble of ours.
            let _ = script.serve(&mut client, &mut |told| tally.take(told)).await;
        }
    };
    tokio::select! {
        () = serve => {}
        () = until_stopped(args.time) => {}
    }
    Ok(tally.exit(&args.file))
}

async fn topics(args: &ReplayArgs, trace: &Trace, json: bool) -> Result<Exit, (Exit, String)> {
    let at = args.at.as_deref().unwrap_or(&trace.head.address);
    let at = Address::parse(at).map_err(usage)?;
    let Endpoint::Mqtt { base, user, .. } = &at.endpoint else {
        return Err(usage("the trace is one of MQTT: --at mqtt://host:1883/base"));
    };
    let mut script = TopicScript::new(trace, base, !args.fast).map_err(usage)?;
    let unreachable =
        |error: std::io::Error| (Exit::Unreachable, format!("{at} cannot be used: {error}"));
    let dialer = Dialer::real();
    let port = dialer.open(&at, &SerialSettings::default()).await.map_err(unreachable)?;
    let password = secret(args.secret.as_deref()).map_err(usage)?;
    let login = user.as_ref().map(|user| Login {
        user: user.clone(),
        password: password.as_ref().map(|secret| secret.0.clone()).unwrap_or_default(),
    });
    let options = Options {
        version: Version::V5,
        client_id: format!("labloop-replay-{}", std::process::id()),
        keep_alive: std::time::Duration::from_secs(30),
        login,
        will: None,
    };
    let mut session = Session::open(port, &options).await.map_err(unreachable)?;
    session.subscribe(&script.topics()).await.map_err(unreachable)?;
    ready(&at.text, script.requests(), json);
    let mut tally = Tally::default();
    let mut told = |told| tally.take(told);
    let ended = tokio::select! {
        ended = script.serve(&mut session, &mut told) => ended,
        () = until_stopped(args.time) => Ok(()),
    };
    // Stored messages would say for ever that the device is there.
    for topic in script.stored() {
        let empty = Message { topic, retain: true, ..Message::default() };
        let _ = session.publish(&empty, false);
    }
    session.close().await;
    ended.map_err(unreachable)?;
    Ok(tally.exit(&args.file))
}
