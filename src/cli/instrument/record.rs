//! `labloop instrument record`: between a program and a device, everything written down.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use super::super::args::RecordArgs;
use super::super::{Exit, output};
use super::probe::alone;
use super::{read, runtime, secret, until_stopped};
use crate::driver::{self, InstrumentSetup};
use crate::wire::mqtt::Message;
use crate::wire::record::{Proxy, Told, listen, subscribe};
use crate::wire::stand::Stand;
use crate::wire::trace::{Head, Recorder};
use crate::wire::{Address, Dialer, Endpoint, Parity, SerialSettings, Trust};

pub(super) fn run(args: &RecordArgs, json: bool) -> Exit {
    match record(args, json) {
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

fn record(args: &RecordArgs, json: bool) -> Result<Exit, (Exit, String)> {
    let device = Address::parse(&args.address).map_err(usage)?;
    let settings = settings(args, &device)?;
    let serial = matches!(device.endpoint, Endpoint::Serial { .. } | Endpoint::ModbusRtu { .. });
    let head = Head::new(&device.text, serial.then(|| shown(&settings)));
    let dialer = Dialer::real();
    let unreachable =
        |error: std::io::Error| (Exit::Unreachable, format!("{device} cannot be opened: {error}"));
    let writable = |error: std::io::Error| usage(format!("{}: {error}", args.to.display()));
    runtime().map_err(usage)?.block_on(async {
        if matches!(device.endpoint, Endpoint::Mqtt { .. }) {
            if args.listen.is_some() {
                return Err(usage("over MQTT nothing stands between: leave out --listen"));
            }
            let password = secret(args.secret.as_deref()).map_err(usage)?;
            let password = password.as_ref().map(|secret| secret.0.as_str());
            let out = outward(args, &device)?;
            let id = format!("labloop-record-{}", std::process::id());
            let mut session =
                subscribe(&dialer, &device, &id, password).await.map_err(unreachable)?;
            let mut recorder =
                Recorder::create(&args.to, &head, args.most << 20).map_err(writable)?;
            ready(&device.text, json);
            let ended = tokio::select! {
                ended = listen(&mut session, &mut recorder, &*out) => ended,
                () = until_stopped(args.time) => Ok(()),
            };
            session.close().await;
            return finish(args, &recorder, ended.map_err(unreachable));
        }
        let _line = alone(&device, "labloop instrument record")?;
        let mut stand = Stand::open(&device, args.listen.as_deref()).await.map_err(usage)?;
        // Opened before the file is made: an address that is wrong leaves nothing behind.
        let port = dialer.open(&device, &settings).await.map_err(unreachable)?;
        let mut recorder = Recorder::create(&args.to, &head, args.most << 20).map_err(writable)?;
        ready(&stand.address(&device).map_err(usage)?, json);
        let ended = {
            let mut proxy = Proxy {
                device: &device,
                serial: settings,
                dialer: &dialer,
                recorder: &mut recorder,
                tell: &mut tell,
            };
            tokio::select! {
                ended = proxy.run(&mut stand, port) => ended,
                () = until_stopped(args.time) => Ok(()),
            }
        };
        finish(args, &recorder, ended.map_err(unreachable))
    })
}

/// Where to connect now, for people and programs.
fn ready(at: &str, json: bool) {
    if json {
        output::data(&format!("{}\n", json!({"at": at, "pid": std::process::id()})));
    } else {
        output::data(&format!("{at}\n"));
        output::say("Recording; Ctrl-C ends it.");
    }
}

fn tell(told: Told) {
    match told {
        Told::Connected => output::say("A client has connected."),
        Told::Gone => output::say("The client is gone."),
        Told::Device(why) => output::error(format!("the device is gone: {why}")),
        Told::Unwritten(why) => output::error(format!(
            "the trace is no longer written: {why}. What crosses is still passed on"
        )),
    }
}

fn finish(
    args: &RecordArgs,
    recorder: &Recorder,
    ended: Result<(), (Exit, String)>,
) -> Result<Exit, (Exit, String)> {
    output::say(format!("{} messages in {}.", recorder.messages(), args.to.display()));
    ended.map(|()| Exit::Done)
}

fn settings(args: &RecordArgs, device: &Address) -> Result<SerialSettings, (Exit, String)> {
    let serial = matches!(device.endpoint, Endpoint::Serial { .. } | Endpoint::ModbusRtu { .. });
    let mut settings = SerialSettings::default();
    let given = args.baud.is_some() || args.frame.is_some();
    match &args.definition {
        Some(name) if serial => {
            let definition = read(name).map_err(usage)?;
            settings = driver::serial_of(&definition)
                .ok_or_else(|| usage(format!("`{name}` has no settings of a serial line")))?;
        }
        None if serial && !given => {
            return Err(usage(
                "say how the line is set: --definition NAME, or --baud 19200 --frame 8N1",
            ));
        }
        _ => {}
    }
    if given && !serial {
        return Err(usage("--baud and --frame are for serial lines"));
    }
    if let Some(baud) = args.baud {
        settings.baud = baud;
    }
    if let Some(frame) = &args.frame {
        settings = settings
            .with_frame(frame)
            .ok_or_else(|| usage(format!("--frame {frame}: write 8N1, 7E1 or the like")))?;
    }
    Ok(settings)
}

fn shown(settings: &SerialSettings) -> String {
    let parity = match settings.parity {
        Parity::None => 'N',
        Parity::Even => 'E',
        Parity::Odd => 'O',
    };
    format!("{} {}{parity}{}", settings.baud, settings.data_bits, settings.stop_bits)
}

/// Says of a message whether it goes to the device.
type Outward = Box<dyn Fn(&Message) -> bool>;

/// Which messages go to the device: those with an answer's topic (MQTT 5), and those on topics the
/// definition publishes on.
fn outward(args: &RecordArgs, device: &Address) -> Result<Outward, (Exit, String)> {
    let Some(name) = &args.definition else {
        return Ok(Box::new(|message| message.response_topic.is_some()));
    };
    let definition = read(name).map_err(usage)?;
    let setup = InstrumentSetup {
        name: "recorded".to_owned(),
        definition: Arc::new(definition),
        at: device.clone(),
        config: BTreeMap::new(),
        secret: None,
        trust: Trust::default(),
    };
    let commands = driver::command_topics(&setup).map_err(|wrong| usage(wrong.join("; ")))?;
    Ok(Box::new(move |message| {
        message.response_topic.is_some()
            || commands.iter().any(|filter| crate::wire::mqtt::matches(filter, &message.topic))
    }))
}
