//! Instruments on real wires: pseudo-terminals, sockets, an MQTT broker.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{LastWill, PublishProperties};
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_serial::{SerialPort, SerialStream};

use crate::broker::Broker;
use crate::config::{Error, LabConfig, ServeOptions};
use crate::control;
use crate::lab::{Shared, broker_and_base, split};
use crate::member;
use crate::wires;
use crate::world::Models;

/// How long simulators wait for a first connection before `linger` ends them.
const FIRST_WAIT: Duration = Duration::from_secs(60);

/// Pause after a connection that could not be taken, such as for want of file handles.
const REFUSED_WAIT: Duration = Duration::from_millis(100);

/// What is spoken on a stream of bytes.
#[derive(Debug, Clone, Copy)]
enum Speaks {
    Text,
    ModbusTcp,
    ModbusRtu,
}

impl Speaks {
    fn of(scheme: &str) -> Speaks {
        match scheme {
            "modbus+tcp" => Speaks::ModbusTcp,
            "modbus+rtu+tcp" | "modbus+serial" => Speaks::ModbusRtu,
            _ => Speaks::Text,
        }
    }

    /// Serves the instruments at some addresses of one line until its other side goes.
    async fn serve<S>(
        self,
        shared: &Shared,
        addresses: &[String],
        stream: &mut S,
        lines: &AtomicUsize,
    ) -> std::io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        match (self, addresses.first()) {
            (_, None) => Ok(()),
            (Speaks::Text, Some(address)) => wires::serial(shared, address, stream, lines).await,
            (Speaks::ModbusTcp, _) => wires::modbus(shared, addresses, stream).await,
            (Speaks::ModbusRtu, _) => wires::modbus_rtu(shared, addresses, stream, lines).await,
        }
    }
}

/// Counts open connections and talk on terminals, for `linger`.
#[derive(Clone, Default)]
pub(crate) struct Open(Arc<AtomicUsize>, Arc<AtomicUsize>);

/// One open connection, for as long as it lives.
pub(crate) struct Guard(Open);

impl Open {
    /// Something was said.
    pub(crate) fn heard(&self) {
        self.1.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn one(&self) -> Guard {
        self.0.fetch_add(1, Ordering::SeqCst);
        Guard(self.clone())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Serves a lab until nobody has been connected for `linger`, or for ever.
pub async fn serve(config: LabConfig, models: Models, options: ServeOptions) -> Result<(), Error> {
    let shared = Shared::new(&config, models)?;
    if let Some(path) = &options.log {
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map_err(|source| Error::Io { what: path.display().to_string(), source })?;
        shared.world().log_to(file);
    }
    for fault in &options.faults {
        shared.order(fault).map_err(Error::Fault)?;
    }
    let open = Open::default();
    let mut endpoints = BTreeMap::new();
    let mut served = BTreeSet::new();
    for device in &config.devices {
        let (scheme, place, query) = split(&device.address);
        let (host, base) = broker_and_base(&device.address);
        let line = if scheme.starts_with("mqtt") { host } else { place };
        let fresh = served.insert(format!("{scheme} {line}"));
        let actual = match scheme {
            "serial" | "modbus+serial" if fresh => {
                serial(&shared, &config, &device.address, &options, &open)?
            }
            "modbus+tcp" | "modbus+rtu+tcp" | "tcp" if fresh => {
                let bound = listen(place, &options).await?;
                let addresses = config
                    .devices
                    .iter()
                    .map(|d| d.address.clone())
                    .filter(|a| split(a).1 == place);
                tokio::spawn(sockets(
                    bound.0,
                    shared.clone(),
                    addresses.collect(),
                    Speaks::of(scheme),
                    open.clone(),
                ));
                bound.1
            }
            "mqtt" if fresh && options.broker => {
                let bound = listen(host, &options).await?;
                tokio::spawn(broker(bound.0, Broker::new(shared.clone(), host), open.clone()));
                bound.1
            }
            "serial" | "modbus+serial" | "modbus+tcp" | "modbus+rtu+tcp" | "tcp" => {
                continue_with(&endpoints, place)
            }
            "mqtt" if options.broker => continue_with(&endpoints, host),
            "mqtt" => {
                let (shared, name, open) = (shared.clone(), device.name.clone(), open.clone());
                let is_model = shared.world().is_model(&name);
                if is_model {
                    tokio::spawn(member::join(shared, host.to_owned(), name, open));
                } else {
                    let (host, base) = (host.to_owned(), base.to_owned());
                    tokio::spawn(client(shared, host, base, name, open));
                }
                host.to_owned()
            }
            _ => {
                return Err(Error::Address {
                    address: device.address.clone(),
                    reason:
                        "simulators speak serial, tcp, modbus+tcp, modbus+serial, modbus+rtu+tcp \
                             and mqtt"
                            .to_owned(),
                });
            }
        };
        let full = match scheme {
            "serial" => format!("serial:{actual}"),
            "modbus+serial" if query.is_empty() => format!("{scheme}:{actual}"),
            "modbus+serial" => format!("{scheme}:{actual}?{query}"),
            "mqtt" if base.is_empty() => format!("mqtt://{actual}"),
            "mqtt" => format!("mqtt://{actual}/{base}"),
            _ if query.is_empty() => format!("{scheme}://{actual}"),
            _ => format!("{scheme}://{actual}?{query}"),
        };
        endpoints.insert(device.address.clone(), full);
    }
    if let Some(address) = &options.control {
        let actual = control::listen(address, &shared).await?;
        endpoints.insert("control".to_owned(), actual);
    }
    if let Some(path) = &options.ready_file {
        write_ready(path, &endpoints)?;
    }
    if let Some(told) = options.on_ready {
        told(&endpoints);
    }
    linger(&open, options.linger).await;
    if let Some(path) = &options.ready_file {
        // Nobody answers any more; a stale file would send engines to closed doors.
        let _ = std::fs::remove_file(path);
    }
    Ok(())
}

/// Where another instrument of the same line is served already.
fn continue_with(endpoints: &BTreeMap<String, String>, line: &str) -> String {
    endpoints
        .iter()
        .find(|(lab, _)| split(lab).1 == line || broker_and_base(lab).0 == line)
        .map(|(lab, actual)| match split(lab).0 {
            "mqtt" => broker_and_base(actual).0.to_owned(),
            _ => split(actual).1.to_owned(),
        })
        .unwrap_or_default()
}

async fn linger(open: &Open, linger: Option<Duration>) {
    let Some(linger) = linger else { return std::future::pending().await };
    let step = Duration::from_millis(100);
    let mut alone = Duration::ZERO;
    let mut seen = false;
    let mut heard = 0;
    loop {
        tokio::time::sleep(step).await;
        // A terminal does not say who is there, only that somebody talks.
        let lines = open.1.load(Ordering::SeqCst);
        let talk = std::mem::replace(&mut heard, lines) != lines;
        if open.0.load(Ordering::SeqCst) > 0 || talk {
            seen = true;
            alone = Duration::ZERO;
        } else {
            alone += step;
        }
        let limit = if seen { linger } else { linger.max(FIRST_WAIT) };
        if alone >= limit {
            return;
        }
    }
}

fn write_ready(path: &Path, endpoints: &BTreeMap<String, String>) -> Result<(), Error> {
    let text = serde_json::json!({"pid": std::process::id(), "endpoints": endpoints}).to_string();
    let part = path.with_extension("part");
    let fail = |source| Error::Io { what: path.display().to_string(), source };
    std::fs::write(&part, text).map_err(fail)?;
    // Renamed into place, so that nobody reads half of it.
    std::fs::rename(&part, path).map_err(fail)
}

fn refused(address: &str, error: impl ToString) -> Error {
    Error::Address { address: address.to_owned(), reason: error.to_string() }
}

async fn listen(place: &str, options: &ServeOptions) -> Result<(TcpListener, String), Error> {
    let at = if options.anywhere { "127.0.0.1:0" } else { place };
    let listener = TcpListener::bind(at).await.map_err(|e| refused(place, e))?;
    let actual = listener.local_addr().map_err(|e| refused(place, e))?;
    Ok((listener, actual.to_string()))
}

async fn sockets(
    listener: TcpListener,
    shared: Shared,
    addresses: Vec<String>,
    speaks: Speaks,
    open: Open,
) {
    loop {
        let Ok((mut stream, _)) = listener.accept().await else {
            tokio::time::sleep(REFUSED_WAIT).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let (shared, addresses, guard) = (shared.clone(), addresses.clone(), open.one());
        let open = open.clone();
        tokio::spawn(async move {
            let _guard = guard;
            let _ = speaks.serve(&shared, &addresses, &mut stream, &open.1).await;
        });
    }
}

async fn broker(listener: TcpListener, broker: Broker, open: Open) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(REFUSED_WAIT).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let (broker, guard) = (broker.clone(), open.one());
        tokio::spawn(async move {
            let _guard = guard;
            let _ = broker.serve(stream).await;
        });
    }
}

/// A pseudo-terminal in place of a serial port. The far end stays open, so that the instruments
/// keep their state when whoever drives them goes and comes back.
fn serial(
    shared: &Shared,
    config: &LabConfig,
    address: &str,
    options: &ServeOptions,
    open: &Open,
) -> Result<String, Error> {
    let (scheme, place, _) = split(address);
    let (mut ours, theirs) = SerialStream::pair().map_err(|e| refused(address, e))?;
    let name = theirs.name().ok_or_else(|| refused(address, "the terminal has no name"))?;
    // A plain handle keeps the terminal alive without the lock that `theirs` holds: the driver
    // asks for exclusive use.
    let keep = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&name)
        .map_err(|e| refused(address, e))?;
    drop(theirs);
    let actual = if options.anywhere {
        name
    } else {
        let link = Path::new(place);
        if link.is_symlink() {
            std::fs::remove_file(link).map_err(|e| refused(address, e))?;
        }
        std::os::unix::fs::symlink(&name, link).map_err(|e| refused(address, e))?;
        place.to_owned()
    };
    let (shared, open, speaks) = (shared.clone(), open.clone(), Speaks::of(scheme));
    let addresses: Vec<String> = config
        .devices
        .iter()
        .map(|device| device.address.clone())
        .filter(|its| split(its).0 == scheme && split(its).1 == place)
        .collect();
    tokio::spawn(async move {
        let _keep = keep;
        loop {
            let served = speaks.serve(&shared, &addresses, &mut ours, &open.1).await;
            if served.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    });
    Ok(actual)
}

/// Publishes the state of a bridge while it is connected.
async fn states(
    shared: Shared,
    client: AsyncClient,
    connected: Arc<AtomicBool>,
    base: String,
    name: String,
) {
    if !shared.world().publishers().contains(&name) {
        return;
    }
    while let Some((wait, payload)) = shared.state(&name) {
        if connected.load(Ordering::SeqCst) {
            let _ = client.try_publish(format!("{base}/state"), QoS::AtMostOnce, false, payload);
        }
        tokio::time::sleep(wait).await;
    }
}

/// An instrument as a client of somebody else's broker.
async fn client(shared: Shared, host: String, base: String, name: String, open: Open) {
    let (server, port) = host.rsplit_once(':').unwrap_or((&host, "1883"));
    let mut options = MqttOptions::new(format!("sim-{name}"), server, port.parse().unwrap_or(1883));
    options.set_keep_alive(Duration::from_secs(30)).set_clean_start(true);
    options.set_last_will(LastWill {
        topic: format!("{base}/status").into(),
        message: "offline".into(),
        qos: QoS::AtLeastOnce,
        retain: true,
        properties: None,
    });
    let mut network = rumqttc::NetworkOptions::new();
    network.set_tcp_nodelay(true);
    options.set_network_options(network);
    let (client, mut events) = AsyncClient::new(options, 64);
    let mut guard = None;
    let connected = Arc::new(AtomicBool::new(false));
    tokio::spawn(states(
        shared.clone(),
        client.clone(),
        connected.clone(),
        base.clone(),
        name.clone(),
    ));
    loop {
        match events.poll().await {
            Ok(Event::Incoming(rumqttc::v5::mqttbytes::v5::Packet::ConnAck(_))) => {
                guard = Some(open.one());
                connected.store(true, Ordering::SeqCst);
                for topic in ["measure", "lamp", "GPIO/28/", "do/+"] {
                    let _ = client.try_subscribe(format!("{base}/{topic}"), QoS::AtLeastOnce);
                }
                let _ =
                    client.try_publish(format!("{base}/status"), QoS::AtLeastOnce, true, "online");
            }
            Ok(Event::Incoming(rumqttc::v5::mqttbytes::v5::Packet::Publish(request))) => {
                let topic = String::from_utf8_lossy(&request.topic).into_owned();
                let below = topic.strip_prefix(&format!("{base}/")).unwrap_or_default().to_owned();
                if request.retain || below.is_empty() {
                    continue;
                }
                open.1.fetch_add(1, Ordering::SeqCst);
                let (shared, client) = (shared.clone(), client.clone());
                let (base, name) = (base.clone(), name.clone());
                let asked = request.properties.unwrap_or_default();
                // The loop that must go on polling neither measures nor waits for the client.
                tokio::spawn(async move {
                    for publication in shared.ask(&name, &below, &request.payload).await {
                        let topic = match (publication.topic.as_str(), &asked.response_topic) {
                            ("", Some(topic)) => topic.clone(),
                            ("", None) => continue,
                            (below, _) => format!("{base}/{below}"),
                        };
                        let properties = PublishProperties {
                            correlation_data: asked.correlation_data.clone(),
                            ..PublishProperties::default()
                        };
                        let _ = client.try_publish_with_properties(
                            topic,
                            QoS::AtLeastOnce,
                            false,
                            publication.payload,
                            properties,
                        );
                    }
                });
            }
            Ok(_) => {}
            Err(_) => {
                guard = None;
                connected.store(false, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
        let _ = &guard;
    }
}
