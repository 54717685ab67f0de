//! What is known of one edge node, or of one device behind it: a state machine over its messages.
//!
//! | state | NBIRTH | DBIRTH | data | wrong number | NDEATH of this birth |
//! |---|---|---|---|---|---|
//! | unborn | node born | ask for a birth | ask for a birth | | unborn |
//! | node born | node born | born | ask for a birth | unborn, ask | unborn |
//! | born | node born | born | values | unborn, ask | unborn |
//!
//! Where the instrument is the node itself, its NBIRTH makes it born.

use std::collections::BTreeMap;

use super::payload::{Metric, Payload};
use super::types::{DataType, Datum};
use super::{BD_SEQ, REBIRTH};
use crate::driver::types::{About, Flaw};
use crate::driver::values;
use crate::expr::Value;

/// Namespace of all topics.
const NAMESPACE: &str = "spBv1.0";
/// Most metrics one instrument may have.
const METRICS_MAX: usize = 10_000;
/// Qualities of the specification (6.4.19).
const BAD: u64 = 0;
const STALE: u64 = 500;

/// Where an instrument is: group, edge node and perhaps a device behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::driver) struct Place {
    pub group: String,
    pub node: String,
    pub device: Option<String>,
}

impl Place {
    /// Reads `GROUP/NODE` or `GROUP/NODE/DEVICE`, the base of an address.
    pub fn parse(base: &str) -> Result<Place, String> {
        let mut levels = base.split('/').map(str::to_owned);
        let (group, node, device, more) =
            (levels.next(), levels.next(), levels.next(), levels.next());
        match (group, node, more) {
            (Some(group), Some(node), None) if !group.is_empty() && !node.is_empty() => {
                Ok(Place { group, node, device })
            }
            _ => Err(format!(
                "the address of a Sparkplug instrument ends in GROUP/NODE or GROUP/NODE/DEVICE, \
                 not in `{base}`"
            )),
        }
    }

    /// The topic of a message of this kind, such as `DCMD`.
    pub fn topic(&self, kind: &str) -> String {
        let Place { group, node, .. } = self;
        match (&self.device, kind.starts_with('D')) {
            (Some(device), true) => format!("{NAMESPACE}/{group}/{kind}/{node}/{device}"),
            _ => format!("{NAMESPACE}/{group}/{kind}/{node}"),
        }
    }

    /// All messages of the node, also those of other devices: they share one sequence.
    pub fn filters(&self) -> Vec<String> {
        let Place { group, node, .. } = self;
        let node = format!("{NAMESPACE}/{group}/+/{node}");
        vec![format!("{node}/+"), node]
    }

    /// Kind and device of a topic of this node.
    fn read<'t>(&self, topic: &'t str) -> Option<(&'t str, Option<&'t str>)> {
        let mut levels = topic.split('/');
        let fits = levels.next() == Some(NAMESPACE) && levels.next() == Some(&self.group);
        let kind = levels.next()?;
        if !fits || levels.next() != Some(&self.node) {
            return None;
        }
        let device = levels.next();
        levels.next().is_none().then_some((kind, device))
    }
}

/// What a message meant.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::driver) enum Heard {
    /// Nothing for this instrument.
    Nothing,
    /// It is there, with these values; `again` where the node had connected before.
    Born { values: Vec<Said>, again: bool },
    /// New values.
    Values(Vec<Said>),
    /// It is gone.
    Died(String),
    /// Something was missed: nothing known is to be believed until the next birth.
    Lost(String),
}

/// A value, or why there is none.
pub(in crate::driver) type Reading = Result<Datum, String>;

/// A metric in a message.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::driver) struct Said {
    pub name: String,
    pub reading: Reading,
    /// Its sender says that it is old.
    pub stale: bool,
    /// When it was measured by the clock of the node, milliseconds since 1970.
    pub device_ms: Option<i64>,
}

impl Said {
    /// What is known of the value that it comes to.
    pub fn about(&self, value: &Value) -> About {
        let flaw = if self.stale { Some(Flaw::Stale) } else { values::about(value).flaw };
        About { flaw, device_ms: self.device_ms }
    }
}

/// What is known.
#[derive(Debug, Clone)]
pub(in crate::driver) struct Node {
    place: Place,
    /// Of the last birth of the node.
    bd_seq: Option<u64>,
    /// Number of the last message; `None` while nothing is known of the node.
    seq: Option<u8>,
    born: bool,
    /// Its node connected anew since its last birth.
    again: bool,
    types: BTreeMap<String, u32>,
    /// Types of the last birth, kept when nothing else is believed any more.
    known: BTreeMap<String, u32>,
    aliases: BTreeMap<u64, String>,
}

impl Node {
    /// A node nothing was heard of yet.
    pub fn new(place: Place) -> Node {
        let (types, known, aliases) = Default::default();
        Node { place, bd_seq: None, seq: None, born: false, again: false, types, known, aliases }
    }

    /// Whether its birth is known.
    pub fn is_born(&self) -> bool {
        self.born
    }

    /// The message that asks for its birth.
    pub fn rebirth(&self, now_ms: u64) -> (String, Vec<u8>) {
        let raw = DataType::Boolean.write(&Datum::Bool(true)).ok();
        let metric = Metric {
            name: Some(REBIRTH.to_owned()),
            timestamp: Some(now_ms),
            datatype: Some(DataType::Boolean.code()),
            value: raw,
            ..Metric::default()
        };
        let payload =
            Payload { timestamp: Some(now_ms), metrics: vec![metric], ..Payload::default() };
        (self.place.topic("NCMD"), payload.write())
    }

    /// The message that writes a metric.
    pub fn write(
        &self,
        name: &str,
        datum: &Datum,
        now_ms: u64,
    ) -> Result<(String, Vec<u8>), String> {
        if !self.born {
            return Err("its birth certificate is not known".to_owned());
        }
        let code = self.types.get(name).ok_or_else(|| {
            format!("its birth certificate has no metric `{name}`; check the name in the lab file")
        })?;
        let kind = DataType::of_code(*code)
            .ok_or_else(|| format!("`{name}` has the data type {code}, which is not understood"))?;
        self.command(name, kind, datum, now_ms)
    }

    /// The message that writes a metric whatever is known: of the type of the last birth, else of
    /// the value's own. Only for a safe state, which is better said blindly than not at all.
    pub fn write_blindly(
        &self,
        name: &str,
        datum: &Datum,
        now_ms: u64,
    ) -> Result<(String, Vec<u8>), String> {
        let known = self.types.get(name).or_else(|| self.known.get(name));
        let kind = match (known.and_then(|code| DataType::of_code(*code)), datum) {
            (Some(kind), _) => kind,
            (None, Datum::Bool(_)) => DataType::Boolean,
            (None, Datum::Text(_)) => DataType::String,
            (None, Datum::Number(_)) => DataType::Double,
        };
        self.command(name, kind, datum, now_ms)
    }

    fn command(
        &self,
        name: &str,
        kind: DataType,
        datum: &Datum,
        now_ms: u64,
    ) -> Result<(String, Vec<u8>), String> {
        let value = kind.write(datum).map_err(|why| format!("`{name}`: {why}"))?;
        // By name: aliases may change with any birth, and a birth may be on its way.
        let metric = Metric {
            name: Some(name.to_owned()),
            timestamp: Some(now_ms),
            datatype: Some(kind.code()),
            value: Some(value),
            ..Metric::default()
        };
        let payload =
            Payload { timestamp: Some(now_ms), metrics: vec![metric], ..Payload::default() };
        let kind = if self.place.device.is_some() { "DCMD" } else { "NCMD" };
        Ok((self.place.topic(kind), payload.write()))
    }

    /// Takes note of a live message; retained ones must not come here.
    pub fn hear(&mut self, topic: &str, payload: &[u8]) -> Heard {
        let Some((kind, device)) = self.place.read(topic) else { return Heard::Nothing };
        let ours = device == self.place.device.as_deref();
        let kind = match (kind, device) {
            ("NBIRTH" | "NDATA" | "NDEATH", None) | ("DBIRTH" | "DDATA" | "DDEATH", Some(_)) => {
                kind
            }
            // Commands, ours and those of others.
            _ => return Heard::Nothing,
        };
        let payload = match Payload::read(payload) {
            Ok(payload) => payload,
            Err(why) => return self.lose(format!("a message of the node cannot be read: {why}")),
        };
        match kind {
            "NBIRTH" => self.node_birth(&payload, ours),
            "NDEATH" => self.node_death(&payload),
            _ => match self.count(&payload) {
                Count::Next if !ours => Heard::Nothing,
                Count::Next => match kind {
                    "DBIRTH" => self.device_birth(&payload),
                    "DDEATH" => self.die("its node says that it is gone"),
                    _ => self.data(&payload),
                },
                Count::Again => Heard::Nothing,
                Count::Unknown if self.seq.is_none() => {
                    self.lose("its node speaks without a birth certificate".to_owned())
                }
                Count::Unknown => self.lose("a message of its node was lost".to_owned()),
            },
        }
    }

    /// Whether a message is the next one of the node.
    fn count(&mut self, payload: &Payload) -> Count {
        let seq = payload.seq.and_then(|seq| u8::try_from(seq).ok());
        match (self.seq, seq) {
            (Some(last), Some(seq)) if seq == last.wrapping_add(1) => {
                self.seq = Some(seq);
                Count::Next
            }
            // A message that was delivered twice.
            (Some(last), Some(seq)) if seq == last => Count::Again,
            _ => Count::Unknown,
        }
    }

    fn node_birth(&mut self, payload: &Payload, ours: bool) -> Heard {
        let Some(seq) = payload.seq.and_then(|seq| u8::try_from(seq).ok()) else {
            return self.lose("a birth certificate has no number".to_owned());
        };
        let bd_seq = payload.metrics.iter().find(|m| m.name.as_deref() == Some(BD_SEQ));
        let bd_seq = bd_seq.and_then(bd_seq_of);
        self.again |= self.bd_seq.is_some() && self.bd_seq != bd_seq;
        let was_born = std::mem::replace(&mut self.born, false);
        (self.seq, self.bd_seq) = (Some(seq), bd_seq);
        self.types.clear();
        self.aliases.clear();
        if ours {
            return self.be_born(payload);
        }
        // The births of its devices follow; until then nothing is known of this one.
        if was_born && self.again {
            return Heard::Died("its node connected anew".to_owned());
        }
        Heard::Nothing
    }

    fn device_birth(&mut self, payload: &Payload) -> Heard {
        self.types.clear();
        self.aliases.clear();
        self.be_born(payload)
    }

    fn be_born(&mut self, payload: &Payload) -> Heard {
        for metric in &payload.metrics {
            let (Some(name), Some(kind)) = (&metric.name, metric.datatype) else { continue };
            if self.types.len() >= METRICS_MAX {
                return self.lose(format!("it has more than {METRICS_MAX} metrics"));
            }
            self.types.insert(name.clone(), kind);
            if let Some(alias) = metric.alias {
                self.aliases.insert(alias, name.clone());
            }
        }
        self.known.clone_from(&self.types);
        self.born = true;
        match self.values(payload) {
            Ok(values) => Heard::Born { values, again: std::mem::take(&mut self.again) },
            Err(why) => self.lose(why),
        }
    }

    fn data(&mut self, payload: &Payload) -> Heard {
        if !self.born {
            return self.lose("it speaks without a birth certificate".to_owned());
        }
        match self.values(payload) {
            Ok(values) => Heard::Values(values),
            Err(why) => self.lose(why),
        }
    }

    /// The values of a message by their names.
    fn values(&self, payload: &Payload) -> Result<Vec<Said>, String> {
        let mut values = Vec::new();
        for metric in payload.metrics.iter().filter(|metric| !metric.historical) {
            let name = match (&metric.name, metric.alias) {
                (Some(name), _) => name,
                (None, Some(alias)) => self
                    .aliases
                    .get(&alias)
                    .ok_or_else(|| format!("the alias {alias} stands in no birth certificate"))?,
                (None, None) => return Err("a metric has neither name nor alias".to_owned()),
            };
            let Some(code) = metric.datatype.or_else(|| self.types.get(name).copied()) else {
                return Err(format!("the metric `{name}` stands in no birth certificate"));
            };
            let device_ms = metric.timestamp.or(payload.timestamp);
            values.push(Said {
                name: name.clone(),
                reading: reading(metric, code),
                stale: metric.quality == Some(STALE),
                device_ms: device_ms.and_then(|ms| i64::try_from(ms).ok()),
            });
        }
        Ok(values)
    }

    fn node_death(&mut self, payload: &Payload) -> Heard {
        let dead = payload.metrics.iter().find(|m| m.name.as_deref() == Some(BD_SEQ));
        let dead = dead.and_then(bd_seq_of);
        // The will of an earlier session may arrive after the birth of this one.
        if let (Some(dead), Some(born)) = (dead, self.bd_seq)
            && dead != born
        {
            return Heard::Nothing;
        }
        self.seq = None;
        self.die("the death certificate of its node")
    }

    fn die(&mut self, why: &str) -> Heard {
        self.born = false;
        Heard::Died(why.to_owned())
    }

    /// What is known may be wrong: a node reports what changes and nothing else, so that a message
    /// lost at the end shows only when the next one comes.
    pub fn doubt(&mut self, why: &str) -> Heard {
        self.lose(why.to_owned())
    }

    fn lose(&mut self, why: String) -> Heard {
        (self.born, self.seq) = (false, None);
        Heard::Lost(why)
    }
}

/// How the number of a message follows the one before.
enum Count {
    Next,
    Again,
    Unknown,
}

fn bd_seq_of(metric: &Metric) -> Option<u64> {
    let kind = DataType::of_code(metric.datatype?)?;
    match kind.read(metric.value.as_ref()?).ok()? {
        Datum::Number(number) if number >= 0.0 => Some(number as u64),
        _ => None,
    }
}

fn reading(metric: &Metric, code: u32) -> Reading {
    match metric.quality {
        Some(BAD) => return Err("its quality is bad".to_owned()),
        Some(STALE) => return Err("it is stale".to_owned()),
        _ => {}
    }
    let kind = DataType::of_code(code).ok_or_else(|| format!("data type {code}"))?;
    match &metric.value {
        Some(raw) if !metric.null => kind.read(raw),
        _ => Err("it has no value".to_owned()),
    }
}

#[cfg(test)]
#[path = "node_tests.rs"]
mod tests;
