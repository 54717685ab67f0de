//! Which of the four documents a file is.

use std::sync::Arc;

use super::campaign::Campaign;
use super::codes;
use super::diagnostic::{Checked, Diagnostic, Report};
use super::instrument::Instrument;
use super::lab::Lab;
use super::protocol::Protocol;
use super::shared;
use super::source::{SourceFile, Span};
use super::tree::{self, Node, NodeKind};

/// Kind of document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// What a model of device understands.
    Instrument,
    /// Which devices stand where.
    Lab,
    /// What to do.
    Protocol,
    /// What to find out.
    Campaign,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 4] = [Kind::Instrument, Kind::Lab, Kind::Protocol, Kind::Campaign];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Instrument => "instrument",
            Kind::Lab => "lab",
            Kind::Protocol => "protocol",
            Kind::Campaign => "campaign",
        }
    }

    /// The first line of such a document: `labloop/lab/v1`.
    pub fn schema(self) -> &'static str {
        match self {
            Kind::Instrument => "labloop/instrument/v1",
            Kind::Lab => "labloop/lab/v1",
            Kind::Protocol => "labloop/protocol/v1",
            Kind::Campaign => "labloop/campaign/v1",
        }
    }

    /// A kind by its word.
    pub fn from_word(word: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.word() == word)
    }

    /// The kind a text says it is, without checking anything else.
    pub fn of(file: &SourceFile) -> Option<Kind> {
        let root = tree::parse(file, &mut Report::new())?;
        shared::kind_of(&root).and_then(|(kind, _)| kind.ok())
    }
}

/// A document of any kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Document {
    /// An instrument definition.
    Instrument(Arc<Instrument>),
    /// A lab.
    Lab(Arc<Lab>),
    /// A protocol.
    Protocol(Arc<Protocol>),
    /// A campaign.
    Campaign(Arc<Campaign>),
}

/// Reads a document of the kind its first line names.
pub fn lower(file: &SourceFile) -> Checked<Document> {
    fn wrap<T>(checked: Checked<T>, variant: fn(Arc<T>) -> Document) -> Checked<Document> {
        Checked {
            value: checked.value.map(|value| variant(Arc::new(value))),
            report: checked.report,
        }
    }
    let mut report = Report::new();
    let Some(root) = tree::parse(file, &mut report) else {
        return Checked { value: None, report };
    };
    match shared::kind_of(&root) {
        Some((Ok(Kind::Instrument), _)) => wrap(Instrument::lower(file), Document::Instrument),
        Some((Ok(Kind::Lab), _)) => wrap(Lab::lower(file), Document::Lab),
        Some((Ok(Kind::Protocol), _)) => wrap(Protocol::lower(file), Document::Protocol),
        Some((Ok(Kind::Campaign), _)) => wrap(Campaign::lower(file), Document::Campaign),
        Some((Err(text), span)) => {
            report.push(shared::unknown_schema(&text, span, None));
            Checked { value: None, report }
        }
        None => match guess(&root) {
            // Lowering reports the missing line, and everything else at the same time.
            Some(Kind::Instrument) => wrap(Instrument::lower(file), Document::Instrument),
            Some(Kind::Lab) => wrap(Lab::lower(file), Document::Lab),
            Some(Kind::Protocol) => wrap(Protocol::lower(file), Document::Protocol),
            Some(Kind::Campaign) => wrap(Campaign::lower(file), Document::Campaign),
            None => {
                let known: Vec<&str> = Kind::ALL.iter().map(|kind| kind.schema()).collect();
                let span = Span { end: root.span.start, ..root.span };
                report.push(
                    Diagnostic::error(
                        codes::SCHEMA,
                        span,
                        format!("begin the file with `schema:` and one of: {}", known.join(", ")),
                    )
                    .label("no `schema:` here")
                    .fix("schema: labloop/protocol/v1"),
                );
                Checked { value: None, report }
            }
        },
    }
}

/// The kind a document without its first line probably is, by a key that only that kind has.
fn guess(root: &Node) -> Option<Kind> {
    let NodeKind::Map(entries) = &root.kind else { return None };
    let telling = [
        (Kind::Protocol, &["steps", "results", "derived"][..]),
        (Kind::Lab, &["instruments", "interlocks", "stock"][..]),
        (Kind::Campaign, &["space", "objectives", "budget"][..]),
        (Kind::Instrument, &["connection", "actions", "properties"][..]),
    ];
    let has = |keys: &[&str]| entries.iter().any(|e| keys.contains(&e.key.value.as_str()));
    telling.into_iter().find(|(_, keys)| has(keys)).map(|(kind, _)| kind)
}
