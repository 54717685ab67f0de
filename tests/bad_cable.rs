//! What the fault matrix found, and the case it was made for: the answer to one question that comes
//! while another is being asked. Each on its own, with a scripted device in virtual time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod peer;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::BytesMut;
use labloop::driver::{InstrumentSetup, Notice};
use labloop::expr::Value;
use labloop::spec::Sources;
use labloop::spec::instrument::Instrument;
use labloop::wire::Dialer;
use labloop::wire::modbus::rtu_frame;
use peer::{Lab, command, failure, is_done, quantity, setup, value};
use rumqttc::mqttbytes::{QoS, v4};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

/// What is sent after a request: pauses in ms from the request on, and bytes. An empty message cuts
/// the line.
type Script = Vec<(u64, Vec<u8>)>;

/// A device that takes each write as one request. What it says reaches the connection there is by
/// then, as it does with an adapter that is plugged in again or a serial server.
fn device(act: impl FnMut(&[u8]) -> Script + Send + 'static) -> Dialer {
    let act = Arc::new(Mutex::new(act));
    let current: Arc<Mutex<Option<mpsc::UnboundedSender<Vec<u8>>>>> = Arc::default();
    Dialer::memory(move |_| {
        let (near, mut far) = tokio::io::duplex(1 << 16);
        let (act, current) = (Arc::clone(&act), Arc::clone(&current));
        let (sender, mut said) = mpsc::unbounded_channel();
        *current.lock().unwrap() = Some(sender);
        tokio::spawn(async move {
            let mut space = [0; 1024];
            loop {
                tokio::select! {
                    bytes = said.recv() => match bytes {
                        Some(bytes) if bytes.is_empty() => return,
                        Some(bytes) => far.write_all(&bytes).await.unwrap_or_default(),
                        None => return,
                    },
                    count = far.read(&mut space) => match count.unwrap_or(0) {
                        0 => return,
                        count => for (pause, bytes) in (act.lock().unwrap())(&space[..count]) {
                            let current = Arc::clone(&current);
                            tokio::spawn(async move {
                                tokio::time::sleep(Duration::from_millis(pause)).await;
                                if let Some(client) = &*current.lock().unwrap() {
                                    let _ = client.send(bytes);
                                }
                            });
                        }
                    },
                }
            }
        });
        Ok(near)
    })
}

fn defined(text: &str) -> Arc<Instrument> {
    let text = format!(
        "schema: labloop/instrument/v1\nname: probe\ntype: probe\nvendor: nobody\nconfig: {{}}\n\
         {}{text}",
        if text.contains("safe_state") { "" } else { "safe_state: []\n" }
    );
    let mut sources = Sources::new();
    let id = sources.add("probe.yaml".to_owned(), text);
    let checked = Instrument::lower(sources.get(id).unwrap());
    assert!(!checked.report.has_errors(), "{:#?}", checked.report);
    Arc::new(checked.value.unwrap())
}

/// Answers are bare numbers.
fn ascii(at: &str) -> InstrumentSetup {
    let text = r#"
connection:
  serial: {baud: 9600, frame: 8N1}
  tcp: {}
  send_end: "\r"
  reply: {end: "\r\n"}
  reply_timeout: 500 ms
  min_gap: 25 ms
properties:
  a: {type: number, ask: A, parse: "{value:d}"}
  b: {type: number, ask: B, parse: "{value:d}"}
"#;
    setup("probe", defined(text), at, &[])
}

const SERIAL: &str = "serial:/dev/probe";
const SERVER: &str = "tcp://server:4001";

fn said(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

fn number(outcome: &labloop::driver::Outcome) -> f64 {
    match value(outcome) {
        Value::Quantity(quantity) => quantity.value,
        other => panic!("{other:?}"),
    }
}

/// The first answer to `A` is given as the script says, all others to it at once; `B` takes longer,
/// so that what is late comes while it is being asked.
fn first_a(script: Script) -> impl FnMut(&[u8]) -> Script + Send {
    let mut first = Some(script);
    move |asked| match asked {
        b"A\r" => first.take().unwrap_or_else(|| vec![(1, said("11\r\n"))]),
        _ => vec![(400, said("22\r\n"))],
    }
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_on_ascii_text_is_not_that_of_the_next_question() {
    // Also at the very end of the silence of 500 ms that follows the timeout of 500 ms.
    for late in [510, 700, 990] {
        let dialer = device(first_a(vec![(late, said("99\r\n"))]));
        let mut lab = Lab::start(vec![ascii(SERIAL)], dialer);
        lab.ready().await;
        lab.fleet.read("a", "probe", "a").unwrap();
        lab.fleet.read("b", "probe", "b").unwrap();
        // Asked for once more, after the silence.
        assert_eq!(number(&lab.outcome("a").await), 11.0, "{late}");
        assert_eq!(number(&lab.outcome("b").await), 22.0, "{late}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_behind_a_serial_server_does_not_follow_to_the_next_connection() {
    let dialer = device(first_a(vec![(800, said("99\r\n"))]));
    let mut lab = Lab::start(vec![ascii(SERVER)], dialer);
    lab.ready().await;
    // The socket was closed; the serial line behind it knows nothing of that.
    assert_eq!(failure(&lab.read("probe", "a").await), ("timeout", "Unknown".to_owned()));
    lab.wait(|notice| matches!(notice, Notice::Link { up: true, .. }).then_some(())).await;
    assert_eq!(number(&lab.read("probe", "b").await), 22.0);
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_outlives_an_adapter_that_was_unplugged() {
    let dialer = device(first_a(vec![(10, Vec::new()), (300, said("99\r\n"))]));
    let mut lab = Lab::start(vec![ascii(SERIAL)], dialer);
    lab.ready().await;
    assert_eq!(failure(&lab.read("probe", "a").await), ("link", "Unknown".to_owned()));
    lab.wait(|notice| matches!(notice, Notice::Link { up: true, .. }).then_some(())).await;
    assert_eq!(number(&lab.read("probe", "b").await), 22.0);
}

#[tokio::test(start_paused = true)]
async fn the_rest_of_an_answer_that_came_twice_is_no_answer() {
    // Matrix: Tcp duplicated, seed 12: `2` was taken for the next answer.
    let dialer = device(first_a(vec![(1, said("11\r\n1")), (30, said("1\r\n"))]));
    let mut lab = Lab::start(vec![ascii(SERIAL)], dialer);
    lab.ready().await;
    lab.fleet.read("a", "probe", "a").unwrap();
    lab.fleet.read("b", "probe", "b").unwrap();
    assert_eq!(number(&lab.outcome("a").await), 11.0);
    assert_eq!(number(&lab.outcome("b").await), 22.0);
}

#[tokio::test(start_paused = true)]
async fn a_line_that_never_falls_silent_is_given_up_and_comes_back() {
    let noise = (0..60).map(|at| (1 + 50 * at, said("x"))).collect();
    let mut lab = Lab::start(vec![ascii(SERIAL)], device(first_a(noise)));
    lab.ready().await;
    let begun = tokio::time::Instant::now();
    assert!(!is_done(&lab.read("probe", "a").await));
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(number(&lab.read("probe", "b").await), 22.0);
}

#[tokio::test(start_paused = true)]
async fn an_alarm_right_behind_an_answer_is_heard() {
    let text = r#"
connection:
  serial: {baud: 9600, frame: 8N1}
  send_end: "\r"
  reply: {end: "\r\n"}
  reply_timeout: 500 ms
  unsolicited: [{match: "ALARM{_:d}", do: alarm, text: a limit switch was hit}]
properties:
  a: {type: number, ask: A, parse: "{value:d}"}
"#;
    let dialer = device(first_a(vec![(1, said("11\r\nALARM1\r\n"))]));
    let mut lab = Lab::start(vec![setup("probe", defined(text), SERIAL, &[])], dialer);
    lab.ready().await;
    lab.fleet.read("a", "probe", "a").unwrap();
    lab.fleet.read("again", "probe", "a").unwrap();
    assert_eq!(number(&lab.outcome("a").await), 11.0);
    lab.wait(|notice| matches!(notice, Notice::Alarm { .. }).then_some(())).await;
}

/// Everything is asked twice or more when no answer comes; the safe state waits for one of them.
#[tokio::test(start_paused = true)]
async fn a_safe_state_waits_for_one_answer_and_the_silence_after_it() {
    let text = r#"
connection:
  serial: {baud: 9600, frame: 8N1}
  send_end: "\r"
  reply: {end: "\r\n"}
  reply_timeout: 500 ms
  min_gap: 25 ms
properties:
  a: {type: number, ask: A, parse: "{value:d}"}
safe_state: [{send: STP, parse: OK}]
"#;
    let definition = defined(text);
    for after in [1, 250, 499, 501, 900, 1200] {
        let told: Arc<Mutex<Option<tokio::time::Instant>>> = Arc::default();
        let noted = Arc::clone(&told);
        let dialer = device(move |asked| match asked {
            b"STP\r" => {
                noted.lock().unwrap().get_or_insert(tokio::time::Instant::now());
                vec![(1, said("OK\r\n"))]
            }
            _ => Vec::new(),
        });
        let mut lab = Lab::start(vec![setup("probe", definition.clone(), SERIAL, &[])], dialer);
        lab.ready().await;
        let latency = lab.fleet.stop_latencies()["probe"];
        // An answer that does not come, the silence after it, and the message on its way.
        assert!(latency > Duration::from_millis(1025) && latency < Duration::from_millis(1050));
        lab.fleet.read("a", "probe", "a").unwrap();
        tokio::time::sleep(Duration::from_millis(after)).await;
        let begun = tokio::time::Instant::now();
        lab.fleet.safe_state("probe").unwrap();
        let confirmed = lab.wait(|notice| match notice {
            Notice::SafeState { confirmed, .. } => Some(*confirmed),
            _ => None,
        });
        assert!(confirmed.await);
        let waited = told.lock().unwrap().unwrap() - begun;
        // The characters of the question itself take their time too.
        assert!(waited <= latency + Duration::from_millis(5), "{after}: {waited:?}");
    }
}

fn registers(exception: u8) -> (InstrumentSetup, impl FnMut(&[u8]) -> Script + Send) {
    let text = r"
connection:
  modbus: {}
  serial: {baud: 9600, frame: 8N1}
  reply_timeout: 500 ms
  min_gap: 25 ms
properties:
  a: {type: number, register: {holding: 5, base: 0, type: u16, scale: 1, order: AB}}
  b: {type: number, register: {holding: 7, base: 0, type: u16, scale: 1, order: AB}}
actions:
  dose:
    do: [{write: {holding: 9, base: 0, type: u16, scale: 1, order: AB}, value: 1}]
    effect: once
    takes: {timeout: 5 s}
";
    let setup = setup("probe", defined(text), "modbus+serial:/dev/bus?unit=1", &[]);
    let mut late = true;
    let act = move |asked: &[u8]| match asked {
        [1, 3, 0, 5, ..] if std::mem::take(&mut late) => {
            vec![(900, rtu_frame(1, &[3, 2, 0, 99]))]
        }
        [1, 3, 0, 5, ..] => vec![(1, rtu_frame(1, &[3, 2, 0, 11]))],
        [1, 3, 0, 7, ..] => vec![(1, rtu_frame(1, &[3, 2, 0, 22]))],
        [1, 16, ..] => vec![(1, rtu_frame(1, &[0x90, exception]))],
        other => panic!("{other:?}"),
    };
    (setup, act)
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_on_modbus_rtu_is_not_that_of_the_next_register() {
    let (setup, act) = registers(1);
    let mut lab = Lab::start(vec![setup], device(act));
    lab.ready().await;
    lab.fleet.read("a", "probe", "a").unwrap();
    lab.fleet.read("b", "probe", "b").unwrap();
    assert_eq!(number(&lab.outcome("a").await), 11.0);
    assert_eq!(number(&lab.outcome("b").await), 22.0);
}

#[tokio::test(start_paused = true)]
async fn an_exception_of_the_makers_own_leaves_the_effect_open() {
    for (code, effect) in [(3, "NoEffect"), (9, "Unknown"), (0x80, "Unknown")] {
        let (setup, act) = registers(code);
        let mut lab = Lab::start(vec![setup], device(act));
        lab.ready().await;
        let outcome = lab.run(command("d", "probe", "dose", &[])).await;
        assert_eq!(failure(&outcome), ("refused", effect.to_owned()), "{code}");
    }
}

/// A gateway at a broker of MQTT 3.1.1; `act` gives pauses and payloads by topic of the command.
fn gateway(
    mut act: impl FnMut(&str) -> Vec<(u64, &'static str, &'static str)> + Send + 'static,
) -> Dialer {
    let encoded = |topic: &str, payload: &str| {
        let mut bytes = BytesMut::new();
        let publish = v4::Publish::new(format!("lab/probe/{topic}"), QoS::AtMostOnce, payload);
        publish.write(&mut bytes).unwrap();
        bytes.to_vec()
    };
    let mut arrived = BytesMut::new();
    device(move |bytes| {
        arrived.extend_from_slice(bytes);
        let mut script = Vec::new();
        while let Ok(packet) = v4::Packet::read(&mut arrived, 4096) {
            match packet {
                v4::Packet::Connect(_) => script.push((0, vec![0x20, 2, 0, 0])),
                v4::Packet::Subscribe(it) => {
                    let [high, low] = it.pkid.to_be_bytes();
                    let count = u8::try_from(it.filters.len()).unwrap();
                    let mut answer = vec![0x90, 2 + count, high, low];
                    answer.extend(std::iter::repeat_n(1, usize::from(count)));
                    script.push((0, answer));
                }
                v4::Packet::Publish(it) => {
                    let [high, low] = it.pkid.to_be_bytes();
                    script.push((0, vec![0x40, 2, high, low]));
                    let topic = it.topic.strip_prefix("lab/probe/").unwrap();
                    let answers = act(topic).into_iter();
                    script.extend(answers.map(|(ms, topic, text)| (ms, encoded(topic, text))));
                }
                _ => {}
            }
        }
        script
    })
}

fn behind_broker() -> InstrumentSetup {
    let text = r#"
connection:
  mqtt: {version: "3.1.1", qos: 1, keep_alive: 30 s}
  reply_timeout: 500 ms
properties:
  level: {type: number, topic: state, json: level, min: 0, max: 10}
actions:
  ask:
    args: {number: {type: int}}
    do: [{publish: "ask/{number:d}", json: {}, reply: {topic: reply, correlate: next, json: value}}]
    returns: {type: number}
    effect: read
    takes: {timeout: 5 s}
  fill:
    do: [{publish: fill, json: {}}]
    done: {when: level > 5, every: 100 ms}
    effect: once
    takes: {timeout: 20 s}
"#;
    setup("probe", defined(text), "mqtt://broker/lab/probe", &[])
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_over_mqtt_that_only_its_topic_shows_is_not_the_next_one() {
    let dialer = gateway(|topic| match topic {
        "ask/1" => vec![(1800, "reply", r#"{"value":99}"#)],
        _ => vec![(500, "reply", r#"{"value":22}"#)],
    });
    let mut lab = Lab::start(vec![behind_broker()], dialer);
    lab.ready().await;
    let first = labloop::driver::Command {
        deadline: Duration::from_secs(1),
        ..command("a", "probe", "ask", &[("number", "1")])
    };
    // A second and the grace of 500 ms.
    assert_eq!(failure(&lab.run(first).await), ("timeout", "Unknown".to_owned()));
    assert_eq!(number(&lab.run(command("b", "probe", "ask", &[("number", "2")])).await), 22.0);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_cannot_be_read_does_not_end_what_waits_for_another() {
    let dialer = gateway(|_| {
        vec![
            (100, "state", r#"{"level":1}"#),
            (1000, "state", r#"{"level":"#),
            (2000, "state", r#"{"level":6}"#),
        ]
    });
    let mut lab = Lab::start(vec![behind_broker()], dialer);
    lab.ready().await;
    assert!(is_done(&lab.run(command("f", "probe", "fill", &[])).await));
}

#[tokio::test(start_paused = true)]
async fn limits_of_a_property_count_over_mqtt_too() {
    // Matrix: Mqtt5 spike, seed 0.
    let dialer =
        gateway(|_| vec![(10, "state", r#"{"level":11}"#), (20, "state", r#"{"level":9}"#)]);
    let mut lab = Lab::start(vec![behind_broker()], dialer);
    lab.ready().await;
    assert!(is_done(&lab.run(command("f", "probe", "fill", &[])).await));
    let samples: Vec<bool> = lab
        .seen
        .iter()
        .filter_map(|notice| match notice {
            Notice::Sample { value, .. } => Some(matches!(value, Value::Missing(_))),
            _ => None,
        })
        .collect();
    assert_eq!(samples, [true, false]);
    let Value::Quantity(level) = quantity("9") else { panic!() };
    assert_eq!(number(&lab.read("probe", "level").await), level.value);
}
