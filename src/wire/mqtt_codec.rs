//! The few MQTT packets a client needs, in both versions, over the codecs of `rumqttc`.
//!
//! Only the packet codecs of that crate are used: its event loop cannot run over an in-memory
//! stream, and it sends unacknowledged messages again after a reconnect, which a dosing command
//! must never be.

use bytes::{Bytes, BytesMut};
use rumqttc::mqttbytes::v4;
use rumqttc::v5::mqttbytes::v5;

use super::mqtt::{Login, Message, Version};

/// Largest packet taken from a broker; a spectrum of 10,000 points as JSON is a tenth of it.
pub(super) const LARGEST_PACKET: usize = 16 << 20;

/// What a broker can tell a client.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Packet {
    Connected {
        refused: Option<String>,
        keep_alive: Option<u16>,
    },
    Subscribed {
        id: u16,
        refused: bool,
    },
    Acknowledged {
        id: u16,
        problem: Option<String>,
    },
    Received {
        id: Option<u16>,
        message: Message,
    },
    Alive,
    Goodbye(String),
    /// Not for this client; the session is over.
    Unexpected(&'static str),
}

/// Length of the first packet of what has arrived: `None` while it is not known or not complete.
pub(super) fn complete(arrived: &[u8]) -> Result<Option<usize>, String> {
    let mut length = 0_usize;
    for at in 1..=4 {
        let Some(byte) = arrived.get(at) else { return Ok(None) };
        length |= usize::from(byte & 0x7f) << (7 * (at - 1));
        if byte & 0x80 == 0 {
            let whole = length + at + 1;
            if whole > LARGEST_PACKET {
                return Err(format!("a packet of {whole} bytes is too large"));
            }
            return Ok((arrived.len() >= whole).then_some(whole));
        }
    }
    Err("this is not MQTT".to_owned())
}

/// Reads one complete packet.
pub(super) fn read(version: Version, packet: &[u8]) -> Result<Packet, String> {
    let mut bytes = BytesMut::from(packet);
    match version {
        Version::V5 => {
            let packet = v5::Packet::read(&mut bytes, None).map_err(|e| e.to_string())?;
            Ok(from_v5(packet))
        }
        Version::V3 => {
            let packet = v4::Packet::read(&mut bytes, LARGEST_PACKET).map_err(|e| e.to_string())?;
            Ok(from_v4(packet))
        }
    }
}

fn from_v5(packet: v5::Packet) -> Packet {
    match packet {
        v5::Packet::ConnAck(ack) => {
            let properties = ack.properties;
            let reason = properties.as_ref().and_then(|p| p.reason_string.clone());
            let keep_alive = properties.and_then(|p| p.server_keep_alive);
            let refused = (ack.code != v5::ConnectReturnCode::Success).then(|| match reason {
                Some(reason) => format!("{:?} ({reason})", ack.code),
                None => format!("{:?}", ack.code),
            });
            Packet::Connected { refused, keep_alive }
        }
        v5::Packet::SubAck(ack) => Packet::Subscribed {
            id: ack.pkid,
            refused: !ack
                .return_codes
                .iter()
                .all(|code| matches!(code, v5::SubscribeReasonCode::Success(_))),
        },
        v5::Packet::PubAck(ack) => Packet::Acknowledged {
            id: ack.pkid,
            problem: match ack.reason {
                v5::PubAckReason::Success => None,
                v5::PubAckReason::NoMatchingSubscribers => Some("nobody listens".to_owned()),
                other => Some(format!("the broker refused it: {other:?}")),
            },
        },
        v5::Packet::Publish(publish) => {
            let properties = publish.properties.unwrap_or_default();
            Packet::Received {
                id: (publish.qos != rumqttc::v5::mqttbytes::QoS::AtMostOnce)
                    .then_some(publish.pkid),
                message: Message {
                    topic: String::from_utf8_lossy(&publish.topic).into_owned(),
                    payload: publish.payload.to_vec(),
                    retain: publish.retain,
                    response_topic: properties.response_topic,
                    correlation: properties.correlation_data.map(|data| data.to_vec()),
                    expiry: properties.message_expiry_interval,
                },
            }
        }
        v5::Packet::PingResp(_) => Packet::Alive,
        v5::Packet::Disconnect(goodbye) => Packet::Goodbye(format!("{:?}", goodbye.reason_code)),
        v5::Packet::PubRec(_) | v5::Packet::PubRel(_) | v5::Packet::PubComp(_) => {
            Packet::Unexpected("a step of QoS 2, which was not asked for")
        }
        _ => Packet::Unexpected("a packet that only clients send"),
    }
}

fn from_v4(packet: v4::Packet) -> Packet {
    match packet {
        v4::Packet::ConnAck(ack) => Packet::Connected {
            refused: (ack.code != v4::ConnectReturnCode::Success)
                .then(|| format!("{:?}", ack.code)),
            keep_alive: None,
        },
        v4::Packet::SubAck(ack) => Packet::Subscribed {
            id: ack.pkid,
            refused: !ack
                .return_codes
                .iter()
                .all(|code| matches!(code, v4::SubscribeReasonCode::Success(_))),
        },
        v4::Packet::PubAck(ack) => Packet::Acknowledged { id: ack.pkid, problem: None },
        v4::Packet::Publish(publish) => Packet::Received {
            id: (publish.qos != rumqttc::QoS::AtMostOnce).then_some(publish.pkid),
            message: Message {
                topic: publish.topic,
                payload: publish.payload.to_vec(),
                retain: publish.retain,
                response_topic: None,
                correlation: None,
                expiry: None,
            },
        },
        v4::Packet::PingResp => Packet::Alive,
        v4::Packet::Disconnect => Packet::Goodbye("the broker ended the session".to_owned()),
        v4::Packet::PubRec(_) | v4::Packet::PubRel(_) | v4::Packet::PubComp(_) => {
            Packet::Unexpected("a step of QoS 2, which was not asked for")
        }
        _ => Packet::Unexpected("a packet that only clients send"),
    }
}

pub(super) fn connect(
    version: Version,
    client_id: &str,
    keep_alive: u16,
    login: Option<&Login>,
    will: Option<&Message>,
) -> Result<Vec<u8>, String> {
    let mut out = BytesMut::new();
    let written = match version {
        Version::V5 => {
            // What is larger would end the session again and again; the broker keeps it to itself.
            let mut properties = v5::ConnectProperties::new();
            properties.max_packet_size = u32::try_from(LARGEST_PACKET).ok();
            let connect = v5::Connect {
                keep_alive,
                client_id: client_id.to_owned(),
                clean_start: true,
                properties: Some(properties),
            };
            let login =
                login.map(|l| v5::Login { username: l.user.clone(), password: l.password.clone() });
            let will = will.map(|w| v5::LastWill {
                topic: Bytes::from(w.topic.clone()),
                message: Bytes::from(w.payload.clone()),
                qos: rumqttc::v5::mqttbytes::QoS::AtLeastOnce,
                retain: w.retain,
                properties: None,
            });
            v5::Packet::Connect(connect, will, login).write(&mut out, None)
        }
        Version::V3 => {
            let mut connect = v4::Connect::new(client_id);
            connect.keep_alive = keep_alive;
            connect.clean_session = true;
            connect.login =
                login.map(|l| v4::Login { username: l.user.clone(), password: l.password.clone() });
            connect.last_will = will.map(|w| v4::LastWill {
                topic: w.topic.clone(),
                message: Bytes::from(w.payload.clone()),
                qos: rumqttc::QoS::AtLeastOnce,
                retain: w.retain,
            });
            v4::Packet::Connect(connect)
                .write(&mut out, LARGEST_PACKET)
                .map_err(|e| e.to_string())?;
            return Ok(out.to_vec());
        }
    };
    written.map_err(|e| e.to_string())?;
    Ok(out.to_vec())
}

pub(super) fn subscribe(version: Version, id: u16, filters: &[String]) -> Result<Vec<u8>, String> {
    let mut out = BytesMut::new();
    match version {
        Version::V5 => {
            let qos = rumqttc::v5::mqttbytes::QoS::AtLeastOnce;
            let filters: Vec<v5::Filter> =
                filters.iter().map(|f| v5::Filter::new(f.clone(), qos)).collect();
            v5::Packet::Subscribe(v5::Subscribe { pkid: id, filters, properties: None })
                .write(&mut out, None)
                .map_err(|e| e.to_string())?;
        }
        Version::V3 => {
            let filters = filters
                .iter()
                .map(|f| v4::SubscribeFilter::new(f.clone(), rumqttc::QoS::AtLeastOnce));
            let mut subscribe = v4::Subscribe::new_many(filters);
            subscribe.pkid = id;
            v4::Packet::Subscribe(subscribe)
                .write(&mut out, LARGEST_PACKET)
                .map_err(|e| e.to_string())?;
        }
    }
    Ok(out.to_vec())
}

/// A message; `id` makes it QoS 1.
pub(super) fn publish(
    version: Version,
    id: Option<u16>,
    message: &Message,
) -> Result<Vec<u8>, String> {
    let mut out = BytesMut::new();
    match version {
        Version::V5 => {
            use rumqttc::v5::mqttbytes::QoS;
            let qos = if id.is_some() { QoS::AtLeastOnce } else { QoS::AtMostOnce };
            let properties = v5::PublishProperties {
                message_expiry_interval: message.expiry,
                response_topic: message.response_topic.clone(),
                correlation_data: message.correlation.clone().map(Bytes::from),
                ..v5::PublishProperties::default()
            };
            let payload = Bytes::from(message.payload.clone());
            let mut packet =
                v5::Publish::new(message.topic.clone(), qos, payload, Some(properties));
            packet.pkid = id.unwrap_or(0);
            packet.retain = message.retain;
            v5::Packet::Publish(packet).write(&mut out, None).map_err(|e| e.to_string())?;
        }
        Version::V3 => {
            use rumqttc::QoS;
            let qos = if id.is_some() { QoS::AtLeastOnce } else { QoS::AtMostOnce };
            let mut packet = v4::Publish::new(&*message.topic, qos, message.payload.clone());
            packet.pkid = id.unwrap_or(0);
            packet.retain = message.retain;
            v4::Packet::Publish(packet)
                .write(&mut out, LARGEST_PACKET)
                .map_err(|e| e.to_string())?;
        }
    }
    Ok(out.to_vec())
}

/// The acknowledgement of a QoS 1 message, the same in both versions.
pub(super) fn acknowledge(id: u16) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    vec![0x40, 2, high, low]
}

/// A ping, the same in both versions.
pub(super) const PING: [u8; 2] = [0xc0, 0];

/// A normal end, so that the broker does not publish the last will. Version 5 may leave the
/// reason out, but some brokers then see a damaged packet.
pub(super) fn goodbye(version: Version) -> &'static [u8] {
    match version {
        Version::V5 => &[0xe0, 2, 0, 0],
        Version::V3 => &[0xe0, 0],
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_from_a_broker_panic(kind: u8, body in proptest::collection::vec(any::<u8>(), 0..120)) {
            let mut packet = vec![kind, u8::try_from(body.len()).unwrap()];
            packet.extend(&body);
            let _ = complete(&body);
            for version in [Version::V5, Version::V3] {
                let _ = read(version, &packet);
            }
        }
    }

    #[test]
    fn what_is_published_reads_back() {
        let message = Message {
            topic: "a/b".to_owned(),
            payload: b"{}".to_vec(),
            response_topic: Some("r".to_owned()),
            correlation: Some(vec![1, 2]),
            expiry: Some(30),
            retain: false,
        };
        let packet = publish(Version::V5, Some(9), &message).unwrap();
        assert_eq!(complete(&packet), Ok(Some(packet.len())));
        assert_eq!(complete(&packet[..packet.len() - 1]), Ok(None));
        assert_eq!(
            read(Version::V5, &packet),
            Ok(Packet::Received { id: Some(9), message: message.clone() })
        );
        let plain = Message { response_topic: None, correlation: None, expiry: None, ..message };
        let packet = publish(Version::V3, None, &plain).unwrap();
        assert_eq!(read(Version::V3, &packet), Ok(Packet::Received { id: None, message: plain }));
    }
}
