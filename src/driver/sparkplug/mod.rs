//! Sparkplug B: typed metrics in protobuf over MQTT, with birth and death certificates.
//!
//! ```text
//! NBIRTH/DBIRTH  name every metric, give it a type, a value and perhaps an alias
//! NDATA/DDATA    say what changed, often by alias alone
//! NDEATH/DDEATH  say that it is gone; the will of a node may overtake its next birth
//! NCMD/DCMD      write metrics; no answer belongs to a command, only the metric shows it
//! ```
//!
//! Nothing that was said before a birth is believed, and nothing after a lost message: all messages
//! of a node are numbered, and a gap asks for a new birth.
//!
//! Source: Eclipse Sparkplug specification 3.0.0, chapters 4 to 6, and the message definition
//! `sparkplug_b.proto` in its appendix.

mod node;
mod payload;
mod protobuf;
mod types;

pub(super) use node::{Heard, Node, Place, Reading, Said};
pub(super) use payload::{Metric, Payload};
pub(super) use types::{DataType, Datum};

/// Name of the metric that asks a node for its birth certificates.
pub(super) const REBIRTH: &str = "Node Control/Rebirth";
/// Name of the metric that ties a death to its birth.
pub(super) const BD_SEQ: &str = "bdSeq";
