//! How a definition says to talk to a device: connection, registers.

use std::time::Duration;

use crate::spec::source::{Span, Spanned};
use crate::spec::value::{Expression, Named};
use crate::units::Unit;

use super::Unless;

/// How to talk to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Connection {
    /// What kind of wire.
    pub wire: Wire,
    /// Longest wait for a reply, in wall time.
    pub reply_timeout: Spanned<Duration>,
    /// Least time between two messages.
    pub min_gap: Option<Spanned<Duration>>,
    /// The whole section.
    pub span: Span,
}

/// The kind of wire, with what only that kind has.
#[derive(Debug, Clone, PartialEq)]
pub enum Wire {
    /// Lines or frames of bytes over a serial port or a TCP socket.
    Bytes(Box<Bytes>),
    /// Modbus TCP or RTU.
    Modbus(Modbus),
    /// MQTT topics.
    Mqtt(Box<Mqtt>),
}

/// Lines or frames of bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct Bytes {
    /// Settings of the serial port; `None`: only TCP.
    pub serial: Option<Serial>,
    /// Whether it also speaks over a TCP socket (`tcp: {}`).
    pub tcp: bool,
    /// Bus address before each message, a template over `config`: `address: {send, reply}`.
    pub send_prefix: Option<Spanned<String>>,
    /// Put before the address of each message.
    pub send_start: Option<Spanned<String>>,
    /// Length of address and body, after the start of each message: form and what is added.
    pub send_size: Option<(Spanned<String>, u32)>,
    /// Put after each message.
    pub send_end: Spanned<String>,
    /// Messages sent as they stand, without start, address, check sum and end.
    pub send_bare: Vec<Spanned<String>>,
    /// Byte that is doubled where it stands inside of a message or a reply.
    pub escape: Option<Spanned<String>>,
    /// Frame of a reply.
    pub reply: ReplyFrame,
    /// Check sum of each message, and of each reply unless it says otherwise.
    pub checksum: Option<Checksum>,
    /// What follows a message that has no answer.
    pub silent: Option<Silent>,
    /// What the device says unasked.
    pub unsolicited: Vec<Unsolicited>,
    /// Bus address that every reply must begin with, a template over `config`.
    pub reply_prefix: Option<Spanned<String>>,
}

/// A check sum of frames.
#[derive(Debug, Clone, PartialEq)]
pub struct Checksum {
    /// How it is computed.
    pub kind: ChecksumKind,
    /// How it is written: `u8`, `u16le`, `h2`, `d*`...
    pub form: Spanned<String>,
    /// First part that counts: the start of the frame, its address or its body.
    pub from: ChecksumFrom,
    /// The end of the message counts too; the sum then follows it.
    pub over_end: bool,
    /// Replies carry it as well.
    pub replies: bool,
    /// The whole section.
    pub span: Span,
}

/// How a check sum is computed.
#[derive(Debug, Clone, PartialEq)]
pub enum ChecksumKind {
    /// One that has a name: `xor8`, `crc16_modbus`...
    Named(Spanned<String>),
    /// A CRC by its parameters.
    Crc(CrcDecl),
}

/// Parameters of a CRC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrcDecl {
    /// Bits of the result, 8 to 32.
    pub width: u32,
    /// Polynomial without its highest bit.
    pub poly: u32,
    /// Initial value.
    pub init: u32,
    /// Bits of each byte are taken from the least significant.
    pub reflect_in: bool,
    /// Bits of the result are turned around.
    pub reflect_out: bool,
    /// Combined with the result.
    pub xor_out: u32,
}

/// Where a check sum begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChecksumFrom {
    /// With the first byte of the frame.
    Start,
    /// After the start bytes.
    Address,
    /// After the address.
    Body,
}

/// What follows a message that has no answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Silent {
    /// Least time until the next message.
    pub gap: Option<Spanned<Duration>>,
    /// A question that shows whether the message was taken.
    pub check: Option<Unless>,
}

/// What a device says unasked.
#[derive(Debug, Clone, PartialEq)]
pub struct Unsolicited {
    /// Pattern of the message.
    pub pattern: Spanned<String>,
    /// What it means.
    pub action: UnsolicitedAction,
    /// For people.
    pub text: Option<String>,
}

/// What an unasked message means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnsolicitedAction {
    /// Nothing.
    Ignore,
    /// It works on what it was told: wait on.
    Busy,
    /// The device restarted and lost its memory.
    Rebooted,
    /// Something is wrong with the device.
    Alarm,
}

/// Settings of a serial port.
#[derive(Debug, Clone, PartialEq)]
pub struct Serial {
    /// Bits per second.
    pub baud: Spanned<u32>,
    /// Data bits, 7 or 8.
    pub data_bits: u8,
    /// Parity.
    pub parity: Parity,
    /// Stop bits, 1 or 2.
    pub stop_bits: u8,
    /// Raise DTR when opening; resets an Arduino.
    pub dtr_on_open: bool,
}

/// Parity of a serial line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parity {
    /// None.
    None,
    /// Even.
    Even,
    /// Odd.
    Odd,
}

/// Where a reply begins and ends.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplyFrame {
    /// First characters.
    pub start: Option<Spanned<String>>,
    /// How it ends.
    pub end: ReplyEnd,
    /// Longest reply in bytes; a longer one is a framing error.
    pub max_length: Option<Spanned<u32>>,
    /// The device first repeats what was sent to it.
    pub echo: bool,
    /// Characters that mean nothing wherever they stand, such as XON and XOFF.
    pub drop: Option<Spanned<String>>,
}

/// How a reply ends.
#[derive(Debug, Clone, PartialEq)]
pub enum ReplyEnd {
    /// With the first of these.
    Text(Vec<Spanned<String>>),
    /// With a line that begins with one of `last`; lines end with `end`.
    Lines {
        /// How each line ends.
        end: Spanned<String>,
        /// How the last line begins.
        last: Vec<Spanned<String>>,
    },
    /// A field of the frame says how long it is.
    Size {
        /// Where the field stands, counted from the first byte of the frame.
        at: u32,
        /// Its form: `u8`, `u16be`, `h2`...
        form: Spanned<String>,
        /// Bytes of the whole frame beyond that number.
        add: u32,
        /// Last characters of the frame, after its check sum.
        tail: Option<Spanned<String>>,
    },
    /// After so many bytes.
    Length(Spanned<u32>),
    /// With silence this long.
    Idle(Spanned<Duration>),
}

/// Modbus settings that hold for the whole device.
#[derive(Debug, Clone, PartialEq)]
pub struct Modbus {
    /// Serial settings where it also speaks RTU.
    pub serial: Option<Serial>,
    /// Most registers in one request.
    pub max_block: Option<Spanned<u32>>,
    /// Write one register with function 6 or 16.
    pub write_single: bool,
    /// ASCII frames on a serial line, instead of RTU.
    pub ascii: bool,
    /// Added to every register number, over `config`.
    pub plus: Option<Expression>,
}

/// MQTT settings that hold for the whole device.
#[derive(Debug, Clone, PartialEq)]
pub struct Mqtt {
    /// 5, or 3.1.1 where false.
    pub v5: bool,
    /// 0 or 1.
    pub qos: u8,
    /// Keep-alive of the connection.
    pub keep_alive: Option<Spanned<Duration>>,
    /// Topic (below the base) that says whether the device is there.
    pub liveness: Option<Liveness>,
    /// Data older than this count as stale.
    pub max_age: Option<Spanned<Duration>>,
    /// Commands expire at the broker after this.
    pub expiry: Option<Spanned<Duration>>,
    /// Payloads are those of Sparkplug B; the base is `GROUP/NODE` or `GROUP/NODE/DEVICE`.
    pub sparkplug: bool,
}

/// Birth and last will of a device.
#[derive(Debug, Clone, PartialEq)]
pub struct Liveness {
    /// Topic.
    pub topic: Spanned<String>,
    /// Payload while there.
    pub online: Spanned<String>,
    /// Payload of the last will.
    pub offline: Spanned<String>,
    /// It counts as gone when nothing live was heard of it for so long.
    pub max_age: Option<Spanned<Duration>>,
}

/// Registers of a Modbus device. Base, type and order have no default: makers differ.
#[derive(Debug, Clone, PartialEq)]
pub struct Register {
    /// Table.
    pub table: Spanned<Table>,
    /// Number as the manual gives it.
    pub number: Spanned<u32>,
    /// What the manual counts from: 0 or 1.
    pub base: u8,
    /// Added to the number, over `config`: one of several equal parts of the device.
    pub plus: Option<Expression>,
    /// Type of the value.
    pub kind: Spanned<RegisterType>,
    /// Registers of a string.
    pub length: Option<Spanned<u32>>,
    /// Order of the bytes; `None` only for coils and discrete inputs.
    pub order: Option<WordOrder>,
    /// value = raw * scale + offset.
    pub scale: f64,
    /// See `scale`.
    pub offset: f64,
    /// Unit of the scaled value where it is not that of the property.
    pub unit: Option<Spanned<Unit>>,
    /// What is no measurement.
    pub invalid: Vec<Spanned<Sentinel>>,
    /// Bits by name.
    pub bits: Option<Bits>,
    /// Registers that the device gives only together.
    pub block: Option<Block>,
    /// Function that reads it, where it is not that of its table.
    pub read_function: Option<u8>,
    /// Function that writes it, where it is not that of the device.
    pub write_function: Option<u8>,
    /// Read back after a write and compared.
    pub verify: bool,
    /// The whole entry.
    pub span: Span,
}

/// Table of a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// Functions 3, 6 and 16.
    Holding,
    /// Function 4.
    Input,
    /// Functions 1, 5 and 15.
    Coil,
    /// Function 2.
    Discrete,
}

/// Type of the value in registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegisterType {
    /// 16 bits, unsigned.
    U16,
    /// 16 bits, signed.
    I16,
    /// 32 bits, unsigned.
    U32,
    /// 32 bits, signed.
    I32,
    /// 64 bits, unsigned.
    U64,
    /// 64 bits, signed.
    I64,
    /// IEEE single.
    F32,
    /// IEEE double.
    F64,
    /// One bit (coils, discrete inputs).
    Bool,
    /// Characters, two in each register; always read and written whole.
    String,
}

impl RegisterType {
    /// Registers of one value; those of a string are declared.
    pub fn registers(self, length: Option<u32>) -> u32 {
        match self {
            RegisterType::U16 | RegisterType::I16 | RegisterType::Bool => 1,
            RegisterType::U32 | RegisterType::I32 | RegisterType::F32 => 2,
            RegisterType::U64 | RegisterType::I64 | RegisterType::F64 => 4,
            RegisterType::String => length.unwrap_or(1),
        }
    }

    /// Least and greatest whole number; `None` for what holds no whole number.
    pub fn range(self) -> Option<(i128, i128)> {
        Some(match self {
            RegisterType::U16 => (0, u16::MAX.into()),
            RegisterType::I16 => (i16::MIN.into(), i16::MAX.into()),
            RegisterType::U32 => (0, u32::MAX.into()),
            RegisterType::I32 => (i32::MIN.into(), i32::MAX.into()),
            RegisterType::U64 => (0, u64::MAX.into()),
            RegisterType::I64 => (i64::MIN.into(), i64::MAX.into()),
            RegisterType::F32 | RegisterType::F64 | RegisterType::Bool | RegisterType::String => {
                return None;
            }
        })
    }
}

/// Something a register holds when there is no measurement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sentinel {
    /// These bits, written in hexadecimal.
    Bits(u64),
    /// This number, before scale and offset.
    Number(f64),
}

impl std::fmt::Display for Sentinel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Sentinel::Bits(bits) => write!(f, "0x{bits:04X}"),
            Sentinel::Number(number) => write!(f, "{number}"),
        }
    }
}

/// Registers that a device gives only together.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    /// First, counted like the register.
    pub start: Spanned<u32>,
    /// How many.
    pub count: Spanned<u32>,
}

/// Order of the bytes of a value, A the most significant. `AB` and `BA` of single registers are
/// read as `Abcd` and `Badc`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WordOrder {
    /// Big end first.
    Abcd,
    /// Low word first.
    Cdab,
    /// Bytes of each word swapped.
    Badc,
    /// Little end first.
    Dcba,
}

/// Bits of a register by name.
#[derive(Debug, Clone, PartialEq)]
pub struct Bits {
    /// Whether bit 0 is the least significant (`lsb0`) or the most significant (`msb0`).
    pub lsb0: bool,
    /// Name -> bit.
    pub names: Vec<Named<Spanned<u8>>>,
}
