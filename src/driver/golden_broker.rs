//! Broker and instrument in one, for golden messages over MQTT.

use bytes::{Bytes, BytesMut};
use rumqttc::mqttbytes::v4;
use rumqttc::v5::mqttbytes::{QoS, v5};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::golden::{same_payload, show_payload};
use crate::wire::mqtt::Version;

/// One message of a script.
#[derive(Debug)]
pub(super) struct Line {
    /// The instrument publishes it.
    pub inward: bool,
    pub topic: String,
    pub payload: Vec<u8>,
}

/// What a client sends.
enum Packet {
    Connect,
    Subscribe(u16, usize),
    Publish { id: u16, topic: String, payload: Vec<u8>, reply: Option<(String, Option<Bytes>)> },
    Other,
}

/// Plays a script to its end, and then until the client leaves.
pub(super) async fn play(
    mut far: DuplexStream,
    script: Vec<Line>,
    version: Version,
    alive: Option<(String, String)>,
) -> Result<(), String> {
    let mut script = script.into_iter().peekable();
    let mut arrived = BytesMut::new();
    let mut number = 0;
    loop {
        let mut out = BytesMut::new();
        match read(version, &mut arrived)? {
            None => {
                if far.read_buf(&mut arrived).await.unwrap_or(0) == 0 {
                    break;
                }
                continue;
            }
            Some(Packet::Connect) => match version {
                Version::V5 => out.extend([0x20, 3, 0, 0, 0]),
                Version::V3 => out.extend([0x20, 2, 0, 0]),
            },
            Some(Packet::Subscribe(id, count)) => {
                let [high, low] = id.to_be_bytes();
                let extra = u8::from(version == Version::V5);
                let count = u8::try_from(count).unwrap_or(0);
                out.extend([0x90, 2 + extra + count, high, low]);
                out.extend(std::iter::repeat_n(0, usize::from(extra)));
                out.extend(std::iter::repeat_n(1, usize::from(count)));
                if let Some((topic, word)) = &alive {
                    send(version, &mut out, topic, word.as_bytes(), true, None)?;
                }
                // Streams speak before they are asked.
                while let Some(line) = script.next_if(|line| line.inward) {
                    send(version, &mut out, &line.topic, &line.payload, false, None)?;
                }
            }
            Some(Packet::Publish { id, topic, payload, reply }) => {
                number += 1;
                let expected = script.next().ok_or_else(|| {
                    format!("after the last message comes `{topic} {}`", show_payload(&payload))
                })?;
                if expected.topic != topic || !same_payload(&payload, &expected.payload) {
                    return Err(format!(
                        "message {number} should be `{} {}`, it is `{topic} {}`",
                        expected.topic,
                        show_payload(&expected.payload),
                        show_payload(&payload)
                    ));
                }
                if id != 0 {
                    let [high, low] = id.to_be_bytes();
                    out.extend([0x40, 2, high, low]);
                }
                while let Some(line) = script.next_if(|line| line.inward) {
                    let data = reply.as_ref().filter(|(topic, _)| *topic == line.topic);
                    let data = data.and_then(|(_, data)| data.clone());
                    send(version, &mut out, &line.topic, &line.payload, false, data)?;
                }
            }
            Some(Packet::Other) => {}
        }
        if far.write_all(&out).await.is_err() {
            break;
        }
    }
    match script.next() {
        Some(line) => Err(format!("`{} {}` was not sent", line.topic, show_payload(&line.payload))),
        None => Ok(()),
    }
}

fn read(version: Version, arrived: &mut BytesMut) -> Result<Option<Packet>, String> {
    match version {
        Version::V5 => match v5::Packet::read(arrived, None) {
            Err(rumqttc::v5::mqttbytes::Error::InsufficientBytes(_)) => Ok(None),
            Err(error) => Err(error.to_string()),
            Ok(v5::Packet::Connect(..)) => Ok(Some(Packet::Connect)),
            Ok(v5::Packet::Subscribe(s)) => Ok(Some(Packet::Subscribe(s.pkid, s.filters.len()))),
            Ok(v5::Packet::Publish(p)) => {
                let properties = p.properties.unwrap_or_default();
                Ok(Some(Packet::Publish {
                    id: p.pkid,
                    topic: String::from_utf8_lossy(&p.topic).into_owned(),
                    payload: p.payload.to_vec(),
                    reply: properties.response_topic.map(|t| (t, properties.correlation_data)),
                }))
            }
            Ok(_) => Ok(Some(Packet::Other)),
        },
        Version::V3 => match v4::Packet::read(arrived, usize::MAX) {
            Err(rumqttc::mqttbytes::Error::InsufficientBytes(_)) => Ok(None),
            Err(error) => Err(error.to_string()),
            Ok(v4::Packet::Connect(..)) => Ok(Some(Packet::Connect)),
            Ok(v4::Packet::Subscribe(s)) => Ok(Some(Packet::Subscribe(s.pkid, s.filters.len()))),
            Ok(v4::Packet::Publish(p)) => Ok(Some(Packet::Publish {
                id: p.pkid,
                topic: p.topic,
                payload: p.payload.to_vec(),
                reply: None,
            })),
            Ok(_) => Ok(Some(Packet::Other)),
        },
    }
}

fn send(
    version: Version,
    out: &mut BytesMut,
    topic: &str,
    payload: &[u8],
    retain: bool,
    correlation: Option<Bytes>,
) -> Result<(), String> {
    match version {
        Version::V5 => {
            let properties = v5::PublishProperties {
                correlation_data: correlation,
                ..v5::PublishProperties::default()
            };
            let payload = payload.to_vec();
            let mut packet = v5::Publish::new(topic, QoS::AtMostOnce, payload, Some(properties));
            packet.retain = retain;
            packet.write(out).map(|_| ()).map_err(|error| error.to_string())
        }
        Version::V3 => {
            let mut packet = v4::Publish::new(topic, rumqttc::QoS::AtMostOnce, payload.to_vec());
            packet.retain = retain;
            packet.write(out).map(|_| ()).map_err(|error| error.to_string())
        }
    }
}
