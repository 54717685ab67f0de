//! Opens byte streams: serial ports, sockets, and in-memory pipes for tests and virtual time.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::TcpStream;
use tokio_serial::{SerialPort, SerialPortBuilderExt, SerialStream};

use super::address::{Address, Endpoint};
use super::claim::{self, ClaimError, LineLock};
use super::trust::Trust;

/// How long a name may take to become an address, in wall time: a resolver that asks a dead server
/// first needs five seconds by default.
const NAME_TIMEOUT: Duration = Duration::from_secs(8);

/// How long a TCP connection may take to open, in wall time. The kernel asks again after one second
/// and after three: a host that comes back in between must not wait for the third.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long TLS may take to greet, in wall time.
#[cfg(feature = "tls")]
const GREETING_TIMEOUT: Duration = Duration::from_secs(5);

/// Most stale bytes thrown away before a send; a line that never falls quiet is not usable.
const DISCARD_LIMIT: usize = 1 << 20;

/// Addresses of one name that are tried.
const MOST_ADDRESSES: usize = 4;

#[cfg(not(feature = "tls"))]
const NO_TLS: &str = "this build has no TLS; build labloop with `--features tls`, or use mqtt:// \
                      on a trusted network";

/// Settings of a serial port; other wires ignore them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SerialSettings {
    /// Bits per second.
    pub baud: u32,
    /// 5 to 8.
    pub data_bits: u8,
    /// Parity bit.
    pub parity: Parity,
    /// 1 or 2.
    pub stop_bits: u8,
    /// Level of DTR after opening; opening with DTR resets some boards. `None` leaves it alone.
    pub dtr_on_open: Option<bool>,
}

/// Parity of a serial character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parity {
    /// No parity bit.
    None,
    /// Even.
    Even,
    /// Odd.
    Odd,
}

impl Default for SerialSettings {
    fn default() -> Self {
        SerialSettings {
            baud: 9600,
            data_bits: 8,
            parity: Parity::None,
            stop_bits: 1,
            dtr_on_open: None,
        }
    }
}

impl SerialSettings {
    /// Reads the usual short form, `8N1` or `7E1`.
    pub fn with_frame(mut self, frame: &str) -> Option<SerialSettings> {
        let mut parts = frame.chars();
        self.data_bits = match parts.next()? {
            '5' => 5,
            '6' => 6,
            '7' => 7,
            '8' => 8,
            _ => return None,
        };
        self.parity = match parts.next()? {
            'N' => Parity::None,
            'E' => Parity::Even,
            'O' => Parity::Odd,
            _ => return None,
        };
        self.stop_bits = match parts.next()? {
            '1' => 1,
            '2' => 2,
            _ => return None,
        };
        parts.next().is_none().then_some(self)
    }

    /// Time one character takes on the wire.
    pub fn character(&self) -> Duration {
        let parity = u32::from(self.parity != Parity::None);
        let bits = 1 + u32::from(self.data_bits) + parity + u32::from(self.stop_bits);
        Duration::from_secs_f64(f64::from(bits) / f64::from(self.baud.max(1)))
    }

    /// Least silence between two frames of Modbus RTU: 3.5 characters, and 1.75 ms from 19200 baud
    /// on (Modbus over Serial Line 1.02, 2.5.1.1).
    pub fn rtu_silence(&self) -> Duration {
        self.character().mul_f64(3.5).max(Duration::from_micros(1750))
    }
}

/// A byte stream that is neither a port nor a socket.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + Sync + std::fmt::Debug {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync + std::fmt::Debug> Stream for T {}

type Pipes = dyn Fn(&str) -> io::Result<Box<dyn Stream>> + Send + Sync;

/// Opens byte streams for addresses; cheap to clone.
#[derive(Clone)]
pub struct Dialer {
    kind: Kind,
    /// Who holds the lines that are claimed, for people.
    holder: Arc<str>,
}

#[derive(Clone)]
enum Kind {
    Real { redirect: Arc<BTreeMap<String, Address>> },
    Memory(Arc<Pipes>),
}

impl std::fmt::Debug for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.kind {
            Kind::Real { redirect } => f.debug_tuple("Dialer::Real").field(redirect).finish(),
            Kind::Memory(_) => f.write_str("Dialer::Memory"),
        }
    }
}

impl Dialer {
    /// Ports and sockets of this machine, at the addresses as written.
    pub fn real() -> Dialer {
        Dialer { kind: Kind::Real { redirect: Arc::default() }, holder: Arc::from("") }
    }

    /// Ports and sockets, but whoever asks for a key of `map` gets what stands at its value:
    /// simulators take the place of instruments without any other difference. Keys match when
    /// they name the same line.
    pub fn redirected(
        map: &BTreeMap<String, String>,
    ) -> Result<Dialer, super::address::AddressError> {
        let mut redirect = BTreeMap::new();
        for (from, to) in map {
            redirect.insert(Address::parse(from)?.line(), Address::parse(to)?);
        }
        Ok(Dialer { kind: Kind::Real { redirect: Arc::new(redirect) }, holder: Arc::from("") })
    }

    /// In-memory pipes made by a function of the lab address as written.
    pub fn memory(
        open: impl Fn(&str) -> io::Result<DuplexStream> + Send + Sync + 'static,
    ) -> Dialer {
        Dialer::streams(move |at| open(at).map(|pipe| Box::new(pipe) as Box<dyn Stream>))
    }

    /// The same with streams of any kind: one with faults of its own, say.
    pub fn streams(
        open: impl Fn(&str) -> io::Result<Box<dyn Stream>> + Send + Sync + 'static,
    ) -> Dialer {
        Dialer { kind: Kind::Memory(Arc::new(open)), holder: Arc::from("") }
    }

    /// Names who claims lines, for whoever is refused one: the state folder, say.
    pub fn held_by(self, holder: &str) -> Dialer {
        Dialer { holder: Arc::from(holder), ..self }
    }

    /// Takes a line for oneself on this machine. `None` where there is nothing to take: a simulator
    /// in the place of an instrument has whoever started it.
    pub fn claim(&self, at: &Address) -> Result<Option<LineLock>, ClaimError> {
        if self.is_elsewhere(at) { Ok(None) } else { claim::claim(at, &self.holder) }
    }

    /// Whether something else takes the place of what stands at an address.
    pub fn is_elsewhere(&self, at: &Address) -> bool {
        match &self.kind {
            Kind::Real { redirect } => redirect.contains_key(&at.line()),
            Kind::Memory(_) => true,
        }
    }

    /// Whether this build can open such an address at all, and with these certificates; says what
    /// to do instead.
    pub fn supports(&self, at: &Address, trust: &Trust) -> Result<(), String> {
        let Kind::Real { redirect } = &self.kind else { return Ok(()) };
        match redirect.get(&at.line()).unwrap_or(at).endpoint {
            #[cfg(not(feature = "tls"))]
            Endpoint::Mqtt { tls: true, .. } => {
                let _ = trust;
                Err(NO_TLS.to_owned())
            }
            #[cfg(feature = "tls")]
            Endpoint::Mqtt { tls: true, .. } => super::tls::check(trust).map_err(|e| e.to_string()),
            _ => Ok(()),
        }
    }

    /// Opens a stream. A serial port is opened exclusively: a second owner is refused.
    pub async fn open(&self, at: &Address, serial: &SerialSettings) -> io::Result<Port> {
        self.dial(at, serial, &Trust::default()).await
    }

    /// Opens a stream to a broker, which must be one that `trust` accepts where it speaks TLS.
    pub async fn open_broker(&self, at: &Address, trust: &Trust) -> io::Result<Port> {
        self.dial(at, &SerialSettings::default(), trust).await
    }

    async fn dial(&self, at: &Address, serial: &SerialSettings, trust: &Trust) -> io::Result<Port> {
        let redirect = match &self.kind {
            Kind::Memory(open) => return open(&at.text).map(Port::Memory),
            Kind::Real { redirect } => redirect,
        };
        let target = redirect.get(&at.line()).unwrap_or(at);
        match &target.endpoint {
            Endpoint::Serial { path } | Endpoint::ModbusRtu { path, .. } => {
                open_serial(path, serial).map(Port::Serial)
            }
            Endpoint::Tcp { host, port }
            | Endpoint::ModbusTcp { host, port, .. }
            | Endpoint::ModbusRtuTcp { host, port, .. } => {
                open_tcp(host, *port).await.map(Port::Tcp)
            }
            #[cfg(not(feature = "tls"))]
            Endpoint::Mqtt { tls: true, .. } => {
                let _ = trust;
                Err(io::Error::new(io::ErrorKind::Unsupported, NO_TLS))
            }
            #[cfg(feature = "tls")]
            Endpoint::Mqtt { host, port, tls: true, .. } => {
                let stream = open_tcp(host, *port).await?;
                let greeting = super::tls::connect(host, stream, trust);
                let greeted = tokio::time::timeout(GREETING_TIMEOUT, greeting);
                let late = |_| {
                    let why = format!("no TLS greeting within {} s", GREETING_TIMEOUT.as_secs());
                    io::Error::new(io::ErrorKind::TimedOut, why)
                };
                Ok(Port::Tls(Box::new(greeted.await.map_err(late)??)))
            }
            Endpoint::Mqtt { host, port, .. } => open_tcp(host, *port).await.map(Port::Tcp),
            Endpoint::Null { .. } => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

async fn open_tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let late = |what: &str, limit: Duration| {
        let why = format!("no {what} within {} s", limit.as_secs());
        io::Error::new(io::ErrorKind::TimedOut, why)
    };
    let addresses = tokio::time::timeout(NAME_TIMEOUT, tokio::net::lookup_host((host, port)))
        .await
        .map_err(|_| late("address of that name", NAME_TIMEOUT))??;
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses.take(MOST_ADDRESSES) {
        match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Small requests and answers: Nagle with delayed acknowledgement costs 40 to 90 ms
                // each.
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Ok(Err(error)) => failure = error,
            Err(_) => failure = late("connection", CONNECT_TIMEOUT),
        }
    }
    Err(failure)
}

fn open_serial(path: &str, settings: &SerialSettings) -> io::Result<SerialStream> {
    use tokio_serial::{DataBits, StopBits};
    let data_bits = match settings.data_bits {
        5 => DataBits::Five,
        6 => DataBits::Six,
        7 => DataBits::Seven,
        _ => DataBits::Eight,
    };
    let parity = match settings.parity {
        Parity::None => tokio_serial::Parity::None,
        Parity::Even => tokio_serial::Parity::Even,
        Parity::Odd => tokio_serial::Parity::Odd,
    };
    let stop_bits = if settings.stop_bits == 2 { StopBits::Two } else { StopBits::One };
    let mut builder = tokio_serial::new(path, settings.baud)
        .data_bits(data_bits)
        .parity(parity)
        .stop_bits(stop_bits);
    if let Some(level) = settings.dtr_on_open {
        builder = builder.dtr_on_open(level);
    }
    let port = builder.open_native_async().map_err(io::Error::from)?;
    // Exclusive is the default of the library; asked for again because two owners of a bus break
    // the promise that a command is sent once.
    Ok(port)
}

/// An open byte stream.
#[derive(Debug)]
pub enum Port {
    /// A serial port.
    Serial(SerialStream),
    /// A socket.
    Tcp(TcpStream),
    /// A socket with TLS.
    #[cfg(feature = "tls")]
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
    /// A pipe to a simulator in this process.
    Memory(Box<dyn Stream>),
}

impl Port {
    /// Whether what crosses it is encrypted.
    pub fn is_secure(&self) -> bool {
        match self {
            #[cfg(feature = "tls")]
            Port::Tls(_) => true,
            Port::Serial(_) | Port::Tcp(_) | Port::Memory(_) => false,
        }
    }

    /// Throws away everything that has arrived and was not asked for, in our buffers and in the
    /// kernel's, and says how much (as far as it can be known). Errors when the other side has
    /// closed the line.
    pub fn discard_input(&mut self) -> io::Result<usize> {
        let mut discarded = 0;
        if let Port::Serial(port) = self {
            discarded += port.bytes_to_read().unwrap_or(0) as usize;
            port.clear(tokio_serial::ClearBuffer::Input).map_err(io::Error::from)?;
        }
        let mut context = Context::from_waker(std::task::Waker::noop());
        let mut space = [0_u8; 1024];
        while discarded < DISCARD_LIMIT {
            let mut buffer = ReadBuf::new(&mut space);
            match Pin::new(&mut *self).poll_read(&mut context, &mut buffer) {
                Poll::Pending => return Ok(discarded),
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Poll::Ready(Ok(())) => discarded += buffer.filled().len(),
            }
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "the line never falls quiet"))
    }

    /// Reads what has arrived, at least one byte. A closed line is an error, never zero bytes: an
    /// unplugged serial port reads as empty for ever.
    pub async fn receive(&mut self, space: &mut [u8]) -> io::Result<usize> {
        match self.read(space).await? {
            0 => {
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the other side closed the line"))
            }
            count => Ok(count),
        }
    }
}

impl AsyncRead for Port {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Port::Serial(port) => Pin::new(port).poll_read(cx, buf),
            Port::Tcp(port) => Pin::new(port).poll_read(cx, buf),
            #[cfg(feature = "tls")]
            Port::Tls(port) => Pin::new(port).poll_read(cx, buf),
            Port::Memory(port) => Pin::new(port).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Port {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Port::Serial(port) => Pin::new(port).poll_write(cx, buf),
            Port::Tcp(port) => Pin::new(port).poll_write(cx, buf),
            #[cfg(feature = "tls")]
            Port::Tls(port) => Pin::new(port).poll_write(cx, buf),
            Port::Memory(port) => Pin::new(port).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            // tcdrain blocks the thread until the last bit has left; the reply proves as much.
            Port::Serial(_) => Poll::Ready(Ok(())),
            Port::Tcp(port) => Pin::new(port).poll_flush(cx),
            #[cfg(feature = "tls")]
            Port::Tls(port) => Pin::new(port).poll_flush(cx),
            Port::Memory(port) => Pin::new(port).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Port::Serial(port) => Pin::new(port).poll_shutdown(cx),
            Port::Tcp(port) => Pin::new(port).poll_shutdown(cx),
            #[cfg(feature = "tls")]
            Port::Tls(port) => Pin::new(port).poll_shutdown(cx),
            Port::Memory(port) => Pin::new(port).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn stale_input_is_discarded_and_a_closed_line_is_an_error() {
        let (near, mut far) = tokio::io::duplex(64);
        let mut port = Port::Memory(Box::new(near));
        assert_eq!(port.discard_input().unwrap(), 0);
        far.write_all(b"late").await.unwrap();
        assert_eq!(port.discard_input().unwrap(), 4);
        drop(far);
        assert!(port.discard_input().is_err());
        assert!(port.receive(&mut [0; 8]).await.is_err());
    }

    #[tokio::test]
    async fn a_socket_sends_at_once_and_an_address_without_a_host_is_given_up() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let stream = open_tcp("localhost", port).await.unwrap();
        assert!(stream.nodelay().unwrap());
        let begun = std::time::Instant::now();
        // Reserved for documentation (RFC 5737): nobody is there.
        assert!(open_tcp("192.0.2.1", 502).await.is_err());
        assert!(begun.elapsed() < Duration::from_secs(3));
    }

    #[test]
    fn frames_are_read_and_characters_timed() {
        let settings = SerialSettings::default().with_frame("7E1").unwrap();
        assert_eq!((settings.data_bits, settings.parity), (7, Parity::Even));
        assert_eq!(settings.character(), Duration::from_secs_f64(10.0 / 9600.0));
        // 3.5 characters of 10 bits, and from 19200 baud on a time of its own.
        let at = |baud| SerialSettings { baud, ..SerialSettings::default() }.rtu_silence();
        assert_eq!(at(9600).as_micros(), 3645);
        assert_eq!(at(115_200), Duration::from_micros(1750));
        for wrong in ["", "9N1", "8X1", "8N3", "8N1x"] {
            assert_eq!(SerialSettings::default().with_frame(wrong), None);
        }
    }
}
