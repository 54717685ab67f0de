//! Signals: properties over time, each value with its quality.
//!
//! ```text
//! sample (when, what, quality) -> ring (latest samples, sums in levels) -> columns of a picture
//!                              -> feed -> subscriptions, each with a bounded mailbox
//! ```
//! Architecture invariant: nothing here waits, reads a clock or knows where samples come from or
//! are stored. Staleness is worked out when a value is looked at, from the time that is given.
mod board;
mod decimation;
mod quality;
mod ring;
mod sample;
mod subscription;

pub use board::{Board, Declared, Now, SIGNALS_MAX};
pub use decimation::{Bucket, COLUMNS_MAX, Window};
pub use quality::{Level, NOTE_BYTES_MAX, NOTES_MAX, Note, Notes, Quality, Reason};
pub use ring::{CAPACITY_MAX, Ring};
pub use sample::{Clock, Instant, Sample, Tick, of_status, quality_now};
pub use subscription::{Feed, Gap, Item, MAILBOX_MAX, SignalId, Subscription, Wanted};
