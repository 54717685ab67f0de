//! What a text editor needs of labloop: one spelling for documents, and answers about the place
//! under the cursor.
//!
//! Architecture invariant: answers only. Nothing here writes a file, talks to an instrument or
//! knows how an editor is connected; that is the command line's work.

mod comments;
mod describe;
mod format;
mod lab_schema;
mod layout;
mod scalar;

pub use format::{Refused, format};
pub use lab_schema::{campaign_schema, protocol_schema};
