//! The lab: which instruments stand where, and what must never happen.

pub(super) mod access;
mod address;
pub(super) mod lower;
pub(super) mod tables;

pub use tables::PLANTS;

use std::path::Path;
use std::time::Duration;

use crate::units::Quantity;

use super::source::{SourceId, Span, Spanned};
use super::value::{Condition, Named, Written};

/// A lab as written.
#[derive(Debug, Clone, PartialEq)]
pub struct Lab {
    /// The text it was read from.
    pub source: SourceId,
    /// Name.
    pub name: Spanned<String>,
    /// For people.
    pub doc: Option<String>,
    /// The instruments.
    pub instruments: Vec<LabInstrument>,
    /// Where samples can stand.
    pub places: Vec<PlaceDecl>,
    /// What can be used up.
    pub stock: Vec<Stock>,
    /// What the runtime does by itself, whatever a protocol says.
    pub interlocks: Vec<Interlock>,
    /// The emergency stop it supervises.
    pub estop: Option<Estop>,
    /// Whom to tell, by severity of the alarm.
    pub notify: Vec<Notify>,
    /// After this long at the latest every instrument must be safe.
    pub stop_within: Option<Spanned<Duration>>,
    /// The virtual plant behind `--simulate`.
    pub simulation: Option<Simulation>,
}

/// One instrument of the lab.
#[derive(Debug, Clone, PartialEq)]
pub struct LabInstrument {
    /// Name.
    pub name: Spanned<String>,
    /// Name of its definition.
    pub definition: Spanned<String>,
    /// Address on the wire, e.g. `modbus+tcp://192.168.4.11:502?unit=1`; the scheme is one of
    /// [`SCHEMES`].
    pub address: Spanned<String>,
    /// Roles it can play.
    pub plays: Vec<Spanned<String>>,
    /// Values for the definition's `config:`.
    pub config: Vec<Named<Written>>,
    /// Its own word or number for each port of a valve, or each place a robot reaches: `{wash: 3}`.
    pub ports: Vec<Named<Written>>,
    /// Stock it takes liquid from.
    pub draws: Option<Spanned<String>>,
    /// Stock it gives liquid to, such as waste.
    pub delivers: Option<Spanned<String>>,
    /// How much liquid fits into it, such as into the syringe.
    pub holds: Option<Spanned<Quantity>>,
    /// Limits narrower than the definition's, per action and argument.
    pub limits: Vec<Limit>,
    /// After this long at the latest it must be safe.
    pub stop_within: Option<Spanned<Duration>>,
    /// `env:NAME` or `file:PATH`; never the secret itself.
    pub secret: Option<Spanned<Secret>>,
    /// How its broker and labloop prove to each other who they are.
    pub tls: Option<Tls>,
    /// For people.
    pub doc: Option<String>,
    /// The whole entry.
    pub span: Span,
}

/// Schemes an address may have.
pub const SCHEMES: &[&str] = &[
    "serial:",
    "tcp://",
    "modbus+tcp://",
    "modbus+serial:",
    "modbus+rtu+tcp://",
    "mqtt://",
    "mqtts://",
    "null:",
];

/// Where a secret is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Secret {
    /// In an environment variable.
    Environment(String),
    /// In a file.
    File(String),
}

/// How a broker behind TLS and labloop prove to each other who they are.
#[derive(Debug, Clone, PartialEq)]
pub struct Tls {
    /// PEM file of the only authorities whose signature on the broker's certificate counts; those
    /// that browsers trust when left out.
    pub ca: Option<Spanned<String>>,
    /// PEM file of the certificate that labloop shows.
    pub certificate: Option<Spanned<String>>,
    /// Where the key of that certificate is kept; never the key itself.
    pub key: Option<Spanned<Secret>>,
    /// The whole entry.
    pub span: Span,
}

/// A limit narrower than the definition's.
#[derive(Debug, Clone, PartialEq)]
pub struct Limit {
    /// Action.
    pub action: Spanned<String>,
    /// Argument.
    pub argument: Spanned<String>,
    /// Smallest allowed.
    pub min: Option<Spanned<Quantity>>,
    /// Largest allowed.
    pub max: Option<Spanned<Quantity>>,
}

/// Where samples can stand.
#[derive(Debug, Clone, PartialEq)]
pub struct PlaceDecl {
    /// Name.
    pub name: Spanned<String>,
    /// How many fit.
    pub capacity: Spanned<u32>,
    /// What fits.
    pub holds: Option<Spanned<String>>,
    /// Parameters that all in one batch must share; empty = no batches.
    pub batch_same: Vec<Spanned<String>>,
    /// How long to wait for more before a batch starts.
    pub batch_wait: Option<Spanned<Duration>>,
}

/// What can be used up.
#[derive(Debug, Clone, PartialEq)]
pub struct Stock {
    /// Name.
    pub name: Spanned<String>,
    /// Substance.
    pub substance: Option<Spanned<String>>,
    /// Solvent.
    pub solvent: Option<Spanned<String>>,
    /// Concentration.
    pub concentration: Option<Spanned<Quantity>>,
    /// How much there is: a volume, a mass, an amount or a count.
    pub amount: Spanned<Quantity>,
    /// A person is told below this.
    pub warn_below: Option<Spanned<Quantity>>,
    /// What the tubing cannot reach.
    pub dead_volume: Option<Spanned<Quantity>>,
    /// What the vessel holds at most.
    pub capacity: Option<Spanned<Quantity>>,
}

/// A condition that makes the runtime act, or refuse, by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Interlock {
    /// Name.
    pub id: Spanned<String>,
    /// What it does.
    pub kind: InterlockKind,
    /// For people.
    pub doc: Option<String>,
    /// The whole entry.
    pub span: Span,
}

/// Two kinds of interlock.
#[derive(Debug, Clone, PartialEq)]
pub enum InterlockKind {
    /// `trip_if`: acts when the condition holds.
    Trip {
        /// The condition; unknown counts as true.
        condition: Condition,
        /// For this long before it acts.
        held_for: Option<Spanned<Duration>>,
        /// What it does, in this order.
        actions: Vec<InterlockAction>,
        /// Stays until a person resets it.
        latch: bool,
    },
    /// `forbid`: refuses an action while the condition holds.
    Forbid {
        /// Instrument.
        instrument: Spanned<String>,
        /// Action; `*` = all.
        action: Spanned<String>,
        /// While this holds; unknown counts as true.
        when: Condition,
    },
}

/// What a tripped interlock does.
#[derive(Debug, Clone, PartialEq)]
pub enum InterlockAction {
    /// Safe state of one instrument.
    SafeState(Spanned<String>),
    /// Safe state of all instruments.
    SafeStateAll(Span),
    /// Hold the runs that use the instruments of the condition.
    HoldUsers(Span),
    /// Hold all runs.
    HoldAll(Span),
    /// Abort the runs that use the instruments of the condition.
    AbortUsers(Span),
    /// Only raise an alarm.
    Alarm(Span),
}

/// The emergency stop the runtime supervises; the hard-wired chain stays the real one.
#[derive(Debug, Clone, PartialEq)]
pub struct Estop {
    /// Instrument that reads it.
    pub instrument: Spanned<String>,
    /// Its property, true while all is well.
    pub property: Spanned<String>,
    /// Whether a person must reset it (`operator`), or it resets itself (`auto`).
    pub reset_by_operator: bool,
    /// The whole entry.
    pub span: Span,
}

/// Whom to tell.
#[derive(Debug, Clone, PartialEq)]
pub struct Notify {
    /// `critical`, `high`, `medium` or `low`.
    pub severity: Spanned<String>,
    /// `webhook:env:NAME`, `webhook:https://...` or `command:...`.
    pub targets: Vec<Spanned<String>>,
}

/// The virtual plant behind `--simulate`.
#[derive(Debug, Clone, PartialEq)]
pub struct Simulation {
    /// Name of the plant, `snar-flow` or `light-box`.
    pub plant: Spanned<String>,
    /// Seed of its noise.
    pub seed: Option<Spanned<u64>>,
    /// Name of a place in the plant -> instrument of the lab.
    pub wiring: Vec<Named<Spanned<String>>>,
    /// Settings, as SI numbers.
    pub settings: Vec<Named<Spanned<Quantity>>>,
    /// The whole section.
    pub span: Span,
}

impl Lab {
    /// The same lab with the files it names looked for from its own folder, not from wherever
    /// labloop was started.
    pub fn with_files_from(&self, folder: &Path) -> Lab {
        let mut lab = self.clone();
        for instrument in &mut lab.instruments {
            let tls = instrument.tls.as_mut();
            let (ca, certificate, key) = match tls {
                Some(tls) => (tls.ca.as_mut(), tls.certificate.as_mut(), tls.key.as_mut()),
                None => (None, None, None),
            };
            for file in ca.into_iter().chain(certificate) {
                file.value = beside(folder, &file.value);
            }
            for secret in instrument.secret.iter_mut().chain(key) {
                if let Secret::File(path) = &mut secret.value {
                    *path = beside(folder, path);
                }
            }
        }
        lab
    }

    /// A place by name.
    pub fn place(&self, name: &str) -> Option<&PlaceDecl> {
        self.places.iter().find(|p| p.name.value == name)
    }

    /// A stock by name.
    pub fn stock(&self, name: &str) -> Option<&Stock> {
        self.stock.iter().find(|s| s.name.value == name)
    }

    /// An instrument by name.
    pub fn instrument(&self, name: &str) -> Option<&LabInstrument> {
        self.instruments.iter().find(|i| i.name.value == name)
    }
}

fn beside(folder: &Path, file: &str) -> String {
    folder.join(file).to_string_lossy().into_owned()
}
