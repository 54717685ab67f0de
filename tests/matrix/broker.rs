//! The device behind a broker, with the faults of both: MQTT 5 and 3.1.1.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use labloop::wire::Dialer;
use labloop_simulators::Upset;
use labloop_simulators::faults::spec::{Fault, Kind};
use rumqttc::mqttbytes::v4;
use rumqttc::v5::mqttbytes::v5;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;

use super::Dice;
use super::truth::{Ask, Says, Truth};

/// How often it publishes its state.
const STATE_EVERY: Duration = Duration::from_secs(1);
/// How long a restart takes.
const RESTART: Duration = Duration::from_millis(150);
const BASE: &str = "lab/device";

/// A message to the client.
#[derive(Debug, Clone)]
struct Out {
    topic: &'static str,
    payload: Vec<u8>,
    correlation: Option<Bytes>,
    retain: bool,
}

enum Order {
    Send(Out),
    Close,
}

struct State {
    faults: Vec<(Fault, bool)>,
    dice: Dice,
    /// The connection there is.
    client: Option<mpsc::UnboundedSender<Order>>,
}

/// The broker and the device.
#[derive(Clone)]
pub struct Broker {
    old: bool,
    truth: Arc<Mutex<Truth>>,
    state: Arc<Mutex<State>>,
}

/// What happens to one message.
#[derive(Default)]
struct Fate {
    deaf: bool,
    mute: bool,
    cut: bool,
    foreign: bool,
    wait: Duration,
    mangled: Vec<(Kind, f64)>,
    restarts: bool,
}

/// What a client said.
enum Packet {
    Connect,
    Subscribe { id: u16, filters: usize },
    Publish(Request),
    Ping,
    Other,
}

struct Request {
    id: u16,
    topic: String,
    payload: Bytes,
    correlation: Option<Bytes>,
}

impl Broker {
    pub fn new(old: bool, truth: &Arc<Mutex<Truth>>, seed: u64) -> Broker {
        let state = State { faults: Vec::new(), dice: Dice(seed), client: None };
        Broker { old, truth: Arc::clone(truth), state: Arc::new(Mutex::new(state)) }
    }

    pub fn dialer(&self) -> Dialer {
        let broker = self.clone();
        Dialer::memory(move |_| {
            let (near, far) = tokio::io::duplex(1 << 16);
            let broker = broker.clone();
            tokio::spawn(async move {
                let _ = broker.serve(far).await;
            });
            Ok(near)
        })
    }

    /// Adds a fault, or ends all.
    pub fn order(&self, fault: Option<Fault>) {
        let mut state = self.state.lock().unwrap();
        let Some(fault) = fault else {
            for (fault, upset) in state.faults.drain(..) {
                if let (Kind::Upset(kind), true) = (fault.kind, upset) {
                    self.truth.lock().unwrap().upset_ends(kind);
                }
            }
            return;
        };
        state.faults.push((fault, false));
    }

    fn fate(&self) -> Fate {
        let mut state = self.state.lock().unwrap();
        let mut fate = Fate::default();
        let State { faults, dice, .. } = &mut *state;
        for (fault, upset) in faults {
            let (hit, place) = (dice.share() < fault.share, dice.share());
            if let Kind::Upset(kind) = fault.kind {
                if kind == Upset::Reboot {
                    fate.restarts |= hit;
                } else if hit != *upset {
                    *upset = hit;
                    self.truth.lock().unwrap().upset(kind, hit);
                }
                continue;
            }
            match fault.kind {
                _ if !hit => {}
                Kind::Silence => fate.deaf = true,
                Kind::Lost => fate.mute = true,
                Kind::Disconnect => fate.cut = true,
                Kind::Delay(time) | Kind::Late(time) => fate.wait += time,
                Kind::WrongAddress => fate.foreign = true,
                kind => fate.mangled.push((kind, place)),
            }
        }
        fate
    }

    fn send(&self, order: Order) {
        if let Some(client) = &self.state.lock().unwrap().client {
            let _ = client.send(order);
        }
    }

    /// The device takes a message.
    async fn take(&self, request: Request) {
        let fate = self.fate();
        if fate.restarts {
            self.truth.lock().unwrap().upset(Upset::Reboot, true);
            self.send(Order::Send(status("offline", false)));
            tokio::time::sleep(RESTART).await;
            self.send(Order::Send(status("online", false)));
            return;
        }
        if fate.cut {
            return self.send(Order::Close);
        }
        if fate.deaf {
            return;
        }
        let json: serde_json::Value = serde_json::from_slice(&request.payload).unwrap();
        let number = || u32::try_from(json["n"].as_u64().unwrap()).unwrap();
        let ask = match request.topic.strip_prefix("lab/device/do/").unwrap() {
            "dose" => Ask::Dose(number()),
            "set" => Ask::Set(number()),
            "move" => Ask::Move(number()),
            _ => Ask::Read("s"),
        };
        let says = self.truth.lock().unwrap().take(ask);
        let mut id = json["id"].as_str().unwrap().to_owned();
        let mut correlation = request.correlation;
        if fate.foreign {
            id.push('x');
            correlation = correlation.map(|data| [&data[..], b"x"].concat().into());
        }
        let id = serde_json::Value::from(id);
        let payload = match says {
            Says::Value(value) => format!("{{\"id\":{id},\"value\":{value}}}"),
            Says::Nothing => format!("{{\"id\":{id},\"value\":null}}"),
            Says::Done => format!("{{\"id\":{id}}}"),
            Says::Busy => format!("{{\"id\":{id},\"error\":\"busy\"}}"),
            Says::Error(code) => format!("{{\"id\":{id},\"error\":\"error {code}\"}}"),
            Says::Rebooted => unreachable!("it says so on its liveness topic"),
        };
        tokio::time::sleep(Duration::from_millis(1) + fate.wait).await;
        if fate.mute {
            return;
        }
        for payload in mangled(payload.into_bytes(), &fate.mangled) {
            let correlation = correlation.clone();
            self.send(Order::Send(Out { topic: "reply", payload, correlation, retain: false }));
        }
    }

    /// What it publishes of itself.
    fn publish_state(&self) -> Vec<Out> {
        let fate = self.fate();
        if fate.deaf || fate.mute {
            return Vec::new();
        }
        let mut fields = Vec::new();
        for name in ["a", "b", "c", "sp", "at"] {
            match self.truth.lock().unwrap().take(Ask::Read(name)) {
                Says::Value(value) => fields.push(format!("\"{name}\":{value}")),
                _ => fields.push(format!("\"{name}\":null")),
            }
        }
        let payload = format!("{{{}}}", fields.join(",")).into_bytes();
        let out = |payload| Out { topic: "state", payload, correlation: None, retain: false };
        mangled(payload, &fate.mangled).into_iter().map(out).collect()
    }

    async fn serve(&self, mut far: DuplexStream) -> io::Result<()> {
        let (sender, mut orders) = mpsc::unbounded_channel();
        let mut arrived = BytesMut::new();
        let mut next = tokio::time::Instant::now() + STATE_EVERY;
        let mut subscribed = false;
        loop {
            while let Some(packet) = self.read(&mut arrived) {
                match packet {
                    Packet::Connect if self.old => far.write_all(&[0x20, 2, 0, 0]).await?,
                    Packet::Connect => far.write_all(&[0x20, 3, 0, 0, 0]).await?,
                    Packet::Subscribe { id, filters } => {
                        let [high, low] = id.to_be_bytes();
                        let length = u8::try_from(filters).unwrap() + 2;
                        let mut out = match self.old {
                            true => vec![0x90, length, high, low],
                            false => vec![0x90, length + 1, high, low, 0],
                        };
                        out.extend(std::iter::repeat_n(1, filters));
                        far.write_all(&out).await?;
                        far.write_all(&self.encoded(&status("online", true))).await?;
                        subscribed = true;
                        self.state.lock().unwrap().client = Some(sender.clone());
                    }
                    Packet::Publish(request) => {
                        let [high, low] = request.id.to_be_bytes();
                        far.write_all(&[0x40, 2, high, low]).await?;
                        let broker = self.clone();
                        tokio::spawn(async move { broker.take(request).await });
                    }
                    Packet::Ping => far.write_all(&[0xd0, 0]).await?,
                    Packet::Other => {}
                }
            }
            tokio::select! {
                count = far.read_buf(&mut arrived) => {
                    if count? == 0 {
                        return Ok(());
                    }
                }
                order = orders.recv() => match order {
                    Some(Order::Send(out)) => far.write_all(&self.encoded(&out)).await?,
                    Some(Order::Close) | None => return Ok(()),
                },
                () = tokio::time::sleep_until(next), if subscribed => {
                    next += STATE_EVERY;
                    for out in self.publish_state() {
                        far.write_all(&self.encoded(&out)).await?;
                    }
                }
            }
        }
    }

    fn read(&self, arrived: &mut BytesMut) -> Option<Packet> {
        if self.old {
            return Some(match v4::Packet::read(arrived, 1 << 16).ok()? {
                v4::Packet::Connect(_) => Packet::Connect,
                v4::Packet::Subscribe(it) => {
                    Packet::Subscribe { id: it.pkid, filters: it.filters.len() }
                }
                v4::Packet::Publish(it) => Packet::Publish(Request {
                    id: it.pkid,
                    topic: it.topic,
                    payload: it.payload,
                    correlation: None,
                }),
                v4::Packet::PingReq => Packet::Ping,
                _ => Packet::Other,
            });
        }
        Some(match v5::Packet::read(arrived, None).ok()? {
            v5::Packet::Connect(..) => Packet::Connect,
            v5::Packet::Subscribe(it) => {
                Packet::Subscribe { id: it.pkid, filters: it.filters.len() }
            }
            v5::Packet::Publish(it) => Packet::Publish(Request {
                id: it.pkid,
                topic: String::from_utf8(it.topic.to_vec()).unwrap(),
                payload: it.payload,
                correlation: it.properties.and_then(|properties| properties.correlation_data),
            }),
            v5::Packet::PingReq(_) => Packet::Ping,
            _ => Packet::Other,
        })
    }

    fn encoded(&self, out: &Out) -> BytesMut {
        let mut bytes = BytesMut::new();
        let topic = format!("{BASE}/{}", out.topic);
        if self.old {
            let qos = rumqttc::mqttbytes::QoS::AtMostOnce;
            let mut publish = v4::Publish::new(topic, qos, out.payload.clone());
            publish.retain = out.retain;
            publish.write(&mut bytes).unwrap();
        } else {
            let qos = rumqttc::v5::mqttbytes::QoS::AtMostOnce;
            let correlation_data = out.correlation.clone();
            let properties = v5::PublishProperties { correlation_data, ..Default::default() };
            let mut publish = v5::Publish::new(topic, qos, out.payload.clone(), Some(properties));
            publish.retain = out.retain;
            publish.write(&mut bytes).unwrap();
        }
        bytes
    }
}

fn status(word: &str, retain: bool) -> Out {
    Out { topic: "status", payload: word.into(), correlation: None, retain }
}

/// A payload after what damages it: once, or twice.
fn mangled(mut payload: Vec<u8>, by: &[(Kind, f64)]) -> Vec<Vec<u8>> {
    let mut copies = 1;
    for (kind, place) in by {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let bit = (place * 8.0 * payload.len() as f64) as usize;
        match kind {
            Kind::Corrupt => payload[bit / 8] ^= 0x80,
            Kind::Flip => payload[bit / 8] ^= 1 << (bit % 8),
            Kind::Truncated => payload.truncate(bit / 8),
            Kind::Duplicated => copies = 2,
            _ => {}
        }
    }
    vec![payload; copies]
}
