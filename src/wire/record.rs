//! Records a wire: between a program and a device, every byte passed on as it is, or listening to
//! topics.
//!
//! Architecture invariant: what is recorded never changes what crosses. A trace that is full or
//! cannot be written stops being written; the wire goes on.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::mqtt::{Event, Login, Message, Options, Session, Version};
use super::stand::{Client, Stand};
use super::trace::{Direction, Line, Recorder, to_hex};
use super::{Address, Dialer, Endpoint, Port, SerialSettings};

/// Bytes passed on at once.
const CHUNK: usize = 4096;

/// What a recording tells while it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// A program has connected.
    Connected,
    /// It is gone.
    Gone,
    /// The device cannot be had, or is gone.
    Device(String),
    /// The trace is not written any longer.
    Unwritten(String),
}

/// Something between a program and a device.
pub struct Proxy<'a> {
    /// The device.
    pub device: &'a Address,
    /// Settings of its serial line.
    pub serial: SerialSettings,
    /// Opens it.
    pub dialer: &'a Dialer,
    /// Where the trace goes.
    pub recorder: &'a mut Recorder,
    /// Hears what happens.
    pub tell: &'a mut dyn FnMut(Told),
}

/// How passing on ended.
enum Ended {
    Client,
    Device(io::Error),
}

impl Proxy<'_> {
    /// Opens the device, to know that it is there; a serial line stays open.
    pub async fn reach(&self) -> io::Result<Port> {
        self.dialer.open(self.device, &self.serial).await
    }

    /// Passes on until the device of a serial line is gone; connections of a socket one after the
    /// other, for ever. Meant to be dropped when it is enough.
    pub async fn run(&mut self, stand: &mut Stand, port: Port) -> io::Result<()> {
        let mut port = Some(port);
        loop {
            let mut client = stand.client().await?;
            let terminal = matches!(client, Client::Terminal(_));
            if !terminal {
                (self.tell)(Told::Connected);
                self.note("a client has connected");
            }
            // A socket of the device is opened anew for each of the client's.
            let opened = match port.take() {
                Some(port) => Ok(port),
                None => self.dialer.open(self.device, &self.serial).await,
            };
            let mut device = match opened {
                Ok(device) => device,
                Err(error) => {
                    self.lost(&error);
                    continue;
                }
            };
            match self.pass(&mut client, &mut device).await {
                Ended::Client => {
                    (self.tell)(Told::Gone);
                    self.note("the client has closed its connection");
                }
                Ended::Device(error) if terminal => {
                    self.lost(&error);
                    return Err(error);
                }
                Ended::Device(error) => self.lost(&error),
            }
        }
    }

    fn lost(&mut self, error: &io::Error) {
        self.note(&format!("the device is gone: {error}"));
        (self.tell)(Told::Device(error.to_string()));
    }

    async fn pass(&mut self, client: &mut Client<'_>, device: &mut Port) -> Ended {
        let (mut from_client, mut from_device) = (vec![0; CHUNK], vec![0; CHUNK]);
        loop {
            tokio::select! {
                count = client.read(&mut from_client) => {
                    let count = match count {
                        Ok(0) | Err(_) => return Ended::Client,
                        Ok(count) => count,
                    };
                    let bytes = from_client.get(..count).unwrap_or_default();
                    // Passed on first: the trace must not slow the wire.
                    let sent = device.write_all(bytes).await;
                    self.bytes(Direction::Out, bytes);
                    let flushed = match sent {
                        Ok(()) => device.flush().await,
                        Err(error) => Err(error),
                    };
                    if let Err(error) = flushed {
                        return Ended::Device(error);
                    }
                }
                count = device.receive(&mut from_device) => {
                    let count = match count {
                        Ok(count) => count,
                        Err(error) => return Ended::Device(error),
                    };
                    let bytes = from_device.get(..count).unwrap_or_default();
                    let sent = client.write_all(bytes).await;
                    self.bytes(Direction::In, bytes);
                    if sent.is_err() || client.flush().await.is_err() {
                        return Ended::Client;
                    }
                }
            }
        }
    }

    fn bytes(&mut self, way: Direction, bytes: &[u8]) {
        let was = self.recorder.is_full();
        let written = self.recorder.bytes(way, bytes);
        self.written(written, was);
    }

    fn note(&mut self, text: &str) {
        let was = self.recorder.is_full();
        let written = self.recorder.note(text);
        self.written(written, was);
    }

    fn written(&mut self, written: io::Result<()>, was_full: bool) {
        if let Err(error) = written {
            (self.tell)(Told::Unwritten(error.to_string()));
        } else if self.recorder.is_full() && !was_full {
            (self.tell)(Told::Unwritten("it has the size it may have".to_owned()));
        }
    }
}

/// Opens a session that only listens below the base of an address; version 5 where the broker has
/// it, because only that says which message answers which.
pub async fn subscribe(
    dialer: &Dialer,
    at: &Address,
    client_id: &str,
    password: Option<&str>,
) -> io::Result<Session> {
    let Endpoint::Mqtt { base, user, .. } = &at.endpoint else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "this is no MQTT address"));
    };
    let filter = if base.is_empty() { "#".to_owned() } else { format!("{base}/#") };
    let mut refused = None;
    for version in [Version::V5, Version::V3] {
        let port = dialer.open(at, &SerialSettings::default()).await?;
        let options = Options {
            version,
            client_id: client_id.to_owned(),
            keep_alive: Duration::from_secs(30),
            login: user.as_ref().map(|user| Login {
                user: user.clone(),
                password: password.unwrap_or_default().to_owned(),
            }),
            will: None,
        };
        match Session::open(port, &options).await {
            Ok(mut session) => {
                session.subscribe(std::slice::from_ref(&filter)).await?;
                return Ok(session);
            }
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    Err(refused.unwrap_or_else(|| io::ErrorKind::ConnectionRefused.into()))
}

/// Records all messages of a session until it ends. `out` says whether a message goes to the
/// device. Meant to be dropped when it is enough.
pub async fn listen(
    session: &mut Session,
    recorder: &mut Recorder,
    out: &dyn Fn(&Message) -> bool,
) -> io::Result<()> {
    loop {
        let Event::Message(message) = session.next().await? else { continue };
        let way = if out(&message) { Direction::Out } else { Direction::In };
        recorder.line(Line {
            way: Some(way),
            hex: Some(to_hex(&message.payload)),
            text: Some(super::printable::printable(&message.payload)),
            topic: Some(message.topic),
            response_topic: message.response_topic,
            correlation: message.correlation.as_deref().map(to_hex),
            retain: message.retain,
            ..Line::default()
        })?;
        if recorder.is_full() {
            return Ok(());
        }
    }
}
