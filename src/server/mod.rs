//! How others reach a running engine: the control socket of its state folder.
//!
//! ```text
//! labloop pause ... -> Client -> control.sock -> Server -> Handle -> engine
//! ```
//!
//! The server lives on a thread of its own. Whatever a client sends, or does not read, it costs the
//! engine nothing but the requests that are taken, and those are bounded by the engine's inbox.
//!
//! Architecture invariant: knows of the engine what its [`Handle`](crate::engine::shell::Handle)
//! says, and nothing of instruments, journal and core.
mod address;
mod client;
mod protocol;
mod socket;

pub use client::{Client, ClientError};
pub use protocol::{Ask, LINE_MAX, Line, Say, VERSION};
pub use socket::{Server, ServerError};

/// Name of the control socket in a state folder.
pub const SOCKET: &str = "control.sock";
