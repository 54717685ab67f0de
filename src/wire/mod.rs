//! Bytes over serial lines, sockets, Modbus and MQTT, and the clock that lab time follows.
//!
//! Architecture invariant: nothing here knows an instrument or a protocol, and nothing here ever
//! sends the same bytes twice by itself.
pub mod address;
pub mod backoff;
pub mod claim;
pub mod clock;
pub mod dialer;
pub mod modbus;
pub mod mqtt;
mod mqtt_codec;
pub mod pause;
pub mod printable;
pub mod record;
mod refusal;
pub mod replay;
pub mod stand;
#[cfg(feature = "tls")]
mod tls;
pub mod trace;
pub mod trust;

pub use address::{Address, AddressError, Endpoint};
pub use backoff::Backoff;
pub use claim::{ClaimError, LineLock};
pub use clock::{Clock, Tick};
pub use dialer::{Dialer, Parity, Port, SerialSettings, Stream};
pub use pause::Pause;
pub use trust::Trust;
