//! A place to stand between a program and a device: a pseudo-terminal or a TCP port that is opened
//! where the program expects the device.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_serial::{SerialPort, SerialStream};

use super::address::{Address, Endpoint};

/// Where a program can connect.
#[derive(Debug)]
pub enum Stand {
    /// A pseudo-terminal.
    Terminal {
        /// Our end.
        ours: Box<SerialStream>,
        /// Keeps the terminal alive while nobody has it open, without locking it.
        keep: File,
        /// Path of the other end.
        name: String,
    },
    /// A port.
    Port(TcpListener),
}

/// A program that has connected.
#[derive(Debug)]
pub enum Client<'a> {
    /// On the terminal; it has no beginning and no end.
    Terminal(&'a mut SerialStream),
    /// On a connection of its own.
    Socket(TcpStream),
}

impl Stand {
    /// Opens a stand that is like the address of a device: a terminal for a serial line, a free
    /// port of this machine for a socket. `at` names another place: `pty`, or `tcp://host:port`
    /// where port 0 is any.
    pub async fn open(device: &Address, at: Option<&str>) -> io::Result<Stand> {
        let wrong = |text: String| io::Error::new(io::ErrorKind::InvalidInput, text);
        match (at, &device.endpoint) {
            (Some("pty"), _) | (None, Endpoint::Serial { .. } | Endpoint::ModbusRtu { .. }) => {
                terminal()
            }
            (
                None,
                Endpoint::Tcp { .. } | Endpoint::ModbusTcp { .. } | Endpoint::ModbusRtuTcp { .. },
            ) => {
                let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
                Ok(Stand::Port(TcpListener::bind(any).await?))
            }
            (Some(text), _) => {
                let place = text.split_once("://").map(|(_, place)| place);
                let place = place.map(|p| p.split_once('?').map_or(p, |(place, _)| place));
                let place = place
                    .filter(|_| text.starts_with("tcp://") || text.starts_with("modbus+tcp://"));
                let place = place.ok_or_else(|| {
                    wrong(format!("`{text}` is no place to listen; write pty or tcp://host:port"))
                })?;
                Ok(Stand::Port(TcpListener::bind(place).await?))
            }
            (None, Endpoint::Mqtt { .. } | Endpoint::Null { .. }) => {
                Err(wrong(format!("`{device}` is no line to stand on")))
            }
        }
    }

    /// Its address, for the lab file: with the unit of the device.
    pub fn address(&self, device: &Address) -> io::Result<String> {
        let modbus =
            matches!(device.endpoint, Endpoint::ModbusTcp { .. } | Endpoint::ModbusRtu { .. });
        let query = device.text.split_once('?').map_or(String::new(), |(_, q)| format!("?{q}"));
        Ok(match (self, modbus) {
            (Stand::Terminal { name, .. }, true) => format!("modbus+serial:{name}{query}"),
            (Stand::Terminal { name, .. }, false) => format!("serial:{name}"),
            (Stand::Port(listener), true) => {
                format!("modbus+tcp://{}{query}", listener.local_addr()?)
            }
            (Stand::Port(listener), false) => format!("tcp://{}", listener.local_addr()?),
        })
    }

    /// Waits for a program. Cancel safe.
    pub async fn client(&mut self) -> io::Result<Client<'_>> {
        match self {
            Stand::Terminal { ours, .. } => Ok(Client::Terminal(ours)),
            Stand::Port(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Client::Socket(stream))
            }
        }
    }
}

fn terminal() -> io::Result<Stand> {
    let (ours, theirs) = SerialStream::pair().map_err(io::Error::from)?;
    let name = theirs.name().ok_or_else(|| io::Error::other("the terminal has no name"))?;
    // `theirs` holds a lock, and a driver asks for exclusive use.
    let keep = std::fs::OpenOptions::new().read(true).write(true).open(&name)?;
    drop(theirs);
    Ok(Stand::Terminal { ours: Box::new(ours), keep, name })
}

impl AsyncRead for Client<'_> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Client::Terminal(port) => Pin::new(&mut **port).poll_read(cx, buf),
            Client::Socket(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Client<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Client::Terminal(port) => Pin::new(&mut **port).poll_write(cx, buf),
            Client::Socket(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            // Draining a terminal blocks until somebody reads it.
            Client::Terminal(_) => Poll::Ready(Ok(())),
            Client::Socket(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Client::Terminal(_) => Poll::Ready(Ok(())),
            Client::Socket(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
