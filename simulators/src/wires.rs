//! Instruments on byte streams: a serial bus, Modbus TCP, Modbus RTU.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::bus::Framer;
use crate::delivery::{Late, disturb};
use crate::lab::{Shared, unit_of};
use crate::model::Answer;
use crate::world::World;
use crate::{ascii, rtu};

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
    let mut late = Late::default();
    let models = shared.world().models_at(address);
    loop {
        let count = tokio::select! {
            bytes = late.next() => {
                stream.write_all(&bytes).await?;
                stream.flush().await?;
                continue;
            }
            count = stream.read(&mut buffer) => count?,
        };
        if count == 0 {
            return Ok(());
        }
        let heard = buffer.get(..count).unwrap_or_default();
        for name in &models {
            let requests = shared.world().hear(name, heard);
            for request in requests {
                lines.fetch_add(1, Ordering::SeqCst);
                let delivery =
                    shared.request(name, |world, now| world.answer(name, &request, now)).await;
                let misaddress = |bytes: &[u8]| shared.world().misaddressed(name, bytes);
                let delivery = delivery.mangled(misaddress, disturb);
                late.deliver(delivery, stream).await?;
            }
        }
        for frame in framer.feed(heard) {
            lines.fetch_add(1, Ordering::SeqCst);
            let pump = shared.world().pump_at(address, &frame);
            // Nobody answers for an address without a pump.
            let Some(name) = pump else { continue };
            let busy_s = shared.world().line_busy_s(&name, &frame);
            shared.lab_pause(busy_s).await;
            let request = |world: &mut World, now| {
                let bytes = world.line(&name, &frame, now)?;
                Some(Answer { after_s: 0.0, bytes })
            };
            let delivery = shared.request(&name, request).await.mangled(|_| None, disturb);
            late.deliver(delivery, stream).await?;
        }
    }
}

/// What an instrument answers to a PDU.
async fn pdu(shared: &Shared, name: &str, pdu: &[u8]) -> crate::lab::Raw {
    let request = |world: &mut World, now| match world.modbus(name, pdu, now) {
        Some(bytes) => Some(Answer { after_s: 0.0, bytes }),
        None => world.answer(name, pdu, now),
    };
    shared.request(name, request).await
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
    let mut late = Late::default();
    let mut arrived = Vec::new();
    let mut buffer = [0; 512];
    loop {
        let count = tokio::select! {
            bytes = late.next() => {
                stream.write_all(&bytes).await?;
                stream.flush().await?;
                continue;
            }
            count = stream.read(&mut buffer) => count?,
        };
        if count == 0 {
            return Ok(());
        }
        arrived.extend(buffer.get(..count).unwrap_or_default());
        while let Some([t0, t1, p0, p1, l0, l1, unit]) = arrived.first_chunk::<HEADER>().copied() {
            let length = usize::from(u16::from_be_bytes([l0, l1]));
            if (p0, p1) != (0, 0) || !(2..=254).contains(&length) {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "this is not Modbus TCP"));
            }
            if arrived.len() < HEADER - 1 + length {
                break;
            }
            let frame: Vec<u8> = arrived.drain(..HEADER - 1 + length).collect();
            let request = frame.get(HEADER..).unwrap_or_default();
            let answer = |bytes: &[u8]| {
                let [high, low] = u16::try_from(bytes.len() + 1).unwrap_or(0).to_be_bytes();
                [&[t0, t1, 0, 0, high, low, unit], bytes].concat()
            };
            let Some(address) = addresses.iter().find(|a| unit_of(a) == unit) else {
                // The gateway answers for units that do not: exception 11.
                let function = request.first().copied().unwrap_or(0) | 0x80;
                stream.write_all(&answer(&[function, 11])).await?;
                stream.flush().await?;
                continue;
            };
            let Some(name) = shared.world().modbus_at(address, request) else {
                continue;
            };
            let raw = pdu(shared, &name, request).await.framed(answer);
            // TCP itself damages nothing: what a bad gateway damages is the header.
            let damage = |bytes: &mut [u8], place: f64| {
                disturb(bytes.get_mut(..HEADER).unwrap_or_default(), place);
            };
            let delivery = raw.mangled(|bytes| with_unit(bytes, HEADER - 1), damage);
            late.deliver(delivery, stream).await?;
        }
    }
}

fn with_unit(bytes: &[u8], at: usize) -> Option<Vec<u8>> {
    let mut bytes = bytes.to_vec();
    let unit = bytes.get_mut(at)?;
    *unit = unit.wrapping_add(1);
    Some(bytes)
}

/// Makes a frame around the PDU of a unit.
type Frame = fn(u8, &[u8]) -> Vec<u8>;

/// The answer of a line as another unit would give it.
fn readdressed(bytes: &[u8], unit: u8) -> Option<Vec<u8>> {
    if bytes.first() == Some(&b':') {
        let digits = bytes.get(3..bytes.len().checked_sub(4)?)?;
        let digit = |byte: &u8| char::from(*byte).to_digit(16).unwrap_or(0) as u8;
        let pdu: Vec<u8> =
            digits.chunks(2).map(|pair| pair.iter().fold(0, |b, d| b << 4 | digit(d))).collect();
        return Some(ascii::frame(unit, &pdu));
    }
    let pdu = bytes.get(1..bytes.len().checked_sub(2)?)?;
    Some(rtu::frame(unit, pdu))
}

/// Units on one RS-485 line, until the other side goes.
pub(crate) async fn modbus_rtu<S>(
    shared: &Shared,
    addresses: &[String],
    stream: &mut S,
    lines: &AtomicUsize,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut late = Late::default();
    let mut arrived = Vec::new();
    let mut buffer = [0; 512];
    loop {
        let count = tokio::select! {
            bytes = late.next() => {
                stream.write_all(&bytes).await?;
                stream.flush().await?;
                continue;
            }
            count = stream.read(&mut buffer) => count?,
        };
        if count == 0 {
            return Ok(());
        }
        arrived.extend(buffer.get(..count).unwrap_or_default());
        loop {
            // A master says by its first frame which of the two framings it speaks.
            let (unit, request, frame) = match ascii::take_request(&mut arrived) {
                ascii::Heard::Request(unit, request) => (unit, request, ascii::frame as Frame),
                ascii::Heard::More => break,
                ascii::Heard::Else => match rtu::take_request(&mut arrived) {
                    Some((unit, request)) => (unit, request, rtu::frame as Frame),
                    None => break,
                },
            };
            lines.fetch_add(1, Ordering::SeqCst);
            // Nobody answers for a unit that is not there, nor to what is said to all.
            let address = addresses.iter().find(|a| unit != 0 && unit_of(a) == unit);
            let name = address.and_then(|address| shared.world().modbus_at(address, &request));
            let Some(name) = name else { continue };
            let raw = pdu(shared, &name, &request).await.framed(|bytes| frame(unit, bytes));
            let misaddress = |bytes: &[u8]| readdressed(bytes, unit.wrapping_add(1));
            late.deliver(raw.mangled(misaddress, disturb), stream).await?;
        }
    }
}
