//! A small MQTT broker: enough for one lab and its instruments, in memory or on a socket.
//!
//! MQTT 5 and 3.1.1; QoS 0 and 1, retained messages, wills, `+` and `#`, keep-alive, take-over by a
//! client of the same name; properties such as response topic and correlation data are passed on. No
//! QoS 2, no sessions beyond a connection, no access control: for simulation and tests. Every client
//! has a bounded queue; one that does not read loses its connection, not everybody else's time.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::lab::{Shared, broker_and_base};
use crate::mqtt::{self, Incoming, Message, Outgoing, Version};
use crate::post::{self, Outbox, Post};
use crate::world::{Device, Placed, Publication};

/// Messages that wait for a slow client before it is dropped.
const QUEUE: usize = 1_024;
/// Subscriptions of one client at most.
const FILTERS_MAX: usize = 1_024;
/// Retained messages at most; further ones are passed on but not kept.
const RETAINED_MAX: usize = 10_000;

struct Client {
    id: u64,
    name: String,
    outbox: mpsc::Sender<(u8, Message)>,
    /// With the highest quality the client wants.
    filters: Vec<(String, u8)>,
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
    /// Instruments that are described elsewhere, and what they listen to.
    models: Arc<Vec<(Post, Vec<String>)>>,
    /// What they have to say, until somebody listens.
    unread: Arc<Mutex<Vec<Outbox>>>,
    /// Instruments have begun to publish their state.
    publishing: Arc<AtomicBool>,
}

impl Broker {
    /// A broker for the instruments at one MQTT address of the lab.
    pub(crate) fn new(shared: Shared, host: &str) -> Broker {
        let mut bases = Vec::new();
        let mut retained = BTreeMap::new();
        let (mut models, mut unread) = (Vec::new(), Vec::new());
        let its = |placed: &&Placed| {
            placed.address.starts_with("mqtt") && broker_and_base(&placed.address).0 == host
        };
        let names: Vec<String> =
            shared.world().placed.iter().filter(its).map(|placed| placed.name.clone()).collect();
        for name in names {
            if let Some(presence) = shared.world().appear(&name, 0.0) {
                // Nobody is there yet to hear a birth that is not kept.
                let births = presence.births.into_iter().filter(|birth| birth.retain);
                retained.extend(births.map(post::message).map(|m| (m.topic.clone(), m)));
                let (post, outbox) = Post::new(shared.clone(), &name);
                models.push((post, presence.filters));
                unread.push(outbox);
            }
        }
        for placed in shared.world().placed.iter().filter(its) {
            let (_, base) = broker_and_base(&placed.address);
            if matches!(placed.device, Device::Model(_)) {
                continue;
            }
            bases.push((base.to_owned(), placed.name.clone()));
            let message = Message {
                topic: format!("{base}/status"),
                payload: Bytes::from_static(b"online"),
                qos: 1,
                retain: true,
                ..Message::default()
            };
            retained.insert(message.topic.clone(), message);
        }
        let state = State { retained, ..State::default() };
        let state = Arc::new(Mutex::new(state));
        let (bases, models) = (Arc::new(bases), Arc::new(models));
        let unread = Arc::new(Mutex::new(unread));
        Broker { state, shared, bases, models, unread, publishing: Arc::default() }
    }

    /// Lets instruments publish their state from the first client on, for as long as the runtime
    /// lives; a broker is made outside of it.
    fn publish_states(&self) {
        if self.publishing.swap(true, Ordering::SeqCst) {
            return;
        }
        for outbox in self.unread.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let broker = self.clone();
            tokio::spawn(outbox.run(move |outward| broker.route(&post::message(outward))));
        }
        for (post, _) in self.models.iter() {
            tokio::spawn(post.clone().stream());
        }
        for name in self.shared.world().publishers() {
            let base = self.bases.iter().find(|(_, its)| *its == name).map(|(base, _)| base);
            let Some(base) = base.cloned() else { continue };
            let broker = self.clone();
            tokio::spawn(async move {
                while let Some((wait, payload)) = broker.shared.state(&name) {
                    let topic = format!("{base}/state");
                    let payload = payload.into();
                    broker.route(&Message { topic, payload, ..Message::default() });
                    tokio::time::sleep(wait).await;
                }
            });
        }
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
                } else if state.retained.len() < RETAINED_MAX {
                    state.retained.insert(message.topic.clone(), message.clone());
                }
            }
            let passed = Message { retain: false, ..message.clone() };
            state.clients.retain(|client| {
                let fitting = client.filters.iter().filter(|(f, _)| matches(f, &message.topic));
                let Some(quality) = fitting.map(|(_, quality)| *quality).max() else { return true };
                client.outbox.try_send((quality.min(message.qos), passed.clone())).is_ok()
            });
        }
        let listens = |filters: &[String]| filters.iter().any(|f| matches(f, &message.topic));
        let models = self.models.iter().filter(|(_, filters)| listens(filters) && !message.retain);
        for (post, _) in models {
            tokio::spawn(post.clone().take(post::inward(message)));
        }
        let found = self.bases.iter().find_map(|(base, name)| {
            let below = message.topic.strip_prefix(base.as_str())?.strip_prefix('/')?;
            Some((base.clone(), name.clone(), below.to_owned()))
        });
        // Instruments take commands only when they are given, not what a broker kept.
        if let Some((base, name, below)) = found.filter(|_| !message.retain) {
            let (broker, message) = (self.clone(), message.clone());
            tokio::spawn(async move {
                for publication in broker.shared.ask(&name, &below, &message.payload).await {
                    broker.answer(&base, publication, &message);
                }
            });
        }
    }

    fn answer(&self, base: &str, publication: Publication, request: &Message) {
        let topic = match (publication.topic.as_str(), &request.properties.response_topic) {
            ("", Some(topic)) => topic.clone(),
            ("", None) => return,
            (below, _) => format!("{base}/{below}"),
        };
        let mut message =
            Message { topic, payload: publication.payload.into(), qos: 1, ..Message::default() };
        message.properties.correlation_data = request.properties.correlation_data.clone();
        self.route(&message);
    }

    /// Serves one client until it goes.
    pub(crate) async fn serve<S>(&self, stream: S) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let (mut version, mut arrived) = (None, BytesMut::new());
        let first = next_packet(&mut reader, &mut version, &mut arrived).await?;
        let (Some(Incoming::Connect { client, keep_alive_s, will }), Some(version)) =
            (first, version)
        else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "no connect"));
        };
        let (outbox, inbox) = mpsc::channel(QUEUE);
        let id = self.admit(client, outbox);
        self.publish_states();
        // Half as long again as the client promised (MQTT 5.0, 3.1.2.10).
        let silence = Duration::from_millis(1_500 * u64::from(keep_alive_s));
        let connection = Connection { broker: self, id, version, silence };
        let ended = connection.run(&mut reader, &mut writer, inbox, arrived).await;
        self.state().clients.retain(|client| client.id != id);
        if let (Some(will), false) = (will, matches!(ended, Ok(End::Graceful))) {
            self.route(&will);
        }
        ended.map(|_| ())
    }

    /// A new client; one that has the same name already has to go.
    fn admit(&self, name: String, outbox: mpsc::Sender<(u8, Message)>) -> u64 {
        let mut state = self.state();
        if !name.is_empty() {
            state.clients.retain(|other| other.name != name);
        }
        state.next_id += 1;
        let id = state.next_id;
        state.clients.push(Client { id, name, outbox, filters: Vec::new() });
        id
    }

    fn unsubscribe(&self, id: u64, filters: &[String]) {
        let mut state = self.state();
        if let Some(client) = state.clients.iter_mut().find(|c| c.id == id) {
            client.filters.retain(|(f, _)| !filters.contains(f));
        }
    }

    /// What was granted, and the retained messages that fit.
    fn subscribe(&self, id: u64, wanted: &[(String, u8)]) -> (Vec<Option<u8>>, Vec<Message>) {
        let mut state = self.state();
        let fits = |m: &&Message| wanted.iter().any(|(f, _)| matches(f, &m.topic));
        let kept: Vec<Message> = state.retained.values().filter(fits).cloned().collect();
        let Some(client) = state.clients.iter_mut().find(|c| c.id == id) else {
            return (vec![None; wanted.len()], Vec::new());
        };
        client.filters.retain(|(f, _)| !wanted.iter().any(|(w, _)| w == f));
        if client.filters.len() + wanted.len() > FILTERS_MAX {
            return (vec![None; wanted.len()], Vec::new());
        }
        client.filters.extend(wanted.iter().map(|(f, qos)| (f.clone(), (*qos).min(1))));
        (wanted.iter().map(|(_, qos)| Some((*qos).min(1))).collect(), kept)
    }
}

/// How a connection ended without an error.
enum End {
    Graceful,
    Gone,
}

/// One client at work.
struct Connection<'a> {
    broker: &'a Broker,
    id: u64,
    version: Version,
    /// Longest silence; zero is for ever.
    silence: Duration,
}

impl Connection<'_> {
    async fn run<R, W>(
        &self,
        reader: &mut R,
        writer: &mut W,
        mut inbox: mpsc::Receiver<(u8, Message)>,
        mut arrived: BytesMut,
    ) -> io::Result<End>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        self.send(writer, Outgoing::Connected).await?;
        let (mut version, mut packet_id) = (Some(self.version), 0u16);
        let mut heard = Instant::now();
        loop {
            // `next_packet` keeps what has arrived, so dropping it in the middle loses nothing.
            tokio::select! {
                biased;
                message = inbox.recv() => {
                    let Some((qos, message)) = message else { return Ok(End::Gone) };
                    packet_id = packet_id.checked_add(1).unwrap_or(1);
                    let packet = Outgoing::Publish { id: packet_id, qos, message: &message };
                    self.send(writer, packet).await?;
                }
                packet = next_packet(reader, &mut version, &mut arrived) => {
                    heard = Instant::now();
                    match packet? {
                        None => return Ok(End::Gone),
                        Some(Incoming::Disconnect { with_will: false }) => {
                            return Ok(End::Graceful);
                        }
                        Some(Incoming::Disconnect { with_will: true }) => return Ok(End::Gone),
                        Some(packet) => self.take(packet, writer, &mut packet_id).await?,
                    }
                }
                () = tokio::time::sleep_until(heard + self.silence),
                    if !self.silence.is_zero() =>
                {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "the client fell silent"));
                }
            }
        }
    }

    async fn take<W: AsyncWrite + Unpin>(
        &self,
        packet: Incoming,
        writer: &mut W,
        packet_id: &mut u16,
    ) -> io::Result<()> {
        match packet {
            Incoming::Publish { id, message } => {
                match message.qos {
                    0 => {}
                    1 => self.send(writer, Outgoing::Published { id }).await?,
                    _ => return Err(io::Error::new(io::ErrorKind::Unsupported, "QoS 2")),
                }
                self.broker.route(&message);
            }
            Incoming::Subscribe { id, filters } => {
                let (granted, kept) = self.broker.subscribe(self.id, &filters);
                let qos = granted.iter().flatten().copied().max().unwrap_or(0);
                self.send(writer, Outgoing::Subscribed { id, granted }).await?;
                for message in kept {
                    *packet_id = packet_id.checked_add(1).unwrap_or(1);
                    let qos = qos.min(message.qos);
                    let packet = Outgoing::Publish { id: *packet_id, qos, message: &message };
                    self.send(writer, packet).await?;
                }
            }
            Incoming::Unsubscribe { id, filters } => {
                self.broker.unsubscribe(self.id, &filters);
                let packet = Outgoing::Unsubscribed { id, count: filters.len() };
                self.send(writer, packet).await?;
            }
            Incoming::Ping => self.send(writer, Outgoing::Pong).await?,
            Incoming::Connect { .. } => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a second connect"));
            }
            Incoming::Disconnect { .. } | Incoming::Other => {}
        }
        Ok(())
    }

    async fn send<W: AsyncWrite + Unpin>(
        &self,
        writer: &mut W,
        packet: Outgoing<'_>,
    ) -> io::Result<()> {
        let out = mqtt::write(self.version, packet)?;
        writer.write_all(&out).await?;
        writer.flush().await
    }
}

/// The next packet; `None` when the other side has gone.
async fn next_packet<R: AsyncRead + Unpin>(
    reader: &mut R,
    version: &mut Option<Version>,
    arrived: &mut BytesMut,
) -> io::Result<Option<Incoming>> {
    loop {
        if let Some(packet) = mqtt::read(version, arrived)? {
            return Ok(Some(packet));
        }
        if reader.read_buf(arrived).await? == 0 {
            return Ok(None);
        }
    }
}

/// Whether a topic fits a filter (MQTT 5.0, 4.7).
fn matches(filter: &str, topic: &str) -> bool {
    // Wildcards at the top do not see the broker's own topics.
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
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
#[path = "broker_tests.rs"]
mod tests;
