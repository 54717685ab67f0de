//! Definition and configuration to plan, with every mistake noted.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{codec, *};
use crate::driver::values;
use crate::expr;
use crate::spec::instrument::{
    self as doc, Ask, Correlate, Operation, Parity, ReplyKind, Serial, Wire,
};
use crate::spec::{Condition, Expression, Spanned};
use crate::units::Dimension;
use crate::wire::{self, Endpoint};

/// Reply timeouts above this would let one silent instrument keep a line from all others.
const LONGEST_REPLY_TIMEOUT: Duration = Duration::from_secs(60);
/// How often the read-back of a hold state is looked at (lab time).
const CONFIRM_EVERY: Duration = Duration::from_millis(200);

pub(super) struct Compiler<'a> {
    pub(super) wrong: &'a mut Vec<String>,
    /// Of properties that do not name their own.
    pub(super) max_age: Option<Duration>,
    /// First levels of all topics.
    pub(super) base: String,
    /// The configuration of the unit, complete.
    pub(super) scope: Scope,
    /// Added to every register number.
    pub(super) plus: i64,
}

/// The hold state of an instrument as an action without arguments: it takes its turn like any
/// other and is done once its read-back confirms it.
fn hold_plan(operations: Vec<Op>, confirm: Option<&Condition>) -> ActionPlan {
    let done = confirm.map(|condition| DonePlan::Until {
        condition: condition.expr.clone(),
        held_for: Duration::ZERO,
        every: CONFIRM_EVERY,
    });
    ActionPlan {
        args: Vec::new(),
        compute: Vec::new(),
        operations,
        done,
        returns: None,
        effect: EffectClass::Repeatable,
        on_cancel: Vec::new(),
        require: Vec::new(),
    }
}

impl Compiler<'_> {
    /// Notes an error and goes on.
    fn note<T>(&mut self, result: Result<T, String>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(why) => {
                self.wrong.push(why);
                None
            }
        }
    }

    pub(super) fn plan(&mut self, setup: &InstrumentSetup) -> Option<Plan> {
        let definition = &*setup.definition;
        let config = match values::complete(&definition.config, &setup.config, "configuration") {
            Ok(config) => config,
            Err(why) => {
                self.wrong.extend(why);
                return None;
            }
        };
        self.scope = Scope::of_config(&config);
        if let Wire::Modbus(modbus) = &definition.connection.wire {
            let plus = self.plus(modbus.plus.as_ref());
            self.plus = self.note(plus.map_err(|why| format!("connection.modbus.plus: {why}")))?;
        }
        let protocol = self.protocol(setup, &config);
        let single = matches!(&definition.connection.wire, Wire::Modbus(m) if m.write_single);
        let identify = self.ops(&definition.identify, single, "identify");
        let on_connect = self.ops(&definition.on_connect, single, "on_connect");
        let safe_state = definition
            .safe_state
            .as_ref()
            .map(|safe| self.ops(&safe.operations, single, "safe_state"));
        let confirm = definition.safe_state.as_ref().and_then(|safe| safe.confirm.as_ref());
        let heartbeat = definition.heartbeat.as_ref().map(|beat| HeartbeatPlan {
            arm: self.ops(&beat.arm, single, "heartbeat.arm"),
            feed: self.ops(&beat.feed, single, "heartbeat.feed"),
            disarm: self.ops(&beat.disarm, single, "heartbeat.disarm"),
            period: beat.period.value,
        });
        let fed = heartbeat.as_ref().is_some_and(|beat| !beat.feed.is_empty());
        if heartbeat.is_some() && !fed && identify.is_empty() {
            // Something harmless must be sent while nothing else is.
            self.wrong.push(
                "heartbeat: needs an `identify:` message, or `feed:`, to keep it alive".to_owned(),
            );
        }
        if matches!(definition.connection.wire, Wire::Mqtt(_)) {
            self.only_on_lines(definition);
        }
        let mut properties = BTreeMap::new();
        for property in &definition.properties {
            let place = format!("property `{}`", property.name.value);
            if let Some(plan) = self.property(property, single, &place) {
                properties.insert(property.name.value.clone(), plan);
            }
        }
        let mut actions = BTreeMap::new();
        for action in &definition.actions {
            let place = format!("action `{}`", action.name.value);
            if let Some(plan) = self.action(action, single, &place) {
                actions.insert(action.name.value.clone(), plan);
            }
        }
        if let Some(hold) = definition.hold_state.as_ref().filter(|h| !h.operations.is_empty()) {
            let operations = self.ops(&hold.operations, single, "hold_state");
            actions.insert(HOLD_STATE.to_owned(), hold_plan(operations, hold.confirm.as_ref()));
        }
        let reply_timeout = definition.connection.reply_timeout.value;
        if reply_timeout.is_zero() || reply_timeout > LONGEST_REPLY_TIMEOUT {
            self.wrong.push("reply_timeout must be above zero and at most 60 s".to_owned());
        }
        let silent = match &definition.connection.wire {
            Wire::Bytes(bytes) => bytes.silent.as_ref(),
            Wire::Modbus(_) | Wire::Mqtt(_) => None,
        };
        let silent_gap = silent.and_then(|silent| silent.gap.as_ref());
        let silent_gap = silent_gap.map_or(Duration::ZERO, |gap| gap.value);
        let silent_check = match silent.and_then(|silent| silent.check.as_ref()) {
            Some(check) => Some(self.question(check, "connection.silent.check")?),
            None => None,
        };
        Some(Plan {
            name: setup.name.clone(),
            config,
            reply_timeout,
            silent_gap,
            silent_check,
            gap: definition.connection.min_gap.as_ref().map_or(Duration::ZERO, |gap| gap.value),
            protocol: protocol?,
            identify,
            on_connect,
            properties,
            actions,
            safe_state: safe_state.unwrap_or_default(),
            confirm: confirm.map(|condition| condition.expr.clone()),
            heartbeat,
        })
    }

    /// What has no meaning behind a broker is refused rather than left undone.
    fn only_on_lines(&mut self, definition: &doc::Instrument) {
        let mut refuse = |given: bool, what: &str| {
            if given {
                self.wrong.push(format!("{what} is not understood over MQTT by this version"));
            }
        };
        refuse(definition.heartbeat.is_some(), "`heartbeat:` (MQTT has a last will for that)");
        refuse(!definition.identify.is_empty(), "`identify:`");
        let polls = |action: &doc::Action| matches!(action.done, Some(doc::Done::Poll { .. }));
        refuse(definition.actions.iter().any(polls), "`done: {poll: ...}`");
    }

    fn protocol(
        &mut self,
        setup: &InstrumentSetup,
        config: &BTreeMap<String, Value>,
    ) -> Option<Protocol> {
        let definition = &*setup.definition;
        match (&definition.connection.wire, &setup.at.endpoint) {
            (_, Endpoint::Null { .. }) => Some(Protocol::Null),
            (Wire::Bytes(bytes), Endpoint::Serial { .. } | Endpoint::Tcp { .. }) => {
                if matches!(setup.at.endpoint, Endpoint::Serial { .. }) && bytes.serial.is_none() {
                    self.wrong.push("its definition has no `serial:` settings".to_owned());
                }
                let codec = codec::codec(definition, bytes, config, self.wrong)?;
                Some(Protocol::Text {
                    codec: Box::new(codec),
                    serial: settings(bytes.serial.as_ref()),
                })
            }
            (Wire::Modbus(_), Endpoint::ModbusTcp { unit, .. }) => Some(Protocol::Modbus {
                unit: *unit,
                framing: Framing::Tcp,
                serial: SerialSettings::default(),
                plus: self.plus,
            }),
            (
                Wire::Modbus(modbus),
                Endpoint::ModbusRtu { unit, .. } | Endpoint::ModbusRtuTcp { unit, .. },
            ) => {
                if modbus.serial.is_none() {
                    self.wrong.push("its definition has no `serial:` settings for RTU".to_owned());
                }
                let serial = settings(modbus.serial.as_ref());
                let framing = if modbus.ascii { Framing::Ascii } else { Framing::Rtu };
                Some(Protocol::Modbus { unit: *unit, framing, serial, plus: self.plus })
            }
            (Wire::Mqtt(mqtt), Endpoint::Mqtt { base, user, .. }) => self
                .mqtt(mqtt, base, user.as_ref(), config, definition.connection.reply_timeout.value)
                .map(Protocol::Mqtt),
            (wire, _) => {
                let forms = match wire {
                    Wire::Bytes(_) => "`serial:/dev/...` or `tcp://host:port`",
                    Wire::Modbus(_) => {
                        "`modbus+tcp://host:502?unit=1`, `modbus+serial:/dev/...?unit=1` or \
                         `modbus+rtu+tcp://host:port?unit=1`"
                    }
                    Wire::Mqtt(_) => "`mqtt://host:1883/base`",
                };
                self.wrong.push(format!(
                    "`{}` does not fit its definition `{}`; write {forms}",
                    setup.at, definition.name.value
                ));
                None
            }
        }
    }

    fn mqtt(
        &mut self,
        mqtt: &doc::Mqtt,
        base: &str,
        user: Option<&String>,
        config: &BTreeMap<String, Value>,
        longest_wait: Duration,
    ) -> Option<MqttPlan> {
        let liveness = match &mqtt.liveness {
            Some(liveness) => Some(self.liveness(liveness, config)?),
            None => None,
        };
        let sparkplug = match mqtt.sparkplug {
            true => Some(self.note(Place::parse(base))?),
            false => None,
        };
        let keep_alive = mqtt.keep_alive.as_ref();
        // A command that nobody waits for any longer must not reach the instrument.
        let expiry = mqtt.expiry.as_ref().map_or(longest_wait, |expiry| expiry.value);
        Some(MqttPlan {
            version: if mqtt.v5 { wire::mqtt::Version::V5 } else { wire::mqtt::Version::V3 },
            // Commands of Sparkplug are QoS 0 by its specification.
            confirmed: mqtt.qos > 0 && !mqtt.sparkplug,
            keep_alive: keep_alive.map_or(Duration::from_secs(30), |keep_alive| keep_alive.value),
            expiry: Some(seconds(expiry)),
            user: user.cloned(),
            liveness,
            sparkplug,
        })
    }

    /// The template of a whole topic: one with `{base}` or `{command.client}` stands as it is, any
    /// other is below the base.
    fn topic(&mut self, source: &str, place: &str) -> Option<Template> {
        if self.base.contains(['{', '}']) {
            self.wrong.push("the base topic of its address has braces".to_owned());
            return None;
        }
        let whole = if source.contains("{base}") {
            source.replace("{base}", &self.base)
        } else if self.base.is_empty() || source.contains("{command.client}") {
            source.to_owned()
        } else {
            format!("{}/{source}", self.base)
        };
        self.template(&whole, place)
    }

    fn liveness(
        &mut self,
        liveness: &doc::Liveness,
        config: &BTreeMap<String, Value>,
    ) -> Option<LivenessPlan> {
        let topic = self.topic(&liveness.topic.value, "connection.liveness")?;
        let scope = Scope::of_config(config);
        let topic = topic.render(&|name| scope.look_up(name)).map(|(topic, _)| topic);
        Some(LivenessPlan {
            topic: self.note(topic.map_err(|why| format!("connection.liveness: {why}")))?,
            online: liveness.online.value.clone(),
            offline: liveness.offline.value.clone(),
            max_age: liveness.max_age.as_ref().map(|age| age.value),
        })
    }

    fn question(&mut self, question: &doc::Unless, place: &str) -> Option<UnlessPlan> {
        Some(UnlessPlan {
            ask: self.template(&question.ask.value, place)?,
            parse: self.pattern(&question.parse.value, place)?,
            unit: question.unit.as_ref().map(|unit| unit.value.clone()),
            equals: question.equals.expr.clone(),
            within: question.within.as_ref().map(|within| within.value),
            settle: question.settle.as_ref().map_or(Duration::ZERO, |settle| settle.value),
        })
    }

    fn ops(&mut self, operations: &[Operation], single: bool, place: &str) -> Vec<Op> {
        self.ops_for(operations, None, single, place)
    }

    /// Operations of which one may bring a value of a shape.
    fn ops_for(
        &mut self,
        operations: &[Operation],
        shape: Option<&Shape>,
        single: bool,
        place: &str,
    ) -> Vec<Op> {
        let all = operations.iter();
        all.filter_map(|operation| self.op(operation, shape, single, place)).collect()
    }

    /// How bytes become a value of a shape.
    fn binary(
        &mut self,
        binary: Option<&doc::Binary>,
        shape: Option<&Shape>,
        place: &str,
    ) -> Option<Box<BlockPlan>> {
        match (binary?, shape) {
            (binary, Some(shape)) => Some(Box::new(BlockPlan::new(binary, shape))),
            (_, None) => {
                self.wrong.push(format!("{place}: binary numbers, and nothing says what they are"));
                None
            }
        }
    }

    fn template(&mut self, source: &str, place: &str) -> Option<Template> {
        self.note(Template::parse(source).map_err(|why| format!("{place}: {why}")))
    }

    fn pattern(&mut self, source: &str, place: &str) -> Option<Pattern> {
        self.note(Pattern::parse(source).map_err(|why| format!("{place}: {why}")))
    }

    fn register(
        &mut self,
        register: &doc::Register,
        single: bool,
        place: &str,
    ) -> Option<Registers> {
        let plus = self.plus(register.plus.as_ref()).and_then(|own| {
            let plus = self.plus.saturating_add(own);
            Registers::new(register, single, plus)
        });
        self.note(plus.map_err(|why| format!("{place}: {why}")))
    }

    /// What is added to register numbers: a whole number.
    fn plus(&self, plus: Option<&Expression>) -> Result<i64, String> {
        let Some(plus) = plus else { return Ok(0) };
        match expr::eval(&plus.expr, &self.scope).map_err(|error| error.message)? {
            Value::Quantity(number)
                if number.dim == Dimension::default()
                    && number.value.fract() == 0.0
                    && number.value.abs() <= 65_536.0 =>
            {
                Ok(number.value as i64)
            }
            other => Err(format!("`plus` is {}, not a whole number of registers", other.show())),
        }
    }

    fn op(
        &mut self,
        operation: &Operation,
        shape: Option<&Shape>,
        single: bool,
        place: &str,
    ) -> Option<Op> {
        match operation {
            Operation::Send {
                texts, reply, expect, parse, block, timeout, unless, verify, ..
            } => {
                let mut templates = Vec::new();
                for text in texts {
                    templates.extend(self.template(&text.value, place));
                }
                let parse = match parse {
                    Some(pattern) => Some(self.pattern(&pattern.value, place)?),
                    None => None,
                };
                let unless = match unless {
                    None => None,
                    Some(unless) => Some(Box::new(self.question(unless, place)?)),
                };
                let verify = match verify {
                    None => None,
                    Some(verify) => Some(Box::new(self.question(verify, place)?)),
                };
                Some(Op::Text {
                    texts: templates,
                    answered: *reply == ReplyKind::Yes,
                    expect: expect.iter().map(|class| class.value).collect(),
                    parse,
                    block: self.binary(block.as_deref(), shape, place),
                    timeout: timeout.as_ref().map(|timeout| timeout.value),
                    unless,
                    verify,
                })
            }
            Operation::Write { register, value, unit, map, unless_equal, .. } => Some(Op::Write {
                register: self.register(register, single, place)?,
                value: value.expr.clone(),
                unit: unit.as_ref().map(|unit| unit.value.clone()),
                words: map
                    .iter()
                    .filter_map(|n| Some((n.value.value.clone(), n.name.value.parse().ok()?)))
                    .collect(),
                unless_equal: *unless_equal,
                verify: register.verify,
            }),
            Operation::Read { register, .. } => {
                Some(Op::Read { register: self.register(register, single, place)?, unit: None })
            }
            Operation::Publish { topic, payload, qos, expiry, reply, .. } => Some(Op::Publish {
                topic: self.topic(&topic.value, place)?,
                body: match payload {
                    doc::Payload::Json(json) => Body::Json(Payload::new(json)),
                    doc::Payload::Text(text) => Body::Text(self.template(&text.value, place)?),
                },
                confirmed: qos.map(|qos| qos > 0),
                expiry: expiry.as_ref().map(|expiry| seconds(expiry.value)),
                reply: match reply {
                    Some(reply) => Some(self.reply(reply, shape, place)?),
                    None => None,
                },
            }),
            Operation::SetMetric { metric, value, unit, .. } => Some(Op::SetMetric {
                metric: self.template(&metric.value, place)?,
                value: value.expr.clone(),
                unit: unit.as_ref().map(|unit| unit.value.clone()),
            }),
            Operation::Pause { time } => Some(Op::Pause(time.value)),
        }
    }

    /// A path in JSON, a template over the configuration.
    fn path(&mut self, path: Option<&Spanned<String>>, place: &str) -> Option<Option<String>> {
        let Some(path) = path else { return Some(None) };
        let template = self.template(&path.value, place)?;
        let scope = self.scope.clone();
        let path = template.render(&|name| scope.look_up(name)).map(|(path, _)| Some(path));
        self.note(path.map_err(|why| format!("{place}: json: {why}")))
    }

    fn reply(
        &mut self,
        reply: &doc::TopicReply,
        shape: Option<&Shape>,
        place: &str,
    ) -> Option<ReplyPlan> {
        let words =
            |all: &[Spanned<String>]| all.iter().map(|word| word.value.clone()).collect::<Vec<_>>();
        Some(ReplyPlan {
            topic: self.topic(&reply.topic.value, place)?,
            correlate: match &reply.correlate {
                Correlate::Property => CorrelatePlan::Data,
                Correlate::Field(paths) => CorrelatePlan::Field(words(paths)),
                Correlate::Next => CorrelatePlan::Next,
            },
            has: words(&reply.has),
            progress: reply
                .progress
                .iter()
                .map(|entry| (entry.name.value.clone(), words(&entry.value)))
                .collect(),
            json: self.path(reply.json.as_ref(), place)?,
            binary: self.binary(reply.binary.as_deref(), shape, place),
            error: reply.error.as_ref().map(|path| path.value.clone()),
        })
    }

    fn property(
        &mut self,
        property: &doc::Property,
        single: bool,
        place: &str,
    ) -> Option<PropertyPlan> {
        let ask = match &property.ask {
            None => None,
            Some(Ask::Send { text, parse, block }) => Some(AskPlan::Text {
                template: self.template(&text.value, place)?,
                parse: match parse {
                    Some(pattern) => Some(self.pattern(&pattern.value, place)?),
                    None => None,
                },
                block: self.binary(block.as_deref(), Some(&property.shape), place),
            }),
            Some(Ask::Register(register)) => {
                Some(AskPlan::Register(self.register(register, single, place)?))
            }
            Some(Ask::Topic { topics, json, binary, query, time }) => Some(AskPlan::Topic {
                topics: topics
                    .iter()
                    .map(|topic| self.topic(&topic.value, place))
                    .collect::<Option<_>>()?,
                json: self.path(json.as_ref(), place)?,
                binary: self.binary(binary.as_deref(), Some(&property.shape), place),
                query: match query {
                    Some(query) => {
                        Some(Box::new(self.op(query, Some(&property.shape), single, place)?))
                    }
                    None => None,
                },
                time: match time {
                    Some(time) => {
                        let path = self.path(Some(&time.json), place)?;
                        path.map(|path| TimePlan { path, form: time.form.value })
                    }
                    None => None,
                },
            }),
            Some(Ask::Metric { name }) => Some(AskPlan::Metric(self.template(&name.value, place)?)),
        };
        Some(PropertyPlan {
            shape: property.shape.clone(),
            ask,
            computed: property.value.as_ref().map(|value| value.expr.clone()),
            every: property.every.as_ref().map(|every| every.value),
            max_age: property.max_age.as_ref().map(|age| age.value).or(self.max_age),
            words: property
                .map
                .iter()
                .map(|n| (n.name.value.clone(), n.value.value.clone()))
                .collect(),
            units: property
                .units
                .iter()
                .map(|n| (n.name.value.clone(), n.value.value.clone()))
                .collect(),
            status: property.status.iter().map(|class| class.value).collect(),
            min: property.min.as_ref().map(|min| min.value),
            max: property.max.as_ref().map(|max| max.value),
        })
    }

    fn action(&mut self, action: &doc::Action, single: bool, place: &str) -> Option<ActionPlan> {
        let done = match &action.done {
            None => None,
            Some(doc::Done::Poll { send, until, every }) => Some(DonePlan::Poll {
                send: self.template(&send.value, place)?,
                until: until.iter().map(|class| class.value).collect(),
                every: every.value,
            }),
            Some(doc::Done::Until { condition, held_for, every }) => Some(DonePlan::Until {
                condition: condition.expr.clone(),
                held_for: held_for.as_ref().map_or(Duration::ZERO, |span| span.value),
                every: every.value,
            }),
            Some(doc::Done::After(time)) => Some(DonePlan::After(time.expr.clone())),
        };
        let mut operations =
            self.ops_for(&action.operations, action.returns.as_ref(), single, place);
        if let Some(Shape::Quantity(returned)) = &action.returns {
            for op in &mut operations {
                if let Op::Read { unit, .. } = op {
                    *unit = Some(returned.value.clone());
                }
            }
        }
        Some(ActionPlan {
            args: action.args.clone(),
            compute: action
                .compute
                .iter()
                .map(|entry| (entry.name.value.clone(), entry.value.expr.clone()))
                .collect(),
            operations,
            done,
            returns: action.returns.clone(),
            effect: action.effect.value,
            on_cancel: self.ops(&action.on_cancel, single, place),
            require: action.require.iter().map(|c| (c.expr.clone(), c.text.clone())).collect(),
        })
    }
}

/// Whole seconds, as MQTT counts an expiry.
fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs().max(1)).unwrap_or(u32::MAX)
}

pub(in crate::driver) fn settings(serial: Option<&Serial>) -> SerialSettings {
    let Some(serial) = serial else { return SerialSettings::default() };
    SerialSettings {
        baud: serial.baud.value,
        data_bits: serial.data_bits,
        parity: match serial.parity {
            Parity::None => wire::Parity::None,
            Parity::Even => wire::Parity::Even,
            Parity::Odd => wire::Parity::Odd,
        },
        stop_bits: serial.stop_bits,
        dtr_on_open: (!serial.dtr_on_open).then_some(false),
    }
}
