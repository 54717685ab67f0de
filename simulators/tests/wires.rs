//! The virtual instruments as whoever drives them meets them: bytes over pipes, terminals and sockets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use labloop_simulators::{
    DeviceConfig, LabConfig, Models, PlantConfig, ServeOptions, in_memory, serve,
};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PublishProperties};
use serde_json::{Value as Json, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout};

const BUS: &str = "serial:/dev/pumps";
const BATH: &str = "modbus+tcp://10.0.0.1:502?unit=3";
const UV: &str = "mqtt://10.0.0.2:1883/bench/uv";
const LIGHT: &str = "mqtt://10.0.0.2:1883/sdl-demo/picow/7";

fn lab(speed: f64, settings: &[(&str, f64)]) -> LabConfig {
    let device = |name: &str, model: &str, address: &str, config: Json| DeviceConfig {
        name: name.into(),
        model: model.into(),
        address: address.into(),
        config: config.as_object().unwrap().clone().into_iter().collect(),
    };
    let wiring = [("feed_a", "pump_1"), ("feed_b", "pump_2"), ("heater", "bath_1")];
    LabConfig {
        seed: 1,
        speed,
        devices: vec![
            device("pump_1", "newera-ne1000", BUS, json!({})),
            device("pump_2", "newera-ne1000", BUS, json!({"address": 1})),
            device("bath_1", "eurotherm-3216", BATH, json!({})),
            device("uv_1", "mqtt5-spectrometer", UV, json!({})),
            device("light_1", "as7341-picow", LIGHT, json!({})),
        ],
        plant: Some(PlantConfig {
            name: "snar-flow".into(),
            wiring: wiring.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect(),
            settings: settings.iter().map(|(k, v)| ((*k).into(), *v)).collect::<BTreeMap<_, _>>(),
        }),
    }
}

/// Sends a command to a pump and reads the answer without STX and ETX.
async fn say<S: AsyncRead + AsyncWrite + Unpin>(line: &mut S, command: &str) -> String {
    line.write_all(format!("{command}\r").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = async {
        loop {
            match line.read_u8().await.unwrap() {
                0x02 => answer.clear(),
                0x03 => break,
                byte => answer.push(byte),
            }
        }
    };
    timeout(Duration::from_secs(5), read).await.expect("an answer");
    String::from_utf8(answer).unwrap()
}

async fn ask_modbus<S: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut S,
    unit: u8,
    pdu: &[u8],
) -> Vec<u8> {
    let mut frame = vec![0x12, 0x34, 0, 0, 0, u8::try_from(pdu.len() + 1).unwrap(), unit];
    frame.extend_from_slice(pdu);
    wire.write_all(&frame).await.unwrap();
    let mut header = [0; 7];
    wire.read_exact(&mut header).await.unwrap();
    assert_eq!((&header[..4], header[6]), (&[0x12, 0x34, 0, 0][..], unit));
    let mut pdu = vec![0; usize::from(header[5]) - 1];
    wire.read_exact(&mut pdu).await.unwrap();
    pdu
}

/// A dispense on a virtual clock, over two connections; what was said and the lab time it took.
async fn dispense_twice() -> (Vec<String>, Duration) {
    let start = Instant::now();
    let lab = in_memory(&lab(1.0, &[]), Models::new()).unwrap();
    let mut line = lab.dial(BUS).unwrap();
    let mut said = Vec::new();
    for command in ["", "1", "DIA14.57", "VOLML", "VOL0.500", "RAT1.000MM", "DIRINF", "RUN"] {
        said.push(say(&mut line, command).await);
    }
    drop(line);
    tokio::time::sleep(Duration::from_secs(15)).await;
    let mut line = lab.dial(BUS).unwrap();
    said.push(say(&mut line, "DIS").await);
    tokio::time::sleep(Duration::from_secs(16)).await;
    for command in ["", "DIS", "1DIS"] {
        said.push(say(&mut line, command).await);
    }
    assert_eq!(lab.effects().len(), 1);
    assert_eq!(lab.effects()[0].detail["volume_ml"], 0.5);
    (said, start.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_pump_goes_on_while_nobody_listens_and_the_same_seed_is_the_same_to_the_nanosecond() {
    let (said, took) = dispense_twice().await;
    let moving = said[8].strip_prefix("00II0.2").unwrap();
    assert!(moving.ends_with("W0.000ML"), "{moving}");
    assert_eq!(said[..8], ["00A?R", "01A?R", "00S", "00S", "00S", "00S", "00S", "00I"]);
    assert_eq!(said[9..], ["00S", "00SI0.500W0.000ML", "01SI0.000W0.000ML"]);
    assert_eq!(dispense_twice().await, (said, took));
}

#[tokio::test(start_paused = true)]
async fn a_lost_reply_hides_a_command_that_was_carried_out_and_silence_one_that_was_not() {
    for (setting, executed) in [("pump_1_lost_reply_every", true), ("pump_1_silence_every", false)]
    {
        let lab = in_memory(&lab(1.0, &[(setting, 1.0)]), Models::new()).unwrap();
        let mut line = lab.dial(BUS).unwrap();
        for command in ["\r", "RAT1.0MM\r", "RUN\r"] {
            line.write_all(command.as_bytes()).await.unwrap();
        }
        let mut byte = [0];
        let read = timeout(Duration::from_secs(60), line.read(&mut byte)).await;
        assert!(read.is_err(), "it answered");
        assert_eq!(lab.effects().len(), usize::from(executed), "{setting}");
        assert_eq!(say(&mut line, "1").await, "01A?R", "the other pump is well");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_instrument_carries_out_what_it_was_told_after_the_sender_has_gone() {
    let lab = in_memory(&lab(1.0, &[("pump_1_effect_delay", 0.5)]), Models::new()).unwrap();
    let mut line = lab.dial(BUS).unwrap();
    for command in ["", "RAT1.0MM"] {
        say(&mut line, command).await;
    }
    line.write_all(b"RUN\r").await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(line);
    assert_eq!(lab.effects().len(), 0, "it has not begun");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(lab.effects().len(), 1, "it began all the same");
}

#[tokio::test(start_paused = true)]
async fn a_gateway_answers_for_the_units_it_does_not_have() {
    let lab = in_memory(&lab(1.0, &[]), Models::new()).unwrap();
    let mut wire = lab.dial(BATH).unwrap();
    assert_eq!(ask_modbus(&mut wire, 3, &[3, 0, 1, 0, 1]).await, [3, 2, 0, 250]);
    assert_eq!(ask_modbus(&mut wire, 1, &[3, 0, 1, 0, 1]).await, [0x83, 11]);
    wire.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert_eq!(wire.read(&mut [0; 16]).await.unwrap(), 0, "it hangs up on what is not Modbus");
    assert!(lab.dial("modbus+tcp://10.9.9.9:502").is_err());
}

#[test]
fn what_cannot_be_simulated_is_refused_by_name() {
    let refused = |config: &LabConfig| in_memory(config, Models::new()).err().unwrap().to_string();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _entered = runtime.enter();
    let message = refused(&lab(1.0, &[("pump_9_delay", 1.0)]));
    assert!(message.contains("pump_9_delay") && message.contains("INSTRUMENT_delay"), "{message}");
    let mut unknown = lab(1.0, &[]);
    unknown.devices[0].model = "acme-1".into();
    assert!(refused(&unknown).contains("acme-1"));
    let mut unwired = lab(1.0, &[]);
    unwired.plant.as_mut().unwrap().wiring.remove("heater");
    assert!(refused(&unwired).contains("heater"));
}

struct Served {
    endpoints: BTreeMap<String, String>,
    folder: PathBuf,
    task: tokio::task::JoinHandle<()>,
}

async fn served(name: &str, linger: Duration) -> Served {
    let folder = std::env::temp_dir().join(format!("labloop-wires-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let ready = folder.join("ready.json");
    let options = ServeOptions {
        anywhere: true,
        broker: true,
        ready_file: Some(ready.clone()),
        linger: Some(linger),
        log: Some(folder.join("effects.jsonl")),
        ..ServeOptions::default()
    };
    let task =
        tokio::spawn(async move { serve(lab(60.0, &[]), Models::new(), options).await.unwrap() });
    let start = Instant::now();
    while !ready.exists() {
        assert!(start.elapsed() < Duration::from_secs(10), "the simulators did not start");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let told: Json = serde_json::from_slice(&std::fs::read(&ready).unwrap()).unwrap();
    let endpoints = serde_json::from_value(told["endpoints"].clone()).unwrap();
    Served { endpoints, folder, task }
}

impl Served {
    fn place(&self, address: &str) -> &str {
        let actual = &self.endpoints[address];
        let place = actual.split_once(':').unwrap().1.trim_start_matches("//");
        place.split(['?']).next().unwrap()
    }

    fn broker(&self) -> (String, u16) {
        let host = self.place(UV).split('/').next().unwrap();
        let (server, port) = host.split_once(':').unwrap();
        (server.to_owned(), port.parse().unwrap())
    }
}

#[tokio::test]
async fn pumps_on_a_terminal_keep_their_state_when_the_other_side_goes_and_comes_back() {
    let served = served("pty", Duration::from_secs(30)).await;
    let open = || {
        use tokio_serial::SerialPortBuilderExt;
        tokio_serial::new(served.place(BUS), 19_200).open_native_async().unwrap()
    };
    let mut line = open();
    assert_eq!(say(&mut line, "").await, "00A?R");
    for command in ["VOL1.0", "RAT2.0MM"] {
        assert_eq!(say(&mut line, command).await, "00S");
    }
    assert_eq!(say(&mut line, "RUN").await, "00I");
    drop(line);
    // 30 s of lab time at speed 60.
    tokio::time::sleep(Duration::from_millis(700)).await;
    let mut line = open();
    assert_eq!(say(&mut line, "DIS").await, "00SI1.000W0.000ML");
    assert_eq!(say(&mut line, "1").await, "01A?R");
    let log = std::fs::read_to_string(served.folder.join("effects.jsonl")).unwrap();
    let effects: Vec<Json> = log.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(effects.len(), 1);
    assert_eq!(
        (&effects[0]["instrument"], &effects[0]["effect"]),
        (&json!("pump_1"), &json!("dispense"))
    );
    assert_eq!(effects[0]["detail"]["volume_ml"], json!(1.0));
    served.task.abort();
}

#[tokio::test]
async fn a_controller_on_a_socket_heats_and_the_simulators_end_when_all_have_gone() {
    let served = served("tcp", Duration::from_millis(300)).await;
    let mut wire = tokio::net::TcpStream::connect(served.place(BATH)).await.unwrap();
    let target = [16, 0, 24, 0, 1, 2, 3, 0x20];
    assert_eq!(ask_modbus(&mut wire, 3, &target).await, target[..5]);
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    let answer = ask_modbus(&mut wire, 3, &[3, 0, 1, 0, 1]).await;
    let celsius = f64::from(u16::from_be_bytes([answer[2], answer[3]])) / 10.0;
    assert!((celsius - 80.0).abs() < 0.5, "{celsius} after a minute of lab time");
    drop(wire);
    timeout(Duration::from_secs(5), served.task).await.expect("they end").unwrap();
    assert!(!served.folder.join("ready.json").exists(), "nobody is sent to closed doors");
}

#[tokio::test]
async fn a_spectrum_comes_back_on_the_response_topic_with_its_correlation_data() {
    let served = served("mqtt5", Duration::from_secs(30)).await;
    let (server, port) = served.broker();
    let options = rumqttc::v5::MqttOptions::new("engine", server, port);
    let (client, mut events) = rumqttc::v5::AsyncClient::new(options, 16);
    client.subscribe("bench/uv/status", QoS::AtLeastOnce).await.unwrap();
    client.subscribe("reply/here", QoS::AtLeastOnce).await.unwrap();
    let properties = PublishProperties {
        response_topic: Some("reply/here".into()),
        correlation_data: Some("42".into()),
        ..PublishProperties::default()
    };
    let body = br#"{"integration_ms":50,"averages":20}"#;
    let publish = client.publish_with_properties(
        "bench/uv/measure",
        QoS::AtLeastOnce,
        false,
        &body[..],
        properties,
    );
    publish.await.unwrap();
    let mut messages = Vec::new();
    while messages.len() < 2 {
        let event = timeout(Duration::from_secs(5), events.poll()).await.unwrap().unwrap();
        if let rumqttc::v5::Event::Incoming(Packet::Publish(message)) = event {
            messages.push(message);
        }
    }
    assert_eq!(
        (&messages[0].topic[..], &messages[0].payload[..]),
        (&b"bench/uv/status"[..], &b"online"[..])
    );
    assert!(messages[0].retain);
    assert_eq!(messages[1].topic, "reply/here");
    let asked = messages[1].properties.clone().unwrap();
    assert_eq!(asked.correlation_data.unwrap(), "42");
    let spectrum: Json = serde_json::from_slice(&messages[1].payload).unwrap();
    for key in ["wavelength_nm", "absorbance", "counts"] {
        assert_eq!(spectrum[key].as_array().unwrap().len(), 81, "{key}");
    }
    served.task.abort();
}

#[tokio::test]
async fn the_light_kit_answers_a_client_of_the_older_mqtt_too_and_echoes_its_command() {
    let served = served("mqtt3", Duration::from_secs(30)).await;
    let (server, port) = served.broker();
    let mut options = rumqttc::MqttOptions::new("kit-user", server, port);
    options.set_keep_alive(Duration::from_secs(5));
    let (client, mut events) = rumqttc::AsyncClient::new(options, 16);
    client.subscribe("sdl-demo/picow/7/as7341/", rumqttc::QoS::AtMostOnce).await.unwrap();
    let body = r#"{"R":10,"G":0,"B":255,"_experiment_id":"e-1"}"#;
    let topic = "sdl-demo/picow/7/GPIO/28/";
    client.publish(topic, rumqttc::QoS::AtLeastOnce, false, body).await.unwrap();
    let reading = loop {
        let event = timeout(Duration::from_secs(5), events.poll()).await.unwrap().unwrap();
        if let rumqttc::Event::Incoming(rumqttc::Packet::Publish(message)) = event {
            break serde_json::from_slice::<Json>(&message.payload).unwrap();
        }
    };
    assert_eq!(reading["_input_message"]["_experiment_id"], json!("e-1"));
    let channel = |name: &str| reading[name].as_f64().unwrap();
    assert!(channel("ch470") > 20_000.0 && channel("ch670") < 1_000.0, "{reading}");
    served.task.abort();
}
