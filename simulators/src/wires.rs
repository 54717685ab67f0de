//! Instruments on byte streams: a serial bus, Modbus TCP.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::bus::Framer;
use crate::lab::{Shared, unit_of};
use crate::world::World;

/// Header of Modbus TCP.
const HEADER: usize = 7;

/// Instruments on one serial bus, until the other side goes. `lines` counts what was said.
pub(crate) async fn serial<S>(
    shared: &Shared,
    address: &str,
    stream: &mut S,
    lines: &AtomicUsize,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut framer = Framer::default();
    let mut buffer = [0; 256];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        for frame in framer.feed(buffer.get(..count).unwrap_or_default()) {
            lines.fetch_add(1, Ordering::SeqCst);
            let pump = shared.world().pump_at(address, &frame);
            // Nobody answers for an address without a pump.
            let Some(name) = pump else { continue };
            let busy_s = shared.world().line_busy_s(&name, &frame);
            shared.lab_pause(busy_s).await;
            let request = |world: &mut World, now| world.line(&name, &frame, now);
            if let Some(answer) = shared.request(&name, request).await {
                stream.write_all(&answer).await?;
                stream.flush().await?;
            }
        }
    }
}

/// Units behind one Modbus TCP socket, until the other side goes. `addresses` are those of the
/// lab with the same host and port.
pub(crate) async fn modbus<S>(
    shared: &Shared,
    addresses: &[String],
    stream: &mut S,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut header = [0; HEADER];
    loop {
        if let Err(error) = stream.read_exact(&mut header).await {
            return if error.kind() == io::ErrorKind::UnexpectedEof { Ok(()) } else { Err(error) };
        }
        let [t0, t1, p0, p1, l0, l1, unit] = header;
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        if (p0, p1) != (0, 0) || !(2..=254).contains(&length) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "this is not Modbus TCP"));
        }
        let mut pdu = vec![0; length - 1];
        stream.read_exact(&mut pdu).await?;
        let Some(address) = addresses.iter().find(|a| unit_of(a) == unit) else {
            // The gateway answers for units that do not: exception 11.
            let function = pdu.first().copied().unwrap_or(0) | 0x80;
            stream.write_all(&[t0, t1, 0, 0, 0, 3, unit, function, 11]).await?;
            stream.flush().await?;
            continue;
        };
        let controller = shared.world().controller_at(address);
        let Some(name) = controller else { continue };
        let request = |world: &mut World, now| world.modbus(&name, &pdu, now);
        let Some(answer) = shared.request(&name, request).await else { continue };
        let [high, low] = u16::try_from(answer.len() + 1).unwrap_or(0).to_be_bytes();
        let mut frame = vec![t0, t1, 0, 0, high, low, unit];
        frame.extend(answer);
        stream.write_all(&frame).await?;
        stream.flush().await?;
    }
}
