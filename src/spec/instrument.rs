//! The instrument definition: what a model of device understands. No code, only data.
//!
//! Message templates (`RAT {rate:mL/min:4s} MM`) and reply patterns (`I{value:f}W{_:f}ML`) stay
//! text here; `driver` reads them.

mod bulk;
mod check;
mod connection;
mod frame;
mod lint;
pub(super) mod lower;
mod operation;
mod register;
mod registers;
mod simulate;
mod status;
pub(super) mod tables;
mod topic;
mod wire;

pub use bulk::{Binary, BinaryAxis};
pub use simulate::{Signal, SignalModel, Simulate, SimulatedAction};
pub use topic::{Correlate, Payload, TopicReply};
pub use wire::{
    Bits, Block, Bytes, Checksum, ChecksumFrom, ChecksumKind, Connection, CrcDecl, Liveness,
    Modbus, Mqtt, Parity, Register, RegisterType, ReplyEnd, ReplyFrame, Sentinel, Serial, Silent,
    Table, Unsolicited, UnsolicitedAction, Wire, WordOrder,
};

use std::time::Duration;

use crate::units::{Quantity, Unit};

use super::source::{SourceId, Span, Spanned};

use super::value::{Condition, Expression, Named, Shape, ValueSpec, Written};

/// A definition as written.
#[derive(Debug, Clone, PartialEq)]
pub struct Instrument {
    /// The text it was read from.
    pub source: SourceId,
    /// Name, e.g. `newera-ne1000`.
    pub name: Spanned<String>,
    /// The type of role it can play, e.g. `syringe_pump`.
    pub kind: Spanned<String>,
    /// Maker.
    pub vendor: Option<String>,
    /// Model as the maker calls it.
    pub model: Option<String>,
    /// For people.
    pub doc: Option<String>,
    /// What the lab must say about one unit.
    pub config: Vec<ValueSpec>,
    /// How to talk to it.
    pub connection: Connection,
    /// Read from every reply before its value.
    pub status: Option<Status>,
    /// What the device calls its errors.
    pub errors: Vec<ErrorCode>,
    /// Asked after each connect to make sure that this is the device: `send` with `parse`, or
    /// `read`; a reply that does not match ends the connection.
    pub identify: Vec<Operation>,
    /// Sent after each connect; harmless only.
    pub on_connect: Vec<Operation>,
    /// What can be read.
    pub properties: Vec<Property>,
    /// What it can do.
    pub actions: Vec<Action>,
    /// Leaves it harmless; `None` = not given.
    pub safe_state: Option<SafeState>,
    /// What holding a run leads to; empty: it stays as it is; `None` = not given.
    pub hold_state: Option<SafeState>,
    /// The device stops by itself if nobody talks to it.
    pub heartbeat: Option<Heartbeat>,
    /// Conditions a person must know of.
    pub alarms: Vec<Alarm>,
    /// How a simulator behaves.
    pub simulate: Simulate,
    /// Golden bytes from the manual.
    pub examples: Vec<Example>,
    /// The whole document.
    pub span: Span,
}

/// What an instrument can do to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hazard {
    /// Heats or cools.
    Heats,
    /// Builds up pressure.
    Pressurises,
    /// Moves liquid or gas.
    Pumps,
    /// Moves parts.
    Moves,
    /// Switches power.
    Powers,
}

impl Hazard {
    /// The word in `starts:`.
    pub fn as_str(self) -> &'static str {
        match self {
            Hazard::Heats => "heats",
            Hazard::Pressurises => "pressurises",
            Hazard::Pumps => "pumps",
            Hazard::Moves => "moves",
            Hazard::Powers => "powers",
        }
    }
}

/// Read from every reply before its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// Form: `letter`, `word` or `byte`.
    pub field: Spanned<StatusField>,
    /// Text of the status -> class.
    pub map: Vec<Named<Spanned<StatusClass>>>,
    /// Bits of a status byte that say whether the device is busy.
    pub busy: Option<StatusBits>,
    /// Bits of a status byte that hold the number of an error; zero is none.
    pub error_mask: Option<u8>,
    /// What a status means that is an error: by its text, or the number in the status byte.
    pub codes: Vec<ErrorCode>,
    /// What stands after an alarm status, and what is to be done.
    pub alarms: Vec<ErrorCode>,
}

/// How a status stands at the beginning of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusField {
    /// One character, looked up in `map`.
    Letter,
    /// Everything up to a space, looked up in `map`.
    Word,
    /// One byte whose bits mean something.
    Byte,
}

/// Bits of a status byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusBits {
    /// Bits that are looked at.
    pub mask: u8,
    /// What they are when it is so.
    pub is: u8,
}

/// What a status means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusClass {
    /// At work.
    Busy,
    /// Ready.
    Ready,
    /// The command was refused.
    Error,
    /// Something is wrong with the device.
    Alarm,
}

/// What the device calls an error, and what is to be done.
#[derive(Debug, Clone, PartialEq)]
pub struct ErrorCode {
    /// As it stands in the reply.
    pub code: Spanned<String>,
    /// For people.
    pub text: String,
    /// What is to be done.
    pub class: ErrorClass,
}

/// What is to be done about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// Send it again.
    Retry,
    /// Wait.
    Busy,
    /// The command is wrong.
    Refused,
    /// The device restarted and lost its memory.
    Rebooted,
    /// The device must be initialised.
    Reinit,
    /// A person must look.
    Operator,
    /// Nothing helps.
    Fatal,
}

/// How a value is asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    /// Send a message, read the reply.
    Send {
        /// Template.
        text: Spanned<String>,
        /// Pattern of the reply.
        parse: Option<Spanned<String>>,
        /// The reply is a block of these numbers.
        block: Option<Box<Binary>>,
    },
    /// Read registers.
    Register(Box<Register>),
    /// Topics the device publishes on, and perhaps a message that asks for it.
    Topic {
        /// Topics below the base, or whole ones with `{base}`; none where only `query` is given.
        topics: Vec<Spanned<String>>,
        /// Path in the JSON; `None`: the payload is the value (or, for records, each field says).
        json: Option<Spanned<String>>,
        /// The payload is these numbers; beside `json` as base64 at that path.
        binary: Option<Box<Binary>>,
        /// A `publish` that makes the device say it; its reply, if it has one, holds the value.
        query: Option<Box<Operation>>,
        /// Where the message says when it was measured.
        time: Option<DeviceTime>,
    },
    /// A metric of Sparkplug B.
    Metric {
        /// Name, a template over `config`.
        name: Spanned<String>,
    },
}

/// Where a message says when it was measured, by the device's own clock.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceTime {
    /// Path in the JSON of the message.
    pub json: Spanned<String>,
    /// How it is written.
    pub form: Spanned<TimeForm>,
}

/// How a device writes a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeForm {
    /// Seconds since 1970.
    Seconds,
    /// Milliseconds since 1970.
    Milliseconds,
    /// Text of RFC 3339, with its offset from UTC.
    Rfc3339,
}

/// What can be read.
#[derive(Debug, Clone, PartialEq)]
pub struct Property {
    /// Name.
    pub name: Spanned<String>,
    /// For people.
    pub doc: Option<String>,
    /// What it is.
    pub shape: Shape,
    /// How it is asked for; `None`: it is only known from `status` or from `value`.
    pub ask: Option<Ask>,
    /// Computed from other properties and the configuration instead of asked for.
    pub value: Option<Expression>,
    /// Polled this often; `None`: only when asked.
    pub every: Option<Spanned<Duration>>,
    /// Older than this counts as stale.
    pub max_age: Option<Spanned<Duration>>,
    /// Words of the device -> our words.
    pub map: Vec<Named<Spanned<String>>>,
    /// Words of the device for units, read by `{unit}` in `parse` -> our units.
    pub units: Vec<Named<Spanned<Unit>>>,
    /// For a boolean: true while the status of the reply is one of these.
    pub status: Vec<Spanned<StatusClass>>,
    /// Outside of this the sensor is broken, not the world.
    pub min: Option<Spanned<Quantity>>,
    /// See `min`.
    pub max: Option<Spanned<Quantity>>,
    /// The whole entry.
    pub span: Span,
}

/// What it can do.
#[derive(Debug, Clone, PartialEq)]
pub struct Action {
    /// Name.
    pub name: Spanned<String>,
    /// For people.
    pub doc: Option<String>,
    /// Arguments.
    pub args: Vec<ValueSpec>,
    /// Values computed from arguments and configuration before anything is sent; in messages and
    /// expressions they stand beside the arguments.
    pub compute: Vec<Named<Expression>>,
    /// What is sent, in order.
    pub operations: Vec<Operation>,
    /// How it is known that it has ended; `None`: the last reply says so.
    pub done: Option<Done>,
    /// What it answers; `None`: nothing.
    pub returns: Option<Shape>,
    /// What happens when it is sent twice; the default is the strictest.
    pub effect: Spanned<EffectClass>,
    /// Proof of whether it happened; with `verifiable` and only there.
    pub witness: Option<WitnessDecl>,
    /// How long it takes.
    pub takes: Takes,
    /// Sent when it is stopped half-way.
    pub on_cancel: Vec<Operation>,
    /// What it starts that goes on after its last reply: heat, flow, motion...
    pub starts: Vec<Spanned<Hazard>>,
    /// Whether this action ends what the device does (stop, off), so that a run that ends with it
    /// has left the device safe.
    pub stops: bool,
    /// Conditions over `args`, `config` and the instrument's own properties.
    pub require: Vec<Condition>,
    /// The whole entry.
    pub span: Span,
}

/// What happens when an action is sent twice (language rule 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EffectClass {
    /// No effect.
    Read,
    /// Again gives the same state.
    Repeatable,
    /// A witness proves whether it happened.
    Verifiable,
    /// Never sent again by the machine.
    Once,
}

/// Proof of whether a verifiable action happened.
#[derive(Debug, Clone, PartialEq)]
pub struct WitnessDecl {
    /// Property to read before and after.
    pub property: Spanned<String>,
    /// It rises by this argument.
    pub counts: Option<Spanned<String>>,
    /// It equals this argument.
    pub equals: Option<Spanned<String>>,
    /// A command may still take effect for this long after it was sent.
    pub settle: Spanned<Duration>,
    /// A restart of the instrument makes it worthless.
    pub void_if_rebooted: bool,
    /// The whole entry.
    pub span: Span,
}

/// How long an action takes, in lab time.
#[derive(Debug, Clone, PartialEq)]
pub struct Takes {
    /// Usually; `None` = not known.
    pub expected: Option<Expression>,
    /// At most.
    pub timeout: Expression,
}

/// One thing that is sent.
#[derive(Debug, Clone, PartialEq)]
pub enum Operation {
    /// A message over bytes.
    Send {
        /// Templates, usually one: the first is sent whose numbers survive their format.
        texts: Vec<Spanned<String>>,
        /// What is expected back.
        reply: ReplyKind,
        /// The status of the reply must be one of these; empty = any but error and alarm.
        expect: Vec<Spanned<StatusClass>>,
        /// Pattern of the reply; its `value` is the answer of the action.
        parse: Option<Spanned<String>>,
        /// The reply is a block of these numbers, which are the answer of the action.
        block: Option<Box<Binary>>,
        /// Longest wait for the reply to this message, where it is not that of the connection.
        timeout: Option<Spanned<Duration>>,
        /// Asked first: the message is left out when the device says that it is so already.
        unless: Option<Box<Unless>>,
        /// Asked afterwards: the message counts as taken when the device says so.
        verify: Option<Box<Unless>>,
        /// The whole entry.
        span: Span,
    },
    /// Write registers.
    Write {
        /// Where.
        register: Box<Register>,
        /// What, over `args` and `config`.
        value: Expression,
        /// Unit of the register's scaled value; must be given when `value` has a dimension.
        unit: Option<Spanned<Unit>>,
        /// Numbers of the device -> our words, for a value that is a word.
        map: Vec<Named<Spanned<String>>>,
        /// `unless_equal: true`: read first, and write only a difference (spares an EEPROM).
        unless_equal: bool,
        /// The whole entry.
        span: Span,
    },
    /// Read registers; the answer of the action.
    Read {
        /// Where.
        register: Box<Register>,
        /// The whole entry.
        span: Span,
    },
    /// Publish a message.
    Publish {
        /// Topic below the base, or a whole one with `{base}` in it; template.
        topic: Spanned<String>,
        /// What is published.
        payload: Payload,
        /// Quality of service, where it is not that of the connection.
        qos: Option<u8>,
        /// The broker drops it after this, where it is not that of the connection.
        expiry: Option<Spanned<Duration>>,
        /// The message that answers it.
        reply: Option<TopicReply>,
        /// The whole entry.
        span: Span,
    },
    /// Write a metric of Sparkplug B.
    SetMetric {
        /// Name, a template over `config`.
        metric: Spanned<String>,
        /// What, over `args` and `config`.
        value: Expression,
        /// Unit of the metric; must be given when `value` has a dimension.
        unit: Option<Spanned<Unit>>,
        /// The whole entry.
        span: Span,
    },
    /// Wait between two messages.
    Pause {
        /// How long, in lab time.
        time: Spanned<Duration>,
    },
}

/// A question whose answer makes a message unnecessary: `unless: {ask, parse, equals, within}`.
#[derive(Debug, Clone, PartialEq)]
pub struct Unless {
    /// What is asked, a template.
    pub ask: Spanned<String>,
    /// Pattern of the answer.
    pub parse: Spanned<String>,
    /// Unit of the number in the answer; none for texts.
    pub unit: Option<Spanned<Unit>>,
    /// What the value must equal, over `config` (and `args`).
    pub equals: Expression,
    /// Tolerance for numbers.
    pub within: Option<Spanned<Quantity>>,
    /// How long the device needs before it can be asked.
    pub settle: Option<Spanned<Duration>>,
    /// The whole entry.
    pub span: Span,
}

/// What is expected after a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyKind {
    /// A reply.
    Yes,
    /// None, ever.
    None,
}

/// How it is known that an action has ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Done {
    /// Ask again and again until the status (or value) is this.
    Poll {
        /// Message, template; empty is a message too.
        send: Spanned<String>,
        /// Status classes, one of which ends the action.
        until: Vec<Spanned<StatusClass>>,
        /// How often, in lab time.
        every: Spanned<Duration>,
    },
    /// A condition over properties and arguments, perhaps for a time.
    Until {
        /// The condition.
        condition: Condition,
        /// How long it must hold.
        held_for: Option<Spanned<Duration>>,
        /// How often it is read, in lab time.
        every: Spanned<Duration>,
    },
    /// After a time; there is no feedback.
    After(Expression),
}

/// Leaves the instrument harmless.
#[derive(Debug, Clone, PartialEq)]
pub struct SafeState {
    /// Sent in this order, each even if the one before failed.
    pub operations: Vec<Operation>,
    /// Read back to confirm it.
    pub confirm: Option<Condition>,
    /// The whole section.
    pub span: Span,
}

/// The device stops by itself if nobody talks to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Heartbeat {
    /// Message that arms it, template with `{period:...}`; or registers.
    pub arm: Vec<Operation>,
    /// What keeps it from stopping, sent three times in a period; empty: any message does.
    pub feed: Vec<Operation>,
    /// It stops after this long without a message.
    pub period: Spanned<Duration>,
    /// Message that ends it.
    pub disarm: Vec<Operation>,
    /// The whole section.
    pub span: Span,
}

/// A condition a person must know of.
#[derive(Debug, Clone, PartialEq)]
pub struct Alarm {
    /// Name.
    pub id: Spanned<String>,
    /// Condition over properties and `status`.
    pub condition: Condition,
    /// For this long.
    pub held_for: Option<Spanned<Duration>>,
    /// How bad.
    pub severity: AlarmSeverity,
    /// What happens to the run.
    pub action: AlarmAction,
    /// What to tell the person.
    pub doc: Option<String>,
    /// The whole entry.
    pub span: Span,
}

/// How bad an alarm is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlarmSeverity {
    /// Low.
    Low,
    /// Medium.
    Medium,
    /// High.
    High,
    /// Critical.
    Critical,
}

/// What an alarm does to the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlarmAction {
    /// Nothing.
    None,
    /// The step in progress fails.
    FailStep,
    /// Its run is held.
    Hold,
    /// Its run is aborted.
    Abort,
}

/// Golden bytes from a manual.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// What is done.
    pub of: ExampleOf,
    /// Configuration it holds for.
    pub config: Vec<Named<Written>>,
    /// Arguments.
    pub args: Vec<Named<Written>>,
    /// Messages and replies in turn: sent, received, sent, received... Text with escapes, or hex
    /// after `hex:`.
    pub bytes: Vec<Spanned<String>>,
    /// The value that comes out.
    pub value: Option<Written>,
    /// `fails: refused`: it must fail with this kind of failure.
    pub fails: Option<Spanned<String>>,
    /// Where the bytes come from.
    pub source: Option<String>,
    /// The whole entry.
    pub span: Span,
}

/// What an example shows.
#[derive(Debug, Clone, PartialEq)]
pub enum ExampleOf {
    /// An action.
    Action(Spanned<String>),
    /// Reading a property.
    Property(Spanned<String>),
    /// The safe state.
    SafeState,
}

impl Instrument {
    /// What its actions can start, each once.
    pub fn hazards(&self) -> Vec<Hazard> {
        let mut all: Vec<Hazard> =
            self.actions.iter().flat_map(|a| a.starts.iter().map(|h| h.value)).collect();
        all.sort();
        all.dedup();
        all
    }

    /// An action by name.
    pub fn action(&self, name: &str) -> Option<&Action> {
        self.actions.iter().find(|a| a.name.value == name)
    }

    /// A property by name.
    pub fn property(&self, name: &str) -> Option<&Property> {
        self.properties.iter().find(|p| p.name.value == name)
    }
}
