//! The only place that knows which YAML parser is used.
//!
//! It turns the parser's events into ours, so that another parser with the same shape of events
//! can replace it by changing this file alone.

use std::ops::Range;

use granit_parser::{ErrorKind, Event as Raw, Options, Parser, ScalarStyle};

/// What the tree is built from, with the bytes it stands at.
pub(super) enum Event {
    /// The second or a later document begins.
    Document,
    /// A scalar.
    Scalar { text: String, style: Style },
    /// A list begins.
    List,
    /// A mapping begins.
    Map,
    /// The list or mapping ends.
    End,
    /// `&name`.
    Anchor,
    /// `*name`; also stands for a node.
    Alias,
}

/// How a scalar is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// Without quotes.
    Plain,
    /// In quotes of either kind.
    Quoted,
    /// `|` or `>`.
    Block,
}

/// An event with its place, and the place of the tag that stands before it.
pub(super) struct Placed {
    pub event: Event,
    pub range: Range<usize>,
    pub tag: Option<Range<usize>>,
}

/// Why the parser gave up.
pub(super) struct SyntaxError {
    pub at: usize,
    pub problem: Problem,
    pub detail: String,
}

/// The mistakes people make, as far as the parser tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Problem {
    /// A tab where only spaces may stand.
    Tab,
    /// A bracket or brace that is not closed, or closed by the wrong one.
    Bracket,
    /// Something between the values of `[...]` or `{...}` that does not belong there.
    Separator,
    /// A quote that is not closed, or text after the closing one.
    Quote,
    /// An unknown escape in double quotes.
    Escape,
    /// A line that is indented by the wrong amount.
    Indentation,
    /// `key: value: value`.
    Colon,
    /// Deeper than the parser reads.
    Deep,
    /// Anything else.
    Other,
}

/// Events of a text, up to the first error. Comments are skipped.
pub(super) fn events(text: &str) -> impl Iterator<Item = Result<Placed, SyntaxError>> {
    let mut options = Options::default();
    options.emit_unresolved_aliases = true;
    options.emit_anchor_events = true;
    options.set_emit_comments(false);
    let mut documents = 0_u32;
    Parser::new_from_str_with_options(text, options).filter_map(move |next| {
        let (raw, span) = match next {
            Ok(next) => next,
            Err(error) => return Some(Err(syntax_error(&error))),
        };
        let event = match raw {
            Raw::Scalar(text, style, ..) => Event::Scalar {
                text: text.into_owned(),
                style: match style {
                    ScalarStyle::Plain => Style::Plain,
                    ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => Style::Quoted,
                    ScalarStyle::Literal | ScalarStyle::Folded => Style::Block,
                },
            },
            Raw::SequenceStart(..) => Event::List,
            Raw::MappingStart(..) => Event::Map,
            Raw::SequenceEnd | Raw::MappingEnd => Event::End,
            Raw::Anchor(..) => Event::Anchor,
            Raw::Alias(_) | Raw::UnresolvedAlias(_) => Event::Alias,
            Raw::DocumentStart(..) => {
                documents += 1;
                if documents == 1 {
                    return None;
                }
                Event::Document
            }
            _ => return None,
        };
        Some(Ok(Placed {
            event,
            range: span.byte_range().unwrap_or(0..0),
            tag: span.tag_span().and_then(|tag| tag.byte_range()),
        }))
    })
}

fn syntax_error(error: &granit_parser::ScanError) -> SyntaxError {
    let problem = match error.kind() {
        ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabInIndentation
        | ErrorKind::TabInPlainScalar
        | ErrorKind::TabAtBlockScalarStart => Problem::Tab,
        ErrorKind::UnexpectedEofFlowSequence
        | ErrorKind::UnexpectedEofFlowMapping
        | ErrorKind::UnexpectedEofImplicitFlowMapping
        | ErrorKind::MisplacedFlowCollectionEnd
        | ErrorKind::MismatchedFlowCollectionEnd { .. }
        | ErrorKind::UnclosedFlowCollection { .. } => Problem::Bracket,
        ErrorKind::ExpectedFlowMappingSeparator
        | ErrorKind::ExpectedFlowSequenceSeparator
        | ErrorKind::UnexpectedEndOfPlainScalar
        | ErrorKind::FlowMappingValueAdjacentCollection => Problem::Separator,
        ErrorKind::UnclosedQuotedScalar
        | ErrorKind::InvalidTrailingSingleQuotedScalar
        | ErrorKind::InvalidTrailingDoubleQuotedScalar
        | ErrorKind::DocumentIndicatorInQuotedScalar => Problem::Quote,
        ErrorKind::UnknownQuotedScalarEscape
        | ErrorKind::InvalidQuotedScalarHexEscape
        | ErrorKind::InvalidUnicodeEscape => Problem::Escape,
        ErrorKind::InvalidIndentation
        | ErrorKind::InvalidQuotedScalarIndent
        | ErrorKind::InvalidFlowScalarIndent
        | ErrorKind::InvalidBlockScalarIndent
        | ErrorKind::ExpectedBlockMappingKey
        | ErrorKind::ExpectedBlockSequenceEntry
        | ErrorKind::BlockSequenceEntryNotAllowed => Problem::Indentation,
        ErrorKind::MappingValueNotAllowed
        | ErrorKind::InvalidColonPlacement
        | ErrorKind::SimpleKeyExpected
        | ErrorKind::InvalidSimpleKey
        | ErrorKind::MappingKeyNotAllowed => Problem::Colon,
        ErrorKind::RecursionLimitExceeded => Problem::Deep,
        _ => Problem::Other,
    };
    SyntaxError {
        at: error.marker().byte_offset().unwrap_or(0),
        problem,
        detail: error.kind().to_string(),
    }
}
