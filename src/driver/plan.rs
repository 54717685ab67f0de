//! A definition and the configuration of one unit, compiled and checked: what a session runs.

mod codec;
mod compile;

use std::collections::BTreeMap;
use std::time::Duration;

use self::compile::Compiler;
pub(super) use self::compile::settings;
use super::json::Payload;
use super::pattern::Pattern;
use super::registers::Registers;
use super::scope::Scope;
use super::template::Template;
use super::text::TextCodec;
use super::types::InstrumentSetup;
use crate::expr::{Expr, Value};
use crate::spec::instrument::{EffectClass, StatusClass, Wire};
use crate::spec::{Shape, ValueSpec};
use crate::units::{Quantity, Unit};
use crate::wire::{self, SerialSettings};

#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub name: String,
    pub config: BTreeMap<String, Value>,
    /// Wall time.
    pub reply_timeout: Duration,
    /// Wall time.
    pub gap: Duration,
    /// After a message that has no answer; wall time.
    pub silent_gap: Duration,
    /// Asked after each message that has no answer.
    pub silent_check: Option<UnlessPlan>,
    pub protocol: Protocol,
    pub identify: Vec<Op>,
    pub on_connect: Vec<Op>,
    pub properties: BTreeMap<String, PropertyPlan>,
    pub actions: BTreeMap<String, ActionPlan>,
    pub safe_state: Vec<Op>,
    pub confirm: Option<Expr>,
    pub heartbeat: Option<HeartbeatPlan>,
}

#[derive(Debug, Clone)]
pub(super) enum Protocol {
    Text { codec: Box<TextCodec>, serial: SerialSettings },
    Modbus { unit: u8, rtu: bool, serial: SerialSettings },
    Mqtt(MqttPlan),
    Null,
}

#[derive(Debug, Clone)]
pub(super) struct MqttPlan {
    pub version: wire::mqtt::Version,
    pub confirmed: bool,
    pub keep_alive: Duration,
    pub expiry: Option<u32>,
    pub base: String,
    pub user: Option<String>,
    /// Full topic, word for online, word for offline.
    pub liveness: Option<(String, String, String)>,
}

#[derive(Debug, Clone)]
pub(super) struct HeartbeatPlan {
    pub arm: Vec<Op>,
    pub disarm: Vec<Op>,
    /// Wall time.
    pub period: Duration,
}

/// One thing that is sent.
#[derive(Debug, Clone)]
pub(super) enum Op {
    Text {
        texts: Vec<Template>,
        answered: bool,
        expect: Vec<StatusClass>,
        parse: Option<Pattern>,
        /// Wall time; `None`: that of the connection.
        timeout: Option<Duration>,
        unless: Option<Box<UnlessPlan>>,
        verify: Option<Box<UnlessPlan>>,
    },
    Write {
        register: Registers,
        value: Expr,
        unit: Option<Unit>,
        unless_equal: bool,
        verify: bool,
    },
    Read {
        register: Registers,
    },
    Publish {
        topic: Template,
        payload: Payload,
        reply: Option<ReplyPlan>,
    },
    Pause(Duration),
}

#[derive(Debug, Clone)]
pub(super) struct UnlessPlan {
    pub ask: Template,
    pub parse: Pattern,
    pub unit: Option<Unit>,
    pub equals: Expr,
    pub within: Option<Quantity>,
    /// Wall time before it is asked.
    pub settle: Duration,
}

#[derive(Debug, Clone)]
pub(super) struct ReplyPlan {
    pub topic: String,
    pub correlate: CorrelatePlan,
    pub json: Option<String>,
    pub error: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum CorrelatePlan {
    /// MQTT 5 correlation data.
    Data,
    /// One of these paths holds the id.
    Field(Vec<String>),
    /// The next live message.
    Next,
}

#[derive(Debug, Clone)]
pub(super) struct PropertyPlan {
    pub shape: Shape,
    pub ask: Option<AskPlan>,
    pub computed: Option<Expr>,
    pub every: Option<Duration>,
    pub max_age: Option<Duration>,
    pub words: BTreeMap<String, String>,
    pub units: BTreeMap<String, Unit>,
    pub status: Vec<StatusClass>,
    pub min: Option<Quantity>,
    pub max: Option<Quantity>,
}

#[derive(Debug, Clone)]
pub(super) enum AskPlan {
    Text { template: Template, parse: Option<Pattern> },
    Register(Registers),
    Topic { topic: String, json: Option<String> },
}

#[derive(Debug, Clone)]
pub(super) struct ActionPlan {
    pub args: Vec<ValueSpec>,
    /// Computed before anything is sent, in this order.
    pub compute: Vec<(String, Expr)>,
    pub operations: Vec<Op>,
    pub done: Option<DonePlan>,
    pub returns: Option<Shape>,
    pub effect: EffectClass,
    pub on_cancel: Vec<Op>,
    pub require: Vec<(Expr, String)>,
}

#[derive(Debug, Clone)]
pub(super) enum DonePlan {
    Poll { send: Template, until: Vec<StatusClass>, every: Duration },
    Until { condition: Expr, held_for: Duration, every: Duration },
    After(Expr),
}

impl Plan {
    /// Compiles a setup. The error lists everything that is wrong with it.
    pub fn new(setup: &InstrumentSetup) -> Result<Plan, Vec<String>> {
        let mut wrong = Vec::new();
        let plan = Compiler { wrong: &mut wrong, max_age: default_age(setup) }.plan(setup);
        match plan {
            Some(plan) if wrong.is_empty() => Ok(plan),
            _ => Err(wrong),
        }
    }

    /// Topics below the base become full ones.
    pub fn topic(&self, below: &str) -> String {
        match &self.protocol {
            Protocol::Mqtt(mqtt) if !mqtt.base.is_empty() => format!("{}/{below}", mqtt.base),
            _ => below.to_owned(),
        }
    }

    /// Topics of all messages to the instrument, fields in them as `+`.
    pub fn command_topics(&self) -> Vec<String> {
        let actions = self.actions.values();
        let ops = actions.flat_map(|action| action.operations.iter().chain(&action.on_cancel));
        ops.chain(&self.safe_state)
            .filter_map(|op| match op {
                Op::Publish { topic, .. } => Some(self.topic(&topic.filter())),
                _ => None,
            })
            .collect()
    }

    /// Scope for messages that have no arguments.
    pub fn scope(&self) -> Scope {
        Scope::of_config(&self.config)
    }
}

/// How old a property may be when its definition says it for all of them.
fn default_age(setup: &InstrumentSetup) -> Option<Duration> {
    match &setup.definition.connection.wire {
        Wire::Mqtt(mqtt) => mqtt.max_age.as_ref().map(|age| age.value),
        Wire::Bytes(_) | Wire::Modbus(_) => None,
    }
}
