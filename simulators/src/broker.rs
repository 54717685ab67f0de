//! A small MQTT 5 broker: enough for one lab and its instruments, in memory or on a socket.
//!
//! QoS 0 and 1, retained messages, wills, `+` and `#`, response topic and correlation data passed
//! on. No persistence and no access control: for simulation and tests. The packets are those of
//! `rumqttc`'s codec.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use rumqttc::v5::mqttbytes::{QoS, v5};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::lab::{Shared, broker_and_base};
use crate::world::Publication;

/// Messages that wait for a slow client before it is dropped.
const QUEUE: usize = 1_024;
/// Largest packet taken.
const PACKET_MAX: u32 = 4 << 20;
/// Subscriptions of one client at most.
const FILTERS_MAX: usize = 1_024;

/// One message on its way.
#[derive(Debug, Clone)]
struct Message {
    topic: String,
    payload: Bytes,
    retain: bool,
    response_topic: Option<String>,
    correlation: Option<Bytes>,
}

struct Client {
    id: u64,
    outbox: mpsc::Sender<Message>,
    filters: Vec<String>,
}

#[derive(Default)]
struct State {
    clients: Vec<Client>,
    retained: BTreeMap<String, Message>,
    next_id: u64,
}

/// The broker, with the instruments of a lab behind it.
#[derive(Clone)]
pub(crate) struct Broker {
    state: Arc<Mutex<State>>,
    shared: Shared,
    /// Base topic -> instrument.
    bases: Arc<Vec<(String, String)>>,
}

impl Broker {
    /// A broker for the instruments at one MQTT address of the lab.
    pub(crate) fn new(shared: Shared, host: &str) -> Broker {
        let mut bases = Vec::new();
        let mut retained = BTreeMap::new();
        for placed in &shared.world().placed {
            let (its_host, base) = broker_and_base(&placed.address);
            if !placed.address.starts_with("mqtt") || its_host != host {
                continue;
            }
            bases.push((base.to_owned(), placed.name.clone()));
            let topic = format!("{base}/status");
            retained.insert(
                topic.clone(),
                Message {
                    topic,
                    payload: Bytes::from_static(b"online"),
                    retain: true,
                    response_topic: None,
                    correlation: None,
                },
            );
        }
        let state = State { retained, ..State::default() };
        Broker { state: Arc::new(Mutex::new(state)), shared, bases: Arc::new(bases) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes a message to all who subscribed to it, and to the instrument it is for.
    fn route(&self, message: &Message) {
        {
            let mut state = self.state();
            if message.retain {
                if message.payload.is_empty() {
                    state.retained.remove(&message.topic);
                } else {
                    state.retained.insert(message.topic.clone(), message.clone());
                }
            }
            let passed = Message { retain: false, ..message.clone() };
            // A client that does not read loses its connection, not everybody else's time.
            state.clients.retain(|client| {
                let wants = client.filters.iter().any(|f| matches(f, &message.topic));
                !wants || client.outbox.try_send(passed.clone()).is_ok()
            });
        }
        let found = self.bases.iter().find_map(|(base, name)| {
            let below = message.topic.strip_prefix(base.as_str())?.strip_prefix('/')?;
            Some((base.clone(), name.clone(), below.to_owned()))
        });
        // Instruments take commands only when they are given, not what a broker kept.
        if let Some((base, name, below)) = found.filter(|_| !message.retain) {
            let (broker, message) = (self.clone(), message.clone());
            tokio::spawn(async move {
                let now = broker.shared.now();
                let published = broker.shared.world().message(&name, &below, &message.payload, now);
                for publication in published {
                    broker.shared.think().await;
                    broker.answer(&base, publication, &message);
                }
            });
        }
    }

    fn answer(&self, base: &str, publication: Publication, request: &Message) {
        let topic = match (publication.topic.as_str(), &request.response_topic) {
            ("", Some(topic)) => topic.clone(),
            ("", None) => return,
            (below, _) => format!("{base}/{below}"),
        };
        self.route(&Message {
            topic,
            payload: publication.payload.into(),
            retain: false,
            response_topic: None,
            correlation: request.correlation.clone(),
        });
    }

    /// Serves one client until it goes.
    pub(crate) async fn serve<S>(&self, stream: S) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let mut arrived = BytesMut::new();
        let first = next_packet(&mut reader, &mut arrived).await?;
        let Some(v5::Packet::Connect(connect, will, _)) = first else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "no MQTT 5 connect"));
        };
        let (outbox, mut inbox) = mpsc::channel(QUEUE);
        let id = {
            let mut state = self.state();
            state.next_id += 1;
            let id = state.next_id;
            state.clients.push(Client { id, outbox, filters: Vec::new() });
            id
        };
        let ack = v5::ConnAck {
            session_present: false,
            code: v5::ConnectReturnCode::Success,
            properties: None,
        };
        let mut result = send(&mut writer, &v5::Packet::ConnAck(ack)).await;
        let mut packet_id = 0u16;
        let mut graceful = false;
        while result.is_ok() {
            // `read_buf` keeps what has arrived, so dropping it in the middle loses nothing.
            tokio::select! {
                biased;
                message = inbox.recv() => match message {
                    Some(message) => {
                        packet_id = packet_id.checked_add(1).unwrap_or(1);
                        result = send(&mut writer, &publish(&message, packet_id)).await;
                    }
                    None => break,
                },
                packet = next_packet(&mut reader, &mut arrived) => match packet {
                    Ok(Some(v5::Packet::Disconnect(_))) => {
                        graceful = true;
                        break;
                    }
                    Ok(Some(packet)) => result = self.take(id, packet, &mut writer).await,
                    Ok(None) => break,
                    Err(error) => result = Err(error),
                },
            }
        }
        self.state().clients.retain(|client| client.id != id);
        if let (false, Some(will)) = (graceful, will) {
            self.route(&Message {
                topic: String::from_utf8_lossy(&will.topic).into_owned(),
                payload: will.message,
                retain: will.retain,
                response_topic: None,
                correlation: None,
            });
        }
        let _ = connect;
        result
    }

    async fn take<W: AsyncWrite + Unpin>(
        &self,
        client: u64,
        packet: v5::Packet,
        writer: &mut W,
    ) -> io::Result<()> {
        match packet {
            v5::Packet::Publish(publish) => {
                let properties = publish.properties.unwrap_or_default();
                let message = Message {
                    topic: String::from_utf8_lossy(&publish.topic).into_owned(),
                    payload: publish.payload,
                    retain: publish.retain,
                    response_topic: properties.response_topic,
                    correlation: properties.correlation_data,
                };
                if publish.qos != QoS::AtMostOnce {
                    let ack = v5::PubAck::new(publish.pkid, None);
                    send(writer, &v5::Packet::PubAck(ack)).await?;
                }
                self.route(&message);
            }
            v5::Packet::Subscribe(subscribe) => {
                let filters: Vec<String> =
                    subscribe.filters.iter().map(|f| f.path.clone()).collect();
                let mut kept = Vec::new();
                {
                    let mut state = self.state();
                    let retained: Vec<Message> = state
                        .retained
                        .values()
                        .filter(|m| filters.iter().any(|f| matches(f, &m.topic)))
                        .cloned()
                        .collect();
                    if let Some(found) = state.clients.iter_mut().find(|c| c.id == client)
                        && found.filters.len() + filters.len() <= FILTERS_MAX
                    {
                        found.filters.extend(filters.iter().cloned());
                        kept = retained;
                    }
                }
                let granted = v5::SubscribeReasonCode::Success(QoS::AtLeastOnce);
                let ack = v5::SubAck {
                    pkid: subscribe.pkid,
                    return_codes: vec![granted; filters.len()],
                    properties: None,
                };
                send(writer, &v5::Packet::SubAck(ack)).await?;
                for message in kept {
                    send(writer, &publish(&message, 1)).await?;
                }
            }
            v5::Packet::PingReq(_) => {
                send(writer, &v5::Packet::PingResp(v5::PingResp)).await?;
            }
            _ => {}
        }
        Ok(())
    }
}

fn publish(message: &Message, id: u16) -> v5::Packet {
    let properties = v5::PublishProperties {
        response_topic: message.response_topic.clone(),
        correlation_data: message.correlation.clone(),
        ..v5::PublishProperties::default()
    };
    let mut packet = v5::Publish::new(
        message.topic.clone(),
        QoS::AtLeastOnce,
        message.payload.clone(),
        Some(properties),
    );
    packet.pkid = id;
    packet.retain = message.retain;
    v5::Packet::Publish(packet)
}

async fn send<W: AsyncWrite + Unpin>(writer: &mut W, packet: &v5::Packet) -> io::Result<()> {
    let mut out = BytesMut::new();
    packet
        .write(&mut out, None)
        .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.to_string()))?;
    writer.write_all(&out).await?;
    writer.flush().await
}

/// The next packet; `None` when the other side has gone.
async fn next_packet<R: AsyncRead + Unpin>(
    reader: &mut R,
    arrived: &mut BytesMut,
) -> io::Result<Option<v5::Packet>> {
    loop {
        if complete(arrived)? {
            return v5::Packet::read(arrived, Some(PACKET_MAX))
                .map(Some)
                .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.to_string()));
        }
        if reader.read_buf(arrived).await? == 0 {
            return Ok(None);
        }
    }
}

/// Whether a whole packet has arrived (MQTT 5.0, 2.1.4: remaining length in up to four bytes).
fn complete(arrived: &[u8]) -> io::Result<bool> {
    let mut length = 0usize;
    for at in 1..=4 {
        let Some(byte) = arrived.get(at) else { return Ok(false) };
        length |= usize::from(byte & 0x7f) << (7 * (at - 1));
        if byte & 0x80 == 0 {
            if length > PACKET_MAX as usize {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "packet too large"));
            }
            return Ok(arrived.len() > length + at);
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "this is not MQTT"))
}

/// Whether a topic fits a filter (MQTT 5.0, 4.7).
fn matches(filter: &str, topic: &str) -> bool {
    let (mut filters, mut topics) = (filter.split('/'), topic.split('/'));
    loop {
        match (filters.next(), topics.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(a), Some(b)) if a == b => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn filters_follow_the_standard() {
        for (filter, topic, fits) in [
            ("a/b", "a/b", true),
            ("a/+", "a/b", true),
            ("a/#", "a/b/c", true),
            ("#", "a", true),
            ("a/+", "a/b/c", false),
            ("a/b/", "a/b", false),
            ("a/b/", "a/b/", true),
            ("+/b", "a/c", false),
        ] {
            assert_eq!(matches(filter, topic), fits, "{filter} {topic}");
        }
    }
}
