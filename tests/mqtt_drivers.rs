//! What a driver over MQTT promises, against a broker and a gateway in one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod peer;

use std::time::Duration;

use bytes::Bytes;
use labloop::driver::{InstrumentSetup, Notice, Outcome};
use labloop::expr::Value;
use peer::broker::{Do, Out, Received, broker};
use peer::{Lab, command, definition, failure, is_done, setup};
use rumqttc::v5::mqttbytes::v5::Publish;

fn online() -> Vec<Out> {
    vec![Out {
        topic: "lab/uv/status".into(),
        payload: "online".into(),
        retain: true,
        ..Out::default()
    }]
}

fn spectrometer() -> InstrumentSetup {
    setup("uv", definition("spectrometer/mqtt5-spectrometer.yaml", &[]), "mqtt://b/lab/uv", &[])
}

fn light() -> InstrumentSetup {
    setup(
        "light",
        definition("spectrometer/as7341-picow.yaml", &[]),
        "mqtt://b/sdl-demo/picow/7",
        &[],
    )
}

fn spectrum(request: &Publish, absorbance: f64) -> Out {
    let properties = request.properties.clone().unwrap();
    Out {
        topic: properties.response_topic.unwrap(),
        payload: format!("{{\"wavelength_nm\":[400,500],\"absorbance\":[0.5,{absorbance}]}}"),
        correlation: properties.correlation_data,
        retain: false,
    }
}

fn ordinates(outcome: &Outcome) -> Vec<f64> {
    match outcome {
        Outcome::Done { value: Some(Value::Series(series)), .. } => series.y.clone(),
        other => panic!("{other:?}"),
    }
}

fn reading(request: &Publish, first: u32) -> Out {
    let input = String::from_utf8(request.payload.to_vec()).unwrap();
    let channels = [410, 440, 470, 510, 550, 583, 620, 670];
    let channels: Vec<String> = channels
        .iter()
        .zip(first..)
        .map(|(channel, number)| format!("\"ch{channel}\":{number}"))
        .collect();
    Out {
        topic: "sdl-demo/picow/7/as7341/".into(),
        payload: format!("{{{},\"_input_message\":{input}}}", channels.join(",")),
        ..Out::default()
    }
}

fn color(attempt: &str) -> labloop::driver::Command {
    command(attempt, "light", "measure", &[("red", "10"), ("green", "0"), ("blue", "255")])
}

#[tokio::test(start_paused = true)]
async fn a_spectrum_comes_back_by_correlation_data() {
    let received = Received::default();
    let dialer = broker(&received, online(), |request| Do::Send(vec![spectrum(request, 0.25)]));
    let mut lab = Lab::start(vec![spectrometer()], dialer);
    lab.ready().await;
    let outcome = lab.run(command("m", "uv", "measure", &[("averages", "2")])).await;
    assert_eq!(ordinates(&outcome), [0.5, 0.25]);
    let sent = received.lock().unwrap()[0].clone();
    assert_eq!(sent.topic, "lab/uv/measure");
    assert_eq!(sent.payload, r#"{"averages":2,"integration_ms":50}"#);
    let properties = sent.properties.unwrap();
    assert_eq!(properties.response_topic.as_deref(), Some("lab/uv/reply"));
    // A command that a broker held back must not reach the instrument later.
    assert_eq!(properties.message_expiry_interval, Some(30));
    assert!(!sent.retain);
}

#[tokio::test(start_paused = true)]
async fn duplicates_retained_and_foreign_answers_are_passed_over() {
    let received = Received::default();
    let dialer = broker(&received, online(), |request| {
        let right = spectrum(request, 0.25);
        let foreign = Out { correlation: Some(Bytes::from_static(b"x")), ..spectrum(request, 9.0) };
        let nameless = Out { correlation: None, ..spectrum(request, 8.0) };
        let retained = Out { retain: true, ..spectrum(request, 7.0) };
        Do::Send(vec![foreign, nameless, retained, right.clone(), right])
    });
    let mut lab = Lab::start(vec![spectrometer()], dialer);
    lab.ready().await;
    for attempt in ["m1", "m2"] {
        let outcome = lab.run(command(attempt, "uv", "measure", &[])).await;
        assert_eq!(ordinates(&outcome), [0.5, 0.25], "{attempt}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_belongs_to_the_attempt_it_names() {
    let received = Received::default();
    let mut first = None;
    let dialer = broker(&received, Vec::new(), move |request| match first.take() {
        None => {
            first = Some(reading(request, 100));
            Do::Send(Vec::new())
        }
        Some(late) => Do::Send(vec![late, reading(request, 200)]),
    });
    let mut lab = Lab::start(vec![light()], dialer);
    lab.ready().await;
    let outcome =
        lab.run(labloop::driver::Command { deadline: Duration::from_secs(5), ..color("a") }).await;
    assert_eq!(failure(&outcome), ("timeout", "Unknown".to_owned()));
    let outcome = lab.run(color("b")).await;
    assert_eq!(ordinates(&outcome)[0], 200.0);
    assert_eq!(received.lock().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_error_in_the_answer_is_a_refusal() {
    let received = Received::default();
    let dialer = broker(&received, online(), |request| {
        Do::Send(vec![Out {
            payload: "{\"error\":\"lamp cold\"}".into(),
            ..spectrum(request, 0.0)
        }])
    });
    let mut lab = Lab::start(vec![spectrometer()], dialer);
    lab.ready().await;
    let outcome = lab.run(command("m", "uv", "measure", &[])).await;
    assert_eq!(failure(&outcome), ("refused", "NoEffect".to_owned()));
    assert!(format!("{outcome:?}").contains("lamp cold"));
}

#[tokio::test(start_paused = true)]
async fn what_is_no_json_or_lacks_a_channel_is_a_bad_reply() {
    for payload in
        ["not json", "{\"wavelength_nm\":[400]}", "{\"wavelength_nm\":[400],\"absorbance\":[]}"]
    {
        let received = Received::default();
        let dialer = broker(&received, online(), move |request| {
            Do::Send(vec![Out { payload: payload.into(), ..spectrum(request, 0.0) }])
        });
        let mut lab = Lab::start(vec![spectrometer()], dialer);
        lab.ready().await;
        let outcome = lab.run(command("m", "uv", "measure", &[])).await;
        assert_eq!(failure(&outcome), ("bad_reply", "Unknown".to_owned()), "{payload}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_knows_that_nobody_listens_settles_the_matter() {
    let received = Received::default();
    let dialer = broker(&received, Vec::new(), |_| Do::NobodyListens);
    let mut lab = Lab::start(vec![light()], dialer);
    lab.ready().await;
    let begun = tokio::time::Instant::now();
    assert_eq!(failure(&lab.run(color("a")).await), ("link", "NoEffect".to_owned()));
    assert!(begun.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_command_lost_with_its_connection_is_in_doubt_and_never_sent_again() {
    let received = Received::default();
    let mut closed = false;
    let dialer = broker(&received, Vec::new(), move |request| {
        if std::mem::replace(&mut closed, true) {
            Do::Send(vec![reading(request, 5)])
        } else {
            Do::Close
        }
    });
    let mut lab = Lab::start(vec![light()], dialer);
    lab.ready().await;
    assert_eq!(failure(&lab.run(color("a")).await), ("link", "Unknown".to_owned()));
    lab.wait(|notice| matches!(notice, Notice::Link { up: true, .. }).then_some(())).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(received.lock().unwrap().len(), 1);
    assert!(is_done(&lab.run(color("b")).await));
}

#[tokio::test(start_paused = true)]
async fn an_instrument_whose_last_will_was_published_is_gone() {
    let received = Received::default();
    let mut left = false;
    let dialer = broker(&received, online(), move |request| {
        let word = |payload: &str| Out {
            topic: "lab/uv/status".into(),
            payload: payload.into(),
            ..Out::default()
        };
        if std::mem::replace(&mut left, true) {
            Do::Send(vec![spectrum(request, 0.1)])
        } else {
            Do::Later(Duration::from_millis(10), vec![word("offline"), word("online")])
        }
    });
    let mut lab = Lab::start(vec![spectrometer()], dialer);
    lab.ready().await;
    let outcome = lab.run(command("m", "uv", "measure", &[])).await;
    assert_eq!(failure(&outcome), ("link", "Unknown".to_owned()));
    lab.wait(|notice| matches!(notice, Notice::Rebooted { .. }).then_some(())).await;
    assert!(is_done(&lab.run(command("m2", "uv", "measure", &[])).await));
}

#[tokio::test(start_paused = true)]
async fn without_a_sign_of_life_nothing_is_sent() {
    let received = Received::default();
    let dialer = broker(&received, Vec::new(), |_| Do::Send(Vec::new()));
    let mut lab = Lab::start(vec![spectrometer()], dialer);
    let states = lab.fleet.ready(Duration::from_secs(5)).await;
    assert!(states["uv"].as_ref().unwrap_err().contains("liveness"));
    let outcome = lab.run(command("m", "uv", "measure", &[])).await;
    assert_eq!(failure(&outcome), ("link", "NotSent".to_owned()));
    assert!(received.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_safe_state_does_not_wait_for_a_measurement() {
    let received = Received::default();
    let mut first = true;
    let dialer = broker(&received, Vec::new(), move |request| {
        if std::mem::take(&mut first) {
            Do::Send(Vec::new())
        } else {
            Do::Send(vec![reading(request, 0)])
        }
    });
    let mut lab = Lab::start(vec![light()], dialer);
    lab.ready().await;
    lab.fleet.send(color("a")).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let begun = tokio::time::Instant::now();
    lab.fleet.safe_state("light").unwrap();
    let confirmed = lab
        .wait(|notice| match notice {
            Notice::SafeState { confirmed, .. } => Some(*confirmed),
            _ => None,
        })
        .await;
    assert!(confirmed && begun.elapsed() < Duration::from_millis(100));
    let payload = received.lock().unwrap()[1].payload.clone();
    assert!(payload.starts_with(b"{\"B\":0,\"G\":0,\"R\":0,"), "{payload:?}");
}
