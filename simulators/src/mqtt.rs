//! The packets a broker takes and gives, for MQTT 5 and 3.1.1 alike. The bytes are `rumqttc`'s codec's.

use std::io;

use bytes::{Bytes, BytesMut};
use rumqttc::mqttbytes::v4;
use rumqttc::v5::mqttbytes::v5;
use rumqttc::{mqttbytes as old, v5::mqttbytes as new};

/// Largest packet taken.
const PACKET_MAX: usize = 4 << 20;

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// 3.1.1
    Old,
    /// 5
    New,
}

/// One message on its way.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    /// Response topic, correlation data, expiry, user properties: passed on as they came.
    pub(crate) properties: v5::PublishProperties,
}

/// What a client says.
#[derive(Debug, PartialEq)]
pub(crate) enum Incoming {
    Connect { client: String, keep_alive_s: u16, will: Option<Message> },
    Publish { id: u16, message: Message },
    Subscribe { id: u16, filters: Vec<(String, u8)> },
    Unsubscribe { id: u16, filters: Vec<String> },
    Ping,
    Disconnect { with_will: bool },
    Other,
}

/// What the broker says.
#[derive(Debug)]
pub(crate) enum Outgoing<'a> {
    Connected,
    Publish {
        id: u16,
        qos: u8,
        message: &'a Message,
    },
    Published {
        id: u16,
    },
    /// The quality granted to each filter; `None` where it is refused.
    Subscribed {
        id: u16,
        granted: Vec<Option<u8>>,
    },
    Unsubscribed {
        id: u16,
        count: usize,
    },
    Pong,
}

/// Takes a whole packet off the bytes that have arrived, if there is one. The version is found in the
/// first packet, which has to be a connect.
pub(crate) fn read(
    version: &mut Option<Version>,
    arrived: &mut BytesMut,
) -> io::Result<Option<Incoming>> {
    let Some(header) = complete(arrived)? else { return Ok(None) };
    let version = match *version {
        Some(version) => version,
        // Type connect, then the name of the protocol and its level (MQTT 5.0, 3.1.2).
        None => match (arrived.first(), arrived.get(header..header + 7)) {
            (Some(0x10), Some([0, 4, b'M', b'Q', b'T', b'T', level @ (4 | 5)])) => {
                *version.insert(if *level == 4 { Version::Old } else { Version::New })
            }
            _ => return Err(invalid("the first packet is no connect of MQTT 5 or 3.1.1")),
        },
    };
    match version {
        Version::Old => v4::Packet::read(arrived, PACKET_MAX).map(from_old).map_err(invalid),
        Version::New => {
            v5::Packet::read(arrived, Some(PACKET_MAX as u32)).map(from_new).map_err(invalid)
        }
    }
    .map(Some)
}

fn invalid(error: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

/// Length of the fixed header once a whole packet has arrived (MQTT 5.0, 2.1.4).
fn complete(arrived: &[u8]) -> io::Result<Option<usize>> {
    let mut length = 0usize;
    for at in 1..=4 {
        let Some(byte) = arrived.get(at) else { return Ok(None) };
        length |= usize::from(byte & 0x7f) << (7 * (at - 1));
        if byte & 0x80 == 0 {
            if length > PACKET_MAX {
                return Err(invalid("packet too large"));
            }
            return Ok((arrived.len() > length + at).then_some(at + 1));
        }
    }
    Err(invalid("this is not MQTT"))
}

fn text(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn from_old(packet: v4::Packet) -> Incoming {
    match packet {
        v4::Packet::Connect(connect) => Incoming::Connect {
            client: connect.client_id,
            keep_alive_s: connect.keep_alive,
            will: connect.last_will.map(|will| Message {
                topic: will.topic,
                payload: will.message,
                qos: will.qos as u8,
                retain: will.retain,
                ..Message::default()
            }),
        },
        v4::Packet::Publish(publish) => Incoming::Publish {
            id: publish.pkid,
            message: Message {
                topic: publish.topic,
                payload: publish.payload,
                qos: publish.qos as u8,
                retain: publish.retain,
                ..Message::default()
            },
        },
        v4::Packet::Subscribe(subscribe) => Incoming::Subscribe {
            id: subscribe.pkid,
            filters: subscribe.filters.into_iter().map(|f| (f.path, f.qos as u8)).collect(),
        },
        v4::Packet::Unsubscribe(it) => Incoming::Unsubscribe { id: it.pkid, filters: it.topics },
        v4::Packet::PingReq => Incoming::Ping,
        v4::Packet::Disconnect => Incoming::Disconnect { with_will: false },
        _ => Incoming::Other,
    }
}

fn from_new(packet: v5::Packet) -> Incoming {
    match packet {
        v5::Packet::Connect(connect, will, _) => Incoming::Connect {
            client: connect.client_id,
            keep_alive_s: connect.keep_alive,
            will: will.map(|will| Message {
                topic: text(&will.topic),
                payload: will.message,
                qos: will.qos as u8,
                retain: will.retain,
                ..Message::default()
            }),
        },
        v5::Packet::Publish(publish) => {
            let mut properties = publish.properties.unwrap_or_default();
            // These two belong to one connection only.
            properties.topic_alias = None;
            properties.subscription_identifiers.clear();
            Incoming::Publish {
                id: publish.pkid,
                message: Message {
                    topic: text(&publish.topic),
                    payload: publish.payload,
                    qos: publish.qos as u8,
                    retain: publish.retain,
                    properties,
                },
            }
        }
        v5::Packet::Subscribe(subscribe) => Incoming::Subscribe {
            id: subscribe.pkid,
            filters: subscribe.filters.into_iter().map(|f| (f.path, f.qos as u8)).collect(),
        },
        v5::Packet::Unsubscribe(it) => Incoming::Unsubscribe { id: it.pkid, filters: it.filters },
        v5::Packet::PingReq(_) => Incoming::Ping,
        v5::Packet::Disconnect(disconnect) => Incoming::Disconnect {
            with_will: disconnect.reason_code
                == v5::DisconnectReasonCode::DisconnectWithWillMessage,
        },
        _ => Incoming::Other,
    }
}

/// The bytes of a packet for a client of this version.
pub(crate) fn write(version: Version, packet: Outgoing<'_>) -> io::Result<BytesMut> {
    let mut out = BytesMut::new();
    match version {
        Version::Old => to_old(packet).write(&mut out, PACKET_MAX * 2).map_err(invalid)?,
        Version::New => to_new(packet).write(&mut out, None).map_err(invalid)?,
    };
    Ok(out)
}

fn to_old(packet: Outgoing<'_>) -> v4::Packet {
    let quality = |qos| if qos == 0 { old::QoS::AtMostOnce } else { old::QoS::AtLeastOnce };
    match packet {
        Outgoing::Connected => {
            v4::Packet::ConnAck(v4::ConnAck::new(v4::ConnectReturnCode::Success, false))
        }
        Outgoing::Publish { id, qos, message } => {
            let mut publish = v4::Publish::from_bytes(
                message.topic.clone(),
                quality(qos),
                message.payload.clone(),
            );
            (publish.pkid, publish.retain) = (id, message.retain);
            v4::Packet::Publish(publish)
        }
        Outgoing::Published { id } => v4::Packet::PubAck(v4::PubAck::new(id)),
        Outgoing::Subscribed { id, granted } => {
            let code = |granted: Option<u8>| {
                granted.map_or(v4::SubscribeReasonCode::Failure, |qos| {
                    v4::SubscribeReasonCode::Success(quality(qos))
                })
            };
            v4::Packet::SubAck(v4::SubAck::new(id, granted.into_iter().map(code).collect()))
        }
        Outgoing::Unsubscribed { id, .. } => v4::Packet::UnsubAck(v4::UnsubAck::new(id)),
        Outgoing::Pong => v4::Packet::PingResp,
    }
}

fn to_new(packet: Outgoing<'_>) -> v5::Packet {
    let quality = |qos| if qos == 0 { new::QoS::AtMostOnce } else { new::QoS::AtLeastOnce };
    match packet {
        Outgoing::Connected => v5::Packet::ConnAck(v5::ConnAck {
            session_present: false,
            code: v5::ConnectReturnCode::Success,
            properties: None,
        }),
        Outgoing::Publish { id, qos, message } => {
            let mut publish = v5::Publish::new(
                message.topic.clone(),
                quality(qos),
                message.payload.clone(),
                Some(message.properties.clone()),
            );
            (publish.pkid, publish.retain) = (id, message.retain);
            v5::Packet::Publish(publish)
        }
        Outgoing::Published { id } => v5::Packet::PubAck(v5::PubAck::new(id, None)),
        Outgoing::Subscribed { id, granted } => {
            let code = |granted: Option<u8>| {
                granted.map_or(v5::SubscribeReasonCode::QuotaExceeded, |qos| {
                    v5::SubscribeReasonCode::Success(quality(qos))
                })
            };
            let return_codes = granted.into_iter().map(code).collect();
            v5::Packet::SubAck(v5::SubAck { pkid: id, return_codes, properties: None })
        }
        Outgoing::Unsubscribed { id, count } => v5::Packet::UnsubAck(v5::UnsubAck {
            pkid: id,
            reasons: vec![v5::UnsubAckReason::Success; count],
            properties: None,
        }),
        Outgoing::Pong => v5::Packet::PingResp(v5::PingResp),
    }
}
