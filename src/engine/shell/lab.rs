//! The instruments of a lab file, driven by the fleet.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use super::gauge::Gauge;
use super::instruments::{Instruments, Refused};
use super::view::InstrumentView;
use super::wanted::{Wanted, unknown, wanted};
use crate::driver::{
    self, Command, EmergencyStop, Fleet, Health, InstrumentSetup, Lease, LineStop, Notice, Secret,
    written_values,
};
use crate::expr::Value;
use crate::spec::Spanned;
use crate::spec::instrument::Instrument;
use crate::spec::lab::{self, Lab};
use crate::wire::trust::{Identity, Key};
use crate::wire::{Address, Clock, Dialer, Trust};

/// Age up to which a property that is not polled may be used.
const MAX_AGE_UNPOLLED: Duration = Duration::from_secs(60);
/// Polls that may be missed before a reading is stale.
const POLLS_MISSED: u32 = 3;

/// The lab's instruments cannot be driven.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct LabError(pub Vec<String>);

/// The fleet of a lab.
#[derive(Debug)]
pub struct LabInstruments {
    fleet: Fleet,
    /// Fencing epoch of the engine they obey.
    epoch: AtomicU64,
    /// Runs the lines on a thread of their own; a virtual clock has one thread for all.
    runtime: Option<Runtime>,
    names: Vec<String>,
    /// For commands by hand: what the lab says of each, and its setup without its password.
    lab: BTreeMap<String, (lab::LabInstrument, InstrumentSetup)>,
    max_age: BTreeMap<String, BTreeMap<String, Duration>>,
    gauges: BTreeMap<String, BTreeMap<String, Vec<Gauge>>>,
}

impl LabInstruments {
    /// Starts the drivers of every instrument of a lab; connecting goes on by itself. Must be
    /// called inside a tokio runtime.
    ///
    /// Errors: everything that keeps an instrument from being driven, together.
    pub fn start(
        lab: &Lab,
        definitions: &BTreeMap<String, Arc<Instrument>>,
        clock: &Clock,
        dialer: Dialer,
        notices: mpsc::Sender<Notice>,
        seed: u64,
    ) -> Result<LabInstruments, LabError> {
        let known = BTreeMap::new();
        LabInstruments::start_knowing(lab, definitions, clock, dialer, notices, seed, &known)
    }

    /// The same, with the identity of each unit that was there before.
    pub fn start_knowing(
        lab: &Lab,
        definitions: &BTreeMap<String, Arc<Instrument>>,
        clock: &Clock,
        dialer: Dialer,
        notices: mpsc::Sender<Notice>,
        seed: u64,
        known: &BTreeMap<String, String>,
    ) -> Result<LabInstruments, LabError> {
        let mut wrong = Vec::new();
        let mut setups = Vec::new();
        let mut max_age = BTreeMap::new();
        let mut gauges = BTreeMap::new();
        for instrument in &lab.instruments {
            let name = &instrument.name.value;
            let Some(definition) = definitions.get(&instrument.definition.value) else {
                wrong.push(format!(
                    "{name}: there is no definition `{}`",
                    instrument.definition.value
                ));
                continue;
            };
            match instrument_setup(instrument, definition)
                .and_then(|setup| with_access(setup, instrument, &dialer))
            {
                Ok(setup) => setups.push(setup),
                Err(reason) => wrong.push(format!("{name}: {reason}")),
            }
            // A wire that is slow in wall time is slower still for a fast lab clock.
            let wire = clock.lab_span(2 * definition.connection.reply_timeout.value);
            let ages = definition.properties.iter().map(|p| {
                let age = match (&p.max_age, &p.every) {
                    (Some(age), _) => age.value,
                    (None, Some(every)) => every.value.saturating_mul(POLLS_MISSED),
                    (None, None) => MAX_AGE_UNPOLLED,
                };
                (p.name.value.clone(), age.saturating_add(wire))
            });
            max_age.insert(name.clone(), ages.collect());
            let numbers =
                definition.properties.iter().map(|p| (p.name.value.clone(), Gauge::of(&p.shape)));
            gauges.insert(name.clone(), numbers.collect());
        }
        if !wrong.is_empty() {
            return Err(LabError(wrong));
        }
        // SAFETY(lab): a lab that demands a quick stop is not run with a line that is slower.
        if let Ok(lines) = driver::stop_latencies(&setups) {
            wrong.extend(too_late(lab, &lines).into_iter().map(|late| {
                format!(
                    "{}: it is safe after {:?} at the latest, and the lab demands {:?}; the {} of \
                     {} may keep its line for {:?}",
                    late.instrument,
                    late.safe,
                    late.demanded.value,
                    late.line.because.what,
                    late.line.because.instrument,
                    late.line.because.takes,
                )
            }));
        }
        if !wrong.is_empty() {
            return Err(LabError(wrong));
        }
        let names = setups.iter().map(|s| s.name.clone()).collect();
        let by_hand = |setup: &InstrumentSetup| {
            let instrument = lab.instrument(&setup.name)?.clone();
            Some((
                setup.name.clone(),
                (instrument, InstrumentSetup { secret: None, ..setup.clone() }),
            ))
        };
        let by_hand = setups.iter().filter_map(by_hand).collect();
        let runtime = runtime_of(clock)?;
        let entered = runtime.as_ref().map(Runtime::enter);
        let fleet = Fleet::start_knowing(setups, clock.clone(), dialer, notices, seed, known)
            .map_err(|all| LabError(all.iter().map(ToString::to_string).collect()));
        drop(entered);
        match fleet {
            Ok(fleet) => Ok(LabInstruments {
                fleet,
                epoch: AtomicU64::new(0),
                runtime,
                names,
                lab: by_hand,
                max_age,
                gauges,
            }),
            Err(error) => {
                runtime.into_iter().for_each(Runtime::shutdown_background);
                Err(error)
            }
        }
    }

    /// The right to speak to them; lapses when another engine has it.
    pub fn lease(&self) -> Lease {
        self.fleet.lease()
    }

    /// Instruments that are not connected and identified yet.
    pub fn not_ready(&self) -> Vec<&str> {
        self.names.iter().map(String::as_str).filter(|name| !self.fleet.is_ready(name)).collect()
    }

    /// Why each of them is not.
    pub fn why_not_ready(&self) -> Vec<String> {
        self.names
            .iter()
            .filter_map(|name| Some(format!("{name}: {}", self.fleet.why_not_ready(name)?)))
            .collect()
    }
}

/// Where the lines run.
// SAFETY(lab): an engine that waits for its disk, or that is stuck, must not keep a safe state from
// the wire.
fn runtime_of(clock: &Clock) -> Result<Option<Runtime>, LabError> {
    if !clock.speed().is_finite() {
        return Ok(None);
    }
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("labloop-wires")
        .enable_all()
        .build()
        .map(Some)
        .map_err(|e| LabError(vec![format!("the drivers have no thread to run on: {e}")]))
}

impl Drop for LabInstruments {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waiting for a thread is not allowed where this is dropped.
            runtime.shutdown_background();
        }
    }
}

/// An instrument of a lab as the drivers want it, but for what its wire asks of us.
///
/// Errors: what is wrong with its address or configuration, for people.
pub fn instrument_setup(
    instrument: &lab::LabInstrument,
    definition: &Arc<Instrument>,
) -> Result<InstrumentSetup, String> {
    let at = Address::parse(&instrument.address.value).map_err(|e| e.to_string())?;
    let config = written_values(&definition.config, &instrument.config)?;
    Ok(InstrumentSetup {
        name: instrument.name.value.clone(),
        definition: Arc::clone(definition),
        at,
        config,
        secret: None,
        trust: Trust::default(),
    })
}

/// Adds what the broker is told and shown. A simulator in the place of the instrument asks for
/// neither password nor certificate.
///
/// Errors: where a password or a key is missing, for people.
pub fn with_access(
    setup: InstrumentSetup,
    instrument: &lab::LabInstrument,
    dialer: &Dialer,
) -> Result<InstrumentSetup, String> {
    if dialer.is_elsewhere(&setup.at) {
        return Ok(setup);
    }
    let secret = match &instrument.secret {
        None => None,
        Some(secret) => Some(Secret(read_secret(&secret.value)?)),
    };
    let trust = match &instrument.tls {
        None => Trust::default(),
        Some(tls) => trust(tls)?,
    };
    Ok(InstrumentSetup { secret, trust, ..setup })
}

fn trust(tls: &lab::Tls) -> Result<Trust, String> {
    let identity = match (&tls.certificate, &tls.key) {
        (Some(certificate), Some(key)) => {
            let key = match &key.value {
                lab::Secret::File(path) => Key::File(path.into()),
                lab::Secret::Environment(name) => Key::Text(std::env::var(name).map_err(|_| {
                    format!(
                        "the key of its certificate is expected in the environment variable {name}"
                    )
                })?),
            };
            Some(Identity { certificate: certificate.value.clone().into(), key })
        }
        _ => None,
    };
    Ok(Trust { authorities: tls.ca.as_ref().map(|ca| ca.value.clone().into()), identity })
}

/// How long the safe states of a lab take at most, line by line; reads no secret and no wire.
///
/// Errors: everything that keeps an instrument from being driven, together.
pub fn stop_latencies(
    lab: &Lab,
    definitions: &BTreeMap<String, Arc<Instrument>>,
) -> Result<Vec<LineStop>, LabError> {
    let mut wrong = Vec::new();
    let mut setups = Vec::new();
    for instrument in &lab.instruments {
        let Some(definition) = definitions.get(&instrument.definition.value) else { continue };
        match instrument_setup(instrument, definition) {
            Ok(setup) => setups.push(setup),
            Err(reason) => wrong.push(format!("{}: {reason}", instrument.name.value)),
        }
    }
    if !wrong.is_empty() {
        return Err(LabError(wrong));
    }
    driver::stop_latencies(&setups).map_err(LabError)
}

/// An instrument whose safe state may take longer than its lab demands.
#[derive(Debug, Clone, PartialEq)]
pub struct TooLate {
    /// Instrument.
    pub instrument: String,
    /// `stop_within` of the instrument, or of the lab.
    pub demanded: Spanned<Duration>,
    /// It is safe after this long at the latest.
    pub safe: Duration,
    /// Its line.
    pub line: LineStop,
}

/// Instruments whose safe states may take longer than `stop_within`. What the lab demands of all
/// is reported once, for the slowest.
pub fn too_late(lab: &Lab, lines: &[LineStop]) -> Vec<TooLate> {
    let mut found: Vec<TooLate> = Vec::new();
    let mut slowest: Option<TooLate> = None;
    for line in lines {
        for stop in line.instruments.iter().filter(|stop| !stop.own.is_zero()) {
            let own = lab.instrument(&stop.name).and_then(|i| i.stop_within.as_ref());
            let Some(demanded) = own.or(lab.stop_within.as_ref()) else { continue };
            if stop.safe <= demanded.value {
                continue;
            }
            let late = TooLate {
                instrument: stop.name.clone(),
                demanded: *demanded,
                safe: stop.safe,
                line: line.clone(),
            };
            if own.is_some() {
                found.push(late);
            } else if slowest.as_ref().is_none_or(|slowest| slowest.safe < late.safe) {
                slowest = Some(late);
            }
        }
    }
    found.extend(slowest);
    found
}

/// A password, from where it is kept. The error says where it is missing.
pub fn read_secret(secret: &lab::Secret) -> Result<String, String> {
    match secret {
        lab::Secret::Environment(name) => std::env::var(name)
            .map_err(|_| format!("its password is expected in the environment variable {name}")),
        lab::Secret::File(path) => std::fs::read_to_string(path)
            .map(|text| text.trim_end().to_owned())
            .map_err(|e| format!("its password file {path} cannot be read: {e}")),
    }
}

impl Instruments for LabInstruments {
    fn send(
        &self,
        attempt: &str,
        instrument: &str,
        action: &str,
        args: BTreeMap<String, Value>,
        deadline: Duration,
    ) -> Result<(), Refused> {
        let command = Command {
            attempt: attempt.to_owned(),
            instrument: instrument.to_owned(),
            action: action.to_owned(),
            args,
            deadline,
        };
        Ok(self.fleet.send_as(command, self.epoch.load(Ordering::SeqCst))?)
    }

    fn read(&self, attempt: &str, instrument: &str, property: &str) -> Result<(), Refused> {
        Ok(self.fleet.read(attempt, instrument, property)?)
    }

    fn cancel(&self, instrument: &str, attempt: &str) -> Result<(), Refused> {
        Ok(self.fleet.cancel(instrument, attempt)?)
    }

    fn safe_state(&self, instrument: &str) -> Result<(), Refused> {
        Ok(self.fleet.safe_state(instrument)?)
    }

    fn max_age(&self, instrument: &str, property: &str) -> Duration {
        self.max_age
            .get(instrument)
            .and_then(|p| p.get(property))
            .copied()
            .unwrap_or(MAX_AGE_UNPOLLED)
    }

    fn properties(&self) -> Vec<(String, String)> {
        let all = self.gauges.iter();
        all.flat_map(|(name, of)| of.keys().map(|property| (name.clone(), property.clone())))
            .collect()
    }

    fn gauges(&self, instrument: &str, property: &str) -> Option<&[Gauge]> {
        self.gauges.get(instrument)?.get(property).map(Vec::as_slice)
    }

    fn dropped_readings(&self) -> u64 {
        self.fleet.dropped_samples()
    }

    fn emergency(&self) -> EmergencyStop {
        self.fleet.emergency()
    }

    fn health(&self) -> Health {
        self.fleet.health()
    }

    fn accept(&self, instrument: &str) -> Result<Option<String>, Refused> {
        Ok(self.fleet.accept(instrument)?)
    }

    fn wanted(&self, instrument: &str, what: &str, set: &[String]) -> Result<Wanted, Refused> {
        let Some((of, setup)) = self.lab.get(instrument) else {
            let known = self.names.iter().map(String::as_str);
            return Err(Refused(unknown("the lab has no instrument", instrument, known)));
        };
        wanted(of, setup, what, set)
    }

    fn lapse(&self, why: &str) {
        self.fleet.lease().lapse(why);
    }

    fn obey(&self, epoch: u64) {
        self.epoch.store(epoch, Ordering::SeqCst);
        self.fleet.lease().take(epoch);
    }

    fn names(&self) -> Vec<String> {
        self.names.clone()
    }

    fn conditions(&self) -> Vec<InstrumentView> {
        self.names
            .iter()
            .map(|name| {
                let why = self.fleet.why_not_ready(name);
                let (instrument, ready) = (name.clone(), why.is_none());
                InstrumentView { instrument, ready, why: why.unwrap_or_default() }
            })
            .collect()
    }
}
