//! Golden bytes: a definition's `examples:` run offline against a scripted instrument.
//!
//! The messages of an example stand in turn: sent, received, sent, received. Text stands as it is,
//! binary after `hex:`. For Modbus they hold unit and PDU, which are the same on TCP and RTU. For
//! MQTT each is `topic payload`, the payload as text or after `hex:`; topics are those below the base, or whole ones
//! with the base `golden` where the definition says `{base}` (for Sparkplug `golden/node/device`). Those the
//! instrument publishes are known by their topic, so several may follow each other. What is sent
//! after a connect and polled by itself is left out; our session is `labloop-golden-0`.
//!
//! The bytes must come from a manual or a capture. Otherwise definition and simulator share one
//! misreading.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;

use super::exchange::Line;
use super::gate::Gate;
use super::golden_broker;
use super::json;
use super::line::{Lamp, Outbox, Readiness};
use super::plan::{AskPlan, MqttPlan, Op, Plan, Protocol};
use super::scope::Scope;
use super::session::{Session, World};
use super::template::Template;
use super::types::{Command, InstrumentSetup, Notice, Outcome};
use super::{Definition, Fleet, written_values};
use crate::expr::Value;
use crate::spec::instrument::{Ask, Example, ExampleOf, Operation, Wire};
use crate::spec::{Shape, Span, Written};
use crate::units::Quantity;
use crate::wire::printable::{bytes_of, hex, printable};
use crate::wire::{Address, Clock, Dialer, SerialSettings, Tick};

/// Id of the attempt in golden messages, where `command.id` stands.
pub const ATTEMPT: &str = "golden";

/// Longest an example may take, in virtual time.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);

/// How one example went.
#[derive(Debug, Clone, PartialEq)]
pub struct Golden {
    /// `action start`, `property dispensed` or `safe_state`.
    pub of: String,
    /// Where it stands.
    pub span: Span,
    /// Why it failed.
    pub result: Result<(), String>,
}

/// Runs all examples of a definition. Takes no wall time and touches no wire; may be called
/// anywhere, also inside a runtime.
pub fn check(definition: &Definition) -> Vec<Golden> {
    let definition = Arc::new(definition.clone());
    let run = move || {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let Ok(runtime) = runtime else { return Vec::new() };
        let examples = definition.examples.iter();
        examples
            .map(|example| Golden {
                of: match &example.of {
                    ExampleOf::Action(name) => format!("action {}", name.value),
                    ExampleOf::Property(name) => format!("property {}", name.value),
                    ExampleOf::SafeState => "safe_state".to_owned(),
                },
                span: example.span,
                result: runtime.block_on(run_example(&definition, example)),
            })
            .collect()
    };
    // A thread of its own, because a runtime cannot be started inside another.
    std::thread::spawn(run).join().unwrap_or_default()
}

/// Compiles a definition for one unit, as starting a fleet would, and says all that is wrong.
pub fn compile(setup: &InstrumentSetup) -> Result<(), Vec<String>> {
    Plan::new(setup).map(|_| ())
}

async fn run_example(definition: &Arc<Definition>, example: &Example) -> Result<(), String> {
    let address = match &definition.connection.wire {
        Wire::Bytes(bytes) if bytes.serial.is_some() => "serial:/dev/golden",
        Wire::Bytes(_) => "tcp://golden:1",
        Wire::Modbus(_) => "modbus+tcp://golden:502?unit=1",
        Wire::Mqtt(mqtt) => mqtt_address(definition, mqtt),
    };
    let setup = InstrumentSetup {
        name: "golden".to_owned(),
        definition: Arc::clone(definition),
        at: Address::parse(address).map_err(|error| error.to_string())?,
        config: written_values(&definition.config, &example.config)?,
        secret: None,
        trust: crate::wire::Trust::default(),
    };
    let plan = Arc::new(Plan::new(&setup).map_err(|wrong| wrong.join("; "))?);
    let args = match &example.of {
        ExampleOf::Action(name) => {
            let action = definition
                .action(&name.value)
                .ok_or_else(|| format!("there is no action `{}`", name.value))?;
            written_values(&action.args, &example.args)?
        }
        ExampleOf::Property(_) | ExampleOf::SafeState => BTreeMap::new(),
    };
    let result = match plan.protocol {
        Protocol::Mqtt(_) => over_mqtt(setup, &plan, example, args).await?,
        _ => over_line(&setup, &plan, example, args).await?,
    };
    judge(definition, example, result)
}

/// What became of it: the outcome, or that of a safe state as one.
type Ended = Result<Option<Value>, (String, String)>;

fn ended(notice: Notice) -> Option<Ended> {
    match notice {
        Notice::Outcome { outcome: Outcome::Done { value, .. }, .. } => Some(Ok(value)),
        Notice::Outcome { outcome: Outcome::Failed { kind, message, .. }, .. } => {
            Some(Err((kind.as_str().to_owned(), message)))
        }
        Notice::SafeState { confirmed: true, .. } => Some(Ok(None)),
        Notice::SafeState { detail, .. } => Some(Err(("not_confirmed".to_owned(), detail))),
        _ => None,
    }
}

async fn over_line(
    setup: &InstrumentSetup,
    plan: &Arc<Plan>,
    example: &Example,
    args: BTreeMap<String, Value>,
) -> Result<Ended, String> {
    let modbus = matches!(plan.protocol, Protocol::Modbus { .. });
    let script =
        example.bytes.iter().map(|text| raw(&text.value)).collect::<Result<Vec<_>, _>>()?;
    let (near, far) = tokio::io::duplex(4096);
    let near = Mutex::new(Some(near));
    let dialer = Dialer::memory(move |_| {
        let pipe = near.lock().unwrap_or_else(PoisonError::into_inner).take();
        pipe.ok_or_else(|| std::io::ErrorKind::ConnectionRefused.into())
    });
    let peer = tokio::spawn(play(far, script, modbus));
    let clock = Clock::virtual_time(Tick(0));
    let (sender, mut notices) = mpsc::channel(64);
    let gate = Arc::new(Gate::new(clock.clone()));
    let mut outbox = Outbox::new(sender, Arc::default(), Arc::clone(&gate));
    let mut line = Line::new(
        setup.at.clone(),
        SerialSettings::default(),
        dialer,
        clock.clone(),
        plan.reply_timeout,
    );
    line.open().await.map_err(|error| error.to_string())?;
    let (state, _ready) = tokio::sync::watch::channel(Readiness::Up);
    let lamp = Lamp::new(setup.name.clone(), state);
    let mut session = Session::new(
        Arc::clone(plan),
        lamp,
        Arc::default(),
        &clock,
        crate::wire::Backoff::of_line(0),
    );
    session.assume_up();
    let mut world = World { line: &mut line, outbox: &mut outbox, gate: &gate };
    match &example.of {
        ExampleOf::Action(name) => {
            let command = Command {
                attempt: ATTEMPT.to_owned(),
                instrument: setup.name.clone(),
                action: name.value.clone(),
                args,
                deadline: LONGEST,
            };
            session.begin(command, 0, &mut world);
            while let Some(due) = session.active_due() {
                world.line.clock.sleep_until(due).await;
                session.act(&mut world).await;
            }
        }
        ExampleOf::Property(name) => {
            session.read(ATTEMPT.to_owned(), &name.value, &mut world).await;
        }
        ExampleOf::SafeState => session.make_safe(&mut world).await,
    }
    line.close();
    drop(outbox);
    let mut result = None;
    while let Some(notice) = notices.recv().await {
        result = result.or(ended(notice));
    }
    peer.await.map_err(|error| error.to_string())??;
    result.ok_or_else(|| "it did not come to an end".to_owned())
}

/// Plays the instrument: checks each message sent to it, answers with the next.
async fn play(mut far: DuplexStream, script: Vec<Vec<u8>>, modbus: bool) -> Result<(), String> {
    let show = |bytes: &[u8]| if modbus { hex(bytes) } else { printable(bytes) };
    for (number, turn) in script.chunks(2).enumerate() {
        let Some(expected) = turn.first() else { break };
        let header = if modbus { 6 } else { 0 };
        let mut found = vec![0; header + expected.len()];
        let mut have = 0;
        while have < found.len() {
            let space = found.get_mut(have..).unwrap_or_default();
            let count = far.read(space).await.unwrap_or(0);
            have += count;
            let body = found.get(header.min(have)..have).unwrap_or_default();
            if count == 0 || expected.get(..body.len()) != Some(body) {
                return Err(format!(
                    "message {} should be `{}`, it is `{}`",
                    number + 1,
                    show(expected),
                    show(body)
                ));
            }
        }
        let answer = turn.get(1).map(Vec::as_slice).unwrap_or_default();
        let mut frame = Vec::new();
        if modbus {
            frame.extend(found.get(..4).unwrap_or_default());
            frame.extend(u16::try_from(answer.len()).unwrap_or(0).to_be_bytes());
        }
        frame.extend(answer);
        if !answer.is_empty() && far.write_all(&frame).await.is_err() {
            return Err("the line was closed before the answer".to_owned());
        }
    }
    let mut rest = Vec::new();
    let _ = far.take(4096).read_to_end(&mut rest).await;
    if rest.is_empty() {
        return Ok(());
    }
    Err(format!("after the last message comes `{}`", show(&rest)))
}

async fn over_mqtt(
    setup: InstrumentSetup,
    plan: &Arc<Plan>,
    example: &Example,
    args: BTreeMap<String, Value>,
) -> Result<Ended, String> {
    let mut script = Vec::new();
    for text in &example.bytes {
        let (topic, payload) = text.value.split_once(' ').unwrap_or((&text.value, ""));
        script.push(golden_broker::Line {
            inward: from_instrument(plan, topic),
            topic: topic.to_owned(),
            payload: raw_payload(payload)?,
        });
    }
    let mut setup = setup;
    setup.definition = Arc::new(without_polls(&setup.definition));
    let (near, far) = tokio::io::duplex(1 << 16);
    let near = Mutex::new(Some(near));
    let dialer = Dialer::memory(move |_| {
        let pipe = near.lock().unwrap_or_else(PoisonError::into_inner).take();
        pipe.ok_or_else(|| std::io::ErrorKind::ConnectionRefused.into())
    });
    let Protocol::Mqtt(mqtt) = &plan.protocol else { return Err("this is not MQTT".to_owned()) };
    let alive = mqtt.liveness.as_ref();
    let alive = alive.map(|liveness| (liveness.topic.clone(), liveness.online.clone()));
    let broker = tokio::spawn(golden_broker::play(far, script, mqtt.version, alive));
    let (sender, mut notices) = mpsc::channel(64);
    let name = setup.name.clone();
    let clock = Clock::virtual_time(Tick(0));
    let fleet = Fleet::start(vec![setup], clock, dialer, sender, 0)
        .map_err(|wrong| wrong.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
    let waited = fleet.ready(Duration::from_secs(5)).await;
    waited.into_values().collect::<Result<Vec<()>, _>>()?;
    match &example.of {
        ExampleOf::Action(action) => fleet.send(Command {
            attempt: ATTEMPT.to_owned(),
            instrument: name,
            action: action.value.clone(),
            args,
            deadline: Duration::from_secs(3600),
        }),
        // A stream speaks by itself; the property is read once the script is through.
        ExampleOf::Property(property) => {
            tokio::time::sleep(Duration::from_millis(100)).await;
            fleet.read(ATTEMPT, &name, &property.value)
        }
        ExampleOf::SafeState => fleet.safe_state(&name),
    }
    .map_err(|error| error.to_string())?;
    let mut result = None;
    while result.is_none() {
        match notices.recv().await {
            Some(notice) => result = ended(notice),
            None => return Err("it did not come to an end".to_owned()),
        }
    }
    fleet.shutdown().await;
    broker.await.map_err(|error| error.to_string())??;
    result.ok_or_else(|| "it did not come to an end".to_owned())
}

/// The address of examples: with a base only where whole topics are written.
pub(super) fn mqtt_address(
    definition: &Definition,
    mqtt: &crate::spec::instrument::Mqtt,
) -> &'static str {
    let whole = |operation: &Operation| match operation {
        Operation::Publish { topic, reply, .. } => {
            topic.value.contains("{base}")
                || reply.as_ref().is_some_and(|reply| reply.topic.value.contains("{base}"))
        }
        _ => false,
    };
    let streamed = |property: &crate::spec::instrument::Property| match &property.ask {
        Some(Ask::Topic { topics, query, .. }) => {
            topics.iter().any(|topic| topic.value.contains("{base}"))
                || query.as_deref().is_some_and(whole)
        }
        _ => false,
    };
    if mqtt.sparkplug {
        "mqtt://golden:1883/golden/node/device"
    } else if definition.actions.iter().any(|action| action.operations.iter().any(whole))
        || definition.properties.iter().any(streamed)
    {
        "mqtt://golden:1883/golden"
    } else {
        "mqtt://golden:1883"
    }
}

/// A definition that says nothing by itself: examples show one thing each.
fn without_polls(definition: &Definition) -> Definition {
    let mut definition = definition.clone();
    definition.on_connect.clear();
    for property in &mut definition.properties {
        property.every = None;
    }
    definition
}

/// Whether the instrument, not we, publishes on a topic.
pub(super) fn from_instrument(plan: &Plan, topic: &str) -> bool {
    if let Protocol::Mqtt(MqttPlan { sparkplug: Some(_), .. }) = &plan.protocol {
        let kind = topic.split('/').nth(2).unwrap_or_default();
        return !kind.ends_with("CMD");
    }
    let scope = Scope { client: format!("labloop-{ATTEMPT}-0"), ..plan.scope() };
    let is =
        |own: &Template| own.render(&|name| scope.look_up(name)).is_ok_and(|(own, _)| own == topic);
    let streamed = plan.properties.values().any(|property| match &property.ask {
        Some(AskPlan::Topic { topics, .. }) => topics.iter().any(is),
        _ => false,
    });
    streamed
        || super::topics::operations(plan).any(|op| match op {
            Op::Publish { reply: Some(reply), .. } => is(&reply.topic),
            _ => false,
        })
}

/// A payload as written: text, or bytes after `hex:`.
pub(super) fn raw_payload(text: &str) -> Result<Vec<u8>, String> {
    if text.starts_with("hex:") { raw(text) } else { Ok(text.as_bytes().to_vec()) }
}

pub(super) fn raw(text: &str) -> Result<Vec<u8>, String> {
    let Some(digits) = text.strip_prefix("hex:") else {
        return bytes_of(text)
            .ok_or_else(|| format!("{text:?} holds characters that are no bytes"));
    };
    digits
        .split_whitespace()
        .map(|pair| u8::from_str_radix(pair, 16).map_err(|_| format!("`{pair}` is no byte in hex")))
        .collect()
}

fn judge(definition: &Definition, example: &Example, ended: Ended) -> Result<(), String> {
    match (ended, &example.fails, &example.value) {
        (Err((kind, _)), Some(fails), _) if kind == fails.value => Ok(()),
        (Err((kind, message)), Some(fails), _) => {
            Err(format!("it should fail as {}, it fails as {kind}: {message}", fails.value))
        }
        (Err((kind, message)), None, _) => Err(format!("it fails as {kind}: {message}")),
        (Ok(_), Some(fails), _) => Err(format!("it should fail as {}", fails.value)),
        (Ok(_), None, None) => Ok(()),
        (Ok(None), None, Some(_)) => Err("it gives no value".to_owned()),
        (Ok(Some(found)), None, Some(expected)) => {
            let shape = match &example.of {
                ExampleOf::Action(name) => {
                    definition.action(&name.value).and_then(|action| action.returns.as_ref())
                }
                ExampleOf::Property(name) => {
                    definition.property(&name.value).map(|property| &property.shape)
                }
                ExampleOf::SafeState => None,
            };
            let shape = shape.ok_or("it has a value but no type")?;
            if same(shape, &found, expected)? {
                Ok(())
            } else {
                Err(format!("its value is {}", found.show()))
            }
        }
    }
}

/// Whether a value is the one written.
fn same(shape: &Shape, found: &Value, expected: &Written) -> Result<bool, String> {
    match (shape, found, expected) {
        (Shape::Array { .. }, Value::Array(array), Written::Map { entries, .. }) => {
            let values = entries.iter().find(|entry| entry.name.value == "values");
            let Some(Written::List { items, .. }) = values.map(|entry| &entry.value) else {
                return Err("`value:` of an array has a list `values`, row by row".to_owned());
            };
            let expected: Vec<f64> = items.iter().map(number).collect::<Result<_, _>>()?;
            Ok(close(&array.values().collect::<Vec<f64>>(), &expected))
        }
        (Shape::Series { .. }, Value::Series(series), Written::Map { entries, .. }) => {
            let axis = |name: &str| {
                let entry = entries.iter().find(|entry| entry.name.value == name);
                match entry.map(|entry| &entry.value) {
                    Some(Written::List { items, .. }) => items.iter().map(number).collect(),
                    _ => Err(format!("`value:` of a curve has lists `x` and `y`, not {name:?}")),
                }
            };
            let (x, y): (Vec<f64>, Vec<f64>) = (axis("x")?, axis("y")?);
            Ok(close(&series.x, &x) && close(&series.y, &y))
        }
        (_, Value::Quantity(found), expected) => Ok(close(&[found.value], &[number(expected)?])),
        (_, Value::Bool(found), Written::Scalar { text, .. }) => Ok(*text == found.to_string()),
        (_, Value::Text(found), Written::Scalar { text, .. }) => Ok(**found == **text),
        (_, Value::Missing(_), Written::Scalar { text, .. }) => Ok(text == "missing"),
        (Shape::Record(fields), Value::Record(found), Written::Map { entries, .. }) => {
            for entry in entries {
                let name = &entry.name.value;
                let field = fields.iter().find(|field| field.name.value == *name);
                let (Some(field), Some(found)) = (field, found.get(name)) else { return Ok(false) };
                if !same(&field.shape, found, &entry.value)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        _ => Ok(false),
    }
}

fn number(written: &Written) -> Result<f64, String> {
    match written {
        Written::Scalar { text, .. } => {
            Quantity::parse(text).map(|quantity| quantity.value).map_err(|error| error.message)
        }
        Written::Expression(expression) => match expression.expr.as_literal() {
            Some(Value::Quantity(quantity)) => Ok(quantity.value),
            _ => Err("an expected value is a number".to_owned()),
        },
        Written::List { .. } | Written::Map { .. } => {
            Err("an expected value is a number".to_owned())
        }
    }
}

fn close(found: &[f64], expected: &[f64]) -> bool {
    let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-9 * b.abs().max(1e-12);
    found.len() == expected.len() && found.iter().zip(expected).all(near)
}

/// The JSON of two payloads is the same; payloads that are no JSON are compared as they are.
pub(super) fn same_payload(found: &[u8], expected: &[u8]) -> bool {
    match (serde_json::from_slice::<serde_json::Value>(found), serde_json::from_slice(expected)) {
        (Ok(found), Ok(expected)) => same_json(&found, &expected),
        _ => found == expected,
    }
}

fn same_json(found: &serde_json::Value, expected: &serde_json::Value) -> bool {
    use serde_json::Value as Json;
    match (found, expected) {
        // 10 and 10.0 differ in bytes, not in meaning.
        (Json::Number(a), Json::Number(b)) => a.as_f64() == b.as_f64(),
        (Json::Array(a), Json::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_json(a, b))
        }
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len()
                && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| same_json(a, b)))
        }
        (a, b) => a == b,
    }
}

/// For messages to people.
pub(super) fn show_payload(payload: &[u8]) -> String {
    match (serde_json::from_slice(payload), std::str::from_utf8(payload)) {
        (Ok(parsed), _) => json::short(&parsed),
        (Err(_), Ok(text)) if !text.contains(char::is_control) => printable(payload),
        (Err(_), _) => format!("hex:{}", hex(payload)),
    }
}
