//! A definition and the configuration of one unit, compiled and checked: what a session runs.

mod codec;
mod compile;

use std::collections::BTreeMap;
use std::time::Duration;

use self::compile::Compiler;
pub(super) use self::compile::settings;
use super::bulk::BlockPlan;
use super::json::Payload;
use super::pattern::Pattern;
use super::registers::Registers;
use super::scope::Scope;
use super::sparkplug::Place;
use super::template::Template;
use super::text::TextCodec;
use super::types::InstrumentSetup;
use crate::expr::{Expr, Value};
use crate::spec::instrument::{EffectClass, StatusClass, TimeForm, Wire};
use crate::spec::{Shape, ValueSpec};
use crate::units::{Quantity, Unit};
use crate::wire::modbus::Framing;
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
    Text {
        codec: Box<TextCodec>,
        serial: SerialSettings,
    },
    Modbus {
        unit: u8,
        framing: Framing,
        serial: SerialSettings,
        /// Which of several equal parts of the unit it is.
        plus: i64,
    },
    Mqtt(MqttPlan),
    Null,
}

#[derive(Debug, Clone)]
pub(super) struct MqttPlan {
    pub version: wire::mqtt::Version,
    pub confirmed: bool,
    pub keep_alive: Duration,
    pub expiry: Option<u32>,
    pub user: Option<String>,
    pub liveness: Option<LivenessPlan>,
    /// Group, node and device, where it speaks Sparkplug B.
    pub sparkplug: Option<Place>,
}

#[derive(Debug, Clone)]
pub(super) struct LivenessPlan {
    /// Whole topic.
    pub topic: String,
    pub online: String,
    pub offline: String,
    /// Lab time without a live message after which it counts as gone.
    pub max_age: Option<Duration>,
}

#[derive(Debug, Clone)]
pub(super) struct HeartbeatPlan {
    pub arm: Vec<Op>,
    /// Empty: any message will do.
    pub feed: Vec<Op>,
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
        /// The answer is a block of numbers.
        block: Option<Box<BlockPlan>>,
        /// Wall time; `None`: that of the connection.
        timeout: Option<Duration>,
        unless: Option<Box<UnlessPlan>>,
        verify: Option<Box<UnlessPlan>>,
    },
    Write {
        register: Registers,
        value: Expr,
        unit: Option<Unit>,
        /// Words that are written as numbers.
        words: BTreeMap<String, f64>,
        unless_equal: bool,
        verify: bool,
    },
    Read {
        register: Registers,
        /// Unit of what the action returns.
        unit: Option<Unit>,
    },
    Publish {
        /// Whole topic.
        topic: Template,
        body: Body,
        /// QoS 1, where it is not that of the connection.
        confirmed: Option<bool>,
        /// Seconds, where it is not that of the connection.
        expiry: Option<u32>,
        reply: Option<ReplyPlan>,
    },
    SetMetric {
        metric: Template,
        value: Expr,
        unit: Option<Unit>,
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

/// What a message of MQTT holds.
#[derive(Debug, Clone)]
pub(super) enum Body {
    Json(Payload),
    Text(Template),
}

impl Body {
    /// Fills it in.
    pub fn render(&self, scope: &Scope) -> Result<Vec<u8>, String> {
        Ok(match self {
            Body::Json(payload) => payload.render(scope)?.to_string().into_bytes(),
            Body::Text(template) => {
                template.render(&|name| scope.look_up(name)).map(|(text, _)| text.into_bytes())?
            }
        })
    }
}

#[derive(Debug, Clone)]
pub(super) struct ReplyPlan {
    /// Whole topic.
    pub topic: Template,
    pub correlate: CorrelatePlan,
    /// Messages without one of these fields are no answer.
    pub has: Vec<String>,
    /// Fields with the words that say that more is to come.
    pub progress: Vec<(String, Vec<String>)>,
    pub json: Option<String>,
    /// The payload is bytes of numbers; with `json` as base64 at that path.
    pub binary: Option<Box<BlockPlan>>,
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

/// Where a message says when it was measured.
#[derive(Debug, Clone)]
pub(super) struct TimePlan {
    pub path: String,
    pub form: TimeForm,
}

#[derive(Debug, Clone)]
pub(super) enum AskPlan {
    Text {
        template: Template,
        parse: Option<Pattern>,
        block: Option<Box<BlockPlan>>,
    },
    Register(Registers),
    Topic {
        /// Whole topics.
        topics: Vec<Template>,
        json: Option<String>,
        /// The payload is bytes of numbers; with `json` as base64 at that path.
        binary: Option<Box<BlockPlan>>,
        /// Makes the instrument say it.
        query: Option<Box<Op>>,
        /// Where a message says when it was measured.
        time: Option<TimePlan>,
    },
    /// A metric of Sparkplug B.
    Metric(Template),
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

/// What the hold state of a definition is called where actions are; no action can have that name.
pub const HOLD_STATE: &str = "hold state";

impl Plan {
    /// Compiles a setup. The error lists everything that is wrong with it.
    pub fn new(setup: &InstrumentSetup) -> Result<Plan, Vec<String>> {
        let mut wrong = Vec::new();
        let base = match &setup.at.endpoint {
            wire::Endpoint::Mqtt { base, .. } => base.clone(),
            _ => String::new(),
        };
        let (max_age, scope) = (default_age(setup), Scope::default());
        let plan = Compiler { wrong: &mut wrong, max_age, base, scope, plus: 0 }.plan(setup);
        match plan {
            Some(plan) if wrong.is_empty() => Ok(plan),
            _ => Err(wrong),
        }
    }

    /// Topics of all messages to the instrument, fields in them as `+`.
    pub fn command_topics(&self) -> Vec<String> {
        let actions = self.actions.values();
        let ops = actions.flat_map(|action| action.operations.iter().chain(&action.on_cancel));
        ops.chain(&self.safe_state)
            .filter_map(|op| match op {
                Op::Publish { topic, .. } => Some(topic.filter(&self.config)),
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
