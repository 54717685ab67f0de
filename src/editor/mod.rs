//! What a text editor needs of labloop: one spelling for documents, and answers about the place
//! under the cursor.
//!
//! Architecture invariant: answers only. Nothing here writes a file, talks to an instrument or
//! knows how an editor is connected; that is the command line's work.

mod answer;
mod comments;
mod complete;
mod cursor;
mod describe;
mod fixes;
mod format;
mod lab_schema;
mod layout;
mod position;
mod project;
mod scalar;

pub use answer::{Answer, Target};
pub use complete::{Proposal, ProposalKind};
pub use fixes::fixes;
pub use format::{Refused, format};
pub use lab_schema::{campaign_schema, protocol_schema};
pub use position::{At, Lines};
pub use project::{Project, Texts};
