//! What devices that were not made for us need from a driver over MQTT: plain payloads, answers that
//! name nobody, partial and kept states, several answers to one command, numbers as ids.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod peer;

use std::sync::Arc;
use std::time::Duration;

use labloop::driver::{Command, Definition, Notice, Outcome};
use labloop::expr::Value;
use peer::broker::{Do, Out, Received, broker};
use peer::{
    Lab, command, definition, failure, is_done, quantity, setup, value, without_polls, written,
};
use rumqttc::v5::mqttbytes::v5::Publish;

fn live(topic: &str, payload: &str) -> Out {
    Out { topic: topic.to_owned(), payload: payload.to_owned(), ..Out::default() }
}

fn kept(topic: &str, payload: &str) -> Out {
    Out { retain: true, ..live(topic, payload) }
}

fn text(publish: &Publish) -> (String, String) {
    (
        String::from_utf8(publish.topic.to_vec()).unwrap(),
        String::from_utf8(publish.payload.to_vec()).unwrap(),
    )
}

fn topics(received: &Received, topic: &str) -> usize {
    received.lock().unwrap().iter().filter(|publish| publish.topic == topic).count()
}

fn short(attempt: &str, instrument: &str, action: &str) -> Command {
    Command { deadline: Duration::from_secs(3), ..command(attempt, instrument, action, &[]) }
}

fn on(outcome: &Outcome) -> bool {
    match value(outcome) {
        Value::Bool(on) => on,
        other => panic!("{other:?}"),
    }
}

fn plug() -> Arc<Definition> {
    without_polls(definition("power_switch/tasmota-plug.yaml", &[]))
}

/// The stale answer: ON is not answered in time, and its answer comes when OFF has been sent.
#[tokio::test(start_paused = true)]
async fn an_answer_that_names_nobody_proves_nothing_without_the_state() {
    let received = Received::default();
    let mut sent = 0;
    let dialer = broker(&received, vec![kept("tele/p/LWT", "Online")], move |_| {
        sent += 1;
        let result = |word: &str| live("stat/p/RESULT", &format!("{{\"POWER\":\"{word}\"}}"));
        match sent {
            1 => Do::Send(vec![]),
            // The late one, and something about another command.
            2 => Do::Send(vec![live("stat/p/RESULT", "{\"TelePeriod\":300}"), result("ON")]),
            _ => Do::Send(vec![result("ON"), result("OFF")]),
        }
    });
    let mut lab = Lab::start(vec![setup("p", plug(), "mqtt://b/p", &[])], dialer);
    lab.ready().await;
    let outcome = lab.run(short("a", "p", "switch_on")).await;
    assert_eq!(failure(&outcome), ("timeout", "Unknown".to_owned()));
    let outcome = lab.run(short("b", "p", "switch_off")).await;
    assert_eq!(failure(&outcome), ("timeout", "Unknown".to_owned()), "the lamp is still on");
    assert!(is_done(&lab.run(short("c", "p", "switch_off")).await));
    assert_eq!(topics(&received, "cmnd/p/POWER"), 3);
    let (topic, payload) = text(&received.lock().unwrap()[0]);
    assert_eq!((topic.as_str(), payload.as_str()), ("cmnd/p/POWER", "ON"));
}

#[tokio::test(start_paused = true)]
async fn an_empty_message_asks_and_the_state_is_no_older_than_the_question() {
    let received = Received::default();
    let mut state = "ON";
    let greeting = vec![kept("tele/p/LWT", "Online"), kept("stat/p/RESULT", "{\"POWER\":\"ON\"}")];
    let dialer = broker(&received, greeting, move |publish| {
        assert!(publish.payload.is_empty());
        let answer = live("stat/p/RESULT", &format!("{{\"POWER\":\"{state}\"}}"));
        state = "OFF";
        Do::Send(vec![answer])
    });
    let mut lab = Lab::start(vec![setup("p", plug(), "mqtt://b/p", &[])], dialer);
    lab.ready().await;
    assert!(on(&lab.read("p", "switched_on").await));
    assert!(!on(&lab.read("p", "switched_on").await), "asked again, not remembered");
    assert_eq!(topics(&received, "cmnd/p/POWER"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_device_that_falls_silent_is_gone_although_its_will_never_came() {
    let received = Received::default();
    let mut asked = 0;
    let dialer = broker(&received, vec![kept("tele/p/LWT", "Online")], move |publish| {
        asked += 1;
        match publish.topic.as_ref() {
            b"cmnd/p/POWER" if asked < 4 => {
                Do::Send(vec![live("stat/p/RESULT", "{\"POWER\":\"ON\"}")])
            }
            b"cmnd/p/POWER" => Do::Later(
                Duration::from_secs(120),
                vec![live("tele/p/STATE", "{\"POWER\":\"OFF\"}")],
            ),
            _ => Do::Send(vec![]),
        }
    });
    let polled = definition("power_switch/tasmota-plug.yaml", &[]);
    let mut lab = Lab::start(vec![setup("p", polled, "mqtt://b/p", &[])], dialer);
    lab.ready().await;
    let why = lab
        .wait(|notice| match notice {
            Notice::Link { up: false, detail, .. } if !detail.contains("yet") => {
                Some(detail.clone())
            }
            _ => None,
        })
        .await;
    assert!(why.contains("nothing was heard"), "{why}");
    assert_eq!(failure(&lab.run(short("a", "p", "switch_on")).await).0, "link");
    lab.wait(|notice| matches!(notice, Notice::Link { up: true, .. }).then_some(())).await;
}

fn relay() -> Arc<Definition> {
    definition("power_switch/esphome-relay.yaml", &[])
}

#[tokio::test(start_paused = true)]
async fn a_kept_state_completes_nothing_and_is_shown_for_what_it_is() {
    let received = Received::default();
    let greeting = vec![kept("n/status", "online"), kept("n/switch/relay/state", "ON")];
    let dialer = broker(&received, greeting, |_| Do::Send(vec![]));
    let mut lab = Lab::start(vec![setup("r", relay(), "mqtt://b/n", &[])], dialer);
    lab.ready().await;
    let outcome = lab.run(short("a", "r", "switch_on")).await;
    assert_eq!(failure(&outcome), ("timeout", "Unknown".to_owned()));
    let outcome = lab.read("r", "switched_on").await;
    assert_eq!(failure(&outcome).0, "timeout");
    let said = format!("{outcome:?}");
    assert!(said.contains("kept true from an unknown time"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn the_echo_of_the_state_topic_completes_and_confirms() {
    let received = Received::default();
    let dialer = broker(&received, vec![kept("n/status", "online")], |publish| {
        let (_, word) = text(publish);
        Do::Send(vec![live("n/switch/relay/state", &word)])
    });
    let mut lab = Lab::start(vec![setup("r", relay(), "mqtt://b/n", &[])], dialer);
    lab.ready().await;
    assert!(is_done(&lab.run(short("a", "r", "switch_on")).await));
    assert!(on(&lab.read("r", "switched_on").await));
    lab.fleet.safe_state("r").unwrap();
    let confirmed = lab
        .wait(|notice| match notice {
            Notice::SafeState { confirmed, .. } => Some(*confirmed),
            _ => None,
        })
        .await;
    assert!(confirmed);
    assert!(!on(&lab.read("r", "switched_on").await));
}

#[tokio::test(start_paused = true)]
async fn a_safe_state_that_is_not_echoed_is_not_confirmed() {
    let received = Received::default();
    let greeting = vec![kept("n/status", "online"), kept("n/switch/relay/state", "OFF")];
    let dialer = broker(&received, greeting, |_| Do::Send(vec![]));
    let mut lab = Lab::start(vec![setup("r", relay(), "mqtt://b/n", &[])], dialer);
    lab.ready().await;
    lab.fleet.safe_state("r").unwrap();
    let (confirmed, detail) = lab
        .wait(|notice| match notice {
            Notice::SafeState { confirmed, detail, .. } => Some((*confirmed, detail.clone())),
            _ => None,
        })
        .await;
    assert!(!confirmed && detail.contains("read-back"), "{detail}");
}

#[tokio::test(start_paused = true)]
async fn what_was_known_is_forgotten_with_the_device() {
    let received = Received::default();
    let dialer = broker(&received, vec![kept("n/status", "online")], |_| {
        Do::Send(vec![live("n/switch/relay/state", "ON"), live("n/status", "offline")])
    });
    let mut lab = Lab::start(vec![setup("r", relay(), "mqtt://b/n", &[])], dialer);
    lab.ready().await;
    assert_eq!(failure(&lab.run(short("a", "r", "switch_on")).await).0, "link");
    let values: Vec<Value> = lab
        .seen
        .iter()
        .filter_map(|notice| match notice {
            Notice::Sample { value, .. } => Some(value.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(values.first(), Some(&Value::Bool(true)));
    let missing = lab.wait(|notice| match notice {
        Notice::Sample { value: Value::Missing(why), .. } => Some(why.to_string()),
        _ => None,
    });
    assert!(missing.await.contains("last will"));
    assert_eq!(failure(&lab.read("r", "switched_on").await).0, "link");
}

#[tokio::test(start_paused = true)]
async fn a_notification_that_leaves_a_field_out_changes_nothing() {
    let received = Received::default();
    let notify = |switch: &str| {
        let params = format!("{{\"params\":{{\"ts\":1.5,\"switch:0\":{switch}}}}}");
        live("s/events/rpc", &params)
    };
    let greeting = vec![
        kept("s/online", "true"),
        notify("{\"id\":0,\"output\":true}"),
        notify("{\"id\":0,\"apower\":8.9}"),
        live("s/events/rpc", "{\"params\":{\"ts\":2.5,\"sys\":{}}}"),
    ];
    let streamed = "    query:\n      publish: rpc\n      json:\n        id: ${ command.id }\n        \
                    src: ${ command.client }\n        method: Switch.GetStatus\n        params: {id: \
                    \"${ config.output }\"}\n      reply: {topic: \"{command.client}/rpc\", \
                    correlate: {json: id}, json: result.output, error: error}\n    every: 10 s\n";
    let shelly = definition("power_switch/shelly-gen2-switch.yaml", &[(streamed, "")]);
    let dialer = broker(&received, greeting, |_| Do::Send(vec![]));
    let mut lab = Lab::start(vec![setup("s", shelly, "mqtt://b/s", &[])], dialer);
    lab.ready().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(on(&lab.read("s", "switched_on").await));
    let missing = lab
        .seen
        .iter()
        .any(|notice| matches!(notice, Notice::Sample { value: Value::Missing(_), .. }));
    assert!(!missing, "{:?}", lab.seen);
    // It says when: with `time:` its clock goes with the value.
    let told = lab.seen.iter().find_map(|notice| match notice {
        Notice::Sample { value: Value::Bool(true), about, .. } => Some(about.device_ms),
        _ => None,
    });
    assert_eq!(told, Some(Some(1_500)));
}

#[tokio::test(start_paused = true)]
async fn answers_that_fill_several_properties_fill_them_all() {
    let received = Received::default();
    let dialer = broker(&received, vec![kept("s/online", "true")], |publish| {
        let (topic, json) = text(publish);
        assert_eq!(topic, "s/rpc");
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let (id, src) = (json["id"].as_str().unwrap(), json["src"].as_str().unwrap());
        let result =
            "{\"output\":false,\"apower\":0.5,\"voltage\":230.1,\"temperature\":{\"tC\":40}}";
        Do::Send(vec![live(
            &format!("{src}/rpc"),
            &format!("{{\"id\":\"{id}\",\"result\":{result}}}"),
        )])
    });
    let shelly = definition("power_switch/shelly-gen2-switch.yaml", &[]);
    let mut lab = Lab::start(vec![setup("s", shelly, "mqtt://b/s", &[])], dialer);
    lab.ready().await;
    assert!(!on(&lab.read("s", "switched_on").await));
    assert_eq!(value(&lab.read("s", "power").await), quantity("0.5 W"));
    let Value::Quantity(inside) = value(&lab.read("s", "temperature").await) else { panic!() };
    assert!((inside.value - 313.15).abs() < 1e-9);
    assert_eq!(failure(&lab.read("s", "current").await).0, "timeout", "it was never said");
}

const PATIENT: &str = r#"
schema: labloop/instrument/v1
name: patient
type: gripper
connection: {mqtt: {version: 5}, reply_timeout: 5 s}
actions:
  grip:
    do:
      - publish: do/open
        json: {n: "${ command.number }"}
        qos: 0
        expiry: 3 s
        reply: {topic: result, correlate: {json: n}, while: {state: [accepted, moving]}, error: error}
      - publish: do/close
        json: {n: "${ command.number }", id: "${ command.id }"}
        reply: {topic: result, correlate: {json: n}, while: {state: [accepted, moving]}, error: error}
    returns: {type: number}
    effect: once
    starts: [moves]
    takes: {timeout: 1 min}
safe_state: [{publish: do/open, json: {}}]
examples: []
"#;

fn grip(replies: impl FnMut(&Publish, u64) -> Do + Send + 'static) -> (Received, Lab) {
    let returns = PATIENT.replace("returns: {type: number}\n    ", "");
    let patient = written("patient.yaml", &returns);
    let received = Received::default();
    let mut replies = replies;
    let dialer = broker(&received, vec![], move |publish| {
        let json: serde_json::Value = serde_json::from_slice(&publish.payload).unwrap();
        replies(publish, json["n"].as_u64().unwrap())
    });
    (received, Lab::start(vec![setup("g", patient, "mqtt://b/g", &[])], dialer))
}

fn result(number: u64, state: &str) -> Out {
    live("g/result", &format!("{{\"n\":{number},\"state\":\"{state}\"}}"))
}

#[tokio::test(start_paused = true)]
async fn accepted_and_moving_are_not_yet_done() {
    let (received, mut lab) = grip(|_, number| {
        let all = ["accepted", "moving", "moving", "done"];
        Do::Later(Duration::from_secs(2), all.iter().map(|word| result(number, word)).collect())
    });
    lab.ready().await;
    let begun = tokio::time::Instant::now();
    let outcome = lab.run(command("a", "g", "grip", &[])).await;
    assert!(is_done(&outcome), "{outcome:?}");
    assert_eq!(begun.elapsed(), Duration::from_secs(4));
    let sent = received.lock().unwrap().clone();
    let expiry = |at: usize| sent[at].properties.clone().and_then(|p| p.message_expiry_interval);
    assert_eq!((sent[0].pkid, expiry(0), expiry(1)), (0, Some(3), Some(5)), "QoS 0 is its own");
    assert_eq!(text(&sent[1]).1, "{\"id\":\"a/2\",\"n\":2}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_twice_does_not_answer_the_next_message() {
    let mut second = false;
    let (received, mut lab) = grip(move |_, number| {
        if std::mem::replace(&mut second, true) {
            // The first answer again, as QoS 1 may.
            Do::Send(vec![result(number - 1, "done")])
        } else {
            Do::Send(vec![result(number, "done"), result(number, "done")])
        }
    });
    lab.ready().await;
    let outcome = lab.run(command("a", "g", "grip", &[])).await;
    assert_eq!(failure(&outcome), ("timeout", "Unknown".to_owned()));
    assert_eq!(received.lock().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_error_after_it_was_accepted_has_an_unknown_effect() {
    let (_, mut lab) = grip(|_, number| {
        let error = format!("{{\"n\":{number},\"error\":\"jammed\"}}");
        Do::Send(vec![result(number, "accepted"), live("g/result", &error)])
    });
    lab.ready().await;
    let outcome = lab.run(command("a", "g", "grip", &[])).await;
    assert_eq!(failure(&outcome), ("refused", "Unknown".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_question_and_a_command_are_never_out_together() {
    let received = Received::default();
    let dialer = broker(&received, vec![kept("tele/p/LWT", "Online")], |publish| {
        let (topic, word) = text(publish);
        let answer = match (topic.as_str(), word.as_str()) {
            ("cmnd/p/POWER", "") => live("stat/p/RESULT", "{\"POWER\":\"OFF\"}"),
            ("cmnd/p/POWER", word) => live("stat/p/RESULT", &format!("{{\"POWER\":\"{word}\"}}")),
            _ => live("stat/p/STATUS10", "{\"StatusSNS\":{\"ENERGY\":{\"Power\":3}}}"),
        };
        Do::Later(Duration::from_secs(1), vec![answer])
    });
    let polled = definition("power_switch/tasmota-plug.yaml", &[]);
    let mut lab = Lab::start(vec![setup("p", polled, "mqtt://b/p", &[])], dialer);
    lab.ready().await;
    // The first question is out: the command waits for its answer, and goes before the second.
    let begun = tokio::time::Instant::now();
    assert!(is_done(&lab.run(command("a", "p", "switch_on", &[])).await));
    assert!(begun.elapsed() >= Duration::from_secs(2));
    let sent = received.lock().unwrap().clone();
    assert_eq!(text(&sent[0]).1, "10");
    assert_eq!(text(&sent[1]).1, "ON");
}

#[tokio::test(start_paused = true)]
async fn the_safe_state_of_a_node_that_was_never_born_is_said_all_the_same() {
    let received = Received::default();
    let dialer = broker(&received, vec![], |_| Do::Send(vec![]));
    let switch = definition("power_switch/sparkplug-switch.yaml", &[]);
    let mut lab = Lab::start(vec![setup("x", switch, "mqtt://b/lab/edge/relay", &[])], dialer);
    assert!(lab.fleet.ready(Duration::from_secs(5)).await["x"].is_err());
    assert_eq!(failure(&lab.run(short("a", "x", "switch_on")).await).1, "NotSent");
    lab.fleet.safe_state("x").unwrap();
    let confirmed = lab
        .wait(|notice| match notice {
            Notice::SafeState { confirmed, .. } => Some(*confirmed),
            _ => None,
        })
        .await;
    assert!(!confirmed, "nothing has shown it");
    assert_eq!(topics(&received, "spBv1.0/lab/DCMD/edge/relay"), 1);
    assert!(topics(&received, "spBv1.0/lab/NCMD/edge") >= 2, "its births were asked for");
}
