//! Scripted instruments in memory, and a fleet that drives them in virtual time.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub mod broker;
pub mod fragile;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use labloop::driver::{Command, Fleet, InstrumentSetup, Notice, Outcome};
use labloop::expr::Value;
use labloop::spec::Sources;
use labloop::spec::instrument::Instrument;
use labloop::units::Quantity;
use labloop::wire::{Address, Clock, Dialer, Tick};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;

/// A definition of the product, perhaps with a passage replaced.
pub fn definition(file: &str, changes: &[(&str, &str)]) -> Arc<Instrument> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("instruments").join(file);
    let mut text = std::fs::read_to_string(&path).unwrap();
    for (from, to) in changes {
        assert!(text.contains(from), "{file} has no {from}");
        text = text.replace(from, to);
    }
    written(file, &text)
}

/// A definition as written here.
pub fn written(file: &str, text: &str) -> Arc<Instrument> {
    let mut sources = Sources::new();
    let id = sources.add(file, text);
    let checked = Instrument::lower(sources.get(id).unwrap());
    assert!(!checked.report.has_errors(), "{:#?}", checked.report);
    Arc::new(checked.value.unwrap())
}

/// The same definition, asked only when somebody wants to know.
pub fn without_polls(definition: Arc<Instrument>) -> Arc<Instrument> {
    let mut definition = Instrument::clone(&definition);
    for property in &mut definition.properties {
        property.every = None;
    }
    Arc::new(definition)
}

pub fn quantity(text: &str) -> Value {
    Value::Quantity(Quantity::parse(text).unwrap())
}

pub fn values(list: &[(&str, &str)]) -> BTreeMap<String, Value> {
    list.iter().map(|(name, text)| ((*name).to_owned(), quantity(text))).collect()
}

pub fn setup(
    name: &str,
    definition: Arc<Instrument>,
    at: &str,
    config: &[(&str, &str)],
) -> InstrumentSetup {
    InstrumentSetup {
        name: name.to_owned(),
        definition,
        at: Address::parse(at).unwrap(),
        config: values(config),
        secret: None,
        trust: labloop::wire::Trust::default(),
    }
}

pub fn command(attempt: &str, instrument: &str, action: &str, args: &[(&str, &str)]) -> Command {
    Command {
        attempt: attempt.to_owned(),
        instrument: instrument.to_owned(),
        action: action.to_owned(),
        args: values(args),
        deadline: Duration::from_secs(600),
    }
}

/// What a scripted instrument does with one message.
#[derive(Debug, Clone)]
pub enum Do {
    Answer(Vec<u8>),
    Late(Duration, Vec<u8>),
    Silence,
    /// Sends the bytes and closes the line.
    Close(Vec<u8>),
}

pub fn answer(text: &str) -> Do {
    Do::Answer(text.as_bytes().to_vec())
}

/// All messages a scripted instrument received.
pub type Log = Arc<Mutex<Vec<String>>>;

pub fn count(log: &Log, message: &str) -> usize {
    log.lock().unwrap().iter().filter(|line| *line == message).count()
}

/// A dialer to an instrument that ends its messages with CR and does what `act` says. Each dial is
/// a new connection to the same instrument.
pub fn line(log: &Log, act: impl FnMut(&str) -> Do + Send + 'static) -> Dialer {
    let pipe = pipes(log, act);
    Dialer::memory(move |_| Ok(pipe()))
}

/// New connections to such an instrument.
pub fn pipes<F: FnMut(&str) -> Do + Send + 'static>(
    log: &Log,
    act: F,
) -> impl Fn() -> DuplexStream + Send + Sync + use<F> {
    let act = Arc::new(tokio::sync::Mutex::new(act));
    let log = Arc::clone(log);
    move || {
        let (near, far) = tokio::io::duplex(4096);
        let (act, log) = (Arc::clone(&act), Arc::clone(&log));
        tokio::spawn(async move { serve(far, log, act).await });
        near
    }
}

async fn serve<F: FnMut(&str) -> Do + Send>(
    mut far: DuplexStream,
    log: Log,
    act: Arc<tokio::sync::Mutex<F>>,
) {
    let mut message = Vec::new();
    while let Ok(byte) = far.read_u8().await {
        if byte != b'\r' {
            message.push(byte);
            continue;
        }
        let text = String::from_utf8(std::mem::take(&mut message)).unwrap();
        log.lock().unwrap().push(text.clone());
        let todo = act.lock().await(&text);
        let sent = match todo {
            Do::Silence => Ok(()),
            Do::Answer(bytes) => far.write_all(&bytes).await,
            Do::Late(pause, bytes) => {
                tokio::time::sleep(pause).await;
                far.write_all(&bytes).await
            }
            Do::Close(bytes) => {
                let _ = far.write_all(&bytes).await;
                return;
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

/// A fleet with its notices.
pub struct Lab {
    pub fleet: Fleet,
    pub notices: mpsc::Receiver<Notice>,
    /// Notices passed over while waiting for others.
    pub seen: Vec<Notice>,
}

impl Lab {
    pub fn start(setups: Vec<InstrumentSetup>, dialer: Dialer) -> Lab {
        let (sender, notices) = mpsc::channel(1024);
        let clock = Clock::virtual_time(Tick(0));
        let fleet = Fleet::start(setups, clock, dialer, sender, 1).unwrap();
        Lab { fleet, notices, seen: Vec::new() }
    }

    pub async fn ready(&self) {
        for (name, state) in self.fleet.ready(Duration::from_secs(60)).await {
            assert_eq!(state, Ok(()), "{name}");
        }
    }

    /// The first notice for which `pick` gives something; the others are kept in `seen`.
    pub async fn wait<T>(&mut self, mut pick: impl FnMut(&Notice) -> Option<T>) -> T {
        let found = async {
            loop {
                let notice = self.notices.recv().await.expect("the fleet ended");
                let found = pick(&notice);
                self.seen.push(notice);
                if let Some(found) = found {
                    return found;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(3600), found)
            .await
            .expect("nothing within an hour")
    }

    pub async fn outcome(&mut self, attempt: &str) -> Outcome {
        self.wait(|notice| match notice {
            Notice::Outcome { attempt: of, outcome } if of == attempt => Some(outcome.clone()),
            _ => None,
        })
        .await
    }

    pub async fn run(&mut self, command: Command) -> Outcome {
        let attempt = command.attempt.clone();
        self.fleet.send(command).unwrap();
        self.outcome(&attempt).await
    }

    pub async fn read(&mut self, instrument: &str, property: &str) -> Outcome {
        self.fleet.read("read", instrument, property).unwrap();
        self.outcome("read").await
    }
}

/// Kind and effect of a failure.
pub fn failure(outcome: &Outcome) -> (&'static str, String) {
    match outcome {
        Outcome::Failed { kind, effect, .. } => (kind.as_str(), format!("{effect:?}")),
        Outcome::Done { .. } => panic!("{outcome:?}"),
    }
}

pub fn value(outcome: &Outcome) -> Value {
    match outcome {
        Outcome::Done { value: Some(value), .. } => value.clone(),
        _ => panic!("{outcome:?}"),
    }
}

pub fn is_done(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Done { .. })
}
