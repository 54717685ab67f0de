//! Definition and configuration to plan, with every mistake noted.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{codec, *};
use crate::driver::values;
use crate::spec::instrument::{
    self as doc, Ask, Correlate, Operation, Parity, ReplyKind, Serial, Wire,
};
use crate::wire::{self, Endpoint};

/// Reply timeouts above this would let one silent instrument keep a line from all others.
const LONGEST_REPLY_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) struct Compiler<'a> {
    pub(super) wrong: &'a mut Vec<String>,
    /// Of properties that do not name their own.
    pub(super) max_age: Option<Duration>,
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
            disarm: self.ops(&beat.disarm, single, "heartbeat.disarm"),
            period: beat.period.value,
        });
        if heartbeat.is_some() && identify.is_empty() {
            // Something harmless must be sent while nothing else is.
            self.wrong.push("heartbeat: needs an `identify:` message to keep it alive".to_owned());
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
        refuse(!definition.on_connect.is_empty(), "`on_connect:`");
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
                rtu: false,
                serial: SerialSettings::default(),
            }),
            (Wire::Modbus(modbus), Endpoint::ModbusRtu { unit, .. }) => {
                if modbus.serial.is_none() {
                    self.wrong.push("its definition has no `serial:` settings for RTU".to_owned());
                }
                let serial = settings(modbus.serial.as_ref());
                Some(Protocol::Modbus { unit: *unit, rtu: true, serial })
            }
            (Wire::Mqtt(mqtt), Endpoint::Mqtt { base, user, .. }) => {
                let full = |topic: &str| {
                    if base.is_empty() { topic.to_owned() } else { format!("{base}/{topic}") }
                };
                Some(Protocol::Mqtt(MqttPlan {
                    version: if mqtt.v5 {
                        wire::mqtt::Version::V5
                    } else {
                        wire::mqtt::Version::V3
                    },
                    confirmed: mqtt.qos > 0,
                    keep_alive: mqtt
                        .keep_alive
                        .as_ref()
                        .map_or(Duration::from_secs(30), |k| k.value),
                    expiry: mqtt
                        .expiry
                        .as_ref()
                        .map(|e| u32::try_from(e.value.as_secs().max(1)).unwrap_or(u32::MAX)),
                    base: base.clone(),
                    user: user.clone(),
                    liveness: mqtt.liveness.as_ref().map(|l| {
                        (full(&l.topic.value), l.online.value.clone(), l.offline.value.clone())
                    }),
                }))
            }
            (wire, _) => {
                let forms = match wire {
                    Wire::Bytes(_) => "`serial:/dev/...` or `tcp://host:port`",
                    Wire::Modbus(_) => {
                        "`modbus+tcp://host:502?unit=1` or `modbus+serial:/dev/...?unit=1`"
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
        operations.iter().filter_map(|operation| self.op(operation, single, place)).collect()
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
        if register.bits.is_some() {
            self.wrong.push(format!("{place}: `bits` are not understood by this version"));
        }
        self.note(Registers::new(register, single).map_err(|why| format!("{place}: {why}")))
    }

    fn op(&mut self, operation: &Operation, single: bool, place: &str) -> Option<Op> {
        match operation {
            Operation::Send { texts, reply, expect, parse, timeout, unless, verify, .. } => {
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
                    timeout: timeout.as_ref().map(|timeout| timeout.value),
                    unless,
                    verify,
                })
            }
            Operation::Write { register, value, unit, unless_equal, .. } => Some(Op::Write {
                register: self.register(register, single, place)?,
                value: value.expr.clone(),
                unit: unit.as_ref().map(|unit| unit.value.clone()),
                unless_equal: *unless_equal,
                verify: register.verify,
            }),
            Operation::Read { register, .. } => {
                Some(Op::Read { register: self.register(register, single, place)? })
            }
            Operation::Publish { topic, payload, reply, .. } => Some(Op::Publish {
                topic: self.template(&topic.value, place)?,
                payload: Payload::new(payload),
                reply: reply.as_ref().map(|reply| ReplyPlan {
                    topic: reply.topic.value.clone(),
                    correlate: match &reply.correlate {
                        Correlate::Property => CorrelatePlan::Data,
                        Correlate::Field(paths) => {
                            CorrelatePlan::Field(paths.iter().map(|p| p.value.clone()).collect())
                        }
                        Correlate::Next => CorrelatePlan::Next,
                    },
                    json: reply.json.as_ref().map(|path| path.value.clone()),
                    error: reply.error.as_ref().map(|path| path.value.clone()),
                }),
            }),
            Operation::Pause { time } => Some(Op::Pause(time.value)),
        }
    }

    fn property(
        &mut self,
        property: &doc::Property,
        single: bool,
        place: &str,
    ) -> Option<PropertyPlan> {
        let ask = match &property.ask {
            None => None,
            Some(Ask::Send { text, parse }) => Some(AskPlan::Text {
                template: self.template(&text.value, place)?,
                parse: match parse {
                    Some(pattern) => Some(self.pattern(&pattern.value, place)?),
                    None => None,
                },
            }),
            Some(Ask::Register(register)) => {
                Some(AskPlan::Register(self.register(register, single, place)?))
            }
            Some(Ask::Topic { topic, json }) => Some(AskPlan::Topic {
                topic: topic.value.clone(),
                json: json.as_ref().map(|path| path.value.clone()),
            }),
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
        Some(ActionPlan {
            args: action.args.clone(),
            compute: action
                .compute
                .iter()
                .map(|entry| (entry.name.value.clone(), entry.value.expr.clone()))
                .collect(),
            operations: self.ops(&action.operations, single, place),
            done,
            returns: action.returns.clone(),
            effect: action.effect.value,
            on_cancel: self.ops(&action.on_cancel, single, place),
            require: action.require.iter().map(|c| (c.expr.clone(), c.text.clone())).collect(),
        })
    }
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
