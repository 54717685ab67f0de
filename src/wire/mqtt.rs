//! An MQTT client session over any byte stream, version 5 or 3.1.1, QoS 0 and 1.
//!
//! Differences from general clients, on purpose: nothing is ever sent twice, nothing is queued
//! across a reconnect, and each session starts clean. When the stream fails the session is over;
//! whoever owns it knows which messages had left and decides.
//!
//! Acknowledgement by the broker is not success: it says that the broker has the message.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, timeout};

use super::dialer::Port;
use super::mqtt_codec::{self as codec, Packet};
use super::refusal;

/// Longest wait for the broker's answer to connect and subscribe, in wall time.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Most bytes waiting to be written; a broker that takes none is as good as gone.
const LARGEST_BACKLOG: usize = 1 << 20;

/// Most messages that wait to be looked at; only the answer to a subscription lets any wait.
const MOST_EVENTS: usize = 10_000;

/// What a broker says, with version 5, when another client came with our name. An error of the kind
/// `ResourceBusy` follows.
const TAKEN_OVER: &str = "SessionTakenOver";

/// Version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// 3.1.1.
    V3,
    /// 5.
    V5,
}

/// User and password for a broker.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// User.
    pub user: String,
    /// Password.
    pub password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

/// A message to or from a broker.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// Full topic.
    pub topic: String,
    /// Payload.
    pub payload: Vec<u8>,
    /// From a broker: it was stored before this session began, so it is old.
    pub retain: bool,
    /// Where an answer goes (version 5).
    pub response_topic: Option<String>,
    /// What an answer repeats (version 5).
    pub correlation: Option<Vec<u8>>,
    /// Seconds after which a broker drops it (version 5).
    pub expiry: Option<u32>,
}

/// How to open a session.
#[derive(Debug, Clone)]
pub struct Options {
    /// Version.
    pub version: Version,
    /// Name of this client, unlike any other at the broker.
    pub client_id: String,
    /// The broker hears of us at least this often, wall time.
    pub keep_alive: Duration,
    /// User and password.
    pub login: Option<Login>,
    /// Published by the broker when we vanish.
    pub will: Option<Message>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A message arrived.
    Message(Message),
    /// The broker has the QoS 1 message with this id, or says what is wrong with it.
    Acknowledged {
        /// Id given by [`Session::publish`].
        id: u16,
        /// Why the broker did not deliver it.
        problem: Option<String>,
    },
}

/// A live session.
#[derive(Debug)]
pub struct Session {
    port: Port,
    version: Version,
    keep_alive: Duration,
    arrived: Vec<u8>,
    waiting: VecDeque<u8>,
    /// Bytes ever queued and ever accepted by the stream.
    queued: u64,
    written: u64,
    events: VecDeque<Event>,
    next_id: u16,
    last_written: Instant,
    /// When the ping was sent that has no answer yet.
    pinged: Option<Instant>,
}

/// Identity of a message handed to a session, to ask later whether it left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// Id for the acknowledgement; `None` with QoS 0.
    pub id: Option<u16>,
    starts: u64,
    ends: u64,
}

impl Session {
    /// Opens a clean session. Errors when the broker refuses, with its reason.
    pub async fn open(port: Port, options: &Options) -> io::Result<Session> {
        let keep_alive =
            options.keep_alive.clamp(Duration::from_secs(1), Duration::from_secs(3600));
        let mut session = Session {
            port,
            version: options.version,
            keep_alive,
            arrived: Vec::new(),
            waiting: VecDeque::new(),
            queued: 0,
            written: 0,
            events: VecDeque::new(),
            next_id: 1,
            last_written: Instant::now(),
            pinged: None,
        };
        let seconds = u16::try_from(keep_alive.as_secs()).unwrap_or(u16::MAX);
        let connect = codec::connect(
            options.version,
            &options.client_id,
            seconds,
            options.login.as_ref(),
            options.will.as_ref(),
        );
        session.queue(&connect.map_err(invalid)?)?;
        let secure = session.port.is_secure();
        let answer = timeout(HANDSHAKE_TIMEOUT, session.packet())
            .await
            .map_err(|_| late())?
            .map_err(|error| refusal::unanswered(error, options, secure))?;
        match answer {
            Packet::Connected { refused: None, keep_alive } => {
                if let Some(seconds) = keep_alive.filter(|seconds| *seconds > 0) {
                    session.keep_alive = Duration::from_secs(u64::from(seconds));
                }
                Ok(session)
            }
            Packet::Connected { refused: Some(reason), .. } => {
                Err(refusal::refused(&reason, options))
            }
            _ => Err(invalid("the broker did not answer the connect".to_owned())),
        }
    }

    /// Subscribes and waits for the broker's word; messages that arrive meanwhile are kept.
    pub async fn subscribe(&mut self, filters: &[String]) -> io::Result<()> {
        if filters.is_empty() {
            return Ok(());
        }
        let id = self.fresh_id();
        self.queue(&codec::subscribe(self.version, id, filters).map_err(invalid)?)?;
        timeout(HANDSHAKE_TIMEOUT, async {
            loop {
                match self.packet().await? {
                    Packet::Subscribed { id: answered, refused: false } if answered == id => {
                        return Ok(());
                    }
                    Packet::Subscribed { refused: true, .. } => {
                        return Err(io::Error::new(
                            io::ErrorKind::PermissionDenied,
                            format!(
                                "the broker refuses the subscription to {}",
                                filters.join(", ")
                            ),
                        ));
                    }
                    other => self.take(other)?,
                }
            }
        })
        .await
        .map_err(|_| late())?
    }

    /// Queues a message for sending; it leaves while [`Session::next`] is polled. QoS 1 when
    /// `confirmed`.
    pub fn publish(&mut self, message: &Message, confirmed: bool) -> io::Result<Ticket> {
        let id = confirmed.then(|| self.fresh_id());
        let bytes = codec::publish(self.version, id, message).map_err(invalid)?;
        let starts = self.queued;
        self.queue(&bytes)?;
        Ok(Ticket { id, starts, ends: self.queued })
    }

    /// Whether any byte of a message was handed to the stream.
    pub fn has_left(&self, ticket: Ticket) -> bool {
        self.written > ticket.starts
    }

    /// Whether all of a message was handed to the stream.
    pub fn is_out(&self, ticket: Ticket) -> bool {
        self.written >= ticket.ends
    }

    /// The next event. Sends what is queued, answers the broker and keeps the session alive.
    /// Cancel safe: nothing is lost or sent twice when the future is dropped. An error ends the
    /// session.
    pub async fn next(&mut self) -> io::Result<Event> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            let due = match self.pinged {
                Some(pinged) => pinged + self.keep_alive.max(Duration::from_secs(5)),
                None => self.last_written + self.keep_alive / 2,
            };
            let packet = tokio::select! {
                biased;
                packet = self.packet() => Some(packet?),
                () = tokio::time::sleep_until(due) => None,
            };
            match packet {
                Some(packet) => self.take(packet)?,
                None if self.pinged.is_some() => {
                    return Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        "the broker does not answer pings",
                    ));
                }
                None => {
                    self.queue(&codec::PING)?;
                    self.pinged = Some(Instant::now());
                }
            }
        }
    }

    /// Like [`Session::next`], but comes back with `None` once all of a message has left.
    pub async fn next_or_left(&mut self, ticket: Ticket) -> io::Result<Option<Event>> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            if self.is_out(ticket) {
                return Ok(None);
            }
            // Reading goes on: a broker that is full of what it has for us takes nothing.
            let packet = poll_fn(|context| match self.poll_packet(context) {
                Poll::Pending if self.is_out(ticket) => Poll::Ready(Ok(None)),
                Poll::Pending => Poll::Pending,
                Poll::Ready(packet) => Poll::Ready(packet.map(Some)),
            })
            .await?;
            if let Some(packet) = packet {
                self.take(packet)?;
            }
        }
    }

    /// Says goodbye, so that the broker keeps the last will to itself. Best effort.
    pub async fn close(mut self) {
        if self.queue(codec::goodbye(self.version)).is_ok() {
            let flush = poll_fn(|context| match self.poll_write(context) {
                Poll::Ready(Ok(())) if !self.waiting.is_empty() => Poll::Pending,
                other => other,
            });
            let _ = timeout(Duration::from_millis(200), flush).await;
        }
    }

    fn take(&mut self, packet: Packet) -> io::Result<()> {
        match packet {
            Packet::Received { .. } if self.events.len() >= MOST_EVENTS => {
                return Err(invalid(format!("more than {MOST_EVENTS} messages at once")));
            }
            Packet::Received { id, message } => {
                if let Some(id) = id {
                    self.queue(&codec::acknowledge(id))?;
                }
                self.events.push_back(Event::Message(message));
            }
            Packet::Acknowledged { id, problem } => {
                self.events.push_back(Event::Acknowledged { id, problem });
            }
            Packet::Alive => self.pinged = None,
            Packet::Subscribed { .. } => {}
            Packet::Goodbye(reason) => {
                let kind = match reason.as_str() {
                    TAKEN_OVER => io::ErrorKind::ResourceBusy,
                    _ => io::ErrorKind::ConnectionReset,
                };
                return Err(io::Error::new(
                    kind,
                    format!("the broker ended the session: {reason}"),
                ));
            }
            Packet::Connected { .. } => {
                return Err(invalid("a second answer to connect".to_owned()));
            }
            Packet::Unexpected(what) => return Err(invalid(format!("the broker sent {what}"))),
        }
        Ok(())
    }

    fn fresh_id(&mut self) -> u16 {
        let id = self.next_id;
        self.next_id = if id == u16::MAX { 1 } else { id + 1 };
        id
    }

    fn queue(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.waiting.len() + bytes.len() > LARGEST_BACKLOG {
            return Err(io::Error::new(io::ErrorKind::WouldBlock, "the broker takes nothing"));
        }
        self.waiting.extend(bytes);
        self.queued += bytes.len() as u64;
        self.last_written = Instant::now();
        Ok(())
    }

    /// The next packet, while sending what waits. Cancel safe.
    async fn packet(&mut self) -> io::Result<Packet> {
        poll_fn(|context| self.poll_packet(context)).await
    }

    fn poll_packet(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Packet>> {
        if let Poll::Ready(Err(error)) = self.poll_write(context) {
            return Poll::Ready(Err(error));
        }
        loop {
            if let Some(length) = codec::complete(&self.arrived).map_err(invalid)? {
                let packet: Vec<u8> = self.arrived.drain(..length).collect();
                return Poll::Ready(codec::read(self.version, &packet).map_err(invalid));
            }
            let mut space = [0_u8; 4096];
            let mut buffer = ReadBuf::new(&mut space);
            match Pin::new(&mut self.port).poll_read(context, &mut buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                    return Poll::Ready(Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the broker closed the connection",
                    )));
                }
                Poll::Ready(Ok(())) => self.arrived.extend_from_slice(buffer.filled()),
            }
        }
    }

    /// Hands waiting bytes to the stream. Ready when none are left.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            let (front, _) = self.waiting.as_slices();
            match Pin::new(&mut self.port).poll_write(context, front) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(0)) => {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                Poll::Ready(Ok(count)) => {
                    self.waiting.drain(..count.min(self.waiting.len()));
                    self.written += count as u64;
                }
            }
        }
        Pin::new(&mut self.port).poll_flush(context)
    }
}

/// Whether a topic falls under a filter with `+` and `#`.
pub fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && !filter.starts_with('$') {
        return false;
    }
    let mut levels = topic.split('/');
    for part in filter.split('/') {
        if part == "#" {
            return true;
        }
        match levels.next() {
            Some(level) if part == "+" || part == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the broker does not answer")
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;

    fn options() -> Options {
        Options {
            version: Version::V5,
            client_id: "labloop".to_owned(),
            keep_alive: Duration::from_secs(10),
            login: None,
            will: None,
        }
    }

    async fn opened() -> (Session, DuplexStream) {
        let (near, mut far) = tokio::io::duplex(4096);
        let session =
            tokio::spawn(
                async move { Session::open(Port::Memory(Box::new(near)), &options()).await },
            );
        let mut space = [0; 256];
        assert!(far.read(&mut space).await.unwrap() > 0);
        far.write_all(&[0x20, 3, 0, 0, 0]).await.unwrap();
        (session.await.unwrap().unwrap(), far)
    }

    #[tokio::test(start_paused = true)]
    async fn a_broker_that_hangs_up_may_not_like_the_password() {
        let (near, far) = tokio::io::duplex(4096);
        drop(far);
        let error = Session::open(Port::Memory(Box::new(near)), &options()).await.unwrap_err();
        assert!(error.to_string().contains("password"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_broker_is_told_the_largest_packet() {
        let (near, mut far) = tokio::io::duplex(4096);
        tokio::spawn(async move { Session::open(Port::Memory(Box::new(near)), &options()).await });
        let mut space = [0; 256];
        let count = far.read(&mut space).await.unwrap();
        // Property 0x27 (MQTT 5.0, 3.1.2.11.4).
        let wanted = [&[0x27], &(codec::LARGEST_PACKET as u32).to_be_bytes()[..]].concat();
        assert!(space[..count].windows(5).any(|window| window == wanted));
    }

    #[tokio::test(start_paused = true)]
    async fn what_arrives_is_read_while_a_message_waits_to_leave() {
        let (mut session, mut far) = opened().await;
        // More than the pipe holds: it leaves only when the other side reads.
        let topic = "big".to_owned();
        let message = Message { topic, payload: vec![b'x'; 10_000], ..Message::default() };
        let ticket = session.publish(&message, false).unwrap();
        // The other side writes first, more than the pipe holds, and only then reads.
        let broker = tokio::spawn(async move {
            let publish = codec::publish(Version::V5, None, &message).unwrap();
            far.write_all(&publish).await.unwrap();
            let mut space = vec![0; 20_000];
            while far.read(&mut space).await.unwrap() > 0 {}
        });
        let event = session.next_or_left(ticket).await.unwrap();
        assert!(matches!(event, Some(Event::Message(message)) if message.payload.len() == 10_000));
        assert!(session.has_left(ticket) && !session.is_out(ticket));
        assert_eq!(session.next_or_left(ticket).await.unwrap(), None);
        assert!(session.is_out(ticket));
        drop(session);
        broker.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_connect_says_why() {
        let (near, mut far) = tokio::io::duplex(4096);
        far.write_all(&[0x20, 3, 0, 0x87, 0]).await.unwrap();
        let error = Session::open(Port::Memory(Box::new(near)), &options()).await.unwrap_err();
        assert!(error.to_string().contains("NotAuthorized"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_leaves_once_and_is_known_to_have_left() {
        let (mut session, mut far) = opened().await;
        let message = Message { topic: "a".to_owned(), ..Message::default() };
        let ticket = session.publish(&message, true).unwrap();
        assert!(!session.has_left(ticket));
        far.write_all(&[0x40, 2, 0, 1]).await.unwrap();
        let event = session.next().await.unwrap();
        assert_eq!(event, Event::Acknowledged { id: 1, problem: None });
        assert!(session.has_left(ticket));
        let mut space = [0; 256];
        let count = far.read(&mut space).await.unwrap();
        assert_eq!(codec::complete(&space[..count]), Ok(Some(count)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_broker_is_pinged_and_then_given_up() {
        let (mut session, _far) = opened().await;
        let start = Instant::now();
        let error = session.next().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(start.elapsed(), Duration::from_secs(15));
    }

    #[tokio::test(start_paused = true)]
    async fn a_confirmed_message_is_acknowledged() {
        let (mut session, mut far) = opened().await;
        let message = Message { topic: "t".to_owned(), payload: vec![7], ..Message::default() };
        let bytes = codec::publish(Version::V5, Some(300), &message).unwrap();
        far.write_all(&bytes).await.unwrap();
        assert_eq!(session.next().await.unwrap(), Event::Message(message));
        let cut = timeout(Duration::from_millis(1), session.next()).await;
        assert!(cut.is_err());
        let mut space = [0; 8];
        assert_eq!(far.read(&mut space).await.unwrap(), 4);
        assert_eq!(space[..4], [0x40, 2, 1, 44]);
    }

    #[test]
    fn filters_match_as_the_standard_says() {
        for (filter, topic, expected) in [
            ("a/+/c", "a/b/c", true),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("#", "$SYS/x", false),
            ("+/x", "a/y", false),
            ("a", "a/", false),
            ("é/+", "é/1", true),
        ] {
            assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
        }
    }
}
